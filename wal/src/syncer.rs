//! Makes published records durable, in a thread of its own.
//!
//! The appender publishes a position; the syncer syncs the files that hold the bytes below it,
//! oldest first, and then raises the durable position. After a failed sync it does nothing any
//! more. It must not know records.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::durability::Durability;
use crate::error::SyncFailure;
use crate::lsn::Lsn;
use crate::stats::SyncStats;
use crate::storage::SegmentFile;
use crate::sync::{Arc, AtomicBool, AtomicU64, Mutex, OnceLock, Ordering, lock, thread};

/// A segment file that takes records.
pub(crate) struct OpenSegment {
    pub(crate) index: u64,
    pub(crate) path: PathBuf,
    pub(crate) file: Box<dyn SegmentFile>,
}

/// What the appender and the syncer share.
pub(crate) struct Progress {
    /// Bytes below are complete records, ready to be synced.
    published: AtomicU64,
    /// Bytes below are past a completed sync.
    durable: AtomicU64,
    failure: OnceLock<SyncFailure>,
    stop: AtomicBool,
    /// Segments that were taken into use and not yet seen by the syncer.
    opened: Mutex<Vec<OpenSegment>>,
    pub(crate) stats: SyncStats,
}

impl Progress {
    /// All below `durable` is durable, and nothing more is published.
    pub(crate) fn new(durable: Lsn) -> Self {
        Progress {
            published: AtomicU64::new(durable.0),
            durable: AtomicU64::new(durable.0),
            failure: OnceLock::new(),
            stop: AtomicBool::new(false),
            opened: Mutex::new(Vec::new()),
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
    pub(crate) fn add_segment(&self, segment: OpenSegment) {
        lock(&self.opened).push(segment);
    }

    /// Publishes all bytes below `lsn`. The syncer must be woken after it.
    pub(crate) fn publish(&self, lsn: Lsn) {
        // Pairs with the acquire in `Syncer::published`: the bytes below are written before.
        self.published.store(lsn.0, Ordering::Release);
    }

    /// Tells the syncer to end. It must be woken after it.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }
}

/// The syncing side, which lives in the syncer thread until the log is closed.
pub(crate) struct Syncer {
    progress: Arc<Progress>,
    notify: Arc<dyn Fn() + Send + Sync>,
    segment_bytes: u64,
    /// Segments that may hold bytes that are not durable, oldest first.
    segments: VecDeque<OpenSegment>,
}

impl Syncer {
    pub(crate) fn new(
        progress: Arc<Progress>,
        notify: Arc<dyn Fn() + Send + Sync>,
        segment_bytes: u64,
    ) -> Self {
        Syncer { progress, notify, segment_bytes, segments: VecDeque::new() }
    }

    /// The body of the thread. It hands the syncer back when it is told to end, so that a closing
    /// log can sync the rest. Unpark the thread after any change.
    pub(crate) fn run(mut self, durability: Durability) -> Self {
        let mut last_start: Option<Instant> = None;
        while !self.progress.stop.load(Ordering::Acquire) {
            let due = match durability {
                Durability::Os => false,
                _ => self.published() > self.progress.durable(),
            };
            if !due || self.progress.failure().is_some() {
                thread::park();
                continue;
            }
            if let Durability::Interval(interval) = durability {
                let left = last_start
                    .map_or(Duration::ZERO, |start| interval.saturating_sub(start.elapsed()));
                if !left.is_zero() {
                    thread::park_timeout(left);
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
    pub(crate) fn sync_published(&mut self) -> Result<(), SyncFailure> {
        if let Some(failure) = self.progress.failure() {
            return Err(failure.clone());
        }
        let target = self.published();
        self.segments.extend(lock(&self.progress.opened).drain(..));
        // The position just past a full segment belongs to that segment.
        let last_index = target.0.saturating_sub(1) / self.segment_bytes;
        while self.progress.durable() < target {
            let Some(segment) = self.segments.front() else {
                return Err(self.fail(PathBuf::new(), &io::ErrorKind::NotFound.into()));
            };
            let covered = if segment.index < last_index {
                Lsn((segment.index + 1) * self.segment_bytes)
            } else {
                target
            };
            let start = Instant::now();
            if let Err(error) = segment.file.sync() {
                let path = segment.path.clone();
                return Err(self.fail(path, &error));
            }
            let before = self.progress.durable();
            self.progress.stats.record(start.elapsed(), covered.0.saturating_sub(before.0));
            if segment.index < last_index {
                self.segments.pop_front();
            }
            if covered > before {
                self.progress.durable.store(covered.0, Ordering::Release);
                (self.notify)();
            }
        }
        Ok(())
    }

    fn published(&self) -> Lsn {
        Lsn(self.progress.published.load(Ordering::Acquire))
    }

    fn fail(&self, path: PathBuf, error: &io::Error) -> SyncFailure {
        let failure = SyncFailure {
            path,
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
