//! Workers outside of the process: orders, fetches that wait, keys and queues, over restarts.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    path::Path,
    sync::mpsc,
    time::{Duration, Instant},
};

use tickwheel_engine::{
    CallError, Engine, Key, NewJob, QueueLimits, Refusal, SubmitError,
    worker::{Fetch, Fetched, Finish, Order, OrderReply, key_of},
};

const SECOND: Duration = Duration::from_secs(1);

fn start(dir: &Path, shards: usize) -> Engine {
    Engine::builder()
        .data_dir(dir)
        .shards(shards)
        .segment_bytes(8 << 20)
        .serve_queues(["here"])
        .handler("local", |_| Ok(()))
        .start()
        .unwrap()
}

fn mail(key: &str) -> NewJob {
    NewJob::new("send").queue("mail").payload(format!("to {key}")).key(key)
}

fn add(engine: &Engine, job: NewJob, key: Key) -> Result<tickwheel_engine::JobId, Refusal> {
    match order(engine, key, Order::Add(job)) {
        OrderReply::Added(answer) => answer,
        other => panic!("{other:?}"),
    }
}

fn order(engine: &Engine, key: Key, order: Order) -> OrderReply {
    let (reply, answer) = mpsc::channel();
    engine.order(engine.shard_of(key), vec![order], move |r| reply.send(r).unwrap()).unwrap();
    answer.recv().unwrap().unwrap().pop().unwrap()
}

fn fetch(queues: &[&str], max: u32, wait: Duration) -> Fetch {
    Fetch::new(queues.iter().copied(), max, wait)
}

fn payload(fetched: &Fetched) -> String {
    let mut bytes = Vec::new();
    fetched.payload.append_to(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

fn key(name: &str) -> Key {
    key_of(name.as_bytes())
}

#[test]
fn a_job_is_fetched_once_and_its_end_is_told_by_key() {
    for shards in [1, 3] {
        let dir = tempfile::tempdir().unwrap();
        let engine = start(dir.path(), shards);
        for number in 0..20 {
            let name = format!("job number {number}");
            add(&engine, mail(&name), key(&name)).unwrap();
        }
        let first = key("job number 7");
        assert!(matches!(add(&engine, mail("job number 7"), first), Err(Refusal::KeyHeld(_))));
        let mut seen = Vec::new();
        while seen.len() < 20 {
            let fetched = engine.fetch_wait(&fetch(&["mail"], 8, 10 * SECOND)).unwrap();
            assert!((1..=8).contains(&fetched.len()));
            for job in &fetched {
                let name = payload(job);
                assert_eq!(job.key, Some(key(name.strip_prefix("to ").unwrap())));
                seen.push(name);
                let done =
                    Order::Finish { job: job.key.unwrap().into(), outcome: Finish::Succeeded };
                let reply = order(&engine, job.key.unwrap(), done.clone());
                assert!(matches!(reply, OrderReply::Finished(true)), "{reply:?}");
                let reply = order(&engine, job.key.unwrap(), done);
                assert!(matches!(reply, OrderReply::Finished(false)), "{reply:?}");
            }
        }
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 20);
        assert_eq!(engine.fetch_wait(&fetch(&["mail"], 8, Duration::ZERO)).unwrap().len(), 0);
        add(&engine, mail("job number 7"), first).unwrap();
        assert!(engine.drain(Duration::ZERO) || engine.stats().unwrap().counts.pending == 1);
    }
}

#[test]
fn whoever_waits_is_woken_by_a_job_and_who_has_withdrawn_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let engine = start(dir.path(), 2);
    let (reply, answer) = mpsc::channel();
    let waits = fetch(&["nothing", "mail"], 1, 60 * SECOND);
    let gone = {
        let reply = reply.clone();
        engine.fetch(&waits, move |_| reply.send("who has withdrawn").unwrap()).unwrap()
    };
    assert!(gone.withdraw());
    assert!(!gone.withdraw());
    let _ticket = engine.fetch(&waits, move |_| reply.send("who waits").unwrap()).unwrap();
    let begun = Instant::now();
    add(&engine, mail("late"), key("late")).unwrap();
    assert_eq!(answer.recv_timeout(30 * SECOND), Ok("who waits"));
    assert!(begun.elapsed() < 30 * SECOND);
    assert!(answer.try_recv().is_err());
    // A wait that is over is answered with nothing.
    let empty = engine.fetch_wait(&fetch(&["mail"], 1, Duration::from_millis(20))).unwrap();
    assert!(empty.is_empty());
}

