//! A write-ahead log in mapped memory.
//!
//! One [`Log`] is the log of one shard, in a directory of its own. It takes records of bytes,
//! gives each a position ([`Lsn`]), makes them durable in groups and brings them back after a
//! crash. It knows bytes and positions, never what they mean.
//!
//! - [`Log::append`] copies a record into a mapped segment. It never blocks: segments are made
//!   ahead of need by a thread of the log.
//! - [`Log::commit`] publishes what was appended. A second thread syncs it, one sync at a time,
//!   and raises [`Log::durable`].
//! - [`LogOptions::open`] replays the surviving records. Damage to bytes that had been durable is
//!   an error; a torn tail above them is discarded and reported.
//! - [`Log::release`] gives the space of the oldest segments back, once their owner has appended
//!   again what it still needs; [`Log::snapshot`] spares an opening the replay of the whole log.
//!
//! The layout on the disk is written down in `docs/file-format.md`.
//!
//! What is not promised: a page of a recent segment that was dropped from memory, and that the disk
//! does not give back, raises SIGBUS in whoever reads it through [`RecordRef`]. Pages of older
//! segments are brought in before they are read and then copied, so that such a failure is an error; so
//! it is during an opening. A full disk raises SIGBUS in whoever appends, where the file system copies
//! on write.

#![deny(unsafe_code)]

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
compile_error!(
    "tickwheel-wal needs 64-bit Linux: fallocate, fdatasync on mapped files and whole segments \
     in the address space"
);

mod appender;
pub mod backup;
mod durability;
mod error;
#[cfg(feature = "faults")]
pub mod faults;
mod format;
pub mod inspect;
mod limits;
mod log;
mod lsn;
mod open;
mod options;
#[cfg(test)]
mod planted;
mod pool;
mod recovery;
mod segment;
#[cfg(any(test, feature = "simulation"))]
pub mod simulation;
mod snapshot;
mod stats;
mod storage;
mod sync;
mod syncer;
#[cfg(test)]
mod tests;

pub use durability::{Durability, ParseDurabilityError};
pub use error::{AppendError, CloseError, OpenError, ReadError, SyncFailure};
pub use log::{Appended, Log, Reservation, SnapshotTicket, Walked};
pub use lsn::Lsn;
pub use options::LogOptions;
pub use pool::Shortage;
pub use recovery::{Record, Recover, RecoveryReport, ReplayError};
pub use segment::{RecordHandle, RecordRef};
pub use snapshot::{SnapshotError, SnapshotInfo, SnapshotReader, SnapshotWriter};
pub use stats::LogStats;
