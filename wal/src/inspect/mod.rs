//! Looks into the files of a log without opening it: what is there, whether every byte is right, and
//! what can still be read of a damaged one.
//!
//! Nothing here changes a segment or a snapshot. `layout` finds out which file is which segment,
//! `walk` goes through the records and past damage, `verify` judges as an opening would. This folder
//! must not know what a payload means.

mod image;
mod layout;
#[cfg(test)]
pub(crate) mod tests;
mod verify;
mod walk;

use std::io;
use std::path::{Path, PathBuf};

use crate::lsn::Lsn;
use crate::snapshot::{self, SnapshotError, SnapshotInfo, SnapshotReader};
use crate::storage::{Directory, DirectoryLock, LockError, Storage};

pub(crate) use layout::Layout;
pub use verify::{Damage, SnapshotCheck, Verdict};
pub use walk::{Entry, EntryKind, Gap, Item, Survey, Tally};

/// Why the files of a log could not be looked at. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InspectError {
    /// There is no segment in the directory.
    #[error("{} holds no log: name the directory of a shard, with its .seg files", dir.display())]
    NotALog {
        /// The directory.
        dir: PathBuf,
    },
    /// A log is open there.
    #[error("{} is in use by {holder}: stop it, or look at a backup of it", dir.display())]
    InUse {
        /// The directory.
        dir: PathBuf,
        /// What the holder wrote about itself.
        holder: String,
    },
    /// A segment was written by a newer program.
    #[error(
        "{} has format version {found}, this program reads up to {supported}: use the newer program",
        path.display()
    )]
    NewerVersion {
        /// The segment file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The highest version that is read.
        supported: u32,
    },
    /// A segment uses features that are not known.
    #[error(
        "{} uses unknown format features {features:#x}: use the program that wrote it",
        path.display()
    )]
    UnknownFeatures {
        /// The segment file.
        path: PathBuf,
        /// The feature bits in its header.
        features: u32,
    },
    /// A snapshot that was asked for is not whole.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
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

/// What a segment file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SegmentState {
    /// It has a header, so it holds records, or was about to.
    Used,
    /// It was prepared for later use, or its header never reached the disk.
    Unused,
    /// Its records were released; the file is left over.
    Released,
    /// Its header is damaged, or of another log.
    Damaged,
}

/// A segment file, as its name, length and header page show it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SegmentFileInfo {
    /// Number of the segment.
    pub segment: u64,
    /// The file.
    pub path: PathBuf,
    /// Length of the file.
    pub len_bytes: u64,
    /// What it is.
    pub state: SegmentState,
    /// Format version in its header; 0 without one.
    pub version: u32,
    /// Epoch in its header; 0 without one.
    pub epoch: u64,
    /// When its header was written, in milliseconds of the Unix clock; 0 without one.
    pub created_ms: u64,
}

/// The files of one log.
///
/// ```
/// use std::ops::ControlFlow;
/// use tickwheel_wal::{Lsn, LogOptions, inspect::{EntryKind, Item, LogFiles}};
///
/// let dir = tempfile::tempdir()?;
/// let mut log = LogOptions::new(dir.path()).segment_bytes(64 << 10).open(
///     std::sync::Arc::new(|| {}),
///     &mut |_| Ok(()),
/// )?;
/// log.append(&[b"hello"])?;
/// log.close()?;
///
/// let files = LogFiles::lock(dir.path())?;
/// let mut seen = Vec::new();
/// files.walk(Lsn(0), &mut |item| {
///     if let Item::Record(entry) = item && entry.kind == EntryKind::Data {
///         seen.push(entry.payload.to_vec());
///     }
///     ControlFlow::Continue(())
/// })?;
/// assert_eq!(seen, [b"hello"]);
/// assert!(files.verify(&mut |_| {})?.is_clean());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct LogFiles {
    dir: PathBuf,
    storage: Directory,
    layout: Layout,
    _lock: Option<DirectoryLock>,
}

