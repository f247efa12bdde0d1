//! A schedule's rule as it is written. Owns its bytes; what a rule means is `schedule`'s.

use alloc::borrow::Cow;

use bincode::{
    BorrowDecode, Encode,
    de::BorrowDecoder,
    enc::Encoder,
    error::{DecodeError, EncodeError},
};

use super::{DecodeEventError, Terms};
use crate::{
    cron::Cron,
    job::NewJob,
    schedule::{Missed, Overlap, Pause, Schedule, Timing},
    time::WallTime,
};

/// A schedule's rule as it is written.
///
/// The byte that tells the policy for missed fire times also says whether options follow the
/// terms: a rule without any takes nothing for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule<'a> {
    /// The schedule's name.
    pub name: &'a str,
    /// When it fires.
    pub timing: RuleTiming<'a>,
    /// Policy for missed fire times.
    pub missed: RuleMissed,
    /// How late is missed.
    pub grace_ms: u32,
    /// Kind of the job that it adds.
    pub kind: &'a str,
    /// Terms of the job that it adds.
    pub terms: Terms<'a>,
    /// What most rules do without.
    pub options: RuleOptions<'a>,
}

/// What most rules do without: a byte says which of the fields follow, so that more can be added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RuleOptions<'a> {
    /// Since when the schedule is paused, and why. It belongs to the schedule's state, not to its
    /// rule: only where a schedule is written again whole is it ever there.
    pub paused: Option<(u64, &'a str)>,
    /// What is done while a job of the schedule has not ended.
    pub overlap: Overlap,
    /// Window of the jitter; 0 for none.
    pub jitter_ns: u64,
    /// No fire time before.
    pub starts: Option<u64>,
    /// No fire time after.
    pub ends: Option<u64>,
    /// Jobs that it adds at the most.
    pub runs_max: Option<u32>,
}

/// In the byte of the policy for missed fire times: options follow.
const HAS_OPTIONS: u8 = 0x10;
/// In the first byte of [`RuleOptions`]: the schedule is paused.
const IS_PAUSED: u8 = 0x01;
/// In the same byte: a run does not overlap with the one before it.
const SKIPS_OVERLAP: u8 = 0x02;
/// In the same byte: the window of a jitter follows.
const HAS_JITTER: u8 = 0x04;
/// In the same byte: a start follows.
const HAS_START: u8 = 0x08;
/// In the same byte: an end follows.
const HAS_END: u8 = 0x10;
/// In the same byte: a limit of runs follows.
const HAS_RUNS_MAX: u8 = 0x20;
/// In the same byte: another rule for runs that overlap follows, by one of the numbers below.
const HAS_OVERLAP: u8 = 0x40;
/// Fire times wait while a run overlaps; how many follows.
const QUEUES: u32 = 2;
/// The run before is replaced.
const REPLACES: u32 = 3;
/// All bits of that byte that this version knows.
const KNOWN: u8 =
    IS_PAUSED | SKIPS_OVERLAP | HAS_JITTER | HAS_START | HAS_END | HAS_RUNS_MAX | HAS_OVERLAP;

/// [`Timing`] as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub enum RuleTiming<'a> {
    /// Expression and zone.
    Cron(&'a str, &'a str),
    /// Interval in nanoseconds.
    Every(u64),
    /// One instant.
    Once(Option<u64>),
}

/// [`Missed`] as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleMissed {
    /// Drop them.
    Skip,
    /// One for all.
    One,
    /// The newest `0` within `1` nanoseconds.
    All(u32, u64),
}

impl Encode for Rule<'_> {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.name.encode(encoder)?;
        self.timing.encode(encoder)?;
        let has_options = self.options != RuleOptions::default();
        let options = if has_options { HAS_OPTIONS } else { 0 };
        match self.missed {
            RuleMissed::Skip => options.encode(encoder)?,
            RuleMissed::One => (options | 1).encode(encoder)?,
            RuleMissed::All(limit, window_ns) => {
                (options | 2).encode(encoder)?;
                limit.encode(encoder)?;
                window_ns.encode(encoder)?;
            }
        }
        self.grace_ms.encode(encoder)?;
        self.kind.encode(encoder)?;
        self.terms.encode(encoder)?;
        if has_options { self.options.encode(encoder) } else { Ok(()) }
    }
}

