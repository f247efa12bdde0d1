//! What a queue may be limited to, and the arithmetic of a rate.
//!
//! It knows numbers and times, never jobs.

use bincode::{BorrowDecode, Encode};

use crate::{
    job::Refusal,
    limits::{
        QUEUE_BURST_MAX, QUEUE_CONCURRENCY_MAX, QUEUE_LENGTH_MAX, QUEUE_RATE_JOBS_MAX,
        QUEUE_REFILL_NS_MAX, QUEUE_WEIGHT_MAX,
    },
    time::{WallTime, ms_to_ns},
};

/// What one queue is limited to: in all shards that share [`Permits`](super::Permits), else in one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub struct QueueLimits {
    /// Attempts under way, by executors and fetched together. Default: no limit; 1 to 65,536.
    pub concurrency: Option<u32>,
    /// How often attempts begin. Default: no limit.
    pub rate: Option<Rate>,
    /// Its share of what executors take, beside the other queues at the same priority. Default 1;
    /// 1 to 100.
    pub weight: u8,
    /// Jobs that have not ended and are not under way. Default: no limit; 1 to 2³⁰.
    pub length: Option<u32>,
}

impl Default for QueueLimits {
    fn default() -> Self {
        Self { concurrency: None, rate: None, weight: 1, length: None }
    }
}

impl QueueLimits {
    /// Checks the ranges.
    ///
    /// # Errors
    /// The first limit that is out of its range.
    pub fn check(&self) -> Result<(), Refusal> {
        let is_in = |value: Option<u32>, max| value.is_none_or(|value| (1..=max).contains(&value));
        if !is_in(self.concurrency, QUEUE_CONCURRENCY_MAX) {
            return Err(Refusal::QueueLimits("the concurrency must be 1 to 65536"));
        }
        if !(1..=QUEUE_WEIGHT_MAX).contains(&self.weight) {
            return Err(Refusal::QueueLimits("the weight must be 1 to 100"));
        }
        if !is_in(self.length, QUEUE_LENGTH_MAX) {
            return Err(Refusal::QueueLimits("the length must be 1 to 2^30"));
        }
        self.rate.map_or(Ok(()), |rate| rate.check())
    }

    /// Whether anything is limited; a weight limits nothing.
    pub(crate) fn has_limit(&self) -> bool {
        self.concurrency.is_some() || self.rate.is_some() || self.length.is_some()
    }

    /// Whether attempts may have to wait for others, or for a time.
    pub(super) fn holds_back(&self) -> bool {
        self.concurrency.is_some() || self.rate.is_some()
    }

    /// Whether a queue that nobody has spoken of is limited like this.
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// A rate, kept by the generic cell rate algorithm (ITU-T I.371): after a rest, `burst` attempts may
/// begin at once; then one more each time that a job's share of the period has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub struct Rate {
    /// Attempts per period: 1 to 1,000,000.
    pub jobs: u32,
    /// The period in milliseconds, 1 or more. It is divided by `jobs` and rounded up to a nanosecond.
    pub period_ms: u32,
    /// Attempts at once: 1 to 1,000,000, and not more than the rate gives in ten years.
    pub burst: u32,
}

impl Rate {
    fn check(&self) -> Result<(), Refusal> {
        if !(1..=QUEUE_RATE_JOBS_MAX).contains(&self.jobs) {
            return Err(Refusal::QueueLimits("a rate's jobs per period must be 1 to 1000000"));
        }
        if self.period_ms == 0 {
            return Err(Refusal::QueueLimits("a rate's period must be a millisecond or more"));
        }
        if !(1..=QUEUE_BURST_MAX).contains(&self.burst) {
            return Err(Refusal::QueueLimits("a rate's burst must be 1 to 1000000"));
        }
        if u128::from(self.burst) * u128::from(self.interval_ns()) > QUEUE_REFILL_NS_MAX {
            return Err(Refusal::QueueLimits(
                "a rate's burst must not be more than it gives in ten years",
            ));
        }
        Ok(())
    }

    /// The share of one job in the period.
    #[must_use]
    pub fn interval_ns(&self) -> u64 {
        ms_to_ns(u64::from(self.period_ms)).div_ceil(u64::from(self.jobs))
    }

    /// How long it takes until the whole burst is there again.
    #[must_use]
    pub fn span_ns(&self) -> i64 {
        (self.interval_ns() * u64::from(self.burst)).cast_signed()
    }

    /// Attempts that may begin at `now_ns`, when the whole burst is there at `full_at_ns`.
    #[must_use]
    pub fn allowed(&self, full_at_ns: i64, now_ns: i64) -> u32 {
        let span_ns = self.span_ns();
        let spent_ns = full_at_ns.saturating_sub(now_ns).clamp(0, span_ns);
        // At most the burst.
        ((span_ns - spent_ns) / self.interval_ns().cast_signed()) as u32
    }

    /// When the whole burst is there again, after an attempt that begins at `at_ns`.
    ///
    /// Live, an attempt begins only where it is allowed. On recovery the wall clock may have been
    /// set back between two events: no more than the whole burst is ever spent.
    pub(super) fn spend(&self, full_at_ns: i64, at_ns: i64) -> i64 {
        self.spend_many(full_at_ns, at_ns, 1)
    }

    /// The same after `count` attempts that begin at once.
    #[must_use]
    pub fn spend_many(&self, full_at_ns: i64, at_ns: i64, count: u32) -> i64 {
        let latest_ns = at_ns.saturating_add(self.span_ns());
        let from_ns = full_at_ns.clamp(at_ns, latest_ns);
        let spent_ns = i64::from(count).saturating_mul(self.interval_ns().cast_signed());
        from_ns.saturating_add(spent_ns).min(latest_ns)
    }

    /// From when on one attempt may begin.
    #[must_use]
    pub fn opens_at(&self, full_at_ns: i64) -> i64 {
        full_at_ns.saturating_sub(self.span_ns() - self.interval_ns().cast_signed())
    }

    /// When the whole burst is there again, if an earlier rate had its own at `full_at`.
    pub(crate) fn taken_over(&self, full_at: WallTime, now: WallTime) -> WallTime {
        let latest = now.0.saturating_add(self.span_ns().unsigned_abs());
        WallTime(full_at.0.clamp(now.0, latest))
    }
}
