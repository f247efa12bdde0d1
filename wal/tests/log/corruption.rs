//! Damage that is not a torn tail: it is named, and nothing on the disk is changed.

use tickwheel_wal::{Log, Lsn, OpenError};

use crate::fixture::{Fixture, SEGMENT_BYTES, edit, payload};

/// A log of several full segments, closed, whose directory does not change any more.
fn closed_log(fixture: &Fixture) -> Vec<Lsn> {
    let (mut log, _) = fixture.open();
    let mut positions = Vec::new();
    for number in 0..40 {
        positions.push(fixture.append(&mut log, &payload(number, 6000)).lsn);
        log.commit();
    }
    fixture.wait_for_pool(&log);
    assert!(log.stats().segments >= 4);
    log.close().unwrap();
    positions
}

/// The log is refused as corrupt at `lsn`, and its files stay as they are.
fn check_corrupt(fixture: &Fixture, what: &str, lsn: Lsn, expected_reason: &str) {
    let before = fixture.segments();
    match fixture.refusal() {
        OpenError::Corrupt { path, lsn: at, offset, reason, durable_mark } => {
            assert_eq!(at, lsn, "{what}: {reason}");
            assert_eq!(path, fixture.segment(lsn.0 / SEGMENT_BYTES), "{what}");
            assert_eq!(offset, lsn.0 % SEGMENT_BYTES, "{what}");
            assert!(reason.contains(expected_reason), "{what}: {reason}");
            assert!(offset == 0 || durable_mark > lsn, "{what}");
        }
        other => panic!("{what}: {other}"),
    }
    assert_eq!(fixture.segments(), before, "{what}");
}

fn start_of(segment: u64) -> Lsn {
    Lsn(segment * SEGMENT_BYTES)
}

#[test]
fn a_flipped_bit_is_named() {
    let fixture = Fixture::new();
    let positions = closed_log(&fixture);
    for (number, offset, reason) in [
        (3, 0, "checksum of the record header"),
        (3, 9, "checksum of the record header"),
        (10, 16, "checksum of the payload"),
        (25, 3000, "checksum of the payload"),
        (positions.len() - 1, 20, "checksum of the payload"),
    ] {
        let lsn = positions[number];
        let path = fixture.segment(lsn.0 / SEGMENT_BYTES);
        let at = (lsn.0 % SEGMENT_BYTES) as usize + offset;
        edit(&path, |bytes| bytes[at] ^= 0x10);
        check_corrupt(&fixture, &format!("record {number} byte {offset}"), lsn, reason);
        edit(&path, |bytes| bytes[at] ^= 0x10);
    }
    fixture.open();
}

#[test]
fn a_later_record_without_an_earlier_one() {
    let fixture = Fixture::new();
    let positions = closed_log(&fixture);
    // A whole record is gone, as if its sectors had never been written.
    let lsn = positions[12];
    let at = (lsn.0 % SEGMENT_BYTES) as usize;
    edit(&fixture.segment(lsn.0 / SEGMENT_BYTES), |bytes| {
        bytes[at..at + Log::record_bytes(6000) as usize].fill(0);
    });
    check_corrupt(&fixture, "a hole", lsn, "no record");
}

#[test]
fn a_missing_segment() {
    let fixture = Fixture::new();
    let positions = closed_log(&fixture);
    let last_used = positions.last().unwrap().0 / SEGMENT_BYTES;
    for index in 0..=last_used {
        let path = fixture.segment(index);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        check_corrupt(&fixture, &format!("segment {index}"), start_of(index), "missing");
        std::fs::write(&path, bytes).unwrap();
    }
    // Also with everything after it.
    for (path, _) in fixture.segments().split_off(last_used as usize) {
        std::fs::remove_file(path).unwrap();
    }
    check_corrupt(&fixture, "the end", start_of(last_used), "missing");
}

