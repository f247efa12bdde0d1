//! `CRON` commands: schedules that clients put, on the engine's. What a client put is kept word for word
//! as the payload of the schedule's job: so it can be given back, and a run's job be made of it when it
//! is fetched. Names of clients have a prefix in the engine, so that no start of the server takes their
//! schedules for ones that its configuration has lost.

use std::{
    fmt::Display,
    ops::RangeInclusive,
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tickwheel_engine::{
    Engine, Missed, Overlap, Schedule, ScheduleInfo,
    cron::{Cron, format_time},
};
use tickwheel_protocol::{self as protocol, CronCommand, CronPut, Job, reply};

use super::{done, info};
use crate::{
    config::limits::OVERLAP_QUEUE_DEFAULT,
    front::{
        job::{self, system_time},
        shared::Shared,
    },
    next::unix_ns,
    serve::{CLIENT_PREFIX, cron_grace},
};

/// Time zone of an expression that names none.
const ZONE_DEFAULT: &str = "UTC";

/// What stands in the place of a schedule that begins paused until it is.
const PLACEHOLDER_EVERY: Duration = Duration::from_secs(366 * 86_400);

pub(super) fn carry_out(
    engine: &Engine,
    shared: &Shared,
    command: &CronCommand<'_>,
    out: &mut Vec<u8>,
) {
    match *command {
        CronCommand::Put(ref put) => done(out, put_schedule(engine, shared, put)),
        CronCommand::Get(name) => match find(engine, name) {
            Ok((_, info)) => json(out, &shown(&info)),
            Err(error) => reply::error(out, "ERR", error),
        },
        CronCommand::List => match engine.schedules() {
            Ok(all) => {
                let visible = all.iter().filter(|info| !info::is_own(&info.queue));
                json(out, &visible.map(shown).collect::<Vec<_>>());
            }
            Err(error) => reply::error(out, "ERR", error),
        },
        CronCommand::Delete(name) => done(out, delete(engine, name)),
        CronCommand::Pause(name) => {
            let pause = |name: &str| engine.pause_schedule(name, "by a client");
            done(out, change(engine, name, pause));
        }
        CronCommand::Resume(name) => {
            done(out, change(engine, name, |name| engine.resume_schedule(name)));
        }
        CronCommand::Run(name) => {
            let run = |name: &str| engine.run_now(name).map(|job| job.is_some());
            done(out, change(engine, name, run));
        }
        CronCommand::Next { name, count } => match next(engine, name, count) {
            Ok(times) => json(out, &times),
            Err(error) => reply::error(out, "ERR", error),
        },
        CronCommand::Backfill { name, from, until, is_preview } => {
            let window = system_time(from)..=system_time(until);
            let told = match is_preview {
                true => preview(engine, name, &window).map(|times| json(out, &times)),
                false => backfill(engine, name, window).map(|done| json(out, &done)),
            };
            if let Err(error) = told {
                reply::error(out, "ERR", error);
            }
        }
    }
}

fn put_schedule(engine: &Engine, shared: &Shared, put: &CronPut<'_>) -> Result<(), String> {
    if Job::jid_of(put.raw).is_some() {
        return Err("a schedule has no `jid`: each of its jobs is given one".to_owned());
    }
    let own = own_name(&put.name);
    let is_known = engine.schedule(&own).map_err(text)?.is_some();
    if !is_known && find(engine, &put.name).is_ok() {
        return Err(format!("{} is set by the server's configuration", put.name));
    }
    let schedule = schedule(own.clone(), shared, put)?;
    schedule.check().map_err(text)?;
    if put.is_paused {
        if !is_known {
            // Paused before it is due for the first time.
            let job = job::of_template(&put.job, shared.backoff);
            let placeholder = Schedule::every(own.clone(), PLACEHOLDER_EVERY, job);
            engine.put_worker_schedule(placeholder).map_err(text)?;
        }
        engine.pause_schedule(&own, "put so by a client").map_err(text)?;
    }
    engine.put_worker_schedule(schedule).map(drop).map_err(text)
}

/// The engine's schedule of what a client put.
fn schedule(name: String, shared: &Shared, put: &CronPut<'_>) -> Result<Schedule, String> {
    if let Some(why) = job::not_possible(put.job.job()) {
        return Err(why.into_owned());
    }
    let job = job::of_template(&put.job, shared.backoff).payload(put.raw.as_bytes().to_vec());
    if put.zone.is_some() && !matches!(put.timing, protocol::Timing::Cron(_)) {
        return Err("`zone` belongs to `cron`; the others do not depend on one".to_owned());
    }
    let mut schedule = match &put.timing {
        protocol::Timing::Cron(rule) => {
            let zone = put.zone.as_deref().unwrap_or(ZONE_DEFAULT);
            let cron = Cron::parse_named(rule, &put.name).and_then(|cron| cron.with_zone(zone));
            let cron = cron.map_err(text)?;
            let grace = cron_grace(&cron);
            Schedule::cron(name, cron, job).grace(grace)
        }
        protocol::Timing::EveryMs(every_ms) => {
            let every = Duration::from_millis(*every_ms);
            Schedule::every(name, every, job).grace(every.min(Duration::from_secs(60)))
        }
        protocol::Timing::Once(at) => Schedule::once(name, Some(system_time(*at)), job),
    };
    schedule = schedule.missed(match put.missed {
        protocol::Missed::Skip => Missed::Skip,
        protocol::Missed::One => Missed::One,
        protocol::Missed::All { count_max, window_seconds } => {
            Missed::All { limit: count_max, window: Duration::from_secs(window_seconds) }
        }
    });
    schedule = schedule.overlap(match put.overlap {
        protocol::Overlap::Allow => Overlap::Allow,
        protocol::Overlap::Skip => Overlap::Skip,
        protocol::Overlap::Queue => Overlap::Queue { limit: OVERLAP_QUEUE_DEFAULT },
        protocol::Overlap::Replace => Overlap::Replace,
    });
    schedule = schedule.jitter(Duration::from_millis(put.jitter_ms.into()));
    if let Some(starts) = put.starts {
        schedule = schedule.starts(system_time(starts));
    }
    if let Some(ends) = put.ends {
        schedule = schedule.ends(system_time(ends));
    }
    if let Some(runs) = put.runs_max {
        schedule = schedule.runs(runs);
    }
    Ok(schedule)
}

fn delete(engine: &Engine, name: &str) -> Result<(), String> {
    match engine.remove_schedule(&own_name(name)) {
        Ok(true) => Ok(()),
        Ok(false) if find(engine, name).is_ok() => {
            Err(format!("{name} is set by the server's configuration; take it out there"))
        }
        Ok(false) => Err(not_found(name)),
        Err(error) => Err(text(error)),
    }
}

/// Does something with a schedule, which says whether it found it.
fn change<E: Display>(
    engine: &Engine,
    name: &str,
    change: impl FnOnce(&str) -> Result<bool, E>,
) -> Result<(), String> {
    let (full, _) = find(engine, name)?;
    match change(&full) {
        Ok(true) => Ok(()),
        Ok(false) => Err(not_found(name)),
        Err(error) => Err(text(error)),
    }
}

fn next(engine: &Engine, name: &str, count: u32) -> Result<Vec<String>, String> {
    let (full, info) = find(engine, name)?;
    let times = engine.upcoming(&full, count as usize).map_err(text)?;
    Ok(in_zone(&info, times.unwrap_or_default()))
}

/// The fire times that a backfill would add jobs for.
fn preview(
    engine: &Engine,
    name: &str,
    window: &RangeInclusive<SystemTime>,
) -> Result<Vec<String>, String> {
    let (full, info) = find(engine, name)?;
    let times = engine.backfill_preview(&full, window).map_err(text)?;
    Ok(in_zone(&info, times.ok_or_else(|| not_found(name))?))
}

fn backfill(
    engine: &Engine,
    name: &str,
    window: RangeInclusive<SystemTime>,
) -> Result<ShownBackfill, String> {
    let (full, info) = find(engine, name)?;
    let done = engine.backfill(&full, window).map_err(text)?.ok_or_else(|| not_found(name))?;
    let (stopped_at, reason) = match done.stopped {
        None => (None, None),
        Some((at, refusal)) => (in_zone(&info, vec![at]).pop(), Some(refusal.to_string())),
    };
    Ok(ShownBackfill { added: done.added, stopped_at, reason })
}

/// Instants as they are written in the zone of a schedule.
fn in_zone(info: &ScheduleInfo, times: Vec<SystemTime>) -> Vec<String> {
    let zone = definition(info).and_then(|put| put.zone).unwrap_or_else(|| ZONE_DEFAULT.into());
    let shown = |at| {
        let text = format_time(unix_ns(at)?, &zone).ok()?;
        // RFC 3339 has no name of a zone.
        text.split('[').next().map(str::to_owned)
    };
    times.into_iter().filter_map(shown).collect()
}

/// A schedule whose jobs are for workers, by the name that clients know, with its name in the engine.
fn find(engine: &Engine, name: &str) -> Result<(String, ScheduleInfo), String> {
    let own = own_name(name);
    if let Some(info) = engine.schedule(&own).map_err(text)? {
        return Ok((own, info));
    }
    let configured = engine.schedule(name).map_err(text)?;
    let visible = configured.filter(|info| !info::is_own(&info.queue));
    visible.map(|info| (name.to_owned(), info)).ok_or_else(|| not_found(name))
}

fn own_name(name: &str) -> String {
    format!("{CLIENT_PREFIX}{name}")
}

fn not_found(name: &str) -> String {
    format!("No such schedule {name}")
}

fn text(error: impl Display) -> String {
    error.to_string()
}

/// What the payload of a schedule's job says of the schedule.
#[derive(Deserialize)]
struct Definition {
    zone: Option<String>,
}

fn definition(info: &ScheduleInfo) -> Option<Definition> {
    serde_json::from_slice(&info.payload).ok()
}

/// A schedule as it is shown.
#[derive(Serialize)]
struct Shown<'i> {
    name: &'i str,
    origin: &'static str,
    /// As it was put.
    schedule: Option<&'i RawValue>,
    description: &'i str,
    next: Option<String>,
    paused: Option<ShownPause<'i>>,
    pending: u64,
    fired: u64,
}

/// What a backfill came to.
#[derive(Serialize)]
struct ShownBackfill {
    added: u64,
    /// The first fire time without a job, and why it has none.
    stopped_at: Option<String>,
    reason: Option<String>,
}

#[derive(Serialize)]
struct ShownPause<'i> {
    since: Option<String>,
    note: &'i str,
}

fn shown(info: &ScheduleInfo) -> Shown<'_> {
    let own = info.name.strip_prefix(CLIENT_PREFIX);
    Shown {
        name: own.unwrap_or(&info.name),
        origin: if own.is_some() { "client" } else { "configuration" },
        schedule: serde_json::from_slice(&info.payload).ok(),
        description: &info.description,
        next: info.next.and_then(job::instant_text),
        paused: info
            .paused
            .as_ref()
            .map(|pause| ShownPause { since: job::instant_text(pause.since), note: &pause.note }),
        pending: info.pending,
        fired: info.fired,
    }
}

fn json(out: &mut Vec<u8>, value: &impl Serialize) {
    reply::bulk_with(out, |out| {
        // Times, numbers and texts always become JSON, and memory takes all of it.
        let _ = serde_json::to_writer(out, value);
    });
}
