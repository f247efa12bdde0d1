//! What a run comes to: passed, missed, incorrect or void, with reasons. It judges numbers that others
//! measured, by rules that stand here and nowhere else.

use serde::{Deserialize, Serialize};

use crate::{
    result::{Interval, LedgerCounts, Resources, Spans},
    slo::{Measured, ObjectiveResult, Slo},
};

/// A generator that is late by more than this (99 %) measures itself, unless an objective on a span
/// allows more or asks for less: see [`generator_bound_ns`].
const GENERATOR_LATE_NS: f64 = 1e6;
/// The generator may be late by this share of the tightest objective.
const GENERATOR_LATE_SHARE: f64 = 0.5;
/// Share of the offered rate that must be submitted.
const OFFERED_SHARE: f64 = 0.97;
/// A target that holds the generator for this share of the time is not idle.
const HELD_SHARE: f64 = 0.05;
/// Share of the machine's processors beyond which the target is not idle.
const BUSY_SHARE: f64 = 0.85;
/// Share of the processor time that may be stolen.
const STEAL_SHARE: f64 = 0.02;
/// A backlog grows if, in the second half, completions fall behind submissions by this share.
const GROWTH_SHARE: f64 = 0.03;
/// Fewer intervals than this say nothing about growth.
const GROWTH_INTERVALS_MIN: usize = 4;

/// What a run comes to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// In a word.
    pub outcome: Outcome,
    /// Why, each in a sentence.
    pub reasons: Vec<Reason>,
    /// The objectives, in the order in which they were given.
    pub objectives: Vec<ObjectiveResult>,
}

/// A verdict in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Valid, correct, and all objectives hold.
    Pass,
    /// Valid and correct; an objective does not hold.
    Missed,
    /// What was measured says nothing about the target.
    Void,
    /// A promise was broken: a job was lost, early, damaged, or run after its cancel. It is void too.
    Incorrect,
}

impl Outcome {
    /// The exit code of a command that ends with it: 0, 2, 4 and 3.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Pass => 0,
            Self::Missed => 2,
            Self::Incorrect => 3,
            Self::Void => 4,
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Missed => "missed",
            Self::Void => "void",
            Self::Incorrect => "incorrect",
        }
    }
}

/// A reason of a verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// Which rule.
    pub rule: Rule,
    /// A sentence with the numbers.
    pub text: String,
}

/// The rules by which a run is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Rule {
    /// An objective does not hold.
    Objective,
    /// A promise was broken.
    Correctness,
    /// The ledger does not add up.
    Ledger,
    /// The run did not come to its end.
    CutShort,
    /// It was interrupted.
    Interrupted,
    /// The generator was too late.
    Generator,
    /// The offered rate was not reached though the target was idle.
    NotOffered,
    /// The backlog grew all along.
    NotStationary,
    /// Other machines took the processor.
    Steal,
    /// A fault that was asked for did not come.
    FaultMissed,
    /// Nothing was measured.
    Nothing,
}

impl Rule {
    fn outcome(self) -> Outcome {
        match self {
            Self::Objective => Outcome::Missed,
            Self::Correctness | Self::Ledger | Self::CutShort => Outcome::Incorrect,
            _ => Outcome::Void,
        }
    }
}

/// What a run is judged by.
pub(crate) struct Evidence<'a> {
    pub(crate) slo: &'a Slo,
    pub(crate) spans: &'a dyn Fn(&str) -> Option<Spans>,
    pub(crate) ledger: &'a LedgerCounts,
    pub(crate) resources: &'a Resources,
    pub(crate) intervals: &'a [Interval],
    pub(crate) cores: usize,
    /// Offered and submitted rate of an open loop.
    pub(crate) rates_per_s: Option<(f64, f64)>,
    pub(crate) completed_per_s: f64,
    /// Whether the backlog is meant to stay level: not for herds and backlogs.
    pub(crate) is_steady: bool,
    /// Whether the target is another process, on this machine or not.
    pub(crate) is_elsewhere: bool,
    /// Faults that were asked for and did not come.
    pub(crate) faults_missed: usize,
    pub(crate) cut_short: Option<&'a str>,
    pub(crate) partial: bool,
}

