//! The core's journal over a log on a simulated disk. It keeps what was appended, for the model.

use tickwheel_core::{self as core, NoRoom, Position};
use tickwheel_wal::{AppendError, Log, Shortage};

/// Kept back from what the core may use: the log's own commit records take it.
const SLACK_BYTES: u64 = 4096;
/// The position of an event that the log did not take: it never becomes durable.
pub(crate) const NOWHERE: u64 = u64::MAX;

/// A shard's log as the core sees it.
#[derive(Debug)]
pub(crate) struct Journal {
    pub(crate) log: Log,
    /// What was appended since the model looked.
    pub(crate) written: Vec<Written>,
}

/// An event as it was appended.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    pub(crate) lsn: u64,
    pub(crate) end: u64,
    pub(crate) bytes: Vec<u8>,
}

impl core::Journal for Journal {
    fn available_bytes(&self) -> u64 {
        match self.log.failure() {
            Some(_) => 0,
            None => self.log.available_bytes().saturating_sub(SLACK_BYTES),
        }
    }

    fn shortage(&self) -> NoRoom {
        if self.log.failure().is_some() {
            return NoRoom::Failed;
        }
        match self.log.shortage() {
            Some(Shortage::NoSpace { .. }) => NoRoom::Full,
            _ => NoRoom::NotYet,
        }
    }

    fn record_bytes(&self, len_bytes: usize) -> u64 {
        Log::record_bytes(len_bytes)
    }

    fn append(&mut self, head: &[u8], payload: &[u8]) -> Position {
        let (lsn, end) = match self.log.append(&[head, payload]) {
            Ok(appended) => (appended.lsn.0, appended.end.0),
            Err(AppendError::Poisoned) => (NOWHERE, NOWHERE),
            Err(error) => panic!("the log refused an event that it had room for: {error}"),
        };
        self.written.push(Written { lsn, end, bytes: [head, payload].concat() });
        Position { lsn: core::Lsn(lsn), end: core::Lsn(end) }
    }
}
