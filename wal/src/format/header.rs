//! The header page of a segment: two copies of one header, all else zero.
//!
//! It must not know records or files.

use crc32c::crc32c;

use super::Place;

/// Bytes before the first record of a segment.
pub(crate) const HEADER_PAGE_BYTES: usize = 4096;
/// Bytes of one copy of the header.
pub(crate) const HEADER_BYTES: usize = 128;
/// Offsets of the copies. They lie in different disk sectors, so a torn write spares one.
pub(crate) const HEADER_COPIES: [usize; 2] = [0, 2048];
/// Bytes of the header page that hold its first copy, and none of the second.
pub(crate) const FIRST_COPY_BYTES: usize = HEADER_COPIES[1];
/// First bytes of every header.
pub(crate) const MAGIC: [u8; 8] = *b"TWHEELWL";
/// The format version that this crate writes, and the highest that it reads.
pub(crate) const VERSION: u32 = 2;
/// The lowest version that this crate reads. It had no [`base`](SegmentHeader::base).
pub(crate) const VERSION_MIN: u32 = 1;
/// Feature bits that this crate knows.
pub(crate) const FEATURES_KNOWN: u32 = FEATURE_STALE_REST;
/// Feature bit of [`Rest::Stale`].
pub(crate) const FEATURE_STALE_REST: u32 = 1;

/// Offsets of the fields in a copy.
pub(crate) mod field {
    pub(crate) const MAGIC: usize = 0;
    pub(crate) const VERSION: usize = 8;
    pub(crate) const FEATURES: usize = 12;
    pub(crate) const SEGMENT_BYTES: usize = 16;
    pub(crate) const SHARD: usize = 24;
    pub(crate) const INDEX: usize = 32;
    pub(crate) const EPOCH: usize = 40;
    pub(crate) const SALT: usize = 48;
    pub(crate) const PREVIOUS_END: usize = 56;
    pub(crate) const DURABLE_MARK: usize = 64;
    pub(crate) const CREATED_MS: usize = 72;
    pub(crate) const BASE: usize = 80;
    pub(crate) const CRC: usize = 124;
}

/// What a segment says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    /// Format version that the segment was written in.
    pub(crate) version: u32,
    /// Number and size of the segment.
    pub(crate) place: Place,
    /// The shard whose log it is.
    pub(crate) shard: u16,
    /// Rises with every opening of the log, from 1.
    pub(crate) epoch: u64,
    /// Drawn when the log is created, the same in all its segments.
    pub(crate) salt: u64,
    /// Where the valid records of the segment before end; 0 in the first.
    pub(crate) previous_end: u64,
    /// Everything below was durable when the header was written.
    pub(crate) durable_mark: u64,
    /// When the header was written, in milliseconds of the Unix clock. For people only.
    pub(crate) created_ms: u64,
    /// Everything below was released when the header was written: the start of a segment.
    pub(crate) base: u64,
    /// What lies behind the records.
    pub(crate) rest: Rest,
}

/// What lies behind the last record of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    /// Zeros. What is not zero there was left by a crash, or is damage.
    Zero,
    /// What an earlier segment left in the file. Nothing there is a record by the seed of this one.
    Stale,
}

impl Rest {
    fn features(self) -> u32 {
        match self {
            Rest::Zero => 0,
            Rest::Stale => FEATURE_STALE_REST,
        }
    }
}

/// What a header page turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderPage {
    /// All bytes are zero: a prepared segment that holds no records.
    Unused,
    /// A header, with the number of the copy that does not count, if one does not: it is damaged, was
    /// not written, or is of the opening before.
    Used { header: SegmentHeader, void_copy: Option<usize> },
    /// Written by a newer program.
    Newer { version: u32 },
    /// Written with features that are not known here.
    UnknownFeatures { features: u32 },
    /// Neither empty nor a header.
    Invalid(&'static str),
}

impl SegmentHeader {
    /// The whole header page: both copies, all else zero.
    pub(crate) fn encode_page(&self) -> [u8; HEADER_PAGE_BYTES] {
        let copy = self.encode_copy();
        let mut page = [0; HEADER_PAGE_BYTES];
        for at in HEADER_COPIES {
            page[at..at + HEADER_BYTES].copy_from_slice(&copy);
        }
        page
    }

    /// Whether an opening put this header in the place of `earlier`. It writes the first copy, syncs it,
    /// and only then writes the second: so the second copy alone can be the earlier one.
    fn supersedes(&self, earlier: &SegmentHeader) -> bool {
        let is_same =
            self.place == earlier.place && self.shard == earlier.shard && self.salt == earlier.salt;
        is_same && self.epoch > earlier.epoch
    }

