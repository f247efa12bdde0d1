//! Damage to a log that has released its head: the same promises, and what was released stays so.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use super::super::image::{Random, Records, SEGMENT_BYTES, Subject, segment, survivors};
use super::flip;
use crate::format::HEADER_PAGE_BYTES;
use crate::{Durability, Log, Lsn, OpenError};

/// Where the log begins, as a segment.
const HEAD: u64 = 2;

/// A log of five segments, 2 to 6. The first release is durable and stands in the headers of the
/// last two; a second one was appended after the last sync.
struct Sample {
    dir: tempfile::TempDir,
    files: Vec<(u64, Vec<u8>)>,
    /// From the head on.
    records: Records,
    /// Highest durable mark in the files.
    mark: Lsn,
    /// Where the proof of the second release ends.
    second: Lsn,
    end: Lsn,
}

fn fill_to(subject: &mut Subject, random: &mut Random, index: u64) {
    while subject.log.appended().0 / SEGMENT_BYTES < index {
        let payload = random.payload(15_000);
        subject.append(&payload);
        subject.commit_and_wait();
    }
}

fn sample() -> Sample {
    let dir = tempfile::tempdir().unwrap();
    let mut random = Random(77);
    // The first opening ends in segment 1, so that there is an end without a seal.
    let mut subject = Subject::open(dir.path(), Durability::Sync).unwrap();
    fill_to(&mut subject, &mut random, 1);
    subject.append(b"the last of its opening");
    subject.log.close().unwrap();
    let mut subject = Subject::open(dir.path(), Durability::Sync).unwrap();
    fill_to(&mut subject, &mut random, 4);
    subject.log.release(Lsn(HEAD * SEGMENT_BYTES)).unwrap();
    while subject.log.head() < Lsn(HEAD * SEGMENT_BYTES) {
        subject.commit_and_wait();
    }
    fill_to(&mut subject, &mut random, 5);
    subject.log.close().unwrap();
    // The first sync comes at once, the next after an hour.
    let mode = Durability::Interval(Duration::from_secs(3600));
    let mut subject = Subject::open(dir.path(), mode).unwrap();
    subject.append(b"durable");
    let mark = subject.commit_and_wait();
    assert!(subject.log.mark_idle());
    subject.append(b"not durable");
    subject.wait_for_pool();
    subject.log.release(Lsn((HEAD + 1) * SEGMENT_BYTES)).unwrap();
    // A commit record follows the proof at once.
    let second = Lsn(subject.log.appended().0 - Log::COMMIT_BYTES);
    subject.append(b"after the second release");
    let end = subject.log.appended();
    assert_eq!(subject.log.durable(), mark);
    let records: Records =
        subject.records.into_iter().filter(|(at, _)| at.0 >= HEAD * SEGMENT_BYTES).collect();
    drop(subject.log);
    // A spare of the release may be there; it is no part of the log.
    for index in 0..HEAD {
        let _ = std::fs::remove_file(segment(dir.path(), index));
    }
    let files =
        (HEAD..).map_while(|index| Some((index, std::fs::read(segment(dir.path(), index)).ok()?)));
    let files = files.collect();
    Sample { dir, files, records, mark, second, end }
}

impl Sample {
    fn since(&self, index: u64) -> Records {
        self.records.iter().filter(|(at, _)| at.0 >= index * SEGMENT_BYTES).cloned().collect()
    }

    /// What may come back: from the head that is proven, all that was durable, and a prefix.
    fn check_survivors(&self, records: &Records, head: Lsn, what: &str) {
        let first = head.0 / SEGMENT_BYTES;
        assert!(first == HEAD || first == HEAD + 1, "{what}: {head}");
        let expected = self.since(first);
        assert!(records.len() <= expected.len(), "{what}");
        assert!(*records == expected[..records.len()], "{what}");
        let needed = if first == HEAD { self.mark } else { self.second };
        let durable = expected.iter().filter(|(at, _)| *at < needed).count();
        assert!(records.len() >= durable, "{what}: {} of {durable}", records.len());
    }

    fn check(&self, lsn: u64, what: &str) {
        let offset = (lsn % SEGMENT_BYTES) as usize;
        let is_header = offset < HEADER_PAGE_BYTES;
        let is_copy = is_header && offset % 2048 < 128;
        match survivors(self.dir.path()) {
            Ok((records, report)) => {
                self.check_survivors(&records, report.head, what);
                // The first segment counts no more if the second release is proven.
                let is_released = lsn < report.head.0;
                let is_durable = lsn < self.mark.0 && !is_header && !self.is_unused(lsn);
                assert!(is_released || !is_durable, "{what}: not noticed");
                if is_copy && !is_released && lsn < self.end.0 {
                    assert!(!report.warnings.is_empty(), "{what}");
                }
            }
            Err(OpenError::Corrupt { .. }) => {
                assert!(!is_copy || lsn > self.end.0, "{what}");
                assert!(is_header || lsn < self.mark.0, "{what}: that is only the tail");
            }
            Err(other) => panic!("{what}: {other}"),
        }
    }

