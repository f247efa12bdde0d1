//! A job as a client makes it. It must not know how it is sent.

use std::borrow::Cow;

use serde::{Serialize, ser::SerializeMap};
use serde_json::value::RawValue;

use crate::json;

/// A job to push. What is `None` is left out, and the server's default holds.
///
/// ```
/// use tickwheel_protocol::NewJob;
///
/// let job = NewJob { queue: Some("mail".into()), ..NewJob::new("0123456789ab", "send") };
/// assert_eq!(job.to_json(), br#"{"jid":"0123456789ab","jobtype":"send","args":[],"queue":"mail"}"#);
/// ```
#[derive(Clone, Debug)]
pub struct NewJob<'a> {
    /// Chosen by the client, unique among living jobs: at least 8 characters, at most 255 bytes.
    pub jid: Cow<'a, str>,
    /// Which code handles it: 1 to 255 bytes.
    pub jobtype: Cow<'a, str>,
    /// Its arguments: a JSON array.
    pub args: Cow<'a, RawValue>,
    /// Name of its queue.
    pub queue: Option<Cow<'a, str>>,
    /// 0 to 9; 9 goes first.
    pub priority: Option<u8>,
    /// How long a worker may keep it, in seconds: up to 86,400.
    pub reserve_seconds: Option<u32>,
    /// When it is due.
    pub at: Option<jiff::Timestamp>,
    /// How often it is tried again; 0 drops it after one failure, −1 buries it.
    pub retry: Option<i32>,
    /// The `custom` object, as JSON.
    pub custom: Option<Cow<'a, RawValue>>,
}

impl<'a> NewJob<'a> {
    /// A job with no arguments and every default.
    #[must_use]
    pub fn new(jid: impl Into<Cow<'a, str>>, jobtype: impl Into<Cow<'a, str>>) -> Self {
        let none = RawValue::from_string("[]".to_owned()).expect("an empty array is JSON");
        Self {
            jid: jid.into(),
            jobtype: jobtype.into(),
            args: Cow::Owned(none),
            queue: None,
            priority: None,
            reserve_seconds: None,
            at: None,
            retry: None,
            custom: None,
        }
    }

    /// The job with these arguments.
    ///
    /// # Errors
    /// If `args` is not valid JSON. Whether it is an array, the server checks.
    pub fn with_args(self, args: &'a str) -> Result<Self, serde_json::Error> {
        Ok(Self { args: Cow::Borrowed(serde_json::from_str(args)?), ..self })
    }

    /// The job as JSON.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128 + self.args.get().len());
        json::write(&mut out, self);
        out
    }
}

impl Serialize for NewJob<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("jid", &self.jid)?;
        map.serialize_entry("jobtype", &self.jobtype)?;
        map.serialize_entry("args", &*self.args)?;
        if let Some(queue) = &self.queue {
            map.serialize_entry("queue", queue)?;
        }
        if let Some(priority) = self.priority {
            map.serialize_entry("priority", &priority)?;
        }
        if let Some(seconds) = self.reserve_seconds {
            map.serialize_entry("reserve_for", &seconds)?;
        }
        if let Some(at) = self.at {
            map.serialize_entry("at", &format_args!("{at}"))?;
        }
        if let Some(retry) = self.retry {
            map.serialize_entry("retry", &retry)?;
        }
        if let Some(custom) = &self.custom {
            map.serialize_entry("custom", &**custom)?;
        }
        map.end()
    }
}
