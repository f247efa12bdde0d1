//! A job as the wire knows it: what routes it is read and checked, the rest is carried as the bytes
//! that came. It must not know where a job is kept or when it runs.

mod custom;
mod failure;
mod new;
mod write;

use std::borrow::Cow;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

pub use custom::{Custom, UniqueUntil};
pub use failure::Failure;
pub use new::NewJob;
pub use write::Edits;

use crate::{
    json::{Text, as_it_stands},
    limits,
};

/// A checked job. It borrows from the line that it came in; only texts with escapes are copied.
///
/// `raw` is the whole JSON, with every field that this crate does not know. [`Job::write_with`] gives
/// it back with some fields changed and all others untouched.
///
/// ```
/// use tickwheel_protocol::{Job, Retry};
///
/// let raw = r#"{"jid":"0123456789ab","jobtype":"mail","args":[1,"two"],"mine":true}"#;
/// let job = Job::parse(raw, 1 << 20)?;
/// assert_eq!((&*job.jid, &*job.queue, job.args), ("0123456789ab", "default", r#"[1,"two"]"#));
/// assert_eq!((job.retry, job.reserve_seconds), (Retry::Times(25), 1800));
/// # Ok::<(), tickwheel_protocol::JobError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Job<'a> {
    /// Chosen by the client: at least 8 characters, at most 255 bytes.
    pub jid: Cow<'a, str>,
    /// Which code handles it: 1 to 255 bytes.
    pub jobtype: Cow<'a, str>,
    /// Name of its queue: 1 to 255 bytes, no white space. `default` if none is given.
    pub queue: Cow<'a, str>,
    /// Its arguments: a JSON array, as it came.
    pub args: &'a str,
    /// 0 to 9; 9 goes first. `None` if none is given.
    pub priority: Option<u8>,
    /// How long a worker may keep it: 60 to 86,400 seconds. Default 1800.
    pub reserve_seconds: u32,
    /// When it is due; `None` is at once.
    pub at: Option<Timestamp>,
    /// What follows when it fails.
    pub retry: Retry,
    /// How many lines of backtrace its client wants kept. Default 0.
    pub backtrace_lines: u32,
    /// What the client asked for in `custom`.
    pub custom: Custom<'a>,
    /// The whole job as JSON, without white space around it.
    pub raw: &'a str,
    places: Places<'a>,
}

/// What follows when a job fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// It is forgotten (`0` on the wire).
    Never,
    /// It goes to the dead set at once (a negative number on the wire).
    Bury,
    /// It is tried again up to so many times, then goes to the dead set. At least 1.
    Times(u32),
}

/// The values that an edit replaces, as they stand in `raw`.
#[derive(Clone, Copy, Debug, Default)]
struct Places<'a> {
    at: Option<&'a RawValue>,
    created_at: Option<&'a RawValue>,
    enqueued_at: Option<&'a RawValue>,
    failure: Option<&'a RawValue>,
}

/// Why a job is refused. The connection stays in step.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JobError {
    /// It has more bytes than the server takes.
    #[error(
        "the job has {len_bytes} bytes, at most {max_bytes} are taken; keep large data elsewhere and pass its name"
    )]
    TooLarge {
        /// Its length.
        len_bytes: usize,
        /// The bound.
        max_bytes: usize,
    },
    /// It is no JSON object, or a field has the wrong type or comes twice.
    #[error("the job is not a valid JSON object: {0}")]
    Json(#[from] serde_json::Error),
    /// A required field is missing or null.
    #[error("the job needs `{0}`")]
    Missing(&'static str),
    /// A field has a value that is not allowed.
    #[error("the job's `{field}` {reason}")]
    Invalid {
        /// Name of the field.
        field: &'static str,
        /// What is needed, as the rest of a sentence.
        reason: &'static str,
    },
}

impl<'a> Job<'a> {
    /// Reads and checks a job of at most `bytes_max` bytes. Fields that are `null` count as absent.
    ///
    /// Cost is one pass over `raw`; nothing is allocated unless a text has escapes, an array or object
    /// is nested, or the job is refused.
    ///
    /// # Errors
    /// The first thing about it that is not allowed.
    pub fn parse(raw: &'a str, bytes_max: usize) -> Result<Self, JobError> {
        let (job, jid) = parse(raw, bytes_max)?;
        let Some(Text(jid)) = jid else {
            return Err(JobError::Missing("jid"));
        };
        Ok(Self { jid: check_jid(jid)?, ..job })
    }

    /// Whether the job says when it was made, which a server adds if it does not.
    #[must_use]
    pub fn has_created_at(&self) -> bool {
        is_given(self.places.created_at)
    }

    /// What the job says about its last failure.
    ///
    /// # Errors
    /// [`JobError::Json`] or [`JobError::Invalid`] if that is not an object of the known form. It is
    /// looked at only here, since a client that pushes a job has no business with it.
    pub fn failure(&self) -> Result<Option<Failure<'a>>, JobError> {
        self.places
            .failure
            .filter(|raw| is_given(Some(raw)))
            .map(|raw| Failure::parse(raw.get()))
            .transpose()
    }

    /// The jid of what may be a job that [`Job::parse`] refused, to name it in a reply.
    #[must_use]
    pub fn jid_of(raw: &'a str) -> Option<Cow<'a, str>> {
        #[derive(Deserialize)]
        struct Named<'a> {
            #[serde(borrow)]
            jid: Option<Text<'a>>,
        }
        serde_json::from_str::<Named<'a>>(raw).ok()?.jid.map(|Text(jid)| jid)
    }
}

