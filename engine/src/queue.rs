//! Limits of queues, as a program that embeds the engine sets them: [`QueueLimits`].
//!
//! This file knows the calls and their units. What a limit means is decided by the core.

use std::{sync::PoisonError, time::Duration};

use tickwheel_core as core;

use crate::{clock::saturating_ms, engine::Engine, error::CallError, shard::Message};

/// What a queue is limited to: [`Engine::limit_queue`].
///
/// Concurrency, rate and length hold for all shards together, exactly; the weight is a share within each
/// shard. Ranges are checked when the limits are set.
///
/// ```
/// use std::time::Duration;
/// use tickwheel_engine::QueueLimits;
/// // At most 10 mails at a time, 100 a second, 20 of them at once after a rest.
/// let mails = QueueLimits::new().concurrency(10).rate(100, Duration::from_secs(1), 20);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueLimits {
    pub(crate) inner: core::QueueLimits,
}

impl QueueLimits {
    /// No limits, and the weight 1: a queue that nobody has spoken of.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Attempts under way at the most, those of executors and of workers together. Default no limit,
    /// minimum 1, maximum 65,536.
    #[must_use]
    pub fn concurrency(mut self, attempts: u32) -> Self {
        self.inner.concurrency = Some(attempts);
        self
    }

    /// After a rest `burst` attempts begin at once, then one each time that a job's share of the
    /// period has passed: `jobs` attempts per `period`. Retries count like first attempts. Default no
    /// limit; `jobs` and `burst` 1 to 1,000,000; the period is 1 ms to 49 days, rounded up to
    /// milliseconds, and the burst must not take more than ten years to come back.
    #[must_use]
    pub fn rate(mut self, jobs: u32, period: Duration, burst: u32) -> Self {
        let period_ms = period.as_nanos().div_ceil(1_000_000).try_into().unwrap_or(u32::MAX);
        self.inner.rate = Some(core::Rate { jobs, period_ms, burst });
        self
    }

    /// Its share of what executors take, beside the other queues that have jobs of the same priority.
    /// Fetches name their queues, so it does not matter to them. Default 1, minimum 1, maximum 100.
    #[must_use]
    pub fn weight(mut self, weight: u8) -> Self {
        self.inner.weight = weight;
        self
    }

    /// Jobs that wait at the most: those that have not ended and are not under way, due or not. One
    /// more is refused with [`Refusal::QueueFull`](crate::Refusal::QueueFull). Default no limit,
    /// minimum 1, maximum 2³⁰.
    #[must_use]
    pub fn length(mut self, jobs: u32) -> Self {
        self.inner.length = Some(jobs);
        self
    }

    /// Checks each limit against its range, as [`Engine::limit_queue`] does.
    ///
    /// # Errors
    /// The first limit that is out of its range.
    pub fn check(&self) -> Result<(), core::Refusal> {
        self.inner.check()
    }
}

impl Engine {
    /// Gives the queue `name` these limits, in the place of all that it had; [`QueueLimits::new`] takes
    /// them away. One shard after the other is told: from this call's return on they hold for all. They
    /// stay so over a restart. Attempts under way go on, and jobs that wait stay, even if there are more
    /// than the limits let. `false` when all shards had these limits already.
    ///
    /// # Errors
    /// A limit is out of its range, or the call was refused for another reason, or the engine takes
    /// nothing more; some shards may have taken the limits. With [`CallError::ShardClosed`] all open
    /// shards have: repeat it when that one is open again.
    pub fn limit_queue(&self, name: &str, limits: &QueueLimits) -> Result<bool, CallError> {
        self.set_everywhere(|shard| {
            let (name, limits) = (name.to_owned(), limits.inner);
            self.call(shard, |reply| Message::LimitQueue { name, limits, reply })
        })
    }

    /// Lets the jobs of the queue `name` age: one that is ready and has waited for `span` counts as one priority
    /// higher, again after each such span, up to 9, so that none waits for ever behind a steady stream of higher
    /// priorities. `None` takes it away; jobs keep what they have come to. The span is 1 ms to 49 days, rounded up to
    /// milliseconds. It stays so over a restart, with which waits are counted anew. `false` when it was so in all shards
    /// already.
    ///
    /// # Errors
    /// As of [`Engine::limit_queue`].
    pub fn age_queue(&self, name: &str, span: Option<Duration>) -> Result<bool, CallError> {
        let span_ms = span.map(saturating_ms);
        self.set_everywhere(|shard| {
            let name = name.to_owned();
            self.call(shard, |reply| Message::AgeQueue { name, span_ms, reply })
        })
    }

    /// Sets something in each shard; whether it was another in any. A closed shard is told of once the others have it.
    pub(crate) fn set_everywhere(
        &self,
        set: impl Fn(usize) -> Result<bool, CallError>,
    ) -> Result<bool, CallError> {
        let _alone = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut changed, mut closed) = (false, None);
        for shard in 0..self.shards() {
            match set(shard) {
                Err(error @ CallError::ShardClosed(_)) => closed = Some(error),
                answer => changed |= answer?,
            }
        }
        closed.map_or(Ok(changed), Err)
    }
}
