//! What a shard lends to the executors and gets back from them.
//!
//! It decides how many attempts are out at a time, and notices handlers that do not return. It must
//! not decide which job is next, nor what becomes of one: the core does.

use std::collections::VecDeque;

use tickwheel_core::{self as core, Dispatch, Input, MonoTime, Now, Outcome, Outputs};

use super::{Shard, depth::Depth, not_before};
use crate::{
    executor::{Completion, Ended, Times, Work},
    limits,
};

/// What a shard has lent out, and how much it may.
#[derive(Debug)]
pub(super) struct Lending {
    depth: Depth,
    /// Attempts at most, queued ones included.
    max: u32,
    /// Attempts with the executors: also those that have ended as far as the core goes.
    out: usize,
    /// Handler of each kind, by the core's number.
    kinds: Vec<Option<u32>>,
    succeeded: Succeeded,
    /// Handlers that ran on after the end of their attempt, by the time of a second look.
    late: VecDeque<Late>,
}

/// Attempts that ended well in this pass, and when; kept for its memory between passes.
#[derive(Debug, Default)]
struct Succeeded {
    attempts: Vec<core::Attempt>,
    ended_ns: Vec<u64>,
}

/// An executor that was at an attempt when that ended.
#[derive(Clone, Copy, Debug)]
struct Late {
    look_at: MonoTime,
    executor: usize,
    attempt: core::Attempt,
}

impl Lending {
    /// Up to `max` attempts, to a shard's share of `executors`.
    pub(super) fn new(executors: usize, max: u32, now: MonoTime) -> Self {
        Self {
            depth: Depth::new(executors, max, now.0),
            max,
            out: 0,
            kinds: Vec::new(),
            succeeded: Succeeded::default(),
            late: VecDeque::new(),
        }
    }

    /// When to look whether a handler has returned.
    pub(super) fn look_at(&self) -> Option<MonoTime> {
        self.late.front().map(|late| late.look_at)
    }
}

impl Shard {
    /// Takes the ends of attempts that came back.
    pub(super) fn take_ends(&mut self, now: Now) -> bool {
        let mut taken = 0;
        while taken < limits::PASS_COMPLETIONS_MAX {
            let Some(completion) = self.port.take_end() else { break };
            taken += 1;
            let Completion { attempt, outcome, ended_ns } = completion;
            self.port.stops.forget(attempt);
            let outcome = match &outcome {
                Ended::Succeeded => {
                    self.lending.succeeded.attempts.push(attempt);
                    self.lending.succeeded.ended_ns.push(ended_ns);
                    continue;
                }
                Ended::Failed(error) if error.is_permanent() => Outcome::Permanent(error.message()),
                Ended::Failed(error) => match error.snoozed() {
                    Some(wait) => Outcome::Postponed(wait.as_nanos() as u64),
                    None => Outcome::Retryable(error.message()),
                },
                Ended::Panicked(message) => Outcome::Panicked(message),
                Ended::NotBegun => Outcome::NotBegun,
            };
            let input = Input::Complete { attempt, outcome };
            self.core.step(not_before(now, ended_ns), input, &mut self.journal, &mut self.out);
            if let Some(end) = self.out.completed_end.take() {
                self.ended.push_back((end, ended_ns));
            }
        }
        self.write_succeeded(now);
        self.lending.out -= taken;
        self.lending.depth.note(taken, now.mono.0);
        taken > 0
    }

    /// Writes the attempts of this pass that ended well, as one event.
    fn write_succeeded(&mut self, now: Now) {
        let Succeeded { attempts, ended_ns } = &mut self.lending.succeeded;
        let Some(latest_ns) = ended_ns.iter().copied().max() else { return };
        let input = Input::Succeeded { attempts };
        self.core.step(not_before(now, latest_ns), input, &mut self.journal, &mut self.out);
        if let Some(end) = self.out.completed_end.take() {
            self.ended.extend(ended_ns.iter().map(|ended_ns| (end, *ended_ns)));
        }
        attempts.clear();
        ended_ns.clear();
    }

