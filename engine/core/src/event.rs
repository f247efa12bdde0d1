//! What is written to the journal, and how: one event per change of state, self-contained, each
//! with its wall-clock time. The state changes only by applying these. Three events change no
//! state: they repeat what older ones say, so that those can be cut off.
//!
//! An event is a head in bincode 2 (standard configuration: little-endian, variable-length
//! integers) and, where it carries a job, that job's payload behind it. The first field is the
//! variant's number: variants are only ever added at the end. `docs/events.md` lists them.

mod batch;
mod change;
mod list;
mod options;
mod rule;

use alloc::vec::Vec;

use bincode::{
    BorrowDecode, Encode, config,
    de::BorrowDecoder,
    enc::Encoder,
    error::{DecodeError, EncodeError},
};

pub(crate) use batch::callback_bytes;
pub use batch::{BatchCounted, BatchEndWritten, BatchWritten, FiredWritten};
pub use change::JobChange;
pub(crate) use list::encode as encode_attempts;
pub use list::{Attempts, Listed};
pub use options::{TermOptions, UniqueWritten};
pub use rule::{Rule, RuleMissed, RuleOptions, RuleTiming};

use crate::{
    id::Key,
    job::{Backoff, Clock, NewJob},
    limits,
    queue::QueueLimits,
};

