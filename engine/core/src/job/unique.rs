//! Keys of uniqueness: of all jobs with one such key, only one is let in at a time. A key may outlive its job.
//!
//! It knows keys and ids of jobs, never records. A key that is held until an instant frees itself then:
//! a wheel over the entries, on the wall clock, takes it out.

use hashbrown::HashTable;

use crate::{
    id::{JobId, Key, Lsn},
    pages::{FrozenPages, SharedPages},
    time::WallTime,
    wheel::{Links, Wheel, tick_at_or_after},
};

/// What makes a job unique.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unique {
    /// The key of uniqueness; it has nothing to do with [`crate::NewJob::key`].
    pub key: Key,
    /// Until when the job holds it.
    pub until: Until,
    /// The job holds it no longer than this, in nanoseconds since it was added. Needed for
    /// [`Until::Time`], which lasts so long whatever becomes of the job.
    pub span_ns: Option<u64>,
    /// What becomes of a job whose key is held. It is not written: it has been decided then.
    pub conflict: Conflict,
}

/// Until when a job holds its key of uniqueness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Its first attempt begins, or it ends without one.
    Start,
    /// It ends, however.
    End,
    /// Its span is over, also if it has ended before.
    Time,
}

/// What becomes of a job whose key of uniqueness is held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Conflict {
    /// It is refused, with the id of the job that holds the key.
    #[default]
    Reject,
    /// It takes the place of the job that holds the key, which is cancelled; if that is under way, it is
    /// refused.
    Replace,
    /// Whoever submits it is told the id of the job that holds the key, which may have ended.
    Existing,
}

/// End of the chain of free entries.
const NO_FREE: u32 = u32::MAX;

/// A key that is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) key: Key,
    /// The job that holds it, or held it until it ended.
    pub(crate) job: JobId,
    /// When it is free at the latest.
    pub(crate) until: Option<WallTime>,
    /// Whether it stays when the job ends.
    pub(crate) outlives: bool,
    /// The event that holds it, once the job has ended.
    pub(crate) body: Lsn,
    /// Length of that record; 0 while the job has not ended. See [`super::record::body_units`].
    pub(crate) units: u16,
}

/// An entry of the table.
#[derive(Clone, Copy, Debug)]
pub(crate) enum UniqueEntry {
    Held(Held),
    /// The next free entry.
    Free(u32),
}

impl Default for UniqueEntry {
    fn default() -> Self {
        Self::Free(NO_FREE)
    }
}

/// All keys of uniqueness of a shard that are held.
#[derive(Debug)]
pub(crate) struct UniqueKeys {
    entries: SharedPages<UniqueEntry>,
    by_key: HashTable<u32>,
    free: u32,
    used: u32,
    /// Sum of all entries' units.
    units: u64,
    /// Entries that may outlive their jobs.
    lasting: u32,
    timers: Wheel,
    links: Links,
}

impl UniqueKeys {
    /// No keys, at the tick `wall_tick` of the wall clock.
    pub(crate) fn new(wall_tick: u64) -> Self {
        Self {
            entries: SharedPages::new(),
            by_key: HashTable::new(),
            free: NO_FREE,
            used: 0,
            units: 0,
            lasting: 0,
            timers: Wheel::new(wall_tick),
            links: Links::new(),
        }
    }

    /// Keys that are held.
    pub(crate) fn len(&self) -> u32 {
        self.by_key.len() as u32
    }

    /// Keys that may outlive their jobs.
    pub(crate) fn lasting(&self) -> u32 {
        self.lasting
    }

    /// Units of the records that hold keys whose jobs have ended.
    pub(crate) fn body_units(&self) -> u64 {
        self.units
    }

    fn entry(&self, key: Key) -> Option<u32> {
        let entries = &self.entries;
        let is_it =
            |entry: &u32| matches!(&entries[*entry], UniqueEntry::Held(held) if held.key == key);
        self.by_key.find(key.hash(), is_it).copied()
    }

    /// Who holds `key`.
    pub(crate) fn find(&self, key: Key) -> Option<Held> {
        match self.entries[self.entry(key)?] {
            UniqueEntry::Held(held) => Some(held),
            UniqueEntry::Free(_) => None,
        }
    }

    /// Whether `job` holds `key`.
    pub(crate) fn is_held_by(&self, key: Key, job: JobId) -> bool {
        self.find(key).is_some_and(|held| held.job == job)
    }

