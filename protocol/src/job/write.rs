//! A job given back with some fields changed. It copies all other bytes as they are, so that what
//! this crate does not know survives, down to the order of fields and the form of numbers.

use jiff::Timestamp;
use serde_json::value::RawValue;

use super::{Failure, Job, Template, is_given};
use crate::json;

/// The fields to change; `None` leaves a field as it is. A field that the job has is replaced where it
/// stands, another is added at the end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Edits<'e> {
    /// When the job is due.
    pub at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Option<Timestamp>,
    /// When it was put into its queue.
    pub enqueued_at: Option<Timestamp>,
    /// Its last failure.
    pub failure: Option<&'e Failure<'e>>,
}

/// A new value and the place of the old one.
struct Edit<'a, 'e> {
    name: &'static str,
    old: Option<&'a RawValue>,
    new: Value<'e>,
}

enum Value<'e> {
    Instant(Timestamp),
    Failure(&'e Failure<'e>),
}

impl<'a> Job<'a> {
    /// Appends the job to `out` as JSON on one line, with `edits` made.
    ///
    /// ```
    /// use tickwheel_protocol::{Edits, Failure, Job};
    ///
    /// let raw = r#"{"jid":"0123456789ab","jobtype":"mail","args":[1.0],"mine":{"b":1}}"#;
    /// let failure = Failure { remaining: 24, message: "no route".into(), ..Failure::default() };
    /// let mut out = Vec::new();
    /// let edits = Edits { failure: Some(&failure), ..Edits::default() };
    /// Job::parse(raw, 1 << 20)?.write_with(edits, &mut out);
    /// assert_eq!(
    ///     std::str::from_utf8(&out),
    ///     Ok(concat!(
    ///         r#"{"jid":"0123456789ab","jobtype":"mail","args":[1.0],"mine":{"b":1},"#,
    ///         r#""failure":{"retry_count":0,"remaining":24,"message":"no route"}}"#
    ///     ))
    /// );
    /// # Ok::<(), tickwheel_protocol::JobError>(())
    /// ```
    pub fn write_with(&self, edits: Edits<'_>, out: &mut Vec<u8>) {
        let places = self.places;
        let instant = |name, old, at: Option<Timestamp>| {
            at.map(|at| Edit { name, old, new: Value::Instant(at) })
        };
        let mut all = [
            instant("at", places.at, edits.at),
            instant("created_at", places.created_at, edits.created_at),
            instant("enqueued_at", places.enqueued_at, edits.enqueued_at),
            edits.failure.map(|failure| Edit {
                name: "failure",
                old: places.failure,
                new: Value::Failure(failure),
            }),
        ];
        // In the order of the places; what has none comes last.
        all.sort_by_key(|edit| {
            edit.as_ref().and_then(|edit| edit.old).map_or(usize::MAX, |old| self.offset(old))
        });
        let raw = self.raw.as_bytes();
        let mut copied = 0;
        for Edit { name, old, new } in all.into_iter().flatten() {
            if let Some(old) = old {
                let start = self.offset(old);
                out.extend_from_slice(&raw[copied..start]);
                new.write(out);
                copied = start + old.get().len();
            } else {
                // The last byte is the brace that closes the object, which is never empty.
                out.extend_from_slice(&raw[copied..raw.len() - 1]);
                copied = raw.len() - 1;
                out.extend_from_slice(b",\"");
                out.extend_from_slice(name.as_bytes());
                out.extend_from_slice(b"\":");
                new.write(out);
            }
        }
        out.extend_from_slice(&raw[copied..]);
    }

    /// Whether the job says when it was put into a queue.
    #[must_use]
    pub fn has_enqueued_at(&self) -> bool {
        is_given(self.places.enqueued_at)
    }

    /// Where a value that was borrowed from `raw` begins in it.
    fn offset(&self, value: &RawValue) -> usize {
        value.get().as_ptr().addr() - self.raw.as_ptr().addr()
    }
}

impl Template<'_> {
    /// Appends a job of this template to `out` as JSON, with the given `jid` and with `edits` made.
    ///
    /// # Panics
    /// If the jid has fewer than 8 characters or more than 255 bytes, so that no job with it could be
    /// read again.
    pub fn write_job(&self, jid: &str, edits: Edits<'_>, out: &mut Vec<u8>) {
        assert!(super::check_jid(jid.into()).is_ok(), "a jid has 8 characters to 255 bytes");
        let begin = out.len();
        self.job().write_with(edits, out);
        let mut first = b"{\"jid\":".to_vec();
        json::write(&mut first, jid);
        first.push(b',');
        // The object is never empty and begins with its brace.
        out.splice(begin..=begin, first);
    }
}

impl Value<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Instant(at) => json::write(out, &format_args!("{at}")),
            Self::Failure(failure) => json::write(out, failure),
        }
    }
}
