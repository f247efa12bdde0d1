//! What a text says about skipped and repeated hours.

use alloc::format;
use alloc::string::ToString;

use super::check;
use crate::cron::{Cron, CronError, Repeated, Skipped, TEXT_LEN_BYTES_MAX};

const BERLIN: &str = "Europe/Berlin";
const SPRING: &str = "2025-03-29T22:00:00Z";
const GAP_END: &str = "2025-03-30T03:00:00+02:00";
const AUTUMN: &str = "2025-10-25T22:30:00Z";

#[test]
fn a_fixed_time_in_all_four_ways() {
    for (option, fires) in [
        ("", [GAP_END, "2025-03-31T02:30:00+02:00"]),
        (" skipped=end", [GAP_END, "2025-03-31T02:30:00+02:00"]),
        (" skipped=never", ["2025-03-31T02:30:00+02:00", "2025-04-01T02:30:00+02:00"]),
        (" repeated=twice", [GAP_END, "2025-03-31T02:30:00+02:00"]),
    ] {
        check(&format!("30 2 * * *{option}"), BERLIN, SPRING, &fires);
    }
    let once = ["2025-10-26T02:30:00+02:00", "2025-10-27T02:30:00+01:00"];
    let twice = ["2025-10-26T02:30:00+02:00", "2025-10-26T02:30:00+01:00"];
    for (option, fires) in [
        ("", once),
        (" repeated=once", once),
        (" repeated=twice", twice),
        (" skipped=never repeated=twice", twice),
        (" repeated=twice skipped=never", twice),
        (" skipped=never", once),
    ] {
        check(&format!("30 2 * * *{option}"), BERLIN, AUTUMN, &fires);
    }
}

#[test]
fn a_recurring_pattern_in_all_four_ways() {
    let lost = ["2025-03-31T02:00:00+02:00", "2025-03-31T02:30:00+02:00"];
    check("*/30 2 * * *", BERLIN, SPRING, &lost);
    check("*/30 2 * * * skipped=never", BERLIN, SPRING, &lost);
    // Both times of the skipped hour run once together, at its end.
    check("*/30 2 * * * skipped=end", BERLIN, SPRING, &[GAP_END, "2025-03-31T02:00:00+02:00"]);
    let both = ["2025-10-26T02:00:00+02:00", "2025-10-26T02:00:00+01:00"];
    check("0 * * * *", BERLIN, "2025-10-25T23:30:00Z", &both);
    check("0 * * * * repeated=twice", BERLIN, "2025-10-25T23:30:00Z", &both);
    check(
        "0 * * * * repeated=once",
        BERLIN,
        "2025-10-25T23:30:00Z",
        &["2025-10-26T02:00:00+02:00", "2025-10-26T03:00:00+01:00"],
    );
    // A search that begins inside the second showing.
    check(
        "*/20 * * * * repeated=once",
        BERLIN,
        "2025-10-26T01:10:00Z",
        &["2025-10-26T03:00:00+01:00"],
    );
}

/// The only date of a rule lies in the second showing of an hour, and nothing comes after it.
#[test]
fn a_last_fire_at_a_second_showing() {
    let rule = "0 30 2 26 10 ? 2025 repeated=twice";
    let second = "2025-10-26T02:30:00+01:00";
    super::check_all(rule, BERLIN, AUTUMN, &["2025-10-26T02:30:00+02:00", second]);
    // From the first showing of 02:40 on.
    super::check_all(rule, BERLIN, "2025-10-26T00:40:00Z", &[second]);
    super::check_all("0 30 2 26 10 ? 2025", BERLIN, "2025-10-26T00:40:00Z", &[]);
    // And the same with a date later in the same offset, for which a short way must not be taken.
    check("0 30 2 26 7,10 ? * repeated=twice", BERLIN, "2025-10-26T00:40:00Z", &[second]);
}

