//! Logs that are whole, torn and damaged, and what a look at their files says of them.

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use tempfile::TempDir;

use super::{EntryKind, InspectError, Item, LogFiles, Survey};
use crate::{AppendError, Log, LogOptions, Lsn};

const SEGMENT_BYTES: u64 = 64 << 10;
const PAYLOAD_BYTES: usize = 6000;

/// A closed log and the positions of its records.
pub(crate) struct Closed {
    pub(crate) dir: TempDir,
    pub(crate) records: BTreeMap<Lsn, Vec<u8>>,
}

impl Closed {
    /// A log of `records` records, opened `epochs` times.
    pub(crate) fn new(records: usize, epochs: usize) -> Self {
        let mut closed = Closed { dir: tempfile::tempdir().unwrap(), records: BTreeMap::new() };
        for _ in 0..epochs {
            let (mut log, notices) = open(closed.dir.path());
            for _ in 0..records / epochs {
                let number = closed.records.len();
                let payload = vec![1 + (number % 250) as u8; PAYLOAD_BYTES];
                let lsn = append(&mut log, &notices, &payload);
                closed.records.insert(lsn, payload);
            }
            log.close().unwrap();
        }
        closed
    }

    pub(crate) fn segment(&self, index: u64) -> PathBuf {
        self.dir.path().join(format!("{index:020}.seg"))
    }

    fn edit(&self, lsn: Lsn, edit: impl FnOnce(&mut [u8])) {
        let path = self.segment(lsn.0 / SEGMENT_BYTES);
        let mut bytes = fs::read(&path).unwrap();
        edit(&mut bytes[(lsn.0 % SEGMENT_BYTES) as usize..]);
        fs::write(path, bytes).unwrap();
    }

    /// Walks the log, and checks that exactly the records but for `lost` come, unchanged.
    #[track_caller]
    fn check_all_but(&self, lost: &[Lsn]) -> Survey {
        let mut left = self.records.clone();
        left.retain(|lsn, _| !lost.contains(lsn));
        let files = LogFiles::lock(self.dir.path()).unwrap();
        let mut seen = BTreeMap::new();
        let survey = files.walk(Lsn(0), &mut |item| {
            if let Item::Record(entry) = item
                && entry.kind == EntryKind::Data
            {
                seen.insert(entry.lsn, entry.payload.to_vec());
            }
            ControlFlow::Continue(())
        });
        assert_eq!(seen.keys().collect::<Vec<_>>(), left.keys().collect::<Vec<_>>());
        assert!(seen == left, "a record was changed");
        survey.unwrap()
    }

    /// The verdict is that the places of `lsns` are damaged, and no others.
    #[track_caller]
    fn check_damaged(&self, lsns: &[Lsn]) {
        let before = files_in(self.dir.path());
        let mut replayed = 0;
        let verdict = LogFiles::lock(self.dir.path()).unwrap().verify(&mut |_| replayed += 1);
        let verdict = verdict.unwrap();
        let named: Vec<Lsn> = verdict.damage.iter().map(|damage| damage.lsn).collect();
        assert_eq!(named, lsns, "{:?}", verdict.damage);
        assert!(verdict.is_damaged() && verdict.report.is_none() && replayed == 0);
        for damage in &verdict.damage {
            assert_eq!(damage.lsn.0 % SEGMENT_BYTES, damage.offset);
            assert_eq!(damage.path, self.segment(damage.lsn.0 / SEGMENT_BYTES));
        }
        assert!(files_in(self.dir.path()) == before, "a check changed a file");
    }
}

