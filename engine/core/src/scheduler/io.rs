//! What goes into the scheduler and what comes out of it.

use alloc::{boxed::Box, string::String, vec::Vec};

use super::{Change, Changed, Filter, Piece, WalkBudget, WalkPlace};
use crate::{
    batch::NewBatch,
    event::Event,
    id::{JobId, KindId, Lsn, QueueId, Slot, Token},
    job::{Clock, JobState, NewJob, Refusal, Tags},
    queue::QueueLimits,
    schedule::{Fires, Pause, Schedule},
    time::{MonoTime, WallTime},
};

/// Names whoever waits for an answer; opaque to the core, which hands it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallerId(pub u64);

/// One input of [`super::Scheduler::step`].
#[derive(Clone, Debug)]
pub enum Input<'a> {
    /// Add a job.
    Submit {
        /// Who waits for [`Answer::Submitted`].
        caller: CallerId,
        /// The job.
        job: &'a NewJob<'a>,
    },
    /// Cancel a job, waiting or running.
    Cancel {
        /// Who waits for [`Answer::Cancelled`].
        caller: CallerId,
        /// Which job.
        job: JobId,
    },
    /// Change a job that does not run.
    Change {
        /// Who waits for [`Answer::Changed`].
        caller: CallerId,
        /// Which job.
        job: JobId,
        /// What is to be changed.
        change: &'a Change,
    },
    /// Change jobs that a filter takes: one piece of a walk through them, written as one event.
    ChangeMany {
        /// Who waits for [`Answer::ChangedMany`].
        caller: CallerId,
        /// Which jobs.
        filter: &'a Filter,
        /// What is to be changed.
        change: &'a Change,
        /// Where the walk goes on; it begins at 0.
        from: WalkPlace,
        /// How much of it is done now; 1024 jobs at the most.
        budget: WalkBudget,
    },
    /// Add a schedule, or replace the rule of the one of its name. An equal timing keeps its next
    /// fire time, so that what was missed meanwhile is seen.
    PutSchedule {
        /// Who waits for [`Answer::SchedulePut`].
        caller: CallerId,
        /// The schedule.
        schedule: &'a Schedule<'a>,
    },
    /// Remove a schedule; jobs that it added stay.
    RemoveSchedule {
        /// Who waits for [`Answer::ScheduleRemoved`].
        caller: CallerId,
        /// Its name.
        name: &'a str,
    },
    /// Pause a schedule: it does not fire until it is resumed, also across restarts and when its
    /// rule is replaced. If it is paused already, only the note changes.
    PauseSchedule {
        /// Who waits for [`Answer::ScheduleSet`].
        caller: CallerId,
        /// Its name.
        name: &'a str,
        /// Why: at most 200 bytes.
        note: &'a str,
    },
    /// Let a paused schedule go on. Fire times that passed meanwhile are late, and those that are
    /// later than its grace are missed: its policy says what becomes of them.
    ResumeSchedule {
        /// Who waits for [`Answer::ScheduleSet`].
        caller: CallerId,
        /// Its name.
        name: &'a str,
    },
    /// Add the job of a schedule now, beside its fire times, which stay; also if it is paused.
    RunSchedule {
        /// Who waits for [`Answer::ScheduleRun`].
        caller: CallerId,
        /// Its name.
        name: &'a str,
    },
    /// Add the jobs of a schedule for fire times that are past, the oldest first, beside those that it
    /// fires at itself: a piece of them, see [`Answer::Backfilled`].
    Backfill {
        /// Who waits for [`Answer::Backfilled`].
        caller: CallerId,
        /// Its name.
        name: &'a str,
        /// The first fire time that is meant.
        from: WallTime,
        /// The last one; what is in the future is left out.
        to: WallTime,
    },
    /// An attempt has ended.
    Complete {
        /// The attempt, as it was dispatched.
        attempt: Attempt,
        /// How it ended.
        outcome: Outcome<'a>,
    },
    /// Attempts have ended well: the same as [`Input::Complete`] for each, in fewer bytes of the
    /// journal.
    Succeeded {
        /// The attempts, as they were dispatched.
        attempts: &'a [Attempt],
    },
    /// A worker asks for jobs: attempts of what is ready begin, and are in [`Outputs::fetched`].
    Fetch {
        /// Where it takes them from, the first queue first.
        queues: &'a [QueueId],
        /// Attempts at the most.
        max: u32,
    },
    /// An attempt needs until another time than its time-out says.
    Extend {
        /// Who waits for [`Answer::Extended`].
        caller: CallerId,
        /// The attempt.
        attempt: Attempt,
        /// How long from now its lease is to last, in nanoseconds.
        span_ns: u64,
    },
    /// Put another payload in the place of a job's; it is the job's from here on. Nothing happens if
    /// the job has ended, or if there is no room for it.
    Rewrite {
        /// The job.
        job: JobId,
        /// Its payload: at most 1 MiB.
        payload: &'a [u8],
    },
    /// Pause a queue, or let it go on.
    PauseQueue {
        /// Who waits for [`Answer::QueueSet`].
        caller: CallerId,
        /// Its name.
        name: &'a str,
        /// Whether nothing is to be taken from it.
        paused: bool,
    },
    /// Give a queue limits, in the place of all that it had.
    LimitQueue {
        /// Who waits for [`Answer::QueueSet`].
        caller: CallerId,
        /// Its name.
        name: &'a str,
        /// The limits.
        limits: &'a QueueLimits,
    },
    /// Give limits to the groups of a queue, in the place of all that they had: to each that has none of its
    /// own, or to one of them. All jobs of a group must come to one shard.
    LimitGroups {
        /// Who waits for [`Answer::QueueSet`].
        caller: CallerId,
        /// The queue.
        queue: &'a str,
        /// Which group; `None` for each that has no limits of its own.
        group: Option<&'a str>,
        /// The limits; `None` takes them away.
        limits: Option<&'a QueueLimits>,
    },
    /// Let a queue's jobs age, or not.
    AgeQueue {
        /// Who waits for [`Answer::QueueSet`].
        caller: CallerId,
        /// The queue.
        name: &'a str,
        /// After how many milliseconds each, 1 or more, a job that waits counts as one priority higher; `None`
        /// for never.
        span_ms: Option<u32>,
    },
    /// Make a batch, to which jobs can be added until it is committed.
    NewBatch {
        /// Who waits for [`Answer::Batch`].
        caller: CallerId,
        /// The batch.
        batch: &'a NewBatch<'a>,
    },
    /// Commit a batch: its callbacks are added when their time comes. Or open it again, so that jobs can be
    /// added.
    SetBatch {
        /// Who waits for [`Answer::Batch`].
        caller: CallerId,
        /// The batch.
        batch: JobId,
        /// Whether jobs can be added to it.
        is_open: bool,
    },
    /// What became of an attempt whose lease seemed to end: the answer to [`Outputs::expired`].
    LeaseEnd {
        /// The attempt.
        attempt: Attempt,
        /// When its handler was called.
        began: Began,
    },
    /// Time has passed: trigger what is due and dispatch what is ready.
    Time {
        /// Attempts that may be dispatched now at the most.
        dispatch_max: u32,
    },
    /// The wall clock was set: lay its wheel anew.
    ClockSet,
    /// The journal has failed: nothing is taken, triggered or dispatched any more.
    JournalFailed,
}

