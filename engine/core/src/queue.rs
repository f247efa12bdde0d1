//! Queues: named lines of jobs that are due and wait for an executor or a worker. Within a queue
//! the highest priority goes first, and the oldest among equals. Among queues that executors serve,
//! priorities come first too, and queues take turns at the same priority.
//!
//! It knows slots, never what is in them.

use alloc::{sync::Arc, vec::Vec};

use crate::{
    id::{Lsn, QueueId, Slot},
    limits::{PRIORITY_MAX, QUEUES_MAX},
    names::Names,
    wheel::{Line, Links, Removed, next_of, push_back, remove},
};

/// Lines of one queue, by priority.
const LINES: usize = PRIORITY_MAX as usize + 1;
const WORDS: usize = QUEUES_MAX.div_ceil(64);

/// The queues of a shard.
#[derive(Debug)]
pub(crate) struct Queues {
    names: Names,
    queues: Vec<Queue>,
    /// Line `queue × 10 + priority`.
    lines: Vec<Line>,
    /// By priority, which queues executors may take a job from.
    open: [Bits; LINES],
    /// Jobs in all queues.
    len: u32,
    /// Jobs that executors may take.
    open_len: u32,
    /// Sum of the queues' `body_units`.
    body_units: u64,
    /// Which queue has its turn.
    turn: usize,
    /// Whether executors serve a queue that nobody has spoken of.
    served_by_default: bool,
}

/// One queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Queue {
    len: u32,
    /// One bit per priority that has entries.
    occupied: u16,
    /// Nothing is taken from it.
    pub(crate) is_paused: bool,
    /// Executors take from it; else only fetches do.
    is_served: bool,
    /// The event that last said whether it is paused, and that event's length; 0 if none did.
    pub(crate) body: Lsn,
    pub(crate) body_units: u16,
}

impl Queue {
    /// Jobs that wait in it.
    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    fn is_open(&self) -> bool {
        self.is_served && !self.is_paused
    }
}

impl Queues {
    /// No queues yet; executors serve those to come if `served_by_default`.
    pub(crate) fn new(served_by_default: bool) -> Self {
        Self {
            names: Names::new(QUEUES_MAX),
            queues: Vec::new(),
            lines: Vec::new(),
            open: [const { Bits::new() }; LINES],
            len: 0,
            open_len: 0,
            body_units: 0,
            turn: 0,
            served_by_default,
        }
    }

    /// The queue of this name, made now if need be; `None` when there are too many.
    pub(crate) fn intern(&mut self, name: &str) -> Option<QueueId> {
        let number = self.names.intern(name)?;
        if self.queues.len() <= usize::from(number) {
            let is_served = self.served_by_default;
            self.queues.push(Queue {
                len: 0,
                occupied: 0,
                is_paused: false,
                is_served,
                body: Lsn(0),
                body_units: 0,
            });
            self.lines.resize(self.queues.len() * LINES, Line::EMPTY);
        }
        Some(QueueId(number))
    }

    pub(crate) fn has_room_for(&self, name: &str) -> bool {
        self.names.has_room_for(name)
    }

    pub(crate) fn find(&self, name: &str) -> Option<QueueId> {
        self.names.find(name).map(QueueId)
    }

    pub(crate) fn name(&self, queue: QueueId) -> &str {
        self.names.name(queue.0)
    }

    pub(crate) fn names(&self) -> &[Arc<str>] {
        self.names.all()
    }

    pub(crate) fn get(&self, queue: QueueId) -> &Queue {
        &self.queues[usize::from(queue.0)]
    }

    /// Length of the events at which pauses are written, in units of 16 bytes.
    pub(crate) fn body_units(&self) -> u64 {
        self.body_units
    }

