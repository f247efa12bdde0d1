//! The table of jobs: a slab of records with stable slots, and the index from id to slot.

use alloc::{boxed::Box, vec::Vec};

use hashbrown::{HashTable, hash_table::Entry};

use super::record::{Record, Role, UNIT_BYTES};
use crate::{
    id::{JobId, Lsn, Slot, mix},
    pages::{FrozenPages, SharedPages},
};

/// The index is cut into this many tables, so that a table that grows re-hashes only its share.
const INDEX_PARTS: usize = 256;
/// End of the chain of free slots.
const NO_FREE: u32 = u32::MAX;

/// All jobs of a shard.
#[derive(Debug)]
pub(crate) struct JobTable {
    records: SharedPages<Record>,
    index: Box<[HashTable<u32>]>,
    /// First free slot below `used`; the chain goes on in the records' `due_ns`.
    free: u32,
    /// Slots ever used.
    used: u32,
    jobs: u32,
    /// Sum of all records' `body_units`.
    body_units: u64,
}

/// Where the event lies that holds a job or a schedule.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Body {
    pub(crate) lsn: Lsn,
    /// Where the payload begins within the event.
    pub(crate) payload_offset: u16,
    /// See [`super::record::body_units`].
    pub(crate) units: u16,
}

/// Jobs that are in the table and not in its index yet, by the part of the index that they belong
/// to: added in bulk, one part after the other, they find that part in the processor's cache.
#[derive(Debug)]
pub(crate) struct Unindexed {
    parts: Box<[Vec<(JobId, Slot)>]>,
    len: u32,
}

impl Unindexed {
    pub(crate) fn new() -> Self {
        Self { parts: (0..INDEX_PARTS).map(|_| Vec::new()).collect(), len: 0 }
    }

    pub(crate) fn len(&self) -> u32 {
        self.len
    }
}

impl JobTable {
    pub(crate) fn new() -> Self {
        let index: Vec<HashTable<u32>> = (0..INDEX_PARTS).map(|_| HashTable::new()).collect();
        Self {
            records: SharedPages::new(),
            index: index.into_boxed_slice(),
            free: NO_FREE,
            used: 0,
            jobs: 0,
            body_units: 0,
        }
    }

    /// Jobs held.
    pub(crate) fn len(&self) -> u32 {
        self.jobs
    }

    /// Slots ever used: each job's slot is below it.
    pub(crate) fn slots(&self) -> u32 {
        self.used
    }

    /// Puts a record into a free slot.
    pub(crate) fn insert(&mut self, record: Record) -> Slot {
        let slot = self.place(record);
        if record.role == Role::Job {
            let hash = mix(record.id.0);
            let records = &self.records;
            self.index[part(hash)].insert_unique(hash, slot.0, |other| mix(records[*other].id.0));
        }
        slot
    }

    /// Puts a job into a free slot; it cannot be found before [`JobTable::index`].
    pub(crate) fn insert_unindexed(&mut self, record: Record, unindexed: &mut Unindexed) -> Slot {
        let slot = self.place(record);
        unindexed.parts[part(mix(record.id.0))].push((record.id, slot));
        unindexed.len += 1;
        slot
    }

    /// Adds `unindexed` to the index, which is given room for `jobs` in all; `false` if two jobs
    /// have the same id.
    pub(crate) fn index(&mut self, unindexed: &mut Unindexed, jobs: u32) -> bool {
        // An eighth above the mean: the parts fill unevenly.
        let part_jobs = jobs as usize / INDEX_PARTS;
        let part_jobs = part_jobs + part_jobs / 8;
        let records = &self.records;
        let hasher = |other: &u32| mix(records[*other].id.0);
        unindexed.len = 0;
        for (part, waiting) in self.index.iter_mut().zip(&mut unindexed.parts) {
            let room = part_jobs.saturating_sub(part.len());
            part.reserve(room.max(waiting.len()), hasher);
            for (id, slot) in waiting.drain(..) {
                match part.entry(mix(id.0), |other| records[*other].id == id, hasher) {
                    Entry::Vacant(entry) => entry.insert(slot.0),
                    Entry::Occupied(_) => return false,
                };
            }
        }
        true
    }

