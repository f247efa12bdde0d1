//! Commits of a thousand records, one after the other without waiting in between, and the bytes that
//! a lone commit sends to the disk.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::Path,
    time::{Duration, Instant},
};

use tickwheel_wal::Durability;

use super::{RECORD_BYTES, ROUND, open_log::OpenLog, payload};
use crate::BenchError;

const GROUP_BYTES: usize = (RECORD_BYTES * ROUND as u64) as usize;
/// Bytes of the bare file, written beforehand. It is written from its begin again at the end.
const BARE_BYTES: usize = 64 << 20;
/// Bytes of one write that prepares it.
const PIECE_BYTES: usize = 4 << 10;

/// What a run of group commits took.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Groups {
    /// Time until the last record was durable.
    pub durable: Duration,
    /// Syncs that this took.
    pub syncs: u64,
    /// Time that appends waited for segments; it is part of the other.
    pub waited: Duration,
}

impl Groups {
    /// Appends and commits `groups` groups of [`ROUND`] records to a fresh log in `parent` that
    /// syncs at each commit. A group does not wait for the sync of the one before.
    ///
    /// # Errors
    /// The log cannot be opened, refused a record, or did not sync it in time.
    pub fn log(parent: &Path, segment_bytes: u64, groups: u32) -> Result<Self, BenchError> {
        let mut open = OpenLog::new(parent, segment_bytes, Durability::Sync)?;
        open.wait_until_ready()?;
        let payload = payload()?;
        let began = Instant::now();
        for _ in 0..groups {
            for _ in 0..ROUND {
                open.put(&payload)?;
            }
            open.log.commit();
        }
        open.settle()?;
        let durable = began.elapsed();
        let stats = open.log.stats();
        assert_eq!(stats.appended_records, u64::from(groups) * u64::from(ROUND));
        Ok(Self { durable, syncs: stats.syncs, waited: open.waits.time })
    }

    /// Writes `groups` times as many bytes as a group takes to a file in `parent` whose blocks were
    /// written before, with a sync after each.
    ///
    /// # Errors
    /// The file cannot be written or synced.
    pub fn bare(parent: &Path, groups: u32) -> Result<Duration, BenchError> {
        let file: File = tempfile::tempfile_in(parent)?;
        for piece in 0..BARE_BYTES / PIECE_BYTES {
            file.write_all_at(&[0; PIECE_BYTES], (piece * PIECE_BYTES) as u64)?;
        }
        file.sync_all()?;
        let group = vec![0x5a; GROUP_BYTES];
        let places = BARE_BYTES / GROUP_BYTES;
        let began = Instant::now();
        for number in 0..groups as usize {
            file.write_all_at(&group, (number % places * GROUP_BYTES) as u64)?;
            file.sync_data()?;
        }
        Ok(began.elapsed())
    }
}

/// Bytes that one lone commit of one record sends to the disk, as the kernel counts them for this
/// process, over `commits` commits. Zero where the file system is memory.
///
/// # Errors
/// The log cannot be opened or did not sync in time, or the kernel does not say.
pub fn disk_bytes_per_commit(
    parent: &Path,
    segment_bytes: u64,
    commits: u32,
) -> Result<f64, BenchError> {
    let mut open = OpenLog::new(parent, segment_bytes, Durability::Sync)?;
    // What the log writes to make its segments must not be counted.
    open.wait_until_ready()?;
    let payload = payload()?;
    let before = disk_bytes()?;
    for _ in 0..commits {
        open.put(&payload)?;
        open.settle()?;
    }
    let bytes = disk_bytes()?.saturating_sub(before);
    assert!(open.log.stats().syncs > 0);
    Ok(bytes as f64 / f64::from(commits))
}

pub(super) fn disk_bytes() -> Result<u64, BenchError> {
    let text = fs::read_to_string("/proc/self/io")?;
    let line = text.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    Ok(line.ok_or("the kernel does not count written bytes")?.parse()?)
}