    /// All queues with their names, in the order of their numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Queue)> {
        self.names.all().iter().zip(&self.queues)
    }

    /// Jobs in all queues.
    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    /// Whether executors may take a job.
    pub(crate) fn is_any_open(&self) -> bool {
        self.open_len > 0
    }

    /// Says whether executors take from a queue.
    pub(crate) fn serve(&mut self, queue: QueueId, is_served: bool) {
        self.change(queue, |queue| queue.is_served = is_served);
    }

    /// Pauses a queue, or lets it go on.
    pub(crate) fn pause(&mut self, queue: QueueId, is_paused: bool) {
        self.change(queue, |queue| queue.is_paused = is_paused);
    }

    /// Notes the event at which the queue's pause is written, and its length.
    pub(crate) fn set_body(&mut self, queue: QueueId, body: Lsn, units: u16) {
        let queue = &mut self.queues[usize::from(queue.0)];
        self.body_units -= u64::from(queue.body_units);
        self.body_units += u64::from(units);
        (queue.body, queue.body_units) = (body, units);
    }

    fn change(&mut self, queue: QueueId, change: impl FnOnce(&mut Queue)) {
        let number = usize::from(queue.0);
        let queue = &mut self.queues[number];
        let was_open = queue.is_open();
        change(queue);
        let is_open = queue.is_open();
        if was_open == is_open {
            return;
        }
        for (priority, open) in self.open.iter_mut().enumerate() {
            open.set(number, is_open && queue.occupied & 1 << priority != 0);
        }
        if is_open {
            self.open_len += queue.len;
        } else {
            self.open_len -= queue.len;
        }
    }

    pub(crate) fn push(&mut self, links: &mut Links, slot: Slot, queue: QueueId, priority: u8) {
        let number = usize::from(queue.0);
        push_back(links, &mut self.lines, number * LINES + usize::from(priority), slot.0);
        let queue = &mut self.queues[number];
        queue.len += 1;
        queue.occupied |= 1 << priority;
        self.len += 1;
        if queue.is_open() {
            self.open_len += 1;
            self.open[usize::from(priority)].set(number, true);
        }
    }

    /// Calls `visit` for each job and its line.
    pub(crate) fn visit(&self, links: &Links, visit: &mut impl FnMut(u32, QueueId, u8)) {
        for (number, line) in self.lines.iter().enumerate() {
            let queue = QueueId((number / LINES) as u16);
            let mut entry = line.first();
            while let Some(slot) = entry {
                visit(slot, queue, (number % LINES) as u8);
                entry = next_of(links, slot);
            }
        }
    }

    /// Takes a job out of `queue`, in which it stands.
    pub(crate) fn remove(&mut self, links: &mut Links, slot: Slot, queue: QueueId) {
        let number = usize::from(queue.0);
        let queue = &mut self.queues[number];
        if let Removed::Emptied(line) = remove(links, &mut self.lines, slot.0) {
            let priority = line % LINES;
            queue.occupied &= !(1 << priority);
            self.open[priority].set(number, false);
        }
        queue.len -= 1;
        self.len -= 1;
        self.open_len -= u32::from(queue.is_open());
    }

    /// Jobs that executors should take next, at most `max`; they stay in line. Of several queues
    /// each gives its share: what one has less is left for the next call.
    pub(crate) fn next_many(&mut self, links: &Links, max: usize, slots: &mut Vec<Slot>) {
        for priority in (0..LINES).rev() {
            let queues = self.open[priority].count();
            if queues == 0 {
                continue;
            }
            let share = (max - slots.len()).div_ceil(queues);
            for _ in 0..queues {
                let Some(number) = self.open[priority].next_from(self.turn) else { break };
                self.turn = (number + 1) % QUEUES_MAX;
                let most = max.min(slots.len() + share);
                self.take_line(links, number * LINES + priority, most, slots);
                if slots.len() == max {
                    return;
                }
            }
        }
    }

    /// Jobs that a fetch from `queue` gets next, until there are `max` in `slots`; they stay in
    /// line.
    pub(crate) fn first_many(
        &self,
        links: &Links,
        queue: QueueId,
        max: usize,
        slots: &mut Vec<Slot>,
    ) {
        let number = usize::from(queue.0);
        let Queue { mut occupied, is_paused, .. } = self.queues[number];
        while occupied != 0 && !is_paused && slots.len() < max {
            let priority = 15 - occupied.leading_zeros();
            occupied &= !(1 << priority);
            self.take_line(links, number * LINES + priority as usize, max, slots);
        }
    }

    fn take_line(&self, links: &Links, line: usize, max: usize, slots: &mut Vec<Slot>) {
        let mut slot = self.lines[line].first();
        while let Some(entry) = slot.filter(|_| slots.len() < max) {
            slots.push(Slot(entry));
            slot = next_of(links, entry);
        }
    }
}

/// A set of queues' numbers.
#[derive(Clone, Debug)]
struct Bits {
    words: [u64; WORDS],
    /// One bit per word that is not zero.
    summary: u64,
    count: u32,
}

impl Bits {
    const fn new() -> Self {
        Self { words: [0; WORDS], summary: 0, count: 0 }
    }