    /// Whether the byte lies behind the records of its segment.
    fn is_unused(&self, lsn: u64) -> bool {
        let next = lsn / SEGMENT_BYTES + 1;
        let Some((_, bytes)) = self.files.iter().find(|(index, _)| *index == next) else {
            return true;
        };
        let previous_end = u64::from_le_bytes(bytes[56..64].try_into().unwrap());
        previous_end != 0 && lsn >= previous_end
    }
}

#[test]
fn flipped_bits_of_a_released_log() {
    let sample = sample();
    sample.check_survivors(
        &survivors(sample.dir.path()).unwrap().0,
        Lsn((HEAD + 1) * SEGMENT_BYTES),
        "without damage",
    );
    for (index, bytes) in &sample.files {
        let path = segment(sample.dir.path(), *index);
        let file = File::options().read(true).write(true).open(path).unwrap();
        for offset in 0..bytes.len() as u64 {
            let lsn = index * SEGMENT_BYTES + offset;
            let near_record = |at: u64| (at..at + 24).contains(&lsn);
            let has_structure = offset % 2048 < 128 && offset < 4096
                || sample.records.iter().any(|(at, payload)| {
                    near_record(at.0) || near_record(at.0 + Log::record_bytes(payload.len()))
                })
                || (sample.mark.0..sample.end.0 + 30).contains(&lsn);
            if has_structure {
                for bit in [offset % 8, (offset + 3) % 8] {
                    flip(&file, offset, 1 << bit);
                    sample.check(lsn, &format!("segment {index} offset {offset} bit {bit}"));
                    flip(&file, offset, 1 << bit);
                }
            } else if offset % 331 == 0 {
                flip(&file, offset, 1 << (offset % 8));
                sample.check(lsn, &format!("segment {index} offset {offset}"));
                flip(&file, offset, 1 << (offset % 8));
            }
        }
    }
}

/// The tail with the second release in it, cut off at every byte.
#[test]
fn every_torn_tail_of_a_released_log() {
    let sample = sample();
    let (index, last) = &sample.files[4];
    assert_eq!(*index, sample.end.0 / SEGMENT_BYTES);
    let mut heads = [0, 0];
    for cut in sample.mark.0..=sample.end.0 {
        let mut torn = last.clone();
        torn[(cut % SEGMENT_BYTES) as usize..].fill(0);
        std::fs::write(segment(sample.dir.path(), *index), &torn).unwrap();
        let what = format!("cut at {cut}");
        let (records, report) =
            survivors(sample.dir.path()).unwrap_or_else(|error| panic!("{what}: {error}"));
        sample.check_survivors(&records, report.head, &what);
        let is_proven = report.head == Lsn((HEAD + 1) * SEGMENT_BYTES);
        // The last bytes of the proof are zero anyway.
        assert!(is_proven || cut < sample.second.0, "{what}");
        assert!(!is_proven || cut + 8 > sample.second.0, "{what}");
        heads[usize::from(is_proven)] += 1;
    }
    assert!(heads.iter().all(|count| *count > 5), "{heads:?}");
}

/// Any of the released files may still be there, whole, wiped, or damaged.
#[test]
fn what_was_released_cannot_do_harm() {
    let dir = tempfile::tempdir().unwrap();
    let mut random = Random(78);
    let mut subject = Subject::open(dir.path(), Durability::Sync).unwrap();
    fill_to(&mut subject, &mut random, 1);
    subject.append(b"the last of its opening");
    subject.log.close().unwrap();
    let mut subject = Subject::open(dir.path(), Durability::Sync).unwrap();
    fill_to(&mut subject, &mut random, 4);
    subject.wait_for_pool();
    let old: Vec<Vec<u8>> =
        (0..3).map(|index| std::fs::read(segment(dir.path(), index)).unwrap()).collect();
    subject.log.release(Lsn(3 * SEGMENT_BYTES)).unwrap();
    while subject.log.head() < Lsn(3 * SEGMENT_BYTES) {
        subject.commit_and_wait();
    }
    subject.commit_and_wait();
    subject.wait_for_pool();
    let expected: Records =
        subject.records.iter().filter(|(at, _)| at.0 >= 3 * SEGMENT_BYTES).cloned().collect();
    drop(subject.log);
    for round in 0..4_u64.pow(3) {
        let fates = [round % 4, round / 4 % 4, round / 16];
        for (index, fate) in fates.into_iter().enumerate() {
            lay(dir.path(), index as u64, &old[index], fate, &mut random);
        }
        let (records, report) =
            survivors(dir.path()).unwrap_or_else(|error| panic!("{fates:?}: {error}"));
        assert!(records == expected, "{fates:?}");
        assert_eq!(report.head, Lsn(3 * SEGMENT_BYTES), "{fates:?}");
    }
}

fn lay(dir: &Path, index: u64, old: &[u8], fate: u64, random: &mut Random) {
    let path = segment(dir, index);
    let mut bytes = old.to_vec();
    match fate {
        0 => return std::fs::remove_file(path).unwrap_or_default(),
        1 => {}
        2 => bytes[..HEADER_PAGE_BYTES].fill(0),
        _ => {
            let at = HEADER_PAGE_BYTES as u64 + random.below(20_000);
            bytes[at as usize] ^= 1 << random.below(8);
        }
    }
    std::fs::write(path, bytes).unwrap();
}
