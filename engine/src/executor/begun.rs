//! What an executor is at, since when, and for how long it asked: a time-out counts from the call of
//! the handler.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use tickwheel_core::{self as core, Began, MonoTime};

use crate::clock;

/// What one executor is at. Its lock is taken by that executor, and by a shard when a lease ends.
#[derive(Debug, Default)]
pub(crate) struct Begun(Mutex<Option<Present>>);

#[derive(Debug)]
struct Present {
    attempt: core::Attempt,
    began: MonoTime,
    /// The handler asked for its time up to here.
    until: Option<MonoTime>,
    /// The shard judges whether the lease has ended.
    judged: bool,
    /// The lease ended long ago.
    hung: bool,
}

/// Why [`Attempt::extend`](super::Attempt::extend) did not extend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExtendError {
    /// The attempt has ended as far as the engine goes.
    #[error(
        "the attempt has ended: its time-out has passed, its job was cancelled, or the engine stops; undo what must be undone and return"
    )]
    Ended,
}

impl Begun {
    /// The handler of `attempt` is called now.
    pub(super) fn set(&self, attempt: core::Attempt, mono_ns: u64) {
        let began = MonoTime(mono_ns);
        *self.lock() = Some(Present { attempt, began, until: None, judged: false, hung: false });
    }

    /// The handler has returned. Whether it had counted as hung.
    pub(super) fn clear(&self) -> bool {
        self.lock().take().is_some_and(|present| present.hung)
    }

    /// Whether a handler is being called.
    pub(super) fn is_set(&self) -> bool {
        self.lock().is_some()
    }

    /// The attempt whose handler is being called.
    pub(super) fn attempt(&self) -> Option<core::Attempt> {
        self.lock().as_ref().map(|present| present.attempt)
    }

    /// Whether this executor is at `attempt`.
    pub(super) fn is_at(&self, attempt: core::Attempt) -> bool {
        self.lock().as_ref().is_some_and(|present| present.attempt == attempt)
    }

    /// The executor counts as hung, if it still is at `attempt`. Whether it is, and was not before.
    pub(super) fn mark_hung(&self, attempt: core::Attempt) -> bool {
        match &mut *self.lock() {
            Some(present) if present.attempt == attempt && !present.hung => {
                present.hung = true;
                true
            }
            _ => false,
        }
    }

    /// The shard's side: its clock says that the lease of `attempt` has ended. What `judge` makes
    /// of the call of its handler; `None` when this executor is not at it. Whoever wants to extend
    /// the lease meanwhile learns the verdict first.
    pub(super) fn judge<T>(
        &self,
        attempt: core::Attempt,
        judge: impl FnOnce(Began) -> T,
    ) -> Option<T> {
        let began = match &mut *self.lock() {
            Some(present) if present.attempt == attempt => {
                present.judged = true;
                match present.until {
                    Some(until) => Began::Extended { at: present.began, until },
                    None => Began::At(present.began),
                }
            }
            _ => return None,
        };
        // Without the lock: the executor must be able to say that its handler has returned.
        let verdict = judge(began);
        if let Some(present) = self.lock().as_mut().filter(|present| present.attempt == attempt) {
            present.judged = false;
        }
        Some(verdict)
    }

    /// The handler's side: its lease ends `by` from now at the earliest. `is_ended` says whether it
    /// has ended already.
    pub(super) fn extend(
        &self,
        by: Duration,
        is_ended: impl Fn() -> bool,
    ) -> Result<(), ExtendError> {
        loop {
            match &mut *self.lock() {
                Some(present) if present.judged => {}
                Some(present) if !is_ended() => {
                    let until = clock::mono_ns().saturating_add(clock::saturating_ns(by));
                    present.until = present.until.max(Some(MonoTime(until)));
                    return Ok(());
                }
                _ => return Err(ExtendError::Ended),
            }
            // The shard needs microseconds for its verdict.
            thread::yield_now();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Present>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
