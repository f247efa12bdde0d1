//! `drain` and `herd`: many jobs that may all run at once, because the target was paused, or because
//! they are due at one instant.

use std::time::Duration;

use super::{Session, VerbError, point};
use crate::{
    options::{Load, Options},
    run::Run,
    workload::{Due, Workload},
};

/// Fills a paused target with all jobs, due at once, and lets go. The report's `drain_s` says how long
/// it took from there.
///
/// # Errors
/// The run could not be carried out.
pub fn drain(session: &mut Session, options: &Options) -> Result<Run, VerbError> {
    let workload = Workload { due: Due::After(Duration::ZERO), ..options.workload.clone() };
    let options = Options { paused: true, load: Load::Max, workload, ..options.clone() };
    session.run_with("drain", point("jobs", f64::from(options.jobs)), &options, |report| {
        if let Some(drain_s) = report.extra.get("drain_s").copied().filter(|s| *s > 0.0) {
            let rate = report.ledger.completed as f64 / drain_s;
            report.extra.insert("drain_per_s".to_owned(), rate);
        }
    })
}

/// Submits all jobs for one instant, so long after the start. Lateness is the time from that instant
/// to the start of each; the report's `herd_s` is that of the last.
///
/// # Errors
/// The run could not be carried out.
pub fn herd(session: &mut Session, options: &Options, after: Duration) -> Result<Run, VerbError> {
    let workload = Workload { due: Due::Herd(after), ..options.workload.clone() };
    let in_flight = options.in_flight.or(Some(options.jobs));
    let options = Options { workload, in_flight, ..options.clone() };
    let submit_by_s = after.as_secs_f64();
    session.run_with("herd", point("jobs", f64::from(options.jobs)), &options, |report| {
        report.extra.insert("herd_s".to_owned(), report.spans("lateness").max as f64 / 1e9);
        let submitting_s =
            report.ledger.submitted as f64 / report.achieved.submitted_per_s.max(1e-9);
        if submitting_s > submit_by_s {
            report.notes.push(format!(
                "submitting took {submitting_s:.1} s, longer than the {submit_by_s:.1} s until the herd was due: name a longer --in"
            ));
        }
    })
}
