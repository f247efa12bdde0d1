//! Segments made ready ahead of need, and released ones put away, by a thread of its own.
//!
//! The appender takes them; it never waits for one. A thread apart from the syncer, so that
//! making a segment cannot delay a sync. This file must not know headers or records.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use crate::limits::{PREPARE_RETRY, SPARES_MAX, WARMTH_LASTS};
use crate::storage::{Fate, Mapping, Pace, Prepared, Source, Spare, Storage, prepare, retire};
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
    /// Whether `failure` holds something: the appender asks often, and mostly in vain.
    has_failed: AtomicBool,
    released: Mutex<VecDeque<Released>>,
    warming: Mutex<Option<Warming>>,
    stop: AtomicBool,
}

/// A segment that the log does not need any more.
pub(crate) struct Released {
    pub(crate) index: u64,
    pub(crate) mapping: Arc<Mapping>,
}

/// A segment whose pages are wanted in memory.
struct Warming {
    index: u64,
    state: Warmth,
}

impl Warming {
    /// The pages may have been dropped from memory since.
    fn has_cooled(&self) -> bool {
        matches!(self.state, Warmth::Warm(since) if since.elapsed() > WARMTH_LASTS)
    }
}

/// How far a segment's pages are.
#[derive(Clone, Debug)]
pub(crate) enum Warmth {
    /// They are on their way.
    Wanted(Arc<Mapping>),
    /// They were in memory at this time.
    Warm(Instant),
    /// The medium did not give them back.
    Failed(String),
}

impl Pool {
    pub(crate) fn new(ready_max: usize) -> Self {
        Pool {
            ready: Mutex::new(VecDeque::with_capacity(ready_max)),
            ready_count: AtomicUsize::new(0),
            ready_max,
            failure: Mutex::new(None),
            has_failed: AtomicBool::new(false),
            released: Mutex::new(VecDeque::new()),
            warming: Mutex::new(None),
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
        if !self.has_failed.load(Ordering::Acquire) {
            return Some(Shortage::Preparing);
        }
        let failure = lock(&self.failure).clone();
        Some(failure.map_or(Shortage::Preparing, |message| Shortage::NoSpace { message }))
    }

    /// Hands over segments that are released, durably. The preparer must be woken after it.
    pub(crate) fn put_away(&self, released: impl Iterator<Item = Released>) {
        lock(&self.released).extend(released);
    }

    /// Asks for the pages of a segment, and says how far they are. One segment at a time is looked
    /// after: the one asked for last. The preparer must be woken after it.
    pub(crate) fn warm(&self, index: u64, mapping: &Arc<Mapping>) -> Warmth {
        let mut warming = lock(&self.warming);
        match warming.as_ref() {
            Some(warming) if warming.index == index && !warming.has_cooled() => {
                warming.state.clone()
            }
            _ => {
                let state = Warmth::Wanted(Arc::clone(mapping));
                *warming = Some(Warming { index, state: state.clone() });
                state
            }
        }
    }

    fn wanted(&self) -> Option<(u64, Arc<Mapping>)> {
        match lock(&self.warming).as_ref() {
            Some(Warming { index, state: Warmth::Wanted(mapping) }) => {
                Some((*index, Arc::clone(mapping)))
            }
            _ => None,
        }
    }

    fn note_warmth(&self, index: u64, state: Warmth) {
        if let Some(warming) = lock(&self.warming).as_mut().filter(|it| it.index == index) {
            warming.state = state;
        }
    }

    /// Tells the preparer to end. It must be woken after it.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    fn put(&self, prepared: Prepared) {
        let mut ready = lock(&self.ready);
        ready.push_back(prepared);
        *lock(&self.failure) = None;
        self.has_failed.store(false, Ordering::Release);
        self.ready_count.store(ready.len(), Ordering::Release);
    }
}

/// What a step of the preparer came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Something was done; there may be more.
    Worked,
    /// There is nothing to do.
    Idle,
    /// It did not work; trying again at once is of no use.
    Failed,
}

/// The body of the preparer thread.
pub(crate) struct Preparer {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) pool: Arc<Pool>,
    pub(crate) notify: Arc<dyn Fn() + Send + Sync>,
    pub(crate) next_index: u64,
    pub(crate) segment_bytes: u64,
    /// Released segments that are kept to be used again.
    pub(crate) spares: VecDeque<Spare>,
    /// Segments below this were read in from the disk, or may have been. All others are in memory
    /// as they were written.
    pub(crate) read_in_below: Cell<u64>,
}

