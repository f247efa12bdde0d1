//! Attempts whose handlers are futures: they run on a runtime of the caller's, and no executor waits
//! for them.
//!
//! An executor makes the future and hands it over; what it hands over gives the attempt's end back to
//! the shard whatever becomes of it: when it is done, when it panics, when it was asked to stop, and
//! when its runtime drops it. This file must not know any runtime.

use std::{
    collections::HashMap,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use tickwheel_core::{self as core, JobId, Token};

use super::{
    Completion, Ended, ExtendError, JobError, Pool, Port,
    attempt::Times,
    begun::Begun,
    run::{let_go, panicked},
};
use crate::clock;

/// What an asynchronous handler makes.
pub(crate) type HandlerFuture = Pin<Box<dyn Future<Output = Result<(), JobError>> + Send>>;

/// Where the futures of asynchronous handlers run.
///
/// Any closure that takes a boxed future is one; with the feature `tokio` a
/// `tokio::runtime::Handle` is one too.
///
/// ```
/// use std::{future::Future, pin::Pin, thread};
/// use tickwheel_engine::Spawn;
///
/// fn takes(_: impl Spawn) {}
/// # fn block_on(_: Pin<Box<dyn Future<Output = ()> + Send>>) {}
/// takes(|future: Pin<Box<dyn Future<Output = ()> + Send>>| {
///     thread::spawn(|| block_on(future));
/// });
/// ```
pub trait Spawn: Send + Sync + 'static {
    /// Runs `future` to its end, elsewhere: it must return at once. A future that is dropped before
    /// its end counts as a failed attempt, which may be tried again.
    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>);
}

impl<F> Spawn for F
where
    F: Fn(Pin<Box<dyn Future<Output = ()> + Send>>) + Send + Sync + 'static,
{
    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        self(future);
    }
}

#[cfg(feature = "tokio")]
impl Spawn for tokio::runtime::Handle {
    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) {
        drop(self.spawn(future));
    }
}

/// One attempt at a job, as its asynchronous handler holds it.
///
/// When the job is cancelled, its time-out has passed, or the grace of a shutdown is over, the
/// handler's future is dropped at the point where it waits: what must be undone then belongs into a
/// `Drop`. As for [`Attempt`](super::Attempt), a handler may be called more than once for one job.
#[derive(Debug)]
pub struct AsyncAttempt {
    pub(super) kind: Arc<str>,
    pub(super) payload: Bytes,
    pub(super) number: u16,
    pub(super) attempts_max: u16,
    pub(super) times: Times,
    pub(super) task: Arc<Task>,
    pub(super) port: Arc<Port>,
}

impl AsyncAttempt {
    /// The job's id.
    #[must_use]
    pub fn job(&self) -> JobId {
        self.task.attempt.job
    }

    /// The job's kind.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The job's payload; a clone of it shares the bytes.
    #[must_use]
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// Which attempt this is, from 1.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.number
    }

    /// How many there are at the most.
    #[must_use]
    pub fn attempts_max(&self) -> u16 {
        self.attempts_max
    }

    /// How long after its due time (for a retry, the end of its back-off) it is now.
    #[must_use]
    pub fn lateness(&self) -> Duration {
        self.times.lateness()
    }

    /// When it was due, on the wall clock. For a delay this is reckoned from the clocks of now.
    #[must_use]
    pub fn due(&self) -> SystemTime {
        self.times.due()
    }

    /// Asks for more time, as [`Attempt::extend`](super::Attempt::extend) does.
    ///
    /// # Errors
    /// [`ExtendError::Ended`]: the attempt has ended already, and this future is about to be dropped.
    pub fn extend(&self, by: Duration) -> Result<(), ExtendError> {
        self.task.begun.extend(by, || self.port.stops.is_stopped(self.task.attempt))
    }
}

/// An attempt that runs as a future.
#[derive(Debug)]
pub(super) struct Task {
    attempt: core::Attempt,
    begun: Begun,
    waker: Mutex<Option<Waker>>,
}

