//! One segment of an open log, for reading.
//!
//! It must not know how segments are written or recovered.

use std::fmt;
use std::ops::Deref;

use crate::error::ReadError;
use crate::format::{
    self, HEADER_PAGE_BYTES, HeaderPage, Kind, Place, RECORD_HEADER_BYTES, Seed, decode_page,
};
use crate::lsn::Lsn;
use crate::storage::Mapping;
use crate::sync::Arc;

/// A data record, read in place.
///
/// It derefs to the payload, whose checksum was verified when it was read. It keeps the mapped
/// segment alive, so it may outlive the log and move to other threads.
#[derive(Clone)]
pub struct RecordRef {
    mapping: Arc<Mapping>,
    payload: usize,
    payload_len: usize,
}

impl Deref for RecordRef {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.mapping.frozen_bytes()[self.payload..self.payload + self.payload_len]
    }
}

impl AsRef<[u8]> for RecordRef {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for RecordRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordRef").field("len", &self.payload_len).finish_non_exhaustive()
    }
}

/// A segment that holds records of this log.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) place: Place,
    pub(crate) seed: Seed,
    pub(crate) mapping: Arc<Mapping>,
    /// Offset where the valid records of a recovered segment end. A segment written by this log
    /// freezes exactly its records, so there it is the segment's size.
    pub(crate) end: usize,
}

impl Segment {
    /// Whether valid records lead from `offset`, where one begins, to the end. An offset in the
    /// header page stands for the header and all records.
    pub(crate) fn is_whole_from(&self, offset: usize) -> bool {
        let records = &self.mapping.frozen_bytes()[..self.end];
        if offset < HEADER_PAGE_BYTES {
            let page = records.first_chunk().map(decode_page);
            let Some(HeaderPage::Used { header, .. }) = page else { return false };
            if Seed::new(&header) != self.seed {
                return false;
            }
        }
        let mut at = offset.max(HEADER_PAGE_BYTES);
        while at < self.end {
            match format::parse(records, at, self.seed) {
                Ok(record) => at = record.end,
                Err(_) => return false,
            }
        }
        true
    }

    /// The data record at `lsn`, which lies in this segment.
    pub(crate) fn read(&self, lsn: Lsn) -> Result<RecordRef, ReadError> {
        let offset = (lsn.0 - self.place.start()) as usize;
        let frozen = self.mapping.frozen_bytes();
        let records = &frozen[..frozen.len().min(self.end)];
        if offset < HEADER_PAGE_BYTES || offset + RECORD_HEADER_BYTES > records.len() {
            return Err(ReadError::OutOfRange { lsn });
        }
        let record = format::parse(records, offset, self.seed)
            .map_err(|reason| ReadError::Corrupt { lsn, reason: reason.to_string() })?;
        if record.kind != Kind::Data {
            return Err(ReadError::NotData { lsn });
        }
        Ok(RecordRef {
            mapping: Arc::clone(&self.mapping),
            payload: record.payload,
            payload_len: record.payload_len,
        })
    }
}
