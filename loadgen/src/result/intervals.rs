//! What a run did in each interval, and what each tenant saw. Plain numbers.

use serde::{Deserialize, Serialize};

/// Rows of a heat map: doublings of microseconds, up to an hour.
pub const HEAT_ROWS: usize = 32;

/// What happened in one interval of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// When it began, in seconds since the start of the load.
    pub start_s: f64,
    /// How long it was, in seconds.
    pub len_s: f64,
    /// Jobs submitted within it.
    pub submitted: u64,
    /// Jobs completed within it.
    pub completed: u64,
    /// Jobs refused within it.
    pub refused: u64,
    /// Jobs accepted and not ended, at its end.
    pub backlog: u64,
    /// From the planned moment to the acknowledgement, 99 %.
    pub submit_p99_ns: u64,
    /// From the planned moment to the acknowledgement, the longest.
    pub submit_max_ns: u64,
    /// From the planned due time to the start of the handler, the median.
    pub lateness_p50_ns: u64,
    /// From the planned due time to the start of the handler, 99 %.
    pub lateness_p99_ns: u64,
    /// From the planned due time to the start of the handler, the longest.
    pub lateness_max_ns: u64,
    /// How late the generator itself was, 99 %.
    pub generator_p99_ns: u64,
    /// Memory at its end.
    pub rss_bytes: u64,
    /// Starts by lateness: below 2 µs, then for each doubling; at most [`HEAT_ROWS`] rows.
    pub lateness_heat: Vec<u64>,
}

/// What a tenant saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TenantSpans {
    /// Its number, from 0.
    pub tenant: u16,
    /// Starts that were measured.
    pub count: u64,
    /// Median of lateness.
    pub p50_ns: u64,
    /// 99 % of lateness.
    pub p99_ns: u64,
    /// The longest lateness.
    pub max_ns: u64,
}

/// A fault that was put on the target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FaultBand {
    /// `kill` or `stop`.
    pub kind: String,
    /// From the first submit, in seconds.
    pub start_s: f64,
    /// When the target served again, in seconds from the first submit.
    pub end_s: f64,
}
