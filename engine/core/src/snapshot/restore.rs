//! Reading a snapshot, piece by piece. Nothing in it is believed before it was checked.

use alloc::{boxed::Box, sync::Arc, vec::Vec};

use super::{
    QueueEntry, SNAPSHOT_VERSION,
    layout::{
        DEAD_HEAD_BYTES, DeadHead, ENDED_BYTES, Fields, Header, JOB_BYTES, KEY_BYTES, LEASE_BYTES,
        OPTIONS_HEAD_BYTES, QUEUE_HEAD_BYTES, SCHEDULE_HEAD_BYTES, UNIQUE_BYTES, VERSIONED_BYTES,
        decode_dead, decode_job, decode_queue, decode_unique,
    },
};
use crate::{
    event::{DecodeEventError, TermOptions},
    id::{JobId, Key, Lsn},
    job::{JobOptions, dead::Death, record::Record, table::Order, unique::Held},
    limits,
    pages::PAGE_LEN,
    scheduler::{Config, ReplayError, Scheduler},
    time::{Now, WallTime},
};

/// Builds a scheduler from the bytes of a snapshot.
///
/// The bytes are given in order, cut into pieces anywhere. What they ask for in memory is at most
/// some times their own length, and half a mebibyte, whatever they say.
///
/// ```
/// use tickwheel_core::{Config, MonoTime, Now, Restore, Scheduler, ShardId, WallTime};
/// let now = Now { mono: MonoTime(1), wall: WallTime(1_800_000_000_000_000_000) };
/// let mut core = Scheduler::new(Config::new(ShardId(0)), now);
/// let mut restore = Restore::new(Config::new(ShardId(0)), now);
/// core.freeze().write(&mut |piece: &[u8]| restore.feed(piece))?;
/// assert_eq!(restore.finish()?.counts(), core.counts());
/// # Ok::<(), tickwheel_core::RestoreError>(())
/// ```
#[derive(Debug)]
pub struct Restore {
    parser: SnapshotParser,
    builder: SnapshotBuilder,
}

impl Restore {
    /// Begins with nothing, at `now`; the shard is that of `config`.
    #[must_use]
    pub fn new(config: Config, now: Now) -> Self {
        let header = Header {
            shard: config.shard,
            at: now.wall,
            offset_ns: now.offset_ns(),
            next_sequence: 1,
            totals: [0; 6],
            kinds: 0,
            schedules: 0,
            jobs: 0,
            queues: 0,
            groups: 0,
            keys: 0,
            options: 0,
            uniques: 0,
            ended: 0,
            batches: 0,
            leases: 0,
            dead: 0,
        };
        let parser = SnapshotParser {
            rest: Vec::new(),
            part: Part::Header,
            header,
            jobs: Vec::new(),
            with_options: 0,
            end: Lsn(u64::MAX),
        };
        let core = Scheduler::new(config, now);
        let order = Order::Rising(JobId(0));
        Self { parser, builder: SnapshotBuilder { core, header, order, state: State::Building } }
    }

    /// Refuses a snapshot that names records at or behind `end`, the position that it is of.
    #[must_use]
    pub fn ends_at(self, end: Lsn) -> Self {
        Self { parser: SnapshotParser { end, ..self.parser }, ..self }
    }

    /// The two halves of the work, so that two threads can share it: one takes the bytes apart, the
    /// other builds from the pieces, which it must be given in their order.
    #[must_use]
    pub fn into_halves(self) -> (SnapshotParser, SnapshotBuilder) {
        (self.parser, self.builder)
    }

    /// Reads the next bytes. They may end anywhere.
    ///
    /// # Errors
    /// If the bytes are not a snapshot's. What was read is of no use then: drop this.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), RestoreError> {
        let result = self.parser.feed(bytes).and_then(|pieces| self.builder.take(pieces));
        if result.is_err() {
            self.parser.part = Part::Refused;
            self.builder.state = State::Refused;
        }
        result
    }

    /// Ends the restoring; the events behind the freeze can be replayed now. From here on an event
    /// that names something unknown is an error at once.
    ///
    /// # Errors
    /// If the bytes given so far are not a whole snapshot.
    pub fn finish(self) -> Result<Scheduler, RestoreError> {
        self.builder.finish()
    }
}

