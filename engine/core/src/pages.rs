//! Growing arrays in pages that never move: growth allocates one page and copies nothing, so a
//! table of ten million entries grows without a pause.
//!
//! [`Pages`] is the plain one. [`SharedPages`] can be frozen: the copy shares all pages, and each
//! is copied when it is next written to while the frozen copy is still held.

use alloc::{boxed::Box, sync::Arc, vec::Vec};
use core::ops::{Index, IndexMut};

const PAGE_BITS: u32 = 12;
/// Entries of a page.
pub const PAGE_LEN: usize = 1 << PAGE_BITS;

/// An array indexed by `u32`, grown page by page.
#[derive(Debug, Default)]
pub struct Pages<T> {
    pages: Vec<Box<[T; PAGE_LEN]>>,
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
            // By way of a slice: an array would be made on the stack.
            let page = alloc::vec![T::default(); PAGE_LEN].into_boxed_slice();
            let Ok(page) = page.try_into() else {
                unreachable!("the page was made with this length");
            };
            self.pages.push(page);
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

/// An array indexed by `u32`, grown page by page, that can be frozen.
///
/// ```
/// use tickwheel_core::pages::SharedPages;
/// let mut pages = SharedPages::new();
/// pages.grow_to(0);
/// let frozen = pages.freeze();
/// pages[0] = 7;
/// assert_eq!((pages[0], frozen.pages().next().map(|page| page[0])), (7, Some(0)));
/// ```
#[derive(Debug, Default)]
pub struct SharedPages<T> {
    pages: Vec<Page<T>>,
}

/// A page knows by itself whether it may be written to: asking the [`Arc`] would cost a locked
/// instruction at each write.
#[derive(Debug)]
enum Page<T> {
    /// Nobody else can see it.
    Own(Box<[T]>),
    /// A frozen copy holds it, or has held it since it was last written to.
    Shared(Arc<Box<[T]>>),
}

/// What [`SharedPages::freeze`] left behind: it never changes.
#[derive(Clone, Debug, Default)]
pub struct FrozenPages<T> {
    pages: Vec<Arc<Box<[T]>>>,
}

impl<T: Clone + Default> SharedPages<T> {
    /// An array without pages; it allocates nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { pages: Vec::new() }
    }

    /// Makes `index` valid; new entries are `T::default()`.
    pub fn grow_to(&mut self, index: u32) {
        while self.pages.len() <= (index >> PAGE_BITS) as usize {
            self.pages.push(Page::Own(alloc::vec![T::default(); PAGE_LEN].into_boxed_slice()));
        }
    }

    /// Appends a page: its entries follow those of the pages so far.
    ///
    /// # Panics
    /// If it has another number of entries than a page.
    pub fn push_page(&mut self, page: Vec<T>) {
        assert_eq!(page.len(), PAGE_LEN, "a page has a length of its own");
        self.pages.push(Page::Own(page.into_boxed_slice()));
    }

    /// A copy of the array as it is now. It copies no entry: the cost is a small allocation for
    /// each page of 4096 entries.
    pub fn freeze(&mut self) -> FrozenPages<T> {
        let shared = |page| match page {
            Page::Own(entries) => Arc::new(entries),
            Page::Shared(entries) => entries,
        };
        let pages: Vec<_> = core::mem::take(&mut self.pages).into_iter().map(shared).collect();
        self.pages = pages.iter().map(|page| Page::Shared(Arc::clone(page))).collect();
        FrozenPages { pages }
    }
}

impl<T: Clone> SharedPages<T> {
    /// Makes a shared page writable: by a copy, if a frozen array still holds it.
    #[cold]
    fn own(&mut self, number: usize) {
        // The page is taken out by value, and its place is filled again below.
        let page = match self.pages.swap_remove(number) {
            Page::Own(entries) => entries,
            Page::Shared(entries) => {
                Arc::try_unwrap(entries).unwrap_or_else(|held| Box::clone(&held))
            }
        };
        self.pages.push(Page::Own(page));
        let last = self.pages.len() - 1;
        self.pages.swap(number, last);
    }
}

impl<T> Index<u32> for SharedPages<T> {
    type Output = T;

    fn index(&self, index: u32) -> &T {
        let entry = index as usize & (PAGE_LEN - 1);
        match &self.pages[(index >> PAGE_BITS) as usize] {
            Page::Own(entries) => &entries[entry],
            Page::Shared(entries) => &entries[entry],
        }
    }
}

impl<T: Clone> IndexMut<u32> for SharedPages<T> {
    fn index_mut(&mut self, index: u32) -> &mut T {
        let number = (index >> PAGE_BITS) as usize;
        if matches!(self.pages[number], Page::Shared(_)) {
            self.own(number);
        }
        match &mut self.pages[number] {
            Page::Own(entries) => &mut entries[index as usize & (PAGE_LEN - 1)],
            Page::Shared(_) => unreachable!("it was made writable above"),
        }
    }
}

impl<T> Index<u32> for FrozenPages<T> {
    type Output = T;

    fn index(&self, index: u32) -> &T {
        &self.pages[(index >> PAGE_BITS) as usize][index as usize & (PAGE_LEN - 1)]
    }
}

impl<T> FrozenPages<T> {
    /// The pages, each of 4096 entries, in order.
    pub fn pages(&self) -> impl Iterator<Item = &[T]> {
        self.pages.iter().map(|page| &***page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frozen_copy_stays_as_it_was_and_pages_come_back_without_a_copy() {
        let mut pages: SharedPages<u64> = SharedPages::new();
        pages.grow_to(3 * PAGE_LEN as u32 - 1);
        for n in 0..3 * PAGE_LEN as u32 {
            pages[n] = u64::from(n);
        }
        let at = |pages: &SharedPages<u64>, n| core::ptr::from_ref(&pages[n]);
        let (first, last) = (at(&pages, 0), at(&pages, 2 * PAGE_LEN as u32));
        let frozen = pages.freeze();
        let again = pages.freeze();
        pages[1] = 77;
        pages.grow_to(3 * PAGE_LEN as u32);
        let seen: Vec<u64> = frozen.pages().flatten().copied().collect();
        assert_eq!(seen, (0..3 * PAGE_LEN as u64).collect::<Vec<_>>());
        assert_ne!(at(&pages, 0), first, "the copy that is held has the old page");
        drop((frozen, again));
        pages[2 * PAGE_LEN as u32] = 5;
        assert_eq!(at(&pages, 2 * PAGE_LEN as u32), last, "nobody held it any more");
        let left = [0, 1, PAGE_LEN as u32, 2 * PAGE_LEN as u32].map(|n| pages[n]);
        assert_eq!(left, [0, 77, PAGE_LEN as u64, 5]);
    }

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
