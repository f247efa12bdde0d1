//! Gathers what the lanes and the account hold, interval by interval, while a load runs. It reads and
//! judges nothing.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        mpsc::{RecvTimeoutError, Sender, channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime},
};

use tickwheel_engine::latency::{self, Histogram};

use super::{Account, Cells, Metric, hlog::IntervalLog, live::Live};
use crate::{
    machine,
    result::{HEAT_ROWS, Interval, TenantSpans},
};

/// How often the view for people moves.
const FRAME: Duration = Duration::from_millis(250);
/// Shortest interval, and how many a run has at the most: longer runs have longer ones, since
/// percentiles of intervals cannot be put together afterwards.
const INTERVAL_MIN: Duration = Duration::from_secs(1);
const INTERVALS_MAX: u32 = 600;

/// How a run is watched.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    /// Where the interval log goes.
    pub(crate) hlog: Option<PathBuf>,
    /// Whether somebody looks on.
    pub(crate) live: bool,
    /// How long the run is planned to take.
    pub(crate) planned: Duration,
    /// What stands before the numbers in the view.
    pub(crate) title: String,
}

/// What was gathered.
#[derive(Debug)]
pub(crate) struct Collected {
    /// One histogram per metric, in the order of [`Metric::ALL`].
    pub(crate) totals: Vec<Histogram<u64>>,
    pub(crate) intervals: Vec<Interval>,
    pub(crate) tenants: Vec<TenantSpans>,
    /// Why the interval log is not whole.
    pub(crate) hlog_failure: Option<String>,
}

impl Collected {
    pub(crate) fn total(&self, metric: Metric) -> &Histogram<u64> {
        &self.totals[metric as usize]
    }
}

/// The thread that gathers.
#[derive(Debug)]
pub(crate) struct Collector {
    stop: Sender<()>,
    thread: JoinHandle<Collected>,
}

impl Collector {
    pub(crate) fn start(account: &Arc<Account>, settings: Settings) -> std::io::Result<Self> {
        let (stop, stopped) = channel::<()>();
        let account = Arc::clone(account);
        let gather = move || {
            let mut gatherer = Gatherer::new(&account, &settings);
            while stopped.recv_timeout(FRAME) == Err(RecvTimeoutError::Timeout) {
                gatherer.look();
            }
            gatherer.end()
        };
        let thread = thread::Builder::new().name("collect".to_owned()).spawn(gather)?;
        Ok(Self { stop, thread })
    }

