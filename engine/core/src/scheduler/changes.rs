//! Changes of jobs that do not run: what a caller may ask for, whether it can be done, and how it is
//! applied.

use alloc::boxed::Box;

use super::{
    Scheduler,
    apply::ReplayError,
    decide::{Answered, refused},
    io::{Answer, Outputs},
    list::States,
};
use crate::{
    event::{Event, Failure, JobChange, Listed},
    id::{JobId, Lsn, Slot},
    job::{Clock, Due, JobState, Refusal, check_name, dead::Death, record::Record},
    journal::{Journal, Position},
    limits,
    queue::Queues,
    time::{Now, WallTime},
};

/// What a caller asks to be changed about a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is over; see [`Input::Cancel`](super::Input::Cancel). A dead job stays.
    Cancel,
    /// A dead job is forgotten.
    Discard,
    /// A job that waits goes to the dead set.
    Kill,
    /// A dead job is due at once, and has all its attempts again.
    Requeue,
    /// A job that waits for its due time is due at once.
    Run,
    /// A job that waits is due at another time.
    Due(Due),
    /// A job that waits has another priority: 0 to 9.
    Priority(u8),
    /// A job that waits stands in another queue: 1 to 255 bytes.
    Queue(Box<str>),
}

/// What became of a [`Change`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// It was done; the state that the job was in.
    Done(JobState),
    /// It is of no use in the state that the job is in; nothing has changed.
    Unfit(JobState),
    /// The job is not there: it has ended, or never was.
    Absent,
}

impl Change {
    /// Checks it against its ranges, at `now`.
    ///
    /// # Errors
    /// What is out of its range.
    pub fn check(&self, now: Now) -> Result<(), Refusal> {
        match self {
            Self::Due(due) => due.at(now).map(|_| ()),
            Self::Priority(priority) if *priority > limits::PRIORITY_MAX => {
                Err(Refusal::PriorityOutOfRange { priority: *priority })
            }
            Self::Queue(name) => check_name("queue's name", name),
            _ => Ok(()),
        }
    }

    /// The states of jobs that it is for.
    #[must_use]
    pub fn states(&self) -> States {
        use JobState::{Blocked, Dead, Ready, Running, Scheduled};
        States::of(match self {
            Self::Discard | Self::Requeue => &[Dead],
            Self::Cancel => &[Blocked, Scheduled, Ready, Running],
            Self::Run => &[Scheduled],
            Self::Kill | Self::Due(_) | Self::Priority(_) | Self::Queue(_) => &[Scheduled, Ready],
        })
    }

    /// Whether it is for a job in this state.
    #[must_use]
    pub fn fits(&self, state: JobState) -> bool {
        self.states().has(state)
    }

    pub(super) fn written(&self, now: Now) -> Result<JobChange<'_>, Refusal> {
        Ok(match self {
            Self::Cancel => JobChange::Cancelled,
            Self::Discard => JobChange::Discarded,
            Self::Kill => JobChange::Killed,
            Self::Requeue => JobChange::Requeued,
            Self::Run => JobChange::Run,
            Self::Due(due) => {
                let (due, clock) = due.at(now)?;
                JobChange::Due { due: due.0, mono: clock == Clock::Mono }
            }
            Self::Priority(priority) => JobChange::Priority(*priority),
            Self::Queue(name) => JobChange::Queue(name),
        })
    }
}

impl Scheduler {
    /// Changes one job.
    pub(super) fn change(
        &mut self,
        now: Now,
        id: JobId,
        change: &Change,
        journal: &mut impl Journal,
        out: &mut Outputs,
    ) -> Answered {
        if let Err(refusal) = change.check(now) {
            return refused(refusal);
        }
        let Some(slot) = self.table.find(id) else {
            return (Answer::Changed(Changed::Absent), Lsn(0));
        };
        let state = self.table.get(slot).state;
        if !change.fits(state) {
            return (Answer::Changed(Changed::Unfit(state)), Lsn(0));
        }
        if *change == Change::Cancel {
            return match self.cancel(now, id, journal, out) {
                (Answer::Cancelled(Some(state)), end) => {
                    (Answer::Changed(Changed::Done(state)), end)
                }
                other => other,
            };
        }
        if let Err(refusal) = self.tell_before(now, change, journal) {
            return refused(refusal);
        }
        let may = self.may_change(slot, change).and_then(|()| self.room_for_change(1, journal));
        let written = may.and_then(|()| change.written(now));
        // The queue last: it keeps a place for a job that comes.
        let written = match written.and_then(|to| self.admit_changed(slot, change).map(|()| to)) {
            Ok(written) => written,
            Err(refusal) => return refused(refusal),
        };
        self.hints.clear();
        self.hints.push(slot);
        let position = self.commit_change(now, written, journal);
        (Answer::Changed(Changed::Done(state)), position.end)
    }

