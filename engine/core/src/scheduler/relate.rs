//! What events change about jobs that have to do with others: keys of uniqueness, needs, batches.
//! A part of `apply.rs`: it reads no clock and writes nothing.

use alloc::sync::Arc;

use super::{ReplayError, Scheduler};
use crate::{
    batch::{BatchCounts, BatchEnd, Callback, Fired, Role},
    event::{Event, TermOptions, UniqueWritten},
    id::{JobId, Key, Lsn, Slot},
    job::{
        Clock, JobOptions, JobState, Needs, Otherwise, Until, record::Record, table::Body,
        unique::Held,
    },
    limits,
    time::WallTime,
};

/// A job as it was right before it ended.
#[derive(Clone, Copy)]
pub(super) struct Ending {
    pub(super) slot: Slot,
    pub(super) was: JobState,
    pub(super) state: JobState,
}

impl Scheduler {
    /// Applies an event about needs, keys of uniqueness or batches.
    pub(super) fn apply_relation(
        &mut self,
        event: &Event<'_>,
        payload: &[u8],
        body: Body,
    ) -> Result<(), ReplayError> {
        match event {
            Event::NeedSettled { job, on, at, met } => {
                self.apply_settled(JobId(*job), JobId(*on), WallTime(*at), *met)
            }
            Event::UniqueKept { key, job, free_at, .. } => {
                self.uniques.hold(Held {
                    key: Key(*key),
                    job: JobId(*job),
                    until: Some(WallTime(*free_at)),
                    outlives: true,
                    body: body.lsn,
                    units: body.units,
                });
                Ok(())
            }
            Event::BatchPut { batch, is_new, .. } => {
                let state = batch.state(payload, body.lsn, body.units)?;
                for job in state.callbacks.iter().flatten() {
                    self.kinds.intern(&job.kind).ok_or(ReplayError::TooManyKinds)?;
                    self.queues.intern(&job.queue).ok_or(ReplayError::TooManyQueues)?;
                }
                let id = JobId(batch.batch);
                self.next_sequence = self.next_sequence.max(id.sequence() + 1);
                if let Some(parent) = state.parent.filter(|_| *is_new) {
                    self.batches.count(parent, added_one);
                }
                self.batches.put(id, state);
                self.batches.counted(id);
                Ok(())
            }
            Event::BatchSet { batch, until, .. } => {
                let is_there = self.batches.change(JobId(*batch), |state| {
                    state.until = until.map(WallTime);
                    state.was_committed |= until.is_none();
                });
                if is_there { Ok(()) } else { Err(ReplayError::UnknownBatch(JobId(*batch))) }
            }
            Event::BatchCount { batch, counts, .. } => {
                let id = JobId(*batch);
                let is_there = self.batches.change(id, |state| state.counts = (*counts).into());
                self.batches.counted(id);
                if is_there { Ok(()) } else { Err(ReplayError::UnknownBatch(id)) }
            }
            Event::BatchOver { at, batch, end } => {
                self.apply_over(JobId(*batch), WallTime(*at), (*end).into())
            }
            _ => unreachable!("the caller has looked"),
        }
    }

    /// A batch has ended, or is forgotten.
    fn apply_over(&mut self, id: JobId, at: WallTime, end: BatchEnd) -> Result<(), ReplayError> {
        let Some(state) = self.batches.get(id) else { return Err(ReplayError::UnknownBatch(id)) };
        let parent = state.parent;
        match end {
            BatchEnd::Succeeded | BatchEnd::Failed => {
                let forget = WallTime(at.0.saturating_add(limits::BATCH_KEPT_NS));
                self.batches.change(id, |state| {
                    state.forget = Some(forget);
                    state.until = None;
                });
            }
            BatchEnd::Expired | BatchEnd::Forgotten => {
                self.batches.remove(id);
            }
        }
        if let Some(parent) = parent.filter(|_| end != BatchEnd::Forgotten) {
            let has_failed = end != BatchEnd::Succeeded;
            self.batches.count(parent, |counts| {
                counts.unrun = counts.unrun.saturating_sub(1);
                counts.open = counts.open.saturating_sub(1);
                counts.failed += u32::from(has_failed);
            });
        }
        Ok(())
    }

