//! Settings of an engine, checked before anything is started.

use std::{path::PathBuf, sync::Arc, thread, time::Duration};

use tickwheel_core::{Alert, DeadLimits, Notice, ShardId, limits::DEAD_MAX};
use tickwheel_wal::Durability;

use crate::{
    breaker::CircuitBreaker,
    choice::{Chosen, WorkerChoice},
    clock, data_dir,
    engine::Engine,
    error::{CallError, StartError},
    executor::{AsyncAttempt, Attempt, Handle, Handler, Handlers, JobError, Pool, PoolSize, Spawn},
    history::{self, History},
    limits,
    permits::Commons,
    shard::ShardSetup,
    shards::Slot,
};

/// Called for each attempt that ended.
pub(crate) type Observer = Arc<dyn Fn(&Notice) + Send + Sync>;

/// Called once when a log has failed.
pub(crate) type OnFailure = Arc<dyn Fn(&CallError) + Send + Sync>;

/// Called when something was paused by itself.
pub(crate) type OnAlert = Arc<dyn Fn(&Alert) + Send + Sync>;

/// Settings of an [`Engine`]: see [`Engine::builder`].
pub struct Builder {
    data_dir: PathBuf,
    durability: Durability,
    shards: Option<usize>,
    executors: Option<usize>,
    replacements: Option<usize>,
    spin: Duration,
    segment_bytes: u64,
    running_max: u32,
    jobs_max: u32,
    dead: DeadLimits,
    pin: bool,
    paused: bool,
    served: Option<Vec<String>>,
    homes: Vec<(String, String)>,
    handlers: Handlers,
    duplicate: Option<String>,
    observer: Option<Observer>,
    on_failure: Option<OnFailure>,
    on_alert: Option<OnAlert>,
    queue_guards: Vec<(String, u32)>,
    breakers: Vec<(String, CircuitBreaker)>,
    schedule_guards: Vec<(String, u32)>,
    history: Option<History>,
    chosen: Chosen,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self {
            data_dir: PathBuf::from("tickwheel-data"),
            durability: Durability::Sync,
            shards: None,
            executors: None,
            replacements: None,
            spin: Duration::ZERO,
            segment_bytes: limits::SEGMENT_BYTES_DEFAULT,
            running_max: limits::RUNNING_DEFAULT,
            jobs_max: tickwheel_core::limits::JOBS_MAX,
            dead: DeadLimits::default(),
            pin: true,
            paused: false,
            served: None,
            homes: Vec::new(),
            handlers: Handlers::default(),
            duplicate: None,
            observer: None,
            on_failure: None,
            on_alert: None,
            queue_guards: Vec::new(),
            breakers: Vec::new(),
            schedule_guards: Vec::new(),
            history: None,
            chosen: Chosen::default(),
        }
    }

    /// Where the logs are kept; made if it is not there. One process at a time. Default
    /// `tickwheel-data` in the working directory.
    #[must_use]
    pub fn data_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.data_dir = dir.into();
        self
    }

    /// When a call is acknowledged: see [`Durability`]. Default [`Durability::Sync`].
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Number of shards: 1 to 256. Default: as many as the directory holds; a new one gets half the
    /// number of processors, at least one. A directory keeps its number until
    /// [`store::reshard`](crate::store::reshard()) changes it.
    #[must_use]
    pub fn shards(mut self, shards: usize) -> Self {
        self.shards = Some(shards);
        self
    }

    /// Number of executor threads in all: 1 to 1024. They serve all shards. Default: the number of
    /// processors. Handlers that wait (for the network, for a command) want more.
    #[must_use]
    pub fn executors(mut self, executors: usize) -> Self {
        self.executors = Some(executors);
        self
    }

    /// Executors at most that may hang at a time and have another thread in their place: 0 to 1024.
    /// Default: as many as there are executors.
    ///
    /// A handler that does not return within 100 ms after the end of its attempt (by its time-out,
    /// or because its job was cancelled) hangs. Its thread ends by itself if it ever returns. See
    /// [`EngineStats::executors_hung`](crate::EngineStats).
    #[must_use]
    pub fn replacements(mut self, replacements: usize) -> Self {
        self.replacements = Some(replacements);
        self
    }

    /// How long a shard or executor looks for work before it sleeps: 0 to 1 ms. Default 0: none
    /// spins, so that no processor is kept from others.
    ///
    /// A spin saves the system calls of sleeping and waking, tens of microseconds at each step of a
    /// job, and takes a whole processor per thread while jobs come closer together than that. It
    /// needs a processor for each shard and each executor: where there are fewer, it is ignored
    /// with a warning, since whoever spins then keeps the thread from running that it waits for.
    #[must_use]
    pub fn spin(mut self, spin: Duration) -> Self {
        self.spin = spin;
        self
    }

    /// Size of a log segment: a power of two, 8 MiB to 1 GiB. Default 64 MiB. A directory keeps the
    /// size that it was made with.
    #[must_use]
    pub fn segment_bytes(mut self, bytes: u64) -> Self {
        self.segment_bytes = bytes;
        self
    }

    /// Attempts under way per shard at the most, those in the executors' queue included: 1 to
    /// 65,536. Default 1024. The queue is as short as the handlers' pace allows: twice the number of
    /// executors, and what they end in four milliseconds. So a job of higher priority waits behind
    /// few, and a time-out counts from the call of the handler.
    #[must_use]
    pub fn running_max(mut self, attempts: u32) -> Self {
        self.running_max = attempts;
        self
    }

    /// Executors of this process take jobs only from these queues; all others are left to
    /// [workers](crate::worker) that fetch. Default: executors take from every queue.
    #[must_use]
    pub fn serve_queues(mut self, queues: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.served = Some(queues.into_iter().map(Into::into).collect());
        self
    }

    /// Jobs of `kind` without a key stand in `queue` once they are due, whatever queue they were added
    /// to: so that a program that begins to use [`Builder::serve_queues`] still runs what an earlier
    /// version of it has added.
    #[must_use]
    pub fn home(mut self, kind: impl Into<String>, queue: impl Into<String>) -> Self {
        self.homes.push((kind.into(), queue.into()));
        self
    }

    /// Jobs per shard that have not ended: 1 to 2³⁰. Default 2³⁰. Further ones are refused.
    #[must_use]
    pub fn jobs_max(mut self, jobs: u32) -> Self {
        self.jobs_max = jobs;
        self
    }

    /// Jobs per shard that failed for good and are kept: 0 to 10,000,000. Default 100,000. The oldest
    /// leave first; with 0 none is kept. Each takes about 300 bytes of memory while it is kept, and its
    /// payload stays in the log.
    #[must_use]
    pub fn dead_max(mut self, jobs: u32) -> Self {
        self.dead.jobs_max = jobs;
        self
    }

    /// How long a job is kept that failed for good. Default 180 days.
    #[must_use]
    pub fn dead_age(mut self, age: Duration) -> Self {
        self.dead.age_ns = clock::saturating_ns(age);
        self
    }

    /// Whether each shard's thread is pinned to a processor of its own. Default: yes. Where the
    /// system refuses, a warning is logged and the thread runs unpinned.
    #[must_use]
    pub fn pin(mut self, pin: bool) -> Self {
        self.pin = pin;
        self
    }

    /// Whether the engine starts without triggering or dispatching anything, until
    /// [`Engine::resume`]: so that a program can put its schedules before those that the log
    /// brought back make up for what they missed. Default: no.
    #[must_use]
    pub fn paused(mut self, paused: bool) -> Self {
        self.paused = paused;
        self
    }

    /// The code for a kind. It is called on executor threads, several at a time; a panic ends the
    /// attempt only. Jobs of a kind without a handler are refused.
    #[must_use]
    pub fn handler(
        mut self,
        kind: impl Into<String>,
        handler: impl Fn(&Attempt<'_>) -> Result<(), JobError> + Send + Sync + 'static,
    ) -> Self {
        self.add_handler(kind.into(), Handler::Call(Box::new(handler)));
        self
    }

    /// The code for a kind as a value of its own, with whatever state it needs; otherwise as
    /// [`Builder::handler`].
    ///
    /// ```
    /// use tickwheel_engine::{Attempt, Engine, Handle, JobError};
    ///
    /// struct Mailer {
    ///     sender: String,
    /// }
    ///
    /// impl Handle for Mailer {
    ///     fn handle(&self, attempt: &Attempt<'_>) -> Result<(), JobError> {
    ///         println!("{}: {} bytes", self.sender, attempt.payload().len());
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let builder = Engine::builder().handle("mail", Mailer { sender: "ada@example.org".into() });
    /// # drop(builder);
    /// ```
    #[must_use]
    pub fn handle(self, kind: impl Into<String>, handler: impl Handle) -> Self {
        self.handler(kind, move |attempt: &Attempt<'_>| handler.handle(attempt))
    }

    /// Asynchronous code for a kind: its future runs `on` a runtime of yours, and no executor waits
    /// for it. So a few executors start what thousands of futures wait for; raise
    /// [`Builder::running_max`] to as many as may be under way.
    ///
    /// The future is dropped when the job is cancelled, when its time-out has passed, and when the
    /// grace of a shutdown is over. Shut the engine down before its runtime: futures that a runtime
    /// drops count as failed attempts.
    ///
    /// With the feature `tokio`, `on` may be a `tokio::runtime::Handle`:
    ///
    #[cfg_attr(feature = "tokio", doc = "```")]
    #[cfg_attr(not(feature = "tokio"), doc = "```ignore")]
    /// use std::time::Duration;
    /// use tickwheel_engine::{AsyncAttempt, Engine, NewJob};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build()?;
    /// let engine = Engine::builder()
    ///     .data_dir(dir.path())
    /// #   .segment_bytes(8 << 20)
    ///     .async_handler("fetch", runtime.handle().clone(), async |attempt: AsyncAttempt| {
    ///         println!("{} bytes", attempt.payload().len());
    ///         Ok(())
    ///     })
    ///     .start()?;
    /// runtime.block_on(engine.submit_ticket(NewJob::new("fetch").payload("a page")))?;
    /// # assert!(engine.drain(Duration::from_secs(10)));
    /// engine.shutdown(Duration::from_secs(1))?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn async_handler<F>(
        mut self,
        kind: impl Into<String>,
        on: impl Spawn,
        handler: impl Fn(AsyncAttempt) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<(), JobError>> + Send + 'static,
    {
        let make = Box::new(move |attempt| Box::pin(handler(attempt)) as _);
        self.add_handler(kind.into(), Handler::Spawn { make, on: Box::new(on) });
        self
    }

    fn add_handler(&mut self, kind: String, handler: Handler) {
        if !self.handlers.add(kind.clone(), handler) {
            self.duplicate = Some(kind);
        }
    }

    /// Called for each attempt that ended, on a shard's thread: it must be quick and must not call
    /// the engine.
    #[must_use]
    pub fn observer(mut self, observer: impl Fn(&Notice) + Send + Sync + 'static) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }

    /// Called once per shard whose log failed, on that shard's thread: from then on nothing is
    /// taken, triggered or acknowledged by it. A program that has nothing else to do should end,
    /// so that whoever watches it can restart it on a sound disk.
    #[must_use]
    pub fn on_failure(mut self, on_failure: impl Fn(&CallError) + Send + Sync + 'static) -> Self {
        self.on_failure = Some(Arc::new(on_failure));
        self
    }

    /// Pauses `queue` each time that so many attempts in a row have failed in it, and tells
    /// [`Builder::on_alert`]. [`Engine::pause_queue`] lets it go on. Each shard counts for itself, and
    /// pauses its own part; the count begins anew with each start. Attempts that are lost, snoozed or
    /// cancelled do not count. 0 is without a guard, as is the default.
    #[must_use]
    pub fn pause_queue_after(mut self, queue: impl Into<String>, failures: u32) -> Self {
        self.queue_guards.push((queue.into(), failures));
        self
    }

    /// Closes `queue` for a while after so many failures in a row, then tries it with one attempt at a time: see
    /// [`CircuitBreaker`]. The last one that is given for a queue holds.
    #[must_use]
    pub fn circuit_breaker(mut self, queue: impl Into<String>, breaker: CircuitBreaker) -> Self {
        self.breakers.push((queue.into(), breaker));
        self
    }

    /// Pauses the schedule `name` each time that so many attempts in a row have failed at jobs that it added,
    /// with a note that says so, and tells [`Builder::on_alert`]. [`Engine::resume_schedule`] lets it go on. The
    /// count begins anew with each start. 0 is without a guard, as is the default.
    #[must_use]
    pub fn pause_schedule_after(mut self, name: impl Into<String>, failures: u32) -> Self {
        self.schedule_guards.push((name.into(), failures));
        self
    }

    /// Called when a queue or schedule was paused after too many failures, when a circuit breaker opens or closes, and
    /// when a schedule has missed a fire time by more than its grace. It is called on a shard's thread: it must be quick
    /// and must not call the engine. What it tells may not be durable yet.
    #[must_use]
    pub fn on_alert(mut self, on_alert: impl Fn(&Alert) + Send + Sync + 'static) -> Self {
        self.on_alert = Some(Arc::new(on_alert));
        self
    }

    /// Which of the workers that wait for jobs gets the next one; see [`Engine::choose_workers`]. Default
    /// [`WorkerChoice::LongestWaiting`].
    #[must_use]
    pub fn worker_choice(self, choice: WorkerChoice) -> Self {
        self.chosen.set(choice);
        self
    }

    /// Keeps a history of attempts in the data directory, and lets programs
    /// [follow](Engine::subscribe) what happens. Default: none is kept, and nothing is spent on it. It
    /// may be turned on and off from one start to the next; what happened meanwhile is told as a gap.
    #[must_use]
    pub fn history(mut self, history: History) -> Self {
        self.history = Some(history);
        self
    }

    /// Opens or makes the data directory, recovers what it holds, and starts all threads.
    ///
    /// # Errors
    /// A setting out of its range, a directory in use or damaged, a log of a newer version, a
    /// system that refuses threads. Nothing is left running.
    pub fn start(self) -> Result<Engine, StartError> {
        self.check()?;
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let shards_default = (processors / 2).clamp(1, limits::SHARDS_MAX);
        // Held until all shards have come up.
        let prepared = data_dir::prepare(&self.data_dir, self.shards, shards_default)?;
        let shards = prepared.shards;
        let executors = self.executors.unwrap_or(processors);
        let cores = core_affinity::get_core_ids().unwrap_or_default();
        let spin = self.spin_on(processors, shards + executors);
        let size = PoolSize { executors, replacements: self.replacements.unwrap_or(executors) };
        // Each executor may hang on an attempt that is not under way any more.
        let places = self.running_max as usize + size.seats();
        let history = match &self.history {
            Some(settings) => Some(Arc::new(history::open(&self.data_dir, settings)?)),
            None => None,
        };
        let outputs = history.as_ref().map(|keeping| keeping.outputs());
        let pool = Arc::new(Pool::new(Arc::new(self.handlers), size, spin, outputs));
        let mut slots = Vec::with_capacity(shards);
        for number in 0..shards {
            let shard = number as u8;
            slots.push(Slot::new(ShardSetup {
                shard: ShardId(shard),
                dir: data_dir::shard_dir(&self.data_dir, shard),
                durability: self.durability,
                segment_bytes: self.segment_bytes,
                served: self.served.clone(),
                homes: self.homes.clone(),
                running_max: self.running_max,
                jobs_max: self.jobs_max,
                dead: self.dead,
                executors: executors.div_ceil(shards),
                places,
                pool: Arc::clone(&pool),
                spin_ns: clock::saturating_ns(spin),
                observer: self.observer.clone(),
                on_failure: self.on_failure.clone(),
                on_alert: self.on_alert.clone(),
                queue_guards: self.queue_guards.clone(),
                breakers: self
                    .breakers
                    .iter()
                    .map(|(queue, rule)| (queue.clone(), rule.to_core()))
                    .collect(),
                schedule_guards: self.schedule_guards.clone(),
                commons: None,
                history: history.clone(),
                chosen: self.chosen.clone(),
                // With fewer processors than shards a pin would only take a choice away.
                core: (self.pin && shards <= cores.len()).then(|| cores[number]),
            })?);
        }
        if shards > 1 {
            let commons = Commons::new(slots.iter().map(Slot::sleeper));
            slots.iter().for_each(|slot| slot.share(&commons));
        }
        // Dropping the engine stops what did come up.
        let engine =
            Engine::new(slots, Arc::clone(&pool), self.paused, history, self.chosen, self.data_dir);
        let engine = engine.open_all()?;
        pool.start()?;
        Ok(engine)
    }

    /// How long threads may spin, of which there are `threads` that want a processor each.
    fn spin_on(&self, processors: usize, threads: usize) -> Duration {
        if !self.spin.is_zero() && processors < threads {
            tracing::warn!(
                processors,
                threads,
                "nothing spins: there are fewer processors than shards and executors"
            );
            return Duration::ZERO;
        }
        self.spin
    }

    fn check(&self) -> Result<(), StartError> {
        let within = |setting, value: u64, min: u64, max: u64, range| {
            if (min..=max).contains(&value) {
                Ok(())
            } else {
                Err(StartError::Setting { setting, value: value.to_string(), range })
            }
        };
        if let Some(kind) = &self.duplicate {
            return Err(StartError::DuplicateHandler(kind.clone()));
        }
        if let Some(history) = &self.history {
            history.check()?;
        }
        if let Some(shards) = self.shards {
            within("shards", shards as u64, 1, limits::SHARDS_MAX as u64, "1 to 256")?;
        }
        if let Some(executors) = self.executors {
            within("executors", executors as u64, 1, limits::EXECUTORS_MAX as u64, "1 to 1024")?;
        }
        if let Some(replacements) = self.replacements {
            let max = limits::EXECUTORS_MAX as u64;
            within("replacements", replacements as u64, 0, max, "0 to 1024")?;
        }
        let spin_max = limits::SPIN_MAX.as_nanos() as u64;
        let range = "0 to 1000000 nanoseconds (1 ms)";
        within("spin", clock::saturating_ns(self.spin), 0, spin_max, range)?;
        let running_max = u64::from(self.running_max);
        within("running_max", running_max, 1, u64::from(limits::RUNNING_MAX), "1 to 65536")?;
        let dead_max = u64::from(self.dead.jobs_max);
        within("dead_max", dead_max, 0, u64::from(DEAD_MAX), "0 to 10000000")?;
        for (_, breaker) in &self.breakers {
            breaker.check()?;
        }
        let jobs_max = u64::from(self.jobs_max);
        within("jobs_max", jobs_max, 1, 1 << 30, "1 to 1073741824")?;
        let segment_range = "a power of two from 8388608 (8 MiB) to 1073741824 (1 GiB)";
        let power = u64::from(self.segment_bytes.is_power_of_two());
        let segment_bytes = self.segment_bytes * power;
        within("segment_bytes", segment_bytes, limits::SEGMENT_BYTES_MIN, 1 << 30, segment_range)?;
        let outcomes = running_max * tickwheel_core::limits::OUTCOME_BYTES_MAX;
        if outcomes > self.segment_bytes / 2 {
            return Err(StartError::Setting {
                setting: "running_max",
                value: running_max.to_string(),
                range: "small enough that the ends of all running attempts fit half a segment: lower it or raise segment_bytes",
            });
        }
        Ok(())
    }
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder")
            .field("data_dir", &self.data_dir)
            .field("durability", &self.durability)
            .field("shards", &self.shards)
            .field("executors", &self.executors)
            .field("handlers", &self.handlers)
            .finish_non_exhaustive()
    }
}
