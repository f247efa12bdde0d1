//! Bounds the jobs that are submitted and not yet completed, so that a closed loop needs bounded
//! memory. It counts jobs and knows nothing else of them.

use std::{
    sync::{
        Condvar, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

/// How often a waiting submitter looks whether the run was given up.
const LOOK: Duration = Duration::from_millis(100);

/// A counter with an upper bound that submitters wait at.
#[derive(Debug)]
pub(crate) struct Gate {
    inside: AtomicU64,
    max: u64,
    /// A waiting submitter is woken once so few are inside, not for each that leaves.
    low_water: u64,
    waiting: AtomicUsize,
    lock: Mutex<()>,
    woken: Condvar,
}

impl Gate {
    /// A gate that lets `max` jobs in, up to `batch` at a time.
    pub(crate) fn new(max: u64, batch: u64) -> Self {
        Self {
            inside: AtomicU64::new(0),
            max,
            low_water: max.saturating_sub(batch.max(max / 8)),
            waiting: AtomicUsize::new(0),
            lock: Mutex::new(()),
            woken: Condvar::new(),
        }
    }

    /// Waits until `count` more fit, and lets them in. `false` if `given_up` says so meanwhile.
    pub(crate) fn enter(&self, count: u64, given_up: impl Fn() -> bool) -> bool {
        if self.try_enter(count) {
            return true;
        }
        let mut guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        // Sequentially consistent with the subtraction in `leave`: either this thread sees room, or
        // the one that leaves sees a waiter.
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let entered = loop {
            if self.try_enter(count) {
                break true;
            }
            if given_up() {
                break false;
            }
            let waited = self.woken.wait_timeout(guard, LOOK);
            guard = waited.unwrap_or_else(PoisonError::into_inner).0;
        };
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        entered
    }

    /// `count` have left.
    pub(crate) fn leave(&self, count: u64) {
        let inside = self.inside.fetch_sub(count, Ordering::SeqCst) - count;
        if inside <= self.low_water && self.waiting.load(Ordering::SeqCst) > 0 {
            // The lock makes sure that a waiter either has not looked yet or is asleep already.
            let _guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
            self.woken.notify_all();
        }
    }

    fn try_enter(&self, count: u64) -> bool {
        let more = |inside: u64| (inside + count <= self.max).then_some(inside + count);
        self.inside.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    #[test]
    fn it_holds_its_bound_and_lets_all_through() {
        let gate = Gate::new(11, 4);
        let most = AtomicU64::new(0);
        let now = AtomicU64::new(0);
        let mut left = 0;
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..1000 {
                    assert!(gate.enter(4, || false));
                    most.fetch_max(now.fetch_add(4, Ordering::SeqCst) + 4, Ordering::SeqCst);
                    sender.send(4).unwrap();
                }
                drop(sender);
            });
            for count in receiver {
                left += count;
                now.fetch_sub(count, Ordering::SeqCst);
                gate.leave(count);
            }
        });
        assert_eq!(left, 4000);
        assert!(most.into_inner() <= 11);
    }

    #[test]
    fn a_run_that_is_given_up_does_not_wait() {
        let gate = Gate::new(1, 1);
        let given_up = AtomicBool::new(false);
        assert!(gate.enter(1, || false));
        given_up.store(true, Ordering::SeqCst);
        assert!(!gate.enter(1, || given_up.load(Ordering::SeqCst)));
    }
}
