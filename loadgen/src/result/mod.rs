//! What a run found, as a structure with a stable JSON form. How it is shown to people is in `text`
//! and in `report`; how it is stored is in `store`.

mod intervals;
mod store;
pub(crate) mod text;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tickwheel_engine::{
    latency::{Histogram, Latency, Percentiles, Stage},
    ledger::Balance,
};

pub use intervals::{FaultBand, HEAT_ROWS, Interval, TenantSpans};
pub use store::{OutDir, StoreError, read_dir, read_file};

use crate::{
    machine::Machine,
    verdict::{Outcome, Verdict},
};

/// Name and version of the JSON form.
pub const SCHEMA: &str = "tickwheel.run/v2";

/// What a run found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: String,
    /// The verb that made the run: `run`, `sweep`, `saturate` …
    pub verb: String,
    /// What tells this run from the others of its verb.
    pub point: Option<Point>,
    /// The command line that asks for the same run.
    pub command: String,
    /// When it began, in milliseconds since 1970.
    pub began_unix_ms: u64,
    /// What it ran on, with what that can do at best.
    pub machine: Machine,
    /// What the payloads and all else were drawn from.
    pub seed: u64,
    /// What the load was put on.
    pub target: String,
    /// When a submitted job was acknowledged.
    pub durability: String,
    /// Mean rate that was asked for in jobs per second; open loop only.
    pub offered_per_s: Option<f64>,
    /// Rates.
    pub achieved: Achieved,
    /// Spans by the kit's own clock reads, by metric: `submit`, `submit_raw`, `lateness`,
    /// `lateness_raw`, `complete`, `generator`. Warm-up is left out.
    pub latency_ns: BTreeMap<String, Spans>,
    /// Points of each metric's curve: the number of nines, from 0 to 5, and nanoseconds.
    pub curves: BTreeMap<String, Vec<(f64, u64)>>,
    /// What each stage of the target took, as it says itself. Warm-up is part of it.
    pub stages_ns: Option<StagesNs>,
    /// What became of the jobs.
    pub ledger: LedgerCounts,
    /// What it took.
    pub resources: Resources,
    /// The target's logs.
    pub log: LogLength,
    /// Syncs of these by how long they took: entry `n` counts those of 2ⁿ to 2ⁿ⁺¹ − 1 nanoseconds; empty
    /// where the target does not tell.
    #[serde(default)]
    pub syncs_by_time: Vec<u64>,
    /// Shards of the target.
    pub shards: usize,
    /// Why the first refused job was refused.
    pub first_refusal: Option<String>,
    /// How long before its due time the earliest run was; 0 when none was early.
    pub early_max_ns: u64,
    /// From the first submit until all was completed and acknowledged, in seconds.
    pub elapsed_s: f64,
    /// The whole run in seconds: with the start and the end of the target.
    pub wall_seconds: f64,
    /// One after the other.
    pub intervals: Vec<Interval>,
    /// What was done to the target on purpose, one after the other.
    #[serde(default)]
    pub faults: Vec<FaultBand>,
    /// Lateness of each tenant's jobs, where there are several.
    pub tenants: Vec<TenantSpans>,
    /// Measurements that only some verbs make, by name.
    pub extra: BTreeMap<String, f64>,
    /// What the run comes to.
    pub verdict: Verdict,
    /// Whether it was interrupted: what was measured until then is here.
    pub partial: bool,
    /// Why the run ended before all was done.
    pub cut_short: Option<String>,
    /// What went wrong beside the run, such as an interval log that could not be written.
    pub notes: Vec<String>,
}

/// A place on the axis of a verb.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// What the axis shows, such as `rate_per_s` or `shards`.
    pub axis: String,
    /// Where on it.
    pub value: f64,
}

/// Rates in jobs per second.
#[derive(Clone, Copy, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct Achieved {
    /// Jobs handed to the target, from the first submit until the last has returned.
    pub submitted_per_s: f64,
    /// Jobs completed, from the first submit until the last completion is acknowledged in the log.
    pub completed_per_s: f64,
}

