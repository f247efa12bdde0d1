//! The dead set and changes from outside, as the model sees them: who comes into it, who may leave it
//! by its bounds, and which changes may be written for what was asked.

use tickwheel_core::{
    Change, Clock, Due as Asked, Filter, JobId, JobState, Now, Scheduler,
    event::{Failure, JobChange, JobKept, KeptState},
    limits::DEAD_MESSAGE_BYTES_MAX,
};

use super::{
    Cause, Model, State, digest, ensure,
    jobs::{Job, JobIs, OwnTerms},
};
use crate::Verdict;

/// A job that failed for good and is kept.
#[derive(Clone, Debug)]
pub(super) struct DeadJob {
    pub(super) job: Job,
    died: u64,
    failure: Failure,
    message: String,
}

impl Model {
    pub(super) fn keeps_dead(&self, job: &Job) -> bool {
        job.terms.keeps_dead && self.dead_limits.jobs_max > 0
    }

    pub(super) fn check_changed(
        &mut self,
        id: JobId,
        change: &JobChange<'_>,
        cause: Cause<'_>,
        now: Now,
    ) -> Verdict {
        let dead = self.state.dead.get(&id);
        let job = dead.map(|dead| &dead.job).or(self.state.jobs.get(&id));
        let job = job.ok_or_else(|| format!("job {id} is not there"))?;
        match cause {
            Cause::Time => return self.check_left(id, change, now),
            Cause::Change(asked, wanted) => {
                ensure(asked == id && is_written(wanted, change, now), || {
                    format!("{wanted:?} of {asked} was asked for")
                })?;
            }
            Cause::ChangeMany(filter, wanted) => {
                ensure(is_written(wanted, change, now), || format!("{wanted:?} was asked for"))?;
                ensure(takes(filter, job, dead.is_some()), || format!("{filter:?}: {job:?}"))?;
                self.counters.changed_by_a_filter += 1;
            }
            _ => return Err("nothing asked for this".to_owned()),
        }
        let is_running = matches!(job.state, JobIs::Running { .. });
        let is_blocked = self.state.relations.is_blocked(id);
        let fits = match change {
            JobChange::Discarded | JobChange::Requeued => dead.is_some(),
            JobChange::Cancelled => dead.is_none(),
            _ => dead.is_none() && !is_running && !is_blocked,
        };
        ensure(fits, || format!("it is in another state: {job:?}"))?;
        if let JobChange::Requeued = change {
            let held = job.key.and_then(|key| self.state.keys.get(&key.0));
            ensure(held.is_none(), || format!("its key is held by {held:?}"))?;
            ensure(self.state.jobs.len() < self.jobs_max as usize, || "too many".to_owned())?;
        }
        let (queue, group) = (job.terms.queue.clone(), job.terms.group.clone());
        if let JobChange::Requeued = change {
            self.check_group_length(&queue, group.as_deref())?;
        }
        ensure(group.is_none() || !matches!(change, JobChange::Queue(_)), || {
            "a job of a group goes to another queue".to_owned()
        })?;
        let has_related = self.state.relations.is_related(id);
        let joined = match change {
            JobChange::Requeued => Some(queue),
            JobChange::Queue(name) if **name != *queue => Some((*name).to_owned()),
            _ => None,
        };
        joined.map_or(Ok(()), |queue| self.check_length(&queue))?;
        let counters = &mut self.counters;
        match change {
            JobChange::Cancelled if is_blocked => counters.blocked_cancelled_by_a_change += 1,
            JobChange::Killed if has_related => counters.related_killed += 1,
            JobChange::Requeued if has_related => counters.related_requeued += 1,
            _ => {}
        }
        match change {
            JobChange::Cancelled => {}
            JobChange::Discarded => counters.discarded += 1,
            JobChange::Killed => counters.killed += 1,
            JobChange::Requeued => counters.requeued += 1,
            JobChange::Run => counters.run_now += 1,
            JobChange::Due { .. } => counters.put_off += 1,
            JobChange::Priority(_) => counters.priorities_changed += 1,
            JobChange::Queue(_) => counters.queues_changed += 1,
        }
        Ok(())
    }

