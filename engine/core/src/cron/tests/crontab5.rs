//! The rules of crontab(5), and the times that its examples name.

use super::check;
use crate::cron::Cron;

/// The examples of the page, by what it says that they do. January 2025 began on a Wednesday.
#[test]
fn examples() {
    for (rule, fires) in [
        // Five minutes after midnight, every day.
        ("5 0 * * *", ["2025-01-01T00:05:00+00:00", "2025-01-02T00:05:00+00:00"]),
        // 14:15 on the first of every month.
        ("15 14 1 * *", ["2025-01-01T14:15:00+00:00", "2025-02-01T14:15:00+00:00"]),
        // 22:00 on weekdays.
        ("0 22 * * 1-5", ["2025-01-01T22:00:00+00:00", "2025-01-02T22:00:00+00:00"]),
        // 23 minutes after midnight, 2:00, 4:00 and so on, every day.
        ("23 0-23/2 * * *", ["2025-01-01T00:23:00+00:00", "2025-01-01T02:23:00+00:00"]),
        // Five minutes after 4:00 on Sundays.
        ("5 4 * * sun", ["2025-01-05T04:05:00+00:00", "2025-01-12T04:05:00+00:00"]),
        // Every fourth hour on the first and on every Monday.
        ("0 */4 1 * mon", ["2025-01-01T04:00:00+00:00", "2025-01-01T08:00:00+00:00"]),
        // Midnight on every Sunday that is an uneven date.
        ("0 0 */2 * sun", ["2025-01-05T00:00:00+00:00", "2025-01-19T00:00:00+00:00"]),
        // 11:00 on the 4th, and on every Monday, Tuesday and Wednesday.
        ("0 11 4 * mon-wed", ["2025-01-01T11:00:00+00:00", "2025-01-04T11:00:00+00:00"]),
        // 4:30 on the 1st and 15th, and on every Friday.
        ("30 4 1,15 * 5", ["2025-01-01T04:30:00+00:00", "2025-01-03T04:30:00+00:00"]),
        // The second Saturday's candidates, 4:00 on the 8th to the 14th.
        ("0 4 8-14 * *", ["2025-01-08T04:00:00+00:00", "2025-01-09T04:00:00+00:00"]),
    ] {
        check(rule, "UTC", "2025-01-01T00:00:00Z", &fires);
    }
}

/// Both day fields restricted: a day matches when either does.
#[test]
fn either_day_field_is_enough_when_both_restrict() {
    check(
        "30 4 1,15 * 5",
        "UTC",
        "2025-01-01T12:00:00Z",
        &[
            "2025-01-03T04:30:00+00:00",
            "2025-01-10T04:30:00+00:00",
            "2025-01-15T04:30:00+00:00",
            "2025-01-17T04:30:00+00:00",
            "2025-01-24T04:30:00+00:00",
            "2025-01-31T04:30:00+00:00",
            "2025-02-01T04:30:00+00:00",
        ],
    );
}

/// Lists, ranges, steps, names, and both numbers of Sunday, as the page defines them.
#[test]
fn equal_ways_to_write_a_field() {
    for (left, right) in [
        ("0 8-11 * * *", "0 8,9,10,11 * * *"),
        ("0 0-23/2 * * *", "0 0,2,4,6,8,10,12,14,16,18,20,22 * * *"),
        ("0 */2 * * *", "0 0-23/2 * * *"),
        ("0 1,2,5,9 * * *", "0 1-2,5,9 * * *"),
        ("0 0-4,8-12 * * *", "0 0,1,2,3,4,8,9,10,11,12 * * *"),
        ("0 0 * * 0", "0 0 * * 7"),
        ("0 0 * JAN Mon", "0 0 * 1 1"),
    ] {
        let next = |text| {
            let rule = Cron::parse_crontab(text).expect("a right line");
            rule.upcoming(0).take(500).collect::<alloc::vec::Vec<_>>()
        };
        assert_eq!(next(left), next(right), "`{left}` and `{right}`");
    }
}
