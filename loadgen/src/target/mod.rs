//! What a load is put on. A target takes jobs, answers, and calls the account for each attempt; how it
//! does that is its own business.

mod inproc;
mod null;
mod remote;

use std::{fmt, str::FromStr, sync::Arc, time::Duration};

use bytes::Bytes;
pub(crate) use inproc::Inproc;
pub(crate) use null::Null;
pub(crate) use remote::{CONNECTIONS_MAX, FETCH_MAX, PIPELINE_MAX, wire_ceiling};
use tickwheel_engine::{EngineStats, StartError, latency::Latency};
use tickwheel_protocol::ClientError;

use crate::{
    measure::{Account, Answer},
    options::Options,
    place::Place,
    result::FaultBand,
};

/// What the load is put on.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum TargetName {
    /// An engine inside this process.
    #[default]
    Inproc,
    /// A server that speaks the work protocol at this address.
    Tcp(String),
    /// A `tickwheel serve` that the run starts for itself, and ends.
    Serve,
}

/// A text that names no target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no target: write inproc, for an engine inside this process, tcp://HOST:PORT, for a server that runs, or serve, for one that is started for the run"
)]
pub struct ParseTargetError(String);

/// A target that does not start, or is not there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// The engine does not start.
    #[error(transparent)]
    Engine(#[from] StartError),
    /// The server cannot be used.
    #[error(transparent)]
    Connect(#[from] ClientError),
    /// The server does not know a command that the load needs.
    #[error("the server does not know {command}, which {flag} needs: leave that out")]
    NotKnown {
        /// The command.
        command: &'static str,
        /// What needs it.
        flag: &'static str,
    },
    /// A server that was to be started does not come up.
    #[error("the server {program} does not serve: {why}; name a tickwheel program with --server")]
    Server {
        /// The program.
        program: String,
        /// What is known.
        why: String,
    },
    /// The system refuses a thread.
    #[error("cannot start a thread: {0}; raise the limit of threads or memory")]
    Thread(#[from] std::io::Error),
}

impl FromStr for TargetName {
    type Err = ParseTargetError;

    fn from_str(text: &str) -> Result<Self, ParseTargetError> {
        match (text, text.strip_prefix("tcp://")) {
            ("inproc", _) => Ok(Self::Inproc),
            ("serve", _) => Ok(Self::Serve),
            (_, Some(address)) if !address.is_empty() => Ok(Self::Tcp(address.to_owned())),
            _ => Err(ParseTargetError(text.to_owned())),
        }
    }
}

impl fmt::Display for TargetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inproc => f.write_str("inproc"),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
            Self::Serve => f.write_str("serve"),
        }
    }
}

/// A job as it is handed over.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    /// A part of what the whole batch carries.
    pub(crate) payload: Bytes,
    pub(crate) due: OutgoingDue,
    pub(crate) tenant: u16,
}

/// When a job is due.
#[derive(Clone, Copy, Debug)]
pub(crate) enum OutgoingDue {
    After(Duration),
    /// At this instant of the wall clock, in nanoseconds since 1970.
    AtWall(u64),
}

/// Called once with the answers to a batch; an error says why their fate is unknown.
pub(crate) type Answered = Box<dyn FnOnce(Result<Vec<Answer>, String>) + Send>;

/// What a target that is a process of its own took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct ProcessUse {
    pub(crate) cpu_ns: u64,
    /// Most memory at a time.
    pub(crate) rss_bytes: u64,
    /// Bytes of its data on the disk.
    pub(crate) disk_bytes: u64,
}

/// A target that runs. All calls may come from any thread.
pub(crate) trait Target: Send + Sync {
    /// Hands a batch over. It may wait when the target is busy; the answer comes later.
    fn submit(&self, jobs: Vec<Outgoing>, then: Answered) -> Result<(), String>;

    /// Cancels a job and waits for the answer: whether it was still waiting and now never runs.
    fn cancel(&self, id: u64) -> Result<bool, String>;

    /// Lets a target that was started paused run its jobs.
    fn resume(&self) -> Result<(), String>;

    /// Waits until no job is pending, at most so long; whether that is so.
    fn drain(&self, timeout: Duration) -> bool;

    /// Shards that take jobs; 0 if it does not tell.
    fn shards(&self) -> usize;

    /// Threads that a closed loop submits on.
    fn submitters(&self) -> usize {
        self.shards()
    }

    /// What its stages took, as far as it tells.
    fn latency(&self) -> Option<Latency>;

    /// Its numbers.
    fn stats(&self) -> Result<EngineStats, String>;

    /// What its own process took so far, if it is one that the run started.
    fn process(&self) -> Option<ProcessUse> {
        None
    }

    /// The faults that were put on it so far.
    fn faults(&self) -> Vec<FaultBand> {
        Vec::new()
    }

    /// What else is to be known of the run.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }

    /// Ends it, with a grace for running handlers.
    fn shutdown(&self, grace: Duration) -> Result<(), String>;
}

/// Starts the target of a run. `options` must have been checked.
pub(crate) fn start(
    options: &Options,
    place: &Place,
    account: &Arc<Account>,
) -> Result<Arc<dyn Target>, TargetError> {
    Ok(match &options.target {
        TargetName::Inproc => Arc::new(Inproc::start(options, place.path(), account)?),
        TargetName::Tcp(_) | TargetName::Serve => remote::start(options, place.path(), account)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read_as_they_are_printed() {
        for text in ["inproc", "tcp://127.0.0.1:7419", "serve"] {
            assert_eq!(text.parse::<TargetName>().unwrap().to_string(), text);
        }
        for text in ["", "tcp://", "http://x", "engine"] {
            let error = text.parse::<TargetName>().unwrap_err().to_string();
            assert!(error.contains("write inproc"), "{error}");
        }
    }
}
