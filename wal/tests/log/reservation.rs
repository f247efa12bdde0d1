//! Room that is set aside: what was promised fits, whatever others append.

use tickwheel_wal::{AppendError, Log};

use crate::fixture::{Fixture, payload};

#[test]
fn reserved_room_is_there_when_it_is_needed() {
    let fixture = Fixture::new();
    let (mut log, _) = fixture.open();
    fixture.wait_for_pool(&log);
    let ends = 40;
    let end_bytes = Log::reserved_bytes(700);
    let mut reservation = log.reserve(ends * end_bytes).unwrap();
    // Others take all they can get.
    let taken = loop {
        let bytes = payload(0, 3000);
        match log.append(&[&bytes]) {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(taken, AppendError::SegmentNotReady | AppendError::Reserved), "{taken}");
    assert!(log.reserve(log.available_bytes() + 1).is_err());
    for number in 0..ends {
        log.append_reserved(&mut reservation, &[&payload(number as usize, 700)]).unwrap();
        // Its own records take no room from the others.
        log.commit();
    }
    assert_eq!(reservation.bytes(), 0);
    assert_eq!(log.append_reserved(&mut reservation, &[b"more"]), Err(AppendError::Reserved));
    log.free(reservation);
    log.close().unwrap();
    let (_, replayed) = fixture.open();
    let promised = replayed.iter().filter(|(_, bytes)| bytes.len() == 700);
    assert_eq!(promised.count() as u64, ends);
}

#[test]
fn what_is_handed_back_can_be_used_again() {
    let fixture = Fixture::new();
    let (mut log, _) = fixture.open();
    fixture.wait_for_pool(&log);
    let before = log.available_bytes();
    let mut reservation = log.reserve(1000).unwrap();
    assert_eq!(log.available_bytes(), before - 1000 - 2 * Log::COMMIT_BYTES);
    let appended = log.append_reserved(&mut reservation, &[b"0123456789"]).unwrap();
    let used = appended.end.0 - appended.lsn.0;
    assert_eq!(Log::reserved_bytes(10), used + 2 * Log::COMMIT_BYTES);
    assert_eq!(reservation.bytes(), 1000 - Log::reserved_bytes(10));
    log.free(reservation);
    assert_eq!(log.available_bytes(), before - used);
}