/// Names one attempt of one job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The job.
    pub job: JobId,
    /// Where the job lies, as a hint.
    pub slot: Slot,
    /// The fencing token of this attempt.
    pub token: Token,
}

/// When the handler of an attempt was called: its time-out counts from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Began {
    /// At this time.
    At(MonoTime),
    /// At one time, and its handler has asked for its time up to another.
    Extended {
        /// When it was called.
        at: MonoTime,
        /// The lease does not end before. The time-out holds if it ends later.
        until: MonoTime,
    },
    /// It waits in an executor's queue, or its end is on its way.
    NotYet,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// Well.
    Succeeded,
    /// Not well, and it may be tried again.
    Retryable(&'a str),
    /// Not well, and a retry is of no use.
    Permanent(&'a str),
    /// The handler panicked. It may be tried again.
    Panicked(&'a str),
    /// It was handed out and given back before its handler was called: it does not count.
    NotBegun,
    /// It cannot be handled for now: it does not count, and is tried again after so many
    /// nanoseconds.
    Postponed(u64),
}

/// What the world must do after a step. The caller empties it.
#[derive(Debug, Default)]
pub struct Outputs {
    /// Answers to callers, in the order of their commands.
    pub replies: Vec<Reply>,
    /// Attempts to hand to executors.
    pub dispatches: Vec<Dispatch>,
    /// Attempts for the worker whose [`Input::Fetch`] this step was.
    pub fetched: Vec<Dispatch>,
    /// Attempts handed out longer ago than their time-out. Each is to be answered with
    /// [`Input::LeaseEnd`] before the next step of time.
    pub expired: Vec<Attempt>,
    /// Running attempts whose handler should stop: they have ended as far as the scheduler goes.
    pub stops: Vec<Attempt>,
    /// Trigger time minus due time of each job that left a wheel, in nanoseconds.
    pub lateness_ns: Vec<u64>,
    /// Attempts that ended, for whoever observes them; filled only if the configuration asks.
    pub notices: Vec<Notice>,
    /// What whoever looks after the scheduler should know.
    pub alerts: Vec<Alert>,
    /// The end of the last event that ended an attempt in this step, if one did.
    pub completed_end: Option<Lsn>,
    /// Ends that came too late: their attempt had ended already.
    pub stale: u64,
}

/// Something that whoever looks after the engine should know.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Alert {
    /// A queue was paused, as too many attempts in a row had failed.
    QueuePaused {
        /// Its name.
        queue: Box<str>,
        /// How many.
        failures: u32,
    },
    /// A schedule was paused, as too many attempts in a row had failed at jobs that it added.
    SchedulePaused {
        /// Its name.
        schedule: Box<str>,
        /// How many.
        failures: u32,
    },
    /// Too many attempts in a row have failed in a queue, or the one that tried it again has: for a while
    /// nothing of it begins.
    BreakerOpened {
        /// Its name.
        queue: Box<str>,
        /// How many in a row, before it was closed first.
        failures: u32,
        /// How long, in nanoseconds.
        for_ns: u64,
    },
    /// An attempt that tried such a queue again has succeeded: it goes on as before.
    BreakerClosed {
        /// Its name.
        queue: Box<str>,
    },
    /// A schedule was later than its grace: the process was down, the schedule was paused, the disk was full,
    /// or the machine slept. It is told once for all that one gap has missed; the schedule's rule for missed
    /// runs says what follows.
    FireMissed {
        /// Its name.
        schedule: Box<str>,
        /// The first fire time that was missed.
        due: WallTime,
        /// When that was seen.
        at: WallTime,
    },
}

/// An answer to a caller, due once the journal is durable up to `after`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Whom it is for.
    pub caller: CallerId,
    /// The position that must be durable before it may be given.
    pub after: Lsn,
    /// The answer.
    pub answer: Answer,
}

