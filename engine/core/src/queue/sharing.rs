//! Limits that hold for all shards of a process: what is asked of [`Permits`], when, and what a queue does
//! meanwhile. A queue that was refused is closed until the others' news or its own time open it. It
//! gives up its place among those that wait if it does not use what it waited for within the same pass,
//! so that nothing is held for nobody.
//!
//! It knows counts and times, never jobs.

use alloc::boxed::Box;

use super::{
    Queue, Queues,
    permits::{Ask, Holding, Permits, Wait},
};
use crate::{id::QueueId, limits::RATE_NOTE_NS};

impl Queues {
    /// Limits are shared with others by way of `permits`, from [`Queues::go_live`] on.
    pub(crate) fn share(&mut self, permits: Box<dyn Permits>) {
        self.permits = Some(permits);
    }

    /// The recovery is over at `now_ns`: what this shard holds already counts for all.
    pub(crate) fn go_live(&mut self, now_ns: i64) {
        self.is_live = true;
        for number in 0..self.queues.len() {
            // What began since the rate was last written down is not known to its last bit.
            self.enter(QueueId(number as u16), now_ns, RATE_NOTE_NS);
        }
    }

    /// The shard begins nothing any more: it waits for no permit.
    pub(crate) fn wait_no_more(&mut self) {
        for number in 0..self.queues.len() {
            self.withdraw(QueueId(number as u16));
        }
    }

    /// The shard is about to close: nothing of it counts for the others any more.
    pub(crate) fn leave_all(&mut self) {
        for number in 0..self.queues.len() {
            self.leave(QueueId(number as u16));
        }
        self.is_live = false;
    }

    /// The limits of the queue hold for all shards from now on, if it has any. Of its rate as much is
    /// spent as is known, and `unknown_ns` beside.
    pub(super) fn enter(&mut self, queue: QueueId, now_ns: i64, unknown_ns: i64) {
        let number = usize::from(queue.0);
        let bounds = &self.bounds[number];
        let full_at_ns = bounds.limits.rate.map_or(i64::MIN, |rate| {
            let latest_ns = now_ns.saturating_add(rate.span_ns());
            bounds.full_at_ns.saturating_add(unknown_ns).min(latest_ns)
        });
        let holding = self.holding(queue, full_at_ns);
        let bounds = &mut self.bounds[number];
        let Some(permits) = self.permits.as_mut().filter(|_| self.is_live) else { return };
        if bounds.shared.is_some() || !bounds.limits.has_limit() {
            return;
        }
        let Some(shared) = permits.queue(self.names.name(queue.0)) else { return };
        permits.enter(shared, holding);
        bounds.shared = Some(shared);
        let entered = &mut self.queues[number];
        // It is asked for also if only its length is limited: all attempts are counted.
        (entered.is_shared, entered.is_limited) = (true, true);
        self.by_shared.insert(shared, queue);
        self.open_up(queue);
    }

    /// The limits of the queue hold for this shard alone from now on.
    pub(super) fn leave(&mut self, queue: QueueId) {
        self.withdraw(queue);
        let Some(shared) = self.bounds[usize::from(queue.0)].shared.take() else { return };
        let holding = self.holding(queue, i64::MIN);
        let left = &mut self.queues[usize::from(queue.0)];
        left.is_shared = false;
        left.is_limited = left.is_limited_by(&self.bounds[usize::from(queue.0)].limits);
        self.by_shared.remove(&shared);
        if let Some(permits) = &mut self.permits {
            permits.leave(shared, holding);
        }
    }

    fn holding(&self, queue: QueueId, full_at_ns: i64) -> Holding {
        #[cfg(feature = "planted")]
        let under_way = self.get(queue).under_way + self.planted_leak;
        #[cfg(not(feature = "planted"))]
        let under_way = self.get(queue).under_way;
        Holding {
            under_way,
            waiting: self.get(queue).waiting(),
            full_at_ns,
            concurrency: self.bounds(queue).limits.concurrency,
        }
    }

