//! Jobs that are due and wait for an executor: one line per priority, first in, first out.

use crate::{
    id::Slot,
    limits::PRIORITY_MAX,
    wheel::{Line, Links, Removed, push_back, remove},
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

    /// The oldest of the highest priority; it stays in line.
    pub(crate) fn first(&self) -> Option<Slot> {
        if self.occupied == 0 {
            return None;
        }
        let priority = (15 - self.occupied.leading_zeros()) as usize;
        self.lines[priority].first().map(Slot)
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
        let mut order = alloc::vec::Vec::new();
        while let Some(slot) = ready.first() {
            ready.remove(&mut links, slot);
            order.push(slot.0);
        }
        assert_eq!(order, [1, 0, 4, 2]);
        assert!(ready.is_empty());
    }
}
