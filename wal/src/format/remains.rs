//! The search for records where the chain of them is broken or not known.
//!
//! It must not know files, or what follows from what it finds.

use super::record::{field, share_wanted};
use super::{Kind, RECORD_ALIGN, RECORD_HEADER_BYTES, Seed, control_value, parse};

/// The seeds that the records of a segment can have, all of which one look at a record header
/// tries.
pub(crate) struct Seeds {
    seeds: Vec<Seed>,
    /// Each seed's share of a header's checksum with its position in the list, sorted.
    shares: Vec<(u32, usize)>,
}

impl Seeds {
    /// Where one seed is there twice, its first position counts.
    pub(crate) fn new(seeds: Vec<Seed>) -> Self {
        let mut shares: Vec<(u32, usize)> =
            seeds.iter().enumerate().map(|(index, seed)| (seed.share(), index)).collect();
        shares.sort_unstable();
        Seeds { seeds, shares }
    }

    /// The position in the list and the seed by which the bytes at `offset` are a record header,
    /// if there is one. No more than the header is checked.
    #[inline]
    pub(crate) fn of_header(&self, bytes: &[u8], offset: usize) -> Option<(usize, Seed)> {
        let header = bytes.get(offset..)?.first_chunk::<RECORD_HEADER_BYTES>()?;
        let wanted = share_wanted(offset, header);
        let at = self.shares.partition_point(|(share, _)| *share < wanted);
        let (share, index) = *self.shares.get(at)?;
        (share == wanted).then(|| (index, self.seeds[index]))
    }
}

/// What the search found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Remains {
    /// The highest durable mark; 0: there is none.
    pub(crate) mark: u64,
    /// Offset just past the last record.
    pub(crate) end: usize,
    /// Position of the seed that fits the last of the records, in the list that was given.
    pub(crate) seed_index: usize,
}

/// The valid records at any aligned place from `offset` on; `None`: there is not one.
///
/// It looks also where the chain of records is broken, so it tries every place. Most are refused by
/// a look at eight bytes. All records of a segment have one seed; where it is not known for sure,
/// `seeds` holds all that it can be.
pub(crate) fn remains_in(
    bytes: &[u8],
    offset: usize,
    seeds: &Seeds,
    segment_start: u64,
) -> Option<Remains> {
    let offset = offset.next_multiple_of(RECORD_ALIGN);
    let (words, _) = bytes.get(offset + field::PAYLOAD_LEN..)?.as_chunks::<RECORD_ALIGN>();
    let mut found: Option<Remains> = None;
    for (index, word) in words.iter().enumerate() {
        // Length, kind and the three bytes that are zero.
        let kind = u64::from_le_bytes(*word) >> 32;
        if kind == 0 || kind > Kind::Head as u64 {
            continue;
        }
        let at = offset + index * RECORD_ALIGN;
        let Some((seed_index, seed)) = seeds.of_header(bytes, at) else { continue };
        let Ok(record) = parse(bytes, at, seed) else { continue };
        let mark = match (record.kind, control_value(bytes, &record, segment_start)) {
            (Kind::Data, _) => 0,
            (_, Err(_)) => continue,
            (Kind::Commit | Kind::CleanShutdown, Ok(mark)) => mark,
            (Kind::Seal | Kind::Head, Ok(_)) => 0,
        };
        let before = found.map_or((0, 0), |found| (found.mark, found.end));
        found =
            Some(Remains { mark: before.0.max(mark), end: before.1.max(record.end), seed_index });
    }
    found
}
