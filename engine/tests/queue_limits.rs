//! Limits of queues in an engine of several shards, through the public API: they hold for all shards
//! together, also while one closes and opens, and none of them is left without its turn.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tickwheel_engine::{
    Alert, Attempt, Durability, Engine, JobError, JobId, NewJob, QueueLimits, Refusal, SubmitError,
    worker::{Fetch, Finish, Handle, Order},
};

const PATIENCE: Duration = Duration::from_secs(60);
const SHARDS: usize = 4;

/// What handlers have seen.
#[derive(Debug, Default)]
struct Seen {
    now: AtomicU32,
    most: AtomicU32,
    starts: Mutex<Vec<Instant>>,
}

fn start(dir: &TempDir, span: Duration) -> (Engine, Arc<Seen>) {
    let seen = Arc::new(Seen::default());
    let of_handler = Arc::clone(&seen);
    let work = move |_: &Attempt<'_>| {
        let seen = &of_handler;
        seen.starts.lock().unwrap().push(Instant::now());
        let now = seen.now.fetch_add(1, Ordering::SeqCst) + 1;
        seen.most.fetch_max(now, Ordering::SeqCst);
        std::thread::sleep(span);
        seen.now.fetch_sub(1, Ordering::SeqCst);
        Ok(())
    };
    let engine = Engine::builder()
        .data_dir(dir.path())
        .shards(SHARDS)
        .executors(8)
        .segment_bytes(8 << 20)
        .durability(Durability::Os)
        .pin(false)
        .serve_queues(["work"])
        .handler("work", work)
        .start()
        .unwrap();
    (engine, seen)
}

/// As many jobs for each shard.
fn fill(engine: &Engine, queue: &'static str, of_each: usize) {
    for _ in 0..of_each * SHARDS {
        // Each call goes to the next shard.
        engine.submit(NewJob::new("work").queue(queue)).unwrap();
    }
}

#[test]
fn a_faster_rate_holds_from_the_call_on_however_much_a_slower_one_had_spent() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, seen) = start(&dir, Duration::ZERO);
    engine.limit_queue("work", &QueueLimits::new().rate(1, Duration::from_secs(3600), 1)).unwrap();
    fill(&engine, "work", 5);
    let begun = || seen.starts.lock().unwrap().len();
    let deadline = Instant::now() + PATIENCE;
    while begun() < 1 {
        assert!(Instant::now() < deadline, "the first begins");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(begun(), 1);
    engine.limit_queue("work", &QueueLimits::new().rate(1000, Duration::from_secs(1), 10)).unwrap();
    while begun() < 5 * SHARDS {
        assert!(Instant::now() < deadline, "{} have begun", begun());
        std::thread::sleep(Duration::from_millis(5));
    }
    engine.shutdown(PATIENCE).unwrap();
}

#[test]
fn attempts_of_all_shards_together_stay_within_a_concurrency_and_all_jobs_run() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, seen) = start(&dir, Duration::from_micros(300));
    engine.limit_queue("work", &QueueLimits::new().concurrency(3)).unwrap();
    fill(&engine, "work", 100);
    // A shard that goes away and comes back takes its part with it, and brings it back.
    for shard in [0, 3] {
        engine.close_shard(shard, PATIENCE).unwrap();
        engine.open_shard(shard).unwrap();
    }
    // One that is lowered lets those under way end.
    engine.limit_queue("work", &QueueLimits::new().concurrency(2)).unwrap();
    fill(&engine, "work", 50);
    assert!(engine.drain(PATIENCE));
    let most = seen.most.load(Ordering::SeqCst);
    assert!((1..=3).contains(&most), "{most}");
    assert_eq!(engine.stats().unwrap().counts.succeeded as usize, 150 * SHARDS);
    engine.shutdown(PATIENCE).unwrap();
}

#[test]
fn attempts_of_all_shards_together_stay_within_a_rate() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, seen) = start(&dir, Duration::ZERO);
    engine.limit_queue("work", &QueueLimits::new().rate(200, Duration::from_secs(1), 5)).unwrap();
    let began = Instant::now();
    fill(&engine, "work", 25);
    assert!(engine.drain(PATIENCE));
    // The burst, and one each five milliseconds. Later is always possible; earlier is not.
    let starts = seen.starts.lock().unwrap();
    assert_eq!(starts.len(), 100);
    assert!(began.elapsed() >= Duration::from_millis(95 * 5), "{:?}", began.elapsed());
    drop(starts);
    engine.shutdown(PATIENCE).unwrap();
}

fn is_full(answer: &Result<JobId, SubmitError>) -> bool {
    matches!(answer, Err(SubmitError::Refused(Refusal::QueueFull { max: 10, .. })))
}

