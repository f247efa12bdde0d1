//! The dead set: how a job comes into it, how it leaves it by the set's bounds, and what is told of
//! it. What callers change is in `changes.rs`.

use alloc::{boxed::Box, vec::Vec};

use super::{Scheduler, apply::ReplayError, io::JobView, relate::Ending};
use crate::{
    event::{Event, Failure, JobChange},
    id::{JobId, Key, Slot},
    job::{
        JobState,
        dead::{Death, cut},
    },
    journal::Journal,
    limits,
    time::{MonoTime, Now, WallTime, ms_to_ns},
};

/// Bounds of the dead set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeadLimits {
    /// Jobs at the most: 0 to 10,000,000; the oldest leave first. With 0 no job is kept that fails for
    /// good. Default 100,000.
    pub jobs_max: u32,
    /// How long a job is kept after it died, in nanoseconds on the wall clock. Default 180 days.
    pub age_ns: u64,
}

impl Default for DeadLimits {
    fn default() -> Self {
        Self { jobs_max: limits::DEAD_DEFAULT, age_ns: limits::DEAD_AGE_NS_DEFAULT }
    }
}

/// A dead job as a caller sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadView {
    /// The job.
    pub job: JobView,
    /// Its key, if it had one. Others may have it by now.
    pub key: Option<Key>,
    /// When it died.
    pub died: WallTime,
    /// Why.
    pub failure: Failure,
    /// The beginning of what its last attempt said: at most [`limits::DEAD_MESSAGE_BYTES_MAX`] bytes.
    pub message: Box<str>,
}

impl Scheduler {
    /// A job of the dead set.
    #[must_use]
    pub fn dead(&self, id: JobId) -> Option<DeadView> {
        let slot = self.table.find(id)?;
        let record = self.table.get(slot);
        if !record.is_dead() {
            return None;
        }
        let entry = self.dead.get(record.dead_entry());
        let Death { at, failure, message } = entry.death();
        let message = message.into();
        Some(DeadView { job: self.view(slot), key: entry.key(), died: at, failure, message })
    }

    /// The dead job that had `key`: the one that died last.
    #[must_use]
    pub fn dead_of(&self, key: Key) -> Option<JobId> {
        self.dead.find(key).map(|slot| self.table.get(slot).id)
    }

    /// Jobs of the dead set.
    #[must_use]
    pub fn dead_len(&self) -> u32 {
        self.dead.len()
    }

    /// Jobs held that have not ended.
    pub(super) fn pending(&self) -> u32 {
        self.table.len() - self.dead.len()
    }

    /// Puts a job that has left its line, and was in the state `was` there, into the dead set.
    pub(super) fn bury(&mut self, slot: Slot, was: JobState, death: Death<'_>) {
        self.counts.dead += 1;
        let record = *self.table.get(slot);
        self.queues.job_ended(record.queue);
        self.schedule_job_ends(record.schedule, record.id, death.at);
        let mut lasting = None;
        if record.has_options() {
            self.relate_ended(Ending { slot, was, state: JobState::Dead });
            lasting = self.options.of(slot).and_then(|options| options.lasting());
            self.leave_group(slot);
            self.options.remove(slot);
        }
        if !self.waits.is_empty() {
            self.waits.end(record.id, false);
        }
        let key = if record.is_keyed() { self.keys.of(slot) } else { None };
        if key.is_some() {
            self.keys.remove(slot);
        }
        self.lay_out(slot, key, death);
        if let Some(options) = lasting {
            self.keep_options(slot, options);
        }
    }

    /// Makes the dead set hold the job in `slot`, which nothing else counts any more.
    pub(super) fn lay_out(&mut self, slot: Slot, key: Option<Key>, death: Death<'_>) {
        let entry = self.dead.insert(slot, key, death);
        // In a snapshot the options come first.
        let keeps_options = self.options.of(slot).is_some();
        let record = self.table.get_mut(slot);
        record.state = JobState::Dead;
        record.traits = record.traits.fetched(false);
        // They ended with its life, but for its group and tags.
        record.attempts_max = record.attempts_max.with_options(keeps_options);
        record.ready_ns = u64::from(entry);
    }

    /// Forgets a dead job.
    pub(super) fn forget_dead(&mut self, slot: Slot) {
        let entry = self.table.get(slot).dead_entry();
        self.dead.remove(entry);
        if self.table.get(slot).has_options() {
            self.options.remove(slot);
        }
        self.table.remove(slot);
    }

    /// The job ended and was buried.
    pub(super) fn apply_buried(
        &mut self,
        job: JobId,
        death: Death<'_>,
        hint: Option<Slot>,
    ) -> Result<(), ReplayError> {
        let slot = self.leave_running(job, JobState::Dead, hint)?;
        self.counts.failed_attempts += 1;
        self.bury(slot, JobState::Running, death);
        Ok(())
    }

    /// When the dead set next has to be looked at.
    pub(super) fn dead_deadline(&self) -> Option<WallTime> {
        let oldest = self.dead.oldest()?;
        let DeadLimits { jobs_max, age_ns } = self.config.dead;
        let leaves = if self.dead.len() > jobs_max { 0 } else { oldest.0.saturating_add(age_ns) };
        self.dead_retry.is_none().then_some(WallTime(leaves))
    }

    /// Lets jobs leave the dead set that are too many or too old, a few at a time.
    pub(super) fn tidy_dead(&mut self, now: Now, journal: &mut impl Journal) {
        if self.failed || self.dead_retry.is_some_and(|retry| now.mono < retry) {
            return;
        }
        self.dead_retry = None;
        let over = self.dead.len().saturating_sub(self.config.dead.jobs_max) as usize;
        let age_ns = self.config.dead.age_ns;
        let is_old = |at: WallTime| at.0.saturating_add(age_ns) <= now.wall.0;
        if over == 0 && !self.dead.oldest().is_some_and(is_old) {
            return;
        }
        let leaving = self.dead.oldest_first().take(limits::LIST_ATTEMPTS_MAX);
        let leaving =
            leaving.enumerate().take_while(|(place, (at, _))| *place < over || is_old(*at));
        let slots: Vec<Slot> = leaving.map(|(_, (_, slot))| slot).collect();
        if self.room_for_change(slots.len(), journal).is_err() {
            self.dead_retry = Some(MonoTime(now.mono.0 + ms_to_ns(limits::NO_ROOM_RETRY_MS)));
            return;
        }
        self.hints.clear();
        self.hints.extend(slots);
        self.commit_change(now, JobChange::Discarded, journal);
    }

    /// The event for a job that fails for good.
    pub(super) fn end_of<'e>(
        &self,
        slot: Slot,
        at: u64,
        failure: Failure,
        message: &'e str,
    ) -> Event<'e> {
        let record = self.table.get(slot);
        let job = record.id.0;
        match record.attempts_max.keeps_dead() && self.config.dead.jobs_max > 0 {
            true => Event::Buried { job, at, failure, message },
            false => Event::Failed { job, at, failure, retry_at: None, message },
        }
    }
}

/// What is kept of a message.
pub(super) fn kept(message: &str) -> &str {
    cut(message, limits::DEAD_MESSAGE_BYTES_MAX)
}
