//! Limits of groups: what they are, what they count, and when they close a group. All jobs of a group are
//! in one shard, so nothing is asked of others. As with queues nothing polls: a group is opened by the end of an
//! attempt, or once at its time.
//!
//! It knows counts and times, never jobs.

use alloc::{sync::Arc, vec::Vec};

use super::{
    super::{QueueLimits, Queues},
    Group, Groups, OwnLimits,
    turns::Member,
};
use crate::id::{GroupId, Lsn, QueueId};

impl Groups {
    /// Limits of each group of the queue that has none of its own.
    pub(crate) fn limits_of(&self, queue: QueueId) -> QueueLimits {
        self.of(queue).map_or_else(QueueLimits::default, |of| of.limits)
    }

    /// The event that gave these limits; 0 if none did.
    pub(crate) fn limits_body(&self, queue: QueueId) -> Lsn {
        self.of(queue).map_or(Lsn(0), |of| of.body)
    }

    /// Limits of a group's own.
    pub(crate) fn own_limits(&self, queue: QueueId, name: &str) -> Option<&OwnLimits> {
        self.of(queue)?.own.get(name)
    }

    /// Jobs of a group that may wait at the most, whether it is live or not.
    pub(crate) fn length_of(&self, queue: QueueId, name: &str) -> Option<u32> {
        let own = self.own_limits(queue, name).map(|own| own.limits);
        own.unwrap_or_else(|| self.limits_of(queue)).length
    }

    pub(super) fn weight_of(&self, queue: QueueId, member: Member) -> u8 {
        match member.group() {
            Some(group) => self.group(group).limits.weight,
            None => self.limits_of(queue).weight,
        }
    }

    /// A plan has chosen so many jobs of the group.
    pub(super) fn note_planned(&mut self, group: GroupId, plan: u64, taken: u32) {
        let group = self.group_mut(group);
        let earlier = if group.planned.0 == plan { group.planned.1 } else { 0 };
        group.planned = (plan, earlier + taken);
    }

    /// When the next group opens that a rate keeps closed.
    pub(crate) fn next_wake_ns(&self) -> Option<i64> {
        self.asleep.first().map(|(at_ns, _)| *at_ns)
    }
}

impl Queues {
    /// What the limits of a group let be taken beyond what this plan has chosen of it already.
    pub(super) fn group_left(&self, id: GroupId, now_ns: i64) -> usize {
        let group = self.groups.group(id);
        let QueueLimits { concurrency, rate, .. } = group.limits;
        if concurrency.is_none() && rate.is_none() {
            return usize::MAX;
        }
        let places = concurrency.map_or(u32::MAX, |max| max.saturating_sub(group.under_way));
        let allowed = rate.map_or(u32::MAX, |rate| rate.allowed(group.full_at_ns, now_ns));
        let planned = if group.planned.0 == self.plan { group.planned.1 } else { 0 };
        places.min(allowed).saturating_sub(planned) as usize
    }

    /// Gives limits to each group of `queue` that has none of its own, at `now_ns`.
    pub(crate) fn limit_groups(
        &mut self,
        queue: QueueId,
        limits: QueueLimits,
        (body, units): (Lsn, u16),
        now_ns: i64,
    ) {
        let of = self.groups.of_mut(queue);
        of.limits = limits;
        let before = core::mem::replace(&mut of.units, units);
        of.body = body;
        self.body_units = self.body_units - u64::from(before) + u64::from(units);
        let is_meant = |(id, group): (GroupId, &Group)| {
            let is_of = group.queue == queue;
            (is_of && self.groups.own_limits(queue, &group.name).is_none()).then_some(id)
        };
        let groups: Vec<GroupId> = self.groups.live().filter_map(is_meant).collect();
        for id in groups {
            self.set_group_limits(id, limits, now_ns);
        }
    }

    /// Gives one group limits of its own at `now_ns`, or takes them away.
    pub(crate) fn limit_group(
        &mut self,
        queue: QueueId,
        name: &str,
        limits: Option<QueueLimits>,
        (body, units): (Lsn, u16),
        now_ns: i64,
    ) {
        let of = self.groups.of_mut(queue);
        let before = match limits {
            Some(limits) => of.own.insert(Arc::from(name), OwnLimits { limits, body, units }),
            None => of.own.remove(name),
        };
        let of_each = of.limits;
        self.groups.with_limits += usize::from(limits.is_some());
        self.groups.with_limits -= usize::from(before.is_some());
        self.body_units += limits.map_or(0, |_| u64::from(units));
        self.body_units -= before.map_or(0, |own| u64::from(own.units));
        if let Some(id) = self.groups.find(queue, name) {
            self.set_group_limits(id, limits.unwrap_or(of_each), now_ns);
        }
    }

    /// Says when the rate of a group has its whole burst again.
    pub(crate) fn set_group_spent(
        &mut self,
        queue: QueueId,
        name: &str,
        full_at_ns: i64,
        now_ns: i64,
    ) {
        let id = self.intern_group(queue, name);
        self.rest_no_more(id);
        let group = self.groups.group_mut(id);
        if group.limits.rate.is_some() {
            group.full_at_ns = full_at_ns;
        }
        self.sleep_group_if_spent(id, now_ns);
        self.leave_group(id);
    }

