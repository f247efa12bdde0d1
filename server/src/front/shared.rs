//! What all I/O threads share: how the front-end was set up, its phase, and who is connected.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tickwheel_engine::{Backoff, worker::Promise};
use tickwheel_protocol::Password;

use super::{FrontOptions, Tls, limits, tracks::Tracks, workers::Workers};

/// What the front-end does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Phase {
    /// Everything.
    Open,
    /// It accepts no connection and hands out no job; workers are told to be quiet.
    Draining,
    /// It answers what was asked and closes.
    Ending,
}

/// What may change while the server runs.
#[derive(Debug)]
struct Secrets {
    password: Option<Password>,
    tls: Option<Tls>,
}

impl Secrets {
    fn of(options: &FrontOptions) -> Self {
        Self { password: options.password.clone(), tls: options.tls.clone() }
    }
}

/// What all I/O threads share.
#[derive(Debug)]
pub(super) struct Shared {
    /// Both are read once for each connection.
    secrets: Mutex<Secrets>,
    pub(super) backoff: Backoff,
    pub(super) ends: Promise,
    pub(super) request_wait: Duration,
    pub(super) workers: Workers,
    pub(super) tracks: Tracks,
    pub(super) started: Instant,
    /// Commands that were read.
    pub(super) commands: AtomicU64,
    /// Whether `FLUSH` is carried out.
    pub(super) allow_flush: bool,
    /// Queues that were removed, until a job names them again.
    hidden: Mutex<HashSet<Box<str>>>,
    phase: AtomicU8,
    connections_max: AtomicUsize,
    per_address_max: AtomicUsize,
    connections: AtomicUsize,
    by_address: Mutex<HashMap<IpAddr, usize>>,
}

impl Shared {
    pub(super) fn new(options: &FrontOptions) -> Self {
        Self {
            secrets: Mutex::new(Secrets::of(options)),
            backoff: options.backoff,
            ends: options.ends,
            request_wait: options.request_wait,
            workers: Workers::default(),
            tracks: Tracks::default(),
            started: Instant::now(),
            commands: AtomicU64::new(0),
            allow_flush: options.allow_flush,
            hidden: Mutex::default(),
            phase: AtomicU8::new(Phase::Open as u8),
            connections_max: AtomicUsize::new(options.connections_max),
            per_address_max: AtomicUsize::new(options.per_address_max),
            connections: AtomicUsize::new(0),
            by_address: Mutex::default(),
        }
    }

    /// Takes over what may change.
    pub(super) fn reload(&self, options: &FrontOptions) {
        *self.secrets.lock().unwrap_or_else(PoisonError::into_inner) = Secrets::of(options);
        self.connections_max.store(options.connections_max, Ordering::Relaxed);
        self.per_address_max.store(options.per_address_max, Ordering::Relaxed);
    }

    /// What clients that connect now have to know.
    pub(super) fn password(&self) -> Option<Password> {
        self.secrets.lock().unwrap_or_else(PoisonError::into_inner).password.clone()
    }

    /// What encrypts connections that begin now, if they are to be.
    pub(super) fn tls(&self) -> Option<Tls> {
        self.secrets.lock().unwrap_or_else(PoisonError::into_inner).tls.clone()
    }

    /// A queue is not to be listed while it is empty.
    pub(super) fn hide_queue(&self, name: &str) {
        let mut hidden = self.hidden.lock().unwrap_or_else(PoisonError::into_inner);
        // Names that the engine does not know are not listed anyway, but clients may send many.
        if hidden.len() < limits::HIDDEN_QUEUES_MAX {
            hidden.insert(name.into());
        }
    }

    /// Whether a queue is to be listed; one that has jobs is, from now on also when it is empty again.
    pub(super) fn shows_queue(&self, name: &str, is_empty: bool) -> bool {
        let mut hidden = self.hidden.lock().unwrap_or_else(PoisonError::into_inner);
        if is_empty {
            return !hidden.contains(name);
        }
        hidden.remove(name);
        true
    }

    pub(super) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Open,
            1 => Phase::Draining,
            _ => Phase::Ending,
        }
    }

    /// Goes on to a later phase; an earlier one is not gone back to.
    pub(super) fn advance(&self, phase: Phase) {
        self.phase.fetch_max(phase as u8, Ordering::AcqRel);
    }

    /// Counts a new connection, unless there are too many: then why.
    pub(super) fn admit(&self, address: IpAddr) -> Result<(), &'static str> {
        let mut by_address = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        if self.connections.load(Ordering::Relaxed) >= self.connections_max.load(Ordering::Relaxed)
        {
            return Err("too many connections; try again later");
        }
        let count = by_address.entry(address).or_insert(0);
        if *count >= self.per_address_max.load(Ordering::Relaxed) {
            return Err("too many connections from your address; close some");
        }
        *count += 1;
        self.connections.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// A connection that was admitted has ended.
    pub(super) fn left(&self, address: IpAddr) {
        let mut by_address = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                by_address.remove(&address);
            }
        }
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}
