//! A rule in plain English.
//!
//! Owns the wording. It must not know the text of the rule: it reads the masks, so it tells what a
//! rule does and not how it was written.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::YEAR_MIN;
use super::masks::{Join, Masks, Years};
use super::policy::{Options, Repeated, Skipped};
use super::special::Special;

/// Up to this many times of the day are listed one by one.
const TIMES_LISTED_MAX: u32 = 4;

const MONTHS: [&str; 13] = [
    "",
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

const WEEKDAYS: [&str; 8] =
    ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

pub(super) fn describe(masks: &Masks, options: Options, zone: &str) -> String {
    let (mut text, is_clock_time) = time(masks);
    match days(masks) {
        Some(days) => text = format!("{text} {days}"),
        None if is_clock_time => text.push_str(" every day"),
        None => {}
    }
    let months = u64::from(masks.months);
    if months.count_ones() < 12 {
        text = format!("{text} in {}", list(&bits(months), |month| MONTHS[month as usize].into()));
    }
    if let Years::Listed(years) = &masks.years {
        let years: Vec<u32> = years.iter().map(|index| index + YEAR_MIN.unsigned_abs()).collect();
        text = format!("{text} in {}", list(&years, |year| year.to_string()));
    }
    text = format!("{text}, {zone}");
    match options.skipped {
        Some(Skipped::AtEnd) => text.push_str("; a skipped time runs at the end of the gap"),
        Some(Skipped::Never) => text.push_str("; a skipped time does not run"),
        None => {}
    }
    match options.repeated {
        Some(Repeated::Once) => text.push_str("; a repeated time runs once"),
        Some(Repeated::Twice) => text.push_str("; a repeated time runs twice"),
        None => {}
    }
    text
}

/// When within a day, and whether that is a list of clock times.
fn time(masks: &Masks) -> (String, bool) {
    let hours = u64::from(masks.hours);
    let count = masks.seconds.count_ones() * masks.minutes.count_ones() * hours.count_ones();
    if count <= TIMES_LISTED_MAX {
        let mut times = Vec::new();
        for hour in bits(hours) {
            for minute in bits(masks.minutes) {
                for second in bits(masks.seconds) {
                    times.push(if masks.seconds == 1 {
                        format!("{hour:02}:{minute:02}")
                    } else {
                        format!("{hour:02}:{minute:02}:{second:02}")
                    });
                }
            }
        }
        return (format!("at {}", join(&times)), true);
    }
    let minutes = Part::of(masks.minutes, 60);
    let hours = Part::of(hours, 24);
    let of_minutes = match (Part::of(masks.seconds, 60), &minutes) {
        (Part::Named(seconds), _) if seconds == [0] => match &minutes {
            Part::Every => "every minute".into(),
            Part::Nth(step) => format!("every {step} minutes"),
            Part::Named(minutes) => format!("at {}", named("minute", minutes)),
        },
        (seconds, minutes) => {
            let seconds = match &seconds {
                Part::Every => "every second".into(),
                Part::Nth(step) => format!("every {step} seconds"),
                Part::Named(seconds) => format!("at {}", named("second", seconds)),
            };
            match minutes {
                Part::Every if seconds.starts_with("every") => seconds,
                Part::Every => format!("{seconds} of every minute"),
                Part::Nth(step) => format!("{seconds} of every {} minute", ordinal(*step)),
                Part::Named(minutes) => format!("{seconds} of {}", named("minute", minutes)),
            }
        }
    };
    let of = if matches!(minutes, Part::Named(_)) { "of" } else { "in" };
    let text = match hours {
        Part::Every if of == "in" => of_minutes,
        Part::Every => format!("{of_minutes} of every hour"),
        Part::Nth(step) => format!("{of_minutes} {of} every {} hour", ordinal(step)),
        Part::Named(hours) => format!("{of_minutes} {of} {}", named("hour", &hours)),
    };
    (text, false)
}

/// Which days, if not all of them.
fn days(masks: &Masks) -> Option<String> {
    let days = bits(u64::from(masks.days));
    let every_day = days.len() == 31;
    // The week is told from Monday on, so that a working week is one range.
    let weekdays: Vec<u32> =
        (1..=7).filter(|weekday| masks.weekdays >> (weekday % 7) & 1 == 1).collect();
    let every_weekday = weekdays.len() == 7;
    let of_month = || {
        let mut parts = Vec::new();
        if !days.is_empty() {
            parts.push(named("day", &days) + " of the month");
        }
        parts.extend(masks.special.iter().flat_map(|special| special_month_days(special)));
        join(&parts)
    };
    let of_week = || {
        let mut parts = Vec::new();
        if !weekdays.is_empty() {
            parts.push(list(&weekdays, |weekday| WEEKDAYS[weekday as usize].into()));
        }
        parts.extend(masks.special.iter().flat_map(|special| special_week_days(special)));
        join(&parts)
    };
    match masks.join {
        Join::Or if every_day || every_weekday => None,
        Join::Or => Some(format!("on {} or on {}", of_month(), of_week())),
        Join::And => match (every_day, every_weekday) {
            (true, true) => None,
            (false, true) => Some(format!("on {}", of_month())),
            (true, false) => Some(format!("on {}", of_week())),
            (false, false) => Some(format!("on {} if it is {}", of_month(), of_week())),
        },
    }
}

fn special_month_days(special: &Special) -> Vec<String> {
    let before_last = |back: u32| match back {
        0 => "the last day of the month".to_string(),
        1 => "the day before the last of the month".to_string(),
        _ => format!("the day {back} days before the last of the month"),
    };
    let mut parts: Vec<String> =
        bits(special.before_last.into()).into_iter().map(before_last).collect();
    for day in bits(special.nearest.into()) {
        parts.push(format!("the working day nearest to day {day} of the month"));
    }
    for back in bits(special.nearest_before_last.into()) {
        parts.push(match back {
            0 => "the last working day of the month".to_string(),
            _ => format!("the working day nearest to {}", before_last(back)),
        });
    }
    parts
}

fn special_week_days(special: &Special) -> Vec<String> {
    const NTH: [&str; 5] = ["first", "second", "third", "fourth", "fifth"];
    let mut parts = Vec::new();
    for (which, weekdays) in NTH.iter().zip(special.nth).chain([(&"last", special.last)]) {
        for weekday in bits(weekdays.into()) {
            parts.push(format!("the {which} {} of the month", WEEKDAYS[weekday as usize]));
        }
    }
    parts
}

/// What a field of the clock selects.
enum Part {
    Every,
    /// From 0 in equal steps, also over the end of the field.
    Nth(u32),
    Named(Vec<u32>),
}

impl Part {
    fn of(mask: u64, size: u32) -> Part {
        let values = bits(mask);
        if values.len() == size as usize {
            return Part::Every;
        }
        match values.as_slice() {
            [0, step, ..]
                if size.is_multiple_of(*step)
                    && values.iter().copied().eq((0..size).step_by(*step as usize)) =>
            {
                Part::Nth(*step)
            }
            _ => Part::Named(values),
        }
    }
}

fn bits(mask: u64) -> Vec<u32> {
    (0..u64::BITS).filter(|bit| mask >> bit & 1 == 1).collect()
}

/// "minute 5", "minutes 5 and 20", "minutes 5 to 9".
fn named(unit: &str, values: &[u32]) -> String {
    let plural = if values.len() == 1 { "" } else { "s" };
    format!("{unit}{plural} {}", list(values, |value| value.to_string()))
}

/// Rising values, with three or more neighbours as one range.
fn list(values: &[u32], name: impl Fn(u32) -> String) -> String {
    let mut parts = Vec::new();
    for run in values.chunk_by(|left, right| left + 1 == *right) {
        match run {
            [first, _, .., last] => parts.push(format!("{} to {}", name(*first), name(*last))),
            _ => parts.extend(run.iter().map(|value| name(*value))),
        }
    }
    join(&parts)
}

/// "a", "a and b", "a, b and c".
fn join(parts: &[String]) -> String {
    match parts {
        [] => String::new(),
        [one] => one.clone(),
        [before @ .., last] => format!("{} and {last}", before.join(", ")),
    }
}

fn ordinal(number: u32) -> String {
    // Steps that divide an hour or a day never end in 21, 22 or the like.
    let suffix = match number {
        2 => "nd",
        3 => "rd",
        _ => "th",
    };
    format!("{number}{suffix}")
}
