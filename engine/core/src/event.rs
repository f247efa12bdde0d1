//! What is written to the journal, and how: one event per change of state, self-contained, each
//! with its wall-clock time. The state changes only by applying these. Three events change no
//! state: they repeat what older ones say, so that those can be cut off.
//!
//! An event is a head in bincode 2 (standard configuration: little-endian, variable-length
//! integers) and, where it carries a job, that job's payload behind it. The first field is the
//! variant's number: variants are only ever added at the end. `docs/events.md` lists them.

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

pub(crate) use list::encode as encode_attempts;
pub use list::{Attempts, Listed};
pub use options::TermOptions;
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
    /// An attempt ended otherwise; the job is retried or dead.
    Failed {
        /// The job.
        job: u64,
        /// When.
        at: u64,
        /// Why.
        failure: Failure,
        /// When it is tried again; `None` when it is dead.
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
    pub state: KeptState,
    /// The schedule that added it, if that is still there.
    pub schedule: Option<&'a str>,
}

/// The state of a job that is written again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub enum KeptState {
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
    pub options: TermOptions,
}

/// In the first byte of [`Terms`]: a queue follows, which is not the default one.
const HAS_QUEUE: u8 = 0x10;
/// In the first byte of [`Terms`]: a key follows.
const HAS_KEY: u8 = 0x20;
/// In the first byte of [`Terms`]: options follow.
const HAS_OPTIONS: u8 = 0x40;

impl Encode for Terms<'_> {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        let has_queue = self.queue != limits::QUEUE_DEFAULT;
        let has_options = self.options != TermOptions::default();
        let first = self.priority
            | if has_queue { HAS_QUEUE } else { 0 }
            | if self.key.is_some() { HAS_KEY } else { 0 }
            | if has_options { HAS_OPTIONS } else { 0 };
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
        if first & 0xf0 & !(HAS_QUEUE | HAS_KEY | HAS_OPTIONS) != 0 {
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
        })
    }
}

impl<'a> Terms<'a> {
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
mod tests {
    use super::*;
    use crate::queue::Rate;
    use proptest::prelude::*;

    fn encoded(event: &Event<'_>) -> Vec<u8> {
        let mut bytes = Vec::new();
        let len = event.encode(&mut bytes);
        bytes.truncate(len);
        bytes
    }

    fn check(event: &Event<'_>, payload: &[u8]) {
        let bytes = [&encoded(event), payload].concat();
        assert_eq!(Event::decode(&bytes), Ok((event.clone(), payload)));
    }

