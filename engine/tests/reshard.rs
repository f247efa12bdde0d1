//! Another number of shards: nothing is lost, nothing changes but ids, and all of it runs.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, OpenOptions},
    ops::ControlFlow,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, mpsc},
    time::{Duration, SystemTime},
};

use tempfile::TempDir;
use tickwheel_engine::{
    Backoff, Counts, Engine, JobError, JobId, JobInfo, JobState, NewJob, QueueLimits, Schedule,
    ScheduleInfo, StartError,
    store::{DumpLine, DumpRange, Store, StoreError, reshard},
    worker::{Fetch, Finish, Order, OrderReply, key_of},
};

const HOUR: Duration = Duration::from_secs(3600);
const PATIENCE: Duration = Duration::from_secs(60);

/// The longest payload.
const LONG: &[u8] = &[b'x'; 1 << 20];

/// Payloads of what has run, in no order.
type Ran = Arc<Mutex<Vec<String>>>;

fn start(dir: &Path, shards: Option<usize>, paused: bool, ran: &Ran) -> Engine {
    let ran = Arc::clone(ran);
    let builder = Engine::builder()
        .data_dir(dir)
        .segment_bytes(8 << 20)
        .executors(2)
        .pin(false)
        .paused(paused)
        .serve_queues(["default", "other", "shut"])
        .handler("fails", |_| Err(JobError::retryable("not today")))
        .handler("dies", |_| Err(JobError::permanent("never")))
        .handler("work", move |attempt| {
            let payload = String::from_utf8(attempt.payload().to_vec()).unwrap();
            ran.lock().unwrap().push(payload);
            Ok(())
        });
    match shards {
        Some(shards) => builder.shards(shards),
        None => builder,
    }
    .start()
    .unwrap()
}

/// A job as the log has it: its payload names it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Logged {
    id: JobId,
    /// The event in words.
    text: String,
}

/// What each job's newest whole record says, by the job's payload.
fn logged(dir: &Path) -> BTreeMap<String, Logged> {
    let mut jobs = BTreeMap::new();
    let store = Store::open(dir).unwrap();
    store
        .dump(DumpRange::default(), &mut |_, line| {
            if let DumpLine::Record { event: Some(Ok(event)), payload, .. } = line
                && ["added", "kept", "schedule fired"].contains(&event.name)
                && let Some(id) = event.job
            {
                let payload = match payload.len() {
                    0..100 => String::from_utf8(payload.to_vec()).unwrap(),
                    _ => format!("long {}", payload == LONG),
                };
                jobs.insert(payload, Logged { id, text: event.text });
            }
            ControlFlow::Continue(())
        })
        .unwrap();
    jobs
}

/// What an engine says, apart from ids.
#[derive(Debug, PartialEq)]
struct Told {
    counts: Counts,
    schedules: Vec<ScheduleInfo>,
    paused: Vec<Box<str>>,
    limited: Vec<(Box<str>, QueueLimits)>,
    /// Without the due time, which is read from the log.
    jobs: BTreeMap<String, String>,
}

fn tell(engine: &Engine, jobs: &BTreeMap<String, Logged>) -> Told {
    let mut told = BTreeMap::new();
    for (payload, logged) in jobs {
        match engine.job(logged.id).unwrap() {
            Some(JobInfo::Pending {
                state,
                kind,
                attempts,
                attempts_max,
                priority,
                schedule,
                ..
            }) => {
                // Whether it has been seen to be due is a matter of the moment.
                let state = if state == JobState::Ready { JobState::Scheduled } else { state };
                let tries = format!("attempt {attempts} of {attempts_max}");
                let job = format!("{state} {kind} {tries}, {priority}, {schedule:?}");
                told.insert(payload.clone(), job);
            }
            Some(JobInfo::Dead { kind, attempts, death, .. }) => {
                told.insert(payload.clone(), format!("dead {kind} attempt {attempts}, {death:?}"));
            }
            other => assert!(matches!(other, Some(JobInfo::Ended)), "{payload}: {other:?}"),
        }
    }
    let all = engine.queues().unwrap();
    let queues = all.iter().filter(|queue| queue.is_paused);
    let limited = all.iter().filter(|queue| queue.limits != QueueLimits::new());
    Told {
        counts: Counts { ready: 0, ..engine.stats().unwrap().counts },
        schedules: engine.schedules().unwrap(),
        paused: queues.map(|queue| queue.name.clone()).collect(),
        limited: limited.map(|queue| (queue.name.clone(), queue.limits)).collect(),
        jobs: told,
    }
}

