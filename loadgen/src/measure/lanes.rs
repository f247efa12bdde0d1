//! Who records where: each thread has a lane of its own, with a histogram for each metric. It knows
//! threads and metrics, and judges nothing.

use std::{
    cell::RefCell,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::Cells;

/// What the kit measures by its own clock reads, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Metric {
    /// From the planned moment to the call, as far as the generator itself was the reason.
    Generator,
    /// From the planned moment to the acknowledgement; in a closed loop from the call.
    Submit,
    /// From the call to the acknowledgement.
    SubmitRaw,
    /// From the planned due time (planned moment and delay) to the start of the handler.
    Lateness,
    /// From the earliest true due time (call and delay) to the start of the handler.
    LatenessRaw,
    /// From the planned due time to the end of the handler.
    Complete,
}

impl Metric {
    pub(crate) const ALL: [Self; 6] = [
        Self::Generator,
        Self::Submit,
        Self::SubmitRaw,
        Self::Lateness,
        Self::LatenessRaw,
        Self::Complete,
    ];

    /// Its name in objectives, JSON and interval logs.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Generator => "generator",
            Self::Submit => "submit",
            Self::SubmitRaw => "submit_raw",
            Self::Lateness => "lateness",
            Self::LatenessRaw => "lateness_raw",
            Self::Complete => "complete",
        }
    }
}

/// The histograms of one thread. They are made when they are first needed.
#[derive(Debug)]
pub(crate) struct Lane {
    metrics: [OnceLock<Cells>; Metric::ALL.len()],
    /// Lateness of each tenant's jobs.
    tenants: Box<[OnceLock<Cells>]>,
}

impl Lane {
    pub(crate) fn record(&self, metric: Metric, span_ns: u64) {
        self.metrics[metric as usize].get_or_init(Cells::fine).record(span_ns);
    }

    pub(crate) fn record_tenant(&self, tenant: u16, span_ns: u64) {
        if let Some(cells) = self.tenants.get(usize::from(tenant)) {
            cells.get_or_init(Cells::coarse).record(span_ns);
        }
    }
}

/// The lanes of one run.
#[derive(Debug)]
pub(crate) struct Lanes {
    id: usize,
    tenants: usize,
    all: Mutex<Vec<Arc<Lane>>>,
}

thread_local! {
    /// This thread's lane, and the run that it belongs to.
    static LANE: RefCell<Option<(usize, Arc<Lane>)>> = const { RefCell::new(None) };
}

/// Numbers runs, so that a thread that sees two does not mix them.
static RUNS: AtomicUsize = AtomicUsize::new(0);

impl Lanes {
    /// Lanes for a run with so many tenants; a single one has no histograms of its own.
    pub(crate) fn new(tenants: u16) -> Self {
        let tenants = if tenants > 1 { usize::from(tenants) } else { 0 };
        Self { id: RUNS.fetch_add(1, Ordering::Relaxed), tenants, all: Mutex::default() }
    }

    /// Does something with this thread's lane. Only the first call of a thread takes a lock.
    pub(crate) fn with<R>(&self, body: impl FnOnce(&Lane) -> R) -> R {
        LANE.with_borrow_mut(|slot| {
            if slot.as_ref().is_none_or(|(id, _)| *id != self.id) {
                let lane = Arc::new(Lane {
                    metrics: Default::default(),
                    tenants: (0..self.tenants).map(|_| OnceLock::new()).collect(),
                });
                self.all.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&lane));
                *slot = Some((self.id, lane));
            }
            // It was just filled if it was not.
            let (_, lane) = slot.as_ref().expect("the slot holds this run's lane");
            body(lane)
        })
    }

    /// Tenants that have histograms of their own.
    pub(crate) fn tenants(&self) -> u16 {
        self.tenants as u16
    }

    /// The sums over all threads so far, as fine cells.
    pub(crate) fn sums(&self, metric: Metric) -> Vec<u64> {
        self.sums_of(|lane| lane.metrics[metric as usize].get())
    }

    /// The sums of one tenant's lateness, as coarse cells.
    pub(crate) fn tenant_sums(&self, tenant: u16) -> Vec<u64> {
        self.sums_of(|lane| lane.tenants.get(usize::from(tenant))?.get())
    }

    fn sums_of(&self, of: impl Fn(&Lane) -> Option<&Cells>) -> Vec<u64> {
        let mut sums = Vec::new();
        for lane in self.all.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            if let Some(cells) = of(lane) {
                cells.add_to(&mut sums);
            }
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_record_apart_and_are_summed() {
        let (one, other) = (Lanes::new(3), Lanes::new(1));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for span_ns in 0..1000 {
                        one.with(|lane| lane.record(Metric::Submit, span_ns));
                        one.with(|lane| lane.record_tenant(2, span_ns));
                    }
                    other.with(|lane| lane.record(Metric::Submit, 1));
                });
            }
        });
        assert_eq!(one.sums(Metric::Submit).iter().sum::<u64>(), 4000);
        assert_eq!(one.sums(Metric::Submit)[5], 4);
        assert_eq!(one.tenant_sums(2).iter().sum::<u64>(), 4000);
        assert_eq!(other.sums(Metric::Submit)[1], 4);
        assert!(one.sums(Metric::Lateness).is_empty() && other.tenant_sums(0).is_empty());
    }
}
