//! The fixed parts of a snapshot, as bytes. The table in the module above this one says what lies
//! where; whether the fields make sense together is the reader's business.

use alloc::vec::Vec;

use super::{RestoreError, SNAPSHOT_VERSION};
use crate::{
    event::Failure,
    id::{JobId, Key, KindId, Lsn, QueueId, ShardId, Token},
    job::{
        Backoff, Clock, JobState,
        dead::{DeadEntry, Death},
        record::{AttemptsMax, NO_SCHEDULE, Record, Traits},
        unique::Held,
    },
    limits,
    queue::{Bounds, Queue, QueueLimits, Rate},
    time::{MonoTime, WallTime},
};

const MAGIC: [u8; 8] = *b"TWHLSNAP";
/// Up to the version.
pub(super) const VERSIONED_BYTES: usize = 12;
pub(super) const HEADER_BYTES: usize = 136;
/// Of version 7, which had no part about groups.
const HEADER_BYTES_7: usize = 132;
pub(super) const SCHEDULE_HEAD_BYTES: usize = 16;
pub(super) const QUEUE_HEAD_BYTES: usize = 56;
pub(super) const JOB_BYTES: usize = 60;
pub(super) const KEY_BYTES: usize = 24;
pub(super) const OPTIONS_HEAD_BYTES: usize = 10;
pub(super) const UNIQUE_BYTES: usize = 48;
pub(super) const ENDED_BYTES: usize = 16;
pub(super) const LEASE_BYTES: usize = 16;
pub(super) const DEAD_HEAD_BYTES: usize = 40;

/// States of a job.
const WAITING: u8 = 0;
const RUNNING: u8 = 1;
const FETCHED: u8 = 2;
const DEAD: u8 = 3;
const BLOCKED: u8 = 4;

/// What a snapshot begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) shard: ShardId,
    pub(crate) at: WallTime,
    pub(crate) offset_ns: i64,
    /// At most [`JobId::SEQUENCE_MAX`].
    pub(crate) next_sequence: u64,
    /// Added, succeeded, dead, cancelled; failed attempts; expired.
    pub(crate) totals: [u64; 6],
    pub(crate) kinds: u32,
    pub(crate) schedules: u32,
    pub(crate) jobs: u32,
    pub(crate) queues: u32,
    pub(crate) groups: u32,
    pub(crate) keys: u32,
    pub(crate) options: u32,
    pub(crate) uniques: u32,
    pub(crate) ended: u32,
    pub(crate) batches: u32,
    pub(crate) leases: u32,
    pub(crate) dead: u32,
}

impl Header {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.extend(MAGIC);
        out.extend(SNAPSHOT_VERSION.to_le_bytes());
        out.extend([self.shard.0, 0, 0, 0]);
        out.extend(self.at.0.to_le_bytes());
        out.extend(self.offset_ns.to_le_bytes());
        out.extend(self.next_sequence.to_le_bytes());
        for total in self.totals {
            out.extend(total.to_le_bytes());
        }
        let Self { kinds, queues, schedules, jobs, keys, options, .. } = *self;
        let Self { uniques, ended, batches, leases, dead, groups, .. } = *self;
        let first = [kinds, queues, schedules, jobs, keys, options];
        for count in first.into_iter().chain([uniques, ended, batches, leases, dead, groups]) {
            out.extend(count.to_le_bytes());
        }
    }

    /// How long the header is of which the first bytes are given.
    pub(super) fn len_bytes(fixed: &[u8; VERSIONED_BYTES]) -> Result<usize, RestoreError> {
        let mut fields = Fields(fixed);
        if fields.take() != MAGIC {
            return Err(RestoreError::NotASnapshot);
        }
        match fields.u32() {
            SNAPSHOT_VERSION => Ok(HEADER_BYTES),
            7 => Ok(HEADER_BYTES_7),
            found => Err(RestoreError::Version { found }),
        }
    }

    /// Reads a header of the length that [`Header::len_bytes`] says.
    pub(super) fn decode(fixed: &[u8], shard: ShardId) -> Result<Self, RestoreError> {
        let mut padded = [0; HEADER_BYTES];
        padded[..fixed.len()].copy_from_slice(fixed);
        let mut fields = Fields(&padded[VERSIONED_BYTES..]);
        let [found, zeros @ ..] = fields.take::<4>();
        if found != shard.0 {
            return Err(RestoreError::Shard { found, expected: shard.0 });
        }
        let header = Self {
            shard,
            at: WallTime(fields.u64()),
            offset_ns: fields.u64().cast_signed(),
            next_sequence: fields.u64(),
            totals: core::array::from_fn(|_| fields.u64()),
            kinds: fields.u32(),
            queues: fields.u32(),
            schedules: fields.u32(),
            jobs: fields.u32(),
            keys: fields.u32(),
            options: fields.u32(),
            uniques: fields.u32(),
            ended: fields.u32(),
            batches: fields.u32(),
            leases: fields.u32(),
            dead: fields.u32(),
            groups: fields.u32(),
        };
        let numbers_fit = header.kinds <= limits::KINDS_MAX as u32
            && header.queues <= limits::QUEUES_MAX as u32
            && header.keys <= header.jobs
            && header.options <= header.jobs
            && header.leases <= header.jobs
            && header.dead <= header.jobs
            && header.schedules <= limits::SCHEDULES_MAX as u32
            && header.jobs <= limits::JOBS_MAX
            && header.next_sequence <= JobId::SEQUENCE_MAX
            && header.totals.iter().all(|total| *total <= JobId::SEQUENCE_MAX);
        if !numbers_fit || zeros != [0; 3] {
            return Err(RestoreError::Malformed("its header has a number that none has"));
        }
        Ok(header)
    }
}

