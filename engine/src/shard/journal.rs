//! The core's journal over the mapped log.

use tickwheel_core::{self as core, NoRoom, Position};
use tickwheel_wal::{AppendError, Log, Shortage};

/// Kept back from what the core may use: the log's own commit records take it.
const SLACK_BYTES: u64 = 4096;
/// The position of an event that the log did not take: it never becomes durable.
const NOWHERE: core::Lsn = core::Lsn(u64::MAX);

/// A shard's log as the core sees it.
#[derive(Debug)]
pub(crate) struct Journal {
    pub(crate) log: Log,
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
        match self.log.append(&[head, payload]) {
            Ok(appended) => {
                Position { lsn: core::Lsn(appended.lsn.0), end: core::Lsn(appended.end.0) }
            }
            // A sync failed since the core asked for room. The shard notices before its next pass;
            // until then nothing of this is acknowledged.
            Err(AppendError::Poisoned) => Position { lsn: NOWHERE, end: NOWHERE },
            // The core asks for room first: the state in memory must not run ahead of the log.
            Err(error) => {
                eprintln!("tickwheel: the log refused an event that it had room for: {error}");
                std::process::abort();
            }
        }
    }
}
