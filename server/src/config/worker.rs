//! Schedules whose jobs are for workers: `kind`, `args` and `queue` in the place of `command`.

use std::time::{Duration, SystemTime};

use serde_json::{Map, Value, json};
use tickwheel_engine::cron::format_time;
use toml::de::DeValue;

use super::limits;
use super::queue::check_name;
use super::reader::{self, Report, Reported, Section};
use super::settings::Defaults;
use super::value::{ValueError, rule};
use crate::next::unix_ns;
use crate::plan::{Timing, WorkerJob};

const KIND_EXAMPLE: &str = r#"kind = "send_report", args = ["weekly"], queue = "mail""#;

/// What a worker is to do, as far as the entry says it.
#[derive(Debug)]
pub(super) struct Asked {
    kind: String,
    args: Vec<Value>,
    queue: String,
}

/// Reads `kind`, `args` and `queue`; `None` if the entry has none of them.
pub(super) fn read(
    section: &mut Section<'_>,
    report: &mut Report<'_>,
) -> Result<Option<Asked>, Reported> {
    let kind = section.field(report, "kind", KIND_EXAMPLE, |value| {
        let kind = reader::text(value)?;
        if kind.is_empty() || kind.len() > limits::QUEUE_NAME_BYTES_MAX {
            return Err(rule("a kind has 1 to 255 bytes"));
        }
        Ok(kind.to_owned())
    });
    let args = section.field(report, "args", KIND_EXAMPLE, |value| {
        reader::array(value)?.iter().map(|item| to_json(item.get_ref())).collect()
    });
    let queue = section.field(report, "queue", KIND_EXAMPLE, |value| {
        let name = reader::text(value)?;
        check_name(name).map(|()| name.to_owned())
    });
    let (kind, args, queue) = (kind?, args?, queue?);
    let Some(kind) = kind else {
        if args.is_some() || queue.is_some() {
            let key = if args.is_some() { "args" } else { "queue" };
            let reason = "it belongs to a kind, which says what workers are to do";
            return Err(section.refuse(report, key, reason, KIND_EXAMPLE));
        }
        return Ok(None);
    };
    for key in ["command", "shell"] {
        if section.has(key) {
            let reason = "a schedule has a command or a kind, not both";
            return Err(section.refuse(report, key, reason, KIND_EXAMPLE));
        }
    }
    let queue = queue.unwrap_or_else(|| limits::QUEUE_DEFAULT.to_owned());
    Ok(Some(Asked { kind, args: args.unwrap_or_default(), queue }))
}

/// Refuses what only a command can have.
pub(super) fn check_common(
    section: &Section<'_>,
    own: &Defaults,
    report: &mut Report<'_>,
) -> Result<(), Reported> {
    let only_commands = [
        ("dir", own.dir.is_some()),
        ("env", !own.env.is_empty()),
        ("kill_grace", own.kill_grace.is_some()),
        ("output_limit", own.output_limit.is_some()),
    ];
    for (key, is_given) in only_commands {
        if is_given {
            let reason = "it belongs to a command, and this entry is for workers";
            return Err(section.refuse(report, key, reason, KIND_EXAMPLE));
        }
    }
    Ok(())
}

/// The job, once the rest of the entry is known.
pub(super) fn job(
    asked: Asked,
    name: &str,
    timing: &Timing,
    reserve: Duration,
    retries: u16,
    priority: u8,
) -> WorkerJob {
    let mut schedule = Map::new();
    schedule.insert("name".to_owned(), name.into());
    match timing {
        Timing::Cron(cron) => {
            schedule.insert("cron".to_owned(), cron.source().into());
            schedule.insert("zone".to_owned(), cron.zone_name().into());
        }
        Timing::Every(every) => {
            let every_ms = u64::try_from(every.as_millis()).unwrap_or(u64::MAX);
            schedule.insert("every_ms".to_owned(), every_ms.into());
        }
        Timing::Once(Some(at)) => {
            if let Some(at) = rfc3339(*at) {
                schedule.insert("at".to_owned(), at.into());
            }
        }
        Timing::Once(None) | Timing::Start => {}
    }
    let job = json!({
        "jobtype": asked.kind,
        "args": asked.args,
        "queue": asked.queue,
        "reserve_for": reserve.as_secs(),
        "retry": retries,
        "priority": priority,
    });
    schedule.insert("job".to_owned(), job);
    let definition = Value::Object(schedule).to_string();
    WorkerJob { kind: asked.kind, queue: asked.queue, definition, reserve }
}

fn rfc3339(at: SystemTime) -> Option<String> {
    let text = format_time(unix_ns(at)?, "UTC").ok()?;
    text.split('[').next().map(str::to_owned)
}

/// A value of the file as JSON; dates and times become text.
fn to_json(value: &DeValue<'_>) -> Result<Value, ValueError> {
    Ok(match value {
        DeValue::String(text) => text.as_ref().into(),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_err(|_| rule(format!("{number} is too large")))?
            .into(),
        DeValue::Float(number) => number
            .as_str()
            .parse::<f64>()
            .ok()
            .and_then(serde_json::Number::from_f64)
            .map(Value::Number)
            .ok_or_else(|| rule("JSON has no such number"))?,
        DeValue::Boolean(truth) => (*truth).into(),
        DeValue::Datetime(datetime) => datetime.to_string().into(),
        DeValue::Array(items) => {
            items.iter().map(|item| to_json(item.get_ref())).collect::<Result<Vec<_>, _>>()?.into()
        }
        DeValue::Table(table) => {
            let mut object = Map::new();
            for (key, value) in table {
                object.insert(key.get_ref().to_string(), to_json(value.get_ref())?);
            }
            Value::Object(object)
        }
    })
}
