//! What the table keeps of a job: 64 bytes. The payload stays in the journal.

use super::{Backoff, Clock, JobState};
use crate::{
    id::{JobId, KindId, Lsn, Token},
    limits,
};

/// No schedule added this job.
pub(crate) const NO_SCHEDULE: u16 = u16::MAX;

/// Bytes of one unit of [`Record::body_units`].
pub(crate) const UNIT_BYTES: u64 = 16;

/// Length of the record that holds an event of `len_bytes`, in units, rounded up. It is at most
/// one unit too long. An event that is within 32 bytes of 1 MiB, or longer, is counted as 1 MiB
/// less 16 bytes: at most 0.4 % too short.
pub(crate) fn body_units(len_bytes: usize) -> u16 {
    let record_bytes = (len_bytes + limits::RECORD_HEADER_BYTES).next_multiple_of(8);
    u16::try_from(record_bytes.div_ceil(UNIT_BYTES as usize)).unwrap_or(u16::MAX)
}

/// What a slot of the table is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Nothing; `due` holds the next free slot.
    Free,
    /// A job.
    Job,
    /// The timer of the schedule in `schedule`.
    Schedule,
}

/// A job, as the table holds it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    pub(crate) id: JobId,
    /// The event that holds it: the one that added it, or the last that wrote it again. Of a
    /// schedule's timer, the event from which the schedule's state can be built. Changed only by
    /// [`super::table::JobTable::set_body`], which keeps the sum of lengths.
    pub(crate) body: Lsn,
    /// Due time in nanoseconds, on `clock`; for a running job that of the attempt's trigger.
    pub(crate) due_ns: u64,
    /// When it became ready, in nanoseconds on the monotonic clock. It is measured, never decided on.
    pub(crate) ready_ns: u64,
    /// The schedule that added it, or [`NO_SCHEDULE`].
    pub(crate) schedule: u16,
    /// Length of the record at `body`; see [`body_units`].
    pub(crate) body_units: u16,
    pub(crate) token: Token,
    pub(crate) backoff: Backoff,
    pub(crate) timeout_ms: u32,
    pub(crate) kind: KindId,
    /// Where the payload begins within its event.
    pub(crate) payload_offset: u16,
    pub(crate) attempt: u16,
    pub(crate) attempts_max: u16,
    pub(crate) priority: u8,
    pub(crate) state: JobState,
    pub(crate) clock: Clock,
    pub(crate) role: Role,
}

impl Default for Record {
    fn default() -> Self {
        Self {
            id: JobId(0),
            body: Lsn(0),
            due_ns: 0,
            ready_ns: 0,
            schedule: NO_SCHEDULE,
            body_units: 0,
            token: Token(0),
            backoff: Backoff { base_ms: 0, max_ms: 0 },
            timeout_ms: 0,
            kind: KindId(0),
            payload_offset: 0,
            attempt: 0,
            attempts_max: 0,
            priority: 0,
            state: JobState::Scheduled,
            clock: Clock::Mono,
            role: Role::Free,
        }
    }
}

// Each schedule has a number of its own that is not the one that means none.
const _: () = assert!(limits::SCHEDULES_MAX <= NO_SCHEDULE as usize);
// One processor line per job.
const _: () = assert!(size_of::<Record>() <= 64);
