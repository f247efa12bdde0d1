//! Copies of logs that rest, that are appended to, and that release segments meanwhile.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use super::{Copied, CopyError, PINS_PREFIX, Pins, copy_log, remove_stale_pins};
use crate::inspect::LogFiles;
use crate::inspect::tests::{Closed, append, open};
use crate::storage::{Directory, Fate, retire};
use crate::{LogOptions, Lsn};

fn copy(from: &Path, to: &Path) -> Result<Copied, CopyError> {
    fs::create_dir_all(to).unwrap();
    copy_log(from, to, &mut |done, total| assert!(done <= total))
}

/// The copy is whole and opens; its records.
#[track_caller]
fn check(to: &Path) -> Vec<(Lsn, Vec<u8>)> {
    let files = LogFiles::lock(to).unwrap();
    let mut records = Vec::new();
    let verdict = files.verify(&mut |record| records.push((record.lsn, record.payload.to_vec())));
    let verdict = verdict.unwrap();
    assert!(verdict.is_clean(), "{verdict:?}");
    drop(files);
    let mut replayed = Vec::new();
    let options = LogOptions::new(to).segment_bytes(64 << 10);
    let log = options.open(std::sync::Arc::new(|| {}), &mut |record| {
        replayed.push((record.lsn, record.payload.to_vec()));
        Ok(())
    });
    log.unwrap().close().unwrap();
    assert!(replayed == records, "an opening reads something else");
    records
}

fn pins_in(dir: &Path) -> usize {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_str().unwrap().starts_with(PINS_PREFIX)).count()
}

#[test]
fn a_log_at_rest_is_copied_whole() {
    let log = Closed::new(60, 3);
    let to = tempfile::tempdir().unwrap();
    let copied = copy(log.dir.path(), to.path()).unwrap();
    // What a killed backup of the copy would leave goes when the copy is opened.
    fs::create_dir(to.path().join(".backup-1-0")).unwrap();
    let records = check(to.path());
    assert_eq!(pins_in(to.path()), 0);
    assert!(records.iter().map(|(lsn, _)| lsn).eq(log.records.keys()));
    assert!(copied.end > *log.records.keys().last().unwrap());
    assert_eq!(pins_in(log.dir.path()), 0);
}

#[test]
fn a_log_under_load_is_copied_up_to_what_was_durable_at_least() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, notices) = open(dir.path());
    append(&mut log, &notices, &[1; 100]);
    let (durable, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let (durable, is_over) = (&durable, &is_over);
        scope.spawn(move || {
            let mut number = 0_u64;
            while !is_over.load(Ordering::Relaxed) {
                append(&mut log, &notices, &[number as u8 | 1; 700]);
                number += 1;
                // At the pace of the disk, so that the log does not become too long to copy.
                while log.durable() < log.appended() && notices.recv().is_ok() {}
                durable.store(log.durable().0, Ordering::Release);
            }
            log.close().unwrap();
        });
        // Also when an assertion fails, so that the other thread ends.
        let _end = End(is_over);
        for _ in 0..4 {
            let to = tempfile::tempdir().unwrap();
            let was_durable = durable.load(Ordering::Acquire);
            let copied = copy(dir.path(), to.path()).unwrap();
            assert!(copied.end.0 >= was_durable, "{copied:?} is below {was_durable}");
            let records = check(to.path());
            assert!(records.last().unwrap().0 < copied.end);
        }
    });
    assert_eq!(pins_in(dir.path()), 0);
}

struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_damaged_end_is_not_taken_for_the_end() {
    let log = Closed::new(30, 1);
    let last = *log.records.keys().last().unwrap();
    let path = log.segment(last.0 >> 16);
    let mut bytes = fs::read(&path).unwrap();
    bytes[(last.0 & 0xffff) as usize + 20] ^= 1;
    fs::write(&path, bytes).unwrap();
    let to = tempfile::tempdir().unwrap();
    match copy(log.dir.path(), to.path()) {
        Err(CopyError::Damaged { lsn, .. }) => assert_eq!(lsn, last),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_pinned_segment_is_not_wiped_when_it_is_released() {
    let log = Closed::new(30, 1);
    let storage = Directory::open(log.dir.path()).unwrap();
    let pins = Pins::make(log.dir.path()).unwrap();
    let bytes = fs::read(log.segment(0)).unwrap();
    assert_eq!(retire(&storage, 0, Fate::KeptAsItIs).unwrap(), None, "it is kept for use");
    assert!(!log.segment(0).exists());
    assert!(fs::read(pins.path_of(0)).unwrap() == bytes);
    // A backup that is under way keeps its pins, one that was killed does not.
    remove_stale_pins(log.dir.path()).unwrap();
    assert_eq!(pins_in(log.dir.path()), 1);
    let folder = pins.folder.clone();
    drop(pins);
    fs::create_dir(&folder).unwrap();
    fs::hard_link(log.segment(1), folder.join("00000000000000000001.seg")).unwrap();
    remove_stale_pins(log.dir.path()).unwrap();
    assert_eq!(pins_in(log.dir.path()), 0);
    assert!(retire(&storage, 1, Fate::KeptAsItIs).unwrap().is_some(), "nothing pins it");
}

#[test]
fn a_log_that_releases_its_head_meanwhile_is_copied() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, notices) = open(dir.path());
    for _ in 0..80 {
        append(&mut log, &notices, &[3; 6000]);
    }
    let to = tempfile::tempdir().unwrap();
    let mut is_released = false;
    let last = log.appended();
    // In the middle of the copying.
    let copied = copy_log(dir.path(), to.path(), &mut |done, total| {
        if !is_released && done * 2 > total {
            is_released = true;
            log.release(Lsn(log.appended().0 / 65_536 * 65_536)).unwrap();
            for _ in 0..20 {
                append(&mut log, &notices, &[4; 6000]);
            }
        }
    });
    assert!(is_released && copied.unwrap().end >= last);
    // If the copy has the record that says so, it begins at the new head as well.
    assert!(!check(to.path()).is_empty());
    log.close().unwrap();
    let files = LogFiles::lock(dir.path()).unwrap();
    let survey = files.walk(Lsn(0), &mut |_| ControlFlow::Continue(())).unwrap();
    assert!(survey.head > Lsn(0) && survey.tally.data < 100, "nothing was released: {survey:?}");
}

#[test]
fn damage_to_a_copy_is_never_a_torn_tail() {
    // A log that has not come to write a mark, and one that ends with a sealed segment.
    let dir = tempfile::tempdir().unwrap();
    let options = LogOptions::new(dir.path()).segment_bytes(64 << 10);
    let options = options.durability(crate::Durability::Os);
    let mut log = options.open(std::sync::Arc::new(|| {}), &mut |_| Ok(())).unwrap();
    let mut last = Lsn(0);
    for _ in 0..5 {
        last = log.append(&[&[9; 6000]]).unwrap().lsn;
        log.commit();
    }
    let closed = Closed::new(30, 1);
    let sealed = closed.dir.path();
    let header_only = closed.records.keys().find(|lsn| lsn.0 > 65_536).unwrap().0 >> 16;
    for index in header_only..8 {
        let _ = fs::remove_file(closed.segment(index));
    }
    let before = closed.records.keys().rfind(|lsn| lsn.0 < header_only << 16).unwrap();
    for (from, last) in [(dir.path(), last), (sealed, *before)] {
        let to = tempfile::tempdir().unwrap();
        let copied = copy(from, to.path()).unwrap();
        assert!(copied.end > last);
        let path = to.path().join(format!("{:020}.seg", last.0 >> 16));
        let mut bytes = fs::read(&path).unwrap();
        bytes[(last.0 & 0xffff) as usize + 20] ^= 1;
        fs::write(&path, bytes).unwrap();
        let verdict = LogFiles::lock(to.path()).unwrap().verify(&mut |_| {}).unwrap();
        let damage: Vec<Lsn> = verdict.damage.iter().map(|damage| damage.lsn).collect();
        assert_eq!(damage, [last], "{verdict:?}");
    }
    log.close().unwrap();
}
