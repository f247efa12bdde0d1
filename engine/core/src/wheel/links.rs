//! What each slot's place is, in 8 bytes: in a chunk of a wheel, in a line of ready jobs, or nowhere.
//! A slot stands in at most one place at a time. This file also owns the lines of ready jobs: doubly
//! linked slots. It knows slots and ticks, never jobs, and of chunks only their numbers.
//!
//! The ends of a line carry the line's number in place of a neighbour, so that an entry is removed
//! in constant time without knowing where it stands.

use super::chunks::{Chunks, INDEX_MAX, Place};
use crate::pages::Pages;

/// Slots are below this: two bits of a link say what kind of place it names, or what a neighbour is.
pub(crate) const SLOTS_MAX: u32 = 1 << 30;
/// Marks a neighbour that is no slot but the number of the line.
const LINE: u32 = 1 << 30;
/// No slot: an empty line's ends.
const NONE: u32 = u32::MAX;

/// In [`Link::kind`], set for a slot in a line of ready jobs; the rest is its next neighbour.
const IN_LINE: u32 = 1 << 31;
/// In [`Link::kind`] without [`IN_LINE`], set for a slot in a chunk; the rest is where in the chunk it
/// stands, and the high part of its tick.
const IN_CHUNK: u32 = 1 << 30;
/// Where the index within the chunk begins in [`Link::kind`].
const INDEX_SHIFT: u32 = 16;

/// The place of a slot. 8 bytes, so that a processor line holds eight.
///
/// | place | `value` | `kind` |
/// |---|---|---|
/// | nowhere | low 32 bits of the last tick | its high 16 bits |
/// | a wheel | the chunk's number | [`IN_CHUNK`], the index in it, the high 16 bits of the tick |
/// | a ready line | the previous neighbour | [`IN_LINE`], the next neighbour |
#[derive(Clone, Copy, Debug, Default)]
struct Link {
    value: u32,
    kind: u32,
}

/// The places of all slots, and the chunks of the wheels over them.
#[derive(Debug, Default)]
pub struct Links {
    entries: Pages<Link>,
    pub(super) chunks: Chunks,
}

impl Links {
    /// No slots yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { entries: Pages::new(), chunks: Chunks::new() }
    }

    /// Makes the place of `slot` valid.
    ///
    /// # Panics
    /// If `slot` is 2³⁰ or more.
    pub fn grow_to(&mut self, slot: u32) {
        assert!(slot < SLOTS_MAX, "slot {slot} is beyond what a link can name");
        self.entries.grow_to(slot);
    }

    /// Whether `slot` stands in a wheel or line.
    #[must_use]
    pub fn is_linked(&self, slot: u32) -> bool {
        self.entries[slot].kind & (IN_LINE | IN_CHUNK) != 0
    }

    /// The tick that `slot` was given when it entered the wheel that it stands in, or when it entered the
    /// one that [`Wheel::pop_due`](super::Wheel::pop_due) took it from. 0 if it was cancelled, or has
    /// been in a line of ready jobs since.
    #[must_use]
    pub fn tick(&self, slot: u32) -> u64 {
        let Link { value, kind } = self.entries[slot];
        if kind & IN_LINE != 0 {
            return 0;
        }
        let low = if kind & IN_CHUNK == 0 { value } else { self.chunks.low_at(self.place(slot)) };
        u64::from(self.tick_high(slot)) << 32 | u64::from(low)
    }

    /// The high 16 bits of the tick of a slot that stands in no line of ready jobs.
    pub(super) fn tick_high(&self, slot: u32) -> u16 {
        self.entries[slot].kind as u16
    }

    /// Where `slot` stands.
    ///
    /// # Panics
    /// If it stands in no chunk.
    pub(super) fn place(&self, slot: u32) -> Place {
        let Link { value, kind } = self.entries[slot];
        assert!(kind & (IN_LINE | IN_CHUNK) == IN_CHUNK, "slot {slot} stands in no wheel");
        Place { chunk: value, index: (kind >> INDEX_SHIFT) as usize & INDEX_MAX }
    }

    pub(super) fn enter_chunk(&mut self, slot: u32, place: Place, tick_high: u16) {
        let index = (place.index as u32) << INDEX_SHIFT;
        let kind = IN_CHUNK | index | u32::from(tick_high);
        self.entries[slot] = Link { value: place.chunk, kind };
    }

    /// The slot stands nowhere now, and its tick is forgotten.
    pub(super) fn leave(&mut self, slot: u32) {
        self.entries[slot] = Link::default();
    }

    /// The slot stands nowhere now, and its tick is kept.
    pub(super) fn leave_chunk(&mut self, slot: u32, tick: u64) {
        let tick_high = (tick >> 32) as u16;
        self.entries[slot] = Link { value: tick as u32, kind: u32::from(tick_high) };
    }

    fn next(&self, slot: u32) -> u32 {
        self.entries[slot].kind & !IN_LINE
    }

    fn set_next(&mut self, slot: u32, next: u32) {
        self.entries[slot].kind = IN_LINE | next;
    }

    fn set_previous(&mut self, slot: u32, previous: u32) {
        self.entries[slot].value = previous;
    }
}

/// Both ends of a line of ready jobs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line {
    first: u32,
    last: u32,
}

impl Line {
    pub(crate) const EMPTY: Self = Self { first: NONE, last: NONE };

    pub(crate) fn first(self) -> Option<u32> {
        (self.first != NONE).then_some(self.first)
    }
}

/// The slot behind `slot` in its line.
pub(crate) fn next_of(links: &Links, slot: u32) -> Option<u32> {
    let next = links.next(slot);
    (next & LINE == 0).then_some(next)
}

/// Appends `slot` to line `number` of `lines`.
pub(crate) fn push_back(links: &mut Links, lines: &mut [Line], number: usize, slot: u32) {
    debug_assert!(!links.is_linked(slot), "slot {slot} stands in a line already");
    let code = LINE | number as u32;
    let last = lines[number].last;
    links.set_next(slot, code);
    if last == NONE {
        links.set_previous(slot, code);
        lines[number].first = slot;
    } else {
        links.set_previous(slot, last);
        links.set_next(last, slot);
    }
    lines[number].last = slot;
}

/// Takes `slot` out of whichever of `lines` it stands in, and says what that left behind.
///
/// # Panics
/// If the slot stands in no line.
#[inline]
pub(crate) fn remove(links: &mut Links, lines: &mut [Line], slot: u32) -> Removed {
    let Link { value: previous, kind } = links.entries[slot];
    assert!(kind & IN_LINE != 0, "slot {slot} stands in no line");
    let next = links.next(slot);
    links.leave(slot);
    match (previous & LINE != 0, next & LINE != 0) {
        (true, true) => {
            let number = (next & !LINE) as usize;
            lines[number] = Line::EMPTY;
            return Removed::Emptied(number);
        }
        (true, false) => {
            lines[(previous & !LINE) as usize].first = next;
            links.set_previous(next, previous);
        }
        (false, true) => {
            lines[(next & !LINE) as usize].last = previous;
            links.set_next(previous, next);
        }
        (false, false) => {
            links.set_next(previous, next);
            links.set_previous(next, previous);
        }
    }
    Removed::Kept
}

/// What a removal left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Removed {
    /// The line of this number is empty now.
    Emptied(usize),
    /// The line has others.
    Kept,
}
