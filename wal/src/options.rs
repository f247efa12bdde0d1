//! How a log is opened: the options and their ranges.
//!
//! It must not know what an opening does.

use std::path::PathBuf;

use crate::durability::Durability;
use crate::error::OpenError;
use crate::limits::{
    EPOCH_AFTER_MAX, READY_SEGMENTS_DEFAULT, READY_SEGMENTS_MAX, READY_SEGMENTS_MIN,
    RECORD_BYTES_DEFAULT, RECORD_BYTES_MIN, RECORDS_PER_SEGMENT_MIN, SEGMENT_BYTES_DEFAULT,
    SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN,
};

/// Options of a log; [`open`](LogOptions::open) opens it.
///
/// `segment_bytes` and `shard` are fixed when the log is created. The others may change from one
/// opening to the next.
#[derive(Clone, Debug)]
pub struct LogOptions {
    pub(crate) dir: PathBuf,
    pub(crate) shard: u16,
    pub(crate) segment_bytes: u64,
    pub(crate) durability: Durability,
    record_bytes_max: Option<u32>,
    pub(crate) ready_segments: usize,
    pub(crate) staged: bool,
    pub(crate) epoch_after: u64,
}

impl LogOptions {
    /// Options for the log in `dir`, which is created if it does not exist. No other files belong
    /// there.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        LogOptions {
            dir: dir.into(),
            shard: 0,
            segment_bytes: SEGMENT_BYTES_DEFAULT,
            durability: Durability::default(),
            record_bytes_max: None,
            ready_segments: READY_SEGMENTS_DEFAULT,
            staged: false,
            epoch_after: 0,
        }
    }

    /// Number of the shard that the log belongs to. Default 0, any value.
    #[must_use]
    pub fn shard(self, shard: u16) -> Self {
        LogOptions { shard, ..self }
    }

    /// Size of a segment file in bytes, a power of two. Default 64 MiB, minimum 64 KiB,
    /// maximum 1 GiB.
    #[must_use]
    pub fn segment_bytes(self, segment_bytes: u64) -> Self {
        LogOptions { segment_bytes, ..self }
    }

    /// When records are synced. Default [`Durability::Sync`].
    #[must_use]
    pub fn durability(self, durability: Durability) -> Self {
        LogOptions { durability, ..self }
    }

    /// Most bytes that one record may take, its header and padding included
    /// ([`Log::record_bytes`](crate::Log::record_bytes)). Default 1 MiB + 64 KiB, or a quarter of
    /// a segment if that is less; minimum 64, maximum a quarter of a segment.
    #[must_use]
    pub fn record_bytes_max(self, record_bytes_max: u32) -> Self {
        LogOptions { record_bytes_max: Some(record_bytes_max), ..self }
    }

    /// Segments that are kept ready for use after the one in use. Default 2, minimum 1, maximum 8.
    #[must_use]
    pub fn ready_segments(self, ready_segments: usize) -> Self {
        LogOptions { ready_segments, ..self }
    }

    /// Lets a log that is created now begin with the epoch after this one, so that it can take the
    /// place of another whose epochs must not come again. A log that is there goes on with its own.
    /// Default 0, maximum 2⁶² - 1.
    #[must_use]
    pub fn epoch_after(self, epoch_after: u64) -> Self {
        LogOptions { epoch_after, ..self }
    }

    /// An experiment, to be measured beside the default: appends store into memory of the process,
    /// and the syncer writes it to the file. A killed process then loses what the syncer had not
    /// yet written: what was published in the last moment or during the sync that runs, and all
    /// that was not published. Default false.
    #[doc(hidden)]
    #[must_use]
    pub fn staged(self, staged: bool) -> Self {
        LogOptions { staged, ..self }
    }

    /// Checks the ranges and returns the largest record size, a multiple of 8.
    pub(crate) fn check(&self) -> Result<u32, OpenError> {
        let segment_bytes = self.segment_bytes;
        if !segment_bytes.is_power_of_two()
            || !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&segment_bytes)
        {
            return Err(OpenError::InvalidOption {
                name: "segment_bytes",
                reason: format!(
                    "{segment_bytes} is not a power of two from {SEGMENT_BYTES_MIN} to \
                     {SEGMENT_BYTES_MAX}"
                ),
            });
        }
        if !(READY_SEGMENTS_MIN..=READY_SEGMENTS_MAX).contains(&self.ready_segments) {
            let given = self.ready_segments;
            return Err(OpenError::InvalidOption {
                name: "ready_segments",
                reason: format!("{given} is not from {READY_SEGMENTS_MIN} to {READY_SEGMENTS_MAX}"),
            });
        }
        if self.epoch_after > EPOCH_AFTER_MAX {
            let given = self.epoch_after;
            return Err(OpenError::InvalidOption {
                name: "epoch_after",
                reason: format!("{given} is above {EPOCH_AFTER_MAX}"),
            });
        }
        // A quarter of 1 GiB fits.
        let highest = (segment_bytes / RECORDS_PER_SEGMENT_MIN) as u32;
        let given = self.record_bytes_max.unwrap_or(RECORD_BYTES_DEFAULT.min(highest));
        if !(RECORD_BYTES_MIN..=highest).contains(&given) {
            return Err(OpenError::InvalidOption {
                name: "record_bytes_max",
                reason: format!("{given} is not from {RECORD_BYTES_MIN} to {highest}"),
            });
        }
        Ok(given - given % 8)
    }
}
