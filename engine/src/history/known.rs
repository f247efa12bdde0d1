//! What follows from all entries of the history so far: how far each shard's log was taken, where
//! subscriptions stand, how old each segment is. The same live and at a start.

use std::collections::BTreeMap;

use tickwheel_core::{JobId, Lsn, Token, WallTime, fact::Fact};

use super::entry::{Entry, GapEntry, State};
use super::event::GapReason;

/// What is known of the history as a whole.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// When it was begun; 0 while nothing is in it.
    pub(super) born: u64,
    shards: BTreeMap<u8, Taken>,
    /// Named subscriptions: all before this position was confirmed.
    pub(super) cursors: BTreeMap<String, u64>,
    /// Of each segment, the newest time that it tells of.
    pub(super) newest: BTreeMap<u64, u64>,
}

/// How far the log of one shard was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    /// All facts of events below were written.
    pub(crate) upto: Lsn,
    /// Of the event there, so many facts were written.
    pub(crate) facts: u32,
    /// The last event of which a fact was written.
    pub(crate) last: Option<Lsn>,
    /// When attempts began that were under way at the last snapshot, and the snapshot's position.
    under_way: (Lsn, Vec<(JobId, Token, WallTime)>),
}

impl Taken {
    /// Attempts that were under way at the last snapshot, and when they began.
    pub(crate) fn starts(&self) -> &[(JobId, Token, WallTime)] {
        &self.under_way.1
    }
}

impl Known {
    /// Takes in the entry that was read or written in `segment`; `false` if it is none that this
    /// version knows.
    pub(super) fn note(&mut self, segment: u64, payload: &[u8]) -> bool {
        let Some(entry) = Entry::decode(payload) else { return false };
        match entry {
            Entry::Fact { shard, lsn, fact, .. } => {
                let Ok(fact) = Fact::decode(fact) else { return false };
                self.note_fact(segment, shard, lsn, &fact);
            }
            Entry::State(State { born, marks, cursors }) => {
                self.born = born;
                for (shard, upto, facts) in marks {
                    self.mark(shard, upto, facts);
                }
                self.cursors = cursors.into_iter().collect();
            }
            Entry::Gap(gap) => self.note_gap(segment, gap),
            Entry::Mark { shard, upto } => self.mark(shard, upto, 0),
            Entry::Cursor { name, at: Some(at) } => {
                self.cursors.insert(name, at);
            }
            Entry::Cursor { name, at: None } => {
                self.cursors.remove(&name);
            }
        }
        true
    }

    /// Takes in a fact.
    pub(super) fn note_fact(&mut self, segment: u64, shard: u8, lsn: Lsn, fact: &Fact<'_>) {
        let taken = self.shards.entry(shard).or_default();
        if let Fact::UnderWay { job, token, start } = fact {
            // It belongs to a snapshot and not to the event there.
            if taken.under_way.0 != lsn {
                taken.under_way = (lsn, Vec::new());
            }
            taken.under_way.1.push((JobId(*job), Token(*token), WallTime(*start)));
            return;
        }
        if lsn >= taken.upto {
            taken.facts = if lsn == taken.upto { taken.facts + 1 } else { 1 };
            taken.upto = lsn;
        }
        taken.last = taken.last.max(Some(lsn));
        self.note_time(segment, time_of(fact));
    }

    fn note_gap(&mut self, segment: u64, gap: GapEntry) {
        let taken = self.shards.entry(gap.shard).or_default();
        if gap.reason == GapReason::RolledBack {
            *taken = Taken { upto: gap.from, ..Taken::default() };
        }
        self.note_time(segment, gap.at);
    }

    fn note_time(&mut self, segment: u64, at: u64) {
        let newest = self.newest.entry(segment).or_default();
        *newest = (*newest).max(at);
    }

    fn mark(&mut self, shard: u8, upto: Lsn, facts: u32) {
        let taken = self.shards.entry(shard).or_default();
        if upto > taken.upto {
            (taken.upto, taken.facts) = (upto, facts);
        }
    }

    /// How far the log of `shard` was taken; `None` if it never was.
    pub(super) fn taken(&self, shard: u8) -> Option<&Taken> {
        self.shards.get(&shard)
    }

    /// All of it that is not about single segments.
    pub(super) fn state(&self) -> State {
        State {
            born: self.born,
            marks: (self.shards.iter())
                .map(|(shard, taken)| (*shard, taken.upto, taken.facts))
                .collect(),
            cursors: self.cursors.iter().map(|(name, at)| (name.clone(), *at)).collect(),
        }
    }
}

fn time_of(fact: &Fact<'_>) -> u64 {
    match fact {
        Fact::Ended(ended) => ended.at,
        Fact::Added { at, .. }
        | Fact::Started { at, .. }
        | Fact::Requeued { at, .. }
        | Fact::ScheduleFired { at, .. }
        | Fact::SchedulePut { at, .. }
        | Fact::ScheduleRemoved { at, .. }
        | Fact::SchedulePaused { at, .. }
        | Fact::ScheduleResumed { at, .. }
        | Fact::QueueSet { at, .. } => *at,
        Fact::UnderWay { .. } => 0,
    }
}
