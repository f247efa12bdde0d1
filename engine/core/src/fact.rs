//! What happened, told so that whoever reads it needs nothing else: one [`Fact`] per attempt that
//! ended, and per thing beside attempts that people ask about later.
//!
//! Facts follow from events and from the state right before each is applied (`scheduler/tell.rs`), so
//! a replay gives the same ones. They change nothing. Their encoding is that of events: a head of
//! bincode 2, whose first number is the variant's; variants are only added at the end.
//! `docs/history.md` lists them.

use alloc::vec::Vec;
use core::{fmt, str::FromStr};

use bincode::{BorrowDecode, Encode, config, enc::write::Writer, error::EncodeError};

use crate::{event::DecodeEventError, id::Lsn, limits};

/// Something that happened. Times are nanoseconds on the wall clock.
#[derive(Clone, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub enum Fact<'a> {
    /// An attempt ended, or a job did without one.
    Ended(Ended<'a>),
    /// A job was added.
    Added {
        /// The job.
        job: Subject<'a>,
        /// When.
        at: u64,
    },
    /// An attempt began.
    Started {
        /// The job.
        job: Subject<'a>,
        /// Which attempt, from 1.
        attempt: u16,
        /// Its fencing token.
        token: u32,
        /// When.
        at: u64,
    },
    /// A dead job lives again.
    Requeued {
        /// The job.
        job: Subject<'a>,
        /// When.
        at: u64,
    },
    /// A schedule's time came.
    ScheduleFired {
        /// Its name.
        name: &'a str,
        /// When.
        at: u64,
        /// The job that it added; `None` when the fire time was let go.
        job: Option<u64>,
    },
    /// A schedule was put, or its rule replaced.
    SchedulePut {
        /// Its name.
        name: &'a str,
        /// When.
        at: u64,
    },
    /// A schedule was removed.
    ScheduleRemoved {
        /// Its name.
        name: &'a str,
        /// When.
        at: u64,
    },
    /// A schedule was paused, or its note replaced.
    SchedulePaused {
        /// Its name.
        name: &'a str,
        /// When.
        at: u64,
        /// Why.
        note: &'a str,
    },
    /// A schedule goes on.
    ScheduleResumed {
        /// Its name.
        name: &'a str,
        /// When.
        at: u64,
    },
    /// A queue was paused in this shard, or goes on.
    QueueSet {
        /// Its name.
        name: &'a str,
        /// When.
        at: u64,
        /// Whether nothing is taken from it.
        paused: bool,
    },
    /// An attempt was under way when a snapshot was taken; a replay that begins there does not see
    /// when it began.
    UnderWay {
        /// The job.
        job: u64,
        /// The attempt's fencing token.
        token: u32,
        /// When the attempt began.
        start: u64,
    },
}

/// The job that a fact is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub struct Subject<'a> {
    /// Its id.
    pub job: u64,
    /// Its key.
    pub key: Option<[u8; 16]>,
    /// Its kind.
    pub kind: &'a str,
    /// Its queue.
    pub queue: &'a str,
    /// The schedule that added it.
    pub schedule: Option<&'a str>,
    /// When it was due; of a retry, when its back-off was over.
    pub due: u64,
}

/// How an attempt ended, or a job that had none under way.
#[derive(Clone, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub struct Ended<'a> {
    /// The job.
    pub job: Subject<'a>,
    /// Which attempt, from 1; of a job that ended without one, how many it had had.
    pub attempt: u16,
    /// The fencing token of the attempt; with the job it names the attempt for ever.
    pub token: u32,
    /// Whether an attempt ended, and not only a job.
    pub is_attempt: bool,
    /// When the attempt began, if that is known.
    pub start: Option<u64>,
    /// When it ended.
    pub at: u64,
    /// How.
    pub outcome: AttemptOutcome,
    /// What follows.
    pub then: Then,
    /// What the handler said, at most 1000 bytes.
    pub message: &'a str,
}

/// How an attempt or a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, BorrowDecode)]
#[non_exhaustive]
pub enum AttemptOutcome {
    /// Well.
    Succeeded,
    /// The handler said it failed.
    Failed,
    /// The handler said it failed, and that a retry is of no use.
    FailedForGood,
    /// The handler panicked.
    Panicked,
    /// Its time-out or lease ended first.
    TimedOut,
    /// The process that ran it ended.
    Lost,
    /// A caller or a rule cancelled it.
    Cancelled,
    /// It was given back before it began, and does not count.
    GivenBack,
    /// It was put off, and does not count.
    PutOff,
    /// The job had not begun when it was not worth running any more.
    Expired,
    /// A caller sent the waiting job to the dead set.
    Killed,
}

