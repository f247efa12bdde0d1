//! Whose turn it is among the groups of a queue at one priority: deficit round robin, where each job
//! costs one. In its turn a group gives as many jobs as its weight says. A group that has nothing, or may
//! give nothing, has no seat and hoards no turn: it comes back at the end. Jobs without a group take
//! turns as one more group.
//!
//! Choosing changes nothing: turns move when attempts begin ([`Queues::use_turn`]), so whatever is done
//! with what was chosen, and however many are asked for at a time, the order is the same.

use alloc::{collections::BTreeMap, vec::Vec};

use super::super::{LINES, Queues};
use crate::{
    id::{GroupId, QueueId, Slot},
    wheel::{Links, next_of},
};

/// Who takes turns: a group, or the jobs that name none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Member(u32);

impl Member {
    const PLAIN: Self = Self(u32::MAX);

    pub(super) fn of(group: GroupId) -> Self {
        Self(group.0)
    }

    pub(super) fn group(self) -> Option<GroupId> {
        (self != Self::PLAIN).then_some(GroupId(self.0))
    }
}

/// Those who have a job of one priority that can be taken, in the order of their turns.
#[derive(Debug)]
pub(super) struct Ring {
    seats: BTreeMap<u64, Member>,
    /// What the first may still give in its turn; 0 before it began.
    credit: u32,
}

impl Ring {
    pub(super) const fn new() -> Self {
        Self { seats: BTreeMap::new(), credit: 0 }
    }

    fn first(&self) -> Option<u64> {
        self.seats.first_key_value().map(|(seat, _)| *seat)
    }
}

/// One member as a plan has come to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Visit {
    member: Member,
    /// The next job of its line.
    next: Option<u32>,
    /// Jobs that were chosen, and how many more its limits let be taken.
    taken: u32,
    left: usize,
    weight: usize,
}

impl Queues {
    /// A first group of `queue` is live: those that stand in the queue's own lines take turns from now on.
    pub(super) fn begin_turns(&mut self, queue: QueueId) {
        let number = usize::from(queue.0);
        self.queues[number].is_grouped = true;
        for priority in 0..LINES {
            if self.lines[number * LINES + priority].first().is_some() {
                self.seat(queue, Member::PLAIN, priority);
            }
        }
    }

    /// No group of `queue` is live any more.
    pub(super) fn end_turns(&mut self, queue: QueueId) {
        self.queues[usize::from(queue.0)].is_grouped = false;
        let of = self.groups.of_mut(queue);
        of.plain = [0; LINES];
        of.rings = [const { Ring::new() }; LINES];
    }

    /// The line without a group is not empty any more.
    pub(in super::super) fn seat_plain(&mut self, queue: QueueId, priority: usize) {
        self.seat(queue, Member::PLAIN, priority);
    }

    /// The line without a group is empty.
    pub(in super::super) fn unseat_plain(&mut self, queue: QueueId, priority: usize) {
        self.unseat(queue, Member::PLAIN, priority);
    }

    /// Gives a member the last seat of a ring, unless it has one.
    pub(super) fn seat(&mut self, queue: QueueId, member: Member, priority: usize) {
        let of = self.groups.of_mut(queue);
        of.last_seat += 1;
        let seat = of.last_seat;
        let place = self.seat_of(queue, member, priority);
        if *place != 0 {
            return;
        }
        *place = seat;
        self.groups.of_mut(queue).rings[priority].seats.insert(seat, member);
        let number = usize::from(queue.0);
        let stands = &mut self.queues[number];
        stands.occupied |= 1 << priority;
        if stands.is_open() {
            self.open[priority].set(number, stands.weight, true);
        }
    }

    /// Takes the seat of a member away, if it has one. The turn that it was in is over.
    pub(super) fn unseat(&mut self, queue: QueueId, member: Member, priority: usize) {
        let seat = core::mem::take(self.seat_of(queue, member, priority));
        if seat == 0 {
            return;
        }
        let ring = &mut self.groups.of_mut(queue).rings[priority];
        if ring.first() == Some(seat) {
            ring.credit = 0;
        }
        ring.seats.remove(&seat);
        if ring.seats.is_empty() {
            let number = usize::from(queue.0);
            let stood = &mut self.queues[number];
            stood.occupied &= !(1 << priority);
            self.open[priority].set(number, stood.weight, false);
        }
    }

