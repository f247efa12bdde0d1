//! Puts the load on and waits for its parts: submitters, cancels, the drain. It gives up when it must,
//! and stops when it is told to.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    thread,
    time::{Duration, Instant},
};

use tickwheel_engine::latency::Stage;

use super::RunError;
use crate::{
    clock,
    measure::Account,
    options::{Load, Options},
    submit::Submitter,
    target::Target,
};

/// How often it is looked whether a run has to be given up.
const LOOK: Duration = Duration::from_millis(50);
/// Between two looks at whether the last completions are acknowledged.
const SETTLE_LOOK: Duration = Duration::from_micros(500);
/// How long answers may take after a run was interrupted.
const INTERRUPTED_WAIT: Duration = Duration::from_secs(2);
/// Numbers of missing jobs that a report names.
const NAMED_MAX: usize = 10;

/// A load that has ended.
pub(super) struct Loaded {
    /// All on `CLOCK_MONOTONIC`.
    pub(super) began_ns: u64,
    pub(super) submitted_ns: u64,
    pub(super) ended_ns: u64,
    /// How long the target held submitters.
    pub(super) held_ns: u64,
    /// How long the submitting was planned to take.
    pub(super) planned_ns: u64,
    /// From the release of a paused target to its last completion.
    pub(super) drained_s: f64,
    pub(super) cut_short: Option<String>,
    pub(super) is_partial: bool,
}

/// Why a wait ended.
enum Waited<T> {
    Got(T),
    /// The time is over.
    Over,
    /// Somebody asked for an end.
    Stopped,
}

pub(super) fn load(
    options: &Options,
    stop: &Arc<AtomicBool>,
    target: &Arc<dyn Target>,
    account: &Arc<Account>,
) -> Result<Loaded, RunError> {
    // A moment beyond the clock never comes.
    let deadline = Instant::now().checked_add(options.patience());
    let supervisor = Supervisor { options, stop, target, account, deadline };
    if options.workload.cancel > 0.0 {
        supervisor.start_canceller()?;
    }
    let began_ns = clock::mono_ns();
    let mut loaded = Loaded {
        began_ns,
        submitted_ns: began_ns,
        ended_ns: began_ns,
        held_ns: 0,
        planned_ns: 0,
        drained_s: 0.0,
        cut_short: None,
        is_partial: false,
    };
    let mut waited = supervisor.submit(&mut loaded)?;
    if let Waited::Got(()) = waited {
        waited = supervisor.finish(&mut loaded)?;
    }
    account.set_canceller(None);
    match waited {
        Waited::Got(()) => return Ok(loaded),
        Waited::Over => loaded.cut_short = Some(supervisor.missing()),
        Waited::Stopped => {
            loaded.is_partial = true;
            // Answers that are on their way still count.
            let until = Instant::now() + INTERRUPTED_WAIT;
            while !account.is_answered() && Instant::now() < until {
                thread::sleep(SETTLE_LOOK);
            }
        }
    }
    account.give_up();
    loaded.ended_ns = clock::mono_ns();
    loaded.submitted_ns = loaded.submitted_ns.max(loaded.began_ns + 1);
    if loaded.submitted_ns == loaded.began_ns + 1 {
        // The submitters never came back by themselves.
        loaded.submitted_ns = loaded.ended_ns;
    }
    Ok(loaded)
}

/// Waits for the parts of a load, and gives up when it must.
struct Supervisor<'a> {
    options: &'a Options,
    stop: &'a Arc<AtomicBool>,
    target: &'a Arc<dyn Target>,
    account: &'a Arc<Account>,
    deadline: Option<Instant>,
}

