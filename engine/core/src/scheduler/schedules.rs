//! Schedules: the commands about them, and what is written when one fires.
//!
//! Which fire times run is for `schedule/missed.rs`; how the state changes is for `apply.rs`.

use alloc::{sync::Arc, vec::Vec};

use super::{
    Scheduler,
    decide::{Answered, refused},
    io::{Alert, Answer, Backfilled, Outputs},
    trigger::on_clock,
};
use crate::{
    event::{Event, Rule},
    id::{JobId, Lsn, Slot},
    job::{Clock, Refusal},
    journal::Journal,
    limits,
    schedule::{self, Fires, Overlap, Schedule, table::ScheduleState},
    time::{MonoTime, Now, WallTime, ms_to_ns},
};

impl Scheduler {
    pub(super) fn put_schedule(
        &mut self,
        now: Now,
        schedule: &Schedule<'_>,
        journal: &mut impl Journal,
    ) -> Answered {
        if let Err(refusal) = schedule.check() {
            return refused(refusal);
        }
        let before = self.schedules.find(&schedule.name).and_then(|n| self.schedules.get(n));
        let fired = before.map_or(0, |state| state.fired);
        let like_before = before.filter(|state| state.rule.fires_like(schedule));
        let first = || Fires::of(schedule).first(now);
        let next = match (like_before, before) {
            (Some(state), _) if *state.rule == *schedule => {
                return (Answer::SchedulePut(self.next_fire(state)), Lsn(0));
            }
            // More runs are allowed than there were: they begin now.
            (Some(state), _) if !state.rule.has_runs_left(fired) => first(),
            (Some(state), _) => self.next_fire(state),
            (None, None) if self.schedules.is_full() => {
                return refused(Refusal::TooManySchedules);
            }
            (None, _) => first(),
        };
        let has_runs_left = schedule.has_runs_left(fired);
        if like_before.is_none() && (next.is_none() || !has_runs_left) {
            return refused(Refusal::Schedule(match has_runs_left {
                true => {
                    "it never fires: its years or its end are past, or all its times are skipped; \
                     give it other times, or remove the schedule"
                }
                false => {
                    "its runs are used up: raise their limit, or remove the schedule and put it \
                     again"
                }
            }));
        }
        let next = next.filter(|_| has_runs_left);
        if !self.kinds.has_room_for(&schedule.job.kind) {
            return refused(Refusal::TooManyKinds);
        }
        if !self.queues.has_room_for(&schedule.job.queue) {
            return refused(Refusal::TooManyQueues);
        }
        let len_bytes = limits::EVENT_HEAD_BYTES_MAX + schedule.job.payload.len();
        if let Err(refusal) = self.room_for_new(journal, len_bytes) {
            return refused(refusal);
        }
        let event = Event::SchedulePut {
            at: now.wall.0,
            rule: Rule::of(schedule),
            next: next.map(|next| next.0),
        };
        let position = self.commit(&event, &schedule.job.payload, journal).position;
        (Answer::SchedulePut(next), position.end)
    }

    /// The next fire time of a schedule, as the wall clock is now: that of an interval is kept on
    /// the monotonic clock, and the wall clock may have been set since it was written. What lay
    /// before the monotonic clock's zero, the boot, has its true time only in what was written, and is
    /// past whatever the wall clock says now.
    pub(super) fn next_fire(&self, state: &ScheduleState) -> Option<WallTime> {
        let record = self.table.get(state.timer);
        if record.clock() == Clock::Wall {
            return state.next;
        }
        let due = MonoTime(record.due_ns).to_wall(self.offset_ns);
        state.next.map(|next| if record.due_ns == 0 { next.min(due) } else { due })
    }

    pub(super) fn remove_schedule(
        &mut self,
        now: Now,
        name: &str,
        journal: &mut impl Journal,
    ) -> Answered {
        if self.schedules.find(name).is_none() {
            return (Answer::ScheduleRemoved(false), Lsn(0));
        }
        let need = limits::START_BYTES_MAX + limits::NAME_BYTES_MAX as u64;
        if let Err(refusal) = self.room_for(journal, need) {
            return refused(refusal);
        }
        let event = Event::ScheduleRemoved { at: now.wall.0, name };
        let position = self.commit(&event, &[], journal).position;
        (Answer::ScheduleRemoved(true), position.end)
    }

