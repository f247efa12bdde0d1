//! Segments that are not where they belong, or not of this log: never a record from them.

use super::super::image::{Image, Random, Records, SEGMENT_BYTES, Subject, survivors};
use super::{Sample, edit_header, sample};
use crate::format::HEADER_PAGE_BYTES;
use crate::{Durability, OpenError, RecoveryReport};

fn outcome(sample: &Sample, image: &Image) -> Result<(Records, RecoveryReport), OpenError> {
    image.write(sample.dir.path());
    let result = survivors(sample.dir.path());
    if result.is_err() {
        assert!(Image::of(sample.dir.path()) == *image, "a refusal changed something");
    }
    result
}

#[track_caller]
fn check_corrupt(sample: &Sample, image: &Image, what: &str) {
    match outcome(sample, image) {
        Err(OpenError::Corrupt { .. }) => {}
        other => panic!("{what}: {:?}", other.map(|(_, report)| report)),
    }
}

/// Other bytes in the place of all records of segment `place`. The last one holds the only marks of
/// its records: that limit is written down.
#[track_caller]
fn check_replaced(sample: &Sample, image: &Image, place: usize, what: &str) {
    if place < 2 {
        return check_corrupt(sample, image, what);
    }
    let (records, report) = outcome(sample, image).unwrap();
    let before = sample.records.iter().filter(|(at, _)| at.0 < 2 * SEGMENT_BYTES).count();
    assert!(records == sample.records[..before], "{what}: a record that is not of this place");
    assert!(report.torn_bytes > 0, "{what}");
}

#[test]
fn segments_in_each_others_place() {
    let sample = sample();
    let used = 3;
    for one in 0..used {
        for other in (0..used).filter(|other| *other != one) {
            let mut image = sample.image.clone();
            image.0.swap(one, other);
            check_corrupt(&sample, &image, &format!("{one} and {other} exchanged"));
            let mut image = sample.image.clone();
            image.0[one] = image.0[other].clone();
            check_corrupt(&sample, &image, &format!("{other} in the place of {one}"));
        }
    }
}

/// A segment of another log of the same shard, which went through the same work.
#[test]
fn a_foreign_segment() {
    let ours = sample();
    let foreign = sample();
    for index in 0..3 {
        let mut image = ours.image.clone();
        image.0[index] = foreign.image.0[index].clone();
        check_corrupt(&ours, &image, &format!("foreign segment {index}"));
        // Only its records, behind our header.
        let mut image = ours.image.clone();
        image.0[index][HEADER_PAGE_BYTES..]
            .copy_from_slice(&foreign.image.0[index][HEADER_PAGE_BYTES..]);
        check_replaced(&ours, &image, index, &format!("records of foreign segment {index}"));
    }
}

/// A file that was used again, with its old bytes still in it.
#[test]
fn stale_bytes_under_another_number() {
    let sample = sample();
    let next = sample.image.0.len() - 1;
    assert!(next > 2 && sample.image.0[next].iter().all(|byte| *byte == 0), "a prepared segment");
    for old in 0..3 {
        // The file as it was: its header tells.
        let mut image = sample.image.clone();
        image.0[next] = image.0[old].clone();
        check_corrupt(&sample, &image, &format!("segment {old} as {next}"));
        // Only its records: no record has a place there, so it is like a torn tail.
        let mut image = sample.image.clone();
        let stale = image.0[old][HEADER_PAGE_BYTES..].to_vec();
        image.0[3][HEADER_PAGE_BYTES..].copy_from_slice(&stale);
        let (records, report) = outcome(&sample, &image).unwrap();
        assert!(records == sample.records, "records of segment {old}");
        assert!(report.torn_bytes > 0);
        // In the place of a segment that was durable they are no records of it.
        for place in (0..3).filter(|place| *place != old) {
            let mut image = sample.image.clone();
            image.0[place][HEADER_PAGE_BYTES..].copy_from_slice(&stale);
            check_replaced(&sample, &image, place, &format!("records of {old} in {place}"));
        }
        // Behind the records of the segment in use they are a torn tail.
        let mut image = sample.image.clone();
        let end = (sample.end.0 % SEGMENT_BYTES) as usize;
        let tail = image.0[old][end..].to_vec();
        image.0[2][end..].copy_from_slice(&tail);
        if old != 2 {
            let (records, report) = outcome(&sample, &image).unwrap();
            assert!(records == sample.records, "the end of segment {old}");
            assert!(report.torn_bytes > 0);
        }
    }
}

/// A segment whose number was used before, by an opening that left nothing to keep: what that one
/// wrote is there, behind the header of the next.
#[test]
fn stale_bytes_of_an_earlier_epoch() {
    let dir = tempfile::tempdir().unwrap();
    let mut random = Random(5);
    let mut subject = Subject::open(dir.path(), Durability::Sync).unwrap();
    for len in [100, 9_000, 40, 16_000] {
        subject.append(&random.payload(len));
        subject.commit_and_wait();
    }
    drop(subject.log);
    let stale = Image::of(dir.path());
    // The same segment, by an opening with the next epoch, and with fewer records.
    let mut image = stale.clone();
    let end = HEADER_PAGE_BYTES as u64;
    edit_header(&mut image, 0, |header| header.epoch += 1);
    image.write(dir.path());
    let (records, report) = survivors(dir.path()).unwrap_or_else(|error| panic!("{error}"));
    assert!(records.is_empty(), "records of an earlier epoch came back");
    assert!(report.torn_bytes > end);
    let subject = Subject::open(dir.path(), Durability::Sync).unwrap();
    assert!(subject.records.is_empty());
    drop(subject.log);
    assert_eq!(survivors(dir.path()).unwrap().1.torn_bytes, 0, "they are wiped");
}
