//! Lists of jobs: which jobs a filter takes, and walks through the table in pieces of bounded work.
//!
//! A job keeps its slot for as long as it is held, and its entry for as long as it is dead. So a walk
//! in the order of slots, or of entries where only dead jobs are asked for, meets each job once that is
//! there, and fits the filter, from the beginning of the walk to its end. A job that comes, goes or
//! changes meanwhile may be met or not.

use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    vec::Vec,
};

use super::{
    Scheduler,
    changes::Change,
    decide::{Answered, refused},
    io::{Answer, Attempt, Next, OutcomeKind, Outputs},
};
use crate::{
    id::{JobId, Key, KindId, Lsn, QueueId, Slot},
    job::{
        Clock, JobState, Tags,
        record::{Record, Role},
    },
    journal::Journal,
    limits,
    time::{MonoTime, Now, WallTime},
};

/// Some of the states of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct States(u8);

impl States {
    /// Every state.
    pub const ALL: Self = Self(u8::MAX);

    /// These states.
    ///
    /// ```
    /// use tickwheel_core::{JobState, States};
    /// let waiting = States::of(&[JobState::Scheduled, JobState::Ready]);
    /// assert!(waiting.has(JobState::Ready) && !waiting.has(JobState::Dead));
    /// ```
    #[must_use]
    pub fn of(states: &[JobState]) -> Self {
        Self(states.iter().fold(0, |bits, state| bits | 1 << *state as u8))
    }

    /// Those that are in both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether `state` is among them.
    #[must_use]
    pub fn has(self, state: JobState) -> bool {
        self.0 & 1 << state as u8 != 0
    }
}

/// Which jobs are meant. A field that is `None` leaves every job in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// States.
    pub states: States,
    /// Kind.
    pub kind: Option<Box<str>>,
    /// Queue.
    pub queue: Option<Box<str>>,
    /// Group, in whichever queue.
    pub group: Option<Box<str>>,
    /// Tags; it has all of them.
    pub tags: Tags,
    /// The schedule that added it, if it is still there.
    pub schedule: Option<Box<str>>,
    /// Due at this time or later.
    pub due_from: Option<WallTime>,
    /// Due before this time.
    pub due_before: Option<WallTime>,
    /// Whether an attempt has begun that counts.
    pub is_attempted: Option<bool>,
    /// Added before this job, in its shard.
    pub added_before: Option<JobId>,
    /// Dead since before this time: no other job fits.
    pub died_before: Option<WallTime>,
}

impl Default for Filter {
    fn default() -> Self {
        Self {
            states: States::ALL,
            kind: None,
            queue: None,
            group: None,
            tags: Tags::default(),
            schedule: None,
            due_from: None,
            due_before: None,
            is_attempted: None,
            added_before: None,
            died_before: None,
        }
    }
}

/// Where a walk goes on. It is of use with the filter that it began with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct WalkPlace(pub u32);

/// How much a piece of a walk may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalkBudget {
    /// Places looked at.
    pub places: u32,
    /// Jobs found.
    pub jobs: usize,
}

/// What one piece of a change of many jobs came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Piece {
    /// Jobs that were changed.
    pub changed: u32,
    /// Jobs that fit the filter, and that the change does not fit or a bound forbids.
    pub left: u32,
    /// Where it goes on; `None` at the end.
    pub next: Option<WalkPlace>,
}

/// A filter with numbers in the place of names.
struct Resolved<'f> {
    filter: &'f Filter,
    kind: Option<KindId>,
    queue: Option<QueueId>,
    schedule: Option<u16>,
    offset_ns: i64,
}

impl Resolved<'_> {
    fn takes(&self, record: &Record) -> bool {
        let filter = self.filter;
        filter.states.has(record.state)
            && record.role() == Role::Job
            && self.kind.is_none_or(|kind| record.kind == kind)
            && self.queue.is_none_or(|queue| record.queue == queue)
            && self.schedule.is_none_or(|schedule| record.schedule == schedule)
            && filter.is_attempted.is_none_or(|is| is == (record.attempt > 0))
            && filter.added_before.is_none_or(|id| record.id < id)
            && self.is_due_within(record)
    }

    fn is_due_within(&self, record: &Record) -> bool {
        let Filter { due_from, due_before, .. } = self.filter;
        if due_from.is_none() && due_before.is_none() {
            return true;
        }
        let due = match record.clock() {
            Clock::Mono => MonoTime(record.due_ns).to_wall(self.offset_ns),
            Clock::Wall => WallTime(record.due_ns),
        };
        due_from.is_none_or(|from| due >= from) && due_before.is_none_or(|before| due < before)
    }
}

