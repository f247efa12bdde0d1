//! The engine as a program holds it: each call becomes a message to the shard that it concerns.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use tickwheel_core::{Counts, JobId, JobState, JobView, Refusal, ScheduleView};

use crate::{
    builder::Builder,
    choice::Chosen,
    clock,
    error::{CallError, SubmitError},
    executor::Pool,
    history::Keeping,
    job::NewJob,
    jobs::Death,
    latency::{self, Latency, Recorder},
    limits,
    schedule::{Pause, Schedule},
    shard::{Batch, BatchAnswer, Found, Message, ShardStats},
    shards::{OpenedShard, Slot},
};

/// A durable job scheduler: shards, executors and their logs.
///
/// All calls may be made from any thread but a handler's observer. Dropping the engine stops it
/// without grace; [`Engine::shutdown`] lets running jobs end.
#[derive(Debug)]
pub struct Engine {
    pub(crate) slots: Vec<Slot>,
    pub(crate) pool: Arc<Pool>,
    pub(crate) closed: AtomicBool,
    /// Shards that open trigger and dispatch nothing.
    pub(crate) paused: AtomicBool,
    next_shard: AtomicUsize,
    /// Held while a schedule is put.
    puts: Mutex<()>,
    /// Held while all shards are told a setting: two at the same time would reach them in different orders.
    pub(crate) settings: Mutex<()>,
    /// What all shards held at the start.
    pub(crate) recovered: OpenedShard,
    pub(crate) history: Option<Arc<Keeping>>,
    /// What all shards go by when several workers wait.
    pub(crate) chosen: Chosen,
    pub(crate) data_dir: PathBuf,
}

/// What became of a batch: an id or a refusal for each job, in the order of the batch.
pub type BatchReply = Result<Vec<Result<JobId, Refusal>>, CallError>;

/// A job as [`Engine::job`] finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JobInfo {
    /// It has not ended.
    Pending {
        /// Its state.
        state: JobState,
        /// Its kind.
        kind: String,
        /// When it is due.
        due: SystemTime,
        /// Attempts begun so far.
        attempts: u16,
        /// Attempts at the most.
        attempts_max: u16,
        /// Its priority.
        priority: u8,
        /// The schedule that added it.
        schedule: Option<String>,
        /// When it ends as expired unless an attempt has begun by then.
        expires: Option<SystemTime>,
        /// Its group.
        group: Option<String>,
        /// Its tags.
        tags: Vec<String>,
    },
    /// It failed for good and is in the dead set; [`Engine::look`](crate::Engine::look) tells more.
    Dead {
        /// Its kind.
        kind: String,
        /// Attempts begun.
        attempts: u16,
        /// How it failed.
        death: Death,
    },
    /// It was accepted once and has ended; how is not kept.
    Ended,
}

/// A schedule as [`Engine::schedules`] lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleInfo {
    /// Its name.
    pub name: String,
    /// Its timing in words.
    pub description: String,
    /// Kind of the job that it adds.
    pub kind: String,
    /// Queue of the job that it adds.
    pub queue: String,
    /// Payload of the job that it adds.
    pub payload: Vec<u8>,
    /// The next fire time; `None` when it has no more. While it is paused, the one that it waits
    /// with, which may be past.
    pub next: Option<SystemTime>,
    /// Set while it is paused.
    pub paused: Option<Pause>,
    /// Jobs that it added and that have not ended.
    pub pending: u64,
    /// Jobs that it added.
    pub fired: u64,
}

