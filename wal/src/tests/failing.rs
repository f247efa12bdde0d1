//! A full disk and a failing disk: refused or stopped, and nothing durable is lost.

use super::faulty::{Faults, open_faulty};
use super::image::{Image, Random, SEGMENT_BYTES, Subject, segment, survivors};
use crate::sync::Ordering;
use crate::{AppendError, CloseError, Durability, OpenError, Shortage};

/// Fills the log until it refuses, and returns the error.
fn fill(subject: &mut Subject, payload: &[u8]) -> AppendError {
    loop {
        let promised = subject.log.available_bytes();
        match subject.log.append(&[payload]) {
            Ok(appended) => subject.records.push((appended.lsn, payload.to_vec())),
            Err(AppendError::SegmentNotReady) => {
                subject.wait("word of the disk", |log| {
                    log.stats().ready_segments > 0
                        || matches!(log.shortage(), Some(Shortage::NoSpace { .. }))
                });
            }
            Err(error) => {
                assert!(promised < crate::Log::record_bytes(payload.len()));
                return error;
            }
        }
    }
}

fn check_full_disk(no_reservation: bool) {
    let dir = tempfile::tempdir().unwrap();
    let faults = Faults::none();
    faults.no_reservation.store(no_reservation, Ordering::SeqCst);
    let mut subject = open_faulty(dir.path(), &faults).unwrap();
    subject.wait_for_pool();
    faults.space_bytes.store(SEGMENT_BYTES / 2, Ordering::SeqCst);
    let payload = Random(1).payload(3000);
    let error = fill(&mut subject, &payload);
    assert!(matches!(&error, AppendError::NoSpace { message } if message.contains(".seg")));
    match subject.log.shortage() {
        Some(Shortage::NoSpace { message }) => assert!(message.contains("No space"), "{message}"),
        other => panic!("{other:?}"),
    }
    assert!(!segment(dir.path(), 3).exists(), "the partial file is removed");
    // What is there still becomes durable, and its mark fits.
    subject.commit_and_wait();
    assert!(subject.log.mark_idle());
    assert_eq!(subject.log.failure(), None);

    faults.space_bytes.store(u64::MAX, Ordering::SeqCst);
    subject.wait_for_pool();
    faults.space_bytes.store(0, Ordering::SeqCst);
    subject.append(&payload);
    fill(&mut subject, &payload);
    subject.log.close().unwrap();
    let again = Subject::open(dir.path(), Durability::Sync);
    assert_eq!(again.unwrap().records, subject.records);
}

#[test]
fn a_full_disk_that_reserves() {
    check_full_disk(false);
}

#[test]
fn a_full_disk_that_does_not_reserve() {
    check_full_disk(true);
}

#[test]
fn a_log_does_not_open_on_a_full_disk_and_keeps_its_records() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Faults::none();
    let mut subject = open_faulty(dir.path(), &faults).unwrap();
    subject.append(b"one");
    subject.wait_for_pool();
    drop(subject.log);
    for index in [1, 2] {
        std::fs::remove_file(segment(dir.path(), index)).unwrap();
    }
    faults.space_bytes.store(1000, Ordering::SeqCst);
    let error = open_faulty(dir.path(), &faults).err().unwrap();
    assert!(error.to_string().contains("No space"), "{error}");
    faults.space_bytes.store(u64::MAX, Ordering::SeqCst);
    assert_eq!(open_faulty(dir.path(), &faults).unwrap().records, subject.records);
}

#[test]
fn a_failed_sync_poisons_the_log_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Faults::none();
    let mut subject = open_faulty(dir.path(), &faults).unwrap();
    subject.append(b"durable");
    let durable = subject.commit_and_wait();
    subject.wait_for_pool();
    faults.failing_sync.store(0, Ordering::SeqCst);
    subject.append(b"lost or not");
    let published = subject.log.commit();
    // The notice comes by itself.
    subject.wait("failure", |log| log.failure().is_some());
    let failure = subject.log.failure().unwrap();
    assert_eq!(failure.path, segment(dir.path(), 0));
    assert_eq!(failure.durable, durable);
    assert!(failure.to_string().contains("Input/output error"), "{failure}");

    // The disk works again, the log does not.
    faults.failing_sync.store(u64::MAX, Ordering::SeqCst);
    assert_eq!(subject.log.append(&[b"more"]).unwrap_err(), AppendError::Poisoned);
    assert_eq!(subject.log.commit(), published);
    assert!(!subject.log.mark_idle());
    assert_eq!(subject.log.durable(), durable);
    assert_eq!(subject.log.failure(), Some(failure.clone()));
    assert_eq!(subject.log.close().unwrap_err(), CloseError::Sync(failure));
    let again = open_faulty(dir.path(), &faults).unwrap();
    assert!(!again.log.recovery().clean_shutdown);
    assert_eq!(again.records[..1], subject.records[..1]);
}

