//! The verbs: series of runs with a question behind them. They ask for runs and read reports; how a run
//! is carried out is in `run`.

mod drain;
mod recover;
mod saturate;
mod scale;
mod soak;
mod sweep;
mod trend;
mod verify;

use std::{
    io,
    path::Path,
    sync::{Arc, atomic::AtomicBool, atomic::Ordering},
    time::Duration,
};

pub use drain::{drain, herd};
pub use recover::{End, Recover, fill, recover};
pub use saturate::{Saturate, saturate};
pub use scale::scale;
pub use soak::soak;
pub use sweep::sweep;
pub use trend::{Trend, trend};
pub use verify::{Finding, verify};

use crate::{
    machine::Machine,
    options::{Load, Options},
    place::Place,
    result::{OutDir, Point, Report, StoreError, text},
    run::{Run, RunError, Watch, describe, run_watched},
    verdict::Outcome,
};

/// A verb that could not be carried out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerbError {
    /// A run of it could not.
    #[error(transparent)]
    Run(#[from] RunError),
    /// Its results could not be stored or read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The process that is filled and ended could not be handled.
    #[error("cannot run {what}: {source}; check that this program may start itself")]
    Child {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// A flag does not fit the verb.
    #[error("{0}")]
    Usage(String),
}

impl VerbError {
    /// Whether another command line is what is needed.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Run(error) => error.is_usage(),
            Self::Usage(_) | Self::Store(StoreError::Occupied { .. }) => true,
            _ => false,
        }
    }
}

/// What the runs of one verb share: where results go, who watches, what the machine can do.
pub struct Session {
    verb: &'static str,
    out: Option<OutDir>,
    stop: Arc<AtomicBool>,
    progress: bool,
    prints: bool,
    machine: Machine,
    reports: Vec<Report>,
}

/// How a session shows itself.
#[derive(Clone, Debug, Default)]
pub struct Show {
    /// A bar on standard error, if that is a terminal.
    pub progress: bool,
    /// A line on standard output for each run.
    pub lines: bool,
    /// Set it to end the verb after what is measured by then.
    pub stop: Arc<AtomicBool>,
}

impl Session {
    /// Begins a verb: makes the folder for results, and measures the machine in the place where logs
    /// will be stored.
    ///
    /// # Errors
    /// The folder holds results already, or the disk cannot be measured.
    pub fn begin(
        verb: &'static str,
        out: Option<&Path>,
        data_dir: Option<&Path>,
        show: Show,
    ) -> Result<Self, VerbError> {
        let out = out.map(OutDir::create).transpose()?;
        let place = Place::prepare(data_dir).map_err(RunError::from)?;
        let machine = describe(place.path()).map_err(RunError::from)?;
        Ok(Self {
            verb,
            out,
            stop: show.stop,
            progress: show.progress,
            prints: show.lines,
            machine,
            reports: Vec::new(),
        })
    }

    /// What the machine can do.
    #[must_use]
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// All runs so far.
    #[must_use]
    pub fn reports(&self) -> &[Report] {
        &self.reports
    }

    /// The worst outcome of all runs; a verb without runs is void.
    #[must_use]
    pub fn worst(&self) -> Outcome {
        let outcomes = self.reports.iter().map(|report| report.verdict.outcome);
        outcomes.max().unwrap_or(Outcome::Void)
    }

    /// Whether somebody asked for an end.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Carries out one run and stores it as `name`, with its interval log beside it.
    ///
    /// # Errors
    /// The run could not be carried out, or its result not be stored; then its text was printed.
    pub fn run(
        &mut self,
        name: &str,
        point: Option<Point>,
        options: &Options,
    ) -> Result<Run, VerbError> {
        self.run_with(name, point, options, |_| ())
    }

    /// As [`Session::run`], with a last word on the report before it is stored.
    fn run_with(
        &mut self,
        name: &str,
        point: Option<Point>,
        options: &Options,
        amend: impl FnOnce(&mut Report),
    ) -> Result<Run, VerbError> {
        let watch = Watch {
            progress: self.progress,
            stop: Arc::clone(&self.stop),
            hlog: self.out.as_ref().map(|out| out.file(&format!("{name}.hlog"))),
            title: format!("{name} · "),
            machine: Some(self.machine.clone()),
            part: Some((self.verb.to_owned(), point)),
        };
        let mut run = run_watched(options, &watch)?;
        amend(&mut run.report);
        self.keep(name, run.report.clone())?;
        Ok(run)
    }

    /// Stores and shows a report.
    fn keep(&mut self, name: &str, report: Report) -> Result<(), VerbError> {
        if self.prints {
            println!("{}", text::one_line(&report));
        }
        let stored = match &self.out {
            Some(out) => out.write(name, &report),
            None => Ok(()),
        };
        if stored.is_err() {
            // The summary is kept where it can be: in front of whoever looks.
            eprintln!("{}\n{}", text::one_line(&report), text::of_verdict(&report));
        }
        self.reports.push(report);
        Ok(stored?)
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("verb", &self.verb)
            .field("runs", &self.reports.len())
            .finish_non_exhaustive()
    }
}

/// The same options at another rate, for a time.
fn at_rate(options: &Options, rate: f64, span: Duration) -> Options {
    // Casts saturate; a run has a job at least.
    let jobs = ((rate * span.as_secs_f64()) as u32).max(1);
    Options { load: Load::Rate(rate), jobs, ..options.clone() }
}

fn point(axis: &str, value: f64) -> Option<Point> {
    Some(Point { axis: axis.to_owned(), value })
}
