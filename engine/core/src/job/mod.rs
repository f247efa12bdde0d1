//! What a job is: what a caller asks for, what is kept of it, and its states.

mod backoff;
mod by_slot;
pub(crate) mod dead;
mod index;
pub(crate) mod keys;
pub(crate) mod needs;
pub(crate) mod options;
pub(crate) mod record;
mod state;
pub(crate) mod table;
mod tags;
pub(crate) mod unique;

use alloc::{borrow::Cow, boxed::Box, string::String, sync::Arc, vec::Vec};

pub use backoff::Backoff;
pub use needs::{Need, Needs, Otherwise, When};
pub use options::{Expiry, JobOptions};
pub use state::JobState;
pub use tags::Tags;
pub use unique::{Conflict, Unique, Until};

use crate::{
    id::{JobId, Key},
    journal::NoRoom,
    limits,
    time::{Now, WallTime, ms_to_ns},
};

/// Which clock a due time is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// The monotonic clock: a span was asked for. Setting the wall clock does not move it.
    Mono,
    /// The wall clock: an instant was asked for.
    Wall,
}

/// When a job is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// This long after it was added, in nanoseconds; 0 is at once.
    After(u64),
    /// At this instant; one that has passed is at once.
    At(WallTime),
}

/// What a caller asks for: one job.
///
/// The borrowed or owned `kind` and `payload` let a caller that has a buffer of jobs submit them
/// without a copy of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewJob<'a> {
    /// Which code handles it: 1 to 255 bytes.
    pub kind: Cow<'a, str>,
    /// Opaque bytes for the handler: at most 1 MiB.
    pub payload: Cow<'a, [u8]>,
    /// When it is due.
    pub due: Due,
    /// 0 to 9; 9 goes first. Default 5.
    pub priority: u8,
    /// Tries at the most, the first included: 1 to 10,000. Default 26.
    pub attempts_max: u16,
    /// How long to wait before each further attempt.
    pub backoff: Backoff,
    /// How long one attempt may take, in milliseconds: 1 to 2³² − 1. Default 30 minutes.
    pub timeout_ms: u32,
    /// The line that it waits in: 1 to 255 bytes. Default `default`.
    pub queue: Cow<'a, str>,
    /// Refuses a second job with this key while the first has not ended. Default none.
    pub key: Option<Key>,
    /// What most jobs do without. Default none.
    pub options: Option<Arc<JobOptions>>,
    /// Whether it is kept in the dead set if it fails for good. Default yes.
    pub keeps_dead: bool,
}

impl Due {
    /// The due time on the wall clock, as it is written, and the clock it is kept on.
    pub(crate) fn at(self, now: Now) -> Result<(WallTime, Clock), Refusal> {
        let (due, clock) = match self {
            Self::After(delay_ns) => (now.wall.0.saturating_add(delay_ns), Clock::Mono),
            Self::At(at) => (at.0, Clock::Wall),
        };
        if due > limits::DUE_WALL_NS_MAX {
            return Err(Refusal::DueTooFar);
        }
        Ok((WallTime(due), clock))
    }
}

impl<'a> NewJob<'a> {
    /// Time-out of an attempt where none is named: 30 minutes.
    pub const TIMEOUT_MS_DEFAULT: u32 = 30 * 60 * 1000;

    /// A job of `kind`, due at once, with an empty payload and every other field at its default.
    #[must_use]
    pub fn new(kind: impl Into<Cow<'a, str>>) -> Self {
        Self {
            kind: kind.into(),
            payload: Cow::Borrowed(&[]),
            due: Due::After(0),
            priority: limits::PRIORITY_DEFAULT,
            attempts_max: limits::ATTEMPTS_DEFAULT,
            backoff: Backoff::DEFAULT,
            timeout_ms: Self::TIMEOUT_MS_DEFAULT,
            queue: Cow::Borrowed(limits::QUEUE_DEFAULT),
            key: None,
            options: None,
            keeps_dead: true,
        }
    }

    /// The group that it names.
    pub(crate) fn group(&self) -> Option<&str> {
        self.options.as_ref()?.group.as_deref()
    }

    /// Bytes of the event that adds it, at the most.
    pub(crate) fn record_bytes_max(&self) -> usize {
        let options_bytes = self.options.as_ref().map_or(0, |options| options.bytes_max());
        128 + options_bytes + self.kind.len() + self.queue.len() + self.payload.len()
    }

