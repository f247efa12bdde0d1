//! Segments that are used again with the bytes of an earlier one: what is left there is never taken
//! for records, for a crash or for damage, and hides neither.

use std::fs::File;
use std::ops::ControlFlow;
use std::path::Path;

use super::super::image::{Random, Records, SEGMENT_BYTES, Subject, segment, survivors};
use super::flip;
use crate::format::{HEADER_PAGE_BYTES, HeaderPage, Rest, decode_page};
use crate::inspect::LogFiles;
use crate::{Durability, Lsn, OpenError};

const SECTOR_BYTES: usize = 512;
/// All records are alike, so that those of an earlier use begin where new ones do.
const PAYLOAD_BYTES: usize = 700;
/// Segments until one must have been used again.
const SEGMENTS_MAX: u64 = 40;

fn rest_of(bytes: &[u8]) -> Option<Rest> {
    match decode_page(bytes.first_chunk::<HEADER_PAGE_BYTES>().unwrap()) {
        HeaderPage::Used { header, .. } => Some(header.rest),
        _ => None,
    }
}

fn append_one(subject: &mut Subject, random: &mut Random) {
    let payload = random.payload(PAYLOAD_BYTES);
    subject.append(&payload);
}

/// Works and releases until the next segment is one that was used before. The log is at the end of
/// its segment then.
fn before_stale(dir: &Path, random: &mut Random) -> (Subject, u64) {
    let mut subject = Subject::open(dir, Durability::Sync).unwrap();
    for next in 1..SEGMENTS_MAX {
        let in_use = |subject: &Subject| subject.log.appended().0 / SEGMENT_BYTES;
        while subject.log.appended().0 + 3 * PAYLOAD_BYTES as u64 <= next * SEGMENT_BYTES {
            append_one(&mut subject, random);
            subject.commit_and_wait();
        }
        subject.wait_for_pool();
        let ready = std::fs::read(segment(dir, next)).unwrap();
        if ready.iter().any(|byte| *byte != 0) {
            assert!(ready[..HEADER_PAGE_BYTES].iter().all(|byte| *byte == 0));
            return (subject, next);
        }
        while in_use(&subject) < next {
            append_one(&mut subject, random);
            subject.commit_and_wait();
        }
        let head = subject.log.appended();
        subject.log.release(head).unwrap();
        while subject.log.head() < Lsn(next * SEGMENT_BYTES) {
            subject.commit_and_wait();
        }
    }
    panic!("no segment was used again");
}

#[test]
fn a_closed_log_of_stale_segments_is_clean() {
    let dir = tempfile::tempdir().unwrap();
    let mut random = Random(5);
    let (mut subject, index) = before_stale(dir.path(), &mut random);
    while subject.log.appended().0 < index * SEGMENT_BYTES + 20_000 {
        append_one(&mut subject, &mut random);
        subject.commit_and_wait();
    }
    let head = subject.log.head();
    let records: Records = subject.records.into_iter().filter(|(at, _)| *at >= head).collect();
    subject.log.close().unwrap();
    let last = std::fs::read(segment(dir.path(), index)).unwrap();
    assert_eq!(rest_of(&last), Some(Rest::Stale));
    assert!(last[40_000..].iter().any(|byte| *byte != 0), "nothing is left of the earlier use");

    let (found, report) = survivors(dir.path()).unwrap();
    assert!(found == records);
    assert!(report.clean_shutdown && report.warnings.is_empty(), "{report:?}");
    assert_eq!(report.torn_bytes, 0);
    let files = LogFiles::lock(dir.path()).unwrap();
    let verdict = files.verify(&mut |_| {}).unwrap();
    assert!(verdict.is_clean(), "{verdict:?}");
    let survey = files.walk(Lsn(0), &mut |_| ControlFlow::Continue(())).unwrap();
    assert!(survey.clean_shutdown && survey.damage.is_empty(), "{survey:?}");
    assert_eq!((survey.torn_bytes, survey.end), (0, verdict.end));
    drop(files);
    // It goes on, and what it wrote comes back.
    let mut subject = Subject::open(dir.path(), Durability::Sync).unwrap();
    subject.append(b"today");
    subject.log.close().unwrap();
    assert_eq!(survivors(dir.path()).unwrap().0.len(), records.len() + 1);
}

/// A log whose last segment was used before, with records above its last durable mark.
struct Sample {
    dir: tempfile::TempDir,
    index: u64,
    /// The segment before its first record.
    before: Vec<u8>,
    after: Vec<u8>,
    /// From the head on.
    records: Records,
    /// The records below are durable.
    durable: u64,
    /// Highest durable mark in the file.
    mark: u64,
    end: u64,
}