/// Takes the bytes of a snapshot apart: the first half of a [`Restore`].
#[derive(Debug)]
pub struct SnapshotParser {
    /// Bytes given and not read yet: the beginning of one entry.
    rest: Vec<u8>,
    part: Part,
    header: Header,
    /// Jobs of a page that is not full yet.
    jobs: Vec<Record>,
    /// Jobs that are to have options.
    with_options: u32,
    /// Records lie before it.
    end: Lsn,
}

/// What was read of a snapshot, to be given to a [`SnapshotBuilder`].
#[derive(Debug)]
pub struct SnapshotPieces {
    pieces: Vec<Piece>,
}

#[derive(Debug)]
enum Piece {
    Header(Header),
    Kind(Box<str>),
    Queue(Box<str>, QueueEntry),
    Group {
        body: Lsn,
        units: u16,
        event: Box<[u8]>,
    },
    Schedule {
        body: Lsn,
        units: u16,
        event: Box<[u8]>,
    },
    /// With due times on the wall clock; as many as the table has in a page, where it has room for so
    /// many.
    Jobs(Vec<Record>),
    AllJobs,
    Key(JobId, Key),
    Options(JobId, Arc<JobOptions>),
    Unique(Held),
    /// A job that others wait for, and whether it succeeded.
    Ended(JobId, bool),
    Batch {
        body: Lsn,
        units: u16,
        event: Box<[u8]>,
    },
    Lease(JobId, WallTime),
    Dead(DeadHead, Box<str>),
    End,
}

/// What comes next; the number is how many of them are still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Header,
    Kinds(u32),
    Queues(u32),
    Groups(u32),
    Schedules(u32),
    Jobs(u32),
    Keys(u32),
    Options(u32),
    Uniques(u32),
    Ended(u32),
    Batches(u32),
    Leases(u32),
    Dead(u32),
    End,
    /// Nothing: the bytes were refused.
    Refused,
}

