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

    /// The fire times from `from` to `to`, both included. Those of an interval are counted from `next`, one of
    /// them; without it there are none.
    pub(crate) fn within(
        self,
        from: WallTime,
        to: WallTime,
        next: Option<WallTime>,
    ) -> impl Iterator<Item = WallTime> {
        let from = from.max(self.starts);
        let first = match self.timing {
            Timing::Cron(_) => self.next_after(WallTime(from.0.saturating_sub(1))),
            Timing::Every(every_ns) => next.and_then(|next| {
                let first = match next.0.checked_sub(from.0) {
                    Some(before_ns) => next.0 - before_ns / every_ns * every_ns,
                    None => next.0.checked_add((from.0 - next.0).div_ceil(*every_ns) * every_ns)?,
                };
                self.bounded(first)
            }),
            Timing::Once(at) => at.and_then(|at| self.bounded(at.0.checked_add(self.offset_ns)?)),
        };
        core::iter::successors(first.filter(|first| *first >= from), move |last| {
            self.next_after(*last)
        })
        .take_while(move |time| *time <= to)
    }

    fn bounded(&self, next: u64) -> Option<WallTime> {
        (next <= limits::DUE_WALL_NS_MAX && next <= self.ends.0).then_some(WallTime(next))
    }
}
