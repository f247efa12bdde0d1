//! What the journal's beginning is still needed for: records there are cleaned one by one, so that
//! it can be cut off. [`Scheduler::replay`]'s module says why what remains is enough.

use alloc::{sync::Arc, vec::Vec};

use super::Scheduler;
use crate::{
    event::{DecodeEventError, Event, JobAdded, JobKept, KeptState, Rule, TermOptions, Terms},
    id::{JobId, Key, Lsn, QueueId, Slot},
    job::{
        Clock, JobState,
        dead::{DeadEntry, Death},
        record::{NO_SCHEDULE, Record, UNIT_BYTES},
    },
    journal::{Journal, Position},
    limits,
    queue::Bounds,
    time::{MonoTime, Now, WallTime},
    wheel::TICK_NS,
};

/// What [`Scheduler::clean`] found a record to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cleaned {
    /// Nothing needs it any more.
    Dead,
    /// It was needed: what it held was written again at the journal's end.
    Moved {
        /// Bytes that this took of the journal.
        bytes: u64,
    },
    /// It is needed, and the journal has no room for it now: ask again later.
    NoRoom,
}

/// A record cannot be cleaned; nothing has changed, and what holds it must not be cut off.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CleanError {
    /// The bytes are no event of this version.
    #[error("{0}: keep this part of the log and look for what wrote it")]
    Decode(#[from] DecodeEventError),
}

impl Scheduler {
    /// Makes sure that the record at `lsn`, whose event is `bytes`, is not needed any more: if it
    /// holds a job or a schedule, these are appended again as they are now.
    ///
    /// Once each record of the journal's oldest piece was found [`Cleaned::Dead`] or
    /// [`Cleaned::Moved`], from its first to its last and each piece after the one before it, and
    /// [`Scheduler::write_base`] has written its event, that piece may be cut off as soon as the
    /// base is durable. Payloads that were handed out by position before must be read by then, or
    /// the piece held for them.
    ///
    /// It may use the journal's low-water reserve, which it helps to fill again, but never what
    /// running attempts need for their ends, nor [`limits::CLEAN_FLOOR_BYTES`] beside that.
    ///
    /// # Errors
    /// If the bytes are no event.
    pub fn clean(
        &mut self,
        now: Now,
        lsn: Lsn,
        bytes: &[u8],
        journal: &mut impl Journal,
    ) -> Result<Cleaned, CleanError> {
        self.offset_ns = now.offset_ns();
        self.step_mono = now.mono;
        let (event, payload) = Event::decode(bytes)?;
        // A job that waits is written again with what it waits for; of these none may have ended.
        if !self.settle_needs(now, journal) {
            return Ok(Cleaned::NoRoom);
        }
        Ok(match &event {
            Event::Added(added) | Event::ScheduleFired { job: Some(added), .. } => {
                self.keep_job(now, lsn, added, payload, journal)
            }
            Event::Kept(kept) => self.keep_job(now, lsn, &kept.job, payload, journal),
            Event::SchedulePut { rule, .. } | Event::ScheduleKept { rule, .. } => {
                self.keep_schedule(now, lsn, rule.name, journal)
            }
            Event::QueueSet { name, .. } => self.keep_queue(now, lsn, name, journal),
            Event::QueueLimits { name, .. } => self.keep_limits(now, lsn, name, journal),
            Event::GroupsLimits { name, .. } => self.keep_groups(now, lsn, (name, None), journal),
            Event::GroupLimits { name, group, .. } => {
                self.keep_groups(now, lsn, (name, Some(group)), journal)
            }
            Event::QueueAging { name, .. } => self.keep_aging(now, lsn, name, journal),
            Event::UniqueKept { key, .. } => self.keep_unique(now, lsn, Key(*key), journal),
            Event::BatchPut { batch, .. } => self.keep_batch(now, lsn, JobId(batch.batch), journal),
            Event::ScheduleFired { job: None, .. }
            | Event::Started { .. }
            | Event::StartedMany { .. }
            | Event::Fetched { .. }
            | Event::Extended { .. }
            | Event::SucceededMany { .. }
            | Event::Succeeded { .. }
            | Event::Failed { .. }
            | Event::Cancelled { .. }
            | Event::Expired { .. }
            | Event::Totals { .. }
            | Event::Buried { .. }
            | Event::Changed { .. }
            | Event::NeedSettled { .. }
            | Event::BatchSet { .. }
            | Event::BatchCount { .. }
            | Event::BatchOver { .. }
            | Event::ScheduleRemoved { .. }
            | Event::SchedulePaused { .. }
            | Event::ScheduleResumed { .. }
            | Event::GroupSpent { .. }
            | Event::Released { .. }
            | Event::Base { .. } => Cleaned::Dead,
        })
    }

