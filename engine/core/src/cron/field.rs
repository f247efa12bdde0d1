//! The seven fields: their names, ranges and value names.
//!
//! Owns these tables and the set of values that a field selects. It must not know the grammar.

use core::fmt;

use super::{YEAR_MAX, YEAR_MIN};

/// One field of a cron text, in the order in which a text of seven fields has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Field {
    /// 0 to 59; absent in a text of five fields, where it is 0.
    Second,
    /// 0 to 59.
    Minute,
    /// 0 to 23.
    Hour,
    /// 1 to 31.
    DayOfMonth,
    /// 1 to 12, or names.
    Month,
    /// 0 to 7, where 0 and 7 are Sunday, or names.
    DayOfWeek,
    /// 1970 to 2100; absent in texts of five and six fields, where every year matches.
    Year,
}

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

const WEEKDAYS: [&str; 7] =
    ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];

impl Field {
    pub(super) const ALL: [Field; 7] = [
        Self::Second,
        Self::Minute,
        Self::Hour,
        Self::DayOfMonth,
        Self::Month,
        Self::DayOfWeek,
        Self::Year,
    ];

    /// The smallest number that may be written.
    #[must_use]
    pub const fn min(self) -> u32 {
        match self {
            Self::Second | Self::Minute | Self::Hour | Self::DayOfWeek => 0,
            Self::DayOfMonth | Self::Month => 1,
            Self::Year => YEAR_MIN.unsigned_abs(),
        }
    }

    /// The largest number that may be written. For years this is the last one that the `cron`
    /// crate reads; a rule without a year goes on until [`YEAR_MAX`].
    #[must_use]
    pub const fn max(self) -> u32 {
        match self {
            Self::Second | Self::Minute => 59,
            Self::Hour => 23,
            Self::DayOfMonth => 31,
            Self::Month => 12,
            Self::DayOfWeek => 7,
            Self::Year => 2100,
        }
    }

    /// The largest value once 7 has become 0: Saturday ends the week.
    pub(super) const fn last(self) -> u32 {
        match self {
            Self::DayOfWeek => 6,
            _ => self.max(),
        }
    }

    /// What may be written, for messages.
    #[must_use]
    pub const fn allowed(self) -> &'static str {
        match self {
            Self::Second | Self::Minute => "0-59",
            Self::Hour => "0-23",
            Self::DayOfMonth => "1-31, `?`, `L`, `L-3`, `LW` or `15W`",
            Self::Month => "1-12 or jan-dec",
            Self::DayOfWeek => "0-7 (0 and 7 are Sunday), sun-sat, `?`, `friL` or `fri#2`",
            Self::Year => "1970-2100",
        }
    }

    /// A right way to write this field, for messages.
    #[must_use]
    pub const fn example(self) -> &'static str {
        match self {
            Self::Second => "*/10",
            Self::Minute => "0,30",
            Self::Hour => "9-17",
            Self::DayOfMonth => "1,15",
            Self::Month => "jan-mar",
            Self::DayOfWeek => "mon-fri",
            Self::Year => "2030-2035",
        }
    }

    /// The values from which `H` draws: the whole field, but only days that every month has.
    pub(super) const fn spread(self) -> Option<(u32, u32)> {
        match self {
            Self::DayOfMonth => Some((1, 28)),
            Self::Year => None,
            _ => Some((self.min(), self.last())),
        }
    }

    pub(super) const fn is_day(self) -> bool {
        matches!(self, Self::DayOfMonth | Self::DayOfWeek)
    }

    /// The value of a name: the first three letters or the whole word in any letter case, and the
    /// forms `tues` and `thurs`, which the `cron` crate knows too.
    pub(super) fn value_of(self, name: &str) -> Option<u32> {
        let (names, first): (&[&str], u32) = match self {
            Self::Month => (&MONTHS, 1),
            Self::DayOfWeek => (&WEEKDAYS, 0),
            _ => return None,
        };
        let matches = |full: &&str| {
            name.eq_ignore_ascii_case(full)
                || name.eq_ignore_ascii_case(&full[..3])
                || (name.eq_ignore_ascii_case("tues") && *full == "tuesday")
                || (name.eq_ignore_ascii_case("thurs") && *full == "thursday")
        };
        (first..).zip(names).find(|(_, full)| matches(full)).map(|(value, _)| value)
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Second => "second",
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::DayOfMonth => "day of month",
            Self::Month => "month",
            Self::DayOfWeek => "day of week",
            Self::Year => "year",
        })
    }
}

/// The values that a field selects, one bit each. Years are counted from [`YEAR_MIN`], all others
/// from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Values([u64; 4]);

// The set must hold every year in which a rule can fire.
const _: () = assert!(YEAR_MAX - YEAR_MIN < 256);

impl Values {
    /// Adds a value given as its distance from the field's zero. Larger ones than the set can hold
    /// are a mistake of the caller.
    pub(super) fn insert(&mut self, index: u32) {
        self.0[index as usize / 64] |= 1 << (index % 64);
    }

    /// The first value at or after an index.
    pub(super) fn first_from(&self, index: u32) -> Option<u32> {
        let start = index as usize / 64;
        let mut keep = u64::MAX << (index % 64);
        for (word, base) in self.0.iter().zip((0_u32..).step_by(64)).skip(start) {
            let bits = word & keep;
            if bits != 0 {
                return Some(base + bits.trailing_zeros());
            }
            keep = u64::MAX;
        }
        None
    }

    /// The values in rising order.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        core::iter::successors(self.first_from(0), |last| self.first_from(last + 1))
    }

    /// The values below 64 as one word.
    pub(super) const fn low_word(&self) -> u64 {
        self.0[0]
    }
}
