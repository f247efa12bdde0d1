//! Queues: named lines of jobs that are due and wait for an executor or a worker. Within a queue
//! the highest priority goes first, and the oldest among equals. Among queues that executors serve,
//! priorities come first too, and queues take turns by weight at the same priority. A queue whose
//! limits let nothing be taken is closed until an attempt of it ends, or until its time has come.
//!
//! It knows slots, never what is in them. Times here are signed nanoseconds on the monotonic clock:
//! what was written before the boot lies before its zero.

pub(crate) mod aging;
mod bits;
pub(crate) mod groups;
mod hold;
mod limit;
pub(crate) mod permits;
mod sharing;
mod turns;

use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    vec::Vec,
};

use crate::{
    id::{Lsn, QueueId, Slot},
    limits::{PRIORITY_MAX, QUEUES_MAX},
    names::Names,
    time::WallTime,
    wheel::{Line, Links, Removed, next_of, push_back, remove},
};
use aging::Agings;
use groups::Groups;
pub use groups::{GroupView, GroupsView};
pub use limit::{QueueLimits, Rate};
use permits::{Permits, SharedQueue, Wait};
use turns::Turns;

/// Lines of one queue, by priority.
const LINES: usize = PRIORITY_MAX as usize + 1;

/// The queues of a shard.
#[derive(Debug)]
pub(crate) struct Queues {
    names: Names,
    queues: Vec<Queue>,
    /// Of each queue.
    bounds: Vec<Bounds>,
    /// Line `queue × 10 + priority`.
    lines: Vec<Line>,
    /// By priority, which queues executors may take a job from.
    open: [Turns; LINES],
    /// Jobs in all queues.
    len: u32,
    /// Jobs that executors may take.
    open_len: u32,
    /// Queues whose length is limited.
    with_length: u32,
    /// Sum of the bounds' `body_units` and `limits_units`.
    body_units: u64,
    /// Queues that a rate keeps closed, with the time at which each opens.
    asleep: BTreeSet<(i64, QueueId)>,
    /// Which call of [`Queues::next_many`] this is.
    plan: u64,
    /// Whether executors serve a queue that nobody has spoken of.
    served_by_default: bool,
    /// What shards share; without it limits hold in this shard alone.
    permits: Option<Box<dyn Permits>>,
    /// The recovery is over: permits are taken and given back.
    is_live: bool,
    /// The queues whose limits are shared.
    by_shared: BTreeMap<SharedQueue, QueueId>,
    /// Queues that may have been given what they waited for, in this pass.
    woken: Vec<QueueId>,
    /// Queues that wait for a permit and may have no use for it any more.
    idle: Vec<QueueId>,
    /// Queues with leave for an attempt that a fetch may begin in this pass.
    in_hand: Vec<QueueId>,
    /// Those who share a queue.
    pub(crate) groups: Groups,
    /// Which queues let their jobs age.
    pub(crate) agings: Agings,
    /// Queues whose shared rate has to be written down.
    unwritten: Vec<QueueId>,
    /// What a planted bug allows beyond the limit.
    #[cfg(feature = "planted")]
    pub(crate) planted_extra: u32,
    /// Attempts that a planted bug counts for ever.
    #[cfg(feature = "planted")]
    pub(crate) planted_leak: u32,
}

/// One queue: what each of its jobs touches. It lies within one cache line.
#[derive(Clone, Copy, Debug)]
#[repr(align(32))]
pub(crate) struct Queue {
    /// Jobs in its lines.
    len: u32,
    /// Of these, jobs of groups whose limits let nothing be taken now.
    barred: u32,
    /// Jobs that have not ended.
    jobs: u32,
    /// Of these, attempts under way. It is kept without a limit too, so that one that is set later
    /// is exact at once.
    under_way: u32,
    /// One bit per priority that has entries which its groups let be taken.
    occupied: u16,
    /// Its share beside other queues.
    weight: u8,
    /// Nothing is taken from it.
    pub(crate) is_paused: bool,
    /// Executors take from it; else only fetches do.
    is_served: bool,
    /// Something may keep a job of it back: see [`Queue::is_limited_by`].
    is_limited: bool,
    /// Its limits let nothing be taken now.
    is_held: bool,
    /// Its limits hold for all shards together.
    is_shared: bool,
    /// It stands among those that wait for a permit.
    waits: bool,
    /// What its breaker lets be taken.
    trip: Trip,
    /// A live group stands in it.
    is_grouped: bool,
}