impl Preparer {
    /// Keeps the pool full and puts released segments away until it is stopped. Unpark the thread
    /// after any change.
    pub(crate) fn run(mut self) -> Self {
        while !self.pool.stop.load(Ordering::Acquire) {
            match self.step() {
                Step::Worked => {}
                Step::Idle => thread::park(),
                Step::Failed => self.wait_to_retry(),
            }
        }
        self
    }

    /// Does the next piece of work.
    pub(crate) fn step(&mut self) -> Step {
        if self.warm() {
            return Step::Worked;
        }
        // Space first: a released segment can be the next one.
        let released = lock(&self.pool.released).pop_front();
        if let Some(released) = released {
            return self.retire(released);
        }
        if self.pool.ready_count() >= self.pool.ready_max {
            return Step::Idle;
        }
        match self.prepare_next() {
            Ok(prepared) => {
                self.next_index += 1;
                if let Some(at) = self.best_spare() {
                    self.spares.remove(at);
                }
                self.pool.put(prepared);
                (self.notify)();
                Step::Worked
            }
            Err(error) if self.pool.stop.load(Ordering::Acquire) => {
                tracing::debug!(%error, "segment preparation stopped");
                Step::Failed
            }
            // It is used instead, or is not to be had any more.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Step::Worked,
            Err(error) => {
                self.report(&error);
                Step::Failed
            }
        }
    }

    /// Brings in the segment that is wanted. False: none is.
    fn warm(&self) -> bool {
        let Some((index, mapping)) = self.pool.wanted() else { return false };
        let warmed = self.storage.open(index).and_then(|file| {
            if index >= self.read_in_below.get() && !file.is_cached(self.segment_bytes) {
                self.read_in_below.set(index + 1);
            }
            file.populate(&mapping)
        });
        let state = match warmed {
            Ok(()) => Warmth::Warm(Instant::now()),
            Err(error) => {
                tracing::error!(segment = index, %error, "a log segment cannot be read");
                Warmth::Failed(error.to_string())
            }
        };
        self.pool.note_warmth(index, state);
        (self.notify)();
        true
    }

    /// Keeps a few released segments for the next that are wanted and removes the others. Bytes
    /// that someone still reads must not change: the file of such a segment is removed, and its
    /// pages stay until they are let go.
    fn retire(&mut self, released: Released) -> Step {
        let Released { index, mapping } = released;
        let is_free = Arc::into_inner(mapping).is_some();
        let fate = if !is_free || self.spares.len() >= SPARES_MAX {
            Fate::Removed
        } else if index >= self.read_in_below.get() {
            Fate::KeptAsItIs
        } else {
            Fate::Kept
        };
        match retire(self.storage.as_ref(), index, fate) {
            Ok(spare) => {
                self.spares.extend(spare);
                Step::Worked
            }
            Err(error) => {
                // The next opening removes it: the log says that it is released.
                let path = self.storage.path(index);
                tracing::warn!(path = %path.display(), %error, "cannot put a released segment away");
                Step::Failed
            }
        }
    }

    /// Position of the spare that is the least work.
    fn best_spare(&self) -> Option<usize> {
        let stays = self.spares.iter().position(|spare| spare.stays);
        stays.or_else(|| (!self.spares.is_empty()).then_some(0))
    }

    /// A segment was released whose file can be the next one with much less work than another.
    fn has_better(&self) -> bool {
        let is_better = |released: &Released| {
            released.index >= self.read_in_below.get() && Arc::strong_count(&released.mapping) == 1
        };
        self.spares.len() < SPARES_MAX && lock(&self.pool.released).iter().any(is_better)
    }

    fn prepare_next(&self) -> io::Result<Prepared> {
        // Segments are at most 1 GiB.
        let segment_len = self.segment_bytes as usize;
        let source = self.best_spare().map_or(Source::New, |at| Source::Spare(self.spares[at]));
        prepare(self.storage.as_ref(), self.next_index, segment_len, source, self)
    }

    fn report(&self, error: &io::Error) {
        let path = self.storage.path(self.next_index);
        let message = format!("cannot make {}: {error}", path.display());
        let earlier = lock(&self.pool.failure).replace(message.clone());
        self.pool.has_failed.store(true, Ordering::Release);
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

/// While other segments are ready, the preparer rests as long as it works, so that the syncs of
/// the log find the disk free.
impl Pace for Preparer {
    fn is_hurried(&self) -> bool {
        self.pool.ready_count() == 0
    }

    fn pause(&self, worked: Duration) -> io::Result<()> {
        if self.pool.stop.load(Ordering::Acquire) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        // Making a segment may take long, and whoever cleans the log waits for this.
        self.warm();
        if self.has_better() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if !self.is_hurried() {
            thread::park_timeout(worked);
        }
        Ok(())
    }
}
