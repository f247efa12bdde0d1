//! Snapshots: a shard's whole state at one moment, as bytes. With the events behind that moment
//! they give the same state as the journal alone, in less time.
//!
//! [`Scheduler::freeze`](crate::Scheduler::freeze) takes the state, [`Frozen::write`] turns it into bytes on any thread, and
//! [`Restore`] reads them again. This folder owns the bytes; what the state is made of is known to
//! `scheduler/freeze.rs`. It knows no file and computes no checksum: whatever holds the bytes must
//! see to it that they come back unchanged. A changed byte never breaks the reader, but it may give
//! another state.
//!
//! # Layout
//!
//! All numbers are little-endian. Times are nanoseconds on the wall clock, also those that are kept
//! on the monotonic clock: so they mean the same after a reboot.
//!
//! | bytes | header, 136 bytes |
//! |---|---|
//! | 8 | `TWHLSNAP` |
//! | 4 | version of this layout: 8; of 7 the last number below and the part that it counts are not there |
//! | 1 + 3 | shard, zeros |
//! | 8 | when it was frozen: the time of the shard's last step |
//! | 8 | how far the wall clock was ahead of the monotonic one then, signed |
//! | 8 | number of the next job |
//! | 6 × 8 | totals: jobs added, succeeded, dead, cancelled; attempts failed; jobs expired |
//! | 6 × 4 | how many kinds, queues, schedules, jobs, keys and options of jobs follow |
//! | 5 × 4 | how many keys of uniqueness, ends of jobs, batches, leases and dead jobs follow |
//! | 4 | how many events about groups follow |
//!
//! | bytes | each kind, in the order of their numbers |
//! |---|---|
//! | 2 | length of its name: 1 to 255 |
//! | … | its name, UTF-8 |
//!
//! | bytes | each queue, in the order of their numbers |
//! |---|---|
//! | 2 | length of its name: 1 to 255 |
//! | 1 | whether it is paused |
//! | 3 | zeros |
//! | 2 | length of the record below in units of 16 bytes |
//! | 8 | position of the record in the journal that says whether it is paused, or 0 |
//! | 8 | position of the record that gives it limits, or 0 |
//! | 2 | length of that record in units of 16 bytes |
//! | 1 + 1 | weight, zero |
//! | 4 + 4 | concurrency, length; 0 without a limit |
//! | 4 + 4 + 4 | rate: jobs, period in ms, burst; 0 without a limit |
//! | 8 | when the rate has its whole burst again, 0 without a limit |
//! | … | its name, UTF-8 |
//!
//! | bytes | each event about groups and aging: limits, spans, what rates have spent |
//! |---|---|
//! | 4 | length of the event below |
//! | 2 + 2 | length of its record in the journal in units of 16 bytes, zeros |
//! | 8 | position of its record in the journal, or 0 for what was spent |
//! | … | an [`Event::GroupsLimits`], [`Event::GroupLimits`], [`Event::QueueAging`] or [`Event::GroupSpent`] |
//!
//! | bytes | each schedule; the first has number 0 here |
//! |---|---|
//! | 4 | length of the event below |
//! | 2 + 2 | length of its record in the journal in units of 16 bytes, zeros |
//! | 8 | position of its record in the journal |
//! | … | an [`Event::ScheduleKept`] with its payload |
//!
//! | bytes | each job, 60 bytes |
//! |---|---|
//! | 8 | id |
//! | 8 | position of its record in the journal |
//! | 8 | due time |
//! | 4 + 4 + 4 | token; first and longest back-off in ms |
//! | 4 | time-out in ms |
//! | 2 | number of its schedule here, or 65,535 |
//! | 2 | length of its record in the journal in units of 16 bytes |
//! | 2 | number of its kind |
//! | 2 | where the payload begins within its event |
//! | 2 + 2 | attempts begun, attempts at the most |
//! | 2 | number of its queue |
//! | 1 | priority |
//! | 1 | state: 0 scheduled or ready, 1 running, 2 running and fetched, 3 dead, 4 blocked |
//! | 1 | clock: 0 monotonic, 1 wall |
//! | 1 + 1 | whether it has a key; whether it has options |
//! | 1 | whether it is not kept if it fails for good |
//!
//! | bytes | each key, 24 bytes |
//! |---|---|
//! | 8 | id of its job |
//! | 16 | the key |
//!
//! | bytes | each job's options |
//! |---|---|
//! | 8 | id of the job |
//! | 2 | length of its options |
//! | … | its options as an event has them |
//!
//! | bytes | each key of uniqueness, 48 bytes |
//! |---|---|
//! | 16 | the key |
//! | 8 | id of the job that holds it, or held it |
//! | 8 | when it is free, or 0 |
//! | 8 | position of the record that holds it, or 0 while the job does |
//! | 2 | length of that record in units of 16 bytes |
//! | 1 + 5 | whether it outlives its job; zeros |
//!
//! | bytes | each job that has ended and that others wait for who were not told, 16 bytes |
//! |---|---|
//! | 8 | its id |
//! | 1 + 7 | whether it succeeded; zeros |
//!
//! | bytes | each batch |
//! |---|---|
//! | 4 | length of the event below |
//! | 2 + 2 | length of its record in the journal in units of 16 bytes, zeros |
//! | 8 | position of its record in the journal |
//! | … | an [`Event::BatchPut`] with its callbacks |
//!
//! | bytes | each lease, 16 bytes: one of each job that is running and fetched |
//! |---|---|
//! | 8 | id of its job |
//! | 8 | when it ends |
//!
//! | bytes | each dead job |
//! |---|---|
//! | 8 | id of the job, which is among those above |
//! | 8 | when it died |
//! | 16 | the key that it had, or zeros |
//! | 1 | why: as in the log's events |
//! | 1 | whether it had a key |
//! | 1 | length of the message |
//! | 5 | zeros |
//! | … | the message, UTF-8 |
//!
//! A ready job is written as a scheduled one: it is triggered again at once. When a running job's
//! time is up that was not fetched is not written: its attempt is lost with its process.