    /// Writes that all before what must be kept may be cut off, with the totals that would be lost
    /// with it. `None` if the journal has no room for it now.
    pub fn write_base(&mut self, now: Now, journal: &mut impl Journal) -> Option<Position> {
        // What has ended is known to have ended only as long as the events behind the last base tell.
        if !self.settle_needs(now, journal) || !self.write_batch_counts(now, journal) {
            return None;
        }
        if !self.write_caught_up(now, journal) {
            return None;
        }
        self.write_spent_rates(now, journal);
        self.write_spent_groups(now, journal);
        let need = 2 * journal.record_bytes(limits::BASE_BYTES_MAX);
        self.room_for(journal, need).ok()?;
        let counts = self.counts();
        debug_assert_eq!(self.counts.added, counts.pending + counts.ended());
        let (totals, base) = counts.base(now.wall, self.next_sequence);
        if let Some(totals) = totals {
            self.commit(&totals, &[], journal);
        }
        Some(self.commit(&base, &[], journal).position)
    }

    /// Bytes of the journal's records that hold jobs and schedules: what would be left of it if
    /// all of it were cleaned now.
    ///
    /// Each record counts with its length rounded up to 16 bytes, and one of a mebibyte or more as
    /// 16 bytes less than that: the sum is at most 16 bytes per job and schedule too high, or
    /// 0.4 % too low where payloads are as long as they may be.
    #[must_use]
    pub fn live_bytes(&self) -> u64 {
        let units =
            self.queues.body_units() + self.uniques.body_units() + self.batches.body_units();
        self.table.body_bytes() + units * UNIT_BYTES
    }

    fn keep_job(
        &mut self,
        now: Now,
        lsn: Lsn,
        added: &JobAdded<'_>,
        payload: &[u8],
        journal: &mut impl Journal,
    ) -> Cleaned {
        // A key that outlives its job is needed by itself, also beside a dead job.
        let mut key_bytes = 0;
        if let Some(unique) = added.terms.options.unique {
            match self.keep_unique(now, lsn, unique.key, journal) {
                Cleaned::Dead => {}
                Cleaned::Moved { bytes } => key_bytes = bytes,
                Cleaned::NoRoom => return Cleaned::NoRoom,
            }
        }
        match self.keep_held(now, lsn, added, payload, journal) {
            Cleaned::Dead if key_bytes > 0 => Cleaned::Moved { bytes: key_bytes },
            Cleaned::Moved { bytes } => Cleaned::Moved { bytes: bytes + key_bytes },
            cleaned => cleaned,
        }
    }

    /// Writes the job again that `lsn` holds.
    fn keep_held(
        &mut self,
        now: Now,
        lsn: Lsn,
        added: &JobAdded<'_>,
        payload: &[u8],
        journal: &mut impl Journal,
    ) -> Cleaned {
        let Some(slot) = self.table.find(JobId(added.job)) else { return Cleaned::Dead };
        if self.table.get(slot).body != lsn {
            return Cleaned::Dead;
        }
        #[cfg(feature = "planted")]
        if self.table.get(slot).is_dead() && self.has_planted(crate::planted::Bug::ForgottenDead) {
            return Cleaned::Dead;
        }
        self.write_again(now, slot, added, payload, journal)
    }

    /// Puts `payload` in the place of a job's own.
    pub(super) fn rewrite(
        &mut self,
        now: Now,
        job: JobId,
        payload: &[u8],
        journal: &mut impl Journal,
    ) {
        let Some(slot) = self.table.find(job) else { return };
        if payload.len() > limits::PAYLOAD_BYTES_MAX {
            return;
        }
        let record = *self.table.get(slot);
        // One that waits must not be written while something that it waits for has ended: see `clean`.
        if record.state == JobState::Blocked && !self.waits.is_settled() {
            return;
        }
        // The names are borrowed while applying the event needs the state.
        let kind = Arc::clone(&self.kinds.all()[usize::from(record.kind.0)]);
        let queue = Arc::clone(&self.queues.names()[usize::from(record.queue.0)]);
        let added = JobAdded {
            job: job.0,
            at: now.wall.0,
            due: 0,
            mono: false,
            kind: &kind,
            terms: Terms {
                priority: record.priority(),
                attempts_max: record.attempts_max.get(),
                backoff_base_ms: record.backoff.base_ms,
                backoff_max_ms: record.backoff.max_ms,
                timeout_ms: record.timeout_ms,
                queue: &queue,
                key: self.key_at(slot),
                // They are taken from the table where it is written.
                options: TermOptions::default(),
                keeps_dead: record.attempts_max.keeps_dead(),
            },
        };
        self.write_again(now, slot, &added, payload, journal);
    }