impl Scheduler {
    /// Jobs that `filter` takes, from a place of a walk on, until the budget is used up; where the walk
    /// goes on then, `None` at its end.
    pub fn find_jobs(
        &self,
        filter: &Filter,
        from: WalkPlace,
        budget: WalkBudget,
        found: &mut Vec<JobId>,
    ) -> Option<WalkPlace> {
        self.walk(filter, from, budget, |slot| {
            found.push(self.table.get(slot).id);
            true
        })
    }

    /// Jobs held of each kind that has any, dead ones included.
    #[must_use]
    pub fn kinds(&self) -> Vec<(Box<str>, u64)> {
        let named = self.kinds.all().iter().enumerate();
        let counted = named
            .map(|(number, name)| ((**name).into(), self.table.of_kind(KindId(number as u16))));
        counted
            .map(|(name, jobs): (Box<str>, u32)| (name, u64::from(jobs)))
            .filter(|(_, jobs)| *jobs > 0)
            .collect()
    }

    /// Gives `visit` the slots that `filter` takes, until the budget is used up or it returns false for
    /// one, at which the walk goes on then.
    fn walk(
        &self,
        filter: &Filter,
        from: WalkPlace,
        budget: WalkBudget,
        mut visit: impl FnMut(Slot) -> bool,
    ) -> Option<WalkPlace> {
        let resolved = self.resolve(filter)?;
        let among_dead = is_of_dead(filter);
        let places = if among_dead { self.dead.entries() } else { self.table.slots() };
        let end = from.0.saturating_add(budget.places).min(places);
        let mut left = budget.jobs;
        for place in from.0..end {
            let slot = match among_dead {
                false => Slot(place),
                true => {
                    let entry = self.dead.get(place);
                    let died = entry.death().at;
                    let is_meant = filter.died_before.is_none_or(|before| died < before);
                    if !entry.is_held || !is_meant {
                        continue;
                    }
                    entry.slot
                }
            };
            if !resolved.takes(self.table.get(slot)) || !self.has_options_of(filter, slot) {
                continue;
            }
            if left == 0 || !visit(slot) {
                return Some(WalkPlace(place));
            }
            left -= 1;
        }
        (end < places).then_some(WalkPlace(end))
    }

    /// Whether the job in `slot` has the group and the tags that `filter` asks for.
    fn has_options_of(&self, filter: &Filter, slot: Slot) -> bool {
        if filter.group.is_none() && filter.tags.is_empty() {
            return true;
        }
        self.options_at(slot).is_some_and(|options| {
            let group = filter.group.as_deref();
            group.is_none_or(|group| options.group.as_deref() == Some(group))
                && filter.tags.iter().all(|tag| options.tags.contains(tag))
        })
    }

