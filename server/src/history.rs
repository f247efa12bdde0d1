//! `tickwheel history`: what became of attempts, as text for a person and as JSON lines for a program.
//!
//! It reads the files of the history, and takes no part in the server that may write them. The fields
//! of the documents are listed in `docs/operations.md`.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use clap::Args;
use serde_json::{Value, json};
use tickwheel_engine::cron::format_time;
use tickwheel_engine::{
    AttemptOutcome, AttemptRecord, HistoryFiles, HistoryQuery, HistoryReadError, JobId, Next,
    worker::key_of,
};

use crate::config::value::{self, ValueError};
use crate::front::job_of;
use crate::problem::printable;

/// Attempts of one page that is read at a time.
const PAGE: usize = 1000;

/// What the command line says of a history.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  tickwheel history tickwheel-data                            the last twenty
  tickwheel history tickwheel-data --outcome failed --since 1d
  tickwheel history tickwheel-data --job 0-42 --oldest-first   one job, from its first attempt on
  tickwheel history tickwheel-data --kind send_mail --limit 1000 --json | jq -c .
  tickwheel history tickwheel-data --schedule backup --output

--job takes an id of the log, or the jid that a client chose. Times are RFC 3339 with an offset, or a
duration back from now: 90m, 7d. It only reads, and works while a server runs there.

Exit codes: 0 shown, 1 it could not be read, 2 bad input.")]
pub(crate) struct HistoryArgs {
    /// A data directory, or the folder of a history
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Only attempts of this job: its id, or its jid
    #[arg(long, value_name = "ID|JID")]
    job: Option<String>,
    /// Only of jobs of this kind
    #[arg(long)]
    kind: Option<String>,
    /// Only of jobs of this queue
    #[arg(long)]
    queue: Option<String>,
    /// Only of jobs that this schedule added
    #[arg(long)]
    schedule: Option<String>,
    /// Only those that ended so, e.g. failed, timed-out, lost; may be given several times
    #[arg(long = "outcome", value_name = "OUTCOME")]
    outcomes: Vec<AttemptOutcome>,
    /// Only those that ended at this time or later
    #[arg(long, value_name = "TIME|SPAN")]
    since: Option<String>,
    /// Only those that ended before this time
    #[arg(long, value_name = "TIME|SPAN")]
    until: Option<String>,
    /// Show at most so many
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
    /// The oldest first
    #[arg(long)]
    oldest_first: bool,
    /// Show the kept end of what each wrote
    #[arg(long)]
    output: bool,
    /// Print each attempt as a JSON document on a line of its own
    #[arg(long)]
    json: bool,
}

