//! How a shard comes up: its log is opened and replayed, and its thread pinned.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::PathBuf,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use core_affinity::CoreId;
use crossbeam::channel::{Receiver, bounded};
use tickwheel_core::{
    BreakerRule, Config, DeadLimits, Lsn, Outputs, ReplayError, Restore, Scheduler, ShardId,
};
use tickwheel_wal::{Durability, LogOptions, OpenError, Record, Recover, SnapshotReader};

use super::{
    Compaction, Fetches, Journal, Message, Shard, ShardEnd, Snapshots, acks::Acks,
    dispatch::Lending,
};
use crate::{
    affinity::{self, Processors},
    builder::{Observer, OnAlert, OnFailure},
    choice::Chosen,
    clock,
    error::StartError,
    executor::{Pool, Port},
    history::{Keeping, Tap},
    latency::Recorder,
    limits,
    permits::Commons,
    shards::{Gate, OpenedShard, Shelf},
};

/// What a shard is started with, each time that it opens.
#[derive(Clone)]
pub(crate) struct ShardSetup {
    pub(crate) shard: ShardId,
    pub(crate) dir: PathBuf,
    pub(crate) durability: Durability,
    pub(crate) segment_bytes: u64,
    /// Queues that executors serve; `None`: all.
    pub(crate) served: Option<Vec<String>>,
    /// Queues of keyless jobs of some kinds, whatever they say.
    pub(crate) homes: Vec<(String, String)>,
    pub(crate) running_max: u32,
    pub(crate) jobs_max: u32,
    pub(crate) dead: DeadLimits,
    /// The shard's share of the executors.
    pub(crate) executors: usize,
    /// Attempts that may be with executors at a time, those that have ended included.
    pub(crate) places: usize,
    pub(crate) pool: Arc<Pool>,
    pub(crate) spin_ns: u64,
    pub(crate) observer: Option<Observer>,
    pub(crate) on_failure: Option<OnFailure>,
    pub(crate) on_alert: Option<OnAlert>,
    /// Queues that are paused after so many failures in a row.
    pub(crate) queue_guards: Vec<(String, u32)>,
    /// Queues that are closed for a while after failures.
    pub(crate) breakers: Vec<(String, BreakerRule)>,
    /// The same for schedules.
    pub(crate) schedule_guards: Vec<(String, u32)>,
    /// What shards share about limited queues; `None`: it is the only shard.
    pub(crate) commons: Option<Arc<Commons>>,
    /// Who takes what happens; `None`: no history is kept.
    pub(crate) history: Option<Arc<Keeping>>,
    /// Which of several workers that wait gets a job.
    pub(crate) chosen: Chosen,
    /// The core to run on, if the thread is pinned.
    pub(crate) core: Option<CoreId>,
}

impl std::fmt::Debug for ShardSetup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ShardSetup")
            .field("shard", &self.shard)
            .field("dir", &self.dir)
            .finish_non_exhaustive()
    }
}

/// Where a shard's thread meets the others.
pub(crate) struct Berth {
    pub(crate) shelf: Arc<Shelf>,
    pub(crate) port: Arc<Port>,
    pub(crate) inbox: Receiver<Message>,
    pub(crate) gate: Arc<Gate>,
    /// Whether the shard holds as many jobs as it may.
    pub(crate) full: Arc<AtomicBool>,
    pub(crate) recorder: Recorder,
    pub(crate) paused: bool,
}

/// A shard on its way up.
pub(crate) struct Starting {
    thread: thread::JoinHandle<ShardEnd>,
    ready: Receiver<Result<OpenedShard, StartError>>,
}

/// Starts the thread of a shard; it opens its log at once.
pub(crate) fn spawn(setup: ShardSetup, berth: Berth) -> io::Result<Starting> {
    let (tell, ready) = bounded(1);
    let name = format!("tw-shard-{}", setup.shard.0);
    let thread = thread::Builder::new().name(name).spawn(move || {
        let (number, core) = (setup.shard, setup.core);
        match open(setup, berth) {
            Ok((shard, opened)) => {
                // Only now: the log's threads would be pinned with it.
                pin(number, core);
                shard.gate.open();
                // Whoever opens the shard waits for this before anything else.
                let _ = tell.send(Ok(opened));
                // A shard that has lost its way must not leave a process behind that looks well.
                catch_unwind(AssertUnwindSafe(|| shard.run())).unwrap_or_else(|_| {
                    eprintln!(
                        "tickwheel: a shard's thread panicked; the process ends, its log is sound"
                    );
                    std::process::abort()
                })
            }
            Err(error) => {
                let _ = tell.send(Err(error));
                ShardEnd { abandoned: 0, closed: Ok(()) }
            }
        }
    })?;
    Ok(Starting { thread, ready })
}

