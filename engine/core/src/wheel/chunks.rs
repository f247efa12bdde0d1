//! The lines of a wheel: entries in chunks of two processor lines, so that whoever walks a line
//! meets fourteen entries per step and not one. It knows slots, ticks and line numbers, never levels.
//!
//! An entry is a slot with the low half of its tick; the high half stands once per chunk, and with
//! the slot's link for the rare chunk whose entries differ in it. So moving an entry reads nothing but
//! its chunk, and only writes to its link. A link names the chunk and the index in it. A cancel clears the bit of
//! that index and moves nothing; a chunk that is half empty is joined with a neighbour or closed up before
//! another is added. So the order of entering is kept within a line.
//!
//! The first and last chunk of a line carry its number in place of a neighbour, so that two lines
//! are joined in constant time, whatever their length.

use super::links::Links;
use crate::pages::Pages;

/// Entries of a chunk: with its head they fill 128 bytes.
const CHUNK_LEN: usize = 14;
/// Entries of a chunk that is worth closing up, or joining with a neighbour.
const FEW: u8 = CHUNK_LEN as u8 / 2;
/// Largest value of the bits that hold an index.
pub(super) const INDEX_MAX: usize = 15;
/// Marks a neighbour that is no chunk but the number of the line. Each chunk in use has an entry, so
/// there are fewer chunks than slots, which are below this as well.
const LINE: u32 = 1 << 31;
/// No chunk: an empty line's ends, and the end of the chain of free chunks.
const NONE: u32 = u32::MAX;

/// A slot and the tick that it is due at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) slot: u32,
    pub(super) tick: u64,
}

/// Where an entry stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) chunk: u32,
    pub(super) index: usize,
}

/// Up to [`CHUNK_LEN`] entries, in the order in which they came.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(128))]
struct Chunk {
    previous: u32,
    /// The next of the line, or of the chain of free chunks.
    next: u32,
    /// High half of all ticks, unless `is_mixed`.
    tick_high: u16,
    /// One bit per index that holds an entry.
    occupied: u16,
    /// The index of the next entry to come.
    end: u8,
    /// Number of entries. Counting bits takes longer where the processor's instruction for it may not be used.
    len: u8,
    /// The high halves of the ticks differ; they stand with the slots' links.
    is_mixed: bool,
    slots: [u32; CHUNK_LEN],
    lows: [u32; CHUNK_LEN],
}

const _: () = assert!(size_of::<Chunk>() == 128 && CHUNK_LEN <= INDEX_MAX + 1);

impl Chunk {
    fn clear(&mut self) {
        (self.occupied, self.end, self.len) = (0, 0, 0);
    }

    /// Makes a hole at `index`, which holds an entry.
    fn take(&mut self, index: usize) {
        self.occupied &= !(1 << index);
        self.len -= 1;
    }

    fn indices(&self) -> impl Iterator<Item = usize> + use<> {
        let occupied = self.occupied;
        (0..CHUNK_LEN).filter(move |index| occupied >> index & 1 == 1)
    }

    fn is_at_end(&self) -> bool {
        usize::from(self.end) == CHUNK_LEN
    }

    /// Adds an entry behind the others and gives its index.
    fn push(&mut self, slot: u32, low: u32, tick_high: u16) -> usize {
        if self.len == 0 {
            self.tick_high = tick_high;
            self.is_mixed = false;
        }
        self.is_mixed |= self.tick_high != tick_high;
        let index = usize::from(self.end);
        self.slots[index] = slot;
        self.lows[index] = low;
        self.occupied |= 1 << index;
        self.end += 1;
        self.len += 1;
        index
    }

    /// The index of the first of those entries that have the earliest tick. There is no branch per
    /// entry: for the compiler these are a few vector instructions.
    fn earliest(&self) -> usize {
        debug_assert!(!self.is_mixed && self.occupied != 0);
        if self.len == 1 {
            return self.occupied.trailing_zeros() as usize;
        }
        let occupied = u32::from(self.occupied);
        let mut earliest = u32::MAX;
        for (low, bit) in self.lows.iter().zip(BITS) {
            let hole = if occupied & bit == 0 { u32::MAX } else { 0 };
            earliest = earliest.min(low | hole);
        }
        let mut hits = 0;
        for (low, bit) in self.lows.iter().zip(BITS) {
            hits |= if *low == earliest { bit } else { 0 };
        }
        (hits & occupied).trailing_zeros() as usize
    }
}