    /// Whether a change that fits the state of the job in `slot` is within all bounds but the length
    /// of a queue.
    pub(super) fn may_change(&self, slot: Slot, change: &Change) -> Result<(), Refusal> {
        let record = self.table.get(slot);
        match change {
            Change::Requeue => {
                if self.is_full() {
                    return Err(Refusal::TooManyJobs { max: self.config.jobs_max });
                }
                let key = self.dead.get(record.dead_entry()).key();
                if let Some(holder) = key.and_then(|key| self.keys.find(key)) {
                    return Err(Refusal::KeyHeld(self.table.get(holder).id));
                }
                Ok(())
            }
            Change::Queue(name) if !self.queues.has_room_for(name) => Err(Refusal::TooManyQueues),
            // Its shard is that of the group.
            Change::Queue(_) if self.group_at(slot).is_some() => Err(Refusal::Group(
                "its job cannot go to another queue: cancel it, and submit it to that queue",
            )),
            _ => Ok(()),
        }
    }

    /// Before dead jobs live again, those that waited for them are told that they had ended: the next end
    /// is another one.
    pub(super) fn tell_before(
        &mut self,
        now: Now,
        change: &Change,
        journal: &mut impl Journal,
    ) -> Result<(), Refusal> {
        if *change == Change::Requeue { self.tell_waiting(now, journal) } else { Ok(()) }
    }

    /// Whether a queue takes the job that a change brings to it, if one does; the change is made then.
    pub(super) fn admit_changed(&mut self, slot: Slot, change: &Change) -> Result<(), Refusal> {
        let present = self.table.get(slot).queue;
        if *change == Change::Requeue
            && let Some(group) = self.group_name_at(slot)
        {
            self.group_takes(present, &group, 0)?;
        }
        let joined = match change {
            Change::Requeue => Some(present),
            Change::Queue(name) => self.queues.find(name).filter(|queue| *queue != present),
            _ => None,
        };
        joined.map_or(Ok(()), |queue| self.queue_admits(queue))
    }

    /// Room for an event that changes so many jobs.
    pub(super) fn room_for_change(
        &self,
        jobs: usize,
        journal: &impl Journal,
    ) -> Result<(), Refusal> {
        let len_bytes = limits::CHANGE_HEAD_BYTES_MAX + limits::LIST_ENTRY_BYTES_MAX * jobs;
        self.room_for(journal, journal.record_bytes(len_bytes))
    }

    /// Writes a change of the jobs in `self.hints`, for which there is room, and applies it.
    pub(super) fn commit_change(
        &mut self,
        now: Now,
        change: JobChange<'_>,
        journal: &mut impl Journal,
    ) -> Position {
        let count = self.hints.len() as u32;
        let event = Event::Changed { at: now.wall.0, change, count };
        self.commit_list(&event, |record| record.token, journal)
    }