#[test]
fn a_lease_outlives_a_restart_and_a_failure_puts_its_payload_in_place() {
    let dir = tempfile::tempdir().unwrap();
    let engine = start(dir.path(), 1);
    let quick = tickwheel_engine::Backoff::exponential(Duration::ZERO, Duration::ZERO);
    add(&engine, mail("a").backoff(quick), key("a")).unwrap();
    assert_eq!(engine.fetch_wait(&fetch(&["mail"], 1, SECOND)).unwrap().len(), 1);
    engine.shutdown(SECOND).unwrap();

    let engine = start(dir.path(), 1);
    assert_eq!(engine.stats().unwrap().counts.fetched, 1);
    let extended =
        order(&engine, key("a"), Order::Extend { job: key("a").into(), span: 600 * SECOND });
    assert!(matches!(extended, OrderReply::Extended(true)), "{extended:?}");
    let failed = Finish::Failed {
        message: "no route".into(),
        permanent: false,
        payload: Some("to a, once more".into()),
    };
    let reply = order(&engine, key("a"), Order::Finish { job: key("a").into(), outcome: failed });
    assert!(matches!(reply, OrderReply::Finished(true)), "{reply:?}");
    let again = engine.fetch_wait(&fetch(&["mail"], 1, 10 * SECOND)).unwrap();
    assert_eq!((again[0].number, payload(&again[0]).as_str()), (2, "to a, once more"));
    let OrderReply::Looked(Some(seen)) =
        order(&engine, key("a"), Order::Look { job: key("a").into() })
    else {
        panic!("it is there")
    };
    assert_eq!((seen.attempts, seen.is_running, &*seen.queue), (2, true, "mail"));
    let reply = order(&engine, key("a"), Order::Cancel { job: key("a").into() });
    assert!(matches!(reply, OrderReply::Cancelled(true)), "{reply:?}");
    assert!(engine.drain(10 * SECOND));
}

#[test]
fn executors_keep_to_their_queues_and_a_paused_one_waits() {
    let dir = tempfile::tempdir().unwrap();
    let engine = start(dir.path(), 1);
    assert_eq!(engine.pause_queue("mail", true), Ok(true));
    assert_eq!(engine.pause_queue("mail", true), Ok(false));
    add(&engine, mail("x"), key("x")).unwrap();
    engine.submit(NewJob::new("local").queue("here")).unwrap();
    let until = Instant::now() + 60 * SECOND;
    while engine.stats().unwrap().counts.succeeded < 1 {
        assert!(Instant::now() < until, "the executor does not run its queue's job");
        std::thread::yield_now();
    }
    assert!(engine.fetch_wait(&fetch(&["mail"], 1, Duration::ZERO)).unwrap().is_empty());
    let queues = engine.queues().unwrap();
    let mail = queues.iter().find(|queue| &*queue.name == "mail").unwrap();
    assert_eq!((mail.ready, mail.is_paused), (1, true));
    engine.shutdown(SECOND).unwrap();

    let engine = start(dir.path(), 1);
    assert!(engine.fetch_wait(&fetch(&["mail"], 1, Duration::ZERO)).unwrap().is_empty());
    assert_eq!(engine.pause_queue("mail", false), Ok(true));
    assert_eq!(engine.fetch_wait(&fetch(&["mail"], 1, 10 * SECOND)).unwrap().len(), 1);
}

