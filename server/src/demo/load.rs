//! The jobs of a demonstration: how they are submitted, and what their handler writes down.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use crossbeam::channel::{Receiver, bounded};
use tickwheel_engine::{
    Attempt, BatchReply, CallError, Engine, JobError, NewJob, Schedule, SubmitError, cron::Cron,
    ledger::Ledger,
};

/// Kind of the delayed jobs.
pub(super) const JOB: &str = "demo.job";
/// Kind of what the schedules add.
pub(super) const PULSE: &str = "demo.pulse";

/// Jobs of one batch.
const BATCH_JOBS: u32 = 1000;
/// Batches that wait for their acknowledgement at the most.
const BATCHES_IN_FLIGHT: usize = 16;
/// A job that starts later than this after its due time is counted as late.
pub(super) const LATE: Duration = Duration::from_millis(100);
/// Longest wait for jobs that an earlier process had accepted; they are due within a day.
const RECOVERED_WAIT_MAX: Duration = Duration::from_secs(2 * 86_400);

/// The jobs and the account of them.
#[derive(Debug)]
pub(super) struct Load {
    ledger: Arc<Ledger>,
    /// Jobs that ran, in this process or before it.
    ran: AtomicU64,
    late: AtomicU64,
    pulses: AtomicU64,
    /// The first reason for which the run cannot go on.
    failed: AtomicBool,
    batches_open: AtomicU64,
}

impl Load {
    pub(super) fn new(ledger: Arc<Ledger>) -> Self {
        let ran = AtomicU64::new(ledger.balance().ran);
        Self {
            ledger,
            ran,
            late: AtomicU64::new(0),
            pulses: AtomicU64::new(0),
            failed: AtomicBool::new(false),
            batches_open: AtomicU64::new(0),
        }
    }

    /// Submits every job that was not accepted before, each due within `seconds` of its submission.
    ///
    /// After a restart, what the log brought back runs first: a job that was in the log but not yet
    /// in the account is then known to have run, and is not submitted twice.
    pub(super) fn submit_all(
        self: &Arc<Self>,
        engine: &Engine,
        seconds: u32,
        resumed: bool,
    ) -> Result<(), SubmitError> {
        if resumed && !engine.drain(RECOVERED_WAIT_MAX) {
            return Err(CallError::ShuttingDown.into());
        }
        let (take_place, places) = bounded::<()>(BATCHES_IN_FLIGHT);
        let span_ns = u64::from(seconds) * 1_000_000_000;
        let is_open = |job: u32| !self.ledger.is_acked(job) && !self.ledger.has_run(job);
        let jobs = self.ledger.jobs();
        let mut next = 0;
        while next < jobs && !self.has_failed() {
            let start = next;
            while next < jobs && next - start < BATCH_JOBS && is_open(next) {
                next += 1;
            }
            if next == start {
                next += 1;
                continue;
            }
            // Waits while as many batches as are allowed wait for their acknowledgement. The other
            // end is held here as well, so that the channel stays open.
            if take_place.send(()).is_err() {
                break;
            }
            self.submit_batch(engine, start..next, span_ns, places.clone())?;
        }
        Ok(())
    }

    fn submit_batch(
        self: &Arc<Self>,
        engine: &Engine,
        numbers: Range<u32>,
        span_ns: u64,
        places: Receiver<()>,
    ) -> Result<(), SubmitError> {
        let now_ns = wall_ns();
        let jobs = numbers
            .clone()
            .map(|number| {
                let due_ns = now_ns + spread(number) % span_ns;
                let mut payload = Vec::with_capacity(12);
                payload.extend_from_slice(&number.to_le_bytes());
                payload.extend_from_slice(&due_ns.to_le_bytes());
                let due = SystemTime::UNIX_EPOCH + Duration::from_nanos(due_ns);
                NewJob::new(JOB).payload(payload).at(due)
            })
            .collect();
        self.ledger.submitted(u64::from(numbers.end - numbers.start));
        self.batches_open.fetch_add(1, Ordering::AcqRel);
        let load = Arc::clone(self);
        engine.submit_batch_then(jobs, move |reply| {
            load.accepted(numbers, reply);
            load.batches_open.fetch_sub(1, Ordering::AcqRel);
            let _ = places.try_recv();
        })
    }

    fn accepted(&self, numbers: Range<u32>, reply: BatchReply) {
        let accepted = match reply {
            Ok(answers) => answers.iter().take_while(|answer| answer.is_ok()).count() as u32,
            Err(_) => 0,
        };
        let written = self.ledger.acked(numbers.start..numbers.start + accepted);
        if numbers.start + accepted < numbers.end || written.is_err() {
            self.failed.store(true, Ordering::Release);
        }
    }

    /// Handles one job: looks at the clock, and writes the run into the account.
    pub(super) fn handle(&self, attempt: &Attempt<'_>) -> Result<(), JobError> {
        let now_ns = wall_ns();
        let (number, due_ns) = read(attempt.payload())
            .ok_or_else(|| JobError::permanent("its payload is not one of the demonstration's"))?;
        if number >= self.ledger.jobs() {
            return Err(JobError::permanent("its number is not one of the account's"));
        }
        if !self.ledger.has_run(number) {
            self.ran.fetch_add(1, Ordering::Relaxed);
        }
        if now_ns.saturating_sub(due_ns) > LATE.as_nanos() as u64 {
            self.late.fetch_add(1, Ordering::Relaxed);
        }
        self.ledger.ran(number, now_ns < due_ns).map_err(|error| {
            self.failed.store(true, Ordering::Release);
            JobError::retryable(format!("the account cannot be written: {error}"))
        })
    }

    pub(super) fn pulse(&self) {
        self.pulses.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn pulses(&self) -> u64 {
        self.pulses.load(Ordering::Relaxed)
    }

    pub(super) fn ran(&self) -> u64 {
        self.ran.load(Ordering::Relaxed)
    }

    pub(super) fn late(&self) -> u64 {
        self.late.load(Ordering::Relaxed)
    }

    /// Ends the run: the log failed, and nothing more will be accepted or run.
    pub(super) fn fail(&self) {
        self.failed.store(true, Ordering::Release);
    }

    /// Whether the log failed, a batch was not accepted, or the account could not be written.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Whether some job still has to be acknowledged or run.
    pub(super) fn unfinished(&self) -> bool {
        let open = self.batches_open.load(Ordering::Acquire) > 0;
        open || self.ran() < u64::from(self.ledger.jobs())
    }
}

/// Puts the demonstration's schedules.
pub(super) fn put_schedules(engine: &Engine) -> Result<(), SubmitError> {
    let pulse = || NewJob::new(PULSE);
    engine.put_schedule(Schedule::every(
        "demo: twice a second",
        Duration::from_millis(500),
        pulse(),
    ))?;
    for (name, text) in [("demo: each second", "* * * * * *"), ("demo: each minute", "* * * * *")] {
        if let Ok(cron) = Cron::parse(text) {
            engine.put_schedule(Schedule::cron(name, cron, pulse()))?;
        }
    }
    Ok(())
}

/// The number and due time in a payload.
fn read(payload: &[u8]) -> Option<(u32, u64)> {
    let (number, due) = payload.split_first_chunk::<4>()?;
    let due: [u8; 8] = due.try_into().ok()?;
    Some((u32::from_le_bytes(*number), u64::from_le_bytes(due)))
}

/// Spreads job numbers over the whole span, the same way in each run (Knuth's multiplicative hash).
fn spread(number: u32) -> u64 {
    (u64::from(number) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 8
}

fn wall_ns() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
