//! The bytes of a log directory, to be damaged and recovered from.

use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crate::recovery::{Expected, Record, Recovered, Target, recover};
use crate::storage::Directory;
use crate::sync::{Arc, Mutex, lock};
use crate::{AppendError, Durability, Log, LogOptions, Lsn, OpenError, RecoveryReport};

pub(super) const SEGMENT_BYTES: u64 = 64 << 10;
const WAIT_MAX: Duration = Duration::from_secs(30);

/// The data records of a log, in order.
pub(super) type Records = Vec<(Lsn, Vec<u8>)>;

/// The segment files of a log; the position is the number.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Image(pub(super) Vec<Vec<u8>>);

impl Image {
    pub(super) fn of(dir: &Path) -> Self {
        let mut files = Vec::new();
        while let Ok(bytes) = std::fs::read(segment(dir, files.len() as u64)) {
            files.push(bytes);
        }
        Image(files)
    }

    pub(super) fn write(&self, dir: &Path) {
        std::fs::create_dir_all(dir).unwrap();
        for (index, bytes) in self.0.iter().enumerate() {
            std::fs::write(segment(dir, index as u64), bytes).unwrap();
        }
        let mut beyond = self.0.len() as u64;
        while std::fs::remove_file(segment(dir, beyond)).is_ok() {
            beyond += 1;
        }
    }
}

pub(super) fn segment(dir: &Path, index: u64) -> std::path::PathBuf {
    dir.join(format!("{index:020}.seg"))
}

/// Reads a log directory without changing it.
pub(super) fn survivors(dir: &Path) -> Result<(Records, RecoveryReport), OpenError> {
    let mut records = Vec::new();
    let expected = Expected { segment_bytes: SEGMENT_BYTES, shard: 0, threads: 1 };
    let directory = Directory::open(dir).unwrap();
    let mut replay = |record: Record<'_>| {
        records.push((record.lsn, record.payload.to_vec()));
        Ok(())
    };
    let Recovered { report, .. } = recover(&directory, expected, Target::Records(&mut replay))?;
    Ok((records, report))
}

/// A log and the notices it gave.
pub(super) struct Subject {
    pub(super) log: Log,
    pub(super) records: Records,
    notices: Receiver<()>,
}

impl Subject {
    pub(super) fn open(dir: &Path, durability: Durability) -> Result<Self, OpenError> {
        let options = LogOptions::new(dir).segment_bytes(SEGMENT_BYTES).durability(durability);
        Self::open_with(|notify, records| {
            options.open(notify, &mut |record| {
                records.push((record.lsn, record.payload.to_vec()));
                Ok(())
            })
        })
    }

    pub(super) fn open_with(
        open: impl FnOnce(Arc<dyn Fn() + Send + Sync>, &mut Records) -> Result<Log, OpenError>,
    ) -> Result<Self, OpenError> {
        let (sender, notices) = channel();
        let sender = Mutex::new(sender);
        let notify = Arc::new(move || {
            // The receiver may be gone when the log is dropped.
            let _ = lock(&sender).send(());
        });
        let mut records = Vec::new();
        let log = open(notify, &mut records)?;
        Ok(Subject { log, records, notices })
    }

    /// Waits for a condition, asking again at each notice.
    pub(super) fn wait(&self, what: &str, mut is_met: impl FnMut(&Log) -> bool) {
        while !is_met(&self.log) {
            self.notices.recv_timeout(WAIT_MAX).unwrap_or_else(|_| panic!("no {what}"));
        }
    }

    pub(super) fn append(&mut self, payload: &[u8]) {
        loop {
            match self.log.append(&[payload]) {
                Ok(appended) => return self.records.push((appended.lsn, payload.to_vec())),
                Err(AppendError::SegmentNotReady) => {
                    self.wait("segment", |log| log.stats().ready_segments > 0);
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    pub(super) fn commit_and_wait(&mut self) -> Lsn {
        let published = self.log.commit();
        self.wait("sync", |log| log.durable() >= published);
        published
    }

    pub(super) fn wait_for_pool(&self) {
        self.wait("full pool", |log| log.shortage().is_none());
    }
}

/// A generator of numbers; the same seed gives the same numbers.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        // SplitMix64, by Sebastiano Vigna (public domain).
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(super) fn payload(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }
}
