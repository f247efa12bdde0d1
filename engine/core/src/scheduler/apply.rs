//! Events change the state here, and nowhere else: live and on recovery the same code runs, and it
//! reads no clock.

mod schedules;

use alloc::boxed::Box;

use super::{Scheduler, dead::kept as kept_message, relate::Ending, replay::Census};
use crate::{
    event::{Attempts, DecodeEventError, Event, JobAdded, JobKept, KeptState, Listed, Terms},
    id::{JobId, KindId, Lsn, Slot, Token},
    job::{
        Clock, JobState,
        dead::Death,
        record::{AttemptsMax, NO_SCHEDULE, Record, Traits},
        table::Body,
        timeout_ns,
    },
    schedule::Pause,
    time::WallTime,
};

/// An event of the journal cannot be applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// The bytes are no event of this version.
    #[error("{0}: it was written by a newer version, or by something else")]
    Decode(#[from] DecodeEventError),
    /// The event names a job that is not there.
    #[error("an event names job {0}, which is not there")]
    UnknownJob(JobId),
    /// The event asks for a change of state that the table of states does not allow.
    #[error("job {job} cannot go from {from} to {to}")]
    Transition {
        /// The job.
        job: JobId,
        /// Its state.
        from: JobState,
        /// The state that the event asks for.
        to: JobState,
    },
    /// The event says otherwise of a job than those before it.
    #[error("job {0} was written again otherwise than the events before it say")]
    KeptOtherwise(JobId),
    /// The event names a schedule that is not there.
    #[error("an event names a schedule that is not there")]
    UnknownSchedule,
    /// An event names something whose adding is not in the journal, and no later event makes up
    /// for it: a part of the journal is missing.
    #[error(
        "at position {}: {error}; the journal's beginning is missing: restore the data directory from a copy",
        lsn.0
    )]
    Unaccounted {
        /// Where the first such event lies.
        lsn: Lsn,
        /// What is wrong with it.
        error: Box<ReplayError>,
    },
    /// At the last cut of the journal's beginning, more jobs were held than what remains tells of:
    /// more of it is gone than was cut off.
    #[error(
        "the journal holds {held} of {expected} jobs: its beginning is missing, restore the data directory from a copy"
    )]
    JobsMissing {
        /// Jobs that were held.
        expected: u64,
        /// Jobs that what remains tells of.
        held: u64,
    },
    /// The event names a batch that is not there.
    #[error("an event names batch {0}, which is not there")]
    UnknownBatch(JobId),
    /// More kinds than a shard knows.
    #[error("there are too many kinds")]
    TooManyKinds,
    /// More queues than a shard knows.
    #[error("there are too many queues")]
    TooManyQueues,
    /// Two jobs that have not ended have the same key.
    #[error("job {0} has the key of another job")]
    KeyTaken(JobId),
    /// More schedules than a shard holds.
    #[error("there are too many schedules")]
    TooManySchedules,
    /// A head that is longer than heads are.
    #[error("an event's head is too long")]
    HeadLength,
}

/// What a schedule had come to when it was written again.
struct StateKept {
    next: Option<WallTime>,
    catch_up_until: WallTime,
    paused: Option<Pause>,
    fired: u64,
}

