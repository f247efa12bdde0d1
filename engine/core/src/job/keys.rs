//! Keys of jobs: a caller's own name for a job, as 128 bits, unique among the jobs that are held.
//!
//! A job without a key costs nothing here. It knows keys and slots, never records.

use hashbrown::HashTable;

use super::by_slot::BySlot;
use crate::{
    id::{Key, Slot},
    pages::{FrozenPages, SharedPages},
};

/// End of the chain of free entries.
const NO_FREE: u32 = u32::MAX;

/// All keys of a shard.
#[derive(Debug)]
pub(crate) struct Keys {
    entries: SharedPages<KeyEntry>,
    by_key: HashTable<u32>,
    by_slot: BySlot,
    /// First free entry below `used`; the chain goes on in the entries' slots.
    free: u32,
    used: u32,
}

/// A key and the job that has it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct KeyEntry {
    pub(crate) key: Key,
    pub(crate) slot: Slot,
    pub(crate) is_held: bool,
}

impl Keys {
    pub(crate) fn new() -> Self {
        Self {
            entries: SharedPages::new(),
            by_key: HashTable::new(),
            by_slot: BySlot::new(),
            free: NO_FREE,
            used: 0,
        }
    }

    /// The job that has `key`.
    pub(crate) fn find(&self, key: Key) -> Option<Slot> {
        let entries = &self.entries;
        let found = self.by_key.find(key.hash(), |entry| entries[*entry].key == key)?;
        Some(entries[*found].slot)
    }

    /// The key of the job in `slot`.
    pub(crate) fn of(&self, slot: Slot) -> Option<Key> {
        Some(self.entries[self.by_slot.get(slot)?].key)
    }

    /// Gives `key`, which no job has, to the job in `slot`, which has none.
    pub(crate) fn insert(&mut self, key: Key, slot: Slot) {
        let entry = match self.free {
            NO_FREE => {
                let entry = self.used;
                self.entries.grow_to(entry);
                self.used += 1;
                entry
            }
            entry => {
                self.free = self.entries[entry].slot.0;
                entry
            }
        };
        self.entries[entry] = KeyEntry { key, slot, is_held: true };
        let entries = &self.entries;
        self.by_key.insert_unique(key.hash(), entry, |other| entries[*other].key.hash());
        self.by_slot.insert(slot, entry);
    }

    /// Takes the key of the job in `slot`, if it has one.
    pub(crate) fn remove(&mut self, slot: Slot) {
        let Some(entry) = self.by_slot.remove(slot) else { return };
        let hash = self.entries[entry].key.hash();
        let by_key = self.by_key.find_entry(hash, |other| *other == entry);
        if let Ok(found) = by_key {
            found.remove();
        }
        self.entries[entry] = KeyEntry { slot: Slot(self.free), ..KeyEntry::default() };
        self.free = entry;
    }

    /// Keys held.
    pub(crate) fn len(&self) -> u32 {
        self.by_key.len() as u32
    }

    /// A copy of all entries as they are now, which shares their pages until these change.
    pub(crate) fn freeze(&mut self) -> FrozenPages<KeyEntry> {
        self.entries.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn keys_and_slots_name_each_other(steps in prop::collection::vec((any::<bool>(), 0..50_u8), 1..400)) {
            let mut keys = Keys::new();
            let mut model = BTreeMap::new();
            for (number, (adds, slot)) in steps.into_iter().enumerate() {
                let slot = Slot(u32::from(slot));
                let key = Key((number as u128).to_le_bytes());
                if adds && !model.contains_key(&slot) {
                    keys.insert(key, slot);
                    model.insert(slot, key);
                } else {
                    keys.remove(slot);
                    if let Some(gone) = model.remove(&slot) {
                        prop_assert_eq!(keys.find(gone), None);
                    }
                }
            }
            prop_assert_eq!(keys.len() as usize, model.len());
            for (slot, key) in &model {
                prop_assert_eq!((keys.find(*key), keys.of(*slot)), (Some(*slot), Some(*key)));
            }
            let held = keys.freeze().pages().flatten().filter(|entry| entry.is_held).count();
            prop_assert_eq!(held, model.len());
        }
    }
}
