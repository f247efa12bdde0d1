//! Checks of the format: the page that describes it, header pages, records, marks.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::header::{self, FEATURES_KNOWN, HEADER_BYTES, HEADER_COPIES, MAGIC};
use super::record::{self, CONTROL_PAYLOAD_BYTES, RECORD_ALIGN};
use super::remains::Remains;
use super::*;
use crate::limits::{EPOCH_STEP_MAX, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN, TAIL_RESERVE_BYTES};
use crate::tests::page::{PAGE, check_fields, table};

#[test]
fn the_page_states_the_constants() {
    let stated: BTreeMap<String, String> =
        table("\n## Constants").into_iter().map(|row| (row[0].clone(), row[1].clone())).collect();
    let ours: BTreeMap<String, String> = [
        ("MAGIC", String::from_utf8(MAGIC.to_vec()).unwrap()),
        ("VERSION", VERSION.to_string()),
        ("FEATURES_KNOWN", FEATURES_KNOWN.to_string()),
        ("HEADER_PAGE_BYTES", HEADER_PAGE_BYTES.to_string()),
        ("HEADER_BYTES", HEADER_BYTES.to_string()),
        ("RECORD_HEADER_BYTES", RECORD_HEADER_BYTES.to_string()),
        ("RECORD_ALIGN", RECORD_ALIGN.to_string()),
        ("CONTROL_PAYLOAD_BYTES", CONTROL_PAYLOAD_BYTES.to_string()),
        ("TAIL_RESERVE_BYTES", TAIL_RESERVE_BYTES.to_string()),
        ("EPOCH_STEP_MAX", EPOCH_STEP_MAX.to_string()),
        ("SEGMENT_BYTES_MIN", SEGMENT_BYTES_MIN.to_string()),
        ("SEGMENT_BYTES_MAX", SEGMENT_BYTES_MAX.to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    assert_eq!(stated, ours);
    let [first, second] = HEADER_COPIES;
    assert!(PAGE.contains(&format!("at offsets {first} and {second}")));
}

#[test]
fn the_page_states_the_fields() {
    use header::field as h;
    check_fields(
        "\n### Segment header",
        HEADER_BYTES,
        &[
            ("MAGIC", h::MAGIC),
            ("VERSION", h::VERSION),
            ("FEATURES", h::FEATURES),
            ("SEGMENT_BYTES", h::SEGMENT_BYTES),
            ("SHARD", h::SHARD),
            ("INDEX", h::INDEX),
            ("EPOCH", h::EPOCH),
            ("SALT", h::SALT),
            ("PREVIOUS_END", h::PREVIOUS_END),
            ("DURABLE_MARK", h::DURABLE_MARK),
            ("CREATED_MS", h::CREATED_MS),
            ("BASE", h::BASE),
            ("CRC", h::CRC),
        ],
    );
    use record::field as r;
    check_fields(
        "\n## Record",
        RECORD_HEADER_BYTES,
        &[
            ("HEADER_CRC", r::HEADER_CRC),
            ("PAYLOAD_CRC", r::PAYLOAD_CRC),
            ("PAYLOAD_LEN", r::PAYLOAD_LEN),
            ("KIND", r::KIND),
            ("RESERVED", r::RESERVED),
        ],
    );
}

#[test]
fn the_page_states_the_kinds() {
    let stated: Vec<(String, String)> =
        table("\n### Kinds").into_iter().map(|row| (row[0].clone(), row[1].clone())).collect();
    let kinds = [Kind::Data, Kind::Commit, Kind::Seal, Kind::CleanShutdown, Kind::Head];
    let ours: Vec<_> =
        kinds.iter().map(|&kind| ((kind as u8).to_string(), format!("{kind:?}"))).collect();
    assert_eq!(stated, ours);
}

/// The layout spelled out by hand once more, so that no edit of the code moves a byte unseen.
#[test]
fn golden_bytes() {
    let header = sample_header();
    let page = header.encode_page();
    let mut copy = Vec::new();
    copy.extend(b"TWHEELWL\x02\0\0\0\0\0\0\0");
    copy.extend(0x1_0000_u64.to_le_bytes());
    copy.extend([7, 0, 0, 0, 0, 0, 0, 0]);
    for value in [3_u64, 9, 0x0123_4567_89ab_cdef, 0x2_f000, 0x2_0000, 1_700_000_000_000, 0x1_0000]
    {
        copy.extend(value.to_le_bytes());
    }
    copy.resize(124, 0);
    copy.extend(crc32c::crc32c(&copy).to_le_bytes());
    assert_eq!(page[..128], copy[..]);
    assert_eq!(page[2048..2176], copy[..]);

    let bytes = encode_header(Seed::new(&header), 4096, Kind::Data, 5, crc32c::crc32c(b"hello"));
    let mut covered = Vec::new();
    covered.extend(7_u16.to_le_bytes());
    covered.extend(3_u64.to_le_bytes());
    covered.extend(9_u64.to_le_bytes());
    covered.extend(0x0123_4567_89ab_cdef_u64.to_le_bytes());
    covered.extend(4096_u32.to_le_bytes());
    covered.extend(crc32c::crc32c(b"hello").to_le_bytes());
    covered.extend([5, 0, 0, 0, 1, 0, 0, 0]);
    assert_eq!(bytes[..4], crc32c::crc32c(&covered).to_le_bytes());
    assert_eq!(bytes[4..], covered[30..]);
}

fn sample_header() -> SegmentHeader {
    SegmentHeader {
        version: VERSION,
        place: Place { index: 3, segment_bytes: 0x1_0000 },
        shard: 7,
        epoch: 9,
        salt: 0x0123_4567_89ab_cdef,
        previous_end: 0x2_f000,
        durable_mark: 0x2_0000,
        created_ms: 1_700_000_000_000,
        base: 0x1_0000,
        rest: Rest::Zero,
    }
}

#[test]
fn every_flip_in_a_header_page_is_noticed() {
    let header = sample_header();
    let page = header.encode_page();
    assert_eq!(decode_page(&page), HeaderPage::Used { header, void_copy: None });
    for at in 0..page.len() {
        for bit in 0..8 {
            let mut flipped = page;
            flipped[at] ^= 1 << bit;
            let copy = HEADER_COPIES.iter().position(|c| (*c..c + HEADER_BYTES).contains(&at));
            match (decode_page(&flipped), copy) {
                (HeaderPage::Used { header: read, void_copy }, Some(_)) => {
                    assert_eq!((read, void_copy), (header, copy), "byte {at} bit {bit}");
                }
                (HeaderPage::Invalid(_), None) => {}
                other => panic!("byte {at} bit {bit}: {other:?}"),
            }
        }
    }
}

/// A page with both copies changed by `edit`, their checksums made right again if asked.
fn edited(edit: impl Fn(&mut [u8]), fix_crc: bool) -> HeaderPage {
    let mut page = sample_header().encode_page();
    for at in HEADER_COPIES {
        let copy = &mut page[at..at + HEADER_BYTES];
        edit(copy);
        if fix_crc {
            let crc = crc32c::crc32c(&copy[..header::field::CRC]);
            copy[header::field::CRC..].copy_from_slice(&crc.to_le_bytes());
        }
    }
    decode_page(&page)
}

#[test]
fn unusable_header_pages_are_told_apart() {
    assert_eq!(decode_page(&[0; HEADER_PAGE_BYTES]), HeaderPage::Unused);
    let newer = HeaderPage::Newer { version: 3 };
    assert_eq!(edited(|copy| copy[8] = 3, true), newer);
    assert_eq!(edited(|copy| copy[8] = 3, false), newer, "before the checksum");
    let first = SegmentHeader { version: 1, base: 0, ..sample_header() };
    let read = decode_page(&first.encode_page());
    assert_eq!(read, HeaderPage::Used { header: first, void_copy: None });
    let stale = SegmentHeader { rest: Rest::Stale, ..sample_header() };
    let read = edited(|copy| copy[12] = 1, true);
    assert_eq!(read, HeaderPage::Used { header: stale, void_copy: None });
    assert_eq!(read, decode_page(&stale.encode_page()));
    assert_eq!(edited(|copy| copy[12] = 4, true), HeaderPage::UnknownFeatures { features: 4 });
    for (what, page) in [
        ("version 0", edited(|copy| copy[8] = 0, true)),
        ("version 1 with a base", edited(|copy| copy[8] = 1, true)),
        (
            "version 1 with a feature",
            edited(|copy| (copy[8], copy[12], copy[81], copy[82]) = (1, 1, 0, 0), true),
        ),
        ("no magic", edited(|copy| copy[0] = 0, true)),
        ("no checksum", edited(|copy| copy[40] ^= 1, false)),
        ("padding", edited(|copy| copy[27] = 1, true)),
        ("unused", edited(|copy| copy[100] = 1, true)),
    ] {
        assert!(matches!(page, HeaderPage::Invalid(_)), "{what}: {page:?}");
    }
}

/// An opening writes the first copy before it writes the second, with a higher epoch.
#[test]
fn two_copies_differ_only_where_an_opening_was_cut_off() {
    let earlier = sample_header();
    let mixed = |first: SegmentHeader, second: SegmentHeader| {
        let mut page = first.encode_page();
        page[2048..].copy_from_slice(&second.encode_page()[2048..]);
        decode_page(&page)
    };
    let later = SegmentHeader {
        epoch: 10,
        previous_end: 0x2_e000,
        created_ms: 1_700_000_000_001,
        base: 0,
        rest: Rest::Stale,
        ..earlier
    };
    let read = HeaderPage::Used { header: later, void_copy: Some(1) };
    assert_eq!(mixed(later, earlier), read);
    let other_place = Place { index: 4, ..earlier.place };
    for (what, first, second) in [
        ("the other way round", earlier, later),
        ("one epoch", SegmentHeader { epoch: 9, ..later }, earlier),
        ("another log", SegmentHeader { salt: 1, ..later }, earlier),
        ("another shard", SegmentHeader { shard: 8, ..later }, earlier),
        ("another segment", SegmentHeader { place: other_place, ..later }, earlier),
    ] {
        let page = mixed(first, second);
        assert!(matches!(page, HeaderPage::Invalid(_)), "{what}: {page:?}");
    }
}

/// A segment of 64 KiB with one record at `offset`.
fn segment_with(seed: Seed, offset: usize, kind: Kind, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 0x1_0000];
    let header = encode_header(seed, offset, kind, payload.len(), crc32c::crc32c(payload));
    bytes[offset..offset + RECORD_HEADER_BYTES].copy_from_slice(&header);
    let body = offset + RECORD_HEADER_BYTES;
    bytes[body..body + payload.len()].copy_from_slice(payload);
    bytes
}

#[test]
fn a_record_is_bound_to_its_place() {
    let header = sample_header();
    let seed = Seed::new(&header);
    let bytes = segment_with(seed, 8192, Kind::Data, b"payload");
    parse(&bytes, 8192, seed).unwrap();
    for other in [
        SegmentHeader { shard: 8, ..header },
        SegmentHeader { epoch: 10, ..header },
        SegmentHeader { salt: 1, ..header },
        SegmentHeader { place: Place { index: 4, ..header.place }, ..header },
    ] {
        assert_eq!(parse(&bytes, 8192, Seed::new(&other)), Err(BadRecord::HeaderChecksum));
    }
    let mut moved = bytes.clone();
    moved.copy_within(8192..8232, 8232);
    assert_eq!(parse(&moved, 8232, seed), Err(BadRecord::HeaderChecksum));
    assert_eq!(parse(&bytes, 4096, seed), Err(BadRecord::Empty));
}

#[test]
fn every_flip_in_a_record_is_noticed() {
    let seed = Seed::new(&sample_header());
    let bytes = segment_with(seed, 4096, Kind::Data, b"eleven byte");
    let end = parse(&bytes, 4096, seed).unwrap().end;
    assert_eq!(end, 4096 + 32);
    for at in 4096..end {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            parse(&flipped, 4096, seed).unwrap_err();
        }
    }
}