    /// Applies a change to one job.
    pub(super) fn apply_changed(
        &mut self,
        at: WallTime,
        change: JobChange<'_>,
        listed: Listed,
        hint: Option<Slot>,
    ) -> Result<(), ReplayError> {
        let job = listed.job;
        match change {
            JobChange::Cancelled => self.end(job, JobState::Cancelled, hint, at),
            JobChange::Discarded => {
                let slot = self.dead_slot(job, hint)?;
                self.forget_dead(slot);
                Ok(())
            }
            JobChange::Killed => {
                let slot = self.slot_from(job, JobState::Dead, hint, waits)?;
                let was = self.table.get(slot).state;
                self.leave_waiting(job, JobState::Dead, Some(slot))?;
                let failure = Failure::Killed;
                self.bury(slot, was, Death { at, failure, message: "" });
                Ok(())
            }
            JobChange::Requeued => self.apply_requeued(job, at, hint),
            JobChange::Run => {
                let slot = self.leave_waiting(job, JobState::Scheduled, hint)?;
                self.put_off(slot, at, Clock::Mono, true);
                Ok(())
            }
            JobChange::Due { due, mono } => {
                let slot = self.leave_waiting(job, JobState::Scheduled, hint)?;
                let clock = if mono { Clock::Mono } else { Clock::Wall };
                self.put_off(slot, WallTime(due), clock, due <= at.0);
                Ok(())
            }
            JobChange::Priority(priority) => {
                let slot = self.slot_from(job, JobState::Scheduled, hint, waits)?;
                self.restand(slot, |_, record| {
                    record.traits = record.traits.with_priority(priority);
                });
                Ok(())
            }
            JobChange::Queue(name) => {
                let slot = self.slot_from(job, JobState::Scheduled, hint, waits)?;
                let queue = self.queues.intern(name).ok_or(ReplayError::TooManyQueues)?;
                self.restand(slot, |queues, record| {
                    queues.job_moved(record.queue, queue);
                    record.queue = queue;
                });
                Ok(())
            }
        }
    }

    /// Takes a job that waits out of its line, and gives it `state`.
    fn leave_waiting(
        &mut self,
        job: JobId,
        state: JobState,
        hint: Option<Slot>,
    ) -> Result<Slot, ReplayError> {
        let slot = self.slot_from(job, state, hint, waits)?;
        self.disarm(slot);
        self.table.get_mut(slot).state = state;
        Ok(slot)
    }

    /// A job that stands in no line is due at `due` from now on.
    fn put_off(&mut self, slot: Slot, due: WallTime, clock: Clock, is_due: bool) {
        let due_ns = match clock {
            Clock::Mono => due.to_mono(self.offset_ns).0,
            Clock::Wall => due.0,
        };
        let record = self.table.get_mut(slot);
        record.set_clock(clock);
        record.due_ns = due_ns;
        self.wait_for_due(slot, is_due);
    }

    /// Changes where the waiting job in `slot` stands once it is due: at the end of another line, if it
    /// is.
    fn restand(&mut self, slot: Slot, change: impl FnOnce(&mut Queues, &mut Record)) {
        let state = self.table.get(slot).state;
        if state == JobState::Ready {
            self.leave_line(slot);
        }
        change(&mut self.queues, self.table.get_mut(slot));
        if state == JobState::Ready {
            self.stand_in_line(slot);
        }
    }

    fn apply_requeued(
        &mut self,
        job: JobId,
        at: WallTime,
        hint: Option<Slot>,
    ) -> Result<(), ReplayError> {
        let slot = self.dead_slot(job, hint)?;
        let record = *self.table.get(slot);
        let (queue, schedule) = (record.queue, record.schedule);
        let key = self.dead.get(record.dead_entry()).key();
        if key.is_some_and(|key| self.keys.find(key).is_some()) {
            return Err(ReplayError::KeyTaken(job));
        }
        self.dead.remove(record.dead_entry());
        // A recovery may have begun behind its death: the totals come with the next base then.
        self.counts.dead = self.counts.dead.saturating_sub(1);
        self.queues.job_added(queue);
        self.join_group(slot, queue);
        self.schedule_job_begins(schedule, job);
        if let Some(key) = key {
            self.keys.insert(key, slot);
        }
        let record = self.table.get_mut(slot);
        record.state = JobState::Scheduled;
        record.attempt = 0;
        self.put_off(slot, at, Clock::Mono, true);
        Ok(())
    }

    fn dead_slot(&self, job: JobId, hint: Option<Slot>) -> Result<Slot, ReplayError> {
        self.slot_from(job, JobState::Dead, hint, Record::is_dead)
    }
}

/// Whether a job waits, due or not.
fn waits(record: &Record) -> bool {
    matches!(record.state, JobState::Scheduled | JobState::Ready)
}
