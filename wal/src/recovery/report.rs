//! What an opening found: the report for the caller.

use std::time::Duration;

use crate::lsn::Lsn;

/// What [`LogOptions::open`](crate::LogOptions::open) found on the disk and did about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecoveryReport {
    /// The snapshot that the recovery began from, if it did.
    pub snapshot: Option<Lsn>,
    /// Everything below was released.
    pub head: Lsn,
    /// Data records that were replayed.
    pub records: u64,
    /// Payload bytes of those records.
    pub bytes: u64,
    /// Segments that are kept for them. 0: the log is new, or nothing was ever appended to it.
    pub segments: u64,
    /// Bytes of the torn tail that were discarded. Nothing durable was among them.
    pub torn_bytes: u64,
    /// The last owner closed the log, and nothing is there after that.
    pub clean_shutdown: bool,
    /// The epoch of the log from now on: 1 for a new log unless told otherwise
    /// ([`LogOptions::epoch_after`](crate::LogOptions::epoch_after)), more at each opening. Of a log
    /// that was only looked at, the epoch of its last opening, 0 if there was none.
    pub epoch: u64,
    /// Time until all records were checked and handed out: what the log's length costs. The rest of
    /// the opening is syncing, and making its next segment.
    pub reading: Duration,
    /// Time that the opening took.
    pub elapsed: Duration,
    /// Harmless damage that was seen: no record depends on it, but the disk changed bytes.
    pub warnings: Vec<String>,
}
