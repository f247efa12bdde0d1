//! Makes a damaged log one that opens again: what can still be read is applied, as far as it makes
//! sense without what is lost, and the state that comes out is written to a new log.
//!
//! The new log is built in a folder beside the damaged one and checked there. Then the two change
//! places in one step, so that at any moment one of them is in place, whole. The damaged files are
//! kept under the other name.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    ops::ControlFlow,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
    time::SystemTime,
};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use tickwheel_core::{
    JobId, JobState, Lsn as CoreLsn, Scheduler,
    event::{Attempts, Event, KeptState},
};
use tickwheel_wal::inspect::{EntryKind, Item, LogFiles};

use super::{
    Damage, Lsn, Progress, ShardVerdict, Store, StoreError, Unapplied,
    draft::{Draft, sequence_after},
    read::Track,
    verify::{failure, scheduler, verify_shard},
};
use crate::{Counts, clock, history};

/// Lies in a folder of a repair that is not finished: such a folder can be removed.
const UNFINISHED: &str = "UNFINISHED";
/// Whether a repair is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RepairMode {
    /// Only say what it would do; nothing is changed.
    Plan,
    /// Do it.
    Repair,
}

/// What a repair did, or would do, to the log of one shard.
#[derive(Debug)]
#[non_exhaustive]
pub struct ShardRepair {
    /// The directory of the log.
    pub dir: PathBuf,
    /// The shard, if a header tells.
    pub shard: Option<u16>,
    /// What was done.
    pub outcome: RepairOutcome,
    /// Ranges of the log that are lost, in order. Each was one record or more.
    pub lost: Vec<Damage>,
    /// Whole records whose events do not apply without what is lost, in order.
    pub skipped: Vec<Unapplied>,
    /// Whole records that were read.
    pub events: u64,
    /// What the repaired log holds.
    pub counts: Option<Counts>,
    /// Snapshots that are put aside. The log needs none.
    pub snapshots: Vec<PathBuf>,
}

/// What a repair did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RepairOutcome {
    /// There was nothing to repair.
    Sound,
    /// There is something to repair, and nothing was changed.
    Planned,
    /// It was repaired; what was there before lies in this folder.
    Repaired {
        /// The folder with the damaged files.
        originals: PathBuf,
    },
}

impl Store {
    /// Repairs the damaged ones of the logs, or says what that would do.
    ///
    /// Each job whose adding can still be read is in the repaired log. A job may be in an earlier
    /// state than it was, if what came later is lost: it may run again. An attempt that was under
    /// way is lost, as after a crash.
    ///
    /// # Errors
    /// See [`StoreError`]. The log of each shard is then as it was, or repaired.
    pub fn repair(
        &self,
        mode: RepairMode,
        progress: &mut dyn Progress,
    ) -> Result<Vec<ShardRepair>, StoreError> {
        let (logs, _) = self.lock()?;
        logs.into_iter().map(|files| repair_shard(&files, mode, progress)).collect()
    }
}

fn repair_shard(
    files: &LogFiles,
    mode: RepairMode,
    progress: &mut dyn Progress,
) -> Result<ShardRepair, StoreError> {
    if files.shard() == Some(history::HISTORY_SHARD) {
        let dir = files.dir().to_owned();
        let reason = "it is a history, which the next start sets aside if it is damaged".to_owned();
        return Err(StoreError::Unrepairable { dir, reason });
    }
    let verdict = verify_shard(files, progress)?;
    let mut repair = ShardRepair {
        dir: files.dir().to_owned(),
        shard: files.shard(),
        outcome: RepairOutcome::Sound,
        lost: Vec::new(),
        skipped: Vec::new(),
        events: verdict.events,
        counts: verdict.counts,
        snapshots: Vec::new(),
    };
    if verdict.needs_repair() {
        let mut salvage = Salvage::read(files, progress)?;
        repair.lost = verdict.log.damage.clone();
        repair.skipped = std::mem::take(&mut salvage.skipped);
        repair.events = salvage.events;
        repair.counts = Some(salvage.core.counts());
        repair.snapshots = snapshot_paths(files, |_| true)?;
        repair.outcome = match mode {
            RepairMode::Plan => RepairOutcome::Planned,
            RepairMode::Repair => {
                RepairOutcome::Repaired { originals: salvage.rebuild(files, progress)? }
            }
        };
    } else if verdict.is_damaged() {
        repair.snapshots = snapshot_paths(files, |lsn| is_bad(&verdict, lsn))?;
        repair.outcome = match mode {
            RepairMode::Plan => RepairOutcome::Planned,
            RepairMode::Repair => {
                RepairOutcome::Repaired { originals: put_aside(files.dir(), &repair.snapshots)? }
            }
        };
    }
    Ok(repair)
}

