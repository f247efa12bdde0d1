//! A data directory looked at, checked, repaired and copied, without an engine on it.
//!
//! A [`Store`] is the logs of a data directory, or that of a single shard. [`Store::stat`] and
//! [`Store::dump`] only read, also while an engine runs there. [`Store::verify`] reads every byte and
//! applies every event. [`Store::repair`] makes a damaged log one that opens again, and
//! [`Store::backup`] copies a store, also one that is in use. [`reshard()`] changes the number of
//! shards.
//!
//! The logs know bytes and positions; what the bytes mean is known here. This folder must not know
//! how anything is shown.
//!
//! ```
//! use std::time::Duration;
//! use tickwheel_engine::{Engine, NewJob, store::Store};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! # let data_dir = dir.path();
//! let engine = Engine::builder()
//!     .data_dir(data_dir)
//!     .shards(1)
//! #   .segment_bytes(8 << 20)
//!     .handler("greet", |_| Ok(()))
//!     .start()?;
//! engine.submit(NewJob::new("greet").delay(Duration::from_secs(3600)))?;
//! engine.shutdown(Duration::from_secs(1))?;
//!
//! let checked = Store::open(data_dir)?.verify(&mut ())?;
//! assert!(checked.is_clean());
//! assert_eq!(checked.shards[0].counts.map(|counts| counts.pending), Some(1));
//! # Ok(())
//! # }
//! ```

mod backup;
mod describe;
mod draft;
mod read;
mod repair;
mod reshard;
mod verify;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

pub use backup::{Backup, ShardBackup};
pub use describe::{Description, describe};
pub use read::{DumpLine, DumpRange, ShardStat};
pub use repair::{RepairMode, RepairOutcome, ShardRepair};
pub use reshard::{Resharded, Resharding, reshard};
pub use tickwheel_wal::{
    Lsn, SnapshotInfo,
    backup::Copied,
    inspect::{
        Damage, EntryKind, Gap, InspectError, SegmentFileInfo, SegmentState, SnapshotCheck, Survey,
        Tally, Verdict,
    },
};
pub use verify::{ShardVerdict, StoreVerdict, Unapplied};

use tickwheel_wal::inspect::LogFiles;

use crate::{data_dir, history};

