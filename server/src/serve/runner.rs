//! Runs what the engine says is due, logs each run, and ends what still runs when the server ends.

use std::collections::HashSet;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tickwheel_engine::cron::format_time;
use tickwheel_engine::{Attempt, JobError, JobEvent, Next, OutcomeKind};
use tracing::field::display;
use tracing::{error, info, warn};

use crate::command::{self, LogOutput, Outcome, Spec};
use crate::config::limits;

/// How long commands may take to end at the very end: the longest grace, and the runner's own wait.
const END_WAIT: Duration = limits::KILL_GRACE.1.saturating_add(Duration::from_secs(20));

/// The commands of a server.
#[derive(Debug)]
pub(super) struct Runner {
    /// What is configured. Jobs of anything else are left over from an earlier configuration.
    names: Mutex<HashSet<String>>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Clone, Copy)]
struct State {
    /// Nothing is started any more, and what runs is cancelled.
    stopped: bool,
    /// Commands under way.
    running: usize,
}

impl Runner {
    /// `names` are those of the entries that are configured.
    pub(super) fn new(names: impl Iterator<Item = String>) -> Self {
        let state = Mutex::new(State { stopped: false, running: 0 });
        Self { names: Mutex::new(names.collect()), state, changed: Condvar::new() }
    }

    /// Other names are configured from now on.
    pub(super) fn know(&self, names: impl Iterator<Item = String>) {
        *self.names.lock().unwrap_or_else(PoisonError::into_inner) = names.collect();
    }

    fn knows(&self, name: &str) -> bool {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).contains(name)
    }

    /// Waits until nothing runs, at most `grace`, or until [`Runner::cancel`].
    pub(super) fn wait(&self, grace: Duration) {
        let open = |state: &mut State| state.running > 0 && !state.stopped;
        // Whatever comes of it, the caller stops the runner next.
        let _ = self.changed.wait_timeout_while(self.lock(), grace, open);
    }

    /// Cancels what runs; nothing more is started.
    pub(super) fn cancel(&self) {
        self.lock().stopped = true;
        self.changed.notify_all();
    }

    /// Cancels what runs and waits until it has ended, within bounds.
    pub(super) fn stop(&self) {
        self.cancel();
        let state = self.lock();
        if state.running > 0 {
            warn!(running = state.running, "the grace is over: ending commands that still run");
        }
        let waited = self.changed.wait_timeout_while(state, END_WAIT, |state| state.running > 0);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if state.running > 0 {
            error!(running = state.running, "commands could not be ended and are left behind");
        }
    }

    /// Begins a run; `false` if the server is ending.
    fn begin(&self) -> bool {
        let mut state = self.lock();
        if state.stopped {
            return false;
        }
        state.running += 1;
        true
    }

    fn end(&self) {
        self.lock().running -= 1;
        self.changed.notify_all();
    }

    /// Whether [`Runner::cancel`] was called.
    pub(super) fn is_stopped(&self) -> bool {
        self.lock().stopped
    }

    /// No invariant spans the lock, so a panic elsewhere does not make the state wrong.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The engine's handler for commands.
pub(super) fn handler(
    runner: &Arc<Runner>,
) -> impl Fn(&Attempt<'_>) -> Result<(), JobError> + Send + Sync + 'static {
    let runner = Arc::clone(runner);
    move |attempt| {
        if !runner.begin() {
            return Err(JobError::retryable("the server ended before the command was started"));
        }
        // Counted down however the run ends, a panic included.
        let _running = Running(&runner);
        run(&runner, attempt)
    }
}

struct Running<'a>(&'a Runner);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

fn run(runner: &Runner, attempt: &Attempt<'_>) -> Result<(), JobError> {
    let late = attempt.lateness();
    let spec = Spec::from_payload(attempt.payload()).map_err(|error| {
        error!(job = %attempt.job(), "{error}");
        JobError::permanent(error)
    })?;
    if !runner.knows(&spec.name) {
        warn!(name = spec.name, "not run: it is no longer configured");
        return Err(JobError::permanent("it is no longer configured"));
    }
    let outcome = command::run(&spec, &|| attempt.is_cancelled() || runner.is_stopped());
    log_run(&spec, attempt, late, &outcome);
    attempt.keep_output(&outcome.output.to_vec());
    match outcome.failure() {
        None => Ok(()),
        Some(failure) if failure.retryable => Err(JobError::retryable(failure.message)),
        Some(failure) => Err(JobError::permanent(failure.message)),
    }
}

fn log_run(spec: &Spec, attempt: &Attempt<'_>, late: Duration, outcome: &Outcome) {
    let (name, job) = (&spec.name, attempt.job());
    let number = format!("{}/{}", attempt.number(), attempt.attempts_max());
    let end = outcome.end.to_string();
    let (took_ms, late_ms) = (whole_ms(outcome.elapsed), whole_ms(late));
    let failed = outcome.failure().is_some();
    let shown = failed || spec.log_output == LogOutput::Always;
    let output = (shown && !outcome.output.is_empty()).then(|| display(output_text(outcome)));
    if failed {
        warn!(name, %job, attempt = %number, end, took_ms, late_ms, output, "run failed");
    } else {
        info!(name, %job, attempt = %number, end, took_ms, late_ms, output, "run succeeded");
    }
}

/// The kept output below the line, each of its lines marked, so that it cannot pass for log lines.
fn output_text(outcome: &Outcome) -> String {
    let output = &outcome.output;
    let mut text = String::new();
    if output.dropped_bytes() > 0 {
        text.push_str(&format!("\n    | ({} bytes before are not kept)", output.dropped_bytes()));
    }
    for line in output.lines() {
        text.push_str("\n    | ");
        text.push_str(&line);
    }
    text
}

fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The engine's observer: says what follows a failed attempt, and reports what no run reported.
pub(super) fn observer() -> impl Fn(&JobEvent) + Send + Sync + 'static {
    |event| {
        // A job of this start has no schedule: its id leads to the line of its run.
        let (name, job, attempt) = (event.schedule.as_deref(), event.job, event.attempt);
        if matches!(event.outcome, OutcomeKind::Lost | OutcomeKind::TimedOut) {
            warn!(name, %job, attempt, "attempt {}: {}", event.outcome, event.message);
        }
        match event.next {
            Next::Done => {}
            Next::Retry(at) => {
                let at = i64::try_from(at.0).ok().and_then(|at| format_time(at, "UTC").ok());
                let at = at.unwrap_or_else(|| "later".to_owned());
                info!(name, %job, attempt, at, "will be tried again");
            }
            Next::Dead => error!(name, %job, attempt, "given up: {}", event.message),
        }
    }
}
