//! The hierarchical timing wheel: when each slot is due, and when the next one is.
//!
//! Six levels of 256 slots, by 8 bits of the due tick each, cover every tick of a 64-bit
//! nanosecond clock (after Varghese and Lauck, "Hashed and Hierarchical Timing Wheels", 1987). An
//! entry stands at the level of the highest bit group in which its tick differs from the current
//! one. So a lower level is due before a higher one, and within a level a lower slot before a
//! higher: the earliest entry is found with three counts of trailing zeros, one over the levels and
//! two over the slots of a level. Nothing ticks while nothing is due.
//!
//! A slot of an upper level whose entries fit into one chunk is never spread over lower levels: its earliest
//! entry is found by looking at all of them. So an entry with few neighbours in time is moved
//! seldom, however far off it was.
//!
//! It knows slots and ticks, never jobs.

mod chunks;
mod links;

use alloc::{boxed::Box, vec};

use chunks::{ChunkLine, Entry, Removed as Removal};
pub use links::Links;
pub(crate) use links::{Line, Removed, next_of, push_back, remove};

/// A tick is 2¹⁶ ns: 65.536 µs.
pub const TICK_BITS: u32 = 16;
/// Length of a tick in nanoseconds.
pub const TICK_NS: u64 = 1 << TICK_BITS;

const LEVEL_BITS: u32 = 8;
const SLOTS: usize = 1 << LEVEL_BITS;
const LEVELS: usize = 6;
/// Words of one bit per slot of a level.
const WORDS: usize = SLOTS / 64;
/// Last tick of a 64-bit nanosecond clock, in the year 2554.
const TICK_MAX: u64 = (1 << (u64::BITS - TICK_BITS)) - 1;
/// The line that holds what is on its way down to lower levels.
const MOVING: usize = LEVELS * SLOTS;
/// A slot's earliest tick is found anew after a cancel if it has at most this many entries.
const RESCAN_MAX: u32 = 32;

// The levels cover all ticks of a 64-bit nanosecond clock: nothing lies beyond the wheel.
const _: () = assert!(LEVEL_BITS as usize * LEVELS == (u64::BITS - TICK_BITS) as usize);

/// The first tick at or after `ns`: an entry never fires early.
#[must_use]
pub const fn tick_at_or_after(ns: u64) -> u64 {
    // Rounding up cannot overflow: the sum of the shifted value and one bit is below 2⁴⁹.
    (ns >> TICK_BITS) + (ns & (TICK_NS - 1) != 0) as u64
}

/// The last tick at or before `ns`.
#[must_use]
pub const fn tick_at_or_before(ns: u64) -> u64 {
    ns >> TICK_BITS
}

/// A wheel over the slots of one [`Links`].
///
/// ```
/// use tickwheel_core::wheel::{Links, Wheel};
/// let mut links = Links::new();
/// links.grow_to(0);
/// let mut wheel = Wheel::new(0);
/// wheel.insert(&mut links, 0, 70);
/// assert_eq!(wheel.next_tick(), Some(70));
/// let mut work = 100;
/// assert_eq!(wheel.pop_due(&mut links, 69, &mut work), None);
/// assert_eq!(wheel.pop_due(&mut links, 70, &mut work), Some(0));
/// ```
#[derive(Debug)]
pub struct Wheel {
    /// All entries are due at this tick or later; never above the time last told.
    current: u64,
    /// One bit per level that has entries.
    levels: u8,
    /// By level, one bit per word of `occupied` that is not zero.
    words: [u8; LEVELS],
    /// By level, one bit per slot that has entries.
    occupied: [[u64; WORDS]; LEVELS],
    lines: Box<[ChunkLine]>,
    len: u32,
}

impl Wheel {
    /// An empty wheel whose time is `current_tick`.
    #[must_use]
    pub fn new(current_tick: u64) -> Self {
        Self {
            current: current_tick,
            levels: 0,
            words: [0; LEVELS],
            occupied: [[0; WORDS]; LEVELS],
            lines: vec![ChunkLine::EMPTY; MOVING + 1].into_boxed_slice(),
            len: 0,
        }
    }

    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds `slot`, due at `tick`; a tick that has passed is due at once. Constant time.
    ///
    /// # Panics
    /// In debug builds, if the slot stands in a line already.
    pub fn insert(&mut self, links: &mut Links, slot: u32, tick: u64) {
        debug_assert!(!links.is_linked(slot), "slot {slot} stands in a line already");
        self.place(links, Entry { slot, tick: tick.min(TICK_MAX) });
        self.len += 1;
    }

    /// Takes `slot` out. Constant time, and nothing is left behind.
    ///
    /// # Panics
    /// If the slot stands in no wheel.
    #[inline]
    pub fn remove(&mut self, links: &mut Links, slot: u32) {
        self.len -= 1;
        match chunks::remove(links, &mut self.lines, slot) {
            Removal::Emptied(line) => self.mark_empty(line),
            Removal::Outer { line, tick }
                if line != MOVING && self.lines[line].earliest >= tick =>
            {
                chunks::rescan(links, &mut self.lines, line, RESCAN_MAX);
            }
            Removal::Outer { .. } | Removal::Inner => {}
        }
    }

