//! Jobs as they are seen and changed from outside: lists by filter, the dead set, changes of one job
//! and of many.
//!
//! This file knows the calls and not how a shard carries them out.

use std::{
    fmt,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use crossbeam::channel::{Receiver, bounded};
use tickwheel_core::{
    self as core, Changed, DeadView, Due, JobId, JobState, JobView, Key, States, WalkBudget,
    WalkPlace, event::Failure,
};

use crate::{
    clock::{saturating_ns, system_time, wall_time},
    engine::{Engine, open_or_left_out},
    error::CallError,
    limits,
    shard::{Message, Page, Walk},
    worker::{Handle, Order, OrderReply, Payload},
};

/// Which jobs are meant. Without more it is all of them.
///
/// ```
/// use tickwheel_engine::{JobFilter, JobState};
/// let retries = JobFilter::new()
///     .states(&[JobState::Scheduled])
///     .attempted(true)
///     .queue("mail");
/// # let _ = retries;
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobFilter {
    pub(crate) inner: core::Filter,
}

impl JobFilter {
    /// All jobs that are held: those that have not ended, and the dead ones.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Only jobs in these states. Default all.
    #[must_use]
    pub fn states(mut self, states: &[JobState]) -> Self {
        self.inner.states = States::of(states);
        self
    }

    /// Only jobs of this kind.
    #[must_use]
    pub fn kind(mut self, kind: impl Into<Box<str>>) -> Self {
        self.inner.kind = Some(kind.into());
        self
    }

    /// Only jobs of this queue.
    #[must_use]
    pub fn queue(mut self, queue: impl Into<Box<str>>) -> Self {
        self.inner.queue = Some(queue.into());
        self
    }

    /// Only jobs of this group, in whichever queue: [`JobFilter::queue`] says which.
    #[must_use]
    pub fn group(mut self, group: impl Into<Box<str>>) -> Self {
        self.inner.group = Some(group.into());
        self
    }

    /// Only jobs with this tag; called again, only jobs that have all of these.
    #[must_use]
    pub fn tag(mut self, tag: impl AsRef<str>) -> Self {
        self.inner.tags = self.inner.tags.with(tag.as_ref());
        self
    }

    /// Only jobs that this schedule added.
    #[must_use]
    pub fn schedule(mut self, schedule: impl Into<Box<str>>) -> Self {
        self.inner.schedule = Some(schedule.into());
        self
    }

    /// Only jobs that are due at this time or later; of a job under way or dead, those that were.
    #[must_use]
    pub fn due_from(mut self, from: SystemTime) -> Self {
        self.inner.due_from = Some(wall_time(from));
        self
    }

    /// Only jobs that are due before this time.
    #[must_use]
    pub fn due_before(mut self, before: SystemTime) -> Self {
        self.inner.due_before = Some(wall_time(before));
        self
    }

    /// Only jobs of which an attempt has begun that counts, or only others. With
    /// [`JobState::Scheduled`] these are those that wait for a retry, and those that wait for their
    /// first attempt.
    #[must_use]
    pub fn attempted(mut self, is_attempted: bool) -> Self {
        self.inner.is_attempted = Some(is_attempted);
        self
    }

    /// Only jobs with an id below this one: of each shard, those that were added before the job of
    /// this number in it.
    #[must_use]
    pub fn added_before(mut self, job: JobId) -> Self {
        self.inner.added_before = Some(job);
        self
    }

    /// Only jobs that died before this time.
    #[must_use]
    pub fn died_before(mut self, before: SystemTime) -> Self {
        self.inner.died_before = Some(wall_time(before));
        self
    }
}

/// What is changed about a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobChange {
    pub(crate) inner: core::Change,
}

impl JobChange {
    /// It is over and not run any more; an attempt that is under way is asked to stop.
    #[must_use]
    pub fn cancel() -> Self {
        Self { inner: core::Change::Cancel }
    }

    /// A dead job is forgotten.
    #[must_use]
    pub fn discard() -> Self {
        Self { inner: core::Change::Discard }
    }

