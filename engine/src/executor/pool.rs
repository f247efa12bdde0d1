//! All executors of an engine: who sits where, who sleeps, who hangs, and who comes in for those.
//!
//! It must not know what an attempt is about, nor what became of it.

use std::{
    io,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use tickwheel_core::{self as core, Began};

use super::{Handlers, Port, Work, begun::Begun, naps::Naps, run::Executor, task::Tasks};
use crate::{affinity::Processors, clock, history::Outputs, latency::Recorder, limits};

/// Sleepers that an executor wakes when it has taken an attempt and more wait. The shard wakes one.
const WAKE_FANOUT: usize = 2;

/// Of so many attempts that an executor takes, one may come from any shard.
const AWAY_EVERY: usize = 8;

/// How many threads there may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PoolSize {
    /// Executors that do not hang.
    pub(crate) executors: usize,
    /// Executors that may hang, each with another in its place.
    pub(crate) replacements: usize,
}

impl PoolSize {
    /// Threads at the most.
    pub(crate) fn seats(self) -> usize {
        self.executors + self.replacements
    }
}

/// Numbers of a pool.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PoolStats {
    /// Executors that hang now.
    pub(crate) hung: u64,
    /// Threads started in place of one that hung, since the start.
    pub(crate) replaced: u64,
}

/// The executors of an engine.
#[derive(Debug)]
pub(crate) struct Pool {
    /// The ways to the open shards. Executors have copies.
    ports: Mutex<Ports>,
    /// Counts the changes of `ports`.
    ports_version: AtomicU64,
    handlers: Arc<Handlers>,
    /// Where handlers keep what they wrote, if a history is kept.
    pub(super) outputs: Option<Arc<Outputs>>,
    size: PoolSize,
    /// How long an executor looks for work before it sleeps.
    pub(super) spin_ns: u64,
    /// Where executors may run, whoever starts them.
    processors: Processors,
    seats: Box<[Seat]>,
    pub(super) naps: Naps,
    closed: AtomicBool,
    /// Whoever waits for the end does not wait for handlers any more.
    hurried: AtomicBool,
    roster: Mutex<Roster>,
    left: Condvar,
    /// What attempts took that ran as futures, on whatever threads: one records at a time.
    task_recorder: Mutex<Option<Recorder>>,
}

/// The ways between the executors and the shards that are open.
#[derive(Clone, Debug)]
pub(super) struct Ports {
    version: u64,
    open: Arc<[Arc<Port>]>,
}

/// The place of one executor.
#[derive(Debug, Default)]
pub(super) struct Seat {
    pub(super) begun: Begun,
    recorder: OnceLock<Recorder>,
}

impl Seat {
    pub(super) fn recorder(&self) -> &Recorder {
        self.recorder.get_or_init(Recorder::new)
    }
}

/// Who sits where. A seat is free once its thread has left.
#[derive(Debug)]
struct Roster {
    free: Vec<usize>,
    /// Threads that do not hang.
    present: usize,
    /// All threads.
    threads: usize,
    handles: Vec<Option<thread::JoinHandle<()>>>,
    stats: PoolStats,
}

impl Pool {
    /// A pool without a thread yet.
    pub(crate) fn new(
        handlers: Arc<Handlers>,
        size: PoolSize,
        spin: Duration,
        outputs: Option<Arc<Outputs>>,
    ) -> Self {
        let roster = Roster {
            free: (0..size.seats()).rev().collect(),
            present: 0,
            threads: 0,
            handles: (0..size.seats()).map(|_| None).collect(),
            stats: PoolStats::default(),
        };
        Self {
            ports: Mutex::new(Ports { version: 0, open: Arc::default() }),
            ports_version: AtomicU64::new(0),
            handlers,
            outputs,
            size,
            spin_ns: clock::saturating_ns(spin),
            processors: Processors::of_this_thread(),
            seats: (0..size.seats()).map(|_| Seat::default()).collect(),
            naps: Naps::new(size.seats()),
            closed: AtomicBool::new(false),
            hurried: AtomicBool::new(false),
            roster: Mutex::new(roster),
            left: Condvar::new(),
            task_recorder: Mutex::new(None),
        }
    }

