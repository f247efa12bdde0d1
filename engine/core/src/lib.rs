//! Tickwheel's scheduler as a pure state machine.
//!
//! [`Scheduler::step`] takes the time and one input, appends what it decides to a [`Journal`] and
//! says in [`Outputs`] what the world around it must do. It owns no thread, clock, file, socket or
//! random source, and never walks a collection in an order that depends on a hash. So the same
//! inputs give the same state, the same journal and the same outputs, on any machine.
//!
//! The crate is `no_std`: the compiler keeps the standard library's clocks, threads and files out
//! of reach. What its dependencies could still offer is refused by `clippy.toml` beside the
//! manifest.
//!
//! The folders follow a job's life: [`job`] (what a job is), [`schedule`] and [`cron`] (rules that
//! add jobs), [`event`] and [`journal`] (what is written), [`wheel`] (when it is due), the
//! queues, [`scheduler`], which decides and applies, and [`snapshot`] (its state as bytes).
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod batch;
pub mod cron;
pub mod event;
pub mod fact;
pub mod id;
pub mod job;
pub mod journal;
pub mod limits;
mod names;
pub mod pages;
#[cfg(feature = "planted")]
pub mod planted;
mod queue;
pub mod schedule;
pub mod scheduler;
pub mod snapshot;
pub mod time;
pub mod wheel;

pub use batch::{BatchCounts, BatchEnd, BatchView, Callback, Fired, Membership, NewBatch, Role};
pub use id::{JobId, Key, KindId, Lsn, QueueId, ShardId, Slot, Token};
pub use job::{
    Backoff, Clock, Conflict, Due, Expiry, JobOptions, JobState, Need, Needs, NewJob, Otherwise,
    Refusal, Tags, Unique, Until, When,
};
pub use journal::{Journal, NoRoom, Position};
pub use queue::{
    GroupView, GroupsView, QueueLimits, Rate,
    permits::{Ask, Holding, Permits, SharedQueue, Taken, Wait},
};
pub use schedule::{Missed, Overlap, Pause, Schedule, Timing};
pub use scheduler::{
    Alert, Answer, Attempt, Backfilled, Began, BreakerRule, CallerId, Census, CensusError, Change,
    Changed, CleanError, Cleaned, Config, Counts, DeadLimits, DeadView, Dispatch, Filter, Input,
    JobView, Next, Notice, Outcome, OutcomeKind, Outputs, Piece, Place, QueueView, ReplayError,
    Reply, ScheduleView, Scheduler, States, Tell, Wake, WalkBudget, WalkPlace,
};
pub use snapshot::{
    Frozen, Restore, RestoreError, SnapshotBuilder, SnapshotParser, SnapshotPieces,
};
pub use time::{MonoTime, Now, WallTime};
