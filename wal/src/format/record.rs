//! Records: their header and their checksums.
//!
//! It must not know files, threads or what a payload means.

use std::fmt;

use crc32c::{crc32c, crc32c_append};

use super::SegmentHeader;

/// Bytes before a payload.
pub(crate) const RECORD_HEADER_BYTES: usize = 16;
/// Every record begins and ends at a multiple of this.
pub(crate) const RECORD_ALIGN: usize = 8;
/// Bytes of a record that the log writes for itself: a header and one number.
pub(crate) const CONTROL_RECORD_BYTES: u64 = (RECORD_HEADER_BYTES + CONTROL_PAYLOAD_BYTES) as u64;
/// Bytes of the number in a record that the log writes for itself.
pub(crate) const CONTROL_PAYLOAD_BYTES: usize = 8;

/// Offsets of the fields in a record header.
pub(crate) mod field {
    pub(crate) const HEADER_CRC: usize = 0;
    pub(crate) const PAYLOAD_CRC: usize = 4;
    pub(crate) const PAYLOAD_LEN: usize = 8;
    pub(crate) const KIND: usize = 12;
    pub(crate) const RESERVED: usize = 13;
}

/// What a record is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// Bytes of the caller.
    Data = 1,
    /// A durable mark.
    Commit = 2,
    /// The end of the segment: the position just past this record.
    Seal = 3,
    /// A durable mark; the log was closed after it.
    CleanShutdown = 4,
    /// All below a position is released: nothing there is needed any more.
    Head = 5,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Kind::Data),
            2 => Some(Kind::Commit),
            3 => Some(Kind::Seal),
            4 => Some(Kind::CleanShutdown),
            5 => Some(Kind::Head),
            _ => None,
        }
    }
}

/// Checksum of what all record headers of one segment have in common but do not store. It keeps
/// stale, misplaced and foreign records from passing as valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seed(u32);

impl Seed {
    pub(crate) fn new(header: &SegmentHeader) -> Self {
        let (index, epoch) = (header.place.index, header.epoch);
        #[cfg(test)]
        let (index, epoch) = crate::planted::seeded(index, epoch);
        let mut bytes = [0; 26];
        bytes[..2].copy_from_slice(&header.shard.to_le_bytes());
        bytes[2..10].copy_from_slice(&index.to_le_bytes());
        bytes[10..18].copy_from_slice(&epoch.to_le_bytes());
        bytes[18..].copy_from_slice(&header.salt.to_le_bytes());
        Seed(crc32c(&bytes))
    }

    /// Checksum of the record header at `offset`: over the offset, then its bytes 4 to 15.
    fn header_crc(self, offset: usize, header: &[u8; RECORD_HEADER_BYTES]) -> u32 {
        crc32c_append(self.0, &Covered::of(offset, header).0)
    }

    /// What this seed adds to the checksum of any record header. A CRC is linear: the checksums of
    /// one header by two seeds differ by the same bits wherever it stands and whatever it says.
    pub(super) fn share(self) -> u32 {
        let any = [0; RECORD_HEADER_BYTES];
        crc32c_append(self.0, &any) ^ crc32c(&any)
    }
}

/// The [share](Seed::share) of the seed by which the header at `offset` would be right.
#[inline]
pub(super) fn share_wanted(offset: usize, header: &[u8; RECORD_HEADER_BYTES]) -> u32 {
    stored_crc(header) ^ crc32c(&Covered::of(offset, header).0)
}

/// The bytes that the checksum of a record header covers: those of the header, with the offset in
/// the place of the checksum.
///
/// The checksum is taken of two whole words. They are made in registers and lie where words lie, so
/// that it need not wait for smaller stores, nor go byte by byte.
#[repr(align(8))]
struct Covered([u8; RECORD_HEADER_BYTES]);

impl Covered {
    #[inline]
    fn of(offset: usize, header: &[u8; RECORD_HEADER_BYTES]) -> Self {
        let [first, second] = words(header);
        Covered::of_words(offset, first, second)
    }

    /// Of a header with these words; its checksum does not count.
    #[inline]
    fn of_words(offset: usize, first: u64, second: u64) -> Self {
        // Segments are at most 1 GiB, so the offset fits.
        let first = u64::from(offset as u32) | first & !u64::from(u32::MAX);
        Covered(bytes(first, second))
    }
}

#[inline]
fn stored_crc(header: &[u8; RECORD_HEADER_BYTES]) -> u32 {
    let mut crc = [0; 4];
    crc.copy_from_slice(&header[field::HEADER_CRC..field::PAYLOAD_CRC]);
    u32::from_le_bytes(crc)
}

#[inline]
fn words(bytes: &[u8; RECORD_HEADER_BYTES]) -> [u64; 2] {
    let word = |at: usize| {
        let mut word = [0; 8];
        word.copy_from_slice(&bytes[at..at + 8]);
        u64::from_le_bytes(word)
    };
    [word(0), word(8)]
}

#[inline]
fn bytes(first: u64, second: u64) -> [u8; RECORD_HEADER_BYTES] {
    let mut bytes = [0; RECORD_HEADER_BYTES];
    bytes[..8].copy_from_slice(&first.to_le_bytes());
    bytes[8..].copy_from_slice(&second.to_le_bytes());
    bytes
}

/// A record that passed every check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parsed {
    pub(crate) kind: Kind,
    /// Offset of the payload in the segment.
    pub(crate) payload: usize,
    /// Length of the payload.
    pub(crate) payload_len: usize,
    /// Offset just past the record and its padding.
    pub(crate) end: usize,
}

