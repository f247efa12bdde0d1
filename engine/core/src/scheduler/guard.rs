//! Guards: a queue or schedule is paused once so many attempts in a row have failed. Which guards there
//! are is said anew after each start, and so the count begins anew; that something is paused is an event,
//! and stays.

use alloc::{boxed::Box, format, string::String, vec::Vec};

use super::{
    Scheduler,
    io::{Alert, Outputs},
};
use crate::{
    event::{Event, Failure},
    id::{QueueId, Slot},
    job::record::NO_SCHEDULE,
    journal::Journal,
    limits,
    time::Now,
};

/// The guards of a shard.
#[derive(Debug, Default)]
pub(super) struct Guards {
    queues: Vec<(QueueId, Guard)>,
    schedules: Vec<(Box<str>, Guard)>,
}

/// One guard.
#[derive(Clone, Copy, Debug)]
struct Guard {
    /// Failures in a row at which it acts: 1 at the least.
    failures_max: u32,
    /// Failures in a row.
    failures: u32,
}

impl Guards {
    fn is_empty(&self) -> bool {
        self.queues.is_empty() && self.schedules.is_empty()
    }
}

impl Guard {
    fn new(failures_max: u32) -> Self {
        Self { failures_max, failures: 0 }
    }
}

impl Scheduler {
    /// Pauses the queue `name` each time that so many attempts in a row have failed in it; 0 takes the
    /// guard away. It is not written: say it again after a start. `false` if there are too many queues.
    pub fn guard_queue(&mut self, name: &str, failures_max: u32) -> bool {
        let Some(queue) = self.queues.intern(name) else { return false };
        self.guards.queues.retain(|(guarded, _)| *guarded != queue);
        if failures_max > 0 {
            self.guards.queues.push((queue, Guard::new(failures_max)));
        }
        true
    }

    /// Pauses the schedule `name`, whether it is there yet or not, each time that so many attempts in a row
    /// have failed at jobs that it added; 0 takes the guard away. It is not written: say it again after a
    /// start.
    pub fn guard_schedule(&mut self, name: &str, failures_max: u32) {
        self.guards.schedules.retain(|(guarded, _)| **guarded != *name);
        if failures_max > 0 {
            self.guards.schedules.push((name.into(), Guard::new(failures_max)));
        }
    }

    /// The attempts at the jobs in `self.hints` are about to end well.
    pub(super) fn guard_succeeded(&mut self, out: &mut Outputs) {
        if !self.breakers.is_empty() {
            for number in 0..self.hints.len() {
                self.breaker_succeeded(self.table.get(self.hints[number]).queue, out);
            }
        }
        if self.guards.is_empty() {
            return;
        }
        for slot in &self.hints {
            let record = self.table.get(*slot);
            let of_queue = |(queue, _): &&mut (QueueId, Guard)| *queue == record.queue;
            if let Some((_, guard)) = self.guards.queues.iter_mut().find(of_queue) {
                guard.failures = 0;
            }
            if record.schedule == NO_SCHEDULE {
                continue;
            }
            let Some(state) = self.schedules.get(record.schedule) else { continue };
            let of_schedule = |(name, _): &&mut (Box<str>, Guard)| **name == *state.rule.name;
            if let Some((_, guard)) = self.guards.schedules.iter_mut().find(of_schedule) {
                guard.failures = 0;
            }
        }
    }

    /// What guards the job in `slot`, of which an attempt is about to fail.
    pub(super) fn guarded(
        &self,
        slot: Slot,
        failure: Failure,
    ) -> Option<(QueueId, Option<String>)> {
        // The job did nothing wrong if its process ended.
        let has_none = self.guards.is_empty() && self.breakers.is_empty();
        if has_none || failure == Failure::Lost {
            return None;
        }
        let record = self.table.get(slot);
        let schedule =
            self.schedules.get(record.schedule).filter(|_| record.schedule != NO_SCHEDULE);
        Some((record.queue, schedule.map(|state| String::from(&*state.rule.name))))
    }

    /// An attempt has failed: guards count it, and pause what they guard once it is one too many. Without
    /// room in the journal that is left to the next failure.
    pub(super) fn guard_failed(
        &mut self,
        now: Now,
        (queue, schedule): (QueueId, Option<String>),
        journal: &mut impl Journal,
        out: &mut Outputs,
    ) {
        self.breaker_failed(now, queue, out);
        let need =
            limits::START_BYTES_MAX + limits::NAME_BYTES_MAX as u64 + limits::NOTE_BYTES_MAX as u64;
        let of_queue = self.guards.queues.iter_mut().find(|(guarded, _)| *guarded == queue);
        if let Some(failures) = of_queue.and_then(|(_, guard)| guard.count())
            && !self.queues.get(queue).is_paused
            && self.room_for(journal, need).is_ok()
        {
            let name: Box<str> = self.queues.name(queue).into();
            let event = Event::QueueSet { at: now.wall.0, name: &name, paused: true };
            self.commit(&event, &[], journal);
            let same = self.guards.queues.iter_mut().find(|(guarded, _)| *guarded == queue);
            same.into_iter().for_each(|(_, guard)| guard.failures = 0);
            out.alerts.push(Alert::QueuePaused { queue: name, failures });
        }
        let Some(name) = schedule else { return };
        let of_schedule = self.guards.schedules.iter_mut().find(|(guarded, _)| **guarded == *name);
        let Some(failures) = of_schedule.and_then(|(_, guard)| guard.count()) else { return };
        let state = self.schedules.find(&name).and_then(|number| self.schedules.get(number));
        let runs = state.is_some_and(|state| state.paused.is_none());
        if !runs || self.room_for(journal, need).is_err() {
            return;
        }
        let note = format!("{failures} attempts in a row have failed");
        let event = Event::SchedulePaused { at: now.wall.0, name: &name, note: &note };
        self.commit(&event, &[], journal);
        let same = self.guards.schedules.iter_mut().find(|(guarded, _)| **guarded == *name);
        same.into_iter().for_each(|(_, guard)| guard.failures = 0);
        out.alerts.push(Alert::SchedulePaused { schedule: name.into(), failures });
    }
}

impl Guard {
    /// One more failure; how many in a row, if that is one too many.
    fn count(&mut self) -> Option<u32> {
        self.failures = self.failures.saturating_add(1);
        (self.failures >= self.failures_max).then_some(self.failures)
    }
}
