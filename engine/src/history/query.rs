//! Questions about attempts that ended: what is asked, and the pages of answers.

use std::time::SystemTime;

use tickwheel_core::{JobId, Key, fact::Ended};

use super::{AttemptOutcome, AttemptRecord};
use crate::{clock::wall_time, limits};

/// Which attempts are meant, and in which order. Without more it is all of them, the newest first.
///
/// ```
/// use tickwheel_engine::{AttemptOutcome, HistoryQuery};
/// let query = HistoryQuery::new().queue("mail").outcome(AttemptOutcome::TimedOut).limit(20);
/// # let _ = query;
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistoryQuery {
    job: Option<JobId>,
    key: Option<Key>,
    kind: Option<String>,
    queue: Option<String>,
    schedule: Option<String>,
    outcomes: Vec<AttemptOutcome>,
    since_ns: Option<u64>,
    until_ns: Option<u64>,
    pub(super) oldest_first: bool,
    limit: Option<usize>,
    pub(super) after: Option<HistoryPlace>,
}

/// Where a page of the history ended, and the next one begins: for the same question only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HistoryPlace(pub(super) u64);

/// A page of attempts.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct HistoryPage {
    /// The attempts, in the order that was asked for.
    pub attempts: Vec<AttemptRecord>,
    /// Where to [go on](HistoryQuery::after); `None`: that was all. A page may be shorter than was
    /// asked for, and even empty, though there are more: a page looks at 64 MiB at the most.
    pub next: Option<HistoryPlace>,
    /// Places that had been written for good and cannot be read, in words.
    pub damage: Vec<String>,
}

impl HistoryQuery {
    /// All attempts, the newest first, 100 to a page.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Only those of this job.
    #[must_use]
    pub fn job(mut self, job: JobId) -> Self {
        self.job = Some(job);
        self
    }

    /// Only those of jobs with this key; see [`key_of`](crate::worker::key_of).
    #[must_use]
    pub fn key(mut self, key: Key) -> Self {
        self.key = Some(key);
        self
    }

    /// Only those of jobs of this kind.
    #[must_use]
    pub fn kind(mut self, kind: impl Into<String>) -> Self {
        self.kind = Some(kind.into());
        self
    }

    /// Only those of jobs of this queue.
    #[must_use]
    pub fn queue(mut self, queue: impl Into<String>) -> Self {
        self.queue = Some(queue.into());
        self
    }

    /// Only those of jobs that this schedule added.
    #[must_use]
    pub fn schedule(mut self, schedule: impl Into<String>) -> Self {
        self.schedule = Some(schedule.into());
        self
    }

    /// Only those that ended like this; called again, like this or like that.
    #[must_use]
    pub fn outcome(mut self, outcome: AttemptOutcome) -> Self {
        self.outcomes.push(outcome);
        self
    }

    /// Only those that ended at this time or later.
    #[must_use]
    pub fn since(mut self, since: SystemTime) -> Self {
        self.since_ns = Some(wall_time(since).0);
        self
    }

    /// Only those that ended before this time.
    #[must_use]
    pub fn until(mut self, until: SystemTime) -> Self {
        self.until_ns = Some(wall_time(until).0);
        self
    }

    /// The oldest first. The order is that in which the history was told; of one shard, that in which
    /// attempts ended.
    #[must_use]
    pub fn oldest_first(mut self) -> Self {
        self.oldest_first = true;
        self
    }

    /// So many to a page: 1 to 1000; what lies beyond is cut to that. Default 100.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Go on where a page ended.
    #[must_use]
    pub fn after(mut self, place: HistoryPlace) -> Self {
        self.after = Some(place);
        self
    }

    pub(super) fn page_len(&self) -> usize {
        self.limit.unwrap_or(limits::HISTORY_PAGE_DEFAULT).clamp(1, limits::PAGE_JOBS_MAX)
    }

    pub(super) fn takes(&self, ended: &Ended<'_>) -> bool {
        let job = &ended.job;
        self.job.is_none_or(|id| id.0 == job.job)
            && self.key.is_none_or(|key| Some(key.0) == job.key)
            && self.kind.as_ref().is_none_or(|kind| kind == job.kind)
            && self.queue.as_ref().is_none_or(|queue| queue == job.queue)
            && self.schedule.as_ref().is_none_or(|name| Some(&**name) == job.schedule)
            && self.since_ns.is_none_or(|since| ended.at >= since)
            && self.until_ns.is_none_or(|until| ended.at < until)
            && (self.outcomes.is_empty() || self.outcomes.contains(&ended.outcome))
    }
}
