//! Values drawn from a name.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::ToString;

use super::check;
use crate::cron::{Cron, CronError, FieldFault};

/// These are the times of stored schedules. If this test fails, the code is wrong, not the test.
#[test]
fn golden_rules() {
    for (name, text, plain) in [
        ("backup", "H * * * *", "49 * * * *"),
        ("backup", "H H * * *", "49 18 * * *"),
        ("backup", "h h(1-4) * * *", "49 4 * * *"),
        ("backup", "H/15 * * * *", "12/15 * * * *"),
        ("backup", "H(0-29)/10 * * * *", "8,18,28 * * * *"),
        ("backup", "H(0-29),H(30-59) * * * *", "24,54 * * * *"),
        ("backup", "H H H * *", "49 18 8 * *"),
        ("backup", "H H ? H H", "49 18 ? 6 6"),
        ("backup", "H H * * H(fri-mon)", "49 18 * * 1"),
        ("backup", "H H H * * *", "44 49 18 * * *"),
        ("report", "H * * * *", "12 * * * *"),
        ("report", "H H * * *", "12 16 * * *"),
        ("report", "H/15 * * * *", "3/15 * * * *"),
        ("report", "H H(1-4) H * *", "12 3 20 * *"),
        ("report", "H H ? H H", "12 16 ? 7 6"),
        ("report", "0 H(5-5) 1 1 *", "0 5 1 1 *"),
    ] {
        let named = Cron::parse_named(text, name).expect(text);
        let plain = Cron::parse(plain).expect(plain);
        assert_eq!((&named.masks, named.policy), (&plain.masks, plain.policy), "{name}: `{text}`");
        assert_eq!((named.source(), named.name()), (text, Some(name)));
    }
}

#[test]
fn a_step_over_a_whole_field_recurs_and_a_single_draw_is_a_fixed_time() {
    let recurs = |text| Cron::parse_named(text, "backup").expect(text).recurs;
    assert!(recurs("H/15 3 * * *") && recurs("H(0-59)/15 3 * * *") && recurs("H * * * *"));
    assert!(!recurs("H H * * *") && !recurs("H(0-29)/15 3 * * *") && !recurs("H(0-59) 3 * * *"));
}

#[test]
fn the_name_belongs_to_a_rule_that_draws_from_it_and_to_no_other() {
    let rule = |text, name| Cron::parse_named(text, name).expect(text);
    assert_ne!(rule("H * * * *", "a"), rule("H * * * *", "b"));
    assert_eq!(rule("5 * * * *", "a"), rule("5 * * * *", "b"));
    assert_eq!(rule("5 * * * *", "a"), Cron::parse("5 * * * *").expect("right"));
    assert_eq!(rule("5 * * * *", "a").name(), None);
    let shown = format!("{:?}", rule("H * * * *", "a"));
    assert_eq!(shown, r#"Cron { source: "H * * * *", name: "a", zone: "UTC", .. }"#);
}

#[test]
fn without_a_name_the_error_says_that_one_is_needed() {
    for read in [Cron::parse, Cron::parse_crontab] {
        let error = read("H 2 * * *").expect_err("there is no name");
        assert!(matches!(error, CronError::Field { fault: FieldFault::NeedsName, .. }), "{error}");
        assert!(error.to_string().contains("draws its value from a schedule's name"), "{error}");
    }
}

#[test]
fn every_draw_lies_in_its_range_and_each_value_comes_up() {
    let mut minutes = BTreeMap::<u64, u32>::new();
    let mut days = 0;
    for number in 0..3000 {
        let name = format!("schedule {number}");
        let rule = Cron::parse_named("H(10-29) H(20-23) H * H(5-7)", &name).expect("right");
        let masks = &rule.masks;
        assert_eq!((masks.minutes & !0x3fff_fc00, masks.hours & !0x00f0_0000), (0, 0), "{name}");
        assert_eq!((masks.minutes.count_ones(), masks.hours.count_ones()), (1, 1), "{name}");
        assert_eq!((masks.weekdays & !0b110_0001, masks.days & !0x1fff_fffe), (0, 0), "{name}");
        *minutes.entry(masks.minutes).or_default() += 1;
        days |= masks.days;
    }
    // Twenty minutes, a hundred and fifty names each; the deviation of one is about twelve.
    assert_eq!(minutes.len(), 20);
    assert!(minutes.values().all(|count| (90..=210).contains(count)), "{minutes:?}");
    assert_eq!(days, 0x1fff_fffe);
}

#[test]
fn a_named_rule_in_a_zone() {
    let rule = Cron::parse_named("H H(1-4) * * *", "backup").expect("right");
    let rule = rule.with_zone("Europe/Berlin").expect("known");
    assert_eq!(rule.describe(), "at 04:49 every day, Europe/Berlin");
    check("49 4 * * *", "UTC", "2025-01-01T00:00:00Z", &["2025-01-01T04:49:00+00:00"]);
}