#[test]
fn jobs_of_all_shards_together_stay_within_a_length() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, _) = start(&dir, Duration::ZERO);
    engine.limit_queue("mail", &QueueLimits::new().length(10)).unwrap();
    let answers: Vec<_> =
        (0..30).map(|_| engine.submit(NewJob::new("work").queue("mail"))).collect();
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 10);
    assert_eq!(answers.iter().filter(|answer| is_full(answer)).count(), 20);
    engine.shutdown(PATIENCE).unwrap();
    // The jobs that wait are counted again after a start.
    let (engine, _) = start(&dir, Duration::ZERO);
    assert!(is_full(&engine.submit(NewJob::new("work").queue("mail"))));
    let jobs = engine.queues().unwrap();
    assert_eq!(jobs.iter().find(|queue| &*queue.name == "mail").unwrap().waiting, 10);
    engine.shutdown(PATIENCE).unwrap();
}

/// Each shard counts failures for itself and pauses its own part; the place that it gave up goes to the
/// others, until all parts are paused.
#[test]
fn a_part_of_a_queue_that_its_failures_pause_leaves_its_place_to_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let (told, alerts) = mpsc::channel();
    let engine = Engine::builder()
        .data_dir(dir.path())
        .shards(SHARDS)
        .executors(2)
        .segment_bytes(8 << 20)
        .durability(Durability::Os)
        .pin(false)
        .serve_queues(["work"])
        .handler("work", |_: &Attempt<'_>| Err(JobError::permanent("no")))
        .pause_queue_after("work", 2)
        .on_alert(move |alert| told.send(alert.clone()).unwrap())
        .start()
        .unwrap();
    engine.limit_queue("work", &QueueLimits::new().concurrency(1)).unwrap();
    fill(&engine, "work", 4);
    let failures = |engine: &Engine| engine.stats().unwrap().counts.failed_attempts;
    for round in 1..=2 {
        for _ in 0..SHARDS {
            let alert = alerts.recv_timeout(PATIENCE).unwrap();
            assert!(matches!(alert, Alert::QueuePaused { failures: 2, .. }), "{alert:?}");
        }
        assert_eq!(failures(&engine) as usize, round * 2 * SHARDS);
        engine.pause_queue("work", false).unwrap();
    }
    assert!(engine.drain(PATIENCE));
    engine.shutdown(PATIENCE).unwrap();
}

fn fetch(max: u32, wait: Duration) -> Fetch {
    Fetch::new(["mail"], max, wait)
}

#[test]
fn attempts_of_workers_count_in_all_shards_also_after_a_start() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, _) = start(&dir, Duration::ZERO);
    engine.limit_queue("mail", &QueueLimits::new().concurrency(2)).unwrap();
    for _ in 0..16 {
        engine.submit(NewJob::new("work").queue("mail").timeout(PATIENCE)).unwrap();
    }
    let mut fetched = Vec::new();
    while fetched.len() < 2 {
        fetched.extend(engine.fetch_wait(&fetch(9, PATIENCE)).unwrap());
    }
    assert_eq!(fetched.len(), 2);
    assert!(engine.fetch_wait(&fetch(9, Duration::from_millis(20))).unwrap().is_empty());
    engine.shutdown(Duration::ZERO).unwrap();

    let (engine, _) = start(&dir, Duration::ZERO);
    assert!(engine.fetch_wait(&fetch(9, Duration::from_millis(20))).unwrap().is_empty());
    // One ends: whichever shard has it, a worker that waits gets another, until all are done.
    let mut ended = 0;
    while let Some(done) = fetched.pop() {
        let finish = Order::Finish { job: Handle::Job(done.job), outcome: Finish::Succeeded };
        engine.order(usize::from(done.job.shard().0), vec![finish], |_| ()).unwrap();
        ended += 1;
        if ended <= 14 {
            let more = engine.fetch_wait(&fetch(9, PATIENCE)).unwrap();
            assert_eq!(more.len(), 1, "after {ended}");
            fetched.extend(more);
        }
    }
    assert_eq!(ended, 16);
    engine.shutdown(PATIENCE).unwrap();
}

#[test]
fn of_two_settings_at_the_same_time_all_shards_have_the_same_one() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, _) = start(&dir, Duration::ZERO);
    let (some, none) = (QueueLimits::new().concurrency(5), QueueLimits::new());
    for _ in 0..200 {
        std::thread::scope(|scope| {
            for limits in [&some, &none] {
                let engine = &engine;
                scope.spawn(move || engine.limit_queue("work", limits).unwrap());
            }
        });
        let queues = engine.queues().unwrap();
        let shown = queues.iter().find(|queue| &*queue.name == "work").map(|queue| queue.limits);
        // Shown are those of any shard that has some: then all have.
        let held = shown.unwrap_or_default();
        assert_eq!(engine.limit_queue("work", &held), Ok(false), "{held:?} was not in all shards");
    }
}