#[test]
fn a_limited_queue_gives_no_more_than_it_may_and_stays_so_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let engine = start(dir.path(), 1);
    let limits = QueueLimits::new().concurrency(2).length(3);
    assert_eq!(engine.limit_queue("mail", &limits), Ok(true));
    assert_eq!(engine.limit_queue("mail", &limits), Ok(false));
    let wrong = engine.limit_queue("mail", &limits.weight(0));
    assert!(matches!(wrong, Err(CallError::Refused(Refusal::QueueLimits(_)))), "{wrong:?}");
    for name in ["a", "b", "c"] {
        add(&engine, mail(name), key(name)).unwrap();
    }
    let full = add(&engine, mail("d"), key("d"));
    assert_eq!(full, Err(Refusal::QueueFull { queue: "mail".into(), max: 3 }));
    let fetched = engine.fetch_wait(&fetch(&["mail"], 9, 10 * SECOND)).unwrap();
    assert_eq!(fetched.len(), 2);
    add(&engine, mail("d"), key("d")).unwrap();
    engine.shutdown(SECOND).unwrap();

    let engine = start(dir.path(), 1);
    assert!(engine.fetch_wait(&fetch(&["mail"], 9, Duration::ZERO)).unwrap().is_empty());
    let queues = engine.queues().unwrap();
    let mail = queues.iter().find(|queue| &*queue.name == "mail").unwrap();
    assert_eq!((mail.limits, mail.running, mail.waiting), (limits, 2, 2));
    // A fetch that waits gets its job as soon as there is a place for it.
    let (reply, answer) = mpsc::channel();
    engine
        .fetch(&fetch(&["mail"], 9, 60 * SECOND), move |jobs| reply.send(jobs.len()).unwrap())
        .unwrap();
    let end = Order::Finish { job: key("a").into(), outcome: Finish::Succeeded };
    assert!(matches!(order(&engine, key("a"), end), OrderReply::Finished(true)));
    assert_eq!(answer.recv(), Ok(1));
    engine.shutdown(SECOND).unwrap();
}

#[test]
fn a_fetch_that_waits_gets_its_job_when_the_rate_allows_it() {
    let dir = tempfile::tempdir().unwrap();
    let engine = start(dir.path(), 1);
    let limits = QueueLimits::new().rate(1, Duration::from_millis(50), 1);
    engine.limit_queue("mail", &limits).unwrap();
    for name in ["a", "b", "c"] {
        add(&engine, mail(name), key(name)).unwrap();
    }
    let began = Instant::now();
    for _ in 0..3 {
        assert_eq!(engine.fetch_wait(&fetch(&["mail"], 9, 60 * SECOND)).unwrap().len(), 1);
    }
    // Later is always possible; earlier is not.
    assert!(began.elapsed() >= Duration::from_millis(100));
    engine.shutdown(SECOND).unwrap();
}

#[test]
fn a_batch_of_keyed_jobs_is_answered_in_its_order_by_several_shards() {
    let dir = tempfile::tempdir().unwrap();
    let engine = start(dir.path(), 3);
    let job = |number: usize| NewJob::new("local").queue("here").key(format!("k{number}"));
    let jobs = (0..30).map(|number| job(number % 25).delay(60 * SECOND)).collect();
    let answers = engine.submit_batch(jobs).unwrap();
    for (number, answer) in answers.iter().enumerate() {
        let shard = engine.shard_of(key(&format!("k{}", number % 25)));
        match answer {
            Ok(id) => assert_eq!(usize::from(id.shard().0), shard),
            Err(Refusal::KeyHeld(first)) => assert_eq!(Ok(*first), answers[number - 25]),
            Err(other) => panic!("{other}"),
        }
        assert_eq!(answer.is_err(), number >= 25);
    }
    let unknown = engine.submit(NewJob::new("unheard of").key("k"));
    assert!(matches!(unknown, Err(SubmitError::UnknownKind(_))), "{unknown:?}");
}

#[test]
fn jobs_of_a_kind_are_brought_home_from_the_queue_that_an_earlier_start_added_them_to() {
    let dir = tempfile::tempdir().unwrap();
    let builder = || Engine::builder().data_dir(dir.path()).shards(1).segment_bytes(8 << 20);
    let engine = builder().paused(true).handler("local", |_| Ok(())).start().unwrap();
    for _ in 0..3 {
        engine.submit(NewJob::new("local")).unwrap();
    }
    engine.shutdown(SECOND).unwrap();

    let engine = builder()
        .serve_queues(["here"])
        .home("local", "here")
        .handler("local", |_| Ok(()))
        .start()
        .unwrap();
    // One with a key is a worker's, whatever its kind says.
    let job = NewJob::new("local").key("k");
    add(&engine, job, key("k")).unwrap();
    let fetched = engine.fetch_wait(&fetch(&["default"], 9, 30 * SECOND)).unwrap();
    assert_eq!(fetched.iter().map(|job| job.key).collect::<Vec<_>>(), [Some(key("k"))]);
    let done = Order::Finish { job: key("k").into(), outcome: Finish::Succeeded };
    order(&engine, key("k"), done);
    assert!(engine.drain(30 * SECOND));
    assert_eq!(engine.stats().unwrap().counts.succeeded, 4);
}
