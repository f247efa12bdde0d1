//! The schedules of a shard, by number and by name.

use alloc::{collections::BTreeSet, sync::Arc, vec::Vec};

use hashbrown::HashTable;

use super::{Overlap, Pause, Schedule};
use crate::{
    id::{JobId, Slot, hash_text},
    limits,
    scheduler::ScheduleView,
    time::WallTime,
};

/// A schedule and what it has come to.
#[derive(Debug)]
pub(crate) struct ScheduleState {
    /// Shared with whoever reads it while the state changes: an event, a frozen copy.
    pub(crate) rule: Arc<Schedule<'static>>,
    /// The next fire time; `None` when it has no more.
    pub(crate) next: Option<WallTime>,
    /// Fire times up to here run however late they are.
    pub(crate) catch_up_until: WallTime,
    /// Set while it must not fire. Its timer is in no wheel then.
    pub(crate) paused: Option<Pause>,
    /// Jobs that it added and that have not ended. It follows from the jobs and is not written.
    pub(crate) pending: BTreeSet<JobId>,
    /// Its time has come, and it waits for the last of those jobs to end. Its timer is in no wheel then.
    pub(crate) waits: bool,
    /// The end of a job has moved `catch_up_until`, and no event about the schedule tells so yet.
    pub(crate) has_unwritten_end: bool,
    /// Jobs added so far.
    pub(crate) fired: u64,
    /// The slot whose timer stands for the schedule; its record says which event holds the
    /// schedule.
    pub(crate) timer: Slot,
}

impl ScheduleState {
    /// Whether a job more must not be added now, because one has not ended.
    pub(crate) fn overlaps(&self) -> bool {
        let is_alone = matches!(self.rule.overlap, Overlap::Skip | Overlap::Queue { .. });
        is_alone && !self.pending.is_empty()
    }

    /// What a caller sees of it.
    pub(crate) fn view(&self) -> ScheduleView {
        ScheduleView {
            rule: Schedule::clone(&self.rule),
            next: self.next,
            paused: self.paused.clone(),
            pending: self.pending.len() as u32,
            fired: self.fired,
        }
    }
}

/// All schedules of a shard.
#[derive(Debug, Default)]
pub(crate) struct ScheduleTable {
    entries: Vec<Option<ScheduleState>>,
    free: Vec<u16>,
    names: HashTable<u16>,
}

impl ScheduleTable {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }

    pub(crate) fn find(&self, name: &str) -> Option<u16> {
        let matches = |number: &u16| {
            self.entries[*number as usize].as_ref().is_some_and(|state| state.rule.name == name)
        };
        self.names.find(hash_text(name), matches).copied()
    }

    pub(crate) fn get(&self, number: u16) -> Option<&ScheduleState> {
        self.entries.get(number as usize)?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, number: u16) -> Option<&mut ScheduleState> {
        self.entries.get_mut(number as usize)?.as_mut()
    }

    /// Whether no more can be added.
    pub(crate) fn is_full(&self) -> bool {
        self.len() >= limits::SCHEDULES_MAX
    }

    /// The number that the next [`ScheduleTable::insert`] gives, if it is not full.
    pub(crate) fn next_number(&self) -> u16 {
        self.free.last().copied().unwrap_or(self.entries.len() as u16)
    }

    /// Adds a schedule whose name is not held yet. There must be room.
    pub(crate) fn insert(&mut self, state: ScheduleState) {
        let hash = hash_text(&state.rule.name);
        let number = self.next_number();
        if self.free.pop().is_some() {
            self.entries[number as usize] = Some(state);
        } else {
            self.entries.push(Some(state));
        }
        let entries = &self.entries;
        self.names.insert_unique(hash, number, |number| {
            entries[*number as usize].as_ref().map_or(0, |state| hash_text(&state.rule.name))
        });
    }

    pub(crate) fn remove(&mut self, number: u16) -> Option<ScheduleState> {
        let state = self.entries.get_mut(number as usize)?.take()?;
        if let Ok(entry) = self.names.find_entry(hash_text(&state.rule.name), |n| *n == number) {
            entry.remove();
        }
        self.free.push(number);
        Some(state)
    }

    /// All schedules, in the order of their numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &ScheduleState> {
        self.entries.iter().flatten()
    }

    /// The same, with their numbers.
    pub(crate) fn numbered(&self) -> impl Iterator<Item = (u16, &ScheduleState)> {
        (0..=u16::MAX)
            .zip(&self.entries)
            .filter_map(|(number, state)| Some((number, state.as_ref()?)))
    }
}