fn is_bad(verdict: &ShardVerdict, lsn: Lsn) -> bool {
    verdict.bad_snapshots.iter().any(|bad| bad.0 == lsn)
        || verdict.log.snapshots.iter().any(|check| check.lsn == lsn && check.result.is_err())
}

fn snapshot_paths(
    files: &LogFiles,
    is_wanted: impl Fn(Lsn) -> bool,
) -> Result<Vec<PathBuf>, StoreError> {
    let all = files.snapshots()?.into_iter().filter(|lsn| is_wanted(*lsn));
    Ok(all.map(|lsn| files.snapshot_path(lsn)).collect())
}

/// What can still be read of a log, applied.
struct Salvage {
    core: Scheduler,
    head: Lsn,
    epoch: u64,
    events: u64,
    next_sequence: u64,
    skipped: Vec<Unapplied>,
    /// Jobs of which an event does not apply: what follows on it does not hold for them either.
    unsure: BTreeSet<JobId>,
}

impl Salvage {
    fn read(files: &LogFiles, progress: &mut dyn Progress) -> Result<Self, StoreError> {
        // The head is known at the end of a walk only.
        let survey = files.walk(Lsn(0), &mut |_| ControlFlow::Continue(()))?;
        let mut salvage = Salvage {
            core: scheduler(files),
            head: survey.head,
            epoch: survey.epoch,
            events: 0,
            next_sequence: 1,
            skipped: Vec::new(),
            unsure: BTreeSet::new(),
        };
        // Events that name what a cut of the head took along: no loss if a base follows.
        let mut unknown: Vec<Unapplied> = Vec::new();
        let mut track = Track::begin(files, "salvaging", progress);
        files.walk(survey.head, &mut |item| {
            if let Item::Record(entry) = item {
                track.at(entry.end);
                if entry.kind == EntryKind::Data {
                    salvage.apply(entry.lsn, entry.payload, &mut unknown);
                }
            }
            ControlFlow::Continue(())
        })?;
        salvage.skipped.append(&mut unknown);
        salvage.skipped.sort_by_key(|skipped| skipped.lsn);
        if let Err(error) = salvage.core.replayed()
            && salvage.skipped.is_empty()
        {
            let (event, reason) = ("all events".to_owned(), error.to_string());
            salvage.skipped.push(Unapplied { lsn: None, event, reason });
        }
        Ok(salvage)
    }

    fn apply(&mut self, lsn: Lsn, content: &[u8], unknown: &mut Vec<Unapplied>) {
        self.events += 1;
        let mut named = Vec::new();
        let refused = match Event::decode(content) {
            Err(error) => Some(error.to_string()),
            Ok((event, list)) => {
                named = jobs_named(&event, list);
                self.note_numbers(&event);
                if matches!(event, Event::Base { .. }) {
                    unknown.clear();
                }
                for job in named.iter().filter(|job| self.core.job(**job).is_none()) {
                    unknown.push(failure(lsn, content, &format!("job {job} is not there")));
                }
                self.disagrees(&event).map(str::to_owned)
            }
        };
        let refused = refused.or_else(|| {
            self.core.replay(CoreLsn(lsn.0), content).err().map(|error| error.to_string())
        });
        if let Some(reason) = refused {
            self.unsure.extend(named);
            self.skipped.push(failure(lsn, content, &reason));
        }
    }

    /// Job numbers that were given out.
    fn note_numbers(&mut self, event: &Event<'_>) {
        let next = match event {
            Event::Added(job) | Event::ScheduleFired { job: Some(job), .. } => {
                JobId(job.job).sequence() + 1
            }
            Event::Kept(kept) => JobId(kept.job.job).sequence() + 1,
            Event::BatchPut { batch, .. } => JobId(batch.batch).sequence() + 1,
            Event::Base { next_sequence, .. } => *next_sequence,
            _ => return,
        };
        self.next_sequence = self.next_sequence.max(next);
    }

