//! Circuit breakers: after so many failures in a row a queue is closed for a while, then tried with one
//! attempt at a time. It opens with the first that succeeds, and each failure closes it for longer. What a
//! breaker has seen is not written: after a start all queues are tried anew.

use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet},
};

use super::{
    Scheduler,
    io::{Alert, Outputs},
};
use crate::{
    id::QueueId,
    queue::Trip,
    time::{MonoTime, Now},
};

/// When a queue is closed because its attempts fail, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerRule {
    /// Failures in a row that close it: 1 at the least.
    pub failures_max: u32,
    /// How long it is closed at first, in nanoseconds.
    pub cool_down_ns: u64,
    /// How long it is closed at most: each time that a trial fails the time doubles up to this.
    pub cool_down_max_ns: u64,
}

/// The breakers of a shard.
#[derive(Debug, Default)]
pub(super) struct Breakers {
    all: BTreeMap<QueueId, Breaker>,
    /// Queues that are closed, by when each is tried again.
    open: BTreeSet<(MonoTime, QueueId)>,
}

#[derive(Debug)]
struct Breaker {
    rule: BreakerRule,
    /// Failures in a row.
    failures: u32,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Attempts begin as they come.
    Closed,
    /// None begins before that time.
    Open { until: MonoTime, span_ns: u64 },
    /// One at a time begins; the last time that it was closed took so long.
    Trial { span_ns: u64 },
}

impl Breakers {
    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// When the next queue is tried again.
    pub(super) fn next_time(&self) -> Option<MonoTime> {
        self.open.first().map(|(until, _)| *until)
    }
}

impl Scheduler {
    /// Closes the queue `name` for a while each time that too many attempts in a row have failed in it;
    /// `None` takes its breaker away and opens the queue. It is not written: say it again after a start.
    /// `false` if there are too many queues.
    pub fn break_queue(&mut self, name: &str, rule: Option<BreakerRule>) -> bool {
        let Some(queue) = self.queues.intern(name) else { return false };
        let breaker = rule.map(|rule| Breaker { rule, failures: 0, state: State::Closed });
        let before = match breaker {
            Some(breaker) => self.breakers.all.insert(queue, breaker),
            None => self.breakers.all.remove(&queue),
        };
        if let Some(State::Open { until, .. }) = before.map(|breaker| breaker.state) {
            self.breakers.open.remove(&(until, queue));
        }
        self.queues.trip(queue, Trip::Closed);
        true
    }

    /// Lets the queues be tried whose time has come.
    pub(super) fn try_again(&mut self, now: Now) {
        while let Some(&(until, queue)) = self.breakers.open.first()
            && until <= now.mono
        {
            self.breakers.open.remove(&(until, queue));
            if let Some(breaker) = self.breakers.all.get_mut(&queue)
                && let State::Open { span_ns, .. } = breaker.state
            {
                breaker.state = State::Trial { span_ns };
                self.queues.trip(queue, Trip::Trial);
            }
        }
    }

    /// An attempt of the queue has ended well.
    pub(super) fn breaker_succeeded(&mut self, queue: QueueId, out: &mut Outputs) {
        let Some(breaker) = self.breakers.all.get_mut(&queue) else { return };
        match breaker.state {
            State::Closed => breaker.failures = 0,
            // It had begun before the queue was closed, and tells nothing of the time since.
            State::Open { .. } => {}
            State::Trial { .. } => {
                (breaker.state, breaker.failures) = (State::Closed, 0);
                self.queues.trip(queue, Trip::Closed);
                out.alerts.push(Alert::BreakerClosed { queue: self.queues.name(queue).into() });
            }
        }
    }

    /// An attempt of the queue has failed.
    pub(super) fn breaker_failed(&mut self, now: Now, queue: QueueId, out: &mut Outputs) {
        let Some(breaker) = self.breakers.all.get_mut(&queue) else { return };
        let rule = breaker.rule;
        let span_ns = match breaker.state {
            State::Open { .. } => return,
            State::Trial { span_ns } => span_ns.saturating_mul(2).min(rule.cool_down_max_ns),
            State::Closed => {
                breaker.failures = breaker.failures.saturating_add(1);
                if breaker.failures < rule.failures_max {
                    return;
                }
                rule.cool_down_ns
            }
        };
        let failures = breaker.failures;
        let until = MonoTime(now.mono.0.saturating_add(span_ns));
        breaker.state = State::Open { until, span_ns };
        self.breakers.open.insert((until, queue));
        self.queues.trip(queue, Trip::Open);
        let queue: Box<str> = self.queues.name(queue).into();
        out.alerts.push(Alert::BreakerOpened { queue, failures, for_ns: span_ns });
    }
}
