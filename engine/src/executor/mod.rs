//! Executors: threads that take attempts which shards lend out, run the handlers, and give back the
//! ends.
//!
//! They are one pool for all shards. Each has a home shard, whose attempts it takes first; one that
//! finds none there takes from the shard where most wait. They know handlers and payloads, never
//! the state of a job.

mod attempt;
mod begun;
mod handlers;
mod naps;
mod pool;
mod port;
mod run;
mod stops;
mod task;

use tickwheel_core as core;
use tickwheel_wal::RecordHandle;

pub(crate) use attempt::Times;
pub use attempt::{Attempt, JobError};
pub use begun::ExtendError;
pub use handlers::Handle;
pub(crate) use handlers::{Handler, Handlers};
pub(crate) use pool::{Pool, PoolSize};
pub(crate) use port::Port;
pub(crate) use stops::Stops;
pub use task::{AsyncAttempt, Spawn};

/// An attempt on its way to an executor.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) attempt: core::Attempt,
    pub(crate) handler: u32,
    pub(crate) number: u16,
    pub(crate) attempts_max: u16,
    /// The event that holds the job; the payload is its end. The executor reads it, so that a slow
    /// disk holds up an attempt and not the shard.
    pub(crate) body: Option<RecordHandle>,
    pub(crate) payload_offset: u16,
    pub(crate) times: Times,
    pub(crate) dispatched_ns: u64,
}

/// The end of an attempt on its way back.
#[derive(Debug)]
pub(crate) struct Completion {
    pub(crate) attempt: core::Attempt,
    pub(crate) outcome: Ended,
    pub(crate) ended_ns: u64,
}

/// How a handler ended.
#[derive(Debug)]
pub(crate) enum Ended {
    Succeeded,
    Failed(JobError),
    Panicked(String),
    /// The handler was not called: the engine is stopping, or the job was cancelled before.
    NotBegun,
}
