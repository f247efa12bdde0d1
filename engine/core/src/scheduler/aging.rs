//! Aging of the jobs in a queue: the command, and what it needs of jobs. The lines are `queue/aging.rs`'s.

use super::{
    Scheduler,
    decide::{Answered, refused},
    io::Answer,
    keep::Cleaned,
};
use crate::{
    event::Event,
    id::Lsn,
    job::{Refusal, check_name},
    journal::Journal,
    limits,
    queue::aging::Waits,
    time::Now,
};

impl Scheduler {
    /// Lets jobs that have waited for long enough count as of a higher priority. Like the trigger of a job it is not
    /// written: it follows from the state and the time.
    pub(super) fn age(&mut self, now: Now) {
        if !self.queues.agings.is_any() || self.failed {
            return;
        }
        #[cfg(feature = "planted")]
        if self.has_planted(crate::planted::Bug::NeverAges) {
            return;
        }
        let table = &self.table;
        self.queues.age(&mut self.links, now.mono.0, |slot| {
            let record = table.get(slot);
            Waits { ready_ns: record.ready_ns, priority: record.priority() }
        });
    }

    /// Lets a queue's jobs age, or not.
    pub(super) fn age_queue(
        &mut self,
        now: Now,
        name: &str,
        span_ms: Option<u32>,
        journal: &mut impl Journal,
    ) -> Answered {
        if let Err(refusal) = check_name("queue's name", name) {
            return refused(refusal);
        }
        if span_ms == Some(0) {
            return refused(Refusal::QueueLimits("the aging must be a millisecond or more"));
        }
        if !self.queues.has_room_for(name) {
            return refused(Refusal::TooManyQueues);
        }
        let present = self.queues.find(name).and_then(|queue| self.queues.agings.of(queue));
        if present.map(|aging| aging.span_ms) == span_ms {
            return (Answer::QueueSet(false), Lsn(0));
        }
        let need = limits::START_BYTES_MAX + limits::NAME_BYTES_MAX as u64;
        if let Err(refusal) = self.room_for(journal, need) {
            return refused(refusal);
        }
        let event = Event::QueueAging { at: now.wall.0, name, span_ms };
        let position = self.commit(&event, &[], journal).position;
        (Answer::QueueSet(true), position.end)
    }

    /// Writes the aging of a queue again that the record at `lsn` holds.
    pub(super) fn keep_aging(
        &mut self,
        now: Now,
        lsn: Lsn,
        name: &str,
        journal: &mut impl Journal,
    ) -> Cleaned {
        let aging = self.queues.find(name).and_then(|queue| self.queues.agings.of(queue));
        let Some(aging) = aging.filter(|aging| aging.body == lsn) else { return Cleaned::Dead };
        let span_ms = Some(aging.span_ms);
        let need = limits::START_BYTES_MAX + limits::NAME_BYTES_MAX as u64;
        let event = Event::QueueAging { at: now.wall.0, name, span_ms };
        self.keep(&event, &[], need, journal)
    }
}
