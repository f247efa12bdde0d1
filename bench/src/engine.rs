//! Jobs through a whole engine: submitted in batches, run, completed in the log; and below, one file
//! per promise about a whole engine. They know the public calls of the engine only.

pub mod bulk;
mod clocks;
pub mod herd;
pub mod lateness;
mod memory;
pub mod overload;
pub mod pending;
mod rig;
pub mod saturated;
pub mod schedules;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tickwheel_engine::{Durability, Engine, NewJob};

use crate::BenchError;

const KIND: &str = "bench";
const BATCH: u32 = 256;
const PAYLOAD_BYTES: usize = 100;
/// The longest wait for one round.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// An engine that jobs go through, round after round.
#[derive(Debug)]
pub struct Trips {
    // In this order they are dropped: the engine ends before its files do.
    engine: Engine,
    ran: Arc<AtomicU64>,
    jobs: u32,
    _dir: TempDir,
}

impl Trips {
    /// An engine in a fresh directory in `parent`, and rounds of `jobs` jobs. It does not sync, so
    /// that the engine is measured and not the disk.
    ///
    /// # Errors
    /// The engine cannot be started.
    pub fn new(parent: &Path, jobs: u32) -> Result<Self, BenchError> {
        let dir = tempfile::Builder::new().prefix("bench-engine-").tempdir_in(parent)?;
        let ran = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&ran);
        let engine = Engine::builder()
            .data_dir(dir.path())
            .durability(Durability::Os)
            .handler(KIND, move |attempt| {
                let bytes = u64::from(!attempt.payload().is_empty());
                counter.fetch_add(bytes, Ordering::Relaxed);
                Ok(())
            })
            .start()?;
        Ok(Self { engine, ran, jobs, _dir: dir })
    }

    /// Time from the first submit of a round until all its jobs have run and ended, `rounds` times.
    ///
    /// # Errors
    /// The engine took no jobs, or did not end them in time.
    pub fn trip(&mut self, rounds: u64) -> Result<Duration, BenchError> {
        let mut sum = Duration::ZERO;
        for _ in 0..rounds {
            let batches = self.compose();
            let ran_before = self.ran.load(Ordering::Relaxed);
            let began = Instant::now();
            for batch in batches {
                self.engine.submit_batch_then(batch, |reply| {
                    // A job that was refused is missing in the count below.
                    drop(reply);
                })?;
            }
            if !self.engine.drain(WAIT_MAX) {
                return Err("the jobs did not end within a minute".into());
            }
            sum += began.elapsed();
            let ran = self.ran.load(Ordering::Relaxed) - ran_before;
            assert_eq!(ran, u64::from(self.jobs), "jobs were refused or ran twice");
        }
        Ok(sum)
    }

    fn compose(&self) -> Vec<Vec<NewJob>> {
        let job = |number: u32| NewJob::new(KIND).payload(vec![number as u8; PAYLOAD_BYTES]);
        let starts = (0..self.jobs).step_by(BATCH as usize);
        starts.map(|start| (start..(start + BATCH).min(self.jobs)).map(job).collect()).collect()
    }
}
