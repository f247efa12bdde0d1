//! Jobs that depend on more than their own time, through the public API.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    path::Path,
    sync::mpsc::{Receiver, channel},
    time::{Duration, SystemTime},
};

use tickwheel_engine::{
    Attempt, CallError, Changed, Engine, Fired, Flow, FlowError, JobChange, JobError, JobInfo,
    JobState, NewBatch, NewJob, QueueLimits, Refusal, SubmitError, Unique, When, store,
    worker::{Order, OrderReply, key_of},
};

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

/// An engine that tells the payload of each attempt; one that begins with `fail` fails for good.
fn told(dir: &Path, shards: usize) -> (Engine, Receiver<String>) {
    let (tell, told) = channel();
    let handler = move |attempt: &Attempt<'_>| {
        let text = String::from_utf8_lossy(attempt.payload()).into_owned();
        let fails = text.starts_with("fail");
        tell.send(text).unwrap();
        if fails { Err(JobError::permanent("as asked")) } else { Ok(()) }
    };
    let builder = Engine::builder().data_dir(dir).segment_bytes(8 << 20).shards(shards);
    let engine = builder.executors(2).pin(false).handler("text", handler).start().unwrap();
    (engine, told)
}

fn says(text: &str) -> NewJob {
    NewJob::new("text").payload(text.to_owned())
}

fn drained(engine: &Engine, told: &Receiver<String>) -> Vec<String> {
    assert!(engine.drain(PATIENCE));
    told.try_iter().collect()
}

#[test]
fn all_jobs_of_one_key_of_uniqueness_meet_whatever_their_own_keys() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, told) = told(dir.path(), 4);
    engine.pause_queue("default", true).unwrap();
    let job = |n: u32| says("once").key(format!("job {n}")).unique(Unique::until_end("customer 7"));
    let first = engine.submit(job(0)).unwrap();
    for n in 1..20 {
        assert_eq!(engine.submit(job(n)), Err(SubmitError::Refused(Refusal::NotUnique(first))));
    }
    let batch = (20..30).map(|n| {
        let unique = Unique::until_end("customer 7").or_existing();
        says("once").key(format!("job {n}")).unique(unique)
    });
    let answers = engine.submit_batch(batch.chain([says("other")]).collect()).unwrap();
    assert!(answers[..10].iter().all(|answer| *answer == Ok(first)), "{answers:?}");
    assert!(answers[10].is_ok());
    // Whoever knows but its own key asks all shards.
    let key = key_of(b"job 0");
    let (tell, told_of) = channel();
    let look = Order::Look { job: key.into() };
    engine.order_everywhere(&look, move |reply| tell.send(reply).unwrap()).unwrap();
    let Ok(OrderReply::Looked(Some(_))) = told_of.recv_timeout(PATIENCE).unwrap() else {
        panic!("{first} is not found by its key")
    };
    let unique = Unique::for_time("customer 7", Duration::from_secs(3600)).or_replace();
    let second = engine.submit(says("instead").unique(unique)).unwrap();
    assert_eq!(engine.job(first), Ok(Some(JobInfo::Ended)));
    engine.pause_queue("default", false).unwrap();
    let mut ran = drained(&engine, &told);
    ran.sort();
    assert_eq!(ran, ["instead", "other"]);
    engine.shutdown(PATIENCE).unwrap();
    // The key outlives its job, and the change of the number of shards.
    store::reshard(dir.path(), 3, &mut ()).unwrap();
    let (engine, _told) = self::told(dir.path(), 3);
    let Err(SubmitError::Refused(Refusal::NotUnique(_))) = engine.submit(job(40)) else {
        panic!("the key is free, once held by {second}")
    };
    engine.shutdown(PATIENCE).unwrap();
}

