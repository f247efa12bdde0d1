//! The lock on a demonstration's files: without it a second demonstration would take the ledger of
//! a running one for that of a cut-off run. It does not know the files.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    path::Path,
    process, thread,
    time::{Duration, Instant},
};

use super::DemoError;

/// How long a holder that is about to end, such as one that was just killed, is waited for.
const PATIENCE: Duration = Duration::from_millis(500);
/// How often the lock is tried meanwhile.
const RETRY: Duration = Duration::from_millis(10);
/// Longest text about the holder that is read.
const HOLDER_BYTES_MAX: u64 = 200;

/// Held until dropped. The system frees it when the process ends, however it ends; the file stays.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    pub(super) fn acquire(path: &Path) -> Result<Self, DemoError> {
        let failed = |source| DemoError::File { path: path.to_owned(), source };
        let mut options = OpenOptions::new();
        let opened = options.read(true).write(true).create(true).truncate(false).open(path);
        let mut file = opened.map_err(failed)?;
        let start = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if start.elapsed() < PATIENCE => thread::sleep(RETRY),
                Err(TryLockError::WouldBlock) => {
                    let holder = holder_of(&mut file).map_err(failed)?;
                    return Err(DemoError::InUse { path: path.to_owned(), holder });
                }
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
        }
        file.set_len(0).map_err(failed)?;
        writeln!(file, "process {}", process::id()).map_err(failed)?;
        Ok(Self { _file: file })
    }
}

fn holder_of(file: &mut File) -> io::Result<String> {
    let mut text = Vec::new();
    file.take(HOLDER_BYTES_MAX).read_to_end(&mut text)?;
    let text = String::from_utf8_lossy(&text).trim().to_owned();
    // Between taking the lock and writing its text the holder has no name yet.
    Ok(if text.is_empty() { "another process".to_owned() } else { text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_and_the_other_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("demo.lock");
        let held = Lock::acquire(&path).unwrap();
        let error = Lock::acquire(&path).unwrap_err().to_string();
        let holder = format!("demo.lock is held by process {}:", process::id());
        assert!(error.contains(&holder), "{error}");
        drop(held);
        Lock::acquire(&path).unwrap();
    }
}