impl SnapshotParser {
    /// Reads the next bytes. They may end anywhere.
    ///
    /// # Errors
    /// If the bytes are not a snapshot's. What was read is of no use then: drop this.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<SnapshotPieces, RestoreError> {
        let mut pieces = Vec::new();
        let result = self.feed_into(bytes, &mut pieces);
        if result.is_err() {
            self.part = Part::Refused;
        }
        result.map(|()| SnapshotPieces { pieces })
    }

    fn feed_into(&mut self, bytes: &[u8], pieces: &mut Vec<Piece>) -> Result<(), RestoreError> {
        let mut rest = core::mem::take(&mut self.rest);
        // An entry may lie in several pieces. Else the bytes are read where they are.
        let mut unread = bytes;
        if !rest.is_empty() {
            rest.extend_from_slice(bytes);
            unread = &rest;
        }
        loop {
            let used = self.read(unread, pieces)?;
            if used == 0 {
                break;
            }
            unread = &unread[used..];
        }
        self.rest = unread.to_vec();
        Ok(())
    }

    /// Reads as much as can be read at one go, and returns its length; 0 if more is needed.
    fn read(&mut self, bytes: &[u8], pieces: &mut Vec<Piece>) -> Result<usize, RestoreError> {
        let (used, part) = match self.part {
            Part::Header => {
                let Some(first) = bytes.first_chunk::<VERSIONED_BYTES>() else { return Ok(0) };
                let len = Header::len_bytes(first)?;
                let Some(fixed) = bytes.get(..len) else { return Ok(0) };
                self.header = Header::decode(fixed, self.header.shard)?;
                pieces.push(Piece::Header(self.header));
                (len, Part::Kinds(self.header.kinds))
            }
            Part::Kinds(left) => (read_kind(bytes, pieces)?, Part::Kinds(left - 1)),
            Part::Queues(left) => (read_queue(bytes, pieces)?, Part::Queues(left - 1)),
            Part::Groups(left) => {
                let Some(Located { body, units, event }) = located(bytes)? else { return Ok(0) };
                pieces.push(Piece::Group { body, units, event: event.into() });
                (SCHEDULE_HEAD_BYTES + event.len(), Part::Groups(left - 1))
            }
            Part::Schedules(left) => {
                let Some(Located { body, units, event }) = located(bytes)? else { return Ok(0) };
                pieces.push(Piece::Schedule { body, units, event: event.into() });
                (SCHEDULE_HEAD_BYTES + event.len(), Part::Schedules(left - 1))
            }
            Part::Jobs(left) => {
                let jobs = self.read_jobs(bytes, left, pieces)?;
                (jobs * JOB_BYTES, Part::Jobs(left - jobs as u32))
            }
            Part::Keys(left) => {
                let keys = (bytes.len() / KEY_BYTES).min(left as usize);
                for fixed in bytes.as_chunks::<KEY_BYTES>().0.iter().take(keys) {
                    let mut fields = Fields(fixed);
                    pieces.push(Piece::Key(JobId(fields.u64()), Key(fields.take())));
                }
                (keys * KEY_BYTES, Part::Keys(left - keys as u32))
            }
            Part::Options(left) => (read_options(bytes, pieces)?, Part::Options(left - 1)),
            Part::Uniques(left) => {
                let Some(fixed) = bytes.first_chunk::<UNIQUE_BYTES>() else { return Ok(0) };
                pieces.push(Piece::Unique(decode_unique(fixed)?));
                (UNIQUE_BYTES, Part::Uniques(left - 1))
            }
            Part::Ended(left) => {
                let Some(fixed) = bytes.first_chunk::<ENDED_BYTES>() else { return Ok(0) };
                let mut fields = Fields(fixed);
                let (job, [well, zeros @ ..]) = (JobId(fields.u64()), fields.take::<8>());
                if well > 1 || zeros != [0; 7] {
                    return Err(RestoreError::Malformed("the end of a job is none that there is"));
                }
                pieces.push(Piece::Ended(job, well == 1));
                (ENDED_BYTES, Part::Ended(left - 1))
            }
            Part::Batches(left) => {
                let Some(Located { body, units, event }) = located(bytes)? else { return Ok(0) };
                pieces.push(Piece::Batch { body, units, event: event.into() });
                (SCHEDULE_HEAD_BYTES + event.len(), Part::Batches(left - 1))
            }
            Part::Leases(left) => {
                let leases = (bytes.len() / LEASE_BYTES).min(left as usize);
                for fixed in bytes.as_chunks::<LEASE_BYTES>().0.iter().take(leases) {
                    let mut fields = Fields(fixed);
                    pieces.push(Piece::Lease(JobId(fields.u64()), WallTime(fields.u64())));
                }
                (leases * LEASE_BYTES, Part::Leases(left - leases as u32))
            }
            Part::Dead(left) => (read_dead(bytes, pieces)?, Part::Dead(left - 1)),
            Part::End if bytes.is_empty() => return Ok(0),
            Part::End => return Err(RestoreError::Malformed("it goes on after its end")),
            Part::Refused => return Err(REFUSED),
        };
        if used > 0 {
            if part == Part::Jobs(0) {
                if self.with_options != self.header.options {
                    return Err(RestoreError::Malformed("other jobs have options than say so"));
                }
                pieces.push(Piece::AllJobs);
            }
            self.part = self.after(part);
            if self.part == Part::End {
                pieces.push(Piece::End);
            }
        }
        Ok(used)
    }

    /// The part that follows, where nothing is left of this one.
    fn after(&self, part: Part) -> Part {
        match part {
            Part::Kinds(0) => self.after(Part::Queues(self.header.queues)),
            Part::Queues(0) => self.after(Part::Groups(self.header.groups)),
            Part::Groups(0) => self.after(Part::Schedules(self.header.schedules)),
            Part::Schedules(0) => self.after(Part::Jobs(self.header.jobs)),
            Part::Jobs(0) => self.after(Part::Keys(self.header.keys)),
            Part::Keys(0) => self.after(Part::Options(self.header.options)),
            Part::Options(0) => self.after(Part::Uniques(self.header.uniques)),
            Part::Uniques(0) => self.after(Part::Ended(self.header.ended)),
            Part::Ended(0) => self.after(Part::Batches(self.header.batches)),
            Part::Batches(0) => self.after(Part::Leases(self.header.leases)),
            Part::Leases(0) => self.after(Part::Dead(self.header.dead)),
            Part::Dead(0) => Part::End,
            part => part,
        }
    }

    /// Reads the whole jobs in `bytes`, of which `left` are to come, and returns how many they are.
    fn read_jobs(
        &mut self,
        bytes: &[u8],
        left: u32,
        pieces: &mut Vec<Piece>,
    ) -> Result<usize, RestoreError> {
        let count = (bytes.len() / JOB_BYTES).min(left as usize);
        let mut left = left as usize;
        let mut fixed = bytes.as_chunks::<JOB_BYTES>().0.iter().take(count);
        while fixed.len() > 0 {
            // The schedules have slots before the jobs, so the first page has less room.
            let before = self.header.schedules as usize + self.header.jobs as usize - left;
            let room = PAGE_LEN - before % PAGE_LEN;
            if self.jobs.is_empty() {
                self.jobs.reserve_exact(room.min(left));
            }
            for fixed in fixed.by_ref().take(room) {
                let job = decode_job(fixed, &self.header)?;
                if job.body >= self.end {
                    return Err(RestoreError::Malformed("a job's record lies behind its end"));
                }
                self.with_options += u32::from(job.has_options());
                self.jobs.push(job);
                left -= 1;
            }
            let before = self.header.schedules as usize + self.header.jobs as usize - left;
            if before.is_multiple_of(PAGE_LEN) || left == 0 {
                pieces.push(Piece::Jobs(core::mem::take(&mut self.jobs)));
            }
        }
        Ok(count)
    }
}

