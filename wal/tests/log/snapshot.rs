//! Openings from a snapshot: they come to the same state as a replay of everything.

use std::time::Duration;

use tickwheel_wal::{Durability, Log, Lsn, Record, Recover, ReplayError, SnapshotReader};

use crate::fixture::{Fixture, SEGMENT_BYTES, edit, payload};

/// A state that is easy to compare: the payloads so far, as one text.
#[derive(Default)]
struct State {
    bytes: Vec<u8>,
    restored: Option<Lsn>,
    replayed: usize,
}

impl Recover for State {
    fn restore(&mut self, snapshot: &mut SnapshotReader) -> Result<(), ReplayError> {
        // Damage may show in any block: nothing is taken before all are read.
        let mut bytes: Vec<u8> = Vec::new();
        while let Some(block) = snapshot.next_block()? {
            bytes.extend(block);
        }
        self.bytes.extend(bytes);
        self.restored = Some(snapshot.lsn());
        Ok(())
    }

    fn replay(&mut self, record: Record<'_>) -> Result<(), ReplayError> {
        self.bytes.extend(record.payload);
        self.replayed += 1;
        Ok(())
    }
}

fn open(fixture: &Fixture) -> (Log, State) {
    let mut state = State::default();
    let log = fixture.options().open_state(fixture.notify(), &mut state).unwrap();
    assert_eq!(log.recovery().snapshot, state.restored);
    assert_eq!(log.recovery().records, state.replayed as u64);
    (log, state)
}

fn append(log: &mut Log, state: &mut Vec<u8>, number: usize) {
    let bytes = payload(number, 3000);
    while log.append(&[&bytes]).is_err() {
        std::thread::yield_now();
    }
    log.commit();
    state.extend(bytes);
}

fn snapshot(log: &mut Log, state: &[u8]) -> Lsn {
    let mut writer = log.snapshot().begin().unwrap();
    writer.write(state).unwrap();
    writer.finish().unwrap().lsn
}

#[test]
fn a_snapshot_and_the_records_after_it_make_the_state() {
    let fixture = Fixture::new();
    let (mut log, _) = open(&fixture);
    let mut bytes = Vec::new();
    let mut taken = Vec::new();
    for number in 0..100 {
        append(&mut log, &mut bytes, number);
        if number % 30 == 29 {
            taken.push(snapshot(&mut log, &bytes));
        }
    }
    log.close().unwrap();
    let (log, state) = open(&fixture);
    assert!(state.bytes == bytes);
    assert_eq!((state.restored, state.replayed), (taken.last().copied(), 10));
    drop(log);
    // The one before serves when the newest is damaged, and the whole log when both are.
    let snapshots: Vec<_> = taken
        .iter()
        .map(|lsn| fixture.dir().join(format!("{:020}.snap", lsn.0)))
        .filter(|path| path.exists())
        .collect();
    assert_eq!(snapshots.len(), 2, "two are kept");
    for (damaged, restored) in [(1, Some(taken[1])), (0, None)] {
        edit(&snapshots[damaged], |bytes| bytes[500] ^= 1);
        let (log, state) = open(&fixture);
        assert!(state.bytes == bytes);
        assert_eq!(state.restored, restored);
        assert!(!log.recovery().warnings.is_empty());
    }
}

#[test]
fn a_snapshot_of_what_was_lost_does_not_count() {
    let fixture = Fixture::new();
    let (mut log, _) = open(&fixture);
    let mut bytes = Vec::new();
    for number in 0..50 {
        append(&mut log, &mut bytes, number);
    }
    let kept = snapshot(&mut log, &bytes);
    fixture.wait_for_pool(&log);
    let (image, kept_bytes) = (fixture.segments(), bytes.clone());
    for number in 50..60 {
        append(&mut log, &mut bytes, number);
    }
    let lost = snapshot(&mut log, &bytes);
    drop(log);
    // As if a power cut had taken what came after the first.
    for (path, bytes) in fixture.segments() {
        let before = image.iter().find(|(other, _)| *other == path);
        let before = before.map_or(vec![0; bytes.len()], |(_, bytes)| bytes.clone());
        std::fs::write(path, before).unwrap();
    }
    assert!(lost.0 / SEGMENT_BYTES >= kept.0 / SEGMENT_BYTES);
    let (mut log, state) = open(&fixture);
    assert_eq!(state.restored, Some(kept));
    assert!(state.bytes == kept_bytes);
    // And it never counts later, when the log comes to that position again.
    assert!(!fixture.dir().join(format!("{:020}.snap", lost.0)).exists());
    let mut bytes = kept_bytes;
    for number in 100..130 {
        append(&mut log, &mut bytes, number);
    }
    log.close().unwrap();
    assert!(open(&fixture).1.bytes == bytes);
}

