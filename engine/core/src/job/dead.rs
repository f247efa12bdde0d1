//! The dead set: what is kept of jobs that failed for good, beside their records in the table. It is
//! ordered by the time of death, so that the oldest can leave without a search.
//!
//! It knows slots and keys, never records. A dead job's record names its entry here.

use alloc::collections::BTreeSet;
use core::fmt;

use crate::{
    event::Failure,
    id::{Key, Slot},
    limits::DEAD_MESSAGE_BYTES_MAX,
    pages::{FrozenPages, SharedPages},
    time::WallTime,
};

/// End of the chain of free entries.
const NO_FREE: u32 = u32::MAX;

/// How a job failed for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Death<'a> {
    pub(crate) at: WallTime,
    pub(crate) failure: Failure,
    /// The first [`DEAD_MESSAGE_BYTES_MAX`] bytes of it are kept.
    pub(crate) message: &'a str,
}

/// All dead jobs of a shard.
#[derive(Debug)]
pub(crate) struct DeadSet {
    entries: SharedPages<DeadEntry>,
    /// Entries by the time of death.
    order: BTreeSet<(WallTime, u32)>,
    /// Entries of jobs that had a key, by key and time of death.
    by_key: BTreeSet<(Key, WallTime, u32)>,
    /// First free entry below `used`; the chain goes on in the entries' slots.
    free: u32,
    /// Entries ever used.
    used: u32,
}

/// What is kept of one dead job: 256 bytes.
#[derive(Clone, Copy)]
pub(crate) struct DeadEntry {
    at: WallTime,
    pub(crate) slot: Slot,
    key: Key,
    pub(crate) is_held: bool,
    is_keyed: bool,
    failure: Failure,
    message_len: u8,
    message: [u8; DEAD_MESSAGE_BYTES_MAX],
}

const _: () = assert!(size_of::<DeadEntry>() <= 256);

impl DeadEntry {
    /// How the job died.
    pub(crate) fn death(&self) -> Death<'_> {
        let bytes = &self.message[..usize::from(self.message_len)];
        // It was cut at a character's border.
        let message = core::str::from_utf8(bytes).unwrap_or("");
        Death { at: self.at, failure: self.failure, message }
    }

    pub(crate) fn key(&self) -> Option<Key> {
        self.is_keyed.then_some(self.key)
    }
}

impl Default for DeadEntry {
    fn default() -> Self {
        Self {
            at: WallTime(0),
            slot: Slot(0),
            key: Key::default(),
            is_held: false,
            is_keyed: false,
            failure: Failure::Retryable,
            message_len: 0,
            message: [0; DEAD_MESSAGE_BYTES_MAX],
        }
    }
}

impl fmt::Debug for DeadEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadEntry")
            .field("slot", &self.slot)
            .field("key", &self.key())
            .field("death", &self.death())
            .finish_non_exhaustive()
    }
}

impl DeadSet {
    pub(crate) fn new() -> Self {
        Self {
            entries: SharedPages::new(),
            order: BTreeSet::new(),
            by_key: BTreeSet::new(),
            free: NO_FREE,
            used: 0,
        }
    }

    /// Dead jobs held.
    pub(crate) fn len(&self) -> u32 {
        self.order.len() as u32
    }

    /// Entries ever used: each job's entry is below it.
    pub(crate) fn entries(&self) -> u32 {
        self.used
    }

    /// When the oldest died.
    pub(crate) fn oldest(&self) -> Option<WallTime> {
        self.order.first().map(|(at, _)| *at)
    }

    /// Slots of the jobs, who died first first.
    pub(crate) fn oldest_first(&self) -> impl Iterator<Item = (WallTime, Slot)> {
        self.order.iter().map(|(at, entry)| (*at, self.entries[*entry].slot))
    }

    /// Of the dead jobs that had `key`, the one that died last.
    pub(crate) fn find(&self, key: Key) -> Option<Slot> {
        let all = (key, WallTime(0), 0)..=(key, WallTime(u64::MAX), u32::MAX);
        let (_, _, entry) = self.by_key.range(all).next_back()?;
        Some(self.entries[*entry].slot)
    }

    pub(crate) fn get(&self, entry: u32) -> &DeadEntry {
        &self.entries[entry]
    }

