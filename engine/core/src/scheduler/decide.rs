//! Commands: checked, given room, written, applied. A refused one has changed nothing.

use alloc::string::String;

use super::{
    Scheduler,
    flow::Ahead,
    io::{Answer, Attempt, Began, Next, Notice, Outcome, OutcomeKind, Outputs},
};
use crate::{
    event::{Event, Failure, JobAdded, Terms},
    id::{JobId, Lsn, QueueId, Slot},
    job::{
        Clock, JobState, NewJob, Refusal, check_name,
        dead::cut,
        record::{Record, Role},
        timeout_ns,
    },
    journal::{Journal, NoRoom},
    limits,
    queue::QueueLimits,
    time::{Now, WallTime},
};

pub(super) type Answered = (Answer, Lsn);

pub(super) fn refused(refusal: Refusal) -> Answered {
    (Answer::Refused(refusal), Lsn(0))
}

impl Scheduler {
    pub(super) fn submit(
        &mut self,
        now: Now,
        job: &NewJob<'_>,
        journal: &mut impl Journal,
        out: &mut Outputs,
    ) -> Answered {
        let checked = job.check().and_then(|()| job.due_at(now));
        let alone = Ahead::default();
        let admitted = |due| self.admit(job, &alone, journal).map(|()| due);
        let (due, clock) = match checked.and_then(admitted) {
            Ok(due) => due,
            Err(refusal) => return refused(refusal),
        };
        let related = job.options.as_ref().filter(|options| options.relates());
        if let Some(options) = related {
            return self.submit_related(now, job, options, (due, clock), journal, out);
        }
        self.add(now, job, None, (due, clock), journal, out)
    }

    /// Adds a job that is within all bounds but the length of its queue, in the place of another if need be.
    pub(super) fn add(
        &mut self,
        now: Now,
        job: &NewJob<'_>,
        replaces: Option<JobId>,
        (due, clock): (WallTime, Clock),
        journal: &mut impl Journal,
        out: &mut Outputs,
    ) -> Answered {
        if let Err(refusal) = self.has_place_for(job, replaces) {
            return refused(refusal);
        }
        let mut added = self.added(now, job, due, clock);
        added.terms.options.replaces = replaces.map(|job| job.0);
        let id = JobId(added.job);
        let is_blocked = !added.terms.options.needs.is_empty();
        let position = self.commit(&Event::Added(added), &job.payload, journal).position;
        if due <= now.wall && !is_blocked {
            out.lateness_ns.push(now.wall.0 - due.0);
        }
        (Answer::Submitted(id), position.end)
    }

    /// Whether the group and the queue of a job take one more, or the one that it replaces leaves it its place.
    fn has_place_for(&mut self, job: &NewJob<'_>, replaces: Option<JobId>) -> Result<(), Refusal> {
        let left = self.place_left(job, replaces);
        if !left.in_group {
            self.group_of_job_takes(job, 0)?;
        }
        // The queue last: it keeps a place for a job that comes.
        if left.in_queue { Ok(()) } else { self.queue_takes(&job.queue) }
    }

    /// Whether one more job of this shape can be taken after others, but for the length of its queue.
    pub(super) fn admit(
        &self,
        job: &NewJob<'_>,
        ahead: &Ahead<'_>,
        journal: &impl Journal,
    ) -> Result<(), Refusal> {
        if self.pending() + ahead.jobs >= self.config.jobs_max {
            return Err(Refusal::TooManyJobs { max: self.config.jobs_max });
        }
        if !self.kinds.has_room_for(&job.kind) {
            return Err(Refusal::TooManyKinds);
        }
        if let Some(slot) = job.key.and_then(|key| self.keys.find(key)) {
            return Err(Refusal::KeyHeld(self.table.get(slot).id));
        }
        self.room_for_new(journal, ahead.bytes + job.record_bytes_max())
    }

    /// Whether a queue takes one more job, which is added then.
    pub(super) fn queue_takes(&mut self, name: &str) -> Result<(), Refusal> {
        if !self.queues.has_room_for(name) {
            return Err(Refusal::TooManyQueues);
        }
        if !self.queues.limits_lengths() {
            return Ok(());
        }
        self.queues.find(name).map_or(Ok(()), |queue| self.queue_admits(queue))
    }

    /// The same of a queue that is known.
    pub(super) fn queue_admits(&mut self, queue: QueueId) -> Result<(), Refusal> {
        match self.queues.admit(queue) {
            Some(max) => Err(Refusal::QueueFull { queue: self.queues.name(queue).into(), max }),
            None => Ok(()),
        }
    }