/// What a command came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The job was added under this id.
    Submitted(JobId),
    /// The job was cancelled, in the state given; `None` when it was not there any more.
    Cancelled(Option<JobState>),
    /// What became of the change of a job.
    Changed(Changed),
    /// What became of a piece of a change of many jobs.
    ChangedMany(Piece),
    /// The schedule stands; its next fire time.
    SchedulePut(Option<WallTime>),
    /// Whether a schedule of that name was there.
    ScheduleRemoved(bool),
    /// Whether a schedule of that name is there; if so, it is as was asked.
    ScheduleSet(bool),
    /// The job that the schedule added; `None` when there is no schedule of that name.
    ScheduleRun(Option<JobId>),
    /// How far [`Input::Backfill`] came; `None` if there is no such schedule.
    Backfilled(Option<Backfilled>),
    /// Whether the attempt was under way: its lease lasts longer now, or less long.
    Extended(bool),
    /// Whether that is another state of the queue than before.
    QueueSet(bool),
    /// Another job has the same key of uniqueness, and is what was asked for. It rests on what was written
    /// before, which may not be durable yet.
    Existing(JobId),
    /// The batch of this id is as was asked for.
    Batch(JobId),
    /// The command was refused; nothing has changed.
    Refused(Refusal),
}

/// An attempt to hand to an executor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dispatch {
    /// The attempt; to be handed back with its end.
    pub attempt: Attempt,
    /// Which code handles it; [`super::Scheduler::kind_name`] tells the name.
    pub kind: KindId,
    /// The queue that it waited in.
    pub queue: QueueId,
    /// Which attempt it is, from 1.
    pub number: u16,
    /// Attempts at the most.
    pub attempts_max: u16,
    /// The event that holds the payload.
    pub body: Lsn,
    /// Where the payload begins within that event.
    pub payload_offset: u16,
    /// When it was due, in nanoseconds on `clock`.
    pub due_ns: u64,
    /// The clock of `due_ns`.
    pub clock: Clock,
    /// How long it waited between its trigger and this dispatch, in nanoseconds.
    pub ready_ns: u64,
}

