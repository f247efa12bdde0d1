//! Records entering a log and becoming durable, each beside the same work without a log. It knows
//! the calls of the log, never its format.

use std::{
    fs::File,
    hint::black_box,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tickwheel_wal::{Durability, Log, LogOptions, Lsn};

use crate::BenchError;

/// Bytes that a record takes in the log, its header included.
pub const RECORD_BYTES: u64 = 200;
/// Records of one round of appends or copies.
pub const ROUND: u32 = 1000;
const ROUND_BYTES: u64 = RECORD_BYTES * ROUND as u64;
/// Segments after which a fresh log is begun, so that a long measurement does not fill the disk.
const SEGMENTS_MAX: u64 = 8;
/// The longest wait for a segment or a sync: beyond it something is broken.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Bytes of one bare write.
const BLOCK_BYTES: usize = 4 << 10;
/// Blocks of the file that is written bare.
const BLOCKS: u64 = 256;

/// A log that records are appended to, round after round.
#[derive(Debug)]
pub struct Appends {
    open: OpenLog,
    parent: PathBuf,
    segment_bytes: u64,
    durability: Durability,
    payload: Vec<u8>,
}

/// A log in a directory that goes away with it.
#[derive(Debug)]
struct OpenLog {
    // In this order they are dropped: the log ends before its files do.
    log: Log,
    news: Arc<News>,
    _dir: TempDir,
}

/// Wakes whoever waits for the log.
#[derive(Debug, Default)]
struct News {
    count: Mutex<u64>,
    changed: Condvar,
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
        let payload_len = (0..RECORD_BYTES as usize)
            .rfind(|len| Log::record_bytes(*len) == RECORD_BYTES)
            .ok_or("no payload makes a record of the size that is measured")?;
        let mut appends = Self {
            open: OpenLog::new(parent, segment_bytes, durability)?,
            parent: parent.to_owned(),
            segment_bytes,
            durability,
            payload: (0..payload_len).map(|n| n as u8).collect(),
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

impl OpenLog {
    fn new(parent: &Path, segment_bytes: u64, durability: Durability) -> Result<Self, BenchError> {
        let dir = tempfile::Builder::new().prefix("bench-wal-").tempdir_in(parent)?;
        let news = Arc::new(News::default());
        let told = Arc::clone(&news);
        let options =
            LogOptions::new(dir.path()).segment_bytes(segment_bytes).durability(durability);
        let log = options.open(Arc::new(move || told.tell()), &mut |_| Ok(()))?;
        Ok(Self { log, news, _dir: dir })
    }
}

impl News {
    fn tell(&self) {
        *self.count.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.changed.notify_all();
    }

    /// Looks at each piece of news whether `done`. The log changes first and tells then, so a look
    /// under the lock misses nothing.
    fn wait_until(&self, done: impl Fn() -> bool) -> Result<(), BenchError> {
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
                if self.at + self.record.len() > self.memory.len() {
                    self.at = 0;
                }
                let place = &mut self.memory[self.at..self.at + self.record.len()];
                place.copy_from_slice(black_box(&self.record));
                sums = sums.wrapping_add(crc32c::crc32c(place));
                self.at += self.record.len();
            }
            sum += began.elapsed();
            assert_eq!(sums, expected.wrapping_mul(ROUND));
        }
        sum
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