/// Why the history was not shown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HistoryCommandError {
    /// A time that is none.
    #[error("{0}; or write how long ago, e.g. 90m")]
    Time(#[from] ValueError),
    /// It could not be read.
    #[error(transparent)]
    Read(#[from] HistoryReadError),
    /// Standard output did not take it.
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
}

/// Runs `tickwheel history`.
pub(crate) fn run(args: &HistoryArgs, out: &mut dyn Write) -> Result<(), HistoryCommandError> {
    let mut query = query_of(args, SystemTime::now())?;
    let files = HistoryFiles::open(&args.dir)?;
    let mut left = args.limit;
    while left > 0 {
        let page = files.query(&query.clone().limit(left.min(PAGE)))?;
        for damage in &page.damage {
            tracing::warn!("the history is damaged: {}", printable(damage));
        }
        left -= page.attempts.len().min(left);
        for record in &page.attempts {
            let line = if args.json { json_line(record) } else { text(record, args.output) };
            match out.write_all(line.as_bytes()) {
                // A reader that went away, as `head` does, is no failure.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                written => written?,
            }
        }
        match page.next {
            Some(place) => query = query.after(place),
            None => break,
        }
    }
    match out.flush() {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

fn query_of(args: &HistoryArgs, now: SystemTime) -> Result<HistoryQuery, ValueError> {
    let mut query = HistoryQuery::new();
    if let Some(job) = &args.job {
        query = match job.parse::<JobId>().ok().or_else(|| job_of(job)) {
            Some(id) => query.job(id),
            None => query.key(key_of(job.as_bytes())),
        };
    }
    if let Some(kind) = &args.kind {
        query = query.kind(kind);
    }
    if let Some(queue) = &args.queue {
        query = query.queue(queue);
    }
    if let Some(schedule) = &args.schedule {
        query = query.schedule(schedule);
    }
    for outcome in &args.outcomes {
        query = query.outcome(*outcome);
    }
    if let Some(since) = &args.since {
        query = query.since(time_of(since, now)?);
    }
    if let Some(until) = &args.until {
        query = query.until(time_of(until, now)?);
    }
    Ok(if args.oldest_first { query.oldest_first() } else { query })
}

/// An instant, or how long ago it was.
fn time_of(text: &str, now: SystemTime) -> Result<SystemTime, ValueError> {
    match value::duration(text) {
        Ok(ago) => Ok(now.checked_sub(ago).unwrap_or(SystemTime::UNIX_EPOCH)),
        Err(_) => value::instant(text),
    }
}

fn shown(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let ns = i64::try_from(since.as_nanos()).ok();
    let text = ns.and_then(|ns| format_time(ns, "UTC").ok());
    text.map_or_else(|| format!("{since:?}"), |text| text.replace("+00:00[UTC]", "Z"))
}

fn took(record: &AttemptRecord) -> Option<Duration> {
    record.start.map(|start| record.end.duration_since(start).unwrap_or_default())
}

fn text(record: &AttemptRecord, with_output: bool) -> String {
    let job = &record.job;
    let mut line = format!(
        "{} {:<15} job {} {}",
        shown(record.end),
        record.outcome.name(),
        job.job,
        printable(&job.kind)
    );
    // Writing to a string cannot fail, here and below.
    let _ = match record.is_attempt {
        true => write!(line, ", attempt {}", record.attempt),
        false => write!(line, ", no attempt"),
    };
    if let Some(took) = took(record) {
        let _ = write!(line, ", took {took:.1?}");
    }
    if job.queue != "default" {
        let _ = write!(line, ", queue {}", printable(&job.queue));
    }
    if let Some(schedule) = &job.schedule {
        let _ = write!(line, ", schedule {}", printable(schedule));
    }
    match record.next {
        Next::Done => {}
        Next::Dead => line.push_str(", given up"),
        Next::Retry(at) => {
            let at = SystemTime::UNIX_EPOCH + Duration::from_nanos(at.0);
            let _ = write!(line, ", again at {}", shown(at));
        }
    }
    if !record.message.is_empty() {
        let _ = write!(line, ": {}", printable(&record.message));
    }
    line.push('\n');
    if with_output && let Some(output) = &record.output {
        for written in String::from_utf8_lossy(output).lines() {
            let _ = writeln!(line, "    | {}", printable(written));
        }
    }
    line
}

fn json_line(record: &AttemptRecord) -> String {
    let job = &record.job;
    let key = job.key.map(|key| key.0.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    let (next, again_at) = match record.next {
        Next::Done => ("done", None),
        Next::Dead => ("dead", None),
        Next::Retry(at) => {
            ("again", Some(shown(SystemTime::UNIX_EPOCH + Duration::from_nanos(at.0))))
        }
    };
    let output = record.output.as_ref().map(|output| String::from_utf8_lossy(output).into_owned());
    let document: Value = json!({
        "job": job.job.to_string(),
        "key": key,
        "kind": job.kind,
        "queue": job.queue,
        "schedule": job.schedule,
        "shard": record.shard.0,
        "attempt": record.attempt,
        "token": record.token,
        "is_attempt": record.is_attempt,
        "due": shown(job.due),
        "start": record.start.map(shown),
        "end": shown(record.end),
        "outcome": record.outcome.name(),
        "next": next,
        "again_at": again_at,
        "message": record.message,
        "output": output,
    });
    format!("{document}\n")
}