fn order(engine: &Engine, name: &str, order: Order) -> OrderReply {
    let (reply, answer) = mpsc::channel();
    let shard = engine.shard_of(key_of(name.as_bytes()));
    engine.order(shard, vec![order], move |replies| reply.send(replies).unwrap()).unwrap();
    answer.recv_timeout(PATIENCE).unwrap().unwrap().pop().unwrap()
}

#[track_caller]
fn wait_until(engine: &Engine, is_so: impl Fn(Counts) -> bool) {
    let begun = std::time::Instant::now();
    while !is_so(engine.stats().unwrap().counts) {
        assert!(begun.elapsed() < PATIENCE, "{:?}", engine.stats().unwrap().counts);
        std::thread::yield_now();
    }
}

/// Jobs of all sorts and schedules in one shard.
fn fill(dir: &Path, ran: &Ran) {
    let engine = start(dir, Some(1), false, ran);
    let hourly = Backoff::exponential(HOUR, HOUR);
    let mut ids = Vec::new();
    for number in 0..30 {
        let job = NewJob::new("fails").payload(format!("retry {number}")).backoff(hourly);
        engine.submit(job.key(format!("retry {number}"))).unwrap();
        engine.submit(NewJob::new("work").payload(format!("ended {number}"))).unwrap();
        let job = NewJob::new("work").payload(format!("cancelled {number}")).delay(HOUR);
        ids.push(engine.submit(job).unwrap());
        // Its job waits for a worker that never asks.
        let job = NewJob::new("work").payload(format!("of schedule {number}")).queue("mail");
        engine.put_schedule(Schedule::once(format!("once {number}"), None, job)).unwrap();
        let job = NewJob::new("work").payload("of an hour");
        engine.put_schedule(Schedule::every(format!("every {number}"), HOUR, job)).unwrap();
        let mail = NewJob::new("work").queue("letters").payload(format!("letter {number}"));
        engine.submit(mail.key(format!("letter {number}"))).unwrap();
    }
    ids.iter().for_each(|id| assert!(engine.cancel(*id).unwrap().is_some()));
    engine.submit(NewJob::new("dies").payload("dead")).unwrap();
    engine.pause_queue("shut", true).unwrap();
    let limits = QueueLimits::new().concurrency(1000).weight(7).rate(1000, HOUR, 1000);
    engine.limit_queue("letters", &limits).unwrap();
    wait_until(&engine, |it| (it.succeeded, it.dead, it.failed_attempts) == (30, 1, 31));
    wait_until(&engine, |_| engine.schedules().unwrap().iter().all(once_has_fired));
    let fetched = engine.fetch_wait(&Fetch::new(["letters"], 10, PATIENCE)).unwrap();
    assert_eq!(fetched.len(), 10);
    engine.shutdown(PATIENCE).unwrap();
    // What is due while nothing is triggered.
    let engine = start(dir, None, true, ran);
    let at = SystemTime::now() + Duration::from_millis(5);
    for number in 0..100_u8 {
        let job = |name: &str| NewJob::new("work").payload(format!("{name} {number}"));
        engine.submit(job("at once").priority(number % 10)).unwrap();
        engine.submit(job("at").at(at).queue("other")).unwrap();
        engine.submit(job("delayed").delay(Duration::from_millis(10)).attempts_max(3)).unwrap();
        engine.submit(job("far").delay(HOUR).timeout(HOUR)).unwrap();
        engine.submit(job("shut").queue("shut")).unwrap();
        engine.submit(job("keyed").key(format!("keyed {number}")).delay(HOUR)).unwrap();
    }
    engine.submit(NewJob::new("work").payload(LONG).delay(HOUR)).unwrap();
    engine.shutdown(PATIENCE).unwrap();
}

