//! What is to run and when: the checked form that the configuration and the crontab reader both
//! produce and the server takes up. It knows neither of the two formats.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use tickwheel_engine::cron::Cron;
use tickwheel_engine::{CircuitBreaker, Overlap, QueueLimits};

use crate::command::Spec;

/// One thing to run: a schedule or a one-off job.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Unique name. State that survives a restart hangs on it.
    pub name: String,
    /// Where it was read.
    pub origin: Origin,
    /// When it runs.
    pub timing: Timing,
    /// What happens to fire times that passed while the server was down.
    pub missed: Missed,
    /// Its other rules.
    pub rules: Rules,
    /// What it runs.
    pub task: Task,
    /// Attempts in all, at least 1.
    pub attempts_max: u16,
    /// Wait before the second attempt; it doubles with each further one.
    pub backoff: Duration,
    /// Longest wait between two attempts.
    pub backoff_max: Duration,
    /// 0 to 9; higher goes first.
    pub priority: u8,
}

/// What an entry runs.
#[derive(Debug, Clone, PartialEq)]
pub enum Task {
    /// A command, by this server.
    Command(Spec),
    /// A job, by whichever worker fetches it.
    Worker(WorkerJob),
}

impl Entry {
    /// The command, if it is one.
    #[must_use]
    pub fn spec(&self) -> Option<&Spec> {
        match &self.task {
            Task::Command(spec) => Some(spec),
            Task::Worker(_) => None,
        }
    }
}

/// A job for workers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerJob {
    /// Which code handles it.
    pub kind: String,
    /// Where workers fetch it.
    pub queue: String,
    /// The whole schedule as JSON, as a client of the work protocol would put it.
    pub definition: String,
    /// How long a worker may keep it.
    pub reserve: Duration,
}

/// Rules of a schedule beside its timing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules {
    /// What is done about a fire time while a job of the schedule has not ended.
    pub overlap: Overlap,
    /// Each fire time is put off by a fixed part of this, drawn from the name.
    pub jitter: Duration,
    /// It does not fire before this.
    pub starts: Option<SystemTime>,
    /// It does not fire after this.
    pub ends: Option<SystemTime>,
    /// Runs at the most.
    pub runs: Option<u32>,
    /// It does not fire at all.
    pub paused: bool,
}

/// Limits of a queue of workers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    /// Its name.
    pub name: String,
    /// Where it was read.
    pub origin: Origin,
    /// Its limits.
    pub limits: QueueLimits,
    /// What is done when its attempts fail.
    pub guards: Guards,
}

/// What is done about a queue whose attempts fail.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Guards {
    /// Failures in a row after which it is paused.
    pub pause_after: Option<u32>,
    /// Closes it for a while.
    pub breaker: Option<CircuitBreaker>,
}

/// A place in an input file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The file as the user named it.
    pub file: PathBuf,
    /// Line, from 1.
    pub line: usize,
}

/// When an entry runs.
#[derive(Debug, Clone, PartialEq)]
pub enum Timing {
    /// At the fire times of a cron expression.
    Cron(Cron),
    /// Again and again after this time.
    Every(Duration),
    /// Once: at an instant, or as soon as it is taken up.
    Once(Option<SystemTime>),
    /// At each start of the server.
    Start,
}

/// What happens to fire times that passed while the server was down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Missed {
    /// They are forgotten.
    Skip,
    /// One run makes up for all of them.
    #[default]
    One,
    /// Each is made up for, newest first kept, within bounds.
    All {
        /// Most runs that are made up for.
        limit: u32,
        /// How far back a missed fire time may lie.
        window: Duration,
    },
}