    /// A job that waits goes to the dead set.
    #[must_use]
    pub fn kill() -> Self {
        Self { inner: core::Change::Kill }
    }

    /// A dead job is due at once, and has all its attempts again.
    #[must_use]
    pub fn requeue() -> Self {
        Self { inner: core::Change::Requeue }
    }

    /// A job that waits for its due time is due at once.
    #[must_use]
    pub fn run() -> Self {
        Self { inner: core::Change::Run }
    }

    /// A job that waits is due this long from now; setting the clock does not move it.
    #[must_use]
    pub fn delay(delay: Duration) -> Self {
        Self { inner: core::Change::Due(Due::After(saturating_ns(delay))) }
    }

    /// A job that waits is due at this instant of the wall clock.
    #[must_use]
    pub fn at(at: SystemTime) -> Self {
        Self { inner: core::Change::Due(Due::At(wall_time(at))) }
    }

    /// A job that waits has this priority: 0 to 9. If it is due, it stands behind its new equals.
    #[must_use]
    pub fn priority(priority: u8) -> Self {
        Self { inner: core::Change::Priority(priority) }
    }

    /// A job that waits stands in this queue: 1 to 255 bytes. If it is due, it stands at the end of its
    /// line there.
    #[must_use]
    pub fn queue(queue: impl Into<Box<str>>) -> Self {
        Self { inner: core::Change::Queue(queue.into()) }
    }
}

/// A job as [`Engine::jobs`] lists it.
#[derive(Debug)]
#[non_exhaustive]
pub struct JobEntry {
    /// Its id.
    pub id: JobId,
    /// Its key, if it has one; of a dead job the one that it had.
    pub key: Option<Key>,
    /// Its state.
    pub state: JobState,
    /// Its kind.
    pub kind: Box<str>,
    /// Its queue.
    pub queue: Box<str>,
    /// Its group.
    pub group: Option<Box<str>>,
    /// Its tags, in the order in which it was given them.
    pub tags: Vec<Box<str>>,
    /// The schedule that added it.
    pub schedule: Option<Box<str>>,
    /// When it is due; of a job under way or dead, when it was.
    pub due: SystemTime,
    /// 0 to 9.
    pub priority: u8,
    /// Attempts begun so far that count.
    pub attempts: u16,
    /// Attempts at the most.
    pub attempts_max: u16,
    /// How it failed for good, if it is dead.
    pub death: Option<Death>,
    /// Where its payload is. While this is held, the log keeps the place.
    pub payload: Payload,
}

/// How a job failed for good.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Death {
    /// When.
    pub at: SystemTime,
    /// How its last attempt ended.
    pub cause: DeathCause,
    /// The beginning of what that attempt said: at most 216 bytes.
    pub message: Box<str>,
}

/// How the last attempt of a dead job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeathCause {
    /// It failed, and no attempt was left.
    Failed,
    /// It failed in a way that a retry does not mend.
    Permanent,
    /// The handler panicked.
    Panicked,
    /// It took longer than its time-out.
    TimedOut,
    /// The process ended during the attempt.
    Lost,
    /// There was none: a caller killed the job while it waited.
    Killed,
}

impl fmt::Display for DeathCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Failed => "failed",
            Self::Permanent => "failed for good",
            Self::Panicked => "panicked",
            Self::TimedOut => "timed out",
            Self::Lost => "lost",
            Self::Killed => "killed",
        })
    }
}

impl Death {
    pub(crate) fn of(dead: &DeadView) -> Self {
        let cause = match dead.failure {
            Failure::Retryable => DeathCause::Failed,
            Failure::Permanent => DeathCause::Permanent,
            Failure::Panicked => DeathCause::Panicked,
            Failure::TimedOut => DeathCause::TimedOut,
            Failure::Lost => DeathCause::Lost,
            Failure::Killed => DeathCause::Killed,
        };
        Self { at: system_time(dead.died), cause, message: dead.message.clone() }
    }
}

