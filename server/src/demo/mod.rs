//! `tickwheel demo`: a million delayed jobs through a real engine, and the account of them.
//!
//! `load` submits the jobs and handles them, `screen` shows what happens. The account is a
//! [`Ledger`] beside the engine's data: it is what tells, after a kill in the middle, what had been
//! promised.

mod load;
mod lock;
mod screen;

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use clap::Args;
use tickwheel_engine::{
    CallError, Durability, Engine, ShutdownError, StartError, SubmitError,
    ledger::{Balance, Ledger},
};
use tracing::warn;

use load::Load;
use lock::Lock;
use screen::Screen;

use crate::data_dir;

/// Size of a log segment.
const SEGMENT_BYTES: u64 = 16 << 20;
/// How long running jobs have to end once the demonstration is over.
const GRACE: Duration = Duration::from_secs(5);
/// How much longer than planned a run may take before it gives up: a slow machine, a slow disk.
const PATIENCE: Duration = Duration::from_secs(300);

/// What the command line says of a demonstration.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  tickwheel demo --exit                                a million jobs over ten seconds, then the account
  tickwheel demo --jobs 3000000 --seconds 5 --exit     a denser one
  tickwheel demo --jobs 1000 --seconds 2               and then the schedules go on until Ctrl-C

Kill it in the middle (kill -9) and start it again: it finishes what it had accepted.

Exit codes: 0 well, 1 failure, 2 usage, 3 a job was lost or ran early.")]
pub struct DemoArgs {
    /// Delayed jobs to add
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    pub jobs: u32,
    /// Each is due within so many seconds of being added
    #[arg(long, value_name = "S", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub seconds: u32,
    /// Where the log and the account live
    #[arg(long, value_name = "DIR", env = "TICKWHEEL_DATA_DIR", default_value = "tickwheel-data")]
    pub data_dir: PathBuf,
    /// When a job counts as accepted: sync (on the disk), interval(50ms) or os (in the log)
    #[arg(long, value_name = "MODE", default_value = "sync")]
    pub durability: Durability,
    /// End after the account; otherwise the schedules go on until Ctrl-C
    #[arg(long)]
    pub exit: bool,
}

/// A demonstration could not be carried out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DemoError {
    /// A file of its own could not be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another demonstration runs with the same files.
    #[error(
        "{} is held by {holder}: a demonstration runs there; wait for its end, or name another folder with --data-dir",
        path.display()
    )]
    InUse {
        /// The lock's file.
        path: PathBuf,
        /// What the other wrote of itself.
        holder: String,
    },
    /// The engine did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The engine refused a job or a schedule.
    #[error(transparent)]
    Submit(#[from] SubmitError),
    /// The engine could not be asked.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The engine did not end cleanly.
    #[error(transparent)]
    Shutdown(#[from] ShutdownError),
    /// The log failed, a batch was not accepted, or the account could not be written.
    #[error(
        "the log failed, a batch of jobs was not accepted, or the account could not be written: is the disk full?"
    )]
    Refused,
    /// The account shows what must not happen.
    #[error(
        "{lost} jobs were lost and {early} ran early; the log is kept in {} until the next demonstration there",
        kept.display()
    )]
    BrokenPromise {
        /// Accepted jobs that never ran.
        lost: u64,
        /// Jobs that ran before they were due.
        early: u64,
        /// Where the engine's data is.
        kept: PathBuf,
    },
    /// Some jobs did not run in time.
    #[error(
        "{missing} of the accepted jobs have not run after {waited:?}; start it again to go on waiting"
    )]
    Unfinished {
        /// How many.
        missing: u64,
        /// How long was waited.
        waited: Duration,
    },
}

