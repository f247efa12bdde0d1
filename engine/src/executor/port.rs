//! What one shard and the executors share: attempts on their way out, their ends on the way back.
//!
//! Both ways are bounded and lock-free, and neither side ever waits for the other: the shard lends
//! out at most as many attempts as either way has places. This file must not know what a job is.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use crossbeam::queue::ArrayQueue;

use super::{Completion, Stops, Work};
use crate::shard::Sleeper;

/// The two ways between one shard and the executors.
#[derive(Debug)]
pub(crate) struct Port {
    work: ArrayQueue<Work>,
    ends: ArrayQueue<Completion>,
    pub(crate) stops: Stops,
    sleeper: Arc<Sleeper>,
    /// The shard sleeps though it has ready jobs: all its places are taken.
    hungry: AtomicBool,
}

impl Port {
    /// For a shard that lends out at most `places` attempts at a time.
    pub(crate) fn new(sleeper: Arc<Sleeper>, places: usize) -> Self {
        Self {
            work: ArrayQueue::new(places),
            ends: ArrayQueue::new(places),
            stops: Stops::default(),
            sleeper,
            hungry: AtomicBool::new(false),
        }
    }

    /// Attempts that may be lent out at a time.
    pub(crate) fn places(&self) -> usize {
        self.work.capacity()
    }

    /// Attempts that wait for an executor.
    pub(crate) fn waiting(&self) -> usize {
        self.work.len()
    }

    /// The shard's side: lends an attempt out; `false` when there is no place.
    #[must_use]
    pub(crate) fn lend(&self, work: Work) -> bool {
        self.work.push(work).is_ok()
    }

    /// The shard's side: the next end.
    pub(crate) fn take_end(&self) -> Option<Completion> {
        self.ends.pop()
    }

    /// The shard's side: whether an end waits.
    pub(crate) fn has_ends(&self) -> bool {
        !self.ends.is_empty()
    }

    /// The shard's side, before it lies down: whether an executor that finds no work is to wake it.
    pub(crate) fn set_hungry(&self, hungry: bool) {
        if self.hungry.load(Ordering::Relaxed) != hungry {
            self.hungry.store(hungry, Ordering::Relaxed);
        }
    }

    /// The executors' side: the attempt that has waited longest.
    pub(super) fn take_work(&self) -> Option<Work> {
        self.work.pop()
    }

    /// The executors' side: gives an end back. It never waits: whatever the shard is busy with, and
    /// however full its inbox is, each attempt that was lent has a place here.
    pub(super) fn give_back(&self, completion: Completion) {
        if self.ends.push(completion).is_err() {
            eprintln!("tickwheel: more attempts came back to a shard than it had lent out");
            std::process::abort();
        }
        self.sleeper.wake();
    }

    /// The executors' side: the calling thread has found no work and says so to a hungry shard.
    pub(super) fn offer(&self) {
        if self.hungry.load(Ordering::Relaxed) {
            self.sleeper.wake();
        }
    }

    /// The sleep of the shard.
    pub(crate) fn sleeper(&self) -> &Sleeper {
        &self.sleeper
    }
}
