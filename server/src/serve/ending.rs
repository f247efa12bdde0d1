//! Waits for a reason to end: a signal, or the failure of the log. It does not know how the server
//! ends.

use std::sync::{Mutex, PoisonError};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};
use tickwheel_engine::CallError;

use super::ServeError;

/// Why the server is to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reason {
    /// This signal came.
    Signal(i32),
    /// It is not: the configuration is to be read again.
    Reload,
    /// The log failed.
    Failure(CallError),
}

/// The failure of a log, told by an engine's thread to the one that waits for signals.
#[derive(Debug)]
pub(super) struct Failure {
    error: Mutex<Option<CallError>>,
    waiting: Handle,
}

impl Failure {
    /// `waiting` belongs to the signals that [`wait`] is called with.
    pub(super) fn new(waiting: Handle) -> Self {
        Self { error: Mutex::new(None), waiting }
    }

    /// Keeps the first failure and wakes whoever waits.
    pub(super) fn happened(&self, error: &CallError) {
        let mut first = self.error.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert_with(|| error.clone());
        self.waiting.close();
    }
}

/// The signals that end a server, and the one that lets it read its configuration again. While the value lives they do not end the process.
pub(super) fn signals() -> Result<Signals, ServeError> {
    Signals::new([SIGTERM, SIGINT, SIGHUP]).map_err(ServeError::Signals)
}

/// Waits for a signal or the failure, whichever comes first; also if it has come already.
pub(super) fn wait(signals: &mut Signals, failure: &Failure) -> Reason {
    let signal = signals.forever().next();
    let failed = failure.error.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match (failed, signal) {
        (Some(error), _) => Reason::Failure(error),
        (None, Some(SIGHUP)) => Reason::Reload,
        (None, signal) => Reason::Signal(signal.unwrap_or(SIGTERM)),
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn a_failure_ends_the_wait_before_and_while_it_lasts() {
        let error = |text: &str| CallError::LogFailed(text.to_owned());
        let mut signals = signals().unwrap();
        let failure = Failure::new(signals.handle());
        thread::scope(|scope| {
            scope.spawn(|| failure.happened(&error("one")));
            assert_eq!(wait(&mut signals, &failure), Reason::Failure(error("one")));
        });
        failure.happened(&error("two"));
        assert_eq!(wait(&mut signals, &failure), Reason::Failure(error("one")), "the first counts");
    }
}
