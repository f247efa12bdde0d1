//! What is to run and when: the checked form that the configuration and the crontab reader both
//! produce and the server takes up. It knows neither of the two formats.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use tickwheel_engine::cron::Cron;

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
    /// What it runs.
    pub spec: Spec,
    /// Attempts in all, at least 1.
    pub attempts_max: u16,
    /// Wait before the second attempt; it doubles with each further one.
    pub backoff: Duration,
    /// Longest wait between two attempts.
    pub backoff_max: Duration,
    /// 0 to 9; higher goes first.
    pub priority: u8,
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