    /// Takes the last, shorter interval and ends.
    pub(crate) fn end(self) -> Collected {
        drop(self.stop);
        match self.thread.join() {
            Ok(collected) => collected,
            // A panic of ours is not swallowed.
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

struct Gatherer<'a> {
    account: &'a Account,
    live: Option<Live>,
    hlog: Option<IntervalLog>,
    hlog_failure: Option<String>,
    began: Instant,
    len: Duration,
    last: Instant,
    sums: Vec<Vec<u64>>,
    counts: Counts,
    intervals: Vec<Interval>,
}

/// Counts at the end of the last interval.
#[derive(Clone, Copy, Default)]
struct Counts {
    submitted: u64,
    completed: u64,
    refused: u64,
}

impl<'a> Gatherer<'a> {
    fn new(account: &'a Account, settings: &Settings) -> Self {
        let now = Instant::now();
        let log = settings.hlog.as_ref().map(|path| IntervalLog::create(path, SystemTime::now()));
        let (hlog, hlog_failure) = match log.transpose() {
            Ok(hlog) => (hlog, None),
            Err(error) => (None, Some(error.to_string())),
        };
        Self {
            account,
            live: Live::show(settings, account.ledger.jobs()),
            hlog,
            hlog_failure,
            began: now,
            len: INTERVAL_MIN.max(settings.planned / INTERVALS_MAX),
            last: now,
            sums: vec![Vec::new(); Metric::ALL.len()],
            counts: Counts::default(),
            intervals: Vec::new(),
        }
    }

    fn look(&mut self) {
        if self.last.elapsed() >= self.len {
            self.take();
        }
        if let Some(live) = &self.live {
            live.draw(self.account, self.intervals.last());
        }
    }

    /// Takes one interval.
    fn take(&mut self) {
        let now = Instant::now();
        let (start, len) = (self.last - self.began, now - self.last);
        self.last = now;
        let mut histograms = Vec::with_capacity(Metric::ALL.len());
        for metric in Metric::ALL {
            let sums = self.account.lanes.sums(metric);
            let mut histogram = latency::histogram();
            Cells::carry_over(&self.sums[metric as usize], &sums, &mut histogram);
            if let Some(hlog) = &mut self.hlog
                && !histogram.is_empty()
            {
                hlog.add(metric.name(), start, len, &histogram);
            }
            self.sums[metric as usize] = sums;
            histograms.push(histogram);
        }
        let counts = Counts {
            submitted: self.account.submitted(),
            completed: self.account.completed(),
            refused: self.account.refused(),
        };
        let before = std::mem::replace(&mut self.counts, counts);
        let (submit, lateness) =
            (&histograms[Metric::Submit as usize], &histograms[Metric::Lateness as usize]);
        self.intervals.push(Interval {
            start_s: start.as_secs_f64(),
            len_s: len.as_secs_f64(),
            submitted: counts.submitted - before.submitted,
            completed: counts.completed - before.completed,
            refused: counts.refused - before.refused,
            backlog: self.account.backlog(),
            submit_p99_ns: submit.value_at_quantile(0.99),
            submit_max_ns: submit.max(),
            lateness_p50_ns: lateness.value_at_quantile(0.5),
            lateness_p99_ns: lateness.value_at_quantile(0.99),
            lateness_max_ns: lateness.max(),
            generator_p99_ns: histograms[Metric::Generator as usize].value_at_quantile(0.99),
            rss_bytes: machine::memory_bytes(),
            lateness_heat: heat(lateness),
        });
    }

    fn end(mut self) -> Collected {
        self.take();
        if let Some(live) = self.live.take() {
            live.end();
        }
        let of = |metric: &Metric| {
            let mut histogram = latency::histogram();
            Cells::carry_over(&[], &self.sums[*metric as usize], &mut histogram);
            histogram
        };
        let tenants = 0..self.account.lanes.tenants();
        let tenants = tenants.filter_map(|tenant| {
            let mut histogram = latency::histogram();
            Cells::coarse_histogram(&self.account.lanes.tenant_sums(tenant), &mut histogram);
            (!histogram.is_empty()).then(|| TenantSpans {
                tenant,
                count: histogram.len(),
                p50_ns: histogram.value_at_quantile(0.5),
                p99_ns: histogram.value_at_quantile(0.99),
                max_ns: histogram.max(),
            })
        });
        Collected {
            totals: Metric::ALL.iter().map(of).collect(),
            tenants: tenants.collect(),
            intervals: self.intervals,
            hlog_failure: self
                .hlog
                .and_then(IntervalLog::end)
                .map(|error| error.to_string())
                .or(self.hlog_failure),
        }
    }
}

/// How many values lie in each doubling of microseconds; the first row is all below two.
fn heat(histogram: &Histogram<u64>) -> Vec<u64> {
    let mut rows = vec![0; HEAT_ROWS];
    for value in histogram.iter_recorded() {
        let us = value.value_iterated_to() / 1000;
        let row = us.checked_ilog2().unwrap_or(0) as usize;
        rows[row.min(HEAT_ROWS - 1)] += value.count_since_last_iteration();
    }
    let used = rows.iter().rposition(|count| *count > 0).map_or(0, |last| last + 1);
    rows.truncate(used);
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heat_counts_by_doublings_of_microseconds() {
        let mut histogram = latency::histogram();
        for us in [0, 1, 2, 3, 5, 1000] {
            histogram.saturating_record(us * 1000 + 1);
        }
        let rows = heat(&histogram);
        assert_eq!((rows[0], rows[1], rows[2], rows[9]), (2, 2, 1, 1));
        assert_eq!(rows.len(), 10);
        assert!(heat(&latency::histogram()).is_empty());
    }
}
