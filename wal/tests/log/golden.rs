//! Logs of every format version that ever was: they open, and the log goes on.

use std::path::{Path, PathBuf};

use tickwheel_wal::{LogOptions, Lsn};

use crate::fixture::{Fixture, SEGMENT_BYTES};

/// The records that `examples/golden_log.rs` writes.
fn expected() -> Vec<Vec<u8>> {
    let payload = |number: usize| -> Vec<u8> {
        (0..number * number * 3).map(|at| (number * 31 + at * 7) as u8).collect()
    };
    let mut records: Vec<Vec<u8>> = (0..40).map(payload).collect();
    records.push(b"after a clean end".to_vec());
    records.push(b"after a kill".to_vec());
    records
}

fn kept(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(version)
}

/// Puts a kept log into place: zeros at the end of its files were left out.
fn lay_out(version: &str, dir: &Path) -> usize {
    std::fs::create_dir_all(dir).unwrap();
    let mut count = 0;
    for entry in std::fs::read_dir(kept(version)).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.resize(SEGMENT_BYTES as usize, 0);
        std::fs::write(dir.join(path.file_name().unwrap()), bytes).unwrap();
        count += 1;
    }
    count
}

#[track_caller]
fn check(version: &str) {
    let fixture = Fixture::new();
    let segments = lay_out(version, &fixture.dir());
    let options = || -> LogOptions { fixture.options().shard(3) };
    let (mut log, replayed) = fixture.try_open(options()).unwrap();
    let payloads = replayed.iter().map(|(_, payload)| payload.clone());
    // What was given back before ends in the first segment.
    let payloads: Vec<_> = payloads.filter(|payload| *payload != [0x5a; 3000]).collect();
    assert!(payloads == expected(), "{version}: {} records", payloads.len());
    assert!(log.recovery().clean_shutdown);
    assert_eq!(log.recovery().torn_bytes, 0);
    assert!(log.recovery().warnings.is_empty(), "{:?}", log.recovery().warnings);
    assert_eq!(log.recovery().segments, segments as u64);
    for (lsn, payload) in &replayed {
        assert_eq!(&*log.read(*lsn).unwrap(), &payload[..]);
    }
    // It goes on in the present version, and releases what the old one wrote.
    fixture.append(&mut log, b"today");
    let head = log.appended();
    log.release(head).unwrap();
    log.close().unwrap();
    let (log, replayed) = fixture.try_open(options()).unwrap();
    assert_eq!(replayed.len(), 1, "only the segment with today's record is left");
    assert_eq!(log.head(), Lsn(head.0 / SEGMENT_BYTES * SEGMENT_BYTES));
}

#[test]
fn version_1() {
    check("v1");
}

#[test]
fn version_2() {
    check("v2");
}

/// The same version in segments that were used before.
#[test]
fn version_2_stale() {
    let feature = std::fs::read(kept("v2-stale").join(format!("{:020}.seg", 12))).unwrap()[12];
    assert_eq!(feature, 1);
    check("v2-stale");
}

/// No version is forgotten here.
#[test]
fn every_kept_version_has_a_test() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut versions: Vec<String> = std::fs::read_dir(golden)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    versions.sort();
    assert_eq!(versions, ["v1", "v2", "v2-stale"]);
}