#[test]
fn a_dead_job_is_found_by_its_key_wherever_it_is_and_leaves_a_key_that_outlives_it() {
    let dir = tempfile::tempdir().unwrap();
    let unique = || Unique::for_time("customer 7", Duration::from_secs(3600));
    let mut shards = 4;
    for n in 0..2 {
        let (engine, told) = told(dir.path(), shards);
        let key = |number: u32| format!("job {number}");
        if n == 0 {
            engine.submit(says("fail 0").key(key(0)).unique(unique())).unwrap();
            assert_eq!(drained(&engine, &told), ["fail 0"]);
        }
        let refused = engine.submit(says("other").key(key(1)).unique(unique()));
        assert!(matches!(refused, Err(SubmitError::Refused(Refusal::NotUnique(_)))), "{refused:?}");
        let dead = Ok(Changed::Done(JobState::Dead));
        assert_eq!(engine.change_by_key(key_of(b"job 0"), &JobChange::requeue()), dead);
        assert_eq!(drained(&engine, &told), ["fail 0"]);
        let (tell, told_of) = channel();
        let job = key_of(b"job 0").into();
        let order = Order::Change { job, change: JobChange::requeue() };
        engine.order_everywhere(&order, move |reply| tell.send(reply).unwrap()).unwrap();
        let Ok(OrderReply::Changed(changed)) = told_of.recv_timeout(PATIENCE).unwrap() else {
            panic!("it is not changed")
        };
        assert_eq!(changed, Changed::Done(JobState::Dead));
        assert_eq!(drained(&engine, &told), ["fail 0"]);
        let none = engine.change_by_key(key_of(b"job 9"), &JobChange::requeue());
        assert_eq!(none, Ok(Changed::Absent));
        let counts = engine.stats().unwrap().counts;
        assert_eq!((counts.pending, counts.buried), (0, 1));
        engine.shutdown(PATIENCE).unwrap();
        shards -= 1;
        store::reshard(dir.path(), shards, &mut ()).unwrap();
    }
}

#[test]
fn a_flow_runs_in_its_order_and_all_of_it_is_refused_or_none() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, told) = told(dir.path(), 3);
    let mut flow = Flow::new();
    let last = flow.step(says("last"), &[]);
    let first = flow.step(says("first"), &[]);
    let second = flow.step(says("second"), &[first]);
    flow.wait(last, second, When::Done);
    let ids = engine.submit_flow(flow.clone()).unwrap();
    assert_eq!(drained(&engine, &told), ["first", "second", "last"]);
    assert_eq!(ids.len(), 3);
    flow.wait(first, last, When::Done);
    assert!(matches!(engine.submit_flow(flow), Err(FlowError::Cycle { .. })));
    let mut refused = Flow::new();
    let first = refused.step(says("first"), &[]);
    refused.step(says("second").priority(10), &[first]);
    let error = engine.submit_flow(refused).unwrap_err();
    let expected = Refusal::PriorityOutOfRange { priority: 10 };
    assert_eq!(error, FlowError::Refused { step: 1, refusal: expected });
    assert!(drained(&engine, &told).is_empty());
    engine.shutdown(PATIENCE).unwrap();
}

