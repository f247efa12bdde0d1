//! Histograms as text for a terminal: a table of percentiles, and a plot by percentile.

use std::fmt::Write as _;

use hdrhistogram::Histogram;

use super::{Latency, Stage};

/// The percentiles that every report gives, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Percentiles {
    /// Median.
    pub p50: u64,
    /// 90 %.
    pub p90: u64,
    /// 99 %.
    pub p99: u64,
    /// 99.9 %.
    pub p999: u64,
    /// 99.99 %.
    pub p9999: u64,
    /// The largest, exact to three digits.
    pub max: u64,
    /// How many were recorded.
    pub count: u64,
}

impl Percentiles {
    /// The percentiles of a histogram; all zero when it is empty.
    #[must_use]
    pub fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile);
        Self {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            p9999: at(0.9999),
            max: histogram.max(),
            count: histogram.len(),
        }
    }
}

/// A table of all stages that recorded something.
#[must_use]
pub fn table(latency: &Latency) -> String {
    let mut text = format!(
        "{:<15}{:>10}{:>10}{:>10}{:>10}{:>10}{:>10}{:>12}\n",
        "stage", "p50", "p90", "p99", "p99.9", "p99.99", "max", "count"
    );
    for stage in Stage::ALL {
        let p = Percentiles::of(latency.stage(stage));
        if p.count == 0 {
            continue;
        }
        let [p50, p90, p99, p999, p9999, max] =
            [p.p50, p.p90, p.p99, p.p999, p.p9999, p.max].map(short);
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{:<15}{p50:>10}{p90:>10}{p99:>10}{p999:>10}{p9999:>10}{max:>10}{:>12}",
            stage.name(),
            p.count
        );
    }
    text
}

/// A span with three digits and its unit.
fn short(ns: u64) -> String {
    let (value, unit) = match ns {
        0..1_000 => return format!("{ns} ns"),
        1_000..1_000_000 => (ns as f64 / 1e3, "µs"),
        1_000_000..1_000_000_000 => (ns as f64 / 1e6, "ms"),
        _ => (ns as f64 / 1e9, "s"),
    };
    match value {
        ..10.0 => format!("{value:.2} {unit}"),
        ..100.0 => format!("{value:.1} {unit}"),
        _ => format!("{value:.0} {unit}"),
    }
}

const PLOT_ROWS: usize = 10;
/// Columns of the plot; the last stands for 99.999 %.
const PLOT_COLUMNS: usize = 61;
const PLOT_NINES: f64 = 5.0;

/// A plot of a histogram by percentile: the horizontal axis counts the nines (50 % … 99.999 %), the
/// vertical one is logarithmic. Empty when nothing was recorded.
#[must_use]
pub fn plot(title: &str, histogram: &Histogram<u64>) -> String {
    if histogram.is_empty() {
        return String::new();
    }
    let values: Vec<f64> = (0..PLOT_COLUMNS)
        .map(|column| {
            let nines = column as f64 / (PLOT_COLUMNS - 1) as f64 * PLOT_NINES;
            histogram.value_at_quantile(1.0 - 10f64.powf(-nines)).max(1) as f64
        })
        .collect();
    let low = values[0].log10();
    let high = values[PLOT_COLUMNS - 1].log10().max(low + 0.1);
    let row_of =
        |value: &f64| ((value.log10() - low) / (high - low) * PLOT_ROWS as f64).round() as usize;
    let rows: Vec<usize> = values.iter().map(row_of).collect();
    let mut text = format!("{title}, by percentile\n");
    for row in (0..=PLOT_ROWS).rev() {
        let level = low + (high - low) * row as f64 / PLOT_ROWS as f64;
        let mark = |column: usize| {
            // A steep rise is drawn as a line, so that the eye can follow it.
            let from = if column == 0 { rows[0] } else { rows[column - 1] };
            match rows[column] {
                here if here == row => '●',
                here if from < row && row < here => '│',
                _ => ' ',
            }
        };
        let line: String = (0..PLOT_COLUMNS).map(mark).collect();
        let _ = writeln!(text, "{:>9} ┤{}", short(10f64.powf(level) as u64), line.trim_end());
    }
    let _ = writeln!(text, "{:>9} └{}", "", "─".repeat(PLOT_COLUMNS));
    let marks = ["0", "90 %", "99 %", "99.9 %", "99.99 %", "99.999 %"];
    let step = (PLOT_COLUMNS - 1) / PLOT_NINES as usize;
    let mut axis = String::new();
    for (nines, mark) in marks.iter().enumerate() {
        let at = (nines * step).saturating_sub(if nines == 0 { 0 } else { mark.len() / 2 });
        while axis.len() < at {
            axis.push(' ');
        }
        axis.push_str(mark);
    }
    let _ = writeln!(text, "{:>10}{axis}", "");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_short_and_carry_their_unit() {
        let spans = [0, 999, 1_000, 12_340, 123_456, 9_999_999, 1_500_000_000, 3_600_000_000_000];
        let texts = spans.map(short);
        assert_eq!(
            texts,
            ["0 ns", "999 ns", "1.00 µs", "12.3 µs", "123 µs", "10.00 ms", "1.50 s", "3600 s"]
        );
    }

    #[test]
    fn a_plot_rises_from_left_to_right_and_an_empty_one_is_empty() {
        let mut histogram = super::super::histogram();
        assert_eq!(plot("lateness", &histogram), "");
        // The slowest one in 10ⁿ is n times as slow.
        for n in 1..=100_000_u64 {
            histogram.saturating_record(1000 * 10_u64.pow((100_000 / n).ilog10()));
        }
        let text = plot("lateness", &histogram);
        let dots: Vec<usize> = text.lines().filter_map(|line| line.find('●')).collect();
        assert!(dots.len() >= 5, "{text}");
        assert!(dots.is_sorted_by(|upper, lower| upper >= lower), "{text}");
        assert!(text.contains("99.9 %"), "{text}");
    }

    #[test]
    fn a_table_names_each_stage_that_was_recorded() {
        let mut latency = Latency::new();
        latency.stages[Stage::Run as usize].saturating_record(1_500);
        let text = table(&latency);
        assert!(text.contains("run") && text.contains("1.50 µs"), "{text}");
        assert!(!text.contains("submit_ack"), "{text}");
    }
}
