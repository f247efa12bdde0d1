//! Writes records into the segment in use and moves on to the next.
//!
//! It owns positions and marks; it must not know threads, syncs or how segments are made.

use std::collections::VecDeque;

use crc32c::crc32c_append;

use crate::error::ReadError;
use crate::format::{
    CONTROL_RECORD_BYTES, HEADER_PAGE_BYTES, Kind, Place, RECORD_HEADER_BYTES, Rest, Seed,
    SegmentHeader, VERSION, encode_header, padded,
};
use crate::limits::{IN_PLACE_SEGMENTS, TAIL_RESERVE_BYTES};
use crate::lsn::Lsn;
use crate::segment::{NextData, Reading, RecordHandle, Segment};
use crate::snapshot::Identity;
use crate::storage::{Mapping, MappingWriter};
use crate::sync::Arc;

/// The writing end of a log.
pub(crate) struct Appender {
    writer: MappingWriter,
    header: SegmentHeader,
    seed: Seed,
    /// Where the next record begins, in the segment in use.
    offset: usize,
    /// Largest offset at which a data record may end.
    data_end_max: usize,
    /// All segments of the log without gaps, the one in use last.
    segments: VecDeque<Segment>,
    /// Number of the first segment that this opening began.
    first_own: u64,
    /// Everything below is released, durably.
    base: u64,
    /// End of the last data record of this opening; 0: there is none.
    last_data_end: Lsn,
    /// Highest durable mark written so far.
    highest_mark: Lsn,
    /// Data was appended since the last commit record.
    is_uncommitted: bool,
    /// The segment in use holds a record that a later opening needs.
    is_needed: bool,
    appended_records: u64,
    appended_bytes: u64,
}

impl Appender {
    /// Starts the log's next segment after `recovered` and writes its header.
    pub(crate) fn start(
        mut writer: MappingWriter,
        header: SegmentHeader,
        recovered: Vec<Segment>,
    ) -> Self {
        let mut segments = VecDeque::from(recovered);
        let seed = begin_segment(&mut writer, &header, &mut segments);
        Appender {
            writer,
            header,
            seed,
            offset: HEADER_PAGE_BYTES,
            data_end_max: (header.place.segment_bytes - TAIL_RESERVE_BYTES) as usize,
            segments,
            first_own: header.place.index,
            base: header.base,
            last_data_end: Lsn(0),
            highest_mark: Lsn(header.durable_mark),
            is_uncommitted: false,
            is_needed: false,
            appended_records: 0,
            appended_bytes: 0,
        }
    }

    /// Whether a data record of `record_bytes` fits the segment in use.
    #[inline]
    pub(crate) fn fits(&self, record_bytes: usize) -> bool {
        record_bytes <= self.data_end_max.saturating_sub(self.offset)
    }

    /// Bytes that data records can still take in the segment in use.
    #[inline]
    pub(crate) fn room_bytes(&self) -> u64 {
        self.data_end_max.saturating_sub(self.offset) as u64
    }

    /// Bytes that data records can take in a fresh segment.
    #[inline]
    pub(crate) fn fresh_room_bytes(&self) -> u64 {
        (self.data_end_max - HEADER_PAGE_BYTES) as u64
    }

    /// Position where the next record begins.
    #[inline]
    pub(crate) fn appended(&self) -> Lsn {
        Lsn(self.header.place.lsn(self.offset))
    }

    /// Number of the segment in use.
    pub(crate) fn segment_index(&self) -> u64 {
        self.header.place.index
    }

    pub(crate) fn segments_count(&self) -> u64 {
        self.segments.len() as u64
    }

    /// A position that stands for the state of now, with the epoch of its segment. An opening uses
    /// a last segment again that holds nothing it needs, and all positions in it are lost then. So
    /// while that is so, it is the end of the segment before.
    pub(crate) fn state_at(&self) -> (Lsn, u64) {
        let here = (self.appended(), self.header.epoch);
        let before = self.segments.len().checked_sub(2).and_then(|at| self.segments.get(at));
        let end = self.header.previous_end;
        // An end at the border would count as the start of the next segment.
        match before.filter(|_| !end.is_multiple_of(self.header.place.segment_bytes)) {
            Some(before) if !self.is_needed => (Lsn(end), before.epoch),
            _ => here,
        }
    }