    /// Room for a new event of `len_bytes`, beside what running attempts need to end, and above
    /// the low-water mark: the higher of the two when the disk is full.
    pub(super) fn room_for_new(
        &self,
        journal: &impl Journal,
        len_bytes: usize,
    ) -> Result<(), Refusal> {
        let bytes = journal.record_bytes(len_bytes);
        if self.room_for(journal, self.config.low_water_full_bytes + bytes).is_ok() {
            return Ok(());
        }
        if !self.failed && journal.shortage() == NoRoom::Full {
            return Err(Refusal::from(NoRoom::Full));
        }
        self.room_for(journal, self.config.low_water_bytes + bytes)
    }

    /// Room for `bytes` beside what running attempts need to end.
    pub(super) fn room_for(&self, journal: &impl Journal, bytes: u64) -> Result<(), Refusal> {
        if self.failed {
            return Err(Refusal::LogFailed);
        }
        let needed = bytes + u64::from(self.running + self.fetched) * limits::OUTCOME_BYTES_MAX;
        if needed > journal.available_bytes() {
            return Err(journal.shortage().into());
        }
        Ok(())
    }

    /// The event's part that adds `job` under the next id.
    pub(super) fn added<'j>(
        &self,
        now: Now,
        job: &'j NewJob<'_>,
        due: WallTime,
        clock: Clock,
    ) -> JobAdded<'j> {
        let terms = Terms::of(job);
        let options = terms.options.settled(job.options.as_ref(), now);
        JobAdded {
            job: JobId::new(self.config.shard, self.next_sequence).0,
            at: now.wall.0,
            due: due.0,
            mono: clock == Clock::Mono,
            kind: &job.kind,
            terms: Terms { options, ..terms },
        }
    }

    pub(super) fn cancel(
        &mut self,
        now: Now,
        id: JobId,
        journal: &mut impl Journal,
        out: &mut Outputs,
    ) -> Answered {
        let found = self.table.find(id).filter(|slot| !self.table.get(*slot).is_dead());
        let Some(slot) = found else {
            return (Answer::Cancelled(None), Lsn(0));
        };
        let record = *self.table.get(slot);
        let running = record.state == JobState::Running;
        // A running attempt's end has its room already.
        if let Err(refusal) =
            self.room_for(journal, if running { 0 } else { limits::START_BYTES_MAX })
        {
            return refused(refusal);
        }
        #[cfg(feature = "planted")]
        if running && self.has_planted(crate::planted::Bug::LostCancel) {
            return (Answer::Cancelled(Some(record.state)), Lsn(0));
        }
        if running && !record.is_fetched() {
            out.stops.push(Attempt { job: id, slot, token: record.token });
        }
        if running {
            self.notice(out, slot, OutcomeKind::Cancelled, "", Next::Done);
        }
        let event = Event::Cancelled { job: id.0, at: now.wall.0 };
        let position = self.commit_at(slot, &event, journal);
        (Answer::Cancelled(Some(record.state)), position.end)
    }

    /// Sets the end of an attempt's lease.
    pub(super) fn extend(
        &mut self,
        now: Now,
        attempt: Attempt,
        span_ns: u64,
        journal: &mut impl Journal,
    ) -> Answered {
        if self.present(attempt).is_none() {
            return (Answer::Extended(false), Lsn(0));
        }
        if let Err(refusal) = self.room_for(journal, limits::START_BYTES_MAX) {
            return refused(refusal);
        }
        let at = now.wall.0;
        let lease_end = at.saturating_add(span_ns).min(limits::DUE_WALL_NS_MAX);
        let event = Event::Extended { job: attempt.job.0, at, lease_end };
        let position = self.commit_at(attempt.slot, &event, journal);
        (Answer::Extended(true), position.end)
    }

    /// Pauses a queue, or lets it go on.
    pub(super) fn pause_queue(
        &mut self,
        now: Now,
        name: &str,
        paused: bool,
        journal: &mut impl Journal,
    ) -> Answered {
        if let Err(refusal) = check_name("queue's name", name) {
            return refused(refusal);
        }
        if !self.queues.has_room_for(name) {
            return refused(Refusal::TooManyQueues);
        }
        let is_paused = self.queues.find(name).is_some_and(|q| self.queues.get(q).is_paused);
        if is_paused == paused {
            return (Answer::QueueSet(false), Lsn(0));
        }
        let need = limits::START_BYTES_MAX + limits::NAME_BYTES_MAX as u64;
        if let Err(refusal) = self.room_for(journal, need) {
            return refused(refusal);
        }
        let event = Event::QueueSet { at: now.wall.0, name, paused };
        let position = self.commit(&event, &[], journal).position;
        (Answer::QueueSet(true), position.end)
    }

    /// Gives a queue its limits, in the place of those that it had.
    pub(super) fn limit_queue(
        &mut self,
        now: Now,
        name: &str,
        limits: &QueueLimits,
        journal: &mut impl Journal,
    ) -> Answered {
        if let Err(refusal) = check_name("queue's name", name).and_then(|()| limits.check()) {
            return refused(refusal);
        }
        if !self.queues.has_room_for(name) {
            return refused(Refusal::TooManyQueues);
        }
        let before = self.queues.find(name).map(|queue| *self.queues.bounds(queue));
        let is_same = before.map_or(limits.is_default(), |queue| queue.limits() == limits);
        if is_same {
            return (Answer::QueueSet(false), Lsn(0));
        }
        let need = journal.record_bytes(limits::QUEUE_LIMITS_BYTES_MAX as usize);
        if let Err(refusal) = self.room_for(journal, need) {
            return refused(refusal);
        }
        // What was spent under another rate stays spent, so that a change gives no second burst.
        let full_at = match (before, limits.rate) {
            (Some(queue), Some(rate)) if queue.limits().rate.is_some() => {
                rate.taken_over(queue.full_at(self.offset_ns), now.wall)
            }
            _ => now.wall,
        };
        let event =
            Event::QueueLimits { at: now.wall.0, name, limits: *limits, full_at: full_at.0 };
        let position = self.commit(&event, &[], journal).position;
        (Answer::QueueSet(true), position.end)
    }

    /// An attempt ended. The end of one that is not the job's present attempt is refused.
    pub(super) fn complete(
        &mut self,
        now: Now,
        attempt: Attempt,
        outcome: Outcome<'_>,
        journal: &mut impl Journal,
        out: &mut Outputs,
    ) {
        let slot = attempt.slot;
        let present = self.present(attempt).is_some();
        if !present || self.failed {
            out.stale += u64::from(!present);
            return;
        }
        match outcome {
            Outcome::Succeeded => {
                self.hints.clear();
                self.hints.push(slot);
                self.succeed_hinted(now, journal, out);
            }
            Outcome::NotBegun => self.release(now, slot, 0, journal),
            Outcome::Postponed(delay_ns) => self.release(now, slot, delay_ns, journal),
            Outcome::Retryable(message) => {
                self.fail(now, slot, Failure::Retryable, message, journal, out);
            }
            Outcome::Permanent(message) => {
                self.fail(now, slot, Failure::Permanent, message, journal, out);
            }
            Outcome::Panicked(message) => {
                self.fail(now, slot, Failure::Panicked, message, journal, out);
            }
        }
    }

    /// Attempts ended well: they are written as one event. Those that are not their job's present
    /// attempt are refused.
    pub(super) fn succeed(
        &mut self,
        now: Now,
        attempts: &[Attempt],
        journal: &mut impl Journal,
        out: &mut Outputs,
    ) {
        for attempts in attempts.chunks(limits::LIST_ATTEMPTS_MAX) {
            let mut slots = core::mem::take(&mut self.hints);
            slots.clear();
            slots.extend(
                attempts.iter().filter(|a| self.present(**a).is_some()).map(|attempt| attempt.slot),
            );
            // An end that is given twice counts once. Neighbours take fewer bytes, too.
            slots.sort_unstable();
            slots.dedup();
            out.stale += (attempts.len() - slots.len()) as u64;
            self.hints = slots;
            self.succeed_hinted(now, journal, out);
        }
    }

    /// The running attempts in `self.hints` ended well.
    fn succeed_hinted(&mut self, now: Now, journal: &mut impl Journal, out: &mut Outputs) {
        if self.hints.is_empty() || self.failed {
            return;
        }
        if self.config.notices {
            for slot in &self.hints {
                self.notice(out, *slot, OutcomeKind::Succeeded, "", Next::Done);
            }
        }
        self.guard_succeeded(out);
        let at = now.wall.0;
        let position = if let [slot] = *self.hints {
            let job = self.table.get(slot).id.0;
            self.commit(&Event::Succeeded { job, at }, &[], journal).position
        } else {
            let event = Event::SucceededMany { at, count: self.hints.len() as u32 };
            self.commit_list(&event, |record| record.token, journal)
        };
        out.completed_end = Some(position.end);
    }

    /// Takes back an attempt that did not begin.
    fn release(&mut self, now: Now, slot: Slot, delay_ns: u64, journal: &mut impl Journal) {
        let due = now.wall.0.saturating_add(delay_ns);
        let job = self.table.get(slot).id.0;
        self.commit_at(slot, &Event::Released { job, at: now.wall.0, due }, journal);
    }

    /// The lease of an attempt seems to have ended: it is timed out if its handler has had its
    /// time, else it gets what is left of it.
    pub(super) fn lease_end(
        &mut self,
        now: Now,
        attempt: Attempt,
        began: Began,
        journal: &mut impl Journal,
        out: &mut Outputs,
    ) {
        let Some(record) = self.present(attempt) else { return };
        let (began_ns, until_ns) = match began {
            Began::At(time) => (time.0, 0),
            Began::Extended { at, until } => (at.0, until.0),
            Began::NotYet => (now.mono.0, 0),
        };
        let ends_ns = began_ns.saturating_add(timeout_ns(record.timeout_ms)).max(until_ns);
        if ends_ns > now.mono.0 {
            self.disarm(attempt.slot);
            self.arm(attempt.slot, Clock::Mono, ends_ns);
            return;
        }
        out.stops.push(attempt);
        let message = "the attempt took longer than its timeout";
        self.fail(now, attempt.slot, Failure::TimedOut, message, journal, out);
    }

    /// The record of an attempt, if it is its job's present one.
    fn present(&self, attempt: Attempt) -> Option<Record> {
        if !self.table.holds(attempt.slot, attempt.job) {
            return None;
        }
        let record = *self.table.get(attempt.slot);
        let running = record.state == JobState::Running && record.token == attempt.token;
        #[cfg(feature = "planted")]
        let running = running
            || record.state == JobState::Running
                && self.has_planted(crate::planted::Bug::MissingFence);
        running.then_some(record)
    }

    /// Ends the running attempt in `slot`: the job is tried again, or dead. Room for this was kept.
    pub(super) fn fail(
        &mut self,
        now: Now,
        slot: Slot,
        failure: Failure,
        message: &str,
        journal: &mut impl Journal,
        out: &mut Outputs,
    ) {
        let record = *self.table.get(slot);
        debug_assert_eq!((record.role(), record.state), (Role::Job, JobState::Running));
        let again = failure != Failure::Permanent && record.attempt < record.attempts_max.get();
        let wait_ns = match failure {
            // The job did nothing wrong: it goes on as soon as the process does.
            Failure::Lost => 0,
            _ => record.backoff.wait_ns(record.id, record.attempt),
        };
        let retry_at = again.then(|| WallTime(now.wall.0.saturating_add(wait_ns)));
        let message = cut(message, limits::MESSAGE_BYTES_MAX);
        let kind = match failure {
            Failure::Retryable | Failure::Permanent => OutcomeKind::Failed,
            Failure::Panicked => OutcomeKind::Panicked,
            Failure::TimedOut => OutcomeKind::TimedOut,
            Failure::Lost | Failure::Killed => OutcomeKind::Lost,
        };
        self.notice(out, slot, kind, message, retry_at.map_or(Next::Dead, Next::Retry));
        let (job, at) = (record.id.0, now.wall.0);
        let event = match retry_at {
            Some(WallTime(retry_at)) => {
                Event::Failed { job, at, failure, retry_at: Some(retry_at), message }
            }
            None => self.end_of(slot, at, failure, message),
        };
        let guarded = self.guarded(slot, failure);
        out.completed_end = Some(self.commit_at(slot, &event, journal).end);
        if let Some(guarded) = guarded {
            self.guard_failed(now, guarded, journal, out);
        }
    }

    pub(super) fn notice(
        &self,
        out: &mut Outputs,
        slot: Slot,
        outcome: OutcomeKind,
        message: &str,
        next: Next,
    ) {
        if !self.config.notices {
            return;
        }
        let record = self.table.get(slot);
        out.notices.push(Notice {
            job: record.id,
            kind: self.kinds.name(record.kind.0).into(),
            queue: self.queues.name(record.queue).into(),
            schedule: self.schedule_name(record),
            attempt: record.attempt,
            outcome,
            message: String::from(message),
            next,
        });
    }
}