/// Numbers of an engine, summed over its open shards. What is counted since the start is, of a shard
/// that was closed meanwhile, counted since it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct EngineStats {
    /// Jobs and attempts, what was recovered included.
    pub counts: Counts,
    /// Bytes appended to the logs since the start.
    pub log_appended_bytes: u64,
    /// Syncs of the logs since the start.
    pub log_syncs: u64,
    /// The same by how long they took.
    pub log_sync_classes: SyncClasses,
    /// Length of the logs now, from their heads to their ends.
    pub log_bytes: u64,
    /// Of these, bytes that hold pending jobs and schedules; see the core's `live_bytes`.
    pub log_live_bytes: u64,
    /// Bytes written again since the start so that the oldest segments could be given back. They
    /// are part of `log_appended_bytes`.
    pub log_moved_bytes: u64,
    /// Segments given back since the start.
    pub log_segments_released: u64,
    /// Snapshots of the state finished since the start.
    pub snapshots: u64,
    /// Ends of attempts that came too late and were refused.
    pub stale_completions: u64,
    /// Jobs that were pending when the engine started.
    pub recovered_jobs: u64,
    /// Attempts that were under way when the previous process ended.
    pub lost_attempts: u64,
    /// Executors whose handlers have not returned though their attempts ended a while ago.
    pub executors_hung: u64,
    /// Threads started in place of such executors since the start. While fewer were started than
    /// hang, that many executors are missing: see [`Builder::replacements`](crate::Builder).
    pub executors_replaced: u64,
}

/// Syncs of logs by how long they took: entry `n` counts those of 2ⁿ to 2ⁿ⁺¹ − 1 nanoseconds, the last
/// also all longer ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncClasses(pub [u64; 40]);

impl SyncClasses {
    fn add(&mut self, other: &Self) {
        for (sum, count) in self.0.iter_mut().zip(other.0) {
            *sum += count;
        }
    }
}

impl Default for SyncClasses {
    fn default() -> Self {
        Self([0; 40])
    }
}

impl Engine {
    /// Settings for a new engine.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// An engine whose shards are closed as yet.
    pub(crate) fn new(
        slots: Vec<Slot>,
        pool: Arc<Pool>,
        paused: bool,
        history: Option<Arc<Keeping>>,
        chosen: Chosen,
        data_dir: PathBuf,
    ) -> Self {
        Self {
            slots,
            pool,
            closed: AtomicBool::new(false),
            paused: AtomicBool::new(paused),
            next_shard: AtomicUsize::new(0),
            puts: Mutex::new(()),
            settings: Mutex::new(()),
            recovered: OpenedShard::default(),
            history,
            chosen,
            data_dir,
        }
    }

    /// Submits a job and waits until it is accepted: with [`Durability::Sync`](crate::Durability)
    /// until it is on the disk, else until it is in the log.
    ///
    /// One caller waits for one sync per call; use [`Engine::submit_batch`] for many jobs.
    ///
    /// # Errors
    /// The job was refused, or the engine takes nothing more.
    pub fn submit(&self, job: NewJob) -> Result<JobId, SubmitError> {
        let mut answers = self.submit_batch(vec![job])?;
        match answers.pop() {
            Some(answer) => Ok(answer?),
            None => Err(CallError::ShuttingDown.into()),
        }
    }

    /// Submits up to 65,536 jobs with one sync among them, and waits until they are accepted. Each
    /// is accepted or refused by itself.
    ///
    /// # Errors
    /// None was taken: the batch is too large, names an unknown kind, or the engine takes nothing.
    pub fn submit_batch(
        &self,
        jobs: Vec<NewJob>,
    ) -> Result<Vec<Result<JobId, Refusal>>, SubmitError> {
        let (reply, answer) = bounded(1);
        self.submit_batch_then(jobs, move |answers| {
            // Nobody waits any more if this fails.
            let _ = reply.send(answers);
        })?;
        Ok(answer.recv().unwrap_or(Err(CallError::ShuttingDown))?)
    }

