//! `soak`: one long run, and whether it stayed level.

use super::{Session, VerbError};
use crate::{
    options::Options,
    result::{Interval, Report},
    run::Run,
    verdict::Rule,
};

/// Memory may grow by this share from the second quarter to the last …
const MEMORY_GROWTH: f64 = 0.25;
/// … or by this much, whichever is more.
const MEMORY_GROWTH_BYTES: f64 = (64 << 20) as f64;

/// Runs the load, and adds to its verdict whether memory kept growing.
///
/// # Errors
/// The run could not be carried out.
pub fn soak(session: &mut Session, options: &Options) -> Result<Run, VerbError> {
    session.run_with("soak", None, options, judge)
}

fn judge(report: &mut Report) {
    let Some((before, after)) = memory(&report.intervals) else {
        return;
    };
    report.extra.insert("memory_second_quarter_bytes".to_owned(), before);
    report.extra.insert("memory_last_quarter_bytes".to_owned(), after);
    if after - before > (before * MEMORY_GROWTH).max(MEMORY_GROWTH_BYTES) {
        let text = format!(
            "memory grew from {:.0} to {:.0} MiB (means of the second and the last quarter)",
            before / f64::from(1 << 20),
            after / f64::from(1 << 20)
        );
        report.verdict.add(Rule::NotStationary, text);
    }
}

/// Mean memory in the second and in the last quarter; `None` for a run that is too short to tell.
fn memory(intervals: &[Interval]) -> Option<(f64, f64)> {
    let quarter = intervals.len() / 4;
    let mean = |part: &[Interval]| {
        part.iter().map(|one| one.rss_bytes as f64).sum::<f64>() / part.len() as f64
    };
    let second = intervals.get(quarter..2 * quarter).filter(|part| !part.is_empty())?;
    let last = intervals.get(3 * quarter..).filter(|part| !part.is_empty())?;
    Some((mean(second), mean(last)))
}
