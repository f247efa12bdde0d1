//! A growing array in pages that never move: growth allocates one page and copies nothing, so a
//! table of ten million entries grows without a pause.

use alloc::{boxed::Box, vec::Vec};
use core::ops::{Index, IndexMut};

const PAGE_BITS: u32 = 12;
const PAGE_LEN: usize = 1 << PAGE_BITS;

/// An array indexed by `u32`, grown page by page.
#[derive(Debug, Default)]
pub struct Pages<T> {
    pages: Vec<Box<[T]>>,
}

impl<T: Copy + Default> Pages<T> {
    /// An array without pages; it allocates nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { pages: Vec::new() }
    }

    /// Number of entries that can be indexed.
    #[must_use]
    pub fn len(&self) -> u32 {
        // `grow_to` takes a `u32`, so the product fits; the last page may round up to 2³².
        u32::try_from(self.pages.len() * PAGE_LEN).unwrap_or(u32::MAX)
    }

    /// Whether there is no page yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }

    /// Makes `index` valid; new entries are `T::default()`.
    pub fn grow_to(&mut self, index: u32) {
        while self.pages.len() <= (index >> PAGE_BITS) as usize {
            self.pages.push(alloc::vec![T::default(); PAGE_LEN].into_boxed_slice());
        }
    }
}

impl<T> Index<u32> for Pages<T> {
    type Output = T;

    fn index(&self, index: u32) -> &T {
        &self.pages[(index >> PAGE_BITS) as usize][index as usize & (PAGE_LEN - 1)]
    }
}

impl<T> IndexMut<u32> for Pages<T> {
    fn index_mut(&mut self, index: u32) -> &mut T {
        &mut self.pages[(index >> PAGE_BITS) as usize][index as usize & (PAGE_LEN - 1)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_keep_their_address_while_it_grows() {
        let mut pages: Pages<u64> = Pages::new();
        assert!(pages.is_empty());
        pages.grow_to(0);
        pages[0] = 7;
        let before = core::ptr::from_ref(&pages[0]);
        pages.grow_to(1_000_000);
        assert_eq!(before, core::ptr::from_ref(&pages[0]));
        assert_eq!((pages[0], pages[1_000_000]), (7, 0));
        assert!(pages.len() > 1_000_000);
    }
}
