//! Values drawn from a name, so that not everything happens at midnight.
//!
//! Owns the draw. It must not know fields, zones or clocks. **The draw must never change**: a rule
//! is stored as its text and the schedule's name, and each start reads its times from these anew.
//! Golden values in the tests hold it, and `docs/cron.md` gives the formula.

use crate::id::{hash_text, mix};

/// Which draw of a name: each field has a stream of its own, so that hour and minute of one name
/// have nothing to do with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stream(pub(super) u64);

impl Stream {
    /// The stream of [`jitter_ns`]; those of the fields begin with 1.
    const JITTER: Stream = Stream(0);
}

/// A fixed offset for a name: at least 0, and less than `window_ns` unless that is 0.
///
/// The same name and window always give the same offset, on every machine and in every version, and
/// the offsets of many names lie evenly over the window. Adding it to the fire times of a schedule
/// keeps their distances, because all of them move together.
///
/// ```
/// use tickwheel_core::cron::jitter_ns;
///
/// const MINUTE_NS: u64 = 60_000_000_000;
/// let offset = jitter_ns("backup", MINUTE_NS);
/// assert!(offset < MINUTE_NS);
/// assert_eq!(offset, jitter_ns("backup", MINUTE_NS));
/// assert_ne!(offset, jitter_ns("report", MINUTE_NS));
/// assert_eq!(jitter_ns("backup", 0), 0);
/// ```
#[must_use]
pub fn jitter_ns(name: &str, window_ns: u64) -> u64 {
    draw(name, Stream::JITTER, window_ns)
}

/// A number below `size`, or 0 if that is 0: the upper half of the product of 64 drawn bits and the
/// size, which prefers no number by more than one part in 2⁶⁴ / `size`.
pub(super) fn draw(name: &str, stream: Stream, size: u64) -> u64 {
    let drawn = mix(hash_text(name) ^ stream.0);
    ((u128::from(drawn) * u128::from(size)) >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{format, vec};

    /// These values are in stored schedules. If this test fails, the code is wrong, not the test.
    #[test]
    fn golden_draws() {
        for (name, stream, size, drawn) in [
            ("", 0, u64::MAX, 2_448_385_507_222_971_124),
            ("backup", 0, 60_000_000_000, 11_917_251_324),
            ("backup", 1, 60, 44),
            ("backup", 2, 60, 49),
            ("backup", 3, 24, 18),
            ("backup", 4, 28, 7),
            ("backup", 5, 12, 5),
            ("backup", 6, 7, 6),
            ("Backup", 2, 60, 45),
            ("täglicher Bericht", 2, 60, 20),
        ] {
            assert_eq!(draw(name, Stream(stream), size), drawn, "{name} {stream} {size}");
        }
    }

    #[test]
    fn draws_lie_evenly_and_below_their_bound() {
        for stream in 0..7 {
            let mut counts = vec![0_u32; 60];
            for number in 0..6000 {
                let drawn = draw(&format!("schedule-{number}"), Stream(stream), 60);
                counts[drawn as usize] += 1;
            }
            // A hundred each is expected; the deviation of one is about ten.
            assert!(counts.iter().all(|count| (50..=150).contains(count)), "{counts:?}");
        }
        for size in [0, 1, 2, u64::MAX] {
            assert!(draw("name", Stream(0), size) < size.max(1));
        }
    }

    #[test]
    fn fields_of_one_name_are_drawn_apart() {
        let pairs: alloc::collections::BTreeSet<_> = (0..1000)
            .map(|number| format!("schedule-{number}"))
            .map(|name| (draw(&name, Stream(2), 60), draw(&name, Stream(3), 24)))
            .collect();
        // Of 1440 pairs, 1000 draws hit about 720.
        assert!((650..800).contains(&pairs.len()), "{}", pairs.len());
    }
}
