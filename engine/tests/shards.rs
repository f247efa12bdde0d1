//! Shards that close and open while the others go on, through the public API, under load.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crossbeam::channel::{bounded, unbounded};
use tempfile::TempDir;
use tickwheel_engine::{
    Attempt, Builder, CallError, Durability, Engine, JobError, JobInfo, NewJob, OpenShardError,
    Refusal, Schedule, StartError, SubmitError,
    latency::Stage,
    ledger::Ledger,
    worker::{Fetch, Order, key_of},
};

/// Longest that a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(30);

fn builder(dir: &TempDir) -> Builder {
    Engine::builder()
        .data_dir(dir.path())
        .shards(3)
        .executors(2)
        .segment_bytes(8 << 20)
        .durability(Durability::Os)
        .pin(false)
}

fn quiet(dir: &TempDir) -> Engine {
    builder(dir).handler("job", |_: &Attempt<'_>| Ok(())).start().unwrap()
}

/// The name of a key of each shard.
fn keys(engine: &Engine) -> Vec<[u8; 8]> {
    let name = |shard| {
        let mut names = (0_u64..).map(u64::to_le_bytes);
        names.find(|name| engine.shard_of(key_of(name)) == shard).unwrap()
    };
    (0..engine.shards()).map(name).collect()
}

fn far() -> NewJob {
    NewJob::new("job").delay(Duration::from_secs(3600))
}

/// Waits until it is so.
#[track_caller]
fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "never: {what}");
        thread::yield_now();
    }
}

fn closed<T>(shard: usize) -> Result<T, CallError> {
    Err(CallError::ShardClosed(shard))
}

/// Whether the folder of a shard can be locked, as another process would.
fn is_free(dir: &TempDir, shard: usize) -> bool {
    let folder = dir.path().join(format!("shard-{shard:03}"));
    let files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap()).collect();
    let lock = files.iter().find(|file| file.file_name().to_string_lossy().contains("LOCK"));
    std::fs::File::open(lock.unwrap().path()).unwrap().try_lock().is_ok()
}

#[test]
fn calls_to_a_closed_shard_are_refused_and_all_others_are_served() {
    let dir = tempfile::tempdir().unwrap();
    let engine = quiet(&dir);
    let keys = keys(&engine);
    let ids: Vec<_> = keys.iter().map(|key| engine.submit(far().key(*key)).unwrap()).collect();
    assert_eq!(engine.stats().unwrap().counts.pending, 3);
    assert!(!is_free(&dir, 1));
    assert_eq!(engine.close_shard(1, PATIENCE).unwrap().abandoned, 0);
    assert!(is_free(&dir, 1), "its lock is held");
    assert_eq!([0, 1, 2, 3].map(|shard| engine.is_shard_open(shard)), [true, false, true, false]);

    assert_eq!(engine.job(ids[1]), closed(1));
    assert_eq!(engine.cancel(ids[1]), closed(1));
    let error = SubmitError::Call(CallError::ShardClosed(1));
    assert_eq!(engine.submit(far().key(keys[1])), Err(error));
    // Each job of a batch is taken or refused by itself.
    let batch = vec![far(), far().key(keys[1])];
    let answers = engine.submit_batch(batch).unwrap();
    assert!(engine.cancel(answers[0].clone().unwrap()).unwrap().is_some());
    assert_eq!(answers[1], Err(Refusal::ShardClosed(1)));
    assert_eq!(
        engine.order(1, vec![Order::Look { job: key_of(&keys[1]).into() }], |_| {}),
        closed(1)
    );
    assert_eq!(engine.pause_queue("elsewhere", true), closed(1));
    assert!(matches!(engine.job(ids[0]), Ok(Some(JobInfo::Pending { .. }))));
    assert_eq!(engine.stats().unwrap().counts.pending, 2);
    let error = CallError::ShardClosed(1).to_string();
    assert!(error.contains("shard 1") && error.contains("open it"), "{error}");

    // The turns of the closed shard go round among the others.
    let places: Vec<u8> = (0..8).map(|_| engine.submit(far()).unwrap().shard().0).collect();
    assert_eq!([0, 1, 2].map(|n| places.iter().filter(|place| **place == n).count()), [4, 0, 4]);
    // Closing it again does nothing.
    assert_eq!(engine.close_shard(1, PATIENCE).unwrap(), Default::default());

    let opened = engine.open_shard(1).unwrap();
    assert_eq!((opened.recovered_jobs, opened.lost_attempts), (1, 0));
    assert!(!is_free(&dir, 1));
    assert!(matches!(engine.job(ids[1]), Ok(Some(JobInfo::Pending { .. }))));
    assert_eq!(engine.stats().unwrap().counts.pending, 11);
    assert!(matches!(engine.open_shard(1), Err(OpenShardError::AlreadyOpen(1))));
    assert!(engine.close_shard(3, PATIENCE).is_err() && engine.open_shard(3).is_err());
    assert!(engine.shard_latency(3).is_none());
    // It keeps what it measured before, and is measured on.
    assert_eq!(engine.shard_latency(1).unwrap().stage(Stage::SubmitAck).len(), 1);
    engine.cancel(ids[1]).unwrap();
    engine.submit(far().key(keys[1])).unwrap();
    assert_eq!(engine.shard_latency(1).unwrap().stage(Stage::SubmitAck).len(), 2);
    assert_eq!(engine.latency().stage(Stage::SubmitAck).len(), 13);
    engine.shutdown(PATIENCE).unwrap();
    assert!(engine.close_shard(0, PATIENCE).is_err() && engine.open_shard(0).is_err());
}