/// What a snapshot holds of a queue, beside its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QueueEntry {
    pub(crate) is_paused: bool,
    pub(crate) body: Lsn,
    pub(crate) body_units: u16,
    /// Within their ranges.
    pub(crate) limits: QueueLimits,
    pub(crate) limits_body: Lsn,
    pub(crate) limits_units: u16,
    pub(crate) full_at: WallTime,
}

impl QueueEntry {
    pub(crate) fn of(queue: &Queue, bounds: &Bounds, offset_ns: i64) -> Self {
        let limits = *bounds.limits();
        Self {
            is_paused: queue.is_paused,
            body: bounds.body,
            body_units: bounds.body_units,
            limits,
            limits_body: bounds.limits_body,
            limits_units: bounds.limits_units,
            full_at: limits.rate.map_or(WallTime(0), |_| bounds.full_at(offset_ns)),
        }
    }
}

pub(super) fn encode_queue(name_bytes: u16, entry: &QueueEntry) -> [u8; QUEUE_HEAD_BYTES] {
    let QueueLimits { concurrency, rate, weight, length } = entry.limits;
    let rate = rate.map_or([0; 3], |rate| [rate.jobs, rate.period_ms, rate.burst]);
    let mut fixed = [0; QUEUE_HEAD_BYTES];
    let mut out = Out(&mut fixed);
    out.put(name_bytes.to_le_bytes());
    out.put([u8::from(entry.is_paused), 0, 0, 0]);
    out.put(entry.body_units.to_le_bytes());
    out.put(entry.body.0.to_le_bytes());
    out.put(entry.limits_body.0.to_le_bytes());
    out.put(entry.limits_units.to_le_bytes());
    out.put([weight, 0]);
    for number in [concurrency.unwrap_or(0), length.unwrap_or(0)].into_iter().chain(rate) {
        out.put(number.to_le_bytes());
    }
    out.put(entry.full_at.0.to_le_bytes());
    debug_assert!(out.0.is_empty());
    fixed
}

/// A queue, with the length of its name.
pub(super) fn decode_queue(
    fixed: &[u8; QUEUE_HEAD_BYTES],
) -> Result<(u16, QueueEntry), RestoreError> {
    let mut fields = Fields(fixed);
    let name_bytes = fields.u16();
    let [paused, zeros @ ..] = fields.take::<4>();
    let body_units = fields.u16();
    let body = Lsn(fields.u64());
    let limits_body = Lsn(fields.u64());
    let limits_units = fields.u16();
    let [weight, zero] = fields.take::<2>();
    // No limit has the value 0.
    let mut some = || Some(fields.u32()).filter(|number| *number != 0);
    let (concurrency, length) = (some(), some());
    let rate = match (some(), some(), some()) {
        (None, None, None) => None,
        (jobs, period_ms, burst) => Some(Rate {
            jobs: jobs.unwrap_or(0),
            period_ms: period_ms.unwrap_or(0),
            burst: burst.unwrap_or(0),
        }),
    };
    let limits = QueueLimits { concurrency, rate, weight, length };
    let full_at = WallTime(fields.u64());
    let fits = (1..=limits::NAME_BYTES_MAX).contains(&usize::from(name_bytes))
        && paused <= 1
        && zeros == [0; 3]
        && zero == 0
        && limits.check().is_ok();
    if !fits {
        return Err(RestoreError::Malformed("a queue has a head that none has"));
    }
    let is_paused = paused == 1;
    let entry =
        QueueEntry { is_paused, body, body_units, limits, limits_body, limits_units, full_at };
    Ok((name_bytes, entry))
}

