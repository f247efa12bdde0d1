//! Makes published records durable, in a thread of its own.
//!
//! The appender publishes a position; the syncer syncs the files that hold the bytes below it,
//! oldest first, and then raises the durable position. After a failed sync it does nothing any
//! more. It must not know records.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

use crate::durability::Durability;
use crate::error::SyncFailure;
use crate::limits::WAITING_FILES_MAX;
use crate::lsn::Lsn;
use crate::stats::SyncStats;
use crate::storage::{Mapping, SegmentFile, Storage};
use crate::sync::{Arc, AtomicBool, AtomicU64, Mutex, OnceLock, Ordering, lock, thread};

/// A segment that takes records, or took them and is not yet durable.
struct Waiting {
    index: u64,
    /// The file, unless it was closed to save a file descriptor.
    file: Option<Box<dyn SegmentFile>>,
}

/// What the appender and the syncer share.
pub(crate) struct Progress {
    /// Bytes below are complete records, ready to be synced.
    published: AtomicU64,
    /// Bytes below are past a completed sync.
    durable: AtomicU64,
    /// Bytes below are to become durable in every mode.
    wanted: AtomicU64,
    failure: OnceLock<SyncFailure>,
    stop: AtomicBool,
    /// Segments that were taken into use and not yet seen by the syncer.
    opened: Mutex<Vec<Waiting>>,
    /// Segments that are written and are read elsewhere from now on.
    settled: Mutex<Vec<(u64, Arc<Mapping>)>>,
    pub(crate) stats: SyncStats,
}

impl Progress {
    /// All below `durable` is durable, and nothing more is published.
    pub(crate) fn new(durable: Lsn) -> Self {
        Progress {
            published: AtomicU64::new(durable.0),
            durable: AtomicU64::new(durable.0),
            wanted: AtomicU64::new(durable.0),
            failure: OnceLock::new(),
            stop: AtomicBool::new(false),
            opened: Mutex::new(Vec::new()),
            settled: Mutex::new(Vec::new()),
            stats: SyncStats::new(),
        }
    }

    #[inline]
    pub(crate) fn durable(&self) -> Lsn {
        Lsn(self.durable.load(Ordering::Acquire))
    }

    #[inline]
    pub(crate) fn failure(&self) -> Option<&SyncFailure> {
        self.failure.get()
    }

    /// Announces a segment. To be called before a position in it is published.
    ///
    /// Without syncs, or with rare ones, segments pile up here, so only the first few files stay
    /// open. The others are opened again for their sync, see [`Syncer::sync_published`].
    pub(crate) fn add_segment(&self, index: u64, file: Box<dyn SegmentFile>) {
        let mut opened = lock(&self.opened);
        let file = (opened.len() < WAITING_FILES_MAX).then_some(file);
        opened.push(Waiting { index, file });
    }

    /// Takes the segments that are to be read elsewhere from now on.
    pub(crate) fn take_settled(&self) -> Vec<(u64, Arc<Mapping>)> {
        std::mem::take(&mut *lock(&self.settled))
    }

    /// Publishes all bytes below `lsn`. The syncer must be woken after it.
    pub(crate) fn publish(&self, lsn: Lsn) {
        // Pairs with the acquire in `Syncer::published`: the bytes below are written before.
        self.published.store(lsn.0, Ordering::Release);
    }

    /// Asks for a sync up to `lsn`, also in a mode that has none. The syncer must be woken after
    /// `lsn` was published.
    pub(crate) fn want_durable(&self, lsn: Lsn) {
        self.wanted.fetch_max(lsn.0, Ordering::AcqRel);
    }

    fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Acquire) > self.durable.load(Ordering::Acquire)
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// Tells the syncer to end. It must be woken after it.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }
}

/// The syncing side, which lives in the syncer thread until the log is closed.
pub(crate) struct Syncer {
    storage: Arc<dyn Storage>,
    progress: Arc<Progress>,
    notify: Arc<dyn Fn() + Send + Sync>,
    segment_bytes: u64,
    /// Segments that may hold bytes that are not durable, oldest first.
    segments: VecDeque<Waiting>,
    /// Where the storage stages: bytes below are with the operating system.
    handed: Lsn,
}

impl Syncer {
    pub(crate) fn new(
        storage: Arc<dyn Storage>,
        progress: Arc<Progress>,
        notify: Arc<dyn Fn() + Send + Sync>,
        segment_bytes: u64,
    ) -> Self {
        let handed = progress.durable();
        Syncer { storage, progress, notify, segment_bytes, segments: VecDeque::new(), handed }
    }

