//! Shards that share places and a rate: with real threads, and by models of every order of their steps.

use super::places::Places;
#[cfg(not(loom))]
use super::{pace::Pace, shards::Shards};

#[cfg(not(loom))]
mod threads {
    use std::{
        sync::{
            Arc, Barrier,
            atomic::{AtomicU32, Ordering},
        },
        thread,
    };

    use tickwheel_core::Rate;

    use super::*;

    fn take(places: &Places, shard: usize, waits: bool, want: u32, max: u32) -> (u32, bool) {
        places.take(shard, waits, want, max, &mut |shard| panic!("{shard} has no place to come"))
    }

    fn withdraw(places: &Places, shard: usize, max: u32) -> Option<usize> {
        let mut woken = None;
        places.withdraw(shard, max, &mut |shard| woken = Some(shard));
        woken
    }

    #[test]
    fn a_set_of_shards_gives_them_in_a_ring() {
        let shards = Shards::new();
        for shard in [3, 64, 200, 255] {
            assert!(shards.insert(shard));
        }
        assert!(!shards.insert(64));
        assert_eq!((shards.count_but(64), shards.count_but(5)), (3, 4));
        assert_eq!(shards.count_before(3, 64), 2);
        assert_eq!(shards.count_before(200, 64), 0);
        let order: Vec<_> = std::iter::from_fn(|| shards.remove_next(64)).collect();
        assert_eq!(order, [200, 255, 3, 64]);
    }

    #[test]
    fn a_place_that_becomes_free_is_given_to_those_who_wait_in_turn() {
        let places = Places::new();
        assert_eq!(take(&places, 0, false, 5, 2), (2, true));
        assert_eq!(take(&places, 1, false, 1, 2), (0, true));
        assert_eq!(take(&places, 2, false, 1, 2), (0, true));
        // In a ring, after the one that was given a place last.
        let given: Vec<_> = (0..2).map(|_| places.release(2)).collect();
        assert_eq!(given, [Some(1), Some(2)]);
        // Who comes later gets none of these, and who was given one has it.
        assert_eq!(take(&places, 3, false, 1, 2), (0, true));
        assert_eq!(
            (take(&places, 1, true, 1, 2), take(&places, 2, true, 1, 2)),
            ((1, false), (1, false))
        );
        assert_eq!(places.release(2), Some(3));
        assert_eq!(places.release(2), Some(0));
        // One that withdraws leaves what it was given to the next.
        assert_eq!(take(&places, 4, false, 1, 2), (0, true));
        assert_eq!(withdraw(&places, 0, 2), Some(4));
        assert_eq!(
            (take(&places, 4, true, 1, 2), take(&places, 3, true, 1, 2)),
            ((1, false), (1, false))
        );
        assert_eq!((places.release(2), places.release(2), places.taken()), (None, None, 0));
    }

    #[test]
    fn a_limit_that_is_lowered_or_raised_holds_from_then_on() {
        let places = Places::new();
        places.enter(4);
        assert_eq!(take(&places, 0, false, 2, 2), (0, true));
        assert_eq!([places.release(2), places.release(2)], [None, None]);
        assert_eq!(places.release(2), Some(0));
        assert_eq!(take(&places, 0, true, 9, 2), (1, true));
        assert_eq!(places.give_free(2), None);
        assert_eq!(places.give_free(3), Some(0));
        assert_eq!(take(&places, 0, true, 1, 3), (1, false));
        assert_eq!(places.taken(), 3);
    }

    #[test]
    fn a_place_that_a_shard_with_a_higher_limit_gave_does_not_go_beyond_a_lower_one() {
        let places = Places::new();
        places.enter(3);
        assert_eq!(take(&places, 1, false, 1, 1), (0, true));
        // The other shard has not heard of the limit.
        assert_eq!(places.release(u32::MAX), Some(1));
        assert_eq!((take(&places, 1, true, 1, 1), places.taken()), ((0, true), 2));
        assert_eq!((places.release(1), places.release(1)), (None, Some(1)));
        assert_eq!((take(&places, 1, true, 1, 1), places.taken()), ((1, false), 1));
    }

