//! What a handler is given, and what it gives back.

use std::{
    borrow::Cow,
    time::{Duration, SystemTime},
};

use tickwheel_core::{Clock, JobId, WallTime};

use super::{ExtendError, Stops, Work, begun::Begun};
use crate::{clock, history::Outputs};

/// One attempt at a job, as its handler sees it.
///
/// A handler may be called more than once for one job: after a failure, a time-out, or a crash of
/// the process. What it does outside should bear that.
#[derive(Debug)]
pub struct Attempt<'a> {
    pub(super) work: &'a Work,
    pub(super) kind: &'a str,
    pub(super) event: &'a [u8],
    pub(super) stops: &'a Stops,
    pub(super) begun: &'a Begun,
    pub(super) outputs: Option<&'a Outputs>,
}

impl<'a> Attempt<'a> {
    /// The job's id.
    #[must_use]
    pub fn job(&self) -> JobId {
        self.work.attempt.job
    }

    /// The job's kind.
    #[must_use]
    pub fn kind(&self) -> &'a str {
        self.kind
    }

    /// The job's payload.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        &self.event[usize::from(self.work.payload_offset)..]
    }

    /// Which attempt this is, from 1.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.work.number
    }

    /// How many there are at the most.
    #[must_use]
    pub fn attempts_max(&self) -> u16 {
        self.work.attempts_max
    }

    /// How long after its due time (for a retry, the end of its back-off) it is now.
    #[must_use]
    pub fn lateness(&self) -> Duration {
        self.work.times.lateness()
    }

    /// When it was due, on the wall clock. For a delay this is reckoned from the clocks of now.
    #[must_use]
    pub fn due(&self) -> SystemTime {
        self.work.times.due()
    }

    /// Whether the attempt should stop: the job was cancelled, its time-out has passed, or the
    /// engine's grace for a shutdown is over. A handler that takes long looks at it now and then;
    /// what it returns afterwards is ignored, except in a shutdown.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.stops.is_stopped(self.work.attempt)
    }

    /// Keeps the end of what the attempt wrote, at most 4096 bytes, with its entry in the history; a
    /// second call replaces what the first one kept. Without a history it does nothing. It is kept in
    /// memory until the end of the attempt is written there: a crash right after that end may lose it.
    pub fn keep_output(&self, output: &[u8]) {
        if let Some(outputs) = self.outputs {
            outputs.keep(self.work.attempt.job, self.work.attempt.token, output);
        }
    }

    /// Asks for more time: the attempt's lease ends `by` from now at the earliest. It never ends
    /// earlier than by the job's time-out, and a shorter extension than one before changes nothing.
    /// A handler may ask as often as it likes, before what it has is used up.
    ///
    /// What was asked for is not written: after a restart the attempt counts as lost anyway.
    ///
    /// # Errors
    /// [`ExtendError::Ended`]: the attempt has ended already, which [`Attempt::is_cancelled`] says
    /// as well. After `Ok` it has not, and will not before its new end unless it is cancelled or
    /// the engine stops.
    pub fn extend(&self, by: Duration) -> Result<(), ExtendError> {
        self.begun.extend(by, || self.is_cancelled())
    }
}

/// When an attempt was due.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) due_ns: u64,
    pub(crate) clock: Clock,
}

impl Times {
    pub(super) fn lateness(self) -> Duration {
        let now = clock::now();
        let now_ns = match self.clock {
            Clock::Mono => now.mono.0,
            Clock::Wall => now.wall.0,
        };
        Duration::from_nanos(now_ns.saturating_sub(self.due_ns))
    }

    pub(super) fn due(self) -> SystemTime {
        match self.clock {
            Clock::Wall => clock::system_time(WallTime(self.due_ns)),
            Clock::Mono => {
                let now = clock::now();
                let ago = now.mono.0.saturating_sub(self.due_ns);
                clock::system_time(WallTime(now.wall.0.saturating_sub(ago)))
            }
        }
    }
}

/// Why a handler did not succeed, and whether a retry may help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct JobError {
    message: Cow<'static, str>,
    then: Then,
}

/// What follows an attempt that did not end well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Retry,
    Death,
    /// It is tried again after so long, and was not tried yet.
    Again(Duration),
}

impl JobError {
    /// It may be tried again: the job's back-off and number of attempts decide. The text is kept
    /// up to 1000 bytes.
    pub fn retryable(reason: impl std::fmt::Display) -> Self {
        Self { message: Cow::Owned(reason.to_string()), then: Then::Retry }
    }

    /// A retry is of no use: the job is dead. The text is kept up to 1000 bytes.
    pub fn permanent(reason: impl std::fmt::Display) -> Self {
        Self { message: Cow::Owned(reason.to_string()), then: Then::Death }
    }

    /// Not now: the job is due again after `wait` (49 days at the most), and this attempt does not count. A
    /// handler that says so each time has its job back for ever.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tickwheel_engine::JobError;
    /// let error = JobError::snooze(Duration::from_secs(60));
    /// assert_eq!(error.snoozed(), Some(Duration::from_secs(60)));
    /// ```
    #[must_use]
    pub fn snooze(wait: Duration) -> Self {
        let wait = wait.min(Duration::from_millis(tickwheel_core::limits::SPAN_MS_MAX));
        Self { message: Cow::Borrowed("snoozed"), then: Then::Again(wait) }
    }

    /// How long the job waits that is not to be tried now.
    #[must_use]
    pub fn snoozed(&self) -> Option<Duration> {
        match self.then {
            Then::Again(wait) => Some(wait),
            _ => None,
        }
    }

    /// Whether a retry is of no use.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        self.then == Then::Death
    }

    /// The reason.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}