    /// Lets a key be held, whoever held it before.
    pub(crate) fn hold(&mut self, held: Held) {
        self.free(held.key);
        let entry = match self.free {
            NO_FREE => {
                let entry = self.used;
                self.entries.grow_to(entry);
                self.links.grow_to(entry);
                self.used += 1;
                entry
            }
            entry => {
                if let UniqueEntry::Free(next) = self.entries[entry] {
                    self.free = next;
                }
                entry
            }
        };
        self.units += u64::from(held.units);
        self.lasting += u32::from(held.outlives);
        self.entries[entry] = UniqueEntry::Held(held);
        let entries = &self.entries;
        let hash = |other: &u32| match &entries[*other] {
            UniqueEntry::Held(held) => held.key.hash(),
            UniqueEntry::Free(_) => 0,
        };
        self.by_key.insert_unique(held.key.hash(), entry, hash);
        if let Some(until) = held.until {
            self.timers.insert(&mut self.links, entry, tick_at_or_after(until.0));
        }
    }

    /// Frees `key`, whoever holds it.
    pub(crate) fn free(&mut self, key: Key) {
        let entries = &self.entries;
        let is_it =
            |entry: &u32| matches!(&entries[*entry], UniqueEntry::Held(held) if held.key == key);
        let Ok(found) = self.by_key.find_entry(key.hash(), is_it) else { return };
        let (entry, _) = found.remove();
        if self.links.is_linked(entry) {
            self.timers.remove(&mut self.links, entry);
        }
        if let UniqueEntry::Held(held) = self.entries[entry] {
            self.units -= u64::from(held.units);
            self.lasting -= u32::from(held.outlives);
        }
        self.entries[entry] = UniqueEntry::Free(self.free);
        self.free = entry;
    }

    /// Frees the keys whose time is over at the tick `wall_tick`.
    pub(crate) fn free_due(&mut self, wall_tick: u64, work: &mut u32) {
        while let Some(entry) = self.timers.pop_due(&mut self.links, wall_tick, work) {
            if let UniqueEntry::Held(held) = self.entries[entry] {
                self.free(held.key);
            }
        }
    }

    /// The tick of the wall clock at which the next key is free.
    pub(crate) fn next_tick(&self) -> Option<u64> {
        self.timers.next_tick()
    }

    /// The wall clock was set.
    pub(crate) fn relay(&mut self, wall_tick: u64) {
        self.timers.relay(&mut self.links, wall_tick);
    }

    /// A copy of all entries as they are now, which shares their pages until these change.
    pub(crate) fn freeze(&mut self) -> FrozenPages<UniqueEntry> {
        self.entries.freeze()
    }

    /// All keys that are held, in no order that means something.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Held> + '_ {
        (0..self.used).filter_map(|entry| match self.entries[entry] {
            UniqueEntry::Held(held) => Some(held),
            UniqueEntry::Free(_) => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wheel::TICK_NS;
    use alloc::{collections::BTreeMap, vec::Vec};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn keys_follow_a_plain_map(
            steps in prop::collection::vec((0..5_u8, 0..30_u8, 0..200_u64), 1..300),
        ) {
            let mut keys = UniqueKeys::new(0);
            let mut model: BTreeMap<Key, Held> = BTreeMap::new();
            let mut tick = 0;
            for (number, (what, key, span)) in steps.into_iter().enumerate() {
                let key = Key([key; 16]);
                match what {
                    0 | 1 => {
                        let until = (what == 0).then_some(WallTime((tick + span) * TICK_NS));
                        let (job, units) = (JobId(number as u64), (span % 7) as u16);
                        let outlives = until.is_some() && span % 2 == 0;
                        let held = Held { key, job, until, outlives, body: Lsn(span), units };
                        keys.hold(held);
                        model.insert(key, held);
                    }
                    2 => {
                        keys.free(key);
                        model.remove(&key);
                    }
                    _ => {
                        tick += span / 10;
                        keys.free_due(tick, &mut 10_000);
                        model.retain(|_, held| held.until.is_none_or(|until| until.0 > tick * TICK_NS));
                    }
                }
                prop_assert_eq!(keys.len() as usize, model.len());
            }
            for (key, held) in &model {
                prop_assert_eq!(keys.find(*key), Some(*held));
            }
            let (units, lasting) = (keys.body_units(), keys.lasting() as usize);
            prop_assert_eq!(units, model.values().map(|held| u64::from(held.units)).sum::<u64>());
            prop_assert_eq!(lasting, model.values().filter(|held| held.outlives).count());
            let mut listed: Vec<Key> = keys.iter().map(|held| held.key).collect();
            listed.sort_unstable();
            prop_assert_eq!(listed, model.keys().copied().collect::<Vec<_>>());
        }
    }
}