#[test]
fn with_all_shards_closed_each_call_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let engine = quiet(&dir);
    let every = Duration::from_secs(3600);
    engine.put_schedule(Schedule::every("hourly", every, NewJob::new("job"))).unwrap();
    let fetch = Fetch::new(["default"], 1, PATIENCE);
    let (tell, told) = bounded(1);
    engine.fetch(&fetch, move |fetched| tell.send(fetched.len()).unwrap()).unwrap();
    for shard in 0..3 {
        engine.close_shard(shard, PATIENCE).unwrap();
    }
    assert_eq!(told.recv_timeout(PATIENCE / 2), Ok(0), "the fetch waits for nobody");
    assert!(matches!(engine.submit(far()), Err(SubmitError::Call(CallError::ShardClosed(_)))));
    assert!(matches!(engine.fetch_wait(&fetch), Err(CallError::ShardClosed(_))));
    assert_eq!(engine.stats().unwrap().counts.pending, 0);
    assert_eq!(engine.schedules().unwrap(), []);
    assert!(engine.drain(PATIENCE));
    for shard in 0..3 {
        engine.open_shard(shard).unwrap();
    }
    assert_eq!(engine.schedules().unwrap().len(), 1);
    engine.submit(NewJob::new("job")).unwrap();
    assert!(engine.drain(PATIENCE));
}

#[test]
fn a_shard_that_cannot_be_opened_stays_closed_and_may_be_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let engine = quiet(&dir);
    engine.close_shard(2, PATIENCE).unwrap();
    let folder = dir.path().join("shard-002");
    let aside = dir.path().join("aside");
    std::fs::rename(&folder, &aside).unwrap();
    std::fs::write(&folder, "no folder").unwrap();
    let error = engine.open_shard(2).unwrap_err();
    assert!(matches!(error, OpenShardError::Start(StartError::Log(_))), "{error}");
    assert!(!engine.is_shard_open(2));
    std::fs::remove_file(&folder).unwrap();
    std::fs::rename(&aside, &folder).unwrap();
    engine.open_shard(2).unwrap();
    engine.submit(NewJob::new("job").key(keys(&engine)[2])).unwrap();
    assert!(engine.drain(PATIENCE));
}

