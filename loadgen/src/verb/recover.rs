//! `recover`: how long an engine takes to serve again, by what it holds. A process of our own is filled
//! and ended, by a kill or in order; then the engine is started here, by the clock.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, BufReader, Read},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant, SystemTime},
};

use tickwheel_engine::{Durability, Engine, NewJob};

use super::{Session, VerbError, point};
use crate::{
    options::Options,
    place::{Place, bytes_below},
    result::{LedgerCounts, Report},
    run::RunError,
    target::TargetName,
    verdict::Rule,
    workload::payload,
};

/// Kind of the jobs; they never run.
const KIND: &str = "load";
/// Jobs are due so late that none runs while it is measured.
const DELAY: Duration = Duration::from_secs(86_400);
/// Jobs per batch.
const BATCH: u32 = 4096;
/// What the filled process says once all is accepted.
const FILLED: &str = "filled";

/// How the filled process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By SIGKILL: nothing is closed, no last snapshot is taken.
    Kill,
    /// In order.
    Clean,
}

/// What is asked.
#[derive(Clone, Debug)]
pub struct Recover {
    /// This program.
    pub program: std::path::PathBuf,
    /// Jobs that are pending, one measurement each.
    pub pending: Vec<u32>,
    /// How the filled process ends.
    pub end: End,
}

/// Measures each number of pending jobs.
///
/// # Errors
/// The filled process or the engine does not start, or a result cannot be stored.
pub fn recover(session: &mut Session, options: &Options, ask: &Recover) -> Result<(), VerbError> {
    if options.target != TargetName::Inproc {
        let text = "recover is measured in this process: use --target inproc";
        return Err(VerbError::Usage(text.to_owned()));
    }
    for pending in &ask.pending {
        if session.is_stopped() {
            break;
        }
        let report = recover_one(session, options, ask, *pending)?;
        session.keep(&format!("pending-{pending}"), report)?;
    }
    Ok(())
}

fn recover_one(
    session: &Session,
    options: &Options,
    ask: &Recover,
    pending: u32,
) -> Result<Report, VerbError> {
    let began_unix_ms =
        SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_millis() as u64);
    let began = Instant::now();
    let place = Place::prepare(options.data_dir.as_deref()).map_err(RunError::from)?;
    let child = Filled::start(options, ask, place.path(), pending)?;
    child.end(ask.end)?;
    let log_bytes = bytes_below(place.path());
    let opened = Instant::now();
    let engine = Engine::builder()
        .data_dir(place.path())
        .durability(options.durability)
        .handler(KIND, |_| Ok(()))
        .start()
        .map_err(|error| RunError::Start(error.into()))?;
    let open_s = opened.elapsed().as_secs_f64();
    // It serves once it has taken a job.
    let serving = engine.submit(NewJob::new(KIND).delay(DELAY));
    let serve_s = opened.elapsed().as_secs_f64();
    serving.map_err(|error| RunError::Target(error.to_string()))?;
    let stats = engine.stats().map_err(|error| RunError::Target(error.to_string()))?;
    let rss_bytes = crate::machine::memory_bytes();
    let shards = engine.shards();
    engine.shutdown(Duration::ZERO).map_err(|error| RunError::Target(error.to_string()))?;

    let jobs = u64::from(pending);
    let recovered = stats.recovered_jobs;
    let ledger = LedgerCounts {
        submitted: jobs,
        acked: jobs,
        outstanding: recovered.min(jobs),
        lost: jobs.saturating_sub(recovered),
        ..LedgerCounts::default()
    };
    let mut report = Report::bare("recover", session.machine().clone());
    if ledger.lost > 0 {
        let text = format!("{} of {jobs} accepted jobs were not recovered", ledger.lost);
        report.verdict.add(Rule::Correctness, text);
    }
    if recovered > jobs {
        let text = format!("{recovered} jobs were recovered, {jobs} were accepted");
        report.verdict.add(Rule::Ledger, text);
    }
    report.point = point("pending", f64::from(pending));
    report.began_unix_ms = began_unix_ms;
    report.durability = options.durability.to_string();
    report.target = options.target.to_string();
    report.command = format!(
        "tickwheel-loadgen recover --pending {pending} --end {} --durability '{}' --payload {}",
        match ask.end {
            End::Kill => "kill",
            End::Clean => "clean",
        },
        options.durability,
        options.workload.payload
    );
    report.ledger = ledger;
    report.shards = shards;
    report.resources.rss_bytes = rss_bytes;
    report.log.bytes = stats.log_bytes;
    report.wall_seconds = began.elapsed().as_secs_f64();
    report.extra = BTreeMap::from([
        ("open_s".to_owned(), open_s),
        ("serve_s".to_owned(), serve_s),
        ("disk_bytes".to_owned(), log_bytes as f64),
    ]);
    Ok(report)
}

