//! The civil calendar: dates, and the first matching time at or after a given one.
//!
//! Owns date arithmetic and the search by masks. It must not know zones or instants: a [`Local`]
//! is what a clock on a wall shows, without saying where.

use super::masks::Masks;
use super::{YEAR_MAX, YEAR_MIN};

const SECONDS_PER_DAY: i64 = 86_400;

/// What a local clock shows, in seconds since it showed 1970-01-01T00:00:00.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Local(pub(super) i64);

/// A day of the Gregorian calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Date {
    pub(super) year: i32,
    /// 1 to 12.
    pub(super) month: u32,
    /// 1 to the length of the month.
    pub(super) day: u32,
}

impl Masks {
    /// The first matching time at or after a given one, or `None` when there is none up to the end
    /// of [`YEAR_MAX`].
    ///
    /// Bounded work: a day is found by walking the matching months of the matching years, at most
    /// twelve times the years between [`YEAR_MIN`] and [`YEAR_MAX`], and in a month by one mask.
    pub(super) fn first_from(&self, from: Local) -> Option<Local> {
        let today = from.date();
        if self.matches_day(today)
            && let Some(second) = self.time_from(from.second_of_day())
        {
            return Some(Local(today.days() * SECONDS_PER_DAY + i64::from(second)));
        }
        let day = self.day_from(Date::of_days(today.days() + 1))?;
        // The reader refuses empty fields, so each mask has a first bit.
        let first = self.hours.trailing_zeros() * 3600
            + self.minutes.trailing_zeros() * 60
            + self.seconds.trailing_zeros();
        Some(Local(day.days() * SECONDS_PER_DAY + i64::from(first)))
    }

    fn matches_day(&self, date: Date) -> bool {
        (YEAR_MIN..=YEAR_MAX).contains(&date.year)
            && self.year_from(date.year) == Some(date.year)
            && self.months >> date.month & 1 == 1
            && self.days_of(date.year, date.month) >> date.day & 1 == 1
    }

    /// The first matching day at or after one.
    fn day_from(&self, date: Date) -> Option<Date> {
        let mut year = self.year_from(date.year)?;
        while year <= YEAR_MAX {
            let same_year = year == date.year;
            let mut months = u32::from(self.months);
            if same_year {
                months &= u32::MAX << date.month;
            }
            while months != 0 {
                let month = months.trailing_zeros();
                let mut days = self.days_of(year, month);
                if same_year && month == date.month {
                    days &= u32::MAX << date.day;
                }
                if days != 0 {
                    return Some(Date { year, month, day: days.trailing_zeros() });
                }
                months &= months - 1;
            }
            year = self.year_from(year + 1)?;
        }
        None
    }

    /// The first matching second of the day at or after one.
    fn time_from(&self, second_of_day: u32) -> Option<u32> {
        let (hour, minute, second) =
            (second_of_day / 3600, second_of_day / 60 % 60, second_of_day % 60);
        let hours = u64::from(self.hours);
        if hours >> hour & 1 == 1 {
            if self.minutes >> minute & 1 == 1
                && let Some(second) = next_bit(self.seconds, second)
            {
                return Some(hour * 3600 + minute * 60 + second);
            }
            if let Some(minute) = next_bit(self.minutes, minute + 1) {
                return Some(hour * 3600 + minute * 60 + self.seconds.trailing_zeros());
            }
        }
        let hour = next_bit(hours, hour + 1)?;
        Some(hour * 3600 + self.minutes.trailing_zeros() * 60 + self.seconds.trailing_zeros())
    }
}

/// The lowest set bit at or above one, which is at most 63.
const fn next_bit(mask: u64, from: u32) -> Option<u32> {
    let bits = mask & (u64::MAX << from);
    if bits == 0 { None } else { Some(bits.trailing_zeros()) }
}

impl Local {
    pub(super) const fn date(self) -> Date {
        Date::of_days(self.0.div_euclid(SECONDS_PER_DAY))
    }

    /// 0 to 86 399.
    pub(super) const fn second_of_day(self) -> u32 {
        self.0.rem_euclid(SECONDS_PER_DAY) as u32
    }
}

impl Date {
    /// The date of a number of days since 1970-01-01. The formulas of this function and of
    /// [`Date::days`] count in eras of 400 years that begin on 1 March, so that the leap day comes
    /// last; see Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
    pub(super) const fn of_days(days: i64) -> Date {
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * day_of_year + 2) / 153;
        let day = (day_of_year - (153 * march_month + 2) / 5 + 1) as u32;
        let month = (if march_month < 10 { march_month + 3 } else { march_month - 9 }) as u32;
        let year = (year_of_era + era * 400) as i32 + if month <= 2 { 1 } else { 0 };
        Date { year, month, day }
    }

    /// Days since 1970-01-01.
    pub(super) const fn days(self) -> i64 {
        let year = self.year as i64 - if self.month <= 2 { 1 } else { 0 };
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let march_month = (self.month as i64 + 9) % 12;
        let day_of_year = (153 * march_month + 2) / 5 + self.day as i64 - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        era * 146_097 + day_of_era - 719_468
    }

    /// 0 for Sunday to 6 for Saturday. The first of January 1970 was a Thursday.
    pub(super) const fn weekday(self) -> u32 {
        (self.days() + 4).rem_euclid(7) as u32
    }
}

pub(super) const fn days_in_month(year: i32, month: u32) -> u32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_day_numbers_agree_over_three_centuries() {
        let mut date = Date { year: 1899, month: 12, day: 31 };
        let first = Date { year: 1900, month: 1, day: 1 };
        for days in first.days()..=84_370 {
            date = if date.day < days_in_month(date.year, date.month) {
                Date { day: date.day + 1, ..date }
            } else if date.month < 12 {
                Date { month: date.month + 1, day: 1, ..date }
            } else {
                Date { year: date.year + 1, month: 1, day: 1 }
            };
            assert_eq!(Date::of_days(days), date);
            assert_eq!(date.days(), days);
        }
        assert_eq!(date, Date { year: 2200, month: 12, day: 31 });
    }

    #[test]
    fn weekdays_are_those_of_known_dates() {
        for (year, month, day, weekday) in
            [(1970, 1, 1, 4), (2000, 2, 29, 2), (2024, 2, 29, 4), (2025, 6, 1, 0), (2100, 3, 1, 1)]
        {
            assert_eq!(Date { year, month, day }.weekday(), weekday, "{year}-{month}-{day}");
        }
    }
}
