//! The shard's side of the history: takes the core's facts, holds them until their events are durable,
//! and hands them over. It never waits, but at a start and at an end, within bounds.

use std::{
    collections::VecDeque,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use tickwheel_core::{Lsn, MonoTime, Scheduler, Tell, fact::Facts};

use super::{
    entry::GapEntry,
    event::GapReason,
    keeper::{Keeping, Message, Shared},
    known::Taken,
};
use crate::{clock, limits};

/// What one shard hands over.
#[derive(Debug)]
pub(crate) struct Tap {
    shared: Arc<Shared>,
    shard: u8,
    /// In the order of the log.
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    /// All before was taken from the core.
    collected: Lsn,
    /// All before is to be marked.
    wanted: Lsn,
    /// All before was said to be handed over.
    asked: Lsn,
    /// Since when a release waits.
    waits_since: Option<Instant>,
    /// What was taken before this opening, until the replay has come so far.
    resume: Option<Taken>,
    /// The last event that was replayed, or the snapshot before.
    replayed: Lsn,
    has_begun: bool,
}

/// Facts of events before a position, or what is missing of them.
#[derive(Debug)]
enum Waiting {
    Facts(Lsn, Facts),
    Gap(Lsn, GapEntry),
}

impl Waiting {
    fn end(&self) -> Lsn {
        match self {
            Self::Facts(end, _) | Self::Gap(end, _) => *end,
        }
    }
}

impl Tap {
    /// For a shard that opens; the core tells facts from here on.
    pub(crate) fn open(keeping: &Keeping, shard: u8, core: &mut Scheduler) -> Self {
        let resume = keeping.taken(shard);
        let settings = keeping.settings();
        let (from, skip) = resume.as_ref().map_or((Lsn(0), 0), |taken| (taken.upto, taken.facts));
        let tell = Tell { adds: settings.adds, starts: settings.starts, from, skip };
        core.tell(tell, resume.iter().flat_map(Taken::starts).copied());
        Self { resume, ..Self::new(Arc::clone(keeping.shared()), shard) }
    }

    fn new(shared: Arc<Shared>, shard: u8) -> Self {
        Self {
            shared,
            shard,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            collected: Lsn(0),
            wanted: Lsn(0),
            asked: Lsn(0),
            waits_since: None,
            resume: None,
            replayed: Lsn(0),
            has_begun: false,
        }
    }

    /// The replay begins at `lsn`: what is missing before is a gap.
    pub(crate) fn replay_from(&mut self, lsn: Lsn) {
        let was_begun = std::mem::replace(&mut self.has_begun, true);
        self.replayed = self.replayed.max(lsn);
        if let Some(taken) = &self.resume
            && !was_begun
            && lsn > taken.upto
        {
            self.send_gap(taken.upto, lsn, GapReason::CutOff);
        }
    }

    /// An event was replayed that lies at `lsn`, in segments of so many bytes.
    pub(crate) fn replayed(&mut self, lsn: Lsn, segment_bytes: u64, core: &mut Scheduler) {
        if !self.has_begun {
            self.replay_from(Lsn(lsn.0 / segment_bytes * segment_bytes));
        }
        self.replayed = lsn;
        if core.facts_bytes() >= limits::HISTORY_CHUNK_BYTES {
            self.send_replayed(core);
        }
    }

    /// The replay is over, and the log goes on at `appended`: everything replayed is durable.
    pub(crate) fn replay_ended(&mut self, head: Lsn, appended: Lsn, core: &mut Scheduler) {
        if !self.has_begun {
            self.replay_from(head);
        }
        self.send_replayed(core);
        if let Some(taken) = self.resume.take() {
            let is_beyond = taken.last.is_some_and(|last| last > self.replayed);
            if is_beyond || taken.upto > appended {
                let from = Lsn(self.replayed.0.saturating_add(1)).min(appended);
                self.send_gap(
                    from,
                    taken.last.unwrap_or(taken.upto).max(taken.upto),
                    GapReason::RolledBack,
                );
            }
        }
        core.tell_all();
        self.collected = appended;
    }

    fn send_replayed(&mut self, core: &mut Scheduler) {
        let Some(mut facts) = core.take_facts() else { return };
        // Nobody is served yet, so that this may wait.
        while !self.shared.is_over() {
            match self.shared.try_facts(self.shard, facts) {
                Ok(()) => return,
                Err(refused) => facts = refused,
            }
            thread::sleep(limits::HISTORY_LOOK);
        }
    }

    fn send_gap(&self, from: Lsn, to: Lsn, reason: GapReason) {
        self.shared.send(Message::Gap(self.gap(from, to, reason)));
    }

    fn gap(&self, from: Lsn, to: Lsn, reason: GapReason) -> GapEntry {
        GapEntry { shard: self.shard, from, to, at: clock::now().wall.0, reason }
    }

    /// At the end of a pass: takes the facts of events before `appended`, and hands over those before
    /// `reached`.
    pub(crate) fn pass(&mut self, core: &mut Scheduler, appended: Lsn, reached: Lsn) {
        if let Some(facts) = core.take_facts() {
            self.hold(appended, facts);
        }
        self.collected = appended;
        self.send(reached);
    }

    /// The log has failed: what was told in the last pass may not be in it. The next opening tells
    /// what is.
    pub(crate) fn drop_facts(&mut self, core: &mut Scheduler) {
        core.take_facts();
    }

    fn hold(&mut self, end: Lsn, facts: Facts) {
        if self.shared.is_over() {
            return;
        }
        let len_bytes = facts.len_bytes();
        if self.waiting_bytes + len_bytes <= limits::HISTORY_BACKLOG_BYTES_MAX {
            self.waiting_bytes += len_bytes;
            self.waiting.push_back(Waiting::Facts(end, facts));
            return;
        }
        // One gap grows until there is room again.
        if let Some(Waiting::Gap(last, gap)) = self.waiting.back_mut()
            && gap.reason == GapReason::FellBehind
        {
            (*last, gap.to) = (end, end);
            return;
        }
        let first = facts.iter().next().map_or(self.collected, |(lsn, _)| lsn);
        let gap = self.gap(first, end, GapReason::FellBehind);
        self.waiting.push_back(Waiting::Gap(end, gap));
    }

    fn send(&mut self, reached: Lsn) {
        while self.waiting.front().is_some_and(|waiting| waiting.end() <= reached) {
            let Some(waiting) = self.waiting.pop_front() else { return };
            let refused = match waiting {
                Waiting::Facts(end, facts) => {
                    let len_bytes = facts.len_bytes();
                    match self.shared.try_facts(self.shard, facts) {
                        Ok(()) => {
                            self.waiting_bytes -= len_bytes;
                            None
                        }
                        Err(facts) => Some(Waiting::Facts(end, facts)),
                    }
                }
                Waiting::Gap(end, gap) => {
                    let is_sent = self.shared.try_send(Message::Gap(gap));
                    (!is_sent).then_some(Waiting::Gap(end, gap))
                }
            };
            if let Some(refused) = refused {
                self.waiting.push_front(refused);
                if self.shared.is_over() {
                    self.waiting.clear();
                    self.waiting_bytes = 0;
                }
                return;
            }
        }
        // What was handed over reaches up to whatever waits.
        let is_due = self.wanted > self.asked && self.waiting.is_empty();
        if is_due && self.collected <= reached {
            let message = Message::Mark { shard: self.shard, upto: self.collected };
            if self.shared.try_send(message) {
                self.asked = self.collected;
            }
        }
    }

    /// When a shard that has nothing else to do should come back to it: something was not taken.
    pub(crate) fn wake(&self) -> Option<MonoTime> {
        let is_stuck = !self.waiting.is_empty() || self.wanted > self.asked;
        let pause_ns = limits::HISTORY_RETRY.as_nanos() as u64;
        is_stuck.then(|| MonoTime(clock::mono_ns() + pause_ns))
    }

    /// Asks for all before `lsn` to be made durable in the history.
    pub(crate) fn want(&mut self, lsn: Lsn) {
        self.wanted = self.wanted.max(lsn);
    }

    /// Whether the log may give back what lies before `lsn`: the history has it, or was waited for
    /// long enough.
    pub(crate) fn may_release(&mut self, lsn: Lsn) -> bool {
        self.want(lsn);
        let since = *self.waits_since.get_or_insert_with(Instant::now);
        let is_late = since.elapsed() >= limits::HISTORY_WAIT_MAX;
        if is_late && !self.is_marked(lsn) {
            tracing::warn!("the history is far behind: the log does not wait for it any more");
        }
        let may = is_late || self.is_marked(lsn);
        if may {
            self.waits_since = None;
        }
        may
    }

    /// Whether the history has all before `lsn`, or never will.
    pub(crate) fn is_marked(&self, lsn: Lsn) -> bool {
        self.shared.is_marked(self.shard, lsn)
    }

    /// For the thread of a snapshot: waits until the history has all before `lsn`, within bounds, or
    /// until `stops` says so.
    pub(crate) fn waiter(&self, lsn: Lsn) -> impl FnOnce(&dyn Fn() -> bool) + Send + 'static {
        let (shared, shard) = (Arc::clone(&self.shared), self.shard);
        move |stops| {
            let begun = Instant::now();
            while !shared.is_marked(shard, lsn) && !stops() {
                if begun.elapsed() >= limits::HISTORY_WAIT_MAX {
                    tracing::warn!("the history is far behind: a snapshot does not wait for it");
                    return;
                }
                thread::sleep(limits::HISTORY_LOOK);
            }
        }
    }

    /// The shard has ended, and its log is durable up to its end: hands over what is left, within
    /// bounds.
    pub(crate) fn end(&mut self, core: &mut Scheduler, grace: Duration) {
        let end = self.collected;
        self.pass(core, end, Lsn(u64::MAX));
        self.want(end);
        let begun = Instant::now();
        while (!self.waiting.is_empty() || self.wanted > self.asked)
            && !self.shared.is_over()
            && begun.elapsed() < grace
        {
            thread::sleep(limits::HISTORY_LOOK);
            self.send(Lsn(u64::MAX));
        }
    }
}

