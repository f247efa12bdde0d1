//! Segments made ready ahead of need, by a thread of its own.
//!
//! The appender takes them; it never waits for one. A thread apart from the syncer, so that
//! making a segment cannot delay a sync. This file must not know headers or records.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use crate::limits::PREPARE_RETRY;
use crate::storage::{Pace, Prepared, Storage, prepare};
use crate::sync::{Arc, AtomicBool, AtomicUsize, Mutex, Ordering, lock, thread};

/// Why fewer segments are ready than the options ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shortage {
    /// A segment is being made.
    Preparing,
    /// The last try to make a segment failed, most often because the disk is full. The log tries
    /// again by itself and gives notice when it has one.
    NoSpace {
        /// What the operating system said.
        message: String,
    },
}

/// The ready segments, shared by the appender and the preparer.
pub(crate) struct Pool {
    ready: Mutex<VecDeque<Prepared>>,
    /// Length of `ready`, readable without the lock. Only the appender makes it smaller.
    ready_count: AtomicUsize,
    ready_max: usize,
    /// What the last try said if it failed.
    failure: Mutex<Option<String>>,
    stop: AtomicBool,
}

impl Pool {
    pub(crate) fn new(ready_max: usize) -> Self {
        Pool {
            ready: Mutex::new(VecDeque::with_capacity(ready_max)),
            ready_count: AtomicUsize::new(0),
            ready_max,
            failure: Mutex::new(None),
            stop: AtomicBool::new(false),
        }
    }

    /// Segments that [`take`](Pool::take) will give, at least, until it is called.
    #[inline]
    pub(crate) fn ready_count(&self) -> usize {
        self.ready_count.load(Ordering::Acquire)
    }

    /// The next segment, if one is ready. The preparer must be woken after it.
    pub(crate) fn take(&self) -> Option<Prepared> {
        let mut ready = lock(&self.ready);
        let prepared = ready.pop_front();
        self.ready_count.store(ready.len(), Ordering::Release);
        prepared
    }

    pub(crate) fn shortage(&self) -> Option<Shortage> {
        if self.ready_count() >= self.ready_max {
            return None;
        }
        let failure = lock(&self.failure).clone();
        Some(failure.map_or(Shortage::Preparing, |message| Shortage::NoSpace { message }))
    }

    /// Tells the preparer to end. It must be woken after it.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    fn put(&self, prepared: Prepared) {
        let mut ready = lock(&self.ready);
        ready.push_back(prepared);
        *lock(&self.failure) = None;
        self.ready_count.store(ready.len(), Ordering::Release);
    }
}

/// While other segments are ready, the preparer rests as long as it works, so that the syncs of
/// the log find the disk free.
impl Pace for Pool {
    fn is_hurried(&self) -> bool {
        self.ready_count() == 0
    }

    fn pause(&self, worked: Duration) -> io::Result<()> {
        if self.stop.load(Ordering::Acquire) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if !self.is_hurried() {
            thread::park_timeout(worked);
        }
        Ok(())
    }
}

/// The body of the preparer thread.
pub(crate) struct Preparer {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) pool: Arc<Pool>,
    pub(crate) notify: Arc<dyn Fn() + Send + Sync>,
    pub(crate) next_index: u64,
    pub(crate) segment_bytes: u64,
}

impl Preparer {
    /// Keeps the pool full until it is stopped. Unpark the thread after any change.
    pub(crate) fn run(mut self) -> Self {
        while !self.pool.stop.load(Ordering::Acquire) {
            if self.pool.ready_count() >= self.pool.ready_max {
                thread::park();
            } else if !self.step() && !self.pool.stop.load(Ordering::Acquire) {
                self.wait_to_retry();
            }
        }
        self
    }

    /// Makes the next segment, if one is wanted. False: none is, or it could not be made.
    pub(crate) fn step(&mut self) -> bool {
        if self.pool.ready_count() >= self.pool.ready_max {
            return false;
        }
        match self.prepare_next() {
            Ok(prepared) => {
                self.next_index += 1;
                self.pool.put(prepared);
                (self.notify)();
                true
            }
            Err(error) if self.pool.stop.load(Ordering::Acquire) => {
                tracing::debug!(%error, "segment preparation stopped");
                false
            }
            Err(error) => {
                self.report(&error);
                false
            }
        }
    }

    fn prepare_next(&self) -> io::Result<Prepared> {
        // Segments are at most 1 GiB.
        let segment_len = self.segment_bytes as usize;
        prepare(self.storage.as_ref(), self.next_index, segment_len, self.pool.as_ref())
    }

    fn report(&self, error: &io::Error) {
        let path = self.storage.path(self.next_index);
        let message = format!("cannot make {}: {error}", path.display());
        let earlier = lock(&self.pool.failure).replace(message.clone());
        // A full disk stays full for a while: one line for all its retries.
        if earlier.as_ref() != Some(&message) {
            tracing::warn!("{message}; trying again every {PREPARE_RETRY:?}");
            // Who waits for a segment hears that it may take longer.
            (self.notify)();
        }
    }

    fn wait_to_retry(&self) {
        let until = Instant::now() + PREPARE_RETRY;
        while !self.pool.stop.load(Ordering::Acquire) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            thread::park_timeout(left);
        }
    }
}
