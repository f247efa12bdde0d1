//! Events as a person reads them: one line each.
//!
//! It must not know where an event lies.

use std::fmt;

use tickwheel_core::{
    JobId, QueueLimits,
    cron::format_time,
    event::{
        Attempts, BatchEndWritten, DecodeEventError, Event, Failure, JobAdded, JobChange,
        KeptState, RuleTiming,
    },
};

/// An event in words.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Description {
    /// What happened: `added`, `started`, …
    pub name: &'static str,
    /// The job that it happened to.
    pub job: Option<JobId>,
    /// When, in nanoseconds since 1970.
    pub at_ns: u64,
    /// The rest, in one line; control characters are escaped.
    pub text: String,
    /// Bytes of the job's payload behind the event's head.
    pub payload_bytes: usize,
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        if let Some(job) = self.job {
            write!(f, " job {job}")?;
        }
        if !self.text.is_empty() {
            write!(f, " {}", self.text)?;
        }
        write!(f, " at {}", time(self.at_ns))
    }
}

/// Says what the event in a record of the log is.
///
/// # Errors
/// If the bytes are not an event of this version.
pub fn describe(record: &[u8]) -> Result<Description, DecodeEventError> {
    let (event, payload) = Event::decode(record)?;
    let (name, job, at_ns, text) = match &event {
        Event::Added(job) => ("added", Some(job.job), job.at, added(job)),
        Event::Started { job, token, at } => ("started", Some(*job), *at, format!("token {token}")),
        Event::Succeeded { job, at } => ("succeeded", Some(*job), *at, String::new()),
        Event::Failed { job, at, failure, retry_at, message } => {
            let next = match retry_at {
                Some(at) => format!("tried again at {}", time(*at)),
                None => "dead".to_owned(),
            };
            let text = format!("{}, {next}, {message:?}", failure_name(*failure));
            ("failed", Some(*job), *at, text)
        }
        Event::Buried { job, at, failure, message } => {
            let text = format!("{}, {message:?}", failure_name(*failure));
            ("buried", Some(*job), *at, text)
        }
        Event::Changed { at, change, count } => {
            ("changed", None, *at, format!("{}, {}", changed(change), attempts(*count, payload)?))
        }
        Event::Cancelled { job, at } => ("cancelled", Some(*job), *at, String::new()),
        Event::Expired { job, at } => ("expired", Some(*job), *at, String::new()),
        Event::NeedSettled { job, on, at, met } => {
            let how = if *met { "as it has to" } else { "otherwise than it has to" };
            ("need settled", Some(*job), *at, format!("{} has ended {how}", JobId(*on)))
        }
        Event::UniqueKept { at, job, free_at, .. } => {
            ("unique kept", Some(*job), *at, format!("free {}", time(*free_at)))
        }
        Event::BatchPut { at, batch, .. } => {
            let counts = batch.counts;
            let text = format!(
                "{} {:?}: {} jobs, {} not ended",
                JobId(batch.batch),
                batch.description,
                counts.total,
                counts.open
            );
            ("batch put", None, *at, text)
        }
        Event::BatchSet { at, batch, until } => {
            let name = if until.is_some() { "batch opened" } else { "batch committed" };
            (name, None, *at, JobId(*batch).to_string())
        }
        Event::BatchCount { at, batch, counts } => {
            let text =
                format!("{}: {} jobs, {} not ended", JobId(*batch), counts.total, counts.open);
            ("batch count", None, *at, text)
        }
        Event::BatchOver { at, batch, end } => {
            let how = match end {
                BatchEndWritten::Succeeded => "succeeded",
                BatchEndWritten::Failed => "failed",
                BatchEndWritten::Expired => "expired",
                BatchEndWritten::Forgotten => "forgotten",
            };
            ("batch over", None, *at, format!("{} {how}", JobId(*batch)))
        }
        Event::Totals { at, expired } => ("totals", None, *at, format!("{expired} expired")),
        Event::SchedulePut { at, rule, next } => {
            let text = format!("{:?} {}, next {}", rule.name, timing(&rule.timing), maybe(*next));
            ("schedule put", None, *at, text)
        }
        Event::ScheduleFired { at, name, next, job, .. } => {
            let what = job.as_ref().map_or("nothing added".to_owned(), added);
            let text = format!("of {name:?}: {what}, next {}", maybe(*next));
            ("schedule fired", job.as_ref().map(|job| job.job), *at, text)
        }
        Event::ScheduleRemoved { at, name } => ("schedule removed", None, *at, format!("{name:?}")),
        Event::Released { job, at, due } => {
            ("released", Some(*job), *at, format!("due {}", time(*due)))
        }
        Event::Kept(kept) => {
            let state = match kept.state {
                KeptState::Scheduled => "scheduled",
                KeptState::Ready => "ready",
                KeptState::Running { .. } => "running",
                KeptState::Fetched { .. } => "fetched",
                KeptState::Dead { .. } => "dead",
                KeptState::Blocked => "blocked",
            };
            let text = format!("{state}, attempt {}, {}", kept.attempt, added(&kept.job));
            ("kept", Some(kept.job.job), kept.at, text)
        }
        Event::ScheduleKept { at, rule, next, fired, .. } => {
            let (name, timing) = (rule.name, timing(&rule.timing));
            let paused = if rule.options.paused.is_some() { ", paused" } else { "" };
            let next = maybe(*next);
            let text = format!("{name:?} {timing}, fired {fired} times, next {next}{paused}");
            ("schedule kept", None, *at, text)
        }
        Event::StartedMany { at, count } => ("started many", None, *at, attempts(*count, payload)?),
        Event::SucceededMany { at, count } => {
            ("succeeded many", None, *at, attempts(*count, payload)?)
        }
        Event::Fetched { at, count } => ("fetched", None, *at, attempts(*count, payload)?),
        Event::Extended { job, at, lease_end } => {
            ("extended", Some(*job), *at, format!("until {}", time(*lease_end)))
        }
        Event::QueueSet { at, name, paused } => {
            let name_of = if *paused { "queue paused" } else { "queue resumed" };
            (name_of, None, *at, format!("{name:?}"))
        }
        Event::SchedulePaused { at, name, note } => {
            ("schedule paused", None, *at, format!("{name:?}: {note:?}"))
        }
        Event::ScheduleResumed { at, name } => ("schedule resumed", None, *at, format!("{name:?}")),
        Event::QueueLimits { at, name, limits, .. } => {
            ("queue limited", None, *at, format!("{name:?} {}", limited(limits)))
        }
        Event::GroupsLimits { at, name, limits } => {
            ("groups limited", None, *at, format!("of {name:?} {}", limited(limits)))
        }
        Event::GroupLimits { at, name, group, limits } => {
            let limits = limits.as_ref().map_or("as the others".into(), limited);
            ("group limited", None, *at, format!("{group:?} of {name:?} {limits}"))
        }
        Event::QueueAging { at, name, span_ms } => {
            let span = span_ms.map_or("none".into(), |ms| format!("{ms} ms"));
            ("queue aging", None, *at, format!("{name:?} {span}"))
        }
        Event::GroupSpent { at, name, group, full_at } => {
            let text = format!("{group:?} of {name:?}: whole again {}", time(*full_at));
            ("group spent", None, *at, text)
        }
        Event::Base { at, next_sequence, added, succeeded, dead, cancelled, .. } => {
            let text = format!(
                "{added} added, {succeeded} succeeded, {dead} dead, {cancelled} cancelled, next job {next_sequence}"
            );
            ("base", None, *at, text)
        }
    };
    let payload_bytes = payload.len();
    Ok(Description { name, job: job.map(JobId), at_ns, text, payload_bytes })
}

