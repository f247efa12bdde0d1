//! The peaks of counted triggers, and the lateness that a queue in front of a target of known capacity
//! would have. It knows counts by the second.

use serde::{Deserialize, Serialize};
use tickwheel_engine::latency;

use super::{PEAKS_NAMED, Shape, walk::Span};

const HOUR_S: usize = 3600;

/// A busy second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peak {
    /// Seconds since 1970.
    pub unix_s: i64,
    /// Triggers within it.
    pub triggers: u32,
}

/// Lateness as it was simulated, in seconds. Triggers of one second come at its beginning, and the target
/// starts them one by one at its capacity.
#[derive(Clone, Copy, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct Lateness {
    /// Median.
    pub p50_s: f64,
    /// 99 %.
    pub p99_s: f64,
    /// 99.9 %.
    pub p999_s: f64,
    /// The longest.
    pub max_s: f64,
    /// Triggers that wait when most do.
    pub backlog_max: u64,
}

/// What counts by the second come to.
pub(super) fn shape(counts: &[u32], span: Span, capacity_per_s: f64) -> Shape {
    let second_of_day = |second: usize| {
        usize::try_from((span.from_s + second as i64).rem_euclid(86_400)).unwrap_or(0)
    };
    let mut by_hour = vec![0_u32; 24];
    let mut by_minute = vec![0_u64; 60];
    let mut best: Vec<Option<Peak>> = vec![None; 24];
    for (second, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        let of_day = second_of_day(second);
        let hour = of_day / HOUR_S;
        by_hour[hour] = by_hour[hour].max(*count);
        by_minute[of_day / 60 % 60] += u64::from(*count);
        let peak = Peak { unix_s: span.from_s + second as i64, triggers: *count };
        if best[hour].is_none_or(|other| other.triggers < *count) {
            best[hour] = Some(peak);
        }
    }
    let mut peaks: Vec<Peak> = best.into_iter().flatten().collect();
    peaks.sort_by_key(|peak| (std::cmp::Reverse(peak.triggers), peak.unix_s));
    peaks.truncate(PEAKS_NAMED);
    let all = by_minute.iter().sum::<u64>().max(1) as f64;
    Shape {
        peaks,
        by_hour,
        by_minute: by_minute.iter().map(|count| *count as f64 / all).collect(),
        timeline: counts
            .chunks(HOUR_S)
            .map(|hour| hour.iter().copied().max().unwrap_or(0))
            .collect(),
        lateness: simulate(counts, capacity_per_s),
    }
}

/// Pieces that the triggers of one second are counted in.
const PIECES: u32 = 16;

fn simulate(counts: &[u32], capacity_per_s: f64) -> Lateness {
    let mut histogram = latency::histogram();
    let mut backlog = 0.0_f64;
    let mut backlog_max = 0.0_f64;
    let mut longest_s = 0.0_f64;
    for count in counts {
        if *count > 0 {
            let pieces = PIECES.min(*count);
            for piece in 0..pieces {
                // The first job of a piece stands for it, so that one alone waits for nobody.
                let before = u64::from(*count) * u64::from(piece) / u64::from(pieces);
                let after = u64::from(*count) * u64::from(piece + 1) / u64::from(pieces);
                let wait_s = (backlog + before as f64) / capacity_per_s;
                histogram.saturating_record_n((wait_s * 1e9) as u64, after - before);
            }
            longest_s = longest_s.max((backlog + f64::from(*count - 1)) / capacity_per_s);
            backlog += f64::from(*count);
            backlog_max = backlog_max.max(backlog);
        }
        backlog = (backlog - capacity_per_s).max(0.0);
    }
    let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e9;
    Lateness {
        p50_s: at(0.5),
        p99_s: at(0.99),
        p999_s: at(0.999),
        max_s: longest_s,
        backlog_max: backlog_max as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_as_late_as_its_capacity_makes_it() {
        let one = simulate(&[1, 0, 1], 10.0);
        assert_eq!((one.max_s, one.backlog_max), (0.0, 1));
        // Thirty at once at ten a second: the last waits for 29 others; three seconds later all is well.
        let burst = simulate(&[30, 0, 0, 1], 10.0);
        assert!((burst.max_s - 2.9).abs() < 1e-9, "{burst:?}");
        assert_eq!(burst.backlog_max, 30);
        // What is left over delays what comes next.
        let behind = simulate(&[30, 1], 10.0);
        assert_eq!(behind.backlog_max, 30);
        let two = simulate(&[30, 20], 10.0);
        assert!((two.max_s - 3.9).abs() < 1e-9, "{two:?}");
    }

    #[test]
    fn peaks_are_named_once_an_hour() {
        let mut counts = vec![0; 2 * HOUR_S];
        (counts[10], counts[20], counts[HOUR_S]) = (5, 7, 6);
        let shape = shape(&counts, Span { from_s: 86_400, len_s: 7200 }, 100.0);
        let named: Vec<_> = shape.peaks.iter().map(|peak| (peak.unix_s, peak.triggers)).collect();
        assert_eq!(named, [(86_420, 7), (90_000, 6)]);
        assert_eq!((shape.by_hour[0], shape.by_hour[1], shape.by_hour[2]), (7, 6, 0));
        assert_eq!(shape.timeline, [7, 6]);
    }
}