#[test]
fn running_attempts_have_the_grace_and_what_does_not_return_holds_up_no_other_shard() {
    let dir = tempfile::tempdir().unwrap();
    let (begun, begins) = unbounded();
    let let_go = Arc::new(AtomicBool::new(false));
    let held = Arc::clone(&let_go);
    // One executor: the other shards need another in its place.
    let engine = builder(&dir)
        .executors(1)
        .handler("deaf", move |attempt: &Attempt<'_>| {
            begun.send(attempt.number()).unwrap();
            while attempt.number() == 1 && !held.load(Ordering::Relaxed) {
                thread::yield_now();
            }
            Ok(())
        })
        .handler("polite", |attempt: &Attempt<'_>| {
            while !attempt.is_cancelled() {
                thread::yield_now();
            }
            Err(JobError::retryable("asked to stop"))
        })
        .handler("job", |_: &Attempt<'_>| Ok(()))
        .start()
        .unwrap();
    let keys = keys(&engine);
    engine.submit(NewJob::new("polite").key(keys[0])).unwrap();
    wait_until("an attempt is lent out", || engine.stats().unwrap().counts.running > 0);
    assert_eq!(engine.close_shard(0, Duration::ZERO).unwrap().abandoned, 0);
    engine.submit(NewJob::new("deaf").key(keys[1])).unwrap();
    assert_eq!(begins.recv_timeout(PATIENCE), Ok(1));
    assert_eq!(engine.close_shard(1, Duration::ZERO).unwrap().abandoned, 1);
    engine.submit(NewJob::new("job").key(keys[2])).unwrap();
    assert!(engine.drain(PATIENCE), "no executor is left");
    assert_eq!(engine.stats().unwrap().executors_hung, 1);
    assert_eq!(engine.open_shard(1).unwrap().lost_attempts, 1);
    assert_eq!(begins.recv_timeout(PATIENCE), Ok(2));
    assert!(engine.drain(PATIENCE));
    // What the first attempt comes to concerns nobody any more.
    let_go.store(true, Ordering::Relaxed);
    wait_until("the handler has returned", || engine.stats().unwrap().executors_hung == 0);
    assert_eq!(engine.stats().unwrap().stale_completions, 0);
    engine.shutdown(PATIENCE).unwrap();
}