    /// `None` if no job can fit: a name is not known, or the counts say so.
    fn resolve<'f>(&self, filter: &'f Filter) -> Option<Resolved<'f>> {
        let kind = match &filter.kind {
            Some(name) => Some(self.kinds.find(name).map(KindId)?),
            None => None,
        };
        let queue = match &filter.queue {
            Some(name) => Some(self.queues.find(name)?),
            None => None,
        };
        let schedule = match &filter.schedule {
            Some(name) => Some(self.schedules.find(name)?),
            None => None,
        };
        let of_queue = |queue: QueueId| {
            let jobs = self.queues.get(queue).jobs();
            // Which queue a dead job stood in is not counted.
            if filter.states.has(JobState::Dead) {
                jobs.saturating_add(self.dead.len())
            } else {
                jobs
            }
        };
        let counts = self.counts();
        let scheduled = counts.pending - counts.ready - counts.running;
        let by_state = [
            (JobState::Scheduled, scheduled),
            (JobState::Ready, counts.ready),
            (JobState::Running, counts.running),
            (JobState::Dead, counts.buried),
            (JobState::Blocked, scheduled),
        ];
        let can_fit = by_state.iter().any(|(state, jobs)| filter.states.has(*state) && *jobs > 0)
            && kind.is_none_or(|kind| self.table.of_kind(kind) > 0)
            && queue.is_none_or(|queue| of_queue(queue) > 0);
        can_fit.then_some(Resolved { filter, kind, queue, schedule, offset_ns: self.offset_ns })
    }

    /// Changes jobs that `filter` takes: one piece of a walk. At most one event is written.
    pub(super) fn change_many(
        &mut self,
        now: Now,
        (filter, change): (&Filter, &Change),
        (from, budget): (WalkPlace, WalkBudget),
        journal: &mut impl Journal,
        out: &mut Outputs,
    ) -> Answered {
        let written = match change.check(now).and_then(|()| change.written(now)) {
            Ok(written) => written,
            Err(refusal) => return refused(refusal),
        };
        if let Err(refusal) = self.tell_before(now, change, journal) {
            return refused(refusal);
        }
        let jobs = budget.jobs.min(limits::LIST_ATTEMPTS_MAX);
        let mut chosen = Chosen::default();
        let mut slots = core::mem::take(&mut self.hints);
        slots.clear();
        let next = self.walk(filter, from, WalkBudget { jobs, ..budget }, |slot| {
            let state = self.table.get(slot).state;
            let is_allowed = change.fits(state) && self.may_change(slot, change).is_ok();
            match is_allowed && chosen.takes(self, slot, change) {
                true => slots.push(slot),
                false => chosen.left += 1,
            }
            true
        });
        let Chosen { mut left, .. } = chosen;
        if !slots.is_empty()
            && let Err(refusal) = self.room_for_change(slots.len(), journal)
        {
            self.hints = slots;
            return refused(refusal);
        }
        // Once nothing else can refuse them: queues keep places for jobs that come.
        slots.retain(|slot| {
            let is_admitted = self.admit_changed(*slot, change).is_ok();
            left += u32::from(!is_admitted);
            is_admitted
        });
        self.hints = slots;
        let changed = self.hints.len() as u32;
        if changed == 0 {
            return (Answer::ChangedMany(Piece { changed, left, next }), Lsn(0));
        }
        if *change == Change::Cancel {
            self.stop_hinted(out);
        }
        let position = self.commit_change(now, written, journal);
        (Answer::ChangedMany(Piece { changed, left, next }), position.end)
    }

    /// The jobs in `self.hints` are about to be cancelled: attempts that are under way should stop.
    fn stop_hinted(&self, out: &mut Outputs) {
        for slot in &self.hints {
            let Record { id: job, token, state, .. } = *self.table.get(*slot);
            if state != JobState::Running {
                continue;
            }
            if !self.table.get(*slot).is_fetched() {
                out.stops.push(Attempt { job, slot: *slot, token });
            }
            self.notice(out, *slot, OutcomeKind::Cancelled, "", Next::Done);
        }
    }
}

/// Jobs that one event will change, as far as one stands in the way of another.
#[derive(Default)]
struct Chosen {
    /// Jobs that were not chosen.
    left: u32,
    /// Keys of jobs that will be queued again.
    keys: BTreeSet<Key>,
    /// How many more each queue will hold.
    more: Vec<(QueueId, u32)>,
    /// How many more each group will have.
    of_groups: BTreeMap<(QueueId, Arc<str>), u32>,
    /// Jobs more that have not ended.
    pending: u32,
}

impl Chosen {
    /// Whether the group of the job in `slot`, if it has one, takes it beside those that were chosen.
    fn group_takes(&mut self, core: &Scheduler, slot: Slot) -> bool {
        let Some(group) = core.group_name_at(slot) else { return true };
        let queue = core.table.get(slot).queue;
        let more = self.of_groups.entry((queue, Arc::clone(&group))).or_default();
        let fits = core.group_takes(queue, &group, *more).is_ok();
        *more += u32::from(fits);
        fits
    }

    /// Whether the job in `slot` can be changed beside those that were chosen.
    fn takes(&mut self, core: &Scheduler, slot: Slot, change: &Change) -> bool {
        let record = core.table.get(slot);
        let queue = match change {
            Change::Requeue => {
                let key = core.dead.get(record.dead_entry()).key();
                if key.is_some_and(|key| !self.keys.insert(key)) {
                    return false;
                }
                self.pending += 1;
                if core.pending() + self.pending > core.config.jobs_max {
                    return false;
                }
                if !self.group_takes(core, slot) {
                    return false;
                }
                record.queue
            }
            Change::Queue(name) => match core.queues.find(name) {
                Some(queue) if queue != record.queue => queue,
                _ => return true,
            },
            _ => return true,
        };
        let Some(length) = core.queues.bounds(queue).limits().length else { return true };
        let more = match self.more.iter_mut().find(|(of, _)| *of == queue) {
            Some((_, more)) => more,
            None => {
                self.more.push((queue, 0));
                let Some((_, more)) = self.more.last_mut() else { return false };
                more
            }
        };
        let fits = core.queues.get(queue).waiting() + *more < length;
        *more += u32::from(fits);
        fits
    }
}

/// Whether only dead jobs can fit.
fn is_of_dead(filter: &Filter) -> bool {
    filter.states == States::of(&[JobState::Dead]) || filter.died_before.is_some()
}
