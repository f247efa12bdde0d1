//! The two clocks of the simulated machine, and what a bad one does.
//!
//! It knows no shard and no job.

use tickwheel_core::{MonoTime, Now, WallTime};
use tickwheel_tests::random::Random;

pub(crate) const MS: u64 = 1_000_000;
pub(crate) const SECOND: u64 = 1000 * MS;
pub(crate) const HOUR: u64 = 3600 * SECOND;

/// Where the wall clock begins: 2027-01-15, so that neither it nor a due time comes near zero.
const WALL_START_NS: u64 = 1_800_000_000 * SECOND;

/// How the clocks of one world behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Both run alike.
    Steady,
    /// The wall clock is so many millionths faster than the other one.
    Drifting(i64),
    /// The wall clock is set now and then, by up to an hour in either direction.
    Stepped,
    /// The machine sleeps now and then: the monotonic clock stands still meanwhile.
    Suspended,
}

/// Both clocks.
#[derive(Debug)]
pub(crate) struct Clocks {
    pub(crate) shape: Shape,
    mono_ns: u64,
    wall_ns: u64,
    /// What the drift has not yet made a whole nanosecond of, in millionths.
    rest: i64,
}

impl Clocks {
    pub(crate) fn draw(random: &mut Random) -> Self {
        let shape = match random.within(0..6) {
            0 | 1 => Shape::Steady,
            2 => Shape::Drifting(random.within(0..1001).cast_signed() - 500),
            3 | 4 => Shape::Stepped,
            _ => Shape::Suspended,
        };
        let mono_ns = random.within(SECOND..10 * HOUR);
        Self { shape, mono_ns, wall_ns: WALL_START_NS + random.within(0..24 * HOUR), rest: 0 }
    }

    pub(crate) fn now(&self) -> Now {
        Now { mono: MonoTime(self.mono_ns), wall: WallTime(self.wall_ns) }
    }

    /// Time passes.
    pub(crate) fn advance(&mut self, span_ns: u64) {
        self.mono_ns += span_ns;
        let Shape::Drifting(ppm) = self.shape else {
            self.wall_ns += span_ns;
            return;
        };
        // A span in a world is below a year, so the product fits.
        let drift = i128::from(span_ns) * i128::from(ppm) + i128::from(self.rest);
        self.rest = (drift % 1_000_000) as i64;
        self.wall_ns = (self.wall_ns + span_ns).wrapping_add_signed((drift / 1_000_000) as i64);
    }

    /// Somebody sets the wall clock.
    pub(crate) fn set(&mut self, by_ns: i64) {
        self.wall_ns = self.wall_ns.wrapping_add_signed(by_ns);
    }

    /// The machine sleeps.
    pub(crate) fn suspend(&mut self, span_ns: u64) {
        self.wall_ns += span_ns;
    }

    /// The power was off for so long: the monotonic clock begins anew.
    pub(crate) fn reboot(&mut self, off_ns: u64, mono_ns: u64) {
        self.wall_ns += off_ns;
        self.mono_ns = mono_ns;
    }
}

/// How far the wall clock is ahead.
pub(crate) fn offset_ns(now: Now) -> i128 {
    i128::from(now.wall.0) - i128::from(now.mono.0)
}
