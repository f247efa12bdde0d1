//! All batches of a shard, which of them have changed, and when the next is to be looked at for time's sake.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    string::String,
    sync::Arc,
};

use super::{BatchCounts, BatchView, Callback};
use crate::{
    id::{JobId, Lsn},
    job::NewJob,
    time::WallTime,
};

/// A batch as it is held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BatchState {
    pub(crate) parent: Option<JobId>,
    pub(crate) description: Arc<str>,
    pub(crate) created: WallTime,
    /// Until when it is open; `None` once it is committed.
    pub(crate) until: Option<WallTime>,
    /// It was committed once.
    pub(crate) was_committed: bool,
    /// When it is forgotten, once it is over.
    pub(crate) forget: Option<WallTime>,
    pub(crate) counts: BatchCounts,
    pub(crate) callbacks: Arc<[Option<NewJob<'static>>; 3]>,
    /// The event that holds it whole.
    pub(crate) body: Lsn,
    /// Length of that record; see [`crate::job::record::body_units`].
    pub(crate) units: u16,
}

impl BatchState {
    pub(crate) fn callback(&self, which: Callback) -> Option<&NewJob<'static>> {
        self.callbacks[which as usize].as_ref()
    }

    /// When time changes something about it.
    fn deadline(&self) -> Option<WallTime> {
        self.forget.or(self.until)
    }
}

/// All batches of a shard.
#[derive(Debug, Default)]
pub(crate) struct Batches {
    by_id: BTreeMap<JobId, BatchState>,
    /// What is to be decided about these has not been yet.
    touched: BTreeSet<JobId>,
    /// Their numbers have changed by events about jobs since they were last written.
    dirty: BTreeSet<JobId>,
    timers: BTreeSet<(WallTime, JobId)>,
    units: u64,
}

impl Batches {
    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(crate) fn get(&self, id: JobId) -> Option<&BatchState> {
        self.by_id.get(&id)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (JobId, &BatchState)> {
        self.by_id.iter().map(|(id, state)| (*id, state))
    }

    /// Units of the records that hold batches.
    pub(crate) fn body_units(&self) -> u64 {
        self.units
    }

    /// Takes a batch in as it is now, in the place of what was known of it.
    pub(crate) fn put(&mut self, id: JobId, state: BatchState) {
        self.remove(id);
        self.units += u64::from(state.units);
        self.timers.extend(state.deadline().map(|at| (at, id)));
        self.touched.insert(id);
        self.by_id.insert(id, state);
    }

    /// Takes a batch out.
    pub(crate) fn remove(&mut self, id: JobId) -> Option<BatchState> {
        let state = self.by_id.remove(&id)?;
        self.units -= u64::from(state.units);
        if let Some(at) = state.deadline() {
            self.timers.remove(&(at, id));
        }
        self.touched.remove(&id);
        self.dirty.remove(&id);
        Some(state)
    }

    /// Changes a batch by an event of its own; `false` if it is not there.
    pub(crate) fn change(&mut self, id: JobId, change: impl FnOnce(&mut BatchState)) -> bool {
        let Some(state) = self.by_id.get_mut(&id) else { return false };
        let before = state.deadline();
        change(state);
        let after = state.deadline();
        if before != after {
            self.timers.extend(after.map(|at| (at, id)));
            if let Some(at) = before {
                self.timers.remove(&(at, id));
            }
        }
        self.touched.insert(id);
        true
    }

    /// Changes its numbers by an event about something else.
    pub(crate) fn count(&mut self, id: JobId, change: impl FnOnce(&mut BatchCounts)) {
        if self.change(id, |state| change(&mut state.counts)) {
            self.dirty.insert(id);
        }
    }

    /// Its numbers are written as they are now.
    pub(crate) fn counted(&mut self, id: JobId) {
        self.dirty.remove(&id);
    }

    /// The next batch whose numbers are not written as they are.
    pub(crate) fn next_dirty(&self) -> Option<JobId> {
        self.dirty.first().copied()
    }

    /// Whether nothing is to be decided.
    pub(crate) fn is_settled(&self) -> bool {
        self.touched.is_empty()
    }

    /// Lets those be looked at whose time has come.
    pub(crate) fn touch_due(&mut self, now: WallTime) {
        let due = self.timers.iter().take_while(|(at, _)| *at <= now).map(|(_, id)| *id);
        self.touched.extend(due);
    }

    /// The next batch to be decided about.
    pub(crate) fn next_touched(&self) -> Option<JobId> {
        self.touched.first().copied()
    }

    /// All has been decided about it for now.
    pub(crate) fn settle(&mut self, id: JobId) {
        self.touched.remove(&id);
    }

    /// When time changes something about the next one.
    pub(crate) fn next_time(&self) -> Option<WallTime> {
        self.timers.first().map(|(at, _)| *at)
    }

    pub(crate) fn view(&self, id: JobId) -> Option<BatchView> {
        let state = self.by_id.get(&id)?;
        Some(BatchView {
            id,
            parent: state.parent,
            description: String::from(&*state.description),
            created: state.created,
            is_open: state.until.is_some(),
            is_over: state.forget.is_some(),
            counts: state.counts,
        })
    }
}