impl<'de, Context> BorrowDecode<'de, Context> for Rule<'de> {
    fn borrow_decode<D: BorrowDecoder<'de, Context = Context>>(
        decoder: &mut D,
    ) -> Result<Self, DecodeError> {
        let name = <&str>::borrow_decode(decoder)?;
        let timing = RuleTiming::borrow_decode(decoder)?;
        let first = u8::borrow_decode(decoder)?;
        let missed = match first & !HAS_OPTIONS {
            0 => RuleMissed::Skip,
            1 => RuleMissed::One,
            2 => RuleMissed::All(u32::borrow_decode(decoder)?, u64::borrow_decode(decoder)?),
            _ => return Err(DecodeError::Other("a rule has a policy of a newer version")),
        };
        Ok(Self {
            name,
            timing,
            missed,
            grace_ms: u32::borrow_decode(decoder)?,
            kind: <&str>::borrow_decode(decoder)?,
            terms: Terms::borrow_decode(decoder)?,
            options: match first & HAS_OPTIONS {
                0 => RuleOptions::default(),
                _ => RuleOptions::borrow_decode(decoder)?,
            },
        })
    }
}

impl Encode for RuleOptions<'_> {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        let jitter_ns = Some(self.jitter_ns).filter(|window| *window > 0);
        // By its number, with what belongs to it.
        let overlap = match self.overlap {
            Overlap::Allow | Overlap::Skip => None,
            Overlap::Queue { limit } => Some((QUEUES, Some(limit))),
            Overlap::Replace => Some((REPLACES, None)),
        };
        let bits = [
            (self.paused.is_some(), IS_PAUSED),
            (self.overlap == Overlap::Skip, SKIPS_OVERLAP),
            (jitter_ns.is_some(), HAS_JITTER),
            (self.starts.is_some(), HAS_START),
            (self.ends.is_some(), HAS_END),
            (self.runs_max.is_some(), HAS_RUNS_MAX),
            (overlap.is_some(), HAS_OVERLAP),
        ];
        let set = bits.iter().filter(|(is_set, _)| *is_set);
        set.fold(0_u8, |first, (_, bit)| first | bit).encode(encoder)?;
        if let Some(paused) = self.paused {
            paused.encode(encoder)?;
        }
        for number in [jitter_ns, self.starts, self.ends].into_iter().flatten() {
            number.encode(encoder)?;
        }
        if let Some(max) = self.runs_max {
            max.encode(encoder)?;
        }
        let Some((number, limit)) = overlap else { return Ok(()) };
        number.encode(encoder)?;
        limit.map_or(Ok(()), |limit| limit.encode(encoder))
    }
}

impl<'de, Context> BorrowDecode<'de, Context> for RuleOptions<'de> {
    fn borrow_decode<D: BorrowDecoder<'de, Context = Context>>(
        decoder: &mut D,
    ) -> Result<Self, DecodeError> {
        let first = u8::borrow_decode(decoder)?;
        if first & !KNOWN != 0 {
            return Err(DecodeError::Other("a rule has options of a newer version"));
        }
        let paused = match first & IS_PAUSED {
            0 => None,
            _ => Some(<(u64, &str)>::borrow_decode(decoder)?),
        };
        let mut number = |bit| match first & bit {
            0 => Ok(None),
            _ => u64::borrow_decode(decoder).map(Some),
        };
        Ok(Self {
            paused,
            jitter_ns: number(HAS_JITTER)?.unwrap_or(0),
            starts: number(HAS_START)?,
            ends: number(HAS_END)?,
            runs_max: match first & HAS_RUNS_MAX {
                0 => None,
                _ => Some(u32::borrow_decode(decoder)?),
            },
            overlap: match (first & HAS_OVERLAP, first & SKIPS_OVERLAP) {
                (0, 0) => Overlap::Allow,
                (0, _) => Overlap::Skip,
                _ => match u32::borrow_decode(decoder)? {
                    QUEUES => Overlap::Queue { limit: u32::borrow_decode(decoder)? },
                    REPLACES => Overlap::Replace,
                    _ => {
                        return Err(DecodeError::Other("a rule has an overlap of a newer version"));
                    }
                },
            },
        })
    }
}

