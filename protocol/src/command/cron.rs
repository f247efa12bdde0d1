//! `CRON` commands: schedules by name. It reads the shape of a schedule; whether a cron expression or
//! the name of a zone means something is the server's to say.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{RequestError, name, nothing, object, split, word};
use crate::{
    job::{Template, check_queue, instant_text},
    json::Text,
    limits::{self, Limits},
};

/// A `CRON` command. The others than `PUT` and `LIST` name a schedule.
#[derive(Clone, Debug)]
pub enum CronCommand<'a> {
    /// A new schedule, or a new form of one.
    Put(Box<CronPut<'a>>),
    /// What it is and what has become of it.
    Get(&'a str),
    /// All of them.
    List,
    /// It is deleted; jobs that it added stay.
    Delete(&'a str),
    /// It adds no jobs.
    Pause(&'a str),
    /// It adds jobs again.
    Resume(&'a str),
    /// It adds a job now, besides its fire times.
    Run(&'a str),
    /// Its next fire times.
    Next {
        /// Its name.
        name: &'a str,
        /// How many: 1 to 1000. Default 1.
        count: u32,
    },
    /// It adds jobs for its fire times within a window that is past.
    Backfill {
        /// Its name.
        name: &'a str,
        /// The first instant of the window.
        from: Timestamp,
        /// The last one.
        until: Timestamp,
        /// The fire times are only told.
        is_preview: bool,
    },
}

/// A schedule as a client puts it.
#[derive(Clone, Debug)]
pub struct CronPut<'a> {
    /// Unique in a server: 1 to 255 bytes, no white space.
    pub name: Cow<'a, str>,
    /// When it fires.
    pub timing: Timing<'a>,
    /// Name of the time zone of a cron expression; the server's own default if `None`.
    pub zone: Option<Cow<'a, str>>,
    /// What is done about fire times that passed while the server was down.
    pub missed: Missed,
    /// What is done when the run before has not ended.
    pub overlap: Overlap,
    /// Each fire time is put off by a fixed part of this span, drawn from the name, in milliseconds.
    /// Default 0.
    pub jitter_ms: u32,
    /// It does not fire before this.
    pub starts: Option<Timestamp>,
    /// It does not fire after this.
    pub ends: Option<Timestamp>,
    /// Jobs that it adds at the most, at least 1; no limit if `None`.
    pub runs_max: Option<u32>,
    /// Whether it is paused from now on.
    pub is_paused: bool,
    /// What it adds.
    pub job: Template<'a>,
    /// The whole object as JSON.
    pub raw: &'a str,
}

/// When a schedule fires: exactly one of `cron`, `every_ms` and `at`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Timing<'a> {
    /// At the times of a cron expression, which is not checked here.
    Cron(Cow<'a, str>),
    /// Each so many milliseconds: at least 1.
    EveryMs(u64),
    /// Once, at this instant.
    Once(Timestamp),
}

/// What is done about missed fire times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Missed {
    /// They are dropped.
    Skip,
    /// One run stands for all of them.
    #[default]
    One,
    /// Each is run, the newest `missed_max` of them.
    All {
        /// Runs at the most: 1 to 10,000. Default 100.
        count_max: u32,
        /// How far back a fire time may lie, in seconds. Default a day.
        window_seconds: u64,
    },
}

/// What is done when a schedule fires while its last run has not ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overlap {
    /// Both run.
    #[default]
    Allow,
    /// The new one is dropped.
    Skip,
    /// The new one waits for the old one.
    Queue,
    /// The old one is cancelled.
    Replace,
}

const PUT: &str = "CRON PUT";
/// Missed runs at the most.
const MISSED_COUNT_MAX: u32 = 10_000;
const MISSED_COUNT_DEFAULT: u32 = 100;
const MISSED_WINDOW_SECONDS_DEFAULT: u64 = 86_400;

pub(super) fn cron<'a>(args: &'a str, limits: &Limits) -> Result<CronCommand<'a>, RequestError> {
    let (verb, args) = split(args);
    match verb {
        "PUT" => put(args, limits).map(|put| CronCommand::Put(Box::new(put))),
        "GET" => word("CRON GET", "name", args).map(CronCommand::Get),
        "LIST" => nothing("CRON LIST", args).map(|()| CronCommand::List),
        "DEL" => word("CRON DEL", "name", args).map(CronCommand::Delete),
        "PAUSE" => word("CRON PAUSE", "name", args).map(CronCommand::Pause),
        "RESUME" => word("CRON RESUME", "name", args).map(CronCommand::Resume),
        "RUN" => word("CRON RUN", "name", args).map(CronCommand::Run),
        "NEXT" => next(args),
        "BACKFILL" => backfill(args),
        _ => Err(RequestError::Usage {
            command: "CRON",
            usage: "PUT with a JSON object, LIST, NEXT with a name and a number, \
                    BACKFILL with a name and two instants, or GET, DEL, PAUSE, RESUME or RUN with a name",
        }),
    }
}

fn next(args: &str) -> Result<CronCommand<'_>, RequestError> {
    const COMMAND: &str = "CRON NEXT";
    let (schedule, count) = split(args);
    let name = word(COMMAND, "name", schedule)?;
    let count = if count.is_empty() { Some(1) } else { count.parse().ok() };
    let count = count.filter(|count| (1..=limits::FIRE_TIMES_MAX).contains(count));
    let reason = "must be a number from 1 to 1000";
    let invalid = RequestError::Invalid { command: COMMAND, field: "n", reason };
    Ok(CronCommand::Next { name, count: count.ok_or(invalid)? })
}

