//! What an engine completes per second when it is always given enough (a closed loop).

use std::{
    path::Path,
    time::{Duration, Instant},
};

use tickwheel_engine::{Durability, NewJob, QueueLimits, Unique};

use super::{
    clocks::{self, MILLISECOND_NS},
    rig::{self, BATCH, Rig, Setting},
};
use crate::BenchError;

/// Jobs submitted and not yet run, at the most.
const IN_FLIGHT_MAX: u64 = 100_000;
/// Each job is due so long after it was composed, so that it goes through a wheel.
const AHEAD_NS: u64 = MILLISECOND_NS;
/// How long the submitter rests when enough is in flight: a small part of what is in flight runs meanwhile.
const REST_NS: u64 = MILLISECOND_NS;
const INTERVAL: Duration = Duration::from_millis(50);

/// The queue of jobs with rules, and limits for it that are checked at each attempt and hold none up.
const QUEUE: &str = "limited";
const CONCURRENCY: u32 = 65_536;
const RATE: (u32, Duration, u32) = (1_000_000, Duration::from_millis(100), 1_000_000);

/// What is asked for each job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rules {
    /// Nothing.
    None,
    /// A priority of its own, a queue with a limit of concurrency and one of rate, and a key of uniqueness.
    All,
}

/// Jobs completed per second, of `jobs` jobs through `shards` shards and two executors, from the first
/// submission until the last end is in the log.
///
/// # Errors
/// The engine cannot be started, or did not end the jobs in time.
///
/// # Panics
/// A job was refused, ran twice or ran early.
pub fn completed_per_second(
    parent: &Path,
    shards: usize,
    jobs: u64,
    rules: Rules,
) -> Result<f64, BenchError> {
    let durability = Durability::Interval(INTERVAL);
    let rig = Rig::new(parent, jobs, Setting { durability, shards, jobs_max: 1 << 30 })?;
    if rules == Rules::All {
        let (jobs, period, burst) = RATE;
        let limits = QueueLimits::new().concurrency(CONCURRENCY).rate(jobs, period, burst);
        rig.engine.limit_queue(QUEUE, &limits)?;
    }
    let began = Instant::now();
    for start in (0..jobs).step_by(BATCH as usize) {
        while start - rig.account.ran().min(start) > IN_FLIGHT_MAX {
            clocks::sleep_until(clocks::wall_ns() + REST_NS);
        }
        let due_ns = clocks::wall_ns() + AHEAD_NS;
        let numbers = start..(start + BATCH).min(jobs);
        let plain = rig::compose(numbers.clone(), |_| due_ns);
        rig.submit(match rules {
            Rules::None => plain,
            Rules::All => numbers.zip(plain).map(|(number, job)| with_rules(number, job)).collect(),
        })?;
    }
    rig.drain()?;
    let elapsed = began.elapsed();
    assert_eq!(rig.account.ran(), jobs, "jobs were refused");
    Ok(jobs as f64 / elapsed.as_secs_f64())
}

fn with_rules(number: u64, job: NewJob) -> NewJob {
    let key = Unique::until_end(number.to_le_bytes());
    job.priority((number % 10) as u8).queue(QUEUE).unique(key)
}