#[test]
fn records_made_to_deceive_are_refused() {
    let seed = Seed::new(&sample_header());
    // Checksums are right, but the length reaches past the end.
    let mut bytes = vec![0; 0x1_0000];
    for len in [0xeff1, 0xf000, u32::MAX as usize] {
        let header = encode_header(seed, 4096, Kind::Data, len, 0);
        bytes[4096..4112].copy_from_slice(&header);
        assert_eq!(parse(&bytes, 4096, seed), Err(BadRecord::Length), "{len}");
    }
    let long_commit = segment_with(seed, 4096, Kind::Commit, &[0; 16]);
    assert_eq!(parse(&long_commit, 4096, seed), Err(BadRecord::Length));
    for offset in [0x1_0000 - 8, 0x1_0000, usize::MAX] {
        assert_eq!(parse(&bytes, offset, seed), Err(BadRecord::NoRoom));
    }
}

fn highest(bytes: &[u8], offset: usize, seed: Seed, segment_start: u64) -> Option<u64> {
    let remains = remains_in(bytes, offset, &Seeds::new(vec![seed]), segment_start);
    remains.map(|remains| remains.mark).filter(|mark| *mark > 0)
}

#[test]
fn the_seed_of_the_marks_is_told() {
    let header = sample_header();
    let start = header.place.start();
    let seeds: Vec<Seed> = (0..5)
        .map(|step| Seed::new(&SegmentHeader { epoch: header.epoch + step, ..header }))
        .collect();
    for (right, &seed) in seeds.iter().enumerate() {
        let mut bytes = segment_with(seed, 4096, Kind::Commit, &start.to_le_bytes());
        let later = segment_with(seed, 9000, Kind::Commit, &(start + 8).to_le_bytes());
        bytes[9000..9024].copy_from_slice(&later[9000..9024]);
        let found = remains_in(&bytes, 4096, &Seeds::new(seeds.clone()), start).unwrap();
        let expected = Remains { mark: start + 8, end: 9024, seed_index: right };
        assert_eq!(found, expected);
        let others = [&seeds[..right], &seeds[right + 1..]].concat();
        assert_eq!(remains_in(&bytes, 4096, &Seeds::new(others), start), None);
    }
    let commit = segment_with(seeds[0], 4096, Kind::Commit, &[0; 8]);
    assert_eq!(remains_in(&commit, 0, &Seeds::new(Vec::new()), start), None);
}

