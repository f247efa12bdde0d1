//! Opening a log that was closed, with a replay that only counts.

use std::{
    fs::File,
    io::Write,
    os::unix::fs::FileExt,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tickwheel_wal::{Durability, LogOptions};

use super::{RECORD_BYTES, open_log::OpenLog, payload};
use crate::BenchError;

/// Bytes that are read from a bare file at once, a whole number of records.
const PIECE_BYTES: usize = 1000 * RECORD_BYTES as usize;

/// A closed log full of records, which can be opened again and again.
#[derive(Debug)]
pub struct Recovered {
    dir: TempDir,
    segment_bytes: u64,
    records: u64,
    /// A file of as many bytes.
    bare: File,
}

/// What an opening took.
#[derive(Clone, Copy, Debug)]
pub struct Opening {
    /// Until all records were checked and replayed.
    pub reading: Duration,
    /// All of it, with the next segment.
    pub elapsed: Duration,
}

impl Recovered {
    /// Writes a log of `records` records in `parent` and closes it, and a file of as many bytes.
    /// What was just written is still in the page cache, so that the disk is not measured.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn new(parent: &Path, segment_bytes: u64, records: u64) -> Result<Self, BenchError> {
        let mut open = OpenLog::new(parent, segment_bytes, Durability::Os)?;
        let payload = payload()?;
        for _ in 0..records {
            open.put(&payload)?;
        }
        let OpenLog { log, dir, .. } = open;
        log.close()?;
        let bare = tempfile::NamedTempFile::new_in(parent)?;
        let mut left = records * RECORD_BYTES;
        let piece = vec![0x5a; PIECE_BYTES];
        let mut file = bare.reopen()?;
        while left > 0 {
            let now = left.min(PIECE_BYTES as u64);
            file.write_all(&piece[..now as usize])?;
            left -= now;
        }
        file.sync_all()?;
        Ok(Self { dir, segment_bytes, records, bare: bare.reopen()? })
    }

    /// Time to open the log and to replay all its records, and how much of it was the reading. The
    /// log is closed again after that.
    ///
    /// # Errors
    /// The log cannot be opened or closed.
    pub fn open(&self) -> Result<Opening, BenchError> {
        let options = LogOptions::new(self.dir.path())
            .segment_bytes(self.segment_bytes)
            .durability(Durability::Os);
        let mut count = 0;
        let began = Instant::now();
        let log = options.open(Arc::new(|| {}), &mut |_| {
            count += 1;
            Ok(())
        })?;
        let elapsed = began.elapsed();
        assert_eq!(count, self.records, "records are missing");
        assert_eq!(log.recovery().records, self.records);
        let reading = log.recovery().reading;
        log.close()?;
        Ok(Opening { reading, elapsed })
    }

    /// Time to read as many bytes from a file and to take the CRC32C of each 200 of them.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read_bare(&self) -> Result<Duration, BenchError> {
        let mut piece = vec![0; PIECE_BYTES];
        let mut records = 0;
        let mut sums = 0_u32;
        let began = Instant::now();
        while records < self.records {
            let left = (self.records - records) * RECORD_BYTES;
            let piece = &mut piece[..left.min(PIECE_BYTES as u64) as usize];
            self.bare.read_exact_at(piece, records * RECORD_BYTES)?;
            for record in piece.chunks_exact(RECORD_BYTES as usize) {
                sums = sums.wrapping_add(crc32c::crc32c(record));
                records += 1;
            }
        }
        let elapsed = began.elapsed();
        let expected = crc32c::crc32c(&[0x5a; RECORD_BYTES as usize]);
        assert_eq!(sums, expected.wrapping_mul(self.records as u32));
        Ok(elapsed)
    }
}
