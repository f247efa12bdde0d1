//! The loop of one executor: find an attempt, run its handler, give the end back; find none, sleep.

use std::{
    hint,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use super::{
    Attempt, Completion, Ended, JobError, Pool, Port, Work,
    pool::{Ports, Seat},
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
fn run_attempt(pool: &Pool, seat: &Seat, port: &Port, mut work: Work, event: &mut Vec<u8>) -> bool {
    let started_ns = clock::mono_ns();
    seat.begun.set(work.attempt, started_ns);
    let outcome = handle(pool, seat, port, &mut work, event);
    event.clear();
    event.shrink_to(EVENT_BUFFER_BYTES);
    let was_hung = seat.begun.clear();
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

fn handle(pool: &Pool, seat: &Seat, port: &Port, work: &mut Work, event: &mut Vec<u8>) -> Ended {
    // Cancelled, or timed out, while it waited in the queue: its handler is not called.
    if port.stops.takes_no_more() || port.stops.is_stopped(work.attempt) {
        return Ended::NotBegun;
    }
    let Some((kind, handler)) = pool.handlers().get(work.handler) else {
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
    let attempt = Attempt { work, kind, event, stops: &port.stops, begun: &seat.begun };
    // What a handler leaves half-done when it panics is its own; nothing of ours is borrowed
    // mutably across the call.
    match catch_unwind(AssertUnwindSafe(|| handler(&attempt))) {
        Ok(Ok(())) => Ended::Succeeded,
        Ok(Err(error)) => Ended::Failed(error),
        Err(panic) => {
            let message = panic_message(&*panic);
            let_go(panic);
            Ended::Panicked(message)
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

/// Drops the value of a panic. It is the handler's, and its own drop may panic once more.
fn let_go(panic: Box<dyn std::any::Any + Send>) {
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        std::mem::forget(again);
    }
}
