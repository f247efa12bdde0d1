//! A log that was written anew goes on above the epochs of the one before: neither a token nor an id of
//! what a crash has lost is given out again.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use tickwheel_engine::{
    Engine, NewJob,
    store::{RepairMode, RepairOutcome, Store, reshard},
};

const HOUR: Duration = Duration::from_secs(3600);

/// Runs an engine `lives` times, each of which adds a job.
fn live(dir: &Path, lives: usize) {
    for life in 0..lives {
        let builder = Engine::builder().data_dir(dir).segment_bytes(8 << 20).executors(1);
        let engine = builder.pin(false).handler("work", |_| Ok(())).start().unwrap();
        let payload = format!("the payload of life {life}");
        engine.submit(NewJob::new("work").payload(payload).delay(HOUR)).unwrap();
        engine.shutdown(HOUR).unwrap();
    }
}

/// The epochs of the last openings of all shards.
fn epochs(dir: &Path) -> Vec<u64> {
    let verdict = Store::open(dir).unwrap().verify(&mut ()).unwrap();
    verdict.shards.iter().map(|shard| shard.log.report.as_ref().unwrap().epoch).collect()
}

#[test]
fn other_numbers_of_shards_go_on_above_all_epochs() {
    let dir = tempfile::tempdir().unwrap();
    live(dir.path(), 3);
    assert_eq!(epochs(dir.path()), [3]);
    reshard(dir.path(), 2, &mut ()).unwrap();
    assert_eq!(epochs(dir.path()), [4, 4]);
    live(dir.path(), 2);
    assert_eq!(epochs(dir.path()), [6, 6]);
    reshard(dir.path(), 1, &mut ()).unwrap();
    assert_eq!(epochs(dir.path()), [7]);
}

#[test]
fn a_repaired_log_goes_on_above_its_epochs() {
    let dir = tempfile::tempdir().unwrap();
    live(dir.path(), 3);
    let segment: PathBuf = dir.path().join("shard-000").join(format!("{:020}.seg", 0));
    let mut bytes = fs::read(&segment).unwrap();
    let payload = b"the payload of life 0";
    let at = bytes.windows(payload.len()).position(|window| window == payload).unwrap();
    bytes[at] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let repairs = Store::open(dir.path()).unwrap().repair(RepairMode::Repair, &mut ()).unwrap();
    assert!(matches!(repairs[0].outcome, RepairOutcome::Repaired { .. }), "{repairs:?}");
    assert_eq!(epochs(dir.path()), [4]);
}