/// One change of the scheduler's state. Times are nanoseconds on the wall clock.
#[derive(Clone, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub enum Event<'a> {
    /// A job was added.
    Added(JobAdded<'a>),
    /// An attempt began.
    Started {
        /// The job.
        job: u64,
        /// The attempt's fencing token.
        token: u32,
        /// When.
        at: u64,
    },
    /// An attempt ended well, and with it the job.
    Succeeded {
        /// The job.
        job: u64,
        /// When.
        at: u64,
    },
    /// An attempt ended otherwise; the job is retried, or over and not kept.
    Failed {
        /// The job.
        job: u64,
        /// When.
        at: u64,
        /// Why.
        failure: Failure,
        /// When it is tried again; `None` when it is over.
        retry_at: Option<u64>,
        /// What the handler said, at most 1000 bytes.
        message: &'a str,
    },
    /// A job was cancelled.
    Cancelled {
        /// The job.
        job: u64,
        /// When.
        at: u64,
    },
    /// A schedule was put: added, or its rule replaced.
    SchedulePut {
        /// When.
        at: u64,
        /// The rule; its job's payload follows the head.
        rule: Rule<'a>,
        /// The next fire time.
        next: Option<u64>,
    },
    /// A schedule's timer fired.
    ScheduleFired {
        /// When.
        at: u64,
        /// The schedule's name.
        name: &'a str,
        /// The next fire time.
        next: Option<u64>,
        /// Fire times up to here run however late.
        catch_up_until: u64,
        /// The job it added; its payload follows the head. `None` when the fire time was let go.
        job: Option<JobAdded<'a>>,
    },
    /// A schedule was removed; jobs that it added stay.
    ScheduleRemoved {
        /// When.
        at: u64,
        /// Its name.
        name: &'a str,
    },
    /// An attempt was given back before it began: it does not count.
    Released {
        /// The job.
        job: u64,
        /// When.
        at: u64,
        /// When it is due again; at once if that is `at`.
        due: u64,
    },
    /// A job that is held was written again, whole and as it is now; its payload follows the head.
    /// The record that held it before is not needed any more.
    Kept(JobKept<'a>),
    /// A schedule that is held was written again, whole and as it is now.
    ScheduleKept {
        /// When.
        at: u64,
        /// The rule; its job's payload follows the head.
        rule: Rule<'a>,
        /// The next fire time.
        next: Option<u64>,
        /// Fire times up to here run however late.
        catch_up_until: u64,
        /// Jobs added so far.
        fired: u64,
    },
    /// What was needed of the log's beginning has been written again: it may be cut off. Totals
    /// since the shard's first event, so that numbers and ids survive the cut.
    Base {
        /// When.
        at: u64,
        /// The number of the next job.
        next_sequence: u64,
        /// Jobs added.
        added: u64,
        /// Jobs that ended well.
        succeeded: u64,
        /// Jobs that failed for good.
        dead: u64,
        /// Jobs cancelled.
        cancelled: u64,
        /// Attempts that did not succeed.
        failed_attempts: u64,
    },
    /// Several attempts began; [`Attempts`] of them follow the head.
    StartedMany {
        /// When.
        at: u64,
        /// How many.
        count: u32,
    },
    /// Several attempts ended well, and with them their jobs; [`Attempts`] of them follow the head.
    SucceededMany {
        /// When.
        at: u64,
        /// How many.
        count: u32,
    },
    /// Attempts were fetched by a worker, which goes on with them when the process ends: their leases
    /// end one time-out after `at`. [`Attempts`] of them follow the head.
    Fetched {
        /// When.
        at: u64,
        /// How many.
        count: u32,
    },
    /// The lease of an attempt ends at another time than it did.
    Extended {
        /// The job.
        job: u64,
        /// When.
        at: u64,
        /// When the lease ends now.
        lease_end: u64,
    },
    /// A queue was paused, or goes on.
    QueueSet {
        /// When.
        at: u64,
        /// Its name.
        name: &'a str,
        /// Whether nothing is taken from it.
        paused: bool,
    },
    /// A schedule was paused, or its note replaced.
    SchedulePaused {
        /// When.
        at: u64,
        /// Its name.
        name: &'a str,
        /// Why.
        note: &'a str,
    },
    /// A schedule that was paused goes on.
    ScheduleResumed {
        /// When.
        at: u64,
        /// Its name.
        name: &'a str,
    },
    /// A queue was given limits, in the place of all that it had; or they were written again.
    QueueLimits {
        /// When.
        at: u64,
        /// Its name.
        name: &'a str,
        /// The limits.
        limits: QueueLimits,
        /// When its rate has its whole burst again; `at` or earlier if it has it already.
        full_at: u64,
    },
    /// A job had not begun when it was not worth running any more.
    Expired {
        /// The job.
        job: u64,
        /// When.
        at: u64,
    },
    /// Totals that a [`Event::Base`] has no place for. It is written right before that, unless all
    /// of them are 0.
    Totals {
        /// When.
        at: u64,
        /// Jobs that expired.
        expired: u64,
    },
    /// An attempt ended, and with it the job, which is kept in the dead set.
    Buried {
        /// The job.
        job: u64,
        /// When.
        at: u64,
        /// Why.
        failure: Failure,
        /// What the handler said, at most 1000 bytes.
        message: &'a str,
    },
    /// Jobs were changed by a caller, or left the dead set by its bounds; [`Attempts`] of them follow
    /// the head, each with the token of its last attempt.
    Changed {
        /// When.
        at: u64,
        /// How.
        change: JobChange<'a>,
        /// How many.
        count: u32,
    },
    /// A job that waits for others was told that one of them has ended. Once all have, it waits no longer.
    NeedSettled {
        /// The job.
        job: u64,
        /// The one that has ended.
        on: u64,
        /// When the job was told.
        at: u64,
        /// Whether that one ended as it has to. If not, the job is cancelled, or waits no longer.
        met: bool,
    },
    /// A key of uniqueness that outlives its job was written again.
    UniqueKept {
        /// When.
        at: u64,
        /// The key.
        key: [u8; 16],
        /// The job that held it.
        job: u64,
        /// When it is free.
        free_at: u64,
    },
    /// A batch was made, or written again, whole and as it is now. Its callbacks follow the head.
    BatchPut {
        /// When.
        at: u64,
        /// It was made now: the batch that it is part of counts it.
        is_new: bool,
        /// The batch.
        batch: BatchWritten<'a>,
    },
    /// A batch was committed, or opened again.
    BatchSet {
        /// When.
        at: u64,
        /// The batch.
        batch: u64,
        /// Until when it is open; `None` when it was committed.
        until: Option<u64>,
    },
    /// The numbers of a batch, which events about its jobs have changed. It is written before a
    /// [`Event::Base`].
    BatchCount {
        /// When.
        at: u64,
        /// The batch.
        batch: u64,
        /// Its numbers now.
        counts: BatchCounted,
    },
    /// A batch ended, or was forgotten.
    BatchOver {
        /// When.
        at: u64,
        /// The batch.
        batch: u64,
        /// How it ended.
        end: BatchEndWritten,
    },
    /// The groups of a queue that have no limits of their own were given limits, in the place of those that
    /// they had; or these were written again.
    GroupsLimits {
        /// When.
        at: u64,
        /// The queue.
        name: &'a str,
        /// The limits of each of them.
        limits: QueueLimits,
    },
    /// A group was given limits of its own, or they were taken away; or they were written again.
    GroupLimits {
        /// When.
        at: u64,
        /// The queue.
        name: &'a str,
        /// The group.
        group: &'a str,
        /// The limits.
        limits: Option<QueueLimits>,
    },
    /// What the rate of a group has spent, written down.
    GroupSpent {
        /// When.
        at: u64,
        /// The queue.
        name: &'a str,
        /// The group.
        group: &'a str,
        /// When its rate has its whole burst again.
        full_at: u64,
    },
    /// A queue lets its jobs age from now on, or does not; or that was written again.
    QueueAging {
        /// When.
        at: u64,
        /// Its name.
        name: &'a str,
        /// After how many milliseconds each a job that waits counts as one priority higher; `None` for never.
        span_ms: Option<u32>,
    },
}

/// A job as it was added.
#[derive(Clone, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub struct JobAdded<'a> {
    /// Its id.
    pub job: u64,
    /// When it was added.
    pub at: u64,
    /// When it is due.
    pub due: u64,
    /// Whether the due time is kept on the monotonic clock.
    pub mono: bool,
    /// Its kind.
    pub kind: &'a str,
    /// Its terms.
    pub terms: Terms<'a>,
}

