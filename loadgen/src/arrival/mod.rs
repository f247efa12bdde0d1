//! When jobs are submitted in an open loop: the kinds of arrivals and their texts. The moments
//! themselves are in `moments`. It knows time since the start of a run, and no clock.

mod moments;
mod trace;

use std::{fmt, path::PathBuf, str::FromStr, sync::Arc, time::Duration};

pub(crate) use moments::Moments;
pub use trace::{Trace, TraceError};

use crate::workload::{DurationText, SpecError, spec::Spec};

/// How the submissions of an open loop are spread. The rate of a run is the mean rate of any of them,
/// except of a trace, which has one of its own.
#[derive(Clone, Debug, PartialEq, Default)]
#[non_exhaustive]
pub enum Arrivals {
    /// Job *i* at *i / rate*.
    #[default]
    Constant,
    /// Independent of each other: the gaps are exponential.
    Poisson,
    /// All of them within `on`, none within `off`, again and again.
    Bursty {
        /// How long jobs are submitted, at `(on + off) / on` times the rate.
        on: Duration,
        /// How long none is.
        off: Duration,
    },
    /// The rate changes linearly over the run, from the first to the second factor of the mean.
    Ramp {
        /// Relative weight of the rate at the start.
        from: f64,
        /// Relative weight of the rate at the end.
        to: f64,
    },
    /// The rate follows a sine, as over a day.
    Sine {
        /// From peak to peak.
        period: Duration,
        /// How far the rate leaves its mean: 0 to 1.
        depth: f64,
    },
    /// Recorded moments, or the calendar of a crontab or configuration.
    Trace(Arc<Trace>),
}

const USAGE: &str = "constant, poisson, bursty(1s,4s), ramp(0.1,2), sine(60s,80%), \
                     trace(FILE,speed=1) or cron(FILE,speed=3600)";

impl Arrivals {
    /// A trace or a calendar to replay, where the text names one: file, speed and whether it is a
    /// calendar. It is read by whoever knows how, and the rest of the texts by [`FromStr`].
    pub(crate) fn file(text: &str) -> Result<Option<(PathBuf, f64, FileKind)>, SpecError> {
        let spec = Spec::read(text, "kind of arrivals", USAGE)?;
        let kind = match spec.name {
            "trace" => FileKind::Trace,
            "cron" => FileKind::Calendar,
            _ => return Ok(None),
        };
        let [path, speed] = spec.values(["file", "speed"])?;
        Ok(Some((path.into(), spec.number(speed, 0.001..=1e6)?, kind)))
    }
}

/// What a file of arrivals holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    Trace,
    Calendar,
}

impl FromStr for Arrivals {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let spec = Spec::read(text, "kind of arrivals", USAGE)?;
        match spec.name {
            "constant" => Ok(Self::Constant),
            "poisson" => Ok(Self::Poisson),
            "bursty" => {
                let [on, off] = spec.values(["on", "off"])?;
                let (on, off) = (spec.duration(on)?, spec.duration(off)?);
                if on.is_zero() {
                    return Err(spec.error("on must be longer than nothing"));
                }
                Ok(Self::Bursty { on, off })
            }
            "ramp" => {
                let [from, to] = spec.values(["from", "to"])?;
                let (from, to) = (spec.number(from, 0.0..=1e3)?, spec.number(to, 0.0..=1e3)?);
                if from + to == 0.0 {
                    return Err(spec.error("one of the two must be above zero"));
                }
                Ok(Self::Ramp { from, to })
            }
            "sine" => {
                let [period, depth] = spec.values(["period", "depth"])?;
                let period = spec.duration(period)?;
                if period.is_zero() {
                    return Err(spec.error("the period must be longer than nothing"));
                }
                Ok(Self::Sine { period, depth: spec.share(depth)? })
            }
            _ => Err(spec.error("it is not known")),
        }
    }
}

impl fmt::Display for Arrivals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = DurationText;
        match self {
            Self::Constant => f.write_str("constant"),
            Self::Poisson => f.write_str("poisson"),
            Self::Bursty { on, off } => write!(f, "bursty({},{})", text(*on), text(*off)),
            Self::Ramp { from, to } => write!(f, "ramp({from},{to})"),
            Self::Sine { period, depth } => write!(f, "sine({},{depth})", text(*period)),
            Self::Trace(trace) => f.write_str(&trace.text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_reads_what_it_prints_and_refuses_the_rest() {
        for text in ["constant", "poisson", "bursty(1s,4s)", "ramp(0.1,2)", "sine(60s,80%)"] {
            let read: Arrivals = text.parse().unwrap();
            assert_eq!(read.to_string().parse(), Ok(read), "{text}");
        }
        for text in ["", "bursty(0,1s)", "ramp(0,0)", "sine(0,1)", "sine(1s,2)", "random"] {
            let error = text.parse::<Arrivals>().unwrap_err().to_string();
            assert!(error.contains("write constant, poisson"), "{error}");
        }
    }

    #[test]
    fn a_file_is_named_with_its_speed() {
        let file = Arrivals::file("cron(a/tab,speed=60)").unwrap();
        assert_eq!(file, Some(("a/tab".into(), 60.0, FileKind::Calendar)));
        assert_eq!(Arrivals::file("poisson"), Ok(None));
        assert!(Arrivals::file("trace(x,speed=0)").is_err());
    }
}