/// What a breaker lets be taken of a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Trip {
    /// As much as limits let.
    #[default]
    Closed,
    /// Nothing.
    Open,
    /// One attempt at a time.
    Trial,
}

const _: () = assert!(size_of::<Queue>() == 32);

/// What bounds a queue, and where that is written. Jobs of a queue without limits do not touch it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    limits: QueueLimits,
    /// When its rate has its whole burst again, as far as this shard knows.
    full_at_ns: i64,
    /// Until when its rate lets nothing be taken: then it is in `asleep`.
    asleep_until_ns: Option<i64>,
    /// The last call of [`Queues::next_many`] that chose jobs of it, and how many.
    planned: (u64, u32),
    /// Its number in all shards, while its limits are shared.
    shared: Option<SharedQueue>,
    /// Shared, what it was told to wait for when it last asked.
    wait: Wait,
    /// It is closed until the end of an attempt anywhere.
    waits_for_place: bool,
    /// Shared, it may have been given what it waited for, and has not asked since.
    is_woken: bool,
    /// Shared, attempts that have leave to begin in this pass.
    in_hand: u32,
    /// Shared, jobs that are about to come and have their place in its length already.
    admitted: u32,
    /// Shared, when the rate has its whole burst again, and of that what was last written down.
    shared_full_at_ns: i64,
    noted_ns: i64,
    /// The event that last gave it limits, and that event's length; 0 if it has none.
    pub(crate) limits_body: Lsn,
    pub(crate) limits_units: u16,
    /// The event that last said whether it is paused, and that event's length; 0 if none did.
    pub(crate) body: Lsn,
    pub(crate) body_units: u16,
}

impl Queue {
    /// Jobs that wait in it.
    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    /// Jobs that have not ended and are not under way.
    pub(crate) fn waiting(&self) -> u32 {
        self.jobs - self.under_way
    }

    /// Jobs that have not ended.
    pub(crate) fn jobs(&self) -> u32 {
        self.jobs
    }

    /// Attempts under way.
    pub(crate) fn under_way(&self) -> u32 {
        self.under_way
    }

    /// Jobs that a fetch would get now, but for a rate that lets only some be taken.
    pub(crate) fn fetchable(&self) -> u32 {
        if self.is_paused || self.is_held { 0 } else { self.takeable() }
    }

    /// Jobs in its lines whose groups let them be taken.
    fn takeable(&self) -> u32 {
        self.len - self.barred
    }

    /// Whether these limits, others with whom it shares them, or a breaker may keep a job back.
    fn is_limited_by(&self, limits: &QueueLimits) -> bool {
        limits.holds_back() || self.is_shared || self.trip != Trip::Closed
    }

    fn is_open(&self) -> bool {
        self.is_served && !self.is_paused && !self.is_held
    }
}

impl Bounds {
    pub(crate) fn limits(&self) -> &QueueLimits {
        &self.limits
    }

    /// The same, with a rate that has its whole burst again at `full_at_ns`.
    pub(crate) fn with_full_at(self, full_at_ns: i64) -> Self {
        Self { full_at_ns, ..self }
    }

    /// When its rate has its whole burst again, on the wall clock.
    pub(crate) fn full_at(&self, offset_ns: i64) -> WallTime {
        WallTime(self.full_at_ns.saturating_add(offset_ns).max(0).cast_unsigned())
    }

    /// Attempts that may begin at `now_ns` beside those `under_way`.
    fn allowance(&self, under_way: u32, now_ns: i64) -> usize {
        let places = self.limits.concurrency.map_or(u32::MAX, |max| max.saturating_sub(under_way));
        let allowed =
            self.limits.rate.map_or(u32::MAX, |rate| rate.allowed(self.full_at_ns, now_ns));
        places.min(allowed) as usize
    }
}

