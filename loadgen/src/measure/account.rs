//! What is written down of each job: handed over, answered, cancelled, run. The ledger in it is kept by
//! job number and never asks the target.

use std::{
    ops::Range,
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
        mpsc::Sender,
    },
    thread,
    time::Duration,
};

use tickwheel_engine::ledger::Ledger;

use super::{Lanes, Metric, gate::Gate};
use crate::{
    clock::{self, Clock},
    options::{Load, Options},
    target::TargetName,
    workload::{
        Due, Ending, Traits,
        payload::{self, Head},
    },
};

/// How often a handler that hangs looks whether its time is up.
const HANG_LOOK: Duration = Duration::from_millis(1);

/// A cancel that is under way. Where it was acknowledged before the job ran, the moment stands in its
/// place, on `CLOCK_MONOTONIC`.
const CANCEL_ASKED: u64 = 1;
/// The job ran before its cancel was acknowledged.
const CANCEL_TOO_LATE: u64 = 2;
/// What is above is a moment: the clock has passed it long ago.
const CANCEL_ACKED_FROM: u64 = 3;

/// What became of one submitted job: its id, or why it was refused.
pub(crate) type Answer = Result<u64, String>;

/// A batch that was handed over.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) numbers: Range<u32>,
    pub(crate) called_ns: u64,
    /// The planned moment of each; empty in a closed loop.
    pub(crate) planned_ns: Vec<u64>,
}

