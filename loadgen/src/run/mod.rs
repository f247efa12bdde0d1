//! One run from start to end: place, target, load, account, verdict, report. Whatever the target does, a
//! run ends: what does not come back in time is left behind and reported.

mod supervise;

use std::{
    collections::BTreeMap,
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool, mpsc::channel},
    thread,
    time::{Duration, Instant, SystemTime},
};

use tickwheel_engine::{EngineStats, latency::Latency};

use crate::{
    clock,
    limits::{Limits, LimitsError},
    machine::{self, CpuTimes, Machine},
    measure::{Account, Collected, Collector, Metric, Settings},
    options::{Load, Options, OptionsError},
    place::{Place, PlaceError},
    result::{
        Achieved, LedgerCounts, LogLength, Point, Report, Resources, SCHEMA, Spans, StagesNs,
        curve, text,
    },
    target::{self, Target, TargetError, TargetName},
    verdict::{Evidence, Verdict},
    workload::Due,
};

/// How long the target has to end after a run, and to tell its numbers.
const END_MAX: Duration = Duration::from_secs(30);
/// Grace for running handlers; there are none after a whole run.
const GRACE: Duration = Duration::from_secs(1);

/// Who watches a run, and what goes with it.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    /// Show a bar on standard error, if that is a terminal.
    pub progress: bool,
    /// Set it to end the run; what was measured until then is reported, and marked partial.
    pub stop: Arc<AtomicBool>,
    /// Where the interval log goes.
    pub hlog: Option<PathBuf>,
    /// What stands before the numbers of the bar.
    pub title: String,
    /// What the machine was measured to do. `None`: it is measured before the run.
    pub machine: Option<Machine>,
    /// The verb that the run is a part of, and its place on the axis of that verb.
    pub part: Option<(String, Option<Point>)>,
}

/// A run that has ended. Its text form is the report for people.
#[derive(Clone, Debug)]
pub struct Run {
    /// What was found.
    pub report: Report,
    latency: Option<Latency>,
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text::of_run(&self.report, self.latency.as_ref()))
    }
}

