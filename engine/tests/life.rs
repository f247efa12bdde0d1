//! Lives of jobs and schedules through the public API, with real threads, clocks and logs.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use crossbeam::channel::{Receiver, unbounded};
use tempfile::TempDir;
use tickwheel_engine::{
    Attempt, Backoff, Builder, CallError, CircuitBreaker, Durability, Engine, JobError, JobEvent,
    JobInfo, JobState, Missed, NewJob, Next, OutcomeKind, Refusal, Schedule, StartError,
    SubmitError, cron::Cron, latency::Stage,
};

/// Longest that a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(30);

fn builder(dir: &TempDir) -> Builder {
    Engine::builder().data_dir(dir.path()).segment_bytes(8 << 20).executors(2).pin(false)
}

/// An engine whose handlers do what their payload says, and the runs and events that it reports.
struct World {
    engine: Engine,
    runs: Receiver<(String, u16)>,
    events: Receiver<JobEvent>,
}

impl World {
    fn start(dir: &TempDir) -> Self {
        Self::start_with(builder(dir))
    }

    fn start_with(builder: Builder) -> Self {
        let (ran, runs) = unbounded();
        let (tell, events) = unbounded();
        let handler = move |attempt: &Attempt<'_>| {
            let text = std::str::from_utf8(attempt.payload()).unwrap().to_owned();
            ran.send((text.clone(), attempt.number())).unwrap();
            match text.split_once(':').map_or(text.as_str(), |(first, _)| first) {
                "fail" => Err(JobError::retryable("not yet")),
                "fail once" if attempt.number() == 1 => Err(JobError::retryable("not yet")),
                "never" => Err(JobError::permanent("never")),
                "panic" => panic!("as asked"),
                "hang" => {
                    while !attempt.is_cancelled() {
                        std::thread::yield_now();
                    }
                    Ok(())
                }
                _ => Ok(()),
            }
        };
        let engine = builder
            .handler("text", handler)
            .observer(move |event: &JobEvent| drop(tell.send(event.clone())))
            .start()
            .unwrap();
        Self { engine, runs, events }
    }

    fn run(&self) -> (String, u16) {
        self.runs.recv_timeout(PATIENCE).unwrap()
    }

    fn event(&self) -> (OutcomeKind, Next) {
        let event = self.events.recv_timeout(PATIENCE).unwrap();
        (event.outcome, event.next)
    }
}

/// Waits until it is so.
#[track_caller]
fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "never: {what}");
        std::thread::yield_now();
    }
}

fn text(payload: &str) -> NewJob {
    let quick = Backoff::exponential(Duration::from_millis(1), Duration::from_millis(2));
    NewJob::new("text").payload(payload.to_owned()).backoff(quick)
}

#[test]
fn a_job_runs_once_and_is_known_to_have_ended() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::start(&dir);
    let id = world.engine.submit(text("hello")).unwrap();
    assert_eq!(world.run(), ("hello".to_owned(), 1));
    assert!(world.engine.drain(PATIENCE));
    assert_eq!(world.engine.job(id), Ok(Some(JobInfo::Ended)));
    assert_eq!(world.event(), (OutcomeKind::Succeeded, Next::Done));
    let stats = world.engine.stats().unwrap();
    assert_eq!((stats.counts.added, stats.counts.succeeded, stats.counts.pending), (1, 1, 0));
    for stage in Stage::ALL {
        let count = world.engine.latency().stage(stage).len();
        match stage {
            // These are the shard's own: as many as there happen to be.
            Stage::Pass => assert!(count > 0),
            Stage::Wake => {}
            _ => assert_eq!(count, 1, "{}", stage.name()),
        }
    }
    world.engine.shutdown(PATIENCE).unwrap();
    assert_eq!(world.engine.submit(text("late")), Err(CallError::ShuttingDown.into()));
}

