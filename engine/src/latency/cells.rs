//! A histogram that one thread writes and any thread reads, without a lock: the cells of an HDR
//! histogram (Gil Tene, hdrhistogram.org), each an atomic count.
//!
//! The writer adds with a load and a store, no locked instruction; a reader sees each count as it was
//! at some moment of its reading. It knows values and counts, never what they mean.

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering},
};

use super::{Histogram, SPAN_NS_MAX};

/// Cells per power of two, so that a value is kept to three decimal digits: the highest power of two
/// that is not above twice a thousand, halved.
const HALF_BITS: u32 = 10;
const HALF: usize = 1 << HALF_BITS;
/// Cells that are allocated together, when the first of them is needed.
const PAGE_BITS: u32 = 9;
const PAGE: usize = 1 << PAGE_BITS;
const PAGES: usize = cell_of(SPAN_NS_MAX) / PAGE + 1;

/// Counts by value, from 0 to [`SPAN_NS_MAX`].
pub(super) struct Cells {
    pages: [OnceLock<Box<[AtomicU64; PAGE]>>; PAGES],
}

impl Cells {
    pub(super) fn new() -> Self {
        Self { pages: [const { OnceLock::new() }; PAGES] }
    }

    /// Counts `value`, or [`SPAN_NS_MAX`] if it is above, `count` times. One thread at a time may do
    /// so: of two, one's count may be lost.
    #[inline]
    pub(super) fn record(&self, value: u64, count: u64) {
        let cell = cell_of(value.min(SPAN_NS_MAX));
        let page = self.pages[cell >> PAGE_BITS]
            .get_or_init(|| Box::new([const { AtomicU64::new(0) }; PAGE]));
        let cell = &page[cell & (PAGE - 1)];
        cell.store(cell.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
    }

    /// Adds all counts to `sum`.
    pub(super) fn add_to(&self, sum: &mut Histogram<u64>) {
        for (number, page) in self.pages.iter().enumerate() {
            let Some(page) = page.get() else { continue };
            for (offset, cell) in page.iter().enumerate() {
                let count = cell.load(Ordering::Relaxed);
                if count > 0 {
                    sum.saturating_record_n(lowest_of(number * PAGE + offset), count);
                }
            }
        }
    }
}

/// The cell that a value belongs to.
const fn cell_of(value: u64) -> usize {
    let low_mask = (2 * HALF - 1) as u64;
    let power = u64::BITS - HALF_BITS - 1 - (value | low_mask).leading_zeros();
    ((power as usize + 1) << HALF_BITS) + (value >> power) as usize - HALF
}

/// The lowest value of a cell.
const fn lowest_of(cell: usize) -> u64 {
    let power = (cell >> HALF_BITS).saturating_sub(1);
    let within = cell - (power << HALF_BITS);
    (within as u64) << power
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latency::histogram;

    #[test]
    fn it_counts_as_the_library_does() {
        let cells = Cells::new();
        let mut expected = histogram();
        let mut value = 0_u64;
        for step in 0..20_000_u64 {
            cells.record(value, 1 + step % 3);
            expected.saturating_record_n(value.min(SPAN_NS_MAX), 1 + step % 3);
            value = value + value / 500 + step % 7;
            if value > 2 * SPAN_NS_MAX {
                value = 0;
            }
        }
        let mut sum = histogram();
        cells.add_to(&mut sum);
        assert_eq!(sum.len(), expected.len());
        assert!((expected.max()..=sum.max()).contains(&expected.max()));
        for tenth_percent in 0..=1000 {
            let quantile = f64::from(tenth_percent) / 1000.0;
            assert_eq!(sum.value_at_quantile(quantile), expected.value_at_quantile(quantile));
        }
    }

    #[test]
    fn the_lowest_value_of_a_cell_is_in_it_and_the_one_below_is_not() {
        for cell in 0..cell_of(SPAN_NS_MAX) {
            let lowest = lowest_of(cell);
            assert_eq!(cell_of(lowest), cell);
            assert!(lowest == 0 || cell_of(lowest - 1) == cell - 1, "cell {cell}");
        }
    }
}