/// An attempt has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The job.
    pub job: JobId,
    /// Its kind.
    pub kind: Box<str>,
    /// Its queue.
    pub queue: Box<str>,
    /// The schedule that added it.
    pub schedule: Option<Box<str>>,
    /// Which attempt ended, from 1.
    pub attempt: u16,
    /// How.
    pub outcome: OutcomeKind,
    /// What the handler said.
    pub message: String,
    /// What follows.
    pub next: Next,
}

/// How an attempt ended, as history and logs name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutcomeKind {
    /// Well.
    Succeeded,
    /// The handler said it failed.
    Failed,
    /// The handler panicked.
    Panicked,
    /// Its lease ended first.
    TimedOut,
    /// A caller cancelled it.
    Cancelled,
    /// The process that ran it ended.
    Lost,
}

impl core::fmt::Display for OutcomeKind {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Panicked => "panicked",
            Self::TimedOut => "timed out",
            Self::Cancelled => "cancelled",
            Self::Lost => "lost",
        })
    }
}

/// What follows the end of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The job is over.
    Done,
    /// The job failed for good.
    Dead,
    /// It is tried again at this time.
    Retry(WallTime),
}

/// When a shard has to look at the time again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Wake {
    /// Something can be done at once.
    pub now: bool,
    /// At this time of the monotonic clock.
    pub mono: Option<MonoTime>,
    /// At this time of the wall clock.
    pub wall: Option<WallTime>,
}

/// A job as a caller sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobView {
    /// Its id.
    pub id: JobId,
    /// Its state.
    pub state: JobState,
    /// Its kind.
    pub kind: Box<str>,
    /// When it is due, on the wall clock.
    pub due: WallTime,
    /// Attempts begun so far.
    pub attempts: u16,
    /// Attempts at the most.
    pub attempts_max: u16,
    /// Its priority.
    pub priority: u8,
    /// Its queue.
    pub queue: Box<str>,
    /// The schedule that added it.
    pub schedule: Option<Box<str>>,
    /// When it ends as expired unless it has begun.
    pub expires: Option<WallTime>,
    /// Its group.
    pub group: Option<Box<str>>,
    /// Its tags.
    pub tags: Tags,
}

/// A queue as a caller sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueView {
    /// Its name.
    pub name: Box<str>,
    /// Jobs that are due and wait in it.
    pub ready: u64,
    /// Jobs that have not ended and are not under way, due or not.
    pub waiting: u64,
    /// Attempts under way, by executors and fetched.
    pub running: u64,
    /// When the job was due that has waited for the longest among those that go first in their
    /// priorities; `None` if none is due.
    pub oldest: Option<WallTime>,
    /// Whether nothing is taken from it.
    pub paused: bool,
    /// Its limits.
    pub limits: QueueLimits,
    /// After how many milliseconds each a job that waits counts as one priority higher.
    pub aging_ms: Option<u32>,
}

