//! A log in a directory that goes away with it, and the wait for its notices.

use std::{
    path::Path,
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tickwheel_wal::{AppendError, Appended, Durability, Log, LogOptions};

use super::RECORD_BYTES;
use crate::BenchError;

/// The longest wait for a segment or a sync: beyond it something is broken.
const WAIT_MAX: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct OpenLog {
    // In this order they are dropped: the log ends before its files do.
    pub(super) log: Log,
    pub(super) news: Arc<News>,
    pub(super) waits: Waits,
    pub(super) dir: TempDir,
}

/// How often, and how long, an append had to wait for a segment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Waits {
    pub(super) count: u64,
    pub(super) time: Duration,
}

/// Wakes whoever waits for the log.
#[derive(Debug, Default)]
pub(super) struct News {
    count: Mutex<u64>,
    changed: Condvar,
}

impl OpenLog {
    /// A fresh log in `parent`.
    pub(super) fn new(
        parent: &Path,
        segment_bytes: u64,
        durability: Durability,
    ) -> Result<Self, BenchError> {
        Self::with(parent, segment_bytes, durability, |options| options)
    }

    /// The same with further options.
    pub(super) fn with(
        parent: &Path,
        segment_bytes: u64,
        durability: Durability,
        further: impl FnOnce(LogOptions) -> LogOptions,
    ) -> Result<Self, BenchError> {
        let dir = tempfile::Builder::new().prefix("bench-wal-").tempdir_in(parent)?;
        let news = Arc::new(News::default());
        let told = Arc::clone(&news);
        let options =
            LogOptions::new(dir.path()).segment_bytes(segment_bytes).durability(durability);
        let log = further(options).open(Arc::new(move || told.tell()), &mut |_| Ok(()))?;
        Ok(Self { log, news, waits: Waits::default(), dir })
    }

    /// Waits until as many segments are ready as the log keeps.
    pub(super) fn wait_until_ready(&self) -> Result<(), BenchError> {
        self.news.wait_until(|| self.log.shortage().is_none())
    }

    /// Appends, and waits where the next segment is not ready yet.
    #[inline]
    pub(super) fn put(&mut self, payload: &[u8]) -> Result<Appended, BenchError> {
        loop {
            match self.log.append(&[payload]) {
                Ok(appended) => return Ok(appended),
                Err(AppendError::SegmentNotReady) => self.wait_for_segment()?,
                Err(error) => return Err(error.into()),
            }
        }
    }

    #[cold]
    fn wait_for_segment(&mut self) -> Result<(), BenchError> {
        let Self { log, news, waits, .. } = self;
        let began = Instant::now();
        news.wait_until(|| log.available_bytes() >= RECORD_BYTES)?;
        waits.count += 1;
        waits.time += began.elapsed();
        Ok(())
    }

    /// Commits, and waits until all of it is durable.
    pub(super) fn settle(&mut self) -> Result<(), BenchError> {
        let end = self.log.appended();
        self.log.commit();
        self.news.wait_until(|| self.log.durable() >= end)
    }
}

impl News {
    fn tell(&self) {
        *self.count.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.changed.notify_all();
    }

    /// Looks at each piece of news whether `done`. The log changes first and tells then, so a look
    /// under the lock misses nothing.
    pub(super) fn wait_until(&self, done: impl Fn() -> bool) -> Result<(), BenchError> {
        let guard = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(guard, WAIT_MAX, |_| !done());
        let (_guard, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        if timeout.timed_out() {
            Err("the log did not move on within a minute".into())
        } else {
            Ok(())
        }
    }
}