    fn count(&self) -> usize {
        self.count as usize
    }

    fn set(&mut self, number: usize, is_in: bool) {
        let (word, bit) = (number / 64, 1_u64 << (number % 64));
        let before = self.words[word] & bit != 0;
        if before == is_in {
            return;
        }
        self.words[word] ^= bit;
        if self.words[word] == 0 {
            self.summary &= !(1 << word);
        } else {
            self.summary |= 1 << word;
        }
        if is_in {
            self.count += 1;
        } else {
            self.count -= 1;
        }
    }

    /// The first number at or after `start`, else the first of all.
    fn next_from(&self, start: usize) -> Option<usize> {
        let (word, bit) = (start / 64, start % 64);
        let rest = self.words[word] & (u64::MAX << bit);
        if rest != 0 {
            return Some(word * 64 + rest.trailing_zeros() as usize);
        }
        let above = self.summary & (u64::MAX << word) & !(1 << word);
        let summary = if above == 0 { self.summary } else { above };
        if summary == 0 {
            return None;
        }
        let word = summary.trailing_zeros() as usize;
        Some(word * 64 + self.words[word].trailing_zeros() as usize)
    }
}

// One bit of the summary per word.
const _: () = assert!(WORDS <= 64);

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    fn queues(served: bool, names: &[&str]) -> (Links, Queues) {
        let mut links = Links::new();
        links.grow_to(100);
        let mut queues = Queues::new(served);
        for name in names {
            queues.intern(name).unwrap();
        }
        (links, queues)
    }

    fn next(queues: &mut Queues, links: &Links, max: usize) -> Vec<u32> {
        let mut slots = Vec::new();
        queues.next_many(links, max, &mut slots);
        slots.into_iter().map(|slot| slot.0).collect()
    }

    #[test]
    fn the_highest_priority_goes_first_and_the_oldest_among_equals() {
        let (mut links, mut queues) = queues(true, &["default"]);
        for (slot, priority) in [(0, 5), (1, 9), (2, 0), (3, 9), (4, 5)] {
            queues.push(&mut links, Slot(slot), QueueId(0), priority);
        }
        queues.remove(&mut links, Slot(3), QueueId(0));
        assert_eq!(next(&mut queues, &links, 3), [1, 0, 4]);
        assert_eq!(next(&mut queues, &links, 10), [1, 0, 4, 2]);
        for slot in [1, 0, 4, 2] {
            queues.remove(&mut links, Slot(slot), QueueId(0));
        }
        assert!(!queues.is_any_open());
        assert_eq!(next(&mut queues, &links, 10), [0; 0]);
    }

    #[test]
    fn queues_take_turns_and_a_paused_one_gives_nothing() {
        let (mut links, mut queues) = queues(true, &["a", "b", "c"]);
        for slot in 0..30 {
            queues.push(&mut links, Slot(slot), QueueId((slot / 10) as u16), 5);
        }
        assert_eq!(next(&mut queues, &links, 3), [0, 10, 20]);
        queues.pause(QueueId(1), true);
        assert_eq!(next(&mut queues, &links, 4), [0, 1, 20, 21]);
        let mut fetched = Vec::new();
        queues.first_many(&links, QueueId(1), 5, &mut fetched);
        assert_eq!(fetched, []);
        queues.pause(QueueId(1), false);
        queues.serve(QueueId(1), false);
        assert_eq!(next(&mut queues, &links, 4), [0, 1, 20, 21]);
        queues.first_many(&links, QueueId(1), 2, &mut fetched);
        assert_eq!(fetched, [Slot(10), Slot(11)]);
        assert_eq!((queues.len(), queues.get(QueueId(1)).len()), (30, 10));
    }

    #[test]
    fn thousands_of_queues_each_have_their_turn() {
        let (mut links, mut queues) = queues(true, &[]);
        for number in 0..QUEUES_MAX {
            assert_eq!(queues.intern(&format!("q{number}")), Some(QueueId(number as u16)));
        }
        assert_eq!(queues.intern("one too many"), None);
        for slot in 0..100 {
            queues.push(&mut links, Slot(slot), QueueId((slot * 40) as u16), 5);
        }
        let mut order = Vec::new();
        while order.len() < 100 {
            let slot = next(&mut queues, &links, 1)[0];
            queues.remove(&mut links, Slot(slot), QueueId((slot * 40) as u16));
            order.push(slot);
        }
        assert_eq!(order, (0..100).collect::<Vec<_>>());
    }
}
