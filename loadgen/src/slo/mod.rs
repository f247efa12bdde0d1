//! Objectives: `submit.p99<10ms,lateness.p99<5ms,errors<0.01%`. It knows texts and numbers; what is
//! measured is handed in.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    result::Spans,
    workload::{DurationText, spec::share},
};

/// Objectives that must all hold. The default has none.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Slo {
    objectives: Vec<Objective>,
}

/// One objective.
#[derive(Clone, Debug, PartialEq)]
struct Objective {
    text: String,
    measure: Measure,
    is_upper: bool,
    /// Nanoseconds, a share, or jobs per second.
    bound: f64,
}

#[derive(Clone, Debug, PartialEq)]
enum Measure {
    Span {
        metric: &'static str,
        point: Point,
    },
    /// Share of the submitted jobs that were refused or lost.
    Errors,
    /// Completed jobs per second.
    Rate,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Point {
    P50,
    P90,
    P99,
    P999,
    P9999,
    Max,
}

/// Metrics that an objective may name; see `docs/loadgen.md`.
const METRICS: [&str; 5] = ["submit", "submit_raw", "lateness", "lateness_raw", "complete"];
const POINTS: [(&str, Point); 8] = [
    ("p50", Point::P50),
    ("p90", Point::P90),
    ("p99", Point::P99),
    ("p99.9", Point::P999),
    ("p999", Point::P999),
    ("p99.99", Point::P9999),
    ("p9999", Point::P9999),
    ("max", Point::Max),
];

/// A text that is no objective.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no objective: {reason}; write such as lateness.p99<5ms, errors<0.01% or rate>1000; metrics are submit, submit_raw, lateness, lateness_raw and complete, with p50, p90, p99, p99.9, p99.99 or max"
)]
pub struct ParseSloError {
    text: String,
    reason: &'static str,
}

/// What an objective came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ObjectiveResult {
    /// The objective.
    pub objective: String,
    /// What was measured: nanoseconds, a share, or jobs per second. `None`: nothing was.
    pub measured: Option<f64>,
    /// The bound in the same unit.
    pub bound: f64,
    /// Whether it holds. What was not measured does not.
    pub holds: bool,
}

/// What objectives are judged by.
pub(crate) struct Measured<'a> {
    pub(crate) spans: &'a dyn Fn(&str) -> Option<Spans>,
    pub(crate) errors: f64,
    pub(crate) rate_per_s: f64,
}

impl Slo {
    /// Whether there is no objective.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.objectives.is_empty()
    }

    /// The tightest bound on a span, in nanoseconds.
    pub(crate) fn tightest_ns(&self) -> Option<f64> {
        let spans =
            self.objectives.iter().filter(|one| matches!(one.measure, Measure::Span { .. }));
        spans.map(|one| one.bound).min_by(f64::total_cmp)
    }

    pub(crate) fn judge(&self, measured: &Measured<'_>) -> Vec<ObjectiveResult> {
        let judge = |one: &Objective| {
            let value = match one.measure {
                Measure::Span { metric, point } => (measured.spans)(metric)
                    .filter(|spans| spans.count > 0)
                    .map(|spans| point.of(&spans) as f64),
                Measure::Errors => Some(measured.errors),
                Measure::Rate => Some(measured.rate_per_s),
            };
            let holds =
                value.is_some_and(
                    |value| if one.is_upper { value < one.bound } else { value > one.bound },
                );
            ObjectiveResult {
                objective: one.text.clone(),
                measured: value,
                bound: one.bound,
                holds,
            }
        };
        self.objectives.iter().map(judge).collect()
    }
}

impl Point {
    fn of(self, spans: &Spans) -> u64 {
        match self {
            Self::P50 => spans.p50,
            Self::P90 => spans.p90,
            Self::P99 => spans.p99,
            Self::P999 => spans.p999,
            Self::P9999 => spans.p9999,
            Self::Max => spans.max,
        }
    }
}

impl FromStr for Slo {
    type Err = ParseSloError;

    fn from_str(text: &str) -> Result<Self, ParseSloError> {
        let objectives = text.split(',').map(objective).collect::<Result<_, _>>()?;
        Ok(Self { objectives })
    }
}

fn objective(text: &str) -> Result<Objective, ParseSloError> {
    let text = text.trim();
    let error = |reason| ParseSloError { text: text.to_owned(), reason };
    let at = text.find(['<', '>']).ok_or(error("it has neither < nor >"))?;
    let (name, bound) = (text[..at].trim(), text[at + 1..].trim());
    let bound = bound.strip_prefix('=').unwrap_or(bound).trim();
    let is_upper = text[at..].starts_with('<');
    let (measure, bound) = match name {
        "errors" => {
            (Measure::Errors, share(bound).ok_or(error("its bound is no share such as 0.01%"))?)
        }
        "rate" => {
            let rate = bound.parse::<f64>().ok().filter(|rate| *rate > 0.0 && rate.is_finite());
            (Measure::Rate, rate.ok_or(error("its bound is no number of jobs per second"))?)
        }
        _ => {
            let (metric, point) = name.split_once('.').ok_or(error("it names no percentile"))?;
            let metric = METRICS.iter().find(|known| **known == metric);
            let point = POINTS.iter().find(|(known, _)| *known == point);
            let bound: DurationText =
                bound.parse().map_err(|_| error("its bound is no duration"))?;
            let measure = Measure::Span {
                metric: metric.ok_or(error("its metric is not known"))?,
                point: point.ok_or(error("its percentile is not known"))?.1,
            };
            (measure, bound.0.as_nanos() as f64)
        }
    };
    Ok(Objective { text: text.to_owned(), measure, is_upper, bound })
}

impl fmt::Display for Slo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<&str> = self.objectives.iter().map(|one| one.text.as_str()).collect();
        f.write_str(&texts.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(text: &str, p99: u64, errors: f64, rate_per_s: f64) -> Vec<bool> {
        let slo: Slo = text.parse().unwrap();
        assert_eq!(slo.to_string().parse(), Ok(slo.clone()));
        let spans = Spans { p99, count: 1, ..Spans::default() };
        let of = |metric: &str| (metric == "lateness").then_some(spans);
        let judged = slo.judge(&Measured { spans: &of, errors, rate_per_s });
        judged.iter().map(|one| one.holds).collect()
    }

    #[test]
    fn objectives_hold_below_their_bound_and_not_at_it() {
        let text = "lateness.p99<5ms, errors<0.01%,rate>1000";
        assert_eq!(holds(text, 4_999_999, 0.00009, 1001.0), [true, true, true]);
        assert_eq!(holds(text, 5_000_000, 0.0001, 1000.0), [false, false, false]);
    }

    #[test]
    fn what_was_not_measured_does_not_hold() {
        assert_eq!(holds("submit.p99<1h", 0, 0.0, 0.0), [false]);
    }

    #[test]
    fn the_tightest_bound_is_in_nanoseconds() {
        let slo: Slo = "lateness.p99<5ms,submit.p99.9<=2ms,errors<1%".parse().unwrap();
        assert_eq!(slo.tightest_ns(), Some(2e6));
        assert_eq!(Slo::default().tightest_ns(), None);
    }

    #[test]
    fn what_cannot_be_read_is_said_with_examples() {
        for text in [
            "",
            "lateness",
            "lateness<5ms",
            "lateness.p98<5ms",
            "late.p99<5ms",
            "lateness.p99<5",
            "errors<5ms",
            "rate>fast",
            "errors=1%",
        ] {
            let error = text.parse::<Slo>().unwrap_err().to_string();
            assert!(error.contains("write such as lateness.p99<5ms"), "{error}");
        }
    }
}
