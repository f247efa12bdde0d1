//! What readers of the history see: attempts that ended, and the other events.

use std::time::SystemTime;

use tickwheel_core::{
    JobId, Key, Next, ShardId, WallTime,
    event::DecodeEventError,
    fact::{self, AttemptOutcome, Fact, Then},
};

use crate::clock::system_time;

/// Something that happened, as a [`Subscription`](crate::Subscription) tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HistoryEvent {
    /// An attempt ended, or a job did without one.
    Ended(Box<AttemptRecord>),
    /// A job was added; only told if [`History::adds`](crate::History::adds) says so.
    #[non_exhaustive]
    Added {
        /// The job.
        job: JobRef,
        /// When.
        at: SystemTime,
    },
    /// An attempt began; only told if [`History::starts`](crate::History::starts) says so.
    #[non_exhaustive]
    Started {
        /// The job.
        job: JobRef,
        /// Which attempt, from 1.
        attempt: u16,
        /// Its fencing token.
        token: u32,
        /// When.
        at: SystemTime,
    },
    /// A dead job was queued again.
    #[non_exhaustive]
    Requeued {
        /// The job.
        job: JobRef,
        /// When.
        at: SystemTime,
    },
    /// A schedule's time came.
    #[non_exhaustive]
    ScheduleFired {
        /// Its name.
        schedule: String,
        /// When.
        at: SystemTime,
        /// The job that it added; `None` when the fire time was let go.
        job: Option<JobId>,
    },
    /// A schedule was put, or its rule replaced.
    #[non_exhaustive]
    SchedulePut {
        /// Its name.
        schedule: String,
        /// When.
        at: SystemTime,
    },
    /// A schedule was removed.
    #[non_exhaustive]
    ScheduleRemoved {
        /// Its name.
        schedule: String,
        /// When.
        at: SystemTime,
    },
    /// A schedule was paused, or its note replaced.
    #[non_exhaustive]
    SchedulePaused {
        /// Its name.
        schedule: String,
        /// When.
        at: SystemTime,
        /// Why.
        note: String,
    },
    /// A schedule goes on.
    #[non_exhaustive]
    ScheduleResumed {
        /// Its name.
        schedule: String,
        /// When.
        at: SystemTime,
    },
    /// A queue was paused. Each shard tells it of its part.
    #[non_exhaustive]
    QueuePaused {
        /// Its name.
        queue: String,
        /// When.
        at: SystemTime,
    },
    /// A queue goes on. Each shard tells it of its part.
    #[non_exhaustive]
    QueueResumed {
        /// Its name.
        queue: String,
        /// When.
        at: SystemTime,
    },
    /// Something is missing here.
    Gap(HistoryGap),
}

/// The job that an event is about.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct JobRef {
    /// Its id.
    pub job: JobId,
    /// Its key, if the caller gave it one; see [`key_of`](crate::worker::key_of).
    pub key: Option<Key>,
    /// Its kind.
    pub kind: String,
    /// Its queue.
    pub queue: String,
    /// The schedule that added it.
    pub schedule: Option<String>,
    /// When it was due; of a retry, when its back-off was over. Of a delay it is reckoned from the
    /// clocks of the attempt's end.
    pub due: SystemTime,
}

/// How an attempt ended, or a job that had none under way.
///
/// The same job and token name the same attempt: whoever is told of it twice can tell.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AttemptRecord {
    /// The job.
    pub job: JobRef,
    /// The shard that held it.
    pub shard: ShardId,
    /// Which attempt, from 1. If none was under way, how many the job had had.
    pub attempt: u16,
    /// The attempt's fencing token.
    pub token: u32,
    /// Whether an attempt ended. If not, the job ended while it waited.
    pub is_attempt: bool,
    /// When the attempt began. `None` if none was under way, or if that was not seen: the history was
    /// turned on later.
    pub start: Option<SystemTime>,
    /// When it ended.
    pub end: SystemTime,
    /// How it ended.
    pub outcome: AttemptOutcome,
    /// What follows.
    pub next: Next,
    /// What the handler said, at most 1000 bytes.
    pub message: String,
    /// The end of what it wrote, if its handler [kept it](crate::Attempt::keep_output).
    pub output: Option<Vec<u8>>,
}

/// Something is missing in the history.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HistoryGap {
    /// The shard whose events are missing; `None`: those of all.
    pub shard: Option<ShardId>,
    /// Where in that shard's log the first of them may lie; without a shard, where in the history.
    pub from: u64,
    /// Behind the last of them, likewise.
    pub to: u64,
    /// When that was noticed, if it is known.
    pub at: Option<SystemTime>,
    /// Why.
    pub reason: GapReason,
}

