//! A server of the work protocol as a target: connections that push, workers that fetch and report, and, where
//! the run starts the server itself, the faults that are put on it. Any server of the protocol will do;
//! `FETCHB` and its kin are used only where it announces them.

mod ceiling;
mod disturb;
mod job;
mod pusher;
mod server;
mod wire;
mod worker;

use std::{
    collections::BTreeMap,
    io,
    net::{Shutdown, TcpStream},
    path::Path,
    sync::{
        Arc, Condvar, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
pub(crate) use ceiling::wire_ceiling;
use tickwheel_engine::{EngineStats, latency::Latency};
use tickwheel_protocol::{ClientError, Password, Reply, limits, request};

use super::{Answered, Outgoing, ProcessUse, Target, TargetError, TargetName};
use crate::{
    measure::Account,
    options::Options,
    result::FaultBand,
    workload::{Ending, Outcomes, payload},
};
use disturb::Disturber;
use job::{Form, Instants};
use pusher::{Pusher, Request};
use server::Server;
use wire::{Endpoint, Replies, Wire};
use worker::Worker;

/// Most connections of a kind.
pub(crate) const CONNECTIONS_MAX: usize = 1000;
/// Most requests of a connection that are under way: their answers fit into the buffers of a socket.
pub(crate) const PIPELINE_MAX: usize = 4096;
/// Most jobs that a worker fetches at a time.
pub(crate) const FETCH_MAX: usize = 10_000;

/// Bytes of one request of several jobs.
const REQUEST_BYTES: usize = 256 << 10;
/// How long a connection may make no progress, beside the longest stop of the server.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a lost server may take to come back, beside that.
const RECONNECT_WAIT: Duration = Duration::from_secs(60);
const RECONNECT_PAUSE: Duration = Duration::from_millis(20);
/// Between two looks at whether all is done.
const DRAIN_LOOK: Duration = Duration::from_micros(500);
const RELEASE_LOOK: Duration = Duration::from_millis(50);

/// Without a completion for so long, leases that a fault took are ended, so many at a time.
const QUIET_LONG: Duration = Duration::from_secs(2);
const LEASES_ENDED: usize = 1000;

/// How long nothing has completed.
struct Quiet {
    completed: u64,
    since: Instant,
}

impl Quiet {
    /// Whether that is long; it begins anew then.
    fn is_long(&mut self, completed: u64) -> bool {
        if completed != self.completed {
            *self = Self { completed, since: Instant::now() };
        }
        let is_long = self.since.elapsed() >= QUIET_LONG;
        if is_long {
            self.since = Instant::now();
        }
        is_long
    }
}

/// What all connections of a run share.
#[derive(Debug)]
struct Shared {
    account: Arc<Account>,
    endpoint: Endpoint,
    form: Form,
    reconnect_wait: Duration,
    /// Attempts of each job, by what came to workers.
    attempts: Box<[AtomicU8]>,
    /// Jobs that workers have and did not report yet, or whose report is not answered.
    unreported: AtomicU64,
    refused_reports: AtomicU64,
    foreign: AtomicU64,
    reconnects: AtomicU64,
    is_stopped: AtomicBool,
    released: (Mutex<bool>, Condvar),
    /// A socket of each connection, so that whoever waits on it can be woken.
    sockets: Mutex<BTreeMap<usize, TcpStream>>,
}

impl Shared {
    fn is_over(&self) -> bool {
        self.is_stopped.load(Ordering::Acquire) || self.account.is_given_up()
    }

    /// Notes the socket of a connection, and gives another handle to it.
    fn register(&self, slot: usize, replies: &Replies) -> io::Result<TcpStream> {
        let mut sockets = self.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        sockets.insert(slot, replies.socket()?);
        replies.socket()
    }

    /// Calls until it succeeds. `None`: the run is over.
    fn retry<T>(
        &self,
        mut body: impl FnMut() -> Result<T, ClientError>,
    ) -> Result<Option<T>, String> {
        let until = Instant::now() + self.reconnect_wait;
        loop {
            if self.is_over() {
                return Ok(None);
            }
            match body() {
                Ok(value) => return Ok(Some(value)),
                Err(error) if Instant::now() >= until => return Err(error.to_string()),
                Err(_) => thread::sleep(RECONNECT_PAUSE),
            }
        }
    }

    fn count_reconnect(&self) {
        self.reconnects.fetch_add(1, Ordering::Relaxed);
    }

    /// The number of this attempt of a job.
    fn attempt(&self, number: u32) -> u16 {
        let attempts = self.attempts.get(number as usize);
        let more = |attempts: u8| attempts.checked_add(1);
        let before = attempts.map_or(Ok(0), |attempts| {
            attempts.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
        });
        u16::from(before.unwrap_or(u8::MAX)) + 1
    }

    fn fetched(&self, jobs: usize) {
        self.unreported.fetch_add(jobs as u64, Ordering::AcqRel);
    }

    fn reported(&self, jobs: usize) {
        self.unreported.fetch_sub(jobs as u64, Ordering::AcqRel);
    }

    /// Waits a little until workers may fetch; whether they may.
    fn wait_for_release(&self) -> bool {
        let (released, changed) = &self.released;
        let guard = released.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = changed.wait_timeout_while(guard, RELEASE_LOOK, |released| !*released);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Tells all threads that the run is over, and wakes those that wait for the server.
    fn stop(&self) {
        self.is_stopped.store(true, Ordering::Release);
        for socket in self.sockets.lock().unwrap_or_else(PoisonError::into_inner).values() {
            // One that is closed already is as good.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

/// A server, and the connections of a run to it.
struct Remote {
    shared: Arc<Shared>,
    pushers: Vec<Arc<Pusher>>,
    next: AtomicUsize,
    /// Whether a job that dies must be told so when it is pushed.
    some_die: bool,
    canceller: Mutex<Option<Wire>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    server: Option<Arc<Server>>,
    disturber: OnceLock<Disturber>,
}

/// Connects to the server, or starts it first.
pub(super) fn start(
    options: &Options,
    dir: &Path,
    account: &Arc<Account>,
) -> Result<Arc<dyn Target>, TargetError> {
    let (address, server) = match &options.target {
        TargetName::Tcp(address) => (address.clone(), None),
        _ => {
            let server = Server::start(options, dir)?;
            (server.address().to_owned(), Some(Arc::new(server)))
        }
    };
    let password = match server {
        Some(_) => None,
        None => std::env::var("TICKWHEEL_PASSWORD").ok().map(|text| Password::new(&text)),
    };
    let extra = options.faults.longest_stop();
    let outcomes = options.workload.outcomes;
    let loses_leases = outcomes.hang > 0.0 || outcomes.crash > 0.0 || !options.faults.is_empty();
    // What is left of the clock tells runs apart.
    let run = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_nanos() >> 10) as u32;
    let shared = Arc::new(Shared {
        account: Arc::clone(account),
        endpoint: Endpoint { address, password, patience: PATIENCE + extra },
        form: Form { run, reserve_seconds: loses_leases.then_some(limits::RESERVE_SECONDS_MIN) },
        reconnect_wait: RECONNECT_WAIT + extra,
        attempts: (0..options.jobs).map(|_| AtomicU8::new(0)).collect(),
        unreported: AtomicU64::new(0),
        refused_reports: AtomicU64::new(0),
        foreign: AtomicU64::new(0),
        reconnects: AtomicU64::new(0),
        is_stopped: AtomicBool::new(false),
        released: (Mutex::new(!options.paused), Condvar::new()),
        sockets: Mutex::default(),
    });
    let remote = Remote {
        shared: Arc::clone(&shared),
        pushers: (0..options.connections())
            .map(|slot| Arc::new(Pusher::new(Arc::clone(&shared), slot, options.pipeline())))
            .collect(),
        next: AtomicUsize::new(0),
        some_die: outcomes != Outcomes::default(),
        canceller: Mutex::default(),
        threads: Mutex::default(),
        server,
        disturber: OnceLock::new(),
    };
    // From here on, dropping it ends what was begun.
    remote.connect(options)?;
    if let Some(server) = &remote.server
        && !options.faults.is_empty()
    {
        let _ = remote.disturber.set(Disturber::start(&options.faults, server, account)?);
    }
    Ok(Arc::new(remote))
}

impl Remote {
    fn connect(&self, options: &Options) -> Result<(), TargetError> {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        for (slot, pusher) in self.pushers.iter().enumerate() {
            let replies = pusher.connect()?;
            let pusher = Arc::clone(pusher);
            let read = move || pusher.read(replies);
            threads.push(thread::Builder::new().name(format!("push-{slot}")).spawn(read)?);
        }
        for number in 0..options.workers() {
            let slot = self.pushers.len() + number;
            let shared = Arc::clone(&self.shared);
            let worker = Worker { shared, slot, fetch: options.fetch() };
            let wire = worker.open()?;
            let work = move || worker.work(wire);
            threads.push(thread::Builder::new().name(format!("work-{number}")).spawn(work)?);
        }
        if options.workload.cancel > 0.0 {
            let wire = self.shared.endpoint.open(None)?;
            if !wire.is_tickwheel {
                let (command, flag) = ("CANCEL", "--cancel");
                return Err(TargetError::NotKnown { command, flag });
            }
            *self.canceller.lock().unwrap_or_else(PoisonError::into_inner) = Some(wire);
        }
        Ok(())
    }

    /// The jobs as requests of a bounded size, in their order. The last one has `then`.
    fn requests(&self, jobs: &[Outgoing], then: Answered) -> Vec<Request> {
        let first = jobs.first().and_then(|job| payload::head(&job.payload));
        let mut number = first.map_or(0, |head| head.number);
        let is_batch = jobs.len() > 1;
        let mut requests = Vec::with_capacity(1);
        let mut texts: Vec<u8> = Vec::new();
        let mut ends: Vec<usize> = Vec::new();
        let mut instants = Instants::default();
        let mut finish = |texts: &mut Vec<u8>, ends: &mut Vec<usize>, end: u32| {
            let mut line = Vec::with_capacity(texts.len() + ends.len() + 16);
            if is_batch {
                let begins = std::iter::once(0).chain(ends.iter().copied());
                let texts = begins.zip(ends.iter()).map(|(begin, end)| &texts[begin..*end]);
                request::push_batch(&mut line, texts);
            } else {
                request::push(&mut line, texts);
            }
            let count = ends.len() as u32;
            let line = Bytes::from(line);
            requests.push(Request { line, first: end - count, jobs: count, is_batch, then: None });
            texts.clear();
            ends.clear();
        };
        for job in jobs {
            let dies =
                self.some_die && self.shared.account.traits.of(number).ending == Ending::Dies;
            self.shared.form.write(job, number, dies, &mut instants, &mut texts);
            ends.push(texts.len());
            number += 1;
            if texts.len() >= REQUEST_BYTES {
                finish(&mut texts, &mut ends, number);
            }
        }
        if !ends.is_empty() {
            finish(&mut texts, &mut ends, number);
        }
        if let Some(last) = requests.last_mut() {
            last.then = Some(then);
        }
        requests
    }

    /// Ends the leases of jobs that no worker here has: the answer that brought them was lost with the server.
    /// Else a run would wait for their ends, however long they are.
    fn end_lost_leases(&self) -> Result<(), ClientError> {
        if self.shared.unreported.load(Ordering::Acquire) > 0 {
            return Ok(());
        }
        let mut wire = self.shared.endpoint.open(None)?;
        if !wire.is_tickwheel {
            return Ok(());
        }
        let lost: Vec<u32> = self.shared.account.missing().take(LEASES_ENDED).collect();
        for number in &lost {
            request::extend(&mut wire.out, &self.shared.form.jid(*number), 1);
        }
        wire.flush()?;
        for _ in &lost {
            // One that waits in its queue has no lease, and is refused.
            wire.replies.receive(|_| ())?;
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        let account = &self.shared.account;
        account.is_answered()
            && account.backlog() == 0
            && self.shared.unreported.load(Ordering::Acquire) == 0
            && account.missing().next().is_none()
    }
}

impl Target for Remote {
    fn submit(&self, jobs: Vec<Outgoing>, then: Answered) -> Result<(), String> {
        if let Some(disturber) = self.disturber.get() {
            disturber.load_begins();
        }
        let pusher = self.next.fetch_add(1, Ordering::Relaxed) % self.pushers.len();
        for request in self.requests(&jobs, then) {
            self.pushers[pusher].send(request)?;
        }
        Ok(())
    }

    fn cancel(&self, id: u64) -> Result<bool, String> {
        let mut canceller = self.canceller.lock().unwrap_or_else(PoisonError::into_inner);
        let wire = canceller.as_mut().ok_or("there is no connection for cancels")?;
        // Ids are numbers of jobs here.
        let jid = self.shared.form.jid(id as u32);
        request::cancel(&mut wire.out, &jid);
        // It is refused where the job has ended already.
        wire.flush()
            .and_then(|()| wire.replies.receive(|reply| matches!(reply, Reply::Simple(_))))
            .map_err(|error| error.to_string())
    }

    fn resume(&self) -> Result<(), String> {
        let (released, changed) = &self.shared.released;
        *released.lock().unwrap_or_else(PoisonError::into_inner) = true;
        changed.notify_all();
        Ok(())
    }

    fn drain(&self, timeout: Duration) -> bool {
        let until = Instant::now().checked_add(timeout);
        let mut quiet = Quiet { completed: self.shared.account.completed(), since: Instant::now() };
        while !self.is_done() {
            if self.disturber.get().is_some() && quiet.is_long(self.shared.account.completed()) {
                // A server that cannot be asked now is asked again.
                let _ = self.end_lost_leases();
            }
            if self.shared.is_over() || until.is_some_and(|until| Instant::now() >= until) {
                return false;
            }
            thread::sleep(DRAIN_LOOK);
        }
        true
    }

    fn shards(&self) -> usize {
        0
    }

    fn submitters(&self) -> usize {
        self.pushers.len()
    }

    fn latency(&self) -> Option<Latency> {
        None
    }

    fn stats(&self) -> Result<EngineStats, String> {
        Ok(EngineStats::default())
    }

    fn process(&self) -> Option<ProcessUse> {
        self.server.as_ref().map(|server| server.used())
    }

    fn faults(&self) -> Vec<FaultBand> {
        self.disturber.get().map(Disturber::bands).unwrap_or_default()
    }

    fn notes(&self) -> Vec<String> {
        let count = |counter: &AtomicU64, what: &str| {
            let count = counter.load(Ordering::Relaxed);
            (count > 0).then(|| format!("{count} {what}"))
        };
        let shared = &self.shared;
        [
            count(&shared.reconnects, "times a connection was lost and made anew"),
            count(&shared.refused_reports, "ends of attempts were refused by the server"),
            count(&shared.foreign, "jobs of an earlier load were in the queue, and were removed"),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    fn shutdown(&self, _grace: Duration) -> Result<(), String> {
        self.shared.stop();
        if let Some(disturber) = self.disturber.get() {
            disturber.stop();
        }
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            thread.join().map_err(|_| "a thread of the load panicked".to_owned())?;
        }
        self.server.as_ref().map_or(Ok(()), |server| server.end())
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.shared.stop();
        if let Some(disturber) = self.disturber.get() {
            disturber.stop();
        }
    }
}
