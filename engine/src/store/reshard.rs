//! Changes the number of shards of a data directory: each job and schedule is read from its log and
//! written to the log of the shard where an engine with the new number looks for it.
//!
//! The new logs are written and checked in a folder of their own. `swap` then puts them in the place
//! of the old ones, which are kept. This file must not know how.

mod swap;
#[cfg(test)]
mod tests;

use std::{
    fs::{self, File, TryLockError},
    io::{self, BufWriter, Write},
    ops::ControlFlow,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use tickwheel_core::{
    Cleaned, JobId, Journal, Lsn as CoreLsn, NoRoom, Now, Position, Scheduler, ShardId,
    event::{Event, KeptState},
    limits::JOBS_MAX,
};
use tickwheel_wal::{
    Log,
    inspect::{EntryKind, Item, LogFiles},
};

use super::{
    Lsn, Progress, ShardVerdict, Store, StoreError,
    draft::{Draft, sequence_after},
    read::Track,
    repair::io_error,
    verify::{examine_shard, verify_shard},
};
use crate::{
    Counts, clock, data_dir,
    limits::SHARDS_MAX,
    route::{shard_of_key, shard_of_name},
};
use swap::Swap;

/// Lies beside the logs that were replaced: the ids of the jobs that have another one now.
pub(super) const MOVED_IDS: &str = "moved-ids.tsv";

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
/// shard now, it has a new id, and is not found by the old one any more. A paused queue is paused in
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
/// [`StoreError::ReshardUnfinished`] call it again.
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
}