/// The filled process.
struct Filled(Child);

impl Filled {
    /// Starts this program as `fill` and waits until all jobs are accepted.
    fn start(
        options: &Options,
        ask: &Recover,
        dir: &Path,
        pending: u32,
    ) -> Result<Self, VerbError> {
        let failed = |source| VerbError::Child { what: "the process to be filled", source };
        let mut command = Command::new(&ask.program);
        command.arg("fill").arg("--data-dir").arg(dir);
        command.args(["--jobs", &pending.to_string()]);
        command.args(["--durability", &options.durability.to_string()]);
        command.args(["--payload", &options.workload.payload.typical().to_string()]);
        if let Some(shards) = options.shards {
            command.args(["--shards", &shards.to_string()]);
        }
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(failed)?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line).map_err(failed)?;
        }
        let filled = Self(child);
        if line.trim() != FILLED {
            return Err(failed(io::Error::other("it ended before it was filled")));
        }
        Ok(filled)
    }

    fn end(mut self, end: End) -> Result<(), VerbError> {
        let failed = |source| VerbError::Child { what: "the end of the filled process", source };
        match end {
            End::Kill => self.0.kill().map_err(failed)?,
            // Its standard input closes, and that is what it waits for.
            End::Clean => drop(self.0.stdin.take()),
        }
        self.0.wait().map_err(failed)?;
        Ok(())
    }
}

impl Drop for Filled {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Fills an engine with jobs that are due in a day, says so on standard output, and waits for the end of
/// standard input. This is what the filled process does.
///
/// # Errors
/// The engine does not start or refuses jobs.
pub fn fill(
    dir: &Path,
    jobs: u32,
    payload_bytes: usize,
    durability: Durability,
    shards: Option<usize>,
) -> Result<(), RunError> {
    let mut builder =
        Engine::builder().data_dir(dir).durability(durability).handler(KIND, |_| Ok(()));
    if let Some(shards) = shards {
        builder = builder.shards(shards);
    }
    let engine = builder.start().map_err(|error| RunError::Start(error.into()))?;
    let refused = |error: &dyn std::fmt::Display| RunError::Target(error.to_string());
    for start in (0..jobs).step_by(BATCH as usize) {
        let batch = (start..jobs.min(start.saturating_add(BATCH)))
            .map(|number| {
                let mut payload = vec![0; payload_bytes.max(payload::PAYLOAD_BYTES_MIN)];
                payload::compose(1, number, &mut payload);
                NewJob::new(KIND).payload(payload).delay(DELAY)
            })
            .collect();
        for answer in engine.submit_batch(batch).map_err(|error| refused(&error))? {
            answer.map_err(|error| refused(&error))?;
        }
    }
    println!("{FILLED}");
    // Whatever ends the wait ends the process.
    let _ = io::stdin().read(&mut [0]);
    engine.shutdown(Duration::ZERO).map(|_| ()).map_err(|error| refused(&error))
}
