//! A job of the wire as one of the engine: what of it the engine has to know, and what it cannot do
//! yet. The engine's payload is the job's own JSON.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    ops::Range,
    time::{Duration, SystemTime},
};

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use tickwheel_engine::{Backoff, JobId, NewJob, ReadError, Unique, worker::Fetched};
use tickwheel_protocol::{Edits, Job, Retry, Template, UniqueUntil};

use super::{limits, names};

/// Attempts that the engine gives a job at the most.
const ATTEMPTS_MAX: u32 = 10_000;

/// What holds for all jobs that are pushed together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) now: Timestamp,
    pub(super) backoff: Backoff,
}

/// What the job asks for and cannot be.
pub(super) fn not_possible(job: &Job<'_>) -> Option<Cow<'static, str>> {
    if names::job_of(&job.jid).is_some() {
        return Some(Cow::Borrowed("a jid of this form is the server's own; choose another"));
    }
    let bid = job.custom.bid.as_deref()?;
    names::batch_of(bid).is_none().then(|| Cow::Owned(names::no_such_batch(bid)))
}

/// The job as the engine takes it, but for its payload, which is appended to `payloads`.
pub(super) fn to_engine(
    job: &Job<'_>,
    terms: Terms,
    payloads: &mut Vec<u8>,
) -> (NewJob, Range<usize>) {
    let begin = payloads.len();
    let edits = Edits {
        created_at: (!job.has_created_at()).then_some(terms.now),
        // One that is due later is in no queue yet.
        enqueued_at: (job.at.is_none() && !job.has_enqueued_at()).then_some(terms.now),
        ..Edits::default()
    };
    job.write_with(edits, payloads);
    let mut new = terms_of(job, terms.backoff).key(job.jid.as_bytes());
    if let Some(at) = job.at {
        new = new.at(system_time(at));
    }
    (new, begin..payloads.len())
}

/// What a schedule of this template adds, but for its payload.
pub(super) fn of_template(template: &Template<'_>, backoff: Backoff) -> NewJob {
    terms_of(template.job(), backoff)
}

/// What the engine has to know of a job beside its name, its time and its payload.
fn terms_of(job: &Job<'_>, backoff: Backoff) -> NewJob {
    let attempts_max = match job.retry {
        Retry::Never | Retry::Bury => 1,
        Retry::Times(times) => times.saturating_add(1).min(ATTEMPTS_MAX) as u16,
    };
    let mut new = NewJob::new(job.jobtype.to_string())
        .timeout(Duration::from_secs(job.reserve_seconds.into()))
        .attempts_max(attempts_max)
        // Who wants no retry at all wants to hear no more of it either.
        .keep_dead(job.retry != Retry::Never)
        .backoff(backoff);
    if job.queue != tickwheel_protocol::limits::QUEUE_DEFAULT {
        new = new.queue(job.queue.to_string());
    }
    if let Some(priority) = job.priority {
        new = new.priority(priority);
    }
    if let Some(span) = job.custom.unique_for {
        // What makes two jobs the same: a zero byte stands in none of the names.
        let name = [job.queue.as_bytes(), job.jobtype.as_bytes(), job.args.as_bytes()].join(&0);
        let unique = match job.custom.unique_until {
            UniqueUntil::Success => Unique::until_end(name),
            UniqueUntil::Start => Unique::until_start(name),
        };
        new = new.unique(unique.at_most(span));
    }
    if let Some(group) = job.custom.group.as_deref() {
        new = new.group(group);
    }
    for tag in &job.custom.tags {
        new = new.tag(tag);
    }
    if let Some(batch) = job.custom.bid.as_deref().and_then(names::batch_of) {
        new = new.batch(batch);
    }
    match (job.custom.expires_at, job.custom.expires_in) {
        (Some(at), _) => new.expires_at(system_time(at)),
        (None, Some(span)) => new.expires_in(span),
        (None, None) => new,
    }
}

/// Appends a fetched job as JSON.
///
/// # Errors
/// The log does not give it back; `out` is as before.
pub(super) fn append(job: &Fetched, out: &mut Vec<u8>) -> Result<(), ReadError> {
    let begin = out.len();
    job.payload.append_to(out)?;
    if job.key.is_none() {
        let raw = std::str::from_utf8(&out[begin..]);
        let whole = raw.ok().and_then(|raw| of_run(job.job, raw).or_else(|| renamed(job.job, raw)));
        if let Some(whole) = whole {
            out.truncate(begin);
            out.extend_from_slice(&whole);
        }
    }
    Ok(())
}

/// The job of a run of a schedule, whose payload is the schedule; `None` if it is the job already, as
/// after a failure.
pub(super) fn of_run(id: JobId, raw: &str) -> Option<Vec<u8>> {
    #[derive(Deserialize)]
    struct Definition<'a> {
        #[serde(borrow)]
        job: &'a RawValue,
    }
    if Job::jid_of(raw).is_some() {
        return None;
    }
    let definition: Definition<'_> = serde_json::from_str(raw).ok()?;
    let template = Template::parse(definition.job.get(), limits::PAYLOAD_BYTES_MAX).ok()?;
    let mut job = Vec::with_capacity(raw.len());
    template.write_job(&names::jid_of(id), Edits::default(), &mut job);
    Some(job)
}

