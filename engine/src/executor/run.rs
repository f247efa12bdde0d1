//! The loop of one executor: find an attempt, run its handler, give the end back; find none, sleep.

use std::{
    hint,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use bytes::Bytes;

use super::{
    Attempt, Completion, Ended, Handler, JobError, Pool, Port, Work,
    pool::{Ports, Seat},
    task::{AsyncAttempt, Run},
};
use crate::clock;

/// An executor keeps a buffer of at most this size for the next event.
const EVENT_BUFFER_BYTES: usize = 64 << 10;

/// One executor, on its own thread.
pub(super) struct Executor {
    pub(super) pool: Arc<Pool>,
    /// Number of the seat that it has.
    pub(super) number: usize,
    /// Its copy of the ways to the open shards.
    pub(super) ports: Ports,
}

impl Executor {
    /// Runs until the pool closes, or until it comes back from a handler that hung and is not
    /// needed any more.
    pub(super) fn run(&mut self) {
        let pool = Arc::clone(&self.pool);
        let seat = pool.seat(self.number);
        let mut event = Vec::new();
        let mut turn = 0_usize;
        while let Some((place, work)) = self.next(turn) {
            turn = turn.wrapping_add(1);
            let was_hung = run_attempt(&pool, seat, self.ports.port(place), work, &mut event);
            if was_hung && !pool.comes_back(self.number) {
                return;
            }
        }
        pool.leave(self.number);
    }

    /// The next attempt and the place of its port; waits for one. `None`: the pool is closed.
    fn next(&mut self, turn: usize) -> Option<(usize, Work)> {
        let pool = &*self.pool;
        loop {
            pool.refresh(&mut self.ports);
            if let Some(found) = self.ports.find(self.number, turn) {
                pool.share(&self.ports);
                return Some(found);
            }
            if pool.is_closed() {
                return None;
            }
            if self.spin() {
                continue;
            }
            pool.naps.raise(self.number);
            pool.refresh(&mut self.ports);
            if self.ports.has_work() || pool.is_closed() {
                pool.naps.lower(self.number);
                continue;
            }
            self.ports.offer();
            pool.naps.sleep(self.number);
        }
    }

    /// Looks for work for a short time without sleeping, where that was asked for.
    fn spin(&self) -> bool {
        let spin_ns = self.pool.spin_ns;
        if spin_ns == 0 {
            return false;
        }
        let until_ns = clock::mono_ns().saturating_add(spin_ns);
        while clock::mono_ns() < until_ns {
            if self.ports.has_work() || self.pool.is_closed() {
                return true;
            }
            hint::spin_loop();
        }
        false
    }
}

/// Runs one attempt and gives its end back. Whether the executor had counted as hung meanwhile.
fn run_attempt(
    pool: &Arc<Pool>,
    seat: &Seat,
    port: &Arc<Port>,
    mut work: Work,
    event: &mut Vec<u8>,
) -> bool {
    let started_ns = clock::mono_ns();
    seat.begun.set(work.attempt, started_ns);
    let outcome = handle(pool, seat, port, &mut work, event);
    event.clear();
    event.shrink_to(EVENT_BUFFER_BYTES);
    let was_hung = seat.begun.clear();
    // A future gives its end back itself.
    let Some(outcome) = outcome else { return was_hung };
    let ended_ns = clock::mono_ns();
    seat.recorder().record_run(
        started_ns.saturating_sub(work.dispatched_ns),
        ended_ns.saturating_sub(started_ns),
    );
    let attempt = work.attempt;
    // Whatever it holds goes before the shard is told.
    drop(work);
    port.give_back(Completion { attempt, outcome, ended_ns });
    was_hung
}

/// Calls the handler of an attempt. `None`: a future goes on with it.
fn handle(
    pool: &Arc<Pool>,
    seat: &Seat,
    port: &Arc<Port>,
    work: &mut Work,
    event: &mut Vec<u8>,
) -> Option<Ended> {
    // Cancelled, or timed out, while it waited in the queue: its handler is not called.
    if port.stops.takes_no_more() || port.stops.is_stopped(work.attempt) {
        return Some(Ended::NotBegun);
    }
    let Some((kind, handler)) = pool.handlers().get(work.handler) else {
        return Some(Ended::NotBegun);
    };
    let Some(body) = work.body.take() else { return Some(Ended::NotBegun) };
    // A handler may take hours, and whoever holds a record holds the space of its segment. So
    // the record is copied and let go.
    match body.load() {
        Ok(record) => event.extend_from_slice(&record),
        Err(error) => {
            // The medium is damaged below a record that was sound before.
            tracing::error!(job = %work.attempt.job, %error, "a job's payload cannot be read");
            let message = format!("its payload cannot be read: {error}");
            return Some(Ended::Failed(JobError::permanent(message)));
        }
    }
    drop(body);
    // What a handler leaves half-done when it panics is its own; nothing of ours is borrowed
    // mutably across the call.
    match handler {
        Handler::Call(handler) => {
            let outputs = pool.outputs.as_deref();
            let (stops, begun) = (&port.stops, &seat.begun);
            let attempt = Attempt { work, kind, event, stops, begun, outputs };
            match catch_unwind(AssertUnwindSafe(|| handler(&attempt))) {
                Ok(Ok(())) => Some(Ended::Succeeded),
                Ok(Err(error)) => Some(Ended::Failed(error)),
                Err(panic) => Some(panicked(panic)),
            }
        }
        Handler::Spawn { make, on } => {
            let started_ns = clock::mono_ns();
            let task = port.stops.tasks.begin(work.attempt, started_ns);
            let payload = Bytes::from(std::mem::take(event));
            let attempt = AsyncAttempt {
                kind: Arc::clone(kind),
                payload: payload.slice(usize::from(work.payload_offset)..),
                number: work.number,
                attempts_max: work.attempts_max,
                times: work.times,
                task: Arc::clone(&task),
                port: Arc::clone(port),
            };
            let future = match catch_unwind(AssertUnwindSafe(|| make(attempt))) {
                Ok(future) => future,
                Err(panic) => {
                    port.stops.tasks.end(&task);
                    return Some(panicked(panic));
                }
            };
            let (pool, port) = (Arc::clone(pool), Arc::clone(port));
            let run = Run::new(future, task, port, pool, work.dispatched_ns, started_ns);
            // If this panics it drops the future, and that gives the end back.
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| on.spawn(Box::pin(run)))) {
                let reason = panic_message(&*panic);
                let_go(panic);
                tracing::error!(job = %work.attempt.job, reason, "a handler's future was not taken");
            }
            None
        }
    }
}

pub(super) fn panicked(panic: Box<dyn std::any::Any + Send>) -> Ended {
    let message = panic_message(&*panic);
    let_go(panic);
    Ended::Panicked(message)
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

/// Drops the value of a panic. It is the handler's, and its own drop may panic once more.
pub(super) fn let_go(panic: Box<dyn std::any::Any + Send>) {
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        std::mem::forget(again);
    }
}
