//! What shards share about limited queues, so that limits hold for the whole engine: the engine's
//! [`Permits`]. Each limited queue has a few words that all shards change without a lock; queues
//! without limits have none. A shard that waits sleeps, and is woken by whoever makes a place free.
//!
//! It knows numbers of shards and queues, never jobs. What a limit means is the core's business.

mod pace;
mod places;
mod shards;

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use tickwheel_core::{Ask, Holding, Permits, SharedQueue, Taken, Wait, limits::QUEUES_MAX};

use crate::{
    shard::Sleeper,
    sync::{AtomicU64, Ordering},
};
use pace::Pace;
use places::Places;

/// Queues in one word of [`News`].
const WORD: usize = 64;

/// What all shards of an engine share.
#[derive(Debug)]
pub(crate) struct Commons {
    numbers: Mutex<HashMap<Box<str>, u16>>,
    /// By number; made when it is first limited, so that an engine without limits has no memory for them.
    queues: Box<[OnceLock<Box<Shared>>]>,
    shards: Vec<Listener>,
}

/// One limited queue.
#[derive(Debug)]
struct Shared {
    places: Places,
    pace: Pace,
    /// Jobs that have not ended and are not under way. Signed: a shard may count one out before
    /// another has counted it in.
    jobs: AtomicU64,
}

/// A shard that waits for news.
#[derive(Debug)]
struct Listener {
    news: Arc<News>,
    sleeper: Arc<Sleeper>,
}

/// Queues whose waits may be over, for one shard.
#[derive(Debug)]
pub(crate) struct News {
    /// One bit per word that is not zero, or was not.
    summary: AtomicU64,
    words: [AtomicU64; QUEUES_MAX / WORD],
}

// The summary has a bit for each word.
const _: () = assert!(QUEUES_MAX.is_multiple_of(WORD) && QUEUES_MAX / WORD <= 64);

impl News {
    fn new() -> Self {
        Self { summary: AtomicU64::new(0), words: std::array::from_fn(|_| AtomicU64::new(0)) }
    }

    fn put(&self, queue: usize) {
        self.words[queue / WORD].fetch_or(1 << (queue % WORD), Ordering::AcqRel);
        self.summary.fetch_or(1 << (queue / WORD), Ordering::AcqRel);
    }

    /// Whether there is any. A shard looks here before it sleeps.
    pub(crate) fn is_any(&self) -> bool {
        self.summary.load(Ordering::Acquire) != 0
    }

    fn take(&self, visit: &mut dyn FnMut(SharedQueue)) {
        if !self.is_any() {
            return;
        }
        let mut summary = self.summary.swap(0, Ordering::AcqRel);
        while summary != 0 {
            let word = summary.trailing_zeros() as usize;
            summary &= summary - 1;
            let mut queues = self.words[word].swap(0, Ordering::AcqRel);
            while queues != 0 {
                let queue = word * WORD + queues.trailing_zeros() as usize;
                queues &= queues - 1;
                visit(SharedQueue(queue as u16));
            }
        }
    }
}

impl Commons {
    /// For shards with these sleeps, in the order of their numbers.
    pub(crate) fn new(sleepers: impl IntoIterator<Item = Arc<Sleeper>>) -> Arc<Self> {
        let listener = |sleeper| Listener { news: Arc::new(News::new()), sleeper };
        Arc::new(Self {
            numbers: Mutex::new(HashMap::new()),
            queues: (0..QUEUES_MAX).map(|_| OnceLock::new()).collect(),
            shards: sleepers.into_iter().map(listener).collect(),
        })
    }

    /// What a shard looks at before it sleeps.
    pub(crate) fn news(&self, shard: usize) -> Arc<News> {
        Arc::clone(&self.shards[shard].news)
    }

    /// A shard's own view.
    pub(crate) fn of_shard(self: &Arc<Self>, shard: usize) -> Box<dyn Permits> {
        Box::new(OfShard { commons: Arc::clone(self), shard, waits: BTreeSet::new() })
    }

    fn queue(&self, queue: SharedQueue) -> &Shared {
        self.queues[usize::from(queue.0)].get_or_init(|| {
            let (places, pace) = (Places::new(), Pace::new());
            Box::new(Shared { places, pace, jobs: AtomicU64::new(0) })
        })
    }

    fn wake(&self, queue: SharedQueue, shard: usize) {
        let listener = &self.shards[shard];
        listener.news.put(usize::from(queue.0));
        listener.sleeper.wake();
    }

    fn wake_given(&self, queue: SharedQueue, given: Option<usize>) {
        if let Some(shard) = given {
            self.wake(queue, shard);
        }
    }

    /// A shard leaves the line of a rate without having taken its turn.
    fn leave_pace(&self, queue: SharedQueue, shard: usize) {
        let shared = self.queue(queue);
        if shared.pace.withdraw(shard) {
            shared.pace.visit_waiting(|other| self.wake(queue, other));
        }
    }
}

