//! A rule compiled to bit masks, confirmed by the `cron` crate.
//!
//! Owns the masks and the questions that a search asks them. It must not know zones or the grammar.
//!
//! The `cron` crate is the authority on syntax: every translated text must parse there and select
//! the same values as our own reading, or the rule is refused. It does not know `L`, `W`, `#` and
//! `H`: it sees what `H` has drawn, and the others not at all. Only its parser is used. Its
//! iteration is not, since it can return a time in the past in the hour that a clock repeats.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::ToString;
use core::str::FromStr;

use ::cron::TimeUnitSpec;

use super::YEAR_MIN;
use super::calendar::{Date, days_in_month};
use super::error::{CronError, NeverFault, quote};
use super::field::{Field, Values};
use super::read::{FieldValues, Rule, index_of};
use super::special::{Month, Special};

/// What matches, one bit per value: bit 0 is second, minute and hour 0, and Sunday; bit 1 is the
/// first of the month, and January.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Masks {
    pub(super) seconds: u64,
    pub(super) minutes: u64,
    pub(super) hours: u32,
    pub(super) days: u32,
    pub(super) months: u16,
    pub(super) weekdays: u8,
    pub(super) years: Years,
    pub(super) join: Join,
    /// Days beside those of the two masks; rare, and so on its own.
    pub(super) special: Option<Box<Special>>,
}

/// Which years match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Years {
    /// All of them, up to the end of the search.
    Every,
    /// Those counted from [`YEAR_MIN`].
    Listed(Values),
}

/// How the two day fields combine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Join {
    /// A day matches when one of them matches.
    Or,
    /// A day matches when both match; one that is `*` always does.
    And,
}

impl Masks {
    /// Compiles a rule, after the `cron` crate confirmed it.
    pub(super) fn compile(rule: &Rule) -> Result<Masks, CronError> {
        confirm(rule)?;
        let word = |field| rule.of(field).values.low_word();
        let year = rule.of(Field::Year);
        Ok(Masks {
            seconds: word(Field::Second),
            minutes: word(Field::Minute),
            // The reader lets no value through that a narrower mask would lose.
            hours: word(Field::Hour) as u32,
            days: word(Field::DayOfMonth) as u32,
            months: word(Field::Month) as u16,
            weekdays: word(Field::DayOfWeek) as u8,
            years: if year.is_every { Years::Every } else { Years::Listed(year.values) },
            join: if rule.joins_days_by_or() { Join::Or } else { Join::And },
            special: (rule.special != Special::default()).then(|| Box::new(rule.special)),
        })
    }

    /// The days of a month that match, bit 1 for the first.
    pub(super) fn days_of(&self, year: i32, month: u32) -> u32 {
        let first = Date { year, month, day: 1 }.weekday();
        let len = days_in_month(year, month);
        // Bit 0 becomes the weekday of the first of the month; then the week is repeated.
        let week = u64::from(self.weekdays);
        let week = (week >> first | week << (7 - first)) & 0x7f;
        let weekdays = (week * (1 | 1 << 7 | 1 << 14 | 1 << 21 | 1 << 28)) << 1;
        let mut weekdays = (weekdays & 0xffff_ffff) as u32;
        let mut days = self.days;
        if let Some(special) = &self.special {
            let month = Month { len, first_weekday: first };
            days |= special.month_days(month);
            weekdays |= special.week_days(month);
        }
        let matching = match self.join {
            Join::Or => days | weekdays,
            Join::And => days & weekdays,
        };
        // Bits 1 to the length of the month; a shift by 32 is avoided by shifting down.
        matching & (u32::MAX >> (31 - len)) & !1
    }

    /// Why no day matches, if none does.
    pub(super) fn never_fault(&self) -> NeverFault {
        let months = (1..=12).filter(|month| self.months >> month & 1 == 1);
        let is_short = |days_max: &u32| self.days.trailing_zeros() > *days_max;
        // In a leap year, so that February has all its days.
        match months.map(|month| days_in_month(2000, month)).max().filter(is_short) {
            Some(days_max) if self.special.is_none() => {
                NeverFault::DayTooLate { day: self.days.trailing_zeros(), days_max }
            }
            _ => NeverFault::NoSuchDay,
        }
    }

    /// The first matching year at or after one.
    pub(super) fn year_from(&self, year: i32) -> Option<i32> {
        let year = year.max(YEAR_MIN);
        match &self.years {
            Years::Every => Some(year),
            Years::Listed(values) => {
                let index = values.first_from(year.abs_diff(YEAR_MIN))?;
                Some(YEAR_MIN.saturating_add_unsigned(index))
            }
        }
    }
}

/// Has the `cron` crate parse the translated text and compares what it selects.
fn confirm(rule: &Rule) -> Result<(), CronError> {
    let [second, minute, hour, day, month, weekday, year] =
        rule.fields.each_ref().map(|field| match field.translated.as_str() {
            // It holds nothing but items that the crate does not know.
            "" => "*",
            translated => translated,
        });
    let translated = format!("{second} {minute} {hour} {day} {month} {weekday} {year}");
    let unconfirmed = |detail| CronError::Unconfirmed {
        text: rule.text.clone(),
        translated: quote(&translated),
        detail,
    };
    let parsed = ::cron::Schedule::from_str(&translated)
        .map_err(|error| unconfirmed(quote(&error.to_string())))?;
    let same = [
        agrees(Field::Second, rule, parsed.seconds()),
        agrees(Field::Minute, rule, parsed.minutes()),
        agrees(Field::Hour, rule, parsed.hours()),
        agrees(Field::DayOfMonth, rule, parsed.days_of_month()),
        agrees(Field::Month, rule, parsed.months()),
        agrees(Field::DayOfWeek, rule, parsed.days_of_week()),
        agrees(Field::Year, rule, parsed.years()),
    ];
    match Field::ALL.into_iter().zip(same).find(|(_, same)| !same) {
        None => Ok(()),
        Some((field, _)) => Err(unconfirmed(format!("it selects other values of {field}"))),
    }
}

fn agrees(field: Field, rule: &Rule, parsed: &impl TimeUnitSpec) -> bool {
    let FieldValues { values, translated, .. } = rule.of(field);
    if translated.is_empty() {
        return true;
    }
    let mut theirs = Values::default();
    for ordinal in parsed.iter() {
        // That crate counts the days of the week from 1 for Sunday.
        let value = if field == Field::DayOfWeek { ordinal - 1 } else { ordinal };
        theirs.insert(index_of(field, value));
    }
    theirs == *values
}