fn once_has_fired(schedule: &ScheduleInfo) -> bool {
    !schedule.name.starts_with("once") || schedule.fired == 1
}

/// What was added comes back as `kept`; a job keeps all but that.
fn terms(text: &str) -> &str {
    let text = text.find("kind ").map_or(text, |at| &text[at..]);
    text.split(", next").next().unwrap()
}

#[test]
fn from_one_to_three_to_two_to_one_nothing_changes_but_ids() {
    let root = tempfile::tempdir().unwrap();
    let (dir, ran) = (root.path(), Ran::default());
    fill(dir, &ran);
    let mut before = logged(dir);
    let engine = start(dir, None, true, &ran);
    let mut told = tell(&engine, &before);
    engine.shutdown(PATIENCE).unwrap();
    before.retain(|payload, _| told.jobs.contains_key(payload));
    // The last one is dead.
    assert_eq!(before.len(), 30 + 30 + 30 + 600 + 1 + 1);
    assert_eq!((told.schedules.len(), told.counts.fetched, told.paused.len()), (60, 10, 1));
    assert_eq!(told.limited.len(), 1);
    let mut ever: BTreeSet<JobId> = before.values().map(|job| job.id).collect();
    for shards in [3, 2, 1, 3] {
        let resharding = reshard(dir, shards, &mut ()).unwrap();
        let done = resharding.done.unwrap();
        let sum = done.shards.iter().fold(Counts::default(), |sum, it| sum.plus(*it));
        assert_eq!(Counts { ready: 0, ..sum }, told.counts);
        let after = logged(dir);
        // The list says which ids have changed, and no other has.
        let list = fs::read_to_string(&done.moved_ids).unwrap();
        let moved: BTreeMap<JobId, JobId> = list
            .lines()
            .map(|line| line.split_once('\t').unwrap())
            .map(|(old, new)| (old.parse().unwrap(), new.parse().unwrap()))
            .collect();
        assert_eq!((moved.len() as u64, moved.is_empty()), (done.moved, false));
        assert_eq!(after.len(), before.len());
        for (payload, old) in &before {
            let new = &after[payload];
            assert_eq!(new.id, *moved.get(&old.id).unwrap_or(&old.id), "{payload}");
            // The time of a retry is in another event at first.
            if !payload.starts_with("retry") || old.text.starts_with("scheduled") {
                assert_eq!(terms(&new.text), terms(&old.text), "{payload}");
            }
        }
        for id in moved.values() {
            assert!(ever.insert(*id), "the id {id} was given out twice");
        }
        let engine = start(dir, None, true, &ran);
        assert_eq!(engine.shards(), shards);
        let told_now = tell(&engine, &after);
        for (payload, job) in &told.jobs {
            assert_eq!(told_now.jobs.get(payload), Some(job), "{payload}");
        }
        assert_eq!(told_now, told);
        check_retries(&engine, &after);
        check_places(&engine, &after);
        // New ones are told from all that there ever were.
        for number in 0..2 * shards {
            let id = engine.submit(NewJob::new("work").payload("x").delay(HOUR)).unwrap();
            assert!(ever.insert(id), "the id {id} was given out twice, job {number}");
            assert_eq!(engine.cancel(id).unwrap(), Some(JobState::Scheduled));
        }
        engine.shutdown(PATIENCE).unwrap();
        told.counts.added += 2 * shards as u64;
        told.counts.cancelled += 2 * shards as u64;
        before = after;
    }
    run_all(dir, &ran, told.counts);
}

/// What failed is tried again an hour later, and not before.
#[track_caller]
fn check_retries(engine: &Engine, jobs: &BTreeMap<String, Logged>) {
    for number in 0..30 {
        let id = jobs[&format!("retry {number}")].id;
        let Some(JobInfo::Pending { due, .. }) = engine.job(id).unwrap() else { panic!("{id}") };
        assert!(due > SystemTime::now() + HOUR / 2, "{due:?}");
    }
}

