//! Jobs that have to do with others, as a program says it: keys of uniqueness and batches.
//!
//! Related jobs live in one shard, so each relation is decided, written and recovered by one thread. This file
//! owns the words for it; which shard that is, is `route.rs`'s, and the rules are the core's.

use std::{
    borrow::Cow,
    time::{Duration, SystemTime},
};

use tickwheel_core::{
    self as core, BatchView, Callback, Conflict, Fired, JobId, Key, Refusal, Until,
};

use crate::{
    clock::{saturating_ns, system_time},
    engine::Engine,
    error::{CallError, SubmitError},
    job::NewJob,
    keyed::key_of,
    shard::Message,
};

/// What makes a job unique: of all jobs with one such key, only one is let in at a time.
///
/// ```
/// use std::time::Duration;
/// use tickwheel_engine::{NewJob, Unique};
/// // One mail per customer waits or runs at a time; a second one is told the id of the first.
/// let first = NewJob::new("mail").unique(Unique::until_end("mail customer 7").or_existing());
/// // One report an hour, however often it is asked for and whatever became of it.
/// let hour = Duration::from_secs(3600);
/// let second = NewJob::new("report").unique(Unique::for_time("report", hour));
/// # let _ = (first, second);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unique {
    pub(crate) inner: core::Unique,
}

impl Unique {
    /// Held until the job ends, however.
    #[must_use]
    pub fn until_end(name: impl AsRef<[u8]>) -> Self {
        Self::new(key_of(name.as_ref()), Until::End)
    }

    /// Held until its first attempt begins, or it ends without one.
    #[must_use]
    pub fn until_start(name: impl AsRef<[u8]>) -> Self {
        Self::new(key_of(name.as_ref()), Until::Start)
    }

    /// Held for so long after the job was accepted, whatever becomes of it.
    #[must_use]
    pub fn for_time(name: impl AsRef<[u8]>, span: Duration) -> Self {
        Self::new(key_of(name.as_ref()), Until::Time).at_most(span)
    }

    fn new(key: Key, until: Until) -> Self {
        let (span_ns, conflict) = (None, Conflict::Reject);
        Self { inner: core::Unique { key, until, span_ns, conflict } }
    }

    /// Held no longer than this, also if the job has not started or ended by then.
    #[must_use]
    pub fn at_most(mut self, span: Duration) -> Self {
        self.inner.span_ns = Some(saturating_ns(span));
        self
    }

    /// When the key is held, this job takes the place of the one that holds it, which is cancelled. If that is
    /// under way, this job is refused.
    #[must_use]
    pub fn or_replace(mut self) -> Self {
        self.inner.conflict = Conflict::Replace;
        self
    }

    /// When the key is held, the id of the job that holds it is the answer, as if it had been submitted now.
    #[must_use]
    pub fn or_existing(mut self) -> Self {
        self.inner.conflict = Conflict::Existing;
        self
    }
}

/// A batch to make: jobs that are counted together, and jobs that are added when all have run or ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewBatch {
    description: Cow<'static, str>,
    parent: Option<JobId>,
    callbacks: [Option<NewJob>; 3],
}

impl NewBatch {
    /// A batch with a description for people, of up to 255 bytes.
    #[must_use]
    pub fn new(description: impl Into<Cow<'static, str>>) -> Self {
        Self { description: description.into(), ..Self::default() }
    }

    /// It is part of another batch, which counts it as one job.
    #[must_use]
    pub fn within(mut self, parent: JobId) -> Self {
        self.parent = Some(parent);
        self
    }

    /// Added once each job has run at least once, or has ended without.
    #[must_use]
    pub fn on_complete(mut self, job: NewJob) -> Self {
        self.callbacks[Callback::Complete as usize] = Some(job);
        self
    }

    /// Added once all have succeeded, and the job of [`NewBatch::on_complete`] has, too.
    #[must_use]
    pub fn on_success(mut self, job: NewJob) -> Self {
        self.callbacks[Callback::Success as usize] = Some(job);
        self
    }

    /// Added once all have ended, and not all have succeeded.
    #[must_use]
    pub fn on_failure(mut self, job: NewJob) -> Self {
        self.callbacks[Callback::Failure as usize] = Some(job);
        self
    }

    /// The batch that it is part of.
    pub(crate) fn parent_given(&self) -> Option<JobId> {
        self.parent
    }

    fn kinds(&self) -> impl Iterator<Item = &str> {
        self.callbacks.iter().flatten().map(NewJob::kind)
    }