/// A job without a key that says to have a jid: a callback of a batch that was added while another job had that
/// jid. It gets one by which it can be told from that; `None` if it has it already.
fn renamed(id: JobId, raw: &str) -> Option<Vec<u8>> {
    let own = names::jid_of(id);
    if Job::jid_of(raw)? == own {
        return None;
    }
    let mut fields: BTreeMap<String, &RawValue> = serde_json::from_str(raw).ok()?;
    let jid = serde_json::value::to_raw_value(&own).ok()?;
    fields.insert("jid".to_owned(), &jid);
    serde_json::to_vec(&fields).ok()
}

/// An instant before 1970 is as good as 1970: it has passed.
pub(super) fn system_time(at: Timestamp) -> SystemTime {
    let since = Duration::try_from(at.duration_since(Timestamp::UNIX_EPOCH)).unwrap_or_default();
    SystemTime::UNIX_EPOCH + since
}

/// An instant as the protocol writes it; `None` beyond its calendar.
pub(super) fn instant_text(at: SystemTime) -> Option<String> {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    let at = Timestamp::from_microsecond(i64::try_from(since.as_micros()).ok()?).ok()?;
    Some(at.to_string())
}

/// The present instant.
pub(super) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    // Microseconds are what clients send; more would only make jobs longer.
    let micros = i64::try_from(since.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_microsecond(micros).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_added_where_they_are_missing_and_all_else_stays() {
        let now = "2026-11-21T00:30:22.5Z".parse().unwrap();
        let terms = Terms { now, backoff: Backoff::quartic() };
        let check = |raw: &str, expected: &str| {
            let mut payloads = b"before".to_vec();
            let (_, range) = to_engine(&Job::parse(raw, 1 << 20).unwrap(), terms, &mut payloads);
            assert_eq!(std::str::from_utf8(&payloads[range]), Ok(expected));
        };
        check(
            r#"{"jid":"12345678","jobtype":"a","args":[1.0],"x":{}}"#,
            r#"{"jid":"12345678","jobtype":"a","args":[1.0],"x":{},"created_at":"2026-11-21T00:30:22.5Z","enqueued_at":"2026-11-21T00:30:22.5Z"}"#,
        );
        let later = r#"{"jid":"12345678","jobtype":"a","args":[],"at":"2027-01-01T00:00:00Z","created_at":"mine"}"#;
        check(later, later);
    }

    #[test]
    fn instants_come_through_and_those_before_the_epoch_have_passed() {
        let at = |text: &str| system_time(text.parse().unwrap());
        assert_eq!(at("1950-01-01T00:00:00Z"), SystemTime::UNIX_EPOCH);
        let expected = SystemTime::UNIX_EPOCH + Duration::new(951_868_800, 250_000_000);
        assert_eq!(at("2000-03-01T00:00:00.25Z"), expected);
    }

    #[test]
    fn a_callback_whose_jid_was_taken_is_told_by_another() {
        let raw = r#"{"jobtype":"a","jid":"12345678","args":[1.0],"x":{"y":"\u00e9"}}"#;
        let own = renamed(JobId(42), raw).unwrap();
        let own = std::str::from_utf8(&own).unwrap();
        let expected =
            r#"{"args":[1.0],"jid":"tw-000000000000002a","jobtype":"a","x":{"y":"\u00e9"}}"#;
        assert_eq!(own, expected);
        assert_eq!(renamed(JobId(42), own), None);
        assert_eq!(renamed(JobId(42), r#"{"args":[]}"#), None);
    }

    #[test]
    fn the_longest_job_fits_with_its_times() {
        use super::super::limits;
        let frame = r#"{"jid":"12345678","jobtype":"a","args":[""]}"#;
        let fill = "x".repeat(limits::REQUEST.job_bytes_max - frame.len());
        let raw = format!(r#"{{"jid":"12345678","jobtype":"a","args":["{fill}"]}}"#);
        let job = Job::parse(&raw, limits::REQUEST.job_bytes_max).unwrap();
        let mut payloads = Vec::new();
        let terms = Terms { now: now(), backoff: Backoff::quartic() };
        to_engine(&job, terms, &mut payloads);
        assert!(payloads.len() > raw.len() && payloads.len() <= limits::PAYLOAD_BYTES_MAX);
    }
}