/// What has a name is found by it.
#[track_caller]
fn check_places(engine: &Engine, jobs: &BTreeMap<String, Logged>) {
    let has_key = |name: &&String| {
        ["keyed", "letter", "retry"].iter().any(|kind| name.split(' ').next() == Some(kind))
    };
    let names: Vec<&String> = jobs.keys().filter(has_key).collect();
    assert_eq!(names.len(), 160);
    for name in names {
        let key = key_of(name.as_bytes());
        let OrderReply::Looked(Some(seen)) = order(engine, name, Order::Look { job: key.into() })
        else {
            panic!("the job with the key {name:?} is not found");
        };
        let mut payload = Vec::new();
        seen.payload.append_to(&mut payload).unwrap();
        assert_eq!(payload, name.as_bytes());
    }
}

/// Runs all that is due, lets workers end what they have, and ends the rest by name.
fn run_all(dir: &Path, ran: &Ran, before: Counts) {
    ran.lock().unwrap().clear();
    let engine = start(dir, None, false, ran);
    assert!(engine.pause_queue("shut", false).unwrap());
    wait_until(&engine, |it| it.succeeded == before.succeeded + 400);
    let mut payloads = std::mem::take(&mut *ran.lock().unwrap());
    payloads.sort();
    let names = ["at", "at once", "delayed", "shut"];
    let expected = names.iter().flat_map(|name| (0..100).map(move |n| format!("{name} {n}")));
    let mut expected: Vec<String> = expected.collect();
    expected.sort();
    assert_eq!(payloads, expected);
    // Ten letters were fetched long ago, and twenty are to be.
    let mut letters = 0;
    while letters < 20 {
        let fetched = engine.fetch_wait(&Fetch::new(["letters"], 30, PATIENCE)).unwrap();
        assert!(!fetched.is_empty());
        letters += fetched.len();
    }
    for number in 0..30 {
        let name = format!("letter {number}");
        let key = key_of(name.as_bytes());
        let reply =
            order(&engine, &name, Order::Finish { job: key.into(), outcome: Finish::Succeeded });
        assert!(matches!(reply, OrderReply::Finished(true)), "{name}: {reply:?}");
        for schedule in ["once", "every"] {
            let name = format!("{schedule} {number}");
            assert!(engine.remove_schedule(&name).unwrap(), "{name} is not found");
        }
    }
    let counts = engine.stats().unwrap().counts;
    assert_eq!((counts.schedules, counts.fetched), (0, 0));
    assert_eq!(counts.pending, before.pending - 400 - 30);
    engine.shutdown(PATIENCE).unwrap();
    assert!(Store::open(dir).unwrap().verify(&mut ()).unwrap().is_clean());
}

#[test]
fn an_attempt_under_way_is_lost_and_made_again_by_its_new_shard() {
    let root = tempfile::tempdir().unwrap();
    let (dir, copy) = (root.path().join("data"), root.path().join("copy"));
    let (tell_begun, begun) = mpsc::channel();
    let (let_go, go) = mpsc::channel::<()>();
    let (tell_begun, go) = (Mutex::new(tell_begun), Mutex::new(go));
    let builder = Engine::builder().data_dir(&dir).shards(2).segment_bytes(8 << 20).executors(2);
    let engine = builder.pin(false).handler("work", move |_| {
        tell_begun.lock().unwrap().send(()).unwrap();
        let _ = go.lock().unwrap().recv();
        Ok(())
    });
    let engine = engine.start().unwrap();
    let mut last = None;
    for number in 0..2 {
        let job = NewJob::new("work").payload(format!("work {number}"));
        last = last.max(Some(engine.submit(job).unwrap()));
        begun.recv_timeout(PATIENCE).unwrap();
    }
    // As the log is when the process is killed now.
    Store::open(&dir).unwrap().backup(&copy, &mut ()).unwrap();
    drop(let_go);
    engine.shutdown(PATIENCE).unwrap();
    let resharding = reshard(&copy, 1, &mut ()).unwrap();
    let done = resharding.done.unwrap();
    assert_eq!((done.moved, done.shards[0].running, done.shards[0].pending), (1, 2, 2));
    let ran = Ran::default();
    let engine = start(&copy, None, false, &ran);
    assert!(engine.drain(PATIENCE));
    let stats = engine.stats().unwrap();
    assert_eq!((stats.lost_attempts, stats.counts.succeeded, stats.counts.added), (2, 2, 2));
    let next = engine.submit(NewJob::new("work")).unwrap();
    assert!(next.sequence() > last.unwrap().sequence() + 1000, "the crash took ids along");
    engine.shutdown(PATIENCE).unwrap();
    let mut ran = std::mem::take(&mut *ran.lock().unwrap());
    ran.retain(|payload| !payload.is_empty());
    ran.sort();
    assert_eq!(ran, ["work 0", "work 1"]);
}

