//! `saturate`: the highest rate at which all objectives hold. Doubling to a breach, bisection to 3 %,
//! and a longer run that must hold.

use std::time::Duration;

use super::{Session, VerbError, at_rate, point};
use crate::{
    options::{Options, RATE_MAX, RATE_MIN},
    result::Report,
    verdict::{Outcome, Rule},
};

/// The rate is known once the lowest that breaches is within this share of the highest that holds.
const NEAR: f64 = 0.03;
/// Share of the offered rate that must be submitted.
const OFFERED_SHARE: f64 = 0.97;
/// How often the rate is lowered if the longer run does not hold.
const HOLDS_MAX: u32 = 6;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Saturate {
    /// The first rate, in jobs per second.
    pub from: f64,
    /// How long each step takes.
    pub step: Duration,
    /// How long the last run takes.
    pub hold: Duration,
}

/// Finds the rate. `Some`: it held; the last report of the session is that run, and says in
/// `saturation_per_s` and `breach_per_s` between what bounds it lies.
///
/// # Errors
/// No objective is given, or a run could not be carried out.
pub fn saturate(
    session: &mut Session,
    options: &Options,
    ask: &Saturate,
) -> Result<Option<f64>, VerbError> {
    if options.slo.is_empty() {
        let text = "saturate needs an objective: add such as --slo 'lateness.p99<5ms'";
        return Err(VerbError::Usage(text.to_owned()));
    }
    if options.data_dir.is_some() {
        let text = "saturate needs a fresh directory for each run: leave out --data-dir";
        return Err(VerbError::Usage(text.to_owned()));
    }
    let mut search = Search { session, options, ask, runs: 0 };
    let Some((mut holds, mut breaks)) = search.bracket()? else {
        return Ok(None);
    };
    while breaks.is_finite() && (breaks - holds) / holds > NEAR {
        let middle = holds.midpoint(breaks);
        match search.holds(middle)? {
            Some(true) => holds = middle,
            Some(false) => breaks = middle,
            None => return Ok(None),
        }
    }
    search.hold(holds, breaks)
}

struct Search<'a> {
    session: &'a mut Session,
    options: &'a Options,
    ask: &'a Saturate,
    runs: u32,
}

impl Search<'_> {
    /// The highest power-of-two multiple of the first rate that holds, and the next, which does not.
    /// `None`: stopped, or nothing holds.
    fn bracket(&mut self) -> Result<Option<(f64, f64)>, VerbError> {
        let mut rate = self.ask.from.clamp(RATE_MIN, RATE_MAX);
        let first = match self.holds(rate)? {
            None => return Ok(None),
            Some(first) => first,
        };
        loop {
            let next = if first { rate * 2.0 } else { rate / 2.0 };
            if next > RATE_MAX {
                return Ok(Some((rate, f64::INFINITY)));
            }
            if next < RATE_MIN {
                return Ok(None);
            }
            match self.holds(next)? {
                None => return Ok(None),
                Some(holds) if holds != first => {
                    return Ok(Some(if first { (rate, next) } else { (next, rate) }));
                }
                Some(_) => rate = next,
            }
        }
    }

    /// Whether all objectives hold at a rate. `None`: the search is over.
    fn holds(&mut self, rate: f64) -> Result<Option<bool>, VerbError> {
        self.runs += 1;
        let name = format!("{:02}-rate-{rate:.0}", self.runs);
        let options = at_rate(self.options, rate, self.ask.step);
        let run = self.session.run(&name, point("rate_per_s", rate), &options)?;
        Ok(judge(&run.report, rate))
    }

    /// The longer run at the rate that was found, or a little below.
    fn hold(&mut self, mut rate: f64, breaks: f64) -> Result<Option<f64>, VerbError> {
        for attempt in 1..=HOLDS_MAX {
            let options = at_rate(self.options, rate, self.ask.hold);
            let name = format!("hold-{attempt}");
            let run =
                self.session.run_with(&name, point("rate_per_s", rate), &options, |report| {
                    report.extra.insert("saturation_per_s".to_owned(), rate);
                    if breaks.is_finite() {
                        report.extra.insert("breach_per_s".to_owned(), breaks);
                    }
                })?;
            match judge(&run.report, rate) {
                Some(true) => return Ok(Some(rate)),
                Some(false) => rate *= 1.0 - NEAR,
                None => return Ok(None),
            }
        }
        Ok(None)
    }
}

/// Whether a run holds at its rate. `None`: a promise was broken or somebody asked for an end, and
/// there is nothing to search for any more.
fn judge(report: &Report, rate: f64) -> Option<bool> {
    let verdict = &report.verdict;
    if verdict.outcome == Outcome::Incorrect || verdict.has(Rule::Interrupted) {
        return None;
    }
    // A rate that the generator does not reach is not one that the target holds.
    let is_offered = report.achieved.submitted_per_s >= rate * OFFERED_SHARE;
    Some(verdict.outcome == Outcome::Pass && is_offered)
}
