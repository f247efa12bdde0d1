//! Timers entering and leaving a wheel that holds many others. It knows the wheel of the core only.

use std::time::{Duration, Instant};

use tickwheel_core::wheel::{Links, Wheel};

use crate::random::Random;

/// Timers are spread over an hour of ticks, so that several levels of the wheel are in use.
const SPAN_TICKS: u64 = 3600 * 1_000_000_000 / tickwheel_core::wheel::TICK_NS;
/// Operations of one round at the most.
const ROUND_MAX: u32 = 1000;
/// More work than any round needs.
const WORK: u32 = u32::MAX;

/// A wheel that holds the same number of timers before and after each round.
#[derive(Debug)]
pub struct Timers {
    links: Links,
    wheel: Wheel,
    random: Random,
    pending: u32,
    round: u32,
    /// What the operations of a round work on, drawn before the time is taken.
    slots: Vec<u32>,
    ticks: Vec<u64>,
}

impl Timers {
    /// A wheel with `pending` timers (at least 4), due at random moments of the next hour.
    #[must_use]
    pub fn new(pending: u32) -> Self {
        let round = (pending / 4).clamp(1, ROUND_MAX);
        let mut timers = Self {
            links: Links::new(),
            wheel: Wheel::new(0),
            random: Random::new(),
            pending,
            round,
            slots: Vec::new(),
            ticks: Vec::new(),
        };
        timers.links.grow_to(pending + round);
        for slot in 0..pending {
            let tick = timers.random.below(SPAN_TICKS);
            timers.wheel.insert(&mut timers.links, slot, tick);
        }
        timers
    }

    /// Operations of one round.
    #[must_use]
    pub fn round(&self) -> u32 {
        self.round
    }

    /// Time to insert a round of timers, `rounds` times. They are taken out again in between.
    pub fn insert(&mut self, rounds: u64) -> Duration {
        self.repeat(rounds, |timers| {
            timers.slots = (timers.pending..timers.pending + timers.round).collect();
            timers.draw_ticks();
            let elapsed = timers.timed(Self::insert_all);
            assert_eq!(timers.wheel.len(), timers.pending + timers.round);
            timers.remove_all();
            elapsed
        })
    }

    /// Time to cancel a round of random timers, `rounds` times. They are inserted anew in between.
    pub fn cancel(&mut self, rounds: u64) -> Duration {
        self.repeat(rounds, |timers| {
            // Spread over the whole table, and never the same slot twice.
            let stride = timers.pending / timers.round;
            let start = timers.random.below(stride.into()) as u32;
            timers.slots = (0..timers.round).map(|n| start + n * stride).collect();
            timers.draw_ticks();
            let elapsed = timers.timed(Self::remove_all);
            assert_eq!(timers.wheel.len(), timers.pending - timers.round);
            timers.insert_all();
            elapsed
        })
    }

    /// Time to take a round of timers out as they become due, `rounds` times, with all moves
    /// between levels that this needs. They are inserted anew in between, an hour later.
    pub fn expire(&mut self, rounds: u64) -> Duration {
        self.repeat(rounds, |timers| {
            timers.slots.clear();
            let elapsed = timers.timed(Self::pop_round);
            let due: Vec<u64> = timers.slots.iter().map(|slot| timers.links.tick(*slot)).collect();
            assert_eq!(due.len(), timers.round as usize);
            assert!(due.is_sorted(), "timers left the wheel out of order");
            assert!(timers.wheel.next_tick() >= due.last().copied(), "a timer was passed over");
            timers.ticks = due.iter().map(|tick| tick + SPAN_TICKS).collect();
            timers.insert_all();
            elapsed
        })
    }

    fn repeat(&mut self, rounds: u64, mut round: impl FnMut(&mut Self) -> Duration) -> Duration {
        let sum = (0..rounds).map(|_| round(self)).sum();
        assert_eq!(self.wheel.len(), self.pending);
        sum
    }

    fn timed(&mut self, body: impl FnOnce(&mut Self)) -> Duration {
        let began = Instant::now();
        body(self);
        began.elapsed()
    }

    fn draw_ticks(&mut self) {
        // Nothing is due before the earliest timer, and so no tick lies in the past.
        let from = self.wheel.next_tick().unwrap_or(0);
        let Self { ticks, random, round, .. } = self;
        ticks.clear();
        ticks.extend((0..*round).map(|_| from + random.below(SPAN_TICKS)));
    }

    fn insert_all(&mut self) {
        for (slot, tick) in self.slots.iter().zip(&self.ticks) {
            self.wheel.insert(&mut self.links, *slot, *tick);
        }
    }

    fn remove_all(&mut self) {
        for slot in &self.slots {
            self.wheel.remove(&mut self.links, *slot);
        }
    }

    fn pop_round(&mut self) {
        let mut work = WORK;
        for _ in 0..self.round {
            // Whatever comes first is due: the time told is the end of time.
            let Some(slot) = self.wheel.pop_due(&mut self.links, u64::MAX, &mut work) else {
                return;
            };
            self.slots.push(slot);
        }
    }
}
