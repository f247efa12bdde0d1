//! The data directory: one folder per shard, and a file that says how many there are.
//!
//! The number is written, durably, before the first folder is made: a folder that is missing later
//! was lost, and its jobs with it, so that an engine must not quietly make an empty one.
//!
//! The number is changed by [`crate::store::reshard()`] only. A file says that its change has begun to
//! take effect; until it is gone again, what lies in the directory is not to be started on.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Write},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use crate::{error::StartError, limits};

/// Name of the file that holds the number of shards, as text.
const COUNT_FILE: &str = "SHARDS";
/// Lies in the directory while the folders of another number of shards are put in place.
const RESHARD_FILE: &str = "RESHARD";

/// A directory that is ready to be started on.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// How many shards it has.
    pub(crate) shards: usize,
    /// Held until each shard has taken its own lock: the number of shards does not change meanwhile.
    _starting: Option<File>,
}

/// Makes the directory if it is not there, and says how many shards it has: those that it holds,
/// or `asked`, or `default` for a new one.
pub(crate) fn prepare(
    dir: &Path,
    asked: Option<usize>,
    default: usize,
) -> Result<Prepared, StartError> {
    let failed = |source| StartError::DataDir { path: dir.to_owned(), source };
    create(dir).map_err(failed)?;
    let lock = File::open(dir).map_err(failed)?;
    let starting = match lock.try_lock_shared() {
        Ok(()) => Some(lock),
        Err(TryLockError::WouldBlock) => {
            return Err(StartError::ReshardUnderWay { path: dir.to_owned() });
        }
        // A file system without such locks: those of the shards are what counts.
        Err(TryLockError::Error(_)) => None,
    };
    if is_resharding(dir).map_err(failed)? {
        return Err(StartError::ReshardUnfinished { path: dir.to_owned() });
    }
    let shards = count_and_folders(dir, asked, default)?;
    Ok(Prepared { shards, _starting: starting })
}

/// The number of shards, whose folders are there once this returns.
fn count_and_folders(
    dir: &Path,
    asked: Option<usize>,
    default: usize,
) -> Result<usize, StartError> {
    let failed = |source| StartError::DataDir { path: dir.to_owned(), source };
    let held = read_count(dir).map_err(failed)?;
    let folders = shard_folders(dir).map_err(failed)?;
    match (held, asked) {
        (Some(found), Some(asked)) if found != asked => {
            Err(StartError::ShardCount { path: dir.to_owned(), found, asked })
        }
        (Some(found), _) => {
            let missing = (0..found).find(|shard| !folders.all.contains(&(*shard as u8)));
            match missing {
                // While none has a log, the first start was cut off before it had made them all.
                Some(shard) if folders.any_used => {
                    Err(StartError::ShardMissing { path: shard_dir(dir, shard as u8) })
                }
                _ => make_folders(dir, found).map_err(failed),
            }
        }
        (None, _) if !folders.all.is_empty() => {
            let folders = folders.all.len();
            Err(StartError::CountMissing { path: dir.join(COUNT_FILE), folders })
        }
        (None, asked) => {
            let shards = asked.unwrap_or(default);
            write_count(dir, shards).map_err(failed)?;
            make_folders(dir, shards).map_err(failed)
        }
    }
}

/// Where the file lies that says that the number of shards is being changed.
pub(crate) fn reshard_file(dir: &Path) -> PathBuf {
    dir.join(RESHARD_FILE)
}

/// Whether a change of the number of shards has begun to take effect and has not ended.
pub(crate) fn is_resharding(dir: &Path) -> io::Result<bool> {
    fs::exists(reshard_file(dir))
}

/// The folder of one shard.
pub(crate) fn shard_dir(dir: &Path, shard: u8) -> PathBuf {
    dir.join(format!("shard-{shard:03}"))
}

/// The shard whose folder has this name.
pub(crate) fn shard_number(name: &str) -> Option<u8> {
    name.strip_prefix("shard-")?.parse().ok()
}

