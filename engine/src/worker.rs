//! Workers outside of this process: what a front-end asks on their behalf, and what it is told.
//!
//! A front-end gathers what one read of a connection brought into [`Order`]s and gives them to one
//! shard with [`Engine::order`]: they are carried out in their order and answered together, once all
//! is durable. Jobs are named by their [`Key`], and [`Engine::shard_of`] tells which shard has it; one
//! without a key, as schedules add them, by its id, and its shard by [`Engine::shard_of_job`]. A worker
//! waits for jobs with [`Engine::fetch`].
//!
//! This file knows the calls and not how a shard carries them out.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use tickwheel_core::{Changed, JobId, JobState, Key, QueueView, Refusal};
use tickwheel_wal::{ReadError, RecordHandle};

use crate::{
    clock,
    engine::{Engine, open_or_left_out},
    error::CallError,
    job::NewJob,
    jobs::JobChange,
    limits,
    queue::QueueLimits,
    relations::{BatchInfo, NewBatch},
    route,
    shard::Message,
};

pub use crate::choice::{ParseWorkerChoiceError, WorkerChoice, WorkerLoad};
pub use crate::keyed::key_of;

/// How an order names its job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handle {
    /// By its key.
    Key(Key),
    /// By its id.
    Job(JobId),
}

impl From<Key> for Handle {
    fn from(key: Key) -> Self {
        Self::Key(key)
    }
}

impl From<JobId> for Handle {
    fn from(job: JobId) -> Self {
        Self::Job(job)
    }
}

/// One thing that a front-end asks of a shard.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Order {
    /// Add a job, in the shard that [`Engine::home_of`] tells.
    Add(NewJob),
    /// The attempt under way of this job has ended.
    Finish {
        /// The job.
        job: Handle,
        /// How it ended.
        outcome: Finish,
    },
    /// The lease of the attempt under way of this job ends this long from now.
    Extend {
        /// The job.
        job: Handle,
        /// How long: up to 49 days.
        span: Duration,
    },
    /// Withdraw this job; a worker that has it may go on, its end is refused.
    Cancel {
        /// The job.
        job: Handle,
    },
    /// Change this job. If it is named by its key and the change is one of dead jobs, it is the one that
    /// died last with this key.
    Change {
        /// The job.
        job: Handle,
        /// What is to be changed.
        change: JobChange,
    },
    /// Look at this job; if it is named by its key and has ended, at the one that died last with this
    /// key.
    Look {
        /// The job.
        job: Handle,
    },
    /// Make a batch. It must go to the shard that [`Engine::shard_of_batch`] tells.
    NewBatch(Box<NewBatch>),
    /// Commit a batch, or open it again. It must go to the shard that the batch's id names.
    SetBatch {
        /// The batch.
        batch: JobId,
        /// Whether jobs can be added to it.
        is_open: bool,
    },
    /// Look at a batch, in the shard that its id names.
    LookBatch {
        /// The batch.
        batch: JobId,
    },
}

/// How a worker's attempt ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Finish {
    /// Well.
    Succeeded,
    /// Not well.
    Failed {
        /// What the worker said; kept up to 1000 bytes.
        message: String,
        /// A retry is of no use.
        permanent: bool,
        /// Put in the place of the job's payload, for whoever gets the next attempt.
        payload: Option<Bytes>,
    },
    /// The worker gives it back: the attempt does not count.
    Returned,
    /// Not now: the job is due again after a while, and the attempt does not count.
    Snoozed {
        /// How long: up to 49 days.
        wait: Duration,
    },
}

/// What became of an [`Order`].
#[derive(Debug)]
#[non_exhaustive]
pub enum OrderReply {
    /// Of [`Order::Add`].
    Added(Result<JobId, Refusal>),
    /// Of [`Order::Finish`]; `false` when no attempt of that job was under way.
    Finished(bool),
    /// Of [`Order::Extend`]; `false` when no attempt of that job was under way.
    Extended(bool),
    /// Of [`Order::Cancel`]; `false` when it had ended or was never there.
    Cancelled(bool),
    /// Of [`Order::Change`].
    Changed(Changed),
    /// Of [`Order::Look`]; `None` when it has ended or was never there.
    Looked(Option<Box<Seen>>),
    /// Of [`Order::NewBatch`] and [`Order::SetBatch`]: the batch's id.
    Batch(JobId),
    /// Of [`Order::LookBatch`]; `None` when there is none.
    LookedBatch(Option<Box<BatchInfo>>),
    /// It was not carried out.
    Refused(Refusal),
}