/// A job without a jid: what a schedule adds at each of its fire times.
#[derive(Clone, Debug)]
pub struct Template<'a>(Job<'a>);

impl<'a> Template<'a> {
    /// Reads and checks a job that must not have a jid or a due time.
    ///
    /// # Errors
    /// As [`Job::parse`].
    pub fn parse(raw: &'a str, bytes_max: usize) -> Result<Self, JobError> {
        let (job, jid) = parse(raw, bytes_max)?;
        if jid.is_some() {
            let reason = "is given by the schedule at each run; leave it out";
            return Err(JobError::Invalid { field: "jid", reason });
        }
        if job.places.at.is_some() {
            let reason = "follows from the schedule; leave it out";
            return Err(JobError::Invalid { field: "at", reason });
        }
        Ok(Self(job))
    }

    /// Its fields. The jid is empty.
    #[must_use]
    pub fn job(&self) -> &Job<'a> {
        &self.0
    }
}

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    jid: Option<Text<'a>>,
    #[serde(borrow)]
    jobtype: Option<Text<'a>>,
    #[serde(borrow)]
    args: Option<&'a RawValue>,
    #[serde(borrow)]
    queue: Option<Text<'a>>,
    priority: Option<i64>,
    reserve_for: Option<i64>,
    retry: Option<i64>,
    backtrace: Option<i64>,
    #[serde(borrow)]
    custom: Option<custom::Wire<'a>>,
    #[serde(borrow, default, deserialize_with = "as_it_stands")]
    at: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "as_it_stands")]
    created_at: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "as_it_stands")]
    enqueued_at: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "as_it_stands")]
    failure: Option<&'a RawValue>,
}

/// Everything but the jid, which is handed back as it came.
fn parse<'a>(raw: &'a str, bytes_max: usize) -> Result<(Job<'a>, Option<Text<'a>>), JobError> {
    let raw = raw.trim_matches([' ', '\t', '\r', '\n']);
    if raw.len() > bytes_max {
        return Err(JobError::TooLarge { len_bytes: raw.len(), max_bytes: bytes_max });
    }
    // A derived reader takes an array for a struct as well, by the order of its fields.
    if !raw.starts_with('{') {
        return Err(JobError::Missing("jid, jobtype and args in a JSON object"));
    }
    let wire: Wire<'a> = serde_json::from_str(raw)?;
    let Some(Text(jobtype)) = wire.jobtype else {
        return Err(JobError::Missing("jobtype"));
    };
    check_len("jobtype", &jobtype)?;
    let Some(args) = wire.args.map(RawValue::get) else {
        return Err(JobError::Missing("args"));
    };
    if !args.starts_with('[') {
        return Err(JobError::Invalid { field: "args", reason: "must be an array" });
    }
    let queue = wire.queue.map_or(Cow::Borrowed(""), |Text(queue)| queue);
    let queue = if queue.is_empty() { Cow::Borrowed(limits::QUEUE_DEFAULT) } else { queue };
    check_queue(&queue).map_err(|reason| JobError::Invalid { field: "queue", reason })?;
    let job = Job {
        jid: Cow::Borrowed(""),
        jobtype,
        queue,
        args,
        priority: wire.priority.map(check_priority).transpose()?,
        reserve_seconds: check_reserve(wire.reserve_for)?,
        at: instant("at", wire.at)?,
        retry: check_retry(wire.retry)?,
        backtrace_lines: wire.backtrace.map_or(0, |lines| lines.clamp(0, u32::MAX.into()) as u32),
        custom: wire.custom.map(custom::Wire::check).transpose()?.unwrap_or_default(),
        raw,
        places: Places {
            at: wire.at,
            created_at: wire.created_at,
            enqueued_at: wire.enqueued_at,
            failure: wire.failure,
        },
    };
    Ok((job, wire.jid))
}

