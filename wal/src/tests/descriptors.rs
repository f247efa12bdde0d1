//! However many segments a log has, only a few of its files are open at a time.

use std::time::Duration;

use super::faulty::{Change, Faults, open_faulty, open_faulty_in};
use super::image::{SEGMENT_BYTES, Subject, segment};
use crate::sync::{Ordering, lock};
use crate::{CloseError, Durability};

/// Open files that a log may need at most, far fewer than it has segments.
const FILES_MAX: u64 = 12;
const SEGMENTS: u64 = 30;

fn fill_segments(subject: &mut Subject) {
    while subject.log.stats().segments < SEGMENTS {
        subject.append(&[7; 16_000]);
        subject.log.commit();
    }
}

#[test]
fn an_opening_of_many_segments() {
    let dir = tempfile::tempdir().unwrap();
    let mut subject = Subject::open(dir.path(), Durability::Os).unwrap();
    fill_segments(&mut subject);
    let records = subject.records;
    drop(subject.log);
    let faults = Faults::none();
    faults.files_max.store(FILES_MAX, Ordering::SeqCst);
    let again = open_faulty(dir.path(), &faults).unwrap();
    assert_eq!(again.records, records);
}

/// Modes in which no sync comes for as long as the test works.
const UNSYNCED: [Durability; 2] = [Durability::Os, Durability::Interval(Duration::from_secs(3600))];

#[test]
fn segments_that_wait_for_a_sync() {
    for mode in UNSYNCED {
        let dir = tempfile::tempdir().unwrap();
        let faults = Faults::none();
        faults.files_max.store(FILES_MAX, Ordering::SeqCst);
        let mut subject = open_faulty_in(dir.path(), &faults, mode).unwrap();
        if mode != Durability::Os {
            // The first sync comes at once.
            subject.append(b"first");
            subject.commit_and_wait();
        }
        fill_segments(&mut subject);
        let open_files = faults.open_files.load(Ordering::SeqCst);
        assert!(open_files <= FILES_MAX, "{mode}: {open_files}");
        assert!(subject.log.durable().0 < SEGMENT_BYTES, "{mode}");
        lock(&faults.journal).clear();
        let (records, segments) = (subject.records, subject.log.stats().segments);
        subject.log.close().unwrap();
        assert_eq!(faults.open_files.load(Ordering::SeqCst), 0, "{mode}");
        // The close synced them all, those that were open and the others, oldest first.
        let journal = lock(&faults.journal).clone();
        let mut synced: Vec<_> = journal
            .iter()
            .filter(|(change, index)| *change == Change::Sync && *index < segments)
            .map(|&(_, index)| index)
            .collect();
        synced.dedup();
        assert_eq!(synced, (0..segments).collect::<Vec<_>>(), "{mode}");
        let again = Subject::open(dir.path(), Durability::Sync).unwrap();
        assert!(again.log.recovery().clean_shutdown, "{mode}");
        assert_eq!(again.records, records, "{mode}");
    }
}

/// A file that was closed in between reports its failure as the others do.
#[test]
fn a_failing_sync_of_a_segment_that_was_not_kept_open() {
    for mode in UNSYNCED {
        let dir = tempfile::tempdir().unwrap();
        let faults = Faults::none();
        let mut subject = open_faulty_in(dir.path(), &faults, mode).unwrap();
        fill_segments(&mut subject);
        let failing = SEGMENTS - 3;
        faults.failing_sync.store(failing, Ordering::SeqCst);
        match subject.log.close().unwrap_err() {
            CloseError::Sync(failure) => {
                assert_eq!(failure.path, segment(dir.path(), failing), "{mode}");
                assert_eq!(failure.durable.0, failing * SEGMENT_BYTES, "{mode}");
            }
            other => panic!("{mode}: {other}"),
        }
    }
}

/// A file that cannot be opened for its sync counts as a failed sync.
#[test]
fn a_segment_that_cannot_be_opened_for_its_sync() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Faults::none();
    let mut subject = open_faulty_in(dir.path(), &faults, Durability::Os).unwrap();
    fill_segments(&mut subject);
    subject.wait_for_pool();
    faults.files_max.store(0, Ordering::SeqCst);
    match subject.log.close().unwrap_err() {
        CloseError::Sync(failure) => {
            assert!(failure.message.contains("open files"), "{failure}");
            assert!(failure.durable.0 < SEGMENTS * SEGMENT_BYTES, "{failure}");
        }
        other => panic!("{other}"),
    }
}
