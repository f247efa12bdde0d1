//! A histogram that one thread writes and another reads, without a lock.
//!
//! Its cells are those of an HDR histogram (Tene, HdrHistogram): values up to a power of two one by
//! one, then as many cells for each doubling. With [`Cells::fine`] they match the histograms of the
//! engine cell by cell, so that nothing is lost when they are carried over.

use std::sync::atomic::{AtomicU64, Ordering};

use tickwheel_engine::latency::{Histogram, SPAN_NS_MAX};

/// Bits that a fine cell keeps of a value: three decimal digits.
const FINE_BITS: u32 = 11;
/// Bits that a coarse cell keeps: two decimal digits.
const COARSE_BITS: u32 = 8;

/// The counts of one histogram. One thread at a time may record.
#[derive(Debug)]
pub(crate) struct Cells {
    counts: Box<[AtomicU64]>,
    bits: u32,
}

impl Cells {
    /// With the precision of the engine's histograms.
    pub(crate) fn fine() -> Self {
        Self::new(FINE_BITS)
    }

    /// Small, for histograms of which there are many.
    pub(crate) fn coarse() -> Self {
        Self::new(COARSE_BITS)
    }

    fn new(bits: u32) -> Self {
        let len = index(bits, SPAN_NS_MAX) + 1;
        Self { counts: (0..len).map(|_| AtomicU64::new(0)).collect(), bits }
    }

    /// Counts one value. It costs one load and one store: nobody else writes.
    pub(crate) fn record(&self, value_ns: u64) {
        let cell = &self.counts[index(self.bits, value_ns)];
        cell.store(cell.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// Adds what is counted now to `sums`, cell by cell. A value that is recorded meanwhile is in this
    /// sum or in the next.
    pub(crate) fn add_to(&self, sums: &mut Vec<u64>) {
        sums.resize(self.counts.len(), 0);
        for (sum, cell) in sums.iter_mut().zip(&self.counts) {
            *sum += cell.load(Ordering::Relaxed);
        }
    }

    /// Records in `histogram` how much fine `sums` have grown since `before`.
    pub(crate) fn carry_over(before: &[u64], sums: &[u64], histogram: &mut Histogram<u64>) {
        for (cell, sum) in sums.iter().enumerate() {
            let grown = sum - before.get(cell).copied().unwrap_or(0);
            if grown > 0 {
                histogram.saturating_record_n(lowest(FINE_BITS, cell), grown);
            }
        }
    }

    /// The histogram of coarse `sums`.
    pub(crate) fn coarse_histogram(sums: &[u64], histogram: &mut Histogram<u64>) {
        for (cell, sum) in sums.iter().enumerate().filter(|(_, sum)| **sum > 0) {
            histogram.saturating_record_n(lowest(COARSE_BITS, cell), *sum);
        }
    }
}

/// The cell of a value.
fn index(bits: u32, value_ns: u64) -> usize {
    let value = value_ns.min(SPAN_NS_MAX);
    let shift = 64 - (value | ((1 << bits) - 1)).leading_zeros() - bits;
    ((shift as usize) << (bits - 1)) + (value >> shift) as usize
}

/// The lowest value of a cell.
fn lowest(bits: u32, cell: usize) -> u64 {
    let half = 1_usize << (bits - 1);
    let shift = (cell / half).saturating_sub(1);
    ((cell - shift * half) as u64) << shift
}

#[cfg(test)]
mod tests {
    use tickwheel_engine::latency;

    use super::*;

    fn values() -> impl Iterator<Item = u64> {
        let powers = (0..42).flat_map(|bit| [(1_u64 << bit) - 1, 1 << bit, (1 << bit) + 1]);
        powers.chain((0..20_000).map(|n| n * 176_543_210 + n))
    }

    #[test]
    fn a_cell_holds_its_value_with_the_promised_precision() {
        for value in values().filter(|value| *value <= SPAN_NS_MAX) {
            for (bits, error) in [(FINE_BITS, 1.0 / 1024.0), (COARSE_BITS, 1.0 / 128.0)] {
                let low = lowest(bits, index(bits, value));
                assert!(low <= value, "{value}");
                assert!((value - low) as f64 <= value as f64 * error, "{value} {low}");
            }
        }
    }

    #[test]
    fn what_is_carried_over_is_what_an_hdr_histogram_records() {
        let cells = Cells::fine();
        let mut expected = latency::histogram();
        for value in values() {
            cells.record(value);
            expected.saturating_record(value);
        }
        let mut sums = Vec::new();
        cells.add_to(&mut sums);
        let mut found = latency::histogram();
        Cells::carry_over(&[], &sums, &mut found);
        assert_eq!(found, expected);
        let before = sums.clone();
        cells.record(77);
        sums.clear();
        cells.add_to(&mut sums);
        found.reset();
        Cells::carry_over(&before, &sums, &mut found);
        assert_eq!((found.len(), found.max()), (1, 77));
    }
}