    /// Submits a batch without waiting: `then` is called once, on a shard's thread, when the batch
    /// is accepted. It must be quick and must not wait for the engine. When the shard's inbox is
    /// full, this call itself waits until there is room. When every shard holds as many jobs as it
    /// may, jobs without keys are refused at once, on the caller's thread, so that load beyond the
    /// limit takes no time from what was accepted.
    ///
    /// # Errors
    /// As for [`Engine::submit_batch`]; `then` is not called.
    pub fn submit_batch_then(
        &self,
        jobs: Vec<NewJob>,
        then: impl FnOnce(BatchReply) + Send + 'static,
    ) -> Result<(), SubmitError> {
        if jobs.len() > limits::BATCH_JOBS_MAX {
            return Err(SubmitError::BatchTooLarge { len: jobs.len() });
        }
        // A batch is mostly of one kind: look it up when it changes.
        let mut known: Option<&str> = None;
        for job in &jobs {
            let kind = job.kind();
            if known != Some(kind) {
                if self.pool.handlers().find(kind).is_none() {
                    return Err(SubmitError::UnknownKind(kind.to_owned()));
                }
                known = Some(kind);
            }
        }
        if self.slots.len() > 1 && jobs.iter().any(NewJob::has_home) {
            return self.submit_by_key(jobs, then);
        }
        if let Some(max) = self.all_full() {
            then(Ok(jobs.iter().map(|_| Err(Refusal::TooManyJobs { max })).collect()));
            return Ok(());
        }
        let batch = Batch {
            jobs,
            on_batch: Box::new(move |answer: BatchAnswer| then(answer)),
            submitted_ns: clock::mono_ns(),
        };
        Ok(self.send_in_turn(Message::Submit(batch))?)
    }

    /// Puts a schedule: adds it, or replaces the rule of the one of its name. With an equal timing
    /// its next fire time stays, so that what was missed while the engine was down is seen. Returns
    /// the next fire time.
    ///
    /// # Errors
    /// It was refused, its kind has no handler, or the engine takes nothing more.
    pub fn put_schedule(&self, schedule: Schedule) -> Result<Option<SystemTime>, SubmitError> {
        let kind = &schedule.inner.job.kind;
        if self.pool.handlers().find(kind).is_none() {
            return Err(SubmitError::UnknownKind(kind.to_string()));
        }
        Ok(self.put_worker_schedule(schedule)?)
    }

    /// [`Engine::put_schedule`] for a schedule whose jobs are fetched by [workers](crate::worker): its
    /// kind needs no handler. Its queue should be none that executors serve, see
    /// [`Builder::serve_queues`](crate::Builder::serve_queues).
    ///
    /// # Errors
    /// It was refused, or the engine takes nothing more.
    pub fn put_worker_schedule(&self, schedule: Schedule) -> Result<Option<SystemTime>, CallError> {
        // Two of one name must not be put into different shards at the same time.
        let _alone = self.puts.lock().unwrap_or_else(PoisonError::into_inner);
        let shard = self.shard_to_put(&schedule)?;
        let schedule = Box::new(schedule.inner);
        let next = self.call(shard, |reply| Message::PutSchedule { schedule, reply })?;
        Ok(next.map(clock::system_time))
    }

    /// Removes a schedule; jobs that it added stay. `false` when there is none of that name.
    ///
    /// # Errors
    /// The engine takes nothing more.
    pub fn remove_schedule(&self, name: &str) -> Result<bool, CallError> {
        let shard = self.shard_of_schedule(name)?;
        let name = name.to_owned();
        self.call(shard, |reply| Message::RemoveSchedule { name, reply })
    }

    /// Pauses a schedule: it does not fire until [`Engine::resume_schedule`], also across restarts
    /// and when it is put again. If it is paused already, only the note changes. Jobs that it added
    /// go on. `false` when there is none of that name.
    ///
    /// # Errors
    /// The note has over 200 bytes, the log has no room, or the engine takes nothing more.
    pub fn pause_schedule(&self, name: &str, note: &str) -> Result<bool, CallError> {
        self.set_paused(name, Some(note.to_owned()))
    }

    /// Lets a paused schedule go on. Fire times that passed meanwhile are late; those later than
    /// [`Schedule::grace`] are missed, and [`Schedule::missed`] says what becomes of them. `false`
    /// when there is none of that name.
    ///
    /// # Errors
    /// The log has no room, or the engine takes nothing more.
    pub fn resume_schedule(&self, name: &str) -> Result<bool, CallError> {
        self.set_paused(name, None)
    }

