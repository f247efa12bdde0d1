//! Groups: the commands about their limits, what is asked before a job of one is added, and what events
//! change about them. The lines, turns and counts are `queue/groups`'s.

use alloc::{sync::Arc, vec::Vec};

use super::{
    ReplayError, Scheduler,
    decide::{Answered, refused},
    io::Answer,
    keep::Cleaned,
};
use crate::{
    event::{DecodeEventError, Event, TermOptions},
    id::{GroupId, Lsn, QueueId, Slot},
    job::{JobOptions, JobState, NewJob, Refusal, check_name, table::Body},
    journal::Journal,
    limits,
    queue::{GroupsView, QueueLimits},
    time::{Now, WallTime},
};

impl Scheduler {
    /// The live groups of a queue, at most `max` and [`limits::GROUPS_LISTED_MAX`] of them: those with the
    /// most jobs. None if no job has named the queue.
    #[must_use]
    pub fn groups(&self, queue: &str, max: usize) -> GroupsView {
        let queue = self.queues.find(queue);
        queue.map_or_else(GroupsView::default, |queue| self.queues.groups.view(queue, max))
    }

    /// The group of the job in `slot`, which has not ended.
    #[inline]
    pub(super) fn group_at(&self, slot: Slot) -> Option<GroupId> {
        if self.table.get(slot).has_options() { self.options.group_of(slot) } else { None }
    }

    /// The name of a job's group, also of a dead one's.
    pub(super) fn group_name_at(&self, slot: Slot) -> Option<Arc<str>> {
        self.options_at(slot)?.group.clone()
    }

    /// The options of a job, also of a dead one.
    pub(super) fn options_at(&self, slot: Slot) -> Option<&Arc<JobOptions>> {
        if self.table.get(slot).has_options() { self.options.of(slot) } else { None }
    }

    /// Takes a ready job out of the line that it stands in.
    pub(super) fn leave_line(&mut self, slot: Slot) {
        let record = self.table.get(slot);
        let (queue, has_options) = (record.queue, record.has_options());
        self.leave_line_of(slot, queue, has_options);
    }

    /// The same of a job of `queue`.
    #[inline]
    pub(super) fn leave_line_of(&mut self, slot: Slot, queue: QueueId, has_options: bool) {
        if self.queues.agings.is_any_lifted() {
            self.queues.agings.leave(slot);
        }
        let group = if has_options { self.options.group_of(slot) } else { None };
        match group {
            None => self.queues.remove(&mut self.links, slot, queue),
            Some(group) => self.queues.remove_grouped(&mut self.links, slot, group),
        }
    }

    /// What is held of the options of a job of `queue` that is taken in.
    pub(super) fn options_held(
        &mut self,
        queue: QueueId,
        options: TermOptions<'_>,
    ) -> Arc<JobOptions> {
        match options.group.filter(|_| options.is_group_alone()) {
            Some(group) => {
                let group = self.queues.intern_group(queue, group);
                self.queues.groups.options_of(group)
            }
            None => options.held(),
        }
    }

    /// The job in `slot`, which has options and stands in no line, is one of its group in `queue` from
    /// now on.
    pub(super) fn join_group(&mut self, slot: Slot, queue: QueueId) {
        let Some(name) = self.group_name_at(slot) else { return };
        let group = self.queues.intern_group(queue, &name);
        self.queues.group_job_added(group);
        self.options.set_group(slot, Some(group));
    }

    /// The same of a job of a snapshot; `None` if it has no group, or is dead.
    pub(super) fn restore_group(&mut self, slot: Slot, group: Option<GroupId>) {
        let Some(group) = group else { return };
        self.queues.group_job_added(group);
        self.options.set_group(slot, Some(group));
        if self.table.get(slot).state == JobState::Running {
            self.queues.group_attempt_found(group);
        }
    }

    /// The job in `slot` has ended, or is dead from now on.
    pub(super) fn leave_group(&mut self, slot: Slot) {
        if let Some(group) = self.options.group_of(slot) {
            self.options.set_group(slot, None);
            self.queues.group_job_ended(group);
        }
    }

    /// The dead job in `slot` keeps these options.
    pub(super) fn keep_options(&mut self, slot: Slot, options: JobOptions) {
        self.options.insert(slot, options.into());
        let record = self.table.get_mut(slot);
        record.attempts_max = record.attempts_max.with_options(true);
    }

    /// The turns that the jobs in `self.hints` use when they begin; none if there are no groups.
    pub(super) fn turns_of_hinted(&self) -> Vec<Turn> {
        if !self.queues.groups.is_any() {
            return Vec::new();
        }
        let turn = |slot: &Slot| {
            let record = self.table.get(*slot);
            let line = self.queues.agings.line_of(*slot, record.priority());
            Turn { queue: record.queue, group: self.group_at(*slot), line }
        };
        self.hints.iter().map(turn).collect()
    }