impl Verdict {
    pub(crate) fn of(evidence: &Evidence<'_>) -> Self {
        let mut reasons = Vec::new();
        let mut add = |rule, text: String| reasons.push(Reason { rule, text });
        correctness(evidence, &mut add);
        let generator = (evidence.spans)("generator").unwrap_or_default();
        let bound_ns = generator_bound_ns(evidence.slo);
        if evidence.rates_per_s.is_some() && generator.p99 as f64 > bound_ns {
            add(
                Rule::Generator,
                format!(
                    "the generator itself was late by {:.2} ms (99 %), more than {:.2} ms: offer less, or use a faster machine",
                    generator.p99 as f64 / 1e6,
                    bound_ns / 1e6
                ),
            );
        }
        if let Some((offered, submitted)) = evidence.rates_per_s {
            let own_share = evidence.resources.cpus_busy / evidence.cores.max(1) as f64;
            let busy_share = if evidence.is_elsewhere {
                own_share + evidence.resources.others_share
            } else {
                own_share
            };
            let held_share = evidence.resources.held_share;
            let is_idle = busy_share < BUSY_SHARE && held_share < HELD_SHARE;
            if submitted < offered * OFFERED_SHARE && is_idle && !evidence.partial {
                add(
                    Rule::NotOffered,
                    format!(
                        "{submitted:.0} of {offered:.0} jobs a second were offered though the target was idle: the generator is what was measured"
                    ),
                );
            }
            if evidence.is_steady
                && let Some(text) = growth(evidence.intervals)
            {
                add(Rule::NotStationary, text);
            }
        }
        if evidence.resources.steal_share > STEAL_SHARE {
            add(
                Rule::Steal,
                format!(
                    "other machines on the host took {:.1} % of the processor time: measure when they are quiet",
                    evidence.resources.steal_share * 100.0
                ),
            );
        }
        if evidence.faults_missed > 0 && !evidence.partial {
            add(
                Rule::FaultMissed,
                format!(
                    "{} of the faults did not come before the run ended: make the run longer, or the faults earlier",
                    evidence.faults_missed
                ),
            );
        }
        if evidence.ledger.completed > 0
            && (evidence.spans)("lateness").is_none_or(|s| s.count == 0)
        {
            add(Rule::Nothing, "all jobs ran within the warm-up: make the run longer".to_owned());
        }
        let submitted = evidence.ledger.submitted.max(1) as f64;
        let objectives = evidence.slo.judge(&Measured {
            spans: evidence.spans,
            errors: (evidence.ledger.refused + evidence.ledger.lost) as f64 / submitted,
            rate_per_s: evidence.completed_per_s,
        });
        for missed in objectives.iter().filter(|one| !one.holds) {
            let text = format!("{} does not hold", missed.objective);
            reasons.push(Reason { rule: Rule::Objective, text });
        }
        Self { outcome: worst(&reasons), reasons, objectives }
    }

    /// Whether an interrupted, late or otherwise disturbed run says nothing about the target.
    #[must_use]
    pub fn is_void(&self) -> bool {
        self.outcome >= Outcome::Void
    }

    /// Whether this rule is among the reasons.
    #[must_use]
    pub fn has(&self, rule: Rule) -> bool {
        self.reasons.iter().any(|reason| reason.rule == rule)
    }

    /// Adds a reason found after the run.
    pub(crate) fn add(&mut self, rule: Rule, text: String) {
        self.reasons.push(Reason { rule, text });
        self.outcome = worst(&self.reasons);
    }
}

fn worst(reasons: &[Reason]) -> Outcome {
    reasons.iter().map(|reason| reason.rule.outcome()).max().unwrap_or(Outcome::Pass)
}

fn correctness(evidence: &Evidence<'_>, add: &mut impl FnMut(Rule, String)) {
    let ledger = evidence.ledger;
    let broken = [
        (ledger.lost, "accepted and never run"),
        (ledger.early, "run before their due time"),
        (ledger.damaged, "run with another payload than was sent"),
        (ledger.ran_after_cancel, "run after their cancel was acknowledged"),
    ];
    for (count, what) in broken.into_iter().filter(|(count, _)| *count > 0) {
        add(Rule::Correctness, format!("{count} jobs were {what}"));
    }
    if !ledger.balances() {
        add(Rule::Ledger, format!("the ledger does not balance: {ledger:?}"));
    }
    if let Some(why) = evidence.cut_short {
        add(Rule::CutShort, why.to_owned());
    }
    if evidence.partial {
        add(Rule::Interrupted, "the run was interrupted: what was measured is a part".to_owned());
    }
}

fn generator_bound_ns(slo: &Slo) -> f64 {
    slo.tightest_ns().map_or(GENERATOR_LATE_NS, |bound_ns| bound_ns * GENERATOR_LATE_SHARE)
}

/// Why the backlog counts as growing, if it does. The first and the last interval are left out: one
/// fills the pipeline, the other is cut off.
fn growth(intervals: &[Interval]) -> Option<String> {
    let submitting: Vec<&Interval> = intervals.iter().filter(|one| one.submitted > 0).collect();
    if submitting.len() < GROWTH_INTERVALS_MIN + 2 {
        return None;
    }
    let inner = &submitting[1..submitting.len() - 1];
    let late = &inner[inner.len() / 2..];
    let submitted: u64 =
        late.iter().map(|one| one.submitted - one.refused.min(one.submitted)).sum();
    let completed: u64 = late.iter().map(|one| one.completed).sum();
    let before = inner[inner.len() / 2 - 1].backlog;
    let after = late[late.len() - 1].backlog;
    let grown = after.saturating_sub(before) as f64;
    let behind = submitted.saturating_sub(completed) as f64;
    let allowed = submitted as f64 * GROWTH_SHARE;
    (behind > allowed && grown > allowed).then(|| {
        format!(
            "the backlog grew from {before} to {after} jobs in the second half: the target does not keep up"
        )
    })
}

#[cfg(test)]
mod tests;
