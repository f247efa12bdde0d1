//! A log in a temporary directory, and bounded waiting for its notices.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use tickwheel_wal::{AppendError, Appended, Log, LogOptions, Lsn, OpenError};

/// Smallest segments, so that small logs rotate.
pub(crate) const SEGMENT_BYTES: u64 = 64 << 10;
/// Data records with their positions, in order.
pub(crate) type Records = Vec<(Lsn, Vec<u8>)>;
/// No wait takes longer, whatever the machine does.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// Counts the log's notices.
#[derive(Default)]
pub(crate) struct Notices {
    count: Mutex<u64>,
    changed: Condvar,
}

impl Notices {
    fn notify(&self) {
        *self.count.lock().unwrap() += 1;
        self.changed.notify_all();
    }

    pub(crate) fn count(&self) -> u64 {
        *self.count.lock().unwrap()
    }

    /// Returns as soon as `is_met`, which is asked again at each notice.
    pub(crate) fn wait_until(&self, what: &str, mut is_met: impl FnMut() -> bool) {
        let deadline = Instant::now() + WAIT_MAX;
        let mut seen = self.count();
        while !is_met() {
            let mut count = self.count.lock().unwrap();
            while *count == seen {
                let left = deadline.saturating_duration_since(Instant::now());
                assert!(!left.is_zero(), "no {what} within {WAIT_MAX:?}");
                count = self.changed.wait_timeout(count, left).unwrap().0;
            }
            seen = *count;
        }
    }
}

/// A directory for one log, removed at the end.
pub(crate) struct Fixture {
    dir: tempfile::TempDir,
    pub(crate) notices: Arc<Notices>,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Fixture { dir: tempfile::tempdir().unwrap(), notices: Arc::default() }
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    pub(crate) fn options(&self) -> LogOptions {
        LogOptions::new(self.dir()).segment_bytes(SEGMENT_BYTES)
    }

    /// What tells the notices.
    pub(crate) fn notify(&self) -> Arc<dyn Fn() + Send + Sync> {
        let notices = Arc::clone(&self.notices);
        Arc::new(move || notices.notify())
    }

    /// Opens the log and returns the payloads replayed.
    pub(crate) fn try_open(&self, options: LogOptions) -> Result<(Log, Records), OpenError> {
        let mut replayed = Vec::new();
        let log = options.open(self.notify(), &mut |record| {
            assert_eq!(record.end.0 - record.lsn.0, Log::record_bytes(record.payload.len()));
            replayed.push((record.lsn, record.payload.to_vec()));
            Ok(())
        })?;
        assert_eq!(log.recovery().records, replayed.len() as u64);
        let bytes: usize = replayed.iter().map(|(_, payload)| payload.len()).sum();
        assert_eq!(log.recovery().bytes, bytes as u64);
        Ok((log, replayed))
    }

    pub(crate) fn open(&self) -> (Log, Records) {
        self.try_open(self.options()).unwrap()
    }

    /// Opens the log and returns why that failed.
    pub(crate) fn refusal(&self) -> OpenError {
        self.try_open(self.options()).expect_err("the log opened")
    }

    /// Appends, and waits for a segment where one is being made.
    pub(crate) fn append(&self, log: &mut Log, payload: &[u8]) -> Appended {
        loop {
            match log.append(&[payload]) {
                Ok(appended) => return appended,
                Err(AppendError::SegmentNotReady) => self.wait_for_segment(log),
                Err(error) => panic!("{error}"),
            }
        }
    }

    pub(crate) fn wait_for_segment(&self, log: &Log) {
        self.notices.wait_until("segment", || log.stats().ready_segments > 0);
    }

    /// Waits until the pool is full, so that nothing more changes in the directory by itself.
    pub(crate) fn wait_for_pool(&self, log: &Log) {
        self.notices.wait_until("full pool", || log.shortage().is_none());
    }

    pub(crate) fn wait_durable(&self, log: &Log, lsn: Lsn) {
        self.notices.wait_until("sync", || log.durable() >= lsn);
    }

    pub(crate) fn segment(&self, index: u64) -> PathBuf {
        self.dir().join(format!("{index:020}.seg"))
    }

    /// The segment files with their bytes.
    pub(crate) fn segments(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut files: Vec<_> = std::fs::read_dir(self.dir())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "seg"))
            .map(|path| (path.clone(), std::fs::read(path).unwrap()))
            .collect();
        files.sort();
        files
    }
}

/// Changes a file in place.
pub(crate) fn edit(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    change(&mut bytes);
    std::fs::write(path, bytes).unwrap();
}

/// A payload that differs from others and fills its length.
pub(crate) fn payload(number: usize, len: usize) -> Vec<u8> {
    (0..len).map(|at| (number.wrapping_mul(31).wrapping_add(at * 7) % 251) as u8).collect()
}
