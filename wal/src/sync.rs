//! The atomics and locks that the crate's threads share, in one place.
//!
//! Every other file takes them from here, so that a model checker can stand in for the
//! standard library. This file must hold re-exports and the one way to lock, nothing else.

pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
pub(crate) use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
pub(crate) use std::thread;

/// Locks `mutex`, also when a thread panicked while it held the lock.
///
/// The data behind the crate's locks is changed in single steps (push, pop, replace), so it is
/// whole even then.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
