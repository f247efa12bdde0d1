//! Whether a shard takes messages, so that none is left behind when its thread ends.
//!
//! The thread leaves and then looks at its inbox once more; a caller puts its message and then looks
//! whether the thread has left. At least one of them sees the other, and answers. This file must not
//! know what a message is.

use std::sync::{Mutex, PoisonError};

use crate::sync::{AtomicU64, Ordering, fence};

/// The thread takes messages.
const OPEN: u64 = 0;
/// No caller should put one; the thread still takes those that are there.
const CLOSING: u64 = 1;
/// No thread takes any.
const LEFT: u64 = 2;

/// The way into a shard's inbox.
#[derive(Debug)]
pub(crate) struct Gate {
    state: AtomicU64,
    /// Held while messages are taken that nobody else would take, and while a thread comes: so that
    /// it never loses one that was meant for it.
    turn: Mutex<()>,
}

impl Gate {
    /// No thread is there yet.
    pub(crate) fn new() -> Self {
        Self { state: AtomicU64::new(LEFT), turn: Mutex::new(()) }
    }

    /// The caller's side, before it puts a message.
    pub(super) fn is_open(&self) -> bool {
        self.state.load(Ordering::Acquire) == OPEN
    }

    /// The caller's side, after it put a message: whether it has to see to it itself, with
    /// [`Gate::take_left`].
    pub(super) fn is_left(&self) -> bool {
        // Pairs with the fence in `leave`: the message and this look, the thread's leaving and its
        // last look at the inbox, cannot both be out of order.
        fence(Ordering::SeqCst);
        self.state.load(Ordering::SeqCst) == LEFT
    }

    /// Turns callers away; the thread goes on.
    pub(super) fn close(&self) {
        let _ = self.state.compare_exchange(OPEN, CLOSING, Ordering::SeqCst, Ordering::SeqCst);
    }

    /// The shard's side: it takes messages from now on.
    pub(crate) fn open(&self) {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.state.store(OPEN, Ordering::SeqCst);
    }

    /// The shard's side: it takes no more. Call [`Gate::take_left`] then.
    pub(crate) fn leave(&self) {
        self.state.store(LEFT, Ordering::SeqCst);
        // Pairs with the fence in `is_left`.
        fence(Ordering::SeqCst);
    }

    /// What `take` finds in the inbox, unless a thread is there that takes it.
    pub(crate) fn take_left<T>(&self, take: impl FnOnce() -> Vec<T>) -> Vec<T> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if self.state.load(Ordering::SeqCst) == LEFT { take() } else { Vec::new() }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_taken_only_while_no_thread_is_there() {
        let gate = Gate::new();
        assert!(!gate.is_open() && gate.is_left());
        assert_eq!(gate.take_left(|| vec![1]), [1]);
        gate.open();
        assert!(gate.is_open() && !gate.is_left());
        assert!(gate.take_left(|| vec![1]).is_empty());
        gate.close();
        assert!(!gate.is_open() && !gate.is_left());
        assert!(gate.take_left(|| vec![1]).is_empty());
        gate.leave();
        gate.close();
        assert!(!gate.is_open() && gate.is_left());
    }
}

/// A model, run with `--cfg loom`: in no order of steps, with no value that weak memory allows, does
/// a message stay behind.
#[cfg(all(test, loom))]
mod loom_models {
    use std::sync::Arc;

    use loom::thread;

    use super::*;
    use crate::sync::AtomicBool;

    #[test]
    fn the_thread_that_leaves_or_the_caller_answers() {
        loom::model(|| {
            let world = Arc::new((Gate::new(), AtomicBool::new(false)));
            world.0.open();
            let caller = Arc::clone(&world);
            let caller = thread::spawn(move || {
                let (gate, message) = &*caller;
                if !gate.is_open() {
                    return (false, false);
                }
                message.store(true, Ordering::Relaxed);
                (true, gate.is_left())
            });
            let (gate, message) = &*world;
            gate.close();
            gate.leave();
            let seen = message.load(Ordering::Relaxed);
            let (put, sees_to_it) = caller.join().unwrap();
            assert!(!put || seen || sees_to_it, "nobody answers");
        });
    }
}
