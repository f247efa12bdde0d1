//! Reads the two clocks. The only place in the engine that does.

use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, Timespec, clock_gettime};
use tickwheel_core::{MonoTime, Now, WallTime};

/// Both clocks, one after the other.
pub(crate) fn now() -> Now {
    Now { mono: MonoTime(mono_ns()), wall: WallTime(to_ns(clock_gettime(ClockId::Realtime))) }
}

/// `CLOCK_MONOTONIC` in nanoseconds.
pub(crate) fn mono_ns() -> u64 {
    to_ns(clock_gettime(ClockId::Monotonic))
}

fn to_ns(time: Timespec) -> u64 {
    // Before 1970 the wall clock counts as 1970: nothing is due then.
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec.unsigned_abs())
}

/// A time of the wall clock as the standard library has it.
pub(crate) fn system_time(wall: WallTime) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_nanos(wall.0)
}

/// A time of the standard library on the wall clock; what lies before 1970 is 1970, what lies
/// beyond the clock is its end.
pub(crate) fn wall_time(time: SystemTime) -> WallTime {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    WallTime(saturating_ns(since))
}

/// Nanoseconds of a duration, at most `u64::MAX`.
pub(crate) fn saturating_ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Milliseconds of a duration, rounded up, at most `u32::MAX`.
pub(crate) fn saturating_ms(duration: Duration) -> u32 {
    u32::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u32::MAX)
}
