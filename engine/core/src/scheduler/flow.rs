//! Jobs that are submitted together: whether one of them would be refused, before the first is added.

use alloc::vec::Vec;

use super::{Scheduler, relations::Related};
use crate::{
    id::JobId,
    job::{JobState, NewJob, Refusal},
    journal::Journal,
    time::Now,
};

/// What jobs take that are to be added before one that is looked at.
#[derive(Debug, Default)]
pub(super) struct Ahead<'a> {
    pub(super) jobs: u32,
    /// Of their records, at the most.
    pub(super) bytes: usize,
    places: Vec<Place<'a>>,
}

/// What a job takes of what is limited in number.
#[derive(Debug)]
struct Place<'a> {
    queue: &'a str,
    /// `None`: it has none, or another job leaves it its place there.
    group: Option<&'a str>,
    /// No other job leaves it its place there.
    in_queue: bool,
}

/// Which places one job leaves to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Left {
    pub(super) in_queue: bool,
    pub(super) in_group: bool,
}

impl Scheduler {
    /// The first of `jobs` that would be refused if they were submitted now, one after the other, and why.
    /// It changes nothing.
    ///
    /// Not seen is what they do to one another by their keys, a place that one of them frees in another queue than its
    /// own by replacing a job there, and, with limits that several shards share, what waits in the others.
    pub fn first_refused<'a>(
        &self,
        now: Now,
        jobs: &'a [NewJob<'a>],
        journal: &impl Journal,
    ) -> Option<(usize, Refusal)> {
        let mut ahead = Ahead::default();
        let would_take = |job| self.would_take(now, job, &mut ahead, journal);
        let mut answers = jobs.iter().map(would_take).enumerate();
        answers.find_map(|(place, answer)| answer.err().map(|refusal| (place, refusal)))
    }

    fn would_take<'a>(
        &self,
        now: Now,
        job: &'a NewJob<'a>,
        ahead: &mut Ahead<'a>,
        journal: &impl Journal,
    ) -> Result<(), Refusal> {
        job.check()?;
        job.due_at(now)?;
        self.admit(job, ahead, journal)?;
        let related = job.options.as_ref().filter(|options| options.relates());
        let replaces = match related.map(|options| self.admit_related(now, options)).transpose()? {
            Some(Related::Existing(_)) => return Ok(()),
            Some(Related::New { replaces, .. }) => replaces,
            None => None,
        };
        let left = self.place_left(job, replaces);
        let queue = &*job.queue;
        if !left.in_group {
            let group = job.group();
            let is_there = |place: &&Place<'_>| {
                group.is_some() && (place.queue, place.group) == (queue, group)
            };
            let more = ahead.places.iter().filter(is_there).count();
            self.group_of_job_takes(job, more as u32)?;
        }
        if !left.in_queue {
            let is_there = |place: &&Place<'_>| place.in_queue && place.queue == queue;
            let is_limited = self.queues.limits_lengths();
            let more = if is_limited { ahead.places.iter().filter(is_there).count() } else { 0 };
            self.queue_would_take(queue, more as u32)?;
        }
        ahead.jobs += u32::from(replaces.is_none());
        ahead.bytes += job.record_bytes_max();
        let group = job.group().filter(|_| !left.in_group);
        ahead.places.push(Place { queue, group, in_queue: !left.in_queue });
        Ok(())
    }

    /// Whether a queue would take one job more beside `more`, as far as this shard sees.
    fn queue_would_take(&self, name: &str, more: u32) -> Result<(), Refusal> {
        if !self.queues.has_room_for(name) {
            return Err(Refusal::TooManyQueues);
        }
        let Some(queue) = self.queues.find(name) else { return Ok(()) };
        match self.queues.bounds(queue).limits().length {
            Some(max) if self.queues.get(queue).waiting() + more >= max => {
                Err(Refusal::QueueFull { queue: self.queues.name(queue).into(), max })
            }
            _ => Ok(()),
        }
    }

    /// Which places a job that is replaced leaves to the one that comes.
    pub(super) fn place_left(&self, job: &NewJob<'_>, replaces: Option<JobId>) -> Left {
        let slot = replaces.and_then(|replaced| self.table.find(replaced));
        let slot = slot.filter(|slot| {
            let record = self.table.get(*slot);
            let waits = record.state != JobState::Running && !record.is_dead();
            waits && Some(record.queue) == self.queues.find(&job.queue)
        });
        let is_same = |slot| self.group_name_at(slot).as_deref() == job.group();
        Left { in_queue: slot.is_some(), in_group: slot.is_some_and(is_same) }
    }
}
