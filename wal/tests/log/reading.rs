//! Reading records in place.

use tickwheel_wal::{Lsn, ReadError, RecordRef};

use crate::fixture::{Fixture, edit, payload};

#[test]
fn a_reader_in_another_thread_sees_the_bytes() {
    let fixture = Fixture::new();
    let (mut log, _) = fixture.open();
    let (sender, receiver) = std::sync::mpsc::channel::<(usize, RecordRef)>();
    let reader = std::thread::spawn(move || {
        let kept: Vec<_> = receiver.into_iter().collect();
        for (number, record) in &kept {
            assert_eq!(&record[..], payload(*number, 1000));
        }
        kept
    });
    for number in 0..500 {
        let appended = fixture.append(&mut log, &payload(number, 1000));
        sender.send((number, log.read(appended.lsn).unwrap())).unwrap();
    }
    drop(sender);
    log.close().unwrap();
    // The records outlive the log.
    let kept = reader.join().unwrap();
    assert_eq!(kept.len(), 500);
    for (number, record) in kept {
        assert_eq!(record.as_ref(), payload(number, 1000));
    }
}

#[test]
fn a_log_can_move_and_a_record_can_be_shared() {
    fn can_move<T: Send>() {}
    fn can_be_shared<T: Send + Sync>() {}
    can_move::<tickwheel_wal::Log>();
    can_be_shared::<RecordRef>();
}

#[test]
fn positions_that_hold_no_data_are_refused() {
    let fixture = Fixture::new();
    let (mut log, _) = fixture.open();
    let data = log.append(&[&payload(1, 100)]).unwrap();
    log.commit();
    let commit = data.end;
    assert_eq!(log.read(commit).unwrap_err(), ReadError::NotData { lsn: commit });
    for lsn in [0, 8, 4088, data.lsn.0 + 1, log.appended().0, 1 << 20, u64::MAX, u64::MAX - 7] {
        let error = log.read(Lsn(lsn)).unwrap_err();
        assert_eq!(error, ReadError::OutOfRange { lsn: Lsn(lsn) });
    }
    let inside = Lsn(data.lsn.0 + 8);
    assert!(matches!(log.read(inside), Err(ReadError::Corrupt { .. })));
}

#[test]
fn what_lies_behind_the_recovered_end_cannot_be_read() {
    let fixture = Fixture::new();
    let (mut log, _) = fixture.open();
    let kept = log.append(&[b"kept"]).unwrap();
    let torn = log.append(&[b"torn"]).unwrap();
    let after = log.append(&[b"after"]).unwrap();
    drop(log);
    edit(&fixture.segment(0), |bytes| bytes[torn.lsn.0 as usize] ^= 1);
    let (log, replayed) = fixture.open();
    assert_eq!(replayed, [(kept.lsn, b"kept".to_vec())]);
    assert_eq!(&log.read(kept.lsn).unwrap()[..], b"kept");
    for lsn in [torn.lsn, after.lsn] {
        assert_eq!(log.read(lsn).unwrap_err(), ReadError::OutOfRange { lsn });
    }
}

#[test]
fn a_change_on_the_disk_is_noticed_by_the_next_read() {
    let fixture = Fixture::new();
    let (mut log, _) = fixture.open();
    let record = log.append(&[&payload(1, 100)]).unwrap();
    log.read(record.lsn).unwrap();
    // Through the file, which shares its pages with the mapping.
    let file = std::fs::File::options().write(true).open(fixture.segment(0)).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[0xff], record.lsn.0 + 50).unwrap();
    let error = log.read(record.lsn).unwrap_err();
    assert!(matches!(&error, ReadError::Corrupt { reason, .. } if reason.contains("payload")));
}
