//! The executors of one shard: they take attempts, run for a drawn time and hand back an end, which
//! may be late, come twice, or come from before a crash.
//!
//! They know payloads only to look whether they are the right ones; never the state of a job.

use std::collections::{BTreeSet, VecDeque};

use tickwheel_core::{Attempt, Dispatch, Outcome};
use tickwheel_tests::random::Random;
use tickwheel_wal::RecordHandle;

use crate::{
    Verdict,
    clock::{MS, SECOND},
    model::Model,
};

/// An attempt on its way to a handler.
pub(crate) struct Work {
    pub(crate) dispatch: Dispatch,
    pub(crate) body: RecordHandle,
    pub(crate) timeout_ms: u32,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Succeeded,
    Retryable,
    Permanent,
    Panicked,
    NotBegun,
    Postponed(u64),
}

impl Ended {
    pub(crate) fn outcome(self) -> Outcome<'static> {
        match self {
            Self::Succeeded => Outcome::Succeeded,
            Self::Retryable => Outcome::Retryable("the other side is busy"),
            Self::Permanent => Outcome::Permanent("there is no such address"),
            Self::Panicked => Outcome::Panicked("index out of bounds"),
            Self::NotBegun => Outcome::NotBegun,
            Self::Postponed(wait_ns) => Outcome::Postponed(wait_ns),
        }
    }
}

/// The end of an attempt on its way back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Completion {
    pub(crate) attempt: Attempt,
    pub(crate) ended: Ended,
    /// When it comes, on the monotonic clock.
    pub(crate) arrives_ns: u64,
    /// When the attempt's lease was over, if its handler had begun.
    pub(crate) lease_ns: u64,
    /// It has come before.
    pub(crate) is_second: bool,
}

/// A handler at work.
struct Busy {
    attempt: Attempt,
    began_ns: u64,
    ends_ns: u64,
    lease_ns: u64,
    ended: Ended,
}

impl Busy {
    fn completion(&self) -> Completion {
        Completion {
            attempt: self.attempt,
            ended: self.ended,
            arrives_ns: 0,
            lease_ns: self.lease_ns,
            is_second: false,
        }
    }
}

/// One executor.
#[derive(Default)]
struct Hand {
    busy: Option<Busy>,
    paused_until_ns: u64,
}

/// All executors of a shard.
pub(crate) struct Workers {
    queue: VecDeque<Work>,
    hands: Vec<Hand>,
    on_the_way: Vec<Completion>,
    stops: BTreeSet<(u64, u32)>,
    /// Nothing goes wrong any more.
    is_healed: bool,
}

impl Workers {
    pub(crate) fn new(hands: u64) -> Self {
        Self {
            queue: VecDeque::new(),
            hands: (0..hands).map(|_| Hand::default()).collect(),
            on_the_way: Vec::new(),
            stops: BTreeSet::new(),
            is_healed: false,
        }
    }

    pub(crate) fn queued(&self) -> usize {
        self.queue.len()
    }

    pub(crate) fn give(&mut self, work: Work) {
        self.queue.push_back(work);
    }

    /// Asks an attempt to stop.
    pub(crate) fn stop(&mut self, attempt: Attempt, now_ns: u64, random: &mut Random) {
        self.stops.insert((attempt.job.0, attempt.token.0));
        let busy = self.hands.iter_mut().filter_map(|hand| hand.busy.as_mut());
        if random.within(0..2) == 0 {
            for busy in busy.filter(|busy| busy.attempt == attempt) {
                busy.ends_ns = busy.ends_ns.min(now_ns + random.within(0..SECOND));
            }
        }
    }

    /// Since when the handler of an attempt runs, on the monotonic clock.
    pub(crate) fn since(&self, attempt: Attempt) -> Option<u64> {
        let busy = self.hands.iter().filter_map(|hand| hand.busy.as_ref());
        busy.filter(|busy| busy.attempt == attempt).map(|busy| busy.began_ns).next()
    }

    /// One executor does nothing for a while.
    pub(crate) fn pause(&mut self, now_ns: u64, random: &mut Random) {
        let place = random.within(0..self.hands.len() as u64) as usize;
        self.hands[place].paused_until_ns = now_ns + random.within(0..120 * SECOND);
    }

    /// From now on all handlers succeed, and soon.
    pub(crate) fn heal(&mut self, now_ns: u64) {
        self.is_healed = true;
        for hand in &mut self.hands {
            hand.paused_until_ns = 0;
            if let Some(busy) = &mut hand.busy {
                busy.ends_ns = busy.ends_ns.min(now_ns);
            }
        }
    }

    /// Time passes: handlers end and begin. Returns how often a handler found a payload that could
    /// not be read.
    pub(crate) fn run(&mut self, now_ns: u64, model: &Model, random: &mut Random) -> Verdict<u64> {
        let mut unreadable = 0;
        for place in 0..self.hands.len() {
            if self.hands[place].paused_until_ns > now_ns {
                continue;
            }
            self.end(place, now_ns, random);
            while self.hands[place].busy.is_none() {
                let Some(work) = self.queue.pop_front() else { break };
                unreadable += u64::from(!self.begin(place, work, now_ns, model, random)?);
                self.end(place, now_ns, random);
            }
        }
        Ok(unreadable)
    }

