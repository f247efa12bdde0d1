//! Workers that were heard of: who they are, how many jobs they have, and what is asked of them. It must
//! not know which jobs those are.

use std::{
    collections::HashMap,
    num::NonZeroU16,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering},
    },
    time::Instant,
};

use jiff::Timestamp;
use serde::Serialize;
use tickwheel_engine::worker::WorkerLoad;
use tickwheel_protocol::{Beat, Identity};

use super::limits;

/// All workers, by their own ids.
#[derive(Debug, Default)]
pub(super) struct Workers {
    known: Mutex<HashMap<Box<str>, Arc<Worker>>>,
    /// Connections that gave a worker's id.
    connections: AtomicUsize,
}

/// One worker. Its connections share it.
#[derive(Debug)]
pub(super) struct Worker {
    wid: Box<str>,
    hostname: Box<str>,
    pid: u64,
    labels: Vec<Box<str>>,
    since: Timestamp,
    connections: AtomicUsize,
    /// What it has under way.
    load: WorkerLoad,
    rss_kb: AtomicU64,
    /// What it is asked to do: a [`Wish`].
    wish: AtomicU8,
    /// It was told to be quiet since the server began to end.
    is_told: AtomicBool,
    heard: Mutex<Heard>,
}

#[derive(Debug)]
struct Heard {
    at: Instant,
    /// The state that the worker said it is in.
    state: Box<str>,
}

/// What is asked of a worker at its next sign of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Wish {
    Nothing,
    /// To fetch no more.
    Quiet,
    /// To end what it has, and then itself.
    Terminate,
}

/// A worker as it is listed.
#[derive(Debug, Serialize)]
pub(super) struct Listed {
    wid: Box<str>,
    hostname: Box<str>,
    pid: u64,
    labels: Vec<Box<str>>,
    since: String,
    state: Box<str>,
    asked: &'static str,
    jobs: u32,
    weight: u16,
    connections: usize,
    silent_seconds: u64,
    rss_kb: u64,
}

impl Workers {
    /// A connection said that it belongs to a worker.
    pub(super) fn connected(&self, identity: &Identity<'_>, now: Timestamp) -> Option<Arc<Worker>> {
        let wid = identity.wid.as_deref()?;
        let mut known = self.lock();
        let worker = match known.get(wid) {
            Some(worker) => Arc::clone(worker),
            None => {
                let worker = Arc::new(Worker::new(wid, identity, now));
                tracing::debug!(wid, host = &*worker.hostname, pid = worker.pid, "worker");
                forget_silent_if_full(&mut known);
                // One too many works like the others, and is not listed.
                if known.len() < limits::WORKERS_MAX {
                    known.insert(wid.into(), Arc::clone(&worker));
                }
                worker
            }
        };
        worker.heard().at = Instant::now();
        worker.connections.fetch_add(1, Ordering::Relaxed);
        self.connections.fetch_add(1, Ordering::AcqRel);
        Some(worker)
    }

    /// A connection of a worker has ended. The worker stays known until it is silent for too long.
    pub(super) fn disconnected(&self, worker: &Worker) {
        worker.connections.fetch_sub(1, Ordering::Relaxed);
        self.connections.fetch_sub(1, Ordering::AcqRel);
    }

    /// A worker gave a sign of life: what is asked of it. `None` when it is not known, or not any
    /// more. While the server ends each is told to be quiet, and the next time to terminate.
    pub(super) fn beat(&self, beat: &Beat<'_>, is_ending: bool) -> Option<Wish> {
        let mut known = self.lock();
        let worker = known.get(&*beat.wid)?;
        if worker.is_silent() {
            known.remove(&*beat.wid);
            return None;
        }
        let worker = Arc::clone(worker);
        drop(known);
        worker.rss_kb.store(beat.rss_kb, Ordering::Relaxed);
        {
            let mut heard = worker.heard();
            heard.at = Instant::now();
            if *heard.state != *beat.current_state {
                heard.state = (&*beat.current_state).into();
            }
        }
        let wish = worker.wish();
        if !is_ending {
            return Some(wish);
        }
        let was_told = worker.is_told.swap(true, Ordering::Relaxed);
        Some(wish.max(if was_told { Wish::Terminate } else { Wish::Quiet }))
    }

    /// Asks a worker, or all, to be quiet or to end; `false` when there is no such worker. More than
    /// is asked already is asked of nobody.
    pub(super) fn ask(&self, wid: Option<&str>, wish: Wish) -> bool {
        let known = self.lock();
        match wid {
            Some(wid) => match known.get(wid).filter(|worker| !worker.is_silent()) {
                Some(worker) => {
                    worker.wish.fetch_max(wish as u8, Ordering::Relaxed);
                    true
                }
                None => false,
            },
            None => {
                for worker in known.values() {
                    worker.wish.fetch_max(wish as u8, Ordering::Relaxed);
                }
                true
            }
        }
    }