impl Queues {
    /// No queues yet; executors serve those to come if `served_by_default`.
    pub(crate) fn new(served_by_default: bool) -> Self {
        Self {
            names: Names::new(QUEUES_MAX),
            queues: Vec::new(),
            bounds: Vec::new(),
            lines: Vec::new(),
            open: [const { Turns::new() }; LINES],
            len: 0,
            open_len: 0,
            with_length: 0,
            body_units: 0,
            asleep: BTreeSet::new(),
            plan: 0,
            served_by_default,
            permits: None,
            is_live: false,
            by_shared: BTreeMap::new(),
            woken: Vec::new(),
            idle: Vec::new(),
            in_hand: Vec::new(),
            groups: Groups::default(),
            agings: Agings::default(),
            unwritten: Vec::new(),
            #[cfg(feature = "planted")]
            planted_extra: 0,
            #[cfg(feature = "planted")]
            planted_leak: 0,
        }
    }

    /// The queue of this name, made now if need be; `None` when there are too many.
    pub(crate) fn intern(&mut self, name: &str) -> Option<QueueId> {
        let number = self.names.intern(name)?;
        if self.queues.len() <= usize::from(number) {
            let is_served = self.served_by_default;
            let limits = QueueLimits::default();
            self.queues.push(Queue {
                len: 0,
                barred: 0,
                jobs: 0,
                under_way: 0,
                occupied: 0,
                weight: limits.weight,
                is_paused: false,
                is_served,
                is_limited: false,
                is_held: false,
                is_shared: false,
                waits: false,
                trip: Trip::Closed,
                is_grouped: false,
            });
            self.bounds.push(Bounds {
                limits,
                full_at_ns: i64::MIN,
                asleep_until_ns: None,
                planned: (0, 0),
                shared: None,
                wait: Wait::No,
                waits_for_place: false,
                is_woken: false,
                in_hand: 0,
                admitted: 0,
                shared_full_at_ns: i64::MIN,
                noted_ns: i64::MIN,
                limits_body: Lsn(0),
                limits_units: 0,
                body: Lsn(0),
                body_units: 0,
            });
            self.lines.resize(self.queues.len() * LINES, Line::EMPTY);
        }
        Some(QueueId(number))
    }

    pub(crate) fn has_room_for(&self, name: &str) -> bool {
        self.names.has_room_for(name)
    }

    pub(crate) fn find(&self, name: &str) -> Option<QueueId> {
        self.names.find(name).map(QueueId)
    }

    pub(crate) fn name(&self, queue: QueueId) -> &str {
        self.names.name(queue.0)
    }

    pub(crate) fn names(&self) -> &[Arc<str>] {
        self.names.all()
    }

    pub(crate) fn get(&self, queue: QueueId) -> &Queue {
        &self.queues[usize::from(queue.0)]
    }

    pub(crate) fn bounds(&self, queue: QueueId) -> &Bounds {
        &self.bounds[usize::from(queue.0)]
    }

    /// Whether the length of any queue is limited.
    pub(crate) fn limits_lengths(&self) -> bool {
        self.with_length > 0
    }

    /// Length of the events at which pauses and limits are written, in units of 16 bytes.
    pub(crate) fn body_units(&self) -> u64 {
        self.body_units
    }

