//! Which executors sleep, so that others wake them only then.
//!
//! An executor raises its bit and then looks for work once more; whoever puts work looks at the
//! bits afterwards. At least one of them sees the other. This file must not know what work is.

use std::sync::{Mutex, PoisonError};

use crate::sync::{AtomicU64, Ordering, Thread, current, fence, park};

/// The sleep of all executors of an engine, by the number of their seat.
#[derive(Debug)]
pub(super) struct Naps {
    /// A bit is up while its executor sleeps, or is about to.
    asleep: Box<[AtomicU64]>,
    threads: Box<[Mutex<Option<Thread>>]>,
}

impl Naps {
    /// All of `seats` are awake.
    pub(super) fn new(seats: usize) -> Self {
        Self {
            asleep: (0..seats.div_ceil(64)).map(|_| AtomicU64::new(0)).collect(),
            threads: (0..seats).map(|_| Mutex::new(None)).collect(),
        }
    }

    /// The calling thread has taken `seat`.
    pub(super) fn take_seat(&self, seat: usize) {
        *self.threads[seat].lock().unwrap_or_else(PoisonError::into_inner) = Some(current());
    }

    /// The executor's side: it will sleep unless its next look finds something.
    pub(super) fn raise(&self, seat: usize) {
        self.asleep[seat / 64].fetch_or(bit(seat), Ordering::SeqCst);
        // Pairs with the fence in `wake`: this bit and the executor's look, the other's work and
        // its look at the bits, cannot both be out of order.
        fence(Ordering::SeqCst);
    }

    /// The executor's side: it has found something.
    pub(super) fn lower(&self, seat: usize) {
        self.asleep[seat / 64].fetch_and(!bit(seat), Ordering::SeqCst);
    }

    /// The executor's side, after [`Naps::raise`] and a look: sleeps until somebody takes the bit.
    pub(super) fn sleep(&self, seat: usize) {
        while self.asleep[seat / 64].load(Ordering::SeqCst) & bit(seat) != 0 {
            park();
        }
    }

    /// Wakes up to `count` sleepers. Call it after the work was put where executors look.
    pub(super) fn wake(&self, count: usize) {
        // Pairs with the fence in `raise`.
        fence(Ordering::SeqCst);
        for _ in 0..count {
            if !self.wake_one() {
                return;
            }
        }
    }

    /// How many sleep, as far as the calling thread knows. After a [`fence`] it knows of all who
    /// will not see what it put before.
    pub(super) fn count(&self) -> usize {
        self.asleep.iter().map(|word| word.load(Ordering::Relaxed).count_ones() as usize).sum()
    }

    /// `false`: none sleeps.
    fn wake_one(&self) -> bool {
        for (number, word) in self.asleep.iter().enumerate() {
            let mut bits = word.load(Ordering::SeqCst);
            while bits != 0 {
                let lowest = bits & bits.wrapping_neg();
                let before = word.fetch_and(!lowest, Ordering::SeqCst);
                if before & lowest != 0 {
                    self.unpark(number * 64 + lowest.trailing_zeros() as usize);
                    return true;
                }
                bits = before;
            }
        }
        false
    }

    fn unpark(&self, seat: usize) {
        let thread = self.threads[seat].lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(thread) = thread {
            thread.unpark();
        }
    }
}

fn bit(seat: usize) -> u64 {
    1 << (seat % 64)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn as_many_are_woken_as_are_asked_for() {
        let naps = Naps::new(130);
        for seat in [3, 70, 129] {
            naps.raise(seat);
        }
        assert_eq!(naps.count(), 3);
        naps.wake(2);
        assert_eq!(naps.count(), 1);
        naps.wake(9);
        assert_eq!(naps.count(), 0);
        naps.raise(5);
        naps.lower(5);
        assert_eq!(naps.count(), 0);
    }

    #[test]
    fn a_wake_up_ends_a_sleep() {
        let naps = Arc::new(Naps::new(1));
        let sleeper = Arc::clone(&naps);
        let thread = std::thread::spawn(move || {
            sleeper.take_seat(0);
            sleeper.raise(0);
            sleeper.sleep(0);
        });
        while naps.count() == 0 {
            std::thread::yield_now();
        }
        naps.wake(1);
        thread.join().unwrap();
    }
}

/// Models, run with `--cfg loom`: in no order of steps, with no value that weak memory allows, does
/// an executor sleep on while work waits, or a shard while it could hand more out.
#[cfg(all(test, loom))]
mod loom_models {
    use std::sync::Arc;

    use loom::thread;

    use super::*;
    use crate::sync::AtomicBool;

    struct World {
        naps: Naps,
        /// Work, put once each. It orders nothing by itself.
        work: Vec<AtomicBool>,
        /// A shard would hand more out if somebody slept.
        hungry: AtomicBool,
    }

    impl World {
        fn new(seats: usize, work: usize) -> Arc<Self> {
            Arc::new(Self {
                naps: Naps::new(seats),
                work: (0..work).map(|_| AtomicBool::new(false)).collect(),
                hungry: AtomicBool::new(false),
            })
        }

        fn put(&self, number: usize) {
            self.work[number].store(true, Ordering::Relaxed);
            self.naps.wake(1);
        }

        fn look(&self) -> usize {
            self.work.iter().filter(|work| work.load(Ordering::Relaxed)).count()
        }

        /// The loop of an executor, until it has seen all work.
        fn live(&self, seat: usize) {
            self.naps.take_seat(seat);
            let mut seen = self.look();
            while seen < self.work.len() {
                self.naps.raise(seat);
                if self.look() == seen {
                    self.naps.sleep(seat);
                } else {
                    self.naps.lower(seat);
                }
                seen = self.look();
            }
        }
    }

    fn model(check: impl Fn() + Send + Sync + 'static) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(check);
    }

    #[test]
    fn each_piece_of_work_ends_the_sleep() {
        model(|| {
            let world = World::new(1, 2);
            let other = Arc::clone(&world);
            let other = thread::spawn(move || (0..2).for_each(|number| other.put(number)));
            world.live(0);
            other.join().unwrap();
        });
    }

    #[test]
    fn a_shard_sees_the_sleeper_or_the_sleeper_the_hungry_shard() {
        model(|| {
            let world = World::new(1, 0);
            let executor = Arc::clone(&world);
            let executor = thread::spawn(move || {
                executor.naps.raise(0);
                executor.hungry.load(Ordering::Relaxed)
            });
            world.hungry.store(true, Ordering::Relaxed);
            // As `Flag::raise` of the shard's own sleep does.
            fence(Ordering::SeqCst);
            let seen = world.naps.count() == 1;
            assert!(executor.join().unwrap() || seen);
        });
    }
}
