//! An engine in a fresh directory, jobs that carry their number and due time, and an account of when each
//! ran. The measurements beside it share this; it judges nothing but that each job ran once and not early.

use std::{
    ops::Range,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use hdrhistogram::Histogram;
use tempfile::TempDir;
use tickwheel_engine::{BatchReply, Bytes, Durability, Engine, JobError, NewJob, latency};

use super::clocks::{self, MILLISECOND_NS, SECOND_NS};
use crate::BenchError;

pub(super) const KIND: &str = "bench";
const PAYLOAD_BYTES: usize = 100;
/// Jobs of one call at the most.
pub(super) const BATCH: u64 = 256;
/// A job that has not run.
const NOT_YET: u64 = u64::MAX;
/// How long all jobs of a measurement may take beyond its plan.
pub(super) const WAIT_MAX: Duration = Duration::from_secs(120);

/// How an engine is started.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting {
    pub(super) durability: Durability,
    pub(super) shards: usize,
    /// Jobs that have not ended, per shard.
    pub(super) jobs_max: u32,
}

/// The engine and the account of `jobs` jobs.
#[derive(Debug)]
pub(super) struct Rig {
    // In this order they are dropped: the engine ends before its files do.
    pub(super) engine: Engine,
    pub(super) account: Arc<Account>,
    _dir: TempDir,
}

/// What became of jobs, by number.
#[derive(Debug)]
pub(super) struct Account {
    late_ns: Box<[AtomicU64]>,
    ran: AtomicU64,
    accepted: AtomicU64,
    refused: AtomicU64,
    /// Runs that should not have been: a second one of a job, or one before its due time.
    wrong: AtomicU64,
}

/// When jobs are submitted: the n-th of `numbers` at n / `per_second` after the begin.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) numbers: Range<u64>,
    pub(super) per_second: u64,
    /// How long after its planned submission a job is due.
    pub(super) ahead: Duration,
}

impl Rig {
    pub(super) fn new(parent: &Path, jobs: u64, setting: Setting) -> Result<Self, BenchError> {
        let dir = tempfile::Builder::new().prefix("bench-engine-").tempdir_in(parent)?;
        let account = Arc::new(Account::new(jobs));
        let engine = start(dir.path(), setting, &account)?;
        Ok(Self { engine, account, _dir: dir })
    }

    /// Hands over jobs, and does not wait.
    pub(super) fn submit(&self, jobs: Vec<NewJob>) -> Result<(), BenchError> {
        let account = Arc::clone(&self.account);
        let then = move |reply| account.answered(&reply);
        Ok(self.engine.submit_batch_then(jobs, then)?)
    }

    /// Submits by `plan` whatever the engine does (an open loop), once a millisecond what is due by then,
    /// and gives up at `end_ns`. The number of the first job that was not handed over.
    pub(super) fn offer(&self, plan: &Plan, end_ns: Option<u64>) -> Result<u64, BenchError> {
        clocks::ask_for_fine_wakeups();
        let began_ns = clocks::wall_ns();
        let first = plan.numbers.start;
        let planned_ns = |number: u64| began_ns + (number - first) * SECOND_NS / plan.per_second;
        let ahead_ns = plan.ahead.as_nanos() as u64;
        let mut next = first;
        while next < plan.numbers.end {
            let now_ns = clocks::wall_ns();
            if end_ns.is_some_and(|end_ns| now_ns >= end_ns) {
                break;
            }
            if planned_ns(next) > now_ns {
                clocks::sleep_until(planned_ns(next).max(now_ns + MILLISECOND_NS));
                continue;
            }
            let due = first + 1 + (now_ns - began_ns) * plan.per_second / SECOND_NS;
            let end = due.min(plan.numbers.end).min(next + BATCH).max(next + 1);
            self.submit(compose(next..end, |number| planned_ns(number) + ahead_ns))?;
            next = end;
        }
        Ok(next)
    }

    /// Waits until all that was accepted has run and ended.
    pub(super) fn drain(&self) -> Result<(), BenchError> {
        if !self.engine.drain(WAIT_MAX) {
            return Err(format!("the jobs did not end within {WAIT_MAX:?}").into());
        }
        self.account.check();
        Ok(())
    }
}

/// An engine on `dir` that runs the jobs of this file and enters them in `account`.
pub(super) fn start(
    dir: &Path,
    setting: Setting,
    account: &Arc<Account>,
) -> Result<Engine, BenchError> {
    let account = Arc::clone(account);
    let engine = Engine::builder()
        .data_dir(dir)
        .durability(setting.durability)
        .shards(setting.shards)
        // The same in all measurements, also on a machine with more processors.
        .executors(2)
        .jobs_max(setting.jobs_max)
        .handler(KIND, move |attempt| account.run(attempt.payload()))
        .start()?;
    Ok(engine)
}