    /// Nobody asked for it: it may leave as the oldest of too many, or because it is too old.
    fn check_left(&mut self, id: JobId, change: &JobChange<'_>, now: Now) -> Verdict {
        ensure(*change == JobChange::Discarded, || "nobody asked for this".to_owned())?;
        let Some(left) = self.state.dead.get(&id) else {
            return Err(format!("job {id} is not dead"));
        };
        let limits = self.dead_limits;
        let is_old = left.died.saturating_add(limits.age_ns) <= now.wall.0;
        let is_oldest = self.state.dead.values().all(|other| other.died >= left.died);
        let are_many = self.state.dead.len() > limits.jobs_max as usize;
        ensure(is_oldest && (is_old || are_many), || {
            format!("{left:?} has to stay, at {now:?}: {limits:?}, {}", self.state.dead.len())
        })?;
        self.counters.dead_left_by_age += u64::from(!are_many);
        self.counters.dead_left_by_number += u64::from(are_many);
        Ok(())
    }

    /// A dead job was written again.
    pub(super) fn check_kept_dead(
        &mut self,
        kept: &JobKept<'_>,
        payload: &[u8],
        cause: Cause<'_>,
    ) -> Verdict {
        let Some(dead) = self.state.dead.get(&JobId(kept.job.job)) else {
            return Err("the job is not dead".to_owned());
        };
        let DeadJob { job, died, failure, message } = dead;
        let state = KeptState::Dead { died: *died, failure: *failure, message };
        let expected = match cause {
            Cause::Rewrite(_, payload) => digest(payload),
            _ => job.digest,
        };
        let same = kept.state == state
            && job.attempts == kept.attempt
            && job.token == kept.token
            && expected == digest(payload)
            && job.key == kept.job.terms.key
            && job.terms == OwnTerms::of(&kept.job.terms)
            && job.schedule.as_deref() == kept.schedule;
        ensure(same, || format!("it is {dead:?}"))?;
        self.counters.dead_written_again += 1;
        Ok(())
    }

    /// The dead set holds what it must.
    pub(super) fn compare_dead(&self, core: &Scheduler) -> Verdict {
        let (found, expected) = (core.dead_len() as usize, self.state.dead.len());
        ensure(found == expected, || format!("{found} dead jobs, expected {expected}"))?;
        for (id, dead) in &self.state.dead {
            let view = core.dead(*id).ok_or_else(|| format!("{id} is not dead: {dead:?}"))?;
            let job = &dead.job;
            let same = (view.died.0, view.failure, &*view.message)
                == (dead.died, dead.failure, dead.message.as_str())
                && view.key == job.key
                && view.job.attempts == job.attempts
                && view.job.state == JobState::Dead
                && view.job.kind[..] == job.kind
                && view.job.queue[..] == job.terms.queue
                && view.job.group.as_deref() == job.terms.group.as_deref()
                && view.job.schedule.as_deref() == job.schedule.as_deref();
            ensure(same, || format!("{view:?}, expected {dead:?}"))?;
        }
        Ok(())
    }

    pub(crate) fn is_dead(&self, id: JobId) -> bool {
        self.state.dead.contains_key(&id)
    }

    pub(crate) fn dead(&self) -> u64 {
        self.state.dead.len() as u64
    }

    /// Some dead job.
    pub(crate) fn pick_dead(&self, draw: u64) -> Option<JobId> {
        let count = self.state.dead.len().max(1);
        self.state.dead.keys().nth((draw % count as u64) as usize).copied()
    }

    /// A caller was told of a change that rests on what ends at `end`.
    pub(crate) fn tell_changed(&mut self, id: JobId, end: u64) {
        self.promise(end, super::Promised::Changed(id));
    }
}

