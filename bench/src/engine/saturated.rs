//! What an engine completes per second when it is always given enough (a closed loop).

use std::{
    path::Path,
    time::{Duration, Instant},
};

use tickwheel_engine::Durability;

use super::{
    clocks::{self, MILLISECOND_NS},
    rig::{BATCH, Rig, Setting},
};
use crate::BenchError;

/// Jobs submitted and not yet run, at the most.
const IN_FLIGHT_MAX: u64 = 100_000;
/// Each job is due so long after it was composed, so that it goes through a wheel.
const AHEAD_NS: u64 = MILLISECOND_NS;
/// How long the submitter rests when enough is in flight: a small part of what is in flight runs meanwhile.
const REST_NS: u64 = MILLISECOND_NS;
const INTERVAL: Duration = Duration::from_millis(50);

/// Jobs completed per second, of `jobs` jobs through `shards` shards and two executors, from the first
/// submission until the last end is in the log.
///
/// # Errors
/// The engine cannot be started, or did not end the jobs in time.
///
/// # Panics
/// A job was refused, ran twice or ran early.
pub fn completed_per_second(parent: &Path, shards: usize, jobs: u64) -> Result<f64, BenchError> {
    let durability = Durability::Interval(INTERVAL);
    let rig = Rig::new(parent, jobs, Setting { durability, shards, jobs_max: 1 << 30 })?;
    let began = Instant::now();
    for start in (0..jobs).step_by(BATCH as usize) {
        while start - rig.account.ran().min(start) > IN_FLIGHT_MAX {
            clocks::sleep_until(clocks::wall_ns() + REST_NS);
        }
        let due_ns = clocks::wall_ns() + AHEAD_NS;
        rig.submit(start..(start + BATCH).min(jobs), |_| due_ns)?;
    }
    rig.drain()?;
    let elapsed = began.elapsed();
    assert_eq!(rig.account.ran(), jobs, "jobs were refused");
    Ok(jobs as f64 / elapsed.as_secs_f64())
}
