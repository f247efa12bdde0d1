//! Every bit below the durable mark is guarded; above it only the tail can be lost.

mod fuzz;
mod misplaced;
mod released;
mod stale;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use super::image::{Image, Random, Records, SEGMENT_BYTES, Subject, segment, survivors};
use crate::format::{HEADER_PAGE_BYTES, HeaderPage, SegmentHeader, decode_page};
use crate::limits::EPOCH_STEP_MAX;
use crate::{Durability, Lsn, OpenError};

/// A log of three segments; the last records are appended but not durable.
struct Sample {
    dir: tempfile::TempDir,
    image: Image,
    records: Records,
    /// Highest durable mark in the files.
    mark: Lsn,
    /// Position where all records end.
    end: Lsn,
    /// Positions of the seals' ends.
    seal_ends: Vec<u64>,
}

fn sample() -> Sample {
    sample_of(42)
}

/// The same with other payloads of the same lengths.
fn sample_of(seed: u64) -> Sample {
    let dir = tempfile::tempdir().unwrap();
    const L: usize = 16_000;
    let mut random = Random(seed);
    let mut subject = Subject::open(dir.path(), Durability::Sync).unwrap();
    // Few large records, so that there are few bytes to try that are all alike.
    for len in [5, 0, L, L, L, 3, 9_000, 9, L, L, 11, L, 30, 8, L, 70] {
        let payload = random.payload(len);
        subject.append(&payload);
        subject.commit_and_wait();
    }
    let mark = subject.log.durable();
    assert!(subject.log.mark_idle());
    for len in [40, 1, 0, 17] {
        let payload = random.payload(len);
        subject.append(&payload);
    }
    subject.wait_for_pool();
    let (records, end) = (subject.records, subject.log.appended());
    assert_eq!(end.0 / SEGMENT_BYTES, 2);
    drop(subject.log);
    let image = Image::of(dir.path());
    let seal_ends =
        [1, 2].map(|next: usize| u64::from_le_bytes(image.0[next][56..64].try_into().unwrap()));
    Sample { dir, image, records, mark, end, seal_ends: seal_ends.to_vec() }
}

impl Sample {
    /// What must happen when the byte at `lsn` changes.
    fn check(&self, lsn: u64, what: &str) {
        let result = survivors(self.dir.path());
        let offset = (lsn % SEGMENT_BYTES) as usize;
        let is_unused = self
            .seal_ends
            .get((lsn / SEGMENT_BYTES) as usize)
            .is_none_or(|&seal_end| lsn >= seal_end);
        if offset < HEADER_PAGE_BYTES {
            let in_copy = offset % 2048 < 128 && lsn < self.end.0;
            match result {
                Ok((records, report)) if in_copy => {
                    assert!(records == self.records, "{what}");
                    assert_eq!(report.warnings.len(), 1, "{what}");
                }
                Err(OpenError::Corrupt { .. }) if !in_copy => {}
                other => panic!("{what}: {:?}", other.map(|(_, report)| report)),
            }
        } else if lsn < self.mark.0 && (!is_unused || lsn / SEGMENT_BYTES == 2) {
            match result {
                Err(OpenError::Corrupt { lsn: at, durable_mark, .. }) => {
                    assert!(at.0 <= lsn && lsn - at.0 < 16_100, "{what}: blamed on {at}");
                    assert_eq!(durable_mark, self.mark, "{what}");
                }
                other => panic!("{what}: {:?}", other.map(|(_, report)| report)),
            }
        } else {
            let (records, report) = result.unwrap_or_else(|error| panic!("{what}: {error}"));
            let durable = self.records.iter().filter(|(at, _)| *at < self.mark).count();
            assert!((durable..=self.records.len()).contains(&records.len()), "{what}");
            assert!(records == self.records[..records.len()], "{what}");
            if lsn >= self.mark.0 {
                assert!(report.torn_bytes > 0, "{what}");
                assert!(lsn < self.end.0 || records.len() == self.records.len(), "{what}");
            } else {
                assert_eq!(report.warnings.len(), 1, "{what}");
                assert_eq!(records.len(), self.records.len(), "{what}");
            }
        }
    }
}

fn flip(file: &File, offset: u64, mask: u8) {
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ mask], offset).unwrap();
}

