//! Days that depend on the month: `L`, `W` and `#`.

use alloc::format;
use alloc::vec::Vec;

use super::fires;
use crate::cron::Cron;

/// Checks the days of 2024, given as month and day.
#[track_caller]
fn check_2024(rule: &str, days: &[(u32, u32)]) {
    let expected: Vec<_> = days
        .iter()
        .map(|(month, day)| format!("2024-{month:02}-{day:02}T00:00:00+00:00"))
        .collect();
    let actual = fires(rule, "UTC", "2023-12-31T12:00:00Z", days.len() + 1);
    assert_eq!(&actual[..days.len()], expected, "`{rule}`");
    assert!(actual[days.len()] > "2025".into(), "`{rule}`: {}", actual[days.len()]);
}

#[test]
fn the_last_days_of_a_month() {
    let last = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let all = |back: u32| (1..).zip(last.map(|day| day - back)).collect::<Vec<_>>();
    check_2024("0 0 L * *", &all(0));
    check_2024("0 0 l * ?", &all(0));
    check_2024("0 0 L-3 * *", &all(3));
    check_2024("0 0 L-28 2 *", &[(2, 1)]);
    check_2024("0 0 L-30 * *", &[1, 3, 5, 7, 8, 10, 12].map(|month| (month, 1)));
    check_2024("0 0 15,L 2,4 *", &[(2, 15), (2, 29), (4, 15), (4, 30)]);
    let february = fires("0 0 L 2 *", "UTC", "2099-01-01T00:00:00Z", 2);
    assert_eq!(february, ["2099-02-28T00:00:00+00:00", "2100-02-28T00:00:00+00:00"]);
}

#[test]
fn working_days() {
    // The 15th: Saturday in June, Sunday in September and December.
    check_2024(
        "0 0 15W * *",
        &[
            (1, 15),
            (2, 15),
            (3, 15),
            (4, 15),
            (5, 15),
            (6, 14),
            (7, 15),
            (8, 15),
            (9, 16),
            (10, 15),
            (11, 15),
            (12, 16),
        ],
    );
    // The first: Saturday in June, Sunday in September and December, and never the month before.
    check_2024("0 0 1W 6,9,12 *", &[(6, 3), (9, 2), (12, 2)]);
    // The 31st: Sunday in March, Saturday in August, and not in months of 30 days.
    check_2024("0 0 31W 3,4,8 *", &[(3, 29), (8, 30)]);
    check_2024(
        "0 0 LW 1-9 *",
        &[(1, 31), (2, 29), (3, 29), (4, 30), (5, 31), (6, 28), (7, 31), (8, 30), (9, 30)],
    );
    check_2024("0 0 L-1W 3,6,12 *", &[(3, 29), (6, 28), (12, 30)]);
}

#[test]
fn weekdays_of_a_month() {
    check_2024("0 0 * 1-4 fri#2", &[(1, 12), (2, 9), (3, 8), (4, 12)]);
    check_2024("0 0 ? 1-4 5#2", &[(1, 12), (2, 9), (3, 8), (4, 12)]);
    check_2024("0 0 * * thu#5", &[(2, 29), (5, 30), (8, 29), (10, 31)]);
    check_2024("0 0 * 1-4 friL", &[(1, 26), (2, 23), (3, 29), (4, 26)]);
    check_2024("0 0 * 1-4 5L", &[(1, 26), (2, 23), (3, 29), (4, 26)]);
    check_2024("0 0 * 6 0L,7#1,tue", &[(6, 2), (6, 4), (6, 11), (6, 18), (6, 25), (6, 30)]);
    check_2024("0 0 * 9 sunL,MonL", &[(9, 29), (9, 30)]);
}

/// They restrict like any other value: with both fields, either is enough.
#[test]
fn beside_the_other_day_field() {
    check_2024("0 0 L 2 fri#1", &[(2, 2), (2, 29)]);
    check_2024("0 0 */2 3 friL", &[(3, 29)]);
    check_2024("0 0 LW 3 */3", &[]);
}

/// Each kind of item over two centuries, against a walk through the days of each month.
#[test]
fn against_a_walk_through_each_month() {
    use crate::cron::calendar::{Date, days_in_month};
    let working = |date: Date| (1..=5).contains(&date.weekday());
    // Of the working days of the month the nearest, which no other can be as near to.
    let nearest = |year, month, day: u32| {
        (1..=days_in_month(year, month))
            .filter(|other| working(Date { year, month, day: *other }))
            .min_by_key(|other| other.abs_diff(day))
    };
    let with_weekday = |year, month, weekday| {
        (1..=days_in_month(year, month))
            .filter(move |day| Date { year, month, day: *day }.weekday() == weekday)
    };
    let masks = |text: &str| Cron::parse(text).expect("right").masks;
    let days: Vec<_> = (1..=31)
        .map(|day| {
            (day, masks(&format!("0 0 {day}W * *")), masks(&format!("0 0 L-{} * *", day.min(30))))
        })
        .collect();
    let weekdays: Vec<_> = (0..7)
        .map(|weekday| {
            let nth = [1, 2, 3, 4, 5].map(|nth| masks(&format!("0 0 * * {weekday}#{nth}")));
            (weekday, nth, masks(&format!("0 0 * * {weekday}L")))
        })
        .collect();
    let last_working = masks("0 0 LW * *");
    for (year, month) in (1970..2200).flat_map(|year| (1..=12).map(move |month| (year, month))) {
        let len = days_in_month(year, month);
        let place = |day: Option<u32>| day.map_or(0, |day| 1 << day);
        for (day, by_working_day, by_last) in &days {
            let expected = place(nearest(year, month, *day).filter(|_| *day <= len));
            assert_eq!(by_working_day.days_of(year, month), expected, "{year}-{month} {day}W");
            let back = len.checked_sub(*day.min(&30)).filter(|day| *day > 0);
            assert_eq!(by_last.days_of(year, month), place(back), "{year}-{month} L-{day}");
        }
        for (weekday, nth, last) in &weekdays {
            let all = || with_weekday(year, month, *weekday);
            for (masks, n) in nth.iter().zip(0..) {
                let expected = place(all().nth(n));
                assert_eq!(masks.days_of(year, month), expected, "{year}-{month} {weekday}#{n}");
            }
            let expected = place(all().next_back());
            assert_eq!(last.days_of(year, month), expected, "{year}-{month} {weekday}L");
        }
        let expected = (1..=len).rev().find(|day| working(Date { year, month, day: *day }));
        assert_eq!(last_working.days_of(year, month), place(expected), "{year}-{month} LW");
    }
}