    /// Starts the executors.
    ///
    /// # Errors
    /// The system refuses a thread; those that were started run until [`Pool::close`].
    pub(crate) fn start(self: &Arc<Self>) -> io::Result<()> {
        let mut roster = self.roster();
        while roster.present < self.size.executors {
            self.seat_one(&mut roster)?;
        }
        Ok(())
    }

    /// A shard opens: executors take what it lends out here.
    pub(crate) fn join_port(&self, port: Arc<Port>) {
        self.change_ports(|open| open.push(port));
    }

    /// A shard has closed: executors look at its port no more. Whoever is at an attempt of it may
    /// still give that back there.
    pub(crate) fn leave_port(&self, port: &Arc<Port>) {
        self.change_ports(|open| open.retain(|other| !Arc::ptr_eq(other, port)));
    }

    fn change_ports(&self, change: impl FnOnce(&mut Vec<Arc<Port>>)) {
        let mut ports = self.ports.lock().unwrap_or_else(PoisonError::into_inner);
        let mut open = ports.open.to_vec();
        change(&mut open);
        *ports = Ports { version: ports.version + 1, open: open.into() };
        self.ports_version.store(ports.version, Ordering::SeqCst);
        drop(ports);
        // Those that sleep let go of their copies, and of what hangs on them.
        self.naps.wake(self.size.seats());
    }

    pub(crate) fn handlers(&self) -> &Handlers {
        &self.handlers
    }

    pub(crate) fn stats(&self) -> PoolStats {
        self.roster().stats
    }

    /// The histograms of all executors that there have been, and of all futures.
    pub(crate) fn recorders(&self) -> impl Iterator<Item = Recorder> {
        let of_seats = self.seats.iter().filter_map(|seat| seat.recorder.get().cloned());
        let of_tasks = self.task_recorder.lock().unwrap_or_else(PoisonError::into_inner).clone();
        of_seats.chain(of_tasks)
    }

    /// An attempt that ran as a future has ended.
    pub(super) fn record_task(&self, dispatch_ns: u64, run_ns: u64) {
        let mut recorder = self.task_recorder.lock().unwrap_or_else(PoisonError::into_inner);
        recorder.get_or_insert_with(Recorder::new).record_run(dispatch_ns, run_ns);
    }

    /// Executors that have nothing to do, as far as the caller knows.
    pub(crate) fn idle(&self) -> usize {
        self.naps.count()
    }

    /// Wakes an executor; it wakes others if it finds more than it takes.
    pub(crate) fn wake_one(&self) {
        self.naps.wake(1);
    }

    /// The executor that is at `attempt`.
    pub(crate) fn find_executor(&self, attempt: core::Attempt) -> Option<usize> {
        self.seats.iter().position(|seat| seat.begun.is_at(attempt))
    }

    /// What `judge` makes of the call of the handler of `attempt`, whose lease may have ended. What
    /// it decides holds before the handler can extend the lease.
    pub(crate) fn judge<T>(
        &self,
        attempt: core::Attempt,
        tasks: &Tasks,
        mut judge: impl FnMut(Began) -> T,
    ) -> T {
        let judged = self.seats.iter().find_map(|seat| seat.begun.judge(attempt, &mut judge));
        let judged = judged.or_else(|| tasks.judge(attempt, &mut judge));
        judged.unwrap_or_else(|| judge(Began::NotYet))
    }

