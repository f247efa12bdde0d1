//! The shards of an engine, each of which opens and closes while the others go on.
//!
//! It owns what of a shard stays between two openings: the way into its inbox, its sleep, its
//! histograms and its settings. It must not know what a shard does with a message.

mod gate;

use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use crossbeam::channel::{Receiver, Sender, bounded};

use crate::{
    clock,
    engine::Engine,
    error::{CallError, CloseShardError, OpenShardError, StartError},
    executor::Port,
    latency::{self, Latency, Recorder},
    limits,
    permits::Commons,
    shard::{Bed, Berth, Message, ShardEnd, ShardSetup, Sleeper, Starting, spawn},
};
pub(crate) use gate::Gate;

/// What [`Engine::close_shard`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ClosedShard {
    /// Attempts that did not end in time. They count as lost, and are tried again once the shard is
    /// opened if their jobs have attempts left.
    pub abandoned: u64,
}

/// What [`Engine::open_shard`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct OpenedShard {
    /// Jobs that are pending.
    pub recovered_jobs: u64,
    /// Attempts that were under way when its log was last closed.
    pub lost_attempts: u64,
}

impl Engine {
    /// Closes one shard; all others go on. It takes nothing more and starts no more attempts, waits
    /// up to `grace` for running ones, then asks their handlers to stop and waits 5 seconds more,
    /// syncs in every mode, closes its log, and lets go of its folder's lock. Closing a closed shard
    /// does nothing.
    ///
    /// From then on, and already during the grace:
    /// - Calls that only this shard can answer fail with [`CallError::ShardClosed`]. So may a batch
    ///   that was on its way: nothing of it was taken.
    /// - Jobs without keys go to the other shards. In a batch for several shards, the jobs with keys of
    ///   this one are refused with [`Refusal::ShardClosed`](crate::Refusal::ShardClosed).
    /// - What is asked of all shards, like [`Engine::stats`], [`Engine::schedules`] or
    ///   [`Engine::drain`], leaves it out. A fetch that waits in it may end early, without jobs.
    /// - Its jobs and schedules stay in its log. What they miss is made up for when it opens.
    ///
    /// Workers outside of the process cannot give back what they fetched from it: it waits the whole
    /// grace for them, and then their attempts count as lost.
    ///
    /// It must be called neither in a handler nor in a callback of the engine: it would wait for
    /// itself.
    ///
    /// # Errors
    /// There is no such shard, or the engine shuts down: nothing has changed. Or the log could not be
    /// closed: the shard is closed all the same.
    pub fn close_shard(
        &self,
        shard: usize,
        grace: Duration,
    ) -> Result<ClosedShard, CloseShardError> {
        let shards = self.shards();
        let slot = self.slots.get(shard).ok_or(CloseShardError::NoSuchShard { shard, shards })?;
        let mut keeper = slot.keeper();
        if self.closed.load(Ordering::SeqCst) {
            return Err(CloseShardError::ShuttingDown);
        }
        let Some(running) = keeper.running.take() else { return Ok(ClosedShard::default()) };
        let deadline_ns = clock::mono_ns().saturating_add(clock::saturating_ns(grace));
        slot.gate.close();
        slot.put(Message::Stop { deadline_ns, answer: CallError::ShardClosed(shard) });
        let pool = &keeper.setup.pool;
        let ended = running.thread.join();
        pool.leave_port(&running.port);
        let ShardEnd { abandoned, closed } = ended.map_err(|_| CloseShardError::ShardPanicked)?;
        if abandoned > 0 {
            // Those whose handlers do not return are missing elsewhere.
            pool.replace_those_of(shard);
        }
        tracing::info!(shard, abandoned, "the shard is closed");
        closed.map_err(CloseShardError::Log)?;
        Ok(ClosedShard { abandoned })
    }