impl Starting {
    /// Waits until the shard has recovered, or has failed to.
    pub(crate) fn wait(self) -> (thread::JoinHandle<ShardEnd>, Result<OpenedShard, StartError>) {
        let gone = |_| StartError::from(io::Error::other("a shard's thread ended at its start"));
        (self.thread, self.ready.recv().map_err(gone).flatten())
    }
}

fn pin(shard: ShardId, core: Option<CoreId>) {
    if let Some(core) = core
        && !affinity::pin(core)
    {
        tracing::warn!(
            shard = shard.0,
            core = core.id,
            "the shard's thread cannot be pinned to its core; it runs unpinned, and triggers may come later"
        );
    }
}

/// Builds the scheduler's state from a snapshot and the log's records.
struct Recovering {
    config: Config,
    core: Scheduler,
    /// The record that could not be applied.
    not_applied: Option<ReplayError>,
    tap: Option<Tap>,
    segment_bytes: u64,
}

impl Recover for Recovering {
    fn restore(&mut self, snapshot: &mut SnapshotReader) -> Result<(), tickwheel_wal::ReplayError> {
        let lsn = Lsn(snapshot.lsn().0);
        let restore = Restore::new(self.config, clock::now()).ends_at(lsn);
        let (mut parser, mut builder) = restore.into_halves();
        // Each half takes about as long as the other.
        let (send, pieces) = bounded(limits::SNAPSHOT_PIECES_AHEAD);
        let read = move || -> Result<(), tickwheel_wal::ReplayError> {
            while let Some(block) = snapshot.next_block()? {
                let is_wanted = send.send(parser.feed(block)?).is_ok();
                if !is_wanted {
                    break;
                }
            }
            Ok(())
        };
        thread::scope(|scope| {
            let reader = thread::Builder::new().name("tw-restore".to_owned());
            let reader = reader.spawn_scoped(scope, read)?;
            // Dropped at its end, so that the reader ends if nobody takes what it reads.
            let built = pieces.into_iter().try_for_each(|pieces| builder.take(pieces));
            let read = reader.join().unwrap_or_else(|panic| resume_unwind(panic));
            // What the reader says first: the builder saw no end then.
            read.and(built.map_err(tickwheel_wal::ReplayError::from))
        })?;
        let mut core = builder.finish()?;
        core.tell_like(&mut self.core);
        self.core = core;
        if let Some(tap) = &mut self.tap {
            tap.replay_from(lsn);
        }
        Ok(())
    }

    fn replay(&mut self, record: Record<'_>) -> Result<(), tickwheel_wal::ReplayError> {
        let lsn = Lsn(record.lsn.0);
        self.core.replay(lsn, record.payload).inspect_err(|error| {
            self.not_applied = Some(error.clone());
        })?;
        if let Some(tap) = &mut self.tap {
            tap.replayed(lsn, self.segment_bytes, &mut self.core);
        }
        Ok(())
    }
}

