//! Reads the clocks that the generator judges by, and sleeps until planned moments. It is apart
//! from the engine's, so that the engine is never its own judge.

use std::num::NonZeroU64;

use rustix::{
    thread::{clock_nanosleep_absolute, set_current_timer_slack},
    time::{ClockId, Timespec, clock_gettime},
};

const SECOND_NS: u64 = 1_000_000_000;
/// How late the system may wake an open loop, to gather wake-ups. Its default is 50 µs.
const TIMER_SLACK_NS: NonZeroU64 = NonZeroU64::new(1000).expect("1000 is not zero");

/// The clock by which jobs of a run are due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clock {
    Mono,
    Wall,
}

impl Clock {
    pub(crate) fn now_ns(self) -> u64 {
        match self {
            Self::Mono => mono_ns(),
            Self::Wall => to_ns(clock_gettime(ClockId::Realtime)),
        }
    }
}

/// `CLOCK_MONOTONIC` in nanoseconds.
pub(crate) fn mono_ns() -> u64 {
    to_ns(clock_gettime(ClockId::Monotonic))
}

/// Processor time of the whole process so far, user and system, in nanoseconds.
pub(crate) fn cpu_ns() -> u64 {
    to_ns(clock_gettime(ClockId::ProcessCPUTime))
}

/// Sleeps until `CLOCK_MONOTONIC` shows `at_ns`, or until a signal comes.
pub(crate) fn sleep_until(at_ns: u64) {
    let at = Timespec {
        tv_sec: i64::try_from(at_ns / SECOND_NS).unwrap_or(i64::MAX),
        tv_nsec: (at_ns % SECOND_NS) as _,
    };
    // Whoever sleeps looks at the clock afterwards; an interruption is only an early look.
    let _ = clock_nanosleep_absolute(ClockId::Monotonic, &at);
}

/// Asks for wake-ups within a microsecond on this thread.
pub(crate) fn ask_for_fine_wakeups() {
    // Where the system refuses, the generator's lateness shows it.
    let _ = set_current_timer_slack(Some(TIMER_SLACK_NS));
}

fn to_ns(time: Timespec) -> u64 {
    // None of these clocks shows a time before its zero, which for the wall clock is 1970.
    time.tv_sec.unsigned_abs() * SECOND_NS + time.tv_nsec.unsigned_abs()
}