/// A job that [`Order::Look`] found.
#[derive(Debug)]
pub struct Seen {
    /// Attempts begun so far.
    pub attempts: u16,
    /// Attempts at the most.
    pub attempts_max: u16,
    /// Whether one is under way.
    pub is_running: bool,
    /// Its state.
    pub state: JobState,
    /// Its queue.
    pub queue: Box<str>,
    /// Where its payload is.
    pub payload: Payload,
}

/// When orders are answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Promise {
    /// When all of it is durable, as far as the engine's durability says.
    #[default]
    Durable,
    /// When it is in the log: it survives the process, but a power cut may take it back. For an end of an
    /// attempt that means: the job runs again.
    Logged,
}

/// What a worker asks for.
#[derive(Clone, Debug)]
pub struct Fetch {
    /// Queues to take from, the first one first; others are looked at only when those before are
    /// empty.
    pub queues: Arc<[Box<str>]>,
    /// Jobs at the most: 1 to 1024.
    pub max: u32,
    /// How long to wait for one.
    pub wait: Duration,
    /// Whose fetch it is: what it gets is counted there, and [`WorkerChoice`] looks at it. `None` for a
    /// worker that is not counted.
    pub worker: Option<WorkerLoad>,
}

impl Fetch {
    /// Asks for up to `max` jobs of `queues`, the first one first, for a worker that is not counted.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tickwheel_engine::worker::{Fetch, WorkerLoad};
    ///
    /// let load = WorkerLoad::new(8);
    /// let fetch = Fetch::new(["mail", "default"], 8, Duration::from_secs(2)).of_worker(&load);
    /// # let _ = fetch;
    /// ```
    #[must_use]
    pub fn new(
        queues: impl IntoIterator<Item = impl Into<Box<str>>>,
        max: u32,
        wait: Duration,
    ) -> Self {
        Self { queues: queues.into_iter().map(Into::into).collect(), max, wait, worker: None }
    }

    /// Says whose fetch it is.
    #[must_use]
    pub fn of_worker(mut self, worker: &WorkerLoad) -> Self {
        self.worker = Some(worker.clone());
        self
    }
}

/// An attempt that a worker has from now on, until its time-out or until it says how it ended.
#[derive(Debug)]
pub struct Fetched {
    /// The job.
    pub job: JobId,
    /// The job's key; `None` if it has none.
    pub key: Option<Key>,
    /// Which attempt it is, from 1.
    pub number: u16,
    /// Attempts at the most.
    pub attempts_max: u16,
    /// Where the payload is.
    pub payload: Payload,
}

/// The place of a payload in the log. It can be read as long as this is held.
pub struct Payload {
    pub(crate) record: RecordHandle,
    pub(crate) offset: u16,
}

impl Payload {
    /// Reads it to the end of `out`.
    ///
    /// # Errors
    /// The medium does not give it back, or gives back something else; `out` is as before.
    pub fn append_to(&self, out: &mut Vec<u8>) -> Result<(), ReadError> {
        let event = self.record.load()?;
        out.extend_from_slice(&event[usize::from(self.offset).min(event.len())..]);
        Ok(())
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Payload").field("offset", &self.offset).finish_non_exhaustive()
    }
}

/// A queue as [`Engine::queues`] lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueInfo {
    /// Its name.
    pub name: Box<str>,
    /// Jobs that are due and wait in it.
    pub ready: u64,
    /// Jobs that have not ended and are not under way, due or not.
    pub waiting: u64,
    /// Attempts under way, by executors and fetched.
    pub running: u64,
    /// Since when the job has waited that has done so for the longest, among those that go first in
    /// their priorities; `None` if none is due. A retry waits since it was due again.
    pub oldest: Option<SystemTime>,
    /// Whether nothing is taken from it.
    pub is_paused: bool,
    /// Its limits.
    pub limits: QueueLimits,
    /// After how long each a job that waits counts as one priority higher.
    pub aging: Option<Duration>,
}