impl Scheduler {
    /// Applies `event`, which lies at `body` with its `payload` behind its head.
    ///
    /// An error for an unknown job or schedule leaves what is known as it was, but for numbers.
    pub(super) fn apply(
        &mut self,
        event: &Event<'_>,
        payload: &[u8],
        body: Body,
    ) -> Result<(), ReplayError> {
        if self.teller.is_some() {
            self.tell_event(event, payload, body.lsn);
        }
        match event {
            Event::Added(added) => self.apply_added(added, body, NO_SCHEDULE),
            Event::Started { job, token, at } => {
                let listed = Listed { job: JobId(*job), token: Token(*token) };
                self.apply_started(listed, WallTime(*at), false, self.hint(0))
            }
            Event::StartedMany { at, count } => {
                let apply = |core: &mut Self, listed, hint| {
                    core.apply_started(listed, WallTime(*at), false, hint)
                };
                self.apply_list(Attempts::new(*count, payload), apply)
            }
            Event::Fetched { at, count } => {
                let apply = |core: &mut Self, listed, hint| {
                    core.apply_started(listed, WallTime(*at), true, hint)
                };
                self.apply_list(Attempts::new(*count, payload), apply)
            }
            Event::Extended { job, lease_end, .. } => {
                let job = JobId(*job);
                let slot = self.slot_of(job, self.hint(0))?;
                let from = self.table.get(slot).state;
                if from != JobState::Running {
                    let to = JobState::Running;
                    return Err(ReplayError::Transition { job, from, to });
                }
                self.disarm(slot);
                self.lease_until(slot, WallTime(*lease_end));
                Ok(())
            }
            Event::QueueSet { name, paused, .. } => {
                let queue = self.queues.intern(name).ok_or(ReplayError::TooManyQueues)?;
                self.queues.pause(queue, *paused);
                self.queues.set_body(queue, body.lsn, if *paused { body.units } else { 0 });
                Ok(())
            }
            Event::QueueLimits { at, name, limits, full_at } => {
                limits.check().map_err(|_| DecodeEventError("a queue's limits break a limit"))?;
                let queue = self.queues.intern(name).ok_or(ReplayError::TooManyQueues)?;
                let full_at_ns = WallTime(*full_at).signed_mono_ns(self.offset_ns);
                let at_ns = WallTime(*at).signed_mono_ns(self.offset_ns);
                self.queues.limit(queue, *limits, full_at_ns, at_ns);
                let units = if limits.is_default() { 0 } else { body.units };
                self.queues.set_limits_body(queue, body.lsn, units);
                Ok(())
            }
            Event::GroupsLimits { .. }
            | Event::GroupLimits { .. }
            | Event::GroupSpent { .. }
            | Event::QueueAging { .. } => self.apply_of_group(event, body),
            Event::Succeeded { job, at } => {
                self.apply_succeeded(JobId(*job), WallTime(*at), self.hint(0))
            }
            Event::SucceededMany { at, count } => {
                let apply = |core: &mut Self, listed: Listed, hint| {
                    core.apply_succeeded(listed.job, WallTime(*at), hint)
                };
                self.apply_list(Attempts::new(*count, payload), apply)
            }
            Event::Cancelled { job, at } => {
                self.end(JobId(*job), JobState::Cancelled, self.hint(0), WallTime(*at))
            }
            Event::NeedSettled { .. }
            | Event::UniqueKept { .. }
            | Event::BatchPut { .. }
            | Event::BatchSet { .. }
            | Event::BatchCount { .. }
            | Event::BatchOver { .. } => self.apply_relation(event, payload, body),
            Event::Expired { job, at } => {
                self.end(JobId(*job), JobState::Expired, self.hint(0), WallTime(*at))
            }
            Event::Failed { job, at, retry_at: Some(retry_at), .. } => {
                let slot = self.leave_running(JobId(*job), JobState::Scheduled, self.hint(0))?;
                self.counts.failed_attempts += 1;
                let due_ns = WallTime(*retry_at).to_mono(self.offset_ns).0;
                let record = self.table.get_mut(slot);
                record.set_clock(Clock::Mono);
                record.due_ns = due_ns;
                if record.has_options() && record.attempt == 1 {
                    self.relate_failed(slot);
                }
                self.wait_for_due(slot, retry_at <= at);
                Ok(())
            }
            Event::Failed { job, at, retry_at: None, .. } => {
                self.counts.failed_attempts += 1;
                self.end(JobId(*job), JobState::Dead, self.hint(0), WallTime(*at))
            }
            Event::Buried { job, at, failure, message } => {
                let death = Death { at: WallTime(*at), failure: *failure, message };
                self.apply_buried(JobId(*job), death, self.hint(0))
            }
            Event::Changed { at, change, count } => {
                let apply = |core: &mut Self, listed, hint| {
                    core.apply_changed(WallTime(*at), *change, listed, hint)
                };
                self.apply_list(Attempts::new(*count, payload), apply)
            }
            Event::Released { job, at, due } => {
                let slot = self.leave_running(JobId(*job), JobState::Scheduled, self.hint(0))?;
                let record = self.table.get_mut(slot);
                record.attempt = record.attempt.saturating_sub(1);
                if due > at {
                    record.set_clock(Clock::Mono);
                    record.due_ns = WallTime(*due).to_mono(self.offset_ns).0;
                }
                if record.may_expire() {
                    self.options.arm(slot);
                }
                self.wait_for_due(slot, due <= at);
                Ok(())
            }
            Event::SchedulePut { rule, next, .. } => {
                self.apply_put(rule, payload, next.map(WallTime), body)
            }
            Event::ScheduleFired { name, next, catch_up_until, job, .. } => {
                let number = self.schedules.find(name);
                if let Some(added) = job {
                    self.apply_added(added, body, number.unwrap_or(NO_SCHEDULE))?;
                }
                let Some(number) = number else {
                    if let Some(added) = job {
                        self.memory.await_schedule(name, JobId(added.job));
                    }
                    return Err(ReplayError::UnknownSchedule);
                };
                self.set_next(number, next.map(WallTime));
                if let Some(state) = self.schedules.get_mut(number) {
                    state.catch_up_until = WallTime(*catch_up_until);
                    state.has_unwritten_end = false;
                    state.fired += u64::from(job.is_some());
                }
                Ok(())
            }
            Event::ScheduleRemoved { name, .. } => {
                self.memory.forget_schedule(name);
                let number = self.schedules.find(name).ok_or(ReplayError::UnknownSchedule)?;
                self.remove_schedule_state(number);
                Ok(())
            }
            Event::SchedulePaused { at, name, note } => {
                let number = self.schedules.find(name).ok_or(ReplayError::UnknownSchedule)?;
                let Some(state) = self.schedules.get_mut(number) else {
                    return Err(ReplayError::UnknownSchedule);
                };
                let since = state.paused.as_ref().map_or(WallTime(*at), |pause| pause.since);
                state.paused = Some(Pause { since, note: (*note).into() });
                state.waits = false;
                let timer = state.timer;
                self.disarm(timer);
                Ok(())
            }
            Event::ScheduleResumed { name, .. } => {
                let number = self.schedules.find(name).ok_or(ReplayError::UnknownSchedule)?;
                self.resume(number);
                Ok(())
            }
            Event::Kept(kept) => self.apply_kept(kept, body),
            Event::ScheduleKept { rule, next, catch_up_until, fired, .. } => {
                let number = match self.schedules.find(rule.name) {
                    Some(number) => number,
                    None => self.insert_schedule(rule, payload, body)?,
                };
                let kept = StateKept {
                    next: next.map(WallTime),
                    catch_up_until: WallTime(*catch_up_until),
                    paused: rule.pause(),
                    fired: *fired,
                };
                self.apply_schedule_kept(number, kept, body);
                Ok(())
            }
            Event::Base {
                next_sequence,
                added,
                succeeded,
                dead,
                cancelled,
                failed_attempts,
                ..
            } => {
                self.next_sequence =
                    self.next_sequence.max(*next_sequence).min(JobId::SEQUENCE_MAX);
                self.counts.added = *added;
                self.counts.succeeded = *succeeded;
                self.counts.dead = *dead;
                self.counts.cancelled = *cancelled;
                self.counts.failed_attempts = *failed_attempts;
                let ended = succeeded
                    .saturating_add(*dead)
                    .saturating_add(*cancelled)
                    .saturating_add(self.counts.expired);
                self.memory.based(Census {
                    expected: added.saturating_sub(ended),
                    held: self.pending().into(),
                });
                Ok(())
            }
            Event::Totals { expired, .. } => {
                self.counts.expired = *expired;
                Ok(())
            }
        }
    }