/// The bit of each index.
const BITS: [u32; CHUNK_LEN] = {
    let mut bits = [0; CHUNK_LEN];
    let mut index = 0;
    while index < CHUNK_LEN {
        bits[index] = 1 << index;
        index += 1;
    }
    bits
};

/// A line of chunks.
#[derive(Clone, Copy, Debug)]
pub(super) struct ChunkLine {
    first: u32,
    last: u32,
    /// A tick at or before that of its earliest entry; `u64::MAX` when empty.
    pub(super) earliest: u64,
}

impl ChunkLine {
    pub(super) const EMPTY: Self = Self { first: NONE, last: NONE, earliest: u64::MAX };

    pub(super) fn is_empty(self) -> bool {
        self.first == NONE
    }

    /// Whether all its entries stand in one chunk.
    pub(super) fn is_one_chunk(self) -> bool {
        self.first == self.last
    }
}

/// Calls `visit` for each entry of a line, in the order in which they came.
pub(super) fn visit(links: &Links, line: ChunkLine, visit: &mut impl FnMut(u32)) {
    let mut number = line.first;
    // The last chunk names the line in place of a neighbour; an empty line's end is marked as well.
    while number & LINE == 0 {
        let chunk = &links.chunks.chunks[number];
        chunk.indices().for_each(|index| visit(chunk.slots[index]));
        number = chunk.next;
    }
}

/// All chunks, in use or free.
#[derive(Debug)]
pub(super) struct Chunks {
    chunks: Pages<Chunk>,
    free: u32,
    /// Chunks ever used.
    used: u32,
}

impl Default for Chunks {
    fn default() -> Self {
        Self::new()
    }
}

impl Chunks {
    pub(super) const fn new() -> Self {
        Self { chunks: Pages::new(), free: NONE, used: 0 }
    }

    /// Low half of the tick of the entry at `place`.
    pub(super) fn low_at(&self, place: Place) -> u32 {
        self.chunks[place.chunk].lows[place.index]
    }

    /// Chunks that hold entries.
    #[cfg(test)]
    pub(super) fn in_use(&self) -> u32 {
        let mut free = 0;
        let mut next = self.free;
        while next != NONE {
            free += 1;
            next = self.chunks[next].next;
        }
        self.used - free
    }

    fn take_free(&mut self) -> u32 {
        let number = self.free;
        if number != NONE {
            self.free = self.chunks[number].next;
            return number;
        }
        let number = self.used;
        self.chunks.grow_to(number);
        self.used += 1;
        number
    }

    fn set_next(&mut self, number: u32, next: u32) {
        self.chunks[number].next = next;
    }

    fn set_previous(&mut self, number: u32, previous: u32) {
        self.chunks[number].previous = previous;
    }

    /// Takes a chunk out of its line and makes it free.
    fn unlink(&mut self, lines: &mut [ChunkLine], number: u32) {
        let Chunk { previous, next, .. } = self.chunks[number];
        match line_of(previous) {
            Some(line) if line_of(next).is_some() => lines[line] = ChunkLine::EMPTY,
            Some(line) => lines[line].first = next,
            None => self.set_next(previous, next),
        }
        match line_of(next) {
            Some(line) if line_of(previous).is_none() => lines[line].last = previous,
            Some(_) => {}
            None => self.set_previous(next, previous),
        }
        self.set_next(number, self.free);
        self.free = number;
    }
}

fn line_of(neighbour: u32) -> Option<usize> {
    (neighbour & LINE != 0).then_some((neighbour & !LINE) as usize)
}

/// Appends `entry` to line `number` of `lines`.
pub(super) fn push_back(links: &mut Links, lines: &mut [ChunkLine], number: usize, entry: Entry) {
    let line = &mut lines[number];
    line.earliest = line.earliest.min(entry.tick);
    let tick_high = (entry.tick >> 32) as u16;
    let mut last = line.last;
    if last != NONE {
        let chunk = &mut links.chunks.chunks[last];
        if !chunk.is_at_end() {
            let index = chunk.push(entry.slot, entry.tick as u32, tick_high);
            links.enter_chunk(entry.slot, Place { chunk: last, index }, tick_high);
            return;
        }
    }
    last = make_room(links, line, number);
    let index = links.chunks.chunks[last].push(entry.slot, entry.tick as u32, tick_high);
    links.enter_chunk(entry.slot, Place { chunk: last, index }, tick_high);
}

