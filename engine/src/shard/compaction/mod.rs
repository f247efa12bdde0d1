//! Keeps the log short: walks its oldest segment, has what is still needed written again, and gives
//! the segment back.
//!
//! It decides when and how fast. What is needed is for the core to say, what a segment is for the
//! log.

use std::time::Duration;

use tickwheel_core::{self as core, Cleaned, MonoTime, Now, Scheduler};
use tickwheel_wal::Lsn;

use super::Journal;
use crate::limits;

/// The cleaning of one shard's log.
#[derive(Debug)]
pub(super) struct Compaction {
    /// Where the walk goes on; `None`: nothing is being cleaned.
    at: Option<Lsn>,
    /// Bytes that may be walked now.
    credit: u64,
    /// When credit was given last, on the monotonic clock.
    credited_ns: u64,
    /// The end of the log then.
    appended: Lsn,
    /// The log had no room: nothing is tried before this moment of the monotonic clock.
    retry_ns: Option<u64>,
    /// There is more to do, and what may be walked is used up: look again then, if not before.
    pause_ns: Option<u64>,
    /// A part of the log cannot be read: it is kept, and nothing is cleaned any more.
    stuck: bool,
    counts: CompactionCounts,
}

/// What cleaning has done since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CompactionCounts {
    /// Segments given back.
    pub(crate) segments: u64,
    /// Bytes written again.
    pub(crate) moved_bytes: u64,
}

impl Compaction {
    /// Nothing is being cleaned in a log that ends at `appended`.
    pub(super) fn new(now: Now, appended: Lsn) -> Self {
        Self {
            at: None,
            credit: 0,
            credited_ns: now.mono.0,
            appended,
            retry_ns: None,
            pause_ns: None,
            stuck: false,
            counts: CompactionCounts::default(),
        }
    }

    /// What was done so far.
    pub(super) fn counts(&self) -> CompactionCounts {
        self.counts
    }

    /// When a shard that has nothing else to do should come back to it.
    pub(super) fn wake(&self) -> Option<MonoTime> {
        self.retry_ns.or(self.pause_ns).map(MonoTime)
    }

    /// Does a small piece of the work, if there is any; `true` if it did some.
    ///
    /// The log is cleaned from its head while it is longer than [`limits::COMPACT_SEGMENTS_MIN`]
    /// and than [`limits::COMPACT_LIVE_FACTOR`] times what is live. Of a log at the factor's bound
    /// a third is live, so a byte that is given back costs half a byte written again: 1.5 bytes
    /// are written for each byte that callers write.
    pub(super) fn step(&mut self, now: Now, core: &mut Scheduler, journal: &mut Journal) -> bool {
        if self.stuck || journal.log.failure().is_some() {
            return false;
        }
        if self.retry_ns.is_some_and(|retry_ns| now.mono.0 < retry_ns) {
            return false;
        }
        (self.retry_ns, self.pause_ns) = (None, None);
        self.take_credit(now, journal.log.appended());
        let Some(at) = self.at.or_else(|| next_segment(core, journal)) else { return false };
        self.at = Some(at);
        let segment_bytes = journal.log.segment_bytes();
        match journal.log.warm(at) {
            Ok(true) => {}
            Ok(false) => return false, // The log gives notice.
            Err(error) => return self.give_up(&error),
        }
        if self.credit == 0 {
            self.pause_ns = Some(now.mono.0 + nanos(limits::COMPACT_PAUSE));
            return false;
        }
        let until = Lsn((at.0 / segment_bytes + 1) * segment_bytes);
        self.walk(now, at, until, core, journal)
    }

    /// Walks records from `at` on, for as long as the credit lasts and not beyond `until`.
    fn walk(
        &mut self,
        now: Now,
        at: Lsn,
        until: Lsn,
        core: &mut Scheduler,
        journal: &mut Journal,
    ) -> bool {
        let mut at = at;
        while self.credit > 0 {
            let walked = match journal.log.next_record(at) {
                Ok(Some(walked)) if walked.lsn < until => walked,
                Ok(_) => {
                    self.at = Some(until);
                    return self.release(now, until, core, journal);
                }
                Err(error) => return self.give_up(&error),
            };
            match core.clean(now, core::Lsn(walked.lsn.0), &walked.record, journal) {
                Ok(Cleaned::Dead) => {}
                Ok(Cleaned::Moved { bytes }) => self.counts.moved_bytes += bytes,
                Ok(Cleaned::NoRoom) => {
                    self.retry_ns = Some(now.mono.0 + nanos(limits::COMPACT_RETRY));
                    return false;
                }
                Err(error) => return self.give_up(&error),
            }
            self.credit = self.credit.saturating_sub(walked.end.0 - walked.lsn.0);
            at = walked.end;
            self.at = Some(at);
        }
        true
    }

    /// All before `head` was dead or has been written again: it can go.
    fn release(
        &mut self,
        now: Now,
        head: Lsn,
        core: &mut Scheduler,
        journal: &mut Journal,
    ) -> bool {
        // The base has to lie before the record that releases, and behind all that was moved.
        let based = core.write_base(now, journal).is_some();
        if !based || journal.log.release(head).is_err() {
            self.retry_ns = Some(now.mono.0 + nanos(limits::COMPACT_RETRY));
            return false;
        }
        self.counts.segments += 1;
        self.at = None;
        true
    }

    /// Credit follows what was appended, so that cleaning keeps up with any load, and time, so that
    /// it comes to an end when there is none.
    fn take_credit(&mut self, now: Now, appended: Lsn) {
        let elapsed_ns = now.mono.0.saturating_sub(self.credited_ns);
        let by_time = elapsed_ns.saturating_mul(limits::COMPACT_BYTES_PER_MS) / 1_000_000;
        let by_load = (appended.0 - self.appended.0).saturating_mul(limits::COMPACT_LOAD_FACTOR);
        if by_time + by_load == 0 {
            return; // Less than a byte: the time goes on counting.
        }
        self.credited_ns = now.mono.0;
        self.appended = appended;
        self.credit = (self.credit + by_time + by_load).min(limits::COMPACT_PASS_BYTES);
    }

    fn give_up(&mut self, error: &dyn std::error::Error) -> bool {
        tracing::error!(
            %error,
            "the log cannot be cleaned any more and grows from now on: \
             verify it, and repair it while the engine is stopped"
        );
        self.stuck = true;
        false
    }
}

/// Start of the oldest segment, if it is to be cleaned.
fn next_segment(core: &Scheduler, journal: &Journal) -> Option<Lsn> {
    let log = &journal.log;
    let (head, segment_bytes) = (log.releasing(), log.segment_bytes());
    let len_bytes = log.appended().0 - head.0;
    let by_live = core.live_bytes().saturating_mul(limits::COMPACT_LIVE_FACTOR);
    let allowed = by_live.max(limits::COMPACT_SEGMENTS_MIN * segment_bytes);
    // The segment in use stays.
    let is_sealed = head.0 / segment_bytes < log.appended().0 / segment_bytes;
    (len_bytes > allowed && is_sealed).then_some(head)
}

fn nanos(duration: Duration) -> u64 {
    // The constants are far below five hundred years.
    duration.as_nanos() as u64
}

#[cfg(test)]
mod tests;
