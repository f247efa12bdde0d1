//! Events change the state here, and nowhere else: live and on recovery the same code runs, and it
//! reads no clock.

use super::{Scheduler, io::Counts};
use crate::{
    event::{DecodeEventError, Event, JobAdded, Rule},
    id::{JobId, Lsn, Slot, Token},
    job::{
        Clock, JobState,
        record::{NO_SCHEDULE, Record, Role},
        timeout_ns,
    },
    schedule::table::ScheduleState,
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
    /// The event names a schedule that is not there.
    #[error("an event names a schedule that is not there")]
    UnknownSchedule,
    /// More kinds than a shard knows.
    #[error("there are too many kinds")]
    TooManyKinds,
    /// A head that is longer than heads are.
    #[error("an event's head is too long")]
    HeadLength,
}

impl Scheduler {
    /// Applies `event`, which lies at `lsn` and whose `payload` begins `payload_offset` bytes in.
    pub(super) fn apply(
        &mut self,
        event: &Event<'_>,
        payload: &[u8],
        lsn: Lsn,
        payload_offset: usize,
    ) -> Result<(), ReplayError> {
        match event {
            Event::Added(added) => self.apply_added(added, lsn, payload_offset, NO_SCHEDULE),
            Event::Started { job, token, at } => {
                let slot = self.enter(JobId(*job), JobState::Running)?;
                let record = self.table.get_mut(slot);
                record.attempt = record.attempt.saturating_add(1);
                record.token = Token(*token);
                let ends = WallTime(at.saturating_add(timeout_ns(record.timeout_ms)));
                self.running += 1;
                self.arm(slot, Clock::Mono, ends.to_mono(self.offset_ns).0);
                Ok(())
            }
            Event::Succeeded { job, .. } => {
                self.end(JobId(*job), JobState::Succeeded, |counts| &mut counts.succeeded)
            }
            Event::Cancelled { job, .. } => {
                self.end(JobId(*job), JobState::Cancelled, |counts| &mut counts.cancelled)
            }
            Event::Failed { job, at, retry_at: Some(retry_at), .. } => {
                let slot = self.enter(JobId(*job), JobState::Scheduled)?;
                self.counts.failed_attempts += 1;
                let due_ns = WallTime(*retry_at).to_mono(self.offset_ns).0;
                let record = self.table.get_mut(slot);
                record.clock = Clock::Mono;
                record.due_ns = due_ns;
                self.wait_for_due(slot, retry_at <= at);
                Ok(())
            }
            Event::Failed { job, retry_at: None, .. } => {
                self.counts.failed_attempts += 1;
                self.end(JobId(*job), JobState::Dead, |counts| &mut counts.dead)
            }
            Event::Released { job, at, due } => {
                let slot = self.enter(JobId(*job), JobState::Scheduled)?;
                let record = self.table.get_mut(slot);
                record.attempt = record.attempt.saturating_sub(1);
                if due > at {
                    record.clock = Clock::Mono;
                    record.due_ns = WallTime(*due).to_mono(self.offset_ns).0;
                }
                self.wait_for_due(slot, due <= at);
                Ok(())
            }
            Event::SchedulePut { rule, next, .. } => {
                self.apply_put(rule, payload, next.map(WallTime))
            }
            Event::ScheduleFired { name, next, catch_up_until, job, .. } => {
                let number = self.schedules.find(name).ok_or(ReplayError::UnknownSchedule)?;
                self.set_next(number, next.map(WallTime));
                if let Some(state) = self.schedules.get_mut(number) {
                    state.catch_up_until = WallTime(*catch_up_until);
                    state.fired += u64::from(job.is_some());
                }
                match job {
                    Some(added) => self.apply_added(added, lsn, payload_offset, number),
                    None => Ok(()),
                }
            }
            Event::ScheduleRemoved { name, .. } => {
                let number = self.schedules.find(name).ok_or(ReplayError::UnknownSchedule)?;
                self.remove_schedule_state(number);
                Ok(())
            }
        }
    }

    fn apply_added(
        &mut self,
        added: &JobAdded<'_>,
        lsn: Lsn,
        payload_offset: usize,
        schedule: u32,
    ) -> Result<(), ReplayError> {
        let kind = self.kinds.intern(added.kind).ok_or(ReplayError::TooManyKinds)?;
        let clock = added.clock();
        let due_ns = match clock {
            Clock::Mono => WallTime(added.due).to_mono(self.offset_ns).0,
            Clock::Wall => added.due,
        };
        let id = JobId(added.job);
        let slot = self.table.insert(Record {
            id,
            body: lsn,
            due_ns,
            ready_ns: 0,
            schedule,
            token: Token(0),
            backoff: added.terms.backoff(),
            timeout_ms: added.terms.timeout_ms,
            kind,
            payload_offset: u16::try_from(payload_offset).map_err(|_| ReplayError::HeadLength)?,
            attempt: 0,
            attempts_max: added.terms.attempts_max,
            priority: added.terms.priority.min(crate::limits::PRIORITY_MAX),
            state: JobState::Scheduled,
            clock,
            role: Role::Job,
        });
        self.links.grow_to(slot.0);
        self.next_sequence = self.next_sequence.max(id.sequence() + 1);
        self.counts.added += 1;
        self.wait_for_due(slot, added.due <= added.at);
        Ok(())
    }

