//! What can go wrong with a snapshot.
//!
//! It must not know how snapshots are written or read, only what a caller has to hear.

use std::io;
use std::path::PathBuf;

use crate::lsn::Lsn;

/// Why a snapshot was not written, or cannot be used. The log itself is not touched by any of
/// these: it can always be replayed without a snapshot.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// The log ended before it was durable up to the snapshot's position.
    #[error("the log ended before it was durable up to LSN {lsn}; the snapshot is given up")]
    LogEnded {
        /// The snapshot's position.
        lsn: Lsn,
    },
    /// Bytes of the snapshot changed on the disk, or some are missing.
    #[error(
        "snapshot {} is damaged at offset {offset}: {reason}; an opening goes on without it and \
         loses nothing, so drop what was read from it and open the log again",
        path.display()
    )]
    Damaged {
        /// The snapshot file.
        path: PathBuf,
        /// Where the damaged part begins: the header, or a block.
        offset: u64,
        /// What is wrong there.
        reason: &'static str,
    },
    /// The snapshot was written by a newer program.
    #[error(
        "snapshot {} has format version {found}, this program reads up to {supported}; use the \
         newer program, or go on without the snapshot and lose nothing",
        path.display()
    )]
    NewerVersion {
        /// The snapshot file.
        path: PathBuf,
        /// Version in the file.
        found: u32,
        /// Highest version that this crate reads.
        supported: u32,
    },
    /// The snapshot uses features that this program does not know.
    #[error(
        "snapshot {} uses unknown format features {features:#x}; use the program that wrote it, \
         or go on without the snapshot and lose nothing",
        path.display()
    )]
    UnknownFeatures {
        /// The snapshot file.
        path: PathBuf,
        /// The feature bits in its header.
        features: u32,
    },
    /// The snapshot is of another log.
    #[error(
        "snapshot {} belongs to another log (shard {shard}, salt {salt:#018x}); move it to the \
         directory of that log",
        path.display()
    )]
    Foreign {
        /// The snapshot file.
        path: PathBuf,
        /// The shard in its header.
        shard: u16,
        /// The salt in its header.
        salt: u64,
    },
    /// The snapshot's name and its content are of different positions.
    #[error(
        "snapshot {} holds the state at LSN {lsn}, which is not what its name says; give it back \
         the name that it had",
        path.display()
    )]
    Misnamed {
        /// The snapshot file.
        path: PathBuf,
        /// The position in its header.
        lsn: Lsn,
    },
    /// The log does not hold the snapshot's position, or holds it in another epoch.
    #[error(
        "snapshot {} is of LSN {lsn} in epoch {epoch}, which the log does not hold; go on \
         without it",
        path.display()
    )]
    NotHeld {
        /// The snapshot file.
        path: PathBuf,
        /// The position in its header.
        lsn: Lsn,
        /// The epoch in its header.
        epoch: u64,
    },
    /// The operating system failed. The snapshots that were there still are.
    #[error("cannot {action} snapshot {}: {source}; free space or check the disk, then try again", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The snapshot file; a draft is named after what it would become.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// An earlier write to this snapshot failed, so it can never be complete.
    #[error("an earlier write to snapshot {} failed; begin another one", path.display())]
    Abandoned {
        /// The snapshot file that the draft would have become.
        path: PathBuf,
    },
}