    /// Each variant once, with its name on the page.
    fn one_of_each() -> Vec<(&'static str, Event<'static>)> {
        let terms = Terms {
            priority: 5,
            attempts_max: 26,
            backoff_base_ms: 1,
            backoff_max_ms: 2,
            timeout_ms: 3,
            queue: limits::QUEUE_DEFAULT,
            key: None,
            options: TermOptions::default(),
        };
        let job = JobAdded { job: 1, at: 2, due: 3, mono: true, kind: "k", terms };
        let rule = Rule {
            name: "n",
            timing: RuleTiming::Every(1),
            missed: RuleMissed::One,
            grace_ms: 1,
            kind: "k",
            terms,
            options: RuleOptions::default(),
        };
        let kept = JobKept {
            at: 1,
            job: job.clone(),
            attempt: 1,
            token: 1,
            state: KeptState::Ready,
            schedule: None,
        };
        alloc::vec![
            ("Added", Event::Added(job.clone())),
            ("Started", Event::Started { job: 1, token: 2, at: 3 }),
            ("Succeeded", Event::Succeeded { job: 1, at: 2 }),
            (
                "Failed",
                Event::Failed {
                    job: 1,
                    at: 2,
                    failure: Failure::Lost,
                    retry_at: None,
                    message: "",
                },
            ),
            ("Cancelled", Event::Cancelled { job: 1, at: 2 }),
            ("SchedulePut", Event::SchedulePut { at: 1, rule: rule.clone(), next: None }),
            (
                "ScheduleFired",
                Event::ScheduleFired {
                    at: 1,
                    name: "n",
                    next: None,
                    catch_up_until: 2,
                    job: Some(job),
                },
            ),
            ("ScheduleRemoved", Event::ScheduleRemoved { at: 1, name: "n" }),
            ("Released", Event::Released { job: 1, at: 2, due: 3 }),
            ("Kept", Event::Kept(kept)),
            (
                "ScheduleKept",
                Event::ScheduleKept { at: 1, rule, next: None, catch_up_until: 2, fired: 3 },
            ),
            (
                "Base",
                Event::Base {
                    at: 1,
                    next_sequence: 2,
                    added: 3,
                    succeeded: 4,
                    dead: 5,
                    cancelled: 6,
                    failed_attempts: 7,
                },
            ),
            ("StartedMany", Event::StartedMany { at: 1, count: 2 }),
            ("SucceededMany", Event::SucceededMany { at: 1, count: 2 }),
            ("Fetched", Event::Fetched { at: 1, count: 2 }),
            ("Extended", Event::Extended { job: 1, at: 2, lease_end: 3 }),
            ("QueueSet", Event::QueueSet { at: 1, name: "n", paused: true }),
            ("SchedulePaused", Event::SchedulePaused { at: 1, name: "n", note: "w" }),
            ("ScheduleResumed", Event::ScheduleResumed { at: 1, name: "n" }),
            (
                "QueueLimits",
                Event::QueueLimits {
                    at: 1,
                    name: "n",
                    limits: QueueLimits {
                        concurrency: Some(2),
                        rate: Some(Rate { jobs: 3, period_ms: 4, burst: 5 }),
                        weight: 6,
                        length: Some(7),
                    },
                    full_at: 8,
                },
            ),
            ("Expired", Event::Expired { job: 1, at: 2 }),
            ("Totals", Event::Totals { at: 1, expired: 2 }),
        ]
    }

    /// Old logs stay readable: the numbers are those of the page, for ever.
    #[test]
    fn the_page_states_the_numbers() {
        const PAGE: &str = include_str!("../../../docs/events.md");
        let rows = PAGE.lines().filter_map(|line| {
            let mut cells = line.strip_prefix("| ")?.split(" | ");
            let number: u8 = cells.next()?.parse().ok()?;
            let name = cells.next()?.strip_prefix('`')?.strip_suffix('`')?;
            Some((number, name))
        });
        let ours: Vec<(u8, &str)> =
            one_of_each().iter().map(|(name, event)| (encoded(event)[0], *name)).collect();
        assert_eq!(rows.collect::<Vec<_>>(), ours);
    }

    /// Options are written behind the terms, and only where there are any.
    #[test]
    fn golden_bytes_of_options() {
        let all = one_of_each();
        let (_, Event::ScheduleKept { rule, .. }) = &all[10] else { panic!("{:?}", all[10]) };
        let bytes = |options| {
            let rule = Rule { options, ..rule.clone() };
            let event =
                Event::ScheduleKept { at: 1, rule, next: None, catch_up_until: 2, fired: 3 };
            check(&event, b"payload");
            encoded(&event)
        };
        let with = |options: &[u8]| {
            let rule = [1, b'n', 1, 1, 0x11, 1, 1, b'k', 5, 26, 1, 2, 3];
            [&[10, 1][..], &rule, options, &[0, 2, 3]].concat()
        };
        let none = RuleOptions::default();
        let paused = RuleOptions { paused: Some((7, "why")), ..none };
        assert_eq!(bytes(paused), with(&[0x01, 7, 3, b'w', b'h', b'y']));
        assert_eq!(bytes(RuleOptions { skips_overlap: true, ..none }), with(&[0x02]));
        assert_eq!(bytes(RuleOptions { jitter_ns: 9, ..none }), with(&[0x04, 9]));
        assert_eq!(bytes(RuleOptions { starts: Some(8), ..none }), with(&[0x08, 8]));
        assert_eq!(bytes(RuleOptions { ends: Some(7), ..none }), with(&[0x10, 7]));
        assert_eq!(bytes(RuleOptions { runs_max: Some(6), ..none }), with(&[0x20, 6]));
        let full = RuleOptions {
            paused: Some((1, "")),
            skips_overlap: true,
            jitter_ns: 2,
            starts: Some(3),
            ends: Some(4),
            runs_max: Some(5),
        };
        assert_eq!(bytes(full), with(&[0x3f, 1, 0, 2, 3, 4, 5]));
        let mut newer = with(&[0x80]);
        Event::decode(&newer).unwrap_err();
        newer[6] = 3;
        Event::decode(&newer).unwrap_err();
    }

