//! The log stays short, whatever runs through it, and what is pending survives its cleaning.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use tickwheel_engine::{
    Backoff, Durability, Engine, EngineStats, JobChange, JobError, JobFilter, JobId, JobInfo,
    NewJob, Schedule,
};

const SEGMENT_BYTES: u64 = 8 << 20;
const PATIENCE: Duration = Duration::from_secs(60);

struct World {
    dir: tempfile::TempDir,
    runs: Arc<AtomicU64>,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("tickwheel-length").tempdir().unwrap();
        Self { dir, runs: Arc::default() }
    }

    fn start(&self) -> Engine {
        let runs = Arc::clone(&self.runs);
        Engine::builder()
            .data_dir(self.dir.path())
            .shards(1)
            .segment_bytes(SEGMENT_BYTES)
            .durability(Durability::Os)
            .executors(2)
            .pin(false)
            .handler("work", move |_| {
                runs.fetch_add(1, Ordering::Relaxed);
                Ok(())
            })
            .start()
            .unwrap()
    }
}

/// Runs jobs of 4 KiB until the log has been written `segments` times over.
fn churn(engine: &Engine, segments: u64) {
    let until = engine.stats().unwrap().log_appended_bytes + segments * SEGMENT_BYTES;
    let mut number = 0_u32;
    while engine.stats().unwrap().log_appended_bytes < until {
        let jobs = (0..256).map(|_| {
            number += 1;
            NewJob::new("work").payload(number.to_le_bytes().repeat(1024))
        });
        for answer in engine.submit_batch(jobs.collect()).unwrap() {
            answer.unwrap();
        }
    }
}

