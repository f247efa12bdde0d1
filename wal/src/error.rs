//! What can go wrong with a log, one enum per family of operations.
//!
//! It must not know how an operation works, only what its caller has to hear.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use crate::lsn::Lsn;

/// Why a log did not open. Unless said otherwise, nothing on the disk was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// An option is outside its range.
    #[error("log option {name}: {reason}")]
    InvalidOption {
        /// Name of the option.
        name: &'static str,
        /// What is wrong, with the valid range.
        reason: String,
    },
    /// Another log, in this process or another, holds the directory.
    #[error("log directory {} is in use by {holder}; stop it or choose another directory", dir.display())]
    InUse {
        /// The directory.
        dir: PathBuf,
        /// What the holder wrote about itself: process id and start time.
        holder: String,
    },
    /// The log was written by a newer program.
    #[error(
        "the log has format version {found}, this program reads up to {supported}; \
         use the newer program"
    )]
    NewerVersion {
        /// Version in the file.
        found: u32,
        /// Highest version that this crate reads.
        supported: u32,
    },
    /// The log uses features that this program does not know.
    #[error(
        "segment {} uses unknown format features {features:#x}; use the program that wrote it",
        path.display()
    )]
    UnknownFeatures {
        /// The segment file.
        path: PathBuf,
        /// The feature bits in its header.
        features: u32,
    },
    /// The log was created with another value of an option that cannot change.
    #[error(
        "segment {} was made with {option} = {stored}, but the log is opened with {given}; \
         open it with the stored value or choose another directory",
        path.display()
    )]
    OptionMismatch {
        /// The segment file.
        path: PathBuf,
        /// Name of the option.
        option: &'static str,
        /// Value on the disk.
        stored: u64,
        /// Value in the options.
        given: u64,
    },
    /// Bytes that had been durable are damaged or missing, or a file does not belong to this log.
    #[error(
        "log segment {} is corrupt at offset {offset} (LSN {lsn}): {reason}. \
         Everything below LSN {durable_mark} had been durable. Nothing was changed; \
         restore the file from a copy or repair the log",
        path.display()
    )]
    Corrupt {
        /// The segment file.
        path: PathBuf,
        /// First bad position.
        lsn: Lsn,
        /// The same as an offset in the file.
        offset: u64,
        /// What is wrong there.
        reason: String,
        /// Highest durable mark found so far (0: none).
        durable_mark: Lsn,
    },
    /// The replay function refused a record.
    #[error("replay of the record at LSN {lsn} failed: {source}")]
    Replay {
        /// The record.
        lsn: Lsn,
        /// What the replay function said.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The operating system failed. Recovery may have begun to put away a torn tail; opening
    /// again goes on with it.
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

/// Why a record was not appended. The log is as it was before the call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// The payload is larger than the log takes.
    #[error(
        "a payload of {len} bytes exceeds the log's limit of {max}; split it or raise record_bytes_max"
    )]
    TooLarge {
        /// Length of the payload, in bytes.
        len: usize,
        /// Longest payload that is accepted, in bytes.
        max: usize,
    },
    /// The segment is full and the last try to make another one failed.
    #[error(
        "no space for another log segment ({message}); free space, the log tries again by itself"
    )]
    NoSpace {
        /// What the operating system said.
        message: String,
    },
    /// What is left is reserved for others.
    #[error("the log's room is reserved; finish what reserved it, or free space on the disk")]
    Reserved,
    /// The segment is full and the next is still being made; the log notifies when it is ready.
    #[error("the next log segment is still being prepared; try again after the log's notice")]
    SegmentNotReady,
    /// A sync failed: see [`Log::failure`](crate::Log::failure).
    #[error("the log stopped after a failed sync; close it and open it again")]
    Poisoned,
}

/// Why a record could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The position lies outside the log's records.
    #[error("LSN {lsn} is outside the log; use the position of an appended or replayed record")]
    OutOfRange {
        /// The position asked for.
        lsn: Lsn,
    },
    /// There is a record, but the log wrote it for itself.
    #[error(
        "the record at LSN {lsn} holds no data; use the position of an appended or replayed record"
    )]
    NotData {
        /// The position asked for.
        lsn: Lsn,
    },
    /// The medium did not give the record's pages back.
    #[error("the record at LSN {lsn} cannot be read from the disk ({message}); check the disk")]
    Medium {
        /// The position asked for.
        lsn: Lsn,
        /// What the operating system said.
        message: String,
    },
    /// No valid record begins there: a wrong position, or bytes that changed on the disk.
    #[error("no valid record at LSN {lsn}: {reason}; check the position, else verify the disk")]
    Corrupt {
        /// The position asked for.
        lsn: Lsn,
        /// What is wrong.
        reason: String,
    },
}

/// Why a log did not close cleanly. Its threads are stopped and its directory is free all the same.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseError {
    /// A sync failed, now or before: what was not durable may be lost.
    #[error("the log was closed without its last records being durable: {0}")]
    Sync(#[source] SyncFailure),
    /// One of the log's threads panicked, so the last records were not synced.
    #[error("a log thread panicked, so the last records may not be durable; open the log again")]
    ThreadPanicked,
}

/// The failed sync that stopped a log. After it nothing is synced again: what the operating
/// system dropped cannot be told from what it kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("sync of {} failed ({message}); check the disk, then open the log again", path.display())]
pub struct SyncFailure {
    /// The segment file.
    pub path: PathBuf,
    /// Kind of the error.
    pub kind: io::ErrorKind,
    /// What the operating system said.
    pub message: String,
    /// Everything below had been durable.
    pub durable: Lsn,
}