/// A run that could not be carried out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The options are wrong.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// There is no place to store the log.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The machine's limits could not be measured.
    #[error(transparent)]
    Limits(#[from] LimitsError),
    /// The target did not start, or is not there.
    #[error(transparent)]
    Start(#[from] TargetError),
    /// The target stopped taking jobs in the middle.
    #[error("the target failed during the load: {0}")]
    Target(String),
    /// The system refused a thread.
    #[error("cannot start a thread: {0}; raise the limit of threads or memory")]
    Thread(#[from] io::Error),
}

impl RunError {
    /// Whether another command line is what is needed.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Options(_) | Self::Place(PlaceError::Occupied { .. }))
    }
}

/// Puts a load on a target and reports what became of it.
///
/// Lost and early jobs are no error but part of the report, as are missed objectives and a run that
/// was given up: [`Report::verdict`].
///
/// # Errors
/// The run could not be carried out.
pub fn run(options: &Options) -> Result<Report, RunError> {
    run_watched(options, &Watch::default()).map(|run| run.report)
}

/// Like [`run`], with somebody who watches; the result can be printed.
///
/// # Errors
/// The run could not be carried out.
pub fn run_watched(options: &Options, watch: &Watch) -> Result<Run, RunError> {
    let began = Instant::now();
    let began_unix_ms =
        SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_millis() as u64);
    options.check()?;
    let place = Place::prepare(options.data_dir.as_deref())?;
    let machine = match &watch.machine {
        Some(machine) => machine.clone(),
        None => describe(place.path())?,
    };
    let account = Arc::new(Account::new(options));
    let target = target::start(options, &place, &account)?;
    // Where it is refused, the peak includes what came before the load, which is little.
    let _ = machine::reset_peak_memory();
    let settings = Settings {
        hlog: watch.hlog.clone(),
        live: watch.progress,
        planned: options.planned(),
        title: watch.title.clone(),
    };
    let collector = Collector::start(&account, settings)?;
    let cpu_before = CpuTimes::read();
    let cpu_before_ns = clock::cpu_ns();
    let loaded = supervise::load(options, &watch.stop, &target, &account);
    let cpu_ns = clock::cpu_ns().saturating_sub(cpu_before_ns);
    let shares = CpuTimes::read().since(&cpu_before, cpu_ns);
    let collected = collector.end();
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(error) => {
            // The target's own end would only repeat what has gone wrong.
            let _ = within(END_MAX, move || target.shutdown(Duration::ZERO));
            return Err(error);
        }
    };
    let rss_bytes = machine::peak_memory_bytes();
    let latency = target.latency();
    let shards = target.shards();
    let process = target.process();
    let faults = target.faults();
    let target_notes = target.notes();
    let was_cut_short = loaded.cut_short.is_some() || loaded.is_partial;
    let (stats, end_missed) = end(target, was_cut_short)?;

    let ledger = ledger(&account, loaded.is_partial);
    let elapsed_s = (loaded.ended_ns - loaded.began_ns) as f64 / 1e9;
    let submitting_s = (loaded.submitted_ns - loaded.began_ns) as f64 / 1e9;
    let per_job = |value: u64| match ledger.completed {
        0 => 0.0,
        completed => value as f64 / completed as f64,
    };
    let achieved = Achieved {
        submitted_per_s: ledger.submitted as f64 / submitting_s.max(1e-9),
        completed_per_s: ledger.completed as f64 / elapsed_s.max(1e-9),
    };
    let resources = Resources {
        cpu_ns_per_job: per_job(cpu_ns),
        cpus_busy: cpu_ns as f64 / 1e9 / elapsed_s.max(1e-9),
        others_share: shares.others,
        steal_share: shares.steal,
        rss_bytes,
        wal_bytes_per_job: per_job(stats.log_appended_bytes),
        held_share: (loaded.held_ns as f64 / 1e9 / submitting_s.max(1e-9)).min(1.0),
    };
    let (latency_ns, curves) = spans(&collected);
    let offered_per_s = offered(options);
    let cut_short = loaded.cut_short.or(end_missed);
    let verdict = Verdict::of(&Evidence {
        slo: &options.slo,
        spans: &|name| latency_ns.get(name).copied(),
        ledger: &ledger,
        resources: &resources,
        intervals: &collected.intervals,
        cores: machine.cores,
        rates_per_s: offered_per_s.map(|mean| {
            // What was planned may leave the mean: a Poisson process does, a burst that ends early.
            let planned_s = loaded.planned_ns as f64 / 1e9;
            let planned = if planned_s > 0.0 { ledger.submitted as f64 / planned_s } else { mean };
            (planned, achieved.submitted_per_s)
        }),
        completed_per_s: achieved.completed_per_s,
        is_steady: !matches!(options.workload.due, Due::Herd(_))
            && !options.paused
            && options.faults.is_empty(),
        is_elsewhere: options.target != TargetName::Inproc,
        faults_missed: options.faults.0.len() - faults.len().min(options.faults.0.len()),
        cut_short: cut_short.as_deref(),
        partial: loaded.is_partial,
    });
    let (verb, point) = watch.part.clone().unwrap_or_else(|| ("run".to_owned(), None));
    let mut notes = target_notes;
    if let Some(failure) = collected.hlog_failure {
        notes.push(format!("the interval log is not whole: {failure}"));
    }
    // What a server takes that the run loads is no disturbance.
    if shares.others > OTHERS_NOTED && options.target == TargetName::Inproc {
        let percent = shares.others * 100.0;
        notes.push(format!("other processes used {percent:.0} % of the machine's processors"));
    }
    let mut extra = BTreeMap::new();
    if options.paused {
        extra.insert("drain_s".to_owned(), loaded.drained_s);
    }
    if let Some(process) = process {
        extra.insert("server_cpu_ns_per_job".to_owned(), per_job(process.cpu_ns));
        extra.insert("server_rss_bytes".to_owned(), process.rss_bytes as f64);
        extra.insert("server_disk_bytes".to_owned(), process.disk_bytes as f64);
    }
    let durability = match options.target {
        // Only who started the server knows.
        TargetName::Tcp(_) => DURABILITY_OF_SERVER.to_owned(),
        _ => options.durability.to_string(),
    };
    let report = Report {
        schema: SCHEMA.to_owned(),
        verb,
        point,
        command: options.to_string(),
        began_unix_ms,
        machine,
        seed: options.seed,
        target: options.target.to_string(),
        durability,
        offered_per_s,
        achieved,
        latency_ns,
        curves,
        stages_ns: latency.as_ref().map(StagesNs::of),
        ledger,
        resources,
        log: LogLength {
            bytes: stats.log_bytes,
            appended_bytes: stats.log_appended_bytes,
            moved_bytes: stats.log_moved_bytes,
            segments_released: stats.log_segments_released,
            snapshots: stats.snapshots,
            syncs: stats.log_syncs,
        },
        syncs_by_time: by_time(&stats.log_sync_classes.0),
        shards,
        first_refusal: account.first_refusal().map(str::to_owned),
        early_max_ns: account.early_max_ns(),
        elapsed_s,
        wall_seconds: began.elapsed().as_secs_f64(),
        intervals: collected.intervals,
        faults,
        tenants: collected.tenants,
        extra,
        verdict,
        partial: loaded.is_partial,
        cut_short,
        notes,
    };
    Ok(Run { report, latency })
}