pub(super) fn encode_job(record: &Record, schedule: u16, offset_ns: i64) -> [u8; JOB_BYTES] {
    let (due, clock) = match record.clock() {
        Clock::Mono => (MonoTime(record.due_ns).to_wall(offset_ns).0, 0),
        Clock::Wall => (record.due_ns, 1),
    };
    let state = match record.state {
        JobState::Running if record.is_fetched() => FETCHED,
        JobState::Running => RUNNING,
        JobState::Dead => DEAD,
        JobState::Blocked => BLOCKED,
        _ => WAITING,
    };
    let mut fixed = [0; JOB_BYTES];
    let mut out = Out(&mut fixed);
    out.put(record.id.0.to_le_bytes());
    out.put(record.body.0.to_le_bytes());
    out.put(due.to_le_bytes());
    out.put(record.token.0.to_le_bytes());
    out.put(record.backoff.base_ms.to_le_bytes());
    out.put(record.backoff.max_ms.to_le_bytes());
    out.put(record.timeout_ms.to_le_bytes());
    out.put(schedule.to_le_bytes());
    out.put(record.body_units.to_le_bytes());
    out.put(record.kind.0.to_le_bytes());
    out.put(record.payload_offset.to_le_bytes());
    out.put(record.attempt.to_le_bytes());
    out.put(record.attempts_max.get().to_le_bytes());
    out.put(record.queue.0.to_le_bytes());
    let (keyed, options) = (u8::from(record.is_keyed()), u8::from(record.has_options()));
    let drops_dead = u8::from(!record.attempts_max.keeps_dead());
    out.put([record.priority(), state, clock, keyed, options, drops_dead]);
    debug_assert!(out.0.is_empty());
    fixed
}

/// A job, with its due time on the wall clock in any case.
#[inline]
pub(super) fn decode_job(fixed: &[u8; JOB_BYTES], header: &Header) -> Result<Record, RestoreError> {
    let mut fields = Fields(fixed);
    let id = JobId(fields.u64());
    let body = Lsn(fields.u64());
    let due_ns = fields.u64();
    let token = Token(fields.u32());
    let backoff = Backoff { base_ms: fields.u32(), max_ms: fields.u32() };
    let timeout_ms = fields.u32();
    let schedule = fields.u16();
    let body_units = fields.u16();
    let kind = KindId(fields.u16());
    let payload_offset = fields.u16();
    let attempt = fields.u16();
    let attempts_max = fields.u16();
    let queue = QueueId(fields.u16());
    let [priority, state, clock, keyed, options, drops_dead] = fields.take::<6>();
    let id_fits = id.shard() == header.shard && (1..header.next_sequence).contains(&id.sequence());
    let schedule_fits = schedule == NO_SCHEDULE || u32::from(schedule) < header.schedules;
    let fits = id_fits
        && schedule_fits
        && u32::from(kind.0) < header.kinds
        && priority <= limits::PRIORITY_MAX
        && u32::from(queue.0) < header.queues
        && state <= BLOCKED
        && (state != BLOCKED || options == 1)
        && clock <= 1
        && keyed <= 1
        && options <= 1
        && drops_dead <= 1;
    if !fits {
        return Err(RestoreError::Malformed("a job has a field that is out of its range"));
    }
    Ok(Record {
        id,
        body,
        due_ns,
        ready_ns: 0,
        schedule,
        body_units,
        token,
        backoff,
        timeout_ms,
        kind,
        payload_offset,
        attempt,
        attempts_max: AttemptsMax::new(attempts_max)
            .with_options(options == 1)
            .keeping_dead(drops_dead == 0),
        queue,
        state: match state {
            WAITING => JobState::Scheduled,
            DEAD => JobState::Dead,
            BLOCKED => JobState::Blocked,
            _ => JobState::Running,
        },
        traits: Traits::job(priority)
            .on(if clock == 0 { Clock::Mono } else { Clock::Wall })
            .keyed(keyed == 1)
            .fetched(state == FETCHED),
    })
}

/// When the lease of a fetched attempt ends.
pub(super) fn encode_lease(record: &Record, offset_ns: i64) -> [u8; LEASE_BYTES] {
    let ends = MonoTime(record.ready_ns).to_wall(offset_ns);
    let mut fixed = [0; LEASE_BYTES];
    let mut out = Out(&mut fixed);
    out.put(record.id.0.to_le_bytes());
    out.put(ends.0.to_le_bytes());
    debug_assert!(out.0.is_empty());
    fixed
}

