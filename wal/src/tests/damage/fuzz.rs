//! A fuzz entry for the recovery of whole logs: whatever is done to the files, it never panics, and
//! never hands out a record that was not appended at that position.

use std::sync::OnceLock;

use proptest::prelude::*;

use super::super::image::{Image, Random, Records, SEGMENT_BYTES, Subject, survivors};
use super::Sample;
use crate::format::{HEADER_PAGE_BYTES, HeaderPage, decode_page};
use crate::{Durability, Lsn, OpenError};

/// One change of the files. Numbers are taken modulo what there is.
#[derive(Clone, Debug)]
enum Edit {
    Byte {
        at: u64,
        value: u8,
    },
    Zero {
        at: u64,
        len: u64,
    },
    /// Bytes from one place to another, of any segment.
    Copy {
        from: u64,
        to: u64,
        len: u64,
    },
    /// The same from the log of another moment, or another log.
    Foreign {
        from: u64,
        to: u64,
        len: u64,
    },
    /// A whole record in the place of another one: of the same segment, another one, the log of
    /// another moment, or another log. Counted from the end.
    Record {
        from: u64,
        to: u64,
        log: u64,
    },
    /// A file of another length.
    Length {
        file: u64,
        len: u64,
    },
    /// Files change places.
    Swap {
        one: u64,
        other: u64,
    },
    Remove {
        file: u64,
    },
    /// A header that says something else, with the right checksum.
    Header {
        file: u64,
        field: u64,
        value: u64,
    },
}

fn edit() -> impl Strategy<Value = Edit> {
    let at = || {
        // Mostly where there are records.
        prop_oneof![
            0..5 * SEGMENT_BYTES,
            (0..600_u64, 0..5_u64).prop_map(|(offset, segment)| {
                segment * SEGMENT_BYTES + HEADER_PAGE_BYTES as u64 + offset
            })
        ]
    };
    let len = || prop_oneof![1..200_u64, Just(512), Just(4096), Just(SEGMENT_BYTES)];
    prop_oneof![
        4 => (at(), any::<u8>()).prop_map(|(at, value)| Edit::Byte { at, value }),
        3 => (at(), len()).prop_map(|(at, len)| Edit::Zero { at, len }),
        4 => (at(), at(), len()).prop_map(|(from, to, len)| Edit::Copy { from, to, len }),
        4 => (at(), at(), len(), any::<bool>()).prop_map(|(from, to, len, same)| {
            Edit::Foreign { from: if same { to } else { from }, to, len }
        }),
        6 => (any::<u64>(), 0..9_u64, 0..3_u64)
            .prop_map(|(from, to, log)| Edit::Record { from, to, log }),
        1 => (any::<u64>(), len()).prop_map(|(file, len)| Edit::Length { file, len }),
        1 => (any::<u64>(), any::<u64>()).prop_map(|(one, other)| Edit::Swap { one, other }),
        1 => any::<u64>().prop_map(|file| Edit::Remove { file }),
        2 => (any::<u64>(), any::<u64>(), any::<u64>())
            .prop_map(|(file, field, value)| Edit::Header { file, field, value }),
    ]
}

/// The log that is changed, one at an earlier moment with another end, and one of another salt.
fn originals() -> &'static (Image, Records, [Image; 2]) {
    static ORIGINALS: OnceLock<(Image, Records, [Image; 2])> = OnceLock::new();
    ORIGINALS.get_or_init(|| {
        let Sample { image, records, .. } = super::sample();
        let foreign = super::sample_of(43).image;
        let dir = tempfile::tempdir().unwrap();
        // The same log, as it would be if it had gone on in another way from its second segment.
        let mut earlier = image.clone();
        earlier.0.truncate(2);
        earlier.write(dir.path());
        let mut random = Random(8);
        if let Ok(mut subject) = Subject::open(dir.path(), Durability::Sync) {
            for len in [3, 300, 12_000] {
                subject.append(&random.payload(len));
                subject.commit_and_wait();
            }
        }
        (image, records, [foreign, Image::of(dir.path())])
    })
}

