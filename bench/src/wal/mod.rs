//! Records entering a log, becoming durable and coming back, each beside the same work without a log.
//! It knows the calls of the log, never its format.
//!
//! [`Appends`], [`Copies`] and [`BareSyncs`] are measured per operation. [`Sustained`], [`Groups`],
//! [`Paced`], [`Cleaned`] and [`Recovered`] are the results of runs of a given size. [`staged`] and [`killed`] compare
//! two ways of writing.

mod appends;
mod bare;
mod cleaned;
mod groups;
pub mod killed;
mod open_log;
mod paced;
mod recovery;
pub mod staged;
mod sustained;

pub use appends::Appends;
pub use bare::{BareSyncs, Copies};
pub use cleaned::{Cleaned, Cleaning};
pub use groups::{Groups, disk_bytes_per_commit};
pub use paced::{Paced, Plan};
pub use recovery::{Opening, Recovered};
pub use sustained::Sustained;

use tickwheel_wal::Log;

use crate::BenchError;

/// Bytes that a record takes in the log, its header included.
pub const RECORD_BYTES: u64 = 200;
/// Records of one round of appends or copies, and of one commit where records are committed in groups.
pub const ROUND: u32 = 1000;

/// A payload that makes a record of [`RECORD_BYTES`].
fn payload() -> Result<Vec<u8>, BenchError> {
    let len = (0..RECORD_BYTES as usize)
        .rfind(|len| Log::record_bytes(*len) == RECORD_BYTES)
        .ok_or("no payload makes a record of the size that is measured")?;
    Ok((0..len).map(|n| n as u8).collect())
}
