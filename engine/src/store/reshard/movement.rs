//! Jobs and schedules on their way from the old shards to the new ones: where each goes, under which id,
//! and what the new logs come to hold.
//!
//! It must not know what becomes of the new logs.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufWriter, Write},
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use tickwheel_core::{
    Cleaned, JobId, Journal, Key, Lsn as CoreLsn, NoRoom, Now, Position, QueueLimits, Scheduler,
    ShardId,
    event::{Event, KeptState},
    limits::JOBS_MAX,
};
use tickwheel_wal::{
    Log,
    inspect::{EntryKind, Item},
};

use super::{
    super::{Lsn, Progress, StoreError, draft::Draft, read::Track, repair::io_error},
    MOVED_IDS, Source, refused,
    swap::Swap,
};
use crate::{
    Counts,
    route::{home_of_schedule, shard_of_group, shard_of_key, shard_of_name},
};

/// One of the new shards, as it is written.
struct Target {
    draft: Draft,
    next_sequence: u64,
    /// What it holds so far, with the totals of the old shard that goes on in it.
    counts: Counts,
}

/// Jobs and schedules on their way from the old shards to the new ones.
pub(super) struct Movement {
    dir: PathBuf,
    targets: Vec<Target>,
    /// Which of them gets the next job that may go anywhere.
    turn: usize,
    moved_ids: BufWriter<File>,
    moved_ids_path: PathBuf,
    moved: u64,
    /// Limits of the groups of queues, which are the same in all shards.
    of_groups: BTreeMap<Box<str>, QueueLimits>,
    capture: Capture,
}

impl Movement {
    pub(super) fn begin(
        dir: &Path,
        sources: &[Source],
        swap: &Swap,
        shards: usize,
    ) -> Result<Self, StoreError> {
        // Above all numbers and epochs of all shards: a shard that is made now may have been there before, and
        // one that goes now may come again.
        let next = sources.iter().map(|source| source.next_sequence).max().unwrap_or(1);
        let bytes = sources.iter().map(|source| source.files.segment_bytes()).max().unwrap_or(0);
        let epoch = sources.iter().map(|source| source.epoch).max().unwrap_or(0);
        let mut targets = Vec::with_capacity(shards);
        for number in 0..shards {
            let dir = swap.new_dir(number);
            let draft = Draft::create(&dir, number as u16, bytes, epoch)
                .map_err(|error| io_error("begin a log in", &dir, io::Error::other(error)))?;
            targets.push(Target { draft, next_sequence: next, counts: Counts::default() });
        }
        for (number, source) in sources.iter().enumerate() {
            let counts = &mut targets[number % shards].counts;
            let Counts { succeeded, dead, cancelled, expired, failed_attempts, .. } =
                source.core.counts();
            let ended = Counts {
                succeeded,
                dead,
                cancelled,
                expired,
                failed_attempts,
                ..Counts::default()
            };
            *counts = counts.plus(ended);
        }
        let moved_ids_path = swap.originals().join(MOVED_IDS);
        let moved_ids = File::create(&moved_ids_path).map(BufWriter::new);
        let moved_ids = moved_ids.map_err(|e| io_error("make", &moved_ids_path, e))?;
        let (dir, capture) = (dir.to_owned(), Capture::default());
        let of_groups = BTreeMap::new();
        let turn = 0;
        Ok(Self { dir, targets, turn, moved_ids, moved_ids_path, moved: 0, of_groups, capture })
    }

    /// Writes all that the old shard `number` holds to the new logs.
    pub(super) fn take(
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
        self.capture.clear();
        let cleaned = core.clean(now, CoreLsn(lsn.0), content, &mut self.capture);
        match cleaned {
            Ok(Cleaned::Dead) => return Ok(()),
            Ok(Cleaned::Moved { .. }) => {}
            Ok(Cleaned::NoRoom) => unreachable!("a capture always has room"),
            Err(error) => return Err(refused(&self.dir, error.to_string())),
        }
        let capture = std::mem::take(&mut self.capture);
        let routed = capture.events().try_for_each(|event| match Event::decode(event) {
            Ok((event, payload)) => self.route(number, core, event, payload),
            Err(error) => Err(refused(&self.dir, error.to_string())),
        });
        self.capture = capture;
        routed
    }

