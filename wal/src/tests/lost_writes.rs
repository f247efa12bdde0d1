//! Bytes that can be read but are not on the disk: a failed sync left them in the cache, or the
//! power failed in the middle of an opening.

use std::path::Path;

use super::disk::Cut;
use super::faulty::{Faults, open_faulty, open_faulty_in};
use super::image::{Image, Random, Records, SEGMENT_BYTES, Subject, segment, survivors};
use crate::sync::{Arc, Ordering, lock};
use crate::{Durability, OpenError};

const NONE: u64 = u64::MAX;

fn cut(dir: &Path, faults: &Faults, cut: Cut, random: &mut Random) {
    lock(&faults.disk).cut(dir, cut, random);
}

#[track_caller]
fn check_survivors(dir: &Path, expected: &Records, what: &str) {
    let found = survivors(dir).unwrap_or_else(|error| panic!("{what}: {error}")).0;
    assert!(found == *expected, "{what}: {} of {} records", found.len(), expected.len());
}

/// An opening says that all it replayed is durable. That holds also for what a failed sync left
/// behind, of which the cache says that it needs no writing.
#[test]
fn what_a_failed_sync_left_is_written_again() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Faults::none();
    let mut subject = open_faulty(dir.path(), &faults).unwrap();
    subject.append(b"durable");
    subject.commit_and_wait();
    faults.failing_sync.store(0, Ordering::SeqCst);
    subject.append(b"in the cache alone");
    subject.log.commit();
    subject.wait("failure", |log| log.failure().is_some());
    let records = subject.records;
    drop(subject.log);
    faults.failing_sync.store(NONE, Ordering::SeqCst);
    let again = open_faulty(dir.path(), &faults).unwrap();
    assert!(again.records == records, "the cache has it all");
    drop(again);
    cut(dir.path(), &faults, Cut::LosesAll, &mut Random(0));
    check_survivors(dir.path(), &records, "after the cut");
}

/// The same when the sync of the opening fails as well, and the next opening finds it all clean.
#[test]
fn what_a_failed_opening_left_is_written_again() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Faults::none();
    let mut subject = open_faulty_in(dir.path(), &faults, Durability::Os).unwrap();
    for _ in 0..10 {
        subject.append(&[7; 14_000]);
    }
    subject.log.commit();
    let records = subject.records;
    let segments = subject.log.stats().segments;
    assert_eq!(segments, 3);
    drop(subject.log);
    for failing in 0..=segments {
        faults.failing_sync.store(failing, Ordering::SeqCst);
        let error = open_faulty(dir.path(), &faults).err().unwrap();
        assert!(matches!(error, OpenError::Io { .. }), "{error}");
    }
    faults.failing_sync.store(NONE, Ordering::SeqCst);
    drop(open_faulty(dir.path(), &faults).unwrap());
    cut(dir.path(), &faults, Cut::LosesAll, &mut Random(0));
    check_survivors(dir.path(), &records, "after the cut");
}

/// The cache drops a page that it takes for written after the records in it were replayed. The
/// opening must not call them durable.
#[test]
fn what_the_cache_drops_during_an_opening_is_noticed() {
    for (index, offset) in [(0, 8192), (1, 0), (1, 4096)] {
        let dir = tempfile::tempdir().unwrap();
        let faults = Faults::none();
        let mut subject = open_faulty_in(dir.path(), &faults, Durability::Os).unwrap();
        for _ in 0..7 {
            subject.append(&[7; 14_000]);
        }
        assert_eq!(subject.log.appended().0 / SEGMENT_BYTES, 1);
        let records = subject.records;
        drop(subject.log);
        *lock(&faults.evicted) = Some((index, offset, 4096));
        match open_faulty(dir.path(), &faults).err() {
            Some(OpenError::Io { path, source, .. }) => {
                assert_eq!(path, segment(dir.path(), index));
                assert!(source.to_string().contains("open it again"), "{source}");
            }
            other => panic!("{index} {offset}: {other:?}"),
        }
        // They had never been durable: the next opening finds a torn tail.
        let again = open_faulty(dir.path(), &faults).unwrap();
        assert!(again.records.len() < records.len());
        assert!(again.records == records[..again.records.len()]);
    }
}

/// Work, a failing sync somewhere, an opening, a power cut: again and again, on what was left.
#[test]
fn failed_syncs_and_power_cuts() {
    for seed in 0..12 {
        let mut random = Random(seed);
        let dir = tempfile::tempdir().unwrap();
        let faults = Faults::none();
        let mut expected = Records::new();
        for life in 0..5 {
            let what = format!("seed {seed} life {life}");
            let mut subject = open_faulty(dir.path(), &faults).unwrap();
            assert!(subject.records == expected, "{what}");
            let in_use = subject.log.appended().0 / SEGMENT_BYTES;
            faults.failing_sync.store(in_use + random.below(3), Ordering::SeqCst);
            for _ in 0..random.below(12) {
                let len = random.below(16_000) as usize;
                let payload = random.payload(len);
                // The log may be poisoned, or its next segment may fail to be made.
                if let Ok(appended) = subject.log.append(&[&payload]) {
                    subject.records.push((appended.lsn, payload));
                }
                if random.below(2) == 0 {
                    subject.log.commit();
                }
            }
            drop(subject.log);
            expected = subject.records;
            faults.failing_sync.store(NONE, Ordering::SeqCst);
            let again = open_faulty(dir.path(), &faults).unwrap();
            assert!(again.records == expected, "{what}: the cache has it all");
            drop(again);
            let kind = if random.below(2) == 0 { Cut::LosesAll } else { Cut::KeepsSome };
            cut(dir.path(), &faults, kind, &mut random);
            check_survivors(dir.path(), &expected, &what);
        }
    }
}

