//! Places for attempts under way, shared by shards without a lock: how many are taken, which shards
//! wait for one, and whose turn it is.
//!
//! One word holds how many places are taken and how many shards wait, so that "there is none, and I
//! wait" is one step, and so is "one is free, and somebody waits": no wake-up can be lost between
//! them. A place that becomes free while shards wait stays taken and is given to the next of them, so
//! no shard that comes later can take it.
//!
//! Which shards wait is kept beside the word. A shard is in that set before it is counted, and is counted
//! out before it leaves: whoever gives a place counts one less, and then takes one out of the set, which is
//! never empty for it. It may find one that is not counted yet, or whose count another has used up: the
//! count is then put back for the other, which is still in the set, and a place that had become free
//! meanwhile goes to it.
//!
//! It must not know queues, nor how a shard is woken.

use super::shards::Shards;
use crate::sync::{AtomicU64, Ordering, yield_now};

/// One shard that waits, in the word.
const ONE_WAITS: u64 = 1 << 32;

fn taken(word: u64) -> u32 {
    word as u32
}

fn waiting(word: u64) -> u32 {
    (word >> 32) as u32
}

/// The places of one queue.
#[derive(Debug)]
pub(super) struct Places {
    /// Places taken below, shards that wait above.
    word: AtomicU64,
    waiting: Shards,
    /// Shards that were given a place and have not taken it up.
    given: Shards,
    /// The shard that was given a place last.
    turn: AtomicU64,
}

impl Places {
    pub(super) fn new() -> Self {
        Self {
            word: AtomicU64::new(0),
            waiting: Shards::new(),
            given: Shards::new(),
            turn: AtomicU64::new(0),
        }
    }

    /// A shard takes up to `want` places, 1 or more, where at most `max` may be taken. `waits` says
    /// whether it waited, as the last call told it: then what it was given meanwhile is among them, or is
    /// given back if more than `max` are taken. True if it waits from now on. Calls `wake` for each shard that
    /// has a place now.
    pub(super) fn take(
        &self,
        shard: usize,
        waits: bool,
        want: u32,
        max: u32,
        wake: &mut dyn FnMut(usize),
    ) -> (u32, bool) {
        let mut granted = u32::from(waits && self.was_given(shard, max, wake));
        let mut is_listed = false;
        let mut word = self.word.load(Ordering::Acquire);
        // Whoever gave it may not have heard of a lower limit yet.
        while granted > 0 && taken(word) > max {
            match self.swap(word, word - 1) {
                Ok(_) => (granted, word) = (0, word - 1),
                Err(present) => word = present,
            }
        }
        while granted < want {
            // Whoever waits already goes first.
            let free = max.saturating_sub(taken(word)).saturating_sub(waiting(word));
            let free = free.min(want - granted);
            if free == 0 && !is_listed {
                self.waiting.insert(shard);
                is_listed = true;
                word = self.word.load(Ordering::Acquire);
                continue;
            }
            let next = if free == 0 { word + ONE_WAITS } else { word + u64::from(free) };
            match self.swap(word, next) {
                Err(present) => word = present,
                Ok(_) if free == 0 => return (granted, true),
                Ok(_) => (granted, word) = (granted + free, next),
            }
        }
        if is_listed && !self.waiting.remove(shard) {
            // A place is on its way here that was meant for another who waits.
            self.count_again(max, wake);
            return (granted, true);
        }
        (granted, false)
    }

    /// Gives a place back, where at most `max` may be taken. The shard that has it now, if one waited:
    /// it must be woken.
    pub(super) fn release(&self, max: u32) -> Option<usize> {
        let mut word = self.word.load(Ordering::Acquire);
        loop {
            let goes_on = waiting(word) > 0 && taken(word) <= max;
            let next = if goes_on { word - ONE_WAITS } else { word - 1 };
            match self.swap(word, next) {
                Err(present) => word = present,
                Ok(_) if !goes_on => return None,
                Ok(_) => match self.give() {
                    Some(shard) => return Some(shard),
                    // It has withdrawn.
                    None => word = self.word.load(Ordering::Acquire),
                },
            }
        }
    }

    /// Gives a free place to a shard that waits, if there are both: after `max` has risen.
    pub(super) fn give_free(&self, max: u32) -> Option<usize> {
        let mut word = self.word.load(Ordering::Acquire);
        while waiting(word) > 0 && taken(word) < max {
            match self.swap(word, word - ONE_WAITS + 1) {
                Err(present) => word = present,
                Ok(_) => return self.give().or_else(|| self.release(max)),
            }
        }
        None
    }

    /// A shard that waits does so no more. Calls `wake` for each shard that has a place now.
    pub(super) fn withdraw(&self, shard: usize, max: u32, wake: &mut dyn FnMut(usize)) {
        if self.was_given(shard, max, wake)
            && let Some(next) = self.release(max)
        {
            wake(next);
        }
    }

    /// Takes out of the line a shard that waits: whether it had been given a place.
    fn was_given(&self, shard: usize, max: u32, wake: &mut dyn FnMut(usize)) -> bool {
        while !self.given.remove(shard) {
            let word = self.word.load(Ordering::Acquire);
            // Without a count a place is on its way, here or to one that counts itself again: between two
            // instructions of another shard.
            if waiting(word) == 0 || self.swap(word, word - ONE_WAITS).is_err() {
                yield_now();
                continue;
            }
            if self.waiting.remove(shard) {
                return false;
            }
            // It was the count of another: this shard is being given a place.
            self.count_again(max, wake);
            yield_now();
        }
        true
    }

    /// Puts back the count of a shard that is in the set. While it was missing, a place may have become free.
    fn count_again(&self, max: u32, wake: &mut dyn FnMut(usize)) {
        self.word.fetch_add(ONE_WAITS, Ordering::AcqRel);
        if let Some(shard) = self.give_free(max) {
            wake(shard);
        }
    }

    /// A shard comes with places that it has already, even if these are too many.
    pub(super) fn enter(&self, count: u32) {
        self.word.fetch_add(count.into(), Ordering::AcqRel);
    }

    /// Places that are taken.
    #[cfg(test)]
    pub(super) fn taken(&self) -> u32 {
        taken(self.word.load(Ordering::Acquire))
    }

    /// Gives a place that is taken to a shard that waits.
    fn give(&self) -> Option<usize> {
        let turn = self.turn.load(Ordering::Relaxed) as usize;
        let shard = self.waiting.remove_next(turn)?;
        self.turn.store(shard as u64, Ordering::Relaxed);
        self.given.insert(shard);
        Some(shard)
    }

    fn swap(&self, word: u64, next: u64) -> Result<u64, u64> {
        self.word.compare_exchange(word, next, Ordering::AcqRel, Ordering::Acquire)
    }
}