    fn encode_copy(&self) -> [u8; HEADER_BYTES] {
        let mut copy = [0; HEADER_BYTES];
        let mut put = |at: usize, bytes: &[u8]| copy[at..at + bytes.len()].copy_from_slice(bytes);
        put(field::MAGIC, &MAGIC);
        put(field::VERSION, &self.version.to_le_bytes());
        put(field::FEATURES, &self.rest.features().to_le_bytes());
        put(field::SEGMENT_BYTES, &self.place.segment_bytes.to_le_bytes());
        put(field::SHARD, &self.shard.to_le_bytes());
        put(field::INDEX, &self.place.index.to_le_bytes());
        put(field::EPOCH, &self.epoch.to_le_bytes());
        put(field::SALT, &self.salt.to_le_bytes());
        put(field::PREVIOUS_END, &self.previous_end.to_le_bytes());
        put(field::DURABLE_MARK, &self.durable_mark.to_le_bytes());
        put(field::CREATED_MS, &self.created_ms.to_le_bytes());
        put(field::BASE, &self.base.to_le_bytes());
        let crc = crc32c(&copy[..field::CRC]);
        copy[field::CRC..].copy_from_slice(&crc.to_le_bytes());
        copy
    }
}

/// Reads a header page.
pub(crate) fn decode_page(page: &[u8; HEADER_PAGE_BYTES]) -> HeaderPage {
    if page.iter().all(|&byte| byte == 0) {
        return HeaderPage::Unused;
    }
    let first = decode_copy(page, HEADER_COPIES[0]);
    let second = decode_copy(page, HEADER_COPIES[1]);
    let (header, void_copy) = match (first, second) {
        (Ok(first), Ok(second)) if first == second => (first, None),
        (Ok(first), Ok(second)) if first.supersedes(&second) => (first, Some(1)),
        (Ok(_), Ok(_)) => return HeaderPage::Invalid("the two header copies disagree"),
        (Ok(first), Err(_)) => (first, Some(1)),
        (Err(_), Ok(second)) => (second, Some(0)),
        (Err(first), Err(second)) => return refuse(first, second),
    };
    if !rest_is_zero(page) {
        return HeaderPage::Invalid("unused bytes of the header page are not zero");
    }
    HeaderPage::Used { header, void_copy }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BadCopy {
    Newer(u32),
    Features(u32),
    Damaged,
}

fn decode_copy(page: &[u8; HEADER_PAGE_BYTES], at: usize) -> Result<SegmentHeader, BadCopy> {
    let copy = &page[at..at + HEADER_BYTES];
    if copy[..MAGIC.len()] != MAGIC {
        return Err(BadCopy::Damaged);
    }
    // Before the checksum: a newer version may keep its checksum elsewhere.
    let version = u32_at(copy, field::VERSION);
    if version > VERSION {
        return Err(BadCopy::Newer(version));
    }
    if u32_at(copy, field::CRC) != crc32c(&copy[..field::CRC]) {
        return Err(BadCopy::Damaged);
    }
    let features = u32_at(copy, field::FEATURES);
    if features & !FEATURES_KNOWN != 0 {
        return Err(BadCopy::Features(features));
    }
    let header = SegmentHeader {
        version,
        place: Place {
            index: u64_at(copy, field::INDEX),
            segment_bytes: u64_at(copy, field::SEGMENT_BYTES),
        },
        shard: u16::from_le_bytes([copy[field::SHARD], copy[field::SHARD + 1]]),
        epoch: u64_at(copy, field::EPOCH),
        salt: u64_at(copy, field::SALT),
        previous_end: u64_at(copy, field::PREVIOUS_END),
        durable_mark: u64_at(copy, field::DURABLE_MARK),
        created_ms: u64_at(copy, field::CREATED_MS),
        base: u64_at(copy, field::BASE),
        rest: if features & FEATURE_STALE_REST == 0 { Rest::Zero } else { Rest::Stale },
    };
    // Encoding again proves that every unused byte is zero.
    let is_first = version == VERSION_MIN && header.base == 0 && header.rest == Rest::Zero;
    let is_known = version > VERSION_MIN || is_first;
    if !is_known || header.encode_copy() != copy {
        return Err(BadCopy::Damaged);
    }
    Ok(header)
}

fn refuse(first: BadCopy, second: BadCopy) -> HeaderPage {
    let copies = [first, second];
    for copy in copies {
        if let BadCopy::Newer(version) = copy {
            return HeaderPage::Newer { version };
        }
    }
    for copy in copies {
        if let BadCopy::Features(features) = copy {
            return HeaderPage::UnknownFeatures { features };
        }
    }
    HeaderPage::Invalid("neither copy of the segment header is valid")
}

fn rest_is_zero(page: &[u8; HEADER_PAGE_BYTES]) -> bool {
    let [first, second] = HEADER_COPIES;
    page[first + HEADER_BYTES..second].iter().all(|&byte| byte == 0)
        && page[second + HEADER_BYTES..].iter().all(|&byte| byte == 0)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
