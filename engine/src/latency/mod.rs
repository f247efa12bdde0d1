//! What each stage of a job's life took, as HDR histograms in nanoseconds.
//!
//! Each thread records into cells of its own, without a lock; a reader sums them. Nothing is averaged.

mod cells;
mod report;

use std::sync::{Arc, Mutex, PoisonError};

use cells::Cells;
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
    /// One pass of a shard over all that there was to do; passes that found nothing do not count.
    Pass,
    /// From the time at which a shard wanted to be woken to the time at which its thread ran.
    Wake,
}

impl Stage {
    /// All stages, in the order of a job's life.
    pub const ALL: [Self; 8] = [
        Self::SubmitAck,
        Self::Lateness,
        Self::Ready,
        Self::Dispatch,
        Self::Run,
        Self::CompletionAck,
        Self::Pass,
        Self::Wake,
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
            Self::Pass => "pass",
            Self::Wake => "wake",
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
}

impl std::fmt::Debug for Latency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let percentiles = |stage| (stage, Percentiles::of(self.stage(stage)));
        f.debug_map().entries(Stage::ALL.map(percentiles)).finish()
    }
}

/// One thread's counts: that thread alone may record.
#[derive(Clone)]
pub(crate) struct Recorder(Arc<Recorded>);

struct Recorded {
    stages: [Cells; Stage::ALL.len()],
    /// What was there at the last reset.
    before: Mutex<Option<Latency>>,
}

impl Recorder {
    pub(crate) fn new() -> Self {
        let stages = std::array::from_fn(|_| Cells::new());
        Self(Arc::new(Recorded { stages, before: Mutex::new(None) }))
    }

    /// Records several spans of one stage.
    pub(crate) fn record_all(&self, stage: Stage, spans_ns: impl IntoIterator<Item = u64>) {
        let cells = &self.0.stages[stage as usize];
        for span_ns in spans_ns {
            cells.record(span_ns, 1);
        }
    }

    /// Records `span_ns` `count` times.
    pub(crate) fn record_many(&self, stage: Stage, span_ns: u64, count: u64) {
        self.0.stages[stage as usize].record(span_ns, count);
    }

    pub(crate) fn record_run(&self, dispatch_ns: u64, run_ns: u64) {
        self.record_many(Stage::Dispatch, dispatch_ns, 1);
        self.record_many(Stage::Run, run_ns, 1);
    }

    /// Adds what was recorded since the last reset.
    fn add_to(&self, sum: &mut Latency) {
        // Held while the cells are read: a reset meanwhile would take away more than was read.
        let before = self.0.before.lock().unwrap_or_else(PoisonError::into_inner);
        for (stage, (cells, sum)) in self.0.stages.iter().zip(&mut sum.stages).enumerate() {
            let Some(before) = before.as_ref() else {
                cells.add_to(sum);
                continue;
            };
            let mut since = histogram();
            cells.add_to(&mut since);
            // Counts only rise, and all have the same bounds, so that neither has a way to fail.
            let subtracted = since.subtract(&before.stages[stage]);
            let added = sum.add(since);
            debug_assert!(subtracted.is_ok() && added.is_ok());
        }
    }

    fn reset(&self) {
        let mut before = self.0.before.lock().unwrap_or_else(PoisonError::into_inner);
        let now = before.insert(Latency::new());
        for (cells, now) in self.0.stages.iter().zip(&mut now.stages) {
            cells.add_to(now);
        }
    }
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder").finish_non_exhaustive()
    }
}

/// The sum of what `recorders` hold.
pub(crate) fn merged(recorders: impl Iterator<Item = Recorder>) -> Latency {
    let mut sum = Latency::new();
    for recorder in recorders {
        recorder.add_to(&mut sum);
    }
    sum
}

/// Starts all of `recorders` anew.
pub(crate) fn reset(recorders: impl Iterator<Item = Recorder>) {
    for recorder in recorders {
        recorder.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reset_hides_what_was_before_it_and_nothing_after_it() {
        let recorders = [Recorder::new(), Recorder::new()];
        let counts = |latency: &Latency| Stage::ALL.map(|stage| latency.stage(stage).len());
        recorders[0].record_many(Stage::Run, 1000, 5);
        recorders[1].record_all(Stage::Run, [2000, 3000]);
        assert_eq!(merged(recorders.iter().cloned()).stage(Stage::Run).len(), 7);
        reset(recorders.iter().cloned());
        assert_eq!(counts(&merged(recorders.iter().cloned())), [0; 8]);
        recorders[1].record_run(7, 50_000);
        let latency = merged(recorders.iter().cloned());
        assert_eq!((latency.stage(Stage::Run).len(), latency.stage(Stage::Dispatch).len()), (1, 1));
        let run = latency.stage(Stage::Run);
        assert!(run.min() <= 50_000 && run.max() >= 50_000 && run.min() > 49_900);
    }
}
