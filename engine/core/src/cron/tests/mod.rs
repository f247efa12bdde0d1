//! Behaviour of the module through its public boundary: what is read and how errors are told
//! ([`dialect`]), the rules and examples of crontab(5) ([`crontab5`]), days that depend on the month
//! ([`months`]), values drawn from a name ([`named`]), what the clocks of real zones do to it
//! ([`clocks`]) and what a text may say about that ([`options`]), and random texts ([`random`]).

mod clocks;
mod crontab5;
mod dialect;
mod months;
mod named;
mod options;
mod random;

use alloc::string::String;
use alloc::vec::Vec;

use super::{Cron, format_time};

/// The instant of an RFC 3339 text, in nanoseconds.
fn at(text: &str) -> i64 {
    let instant: jiff::Timestamp = text.parse().expect("an instant");
    i64::try_from(instant.as_nanosecond()).expect("an instant within the range")
}

/// The rule's next fire times after an instant, without the zone's name.
fn fires(rule: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
    let rule = Cron::parse(rule).and_then(|rule| rule.with_zone(zone)).expect("a right rule");
    rule.upcoming(at(after))
        .take(count)
        .map(|fire| {
            let text = format_time(fire, rule.zone_name()).expect("a known zone");
            text.split('[').next().expect("split gives one part at least").into()
        })
        .collect()
}

/// Checks the fire times that follow an instant.
#[track_caller]
fn check(rule: &str, zone: &str, after: &str, expected: &[&str]) {
    assert_eq!(fires(rule, zone, after, expected.len()), expected, "`{rule}` in {zone}");
}

/// Checks that the rule has exactly these fire times after an instant and then none.
#[track_caller]
fn check_all(rule: &str, zone: &str, after: &str, expected: &[&str]) {
    assert_eq!(fires(rule, zone, after, expected.len() + 1), expected, "`{rule}` in {zone}");
}