    /// The tick to wake at: `None` when nothing is held.
    ///
    /// It is never later than the earliest entry. It is that entry's tick, except where entries
    /// are on their way between levels (then: now), or where the earliest of more than 28 entries of a slot
    /// was cancelled: there it may be early, and calls to [`Wheel::pop_due`] at the ticks named find
    /// the earliest entry after one such call per level at the most.
    #[must_use]
    pub fn next_tick(&self) -> Option<u64> {
        if !self.lines[MOVING].is_empty() {
            return Some(self.current);
        }
        let (level, digit) = self.first_slot()?;
        Some(self.lines[level * SLOTS + digit].earliest.max(self.current))
    }

    /// Takes out one slot that is due at or before `now_tick`, in the order of due ticks; `None`
    /// when none is, or when `work` is used up. Each entry moved or taken costs one unit of work, and
    /// entries are moved by up to fourteen; when some is left after `None`, nothing more is due.
    ///
    /// Of entries with the same tick the first that was inserted comes first, unless some came while
    /// others were on their way between levels.
    pub fn pop_due(&mut self, links: &mut Links, now_tick: u64, work: &mut u32) -> Option<u32> {
        while *work > 0 {
            if !self.lines[MOVING].is_empty() {
                let mut moved = chunks::pop_chunk(links, &mut self.lines, MOVING);
                *work = work.saturating_sub(moved.len());
                while let Some(entry) = moved.pop_front(links) {
                    self.place(links, entry);
                }
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
            let popped = if level == 0 {
                self.current = start;
                chunks::pop_front(links, &mut self.lines, line)
            } else if self.lines[line].is_one_chunk() {
                // The last tick before the slot: the entries that stay stand right, seen from there.
                self.current = start - 1;
                let popped = chunks::pop_earliest(links, &mut self.lines, line, now_tick);
                Some(popped?)
            } else {
                if self.lines[line].earliest > now_tick {
                    self.current = start - 1;
                    return None;
                }
                *work -= 1;
                self.current = start;
                chunks::splice(links, &mut self.lines, line, MOVING);
                self.mark_empty(line);
                continue;
            };
            let (entry, is_empty) = popped?;
            *work -= 1;
            self.len -= 1;
            if is_empty {
                self.mark_empty(line);
            }
            return Some(entry.slot);
        }
        None
    }

    /// Lays the wheel anew for a clock that was set to `current_tick`, forward or back. The entries
    /// are moved bit by bit by the next calls of [`Wheel::pop_due`].
    pub fn relay(&mut self, links: &mut Links, current_tick: u64) {
        for line in 0..MOVING {
            chunks::splice(links, &mut self.lines, line, MOVING);
        }
        self.words = [0; LEVELS];
        self.occupied = [[0; WORDS]; LEVELS];
        self.levels = 0;
        self.current = current_tick;
    }

    /// Calls `visit` for each entry, in no particular order.
    pub(crate) fn visit(&self, links: &Links, visit: &mut impl FnMut(u32)) {
        for line in &self.lines {
            chunks::visit(links, *line, visit);
        }
    }

    fn place(&mut self, links: &mut Links, entry: Entry) {
        let line = self.line_at(entry.tick.max(self.current));
        chunks::push_back(links, &mut self.lines, line, entry);
        let (level, word, bit) = bit_of(line);
        self.levels |= 1 << level;
        self.words[level] |= 1 << word;
        self.occupied[level][word] |= bit;
    }

    /// The line of an entry that is due at `tick`, which must not lie before the current tick.
    fn line_at(&self, tick: u64) -> usize {
        let distance = tick ^ self.current;
        let level = ((63 - (distance | 1).leading_zeros()) / LEVEL_BITS) as usize;
        let digit = (tick >> (level as u32 * LEVEL_BITS)) as usize & (SLOTS - 1);
        level * SLOTS + digit
    }

    fn first_slot(&self) -> Option<(usize, usize)> {
        if self.levels == 0 {
            return None;
        }
        let level = self.levels.trailing_zeros() as usize;
        let word = self.words[level].trailing_zeros() as usize;
        Some((level, word * 64 + self.occupied[level][word].trailing_zeros() as usize))
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
        if line == MOVING {
            return;
        }
        let (level, word, bit) = bit_of(line);
        self.occupied[level][word] &= !bit;
        if self.occupied[level][word] == 0 {
            self.words[level] &= !(1 << word);
            if self.words[level] == 0 {
                self.levels &= !(1 << level);
            }
        }
    }
}

/// The level of a line, and its word and bit there.
fn bit_of(line: usize) -> (usize, usize, u64) {
    (line / SLOTS, line % SLOTS / 64, 1 << (line % 64))
}

#[cfg(test)]
mod tests;
