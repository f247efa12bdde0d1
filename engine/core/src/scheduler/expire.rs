//! Jobs that are not worth running any more: those that have not begun by their time end as expired.
//!
//! A timer ends each of them, wherever it waits, also in a queue that is paused. Where a job would be
//! started its time is looked at once more, because a timer fires at the next tick after it.

use alloc::vec::Vec;

use super::Scheduler;
use crate::{
    event::Event,
    id::Slot,
    journal::Journal,
    limits,
    time::{Now, WallTime, ms_to_ns},
    wheel::tick_at_or_before,
};

/// What became of expired jobs among those that were to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sifted {
    /// None was expired.
    Clean,
    /// They have ended: others may start in their place.
    Ended,
    /// There is no room in the journal to write it, so nothing may start.
    NoRoom,
}

impl Scheduler {
    /// Ends the jobs whose time is over at `now`, within the budget of one step.
    pub(super) fn expire_due(&mut self, now: Now, journal: &mut impl Journal) {
        let mut work = limits::TIMER_WORK_PER_STEP;
        let tick = tick_at_or_before(now.wall.0);
        while let Some(slot) = self.options.pop_due(tick, &mut work) {
            if !self.expire(now, slot, journal) {
                let again = now.wall.0.saturating_add(ms_to_ns(limits::NO_ROOM_RETRY_MS));
                self.options.arm_at(slot, WallTime(again));
            }
        }
    }

    /// Ends those of the jobs in `self.hints` whose time is over; the hints are of no use then.
    pub(super) fn sift_expired(&mut self, now: Now, journal: &mut impl Journal) -> Sifted {
        if self.options.is_empty() {
            return Sifted::Clean;
        }
        let is_over = |slot: &Slot| {
            self.table.get(*slot).may_expire()
                && self.options.expires_at(*slot).is_some_and(|at| at <= now.wall)
        };
        let over: Vec<Slot> = self.hints.iter().copied().filter(is_over).collect();
        if over.is_empty() {
            return Sifted::Clean;
        }
        // They are chosen anew, within what they have leave for.
        for slot in &self.hints {
            self.queues.keep_leave(self.table.get(*slot).queue);
        }
        match over.into_iter().all(|slot| self.expire(now, slot, journal)) {
            true => Sifted::Ended,
            false => Sifted::NoRoom,
        }
    }

    /// Ends the waiting job in `slot` as expired; `false` if there is no room to write it.
    fn expire(&mut self, now: Now, slot: Slot, journal: &mut impl Journal) -> bool {
        let has_room = self.room_for(journal, limits::START_BYTES_MAX).is_ok();
        if has_room {
            let job = self.table.get(slot).id.0;
            self.commit_at(slot, &Event::Expired { job, at: now.wall.0 }, journal);
        }
        has_room
    }
}
