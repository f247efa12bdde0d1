//! Which running attempts were asked to stop, and whether further ones may begin. Almost always none: then a look costs one load.

use std::{
    collections::HashSet,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use tickwheel_core::{self as core, JobId, Token};

use super::task::Tasks;

/// The attempts of one shard that were asked to stop.
#[derive(Debug, Default)]
pub(crate) struct Stops {
    no_more: AtomicBool,
    all: AtomicBool,
    len: AtomicUsize,
    attempts: Mutex<HashSet<(JobId, Token)>>,
    /// Those that are futures: they are woken to notice.
    pub(crate) tasks: Tasks,
}

impl Stops {
    /// Asks one attempt to stop.
    pub(crate) fn stop(&self, attempt: core::Attempt) {
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        attempts.insert((attempt.job, attempt.token));
        self.len.store(attempts.len(), Ordering::Release);
        drop(attempts);
        self.tasks.wake(attempt);
    }

    /// No further handler is to be called: the engine is stopping.
    pub(crate) fn take_no_more(&self) {
        self.no_more.store(true, Ordering::Release);
    }

    pub(crate) fn takes_no_more(&self) -> bool {
        self.no_more.load(Ordering::Relaxed)
    }

    /// Asks all attempts to stop: the engine is shutting down.
    pub(crate) fn stop_all(&self) {
        self.all.store(true, Ordering::Release);
        self.tasks.wake_all();
    }

    pub(crate) fn is_stopped(&self, attempt: core::Attempt) -> bool {
        if self.all.load(Ordering::Acquire) {
            return true;
        }
        if self.len.load(Ordering::Acquire) == 0 {
            return false;
        }
        let attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        attempts.contains(&(attempt.job, attempt.token))
    }

    /// The attempt has ended.
    pub(crate) fn forget(&self, attempt: core::Attempt) {
        if self.len.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        attempts.remove(&(attempt.job, attempt.token));
        self.len.store(attempts.len(), Ordering::Release);
    }
}