fn apply(image: &mut Image, edit: &Edit, random: &mut Random) {
    let (_, records, others) = originals();
    let count = image.0.len() as u64;
    if count == 0 {
        return;
    }
    let place = |image: &Image, at: u64| {
        let file = (at / SEGMENT_BYTES % image.0.len().max(1) as u64) as usize;
        (file, ((at % SEGMENT_BYTES) as usize).min(image.0[file].len()))
    };
    let bytes_at = |image: &Image, at: u64, len: u64| -> Vec<u8> {
        let (file, offset) = place(image, at & !7);
        let end = (offset + len as usize).min(image.0[file].len());
        image.0[file][offset.min(end)..end].to_vec()
    };
    let put = |image: &mut Image, at: u64, bytes: &[u8]| {
        let (file, offset) = place(image, at);
        let target = &mut image.0[file][offset..];
        let len = bytes.len().min(target.len());
        target[..len].copy_from_slice(&bytes[..len]);
    };
    match *edit {
        Edit::Byte { at, value } => put(image, at, &[value]),
        Edit::Zero { at, len } => put(image, at, &vec![0; len as usize]),
        Edit::Copy { from, to, len } => {
            let bytes = bytes_at(image, from, len);
            put(image, to & !7, &bytes);
        }
        Edit::Foreign { from, to, len } => {
            let other = &others[random.below(2) as usize];
            if !other.0.is_empty() {
                let bytes = bytes_at(other, from, len);
                put(image, to & !7, &bytes);
            }
        }
        Edit::Record { from, to, log } => {
            let place = |back: u64| records.iter().rev().nth(back as usize % records.len());
            let (Some((from, payload)), Some((to, _))) = (place(from), place(to)) else { return };
            let source = if log == 0 { &originals().0 } else { &others[log as usize - 1] };
            let bytes = bytes_at(source, from.0, crate::Log::record_bytes(payload.len()));
            put(image, to.0, &bytes);
        }
        Edit::Length { file, len } => image.0[(file % count) as usize].resize(len as usize, 0),
        Edit::Swap { one, other } => image.0.swap((one % count) as usize, (other % count) as usize),
        Edit::Remove { file } => drop(image.0.remove((file % count) as usize)),
        Edit::Header { file, field, value } => edit_any_header(image, file % count, field, value),
    }
}

/// Rewrites a header, if there is a whole one.
fn edit_any_header(image: &mut Image, file: u64, field: u64, value: u64) {
    let bytes = &mut image.0[file as usize];
    let Some(page) = bytes.first_chunk::<HEADER_PAGE_BYTES>() else { return };
    let HeaderPage::Used { mut header, .. } = decode_page(page) else { return };
    // Small steps are the likelier ones to pass a check.
    let near = |old: u64| if value & 1 == 0 { old.wrapping_add(value % 64) } else { value };
    match field % 6 {
        0 => header.epoch = near(header.epoch),
        1 => header.salt = near(header.salt),
        2 => header.previous_end = near(header.previous_end & !7),
        3 => header.durable_mark = near(header.durable_mark),
        4 => header.base = value % 4 * SEGMENT_BYTES,
        _ => header.place.index = near(header.place.index),
    }
    if header.version > 1 || header.base == 0 {
        bytes[..HEADER_PAGE_BYTES].copy_from_slice(&header.encode_page());
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases.max(1500),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_file_makes_the_recovery_panic_or_lie(
        edits in proptest::collection::vec(edit(), 1..6),
        seed in any::<u64>(),
    ) {
        let (original, records, _) = originals();
        let mut image = original.clone();
        let mut random = Random(seed);
        for edit in &edits {
            apply(&mut image, edit, &mut random);
        }
        let dir = tempfile::tempdir().unwrap();
        image.write(dir.path());
        match survivors(dir.path()) {
            Ok((found, report)) => {
                prop_assert_eq!(report.records, found.len() as u64);
                let mut last = Lsn(0);
                for (at, payload) in &found {
                    let appended = records.iter().find(|(other, _)| other == at);
                    prop_assert!(*at > last, "records come in order");
                    prop_assert!(
                        appended.is_some_and(|(_, bytes)| bytes == payload),
                        "a record at {} that was never appended there", at
                    );
                    last = *at;
                }
            }
            // Files that tell no lie about their version are never called newer.
            Err(OpenError::Corrupt { .. } | OpenError::Io { .. }) => {}
            Err(OpenError::OptionMismatch { .. }) => {}
            Err(OpenError::NewerVersion { .. } | OpenError::UnknownFeatures { .. }) => {
                // A changed byte may be just that one.
                let is_edit = |edit: &Edit| !matches!(edit, Edit::Swap { .. } | Edit::Remove { .. });
                prop_assert!(edits.iter().any(is_edit));
            }
            Err(other) => prop_assert!(false, "{}", other),
        }
        // A recovery only reads.
        prop_assert!(Image::of(dir.path()) == image);
    }
}