    /// Shard and salt of the log.
    pub(crate) fn identity(&self) -> Identity {
        Identity { shard: self.header.shard, salt: self.header.salt }
    }

    pub(crate) fn appended_records(&self) -> u64 {
        self.appended_records
    }

    pub(crate) fn appended_bytes(&self) -> u64 {
        self.appended_bytes
    }

    /// Appends a data record of the gathered `parts`, which fits.
    #[inline]
    pub(crate) fn append_data(&mut self, parts: &[&[u8]], payload_len: usize) -> Lsn {
        let lsn = self.appended();
        self.put(Kind::Data, parts, payload_len);
        self.is_uncommitted = true;
        self.is_needed = true;
        self.last_data_end = self.appended();
        self.appended_records += 1;
        lsn
    }

    /// Writes a commit record with the mark `durable` if data was appended since the last one.
    /// False: nothing is new.
    pub(crate) fn commit(&mut self, durable: Lsn) -> bool {
        if !self.is_uncommitted {
            return false;
        }
        self.is_uncommitted = false;
        self.put_mark(Kind::Commit, durable);
        true
    }

    /// Writes a commit record with the mark `durable` if that covers a data record for the first
    /// time and no data lies above it. False: there is no need.
    pub(crate) fn mark_idle(&mut self, durable: Lsn) -> bool {
        let is_open = self.last_data_end > self.highest_mark && durable >= self.last_data_end;
        if is_open {
            self.put_mark(Kind::Commit, durable);
        }
        is_open
    }

    /// Writes the last record of an opening.
    pub(crate) fn clean_shutdown(&mut self, durable: Lsn) {
        self.put_mark(Kind::CleanShutdown, durable);
    }

    /// Seals the segment in use and goes on in `writer`, the next one.
    /// `rest` is what the file of the next one holds behind its header page.
    pub(crate) fn rotate(
        &mut self,
        mut writer: MappingWriter,
        rest: Rest,
        durable: Lsn,
        created_ms: u64,
    ) {
        let seal_end = Lsn(self.appended().0 + CONTROL_RECORD_BYTES);
        self.put(Kind::Seal, &[&seal_end.0.to_le_bytes()], size_of::<u64>());
        let place = self.header.place;
        self.header = SegmentHeader {
            version: VERSION,
            place: Place { index: place.index + 1, ..place },
            previous_end: seal_end.0,
            durable_mark: durable.0,
            created_ms,
            base: self.base,
            rest,
            ..self.header
        };
        self.highest_mark = self.highest_mark.max(durable);
        self.seed = begin_segment(&mut writer, &self.header, &mut self.segments);
        self.writer = writer;
        self.offset = HEADER_PAGE_BYTES;
        self.is_needed = false;
    }

    /// Writes that everything below `head`, the start of a segment, is released. It takes
    /// [`CONTROL_RECORD_BYTES`], which fit.
    pub(crate) fn put_head(&mut self, head: u64) {
        self.put(Kind::Head, &[&head.to_le_bytes()], size_of::<u64>());
        self.is_uncommitted = true;
        self.is_needed = true;
        // It is worth a mark like data: what it says is acted on.
        self.last_data_end = self.appended();
    }

    /// Forgets the segments below `head`, which the disk knows to be released, and returns them.
    pub(crate) fn drop_below(&mut self, head: u64) -> Vec<Segment> {
        self.base = self.base.max(head);
        let is_below = |segment: &Segment| segment.place.start() < head;
        let count = self.segments.iter().take_while(|segment| is_below(segment)).count();
        self.segments.drain(..count).collect()
    }

    /// Reads a segment elsewhere from now on.
    pub(crate) fn move_segment(&mut self, index: u64, mapping: Arc<Mapping>) {
        let lsn = Lsn(index * self.header.place.segment_bytes);
        let position = self.position_of(lsn);
        if let Some(segment) = position.and_then(|position| self.segments.get_mut(position)) {
            segment.mapping = mapping;
        }
    }

