//! Schedules from crontabs and configurations, as far as a forecast needs them: when they fire, and their
//! names. What they run is not looked at; `tickwheel serve --check` judges the files in full.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use tickwheel_engine::cron::Cron;
use toml::{Table, Value};

use super::{Ask, DAY_S, walk};
use crate::{
    arrival::{Trace, TraceError},
    workload::DurationText,
};

/// One schedule.
#[derive(Clone, Debug)]
pub(super) struct Scheduled {
    /// What jitter and an `H` are drawn from.
    pub(super) name: String,
    pub(super) timing: Timing,
}

/// When a schedule fires.
#[derive(Clone, Debug)]
pub(super) enum Timing {
    Cron(Cron),
    Every(Duration),
}

/// All schedules of all files.
#[derive(Clone, Debug, Default)]
pub(super) struct Calendar {
    pub(super) schedules: Vec<Scheduled>,
    /// What was left out and why.
    pub(super) warnings: Vec<String>,
}

/// Schedules that cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CalendarError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}; name another file", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line or entry is no schedule.
    #[error("{}, {place}: {reason}", path.display())]
    Entry {
        /// The file.
        path: PathBuf,
        /// The line, or the entry's name.
        place: String,
        /// What is wrong.
        reason: String,
    },
    /// Its moments cannot be replayed.
    #[error(transparent)]
    Replay(#[from] TraceError),
}

/// Reads all files that are asked for.
pub(super) fn read(ask: &Ask) -> Result<Calendar, CalendarError> {
    let mut calendar = Calendar::default();
    for path in &ask.crontabs {
        let has_users = ask.has_users;
        read_crontab(path, &text_of(path)?, has_users, &ask.zone, &mut calendar)?;
    }
    for path in &ask.configs {
        read_config(path, &text_of(path)?, &ask.zone, &mut calendar)?;
    }
    Ok(calendar)
}

/// The moments of one day, from the last midnight UTC on, of a crontab or of a configuration (a file
/// whose name ends in `.toml`), `speed` times as fast.
///
/// # Errors
/// The file cannot be read, or nothing fires within the day.
pub fn replay(path: &Path, speed: f64) -> Result<Trace, CalendarError> {
    let mut calendar = Calendar::default();
    let text = text_of(path)?;
    if path.extension().is_some_and(|extension| extension == "toml") {
        read_config(path, &text, "UTC", &mut calendar)?;
    } else {
        read_crontab(path, &text, false, "UTC", &mut calendar)?;
    }
    let now_s = std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs());
    let from_s = (now_s - now_s % DAY_S).cast_signed();
    let span = walk::Span { from_s, len_s: DAY_S };
    let counts = walk::walk(&walk::groups(&calendar.schedules), span, Duration::ZERO);
    let moments = counts.iter().enumerate().flat_map(|(second, count)| {
        std::iter::repeat_n(second as u64 * 1_000_000_000, *count as usize)
    });
    let flag = format!("cron({},speed={speed})", path.display());
    Ok(Trace::new(path, flag, moments.collect(), speed)?)
}

fn text_of(path: &Path) -> Result<String, CalendarError> {
    fs::read_to_string(path)
        .map_err(|source| CalendarError::Unreadable { path: path.to_owned(), source })
}

fn read_crontab(
    path: &Path,
    text: &str,
    has_users: bool,
    zone: &str,
    calendar: &mut Calendar,
) -> Result<(), CalendarError> {
    let mut zone = zone.to_owned();
    for (index, line) in text.lines().enumerate() {
        let place = || format!("line {}", index + 1);
        let error =
            |reason: String| CalendarError::Entry { path: path.to_owned(), place: place(), reason };
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some((name, value)) = variable(line) {
            if name == "CRON_TZ" {
                value.trim_matches(['"', '\'']).clone_into(&mut zone);
            }
            continue;
        }
        let fields = if line.starts_with('@') { 1 } else { 5 };
        let words: Vec<&str> = line.split_whitespace().collect();
        if words.len() <= fields + usize::from(has_users) {
            let what =
                if has_users { "a time, a user and a command" } else { "a time and a command" };
            return Err(error(format!("an entry is {what}")));
        }
        let rule = words[..fields].join(" ");
        if rule == "@reboot" {
            calendar.warnings.push(format!(
                "{}, {}: @reboot fires at a start only and is left out",
                path.display(),
                place()
            ));
            continue;
        }
        let cron = Cron::parse_crontab(&rule).and_then(|cron| cron.with_zone(&zone));
        let cron = cron.map_err(|cause| error(cause.to_string()))?;
        let name = format!("{}:{}", path.display(), index + 1);
        calendar.schedules.push(Scheduled { name, timing: Timing::Cron(cron) });
    }
    Ok(())
}

/// Name and value of a line that sets a variable.
fn variable(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once('=')?;
    let name = name.trim_end();
    let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit());
    is_name.then(|| (name, value.trim()))
}

fn read_config(
    path: &Path,
    text: &str,
    zone: &str,
    calendar: &mut Calendar,
) -> Result<(), CalendarError> {
    let entry = |place: String, reason: String| CalendarError::Entry {
        path: path.to_owned(),
        place,
        reason,
    };
    let table: Table = text.parse().map_err(|error: toml::de::Error| {
        entry("the whole file".to_owned(), error.message().to_owned())
    })?;
    let text_in =
        |table: &Table, key: &str| table.get(key).and_then(Value::as_str).map(str::to_owned);
    let defaults = table.get("defaults").and_then(Value::as_table);
    let zone = defaults.and_then(|defaults| text_in(defaults, "zone")).unwrap_or(zone.to_owned());
    let list = |key: &str| table.get(key).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    for (index, schedule) in list("schedule").iter().filter_map(Value::as_table).enumerate() {
        let name = text_in(schedule, "name").unwrap_or_else(|| format!("number {}", index + 1));
        let place = format!("schedule {name:?}");
        let timing = match (text_in(schedule, "cron"), text_in(schedule, "every")) {
            (Some(rule), None) => {
                let zone = text_in(schedule, "zone").unwrap_or_else(|| zone.clone());
                let cron = Cron::parse_named(&rule, &name).and_then(|cron| cron.with_zone(&zone));
                Timing::Cron(cron.map_err(|error| entry(place, error.to_string()))?)
            }
            (None, Some(every)) => {
                let every = span(&every).filter(|every| *every >= Duration::from_millis(1));
                let reason = || "every must be a duration such as 15m, of 1ms at least".to_owned();
                Timing::Every(every.ok_or_else(|| entry(place, reason()))?)
            }
            _ => return Err(entry(place, "it needs either cron or every".to_owned())),
        };
        calendar.schedules.push(Scheduled { name, timing });
    }
    let once = list("job").len();
    if once > 0 {
        let text = format!("{}: {once} single jobs are left out", path.display());
        calendar.warnings.push(text);
    }
    Ok(())
}

/// A duration of a configuration: as on the command line, or in days.
fn span(text: &str) -> Option<Duration> {
    if let Some(days) = text.strip_suffix('d') {
        return days.parse::<u32>().ok().map(|days| Duration::from_secs(DAY_S) * days);
    }
    text.parse().ok().map(|DurationText(span)| span)
}
