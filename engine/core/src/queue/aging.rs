//! Aging: in a queue that has it, a job that has waited for a span counts as one priority higher, again after each
//! such span, up to the highest. So nothing waits for ever behind a steady stream of higher priorities.
//!
//! A job goes from line to line: it stands at the end of the next higher one once it has waited long enough. Each
//! line is in the order in which jobs came into it, so its first is the next to leave it. Lines are looked
//! at a few times per span, and not at all in queues without aging. Nothing of it is written but the span.
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
        let aging = span_ms.map(|span_ms| Aging { span_ms, next_ns: 0, body, units });
        let before = match aging {
            Some(aging) => self.agings.queues.insert(queue, aging),
            None => self.agings.queues.remove(&queue),
        };
        self.body_units += aging.map_or(0, |aging| u64::from(aging.units));
        self.body_units -= before.map_or(0, |aging| u64::from(aging.units));
    }

    /// Lets the jobs that have waited for long enough at `now_ns` stand in the next lines, within the budget of one
    /// step.
    pub(crate) fn age(&mut self, links: &mut Links, now_ns: u64, waits: impl Fn(Slot) -> Waits) {
        let due = |(queue, aging): (&QueueId, &Aging)| (aging.next_ns <= now_ns).then_some(*queue);
        let queues: Vec<QueueId> = self.agings.queues.iter().filter_map(due).collect();
        let mut work = AGING_WORK_PER_STEP;
        for queue in queues {
            let Some(aging) = self.agings.queues.get_mut(&queue) else { continue };
            let span_ns = crate::time::ms_to_ns(aging.span_ms.into());
            aging.next_ns = now_ns + (span_ns / AGING_LOOKS_PER_SPAN).max(AGING_LOOK_NS_MIN);
            let mut stood: Vec<Option<GroupId>> = alloc::vec![None];
            stood.extend(self.groups.of_queue(queue).into_iter().map(Some));
            for group in stood {
                for priority in 0..LINES - 1 {
                    let lift = Lift { queue, group, priority, span_ns, now_ns };
                    if !self.lift(links, lift, &waits, &mut work) {
                        // The rest with the next step.
                        if let Some(aging) = self.agings.queues.get_mut(&queue) {
                            aging.next_ns = now_ns;
                        }
                        return;
                    }
                }
            }
        }
    }

    /// Lifts jobs from one line to the next; `false` when the budget is used up.
    fn lift(
        &mut self,
        links: &mut Links,
        Lift { queue, group, priority, span_ns, now_ns }: Lift,
        waits: &impl Fn(Slot) -> Waits,
        work: &mut u32,
    ) -> bool {
        let line = priority as u8;
        loop {
            let first = match group {
                Some(group) => self.groups.first_of(group, priority),
                None => self.lines[usize::from(queue.0) * LINES + priority].first().map(Slot),
            };
            let Some(slot) = first else { return true };
            let Waits { ready_ns, priority: own } = waits(slot);
            let spans = u64::from(line.saturating_sub(own)) + 1;
            if ready_ns.saturating_add(spans * span_ns) > now_ns {
                return true;
            }
            if *work == 0 {
                return false;
            }
            *work -= 1;
            match group {
                Some(group) => {
                    self.remove_grouped(links, slot, group);
                    self.push_grouped(links, slot, group, line + 1);
                }
                None => {
                    self.remove(links, slot, queue);
                    self.push(links, slot, queue, line + 1);
                }
            }
            self.agings.lifted.insert(slot, line + 1);
        }
    }
}

/// The line of a queue, or of a group of it, that is looked at.
#[derive(Clone, Copy)]
struct Lift {
    queue: QueueId,
    group: Option<GroupId>,
    priority: usize,
    span_ns: u64,
    now_ns: u64,
}

// The last line has no next one.
const _: () = assert!(PRIORITY_MAX as usize == LINES - 1);
