//! Circuit breakers of queues, as a program that embeds the engine sets them. How they work is decided by the
//! core.

use std::time::Duration;

use tickwheel_core::BreakerRule;

use crate::{clock::saturating_ns, error::StartError};

/// Closes a queue for a while when its attempts fail, so that what they need is left alone, and tries it
/// again: [`Builder::circuit_breaker`](crate::Builder::circuit_breaker).
///
/// After so many failures in a row, the queue is closed for the cool-down: nothing of it begins, its jobs wait and
/// lose no attempts. Then one attempt at a time begins. If it succeeds, the queue goes on as before; if it
/// fails, it is closed again for twice as long, up to a maximum. Ends that tell nothing of what the attempt needs
/// (lost with its process, snoozed, cancelled) do not count. Attempts that are under way when the queue is
/// closed run on, and what becomes of them changes nothing until it is tried again.
///
/// Each shard counts for itself and closes its own part of the queue. Nothing of it is written: after a start
/// every queue is open. [`Builder::on_alert`](crate::Builder::on_alert) is told when one is closed and when it
/// goes on.
///
/// ```
/// use std::time::Duration;
/// use tickwheel_engine::CircuitBreaker;
/// // After five failures in a row leave the mail server alone for 10 s, then 20, 40, 60, 60 …
/// let breaker = CircuitBreaker::new(5)
///     .cool_down(Duration::from_secs(10))
///     .cool_down_max(Duration::from_secs(60));
/// # let _ = breaker;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CircuitBreaker {
    failures: u32,
    cool_down: Duration,
    cool_down_max: Option<Duration>,
}

impl CircuitBreaker {
    /// How long a queue is closed at first, unless it is said.
    pub const COOL_DOWN: Duration = Duration::from_secs(30);
    /// How often that doubles at most, unless it is said: 32 times as long in the end.
    const DOUBLINGS: u32 = 5;

    /// Closes after `failures` (1 to 1,000,000) failures in a row.
    #[must_use]
    pub fn new(failures: u32) -> Self {
        Self { failures, cool_down: Self::COOL_DOWN, cool_down_max: None }
    }

    /// How long the queue is closed at first: 1 ms to a day. Default 30 s.
    #[must_use]
    pub fn cool_down(mut self, cool_down: Duration) -> Self {
        self.cool_down = cool_down;
        self
    }

    /// How long it is closed at most, after trials that failed: from the first cool-down to a day. Default 32 times
    /// the first, and a day at most.
    #[must_use]
    pub fn cool_down_max(mut self, cool_down_max: Duration) -> Self {
        self.cool_down_max = Some(cool_down_max);
        self
    }

    /// Longest cool-down: a day.
    const SPAN_MAX: Duration = Duration::from_secs(86_400);
    /// Shortest cool-down.
    const SPAN_MIN: Duration = Duration::from_millis(1);
    /// Most failures in a row.
    const FAILURES_MAX: u32 = 1_000_000;

    pub(crate) fn check(&self) -> Result<(), StartError> {
        let (first, longest) = self.spans();
        let (setting, value, range) = if !(1..=Self::FAILURES_MAX).contains(&self.failures) {
            ("a circuit breaker's failures", self.failures.to_string(), "1 to 1000000")
        } else if !(Self::SPAN_MIN..=Self::SPAN_MAX).contains(&first) {
            ("a circuit breaker's cool_down", format!("{first:?}"), "1 ms to a day")
        } else if !(first..=Self::SPAN_MAX).contains(&longest) {
            let range = "from its cool_down to a day";
            ("a circuit breaker's cool_down_max", format!("{longest:?}"), range)
        } else {
            return Ok(());
        };
        Err(StartError::Setting { setting, value, range })
    }

    /// The first cool-down and the longest.
    fn spans(&self) -> (Duration, Duration) {
        let longest = self.cool_down.saturating_mul(1 << Self::DOUBLINGS).min(Self::SPAN_MAX);
        (self.cool_down, self.cool_down_max.unwrap_or(longest.max(self.cool_down)))
    }

    pub(crate) fn to_core(self) -> BreakerRule {
        let (cool_down, cool_down_max) = self.spans();
        BreakerRule {
            failures_max: self.failures,
            cool_down_ns: saturating_ns(cool_down),
            cool_down_max_ns: saturating_ns(cool_down_max),
        }
    }
}
