//! Schedules: named rules that add a job at each of their fire times.

mod missed;
pub(crate) mod table;

use alloc::{borrow::Cow, string::String};

pub(crate) use missed::decide;

use crate::{
    cron::Cron,
    job::{Clock, NewJob, Refusal, check_name},
    limits,
    time::{Now, WallTime},
};

/// When a schedule fires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Timing {
    /// At the times of a cron expression, on the wall clock.
    Cron(Cron),
    /// Each so many nanoseconds at a fixed rate, on the monotonic clock; the first time one
    /// interval after it was put. At least one millisecond.
    Every(u64),
    /// Once, at this instant, or at once if none is given.
    Once(Option<WallTime>),
}

impl Timing {
    /// Shortest interval of [`Timing::Every`], in nanoseconds.
    pub const EVERY_NS_MIN: u64 = 1_000_000;

    pub(crate) fn clock(&self) -> Clock {
        match self {
            Self::Every(_) => Clock::Mono,
            Self::Cron(_) | Self::Once(_) => Clock::Wall,
        }
    }

    /// The first fire time of a schedule that is put now.
    pub(crate) fn first(&self, now: Now) -> Option<WallTime> {
        match self {
            Self::Cron(_) | Self::Every(_) => self.next_after(now.wall),
            Self::Once(at) => Some(at.unwrap_or(now.wall)),
        }
    }

    /// The fire time that follows `after`, which for an interval is itself a fire time.
    pub(crate) fn next_after(&self, after: WallTime) -> Option<WallTime> {
        let next = match self {
            Self::Cron(cron) => u64::try_from(cron.next_after(after.0.cast_signed())?).ok()?,
            Self::Every(every_ns) => after.0.checked_add(*every_ns)?,
            Self::Once(_) => return None,
        };
        (next <= limits::DUE_WALL_NS_MAX).then_some(WallTime(next))
    }
}

/// What is done about fire times that passed while the schedule could not fire: it was paused, the
/// process was down, the disk full, or, for cron, the machine asleep (the clock of intervals sleeps with it).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Missed {
    /// They are dropped.
    Skip,
    /// One run stands for all of them.
    #[default]
    One,
    /// Each is run, the newest `limit` of those within the window.
    All {
        /// Runs at the most: 1 to 10,000.
        limit: u32,
        /// How far back a fire time may lie, in nanoseconds.
        window_ns: u64,
    },
}

/// What is done about a fire time while a job of the schedule has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Overlap {
    /// A job is added all the same.
    #[default]
    Allow,
    /// The fire time is let go. A job that waits for its next attempt has not ended.
    Skip,
}

/// A schedule does not fire until it is resumed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    /// Since when.
    pub since: WallTime,
    /// Why, as whoever paused it said: at most 200 bytes.
    pub note: String,
}

/// A schedule: a name, a timing, and the job that it adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule<'a> {
    /// Unique within an engine: 1 to 255 bytes.
    pub name: Cow<'a, str>,
    /// When it fires.
    pub timing: Timing,
    /// What is done about missed fire times.
    pub missed: Missed,
    /// How late a fire time may be before it counts as missed, in milliseconds. Default 60,000.
    pub grace_ms: u32,
    /// What is done about a fire time while a job of the schedule has not ended.
    pub overlap: Overlap,
    /// What is added at each fire time; its due time is the fire time, whatever is given here.
    pub job: NewJob<'a>,
}

impl<'a> Schedule<'a> {
    /// A schedule with the default policy: one run for all that were missed by over a minute.
    #[must_use]
    pub fn new(name: impl Into<Cow<'a, str>>, timing: Timing, job: NewJob<'a>) -> Self {
        Self {
            name: name.into(),
            timing,
            missed: Missed::default(),
            grace_ms: limits::MISSED_GRACE_MS_DEFAULT,
            overlap: Overlap::default(),
            job,
        }
    }

    /// The same schedule, owning its parts.
    #[must_use]
    pub fn into_owned(self) -> Schedule<'static> {
        Schedule {
            name: Cow::Owned(String::from(self.name)),
            timing: self.timing,
            missed: self.missed,
            grace_ms: self.grace_ms,
            overlap: self.overlap,
            job: self.job.into_owned(),
        }
    }

    /// Checks each field against its range.
    ///
    /// # Errors
    /// The first field that is out of its range.
    pub fn check(&self) -> Result<(), Refusal> {
        check_name("schedule's name", &self.name)?;
        self.job.check()?;
        match &self.timing {
            Timing::Every(every_ns) if *every_ns < Timing::EVERY_NS_MIN => {
                return Err(Refusal::Schedule("an interval is at least 1 ms"));
            }
            Timing::Every(every_ns) if *every_ns > limits::DUE_WALL_NS_MAX => {
                return Err(Refusal::Schedule("the interval is longer than a century"));
            }
            Timing::Cron(cron)
                if cron.source().len() + cron.zone_name().len() > limits::EXPRESSION_BYTES_MAX =>
            {
                return Err(Refusal::Schedule("the cron expression has over 1024 bytes"));
            }
            Timing::Cron(cron) if cron.name().is_some_and(|name| name != self.name) => {
                return Err(Refusal::Schedule(
                    "the `H` of its cron expression was drawn from another name: read it with \
                     Cron::parse_named and the schedule's own name",
                ));
            }
            Timing::Once(Some(at)) if at.0 > limits::DUE_WALL_NS_MAX => {
                return Err(Refusal::DueTooFar);
            }
            _ => {}
        }
        match self.missed {
            Missed::All { limit, .. } if limit == 0 || limit > limits::CATCH_UP_MAX => {
                Err(Refusal::Schedule("the limit of missed runs must be 1 to 10000"))
            }
            _ => Ok(()),
        }
    }
}
