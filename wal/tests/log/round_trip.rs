//! What was appended comes back, over rotations and openings.

use tickwheel_wal::Log;

use crate::fixture::{Fixture, SEGMENT_BYTES, payload};

/// Sizes that meet every padding and cross segments in many ways.
fn sizes() -> impl Iterator<Item = usize> {
    (0..300).map(|number| match number % 7 {
        0 => number % 17,
        6 => 15_000 + number,
        _ => number * 5,
    })
}

#[test]
fn records_come_back_over_rotations() {
    let fixture = Fixture::new();
    let (mut log, replayed) = fixture.open();
    assert!(replayed.is_empty());
    assert_eq!(log.recovery().segments, 0);
    assert_eq!(log.recovery().epoch, 1);
    let mut expected = Vec::new();
    for (number, len) in sizes().enumerate() {
        let content = payload(number, len);
        let before = log.appended();
        let appended = fixture.append(&mut log, &content);
        assert_eq!(appended.end, log.appended());
        assert_eq!(appended.end.0 - appended.lsn.0, Log::record_bytes(len));
        assert!(appended.lsn >= before);
        assert_eq!(appended.lsn.0 / SEGMENT_BYTES, (appended.end.0 - 1) / SEGMENT_BYTES);
        expected.push((appended.lsn, content));
        if number % 10 == 0 {
            log.commit();
        }
    }
    assert!(log.stats().segments > 5);
    log.close().unwrap();
    let (log, replayed) = fixture.open();
    assert_eq!(replayed, expected);
    assert!(log.recovery().clean_shutdown);
    assert_eq!(log.recovery().torn_bytes, 0);
    assert_eq!(log.recovery().warnings, Vec::<String>::new());
    assert_eq!(log.recovery().epoch, 2);
    for (lsn, content) in expected {
        assert_eq!(&log.read(lsn).unwrap()[..], content);
    }
}

#[test]
fn parts_are_gathered() {
    let fixture = Fixture::new();
    let (mut log, _) = fixture.open();
    let gathered = log.append(&[b"a", b"", b"bcd", b"efghijklm"]).unwrap();
    let empty = log.append(&[]).unwrap();
    assert_eq!(&log.read(gathered.lsn).unwrap()[..], b"abcdefghijklm");
    assert_eq!(&log.read(empty.lsn).unwrap()[..], b"");
    assert_eq!(empty.end.0 - empty.lsn.0, 16);
    drop(log);
    let (_, replayed) = fixture.open();
    assert_eq!(replayed, [(gathered.lsn, b"abcdefghijklm".to_vec()), (empty.lsn, Vec::new())]);
}

#[test]
fn nothing_is_lost_over_many_openings() {
    let fixture = Fixture::new();
    let mut expected = Vec::new();
    for round in 0..12_usize {
        let (mut log, replayed) = fixture.open();
        assert_eq!(replayed, expected, "round {round}");
        assert_eq!(log.recovery().epoch, round as u64 + 1);
        assert_eq!(log.recovery().torn_bytes, 0);
        for number in 0..round {
            let content = payload(round * 100 + number, 3000 * number);
            let len = content.len().min(16_000);
            let appended = fixture.append(&mut log, &content[..len]);
            expected.push((appended.lsn, content[..len].to_vec()));
        }
        // With and without a commit, a close, a wait: a killed process leaves all of these.
        match round % 4 {
            0 => drop(log),
            1 => {
                log.commit();
                drop(log);
            }
            2 => {
                let published = log.commit();
                fixture.wait_durable(&log, published);
                drop(log);
            }
            _ => log.close().unwrap(),
        }
    }
}

/// Files are there only for records: openings that append nothing share one segment.
#[test]
fn openings_that_append_nothing_use_up_no_segments() {
    let fixture = Fixture::new();
    let options = || fixture.options().ready_segments(1);
    let mut epoch = 0;
    let mut cycle = |record: Option<&[u8]>, is_closed: bool, records: u64| {
        let (mut log, replayed) = fixture.try_open(options()).unwrap();
        epoch += 1;
        assert_eq!(log.recovery().epoch, epoch);
        assert_eq!(replayed.len() as u64, records);
        assert_eq!(log.recovery().torn_bytes, 0);
        let appended = record.map(|record| log.append(&[record]).unwrap());
        fixture.wait_for_pool(&log);
        if is_closed {
            log.close().unwrap();
        } else {
            drop(log);
        }
        (appended, fixture.segments().len())
    };
    // A new log, and one that has records.
    for (records, files) in [(0, 2), (1, 3)] {
        for number in 0..20 {
            assert_eq!(cycle(None, number % 2 == 0, records), (None, files), "cycle {number}");
        }
        let (appended, count) = cycle(Some(b"one"), records == 0, records);
        assert_eq!(count, files);
        assert_eq!(appended.unwrap().lsn.0 / SEGMENT_BYTES, records);
    }
    // With a record in each, the log grows.
    for number in 0..5 {
        let (_, files) = cycle(Some(b"one"), number % 2 == 0, 2 + number);
        assert_eq!(files as u64, 4 + number);
    }
}

#[test]
fn recovered_segments_are_never_written_again() {
    let fixture = Fixture::new();
    let (mut log, _) = fixture.open();
    fixture.append(&mut log, b"first");
    log.commit();
    drop(log);
    let before = std::fs::read(fixture.segment(0)).unwrap();
    let (mut log, _) = fixture.open();
    let appended = fixture.append(&mut log, b"second");
    assert_eq!(appended.lsn.0 / SEGMENT_BYTES, 1);
    log.close().unwrap();
    assert_eq!(std::fs::read(fixture.segment(0)).unwrap(), before);
}

#[test]
fn a_replay_error_ends_the_opening() {
    let fixture = Fixture::new();
    let (mut log, _) = fixture.open();
    log.append(&[b"fine"]).unwrap();
    let second = log.append(&[b"not fine"]).unwrap();
    log.close().unwrap();
    let before = fixture.segments();
    let mut calls = 0;
    let result = fixture.options().open(std::sync::Arc::new(|| {}), &mut |record| {
        calls += 1;
        if record.payload == b"fine" { Ok(()) } else { Err("unknown event".into()) }
    });
    let error = result.unwrap_err();
    assert_eq!(calls, 2);
    assert!(
        matches!(&error, tickwheel_wal::OpenError::Replay { lsn, .. } if *lsn == second.lsn),
        "{error}"
    );
    assert!(error.to_string().contains("unknown event"));
    assert_eq!(fixture.segments(), before);
}