    /// Writes an event that holds a job or schedule to the log of its new shard.
    fn route(
        &mut self,
        number: usize,
        core: &Scheduler,
        mut event: Event<'_>,
        payload: &[u8],
    ) -> Result<(), StoreError> {
        let shards = self.targets.len();
        let to = match &mut event {
            Event::Kept(kept) => {
                let by_schedule = kept.schedule.map(|name| match core.schedule(name) {
                    Some(view) => home_of_schedule(&view.rule, shards),
                    None => shard_of_name(name, shards),
                });
                let terms = &kept.job.terms;
                let unique = terms.options.unique.map(|unique| unique.key);
                let by_group =
                    terms.options.group.map(|group| shard_of_group(terms.queue, group, shards));
                let to = match (by_group, unique.or(terms.key)) {
                    (Some(shard), _) => shard,
                    (None, Some(key)) => shard_of_key(key, shards),
                    (None, None) => by_schedule.unwrap_or_else(|| self.keep_or_turn(number)),
                };
                if unique.is_some_and(|key| shard_of_key(key, shards) != to) {
                    let job = JobId(kept.job.job);
                    let reason = format!(
                        "the group and the key of uniqueness of job {job} would lead to different \
                         shards: let it end, or choose another number of shards"
                    );
                    return Err(refused(&self.dir, reason));
                }
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
                let group = rule.terms.options.group;
                let to = match group {
                    Some(group) => shard_of_group(rule.terms.queue, group, shards),
                    None => shard_of_name(rule.name, shards),
                };
                self.targets[to].counts.schedules += 1;
                to
            }
            Event::UniqueKept { key, .. } => shard_of_key(Key(*key), shards),
            Event::GroupLimits { name, group, .. } => shard_of_group(name, group, shards),
            Event::GroupsLimits { name, limits, .. } => {
                self.of_groups.insert((*name).into(), *limits);
                return Ok(());
            }
            // Queues are paused and limited in all shards at the end.
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
    pub(super) fn end(
        mut self,
        sources: &[Source],
        now: Now,
    ) -> Result<(Vec<Counts>, u64), StoreError> {
        let mut paused: Vec<Box<str>> = Vec::new();
        let mut limited: BTreeMap<Box<str>, QueueLimits> = BTreeMap::new();
        let mut aging: BTreeMap<Box<str>, u32> = BTreeMap::new();
        for queue in sources.iter().flat_map(|source| source.core.queues()) {
            if queue.paused && !paused.contains(&queue.name) {
                paused.push(queue.name.clone());
            }
            if let Some(span_ms) = queue.aging_ms {
                aging.insert(queue.name.clone(), span_ms);
            }
            // Limits are the same in all shards.
            if queue.limits != QueueLimits::default() {
                limited.insert(queue.name, queue.limits);
            }
        }
        let at = now.wall.0;
        let of_groups = std::mem::take(&mut self.of_groups);
        for to in 0..self.targets.len() {
            for name in &paused {
                self.write(to, &Event::QueueSet { at, name, paused: true }, &[])?;
            }
            for (name, limits) in &limited {
                let event = Event::QueueLimits { at, name, limits: *limits, full_at: at };
                self.write(to, &event, &[])?;
            }
            for (name, span_ms) in &aging {
                let event = Event::QueueAging { at, name, span_ms: Some(*span_ms) };
                self.write(to, &event, &[])?;
            }
            for (name, limits) in &of_groups {
                self.write(to, &Event::GroupsLimits { at, name, limits: *limits }, &[])?;
            }
            let Target { next_sequence, counts, .. } = &mut self.targets[to];
            counts.added = counts.pending + counts.ended();
            let (totals, base) = counts.base(now.wall, *next_sequence);
            if let Some(totals) = totals {
                self.write(to, &totals, &[])?;
            }
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

/// A journal that holds what was written for one record: most often one event, and two where a dead job has
/// left a key of uniqueness that is still held.
#[derive(Default)]
struct Capture {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Capture {
    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    fn events(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| &self.bytes[start..*end])
    }
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
        self.bytes.extend_from_slice(head);
        self.bytes.extend_from_slice(payload);
        self.ends.push(self.bytes.len());
        // No record of the log lies there: what was taken once is not taken again.
        let nowhere = CoreLsn(u64::MAX);
        Position { lsn: nowhere, end: nowhere }
    }
}

/// One more job in this state.
fn count_job(counts: &mut Counts, state: KeptState<'_>) {
    counts.pending += u64::from(!matches!(state, KeptState::Dead { .. }));
    match state {
        KeptState::Dead { .. } => counts.buried += 1,
        KeptState::Scheduled | KeptState::Ready | KeptState::Blocked => {}
        KeptState::Running { .. } => counts.running += 1,
        KeptState::Fetched { .. } => {
            counts.running += 1;
            counts.fetched += 1;
        }
    }
}
