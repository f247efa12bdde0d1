//! Workers that are connected: who they are and when they were last heard of. It must not know which
//! jobs they have.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use tickwheel_protocol::{Beat, Identity};

use super::limits;

/// All workers, by their own ids.
#[derive(Debug, Default)]
pub(super) struct Workers {
    known: Mutex<HashMap<Box<str>, Worker>>,
}

#[derive(Debug)]
struct Worker {
    hostname: Box<str>,
    pid: u64,
    /// Connections that gave its id.
    connections: usize,
    heard: Instant,
    state: Box<str>,
}

impl Workers {
    /// A connection said that it belongs to a worker.
    pub(super) fn connected(&self, identity: &Identity<'_>) {
        let Some(wid) = &identity.wid else { return };
        let mut known = self.lock();
        if let Some(worker) = known.get_mut(&**wid) {
            worker.connections += 1;
            worker.heard = Instant::now();
            return;
        }
        if known.len() >= limits::WORKERS_MAX {
            forget_silent(&mut known);
            if known.len() >= limits::WORKERS_MAX {
                return;
            }
        }
        let worker = Worker {
            hostname: identity.hostname.as_deref().unwrap_or_default().into(),
            pid: identity.pid.unwrap_or(0),
            connections: 1,
            heard: Instant::now(),
            state: "".into(),
        };
        tracing::debug!(wid = &**wid, host = &*worker.hostname, pid = worker.pid, "worker");
        known.insert((&**wid).into(), worker);
    }

    /// A connection of a worker has ended. The worker stays known until it is silent for too long.
    pub(super) fn disconnected(&self, wid: &str) {
        if let Some(worker) = self.lock().get_mut(wid) {
            worker.connections = worker.connections.saturating_sub(1);
        }
    }

    /// A worker gave a sign of life; `false` when it is not known, or not any more.
    pub(super) fn beat(&self, beat: &Beat<'_>) -> bool {
        let mut known = self.lock();
        let Some(worker) = known.get_mut(&*beat.wid) else { return false };
        if worker.heard.elapsed() > limits::WORKER_SILENCE {
            known.remove(&*beat.wid);
            return false;
        }
        worker.heard = Instant::now();
        if *worker.state != *beat.current_state {
            worker.state = (&*beat.current_state).into();
        }
        true
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        let mut known = self.lock();
        forget_silent(&mut known);
        known.len()
    }

    /// Whether one of them has a connection.
    pub(super) fn is_any_connected(&self) -> bool {
        self.lock().values().any(|worker| worker.connections > 0)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, Worker>> {
        // No invariant spans the lock.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn forget_silent(known: &mut HashMap<Box<str>, Worker>) {
    known.retain(|_, worker| {
        worker.connections > 0 || worker.heard.elapsed() <= limits::WORKER_SILENCE
    });
}