    /// Puts a scheduled job where it waits for its due time; one that was due when the event was
    /// written is ready at once, without the wait for the next tick.
    fn wait_for_due(&mut self, slot: Slot, is_due: bool) {
        let mono_ns = self.step_mono.0;
        let record = self.table.get_mut(slot);
        if is_due {
            record.state = JobState::Ready;
            record.ready_ns = mono_ns;
            let priority = record.priority;
            self.ready.push(&mut self.links, slot, priority);
        } else {
            let (clock, due_ns) = (record.clock, record.due_ns);
            self.arm(slot, clock, due_ns);
        }
    }

    fn apply_put(
        &mut self,
        rule: &Rule<'_>,
        payload: &[u8],
        next: Option<WallTime>,
    ) -> Result<(), ReplayError> {
        let rule = rule.schedule(payload)?;
        // Its kind is known from now on, so that it cannot be one too many when it fires.
        self.kinds.intern(&rule.job.kind).ok_or(ReplayError::TooManyKinds)?;
        let mut fired = 0;
        let mut catch_up_until = WallTime(0);
        if let Some(number) = self.schedules.find(&rule.name)
            && let Some(before) = self.schedules.get_mut(number)
        {
            // The number must stay: jobs that the schedule added refer to it.
            fired = before.fired;
            catch_up_until = before.catch_up_until;
            let clock_before = before.rule.timing.clock();
            let timer = before.timer;
            *before = ScheduleState { rule, next: None, catch_up_until, fired, timer };
            debug_assert_eq!(clock_before, self.table.get(timer).clock);
            self.set_next(number, next);
            return Ok(());
        }
        let timer = self.table.insert(Record {
            role: Role::Schedule,
            schedule: self.schedules.next_number(),
            ..Record::default()
        });
        self.links.grow_to(timer.0);
        self.schedules.insert(ScheduleState { rule, next: None, catch_up_until, fired, timer });
        self.set_next(self.table.get(timer).schedule, next);
        Ok(())
    }

    /// Sets the next fire time of a schedule, and its timer.
    pub(super) fn set_next(&mut self, number: u32, next: Option<WallTime>) {
        let offset_ns = self.offset_ns;
        let Some(state) = self.schedules.get_mut(number) else {
            return;
        };
        state.next = next;
        let (timer, clock) = (state.timer, state.rule.timing.clock());
        self.disarm(timer);
        let record = self.table.get_mut(timer);
        record.clock = clock;
        if let Some(next) = next {
            record.due_ns = match clock {
                Clock::Mono => next.to_mono(offset_ns).0,
                Clock::Wall => next.0,
            };
            let due_ns = record.due_ns;
            self.arm(timer, clock, due_ns);
        }
    }

    pub(super) fn remove_schedule_state(&mut self, number: u32) {
        if let Some(state) = self.schedules.remove(number) {
            self.disarm(state.timer);
            self.table.remove(state.timer);
            self.forget_schedule(number);
        }
    }

    /// Jobs of a removed schedule belong to none, before its number is given to another.
    fn forget_schedule(&mut self, number: u32) {
        for slot in (0..self.table.slots()).map(Slot) {
            let record = self.table.get_mut(slot);
            if record.role == Role::Job && record.schedule == number {
                record.schedule = NO_SCHEDULE;
            }
        }
    }

    /// Moves a job out of its line and into `state`; the caller puts it where that state waits.
    pub(super) fn enter(&mut self, job: JobId, state: JobState) -> Result<Slot, ReplayError> {
        let slot = if self.table.holds(self.hint, job) {
            self.hint
        } else {
            self.table.find(job).ok_or(ReplayError::UnknownJob(job))?
        };
        // A job that is due may be started: the step from scheduled to ready is not written.
        if state == JobState::Running && self.table.get(slot).state == JobState::Scheduled {
            self.disarm(slot);
            self.table.get_mut(slot).state = JobState::Ready;
        }
        let from = self.table.get(slot).state;
        if !from.may_become(state) {
            return Err(ReplayError::Transition { job, from, to: state });
        }
        self.disarm(slot);
        if from == JobState::Running {
            self.running -= 1;
        }
        self.table.get_mut(slot).state = state;
        Ok(slot)
    }

    fn end(
        &mut self,
        job: JobId,
        state: JobState,
        count: impl Fn(&mut Counts) -> &mut u64,
    ) -> Result<(), ReplayError> {
        let slot = self.enter(job, state)?;
        *count(&mut self.counts) += 1;
        self.table.remove(slot);
        Ok(())
    }
}
