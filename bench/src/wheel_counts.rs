//! The operations of the wheel on prepared wheels, for counting instructions: what is counted does nothing
//! else. It knows the wheel of the core only.

use tickwheel_core::wheel::{Links, Wheel};

use crate::random::Random;

/// Operations of a round that does not depend on how many timers are pending.
pub const ROUND: u32 = 1000;
/// Timers are spread over four slots of the second level from the top that an hour reaches, 73 minutes. What expires
/// is one of those slots: each of its timers goes through all moves between levels that it ever needs.
const SPAN_TICKS: u64 = 4 * QUARTER_TICKS;
const QUARTER_TICKS: u64 = 1 << 24;

/// A wheel with many timers, and what is to be done to it.
#[derive(Debug)]
pub struct Prepared {
    links: Links,
    wheel: Wheel,
    slots: Vec<u32>,
    ticks: Vec<u64>,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Insert [`ROUND`] timers, due at random.
    Insert,
    /// Cancel [`ROUND`] random timers.
    Cancel,
    /// Take out all timers of the first quarter of the time.
    Expire,
}

impl Prepared {
    /// A wheel with `pending` timers (at least 4 · [`ROUND`]), on which `operation` can be carried out once.
    #[must_use]
    pub fn new(pending: u32, operation: Operation) -> Self {
        let mut random = Random::new();
        let mut prepared = Self {
            links: Links::new(),
            wheel: Wheel::new(0),
            slots: Vec::with_capacity(pending as usize),
            ticks: Vec::new(),
        };
        prepared.links.grow_to(pending + ROUND);
        for slot in 0..pending {
            let tick = random.below(SPAN_TICKS);
            prepared.wheel.insert(&mut prepared.links, slot, tick);
        }
        match operation {
            Operation::Insert => {
                prepared.slots.extend(pending..pending + ROUND);
                prepared.ticks.extend((0..ROUND).map(|_| random.below(SPAN_TICKS)));
            }
            // Spread over the whole table: the ticks of neighbours have nothing to do with each other.
            Operation::Cancel => {
                let stride = pending / ROUND;
                prepared.slots.extend((0..ROUND).map(|n| n * stride));
            }
            Operation::Expire => {}
        }
        prepared
    }

    /// Inserts a round of timers and gives the number of them.
    #[inline(never)]
    pub fn insert(&mut self) -> u32 {
        for (slot, tick) in self.slots.iter().zip(&self.ticks) {
            self.wheel.insert(&mut self.links, *slot, *tick);
        }
        self.slots.len() as u32
    }

    /// Cancels a round of timers and gives the number of them.
    #[inline(never)]
    pub fn cancel(&mut self) -> u32 {
        for slot in &self.slots {
            self.wheel.remove(&mut self.links, *slot);
        }
        self.slots.len() as u32
    }

    /// Takes out all timers of the first quarter of the time and gives the number of them.
    #[inline(never)]
    pub fn expire(&mut self) -> u32 {
        let mut work = u32::MAX;
        while let Some(slot) = self.wheel.pop_due(&mut self.links, QUARTER_TICKS - 1, &mut work) {
            self.slots.push(slot);
        }
        self.slots.len() as u32
    }

    /// Timers that are pending now.
    #[must_use]
    pub fn pending(&self) -> u32 {
        self.wheel.len()
    }
}