/// What stands for the durability of a server that somebody else started.
const DURABILITY_OF_SERVER: &str = "as the server is set";
/// Share of the processors used by others that a report mentions.
const OTHERS_NOTED: f64 = 0.05;

/// Describes this machine, with what it can do in `dir`.
pub(crate) fn describe(dir: &Path) -> Result<Machine, LimitsError> {
    let limits = Limits::measure(dir)?;
    Ok(Machine::describe(dir, limits))
}

/// The mean rate of an open loop that has one. Bursts that end early make a short run faster.
fn offered(options: &Options) -> Option<f64> {
    match options.load {
        Load::Max => None,
        Load::Rate(rate) => Some(rate),
    }
}

/// The classes up to the last that is not empty.
fn by_time(classes: &[u64]) -> Vec<u64> {
    let used = classes.iter().rposition(|count| *count > 0).map_or(0, |last| last + 1);
    classes[..used].to_vec()
}

fn ledger(account: &Account, is_partial: bool) -> LedgerCounts {
    let counts = LedgerCounts::of(account.ledger.balance());
    let missing = account.missing().count() as u64;
    let refused = account.refused();
    let (outstanding, lost) = if is_partial { (missing, 0) } else { (0, missing) };
    LedgerCounts {
        refused,
        indeterminate: counts.submitted.saturating_sub(counts.acked + refused),
        cancelled: account.cancelled() - account.ran_though_cancelled(),
        outstanding,
        lost,
        ran_after_cancel: account.ran_after_cancel(),
        damaged: account.damaged(),
        meant_to_fail: account.misbehaved(),
        ..counts
    }
}

/// The spans and the curve of each metric that was recorded.
type SpansAndCurves = (BTreeMap<String, Spans>, BTreeMap<String, Vec<(f64, u64)>>);

fn spans(collected: &Collected) -> SpansAndCurves {
    let (mut spans, mut curves) = SpansAndCurves::default();
    for metric in Metric::ALL {
        let total = collected.total(metric);
        if !total.is_empty() {
            spans.insert(metric.name().to_owned(), Spans::of(total));
            curves.insert(metric.name().to_owned(), curve(total));
        }
    }
    (spans, curves)
}

/// Takes the target's numbers and ends it. The second is why it did not end in time.
fn end(
    target: Arc<dyn Target>,
    was_cut_short: bool,
) -> Result<(EngineStats, Option<String>), RunError> {
    let missed = || Some(format!("the target did not end within {END_MAX:?}"));
    let ended = within(END_MAX, move || {
        let stats = target.stats();
        (stats, target.shutdown(GRACE))
    });
    match ended? {
        None => Ok((EngineStats::default(), missed())),
        // A run that was cut short has its reason already.
        Some((stats, _)) if was_cut_short => Ok((stats.unwrap_or_default(), None)),
        Some((stats, shutdown)) => {
            let stats = stats.map_err(RunError::Target)?;
            shutdown.map_err(RunError::Target)?;
            Ok((stats, None))
        }
    }
}

/// What `body` gives, if it does so in time; else it is left behind.
fn within<T: Send + 'static>(
    limit: Duration,
    body: impl FnOnce() -> T + Send + 'static,
) -> io::Result<Option<T>> {
    let (sender, done) = channel();
    thread::Builder::new().name("end".to_owned()).spawn(move || {
        let _ = sender.send(body());
    })?;
    Ok(done.recv_timeout(limit).ok())
}