    fn rest_no_more(&mut self, id: GroupId) {
        let whole_ns = self.groups.group(id).full_at_ns;
        self.groups.resting.remove(&(whole_ns, id));
    }

    fn set_group_limits(&mut self, id: GroupId, limits: QueueLimits, now_ns: i64) {
        let before = self.groups.group(id).limits;
        if before == limits {
            return;
        }
        self.rest_no_more(id);
        let group = self.groups.group_mut(id);
        // What was spent under another rate stays spent, so that a change gives no second burst.
        group.full_at_ns = match (before.rate, limits.rate) {
            (Some(_), Some(rate)) => group.full_at_ns.min(now_ns.saturating_add(rate.span_ns())),
            _ => i64::MIN,
        };
        group.limits = limits;
        self.sleep_group_if_spent(id, now_ns);
        self.leave_group(id);
    }

    /// An attempt of the group is under way that began before this process, at a time that no rate
    /// counts.
    pub(crate) fn group_attempt_found(&mut self, id: GroupId) {
        self.groups.group_mut(id).under_way += 1;
        self.hold_group(id);
    }

    /// An attempt of the group began at `at_ns`.
    pub(crate) fn group_attempt_began(&mut self, id: GroupId, at_ns: i64) {
        let group = self.groups.group_mut(id);
        group.under_way += 1;
        match group.limits.rate {
            Some(rate) => {
                group.full_at_ns = rate.spend(group.full_at_ns, at_ns);
                self.sleep_group_if_spent(id, at_ns);
            }
            None => self.hold_group(id),
        }
    }

    /// An attempt of the group is no longer under way.
    pub(crate) fn group_attempt_ended(&mut self, id: GroupId) {
        self.groups.group_mut(id).under_way -= 1;
        self.hold_group(id);
    }

    /// Opens the groups whose rates let a job be taken at `now_ns`, and forgets those of which nothing
    /// is left.
    pub(crate) fn wake_groups_due(&mut self, now_ns: i64) {
        while let Some(&(_, id)) = self.groups.asleep.first().filter(|(at_ns, _)| *at_ns <= now_ns)
        {
            self.sleep_group(id, None);
        }
        while let Some(rest) = self.groups.resting.first().copied() {
            if rest.0 > now_ns {
                break;
            }
            self.groups.resting.remove(&rest);
            self.forget_group(rest.1);
        }
    }

    /// The clocks are as they are at `now_ns`, after a start: if the wall clock was set back meanwhile, no
    /// rate waits longer than for its whole burst.
    pub(crate) fn settle_groups(&mut self, now_ns: i64) {
        let all: Vec<GroupId> = self.groups.live().map(|(id, _)| id).collect();
        for id in all {
            if let Some(rate) = self.groups.group(id).limits.rate {
                self.rest_no_more(id);
                let group = self.groups.group_mut(id);
                group.full_at_ns = group.full_at_ns.min(now_ns.saturating_add(rate.span_ns()));
                self.sleep_group_if_spent(id, now_ns);
                self.leave_group(id);
            }
        }
        self.wake_groups_due(now_ns);
    }

    /// Lets the group sleep if its rate lets nothing be taken at `now_ns`, else opens it.
    fn sleep_group_if_spent(&mut self, id: GroupId, now_ns: i64) {
        let group = self.groups.group(id);
        let opens_ns = group.limits.rate.map(|rate| rate.opens_at(group.full_at_ns));
        self.sleep_group(id, opens_ns.filter(|opens_ns| *opens_ns > now_ns));
    }

    /// Keeps the group closed until that time, or opens it if nothing else keeps it closed.
    pub(super) fn sleep_group(&mut self, id: GroupId, until_ns: Option<i64>) {
        let group = self.groups.group_mut(id);
        let before = core::mem::replace(&mut group.asleep_until_ns, until_ns);
        if before != until_ns {
            if let Some(at_ns) = before {
                self.groups.asleep.remove(&(at_ns, id));
            }
            if let Some(at_ns) = until_ns {
                self.groups.asleep.insert((at_ns, id));
            }
        }
        self.hold_group(id);
    }

    /// Closes the group if its limits let nothing be taken, else opens it.
    fn hold_group(&mut self, id: GroupId) {
        let group = self.groups.group_mut(id);
        let is_busy = group.limits.concurrency.is_some_and(|max| group.under_way >= max);
        let is_held = is_busy || group.asleep_until_ns.is_some();
        if core::mem::replace(&mut group.is_held, is_held) == is_held {
            return;
        }
        let (queue, ready, occupied) = (group.queue, group.ready, group.occupied);
        let number = usize::from(queue.0);
        let of_queue = &mut self.queues[number];
        let open = if of_queue.is_open() { ready } else { 0 };
        match is_held {
            true => {
                of_queue.barred += ready;
                self.open_len -= open;
                if of_queue.takeable() == 0 && of_queue.waits {
                    self.idle.push(queue);
                }
            }
            false => {
                of_queue.barred -= ready;
                self.open_len += open;
            }
        }
        for priority in (0..super::LINES).filter(|priority| occupied & 1 << priority != 0) {
            match is_held {
                true => self.unseat(queue, Member::of(id), priority),
                false => self.seat(queue, Member::of(id), priority),
            }
        }
    }
}