/// Gives the last chunk of the line room for an entry: a new one, or its own holes.
fn make_room(links: &mut Links, line: &mut ChunkLine, number: usize) -> u32 {
    if line.last != NONE && links.chunks.chunks[line.last].len <= FEW {
        let chunk = links.chunks.chunks[line.last];
        links.chunks.chunks[line.last].clear();
        append(links, &chunk, line.last);
        return line.last;
    }
    add_chunk(&mut links.chunks, line, number)
}

fn add_chunk(chunks: &mut Chunks, line: &mut ChunkLine, number: usize) -> u32 {
    let code = LINE | number as u32;
    let added = chunks.take_free();
    let previous = if line.last == NONE { code } else { line.last };
    let chunk = &mut chunks.chunks[added];
    (chunk.previous, chunk.next) = (previous, code);
    chunk.clear();
    if line.last == NONE {
        line.first = added;
    } else {
        chunks.set_next(line.last, added);
    }
    line.last = added;
    added
}

/// Takes `slot` out of whichever of `lines` it stands in.
///
/// # Panics
/// If the slot stands in no line.
#[inline]
pub(super) fn remove(links: &mut Links, lines: &mut [ChunkLine], slot: u32) -> Removed {
    let place = links.place(slot);
    let chunk = &mut links.chunks.chunks[place.chunk];
    chunk.take(place.index);
    // The usual case is short, so that a processor can begin the next cancels while this one waits
    // for memory.
    if chunk.len > FEW && (chunk.previous | chunk.next) & LINE == 0 {
        links.leave(slot);
        return Removed::Inner;
    }
    let tick = entry_at(links, &links.chunks.chunks[place.chunk], place.index).tick;
    links.leave(slot);
    tidy(links, lines, place.chunk, tick)
}

/// What a removal left behind.
#[derive(Clone, Copy, Debug)]
pub(super) enum Removed {
    /// The line of this number is empty now.
    Emptied(usize),
    /// The entry was due at this tick, and stood in the first or last chunk of this line.
    Outer { line: usize, tick: u64 },
    /// The line has other entries, before and behind.
    Inner,
}

/// After an entry was taken out of a chunk that stands at an end of its line or is half empty.
#[inline(never)]
fn tidy(links: &mut Links, lines: &mut [ChunkLine], number: u32, tick: u64) -> Removed {
    let Chunk { previous, next, len, .. } = links.chunks.chunks[number];
    let line = line_of(previous).or(line_of(next));
    if len == 0 {
        links.chunks.unlink(lines, number);
        return match line {
            Some(line) if lines[line].is_empty() => Removed::Emptied(line),
            Some(line) => Removed::Outer { line, tick },
            None => Removed::Inner,
        };
    }
    // A neighbour that fits is joined, so that cancels do not leave thin chunks behind.
    if len <= FEW {
        let fits = |other: u32| {
            let room = CHUNK_LEN as u8 - len;
            line_of(other).is_none() && links.chunks.chunks[other].len <= room
        };
        if fits(next) {
            join(links, lines, number, next);
        } else if fits(previous) {
            join(links, lines, previous, number);
        }
    }
    line.map_or(Removed::Inner, |line| Removed::Outer { line, tick })
}

/// Moves the entries of `right` to its neighbour `left`. A chunk is added after fourteen entries came, so
/// the links that are written here are at most one per entry that ever came.
fn join(links: &mut Links, lines: &mut [ChunkLine], left: u32, right: u32) {
    let moved = [left, right].map(|number| links.chunks.chunks[number]);
    links.chunks.chunks[left].clear();
    for chunk in &moved {
        append(links, chunk, left);
    }
    links.chunks.unlink(lines, right);
}

/// Takes all entries of the first chunk of line `number` out, in order. Their links are not written:
/// they are to enter another line at once.
pub(super) fn pop_chunk(links: &mut Links, lines: &mut [ChunkLine], number: usize) -> Loose {
    let first = lines[number].first;
    let chunk = links.chunks.chunks[first];
    links.chunks.unlink(lines, first);
    Loose(chunk)
}

/// Entries on their way from one chunk to others.
pub(super) struct Loose(Chunk);

impl Loose {
    pub(super) fn len(&self) -> u32 {
        self.0.len.into()
    }

    /// Takes the first out. `links` must be as they were: the entry's own link is looked at.
    pub(super) fn pop_front(&mut self, links: &Links) -> Option<Entry> {
        if self.0.occupied == 0 {
            return None;
        }
        let entry = entry_at(links, &self.0, self.0.occupied.trailing_zeros() as usize);
        self.0.occupied &= self.0.occupied - 1;
        Some(entry)
    }
}