fn added(job: &JobAdded<'_>) -> String {
    let expires = match job.terms.options.expires_at {
        Some(at) => format!(" expires {}", time(at)),
        None => String::new(),
    };
    let priority = job.terms.priority;
    format!("kind {:?} due {} priority {priority}{expires}", job.kind, time(job.due))
}

/// The jobs of a list.
fn attempts(count: u32, list: &[u8]) -> Result<String, DecodeEventError> {
    let mut text = String::from("jobs");
    for listed in Attempts::new(count, list) {
        let listed = listed?;
        text.push_str(&format!(" {} token {},", listed.job, listed.token.0));
    }
    text.pop();
    Ok(text)
}

fn limited(limits: &QueueLimits) -> String {
    let or_none = |limit: Option<u32>| limit.map_or("none".into(), |max| max.to_string());
    let rate = limits.rate.map_or("none".into(), |rate| {
        format!("{} per {} ms, burst {}", rate.jobs, rate.period_ms, rate.burst)
    });
    format!(
        "concurrency {}, rate {rate}, weight {}, length {}",
        or_none(limits.concurrency),
        limits.weight,
        or_none(limits.length)
    )
}

fn timing(timing: &RuleTiming<'_>) -> String {
    match timing {
        RuleTiming::Cron(expression, zone) => format!("cron {expression:?} in {zone:?}"),
        RuleTiming::Every(every_ns) => format!("every {} ms", every_ns / 1_000_000),
        RuleTiming::Once(Some(at)) => format!("once at {}", time(*at)),
        RuleTiming::Once(None) => "once".to_owned(),
    }
}

fn failure_name(failure: Failure) -> &'static str {
    match failure {
        Failure::Retryable => "failed",
        Failure::Permanent => "failed for good",
        Failure::Panicked => "panicked",
        Failure::TimedOut => "timed out",
        Failure::Lost => "lost",
        Failure::Killed => "killed",
    }
}

/// What was changed about jobs.
fn changed(change: &JobChange<'_>) -> String {
    match change {
        JobChange::Cancelled => "cancelled".to_owned(),
        JobChange::Discarded => "discarded".to_owned(),
        JobChange::Killed => "killed".to_owned(),
        JobChange::Requeued => "queued again".to_owned(),
        JobChange::Run => "due at once".to_owned(),
        JobChange::Due { due, .. } => format!("due {}", time(*due)),
        JobChange::Priority(priority) => format!("priority {priority}"),
        JobChange::Queue(name) => format!("queue {name:?}"),
    }
}

fn maybe(at_ns: Option<u64>) -> String {
    at_ns.map_or("never".to_owned(), time)
}

fn time(at_ns: u64) -> String {
    let formatted = i64::try_from(at_ns).ok().and_then(|at_ns| format_time(at_ns, "UTC").ok());
    match formatted {
        Some(text) => text.replace("+00:00[UTC]", "Z"),
        None => format!("{at_ns} ns"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_and_bytes_that_are_none_are_refused() {
        let mut bytes = Vec::new();
        let event = Event::Failed {
            job: 42,
            at: 1_800_000_000_500_000_000,
            failure: Failure::Retryable,
            retry_at: Some(1_800_000_060_000_000_000),
            message: "no\u{1b}[31m\nroute",
        };
        let len = event.encode(&mut bytes);
        let text = describe(&bytes[..len]).unwrap().to_string();
        assert_eq!(
            text,
            "failed job 0-42 failed, tried again at 2027-01-15T08:01:00Z, \
             \"no\\u{1b}[31m\\nroute\" at 2027-01-15T08:00:00.5Z"
        );
        describe(&[0xff; 20]).unwrap_err();
    }
}
