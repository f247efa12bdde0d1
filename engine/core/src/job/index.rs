//! The index from a job's id to its slot.
//!
//! Ids are given out one after the other and most jobs end soon, so the ids of the jobs that are
//! held lie close together. Runs of 4096 ids have a page each, an array of slots: adding, finding
//! and removing neighbours touches the same lines of memory, and nothing is hashed but the page's
//! number. Where there are many pages, the ids that one is left with once three quarters of it have
//! ended go into hash tables, and the page is used for the next run. So beside one mebibyte an id
//! costs at most 16 bytes, however they lie.
//!
//! It knows ids and slots, never records.

use alloc::{boxed::Box, vec::Vec};

use hashbrown::HashTable;

use crate::id::{JobId, Slot, mix};

const PAGE_BITS: u32 = 12;
const PAGE_LEN: usize = 1 << PAGE_BITS;
/// A page with fewer ids does not pay for itself.
const LIVE_MIN: u16 = (PAGE_LEN / 4) as u16;
/// Pages that need not pay for themselves: jobs that end soon never leave their page.
const FREE_PAGES: usize = 64;
/// No slot has this number.
const NONE: u32 = u32::MAX;
/// What has no page is spread over this many tables, so that one that grows moves only its share.
const PARTS: usize = 256;
/// Pages that hold nothing and are kept for the next run.
const SPARE_PAGES_MAX: usize = 4;

/// Slots by id.
#[derive(Debug)]
pub(crate) struct Index {
    pages: Vec<Page>,
    /// Positions in `pages`, by number.
    by_number: HashTable<u32>,
    /// The page that was used last: most often it is the next one too.
    recent: usize,
    /// Number of the newest page; it alone may hold few ids.
    newest: Option<u64>,
    /// Memory of pages that were given up.
    spare: Vec<Box<[u32; PAGE_LEN]>>,
    /// Ids that have no page.
    scattered: Box<[HashTable<Entry>]>,
}

/// The slots of 4096 neighbouring ids.
#[derive(Debug)]
struct Page {
    /// The upper bits of its ids.
    number: u64,
    live: u16,
    slots: Box<[u32; PAGE_LEN]>,
}

/// An id without a page.
#[derive(Clone, Copy, Debug)]
struct Entry {
    id: JobId,
    slot: Slot,
}

impl Index {
    pub(crate) fn new() -> Self {
        Self {
            pages: Vec::new(),
            by_number: HashTable::new(),
            recent: 0,
            newest: None,
            spare: Vec::new(),
            scattered: (0..PARTS).map(|_| HashTable::new()).collect(),
        }
    }

    /// The slot of `id`.
    #[inline]
    pub(crate) fn find(&self, id: JobId) -> Option<Slot> {
        if let Some(position) = self.page_of(id) {
            let slot = self.pages[position].slots[offset(id)];
            if slot != NONE {
                return Some(Slot(slot));
            }
        }
        let hash = mix(id.0);
        let entry = self.scattered[part(hash)].find(hash, |entry| entry.id == id)?;
        Some(entry.slot)
    }

    /// Adds an id that is not held.
    #[inline]
    pub(crate) fn insert(&mut self, id: JobId, slot: Slot) {
        let number = page_number(id);
        let position = match self.page_of(id) {
            Some(position) => position,
            // A run of lower ids that has no page has few that are held.
            None if self.newest.is_some_and(|newest| number < newest) => {
                return self.scatter(Entry { id, slot });
            }
            None => self.begin_page(number),
        };
        self.recent = position;
        let page = &mut self.pages[position];
        debug_assert_eq!(page.slots[offset(id)], NONE, "job {id} is held already");
        page.slots[offset(id)] = slot.0;
        page.live += 1;
    }

    /// Takes an id out.
    #[inline]
    pub(crate) fn remove(&mut self, id: JobId) {
        if let Some(position) = self.page_of(id) {
            self.recent = position;
            let page = &mut self.pages[position];
            if page.slots[offset(id)] != NONE {
                page.slots[offset(id)] = NONE;
                page.live -= 1;
                return self.review(position);
            }
        }
        let hash = mix(id.0);
        if let Ok(entry) = self.scattered[part(hash)].find_entry(hash, |entry| entry.id == id) {
            entry.remove();
        }
    }

    #[inline]
    fn page_of(&self, id: JobId) -> Option<usize> {
        let number = page_number(id);
        if self.pages.get(self.recent).is_some_and(|page| page.number == number) {
            return Some(self.recent);
        }
        let of_number = |position: &u32| self.pages[*position as usize].number == number;
        self.by_number.find(mix(number), of_number).map(|position| *position as usize)
    }

    /// A page for a run of ids above all others.
    #[cold]
    fn begin_page(&mut self, number: u64) -> usize {
        // The run before is not the newest any more: it has to pay for itself from now on.
        if let Some(newest) = self.newest.replace(number) {
            let is_newest = |position: &u32| self.pages[*position as usize].number == newest;
            let before = self.by_number.find(mix(newest), is_newest).copied();
            if let Some(before) = before {
                self.review(before as usize);
            }
        }
        let slots = self.spare.pop().unwrap_or_else(|| Box::new([NONE; PAGE_LEN]));
        let position = self.pages.len();
        self.pages.push(Page { number, live: 0, slots });
        let pages = &self.pages;
        let hasher = |position: &u32| mix(pages[*position as usize].number);
        self.by_number.insert_unique(mix(number), position as u32, hasher);
        position
    }