fn backfill(args: &str) -> Result<CronCommand<'_>, RequestError> {
    const COMMAND: &str = "CRON BACKFILL";
    let (schedule, args) = split(args);
    let name = word(COMMAND, "name", schedule)?;
    let (from, args) = split(args);
    let (until, last) = split(args);
    let instant = |field, text: &str| match instant_text(text) {
        Ok(Some(at)) => Ok(at),
        _ => Err(RequestError::Invalid { command: COMMAND, field, reason: INSTANT }),
    };
    let (from, until) = (instant("from", from)?, instant("until", until)?);
    if until < from {
        let reason = "must not lie before the window begins";
        return Err(RequestError::Invalid { command: COMMAND, field: "until", reason });
    }
    let is_preview = match last {
        "" => false,
        "PREVIEW" => true,
        _ => {
            let usage = "a name, two instants and, to add nothing, PREVIEW";
            return Err(RequestError::Usage { command: COMMAND, usage });
        }
    };
    Ok(CronCommand::Backfill { name, from, until, is_preview })
}

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    cron: Option<Text<'a>>,
    every_ms: Option<u64>,
    #[serde(borrow)]
    at: Option<Text<'a>>,
    #[serde(borrow)]
    zone: Option<Text<'a>>,
    #[serde(borrow)]
    missed: Option<Text<'a>>,
    missed_max: Option<u32>,
    missed_window: Option<u64>,
    #[serde(borrow)]
    overlap: Option<Text<'a>>,
    jitter_ms: Option<u32>,
    #[serde(borrow)]
    starts: Option<Text<'a>>,
    #[serde(borrow)]
    ends: Option<Text<'a>>,
    runs: Option<u32>,
    paused: Option<bool>,
    #[serde(borrow)]
    job: Option<&'a RawValue>,
}

fn put<'a>(raw: &'a str, limits: &Limits) -> Result<CronPut<'a>, RequestError> {
    let wire: Wire<'a> = object(PUT, raw)?;
    let missing = RequestError::Missing { command: PUT, field: "name" };
    let Text(schedule) = wire.name.ok_or(missing)?;
    // It stands between spaces in other commands, as a queue's name does.
    check_queue(&schedule).map_err(|reason| invalid("name", reason))?;
    let missed = missed(wire.missed, wire.missed_max, wire.missed_window)?;
    let job = wire.job.ok_or(RequestError::Missing { command: PUT, field: "job" })?;
    Ok(CronPut {
        name: schedule,
        timing: timing(wire.cron, wire.every_ms, wire.at)?,
        zone: wire.zone.map(|Text(zone)| name(PUT, "zone", Some(zone))).transpose()?,
        missed,
        overlap: overlap(wire.overlap)?,
        jitter_ms: wire.jitter_ms.unwrap_or(0),
        starts: instant("starts", wire.starts)?,
        ends: instant("ends", wire.ends)?,
        runs_max: match wire.runs {
            Some(0) => return Err(invalid("runs", "must be at least 1")),
            runs => runs,
        },
        is_paused: wire.paused.unwrap_or(false),
        job: Template::parse(job.get(), limits.job_bytes_max)?,
        raw,
    })
}

fn timing<'a>(
    cron: Option<Text<'a>>,
    every_ms: Option<u64>,
    at: Option<Text<'a>>,
) -> Result<Timing<'a>, RequestError> {
    match (cron, every_ms, at) {
        (Some(Text(cron)), None, None) => Ok(Timing::Cron(cron)),
        (None, Some(0), None) => Err(invalid("every_ms", "must be at least 1")),
        (None, Some(every_ms), None) => Ok(Timing::EveryMs(every_ms)),
        (None, None, Some(at)) => {
            instant("at", Some(at))?.map(Timing::Once).ok_or(invalid("at", INSTANT))
        }
        _ => Err(RequestError::Usage { command: PUT, usage: "one of `cron`, `every_ms` and `at`" }),
    }
}

const INSTANT: &str = "must be an instant by RFC 3339, such as 2026-03-01T12:00:00Z";

fn instant(field: &'static str, text: Option<Text<'_>>) -> Result<Option<Timestamp>, RequestError> {
    let text = text.map_or(Ok(None), |Text(text)| instant_text(&text));
    text.map_err(|()| invalid(field, INSTANT))
}

fn missed(
    policy: Option<Text<'_>>,
    count_max: Option<u32>,
    window: Option<u64>,
) -> Result<Missed, RequestError> {
    let policy = match policy.as_ref().map(|Text(policy)| &**policy) {
        Some("skip") => Missed::Skip,
        None | Some("one") => Missed::One,
        Some("all") => {
            let count_max = count_max.unwrap_or(MISSED_COUNT_DEFAULT);
            if !(1..=MISSED_COUNT_MAX).contains(&count_max) {
                return Err(invalid("missed_max", "must be 1 to 10000"));
            }
            let window_seconds = window.unwrap_or(MISSED_WINDOW_SECONDS_DEFAULT);
            return Ok(Missed::All { count_max, window_seconds });
        }
        Some(_) => return Err(invalid("missed", "must be skip, one or all")),
    };
    if count_max.is_some() || window.is_some() {
        return Err(invalid("missed_max` or `missed_window", "needs `missed` to be \"all\""));
    }
    Ok(policy)
}

fn overlap(policy: Option<Text<'_>>) -> Result<Overlap, RequestError> {
    match policy.as_ref().map(|Text(policy)| &**policy) {
        None | Some("allow") => Ok(Overlap::Allow),
        Some("skip") => Ok(Overlap::Skip),
        Some("queue") => Ok(Overlap::Queue),
        Some("replace") => Ok(Overlap::Replace),
        Some(_) => Err(invalid("overlap", "must be allow, skip, queue or replace")),
    }
}

fn invalid(field: &'static str, reason: &'static str) -> RequestError {
    RequestError::Invalid { command: PUT, field, reason }
}