    /// The body of the thread. It hands the syncer back when it is told to end, so that a closing
    /// log can sync the rest. Unpark the thread after any change.
    pub(crate) fn run(mut self, durability: Durability) -> Self {
        let mut last_start: Option<Instant> = None;
        while !self.progress.stop.load(Ordering::Acquire) {
            let due = match durability {
                Durability::Os => {
                    self.progress.is_wanted() && self.published() > self.progress.durable()
                }
                _ => self.published() > self.progress.durable(),
            };
            if self.progress.failure().is_some() {
                thread::park();
                continue;
            }
            if !due {
                if !self.hand_over_published() {
                    thread::park();
                }
                continue;
            }
            if let Durability::Interval(interval) = durability
                && !self.progress.is_wanted()
            {
                let left = last_start
                    .map_or(Duration::ZERO, |start| interval.saturating_sub(start.elapsed()));
                if !left.is_zero() {
                    if !self.hand_over_published() {
                        thread::park_timeout(left);
                    }
                    continue;
                }
            }
            last_start = Some(Instant::now());
            // The failure is latched in `progress`, where everyone sees it.
            let _ = self.sync_published();
        }
        self
    }

    /// Syncs everything published so far.
    ///
    /// A file that was closed in between is opened again. No failure of the disk is missed by
    /// that: Linux keeps a failed write-back with the file's inode, which the mapping of the
    /// segment holds in memory, and a new descriptor reports the failure as long as nobody has
    /// seen it through another. Only this log syncs its files. What a foreign program saw in
    /// between, by syncing the same file, is reported to that program alone.
    pub(crate) fn sync_published(&mut self) -> Result<(), SyncFailure> {
        if let Some(failure) = self.progress.failure() {
            return Err(failure.clone());
        }
        let target = self.published();
        #[cfg(test)]
        crate::planted::ack_before_sync(&self.progress.durable, target);
        self.segments.extend(lock(&self.progress.opened).drain(..));
        // The position just past a full segment belongs to that segment.
        let last_index = target.0.saturating_sub(1) / self.segment_bytes;
        while self.progress.durable() < target {
            let Some(segment) = self.segments.front() else {
                return Err(self.fail(last_index, &io::ErrorKind::NotFound.into()));
            };
            let covered = if segment.index < last_index {
                Lsn((segment.index + 1) * self.segment_bytes)
            } else {
                target
            };
            let start = Instant::now();
            let synced = match &segment.file {
                Some(file) => file.sync(),
                None => self.storage.open(segment.index).and_then(|file| file.sync()),
            };
            #[cfg(feature = "faults")]
            let synced = synced.and(crate::faults::check(&self.storage.path(segment.index)));
            #[cfg(test)]
            let synced =
                crate::planted::retry_sync(synced, || self.storage.open(segment.index)?.sync());
            if let Err(error) = synced {
                return Err(self.fail(segment.index, &error));
            }
            let before = self.progress.durable();
            self.progress.stats.record(start.elapsed(), covered.0.saturating_sub(before.0));
            if segment.index < last_index {
                let index = segment.index;
                self.segments.pop_front();
                self.settle(index)?;
            }
            self.handed = self.handed.max(covered);
            if covered > before {
                self.progress.durable.store(covered.0, Ordering::Release);
                (self.notify)();
            }
        }
        Ok(())
    }

    /// Where the storage stages: gives all that is appended to the operating system, so that a
    /// killed process loses little while no sync is due. False: it has all that is published. A
    /// failure poisons the log as a failed sync does.
    pub(crate) fn hand_over_published(&mut self) -> bool {
        let target = self.published();
        let is_due = self.storage.is_staging() && target > self.handed;
        if is_due && self.hand_over().is_ok() {
            self.handed = target;
        }
        is_due
    }

    /// The same, also for what is not published.
    pub(crate) fn hand_over(&mut self) -> Result<(), SyncFailure> {
        if let Some(failure) = self.progress.failure() {
            return Err(failure.clone());
        }
        if !self.storage.is_staging() {
            return Ok(());
        }
        self.segments.extend(lock(&self.progress.opened).drain(..));
        // What lies before the segment of the last byte that was handed over was handed over.
        let from = self.handed.0.saturating_sub(1) / self.segment_bytes;
        let last = self.segments.back().map_or(from, |last| last.index);
        for number in 0..self.segments.len() {
            let Waiting { index, ref file } = self.segments[number];
            if index < from {
                continue;
            }
            let handed = match file {
                Some(file) => file.hand_over(),
                None => self.storage.open(index).and_then(|file| file.hand_over()),
            };
            handed.map_err(|error| self.fail(index, &error))?;
            if index < last {
                // It is complete, and may wait long for its sync.
                self.segments[number].file = None;
                self.settle(index)?;
            }
        }
        Ok(())
    }

    /// Tells the appender where a segment that is written is read from now on.
    fn settle(&self, index: u64) -> Result<(), SyncFailure> {
        let settled = self.storage.settle(index).map_err(|error| self.fail(index, &error))?;
        lock(&self.progress.settled).extend(settled.map(|mapping| (index, mapping)));
        Ok(())
    }

    fn published(&self) -> Lsn {
        Lsn(self.progress.published.load(Ordering::Acquire))
    }

    fn fail(&self, index: u64, error: &io::Error) -> SyncFailure {
        let failure = SyncFailure {
            path: self.storage.path(index),
            kind: error.kind(),
            message: error.to_string(),
            durable: self.progress.durable(),
        };
        let failure = self.progress.failure.get_or_init(|| failure).clone();
        tracing::error!("{failure}");
        (self.notify)();
        failure
    }
}
