//! One owner per directory, and options that must fit.

use std::{
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc::channel,
    },
    time::{Duration, Instant},
};

use tickwheel_wal::{LogOptions, OpenError};

use crate::fixture::{Fixture, SEGMENT_BYTES, edit};

#[test]
fn a_second_opening_is_refused_and_names_the_first() {
    let fixture = Fixture::new();
    let (log, _) = fixture.open();
    let error = fixture.refusal();
    let text = error.to_string();
    match error {
        OpenError::InUse { dir, holder } => {
            assert_eq!(dir, fixture.dir());
            assert!(holder.contains(&format!("process {} ", std::process::id())), "{holder}");
            assert!(text.contains(&holder));
        }
        other => panic!("{other}"),
    }
    drop(log);
    fixture.open();
}

#[test]
fn an_opening_waits_for_a_holder_that_is_about_to_end() {
    let fixture = Fixture::new();
    let opens = |_| {
        let (log, _) = fixture.open();
        let (trying, tries) = channel();
        let has_ended = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let second = scope.spawn(|| {
                trying.send(()).unwrap();
                let is_held = !has_ended.load(Ordering::SeqCst);
                let begun = Instant::now();
                match fixture.try_open(fixture.options()) {
                    Ok(_) => true,
                    // The machine held the holder up for longer than an opening waits.
                    Err(OpenError::InUse { .. }) => {
                        assert!(is_held && begun.elapsed() >= Duration::from_secs(1));
                        false
                    }
                    Err(error) => panic!("{error}"),
                }
            });
            tries.recv().unwrap();
            drop(log);
            has_ended.store(true, Ordering::SeqCst);
            second.join().unwrap()
        })
    };
    assert!((0..5).any(opens), "no opening outlasts a holder that ends at once");
}

#[test]
fn options_outside_their_ranges_change_nothing() {
    let fixture = Fixture::new();
    let options = || LogOptions::new(fixture.dir()).segment_bytes(SEGMENT_BYTES);
    for (wrong, name) in [
        (options().segment_bytes(SEGMENT_BYTES / 2), "segment_bytes"),
        (options().segment_bytes(SEGMENT_BYTES + 8), "segment_bytes"),
        (options().segment_bytes(2 << 30), "segment_bytes"),
        (options().ready_segments(0), "ready_segments"),
        (options().ready_segments(9), "ready_segments"),
        (options().record_bytes_max(63), "record_bytes_max"),
        (options().record_bytes_max(SEGMENT_BYTES as u32 / 4 + 1), "record_bytes_max"),
    ] {
        match fixture.try_open(wrong).err().unwrap() {
            OpenError::InvalidOption { name: found, .. } => assert_eq!(found, name),
            other => panic!("{other}"),
        }
    }
    assert!(!fixture.dir().exists());
}

#[test]
fn fixed_options_must_not_change() {
    let fixture = Fixture::new();
    fixture.open().0.close().unwrap();
    let before = fixture.segments();
    for (options, name, was, now) in [
        (fixture.options().shard(3), "shard", 0, 3),
        (fixture.options().segment_bytes(SEGMENT_BYTES * 2), "segment_bytes", 65536, 131_072),
    ] {
        match fixture.try_open(options).err().unwrap() {
            OpenError::OptionMismatch { option, stored, given, .. } => {
                assert_eq!((option, stored, given), (name, was, now));
            }
            other => panic!("{other}"),
        }
    }
    assert_eq!(fixture.segments(), before);
    // The others may.
    let options = fixture.options().ready_segments(1).record_bytes_max(64);
    fixture.try_open(options).unwrap().0.close().unwrap();
}

#[test]
fn a_newer_version_is_left_alone() {
    let fixture = Fixture::new();
    let (mut log, _) = fixture.open();
    log.append(&[b"from the future"]).unwrap();
    fixture.wait_for_pool(&log);
    log.close().unwrap();
    // The checksums are wrong then, and there may be more that this program cannot understand.
    edit(&fixture.segment(0), |bytes| {
        bytes[8] = 3;
        bytes[2056] = 3;
        bytes[1000] = 1;
        bytes.truncate(5000);
    });
    let before = fixture.segments();
    match fixture.refusal() {
        OpenError::NewerVersion { found, supported } => assert_eq!((found, supported), (3, 2)),
        other => panic!("{other}"),
    }
    assert_eq!(fixture.segments(), before);
}

#[test]
fn leftovers_of_a_preparation_are_used_again() {
    let fixture = Fixture::new();
    let (mut log, _) = fixture.try_open(fixture.options().ready_segments(4)).unwrap();
    fixture.append(&mut log, b"zero");
    fixture.wait_for_pool(&log);
    drop(log);
    assert_eq!(fixture.segments().len(), 5);
    // The last one was cut off.
    edit(&fixture.segment(4), |bytes| bytes.truncate(10_000));
    let (mut log, _) = fixture.try_open(fixture.options().ready_segments(1)).unwrap();
    fixture.append(&mut log, b"one");
    fixture.wait_for_pool(&log);
    log.close().unwrap();
    let sizes: Vec<_> = fixture.segments().iter().map(|(_, bytes)| bytes.len() as u64).collect();
    assert_eq!(sizes, [SEGMENT_BYTES; 3], "the segment before, the one in use, one ready");
    // One that has no bytes at all.
    std::fs::write(fixture.segment(3), b"").unwrap();
    let (_, replayed) = fixture.open();
    assert_eq!(replayed.len(), 2);
}
