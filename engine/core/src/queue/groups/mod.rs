//! Groups: those who share a queue, tenants for example. A group is live while it has a job that has
//! not ended, or a rate that is spent; else nothing is held of it but limits of its own, if it has any.
//! Each live group has a line per priority; [`turns`] says whose turn it is among them, and [`hold`]
//! which of them are closed.
//!
//! It knows slots and names, never what is in jobs. A queue in which no live group stands is served as if
//! there were no groups at all.

mod hold;
mod turns;
mod views;

use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    vec::Vec,
};

use hashbrown::HashTable;

use super::{LINES, QueueLimits, Queues};
use crate::{
    id::{GroupId, Lsn, QueueId, Slot, hash_text, mix},
    job::JobOptions,
    limits::{GROUP_LIMITS_MAX, GROUPS_MAX},
    wheel::{Line, Links, Removed, push_back, remove},
};
use turns::{Member, Ring, Visit};
pub use views::{GroupView, GroupsView};

/// The groups of all queues of a shard.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    groups: Vec<Group>,
    /// Line `group × 10 + priority`.
    lines: Vec<Line>,
    /// Numbers of groups that were forgotten.
    free: Vec<u32>,
    /// By queue and name.
    index: HashTable<u32>,
    /// By the number of the queue; `None` for one that never had a group.
    of_queues: Vec<Option<Box<OfQueue>>>,
    /// Groups that have limits of their own.
    with_limits: usize,
    /// Groups that a rate keeps closed, with the time at which each opens.
    asleep: BTreeSet<(i64, GroupId)>,
    /// Groups without a job, with the time at which nothing of their rates is spent any more.
    resting: BTreeSet<(i64, GroupId)>,
    /// Scratch space of [`Queues::take_turns`].
    visits: Vec<Visit>,
    /// A planted bug lets each group go on with its turn.
    #[cfg(feature = "planted")]
    pub(crate) planted_greed: bool,
}

/// One live group.
#[derive(Debug)]
struct Group {
    /// Else the number may be given out again.
    is_live: bool,
    queue: QueueId,
    name: Arc<str>,
    /// What a job has that names this group and has no other optional field: one for all of them.
    options: Arc<JobOptions>,
    /// Jobs that have not ended.
    jobs: u32,
    /// Of these, attempts under way.
    under_way: u32,
    /// Of these, jobs in its lines.
    ready: u32,
    /// One bit per priority that has entries.
    occupied: u16,
    /// Its limits let nothing be taken now.
    is_held: bool,
    /// Its own limits, else those of each group of the queue.
    limits: QueueLimits,
    /// When its rate has its whole burst again.
    full_at_ns: i64,
    /// Until when its rate lets nothing be taken: then it is in `asleep`.
    asleep_until_ns: Option<i64>,
    /// The last plan that chose jobs of it, and how many.
    planned: (u64, u32),
    /// Its seat in the ring of each priority; 0 for none.
    seats: [u64; LINES],
}

/// What is known of the groups of one queue together.
#[derive(Debug)]
struct OfQueue {
    rings: [Ring; LINES],
    /// The seat that was given out last.
    last_seat: u64,
    /// Seats of the jobs that name no group.
    plain: [u64; LINES],
    /// Live groups.
    live: u32,
    /// Limits of each group that has none of its own; the weight also of the jobs without a group.
    limits: QueueLimits,
    /// The event that gave these limits, and its length; 0 if none did.
    body: Lsn,
    units: u16,
    /// Limits of some groups, live or not.
    own: BTreeMap<Arc<str>, OwnLimits>,
}

/// Limits of one group, and the event that gave them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OwnLimits {
    pub(crate) limits: QueueLimits,
    pub(crate) body: Lsn,
    pub(crate) units: u16,
}

impl Default for OfQueue {
    fn default() -> Self {
        Self {
            rings: [const { Ring::new() }; LINES],
            last_seat: 0,
            plain: [0; LINES],
            live: 0,
            limits: QueueLimits::default(),
            body: Lsn(0),
            units: 0,
            own: BTreeMap::new(),
        }
    }
}

impl Groups {
    /// Whether a group is live in any queue.
    pub(crate) fn is_any(&self) -> bool {
        !self.index.is_empty()
    }

    /// Whether no more groups may be live.
    pub(crate) fn is_full(&self) -> bool {
        self.index.len() >= GROUPS_MAX
    }

    /// Whether this group is live, or one more may be.
    pub(crate) fn has_room_for(&self, queue: QueueId, name: &str) -> bool {
        !self.is_full() || self.find(queue, name).is_some()
    }

    /// Whether one more group may come to have limits of its own, beside `queue`'s that have them.
    pub(crate) fn has_room_for_limits(&self, queue: Option<QueueId>, name: &str) -> bool {
        self.with_limits < GROUP_LIMITS_MAX
            || queue.is_some_and(|queue| self.own_limits(queue, name).is_some())
    }

    /// The live group of this name.
    pub(crate) fn find(&self, queue: QueueId, name: &str) -> Option<GroupId> {
        let is_it = |group: &u32| {
            let group = &self.groups[*group as usize];
            group.queue == queue && *group.name == *name
        };
        self.index.find(hash(queue, name), is_it).map(|group| GroupId(*group))
    }

    /// What a job of a live group has that has no other optional field.
    pub(crate) fn options_of(&self, group: GroupId) -> Arc<JobOptions> {
        Arc::clone(&self.group(group).options)
    }

    /// Jobs of a live group that have not ended and are not under way.
    pub(crate) fn waiting(&self, group: GroupId) -> u32 {
        let group = self.group(group);
        group.jobs - group.under_way
    }