    /// The same job, owning its parts.
    #[must_use]
    pub fn into_owned(self) -> NewJob<'static> {
        NewJob {
            kind: Cow::Owned(String::from(self.kind)),
            payload: Cow::Owned(Vec::from(self.payload)),
            due: self.due,
            priority: self.priority,
            attempts_max: self.attempts_max,
            backoff: self.backoff,
            timeout_ms: self.timeout_ms,
            queue: Cow::Owned(String::from(self.queue)),
            key: self.key,
            options: self.options,
            keeps_dead: self.keeps_dead,
        }
    }

    /// Checks each field against its range.
    ///
    /// # Errors
    /// The first field that is out of its range.
    pub fn check(&self) -> Result<(), Refusal> {
        check_name("kind", &self.kind)?;
        check_name("queue's name", &self.queue)?;
        if self.payload.len() > limits::PAYLOAD_BYTES_MAX {
            return Err(Refusal::PayloadTooLarge {
                len_bytes: self.payload.len(),
                max_bytes: limits::PAYLOAD_BYTES_MAX,
            });
        }
        if self.priority > limits::PRIORITY_MAX {
            return Err(Refusal::PriorityOutOfRange { priority: self.priority });
        }
        if self.attempts_max == 0 || self.attempts_max > limits::ATTEMPTS_MAX {
            return Err(Refusal::AttemptsOutOfRange { attempts: self.attempts_max });
        }
        if self.timeout_ms == 0 {
            return Err(Refusal::TimeoutZero);
        }
        self.options.as_ref().map_or(Ok(()), |options| options.check())
    }

    /// The due time on the wall clock, as it is written, and the clock it is kept on.
    #[inline]
    pub(crate) fn due_at(&self, now: Now) -> Result<(WallTime, Clock), Refusal> {
        let (due, clock) = self.due.at(now)?;
        let expires_at = self.options.as_ref().and_then(|options| options.expires_at(now));
        if expires_at.is_some_and(|at| at.0 <= due.0.max(now.wall.0)) {
            return Err(Refusal::ExpiresFirst);
        }
        Ok((due, clock))
    }
}

pub(crate) fn check_name(field: &'static str, name: &str) -> Result<(), Refusal> {
    if name.is_empty() || name.len() > limits::NAME_BYTES_MAX {
        return Err(Refusal::NameLength { field, len_bytes: name.len() });
    }
    Ok(())
}

/// Nanoseconds of a time-out.
pub(crate) fn timeout_ns(timeout_ms: u32) -> u64 {
    ms_to_ns(u64::from(timeout_ms))
}