/// A job as it is at one moment of its life.
#[derive(Clone, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub struct JobKept<'a> {
    /// When this was written.
    pub at: u64,
    /// The job as it was added, but with its present due time and clock.
    pub job: JobAdded<'a>,
    /// Attempts begun so far that count.
    pub attempt: u16,
    /// The fencing token of its last attempt.
    pub token: u32,
    /// Its state.
    pub state: KeptState<'a>,
    /// The schedule that added it, if that is still there.
    pub schedule: Option<&'a str>,
}

/// The state of a job that is written again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub enum KeptState<'a> {
    /// Waits for its due time.
    Scheduled,
    /// Due, waits for an executor.
    Ready,
    /// An attempt is under way.
    Running {
        /// When its lease ends.
        lease_end: u64,
    },
    /// An attempt is under way that was fetched.
    Fetched {
        /// When its lease ends.
        lease_end: u64,
    },
    /// It failed for good.
    Dead {
        /// When.
        died: u64,
        /// Why.
        failure: Failure,
        /// What the handler said, at most [`limits::DEAD_MESSAGE_BYTES_MAX`] bytes.
        message: &'a str,
    },
    /// Waits for other jobs.
    Blocked,
}

/// How a job is run: what a job and a schedule's rule have in common.
///
/// The upper four bits of the first byte say which of the last fields follow: a job that does not
/// use them takes nothing for them, and more can be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms<'a> {
    /// 0 to 9.
    pub priority: u8,
    /// Attempts at the most.
    pub attempts_max: u16,
    /// First back-off.
    pub backoff_base_ms: u32,
    /// Longest back-off.
    pub backoff_max_ms: u32,
    /// Time-out of an attempt.
    pub timeout_ms: u32,
    /// Its queue.
    pub queue: &'a str,
    /// Its key.
    pub key: Option<Key>,
    /// What most jobs do without.
    pub options: TermOptions<'a>,
    /// Whether it is kept in the dead set if it fails for good.
    pub keeps_dead: bool,
}

/// In the first byte of [`Terms`]: a queue follows, which is not the default one.
const HAS_QUEUE: u8 = 0x10;
/// In the first byte of [`Terms`]: a key follows.
const HAS_KEY: u8 = 0x20;
/// In the first byte of [`Terms`]: options follow.
const HAS_OPTIONS: u8 = 0x40;
/// In the first byte of [`Terms`]: a job that fails for good is not kept.
const DROPS_DEAD: u8 = 0x80;

impl Encode for Terms<'_> {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        let has_queue = self.queue != limits::QUEUE_DEFAULT;
        let has_options = self.options != TermOptions::default();
        let first = self.priority
            | if has_queue { HAS_QUEUE } else { 0 }
            | if self.key.is_some() { HAS_KEY } else { 0 }
            | if has_options { HAS_OPTIONS } else { 0 }
            | if self.keeps_dead { 0 } else { DROPS_DEAD };
        first.encode(encoder)?;
        self.attempts_max.encode(encoder)?;
        self.backoff_base_ms.encode(encoder)?;
        self.backoff_max_ms.encode(encoder)?;
        self.timeout_ms.encode(encoder)?;
        if has_queue {
            self.queue.encode(encoder)?;
        }
        if let Some(key) = self.key {
            key.0.encode(encoder)?;
        }
        if has_options { self.options.encode(encoder) } else { Ok(()) }
    }
}

