//! An account of what was promised and what ran, kept apart from the engine.
//!
//! Load tests and demonstrations number their jobs from 0 and put the number into the payload. They
//! tell the ledger what was submitted, what was acknowledged and what ran; it never asks the
//! engine. So what it finds lost was lost.
//!
//! With a file behind it, each entry is written through before the call returns. It then survives
//! `kill -9` (not a power cut), and a later process goes on where the first was killed.
//!
//! ```
//! use tickwheel_engine::ledger::Ledger;
//! let ledger = Ledger::in_memory(3);
//! ledger.submitted(3);
//! ledger.acked(0..2)?;
//! ledger.ran(0, false)?;
//! let balance = ledger.balance();
//! assert_eq!((balance.acked, balance.ran, balance.lost), (2, 1, 1));
//! # Ok::<(), std::io::Error>(())
//! ```

use std::{
    fs::{File, OpenOptions},
    io,
    ops::Range,
    os::unix::fs::FileExt,
    path::Path,
    sync::atomic::{AtomicU8, AtomicU64, Ordering},
};

/// First bytes of a ledger file.
const MAGIC: [u8; 8] = *b"TWLEDGR1";
/// Magic, number of jobs, the caller's note, number submitted: eight bytes each.
const HEADER_BYTES: u64 = 32;

/// The account of one run: see the [module](self).
#[derive(Debug)]
pub struct Ledger {
    /// 1 once a job was acknowledged.
    acked: Box<[AtomicU8]>,
    /// How often a job ran, at most 255.
    ran: Box<[AtomicU8]>,
    submitted: AtomicU64,
    early: AtomicU64,
    note: u64,
    file: Option<File>,
}

/// What a ledger comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Balance {
    /// Jobs handed to the engine.
    pub submitted: u64,
    /// Jobs that it acknowledged.
    pub acked: u64,
    /// Jobs that ran at least once.
    pub ran: u64,
    /// Jobs that were acknowledged and did not run.
    pub lost: u64,
    /// Runs beyond the first of a job. At-least-once allows them after a crash or a failure.
    pub duplicate: u64,
    /// Runs before the due time.
    pub early: u64,
}

impl Ledger {
    /// A ledger of `jobs` jobs that ends with the process.
    #[must_use]
    pub fn in_memory(jobs: u32) -> Self {
        let zeros = || (0..jobs).map(|_| AtomicU8::new(0)).collect();
        Self {
            acked: zeros(),
            ran: zeros(),
            submitted: AtomicU64::new(0),
            early: AtomicU64::new(0),
            note: 0,
            file: None,
        }
    }