/// Withdraws a [`Engine::fetch`] that waits.
///
/// Of its shards and this only one gets its hands on it: a fetch that was withdrawn in time is never
/// answered with jobs.
#[derive(Clone, Debug, Default)]
pub struct FetchTicket {
    is_taken: Arc<AtomicBool>,
}

impl FetchTicket {
    /// Withdraws it; `false` when it has been answered, or is being answered now.
    pub fn withdraw(&self) -> bool {
        self.take()
    }

    /// True for the first who asks.
    pub(crate) fn take(&self) -> bool {
        !self.is_taken.swap(true, Ordering::AcqRel)
    }

    pub(crate) fn is_taken(&self) -> bool {
        self.is_taken.load(Ordering::Acquire)
    }
}

/// Called with the answers to orders, on a shard's thread.
pub(crate) type OnOrders = Box<dyn FnOnce(Result<Vec<OrderReply>, CallError>) + Send>;
/// Called with what was fetched, on a shard's thread.
pub(crate) type OnFetched = Arc<dyn Fn(Vec<Fetched>) + Send + Sync>;

/// A fetch as a shard holds it.
pub(crate) struct Waiter {
    pub(crate) fetch: Fetch,
    pub(crate) ticket: FetchTicket,
    pub(crate) deadline_ns: u64,
    pub(crate) then: OnFetched,
}

impl Engine {
    /// The shard that has, or will have, the job with this key.
    #[must_use]
    pub fn shard_of(&self, key: Key) -> usize {
        route::shard_of_key(key, self.shards())
    }

    /// The shard that has this job; `None` if no shard of this engine ever had it.
    #[must_use]
    pub fn shard_of_job(&self, job: JobId) -> Option<usize> {
        let shard = usize::from(job.shard().0);
        (shard < self.shards()).then_some(shard)
    }

    /// The shard that a job must go to: that of its batch, of its key of uniqueness or of the jobs that it
    /// waits for, else that of its key. `None` if it may go anywhere.
    ///
    /// # Errors
    /// These are in different shards.
    pub fn home_of(&self, job: &NewJob) -> Result<Option<usize>, Refusal> {
        route::home_of(job, self.shards())
    }

    /// Carries out `orders` on one shard, in their order, and calls `then` once with a reply to each,
    /// on the shard's thread, when all of it is durable as far as the engine's durability says. `then`
    /// must be quick and must not wait for the engine. When the shard's inbox is full, this call
    /// itself waits until there is room.
    ///
    /// # Errors
    /// The engine takes nothing more; `then` is not called.
    ///
    /// # Panics
    /// If there is no such shard.
    pub fn order(
        &self,
        shard: usize,
        orders: Vec<Order>,
        then: impl FnOnce(Result<Vec<OrderReply>, CallError>) + Send + 'static,
    ) -> Result<(), CallError> {
        self.order_with(shard, orders, Promise::Durable, then)
    }

    /// [`Engine::order`] that is answered when `promise` holds.
    ///
    /// # Errors
    /// The engine takes nothing more; `then` is not called.
    ///
    /// # Panics
    /// If there is no such shard.
    pub fn order_with(
        &self,
        shard: usize,
        orders: Vec<Order>,
        promise: Promise,
        then: impl FnOnce(Result<Vec<OrderReply>, CallError>) + Send + 'static,
    ) -> Result<(), CallError> {
        let then: OnOrders = Box::new(then);
        self.send(shard, Message::Orders { orders, then, promise, sent_ns: clock::mono_ns() })
    }

