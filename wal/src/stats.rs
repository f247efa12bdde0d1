//! Counters of a log.

// Not from `sync`: these order nothing, and they depend on a clock, which no model may do.
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::lsn::Lsn;

/// Classes of sync times: class `n` counts those from 2ⁿ to just below 2ⁿ⁺¹ nanoseconds.
pub(crate) const SYNC_CLASSES: usize = 40;

/// Counters since the log was opened, and its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogStats {
    /// Completed syncs.
    pub syncs: u64,
    /// Bytes that became durable by them.
    pub synced_bytes: u64,
    /// Segments that hold records, the one in use included.
    pub segments: u64,
    /// Where the log begins.
    pub head: Lsn,
    /// Segments that are ready for use.
    pub ready_segments: u64,
    /// Data records appended.
    pub appended_records: u64,
    /// Bytes that all records appended take, those of the log itself included.
    pub appended_bytes: u64,
    /// Time of the last sync, in nanoseconds.
    pub last_sync_nanos: u64,
    /// Time of all syncs, in nanoseconds.
    pub total_sync_nanos: u64,
    /// Number of syncs by their time: entry `n` counts those of 2ⁿ to 2ⁿ⁺¹ − 1 nanoseconds; the
    /// last entry also counts all longer ones.
    pub sync_nanos_classes: [u64; SYNC_CLASSES],
}

/// The part of the counters that the syncer writes.
#[derive(Debug)]
pub(crate) struct SyncStats {
    syncs: AtomicU64,
    synced_bytes: AtomicU64,
    last_nanos: AtomicU64,
    total_nanos: AtomicU64,
    classes: [AtomicU64; SYNC_CLASSES],
}

impl SyncStats {
    pub(crate) fn new() -> Self {
        SyncStats {
            syncs: AtomicU64::new(0),
            synced_bytes: AtomicU64::new(0),
            last_nanos: AtomicU64::new(0),
            total_nanos: AtomicU64::new(0),
            classes: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    pub(crate) fn record(&self, elapsed: Duration, bytes: u64) {
        let nanos = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        let class = (nanos.max(1).ilog2() as usize).min(SYNC_CLASSES - 1);
        self.syncs.fetch_add(1, Ordering::Relaxed);
        self.synced_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.last_nanos.store(nanos, Ordering::Relaxed);
        self.total_nanos.fetch_add(nanos, Ordering::Relaxed);
        self.classes[class].fetch_add(1, Ordering::Relaxed);
    }

    /// The counters, with zeros where the syncer knows nothing.
    pub(crate) fn snapshot(&self) -> LogStats {
        LogStats {
            syncs: self.syncs.load(Ordering::Relaxed),
            synced_bytes: self.synced_bytes.load(Ordering::Relaxed),
            segments: 0,
            head: Lsn(0),
            ready_segments: 0,
            appended_records: 0,
            appended_bytes: 0,
            last_sync_nanos: self.last_nanos.load(Ordering::Relaxed),
            total_sync_nanos: self.total_nanos.load(Ordering::Relaxed),
            sync_nanos_classes: std::array::from_fn(|n| self.classes[n].load(Ordering::Relaxed)),
        }
    }
}