/// Waits until cleaning has nothing to do.
fn settle(engine: &Engine) -> EngineStats {
    let begun = Instant::now();
    loop {
        let stats = engine.stats().unwrap();
        // What is live, the part of the head that is not, and the segment in use.
        let bound = (3 * stats.log_live_bytes).max(4 * SEGMENT_BYTES) + SEGMENT_BYTES;
        if stats.log_bytes <= bound {
            return stats;
        }
        assert!(begun.elapsed() < PATIENCE, "the log is not cleaned: {stats:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn far_jobs(engine: &Engine, count: usize, payload_bytes: usize) -> Vec<JobId> {
    let due = SystemTime::now() + Duration::from_secs(3600 * 24 * 365);
    let jobs = (0..count).map(|number| {
        let payload = vec![number as u8; payload_bytes];
        let job = NewJob::new("work").payload(payload).priority((number % 10) as u8);
        if number % 2 == 0 { job.at(due) } else { job.delay(Duration::from_secs(3600)) }
    });
    let answers = engine.submit_batch(jobs.collect()).unwrap();
    answers.into_iter().map(Result::unwrap).collect()
}

#[track_caller]
fn check_pending(engine: &Engine, jobs: &[JobId]) {
    for (number, job) in jobs.iter().enumerate() {
        match engine.job(*job).unwrap() {
            Some(JobInfo::Pending { priority, .. }) => {
                assert_eq!(priority, (number % 10) as u8, "job {job}");
            }
            other => panic!("job {job} is {other:?}"),
        }
    }
    assert_eq!(engine.stats().unwrap().counts.pending, jobs.len() as u64);
}

#[test]
fn pending_jobs_outlive_their_segments_and_the_log_stays_short() {
    let world = World::new();
    let engine = world.start();
    // Twelve mebibytes that stay, at the head of a log that is written many times over.
    let jobs = far_jobs(&engine, 300, 40 << 10);
    let hourly = || Schedule::every("hourly", Duration::from_secs(3600), NewJob::new("work"));
    engine.put_schedule(hourly()).unwrap();
    churn(&engine, 25);
    let stats = settle(&engine);
    assert!(stats.log_segments_released >= 15, "{stats:?}");
    assert!(stats.log_moved_bytes > 12 << 20, "{stats:?}");
    let written = stats.log_appended_bytes as f64;
    let amplification = written / (written - stats.log_moved_bytes as f64);
    assert!(amplification <= 1.6, "{amplification}");
    // A thread of its own takes them.
    wait_for(&engine, |stats| stats.snapshots > 0);
    // A cancelled job does not come back.
    let cancelled = far_jobs(&engine, 2, 100);
    assert!(engine.cancel(cancelled[0]).unwrap().is_some());
    assert!(engine.cancel(cancelled[1]).unwrap().is_some());
    wait_for(&engine, |stats| stats.counts.pending <= 300);
    let counts = engine.stats().unwrap().counts;
    engine.shutdown(PATIENCE).unwrap();

    // With the snapshots, and from the log alone.
    for snapshots in [true, false] {
        if !snapshots {
            for entry in std::fs::read_dir(world.dir.path().join("shard-000")).unwrap() {
                let path = entry.unwrap().path();
                if path.extension().is_some_and(|extension| extension == "snap") {
                    std::fs::remove_file(path).unwrap();
                }
            }
        }
        let engine = world.start();
        check_pending(&engine, &jobs);
        let now = engine.stats().unwrap().counts;
        assert_eq!((now.added, now.succeeded, now.cancelled), {
            (counts.added, counts.succeeded, counts.cancelled)
        });
        for job in &cancelled {
            assert_eq!(engine.job(*job).unwrap(), Some(JobInfo::Ended));
        }
        let schedules = engine.schedules().unwrap();
        assert_eq!(schedules.len(), 1);
        // And their payloads are where the log says.
        if !snapshots {
            churn(&engine, 12);
            settle(&engine);
            wait_for(&engine, |stats| stats.counts.pending <= 300);
            check_pending(&engine, &jobs);
        }
        engine.shutdown(PATIENCE).unwrap();
    }
}

/// Waits until the numbers are as asked for.
#[track_caller]
fn wait_for(engine: &Engine, what: impl Fn(&EngineStats) -> bool) {
    let begun = Instant::now();
    loop {
        let stats = engine.stats().unwrap();
        if what(&stats) {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{stats:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Runs jobs until cleaning has written so many more bytes again.
#[track_caller]
fn churn_until_moved(engine: &Engine, more_bytes: u64) {
    let begun = Instant::now();
    let until = engine.stats().unwrap().log_moved_bytes + more_bytes;
    while engine.stats().unwrap().log_moved_bytes < until {
        assert!(begun.elapsed() < PATIENCE, "the log is not cleaned: {:?}", engine.stats());
        churn(engine, 1);
    }
}

#[test]
fn jobs_that_were_written_again_run_with_their_payloads() {
    let dir = tempfile::Builder::new().prefix("tickwheel-length").tempdir().unwrap();
    let (ran, runs) = crossbeam::channel::unbounded();
    let engine = Engine::builder()
        .data_dir(dir.path())
        .shards(1)
        .segment_bytes(SEGMENT_BYTES)
        .durability(Durability::Os)
        .executors(2)
        .pin(false)
        .handler("work", |_| Ok(()))
        .handler("check", move |attempt| {
            let payload = attempt.payload();
            let number = payload[0];
            ran.send((number, payload.iter().all(|byte| *byte == number), payload.len())).unwrap();
            // The first fails, so that a job is also moved between its attempts.
            if attempt.number() == 1 { Err(JobError::retryable("once more")) } else { Ok(()) }
        })
        .start()
        .unwrap();
    // They run when they are told to, and not by a time that may come before the cleaning.
    engine.pause_queue("check", true).unwrap();
    let len_bytes = |number: u8| 1000 + usize::from(number);
    let all_bytes = (0..100).map(len_bytes).sum::<usize>() as u64;
    let jobs = (0..100_u8).map(|number| {
        let hour = Duration::from_secs(3600);
        NewJob::new("check")
            .queue("check")
            .payload(vec![number; len_bytes(number)])
            .backoff(Backoff::exponential(hour, hour))
    });
    for answer in engine.submit_batch(jobs.collect()).unwrap() {
        answer.unwrap();
    }
    let expected: Vec<_> = (0..100_u8).map(|number| (number, true, len_bytes(number))).collect();
    let check_runs = || {
        let mut seen: Vec<_> = (0..100).map(|_| runs.recv_timeout(PATIENCE).unwrap()).collect();
        seen.sort_unstable();
        assert_eq!(seen, expected);
    };
    churn_until_moved(&engine, all_bytes);
    assert!(runs.is_empty(), "a paused queue runs nothing");
    engine.pause_queue("check", false).unwrap();
    check_runs();
    wait_for(&engine, |stats| stats.counts.failed_attempts == 100);
    churn_until_moved(&engine, all_bytes);
    let waiting = JobFilter::new().kind("check");
    let run = engine.bulk(&waiting, &JobChange::run()).unwrap().wait().unwrap();
    assert_eq!((run.changed, run.left), (100, 0));
    check_runs();
    assert!(engine.drain(PATIENCE));
    assert!(runs.is_empty(), "none runs a third time");
    let stats = engine.stats().unwrap();
    assert!(stats.log_segments_released > 0, "{stats:?}");
    engine.shutdown(PATIENCE).unwrap();
}