    /// Applies what happened to each attempt of a list. One of a job that is not there does not
    /// keep the others from it.
    fn apply_list(
        &mut self,
        attempts: Attempts<'_>,
        apply: impl Fn(&mut Self, Listed, Option<Slot>) -> Result<(), ReplayError>,
    ) -> Result<(), ReplayError> {
        let mut unknown = Ok(());
        for (number, listed) in attempts.enumerate() {
            match apply(self, listed?, self.hint(number)) {
                Err(error @ ReplayError::UnknownJob(_)) => unknown = unknown.and(Err(error)),
                applied => applied?,
            }
        }
        unknown
    }

    fn apply_started(
        &mut self,
        Listed { job, token }: Listed,
        at: WallTime,
        is_fetched: bool,
        hint: Option<Slot>,
    ) -> Result<(), ReplayError> {
        let slot = self.slot_of(job, hint)?;
        self.enter(slot, JobState::Running)?;
        let record = self.table.get_mut(slot);
        record.traits = record.traits.fetched(is_fetched);
        record.attempt = record.attempt.saturating_add(1);
        record.token = token;
        let has_options = record.has_options();
        let ends = WallTime(at.0.saturating_add(timeout_ns(record.timeout_ms)));
        let queue = record.queue;
        let at_ns = at.signed_mono_ns(self.offset_ns);
        self.queues.attempt_began(queue, at_ns);
        self.count_begun(is_fetched);
        if has_options {
            if let Some(group) = self.options.group_of(slot) {
                self.queues.group_attempt_began(group, at_ns);
            }
            self.options.disarm(slot);
            self.relate_begun(slot);
        }
        self.lease_until(slot, ends);
        Ok(())
    }