/// How far a piece of a backfill came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backfilled {
    /// Jobs added.
    pub added: u32,
    /// The first fire time that is still to be added: ask again from there. `None` when all are.
    pub next: Option<WallTime>,
    /// Why the job of that time was not added, if it was refused.
    pub refused: Option<Refusal>,
}

/// A schedule as a caller sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleView {
    /// Its rule.
    pub rule: Schedule<'static>,
    /// The next fire time; while it is paused, the one that it waits with.
    pub next: Option<WallTime>,
    /// Set while it is paused.
    pub paused: Option<Pause>,
    /// Jobs that it added and that have not ended.
    pub pending: u32,
    /// Jobs added so far.
    pub fired: u64,
}

impl ScheduleView {
    /// The next fire times, at most `count`, if nothing is changed; the first may be past, when it
    /// is about to be caught up. None while the schedule is paused.
    ///
    /// Fire times are listed that will be let go, by the rule about missed runs or that about overlap:
    /// which ones is not known ahead.
    #[must_use]
    pub fn upcoming(&self, count: usize) -> Vec<WallTime> {
        let first = self.next.filter(|_| self.paused.is_none());
        let fires = Fires::of(&self.rule);
        let times = core::iter::successors(first, |last| fires.next_after(*last));
        let left = self.rule.runs_max.map(|max| u64::from(max).saturating_sub(self.fired));
        let count =
            left.and_then(|left| usize::try_from(left).ok()).map_or(count, |n| n.min(count));
        times.take(count).collect()
    }

    /// The fire times from `from` to `to`, both included, the oldest first, at most `count`: those that a
    /// backfill of that window would add jobs for, if runs are left.
    #[must_use]
    pub fn within(&self, from: WallTime, to: WallTime, count: usize) -> Vec<WallTime> {
        Fires::of(&self.rule).within(from, to, self.next).take(count).collect()
    }
}

/// Numbers of a shard, since it was opened; what was replayed is counted too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Counts {
    /// Jobs added.
    pub added: u64,
    /// Jobs that ended well.
    pub succeeded: u64,
    /// Jobs that failed for good, but for those that were queued again.
    pub dead: u64,
    /// Jobs cancelled.
    pub cancelled: u64,
    /// Jobs that had not begun when they expired.
    pub expired: u64,
    /// Attempts that did not succeed.
    pub failed_attempts: u64,
    /// Jobs of the dead set: those that failed for good and are kept.
    pub buried: u64,
    /// Jobs that have not ended.
    pub pending: u64,
    /// Of these, jobs that wait for an executor.
    pub ready: u64,
    /// Of these, jobs under way, by executors or fetched.
    pub running: u64,
    /// Of these, jobs that were fetched.
    pub fetched: u64,
    /// Schedules.
    pub schedules: u64,
}

impl Counts {
    /// Jobs that have ended, however.
    #[must_use]
    pub fn ended(&self) -> u64 {
        self.succeeded + self.dead + self.cancelled + self.expired
    }

    /// The events that let the journal's beginning be cut off at `at`, for a shard with these numbers:
    /// first, if there are any, the totals that a base has no place for.
    #[must_use]
    pub fn base(
        &self,
        at: WallTime,
        next_sequence: u64,
    ) -> (Option<Event<'static>>, Event<'static>) {
        let base = Event::Base {
            at: at.0,
            next_sequence,
            added: self.pending + self.ended(),
            succeeded: self.succeeded,
            dead: self.dead,
            cancelled: self.cancelled,
            failed_attempts: self.failed_attempts,
        };
        let totals = Event::Totals { at: at.0, expired: self.expired };
        ((self.expired > 0).then_some(totals), base)
    }

    /// The sum of two shards' numbers.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            added: self.added + other.added,
            succeeded: self.succeeded + other.succeeded,
            dead: self.dead + other.dead,
            cancelled: self.cancelled + other.cancelled,
            expired: self.expired + other.expired,
            failed_attempts: self.failed_attempts + other.failed_attempts,
            buried: self.buried + other.buried,
            pending: self.pending + other.pending,
            ready: self.ready + other.ready,
            running: self.running + other.running,
            fetched: self.fetched + other.fetched,
            schedules: self.schedules + other.schedules,
        }
    }
}