    /// Opens a shard that was closed, from the same folder: it recovers as at a start, with the
    /// settings of the engine, and returns once it serves. All others go on meanwhile.
    ///
    /// # Errors
    /// There is no such shard, it is open, the engine shuts down, or the log cannot be opened: then
    /// the shard stays closed, and the call may be repeated.
    pub fn open_shard(&self, shard: usize) -> Result<OpenedShard, OpenShardError> {
        let shards = self.shards();
        let slot = self.slots.get(shard).ok_or(OpenShardError::NoSuchShard { shard, shards })?;
        let mut keeper = slot.keeper();
        if self.closed.load(Ordering::SeqCst) {
            return Err(OpenShardError::ShuttingDown);
        }
        if keeper.running.is_some() {
            return Err(OpenShardError::AlreadyOpen(shard));
        }
        let paused = self.paused.load(Ordering::SeqCst);
        let opening = slot.begin(&mut keeper, paused)?;
        let opened = slot.finish(&mut keeper, opening)?;
        if paused && !self.paused.load(Ordering::SeqCst) {
            // It was not open when all others were told.
            slot.put(Message::Resume);
        }
        tracing::info!(
            shard,
            jobs = opened.recovered_jobs,
            lost_attempts = opened.lost_attempts,
            "the shard is open"
        );
        Ok(opened)
    }

    /// Whether a shard takes calls: it is there and not closed. A log that failed stays open until
    /// it is closed.
    #[must_use]
    pub fn is_shard_open(&self, shard: usize) -> bool {
        self.slots.get(shard).is_some_and(|slot| slot.gate.is_open())
    }

    /// What the stages took that the shard's own thread records: all but
    /// [`Stage::Dispatch`](crate::latency::Stage::Dispatch) and
    /// [`Stage::Run`](crate::latency::Stage::Run), which executors record for all shards together.
    /// It covers all openings since the start or since [`Engine::reset_latency`]. `None`: there is
    /// no such shard.
    #[must_use]
    pub fn shard_latency(&self, shard: usize) -> Option<Latency> {
        self.slots.get(shard).map(|slot| latency::merged(std::iter::once(slot.recorder.clone())))
    }
}

