//! The history: what became of each attempt, kept for a while in a log of its own, and a stream of
//! events that a program can follow across restarts.
//!
//! The core tells facts, a shard hands them over once they are durable (`tap.rs`), one thread writes
//! them (`keeper.rs`), and whoever asks reads the files (`read.rs`) or follows (`subscribe.rs`). What is
//! written is in `entry.rs`, what readers see in `event.rs`. Nothing here decides about a job, and a
//! history that is slow, full or broken never holds one up for longer than a named bound.

mod entry;
mod event;
mod keeper;
mod known;
mod open;
mod output;
mod query;
mod read;
mod subscribe;
mod tap;

use std::{path::PathBuf, time::Duration};

use crate::{clock, error::StartError, limits};

pub use event::{AttemptRecord, GapReason, HistoryEvent, HistoryGap, JobRef};
pub(crate) use keeper::Keeping;
pub(crate) use open::{HISTORY_DIR, HISTORY_SHARD, open};
pub(crate) use output::Outputs;
pub use query::{HistoryPage, HistoryPlace, HistoryQuery};
pub use read::{HistoryFiles, HistoryReadError, HistoryStat};
pub use subscribe::{
    Begin, HistoryCursor, HistoryEntry, ParseHistoryCursorError, SubscribeError, Subscription,
};
pub(crate) use tap::Tap;
pub use tickwheel_core::fact::{AttemptOutcome, ParseAttemptOutcomeError};

/// Settings of the history: see [`Builder::history`](crate::Builder::history).
///
/// ```
/// use std::time::Duration;
/// use tickwheel_engine::History;
/// let history = History::new().keep_for(Duration::from_secs(7 * 86_400)).keep_bytes(64 << 20);
/// # let _ = history;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    pub(crate) keep_for: Duration,
    pub(crate) keep_bytes: u64,
    pub(crate) adds: bool,
    pub(crate) starts: bool,
}

impl Default for History {
    fn default() -> Self {
        Self {
            keep_for: limits::HISTORY_AGE_DEFAULT,
            keep_bytes: limits::HISTORY_BYTES_DEFAULT,
            adds: false,
            starts: false,
        }
    }
}

impl History {
    /// Keeps 30 days, in 256 MiB at the most, of ends of attempts and jobs, and of what becomes of
    /// schedules and queues.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How long an entry is kept at the least, while there is room: one second to ten years. Default 30
    /// days. Entries go by whole segments, once the newest of a segment is older.
    #[must_use]
    pub fn keep_for(mut self, age: Duration) -> Self {
        self.keep_for = age;
        self
    }

    /// Bytes that the history takes, about: 8 MiB to 1 TiB. Default 256 MiB. The oldest segment goes
    /// when there are more; beside that the log has up to four segments that are in use, made ready or
    /// kept to be used again. A segment has an eighth of this, 1 MiB to 64 MiB; a directory keeps the
    /// size that it was made with. A start reads the whole history once.
    #[must_use]
    pub fn keep_bytes(mut self, bytes: u64) -> Self {
        self.keep_bytes = bytes;
        self
    }

    /// Whether jobs that are added are told too. Default: no.
    #[must_use]
    pub fn adds(mut self, adds: bool) -> Self {
        self.adds = adds;
        self
    }

    /// Whether attempts that begin are told too. Default: no; an end tells when its attempt began.
    #[must_use]
    pub fn starts(mut self, starts: bool) -> Self {
        self.starts = starts;
        self
    }

    pub(crate) fn check(&self) -> Result<(), StartError> {
        let within = limits::HISTORY_AGE_MIN..=limits::HISTORY_AGE_MAX;
        if !within.contains(&self.keep_for) {
            return Err(StartError::Setting {
                setting: "history.keep_for",
                value: format!("{:?}", self.keep_for),
                range: "one second to ten years",
            });
        }
        let within = limits::HISTORY_BYTES_MIN..=limits::HISTORY_BYTES_MAX;
        if !within.contains(&self.keep_bytes) {
            return Err(StartError::Setting {
                setting: "history.keep_bytes",
                value: self.keep_bytes.to_string(),
                range: "8388608 (8 MiB) to 1099511627776 (1 TiB)",
            });
        }
        Ok(())
    }

    fn keep_ns(&self) -> u64 {
        clock::saturating_ns(self.keep_for)
    }

    /// Size of a segment of a history that is new.
    fn segment_bytes(&self) -> u64 {
        let eighth = self.keep_bytes / 8;
        let power = 1_u64 << eighth.max(1).ilog2();
        power.clamp(limits::HISTORY_SEGMENT_BYTES_MIN, limits::HISTORY_SEGMENT_BYTES_MAX)
    }
}

/// Where the history of a data directory lies.
pub(crate) fn dir_of(data_dir: &std::path::Path) -> PathBuf {
    data_dir.join(HISTORY_DIR)
}

/// Whether the bytes of a record are an entry of a history.
pub(crate) fn is_entry(payload: &[u8]) -> bool {
    match entry::Entry::decode(payload) {
        Some(entry::Entry::Fact { fact, .. }) => tickwheel_core::fact::Fact::decode(fact).is_ok(),
        entry => entry.is_some(),
    }
}
