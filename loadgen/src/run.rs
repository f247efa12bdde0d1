//! One run from start to end: place, machine, engine, load, account, report. Whatever the engine
//! does, a run ends: what does not come back in time is left behind and reported.

use std::{
    fmt, io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    thread,
    time::{Duration, Instant},
};

use tickwheel_engine::{
    Engine, EngineStats, ShutdownError, StartError, SubmitError,
    latency::{Histogram, Latency, Stage},
};

use crate::{
    account::Account,
    clock,
    limits::{Limits, LimitsError},
    machine::{self, Machine},
    options::{Load, Options, OptionsError},
    place::{Place, PlaceError},
    progress::Progress,
    report::{Achieved, LatencyNs, LogLength, Report, Resources, SCHEMA, Spans},
    submit::{KIND, Submitter},
    text,
};

/// How often it is looked whether a run has to be given up.
const LOOK: Duration = Duration::from_millis(50);
/// Between two looks at whether the last completions are acknowledged.
const SETTLE_LOOK: Duration = Duration::from_micros(500);
/// How long the engine has to end after a run, and to tell its numbers.
const END_MAX: Duration = Duration::from_secs(30);
/// Grace for running handlers; there are none after a whole run.
const GRACE: Duration = Duration::from_secs(1);
/// Numbers of missing jobs that a report names.
const NAMED_MAX: usize = 10;

/// Who watches a run.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    /// Show a bar on standard error, if that is a terminal.
    pub progress: bool,
    /// Set it to end the run with [`RunError::Interrupted`].
    pub stop: Arc<AtomicBool>,
}

/// A run that has ended. Its text form is the report for people.
#[derive(Clone, Debug)]
pub struct Run {
    /// What was found.
    pub report: Report,
    latency: Latency,
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&text::of_run(&self.report, &self.latency))
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
    /// The engine did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The engine stopped taking jobs in the middle.
    #[error("the engine failed during the load: {0}")]
    Engine(String),
    /// The engine did not end cleanly.
    #[error(transparent)]
    Shutdown(#[from] ShutdownError),
    /// The system refused a thread.
    #[error("cannot start a thread: {0}; raise the limit of threads or memory")]
    Thread(#[from] io::Error),
    /// It was asked to stop.
    #[error("the run was interrupted; nothing is reported of it")]
    Interrupted,
}

impl RunError {
    /// Whether another command line is what is needed.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Options(_) | Self::Place(PlaceError::Occupied { .. }))
    }
}

/// Puts a load on an engine and reports what became of it.
///
/// Lost and early jobs are no error but part of the report, as is a run that was given up:
/// [`Report::kept_its_promises`].
///
/// # Errors
/// The run could not be carried out.
pub fn run(options: &Options) -> Result<Report, RunError> {
    run_watched(options, &Watch::default()).map(|run| run.report)
}

/// Like [`run`], with somebody who watches; the result can be printed.
///
/// # Errors
/// The run could not be carried out, or it was stopped.
pub fn run_watched(options: &Options, watch: &Watch) -> Result<Run, RunError> {
    let began = Instant::now();
    options.check()?;
    let place = Place::prepare(options.data_dir.as_deref())?;
    let limits = Limits::measure(place.path())?;
    let machine = Machine::describe(place.path(), limits);
    let account = Arc::new(Account::new(options));
    let engine = Arc::new(start(options, &place, &account)?);
    // Where it is refused, the peak includes what came before the load, which is little.
    let _ = machine::reset_peak_memory();

    let progress = Progress::show(watch.progress, &account);
    let loaded = load(options, watch, &engine, &account);
    drop(progress);
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(error) => {
            // The engine's own end would only repeat what has gone wrong.
            let _ = within(END_MAX, move || engine.shutdown(Duration::ZERO));
            return Err(error);
        }
    };
    let rss_bytes = machine::peak_memory_bytes();
    let latency = engine.latency();
    let shards = engine.shards();
    let (stats, end_missed) = end(engine, loaded.cut_short.is_some())?;
    let balance = account.ledger.balance();
    let elapsed_s = (loaded.ended_ns - loaded.began_ns) as f64 / 1e9;
    let submitting_s = (loaded.submitted_ns - loaded.began_ns) as f64 / 1e9;
    let per_job = |value: u64| {
        if balance.ran == 0 { 0.0 } else { value as f64 / balance.ran as f64 }
    };
    let is_open = matches!(options.load, Load::Rate(_));
    let report = Report {
        schema: SCHEMA,
        command: options.to_string(),
        machine,
        seed: options.seed,
        durability: options.durability.to_string(),
        achieved: Achieved {
            submitted_per_s: balance.submitted as f64 / submitting_s.max(1e-9),
            completed_per_s: balance.ran as f64 / elapsed_s.max(1e-9),
        },
        latency_ns: LatencyNs::of(&latency, is_open.then(|| Spans::of(&account.planned_ack()))),
        ledger: balance.into(),
        resources: Resources {
            cpu_ns_per_job: per_job(loaded.cpu_ns),
            rss_bytes,
            wal_bytes_per_job: per_job(stats.log_appended_bytes),
        },
        shards,
        refused: account.refused(),
        first_refusal: account.first_refusal().map(str::to_owned),
        damaged: account.damaged(),
        early_max_ns: account.early_max_ns(),
        elapsed_s,
        wall_seconds: began.elapsed().as_secs_f64(),
        syncs: stats.log_syncs,
        log: LogLength {
            bytes: stats.log_bytes,
            moved_bytes: stats.log_moved_bytes,
            segments_released: stats.log_segments_released,
            snapshots: stats.snapshots,
        },
        ready: Spans::of(latency.stage(Stage::Ready)),
        generator_lateness: loaded.lateness.as_ref().map(Spans::of),
        submit_service: is_open.then(|| Spans::of(latency.stage(Stage::SubmitAck))),
        cut_short: loaded.cut_short.or(end_missed),
    };
    Ok(Run { report, latency })
}