#[test]
fn delays_and_instants_are_never_early_and_keep_their_order() {
    let dir = tempfile::tempdir().unwrap();
    let early = Arc::new(AtomicU32::new(0));
    let order = Arc::new(Mutex::new(Vec::new()));
    let (saw, log) = (Arc::clone(&early), Arc::clone(&order));
    let start = Instant::now();
    let engine = builder(&dir)
        .executors(1)
        .handler("due", move |attempt: &Attempt<'_>| {
            let after_ms: u64 = std::str::from_utf8(attempt.payload()).unwrap().parse().unwrap();
            if start.elapsed() < Duration::from_millis(after_ms) {
                saw.fetch_add(1, Ordering::Relaxed);
            }
            log.lock().unwrap().push(after_ms);
            Ok(())
        })
        .start()
        .unwrap();
    let jobs: Vec<NewJob> = (0..200_u64)
        .map(|n| {
            let after_ms = 20 + (n * 37) % 100;
            let job = NewJob::new("due").payload(after_ms.to_string());
            let after = Duration::from_millis(after_ms);
            if n % 2 == 0 { job.delay(after) } else { job.at(SystemTime::now() + after) }
        })
        .collect();
    let answers = engine.submit_batch(jobs).unwrap();
    assert!(answers.iter().all(Result::is_ok));
    assert!(engine.drain(PATIENCE));
    assert_eq!(early.load(Ordering::Relaxed), 0);
    assert_eq!(order.lock().unwrap().len(), 200);
}

#[test]
fn failures_and_panics_are_tried_again_and_permanent_ones_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::start(&dir);
    world.engine.submit(text("fail once")).unwrap();
    assert_eq!((world.run().1, world.run().1), (1, 2));
    assert!(matches!(world.event(), (OutcomeKind::Failed, Next::Retry(_))));
    assert_eq!(world.event(), (OutcomeKind::Succeeded, Next::Done));
    world.engine.submit(text("panic").attempts_max(2)).unwrap();
    assert!(matches!(world.event(), (OutcomeKind::Panicked, Next::Retry(_))));
    assert_eq!(world.event(), (OutcomeKind::Panicked, Next::Dead));
    world.engine.submit(text("never")).unwrap();
    assert_eq!(world.event(), (OutcomeKind::Failed, Next::Dead));
    world.engine.submit(text("after the panic")).unwrap();
    assert_eq!(world.event(), (OutcomeKind::Succeeded, Next::Done));
}

#[test]
fn a_time_out_ends_the_attempt_and_tells_the_handler() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::start(&dir);
    let job = text("hang").timeout(Duration::from_millis(20)).attempts_max(1);
    world.engine.submit(job).unwrap();
    assert_eq!(world.event(), (OutcomeKind::TimedOut, Next::Dead));
    // Its thread was given back: the token told the handler.
    world.engine.submit(text("a")).unwrap();
    world.engine.submit(text("b")).unwrap();
    assert!(world.engine.drain(PATIENCE));
}

#[test]
fn waiting_and_running_jobs_can_be_cancelled() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::start(&dir);
    let waiting = world.engine.submit(text("late").delay(Duration::from_secs(3600))).unwrap();
    let info = world.engine.job(waiting).unwrap();
    let Some(JobInfo::Pending { state, kind, attempts, .. }) = info else { panic!("{info:?}") };
    assert_eq!((state, kind.as_str(), attempts), (JobState::Scheduled, "text", 0));
    assert_eq!(world.engine.cancel(waiting), Ok(Some(JobState::Scheduled)));
    assert_eq!(world.engine.cancel(waiting), Ok(None));
    let running = world.engine.submit(text("hang")).unwrap();
    world.run();
    assert_eq!(world.engine.cancel(running), Ok(Some(JobState::Running)));
    assert_eq!(world.event(), (OutcomeKind::Cancelled, Next::Done));
    assert!(world.engine.drain(PATIENCE));
}

