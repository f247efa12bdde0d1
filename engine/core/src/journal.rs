//! What the core asks of a log. The engine puts a mapped log behind it, a simulator a virtual one.

use crate::id::Lsn;

/// Where an appended event lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Where it begins; the event can be read back from here.
    pub lsn: Lsn,
    /// The first position after it. It is durable once all below `end` is.
    pub end: Lsn,
}

/// Why a journal takes nothing more now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRoom {
    /// More room is being made; ask again soon.
    NotYet,
    /// The disk is full.
    Full,
    /// A write or sync failed; the journal takes nothing until it is opened again.
    Failed,
}

/// An append-only journal that never blocks.
///
/// The core asks for [`Journal::available_bytes`] before it decides, and appends only what fits; so an append
/// has no error of its own. An implementation that cannot keep this stops the process with a
/// message rather than lose an event.
pub trait Journal {
    /// Bytes that [`Journal::append`] takes for certain, record headers included.
    fn available_bytes(&self) -> u64;

    /// Why it takes no more than [`Journal::available_bytes`].
    fn shortage(&self) -> NoRoom;

    /// Bytes that an event of `len_bytes` occupies, record header and padding included.
    fn record_bytes(&self, len_bytes: usize) -> u64;

    /// Appends one event, given in two parts that are stored end to end.
    fn append(&mut self, head: &[u8], payload: &[u8]) -> Position;
}