    fn place(&mut self, record: Record) -> Slot {
        let slot = if self.free == NO_FREE {
            let slot = self.used;
            self.records.grow_to(slot);
            self.used += 1;
            slot
        } else {
            let slot = self.free;
            self.free = self.records[slot].due_ns as u32;
            slot
        };
        self.records[slot] = record;
        self.body_units += u64::from(record.body_units);
        self.jobs += u32::from(record.role == Role::Job);
        Slot(slot)
    }

    /// Frees a slot.
    pub(crate) fn remove(&mut self, slot: Slot) {
        let record = self.records[slot.0];
        self.body_units -= u64::from(record.body_units);
        if record.role == Role::Job {
            self.jobs -= 1;
            let hash = mix(record.id.0);
            if let Ok(entry) = self.index[part(hash)].find_entry(hash, |other| *other == slot.0) {
                entry.remove();
            }
        }
        self.records[slot.0] =
            Record { due_ns: u64::from(self.free), role: Role::Free, ..Record::default() };
        self.free = slot.0;
    }

    /// The slot of a job, if it is held.
    pub(crate) fn find(&self, id: JobId) -> Option<Slot> {
        let hash = mix(id.0);
        let records = &self.records;
        self.index[part(hash)].find(hash, |slot| records[*slot].id == id).map(|slot| Slot(*slot))
    }

    /// Whether `slot` holds job `id`: the check of a hint that came from outside.
    pub(crate) fn holds(&self, slot: Slot, id: JobId) -> bool {
        slot.0 < self.used
            && self.records[slot.0].role == Role::Job
            && self.records[slot.0].id == id
    }

    /// Notes where the event lies that holds the entry of `slot` from now on.
    pub(crate) fn set_body(&mut self, slot: Slot, body: Body) {
        let record = &mut self.records[slot.0];
        self.body_units -= u64::from(record.body_units);
        self.body_units += u64::from(body.units);
        record.body = body.lsn;
        record.payload_offset = body.payload_offset;
        record.body_units = body.units;
    }

    /// Bytes of the journal's records that hold the entries.
    pub(crate) fn body_bytes(&self) -> u64 {
        self.body_units * UNIT_BYTES
    }

    /// A copy of all records as they are now, which shares their pages until these change.
    pub(crate) fn freeze(&mut self) -> FrozenPages<Record> {
        self.records.freeze()
    }

    pub(crate) fn get(&self, slot: Slot) -> &Record {
        &self.records[slot.0]
    }

    pub(crate) fn get_mut(&mut self, slot: Slot) -> &mut Record {
        &mut self.records[slot.0]
    }
}

/// Which part of the index a hash belongs to: upper bits that hashbrown itself does not tell
/// entries apart by.
fn part(hash: u64) -> usize {
    (hash >> 40) as usize % INDEX_PARTS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ShardId;

    fn job(n: u64) -> Record {
        Record { id: JobId::new(ShardId(0), n), role: Role::Job, ..Record::default() }
    }

    #[test]
    fn slots_are_reused_and_ids_are_told_apart() {
        let mut table = JobTable::new();
        let first = table.insert(job(1));
        let second = table.insert(job(2));
        table.remove(first);
        assert!(!table.holds(first, JobId(1)));
        let third = table.insert(job(3));
        assert_eq!(third, first);
        assert!(table.holds(third, JobId(3)) && !table.holds(third, JobId(1)));
        assert_eq!(table.find(JobId(2)), Some(second));
        assert_eq!(table.find(JobId(1)), None);
        assert_eq!((table.len(), table.slots()), (2, 2));
    }

    #[test]
    fn ten_thousand_jobs_are_found_after_half_were_removed() {
        let mut table = JobTable::new();
        let slots: Vec<Slot> = (1..=10_000).map(|n| table.insert(job(n))).collect();
        for n in (1..=10_000_u64).step_by(2) {
            table.remove(slots[n as usize - 1]);
        }
        for n in 1..=10_000_u64 {
            let expected = (n % 2 == 0).then(|| slots[n as usize - 1]);
            assert_eq!(table.find(JobId(n)), expected, "job {n}");
        }
        assert_eq!(table.len(), 5_000);
    }
}
