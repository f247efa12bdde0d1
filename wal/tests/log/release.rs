//! The head of the log: released records go away for good, all others stay.

use tickwheel_wal::{Durability, Log, Lsn, OpenError, ReadError};

use crate::fixture::{Fixture, Records, SEGMENT_BYTES, payload};

/// Appends records until the log is in segment `index`.
fn fill_to(fixture: &Fixture, log: &mut Log, index: u64) -> Records {
    let mut records = Records::new();
    while log.appended().0 / SEGMENT_BYTES < index {
        let bytes = payload(records.len(), 5000);
        let appended = fixture.append(log, &bytes);
        records.push((appended.lsn, bytes));
        log.commit();
    }
    records
}

/// Waits until the log begins at segment `index`.
fn wait_for_head(fixture: &Fixture, log: &mut Log, index: u64) {
    fixture.notices.wait_until("head", || {
        log.commit();
        log.head() == Lsn(index * SEGMENT_BYTES)
    });
}

fn from_segment(records: &Records, index: u64) -> Records {
    records.iter().filter(|(lsn, _)| lsn.0 >= index * SEGMENT_BYTES).cloned().collect()
}

#[test]
fn released_records_are_gone_and_the_others_stay() {
    for durability in [Durability::Sync, Durability::Interval(std::time::Duration::from_millis(5))]
        .into_iter()
        .chain([Durability::Os])
    {
        let fixture = Fixture::new();
        let options = || fixture.options().durability(durability);
        let (mut log, _) = fixture.try_open(options()).unwrap();
        let records = fill_to(&fixture, &mut log, 4);
        let held = log.read(records[0].0).unwrap();
        let handle = log.locate(records[1].0).unwrap();
        let before = log.appended();
        // Rounded down to the start of a segment.
        log.release(Lsn(3 * SEGMENT_BYTES - 8)).unwrap();
        assert!(log.head() == Lsn(0) || log.durable() > before, "not before it is durable");
        wait_for_head(&fixture, &mut log, 2);
        assert_eq!(log.stats().segments, 3);
        for (lsn, bytes) in &records {
            match log.read(*lsn) {
                Ok(read) => assert_eq!(&*read, &bytes[..]),
                Err(ReadError::OutOfRange { .. }) => assert!(lsn.0 < 2 * SEGMENT_BYTES),
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(&*held, &records[0].1[..], "whoever holds a record keeps it");
        assert_eq!(&*handle.load().unwrap(), &records[1].1[..]);
        // Once more, and to where it is already.
        log.release(Lsn(0)).unwrap();
        log.release(Lsn(2 * SEGMENT_BYTES)).unwrap();
        drop(log);

        let (mut log, replayed) = fixture.try_open(options()).unwrap();
        assert!(replayed == from_segment(&records, 2), "{durability}: {}", replayed.len());
        assert_eq!(log.recovery().head, Lsn(2 * SEGMENT_BYTES));
        // A release never reaches beyond the segment in use.
        fixture.append(&mut log, b"last");
        let in_use = log.appended().0 / SEGMENT_BYTES;
        log.release(Lsn(u64::MAX)).unwrap();
        wait_for_head(&fixture, &mut log, in_use);
        log.close().unwrap();
        let (log, replayed) = fixture.try_open(options()).unwrap();
        assert_eq!(replayed.len(), 1);
        assert_eq!(log.head().0 / SEGMENT_BYTES, in_use);
    }
}

#[test]
fn a_log_that_is_released_as_it_grows_keeps_its_size() {
    let fixture = Fixture::new();
    let (mut log, _) = fixture.open();
    let mut files_max = 0;
    for index in 1..40 {
        fill_to(&fixture, &mut log, index);
        log.release(log.appended()).unwrap();
        wait_for_head(&fixture, &mut log, index);
        fixture.wait_for_pool(&log);
        files_max = files_max.max(fixture.segments().len());
    }
    // The one in use, two ready, two spares, and those that are being put away.
    assert!(files_max <= 6, "{files_max}");
    let records = fill_to(&fixture, &mut log, 40);
    drop(log);
    let (log, replayed) = fixture.open();
    assert_eq!(replayed[replayed.len() - records.len()..], records[..]);
    assert_eq!(log.recovery().torn_bytes, 0, "a file that is used again holds nothing old");
}

#[test]
fn a_missing_head_is_no_release() {
    let fixture = Fixture::new();
    let (mut log, _) = fixture.open();
    fill_to(&fixture, &mut log, 4);
    log.release(Lsn(SEGMENT_BYTES)).unwrap();
    wait_for_head(&fixture, &mut log, 1);
    fixture.wait_for_pool(&log);
    log.close().unwrap();
    for count in 1..3 {
        let index = count;
        let aside = fixture.dir().join("aside");
        std::fs::rename(fixture.segment(index), &aside).unwrap();
        let before = fixture.segments();
        match fixture.refusal() {
            OpenError::Corrupt { path, .. } => assert_eq!(path, fixture.segment(index)),
            other => panic!("{other}"),
        }
        assert_eq!(fixture.segments(), before);
        std::fs::rename(&aside, fixture.segment(index)).unwrap();
    }
    fixture.open();
}

/// A crash between the proof of a release and the end of its work leaves files behind.
#[test]
fn what_a_crash_leaves_of_a_release_is_removed() {
    let fixture = Fixture::new();
    let (mut log, _) = fixture.open();
    let records = fill_to(&fixture, &mut log, 4);
    log.commit();
    let old: Vec<_> = fixture.segments();
    log.release(Lsn(3 * SEGMENT_BYTES)).unwrap();
    wait_for_head(&fixture, &mut log, 3);
    fixture.wait_for_pool(&log);
    drop(log);
    let image = fixture.segments();
    // Any of the released files may be there, whole or with its header wiped.
    for kept in 0..27_u32 {
        for (path, _) in fixture.segments() {
            std::fs::remove_file(path).unwrap();
        }
        for (path, bytes) in &image {
            std::fs::write(path, bytes).unwrap();
        }
        let fates = [kept % 3, kept / 3 % 3, kept / 9];
        for (index, fate) in fates.into_iter().enumerate() {
            let mut bytes = old[index].1.clone();
            match fate {
                0 => {
                    let _ = std::fs::remove_file(&old[index].0);
                    continue;
                }
                1 => {}
                _ => bytes[..4096].fill(0),
            }
            std::fs::write(&old[index].0, bytes).unwrap();
        }
        let (log, replayed) = fixture.open();
        let expected = from_segment(&records, 3);
        assert!(replayed[replayed.len() - expected.len()..] == expected[..], "{fates:?}");
        assert_eq!(log.head(), Lsn(3 * SEGMENT_BYTES));
        assert!((0..3).all(|index| !fixture.segment(index).exists()), "{fates:?}");
    }
}

#[test]
fn the_walk_finds_all_records() {
    let fixture = Fixture::new();
    let (mut log, _) = fixture.open();
    let records = fill_to(&fixture, &mut log, 3);
    let walk = |log: &Log| {
        let mut found = Records::new();
        let mut at = Lsn(0);
        while let Some(walked) = log.next_record(at).unwrap() {
            found.push((walked.lsn, walked.record.to_vec()));
            assert_eq!(walked.end.0 - walked.lsn.0, Log::record_bytes(walked.record.len()));
            at = walked.end;
        }
        found
    };
    assert!(walk(&log) == records);
    fixture.notices.wait_until("warmth", || log.warm(Lsn(SEGMENT_BYTES)).unwrap());
    assert!(matches!(log.warm(Lsn(99 * SEGMENT_BYTES)), Err(ReadError::OutOfRange { .. })));
    log.release(Lsn(2 * SEGMENT_BYTES)).unwrap();
    wait_for_head(&fixture, &mut log, 2);
    assert!(walk(&log) == from_segment(&records, 2));
    drop(log);
    let (log, _) = fixture.open();
    assert!(walk(&log) == from_segment(&records, 2));
}

#[test]
fn a_log_that_fits_no_release_says_so() {
    let fixture = Fixture::new();
    let (mut log, _) = fixture.open();
    fill_to(&fixture, &mut log, 2);
    fixture.wait_for_pool(&log);
    let reservation = log.reserve(log.available_bytes() - 2 * Log::COMMIT_BYTES).unwrap();
    log.release(Lsn(SEGMENT_BYTES)).unwrap_err();
    log.free(reservation);
    log.release(Lsn(SEGMENT_BYTES)).unwrap();
}
