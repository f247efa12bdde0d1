//! Schedules as a program puts them.

use std::{
    borrow::Cow,
    time::{Duration, SystemTime},
};

use tickwheel_core::{self as core, Overlap, Refusal, Timing, cron::Cron};

use crate::{
    clock::{saturating_ms, saturating_ns, system_time, wall_time},
    job::NewJob,
};

/// A named rule that adds a job at each of its fire times.
///
/// ```
/// use std::time::Duration;
/// use tickwheel_engine::{Missed, NewJob, Schedule, cron::Cron};
/// # fn main() -> Result<(), tickwheel_engine::cron::CronError> {
/// let nightly = Cron::parse("0 30 2 * * *")?.with_zone("Europe/Berlin")?;
/// let schedule = Schedule::cron("backup", nightly, NewJob::new("backup")).missed(Missed::One);
/// let pulse = Schedule::every("pulse", Duration::from_secs(10), NewJob::new("pulse"));
/// # let _ = (schedule, pulse);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    pub(crate) inner: core::Schedule<'static>,
}

impl Schedule {
    /// Fires at the times of a cron expression.
    #[must_use]
    pub fn cron(name: impl Into<Cow<'static, str>>, cron: Cron, job: NewJob) -> Self {
        Self::new(name.into(), Timing::Cron(cron), job)
    }

    /// Fires each `every` (at least 1 ms), at a fixed rate, first one interval from now.
    #[must_use]
    pub fn every(name: impl Into<Cow<'static, str>>, every: Duration, job: NewJob) -> Self {
        Self::new(name.into(), Timing::Every(saturating_ns(every)), job)
    }

    /// Fires once: at `at`, or as soon as it is put. Putting it again does not fire it again.
    #[must_use]
    pub fn once(name: impl Into<Cow<'static, str>>, at: Option<SystemTime>, job: NewJob) -> Self {
        Self::new(name.into(), Timing::Once(at.map(wall_time)), job)
    }

    fn new(name: Cow<'static, str>, timing: Timing, job: NewJob) -> Self {
        Self { inner: core::Schedule::new(name, timing, job.to_core().into_owned()) }
    }

    /// What is done about fire times that passed while the engine was down or the schedule was
    /// paused. Default
    /// [`Missed::One`].
    #[must_use]
    pub fn missed(mut self, missed: Missed) -> Self {
        self.inner.missed = match missed {
            Missed::Skip => core::Missed::Skip,
            Missed::One => core::Missed::One,
            Missed::All { limit, window } => {
                core::Missed::All { limit, window_ns: saturating_ns(window) }
            }
        };
        self
    }

    /// How late a fire time may be before it counts as missed. Default one minute.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.inner.grace_ms = saturating_ms(grace);
        self
    }

    /// What is done about a fire time while a job of the schedule has not ended. Default
    /// [`Overlap::Allow`].
    #[must_use]
    pub fn overlap(mut self, overlap: Overlap) -> Self {
        self.inner.overlap = overlap;
        self
    }

    /// Moves each fire time by an offset below `window` (at most a day), so that many schedules of one
    /// rule do not fire at one instant. The name determines the offset, and it is always the same:
    /// see [`cron::jitter_ns`](crate::cron::jitter_ns). Default none.
    #[must_use]
    pub fn jitter(mut self, window: Duration) -> Self {
        self.inner.jitter_ns = saturating_ns(window);
        self
    }

    /// It does not fire before `at`. An interval is counted from there: its first fire time is `at`,
    /// if that is still to come when the schedule is put. Default none.
    #[must_use]
    pub fn starts(mut self, at: SystemTime) -> Self {
        self.inner.starts = Some(wall_time(at));
        self
    }

    /// It does not fire after `at`. Default none.
    #[must_use]
    pub fn ends(mut self, at: SystemTime) -> Self {
        self.inner.ends = Some(wall_time(at));
        self
    }

    /// It adds `max` jobs (at least 1) and no more, counted from its first on, also those of
    /// [`run_now`](crate::Engine::run_now). Default no limit.
    #[must_use]
    pub fn runs(mut self, max: u32) -> Self {
        self.inner.runs_max = Some(max);
        self
    }

    /// Checks each field against its range, as [`put_schedule`](crate::Engine::put_schedule) does.
    ///
    /// # Errors
    /// The first field that is out of its range.
    pub fn check(&self) -> Result<(), Refusal> {
        self.inner.check()
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }
}

/// A schedule does not fire until it is resumed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pause {
    /// Since when.
    pub since: SystemTime,
    /// Why, as whoever paused it said.
    pub note: String,
}

impl From<core::Pause> for Pause {
    fn from(pause: core::Pause) -> Self {
        Self { since: system_time(pause.since), note: pause.note }
    }
}

/// What is done about fire times that were missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missed {
    /// They are dropped.
    Skip,
    /// One run stands for all of them.
    One,
    /// The newest `limit` (1 to 10,000) of those that lie at most `window` back are run.
    All {
        /// Runs at the most.
        limit: u32,
        /// How far back.
        window: Duration,
    },
}
