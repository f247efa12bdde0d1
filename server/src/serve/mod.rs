//! `tickwheel serve`: from input files to a running engine and back to an orderly end.
//!
//! `load` gathers the plan, `check` prints it, `schedules` hands it to the engine, `runner` runs
//! what is due and logs it, `ending` waits for the reason to end.

mod alerts;
mod check;
mod ending;
mod load;
mod queues;
mod reload;
mod runner;
mod schedules;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::{consts::SIGHUP, iterator::Signals};
use tickwheel_engine::{CallError, Engine, History, ShutdownError, StartError, SubmitError};
use tracing::{error, info, warn};

pub use check::check;
pub(crate) use schedules::{CLIENT_PREFIX, COMMANDS_QUEUE, cron_grace};

use self::ending::{Failure, Reason};
use self::load::Loaded;
use self::runner::Runner;
use crate::data_dir;
use crate::front::{Front, ListenError};
use crate::plan::Origin;
use crate::problem::LoadError;

/// A second signal ends the grace only if it comes later than this: some programs that pass a
/// signal on, such as `timeout`, send it twice.
const SECOND_SIGNAL_AFTER: Duration = Duration::from_millis(300);

/// Size of a log segment. Commands leave few records, so the engine's default would mostly be
/// empty space.
const SEGMENT_BYTES: u64 = 16 << 20;

/// Size of a log segment of a server for workers, which may push a hundred megabytes a second.
const WORK_SEGMENT_BYTES: u64 = 64 << 20;

/// How often the end looks whether workers have ended what they had.
const LEASE_LOOK: Duration = Duration::from_millis(20);

/// What the command line says.
#[derive(Clone, Default)]
pub struct ServeOptions {
    /// The configuration file.
    pub config: Option<PathBuf>,
    /// Crontabs and folders of them.
    pub crontabs: Vec<PathBuf>,
    /// Whether the crontabs have a column for the user.
    pub system: bool,
    /// Where the log lives, over what the configuration says.
    pub data_dir: Option<PathBuf>,
    /// Where to listen for workers, over what the configuration says.
    pub listen: Option<SocketAddr>,
    /// The certificates of TLS, over what the configuration says; with `tls_key`.
    pub tls_cert: Option<PathBuf>,
    /// The key of TLS; with `tls_cert`.
    pub tls_key: Option<PathBuf>,
    /// What clients have to know, over what the configuration says.
    pub password: Option<String>,
}