/// What a mark vouches for is left alone; all above it is written again, in pieces that cross no
/// page.
#[test]
fn only_what_lies_above_the_mark_is_written_again() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Faults::none();
    let mut subject = open_faulty(dir.path(), &faults).unwrap();
    subject.append(&[1; 9000]);
    subject.commit_and_wait();
    assert!(subject.log.mark_idle());
    let mark = subject.log.appended();
    subject.wait("sync", |log| log.durable() == mark);
    // The header of the next segment carries the mark.
    for _ in 0..6 {
        subject.append(&[2; 15_000]);
    }
    let end = subject.log.appended();
    drop(subject.log);
    assert!(lock(&faults.in_place).is_empty());
    drop(open_faulty(dir.path(), &faults).unwrap());
    let writes = std::mem::take(&mut *lock(&faults.in_place));
    let mut at = mark.0;
    for &(index, offset, len) in &writes {
        if index * SEGMENT_BYTES > at {
            // What is left after the seal holds nothing.
            let header = std::fs::read(segment(dir.path(), index)).unwrap();
            assert_eq!(u64::from_le_bytes(header[56..64].try_into().unwrap()), at);
            at = index * SEGMENT_BYTES;
        }
        assert_eq!(index * SEGMENT_BYTES + offset, at);
        assert_eq!(offset / 4096, (offset + len - 1) / 4096, "at {at}");
        at += len;
    }
    assert_eq!((at, end.0 / SEGMENT_BYTES), (end.0, 1));
    // The header of the next opening is a mark for all of it.
    drop(open_faulty(dir.path(), &faults).unwrap());
    assert!(lock(&faults.in_place).is_empty());
}

/// Logs whose last segment holds no data, so that an opening wipes it and uses it again.
fn logs_to_wipe(dir: &Path) -> Vec<(&'static str, Image, Records)> {
    let mut logs = Vec::new();
    let mut keep = |what, records: &Records| logs.push((what, Image::of(dir), records.clone()));
    let closed = |mut subject: Subject, payload: Option<&[u8]>| {
        payload.into_iter().for_each(|payload| subject.append(payload));
        subject.wait_for_pool();
        let records = subject.records;
        subject.log.close().unwrap();
        records
    };
    let open = || Subject::open(dir, Durability::Sync).unwrap();
    keep("a new log", &closed(open(), None));
    let records = closed(open(), Some(b"one"));
    closed(open(), None);
    keep("a clean shutdown", &records);
    // Records whose first is torn: the marks of the others are still there.
    let mut subject = open();
    subject.wait_for_pool();
    for _ in 0..9 {
        subject.append(&[7; 15_000]);
        subject.log.commit();
    }
    let torn = subject.records[records.len()].0;
    drop(subject.log);
    let mut image = Image::of(dir);
    image.0[1][(torn.0 % SEGMENT_BYTES) as usize] ^= 1;
    // As if none of it had been synced.
    for bytes in &mut image.0[2..] {
        bytes.fill(0);
    }
    let start = (torn.0 % SEGMENT_BYTES) as usize;
    let commit = crate::format::padded(15_000);
    image.0[1][start + commit + 24..].fill(0);
    image.write(dir);
    keep("a torn first record", &records);
    logs
}

/// The power fails at each operation of an opening that uses a segment again. The records that
/// were there stay, and the log goes on.
#[test]
fn a_power_cut_while_a_segment_is_wiped() {
    let source = tempfile::tempdir().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut random = Random(5);
    for (name, image, records) in logs_to_wipe(source.path()) {
        let mut operation = 0;
        loop {
            let mut is_open = false;
            for kind in [Cut::LosesAll, Cut::KeepsSome] {
                image.write(dir.path());
                let faults: Arc<Faults> = Faults::none();
                faults.countdown.store(operation, Ordering::SeqCst);
                is_open = open_faulty(dir.path(), &faults).is_ok();
                faults.countdown.store(NONE, Ordering::SeqCst);
                cut(dir.path(), &faults, kind, &mut random);
                let what = format!("{name}, operation {operation}, {kind:?}");
                check_survivors(dir.path(), &records, &what);
                let again = Subject::open(dir.path(), Durability::Sync).unwrap();
                assert!(again.records == records, "{what}");
                let in_use = again.log.appended().0 / SEGMENT_BYTES;
                assert_eq!(in_use as usize, records.len(), "{what}");
            }
            if is_open {
                break;
            }
            operation += 1;
        }
        assert!(operation > 20, "{name}: {operation}");
    }
}
