//! Memory and restart of an engine with pending jobs, in a small run. It has a process of its own: what is
//! measured is the process's memory, which other tests would take and give back meanwhile.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use tickwheel_bench::engine::pending::Pending;

#[test]
fn pending_jobs_are_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let jobs = 20_000;
    let run = Pending::run(dir.path(), jobs, Duration::from_millis(10)).unwrap();
    assert!(run.filled.resident_bytes >= run.filled.anonymous_bytes);
    assert!(run.bytes_per_job(jobs) > 0.0, "{run:?}");
    assert!(run.serving > Duration::ZERO);
}
