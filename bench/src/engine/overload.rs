//! More load than an engine can carry, and what follows it.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use hdrhistogram::Histogram;
use tickwheel_engine::Durability;

use super::{
    clocks::{self, SECOND_NS},
    memory,
    rig::{Plan, Rig, Setting},
};
use crate::BenchError;

const AHEAD: Duration = Duration::from_millis(100);
const INTERVAL: Duration = Duration::from_millis(50);
/// How often memory is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// What is offered.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Jobs per second while it is too much.
    pub per_second: u64,
    /// For how many seconds.
    pub seconds: u64,
    /// Jobs that the shard holds at the most; further ones are refused.
    pub jobs_max: u32,
    /// Jobs per second afterwards.
    pub after_per_second: u64,
    /// For how many seconds.
    pub after_seconds: u64,
}

/// What became of it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Overload {
    /// Jobs that the plan had while it was too much.
    pub planned: u64,
    /// Of these, jobs that the full inbox held back: their caller was still waiting in a call.
    pub held_back: u64,
    /// Jobs that were refused.
    pub refused: u64,
    /// Jobs that ran while the load was offered, per second.
    pub goodput: f64,
    /// Anonymous memory before the load, and its peak from then on, in bytes.
    pub memory_bytes: (u64, u64),
    /// Lateness of the handlers' calls, for each second of the load that followed, in nanoseconds.
    pub after_ns: Vec<Histogram<u64>>,
}

impl Overload {
    /// Offers `load` to one shard.
    ///
    /// # Errors
    /// The engine cannot be started, or did not end the jobs in time.
    ///
    /// # Panics
    /// A job that was accepted did not run, ran twice or ran early; or one of the load that followed was
    /// refused once there was room again.
    pub fn run(parent: &Path, load: Load) -> Result<Self, BenchError> {
        let durability = Durability::Interval(INTERVAL);
        let setting = Setting { durability, shards: 1, jobs_max: load.jobs_max };
        let planned = load.per_second * load.seconds;
        let after = planned..planned + load.after_per_second * load.after_seconds;
        let rig = Rig::new(parent, after.end, setting)?;
        let watch = Watch::start()?;

        let end_ns = clocks::wall_ns() + load.seconds * SECOND_NS;
        let plan = Plan { numbers: 0..planned, per_second: load.per_second, ahead: AHEAD };
        let offered = rig.offer(&plan, Some(end_ns))?;
        clocks::sleep_until(end_ns);
        let goodput = rig.account.ran() as f64 / load.seconds as f64;
        let plan = Plan { numbers: after.clone(), per_second: load.after_per_second, ahead: AHEAD };
        rig.offer(&plan, None)?;
        rig.drain()?;
        let memory_bytes = watch.stop()?;
        let second = |number: u64| {
            let start = after.start + number * load.after_per_second;
            rig.account.late_ns(start..start + load.after_per_second)
        };
        let (accepted, refused) = rig.account.answers();
        assert_eq!(accepted + refused, offered + (after.end - after.start), "answers are missing");
        Ok(Self {
            planned,
            held_back: planned - offered,
            refused,
            goodput,
            memory_bytes,
            after_ns: (0..load.after_seconds).map(second).collect(),
        })
    }
}

/// A thread that looks at the memory of this process.
struct Watch {
    before_bytes: u64,
    over: Arc<AtomicBool>,
    thread: thread::JoinHandle<Result<u64, BenchError>>,
}

impl Watch {
    fn start() -> Result<Self, BenchError> {
        let before_bytes = memory::anonymous_bytes()?;
        let over = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&over);
        let thread = thread::spawn(move || {
            let mut peak = 0;
            while !told.load(Ordering::Relaxed) {
                peak = peak.max(memory::anonymous_bytes()?);
                thread::park_timeout(LOOK);
            }
            Ok(peak)
        });
        Ok(Self { before_bytes, over, thread })
    }

    /// Memory at the start, and at its peak.
    fn stop(self) -> Result<(u64, u64), BenchError> {
        self.over.store(true, Ordering::Relaxed);
        self.thread.thread().unpark();
        let peak =
            self.thread.join().map_err(|_| "the thread that watched the memory panicked")??;
        Ok((self.before_bytes, peak.max(self.before_bytes)))
    }
}