    /// All that are not silent, by their ids.
    pub(super) fn list(&self) -> Vec<Listed> {
        let mut known = self.lock();
        known.retain(|_, worker| !worker.is_silent());
        let mut list: Vec<Listed> = known.values().map(|worker| worker.listed()).collect();
        drop(known);
        list.sort_by(|a, b| a.wid.cmp(&b.wid));
        list
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        let mut known = self.lock();
        known.retain(|_, worker| !worker.is_silent());
        known.len()
    }

    /// Whether one of them has a connection, silent or not.
    pub(super) fn is_any_connected(&self) -> bool {
        self.connections.load(Ordering::Acquire) > 0
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Box<str>, Arc<Worker>>> {
        // No invariant spans the lock.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Worker {
    fn new(wid: &str, identity: &Identity<'_>, now: Timestamp) -> Self {
        Self {
            wid: wid.into(),
            hostname: identity.hostname.as_deref().unwrap_or_default().into(),
            pid: identity.pid.unwrap_or(0),
            labels: identity.labels.iter().map(|label| (&**label).into()).collect(),
            since: now,
            connections: AtomicUsize::new(0),
            load: WorkerLoad::new(identity.weight.map_or(1, NonZeroU16::get)),
            rss_kb: AtomicU64::new(0),
            wish: AtomicU8::new(Wish::Nothing as u8),
            is_told: AtomicBool::new(false),
            heard: Mutex::new(Heard { at: Instant::now(), state: "".into() }),
        }
    }

    /// What it has under way, as the engine counts it.
    pub(super) fn load(&self) -> WorkerLoad {
        self.load.clone()
    }

    fn wish(&self) -> Wish {
        match self.wish.load(Ordering::Relaxed) {
            0 => Wish::Nothing,
            1 => Wish::Quiet,
            _ => Wish::Terminate,
        }
    }

    fn is_silent(&self) -> bool {
        self.heard().at.elapsed() > limits::WORKER_SILENCE
    }

    fn listed(&self) -> Listed {
        let (silent_seconds, state) = {
            let heard = self.heard();
            (heard.at.elapsed().as_secs(), heard.state.clone())
        };
        Listed {
            wid: self.wid.clone(),
            hostname: self.hostname.clone(),
            pid: self.pid,
            labels: self.labels.clone(),
            since: self.since.to_string(),
            state,
            asked: self.wish().text(),
            jobs: self.load.held(),
            weight: self.load.weight(),
            connections: self.connections.load(Ordering::Relaxed),
            silent_seconds,
            rss_kb: self.rss_kb.load(Ordering::Relaxed),
        }
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wish {
    /// As the protocol writes it.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Nothing => "",
            Self::Quiet => "quiet",
            Self::Terminate => "terminate",
        }
    }
}

fn forget_silent_if_full(known: &mut HashMap<Box<str>, Arc<Worker>>) {
    if known.len() >= limits::WORKERS_MAX {
        known.retain(|_, worker| !worker.is_silent());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beat(workers: &Workers, wid: &str, is_ending: bool) -> Option<Wish> {
        let beat = Beat { wid: wid.into(), current_state: "".into(), rss_kb: 9 };
        workers.beat(&beat, is_ending)
    }

    #[test]
    fn a_worker_is_asked_for_more_and_never_for_less() {
        let workers = Workers::default();
        assert_eq!(beat(&workers, "w1", false), None);
        let identity = Identity { wid: Some("w1".into()), ..Identity::default() };
        let worker = workers.connected(&identity, Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(beat(&workers, "w1", false), Some(Wish::Nothing));
        assert!(!workers.ask(Some("w2"), Wish::Quiet));
        assert!(workers.ask(Some("w1"), Wish::Quiet));
        assert_eq!(beat(&workers, "w1", false), Some(Wish::Quiet));
        assert!(workers.ask(None, Wish::Terminate));
        assert!(workers.ask(None, Wish::Quiet));
        assert_eq!(beat(&workers, "w1", false), Some(Wish::Terminate));
        assert!(workers.is_any_connected());
        workers.disconnected(&worker);
        assert!(!workers.is_any_connected());
        assert_eq!(workers.count(), 1, "it may be back");
    }

    #[test]
    fn an_ending_server_says_quiet_once_and_then_terminate() {
        let workers = Workers::default();
        let identity = Identity { wid: Some("w1".into()), ..Identity::default() };
        workers.connected(&identity, Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(beat(&workers, "w1", true), Some(Wish::Quiet));
        assert_eq!(beat(&workers, "w1", true), Some(Wish::Terminate));
    }
}
