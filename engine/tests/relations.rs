//! Jobs that depend on more than their own time, through the public API.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    path::Path,
    time::{Duration, SystemTime},
};

use tickwheel_engine::{Engine, JobInfo, NewJob, Refusal, SubmitError};

/// Longest that a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(30);

fn start(dir: &Path, shards: usize) -> Engine {
    let builder = Engine::builder().data_dir(dir).segment_bytes(8 << 20).shards(shards);
    builder.executors(2).pin(false).handler("text", |_: &_| Ok(())).start().unwrap()
}

fn text() -> NewJob {
    NewJob::new("text")
}

#[test]
fn a_job_that_nobody_begins_expires_also_over_a_restart_and_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let engine = start(dir.path(), 2);
    engine.pause_queue("held", true).unwrap();
    let soon = engine.submit(text().queue("held").expires_in(Duration::from_millis(50))).unwrap();
    let later = SystemTime::now() + Duration::from_secs(3600);
    let kept = engine.submit(text().queue("held").expires_at(later)).unwrap();
    let refused = engine.submit(text().delay(PATIENCE).expires_in(Duration::from_secs(1)));
    assert_eq!(refused, Err(SubmitError::Refused(Refusal::ExpiresFirst)));
    engine.shutdown(PATIENCE).unwrap();
    let engine = start(dir.path(), 2);
    let until = std::time::Instant::now() + PATIENCE;
    while engine.job(soon).unwrap() != Some(JobInfo::Ended) {
        assert!(std::time::Instant::now() < until, "it does not expire");
        std::thread::yield_now();
    }
    let Some(JobInfo::Pending { expires: Some(expires), .. }) = engine.job(kept).unwrap() else {
        panic!("{:?}", engine.job(kept))
    };
    assert!(expires.duration_since(later).unwrap_or_default() < Duration::from_millis(1));
    engine.pause_queue("held", false).unwrap();
    assert!(engine.drain(PATIENCE));
    let counts = engine.stats().unwrap().counts;
    assert_eq!((counts.added, counts.expired, counts.succeeded), (2, 1, 1));
    engine.shutdown(PATIENCE).unwrap();
}
