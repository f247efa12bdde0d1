//! What a schedule does when its timer fires: run, catch up, or let go. Pure functions of the
//! rule, the fire time and the present.

use alloc::collections::VecDeque;

use super::{Missed, Timing};
use crate::{
    limits,
    time::{WallTime, ms_to_ns},
};

/// What follows from a timer that fired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    /// The fire time to run now, if one is.
    pub(crate) run: Option<WallTime>,
    /// The fire time after it.
    pub(crate) next: Option<WallTime>,
    /// Fire times up to here run however late they are.
    pub(crate) catch_up_until: WallTime,
}

/// Decides on fire time `due` of a rule, at `now` (both on the same scale).
pub(crate) fn decide(
    timing: &Timing,
    missed: Missed,
    grace_ms: u32,
    catch_up_until: WallTime,
    due: WallTime,
    now: WallTime,
) -> Decision {
    let in_time = now.0.saturating_sub(due.0) <= ms_to_ns(u64::from(grace_ms));
    if in_time || due <= catch_up_until {
        return Decision { run: Some(due), next: timing.next_after(due), catch_up_until };
    }
    match missed {
        Missed::Skip => Decision { run: None, next: first_after(timing, due, now), catch_up_until },
        Missed::One => {
            Decision { run: Some(due), next: first_after(timing, due, now), catch_up_until }
        }
        Missed::All { limit, window_ns } => {
            let kept = newest(timing, due, now, limit, window_ns);
            match (kept.front(), kept.back()) {
                (Some(first), Some(last)) => Decision {
                    run: Some(*first),
                    next: timing.next_after(*first),
                    catch_up_until: *last,
                },
                _ => Decision { run: None, next: first_after(timing, due, now), catch_up_until },
            }
        }
    }
}

/// The first fire time after `now`, keeping an interval's phase.
fn first_after(timing: &Timing, due: WallTime, now: WallTime) -> Option<WallTime> {
    match timing {
        Timing::Every(every_ns) => {
            let passed = now.0.saturating_sub(due.0) / every_ns;
            timing.next_after(WallTime(due.0.saturating_add(passed.saturating_mul(*every_ns))))
        }
        Timing::Cron(_) | Timing::Once(_) => timing.next_after(now.max(due)),
    }
}

/// The newest `limit` fire times from `due` to `now` that lie within the window.
fn newest(
    timing: &Timing,
    due: WallTime,
    now: WallTime,
    limit: u32,
    window_ns: u64,
) -> VecDeque<WallTime> {
    let oldest = WallTime(now.0.saturating_sub(window_ns));
    let mut start = match timing {
        _ if due >= oldest => Some(due),
        // An interval is counted, not walked.
        Timing::Every(_) => first_after(timing, due, WallTime(oldest.0.saturating_sub(1))),
        Timing::Cron(_) | Timing::Once(_) => {
            timing.next_after(WallTime(oldest.0.saturating_sub(1)))
        }
    };
    if let (Timing::Every(every_ns), Some(first)) = (timing, start) {
        // Only the newest are kept, so the walk may begin at most `limit` intervals before now.
        let passed = now.0.saturating_sub(first.0) / every_ns;
        let skipped = (passed + 1).saturating_sub(u64::from(limit));
        start = Some(WallTime(first.0 + skipped * every_ns));
    }
    let mut kept = VecDeque::new();
    let mut scanned = 0;
    while let Some(time) = start.filter(|time| *time <= now && scanned < limits::CATCH_UP_SCAN_MAX)
    {
        if kept.len() == limit as usize {
            kept.pop_front();
        }
        kept.push_back(time);
        scanned += 1;
        start = timing.next_after(time);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cron::Cron;
    use alloc::vec::Vec;

    const MINUTE: u64 = 60_000_000_000;
    const HOUR: u64 = 60 * MINUTE;
    const START: u64 = 1_800_000_000 / 3600 * HOUR; // a full hour

    fn hourly() -> Timing {
        Timing::Cron(Cron::parse("0 * * * *").unwrap())
    }

    fn at(ns: u64) -> WallTime {
        WallTime(ns)
    }

    /// Runs the decision until the next fire time lies ahead, and lists what was run.
    fn runs(timing: &Timing, missed: Missed, due: u64, now: u64) -> (Vec<u64>, Option<u64>) {
        let mut ran = Vec::new();
        let mut due = Some(at(due));
        let mut until = at(0);
        while let Some(time) = due.filter(|time| time.0 <= now) {
            let decision = decide(timing, missed, 60_000, until, time, at(now));
            ran.extend(decision.run.map(|t| (t.0 - START) / MINUTE));
            due = decision.next;
            until = decision.catch_up_until;
        }
        (ran, due.map(|t| (t.0 - START) / MINUTE))
    }

    #[test]
    fn in_time_runs_whatever_the_policy() {
        for missed in [Missed::Skip, Missed::One, Missed::All { limit: 3, window_ns: HOUR }] {
            let now = START + 30_000_000_000;
            assert_eq!(runs(&hourly(), missed, START, now), ([0].into(), Some(60)), "{missed:?}");
        }
    }

    #[test]
    fn missed_runs_follow_the_policy() {
        let now = START + 5 * HOUR + 10 * MINUTE;
        let all = |limit, window_ns| Missed::All { limit, window_ns };
        for timing in [hourly(), Timing::Every(HOUR)] {
            let check = |missed, expected: &[u64]| {
                assert_eq!(
                    runs(&timing, missed, START, now),
                    (expected.into(), Some(360)),
                    "{missed:?}"
                );
            };
            check(Missed::Skip, &[]);
            check(Missed::One, &[0]);
            check(all(100, 100 * HOUR), &[0, 60, 120, 180, 240, 300]);
            check(all(2, 100 * HOUR), &[240, 300]);
            check(all(100, 2 * HOUR), &[240, 300]);
            check(all(1, HOUR), &[300]);
            check(all(5, MINUTE), &[]);
        }
    }

    #[test]
    fn a_one_off_that_was_missed_runs_once_or_not_at_all() {
        let once = Timing::Once(Some(at(START)));
        let now = START + HOUR;
        assert_eq!(runs(&once, Missed::One, START, now), ([0].into(), None));
        assert_eq!(runs(&once, Missed::Skip, START, now), ([].into(), None));
        let all = Missed::All { limit: 1, window_ns: 2 * HOUR };
        assert_eq!(runs(&once, all, START, now), ([0].into(), None));
    }

    #[test]
    fn a_short_interval_after_a_long_outage_is_counted_not_walked() {
        let every = Timing::Every(Timing::EVERY_NS_MIN);
        let all = Missed::All { limit: 2, window_ns: 1000 * HOUR };
        let decision = decide(&every, all, 60_000, at(0), at(START), at(START + 1000 * HOUR));
        assert_eq!(decision.run, Some(at(START + 1000 * HOUR - Timing::EVERY_NS_MIN)));
    }
}