#[test]
fn a_failed_sync_at_the_close_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Faults::none();
    let mut subject = open_faulty(dir.path(), &faults).unwrap();
    subject.wait_for_pool();
    subject.log.append(&[b"one"]).unwrap();
    faults.failing_sync.store(0, Ordering::SeqCst);
    assert!(matches!(subject.log.close(), Err(CloseError::Sync(_))));
}

#[test]
fn segments_are_synced_oldest_first() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Faults::none();
    let mut subject = open_faulty(dir.path(), &faults).unwrap();
    subject.wait_for_pool();
    faults.failing_sync.store(1, Ordering::SeqCst);
    for _ in 0..9 {
        subject.log.append(&[&[7; 16_000]]).unwrap();
    }
    assert_eq!(subject.log.stats().segments, 3);
    subject.log.commit();
    subject.wait("failure", |log| log.failure().is_some());
    assert_eq!(subject.log.durable().0, SEGMENT_BYTES, "all of segment 0 and nothing of 1");
}

/// Fails each operation of an opening in turn. Whatever an opening left undone, the next one
/// finds the same records.
#[test]
fn an_opening_can_fail_anywhere() {
    let dir = tempfile::tempdir().unwrap();
    let mut subject = Subject::open(dir.path(), Durability::Os).unwrap();
    let mut random = Random(7);
    for _ in 0..26 {
        let payload = random.payload(14_000);
        subject.append(&payload);
        subject.log.commit();
    }
    subject.wait_for_pool();
    let records = subject.records;
    drop(subject.log);
    // A torn tail that begins in segment 1 and covers the later ones.
    let torn = records[5].0;
    assert_eq!(torn.0 / SEGMENT_BYTES, 1);
    let path = segment(dir.path(), 1);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[(torn.0 % SEGMENT_BYTES) as usize + 100] ^= 1;
    std::fs::write(&path, bytes).unwrap();

    let image = Image::of(dir.path());

    let faults = Faults::none();
    let mut failures = 0;
    loop {
        image.write(dir.path());
        faults.countdown.store(failures, Ordering::SeqCst);
        let what = format!("operation {failures}");
        match open_faulty(dir.path(), &faults) {
            Err(error) => assert!(matches!(error, OpenError::Io { .. }), "{what}: {error}"),
            Ok(opened) => {
                assert_eq!(opened.records, records[..5], "{what}");
                break;
            }
        }
        faults.countdown.store(u64::MAX, Ordering::SeqCst);
        let found = survivors(dir.path()).unwrap_or_else(|error| panic!("{what}: {error}")).0;
        assert_eq!(found, records[..5], "after {what}");
        failures += 1;
        assert!(failures < 200, "{what}");
    }
    assert!(failures > 20, "{failures}");
    // Nothing of the tail is left after the segment that takes its place.
    let (found, report) = survivors(dir.path()).unwrap();
    assert_eq!((found.len(), report.torn_bytes), (5, 0));
}

/// What was read is durable before anything else happens, and the new header before the opening
/// is over. Later files go from the last one down, each durably.
#[test]
fn an_opening_changes_the_disk_in_order() {
    use super::faulty::Change::{Create, Remove, Sync, Write};
    const DIRECTORY: u64 = u64::MAX;
    let dir = tempfile::tempdir().unwrap();
    let mut subject = Subject::open(dir.path(), Durability::Os).unwrap();
    for _ in 0..20 {
        subject.append(&[7; 14_000]);
    }
    subject.wait_for_pool();
    let torn = subject.records[5].0;
    assert_eq!((torn.0 / SEGMENT_BYTES, subject.log.stats().segments), (1, 5));
    drop(subject.log);
    let path = segment(dir.path(), 1);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[(torn.0 % SEGMENT_BYTES) as usize] ^= 1;
    std::fs::write(&path, bytes).unwrap();

    let faults = Faults::none();
    // The opening ends with the sync of the new header. The pool must not go on after it.
    let opened = open_faulty(dir.path(), &faults).unwrap();
    let mut journal = crate::sync::lock(&faults.journal).clone();
    drop(opened);
    let pool = journal.iter().position(|&change| change == (Create, 3)).unwrap_or(journal.len());
    journal.truncate(pool);
    journal.dedup();
    // No mark vouches for the records, so they are written again.
    let mut expected = vec![(Write, 0), (Sync, 0), (Write, 1), (Sync, 1), (Sync, DIRECTORY)];
    for index in [6, 5, 4, 3] {
        expected.extend([(Remove, index), (Sync, DIRECTORY)]);
    }
    // The old header stays until the rest is wiped. Then the first copy of the new one takes its place,
    // and the second after that.
    expected.extend([(Create, 2), (Write, 2), (Sync, 2), (Sync, DIRECTORY)]);
    expected.extend([(Write, 2), (Sync, 2)]);
    assert_eq!(journal, expected);
}