#[test]
fn a_rule_whose_only_times_are_skipped_never_fires() {
    let only = "0 30 2 30 3 ? 2025";
    super::check_all(only, BERLIN, SPRING, &[GAP_END]);
    super::check_all(&format!("{only} skipped=never"), BERLIN, SPRING, &[]);
    // The last Sunday of March at 02:30 does not exist under the rules of the European Union.
    let rule = "0 30 2 ? 3 sunL 2030-2100 skipped=never";
    super::check_all(rule, BERLIN, SPRING, &[]);
}

#[test]
fn options_stand_behind_any_form_in_any_case() {
    for text in [
        "30 2 * * * SKIPPED=never",
        "0 30 2 * * *  skipped=Never ",
        "0 30 2 * * * *\tskipped=never",
        "@daily skipped=never",
    ] {
        let rule = Cron::parse(text).unwrap_or_else(|error| panic!("`{text}`: {error}"));
        assert_eq!((rule.skipped(), rule.repeated()), (Skipped::Never, Repeated::Once), "`{text}`");
        assert_eq!(rule.source(), text.trim_ascii());
    }
    for text in [
        "30 2 * * * skipped=maybe",
        "30 2 * * * skipped=",
        "30 2 * * * =",
        "30 2 * * * jitter=5",
        "30 2 * * * skipped=end skipped=end",
        "30 2 * * * repeated=once repeated=twice",
        "skipped=end 30 2 * * *",
    ] {
        let error = Cron::parse(text).expect_err(text);
        assert!(matches!(error, CronError::Option { .. }), "`{text}`: {error:?}");
        assert!(error.to_string().contains("`skipped=never`"), "{error}");
    }
    for text in ["30 2 * * * TZ=UTC", "@daily CRON_TZ=Asia/Tokyo"] {
        assert!(matches!(Cron::parse(text), Err(CronError::ZoneInText { .. })), "`{text}`");
    }
    // In a crontab the command begins there.
    for text in ["30 2 * * * skipped=end", "@daily skipped=end"] {
        assert!(Cron::parse_crontab(text).is_err(), "`{text}`");
    }
}

#[test]
fn what_is_set_is_in_the_text() {
    let rule = Cron::parse(" 30 2 * * *  Repeated=once ").expect("right");
    assert_eq!((rule.skipped(), rule.repeated()), (Skipped::AtEnd, Repeated::Once));
    let rule = rule.with_repeated(Repeated::Twice).with_skipped(Skipped::Never);
    assert_eq!(rule.source(), "30 2 * * * repeated=twice skipped=never");
    assert_eq!((rule.skipped(), rule.repeated()), (Skipped::Never, Repeated::Twice));
    let again = Cron::parse(rule.source()).expect("what it says can be read");
    assert_eq!((again.policy, &again), (rule.policy, &rule));
    assert_eq!(
        rule.describe(),
        "at 02:30 every day, UTC; a skipped time does not run; a repeated time runs twice"
    );
    let rule = rule.with_skipped(Skipped::AtEnd).with_repeated(Repeated::Once);
    assert_eq!(
        rule.describe(),
        "at 02:30 every day, UTC; a skipped time runs at the end of the gap; \
         a repeated time runs once"
    );
    assert!(rule.source().len() < TEXT_LEN_BYTES_MAX);
}

#[test]
fn a_recurring_rule_has_other_defaults() {
    let policy = |text| {
        let rule = Cron::parse(text).expect(text);
        (rule.skipped(), rule.repeated())
    };
    assert_eq!(policy("30 2 * * *"), (Skipped::AtEnd, Repeated::Once));
    assert_eq!(policy("*/30 2 * * *"), (Skipped::Never, Repeated::Twice));
    assert_eq!(policy("30 2-3 * * * repeated=twice"), (Skipped::AtEnd, Repeated::Twice));
    assert_eq!(policy("0-59 2 * * * skipped=end"), (Skipped::AtEnd, Repeated::Twice));
}
