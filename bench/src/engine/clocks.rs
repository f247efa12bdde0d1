//! Clocks, sleeps and the processor time of this process, read apart from the engine. It knows no job.

use std::num::NonZeroU64;

use rustix::{
    thread::{clock_nanosleep_absolute, set_current_timer_slack},
    time::{ClockId, Timespec, clock_gettime},
};

pub(super) const SECOND_NS: u64 = 1_000_000_000;
pub(super) const MILLISECOND_NS: u64 = 1_000_000;
/// How late the system may wake a planned loop. Its default is 50 µs.
const TIMER_SLACK_NS: NonZeroU64 = NonZeroU64::new(1000).expect("1000 is not zero");

/// The wall clock, in nanoseconds since 1970: jobs are due by it, so that both sides know when.
pub(super) fn wall_ns() -> u64 {
    to_ns(clock_gettime(ClockId::Realtime))
}

/// Processor time of all threads of this process so far, user and system, in nanoseconds.
pub(super) fn cpu_ns() -> u64 {
    to_ns(clock_gettime(ClockId::ProcessCPUTime))
}

/// Sleeps until the wall clock shows `at_ns`.
pub(super) fn sleep_until(at_ns: u64) {
    while wall_ns() < at_ns {
        // An interrupted sleep is begun again.
        let _ = clock_nanosleep_absolute(ClockId::Realtime, &timespec(at_ns));
    }
}

/// Asks for wake-ups within a microsecond on this thread. Where the system refuses, what is measured is
/// late by as much.
pub(super) fn ask_for_fine_wakeups() {
    let _ = set_current_timer_slack(Some(TIMER_SLACK_NS));
}

pub(super) fn timespec(at_ns: u64) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(at_ns / SECOND_NS).unwrap_or(i64::MAX),
        tv_nsec: (at_ns % SECOND_NS) as _,
    }
}

fn to_ns(time: Timespec) -> u64 {
    time.tv_sec.unsigned_abs() * SECOND_NS + time.tv_nsec.unsigned_abs()
}
