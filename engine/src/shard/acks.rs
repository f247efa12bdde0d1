//! Answers that wait until what they promise is durable.

use std::collections::VecDeque;

use tickwheel_core::Lsn;

use crate::error::CallError;

/// Gives an answer: `Ok` once it is durable, or the reason why it never will be.
pub(crate) type Release = Box<dyn FnOnce(Result<(), CallError>) + Send>;

/// Waiting answers, in the order of the log.
#[derive(Default)]
pub(crate) struct Acks {
    waiting: VecDeque<(Lsn, Release)>,
    /// Those that follow the append, whatever is durable.
    logged: Vec<Release>,
}

impl Acks {
    /// Adds an answer that may be given once all below `after` is durable.
    pub(crate) fn push(&mut self, after: Lsn, release: Release) {
        debug_assert!(self.waiting.back().is_none_or(|(last, _)| *last <= after || after.0 == 0));
        self.waiting.push_back((after, release));
    }

    /// Adds an answer that may be given once what it promises is in the log, durable or not.
    pub(crate) fn push_logged(&mut self, release: Release) {
        self.logged.push(release);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.logged.is_empty()
    }

    /// Gives all answers up to `durable`, and those that follow the append.
    pub(crate) fn release(&mut self, durable: Lsn) {
        for release in self.logged.drain(..) {
            release(Ok(()));
        }
        while self.waiting.front().is_some_and(|(after, _)| *after <= durable) {
            if let Some((_, release)) = self.waiting.pop_front() {
                release(Ok(()));
            }
        }
    }

    /// Tells all who wait that their call may not have taken effect.
    pub(crate) fn fail(&mut self, error: &CallError) {
        let waiting = self.waiting.drain(..).map(|(_, release)| release);
        for release in self.logged.drain(..).chain(waiting) {
            release(Err(error.clone()));
        }
    }
}