/// How an attempt ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Well,
    /// It may be tried again.
    Failed(&'static str),
    /// A retry is of no use.
    Dead(&'static str),
    /// It did not come to an end while it was allowed to.
    Hung(&'static str),
    /// The handler is to crash.
    Crash,
}

/// The account of one run, shared by submitters, the target's answers and the handler.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) ledger: Ledger,
    pub(crate) gate: Gate,
    pub(crate) lanes: Lanes,
    pub(crate) traits: Traits,
    pub(crate) clock: Clock,
    seed: u64,
    /// The first job that is measured; those before it warm the target up.
    measured_from: AtomicU32,
    submitted: AtomicU64,
    acked: AtomicU64,
    /// Jobs whose last attempt has ended, each counted once.
    completed: AtomicU64,
    /// Jobs whose submission was answered, in whatever way.
    answered: AtomicU64,
    refused: AtomicU64,
    first_refusal: OnceLock<String>,
    /// Attempts that failed because they were meant to.
    misbehaved: AtomicU64,
    /// Runs whose payload was not the one that was submitted.
    damaged: AtomicU64,
    /// How long before its due time the earliest run was.
    early_max_ns: AtomicU64,
    /// How far each cancel is; empty when none is asked for.
    cancels: Box<[AtomicU64]>,
    cancels_asked: AtomicU64,
    cancels_done: AtomicU64,
    /// Jobs that never ran because their cancel came first.
    cancelled: AtomicU64,
    /// Jobs that ran although their cancel was acknowledged.
    ran_though_cancelled: AtomicU64,
    /// Of these, those that were asked for after that.
    ran_after_cancel: AtomicU64,
    /// Who cancels jobs; set when some are to be.
    canceller: Mutex<Option<Sender<(u32, u64)>>>,
    /// Why the run cannot go on.
    failure: OnceLock<String>,
    given_up: AtomicBool,
}

impl Account {
    pub(crate) fn new(options: &Options) -> Self {
        let in_flight_max = match options.load {
            Load::Max => options.in_flight(),
            // An open loop waits for nobody.
            Load::Rate(_) => options.jobs,
        };
        let workload = &options.workload;
        let cancels = if workload.cancel > 0.0 { options.jobs } else { 0 };
        Self {
            ledger: Ledger::in_memory(options.jobs),
            gate: Gate::new(in_flight_max.into(), options.batch().into()),
            lanes: Lanes::new(workload.tenants.count()),
            traits: Traits::new(workload, options.seed),
            // A server is told instants of the wall clock.
            clock: match (&workload.due, &options.target) {
                (Due::Herd(_), _) => Clock::Wall,
                (_, TargetName::Inproc) => Clock::Mono,
                _ => Clock::Wall,
            },
            seed: options.seed,
            measured_from: AtomicU32::new(u32::MAX),
            submitted: AtomicU64::new(0),
            acked: AtomicU64::new(0),
            completed: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            first_refusal: OnceLock::new(),
            misbehaved: AtomicU64::new(0),
            damaged: AtomicU64::new(0),
            early_max_ns: AtomicU64::new(0),
            cancels: (0..cancels).map(|_| AtomicU64::new(0)).collect(),
            cancels_asked: AtomicU64::new(0),
            cancels_done: AtomicU64::new(0),
            cancelled: AtomicU64::new(0),
            ran_though_cancelled: AtomicU64::new(0),
            ran_after_cancel: AtomicU64::new(0),
            canceller: Mutex::new(None),
            failure: OnceLock::new(),
            given_up: AtomicBool::new(false),
        }
    }

    /// `count` more jobs are about to be handed over.
    pub(crate) fn submitting(&self, count: u64) {
        self.ledger.submitted(count);
        self.submitted.fetch_add(count, Ordering::AcqRel);
    }

    /// Takes the target's answer to a batch. Runs on a thread of the target.
    pub(crate) fn answered(&self, sent: &Sent, reply: Result<Vec<Answer>, String>) {
        let now_ns = clock::mono_ns();
        let len = u64::from(sent.numbers.end - sent.numbers.start);
        match reply {
            Ok(answers) => {
                let mut number = sent.numbers.start;
                for run in answers.chunk_by(|one, next| one.is_ok() == next.is_ok()) {
                    let numbers = number..number + run.len() as u32;
                    number = numbers.end;
                    match &run[0] {
                        Ok(_) => self.accepted(numbers, run, sent, now_ns),
                        Err(refusal) => {
                            self.first_refusal.get_or_init(|| refusal.clone());
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

    fn accepted(&self, numbers: Range<u32>, answers: &[Answer], sent: &Sent, now_ns: u64) {
        if let Err(error) = self.ledger.acked(numbers.clone()) {
            self.fail(format!("the ledger cannot be written: {error}"));
        }
        self.acked.fetch_add(answers.len() as u64, Ordering::AcqRel);
        let raw_ns = now_ns.saturating_sub(sent.called_ns);
        self.lanes.with(|lane| {
            for number in numbers.clone().filter(|number| self.is_measured(*number)) {
                let planned_ns = sent.planned_ns.get((number - sent.numbers.start) as usize);
                let from_ns = planned_ns.copied().unwrap_or(sent.called_ns);
                lane.record(Metric::Submit, now_ns.saturating_sub(from_ns));
                lane.record(Metric::SubmitRaw, raw_ns);
            }
        });
        if !self.cancels.is_empty() {
            let ids = answers.iter().filter_map(|answer| answer.as_ref().ok());
            for (number, id) in numbers.zip(ids) {
                if self.traits.of(number).is_cancelled {
                    self.ask_to_cancel(number, *id);
                }
            }
        }
    }

    /// Handles one attempt: looks at the clock, then writes the run down, then does what was drawn.
    /// `is_stopped` says whether the target wants the attempt to end. `asked_ns` is when it was asked
    /// for, where that was before this call; a cancel that was acknowledged since came too late.
    pub(crate) fn handle(
        &self,
        bytes: &[u8],
        attempt: u16,
        asked_ns: Option<u64>,
        is_stopped: impl Fn() -> bool,
    ) -> Ended {
        let now_ns = self.clock.now_ns();
        let head = payload::head(bytes).filter(|head| head.number < self.ledger.jobs());
        let drawn = head.map(|head| (head, self.traits.of(head.number)));
        let sound = drawn.filter(|(head, drawn)| {
            payload::is_sound(self.seed, head.number, drawn.payload_bytes, bytes)
        });
        let Some((head, drawn)) = sound else {
            // It does not count as a run: the job that was submitted is lost.
            self.damaged.fetch_add(1, Ordering::Relaxed);
            return Ended::Dead("its payload is not the one that was submitted");
        };
        if now_ns < head.due_ns {
            self.early_max_ns.fetch_max(head.due_ns - now_ns, Ordering::Relaxed);
        }
        let first_ending = if attempt == 1 { drawn.ending } else { Ending::Succeeds };
        if attempt == 1 {
            self.record_start(&head, drawn.tenant, now_ns);
        }
        let misbehaves = |reason| {
            self.misbehaved.fetch_add(1, Ordering::Relaxed);
            Ended::Failed(reason)
        };
        match first_ending {
            Ending::Fails => return misbehaves("it was meant to fail"),
            Ending::Crashes => {
                self.misbehaved.fetch_add(1, Ordering::Relaxed);
                return Ended::Crash;
            }
            Ending::Hangs => {
                while !is_stopped() && !self.is_given_up() {
                    thread::sleep(HANG_LOOK);
                }
                self.misbehaved.fetch_add(1, Ordering::Relaxed);
                return Ended::Hung("it was meant to hang");
            }
            Ending::Succeeds | Ending::Dies => {}
        }
        let (is_first, was_cancelled) = self.write_run(&head, now_ns, asked_ns);
        if !drawn.service.is_zero() {
            thread::sleep(drawn.service);
        }
        if is_first {
            if self.is_measured(head.number) {
                let span_ns = self.clock.now_ns().saturating_sub(planned_due_ns(&head));
                self.lanes.with(|lane| lane.record(Metric::Complete, span_ns));
            }
            self.completed.fetch_add(1, Ordering::AcqRel);
            if !was_cancelled {
                self.gate.leave(1);
            }
        }
        if first_ending == Ending::Dies { Ended::Dead("it was meant to die") } else { Ended::Well }
    }

    fn record_start(&self, head: &Head, tenant: u16, now_ns: u64) {
        if !self.is_measured(head.number) {
            return;
        }
        self.lanes.with(|lane| {
            let late_ns = now_ns.saturating_sub(planned_due_ns(head));
            lane.record(Metric::Lateness, late_ns);
            lane.record(Metric::LatenessRaw, now_ns.saturating_sub(head.due_ns));
            lane.record_tenant(tenant, late_ns);
        });
    }

    /// Notes a run that counts: whether it is the job's first, and whether the job counts as cancelled.
    fn write_run(&self, head: &Head, now_ns: u64, asked_ns: Option<u64>) -> (bool, bool) {
        let number = head.number;
        let is_first = !self.ledger.has_run(number);
        if let Err(error) = self.ledger.ran(number, now_ns < head.due_ns) {
            self.fail(format!("the ledger cannot be written: {error}"));
        }
        // Either this swap finds the acknowledgement, or that finds this run.
        let cancel = match self.cancels.get(number as usize) {
            Some(cancel) if is_first => cancel.swap(CANCEL_TOO_LATE, Ordering::AcqRel),
            _ => 0,
        };
        let was_cancelled = cancel >= CANCEL_ACKED_FROM;
        if was_cancelled {
            self.ran_though_cancelled.fetch_add(1, Ordering::Relaxed);
            if asked_ns.is_none_or(|asked_ns| asked_ns > cancel) {
                self.ran_after_cancel.fetch_add(1, Ordering::Relaxed);
            }
        }
        (is_first, was_cancelled)
    }

    /// Jobs from `number` on are measured.
    pub(crate) fn measure_from(&self, number: u32) {
        self.measured_from.fetch_min(number, Ordering::Relaxed);
    }

    pub(crate) fn is_measured(&self, number: u32) -> bool {
        number >= self.measured_from.load(Ordering::Relaxed)
    }

    /// Cancels that are asked for go to this channel, until `None` ends them.
    pub(crate) fn set_canceller(&self, canceller: Option<Sender<(u32, u64)>>) {
        *self.canceller.lock().unwrap_or_else(PoisonError::into_inner) = canceller;
    }

    fn ask_to_cancel(&self, number: u32, id: u64) {
        let canceller = self.canceller.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(canceller) = &*canceller {
            // A job may have run already.
            let cancel = &self.cancels[number as usize];
            let _ = cancel.compare_exchange(0, CANCEL_ASKED, Ordering::AcqRel, Ordering::Acquire);
            self.cancels_asked.fetch_add(1, Ordering::AcqRel);
            if canceller.send((number, id)).is_err() {
                self.cancels_done.fetch_add(1, Ordering::AcqRel);
            }
        }
    }

    /// A cancel was answered; `came_first` if the job was still waiting.
    pub(crate) fn cancel_answered(&self, number: u32, came_first: bool) {
        let acked_ns = clock::mono_ns().max(CANCEL_ACKED_FROM);
        let cancel = &self.cancels[number as usize];
        let exchange =
            || cancel.compare_exchange(CANCEL_ASKED, acked_ns, Ordering::AcqRel, Ordering::Acquire);
        if came_first && exchange().is_ok() {
            self.cancelled.fetch_add(1, Ordering::Relaxed);
            self.gate.leave(1);
        }
        self.cancels_done.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether every submission and every cancel has its answer.
    pub(crate) fn is_answered(&self) -> bool {
        self.answers() == self.submitted()
            && self.cancels_done.load(Ordering::Acquire)
                == self.cancels_asked.load(Ordering::Acquire)
    }

    /// Notes the first reason for which the run cannot go on.
    pub(crate) fn fail(&self, reason: String) {
        self.failure.get_or_init(|| reason);
        self.give_up();
    }

    /// Tells submitters and hanging handlers to stop.
    pub(crate) fn give_up(&self) {
        self.given_up.store(true, Ordering::Release);
    }

    pub(crate) fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::Acquire)
    }

    pub(crate) fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }

    pub(crate) fn submitted(&self) -> u64 {
        self.submitted.load(Ordering::Acquire)
    }

    /// Jobs that are accepted and have neither completed nor been cancelled.
    pub(crate) fn backlog(&self) -> u64 {
        let ended =
            (self.completed() + self.cancelled()).saturating_sub(self.ran_though_cancelled());
        // A job may complete before its acknowledgement is counted.
        self.acked.load(Ordering::Acquire).saturating_sub(ended)
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

    pub(crate) fn misbehaved(&self) -> u64 {
        self.misbehaved.load(Ordering::Relaxed)
    }

    pub(crate) fn damaged(&self) -> u64 {
        self.damaged.load(Ordering::Relaxed)
    }

    pub(crate) fn early_max_ns(&self) -> u64 {
        self.early_max_ns.load(Ordering::Relaxed)
    }

    pub(crate) fn cancelled(&self) -> u64 {
        self.cancelled.load(Ordering::Relaxed)
    }

    pub(crate) fn ran_though_cancelled(&self) -> u64 {
        self.ran_though_cancelled.load(Ordering::Relaxed)
    }

    pub(crate) fn ran_after_cancel(&self) -> u64 {
        self.ran_after_cancel.load(Ordering::Relaxed)
    }

    /// Accepted jobs that have neither run nor been cancelled, by number.
    pub(crate) fn missing(&self) -> impl Iterator<Item = u32> + '_ {
        let is_cancelled = |job: u32| {
            let cancel = self.cancels.get(job as usize);
            cancel.is_some_and(|cancel| cancel.load(Ordering::Acquire) >= CANCEL_ACKED_FROM)
        };
        (0..self.ledger.jobs()).filter(move |job| {
            self.ledger.is_acked(*job) && !self.ledger.has_run(*job) && !is_cancelled(*job)
        })
    }
}

/// When a job was to be due: its earliest true moment, less what it was sent too late.
fn planned_due_ns(head: &Head) -> u64 {
    head.due_ns.saturating_sub(u64::from(head.lag_us) * 1000)
}

#[cfg(test)]
mod tests;