/// Takes the first entry of line `number` out, and says whether the line is empty now.
pub(super) fn pop_front(
    links: &mut Links,
    lines: &mut [ChunkLine],
    number: usize,
) -> Option<(Entry, bool)> {
    let first = lines[number].first;
    if first == NONE {
        return None;
    }
    let chunk = &links.chunks.chunks[first];
    let entry = entry_at(links, chunk, chunk.occupied.trailing_zeros() as usize);
    links.leave_chunk(entry.slot, entry.tick);
    let chunk = &mut links.chunks.chunks[first];
    // The lowest bit that is set.
    chunk.take(chunk.occupied.trailing_zeros() as usize);
    if chunk.len == 0 {
        links.chunks.unlink(lines, first);
    }
    Some((entry, lines[number].is_empty()))
}

/// Takes the earliest entry of a line of one chunk out if it is due at or before `now_tick`; of equal
/// ones that which came first. The line's `earliest` is exact afterwards.
pub(super) fn pop_earliest(
    links: &mut Links,
    lines: &mut [ChunkLine],
    number: usize,
    now_tick: u64,
) -> Option<(Entry, bool)> {
    let first = lines[number].first;
    let (index, entry) = earliest_of(links, &links.chunks.chunks[first]);
    lines[number].earliest = entry.tick;
    if entry.tick > now_tick {
        return None;
    }
    links.leave_chunk(entry.slot, entry.tick);
    let chunk = &mut links.chunks.chunks[first];
    chunk.take(index);
    if chunk.len == 0 {
        links.chunks.unlink(lines, first);
        return Some((entry, true));
    }
    lines[number].earliest = earliest_of(links, &links.chunks.chunks[first]).1.tick;
    Some((entry, false))
}

/// Appends the entries of `from`, a copy, to the chunk `to`.
fn append(links: &mut Links, from: &Chunk, to: u32) {
    for index in from.indices() {
        let slot = from.slots[index];
        let tick_high = if from.is_mixed { links.tick_high(slot) } else { from.tick_high };
        let index = links.chunks.chunks[to].push(slot, from.lows[index], tick_high);
        links.enter_chunk(slot, Place { chunk: to, index }, tick_high);
    }
}

/// Appends all of line `from` to line `to`, in constant time. The `earliest` of `to` is not kept.
pub(super) fn splice(links: &mut Links, lines: &mut [ChunkLine], from: usize, to: usize) {
    let moved = core::mem::replace(&mut lines[from], ChunkLine::EMPTY);
    if moved.is_empty() {
        return;
    }
    let code = LINE | to as u32;
    links.chunks.set_next(moved.last, code);
    let last = lines[to].last;
    if last == NONE {
        links.chunks.set_previous(moved.first, code);
        lines[to].first = moved.first;
    } else {
        links.chunks.set_previous(moved.first, last);
        links.chunks.set_next(last, moved.first);
    }
    lines[to].last = moved.last;
}

/// Finds the earliest tick of a line anew, unless it has more than `entries_max`: then it keeps its
/// lower bound.
pub(super) fn rescan(links: &Links, lines: &mut [ChunkLine], number: usize, entries_max: u32) {
    let mut earliest = u64::MAX;
    let mut entries = 0;
    let mut next = lines[number].first;
    while next != NONE && line_of(next).is_none() {
        let chunk = &links.chunks.chunks[next];
        entries += u32::from(chunk.len);
        if entries > entries_max {
            return;
        }
        earliest = earliest.min(earliest_of(links, chunk).1.tick);
        next = chunk.next;
    }
    lines[number].earliest = earliest;
}

fn entry_at(links: &Links, chunk: &Chunk, index: usize) -> Entry {
    let slot = chunk.slots[index];
    let high = if chunk.is_mixed { links.tick_high(slot) } else { chunk.tick_high };
    Entry { slot, tick: u64::from(high) << 32 | u64::from(chunk.lows[index]) }
}

/// The first of those entries of a chunk that have the earliest tick, and its index.
fn earliest_of(links: &Links, chunk: &Chunk) -> (usize, Entry) {
    let index = if chunk.is_mixed {
        let tick = |index: &usize| entry_at(links, chunk, *index).tick;
        chunk.indices().min_by_key(tick).unwrap_or_default()
    } else {
        chunk.earliest()
    };
    (index, entry_at(links, chunk, index))
}
