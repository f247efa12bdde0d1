//! `[engine]` and `[defaults]`: how the server runs, and what holds for entries that do not say.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use tickwheel_engine::Durability;
use tickwheel_engine::cron::format_time;
use toml::de::{DeTable, DeValue};

use super::limits;
use super::reader::{self, Report, Reported, Section};
use super::value::{self, ValueError, rule};
use crate::plan::Missed;

/// How the server itself runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Where the log lives; `None` leaves it to the command line. A relative path in the file
    /// starts from the file's folder.
    pub data_dir: Option<PathBuf>,
    /// When what was accepted is on the disk. Default `sync`.
    pub durability: Durability,
    /// Commands that run at the same time. Default 16, 1 to 256.
    pub executors: usize,
    /// How long running commands may take when the server ends. Default 30 s, 0 to 1 h.
    pub shutdown_grace: Duration,
    /// Whether a history of attempts is kept. Default yes.
    pub history: bool,
    /// How long it is kept. Default 30 days, 1 min to 10 years.
    pub history_keep: Duration,
    /// How much of it is kept, in bytes. Default 256 MiB, 8 MiB to 1 TiB.
    pub history_bytes: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            data_dir: None,
            durability: Durability::Sync,
            executors: limits::EXECUTORS_DEFAULT,
            shutdown_grace: limits::SHUTDOWN_GRACE_DEFAULT,
            history: true,
            history_keep: limits::HISTORY_KEEP_DEFAULT,
            history_bytes: limits::HISTORY_BYTES_DEFAULT,
        }
    }
}

/// Reads `[engine]`. What is wrong is reported and left at its default.
pub(super) fn read(table: &DeTable<'_>, offset: usize, report: &mut Report<'_>) -> Settings {
    let mut section = Section::new(table, "[engine]", offset);
    let unset = Settings::default();
    let folder = report.file().parent().map(PathBuf::from).unwrap_or_default();
    let data_dir =
        section.field(report, "data_dir", r#"data_dir = "/var/lib/tickwheel""#, |value| {
            let path = reader::text(value)?;
            if path.is_empty() { Err(rule("the path is empty")) } else { Ok(folder.join(path)) }
        });
    let durability =
        section.field(report, "durability", r#"durability = "interval(50ms)""#, |value| {
            reader::text(value)?.parse::<Durability>().map_err(rule)
        });
    let executors = section.field(report, "executors", "executors = 16", |value| {
        value::number_within(reader::number(value)?, limits::EXECUTORS)
    });
    let grace = section.field(report, "shutdown_grace", r#"shutdown_grace = "30s""#, |value| {
        duration_in(value, limits::SHUTDOWN_GRACE)
    });
    let history = section.field(report, "history", "history = false", reader::boolean);
    let history_keep = section.field(report, "history_keep", r#"history_keep = "30d""#, |value| {
        duration_in(value, limits::HISTORY_KEEP)
    });
    let history_bytes =
        section.field(report, "history_bytes", r#"history_bytes = "256MiB""#, |value| {
            value::number_within(value::size_bytes(reader::text(value)?)?, limits::HISTORY_BYTES)
        });
    // Whatever it finds is in the report.
    let _ = section.finish(report);
    Settings {
        history: history.ok().flatten().unwrap_or(unset.history),
        history_keep: history_keep.ok().flatten().unwrap_or(unset.history_keep),
        history_bytes: history_bytes.ok().flatten().unwrap_or(unset.history_bytes),
        data_dir: data_dir.ok().flatten(),
        durability: durability.ok().flatten().unwrap_or(unset.durability),
        executors: executors
            .ok()
            .flatten()
            .and_then(|count| usize::try_from(count).ok())
            .unwrap_or(unset.executors),
        shutdown_grace: grace.ok().flatten().unwrap_or(unset.shutdown_grace),
    }
}

/// What `[defaults]` and each `[[schedule]]` and `[[job]]` may say alike. `None` is unset.
#[derive(Debug, Clone, Default)]
pub(super) struct Defaults {
    pub(super) zone: Option<String>,
    pub(super) missed: Option<Missed>,
    pub(super) dir: Option<String>,
    pub(super) env: BTreeMap<String, String>,
    pub(super) timeout: Option<Duration>,
    pub(super) kill_grace: Option<Duration>,
    pub(super) output_limit: Option<u64>,
    pub(super) retries: Option<u64>,
    pub(super) backoff: Option<Duration>,
    pub(super) backoff_max: Option<Duration>,
    pub(super) priority: Option<u64>,
}

/// Reads `[defaults]`. What is wrong is reported and left unset.
pub(super) fn read_defaults(
    table: &DeTable<'_>,
    offset: usize,
    report: &mut Report<'_>,
) -> Defaults {
    let mut section = Section::new(table, "[defaults]", offset);
    let zone = read_zone(&mut section, report).unwrap_or_default();
    let missed = read_missed(&mut section, report).unwrap_or_default();
    let common = read_common(&mut section, report).unwrap_or_default();
    // Whatever it finds is in the report.
    let _ = section.finish(report);
    Defaults { zone, missed, ..common }
}