fn read_kind(bytes: &[u8], pieces: &mut Vec<Piece>) -> Result<usize, RestoreError> {
    let Some((len, rest)) = bytes.split_first_chunk() else { return Ok(0) };
    let len = usize::from(u16::from_le_bytes(*len));
    if len == 0 || len > limits::NAME_BYTES_MAX {
        return Err(RestoreError::Malformed("a kind's name has a length that none has"));
    }
    let Some(name) = rest.get(..len) else { return Ok(0) };
    let name = core::str::from_utf8(name)
        .map_err(|_| RestoreError::Malformed("a kind's name is not text"))?;
    pieces.push(Piece::Kind(name.into()));
    Ok(2 + len)
}

fn read_queue(bytes: &[u8], pieces: &mut Vec<Piece>) -> Result<usize, RestoreError> {
    let Some((head, rest)) = bytes.split_first_chunk::<QUEUE_HEAD_BYTES>() else {
        return Ok(0);
    };
    let (len, entry) = decode_queue(head)?;
    let len = usize::from(len);
    let Some(name) = rest.get(..len) else { return Ok(0) };
    let name = core::str::from_utf8(name)
        .map_err(|_| RestoreError::Malformed("a queue's name is not text"))?;
    pieces.push(Piece::Queue(name.into(), entry));
    Ok(QUEUE_HEAD_BYTES + len)
}

fn read_options(bytes: &[u8], pieces: &mut Vec<Piece>) -> Result<usize, RestoreError> {
    let Some((head, rest)) = bytes.split_first_chunk::<OPTIONS_HEAD_BYTES>() else {
        return Ok(0);
    };
    let mut fields = Fields(head);
    let (job, len) = (JobId(fields.u64()), usize::from(fields.u16()));
    if len > limits::JOB_OPTIONS_BYTES_MAX {
        return Err(RestoreError::Malformed("a job's options have a length that none have"));
    }
    let Some(options) = rest.get(..len) else { return Ok(0) };
    let options = TermOptions::decode(options).map_err(RestoreError::Options)?;
    let Some(options) = options.options() else {
        return Err(RestoreError::Malformed("a job's options are none"));
    };
    pieces.push(Piece::Options(job, options));
    Ok(OPTIONS_HEAD_BYTES + len)
}

