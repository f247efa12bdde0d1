//! What other threads ask of a shard, and how they are answered.

use crossbeam::channel::Sender;
use tickwheel_core::{
    Backfilled, BatchView, Change, Changed, Counts, DeadView, GroupsView, JobId, JobState, JobView,
    QueueLimits, QueueView, Refusal, Schedule, ScheduleView, WallTime,
};

use super::{guarded, remote::answer as answer_fetch, walks::Walk};
use crate::{
    engine::SyncClasses,
    error::CallError,
    flow::Submission,
    job::NewJob,
    jobs::JobEntry,
    relations::NewBatch,
    worker::{OnOrders, Order, Promise, Waiter},
};

/// Jobs of a batch as they were answered, in the order of the batch.
pub(crate) type BatchAnswer = Result<Vec<Result<JobId, Refusal>>, CallError>;

/// Called once, on the shard's thread.
pub(crate) type OnBatch = Box<dyn FnOnce(BatchAnswer) + Send>;

/// A message to a shard.
pub(crate) enum Message {
    /// Add jobs.
    Submit(Batch),
    /// Cancel a job.
    Cancel { job: JobId, reply: Sender<Result<Option<JobState>, CallError>> },
    /// Put a schedule.
    PutSchedule {
        schedule: Box<Schedule<'static>>,
        reply: Sender<Result<Option<WallTime>, CallError>>,
    },
    /// Remove a schedule.
    RemoveSchedule { name: String, reply: Sender<Result<bool, CallError>> },
    /// Pause a schedule with a note, or let it go on if there is none.
    PauseSchedule { name: String, note: Option<String>, reply: Sender<Result<bool, CallError>> },
    /// Add the job of a schedule now.
    RunSchedule { name: String, reply: Sender<Result<Option<JobId>, CallError>> },
    /// Add jobs of a schedule for fire times that are past, a piece of them.
    Backfill {
        name: String,
        from: WallTime,
        to: WallTime,
        reply: Sender<Result<Option<Backfilled>, CallError>>,
    },
    /// Look at a schedule.
    Schedule { name: String, reply: Sender<Option<ScheduleView>> },
    /// Change a job.
    Change { job: JobId, change: Change, reply: Sender<Result<Changed, CallError>> },
    /// Walk through jobs.
    Walk(Box<Walk>),
    /// Look at a job whole.
    Look { job: JobId, reply: Sender<Option<Box<JobEntry>>> },
    /// Count jobs by kind.
    Kinds { reply: Sender<Vec<(Box<str>, u64)>> },
    /// Look at a job.
    Job { job: JobId, reply: Sender<Found> },
    /// Look at all schedules.
    Schedules { reply: Sender<Vec<ScheduleView>> },
    /// Look at the numbers.
    Stats { reply: Sender<ShardStats> },
    /// Carry out what a front-end asks.
    Orders { orders: Vec<Order>, then: OnOrders, promise: Promise, sent_ns: u64 },
    /// Make a batch.
    NewBatch { batch: Box<NewBatch>, reply: Sender<Result<JobId, CallError>> },
    /// Commit a batch, or open it again.
    SetBatch { batch: JobId, is_open: bool, reply: Sender<Result<(), CallError>> },
    /// Look at a batch.
    Batch { batch: JobId, reply: Sender<Option<BatchView>> },
    /// Add the jobs of a flow, all or none.
    Flow(Submission),
    /// A worker waits for jobs.
    Fetch(Box<Waiter>),
    /// Pause a queue, or let it go on.
    PauseQueue { name: String, paused: bool, reply: Sender<Result<bool, CallError>> },
    /// Give a queue its limits.
    LimitQueue { name: String, limits: QueueLimits, reply: Sender<Result<bool, CallError>> },
    /// Give limits to the groups of a queue, or to one of them.
    LimitGroups {
        queue: String,
        group: Option<String>,
        limits: Option<QueueLimits>,
        reply: Sender<Result<bool, CallError>>,
    },
    /// Let a queue's jobs age, or not.
    AgeQueue { name: String, span_ms: Option<u32>, reply: Sender<Result<bool, CallError>> },
    /// Look at groups of a queue.
    Groups { queue: String, max: usize, reply: Sender<GroupsView> },
    /// Look at all queues.
    Queues { reply: Sender<Vec<QueueView>> },
    /// Begin to trigger and dispatch.
    Resume,
    /// Answer once no job is pending.
    Drain { reply: Sender<()> },
    /// Take nothing more; end once nothing runs, or at the deadline.
    /// Calls are answered with `answer` from then on.
    Stop { deadline_ns: u64, answer: CallError },
}

impl Message {
    /// Answers a message that is not carried out. Whoever waits for a plain reply learns it from the
    /// reply's sender, which is dropped.
    pub(crate) fn refuse(self, error: &CallError) {
        let error = error.clone();
        match self {
            Self::Submit(batch) => guarded("submit callback", || (batch.on_batch)(Err(error))),
            Self::Orders { then, .. } => guarded("order callback", || then(Err(error))),
            Self::Flow(flow) => flow.refuse(&error),
            Self::Fetch(waiter) => answer_fetch(&waiter, Vec::new()),
            other => drop(other),
        }
    }
}

/// A batch of jobs.
pub(crate) struct Batch {
    pub(crate) jobs: Vec<NewJob>,
    pub(crate) on_batch: OnBatch,
    pub(crate) submitted_ns: u64,
}

/// What a shard knows of a job.
#[derive(Debug)]
pub(crate) enum Found {
    /// It has not ended.
    Pending(Box<JobView>),
    /// It is in the dead set.
    Dead(Box<DeadView>),
    /// It was here and has ended.
    Ended,
    /// It was never here.
    Unknown,
}

/// Numbers of one shard.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ShardStats {
    pub(crate) counts: Counts,
    pub(crate) log_appended_bytes: u64,
    pub(crate) log_syncs: u64,
    pub(crate) log_sync_classes: SyncClasses,
    pub(crate) log_bytes: u64,
    pub(crate) log_live_bytes: u64,
    pub(crate) log_moved_bytes: u64,
    pub(crate) log_segments_released: u64,
    pub(crate) snapshots: u64,
    pub(crate) stale_completions: u64,
}
