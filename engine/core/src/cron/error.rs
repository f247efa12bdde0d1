//! What can be wrong with a cron text or a zone name, and how it is told.
//!
//! Owns the wording. It must not know how a text is read. Every message says what to write
//! instead, because the reader is a person in front of a configuration file.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use super::field::Field;

/// Why a cron text or a zone name was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CronError {
    /// The text is empty or blank.
    #[error(
        "the cron text is empty; write 5 fields (minute hour day-of-month month day-of-week), \
         for example `30 2 * * mon-fri`"
    )]
    Empty,

    /// The text is longer than any useful rule.
    #[error(
        "the cron text is {len_bytes} bytes long, the limit is {len_bytes_max}; use ranges and \
         steps instead of long lists, for example `0-59/5`"
    )]
    TooLong {
        /// The length given.
        len_bytes: usize,
        /// The longest text that is read.
        len_bytes_max: usize,
    },

    /// The text has too few or too many fields.
    #[error(
        "`{text}` has {count} fields; write 5 (minute hour day-of-month month day-of-week), \
         6 (second first) or 7 (second first, year last), for example `30 2 * * mon-fri`"
    )]
    FieldCount {
        /// The text, shortened if long.
        text: String,
        /// How many fields it has.
        count: usize,
    },

    /// A crontab line needs exactly five fields.
    #[error(
        "`{text}` has {count} fields; a crontab line has exactly 5 \
         (minute hour day-of-month month day-of-week, no seconds and no year), \
         for example `30 2 * * mon-fri`"
    )]
    CrontabFieldCount {
        /// The text, shortened if long.
        text: String,
        /// How many fields it has.
        count: usize,
    },

    /// A word that begins with `@` is not a nickname, or something follows one.
    #[error(
        "`{text}` is not a nickname; allowed, alone on their line: @yearly, @annually, @monthly, \
         @weekly, @daily, @midnight, @hourly; for example `@daily`"
    )]
    UnknownNickname {
        /// The text, shortened if long.
        text: String,
    },

    /// `@reboot` names an event, not a time.
    #[error(
        "`@reboot` names the start of the machine, not a time of the calendar, so it has no next \
         fire time; run the command at start-up, or write a time, for example `@daily`"
    )]
    Reboot,

    /// `@every` is an interval, not a calendar.
    #[error(
        "`{text}` is an interval, not a calendar; use a schedule of the interval kind, or the \
         nearest calendar rule, for example `*/5 * * * *`"
    )]
    Every {
        /// The text, shortened if long.
        text: String,
    },

    /// The zone was written into the text.
    #[error(
        "`{text}` sets the time zone inside the cron text; give the zone on its own, \
         for example zone `Europe/Berlin` with the text `30 2 * * mon-fri`"
    )]
    ZoneInText {
        /// The word that sets the zone.
        text: String,
    },

    /// A word with `=` behind the fields is no option, or the second one of its kind.
    #[error(
        "`{text}` is not an option, or is given twice; allowed behind the fields: `skipped=end` or \
         `skipped=never`, and `repeated=once` or `repeated=twice`; for example \
         `30 2 * * * skipped=never`"
    )]
    Option {
        /// The word.
        text: String,
    },

    /// No day matches in any year.
    #[error(
        "`{text}` never fires: {fault}; for example `0 0 L * *` for the last day of each month"
    )]
    NeverFires {
        /// The text, shortened if long.
        text: String,
        /// Why.
        fault: NeverFault,
    },

    /// One item of one field is wrong.
    #[error(
        "{field}: `{text}` {fault}; allowed: {}; for example `{}`",
        field.allowed(),
        field.example()
    )]
    Field {
        /// The field in which it stands.
        field: Field,
        /// The item, shortened if long.
        text: String,
        /// What is wrong with it.
        fault: FieldFault,
    },

    /// The zone is not in the database.
    #[error(
        "unknown time zone `{name}`{}; write an IANA name or `UTC`, for example `Europe/Berlin`",
        Near(near)
    )]
    UnknownZone {
        /// The name given, shortened if long.
        name: String,
        /// Known names close to it, best first; may be empty.
        near: Vec<&'static str>,
    },

    /// The `cron` crate refuses or reads differently what this module accepted.
    #[error(
        "`{text}` was understood, but its translation `{translated}` was not confirmed by the \
         parser that checks it ({detail}); this is a defect of Tickwheel: please report it, and \
         write the rule in a simpler way meanwhile, for example `30 2 * * 1,2,3,4,5`"
    )]
    Unconfirmed {
        /// The text, shortened if long.
        text: String,
        /// What was handed to the `cron` crate, shortened if long.
        translated: String,
        /// Its answer.
        detail: String,
    },
}