/// Spans of each stage of a job's life in the target, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagesNs {
    /// From the call of submit until the job was acknowledged.
    pub submit_ack: Spans,
    /// From the due time to the trigger.
    pub lateness: Spans,
    /// From the trigger to the dispatch.
    pub ready: Spans,
    /// From the dispatch to the start of the handler.
    pub dispatch: Spans,
    /// The handler itself.
    pub run: Spans,
    /// From the handler's end until that was acknowledged in the log.
    pub completion_ack: Spans,
}

/// Percentiles of spans in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
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

/// What became of the jobs, by the kit's own account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LedgerCounts {
    /// Handed to the target.
    pub submitted: u64,
    /// Acknowledged by it.
    pub acked: u64,
    /// Refused by it. They are not acked, and so never lost.
    pub refused: u64,
    /// Neither acknowledged nor refused when the run ended: whether they were taken is not known.
    pub indeterminate: u64,
    /// Run at least once.
    pub completed: u64,
    /// Acknowledged, and never run because an acknowledged cancel came first.
    pub cancelled: u64,
    /// Acknowledged, and neither run nor cancelled when an interrupted run ended.
    pub outstanding: u64,
    /// Acknowledged and not run, though the run came to its end.
    pub lost: u64,
    /// Runs beyond the first of a job.
    pub duplicate: u64,
    /// Runs before the due time.
    pub early: u64,
    /// Runs after an acknowledged cancel.
    pub ran_after_cancel: u64,
    /// Runs whose payload was not the one that was submitted. They do not count as completed.
    pub damaged: u64,
    /// Attempts that failed, hung or crashed because they were meant to.
    pub meant_to_fail: u64,
}

/// The logs at the end of a run, and what keeping them short took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LogLength {
    /// Bytes from their heads to their ends.
    pub bytes: u64,
    /// Bytes appended, those written again included.
    pub appended_bytes: u64,
    /// Bytes that were written again so that segments could be given back.
    pub moved_bytes: u64,
    /// Segments given back.
    pub segments_released: u64,
    /// Snapshots written.
    pub snapshots: u64,
    /// Syncs.
    pub syncs: u64,
}

/// What a run took.
#[derive(Clone, Copy, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct Resources {
    /// Processor time of the whole process, generator included, per completed job.
    pub cpu_ns_per_job: f64,
    /// Processors that the process kept busy on average.
    pub cpus_busy: f64,
    /// Share of the machine's processor time that other processes used.
    pub others_share: f64,
    /// Share of the machine's processor time that the hypervisor gave to other machines.
    pub steal_share: f64,
    /// Most memory at a time, mapped log and generator included.
    pub rss_bytes: u64,
    /// Bytes appended to the logs per completed job.
    pub wal_bytes_per_job: f64,
    /// Share of the submitting time that the target held the generator in its calls.
    pub held_share: f64,
}

impl Report {
    /// A report without a load, for verbs that measure something else.
    pub(crate) fn bare(verb: &str, machine: Machine) -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            verb: verb.to_owned(),
            point: None,
            command: String::new(),
            began_unix_ms: 0,
            machine,
            seed: 0,
            target: String::new(),
            durability: String::new(),
            offered_per_s: None,
            achieved: Achieved::default(),
            latency_ns: BTreeMap::new(),
            curves: BTreeMap::new(),
            stages_ns: None,
            ledger: LedgerCounts::default(),
            resources: Resources::default(),
            log: LogLength::default(),
            syncs_by_time: Vec::new(),
            shards: 0,
            first_refusal: None,
            early_max_ns: 0,
            elapsed_s: 0.0,
            wall_seconds: 0.0,
            intervals: Vec::new(),
            faults: Vec::new(),
            tenants: Vec::new(),
            extra: BTreeMap::new(),
            verdict: Verdict {
                outcome: Outcome::Pass,
                reasons: Vec::new(),
                objectives: Vec::new(),
            },
            partial: false,
            cut_short: None,
            notes: Vec::new(),
        }
    }

    /// Whether nothing was lost, nothing ran early or after its cancel, and the run came to its end.
    #[must_use]
    pub fn kept_its_promises(&self) -> bool {
        self.ledger.is_sound() && self.cut_short.is_none()
    }

    /// The spans of a metric; all zero when nothing was recorded.
    #[must_use]
    pub fn spans(&self, metric: &str) -> Spans {
        self.latency_ns.get(metric).copied().unwrap_or_default()
    }
}

