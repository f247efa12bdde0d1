//! Changes the number of shards of a data directory: each job and schedule is read from its log and
//! written to the log of the shard where an engine with the new number looks for it.
//!
//! The new logs are written by `movement`, and checked, in a folder of their own. `swap` then puts them
//! in the place of the old ones, which are kept. This file must not know how.

mod movement;
mod swap;
#[cfg(test)]
mod tests;

use std::{
    fs::{self, File, TryLockError},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use tickwheel_core::{Now, Scheduler};
use tickwheel_wal::inspect::LogFiles;

use super::{
    Progress, ShardVerdict, Store, StoreError,
    draft::sequence_after,
    repair::io_error,
    verify::{examine_shard, verify_shard},
};
use crate::{Counts, clock, data_dir, limits::SHARDS_MAX};
use movement::Movement;
use swap::Swap;

/// Lies beside the logs that were replaced: the ids of the jobs that have another one now.
const MOVED_IDS: &str = "moved-ids.tsv";

/// What [`reshard`] did.
#[derive(Debug)]
#[non_exhaustive]
pub struct Resharding {
    /// The data directory.
    pub dir: PathBuf,
    /// Shards that it had.
    pub from: usize,
    /// Shards that it has.
    pub to: usize,
    /// The folder with the originals of an earlier change that had been cut off and was finished
    /// first.
    pub finished: Option<PathBuf>,
    /// What was done after that; `None` if the number of shards was right then.
    pub done: Option<Resharded>,
}

/// A change of the number of shards.
#[derive(Debug)]
#[non_exhaustive]
pub struct Resharded {
    /// The folder with the logs as they were: a data directory by itself.
    pub originals: PathBuf,
    /// The list of the jobs that have another id now: the old and the new one in each line, with a
    /// tab between them.
    pub moved_ids: PathBuf,
    /// Jobs that have another id now.
    pub moved: u64,
    /// What each shard holds now.
    pub shards: Vec<Counts>,
}

/// Gives the data directory `dir` another number of shards: 1 to 256. No engine may run on it.
///
/// A job with a key and a schedule go where an engine looks for them; a job that a schedule added
/// stays with its schedule. Any other job stays in its shard, or, where that is no more, goes to one
/// of the others in turn. A job keeps all but its id, which names its shard: where it is in another
/// shard now, it has a new id, and the old one counts as ended, or as unknown. A paused queue is paused in
/// all shards. Ids are not given out twice.
///
/// The logs as they were are kept in a folder of `dir`, with a list of the ids that have changed. A
/// change that was cut off before it began to take effect has changed nothing; one that was cut off
/// later is finished by the next call, and until then no engine starts on `dir`. It takes about the
/// memory that an engine takes for the same jobs, and on the disk as much again as what is pending.
///
/// ```
/// use tickwheel_engine::{Engine, store};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let dir = tempfile::tempdir()?;
/// # let data_dir = dir.path();
/// # let start = |shards| Engine::builder().data_dir(data_dir).shards(shards).segment_bytes(8 << 20).start();
/// start(1)?.shutdown(std::time::Duration::ZERO)?;
/// assert!(start(2).is_err());
/// let resharding = store::reshard(data_dir, 2, &mut ())?;
/// assert_eq!((resharding.from, resharding.to), (1, 2));
/// start(2)?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`StoreError::InUse`] if an engine runs there, [`StoreError::NeedsRepair`] if a log is damaged,
/// [`StoreError::NotResharded`] if it cannot be done: then nothing was changed. After
/// [`StoreError::ReshardStopped`] call it again.
pub fn reshard(
    dir: &Path,
    shards: usize,
    progress: &mut dyn Progress,
) -> Result<Resharding, StoreError> {
    if !(1..=SHARDS_MAX).contains(&shards) {
        return Err(refused(dir, format!("{shards} is not a number from 1 to {SHARDS_MAX}")));
    }
    let _alone = claim(dir)?;
    let finished = swap::finish_begun(dir)?;
    let store = Store::open(dir)?;
    check_layout(&store)?;
    let from = store.shards.len();
    let done = match from == shards {
        true => None,
        false => Some(reshard_all(&store, shards, progress)?),
    };
    Ok(Resharding { dir: dir.to_owned(), from, to: shards, finished, done })
}

/// Keeps engines from starting on `dir`, and others from changing it in this way.
fn claim(dir: &Path) -> Result<File, StoreError> {
    let lock = File::open(dir).map_err(|e| io_error("open", dir, e))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => {
            let holder = "an engine that starts, or another `tickwheel reshard`".to_owned();
            Err(StoreError::InUse { dir: dir.to_owned(), holder })
        }
        Err(TryLockError::Error(error)) => Err(io_error("lock", dir, error)),
    }
}

