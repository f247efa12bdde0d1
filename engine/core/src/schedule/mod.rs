//! Schedules: named rules that add a job at each of their fire times.

mod fires;
mod missed;
pub(crate) mod table;

use alloc::{borrow::Cow, string::String};

pub(crate) use fires::Fires;
pub(crate) use missed::decide;

use crate::{
    cron::Cron,
    job::{Clock, NewJob, Refusal, check_name},
    limits,
    time::WallTime,
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
    /// The fire time waits until that job has ended, and so do those after it: their jobs run one after
    /// the other.
    Queue {
        /// Fire times that wait at the most, 1 to 1,000: the oldest beyond that are let go.
        limit: u32,
    },
    /// That job is cancelled, running or not, and another is added.
    Replace,
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
    /// Each fire time is later than its timing says by an offset below this, in nanoseconds, which
    /// the name determines: see [`crate::cron::jitter_ns`]. At most a day; 0 for none.
    pub jitter_ns: u64,
    /// It does not fire before this.
    pub starts: Option<WallTime>,
    /// It does not fire after this.
    pub ends: Option<WallTime>,
    /// Jobs that it adds at the most, from its first on; at least 1.
    pub runs_max: Option<u32>,
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
            jitter_ns: 0,
            starts: None,
            ends: None,
            runs_max: None,
            job,
        }
    }

    /// The same schedule, owning its parts.
    #[must_use]
    pub fn into_owned(self) -> Schedule<'static> {
        Schedule { name: Cow::Owned(String::from(self.name)), job: self.job.into_owned(), ..self }
    }

    /// Whether `other` has the same fire times, however many of them.
    pub(crate) fn fires_like(&self, other: &Schedule<'_>) -> bool {
        let times = |rule: &Schedule<'_>| (rule.jitter_ns, rule.starts, rule.ends);
        self.timing == other.timing && times(self) == times(other)
    }

    /// Whether it may add a job after `fired` ones.
    pub(crate) fn has_runs_left(&self, fired: u64) -> bool {
        self.runs_max.is_none_or(|max| fired < u64::from(max))
    }

    /// Checks each field against its range.
    ///
    /// # Errors
    /// The first field that is out of its range.
    pub fn check(&self) -> Result<(), Refusal> {
        check_name("schedule's name", &self.name)?;
        self.job.check()?;
        if let Some(options) = &self.job.options {
            options.check_of_schedule()?;
        }
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
        self.check_bounds()?;
        if let Overlap::Queue { limit } = self.overlap
            && !(1..=limits::OVERLAP_QUEUE_MAX).contains(&limit)
        {
            return Err(Refusal::Schedule(
                "the number of runs that may wait for each other must be 1 to 1000",
            ));
        }
        match self.missed {
            Missed::All { limit, .. } if limit == 0 || limit > limits::CATCH_UP_MAX => {
                Err(Refusal::Schedule("the limit of missed runs must be 1 to 10000"))
            }
            _ => Ok(()),
        }
    }

    fn check_bounds(&self) -> Result<(), Refusal> {
        let is_once = matches!(self.timing, Timing::Once(_));
        if self.jitter_ns > limits::JITTER_NS_MAX {
            return Err(Refusal::Schedule("the jitter is longer than a day"));
        }
        if self.starts.max(self.ends).is_some_and(|at| at.0 > limits::DUE_WALL_NS_MAX) {
            return Err(Refusal::DueTooFar);
        }
        if is_once && (self.starts.is_some() || self.ends.is_some() || self.runs_max.is_some()) {
            return Err(Refusal::Schedule(
                "what fires once takes no start, no end and no limit of runs: give it its instant",
            ));
        }
        if let (Some(starts), Some(ends)) = (self.starts, self.ends)
            && starts > ends
        {
            return Err(Refusal::Schedule("it ends before it starts: check the two"));
        }
        if self.runs_max == Some(0) {
            return Err(Refusal::Schedule(
                "the limit of runs is 0: leave it out, or pause the schedule",
            ));
        }
        Ok(())
    }
}