    /// Threads that take and give back as fast as they can: never more than there are, and all have
    /// their turn.
    #[test]
    fn no_place_is_given_twice_or_lost() {
        const ROUNDS: u32 = 20_000;
        for max in [1, 2, 3] {
            let places = Arc::new(Places::new());
            let inside = Arc::new(AtomicU32::new(0));
            let start = Arc::new(Barrier::new(4));
            let shard = |shard: usize| {
                let (places, inside) = (Arc::clone(&places), Arc::clone(&inside));
                let start = Arc::clone(&start);
                thread::spawn(move || {
                    start.wait();
                    let mut waits = false;
                    // Nobody sleeps here.
                    let wake = &mut |_| ();
                    for round in 0..ROUNDS {
                        if waits && round % 7 == 0 {
                            withdraw(&places, shard, max);
                            waits = false;
                        }
                        let want = 1 + round % 3;
                        let (granted, again) = places.take(shard, waits, want, max, wake);
                        waits = again;
                        assert!(inside.fetch_add(granted, Ordering::SeqCst) + granted <= max);
                        for _ in 0..granted {
                            inside.fetch_sub(1, Ordering::SeqCst);
                            places.release(max);
                        }
                    }
                    if waits {
                        withdraw(&places, shard, max);
                    }
                })
            };
            let threads: Vec<_> = (0..4).map(shard).collect();
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            assert_eq!(places.taken(), 0, "{max}");
        }
    }

    /// What all shards begin together is what one would: each wakes at its time, and all take turns.
    #[test]
    fn a_rate_holds_for_all_shards_and_they_take_turns() {
        let rate = Rate { jobs: 100, period_ms: 1000, burst: 4 };
        let pace = Pace::new();
        let mut wakes = vec![(0_i64, 0_usize), (0, 1), (0, 2)];
        let mut begun = [0_u32; 3];
        let mut starts = Vec::new();
        while let Some(&(now_ns, shard)) = wakes.iter().min().filter(|(at, _)| *at < 1_000_000_000)
        {
            wakes.retain(|(_, other)| *other != shard);
            let (granted, until_ns) = pace.take(shard, 10, rate, now_ns);
            begun[shard] += granted;
            starts.extend((0..granted).map(|_| now_ns));
            let until_ns = until_ns.expect("each has ten more jobs");
            assert!(until_ns > now_ns, "nobody polls");
            wakes.push((until_ns, shard));
        }
        // A burst, and one each ten milliseconds.
        assert_eq!(starts.len(), 4 + 99);
        for (number, first) in starts.iter().enumerate() {
            let within = starts[number..].iter().filter(|at| *at - first < 100_000_000).count();
            assert!(within <= 4 + 10, "{within} from {first} on");
        }
        assert!(begun.iter().all(|begun| (30..=40).contains(begun)), "{begun:?}");
    }

    #[test]
    fn what_a_slower_rate_has_spent_does_not_hold_up_a_faster_one() {
        let slow = Rate { jobs: 1, period_ms: 3_600_000, burst: 10 };
        let fast = Rate { jobs: 1000, period_ms: 1000, burst: 10 };
        let pace = Pace::new();
        assert_eq!(pace.take(0, 10, slow, 0), (10, None));
        pace.settle(fast.span_ns());
        // Spent is spent, up to the new burst; another shard that hears of it later changes nothing.
        assert_eq!(pace.take(0, 1, fast, 0).0, 0);
        assert!(pace.withdraw(0));
        assert_eq!(pace.take(1, 10, fast, fast.span_ns()), (10, None));
        pace.settle(fast.span_ns());
        assert_eq!(pace.take(0, 1, fast, fast.span_ns()).0, 0);
    }

    #[test]
    fn who_leaves_the_line_of_a_rate_holds_nobody_up() {
        let rate = Rate { jobs: 1, period_ms: 1000, burst: 1 };
        let pace = Pace::new();
        assert_eq!(pace.take(0, 1, rate, 0), (1, None));
        let (_, first) = pace.take(1, 1, rate, 1);
        let (_, second) = pace.take(2, 1, rate, 1);
        assert_eq!((first, second), (Some(1_000_000_000), Some(2_000_000_000)));
        // One that comes now does not go before them, even in time.
        assert_eq!(pace.take(0, 1, rate, 1_000_000_001).0, 0);
        assert!(pace.withdraw(0) && pace.withdraw(1) && !pace.withdraw(1));
        assert_eq!(pace.take(2, 1, rate, 1_000_000_002), (1, None));
    }
}

/// Models, run with `--cfg loom`.
#[cfg(loom)]
mod loom_models {
    use std::sync::Arc;

    use loom::{
        sync::{
            Condvar, Mutex,
            atomic::{AtomicU32, Ordering},
        },
        thread,
    };

    use super::*;