    /// The attempt ended a while ago, and executor `number` was still at it. If it is even now, it
    /// counts as hung, and another thread does its work.
    pub(crate) fn replace(self: &Arc<Self>, number: usize, attempt: core::Attempt) {
        let mut roster = self.roster();
        // Under the roster's lock: the executor's return is counted after this.
        if self.is_closed() || !self.seats[number].begun.mark_hung(attempt) {
            return;
        }
        roster.present -= 1;
        roster.stats.hung += 1;
        let (job, hung) = (attempt.job, roster.stats.hung);
        let started = match self.seat_one(&mut roster) {
            Ok(started) => started,
            Err(error) => {
                tracing::error!(%error, "no thread for an executor in place of one that hangs");
                false
            }
        };
        if started {
            roster.stats.replaced += 1;
            tracing::warn!(
                %job,
                executor = number,
                hung,
                "a handler does not return though its attempt has ended; another executor takes its place"
            );
        } else {
            tracing::error!(
                %job,
                executor = number,
                hung,
                "a handler does not return though its attempt has ended, and its executor is not replaced: fewer are left; find out why it hangs, or allow more replacements"
            );
        }
    }

    /// A shard has closed: executors that are still at its attempts count as hung, and others do
    /// their work.
    pub(crate) fn replace_those_of(self: &Arc<Self>, shard: usize) {
        for (number, seat) in self.seats.iter().enumerate() {
            let attempt = seat.begun.attempt();
            if let Some(attempt) = attempt.filter(|at| usize::from(at.job.shard().0) == shard) {
                self.replace(number, attempt);
            }
        }
    }

