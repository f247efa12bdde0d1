//! Checks a store to the last byte: the logs as an opening does, the snapshots, and each event by
//! applying it to a scheduler. It changes nothing.

use std::path::PathBuf;

use tickwheel_core::{Config, Lsn as CoreLsn, Now, Restore, Scheduler, ShardId};
use tickwheel_wal::inspect::LogFiles;

use super::{InspectError, Lsn, Progress, Store, StoreError, Verdict, describe, read::Track};
use crate::{Counts, clock, history};

/// An event that cannot be applied.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unapplied {
    /// Where it lies; `None` where the whole of the events is wrong.
    pub lsn: Option<Lsn>,
    /// The event in words, as far as it can be read.
    pub event: String,
    /// Why.
    pub reason: String,
}

/// What the check of one shard found.
#[derive(Debug)]
#[non_exhaustive]
pub struct ShardVerdict {
    /// Its directory.
    pub dir: PathBuf,
    /// The shard, if a header tells.
    pub shard: Option<u16>,
    /// The log and its snapshots.
    pub log: Verdict,
    /// Events that were applied, where the log has no damage.
    pub events: u64,
    /// Events that could not be.
    pub unapplied: Vec<Unapplied>,
    /// Snapshots whose bytes are right and whose content is not, with what is wrong.
    pub bad_snapshots: Vec<(Lsn, String)>,
    /// What the events come to, where all of them could be applied.
    pub counts: Option<Counts>,
}

impl ShardVerdict {
    /// Something that had been written for good is damaged.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        self.log.is_damaged() || !self.unapplied.is_empty() || !self.bad_snapshots.is_empty()
    }

    /// Nothing at all is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.log.is_clean() && !self.is_damaged()
    }

    /// The log itself does not open: a snapshot is not at fault.
    #[must_use]
    pub fn needs_repair(&self) -> bool {
        !self.log.damage.is_empty() || !self.unapplied.is_empty()
    }
}

/// What the check of a store found.
#[derive(Debug)]
#[non_exhaustive]
pub struct StoreVerdict {
    /// Each shard.
    pub shards: Vec<ShardVerdict>,
    /// What is wrong with the data directory itself; an engine does not start there.
    pub concerns: Vec<String>,
    /// Folders of shards without a log: never started, or emptied.
    pub empty: Vec<PathBuf>,
    /// The history, if one is there. A server starts also where it is damaged, and sets it aside.
    pub history: Option<ShardVerdict>,
}

impl StoreVerdict {
    /// Nothing at all is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.concerns.is_empty()
            && self.empty.is_empty()
            && self.shards.iter().chain(&self.history).all(ShardVerdict::is_clean)
    }

    /// Something that had been written for good is damaged or missing.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        let mut logs = self.shards.iter().chain(&self.history);
        !self.concerns.is_empty() || logs.any(ShardVerdict::is_damaged)
    }
}

impl Store {
    /// Reads every byte of the logs and snapshots and applies every event. Nothing is changed, but
    /// for the text in the lock's file.
    ///
    /// It takes about the memory that an engine takes for the jobs of one shard.
    ///
    /// # Errors
    /// [`StoreError::InUse`] if an engine runs there; damage is not an error but a verdict.
    pub fn verify(&self, progress: &mut dyn Progress) -> Result<StoreVerdict, StoreError> {
        let (logs, empty) = self.lock()?;
        let mut shards = Vec::with_capacity(logs.len());
        for files in &logs {
            shards.push(verify_shard(files, progress)?);
        }
        let history = self.history()?.map(|dir| verify_shard(&LogFiles::lock(&dir)?, progress));
        let history = history.transpose()?;
        Ok(StoreVerdict { shards, concerns: self.concerns.clone(), empty, history })
    }