impl JobEntry {
    pub(crate) fn new(
        view: JobView,
        key: Option<Key>,
        death: Option<Death>,
        payload: Payload,
    ) -> Self {
        Self {
            id: view.id,
            key,
            state: view.state,
            kind: view.kind,
            queue: view.queue,
            group: view.group,
            tags: view.tags.iter().map(Box::from).collect(),
            schedule: view.schedule,
            due: system_time(view.due),
            priority: view.priority,
            attempts: view.attempts,
            attempts_max: view.attempts_max,
            death,
            payload,
        }
    }
}

/// Where a list goes on. As text it can be handed out and given back.
///
/// ```
/// use tickwheel_engine::JobCursor;
/// let cursor: JobCursor = "1:4096".parse()?;
/// assert_eq!(cursor.to_string(), "1:4096");
/// # Ok::<(), tickwheel_engine::ParseJobCursorError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JobCursor {
    shard: usize,
    place: u32,
}

impl fmt::Display for JobCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.shard, self.place)
    }
}

/// The text is no cursor that a list gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor: give back what the last page gave, or begin without one")]
pub struct ParseJobCursorError;

impl FromStr for JobCursor {
    type Err = ParseJobCursorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (shard, place) = text.split_once(':').ok_or(ParseJobCursorError)?;
        let shard = shard.parse().map_err(|_| ParseJobCursorError)?;
        let place = place.parse().map_err(|_| ParseJobCursorError)?;
        Ok(Self { shard, place })
    }
}

/// A page of jobs.
#[derive(Debug)]
#[non_exhaustive]
pub struct JobPage {
    /// Jobs, at most as many as were asked for.
    pub jobs: Vec<JobEntry>,
    /// Where it goes on; `None` at the end. There may be more though this page is not full.
    pub next: Option<JobCursor>,
}

/// What a change of many would change.
#[derive(Debug)]
#[non_exhaustive]
pub struct BulkPreview {
    /// Jobs that fit the filter, in a state that the change is for.
    pub jobs: u64,
    /// The first of them.
    pub first: Vec<JobEntry>,
}

/// How far a change of many has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct BulkProgress {
    /// Jobs changed so far.
    pub changed: u64,
    /// Jobs that were left as they are, as a bound forbids the change: the key is held, the queue is
    /// full, or too many jobs are pending.
    pub left: u64,
}

/// What a change of many and its caller share.
#[derive(Debug, Default)]
pub(crate) struct BulkShared {
    changed: AtomicU64,
    left: AtomicU64,
    is_stopped: AtomicBool,
}

impl BulkShared {
    pub(crate) fn add(&self, changed: u32, left: u32) {
        self.changed.fetch_add(changed.into(), Ordering::Relaxed);
        self.left.fetch_add(left.into(), Ordering::Relaxed);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Relaxed)
    }
}

/// A change of many that is under way. If this is dropped, it goes on.
#[derive(Debug)]
pub struct Bulk {
    shared: Arc<BulkShared>,
    parts: Vec<Receiver<Result<(), CallError>>>,
}

impl Bulk {
    /// How far it has come; what is counted may not be durable yet.
    #[must_use]
    pub fn progress(&self) -> BulkProgress {
        BulkProgress {
            changed: self.shared.changed.load(Ordering::Relaxed),
            left: self.shared.left.load(Ordering::Relaxed),
        }
    }

    /// Lets it end where it is; what was changed stays so.
    pub fn stop(&self) {
        self.shared.is_stopped.store(true, Ordering::Relaxed);
    }

    /// Waits for its end, until all that it changed is durable.
    ///
    /// # Errors
    /// The disk is full, the log failed, or the engine or a shard ended before it: what was changed
    /// until then stays so.
    pub fn wait(self) -> Result<BulkProgress, CallError> {
        let mut end = Ok(());
        for part in &self.parts {
            let answer = part.recv().unwrap_or(Err(CallError::ShuttingDown));
            end = end.and(answer);
        }
        end.map(|()| self.progress())
    }
}