/// Why the server did not start, or did not end well.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The input files are wrong; nothing was started.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The folder for the log could not be made.
    #[error("data directory {}: {source}; create it, or name another with --data-dir", dir.display())]
    DataDir {
        /// The folder.
        dir: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The engine did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Workers cannot be listened for.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The engine refused an entry.
    #[error("{}:{}: {name:?} was refused: {source}", origin.file.display(), origin.line)]
    Put {
        /// Where it stands.
        origin: Origin,
        /// Its name.
        name: String,
        /// Why.
        source: SubmitError,
    },
    /// The engine refused the limits of a queue.
    #[error("{}:{}: the limits of queue {name:?} were refused: {source}", origin.file.display(), origin.line)]
    Limit {
        /// Where it stands.
        origin: Origin,
        /// Its name.
        name: String,
        /// Why.
        source: CallError,
    },
    /// A schedule that is no longer configured could not be removed.
    #[error("schedule {name:?} is no longer configured and could not be removed: {source}")]
    Remove {
        /// Its name.
        name: String,
        /// Why.
        source: CallError,
    },
    /// The system refuses to hand signals over.
    #[error("signals cannot be waited for: {0}")]
    Signals(std::io::Error),
    /// The engine could not be asked.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The log failed while the server ran.
    #[error("{}; the server has ended, start it again once the disk is sound", log_failure(.0))]
    Log(CallError),
    /// The engine did not end cleanly.
    #[error(transparent)]
    Shutdown(#[from] ShutdownError),
}

/// The reason without the engine's advice for a call that failed: no call did.
fn log_failure(error: &CallError) -> String {
    match error {
        CallError::LogFailed(reason) => format!("the log failed: {reason}"),
        other => other.to_string(),
    }
}

/// Runs what the options name, and serves workers, until SIGTERM or SIGINT, or until the log fails.
///
/// # Errors
/// [`ServeError::Load`] before anything is started, the others at run time.
pub fn run(options: &ServeOptions) -> Result<(), ServeError> {
    let loaded = load::load(options)?;
    for warning in &loaded.warnings {
        warn!("{warning}");
    }
    if loaded.entries.is_empty() && loaded.front.is_none() {
        warn!("nothing is configured: this server will do nothing");
    }
    serve(options, loaded)
}

fn serve(options: &ServeOptions, mut loaded: Loaded) -> Result<(), ServeError> {
    let Loaded { settings, data_dir, front, entries, queues, .. } = &loaded;
    let concern = data_dir::prepare(data_dir)
        .map_err(|source| ServeError::DataDir { dir: data_dir.clone(), source })?;
    if let Some(concern) = concern {
        warn!("{concern}");
    }
    // From here on a signal waits until the server is up, and then ends it in good order.
    let mut signals = ending::signals()?;
    let failure = Arc::new(Failure::new(signals.handle()));
    let on_failure = Arc::clone(&failure);
    let runner = Arc::new(Runner::new(entries.iter().map(|entry| entry.name.clone())));
    let mut builder = Engine::builder()
        .data_dir(data_dir)
        .durability(settings.durability)
        .executors(settings.executors)
        // One shard, so that every executor takes every command: what limits a server of commands
        // is the commands.
        .shards(1)
        .pin(false)
        .segment_bytes(if front.is_some() { WORK_SEGMENT_BYTES } else { SEGMENT_BYTES })
        // A lease begins when an attempt is handed out, so none is before an executor is free.
        .running_max(u32::try_from(settings.executors).unwrap_or(u32::MAX))
        // All other queues are the workers'. Commands of a start before they had a queue of their own
        // are in the default one.
        .serve_queues([COMMANDS_QUEUE])
        .home(schedules::KIND, COMMANDS_QUEUE)
        .handler(schedules::KIND, runner::handler(&runner))
        .observer(runner::observer())
        .on_alert(alerts::log)
        .on_failure(move |error| on_failure.happened(error))
        // What is due must follow this configuration, not the one of an earlier start.
        .paused(true);
    for queue in queues {
        if let Some(failures) = queue.guards.pause_after {
            builder = builder.pause_queue_after(&queue.name, failures);
        }
        if let Some(breaker) = queue.guards.breaker {
            builder = builder.circuit_breaker(&queue.name, breaker);
        }
    }
    if settings.history {
        let history = History::new().keep_for(settings.history_keep);
        builder = builder.history(history.keep_bytes(settings.history_bytes));
    }
    let engine = Arc::new(builder.start()?);
    schedules::apply(&engine, entries, schedules::Moment::Start)?;
    queues::apply(&engine, queues)?;
    engine.resume()?;
    let front = front.as_ref().map(|front| Front::start(front, &engine)).transpose()?;
    if let Some(front) = &front {
        info!(address = %front.address(), "listening for workers");
    }
    info!(
        entries = entries.len(),
        data_dir = %data_dir.display(),
        durability = %settings.durability,
        executors = settings.executors,
        "serving"
    );
    let reason = loop {
        match ending::wait(&mut signals, &failure) {
            Reason::Reload => {
                reload::reload(options, &mut loaded, &engine, front.as_ref(), &runner);
            }
            reason => break reason,
        }
    };
    let grace = loaded.settings.shutdown_grace;
    match &reason {
        Reason::Signal(signal) => info!(signal, ?grace, "ending: nothing more is started"),
        Reason::Reload => {}
        Reason::Failure(_) => {
            error!(?grace, "ending: the log failed, so that nothing can be recorded any more");
            // The failure used up the first ones to wake this thread.
            signals = ending::signals()?;
        }
    }
    let ended = end(&engine, front.as_ref(), &runner, signals, &reason, grace);
    match (reason, ended) {
        (Reason::Signal(_) | Reason::Reload, ended) => ended,
        (Reason::Failure(failed), Ok(())) => Err(ServeError::Log(failed)),
        (Reason::Failure(failed), Err(error)) => {
            warn!("{error}");
            Err(ServeError::Log(failed))
        }
    }
}

/// Lets workers and running commands end within the grace, or until a second signal, and stops the
/// engine.
fn end(
    engine: &Engine,
    front: Option<&Front>,
    runner: &Runner,
    mut signals: Signals,
    reason: &Reason,
    grace: Duration,
) -> Result<(), ServeError> {
    let first = Instant::now();
    let waiting = signals.handle();
    let ended = thread::scope(|scope| {
        scope.spawn(|| {
            let again = signals
                .forever()
                .find(|signal| *signal != SIGHUP && first.elapsed() >= SECOND_SIGNAL_AFTER);
            if again.is_some() {
                warn!("a second signal: ending at once");
                runner.cancel();
            }
        });
        if let Reason::Failure(_) = reason {
            // An engine whose log failed starts nothing more, and does not wait for what runs.
            runner.wait(grace);
        }
        if let Some(front) = front {
            front.drain();
            if let Reason::Signal(_) = reason {
                await_leases(engine, front, runner, first + grace);
            }
            front.end();
        }
        let ended = engine.shutdown((first + grace).saturating_duration_since(Instant::now()));
        waiting.close();
        ended
    });
    // Commands that outlive the server would have nobody to watch them.
    runner.stop();
    let report = ended?;
    info!(abandoned = report.abandoned, "ended");
    Ok(())
}

/// Waits until workers have ended what they had, or until none is connected: the leases of those that
/// are gone outlive the server.
fn await_leases(engine: &Engine, front: &Front, runner: &Runner, until: Instant) {
    let has_leases = || engine.stats().is_ok_and(|stats| stats.counts.fetched > 0);
    while front.has_workers() && has_leases() && !runner.is_stopped() && Instant::now() < until {
        thread::sleep(LEASE_LOOK);
    }
}