impl LogFiles {
    /// Looks at a log that may be in use. What is appended meanwhile may be seen or not, and what
    /// is released meanwhile may look like damage.
    ///
    /// # Errors
    /// See [`InspectError`].
    pub fn open(dir: &Path) -> Result<Self, InspectError> {
        Self::look(dir, None)
    }

    /// Looks at a log and keeps others from opening it, for as long as this lives.
    ///
    /// # Errors
    /// [`InspectError::InUse`] if it is open, and the others.
    pub fn lock(dir: &Path) -> Result<Self, InspectError> {
        // Before the lock makes its file there.
        drop(Self::look(dir, None)?);
        let lock = match DirectoryLock::acquire(dir) {
            Ok(lock) => Some(lock),
            Err(LockError::Held(holder)) => {
                return Err(InspectError::InUse { dir: dir.to_owned(), holder });
            }
            // Nobody can use a log there.
            Err(LockError::Io(_, source)) if source.kind() == io::ErrorKind::ReadOnlyFilesystem => {
                None
            }
            Err(LockError::Io(path, source)) => {
                return Err(InspectError::Io { action: "lock", path, source });
            }
        };
        Self::look(dir, lock)
    }

    fn look(dir: &Path, lock: Option<DirectoryLock>) -> Result<Self, InspectError> {
        let storage = Directory::open(dir).map_err(|source| InspectError::Io {
            action: "open",
            path: dir.to_owned(),
            source,
        })?;
        let layout = Layout::of(&storage)?;
        if layout.is_empty() {
            return Err(InspectError::NotALog { dir: dir.to_owned() });
        }
        Ok(LogFiles { dir: dir.to_owned(), storage, layout, _lock: lock })
    }

    /// Whether `dir` has segment files.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn are_in(dir: &Path) -> io::Result<bool> {
        Ok(!Directory::open(dir)?.list()?.is_empty())
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Size of every segment of the log.
    pub fn segment_bytes(&self) -> u64 {
        self.layout.segment_bytes
    }

    /// The shard whose log it is; `None` if no header tells.
    pub fn shard(&self) -> Option<u16> {
        self.layout.log.map(|log| log.shard)
    }

    /// The segment files, in order of their segments.
    pub fn segments(&self) -> Vec<SegmentFileInfo> {
        self.layout.summaries(&self.storage)
    }

    /// Positions of the snapshots, in order.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn snapshots(&self) -> Result<Vec<Lsn>, InspectError> {
        let listed = self.storage.list_snapshots();
        let listed = listed.map_err(|e| self.io_error("list the snapshots in", e))?;
        Ok(listed.into_iter().map(Lsn).collect())
    }

    /// The file of the snapshot of a position.
    pub fn snapshot_path(&self, lsn: Lsn) -> PathBuf {
        self.storage.snapshot_path(lsn.0)
    }

    /// What the snapshot of a position says about itself, after a check of its every byte.
    ///
    /// # Errors
    /// [`InspectError::Snapshot`] says what is wrong with it.
    pub fn snapshot(&self, lsn: Lsn) -> Result<SnapshotInfo, InspectError> {
        Ok(self.snapshot_reader(lsn)?.info())
    }

    /// The state in a snapshot, after a check of its every byte.
    ///
    /// # Errors
    /// [`InspectError::Snapshot`] says what is wrong with it.
    pub fn snapshot_reader(&self, lsn: Lsn) -> Result<SnapshotReader, InspectError> {
        let path = self.storage.snapshot_path(lsn.0);
        let file = self.storage.open_snapshot(lsn.0).map_err(|source| SnapshotError::Io {
            action: "open",
            path: path.clone(),
            source,
        })?;
        let identity = self.layout.identity();
        Ok(SnapshotReader::open(file, &path, &mut |header| {
            snapshot::belongs(header, lsn, identity, &path)
        })?)
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    fn io_error(&self, action: &'static str, source: io::Error) -> InspectError {
        InspectError::Io { action, path: self.dir.clone(), source }
    }
}

impl std::fmt::Debug for LogFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogFiles").field("dir", &self.dir).finish_non_exhaustive()
    }
}
