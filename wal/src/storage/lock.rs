//! The lock on a log directory: one log at a time, across processes.
//!
//! It must not know segments.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::limits::{LOCK_PATIENCE, LOCK_RETRY};

/// Name of the lock file.
const LOCK_NAME: &str = "LOCK";
/// Longest text about the holder that is read.
const HOLDER_BYTES_MAX: u64 = 200;

/// Held for as long as the log is open. The operating system frees it when the process ends,
/// however it ends; the file stays.
pub(crate) struct DirectoryLock {
    _file: File,
}

/// Why the lock was not taken.
pub(crate) enum LockError {
    /// Someone else has it, and wrote this about itself.
    Held(String),
    /// The operating system failed on this file.
    Io(PathBuf, io::Error),
}

impl DirectoryLock {
    /// Takes the lock of `dir`, waiting at most [`LOCK_PATIENCE`] for another holder to end.
    pub(crate) fn acquire(dir: &Path) -> Result<Self, LockError> {
        let path = dir.join(LOCK_NAME);
        Self::lock_file(&path).map_err(|error| match error {
            Attempt::Held(holder) => LockError::Held(holder),
            Attempt::Io(error) => LockError::Io(path, error),
        })
    }

    fn lock_file(path: &Path) -> Result<Self, Attempt> {
        let mut options = OpenOptions::new();
        let mut file = options.read(true).write(true).create(true).truncate(false).open(path)?;
        let start = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if start.elapsed() < LOCK_PATIENCE => {
                    thread::sleep(LOCK_RETRY);
                }
                Err(TryLockError::WouldBlock) => return Err(Attempt::Held(holder_of(&mut file)?)),
                Err(TryLockError::Error(error)) => return Err(error.into()),
            }
        }
        file.set_len(0)?;
        file.rewind()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        writeln!(file, "process {} since unix time {}", std::process::id(), now.as_secs())?;
        Ok(DirectoryLock { _file: file })
    }
}

enum Attempt {
    Held(String),
    Io(io::Error),
}

impl From<io::Error> for Attempt {
    fn from(error: io::Error) -> Self {
        Attempt::Io(error)
    }
}

fn holder_of(file: &mut File) -> io::Result<String> {
    let mut text = Vec::new();
    file.take(HOLDER_BYTES_MAX).read_to_end(&mut text)?;
    let text = String::from_utf8_lossy(&text).trim().to_owned();
    // Between taking the lock and writing its text the holder has no name yet.
    Ok(if text.is_empty() { "another process".to_owned() } else { text })
}