    /// Why a job that was written again whole is not taken from there: what led to its state
    /// is lost, and it is held in an earlier one.
    fn disagrees(&self, event: &Event<'_>) -> Option<&'static str> {
        let Event::Kept(kept) = event else { return None };
        let held = self.core.job(JobId(kept.job.job))?;
        let was_running =
            matches!(kept.state, KeptState::Running { .. } | KeptState::Fetched { .. });
        let is_sure = !self.unsure.contains(&held.id);
        let agrees = is_sure
            && held.attempts == kept.attempt
            && (held.state == JobState::Running) == was_running
            && (held.state == JobState::Dead) == matches!(kept.state, KeptState::Dead { .. });
        (!agrees)
            .then_some("the events that led to this are lost; the job is kept as it was before")
    }

    /// Writes the state to a new log, checks it and puts it in place; the folder of the originals.
    fn rebuild(
        mut self,
        files: &LogFiles,
        progress: &mut dyn Progress,
    ) -> Result<PathBuf, StoreError> {
        let dir = files.dir().canonicalize().map_err(|e| io_error("find", files.dir(), e))?;
        remove_unfinished(&dir).map_err(|e| io_error("remove an old repair beside", &dir, e))?;
        let draft = begin_beside(&dir)?;
        let written = self.write(files, &draft, progress).and_then(|()| self.check(&draft));
        if let Err(error) = written {
            // Nothing was changed yet; an unfinished folder that stays is removed by the next repair.
            let _ = fs::remove_dir_all(&draft);
            return Err(error);
        }
        let finished = fs::remove_file(draft.join(UNFINISHED)).and_then(|()| sync_dir(&draft));
        finished.map_err(|e| io_error("finish", &draft, e))?;
        exchange(&draft, &dir)?;
        Ok(draft)
    }

    fn write(
        &mut self,
        files: &LogFiles,
        draft: &Path,
        progress: &mut dyn Progress,
    ) -> Result<(), StoreError> {
        let (shard, bytes) = (files.shard().unwrap_or(0), files.segment_bytes());
        let mut new = Draft::create(draft, shard, bytes, self.epoch)
            .map_err(|error| unrepairable(draft, &error))?;
        let mut failed = None;
        let mut track = Track::begin(files, "writing", progress);
        files.walk(self.head, &mut |item| {
            let Item::Record(entry) = item else { return ControlFlow::Continue(()) };
            track.at(entry.end);
            if entry.kind != EntryKind::Data {
                return ControlFlow::Continue(());
            }
            match new.keep(&mut self.core, entry.lsn, entry.payload) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            }
        })?;
        if let Some(error) = failed {
            return Err(io_error("write", draft, error));
        }
        // Totals that fit what is held, and a number for the next job that no lost one had.
        let next_sequence = sequence_after(self.next_sequence, self.epoch);
        let (totals, base) = self.core.counts().base(clock::now().wall, next_sequence);
        for event in totals.iter().chain([&base]) {
            new.append(event, &[]).map_err(|e| io_error("write", draft, e))?;
        }
        new.close().map_err(|error| unrepairable(draft, &error))
    }

    /// The new log must open without a fault and hold what was salvaged.
    fn check(&self, draft: &Path) -> Result<(), StoreError> {
        let verdict = verify_shard(&LogFiles::lock(draft)?, &mut ())?;
        let expected = self.core.counts();
        let agrees = verdict.counts.is_some_and(|counts| {
            let held = |counts: &Counts| (counts.pending, counts.buried, counts.schedules);
            held(&counts) == held(&expected)
        });
        if verdict.is_damaged() || !agrees {
            let reason = format!("the new log does not hold what was salvaged: {verdict:?}");
            return Err(StoreError::Unrepairable { dir: draft.to_owned(), reason });
        }
        Ok(())
    }
}

/// The jobs that an event, followed by `list`, takes for granted.
fn jobs_named(event: &Event<'_>, list: &[u8]) -> Vec<JobId> {
    match event {
        Event::Started { job, .. }
        | Event::Succeeded { job, .. }
        | Event::Failed { job, .. }
        | Event::Cancelled { job, .. }
        | Event::Expired { job, .. }
        | Event::Buried { job, .. }
        | Event::NeedSettled { job, .. }
        | Event::Extended { job, .. }
        | Event::Released { job, .. } => vec![JobId(*job)],
        Event::StartedMany { count, .. }
        | Event::SucceededMany { count, .. }
        | Event::Changed { count, .. }
        | Event::Fetched { count, .. } => {
            Attempts::new(*count, list).map_while(Result::ok).map(|listed| listed.job).collect()
        }
        _ => Vec::new(),
    }
}

