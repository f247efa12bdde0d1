//! What the limits of a queue count, and when they close it: where as many attempts are under way as
//! may be, and where its rate lets none begin before a time that is known. So nothing polls: a queue
//! is opened by the end of an attempt, or once at its time.
//!
//! It knows counts and times, never jobs.

use super::{Bounds, QueueLimits, Queues, Trip};
use crate::id::{Lsn, QueueId};

impl Queues {
    /// Gives a queue its limits at `now_ns`. Its rate has its whole burst again at `full_at`.
    pub(crate) fn limit(
        &mut self,
        queue: QueueId,
        limits: QueueLimits,
        full_at_ns: i64,
        now_ns: i64,
    ) {
        let number = usize::from(queue.0);
        let bounds = &mut self.bounds[number];
        if bounds.limits == limits && bounds.shared.is_some() {
            // Only what its rate has spent is written down.
            bounds.full_at_ns = full_at_ns;
            return;
        }
        if !limits.has_limit() {
            self.leave(queue);
        }
        // Closed, it counts nowhere with its old weight.
        self.change(queue, |queue| queue.is_held = true);
        let bounds = &mut self.bounds[number];
        self.with_length -= u32::from(bounds.limits.length.is_some());
        self.with_length += u32::from(limits.length.is_some());
        (bounds.limits, bounds.full_at_ns) = (limits, full_at_ns);
        let limited = &mut self.queues[number];
        limited.weight = limits.weight;
        limited.is_limited = limited.is_limited_by(&limits);
        if !limited.is_shared {
            self.sleep_if_spent(queue, now_ns);
            self.enter(queue, now_ns, 0);
        }
        // Others may have spent what limits of long ago let.
        if self.queues[number].is_shared {
            self.limits_changed(queue, now_ns);
        }
    }

    /// Notes the event at which the queue's limits are written, and its length.
    pub(crate) fn set_limits_body(&mut self, queue: QueueId, body: Lsn, units: u16) {
        let bounds = &mut self.bounds[usize::from(queue.0)];
        self.body_units -= u64::from(bounds.limits_units);
        self.body_units += u64::from(units);
        (bounds.limits_body, bounds.limits_units) = (body, units);
    }

    /// A breaker closes a queue, lets it be tried, or opens it.
    pub(crate) fn trip(&mut self, queue: QueueId, trip: Trip) {
        let number = usize::from(queue.0);
        let tripped = &mut self.queues[number];
        tripped.trip = trip;
        tripped.is_limited = tripped.is_limited_by(&self.bounds[number].limits);
        if trip == Trip::Open {
            self.withdraw(queue);
        }
        self.hold(queue);
    }

    /// A job was taken in.
    pub(crate) fn job_added(&mut self, queue: QueueId) {
        let added = &mut self.queues[usize::from(queue.0)];
        added.jobs += 1;
        if added.is_shared {
            self.note_waiting(queue, true);
        }
    }

    /// A job that waits belongs to another queue from now on.
    pub(crate) fn job_moved(&mut self, from: QueueId, to: QueueId) {
        self.job_ended(from);
        self.job_added(to);
    }

    /// A job has ended.
    pub(crate) fn job_ended(&mut self, queue: QueueId) {
        let ended = &mut self.queues[usize::from(queue.0)];
        ended.jobs -= 1;
        if ended.is_shared {
            self.note_waiting(queue, false);
        }
    }

    /// An attempt is under way that began before this process, at a time that no rate counts.
    pub(crate) fn attempt_found(&mut self, queue: QueueId) {
        let found = &mut self.queues[usize::from(queue.0)];
        found.under_way += 1;
        if found.is_limited {
            self.hold(queue);
        }
    }

    /// An attempt began at `at_ns`.
    pub(crate) fn attempt_began(&mut self, queue: QueueId, at_ns: i64) {
        let begun = &mut self.queues[usize::from(queue.0)];
        begun.under_way += 1;
        if begun.is_limited {
            let bounds = &mut self.bounds[usize::from(queue.0)];
            if let Some(rate) = bounds.limits.rate {
                bounds.full_at_ns = rate.spend(bounds.full_at_ns, at_ns);
            }
            // Whether a shared queue is closed was said when it was asked for.
            match bounds.shared {
                Some(_) => {
                    self.note_waiting(queue, false);
                    self.hold_if_tried(queue);
                }
                None => self.sleep_if_spent(queue, at_ns),
            }
        }
    }

