//! Jobs that are due and wait for an executor: one line per priority, first in, first out.

use alloc::vec::Vec;

use crate::{
    id::Slot,
    limits::PRIORITY_MAX,
    wheel::{Line, Links, Removed, next_of, push_back, remove},
};

const LINES: usize = PRIORITY_MAX as usize + 1;

/// The ready lines of a shard.
#[derive(Debug)]
pub(crate) struct Ready {
    lines: [Line; LINES],
    /// One bit per line that has entries.
    occupied: u16,
    len: u32,
}

impl Ready {
    pub(crate) fn new() -> Self {
        Self { lines: [Line::EMPTY; LINES], occupied: 0, len: 0 }
    }

    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.occupied == 0
    }

    pub(crate) fn push(&mut self, links: &mut Links, slot: Slot, priority: u8) {
        push_back(links, &mut self.lines, usize::from(priority), slot.0);
        self.occupied |= 1 << priority;
        self.len += 1;
    }

    /// Those that go first, in their order, at most `max`; they stay in line.
    pub(crate) fn first_many(&self, links: &Links, max: usize, slots: &mut Vec<Slot>) {
        let mut occupied = self.occupied;
        while occupied != 0 && slots.len() < max {
            let priority = 15 - occupied.leading_zeros();
            occupied &= !(1 << priority);
            let mut slot = self.lines[priority as usize].first();
            while let Some(entry) = slot.filter(|_| slots.len() < max) {
                slots.push(Slot(entry));
                slot = next_of(links, entry);
            }
        }
    }

    pub(crate) fn remove(&mut self, links: &mut Links, slot: Slot) {
        if let Removed::Emptied(line) = remove(links, &mut self.lines, slot.0) {
            self.occupied &= !(1 << line);
        }
        self.len -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_priority_goes_first_and_the_oldest_among_equals() {
        let mut links = Links::new();
        links.grow_to(8);
        let mut ready = Ready::new();
        for (slot, priority) in [(0, 5), (1, 9), (2, 0), (3, 9), (4, 5)] {
            ready.push(&mut links, Slot(slot), priority);
        }
        ready.remove(&mut links, Slot(3));
        let mut order = Vec::new();
        ready.first_many(&links, 3, &mut order);
        assert_eq!(order, [1, 0, 4].map(Slot));
        order.clear();
        ready.first_many(&links, 10, &mut order);
        assert_eq!(order, [1, 0, 4, 2].map(Slot));
        for slot in order {
            ready.remove(&mut links, slot);
        }
        assert!(ready.is_empty());
    }
}