impl Supervisor<'_> {
    /// Starts the submitters and waits for them.
    fn submit(&self, loaded: &mut Loaded) -> Result<Waited<()>, RunError> {
        let submitter = Arc::new(Submitter::new(
            self.options,
            Arc::clone(self.target),
            Arc::clone(self.account),
            Arc::clone(self.stop),
        ));
        // An open loop has one plan, and one thread keeps to it.
        let is_closed = self.options.load == Load::Max;
        let threads = if is_closed { self.target.submitters() } else { 1 };
        let (sender, ends) = channel();
        for number in 0..threads {
            let submitter = Arc::clone(&submitter);
            let sender = sender.clone();
            let load = self.options.load;
            let submit = move || {
                let ended = match load {
                    Load::Max => submitter.closed_loop(),
                    Load::Rate(rate) => submitter.open_loop(rate),
                };
                // The submitter goes first: the target must not end on this thread.
                drop(submitter);
                let _ = sender.send(ended.map(|()| clock::mono_ns()));
            };
            thread::Builder::new().name(format!("submit-{number}")).spawn(submit)?;
        }
        drop(sender);
        for _ in 0..threads {
            match self.wait_for(&ends)? {
                Waited::Got(ended) => {
                    let ended_ns = ended.map_err(RunError::Target)?;
                    loaded.submitted_ns = loaded.submitted_ns.max(ended_ns);
                }
                Waited::Over => return Ok(Waited::Over),
                Waited::Stopped => return Ok(Waited::Stopped),
            }
        }
        loaded.held_ns = submitter.held_ns() / threads as u64;
        loaded.planned_ns = submitter.planned_ns();
        Ok(if self.is_stopped() { Waited::Stopped } else { Waited::Got(()) })
    }

    /// Waits until no job is pending and everything is acknowledged.
    fn finish(&self, loaded: &mut Loaded) -> Result<Waited<()>, RunError> {
        let resumed_ns = clock::mono_ns();
        if self.options.paused {
            self.target.resume().map_err(RunError::Target)?;
        }
        let (sender, drained) = channel();
        let patience = self.deadline.map_or(Duration::from_secs(u64::from(u32::MAX)), |deadline| {
            deadline.saturating_duration_since(Instant::now())
        });
        let drainer = Arc::clone(self.target);
        let drain = move || {
            let is_drained = drainer.drain(patience);
            drop(drainer);
            let _ = sender.send((is_drained, clock::mono_ns()));
        };
        thread::Builder::new().name("drain".to_owned()).spawn(drain)?;
        loaded.ended_ns = match self.wait_for(&drained)? {
            Waited::Got((true, drained_ns)) => drained_ns,
            Waited::Got((false, _)) if !self.is_over() => {
                return Err(RunError::Target("it takes nothing more".to_owned()));
            }
            Waited::Stopped => return Ok(Waited::Stopped),
            _ => return Ok(Waited::Over),
        };
        // With `sync`, the last answers and ends are still on their way to the disk.
        while !self.is_settled() {
            if let Some(error) = self.failure() {
                return Err(error);
            }
            if self.is_stopped() {
                return Ok(Waited::Stopped);
            }
            if self.is_over() {
                return Ok(Waited::Over);
            }
            thread::sleep(SETTLE_LOOK);
            loaded.ended_ns = clock::mono_ns();
        }
        loaded.drained_s = (loaded.ended_ns - resumed_ns) as f64 / 1e9;
        Ok(Waited::Got(()))
    }

    /// Cancels jobs one by one, as they are asked for.
    fn start_canceller(&self) -> Result<(), RunError> {
        let (sender, asked) = channel();
        self.account.set_canceller(Some(sender));
        let (target, account) = (Arc::clone(self.target), Arc::clone(self.account));
        let cancel = move || {
            while let Ok((number, id)) = asked.recv() {
                match target.cancel(id) {
                    Ok(came_first) => account.cancel_answered(number, came_first),
                    Err(error) => {
                        // Whether it was cancelled is not known; the run cannot say what is lost.
                        account.fail(format!("a cancel was not answered: {error}"));
                        account.cancel_answered(number, false);
                    }
                }
            }
            // The target must not end on this thread while the account is in use.
            drop(target);
        };
        thread::Builder::new().name("cancel".to_owned()).spawn(cancel)?;
        Ok(())
    }

    /// Whether every submit and cancel is answered and every completion acknowledged.
    fn is_settled(&self) -> bool {
        let acknowledged = |latency: tickwheel_engine::latency::Latency| {
            latency.stage(Stage::CompletionAck).len() >= self.account.completed()
        };
        self.account.is_answered() && self.target.latency().is_none_or(acknowledged)
    }

    /// The next message.
    fn wait_for<T>(&self, messages: &Receiver<T>) -> Result<Waited<T>, RunError> {
        loop {
            match messages.recv_timeout(LOOK) {
                Ok(message) => return Ok(Waited::Got(message)),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(RunError::Target("a thread that called it panicked".to_owned()));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            if let Some(error) = self.failure() {
                return Err(error);
            }
            if self.is_stopped() {
                return Ok(Waited::Stopped);
            }
            if self.is_over() {
                return Ok(Waited::Over);
            }
        }
    }

    fn failure(&self) -> Option<RunError> {
        self.account.failure().map(|reason| RunError::Target(reason.to_owned()))
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn is_over(&self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    /// What is missing when the time is over.
    fn missing(&self) -> String {
        let submitted = self.account.submitted();
        let unanswered = submitted.saturating_sub(self.account.answers());
        let missing: Vec<u32> = self.account.missing().collect();
        let mut text = format!(
            "given up after {:?}: {submitted} of {} jobs were submitted, {unanswered} of these were not answered, {} were accepted and have not run",
            self.options.patience(),
            self.options.jobs,
            missing.len()
        );
        if !missing.is_empty() {
            let named: Vec<String> = missing.iter().take(NAMED_MAX).map(u32::to_string).collect();
            let more = if missing.len() > NAMED_MAX { ", …" } else { "" };
            text.push_str(&format!(" (numbers {}{more})", named.join(", ")));
        }
        text
    }
}