    /// Takes the locks of all shards that have a log; the folders of the others.
    pub(super) fn lock(&self) -> Result<(Vec<LogFiles>, Vec<PathBuf>), StoreError> {
        let mut logs = Vec::with_capacity(self.shards.len());
        let mut empty = Vec::new();
        for dir in &self.shards {
            match LogFiles::lock(dir) {
                Err(InspectError::NotALog { .. }) if self.is_data_dir => empty.push(dir.clone()),
                other => logs.push(other?),
            }
        }
        // Where no shard was ever started, all is as it should be.
        if logs.is_empty() {
            empty.clear();
        }
        Ok((logs, empty))
    }
}

/// Checks the log of one shard.
pub(super) fn verify_shard(
    files: &LogFiles,
    progress: &mut dyn Progress,
) -> Result<ShardVerdict, StoreError> {
    Ok(examine_shard(files, clock::now(), progress)?.0)
}

/// Checks the log of one shard; also the state that its events come to at `now`, which is of use
/// only where nothing needs repair.
pub(super) fn examine_shard(
    files: &LogFiles,
    now: Now,
    progress: &mut dyn Progress,
) -> Result<(ShardVerdict, Scheduler), StoreError> {
    let mut core = Scheduler::new(config(files), now);
    let mut unapplied = Vec::new();
    let mut events = 0;
    let is_history = files.shard() == Some(history::HISTORY_SHARD);
    let mut track = Track::begin(files, "checking", progress);
    let log = files.verify(&mut |record| {
        track.at(record.end);
        events += 1;
        if is_history {
            if !history::is_entry(record.payload) {
                let reason = "it is no entry of a history".to_owned();
                let event = "an entry".to_owned();
                unapplied.push(Unapplied { lsn: Some(record.lsn), event, reason });
            }
            return;
        }
        if let Err(error) = core.replay(CoreLsn(record.lsn.0), record.payload) {
            unapplied.push(failure(record.lsn, record.payload, &error.to_string()));
        }
    })?;
    let is_replayed = log.report.is_some();
    if is_replayed && let Err(error) = core.replayed() {
        let reason = error.to_string();
        unapplied.push(Unapplied { lsn: None, event: "all events".to_owned(), reason });
    }
    let bad_snapshots = restore_all(files, &log)?;
    let counts = (is_replayed && !is_history && unapplied.is_empty()).then(|| core.counts());
    let verdict = ShardVerdict {
        dir: files.dir().to_owned(),
        shard: files.shard(),
        log,
        events,
        unapplied,
        bad_snapshots,
        counts,
    };
    Ok((verdict, core))
}

/// An empty scheduler for the shard of a log.
pub(super) fn scheduler(files: &LogFiles) -> Scheduler {
    Scheduler::new(config(files), clock::now())
}

fn config(files: &LogFiles) -> Config {
    // The engine has at most 256 shards: of a higher number no event applies.
    Config::new(ShardId(files.shard().and_then(|shard| u8::try_from(shard).ok()).unwrap_or(0)))
}

pub(super) fn failure(lsn: Lsn, content: &[u8], reason: &str) -> Unapplied {
    let event = describe(content).map_or_else(|error| error.to_string(), |event| event.to_string());
    Unapplied { lsn: Some(lsn), event, reason: reason.to_owned() }
}

/// Reads the state in each snapshot whose bytes are right; what is wrong with those that are none.
fn restore_all(files: &LogFiles, log: &Verdict) -> Result<Vec<(Lsn, String)>, StoreError> {
    let mut bad = Vec::new();
    for check in log.snapshots.iter().filter(|check| check.result.is_ok()) {
        let mut reader = files.snapshot_reader(check.lsn)?;
        let mut restore = Restore::new(config(files), clock::now());
        let restored = loop {
            match reader.next_block() {
                Ok(Some(block)) => match restore.feed(block) {
                    Ok(()) => {}
                    Err(error) => break Err(error.to_string()),
                },
                Ok(None) => break restore.finish().map(drop).map_err(|error| error.to_string()),
                Err(error) => break Err(error.to_string()),
            }
        };
        if let Err(reason) = restored {
            bad.push((
                check.lsn,
                format!("the snapshot of LSN {} cannot be used: {reason}", check.lsn),
            ));
        }
    }
    Ok(bad)
}
