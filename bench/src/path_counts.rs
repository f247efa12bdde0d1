//! The hot paths beyond the wheel on prepared worlds, for counting instructions: a plain job's whole life in the
//! core, a `PUSH` from bytes to a checked job, an append to a log. What is counted does nothing else.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tickwheel_core::{
    Attempt, CallerId, Config, Conflict, Due, Input, JobOptions, Journal, Key, Lsn, MonoTime,
    NewJob, NoRoom, Now, Outputs, Position, QueueLimits, Rate, Scheduler, ShardId, Unique, Until,
    WallTime,
};
use tickwheel_wal::{Durability, Log, LogOptions};

use crate::{
    BenchError,
    codec::{Pushes, Way},
};

/// Operations of a round.
pub const ROUND: u32 = 1000;
/// Bytes of a job's payload and of a record.
const PAYLOAD: [u8; 100] = [7; 100];
/// Bytes of a `PUSH`'s arguments.
const ARGS_BYTES: usize = 128;
/// Small, since it is zeroed under an instrument that is slow.
const SEGMENT_BYTES: u64 = 2 << 20;

/// A journal that takes everything and keeps nothing but its length: what is counted is the core's own.
#[derive(Debug, Default)]
struct Lengths(u64);

impl Journal for Lengths {
    fn available_bytes(&self) -> u64 {
        u64::MAX / 2
    }

    fn shortage(&self) -> NoRoom {
        NoRoom::NotYet
    }

    fn record_bytes(&self, len_bytes: usize) -> u64 {
        (len_bytes as u64 + 16).next_multiple_of(8)
    }

    fn append(&mut self, head: &[u8], payload: &[u8]) -> Position {
        let lsn = Lsn(self.0);
        self.0 += self.record_bytes(head.len() + payload.len());
        Position { lsn, end: Lsn(self.0) }
    }
}

/// A scheduler with jobs that are due in a day.
#[derive(Debug)]
pub struct Lives {
    scheduler: Scheduler,
    journal: Lengths,
    out: Outputs,
    now: Now,
}

impl Lives {
    /// A scheduler with `pending` jobs that wait beside those that are counted.
    #[must_use]
    pub fn new(pending: u32) -> Self {
        let now = Now { mono: MonoTime(1 << 40), wall: WallTime(1 << 60) };
        let config = Config { running_max: ROUND, ..Config::new(ShardId(0)) };
        let mut lives = Self {
            scheduler: Scheduler::new(config, now),
            journal: Lengths::default(),
            out: Outputs::default(),
            now,
        };
        let mut later = NewJob::new("load");
        later.due = Due::After(86_400_000_000_000);
        for _ in 0..pending {
            lives.submit(&later);
        }
        // Tables have their sizes, and the kind its number, before anything is counted.
        lives.live();
        lives.out = Outputs::default();
        lives
    }

    /// Lets a round of plain jobs be submitted, started and succeed. Gives how many did.
    ///
    /// # Panics
    /// If one is refused or not started.
    #[inline(never)]
    pub fn live(&mut self) -> u32 {
        let mut job = NewJob::new("load");
        job.payload = (&PAYLOAD[..]).into();
        for _ in 0..ROUND {
            self.submit(&job);
        }
        self.run_all()
    }

    /// Lets all that was submitted be started and succeed. Gives how many did.
    fn run_all(&mut self) -> u32 {
        let before = self.scheduler.counts().succeeded;
        self.pass_time();
        self.step(Input::Time { dispatch_max: ROUND });
        self.succeed();
        (self.scheduler.counts().succeeded - before) as u32
    }

    /// Submits a round of jobs to so many queues, with all priorities, and lets them succeed. Gives the time
    /// of the one step that starts them all.
    ///
    /// # Panics
    /// If one is refused or not started.
    pub fn dispatch(&mut self, queues: u32) -> Duration {
        let names: Vec<String> = (0..queues.max(1)).map(|queue| format!("queue-{queue}")).collect();
        for number in 0..ROUND {
            let mut job = NewJob::new("load");
            job.queue = names[(number % queues.max(1)) as usize].as_str().into();
            job.priority = (number % 10) as u8;
            self.submit(&job);
        }
        self.pass_time();
        let began = Instant::now();
        self.step(Input::Time { dispatch_max: ROUND });
        let elapsed = began.elapsed();
        self.succeed();
        elapsed
    }

    fn pass_time(&mut self) {
        self.now.mono.0 += 1_000_000;
        self.now.wall.0 += 1_000_000;
    }

