//! Appends and lone commits, each timed alone, in a log whose segments are ready.

use std::{
    hint::black_box,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use tickwheel_wal::{Durability, Lsn};

use super::{RECORD_BYTES, ROUND, open_log::OpenLog, payload};
use crate::BenchError;

const ROUND_BYTES: u64 = RECORD_BYTES * ROUND as u64;
/// Segments after which a fresh log is begun, so that a long measurement does not fill the disk.
const SEGMENTS_MAX: u64 = 8;

/// A log that records are appended to, round after round.
#[derive(Debug)]
pub struct Appends {
    open: OpenLog,
    parent: PathBuf,
    segment_bytes: u64,
    durability: Durability,
    payload: Vec<u8>,
}

impl Appends {
    /// A fresh log in `parent`, with segments of `segment_bytes`.
    ///
    /// # Errors
    /// The log cannot be opened.
    pub fn new(
        parent: &Path,
        segment_bytes: u64,
        durability: Durability,
    ) -> Result<Self, BenchError> {
        let mut appends = Self {
            open: OpenLog::new(parent, segment_bytes, durability)?,
            parent: parent.to_owned(),
            segment_bytes,
            durability,
            payload: payload()?,
        };
        // Whoever reckons from the first round how long others take must not meet an empty pool.
        appends.make_room()?;
        Ok(appends)
    }

    /// Time to append a round of records to warm segments, `rounds` times. Making the segments is
    /// not part of it.
    ///
    /// # Errors
    /// The log refused a record, or its segments are not made in time.
    pub fn append(&mut self, rounds: u64) -> Result<Duration, BenchError> {
        let mut sum = Duration::ZERO;
        for _ in 0..rounds {
            self.make_room()?;
            let log = &mut self.open.log;
            let records_before = log.stats().appended_records;
            let began = Instant::now();
            let mut last = Lsn(0);
            for _ in 0..ROUND {
                last = log.append(&[black_box(&self.payload)])?.lsn;
            }
            sum += began.elapsed();
            assert_eq!(log.stats().appended_records - records_before, u64::from(ROUND));
            assert_eq!(&*log.read(last)?, &self.payload[..], "a record is not what was appended");
        }
        Ok(sum)
    }

    /// Time to append one record, commit it and wait until it is durable, `rounds` times.
    ///
    /// # Errors
    /// The log refused a record, or did not sync it in time.
    pub fn commit(&mut self, rounds: u64) -> Result<Duration, BenchError> {
        let mut sum = Duration::ZERO;
        for _ in 0..rounds {
            self.make_room()?;
            let OpenLog { log, news, .. } = &mut self.open;
            let began = Instant::now();
            let end = log.append(&[&self.payload])?.end;
            log.commit();
            news.wait_until(|| log.durable() >= end)?;
            sum += began.elapsed();
        }
        assert!(rounds == 0 || self.open.log.stats().syncs > 0);
        Ok(sum)
    }

    /// Waits until a round fits and the log's own thread rests, so that it does not share the
    /// processor with what is measured.
    fn make_room(&mut self) -> Result<(), BenchError> {
        if self.open.log.stats().segments >= SEGMENTS_MAX {
            self.open = OpenLog::new(&self.parent, self.segment_bytes, self.durability)?;
        }
        let OpenLog { log, news, .. } = &self.open;
        news.wait_until(|| log.shortage().is_none() && log.available_bytes() >= ROUND_BYTES)
    }
}