fn check_jid(jid: Cow<'_, str>) -> Result<Cow<'_, str>, JobError> {
    // Counting characters is needed only where bytes do not settle it.
    if jid.len() < limits::JID_CHARS_MIN || jid.chars().count() < limits::JID_CHARS_MIN {
        return Err(JobError::Invalid { field: "jid", reason: "must have at least 8 characters" });
    }
    check_len("jid", &jid)?;
    Ok(jid)
}

fn check_len(field: &'static str, name: &str) -> Result<(), JobError> {
    match name.len() {
        0 => Err(JobError::Invalid { field, reason: "must not be empty" }),
        1..=limits::NAME_BYTES_MAX => Ok(()),
        _ => Err(JobError::Invalid { field, reason: "must have at most 255 bytes" }),
    }
}

/// Checks the name of a queue, which stands between spaces in other commands.
pub(crate) fn check_queue(name: &str) -> Result<(), &'static str> {
    if name.is_empty() || name.len() > limits::NAME_BYTES_MAX {
        return Err("must have 1 to 255 bytes");
    }
    if name.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err("must not contain white space or control characters");
    }
    if name == "*" {
        return Err("must not be *, which stands for all queues");
    }
    Ok(())
}

fn check_priority(priority: i64) -> Result<u8, JobError> {
    u8::try_from(priority)
        .ok()
        .filter(|priority| *priority <= limits::PRIORITY_MAX)
        .ok_or(JobError::Invalid { field: "priority", reason: "must be 0 to 9" })
}

fn check_reserve(seconds: Option<i64>) -> Result<u32, JobError> {
    match seconds {
        None | Some(0) => Ok(limits::RESERVE_SECONDS_DEFAULT),
        Some(seconds) if seconds > i64::from(limits::RESERVE_SECONDS_MAX) => {
            let reason = "must be at most 86400 seconds; extend the lease of a longer run";
            Err(JobError::Invalid { field: "reserve_for", reason })
        }
        Some(seconds) if seconds < 0 => {
            Err(JobError::Invalid { field: "reserve_for", reason: "must not be negative" })
        }
        Some(seconds) => Ok((seconds as u32).max(limits::RESERVE_SECONDS_MIN)),
    }
}

fn check_retry(retry: Option<i64>) -> Result<Retry, JobError> {
    match retry {
        None => Ok(Retry::Times(limits::RETRY_DEFAULT)),
        Some(0) => Ok(Retry::Never),
        Some(..0) => Ok(Retry::Bury),
        Some(times) => u32::try_from(times)
            .map(Retry::Times)
            .map_err(|_| JobError::Invalid { field: "retry", reason: "must fit in 32 bits" }),
    }
}

/// Reads an instant; an empty text is none, as encoders of fixed structs send it.
fn instant(field: &'static str, raw: Option<&RawValue>) -> Result<Option<Timestamp>, JobError> {
    let Some(raw) = raw.filter(|raw| is_given(Some(raw))) else {
        return Ok(None);
    };
    let Text(text) = serde_json::from_str(raw.get())?;
    instant_text(&text).map_err(|()| {
        let reason = "must be an instant by RFC 3339, such as 2026-03-01T12:00:00.5Z";
        JobError::Invalid { field, reason }
    })
}

/// Reads the text of an instant by RFC 3339; an empty one is none.
pub(crate) fn instant_text(text: &str) -> Result<Option<Timestamp>, ()> {
    if text.is_empty() {
        return Ok(None);
    }
    // The library reads forms beyond RFC 3339: other signs of years, hours alone, names of zones.
    let bytes = text.as_bytes();
    let has_form = bytes.len() >= 20
        && bytes[4] == b'-'
        && bytes[7] == b'-'
        && bytes[10].eq_ignore_ascii_case(&b't')
        && bytes[13] == b':'
        && bytes[16] == b':'
        && !text.contains('[');
    if !has_form {
        return Err(());
    }
    text.parse().map(Some).map_err(drop)
}

fn is_given(raw: Option<&RawValue>) -> bool {
    raw.is_some_and(|raw| raw.get() != "null")
}

#[cfg(test)]
mod tests;
