//! Every benchmark in its tiny mode: the checks in the measured bodies are what can fail.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use tickwheel_bench::{
    engine::Trips,
    wal::{Appends, BareSyncs, Copies},
    wheel::Timers,
};
use tickwheel_wal::Durability;

#[test]
fn timers_are_inserted_cancelled_and_expired() {
    for pending in [4, 5000] {
        let mut timers = Timers::new(pending);
        // Enough rounds for every timer to have left the wheel several times.
        for _ in 0..3 {
            assert!(timers.insert(8) > Duration::ZERO);
            assert!(timers.cancel(8) > Duration::ZERO);
            assert!(timers.expire(8) > Duration::ZERO);
        }
    }
}

#[test]
fn records_are_appended_and_copied() {
    let dir = tempfile::tempdir().unwrap();
    let mut appends = Appends::new(dir.path(), 1 << 20, Durability::Os).unwrap();
    // Enough rounds for a fresh log to be begun.
    assert!(appends.append(45).unwrap() > Duration::ZERO);
    assert!(Copies::new(1000).copy(2) > Duration::ZERO);
}

#[test]
fn records_are_committed_and_blocks_synced() {
    let dir = tempfile::tempdir().unwrap();
    let mut appends = Appends::new(dir.path(), 1 << 20, Durability::Sync).unwrap();
    assert!(appends.commit(3).unwrap() > Duration::ZERO);
    assert!(BareSyncs::new(dir.path()).unwrap().sync(3).unwrap() > Duration::ZERO);
}

#[test]
fn jobs_go_through_an_engine() {
    let dir = tempfile::tempdir().unwrap();
    let mut trips = Trips::new(dir.path(), 300).unwrap();
    assert!(trips.trip(2).unwrap() > Duration::ZERO);
}