#[test]
fn a_release_behind_a_snapshot_changes_nothing() {
    let fixture = Fixture::new();
    let (mut log, _) = open(&fixture);
    let mut bytes = Vec::new();
    for number in 0..100 {
        append(&mut log, &mut bytes, number);
    }
    let taken = snapshot(&mut log, &bytes);
    append(&mut log, &mut bytes, 100);
    log.release(taken).unwrap();
    log.close().unwrap();
    let (log, state) = open(&fixture);
    assert_eq!(state.restored, Some(taken));
    assert!(state.bytes == bytes);
    assert!(log.head().0 > 0);
}

/// An opening that appends nothing leaves no segment behind; a snapshot taken in it counts all the
/// same.
#[test]
fn a_snapshot_of_an_opening_without_records_stays() {
    let fixture = Fixture::new();
    let (mut log, _) = open(&fixture);
    let mut bytes = Vec::new();
    for number in 0..30 {
        append(&mut log, &mut bytes, number);
    }
    log.close().unwrap();
    let (mut log, state) = open(&fixture);
    assert_eq!((state.restored, state.replayed), (None, 30));
    let taken = snapshot(&mut log, &bytes);
    log.close().unwrap();
    for _ in 0..3 {
        let (log, state) = open(&fixture);
        assert_eq!((state.restored, state.replayed), (Some(taken), 0));
        assert!(state.bytes == bytes);
        log.close().unwrap();
    }
}

/// A snapshot spares the reading of the record that released what lies before it.
#[test]
fn a_release_that_lies_before_the_snapshot_is_known() {
    let fixture = Fixture::new();
    let (mut log, _) = open(&fixture);
    let mut bytes = Vec::new();
    for number in 0..60 {
        append(&mut log, &mut bytes, number);
    }
    log.release(Lsn(SEGMENT_BYTES)).unwrap();
    // The headers of the next segments are written before the release is durable, or after it.
    for number in 60..120 {
        append(&mut log, &mut bytes, number);
    }
    let taken = snapshot(&mut log, &bytes);
    drop(log);
    // As if the crash had come between the release and its files.
    let (log, state) = open(&fixture);
    assert_eq!(state.restored, Some(taken));
    assert_eq!(log.head(), Lsn(SEGMENT_BYTES));
    assert!(state.bytes == bytes);
}

/// A snapshot and a release wait for no interval, and for no other call of the log's owner.
#[test]
fn what_asks_for_a_sync_gets_one_in_every_mode() {
    for durability in [Durability::Interval(Duration::from_secs(3600)), Durability::Os] {
        let fixture = Fixture::new();
        let options = fixture.options().durability(durability);
        let mut log = options.open_state(fixture.notify(), &mut State::default()).unwrap();
        let mut bytes = Vec::new();
        for number in 0..60 {
            append(&mut log, &mut bytes, number);
        }
        // Not even published.
        log.append(&[b"last"]).unwrap();
        bytes.extend(b"last");
        let taken = snapshot(&mut log, &bytes);
        assert!(log.durable() >= taken);
        log.append(&[b"more"]).unwrap();
        log.release(Lsn(SEGMENT_BYTES)).unwrap();
        fixture.notices.wait_until("release", || {
            log.commit();
            log.head() == Lsn(SEGMENT_BYTES)
        });
    }
}
