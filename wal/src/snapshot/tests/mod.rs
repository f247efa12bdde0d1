//! Checks of the format: the page that describes it, and bytes that must not pass.

pub(crate) mod disk;

use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;

use super::format::{
    BLOCK_ALIGN, BLOCK_BYTES, BLOCK_HEADER_BYTES, BadHeader, BlockKind, BlockSeed,
    SNAPSHOT_FEATURES_KNOWN, SNAPSHOT_HEADER_BYTES, SNAPSHOT_MAGIC, SNAPSHOT_VERSION,
    SnapshotHeader, TOTALS_BYTES, Totals, block_field, encode_block_header, field, padded,
};
use super::reader::verify;
use super::{Identity, SNAPSHOTS_KEPT, SnapshotError, SnapshotReader};
use crate::lsn::Lsn;
use crate::storage::Storage;
use crate::tests::page::{check_fields, table};
use disk::{Disk, Name};

#[test]
fn the_page_states_the_constants() {
    let stated: BTreeMap<String, String> = table("\n### Snapshot constants")
        .into_iter()
        .map(|row| (row[0].clone(), row[1].clone()))
        .collect();
    let ours: BTreeMap<String, String> = [
        ("SNAPSHOT_MAGIC", String::from_utf8(SNAPSHOT_MAGIC.to_vec()).unwrap()),
        ("SNAPSHOT_VERSION", SNAPSHOT_VERSION.to_string()),
        ("SNAPSHOT_FEATURES_KNOWN", SNAPSHOT_FEATURES_KNOWN.to_string()),
        ("SNAPSHOT_HEADER_BYTES", SNAPSHOT_HEADER_BYTES.to_string()),
        ("BLOCK_HEADER_BYTES", BLOCK_HEADER_BYTES.to_string()),
        ("BLOCK_ALIGN", BLOCK_ALIGN.to_string()),
        ("BLOCK_BYTES", BLOCK_BYTES.to_string()),
        ("TOTALS_BYTES", TOTALS_BYTES.to_string()),
        ("SNAPSHOTS_KEPT", SNAPSHOTS_KEPT.to_string()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    assert_eq!(stated, ours);
}

#[test]
fn the_page_states_the_fields_and_kinds() {
    check_fields(
        "\n### Snapshot header",
        SNAPSHOT_HEADER_BYTES,
        &[
            ("MAGIC", field::MAGIC),
            ("VERSION", field::VERSION),
            ("FEATURES", field::FEATURES),
            ("SHARD", field::SHARD),
            ("SALT", field::SALT),
            ("LSN", field::LSN),
            ("EPOCH", field::EPOCH),
            ("CREATED_MS", field::CREATED_MS),
            ("HEAD", field::HEAD),
            ("CRC", field::CRC),
        ],
    );
    check_fields(
        "\n### Snapshot block",
        BLOCK_HEADER_BYTES,
        &[
            ("HEADER_CRC", block_field::HEADER_CRC),
            ("PAYLOAD_CRC", block_field::PAYLOAD_CRC),
            ("PAYLOAD_LEN", block_field::PAYLOAD_LEN),
            ("KIND", block_field::KIND),
            ("RESERVED", block_field::RESERVED),
        ],
    );
    let stated: Vec<_> = table("\n### Kinds of snapshot blocks")
        .into_iter()
        .map(|row| (row[0].clone(), row[1].clone()))
        .collect();
    let ours = [BlockKind::Data, BlockKind::Last]
        .map(|kind| ((kind as u8).to_string(), format!("{kind:?}")));
    assert_eq!(stated, ours);
}

fn sample_header() -> SnapshotHeader {
    SnapshotHeader {
        identity: Identity { shard: 7, salt: 0x0123_4567_89ab_cdef },
        lsn: Lsn(0x3_1000),
        epoch: 9,
        created_ms: 1_700_000_000_000,
        head: Lsn(0x2_0000),
    }
}

/// A block with right checksums for its place at the end of `bytes`.
fn push_block(bytes: &mut Vec<u8>, header: &SnapshotHeader, kind: BlockKind, payload: &[u8]) {
    let seed = BlockSeed::new(header);
    bytes.extend(encode_block_header(seed, bytes.len() as u64, kind, payload));
    bytes.extend(payload);
    bytes.resize(padded(bytes.len()), 0);
}

/// The file of a snapshot with these blocks, which may be shorter than a writer makes them.
fn file_of(header: &SnapshotHeader, blocks: &[&[u8]]) -> Vec<u8> {
    let mut bytes = header.encode().to_vec();
    let mut totals = Totals::default();
    for block in blocks {
        push_block(&mut bytes, header, BlockKind::Data, block);
        totals.add(block.len());
    }
    push_block(&mut bytes, header, BlockKind::Last, &totals.encode());
    bytes
}

/// Verifies a file in both passes and returns the owner's bytes.
fn read_all(bytes: &[u8]) -> Result<Vec<u8>, SnapshotError> {
    let disk = Disk::default();
    disk.put(Name::Snapshot(1), bytes);
    let path = Path::new("sample.snap");
    let open = || disk.open_snapshot(1).unwrap();
    let verified = verify(open().as_ref(), path, &mut |_| Ok(()));
    assert!(disk.largest_read_bytes() <= BLOCK_BYTES.min(bytes.len().max(SNAPSHOT_HEADER_BYTES)));
    let opened = SnapshotReader::open(open(), path, &mut |_| Ok(()));
    assert_eq!(verified.is_ok(), opened.is_ok());
    assert_eq!(verified.is_ok(), read_at_once(bytes).is_ok());
    let mut reader = opened?;
    assert_eq!(reader.info(), verified?.1);
    let mut read = Vec::new();
    while let Some(block) = reader.next_block()? {
        assert!((1..=BLOCK_BYTES).contains(&block.len()));
        read.extend_from_slice(block);
    }
    assert!(reader.next_block()?.is_none());
    assert_eq!(reader.len_bytes(), read.len() as u64);
    assert!(read_at_once(bytes)? == read);
    Ok(read)
}

/// The same without a pass before: whatever the bytes are, it comes to the same.
fn read_at_once(bytes: &[u8]) -> Result<Vec<u8>, SnapshotError> {
    let disk = Disk::default();
    disk.put(Name::Snapshot(1), bytes);
    let file = disk.open_snapshot(1).unwrap();
    let mut reader = SnapshotReader::begin(file, Path::new("sample.snap"), &mut |_| Ok(()))?;
    let mut read = Vec::new();
    while let Some(block) = reader.next_block()? {
        read.extend_from_slice(block);
    }
    assert_eq!(reader.len_bytes(), read.len() as u64);
    Ok(read)
}

#[track_caller]
fn reason(bytes: &[u8]) -> &'static str {
    match read_all(bytes) {
        Err(SnapshotError::Damaged { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

/// The layout spelled out by hand once more, so that no edit of the code moves a byte unseen.
#[test]
fn golden_bytes() {
    let header = sample_header();
    let mut expected = Vec::new();
    expected.extend(b"TWHEELSN\x01\0\0\0\0\0\0\0");
    expected.extend([7, 0, 0, 0, 0, 0, 0, 0]);
    for value in [0x0123_4567_89ab_cdef_u64, 0x3_1000, 9, 1_700_000_000_000, 0x2_0000] {
        expected.extend(value.to_le_bytes());
    }
    expected.resize(124, 0);
    expected.extend(crc32c::crc32c(&expected).to_le_bytes());

    let mut seed = 7_u16.to_le_bytes().to_vec();
    for value in [0x0123_4567_89ab_cdef_u64, 0x3_1000, 9] {
        seed.extend(value.to_le_bytes());
    }
    let totals = [5_u64.to_le_bytes(), 1_u64.to_le_bytes()].concat();
    for (kind, payload) in [(1, b"hello".as_slice()), (2, &totals)] {
        let mut stored = crc32c::crc32c(payload).to_le_bytes().to_vec();
        stored.extend((payload.len() as u32).to_le_bytes());
        stored.extend([kind, 0, 0, 0]);
        let offset = expected.len() as u64;
        let covered = [seed.as_slice(), &offset.to_le_bytes(), &stored].concat();
        expected.extend(crc32c::crc32c(&covered).to_le_bytes());
        expected.extend(stored);
        expected.extend(payload);
        expected.resize(expected.len().next_multiple_of(8), 0);
    }
    assert_eq!(expected.len(), 128 + 24 + 32);
    assert_eq!(file_of(&header, &[b"hello"]), expected);
    assert_eq!(read_all(&expected).unwrap(), b"hello");
}

#[test]
fn headers_are_told_apart() {
    let edited = |at: usize, value: u8, fix_crc: bool| {
        let mut bytes = sample_header().encode();
        bytes[at] = value;
        if fix_crc {
            let crc = crc32c::crc32c(&bytes[..field::CRC]);
            bytes[field::CRC..].copy_from_slice(&crc.to_le_bytes());
        }
        SnapshotHeader::decode(&bytes)
    };
    assert_eq!(edited(0, b'T', false), Ok(sample_header()));
    let newer = Err(BadHeader::Newer { version: 2 });
    assert_eq!(edited(field::VERSION, 2, true), newer);
    assert_eq!(edited(field::VERSION, 2, false), newer, "before the checksum");
    let unknown = Err(BadHeader::UnknownFeatures { features: 4 });
    assert_eq!(edited(field::FEATURES, 4, true), unknown);
    for (at, value, fix_crc) in
        [(field::VERSION, 0, true), (0, 0, true), (40, 1, false), (18, 1, true), (100, 1, true)]
    {
        let header = edited(at, value, fix_crc);
        assert!(matches!(header, Err(BadHeader::Damaged(_))), "byte {at}: {header:?}");
    }
}

/// Three short blocks, so that flips reach every part of the format.
fn small_file() -> (Vec<u8>, Vec<u8>) {
    let blocks = [b"eleven byte".as_slice(), b"eight by", b"a"];
    (file_of(&sample_header(), &blocks), blocks.concat())
}

#[test]
fn every_flip_is_noticed() {
    let (bytes, content) = small_file();
    assert_eq!(read_all(&bytes).unwrap(), content);
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            let read = read_all(&flipped);
            assert!(read.is_err(), "byte {at} bit {bit}: {read:?}");
        }
    }
}

#[test]
fn every_other_length_is_noticed() {
    let (bytes, _) = small_file();
    for len in 0..bytes.len() {
        let read = read_all(&bytes[..len]);
        assert!(matches!(read, Err(SnapshotError::Damaged { .. })), "{len} bytes: {read:?}");
    }
    for more in 1..=64 {
        let mut longer = bytes.clone();
        longer.resize(bytes.len() + more, 0);
        assert_eq!(reason(&longer), "the file does not end with its last block");
    }
}

#[test]
fn a_block_is_bound_to_its_place() {
    const WRONG: &str = "the checksum of the block header is wrong";
    let header = sample_header();
    let (bytes, _) = small_file();
    let Identity { shard, salt } = header.identity;
    for other in [
        SnapshotHeader { identity: Identity { shard: 8, salt }, ..header },
        SnapshotHeader { identity: Identity { shard, salt: 1 }, ..header },
        SnapshotHeader { lsn: Lsn(0x3_1008), ..header },
        SnapshotHeader { epoch: 10, ..header },
    ] {
        let mut foreign = bytes.clone();
        foreign[..SNAPSHOT_HEADER_BYTES].copy_from_slice(&other.encode());
        assert_eq!(reason(&foreign), WRONG);
    }
    // Two blocks of the same length change places; one goes missing; one comes twice.
    let pair = file_of(&header, &[b"the first block", b"the other block"]);
    let (first, second) = (128..160, 160..192);
    let join = |parts: &[&[u8]]| parts.concat();
    let swapped = join(&[&pair[..128], &pair[second.clone()], &pair[first.clone()], &pair[192..]]);
    assert_eq!(reason(&swapped), WRONG);
    assert_eq!(reason(&join(&[&pair[..128], &pair[second.start..]])), WRONG);
    assert_eq!(reason(&join(&[&pair[..160], &pair[first], &pair[192..]])), WRONG);
}

#[test]
fn blocks_made_to_deceive_are_refused() {
    let header = sample_header();
    let with = |build: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = header.encode().to_vec();
        build(&mut bytes);
        bytes
    };
    let last = |bytes: &mut Vec<u8>, blocks: u64, len: u64| {
        let totals = Totals { bytes: len, blocks };
        push_block(bytes, &header, BlockKind::Last, &totals.encode());
    };
    let impossible = "the length of the block is impossible";
    let empty = with(&|bytes| push_block(bytes, &header, BlockKind::Data, b""));
    assert_eq!(reason(&[empty, vec![0; 64]].concat()), impossible);
    let short_totals = with(&|bytes| push_block(bytes, &header, BlockKind::Last, &[0; 8]));
    assert_eq!(reason(&short_totals), impossible);
    for (blocks, len) in [(0, 3), (1, 2), (1, 4), (2, 3), (u64::MAX, u64::MAX)] {
        let bytes = with(&|bytes| {
            push_block(bytes, &header, BlockKind::Data, b"abc");
            last(bytes, blocks, len);
        });
        assert_eq!(reason(&bytes), "the totals do not fit the blocks");
    }
    let followed = with(&|bytes| {
        last(bytes, 0, 0);
        push_block(bytes, &header, BlockKind::Data, b"abc");
        last(bytes, 1, 3);
    });
    assert_eq!(reason(&followed), "the file does not end with its last block");
    for len in [0, BLOCK_BYTES as u32 + 1, u32::MAX] {
        assert_eq!(reason(&forged(1, len, 0)), impossible);
    }
    assert_eq!(reason(&forged(1, 200, 0)), "the block is cut off");
    assert_eq!(reason(&forged(3, 8, 0)), "the block is of an unknown kind");
    assert_eq!(reason(&forged(1, 8, 1)), "unused bytes of the block header are not zero");
}

/// One block whose header has a right checksum and says anything, and 64 zero bytes.
fn forged(kind: u8, len: u32, reserved: u8) -> Vec<u8> {
    let header = sample_header();
    let mut block = [0; BLOCK_HEADER_BYTES];
    block[block_field::PAYLOAD_LEN..block_field::KIND].copy_from_slice(&len.to_le_bytes());
    block[block_field::KIND] = kind;
    block[block_field::RESERVED] = reserved;
    let crc = BlockSeed::new(&header).header_crc(SNAPSHOT_HEADER_BYTES as u64, &block);
    block[..block_field::PAYLOAD_CRC].copy_from_slice(&crc.to_le_bytes());
    [header.encode().as_slice(), &block, &[0; 64]].concat()
}

/// One change of a file.
#[derive(Clone, Debug)]
enum Mutation {
    Set { at: usize, value: u8 },
    Cut { at: usize },
    Insert { at: usize, bytes: Vec<u8> },
    Copy { from: usize, to: usize, len: usize },
}

impl Mutation {
    fn any() -> impl Strategy<Value = Self> {
        let at = || 0_usize..1000;
        prop_oneof![
            (at(), any::<u8>()).prop_map(|(at, value)| Mutation::Set { at, value }),
            at().prop_map(|at| Mutation::Cut { at }),
            (at(), proptest::collection::vec(any::<u8>(), 0..40))
                .prop_map(|(at, bytes)| Mutation::Insert { at, bytes }),
            (at(), at(), at()).prop_map(|(from, to, len)| Mutation::Copy { from, to, len }),
        ]
    }

    fn apply(&self, bytes: &mut Vec<u8>) {
        let len = bytes.len();
        let within = |at: usize| at % (len + 1);
        match self {
            &Mutation::Set { at, value } => {
                if let Some(byte) = bytes.get_mut(within(at)) {
                    *byte = value;
                }
            }
            &Mutation::Cut { at } => bytes.truncate(within(at)),
            Mutation::Insert { at, bytes: inserted } => {
                let at = within(*at);
                bytes.splice(at..at, inserted.iter().copied());
            }
            &Mutation::Copy { from, to, len } => {
                let (from, to) = (within(from), within(to));
                let len = len.min(bytes.len() - from.max(to));
                bytes.copy_within(from..from + len, to);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// A fuzz entry: no bytes make the reader panic or ask for more than a block.
    #[test]
    fn any_bytes_are_read_without_a_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..600),
        kind in 0_u8..4,
        len in any::<u32>(),
        with_header in any::<bool>(),
    ) {
        let _ = read_all(&bytes);
        let _ = read_all(&forged(kind, len, 0));
        let _ = read_all(&forged(kind, len % 100, 0));
        if with_header {
            let _ = read_all(&[sample_header().encode().as_slice(), &bytes].concat());
        }
    }

    /// What passes after any changes is what was written.
    #[test]
    fn a_changed_file_never_gives_other_bytes(
        blocks in proptest::collection::vec(
            proptest::collection::vec(any::<u8>(), 1..100), 0..5),
        mutations in proptest::collection::vec(Mutation::any(), 1..6),
    ) {
        let refs: Vec<&[u8]> = blocks.iter().map(Vec::as_slice).collect();
        let original = file_of(&sample_header(), &refs);
        let mut bytes = original.clone();
        for mutation in &mutations {
            mutation.apply(&mut bytes);
        }
        match read_all(&bytes) {
            Ok(read) => {
                prop_assert_eq!(read, blocks.concat());
                prop_assert_eq!(bytes, original);
            }
            Err(error) => prop_assert!(bytes != original, "{}", error),
        }
    }
}
