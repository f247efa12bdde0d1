//! Whether a workload fits: a forecast of its calendar, and a prediction from what was measured. It
//! runs nothing; it reads schedules and stored results.

mod calendar;
mod fit;
mod peaks;
mod text;
mod walk;

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

pub use calendar::{CalendarError, replay};
pub use fit::{Fit, Prediction};
pub use peaks::{Lateness, Peak};

use crate::result::Report;

/// Name and version of the JSON form.
pub const PLAN_SCHEMA: &str = "tickwheel.plan/v1";
/// Triggers a second that are assumed where nothing was measured.
const CAPACITY_ASSUMED: f64 = 1000.0;
/// Peaks that are named.
const PEAKS_NAMED: usize = 10;
const DAY_S: u64 = 86_400;

/// What is asked.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Crontabs to read.
    pub crontabs: Vec<PathBuf>,
    /// Whether these have a column for the user.
    pub has_users: bool,
    /// Configurations to read.
    pub configs: Vec<PathBuf>,
    /// Jobs a day beside the schedules.
    pub jobs_per_day: Option<f64>,
    /// How many times the mean rate of these the peak second has.
    pub peak_factor: f64,
    /// Days to look ahead.
    pub days: u32,
    /// When to begin, in seconds since 1970; `None` for now.
    pub from_unix_s: Option<i64>,
    /// Zone of schedules that name none.
    pub zone: String,
    /// The longest jitter that may be proposed.
    pub jitter_max: Duration,
    /// What a machine costs per hour.
    pub cost_per_hour: Option<f64>,
}

/// A plan that cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// A file of schedules cannot be read.
    #[error(transparent)]
    Calendar(#[from] CalendarError),
    /// There is nothing to plan for.
    #[error("there is nothing to plan: name a --crontab or --config, or give --jobs-per-day")]
    Nothing,
    /// A number that makes no sense.
    #[error("{flag} is {value}: it must be above zero")]
    Number {
        /// The flag.
        flag: &'static str,
        /// What was given.
        value: f64,
    },
}

/// A plan.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Plan {
    /// [`PLAN_SCHEMA`].
    pub schema: String,
    /// When the forecast begins, in seconds since 1970.
    pub from_unix_s: i64,
    /// Days that it looks ahead.
    pub days: u32,
    /// The calendar of the schedules; `None` where none were named.
    pub forecast: Option<Forecast>,
    /// Jobs a day in all.
    pub jobs_per_day: f64,
    /// Jobs in the busiest second.
    pub peak_per_s: f64,
    /// What that needs, predicted from what was measured.
    pub fit: Fit,
}

/// The calendar of all schedules.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Forecast {
    /// Schedules.
    pub schedules: usize,
    /// Triggers within the span.
    pub triggers: u64,
    /// Triggers a second that the simulation of lateness assumes.
    pub capacity_per_s: f64,
    /// Whether that was measured.
    pub is_capacity_measured: bool,
    /// As the schedules are.
    pub now: Shape,
    /// With the jitter that is proposed.
    pub jittered: Shape,
    /// The longest jitter that is proposed, in seconds. A schedule gets at most a quarter of its
    /// shortest gap.
    pub jitter_max_s: u64,
    /// What stood in the way of single lines.
    pub warnings: Vec<String>,
}

/// How triggers lie in time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Shape {
    /// The busiest seconds, at most one for each hour of the day.
    pub peaks: Vec<Peak>,
    /// Triggers in the busiest second of each hour of the day, UTC.
    pub by_hour: Vec<u32>,
    /// Share of all triggers in each minute of the hour.
    pub by_minute: Vec<f64>,
    /// Triggers in the busiest second of each hour of the span.
    pub timeline: Vec<u32>,
    /// Lateness, simulated.
    pub lateness: Lateness,
}

/// Makes a plan from schedules and stored results.
///
/// # Errors
/// A file cannot be read, or there is nothing to plan for.
pub fn plan(ask: &Ask, measured: &[Report]) -> Result<Plan, PlanError> {
    for (flag, value) in [
        ("--jobs-per-day", ask.jobs_per_day),
        ("--peak-factor", Some(ask.peak_factor)),
        ("--cost-per-hour", ask.cost_per_hour),
    ] {
        if let Some(value) = value.filter(|value| !(*value > 0.0 && value.is_finite())) {
            return Err(PlanError::Number { flag, value });
        }
    }
    let now_s = || std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs());
    let from_unix_s = ask.from_unix_s.unwrap_or_else(|| now_s().cast_signed());
    let calendar = calendar::read(ask)?;
    if calendar.schedules.is_empty() && ask.jobs_per_day.is_none() {
        return Err(PlanError::Nothing);
    }
    let capacity = fit::capacity_per_s(measured);
    let forecast = (!calendar.schedules.is_empty()).then(|| {
        let capacity_per_s = capacity.unwrap_or(CAPACITY_ASSUMED);
        let span = walk::Span { from_s: from_unix_s, len_s: u64::from(ask.days) * DAY_S };
        let groups = walk::groups(&calendar.schedules);
        let now = walk::walk(&groups, span, Duration::ZERO);
        let jittered = walk::walk(&groups, span, ask.jitter_max);
        Forecast {
            schedules: calendar.schedules.len(),
            triggers: now.iter().map(|count| u64::from(*count)).sum(),
            capacity_per_s,
            is_capacity_measured: capacity.is_some(),
            now: peaks::shape(&now, span, capacity_per_s),
            jittered: peaks::shape(&jittered, span, capacity_per_s),
            jitter_max_s: ask.jitter_max.as_secs(),
            warnings: calendar.warnings,
        }
    });
    let steady_per_day = ask.jobs_per_day.unwrap_or(0.0);
    let triggers_per_day = forecast
        .as_ref()
        .map_or(0.0, |forecast| forecast.triggers as f64 / f64::from(ask.days.max(1)));
    let jobs_per_day = steady_per_day + triggers_per_day;
    let calendar_peak = forecast.as_ref().and_then(|forecast| forecast.now.peaks.first());
    let peak_per_s = steady_per_day / DAY_S as f64 * ask.peak_factor
        + calendar_peak.map_or(0.0, |peak| f64::from(peak.triggers));
    let need = fit::Need { jobs_per_day, peak_per_s, cost_per_hour: ask.cost_per_hour };
    Ok(Plan {
        schema: PLAN_SCHEMA.to_owned(),
        from_unix_s,
        days: ask.days,
        forecast,
        jobs_per_day,
        peak_per_s,
        fit: fit::fit(&need, measured),
    })
}

#[cfg(test)]
mod tests;
