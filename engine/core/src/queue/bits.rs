//! A set of queues' numbers, from which the next in turn is found with two looks.
//!
//! It knows numbers, never what they stand for.

use crate::limits::QUEUES_MAX;

const WORDS: usize = QUEUES_MAX.div_ceil(64);

/// A set of queues' numbers.
#[derive(Clone, Debug)]
pub(super) struct Bits {
    words: [u64; WORDS],
    /// One bit per word that is not zero.
    summary: u64,
    count: u32,
}

impl Bits {
    pub(super) const fn new() -> Self {
        Self { words: [0; WORDS], summary: 0, count: 0 }
    }

    pub(super) fn count(&self) -> usize {
        self.count as usize
    }

    /// Puts a number in or takes it out; false if it was so before.
    pub(super) fn set(&mut self, number: usize, is_in: bool) -> bool {
        let (word, bit) = (number / 64, 1_u64 << (number % 64));
        let before = self.words[word] & bit != 0;
        if before == is_in {
            return false;
        }
        self.words[word] ^= bit;
        if self.words[word] == 0 {
            self.summary &= !(1 << word);
        } else {
            self.summary |= 1 << word;
        }
        if is_in {
            self.count += 1;
        } else {
            self.count -= 1;
        }
        true
    }

    /// The first number at or after `start`, else the first of all.
    pub(super) fn next_from(&self, start: usize) -> Option<usize> {
        let (word, bit) = (start / 64, start % 64);
        let rest = self.words[word] & (u64::MAX << bit);
        if rest != 0 {
            return Some(word * 64 + rest.trailing_zeros() as usize);
        }
        let above = self.summary & (u64::MAX << word) & !(1 << word);
        let summary = if above == 0 { self.summary } else { above };
        if summary == 0 {
            return None;
        }
        let word = summary.trailing_zeros() as usize;
        Some(word * 64 + self.words[word].trailing_zeros() as usize)
    }
}

// One bit of the summary per word.
const _: () = assert!(WORDS <= 64);
