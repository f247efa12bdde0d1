//! The hierarchical timing wheel: when each slot is due, and when the next one is.
//!
//! Eight levels of 64 slots, by 6 bits of the due tick each, cover every tick of a 64-bit
//! nanosecond clock (after Varghese and Lauck, "Hashed and Hierarchical Timing Wheels", 1987). An
//! entry stands at the level of the highest bit group in which its tick differs from the current
//! one. So a lower level is due before a higher one, and within a level a lower slot before a
//! higher: the earliest entry is found with two counts of trailing zeros, one over the levels and
//! one over the slots of a level. Nothing ticks while nothing is due.
//!
//! This is the wheel of Tickwheel as it was when its lines were linked slots: the layout that was not
//! kept, to be measured beside the one that was.

mod links;

use tickwheel_core::wheel::{TICK_BITS, tick_at_or_after, tick_at_or_before};

use super::Timers;

pub(super) use links::Links;
use links::{Line, Removed, next_of, push_back, remove, splice};

const LEVEL_BITS: u32 = 6;
const SLOTS: usize = 1 << LEVEL_BITS;
const LEVELS: usize = 8;
/// Last tick of a 64-bit nanosecond clock, in the year 2554.
const TICK_MAX: u64 = (1 << (u64::BITS - TICK_BITS)) - 1;
/// The line that holds what is on its way down to lower levels.
const MOVING: usize = LEVELS * SLOTS;
/// A slot's earliest tick is found anew after a cancel if it has at most this many entries.
const RESCAN_MAX: u32 = 32;

// The levels cover all ticks of a 64-bit nanosecond clock: nothing lies beyond the wheel.
const _: () = assert!(LEVEL_BITS as usize * LEVELS == (u64::BITS - TICK_BITS) as usize);

pub(crate) struct Linked {
    links: Links,
    wheel: Wheel,
}

impl Timers for Linked {
    const NAME: &'static str = "linked slots";

    fn new(bound: u32) -> Self {
        let mut links = Links::new();
        links.grow_to(bound);
        Self { links, wheel: Wheel::new(0) }
    }

    fn insert(&mut self, id: u32, due_ns: u64) {
        self.wheel.insert(&mut self.links, id, tick_at_or_after(due_ns));
    }

    fn cancel(&mut self, id: u32) {
        self.wheel.remove(&mut self.links, id);
    }

    fn expire(&mut self, now_ns: u64, expired: &mut Vec<u32>) {
        let mut work = u32::MAX;
        let now = tick_at_or_before(now_ns);
        while let Some(id) = self.wheel.pop_due(&mut self.links, now, &mut work) {
            expired.push(id);
        }
    }
}

/// A wheel over the slots of one [`Links`].
#[derive(Debug)]
pub(super) struct Wheel {
    /// All entries are due at this tick or later; never above the time last told.
    current: u64,
    /// One bit per level that has entries.
    levels: u8,
    /// One bit per slot that has entries, by level.
    occupied: [u64; LEVELS],
    /// Per line, a tick at or before that of its earliest entry; `u64::MAX` when empty.
    earliest: Box<[u64]>,
    lines: Box<[Line]>,
    len: u32,
}

impl Wheel {
    /// An empty wheel whose time is `current_tick`.
    pub(super) fn new(current_tick: u64) -> Self {
        Self {
            current: current_tick,
            levels: 0,
            occupied: [0; LEVELS],
            earliest: vec![u64::MAX; MOVING + 1].into_boxed_slice(),
            lines: vec![Line::EMPTY; MOVING + 1].into_boxed_slice(),
            len: 0,
        }
    }

    /// Adds `slot`, due at `tick`; a tick that has passed is due at once. Constant time.
    ///
    /// # Panics
    /// In debug builds, if the slot stands in a line already.
    pub(super) fn insert(&mut self, links: &mut Links, slot: u32, tick: u64) {
        let tick = tick.min(TICK_MAX);
        links.set_tick(slot, tick);
        self.place(links, slot, tick);
        self.len += 1;
    }

