//! Values as text: durations, sizes, instants. Text that is not exactly right is refused.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::{Duration, SystemTime};

use toml::value::{Datetime, Offset};

/// Why a value is refused. The text completes "field `x`: …".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ValueError {
    /// Another type is needed.
    #[error("expected {expected}, found {found}")]
    Type {
        /// What is needed.
        expected: &'static str,
        /// What is there.
        found: &'static str,
    },
    /// Not a duration.
    #[error(
        "{text:?} is not a duration: write numbers with the units ms, s, m, h or d, largest first"
    )]
    Duration {
        /// The text.
        text: String,
    },
    /// Not a size.
    #[error(
        "{text:?} is not a size: write a whole number with one of the units B, kB, KiB, MB or MiB"
    )]
    Size {
        /// The text.
        text: String,
    },
    /// Not an instant.
    #[error("{text:?} is not an instant: {reason}")]
    Instant {
        /// The text.
        text: String,
        /// What it lacks.
        reason: &'static str,
    },
    /// Outside the limits.
    #[error("{value} is out of range: {min} to {max} are possible")]
    Range {
        /// The value as understood.
        value: String,
        /// The least possible.
        min: String,
        /// The greatest possible.
        max: String,
    },
    /// Any other rule, in words.
    #[error("{0}")]
    Rule(String),
}

/// Reads a duration: `250ms`, `10s`, `15m`, `2h`, `1d`, or several units, largest first: `1h30m`.
///
/// # Errors
/// [`ValueError::Duration`] for anything else, such as a number without a unit.
pub fn duration(text: &str) -> Result<Duration, ValueError> {
    parse_duration(text).ok_or_else(|| ValueError::Duration { text: text.to_owned() })
}

fn parse_duration(text: &str) -> Option<Duration> {
    const UNITS: [(&str, u64); 5] =
        [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
    let mut rest = text;
    let mut units = UNITS.iter();
    let mut total_ms = 0u64;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let (number, after) = split_number(rest)?;
        let unit_len = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (unit, after) = after.split_at(unit_len);
        // The iterator goes on from the last unit, so a unit can neither repeat nor grow.
        let (_, unit_ms) = units.find(|(name, _)| *name == unit)?;
        total_ms = total_ms.checked_add(number.checked_mul(*unit_ms)?)?;
        rest = after;
    }
    Some(Duration::from_millis(total_ms))
}

/// Reads a size in bytes: `512B`, `10kB` (10 000), `64KiB` (65 536), `1MB`, `1MiB`.
///
/// # Errors
/// [`ValueError::Size`] for anything else.
pub fn size_bytes(text: &str) -> Result<u64, ValueError> {
    parse_size(text).ok_or_else(|| ValueError::Size { text: text.to_owned() })
}

fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = split_number(text)?;
    let unit_bytes = match unit {
        "B" => 1,
        "kB" => 1000,
        "KiB" => 1 << 10,
        "MB" => 1_000_000,
        "MiB" => 1 << 20,
        _ => return None,
    };
    number.checked_mul(unit_bytes)
}

fn split_number(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = text.split_at(digits);
    Some((number.parse().ok()?, rest))
}

/// Where instants end, as the engine's calendar does: 2200-01-01T00:00:00Z in seconds since 1970.
const INSTANT_SECONDS_END: u64 = 7_258_118_400;

/// Reads an instant in RFC 3339 form, such as `2026-12-01T08:00:00+01:00`.
///
/// # Errors
/// [`ValueError::Instant`] for anything else; the offset may not be missing.
pub fn instant(text: &str) -> Result<SystemTime, ValueError> {
    let refuse = |reason| ValueError::Instant { text: text.to_owned(), reason };
    let datetime: Datetime =
        text.parse().map_err(|_| refuse("write date, T, time and the offset from UTC"))?;
    instant_of(&datetime).map_err(refuse)
}

/// The instant that a complete date and time means.
pub(super) fn instant_of(datetime: &Datetime) -> Result<SystemTime, &'static str> {
    let (Some(date), Some(time)) = (datetime.date, datetime.time) else {
        return Err("it needs both a date and a time");
    };
    let offset_minutes = match datetime.offset {
        Some(Offset::Z) => 0,
        Some(Offset::Custom { minutes }) => i64::from(minutes),
        None => return Err("it needs its offset from UTC, such as Z or +01:00"),
    };
    let second = time.second.unwrap_or(0);
    if second > 59 {
        return Err("leap seconds are not counted; use second 59");
    }
    let day = days_from_epoch(i64::from(date.year), i64::from(date.month), i64::from(date.day));
    let seconds = day * 86_400
        + i64::from(time.hour) * 3600
        + i64::from(time.minute) * 60
        + i64::from(second)
        - offset_minutes * 60;
    let seconds = u64::try_from(seconds).map_err(|_| "it lies before 1970")?;
    if seconds >= INSTANT_SECONDS_END {
        return Err("it lies after 2199 in UTC");
    }
    Ok(SystemTime::UNIX_EPOCH + Duration::new(seconds, time.nanosecond.unwrap_or(0)))
}

