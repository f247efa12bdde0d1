//! What a job says about its last failure. It must not know how retries are planned.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer};

use super::{JobError, instant_text};
use crate::{
    json::{Lines, Text, cut},
    limits,
};

/// The `failure` object of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Failure<'a> {
    /// Retries that have failed: 0 after the first attempt.
    pub retry_count: u32,
    /// Retries that are left.
    pub remaining: u32,
    /// When the last attempt failed.
    #[serde(serialize_with = "instant", skip_serializing_if = "Option::is_none")]
    pub failed_at: Option<Timestamp>,
    /// When the next attempt is due; `None` if there is none.
    #[serde(serialize_with = "instant", skip_serializing_if = "Option::is_none")]
    pub next_at: Option<Timestamp>,
    /// What the worker said. Only the first 1000 characters are kept.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub message: Cow<'a, str>,
    /// The type of the error. Only the first 100 characters are kept.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub errtype: Cow<'a, str>,
    /// Where it failed. Only the first 50 lines are kept.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub backtrace: Vec<Cow<'a, str>>,
}

fn instant<S: Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => serializer.collect_str(at),
        None => serializer.serialize_none(),
    }
}

#[derive(Deserialize)]
struct Wire<'a> {
    retry_count: Option<u32>,
    remaining: Option<i64>,
    #[serde(borrow)]
    failed_at: Option<Text<'a>>,
    #[serde(borrow)]
    next_at: Option<Text<'a>>,
    #[serde(borrow)]
    message: Option<Text<'a>>,
    #[serde(borrow)]
    errtype: Option<Text<'a>>,
    #[serde(borrow)]
    backtrace: Option<Lines<'a>>,
}

impl<'a> Failure<'a> {
    pub(super) fn parse(raw: &'a str) -> Result<Self, JobError> {
        if !raw.starts_with('{') {
            return Err(JobError::Invalid { field: "failure", reason: "must be an object" });
        }
        let wire: Wire<'a> = serde_json::from_str(raw)?;
        let at = |field, text: Option<Text<'a>>| {
            text.map_or(Ok(None), |Text(text)| instant_text(&text))
                .map_err(|()| JobError::Invalid { field, reason: "must be an instant by RFC 3339" })
        };
        let text = |text: Option<Text<'a>>, chars_max| {
            text.map_or(Cow::Borrowed(""), |Text(text)| cut(text, chars_max))
        };
        Ok(Self {
            retry_count: wire.retry_count.unwrap_or(0),
            // Other servers count below zero for jobs that are never tried again.
            remaining: wire.remaining.unwrap_or(0).clamp(0, u32::MAX.into()) as u32,
            failed_at: at("failure.failed_at", wire.failed_at)?,
            next_at: at("failure.next_at", wire.next_at)?,
            message: text(wire.message, limits::MESSAGE_CHARS_MAX),
            errtype: text(wire.errtype, limits::ERRTYPE_CHARS_MAX),
            backtrace: wire.backtrace.unwrap_or_default().0,
        })
    }
}
