//! Where the log's bytes live: the seam between the log and the world outside.
//!
//! The log reaches files, the clock and the random source only through [`Storage`] and
//! [`SegmentFile`]. Their operations are small, so that each can fail on its own. This module
//! must not know the format of what it stores.

mod directory;
mod lock;
#[allow(unsafe_code, reason = "the one file that touches mapped memory")]
mod mapping;
mod prepare;
mod staged;

use std::io;
use std::path::PathBuf;

use crate::sync::Arc;

pub(crate) use directory::{Directory, create_durably};
pub(crate) use lock::{DirectoryLock, LockError};
pub(crate) use mapping::{Mapping, MappingWriter};
pub(crate) use prepare::{Fate, Pace, Prepared, Source, Spare, prepare, retire};
pub(crate) use staged::Staged;

/// The files of one log, named by segment number.
pub(crate) trait Storage: Send + Sync {
    /// The segment files that are there, in order of their numbers.
    fn list(&self) -> io::Result<Vec<u64>>;

    /// Opens a segment file for reading and for syncing.
    fn open(&self, index: u64) -> io::Result<Box<dyn SegmentFile>>;

    /// Opens a segment file that is there for writing in place. What is cached of it stays cached:
    /// the cache may hold bytes that the disk does not have.
    fn open_in_place(&self, index: u64) -> io::Result<Box<dyn SegmentFile>>;

    /// Opens a segment file for writing; makes an empty one if there is none. What is cached of it
    /// stays cached.
    fn create(&self, index: u64) -> io::Result<Box<dyn SegmentFile>>;

    /// Removes a segment file. Durable after [`sync_directory`](Storage::sync_directory).
    fn remove(&self, index: u64) -> io::Result<()>;

    /// Gives a segment file another number, which no file has. Durable after
    /// [`sync_directory`](Storage::sync_directory).
    fn rename(&self, from: u64, to: u64) -> io::Result<()>;

    /// The snapshots that are there, by position, in order. Drafts do not count.
    fn list_snapshots(&self) -> io::Result<Vec<u64>>;

    /// Makes the empty draft of a snapshot, in place of one that is there.
    fn create_draft(&self, lsn: u64) -> io::Result<Box<dyn SegmentFile>>;

    /// Makes a draft the snapshot of its position. Durable after
    /// [`sync_directory`](Storage::sync_directory).
    fn publish_draft(&self, lsn: u64) -> io::Result<()>;

    /// Removes all drafts: none outlives the process that wrote it.
    fn remove_drafts(&self) -> io::Result<()>;

    /// Opens a snapshot for reading.
    fn open_snapshot(&self, lsn: u64) -> io::Result<Box<dyn SegmentFile>>;

    /// Removes a snapshot. Durable after [`sync_directory`](Storage::sync_directory).
    fn remove_snapshot(&self, lsn: u64) -> io::Result<()>;

    /// The name of a snapshot, for messages.
    fn snapshot_path(&self, lsn: u64) -> PathBuf;

    /// Makes created, renamed and removed files durable.
    fn sync_directory(&self) -> io::Result<()>;

    /// The name of a segment file, for messages.
    fn path(&self, index: u64) -> PathBuf;

    /// A number that no other log has.
    fn random(&self) -> io::Result<u64>;

    /// Milliseconds of the Unix clock, for people only.
    fn wall_ms(&self) -> u64;

    /// Whether stores into a segment wait in memory of the process until they are
    /// [handed over](SegmentFile::hand_over).
    fn is_staging(&self) -> bool {
        false
    }

    /// Says that a segment is complete and was handed over or synced. If its readers are to read it
    /// elsewhere from now on, this is where.
    fn settle(&self, _index: u64) -> io::Result<Option<Arc<Mapping>>> {
        Ok(None)
    }
}

/// One open segment file.
pub(crate) trait SegmentFile: Send + Sync {
    /// Length of the file in bytes.
    fn len_bytes(&self) -> io::Result<u64>;

    /// Whether the file has further names: someone else reads it, and its bytes must stay.
    fn is_pinned(&self) -> io::Result<bool> {
        Ok(false)
    }

    /// Lets go of the cached pages of a file that is to be written anew. Only a hint.
    fn drop_cached(&self) {}

    /// Whether the first `len` bytes are in memory, as far as a few looks tell.
    fn is_cached(&self, _len: u64) -> bool {
        true
    }

    /// Reserves the disk space of the first `len` bytes and makes the file at least that long.
    /// A file system that cannot reserve is no error: writing reserves as well.
    fn allocate(&self, len: u64) -> io::Result<()>;

    /// Fills `buffer` from `offset` on, as far as the file goes; returns the bytes read.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `bytes` at `offset`.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes the file's bytes and length durable, also those stored through a mapping.
    fn sync(&self) -> io::Result<()>;

    /// Maps the first `len` bytes for reading. The caller made sure that the file is that long.
    fn map_read(&self, len: usize) -> io::Result<Arc<Mapping>>;

    /// Maps the first `len` bytes for writing, with all pages present. The caller made sure that
    /// the file is that long, and is the only one who writes to it.
    fn map_write(&self, len: usize) -> io::Result<MappingWriter>;

    /// The same, but pages may be missing.
    fn map_write_lazily(&self, len: usize) -> io::Result<MappingWriter> {
        self.map_write(len)
    }

    /// Gives what is frozen to the operating system, if it does not have it: a killed process does
    /// not lose it any more.
    fn hand_over(&self) -> io::Result<()> {
        Ok(())
    }

    /// Brings all pages of a mapping into memory, so that a failing disk is an error here and
    /// not a signal later.
    fn populate(&self, mapping: &Mapping) -> io::Result<()>;
}