#[test]
fn marks_are_found_at_any_place_if_possible() {
    let header = sample_header();
    let (seed, start) = (Seed::new(&header), header.place.start());
    for kind in [Kind::Commit, Kind::CleanShutdown] {
        for offset in [4096, 4104, 30_000, 0x1_0000 - 24] {
            let mark = start + offset as u64;
            let bytes = segment_with(seed, offset, kind, &mark.to_le_bytes());
            assert_eq!(highest(&bytes, 4096, seed, start), Some(mark), "{kind:?} at {offset}");
            assert_eq!(highest(&bytes, offset, seed, start), Some(mark));
            assert_eq!(highest(&bytes, offset + 1, seed, start), None);
            let impossible = segment_with(seed, offset, kind, &(mark + 1).to_le_bytes());
            assert_eq!(highest(&impossible, 4096, seed, start), None);
        }
    }
    let seal = segment_with(seed, 4096, Kind::Seal, &(start + 4120).to_le_bytes());
    assert_eq!(highest(&seal, 4096, seed, start), None);
    let sealed = parse(&seal, 4096, seed).unwrap();
    assert_eq!(control_value(&seal, &sealed, start), Ok(start + 4120));
    assert_eq!(control_value(&seal, &sealed, start + 8), Err(BadRecord::Value));
    for (head, expected) in [(start, Ok(start)), (start + 8, Err(BadRecord::Value))] {
        let bytes = segment_with(seed, 4096, Kind::Head, &head.to_le_bytes());
        assert_eq!(highest(&bytes, 4096, seed, start), None, "a head is no durable mark");
        let record = parse(&bytes, 4096, seed).unwrap();
        assert_eq!(control_value(&bytes, &record, start), expected);
    }
    for len in 0..32 {
        assert_eq!(highest(&vec![0; len], 0, seed, start), None);
        assert_eq!(highest(&vec![0; len], len + 1, seed, start), None);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// A fuzz entry: no bytes make the readers panic or read out of bounds.
    #[test]
    fn any_bytes_are_read_without_a_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..600),
        offset in 0_usize..700,
        kind in 0_u8..7,
        len in any::<u32>(),
    ) {
        let seed = Seed::new(&sample_header());
        let _ = parse(&bytes, offset, seed);
        highest(&bytes, offset, seed, 0);
        // The same with a right header checksum, so that the later checks are reached.
        let mut bytes = bytes;
        let offset = offset & !7;
        if offset + RECORD_HEADER_BYTES <= bytes.len() {
            let mut header = encode_header(seed, offset, Kind::Data, len as usize % 1000, 0);
            header[12] = kind;
            let mut covered = header;
            covered[..4].copy_from_slice(&(offset as u32).to_le_bytes());
            let crc = crc32c::crc32c_append(seed_value(seed), &covered);
            header[..4].copy_from_slice(&crc.to_le_bytes());
            bytes[offset..offset + RECORD_HEADER_BYTES].copy_from_slice(&header);
            if let Ok(record) = parse(&bytes, offset, seed) {
                prop_assert!(record.end <= bytes.len());
                let _ = control_value(&bytes, &record, 0);
            }
        }
        let mut page = [0; HEADER_PAGE_BYTES];
        page[..bytes.len().min(4096)].copy_from_slice(&bytes[..bytes.len().min(4096)]);
        decode_page(&page);
    }
}

fn seed_value(_: Seed) -> u32 {
    let header = sample_header();
    let mut bytes = header.shard.to_le_bytes().to_vec();
    for value in [header.place.index, header.epoch, header.salt] {
        bytes.extend(value.to_le_bytes());
    }
    crc32c::crc32c(&bytes)
}