    /// A job's options are written behind its terms, and only where there are any.
    #[test]
    fn golden_bytes_of_a_jobs_options() {
        let all = one_of_each();
        let (_, Event::Added(job)) = &all[0] else { panic!("{:?}", all[0]) };
        let bytes = |options| {
            let terms = Terms { options, ..job.terms };
            let event = Event::Added(JobAdded { terms, ..job.clone() });
            check(&event, b"payload");
            encoded(&event)
        };
        let with = |first: u8, options: &[u8]| {
            [&[0, 1, 2, 3, 1, 1, b'k', first, 26, 1, 2, 3][..], options].concat()
        };
        let none = TermOptions::default();
        assert_eq!(bytes(none), with(5, &[]));
        assert_eq!(bytes(TermOptions { expires_at: Some(9), ..none }), with(0x45, &[1, 9]));
        assert_eq!(bytes(TermOptions { expires_after: Some(9), ..none }), with(0x45, &[2, 9]));
        Event::decode(&with(0x45, &[0x80, 9])).unwrap_err();
        Event::decode(&with(0x85, &[])).unwrap_err();
    }

    /// The layout spelled out once, so that no edit of the code moves a byte unseen.
    #[test]
    fn golden_bytes() {
        let bytes: Vec<Vec<u8>> = one_of_each().iter().map(|(_, event)| encoded(event)).collect();
        let job = [1, 2, 3, 1, 1, b'k', 5, 26, 1, 2, 3];
        let rule = [1, b'n', 1, 1, 1, 1, 1, b'k', 5, 26, 1, 2, 3];
        let expected: Vec<Vec<u8>> = alloc::vec![
            [&[0][..], &job].concat(),
            alloc::vec![1, 1, 2, 3],
            alloc::vec![2, 1, 2],
            alloc::vec![3, 1, 2, 4, 0, 0],
            alloc::vec![4, 1, 2],
            [&[5, 1][..], &rule, &[0]].concat(),
            [&[6, 1, 1, b'n', 0, 2, 1][..], &job].concat(),
            alloc::vec![7, 1, 1, b'n'],
            alloc::vec![8, 1, 2, 3],
            [&[9, 1][..], &job, &[1, 1, 1, 0]].concat(),
            [&[10, 1][..], &rule, &[0, 2, 3]].concat(),
            alloc::vec![11, 1, 2, 3, 4, 5, 6, 7],
            alloc::vec![12, 1, 2],
            alloc::vec![13, 1, 2],
            alloc::vec![14, 1, 2],
            alloc::vec![15, 1, 2, 3],
            alloc::vec![16, 1, 1, b'n', 1],
            alloc::vec![17, 1, 1, b'n', 1, b'w'],
            alloc::vec![18, 1, 1, b'n'],
            alloc::vec![19, 1, 1, b'n', 1, 2, 1, 3, 4, 5, 6, 1, 7, 8],
            alloc::vec![20, 1, 2],
            alloc::vec![21, 1, 2],
        ];
        assert_eq!(bytes, expected);
    }

    #[test]
    fn events_come_back_as_they_were_written() {
        let terms = Terms {
            priority: 9,
            attempts_max: 10_000,
            backoff_base_ms: u32::MAX,
            backoff_max_ms: u32::MAX,
            timeout_ms: u32::MAX,
            queue: "q",
            key: Some(Key([7; 16])),
            options: TermOptions { expires_at: Some(u64::MAX), expires_after: Some(u64::MAX) },
        };
        let long = "k".repeat(limits::NAME_BYTES_MAX);
        let job =
            JobAdded { job: u64::MAX, at: u64::MAX, due: u64::MAX, mono: true, kind: &long, terms };
        let rule = Rule {
            name: &long,
            timing: RuleTiming::Cron(&"* ".repeat(500), "Europe/Berlin"),
            missed: RuleMissed::All(10_000, u64::MAX),
            grace_ms: u32::MAX,
            kind: &long,
            terms,
            options: RuleOptions::default(),
        };
        check(&Event::Added(job.clone()), b"payload");
        check(&Event::SchedulePut { at: 1, rule, next: Some(u64::MAX) }, &[0; 300]);
        let fired = Event::ScheduleFired {
            at: 1,
            name: &long,
            next: None,
            catch_up_until: 2,
            job: Some(job),
        };
        check(&fired, b"");
        let message = "m".repeat(limits::MESSAGE_BYTES_MAX);
        let failure = Failure::Panicked;
        check(&Event::Failed { job: 1, at: 2, failure, retry_at: Some(3), message: &message }, b"");
    }