#[test]
fn swapped_segments() {
    let fixture = Fixture::new();
    closed_log(&fixture);
    let [first, second] = [1, 2].map(|index| fixture.segment(index));
    let bytes = std::fs::read(&first).unwrap();
    std::fs::copy(&second, &first).unwrap();
    std::fs::write(&second, bytes).unwrap();
    check_corrupt(&fixture, "swapped", start_of(1), "holds segment 2");
}

#[test]
fn a_foreign_segment() {
    let fixture = Fixture::new();
    closed_log(&fixture);
    let other = Fixture::new();
    closed_log(&other);
    for (index, found_at) in [(2, 2), (0, 1)] {
        let path = fixture.segment(index);
        let own = std::fs::read(&path).unwrap();
        std::fs::copy(other.segment(index), &path).unwrap();
        let what = format!("foreign segment {index}");
        check_corrupt(&fixture, &what, start_of(found_at), "another log");
        std::fs::write(&path, own).unwrap();
    }
}

#[test]
fn an_older_copy_of_a_segment() {
    let fixture = Fixture::new();
    let (mut log, _) = fixture.open();
    fixture.append(&mut log, b"one");
    let published = log.commit();
    fixture.wait_durable(&log, published);
    let older = std::fs::read(fixture.segment(0)).unwrap();
    let second = fixture.append(&mut log, b"two");
    log.close().unwrap();
    let (log, _) = fixture.open();
    log.close().unwrap();
    std::fs::write(fixture.segment(0), older).unwrap();
    check_corrupt(&fixture, "an older copy", second.lsn, "no record");
}

#[test]
fn a_wrong_length() {
    let fixture = Fixture::new();
    closed_log(&fixture);
    for (index, len) in [(0, 5000), (1, 0), (2, SEGMENT_BYTES - 1), (2, SEGMENT_BYTES + 8)] {
        let path = fixture.segment(index);
        let own = std::fs::read(&path).unwrap();
        edit(&path, |bytes| bytes.resize(len as usize, 0));
        check_corrupt(&fixture, &format!("{len} bytes"), start_of(index), "bytes instead of");
        std::fs::write(&path, own).unwrap();
    }
}

#[test]
fn header_pages() {
    let fixture = Fixture::new();
    closed_log(&fixture);
    let path = fixture.segment(1);
    let own = std::fs::read(&path).unwrap();
    let restore = || std::fs::write(&path, &own).unwrap();
    edit(&path, |bytes| {
        bytes[40] ^= 1;
        bytes[2048 + 60] ^= 1;
    });
    check_corrupt(&fixture, "both copies", start_of(1), "neither copy");
    restore();
    edit(&path, |bytes| bytes[500] = 1);
    check_corrupt(&fixture, "the rest", start_of(1), "not zero");
    restore();
    edit(&path, |bytes| bytes[..4096].fill(0));
    check_corrupt(&fixture, "no header", start_of(1), "no header");
    restore();
    // One copy is enough, but it is told.
    edit(&path, |bytes| bytes[70] ^= 1);
    let (log, _) = fixture.open();
    let warnings = &log.recovery().warnings;
    assert!(warnings.len() == 1 && warnings[0].contains("copy 0"), "{warnings:?}");
}

#[test]
fn a_lone_segment_without_its_header() {
    let fixture = Fixture::new();
    let (mut log, _) = fixture.try_open(fixture.options().ready_segments(1)).unwrap();
    fixture.append(&mut log, b"one");
    fixture.wait_for_pool(&log);
    log.close().unwrap();
    edit(&fixture.segment(0), |bytes| bytes[..4096].fill(0));
    check_corrupt(&fixture, "no header at all", Lsn(0), "no header");
}

#[test]
fn bytes_after_a_seal_are_told() {
    let fixture = Fixture::new();
    closed_log(&fixture);
    edit(&fixture.segment(1), |bytes| *bytes.last_mut().unwrap() = 1);
    let (log, replayed) = fixture.open();
    assert_eq!(replayed.len(), 40);
    let warnings = &log.recovery().warnings;
    assert!(warnings.len() == 1 && warnings[0].contains("after the seal"), "{warnings:?}");
}