impl Task {
    fn wake(&self) {
        let waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// The futures of one shard's attempts.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    open: Mutex<HashMap<(JobId, Token), Arc<Task>>>,
}

impl Tasks {
    /// An attempt that begins as a future at `mono_ns`.
    pub(super) fn begin(&self, attempt: core::Attempt, mono_ns: u64) -> Arc<Task> {
        let begun = Begun::default();
        begun.set(attempt, mono_ns);
        let task = Arc::new(Task { attempt, begun, waker: Mutex::new(None) });
        self.open().insert((attempt.job, attempt.token), Arc::clone(&task));
        task
    }

    /// What `judge` makes of the call of the handler of `attempt`, if that is a future.
    pub(crate) fn judge<T>(
        &self,
        attempt: core::Attempt,
        judge: impl FnOnce(core::Began) -> T,
    ) -> Option<T> {
        let task = self.open().get(&(attempt.job, attempt.token)).cloned()?;
        task.begun.judge(attempt, judge)
    }

    /// The future of `attempt`, if it is one, looks whether it was asked to stop.
    pub(super) fn wake(&self, attempt: core::Attempt) {
        let task = self.open().get(&(attempt.job, attempt.token)).cloned();
        if let Some(task) = task {
            task.wake();
        }
    }

    /// All futures look whether they were asked to stop.
    pub(super) fn wake_all(&self) {
        let tasks: Vec<_> = self.open().values().cloned().collect();
        tasks.iter().for_each(|task| task.wake());
    }

    pub(super) fn end(&self, task: &Task) {
        self.open().remove(&(task.attempt.job, task.attempt.token));
    }

    fn open(&self) -> MutexGuard<'_, HashMap<(JobId, Token), Arc<Task>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A handler's future with the duty to give its end back, exactly once.
pub(super) struct Run {
    /// Gone once it has ended.
    future: Option<HandlerFuture>,
    task: Arc<Task>,
    port: Arc<Port>,
    pool: Arc<Pool>,
    dispatched_ns: u64,
    started_ns: u64,
    is_over: bool,
}

impl Run {
    pub(super) fn new(
        future: HandlerFuture,
        task: Arc<Task>,
        port: Arc<Port>,
        pool: Arc<Pool>,
        dispatched_ns: u64,
        started_ns: u64,
    ) -> Self {
        Self { future: Some(future), task, port, pool, dispatched_ns, started_ns, is_over: false }
    }

    fn end(&mut self, outcome: Ended) {
        // Whatever it holds goes before the shard is told; its drop may panic.
        let future = self.future.take();
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(future)));
        if let Err(panic) = dropped {
            let_go(panic);
        }
        self.is_over = true;
        self.port.stops.tasks.end(&self.task);
        self.task.begun.clear();
        let ended_ns = clock::mono_ns();
        self.pool.record_task(
            self.started_ns.saturating_sub(self.dispatched_ns),
            ended_ns.saturating_sub(self.started_ns),
        );
        self.port.give_back(Completion { attempt: self.task.attempt, outcome, ended_ns });
    }
}

impl Future for Run {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let run = &mut *self;
        if run.is_over {
            return Poll::Ready(());
        }
        {
            let mut waker = run.task.waker.lock().unwrap_or_else(PoisonError::into_inner);
            if !waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
                *waker = Some(context.waker().clone());
            }
        }
        // After the waker is there: whoever stops it from here on wakes it.
        if run.port.stops.is_stopped(run.task.attempt) {
            run.end(Ended::Failed(JobError::retryable("it was asked to stop")));
            return Poll::Ready(());
        }
        let Some(future) = &mut run.future else { return Poll::Ready(()) };
        let outcome = match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(Ok(()))) => Ended::Succeeded,
            Ok(Poll::Ready(Err(error))) => Ended::Failed(error),
            Err(panic) => panicked(panic),
        };
        run.end(outcome);
        Poll::Ready(())
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if !self.is_over {
            let reason = "its future was dropped before its end: its runtime has shut down";
            self.end(Ended::Failed(JobError::retryable(reason)));
        }
    }
}