    /// What shards share, and how each is woken.
    struct World {
        places: Places,
        inside: AtomicU32,
        bells: Vec<(Mutex<bool>, Condvar)>,
    }

    impl World {
        fn new(shards: usize) -> Arc<Self> {
            let bells = (0..shards).map(|_| (Mutex::new(false), Condvar::new())).collect();
            Arc::new(Self { places: Places::new(), inside: AtomicU32::new(0), bells })
        }

        fn wake(&self, given: Option<usize>) {
            if let Some(shard) = given {
                let (rung, change) = &self.bells[shard];
                *rung.lock().unwrap() = true;
                change.notify_one();
            }
        }

        fn sleep(&self, shard: usize) {
            let (rung, change) = &self.bells[shard];
            let mut rung = rung.lock().unwrap();
            while !*rung {
                rung = change.wait(rung).unwrap();
            }
            *rung = false;
        }

        /// One attempt of a shard. Loom reports a sleep without an end.
        fn attempt(&self, shard: usize) {
            let mut waits = false;
            loop {
                let granted;
                (granted, waits) =
                    self.places.take(shard, waits, 1, 1, &mut |shard| self.wake(Some(shard)));
                if granted == 1 {
                    if waits {
                        self.places.withdraw(shard, 1, &mut |shard| self.wake(Some(shard)));
                    }
                    break;
                }
                assert!(waits);
                self.sleep(shard);
            }
            assert_eq!(self.inside.fetch_add(1, Ordering::Relaxed), 0, "two have one place");
            self.inside.fetch_sub(1, Ordering::Relaxed);
            self.wake(self.places.release(1));
        }
    }

    fn check(model: impl Fn() + Sync + Send + 'static) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(model);
    }

    #[test]
    fn a_place_goes_from_one_to_the_other_and_none_sleeps_on() {
        check(|| {
            let world = World::new(2);
            let other = Arc::clone(&world);
            let thread = thread::spawn(move || other.attempt(1));
            world.attempt(0);
            thread.join().unwrap();
            assert_eq!(world.places.taken(), 0);
        });
    }

    #[test]
    fn three_shards_have_their_turn() {
        check(|| {
            let world = World::new(3);
            let threads = [1, 2].map(|shard| {
                let world = Arc::clone(&world);
                thread::spawn(move || world.attempt(shard))
            });
            world.attempt(0);
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            assert_eq!(world.places.taken(), 0);
        });
    }

    /// One withdraws while a place comes its way: it goes on to the other who waits.
    #[test]
    fn a_place_of_one_that_withdraws_is_not_lost() {
        check(|| {
            let world = World::new(3);
            world.places.enter(1);
            let other = Arc::clone(&world);
            let withdraws = thread::spawn(move || {
                let (granted, waits) =
                    other.places.take(1, false, 1, 1, &mut |shard| other.wake(Some(shard)));
                if waits {
                    other.places.withdraw(1, 1, &mut |shard| other.wake(Some(shard)));
                }
                for _ in 0..granted {
                    other.wake(other.places.release(1));
                }
            });
            let other = Arc::clone(&world);
            let waits = thread::spawn(move || other.attempt(2));
            world.wake(world.places.release(1));
            withdraws.join().unwrap();
            waits.join().unwrap();
            assert_eq!(world.places.taken(), 0);
        });
    }

    /// One withdraws while the other begins again and again: the count that it takes away is its own.
    #[test]
    fn one_that_withdraws_takes_no_other_out_of_the_line() {
        check(|| {
            let world = World::new(2);
            world.places.enter(1);
            let other = Arc::clone(&world);
            let withdraws = thread::spawn(move || {
                let wake = &mut |shard| other.wake(Some(shard));
                let (granted, waits) = other.places.take(1, false, 1, 1, wake);
                if waits {
                    other.places.withdraw(1, 1, wake);
                }
                for _ in 0..granted {
                    other.wake(other.places.release(1));
                }
            });
            let wake = &mut |shard| world.wake(Some(shard));
            world.wake(world.places.release(1));
            let (granted, mut waits) = world.places.take(0, false, 2, 1, wake);
            for _ in 0..granted {
                world.wake(world.places.release(1));
            }
            while waits {
                world.sleep(0);
                let (granted, again) = world.places.take(0, true, 1, 1, wake);
                for _ in 0..granted {
                    world.wake(world.places.release(1));
                }
                waits = again;
            }
            withdraws.join().unwrap();
            assert_eq!(world.places.taken(), 0);
        });
    }
}