    /// The attempt under way in `slot`, of which no timer runs, has until `ends`.
    pub(super) fn lease_until(&mut self, slot: Slot, ends: WallTime) {
        let ends_ns = ends.to_mono(self.offset_ns).0;
        let record = self.table.get_mut(slot);
        if record.is_fetched() {
            record.ready_ns = ends_ns;
        }
        self.arm(slot, Clock::Mono, ends_ns);
    }

    /// One more attempt is under way.
    pub(super) fn count_begun(&mut self, is_fetched: bool) {
        if is_fetched {
            self.fetched += 1;
        } else {
            self.running += 1;
        }
    }

    fn apply_succeeded(
        &mut self,
        job: JobId,
        at: WallTime,
        hint: Option<Slot>,
    ) -> Result<(), ReplayError> {
        self.end(job, JobState::Succeeded, hint, at)
    }

    /// Where the job of the event to be applied, or the `number`th of its list, probably lies.
    fn hint(&self, number: usize) -> Option<Slot> {
        self.hints.get(number).copied()
    }

    fn apply_added(
        &mut self,
        added: &JobAdded<'_>,
        body: Body,
        schedule: u16,
    ) -> Result<(), ReplayError> {
        let mut record = self.record_of(added, body, schedule)?;
        let is_blocked = !added.terms.options.needs.is_empty();
        if is_blocked {
            record.state = JobState::Blocked;
        }
        if let Some(replaced) = added.terms.options.replaces {
            let at = WallTime(added.at);
            let cancelled = self.end(JobId(replaced), JobState::Cancelled, None, at);
            match cancelled {
                // It was added before the journal's beginning.
                Ok(()) | Err(ReplayError::UnknownJob(_)) => {}
                error => return error,
            }
        }
        let slot = self.take_in(record, &added.terms)?;
        self.next_sequence = self.next_sequence.max(record.id.sequence() + 1);
        self.counts.added += 1;
        if record.has_options() {
            self.count_added(added.terms.options);
        }
        if !is_blocked {
            self.wait_for_due(slot, added.due <= added.at);
        }
        Ok(())
    }

    /// A job as it is once it was added.
    fn record_of(
        &mut self,
        added: &JobAdded<'_>,
        body: Body,
        schedule: u16,
    ) -> Result<Record, ReplayError> {
        let kind = self.kinds.intern(added.kind).map(KindId).ok_or(ReplayError::TooManyKinds)?;
        let queue = self.queues.intern(added.terms.queue).ok_or(ReplayError::TooManyQueues)?;
        let clock = added.clock();
        let due_ns = match clock {
            Clock::Mono => WallTime(added.due).to_mono(self.offset_ns).0,
            Clock::Wall => added.due,
        };
        Ok(Record {
            id: JobId(added.job),
            body: body.lsn,
            due_ns,
            ready_ns: 0,
            schedule,
            body_units: body.units,
            token: Token(0),
            backoff: added.terms.backoff(),
            timeout_ms: added.terms.timeout_ms,
            kind,
            payload_offset: body.payload_offset,
            attempt: 0,
            attempts_max: AttemptsMax::new(added.terms.attempts_max)
                .with_options(added.terms.options.is_any())
                .keeping_dead(added.terms.keeps_dead),
            queue,
            state: JobState::Scheduled,
            traits: Traits::job(added.terms.priority).on(clock).keyed(added.terms.key.is_some()),
        })
    }

