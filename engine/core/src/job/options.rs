//! What most jobs do without: optional fields, which a side table holds for those jobs that have any. A
//! plain job costs nothing here, and its record stays as small as it is.
//!
//! This file also owns the timers of jobs that expire: a wheel over the table's entries, on the wall
//! clock. It knows slots and options, never records.
//!
//! A new optional field goes into [`JobOptions`] and into [`crate::event::TermOptions`], which writes it;
//! all else carries options as a whole.

use alloc::sync::Arc;

use super::{Needs, Otherwise, Refusal, Tags, Unique, Until, by_slot::BySlot, check_name};
use crate::{
    batch::Membership,
    id::{GroupId, Slot},
    limits,
    pages::{FrozenPages, SharedPages},
    time::{Now, WallTime},
    wheel::{Links, Wheel, tick_at_or_after},
};

/// Optional fields of a job. They never change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobOptions {
    /// When it is not worth running any more. Default never.
    pub expires: Option<Expiry>,
    /// Lets only one job with this key in at a time. Default none.
    pub unique: Option<Unique>,
    /// Jobs that have to end before it is due. Default none.
    pub needs: Needs,
    /// What becomes of it when one of these ends otherwise than it has to.
    pub otherwise: Otherwise,
    /// Its batch, which must be open. Default none.
    pub batch: Option<Membership>,
    /// Its group within its queue: 1 to 255 bytes. Groups of a queue take turns. Default none.
    pub group: Option<Arc<str>>,
    /// Words to find it by: up to 16 of 1 to 64 bytes each. Default none.
    pub tags: Tags,
}

/// When a job that has not begun ends as expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// At this instant of the wall clock, wherever that is set.
    At(WallTime),
    /// This many nanoseconds after it was added.
    After(u64),
}

impl JobOptions {
    /// Whether no field is set: such options are as good as none.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Checks each field against its range.
    pub(crate) fn check(&self) -> Result<(), Refusal> {
        self.needs.check()?;
        self.tags.check()?;
        if let Some(group) = &self.group {
            check_name("group's name", group)?;
        }
        match self.unique {
            Some(Unique { span_ns: Some(0), .. }) => {
                return Err(Refusal::Relation(
                    "a key of uniqueness is held for no time: leave it out",
                ));
            }
            Some(Unique { until: Until::Time, span_ns: None, .. }) => {
                return Err(Refusal::Relation(
                    "a key of uniqueness that is held for a time needs that time",
                ));
            }
            Some(Unique { span_ns: Some(ns), .. }) if ns > limits::DUE_WALL_NS_MAX => {
                return Err(Refusal::DueTooFar);
            }
            _ => {}
        }
        if self.otherwise == Otherwise::Run && self.needs.is_empty() {
            return Err(Refusal::Relation(
                "it says what to do if a need is not met, and has no needs: give it some",
            ));
        }
        match self.expires {
            Some(Expiry::At(WallTime(ns)) | Expiry::After(ns)) if ns > limits::DUE_WALL_NS_MAX => {
                Err(Refusal::DueTooFar)
            }
            Some(Expiry::After(0)) => Err(Refusal::ExpiresFirst),
            _ => Ok(()),
        }
    }

    /// Bytes that they take in an event at the most.
    pub(crate) fn bytes_max(&self) -> usize {
        let group_bytes = self.group.as_ref().map_or(0, |group| group.len());
        100 + self.needs.bytes().len() + group_bytes + self.tags.bytes().len()
    }

    /// Whether a group is all that there is.
    pub(crate) fn is_group_alone(&self) -> bool {
        self.group.is_some() && self.tags.is_empty() && self.is_lasting()
    }

    /// Whether all of it outlives the job's death.
    pub(crate) fn is_lasting(&self) -> bool {
        self.expires.is_none() && !self.relates()
    }

    /// What of it outlives the job's death: its group, and with it its shard, and its tags.
    pub(crate) fn lasting(&self) -> Option<Self> {
        let lasting =
            Self { group: self.group.clone(), tags: self.tags.clone(), ..Self::default() };
        (!lasting.is_default()).then_some(lasting)
    }

    /// Whether it has to do with other jobs.
    pub(crate) fn relates(&self) -> bool {
        self.unique.is_some() || !self.needs.is_empty() || self.batch.is_some()
    }