/// Why something is missing in the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GapReason {
    /// The history could not keep up, or its disk was full.
    FellBehind,
    /// A start found that the shard's log did not hold any more what the history had not taken: it
    /// was turned off for a time, or had failed.
    CutOff,
    /// The shard's log ends before what the history had taken of it: it lost its end in a power cut,
    /// was restored from a copy, or its shards were changed in number. What was told of this range may
    /// not have happened.
    RolledBack,
    /// The subscriber lagged so far behind that what it did not see was given up, by age or size.
    Retention,
    /// The history is another one than the cursor was made for: the former was damaged and set aside,
    /// or removed.
    Replaced,
    /// Bytes of the history are damaged.
    Damaged,
}

impl GapReason {
    pub(super) fn number(self) -> u8 {
        match self {
            Self::FellBehind => 0,
            Self::CutOff => 1,
            Self::RolledBack => 2,
            Self::Retention => 3,
            Self::Replaced => 4,
            Self::Damaged => 5,
        }
    }

    /// Of a number that a later version has added, the reason that says least.
    pub(super) fn of(number: u8) -> Self {
        match number {
            1 => Self::CutOff,
            2 => Self::RolledBack,
            3 => Self::Retention,
            4 => Self::Replaced,
            5 => Self::Damaged,
            _ => Self::FellBehind,
        }
    }
}

/// The event that a fact is told as; `None` for one that is told to nobody.
pub(super) fn event_of(
    shard: u8,
    output: &[u8],
    fact: &[u8],
) -> Result<Option<HistoryEvent>, DecodeEventError> {
    let time = |ns| system_time(WallTime(ns));
    Ok(Some(match Fact::decode(fact)? {
        Fact::Ended(ended) => HistoryEvent::Ended(Box::new(record_of(shard, output, &ended))),
        Fact::Added { job, at } => HistoryEvent::Added { job: job_of(&job), at: time(at) },
        Fact::Started { job, attempt, token, at } => {
            HistoryEvent::Started { job: job_of(&job), attempt, token, at: time(at) }
        }
        Fact::Requeued { job, at } => HistoryEvent::Requeued { job: job_of(&job), at: time(at) },
        Fact::ScheduleFired { name, at, job } => HistoryEvent::ScheduleFired {
            schedule: name.to_owned(),
            at: time(at),
            job: job.map(JobId),
        },
        Fact::SchedulePut { name, at } => {
            HistoryEvent::SchedulePut { schedule: name.to_owned(), at: time(at) }
        }
        Fact::ScheduleRemoved { name, at } => {
            HistoryEvent::ScheduleRemoved { schedule: name.to_owned(), at: time(at) }
        }
        Fact::SchedulePaused { name, at, note } => HistoryEvent::SchedulePaused {
            schedule: name.to_owned(),
            at: time(at),
            note: note.to_owned(),
        },
        Fact::ScheduleResumed { name, at } => {
            HistoryEvent::ScheduleResumed { schedule: name.to_owned(), at: time(at) }
        }
        Fact::QueueSet { name, at, paused: true } => {
            HistoryEvent::QueuePaused { queue: name.to_owned(), at: time(at) }
        }
        Fact::QueueSet { name, at, paused: false } => {
            HistoryEvent::QueueResumed { queue: name.to_owned(), at: time(at) }
        }
        Fact::UnderWay { .. } => return Ok(None),
    }))
}

fn job_of(job: &fact::Subject<'_>) -> JobRef {
    JobRef {
        job: JobId(job.job),
        key: job.key.map(Key),
        kind: job.kind.to_owned(),
        queue: job.queue.to_owned(),
        schedule: job.schedule.map(str::to_owned),
        due: system_time(WallTime(job.due)),
    }
}

/// An end as readers see it.
pub(super) fn record_of(shard: u8, output: &[u8], ended: &fact::Ended<'_>) -> AttemptRecord {
    AttemptRecord {
        job: job_of(&ended.job),
        shard: ShardId(shard),
        attempt: ended.attempt,
        token: ended.token,
        is_attempt: ended.is_attempt,
        start: ended.start.map(|ns| system_time(WallTime(ns))),
        end: system_time(WallTime(ended.at)),
        outcome: ended.outcome,
        next: match ended.then {
            Then::Done => Next::Done,
            Then::Dead => Next::Dead,
            Then::Due(at) => Next::Retry(WallTime(at)),
        },
        message: ended.message.to_owned(),
        output: (!output.is_empty()).then(|| output.to_vec()),
    }
}
