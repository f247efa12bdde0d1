//! A target that takes everything and does nothing: what a generator reaches on it is the generator's
//! own ceiling.

use std::time::Duration;

use tickwheel_engine::{EngineStats, latency::Latency};

use super::{Answered, Outgoing, Target};

/// Takes everything, at once.
#[derive(Debug)]
pub(crate) struct Null;

impl Target for Null {
    fn submit(&self, jobs: Vec<Outgoing>, then: Answered) -> Result<(), String> {
        then(Ok((0..jobs.len() as u64).map(Ok).collect()));
        Ok(())
    }

    fn cancel(&self, _id: u64) -> Result<bool, String> {
        Ok(false)
    }

    fn resume(&self) -> Result<(), String> {
        Ok(())
    }

    fn drain(&self, _timeout: Duration) -> bool {
        true
    }

    fn shards(&self) -> usize {
        1
    }

    fn latency(&self) -> Option<Latency> {
        None
    }

    fn stats(&self) -> Result<EngineStats, String> {
        Ok(EngineStats::default())
    }

    fn shutdown(&self, _grace: Duration) -> Result<(), String> {
        Ok(())
    }
}