    pub(super) fn pause_schedule(
        &mut self,
        now: Now,
        name: &str,
        note: &str,
        journal: &mut impl Journal,
    ) -> Answered {
        if note.len() > limits::NOTE_BYTES_MAX {
            return refused(Refusal::NoteTooLong { len_bytes: note.len() });
        }
        let Some(state) = self.schedules.find(name).and_then(|n| self.schedules.get(n)) else {
            return (Answer::ScheduleSet(false), Lsn(0));
        };
        if state.paused.as_ref().is_some_and(|pause| pause.note == note) {
            return (Answer::ScheduleSet(true), Lsn(0));
        }
        let event = Event::SchedulePaused { at: now.wall.0, name, note };
        self.set_schedule(&event, name.len() + note.len(), journal)
    }

    pub(super) fn resume_schedule(
        &mut self,
        now: Now,
        name: &str,
        journal: &mut impl Journal,
    ) -> Answered {
        let Some(state) = self.schedules.find(name).and_then(|n| self.schedules.get(n)) else {
            return (Answer::ScheduleSet(false), Lsn(0));
        };
        if state.paused.is_none() {
            return (Answer::ScheduleSet(true), Lsn(0));
        }
        let event = Event::ScheduleResumed { at: now.wall.0, name };
        self.set_schedule(&event, name.len(), journal)
    }

    pub(super) fn run_schedule(
        &mut self,
        now: Now,
        name: &str,
        journal: &mut impl Journal,
        out: &mut Outputs,
    ) -> Answered {
        let Some(state) = self.schedules.find(name).and_then(|n| self.schedules.get(n)) else {
            return (Answer::ScheduleRun(None), Lsn(0));
        };
        let rule = Arc::clone(&state.rule);
        match self.add_run(now, &rule, now.wall, journal, out) {
            Ok((id, end)) => (Answer::ScheduleRun(Some(id)), end),
            Err(refusal) => refused(refusal),
        }
    }

    /// Adds jobs of a schedule for its fire times from `from` to `to`, as many as one step may.
    pub(super) fn backfill(
        &mut self,
        now: Now,
        name: &str,
        from: WallTime,
        to: WallTime,
        journal: &mut impl Journal,
        out: &mut Outputs,
    ) -> Answered {
        let Some(state) = self.schedules.find(name).and_then(|n| self.schedules.get(n)) else {
            return (Answer::Backfilled(None), Lsn(0));
        };
        let reason = if from > to {
            "the window of a backfill begins after its end: check the two"
        } else if state.rule.overlap != Overlap::Allow {
            "its runs do not overlap, and a backfill adds many at once: put it with the overlap `allow` \
             first"
        } else {
            ""
        };
        if !reason.is_empty() {
            return refused(Refusal::Schedule(reason));
        }
        // What is to come the schedule fires at itself.
        let to = to.min(now.wall);
        let rule = Arc::clone(&state.rule);
        let next = self.next_fire(state);
        let mut done = Backfilled::default();
        let mut end = Lsn(0);
        for time in Fires::of(&rule).within(from, to, next) {
            done.next = Some(time);
            if done.added == limits::BACKFILL_PER_STEP {
                return (Answer::Backfilled(Some(done)), end);
            }
            match self.add_run(now, &rule, time, journal, out) {
                Ok((_, after)) => end = after,
                Err(refusal) => {
                    done.refused = Some(refusal);
                    return (Answer::Backfilled(Some(done)), end);
                }
            }
            done.added += 1;
        }
        done.next = None;
        (Answer::Backfilled(Some(done)), end)
    }

    /// Adds the job of a schedule, due at `due`, beside its fire times.
    fn add_run(
        &mut self,
        now: Now,
        rule: &Schedule<'_>,
        due: WallTime,
        journal: &mut impl Journal,
        out: &mut Outputs,
    ) -> Result<(JobId, Lsn), Refusal> {
        let number = self.schedules.find(&rule.name);
        let Some((number, state)) = number.and_then(|n| Some((n, self.schedules.get(n)?))) else {
            unreachable!("the caller has found it");
        };
        if state.overlaps() {
            return Err(Refusal::Schedule(
                "a job of it has not ended and it does not overlap: wait for that job's end, or \
                 cancel it",
            ));
        }
        if !rule.has_runs_left(state.fired) {
            return Err(Refusal::Schedule(
                "its runs are used up: put it again with a higher limit, or without one",
            ));
        }
        if self.is_full() {
            return Err(Refusal::TooManyJobs { max: self.config.jobs_max });
        }
        let len_bytes = limits::EVENT_HEAD_BYTES_MAX + rule.job.payload.len();
        self.room_for_new(journal, len_bytes)?;
        let next = self.next_fire(state).filter(|_| rule.has_runs_left(state.fired + 1));
        let catch_up_until = state.catch_up_until.0;
        if !self.make_way(now, number, journal, out) {
            return Err(Refusal::Schedule(
                "more of its jobs have not ended than are cancelled at a time: try again",
            ));
        }
        self.group_of_job_takes(&rule.job, 0)?;
        self.queue_takes(&rule.job.queue)?;
        // A fire time of before the boot has no place on the monotonic clock.
        let clock = if due < now.wall { Clock::Wall } else { rule.timing.clock() };
        let added = self.added(now, &rule.job, due, clock);
        let id = JobId(added.job);
        let event = Event::ScheduleFired {
            at: now.wall.0,
            name: &rule.name,
            next: next.map(|next| next.0),
            catch_up_until,
            job: Some(added),
        };
        let position = self.commit(&event, &rule.job.payload, journal).position;
        out.lateness_ns.push(0);
        Ok((id, position.end))
    }

