//! Batches: jobs that are counted together, and the jobs that are added when all of them have run, succeeded or
//! not succeeded.
//!
//! This folder owns what a batch is and its table. When a callback is due is decided by
//! `scheduler/relations.rs`. It knows ids, never records.

mod table;

use alloc::{borrow::Cow, string::String};

pub(crate) use table::{BatchState, Batches};

use crate::{
    id::JobId,
    job::{NewJob, Refusal},
    limits,
    time::WallTime,
};

/// What a job is to a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The batch.
    pub batch: JobId,
    /// Its part in it.
    pub role: Role,
}

/// The part of a job in a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// One of those that are counted.
    Member,
    /// It was added by the batch.
    Callback(Callback),
}

/// Which of its callbacks a batch has added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Callback {
    /// All jobs have run at least once, or ended without.
    Complete,
    /// All have succeeded.
    Success,
    /// All have ended, and not all have succeeded.
    Failure,
}

impl Callback {
    /// All of them, in the order in which a batch holds them.
    pub const ALL: [Self; 3] = [Self::Complete, Self::Success, Self::Failure];
}

/// What a caller asks for: a batch without jobs as yet. Jobs name it by the id that it is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewBatch<'a> {
    /// For people: at most 255 bytes.
    pub description: Cow<'a, str>,
    /// The batch of the same shard that it is part of.
    pub parent: Option<JobId>,
    /// The jobs that are added at the end, by [`Callback`]; their due time is that moment. One with a key that
    /// another job has by then goes without.
    pub callbacks: [Option<NewJob<'a>>; 3],
}

impl Default for NewBatch<'_> {
    fn default() -> Self {
        Self { description: Cow::Borrowed(""), parent: None, callbacks: [None, None, None] }
    }
}

impl<'a> NewBatch<'a> {
    /// The same, owning its parts.
    #[must_use]
    pub fn into_owned(self) -> NewBatch<'static> {
        NewBatch {
            description: Cow::Owned(String::from(self.description)),
            parent: self.parent,
            callbacks: self.callbacks.map(|job| job.map(NewJob::into_owned)),
        }
    }

    /// Checks each field against its range.
    ///
    /// # Errors
    /// The first field that is out of its range.
    pub fn check(&self) -> Result<(), Refusal> {
        if self.description.len() > limits::NAME_BYTES_MAX {
            return Err(Refusal::Relation(
                "the description of a batch has over 255 bytes: shorten it",
            ));
        }
        for job in self.callbacks.iter().flatten() {
            job.check()?;
            if job.payload.len() > limits::CALLBACK_PAYLOAD_BYTES_MAX {
                return Err(Refusal::PayloadTooLarge {
                    len_bytes: job.payload.len(),
                    max_bytes: limits::CALLBACK_PAYLOAD_BYTES_MAX,
                });
            }
            if job.options.as_ref().is_some_and(|options| options.group.is_some()) {
                return Err(Refusal::Group(
                    "a callback of a batch has none, as it is added where the batch is: leave it out",
                ));
            }
            if job.options.as_ref().is_some_and(|options| options.relates()) {
                return Err(Refusal::Relation(
                    "a callback has no key of uniqueness, no needs and no batch of its own: leave \
                     them out",
                ));
            }
        }
        Ok(())
    }
}

/// How far a callback is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fired {
    /// It was not added.
    #[default]
    No,
    /// It was added and has not ended.
    Added,
    /// It succeeded.
    Succeeded,
    /// It ended otherwise.
    Failed,
}

/// The numbers of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BatchCounts {
    /// Jobs, and batches within it, that were ever added.
    pub total: u32,
    /// Of these, those that have not run once nor ended.
    pub unrun: u32,
    /// Of these, those that have not ended.
    pub open: u32,
    /// Of these, those that ended and did not succeed.
    pub failed: u32,
    /// The callback for when all have run.
    pub complete: Fired,
    /// The callback for the end, whichever it is.
    pub last: Fired,
}

/// How a batch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchEnd {
    /// All jobs and callbacks succeeded.
    Succeeded,
    /// Some did not.
    Failed,
    /// It was not committed in time: its jobs go on, its callbacks are never added.
    Expired,
    /// It was over for long enough.
    Forgotten,
}

/// A batch as a caller sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchView {
    /// Its id.
    pub id: JobId,
    /// The batch that it is part of.
    pub parent: Option<JobId>,
    /// For people.
    pub description: String,
    /// When it was made.
    pub created: WallTime,
    /// Whether jobs can be added to it.
    pub is_open: bool,
    /// Whether it has ended.
    pub is_over: bool,
    /// Its numbers.
    pub counts: BatchCounts,
}