/// The name beside `dir` under which its originals are kept.
fn beside(dir: &Path, rest: &str) -> PathBuf {
    let mut name = dir.file_name().unwrap_or_default().to_owned();
    name.push(format!(".repair-{rest}"));
    dir.with_file_name(name)
}

/// Makes the folder of a repair, which is marked as not finished.
fn begin_beside(dir: &Path) -> Result<PathBuf, StoreError> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let mode = fs::metadata(dir).map_err(|e| io_error("read", dir, e))?.mode() & 0o7777;
    let mut seconds = now.as_secs();
    let draft = loop {
        let draft = beside(dir, &seconds.to_string());
        match fs::DirBuilder::new().mode(mode).create(&draft) {
            // Another repair in the same second.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => seconds += 1,
            Err(error) => return Err(io_error("make", &draft, error)),
            Ok(()) => break draft,
        }
    };
    let marked = File::create(draft.join(UNFINISHED)).and_then(|marker| marker.sync_all());
    let marked = marked.and_then(|()| sync_dir(&draft)).and_then(|()| sync_parent(&draft));
    marked.map_err(|e| io_error("make", &draft, e))?;
    Ok(draft)
}

/// Removes folders of repairs that were cut off.
fn remove_unfinished(dir: &Path) -> io::Result<()> {
    let prefix = beside(dir, "");
    let prefix = prefix.file_name().unwrap_or_default().as_encoded_bytes();
    let Some(parent) = dir.parent() else { return Ok(()) };
    for entry in fs::read_dir(parent)? {
        let entry = entry?;
        let is_repair = entry.file_name().as_encoded_bytes().starts_with(prefix);
        if is_repair && entry.path().join(UNFINISHED).exists() {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// Puts the new log in place and the originals where it was, durably.
fn exchange(draft: &Path, dir: &Path) -> Result<(), StoreError> {
    let exchanged = renameat_with(CWD, draft, CWD, dir, RenameFlags::EXCHANGE);
    match exchanged {
        Ok(()) => sync_parent(dir).map_err(|e| io_error("sync", dir, e)),
        // The file system cannot: in two steps. Between them neither is in place.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS | rustix::io::Errno::OPNOTSUPP) => {
            let aside = beside(dir, "originals");
            fs::rename(dir, &aside).map_err(|e| io_error("move", dir, e))?;
            let placed = fs::rename(draft, dir).and_then(|()| fs::rename(&aside, draft));
            let placed = placed.and_then(|()| sync_parent(dir));
            placed.map_err(|source| StoreError::HalfMoved {
                dir: dir.to_owned(),
                originals: aside,
                repaired: draft.to_owned(),
                source,
            })
        }
        Err(error) => Err(io_error("exchange", dir, error.into())),
    }
}

/// Moves damaged snapshots into a folder beside the log, which does not need them.
fn put_aside(dir: &Path, snapshots: &[PathBuf]) -> Result<PathBuf, StoreError> {
    let dir = dir.canonicalize().map_err(|e| io_error("find", dir, e))?;
    let aside = begin_beside(&dir)?;
    let names: BTreeSet<_> = snapshots.iter().filter_map(|path| path.file_name()).collect();
    for name in names {
        let from = dir.join(name);
        fs::rename(&from, aside.join(name)).map_err(|e| io_error("move", &from, e))?;
    }
    let done = fs::remove_file(aside.join(UNFINISHED));
    let done = done.and_then(|()| sync_dir(&aside)).and_then(|()| sync_dir(&dir));
    done.map_err(|e| io_error("sync", &aside, e))?;
    Ok(aside)
}

pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

pub(super) fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_dir(parent),
        _ => sync_dir(Path::new(".")),
    }
}

pub(super) fn io_error(action: &'static str, path: &Path, source: io::Error) -> StoreError {
    StoreError::Io { action, path: path.to_owned(), source }
}

fn unrepairable(dir: &Path, error: &dyn std::error::Error) -> StoreError {
    StoreError::Unrepairable { dir: dir.to_owned(), reason: error.to_string() }
}
