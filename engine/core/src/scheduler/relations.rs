//! Jobs that have to do with others: what is decided about keys of uniqueness, needs and batches.
//!
//! How the state changes is in `relate.rs`. The end of a job says there who is to be told; here, with the next
//! step of time, it is told: each time by an event of its own, whose effect is that it is not to be told any
//! more. So after a crash what was not told is told, and nothing is told twice.

use alloc::{string::String, sync::Arc};

use super::{
    Scheduler,
    decide::{Answered, refused},
    io::{Answer, Outputs},
    keep::Cleaned,
};
use crate::{
    batch::{
        BatchCounts, BatchEnd, BatchState, BatchView, Callback, Fired, Membership, NewBatch, Role,
    },
    event::{BatchWritten, Event, TermOptions, UniqueWritten, callback_bytes},
    id::{JobId, Key, Lsn},
    job::{
        Clock, Conflict, JobOptions, JobState, NewJob, Otherwise, Refusal, Unique, Until, When,
        unique::Held,
    },
    journal::Journal,
    limits,
    time::{Now, WallTime},
};

/// What becomes of a job that has to do with others.
pub(super) enum Related {
    /// It may be added.
    New {
        /// In the place of this one.
        replaces: Option<JobId>,
        /// It does not wait for these any more: they have ended as they have to.
        met: bool,
    },
    /// This one is what was asked for.
    Existing(JobId),
}

impl Scheduler {
    /// Adds a job that has to do with others, if it may be.
    pub(super) fn submit_related(
        &mut self,
        now: Now,
        job: &NewJob<'_>,
        options: &JobOptions,
        due: (WallTime, Clock),
        journal: &mut impl Journal,
        out: &mut Outputs,
    ) -> Answered {
        let (replaces, met) = match self.admit_related(now, options) {
            Ok(Related::New { replaces, met }) => (replaces, met),
            Ok(Related::Existing(holder)) => return (Answer::Existing(holder), Lsn(0)),
            Err(refusal) => return refused(refusal),
        };
        let left = met.then(|| self.needs_left(options));
        let job = match &left {
            Some(left) => &NewJob { options: Some(Arc::clone(left)), ..job.clone() },
            None => job,
        };
        self.add(now, job, replaces, due, journal, out)
    }

    /// Whether a job with these options may be added, and in the place of which one.
    pub(super) fn admit_related(&self, now: Now, options: &JobOptions) -> Result<Related, Refusal> {
        if let Some(membership) = options.batch {
            let id = membership.batch;
            let batch = self.batches.get(id).ok_or(Refusal::NoSuchBatch(id))?;
            let is_member = membership.role == Role::Member;
            if !is_member {
                return Err(Refusal::Relation("only a batch adds its callbacks"));
            }
            if batch.until.is_none() {
                return Err(Refusal::BatchClosed(id));
            }
        }
        let mut met = false;
        for need in options.needs.iter() {
            if self.is_live(need.job) {
                if self.waits.count(need.job) >= limits::WAITING_FOR_ONE_MAX {
                    return Err(Refusal::TooManyWaiting(need.job));
                }
            } else if !self.has_issued(need.job) {
                return Err(Refusal::NeedUnknown(need.job));
            } else if need.when == When::Done {
                met = true;
            } else {
                return Err(Refusal::NeedOver(need.job));
            }
        }
        let Some(unique) = options.unique else { return Ok(Related::New { replaces: None, met }) };
        match self.admit_unique(now, unique)? {
            Related::New { replaces: Some(job), .. }
                if options.needs.iter().any(|need| need.job == job) =>
            {
                Err(Refusal::Relation("a job cannot wait for the one whose place it takes"))
            }
            Related::New { replaces, .. } => Ok(Related::New { replaces, met }),
            existing => Ok(existing),
        }
    }

