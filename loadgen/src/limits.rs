//! What the machine can do without any scheduler: the limits beside which a run is read. It knows
//! no engine.

use std::{
    fs::File,
    hint::black_box,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tickwheel_engine::latency::{self, Percentiles};

use crate::clock;

/// Bytes of the record whose copy is measured: about what one event takes in a log.
const RECORD_BYTES: usize = 200;
/// Memory that records are copied into, round and round: beyond the nearer caches, and small
/// beside what a run needs.
const MEMORY_BYTES: usize = 8 << 20;
/// Time for the copies and for the clock, each.
const LOOP_TIME: Duration = Duration::from_millis(50);
/// Copies or clock reads between two looks at the time.
const LOOP_CHUNK: u32 = 4096;

/// Bytes of one write before a sync.
const WRITE_BYTES: usize = 4 << 10;
/// The file that is written and synced has so many of these writes, made before.
const WRITE_PLACES: usize = 64;
/// Writes and syncs are measured for this long, or so many times, whichever ends first.
const SYNC_TIME: Duration = Duration::from_millis(400);
const SYNCS_MAX: usize = 500;

/// Sleeps for the lateness of the timer, and how long each is.
const TIMER_SLEEPS: u32 = 100;
const TIMER_SLEEP_NS: u64 = 1_000_000;

// All together it takes below a second on a disk that syncs at all.
const _: () =
    assert!(LOOP_TIME.as_millis() * 2 + SYNC_TIME.as_millis() + TIMER_SLEEPS as u128 * 2 <= 800);

/// What the machine was measured to do.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of a copied record.
    pub record_bytes: usize,
    /// Nanoseconds to copy one record into warm memory and to take its CRC32C, on average. The
    /// memory is the heap's, not a mapped file's; the CRC is the `crc32c` crate's.
    pub copy_and_crc_ns: f64,
    /// Nanoseconds from the start of a write of 4 KiB, into blocks written before, to the end of
    /// its fdatasync.
    pub write_and_sync_ns: SyncTimes,
    /// Nanoseconds to read `CLOCK_MONOTONIC`, on average.
    pub clock_read_ns: f64,
    /// How much later than asked for a sleep ends.
    pub timer_late_ns: SyncTimes,
}

/// How long something took again and again, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SyncTimes {
    /// Median.
    pub p50: u64,
    /// 99 %.
    pub p99: u64,
    /// The longest.
    pub max: u64,
    /// How many were measured.
    pub count: u64,
}

/// The limits could not be measured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[error("cannot write and sync a file in {}: {source}; name another directory with --data-dir", dir.display())]
pub struct LimitsError {
    /// The directory.
    pub dir: PathBuf,
    /// Why.
    pub source: io::Error,
}

impl Limits {
    /// Measures them within a second, the disk by a temporary file in `dir`.
    ///
    /// # Errors
    /// The file cannot be written or synced.
    pub fn measure(dir: &Path) -> Result<Self, LimitsError> {
        let syncs = write_and_sync(dir);
        Ok(Self {
            record_bytes: RECORD_BYTES,
            copy_and_crc_ns: copy_and_crc(),
            write_and_sync_ns: syncs
                .map_err(|source| LimitsError { dir: dir.to_owned(), source })?,
            clock_read_ns: clock_read(),
            timer_late_ns: timer_late(),
        })
    }
}

fn copy_and_crc() -> f64 {
    let record: Vec<u8> = (0..RECORD_BYTES).map(|n| n as u8).collect();
    // Written once, so that every page is there: the first store into a page costs many times as
    // much and says nothing of a warm log.
    let mut memory = vec![1_u8; MEMORY_BYTES];
    let mut at = 0;
    mean_ns(|| {
        if at + RECORD_BYTES > MEMORY_BYTES {
            at = 0;
        }
        let place = &mut memory[at..at + RECORD_BYTES];
        place.copy_from_slice(black_box(&record));
        black_box(crc32c::crc32c(place));
        at += RECORD_BYTES;
    })
}

fn clock_read() -> f64 {
    mean_ns(|| {
        black_box(clock::mono_ns());
    })
}

/// How late sleeps until a moment end, with the fine wake-ups that an open loop asks for.
fn timer_late() -> SyncTimes {
    let late = || {
        clock::ask_for_fine_wakeups();
        let mut histogram = latency::histogram();
        for _ in 0..TIMER_SLEEPS {
            let until_ns = clock::mono_ns() + TIMER_SLEEP_NS;
            clock::sleep_until(until_ns);
            histogram.saturating_record(clock::mono_ns().saturating_sub(until_ns));
        }
        let Percentiles { p50, p99, max, count, .. } = Percentiles::of(&histogram);
        SyncTimes { p50, p99, max, count }
    };
    // On a thread of its own, since the fine wake-ups stay with the thread.
    std::thread::scope(|scope| scope.spawn(late).join()).unwrap_or_default()
}

/// Mean time of `body` in nanoseconds, over [`LOOP_TIME`].
pub(crate) fn mean_ns(mut body: impl FnMut()) -> f64 {
    // One chunk first, which fills caches and wakes the processor up.
    for _ in 0..LOOP_CHUNK {
        body();
    }
    let began = Instant::now();
    let mut count = 0_u64;
    loop {
        for _ in 0..LOOP_CHUNK {
            body();
        }
        count += u64::from(LOOP_CHUNK);
        let elapsed = began.elapsed();
        if elapsed >= LOOP_TIME {
            return elapsed.as_nanos() as f64 / count as f64;
        }
    }
}

fn write_and_sync(dir: &Path) -> io::Result<SyncTimes> {
    let file: File = tempfile::tempfile_in(dir)?;
    // The blocks are written before: a log does so too, and a sync that must also record new blocks
    // costs about twice as much.
    file.write_all_at(&vec![1; WRITE_BYTES * WRITE_PLACES], 0)?;
    file.sync_all()?;
    let mut histogram = latency::histogram();
    let began = Instant::now();
    for count in 0..SYNCS_MAX {
        let block = [count as u8; WRITE_BYTES];
        let place = (count % WRITE_PLACES) * WRITE_BYTES;
        let start_ns = clock::mono_ns();
        file.write_all_at(&block, place as u64)?;
        file.sync_data()?;
        histogram.saturating_record(clock::mono_ns().saturating_sub(start_ns));
        if began.elapsed() >= SYNC_TIME {
            break;
        }
    }
    let Percentiles { p50, p99, max, count, .. } = Percentiles::of(&histogram);
    Ok(SyncTimes { p50, p99, max, count })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_is_measured() {
        let dir = tempfile::tempdir().unwrap();
        let limits = Limits::measure(dir.path()).unwrap();
        assert!(limits.copy_and_crc_ns > 0.0 && limits.clock_read_ns > 0.0, "{limits:?}");
        let syncs = limits.write_and_sync_ns;
        assert!(syncs.count > 0 && 0 < syncs.p50, "{limits:?}");
        assert!(syncs.p50 <= syncs.p99 && syncs.p99 <= syncs.max, "{limits:?}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "the file is left behind");
    }

    #[test]
    fn a_directory_that_is_not_there_is_named() {
        let error = Limits::measure(Path::new("/nowhere/at all")).unwrap_err();
        assert!(error.to_string().contains("/nowhere/at all"), "{error}");
    }
}