pub(super) fn encode_unique(held: &Held) -> [u8; UNIQUE_BYTES] {
    let mut fixed = [0; UNIQUE_BYTES];
    let mut out = Out(&mut fixed);
    out.put(held.key.0);
    out.put(held.job.0.to_le_bytes());
    out.put(held.until.map_or(0, |until| until.0).to_le_bytes());
    out.put(held.body.0.to_le_bytes());
    out.put(held.units.to_le_bytes());
    out.put([u8::from(held.outlives), 0, 0, 0, 0, 0]);
    debug_assert!(out.0.is_empty());
    fixed
}

/// What a snapshot holds of a dead job beside its record, but for its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DeadHead {
    pub(super) job: JobId,
    pub(super) died: WallTime,
    pub(super) failure: Failure,
    pub(super) key: Option<Key>,
    pub(super) message_len: u8,
}

pub(super) fn encode_dead(job: JobId, entry: &DeadEntry) -> [u8; DEAD_HEAD_BYTES] {
    let Death { at, failure, message } = entry.death();
    let key = entry.key();
    let failure = match failure {
        Failure::Retryable => 0,
        Failure::Permanent => 1,
        Failure::Panicked => 2,
        Failure::TimedOut => 3,
        Failure::Lost => 4,
        Failure::Killed => 5,
    };
    let mut fixed = [0; DEAD_HEAD_BYTES];
    let mut out = Out(&mut fixed);
    out.put(job.0.to_le_bytes());
    out.put(at.0.to_le_bytes());
    out.put(key.unwrap_or_default().0);
    out.put([failure, u8::from(key.is_some()), message.len() as u8, 0, 0, 0, 0, 0]);
    debug_assert!(out.0.is_empty());
    fixed
}

pub(super) fn decode_unique(fixed: &[u8; UNIQUE_BYTES]) -> Result<Held, RestoreError> {
    let mut fields = Fields(fixed);
    let held = Held {
        key: Key(fields.take()),
        job: JobId(fields.u64()),
        until: Some(fields.u64()).filter(|at| *at != 0).map(WallTime),
        body: Lsn(fields.u64()),
        units: fields.u16(),
        outlives: false,
    };
    let [outlives, zeros @ ..] = fields.take::<6>();
    if outlives > 1 || zeros != [0; 5] || (outlives == 1 && held.until.is_none()) {
        return Err(RestoreError::Malformed("a key of uniqueness has a field that none has"));
    }
    Ok(Held { outlives: outlives == 1, ..held })
}

pub(super) fn decode_dead(fixed: &[u8; DEAD_HEAD_BYTES]) -> Result<DeadHead, RestoreError> {
    let mut fields = Fields(fixed);
    let job = JobId(fields.u64());
    let died = WallTime(fields.u64());
    let key = Key(fields.take());
    let [failure, keyed, message_len, zeros @ ..] = fields.take::<8>();
    let failure = match failure {
        0 => Some(Failure::Retryable),
        1 => Some(Failure::Permanent),
        2 => Some(Failure::Panicked),
        3 => Some(Failure::TimedOut),
        4 => Some(Failure::Lost),
        5 => Some(Failure::Killed),
        _ => None,
    };
    let fits = keyed <= 1
        && (keyed == 1 || key == Key::default())
        && usize::from(message_len) <= limits::DEAD_MESSAGE_BYTES_MAX
        && zeros == [0; 5];
    match failure.filter(|_| fits) {
        Some(failure) => {
            let key = (keyed == 1).then_some(key);
            Ok(DeadHead { job, died, failure, key, message_len })
        }
        None => Err(RestoreError::Malformed("a dead job has a head that none has")),
    }
}

/// Reads numbers off an array that is long enough for all of them.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl Fields<'_> {
    pub(super) fn take<const N: usize>(&mut self) -> [u8; N] {
        let (taken, rest) = self.0.split_first_chunk().expect("the layout's sum is its length");
        self.0 = rest;
        *taken
    }

    pub(super) fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.take())
    }

    pub(super) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    pub(super) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }
}

/// Writes numbers into an array that is long enough for all of them.
struct Out<'a>(&'a mut [u8]);

impl Out<'_> {
    fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        let space = core::mem::take(&mut self.0);
        let (place, rest) = space.split_first_chunk_mut().expect("the layout's sum is its length");
        *place = bytes;
        self.0 = rest;
    }
}