#[test]
fn what_was_accepted_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    // Paused: none of them ends before the restart, however long that takes to come.
    let world = World::start_with(builder(&dir).paused(true));
    let soon = SystemTime::now() + Duration::from_millis(300);
    world.engine.submit(text("instant").at(soon)).unwrap();
    world.engine.submit(text("delay").delay(Duration::from_millis(300))).unwrap();
    world
        .engine
        .put_schedule(Schedule::every("pulse", Duration::from_millis(50), text("pulse")))
        .unwrap();
    drop(world);
    let world = World::start(&dir);
    assert!(world.engine.stats().unwrap().recovered_jobs >= 2);
    assert_eq!(world.engine.schedules().unwrap()[0].name, "pulse");
    let mut seen = [false; 3];
    while seen != [true; 3] {
        match world.run().0.as_str() {
            "instant" => seen[0] = true,
            "delay" => seen[1] = true,
            _ => seen[2] = true,
        }
    }
    assert_eq!(world.engine.remove_schedule("pulse"), Ok(true));
    assert_eq!(world.engine.remove_schedule("pulse"), Ok(false));
    assert!(world.engine.drain(PATIENCE));
}

#[test]
fn an_attempt_that_a_shutdown_cuts_off_is_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let release = Arc::new(AtomicBool::new(false));
    let (started, starts) = unbounded();
    let start = |release: Arc<AtomicBool>, started: crossbeam::channel::Sender<u16>| {
        builder(&dir)
            .handler("slow", move |attempt: &Attempt<'_>| {
                started.send(attempt.number()).unwrap();
                while !release.load(Ordering::Relaxed) && !attempt.is_cancelled() {
                    std::thread::yield_now();
                }
                if attempt.is_cancelled() { Err(JobError::retryable("stopped")) } else { Ok(()) }
            })
            .start()
            .unwrap()
    };
    let engine = start(Arc::clone(&release), started.clone());
    let backoff = Backoff::exponential(Duration::from_millis(1), Duration::from_millis(1));
    engine.submit(NewJob::new("slow").backoff(backoff)).unwrap();
    assert_eq!(starts.recv_timeout(PATIENCE), Ok(1));
    let report = engine.shutdown(Duration::from_millis(10)).unwrap();
    assert_eq!(report.abandoned, 0, "the handler looked at its token");
    drop(engine);
    release.store(true, Ordering::Relaxed);
    let engine = start(release, started);
    assert_eq!(starts.recv_timeout(PATIENCE), Ok(2));
    assert!(engine.drain(PATIENCE));
}

#[test]
fn attempts_that_a_shutdown_finds_in_the_queue_are_not_counted() {
    let dir = tempfile::tempdir().unwrap();
    let (started, starts) = unbounded();
    let start = |started: crossbeam::channel::Sender<u16>| {
        builder(&dir)
            .executors(1)
            .handler("wait", move |attempt: &Attempt<'_>| {
                started.send(attempt.number()).unwrap();
                while attempt.payload() == b"first" && !attempt.is_cancelled() {
                    std::thread::yield_now();
                }
                Ok(())
            })
            .start()
            .unwrap()
    };
    let engine = start(started.clone());
    let once = |payload: &str| NewJob::new("wait").payload(payload.to_owned()).attempts_max(1);
    engine.submit_batch(vec![once("first"), once("second"), once("third")]).unwrap();
    assert_eq!(starts.recv_timeout(PATIENCE), Ok(1));
    engine.shutdown(Duration::ZERO).unwrap();
    drop(engine);
    let engine = start(started);
    assert!(engine.drain(PATIENCE));
    assert_eq!(starts.try_iter().collect::<Vec<_>>(), [1, 1]);
    assert_eq!(engine.stats().unwrap().counts.dead, 0);
}

/// An engine with one executor whose handler blocks on "first" until the sender speaks, and the
/// payloads that handlers were called with.
fn blocked(dir: &TempDir) -> (Engine, crossbeam::channel::Sender<()>, Receiver<String>) {
    let (release, released) = unbounded::<()>();
    let (called, calls) = unbounded();
    let engine = builder(dir)
        .executors(1)
        .handler("text", move |attempt: &Attempt<'_>| {
            let text = String::from_utf8(attempt.payload().to_vec()).unwrap();
            called.send(text.clone()).unwrap();
            if text == "first" {
                released.recv().unwrap();
            }
            Ok(())
        })
        .start()
        .unwrap();
    engine.submit(text("first")).unwrap();
    assert_eq!(calls.recv_timeout(PATIENCE).unwrap(), "first");
    (engine, release, calls)
}