/// Why a command was refused. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The payload is longer than a job may carry.
    #[error(
        "the payload has {len_bytes} bytes, at most {max_bytes} are allowed: store it elsewhere and send a reference"
    )]
    PayloadTooLarge {
        /// Its length.
        len_bytes: usize,
        /// The limit.
        max_bytes: usize,
    },
    /// A name is empty or too long.
    #[error(
        "the {field} has {len_bytes} bytes, it needs 1 to 255: use a short name such as send_email"
    )]
    NameLength {
        /// Which name.
        field: &'static str,
        /// Its length.
        len_bytes: usize,
    },
    /// The priority is not 0 to 9.
    #[error("the priority is {priority}, it must be 0 (last) to 9 (first)")]
    PriorityOutOfRange {
        /// What was asked for.
        priority: u8,
    },
    /// The number of attempts is not 1 to 10,000.
    #[error("attempts_max is {attempts}, it must be 1 to 10000")]
    AttemptsOutOfRange {
        /// What was asked for.
        attempts: u16,
    },
    /// A time-out of zero.
    #[error("the timeout is zero: give an attempt at least a millisecond")]
    TimeoutZero,
    /// Due after the year 2199.
    #[error("the due time lies after the year 2199: check its unit")]
    DueTooFar,
    /// Another job holds its key of uniqueness.
    #[error("job {0} holds this key of uniqueness: wait for its end, or submit with another key")]
    NotUnique(JobId),
    /// More keys of uniqueness that outlive their jobs than a shard holds.
    #[error("{max} keys of uniqueness are held for a time already: wait, or hold them for less", max = limits::UNIQUE_LASTING_MAX)]
    TooManyUniqueKeys,
    /// It waits for too many jobs.
    #[error("it waits for {count} jobs, at most {max} are allowed: put one between that waits for some of them", max = limits::NEEDS_MAX)]
    TooManyNeeds {
        /// How many.
        count: usize,
    },
    /// It waits for a job twice.
    #[error("it waits for job {0} twice: name each once")]
    NeedTwice(JobId),
    /// It waits for a job that has ended, and how that did is not known any more.
    #[error(
        "it waits for job {0}, which has ended, and how is not kept: wait for `Done` only, or submit both together"
    )]
    NeedOver(JobId),
    /// It waits for a job that is not in this shard.
    #[error("it waits for job {0}, which is not in this shard: submit both together")]
    NeedUnknown(JobId),
    /// Too many jobs wait for the same one.
    #[error("{max} jobs wait for job {0} already: put one between", max = limits::WAITING_FOR_ONE_MAX)]
    TooManyWaiting(JobId),
    /// There is no such batch.
    #[error(
        "there is no batch {0}: it has ended long ago, was not committed in time, or never was"
    )]
    NoSuchBatch(JobId),
    /// The batch is committed, or over.
    #[error("batch {0} is not open: open it before jobs are added, as long as it is not over")]
    BatchClosed(JobId),
    /// More batches than a shard holds.
    #[error("there are {max} batches already: retry once some are over", max = limits::BATCHES_MAX)]
    TooManyBatches,
    /// Fields about other jobs contradict each other.
    #[error("relations: {0}")]
    Relation(&'static str),
    /// It would expire before it may begin.
    #[error(
        "it expires before it is due, so it would never run: give it more time, or leave it out"
    )]
    ExpiresFirst,
    /// More kinds than a shard knows.
    #[error("there are {max} kinds already: put what varies from job to job into the payload", max = limits::KINDS_MAX)]
    TooManyKinds,
    /// More queues than a shard knows.
    #[error("there are {max} queues already: put what varies from job to job into the payload", max = limits::QUEUES_MAX)]
    TooManyQueues,
    /// As many jobs wait in the queue as it is limited to.
    #[error(
        "{max} jobs wait in queue {queue:?}, which is its limit: retry once some have run, or raise the limit"
    )]
    QueueFull {
        /// The queue.
        queue: Box<str>,
        /// Its limit.
        max: u32,
    },
    /// As many jobs of the group wait as it is limited to.
    #[error(
        "{max} jobs of group {group:?} wait in queue {queue:?}, which is its limit: retry once some have run, or raise the limit"
    )]
    GroupFull {
        /// The queue.
        queue: Box<str>,
        /// The group.
        group: Box<str>,
        /// Its limit.
        max: u32,
    },
    /// More groups than a shard has at a time.
    #[error("{max} groups have jobs already: retry once some have none, or let fewer jobs name a group", max = limits::GROUPS_MAX)]
    TooManyGroups,
    /// More groups with limits of their own than a shard holds.
    #[error("{max} groups have limits of their own already: limit all groups of the queue instead, or take some away", max = limits::GROUP_LIMITS_MAX)]
    TooManyGroupLimits,
    /// A group stands in the way.
    #[error("group: {0}")]
    Group(&'static str),
    /// A tag is out of its bounds.
    #[error("tag: {0}")]
    Tag(&'static str),
    /// A limit of a queue is out of its range.
    #[error("limits of a queue: {0}")]
    QueueLimits(&'static str),
    /// A job with the same key has not ended.
    #[error("job {0} has this key and has not ended: wait for its end or cancel it")]
    KeyHeld(JobId),
    /// More jobs than the configured bound.
    #[error(
        "{max} jobs are pending in this shard, which is its limit: retry once some of them have ended, or raise the limit on pending jobs"
    )]
    TooManyJobs {
        /// The bound.
        max: u32,
    },
    /// More schedules than a shard holds.
    #[error("there are {max} schedules already: remove some", max = limits::SCHEDULES_MAX)]
    TooManySchedules,
    /// A note is too long.
    #[error("the note has {len_bytes} bytes, at most {max} are allowed: shorten it", max = limits::NOTE_BYTES_MAX)]
    NoteTooLong {
        /// Its length.
        len_bytes: usize,
    },
    /// A field of a schedule is out of its range.
    #[error("schedule: {0}")]
    Schedule(&'static str),
    /// Its key belongs to a shard that is closed.
    #[error(
        "its key belongs to shard {0}, which is closed: open that, or retry once it is open again"
    )]
    ShardClosed(usize),
    /// The disk is full. Running jobs still complete.
    #[error("no space left for the log: free disk space, then retry; running jobs still complete")]
    NoSpace,
    /// The log is making room.
    #[error("the log is making room, and has none for this yet: retry in about 10 milliseconds")]
    Busy,
    /// A write or sync of the log failed.
    #[error("the log has failed and takes nothing more: check the disk, then restart")]
    LogFailed,
}

impl From<NoRoom> for Refusal {
    fn from(reason: NoRoom) -> Self {
        match reason {
            NoRoom::NotYet => Self::Busy,
            NoRoom::Full => Self::NoSpace,
            NoRoom::Failed => Self::LogFailed,
        }
    }
}