/// The outcomes and their names.
const OUTCOMES: [(AttemptOutcome, &str); 11] = [
    (AttemptOutcome::Succeeded, "succeeded"),
    (AttemptOutcome::Failed, "failed"),
    (AttemptOutcome::FailedForGood, "failed-for-good"),
    (AttemptOutcome::Panicked, "panicked"),
    (AttemptOutcome::TimedOut, "timed-out"),
    (AttemptOutcome::Lost, "lost"),
    (AttemptOutcome::Cancelled, "cancelled"),
    (AttemptOutcome::GivenBack, "given-back"),
    (AttemptOutcome::PutOff, "put-off"),
    (AttemptOutcome::Expired, "expired"),
    (AttemptOutcome::Killed, "killed"),
];

impl AttemptOutcome {
    /// Its name, which is parsed too.
    ///
    /// ```
    /// use tickwheel_core::fact::AttemptOutcome;
    /// assert_eq!("timed-out".parse(), Ok(AttemptOutcome::TimedOut));
    /// assert_eq!(AttemptOutcome::TimedOut.name(), "timed-out");
    /// ```
    #[must_use]
    pub fn name(self) -> &'static str {
        OUTCOMES.iter().find(|(outcome, _)| *outcome == self).map_or("unknown", |(_, name)| name)
    }
}

impl fmt::Display for AttemptOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The text names no [`AttemptOutcome`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "an outcome is one of succeeded, failed, failed-for-good, panicked, timed-out, lost, cancelled, given-back, put-off, expired, killed"
)]
pub struct ParseAttemptOutcomeError;

impl FromStr for AttemptOutcome {
    type Err = ParseAttemptOutcomeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = OUTCOMES.iter().find(|(_, name)| *name == text);
        found.map(|(outcome, _)| *outcome).ok_or(ParseAttemptOutcomeError)
    }
}

/// What follows an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub enum Then {
    /// The job is over.
    Done,
    /// The job failed for good.
    Dead,
    /// It is due again then.
    Due(u64),
}

impl<'a> Fact<'a> {
    /// Decodes a fact.
    ///
    /// # Errors
    /// The bytes are no fact of this version, or there are more of them.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeEventError> {
        let bounded = config::standard().with_limit::<{ limits::EVENT_BYTES_MAX }>();
        match bincode::borrow_decode_from_slice(bytes, bounded) {
            Ok((fact, len)) if len == bytes.len() => Ok(fact),
            Ok(_) => Err(DecodeEventError("bytes follow a fact")),
            Err(_) => Err(DecodeEventError("a fact cannot be read")),
        }
    }

    /// Appends the fact's bytes to `buffer`.
    ///
    /// # Panics
    /// Never: a vector takes all bytes, and none of the types refuses to be encoded.
    pub fn encode(&self, buffer: &mut Vec<u8>) {
        bincode::encode_into_writer(self, Sink(buffer), config::standard())
            .expect("a vector takes all bytes, and the types encode without conditions");
    }
}

struct Sink<'a>(&'a mut Vec<u8>);

impl Writer for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

/// Facts in the order of their events, as bytes: for each its length, the position of its event, both
/// little-endian, and its encoding.
///
/// ```
/// use tickwheel_core::{Lsn, fact::{Fact, Facts}};
/// let mut facts = Facts::default();
/// facts.push(Lsn(64), &Fact::ScheduleResumed { name: "nightly", at: 7 });
/// let (lsn, bytes) = facts.iter().next().expect("one was pushed");
/// assert_eq!(lsn, Lsn(64));
/// assert_eq!(Fact::decode(bytes), Ok(Fact::ScheduleResumed { name: "nightly", at: 7 }));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    bytes: Vec<u8>,
}

/// Bytes before each fact: length and position.
const FRAME_BYTES: usize = 12;

impl Facts {
    /// Adds one.
    ///
    /// # Panics
    /// If it is longer than 4 GiB, which no bounded text makes it.
    pub fn push(&mut self, lsn: Lsn, fact: &Fact<'_>) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&lsn.0.to_le_bytes());
        fact.encode(&mut self.bytes);
        let len = u32::try_from(self.bytes.len() - start - FRAME_BYTES)
            .expect("the texts of a fact are bounded");
        self.bytes[start..start + 4].copy_from_slice(&len.to_le_bytes());
    }

    /// Length in memory.
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The position of each fact's event, and its encoding.
    pub fn iter(&self) -> impl Iterator<Item = (Lsn, &[u8])> {
        let mut rest = &self.bytes[..];
        core::iter::from_fn(move || {
            let (len, after) = rest.split_first_chunk::<4>()?;
            let (lsn, after) = after.split_first_chunk::<8>()?;
            let (fact, after) = after.split_at_checked(u32::from_le_bytes(*len) as usize)?;
            rest = after;
            Some((Lsn(u64::from_le_bytes(*lsn)), fact))
        })
    }
}
