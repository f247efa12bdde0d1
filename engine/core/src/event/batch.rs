//! A batch as it is written. Owns its bytes; what a batch means is `batch`'s.

use alloc::{borrow::Cow, string::String, sync::Arc, vec, vec::Vec};

use bincode::{BorrowDecode, Encode, config};

use super::{DecodeEventError, Terms};
use crate::{
    batch::{BatchCounts, BatchEnd, BatchState, Fired},
    id::{JobId, Lsn},
    job::{Due, NewJob},
    limits,
    time::WallTime,
};

/// A batch, whole and as it is at one moment; its callbacks follow the event's head.
#[derive(Clone, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub struct BatchWritten<'a> {
    /// Its id.
    pub batch: u64,
    /// The batch that it is part of.
    pub parent: Option<u64>,
    /// For people.
    pub description: &'a str,
    /// When it was made.
    pub created: u64,
    /// Until when it is open; `None` once it is committed.
    pub until: Option<u64>,
    /// It was committed once.
    pub was_committed: bool,
    /// When it is forgotten, once it is over.
    pub forget: Option<u64>,
    /// Its numbers.
    pub counts: BatchCounted,
}

/// The numbers of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, BorrowDecode)]
pub struct BatchCounted {
    /// Jobs and batches ever added.
    pub total: u32,
    /// Not run once.
    pub unrun: u32,
    /// Not ended.
    pub open: u32,
    /// Ended and not succeeded.
    pub failed: u32,
    /// How far the callback is for when all have run.
    pub complete: FiredWritten,
    /// How far the callback is for the end.
    pub last: FiredWritten,
}

/// [`Fired`] as it is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, BorrowDecode)]
pub enum FiredWritten {
    /// Not added.
    #[default]
    No,
    /// Added.
    Added,
    /// Succeeded.
    Succeeded,
    /// Ended otherwise.
    Failed,
}

/// [`BatchEnd`] as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, BorrowDecode)]
pub enum BatchEndWritten {
    /// All succeeded.
    Succeeded,
    /// Some did not.
    Failed,
    /// It was not committed in time.
    Expired,
    /// It was over for long enough.
    Forgotten,
}

/// A callback of a batch.
#[derive(Debug, Encode, BorrowDecode)]
struct CallbackWritten<'a> {
    kind: &'a str,
    terms: Terms<'a>,
    payload: &'a [u8],
}

macro_rules! same_variants {
    ($ours:ident, $written:ident: $($variant:ident)*) => {
        impl From<$ours> for $written {
            fn from(value: $ours) -> Self {
                match value { $($ours::$variant => Self::$variant,)* }
            }
        }
        impl From<$written> for $ours {
            fn from(value: $written) -> Self {
                match value { $($written::$variant => Self::$variant,)* }
            }
        }
    };
}

same_variants!(Fired, FiredWritten: No Added Succeeded Failed);
same_variants!(BatchEnd, BatchEndWritten: Succeeded Failed Expired Forgotten);

impl From<BatchCounts> for BatchCounted {
    fn from(counts: BatchCounts) -> Self {
        let BatchCounts { total, unrun, open, failed, complete, last } = counts;
        Self { total, unrun, open, failed, complete: complete.into(), last: last.into() }
    }
}

impl From<BatchCounted> for BatchCounts {
    fn from(counts: BatchCounted) -> Self {
        let BatchCounted { total, unrun, open, failed, complete, last } = counts;
        Self { total, unrun, open, failed, complete: complete.into(), last: last.into() }
    }
}

impl<'a> BatchWritten<'a> {
    pub(crate) fn of(id: JobId, state: &'a BatchState) -> Self {
        Self {
            batch: id.0,
            parent: state.parent.map(|parent| parent.0),
            description: &state.description,
            created: state.created.0,
            until: state.until.map(|at| at.0),
            was_committed: state.was_committed,
            forget: state.forget.map(|at| at.0),
            counts: state.counts.into(),
        }
    }

    /// The batch that this and its callbacks describe.
    pub(crate) fn state(
        &self,
        callbacks: &[u8],
        body: Lsn,
        units: u16,
    ) -> Result<BatchState, DecodeEventError> {
        Ok(BatchState {
            parent: self.parent.map(JobId),
            description: self.description.into(),
            created: WallTime(self.created),
            until: self.until.map(WallTime),
            was_committed: self.was_committed,
            forget: self.forget.map(WallTime),
            counts: self.counts.into(),
            callbacks: Arc::new(read_callbacks(callbacks)?),
            body,
            units,
        })
    }
}

/// The callbacks of a batch as they follow the head of its event.
pub(crate) fn callback_bytes(callbacks: &[Option<NewJob<'_>>; 3]) -> Vec<u8> {
    let written = |job: &Option<NewJob<'_>>| -> usize {
        job.as_ref().map_or(1, |job| limits::EVENT_HEAD_BYTES_MAX + job.payload.len())
    };
    let mut bytes = vec![0; callbacks.iter().map(written).sum()];
    let written = callbacks.each_ref().map(|job| {
        job.as_ref().map(|job| CallbackWritten {
            kind: &job.kind,
            terms: Terms::of(job),
            payload: &job.payload,
        })
    });
    let [complete, success, failure] = written;
    let len =
        bincode::encode_into_slice((complete, success, failure), &mut bytes, config::standard())
            .expect("each field of a callback is bounded, and the bounds fit");
    bytes.truncate(len);
    bytes
}

fn read_callbacks(bytes: &[u8]) -> Result<[Option<NewJob<'static>>; 3], DecodeEventError> {
    const MALFORMED: DecodeEventError = DecodeEventError("the callbacks of a batch cannot be read");
    type Three<'a> =
        (Option<CallbackWritten<'a>>, Option<CallbackWritten<'a>>, Option<CallbackWritten<'a>>);
    let bounded = config::standard().with_limit::<{ limits::EVENT_BYTES_MAX }>();
    let ((complete, success, failure), len): (Three<'_>, usize) =
        bincode::borrow_decode_from_slice(bytes, bounded).map_err(|_| MALFORMED)?;
    if len != bytes.len() {
        return Err(MALFORMED);
    }
    let job = |written: CallbackWritten<'_>| -> Result<NewJob<'static>, DecodeEventError> {
        let mut job = NewJob::new(String::from(written.kind));
        let terms = written.terms;
        job.payload = Cow::Owned(written.payload.to_vec());
        job.due = Due::After(0);
        job.priority = terms.priority;
        job.attempts_max = terms.attempts_max;
        job.backoff = terms.backoff();
        job.timeout_ms = terms.timeout_ms;
        job.queue = Cow::Owned(terms.queue.into());
        job.key = terms.key;
        job.options = terms.options.options();
        job.keeps_dead = terms.keeps_dead;
        job.check().map_err(|_| DecodeEventError("a callback of a batch breaks a limit"))?;
        Ok(job)
    };
    let [complete, success, failure] =
        [complete, success, failure].map(|one| one.map(job).transpose());
    Ok([complete?, success?, failure?])
}
