//! Which entry of a side table the job in a slot has. A look is one load from memory, where a hash table
//! takes two or three, and what has options or a key is looked up at each step of its life.
//!
//! Pages are made where they are needed: four bytes for each slot near one that has an entry.

use alloc::{boxed::Box, vec::Vec};

use crate::{id::Slot, pages::PAGE_LEN};

/// No entry.
const NONE: u32 = u32::MAX;

/// Entries by slot.
#[derive(Debug, Default)]
pub(crate) struct BySlot {
    pages: Vec<Option<Box<[u32]>>>,
    len: u32,
}

impl BySlot {
    /// No entries; it allocates nothing.
    pub(crate) const fn new() -> Self {
        Self { pages: Vec::new(), len: 0 }
    }

    /// Slots that have an entry.
    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    /// The entry of the job in `slot`, if it has one.
    #[inline]
    pub(crate) fn get(&self, slot: Slot) -> Option<u32> {
        let (page, place) = place(slot);
        let entry = self.pages.get(page)?.as_ref()?[place];
        (entry != NONE).then_some(entry)
    }

    /// Gives an entry, below 2³² − 1, to the job in `slot`, which has none.
    pub(crate) fn insert(&mut self, slot: Slot, entry: u32) {
        let (page, place) = place(slot);
        if self.pages.len() <= page {
            self.pages.resize_with(page + 1, || None);
        }
        let page =
            self.pages[page].get_or_insert_with(|| alloc::vec![NONE; PAGE_LEN].into_boxed_slice());
        debug_assert_eq!(page[place], NONE, "a job has one entry");
        page[place] = entry;
        self.len += 1;
    }

    /// Takes the entry of the job in `slot`, if it has one.
    pub(crate) fn remove(&mut self, slot: Slot) -> Option<u32> {
        let (page, place) = place(slot);
        let entry = &mut self.pages.get_mut(page)?.as_mut()?[place];
        if *entry == NONE {
            return None;
        }
        self.len -= 1;
        Some(core::mem::replace(entry, NONE))
    }
}

fn place(slot: Slot) -> (usize, usize) {
    (slot.0 as usize / PAGE_LEN, slot.0 as usize % PAGE_LEN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;
    use proptest::prelude::*;

    /// Slots around the borders of pages, with pages between them that nobody needs.
    fn any_slot() -> impl Strategy<Value = u32> {
        prop_oneof![0..3_u32, 4094..4099_u32, 40_958..40_963_u32]
    }

    proptest! {
        #[test]
        fn entries_follow_a_plain_map(
            steps in prop::collection::vec((any::<bool>(), any_slot()), 1..200),
        ) {
            let mut entries = BySlot::new();
            let mut model = BTreeMap::new();
            for (number, (adds, slot)) in (0..).zip(steps) {
                if adds && !model.contains_key(&slot) {
                    entries.insert(Slot(slot), number);
                    model.insert(slot, number);
                } else {
                    prop_assert_eq!(entries.remove(Slot(slot)), model.remove(&slot));
                }
                prop_assert_eq!(entries.len() as usize, model.len());
                for slot in [0, 1, 4095, 4096, 8192, 40_960, 1 << 31] {
                    prop_assert_eq!(entries.get(Slot(slot)), model.get(&slot).copied());
                }
            }
        }
    }
}