    /// Checks those of a schedule's jobs.
    pub(crate) fn check_of_schedule(&self) -> Result<(), Refusal> {
        if self.relates() {
            return Err(Refusal::Schedule(
                "its jobs cannot be unique, wait for others or belong to a batch: see its overlap",
            ));
        }
        match self.expires {
            Some(Expiry::At(_)) => Err(Refusal::Schedule(
                "all its jobs would expire at the same instant: give them a span, or the schedule \
                 an end",
            )),
            _ => Ok(()),
        }
    }

    /// When a job that is added at `now` expires.
    pub(crate) fn expires_at(&self, now: Now) -> Option<WallTime> {
        self.expires.map(|expiry| match expiry {
            Expiry::At(at) => at,
            Expiry::After(span_ns) => {
                WallTime(now.wall.0.saturating_add(span_ns).min(limits::DUE_WALL_NS_MAX))
            }
        })
    }
}

/// No group.
const NO_GROUP: u32 = u32::MAX;
/// End of the chain of free entries.
const NO_FREE: u32 = u32::MAX;

/// One job's options.
#[derive(Clone, Debug, Default)]
pub(crate) struct OptionsEntry {
    /// The job; of a free entry the next free one.
    pub(crate) slot: Slot,
    /// The job's group while it has not ended, else [`NO_GROUP`].
    group: u32,
    /// `None` for a free entry.
    pub(crate) options: Option<Arc<JobOptions>>,
}

/// The options of all jobs of a shard that have any, and the timers of those that expire.
#[derive(Debug)]
pub(crate) struct OptionsTable {
    entries: SharedPages<OptionsEntry>,
    by_slot: BySlot,
    /// First free entry below `used`; the chain goes on in the entries' slots.
    free: u32,
    used: u32,
    /// Entries of jobs that expire unless they begin, by the wall clock.
    expiries: Wheel,
    links: Links,
}

impl OptionsTable {
    /// An empty table at the tick `wall_tick` of the wall clock.
    pub(crate) fn new(wall_tick: u64) -> Self {
        Self {
            entries: SharedPages::new(),
            by_slot: BySlot::new(),
            free: NO_FREE,
            used: 0,
            expiries: Wheel::new(wall_tick),
            links: Links::new(),
        }
    }