    fn admit_unique(&self, now: Now, unique: Unique) -> Result<Related, Refusal> {
        let free = Related::New { replaces: None, met: false };
        let held = self.uniques.find(unique.key);
        // A timer frees it at the next tick after its time.
        let held = held.filter(|held| held.until.is_none_or(|until| until > now.wall));
        let Some(Held { job, units, .. }) = held else {
            if unique.until == Until::Time && self.uniques.lasting() >= limits::UNIQUE_LASTING_MAX {
                return Err(Refusal::TooManyUniqueKeys);
            }
            return Ok(free);
        };
        // One that has ended may be in the table: it is dead, or was brought back without its key.
        let slot = self.table.find(job).filter(|_| units == 0);
        let state = slot.map(|slot| self.table.get(slot).state);
        match (unique.conflict, state) {
            (Conflict::Reject, _) | (Conflict::Replace, Some(JobState::Running)) => {
                Err(Refusal::NotUnique(job))
            }
            (Conflict::Existing, _) => Ok(Related::Existing(job)),
            (Conflict::Replace, Some(_)) => Ok(Related::New { replaces: Some(job), met: false }),
            (Conflict::Replace, None) => Ok(free),
        }
    }

    /// Whether a job has not ended.
    fn is_live(&self, job: JobId) -> bool {
        self.table.find(job).is_some_and(|slot| !self.table.get(slot).is_dead())
    }

    /// The needs of a job that has some, without those that have ended already.
    pub(super) fn needs_left(&self, options: &JobOptions) -> Arc<JobOptions> {
        let mut left = options.clone();
        for need in options.needs.iter() {
            if !self.is_live(need.job) {
                left.needs = left.needs.without(need.job);
            }
        }
        if left.needs.is_empty() {
            left.otherwise = Otherwise::default();
        }
        Arc::new(left)
    }