impl<'a> Rule<'a> {
    pub(crate) fn of(schedule: &'a Schedule<'_>) -> Self {
        Self {
            name: &schedule.name,
            timing: match &schedule.timing {
                Timing::Cron(cron) => RuleTiming::Cron(cron.source(), cron.zone_name()),
                Timing::Every(every_ns) => RuleTiming::Every(*every_ns),
                Timing::Once(at) => RuleTiming::Once(at.map(|at| at.0)),
            },
            missed: match schedule.missed {
                Missed::Skip => RuleMissed::Skip,
                Missed::One => RuleMissed::One,
                Missed::All { limit, window_ns } => RuleMissed::All(limit, window_ns),
            },
            grace_ms: schedule.grace_ms,
            kind: &schedule.job.kind,
            terms: Terms::of(&schedule.job),
            options: RuleOptions {
                paused: None,
                overlap: schedule.overlap,
                jitter_ns: schedule.jitter_ns,
                starts: schedule.starts.map(|at| at.0),
                ends: schedule.ends.map(|at| at.0),
                runs_max: schedule.runs_max,
            },
        }
    }

    /// The same of a schedule that is paused if `pause` is given.
    pub(crate) fn paused(mut self, pause: Option<&'a Pause>) -> Self {
        self.options.paused = pause.map(|pause| (pause.since.0, pause.note.as_str()));
        self
    }

    /// The pause of a schedule that was written again whole.
    pub(crate) fn pause(&self) -> Option<Pause> {
        self.options.paused.map(|(since, note)| Pause { since: WallTime(since), note: note.into() })
    }

    /// The schedule that this rule and payload describe.
    pub(crate) fn schedule(&self, payload: &[u8]) -> Result<Schedule<'static>, DecodeEventError> {
        let timing = match self.timing {
            RuleTiming::Cron(source, zone) => Timing::Cron(
                Cron::restore(source, self.name)
                    .and_then(|cron| cron.with_zone(zone))
                    .map_err(|_| DecodeEventError("its cron expression or zone is unknown"))?,
            ),
            RuleTiming::Every(every_ns) => Timing::Every(every_ns),
            RuleTiming::Once(at) => Timing::Once(at.map(WallTime)),
        };
        let missed = match self.missed {
            RuleMissed::Skip => Missed::Skip,
            RuleMissed::One => Missed::One,
            RuleMissed::All(limit, window_ns) => Missed::All { limit, window_ns },
        };
        let mut job = NewJob::new(alloc::string::String::from(self.kind));
        job.payload = Cow::Owned(payload.to_vec());
        job.priority = self.terms.priority;
        job.attempts_max = self.terms.attempts_max;
        job.backoff = self.terms.backoff();
        job.timeout_ms = self.terms.timeout_ms;
        job.queue = Cow::Owned(self.terms.queue.into());
        job.options = self.terms.options.options();
        job.keeps_dead = self.terms.keeps_dead;
        let name = Cow::Owned(self.name.into());
        let schedule = Schedule {
            name,
            timing,
            missed,
            grace_ms: self.grace_ms,
            overlap: self.options.overlap,
            jitter_ns: self.options.jitter_ns,
            starts: self.options.starts.map(WallTime),
            ends: self.options.ends.map(WallTime),
            runs_max: self.options.runs_max,
            job,
        };
        schedule.check().map_err(|_| DecodeEventError("its schedule breaks a limit"))?;
        Ok(schedule)
    }
}