fn open(setup: ShardSetup, berth: Berth) -> Result<(Shard, OpenedShard), StartError> {
    let Berth { shelf, port, inbox, gate, full, recorder, paused } = berth;
    let config = Config {
        running_max: setup.running_max,
        jobs_max: setup.jobs_max,
        dead: setup.dead,
        low_water_bytes: setup.segment_bytes / 4,
        // A segment can be cleaned in as much, even if all of it is needed.
        low_water_full_bytes: setup.segment_bytes + setup.segment_bytes / 2,
        notices: setup.observer.is_some(),
        serves_queues: setup.served.is_none(),
        ..Config::new(setup.shard)
    };
    let log_events = Arc::new(AtomicU64::new(0));
    let notify = {
        let (port, log_events) = (Arc::clone(&port), Arc::clone(&log_events));
        Arc::new(move || {
            log_events.fetch_add(1, Ordering::SeqCst);
            port.sleeper().wake();
        })
    };
    let mut core = Scheduler::new(config, clock::now());
    let history = setup.history.as_ref();
    let tap = history.map(|keeping| Tap::open(keeping, setup.shard.0, &mut core));
    let segment_bytes = setup.segment_bytes;
    let mut recovering = Recovering { config, core, not_applied: None, tap, segment_bytes };
    let opened = LogOptions::new(&setup.dir)
        .shard(u16::from(setup.shard.0))
        .segment_bytes(setup.segment_bytes)
        .record_bytes_max(limits::RECORD_BYTES_MAX)
        .ready_segments(limits::READY_SEGMENTS)
        .durability(setup.durability)
        .open_state(notify, &mut recovering);
    let Recovering { mut core, not_applied, mut tap, .. } = recovering;
    let log = match (opened, not_applied) {
        (Err(_), Some(error)) => return Err(StartError::Replay(error)),
        (opened, _) => opened.map_err(|error: OpenError| StartError::Log(error))?,
    };
    core.replayed().map_err(StartError::Replay)?;
    for queue in setup.served.iter().flatten() {
        if !core.serve(queue, true) {
            return Err(StartError::TooManyQueues);
        }
    }
    for (queue, failures_max) in &setup.queue_guards {
        if !core.guard_queue(queue, *failures_max) {
            return Err(StartError::TooManyQueues);
        }
    }
    for (queue, rule) in &setup.breakers {
        if !core.break_queue(queue, Some(*rule)) {
            return Err(StartError::TooManyQueues);
        }
    }
    for (schedule, failures_max) in &setup.schedule_guards {
        core.guard_schedule(schedule, *failures_max);
    }
    for (kind, queue) in &setup.homes {
        if !core.home(kind, queue) {
            return Err(StartError::TooManyQueues);
        }
    }
    let number = usize::from(setup.shard.0);
    let news = setup.commons.as_ref().map(|commons| commons.news(number));
    if let Some(commons) = &setup.commons {
        core.share(commons.of_shard(number));
    }
    core.watch_fetches();
    let mut journal = Journal { log };
    if let Some(tap) = &mut tap {
        let (head, appended) = (journal.log.recovery().head, journal.log.appended());
        tap.replay_ended(Lsn(head.0), Lsn(appended.0), &mut core);
    }
    let mut out = Outputs::default();
    // Also after a clean end: the one before it may have lost what nothing was written after.
    let epoch = journal.log.recovery().epoch;
    let lost_attempts = u64::from(core.recovered(clock::now(), epoch, &mut journal, &mut out));
    let recovered_jobs = core.counts().pending;
    let compaction = Compaction::new(clock::now(), journal.log.appended());
    let recovery = journal.log.recovery();
    let snapshots =
        Snapshots::new(recovery.snapshot.unwrap_or(recovery.head), Processors::of_this_thread());

    // Last: a start that fails leaves it where it is.
    let bed = shelf.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(bed) = bed else {
        core.leave();
        return Err(io::Error::other("the shard's timers are in use").into());
    };
    let now = clock::now();
    let shard = Shard {
        core,
        journal,
        bed,
        shelf,
        inbox,
        gate,
        full,
        lending: Lending::new(setup.executors, setup.running_max, now.mono),
        port,
        pool: setup.pool,
        spin_ns: setup.spin_ns,
        observer: setup.observer,
        on_failure: setup.on_failure,
        on_alert: setup.on_alert,
        recorder,
        out,
        acks: Acks::default(),
        compaction,
        snapshots,
        open_batch: None,
        ended: std::collections::VecDeque::new(),
        fetches: Fetches::new(setup.chosen),
        walks: super::walks::Walks::default(),
        news,
        drains: Vec::new(),
        stale: 0,
        tap,
        paused,
        stopping: None,
        failed: None,
        log_events,
        log_events_seen: 0,
        offset_ns: None,
    };
    Ok((shard, OpenedShard { recovered_jobs, lost_attempts }))
}