impl Engine {
    /// A page of the jobs that `filter` takes, at most `jobs_max` (1 to 1000), from where the last page
    /// with the same filter ended. Jobs come in no order that means anything; those of closed shards are
    /// left out.
    ///
    /// A job that is there and fits the filter from before the first page until after the last is
    /// listed once. One that comes, goes or changes meanwhile is listed once or not at all, or, if it
    /// ends and another takes its place, both may be.
    ///
    /// A page looks at 4,194,304 places at the most, in pieces between which a shard does other things,
    /// and then ends: so a page may have few jobs, or none, and still go on.
    ///
    /// # Errors
    /// The engine takes nothing more.
    pub fn jobs(
        &self,
        filter: &JobFilter,
        from: Option<JobCursor>,
        jobs_max: usize,
    ) -> Result<JobPage, CallError> {
        let mut cursor = from.unwrap_or_default();
        let jobs_max = jobs_max.clamp(1, limits::PAGE_JOBS_MAX);
        let mut places = limits::PAGE_PLACES_MAX;
        let mut jobs = Vec::new();
        while cursor.shard < self.shards() && jobs.len() < jobs_max && places > 0 {
            let left = WalkBudget { places, jobs: jobs_max - jobs.len() };
            let page = self.ask(cursor.shard, |reply| {
                let (filter, from) = (filter.inner.clone(), WalkPlace(cursor.place));
                Message::Walk(Box::new(Walk::List { filter, from, left, found: Vec::new(), reply }))
            });
            let page = open_or_left_out(page)?;
            let (mut more, next, left) = match page {
                Some(Page { jobs, next, places }) => (jobs, next, places),
                None => (Vec::new(), None, places),
            };
            jobs.append(&mut more);
            places = left;
            cursor = match next {
                Some(WalkPlace(place)) => JobCursor { place, ..cursor },
                None => JobCursor { shard: cursor.shard + 1, place: 0 },
            };
        }
        let next = (cursor.shard < self.shards()).then_some(cursor);
        Ok(JobPage { jobs, next })
    }

    /// Looks at one job, with its payload; also at one of the dead set. `None` if it has ended or was
    /// never there.
    ///
    /// # Errors
    /// The engine takes nothing more.
    pub fn look(&self, job: JobId) -> Result<Option<JobEntry>, CallError> {
        let shard = usize::from(job.shard().0);
        if shard >= self.shards() {
            return Ok(None);
        }
        self.ask(shard, |reply| Message::Look { job, reply }).map(|entry| entry.map(|it| *it))
    }

    /// Jobs held of each kind, dead ones included, by name.
    ///
    /// # Errors
    /// The engine takes nothing more.
    pub fn kinds(&self) -> Result<Vec<(Box<str>, u64)>, CallError> {
        let mut kinds = std::collections::BTreeMap::new();
        for (kind, jobs) in self.ask_open(|reply| Message::Kinds { reply })?.into_iter().flatten() {
            *kinds.entry(kind).or_default() += jobs;
        }
        Ok(kinds.into_iter().collect())
    }

    /// Changes one job, and waits until that is durable.
    ///
    /// # Errors
    /// The change is out of its range or a bound forbids it, or the engine takes nothing more.
    pub fn change(&self, job: JobId, change: &JobChange) -> Result<Changed, CallError> {
        let shard = usize::from(job.shard().0);
        if shard >= self.shards() {
            return Ok(Changed::Absent);
        }
        let change = change.inner.clone();
        self.call(shard, |reply| Message::Change { job, change, reply })
    }

    /// [`Engine::change`] of the job that has `key`. If the change is one of dead jobs, it is that of
    /// the job that died last with this key. A job that its batch, its needs or its key of uniqueness have
    /// brought to another shard than its key says is looked for in all of them, one after the other.
    ///
    /// # Errors
    /// As for [`Engine::change`].
    pub fn change_by_key(&self, key: Key, change: &JobChange) -> Result<Changed, CallError> {
        let own = self.shard_of(key);
        let others = (0..self.shards()).filter(|shard| *shard != own);
        for shard in std::iter::once(own).chain(others) {
            let changed = self.change_in(shard, key, change)?;
            if changed != Changed::Absent {
                return Ok(changed);
            }
        }
        Ok(Changed::Absent)
    }