/// Bytes inside a large payload, or of unused space, are alike: one in some hundred is tried.
fn is_alike(sample: &Sample, lsn: u64) -> bool {
    let offset = lsn % SEGMENT_BYTES;
    let in_payload = sample.records.iter().any(|(at, payload)| {
        let start = at.0 + 16;
        (start + 20..(start + payload.len() as u64).saturating_sub(20)).contains(&lsn)
    });
    let in_page = offset < HEADER_PAGE_BYTES as u64 && (150..2000).contains(&(offset % 2048));
    let unused = lsn > sample.end.0 + 100;
    in_payload || in_page || unused
}

#[test]
fn every_flipped_bit() {
    flip_bits(&sample(), 1);
}

/// The same in a log whose headers are of the first version.
#[test]
fn flipped_bits_of_version_1() {
    let mut sample = sample();
    for index in 0..sample.image.0.len() {
        if sample.image.0[index][..HEADER_PAGE_BYTES].iter().any(|byte| *byte != 0) {
            edit_header(&mut sample.image, index, |header| header.version = 1);
        }
    }
    sample.image.write(sample.dir.path());
    flip_bits(&sample, 5);
}

/// Flips bits, one at a time: in all header pages, and in each `step`th byte of the rest.
fn flip_bits(sample: &Sample, step: u64) {
    let mut tried = 0;
    for (index, bytes) in sample.image.0.iter().enumerate() {
        let path = segment(sample.dir.path(), index as u64);
        let file = File::options().read(true).write(true).open(path).unwrap();
        for offset in 0..bytes.len() as u64 {
            let lsn = index as u64 * SEGMENT_BYTES + offset;
            let after_seal = sample.seal_ends.get(index).is_some_and(|&end| lsn > end + 20);
            let is_alike = is_alike(sample, lsn) || after_seal;
            let is_header = offset < HEADER_PAGE_BYTES as u64;
            let is_left_out = !is_header && offset % step != 0;
            if is_left_out || (is_alike && offset % 251 != 0) {
                continue;
            }
            // Every bit of what has structure, one bit of the rest.
            let bits = if is_alike || is_header { offset % 8..offset % 8 + 1 } else { 0..8 };
            for bit in bits {
                flip(&file, offset, 1 << bit);
                sample.check(lsn, &format!("segment {index} offset {offset} bit {bit}"));
                flip(&file, offset, 1 << bit);
                tried += 1;
            }
        }
    }
    assert!(tried > 5_000 / step, "{tried}");
    assert!(Image::of(sample.dir.path()) == sample.image);
    assert!(survivors(sample.dir.path()).unwrap().0 == sample.records);
}

/// Files that are cut short, at every length that can matter.
#[test]
fn every_short_file() {
    let sample = sample();
    let last = sample.image.0.len() - 1;
    for (index, bytes) in sample.image.0.iter().enumerate() {
        let path = segment(sample.dir.path(), index as u64);
        let is_used = bytes[..HEADER_PAGE_BYTES].iter().any(|byte| *byte != 0);
        let around = |at: u64| at.saturating_sub(9)..at + 9;
        let start = index as u64 * SEGMENT_BYTES;
        let ends = sample.records.iter().map(|(at, _)| at.0).filter(|at| *at > start);
        let mut lens: Vec<u64> = (0..200).chain(2040..2200).chain(around(4096)).collect();
        lens.extend(ends.map(|at| at - start).flat_map(around));
        lens.extend((0..SEGMENT_BYTES).step_by(509));
        lens.extend(around(SEGMENT_BYTES).chain([2 * SEGMENT_BYTES]));
        lens.retain(|len| *len != SEGMENT_BYTES && *len <= 2 * SEGMENT_BYTES);
        for len in lens {
            let file = File::options().write(true).open(&path).unwrap();
            file.set_len(len).unwrap();
            let what = format!("segment {index} with {len} bytes");
            match survivors(sample.dir.path()) {
                // Its preparation may have been cut off.
                Ok((records, _)) => {
                    assert!(!is_used && index == last && len < SEGMENT_BYTES, "{what}");
                    assert!(records == sample.records, "{what}");
                }
                Err(OpenError::Corrupt { path: named, .. }) => assert_eq!(named, path, "{what}"),
                Err(other) => panic!("{what}: {other}"),
            }
            std::fs::write(&path, bytes).unwrap();
        }
    }
}