    /// A job was written again. If it is held, it has moved to `body` and nothing else: it keeps
    /// its place in a wheel or line, and its lease. Else it is taken in as it was then.
    fn apply_kept(&mut self, kept: &JobKept<'_>, body: Body) -> Result<(), ReplayError> {
        let id = JobId(kept.job.job);
        let number = kept.schedule.map(|name| (name, self.schedules.find(name)));
        let schedule = number.and_then(|(_, number)| number).unwrap_or(NO_SCHEDULE);
        let mut record = Record {
            attempt: kept.attempt,
            token: Token(kept.token),
            ..self.record_of(&kept.job, body, schedule)?
        };
        if kept.state == KeptState::Blocked {
            record.state = JobState::Blocked;
        }
        if let Some(slot) = self.table.find(id) {
            return self.move_job(slot, kept.state, &record, body);
        }
        self.next_sequence = self.next_sequence.max(id.sequence() + 1);
        if let KeptState::Dead { died, failure, message } = kept.state {
            let slot = self.take_in_uncounted(record);
            let death = Death { at: WallTime(died), failure, message };
            self.lay_out(slot, kept.job.terms.key, death);
            let options = kept.job.terms.options.options();
            if let Some(options) = options.and_then(|options| options.lasting()) {
                self.keep_options(slot, options);
            }
            return self.await_schedule(number, id);
        }
        let slot = self.take_in(record, &kept.job.terms)?;
        match kept.state {
            KeptState::Dead { .. } => {}
            KeptState::Scheduled => self.wait_for_due(slot, false),
            KeptState::Blocked => {}
            KeptState::Ready => self.wait_for_due(slot, kept.job.due <= kept.at),
            KeptState::Running { lease_end } | KeptState::Fetched { lease_end } => {
                let is_fetched = matches!(kept.state, KeptState::Fetched { .. });
                let record = self.table.get_mut(slot);
                record.state = JobState::Running;
                record.traits = record.traits.fetched(is_fetched);
                let queue = record.queue;
                self.queues.attempt_found(queue);
                if let Some(group) = self.group_at(slot) {
                    self.queues.group_attempt_found(group);
                }
                self.count_begun(is_fetched);
                self.lease_until(slot, WallTime(lease_end));
            }
        }
        self.await_schedule(number, id)
    }

    /// A job belongs to the schedule of a name and number, or will once that is known.
    fn await_schedule(
        &mut self,
        schedule: Option<(&str, Option<u16>)>,
        job: JobId,
    ) -> Result<(), ReplayError> {
        match schedule {
            Some((name, None)) => {
                self.memory.await_schedule(name, job);
                Err(ReplayError::UnknownSchedule)
            }
            _ => Ok(()),
        }
    }

    /// The job in `slot` lies at `body` now; `kept` is what was written of it there.
    fn move_job(
        &mut self,
        slot: Slot,
        state: KeptState<'_>,
        kept: &Record,
        body: Body,
    ) -> Result<(), ReplayError> {
        let record = *self.table.get(slot);
        let is_running = record.state == JobState::Running;
        let held = (record.attempt, record.token, record.clock(), is_running);
        let was_running = matches!(state, KeptState::Running { .. } | KeptState::Fetched { .. });
        let died = record.is_dead().then(|| self.dead.get(record.dead_entry()).death());
        let dies = match state {
            KeptState::Dead { died, failure, message } => {
                Some(Death { at: WallTime(died), failure, message: kept_message(message) })
            }
            _ => None,
        };
        if held != (kept.attempt, kept.token, kept.clock(), was_running) || died != dies {
            return Err(ReplayError::KeptOtherwise(record.id));
        }
        self.table.set_body(slot, body);
        // Live, the due time is the same. On recovery it differs if the wall clock was set in
        // between: the later reading counts, as it does where the earlier was cut off.
        if record.due_ns != kept.due_ns {
            let waits = record.state == JobState::Scheduled;
            if waits {
                self.disarm(slot);
            }
            self.table.get_mut(slot).due_ns = kept.due_ns;
            if waits {
                self.arm(slot, record.clock(), kept.due_ns);
            }
        }
        Ok(())
    }

    /// Puts a scheduled job where it waits for its due time; one that was due when the event was
    /// written is ready at once, without the wait for the next tick.
    pub(super) fn wait_for_due(&mut self, slot: Slot, is_due: bool) {
        let mono_ns = self.step_mono.0;
        let record = self.table.get_mut(slot);
        if is_due {
            record.state = JobState::Ready;
            record.ready_ns = mono_ns;
            self.stand_in_line(slot);
        } else {
            let (clock, due_ns) = (record.clock(), record.due_ns);
            self.arm(slot, clock, due_ns);
        }
    }

    /// Moves a job whose attempt is under way into `state`; the caller puts it where that state waits.
    pub(super) fn leave_running(
        &mut self,
        job: JobId,
        state: JobState,
        hint: Option<Slot>,
    ) -> Result<Slot, ReplayError> {
        let slot = self.slot_from(job, state, hint, |record| record.state == JobState::Running)?;
        self.enter(slot, state)?;
        Ok(slot)
    }

