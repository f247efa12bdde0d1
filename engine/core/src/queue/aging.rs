//! Aging: in a queue that has it, a job that has waited for a span counts as one priority higher, again after each
//! such span, up to the highest. So nothing waits for ever behind a steady stream of higher priorities.
//!
//! A job that has waited long enough goes to the end of the line that it counts for. Each line is in the order in which
//! jobs came into it, and its first is looked at. Where nobody has looked for a long time it may stand behind jobs that
//! are ready since later, and is lifted with those: less than a span later than it should be, and never by more, as
//! it then goes to the line that all its waiting counts for. Lines are looked at a few times per span, within a budget
//! per step, and not at all in queues without aging. Nothing of it is written but the span.
//!
//! It knows slots and times, never what is in jobs.

use alloc::{collections::BTreeMap, vec::Vec};

use super::{LINES, Queues};
use crate::{
    id::{GroupId, Lsn, QueueId, Slot},
    limits::{AGING_LOOK_NS_MIN, AGING_LOOKS_PER_SPAN, AGING_WORK_PER_STEP, PRIORITY_MAX},
    wheel::Links,
};

/// The queues of a shard that have aging.
#[derive(Debug, Default)]
pub(crate) struct Agings {
    queues: BTreeMap<QueueId, Aging>,
    /// Lines of jobs that stand in another than their priority's.
    lifted: BTreeMap<Slot, u8>,
}

/// The aging of one queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Aging {
    /// In milliseconds.
    pub(crate) span_ms: u32,
    /// When its lines are looked at next, on the monotonic clock.
    next_ns: u64,
    /// Where that look goes on: 0 are the jobs without a group, and others the groups by their numbers plus one.
    place: u32,
    /// The event that set it, and its length.
    pub(crate) body: Lsn,
    pub(crate) units: u16,
}

/// Since when a job is ready, on the monotonic clock, and its priority.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waits {
    pub(crate) ready_ns: u64,
    pub(crate) priority: u8,
}

impl Agings {
    /// Whether any queue has aging.
    pub(crate) fn is_any(&self) -> bool {
        !self.queues.is_empty()
    }

    /// The aging of a queue.
    pub(crate) fn of(&self, queue: QueueId) -> Option<&Aging> {
        self.queues.get(&queue)
    }

    /// All of them, by queue.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (QueueId, &Aging)> {
        self.queues.iter().map(|(queue, aging)| (*queue, aging))
    }

    /// The line that the ready job in `slot` stands in, which has this priority.
    pub(crate) fn line_of(&self, slot: Slot, priority: u8) -> u8 {
        self.lifted.get(&slot).copied().unwrap_or(priority)
    }

    /// Whether any job stands in another line than its priority's; also where nothing ages any more.
    pub(crate) fn is_any_lifted(&self) -> bool {
        !self.lifted.is_empty()
    }

    /// The job in `slot` has left its line.
    pub(crate) fn leave(&mut self, slot: Slot) {
        self.lifted.remove(&slot);
    }
}

impl Queues {
    /// Gives a queue aging by this span, or takes it away: jobs stay in the lines that they have come to.
    pub(crate) fn set_aging(
        &mut self,
        queue: QueueId,
        span_ms: Option<u32>,
        body: Lsn,
        units: u16,
    ) {
        // A record that came from elsewhere may hold 0: then nothing ages.
        let span_ms = span_ms.filter(|span_ms| *span_ms > 0);
        let aging = span_ms.map(|span_ms| Aging { span_ms, next_ns: 0, place: 0, body, units });
        let before = match aging {
            Some(aging) => self.agings.queues.insert(queue, aging),
            None => self.agings.queues.remove(&queue),
        };
        self.body_units += aging.map_or(0, |aging| u64::from(aging.units));
        self.body_units -= before.map_or(0, |aging| u64::from(aging.units));
    }

    /// Lets the jobs that have waited for long enough at `now_ns` stand in higher lines, within the budget of one
    /// step; the rest with the next step.
    pub(crate) fn age(&mut self, links: &mut Links, now_ns: u64, waits: impl Fn(Slot) -> Waits) {
        let due = |(queue, aging): (&QueueId, &Aging)| (aging.next_ns <= now_ns).then_some(*queue);
        let queues: Vec<QueueId> = self.agings.queues.iter().filter_map(due).collect();
        let mut work = AGING_WORK_PER_STEP;
        for queue in queues {
            let Some(aging) = self.agings.queues.get(&queue) else { continue };
            let (first, span_ns) = (aging.place, crate::time::ms_to_ns(aging.span_ms.into()));
            let cut_at = (first..=self.groups.places()).find(|place| {
                let lift = Lift { queue, group: None, span_ns, now_ns };
                !self.age_place(links, *place, lift, &waits, &mut work)
            });
            let Some(aging) = self.agings.queues.get_mut(&queue) else { continue };
            if let Some(place) = cut_at {
                (aging.place, aging.next_ns) = (place, now_ns);
                return;
            }
            aging.place = 0;
            aging.next_ns = now_ns + (span_ns / AGING_LOOKS_PER_SPAN).max(AGING_LOOK_NS_MIN);
        }
    }

    /// Looks at the lines of one place of a queue; `false` when the budget is used up.
    fn age_place(
        &mut self,
        links: &mut Links,
        place: u32,
        lift: Lift,
        waits: &impl Fn(Slot) -> Waits,
        work: &mut u32,
    ) -> bool {
        let Some(left) = work.checked_sub(1) else { return false };
        *work = left;
        let group = match place.checked_sub(1) {
            Some(number) => match self.groups.live_in(lift.queue, number) {
                Some(group) => Some(group),
                None => return true,
            },
            None => None,
        };
        let lift = Lift { group, ..lift };
        // From the highest on: nothing is looked at twice.
        (0..LINES - 1).rev().all(|line| self.lift(links, line, lift, waits, work))
    }

    /// Lifts the jobs of a line that count for more; `false` when the budget is used up.
    fn lift(
        &mut self,
        links: &mut Links,
        line: usize,
        Lift { queue, group, span_ns, now_ns }: Lift,
        waits: &impl Fn(Slot) -> Waits,
        work: &mut u32,
    ) -> bool {
        loop {
            let first = match group {
                Some(group) => self.groups.first_of(group, line),
                None => self.lines[usize::from(queue.0) * LINES + line].first().map(Slot),
            };
            let Some(slot) = first else { return true };
            let Waits { ready_ns, priority } = waits(slot);
            let spans = now_ns.saturating_sub(ready_ns) / span_ns;
            let counts = spans.saturating_add(priority.into()).min(PRIORITY_MAX.into()) as u8;
            if usize::from(counts) <= line {
                return true;
            }
            let Some(left) = work.checked_sub(1) else { return false };
            *work = left;
            match group {
                Some(group) => {
                    self.remove_grouped(links, slot, group);
                    self.push_grouped(links, slot, group, counts);
                }
                None => {
                    self.remove(links, slot, queue);
                    self.push(links, slot, queue, counts);
                }
            }
            self.agings.lifted.insert(slot, counts);
        }
    }
}

/// The lines of a queue, or of a group of it, that are looked at.
#[derive(Clone, Copy)]
struct Lift {
    queue: QueueId,
    group: Option<GroupId>,
    span_ns: u64,
    now_ns: u64,
}

// The last line has no next one.
const _: () = assert!(PRIORITY_MAX as usize == LINES - 1);
