//! Many jobs due at one instant, and how long another caller waits meanwhile.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use tickwheel_engine::{Durability, NewJob, latency};

use super::{
    clocks::{self, MILLISECOND_NS, SECOND_NS},
    rig::{self, BATCH, KIND, Rig, Setting, WAIT_MAX},
};
use crate::BenchError;

/// The other caller's jobs are due so late that they do not run here.
const PROBE_DELAY: Duration = Duration::from_secs(3600);
/// How long the submission of a job of the herd may take.
const SUBMIT_NS: u64 = 5000;
/// A machine that takes the jobs too slowly for their instant has twice as long the next time, up to so
/// many times as long.
const SLOWER_MAX: u64 = 16;

/// What a herd did.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Herd {
    /// From the planned submission of each of the other caller's jobs to its acknowledgement, in
    /// nanoseconds.
    pub ack_ns: Histogram<u64>,
    /// From the instant at which all were due until the last one had run.
    pub drained: Duration,
}

impl Herd {
    /// `jobs` jobs due at one instant through one shard; from then until the last has run another caller
    /// submits one job each millisecond.
    ///
    /// # Errors
    /// The engine cannot be started, takes jobs too slowly for all to be there at the instant, or does not
    /// run them in time.
    ///
    /// # Panics
    /// A job was refused, ran twice or ran early, or a job of the other caller was not acknowledged.
    pub fn run(parent: &Path, jobs: u64, durability: Durability) -> Result<Self, BenchError> {
        let mut slower = 1;
        let (rig, due_ns) = loop {
            let ahead_ns = slower * (SECOND_NS / 2 + jobs * SUBMIT_NS);
            if let Some(gathered) = gather(parent, jobs, durability, ahead_ns)? {
                break gathered;
            }
            slower *= 2;
            if slower > SLOWER_MAX {
                return Err("the jobs were not all accepted when they were due".into());
            }
        };
        clocks::ask_for_fine_wakeups();
        clocks::sleep_until(due_ns);
        let began = Instant::now();
        let mut acks = Vec::new();
        let mut planned_ns = due_ns;
        // One at the least: a herd may have drained before this thread looks.
        loop {
            acks.push(probe(&rig, planned_ns)?);
            planned_ns += MILLISECOND_NS;
            clocks::sleep_until(planned_ns);
            if rig.account.ran() >= jobs {
                break;
            }
            if began.elapsed() > WAIT_MAX {
                return Err(format!("the jobs did not run within {WAIT_MAX:?}").into());
            }
        }
        let drained = began.elapsed();
        // One more call that waits: what was submitted before it is acknowledged before it.
        rig.engine.submit(NewJob::new(KIND).delay(PROBE_DELAY))?;
        rig.account.check();
        let mut ack_ns = latency::histogram();
        for ack in acks {
            let waited_ns = ack.load(Ordering::Acquire);
            assert_ne!(waited_ns, 0, "a job of the other caller was not acknowledged");
            ack_ns.saturating_record(waited_ns);
        }
        Ok(Self { ack_ns, drained })
    }
}

/// An engine that has accepted `jobs` jobs, all due at one instant `ahead_ns` from its start, and that
/// instant. `None`: it came too soon.
fn gather(
    parent: &Path,
    jobs: u64,
    durability: Durability,
    ahead_ns: u64,
) -> Result<Option<(Rig, u64)>, BenchError> {
    let rig = Rig::new(parent, jobs, Setting { durability, shards: 1, jobs_max: 1 << 30 })?;
    let due_ns = clocks::wall_ns() + ahead_ns;
    for start in (0..jobs).step_by(BATCH as usize) {
        rig.submit(rig::compose(start..(start + BATCH).min(jobs), |_| due_ns))?;
    }
    while rig.account.answers().0 < jobs {
        if clocks::wall_ns() >= due_ns {
            return Ok(None);
        }
        clocks::sleep_until(clocks::wall_ns() + MILLISECOND_NS);
    }
    Ok(Some((rig, due_ns)))
}

/// Submits one job that was planned for `planned_ns`; how long its acknowledgement took from then is
/// written into the cell, which is zero before.
fn probe(rig: &Rig, planned_ns: u64) -> Result<Arc<AtomicU64>, BenchError> {
    let cell = Arc::new(AtomicU64::new(0));
    let ack = Arc::clone(&cell);
    let job = NewJob::new(KIND).delay(PROBE_DELAY);
    rig.engine.submit_batch_then(vec![job], move |reply| {
        if reply.is_ok_and(|answers| answers.iter().all(Result::is_ok)) {
            ack.store(clocks::wall_ns().saturating_sub(planned_ns).max(1), Ordering::Release);
        }
    })?;
    Ok(cell)
}