    /// Takes in the job in `slot`; returns its entry.
    pub(crate) fn insert(&mut self, slot: Slot, key: Option<Key>, death: Death<'_>) -> u32 {
        let number = match self.free {
            NO_FREE => {
                let number = self.used;
                self.entries.grow_to(number);
                self.used += 1;
                number
            }
            number => {
                self.free = self.entries[number].slot.0;
                number
            }
        };
        let message = cut(death.message, DEAD_MESSAGE_BYTES_MAX);
        let entry = &mut self.entries[number];
        *entry = DeadEntry {
            at: death.at,
            slot,
            key: key.unwrap_or_default(),
            is_held: true,
            is_keyed: key.is_some(),
            failure: death.failure,
            message_len: message.len() as u8,
            ..DeadEntry::default()
        };
        entry.message[..message.len()].copy_from_slice(message.as_bytes());
        self.order.insert((death.at, number));
        if let Some(key) = key {
            self.by_key.insert((key, death.at, number));
        }
        number
    }

    /// Forgets what is at an entry that is held; returns the job's key.
    pub(crate) fn remove(&mut self, number: u32) -> Option<Key> {
        let DeadEntry { at, .. } = self.entries[number];
        let key = self.entries[number].key();
        self.order.remove(&(at, number));
        if let Some(key) = key {
            self.by_key.remove(&(key, at, number));
        }
        self.entries[number] = DeadEntry { slot: Slot(self.free), ..DeadEntry::default() };
        self.free = number;
        key
    }

    /// A copy of all entries as they are now, which shares their pages until these change.
    pub(crate) fn freeze(&mut self) -> FrozenPages<DeadEntry> {
        self.entries.freeze()
    }
}

/// The longest start of `text` that has at most `max_bytes` bytes.
pub(crate) fn cut(text: &str, max_bytes: usize) -> &str {
    &text[..text.floor_char_boundary(max_bytes)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::{collections::BTreeMap, vec::Vec};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn who_died_first_is_first_and_keys_lead_to_their_jobs(
            steps in prop::collection::vec((any::<bool>(), 0..50_u8, 0..20_u64), 1..300),
        ) {
            let mut dead = DeadSet::new();
            let mut model: BTreeMap<u32, (u32, u64)> = BTreeMap::new();
            for (adds, slot, at) in steps {
                let slot = u32::from(slot);
                // Several have the same key.
                let key = (slot % 2 == 0).then_some(Key([slot as u8 % 8; 16]));
                match model.remove(&slot) {
                    Some((entry, _)) => prop_assert_eq!(dead.remove(entry), key),
                    None if adds => {
                        let death = Death {
                            at: WallTime(at),
                            failure: Failure::Panicked,
                            message: "why",
                        };
                        let entry = dead.insert(Slot(slot), key, death);
                        prop_assert_eq!(dead.get(entry).death(), death);
                        model.insert(slot, (entry, at));
                    }
                    None => {}
                }
            }
            prop_assert_eq!(dead.len() as usize, model.len());
            let order: Vec<u64> = dead.oldest_first().map(|(at, _)| at.0).collect();
            prop_assert!(order.is_sorted());
            prop_assert_eq!(dead.oldest().map(|at| at.0), model.values().map(|(_, at)| *at).min());
            for key in 0..9_u32 {
                let keyed = model.iter().filter(|(slot, _)| *slot % 2 == 0 && *slot % 8 == key);
                let last = keyed.map(|(slot, (entry, at))| (*at, *entry, Slot(*slot))).max();
                let found = dead.find(Key([key as u8; 16]));
                prop_assert_eq!(found, last.map(|(_, _, slot)| slot));
            }
            let held = dead.freeze().pages().flatten().filter(|entry| entry.is_held).count();
            prop_assert_eq!(held, model.len());
        }
    }

    #[test]
    fn a_long_message_is_cut_at_the_border_of_a_character() {
        let mut dead = DeadSet::new();
        let long = "ä".repeat(500);
        let message = alloc::format!("x{long}");
        let death = Death { at: WallTime(1), failure: Failure::Permanent, message: &message };
        let entry = dead.insert(Slot(3), None, death);
        let kept = dead.get(entry).death().message;
        assert!(message.starts_with(kept));
        assert_eq!(kept.len(), DEAD_MESSAGE_BYTES_MAX - 1);
    }
}