/// What one shard sees of it.
#[derive(Debug)]
struct OfShard {
    commons: Arc<Commons>,
    shard: usize,
    /// Queues for a place of which it waits.
    waits: BTreeSet<SharedQueue>,
}

fn max_of(concurrency: Option<u32>) -> u32 {
    concurrency.unwrap_or(u32::MAX)
}

impl OfShard {
    fn give_back(&self, queue: SharedQueue, count: u32, max: u32) {
        let shared = self.commons.queue(queue);
        for _ in 0..count {
            self.commons.wake_given(queue, shared.places.release(max));
        }
    }
}

impl Permits for OfShard {
    fn queue(&mut self, name: &str) -> Option<SharedQueue> {
        let mut numbers = self.commons.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = numbers.get(name) {
            return Some(SharedQueue(*number));
        }
        let number = u16::try_from(numbers.len()).ok().filter(|n| usize::from(*n) < QUEUES_MAX)?;
        numbers.insert(name.into(), number);
        Some(SharedQueue(number))
    }

    fn enter(&mut self, queue: SharedQueue, holding: Holding) {
        let shared = self.commons.queue(queue);
        shared.places.enter(holding.under_way);
        shared.pace.enter(holding.full_at_ns);
        shared.jobs.fetch_add(holding.waiting.into(), Ordering::AcqRel);
    }

    fn leave(&mut self, queue: SharedQueue, holding: Holding) {
        self.give_back(queue, holding.under_way, max_of(holding.concurrency));
        let shared = self.commons.queue(queue);
        shared.jobs.fetch_sub(holding.waiting.into(), Ordering::AcqRel);
    }

    fn take(&mut self, queue: SharedQueue, ask: Ask) -> Taken {
        let Ask { want, concurrency, rate, now_ns } = ask;
        let shared = self.commons.queue(queue);
        let max = max_of(concurrency);
        let waited = self.waits.remove(&queue);
        let mut wake = |shard| self.commons.wake(queue, shard);
        let (places, waits) = shared.places.take(self.shard, waited, want, max, &mut wake);
        if waits {
            self.waits.insert(queue);
        }
        let full_at_ns = shared.pace.full_at_ns();
        let Some(rate) = rate else {
            let wait = if waits { Wait::Place } else { Wait::No };
            return Taken { granted: places, wait, full_at_ns };
        };
        if places == 0 {
            self.commons.leave_pace(queue, self.shard);
            return Taken { granted: 0, wait: Wait::Place, full_at_ns };
        }
        let (granted, until_ns) = shared.pace.take(self.shard, places, rate, now_ns);
        let full_at_ns = shared.pace.full_at_ns();
        let Some(until_ns) = until_ns else {
            let wait = if waits { Wait::Place } else { Wait::No };
            return Taken { granted, wait, full_at_ns };
        };
        // The time comes first: no place is held for it.
        if self.waits.remove(&queue) {
            shared.places.withdraw(self.shard, max, &mut |shard| self.commons.wake(queue, shard));
        }
        self.give_back(queue, places - granted, max);
        Taken { granted, wait: Wait::Until(until_ns), full_at_ns }
    }

    fn release(&mut self, queue: SharedQueue, concurrency: Option<u32>) {
        self.give_back(queue, 1, max_of(concurrency));
    }

    fn withdraw(&mut self, queue: SharedQueue, wait: Wait, concurrency: Option<u32>) {
        let shared = self.commons.queue(queue);
        match wait {
            Wait::Place if self.waits.remove(&queue) => {
                let wake = &mut |shard| self.commons.wake(queue, shard);
                shared.places.withdraw(self.shard, max_of(concurrency), wake);
            }
            Wait::Until(_) => self.commons.leave_pace(queue, self.shard),
            Wait::No | Wait::Place => {}
        }
    }

    fn changed(&mut self, queue: SharedQueue, concurrency: Option<u32>, latest_ns: Option<i64>) {
        let shared = self.commons.queue(queue);
        if let Some(latest_ns) = latest_ns {
            shared.pace.settle(latest_ns);
        }
        while let Some(shard) = shared.places.give_free(max_of(concurrency)) {
            self.commons.wake(queue, shard);
        }
        shared.pace.visit_waiting(|other| self.commons.wake(queue, other));
    }

    fn news(&mut self, visit: &mut dyn FnMut(SharedQueue)) {
        self.commons.shards[self.shard].news.take(visit);
    }

    fn admit(&mut self, queue: SharedQueue, max: u32) -> bool {
        let jobs = &self.commons.queue(queue).jobs;
        let more = |present: u64| (present.cast_signed() < i64::from(max)).then(|| present + 1);
        jobs.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok()
    }

    fn begin_waiting(&mut self, queue: SharedQueue) {
        self.commons.queue(queue).jobs.fetch_add(1, Ordering::AcqRel);
    }

    fn end_waiting(&mut self, queue: SharedQueue) {
        self.commons.queue(queue).jobs.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests;