/// Why no day matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NeverFault {
    /// The months are too short for the days.
    DayTooLate {
        /// The first of the days.
        day: u32,
        /// The length of the longest of the months.
        days_max: u32,
    },
    /// The day exists in other years or months than those selected.
    NoSuchDay,
}

impl fmt::Display for NeverFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DayTooLate { day, days_max } => write!(
                f,
                "it selects day {day} of the month, and no month that it selects has more than \
                 {days_max} days; choose another day or month"
            ),
            Self::NoSuchDay => f.write_str(
                "no month that it selects has such a day in any year that it selects; choose other \
                 years, months or days",
            ),
        }
    }
}

/// What is wrong with one item of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FieldFault {
    /// Nothing stands before, between or after commas.
    Empty,
    /// Neither a number nor a name of this field.
    NotAValue,
    /// A number below or above what the field allows.
    OutOfRange,
    /// A range that runs backwards in a field that does not wrap.
    Backwards {
        /// The same range as two that run forwards.
        instead: String,
    },
    /// A step of zero.
    StepZero,
    /// A step larger than the field.
    StepTooLarge {
        /// The largest step that the field takes.
        step_max: u32,
    },
    /// A `?` in a field other than the two day fields, or beside something else.
    Question,
    /// A sign of another dialect.
    OtherDialect {
        /// That sign.
        sign: char,
    },
    /// `L`, `W` or `#` in a field, or in a way, in which it means nothing.
    Special {
        /// Which of them.
        sign: char,
    },
    /// An `H`, but no name to draw its value from.
    NeedsName,
    /// An `H` as year.
    SpreadYear,
    /// Signs in an order that means nothing.
    Form,
}

impl fmt::Display for FieldFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("has an empty item: a comma too many or a value missing"),
            Self::NotAValue => f.write_str("is neither a number nor a name of this field"),
            Self::OutOfRange => f.write_str("is out of range"),
            Self::Backwards { instead } => write!(
                f,
                "runs backwards, and only days of the week wrap around: write `{instead}`"
            ),
            Self::StepZero => f.write_str("has a step of 0, which would never advance"),
            Self::StepTooLarge { step_max } => {
                write!(f, "has a step larger than the field; the largest is {step_max}")
            }
            Self::Question => f.write_str(
                "misplaces `?`: it stands alone, and only in day of month or day of week",
            ),
            Self::OtherDialect { sign } => {
                write!(f, "uses `{sign}`, which belongs to another cron dialect")
            }
            Self::Special { sign } => write!(
                f,
                "misplaces `{sign}`: as day of month there are `L` (the last), `L-3` (three days \
                 before it), `LW` (the last working day) and `15W` (the working day nearest to the \
                 15th), as day of week `friL` (the last Friday) and `fri#2` (the second one)"
            ),
            Self::NeedsName => f.write_str(
                "draws its value from a schedule's name, and there is none here: use it in a named \
                 schedule, or write a value",
            ),
            Self::SpreadYear => f.write_str("would draw a year: write the years"),
            Self::Form => f.write_str(
                "is none of: value, first-last, `*`, and a step after these as in `*/5`",
            ),
        }
    }
}

/// Offending text for a message: control characters made visible, long text cut.
pub(super) fn quote(text: &str) -> String {
    const CHARS_MAX: usize = 60;
    let mut quoted: String = text.chars().take(CHARS_MAX).flat_map(char::escape_debug).collect();
    if text.chars().nth(CHARS_MAX).is_some() {
        quoted.push('…');
    }
    quoted
}

struct Near<'a>(&'a [&'static str]);

impl fmt::Display for Near<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((last, before)) = self.0.split_last() else {
            return Ok(());
        };
        f.write_str(" (did you mean ")?;
        for (index, name) in before.iter().enumerate() {
            write!(f, "{}`{name}`", if index == 0 { "" } else { ", " })?;
        }
        write!(f, "{}`{last}`?)", if before.is_empty() { "" } else { " or " })
    }
}
