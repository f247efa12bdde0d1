//! The two clocks, as the core is told them. Nothing here reads a clock.

/// Nanoseconds on the monotonic clock, from a zero that the caller chose. It never goes back.
/// Delays, back-offs and deadlines of attempts run on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MonoTime(pub u64);

/// Nanoseconds since 1970-01-01T00:00:00Z on the wall clock, which may be set forward and back.
/// Instants (`at`) and cron run on it, and it is the only time that is written to the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WallTime(pub u64);

/// Both clocks, read together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// The monotonic clock.
    pub mono: MonoTime,
    /// The wall clock.
    pub wall: WallTime,
}

impl Now {
    /// How far the wall clock is ahead of the monotonic one, in nanoseconds.
    pub(crate) fn offset_ns(self) -> i64 {
        self.wall.0.wrapping_sub(self.mono.0).cast_signed()
    }
}

impl MonoTime {
    /// This time where times before the clock's zero are needed too. It holds 292 years.
    pub(crate) fn signed_ns(self) -> i64 {
        i64::try_from(self.0).unwrap_or(i64::MAX)
    }

    /// This time on the wall clock, when that is `offset_ns` ahead.
    pub(crate) fn to_wall(self, offset_ns: i64) -> WallTime {
        WallTime(self.0.saturating_add_signed(offset_ns))
    }
}

impl WallTime {
    /// This time on the monotonic clock, also before its zero, when the wall clock is `offset_ns`
    /// ahead of it.
    pub(crate) fn signed_mono_ns(self, offset_ns: i64) -> i64 {
        i64::try_from(self.0).unwrap_or(i64::MAX).saturating_sub(offset_ns)
    }

    /// This time on the monotonic clock, when the wall clock is `offset_ns` ahead of it. What lies
    /// before the monotonic clock's zero becomes zero: it is past in either case.
    pub(crate) fn to_mono(self, offset_ns: i64) -> MonoTime {
        MonoTime(self.0.saturating_sub_signed(offset_ns))
    }
}

/// Nanoseconds of `ms` milliseconds.
pub(crate) const fn ms_to_ns(ms: u64) -> u64 {
    ms.saturating_mul(1_000_000)
}