    /// An attempt is no longer under way.
    pub(crate) fn attempt_ended(&mut self, queue: QueueId) {
        let ended = &mut self.queues[usize::from(queue.0)];
        ended.under_way -= 1;
        if ended.is_limited {
            match ended.is_shared {
                true => {
                    self.release(queue);
                    self.hold_if_tried(queue);
                }
                false => self.hold(queue),
            }
        }
    }

    /// Opens the queues whose rates let a job be taken at `now_ns`.
    pub(crate) fn wake_due(&mut self, now_ns: i64) {
        self.wake_groups_due(now_ns);
        while let Some(&(at_ns, queue)) = self.asleep.first().filter(|(at_ns, _)| *at_ns <= now_ns)
        {
            self.asleep.remove(&(at_ns, queue));
            self.bounds[usize::from(queue.0)].asleep_until_ns = None;
            self.wake(queue);
            self.hold(queue);
        }
    }

    /// When the next queue opens whose rate keeps it closed.
    pub(crate) fn next_wake_ns(&self) -> Option<u64> {
        let queue = self.asleep.first().map(|(at_ns, _)| *at_ns);
        let first_ns = queue.into_iter().chain(self.groups.next_wake_ns()).min();
        first_ns.map(|at_ns| at_ns.max(0).cast_unsigned())
    }

    /// The clocks are as they are at `now_ns`, after a start: if the wall clock was set back
    /// meanwhile, no rate waits longer than for its whole burst.
    pub(crate) fn settle(&mut self, now_ns: i64) {
        for number in 0..self.bounds.len() {
            let bounds = &mut self.bounds[number];
            if let Some(rate) = bounds.limits.rate {
                bounds.full_at_ns = bounds.full_at_ns.min(now_ns.saturating_add(rate.span_ns()));
                self.sleep_if_spent(QueueId(number as u16), now_ns);
            }
        }
        self.settle_groups(now_ns);
    }

    /// Lets the queue sleep if its rate lets nothing be taken at `now_ns`, else opens it.
    fn sleep_if_spent(&mut self, queue: QueueId, now_ns: i64) {
        let spent = &self.bounds[usize::from(queue.0)];
        let opens_ns = spent.limits.rate.map(|rate| rate.opens_at(spent.full_at_ns));
        self.sleep_until(queue, opens_ns.filter(|opens_ns| *opens_ns > now_ns));
    }

    /// Keeps the queue closed until that time, or opens it if nothing else keeps it closed.
    pub(super) fn sleep_until(&mut self, queue: QueueId, until_ns: Option<i64>) {
        let spent = &mut self.bounds[usize::from(queue.0)];
        let before = core::mem::replace(&mut spent.asleep_until_ns, until_ns);
        if before != until_ns {
            if let Some(at_ns) = before {
                self.asleep.remove(&(at_ns, queue));
            }
            if let Some(at_ns) = until_ns {
                self.asleep.insert((at_ns, queue));
            }
        }
        self.hold(queue);
    }

    /// Closes or opens a shared queue that is being tried; what its limits say is known already.
    fn hold_if_tried(&mut self, queue: QueueId) {
        if self.queues[usize::from(queue.0)].trip == Trip::Trial {
            self.hold(queue);
        }
    }

    /// Closes the queue if its limits let nothing be taken, else opens it.
    fn hold(&mut self, queue: QueueId) {
        let Bounds { limits, asleep_until_ns, shared, waits_for_place, .. } =
            self.bounds[usize::from(queue.0)];
        self.change(queue, |queue| {
            let is_busy = match shared {
                Some(_) => waits_for_place,
                None => limits.concurrency.is_some_and(|max| queue.under_way >= max),
            };
            let is_tripped = match queue.trip {
                Trip::Closed => false,
                Trip::Open => true,
                Trip::Trial => queue.under_way > 0,
            };
            queue.is_held = is_busy || is_tripped || asleep_until_ns.is_some();
        });
    }
}
