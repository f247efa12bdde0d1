//! When a schedule fires: its timing, moved by its jitter and cut to its bounds. Pure functions of the
//! rule and a time.

use super::{Schedule, Timing};
use crate::{
    cron::jitter_ns,
    limits,
    time::{Now, WallTime},
};

/// The fire times of a schedule.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fires<'a> {
    pub(super) timing: &'a Timing,
    /// What the jitter adds to each time of the timing.
    pub(super) offset_ns: u64,
    /// No fire time lies before.
    pub(super) starts: WallTime,
    /// No fire time lies behind.
    pub(super) ends: WallTime,
}

impl<'a> Fires<'a> {
    pub(crate) fn of(rule: &'a Schedule<'_>) -> Self {
        Self {
            timing: &rule.timing,
            offset_ns: jitter_ns(&rule.name, rule.jitter_ns),
            starts: rule.starts.unwrap_or(WallTime(0)),
            ends: rule.ends.unwrap_or(WallTime(limits::DUE_WALL_NS_MAX)),
        }
    }

    /// The first fire time of a schedule that is put now.
    pub(crate) fn first(&self, now: Now) -> Option<WallTime> {
        let first = match self.timing {
            Timing::Cron(_) => {
                // A fire time may lie right on the start.
                let before = WallTime(self.starts.0.saturating_sub(1));
                return self.next_after(now.wall.max(before));
            }
            // An interval is counted from its start, if that is still to come.
            Timing::Every(_) if self.starts > now.wall => self.starts.0,
            Timing::Every(every_ns) => now.wall.0.checked_add(*every_ns)?,
            Timing::Once(at) => at.unwrap_or(now.wall).max(self.starts).0,
        };
        self.bounded(first.checked_add(self.offset_ns)?)
    }

    /// The fire time that follows `after`, which for an interval is itself a fire time.
    pub(crate) fn next_after(&self, after: WallTime) -> Option<WallTime> {
        let next = match self.timing {
            Timing::Cron(cron) => {
                // Before the offset there is no time of the timing that it could move.
                let after = after.0.checked_sub(self.offset_ns).map_or(-1, u64::cast_signed);
                let next = u64::try_from(cron.next_after(after)?).ok()?;
                next.checked_add(self.offset_ns)?
            }
            Timing::Every(every_ns) => after.0.checked_add(*every_ns)?,
            Timing::Once(_) => return None,
        };
        self.bounded(next)
    }

    fn bounded(&self, next: u64) -> Option<WallTime> {
        (next <= limits::DUE_WALL_NS_MAX && next <= self.ends.0).then_some(WallTime(next))
    }
}