fn start(options: &Options, place: &Place, account: &Arc<Account>) -> Result<Engine, StartError> {
    let handler = Arc::clone(account);
    let mut builder = Engine::builder()
        .data_dir(place.path())
        .durability(options.durability)
        .handler(KIND, move |attempt| handler.handle(attempt));
    if let Some(shards) = options.shards {
        builder = builder.shards(shards);
    }
    if let Some(executors) = options.executors {
        builder = builder.executors(executors);
    }
    builder.start()
}

/// A load that has ended.
struct Loaded {
    /// All on `CLOCK_MONOTONIC`.
    began_ns: u64,
    submitted_ns: u64,
    ended_ns: u64,
    /// Processor time of the process meanwhile.
    cpu_ns: u64,
    /// How late an open loop submitted.
    lateness: Option<Histogram<u64>>,
    cut_short: Option<String>,
}

/// A submitter's end: how late it was, and when it ended.
type Submitted = Result<(Option<Histogram<u64>>, u64), SubmitError>;

fn load(
    options: &Options,
    watch: &Watch,
    engine: &Arc<Engine>,
    account: &Arc<Account>,
) -> Result<Loaded, RunError> {
    let supervisor = Supervisor { options, watch, account, deadline: deadline(options) };
    let submitter = Submitter::new(options, Arc::clone(engine), Arc::clone(account));
    let cpu_before_ns = clock::cpu_ns();
    let began_ns = clock::mono_ns();
    let mut loaded = Loaded {
        began_ns,
        submitted_ns: began_ns,
        ended_ns: began_ns,
        cpu_ns: 0,
        lateness: None,
        cut_short: None,
    };
    let cut_short = match supervisor.submit(submitter, engine.shards(), &mut loaded)? {
        None => supervisor.finish(engine, &mut loaded)?,
        cut_short => cut_short,
    };
    if cut_short.is_some() {
        account.give_up();
        loaded.ended_ns = clock::mono_ns();
        loaded.submitted_ns = loaded.submitted_ns.max(loaded.began_ns + 1);
    }
    loaded.cpu_ns = clock::cpu_ns().saturating_sub(cpu_before_ns);
    loaded.cut_short = cut_short;
    Ok(loaded)
}

fn deadline(options: &Options) -> Option<Instant> {
    // A moment beyond the clock never comes.
    Instant::now().checked_add(options.patience())
}

/// Waits for the parts of a load, and gives up when it must.
struct Supervisor<'a> {
    options: &'a Options,
    watch: &'a Watch,
    account: &'a Arc<Account>,
    deadline: Option<Instant>,
}