impl State {
    pub(super) fn bury(&mut self, id: JobId, died: u64, failure: Failure, message: &str) {
        let Some(mut job) = self.jobs.remove(&id) else { return };
        self.relations.end(id, false);
        if let Some(key) = job.key {
            self.keys.remove(&key.0);
        }
        self.totals.dead += 1;
        job.state = JobIs::Waiting;
        // It has begun, or never will.
        job.terms.expires_at = None;
        let end = message.floor_char_boundary(DEAD_MESSAGE_BYTES_MAX);
        let message = message[..end].to_owned();
        self.dead.insert(id, DeadJob { job, died, failure, message });
    }

    pub(super) fn take_changed(
        &mut self,
        (index, end): (usize, u64),
        id: JobId,
        at: u64,
        change: &JobChange<'_>,
    ) {
        match change {
            JobChange::Cancelled => {
                self.totals.cancelled += 1;
                self.end(id, end, false);
            }
            JobChange::Discarded => {
                self.dead.remove(&id);
                self.ended.insert(id, end);
            }
            JobChange::Killed => self.bury(id, at, Failure::Killed, ""),
            JobChange::Requeued => {
                let Some(DeadJob { mut job, .. }) = self.dead.remove(&id) else { return };
                self.totals.dead -= 1;
                (job.attempts, job.last, job.due, job.was_due) = (0, None, index, false);
                if let Some(key) = job.key {
                    self.keys.insert(key.0, id);
                }
                self.jobs.insert(id, job);
            }
            JobChange::Run | JobChange::Due { .. } => {
                if let Some(job) = self.jobs.get_mut(&id) {
                    (job.due, job.was_due) = (index, false);
                }
            }
            JobChange::Priority(priority) => {
                if let Some(job) = self.jobs.get_mut(&id) {
                    job.terms.priority = *priority;
                }
            }
            JobChange::Queue(name) => {
                if let Some(job) = self.jobs.get_mut(&id) {
                    job.terms.queue = (*name).to_owned();
                }
            }
        }
    }
}

/// Whether `written` is what a caller wanted.
fn is_written(wanted: &Change, written: &JobChange<'_>, now: Now) -> bool {
    match (wanted, written) {
        (Change::Cancel, JobChange::Cancelled)
        | (Change::Discard, JobChange::Discarded)
        | (Change::Kill, JobChange::Killed)
        | (Change::Requeue, JobChange::Requeued)
        | (Change::Run, JobChange::Run) => true,
        (Change::Due(Asked::After(wait)), JobChange::Due { due, mono: true }) => {
            *due == now.wall.0 + wait
        }
        (Change::Due(Asked::At(at)), JobChange::Due { due, mono: false }) => *due == at.0,
        (Change::Priority(wanted), JobChange::Priority(written)) => wanted == written,
        (Change::Queue(wanted), JobChange::Queue(written)) => **wanted == **written,
        _ => false,
    }
}

/// Whether a filter takes a job, as far as clients draw filters.
fn takes(filter: &Filter, job: &Job, is_dead: bool) -> bool {
    let states = match (is_dead, job.state) {
        (true, _) => filter.states.has(JobState::Dead),
        (_, JobIs::Running { .. }) => filter.states.has(JobState::Running),
        _ => filter.states.has(JobState::Scheduled) || filter.states.has(JobState::Ready),
    };
    states
        && filter.kind.as_deref().is_none_or(|kind| kind == job.kind)
        && filter.queue.as_deref().is_none_or(|queue| queue == job.terms.queue)
        && filter.is_attempted.is_none_or(|is| is == (job.attempts > 0))
}

/// When the jobs of a change are due: the instant, its clock, and whether that is at once.
pub(super) fn due_of_change(at: u64, change: &JobChange<'_>) -> Option<(Clock, u64, bool)> {
    match change {
        JobChange::Run | JobChange::Requeued => Some((Clock::Mono, at, true)),
        JobChange::Due { due, mono } => {
            let clock = if *mono { Clock::Mono } else { Clock::Wall };
            Some((clock, *due, *due <= at))
        }
        _ => None,
    }
}