    /// Whether the group that a job names, if it does, takes one more beside `more` that are about to come.
    pub(super) fn group_of_job_takes(&self, job: &NewJob<'_>, more: u32) -> Result<(), Refusal> {
        let Some(group) = job.group() else { return Ok(()) };
        match self.queues.find(&job.queue) {
            Some(queue) => self.group_takes(queue, group, more),
            None if self.queues.groups.is_full() => Err(Refusal::TooManyGroups),
            None => Ok(()),
        }
    }

    /// Whether a group takes one more job beside `more` that are about to come.
    pub(super) fn group_takes(&self, queue: QueueId, name: &str, more: u32) -> Result<(), Refusal> {
        let groups = &self.queues.groups;
        if !groups.has_room_for(queue, name) {
            return Err(Refusal::TooManyGroups);
        }
        let Some(max) = groups.length_of(queue, name) else { return Ok(()) };
        let waiting = groups.find(queue, name).map_or(0, |group| groups.waiting(group));
        if waiting + more < max {
            return Ok(());
        }
        Err(Refusal::GroupFull { queue: self.queues.name(queue).into(), group: name.into(), max })
    }

    /// Gives limits to each group of a queue that has none of its own.
    pub(super) fn limit_groups(
        &mut self,
        now: Now,
        name: &str,
        limits: QueueLimits,
        journal: &mut impl Journal,
    ) -> Answered {
        if let Err(refusal) = self.may_limit_groups(name, &limits, journal) {
            return refused(refusal);
        }
        let queue = self.queues.find(name);
        let present = queue.map(|queue| self.queues.groups.limits_of(queue));
        if present.unwrap_or_default() == limits {
            return (Answer::QueueSet(false), Lsn(0));
        }
        let event = Event::GroupsLimits { at: now.wall.0, name, limits };
        let position = self.commit(&event, &[], journal).position;
        (Answer::QueueSet(true), position.end)
    }

    /// Gives a group limits of its own, or takes them away.
    pub(super) fn limit_group(
        &mut self,
        now: Now,
        (name, group): (&str, &str),
        limits: Option<QueueLimits>,
        journal: &mut impl Journal,
    ) -> Answered {
        let may = self.may_limit_groups(name, &limits.unwrap_or_default(), journal);
        if let Err(refusal) = may.and_then(|()| check_name("group's name", group)) {
            return refused(refusal);
        }
        let queue = self.queues.find(name);
        let present = queue.and_then(|queue| self.queues.groups.own_limits(queue, group));
        if present.map(|own| own.limits) == limits {
            return (Answer::QueueSet(false), Lsn(0));
        }
        if limits.is_some() && !self.queues.groups.has_room_for_limits(queue, group) {
            return refused(Refusal::TooManyGroupLimits);
        }
        let event = Event::GroupLimits { at: now.wall.0, name, group, limits };
        let position = self.commit(&event, &[], journal).position;
        (Answer::QueueSet(true), position.end)
    }

    fn may_limit_groups(
        &self,
        name: &str,
        limits: &QueueLimits,
        journal: &impl Journal,
    ) -> Result<(), Refusal> {
        check_name("queue's name", name)?;
        limits.check()?;
        if !self.queues.has_room_for(name) {
            return Err(Refusal::TooManyQueues);
        }
        self.room_for(journal, journal.record_bytes(limits::GROUP_EVENT_BYTES_MAX as usize))
    }

    /// Applies an event about groups.
    pub(super) fn apply_of_group(
        &mut self,
        event: &Event<'_>,
        body: Body,
    ) -> Result<(), ReplayError> {
        let checked = |limits: &QueueLimits| {
            limits.check().map_err(|_| DecodeEventError("a group's limits break a limit"))
        };
        match event {
            Event::GroupsLimits { at, name, limits } => {
                checked(limits)?;
                let queue = self.queues.intern(name).ok_or(ReplayError::TooManyQueues)?;
                let at_ns = WallTime(*at).signed_mono_ns(self.offset_ns);
                let units = if limits.is_default() { 0 } else { body.units };
                self.queues.limit_groups(queue, *limits, (body.lsn, units), at_ns);
            }
            Event::GroupLimits { at, name, group, limits } => {
                limits.as_ref().map_or(Ok(()), checked)?;
                let queue = self.queues.intern(name).ok_or(ReplayError::TooManyQueues)?;
                let at_ns = WallTime(*at).signed_mono_ns(self.offset_ns);
                let place = (body.lsn, body.units);
                self.queues.limit_group(queue, group, *limits, place, at_ns);
            }
            Event::GroupSpent { at, name, group, full_at } => {
                let queue = self.queues.intern(name).ok_or(ReplayError::TooManyQueues)?;
                let at_ns = WallTime(*at).signed_mono_ns(self.offset_ns);
                let full_at_ns = WallTime(*full_at).signed_mono_ns(self.offset_ns);
                self.queues.set_group_spent(queue, group, full_at_ns, at_ns);
            }
            Event::QueueAging { name, span_ms, .. } => {
                let queue = self.queues.intern(name).ok_or(ReplayError::TooManyQueues)?;
                self.queues.set_aging(queue, *span_ms, body.lsn, body.units);
            }
            _ => unreachable!("the caller has looked"),
        }
        Ok(())
    }

