//! Whose turn it is among the queues of one priority: deficit round robin, where each job costs one.
//! In a round each queue may give as many jobs as its weight says; a turn that a call ends in the
//! middle of goes on with the next call. So the order does not depend on how many jobs a call asks for.
//!
//! It knows numbers and weights, never jobs.

use super::bits::Bits;
use crate::limits::QUEUES_MAX;

/// The queues of one priority from which executors may take a job.
#[derive(Clone, Debug)]
pub(super) struct Turns {
    open: Bits,
    /// Sum of their weights.
    weight: u32,
    /// The queue that has its turn, or the first after it that is open.
    turn: usize,
    /// What the queue at `turn` may still give in its turn; 0 before it began.
    credit: u32,
}

/// One call's way around the queues.
#[derive(Debug)]
pub(super) struct Round {
    /// Whole rounds that the call has room for.
    rounds: usize,
    /// Jobs beyond those: they move the turn on.
    extra: usize,
    /// Where the next queue is looked for.
    cursor: usize,
}

impl Turns {
    pub(super) const fn new() -> Self {
        Self { open: Bits::new(), weight: 0, turn: 0, credit: 0 }
    }

    /// How many queues are open.
    pub(super) fn count(&self) -> usize {
        self.open.count()
    }

    /// The queue that is open, if it is one alone.
    pub(super) fn only(&self) -> Option<usize> {
        self.open.next_from(0)
    }

    /// Opens or closes a queue. Its weight must be the same until it is closed.
    pub(super) fn set(&mut self, number: usize, weight: u8, is_open: bool) {
        if self.open.set(number, is_open) {
            match is_open {
                true => self.weight += u32::from(weight),
                false => self.weight -= u32::from(weight),
            }
        }
    }

    /// Begins to share `max` jobs out. A queue must be open.
    pub(super) fn begin(&self, max: usize) -> Round {
        let weight = self.weight as usize;
        Round { rounds: max / weight, extra: max % weight, cursor: self.turn }
    }

    /// The queue that is asked next.
    pub(super) fn next(&self, round: &Round) -> Option<usize> {
        self.open.next_from(round.cursor)
    }

    /// How many jobs the queue `number` may give.
    pub(super) fn share(&mut self, round: &mut Round, number: usize, weight: u8) -> usize {
        let weight = u32::from(weight);
        round.cursor = (number + 1) % QUEUES_MAX;
        let goes_on = number == self.turn && self.credit > 0;
        let credit = if goes_on { self.credit.min(weight) } else { weight };
        let more = round.extra.min(credit as usize);
        if more > 0 {
            round.extra -= more;
            let left = credit - more as u32;
            (self.turn, self.credit) = if left == 0 { (round.cursor, 0) } else { (number, left) };
        }
        weight as usize * round.rounds + more
    }

    /// The queue `number` has so many jobs less than its share: others get them, and its turn is
    /// over.
    pub(super) fn give_back(&mut self, round: &mut Round, number: usize, unused: usize) {
        if unused == 0 {
            return;
        }
        round.extra += unused;
        if self.turn == number {
            (self.turn, self.credit) = (round.cursor, 0);
        }
    }
}