fn read_dead(bytes: &[u8], pieces: &mut Vec<Piece>) -> Result<usize, RestoreError> {
    let Some((head, rest)) = bytes.split_first_chunk::<DEAD_HEAD_BYTES>() else {
        return Ok(0);
    };
    let head = decode_dead(head)?;
    let len = usize::from(head.message_len);
    let Some(message) = rest.get(..len) else { return Ok(0) };
    let message = core::str::from_utf8(message)
        .map_err(|_| RestoreError::Malformed("the message of a dead job is not text"))?;
    pieces.push(Piece::Dead(head, message.into()));
    Ok(DEAD_HEAD_BYTES + len)
}

/// An event in a snapshot, and where its record lies in the journal.
struct Located<'a> {
    body: Lsn,
    units: u16,
    event: &'a [u8],
}

/// Reads an event with its place; `None` if more bytes are needed.
fn located(bytes: &[u8]) -> Result<Option<Located<'_>>, RestoreError> {
    let Some((head, rest)) = bytes.split_first_chunk::<SCHEDULE_HEAD_BYTES>() else {
        return Ok(None);
    };
    let mut fields = Fields(head);
    let len = fields.u32() as usize;
    let units = fields.u16();
    let zero = fields.u16();
    let body = Lsn(fields.u64());
    if len > limits::EVENT_BYTES_MAX || zero != 0 {
        return Err(RestoreError::Malformed("an event has a head that none has"));
    }
    Ok(rest.get(..len).map(|event| Located { body, units, event }))
}

/// Builds a scheduler from what a [`SnapshotParser`] read: the second half of a [`Restore`].
#[derive(Debug)]
pub struct SnapshotBuilder {
    core: Scheduler,
    header: Header,
    order: Order,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Building,
    Whole,
    Refused,
}

impl SnapshotBuilder {
    /// Takes in the pieces that were read next.
    ///
    /// # Errors
    /// If they do not fit together. What was built is of no use then: drop this.
    pub fn take(&mut self, pieces: SnapshotPieces) -> Result<(), RestoreError> {
        let taken = pieces.pieces.into_iter().try_for_each(|piece| self.take_one(piece));
        if taken.is_err() {
            self.state = State::Refused;
        }
        taken
    }

    /// Ends the restoring, as [`Restore::finish`] does.
    ///
    /// # Errors
    /// If the pieces given so far are not a whole snapshot.
    pub fn finish(mut self) -> Result<Scheduler, RestoreError> {
        match self.state {
            State::Whole => {}
            State::Building => return Err(RestoreError::Truncated),
            State::Refused => return Err(REFUSED),
        }
        self.core.restored();
        Ok(self.core)
    }

