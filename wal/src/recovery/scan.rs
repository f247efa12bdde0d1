//! Walks the records of one segment and replays the data among them.
//!
//! It must not know other segments.

use crate::error::OpenError;
use crate::format::{BadRecord, HEADER_PAGE_BYTES, Kind, Place, Seed, control_value, parse};
use crate::lsn::Lsn;

use super::{RecoveryReport, Replay};

/// A data record during recovery.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Where the record begins. [`Log::read`](crate::Log::read) takes this position.
    pub lsn: Lsn,
    /// The first byte after the record.
    pub end: Lsn,
    /// The bytes that were appended.
    pub payload: &'a [u8],
}

/// What the walk through a segment found.
pub(super) struct Scanned {
    /// Offset where the valid records end.
    pub(super) end: usize,
    pub(super) ending: Ending,
    /// Highest durable mark in the records.
    pub(super) mark: u64,
    /// The last record is a clean shutdown.
    pub(super) is_clean_shutdown: bool,
    /// There is a data record.
    pub(super) has_data: bool,
}

/// Why the walk ended.
pub(super) enum Ending {
    Sealed,
    /// No valid record is at the end.
    Bad(BadRecord),
}

/// Replays the records in `bytes`, a segment from its first byte on.
pub(super) fn scan_segment(
    bytes: &[u8],
    place: Place,
    seed: Seed,
    report: &mut RecoveryReport,
    replay: Replay<'_>,
) -> Result<Scanned, OpenError> {
    let mut mark = 0;
    let mut is_clean_shutdown = false;
    let mut has_data = false;
    let mut offset = HEADER_PAGE_BYTES;
    let ending = loop {
        let record = match parse(bytes, offset, seed) {
            Ok(record) => record,
            Err(reason) => break Ending::Bad(reason),
        };
        if record.kind == Kind::Data {
            let lsn = Lsn(place.lsn(offset));
            let end = Lsn(place.lsn(record.end));
            let payload = &bytes[record.payload..record.payload + record.payload_len];
            replay(Record { lsn, end, payload })
                .map_err(|source| OpenError::Replay { lsn, source })?;
            has_data = true;
            report.records += 1;
            report.bytes += record.payload_len as u64;
        } else {
            match control_value(bytes, &record, place.start()) {
                Ok(value) if record.kind != Kind::Seal => mark = mark.max(value),
                Ok(_) => {}
                Err(reason) => break Ending::Bad(reason),
            }
        }
        offset = record.end;
        is_clean_shutdown = record.kind == Kind::CleanShutdown;
        if record.kind == Kind::Seal {
            break Ending::Sealed;
        }
    };
    Ok(Scanned { end: offset, ending, mark, is_clean_shutdown, has_data })
}