/// Jobs with their number and due time in their payloads, which share one allocation.
pub(super) fn compose(numbers: Range<u64>, due_ns: impl Fn(u64) -> u64) -> Vec<NewJob> {
    let len = (numbers.end - numbers.start) as usize;
    let mut bytes = vec![0; len * PAYLOAD_BYTES];
    for (number, payload) in numbers.clone().zip(bytes.chunks_exact_mut(PAYLOAD_BYTES)) {
        payload[..8].copy_from_slice(&number.to_le_bytes());
        payload[8..16].copy_from_slice(&due_ns(number).to_le_bytes());
    }
    let bytes = Bytes::from(bytes);
    let job = |(place, number): (usize, u64)| {
        let start = place * PAYLOAD_BYTES;
        let at = SystemTime::UNIX_EPOCH + Duration::from_nanos(due_ns(number));
        NewJob::new(KIND).payload(bytes.slice(start..start + PAYLOAD_BYTES)).at(at)
    };
    numbers.enumerate().map(|(place, number)| job((place, number))).collect()
}

impl Account {
    pub(super) fn new(jobs: u64) -> Self {
        Self {
            late_ns: (0..jobs).map(|_| AtomicU64::new(NOT_YET)).collect(),
            ran: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            wrong: AtomicU64::new(0),
        }
    }

    /// What a handler does: it notes how late it was called.
    fn run(&self, payload: &[u8]) -> Result<(), JobError> {
        let now_ns = clocks::wall_ns();
        let word =
            |place: usize| payload.get(place..place + 8).and_then(|bytes| bytes.try_into().ok());
        let (Some(number), Some(due_ns)) = (word(0), word(8)) else {
            return Err(JobError::permanent("the payload is not one of this benchmark"));
        };
        let (number, due_ns) = (u64::from_le_bytes(number), u64::from_le_bytes(due_ns));
        let Some(cell) = self.late_ns.get(number as usize) else {
            return Err(JobError::permanent("a job with this number was never submitted"));
        };
        let late_ns = now_ns.saturating_sub(due_ns);
        if cell.swap(late_ns, Ordering::Relaxed) != NOT_YET || now_ns < due_ns {
            self.wrong.fetch_add(1, Ordering::Relaxed);
        }
        self.ran.fetch_add(1, Ordering::Release);
        Ok(())
    }

    pub(super) fn answered(&self, reply: &BatchReply) {
        let Ok(answers) = reply else {
            // None of it runs, and nothing counts them: whoever expects all of them sees it.
            return;
        };
        let accepted = answers.iter().filter(|answer| answer.is_ok()).count() as u64;
        self.accepted.fetch_add(accepted, Ordering::Relaxed);
        self.refused.fetch_add(answers.len() as u64 - accepted, Ordering::Relaxed);
    }

    /// Jobs that ran so far.
    pub(super) fn ran(&self) -> u64 {
        self.ran.load(Ordering::Acquire)
    }

    /// Jobs that were accepted and refused so far.
    pub(super) fn answers(&self) -> (u64, u64) {
        (self.accepted.load(Ordering::Relaxed), self.refused.load(Ordering::Relaxed))
    }

    /// Lateness of the handlers' calls, of those jobs of `numbers` that ran.
    pub(super) fn late_ns(&self, numbers: Range<u64>) -> Histogram<u64> {
        let mut histogram = latency::histogram();
        for cell in &self.late_ns[numbers.start as usize..numbers.end as usize] {
            let late_ns = cell.load(Ordering::Relaxed);
            if late_ns != NOT_YET {
                histogram.saturating_record(late_ns);
            }
        }
        histogram
    }

    /// # Panics
    /// A job that was accepted did not run once, or one ran early.
    pub(super) fn check(&self) {
        let (accepted, _) = self.answers();
        assert_eq!(self.wrong.load(Ordering::Relaxed), 0, "jobs ran twice or early");
        assert_eq!(self.ran(), accepted, "not all that was accepted ran");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_that_should_not_be_are_noticed() {
        let payload =
            |number: u64, due_ns: u64| [number.to_le_bytes(), due_ns.to_le_bytes()].concat();
        let account = Account::new(2);
        account.run(&payload(0, 5)).unwrap();
        assert_eq!((account.ran(), account.late_ns(0..2).len()), (1, 1));
        assert_eq!(account.wrong.load(Ordering::Relaxed), 0);
        account.run(&payload(0, 5)).unwrap();
        assert_eq!(account.wrong.load(Ordering::Relaxed), 1);
        account.run(&payload(1, u64::MAX)).unwrap();
        assert_eq!(account.wrong.load(Ordering::Relaxed), 2);
        assert!(account.run(&payload(2, 5)).unwrap_err().is_permanent());
        assert!(account.run(&[1, 2, 3]).unwrap_err().is_permanent());
    }
}