/// Cuts the log off at every byte above the mark, and puts zeros or garbage there.
#[test]
fn every_torn_tail() {
    let sample = sample();
    let last = sample.image.0[2].clone();
    let mut random = Random(3);
    for cut in sample.mark.0..=sample.end.0 {
        for is_garbage in [false, true] {
            let mut torn = last.clone();
            let tail = &mut torn[(cut % SEGMENT_BYTES) as usize..];
            if is_garbage {
                let garbage_len = tail.len().min(500);
                tail[..garbage_len].copy_from_slice(&random.payload(garbage_len));
            } else {
                tail.fill(0);
            }
            std::fs::write(segment(sample.dir.path(), 2), &torn).unwrap();
            let what = format!("cut at {cut}, garbage {is_garbage}");
            let (records, report) =
                survivors(sample.dir.path()).unwrap_or_else(|error| panic!("{what}: {error}"));
            let whole = sample
                .records
                .iter()
                .filter(|(at, payload)| at.0 + crate::Log::record_bytes(payload.len()) <= cut);
            // Zeros may be just what was there.
            assert!(records.len() >= whole.count(), "{what}");
            assert!(records == sample.records[..records.len()], "{what}");
            assert!(!is_garbage || report.torn_bytes > 400, "{what}");
        }
    }
}

/// Cuts the log off below the mark: always corruption.
#[test]
fn a_cut_below_the_mark() {
    let sample = sample();
    let last = sample.image.0[2].clone();
    for cut in (HEADER_PAGE_BYTES..(sample.mark.0 % SEGMENT_BYTES) as usize).step_by(41) {
        let mut torn = last.clone();
        torn[cut..(sample.mark.0 % SEGMENT_BYTES) as usize].fill(0);
        std::fs::write(segment(sample.dir.path(), 2), &torn).unwrap();
        let error = survivors(sample.dir.path()).err();
        assert!(matches!(error, Some(OpenError::Corrupt { .. })), "cut at {cut}: {error:?}");
    }
}

/// After a torn tail the log goes on, and neither the tail nor its bytes ever come back.
#[test]
fn life_after_a_torn_tail() {
    let sample = sample();
    let mut random = Random(9);
    for round in 0..20 {
        let dir = tempfile::tempdir().unwrap();
        let cut = sample.mark.0 + random.below(sample.end.0 - sample.mark.0);
        let mut torn = sample.image.clone();
        torn.0[2][(cut % SEGMENT_BYTES) as usize] ^= 1 << random.below(8);
        torn.write(dir.path());
        let expected = survivors(dir.path()).unwrap().0;
        live_on(dir.path(), expected, &mut random, &format!("round {round}"));
    }
}

fn live_on(dir: &Path, mut expected: Records, random: &mut Random, what: &str) {
    for _ in 0..3 {
        let mut subject = Subject::open(dir, Durability::Sync).unwrap();
        assert!(subject.records == expected, "{what}");
        for _ in 0..random.below(9) {
            let len = random.below(16_000) as usize;
            let payload = random.payload(len);
            subject.append(&payload);
        }
        if random.below(2) == 0 {
            subject.commit_and_wait();
        }
        expected = subject.records;
    }
}

/// A mark counts wherever it is: here only in the header of the next segment.
#[test]
fn a_mark_in_a_later_header() {
    let dir = tempfile::tempdir().unwrap();
    let mut random = Random(11);
    let mode = Durability::Interval(Duration::from_secs(3600));
    let mut subject = Subject::open(dir.path(), mode).unwrap();
    subject.wait_for_pool();
    subject.append(&random.payload(100));
    let durable = subject.commit_and_wait();
    for _ in 0..5 {
        subject.append(&random.payload(15_000));
    }
    let first = subject.records[0].0;
    drop(subject.log);
    let path = segment(dir.path(), 0);
    let file = File::options().read(true).write(true).open(path).unwrap();
    flip(&file, first.0 + 50, 1);
    match survivors(dir.path()).unwrap_err() {
        OpenError::Corrupt { lsn, durable_mark, .. } => {
            assert_eq!((lsn, durable_mark), (first, durable));
        }
        other => panic!("{other}"),
    }
}