#[cfg(test)]
mod tests {
    use crossbeam::channel::bounded;
    use tickwheel_core::fact::Fact;

    use super::*;

    const CHUNK: usize = 1 << 20;

    /// A mebibyte of facts of the event at `lsn`.
    fn chunk(lsn: u64) -> Facts {
        let mut facts = Facts::default();
        let note = "x".repeat(CHUNK);
        facts.push(Lsn(lsn), &Fact::SchedulePaused { name: "a", at: 1, note: &note });
        facts
    }

    /// A history that takes nothing holds the shard up for no moment and no more memory than that,
    /// and what it lost is told in its place.
    #[test]
    fn what_does_not_fit_is_one_gap_in_its_place() {
        let (sender, receiver) = bounded(2);
        let shared = Arc::new(Shared::new(sender, 0));
        let mut tap = Tap::new(Arc::clone(&shared), 3);
        let held = (limits::HISTORY_BACKLOG_BYTES_MAX / CHUNK) as u64;
        // Two go into the queue; of the others some are held.
        let last = held + 20;
        for lsn in 1..=last {
            tap.hold(Lsn(lsn + 1), chunk(lsn));
            tap.send(Lsn(lsn + 1));
            assert!(tap.waiting_bytes <= limits::HISTORY_BACKLOG_BYTES_MAX);
        }
        assert!(tap.wake().is_some());
        let mut told = Vec::new();
        loop {
            match receiver.try_recv() {
                Ok(Message::Facts { shard: 3, facts }) => {
                    shared.taken_from_queue(facts.len_bytes());
                    told.extend(facts.iter().map(|(lsn, _)| lsn.0));
                }
                Ok(Message::Gap(gap)) => {
                    assert_eq!((gap.shard, gap.reason), (3, GapReason::FellBehind));
                    assert_eq!(gap.from.0, told.last().unwrap() + 1);
                    // From here on there is room again.
                    assert_eq!(gap.to, Lsn(last + 1));
                    tap.hold(Lsn(last + 2), chunk(last + 1));
                }
                Ok(_) => panic!("nothing else was sent"),
                Err(_) if tap.waiting.is_empty() => break,
                Err(_) => tap.send(Lsn(u64::MAX)),
            }
        }
        assert_eq!(told.pop(), Some(last + 1));
        assert_eq!(told, (1..=told.len() as u64).collect::<Vec<_>>());
        assert!(told.len() as u64 >= held && (told.len() as u64) < last);
        assert!(tap.wake().is_none());
        // A mark follows what it stands for.
        tap.collected = Lsn(last + 2);
        tap.want(Lsn(5));
        tap.send(Lsn(last + 1));
        assert!(receiver.is_empty());
        tap.send(Lsn(last + 2));
        assert!(
            matches!(receiver.try_recv(), Ok(Message::Mark { shard: 3, upto }) if upto.0 == last + 2)
        );
    }
}