/// Reads the fields that every entry may have; `zone` and `missed` stay unset.
pub(super) fn read_common(
    section: &mut Section<'_>,
    report: &mut Report<'_>,
) -> Result<Defaults, Reported> {
    let dir = section.field(report, "dir", r#"dir = "/var/backups""#, |value| {
        let path = reader::text(value)?;
        // A relative one would depend on where the server was started.
        if path.starts_with('/') {
            Ok(path.to_owned())
        } else {
            Err(rule(format!("{path:?} is relative; give the whole path")))
        }
    });
    let env = section.field(report, "env", r#"env = { PGUSER = "backup" }"#, environment);
    let timeout = section.field(report, "timeout", r#"timeout = "10m""#, |value| {
        duration_in(value, limits::TIMEOUT)
    });
    let kill_grace = section.field(report, "kill_grace", r#"kill_grace = "10s""#, |value| {
        duration_in(value, limits::KILL_GRACE)
    });
    let output_limit =
        section.field(report, "output_limit", r#"output_limit = "64KiB""#, |value| {
            value::number_within(value::size_bytes(reader::text(value)?)?, limits::OUTPUT_BYTES)
        });
    let retries = section.field(report, "retries", "retries = 3", |value| {
        value::number_within(reader::number(value)?, limits::RETRIES)
    });
    let backoff = section.field(report, "backoff", r#"backoff = "10s""#, |value| {
        duration_in(value, limits::BACKOFF)
    });
    let backoff_max = section.field(report, "backoff_max", r#"backoff_max = "10m""#, |value| {
        duration_in(value, limits::BACKOFF)
    });
    let priority = section.field(report, "priority", "priority = 5", |value| {
        value::number_within(reader::number(value)?, limits::PRIORITY)
    });
    Ok(Defaults {
        zone: None,
        missed: None,
        dir: dir?,
        env: env?.unwrap_or_default(),
        timeout: timeout?,
        kill_grace: kill_grace?,
        output_limit: output_limit?,
        retries: retries?,
        backoff: backoff?,
        backoff_max: backoff_max?,
        priority: priority?,
    })
}

pub(super) fn read_zone(
    section: &mut Section<'_>,
    report: &mut Report<'_>,
) -> Result<Option<String>, Reported> {
    section.field(report, "zone", r#"zone = "Europe/Berlin""#, |value| {
        let zone = reader::text(value)?;
        // Any instant will do: what counts is the error, which knows the nearest names.
        format_time(0, zone).map(|_| zone.to_owned()).map_err(rule)
    })
}

pub(super) fn read_missed(
    section: &mut Section<'_>,
    report: &mut Report<'_>,
) -> Result<Option<Missed>, Reported> {
    let example =
        r#"missed = "one", missed = "skip" or missed = { all = { limit = 10, window = "2h" } }"#;
    section.field(report, "missed", example, |value| match value {
        DeValue::String(text) => match text.as_ref() {
            "skip" => Ok(Missed::Skip),
            "one" => Ok(Missed::One),
            other => Err(rule(format!("{other:?} is not a way to treat missed runs"))),
        },
        DeValue::Table(table) => missed_all(table),
        other => Err(reader::wrong_type("\"skip\", \"one\" or { all = … }", other)),
    })
}

fn missed_all(table: &DeTable<'_>) -> Result<Missed, ValueError> {
    let all = match table.get("all") {
        Some(all) if table.len() == 1 => reader::table(all.get_ref())?,
        _ => return Err(rule("the table may hold `all` and nothing else")),
    };
    let (Some(limit), Some(window), 2) = (all.get("limit"), all.get("window"), all.len()) else {
        return Err(rule("`all` needs `limit` and `window` and nothing else"));
    };
    let limit = value::number_within(reader::number(limit.get_ref())?, limits::MISSED_RUNS)?;
    let limit = u32::try_from(limit).map_err(rule)?;
    Ok(Missed::All { limit, window: duration_in(window.get_ref(), limits::MISSED_WINDOW)? })
}

fn environment(value: &DeValue<'_>) -> Result<BTreeMap<String, String>, ValueError> {
    let mut variables = BTreeMap::new();
    for (name, value) in reader::table(value)? {
        let name = name.get_ref().as_ref();
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(rule(format!("{name:?} cannot be the name of a variable")));
        }
        let text = reader::text(value.get_ref())
            .map_err(|error| rule(format!("{name}: {error}; put it in quotes")))?;
        if text.contains('\0') {
            return Err(rule(format!("{name}: the value holds a zero byte")));
        }
        variables.insert(name.to_owned(), text.to_owned());
    }
    Ok(variables)
}

pub(super) fn duration_in(
    value: &DeValue<'_>,
    limits: (Duration, Duration),
) -> Result<Duration, ValueError> {
    value::duration_within(value::duration(reader::text(value)?)?, limits)
}
