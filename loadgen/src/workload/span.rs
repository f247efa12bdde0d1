//! Durations as the command line writes them. It knows text and time, nothing else.

use std::{fmt, str::FromStr, time::Duration};

/// A duration as the command line has it: a whole number followed by `ns`, `us`, `ms`, `s`, `m` or
/// `h`; a lone `0` needs no unit.
///
/// ```
/// use std::time::Duration;
/// use tickwheel_loadgen::DurationText;
/// assert_eq!("90s".parse(), Ok(DurationText(Duration::from_secs(90))));
/// assert_eq!(DurationText(Duration::from_micros(1500)).to_string(), "1500us");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DurationText(pub Duration);

/// A text that is no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no duration: write a whole number and its unit, such as 500us, 1ms, 2s or 5m")]
pub struct ParseDurationError(String);

const UNITS: [(&str, u64); 6] = [
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1000),
    ("ns", 1),
];

impl FromStr for DurationText {
    type Err = ParseDurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits_len = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (digits, unit) = text.split_at(digits_len);
        let number: Option<u64> = digits.parse().ok();
        let ns = match (number, UNITS.iter().find(|(name, _)| *name == unit)) {
            (Some(0), None) if unit.is_empty() => Some(0),
            (Some(number), Some((_, unit_ns))) => number.checked_mul(*unit_ns),
            _ => None,
        };
        let ns = ns.ok_or_else(|| ParseDurationError(text.to_owned()))?;
        Ok(Self(Duration::from_nanos(ns)))
    }
}

impl fmt::Display for DurationText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ns = self.0.as_nanos();
        let whole = UNITS.iter().skip(2).find(|(_, unit_ns)| ns.is_multiple_of((*unit_ns).into()));
        match whole {
            Some((unit, unit_ns)) if ns > 0 => write!(f, "{}{unit}", ns / u128::from(*unit_ns)),
            _ => f.write_str("0"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written() {
        for text in ["0", "1ns", "500us", "1ms", "90s"] {
            assert_eq!(text.parse::<DurationText>().unwrap().to_string(), text);
        }
        assert_eq!("2m".parse(), Ok(DurationText(Duration::from_secs(120))));
        for text in ["", "1", "ms", "-1s", "1.5s", "1 s", "1d", "99999999999h"] {
            assert!(text.parse::<DurationText>().is_err(), "{text}");
        }
    }
}