impl Supervisor<'_> {
    /// Starts the submitters and waits for them. `Some`: the run was given up, and why.
    fn submit(
        &self,
        submitter: Submitter,
        shards: usize,
        loaded: &mut Loaded,
    ) -> Result<Option<String>, RunError> {
        let submitter = Arc::new(submitter);
        // An open loop has one plan, and one thread keeps to it.
        let threads = if self.options.load == Load::Max { shards } else { 1 };
        let (sender, ends) = channel::<Submitted>();
        for number in 0..threads {
            let submitter = Arc::clone(&submitter);
            let sender = sender.clone();
            let load = self.options.load;
            let submit = move || {
                let ended = match load {
                    Load::Max => submitter.closed_loop().map(|()| None),
                    Load::Rate(rate) => submitter.open_loop(rate).map(Some),
                };
                // The submitter goes first: the engine must not end on this thread.
                drop(submitter);
                let _ = sender.send(ended.map(|lateness| (lateness, clock::mono_ns())));
            };
            thread::Builder::new().name(format!("submit-{number}")).spawn(submit)?;
        }
        drop(sender);
        for _ in 0..threads {
            match self.wait_for(&ends)? {
                Some(Ok((lateness, ended_ns))) => {
                    loaded.submitted_ns = loaded.submitted_ns.max(ended_ns);
                    loaded.lateness = lateness.or(loaded.lateness.take());
                }
                Some(Err(error)) => return Err(RunError::Engine(error.to_string())),
                None => return Ok(Some(self.missing())),
            }
        }
        Ok(None)
    }

    /// Waits until no job is pending and everything is acknowledged. `Some`: the run was given
    /// up, and why.
    fn finish(
        &self,
        engine: &Arc<Engine>,
        loaded: &mut Loaded,
    ) -> Result<Option<String>, RunError> {
        let (sender, drained) = channel();
        let patience = self.deadline.map_or(Duration::from_secs(u64::from(u32::MAX)), |deadline| {
            deadline.saturating_duration_since(Instant::now())
        });
        let drainer = Arc::clone(engine);
        let drain = move || {
            let is_drained = drainer.drain(patience);
            drop(drainer);
            let _ = sender.send((is_drained, clock::mono_ns()));
        };
        thread::Builder::new().name("drain".to_owned()).spawn(drain)?;
        let drained_ns = match self.wait_for(&drained)? {
            Some((true, drained_ns)) => drained_ns,
            Some((false, _)) if !self.is_over() => {
                return Err(RunError::Engine("it takes nothing more".to_owned()));
            }
            _ => return Ok(Some(self.missing())),
        };
        loaded.ended_ns = drained_ns;
        // With `sync`, the last answers and ends are still on their way to the disk.
        while !self.is_settled(engine) {
            if let Some(error) = self.must_stop() {
                return Err(error);
            }
            if self.is_over() {
                return Ok(Some(self.missing()));
            }
            thread::sleep(SETTLE_LOOK);
            loaded.ended_ns = clock::mono_ns();
        }
        Ok(None)
    }

    /// Whether every submit is answered and every completion acknowledged.
    fn is_settled(&self, engine: &Engine) -> bool {
        self.account.answers() == u64::from(self.options.jobs)
            && engine.latency().stage(Stage::CompletionAck).len() >= self.account.completed()
    }

    /// The next message; `None` when the time is over.
    fn wait_for<T>(&self, messages: &Receiver<T>) -> Result<Option<T>, RunError> {
        loop {
            match messages.recv_timeout(LOOK) {
                Ok(message) => return Ok(Some(message)),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(RunError::Engine("a thread that called it panicked".to_owned()));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            if let Some(error) = self.must_stop() {
                return Err(error);
            }
            if self.is_over() {
                return Ok(None);
            }
        }
    }

    fn must_stop(&self) -> Option<RunError> {
        if self.watch.stop.load(Ordering::Relaxed) {
            return Some(RunError::Interrupted);
        }
        self.account.failure().map(|reason| RunError::Engine(reason.to_owned()))
    }

    fn is_over(&self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// What is missing when the time is over.
    fn missing(&self) -> String {
        let ledger = &self.account.ledger;
        let balance = ledger.balance();
        let unanswered = balance.submitted.saturating_sub(self.account.answers());
        let missing =
            (0..ledger.jobs()).filter(|job| ledger.is_acked(*job) && !ledger.has_run(*job));
        let named: Vec<String> = missing.take(NAMED_MAX).map(|job| job.to_string()).collect();
        let mut text = format!(
            "given up after {:?}: {} of {} jobs were submitted, {unanswered} of these were not answered, {} were accepted and have not run",
            self.options.patience(),
            balance.submitted,
            self.options.jobs,
            balance.lost
        );
        if !named.is_empty() {
            let more = if balance.lost > NAMED_MAX as u64 { ", …" } else { "" };
            text.push_str(&format!(" (numbers {}{more})", named.join(", ")));
        }
        text
    }
}

/// Takes the engine's numbers and ends it. The second is why it did not end in time.
fn end(
    engine: Arc<Engine>,
    was_cut_short: bool,
) -> Result<(EngineStats, Option<String>), RunError> {
    let missed = || Some(format!("the engine did not end within {END_MAX:?}"));
    let ended = within(END_MAX, move || {
        let stats = engine.stats();
        (stats, engine.shutdown(GRACE))
    });
    match ended? {
        None => Ok((EngineStats::default(), missed())),
        // A run that was cut short has its reason already.
        Some((stats, _)) if was_cut_short => Ok((stats.unwrap_or_default(), None)),
        Some((stats, shutdown)) => {
            let stats = stats.map_err(|error| RunError::Engine(error.to_string()))?;
            shutdown?;
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
