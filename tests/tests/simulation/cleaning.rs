//! Keeps the log of one shard short, by the rules of the engine's shard but with tiny limits: which
//! segment is cleaned when, how much of it in one pass, and when a snapshot is taken.

use tickwheel_core::{self as core, Cleaned, Frozen, Journal as _, NoRoom, Now, Scheduler};
use tickwheel_tests::random::Random;
use tickwheel_wal::{Log, Lsn, SnapshotTicket, SnapshotWriter};

use crate::{Verdict, clock::MS, counters::Counters, journal::Journal};

/// A log of at most so many segments is not cleaned.
const SEGMENTS_MIN: u64 = 2;
/// A log is cleaned while it is longer than so many times what is live in it.
const LIVE_FACTOR: u64 = 2;
/// When cleaning finds no room in the log, it looks again after this long.
const RETRY_NS: u64 = 100 * MS;

/// What is being cleaned.
#[derive(Clone, Copy, Debug)]
enum Work {
    Nothing,
    /// A segment: the walk goes on here.
    Walk(Lsn),
    /// All before this may be released.
    Release(Lsn),
}

/// The cleaning of one log.
pub(crate) struct Cleaning {
    work: Work,
    retry_ns: Option<u64>,
}

impl Cleaning {
    pub(crate) fn new() -> Self {
        Self { work: Work::Nothing, retry_ns: None }
    }

    pub(crate) fn is_under_way(&self) -> bool {
        !matches!(self.work, Work::Nothing)
    }

    /// When it goes on without anything else to do.
    pub(crate) fn wake_ns(&self) -> Option<u64> {
        self.retry_ns
    }

    /// Looks at some records; true if it did anything.
    pub(crate) fn step(
        &mut self,
        now: Now,
        core: &mut Scheduler,
        journal: &mut Journal,
        records: u64,
        counters: &mut Counters,
    ) -> Verdict<bool> {
        if journal.log.failure().is_some()
            || self.retry_ns.is_some_and(|retry_ns| now.mono.0 < retry_ns)
        {
            return Ok(false);
        }
        self.retry_ns = None;
        let at = match self.work {
            Work::Release(head) => return Ok(self.release(now, head, core, journal, counters)),
            Work::Walk(at) => at,
            Work::Nothing => match next_segment(core, journal) {
                Some(head) => head,
                None => return Ok(false),
            },
        };
        self.work = Work::Walk(at);
        // A disk that fails for once is asked again.
        if !matches!(journal.log.warm(at), Ok(true)) {
            return Ok(false);
        }
        let segment_bytes = journal.log.segment_bytes();
        let until = Lsn((at.0 / segment_bytes + 1) * segment_bytes);
        let mut at = at;
        for _ in 0..records {
            let walked = match journal.log.next_record(at) {
                Ok(Some(walked)) if walked.lsn < until => walked,
                Ok(_) => {
                    self.work = Work::Release(until);
                    return Ok(self.release(now, until, core, journal, counters));
                }
                Err(error) => return Err(format!("a record cannot be read: {error}")),
            };
            match core.clean(now, core::Lsn(walked.lsn.0), &walked.record, journal) {
                Ok(Cleaned::Dead) => {}
                Ok(Cleaned::Moved { .. }) => counters.records_moved += 1,
                Ok(Cleaned::NoRoom) => {
                    counters.cleaning_starved += 1;
                    self.retry_ns = Some(now.mono.0 + RETRY_NS);
                    return Ok(false);
                }
                Err(error) => return Err(error.to_string()),
            }
            at = walked.end;
            self.work = Work::Walk(at);
        }
        Ok(true)
    }

    /// Gives back all before `head`.
    fn release(
        &mut self,
        now: Now,
        head: Lsn,
        core: &mut Scheduler,
        journal: &mut Journal,
        counters: &mut Counters,
    ) -> bool {
        let is_based = core.write_base(now, journal).is_some();
        if !is_based || journal.log.release(head).is_err() {
            self.retry_ns = Some(now.mono.0 + RETRY_NS);
            return false;
        }
        counters.segments_released += 1;
        self.work = Work::Nothing;
        true
    }
}

/// Start of the oldest segment, if it is to be cleaned.
fn next_segment(core: &Scheduler, journal: &Journal) -> Option<Lsn> {
    let log = &journal.log;
    let (head, segment_bytes) = (log.releasing(), log.segment_bytes());
    let len_bytes = log.appended().0 - head.0;
    let live_bytes = core.live_bytes();
    let mut allowed = (live_bytes * LIVE_FACTOR).max(SEGMENTS_MIN * segment_bytes);
    if len_bytes > live_bytes + segment_bytes && journal.shortage() == NoRoom::Full {
        allowed = live_bytes + segment_bytes;
    }
    let is_sealed = head.0 / segment_bytes < log.appended().0 / segment_bytes;
    (len_bytes > allowed && is_sealed).then_some(head)
}

/// A snapshot in the making.
enum Making {
    /// The state was copied, and nothing is written.
    Copied(Box<(SnapshotTicket, Frozen)>),
    /// All is written; it counts once the log is durable up to it.
    Written(Box<SnapshotWriter>),
}

/// The snapshots of one shard.
pub(crate) struct Snapshots {
    last: u64,
    making: Option<Making>,
    /// Bytes of log from one snapshot to the next.
    each_bytes: u64,
}

impl Snapshots {
    /// The newest is of `last`.
    pub(crate) fn new(last: u64, each_bytes: u64) -> Self {
        Self { last, making: None, each_bytes }
    }

    pub(crate) fn is_under_way(&self) -> bool {
        self.making.is_some()
    }

    /// Begins a snapshot, or goes on with it. A thread writes it, so it takes some passes.
    pub(crate) fn step(
        &mut self,
        core: &mut Scheduler,
        log: &mut Log,
        random: &mut Random,
        counters: &mut Counters,
    ) {
        match self.making.take() {
            None => {
                let since = log.appended().0.saturating_sub(self.last);
                if since > self.each_bytes && log.failure().is_none() {
                    let ticket = log.snapshot();
                    self.last = ticket.lsn().0;
                    self.making = Some(Making::Copied(Box::new((ticket, core.freeze()))));
                }
            }
            Some(making) if random.within(0..4) != 0 => self.making = Some(making),
            Some(Making::Copied(copied)) => {
                let (ticket, frozen) = *copied;
                let Ok(mut writer) = ticket.begin() else { return };
                if frozen.write(&mut |bytes| writer.write(bytes)).is_ok() {
                    self.making = Some(Making::Written(Box::new(writer)));
                }
            }
            Some(Making::Written(writer)) if log.durable() < writer.lsn() => {
                self.making = log.failure().is_none().then_some(Making::Written(writer));
            }
            Some(Making::Written(writer)) => {
                counters.snapshots += u64::from(writer.finish().is_ok());
            }
        }
    }
}