/// A mark counts also in a segment whose header is lost.
#[test]
fn a_mark_behind_a_lost_header() {
    let sample = sample();
    let mut image = sample.image.clone();
    image.0[2][..HEADER_PAGE_BYTES].fill(0);
    let seal = sample.seal_ends[1] - 24;
    image.0[1][(seal % SEGMENT_BYTES) as usize] ^= 1;
    image.write(sample.dir.path());
    match survivors(sample.dir.path()).unwrap_err() {
        OpenError::Corrupt { lsn, durable_mark, .. } => {
            assert_eq!((lsn.0, durable_mark), (seal, sample.mark));
        }
        other => panic!("{other}"),
    }
}

/// The same where the lost header began a new opening, so that nothing else tells its epoch.
#[test]
fn a_mark_behind_a_lost_header_of_a_new_opening() {
    // Openings that wrote nothing may lie between, each with an epoch of its own.
    for empty_openings in [0, 1, 5] {
        let dir = tempfile::tempdir().unwrap();
        let mut subject = Subject::open(dir.path(), Durability::Sync).unwrap();
        subject.append(b"first opening");
        subject.commit_and_wait();
        let end = subject.log.appended();
        drop(subject.log);
        for _ in 0..empty_openings {
            Subject::open(dir.path(), Durability::Sync).unwrap().log.close().unwrap();
        }
        let mut subject = Subject::open(dir.path(), Durability::Sync).unwrap();
        subject.append(b"second opening");
        let durable = subject.commit_and_wait();
        assert!(subject.log.mark_idle());
        let index = durable.0 / SEGMENT_BYTES;
        let epoch = subject.log.recovery().epoch;
        assert_eq!(epoch, 2 + empty_openings);
        drop(subject.log);
        let mut image = Image::of(dir.path());
        image.0[index as usize][..HEADER_PAGE_BYTES].fill(0);
        image.write(dir.path());
        match survivors(dir.path()) {
            Err(OpenError::Corrupt { lsn, durable_mark, .. }) => {
                assert_eq!(durable_mark, durable, "{empty_openings}");
                assert_eq!(lsn, end, "{empty_openings}");
            }
            other => panic!("{empty_openings}: {:?}", other.map(|(_, report)| report)),
        }
        assert!(Image::of(dir.path()) == image);
    }
}

/// Two lost headers in a row, with an opening begun in each.
#[test]
fn marks_behind_two_lost_headers() {
    let dir = tempfile::tempdir().unwrap();
    let mut durable = Lsn(0);
    for _ in 0..3 {
        let mut subject = Subject::open(dir.path(), Durability::Sync).unwrap();
        subject.append(b"one of each opening");
        durable = subject.commit_and_wait();
        assert!(subject.log.mark_idle());
    }
    assert_eq!(durable.0 / SEGMENT_BYTES, 2);
    let mut image = Image::of(dir.path());
    for index in [1, 2] {
        image.0[index][..HEADER_PAGE_BYTES].fill(0);
    }
    image.write(dir.path());
    match survivors(dir.path()) {
        Err(OpenError::Corrupt { durable_mark, .. }) => assert_eq!(durable_mark, durable),
        other => panic!("{:?}", other.map(|(_, report)| report)),
    }
}

/// Rewrites the header of segment `index`.
fn edit_header(image: &mut Image, index: usize, edit: impl FnOnce(&mut SegmentHeader)) {
    let page = image.0[index].first_chunk().unwrap();
    let HeaderPage::Used { mut header, .. } = decode_page(page) else { panic!("no header") };
    edit(&mut header);
    image.0[index][..HEADER_PAGE_BYTES].copy_from_slice(&header.encode_page());
}

/// An empty segment is used again until its epoch is as far above the one before as a search for
/// marks looks. At the last of these epochs a lost header is still noticed.
#[test]
fn the_epoch_of_a_segment_that_is_used_again_is_bounded() {
    let open = |dir: &Path| Subject::open(dir, Durability::Sync).unwrap();
    for (epoch, in_use) in [(EPOCH_STEP_MAX, 1), (EPOCH_STEP_MAX + 1, 2)] {
        let dir = tempfile::tempdir().unwrap();
        let mut subject = open(dir.path());
        subject.append(b"first");
        subject.commit_and_wait();
        drop(subject.log);
        drop(open(dir.path()).log);
        let mut image = Image::of(dir.path());
        edit_header(&mut image, 1, |header| header.epoch = epoch);
        image.write(dir.path());
        let mut subject = open(dir.path());
        assert_eq!(subject.log.recovery().epoch, epoch + 1);
        assert_eq!(subject.log.appended().0 / SEGMENT_BYTES, in_use);
        subject.append(b"second");
        let durable = subject.commit_and_wait();
        assert!(subject.log.mark_idle());
        drop(subject.log);
        let mut image = Image::of(dir.path());
        image.0[in_use as usize][..HEADER_PAGE_BYTES].fill(0);
        image.write(dir.path());
        match survivors(dir.path()) {
            Err(OpenError::Corrupt { durable_mark, .. }) => assert_eq!(durable_mark, durable),
            other => panic!("{epoch}: {:?}", other.map(|(_, report)| report)),
        }
    }
}

