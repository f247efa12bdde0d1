//! What a schedule does when its timer fires: run, catch up, or let go. Pure functions of the
//! rule, the fire time and the present.

use alloc::collections::VecDeque;

use super::{Fires, Missed, Overlap, Timing};
use crate::time::{WallTime, ms_to_ns};

/// What follows from a timer that fired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    /// The fire time to run now, if one is.
    pub(crate) run: Option<WallTime>,
    /// The fire time after it.
    pub(crate) next: Option<WallTime>,
    /// Fire times up to here run however late they are.
    pub(crate) catch_up_until: WallTime,
    /// It was later than the grace, and not known to be.
    pub(crate) is_missed: bool,
}

/// Decides on fire time `due` of a rule, at `now` (both on the same scale).
pub(crate) fn decide(
    fires: &Fires<'_>,
    missed: Missed,
    overlap: Overlap,
    grace_ms: u32,
    catch_up_until: WallTime,
    due: WallTime,
    now: WallTime,
) -> Decision {
    if let Overlap::Queue { limit } = overlap
        && due <= catch_up_until
    {
        // It has waited for a job to end. Those that wait with it are as many as may, the newest.
        let kept = newest(fires, due, now, limit, u64::MAX);
        let run = kept.front().copied().unwrap_or(due);
        let next = fires.next_after(run);
        return Decision { run: Some(run), next, catch_up_until, is_missed: run != due };
    }
    let in_time = now.0.saturating_sub(due.0) <= ms_to_ns(u64::from(grace_ms));
    if in_time || due <= catch_up_until {
        let next = fires.next_after(due);
        return Decision { run: Some(due), next, catch_up_until, is_missed: false };
    }
    let is_missed = true;
    match missed {
        Missed::Skip => {
            let next = first_after(fires, due, now);
            Decision { run: None, next, catch_up_until, is_missed }
        }
        Missed::One => {
            let next = first_after(fires, due, now);
            Decision { run: Some(due), next, catch_up_until, is_missed }
        }
        Missed::All { limit, window_ns } => {
            let kept = newest(fires, due, now, limit, window_ns);
            match (kept.front(), kept.back()) {
                (Some(first), Some(last)) => Decision {
                    run: Some(*first),
                    next: fires.next_after(*first),
                    catch_up_until: *last,
                    is_missed,
                },
                _ => {
                    let next = first_after(fires, due, now);
                    Decision { run: None, next, catch_up_until, is_missed }
                }
            }
        }
    }
}

/// The first fire time after `now`, keeping an interval's phase.
fn first_after(fires: &Fires<'_>, due: WallTime, now: WallTime) -> Option<WallTime> {
    match fires.timing {
        Timing::Every(every_ns) => {
            let passed = now.0.saturating_sub(due.0) / every_ns;
            fires.next_after(WallTime(due.0.saturating_add(passed.saturating_mul(*every_ns))))
        }
        Timing::Cron(_) | Timing::Once(_) => fires.next_after(now.max(due)),
    }
}

/// The newest `limit` fire times from `due` to `now` that lie within the window.
fn newest(
    fires: &Fires<'_>,
    due: WallTime,
    now: WallTime,
    limit: u32,
    window_ns: u64,
) -> VecDeque<WallTime> {
    let oldest = due.max(WallTime(now.0.saturating_sub(window_ns)));
    if let Timing::Every(every_ns) = fires.timing {
        return newest_of_interval(*every_ns, due, oldest, now.min(fires.ends), limit);
    }
    // Looks back in growing steps, so that a long outage of a frequent rule is not walked whole.
    let mut back_ns = SCAN_BACK_NS;
    loop {
        let from = oldest.max(WallTime(now.0.saturating_sub(back_ns)));
        let mut times = fire_times(fires, due, from, now);
        if times.len() >= limit as usize || from == oldest {
            times.drain(..times.len().saturating_sub(limit as usize));
            return times;
        }
        back_ns = back_ns.saturating_mul(2);
    }
}

/// First look back of [`newest`]: one minute.
const SCAN_BACK_NS: u64 = 60_000_000_000;

/// Fire times from `from` to `now`, where `due` is one. A cron rule has at most one a second.
fn fire_times(
    fires: &Fires<'_>,
    due: WallTime,
    from: WallTime,
    now: WallTime,
) -> VecDeque<WallTime> {
    let mut next =
        if due >= from { Some(due) } else { fires.next_after(WallTime(from.0.saturating_sub(1))) };
    let mut times = VecDeque::new();
    while let Some(time) = next.filter(|time| *time <= now) {
        times.push_back(time);
        next = fires.next_after(time);
    }
    times
}

/// The newest `limit` times of an interval, counted and not walked.
fn newest_of_interval(
    every_ns: u64,
    due: WallTime,
    oldest: WallTime,
    now: WallTime,
    limit: u32,
) -> VecDeque<WallTime> {
    let last = now.0.saturating_sub(due.0) / every_ns;
    let first = (oldest.0 - due.0).div_ceil(every_ns);
    let first = first.max((last + 1).saturating_sub(u64::from(limit)));
    (first..=last).map(|number| WallTime(due.0 + number * every_ns)).collect()
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

    fn always(timing: &Timing) -> Fires<'_> {
        Fires { timing, offset_ns: 0, starts: at(0), ends: at(u64::MAX) }
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
            let decision =
                decide(&always(timing), missed, Overlap::Allow, 60_000, until, time, at(now));
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
    fn a_frequent_rule_after_a_long_outage_runs_its_newest_times() {
        let each_second = Timing::Cron(Cron::parse("* * * * * *").unwrap());
        let all = Missed::All { limit: 3, window_ns: 1000 * HOUR };
        let now = START + 48 * HOUR;
        let minutes = 48 * 60;
        let (ran, _) = runs(&each_second, all, START, now);
        assert_eq!(ran, [minutes - 1, minutes - 1, minutes]);
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
        let now = at(START + 1000 * HOUR);
        let decision = decide(&always(&every), all, Overlap::Allow, 60_000, at(0), at(START), now);
        assert_eq!(decision.run, Some(at(START + 1000 * HOUR - Timing::EVERY_NS_MIN)));
    }
}
