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

/// A data record that was read.
///
/// It derefs to the payload, whose checksum was verified when it was read. It may outlive the log
/// and move to other threads. A record of a recent segment is read in place and keeps the mapped
/// segment alive; of an older one it is a copy, since a page that was dropped from memory meanwhile
/// may not come back from a failing medium.
#[derive(Clone)]
pub struct RecordRef(Bytes);

#[derive(Clone)]
enum Bytes {
    InPlace { mapping: Arc<Mapping>, payload: usize, payload_len: usize },
    Copied(Arc<[u8]>),
}

impl Deref for RecordRef {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Bytes::InPlace { mapping, payload, payload_len } => {
                &mapping.frozen_bytes()[*payload..*payload + *payload_len]
            }
            Bytes::Copied(bytes) => bytes,
        }
    }
}

impl AsRef<[u8]> for RecordRef {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for RecordRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordRef").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// A segment that holds records of this log.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) place: Place,
    pub(crate) epoch: u64,
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

    /// Names the data record at `lsn`, which lies in this segment.
    pub(crate) fn locate(&self, lsn: Lsn, read: Reading) -> Result<RecordHandle, ReadError> {
        let offset = (lsn.0 - self.place.start()) as usize;
        let end = self.mapping.frozen_len().min(self.end);
        if offset < HEADER_PAGE_BYTES || offset + RECORD_HEADER_BYTES > end {
            return Err(ReadError::OutOfRange { lsn });
        }
        let mapping = Arc::clone(&self.mapping);
        Ok(RecordHandle { mapping, seed: self.seed, lsn, offset, end, read })
    }

    /// The first data record at or after `offset`, checked, with its offset and its end. `None`:
    /// the records end before one.
    pub(crate) fn next_data(&self, offset: usize) -> Result<Option<NextData>, ReadError> {
        let frozen = self.mapping.frozen_bytes();
        let records = &frozen[..frozen.len().min(self.end)];
        let mut at = offset.max(HEADER_PAGE_BYTES);
        while at < records.len() {
            let record = format::parse(records, at, self.seed).map_err(|reason| {
                let lsn = Lsn(self.place.lsn(at));
                ReadError::Corrupt { lsn, reason: reason.to_string() }
            })?;
            match record.kind {
                Kind::Data => {
                    let record_ref = RecordRef(Bytes::InPlace {
                        mapping: Arc::clone(&self.mapping),
                        payload: record.payload,
                        payload_len: record.payload_len,
                    });
                    return Ok(Some(NextData { offset: at, end: record.end, record: record_ref }));
                }
                Kind::Seal => return Ok(None),
                Kind::Commit | Kind::CleanShutdown | Kind::Head => at = record.end,
            }
        }
        Ok(None)
    }
}

/// A data record that the walk through a segment came to.
pub(crate) struct NextData {
    pub(crate) offset: usize,
    pub(crate) end: usize,
    pub(crate) record: RecordRef,
}

/// How a record is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// Its pages were written a short time ago.
    InPlace,
    /// Its pages may have to come from the medium, which may fail.
    Copying,
}

/// Names a data record. Reading it can wait, and can be done by another thread.
#[derive(Clone, Debug)]
pub struct RecordHandle {
    mapping: Arc<Mapping>,
    seed: Seed,
    lsn: Lsn,
    offset: usize,
    /// Offset where the records of the segment end.
    end: usize,
    read: Reading,
}

impl RecordHandle {
    /// Reads the record after checking its header and payload. It may wait for the medium.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn load(&self) -> Result<RecordRef, ReadError> {
        let lsn = self.lsn;
        let records = &self.mapping.frozen_bytes()[..self.end];
        if self.read == Reading::Copying {
            self.bring_in(self.offset, RECORD_HEADER_BYTES)?;
            // A length that is wrong reaches no further than the segment.
            let header = format::parse_checked(records, self.offset);
            let end = header.map_or(self.offset, |header| header.end);
            self.bring_in(self.offset, end - self.offset)?;
        }
        let record = format::parse(records, self.offset, self.seed)
            .map_err(|reason| ReadError::Corrupt { lsn, reason: reason.to_string() })?;
        if record.kind != Kind::Data {
            return Err(ReadError::NotData { lsn });
        }
        let (payload, payload_len) = (record.payload, record.payload_len);
        Ok(RecordRef(match self.read {
            Reading::InPlace => {
                Bytes::InPlace { mapping: Arc::clone(&self.mapping), payload, payload_len }
            }
            Reading::Copying => Bytes::Copied(records[payload..payload + payload_len].into()),
        }))
    }

    /// Brings the pages of a range in, so that a failing medium is an error and not a signal.
    fn bring_in(&self, offset: usize, len: usize) -> Result<(), ReadError> {
        self.mapping
            .populate_range(offset, len)
            .map_err(|error| ReadError::Medium { lsn: self.lsn, message: error.to_string() })
    }
}