/// Valid headers that do not fit together.
#[test]
fn headers_that_contradict_each_other() {
    let sample = sample();
    let end = sample.seal_ends[0];
    type Edit = fn(&mut SegmentHeader);
    let edits: [(&str, usize, Edit, u64); 9] = [
        ("another end", 1, |header| header.previous_end -= 8, end),
        ("a later end", 1, |header| header.previous_end += 8, end),
        ("an end in no segment", 1, |header| header.previous_end = 8, SEGMENT_BYTES),
        ("an uneven end", 1, |header| header.previous_end += 1, SEGMENT_BYTES),
        ("a segment before the first", 0, |header| header.previous_end = 8, 0),
        ("a mark ahead", 1, |header| header.durable_mark = SEGMENT_BYTES + 1, SEGMENT_BYTES),
        ("an epoch that falls", 1, |header| header.epoch = 0, SEGMENT_BYTES),
        ("an epoch that cannot rise", 2, |header| header.epoch = u64::MAX, 2 * SEGMENT_BYTES),
        ("another epoch", 2, |header| header.epoch = 2, 2 * SEGMENT_BYTES + 4096),
    ];
    for (what, index, edit, bad_place) in edits {
        let mut image = sample.image.clone();
        edit_header(&mut image, index, edit);
        image.write(sample.dir.path());
        match survivors(sample.dir.path()) {
            Err(OpenError::Corrupt { lsn, .. }) => assert_eq!(lsn.0, bad_place, "{what}"),
            // Records of another epoch are no records, and their marks no marks.
            Ok((records, report)) => {
                assert_eq!((what, bad_place), ("another epoch", 2 * SEGMENT_BYTES + 4096));
                assert!(records == sample.records[..records.len()]);
                assert!(report.torn_bytes > 0);
            }
            Err(other) => panic!("{what}: {other}"),
        }
    }
}

/// What a later opening put aside stays aside, even if the bytes turn out to be valid again.
#[test]
fn a_tail_that_comes_back() {
    let sample = sample();
    let torn = sample.records[sample.records.len() - 3].0;
    assert!(torn >= sample.mark);
    let path = segment(sample.dir.path(), 2);
    let file = File::options().read(true).write(true).open(path).unwrap();
    flip(&file, torn.0 % SEGMENT_BYTES, 1);
    let subject = Subject::open(sample.dir.path(), Durability::Sync).unwrap();
    let kept = subject.records.clone();
    assert!(kept == sample.records[..sample.records.len() - 3]);
    drop(subject.log);
    // The new header says where the records end, and that all of them are durable.
    let page = Image::of(sample.dir.path()).0[3][..HEADER_PAGE_BYTES].try_into().unwrap();
    let HeaderPage::Used { header, .. } = decode_page(&page) else { panic!("no header") };
    assert_eq!((header.previous_end, header.durable_mark, header.epoch), (torn.0, torn.0, 2));
    flip(&file, torn.0 % SEGMENT_BYTES, 1);
    let (records, report) = survivors(sample.dir.path()).unwrap();
    assert!(records == kept);
    assert_eq!(report.torn_bytes, 0);
}

#[test]
fn bytes_after_a_clean_shutdown() {
    let dir = tempfile::tempdir().unwrap();
    let mut subject = Subject::open(dir.path(), Durability::Sync).unwrap();
    subject.append(b"one");
    subject.wait_for_pool();
    let records = subject.records;
    subject.log.close().unwrap();
    assert!(survivors(dir.path()).unwrap().1.clean_shutdown);
    let path = segment(dir.path(), 0);
    let file = File::options().read(true).write(true).open(path).unwrap();
    flip(&file, SEGMENT_BYTES - 1, 1);
    let (found, report) = survivors(dir.path()).unwrap();
    assert!(found == records);
    assert!(!report.clean_shutdown && report.torn_bytes > 0);
}
