//! What came of a run: how it ended, what it wrote, how long it took, and whether trying again
//! can help.

use std::fmt;
use std::time::Duration;

use super::{Output, SpawnError};

/// Bytes of the last line of output that a failure's text carries.
const LAST_LINE_BYTES_MAX: usize = 300;

/// A finished run.
#[derive(Debug)]
pub struct Outcome {
    /// How it ended.
    pub end: End,
    /// The kept end of its output.
    pub output: Output,
    /// From the decision to start it until everything of it was seen to end.
    pub elapsed: Duration,
}

/// How a run ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum End {
    /// It ended by itself with this code; 0 is success.
    Exited(i32),
    /// It was ended by a signal that did not come from the runner.
    Signalled(i32),
    /// It ran longer than its timeout and was ended.
    TimedOut {
        /// The timeout.
        after: Duration,
        /// What it took.
        stop: Stop,
    },
    /// It was cancelled and was ended.
    Cancelled {
        /// What it took.
        stop: Stop,
    },
    /// It never ran.
    NotStarted(SpawnError),
}

/// What it took to end a process group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// All of it ended after SIGTERM.
    Terminated,
    /// Some of it ignored SIGTERM and got SIGKILL.
    Killed,
    /// Some of it could not be ended, and is left behind.
    LeftBehind,
}

/// Why a run counts as failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// How it ended and the last line that it wrote.
    pub message: String,
    /// Whether another attempt may succeed. A missing program does not appear by trying again.
    pub retryable: bool,
}

impl Outcome {
    /// `None` for exit code 0.
    pub fn failure(&self) -> Option<Failure> {
        let retryable = match &self.end {
            End::Exited(0) => return None,
            End::NotStarted(error) => error.is_retryable(),
            End::Exited(_) | End::Signalled(_) | End::TimedOut { .. } | End::Cancelled { .. } => {
                true
            }
        };
        let message = match self.last_line() {
            Some(line) => format!("{}: {line}", self.end),
            None => self.end.to_string(),
        };
        Some(Failure { message, retryable })
    }

    fn last_line(&self) -> Option<String> {
        let mut line =
            self.output.lines().into_iter().rev().find(|line| !line.trim().is_empty())?;
        if line.len() > LAST_LINE_BYTES_MAX {
            line.truncate(line.floor_char_boundary(LAST_LINE_BYTES_MAX));
            line.push('…');
        }
        Some(line)
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exit code {code}"),
            Self::Signalled(signal) => write!(f, "ended by signal {signal}"),
            Self::TimedOut { after, stop } => write!(f, "timed out after {after:?}, {stop}"),
            Self::Cancelled { stop } => write!(f, "cancelled, {stop}"),
            Self::NotStarted(error) => write!(f, "not started: {error}"),
        }
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Terminated => "ended by SIGTERM",
            Self::Killed => "ended by SIGKILL",
            Self::LeftBehind => "could not be ended and is left behind",
        })
    }
}
