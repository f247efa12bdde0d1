//! Handlers that are futures, typed payloads and tickets, through the public API and with no runtime
//! but a few lines of this file.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    future::{Future, pending},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    thread,
    time::Duration,
};

use crossbeam::channel::{Receiver, Sender, unbounded};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tickwheel_engine::{
    AsyncAttempt, Attempt, Backoff, Builder, CallError, Engine, Handle, JobError, JobEvent, JobId,
    JobKind, NewJob, Next, OutcomeKind, SubmitError,
};

/// Longest that a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(30);

type Boxed = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Wakes the thread that polls.
struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => thread::park(),
        }
    }
}

/// Each future on a thread of its own.
fn on_threads(future: Boxed) {
    thread::spawn(|| block_on(future));
}

fn builder(dir: &TempDir) -> Builder {
    Engine::builder().data_dir(dir.path()).segment_bytes(8 << 20).executors(1).pin(false)
}

/// Says when it is dropped.
struct OnDrop(Sender<JobId>, JobId);

impl Drop for OnDrop {
    fn drop(&mut self) {
        let _ = self.0.send(self.1);
    }
}

struct World {
    engine: Engine,
    /// Futures that have come to where they wait for ever.
    waits: Receiver<JobId>,
    dropped: Receiver<JobId>,
    events: Receiver<JobEvent>,
}

/// An engine with one executor, whose asynchronous handler does what its payload says.
fn world(dir: &TempDir) -> World {
    let (tell_waits, waits) = unbounded();
    let (tell_dropped, dropped) = unbounded();
    let (tell, events) = unbounded();
    let handler = move |attempt: AsyncAttempt| {
        let on_drop = OnDrop(tell_dropped.clone(), attempt.job());
        let payload = attempt.payload().clone();
        let tell_waits = tell_waits.clone();
        assert!(payload != "panic before the future", "as asked");
        async move {
            let _on_drop = on_drop;
            match &payload[..] {
                b"wait" => {
                    tell_waits.send(attempt.job()).unwrap();
                    pending().await
                }
                b"fail" => Err(JobError::permanent("no")),
                b"panic" => panic!("as asked"),
                b"more time" => {
                    attempt.extend(Duration::from_secs(600)).unwrap();
                    tell_waits.send(attempt.job()).unwrap();
                    pending().await
                }
                _ => Ok(()),
            }
        }
    };
    let engine = builder(dir)
        .async_handler("task", on_threads, handler)
        .async_handler("lost", drop::<Boxed>, async |_| Ok(()))
        .observer(move |event: &JobEvent| drop(tell.send(event.clone())))
        .start()
        .unwrap();
    World { engine, waits, dropped, events }
}

fn task(payload: &'static str) -> NewJob {
    NewJob::new("task").payload(payload).attempts_max(1)
}

impl World {
    fn event(&self) -> (JobId, OutcomeKind, Next) {
        let event = self.events.recv_timeout(PATIENCE).unwrap();
        (event.job, event.outcome, event.next)
    }
}

#[test]
fn one_executor_starts_what_many_futures_wait_for() {
    let dir = TempDir::new().unwrap();
    let world = world(&dir);
    let waiting: Vec<_> = (0..20).map(|_| world.engine.submit(task("wait")).unwrap()).collect();
    let done = world.engine.submit(task("go")).unwrap();
    assert_eq!(world.event(), (done, OutcomeKind::Succeeded, Next::Done));
    assert_eq!(world.dropped.recv_timeout(PATIENCE), Ok(done));
    // A cancel drops the future where it waits, and frees its place.
    for job in waiting {
        world.engine.cancel(job).unwrap();
        assert_eq!(world.dropped.recv_timeout(PATIENCE), Ok(job));
        assert_eq!(world.event().1, OutcomeKind::Cancelled);
    }
    assert!(world.engine.drain(PATIENCE));
}

#[test]
fn every_way_in_which_a_future_ends_is_an_outcome() {
    let dir = TempDir::new().unwrap();
    let world = world(&dir);
    for (payload, outcome) in [
        ("fail", OutcomeKind::Failed),
        ("panic", OutcomeKind::Panicked),
        ("panic before the future", OutcomeKind::Panicked),
    ] {
        let job = world.engine.submit(task(payload)).unwrap();
        assert_eq!(world.event(), (job, outcome, Next::Dead), "{payload}");
    }
    let lost = world.engine.submit(NewJob::new("lost").attempts_max(1)).unwrap();
    assert_eq!(world.event(), (lost, OutcomeKind::Failed, Next::Dead));
}

