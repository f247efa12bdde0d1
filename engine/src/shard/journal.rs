//! The core's journal over the mapped log.

use tickwheel_core::{self as core, NoRoom, Position, Room};
use tickwheel_wal::{Log, Shortage};

/// A shard's log as the core sees it.
#[derive(Debug)]
pub(crate) struct Journal {
    pub(crate) log: Log,
}

impl core::Journal for Journal {
    fn room(&self) -> Room {
        let available_bytes = if self.log.failure().is_some() {
            0
        } else {
            self.log.available_bytes()
        };
        Room {
            available_bytes,
            reason: self.reason(),
        }
    }

    fn record_bytes(&self, len_bytes: usize) -> u64 {
        Log::record_bytes(len_bytes)
    }

    fn append(&mut self, head: &[u8], payload: &[u8]) -> Position {
        match self.log.append(&[head, payload]) {
            Ok(appended) => Position {
                lsn: core::Lsn(appended.lsn.0),
                end: core::Lsn(appended.end.0),
            },
            // The core asks for room first, and only a failed sync, after which nothing is durable,
            // can take it back in between: the state in memory must not run ahead of the log.
            Err(error) => {
                eprintln!("tickwheel: the log refused an event that it had room for: {error}");
                std::process::abort();
            }
        }
    }
}

impl Journal {
    fn reason(&self) -> NoRoom {
        if self.log.failure().is_some() {
            return NoRoom::Failed;
        }
        match self.log.shortage() {
            Some(Shortage::NoSpace { .. }) => NoRoom::Full,
            _ => NoRoom::NotYet,
        }
    }
}