    fn take_one(&mut self, piece: Piece) -> Result<(), RestoreError> {
        let wrong = match piece {
            Piece::Header(header) => {
                self.header = header;
                self.core.restore_header(&header);
                None
            }
            Piece::Kind(name) => {
                (!self.core.restore_kind(&name)).then_some("two kinds have the same name")
            }
            Piece::Queue(name, entry) => {
                (!self.core.restore_queue(&name, &entry)).then_some("two queues have the same name")
            }
            Piece::Group { body, units, event } => {
                let taken = self.core.restore_of_group(body, units, &event);
                (!taken.map_err(RestoreError::Group)?)
                    .then_some("of a group is told something else")
            }
            Piece::Schedule { body, units, event } => {
                self.core.restore_schedule(body, units, &event)?;
                None
            }
            Piece::Jobs(jobs) => {
                self.core.restore_jobs(jobs, &self.header, &mut self.order);
                None
            }
            Piece::AllJobs => self.index(),
            Piece::Key(job, key) => {
                (!self.core.restore_key(job, key)).then_some("a key has no job of its own")
            }
            Piece::Options(job, options) => (!self.core.restore_options(job, options))
                .then_some("options have no job of their own"),
            Piece::Unique(held) => {
                (!self.core.restore_unique(held)).then_some("a key of uniqueness is held twice")
            }
            Piece::Ended(job, well) => {
                self.core.restore_ended(job, well);
                None
            }
            Piece::Batch { body, units, event } => {
                self.core.restore_batch(body, units, &event)?;
                None
            }
            Piece::Lease(job, ends) => {
                (!self.core.restore_lease(job, ends)).then_some("a lease has no job of its own")
            }
            Piece::Dead(head, message) => {
                let death = Death { at: head.died, failure: head.failure, message: &message };
                (!self.core.restore_death(head.job, head.key, death))
                    .then_some("a death has no dead job of its own")
            }
            Piece::End => {
                self.state = State::Whole;
                (!self.core.all_dead_are_known()).then_some("of a dead job is not told how it died")
            }
        };
        wrong.map_or(Ok(()), |wrong| Err(RestoreError::Malformed(wrong)))
    }

    /// Lets all jobs be found: keys and leases name them by their ids. Says what is wrong with them.
    fn index(&mut self) -> Option<&'static str> {
        if !self.core.restore_index(self.order) {
            return Some("two jobs have the same id");
        }
        let fits = u64::from(self.header.leases) == self.core.counts().fetched;
        (!fits).then_some("not each lease has a job of its own")
    }
}

const REFUSED: RestoreError = RestoreError::Malformed("it was refused before");

/// The bytes are no snapshot that can be restored. The journal alone gives the same state: start
/// without the snapshot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// It does not begin as a snapshot does.
    #[error("not a snapshot: start without it")]
    NotASnapshot,
    /// It has another layout.
    #[error(
        "the snapshot has version {found}, this program reads {SNAPSHOT_VERSION}: start without it"
    )]
    Version {
        /// The version that it names.
        found: u32,
    },
    /// It is another shard's.
    #[error("the snapshot is of shard {found}, not {expected}: files were moved; start without it")]
    Shard {
        /// The shard that it names.
        found: u8,
        /// The shard that is restored.
        expected: u8,
    },
    /// It ends too early.
    #[error("the snapshot ends too early: start without it")]
    Truncated,
    /// A field is out of its range, or two entries contradict each other.
    #[error("the snapshot is damaged ({0}): start without it")]
    Malformed(&'static str),
    /// The options of a job in it cannot be read.
    #[error("options of a job in the snapshot cannot be read ({0}): start without it")]
    Options(DecodeEventError),
    /// What it says of groups cannot be taken in.
    #[error("groups of the snapshot cannot be restored ({0}): start without it")]
    Group(ReplayError),
    /// A batch in it cannot be taken in.
    #[error("a batch of the snapshot cannot be restored ({0}): start without it")]
    Batch(ReplayError),
    /// A schedule in it cannot be taken in.
    #[error("a schedule of the snapshot cannot be restored ({0}): start without it")]
    Schedule(ReplayError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MonoTime, ShardId, WallTime};

    #[test]
    fn a_header_alone_asks_for_little_memory() {
        let now = Now { mono: MonoTime(1), wall: WallTime(2) };
        let mut restore = Restore::new(Config::new(ShardId(0)), now);
        let header = Header { jobs: limits::JOBS_MAX, ..restore.parser.header };
        let mut bytes = Vec::new();
        header.encode(&mut bytes);
        assert_eq!(bytes.len(), crate::snapshot::layout::HEADER_BYTES);
        restore.feed(&bytes).unwrap();
        assert_eq!(restore.parser.part, Part::Jobs(limits::JOBS_MAX));
        assert_eq!(restore.finish().map(|_| ()), Err(RestoreError::Truncated));
    }
}
