//! What a run found, as a structure with a stable JSON form. How it is shown to people is in
//! `text`.

use serde::Serialize;
use tickwheel_engine::{
    latency::{Histogram, Latency, Percentiles, Stage},
    ledger::Balance,
};

use crate::machine::Machine;

/// Name and version of the JSON form.
pub const SCHEMA: &str = "tickwheel.run/v1";

/// What a run found.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// The command line that asks for the same run.
    pub command: String,
    /// What it ran on, with what that can do at best.
    pub machine: Machine,
    /// What the payloads were drawn from.
    pub seed: u64,
    /// When a submitted job was acknowledged.
    pub durability: String,
    /// Rates.
    pub achieved: Achieved,
    /// What each stage took.
    pub latency_ns: LatencyNs,
    /// What became of the jobs.
    pub ledger: LedgerCounts,
    /// What it took.
    pub resources: Resources,
    /// Shards of the engine.
    pub shards: usize,
    /// Jobs that the engine refused. They are not acked, and so never lost.
    pub refused: u64,
    /// Why the first of them was refused.
    pub first_refusal: Option<String>,
    /// Runs whose payload was not the one that was submitted. They do not count as completed.
    pub damaged: u64,
    /// How long before its due time the earliest run was; 0 when none was early.
    pub early_max_ns: u64,
    /// From the first submit until all was completed and acknowledged, in seconds.
    pub elapsed_s: f64,
    /// The whole run in seconds: with the measuring of limits, the start and the end of the engine.
    pub wall_seconds: f64,
    /// Syncs of the logs.
    pub syncs: u64,
    /// What keeping the logs short took.
    pub log: LogLength,
    /// From the trigger to the dispatch: how long triggered jobs waited for room in the executors'
    /// queue. It is beside the stages of `latency_ns`, whose form is fixed.
    pub ready: Spans,
    /// How late the generator itself submitted, against its plan; open loop only.
    pub generator_lateness: Option<Spans>,
    /// From the call of submit to the acknowledgement; open loop only, where `submit_ack` counts
    /// from the planned moment.
    pub submit_service: Option<Spans>,
    /// Why the run ended before all was done.
    pub cut_short: Option<String>,
}

/// Rates in jobs per second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Achieved {
    /// Jobs handed to the engine, from the first submit until the last has returned.
    pub submitted_per_s: f64,
    /// Jobs completed, from the first submit until the last completion is acknowledged in the log.
    pub completed_per_s: f64,
}

/// Spans of each stage of a job's life, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LatencyNs {
    /// Until the job was acknowledged: from the call of submit in a closed loop, from the planned
    /// moment in an open one.
    pub submit_ack: Spans,
    /// From the due time to the trigger.
    pub lateness: Spans,
    /// From the dispatch to the start of the handler.
    pub dispatch: Spans,
    /// The handler itself.
    pub run: Spans,
    /// From the handler's end until that was acknowledged in the log.
    pub completion_ack: Spans,
}

/// Percentiles of spans in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Spans {
    /// Median.
    pub p50: u64,
    /// 90 %.
    pub p90: u64,
    /// 99 %.
    pub p99: u64,
    /// 99.9 %.
    pub p999: u64,
    /// 99.99 %.
    pub p9999: u64,
    /// The longest.
    pub max: u64,
    /// How many were recorded.
    pub count: u64,
}

/// What became of the jobs, by the generator's own account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LedgerCounts {
    /// Handed to the engine.
    pub submitted: u64,
    /// Acknowledged by it.
    pub acked: u64,
    /// Run at least once.
    pub completed: u64,
    /// Acknowledged and not run.
    pub lost: u64,
    /// Runs beyond the first of a job.
    pub duplicate: u64,
    /// Runs before the due time.
    pub early: u64,
}

/// The logs at the end of a run, and what keeping them short took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LogLength {
    /// Bytes from their heads to their ends.
    pub bytes: u64,
    /// Bytes that were written again so that segments could be given back. They count in
    /// `resources.wal_bytes_per_job`.
    pub moved_bytes: u64,
    /// Segments given back.
    pub segments_released: u64,
    /// Snapshots written.
    pub snapshots: u64,
}

/// What a run took.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Resources {
    /// Processor time of the whole process, generator included, per completed job.
    pub cpu_ns_per_job: f64,
    /// Most memory at a time, mapped log and generator included.
    pub rss_bytes: u64,
    /// Bytes appended to the logs per completed job.
    pub wal_bytes_per_job: f64,
}

impl Report {
    /// Whether nothing was lost, nothing ran early, and the run came to its end.
    #[must_use]
    pub fn kept_its_promises(&self) -> bool {
        self.ledger.lost == 0
            && self.ledger.early == 0
            && self.damaged == 0
            && self.cut_short.is_none()
    }
}

impl LatencyNs {
    /// The engine's own spans, with `submit_ack` in place of the engine's where it is given.
    pub(crate) fn of(latency: &Latency, submit_ack: Option<Spans>) -> Self {
        let stage = |stage| Spans::of(latency.stage(stage));
        Self {
            submit_ack: submit_ack.unwrap_or_else(|| stage(Stage::SubmitAck)),
            lateness: stage(Stage::Lateness),
            dispatch: stage(Stage::Dispatch),
            run: stage(Stage::Run),
            completion_ack: stage(Stage::CompletionAck),
        }
    }
}

impl Spans {
    /// The percentiles of a histogram of nanoseconds; all zero when it is empty.
    pub(crate) fn of(histogram: &Histogram<u64>) -> Self {
        let Percentiles { p50, p90, p99, p999, p9999, max, count } = Percentiles::of(histogram);
        Self { p50, p90, p99, p999, p9999, max, count }
    }
}

impl From<Balance> for LedgerCounts {
    fn from(balance: Balance) -> Self {
        let Balance { submitted, acked, ran, lost, duplicate, early } = balance;
        Self { submitted, acked, completed: ran, lost, duplicate, early }
    }
}