    /// Adds the job of a schedule now, beside its fire times, which stay; also while it is paused.
    /// `None` when there is none of that name.
    ///
    /// # Errors
    /// It was refused, as by [`Overlap::Skip`](crate::Overlap), or the engine takes nothing more.
    pub fn run_now(&self, name: &str) -> Result<Option<JobId>, CallError> {
        let shard = self.shard_of_schedule(name)?;
        let name = name.to_owned();
        self.call(shard, |reply| Message::RunSchedule { name, reply })
    }

    /// The next fire times of a schedule, at most `count` and at most 10,000, if nothing is changed;
    /// none while it is paused. The first may be past, when it is about to be caught up. `None` when
    /// there is no schedule of that name.
    ///
    /// Fire times are listed that will be let go, as missed ones or by
    /// [`Overlap::Skip`](crate::Overlap): which ones is not known ahead. They are reckoned on the
    /// caller's thread.
    ///
    /// # Errors
    /// The engine takes nothing more.
    pub fn upcoming(&self, name: &str, count: usize) -> Result<Option<Vec<SystemTime>>, CallError> {
        let shard = self.shard_of_schedule(name)?;
        let name = name.to_owned();
        let view = self.ask(shard, |reply| Message::Schedule { name, reply })?;
        let count = count.min(limits::UPCOMING_MAX);
        let times =
            |view: ScheduleView| view.upcoming(count).into_iter().map(clock::system_time).collect();
        Ok(view.map(times))
    }

    fn set_paused(&self, name: &str, note: Option<String>) -> Result<bool, CallError> {
        let shard = self.shard_of_schedule(name)?;
        let name = name.to_owned();
        self.call(shard, |reply| Message::PauseSchedule { name, note, reply })
    }

    /// A schedule; `None` when there is none of that name.
    ///
    /// # Errors
    /// The engine takes nothing more.
    pub fn schedule(&self, name: &str) -> Result<Option<ScheduleInfo>, CallError> {
        let shard = self.shard_of_schedule(name)?;
        let name = name.to_owned();
        let view = self.ask(shard, |reply| Message::Schedule { name, reply })?;
        Ok(view.map(ScheduleInfo::from))
    }

    /// All schedules of open shards, by name.
    ///
    /// # Errors
    /// The engine takes nothing more.
    pub fn schedules(&self) -> Result<Vec<ScheduleInfo>, CallError> {
        let mut list = Vec::new();
        for views in self.ask_open(|reply| Message::Schedules { reply })? {
            for view in views {
                list.push(ScheduleInfo::from(view));
            }
        }
        list.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(list)
    }

    /// Cancels a job: once this returns, it is not dispatched any more. A running attempt is asked
    /// to stop. The state that it was in; `None` when it had ended or was never there.
    ///
    /// # Errors
    /// The engine takes nothing more.
    pub fn cancel(&self, job: JobId) -> Result<Option<JobState>, CallError> {
        let shard = usize::from(job.shard().0);
        if shard >= self.slots.len() {
            return Ok(None);
        }
        self.call(shard, |reply| Message::Cancel { job, reply })
    }

    /// Looks at a job. `None` when it was never accepted here.
    ///
    /// # Errors
    /// The engine takes nothing more.
    pub fn job(&self, job: JobId) -> Result<Option<JobInfo>, CallError> {
        let shard = usize::from(job.shard().0);
        if shard >= self.slots.len() {
            return Ok(None);
        }
        Ok(match self.ask(shard, |reply| Message::Job { job, reply })? {
            Found::Pending(view) => Some(JobInfo::from(*view)),
            Found::Dead(dead) => Some(JobInfo::Dead {
                kind: dead.job.kind.to_string(),
                attempts: dead.job.attempts,
                death: Death::of(&dead),
            }),
            Found::Ended => Some(JobInfo::Ended),
            Found::Unknown => None,
        })
    }

    /// Lets an engine that was started [paused](Builder::paused) trigger and dispatch.
    ///
    /// # Errors
    /// The engine takes nothing more.
    pub fn resume(&self) -> Result<(), CallError> {
        // Before the others are told: a shard that opens meanwhile sees it, or is told.
        self.paused.store(false, Ordering::SeqCst);
        for shard in 0..self.slots.len() {
            open_or_left_out(self.send(shard, Message::Resume))?;
        }
        Ok(())
    }

