//! `verify`: whether stored results are whole and agree with themselves. It trusts no verdict that was
//! written down and measures nothing.

use std::{
    fs,
    path::{Path, PathBuf},
};

use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

use crate::{
    result::{Report, StoreError, read_dir},
    verdict::{Outcome, Rule},
};

/// What is wrong with a stored run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file.
    pub file: PathBuf,
    /// What is wrong, as a sentence.
    pub text: String,
}

/// Checks all runs in a folder. Returns what contradicts itself, and the worst outcome of the runs.
///
/// # Errors
/// The folder or a file in it cannot be read.
pub fn verify(dir: &Path) -> Result<(Vec<Finding>, Outcome), StoreError> {
    let mut findings = Vec::new();
    let mut worst = Outcome::Pass;
    for (file, report) in read_dir(dir)? {
        worst = worst.max(report.verdict.outcome);
        let mut add = |text: String| findings.push(Finding { file: file.clone(), text });
        check(&report, &mut add);
        let hlog = file.with_extension("hlog");
        if hlog.exists() {
            check_intervals(&hlog, &report, &mut add);
        }
    }
    Ok((findings, worst))
}

fn check(report: &Report, add: &mut impl FnMut(String)) {
    let (ledger, verdict) = (&report.ledger, &report.verdict);
    if !ledger.balances() {
        add(format!("the ledger does not balance: {ledger:?}"));
    }
    if !report.kept_its_promises() && verdict.outcome != Outcome::Incorrect {
        let name = verdict.outcome.name();
        add(format!("its ledger shows a broken promise, and its verdict is {name}"));
    }
    if verdict.objectives.iter().any(|one| !one.holds) && !verdict.has(Rule::Objective) {
        add("an objective does not hold, and the verdict does not say so".to_owned());
    }
    for one in &verdict.objectives {
        let holds = one.measured.is_some_and(|measured| {
            if one.objective.contains('>') { measured > one.bound } else { measured < one.bound }
        });
        if holds != one.holds {
            add(format!("{} is judged wrongly", one.objective));
        }
    }
    if verdict.outcome == Outcome::Pass && !verdict.reasons.is_empty() {
        add("it passed, and there are reasons why not".to_owned());
    }
    for (metric, spans) in &report.latency_ns {
        let rising = [spans.p50, spans.p90, spans.p99, spans.p999, spans.p9999];
        if !rising.is_sorted() {
            add(format!("the percentiles of {metric} do not rise"));
        }
    }
    let completed: u64 = report.intervals.iter().map(|one| one.completed).sum();
    if !report.intervals.is_empty() && completed != ledger.completed {
        // A job counts as run when it starts and as completed when it ends.
        let text = format!(
            "its intervals have {completed} completions, its ledger {} runs",
            ledger.completed
        );
        if completed > ledger.completed || !report.partial && report.cut_short.is_none() {
            add(text);
        }
    }
}

/// The interval log must have as many values as the report.
fn check_intervals(hlog: &Path, report: &Report, add: &mut impl FnMut(String)) {
    let Ok(bytes) = fs::read(hlog) else {
        add(format!("{} cannot be read", hlog.display()));
        return;
    };
    let mut lines = 0;
    for entry in IntervalLogIterator::new(&bytes) {
        match entry {
            Ok(LogEntry::Interval(interval)) => {
                lines += 1;
                let tag = interval.tag().map_or("", |tag| tag.as_str());
                if !report.latency_ns.contains_key(tag) {
                    add(format!("{} has metric {tag:?}, the report has not", hlog.display()));
                }
            }
            Ok(_) => {}
            Err(_) => {
                add(format!("{} is not whole", hlog.display()));
                return;
            }
        }
    }
    if lines == 0 && report.spans("lateness").count > 0 {
        add(format!("{} is empty", hlog.display()));
    }
}
