//! Days that a month must be known for: `L`, `W` and `#`.
//!
//! Owns what these items select in one month. It must not know the grammar, years or zones.

/// The items of both day fields. Bit n of a mask of weekdays is Sunday plus n days.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Special {
    /// `L` and `L-n`: bit n is the n-th day before the last one of the month.
    pub(super) before_last: u32,
    /// `nW`: bit n is the working day that is nearest to day n of the month.
    pub(super) nearest: u32,
    /// `LW` and `L-nW`: bit n is the working day nearest to the n-th day before the last one.
    pub(super) nearest_before_last: u32,
    /// `d#n`: weekdays that match for the first, second … fifth time in the month.
    pub(super) nth: [u8; 5],
    /// `dL`: weekdays that match for the last time in the month.
    pub(super) last: u8,
}

/// One month, as far as it matters here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Month {
    /// 28 to 31.
    pub(super) len: u32,
    /// The weekday of its first day, 0 for Sunday.
    pub(super) first_weekday: u32,
}

impl Special {
    /// The days that the items of day of month select, bit 1 for the first.
    pub(super) fn month_days(&self, month: Month) -> u32 {
        let mut days = 0;
        for back in bits(self.before_last).filter(|back| *back < month.len) {
            days |= 1 << (month.len - back);
        }
        for day in bits(self.nearest).filter(|day| *day <= month.len) {
            days |= 1 << month.nearest_working_day(day);
        }
        for back in bits(self.nearest_before_last).filter(|back| *back < month.len) {
            days |= 1 << month.nearest_working_day(month.len - back);
        }
        days
    }

    /// The days that the items of day of week select, bit 1 for the first. Days beyond the end of
    /// the month may be among them.
    pub(super) fn week_days(&self, month: Month) -> u32 {
        let mut days = 0_u64;
        for (weekdays, week) in self.nth.into_iter().zip(0..) {
            for weekday in bits(weekdays.into()) {
                // At most 35; bits beyond the last day of any month fall out.
                days |= 1 << (month.first(weekday) + 7 * week);
            }
        }
        for weekday in bits(self.last.into()) {
            let first = month.first(weekday);
            days |= 1 << (first + (month.len - first) / 7 * 7);
        }
        (days & 0xffff_ffff) as u32
    }
}

impl Month {
    /// The first day with this weekday, 1 to 7.
    const fn first(self, weekday: u32) -> u32 {
        (weekday + 7 - self.first_weekday) % 7 + 1
    }

    /// Monday to Friday, in this month: Saturday moves to the day before and Sunday to the day
    /// after, unless that is in another month; then it moves the other way, over the weekend.
    const fn nearest_working_day(self, day: u32) -> u32 {
        match (self.first_weekday + day - 1) % 7 {
            6 if day == 1 => day + 2,
            6 => day - 1,
            0 if day == self.len => day - 2,
            0 => day + 1,
            _ => day,
        }
    }
}

fn bits(mask: u32) -> impl Iterator<Item = u32> {
    (0..u32::BITS).filter(move |bit| mask >> bit & 1 == 1)
}