    /// Waits until no job is pending, and until the end of the last one is in the log (with
    /// [`Durability::Sync`](crate::Durability) on the disk), at most `timeout`; `false` when some still
    /// are. Schedules do not count, jobs that they added do. Jobs of shards that are closed do not.
    #[must_use]
    pub fn drain(&self, timeout: Duration) -> bool {
        let now = Instant::now();
        // A wait without an end, as far as this clock goes.
        let century = Duration::from_secs(3_000_000_000);
        let deadline = now.checked_add(timeout).unwrap_or(now + century);
        (0..self.slots.len()).all(|shard| {
            let (reply, drained) = bounded(1);
            let sent = self.send(shard, Message::Drain { reply });
            match sent.map(|()| drained.recv_deadline(deadline)) {
                Ok(Ok(())) => true,
                Ok(Err(RecvTimeoutError::Timeout)) => false,
                // A shard that is closed, maybe only now, is left out.
                Ok(Err(RecvTimeoutError::Disconnected)) => {
                    matches!(self.gone(shard), CallError::ShardClosed(_))
                }
                Err(error) => matches!(error, CallError::ShardClosed(_)),
            }
        })
    }

    /// Numbers, summed over the shards.
    ///
    /// # Errors
    /// The engine takes nothing more.
    pub fn stats(&self) -> Result<EngineStats, CallError> {
        let pool = self.pool.stats();
        let mut sum = EngineStats {
            recovered_jobs: self.recovered.recovered_jobs,
            lost_attempts: self.recovered.lost_attempts,
            executors_hung: pool.hung,
            executors_replaced: pool.replaced,
            ..EngineStats::default()
        };
        let all: Vec<ShardStats> = self.ask_open(|reply| Message::Stats { reply })?;
        for stats in all {
            sum.counts = sum.counts.plus(stats.counts);
            sum.log_appended_bytes += stats.log_appended_bytes;
            sum.log_syncs += stats.log_syncs;
            sum.log_sync_classes.add(&stats.log_sync_classes);
            sum.log_bytes += stats.log_bytes;
            sum.log_live_bytes += stats.log_live_bytes;
            sum.log_moved_bytes += stats.log_moved_bytes;
            sum.log_segments_released += stats.log_segments_released;
            sum.snapshots += stats.snapshots;
            sum.stale_completions += stats.stale_completions;
        }
        Ok(sum)
    }

    /// What each stage took so far, merged over all threads.
    #[must_use]
    pub fn latency(&self) -> Latency {
        latency::merged(self.recorders())
    }

    /// Forgets what [`Engine::latency`] has gathered.
    pub fn reset_latency(&self) {
        latency::reset(self.recorders());
    }

    fn recorders(&self) -> impl Iterator<Item = Recorder> {
        self.slots.iter().map(|slot| slot.recorder.clone()).chain(self.pool.recorders())
    }

