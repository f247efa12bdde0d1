//! How late handlers are called at a given rate, and how late a bare `timerfd` wakes a thread.

use std::{path::Path, time::Duration};

use hdrhistogram::Histogram;
use rustix::{
    io::read,
    time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    },
};
use tickwheel_engine::{
    Durability,
    latency::{self, Stage},
};

use super::{
    clocks::{self, SECOND_NS},
    rig::{Plan, Rig, Setting},
};
use crate::BenchError;

/// Jobs are submitted so long before they are due: longer than an interval of the log.
const AHEAD: Duration = Duration::from_millis(100);
const INTERVAL: Duration = Duration::from_millis(50);

/// Lateness of one run.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Lateness {
    /// From the due time to the call of the handler, in nanoseconds, by a clock apart from the engine.
    pub start_ns: Histogram<u64>,
    /// From the due time to the trigger, in nanoseconds, as the engine says.
    pub trigger_ns: Histogram<u64>,
}

impl Lateness {
    /// `jobs` jobs, `per_second` of them due each second at equal distances, through one shard that syncs
    /// each 50 ms.
    ///
    /// # Errors
    /// The engine cannot be started, or did not end the jobs in time.
    ///
    /// # Panics
    /// A job was refused, ran twice or ran early.
    pub fn run(parent: &Path, per_second: u64, jobs: u64) -> Result<Self, BenchError> {
        let setting =
            Setting { durability: Durability::Interval(INTERVAL), shards: 1, jobs_max: 1 << 30 };
        let rig = Rig::new(parent, jobs, setting)?;
        rig.offer(&Plan { numbers: 0..jobs, per_second, ahead: AHEAD }, None)?;
        rig.drain()?;
        let start_ns = rig.account.late_ns(0..jobs);
        assert_eq!(start_ns.len(), jobs, "jobs were refused");
        Ok(Self { start_ns, trigger_ns: rig.engine.latency().stage(Stage::Lateness).clone() })
    }
}

/// How late a thread is that sleeps on a `timerfd` until `wakes` moments, `per_second` of them, and does
/// nothing else: the least that any timer of this machine shows. In nanoseconds.
///
/// # Errors
/// The system gives no `timerfd`.
pub fn bare_sleeper(per_second: u64, wakes: u64) -> Result<Histogram<u64>, BenchError> {
    let timer = timerfd_create(TimerfdClockId::Realtime, TimerfdFlags::CLOEXEC)?;
    let mut late_ns = latency::histogram();
    let began_ns = clocks::wall_ns() + SECOND_NS / 100;
    for number in 0..wakes {
        let due_ns = began_ns + number * SECOND_NS / per_second;
        let never = Timespec { tv_sec: 0, tv_nsec: 0 };
        let at = Itimerspec { it_interval: never, it_value: clocks::timespec(due_ns) };
        timerfd_settime(&timer, TimerfdTimerFlags::ABSTIME, &at)?;
        read(&timer, &mut [0; 8])?;
        let now_ns = clocks::wall_ns();
        assert!(now_ns >= due_ns, "the kernel woke a sleeper early");
        late_ns.saturating_record(now_ns - due_ns);
    }
    Ok(late_ns)
}
