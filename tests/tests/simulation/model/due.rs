//! When something is due, as far as anybody outside the scheduler can know.
//!
//! A delay runs on the monotonic clock, but what is written is its due time on the wall clock, as
//! reckoned when it was written: with the job, or later when the log was cleaned or a snapshot
//! taken. If the wall clock was set in between, a restart may go on from either reading. So a due
//! time is a span: all readings that there were.

use tickwheel_core::{Clock, Now};

use crate::clock::offset_ns;

/// When something is due.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Due {
    pub(crate) clock: Clock,
    /// It was due when it was written.
    pub(crate) is_at_once: bool,
    /// First and last reading on the monotonic clock of this life.
    mono: (i128, i128),
    /// First and last reading on the wall clock that may have been written.
    wall: (i128, i128),
}

impl Due {
    /// Due at `wall_ns`, as written at `now`.
    pub(crate) fn new(clock: Clock, wall_ns: u64, is_at_once: bool, now: Now) -> Self {
        let wall = i128::from(wall_ns);
        let mut due = Self { clock, is_at_once, mono: (0, 0), wall: (wall, wall) };
        due.read_back(now);
        due
    }

    /// It may be written again with this distance of the clocks.
    pub(crate) fn note_offset(&mut self, now: Now) {
        if self.clock == Clock::Mono {
            let offset = offset_ns(now);
            self.wall.0 = self.wall.0.min(self.mono.0 + offset);
            self.wall.1 = self.wall.1.max(self.mono.1 + offset);
        }
    }

    /// It was read back at `now`, in a new life.
    pub(crate) fn read_back(&mut self, now: Now) {
        let offset = offset_ns(now);
        // What lies before the zero of the monotonic clock is due at that zero.
        self.mono = (self.wall.0 - offset, (self.wall.1 - offset).max(0));
    }

    /// Whether it may be due at `now`.
    pub(crate) fn may_be_due(&self, now: Now) -> bool {
        match self.clock {
            Clock::Mono => i128::from(now.mono.0) >= self.mono.0,
            Clock::Wall => i128::from(now.wall.0) >= self.wall.0,
        }
    }

    /// Whether it was due `slack_ns` before `now` for certain.
    pub(crate) fn must_be_due(&self, now: Now, slack_ns: u64) -> bool {
        match self.clock {
            Clock::Mono => i128::from(now.mono.0) >= self.mono.1 + i128::from(slack_ns),
            Clock::Wall => i128::from(now.wall.0) >= self.wall.1 + i128::from(slack_ns),
        }
    }

    /// First and last reading on the wall clock of `now`. What lay before the zero of the monotonic
    /// clock may be told as it was written, wherever the wall clock was set since.
    pub(crate) fn on_wall(&self, now: Now) -> (i128, i128) {
        match self.clock {
            Clock::Mono => {
                let first = self.mono.0 + offset_ns(now);
                let first = if self.mono.0 < 0 { first.min(self.wall.0) } else { first };
                (first, self.mono.1 + offset_ns(now))
            }
            Clock::Wall => self.wall,
        }
    }
}
