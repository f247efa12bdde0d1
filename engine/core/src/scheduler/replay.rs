//! Recovery: events of the journal are applied in order. The journal may begin anywhere at which
//! it was once cut, so an event may name what was added before its beginning.
//!
//! Why that is sound. The journal is cut from its head only, and a piece is cut off only once
//! [`Scheduler::clean`] was asked about each of its records and an [`Event::Base`] was written
//! behind what `clean` wrote. A job or schedule has a body: the record from which, with the events
//! after it, its present state follows. When a body is in the piece to be cut, `clean` writes the
//! whole present state at the journal's end, and this is the body from then on. So at the `Base`:
//!
//! - Of what is held, the body and all events behind it are in what remains. An event that is
//!   newer than a body (`Started`, `Failed`, `Released`, `ScheduleFired`, a replaced rule) lies
//!   behind it, and is cut off only after that body was, which moved the body behind the event,
//!   with the event's effect in it. This holds again at each further cut.
//! - What was not held any more is written nowhere again. It may be named in what remains, by
//!   events between its cut-off body and its end. These are skipped: it cannot come back.
//! - What is held may be named before its present body. These events are skipped, or, where an
//!   earlier body remains too, applied: either way the present body gives the same state.
//!
//! A `Base` stands for its own cut only. A later cut may have taken bodies that an earlier `Base`
//! relied on, so its numbers and its pardon hold until the next. What is unknown after the last
//! `Base` is a fault, and so is another number of jobs at the last `Base` than its totals give:
//! [`Scheduler::replayed`] reports both.

use alloc::{boxed::Box, collections::BTreeMap, vec::Vec};

use super::{ReplayError, Scheduler};
use crate::{
    event::Event,
    id::{JobId, Lsn, Slot},
    job::{record::body_units, table::Body},
    time::WallTime,
};

/// How many jobs there are at a base.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Census {
    /// By its totals.
    pub(super) expected: u64,
    /// By what was replayed.
    pub(super) held: u64,
}

/// What a recovery remembers from one event to a later one.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// The first event that named something unknown since the last base.
    unknown: Option<(Lsn, ReplayError)>,
    /// Jobs at the last base.
    census: Census,
    /// Nothing may be unknown: the state that the replay began with was whole.
    strict: bool,
    /// Jobs whose schedule was not known yet, by its name. They stay over a base: it may be that
    /// of an earlier cut, with the schedule written again only behind it.
    awaiting: BTreeMap<Box<str>, Vec<JobId>>,
    /// Dead jobs of a snapshot.
    dead: u32,
    /// Jobs of a snapshot that are overdue, with their due times.
    overdue: Vec<(WallTime, Slot)>,
}

impl Scheduler {
    /// Applies one event of the journal, before the first step. The events are given in order,
    /// from the beginning of the journal or from where a [`Restore`](crate::Restore) goes on.
    ///
    /// An event that names a job or schedule whose adding was cut off with the journal's beginning
    /// is skipped and remembered, until an event says that the cut was in order. So call
    /// [`Scheduler::replayed`] after the last one. After a [`Restore`](crate::Restore) nothing can
    /// be unknown, and such an event is an error at once.
    ///
    /// # Errors
    /// If the bytes are no event, or one that does not follow from those before it.
    pub fn replay(&mut self, lsn: Lsn, bytes: &[u8]) -> Result<(), ReplayError> {
        let (event, payload) = Event::decode(bytes)?;
        let body = body(lsn, bytes.len() - payload.len(), bytes.len())?;
        match self.apply(&event, payload, body) {
            Err(
                error @ (ReplayError::UnknownJob(_)
                | ReplayError::UnknownSchedule
                | ReplayError::UnknownBatch(_)),
            ) if !self.memory.strict => {
                self.memory.unknown.get_or_insert((lsn, error));
                Ok(())
            }
            applied => applied,
        }
    }

    /// Ends the replay: call it once, after the last [`Scheduler::replay`] and before
    /// [`Scheduler::recovered`].
    ///
    /// # Errors
    /// [`ReplayError::Unaccounted`] if an event named a job or schedule that is not there, and no
    /// later event says that its adding was cut off in order; [`ReplayError::JobsMissing`] if jobs
    /// were cut off that were still held. Do not go on with this scheduler then.
    pub fn replayed(&mut self) -> Result<(), ReplayError> {
        self.memory.awaiting.clear();
        if let Some((lsn, error)) = self.memory.unknown.take() {
            return Err(ReplayError::Unaccounted { lsn, error: Box::new(error) });
        }
        let Census { expected, held } = self.memory.census;
        if expected != held {
            return Err(ReplayError::JobsMissing { expected, held });
        }
        Ok(())
    }
}

impl Memory {
    /// From now on an unknown name is an error at once.
    pub(super) fn be_strict(&mut self) {
        self.strict = true;
    }

    /// A snapshot holds one more dead job.
    pub(super) fn dead_found(&mut self) {
        self.dead += 1;
    }

    /// Dead jobs that a snapshot holds.
    pub(super) fn dead(&self) -> u32 {
        self.dead
    }

    /// The job in `slot` was due at `due`, before the restore.
    pub(super) fn overdue(&mut self, due: WallTime, slot: Slot) {
        self.overdue.push((due, slot));
    }

    /// The overdue jobs in the order of their due times.
    pub(super) fn take_overdue(&mut self) -> impl Iterator<Item = Slot> + use<> {
        let mut overdue = core::mem::take(&mut self.overdue);
        overdue.sort_unstable();
        overdue.into_iter().map(|(_, slot)| slot)
    }

    /// Whether nothing is remembered that [`Scheduler::replayed`] would report.
    pub(super) fn is_settled(&self) -> bool {
        self.unknown.is_none()
    }

    /// The journal's beginning may have been cut off before here.
    pub(super) fn based(&mut self, census: Census) {
        self.unknown = None;
        self.census = census;
    }

    /// `job` belongs to the schedule `name`, which is not known yet.
    pub(super) fn await_schedule(&mut self, name: &str, job: JobId) {
        self.awaiting.entry(name.into()).or_default().push(job);
    }

    /// The schedule is known now: the jobs that waited for it.
    pub(super) fn take_awaiting(&mut self, name: &str) -> Vec<JobId> {
        self.awaiting.remove(name).unwrap_or_default()
    }

    /// The schedule was removed: what it added belongs to none.
    pub(super) fn forget_schedule(&mut self, name: &str) {
        self.awaiting.remove(name);
    }
}

/// Where an event of `len_bytes` lies whose payload begins at `head_bytes`.
pub(super) fn body(lsn: Lsn, head_bytes: usize, len_bytes: usize) -> Result<Body, ReplayError> {
    let payload_offset = u16::try_from(head_bytes).map_err(|_| ReplayError::HeadLength)?;
    Ok(Body { lsn, payload_offset, units: body_units(len_bytes) })
}