/// Why a store could not be looked at or worked on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// There is neither a data directory nor the log of a shard.
    #[error(
        "{} holds no log: name a data directory (with a file SHARDS), or the folder of one shard",
        dir.display()
    )]
    NotAStore {
        /// The directory.
        dir: PathBuf,
    },
    /// An engine runs there.
    #[error(
        "{} is in use by {holder}: stop it, or make a backup, which works beside it, and look at that",
        dir.display()
    )]
    InUse {
        /// The directory of the shard.
        dir: PathBuf,
        /// What the holder wrote about itself.
        holder: String,
    },
    /// A log could not be looked at.
    #[error(transparent)]
    Inspect(InspectError),
    /// The destination of a backup holds something.
    #[error("{} is not empty: {hint}", dest.display())]
    DestinationUsed {
        /// The directory.
        dest: PathBuf,
        /// What to do.
        hint: &'static str,
    },
    /// What was to be copied is damaged.
    #[error(
        "{} cannot be backed up: {reason}; stop the server and verify the log",
        dir.display()
    )]
    SourceDamaged {
        /// The directory.
        dir: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A log could not be repaired; it is as it was.
    #[error("{} cannot be repaired: {reason}; restore a backup", dir.display())]
    Unrepairable {
        /// The directory.
        dir: PathBuf,
        /// Why.
        reason: String,
    },
    /// A log has to be repaired first; nothing was changed.
    #[error(
        "{} is damaged: look at it with `tickwheel wal verify`, and restore a backup or run \
         `tickwheel wal repair` first",
        dir.display()
    )]
    NeedsRepair {
        /// The directory of the shard.
        dir: PathBuf,
    },
    /// The number of shards was not changed, nor anything else.
    #[error("the number of shards of {} cannot be changed: {reason}", dir.display())]
    NotResharded {
        /// The directory.
        dir: PathBuf,
        /// Why.
        reason: String,
    },
    /// A change of the number of shards was cut off after it had begun to take effect.
    #[error(
        "a change of the number of shards of {} was cut off: run `tickwheel reshard` on it again, \
         which finishes it",
        dir.display()
    )]
    ReshardUnfinished {
        /// The directory.
        dir: PathBuf,
    },
    /// A change of the number of shards has begun to take effect and could not be finished.
    #[error(
        "{source}; the new logs of {} are whole, and not all of them are in their places: run \
         `tickwheel reshard` on it again once the cause is gone",
        dir.display()
    )]
    ReshardStopped {
        /// The directory.
        dir: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A repaired log was not put in its place, on a file system that cannot exchange two folders.
    #[error(
        "{} was not put in its place: {source}. The damaged log is in {}, the repaired one in {}: \
         move the repaired one to {} by hand",
        dir.display(), originals.display(), repaired.display(), dir.display()
    )]
    HalfMoved {
        /// Where the log belongs.
        dir: PathBuf,
        /// The damaged log.
        originals: PathBuf,
        /// The repaired log, if it is not in its place yet.
        repaired: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The operating system failed.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

impl From<InspectError> for StoreError {
    fn from(error: InspectError) -> Self {
        match error {
            InspectError::InUse { dir, holder } => StoreError::InUse { dir, holder },
            InspectError::NotALog { dir } => StoreError::NotAStore { dir },
            other => StoreError::Inspect(other),
        }
    }
}

/// Hears how far a long piece of work is. `()` does not listen.
pub trait Progress {
    /// A piece of work begins that goes through so many bytes.
    fn begin(&mut self, what: &str, bytes: u64);
    /// So many of them are done.
    fn reached(&mut self, bytes: u64);
}

impl Progress for () {
    fn begin(&mut self, _: &str, _: u64) {}
    fn reached(&mut self, _: u64) {}
}

/// The logs of a data directory, or of one shard of it.
#[derive(Clone, Debug)]
pub struct Store {
    dir: PathBuf,
    shards: Vec<PathBuf>,
    is_data_dir: bool,
    /// What is wrong with the directory itself.
    concerns: Vec<String>,
}

impl Store {
    /// Finds the logs in `dir`: that of a data directory's shards, or the one that lies there.
    /// Nothing is read of them yet.
    ///
    /// # Errors
    /// [`StoreError::NotAStore`] if there is none, [`StoreError::Io`] if the directory cannot be
    /// read.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let failed = |source| StoreError::Io { action: "read", path: dir.to_owned(), source };
        let dir_owned = dir.to_owned();
        if LogFiles::are_in(dir).map_err(failed)? {
            return Ok(Self {
                shards: vec![dir_owned.clone()],
                dir: dir_owned,
                is_data_dir: false,
                concerns: Vec::new(),
            });
        }
        if data_dir::is_resharding(dir).map_err(failed)? {
            return Err(StoreError::ReshardUnfinished { dir: dir_owned });
        }
        let mut numbers = Vec::new();
        for entry in fs::read_dir(dir).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            numbers.extend(name.to_str().and_then(data_dir::shard_number));
        }
        numbers.sort_unstable();
        let (count, mut concerns) = match data_dir::read_count(dir) {
            Ok(Some(count)) => (count, Vec::new()),
            Ok(None) if numbers.is_empty() => {
                return Err(StoreError::NotAStore { dir: dir_owned });
            }
            Ok(None) => {
                (numbers.len(), vec![format!("{} is missing", dir.join("SHARDS").display())])
            }
            Err(error) => (numbers.len(), vec![error.to_string()]),
        };
        let missing = (0..count).filter(|number| !numbers.contains(&(*number as u8)));
        concerns.extend(missing.map(|number| {
            format!(
                "{} is missing, and its jobs with it",
                data_dir::shard_dir(dir, number as u8).display()
            )
        }));
        let shards = numbers.iter().map(|number| data_dir::shard_dir(dir, *number)).collect();
        Ok(Self { dir: dir_owned, shards, is_data_dir: true, concerns })
    }

    /// Where the history lies, if there is one.
    fn history(&self) -> Result<Option<PathBuf>, StoreError> {
        let dir = history::dir_of(&self.dir);
        let failed = |source| StoreError::Io { action: "read", path: dir.clone(), source };
        let is_there =
            self.is_data_dir && dir.is_dir() && LogFiles::are_in(&dir).map_err(failed)?;
        Ok(is_there.then_some(dir))
    }

    /// The directory that was named.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The directories of the shards' logs.
    #[must_use]
    pub fn shard_dirs(&self) -> &[PathBuf] {
        &self.shards
    }

    /// What is wrong with the data directory itself: a missing number or folder of shards.
    #[must_use]
    pub fn concerns(&self) -> &[String] {
        &self.concerns
    }
}