    /// The options of a job as they are written of it now.
    pub(super) fn options_now<'a>(
        &self,
        job: JobId,
        options: Option<&'a Arc<JobOptions>>,
    ) -> TermOptions<'a> {
        let Some(options) = options else { return TermOptions::default() };
        let written = TermOptions::of(options);
        let held = options.unique.and_then(|unique| {
            let held = self.uniques.find(unique.key).filter(|held| held.job == job)?;
            let free_at = held.until.map(|until| until.0);
            Some(UniqueWritten { key: unique.key, until: unique.until, free_at })
        });
        TermOptions { unique: held, ..written }
    }

    /// The job that holds `key` of uniqueness; it may have ended.
    #[must_use]
    pub fn holder_of(&self, key: Key) -> Option<JobId> {
        self.uniques.find(key).map(|held| held.job)
    }

    /// A batch.
    #[must_use]
    pub fn batch(&self, id: JobId) -> Option<BatchView> {
        self.batches.view(id)
    }

    /// Batches that are held, those included that are over and not forgotten.
    #[must_use]
    pub fn batches(&self) -> usize {
        self.batches.len()
    }

    /// Jobs that wait for others.
    #[must_use]
    pub fn is_any_blocked(&self) -> bool {
        !self.waits.is_empty()
    }

    pub(super) fn new_batch(
        &mut self,
        now: Now,
        batch: &NewBatch<'_>,
        journal: &mut impl Journal,
    ) -> Answered {
        let checked = batch.check().and_then(|()| self.admit_batch(batch));
        if let Err(refusal) = checked {
            return refused(refusal);
        }
        let id = JobId::new(self.config.shard, self.next_sequence);
        let callbacks = batch.callbacks.clone().map(|job| job.map(NewJob::into_owned));
        let state = BatchState {
            parent: batch.parent,
            description: (*batch.description).into(),
            created: now.wall,
            until: Some(WallTime(now.wall.0.saturating_add(limits::BATCH_OPEN_NS))),
            was_committed: false,
            forget: None,
            counts: BatchCounts::default(),
            callbacks: Arc::new(callbacks),
            body: Lsn(0),
            units: 0,
        };
        let payload = callback_bytes(&state.callbacks);
        let len_bytes = limits::BATCH_HEAD_BYTES_MAX + payload.len();
        if let Err(refusal) = self.room_for_new(journal, len_bytes) {
            return refused(refusal);
        }
        let batch = BatchWritten::of(id, &state);
        let event = Event::BatchPut { at: now.wall.0, is_new: true, batch };
        let position = self.commit(&event, &payload, journal).position;
        (Answer::Batch(id), position.end)
    }

    fn admit_batch(&self, batch: &NewBatch<'_>) -> Result<(), Refusal> {
        if self.batches.len() >= limits::BATCHES_MAX {
            return Err(Refusal::TooManyBatches);
        }
        if let Some(parent) = batch.parent {
            let state = self.batches.get(parent).ok_or(Refusal::NoSuchBatch(parent))?;
            if state.forget.is_some() || state.counts.last != Fired::No {
                return Err(Refusal::BatchClosed(parent));
            }
        }
        for job in batch.callbacks.iter().flatten() {
            if !self.kinds.has_room_for(&job.kind) {
                return Err(Refusal::TooManyKinds);
            }
            if !self.queues.has_room_for(&job.queue) {
                return Err(Refusal::TooManyQueues);
            }
        }
        Ok(())
    }

    /// Commits a batch, or opens it again.
    pub(super) fn set_batch(
        &mut self,
        now: Now,
        id: JobId,
        is_open: bool,
        journal: &mut impl Journal,
    ) -> Answered {
        let Some(state) = self.batches.get(id) else { return refused(Refusal::NoSuchBatch(id)) };
        if is_open && (state.forget.is_some() || state.counts.last != Fired::No) {
            return refused(Refusal::BatchClosed(id));
        }
        if !is_open && state.until.is_none() {
            return (Answer::Batch(id), Lsn(0));
        }
        if let Err(refusal) = self.room_for(journal, limits::START_BYTES_MAX) {
            return refused(refusal);
        }
        let until = is_open.then(|| now.wall.0.saturating_add(limits::BATCH_OPEN_NS));
        let event = Event::BatchSet { at: now.wall.0, batch: id.0, until };
        let position = self.commit(&event, &[], journal).position;
        (Answer::Batch(id), position.end)
    }

    /// Tells what has ended to whom it concerns, as far as there is room in the journal; `false` if something is
    /// left.
    pub(super) fn settle(&mut self, now: Now, journal: &mut impl Journal) -> bool {
        self.batches.touch_due(now.wall);
        // What is told may end further jobs.
        while !self.waits.is_settled() || !self.batches.is_settled() {
            if !self.settle_needs(now, journal) || !self.settle_batches(now, journal) {
                return false;
            }
        }
        true
    }

    pub(super) fn settle_needs(&mut self, now: Now, journal: &mut impl Journal) -> bool {
        self.tell_waiting(now, journal).is_ok()
    }

    /// Tells who waits of all that has ended.
    pub(super) fn tell_waiting(
        &mut self,
        now: Now,
        journal: &mut impl Journal,
    ) -> Result<(), Refusal> {
        while let Some((job, on, well)) = self.waits.next() {
            self.room_for(journal, limits::START_BYTES_MAX)?;
            let slot = self.table.find(job);
            let options = slot.and_then(|slot| self.options.of(slot));
            let need = options.and_then(|options| options.needs.iter().find(|need| need.job == on));
            let met = need.is_none_or(|need| match need.when {
                When::Succeeded => well,
                When::NotSucceeded => !well,
                When::Done => true,
            });
            let event = Event::NeedSettled { job: job.0, on: on.0, at: now.wall.0, met };
            self.commit(&event, &[], journal);
        }
        Ok(())
    }

    fn settle_batches(&mut self, now: Now, journal: &mut impl Journal) -> bool {
        while let Some(id) = self.batches.next_touched() {
            // Each turn writes something about it, or is the last.
            while let Some(step) = self.batches.get(id).and_then(|state| next_step(state, now.wall))
            {
                let done = match step {
                    Step::Fire(which) => self.fire_callback(now, id, which, journal),
                    Step::Commit => {
                        let event = Event::BatchSet { at: now.wall.0, batch: id.0, until: None };
                        self.write_small(&event, journal)
                    }
                    Step::Over(end) => {
                        let end = end.into();
                        let event = Event::BatchOver { at: now.wall.0, batch: id.0, end };
                        self.write_small(&event, journal)
                    }
                };
                if !done {
                    return false;
                }
            }
            self.batches.settle(id);
        }
        true
    }

    fn write_small(&mut self, event: &Event<'_>, journal: &mut impl Journal) -> bool {
        let has_room = self.room_for(journal, limits::START_BYTES_MAX).is_ok();
        if has_room {
            self.commit(event, &[], journal);
        }
        has_room
    }

    /// Adds a callback of a batch as a job.
    fn fire_callback(
        &mut self,
        now: Now,
        id: JobId,
        which: Callback,
        journal: &mut impl Journal,
    ) -> bool {
        let callbacks = self.batches.get(id).map(|state| Arc::clone(&state.callbacks));
        let Some(callbacks) = callbacks else { return true };
        let Some(job) = &callbacks[which as usize] else { return true };
        let len_bytes = limits::KEPT_HEAD_BYTES_MAX + job.payload.len();
        let has_room = !self.is_full() && self.room_for_new(journal, len_bytes).is_ok();
        if !has_room {
            return false;
        }
        let mut added = self.added(now, job, now.wall, Clock::Mono);
        added.terms.key = job.key.filter(|key| self.keys.find(*key).is_none());
        added.terms.options.batch = Some(Membership { batch: id, role: Role::Callback(which) });
        self.commit(&Event::Added(added), &job.payload, journal);
        true
    }

    /// Writes the numbers of batches that events about jobs have changed; `false` if there is no room.
    pub(super) fn write_batch_counts(&mut self, now: Now, journal: &mut impl Journal) -> bool {
        while let Some(id) = self.batches.next_dirty() {
            let Some(state) = self.batches.get(id) else { return true };
            let counts = state.counts.into();
            let event = Event::BatchCount { at: now.wall.0, batch: id.0, counts };
            if !self.write_small(&event, journal) {
                return false;
            }
        }
        true
    }

    pub(super) fn keep_batch(
        &mut self,
        now: Now,
        lsn: Lsn,
        id: JobId,
        journal: &mut impl Journal,
    ) -> Cleaned {
        let Some(state) = self.batches.get(id).filter(|state| state.body == lsn).cloned() else {
            return Cleaned::Dead;
        };
        let payload = callback_bytes(&state.callbacks);
        let need = journal.record_bytes(limits::BATCH_HEAD_BYTES_MAX + payload.len());
        let batch = BatchWritten::of(id, &state);
        let event = Event::BatchPut { at: now.wall.0, is_new: false, batch };
        self.keep(&event, &payload, need, journal)
    }

    /// Writes a key again that outlives the job that `lsn` holds.
    pub(super) fn keep_unique(
        &mut self,
        now: Now,
        lsn: Lsn,
        key: Key,
        journal: &mut impl Journal,
    ) -> Cleaned {
        let held = self.uniques.find(key).filter(|held| held.units > 0 && held.body == lsn);
        let Some(Held { job, until: Some(until), .. }) = held else { return Cleaned::Dead };
        let need = journal.record_bytes(limits::START_BYTES_MAX as usize);
        let event = Event::UniqueKept { at: now.wall.0, key: key.0, job: job.0, free_at: until.0 };
        self.keep(&event, &[], need, journal)
    }
}