    /// Appends the job in `slot` as it is now; what never changes is in `added`.
    fn write_again(
        &mut self,
        now: Now,
        slot: Slot,
        added: &JobAdded<'_>,
        payload: &[u8],
        journal: &mut impl Journal,
    ) -> Cleaned {
        let record = *self.table.get(slot);
        let options_bytes = self.options.of(slot).map_or(0, |options| options.bytes_max());
        let head_bytes =
            limits::KEPT_HEAD_BYTES_MAX - limits::JOB_OPTIONS_BYTES_MAX + options_bytes;
        let need = journal.record_bytes(head_bytes + payload.len());
        // The event borrows the schedule's name while applying it needs the state.
        let rule = self.schedules.get(record.schedule).map(|state| Arc::clone(&state.rule));
        debug_assert_eq!(rule.is_none(), record.schedule == NO_SCHEDULE);
        let due = match record.clock() {
            Clock::Mono => MonoTime(record.due_ns).to_wall(self.offset_ns),
            Clock::Wall => WallTime(record.due_ns),
        };
        // A caller may have changed them since the record was written.
        let queue = Arc::clone(&self.queues.names()[usize::from(record.queue.0)]);
        // What a job waits for, and the key that it holds, may be less than when it was added, and
        // nothing may be left of them after an earlier life.
        let options = self.options.of(slot).map(Arc::clone);
        let options = self.options_now(record.id, options.as_ref());
        let priority = record.priority();
        let terms = Terms { priority, queue: &queue, options, ..added.terms };
        let mono = record.clock() == Clock::Mono;
        let death = record.is_dead().then(|| *self.dead.get(record.dead_entry()));
        let event = Event::Kept(JobKept {
            at: now.wall.0,
            job: JobAdded { due: due.0, mono, terms, ..added.clone() },
            attempt: record.attempt,
            token: record.token.0,
            state: self.kept_state(slot, &record, death.as_ref()),
            schedule: rule.as_ref().map(|rule| &*rule.name),
        });
        self.keep(&event, payload, need, journal)
    }

    /// Writes an event again that must stay and whose record is `need` long at the most, if that leaves the
    /// journal enough for attempts to begin and end.
    pub(super) fn keep(
        &mut self,
        event: &Event<'_>,
        payload: &[u8],
        need: u64,
        journal: &mut impl Journal,
    ) -> Cleaned {
        if self.room_for(journal, need + limits::CLEAN_FLOOR_BYTES).is_err() {
            return Cleaned::NoRoom;
        }
        let committed = self.commit(event, payload, journal);
        Cleaned::Moved { bytes: journal.record_bytes(committed.len_bytes) }
    }