    /// Number of shards, open or closed.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.slots.len()
    }

    /// The shards take turns at what may go to any of them.
    pub(crate) fn next_in_turn(&self) -> usize {
        self.next_shard.fetch_add(1, Ordering::Relaxed) % self.slots.len()
    }

    pub(crate) fn send(&self, shard: usize, message: Message) -> Result<(), CallError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(CallError::ShuttingDown);
        }
        self.slots[shard].send(message).map_err(|_| self.gone(shard))
    }

    /// Jobs that a shard may hold, if each that is open holds as many.
    fn all_full(&self) -> Option<u32> {
        let is_open = |shard: &usize| self.is_shard_open(*shard);
        let mut open = (0..self.shards()).filter(is_open).map(|shard| &self.slots[shard]);
        let first = open.next().filter(|slot| slot.is_full())?;
        open.all(Slot::is_full).then_some(first.jobs_max)
    }

    /// Sends a message to the shard whose turn it is; those that are closed have none, and those
    /// that are full are the last to be tried.
    fn send_in_turn(&self, mut message: Message) -> Result<(), CallError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(CallError::ShuttingDown);
        }
        let has_room = self.turns().find(|shard| !self.slots[*shard].is_full());
        for shard in has_room.into_iter().chain(self.turns()) {
            match self.slots[shard].send(message) {
                Ok(()) => return Ok(()),
                Err(back) => message = back,
            }
        }
        Err(self.gone(0))
    }

    /// Shards in the order in which they are tried for what may go to any of them. The turns of one
    /// that is closed go round among the others.
    fn turns(&self) -> impl Iterator<Item = usize> {
        let shards = self.slots.len();
        // Callers that draw at the same time may leave one only those that are closed.
        (0..shards).map(|_| self.next_in_turn()).chain(0..shards)
    }

    /// The open shard whose turn it is; a closed one if all are.
    pub(crate) fn open_in_turn(&self) -> usize {
        self.turns().find(|shard| self.is_shard_open(*shard)).unwrap_or(0)
    }

    /// Why a shard does not answer.
    pub(crate) fn gone(&self, shard: usize) -> CallError {
        if self.closed.load(Ordering::Acquire) {
            CallError::ShuttingDown
        } else {
            CallError::ShardClosed(shard)
        }
    }

    /// Asks all shards, one after the other; those that are closed are left out.
    pub(crate) fn ask_open<T>(
        &self,
        message: impl Fn(Sender<T>) -> Message,
    ) -> Result<Vec<T>, CallError> {
        let mut answers = Vec::with_capacity(self.slots.len());
        for shard in 0..self.slots.len() {
            answers.extend(open_or_left_out(self.ask(shard, &message))?);
        }
        Ok(answers)
    }

    /// Sends a question and waits for the answer.
    pub(crate) fn ask<T>(
        &self,
        shard: usize,
        message: impl FnOnce(Sender<T>) -> Message,
    ) -> Result<T, CallError> {
        let (reply, answer): (Sender<T>, Receiver<T>) = bounded(1);
        self.send(shard, message(reply))?;
        answer.recv().map_err(|_| self.gone(shard))
    }

    /// Sends a command and waits until it is durable.
    pub(crate) fn call<T>(
        &self,
        shard: usize,
        message: impl FnOnce(Sender<Result<T, CallError>>) -> Message,
    ) -> Result<T, CallError> {
        self.ask(shard, message)?
    }
}

/// What a shard answered; `None` for one that is closed.
pub(crate) fn open_or_left_out<T>(answer: Result<T, CallError>) -> Result<Option<T>, CallError> {
    match answer {
        Err(CallError::ShardClosed(_)) => Ok(None),
        answer => answer.map(Some),
    }
}

impl From<ScheduleView> for ScheduleInfo {
    fn from(view: ScheduleView) -> Self {
        let ScheduleView { rule, next, paused, pending, fired } = view;
        Self {
            name: rule.name.into_owned(),
            description: describe(&rule.timing),
            kind: rule.job.kind.into_owned(),
            queue: rule.job.queue.into_owned(),
            payload: rule.job.payload.into_owned(),
            next: next.map(clock::system_time),
            paused: paused.map(Pause::from),
            pending: pending.into(),
            fired,
        }
    }
}

impl From<JobView> for JobInfo {
    fn from(view: JobView) -> Self {
        Self::Pending {
            state: view.state,
            kind: view.kind.into(),
            due: clock::system_time(view.due),
            attempts: view.attempts,
            attempts_max: view.attempts_max,
            priority: view.priority,
            schedule: view.schedule.map(Into::into),
            expires: view.expires.map(clock::system_time),
            group: view.group.map(Into::into),
            tags: view.tags.iter().map(Into::into).collect(),
        }
    }
}

fn describe(timing: &tickwheel_core::Timing) -> String {
    match timing {
        tickwheel_core::Timing::Cron(cron) => cron.describe(),
        tickwheel_core::Timing::Every(every_ns) => {
            format!("every {:?}", Duration::from_nanos(*every_ns))
        }
        tickwheel_core::Timing::Once(_) => "once".to_owned(),
    }
}