impl<'de, Context> BorrowDecode<'de, Context> for Terms<'de> {
    fn borrow_decode<D: BorrowDecoder<'de, Context = Context>>(
        decoder: &mut D,
    ) -> Result<Self, DecodeError> {
        let first = u8::borrow_decode(decoder)?;
        if first & 0xf0 & !(HAS_QUEUE | HAS_KEY | HAS_OPTIONS | DROPS_DEAD) != 0 {
            return Err(DecodeError::Other("a job has terms of a newer version"));
        }
        Ok(Self {
            priority: first & 0x0f,
            attempts_max: u16::borrow_decode(decoder)?,
            backoff_base_ms: u32::borrow_decode(decoder)?,
            backoff_max_ms: u32::borrow_decode(decoder)?,
            timeout_ms: u32::borrow_decode(decoder)?,
            queue: match first & HAS_QUEUE {
                0 => limits::QUEUE_DEFAULT,
                _ => <&str>::borrow_decode(decoder)?,
            },
            key: match first & HAS_KEY {
                0 => None,
                _ => Some(Key(<[u8; 16]>::borrow_decode(decoder)?)),
            },
            options: match first & HAS_OPTIONS {
                0 => TermOptions::default(),
                _ => TermOptions::borrow_decode(decoder)?,
            },
            keeps_dead: first & DROPS_DEAD == 0,
        })
    }
}

impl<'a> Terms<'a> {
    #[inline(always)]
    pub(crate) fn of(job: &'a NewJob<'_>) -> Self {
        Self {
            priority: job.priority,
            attempts_max: job.attempts_max,
            backoff_base_ms: job.backoff.base_ms,
            backoff_max_ms: job.backoff.max_ms,
            timeout_ms: job.timeout_ms,
            queue: &job.queue,
            key: job.key,
            options: job.options.as_deref().map(TermOptions::of).unwrap_or_default(),
            keeps_dead: job.keeps_dead,
        }
    }

    pub(crate) fn backoff(self) -> Backoff {
        Backoff { base_ms: self.backoff_base_ms, max_ms: self.backoff_max_ms }
    }
}

/// Why an attempt did not succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub enum Failure {
    /// The handler said so and may be tried again.
    Retryable,
    /// The handler said so, and that a retry is of no use.
    Permanent,
    /// It panicked.
    Panicked,
    /// Its lease ended first.
    TimedOut,
    /// The process that ran it ended.
    Lost,
    /// A caller killed the job while it waited.
    Killed,
}

/// The bytes are no event that this version knows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an event of this version: {0}")]
pub struct DecodeEventError(pub(crate) &'static str);

impl<'a> Event<'a> {
    /// Encodes the head into the start of `buffer`, which is lengthened if need be, and returns the
    /// head's length.
    ///
    /// # Panics
    /// If the head is longer than [`limits::EVENT_HEAD_BYTES_MAX`]: each field was checked against
    /// a limit before, and the limits fit.
    pub fn encode(&self, buffer: &mut Vec<u8>) -> usize {
        if buffer.len() < limits::EVENT_HEAD_BYTES_MAX {
            buffer.resize(limits::EVENT_HEAD_BYTES_MAX, 0);
        }
        bincode::encode_into_slice(self, buffer, config::standard())
            .expect("each field of an event is bounded, and the bounds fit its head")
    }

    /// Decodes an event; what follows its head is the payload.
    ///
    /// # Errors
    /// If the bytes are not an event of this version.
    pub fn decode(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), DecodeEventError> {
        let bounded = config::standard().with_limit::<{ limits::EVENT_BYTES_MAX }>();
        let (event, len) = bincode::borrow_decode_from_slice(bytes, bounded)
            .map_err(|_| DecodeEventError("its head cannot be read"))?;
        Ok((event, &bytes[len..]))
    }
}

impl JobAdded<'_> {
    pub(crate) fn clock(&self) -> Clock {
        if self.mono { Clock::Mono } else { Clock::Wall }
    }
}

#[cfg(test)]
mod tests;
