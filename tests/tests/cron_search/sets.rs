//! A rule read into plain sets.
//!
//! It shares nothing with the code under test, and knows only texts that are right. It owns what the
//! words of `docs/cron.md` select; it must not know zones.

use std::collections::BTreeSet;
use std::str::FromStr;

use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::{DAY, MINUTE, instant};

/// What a rule says about skipped and repeated times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Policy {
    /// A skipped time runs at the end of the gap.
    pub(crate) runs_skipped: bool,
    /// A time that is shown twice runs twice.
    pub(crate) runs_twice: bool,
}

/// What each field selects.
pub(crate) struct Sets {
    /// Seconds of a day, in order.
    pub(crate) times: Vec<i64>,
    pub(crate) policy: Policy,
    day: String,
    month: BTreeSet<i64>,
    weekday: String,
    year: BTreeSet<i64>,
    either_day: bool,
}

impl Sets {
    pub(crate) fn read(text: &str) -> Sets {
        let (options, mut words): (Vec<&str>, Vec<&str>) =
            text.split(' ').partition(|word| word.contains('='));
        if words.len() == 5 {
            words.insert(0, "0");
        }
        if words.len() == 6 {
            words.push("*");
        }
        let (minute, hour) = (set(words[1], 0, 59), set(words[2], 0, 23));
        let second = set(words[0], 0, 59);
        let times = (0..DAY / MINUTE)
            .filter(|at| hour.contains(&(at / 60)) && minute.contains(&(at % 60)))
            .flat_map(|at| second.iter().map(move |second| at * MINUTE + second))
            .collect();
        let recurs = spans(words[1], 0, 59) || spans(words[2], 0, 23);
        let option = |yes: &str, no: &str, default| {
            options.contains(&yes) || (default && !options.contains(&no))
        };
        let is_star = |word: &str| word.starts_with('*') || word == "?";
        Sets {
            times,
            policy: Policy {
                runs_skipped: option("skipped=end", "skipped=never", !recurs),
                runs_twice: option("repeated=twice", "repeated=once", recurs),
            },
            day: words[3].into(),
            month: set(words[4], 1, 12),
            weekday: words[5].into(),
            year: set(words[6], 1970, 2100),
            either_day: !is_star(words[3]) && !is_star(words[5]),
        }
    }

    /// The days that match, given and returned as numbers since 1970-01-01.
    pub(crate) fn days(&self, days: std::ops::Range<i64>) -> Vec<i64> {
        days.filter(|day| self.has_day(*day)).collect()
    }

    fn has_day(&self, day: i64) -> bool {
        let date = instant(day * DAY).to_zoned(TimeZone::UTC).date();
        if !self.month.contains(&date.month().into()) || !self.year.contains(&date.year().into()) {
            return false;
        }
        let by_month = self.day.split(',').any(|item| is_day_of_month(item, date));
        let by_week = self.weekday.split(',').any(|item| is_day_of_week(item, date));
        if self.either_day { by_month || by_week } else { by_month && by_week }
    }
}

fn is_day_of_month(item: &str, date: Date) -> bool {
    let len = i64::from(date.days_in_month());
    let day = i64::from(date.day());
    let (item, to_working_day) = item.strip_suffix('W').map_or((item, false), |item| (item, true));
    let Some(wanted) = (match item.strip_prefix("L-") {
        Some(back) => Some(len - number(back)),
        None if item == "L" => Some(len),
        None if to_working_day => Some(number(item)),
        None => None,
    }) else {
        return set(item, 1, 31).contains(&day);
    };
    if !(1..=len).contains(&wanted) {
        return false;
    }
    if !to_working_day {
        return wanted == day;
    }
    let working = |day: &i64| {
        let weekday = date.with().day(*day as i8).build().expect("a day of this month").weekday();
        weekday.to_sunday_zero_offset() % 6 != 0
    };
    (1..=len).filter(working).min_by_key(|other| (other - wanted).abs()) == Some(day)
}

fn is_day_of_week(item: &str, date: Date) -> bool {
    let weekday = i64::from(date.weekday().to_sunday_zero_offset());
    let is = |wanted: &str| number(wanted) % 7 == weekday;
    if let Some((wanted, nth)) = item.split_once('#') {
        return is(wanted) && (i64::from(date.day()) - 1) / 7 + 1 == number(nth);
    }
    if let Some(wanted) = item.strip_suffix('L') {
        return is(wanted) && date.day() + 7 > date.days_in_month();
    }
    set(item, 0, 6).contains(&weekday)
}

/// Whether an item goes from the first value of a field to the last one, with or without a step.
fn spans(word: &str, min: i64, max: i64) -> bool {
    word.split(',').any(|item| {
        let (range, step) = item.split_once('/').unwrap_or((item, ""));
        range == "*"
            || range == format!("{min}-{max}")
            || (range == min.to_string() && !step.is_empty())
    })
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
