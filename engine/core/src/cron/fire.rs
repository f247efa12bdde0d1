//! The next fire time: masks on the civil calendar, mapped to an instant by the zone.
//!
//! Owns the policy for hours that a clock skips or repeats. It must not know the grammar. Instants
//! are whole seconds since the Unix epoch here; only the boundary speaks nanoseconds.
//!
//! Both searches rest on one fact: apart from the two halves of a repeated stretch, a later instant
//! shows a later time. So the first matching time at or after the shown one gives the answer, unless
//! the search begins inside such a stretch or at the end of a skipped one; those cases come first.

use super::Pace;
use super::calendar::Local;
use super::masks::Masks;
use super::zone::{Place, Zone};

const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// The first fire time strictly after an instant, both in nanoseconds since the Unix epoch.
pub(super) fn next_after(masks: &Masks, zone: &Zone, pace: Pace, after_ns: i64) -> Option<i64> {
    // The first whole second that is strictly after, also for instants before 1970.
    let from = after_ns.div_euclid(NANOS_PER_SECOND) + 1;
    let search = Search { masks, zone };
    let instant = match pace {
        _ if zone.is_utc() => masks.first_from(Local(from))?.0,
        Pace::Fixed => search.fixed(from)?,
        Pace::Recurring => search.recurring(from)?,
    };
    instant.checked_mul(NANOS_PER_SECOND)
}

struct Search<'a> {
    masks: &'a Masks,
    zone: &'a Zone,
}

impl Search<'_> {
    /// Each matching time runs once: a skipped one at the first instant after the gap, a repeated
    /// one at its first showing. Several that fall into one gap run once together.
    fn fixed(&self, from: i64) -> Option<i64> {
        let mut local = self.fixed_start(from);
        loop {
            let candidate = self.masks.first_from(local)?;
            let instant = match self.zone.place(candidate) {
                Place::Once(instant) => instant,
                Place::Twice { first, .. } => first,
                Place::Never { change, .. } => change,
            };
            if instant >= from {
                return Some(instant);
            }
            local = candidate.plus(1);
        }
    }

    /// The first time whose run is not before an instant.
    fn fixed_start(&self, from: i64) -> Local {
        let shown = self.zone.local(from);
        let expected = self.zone.local(from - 1).plus(1);
        if expected < shown {
            // The clock jumps right here: what it jumps over runs now.
            return expected;
        }
        match self.zone.place(shown) {
            // On the second showing all times until the end of the stretch have run.
            Place::Twice { first, second, change } if second == from => shown.plus(change - first),
            _ => shown,
        }
    }

    /// Every instant at which the clock shows a matching time.
    fn recurring(&self, from: i64) -> Option<i64> {
        let mut from = from;
        let mut local = self.zone.local(from);
        if let Place::Twice { first, change, .. } = self.zone.place(local)
            && first == from
        {
            // On the first showing the clock is about to go back, so earlier times follow too.
            if let Some(candidate) = self.masks.first_from(local) {
                let instant = from + (candidate.0 - local.0);
                if instant < change {
                    return Some(instant);
                }
            }
            from = change;
            local = self.zone.local(change);
        }
        loop {
            let candidate = self.masks.first_from(local)?;
            local = match self.zone.place(candidate) {
                Place::Once(instant) if instant >= from => return Some(instant),
                Place::Twice { first, .. } if first >= from => return Some(first),
                Place::Twice { second, .. } if second >= from => return Some(second),
                Place::Never { resumes, .. } => resumes,
                Place::Once(_) | Place::Twice { .. } => candidate.plus(1),
            };
        }
    }
}