/// The folders of the shards are all there, no others are, and each can be moved by its name.
fn check_layout(store: &Store) -> Result<(), StoreError> {
    let dir = &store.dir;
    if !store.is_data_dir {
        let reason = "it is the log of one shard: name the data directory, with its file SHARDS";
        return Err(refused(dir, reason));
    }
    if let Some(concern) = store.concerns.first() {
        return Err(refused(dir, format!("{concern}; bring it back, or restore a backup")));
    }
    let count = data_dir::read_count(dir).map_err(|e| io_error("read", dir, e))?;
    if count != Some(store.shards.len()) {
        let more = store.shards.len();
        let reason =
            format!("it has {more} folders of shards, more than SHARDS says: move them away");
        return Err(refused(dir, reason));
    }
    let device = |path: &Path| fs::symlink_metadata(path).map(|it| (it.is_dir(), it.dev()));
    let home = fs::metadata(dir).map_err(|e| io_error("read", dir, e))?.dev();
    for shard in &store.shards {
        if device(shard).map_err(|e| io_error("read", shard, e))? != (true, home) {
            let shard = shard.display();
            let reason = format!(
                "{shard} is a link, or a file system of its own: move it to a plain folder"
            );
            return Err(refused(dir, reason));
        }
    }
    Ok(())
}

fn reshard_all(
    store: &Store,
    shards: usize,
    progress: &mut dyn Progress,
) -> Result<Resharded, StoreError> {
    let Written { swap, sources: _old, new, moved } = write_all(store, shards, progress)?;
    // The locks of the old logs and of the new ones are held until all are in their places.
    let originals = swap.carry_out()?;
    let shards = new.iter().map(|new| new.counts).collect();
    Ok(Resharded { moved_ids: originals.join(MOVED_IDS), originals, moved, shards })
}

/// New logs that are whole, and not in their places.
struct Written {
    swap: Swap,
    sources: Vec<Source>,
    new: Vec<New>,
    moved: u64,
}

fn write_all(
    store: &Store,
    shards: usize,
    progress: &mut dyn Progress,
) -> Result<Written, StoreError> {
    let (logs, empty) = store.lock()?;
    let without_log = empty.first().or(store.shards.first().filter(|_| logs.is_empty()));
    if let Some(shard) = without_log {
        let shard = shard.display();
        let reason = format!("{shard} holds no log: start the server once, or restore a backup");
        return Err(refused(&store.dir, reason));
    }
    // One reading of the clocks for all: so a due time comes out as it went in.
    let now = clock::now();
    let mut sources = Vec::with_capacity(logs.len());
    for (number, files) in logs.into_iter().enumerate() {
        if files.shard() != Some(number as u16) {
            let reason = format!("{} holds the log of another shard", files.dir().display());
            return Err(refused(&store.dir, reason));
        }
        sources.push(Source::read(files, now, progress)?);
    }
    // Their ids name each other, and some would change.
    if sources.iter().any(|source| source.core.batches() > 0 || source.core.is_any_blocked()) {
        let reason = "jobs wait for others, or there are batches: let them end, then try again (a \
                      batch is held for an hour after its end)";
        return Err(refused(&store.dir, reason));
    }
    let swap = Swap::prepare(&store.dir, store.shards.len(), shards)?;
    match write(&store.dir, &mut sources, &swap, shards, now, progress) {
        Ok((new, moved)) => Ok(Written { swap, sources, new, moved }),
        Err(error) => {
            swap.give_up();
            Err(error)
        }
    }
}

/// The log of one of the old shards, and what it holds.
struct Source {
    files: LogFiles,
    core: Scheduler,
    verdict: ShardVerdict,
    /// No job of this shard has had this number or a higher one.
    next_sequence: u64,
    /// Epoch of its last opening.
    epoch: u64,
}

impl Source {
    fn read(files: LogFiles, now: Now, progress: &mut dyn Progress) -> Result<Self, StoreError> {
        let (verdict, core) = examine_shard(&files, now, progress)?;
        let Some(report) = verdict.log.report.as_ref().filter(|_| !verdict.needs_repair()) else {
            return Err(StoreError::NeedsRepair { dir: files.dir().to_owned() });
        };
        let epoch = report.epoch;
        let next_sequence = sequence_after(core.next_sequence(), epoch);
        Ok(Self { files, core, verdict, next_sequence, epoch })
    }
}

/// A new log that was checked.
struct New {
    counts: Counts,
    _lock: LogFiles,
}

/// Writes the new logs and checks them; also how many jobs have a new id.
fn write(
    dir: &Path,
    sources: &mut [Source],
    swap: &Swap,
    shards: usize,
    now: Now,
    progress: &mut dyn Progress,
) -> Result<(Vec<New>, u64), StoreError> {
    let mut movement = Movement::begin(dir, sources, swap, shards)?;
    for (number, source) in sources.iter_mut().enumerate() {
        movement.take(number, source, now, progress)?;
    }
    let (targets, moved) = movement.end(sources, now)?;
    let mut new = Vec::with_capacity(targets.len());
    for (number, expected) in targets.into_iter().enumerate() {
        let lock = LogFiles::lock(&swap.new_dir(number))?;
        let verdict = verify_shard(&lock, progress)?;
        let (Some(counts), false) = (verdict.counts, verdict.is_damaged()) else {
            let reason = match verdict.unapplied.first() {
                Some(event) => event.reason.clone(),
                None => format!("{verdict:?}"),
            };
            return Err(refused(dir, format!("shard {number} would not start: {reason}")));
        };
        // Which jobs are due is not written.
        if (Counts { ready: 0, ..counts }) != expected {
            let reason = format!("shard {number} would hold {counts:?} and not {expected:?}");
            return Err(refused(dir, reason));
        }
        new.push(New { counts, _lock: lock });
    }
    Ok((new, moved))
}

fn refused(dir: &Path, reason: impl Into<String>) -> StoreError {
    StoreError::NotResharded { dir: dir.to_owned(), reason: reason.into() }
}
