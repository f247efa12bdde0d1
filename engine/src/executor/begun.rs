//! Which attempt an executor is at, and since when: a time-out counts from the call of the handler.

use std::sync::{Arc, Mutex, PoisonError};

use tickwheel_core as core;

/// What one executor is at. Its lock is taken by that executor, and by the shard when a lease ends.
#[derive(Clone, Debug, Default)]
pub(crate) struct Begun(Arc<Mutex<Option<(core::Attempt, u64)>>>);

impl Begun {
    /// The handler of `attempt` is called now.
    pub(crate) fn set(&self, attempt: core::Attempt, mono_ns: u64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((attempt, mono_ns));
    }

    /// The handler has returned.
    pub(crate) fn clear(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// When the handler of `attempt` was called, if this executor is at it.
    pub(crate) fn since(&self, attempt: core::Attempt) -> Option<u64> {
        let begun = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        begun.filter(|(present, _)| *present == attempt).map(|(_, mono_ns)| mono_ns)
    }
}
