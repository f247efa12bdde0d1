//! What each stage of a job's life took, as HDR histograms in nanoseconds.
//!
//! Each thread records into histograms of its own; a reader merges them. Nothing is averaged.

mod report;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use hdrhistogram::Histogram;
pub use report::{Percentiles, plot, table};

/// A stage of a job's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// From the call of submit to the acknowledgement: with `sync`, until it is on the disk.
    SubmitAck,
    /// From the due time to the trigger.
    Lateness,
    /// From the trigger to the dispatch: the time in the ready lines while all executors are busy.
    Ready,
    /// From the dispatch to the start of the handler: the time in the executors' queue.
    Dispatch,
    /// The handler itself.
    Run,
    /// From the handler's end until that is in the log: with `sync`, until it is on the disk.
    CompletionAck,
}

impl Stage {
    /// All stages, in the order of a job's life.
    pub const ALL: [Self; 6] = [
        Self::SubmitAck,
        Self::Lateness,
        Self::Ready,
        Self::Dispatch,
        Self::Run,
        Self::CompletionAck,
    ];

    /// Its name in reports and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SubmitAck => "submit_ack",
            Self::Lateness => "lateness",
            Self::Ready => "ready",
            Self::Dispatch => "dispatch",
            Self::Run => "run",
            Self::CompletionAck => "completion_ack",
        }
    }
}

/// Longest span told apart: one hour; a longer one counts as an hour.
pub const SPAN_NS_MAX: u64 = 3_600_000_000_000;
/// Significant decimal digits.
const DIGITS: u8 = 3;

/// An empty histogram of the kind used throughout: 1 ns to 1 h, three digits.
///
/// # Panics
/// Never: the bounds are constants that the histogram accepts.
#[must_use]
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, SPAN_NS_MAX, DIGITS)
        .expect("1 ns to 1 h with three digits are bounds that a histogram takes")
}

/// The histograms of all stages.
#[derive(Clone)]
pub struct Latency {
    stages: [Histogram<u64>; Stage::ALL.len()],
}

impl Latency {
    fn new() -> Self {
        Self { stages: std::array::from_fn(|_| histogram()) }
    }

    /// The histogram of one stage, in nanoseconds.
    #[must_use]
    pub fn stage(&self, stage: Stage) -> &Histogram<u64> {
        &self.stages[stage as usize]
    }

    fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.stages.iter_mut().zip(&other.stages) {
            // Both have the same bounds, so that an addition has no way to fail.
            let added = mine.add(theirs);
            debug_assert!(added.is_ok());
        }
    }

    fn reset(&mut self) {
        for histogram in &mut self.stages {
            histogram.reset();
        }
    }
}

impl std::fmt::Debug for Latency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let percentiles = |stage| (stage, Percentiles::of(self.stage(stage)));
        f.debug_map().entries(Stage::ALL.map(percentiles)).finish()
    }
}

/// One thread's histograms. The lock is taken by that thread and, rarely, by a reader.
#[derive(Clone, Debug)]
pub(crate) struct Recorder(Arc<Mutex<Latency>>);

impl Recorder {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Latency::new())))
    }

    /// Records several spans of one stage under one lock.
    pub(crate) fn record_all(&self, stage: Stage, spans_ns: impl IntoIterator<Item = u64>) {
        let mut latency = self.lock();
        let histogram = &mut latency.stages[stage as usize];
        for span_ns in spans_ns {
            histogram.saturating_record(span_ns);
        }
    }

    /// Records `span_ns` `count` times.
    pub(crate) fn record_many(&self, stage: Stage, span_ns: u64, count: u64) {
        self.lock().stages[stage as usize].saturating_record_n(span_ns, count);
    }

    pub(crate) fn record_run(&self, dispatch_ns: u64, run_ns: u64) {
        let mut latency = self.lock();
        latency.stages[Stage::Dispatch as usize].saturating_record(dispatch_ns);
        latency.stages[Stage::Run as usize].saturating_record(run_ns);
    }

    fn lock(&self) -> MutexGuard<'_, Latency> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sum of what `recorders` hold.
pub(crate) fn merged<'r>(recorders: impl Iterator<Item = &'r Recorder>) -> Latency {
    let mut sum = Latency::new();
    for recorder in recorders {
        sum.merge(&recorder.lock());
    }
    sum
}

/// Starts all of `recorders` anew.
pub(crate) fn reset<'r>(recorders: impl Iterator<Item = &'r Recorder>) {
    for recorder in recorders {
        recorder.lock().reset();
    }
}
