//! What a program submits, with the standard library's types for times.

use std::{
    borrow::Cow,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use tickwheel_core::{
    self as core, Due, Expiry, JobId, JobOptions, Key, Membership, Need, Needs, Role, When,
};

use crate::{
    clock::{saturating_ms, saturating_ns, wall_time},
    keyed::key_of,
    relations::Unique,
};

/// A job to submit: a kind, a payload, when it is due and how it is tried.
///
/// ```
/// use std::time::Duration;
/// use tickwheel_engine::{Backoff, NewJob};
/// let job = NewJob::new("send_email")
///     .payload("to=you@example.org")
///     .delay(Duration::from_secs(90))
///     .priority(7)
///     .attempts_max(5)
///     .backoff(Backoff::exponential(Duration::from_secs(1), Duration::from_secs(60)))
///     .timeout(Duration::from_secs(30));
/// # let _ = job;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewJob {
    /// All but the payload.
    terms: core::NewJob<'static>,
    payload: Bytes,
}

impl NewJob {
    /// A job of `kind` (1 to 255 bytes), due at once, with an empty payload, priority 5, 26
    /// attempts, exponential back-off and a time-out of 30 minutes.
    #[must_use]
    pub fn new(kind: impl Into<Cow<'static, str>>) -> Self {
        Self { terms: core::NewJob::new(kind), payload: Bytes::new() }
    }

    /// Bytes for the handler: at most 1 MiB. The payloads of many jobs may be slices of one
    /// allocation, which saves the time to make and free one for each.
    #[must_use]
    pub fn payload(mut self, payload: impl Into<Bytes>) -> Self {
        self.payload = payload.into();
        self
    }