    fn kept_state<'d>(
        &self,
        slot: Slot,
        record: &Record,
        death: Option<&'d DeadEntry>,
    ) -> KeptState<'d> {
        if let Some(Death { at, failure, message }) = death.map(DeadEntry::death) {
            return KeptState::Dead { died: at.0, failure, message };
        }
        match record.state {
            JobState::Scheduled => KeptState::Scheduled,
            JobState::Ready => KeptState::Ready,
            JobState::Blocked => KeptState::Blocked,
            JobState::Running if record.is_fetched() => {
                let lease_end = MonoTime(record.ready_ns).to_wall(self.offset_ns).0;
                KeptState::Fetched { lease_end }
            }
            JobState::Running => {
                let ends = MonoTime(self.links.tick(slot.0).saturating_mul(TICK_NS));
                KeptState::Running { lease_end: ends.to_wall(self.offset_ns).0 }
            }
            state => panic!("a job that is {state} is not held"),
        }
    }

    fn keep_queue(
        &mut self,
        now: Now,
        lsn: Lsn,
        name: &str,
        journal: &mut impl Journal,
    ) -> Cleaned {
        let queue = self.queues.find(name);
        let is_needed =
            |queue| self.queues.get(queue).is_paused && self.queues.bounds(queue).body == lsn;
        // A queue that is not paused is as if it had never been.
        if !queue.is_some_and(is_needed) {
            return Cleaned::Dead;
        }
        let need = limits::START_BYTES_MAX + limits::NAME_BYTES_MAX as u64;
        let event = Event::QueueSet { at: now.wall.0, name, paused: true };
        self.keep(&event, &[], need, journal)
    }

    fn keep_limits(
        &mut self,
        now: Now,
        lsn: Lsn,
        name: &str,
        journal: &mut impl Journal,
    ) -> Cleaned {
        let Some(queue) = self.queues.find(name).map(|queue| *self.queues.bounds(queue)) else {
            return Cleaned::Dead;
        };
        // A queue that is not limited is as if it had never been.
        if queue.limits().is_default() || queue.limits_body != lsn {
            return Cleaned::Dead;
        }
        let need = journal.record_bytes(limits::QUEUE_LIMITS_BYTES_MAX as usize);
        if self.room_for(journal, need + limits::CLEAN_FLOOR_BYTES).is_err() {
            return Cleaned::NoRoom;
        }
        let len_bytes = self.write_limits(now, name, &queue, journal);
        Cleaned::Moved { bytes: journal.record_bytes(len_bytes) }
    }

    /// Before a base: starts of attempts are cut off that rates have counted, or will be skipped
    /// once their jobs are. What is spent now is written again with the limits. Without room for that a
    /// queue may have its burst again after a recovery; that is better than a log that cannot be cut.
    fn write_spent_rates(&mut self, now: Now, journal: &mut impl Journal) {
        for number in 0..self.queues.names().len() as u16 {
            let queue = *self.queues.bounds(QueueId(number));
            let is_spent =
                queue.limits().rate.is_some() && queue.full_at(self.offset_ns) > now.wall;
            let need = journal.record_bytes(limits::QUEUE_LIMITS_BYTES_MAX as usize);
            if is_spent && self.room_for(journal, need + limits::CLEAN_FLOOR_BYTES).is_ok() {
                let name = Arc::clone(&self.queues.names()[usize::from(number)]);
                self.write_limits(now, &name, &queue, journal);
            }
        }
    }

    /// Writes down what shared rates have spent, where it is a while since that was last done: a start
    /// says only what this shard has spent. Without room for that a queue may have its burst again after
    /// a recovery.
    pub(super) fn write_shared_rates(&mut self, now: Now, journal: &mut impl Journal) {
        while let Some((number, full_at_ns)) = self.queues.next_unwritten() {
            let queue = self.queues.bounds(number).with_full_at(full_at_ns);
            let need = journal.record_bytes(limits::QUEUE_LIMITS_BYTES_MAX as usize);
            if self.room_for(journal, need).is_ok() {
                let name = Arc::clone(&self.queues.names()[usize::from(number.0)]);
                self.write_limits(now, &name, &queue, journal);
            }
        }
    }

    /// Appends a queue's limits as they are now; returns the event's length.
    fn write_limits(
        &mut self,
        now: Now,
        name: &str,
        queue: &Bounds,
        journal: &mut impl Journal,
    ) -> usize {
        let full_at = queue.full_at(self.offset_ns).0;
        let event = Event::QueueLimits { at: now.wall.0, name, limits: *queue.limits(), full_at };
        self.commit(&event, &[], journal).len_bytes
    }

    fn keep_schedule(
        &mut self,
        now: Now,
        lsn: Lsn,
        name: &str,
        journal: &mut impl Journal,
    ) -> Cleaned {
        let number = self.schedules.find(name);
        let Some(state) = number.and_then(|number| self.schedules.get(number)) else {
            return Cleaned::Dead;
        };
        if self.table.get(state.timer).body != lsn {
            return Cleaned::Dead;
        }
        self.write_schedule(now, name, journal)
    }

    /// Writes the schedules again that have caught up with the end of a job: what tells of that end is cut off with the
    /// job. `false` if there is no room.
    fn write_caught_up(&mut self, now: Now, journal: &mut impl Journal) -> bool {
        let caught_up = self.schedules.numbered().filter(|(_, state)| state.has_unwritten_end);
        let rules: Vec<_> = caught_up.map(|(_, state)| Arc::clone(&state.rule)).collect();
        rules.iter().all(|rule| self.write_schedule(now, &rule.name, journal) != Cleaned::NoRoom)
    }

    /// Appends a schedule as it is now.
    fn write_schedule(&mut self, now: Now, name: &str, journal: &mut impl Journal) -> Cleaned {
        let number = self.schedules.find(name);
        let Some(state) = number.and_then(|number| self.schedules.get(number)) else {
            return Cleaned::Dead;
        };
        // The rule is not taken from the record: it may have been replaced since.
        let rule = Arc::clone(&state.rule);
        let paused = state.paused.clone();
        let event = Event::ScheduleKept {
            at: now.wall.0,
            rule: Rule::of(&rule).paused(paused.as_ref()),
            next: state.next.map(|next| next.0),
            catch_up_until: state.catch_up_until.0,
            fired: state.fired,
        };
        let need = journal.record_bytes(limits::EVENT_HEAD_BYTES_MAX + rule.job.payload.len());
        self.keep(&event, &rule.job.payload, need, journal)
    }
}