    /// Gives a page up that is not worth its memory.
    #[inline]
    fn review(&mut self, position: usize) {
        let Page { live, number, .. } = self.pages[position];
        if live >= LIVE_MIN || self.newest == Some(number) {
            return;
        }
        if live == 0 || self.pages.len() > FREE_PAGES {
            self.give_up(position);
        }
    }

    /// Moves the ids that are left in a page to the hash tables, and frees the page.
    #[cold]
    fn give_up(&mut self, position: usize) {
        self.unlist(position);
        let mut page = self.pages.swap_remove(position);
        if let Some(moved) = self.pages.get(position) {
            // The last page lies here now.
            let (number, from) = (moved.number, self.pages.len() as u32);
            let entry = self.by_number.find_mut(mix(number), |other| *other == from);
            *entry.expect("each page is listed") = position as u32;
        }
        let first = page.number << PAGE_BITS;
        for (offset, slot) in page.slots.iter_mut().enumerate() {
            let slot = core::mem::replace(slot, NONE);
            if slot != NONE {
                self.scatter(Entry { id: JobId(first | offset as u64), slot: Slot(slot) });
            }
        }
        if self.spare.len() < SPARE_PAGES_MAX {
            self.spare.push(page.slots);
        }
    }

    fn unlist(&mut self, position: usize) {
        let hash = mix(self.pages[position].number);
        let listed = self.by_number.find_entry(hash, |other| *other as usize == position);
        if let Ok(entry) = listed {
            entry.remove();
        }
    }

    fn scatter(&mut self, entry: Entry) {
        let hash = mix(entry.id.0);
        self.scattered[part(hash)].insert_unique(hash, entry, |entry| mix(entry.id.0));
    }
}

fn page_number(id: JobId) -> u64 {
    id.0 >> PAGE_BITS
}

fn offset(id: JobId) -> usize {
    id.0 as usize & (PAGE_LEN - 1)
}

/// Which table a hash belongs to: upper bits that hashbrown itself does not tell entries apart by.
fn part(hash: u64) -> usize {
    (hash >> 40) as usize % PARTS
}

// What is left of a page when it is given up is counted in its own type.
const _: () = assert!(PAGE_LEN <= u16::MAX as usize);

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::collections::BTreeMap;
    use proptest::prelude::*;

    /// All but a few pages pay for themselves, and each is listed where it lies.
    fn check(index: &Index, model: &BTreeMap<u64, u32>) {
        for page in &index.pages {
            let live = page.slots.iter().filter(|slot| **slot != NONE).count();
            assert_eq!(live, usize::from(page.live));
            assert!(page.live > 0 || index.newest == Some(page.number));
        }
        let poor = index.pages.iter().filter(|page| page.live < LIVE_MIN).count();
        assert!(poor <= FREE_PAGES + 1, "{poor} pages with few ids");
        assert_eq!(index.by_number.len(), index.pages.len());
        let scattered: usize = index.scattered.iter().map(HashTable::len).sum();
        let paged: usize = index.pages.iter().map(|page| usize::from(page.live)).sum();
        assert_eq!(scattered + paged, model.len());
        for (id, slot) in model {
            assert_eq!(index.find(JobId(*id)), Some(Slot(*slot)), "job {id}");
        }
    }

    #[test]
    fn a_long_life_leaves_few_pages() {
        let mut index = Index::new();
        let mut model = BTreeMap::new();
        for id in 1..200_000_u64 {
            index.insert(JobId(id), Slot(id as u32));
            model.insert(id, id as u32);
            // One in fifty stays for good, the others end a thousand ids later.
            if let Some(end) = id.checked_sub(1000).filter(|end| *end > 0 && end % 50 != 0) {
                index.remove(JobId(end));
                model.remove(&end);
            }
        }
        check(&index, &model);
        assert_eq!(index.find(JobId(3)), None);
    }

    #[test]
    fn a_few_survivors_of_each_run_do_not_hold_its_memory() {
        let mut index = Index::new();
        let mut model = BTreeMap::new();
        for id in 0..1_000_000_u64 {
            index.insert(JobId(id), Slot(id as u32));
            if id % 500 == 0 {
                model.insert(id, id as u32);
            } else {
                index.remove(JobId(id));
            }
        }
        check(&index, &model);
        assert!(index.pages.len() <= FREE_PAGES + 1, "{} pages", index.pages.len());
    }

    #[test]
    fn ids_far_apart_and_in_any_order_are_found() {
        let mut index = Index::new();
        let mut model = BTreeMap::new();
        for n in 0..50_000_u64 {
            let id = mix(n) >> 8;
            index.insert(JobId(id), Slot(n as u32));
            model.insert(id, n as u32);
        }
        check(&index, &model);
        for n in (0..50_000_u64).step_by(3) {
            let id = mix(n) >> 8;
            index.remove(JobId(id));
            model.remove(&id);
            assert_eq!(index.find(JobId(id)), None);
        }
        check(&index, &model);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn it_does_what_a_map_does(steps in prop::collection::vec((0..3_u8, 0..40_000_u64), 1..3000)) {
            let mut index = Index::new();
            let mut model = BTreeMap::new();
            for (n, (kind, id)) in steps.into_iter().enumerate() {
                match (kind, model.contains_key(&id)) {
                    (0 | 1, false) => {
                        index.insert(JobId(id), Slot(n as u32));
                        model.insert(id, n as u32);
                    }
                    (2, _) => {
                        index.remove(JobId(id));
                        model.remove(&id);
                    }
                    _ => prop_assert_eq!(index.find(JobId(id)).is_some(), model.contains_key(&id)),
                }
            }
            check(&index, &model);
        }
    }
}