/// All files but the lock, with their bytes.
fn files_in(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let files = paths.filter(|path| path.is_file() && !path.ends_with("LOCK"));
    files.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

pub(crate) fn open(dir: &Path) -> (Log, mpsc::Receiver<()>) {
    let (tell, notices) = mpsc::channel();
    let notify = Arc::new(move || {
        // Nobody listens once the test has what it wants.
        let _ = tell.send(());
    });
    let options = LogOptions::new(dir).segment_bytes(SEGMENT_BYTES);
    (options.open(notify, &mut |_| Ok(())).unwrap(), notices)
}

pub(crate) fn append(log: &mut Log, notices: &mpsc::Receiver<()>, payload: &[u8]) -> Lsn {
    loop {
        match log.append(&[payload]) {
            Ok(appended) => {
                log.commit();
                return appended.lsn;
            }
            Err(AppendError::SegmentNotReady) => {
                notices.recv_timeout(Duration::from_secs(30)).unwrap();
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_whole_log_is_clean_and_counted() {
    let log = Closed::new(60, 3);
    let survey = log.check_all_but(&[]);
    assert_eq!((survey.epoch, survey.head), (3, Lsn(0)));
    assert_eq!((survey.tally.data, survey.tally.clean_shutdowns), (60, 3));
    assert!(survey.clean_shutdown && survey.damage.is_empty() && survey.torn_bytes == 0);
    let files = LogFiles::lock(log.dir.path()).unwrap();
    let mut replayed = Vec::new();
    let verdict = files.verify(&mut |record| replayed.push(record.lsn)).unwrap();
    assert!(verdict.is_clean(), "{verdict:?}");
    assert_eq!(replayed, log.records.keys().copied().collect::<Vec<_>>());
    assert_eq!((verdict.end, survey.durable_mark <= survey.end), (survey.end, true));
}

#[test]
fn every_damaged_record_is_named_and_only_these_are_lost() {
    let log = Closed::new(60, 2);
    let lsns: Vec<Lsn> = log.records.keys().copied().collect();
    // A payload, a header, and the last record of the log.
    let lost = [lsns[4], lsns[17], lsns[59]];
    log.edit(lost[0], |bytes| bytes[3000] ^= 1);
    log.edit(lost[1], |bytes| bytes[9] ^= 0x40);
    log.edit(lost[2], |bytes| bytes[16] ^= 0x80);
    let survey = log.check_all_but(&lost);
    assert_eq!(survey.damage.len(), 3);
    assert_eq!(survey.damage[0].len_bytes, Log::record_bytes(PAYLOAD_BYTES));
    log.check_damaged(&lost);
}

#[test]
fn records_of_a_segment_without_its_header_are_found() {
    // In the middle of an epoch, and where an opening began.
    for epochs in [1, 4] {
        let log = Closed::new(60, epochs);
        let segments = log.records.keys().last().unwrap().0 / SEGMENT_BYTES;
        for segment in 1..=segments {
            let start = Lsn(segment * SEGMENT_BYTES);
            let path = log.segment(segment);
            let before = fs::read(&path).unwrap();
            for fill in [0, 0xff] {
                log.edit(start, |bytes| bytes[..4096].fill(fill));
                let survey = log.check_all_but(&[]);
                // Only a mark that lies behind it tells that the last one was durable.
                assert!(segment == segments || survey.damage[0].lsn == start, "{survey:?}");
                if segment < segments {
                    log.check_damaged(&[start]);
                }
            }
            fs::write(path, before).unwrap();
        }
        log.check_all_but(&[]);
    }
}

#[test]
fn a_missing_file_is_named_and_swapped_ones_are_read() {
    let log = Closed::new(60, 1);
    let gone = log.segment(2);
    let aside = log.dir.path().join("aside");
    fs::rename(&gone, &aside).unwrap();
    let in_it = |lsn: &&Lsn| lsn.0 / SEGMENT_BYTES == 2;
    let lost: Vec<Lsn> = log.records.keys().filter(in_it).copied().collect();
    log.check_all_but(&lost);
    log.check_damaged(&[Lsn(2 * SEGMENT_BYTES)]);
    // Segment 3 under the name of segment 2, and the other way round.
    fs::rename(log.segment(3), &gone).unwrap();
    fs::rename(&aside, log.segment(3)).unwrap();
    log.check_all_but(&[]);
    let verdict = LogFiles::lock(log.dir.path()).unwrap().verify(&mut |_| {}).unwrap();
    assert!(verdict.is_damaged());
}

#[test]
fn a_torn_tail_is_told_from_damage() {
    let log = Closed::new(30, 1);
    let last = *log.records.keys().last().unwrap();
    let end = LogFiles::lock(log.dir.path()).unwrap().verify(&mut |_| {}).unwrap().end;
    assert!(end > last);
    log.edit(end, |bytes| bytes[..100].fill(0xee));
    let survey = log.check_all_but(&[]);
    assert_eq!((survey.torn_bytes, survey.damage.len()), (100, 0));
    let verdict = LogFiles::lock(log.dir.path()).unwrap().verify(&mut |_| {}).unwrap();
    assert_eq!((verdict.torn_bytes, verdict.end), (100, end));
    assert!(!verdict.is_damaged() && !verdict.is_clean());
}

#[test]
fn a_released_beginning_is_not_missing() {
    let dir = tempfile::tempdir().unwrap();
    let (mut log, notices) = open(dir.path());
    for _ in 0..60 {
        append(&mut log, &notices, &[7; PAYLOAD_BYTES]);
    }
    let head = Lsn(log.appended().0 / SEGMENT_BYTES * SEGMENT_BYTES);
    log.release(head).unwrap();
    while log.head() < head {
        notices.recv_timeout(Duration::from_secs(30)).unwrap();
        log.commit();
    }
    let last = append(&mut log, &notices, &[8; PAYLOAD_BYTES]);
    log.close().unwrap();
    let files = LogFiles::lock(dir.path()).unwrap();
    let survey = files.walk(Lsn(0), &mut |_| ControlFlow::Continue(())).unwrap();
    assert_eq!((survey.head, survey.damage.len()), (head, 0));
    let mut replayed = Vec::new();
    let verdict = files.verify(&mut |record| replayed.push(record.lsn)).unwrap();
    assert!(verdict.is_clean(), "{verdict:?}");
    assert_eq!(replayed.last(), Some(&last));
    assert!(replayed[0] >= head);
}

#[test]
fn a_log_in_use_is_named_and_can_be_looked_at() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(LogFiles::lock(dir.path()), Err(InspectError::NotALog { .. })));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "a look made a file");
    let (mut log, notices) = open(dir.path());
    append(&mut log, &notices, &[7; PAYLOAD_BYTES]);
    let error = LogFiles::lock(dir.path()).unwrap_err();
    let holder = format!("process {} ", std::process::id());
    assert!(error.to_string().contains(&holder), "{error}");
    let files = LogFiles::open(dir.path()).unwrap();
    let survey = files.walk(Lsn(0), &mut |_| ControlFlow::Continue(())).unwrap();
    assert_eq!((survey.tally.data, survey.end), (1, log.appended()));
}