    /// All queues with their names, in the order of their numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Queue, &Bounds)> {
        let queues = self.queues.iter().zip(&self.bounds);
        self.names.all().iter().zip(queues).map(|(name, (queue, bounds))| (name, queue, bounds))
    }

    /// Jobs in all queues.
    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    /// Whether executors may take a job.
    pub(crate) fn is_any_open(&self) -> bool {
        self.open_len > 0
    }

    /// Says whether executors take from a queue.
    pub(crate) fn serve(&mut self, queue: QueueId, is_served: bool) {
        self.change(queue, |queue| queue.is_served = is_served);
    }

    /// Pauses a queue, or lets it go on.
    pub(crate) fn pause(&mut self, queue: QueueId, is_paused: bool) {
        self.change(queue, |queue| queue.is_paused = is_paused);
    }

    /// Notes the event at which the queue's pause is written, and its length.
    pub(crate) fn set_body(&mut self, queue: QueueId, body: Lsn, units: u16) {
        let bounds = &mut self.bounds[usize::from(queue.0)];
        self.body_units -= u64::from(bounds.body_units);
        self.body_units += u64::from(units);
        (bounds.body, bounds.body_units) = (body, units);
    }

    fn change(&mut self, queue: QueueId, change: impl FnOnce(&mut Queue)) {
        let number = usize::from(queue.0);
        let queue = &mut self.queues[number];
        let was_open = queue.is_open();
        change(queue);
        let is_open = queue.is_open();
        if queue.waits && queue.is_paused {
            self.idle.push(QueueId(number as u16));
        }
        if was_open == is_open {
            return;
        }
        let weight = queue.weight;
        for (priority, open) in self.open.iter_mut().enumerate() {
            open.set(number, weight, is_open && queue.occupied & 1 << priority != 0);
        }
        if is_open {
            self.open_len += queue.takeable();
        } else {
            self.open_len -= queue.takeable();
        }
    }

    pub(crate) fn push(&mut self, links: &mut Links, slot: Slot, queue: QueueId, priority: u8) {
        let number = usize::from(queue.0);
        push_back(links, &mut self.lines, number * LINES + usize::from(priority), slot.0);
        let queue = &mut self.queues[number];
        queue.len += 1;
        queue.occupied |= 1 << priority;
        self.len += 1;
        if queue.is_open() {
            self.open_len += 1;
            self.open[usize::from(priority)].set(number, queue.weight, true);
        }
        if queue.is_grouped {
            self.seat_plain(QueueId(number as u16), priority.into());
        }
    }

    /// Calls `visit` for each job and its line.
    pub(crate) fn visit(&self, links: &Links, visit: &mut impl FnMut(u32, QueueId, u8)) {
        self.groups.visit(links, visit);
        for (number, line) in self.lines.iter().enumerate() {
            let queue = QueueId((number / LINES) as u16);
            let mut entry = line.first();
            while let Some(slot) = entry {
                visit(slot, queue, (number % LINES) as u8);
                entry = next_of(links, slot);
            }
        }
    }

    /// The first job without a group of each priority of `queue`.
    pub(crate) fn firsts(&self, queue: QueueId) -> impl Iterator<Item = Slot> {
        let first = usize::from(queue.0) * LINES;
        self.lines[first..first + LINES].iter().filter_map(|line| line.first().map(Slot))
    }

    /// Takes a job without a group out of `queue`, in which it stands.
    pub(crate) fn remove(&mut self, links: &mut Links, slot: Slot, queue: QueueId) {
        let number = usize::from(queue.0);
        if let Removed::Emptied(line) = remove(links, &mut self.lines, slot.0) {
            let priority = line % LINES;
            let emptied = &mut self.queues[number];
            if emptied.is_grouped {
                self.unseat_plain(queue, priority);
            } else {
                emptied.occupied &= !(1 << priority);
                self.open[priority].set(number, emptied.weight, false);
            }
        }
        let queue = &mut self.queues[number];
        queue.len -= 1;
        self.len -= 1;
        self.open_len -= u32::from(queue.is_open());
        if queue.takeable() == 0 && queue.waits {
            self.idle.push(QueueId(number as u16));
        }
    }

    /// Jobs that executors should take next, at most `max` and within limits at `now_ns`; they stay
    /// in line. What a queue has less than its share is left for the next call. If there is an open
    /// queue, there is a job.
    pub(crate) fn next_many(
        &mut self,
        links: &Links,
        max: usize,
        now_ns: i64,
        slots: &mut Vec<Slot>,
    ) {
        self.plan += 1;
        for priority in (0..LINES).rev() {
            let count = self.open[priority].count();
            if count == 0 {
                continue;
            }
            if count == 1 {
                // Nobody to take turns with.
                let Some(number) = self.open[priority].only() else { continue };
                let before = slots.len();
                let most = max.min(before.saturating_add(self.left_in_plan(number, now_ns)));
                self.take(links, (number, priority), most, now_ns, slots);
                self.settle_taken(number, before, now_ns, slots);
                if slots.len() == max {
                    return;
                }
                continue;
            }
            let mut round = self.open[priority].begin(max - slots.len());
            let mut was_cut = false;
            for _ in 0..count {
                let Some(number) = self.open[priority].next(&round) else { break };
                let weight = self.queues[number].weight;
                let share = self.open[priority].share(&mut round, number, weight);
                let allowance = self.left_in_plan(number, now_ns);
                let before = slots.len();
                let most = max.min(before + share.min(allowance));
                let is_cut = self.take(links, (number, priority), most, now_ns, slots);
                self.settle_taken(number, before, now_ns, slots);
                let taken = slots.len() - before;
                was_cut |= is_cut && taken == share;
                self.open[priority].give_back(&mut round, number, share - taken);
                if slots.len() == max {
                    return;
                }
            }
            // A lower priority must not go before what a queue has beyond its share.
            if was_cut {
                return;
            }
        }
    }

    /// What the queue's limits let be taken beyond what this call has chosen of it already.
    fn left_in_plan(&self, number: usize, now_ns: i64) -> usize {
        let queue = &self.queues[number];
        if !queue.is_limited {
            return usize::MAX;
        }
        let bounds = &self.bounds[number];
        let (plan, planned) = bounds.planned;
        let planned = if plan == self.plan { planned as usize } else { 0 };
        self.allowance(number, now_ns).saturating_sub(planned)
    }

    /// Attempts of a queue that may begin now, as far as this shard can say by itself.
    fn allowance(&self, number: usize, now_ns: i64) -> usize {
        let queue = &self.queues[number];
        let by_limits = match queue.is_limited && !queue.is_shared {
            true => self.bounds[number].allowance(queue.under_way, now_ns),
            // If it has any, it is asked for once it is known how many there are.
            false => usize::MAX,
        };
        match queue.trip {
            Trip::Trial => by_limits.min(1_usize.saturating_sub(queue.under_way as usize)),
            Trip::Closed | Trip::Open => by_limits,
        }
    }

    /// Of the jobs that were chosen of a queue, those from `before` on, leaves as many as its limits let.
    fn settle_taken(&mut self, number: usize, before: usize, now_ns: i64, slots: &mut Vec<Slot>) {
        let Queue { is_limited, is_shared, .. } = self.queues[number];
        if !is_limited {
            return;
        }
        if is_shared {
            let taken = slots.len() - before;
            slots.truncate(before + self.take_permits(number, taken, now_ns));
        }
        let taken = slots.len() - before;
        let bounds = &mut self.bounds[number];
        let earlier = if bounds.planned.0 == self.plan { bounds.planned.1 } else { 0 };
        bounds.planned = (self.plan, earlier + taken as u32);
    }

    /// Jobs that a fetch from `queue` gets next at `now_ns`, until there are `max` in `slots`; they
    /// stay in line, and all of them must begin.
    pub(crate) fn first_many(
        &mut self,
        links: &Links,
        queue: QueueId,
        max: usize,
        now_ns: i64,
        slots: &mut Vec<Slot>,
    ) {
        self.plan += 1;
        let number = usize::from(queue.0);
        let Queue { mut occupied, is_paused, is_held, is_limited, is_shared, .. } =
            self.queues[number];
        let allowance = self.allowance(number, now_ns);
        let before = slots.len();
        let max = max.min(before.saturating_add(allowance));
        while occupied != 0 && !is_paused && !is_held && slots.len() < max {
            let priority = 15 - occupied.leading_zeros();
            occupied &= !(1 << priority);
            self.take(links, (number, priority as usize), max, now_ns, slots);
        }
        if is_limited && is_shared {
            let taken = slots.len() - before;
            slots.truncate(before + self.take_permits(number, taken, now_ns));
        }
    }

    /// Takes jobs of a queue and priority until there are `max` in `slots`; true if it has more.
    fn take(
        &mut self,
        links: &Links,
        (number, priority): (usize, usize),
        max: usize,
        now_ns: i64,
        slots: &mut Vec<Slot>,
    ) -> bool {
        if self.queues[number].is_grouped {
            return self.take_turns(links, (QueueId(number as u16), priority), max, now_ns, slots);
        }
        self.take_line(links, number * LINES + priority, max, slots)
    }

    /// Takes jobs of a line until there are `max` in `slots`; true if it has more.
    fn take_line(&self, links: &Links, line: usize, max: usize, slots: &mut Vec<Slot>) -> bool {
        let mut slot = self.lines[line].first();
        while let Some(entry) = slot.filter(|_| slots.len() < max) {
            slots.push(Slot(entry));
            slot = next_of(links, entry);
        }
        slot.is_some()
    }
}

#[cfg(test)]
mod tests;