#[test]
fn a_shard_that_was_closed_when_the_engine_went_on_opens_unpaused() {
    let dir = tempfile::tempdir().unwrap();
    let engine = builder(&dir).paused(true).handler("job", |_: &Attempt<'_>| Ok(())).start();
    let engine = engine.unwrap();
    engine.submit(NewJob::new("job").key(keys(&engine)[0])).unwrap();
    engine.close_shard(0, PATIENCE).unwrap();
    engine.open_shard(0).unwrap();
    assert_eq!(engine.stats().unwrap().counts.pending, 1, "it opened as paused as all are");
    engine.close_shard(0, PATIENCE).unwrap();
    engine.resume().unwrap();
    engine.open_shard(0).unwrap();
    assert!(engine.drain(PATIENCE));
}

/// Callers add jobs, with keys and without, to three shards, of which one is closed and opened again
/// and again. Whatever was acknowledged runs, once, and all counts agree.
#[test]
fn under_load_nothing_is_lost_or_doubled_while_a_shard_closes_and_opens() {
    const CALLERS: u32 = 3;
    const ROUNDS: u32 = 12;
    const BATCH: u32 = 4;
    const JOBS: u32 = 1 << 22;
    let dir = tempfile::tempdir().unwrap();
    let ledger = Arc::new(Ledger::in_memory(JOBS));
    let book = Arc::clone(&ledger);
    let engine = builder(&dir)
        .handler("count", move |attempt: &Attempt<'_>| {
            let number = attempt.payload().try_into().map_err(JobError::permanent)?;
            book.ran(u32::from_le_bytes(number), false).map_err(JobError::permanent)
        })
        .start()
        .unwrap();
    let (next, refused, over) = (AtomicU32::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let served_meanwhile = AtomicU64::new(0);
    let is_closed = AtomicBool::new(false);
    let call = |with_keys: bool| {
        while !over.load(Ordering::Relaxed) {
            let first = next.fetch_add(BATCH, Ordering::Relaxed);
            assert!(first + BATCH < JOBS, "the ledger is full");
            let numbers = first..first + BATCH;
            let job = |number: u32| {
                let job = NewJob::new("count").payload(number.to_le_bytes().to_vec());
                let job = job.delay(Duration::from_millis(u64::from(number % 3)));
                // A batch with a key goes to the shards that its keys say.
                if with_keys && number == first { job.key(first.to_le_bytes()) } else { job }
            };
            let meanwhile = is_closed.load(Ordering::SeqCst);
            ledger.submitted(u64::from(BATCH));
            let mut left: Vec<u32> = numbers.collect();
            while !left.is_empty() {
                match engine.submit_batch(left.iter().map(|number| job(*number)).collect()) {
                    Ok(answers) => {
                        let mut answers = answers.into_iter();
                        left.retain(|number| match answers.next().unwrap() {
                            Ok(_) => {
                                ledger.acked(*number..*number + 1).unwrap();
                                false
                            }
                            Err(Refusal::ShardClosed(1)) => true,
                            Err(refusal) => panic!("{refusal}"),
                        });
                    }
                    Err(SubmitError::Call(CallError::ShardClosed(1))) => {}
                    Err(error) => panic!("{error}"),
                }
                // What was refused was not taken, and is sent again.
                let since = Instant::now();
                while !left.is_empty() && !engine.is_shard_open(1) {
                    assert!(since.elapsed() < PATIENCE, "the shard stays closed");
                    refused.fetch_add(1, Ordering::Relaxed);
                    thread::yield_now();
                }
            }
            if meanwhile && is_closed.load(Ordering::SeqCst) {
                served_meanwhile.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    let call = &call;
    thread::scope(|scope| {
        for caller in 0..CALLERS {
            scope.spawn(move || call(caller == 0));
        }
        for round in 0..ROUNDS {
            // The load has gone on, in all shards.
            wait_for(&next, BATCH * 50);
            assert_eq!(engine.close_shard(1, PATIENCE).unwrap().abandoned, 0, "round {round}");
            is_closed.store(true, Ordering::SeqCst);
            wait_for(&next, BATCH * 50);
            is_closed.store(false, Ordering::SeqCst);
            assert_eq!(engine.open_shard(1).unwrap().lost_attempts, 0, "round {round}");
        }
        over.store(true, Ordering::Relaxed);
    });
    assert!(engine.drain(PATIENCE));
    let balance = ledger.balance();
    assert_eq!((balance.lost, balance.duplicate), (0, 0), "{balance:?}");
    assert!(refused.load(Ordering::Relaxed) > 0, "no call met the closed shard");
    assert!(served_meanwhile.load(Ordering::Relaxed) > 0, "nobody was served meanwhile");
    let counts = engine.stats().unwrap().counts;
    assert_eq!((counts.pending, counts.running), (0, 0), "{counts:?}");
    engine.shutdown(PATIENCE).unwrap();
    // A start from the logs comes to the same, so that no shard has applied what it did not write.
    let engine = quiet(&dir);
    assert_eq!(engine.stats().unwrap().recovered_jobs, 0);
    assert_eq!(engine.stats().unwrap().counts.pending, 0);
}

/// Waits until callers have drawn so many more numbers.
fn wait_for(next: &AtomicU32, more: u32) {
    let until = next.load(Ordering::Relaxed) + more;
    wait_until("the callers go on", || next.load(Ordering::Relaxed) >= until);
}

/// Shutdown, closing and opening at the same time end in a closed engine, whoever comes first.
#[test]
fn an_engine_that_shuts_down_while_shards_close_and_open_ends() {
    for _ in 0..5 {
        let dir = tempfile::tempdir().unwrap();
        let engine = quiet(&dir);
        let started = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while engine.close_shard(0, PATIENCE).is_ok() {
                    started.store(true, Ordering::SeqCst);
                    if engine.open_shard(0).is_err() {
                        break;
                    }
                }
            });
            scope.spawn(|| while engine.submit(far()) != Err(CallError::ShuttingDown.into()) {});
            wait_until("a shard has closed", || started.load(Ordering::SeqCst));
            engine.shutdown(PATIENCE).unwrap();
        });
        assert!(matches!(engine.open_shard(0), Err(OpenShardError::ShuttingDown)));
        assert!((0..3).all(|shard| is_free(&dir, shard) && !engine.is_shard_open(shard)));
    }
}