fn sample(seed: u64) -> Sample {
    let dir = tempfile::tempdir().unwrap();
    let mut random = Random(seed);
    let (mut subject, index) = before_stale(dir.path(), &mut random);
    let before = std::fs::read(segment(dir.path(), index)).unwrap();
    while subject.log.appended().0 < index * SEGMENT_BYTES + 20_000 {
        append_one(&mut subject, &mut random);
        subject.commit_and_wait();
    }
    let mark = subject.log.durable().0;
    assert!(subject.log.mark_idle());
    let durable = subject.commit_and_wait().0;
    for _ in 0..6 {
        append_one(&mut subject, &mut random);
    }
    let (head, end) = (subject.log.head(), subject.log.appended().0);
    let records = subject.records.into_iter().filter(|(at, _)| *at >= head).collect();
    drop(subject.log);
    let after = std::fs::read(segment(dir.path(), index)).unwrap();
    assert_eq!(rest_of(&after), Some(Rest::Stale));
    Sample { dir, index, before, after, records, durable, mark, end }
}

impl Sample {
    fn start(&self) -> u64 {
        self.index * SEGMENT_BYTES
    }

    /// Opens the log with these bytes in its last segment.
    fn open_with(&self, bytes: &[u8]) -> Result<usize, OpenError> {
        std::fs::write(segment(self.dir.path(), self.index), bytes).unwrap();
        let (records, report) = survivors(self.dir.path())?;
        assert!(records == self.records[..records.len()], "not the start of the log");
        assert!(!report.clean_shutdown);
        Ok(records.len())
    }

    fn durable_count(&self) -> usize {
        self.records.iter().filter(|(at, _)| at.0 < self.durable).count()
    }
}

/// The disk has lost one write, or all of the header: what stands there is of the earlier use.
#[test]
fn a_lost_write_shows_what_was_there_before_and_is_noticed() {
    let sample = sample(6);
    assert_eq!(sample.open_with(&sample.after).unwrap(), sample.records.len());
    for from in (HEADER_PAGE_BYTES..sample.after.len()).step_by(SECTOR_BYTES) {
        let sector = from..from + SECTOR_BYTES;
        let mut bytes = sample.after.clone();
        bytes[sector.clone()].copy_from_slice(&sample.before[sector]);
        let opened = sample.open_with(&bytes);
        if bytes == sample.after {
            assert_eq!(opened.unwrap(), sample.records.len());
        } else if sample.start() + ((from + SECTOR_BYTES) as u64) <= sample.mark {
            assert!(matches!(opened, Err(OpenError::Corrupt { .. })), "at {from}: {opened:?}");
            let files = LogFiles::lock(sample.dir.path()).unwrap();
            let verdict = files.verify(&mut |_| {}).unwrap();
            assert!(verdict.is_damaged(), "at {from}");
        } else if sample.start() + (from as u64) >= sample.durable {
            assert!(opened.unwrap() >= sample.durable_count(), "at {from}");
        }
        // Between the two lies the sector of the mark itself, which cannot vouch for itself.
    }
    let mut bytes = sample.after.clone();
    bytes[..HEADER_PAGE_BYTES].fill(0);
    let opened = sample.open_with(&bytes);
    assert!(matches!(opened, Err(OpenError::Corrupt { .. })), "{opened:?}");
}

/// A power cut while the segment is written leaves any of its new sectors.
#[test]
fn any_sectors_of_a_stale_segment_may_survive() {
    for seed in 10..14 {
        let sample = sample(seed);
        let mut random = Random(seed);
        let durable = (sample.durable - sample.start()) as usize;
        for attempt in 0..60 {
            let old_of_16 = random.below(17);
            let mut bytes = sample.after.clone();
            for from in (0..bytes.len()).step_by(SECTOR_BYTES) {
                let sector = from..from + SECTOR_BYTES;
                if from >= durable && random.below(16) < old_of_16 {
                    bytes[sector.clone()].copy_from_slice(&sample.before[sector]);
                }
            }
            let count = sample.open_with(&bytes).unwrap_or_else(|e| panic!("{attempt}: {e}"));
            assert!(count >= sample.durable_count(), "seed {seed} attempt {attempt}");
        }
        // Nothing at all of it.
        let count = sample.open_with(&sample.before);
        assert!(count.is_ok(), "{count:?}");
    }
}

#[test]
fn flips_behind_the_records_do_no_harm() {
    let sample = sample(7);
    let path = segment(sample.dir.path(), sample.index);
    std::fs::write(&path, &sample.after).unwrap();
    let file = File::options().read(true).write(true).open(&path).unwrap();
    for offset in (sample.end - sample.start()..SEGMENT_BYTES).step_by(61) {
        flip(&file, offset, 1 << (offset % 8));
        let (records, _) = survivors(sample.dir.path()).unwrap();
        assert!(records == sample.records, "at {offset}");
        flip(&file, offset, 1 << (offset % 8));
    }
}
