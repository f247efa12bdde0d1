//! The table of jobs: a slab of records with stable slots, and the index from id to slot.

use alloc::vec::Vec;
use core::ops::Range;

use super::{
    index::Index,
    record::{Record, Role, Traits, UNIT_BYTES},
};
use crate::{
    id::{JobId, KindId, Lsn, Slot},
    pages::{FrozenPages, PAGE_LEN, SharedPages},
};

/// End of the chain of free slots.
const NO_FREE: u32 = u32::MAX;

/// All jobs of a shard.
#[derive(Debug)]
pub(crate) struct JobTable {
    records: SharedPages<Record>,
    index: Index,
    /// First free slot below `used`; the chain goes on in the records' `due_ns`.
    free: u32,
    /// Slots ever used.
    used: u32,
    jobs: u32,
    /// Of these, by kind.
    by_kind: Vec<u32>,
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

/// The order in which jobs of a snapshot come to the index.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Order {
    /// Each so far had a higher id than the one before; this is the last.
    Rising(JobId),
    /// One had not: the index is built when all are there.
    Mixed,
}

impl JobTable {
    pub(crate) fn new() -> Self {
        Self {
            records: SharedPages::new(),
            index: Index::new(),
            free: NO_FREE,
            used: 0,
            jobs: 0,
            by_kind: Vec::new(),
            body_units: 0,
        }
    }

    /// Jobs held.
    pub(crate) fn len(&self) -> u32 {
        self.jobs
    }

    /// Jobs held of a kind.
    pub(crate) fn of_kind(&self, kind: KindId) -> u32 {
        self.by_kind.get(usize::from(kind.0)).copied().unwrap_or(0)
    }

    /// Slots ever used: each job's slot is below it.
    pub(crate) fn slots(&self) -> u32 {
        self.used
    }

    /// Puts a record into a free slot.
    pub(crate) fn insert(&mut self, record: Record) -> Slot {
        let slot = self.place(record);
        if record.role() == Role::Job {
            self.index.insert(record.id, slot);
        }
        slot
    }

    /// Puts jobs into slots behind all others, and returns those slots. A whole page of them is
    /// taken as it is, where a page begins. They cannot be found before
    /// [`JobTable::index`] and [`JobTable::index_rest`]. No slot may be free.
    pub(crate) fn adopt(&mut self, jobs: Vec<Record>) -> Range<u32> {
        debug_assert_eq!(self.free, NO_FREE);
        let first = self.used;
        if jobs.len() == PAGE_LEN && (first as usize).is_multiple_of(PAGE_LEN) {
            self.used += jobs.len() as u32;
            self.jobs += jobs.len() as u32;
            self.body_units += jobs.iter().map(|job| u64::from(job.body_units)).sum::<u64>();
            for job in &jobs {
                self.count_kind(job.kind);
            }
            self.records.push_page(jobs);
        } else {
            for job in jobs {
                self.place(job);
            }
        }
        first..self.used
    }

    /// Lets a job that was adopted be found, if its id is above those that came before it.
    pub(crate) fn index(&mut self, slot: Slot, order: &mut Order) {
        let id = self.records[slot.0].id;
        match order {
            Order::Rising(last) if id > *last => {
                self.index.insert(id, slot);
                *last = id;
            }
            _ => *order = Order::Mixed,
        }
    }

    /// Lets all jobs be found that were adopted; `false` if two have the same id.
    pub(crate) fn index_rest(&mut self, order: Order) -> bool {
        let Order::Mixed = order else { return true };
        self.index = Index::new();
        let job = |slot: u32| {
            let record = &self.records[slot];
            (record.role() == Role::Job).then_some((record.id, Slot(slot)))
        };
        let mut jobs: Vec<(JobId, Slot)> = (0..self.used).filter_map(job).collect();
        // In the order of their ids, neighbours share a page of the index.
        jobs.sort_unstable();
        if jobs.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return false;
        }
        for (id, slot) in jobs {
            self.index.insert(id, slot);
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
        if record.role() == Role::Job {
            self.jobs += 1;
            self.count_kind(record.kind);
        }
        Slot(slot)
    }

    /// One more job of a kind.
    fn count_kind(&mut self, kind: KindId) {
        let kind = usize::from(kind.0);
        if self.by_kind.len() <= kind {
            self.by_kind.resize(kind + 1, 0);
        }
        self.by_kind[kind] += 1;
    }

    /// Frees a slot.
    pub(crate) fn remove(&mut self, slot: Slot) {
        let record = self.records[slot.0];
        self.body_units -= u64::from(record.body_units);
        if record.role() == Role::Job {
            self.jobs -= 1;
            self.by_kind[usize::from(record.kind.0)] -= 1;
            self.index.remove(record.id);
        }
        let free = &mut self.records[slot.0];
        free.traits = Traits::FREE;
        free.due_ns = u64::from(self.free);
        self.free = slot.0;
    }

    /// The slot of a job, if it is held.
    pub(crate) fn find(&self, id: JobId) -> Option<Slot> {
        self.index.find(id)
    }

    /// Whether `slot` holds job `id`: the check of a hint that came from outside.
    pub(crate) fn holds(&self, slot: Slot, id: JobId) -> bool {
        slot.0 < self.used
            && self.records[slot.0].role() == Role::Job
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ShardId;

    fn job(n: u64) -> Record {
        Record { id: JobId::new(ShardId(0), n), traits: Traits::job(5), ..Record::default() }
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