    /// Asks all open shards for jobs, and calls `then` once, on a shard's thread: with at least one
    /// attempt as soon as there is one, or with none when the wait is over or one of these shards closes. Among those
    /// that wait [`WorkerChoice`] says who is first. An engine of several shards asks them in turn, and gives what one of them has.
    ///
    /// A fetch does not wait until its beginning is durable: what was fetched may be fetched again
    /// after a crash.
    ///
    /// # Errors
    /// The engine takes nothing more; `then` is not called.
    pub fn fetch(
        &self,
        fetch: &Fetch,
        then: impl Fn(Vec<Fetched>) + Send + Sync + 'static,
    ) -> Result<FetchTicket, CallError> {
        let ticket = FetchTicket::default();
        let then: OnFetched = Arc::new(then);
        let wait = fetch.wait.min(limits::FETCH_WAIT_MAX);
        let deadline_ns = clock::mono_ns().saturating_add(wait.as_nanos() as u64);
        let (first, mut asked) = (self.next_in_turn(), false);
        for turn in 0..self.shards() {
            let waiter = Waiter {
                fetch: fetch.clone(),
                ticket: ticket.clone(),
                deadline_ns,
                then: Arc::clone(&then),
            };
            let sent = self.send((first + turn) % self.shards(), Message::Fetch(Box::new(waiter)));
            asked |= open_or_left_out(sent)?.is_some();
            if ticket.is_taken() {
                break;
            }
        }
        if asked { Ok(ticket) } else { Err(CallError::ShardClosed(first)) }
    }

    /// Says which of the workers that wait for jobs gets the next one, from now on and in all shards.
    pub fn choose_workers(&self, choice: WorkerChoice) {
        self.chosen.set(choice);
    }

    /// Which of the workers that wait for jobs gets the next one.
    #[must_use]
    pub fn worker_choice(&self) -> WorkerChoice {
        self.chosen.get()
    }

    /// [`Engine::fetch`] that waits for its answer.
    ///
    /// # Errors
    /// The engine takes nothing more.
    pub fn fetch_wait(&self, fetch: &Fetch) -> Result<Vec<Fetched>, CallError> {
        let (reply, answer) = crossbeam::channel::bounded(1);
        self.fetch(fetch, move |fetched| {
            // Nobody waits any more if this fails.
            let _ = reply.send(fetched);
        })?;
        answer.recv().map_err(|_| CallError::ShuttingDown)
    }

    /// All queues of open shards that were named since the start, with the jobs that wait in them, by name.
    ///
    /// # Errors
    /// The engine takes nothing more.
    pub fn queues(&self) -> Result<Vec<QueueInfo>, CallError> {
        let mut queues: BTreeMap<Box<str>, QueueInfo> = BTreeMap::new();
        for views in self.ask_open(|reply| Message::Queues { reply })? {
            for view in views {
                let QueueView { name, ready, waiting, running, oldest, paused, limits, aging_ms } =
                    view;
                let queue = queues.entry(name.clone()).or_insert(QueueInfo {
                    name,
                    ready: 0,
                    waiting: 0,
                    running: 0,
                    oldest: None,
                    is_paused: false,
                    limits: QueueLimits::default(),
                    aging: None,
                });
                queue.ready += ready;
                queue.waiting += waiting;
                queue.running += running;
                let oldest = oldest.map(clock::system_time);
                queue.oldest = queue.oldest.into_iter().chain(oldest).min();
                queue.is_paused |= paused;
                let aging = aging_ms.map(|ms| Duration::from_millis(ms.into()));
                queue.aging = queue.aging.or(aging);
                // Shards differ only where a call that set limits failed half-way.
                if limits != QueueLimits::default().inner {
                    queue.limits.inner = limits;
                }
            }
        }
        Ok(queues.into_values().collect())
    }

    /// Pauses the queue `name` in all shards, or lets it go on. It stays so over a restart. `false`
    /// when it was so in all of them already.
    ///
    /// # Errors
    /// It was refused, or the engine takes nothing more; some shards may have done it. With
    /// [`CallError::ShardClosed`] all open shards have: repeat it when that one is open again.
    pub fn pause_queue(&self, name: &str, paused: bool) -> Result<bool, CallError> {
        self.set_everywhere(|shard| {
            let name = name.to_owned();
            self.call(shard, |reply| Message::PauseQueue { name, paused, reply })
        })
    }
}
