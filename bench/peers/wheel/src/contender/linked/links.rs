//! Doubly linked lines of slots, threaded through one array of links. A slot stands in at most one
//! line at a time.
//!
//! The ends of a line carry the line's number in place of a neighbour, so that an entry is removed
//! in constant time without knowing where it stands.

use tickwheel_core::pages::Pages;

/// Marks a link that names a line instead of a neighbour.
const LINE: u32 = 1 << 31;
/// No slot: an empty line's ends, and the links of a slot that stands in no line.
const NONE: u32 = u32::MAX;

/// An entry: its due tick, and its neighbours. 16 bytes, so that a processor line holds four.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    pub(super) tick: u64,
    previous: u32,
    next: u32,
}

impl Default for Link {
    fn default() -> Self {
        Self { tick: 0, previous: NONE, next: NONE }
    }
}

/// The links of all slots.
#[derive(Debug, Default)]
pub(crate) struct Links {
    entries: Pages<Link>,
}

impl Links {
    /// No links yet.
    pub(crate) const fn new() -> Self {
        Self { entries: Pages::new() }
    }

    /// Makes the links of `slot` valid.
    pub(crate) fn grow_to(&mut self, slot: u32) {
        self.entries.grow_to(slot);
    }

    /// Whether `slot` stands in a line.
    pub(crate) fn is_linked(&self, slot: u32) -> bool {
        self.entries[slot].next != NONE
    }

    /// The tick that `slot` was given when it last entered a wheel.
    pub(crate) fn tick(&self, slot: u32) -> u64 {
        self.entries[slot].tick
    }

    pub(super) fn set_tick(&mut self, slot: u32, tick: u64) {
        self.entries[slot].tick = tick;
    }
}

/// Both ends of a line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    first: u32,
    last: u32,
}

impl Line {
    pub(super) const EMPTY: Self = Self { first: NONE, last: NONE };

    pub(super) fn is_empty(self) -> bool {
        self.first == NONE
    }

    pub(super) fn first(self) -> Option<u32> {
        (self.first != NONE).then_some(self.first)
    }
}

/// The slot behind `slot` in its line.
pub(super) fn next_of(links: &Links, slot: u32) -> Option<u32> {
    let next = links.entries[slot].next;
    (next & LINE == 0).then_some(next)
}

/// Appends `slot` to line `number` of `lines`.
pub(super) fn push_back(links: &mut Links, lines: &mut [Line], number: usize, slot: u32) {
    debug_assert!(!links.is_linked(slot), "slot {slot} stands in a line already");
    let code = LINE | number as u32;
    let last = lines[number].last;
    links.entries[slot].next = code;
    if last == NONE {
        links.entries[slot].previous = code;
        lines[number].first = slot;
    } else {
        links.entries[slot].previous = last;
        links.entries[last].next = slot;
    }
    lines[number].last = slot;
}

/// Takes `slot` out of whichever of `lines` it stands in, and names that line.
///
/// # Panics
/// If the slot stands in no line.
pub(super) fn remove(links: &mut Links, lines: &mut [Line], slot: u32) -> Removed {
    let Link { previous, next, .. } = links.entries[slot];
    assert!(next != NONE, "slot {slot} stands in no line");
    links.entries[slot].previous = NONE;
    links.entries[slot].next = NONE;
    match (previous & LINE != 0, next & LINE != 0) {
        (true, true) => {
            let number = (next & !LINE) as usize;
            lines[number] = Line::EMPTY;
            Removed::Emptied(number)
        }
        (true, false) => {
            lines[(previous & !LINE) as usize].first = next;
            links.entries[next].previous = previous;
            Removed::Kept((previous & !LINE) as usize)
        }
        (false, true) => {
            lines[(next & !LINE) as usize].last = previous;
            links.entries[previous].next = next;
            Removed::Kept((next & !LINE) as usize)
        }
        (false, false) => {
            links.entries[previous].next = next;
            links.entries[next].previous = previous;
            Removed::Inner
        }
    }
}

/// What a removal left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Removed {
    /// The line of this number is empty now.
    Emptied(usize),
    /// The slot stood at an end of this line, which has others.
    Kept(usize),
    /// The slot stood between two others.
    Inner,
}

/// Appends all of line `from` to line `to`, in constant time.
pub(super) fn splice(links: &mut Links, lines: &mut [Line], from: usize, to: usize) {
    let moved = core::mem::replace(&mut lines[from], Line::EMPTY);
    if moved.is_empty() {
        return;
    }
    let code = LINE | to as u32;
    links.entries[moved.last].next = code;
    let last = lines[to].last;
    if last == NONE {
        links.entries[moved.first].previous = code;
        lines[to].first = moved.first;
    } else {
        links.entries[moved.first].previous = last;
        links.entries[last].next = moved.first;
    }
    lines[to].last = moved.last;
}