#[test]
fn a_job_that_is_cancelled_in_the_executors_queue_is_not_called() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, release, calls) = blocked(&dir);
    let second = engine.submit(text("second")).unwrap();
    let is_lent =
        |info| matches!(info, Ok(Some(JobInfo::Pending { state: JobState::Running, .. })));
    wait_until("the second job is lent out", || is_lent(engine.job(second)));
    assert_eq!(engine.cancel(second), Ok(Some(JobState::Running)));
    release.send(()).unwrap();
    engine.submit(text("third")).unwrap();
    assert!(engine.drain(PATIENCE));
    assert_eq!(calls.try_iter().collect::<Vec<_>>(), ["third"]);
}

#[test]
fn the_wait_for_an_executor_is_not_part_of_the_time_out() {
    // A handler that the machine holds up for that long times out by right, and a longer time-out
    // tells. One that counts the wait passes with every one of them.
    let mut dead = Vec::new();
    for timeout_ms in [20, 200, 2000] {
        let dir = tempfile::tempdir().unwrap();
        let (engine, release, calls) = blocked(&dir);
        let timeout = Duration::from_millis(timeout_ms);
        let jobs = (0..5).map(|n| text(&n.to_string()).timeout(timeout).attempts_max(1)).collect();
        engine.submit_batch(jobs).unwrap();
        // Several of their time-outs pass while they wait: seen by the clock, whatever its pace.
        let until = Instant::now() + 5 * timeout;
        while Instant::now() < until {
            std::thread::yield_now();
        }
        release.send(()).unwrap();
        assert!(engine.drain(PATIENCE));
        let counts = engine.stats().unwrap().counts;
        if counts.dead == 0 {
            assert_eq!((counts.succeeded, calls.try_iter().count()), (6, 5));
            return;
        }
        dead.push((timeout_ms, counts.dead));
    }
    panic!("time-outs passed in the queue: {dead:?}");
}

#[test]
fn a_panic_in_a_callback_does_not_take_the_shard_along() {
    let dir = tempfile::tempdir().unwrap();
    let engine =
        builder(&dir).handler("text", |_| Ok(())).observer(|_| panic!("as asked")).start().unwrap();
    engine.submit_batch_then(vec![text("a")], |_| panic!("as asked")).unwrap();
    engine.submit(text("b")).unwrap();
    assert!(engine.drain(PATIENCE));
    assert_eq!(engine.stats().unwrap().counts.succeeded, 2);
}

#[test]
fn jobs_without_a_handler_wait_for_a_program_that_has_one() {
    let dir = tempfile::tempdir().unwrap();
    let engine = builder(&dir).paused(true).handler("text", |_| Ok(())).start().unwrap();
    let id = engine.submit(text("kept").attempts_max(1)).unwrap();
    drop(engine);
    let engine = builder(&dir).handler("other", |_| Ok(())).start().unwrap();
    engine.submit(NewJob::new("other")).unwrap();
    let waits = |info| {
        matches!(info, Ok(Some(JobInfo::Pending { state: JobState::Scheduled, attempts: 0, .. })))
    };
    wait_until("the job waits for another program", || waits(engine.job(id)));
    assert_eq!(engine.stats().unwrap().counts.dead, 0);
}