    #[test]
    fn events_of_a_cut_come_back_and_a_kept_job_fits_its_bound() {
        let terms = Terms {
            priority: 9,
            attempts_max: 10_000,
            backoff_base_ms: u32::MAX,
            backoff_max_ms: u32::MAX,
            timeout_ms: u32::MAX,
            queue: "q",
            key: Some(Key([7; 16])),
            options: TermOptions { expires_at: Some(u64::MAX), expires_after: Some(u64::MAX) },
        };
        let long = "k".repeat(limits::NAME_BYTES_MAX);
        let job =
            JobAdded { job: u64::MAX, at: u64::MAX, due: u64::MAX, mono: true, kind: &long, terms };
        let state = KeptState::Running { lease_end: u64::MAX };
        let (attempt, token) = (u16::MAX, u32::MAX);
        let schedule = Some(long.as_str());
        let kept = Event::Kept(JobKept { at: u64::MAX, job, attempt, token, state, schedule });
        check(&kept, b"payload");
        assert!(encoded(&kept).len() <= limits::KEPT_HEAD_BYTES_MAX);
        let rule = Rule {
            name: &long,
            timing: RuleTiming::Once(None),
            missed: RuleMissed::One,
            grace_ms: 0,
            kind: &long,
            terms,
            options: RuleOptions::default(),
        };
        let kept = Event::ScheduleKept { at: 1, rule, next: None, catch_up_until: 3, fired: 4 };
        check(&kept, b"payload");
        let base = Event::Base {
            at: u64::MAX,
            next_sequence: u64::MAX,
            added: u64::MAX,
            succeeded: u64::MAX,
            dead: u64::MAX,
            cancelled: u64::MAX,
            failed_attempts: u64::MAX,
        };
        check(&base, b"");
        assert!(encoded(&base).len() <= limits::BASE_BYTES_MAX);
    }

    #[test]
    fn the_longest_limits_of_a_queue_fit_their_bound() {
        let limits = QueueLimits {
            concurrency: Some(u32::MAX),
            rate: Some(Rate { jobs: u32::MAX, period_ms: u32::MAX, burst: u32::MAX }),
            weight: u8::MAX,
            length: Some(u32::MAX),
        };
        let name = &"q".repeat(limits::NAME_BYTES_MAX);
        let event = Event::QueueLimits { at: u64::MAX, name, limits, full_at: u64::MAX };
        check(&event, b"");
        assert!(encoded(&event).len() as u64 <= limits::QUEUE_LIMITS_BYTES_MAX);
    }

    #[test]
    fn reserved_sizes_hold_the_longest_start_and_end_of_an_attempt() {
        let started = Event::Started { job: u64::MAX, token: u32::MAX, at: u64::MAX };
        assert!(encoded(&started).len() as u64 + 64 <= limits::START_BYTES_MAX);
        let message = &"m".repeat(limits::MESSAGE_BYTES_MAX);
        let (job, at, retry_at) = (u64::MAX, u64::MAX, Some(u64::MAX));
        let failed = Event::Failed { job, at, failure: Failure::Lost, retry_at, message };
        assert!(encoded(&failed).len() as u64 + 64 <= limits::OUTCOME_BYTES_MAX);
    }

    proptest! {
        #[test]
        fn any_bytes_are_an_event_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok((event, payload)) = Event::decode(&bytes) {
                prop_assert!(payload.len() <= bytes.len());
                prop_assert!(encoded(&event).len() <= bytes.len() - payload.len());
            }
        }
    }
}