    fn change_in(&self, shard: usize, key: Key, change: &JobChange) -> Result<Changed, CallError> {
        let (reply, answer) = bounded(1);
        let order = Order::Change { job: Handle::Key(key), change: change.clone() };
        self.order(shard, vec![order], move |replies| {
            // Nobody waits any more if this fails.
            let _ = reply.send(replies);
        })?;
        let mut replies = answer.recv().unwrap_or(Err(CallError::ShuttingDown))?;
        match replies.pop() {
            Some(OrderReply::Changed(changed)) => Ok(changed),
            Some(OrderReply::Refused(refusal)) => Err(refusal.into()),
            _ => Err(CallError::ShuttingDown),
        }
    }

    /// How many jobs [`Engine::bulk`] would change now, and the first of them, at most `first_max`
    /// (at most 1000).
    ///
    /// # Errors
    /// The change is out of its range, or the engine takes nothing more.
    pub fn bulk_preview(
        &self,
        filter: &JobFilter,
        change: &JobChange,
        first_max: usize,
    ) -> Result<BulkPreview, CallError> {
        change.inner.check(crate::clock::now())?;
        let filter = fitting(filter, change);
        let mut preview = BulkPreview { jobs: 0, first: Vec::new() };
        let first_max = first_max.min(limits::PAGE_JOBS_MAX);
        for shard in 0..self.shards() {
            let left = first_max - preview.first.len();
            let counted = self.ask(shard, |reply| {
                Message::Walk(Box::new(Walk::Count {
                    filter: filter.clone(),
                    from: WalkPlace(0),
                    first_max: left,
                    first: Vec::new(),
                    jobs: 0,
                    reply,
                }))
            });
            let Some((jobs, mut first)) = open_or_left_out(counted)? else { continue };
            preview.jobs += jobs;
            preview.first.append(&mut first);
        }
        Ok(preview)
    }

    /// Changes all jobs that `filter` takes and that are in a state that the change is for, in all open
    /// shards. It is done in pieces between which a shard does other things; each piece is written as
    /// one record. A job that is added meanwhile may be changed or not.
    ///
    /// ```
    /// # use tickwheel_engine::{Engine, JobChange, JobFilter, JobState};
    /// # fn requeue_mails(engine: &Engine) -> Result<(), tickwheel_engine::CallError> {
    /// let dead_mails = JobFilter::new().states(&[JobState::Dead]).kind("send_email");
    /// let would = engine.bulk_preview(&dead_mails, &JobChange::requeue(), 10)?;
    /// println!("{} mails, the first {:?}", would.jobs, would.first);
    /// let done = engine.bulk(&dead_mails, &JobChange::requeue())?.wait()?;
    /// println!("{} are queued again, {} are not", done.changed, done.left);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// The change is out of its range, or the engine takes nothing more.
    pub fn bulk(&self, filter: &JobFilter, change: &JobChange) -> Result<Bulk, CallError> {
        change.inner.check(crate::clock::now())?;
        let filter = fitting(filter, change);
        let shared = Arc::new(BulkShared::default());
        let mut parts = Vec::with_capacity(self.shards());
        for shard in 0..self.shards() {
            let (reply, part) = bounded(1);
            let walk = Walk::Change {
                filter: filter.clone(),
                change: change.inner.clone(),
                from: WalkPlace(0),
                shared: Arc::clone(&shared),
                after: core::Lsn(0),
                reply,
            };
            if open_or_left_out(self.send(shard, Message::Walk(Box::new(walk))))?.is_some() {
                parts.push(part);
            }
        }
        Ok(Bulk { shared, parts })
    }
}

/// The filter without the states that the change is not for.
fn fitting(filter: &JobFilter, change: &JobChange) -> core::Filter {
    let states = filter.inner.states.and(change.inner.states());
    core::Filter { states, ..filter.inner.clone() }
}