    /// Executors take what is lent out, give it back, and end.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.naps.wake(self.size.seats());
    }

    /// Ends the patience of [`Pool::wait`] with handlers.
    pub(crate) fn hurry(&self) {
        self.hurried.store(true, Ordering::Relaxed);
    }

    /// Waits until the executors of a closed pool have ended: those whose handlers run until
    /// `deadline_ns`, those that hang not at all. How many were left behind.
    pub(crate) fn wait(&self, deadline_ns: u64) -> usize {
        let last_ns = deadline_ns.max(clock::mono_ns()) + limits::EXECUTOR_END.as_nanos() as u64;
        let mut roster = self.roster();
        loop {
            let now_ns = clock::mono_ns();
            let inside = self.seats.iter().filter(|seat| seat.begun.is_set()).count();
            let only_hung = roster.present == 0;
            let is_over = now_ns >= deadline_ns || self.hurried.load(Ordering::Relaxed);
            let only_inside = is_over && inside >= roster.threads;
            if only_hung || only_inside || now_ns >= last_ns {
                break;
            }
            let look = limits::EXECUTOR_LOOK;
            let woken = self.left.wait_timeout(roster, look);
            roster = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        let left_behind = roster.threads;
        let free = std::mem::take(&mut roster.free);
        let ended: Vec<_> = free.iter().filter_map(|seat| roster.handles[*seat].take()).collect();
        roster.free = free;
        drop(roster);
        for thread in ended {
            // It has left: nothing is between it and its end.
            let _ = thread.join();
        }
        left_behind
    }

    /// Gives a free seat to a new thread; `false` when there is none.
    fn seat_one(self: &Arc<Self>, roster: &mut Roster) -> io::Result<bool> {
        let Some(number) = roster.free.pop() else { return Ok(false) };
        if let Some(before) = roster.handles[number].take() {
            // It has left: nothing is between it and its end.
            let _ = before.join();
        }
        let mut executor = Executor { pool: Arc::clone(self), number, ports: self.ports() };
        let name = format!("tw-exec-{number}");
        let started = thread::Builder::new().name(name).spawn(move || {
            executor.pool.processors.allow();
            executor.pool.naps.take_seat(number);
            // A lost executor would hold up its attempt for ever.
            let run = std::panic::AssertUnwindSafe(|| executor.run());
            if std::panic::catch_unwind(run).is_err() {
                eprintln!(
                    "tickwheel: an executor panicked outside of a handler; the process ends, its log is sound"
                );
                std::process::abort();
            }
        });
        match started {
            Ok(handle) => {
                roster.handles[number] = Some(handle);
                roster.present += 1;
                roster.threads += 1;
                Ok(true)
            }
            Err(error) => {
                roster.free.push(number);
                Err(error)
            }
        }
    }

    fn roster(&self) -> MutexGuard<'_, Roster> {
        self.roster.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The executors' side.
impl Pool {
    pub(super) fn seat(&self, number: usize) -> &Seat {
        &self.seats[number]
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// The ways to the shards that are open now.
    pub(super) fn ports(&self) -> Ports {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Brings an executor's copy up to date. After [`Naps::raise`] it has the port of each shard
    /// that will not see that the executor sleeps.
    pub(super) fn refresh(&self, ports: &mut Ports) {
        if self.ports_version.load(Ordering::Acquire) != ports.version {
            *ports = self.ports();
        }
    }
}

impl Ports {
    pub(super) fn port(&self, place: usize) -> &Arc<Port> {
        &self.open[place]
    }

    /// An attempt for executor `number`, which has taken `turn` so far, and the place of its port:
    /// from its home shard, else from where most wait. Now and then another shard comes before the
    /// home, so that none starves whose own executors are few or busy.
    pub(super) fn find(&self, number: usize, turn: usize) -> Option<(usize, Work)> {
        let shards = self.open.len();
        if shards == 0 {
            return None;
        }
        let ahead = if turn.is_multiple_of(AWAY_EVERY) { turn / AWAY_EVERY } else { 0 };
        let first = (number + ahead) % shards;
        if let Some(work) = self.open[first].take_work() {
            return Some((first, work));
        }
        if shards == 1 {
            return None;
        }
        loop {
            let waiting = |place: &usize| self.open[*place].waiting();
            let fullest = (0..shards).max_by_key(waiting)?;
            if waiting(&fullest) == 0 {
                return None;
            }
            // Another executor may have been quicker; then there may be more elsewhere.
            if let Some(work) = self.open[fullest].take_work() {
                return Some((fullest, work));
            }
        }
    }

    pub(super) fn has_work(&self) -> bool {
        self.open.iter().any(|port| port.waiting() > 0)
    }

    /// The caller has found nothing: tells shards that have more to lend than they thought.
    pub(super) fn offer(&self) {
        for port in &*self.open {
            port.offer();
        }
    }
}

/// The executors' side.
impl Pool {
    /// The caller has taken an attempt: wakes others if more wait. Each piece of work wakes one
    /// sleeper when it is put, and a woken one passes that on, so that in few steps all are awake
    /// or nothing waits.
    pub(super) fn share(&self, ports: &Ports) {
        if self.naps.count() > 0 && ports.has_work() {
            self.naps.wake(WAKE_FANOUT);
        }
    }

    /// Executor `number` has come back from a handler that hung: whether it goes on, in place of
    /// one that was not replaced.
    pub(super) fn comes_back(&self, number: usize) -> bool {
        let mut roster = self.roster();
        roster.stats.hung -= 1;
        tracing::info!(executor = number, "a handler that hung has returned");
        if roster.present < self.size.executors && !self.is_closed() {
            roster.present += 1;
            return true;
        }
        roster.threads -= 1;
        roster.free.push(number);
        self.left.notify_all();
        false
    }

    /// Executor `number` ends.
    pub(super) fn leave(&self, number: usize) {
        let mut roster = self.roster();
        roster.present -= 1;
        roster.threads -= 1;
        roster.free.push(number);
        self.left.notify_all();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use tickwheel_core::MonoTime;

    use super::*;
    use crate::shard::Bed;

    #[test]
    fn an_executor_that_comes_to_rest_wakes_a_shard_that_has_more_to_lend() {
        let mut bed = Bed::new().unwrap();
        let port = Arc::new(Port::new(bed.sleeper(), 1));
        let size = PoolSize { executors: 1, replacements: 0 };
        let pool = Arc::new(Pool::new(Arc::default(), size, Duration::ZERO, None));
        pool.join_port(Arc::clone(&port));
        port.set_hungry(true);
        bed.lie_down();
        pool.start().unwrap();
        let patience_ns = clock::mono_ns() + 30_000_000_000;
        bed.sleep(Some(MonoTime(patience_ns)), None).unwrap();
        assert!(clock::mono_ns() < patience_ns, "nobody woke the shard");
        pool.close();
        assert_eq!(pool.wait(clock::mono_ns()), 0);
    }
}
