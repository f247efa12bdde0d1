//! A set of shards that threads change without a lock.
//!
//! It must not know what the shards wait for.

use crate::sync::{AtomicU64, Ordering};

#[cfg(not(loom))]
const WORDS: usize = crate::limits::SHARDS_MAX.div_ceil(64);
/// A model has few shards, and tries every order of each access.
#[cfg(loom)]
const WORDS: usize = 1;

/// A set of shards.
#[derive(Debug)]
pub(super) struct Shards([AtomicU64; WORDS]);

impl Shards {
    pub(super) fn new() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }

    /// Puts a shard in; false if it was.
    pub(super) fn insert(&self, shard: usize) -> bool {
        let bit = 1 << (shard % 64);
        self.0[shard / 64].fetch_or(bit, Ordering::AcqRel) & bit == 0
    }

    /// Takes a shard out; false if it was not in, or another took it out before.
    pub(super) fn remove(&self, shard: usize) -> bool {
        let bit = 1 << (shard % 64);
        self.0[shard / 64].fetch_and(!bit, Ordering::AcqRel) & bit != 0
    }

    /// Takes out the first shard after `after`, in a ring.
    pub(super) fn remove_next(&self, after: usize) -> Option<usize> {
        // The word of `after` twice: its upper part first, and all of it at the end.
        for turn in 0..=WORDS {
            let word = (after / 64 + turn) % WORDS;
            loop {
                let present = self.0[word].load(Ordering::Acquire);
                let above = if turn == 0 { !0 << (after % 64) << 1 } else { !0 };
                let found = present & above;
                if found == 0 {
                    break;
                }
                let shard = word * 64 + found.trailing_zeros() as usize;
                if self.remove(shard) {
                    return Some(shard);
                }
            }
        }
        None
    }

    pub(super) fn contains(&self, shard: usize) -> bool {
        self.0[shard / 64].load(Ordering::Acquire) & 1 << (shard % 64) != 0
    }

    /// How many other shards are in.
    pub(super) fn count_but(&self, shard: usize) -> u32 {
        let word = |(number, word): (usize, &AtomicU64)| {
            let own = if number == shard / 64 { 1 << (shard % 64) } else { 0 };
            (word.load(Ordering::Acquire) & !own).count_ones()
        };
        self.0.iter().enumerate().map(word).sum()
    }

    /// How many of the shards after `after` come before `shard`, in a ring.
    pub(super) fn count_before(&self, shard: usize, after: usize) -> u32 {
        let ring = WORDS * 64;
        let distance = |number: usize| (number + ring - after - 1) % ring;
        let own = distance(shard);
        let mut ahead = 0;
        self.visit(|other| ahead += u32::from(distance(other) < own));
        ahead
    }

    /// Calls `visit` for each shard that is in.
    pub(super) fn visit(&self, mut visit: impl FnMut(usize)) {
        for (number, word) in self.0.iter().enumerate() {
            let mut present = word.load(Ordering::Acquire);
            while present != 0 {
                visit(number * 64 + present.trailing_zeros() as usize);
                present &= present - 1;
            }
        }
    }
}
