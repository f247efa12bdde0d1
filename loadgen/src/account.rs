//! What is written down of each job: handed over, answered, run. The ledger in it is kept by job
//! number and never asks the engine.

use std::{
    ops::Range,
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use tickwheel_engine::{
    Attempt, BatchReply, JobError,
    latency::{self, Histogram},
    ledger::Ledger,
};

use crate::{
    clock,
    gate::Gate,
    options::{Load, Options},
    payload,
};

/// The account of one run, shared by submitters, the engine's answers and the handler.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) ledger: Ledger,
    pub(crate) gate: Gate,
    seed: u64,
    payload_bytes: usize,
    /// Jobs that ran, each counted once.
    completed: AtomicU64,
    /// Jobs whose submission was answered, in whatever way.
    answered: AtomicU64,
    refused: AtomicU64,
    first_refusal: OnceLock<String>,
    /// Runs whose payload was not the one that was submitted.
    damaged: AtomicU64,
    /// How long before its due time the earliest run was.
    early_max_ns: AtomicU64,
    /// Why the run cannot go on.
    failure: OnceLock<String>,
    given_up: AtomicBool,
    /// From the planned moment to the acknowledgement; open loop only.
    planned_ack: Mutex<Histogram<u64>>,
}

/// When the jobs of a batch were to be submitted: job `number` at `t0_ns + number / rate`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) t0_ns: u64,
    pub(crate) rate: f64,
}

impl Plan {
    /// The planned moment of a job. It is reckoned from the start each time, so that nothing
    /// drifts.
    pub(crate) fn moment_ns(self, number: u32) -> u64 {
        self.t0_ns.saturating_add((f64::from(number) / self.rate * 1e9) as u64)
    }
}

impl Account {
    pub(crate) fn new(options: &Options) -> Self {
        let in_flight_max = match options.load {
            Load::Max => options.in_flight(),
            // An open loop waits for nobody.
            Load::Rate(_) => options.jobs,
        };
        Self {
            ledger: Ledger::in_memory(options.jobs),
            gate: Gate::new(in_flight_max.into(), options.batch().into()),
            seed: options.seed,
            payload_bytes: options.payload_bytes,
            completed: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            first_refusal: OnceLock::new(),
            damaged: AtomicU64::new(0),
            early_max_ns: AtomicU64::new(0),
            failure: OnceLock::new(),
            given_up: AtomicBool::new(false),
            planned_ack: Mutex::new(latency::histogram()),
        }
    }

    /// Takes the engine's answer to the batch of `numbers`. Runs on a shard's thread.
    pub(crate) fn answered(&self, numbers: Range<u32>, plan: Option<Plan>, reply: BatchReply) {
        let now_ns = clock::mono_ns();
        let len = u64::from(numbers.end - numbers.start);
        match reply {
            Ok(answers) => {
                let mut number = numbers.start;
                for run in answers.chunk_by(|one, next| one.is_ok() == next.is_ok()) {
                    let run_numbers = number..number + run.len() as u32;
                    number = run_numbers.end;
                    match &run[0] {
                        Ok(_) => self.accepted(run_numbers, plan, now_ns),
                        Err(refusal) => {
                            self.first_refusal.get_or_init(|| refusal.to_string());
                            self.refused.fetch_add(run.len() as u64, Ordering::Relaxed);
                            self.gate.leave(run.len() as u64);
                        }
                    }
                }
            }
            // Whether these were accepted is known after a restart only: they are not acked.
            Err(error) => {
                self.fail(format!("a batch was not accepted: {error}"));
                self.gate.leave(len);
            }
        }
        self.answered.fetch_add(len, Ordering::AcqRel);
    }

    fn accepted(&self, numbers: Range<u32>, plan: Option<Plan>, now_ns: u64) {
        if let Err(error) = self.ledger.acked(numbers.clone()) {
            self.fail(format!("the ledger cannot be written: {error}"));
        }
        if let Some(plan) = plan {
            let mut histogram = self.planned_ack();
            for number in numbers {
                histogram.saturating_record(now_ns.saturating_sub(plan.moment_ns(number)));
            }
        }
    }

