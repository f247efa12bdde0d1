//! `tickwheel serve`: from input files to a running engine and back to an orderly end.
//!
//! `load` gathers the plan, `check` prints it, `schedules` hands it to the engine, `runner` runs
//! what is due and logs it.

mod check;
mod load;
mod runner;
mod schedules;

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tickwheel_engine::{CallError, Engine, ShutdownError, StartError, SubmitError};
use tracing::{info, warn};

pub use check::check;

use self::load::Loaded;
use self::runner::Runner;
use crate::plan::Origin;
use crate::problem::LoadError;

/// A second signal ends the grace only if it comes later than this: some programs that pass a
/// signal on, such as `timeout`, send it twice.
const SECOND_SIGNAL_AFTER: Duration = Duration::from_millis(300);

/// Size of a log segment. Commands leave few records, so the engine's default would mostly be
/// empty space.
const SEGMENT_BYTES: u64 = 16 << 20;

/// What the command line says.
#[derive(Debug, Clone, Default)]
pub struct ServeOptions {
    /// The configuration file.
    pub config: Option<PathBuf>,
    /// Crontabs and folders of them.
    pub crontabs: Vec<PathBuf>,
    /// Whether the crontabs have a column for the user.
    pub system: bool,
    /// Where the log lives, over what the configuration says.
    pub data_dir: Option<PathBuf>,
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
    /// The engine did not end cleanly.
    #[error(transparent)]
    Shutdown(#[from] ShutdownError),
}

/// Runs what the options name until SIGTERM or SIGINT.
///
/// # Errors
/// [`ServeError::Load`] before anything is started, the others at run time.
pub fn run(options: &ServeOptions) -> Result<(), ServeError> {
    let loaded = load::load(options)?;
    for warning in &loaded.warnings {
        warn!("{warning}");
    }
    if loaded.entries.is_empty() {
        warn!("nothing is configured: this server will do nothing");
    }
    serve(loaded)
}

fn serve(loaded: Loaded) -> Result<(), ServeError> {
    let Loaded { settings, data_dir, entries, .. } = loaded;
    // The log holds commands and their environments: nobody else is to read or write it.
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&data_dir)
        .map_err(|source| ServeError::DataDir { dir: data_dir.clone(), source })?;
    // From here on a signal waits until the server is up, and then ends it in good order.
    let mut signals = Signals::new([SIGTERM, SIGINT]).map_err(ServeError::Signals)?;
    let runner = Arc::new(Runner::new(entries.iter().map(|entry| entry.name.clone())));
    let engine = Engine::builder()
        .data_dir(&data_dir)
        .durability(settings.durability)
        .executors(settings.executors)
        // One shard, so that every executor takes every command: what limits a server of commands
        // is the commands.
        .shards(1)
        .pin(false)
        .segment_bytes(SEGMENT_BYTES)
        // A lease begins when an attempt is handed out, so none is before an executor is free.
        .running_max(u32::try_from(settings.executors).unwrap_or(u32::MAX))
        .handler(schedules::KIND, runner::handler(&runner))
        .observer(runner::observer())
        .start()?;
    if let Err(error) = schedules::apply(&engine, &entries) {
        // What already waits to run would otherwise hold up the engine's end.
        runner.stop();
        return Err(error);
    }
    runner.open();
    info!(
        entries = entries.len(),
        data_dir = %data_dir.display(),
        durability = %settings.durability,
        executors = settings.executors,
        "serving"
    );
    if let Some(signal) = signals.forever().next() {
        info!(signal, grace = ?settings.shutdown_grace, "ending: nothing more is started");
    }
    end(&engine, &runner, signals, settings.shutdown_grace)
}

/// Lets running commands end within the grace, or until a second signal, and stops the engine.
fn end(
    engine: &Engine,
    runner: &Runner,
    mut signals: Signals,
    grace: Duration,
) -> Result<(), ServeError> {
    let first = Instant::now();
    let waiting = signals.handle();
    let ended = thread::scope(|scope| {
        scope.spawn(|| {
            let again = signals.forever().find(|_| first.elapsed() >= SECOND_SIGNAL_AFTER);
            if again.is_some() {
                warn!("a second signal: ending at once");
                runner.cancel();
            }
        });
        let ended = engine.shutdown(grace);
        waiting.close();
        ended
    });
    // Commands that outlive the server would have nobody to watch them.
    runner.stop();
    let report = ended?;
    info!(abandoned = report.abandoned, "ended");
    Ok(())
}
