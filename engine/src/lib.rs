//! Tickwheel as a library: a durable job scheduler that runs inside your program.
//!
//! An [`Engine`] owns one or more *shards*. Each is a pinned thread with a timing wheel, a table of
//! jobs and a write-ahead log; *executor* threads run your handlers. A job that was accepted
//! survives a crash: it is run at its time or after it, never before, at least once.
//!
//! ```
//! use std::time::Duration;
//! use tickwheel_engine::{Attempt, Durability, Engine, JobError, NewJob};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! # let data_dir = dir.path();
//! let engine = Engine::builder()
//!     .data_dir(data_dir)
//!     .durability(Durability::Sync)
//! #   .segment_bytes(8 << 20)
//!     .handler("greet", |attempt: &Attempt<'_>| {
//!         let name = std::str::from_utf8(attempt.payload()).map_err(JobError::permanent)?;
//!         println!("hello {name}, attempt {}", attempt.number());
//!         Ok(())
//!     })
//!     .start()?;
//! let job = NewJob::new("greet").payload("you").delay(Duration::from_millis(20));
//! let id = engine.submit(job)?; // on the disk once this returns
//! println!("job {id} is accepted");
//! assert!(engine.drain(Duration::from_secs(10)));
//! engine.shutdown(Duration::from_secs(1))?;
//! # Ok(())
//! # }
//! ```
//!
//! The folders follow a job's life: `shard` (inbox, decisions, log, wheel), `executor` (handlers),
//! `latency` (what each stage took). The decisions themselves are in `tickwheel-core`, which knows
//! no thread and no clock; this crate gives it both.
#![forbid(unsafe_code)]

#[cfg(not(target_os = "linux"))]
compile_error!("tickwheel-engine needs Linux: it uses timerfd, eventfd and fallocate");

mod affinity;
mod backfill;
mod breaker;
mod builder;
mod choice;
mod clock;
mod data_dir;
mod engine;
mod error;
mod everywhere;
mod executor;
mod flow;
mod groups;
mod history;
mod job;
mod jobs;
mod keyed;
pub mod latency;
pub mod ledger;
pub mod limits;
mod permits;
mod queue;
mod relations;
mod route;
mod schedule;
mod shard;
mod shards;
mod shutdown;
pub mod store;
mod sync;
mod ticket;
#[cfg(feature = "json")]
mod typed;
pub mod worker;

pub use backfill::Backfill;
pub use breaker::CircuitBreaker;
pub use builder::Builder;
pub use bytes::Bytes;
pub use engine::{BatchReply, Engine, EngineStats, JobInfo, ScheduleInfo, SyncClasses};
pub use error::{
    CallError, CloseShardError, FlowError, OpenShardError, ShutdownError, StartError, SubmitError,
};
pub use executor::{AsyncAttempt, Attempt, ExtendError, Handle, JobError, Spawn};
pub use flow::{Flow, StepId};
pub use groups::{GroupInfo, GroupsInfo};
pub use history::{
    AttemptOutcome, AttemptRecord, Begin, GapReason, History, HistoryCursor, HistoryEntry,
    HistoryEvent, HistoryFiles, HistoryGap, HistoryPage, HistoryPlace, HistoryQuery,
    HistoryReadError, HistoryStat, JobRef, ParseAttemptOutcomeError, ParseHistoryCursorError,
    SubscribeError, Subscription,
};
pub use job::{Backoff, NewJob};
pub use jobs::{
    Bulk, BulkPreview, BulkProgress, Death, DeathCause, JobChange, JobCursor, JobEntry, JobFilter,
    JobPage, ParseJobCursorError,
};
pub use queue::QueueLimits;
pub use relations::{BatchInfo, NewBatch, Unique};
pub use schedule::{Missed, Pause, Schedule};
pub use shards::{ClosedShard, OpenedShard};
pub use shutdown::ShutdownReport;
pub use ticket::{BatchTicket, Ticket};
pub use tickwheel_core::{
    Alert, Changed, Counts, Fired, JobId, JobState, Key, Next, Notice as JobEvent, OutcomeKind,
    Overlap, Refusal, ShardId, WallTime, When, cron,
};
pub use tickwheel_wal::{Durability, ReadError};
#[cfg(feature = "json")]
pub use typed::{JobKind, PayloadError};

/// Compiles the examples of the project's front page.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;

/// Compiles the examples of the page about embedding.
#[cfg(doctest)]
#[doc = include_str!("../../docs/embedding.md")]
pub struct Embedding;

/// Compiles the example of the page about the history.
#[cfg(doctest)]
#[doc = include_str!("../../docs/history.md")]
pub struct HistoryPageExamples;
