//! `trend`: a few runs that are the same for each release, and one line about them in a file that goes with the
//! sources.

use std::{fs, path::PathBuf, time::Duration};

use tickwheel_engine::Durability;

use super::{Session, VerbError, at_rate, point};
use crate::{
    options::{Load, Options},
    result::{Report, StoreError},
    verdict::Outcome,
};

/// What stands in the first line.
const HEAD: &str = "release,unix_s,cpu,cores,kernel,interval_per_s,interval_cpu_ns,sync_per_s,sync_cpu_ns,paced_lateness_p50_us,paced_lateness_p99_us,paced_submit_p99_us,wal_bytes_per_job,fdatasync_p50_us,steal_share,verdict";
/// Longest name of a release.
const RELEASE_CHARS_MAX: usize = 32;
/// Rate and time of the paced run.
const PACED_PER_S: f64 = 10_000.0;
const PACED: Duration = Duration::from_secs(10);

/// What is asked.
#[derive(Clone, Debug)]
pub struct Trend {
    /// The release that is measured.
    pub release: String,
    /// The file that gets a line.
    pub file: PathBuf,
    /// Jobs of each closed loop.
    pub jobs: u32,
    /// How long the paced run takes; `None` for 10 s.
    pub paced: Option<Duration>,
    /// How often each is run; the run in the middle counts, and nothing is averaged.
    pub repeats: u32,
}

/// Measures, adds the line, and gives it.
///
/// # Errors
/// The name or the file will not do, a run could not be carried out, or a promise was broken: then there is no
/// line.
pub fn trend(session: &mut Session, ask: &Trend) -> Result<String, VerbError> {
    let before = read(ask)?;
    let mut closed = |name: &'static str, durability: Durability| {
        let options = Options { durability, load: Load::Max, ..Options::new(ask.jobs) };
        middle(session, name, &options, ask.repeats, |run| run.achieved.completed_per_s)
    };
    let interval = closed("interval", Durability::Interval(Duration::from_millis(50)))?;
    let sync = closed("sync", Durability::Sync)?;
    let options = at_rate(&Options::new(1), PACED_PER_S, ask.paced.unwrap_or(PACED));
    let paced =
        middle(session, "paced", &options, ask.repeats, |run| run.spans("lateness").p99 as f64)?;
    let line = line(ask, session, [&interval, &sync, &paced]);
    if session.worst() == Outcome::Incorrect {
        let text = "a promise was broken in one of the runs: the release gets no line";
        return Err(VerbError::Usage(text.to_owned()));
    }
    let write = |source| StoreError::Write { path: ask.file.clone(), source };
    if let Some(parent) = ask.file.parent() {
        fs::create_dir_all(parent).map_err(write)?;
    }
    // Whole or not at all.
    let half = ask.file.with_extension("half");
    let text = format!("{before}{line}\n");
    fs::write(&half, text).and_then(|()| fs::rename(&half, &ask.file)).map_err(write)?;
    Ok(line)
}

/// What the file holds already, its first line included.
fn read(ask: &Trend) -> Result<String, VerbError> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._+-".contains(c);
    let release = &ask.release;
    if release.is_empty() || release.len() > RELEASE_CHARS_MAX || !release.chars().all(is_plain) {
        let text =
            format!("{release:?} names no release: write such as 0.2.0, at most 32 characters");
        return Err(VerbError::Usage(text));
    }
    let text = match fs::read_to_string(&ask.file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(format!("{HEAD}\n"));
        }
        Err(source) => return Err(StoreError::Read { path: ask.file.clone(), source }.into()),
    };
    let refuse = |reason: &str| {
        let text = format!("{}: {reason}", ask.file.display());
        Err(VerbError::Usage(text))
    };
    if text.lines().next() != Some(HEAD) || !text.ends_with('\n') {
        return refuse("it has another first line than this version writes; name another file");
    }
    if text.lines().any(|line| line.split(',').next() == Some(release)) {
        return refuse("it has a line for that release; remove it to measure again");
    }
    Ok(text)
}

/// The run in the middle of several, by a number of each.
fn middle(
    session: &mut Session,
    name: &'static str,
    options: &Options,
    repeats: u32,
    by: impl Fn(&Report) -> f64,
) -> Result<Report, VerbError> {
    let mut runs = Vec::new();
    for number in 0..repeats.max(1) {
        if session.is_stopped() {
            return Err(VerbError::Usage("interrupted: the release gets no line".to_owned()));
        }
        let options = Options { seed: options.seed + u64::from(number), ..options.clone() };
        let file = format!("{name}-{}", number + 1);
        runs.push(session.run(&file, point(name, f64::from(number + 1)), &options)?.report);
    }
    runs.sort_by(|one, other| by(one).total_cmp(&by(other)));
    Ok(runs.swap_remove(runs.len() / 2))
}

fn line(ask: &Trend, session: &Session, [interval, sync, paced]: [&Report; 3]) -> String {
    let machine = session.machine();
    let us = |ns: u64| format!("{:.1}", ns as f64 / 1e3);
    let plain = |text: &str| text.replace([',', '\n', '"'], " ");
    let lateness = paced.spans("lateness");
    let steal = [interval, sync, paced].map(|run| run.resources.steal_share);
    [
        ask.release.clone(),
        (interval.began_unix_ms / 1000).to_string(),
        plain(&machine.cpu),
        machine.cores.to_string(),
        plain(&machine.kernel),
        format!("{:.0}", interval.achieved.completed_per_s),
        format!("{:.0}", interval.resources.cpu_ns_per_job),
        format!("{:.0}", sync.achieved.completed_per_s),
        format!("{:.0}", sync.resources.cpu_ns_per_job),
        us(lateness.p50),
        us(lateness.p99),
        us(paced.spans("submit").p99),
        format!("{:.1}", sync.resources.wal_bytes_per_job),
        us(machine.limits.write_and_sync_ns.p50),
        format!("{:.3}", steal.into_iter().fold(0.0, f64::max)),
        session.worst().name().to_owned(),
    ]
    .join(",")
}