/// Why the bytes at some offset are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadRecord {
    /// Nothing was written there.
    Empty,
    /// No room for a record header.
    NoRoom,
    HeaderChecksum,
    Kind,
    Length,
    PayloadChecksum,
    Padding,
    /// The number in a record of the log itself cannot be.
    Value,
}

impl fmt::Display for BadRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BadRecord::Empty => "no record where one had been written",
            BadRecord::NoRoom => "no room for a record before the end",
            BadRecord::HeaderChecksum => "the checksum of the record header is wrong",
            BadRecord::Kind => "the record is of an unknown kind",
            BadRecord::Length => "the record reaches past the end",
            BadRecord::PayloadChecksum => "the checksum of the payload is wrong",
            BadRecord::Padding => "the padding of the record is not zero",
            BadRecord::Value => "the position in the record is impossible",
        })
    }
}

/// Bytes that a record with a payload of `payload_len` occupies, for any length that fits a
/// segment.
#[inline]
pub(crate) const fn padded(payload_len: usize) -> usize {
    (RECORD_HEADER_BYTES + payload_len + RECORD_ALIGN - 1) & !(RECORD_ALIGN - 1)
}

/// The header of a record at `offset`.
#[inline]
pub(crate) fn encode_header(
    seed: Seed,
    offset: usize,
    kind: Kind,
    payload_len: usize,
    payload_crc: u32,
) -> [u8; RECORD_HEADER_BYTES] {
    let first = u64::from(payload_crc) << (8 * field::PAYLOAD_CRC);
    let second = u64::from(payload_len as u32) | (kind as u64) << (8 * (field::KIND - 8));
    let crc = crc32c_append(seed.0, &Covered::of_words(offset, first, second).0);
    bytes(first | u64::from(crc), second)
}

/// Checks the record at `offset` in the segment `bytes`, which may end early at a known end.
///
/// It never panics, whatever the bytes are.
#[inline]
pub(crate) fn parse(bytes: &[u8], offset: usize, seed: Seed) -> Result<Parsed, BadRecord> {
    let Some(header) = bytes.get(offset..).and_then(<[u8]>::first_chunk::<RECORD_HEADER_BYTES>)
    else {
        return Err(BadRecord::NoRoom);
    };
    if stored_crc(header) != seed.header_crc(offset, header) {
        let empty = header.iter().all(|&byte| byte == 0);
        return Err(if empty { BadRecord::Empty } else { BadRecord::HeaderChecksum });
    }
    let record = read_header(bytes, offset, header)?;
    let content = &bytes[record.payload..record.payload + record.payload_len];
    let padding = &bytes[record.payload + record.payload_len..record.end];
    if padding.iter().any(|&byte| byte != 0) {
        return Err(BadRecord::Padding);
    }
    let payload_crc = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
    if payload_crc != crc32c(content) {
        return Err(BadRecord::PayloadChecksum);
    }
    Ok(record)
}

/// Reads the record at `offset` that passed [`parse`] before, without its checksums.
///
/// It never panics, whatever the bytes are.
#[inline]
pub(crate) fn parse_checked(bytes: &[u8], offset: usize) -> Result<Parsed, BadRecord> {
    match bytes.get(offset..).and_then(<[u8]>::first_chunk::<RECORD_HEADER_BYTES>) {
        Some(header) => read_header(bytes, offset, header),
        None => Err(BadRecord::NoRoom),
    }
}

/// What a record header says, as far as it can be. With the right checksum this can only fail on
/// bytes made to deceive, or by a bug.
#[inline]
fn read_header(
    bytes: &[u8],
    offset: usize,
    header: &[u8; RECORD_HEADER_BYTES],
) -> Result<Parsed, BadRecord> {
    let kind = Kind::from_byte(header[field::KIND]).ok_or(BadRecord::Kind)?;
    if header[field::RESERVED..] != [0; 3] {
        return Err(BadRecord::Kind);
    }
    let payload_len = u32::from_le_bytes([header[8], header[9], header[10], header[11]]) as usize;
    if kind != Kind::Data && payload_len != CONTROL_PAYLOAD_BYTES {
        return Err(BadRecord::Length);
    }
    // No sum here overflows: lengths are below 2^32 and offsets at most 2^30.
    let end = offset + padded(payload_len);
    if end > bytes.len() {
        return Err(BadRecord::Length);
    }
    Ok(Parsed { kind, payload: offset + RECORD_HEADER_BYTES, payload_len, end })
}

/// The number in a record of the log itself, checked against the record's place: a durable mark
/// lies at or below its record, a seal names its own end, a head is not above its segment.
pub(crate) fn control_value(
    bytes: &[u8],
    record: &Parsed,
    segment_start: u64,
) -> Result<u64, BadRecord> {
    let payload = bytes.get(record.payload..).and_then(<[u8]>::first_chunk::<8>);
    let value = payload.map(|payload| u64::from_le_bytes(*payload)).ok_or(BadRecord::Length)?;
    let begin = segment_start + (record.payload - RECORD_HEADER_BYTES) as u64;
    let possible = match record.kind {
        Kind::Data => false,
        Kind::Commit | Kind::CleanShutdown => value <= begin,
        Kind::Seal => value == segment_start + record.end as u64,
        Kind::Head => value <= segment_start,
    };
    if possible { Ok(value) } else { Err(BadRecord::Value) }
}
