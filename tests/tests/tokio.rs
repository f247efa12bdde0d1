//! Asynchronous handlers on a real tokio runtime: a few threads wait for hundreds of jobs, and the end
//! of the runtime is an outcome.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tempfile::TempDir;
use tickwheel_engine::{
    AsyncAttempt, Builder, Engine, JobEvent, NewJob, Next, OutcomeKind, SubmitError,
};
use tokio::{runtime::Runtime, sync::Barrier};

/// Longest that a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(60);
/// Jobs that wait for each other.
const TOGETHER: usize = 300;

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap()
}

fn builder(dir: &TempDir) -> Builder {
    Engine::builder().data_dir(dir.path()).segment_bytes(8 << 20).executors(1).pin(false)
}

#[test]
fn hundreds_of_jobs_wait_for_each_other_on_one_executor_and_one_thread_of_the_runtime() {
    let dir = TempDir::new().unwrap();
    let runtime = runtime();
    let all = Arc::new(Barrier::new(TOGETHER));
    let done = Arc::new(AtomicUsize::new(0));
    let (barrier, count) = (Arc::clone(&all), Arc::clone(&done));
    let handler = move |_: AsyncAttempt| {
        let (barrier, count) = (Arc::clone(&barrier), Arc::clone(&count));
        async move {
            barrier.wait().await;
            count.fetch_add(1, Ordering::SeqCst);
            Ok(())
        }
    };
    let engine =
        builder(&dir).async_handler("meet", runtime.handle().clone(), handler).start().unwrap();
    let submit = async {
        for n in 0..TOGETHER {
            let job = NewJob::new("meet").payload(n.to_string()).attempts_max(1);
            engine.submit_ticket(job).await?;
        }
        Ok::<(), SubmitError>(())
    };
    runtime.block_on(submit).unwrap();
    assert!(engine.drain(PATIENCE), "jobs that wait for each other were not under way together");
    assert_eq!(done.load(Ordering::SeqCst), TOGETHER);
}

#[test]
fn futures_that_a_runtime_drops_are_failed_attempts() {
    let dir = TempDir::new().unwrap();
    let (tell, events) = std::sync::mpsc::channel();
    let runtime = runtime();
    let engine = builder(&dir)
        .async_handler("wait", runtime.handle().clone(), async |_: AsyncAttempt| {
            std::future::pending().await
        })
        .observer(move |event: &JobEvent| drop(tell.send(event.clone())))
        .start()
        .unwrap();
    let job = engine.submit(NewJob::new("wait").attempts_max(1)).unwrap();
    while engine.stats().unwrap().counts.running == 0 {
        std::thread::yield_now();
    }
    runtime.shutdown_timeout(PATIENCE);
    let event = events.recv_timeout(PATIENCE).unwrap();
    assert_eq!((event.job, event.outcome, event.next), (job, OutcomeKind::Failed, Next::Dead));
    // Those that come later are not held up for ever either.
    let later = engine.submit(NewJob::new("wait").attempts_max(1)).unwrap();
    assert_eq!(events.recv_timeout(PATIENCE).unwrap().job, later);
}