/// Runs a demonstration.
///
/// # Errors
/// [`DemoError::BrokenPromise`] when a job was lost or ran early; the others when the demonstration
/// could not be carried out.
pub fn run(args: &DemoArgs) -> Result<(), DemoError> {
    let places = Places::under(&args.data_dir);
    places.make_root()?;
    // Held to the end: without it another demonstration would take these files for left over.
    let _lock = Lock::acquire(&places.lock)?;
    let (ledger, resumed) = places.open_ledger(args)?;
    let ledger = Arc::new(ledger);
    let screen = Screen::new(args, &ledger, resumed);
    let load = Arc::new(Load::new(Arc::clone(&ledger)));
    let engine = start(args, &places, &load)?;
    load::put_schedules(&engine)?;
    let stats = engine.stats()?;
    screen.started(&engine, &stats);

    let began = Instant::now();
    let before = ledger.balance();
    let submitted = thread::scope(|scope| {
        let submitter = scope.spawn(|| load.submit_all(&engine, args.seconds, resumed));
        while !submitter.is_finished() {
            screen.show(&engine, &load);
        }
        submitter.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    submitted?;
    let patience = PATIENCE + Duration::from_secs(u64::from(args.seconds));
    while load.unfinished() {
        if load.has_failed() {
            return Err(DemoError::Refused);
        }
        if began.elapsed() > patience {
            let missing = ledger.balance().lost;
            return Err(DemoError::Unfinished { missing, waited: began.elapsed() });
        }
        screen.show(&engine, &load);
    }
    let balance = ledger.balance();
    screen.finish(&engine, &load, &before, &balance, began.elapsed())?;
    if args.exit {
        engine.shutdown(GRACE)?;
    } else {
        screen.stays();
        engine.run_until_signal(GRACE)?;
    }
    drop(engine);
    places.judge(&balance)?;
    if args.exit { places.remove_engine_data() } else { Ok(()) }
}

fn start(args: &DemoArgs, places: &Places, load: &Arc<Load>) -> Result<Engine, DemoError> {
    let handlers = Arc::clone(load);
    let pulse = Arc::clone(load);
    let failed = Arc::clone(load);
    Ok(Engine::builder()
        .data_dir(&places.engine)
        .durability(args.durability)
        // Small, so that a run of seconds also shows the log being cleaned.
        .segment_bytes(SEGMENT_BYTES)
        .handler(load::JOB, move |attempt| handlers.handle(attempt))
        .handler(load::PULSE, move |_| {
            pulse.pulse();
            Ok(())
        })
        .on_failure(move |_| failed.fail())
        .start()?)
}

/// Where a demonstration keeps what it stores: apart from what `serve` keeps in the same folder.
struct Places {
    root: PathBuf,
    engine: PathBuf,
    ledger: PathBuf,
    lock: PathBuf,
}

impl Places {
    fn under(data_dir: &Path) -> Self {
        Self {
            root: data_dir.to_owned(),
            engine: data_dir.join("demo"),
            ledger: data_dir.join("demo.ledger"),
            lock: data_dir.join("demo.lock"),
        }
    }

    fn make_root(&self) -> Result<(), DemoError> {
        let failed = |source| DemoError::File { path: self.root.clone(), source };
        if let Some(concern) = data_dir::prepare(&self.root).map_err(failed)? {
            warn!("{concern}");
        }
        Ok(())
    }

    /// What the account comes to in the end.
    fn judge(&self, balance: &Balance) -> Result<(), DemoError> {
        let Balance { lost, early, .. } = *balance;
        if lost == 0 && early == 0 {
            return Ok(());
        }
        Err(DemoError::BrokenPromise { lost, early, kept: self.engine.clone() })
    }

    /// The ledger of a run that was cut off, and `true`; or a new one for a new run.
    fn open_ledger(&self, args: &DemoArgs) -> Result<(Ledger, bool), DemoError> {
        let failed = |source| DemoError::File { path: self.ledger.clone(), source };
        if let Some(ledger) = Ledger::open(&self.ledger).map_err(failed)?
            && ledger.balance().ran < u64::from(ledger.jobs())
            && self.engine.exists()
        {
            return Ok((ledger, true));
        }
        self.remove_engine_data()?;
        let ledger = Ledger::create(&self.ledger, args.jobs, u64::from(args.seconds));
        Ok((ledger.map_err(failed)?, false))
    }

    fn remove_engine_data(&self) -> Result<(), DemoError> {
        match fs::remove_dir_all(&self.engine) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(DemoError::File { path: self.engine.clone(), source })
            }
            _ => Ok(()),
        }
    }
}

/// What the account comes to, in one line.
fn account(balance: &Balance, late: u64) -> String {
    format!(
        "submitted {} · acked {} · run {} · late {late} · duplicate {} · lost {} · early {}",
        balance.submitted,
        balance.acked,
        balance.ran,
        balance.duplicate,
        balance.lost,
        balance.early
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_account_names_its_figures_and_where_the_log_is() {
        let places = Places::under(Path::new("/d"));
        let balance = Balance { lost: 0, early: 0, ..Balance::default() };
        assert!(places.judge(&balance).is_ok());
        for (lost, early) in [(1, 0), (0, 2)] {
            let error = places.judge(&Balance { lost, early, ..balance }).unwrap_err();
            let start =
                format!("{lost} jobs were lost and {early} ran early; the log is kept in /d/demo ");
            assert!(error.to_string().starts_with(&start), "{error}");
        }
    }
}