    /// Where a job lies that may go to the state `to` only if `is_right` says so.
    pub(super) fn slot_from(
        &self,
        job: JobId,
        to: JobState,
        hint: Option<Slot>,
        is_right: impl Fn(&Record) -> bool,
    ) -> Result<Slot, ReplayError> {
        let slot = self.slot_of(job, hint)?;
        let record = self.table.get(slot);
        match is_right(record) {
            true => Ok(slot),
            false => Err(ReplayError::Transition { job, from: record.state, to }),
        }
    }

    /// Moves the job in `slot` out of its line and into `state`; the caller puts it where that state waits.
    pub(super) fn enter(&mut self, slot: Slot, state: JobState) -> Result<(), ReplayError> {
        let record = self.table.get(slot);
        let (queue, has_options) = (record.queue, record.has_options());
        let (is_fetched, present) = (record.is_fetched(), record.state);
        // A job that is due may be started: the step from scheduled to ready is not written.
        let is_due = state == JobState::Running && present == JobState::Scheduled;
        let from = if is_due { JobState::Ready } else { present };
        if !from.may_become(state) {
            return Err(ReplayError::Transition { job: record.id, from, to: state });
        }
        self.disarm(slot);
        if from == JobState::Running {
            match is_fetched {
                true => {
                    self.fetched -= 1;
                    if let Some(ends) = &mut self.fetch_ends {
                        ends.push(self.table.get(slot).id);
                    }
                }
                false => self.running -= 1,
            }
            self.queues.attempt_ended(queue);
            if has_options && let Some(group) = self.options.group_of(slot) {
                self.queues.group_attempt_ended(group);
            }
        }
        self.table.get_mut(slot).state = state;
        Ok(())
    }

    pub(super) fn end(
        &mut self,
        job: JobId,
        state: JobState,
        hint: Option<Slot>,
        at: WallTime,
    ) -> Result<(), ReplayError> {
        let slot = self.slot_of(job, hint)?;
        let record = self.table.get(slot);
        let (was, queue, schedule) = (record.state, record.queue, record.schedule);
        let (is_keyed, has_options) = (record.is_keyed(), record.has_options());
        self.enter(slot, state)?;
        let ended = match state {
            JobState::Succeeded => &mut self.counts.succeeded,
            JobState::Cancelled => &mut self.counts.cancelled,
            JobState::Expired => &mut self.counts.expired,
            JobState::Dead => &mut self.counts.dead,
            state => unreachable!("{state} is no end"),
        };
        *ended += 1;
        self.queues.job_ended(queue);
        #[cfg(feature = "planted")]
        let is_keyed = is_keyed && !self.has_planted(crate::planted::Bug::HeldKey);
        if is_keyed {
            self.keys.remove(slot);
        }
        if has_options {
            self.relate_ended(Ending { slot, was, state });
            self.leave_group(slot);
            self.options.remove(slot);
        }
        if !self.waits.is_empty() {
            self.waits.end(job, state == JobState::Succeeded);
        }
        if schedule != NO_SCHEDULE {
            self.schedule_job_ends(schedule, job, at);
        }
        self.table.remove(slot);
        Ok(())
    }

    fn slot_of(&self, job: JobId, hint: Option<Slot>) -> Result<Slot, ReplayError> {
        match hint.filter(|slot| self.table.holds(*slot, job)) {
            Some(slot) => Ok(slot),
            None => self.table.find(job).ok_or(ReplayError::UnknownJob(job)),
        }
    }

    /// Puts a job into the table, with its key and its options.
    fn take_in(&mut self, record: Record, terms: &Terms<'_>) -> Result<Slot, ReplayError> {
        let key = terms.key;
        if key.is_some_and(|key| self.keys.find(key).is_some()) {
            return Err(ReplayError::KeyTaken(record.id));
        }
        let slot = self.take_in_uncounted(record);
        if record.schedule != NO_SCHEDULE {
            self.schedule_job_begins(record.schedule, record.id);
        }
        self.queues.job_added(record.queue);
        if let Some(key) = key {
            self.keys.insert(key, slot);
        }
        if terms.options.is_any() {
            let options = self.options_held(record.queue, terms.options);
            self.relate(&record, terms.options);
            if record.state == JobState::Blocked {
                self.waits.add(record.id, &options.needs);
            }
            self.options.insert(slot, options);
            self.join_group(slot, record.queue);
            if record.may_expire() {
                self.options.arm(slot);
            }
        }
        Ok(slot)
    }

    fn take_in_uncounted(&mut self, record: Record) -> Slot {
        let slot = self.table.insert(record);
        self.links.grow_to(slot.0);
        slot
    }
}