impl Engine {
    /// Opens all shards at the start of the engine, each on its own thread.
    pub(crate) fn open_all(mut self) -> Result<Self, StartError> {
        let paused = self.paused.load(Ordering::SeqCst);
        // Before anything begins, all shards have said which attempts are under way: limits count them.
        let waits = self.slots.len() > 1;
        let mut sum = OpenedShard::default();
        let mut failed = None;
        let begin = |slot: &Slot| slot.begin(&mut slot.keeper(), paused || waits);
        let opening: Vec<_> = self.slots.iter().map(begin).collect();
        for (slot, opening) in self.slots.iter().zip(opening) {
            let opened = opening.map_err(StartError::from);
            match opened.and_then(|opening| slot.finish(&mut slot.keeper(), opening)) {
                Ok(opened) => {
                    sum.recovered_jobs += opened.recovered_jobs;
                    sum.lost_attempts += opened.lost_attempts;
                }
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        if waits && !paused && failed.is_none() {
            self.slots.iter().for_each(|slot| slot.put(Message::Resume));
        }
        self.recovered = sum;
        failed.map_or(Ok(self), Err)
    }
}

/// One shard, open or closed.
#[derive(Debug)]
pub(crate) struct Slot {
    number: usize,
    gate: Arc<Gate>,
    full: Arc<AtomicBool>,
    /// Jobs that it holds at the most.
    pub(crate) jobs_max: u32,
    inbox: Sender<Message>,
    /// The inbox's other end, for whichever thread serves it.
    outlet: Receiver<Message>,
    sleeper: Arc<Sleeper>,
    /// Where the shard's thread finds its bed, and leaves it.
    shelf: Arc<Shelf>,
    pub(crate) recorder: Recorder,
    /// The whole engine ends.
    ending: AtomicBool,
    keeper: Mutex<Keeper>,
}

/// What whoever opens or closes the shard holds meanwhile.
#[derive(Debug)]
pub(crate) struct Keeper {
    setup: ShardSetup,
    running: Option<Running>,
}

/// The thread of an open shard.
#[derive(Debug)]
struct Running {
    thread: thread::JoinHandle<ShardEnd>,
    port: Arc<Port>,
}

/// A bed while nobody lies in it.
pub(crate) type Shelf = Mutex<Option<Bed>>;

/// A shard on its way up.
pub(crate) struct Opening {
    starting: Starting,
    port: Arc<Port>,
}

impl Slot {
    /// A closed shard.
    pub(crate) fn new(setup: ShardSetup) -> io::Result<Self> {
        let bed = Bed::new()?;
        let (inbox, outlet) = bounded(limits::INBOX_LEN);
        Ok(Self {
            number: usize::from(setup.shard.0),
            gate: Arc::new(Gate::new()),
            full: Arc::new(AtomicBool::new(false)),
            jobs_max: setup.jobs_max,
            inbox,
            outlet,
            sleeper: bed.sleeper(),
            shelf: Arc::new(Mutex::new(Some(bed))),
            recorder: Recorder::new(),
            ending: AtomicBool::new(false),
            keeper: Mutex::new(Keeper { setup, running: None }),
        })
    }

    /// The shard keeps to limits together with the others, from its next opening on.
    pub(crate) fn share(&self, commons: &Arc<Commons>) {
        self.keeper().setup.commons = Some(Arc::clone(commons));
    }

    pub(crate) fn sleeper(&self) -> Arc<Sleeper> {
        Arc::clone(&self.sleeper)
    }

    /// Sends a message; gives it back if the shard is closed.
    pub(crate) fn send(&self, message: Message) -> Result<(), Message> {
        if !self.gate.is_open() {
            return Err(message);
        }
        self.put(message);
        Ok(())
    }

    /// Whether it takes calls, and held as many jobs as it may at its last look.
    pub(crate) fn is_full(&self) -> bool {
        self.gate.is_open() && self.full.load(Ordering::Relaxed)
    }

    /// Puts a message into the inbox even of a shard that closes. It is carried out or refused.
    fn put(&self, message: Message) {
        // It is never disconnected: this slot has both its ends.
        let _ = self.inbox.send(message);
        self.sleeper.wake();
        if self.gate.is_left() {
            let is_ending = self.ending.load(Ordering::SeqCst);
            let closed = CallError::ShardClosed(self.number);
            let error = if is_ending { CallError::ShuttingDown } else { closed };
            refuse_left(&self.gate, &self.outlet, &error);
        }
    }

    pub(crate) fn keeper(&self) -> MutexGuard<'_, Keeper> {
        self.keeper.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the shard's thread, which opens the log.
    pub(crate) fn begin(&self, keeper: &mut Keeper, paused: bool) -> io::Result<Opening> {
        let setup = keeper.setup.clone();
        let port = Arc::new(Port::new(Arc::clone(&self.sleeper), setup.places));
        // Before the shard lends anything out.
        setup.pool.join_port(Arc::clone(&port));
        let berth = Berth {
            shelf: Arc::clone(&self.shelf),
            port: Arc::clone(&port),
            inbox: self.outlet.clone(),
            gate: Arc::clone(&self.gate),
            full: Arc::clone(&self.full),
            recorder: self.recorder.clone(),
            paused,
        };
        match spawn(setup, berth) {
            Ok(starting) => Ok(Opening { starting, port }),
            Err(error) => {
                keeper.setup.pool.leave_port(&port);
                Err(error)
            }
        }
    }

    /// Waits until the shard serves, or has failed to.
    pub(crate) fn finish(
        &self,
        keeper: &mut Keeper,
        opening: Opening,
    ) -> Result<OpenedShard, StartError> {
        let Opening { starting, port } = opening;
        let (thread, ready) = starting.wait();
        match ready {
            Ok(opened) => {
                keeper.running = Some(Running { thread, port });
                Ok(opened)
            }
            Err(error) => {
                keeper.setup.pool.leave_port(&port);
                // Its end is as good as its answer.
                let _ = thread.join();
                Err(error)
            }
        }
    }

    /// Tells the shard to stop with the engine, if it is open or closes.
    pub(crate) fn stop(&self, deadline_ns: u64) {
        self.ending.store(true, Ordering::SeqCst);
        self.gate.close();
        if !self.gate.is_left() {
            self.put(Message::Stop { deadline_ns, answer: CallError::ShuttingDown });
        }
    }

    /// Stops the shard with the engine and waits for its end; `None` when it is closed.
    pub(crate) fn stop_and_wait(&self, deadline_ns: u64) -> Option<thread::Result<ShardEnd>> {
        let mut keeper = self.keeper();
        let running = keeper.running.take()?;
        // It may have been opened since all were told.
        self.stop(deadline_ns);
        Some(running.thread.join())
    }

    /// Asks all handlers of its attempts to stop.
    pub(crate) fn stop_handlers(&self) {
        if let Some(running) = &self.keeper().running {
            running.port.stops.stop_all();
        }
    }
}

/// Answers what is in the inbox of a shard whose thread has left.
pub(crate) fn refuse_left(gate: &Gate, outlet: &Receiver<Message>, error: &CallError) {
    // Answered without the gate's lock: callers' code may send again.
    for message in gate.take_left(|| outlet.try_iter().collect()) {
        message.refuse(error);
    }
}
