//! A schedule's rule as it is written. Owns its bytes; what a rule means is `schedule`'s.

use alloc::borrow::Cow;

use bincode::{BorrowDecode, Encode};

use super::{DecodeEventError, Terms};
use crate::{
    cron::Cron,
    job::NewJob,
    schedule::{Missed, Schedule, Timing},
    time::WallTime,
};

/// A schedule's rule as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Encode, BorrowDecode)]
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
}

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub enum RuleMissed {
    /// Drop them.
    Skip,
    /// One for all.
    One,
    /// The newest `0` within `1` nanoseconds.
    All(u32, u64),
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
        }
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
        let name = Cow::Owned(self.name.into());
        let schedule = Schedule { name, timing, missed, grace_ms: self.grace_ms, job };
        schedule.check().map_err(|_| DecodeEventError("its schedule breaks a limit"))?;
        Ok(schedule)
    }
}
