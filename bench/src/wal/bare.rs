//! The same work without a log: copies with checksums into memory, writes and syncs of a bare file.

use std::{
    fs::File,
    hint::black_box,
    os::unix::fs::FileExt,
    path::Path,
    time::{Duration, Instant},
};

use super::{RECORD_BYTES, ROUND};
use crate::BenchError;

/// Bytes of one bare write.
const BLOCK_BYTES: usize = 4 << 10;
/// Blocks of the file that is written bare.
const BLOCKS: u64 = 256;

/// Memory that records are copied into: what an append costs at least.
#[derive(Debug)]
pub struct Copies {
    memory: Vec<u8>,
    record: Vec<u8>,
    at: usize,
}

impl Copies {
    /// Warm memory of `len_bytes`, at least one record.
    #[must_use]
    pub fn new(len_bytes: usize) -> Self {
        let record: Vec<u8> = (0..RECORD_BYTES).map(|n| n as u8).collect();
        // Written once, so that every page is there.
        Self { memory: vec![1; len_bytes.max(record.len())], record, at: 0 }
    }

    /// Time to copy a round of records and to take the CRC32C of each, `rounds` times.
    pub fn copy(&mut self, rounds: u64) -> Duration {
        let expected = crc32c::crc32c(&self.record);
        let mut sum = Duration::ZERO;
        for _ in 0..rounds {
            let began = Instant::now();
            let mut sums = 0_u32;
            for _ in 0..ROUND {
                sums = sums.wrapping_add(self.copy_one());
            }
            sum += began.elapsed();
            assert_eq!(sums, expected.wrapping_mul(ROUND));
        }
        sum
    }

    /// Copies one record and returns the CRC32C of the copy.
    #[inline]
    pub(super) fn copy_one(&mut self) -> u32 {
        if self.at + self.record.len() > self.memory.len() {
            self.at = 0;
        }
        let place = &mut self.memory[self.at..self.at + self.record.len()];
        place.copy_from_slice(black_box(&self.record));
        self.at += self.record.len();
        crc32c::crc32c(place)
    }
}

/// A file that is written and synced without a log: what a commit costs at least.
#[derive(Debug)]
pub struct BareSyncs {
    file: File,
    next: u64,
}

impl BareSyncs {
    /// A file in `parent` whose blocks were written and synced before.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn new(parent: &Path) -> Result<Self, BenchError> {
        let file = tempfile::tempfile_in(parent)?;
        file.write_all_at(&vec![1; BLOCK_BYTES * BLOCKS as usize], 0)?;
        file.sync_all()?;
        Ok(Self { file, next: 0 })
    }

    /// Time to write one block of 4 KiB and to fdatasync it, `rounds` times.
    ///
    /// # Errors
    /// The file cannot be written or synced.
    pub fn sync(&mut self, rounds: u64) -> Result<Duration, BenchError> {
        let began = Instant::now();
        for _ in 0..rounds {
            let place = self.next % BLOCKS * BLOCK_BYTES as u64;
            self.file.write_all_at(&[self.next as u8; BLOCK_BYTES], place)?;
            self.file.sync_data()?;
            self.next += 1;
        }
        let elapsed = began.elapsed();
        if rounds > 0 {
            let last = self.next - 1;
            let mut byte = [0];
            self.file.read_exact_at(&mut byte, last % BLOCKS * BLOCK_BYTES as u64)?;
            assert_eq!(byte, [last as u8]);
        }
        Ok(elapsed)
    }
}
