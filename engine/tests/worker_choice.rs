//! Which of several workers that wait gets a job, and what each is said to have.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    path::Path,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use tickwheel_engine::{
    Backoff, Engine, JobId, NewJob,
    worker::{Fetch, Finish, Handle, Order, OrderReply, WorkerChoice, WorkerLoad},
};

const PATIENCE: Duration = Duration::from_secs(60);

fn start(dir: &Path) -> Engine {
    let builder = Engine::builder().data_dir(dir).shards(1).segment_bytes(8 << 20);
    builder.serve_queues(["here"]).handler("local", |_| Ok(())).start().unwrap()
}

/// Two workers that wait with ten fetches each: first all of the one, then all of the other.
struct Two {
    engine: Engine,
    loads: [WorkerLoad; 2],
    given: mpsc::Receiver<(usize, JobId)>,
}

impl Two {
    fn wait(engine: Engine, weights: [u16; 2]) -> Self {
        let loads = weights.map(WorkerLoad::new);
        let (give, given) = mpsc::channel();
        for (number, load) in loads.iter().enumerate() {
            for _ in 0..10 {
                let (give, fetch) = (give.clone(), Fetch::new(["mail"], 1, PATIENCE));
                let then = move |jobs: Vec<tickwheel_engine::worker::Fetched>| {
                    // At the end of the test nobody listens any more.
                    for job in &jobs {
                        let _ = give.send((number, job.job));
                    }
                };
                engine.fetch(&fetch.of_worker(load), then).unwrap();
            }
        }
        Self { engine, loads, given }
    }

    /// Adds a job, and tells who got it.
    fn add(&self) -> (usize, JobId) {
        add(&self.engine, NewJob::new("send").queue("mail"));
        self.given.recv_timeout(PATIENCE).unwrap()
    }

    /// Who gets the next jobs.
    fn next(&self, count: usize) -> Vec<usize> {
        (0..count).map(|_| self.add().0).collect()
    }

    fn held(&self) -> [u32; 2] {
        [self.loads[0].held(), self.loads[1].held()]
    }
}

fn order(engine: &Engine, order: Order) -> OrderReply {
    let (reply, answer) = mpsc::channel();
    engine.order(0, vec![order], move |replies| reply.send(replies).unwrap()).unwrap();
    answer.recv_timeout(PATIENCE).unwrap().unwrap().pop().unwrap()
}

fn add(engine: &Engine, job: NewJob) -> JobId {
    match order(engine, Order::Add(job)) {
        OrderReply::Added(added) => added.unwrap(),
        other => panic!("{other:?}"),
    }
}

fn finish(engine: &Engine, job: JobId) {
    let done = Order::Finish { job: Handle::Job(job), outcome: Finish::Succeeded };
    assert!(matches!(order(engine, done), OrderReply::Finished(true)));
}

/// What is counted is so once the shard has come to its fetches, after the answer to an order.
fn await_that(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn who_has_waited_for_the_longest_is_first_unless_something_else_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let two = Two::wait(start(dir.path()), [1, 1]);
    assert_eq!(two.next(4), [0, 0, 0, 0]);
    assert_eq!(two.held(), [4, 0]);
    // It takes effect while they wait.
    two.engine.choose_workers(WorkerChoice::LeastLoaded);
    assert_eq!(two.engine.worker_choice(), WorkerChoice::LeastLoaded);
    assert_eq!(two.next(6), [1, 1, 1, 1, 0, 1]);
}

#[test]
fn the_least_loaded_worker_is_first_also_by_weight() {
    let dir = tempfile::tempdir().unwrap();
    let two = Two::wait(start(dir.path()), [1, 3]);
    two.engine.choose_workers(WorkerChoice::LeastLoaded);
    let of_second = {
        assert_eq!(two.add().0, 0);
        two.add()
    };
    assert_eq!(of_second.0, 1);
    assert_eq!(two.next(2), [0, 1]);
    finish(&two.engine, of_second.1);
    await_that("it has ended", || two.held() == [2, 1]);
    assert_eq!(two.next(2), [1, 0]);
    assert_eq!(two.held(), [3, 2]);
    two.engine.choose_workers(WorkerChoice::WeightedLeastLoaded);
    // 3 of 1 beside 2 of 3: the second has as much for its weight only with nine.
    assert_eq!(two.next(7), [1; 7]);
    assert_eq!(two.held(), [3, 9]);
}

#[test]
fn workers_take_turns_whatever_they_have() {
    let dir = tempfile::tempdir().unwrap();
    let two = Two::wait(start(dir.path()), [1, 1]);
    two.engine.choose_workers(WorkerChoice::RoundRobin);
    let mut seen = Vec::new();
    for _ in 0..6 {
        let (who, job) = two.add();
        seen.push(who);
        if who == 0 {
            finish(&two.engine, job);
        }
    }
    assert_eq!(seen, [0, 1, 0, 1, 0, 1]);
}

#[test]
fn a_worker_has_a_job_until_its_attempt_ends_in_any_way() {
    let dir = tempfile::tempdir().unwrap();
    let engine = start(dir.path());
    let load = WorkerLoad::new(1);
    let fetch = Fetch::new(["mail"], 1, PATIENCE).of_worker(&load);
    let mail = || NewJob::new("send").queue("mail").attempts_max(1);
    let get = |job: NewJob| {
        let id = add(&engine, job);
        let fetched = engine.fetch_wait(&fetch).unwrap();
        assert_eq!(fetched.iter().map(|fetched| fetched.job).collect::<Vec<_>>(), [id]);
        id
    };
    get(mail().timeout(Duration::from_millis(5)));
    await_that("its time is over", || load.held() == 0);
    let cancelled = get(mail());
    assert_eq!(load.held(), 1);
    engine.cancel(cancelled).unwrap();
    await_that("it is cancelled", || load.held() == 0);
    // A retry is another's once another has fetched it, whatever became of the first attempt.
    let other = WorkerLoad::new(1);
    let again = get(mail()
        .attempts_max(2)
        .timeout(Duration::from_millis(5))
        .backoff(Backoff::exponential(Duration::from_millis(1), Duration::from_millis(1))));
    let fetched = engine.fetch_wait(&Fetch::new(["mail"], 1, PATIENCE).of_worker(&other)).unwrap();
    assert_eq!(fetched[0].job, again);
    assert_eq!(load.held(), 0);
    // A shard that is opened again does not know who has what.
    let kept = get(mail());
    assert_eq!(load.held(), 1);
    engine.shutdown(Duration::ZERO).unwrap();
    assert_eq!((load.held(), other.held()), (0, 0));
    let engine = start(dir.path());
    finish(&engine, kept);
    assert_eq!(engine.stats().unwrap().counts.fetched, 0);
}