    /// False: the payload cannot be read.
    fn begin(
        &mut self,
        place: usize,
        work: Work,
        now_ns: u64,
        model: &Model,
        random: &mut Random,
    ) -> Verdict<bool> {
        let attempt = work.dispatch.attempt;
        let timeout_ns = u64::from(work.timeout_ms) * MS;
        let lease_ns = now_ns + timeout_ns;
        let busy =
            |ended, ends_ns| Some(Busy { attempt, began_ns: now_ns, ends_ns, lease_ns, ended });
        if self.stops.contains(&(attempt.job.0, attempt.token.0)) {
            self.hands[place].busy = busy(Ended::NotBegun, now_ns);
            return Ok(true);
        }
        let Ok(event) = work.body.load() else {
            self.hands[place].busy = busy(Ended::Permanent, now_ns);
            return Ok(false);
        };
        let payload = &event[usize::from(work.dispatch.payload_offset)..];
        if let Some(job) = model.job(attempt.job)
            && job.token == attempt.token.0
            && !job.has_payload(payload)
        {
            return Err(format!("the handler of job {} was given another payload", attempt.job));
        }
        let span_ns = match random.within(0..16) {
            _ if self.is_healed => random.within(0..5 * MS),
            0..=6 => random.within(0..MS),
            7..=10 => random.within(0..100 * MS),
            11 | 12 => random.within(0..timeout_ns),
            // It ends with its lease.
            13 | 14 => timeout_ns,
            _ => timeout_ns + random.within(0..300 * SECOND),
        };
        let ended = match random.within(0..16) {
            _ if self.is_healed => Ended::Succeeded,
            0..=8 => Ended::Succeeded,
            9..=12 => Ended::Retryable,
            13 => Ended::Permanent,
            14 => Ended::Panicked,
            _ => Ended::Postponed(random.within(0..60 * SECOND)),
        };
        self.hands[place].busy = busy(ended, now_ns + span_ns);
        Ok(true)
    }

    fn end(&mut self, place: usize, now_ns: u64, random: &mut Random) {
        let Some(busy) = self.hands[place].busy.take_if(|busy| busy.ends_ns <= now_ns) else {
            return;
        };
        let delay_ns = match random.within(0..16) {
            0 if !self.is_healed => random.within(0..90 * SECOND),
            _ => 0,
        };
        let completion = Completion { arrives_ns: now_ns + delay_ns, ..busy.completion() };
        self.on_the_way.push(completion);
        if random.within(0..12) == 0 && !self.is_healed {
            let arrives_ns = now_ns + random.within(0..10 * SECOND);
            self.on_the_way.push(Completion { arrives_ns, is_second: true, ..completion });
        }
    }

    /// An end that has come.
    pub(crate) fn arrived(&mut self, now_ns: u64) -> Option<Completion> {
        let place = self.on_the_way.iter().position(|one| one.arrives_ns <= now_ns)?;
        let completion = self.on_the_way.remove(place);
        self.stops.remove(&(completion.attempt.job.0, completion.attempt.token.0));
        Some(completion)
    }

    /// When a handler ends or an end arrives.
    pub(crate) fn wake_ns(&self) -> Option<u64> {
        let busy = |hand: &Hand| Some(hand.busy.as_ref()?.ends_ns.max(hand.paused_until_ns));
        let waits = self.hands.iter().filter(|_| !self.queue.is_empty());
        let free = waits.filter(|hand| hand.busy.is_none()).map(|hand| hand.paused_until_ns);
        let arrivals = self.on_the_way.iter().map(|one| one.arrives_ns);
        self.hands.iter().filter_map(busy).chain(free).chain(arrivals).min()
    }

    /// The program is about to end: what waits for an executor is given back.
    pub(crate) fn give_back(&mut self, now_ns: u64) {
        let ended = Ended::NotBegun;
        let back = self.queue.drain(..).map(|work| Completion {
            attempt: work.dispatch.attempt,
            ended,
            arrives_ns: now_ns,
            lease_ns: u64::MAX,
            is_second: false,
        });
        self.on_the_way.extend(back);
    }

    /// The process ended. What was under way elsewhere may come back later: those ends.
    pub(crate) fn lose(&mut self) -> Vec<Completion> {
        self.queue.clear();
        self.stops.clear();
        let busy = self.hands.iter_mut().filter_map(|hand| hand.busy.take());
        let late = busy.map(|busy| busy.completion());
        late.chain(self.on_the_way.drain(..)).collect()
    }

    /// Such an end comes after all.
    pub(crate) fn bring_back(&mut self, completion: Completion, arrives_ns: u64) {
        self.on_the_way.push(Completion { arrives_ns, ..completion });
    }
}