impl Source {
    fn read(files: LogFiles, now: Now, progress: &mut dyn Progress) -> Result<Self, StoreError> {
        let (verdict, core) = examine_shard(&files, now, progress)?;
        let Some(report) = verdict.log.report.as_ref().filter(|_| !verdict.needs_repair()) else {
            return Err(StoreError::NeedsRepair { dir: files.dir().to_owned() });
        };
        let next_sequence = sequence_after(core.next_sequence(), report.epoch);
        Ok(Self { files, core, verdict, next_sequence })
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

/// One of the new shards, as it is written.
struct Target {
    draft: Draft,
    next_sequence: u64,
    /// What it holds so far, with the totals of the old shard that goes on in it.
    counts: Counts,
}

/// Jobs and schedules on their way from the old shards to the new ones.
struct Movement {
    dir: PathBuf,
    targets: Vec<Target>,
    /// Which of them gets the next job that may go anywhere.
    turn: usize,
    moved_ids: BufWriter<File>,
    moved_ids_path: PathBuf,
    moved: u64,
    capture: Capture,
}

impl Movement {
    fn begin(
        dir: &Path,
        sources: &[Source],
        swap: &Swap,
        shards: usize,
    ) -> Result<Self, StoreError> {
        // Above all numbers of all shards: a shard that is made now may have been there before, and
        // one that goes now may come again.
        let next = sources.iter().map(|source| source.next_sequence).max().unwrap_or(1);
        let bytes = sources.iter().map(|source| source.files.segment_bytes()).max().unwrap_or(0);
        let mut targets = Vec::with_capacity(shards);
        for number in 0..shards {
            let dir = swap.new_dir(number);
            let draft = Draft::create(&dir, number as u16, bytes)
                .map_err(|error| io_error("begin a log in", &dir, io::Error::other(error)))?;
            targets.push(Target { draft, next_sequence: next, counts: Counts::default() });
        }
        for (number, source) in sources.iter().enumerate() {
            let counts = &mut targets[number % shards].counts;
            let Counts { succeeded, dead, cancelled, failed_attempts, .. } = source.core.counts();
            let ended = Counts { succeeded, dead, cancelled, failed_attempts, ..Counts::default() };
            *counts = counts.plus(ended);
        }
        let moved_ids_path = swap.originals().join(MOVED_IDS);
        let moved_ids = File::create(&moved_ids_path).map(BufWriter::new);
        let moved_ids = moved_ids.map_err(|e| io_error("make", &moved_ids_path, e))?;
        let (dir, capture) = (dir.to_owned(), Capture::default());
        Ok(Self { dir, targets, turn: 0, moved_ids, moved_ids_path, moved: 0, capture })
    }

    /// Writes all that the old shard `number` holds to the new logs.
    fn take(
        &mut self,
        number: usize,
        source: &mut Source,
        now: Now,
        progress: &mut dyn Progress,
    ) -> Result<(), StoreError> {
        let Source { files, core, verdict, .. } = source;
        let head = verdict.log.report.as_ref().map_or(Lsn(0), |report| report.head);
        let end = verdict.log.end;
        let mut track = Track::begin(files, "moving", progress);
        let mut failed = None;
        files.walk(head, &mut |item| {
            let Item::Record(entry) = item else { return ControlFlow::Continue(()) };
            // What may lie behind the end belongs to the torn tail.
            if entry.lsn >= end {
                return ControlFlow::Break(());
            }
            track.at(entry.end);
            if entry.kind != EntryKind::Data {
                return ControlFlow::Continue(());
            }
            match self.take_record(number, core, now, (entry.lsn, entry.payload)) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            }
        })?;
        failed.map_or(Ok(()), Err)
    }

    /// Writes what the record at a position of the old shard `number` is still needed for.
    fn take_record(
        &mut self,
        number: usize,
        core: &mut Scheduler,
        now: Now,
        (lsn, content): (Lsn, &[u8]),
    ) -> Result<(), StoreError> {
        // The scheduler writes it again as it is now, as it does when a log is cleaned.
        let cleaned = core.clean(now, CoreLsn(lsn.0), content, &mut self.capture);
        match cleaned {
            Ok(Cleaned::Dead) => return Ok(()),
            Ok(Cleaned::Moved { .. }) => {}
            Ok(Cleaned::NoRoom) => unreachable!("a capture always has room"),
            Err(error) => return Err(refused(&self.dir, error.to_string())),
        }
        let capture = std::mem::take(&mut self.capture);
        let routed = match Event::decode(&capture.event) {
            Ok((event, payload)) => self.route(number, event, payload),
            Err(error) => Err(refused(&self.dir, error.to_string())),
        };
        self.capture = capture;
        routed
    }

    /// Writes an event that holds a job or schedule to the log of its new shard.
    fn route(
        &mut self,
        number: usize,
        mut event: Event<'_>,
        payload: &[u8],
    ) -> Result<(), StoreError> {
        let shards = self.targets.len();
        let to = match &mut event {
            Event::Kept(kept) => {
                let by_schedule = kept.schedule.map(|name| shard_of_name(name, shards));
                let to = match kept.job.terms.key {
                    Some(key) => shard_of_key(key, shards),
                    None => by_schedule.unwrap_or_else(|| self.keep_or_turn(number)),
                };
                // A shard knows the schedules that it has.
                kept.schedule = kept.schedule.filter(|_| by_schedule == Some(to));
                self.give_id(&mut kept.job.job, to)?;
                let counts = &mut self.targets[to].counts;
                count_job(counts, kept.state);
                if counts.pending > u64::from(JOBS_MAX) {
                    let reason = format!("shard {to} would hold more than {JOBS_MAX} jobs");
                    return Err(refused(&self.dir, reason));
                }
                to
            }
            Event::ScheduleKept { rule, .. } => {
                let to = shard_of_name(rule.name, shards);
                self.targets[to].counts.schedules += 1;
                to
            }
            // Queues are paused in all shards at the end.
            _ => return Ok(()),
        };
        self.write(to, &event, payload)
    }

    /// Where a job of the old shard `number` goes that may go anywhere.
    fn keep_or_turn(&mut self, number: usize) -> usize {
        if number < self.targets.len() {
            return number;
        }
        self.turn = (self.turn + 1) % self.targets.len();
        self.turn
    }

    /// Gives a job whose id names another shard than `to` an id of that shard, and notes it.
    fn give_id(&mut self, job: &mut u64, to: usize) -> Result<(), StoreError> {
        let old = JobId(*job);
        if usize::from(old.shard().0) == to {
            return Ok(());
        }
        let target = &mut self.targets[to];
        let new = JobId::new(ShardId(to as u8), target.next_sequence);
        target.next_sequence += 1;
        *job = new.0;
        self.moved += 1;
        writeln!(self.moved_ids, "{old}\t{new}")
            .map_err(|e| io_error("write", &self.moved_ids_path, e))
    }

    fn write(&mut self, to: usize, event: &Event<'_>, payload: &[u8]) -> Result<(), StoreError> {
        let draft = &mut self.targets[to].draft;
        draft.append(event, payload).map_err(|e| io_error("write", draft.dir(), e))
    }

    /// Ends the logs and the list; what each log holds, and how many jobs have a new id.
    fn end(mut self, sources: &[Source], now: Now) -> Result<(Vec<Counts>, u64), StoreError> {
        let mut paused: Vec<Box<str>> = Vec::new();
        for queue in sources.iter().flat_map(|source| source.core.queues()) {
            if queue.paused && !paused.contains(&queue.name) {
                paused.push(queue.name);
            }
        }
        let at = now.wall.0;
        for to in 0..self.targets.len() {
            for name in &paused {
                self.write(to, &Event::QueueSet { at, name, paused: true }, &[])?;
            }
            let Target { next_sequence, counts, .. } = &mut self.targets[to];
            let Counts { succeeded, dead, cancelled, failed_attempts, pending, .. } = *counts;
            let added = pending + succeeded + dead + cancelled;
            counts.added = added;
            let next_sequence = *next_sequence;
            let base = Event::Base {
                at,
                next_sequence,
                added,
                succeeded,
                dead,
                cancelled,
                failed_attempts,
            };
            self.write(to, &base, &[])?;
        }
        let mut all = Vec::with_capacity(self.targets.len());
        for Target { draft, counts, .. } in self.targets {
            let dir = draft.dir().to_owned();
            draft.close().map_err(|e| io_error("end the log in", &dir, io::Error::other(e)))?;
            all.push(counts);
        }
        let synced = self.moved_ids.flush().and_then(|()| self.moved_ids.get_ref().sync_all());
        synced.map_err(|e| io_error("write", &self.moved_ids_path, e))?;
        Ok((all, self.moved))
    }
}

/// A journal that holds one event: the last one.
#[derive(Default)]
struct Capture {
    event: Vec<u8>,
}

impl Journal for Capture {
    fn available_bytes(&self) -> u64 {
        u64::MAX
    }

    fn shortage(&self) -> NoRoom {
        NoRoom::Full
    }

    fn record_bytes(&self, len_bytes: usize) -> u64 {
        Log::record_bytes(len_bytes)
    }

    fn append(&mut self, head: &[u8], payload: &[u8]) -> Position {
        self.event.clear();
        self.event.extend_from_slice(head);
        self.event.extend_from_slice(payload);
        // No record of the log lies there: what was taken once is not taken again.
        let nowhere = CoreLsn(u64::MAX);
        Position { lsn: nowhere, end: nowhere }
    }
}

/// One more job in this state.
fn count_job(counts: &mut Counts, state: KeptState) {
    counts.pending += 1;
    match state {
        KeptState::Scheduled | KeptState::Ready => {}
        KeptState::Running { .. } => counts.running += 1,
        KeptState::Fetched { .. } => {
            counts.running += 1;
            counts.fetched += 1;
        }
    }
}

fn refused(dir: &Path, reason: impl Into<String>) -> StoreError {
    StoreError::NotResharded { dir: dir.to_owned(), reason: reason.into() }
}
