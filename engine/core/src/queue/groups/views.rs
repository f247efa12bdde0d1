//! What can be seen of groups from outside, and what is written down of their rates.

use alloc::{boxed::Box, sync::Arc, vec::Vec};

use super::{super::QueueLimits, Group, Groups};
use crate::{
    id::{GroupId, Lsn, QueueId, Slot},
    limits::GROUPS_LISTED_MAX,
    wheel::Links,
};

/// The groups of a queue as a caller sees them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupsView {
    /// Live groups: those with a job that has not ended, or with a rate that is spent.
    pub live: u64,
    /// Limits of each group that has none of its own.
    pub limits: QueueLimits,
    /// Some of the live groups: those with the most jobs first, equal ones by name.
    pub busiest: Vec<GroupView>,
}

/// A group as a caller sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupView {
    /// Its name.
    pub name: Box<str>,
    /// Jobs that are due and wait.
    pub ready: u64,
    /// Jobs that have not ended and are not under way, due or not.
    pub waiting: u64,
    /// Attempts under way, by executors and fetched.
    pub running: u64,
    /// Its limits: its own, else those of each group of the queue.
    pub limits: QueueLimits,
}

/// What the rate of a group has spent.
#[derive(Clone, Debug)]
pub(crate) struct GroupSpent {
    pub(crate) queue: QueueId,
    pub(crate) name: Arc<str>,
    /// When it has its whole burst again.
    pub(crate) full_at_ns: i64,
}

/// What a snapshot holds of a queue's groups beside what their rates have spent.
pub(crate) struct LimitsBody<'g> {
    pub(crate) queue: QueueId,
    /// `None` for the limits of each group of the queue.
    pub(crate) name: Option<&'g Arc<str>>,
    pub(crate) limits: QueueLimits,
    pub(crate) body: Lsn,
    pub(crate) units: u16,
}

impl Groups {
    /// The groups of a queue, at most `max` and [`GROUPS_LISTED_MAX`] of them. It takes time in proportion
    /// to the live groups of all queues.
    pub(crate) fn view(&self, queue: QueueId, max: usize) -> GroupsView {
        let of_queue = self.live().map(|(_, group)| group).filter(|group| group.queue == queue);
        let mut all: Vec<&Group> = of_queue.collect();
        let live = all.len() as u64;
        let order = |group: &&Group| (core::cmp::Reverse(group.jobs), Arc::clone(&group.name));
        let max = max.min(GROUPS_LISTED_MAX);
        if all.len() > max && max > 0 {
            all.select_nth_unstable_by_key(max - 1, order);
        }
        all.truncate(max);
        all.sort_unstable_by_key(order);
        let busiest = all.into_iter().map(Group::view).collect();
        GroupsView { live, limits: self.limits_of(queue), busiest }
    }

    /// The first job of each line of each group, with its queue.
    pub(crate) fn firsts(&self) -> impl Iterator<Item = (QueueId, Slot)> {
        self.live().flat_map(|(id, group)| {
            let first = id.0 as usize * super::LINES;
            let lines = &self.lines[first..first + super::LINES];
            lines.iter().filter_map(|line| line.first().map(|slot| (group.queue, Slot(slot))))
        })
    }

    /// Numbers of groups end here, those of any queue, live or not.
    pub(crate) fn places(&self) -> u32 {
        self.groups.len() as u32
    }

    /// The group of this number, if it is live and of this queue.
    pub(crate) fn live_in(&self, queue: QueueId, number: u32) -> Option<GroupId> {
        let group = self.groups.get(number as usize)?;
        (group.is_live && group.queue == queue).then_some(GroupId(number))
    }

    /// The first job of a group in its line of this priority.
    pub(crate) fn first_of(&self, group: GroupId, priority: usize) -> Option<Slot> {
        self.lines[group.0 as usize * super::LINES + priority].first().map(Slot)
    }

    /// Calls `visit` for each job in a line, with its group and priority.
    pub(crate) fn visit(&self, links: &Links, visit: &mut impl FnMut(u32, QueueId, u8)) {
        for (number, line) in self.lines.iter().enumerate() {
            let queue = self.groups[number / super::LINES].queue;
            let mut entry = line.first();
            while let Some(slot) = entry {
                visit(slot, queue, (number % super::LINES) as u8);
                entry = crate::wheel::next_of(links, slot);
            }
        }
    }

    /// Live groups of whose rates something is spent at `now_ns`, by queue and name.
    pub(crate) fn spent(&self, now_ns: i64) -> Vec<GroupSpent> {
        let is_spent = |group: &&Group| group.limits.rate.is_some() && group.full_at_ns > now_ns;
        let live = self.live().map(|(_, group)| group);
        let spent = live.filter(is_spent).map(|group| GroupSpent {
            queue: group.queue,
            name: Arc::clone(&group.name),
            full_at_ns: group.full_at_ns,
        });
        let mut spent: Vec<GroupSpent> = spent.collect();
        spent.sort_unstable_by(|a, b| (a.queue, &a.name).cmp(&(b.queue, &b.name)));
        spent
    }

    /// All limits of groups, with the events that gave them.
    pub(crate) fn bodies(&self) -> impl Iterator<Item = LimitsBody<'_>> {
        let of_queues = self.of_queues.iter().enumerate();
        of_queues
            .filter_map(|(number, of)| Some((QueueId(number as u16), of.as_deref()?)))
            .flat_map(|(queue, of)| {
                let each = LimitsBody {
                    queue,
                    name: None,
                    limits: of.limits,
                    body: of.body,
                    units: of.units,
                };
                let own = of.own.iter().map(move |(name, own)| LimitsBody {
                    queue,
                    name: Some(name),
                    limits: own.limits,
                    body: own.body,
                    units: own.units,
                });
                (!of.limits.is_default()).then_some(each).into_iter().chain(own)
            })
    }

    /// Jobs that have not ended and attempts under way of each live group, with queue and name, for a
    /// census; `ready` beside.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (GroupId, QueueId, [u32; 3])> {
        let counts = |group: &Group| [group.jobs, group.under_way, group.ready];
        self.live().map(move |(id, group)| (id, group.queue, counts(group)))
    }

    /// Groups without a job that are kept for what is spent of their rates.
    pub(crate) fn resting(&self) -> usize {
        self.resting.len()
    }
}

#[cfg(test)]
impl Groups {
    /// All that a replay must give again, in an order that depends on nothing else.
    pub(crate) fn told(&self, names: &[Arc<str>], now_ns: i64) -> Vec<alloc::string::String> {
        let queue_of = |queue: QueueId| &names[usize::from(queue.0)];
        let mut told: Vec<_> = (self.live().map(|(_, g)| g).filter(|g| g.jobs > 0))
            .map(|g| alloc::format!("{:?} {} {} {:?}", g.name, g.jobs, g.under_way, g.limits))
            .chain(self.spent(now_ns).iter().map(|spent| {
                alloc::format!("{:?} {:?} {}", queue_of(spent.queue), spent.name, spent.full_at_ns)
            }))
            .collect();
        told.extend(self.bodies().map(|at| {
            let body = (at.name, at.limits, at.body, at.units);
            alloc::format!("{:?} {body:?}", queue_of(at.queue))
        }));
        told.sort();
        told
    }
}

impl Group {
    fn view(&self) -> GroupView {
        GroupView {
            name: (*self.name).into(),
            ready: self.ready.into(),
            waiting: (self.jobs - self.under_way).into(),
            running: self.under_way.into(),
            limits: self.limits,
        }
    }
}