    /// Where the log begins.
    pub(crate) fn head(&self) -> Lsn {
        self.segments.front().map_or(self.appended(), |first| Lsn(first.place.start()))
    }

    /// Names the data record at `lsn`.
    #[inline]
    pub(crate) fn locate(&self, lsn: Lsn) -> Result<RecordHandle, ReadError> {
        let segment = self.segment_of(lsn).filter(|_| lsn.0.is_multiple_of(8));
        let segment = segment.ok_or(ReadError::OutOfRange { lsn })?;
        let recent = self.segment_index().saturating_sub(IN_PLACE_SEGMENTS).max(self.first_own);
        let is_recent = segment.place.index >= recent;
        segment.locate(lsn, if is_recent { Reading::InPlace } else { Reading::Copying })
    }

    /// The first data record at or after `lsn`, with its segment.
    pub(crate) fn next_data(&self, lsn: Lsn) -> Result<Option<(Place, NextData)>, ReadError> {
        let mut at = lsn;
        while let Some(segment) = self.segment_of(at) {
            let place = segment.place;
            if let Some(found) = segment.next_data((at.0 - place.start()) as usize)? {
                return Ok(Some((place, found)));
            }
            at = Lsn(place.start() + place.segment_bytes);
        }
        Ok(None)
    }

    pub(crate) fn segment_of(&self, lsn: Lsn) -> Option<&Segment> {
        self.segments.get(self.position_of(lsn)?)
    }

    #[inline]
    fn position_of(&self, lsn: Lsn) -> Option<usize> {
        let index = lsn.0 / self.header.place.segment_bytes;
        let first = self.segments.front()?.place.index;
        usize::try_from(index.checked_sub(first)?).ok()
    }

    fn put_mark(&mut self, kind: Kind, durable: Lsn) {
        #[cfg(test)]
        let durable = crate::planted::mark(durable);
        self.put(kind, &[&durable.0.to_le_bytes()], size_of::<u64>());
        self.highest_mark = self.highest_mark.max(durable);
    }

    /// Writes one record. `payload_len` is the length of all parts together.
    ///
    /// # Panics
    /// If it does not fit the segment: data is checked by [`fits`](Appender::fits), the records
    /// of the log itself have their room by [`TAIL_RESERVE_BYTES`].
    #[inline]
    fn put(&mut self, kind: Kind, parts: &[&[u8]], payload_len: usize) {
        let record_bytes = padded(payload_len);
        let end = self.offset + record_bytes;
        // The last word first: it holds the padding, if there is any.
        self.writer.write(end - size_of::<u64>(), &[0; size_of::<u64>()]);
        let mut at = self.offset + RECORD_HEADER_BYTES;
        let mut payload_crc = 0;
        for part in parts {
            payload_crc = crc32c_append(payload_crc, part);
            self.writer.write(at, part);
            at += part.len();
        }
        debug_assert_eq!(at, self.offset + RECORD_HEADER_BYTES + payload_len);
        let header = encode_header(self.seed, self.offset, kind, payload_len, payload_crc);
        self.writer.write(self.offset, &header);
        self.writer.freeze(end);
        self.offset = end;
        self.appended_bytes += record_bytes as u64;
    }
}

/// Writes the header page of a segment and adds the segment to the list.
fn begin_segment(
    writer: &mut MappingWriter,
    header: &SegmentHeader,
    segments: &mut VecDeque<Segment>,
) -> Seed {
    writer.write(0, &header.encode_page());
    writer.freeze(HEADER_PAGE_BYTES);
    let seed = Seed::new(header);
    let mapping = writer.mapping().clone();
    // No bytes after the last record are ever frozen, so the end needs no other bound.
    let end = header.place.segment_bytes as usize;
    let (place, epoch) = (header.place, header.epoch);
    segments.push_back(Segment { place, epoch, seed, mapping, end });
    seed
}