    pub(crate) fn to_core(&self) -> core::NewBatch<'_> {
        core::NewBatch {
            description: Cow::Borrowed(&self.description),
            parent: self.parent,
            callbacks: self.callbacks.each_ref().map(|job| job.as_ref().map(NewJob::to_core)),
        }
    }
}

/// A batch as [`Engine::batch`] finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BatchInfo {
    /// Its id.
    pub id: JobId,
    /// The batch that it is part of.
    pub parent: Option<JobId>,
    /// For people.
    pub description: String,
    /// When it was made.
    pub created: SystemTime,
    /// Whether jobs can be added to it.
    pub is_open: bool,
    /// Whether it has ended; it is forgotten an hour later.
    pub is_over: bool,
    /// Jobs, and batches within it, that were ever added.
    pub total: u32,
    /// Of these, those that have not ended.
    pub pending: u32,
    /// Of these, those that have not run once.
    pub unrun: u32,
    /// Of these, those that ended and did not succeed.
    pub failed: u32,
    /// How far the callback is for when all have run.
    pub complete: Fired,
    /// How far the callback is for the end, of success or of failure.
    pub last: Fired,
}

impl From<BatchView> for BatchInfo {
    fn from(view: BatchView) -> Self {
        Self {
            id: view.id,
            parent: view.parent,
            description: view.description,
            created: system_time(view.created),
            is_open: view.is_open,
            is_over: view.is_over,
            total: view.counts.total,
            pending: view.counts.open,
            unrun: view.counts.unrun,
            failed: view.counts.failed,
            complete: view.counts.complete,
            last: view.counts.last,
        }
    }
}

impl Engine {
    /// Makes a batch, to which jobs are added by [`NewJob::batch`] until [`Engine::commit_batch`]. A batch that is not
    /// committed within half an hour is dropped: its jobs go on, its callbacks are never added.
    ///
    /// # Errors
    /// It was refused, a callback's kind has no handler, or the engine takes nothing more.
    pub fn new_batch(&self, batch: NewBatch) -> Result<JobId, SubmitError> {
        let unknown = batch.kinds().find(|kind| self.pool.handlers().find(kind).is_none());
        if let Some(kind) = unknown {
            return Err(SubmitError::UnknownKind(kind.to_owned()));
        }
        let shard = self.shard_of_batch(batch.parent_given());
        let batch = Box::new(batch);
        Ok(self.call(shard, |reply| Message::NewBatch { batch, reply })?)
    }

    /// The shard in which a batch is made: that of the batch that it is part of, or the one whose turn it is.
    #[must_use]
    pub fn shard_of_batch(&self, parent: Option<JobId>) -> usize {
        match parent.map(|parent| usize::from(parent.shard().0)) {
            Some(shard) if shard < self.slots.len() => shard,
            _ => self.open_in_turn(),
        }
    }

    /// Says that no more jobs are added: the callbacks come when their time has. A batch without jobs is complete
    /// at once.
    ///
    /// # Errors
    /// [`Refusal::NoSuchBatch`], or the engine takes nothing more.
    pub fn commit_batch(&self, batch: JobId) -> Result<(), CallError> {
        self.set_batch(batch, false)
    }

    /// Lets jobs be added to a batch again, for half an hour or until it is committed again; it counts as
    /// committed then. Its last callback waits meanwhile.
    ///
    /// # Errors
    /// [`Refusal::NoSuchBatch`], [`Refusal::BatchClosed`] if it is over, or the engine takes nothing more.
    pub fn open_batch(&self, batch: JobId) -> Result<(), CallError> {
        self.set_batch(batch, true)
    }

    fn set_batch(&self, batch: JobId, is_open: bool) -> Result<(), CallError> {
        let shard = usize::from(batch.shard().0);
        if shard >= self.slots.len() {
            return Err(Refusal::NoSuchBatch(batch).into());
        }
        self.call(shard, |reply| Message::SetBatch { batch, is_open, reply })
    }

    /// Looks at a batch. `None` when there is none: it has been over for an hour, was not committed in time, or
    /// never was.
    ///
    /// # Errors
    /// The engine takes nothing more.
    pub fn batch(&self, batch: JobId) -> Result<Option<BatchInfo>, CallError> {
        let shard = usize::from(batch.shard().0);
        if shard >= self.slots.len() {
            return Ok(None);
        }
        Ok(self.ask(shard, |reply| Message::Batch { batch, reply })?.map(BatchInfo::from))
    }
}
