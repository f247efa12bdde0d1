//! What can go wrong between a program and the engine, by operation.

use std::{io, path::PathBuf};

use tickwheel_core::{Refusal, ReplayError};

/// The engine could not be started. Nothing runs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A setting is out of its range.
    #[error("{setting} is {value}: it must be {range}")]
    Setting {
        /// Which setting.
        setting: &'static str,
        /// What it was set to.
        value: String,
        /// What it may be.
        range: &'static str,
    },
    /// Two handlers for one kind.
    #[error("two handlers were given for kind {0:?}: keep one")]
    DuplicateHandler(String),
    /// The data directory could not be read or made.
    #[error("cannot use data directory {}: {source}", path.display())]
    DataDir {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The directory holds another number of shards.
    #[error(
        "{} holds {found} shards, {asked} were asked for: leave the number of shards unset, use another directory, or change the number with `tickwheel reshard`",
        path.display()
    )]
    ShardCount {
        /// The directory.
        path: PathBuf,
        /// Shards that it holds.
        found: usize,
        /// Shards that were asked for.
        asked: usize,
    },
    /// The number of shards is being changed.
    #[error(
        "the number of shards of {} is being changed: wait until `tickwheel reshard` has ended",
        path.display()
    )]
    ReshardUnderWay {
        /// The directory.
        path: PathBuf,
    },
    /// A change of the number of shards was cut off after it had begun to take effect.
    #[error(
        "a change of the number of shards of {} was cut off: run `tickwheel reshard` on it again, which finishes it",
        path.display()
    )]
    ReshardUnfinished {
        /// The directory.
        path: PathBuf,
    },
    /// The folder of a shard is not there, while others are: its jobs are not either.
    #[error(
        "{} is missing: bring it back from where it was moved or from a backup; without it its jobs are lost",
        path.display()
    )]
    ShardMissing {
        /// The folder.
        path: PathBuf,
    },
    /// The file that holds the number of shards is not there.
    #[error(
        "{} is missing, and there are {folders} folders of shards: write their true number into it",
        path.display()
    )]
    CountMissing {
        /// The file.
        path: PathBuf,
        /// Folders of shards that are there.
        folders: usize,
    },
    /// A shard's log could not be opened: it is in use, damaged, or of a newer version.
    #[error(transparent)]
    Log(#[from] tickwheel_wal::OpenError),
    /// The log is sound, but an event in it does not follow from those before it.
    #[error("the log holds an event that cannot be applied: {0}")]
    Replay(#[from] ReplayError),
    /// Executors are to serve more queues than there can be.
    #[error("there are too many queues: at most {max}", max = tickwheel_core::limits::QUEUES_MAX)]
    TooManyQueues,
    /// The system refused a thread, a timer or a poll.
    #[error("cannot start a thread or timer: {0}")]
    System(#[from] io::Error),
}

/// A job was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// It was refused; nothing has changed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// No handler was registered for its kind.
    #[error("no handler is registered for kind {0:?}: add one to the builder, or correct the kind")]
    UnknownKind(String),
    /// More jobs in one batch than are taken at a time.
    #[error("a batch of {len} jobs is too large: send at most {max} at a time", max = crate::limits::BATCH_JOBS_MAX)]
    BatchTooLarge {
        /// Its length.
        len: usize,
    },
    /// The engine takes no more work.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// A flow was not accepted; none of its jobs was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FlowError {
    /// Steps wait for each other.
    #[error(
        "step {step} waits for itself, by way of others: no step may wait for one that waits for it"
    )]
    Cycle {
        /// One of them.
        step: usize,
    },
    /// A step waits for one that the flow does not have.
    #[error("step {step} waits for step {on}, which is not of this flow")]
    NoSuchStep {
        /// The step.
        step: usize,
        /// What it waits for.
        on: usize,
    },
    /// A step waits for another one twice.
    #[error("step {step} waits for step {on} twice: name each once")]
    NeedTwice {
        /// The step.
        step: usize,
        /// What it waits for.
        on: usize,
    },
    /// A step waits for too many.
    #[error("step {step} waits for {count} steps, at most {max} are allowed: put one between", max = tickwheel_core::limits::NEEDS_MAX)]
    TooManyNeeds {
        /// The step.
        step: usize,
        /// For how many.
        count: usize,
    },
    /// More steps than a flow may have.
    #[error("the flow has {count} steps, at most {max} are allowed: divide it", max = crate::limits::FLOW_STEPS_MAX)]
    TooManySteps {
        /// How many.
        count: usize,
    },
    /// Its jobs belong to several shards.
    #[error(
        "jobs of the flow have keys, batches or needs in different shards: give them none, or run one shard"
    )]
    Apart,
    /// A job was refused.
    #[error("step {step}: {refusal}")]
    Refused {
        /// Its step.
        step: usize,
        /// Why.
        refusal: Refusal,
    },
    /// It could not be submitted.
    #[error(transparent)]
    Submit(#[from] SubmitError),
}

/// The engine could not carry out a call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// It is shutting down.
    #[error("the engine is shutting down and takes nothing more")]
    ShuttingDown,
    /// The log failed before the call was durable: whether it took effect is known after a restart.
    #[error(
        "the log failed: {0}. Check the disk, then restart; the call may or may not have taken effect"
    )]
    LogFailed(String),
    /// The one shard that could carry it out is closed; nothing has changed.
    #[error(
        "shard {0} is closed, and nothing has changed: open it with Engine::open_shard, or retry once it is open again"
    )]
    ShardClosed(usize),
    /// It was refused; nothing has changed.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// A shard was not closed, or not cleanly.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CloseShardError {
    /// There is none of this number.
    #[error("there is no shard {shard}: they are numbered from 0, and there are {shards}")]
    NoSuchShard {
        /// Its number.
        shard: usize,
        /// How many there are.
        shards: usize,
    },
    /// The whole engine ends, and this shard with it.
    #[error("the engine is shutting down, and closes all shards itself")]
    ShuttingDown,
    /// The log could not be closed; the shard is. What was acknowledged as durable is.
    #[error(
        "the shard is closed, but its log did not close cleanly: {0}. Check the disk before it is opened again"
    )]
    Log(#[source] tickwheel_wal::CloseError),
    /// The shard's thread ended by a panic.
    #[error("the shard's thread panicked; open the shard again to recover from its log")]
    ShardPanicked,
}

/// A shard was not opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenShardError {
    /// There is none of this number.
    #[error("there is no shard {shard}: they are numbered from 0, and there are {shards}")]
    NoSuchShard {
        /// Its number.
        shard: usize,
        /// How many there are.
        shards: usize,
    },
    /// It is open.
    #[error("shard {0} is open: close it first")]
    AlreadyOpen(usize),
    /// The whole engine ends.
    #[error("the engine is shutting down and opens nothing more")]
    ShuttingDown,
    /// It did not come up and stays closed.
    #[error("the shard stays closed: {0}")]
    Start(#[from] StartError),
    /// The system refused a thread; the shard stays closed.
    #[error("cannot start the shard's thread: {0}; retry once the process has room for it")]
    System(#[from] io::Error),
}

/// The engine was stopped, but not cleanly.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShutdownError {
    /// A log could not be closed. What was acknowledged as durable is.
    #[error("a log could not be closed: {0}")]
    Log(#[from] tickwheel_wal::CloseError),
    /// A shard's thread ended by a panic.
    #[error("a shard's thread panicked; restart to recover from its log")]
    ShardPanicked,
    /// The signals could not be waited for.
    #[error("cannot wait for signals: {0}")]
    Signals(#[from] io::Error),
}
