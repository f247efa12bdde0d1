//! Keeps the log short: walks its oldest segment, has what is still needed written again, and gives
//! the segment back.
//!
//! It decides when and how fast. What is needed is for the core to say, what a segment is for the
//! log.

use std::time::Duration;

use tickwheel_core::{self as core, Cleaned, Journal as _, MonoTime, NoRoom, Now, Scheduler};
use tickwheel_wal::Lsn;

use super::Journal;
use crate::{history::Tap, limits};

/// The cleaning of one shard's log.
#[derive(Debug)]
pub(super) struct Compaction {
    work: Work,
    /// Bytes that may be walked now; a record that was longer than what was left leaves a debt.
    credit: i64,
    /// When credit was given last, on the monotonic clock.
    credited_ns: u64,
    /// The end of the log then.
    appended: Lsn,
    /// Bytes of it that were written again, then.
    moved_bytes: u64,
    /// The log had no room: nothing is tried before this moment of the monotonic clock.
    retry_ns: Option<u64>,
    /// There is more to do, and what may be walked is used up: look again then, if not before.
    pause_ns: Option<u64>,
    /// A part of the log cannot be read: it is kept, and nothing is cleaned any more.
    stuck: bool,
    counts: CompactionCounts,
}

/// What is being cleaned.
#[derive(Clone, Copy, Debug)]
enum Work {
    Nothing,
    /// A segment: the walk goes on here.
    Walk(Lsn),
    /// All before `head` is dead or has been written again, and is to be released, once the history
    /// has all that lies before `after`: what is named behind the head may have been added before it.
    Release {
        head: Lsn,
        after: Lsn,
    },
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
            work: Work::Nothing,
            credit: 0,
            credited_ns: now.mono.0,
            appended,
            moved_bytes: 0,
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
        if self.stuck {
            return None;
        }
        self.retry_ns.or(self.pause_ns).map(MonoTime)
    }

    /// Does a small piece of the work, if there is any; `true` if it did some.
    ///
    /// The log is cleaned from its head while it is longer than [`limits::COMPACT_SEGMENTS_MIN`]
    /// and than [`limits::COMPACT_LIVE_FACTOR`] times what is live. Of a log at the factor's bound
    /// a third is live, so a byte that is given back costs half a byte written again: 1.5 bytes
    /// are written for each byte that callers write.
    pub(super) fn step(
        &mut self,
        now: Now,
        core: &mut Scheduler,
        journal: &mut Journal,
        tap: Option<&mut Tap>,
    ) -> bool {
        if self.stuck || journal.log.failure().is_some() {
            return false;
        }
        if self.retry_ns.is_some_and(|retry_ns| now.mono.0 < retry_ns) {
            return false;
        }
        (self.retry_ns, self.pause_ns) = (None, None);
        self.take_credit(now, journal.log.appended());
        let at = match self.work {
            Work::Release { head, after } => {
                if let Some(tap) = tap
                    && !tap.may_release(tickwheel_core::Lsn(after.0))
                {
                    self.pause_ns = Some(now.mono.0 + nanos(limits::COMPACT_PAUSE));
                    return false;
                }
                return self.release(now, head, core, journal);
            }
            Work::Walk(at) => at,
            Work::Nothing => match next_segment(core, journal) {
                Some(head) => head,
                None => return false,
            },
        };
        self.work = Work::Walk(at);
        match journal.log.warm(at) {
            Ok(true) => {}
            Ok(false) => return false, // The log gives notice.
            Err(error) => return self.give_up(&error),
        }
        // In pieces that are worth a pass.
        if self.credit < limits::COMPACT_PIECE_BYTES {
            self.pause_ns = Some(now.mono.0 + nanos(limits::COMPACT_PAUSE));
            return false;
        }
        self.walk((now, at), core, journal, tap)
    }

    /// Walks records from `at` to the end of its segment, for as long as the credit lasts.
    fn walk(
        &mut self,
        (now, at): (Now, Lsn),
        core: &mut Scheduler,
        journal: &mut Journal,
        tap: Option<&mut Tap>,
    ) -> bool {
        let segment_bytes = journal.log.segment_bytes();
        let until = Lsn((at.0 / segment_bytes + 1) * segment_bytes);
        let mut at = at;
        while self.credit > 0 {
            let walked = match journal.log.next_record(at) {
                Ok(Some(walked)) if walked.lsn < until => walked,
                Ok(_) => {
                    let after = journal.log.appended();
                    self.work = Work::Release { head: until, after };
                    if let Some(tap) = tap {
                        tap.want(tickwheel_core::Lsn(after.0));
                        self.pause_ns = Some(now.mono.0 + nanos(limits::COMPACT_PAUSE));
                        return true;
                    }
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
            // Records are far below the range of the credit.
            self.credit -= (walked.end.0 - walked.lsn.0) as i64;
            at = walked.end;
            self.work = Work::Walk(at);
        }
        true
    }

    /// Gives back all before `head`.
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
        self.work = Work::Nothing;
        if let Some(next) = next_segment(core, journal) {
            self.work = Work::Walk(next);
            // Asked for now, it is there at the next pass. Whether it can be read is seen then.
            let _ = journal.log.warm(next);
        }
        true
    }

    /// Credit follows what others appended, so that cleaning keeps up with any load, and time, so
    /// that it comes to an end when there is none.
    fn take_credit(&mut self, now: Now, appended: Lsn) {
        let moved_bytes = self.counts.moved_bytes - self.moved_bytes;
        let by_others = (appended.0 - self.appended.0).saturating_sub(moved_bytes);
        let by_load = by_others.saturating_mul(limits::COMPACT_LOAD_FACTOR);
        self.appended = appended;
        self.moved_bytes = self.counts.moved_bytes;
        // All bounds are far below the range of the credit.
        let by_load = by_load.min(limits::COMPACT_CREDIT_MAX.cast_unsigned()) as i64;
        self.credit = (self.credit + by_load).min(limits::COMPACT_CREDIT_MAX);
        let elapsed_ns = now.mono.0.saturating_sub(self.credited_ns);
        let by_time = elapsed_ns.saturating_mul(limits::COMPACT_BYTES_PER_MS) / 1_000_000;
        if by_time == 0 {
            return; // Less than a byte: the time goes on counting.
        }
        self.credited_ns = now.mono.0;
        // What time alone gives is not saved up.
        let by_time = by_time.min(limits::COMPACT_IDLE_BYTES.cast_unsigned()) as i64;
        self.credit = self.credit.max((self.credit + by_time).min(limits::COMPACT_IDLE_BYTES));
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
    let live_bytes = core.live_bytes();
    let by_live = live_bytes.saturating_mul(limits::COMPACT_LIVE_FACTOR);
    let mut allowed = by_live.max(limits::COMPACT_SEGMENTS_MIN * segment_bytes);
    if len_bytes > live_bytes + segment_bytes && journal.shortage() == NoRoom::Full {
        // Whatever is garbage is worth its cleaning then.
        allowed = live_bytes + segment_bytes;
    }
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
