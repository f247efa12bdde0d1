//! The two loops that submit jobs: closed, which keeps the engine busy, and open, which keeps to a
//! plan. They know the calls of the engine and the account, and judge nothing.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tickwheel_engine::{
    Engine, NewJob, SubmitError,
    latency::{self, Histogram},
};

use crate::{
    account::{Account, Plan},
    clock,
    options::Options,
    payload,
};

/// Kind of the jobs.
pub(crate) const KIND: &str = "load";

/// The longest sleep of an open loop before it looks whether the run was given up.
const LOOK_NS: u64 = 100_000_000;

/// What submitters share.
#[derive(Debug)]
pub(crate) struct Submitter {
    pub(crate) engine: Arc<Engine>,
    pub(crate) account: Arc<Account>,
    jobs: u32,
    batch: u32,
    seed: u64,
    payload_bytes: usize,
    delay: Duration,
    /// The next number of a closed loop.
    next: AtomicU32,
}

impl Submitter {
    pub(crate) fn new(options: &Options, engine: Arc<Engine>, account: Arc<Account>) -> Self {
        Self {
            engine,
            account,
            jobs: options.jobs,
            batch: options.batch(),
            seed: options.seed,
            payload_bytes: options.payload_bytes,
            delay: options.delay,
            next: AtomicU32::new(0),
        }
    }

    /// Submits batch after batch without waiting for answers, as long as the account's gate has
    /// room. Several threads may do so side by side.
    pub(crate) fn closed_loop(&self) -> Result<(), SubmitError> {
        while let Some(numbers) = self.take_numbers() {
            let payloads = self.compose(numbers.clone());
            let len = u64::from(numbers.end - numbers.start);
            if !self.account.gate.enter(len, || self.account.is_given_up()) {
                break;
            }
            self.submit(numbers, payloads, None)?;
        }
        Ok(())
    }

    /// Submits each job at its planned moment or, behind time, as soon as it can; those that are
    /// due together go together, up to a batch. Returns how late it submitted each.
    pub(crate) fn open_loop(&self, rate: f64) -> Result<Histogram<u64>, SubmitError> {
        clock::ask_for_fine_wakeups();
        let mut lateness = latency::histogram();
        let plan = Plan { t0_ns: clock::mono_ns(), rate };
        let mut start = 0;
        while start < self.jobs {
            let planned_ns = plan.moment_ns(start);
            let now_ns = loop {
                if self.account.is_given_up() {
                    return Ok(lateness);
                }
                let now_ns = clock::mono_ns();
                if now_ns >= planned_ns {
                    break now_ns;
                }
                clock::sleep_until(planned_ns.min(now_ns + LOOK_NS));
            };
            let mut end = start + 1;
            while end < self.jobs && end - start < self.batch && plan.moment_ns(end) <= now_ns {
                end += 1;
            }
            let payloads = self.compose(start..end);
            // It has room for all jobs: an open loop never waits here.
            self.account.gate.enter(u64::from(end - start), || false);
            let called_ns = self.submit(start..end, payloads, Some(plan))?;
            for number in start..end {
                lateness.saturating_record(called_ns.saturating_sub(plan.moment_ns(number)));
            }
            start = end;
        }
        Ok(lateness)
    }

    fn take_numbers(&self) -> Option<Range<u32>> {
        let more =
            |next: u32| (next < self.jobs).then(|| next.saturating_add(self.batch).min(self.jobs));
        let start = self.next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(start..start.saturating_add(self.batch).min(self.jobs))
    }

    /// The payloads of these jobs, one after the other.
    fn compose(&self, numbers: Range<u32>) -> Vec<u8> {
        let mut payloads = vec![0; numbers.len() * self.payload_bytes];
        for (number, payload) in numbers.zip(payloads.chunks_exact_mut(self.payload_bytes)) {
            payload::compose(self.seed, number, payload);
        }
        payloads
    }

    /// Submits one batch. Returns the moment of the call.
    fn submit(
        &self,
        numbers: Range<u32>,
        mut payloads: Vec<u8>,
        plan: Option<Plan>,
    ) -> Result<u64, SubmitError> {
        self.account.ledger.submitted(u64::from(numbers.end - numbers.start));
        let account = Arc::clone(&self.account);
        // Read last and before the call, so that no job can rightly be due before it.
        let called_ns = clock::mono_ns();
        let due_ns = called_ns.saturating_add(self.delay.as_nanos() as u64);
        for payload in payloads.chunks_exact_mut(self.payload_bytes) {
            payload::set_due(payload, due_ns);
        }
        // The jobs share one allocation.
        let payloads = Bytes::from(payloads);
        let jobs = (0..numbers.len())
            .map(|job| {
                let begin = job * self.payload_bytes;
                let payload = payloads.slice(begin..begin + self.payload_bytes);
                NewJob::new(KIND).payload(payload).delay(self.delay)
            })
            .collect();
        self.engine.submit_batch_then(jobs, move |reply| account.answered(numbers, plan, reply))?;
        Ok(called_ns)
    }
}