/// Makes the directory, open to its owner only, and makes its name and those above it durable.
fn create(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    // Each time: an earlier process may have ended between making and syncing them.
    let full = dir.canonicalize()?;
    for parent in full.ancestors().skip(1) {
        // A folder above that may not be read was not made by us either.
        if let Ok(parent) = File::open(parent) {
            parent.sync_all()?;
        }
    }
    Ok(())
}

pub(crate) fn read_count(dir: &Path) -> io::Result<Option<usize>> {
    let path = dir.join(COUNT_FILE);
    let text = match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    match text.trim().parse() {
        Ok(count) if (1..=limits::SHARDS_MAX).contains(&count) => Ok(Some(count)),
        _ => {
            let message = format!("{} must hold a number from 1 to 256", path.display());
            Err(io::Error::new(io::ErrorKind::InvalidData, message))
        }
    }
}

/// Writes the number under another name first, so that it is there whole or not at all.
pub(crate) fn write_count(dir: &Path, shards: usize) -> io::Result<()> {
    let draft = dir.join("SHARDS.new");
    let mut file = File::create(&draft)?;
    writeln!(file, "{shards}")?;
    file.sync_all()?;
    fs::rename(draft, dir.join(COUNT_FILE))?;
    File::open(dir)?.sync_all()
}

/// Makes all folders that are not there, before any of them gets a log.
fn make_folders(dir: &Path, shards: usize) -> io::Result<usize> {
    for shard in 0..shards {
        let folder = shard_dir(dir, shard as u8);
        match fs::DirBuilder::new().mode(0o700).create(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    File::open(dir)?.sync_all()?;
    Ok(shards)
}

/// The folders of shards that are there.
struct Folders {
    all: Vec<u8>,
    /// Whether one of them has something in it.
    any_used: bool,
}

fn shard_folders(dir: &Path) -> io::Result<Folders> {
    let mut folders = Folders { all: Vec::new(), any_used: false };
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if let Some(number) = name.to_str().and_then(shard_number) {
            folders.all.push(number);
            folders.any_used |= fs::read_dir(entry.path())?.next().is_some();
        }
    }
    Ok(folders)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(dir: &Path, shard: u8) {
        fs::write(shard_dir(dir, shard).join("LOCK"), "").unwrap();
    }

    #[test]
    fn the_number_of_shards_is_kept_and_cannot_be_changed() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("a/b");
        assert_eq!(prepare(&dir, Some(3), 1).unwrap().shards, 3);
        assert_eq!(prepare(&dir, None, 1).unwrap().shards, 3);
        let error = prepare(&dir, Some(2), 1).unwrap_err();
        assert!(matches!(error, StartError::ShardCount { found: 3, asked: 2, .. }), "{error}");
    }

    #[test]
    fn a_first_start_that_was_cut_off_is_taken_up() {
        let dir = tempfile::tempdir().unwrap();
        write_count(dir.path(), 4).unwrap();
        fs::create_dir(shard_dir(dir.path(), 1)).unwrap();
        assert_eq!(prepare(dir.path(), None, 1).unwrap().shards, 4);
        // All folders are there before one has a log: the others may still be empty.
        used(dir.path(), 0);
        assert_eq!(prepare(dir.path(), None, 1).unwrap().shards, 4);
    }

    #[test]
    fn a_lost_folder_or_number_is_named_and_nothing_is_made() {
        let dir = tempfile::tempdir().unwrap();
        prepare(dir.path(), Some(3), 1).unwrap();
        used(dir.path(), 0);
        fs::remove_dir(shard_dir(dir.path(), 1)).unwrap();
        let error = prepare(dir.path(), None, 1).unwrap_err();
        assert!(error.to_string().contains("shard-001"), "{error}");
        assert!(!shard_dir(dir.path(), 1).exists());
        fs::remove_file(dir.path().join(COUNT_FILE)).unwrap();
        let error = prepare(dir.path(), None, 1).unwrap_err();
        assert!(matches!(error, StartError::CountMissing { folders: 2, .. }), "{error}");
    }
}