    /// Jobs with options.
    pub(crate) fn len(&self) -> u32 {
        self.by_slot.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The options of the job in `slot`.
    pub(crate) fn of(&self, slot: Slot) -> Option<&Arc<JobOptions>> {
        self.entries[self.by_slot.get(slot)?].options.as_ref()
    }

    /// When the job in `slot` expires if it has not begun.
    pub(crate) fn expires_at(&self, slot: Slot) -> Option<WallTime> {
        match self.of(slot)?.expires {
            Some(Expiry::At(at)) => Some(at),
            // What is written of a job is an instant.
            Some(Expiry::After(_)) | None => None,
        }
    }

    /// Gives options to the job in `slot`, which has none.
    pub(crate) fn insert(&mut self, slot: Slot, options: Arc<JobOptions>) {
        let entry = match self.free {
            NO_FREE => {
                let entry = self.used;
                self.entries.grow_to(entry);
                self.links.grow_to(entry);
                self.used += 1;
                entry
            }
            entry => {
                self.free = self.entries[entry].slot.0;
                entry
            }
        };
        self.entries[entry] = OptionsEntry { slot, group: NO_GROUP, options: Some(options) };
        self.by_slot.insert(slot, entry);
    }

    /// Puts other options in the place of those of the job in `slot`, which has some; its timer goes on.
    pub(crate) fn set(&mut self, slot: Slot, options: Arc<JobOptions>) {
        if let Some(entry) = self.by_slot.get(slot) {
            self.entries[entry].options = Some(options);
        }
    }

    /// The group of the job in `slot`, if it has not ended and has one.
    pub(crate) fn group_of(&self, slot: Slot) -> Option<GroupId> {
        let group = self.entries[self.by_slot.get(slot)?].group;
        (group != NO_GROUP).then_some(GroupId(group))
    }

    /// Notes the group of the job in `slot`, which has options.
    pub(crate) fn set_group(&mut self, slot: Slot, group: Option<GroupId>) {
        if let Some(entry) = self.by_slot.get(slot) {
            self.entries[entry].group = group.map_or(NO_GROUP, |group| group.0);
        }
    }

    /// Takes the options of the job in `slot` away, with its timer.
    pub(crate) fn remove(&mut self, slot: Slot) {
        self.disarm(slot);
        let Some(entry) = self.by_slot.remove(slot) else { return };
        self.entries[entry] =
            OptionsEntry { slot: Slot(self.free), group: NO_GROUP, options: None };
        self.free = entry;
    }

    /// Lets the job in `slot` expire at its time, if it has one.
    pub(crate) fn arm(&mut self, slot: Slot) {
        if let Some(at) = self.expires_at(slot) {
            self.arm_at(slot, at);
        }
    }

    /// Lets the timer of the job in `slot` fire at `at`.
    pub(crate) fn arm_at(&mut self, slot: Slot, at: WallTime) {
        self.disarm(slot);
        if let Some(entry) = self.by_slot.get(slot) {
            self.expiries.insert(&mut self.links, entry, tick_at_or_after(at.0));
        }
    }

    /// The job in `slot` does not expire for now.
    pub(crate) fn disarm(&mut self, slot: Slot) {
        if let Some(entry) = self.by_slot.get(slot)
            && self.links.is_linked(entry)
        {
            self.expiries.remove(&mut self.links, entry);
        }
    }

    /// Takes out a job whose timer is due at the tick `wall_tick`.
    pub(crate) fn pop_due(&mut self, wall_tick: u64, work: &mut u32) -> Option<Slot> {
        let entry = self.expiries.pop_due(&mut self.links, wall_tick, work)?;
        Some(self.entries[entry].slot)
    }

    /// The tick of the wall clock at which the next timer fires.
    pub(crate) fn next_tick(&self) -> Option<u64> {
        self.expiries.next_tick()
    }

    /// The wall clock was set.
    pub(crate) fn relay(&mut self, wall_tick: u64) {
        self.expiries.relay(&mut self.links, wall_tick);
    }

    /// Whether the timer of the job in `slot` runs.
    pub(crate) fn is_armed(&self, slot: Slot) -> bool {
        self.by_slot.get(slot).is_some_and(|entry| self.links.is_linked(entry))
    }

    /// Timers that run.
    pub(crate) fn armed(&self) -> u32 {
        self.expiries.len()
    }

    /// A copy of all entries as they are now, which shares their pages until these change.
    pub(crate) fn freeze(&mut self) -> FrozenPages<OptionsEntry> {
        self.entries.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wheel::TICK_NS;
    use alloc::{collections::BTreeMap, vec::Vec};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn options_and_timers_follow_a_plain_map(
            steps in prop::collection::vec((0..4_u8, 0..40_u32, 1..500_u64), 1..300),
        ) {
            let mut table = OptionsTable::new(0);
            let mut model: BTreeMap<Slot, (u64, bool)> = BTreeMap::new();
            let mut tick = 0;
            for (what, slot, value) in steps {
                let slot = Slot(slot);
                match what {
                    0 if !model.contains_key(&slot) => {
                        let at = tick + value;
                        let expires = Some(Expiry::At(WallTime(at * TICK_NS)));
                        table.insert(slot, Arc::new(JobOptions { expires, ..JobOptions::default() }));
                        table.arm(slot);
                        model.insert(slot, (at, true));
                    }
                    1 => {
                        table.remove(slot);
                        model.remove(&slot);
                    }
                    2 => {
                        table.disarm(slot);
                        if let Some((_, is_armed)) = model.get_mut(&slot) {
                            *is_armed = false;
                        }
                    }
                    _ => {
                        tick += value / 20;
                        let mut fired = Vec::new();
                        let mut work = 10_000;
                        while let Some(slot) = table.pop_due(tick, &mut work) {
                            fired.push(slot);
                        }
                        fired.sort_unstable();
                        let due = |(_, (at, is_armed)): &(&Slot, &mut (u64, bool))| *is_armed && *at <= tick;
                        let mut expected = Vec::new();
                        for (slot, (_, is_armed)) in model.iter_mut().filter(due) {
                            *is_armed = false;
                            expected.push(*slot);
                        }
                        prop_assert_eq!(fired, expected);
                    }
                }
                prop_assert_eq!(table.len() as usize, model.len());
                let armed = model.values().filter(|(_, is_armed)| *is_armed).count();
                prop_assert_eq!(table.armed() as usize, armed);
            }
            for (slot, (at, is_armed)) in &model {
                prop_assert_eq!(table.expires_at(*slot), Some(WallTime(at * TICK_NS)));
                prop_assert_eq!(table.is_armed(*slot), *is_armed);
            }
            let held = table.freeze().pages().flatten().filter(|entry| entry.options.is_some()).count();
            prop_assert_eq!(held, model.len());
        }
    }
}