    fn seat_of(&mut self, queue: QueueId, member: Member, priority: usize) -> &mut u64 {
        match member.group() {
            Some(group) => &mut self.groups.group_mut(group).seats[priority],
            None => &mut self.groups.of_mut(queue).plain[priority],
        }
    }

    /// An attempt of a job has begun that was the next in turn: of the group, or without one.
    pub(crate) fn use_turn(&mut self, queue: QueueId, group: Option<GroupId>, priority: u8) {
        if !self.queues[usize::from(queue.0)].is_grouped {
            return;
        }
        #[cfg(feature = "planted")]
        if self.groups.planted_greed {
            return;
        }
        let priority = usize::from(priority);
        let member = group.map_or(Member::PLAIN, Member::of);
        let seat = *self.seat_of(queue, member, priority);
        let weight = u32::from(self.groups.weight_of(queue, member));
        let of = self.groups.of_mut(queue);
        let ring = &mut of.rings[priority];
        // Without a seat its turn is over already.
        if seat == 0 || ring.first() != Some(seat) {
            return;
        }
        let credit = if ring.credit == 0 { weight } else { ring.credit.min(weight) };
        ring.credit = credit - 1;
        if ring.credit > 0 {
            return;
        }
        of.last_seat += 1;
        let last = of.last_seat;
        ring.seats.remove(&seat);
        ring.seats.insert(last, member);
        *self.seat_of(queue, member, priority) = last;
    }

    /// Takes jobs of a queue with groups, of one priority and in their turns, until there are `max` in
    /// `slots`; true if more could be taken. They stay in line.
    pub(in super::super) fn take_turns(
        &mut self,
        links: &Links,
        (queue, priority): (QueueId, usize),
        max: usize,
        now_ns: i64,
        slots: &mut Vec<Slot>,
    ) -> bool {
        let mut visits = core::mem::take(&mut self.groups.visits);
        visits.clear();
        let mut is_cut = false;
        if let Some(of) = self.groups.of(queue) {
            let ring = &of.rings[priority];
            for (number, member) in ring.seats.values().enumerate() {
                if slots.len() >= max {
                    is_cut = true;
                    break;
                }
                let mut visit = self.visit_to(queue, *member, priority, now_ns);
                let credit = ring.credit as usize;
                let goes_on = number == 0 && credit > 0;
                let turn = if goes_on { credit.min(visit.weight) } else { visit.weight };
                visit.take(links, turn, max, slots);
                visits.push(visit);
            }
        }
        let (plan, groups) = (self.plan, &mut self.groups);
        let mut note = |visit: &Visit| {
            if let Some(group) = visit.member.group() {
                groups.note_planned(group, plan, visit.taken);
            }
        };
        while slots.len() < max && !visits.is_empty() {
            visits.retain_mut(|visit| {
                visit.take(links, visit.weight, max, slots);
                let has_more = visit.has_more();
                if !has_more {
                    note(visit);
                }
                has_more
            });
        }
        visits.iter().for_each(note);
        is_cut |= visits.iter().any(Visit::has_more);
        self.groups.visits = visits;
        is_cut
    }

    fn visit_to(&self, queue: QueueId, member: Member, priority: usize, now_ns: i64) -> Visit {
        let weight = self.groups.weight_of(queue, member).into();
        let (line, left) = match member.group() {
            Some(group) => {
                let line = self.groups.lines[group.0 as usize * LINES + priority];
                (line, self.group_left(group, now_ns))
            }
            None => (self.lines[usize::from(queue.0) * LINES + priority], usize::MAX),
        };
        Visit { member, next: line.first(), taken: 0, left, weight }
    }
}

impl Visit {
    /// Takes at most `turn` jobs, until there are `max` in `slots`.
    fn take(&mut self, links: &Links, turn: usize, max: usize, slots: &mut Vec<Slot>) {
        let most = turn.min(self.left).min(max.saturating_sub(slots.len()));
        for _ in 0..most {
            let Some(slot) = self.next else { break };
            slots.push(Slot(slot));
            self.taken += 1;
            self.left -= 1;
            self.next = next_of(links, slot);
        }
    }

    fn has_more(&self) -> bool {
        self.next.is_some() && self.left > 0
    }
}
