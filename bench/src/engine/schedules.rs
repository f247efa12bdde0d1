//! Many schedules that fire each second, and how late their jobs' handlers are called.

use std::{
    ops::Range,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use hdrhistogram::Histogram;
use tickwheel_engine::{Durability, Engine, JobError, NewJob, Overlap, Schedule, latency};

use super::{
    clocks::{self, MILLISECOND_NS, SECOND_NS},
    rig::WAIT_MAX,
};
use crate::BenchError;

const KIND: &str = "tick";
/// A shard holds 65,535 schedules.
const SHARDS: usize = 2;
const INTERVAL: Duration = Duration::from_millis(50);
/// How long the putting of a schedule may take; a machine that is slower gets more the next time.
const PUT_NS: u64 = 100_000;
const SLOWER_MAX: u64 = 16;
/// The part of each second that fire times are spread over. An interval runs on the monotonic clock, so its fire times
/// move on the wall clock while that is slewed: what counts begins and ends in the pause between.
const SPREAD_NS: u64 = 8 * SECOND_NS / 10;
/// What fires before it does not count: caches and log segments are warm then.
const WARM_UP_NS: u64 = SECOND_NS - SECOND_NS / 10;

/// What many schedules did.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Schedules {
    /// From the fire time to the call of the handler, in nanoseconds, by a clock apart from the engine.
    pub start_ns: Histogram<u64>,
    /// All schedules put, one call after the other.
    pub put: Duration,
}

/// When handlers were called, of the jobs whose due times count.
#[derive(Debug)]
struct Calls {
    counted_ns: Range<u64>,
    late_ns: Mutex<Histogram<u64>>,
    early: AtomicU64,
}

impl Schedules {
    /// `schedules` schedules over two shards, each firing once a second, their fire times spread evenly over
    /// eight tenths of it; measured for `seconds` after a second of warm-up.
    ///
    /// # Errors
    /// The engine cannot be started, takes schedules too slowly, or does not run their jobs in time.
    ///
    /// # Panics
    /// A fire time of the measured seconds had no job or two, or a job ran early.
    pub fn run(parent: &Path, schedules: u64, seconds: u64) -> Result<Self, BenchError> {
        let mut slower = 1;
        while slower <= SLOWER_MAX {
            let ahead_ns = SECOND_NS + slower * schedules * PUT_NS;
            if let Some(run) = Self::once(parent, schedules, seconds, ahead_ns)? {
                return Ok(run);
            }
            slower *= 2;
        }
        Err("the schedules were not all put when the first fired".into())
    }

    fn once(
        parent: &Path,
        schedules: u64,
        seconds: u64,
        ahead_ns: u64,
    ) -> Result<Option<Self>, BenchError> {
        let dir = tempfile::Builder::new().prefix("bench-engine-").tempdir_in(parent)?;
        let begin_ns = clocks::wall_ns() + ahead_ns;
        let from_ns = begin_ns + WARM_UP_NS;
        let calls = Arc::new(Calls::of(from_ns..from_ns + seconds * SECOND_NS));
        let called = Arc::clone(&calls);
        let engine = Engine::builder()
            .data_dir(dir.path())
            .durability(Durability::Interval(INTERVAL))
            .shards(SHARDS)
            .executors(2)
            .handler(KIND, move |attempt| called.note(attempt.due()))
            .start()?;
        let began = Instant::now();
        for number in 0..schedules {
            let starts_ns = begin_ns + number * SPREAD_NS / schedules;
            let starts = UNIX_EPOCH + Duration::from_nanos(starts_ns);
            let every = Duration::from_secs(1);
            let schedule = Schedule::every(format!("tick-{number}"), every, NewJob::new(KIND))
                .starts(starts)
                .overlap(Overlap::Allow);
            engine.put_schedule(schedule)?;
        }
        let put = began.elapsed();
        if clocks::wall_ns() >= begin_ns {
            return Ok(None);
        }
        let waited = Instant::now();
        while calls.count() < schedules * seconds {
            if waited.elapsed() > WAIT_MAX {
                return Err(format!("the jobs did not run within {WAIT_MAX:?}").into());
            }
            clocks::sleep_until(clocks::wall_ns() + 100 * MILLISECOND_NS);
        }
        engine.shutdown(Duration::from_secs(10))?;
        // All later fire times are behind those that count, so no further job counts.
        assert_eq!(calls.count(), schedules * seconds, "a fire time had two jobs");
        assert_eq!(calls.early.load(Ordering::Relaxed), 0, "jobs ran early");
        let start_ns = calls.late_ns.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(Some(Self { start_ns, put }))
    }
}

impl Calls {
    fn of(counted_ns: Range<u64>) -> Self {
        let late_ns = Mutex::new(latency::histogram());
        Self { counted_ns, late_ns, early: AtomicU64::new(0) }
    }

    fn count(&self) -> u64 {
        self.late_ns.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// What a handler does.
    fn note(&self, due: SystemTime) -> Result<(), JobError> {
        let now_ns = clocks::wall_ns();
        let due_ns = due.duration_since(UNIX_EPOCH).map_err(JobError::permanent)?.as_nanos() as u64;
        if self.counted_ns.contains(&due_ns) {
            let mut late_ns = self.late_ns.lock().unwrap_or_else(PoisonError::into_inner);
            late_ns.saturating_record(now_ns.saturating_sub(due_ns));
        }
        self.early.fetch_add(u64::from(now_ns < due_ns), Ordering::Relaxed);
        Ok(())
    }
}