    /// Handles one job: looks at the clock, then writes the run down.
    pub(crate) fn handle(&self, attempt: &Attempt<'_>) -> Result<(), JobError> {
        let now_ns = clock::mono_ns();
        let read = payload::read(self.seed, self.payload_bytes, attempt.payload());
        let Some((number, due_ns)) = read.filter(|(number, _)| *number < self.ledger.jobs()) else {
            // It does not count as a run: the job that was submitted is lost.
            self.damaged.fetch_add(1, Ordering::Relaxed);
            return Err(JobError::permanent("its payload is not the one that was submitted"));
        };
        if now_ns < due_ns {
            self.early_max_ns.fetch_max(due_ns - now_ns, Ordering::Relaxed);
        }
        let is_first = !self.ledger.has_run(number);
        if let Err(error) = self.ledger.ran(number, now_ns < due_ns) {
            self.fail(format!("the ledger cannot be written: {error}"));
        }
        if is_first {
            self.completed.fetch_add(1, Ordering::AcqRel);
            self.gate.leave(1);
        }
        Ok(())
    }

    /// Notes the first reason for which the run cannot go on.
    pub(crate) fn fail(&self, reason: String) {
        self.failure.get_or_init(|| reason);
        self.give_up();
    }

    /// Tells submitters to stop.
    pub(crate) fn give_up(&self) {
        self.given_up.store(true, Ordering::Release);
    }

    pub(crate) fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::Acquire)
    }

    pub(crate) fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }

    pub(crate) fn completed(&self) -> u64 {
        self.completed.load(Ordering::Acquire)
    }

    pub(crate) fn answers(&self) -> u64 {
        self.answered.load(Ordering::Acquire)
    }

    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    pub(crate) fn first_refusal(&self) -> Option<&str> {
        self.first_refusal.get().map(String::as_str)
    }

    pub(crate) fn damaged(&self) -> u64 {
        self.damaged.load(Ordering::Relaxed)
    }

    pub(crate) fn early_max_ns(&self) -> u64 {
        self.early_max_ns.load(Ordering::Relaxed)
    }

    pub(crate) fn planned_ack(&self) -> MutexGuard<'_, Histogram<u64>> {
        self.planned_ack.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tickwheel_engine::{CallError, JobId, Refusal};

    use super::*;

    fn account() -> Account {
        let account = Account::new(&Options::new(1000));
        assert!(account.gate.enter(1000, || false));
        account.ledger.submitted(1000);
        account
    }

    #[test]
    fn a_refused_job_is_counted_and_not_acked() {
        let account = account();
        let refusal = Err(Refusal::TooManyKinds);
        let reply = Ok(vec![Ok(JobId(1)), refusal.clone(), refusal, Ok(JobId(2)), Ok(JobId(3))]);
        account.answered(10..15, None, reply);
        assert_eq!((account.answers(), account.refused()), (5, 2));
        assert!(account.first_refusal().unwrap().contains("kinds"));
        let acked: Vec<u32> = (0..1000).filter(|n| account.ledger.is_acked(*n)).collect();
        assert_eq!(acked, [10, 13, 14]);
        assert_eq!(account.ledger.balance().lost, 3);
        assert_eq!(account.failure(), None);
    }

    #[test]
    fn a_batch_of_unknown_fate_is_not_acked_and_ends_the_run() {
        let account = account();
        account.answered(0..4, None, Err(CallError::ShuttingDown));
        assert_eq!((account.answers(), account.refused()), (4, 0));
        assert_eq!(account.ledger.balance().acked, 0);
        assert!(account.is_given_up() && account.failure().is_some());
    }

    #[test]
    fn planned_moments_do_not_drift() {
        let plan = Plan { t0_ns: 5_000, rate: 3.0 };
        assert_eq!(plan.moment_ns(0), 5_000);
        assert_eq!(plan.moment_ns(3), 1_000_005_000);
        assert_eq!(plan.moment_ns(3_000_000_000), 1_000_000_000_000_005_000);
    }

    #[test]
    fn an_open_loop_counts_from_the_planned_moment() {
        let account = account();
        let plan = Plan { t0_ns: clock::mono_ns() - 1_000_000_000, rate: 1e6 };
        account.answered(0..1, Some(plan), Ok(vec![Ok(JobId(1))]));
        let histogram = account.planned_ack();
        assert_eq!(histogram.len(), 1);
        assert!(histogram.min() >= 999_000_000, "{}", histogram.min());
    }
}