/// What is to be done about a batch.
enum Step {
    Fire(Callback),
    Commit,
    Over(BatchEnd),
}

/// The next thing to be done about a batch at `now`, if there is one.
fn next_step(state: &BatchState, now: WallTime) -> Option<Step> {
    let counts = &state.counts;
    if let Some(forget) = state.forget {
        return (forget <= now).then_some(Step::Over(BatchEnd::Forgotten));
    }
    if let Some(until) = state.until {
        let is_over = until <= now;
        let step = if state.was_committed { Step::Commit } else { Step::Over(BatchEnd::Expired) };
        return is_over.then_some(step);
    }
    let has_complete = state.callback(Callback::Complete).is_some();
    match counts.complete {
        Fired::No if counts.unrun > 0 => return None,
        Fired::No if has_complete => return Some(Step::Fire(Callback::Complete)),
        Fired::Added => return None,
        Fired::No | Fired::Succeeded | Fired::Failed => {}
    }
    if counts.open > 0 {
        return None;
    }
    let is_well = counts.failed == 0 && counts.complete != Fired::Failed;
    let last = if is_well { Callback::Success } else { Callback::Failure };
    match counts.last {
        Fired::No if state.callback(last).is_some() => Some(Step::Fire(last)),
        Fired::Added => None,
        Fired::No | Fired::Succeeded if is_well => Some(Step::Over(BatchEnd::Succeeded)),
        _ => Some(Step::Over(BatchEnd::Failed)),
    }
}

impl NewBatch<'_> {
    /// A batch with this description and no callbacks.
    #[must_use]
    pub fn described(description: &str) -> NewBatch<'static> {
        NewBatch { description: String::from(description).into(), ..NewBatch::default() }
    }
}
