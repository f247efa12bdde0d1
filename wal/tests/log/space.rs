//! Sizes, the room that is promised, and shortage.

use tickwheel_wal::{AppendError, Log, Shortage};

use crate::fixture::{Fixture, SEGMENT_BYTES, payload};

#[test]
fn record_bytes_counts_header_and_padding() {
    for (len, bytes) in [(0, 16), (1, 24), (8, 24), (9, 32), (150, 168)] {
        assert_eq!(Log::record_bytes(len), bytes);
    }
    assert_eq!(Log::record_bytes(usize::MAX), u64::MAX);
}

#[test]
fn a_record_that_is_too_large_is_refused() {
    let fixture = Fixture::new();
    let (mut log, _) = fixture.try_open(fixture.options().record_bytes_max(1005)).unwrap();
    let max = log.payload_len_max();
    assert_eq!(max, 1000 - 16);
    let before = log.appended();
    let error = log.append(&[&payload(0, 500), &payload(0, max - 499)]).unwrap_err();
    assert_eq!(error, AppendError::TooLarge { len: max + 1, max });
    assert_eq!(log.appended(), before);
    log.append(&[&payload(0, 500), &payload(0, max - 500)]).unwrap();
    // By default a quarter of a small segment.
    let other = Fixture::new();
    let (log, _) = other.open();
    assert_eq!(log.payload_len_max() as u64, SEGMENT_BYTES / 4 - 16);
}

/// Appends records of changing sizes for as long as the promise holds, with no new segment made:
/// the pool is as small as it can be, and the count of ready segments tells what is used.
#[test]
fn available_bytes_are_a_promise() {
    for seed in 0..20_u64 {
        let fixture = Fixture::new();
        let options = fixture.options().ready_segments(1 + seed as usize % 4);
        let (mut log, _) = fixture.try_open(options).unwrap();
        fixture.wait_for_pool(&log);
        let max = log.payload_len_max() as u64;
        let mut random = seed * 7919 + 1;
        let mut promised = log.available_bytes();
        assert!(promised > SEGMENT_BYTES);
        loop {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // Many of the largest, which waste the most.
            let len = if random >> 62 == 0 { (random >> 33) % max } else { max };
            let bytes = Log::record_bytes(len as usize);
            if bytes > promised {
                break;
            }
            log.append(&[&payload(0, len as usize)]).expect("promised");
            promised -= bytes;
            if random >> 61 & 1 == 0 {
                log.commit();
                promised = promised.saturating_sub(Log::COMMIT_BYTES);
            }
            assert!(log.available_bytes() >= promised, "the promise shrank, seed {seed}");
        }
    }
}

#[test]
fn an_empty_pool_is_told_and_filled_again() {
    let fixture = Fixture::new();
    let (mut log, _) = fixture.try_open(fixture.options().ready_segments(1)).unwrap();
    fixture.wait_for_pool(&log);
    let mut refused = 0;
    let mut number = 0;
    // An appender without a disk sync outruns the preparer at least once, sooner or later.
    while number < 2000 || refused == 0 {
        assert!(number < 50_000, "a segment is always ready");
        number += 1;
        match log.append(&[&payload(number, 2000)]) {
            Ok(_) => {}
            Err(AppendError::SegmentNotReady) => {
                refused += 1;
                fixture.wait_for_segment(&log);
            }
            Err(error) => panic!("{error}"),
        }
        assert!(!matches!(log.shortage(), Some(Shortage::NoSpace { .. })));
    }
    fixture.wait_for_pool(&log);
}