#[test]
fn a_refused_flow_leaves_all_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, _told) = told(dir.path(), 1);
    engine.pause_queue("default", true).unwrap();
    let hour = Duration::from_secs(3600);
    let unique = |name: &str| Unique::for_time(name, hour).or_replace();
    let kept = engine.submit(says("kept").unique(unique("customer 7"))).unwrap();
    engine.submit(says("holder").key("held")).unwrap();
    engine.limit_queue("short", &QueueLimits::new().length(2)).unwrap();
    let refused = |jobs: Vec<NewJob>| {
        let mut flow = Flow::new();
        for job in jobs {
            flow.step(job, &[]);
        }
        match engine.submit_flow(flow) {
            Err(FlowError::Refused { step, refusal }) => (step, refusal),
            other => panic!("{other:?}"),
        }
    };
    let replaces = || says("instead").unique(unique("customer 7"));
    let short = || says("short").queue("short");
    let held = refused(vec![replaces(), says("second").key("held")]);
    assert!(matches!(held, (1, Refusal::KeyHeld(_))), "{held:?}");
    let full = refused(vec![replaces(), short(), says("between"), short(), short()]);
    assert!(matches!(full, (4, Refusal::QueueFull { .. })), "{full:?}");
    let full = refused(vec![short(), short(), short().group("acme")]);
    assert!(matches!(full, (2, Refusal::QueueFull { .. })), "{full:?}");
    let far = refused(vec![replaces(), says("far").priority(10)]);
    assert!(matches!(far, (1, Refusal::PriorityOutOfRange { .. })), "{far:?}");
    let counts = || engine.stats().unwrap().counts;
    assert!(matches!(engine.job(kept), Ok(Some(JobInfo::Pending { .. }))));
    let before = counts();
    assert_eq!((before.added, before.cancelled, before.pending), (2, 0, 2));
    // Only the second of two steps with one key is known to be refused once the first is there.
    let twice = refused(vec![says("a").key("own"), says("b").key("own")]);
    assert!(matches!(twice, (1, Refusal::KeyHeld(_))), "{twice:?}");
    assert_eq!(counts().pending, 2);
    let mut flow = Flow::new();
    let first = flow.step(short(), &[]);
    flow.step(short(), &[first]);
    flow.step(replaces(), &[first]);
    engine.submit_flow(flow).unwrap();
    assert_eq!(engine.job(kept), Ok(Some(JobInfo::Ended)));
    engine.shutdown(PATIENCE).unwrap();
}

#[test]
fn a_job_that_waits_for_others_goes_on_after_a_restart_and_does_not_change_its_shard() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, _) = told(dir.path(), 2);
    engine.pause_queue("default", true).unwrap();
    let first = engine.submit(says("fail first")).unwrap();
    let second = says("second").after(first, When::NotSucceeded);
    let second = engine.submit(second).unwrap();
    assert_eq!(second.shard(), first.shard());
    let Some(JobInfo::Pending { state: JobState::Blocked, .. }) = engine.job(second).unwrap()
    else {
        panic!("{:?}", engine.job(second))
    };
    engine.shutdown(PATIENCE).unwrap();
    assert!(store::reshard(dir.path(), 1, &mut ()).is_err());
    let (engine, told) = told(dir.path(), 2);
    engine.pause_queue("default", false).unwrap();
    assert_eq!(drained(&engine, &told), ["fail first", "second"]);
    engine.shutdown(PATIENCE).unwrap();
    store::reshard(dir.path(), 1, &mut ()).unwrap();
}

#[test]
fn a_batch_brings_its_callbacks_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, told) = told(dir.path(), 2);
    let batch = NewBatch::new("invoices of March");
    let batch = batch.on_complete(says("complete")).on_success(says("success"));
    let batch = engine.new_batch(batch.on_failure(says("failure"))).unwrap();
    let jobs = (0..50).map(|n| says(&format!("job {n}")).batch(batch)).collect();
    let answers = engine.submit_batch(jobs).unwrap();
    assert!(
        answers.iter().all(|answer| answer.as_ref().is_ok_and(|id| id.shard() == batch.shard()))
    );
    assert_eq!(drained(&engine, &told).len(), 50);
    engine.shutdown(PATIENCE).unwrap();
    let (engine, told) = self::told(dir.path(), 2);
    let info = engine.batch(batch).unwrap().unwrap();
    assert_eq!((info.total, info.pending, info.is_open, info.failed), (50, 0, true, 0));
    engine.commit_batch(batch).unwrap();
    let mut ran: Vec<String> = Vec::new();
    while ran.len() < 2 {
        ran.push(told.recv_timeout(PATIENCE).unwrap());
    }
    assert_eq!(ran, ["complete", "success"]);
    assert!(drained(&engine, &told).is_empty());
    let info = engine.batch(batch).unwrap().unwrap();
    assert_eq!((info.is_over, info.last), (true, Fired::Succeeded));
    let closed = Err(CallError::Refused(Refusal::BatchClosed(batch)));
    assert_eq!(engine.open_batch(batch), closed);
    let late = engine.submit(says("late").batch(batch));
    assert_eq!(late, Err(SubmitError::Refused(Refusal::BatchClosed(batch))));
    engine.shutdown(PATIENCE).unwrap();
}
