//! Workers outside of the process: they fetch from queues, work for a drawn time, and end their
//! attempts by the attempt or by the job's key. Their ends may be late, come twice or never. A crash
//! of the process is none of theirs: they go on.
//!
//! They must not know the state of a job.

use tickwheel_core::{Attempt, Key};
use tickwheel_tests::random::Random;

use crate::{
    clients::QUEUES,
    clock::{HOUR, MS, SECOND},
    workers::Ended,
};

/// What a worker asks about one attempt.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    /// It has ended; with another payload for the next attempt, if it failed.
    End(Ended, Option<Vec<u8>>),
    /// Its lease is to last for so long from now, in nanoseconds.
    Extend(u64),
    /// Another payload, while it is under way.
    Rewrite(Vec<u8>),
}

/// A request on its way.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) attempt: Attempt,
    /// It names the job's key, and no attempt.
    pub(crate) by_key: Option<Key>,
    pub(crate) request: Request,
    arrives_ns: u64,
    /// It has come before.
    pub(crate) is_second: bool,
}

/// A fetch: from these queues, so many attempts at the most.
#[derive(Clone, Debug)]
pub(crate) struct Fetch {
    pub(crate) queues: Vec<&'static str>,
    pub(crate) max: u32,
}

/// All such workers of a shard.
pub(crate) struct Remotes {
    on_the_way: Vec<Message>,
    /// Attempts that they have at the most.
    fetched_max: u32,
    /// Nothing goes wrong any more.
    is_healed: bool,
}

impl Remotes {
    /// Workers that take that many attempts at the most; none of them if it is 0.
    pub(crate) fn new(fetched_max: u32) -> Self {
        Self { on_the_way: Vec::new(), fetched_max, is_healed: false }
    }

    /// Whether they take whatever is there.
    pub(crate) fn take_all(&self) -> bool {
        self.is_healed && self.fetched_max > 0
    }

    /// From now on all attempts succeed, and soon. What is on its way comes now.
    pub(crate) fn heal(&mut self, now_ns: u64) {
        self.is_healed = true;
        for message in &mut self.on_the_way {
            message.arrives_ns = message.arrives_ns.min(now_ns);
        }
    }

    /// Whether a worker fetches now, when `fetched` attempts are out.
    pub(crate) fn fetch(&self, fetched: u32, random: &mut Random) -> Option<Fetch> {
        if self.fetched_max == 0 {
            return None;
        }
        if self.is_healed {
            // Also beside those that are held by a worker of which nothing is heard again.
            return Some(Fetch { queues: QUEUES.to_vec(), max: 8 });
        }
        let free = self.fetched_max.saturating_sub(fetched);
        if free == 0 || random.within(0..3) != 0 {
            return None;
        }
        let first = random.within(0..QUEUES.len() as u64) as usize;
        let count = random.within(1..QUEUES.len() as u64 + 1) as usize;
        let queues = QUEUES.iter().cycle().skip(first).take(count).copied().collect();
        Some(Fetch { queues, max: free.min(random.within(1..9) as u32) })
    }

    /// A worker has an attempt now. Returns false if it vanishes with it.
    pub(crate) fn begin(
        &mut self,
        (attempt, key): (Attempt, Option<Key>),
        timeout_ms: u32,
        now_ns: u64,
        random: &mut Random,
    ) -> bool {
        let timeout_ns = u64::from(timeout_ms) * MS;
        let by_key = key.filter(|_| random.within(0..3) != 0);
        let send = |request, arrives_ns| Message {
            attempt,
            by_key,
            request,
            arrives_ns,
            is_second: false,
        };
        if self.is_healed {
            let end = Request::End(Ended::Succeeded, None);
            self.on_the_way.push(send(end, now_ns + random.within(0..5 * MS)));
            return true;
        }
        let ends_ns = now_ns
            + match random.within(0..16) {
                0..=6 => random.within(0..MS),
                7..=10 => random.within(0..timeout_ns),
                11 | 12 => timeout_ns,
                _ => timeout_ns + random.within(0..600 * SECOND),
            };
        for _ in 0..random.within(0..8).saturating_sub(5) {
            let span_ns = match random.within(0..3) {
                0 => random.within(0..SECOND),
                1 => random.within(0..2 * timeout_ns),
                _ => random.within(0..HOUR),
            };
            let arrives_ns = now_ns + random.within(0..2 * timeout_ns);
            self.on_the_way.push(send(Request::Extend(span_ns), arrives_ns));
        }
        let payload = |random: &mut Random| {
            random.draw().to_le_bytes().repeat(1 + random.within(0..200) as usize)
        };
        if random.within(0..24) == 0 {
            let payload = payload(random);
            let arrives_ns = now_ns + random.within(0..timeout_ns);
            self.on_the_way.push(send(Request::Rewrite(payload), arrives_ns));
        }
        let (ended, rewrites) = match random.within(0..16) {
            0..=7 => (Ended::Succeeded, false),
            8..=12 => (Ended::Retryable, random.within(0..2) == 0),
            13 => (Ended::Permanent, false),
            14 => (Ended::NotBegun, false),
            _ => return false,
        };
        let payload = rewrites.then(|| payload(random));
        let end = send(Request::End(ended, payload), ends_ns);
        if random.within(0..5) == 0 {
            let arrives_ns = ends_ns + random.within(0..100 * SECOND);
            self.on_the_way.push(Message { is_second: true, arrives_ns, ..end.clone() });
        }
        self.on_the_way.push(end);
        true
    }

    /// A request that has come.
    pub(crate) fn arrived(&mut self, now_ns: u64) -> Option<Message> {
        let place = self.on_the_way.iter().position(|one| one.arrives_ns <= now_ns)?;
        Some(self.on_the_way.remove(place))
    }

    /// When a request arrives.
    pub(crate) fn wake_ns(&self) -> Option<u64> {
        self.on_the_way.iter().map(|one| one.arrives_ns).min()
    }

    /// The process's machine has begun its clock anew; no time has passed for the workers.
    pub(crate) fn shift(&mut self, before_ns: u64, after_ns: u64) {
        for message in &mut self.on_the_way {
            message.arrives_ns = after_ns + message.arrives_ns.saturating_sub(before_ns);
        }
    }
}
