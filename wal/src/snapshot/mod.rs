//! Snapshots: what the log's owner serialised of its state, as of one position.
//!
//! An opening may begin from a snapshot instead of replaying the log from its head. It only saves
//! time: losing all of them loses nothing. This module owns their files and must not know records
//! or what the state means. The layout has its home in `docs/file-format.md`; a test compares the
//! constants with that page.

mod error;
mod format;
mod reader;
mod select;
#[cfg(test)]
pub(crate) mod tests;
mod writer;

use std::time::Duration;

use crate::lsn::Lsn;

pub use error::SnapshotError;
pub use reader::SnapshotReader;
pub(crate) use select::{belongs, newest_usable, remove_unusable};
pub use writer::SnapshotWriter;

/// Snapshots that are kept: the newest, and one in case its bytes go bad.
pub(crate) const SNAPSHOTS_KEPT: usize = 2;
/// A snapshot is synced each time this much was written, so that a sync of the log queues behind
/// at most this.
pub(crate) const SNAPSHOT_SYNC_BYTES: u64 = 8 << 20;
/// Longest rest after such a part: a slow disk must not hold up who waits for the writer to end.
pub(crate) const SNAPSHOT_REST_MAX: Duration = Duration::from_secs(1);

// With one only, a snapshot that goes bad would leave nothing to begin from.
const _: () = assert!(SNAPSHOTS_KEPT >= 2);
// A part holds several blocks, else the writer would sync after each.
const _: () = assert!(SNAPSHOT_SYNC_BYTES >= 2 * format::BLOCK_BYTES as u64);

/// Which log a snapshot belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The shard whose log it is.
    pub(crate) shard: u16,
    /// Drawn when the log is created.
    pub(crate) salt: u64,
}

/// What a snapshot is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) identity: Identity,
    /// The position that the state is of.
    pub(crate) lsn: Lsn,
    /// Epoch of the segment that holds the position.
    pub(crate) epoch: u64,
    /// Everything below is released by a record below the position.
    pub(crate) head: Lsn,
}

/// What a snapshot says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SnapshotInfo {
    /// The state is as of this position: it holds the effect of every record below.
    pub lsn: Lsn,
    /// Epoch of the segment that holds the position.
    pub epoch: u64,
    /// Everything below is released by a record below the position.
    pub head: Lsn,
    /// When it was begun, in milliseconds of the Unix clock. For people only.
    pub created_ms: u64,
    /// Bytes of the owner's state.
    pub len_bytes: u64,
    /// Blocks that they are cut into.
    pub blocks: u64,
    /// Bytes of the file.
    pub file_bytes: u64,
}