#[test]
fn after_a_failed_sync_every_call_is_answered_and_nothing_more_runs() {
    let dir = tempfile::tempdir().unwrap();
    let (told, failures) = unbounded();
    let builder = builder(&dir).paused(true);
    let world = World::start_with(builder.on_failure(move |error| drop(told.send(error.clone()))));
    let kept = world.engine.submit(text("kept")).unwrap();
    let shard = dir.path().join("shard-000");
    tickwheel_wal::faults::fail_syncs(&shard);
    let lost = |error| matches!(error, SubmitError::Call(CallError::LogFailed(_)));
    assert!(lost(world.engine.submit(text("unsure")).unwrap_err()));
    assert!(matches!(failures.recv_timeout(PATIENCE), Ok(CallError::LogFailed(_))));
    world.engine.resume().unwrap();
    // Each later call is answered as well, also those that would change nothing.
    assert!(lost(world.engine.submit(text("refused")).unwrap_err()));
    assert!(matches!(world.engine.cancel(kept), Err(CallError::LogFailed(_))));
    assert!(matches!(world.engine.remove_schedule("none"), Err(CallError::LogFailed(_))));
    assert!(!world.engine.drain(Duration::from_millis(100)));
    assert!(world.runs.is_empty(), "nothing is handed out any more");
    assert!(world.engine.shutdown(Duration::ZERO).is_err());
    drop(world);
    tickwheel_wal::faults::heal(&shard);
    let world = World::start(&dir);
    assert!(world.engine.drain(PATIENCE));
    let runs: Vec<String> = world.runs.try_iter().map(|(text, _)| text).collect();
    assert!(runs.contains(&"kept".to_owned()) && !runs.contains(&"refused".to_owned()), "{runs:?}");
}

#[test]
fn a_paused_engine_takes_jobs_and_runs_them_once_resumed() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::start_with(builder(&dir).paused(true));
    world.engine.submit(text("a")).unwrap();
    assert!(!world.engine.drain(Duration::from_millis(20)));
    assert!(world.runs.is_empty());
    world.engine.resume().unwrap();
    assert!(world.engine.drain(PATIENCE));
    assert_eq!(world.run().0, "a");
}

#[test]
fn schedules_fire_and_are_listed() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::start(&dir);
    let cron = Cron::parse("* * * * * *").unwrap().with_zone("Europe/Berlin").unwrap();
    let all = Missed::All { limit: 3, window: Duration::from_secs(60) };
    world
        .engine
        .put_schedule(Schedule::cron("each second", cron, text("cron")).missed(all))
        .unwrap();
    world.engine.put_schedule(Schedule::once("once", None, text("once"))).unwrap();
    // Which comes first depends on where in the second this runs.
    let mut ran: Vec<String> = Vec::new();
    while !(ran.contains(&"once".to_owned()) && ran.contains(&"cron".to_owned())) {
        ran.push(world.run().0);
    }
    assert_eq!(ran.iter().filter(|text| *text == "once").count(), 1, "{ran:?}");
    let list = world.engine.schedules().unwrap();
    assert_eq!(list.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["each second", "once"]);
    assert!(list[0].next.is_some() && list[1].next.is_none());
    assert_eq!(list[1].fired, 1);
}

#[test]
fn what_cannot_be_taken_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::start(&dir);
    let refused = |job: NewJob| world.engine.submit(job).unwrap_err();
    assert_eq!(refused(NewJob::new("other")), SubmitError::UnknownKind("other".to_owned()));
    let large = Refusal::PayloadTooLarge { len_bytes: (1 << 20) + 1, max_bytes: 1 << 20 };
    assert_eq!(refused(text("").payload(vec![0; (1 << 20) + 1])), SubmitError::Refused(large));
    let priority = Refusal::PriorityOutOfRange { priority: 10 };
    assert_eq!(refused(text("").priority(10)), SubmitError::Refused(priority));
    let far = text("").delay(Duration::MAX);
    assert_eq!(refused(far), SubmitError::Refused(Refusal::DueTooFar));
    let batch = vec![text(""); 65_537];
    let error = world.engine.submit_batch(batch).unwrap_err();
    assert_eq!(error, SubmitError::BatchTooLarge { len: 65_537 });
    // The largest payload that is allowed comes back whole.
    world.engine.submit(text("").payload(vec![b'x'; 1 << 20])).unwrap();
    assert_eq!(world.run().0.len(), 1 << 20);
}