    /// Takes `slot` out. Constant time, and nothing is left behind.
    ///
    /// # Panics
    /// If the slot stands in no line.
    pub(super) fn remove(&mut self, links: &mut Links, slot: u32) {
        let tick = links.tick(slot);
        let removed = remove(links, &mut self.lines, slot);
        self.len -= 1;
        match removed {
            Removed::Emptied(line) => self.mark_empty(line),
            Removed::Kept(line) if line != MOVING && self.earliest[line] == tick => {
                self.rescan(links, line);
            }
            Removed::Kept(_) | Removed::Inner => {}
        }
    }

    /// Takes out one slot that is due at or before `now_tick`, in the order of due ticks; `None`
    /// when none is, or when `work` is used up. Each entry moved or taken costs one unit of work;
    /// when some is left after `None`, nothing more is due.
    pub(super) fn pop_due(
        &mut self,
        links: &mut Links,
        now_tick: u64,
        work: &mut u32,
    ) -> Option<u32> {
        while *work > 0 {
            if let Some(slot) = self.lines[MOVING].first() {
                *work -= 1;
                remove(links, &mut self.lines, slot);
                self.place(links, slot, links.tick(slot));
                continue;
            }
            let Some((level, digit)) = self.first_slot() else {
                self.current = self.current.max(now_tick);
                return None;
            };
            let line = level * SLOTS + digit;
            let start = self.slot_start(level, digit);
            if start > now_tick {
                // Every entry is later than now, and stands where it would stand seen from now.
                self.current = self.current.max(now_tick);
                return None;
            }
            *work -= 1;
            self.current = start;
            if level == 0 {
                let slot = self.lines[line].first()?;
                if let Removed::Emptied(line) = remove(links, &mut self.lines, slot) {
                    self.mark_empty(line);
                }
                self.len -= 1;
                return Some(slot);
            }
            splice(links, &mut self.lines, line, MOVING);
            self.mark_empty(line);
        }
        None
    }

    fn place(&mut self, links: &mut Links, slot: u32, tick: u64) {
        let tick = tick.max(self.current);
        let distance = tick ^ self.current;
        let level = ((63 - (distance | 1).leading_zeros()) / LEVEL_BITS) as usize;
        let digit = (tick >> (level as u32 * LEVEL_BITS)) as usize & (SLOTS - 1);
        let line = level * SLOTS + digit;
        push_back(links, &mut self.lines, line, slot);
        self.levels |= 1 << level;
        self.occupied[level] |= 1 << digit;
        self.earliest[line] = self.earliest[line].min(tick);
    }

    fn first_slot(&self) -> Option<(usize, usize)> {
        if self.levels == 0 {
            return None;
        }
        let level = self.levels.trailing_zeros() as usize;
        Some((level, self.occupied[level].trailing_zeros() as usize))
    }

    /// First tick of a slot, seen from the current tick.
    fn slot_start(&self, level: usize, digit: usize) -> u64 {
        let shift = level as u32 * LEVEL_BITS;
        let above = self.current >> (shift + LEVEL_BITS) << (shift + LEVEL_BITS);
        above | (digit as u64) << shift
    }

    fn mark_empty(&mut self, line: usize) {
        if line == MOVING {
            return;
        }
        self.earliest[line] = u64::MAX;
        let level = line / SLOTS;
        self.occupied[level] &= !(1 << (line % SLOTS));
        if self.occupied[level] == 0 {
            self.levels &= !(1 << level);
        }
    }

    /// Finds the earliest tick of a short line anew; a long one keeps its lower bound.
    fn rescan(&mut self, links: &Links, line: usize) {
        let mut earliest = u64::MAX;
        let mut count = 0;
        let mut slot = self.lines[line].first();
        while let Some(entry) = slot {
            count += 1;
            if count > RESCAN_MAX {
                return;
            }
            earliest = earliest.min(links.tick(entry).max(self.current));
            slot = next_of(links, entry);
        }
        self.earliest[line] = earliest;
    }
}
