//! The bytes on the disk: segment headers and records.
//!
//! It turns bytes into values and back, and must not know files, threads or what a caller stores.
//! The layout has its home in `docs/file-format.md`; a test compares the constants with that page.

mod header;
mod record;
mod remains;
#[cfg(test)]
mod tests;

pub(crate) use header::{
    FIRST_COPY_BYTES, HEADER_PAGE_BYTES, HeaderPage, Rest, SegmentHeader, VERSION, decode_page,
};
pub(crate) use record::{
    BadRecord, CONTROL_RECORD_BYTES, Kind, Parsed, RECORD_ALIGN, RECORD_HEADER_BYTES, Seed,
    control_value, encode_header, padded, parse, parse_checked,
};
pub(crate) use remains::{Seeds, remains_in};

/// Where a segment lies: its number in the log and the size that all segments share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Number of the segment, from 0.
    pub(crate) index: u64,
    /// Size of every segment of the log, a power of two.
    pub(crate) segment_bytes: u64,
}

impl Place {
    /// Position of the segment's first byte.
    pub(crate) fn start(self) -> u64 {
        self.index * self.segment_bytes
    }

    /// Position of the byte at `offset`.
    pub(crate) fn lsn(self, offset: usize) -> u64 {
        self.start() + offset as u64
    }

    /// Position just past the header page, where the first record begins.
    pub(crate) fn records_start(self) -> u64 {
        self.lsn(HEADER_PAGE_BYTES)
    }
}
