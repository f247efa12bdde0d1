//! What events about schedules change.

use alloc::{collections::BTreeSet, sync::Arc};

use super::{ReplayError, StateKept};
use crate::{
    Schedule,
    event::Rule,
    id::{JobId, Slot},
    job::{
        Clock,
        record::{NO_SCHEDULE, Record, Role, Traits},
        table::Body,
    },
    schedule::{Overlap, table::ScheduleState},
    scheduler::Scheduler,
    time::WallTime,
};

impl Scheduler {
    pub(super) fn apply_put(
        &mut self,
        rule: &Rule<'_>,
        payload: &[u8],
        next: Option<WallTime>,
        body: Body,
    ) -> Result<(), ReplayError> {
        let Some(number) = self.schedules.find(rule.name) else {
            let number = self.insert_schedule(rule, payload, body)?;
            self.set_next(number, next);
            return Ok(());
        };
        let rule = self.rule_of(rule, payload)?;
        // The number must stay: jobs that the schedule added refer to it. The body stays too: this
        // event does not tell how often the schedule fired and how far it has caught up, so the
        // one before it is still needed to build the state.
        if let Some(state) = self.schedules.get_mut(number) {
            state.rule = rule;
        }
        self.set_next(number, next);
        Ok(())
    }

    /// Adds a schedule that has not fired yet, and links the jobs that waited for it.
    pub(super) fn insert_schedule(
        &mut self,
        rule: &Rule<'_>,
        payload: &[u8],
        body: Body,
    ) -> Result<u16, ReplayError> {
        let rule = self.rule_of(rule, payload)?;
        if self.schedules.is_full() {
            return Err(ReplayError::TooManySchedules);
        }
        let number = self.schedules.next_number();
        let mut pending = BTreeSet::new();
        for job in self.memory.take_awaiting(&rule.name) {
            // Those that have ended since are not there any more.
            if let Some(slot) = self.table.find(job) {
                let record = self.table.get_mut(slot);
                record.schedule = number;
                if !record.is_dead() {
                    pending.insert(job);
                }
            }
        }
        let timer = self.table.insert(Record {
            traits: Traits::schedule().on(rule.timing.clock()),
            schedule: number,
            ..Record::default()
        });
        self.table.set_body(timer, body);
        self.links.grow_to(timer.0);
        let catch_up_until = WallTime(0);
        let state = ScheduleState {
            rule,
            next: None,
            catch_up_until,
            paused: None,
            pending,
            waits: false,
            has_unwritten_end: false,
            fired: 0,
            timer,
        };
        self.schedules.insert(state);
        Ok(number)
    }

    /// The rule as it is held. Its kind is known from now on, so that it cannot be one too many
    /// when it fires.
    fn rule_of(
        &mut self,
        rule: &Rule<'_>,
        payload: &[u8],
    ) -> Result<Arc<Schedule<'static>>, ReplayError> {
        let rule = rule.schedule(payload)?;
        self.kinds.intern(&rule.job.kind).ok_or(ReplayError::TooManyKinds)?;
        self.queues.intern(&rule.job.queue).ok_or(ReplayError::TooManyQueues)?;
        Ok(Arc::new(rule))
    }

    /// A schedule was written again at `body`. Live, nothing but its place changes. On recovery,
    /// what is known of it may have begun with a replacement of its rule: all but the rule and the
    /// next fire time was cut off, and comes back here.
    pub(super) fn apply_schedule_kept(&mut self, number: u16, kept: StateKept, body: Body) {
        let Some(state) = self.schedules.get_mut(number) else { return };
        state.catch_up_until = kept.catch_up_until;
        state.has_unwritten_end = false;
        state.fired = kept.fired;
        let has_moved = state.next != kept.next || state.paused != kept.paused;
        state.paused = kept.paused;
        let timer = state.timer;
        self.table.set_body(timer, body);
        if has_moved {
            self.set_next(number, kept.next);
        }
    }

    /// Sets the next fire time of a schedule, and its timer, which runs unless it is paused.
    pub(crate) fn set_next(&mut self, number: u16, next: Option<WallTime>) {
        let offset_ns = self.offset_ns;
        let Some(state) = self.schedules.get_mut(number) else {
            return;
        };
        state.next = next;
        state.waits = false;
        let (timer, clock) = (state.timer, state.rule.timing.clock());
        let is_paused = state.paused.is_some();
        self.disarm(timer);
        let record = self.table.get_mut(timer);
        record.set_clock(clock);
        if let Some(next) = next {
            record.due_ns = match clock {
                Clock::Mono => next.to_mono(offset_ns).0,
                Clock::Wall => next.0,
            };
            let due_ns = record.due_ns;
            if !is_paused {
                self.arm(timer, clock, due_ns);
            }
        }
    }

    /// A job that a schedule added has begun to be one that has not ended, unless it belongs to none.
    pub(in crate::scheduler) fn schedule_job_begins(&mut self, number: u16, job: JobId) {
        if let Some(state) = self.schedules.get_mut(number) {
            state.pending.insert(job);
        }
    }

    /// It has ended at `at`. What waited for the last of them goes on.
    pub(in crate::scheduler) fn schedule_job_ends(
        &mut self,
        number: u16,
        job: JobId,
        at: WallTime,
    ) {
        let Some(state) = self.schedules.get_mut(number) else { return };
        state.pending.remove(&job);
        let is_queue = matches!(state.rule.overlap, Overlap::Queue { .. });
        if !is_queue || !state.pending.is_empty() || state.paused.is_some() {
            return;
        }
        #[cfg(feature = "planted")]
        let at =
            if self.planted == Some(crate::planted::Bug::ForgottenWait) { WallTime(0) } else { at };
        // Fire times that passed meanwhile have waited, however late they are now.
        state.catch_up_until = state.catch_up_until.max(at);
        state.has_unwritten_end = true;
        if core::mem::take(&mut state.waits) {
            let timer = state.timer;
            let record = self.table.get(timer);
            let (clock, due_ns) = (record.clock(), record.due_ns);
            self.arm(timer, clock, due_ns);
        }
    }

    /// A schedule is not paused any more: its timer goes on with the fire time that it had.
    pub(super) fn resume(&mut self, number: u16) {
        let Some(state) = self.schedules.get_mut(number) else { return };
        let was_paused = state.paused.take().is_some();
        let (timer, next) = (state.timer, state.next);
        if was_paused && next.is_some() {
            let record = self.table.get(timer);
            let (clock, due_ns) = (record.clock(), record.due_ns);
            self.arm(timer, clock, due_ns);
        }
    }

    pub(in crate::scheduler) fn remove_schedule_state(&mut self, number: u16) {
        if let Some(state) = self.schedules.remove(number) {
            self.disarm(state.timer);
            self.table.remove(state.timer);
            self.forget_schedule(number);
        }
    }

    /// Jobs of a removed schedule belong to none, before its number is given to another.
    fn forget_schedule(&mut self, number: u16) {
        for slot in (0..self.table.slots()).map(Slot) {
            // Only those that change are written to: a frozen copy may hold the others' pages.
            let record = self.table.get(slot);
            if record.role() == Role::Job && record.schedule == number {
                self.table.get_mut(slot).schedule = NO_SCHEDULE;
            }
        }
    }
}
