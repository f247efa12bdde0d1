//! Random texts and instants.

use alloc::format;
use alloc::string::{String, ToString};

use proptest::prelude::*;

use crate::cron::{Cron, CronError, format_time};

const ZONES: [&str; 6] = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Africa/Casablanca",
];

/// A right field: a list of values, ranges and steps.
fn field(min: u32, max: u32) -> impl Strategy<Value = String> {
    let value = min..=max;
    let item = prop_oneof![
        3 => Just(String::from("*")),
        2 => value.clone().prop_map(|value| format!("{value}")),
        1 => (1..=max.min(59)).prop_map(|step| format!("*/{step}")),
        1 => (value.clone(), value.clone())
            .prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
        1 => (value.clone(), value.clone(), 1..=max.min(59))
            .prop_map(|(a, b, step)| format!("{}-{}/{step}", a.min(b), a.max(b))),
        1 => (value, 1..=max.min(59)).prop_map(|(from, step)| format!("{from}/{step}")),
    ];
    prop::collection::vec(item, 1..4).prop_map(|items| items.join(","))
}

fn rule() -> impl Strategy<Value = String> {
    (field(0, 59), field(0, 59), field(0, 23), field(1, 31), field(1, 12), field(0, 7)).prop_map(
        |(second, minute, hour, day, month, weekday)| {
            format!("{second} {minute} {hour} {day} {month} {weekday}")
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_read_or_refused(text in any::<String>()) {
        let _ = Cron::parse(&text).map_err(|error| format!("{error}"));
    }

    #[test]
    fn any_text_of_cron_letters_is_read_or_refused(
        text in "[-0-9*/,?@#=()a-zHLW ]{0,40}",
        fields in "([-0-9*/,?]{1,4}|jan|H(/5)?)( ([-0-9*/,?LW#H()]{1,5}|sun|7-1|friL)){4,6}( skipped=(end|x))?",
    ) {
        for text in [text, fields] {
            match Cron::parse_named(&text, "name") {
                Ok(rule) => prop_assert!(!rule.describe().is_empty()),
                Err(error) => {
                    let told = error.to_string();
                    prop_assert!(told.contains("for example"), "{}", told);
                }
            }
        }
    }

    #[test]
    fn right_texts_are_confirmed_and_their_fires_rise(
        text in rule(),
        zone in prop::sample::select(&ZONES[..]),
        after in 0..4_000_000_000_i64,
        fraction in 0..1_000_000_000_i64,
    ) {
        let rule = Cron::parse(&text).and_then(|rule| rule.with_zone(zone));
        let rule = match rule {
            Err(CronError::NeverFires { .. }) => return Ok(()),
            other => other.map_err(|error| TestCaseError::fail(format!("{error}")))?,
        };
        let mut last = after * 1_000_000_000 + fraction;
        for fire in rule.upcoming(last).take(50) {
            prop_assert!(fire > last, "{} after {}", fire, last);
            prop_assert_eq!(fire % 1_000_000_000, 0);
            // Nothing lies between: any instant up to the one before gives the same answer.
            let middle = last + (fire - last) / 2;
            prop_assert_eq!(rule.next_after(middle), Some(fire));
            prop_assert_eq!(rule.next_after(fire - 1), Some(fire));
            last = fire;
        }
        prop_assert!(format_time(last, zone).is_ok());
    }
}
