//! When appended bytes are synced: the modes and their text form.
//!
//! It must not know the threads that carry them out.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::limits::{INTERVAL_DEFAULT, INTERVAL_MAX};

/// When published records are synced to the disk.
///
/// In every mode [`Log::durable`](crate::Log::durable) rises only after a completed sync, and a
/// [release](crate::Log::release) or a [snapshot](crate::Log::snapshot) asks for one at once.
/// The text forms are `sync`, `interval` (50 ms), `interval(10ms)` and `os`; a time is a whole
/// number followed by `us`, `ms` or `s`, from 1 µs to one hour.
///
/// ```
/// use std::time::Duration;
/// use tickwheel_wal::Durability;
///
/// let mode: Durability = "interval(10ms)".parse()?;
/// assert_eq!(mode, Durability::Interval(Duration::from_millis(10)));
/// assert_eq!(mode.to_string(), "interval(10ms)");
/// # Ok::<(), tickwheel_wal::ParseDurabilityError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// A sync starts as soon as something is published; while one runs, the next gathers.
    #[default]
    Sync,
    /// At most one sync in this time, unless one is asked for. A power cut loses at most what this time brought.
    Interval(Duration),
    /// No sync except at the opening, at the closing, and when one is asked for: the operating system
    /// writes when it likes.
    /// A killed process loses nothing, a power cut may lose everything since the opening.
    Os,
}

/// A text that names no [`Durability`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a durability: write sync, interval, interval(10ms) or os \
     (a time is a whole number of us, ms or s, from 1us to 3600s)"
)]
pub struct ParseDurabilityError {
    text: String,
}

impl FromStr for Durability {
    type Err = ParseDurabilityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = match text {
            "sync" => Some(Durability::Sync),
            "interval" => Some(Durability::Interval(INTERVAL_DEFAULT)),
            "os" => Some(Durability::Os),
            _ => text
                .strip_prefix("interval(")
                .and_then(|rest| rest.strip_suffix(')'))
                .and_then(parse_interval)
                .map(Durability::Interval),
        };
        parsed.ok_or_else(|| ParseDurabilityError { text: text.to_owned() })
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Durability::Sync => f.write_str("sync"),
            Durability::Os => f.write_str("os"),
            Durability::Interval(interval) => {
                let micros = interval.as_micros();
                if micros.is_multiple_of(1_000_000) {
                    write!(f, "interval({}s)", micros / 1_000_000)
                } else if micros.is_multiple_of(1_000) {
                    write!(f, "interval({}ms)", micros / 1_000)
                } else {
                    write!(f, "interval({micros}us)")
                }
            }
        }
    }
}

fn parse_interval(text: &str) -> Option<Duration> {
    let digits_len = text.find(|c: char| !c.is_ascii_digit())?;
    let (digits, unit) = text.split_at(digits_len);
    let number: u64 = digits.parse().ok()?;
    let interval = match unit {
        "us" => Duration::from_micros(number),
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        _ => return None,
    };
    (!interval.is_zero() && interval <= INTERVAL_MAX).then_some(interval)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_forms_round_trip() {
        for text in ["sync", "os", "interval(10ms)", "interval(2s)", "interval(250us)"] {
            let mode: Durability = text.parse().unwrap();
            assert_eq!(mode.to_string(), text);
        }
        let default: Durability = "interval".parse().unwrap();
        assert_eq!(default, Durability::Interval(Duration::from_millis(50)));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "Sync",
            "interval()",
            "interval(10)",
            "interval(0ms)",
            "interval(-1ms)",
            "interval(1h)",
            "interval(3601s)",
            "interval(1ms",
            "interval(99999999999999999999s)",
        ] {
            let error = text.parse::<Durability>().unwrap_err();
            assert!(error.to_string().contains("interval(10ms)"), "{error}");
        }
    }
}