impl LedgerCounts {
    /// Whether no job was lost, early, damaged, or run after its cancel.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        (self.lost, self.early, self.damaged, self.ran_after_cancel) == (0, 0, 0, 0)
    }

    /// Whether every submitted job is in exactly one column.
    #[must_use]
    pub fn balances(&self) -> bool {
        let answered = self.acked + self.refused + self.indeterminate;
        // A job that ran after its cancel is completed; `cancelled` counts those that never ran.
        let ended = self.completed + self.cancelled + self.outstanding + self.lost;
        // Jobs of unknown fate may have run.
        self.submitted == answered
            && (self.acked..=self.acked + self.indeterminate).contains(&ended)
    }

    /// What the ledger found.
    pub(crate) fn of(balance: Balance) -> Self {
        Self {
            submitted: balance.submitted,
            acked: balance.acked,
            completed: balance.ran,
            lost: balance.lost,
            duplicate: balance.duplicate,
            early: balance.early,
            ..Self::default()
        }
    }
}

impl StagesNs {
    pub(crate) fn of(latency: &Latency) -> Self {
        let stage = |stage| Spans::of(latency.stage(stage));
        Self {
            submit_ack: stage(Stage::SubmitAck),
            lateness: stage(Stage::Lateness),
            ready: stage(Stage::Ready),
            dispatch: stage(Stage::Dispatch),
            run: stage(Stage::Run),
            completion_ack: stage(Stage::CompletionAck),
        }
    }

    /// The stages with their names, in the order of a job's life.
    #[must_use]
    pub fn all(&self) -> [(&'static str, Spans); 6] {
        [
            ("submit_ack", self.submit_ack),
            ("lateness", self.lateness),
            ("ready", self.ready),
            ("dispatch", self.dispatch),
            ("run", self.run),
            ("completion_ack", self.completion_ack),
        ]
    }
}

impl Spans {
    /// The percentiles of a histogram of nanoseconds; all zero when it is empty.
    pub(crate) fn of(histogram: &Histogram<u64>) -> Self {
        let Percentiles { p50, p90, p99, p999, p9999, max, count } = Percentiles::of(histogram);
        Self { p50, p90, p99, p999, p9999, max, count }
    }
}

/// Steps of a curve for each nine.
const CURVE_STEPS: u32 = 12;

/// The curve of a histogram by the number of nines: 0 is the least, 2 is p99, 5 is p99.999. It ends
/// where fewer than one value would lie beyond.
pub(crate) fn curve(histogram: &Histogram<u64>) -> Vec<(f64, u64)> {
    if histogram.is_empty() {
        return Vec::new();
    }
    let nines_max = (histogram.len() as f64).log10().min(5.0);
    (0..=5 * CURVE_STEPS)
        .map(|step| f64::from(step) / f64::from(CURVE_STEPS))
        .take_while(|nines| *nines <= nines_max)
        .map(|nines| (nines, histogram.value_at_quantile(1.0 - 10_f64.powf(-nines))))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_balances_when_each_job_is_in_one_column() {
        let sound = LedgerCounts {
            submitted: 10,
            acked: 7,
            refused: 2,
            indeterminate: 1,
            completed: 5,
            cancelled: 1,
            outstanding: 1,
            ..LedgerCounts::default()
        };
        assert!(sound.balances() && sound.is_sound());
        assert!(LedgerCounts { completed: 6, ..sound }.balances());
        assert!(!LedgerCounts { completed: 7, ..sound }.balances());
        assert!(!LedgerCounts { refused: 1, ..sound }.balances());
        assert!(!LedgerCounts { lost: 1, outstanding: 0, ..sound }.is_sound());
    }

    #[test]
    fn a_curve_rises_and_ends_where_the_values_do() {
        let mut histogram = tickwheel_engine::latency::histogram();
        assert!(curve(&histogram).is_empty());
        for n in 1..=1000 {
            histogram.saturating_record(n);
        }
        let points = curve(&histogram);
        assert!(points.is_sorted_by(|one, next| one.1 <= next.1));
        assert_eq!((points[0], points[24].1), ((0.0, 1), 990));
        assert_eq!(points[points.len() - 1].0, 3.0);
    }
}