    /// A new ledger with a file behind it, replacing one that is there. `note` is kept for whoever
    /// opens it again.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn create(path: &Path, jobs: u32, note: u64) -> io::Result<Self> {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
        file.set_len(HEADER_BYTES + 2 * u64::from(jobs))?;
        file.write_all_at(&u64::from(jobs).to_le_bytes(), 8)?;
        file.write_all_at(&note.to_le_bytes(), 16)?;
        // The magic goes last: a ledger that was killed while it was made is none.
        file.write_all_at(&MAGIC, 0)?;
        Ok(Self { note, file: Some(file), ..Self::in_memory(jobs) })
    }

    /// Opens the ledger of an earlier process; `None` when there is none.
    ///
    /// # Errors
    /// The file cannot be read, or is no ledger.
    pub fn open(path: &Path) -> io::Result<Option<Self>> {
        let file = match OpenOptions::new().read(true).write(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let mut header = [0; HEADER_BYTES as usize];
        let len_bytes = file.metadata()?.len();
        if len_bytes < HEADER_BYTES {
            return Ok(None);
        }
        file.read_exact_at(&mut header, 0)?;
        let word = |n: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&header[n * 8..][..8]);
            u64::from_le_bytes(bytes)
        };
        if header[..8] == [0; 8] {
            return Ok(None);
        }
        let jobs = u32::try_from(word(1)).unwrap_or(u32::MAX);
        if header[..8] != MAGIC || len_bytes != HEADER_BYTES + 2 * u64::from(jobs) {
            let message = format!("{} is not a ledger: remove it to start afresh", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        let column = |number: u64| -> io::Result<Box<[AtomicU8]>> {
            let mut bytes = vec![0; jobs as usize];
            file.read_exact_at(&mut bytes, HEADER_BYTES + number * u64::from(jobs))?;
            Ok(bytes.into_iter().map(AtomicU8::new).collect())
        };
        Ok(Some(Self {
            acked: column(0)?,
            ran: column(1)?,
            submitted: AtomicU64::new(word(3)),
            early: AtomicU64::new(0),
            note: word(2),
            file: Some(file),
        }))
    }

    /// Number of jobs that it has room for.
    #[must_use]
    pub fn jobs(&self) -> u32 {
        self.acked.len() as u32
    }

    /// What [`Ledger::create`] was given.
    #[must_use]
    pub fn note(&self) -> u64 {
        self.note
    }

    /// `count` more jobs are handed to the engine. Call it before they are.
    pub fn submitted(&self, count: u64) {
        let submitted = self.submitted.fetch_add(count, Ordering::Relaxed) + count;
        if let Some(file) = &self.file {
            // Only the sum for the report depends on it; the entries are what is checked.
            let _ = file.write_all_at(&submitted.to_le_bytes(), 24);
        }
    }

    /// These jobs were acknowledged.
    ///
    /// # Errors
    /// The entry cannot be written through.
    ///
    /// # Panics
    /// If a number is not below [`Ledger::jobs`].
    pub fn acked(&self, jobs: Range<u32>) -> io::Result<()> {
        for entry in &self.acked[jobs.start as usize..jobs.end as usize] {
            entry.store(1, Ordering::Relaxed);
        }
        if let Some(file) = &self.file {
            file.write_all_at(&vec![1; jobs.len()], HEADER_BYTES + u64::from(jobs.start))?;
        }
        Ok(())
    }

    /// A job ran; `early` if that was before its due time. Call it in the handler.
    ///
    /// # Errors
    /// The entry cannot be written through.
    ///
    /// # Panics
    /// If the number is not below [`Ledger::jobs`].
    pub fn ran(&self, job: u32, early: bool) -> io::Result<()> {
        let entry = &self.ran[job as usize];
        let before = entry.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
            Some(count.saturating_add(1))
        });
        if early {
            self.early.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(file) = &self.file {
            let count = before.unwrap_or(u8::MAX).saturating_add(1);
            let offset = HEADER_BYTES + u64::from(self.jobs()) + u64::from(job);
            file.write_all_at(&[count], offset)?;
        }
        Ok(())
    }

    /// Whether a job was acknowledged.
    #[must_use]
    pub fn is_acked(&self, job: u32) -> bool {
        self.acked[job as usize].load(Ordering::Relaxed) > 0
    }

    /// Whether a job ran.
    #[must_use]
    pub fn has_run(&self, job: u32) -> bool {
        self.ran[job as usize].load(Ordering::Relaxed) > 0
    }

    /// What it comes to now.
    #[must_use]
    pub fn balance(&self) -> Balance {
        let mut balance = Balance {
            submitted: self.submitted.load(Ordering::Relaxed),
            early: self.early.load(Ordering::Relaxed),
            ..Balance::default()
        };
        for (acked, ran) in self.acked.iter().zip(&self.ran) {
            let (acked, ran) = (acked.load(Ordering::Relaxed), ran.load(Ordering::Relaxed));
            balance.acked += u64::from(acked);
            balance.ran += u64::from(ran > 0);
            balance.lost += u64::from(acked > 0 && ran == 0);
            balance.duplicate += u64::from(ran.saturating_sub(1));
        }
        balance
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(ledger: &Ledger) {
        ledger.submitted(4);
        ledger.acked(0..3).unwrap();
        ledger.ran(0, false).unwrap();
        ledger.ran(0, false).unwrap();
        ledger.ran(1, true).unwrap();
        ledger.ran(3, false).unwrap();
    }

    #[test]
    fn it_finds_what_was_lost_doubled_and_early() {
        let ledger = Ledger::in_memory(5);
        fill(&ledger);
        let balance = ledger.balance();
        let expected = Balance { submitted: 4, acked: 3, ran: 3, lost: 1, duplicate: 1, early: 1 };
        assert_eq!(balance, expected);
        assert!(ledger.is_acked(2) && !ledger.has_run(2));
    }

    #[test]
    fn a_file_brings_its_entries_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger");
        assert!(Ledger::open(&path).unwrap().is_none());
        fill(&Ledger::create(&path, 5, 77).unwrap());
        let again = Ledger::open(&path).unwrap().unwrap();
        assert_eq!((again.jobs(), again.note()), (5, 77));
        let expected = Balance { submitted: 4, acked: 3, ran: 3, lost: 1, duplicate: 1, early: 0 };
        assert_eq!(again.balance(), expected);
        std::fs::write(&path, [b'x'; 64]).unwrap();
        let error = Ledger::open(&path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
