//! Limits of queues, as all shards of a world must keep them together. While shards have different ones,
//! because a change has not come to all of them yet, nothing is asked.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use tickwheel_core::{Now, QueueLimits, Rate, event::Event};

use super::{Cause, JobIs, Model, State, ensure};
use crate::Verdict;

/// A queue as one shard has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    limits: QueueLimits,
    under_way: u32,
    waiting: u32,
}

/// What rates have spent: one for all shards.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meters(Rc<RefCell<BTreeMap<String, Meter>>>);

#[derive(Debug)]
struct Meter {
    rate: Rate,
    full_at_ns: i64,
}

impl Meters {
    /// Nothing is known of what was spent.
    pub(crate) fn forget(&self) {
        self.0.borrow_mut().clear();
    }
}

impl Model {
    pub(crate) fn seen(&self, queue: &str) -> Seen {
        let mut seen = Seen { limits: self.limits_of(queue), ..Seen::default() };
        for job in self.state.jobs.values().filter(|job| job.terms.queue == queue) {
            match job.state {
                JobIs::Running { .. } => seen.under_way += 1,
                JobIs::Waiting => seen.waiting += 1,
            }
        }
        seen
    }

    fn limits_of(&self, queue: &str) -> QueueLimits {
        self.state.limits.get(queue).copied().unwrap_or_default()
    }

    /// Attempts of a queue under way at the most.
    pub(crate) fn concurrency(&self, queue: &str) -> Option<u32> {
        self.limits_of(queue).concurrency
    }

    /// The other shards of the world that are open.
    pub(crate) fn note_others(&mut self, others: BTreeMap<String, Vec<Seen>>) {
        self.others = others;
    }

    /// The limits that all shards have, with what they have of the queue together.
    fn together(&self, queue: &str) -> Option<Seen> {
        let mut sum = self.seen(queue);
        for other in self.others.get(queue).into_iter().flatten() {
            if other.limits != sum.limits {
                return None;
            }
            sum.under_way += other.under_way;
            sum.waiting += other.waiting;
        }
        Some(sum)
    }

    /// One more attempt of a queue begins.
    pub(super) fn check_begins_within(&mut self, queue: &str, now: Now) -> Verdict {
        if self.others.is_empty() && self.limits_of(queue) == QueueLimits::default() {
            return Ok(());
        }
        let Some(Seen { limits, under_way, .. }) = self.together(queue) else {
            self.counters.limits_on_their_way += 1;
            self.meters.0.borrow_mut().remove(queue);
            return Ok(());
        };
        if let Some(max) = limits.concurrency {
            self.counters.begun_within_a_concurrency += 1;
            self.counters.concurrency_reached += u64::from(under_way + 1 == max);
            ensure(under_way < max, || {
                format!("{under_way} of {max} attempts of {queue} are under way")
            })?;
        }
        let mut meters = self.meters.0.borrow_mut();
        let Some(rate) = limits.rate else {
            meters.remove(queue);
            return Ok(());
        };
        self.counters.begun_within_a_rate += 1;
        let now_ns = now.mono.0.cast_signed();
        let meter = meters.entry(queue.to_owned()).or_insert(Meter { rate, full_at_ns: now_ns });
        if meter.rate != rate {
            *meter = Meter { rate, full_at_ns: now_ns };
        }
        ensure(rate.allowed(meter.full_at_ns, now_ns) > 0, || {
            format!("{queue} has spent its rate: {meter:?}, at {now_ns}")
        })?;
        meter.full_at_ns = rate.spend_many(meter.full_at_ns, now_ns, 1);
        Ok(())
    }

    /// One more job comes to a queue.
    pub(super) fn check_length(&mut self, queue: &str) -> Verdict {
        let Some(Seen { limits, waiting, .. }) = self.together(queue) else { return Ok(()) };
        ensure(limits.length.is_none_or(|max| waiting < max), || {
            format!("{waiting} jobs wait in {queue}: {limits:?}")
        })
    }

    /// A job was refused because so many wait in its queue.
    pub(crate) fn check_full(&mut self, queue: &str, max: u32) -> Verdict {
        self.counters.refused_for_a_full_queue += 1;
        match self.together(queue) {
            Some(Seen { limits, waiting, .. }) => {
                ensure(limits.length == Some(max) && waiting >= max, || {
                    format!("{queue} is full at {max}, with {waiting} jobs and {limits:?}")
                })
            }
            None => Ok(()),
        }
    }

    pub(super) fn check_limits_set(
        &mut self,
        name: &str,
        limits: QueueLimits,
        cause: Cause<'_>,
    ) -> Verdict {
        let present = self.limits_of(name);
        match cause {
            // What a rate has spent is written down.
            Cause::Clean | Cause::Time | Cause::Fetch { .. } => {
                self.counters.rates_written += u64::from(limits.rate.is_some());
                ensure(limits == present && limits != QueueLimits::default(), || {
                    format!("the limits are {present:?}")
                })
            }
            Cause::Limit(asked, wanted) => {
                self.counters.limits_set += 1;
                self.meters.0.borrow_mut().remove(name);
                ensure((asked, wanted) == (name, limits) && limits != present, || {
                    "something else was asked for".to_owned()
                })
            }
            _ => Err("nothing asked for this".to_owned()),
        }
    }
}

impl State {
    pub(super) fn take_limits(&mut self, end: u64, event: &Event<'_>) {
        if let Event::QueueLimits { name, limits, .. } = event {
            self.set.insert((*name).to_owned(), end);
            self.limits.insert((*name).to_owned(), *limits);
        }
    }
}
