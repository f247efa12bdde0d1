//! What a load is put on. A target takes jobs, answers, and calls the account for each attempt; how it
//! does that is its own business.

mod inproc;
mod null;

use std::{fmt, str::FromStr, sync::Arc, time::Duration};

use bytes::Bytes;
pub(crate) use inproc::Inproc;
pub(crate) use null::Null;
use tickwheel_engine::{EngineStats, StartError, latency::Latency};

use crate::{
    measure::{Account, Answer},
    options::Options,
    place::Place,
};

/// What the load is put on.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum TargetName {
    /// An engine inside this process.
    #[default]
    Inproc,
    /// A server at this address. Not there yet: every run on it is refused with a clear error.
    Tcp(String),
}

/// A text that names no target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no target: write inproc, for an engine inside this process")]
pub struct ParseTargetError(String);

impl FromStr for TargetName {
    type Err = ParseTargetError;

    fn from_str(text: &str) -> Result<Self, ParseTargetError> {
        match (text, text.strip_prefix("tcp://")) {
            ("inproc", _) => Ok(Self::Inproc),
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

    /// Shards that take jobs.
    fn shards(&self) -> usize;

    /// What its stages took, as far as it tells.
    fn latency(&self) -> Option<Latency>;

    /// Its numbers.
    fn stats(&self) -> Result<EngineStats, String>;

    /// Ends it, with a grace for running handlers.
    fn shutdown(&self, grace: Duration) -> Result<(), String>;
}

/// Starts the target of a run. `options` must have been checked.
pub(crate) fn start(
    options: &Options,
    place: &Place,
    account: &Arc<Account>,
) -> Result<Arc<dyn Target>, StartError> {
    Ok(Arc::new(Inproc::start(options, place.path(), account)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read_as_they_are_printed() {
        for text in ["inproc", "tcp://127.0.0.1:7419"] {
            assert_eq!(text.parse::<TargetName>().unwrap().to_string(), text);
        }
        for text in ["", "tcp://", "http://x", "engine"] {
            let error = text.parse::<TargetName>().unwrap_err().to_string();
            assert!(error.contains("write inproc"), "{error}");
        }
    }
}