    /// All live groups, in the order of their numbers.
    fn live(&self) -> impl Iterator<Item = (GroupId, &Group)> {
        let numbered = (0..).map(GroupId).zip(&self.groups);
        numbered.filter(|(_, group)| group.is_live)
    }

    fn group(&self, group: GroupId) -> &Group {
        &self.groups[group.0 as usize]
    }

    fn group_mut(&mut self, group: GroupId) -> &mut Group {
        &mut self.groups[group.0 as usize]
    }

    fn of(&self, queue: QueueId) -> Option<&OfQueue> {
        self.of_queues.get(usize::from(queue.0))?.as_deref()
    }

    fn of_mut(&mut self, queue: QueueId) -> &mut OfQueue {
        let number = usize::from(queue.0);
        if self.of_queues.len() <= number {
            self.of_queues.resize_with(number + 1, || None);
        }
        self.of_queues[number].get_or_insert_default()
    }
}

impl Queues {
    /// The group of this name, made live now if need be. Its jobs are counted by who puts them in.
    pub(crate) fn intern_group(&mut self, queue: QueueId, name: &str) -> GroupId {
        if let Some(group) = self.groups.find(queue, name) {
            return group;
        }
        let own = self.groups.own_limits(queue, name).map(|own| own.limits);
        let limits = own.unwrap_or_else(|| self.groups.limits_of(queue));
        let name: Arc<str> = name.into();
        let options = JobOptions { group: Some(Arc::clone(&name)), ..JobOptions::default() };
        let hash = hash(queue, &name);
        let group = Group {
            is_live: true,
            queue,
            name,
            options: options.into(),
            jobs: 0,
            under_way: 0,
            ready: 0,
            occupied: 0,
            is_held: false,
            limits,
            full_at_ns: i64::MIN,
            asleep_until_ns: None,
            planned: (0, 0),
            seats: [0; LINES],
        };
        let Groups { groups, lines, free, index, .. } = &mut self.groups;
        let number = match free.pop() {
            Some(number) => {
                groups[number as usize] = group;
                number
            }
            None => {
                groups.push(group);
                lines.resize(groups.len() * LINES, Line::EMPTY);
                (groups.len() - 1) as u32
            }
        };
        index.insert_unique(hash, number, |number| {
            let group = &groups[*number as usize];
            self::hash(group.queue, &group.name)
        });
        let of = self.groups.of_mut(queue);
        of.live += 1;
        if of.live == 1 {
            self.begin_turns(queue);
        }
        GroupId(number)
    }

    /// Forgets a group without jobs, unless something of its rate may be spent.
    fn leave_group(&mut self, id: GroupId) {
        let group = self.groups.group(id);
        if group.jobs > 0 {
            return;
        }
        if group.limits.rate.is_some() && group.full_at_ns > i64::MIN {
            let whole_ns = group.full_at_ns;
            self.groups.resting.insert((whole_ns, id));
            return;
        }
        self.forget_group(id);
    }

    /// Forgets a group without jobs.
    fn forget_group(&mut self, id: GroupId) {
        self.sleep_group(id, None);
        let group = self.groups.group(id);
        let (queue, hash) = (group.queue, hash(group.queue, &group.name));
        if let Ok(entry) = self.groups.index.find_entry(hash, |number| *number == id.0) {
            entry.remove();
        }
        self.groups.group_mut(id).is_live = false;
        self.groups.free.push(id.0);
        let of = self.groups.of_mut(queue);
        of.live -= 1;
        if of.live == 0 {
            self.end_turns(queue);
        }
    }

    /// A job of the group was taken in.
    pub(crate) fn group_job_added(&mut self, id: GroupId) {
        let group = self.groups.group_mut(id);
        group.jobs += 1;
        let whole_ns = group.full_at_ns;
        if group.jobs == 1 {
            self.groups.resting.remove(&(whole_ns, id));
        }
    }

    /// A job of the group has ended.
    pub(crate) fn group_job_ended(&mut self, id: GroupId) {
        self.groups.group_mut(id).jobs -= 1;
        self.leave_group(id);
    }

    /// Puts a job of a group at the end of its line.
    pub(crate) fn push_grouped(
        &mut self,
        links: &mut Links,
        slot: Slot,
        id: GroupId,
        priority: u8,
    ) {
        let line = id.0 as usize * LINES + usize::from(priority);
        push_back(links, &mut self.groups.lines, line, slot.0);
        let group = self.groups.group_mut(id);
        group.ready += 1;
        group.occupied |= 1 << priority;
        let (queue, is_held) = (group.queue, group.is_held);
        self.len += 1;
        let stands = &mut self.queues[usize::from(queue.0)];
        stands.len += 1;
        if is_held {
            stands.barred += 1;
            return;
        }
        self.open_len += u32::from(stands.is_open());
        self.seat(queue, Member::of(id), priority.into());
    }

    /// Takes a job of a group, which stands in its line, out of that.
    pub(crate) fn remove_grouped(&mut self, links: &mut Links, slot: Slot, id: GroupId) {
        let emptied = remove(links, &mut self.groups.lines, slot.0);
        let group = self.groups.group_mut(id);
        group.ready -= 1;
        let (queue, is_held) = (group.queue, group.is_held);
        if let Removed::Emptied(line) = emptied {
            group.occupied &= !(1 << (line % LINES));
            self.unseat(queue, Member::of(id), line % LINES);
        }
        self.len -= 1;
        let stood = &mut self.queues[usize::from(queue.0)];
        stood.len -= 1;
        if is_held {
            stood.barred -= 1;
        } else {
            self.open_len -= u32::from(stood.is_open());
        }
        if stood.takeable() == 0 && stood.waits {
            self.idle.push(queue);
        }
    }
}

fn hash(queue: QueueId, name: &str) -> u64 {
    mix(hash_text(name) ^ u64::from(queue.0))
}

#[cfg(test)]
mod tests;