#[test]
fn settings_are_checked_before_anything_starts() {
    let dir = tempfile::tempdir().unwrap();
    let error = |builder: Builder| builder.start().unwrap_err().to_string();
    assert!(error(builder(&dir).shards(0)).contains("shards is 0"));
    assert!(error(builder(&dir).segment_bytes(3 << 20)).contains("power of two"));
    let breaker = |breaker| error(builder(&dir).circuit_breaker("mail", breaker));
    assert!(breaker(CircuitBreaker::new(0)).contains("failures is 0"));
    let second = Duration::from_secs(1);
    assert!(breaker(CircuitBreaker::new(1).cool_down(Duration::ZERO)).contains("cool_down is 0ns"));
    let shrinking = CircuitBreaker::new(1).cool_down(2 * second).cool_down_max(second);
    assert!(breaker(shrinking).contains("cool_down_max is 1s: it must be from its cool_down"));
    assert!(
        breaker(CircuitBreaker::new(1).cool_down(86_401 * second)).contains("cool_down is 86401s")
    );
    let twice = builder(&dir).handler("k", |_| Ok(())).handler("k", |_| Ok(()));
    assert!(error(twice).contains("two handlers"));
    drop(builder(&dir).shards(2).start().unwrap());
    assert!(error(builder(&dir).shards(3)).contains("holds 2 shards, 3 were asked for"));
    let engine = builder(&dir).start().unwrap();
    assert_eq!(engine.shards(), 2);
    let busy = builder(&dir).start().unwrap_err();
    assert!(matches!(busy, StartError::Log(_)), "{busy}");
    assert!(busy.to_string().contains(&std::process::id().to_string()), "{busy}");
}

#[test]
fn every_durability_takes_batches_from_many_threads() {
    for durability in
        [Durability::Sync, Durability::Interval(Duration::from_millis(5)), Durability::Os]
    {
        let dir = tempfile::tempdir().unwrap();
        let count = Arc::new(AtomicU32::new(0));
        let seen = Arc::clone(&count);
        let engine = builder(&dir)
            .durability(durability)
            .shards(2)
            .handler("count", move |_| {
                seen.fetch_add(1, Ordering::Relaxed);
                Ok(())
            })
            .start()
            .unwrap();
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        let answers = engine.submit_batch(vec![NewJob::new("count"); 100]).unwrap();
                        assert!(answers.iter().all(Result::is_ok));
                    }
                });
            }
        });
        assert!(engine.drain(PATIENCE));
        assert_eq!(count.load(Ordering::Relaxed), 6000, "{durability:?}");
        assert_eq!(engine.stats().unwrap().counts.succeeded, 6000);
        engine.shutdown(PATIENCE).unwrap();
    }
}

#[test]
fn a_full_engine_refuses_at_once_and_takes_again_when_there_is_room() {
    let dir = TempDir::new().unwrap();
    let world = World::start_with(builder(&dir).jobs_max(2));
    let far = |name: &str| text(name).delay(Duration::from_secs(3600));
    let first = world.engine.submit(far("first")).unwrap();
    world.engine.submit(far("second")).unwrap();
    let is_full = |answer: &Result<_, SubmitError>| {
        matches!(answer, Err(SubmitError::Refused(Refusal::TooManyJobs { max: 2 })))
    };
    let patience = Instant::now() + PATIENCE;
    // The shard refuses until it has told callers that it is full; then they are refused before
    // they come to it, which is seen by who calls back.
    loop {
        let (tell, told) = unbounded();
        let here = std::thread::current().id();
        let then = move |answers: Result<Vec<_>, _>| {
            tell.send((answers, std::thread::current().id() == here)).unwrap();
        };
        world.engine.submit_batch_then(vec![far("third"), far("fourth")], then).unwrap();
        let (answers, is_here) = told.recv_timeout(PATIENCE).unwrap();
        let answers = answers.unwrap();
        assert_eq!(answers.len(), 2);
        assert!(answers.iter().all(|one| matches!(one, Err(Refusal::TooManyJobs { max: 2 }))));
        if is_here {
            break;
        }
        assert!(Instant::now() < patience, "callers never learn that the engine is full");
    }
    // A job with a key is judged by its shard alone: another may have that key.
    assert!(is_full(&world.engine.submit(far("keyed").key("k"))));
    world.engine.cancel(first).unwrap();
    while world.engine.submit(far("again")).is_err() {
        assert!(Instant::now() < patience, "there is room again");
    }
}
