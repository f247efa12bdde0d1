//! Walks the records of one segment: once to check them, once to hand the data among them out.
//!
//! It must not know other segments.

use crate::error::OpenError;
use crate::format::{
    BadRecord, HEADER_PAGE_BYTES, Kind, Place, Seed, control_value, parse, parse_checked,
};
use crate::lsn::Lsn;

use super::Replay;

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
    /// Highest released position in the records.
    pub(super) head: u64,
    /// The last record is a clean shutdown.
    pub(super) is_clean_shutdown: bool,
    /// There is a record that a later opening needs: data, or the proof of a release.
    pub(super) has_data: bool,
    /// Where the data records begin.
    places: Vec<u32>,
    /// All of them are noted.
    has_places: bool,
}

impl Scanned {
    /// Where the data records begin, if that is known.
    pub(super) fn places(&self) -> Option<&[u32]> {
        self.has_places.then_some(&self.places)
    }

    /// Gives the memory of the places back.
    pub(super) fn forget_places(&mut self) {
        self.places = Vec::new();
        self.has_places = false;
    }
}

/// Why the walk ended.
#[derive(Clone, Copy)]
pub(super) enum Ending {
    Sealed,
    /// No valid record is at the end.
    Bad(BadRecord),
}

/// Checks the records in `bytes`, a segment from its first byte on.
pub(super) fn scan_segment(bytes: &[u8], place: Place, seed: Seed) -> Scanned {
    let mut scanned = Scanned {
        end: HEADER_PAGE_BYTES,
        ending: Ending::Sealed,
        mark: 0,
        head: 0,
        is_clean_shutdown: false,
        has_data: false,
        places: Vec::new(),
        has_places: true,
    };
    loop {
        let record = match parse(bytes, scanned.end, seed) {
            Ok(record) => record,
            Err(reason) => {
                scanned.ending = Ending::Bad(reason);
                return scanned;
            }
        };
        if record.kind == Kind::Data {
            scanned.has_data = true;
            // Segments are at most 1 GiB, so the offset fits.
            scanned.places.push(scanned.end as u32);
        } else {
            match control_value(bytes, &record, place.start()) {
                Ok(value) if record.kind == Kind::Head => {
                    // Segments are released whole.
                    if !value.is_multiple_of(place.segment_bytes) {
                        scanned.ending = Ending::Bad(BadRecord::Value);
                        return scanned;
                    }
                    scanned.head = scanned.head.max(value);
                    scanned.has_data = true;
                }
                Ok(value) if record.kind != Kind::Seal => scanned.mark = scanned.mark.max(value),
                Ok(_) => {}
                Err(reason) => {
                    scanned.ending = Ending::Bad(reason);
                    return scanned;
                }
            }
        }
        scanned.end = record.end;
        scanned.is_clean_shutdown = record.kind == Kind::CleanShutdown;
        if record.kind == Kind::Seal {
            return scanned;
        }
    }
}

/// Hands out the data records in `bytes`, a segment up to the end that [`scan_segment`] found, at
/// the `places` that it noted.
///
/// With places a processor can fetch the next records while one is handed out. Without them it must
/// know the length of each before it can look for the next, and waits for memory each time.
pub(super) fn replay_segment(
    bytes: &[u8],
    place: Place,
    places: Option<&[u32]>,
    replay: Replay<'_>,
) -> Result<(), OpenError> {
    if let Some(places) = places {
        for offset in places {
            replay_record(bytes, place, *offset as usize, replay)?;
        }
        return Ok(());
    }
    let mut offset = HEADER_PAGE_BYTES;
    while offset < bytes.len() {
        offset = replay_record(bytes, place, offset, replay)?;
    }
    Ok(())
}

/// Hands out the record at `offset` if it is data, and returns where the next one begins.
#[inline]
fn replay_record(
    bytes: &[u8],
    place: Place,
    offset: usize,
    replay: Replay<'_>,
) -> Result<usize, OpenError> {
    let lsn = Lsn(place.lsn(offset));
    // The bytes are those that were checked: a mapping cannot change but by a failing medium.
    let record = parse_checked(bytes, offset).map_err(|reason| OpenError::Replay {
        lsn,
        source: format!("the record changed while it was read: {reason}").into(),
    })?;
    if record.kind == Kind::Data {
        let end = Lsn(place.lsn(record.end));
        let payload = &bytes[record.payload..record.payload + record.payload_len];
        replay(Record { lsn, end, payload }).map_err(|source| OpenError::Replay { lsn, source })?;
    }
    Ok(record.end)
}
