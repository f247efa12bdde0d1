//! Many appends without a pause, through rotations, while the log syncs on its interval.

use std::{
    fs::File,
    io::Write,
    path::Path,
    time::{Duration, Instant},
};

use tickwheel_wal::{Durability, Lsn};

use super::{RECORD_BYTES, ROUND, open_log::OpenLog, payload};
use crate::BenchError;

/// Bytes of one write into the bare file.
const PIECE_BYTES: u64 = 1 << 20;

/// What a run of appends took.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Sustained {
    /// Time until the last record was appended.
    pub appended: Duration,
    /// Time until the last record was durable.
    pub durable: Duration,
    /// Appends that found no segment ready and waited for one.
    pub waits: u64,
    /// Time of those waits; it is part of the other two.
    pub waited: Duration,
    /// Segments that the log had at the end.
    pub segments: u64,
}

impl Sustained {
    /// Appends `records` records to a fresh log in `parent`, and publishes them once in [`ROUND`].
    ///
    /// # Errors
    /// The log cannot be opened, or refused a record.
    pub fn log(
        parent: &Path,
        segment_bytes: u64,
        interval: Duration,
        records: u64,
    ) -> Result<Self, BenchError> {
        Self::run(parent, segment_bytes, interval, records, u64::MAX)
    }

    /// The same in a log that gives its head back and so never has more than `segments_max`
    /// segments for long. Segments are used again.
    ///
    /// # Errors
    /// The log cannot be opened, or refused a record or a release.
    pub fn released(
        parent: &Path,
        segment_bytes: u64,
        interval: Duration,
        records: u64,
        segments_max: u64,
    ) -> Result<Self, BenchError> {
        Self::run(parent, segment_bytes, interval, records, segments_max)
    }

    fn run(
        parent: &Path,
        segment_bytes: u64,
        interval: Duration,
        records: u64,
        segments_max: u64,
    ) -> Result<Self, BenchError> {
        let mut open = OpenLog::new(parent, segment_bytes, Durability::Interval(interval))?;
        open.wait_until_ready()?;
        let payload = payload()?;
        let began = Instant::now();
        for number in 1..=records {
            open.put(&payload)?;
            if number.is_multiple_of(ROUND.into()) {
                open.log.commit();
                let log = &mut open.log;
                let last = log.appended().0 / segment_bytes;
                let head = (last + 1).saturating_sub(segments_max) * segment_bytes;
                if head > log.releasing().0 {
                    log.release(Lsn(head))?;
                }
            }
        }
        let appended = began.elapsed();
        open.settle()?;
        let durable = began.elapsed();
        let stats = open.log.stats();
        assert_eq!(stats.appended_records, records);
        Ok(Self {
            appended,
            durable,
            waits: open.waits.count,
            waited: open.waits.time,
            segments: stats.segments,
        })
    }

    /// Writes as many bytes as `records` records take to a fresh file in `parent`, one mebibyte
    /// after the other, and syncs it once at the end: the time until all is durable.
    ///
    /// # Errors
    /// The file cannot be written or synced.
    pub fn bare(parent: &Path, records: u64) -> Result<Duration, BenchError> {
        let mut file: File = tempfile::tempfile_in(parent)?;
        let piece = vec![0x5a; PIECE_BYTES as usize];
        let len_bytes = records * RECORD_BYTES;
        let mut left = len_bytes;
        let began = Instant::now();
        while left > 0 {
            let now = left.min(PIECE_BYTES);
            file.write_all(&piece[..now as usize])?;
            left -= now;
        }
        file.sync_data()?;
        let elapsed = began.elapsed();
        assert_eq!(file.metadata()?.len(), len_bytes);
        Ok(elapsed)
    }
}
