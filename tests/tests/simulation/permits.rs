//! What the shards of a world share about limited queues, in plain cells: who waits stands in a line, and
//! whoever makes a place free gives it to the first. The engine's own, without locks, is modelled beside it.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tickwheel_core::{Ask, Holding, Permits, SharedQueue, Taken, Wait};

/// What all shards of one life share.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hall(Arc<Mutex<Cells>>);

#[derive(Debug, Default)]
struct Cells {
    numbers: BTreeMap<String, u16>,
    queues: Vec<Cell>,
    news: BTreeSet<(usize, u16)>,
}

/// One limited queue.
#[derive(Debug)]
struct Cell {
    taken: u32,
    waiting: VecDeque<usize>,
    given: BTreeSet<usize>,
    full_at_ns: i64,
    jobs: i64,
}

impl Hall {
    fn cells(&self) -> MutexGuard<'_, Cells> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn of_shard(&self, shard: usize) -> Box<dyn Permits> {
        Box::new(OfShard { hall: self.clone(), shard })
    }

    /// Of each queue, the places of attempts under way and the jobs that wait, as all shards know them.
    pub(crate) fn counts(&self) -> Vec<(String, (i64, i64))> {
        let cells = self.cells();
        let count = |(name, number): (&String, &u16)| {
            let cell = &cells.queues[usize::from(*number)];
            // What was given is on its way to its shard.
            (name.clone(), (i64::from(cell.taken) - cell.given.len() as i64, cell.jobs))
        };
        cells.numbers.iter().map(count).collect()
    }

    /// Whether there is something that the shard has not heard.
    pub(crate) fn has_news(&self, shard: usize) -> bool {
        self.cells().news.range((shard, 0)..=(shard, u16::MAX)).next().is_some()
    }
}

impl Cells {
    fn release(&mut self, queue: SharedQueue, max: u32) {
        let cell = &mut self.queues[usize::from(queue.0)];
        cell.taken -= 1;
        self.give(queue, max);
    }

    /// Gives what is free to who waits.
    fn give(&mut self, queue: SharedQueue, max: u32) {
        let cell = &mut self.queues[usize::from(queue.0)];
        while cell.taken < max
            && let Some(shard) = cell.waiting.pop_front()
        {
            cell.taken += 1;
            cell.given.insert(shard);
            self.news.insert((shard, queue.0));
        }
    }
}

#[derive(Debug)]
struct OfShard {
    hall: Hall,
    shard: usize,
}

fn max_of(concurrency: Option<u32>) -> u32 {
    concurrency.unwrap_or(u32::MAX)
}

impl Permits for OfShard {
    fn queue(&mut self, name: &str) -> Option<SharedQueue> {
        let mut cells = self.hall.cells();
        let next = cells.queues.len() as u16;
        let number = *cells.numbers.entry(name.to_owned()).or_insert(next);
        if number == next {
            let (waiting, given) = (VecDeque::new(), BTreeSet::new());
            cells.queues.push(Cell { taken: 0, waiting, given, full_at_ns: i64::MIN, jobs: 0 });
        }
        Some(SharedQueue(number))
    }

    fn enter(&mut self, queue: SharedQueue, holding: Holding) {
        let cell = &mut self.hall.cells().queues[usize::from(queue.0)];
        cell.taken += holding.under_way;
        cell.jobs += i64::from(holding.waiting);
        cell.full_at_ns = cell.full_at_ns.max(holding.full_at_ns);
    }

    fn leave(&mut self, queue: SharedQueue, holding: Holding) {
        let mut cells = self.hall.cells();
        for _ in 0..holding.under_way {
            cells.release(queue, max_of(holding.concurrency));
        }
        cells.queues[usize::from(queue.0)].jobs -= i64::from(holding.waiting);
    }

    fn take(&mut self, queue: SharedQueue, ask: Ask) -> Taken {
        let mut cells = self.hall.cells();
        let cell = &mut cells.queues[usize::from(queue.0)];
        let max = max_of(ask.concurrency);
        // It may ask on old news, and stand in the line still.
        cell.waiting.retain(|shard| *shard != self.shard);
        let mut given = u32::from(cell.given.remove(&self.shard));
        if given > 0 && cell.taken > max {
            // Whoever gave it had not heard of a lower limit yet.
            cell.taken -= 1;
            given = 0;
        }
        let ahead = cell.waiting.len() as u32;
        let free = max.saturating_sub(cell.taken).saturating_sub(ahead).min(ask.want - given);
        cell.taken += free;
        let places = given + free;
        let allowed = ask.rate.map_or(u32::MAX, |rate| rate.allowed(cell.full_at_ns, ask.now_ns));
        let granted = places.min(allowed);
        if let Some(rate) = ask.rate.filter(|_| granted > 0) {
            cell.full_at_ns = rate.spend_many(cell.full_at_ns, ask.now_ns, granted);
        }
        let full_at_ns = cell.full_at_ns;
        let wait = match ask.rate {
            Some(rate) if granted < places => Wait::Until(rate.opens_at(full_at_ns)),
            _ if granted < ask.want => {
                cell.waiting.push_back(self.shard);
                Wait::Place
            }
            _ => Wait::No,
        };
        for _ in granted..places {
            cells.release(queue, max);
        }
        Taken { granted, wait, full_at_ns }
    }

    fn release(&mut self, queue: SharedQueue, concurrency: Option<u32>) {
        self.hall.cells().release(queue, max_of(concurrency));
    }

    fn withdraw(&mut self, queue: SharedQueue, wait: Wait, concurrency: Option<u32>) {
        let mut cells = self.hall.cells();
        let cell = &mut cells.queues[usize::from(queue.0)];
        assert!(wait != Wait::No, "a shard that does not wait withdraws");
        cell.waiting.retain(|shard| *shard != self.shard);
        if cell.given.remove(&self.shard) {
            cells.release(queue, max_of(concurrency));
        }
    }

    fn changed(&mut self, queue: SharedQueue, concurrency: Option<u32>, latest_ns: Option<i64>) {
        if let Some(latest_ns) = latest_ns {
            let cell = &mut self.hall.cells().queues[usize::from(queue.0)];
            cell.full_at_ns = cell.full_at_ns.min(latest_ns);
        }
        self.hall.cells().give(queue, max_of(concurrency));
    }

    fn news(&mut self, visit: &mut dyn FnMut(SharedQueue)) {
        let mut cells = self.hall.cells();
        let all = std::mem::take(&mut cells.news);
        let (own, others): (BTreeSet<_>, BTreeSet<_>) =
            all.into_iter().partition(|(shard, _)| *shard == self.shard);
        cells.news = others;
        drop(cells);
        own.into_iter().for_each(|(_, queue)| visit(SharedQueue(queue)));
    }

    fn admit(&mut self, queue: SharedQueue, max: u32) -> bool {
        let cell = &mut self.hall.cells().queues[usize::from(queue.0)];
        let is_in = cell.jobs < i64::from(max);
        cell.jobs += i64::from(is_in);
        is_in
    }

    fn begin_waiting(&mut self, queue: SharedQueue) {
        self.hall.cells().queues[usize::from(queue.0)].jobs += 1;
    }

    fn end_waiting(&mut self, queue: SharedQueue) {
        self.hall.cells().queues[usize::from(queue.0)].jobs -= 1;
    }
}
