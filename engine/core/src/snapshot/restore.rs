//! Reading a snapshot, piece by piece. Nothing in it is believed before it was checked.

use alloc::vec::Vec;

use super::{
    SNAPSHOT_VERSION,
    layout::{
        Fields, HEADER_BYTES, Header, JOB_BYTES, KEY_BYTES, LEASE_BYTES, OPTIONS_HEAD_BYTES,
        QUEUE_HEAD_BYTES, SCHEDULE_HEAD_BYTES, decode_job, decode_queue,
    },
};
use crate::{
    event::{DecodeEventError, TermOptions},
    id::{JobId, Key, Lsn},
    job::table::Unindexed,
    limits,
    scheduler::{Config, ReplayError, Scheduler},
    time::{Now, WallTime},
};

/// Builds a scheduler from the bytes of a snapshot.
///
/// The bytes are given in order, cut into pieces anywhere. What they ask for in memory is at most
/// some times their own length, whatever they say.
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
    core: Scheduler,
    /// Bytes given and not read yet: the beginning of one entry.
    rest: Vec<u8>,
    part: Part,
    header: Header,
    unindexed: Unindexed,
    /// Jobs that are to have options.
    with_options: u32,
    /// Records lie before it.
    end: Lsn,
}

/// What comes next; the number is how many of them are still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Header,
    Kinds(u32),
    Queues(u32),
    Schedules(u32),
    Jobs(u32),
    Keys(u32),
    Options(u32),
    Leases(u32),
    End,
    /// Nothing: the bytes were refused.
    Refused,
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
            keys: 0,
            options: 0,
            leases: 0,
        };
        let core = Scheduler::new(config, now);
        let end = Lsn(u64::MAX);
        Self {
            core,
            rest: Vec::new(),
            part: Part::Header,
            header,
            end,
            unindexed: Unindexed::default(),
            with_options: 0,
        }
    }

    /// Refuses a snapshot that names records at or behind `end`, the position that it is of.
    #[must_use]
    pub fn ends_at(self, end: Lsn) -> Self {
        Self { end, ..self }
    }

    /// Reads the next bytes. They may end anywhere.
    ///
    /// # Errors
    /// If the bytes are not a snapshot's. What was read is of no use then: drop this.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), RestoreError> {
        let mut rest = core::mem::take(&mut self.rest);
        rest.extend_from_slice(bytes);
        let mut read = 0;
        let result = loop {
            match self.read(&rest[read..]) {
                Ok(0) => break Ok(()),
                Ok(used) => read += used,
                Err(error) => break Err(error),
            }
        };
        rest.drain(..read);
        self.rest = rest;
        if result.is_err() {
            self.part = Part::Refused;
        }
        result
    }

    /// Ends the restoring; the events behind the freeze can be replayed now. From here on an event
    /// that names something unknown is an error at once.
    ///
    /// # Errors
    /// If the bytes given so far are not a whole snapshot.
    pub fn finish(mut self) -> Result<Scheduler, RestoreError> {
        match self.part {
            Part::End => {}
            Part::Refused => return Err(REFUSED),
            _ => return Err(RestoreError::Truncated),
        }
        self.index()?;
        self.core.restored();
        Ok(self.core)
    }

    /// Reads as much as can be read at one go, and returns its length; 0 if more is needed.
    fn read(&mut self, bytes: &[u8]) -> Result<usize, RestoreError> {
        let (used, part) = match self.part {
            Part::Header => {
                let Some(fixed) = bytes.first_chunk::<HEADER_BYTES>() else { return Ok(0) };
                self.header = Header::decode(fixed, self.header.shard)?;
                self.core.restore_header(&self.header);
                (HEADER_BYTES, Part::Kinds(self.header.kinds))
            }
            Part::Kinds(left) => (self.read_kind(bytes)?, Part::Kinds(left - 1)),
            Part::Queues(left) => (self.read_queue(bytes)?, Part::Queues(left - 1)),
            Part::Schedules(left) => (self.read_schedule(bytes)?, Part::Schedules(left - 1)),
            Part::Jobs(left) => {
                let jobs = (bytes.len() / JOB_BYTES).min(left as usize);
                for fixed in bytes.as_chunks::<JOB_BYTES>().0.iter().take(jobs) {
                    let (record, due) = decode_job(fixed, &self.header)?;
                    if record.body >= self.end {
                        return Err(RestoreError::Malformed("a job's record lies behind its end"));
                    }
                    self.with_options += u32::from(record.has_options());
                    self.core.restore_job(record, due, &self.header, &mut self.unindexed);
                }
                (jobs * JOB_BYTES, Part::Jobs(left - jobs as u32))
            }
            Part::Keys(left) => {
                let keys = (bytes.len() / KEY_BYTES).min(left as usize);
                for fixed in bytes.as_chunks::<KEY_BYTES>().0.iter().take(keys) {
                    let mut fields = Fields(fixed);
                    let job = JobId(fields.u64());
                    if !self.core.restore_key(job, Key(fields.take())) {
                        return Err(RestoreError::Malformed("a key has no job of its own"));
                    }
                }
                (keys * KEY_BYTES, Part::Keys(left - keys as u32))
            }
            Part::Options(left) => (self.read_options(bytes)?, Part::Options(left - 1)),
            Part::Leases(left) => {
                let leases = (bytes.len() / LEASE_BYTES).min(left as usize);
                for fixed in bytes.as_chunks::<LEASE_BYTES>().0.iter().take(leases) {
                    let mut fields = Fields(fixed);
                    let (job, ends) = (JobId(fields.u64()), WallTime(fields.u64()));
                    if !self.core.restore_lease(job, ends) {
                        return Err(RestoreError::Malformed("a lease has no job of its own"));
                    }
                }
                (leases * LEASE_BYTES, Part::Leases(left - leases as u32))
            }
            Part::End if bytes.is_empty() => return Ok(0),
            Part::End => return Err(RestoreError::Malformed("it goes on after its end")),
            Part::Refused => return Err(REFUSED),
        };
        if used > 0 {
            let were_jobs = matches!(part, Part::Jobs(_));
            self.part = self.after(part);
            // Keys name jobs by their ids.
            if were_jobs && !matches!(self.part, Part::Jobs(_)) {
                self.index()?;
            }
        }
        Ok(used)
    }

    /// The part that follows, where nothing is left of this one.
    fn after(&self, part: Part) -> Part {
        match part {
            Part::Kinds(0) => self.after(Part::Queues(self.header.queues)),
            Part::Queues(0) => self.after(Part::Schedules(self.header.schedules)),
            Part::Schedules(0) => self.after(Part::Jobs(self.header.jobs)),
            Part::Jobs(0) => self.after(Part::Keys(self.header.keys)),
            Part::Keys(0) => self.after(Part::Options(self.header.options)),
            Part::Options(0) => self.after(Part::Leases(self.header.leases)),
            Part::Leases(0) => Part::End,
            part => part,
        }
    }

    fn read_kind(&mut self, bytes: &[u8]) -> Result<usize, RestoreError> {
        let Some((len, rest)) = bytes.split_first_chunk() else { return Ok(0) };
        let len = usize::from(u16::from_le_bytes(*len));
        if len == 0 || len > limits::NAME_BYTES_MAX {
            return Err(RestoreError::Malformed("a kind's name has a length that none has"));
        }
        let Some(name) = rest.get(..len) else { return Ok(0) };
        let name = core::str::from_utf8(name)
            .map_err(|_| RestoreError::Malformed("a kind's name is not text"))?;
        if !self.core.restore_kind(name) {
            return Err(RestoreError::Malformed("two kinds have the same name"));
        }
        Ok(2 + len)
    }

    fn read_queue(&mut self, bytes: &[u8]) -> Result<usize, RestoreError> {
        let Some((head, rest)) = bytes.split_first_chunk::<QUEUE_HEAD_BYTES>() else {
            return Ok(0);
        };
        let (len, entry) = decode_queue(head)?;
        let len = usize::from(len);
        let Some(name) = rest.get(..len) else { return Ok(0) };
        let name = core::str::from_utf8(name)
            .map_err(|_| RestoreError::Malformed("a queue's name is not text"))?;
        if !self.core.restore_queue(name, &entry) {
            return Err(RestoreError::Malformed("two queues have the same name"));
        }
        Ok(QUEUE_HEAD_BYTES + len)
    }

    /// Lets the jobs that were read be found.
    fn index(&mut self) -> Result<(), RestoreError> {
        if !self.core.restore_index(core::mem::take(&mut self.unindexed)) {
            return Err(RestoreError::Malformed("two jobs have the same id"));
        }
        if self.with_options != self.header.options {
            return Err(RestoreError::Malformed("other jobs have options than say so"));
        }
        if u64::from(self.header.leases) != self.core.counts().fetched {
            return Err(RestoreError::Malformed("not each lease has a job of its own"));
        }
        Ok(())
    }

    fn read_options(&mut self, bytes: &[u8]) -> Result<usize, RestoreError> {
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
        if !self.core.restore_options(job, options) {
            return Err(RestoreError::Malformed("options have no job of their own"));
        }
        Ok(OPTIONS_HEAD_BYTES + len)
    }

    fn read_schedule(&mut self, bytes: &[u8]) -> Result<usize, RestoreError> {
        let Some((head, rest)) = bytes.split_first_chunk::<SCHEDULE_HEAD_BYTES>() else {
            return Ok(0);
        };
        let mut fields = Fields(head);
        let len = fields.u32() as usize;
        let units = fields.u16();
        let zero = fields.u16();
        let lsn = Lsn(fields.u64());
        if len > limits::EVENT_BYTES_MAX || zero != 0 {
            return Err(RestoreError::Malformed("a schedule has a head that none has"));
        }
        let Some(event) = rest.get(..len) else { return Ok(0) };
        self.core.restore_schedule(lsn, units, event)?;
        Ok(SCHEDULE_HEAD_BYTES + len)
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
        let header = Header { jobs: limits::JOBS_MAX, ..restore.header };
        let mut bytes = Vec::new();
        header.encode(&mut bytes);
        assert_eq!(bytes.len(), HEADER_BYTES);
        restore.feed(&bytes).unwrap();
        assert_eq!(restore.part, Part::Jobs(limits::JOBS_MAX));
        assert_eq!(restore.finish().map(|_| ()), Err(RestoreError::Truncated));
    }
}