/// Days from 1970-01-01 in the Gregorian calendar. Years are counted from March, so that the leap
/// day is the last of its year; a cycle of 400 years has 146 097 days.
fn days_from_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let cycle = year.div_euclid(400);
    let year_of_cycle = year.rem_euclid(400);
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_cycle = year_of_cycle * 365 + year_of_cycle / 4 - year_of_cycle / 100 + day_of_year;
    cycle * 146_097 + day_of_cycle - 719_468
}

/// A duration as the configuration writes it, exact to the millisecond.
pub fn format_duration(duration: Duration) -> String {
    let mut rest = duration.as_millis();
    let mut text = String::new();
    for (unit, unit_ms) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)] {
        if rest >= unit_ms {
            text.push_str(&format!("{}{unit}", rest / unit_ms));
            rest %= unit_ms;
        }
    }
    match (rest, text.is_empty()) {
        (0, true) => "0s".to_owned(),
        (0, false) => text,
        (rest, _) => format!("{text}{rest}ms"),
    }
}

/// Checks a duration against its limits.
pub(super) fn duration_within(
    value: Duration,
    (min, max): (Duration, Duration),
) -> Result<Duration, ValueError> {
    within(value, min..=max, |value| format_duration(*value))
}

/// Checks a number against its limits.
pub(super) fn number_within(value: u64, (min, max): (u64, u64)) -> Result<u64, ValueError> {
    within(value, min..=max, u64::to_string)
}

fn within<T: PartialOrd>(
    value: T,
    range: RangeInclusive<T>,
    show: impl Fn(&T) -> String,
) -> Result<T, ValueError> {
    if range.contains(&value) {
        return Ok(value);
    }
    let (value, min, max) = (show(&value), show(range.start()), show(range.end()));
    Err(ValueError::Range { value, min, max })
}

/// A rule's error, in words.
pub(super) fn rule(text: impl fmt::Display) -> ValueError {
    ValueError::Rule(text.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let good = [
            ("250ms", 250),
            ("10s", 10_000),
            ("15m", 900_000),
            ("2h", 7_200_000),
            ("1d", 86_400_000),
            ("1h30m", 5_400_000),
            ("1m1ms", 60_001),
            ("0s", 0),
        ];
        for (text, ms) in good {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in [
            "",
            "10",
            "s",
            "10 s",
            "1.5h",
            "-1s",
            "30m1h",
            "1h1h",
            "1w",
            "99999999999999999d",
            "1S",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_print_as_they_are_read() {
        for text in ["250ms", "10s", "15m", "1h30m", "1d", "1m1ms", "0s", "30d"] {
            assert_eq!(format_duration(duration(text).unwrap()), text);
        }
    }

    #[test]
    fn sizes() {
        let good =
            [("0B", 0), ("64KiB", 65_536), ("1MiB", 1 << 20), ("10kB", 10_000), ("2MB", 2_000_000)];
        for (text, bytes) in good {
            assert_eq!(size_bytes(text), Ok(bytes), "{text}");
        }
        for text in ["", "64", "KiB", "64 KiB", "64kib", "1.5MiB", "99999999999999999999MiB"] {
            assert!(size_bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn instants() {
        let seconds = |text: &str| {
            instant(text).map(|at| at.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs())
        };
        assert_eq!(seconds("1970-01-01T00:00:00Z"), Ok(0));
        assert_eq!(seconds("2000-03-01T00:00:00Z"), Ok(951_868_800));
        assert_eq!(seconds("2024-02-29T23:59:59Z"), Ok(1_709_251_199));
        assert_eq!(seconds("2199-12-31T23:59:59Z"), Ok(INSTANT_SECONDS_END - 1));
        assert_eq!(seconds("2200-01-01T11:59:59+12:00"), Ok(INSTANT_SECONDS_END - 1));
        assert_eq!(seconds("2026-12-01T08:00:00+01:00"), Ok(1_796_108_400));
        for text in [
            "2026-12-01",
            "2026-12-01T08:00:00",
            "1969-12-31T23:59:59Z",
            "tomorrow",
            "2300-01-01T00:00:00Z",
            "2199-12-31T23:59:59-12:00",
        ] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
