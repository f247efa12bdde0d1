//! What a job's `custom` asks of the server. It reads the known names and leaves the others alone.

use std::{borrow::Cow, time::Duration};

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{JobError, check_len, instant_text};
use crate::{
    json::{self, ArrayError, Count, Flag, Text},
    limits,
};

/// The known fields of `custom`. Others stay in the job's `raw`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Custom<'a> {
    /// How long no other job with the same jobtype, queue and arguments may be pushed: 1 second to
    /// ten years.
    pub unique_for: Option<Duration>,
    /// When uniqueness ends, if not by time.
    pub unique_until: UniqueUntil,
    /// An instant after which the job is not started any more.
    pub expires_at: Option<Timestamp>,
    /// A span after the push after which the job is not started any more: at most ten years.
    pub expires_in: Option<Duration>,
    /// Whether clients may ask for its state.
    pub track: bool,
    /// The batch that it belongs to: 1 to 255 bytes.
    pub bid: Option<Cow<'a, str>>,
    /// Its group within its queue: 1 to 255 bytes.
    pub group: Option<Cow<'a, str>>,
    /// Words to find it by: up to 16 of 1 to 64 bytes each.
    pub tags: Vec<Cow<'a, str>>,
}

/// When the uniqueness of a job ends, at the latest after its time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UniqueUntil {
    /// When it has succeeded.
    #[default]
    Success,
    /// When it is started.
    Start,
}

#[derive(Deserialize)]
pub(super) struct Wire<'a> {
    unique_for: Option<Count>,
    #[serde(borrow)]
    unique_until: Option<Text<'a>>,
    #[serde(borrow)]
    expires_at: Option<Text<'a>>,
    expires_in: Option<Count>,
    track: Option<Flag>,
    #[serde(borrow)]
    bid: Option<Text<'a>>,
    #[serde(borrow)]
    group: Option<Text<'a>>,
    #[serde(borrow)]
    tags: Option<&'a RawValue>,
}

impl<'a> Wire<'a> {
    pub(super) fn check(self) -> Result<Custom<'a>, JobError> {
        let unique_until = match self.unique_until.as_ref().map(|Text(until)| &**until) {
            None | Some("" | "success") => UniqueUntil::Success,
            Some("start") => UniqueUntil::Start,
            Some(_) => {
                let reason = "must be \"success\" or \"start\"";
                return Err(JobError::Invalid { field: "custom.unique_until", reason });
            }
        };
        let expires_at = self.expires_at.map_or(Ok(None), |Text(text)| instant_text(&text));
        let expires_at = expires_at.map_err(|()| JobError::Invalid {
            field: "custom.expires_at",
            reason: "must be an instant by RFC 3339, such as 2026-03-01T12:00:00.5Z",
        })?;
        let bid = self.bid.map(|Text(bid)| bid).filter(|bid| !bid.is_empty());
        if let Some(bid) = &bid {
            check_len("custom.bid", bid)?;
        }
        let group = self.group.map(|Text(group)| group).filter(|group| !group.is_empty());
        if let Some(group) = &group {
            check_len("custom.group", group)?;
        }
        Ok(Custom {
            // No time at all is no uniqueness: encoders of fixed structs send it.
            unique_for: span("custom.unique_for", self.unique_for)?.filter(|span| !span.is_zero()),
            unique_until,
            expires_at,
            expires_in: span("custom.expires_in", self.expires_in)?,
            track: self.track.is_some_and(|Flag(track)| track),
            bid,
            group,
            tags: self.tags.map_or(Ok(Vec::new()), |raw| tags(raw.get()))?,
        })
    }
}

fn tags(raw: &str) -> Result<Vec<Cow<'_, str>>, JobError> {
    let field = "custom.tags";
    let tags = json::array::<Text<'_>>(raw, limits::TAGS_MAX).map_err(|error| match error {
        ArrayError::TooMany => JobError::Invalid { field, reason: "must be at most 16" },
        ArrayError::Json(_) => JobError::Invalid { field, reason: "must be an array of texts" },
    })?;
    let fits = |Text(tag): &Text<'_>| (1..=limits::TAG_BYTES_MAX).contains(&tag.len());
    if !tags.iter().all(fits) {
        return Err(JobError::Invalid { field, reason: "must have 1 to 64 bytes each" });
    }
    Ok(tags.into_iter().map(|Text(tag)| tag).collect())
}

fn span(field: &'static str, seconds: Option<Count>) -> Result<Option<Duration>, JobError> {
    match seconds {
        Some(Count(seconds)) if seconds > limits::SPAN_SECONDS_MAX.into() => {
            Err(JobError::Invalid { field, reason: "must be at most ten years, in seconds" })
        }
        seconds => Ok(seconds.map(|Count(seconds)| Duration::from_secs(seconds))),
    }
}