    /// Attempts that may be handed out now.
    pub(super) fn free_places(&self) -> u32 {
        let running = self.core.running();
        let by_pace = self.lending.depth.present().saturating_sub(running);
        // Executors with nothing to do take more than the shard's share: those of other shards too.
        let idle = self.pool.idle().saturating_sub(self.port.waiting());
        let by_idle = (idle as u32).min(self.lending.max.saturating_sub(running));
        // Each that is out keeps its place until it is back, ended or not.
        let free = self.port.places().saturating_sub(self.lending.out);
        by_pace.max(by_idle).min(free as u32)
    }

    /// Lets time pass in the core: triggers and dispatches.
    pub(super) fn pass_time(&mut self, now: Now) -> bool {
        let dispatch_max = limits::PASS_DISPATCH_MAX.min(self.free_places());
        self.core.step(now, Input::Time { dispatch_max }, &mut self.journal, &mut self.out);
        for attempt in std::mem::take(&mut self.out.expired) {
            let (core, journal, out) = (&mut self.core, &mut self.journal, &mut self.out);
            let stops = &self.port.stops;
            self.pool.judge(attempt, &stops.tasks, |began| {
                let before = out.stops.len();
                core.step(now, Input::LeaseEnd { attempt, began }, journal, out);
                if out.stops.len() > before {
                    stops.stop(attempt);
                }
            });
        }
        !self.out.dispatches.is_empty() || !self.out.lateness_ns.is_empty()
    }

    /// Asks an attempt to stop that has ended as far as the core goes.
    pub(super) fn stop_attempt(&mut self, now: Now, attempt: core::Attempt) {
        self.port.stops.stop(attempt);
        if let Some(executor) = self.pool.find_executor(attempt) {
            let look_at = MonoTime(now.mono.0 + limits::HANG_GRACE.as_nanos() as u64);
            self.lending.late.push_back(Late { look_at, executor, attempt });
        }
    }

    /// Has executors replaced whose handlers do not return.
    pub(super) fn watch_late(&mut self, now: Now) {
        while let Some(late) = self.lending.late.front().filter(|late| late.look_at <= now.mono) {
            self.pool.replace(late.executor, late.attempt);
            self.lending.late.pop_front();
        }
    }

    /// Gives an attempt to the executors.
    pub(super) fn hand_out(
        &mut self,
        now: Now,
        dispatched_ns: u64,
        dispatch: Dispatch,
        out: &mut Outputs,
    ) {
        let Dispatch { attempt, .. } = dispatch;
        let Some(handler) = self.handler(dispatch.kind) else {
            // Another version of the program may have it: the job waits, and is not spent.
            let wait_ns = limits::NO_HANDLER_WAIT.as_nanos() as u64;
            let input = Input::Complete { attempt, outcome: Outcome::Postponed(wait_ns) };
            self.core.step(now, input, &mut self.journal, out);
            return;
        };
        let body = match self.journal.log.locate(tickwheel_wal::Lsn(dispatch.body.0)) {
            Ok(body) => body,
            Err(error) => {
                // The table names a position that the log does not hold: state and log disagree.
                eprintln!("tickwheel: job {} has no record in the log: {error}", attempt.job);
                std::process::abort();
            }
        };
        let work = Work {
            attempt: dispatch.attempt,
            handler,
            number: dispatch.number,
            attempts_max: dispatch.attempts_max,
            body: Some(body),
            payload_offset: dispatch.payload_offset,
            times: Times { due_ns: dispatch.due_ns, clock: dispatch.clock },
            dispatched_ns,
        };
        // As many were dispatched as had a place.
        if !self.port.lend(work) {
            eprintln!("tickwheel: an attempt was dispatched without a place for it");
            std::process::abort();
        }
        self.lending.out += 1;
    }

    /// The handler of a kind.
    fn handler(&mut self, kind: core::KindId) -> Option<u32> {
        let number = usize::from(kind.0);
        let kinds = &mut self.lending.kinds;
        while kinds.len() <= number {
            let next = core::KindId(kinds.len() as u16);
            let name = self.core.kind_name(next);
            let handler = self.pool.handlers().find(name);
            if handler.is_none() {
                tracing::warn!(
                    kind = name,
                    "no handler is registered for a kind in the log: its jobs wait, looked at each {:?}",
                    limits::NO_HANDLER_WAIT
                );
            }
            kinds.push(handler);
        }
        kinds[number]
    }
}