    /// Ends all attempts that were started.
    fn succeed(&mut self) {
        let attempts: Vec<Attempt> =
            self.out.dispatches.drain(..).map(|dispatch| dispatch.attempt).collect();
        assert_eq!(attempts.len(), ROUND as usize, "all of them start");
        self.step(Input::Succeeded { attempts: &attempts });
        self.out.lateness_ns.clear();
    }

    fn submit(&mut self, job: &NewJob<'_>) {
        self.step(Input::Submit { caller: CallerId(0), job });
        self.out.replies.clear();
    }

    fn step(&mut self, input: Input<'_>) {
        self.scheduler.step(self.now, input, &mut self.journal, &mut self.out);
    }
}

/// A scheduler with jobs that are due in a day, and jobs that have every rule: a priority, a queue with a
/// limit of concurrency and one of rate, which hold nothing up, and a key of uniqueness.
#[derive(Debug)]
pub struct RuledLives {
    lives: Lives,
    jobs: Vec<NewJob<'static>>,
}

impl RuledLives {
    /// As [`Lives::new`].
    ///
    /// # Panics
    /// If the limits are refused.
    #[must_use]
    pub fn new(pending: u32) -> Self {
        let mut lives = Lives::new(pending);
        let rate = Rate { jobs: 1_000_000, period_ms: 100, burst: 1_000_000 };
        let limits =
            QueueLimits { concurrency: Some(65_536), rate: Some(rate), ..QueueLimits::default() };
        let caller = CallerId(0);
        lives.step(Input::LimitQueue { caller, name: "limited", limits: &limits });
        lives.out.replies.clear();
        let jobs = (0..ROUND).map(ruled).collect();
        let mut ruled = Self { lives, jobs };
        ruled.live();
        ruled.lives.out = Outputs::default();
        ruled
    }

    /// As [`Lives::live`].
    ///
    /// # Panics
    /// If one is refused or not started.
    #[inline(never)]
    pub fn live(&mut self) -> u32 {
        for job in &self.jobs {
            self.lives.submit(job);
        }
        self.lives.run_all()
    }
}

fn ruled(number: u32) -> NewJob<'static> {
    let mut key = [0; 16];
    // Keys are hashes of names: so are these, as far as a table can tell.
    let mixed = (u64::from(number) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    key[..8].copy_from_slice(&mixed.to_le_bytes());
    key[8..].copy_from_slice(&mixed.rotate_left(29).to_le_bytes());
    let unique =
        Unique { key: Key(key), until: Until::End, span_ns: None, conflict: Conflict::Reject };
    let mut job = NewJob::new("load");
    job.payload = (&PAYLOAD[..]).into();
    job.queue = "limited".into();
    job.priority = (number % 10) as u8;
    job.options = Some(Arc::new(JobOptions { unique: Some(unique), ..JobOptions::default() }));
    job
}

/// Requests as they come from a socket.
#[derive(Debug)]
pub struct Requests(Pushes);

impl Requests {
    /// A round of pushes with arguments of 128 bytes.
    #[must_use]
    pub fn new() -> Self {
        Self(Pushes::new(ARGS_BYTES))
    }

    /// Reads a round of them and writes their replies. Gives how many there are.
    #[inline(never)]
    pub fn read(&self) -> u32 {
        // What they hold is checked within.
        let _ = self.0.read(Way::Codec, 1);
        crate::codec::ROUND
    }
}

impl Default for Requests {
    fn default() -> Self {
        Self::new()
    }
}

/// A log with a prepared segment.
#[derive(Debug)]
pub struct Appends {
    log: Log,
    _dir: TempDir,
}

impl Appends {
    /// A log in a directory of its own below `parent`.
    ///
    /// # Errors
    /// The log cannot be made.
    pub fn new(parent: &Path) -> Result<Self, BenchError> {
        let dir = tempfile::Builder::new().prefix("bench-counts-").tempdir_in(parent)?;
        let options =
            LogOptions::new(dir.path()).segment_bytes(SEGMENT_BYTES).durability(Durability::Os);
        let log = options.open(Arc::new(|| ()), &mut |_| Ok(()))?;
        Ok(Self { log, _dir: dir })
    }

    /// Appends a round of records. Gives how many there are.
    ///
    /// # Panics
    /// If the segment is not ready.
    #[inline(never)]
    pub fn append(&mut self) -> u32 {
        for _ in 0..ROUND {
            let appended = self.log.append(&[&PAYLOAD]);
            assert!(appended.is_ok(), "a fresh log has room for a round: {appended:?}");
        }
        ROUND
    }
}