    /// How many of `want` attempts may begin; if not all, the queue is closed. All of them must begin.
    pub(super) fn take_permits(&mut self, number: usize, want: usize, now_ns: i64) -> usize {
        let bounds = &mut self.bounds[number];
        let (Some(permits), Some(shared)) = (&mut self.permits, bounds.shared) else {
            return want;
        };
        let in_hand = bounds.in_hand.min(want as u32);
        bounds.in_hand -= in_hand;
        let in_hand = in_hand as usize;
        let want = want - in_hand;
        if want == 0 {
            return in_hand;
        }
        let concurrency = bounds.limits.concurrency;
        #[cfg(feature = "planted")]
        let concurrency = concurrency.map(|max| max + self.planted_extra);
        let rate = bounds.limits.rate;
        let taken = permits.take(shared, Ask { want: want as u32, concurrency, rate, now_ns });
        bounds.is_woken = false;
        bounds.wait = taken.wait;
        bounds.waits_for_place = taken.wait == Wait::Place;
        if taken.granted > 0 && rate.is_some() {
            bounds.shared_full_at_ns = taken.full_at_ns;
            if taken.full_at_ns.saturating_sub(bounds.noted_ns) >= RATE_NOTE_NS {
                bounds.noted_ns = taken.full_at_ns;
                self.unwritten.push(QueueId(number as u16));
            }
        }
        self.queues[number].waits = taken.wait != Wait::No;
        let until_ns = match taken.wait {
            Wait::Until(at_ns) => Some(at_ns),
            Wait::No | Wait::Place => None,
        };
        self.sleep_until(QueueId(number as u16), until_ns);
        in_hand + taken.granted as usize
    }

    /// Whether a fetch would get a job of the queue now. Where its limits are shared, leave for one
    /// attempt is kept for that fetch until the end of the pass.
    pub(crate) fn is_fetchable(&mut self, queue: QueueId, now_ns: i64) -> bool {
        let Queue { is_limited, is_shared, .. } = *self.get(queue);
        if self.get(queue).fetchable() == 0 {
            return false;
        }
        let number = usize::from(queue.0);
        if !is_limited || !is_shared || self.bounds[number].in_hand > 0 {
            return true;
        }
        if self.take_permits(number, 1, now_ns) == 0 {
            return false;
        }
        self.keep_leave(queue);
        true
    }

    /// An attempt that was chosen within limits does not begin, but another of its queue may in this
    /// pass.
    pub(crate) fn keep_leave(&mut self, queue: QueueId) {
        let bounds = &mut self.bounds[usize::from(queue.0)];
        if bounds.shared.is_some() {
            bounds.in_hand += 1;
            self.in_hand.push(queue);
        }
    }

    /// Opens the queues that the others' news are about.
    pub(crate) fn take_news(&mut self) {
        let Some(mut permits) = self.permits.take() else { return };
        permits.news(&mut |shared| {
            let queue = self.by_shared.get(&shared).copied();
            if let Some(queue) = queue.filter(|queue| self.queues[usize::from(queue.0)].waits) {
                self.bounds[usize::from(queue.0)].waits_for_place = false;
                self.wake(queue);
                self.sleep_until(queue, None);
            }
        });
        self.permits = Some(permits);
    }

    /// The queue may find leave to begin an attempt, in this pass.
    pub(super) fn wake(&mut self, queue: QueueId) {
        let bounds = &mut self.bounds[usize::from(queue.0)];
        if bounds.shared.is_some() && !bounds.is_woken {
            bounds.is_woken = true;
            self.woken.push(queue);
        }
    }