    /// Writes limits of groups again that the record at `lsn` holds.
    pub(super) fn keep_groups(
        &mut self,
        now: Now,
        lsn: Lsn,
        (name, group): (&str, Option<&str>),
        journal: &mut impl Journal,
    ) -> Cleaned {
        let Some(queue) = self.queues.find(name) else { return Cleaned::Dead };
        let groups = &self.queues.groups;
        let at = now.wall.0;
        let event = match group {
            None => {
                let limits = groups.limits_of(queue);
                if limits.is_default() || groups.limits_body(queue) != lsn {
                    return Cleaned::Dead;
                }
                Event::GroupsLimits { at, name, limits }
            }
            Some(group) => {
                let own = groups.own_limits(queue, group).filter(|own| own.body == lsn);
                let Some(own) = own else { return Cleaned::Dead };
                Event::GroupLimits { at, name, group, limits: Some(own.limits) }
            }
        };
        let need = journal.record_bytes(limits::GROUP_EVENT_BYTES_MAX as usize);
        self.keep(&event, &[], need, journal)
    }

    /// Before a base, as for queues: what the rates of groups have spent is written again. Without room
    /// for that a group may have its burst again after a recovery.
    pub(super) fn write_spent_groups(&mut self, now: Now, journal: &mut impl Journal) {
        if !self.queues.groups.is_any() {
            return;
        }
        let need = journal.record_bytes(limits::GROUP_EVENT_BYTES_MAX as usize);
        for spent in self.queues.groups.spent(now.mono.signed_ns()) {
            if self.room_for(journal, need + limits::CLEAN_FLOOR_BYTES).is_err() {
                return;
            }
            let queue = Arc::clone(&self.queues.names()[usize::from(spent.queue.0)]);
            let event = self.spent_event(now.wall, &queue, &spent.name, spent.full_at_ns);
            self.commit(&event, &[], journal);
        }
    }

    fn spent_event<'e>(
        &self,
        at: WallTime,
        name: &'e str,
        group: &'e str,
        full_at_ns: i64,
    ) -> Event<'e> {
        let full_at = full_at_ns.saturating_add(self.offset_ns).max(0).cast_unsigned();
        Event::GroupSpent { at: at.0, name, group, full_at }
    }

    /// What a snapshot holds of groups beside what is held of their jobs, and of aging: events, each with the place and
    /// the length of its record in the journal, or zeros.
    pub(super) fn freeze_groups(&self, at: WallTime) -> Vec<FrozenEvent> {
        let mut all = Vec::new();
        let mut head = Vec::new();
        let mut add = |event: Event<'_>, body, units| {
            let len = event.encode(&mut head);
            all.push(FrozenEvent { body, units, bytes: head[..len].into() });
        };
        let name_of = |queue: QueueId| &*self.queues.names()[usize::from(queue.0)];
        for limited in self.queues.groups.bodies() {
            let (name, limits) = (name_of(limited.queue), limited.limits);
            let event = match limited.name {
                None => Event::GroupsLimits { at: at.0, name, limits },
                Some(group) => Event::GroupLimits { at: at.0, name, group, limits: Some(limits) },
            };
            add(event, limited.body, limited.units);
        }
        for (queue, aging) in self.queues.agings.iter() {
            let (name, span_ms) = (name_of(queue), Some(aging.span_ms));
            add(Event::QueueAging { at: at.0, name, span_ms }, aging.body, aging.units);
        }
        for spent in self.queues.groups.spent(self.step_mono.signed_ns()) {
            let name = name_of(spent.queue);
            add(self.spent_event(at, name, &spent.name, spent.full_at_ns), Lsn(0), 0);
        }
        all
    }

    /// Takes in what a snapshot holds of groups; `false` if that is something else.
    pub(crate) fn restore_of_group(
        &mut self,
        lsn: Lsn,
        units: u16,
        bytes: &[u8],
    ) -> Result<bool, ReplayError> {
        let (event, payload) = Event::decode(bytes)?;
        let is_fit = payload.is_empty()
            && matches!(
                event,
                Event::GroupsLimits { .. }
                    | Event::GroupLimits { .. }
                    | Event::GroupSpent { .. }
                    | Event::QueueAging { .. }
            );
        if is_fit {
            self.apply_of_group(&event, Body { lsn, payload_offset: 0, units })?;
        }
        Ok(is_fit)
    }
}

/// A turn that a job uses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    pub(super) queue: QueueId,
    pub(super) group: Option<GroupId>,
    /// The priority of the line that it stands in.
    pub(super) line: u8,
}

/// An event of a snapshot, and where its record lies in the journal.
#[derive(Clone, Debug)]
pub(crate) struct FrozenEvent {
    pub(crate) body: Lsn,
    pub(crate) units: u16,
    pub(crate) bytes: alloc::boxed::Box<[u8]>,
}