#[test]
fn a_time_out_drops_the_future_unless_it_asked_for_more_time() {
    let dir = TempDir::new().unwrap();
    let world = world(&dir);
    // Time enough for a future to ask, on any machine.
    let timeout = Duration::from_secs(2);
    let asked = world.engine.submit(task("more time").timeout(timeout)).unwrap();
    assert_eq!(world.waits.recv_timeout(PATIENCE), Ok(asked));
    // The other begins later: when its time is over, that of the one that asked would be over too.
    let ended = world.engine.submit(task("wait").timeout(timeout)).unwrap();
    assert_eq!(world.event(), (ended, OutcomeKind::TimedOut, Next::Dead));
    assert_eq!(world.dropped.recv_timeout(PATIENCE), Ok(ended));
    world.engine.cancel(asked).unwrap();
    assert_eq!(world.event(), (asked, OutcomeKind::Cancelled, Next::Done));
}

#[test]
fn a_shutdown_drops_futures_after_its_grace_and_their_jobs_go_on_at_the_next_start() {
    let dir = TempDir::new().unwrap();
    let first = world(&dir);
    let quick = Backoff::exponential(Duration::from_millis(1), Duration::from_millis(1));
    let job = first.engine.submit(task("wait").attempts_max(3).backoff(quick)).unwrap();
    assert_eq!(first.waits.recv_timeout(PATIENCE), Ok(job));
    let report = first.engine.shutdown(Duration::from_millis(10)).unwrap();
    assert_eq!((report.abandoned, first.dropped.recv_timeout(PATIENCE)), (0, Ok(job)));
    drop(first);
    let second = world(&dir);
    assert_eq!(second.waits.recv_timeout(PATIENCE), Ok(job));
    second.engine.cancel(job).unwrap();
    assert_eq!(second.event(), (job, OutcomeKind::Cancelled, Next::Done));
}

#[derive(Serialize, Deserialize)]
struct Sum {
    parts: Vec<u32>,
}

impl JobKind for Sum {
    const KIND: &'static str = "sum";
}

struct Adder(Arc<AtomicU32>);

impl Handle for Adder {
    fn handle(&self, attempt: &Attempt<'_>) -> Result<(), JobError> {
        let sum: Sum = attempt.value()?;
        self.0.fetch_add(sum.parts.iter().sum(), Ordering::SeqCst);
        Ok(())
    }
}

#[test]
fn values_go_in_and_come_out_and_what_is_none_fails_for_good() {
    let dir = TempDir::new().unwrap();
    let (tell, events) = unbounded();
    let total = Arc::new(AtomicU32::new(0));
    let engine = builder(&dir)
        .handle(Sum::KIND, Adder(Arc::clone(&total)))
        .observer(move |event: &JobEvent| drop(tell.send(event.clone())))
        .start()
        .unwrap();
    engine.submit(NewJob::of(&Sum { parts: vec![1, 2, 39] }).unwrap()).unwrap();
    assert_eq!(events.recv_timeout(PATIENCE).unwrap().next, Next::Done);
    assert_eq!(total.load(Ordering::SeqCst), 42);
    engine.submit(NewJob::new("sum").payload("{}")).unwrap();
    let event = events.recv_timeout(PATIENCE).unwrap();
    assert_eq!(event.next, Next::Dead);
    assert!(event.message.contains("missing field `parts`"), "{}", event.message);
}

#[test]
fn a_ticket_gives_the_answer_to_who_waits_and_to_who_awaits() {
    let dir = TempDir::new().unwrap();
    let world = world(&dir);
    let waited = world.engine.submit_ticket(task("go")).wait().unwrap();
    let awaited = block_on(world.engine.submit_ticket(task("go"))).unwrap();
    assert_ne!(waited, awaited);
    let batch = world.engine.submit_batch_ticket(vec![task("go"), task("go").priority(10)]);
    let answers = block_on(batch).unwrap();
    assert!(answers[0].is_ok() && answers[1].is_err());
    let unknown = world.engine.submit_ticket(NewJob::new("unknown")).wait();
    assert_eq!(unknown, Err(SubmitError::UnknownKind("unknown".into())));
    let refused = block_on(world.engine.submit_ticket(task("go").priority(10)));
    assert!(matches!(refused, Err(SubmitError::Refused(_))), "{refused:?}");
    world.engine.shutdown(PATIENCE).unwrap();
    let late = world.engine.submit_ticket(task("go")).wait();
    assert_eq!(late, Err(SubmitError::Call(CallError::ShuttingDown)));
}