    /// `job` was told that `on` has ended.
    fn apply_settled(
        &mut self,
        job: JobId,
        on: JobId,
        at: WallTime,
        met: bool,
    ) -> Result<(), ReplayError> {
        self.waits.remove(job, on);
        let slot = self.table.find(job).ok_or(ReplayError::UnknownJob(job))?;
        if self.table.get(slot).state != JobState::Blocked {
            return Ok(());
        }
        let Some(options) = self.options.of(slot).map(Arc::clone) else { return Ok(()) };
        let left = options.needs.without(on);
        if !met && options.otherwise == Otherwise::Cancel {
            return self.end(job, JobState::Cancelled, Some(slot), at);
        }
        if met && !left.is_empty() {
            self.options.set(slot, Arc::new(JobOptions { needs: left, ..(*options).clone() }));
            return Ok(());
        }
        for need in left.iter() {
            self.waits.remove(job, need.job);
        }
        let options = JobOptions {
            needs: Needs::default(),
            otherwise: Otherwise::default(),
            ..(*options).clone()
        };
        self.enter(slot, JobState::Scheduled)?;
        if options.is_default() {
            self.options.remove(slot);
            let record = self.table.get_mut(slot);
            record.attempts_max = record.attempts_max.with_options(false);
        } else {
            self.options.set(slot, Arc::new(options));
        }
        let record = self.table.get(slot);
        let now_ns = match record.clock() {
            Clock::Mono => at.to_mono(self.offset_ns).0,
            Clock::Wall => at.0,
        };
        let is_due = record.due_ns <= now_ns;
        self.wait_for_due(slot, is_due);
        Ok(())
    }

    /// A job was taken in: it holds its key of uniqueness.
    pub(super) fn relate(&mut self, record: &Record, options: TermOptions<'_>) {
        if let Some(UniqueWritten { key, until, free_at }) = options.unique {
            self.uniques.hold(Held {
                key,
                job: record.id,
                until: free_at.map(WallTime),
                outlives: until == Until::Time,
                body: Lsn(0),
                units: 0,
            });
        }
    }

    /// A job was added, and not merely written again: its batch counts it, or has fired a callback.
    pub(super) fn count_added(&mut self, options: TermOptions<'_>) {
        let Some(membership) = options.batch else { return };
        match membership.role {
            Role::Member => self.batches.count(membership.batch, added_one),
            Role::Callback(which) => self.batches.count(membership.batch, |counts| {
                *fired(counts, which) = Fired::Added;
            }),
        }
    }

    /// An attempt of a job with options began.
    pub(super) fn relate_begun(&mut self, slot: Slot) {
        let id = self.table.get(slot).id;
        let unique = self.options.of(slot).and_then(|options| options.unique);
        if let Some(unique) = unique.filter(|unique| unique.until == Until::Start)
            && self.uniques.is_held_by(unique.key, id)
        {
            self.uniques.free(unique.key);
        }
    }

    /// The first attempt of a job with options failed, and it is tried again.
    pub(super) fn relate_failed(&mut self, slot: Slot) {
        let batch = self.options.of(slot).and_then(|options| options.batch);
        if let Some(membership) = batch.filter(|membership| membership.role == Role::Member) {
            self.batches.count(membership.batch, |counts| {
                counts.unrun = counts.unrun.saturating_sub(1);
            });
        }
    }

    /// A job with options ends; it is in the table still.
    pub(super) fn relate_ended(&mut self, ending: Ending) {
        let Ending { slot, was, state } = ending;
        let record = *self.table.get(slot);
        let Some(options) = self.options.of(slot).map(Arc::clone) else { return };
        if let Some(unique) = options.unique
            && let Some(held) = self.uniques.find(unique.key).filter(|held| held.job == record.id)
        {
            match held.outlives {
                true => {
                    self.uniques.hold(Held { body: record.body, units: record.body_units, ..held });
                }
                false => self.uniques.free(unique.key),
            }
        }
        for need in options.needs.iter() {
            self.waits.remove(record.id, need.job);
        }
        let Some(membership) = options.batch else { return };
        let succeeded = state == JobState::Succeeded;
        // It has run before if an earlier attempt has failed.
        let had_run = record.attempt > 1 || record.attempt == 1 && was != JobState::Running;
        match membership.role {
            Role::Member => self.batches.count(membership.batch, |counts| {
                counts.unrun = counts.unrun.saturating_sub(u32::from(!had_run));
                counts.open = counts.open.saturating_sub(1);
                counts.failed += u32::from(!succeeded);
            }),
            Role::Callback(which) => self.batches.count(membership.batch, |counts| {
                *fired(counts, which) = if succeeded { Fired::Succeeded } else { Fired::Failed };
            }),
        }
    }
}

fn added_one(counts: &mut BatchCounts) {
    counts.total += 1;
    counts.unrun += 1;
    counts.open += 1;
}

/// How far that callback is.
fn fired(counts: &mut BatchCounts, which: Callback) -> &mut Fired {
    match which {
        Callback::Complete => &mut counts.complete,
        Callback::Success | Callback::Failure => &mut counts.last,
    }
}
