//! Positions in the log.
//!
//! It must not know records or files.

use std::fmt;

/// A byte position in the log of one shard.
///
/// The segment is `lsn / segment_bytes`, the offset in it `lsn % segment_bytes`. Positions rise
/// with every append and are never used again. Position 0 lies in a segment header, so no record
/// is ever there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