mod layout;
mod restore;

use alloc::{sync::Arc, vec::Vec};

use crate::{
    batch::BatchState,
    event::{BatchWritten, Event, TermOptions, UniqueWritten, callback_bytes},
    id::{JobId, Lsn},
    job::{
        dead::DeadEntry,
        keys::KeyEntry,
        options::OptionsEntry,
        record::{NO_SCHEDULE, Record, Role},
        unique::UniqueEntry,
    },
    pages::FrozenPages,
    scheduler::FrozenEvent,
    time::WallTime,
};
pub(crate) use layout::{Header, QueueEntry};
use layout::{JOB_BYTES, encode_dead, encode_job, encode_lease, encode_queue, encode_unique};
pub use restore::{Restore, RestoreError, SnapshotBuilder, SnapshotParser, SnapshotPieces};

/// Version of the layout that this code writes and reads.
pub const SNAPSHOT_VERSION: u32 = 8;

/// [`Frozen::write`] hands out pieces of about this size.
const CHUNK_BYTES: usize = 64 << 10;

/// A shard's state as it was when it was frozen. It can be moved to another thread and written
/// there while the shard goes on: what the shard changes meanwhile, it copies first, in pages of
/// 256 KiB, so drop this as soon as it has been written.
#[derive(Debug)]
pub struct Frozen {
    pub(crate) header: Header,
    pub(crate) kinds: Vec<Arc<str>>,
    pub(crate) queues: Vec<(Arc<str>, QueueEntry)>,
    pub(crate) groups: Vec<FrozenEvent>,
    pub(crate) schedules: Vec<FrozenSchedule>,
    pub(crate) records: FrozenPages<Record>,
    pub(crate) keys: FrozenPages<KeyEntry>,
    pub(crate) options: FrozenPages<OptionsEntry>,
    pub(crate) uniques: FrozenPages<UniqueEntry>,
    pub(crate) ended: Vec<(JobId, bool)>,
    pub(crate) batches: Vec<(JobId, BatchState)>,
    pub(crate) dead: FrozenPages<DeadEntry>,
}

/// A schedule as it was frozen.
#[derive(Debug)]
pub(crate) struct FrozenSchedule {
    /// What jobs call it by.
    pub(crate) number: u16,
    pub(crate) body: Lsn,
    pub(crate) body_units: u16,
    pub(crate) rule: Arc<crate::Schedule<'static>>,
    pub(crate) next: Option<WallTime>,
    pub(crate) catch_up_until: WallTime,
    pub(crate) paused: Option<crate::Pause>,
    pub(crate) fired: u64,
}

impl Frozen {
    /// Jobs held.
    #[must_use]
    pub fn jobs(&self) -> u32 {
        self.header.jobs
    }

