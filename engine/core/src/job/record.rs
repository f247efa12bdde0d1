//! What the table keeps of a job: 64 bytes. The payload stays in the journal.

use super::{Backoff, Clock, JobState};
use crate::{
    id::{JobId, KindId, Lsn, QueueId, Token},
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
    /// When it became ready, in nanoseconds on the monotonic clock: measured, never decided on. Of a
    /// job whose present attempt was fetched, when the lease of that ends. Of a dead job, the number
    /// of its entry in the dead set.
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
    pub(crate) attempts_max: AttemptsMax,
    pub(crate) queue: QueueId,
    pub(crate) state: JobState,
    pub(crate) traits: Traits,
}

/// Attempts of a job at the most, and in spare bits whether it has options, and whether it is kept in the
/// dead set if it fails for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AttemptsMax(u16);

impl AttemptsMax {
    const OPTIONS: u16 = 1 << 15;
    /// Not kept in the dead set.
    const DROPS_DEAD: u16 = 1 << 14;

    /// Of a job without options, which is kept; what no job has is cut to what fits.
    pub(crate) const fn new(attempts_max: u16) -> Self {
        let most = Self::DROPS_DEAD - 1;
        if attempts_max < most { Self(attempts_max) } else { Self(most) }
    }

    pub(crate) const fn with_options(self, has_options: bool) -> Self {
        if has_options { Self(self.0 | Self::OPTIONS) } else { Self(self.0 & !Self::OPTIONS) }
    }

    pub(crate) const fn keeping_dead(self, keeps_dead: bool) -> Self {
        if keeps_dead { Self(self.0 & !Self::DROPS_DEAD) } else { Self(self.0 | Self::DROPS_DEAD) }
    }

    pub(crate) const fn get(self) -> u16 {
        self.0 & !(Self::OPTIONS | Self::DROPS_DEAD)
    }

    /// Whether the job is kept in the dead set if it fails for good.
    pub(crate) const fn keeps_dead(self) -> bool {
        self.0 & Self::DROPS_DEAD == 0
    }
}

/// Small facts about a record, in one byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Traits(u8);

impl Traits {
    const PRIORITY: u8 = 0x0f;
    const WALL: u8 = 0x10;
    const KEYED: u8 = 0x20;
    const JOB: u8 = 0x40;
    const SCHEDULE: u8 = 0x80;
    /// A job whose present attempt was fetched.
    const FETCHED: u8 = Self::JOB | Self::SCHEDULE;

    pub(crate) const FREE: Self = Self(0);

    /// A job without a key, on the monotonic clock.
    pub(crate) fn job(priority: u8) -> Self {
        Self(Self::JOB | priority.min(limits::PRIORITY_MAX))
    }

    /// A schedule's timer, on the monotonic clock.
    pub(crate) fn schedule() -> Self {
        Self(Self::SCHEDULE)
    }

    pub(crate) fn on(self, clock: Clock) -> Self {
        match clock {
            Clock::Mono => Self(self.0 & !Self::WALL),
            Clock::Wall => Self(self.0 | Self::WALL),
        }
    }

    /// Of a job, whether its present attempt was fetched.
    pub(crate) fn fetched(self, is_fetched: bool) -> Self {
        let role = if is_fetched { Self::FETCHED } else { Self::JOB };
        Self(self.0 & !Self::FETCHED | role)
    }

    pub(crate) fn with_priority(self, priority: u8) -> Self {
        Self(self.0 & !Self::PRIORITY | priority.min(limits::PRIORITY_MAX))
    }

    pub(crate) fn keyed(self, is_keyed: bool) -> Self {
        if is_keyed { Self(self.0 | Self::KEYED) } else { Self(self.0 & !Self::KEYED) }
    }
}

impl Record {
    pub(crate) fn role(&self) -> Role {
        match self.traits.0 & (Traits::JOB | Traits::SCHEDULE) {
            0 => Role::Free,
            Traits::SCHEDULE => Role::Schedule,
            _ => Role::Job,
        }
    }

    /// Whether the job's present attempt was fetched, so that only its lease says when it is lost.
    pub(crate) fn is_fetched(&self) -> bool {
        self.traits.0 & Traits::FETCHED == Traits::FETCHED
    }

    /// Whether it is a job with a lease: its attempt under way was fetched.
    pub(crate) fn has_lease(&self) -> bool {
        self.is_fetched() && self.state == JobState::Running
    }

    /// The clock of `due_ns`.
    pub(crate) fn clock(&self) -> Clock {
        if self.traits.0 & Traits::WALL == 0 { Clock::Mono } else { Clock::Wall }
    }

    pub(crate) fn set_clock(&mut self, clock: Clock) {
        self.traits = self.traits.on(clock);
    }

    /// 0 to 9.
    pub(crate) fn priority(&self) -> u8 {
        self.traits.0 & Traits::PRIORITY
    }

    /// Whether the job has options, which the scheduler's table of options holds.
    pub(crate) fn has_options(&self) -> bool {
        self.attempts_max.0 & AttemptsMax::OPTIONS != 0
    }

    /// Whether it ends once its time is over: an attempt that counts has not begun.
    pub(crate) fn may_expire(&self) -> bool {
        self.has_options() && self.attempt == 0 && self.state != JobState::Running
    }

    /// Whether it is a job that is held because it failed for good.
    pub(crate) fn is_dead(&self) -> bool {
        self.state == JobState::Dead && self.role() == Role::Job
    }

    /// Of a dead job, its entry in the dead set.
    pub(crate) fn dead_entry(&self) -> u32 {
        self.ready_ns as u32
    }

    /// Whether the job has a key.
    pub(crate) fn is_keyed(&self) -> bool {
        self.traits.0 & Traits::KEYED != 0
    }
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
            attempts_max: AttemptsMax::new(0),
            queue: QueueId(0),
            state: JobState::Scheduled,
            traits: Traits::FREE,
        }
    }
}

// Each schedule has a number of its own that is not the one that means none.
const _: () = assert!(limits::SCHEDULES_MAX <= NO_SCHEDULE as usize);
// One processor line per job.
const _: () = assert!(size_of::<Record>() <= 64);