    /// Due this long after it was accepted. Setting the clock does not move it; a restart does not
    /// lengthen it.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.terms.due = Due::After(saturating_ns(delay));
        self
    }

    /// Due at this instant of the wall clock; at once if it has passed.
    #[must_use]
    pub fn at(mut self, at: SystemTime) -> Self {
        self.terms.due = Due::At(wall_time(at));
        self
    }

    /// 0 to 9, where 9 goes first. Default 5.
    #[must_use]
    pub fn priority(mut self, priority: u8) -> Self {
        self.terms.priority = priority;
        self
    }

    /// Tries at the most, the first included: 1 to 10,000. Default 26.
    #[must_use]
    pub fn attempts_max(mut self, attempts_max: u16) -> Self {
        self.terms.attempts_max = attempts_max;
        self
    }

    /// How long it waits after a failed attempt. Default 1 s, doubling up to 1 h.
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.terms.backoff = backoff.inner;
        self
    }

    /// How long one attempt may take: 1 ms to 49 days, rounded up to milliseconds; a longer one
    /// counts as 49 days. Default 30 minutes.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.terms.timeout_ms = saturating_ms(timeout);
        self
    }

    /// The line that it waits in: a name of 1 to 255 bytes. Default `default`. Queues of equal
    /// priority take turns, and each can be [paused](crate::Engine::pause_queue).
    #[must_use]
    pub fn queue(mut self, queue: impl Into<Cow<'static, str>>) -> Self {
        self.terms.queue = queue.into();
        self
    }

    /// A name of your own for it, of any length: while a job with the same key has not ended in the
    /// same engine, another is refused with [`Refusal::KeyHeld`](crate::Refusal::KeyHeld). All jobs
    /// with one key go to the same shard.
    #[must_use]
    pub fn key(mut self, name: impl AsRef<[u8]>) -> Self {
        self.terms.key = Some(key_of(name.as_ref()));
        self
    }

    /// At this instant of the wall clock it is not worth running any more: if no attempt has begun by
    /// then, it ends as [`Expired`](crate::JobState::Expired), wherever it waits. A job that has failed
    /// once is retried all the same. Setting the clock moves it.
    ///
    /// A job that would expire before it is due is refused, see
    /// [`Refusal::ExpiresFirst`](crate::Refusal::ExpiresFirst); one of a schedule takes a span alone, see
    /// [`NewJob::expires_in`].
    #[must_use]
    pub fn expires_at(mut self, at: SystemTime) -> Self {
        self.options_mut().expires = Some(Expiry::At(wall_time(at)));
        self
    }

    /// As [`NewJob::expires_at`], this long after the job was accepted, or added by its schedule.
    #[must_use]
    pub fn expires_in(mut self, span: Duration) -> Self {
        self.options_mut().expires = Some(Expiry::After(saturating_ns(span)));
        self
    }

    /// Lets it in only if no other job holds the same key of uniqueness, which has nothing to do with
    /// [`NewJob::key`]. All jobs with one key of uniqueness go to the same shard.
    #[must_use]
    pub fn unique(mut self, unique: Unique) -> Self {
        self.options_mut().unique = Some(unique.inner);
        self
    }

    /// Its group within its queue, the tenant that it is for for example: a name of 1 to 255 bytes. Groups of a queue
    /// take turns, so that none waits for all that another has offered, and each can be
    /// [limited](crate::Engine::limit_groups). All jobs of a group go to the same shard, also if
    /// they have keys. Default none: jobs without a group take turns as one group more.
    #[must_use]
    pub fn group(mut self, group: impl Into<Arc<str>>) -> Self {
        self.options_mut().group = Some(group.into());
        self
    }

    /// A word to find it by: [`JobFilter::tag`](crate::JobFilter::tag). A job has up to 16 tags of 1 to 64 bytes
    /// each; one that it has already changes nothing. It has them until it is forgotten, also dead.
    #[must_use]
    pub fn tag(mut self, tag: impl AsRef<str>) -> Self {
        let options = self.options_mut();
        options.tags = std::mem::take(&mut options.tags).with(tag.as_ref());
        self
    }

    /// Adds it to a batch, which must be open; it goes to the batch's shard.
    #[must_use]
    pub fn batch(mut self, batch: JobId) -> Self {
        self.options_mut().batch = Some(Membership { batch, role: Role::Member });
        self
    }

    pub(crate) fn add_need(mut self, job: JobId, when: When) -> Self {
        let options = self.options_mut();
        let mut needs: Vec<Need> = options.needs.iter().collect();
        needs.push(Need { job, when });
        options.needs = Needs::new(&needs);
        self
    }

    /// Whether it may have to go to one shard.
    pub(crate) fn has_home(&self) -> bool {
        self.terms.key.is_some() || self.terms.options.is_some()
    }

    pub(crate) fn options_given(&self) -> Option<&JobOptions> {
        self.terms.options.as_deref()
    }

    pub(crate) fn options_mut(&mut self) -> &mut JobOptions {
        Arc::make_mut(self.terms.options.get_or_insert_default())
    }

    /// Whether it is kept in the dead set if it fails for good, to be looked at and queued again;
    /// otherwise it is gone then. Default yes.
    #[must_use]
    pub fn keep_dead(mut self, keep: bool) -> Self {
        self.terms.keeps_dead = keep;
        self
    }

    pub(crate) fn key_given(&self) -> Option<Key> {
        self.terms.key
    }

    pub(crate) fn kind(&self) -> &str {
        &self.terms.kind
    }

    pub(crate) fn queue_given(&self) -> &str {
        &self.terms.queue
    }

    /// The job as the core takes it.
    pub(crate) fn to_core(&self) -> core::NewJob<'_> {
        core::NewJob {
            kind: Cow::Borrowed(&self.terms.kind),
            payload: Cow::Borrowed(&self.payload),
            queue: Cow::Borrowed(&self.terms.queue),
            options: self.terms.options.clone(),
            ..self.terms
        }
    }
}

/// How long a failed job waits for its next attempt: see [`Backoff::exponential`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    pub(crate) inner: core::Backoff,
}

impl Backoff {
    /// `base` after the first failure, doubling with each further one up to `max`; each wait is
    /// drawn between three quarters of that and all of it. Both are rounded up to milliseconds, and
    /// at most 49 days.
    #[must_use]
    pub fn exponential(base: Duration, max: Duration) -> Self {
        // A base above the longest wait would say nothing, and is how another sort is written.
        let (base_ms, max_ms) = (saturating_ms(base.min(max)), saturating_ms(max));
        Self { inner: core::Backoff { base_ms, max_ms } }
    }

    /// That of the work protocol: n⁴ + 15 seconds after `n` earlier failures, and up to 30·(n + 1)
    /// seconds more, drawn; at most 49 days.
    #[must_use]
    pub fn quartic() -> Self {
        Self { inner: core::Backoff::QUARTIC }
    }
}