    /// Cancels the jobs of a schedule that the next one replaces, if that is its rule. Whether all are
    /// gone: else there was no room in the journal, or they are more than are cancelled at a time.
    fn make_way(
        &mut self,
        now: Now,
        number: u16,
        journal: &mut impl Journal,
        out: &mut Outputs,
    ) -> bool {
        let Some(state) = self.schedules.get(number) else { return true };
        if state.rule.overlap != Overlap::Replace {
            return true;
        }
        let jobs: Vec<JobId> =
            state.pending.iter().copied().take(limits::REPLACED_PER_STEP).collect();
        for job in jobs {
            let (answer, _) = self.cancel(now, job, journal, out);
            if !matches!(answer, Answer::Cancelled(Some(_))) {
                return false;
            }
        }
        self.schedules.get(number).is_none_or(|state| state.pending.is_empty())
    }

    /// Writes an event about a schedule that is there, with `text_bytes` of text.
    fn set_schedule(
        &mut self,
        event: &Event<'_>,
        text_bytes: usize,
        journal: &mut impl Journal,
    ) -> Answered {
        let need = limits::START_BYTES_MAX + text_bytes as u64;
        if let Err(refusal) = self.room_for(journal, need) {
            return refused(refusal);
        }
        let position = self.commit(event, &[], journal).position;
        (Answer::ScheduleSet(true), position.end)
    }

    pub(super) fn fire_schedule(
        &mut self,
        now: Now,
        timer: Slot,
        journal: &mut impl Journal,
        out: &mut Outputs,
    ) {
        let record = *self.table.get(timer);
        let Some(state) = self.schedules.get(record.schedule) else {
            panic!("a timer fired for a schedule that is not there");
        };
        if state.overlaps() && matches!(state.rule.overlap, Overlap::Queue { .. }) {
            // The end of the last of its jobs brings the timer back.
            if let Some(state) = self.schedules.get_mut(record.schedule) {
                state.waits = true;
            }
            return;
        }
        let Some(due) = self.next_fire(state) else {
            panic!("a timer fired for a schedule that does not fire any more");
        };
        let rule = &state.rule;
        let missed = rule.missed;
        #[cfg(feature = "planted")]
        let missed = self.planted_missed(missed);
        let decision = schedule::decide(
            &Fires::of(rule),
            missed,
            rule.overlap,
            rule.grace_ms,
            state.catch_up_until,
            due,
            now.wall,
        );
        let run = decision.run.filter(|_| !state.overlaps());
        let fired = state.fired + u64::from(run.is_some());
        // The event borrows the rule while applying it needs the state.
        let rule = Arc::clone(rule);
        let len_bytes = limits::EVENT_HEAD_BYTES_MAX + rule.job.payload.len();
        // The queue last: it keeps a place for a job that comes.
        if self.room_for_new(journal, len_bytes).is_err()
            || self.pending() >= self.config.jobs_max
            || (run.is_some()
                && (!self.make_way(now, record.schedule, journal, out)
                    || self.group_of_job_takes(&rule.job, 0).is_err()
                    || self.queue_takes(&rule.job.queue).is_err()))
        {
            // Its due time stays, so that the policy for missed runs sees how late it became.
            let again = on_clock(now, record.clock()) + ms_to_ns(limits::NO_ROOM_RETRY_MS);
            self.arm(timer, record.clock(), again);
            return;
        }
        let clock = record.clock();
        let event = Event::ScheduleFired {
            at: now.wall.0,
            name: &rule.name,
            next: decision.next.filter(|_| rule.has_runs_left(fired)).map(|next| next.0),
            catch_up_until: decision.catch_up_until.0,
            job: run.map(|due| self.added(now, &rule.job, due, clock)),
        };
        self.commit(&event, &rule.job.payload, journal);
        if decision.is_missed {
            let schedule = rule.name.as_ref().into();
            out.alerts.push(Alert::FireMissed { schedule, due, at: now.wall });
        }
        // The job is ready at once: its trigger was this timer's.
        out.lateness_ns.extend(run.map(|due| now.wall.0.saturating_sub(due.0)));
    }
}