    /// Writes the state to `sink`, in pieces of about 64 KiB, and one of up to a mebibyte more
    /// where a schedule's job has a payload of that size.
    ///
    /// # Errors
    /// The first error of `sink`; nothing is written after it.
    pub fn write<E>(&self, sink: &mut impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let mut chunk = Vec::with_capacity(CHUNK_BYTES + JOB_BYTES);
        let mut flush = |chunk: &mut Vec<u8>, above: usize| {
            if chunk.len() <= above {
                return Ok(());
            }
            sink(chunk)?;
            chunk.clear();
            Ok(())
        };
        self.header.encode(&mut chunk);
        for kind in &self.kinds {
            chunk.extend((kind.len() as u16).to_le_bytes());
            chunk.extend(kind.as_bytes());
            flush(&mut chunk, CHUNK_BYTES)?;
        }
        for (name, entry) in &self.queues {
            chunk.extend(encode_queue(name.len() as u16, entry));
            chunk.extend(name.as_bytes());
            flush(&mut chunk, CHUNK_BYTES)?;
        }
        for event in &self.groups {
            chunk.extend((event.bytes.len() as u32).to_le_bytes());
            chunk.extend(event.units.to_le_bytes());
            chunk.extend([0; 2]);
            chunk.extend(event.body.0.to_le_bytes());
            chunk.extend(&*event.bytes);
            flush(&mut chunk, CHUNK_BYTES)?;
        }
        // Jobs name a schedule by its place in this list.
        let numbers = self.schedules.iter().map(|schedule| usize::from(schedule.number) + 1);
        let mut places = alloc::vec![NO_SCHEDULE; numbers.max().unwrap_or(0)];
        let mut head = Vec::new();
        for (place, schedule) in (0..NO_SCHEDULE).zip(&self.schedules) {
            places[usize::from(schedule.number)] = place;
            let len = schedule.event(self.header.at).encode(&mut head);
            let payload = &schedule.rule.job.payload;
            chunk.extend(((len + payload.len()) as u32).to_le_bytes());
            chunk.extend(schedule.body_units.to_le_bytes());
            chunk.extend([0; 2]);
            chunk.extend(schedule.body.0.to_le_bytes());
            chunk.extend(&head[..len]);
            chunk.extend(&**payload);
            flush(&mut chunk, CHUNK_BYTES)?;
        }
        let records = || self.records.pages().flatten();
        for record in records().filter(|record| record.role() == Role::Job) {
            let schedule = places.get(usize::from(record.schedule)).copied();
            let schedule = schedule.unwrap_or(NO_SCHEDULE);
            chunk.extend(encode_job(record, schedule, self.header.offset_ns));
            flush(&mut chunk, CHUNK_BYTES)?;
        }
        for entry in self.keys.pages().flatten().filter(|entry| entry.is_held) {
            let job = self.records[entry.slot.0].id;
            chunk.extend(job.0.to_le_bytes());
            chunk.extend(entry.key.0);
            flush(&mut chunk, CHUNK_BYTES)?;
        }
        for entry in self.options.pages().flatten() {
            let Some(options) = &entry.options else { continue };
            let job = self.records[entry.slot.0].id;
            chunk.extend(job.0.to_le_bytes());
            // The key itself is in the part about keys of uniqueness, if the job still holds it.
            let unique = options.unique.map(|unique| UniqueWritten {
                key: unique.key,
                until: unique.until,
                free_at: None,
            });
            TermOptions { unique, ..TermOptions::of(options) }.put(&mut chunk);
            flush(&mut chunk, CHUNK_BYTES)?;
        }
        for entry in self.uniques.pages().flatten() {
            let UniqueEntry::Held(held) = entry else { continue };
            chunk.extend(encode_unique(held));
            flush(&mut chunk, CHUNK_BYTES)?;
        }
        for (job, well) in &self.ended {
            chunk.extend(job.0.to_le_bytes());
            chunk.extend([u8::from(*well), 0, 0, 0, 0, 0, 0, 0]);
            flush(&mut chunk, CHUNK_BYTES)?;
        }
        for (id, state) in &self.batches {
            let batch = BatchWritten::of(*id, state);
            let len =
                Event::BatchPut { at: self.header.at.0, is_new: false, batch }.encode(&mut head);
            let payload = callback_bytes(&state.callbacks);
            chunk.extend(((len + payload.len()) as u32).to_le_bytes());
            chunk.extend(state.units.to_le_bytes());
            chunk.extend([0; 2]);
            chunk.extend(state.body.0.to_le_bytes());
            chunk.extend(&head[..len]);
            chunk.extend(&*payload);
            flush(&mut chunk, CHUNK_BYTES)?;
        }
        // Most often there are none, and the table is long.
        let leases = self.header.leases as usize;
        for record in records().filter(|record| record.has_lease()).take(leases) {
            chunk.extend(encode_lease(record, self.header.offset_ns));
            flush(&mut chunk, CHUNK_BYTES)?;
        }
        for entry in self.dead.pages().flatten().filter(|entry| entry.is_held) {
            chunk.extend(encode_dead(self.records[entry.slot.0].id, entry));
            chunk.extend(entry.death().message.as_bytes());
            flush(&mut chunk, CHUNK_BYTES)?;
        }
        flush(&mut chunk, 0)
    }
}