/// A data directory of two shards that is to stay as it is.
fn small() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    let engine = start(root.path(), Some(2), false, &Ran::default());
    for number in 0..20 {
        engine.submit(NewJob::new("work").payload(format!("{number}")).delay(HOUR)).unwrap();
    }
    engine.shutdown(PATIENCE).unwrap();
    root
}

/// All files of a directory tree but the locks, with their bytes.
fn files_in(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_in(&path));
        } else if !path.ends_with("LOCK") {
            files.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    files
}

#[track_caller]
fn check_refused(dir: &Path, shards: usize, parts: &[&str]) -> StoreError {
    let before = files_in(dir);
    let error = reshard(dir, shards, &mut ()).unwrap_err();
    for part in parts {
        assert!(error.to_string().contains(part), "{part:?} is not in {error}");
    }
    assert!(files_in(dir) == before, "something was changed");
    error
}

#[test]
fn what_cannot_be_done_is_refused_and_nothing_is_changed() {
    let root = small();
    let dir = root.path();
    for shards in [0, 257] {
        check_refused(dir, shards, &["from 1 to 256"]);
    }
    let before = files_in(dir);
    let same = reshard(dir, 2, &mut ()).unwrap();
    assert_eq!((same.from, same.to, same.done.is_none()), (2, 2, true));
    assert!(files_in(dir) == before, "something was changed");
    check_refused(&dir.join("shard-000"), 3, &["name the data directory"]);
    let engine = start(dir, None, false, &Ran::default());
    let error = reshard(dir, 3, &mut ()).unwrap_err();
    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
    engine.shutdown(PATIENCE).unwrap();
    fs::create_dir(dir.join("shard-002")).unwrap();
    check_refused(dir, 3, &["more than SHARDS says"]);
    fs::remove_dir(dir.join("shard-002")).unwrap();
    let (shard, aside) = (dir.join("shard-001"), dir.join("aside"));
    fs::rename(&shard, &aside).unwrap();
    check_refused(dir, 3, &["shard-001 is missing"]);
    std::os::unix::fs::symlink(&aside, &shard).unwrap();
    check_refused(dir, 3, &["shard-001 is a link"]);
    fs::remove_file(&shard).unwrap();
    fs::create_dir(&shard).unwrap();
    check_refused(dir, 3, &["shard-001 holds no log"]);
    fs::remove_dir(&shard).unwrap();
    fs::rename(&aside, &shard).unwrap();
    let segment = OpenOptions::new().write(true).open(shard.join("00000000000000000000.seg"));
    segment.unwrap().write_all_at(b"not a record", 4100).unwrap();
    let error = check_refused(dir, 3, &["shard-001 is damaged", "wal repair"]);
    assert!(matches!(error, StoreError::NeedsRepair { .. }));
}

#[test]
fn an_engine_with_another_number_is_told_of_the_tool() {
    let root = small();
    let builder = Engine::builder().data_dir(root.path()).shards(3).segment_bytes(8 << 20);
    let error = builder.start().unwrap_err();
    assert!(matches!(error, StartError::ShardCount { found: 2, asked: 3, .. }));
    assert!(error.to_string().contains("tickwheel reshard"), "{error}");
}