    /// A pass is over: what was waited for and not used is left to others.
    pub(crate) fn pass_over(&mut self) {
        while let Some(queue) = self.in_hand.pop() {
            let bounds = &mut self.bounds[usize::from(queue.0)];
            let in_hand = core::mem::take(&mut bounds.in_hand);
            if let (Some(permits), Some(shared)) = (&mut self.permits, bounds.shared) {
                (0..in_hand).for_each(|_| permits.release(shared, bounds.limits.concurrency));
            }
        }
        while let Some(queue) = self.woken.pop() {
            if core::mem::take(&mut self.bounds[usize::from(queue.0)].is_woken) {
                self.withdraw(queue);
            }
        }
        while let Some(queue) = self.idle.pop() {
            let idle = self.get(queue);
            if idle.takeable() == 0 || idle.is_paused {
                self.withdraw(queue);
            }
        }
    }

    /// The queue waits for no permit.
    pub(super) fn withdraw(&mut self, queue: QueueId) {
        let number = usize::from(queue.0);
        if !core::mem::take(&mut self.queues[number].waits) {
            return;
        }
        let bounds = &mut self.bounds[number];
        let wait = core::mem::replace(&mut bounds.wait, Wait::No);
        if let (Some(permits), Some(shared)) = (&mut self.permits, bounds.shared) {
            permits.withdraw(shared, wait, bounds.limits.concurrency);
        }
        self.open_up(queue);
    }

    /// Nothing is known that keeps the queue closed: the next who takes from it asks.
    fn open_up(&mut self, queue: QueueId) {
        self.bounds[usize::from(queue.0)].waits_for_place = false;
        self.sleep_until(queue, None);
    }

    /// The limits of a queue that is shared have changed.
    pub(super) fn limits_changed(&mut self, queue: QueueId, now_ns: i64) {
        self.withdraw(queue);
        let bounds = &self.bounds[usize::from(queue.0)];
        if let (Some(permits), Some(shared)) = (&mut self.permits, bounds.shared) {
            let latest_ns = bounds.limits.rate.map(|rate| now_ns.saturating_add(rate.span_ns()));
            permits.changed(shared, bounds.limits.concurrency, latest_ns);
        }
        self.open_up(queue);
    }

    /// An attempt of a shared queue has ended.
    pub(super) fn release(&mut self, queue: QueueId) {
        let bounds = &self.bounds[usize::from(queue.0)];
        if let (Some(permits), Some(shared)) = (&mut self.permits, bounds.shared) {
            permits.release(shared, bounds.limits.concurrency);
            permits.begin_waiting(shared);
        }
    }

    /// A job of a shared queue begins to wait, or ends to.
    pub(super) fn note_waiting(&mut self, queue: QueueId, begins: bool) {
        let bounds = &mut self.bounds[usize::from(queue.0)];
        let (Some(permits), Some(shared)) = (&mut self.permits, bounds.shared) else { return };
        if !begins {
            permits.end_waiting(shared);
        } else if bounds.admitted > 0 {
            bounds.admitted -= 1;
        } else {
            permits.begin_waiting(shared);
        }
    }

    /// Why one more job must be refused: the most that may wait in the queue. If it need not be, its
    /// place is kept: it is added before anything else happens, alone or with others that were admitted.
    pub(crate) fn admit(&mut self, queue: QueueId) -> Option<u32> {
        let waiting = self.get(queue).waiting();
        let bounds = &mut self.bounds[usize::from(queue.0)];
        let max = bounds.limits.length?;
        let is_full = match (&mut self.permits, bounds.shared) {
            (Some(permits), Some(shared)) => {
                let is_admitted = permits.admit(shared, max);
                bounds.admitted += u32::from(is_admitted);
                !is_admitted
            }
            _ => waiting >= max,
        };
        is_full.then_some(max)
    }

    /// A queue whose shared rate has to be written down, and when its burst is whole again.
    pub(crate) fn next_unwritten(&mut self) -> Option<(QueueId, i64)> {
        loop {
            let queue = self.unwritten.pop()?;
            let bounds = self.bounds(queue);
            // It may have lost its rate since.
            if bounds.shared.is_some() && bounds.limits.rate.is_some() {
                return Some((queue, bounds.shared_full_at_ns));
            }
        }
    }
}
