//! Many jobs that are due in a day: what they take in memory, what they cost while nothing happens, and how
//! long a restart with them takes.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use tickwheel_engine::{Durability, NewJob};

pub use super::memory::Memory;
use super::{
    clocks::{self, SECOND_NS},
    rig::{self, Account, KIND, Setting, WAIT_MAX},
};
use crate::BenchError;

const BATCH: u64 = 4096;
const DAY_NS: u64 = 86_400 * SECOND_NS;
const INTERVAL: Duration = Duration::from_millis(50);
/// What the filling left to do is done once the process takes less than a five-hundredth of a processor for
/// this long. The disk may hold up whoever prepares segments for a good part of a second.
const QUIET: Duration = Duration::from_secs(2);
const QUIET_SHARE: f64 = 0.002;

/// What pending jobs take.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Pending {
    /// Before the first job, the engine running.
    pub before: Memory,
    /// With all jobs, once the engine was quiet.
    pub filled: Memory,
    /// Share of one processor while nothing was asked: 0.01 is a hundredth.
    pub idle_share: f64,
    /// The orderly end.
    pub end: Duration,
    /// From the start until a further job was acknowledged.
    pub serving: Duration,
}

impl Pending {
    /// `jobs` jobs of 100 bytes in one shard, watched for `idle`, then the engine is ended and started.
    ///
    /// # Errors
    /// The engine cannot be started, refuses jobs, or does not become quiet within two minutes.
    ///
    /// # Panics
    /// The restarted engine does not have them all.
    pub fn run(parent: &Path, jobs: u64, idle: Duration) -> Result<Self, BenchError> {
        let dir = tempfile::Builder::new().prefix("bench-engine-").tempdir_in(parent)?;
        let durability = Durability::Interval(INTERVAL);
        let setting = Setting { durability, shards: 1, jobs_max: 1 << 30 };
        // None of them runs.
        let account = Arc::new(Account::new(0));
        let engine = rig::start(dir.path(), setting, &account)?;
        let before = Memory::now()?;
        let due_ns = clocks::wall_ns() + DAY_NS;
        for start in (0..jobs).step_by(BATCH as usize) {
            let end = (start + BATCH).min(jobs);
            // Spread over an hour, as due times are.
            let due_ns = |number: u64| due_ns + number * (3600 * SECOND_NS / jobs);
            for answer in engine.submit_batch(rig::compose(start..end, due_ns))? {
                answer?;
            }
        }
        wait_until_quiet()?;
        let filled = Memory::now()?;
        let idle_share = cpu_share(idle);
        let ending = Instant::now();
        engine.shutdown(Duration::ZERO)?;
        drop(engine);
        let end = ending.elapsed();

        let starting = Instant::now();
        let engine = rig::start(dir.path(), setting, &account)?;
        engine.submit(NewJob::new(KIND).delay(Duration::from_nanos(DAY_NS)))?;
        let serving = starting.elapsed();
        assert_eq!(engine.stats()?.recovered_jobs, jobs, "jobs are missing after the restart");
        engine.shutdown(Duration::ZERO)?;
        Ok(Self { before, filled, idle_share, end, serving })
    }

    /// Anonymous memory that one job takes, in bytes.
    #[must_use]
    pub fn bytes_per_job(&self, jobs: u64) -> f64 {
        let more = self.filled.anonymous_bytes.saturating_sub(self.before.anonymous_bytes);
        more as f64 / jobs as f64
    }
}

fn wait_until_quiet() -> Result<(), BenchError> {
    let began = Instant::now();
    while cpu_share(QUIET) > QUIET_SHARE {
        if began.elapsed() > WAIT_MAX {
            return Err(format!("the engine was not quiet within {WAIT_MAX:?}").into());
        }
    }
    Ok(())
}

/// Share of one processor that this process takes in the next `span`, this thread sleeping.
fn cpu_share(span: Duration) -> f64 {
    let (began_ns, began) = (clocks::cpu_ns(), Instant::now());
    std::thread::sleep(span);
    Duration::from_nanos(clocks::cpu_ns() - began_ns).as_secs_f64() / began.elapsed().as_secs_f64()
}
