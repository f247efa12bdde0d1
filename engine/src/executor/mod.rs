//! Executor threads: they take attempts from a shard's queue, run the handler and hand back the
//! end. They know handlers and payloads, never the state of a job.

mod attempt;
mod begun;
mod handlers;
mod stops;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
};

use crossbeam::channel::{Receiver, Sender};
use tickwheel_core::{self as core, Clock};
use tickwheel_wal::RecordHandle;

pub use attempt::{Attempt, JobError};
pub(crate) use begun::Begun;
pub(crate) use handlers::Handlers;
pub(crate) use stops::Stops;

use crate::{clock, latency::Recorder, shard::Sleeper};

/// An executor keeps a buffer of at most this size for the next event.
const EVENT_BUFFER_BYTES: usize = 64 << 10;

/// An attempt on its way to an executor.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) attempt: core::Attempt,
    pub(crate) handler: u32,
    pub(crate) kind: Arc<str>,
    pub(crate) number: u16,
    pub(crate) attempts_max: u16,
    /// The event that holds the job; the payload is its end. The executor reads it, so that a slow
    /// disk holds up an attempt and not the shard.
    pub(crate) body: Option<RecordHandle>,
    pub(crate) payload_offset: u16,
    pub(crate) due_ns: u64,
    pub(crate) clock: Clock,
    pub(crate) dispatched_ns: u64,
}

/// The end of an attempt on its way back.
#[derive(Debug)]
pub(crate) struct Completion {
    pub(crate) attempt: core::Attempt,
    pub(crate) outcome: Ended,
    pub(crate) ended_ns: u64,
}

/// How a handler ended.
#[derive(Debug)]
pub(crate) enum Ended {
    Succeeded,
    Failed(JobError),
    Panicked(String),
    /// The handler was not called: the engine is stopping, or the job was cancelled before.
    NotBegun,
}

/// What an executor thread works with.
pub(crate) struct Executor {
    pub(crate) queue: Receiver<Work>,
    pub(crate) completions: Sender<Completion>,
    pub(crate) shard: Arc<Sleeper>,
    pub(crate) handlers: Arc<Handlers>,
    pub(crate) stops: Arc<Stops>,
    pub(crate) begun: Begun,
    pub(crate) recorder: Recorder,
}

impl Executor {
    /// Starts the thread. It ends when the shard drops its end of the queue.
    pub(crate) fn spawn(self, name: String) -> std::io::Result<thread::JoinHandle<()>> {
        thread::Builder::new().name(name).spawn(move || self.run())
    }

    fn run(self) {
        let mut event = Vec::new();
        while let Ok(mut work) = self.queue.recv() {
            let started_ns = clock::mono_ns();
            self.begun.set(work.attempt, started_ns);
            let outcome = self.handle(&mut work, &mut event);
            event.clear();
            event.shrink_to(EVENT_BUFFER_BYTES);
            self.begun.clear();
            let ended_ns = clock::mono_ns();
            self.recorder.record_run(
                started_ns.saturating_sub(work.dispatched_ns),
                ended_ns.saturating_sub(started_ns),
            );
            let completion = Completion { attempt: work.attempt, outcome, ended_ns };
            drop(work);
            if self.completions.send(completion).is_err() {
                return; // The shard has ended: the attempt is lost, and counted on the next start.
            }
            self.shard.wake();
        }
    }

    fn handle(&self, work: &mut Work, event: &mut Vec<u8>) -> Ended {
        // Cancelled, or timed out, while it waited in the queue: its handler is not called.
        if self.stops.takes_no_more() || self.stops.is_stopped(work.attempt) {
            return Ended::NotBegun;
        }
        let Some(handler) = self.handlers.get(work.handler) else {
            return Ended::NotBegun;
        };
        let Some(body) = work.body.take() else { return Ended::NotBegun };
        // A handler may take hours, and whoever holds a record holds the space of its segment. So
        // the record is copied and let go.
        match body.load() {
            Ok(record) => event.extend_from_slice(&record),
            Err(error) => {
                // The medium is damaged below a record that was sound before.
                tracing::error!(job = %work.attempt.job, %error, "a job's payload cannot be read");
                let message = format!("its payload cannot be read: {error}");
                return Ended::Failed(JobError::permanent(message));
            }
        }
        drop(body);
        let attempt = Attempt::new(work, event, &self.stops);
        // What a handler leaves half-done when it panics is its own; nothing of ours is borrowed
        // mutably across the call.
        match catch_unwind(AssertUnwindSafe(|| handler(&attempt))) {
            Ok(Ok(())) => Ended::Succeeded,
            Ok(Err(error)) => Ended::Failed(error),
            Err(panic) => Ended::Panicked(panic_message(&*panic)),
        }
    }
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    if let Some(text) = panic.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text.clone()
    } else {
        "the handler panicked with a value that is not text".to_owned()
    }
}
