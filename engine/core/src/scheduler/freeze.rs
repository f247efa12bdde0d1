//! The scheduler's side of a snapshot: what its state is made of, on the way out and back in. The
//! bytes are [`crate::snapshot`]'s.

use alloc::{sync::Arc, vec::Vec};

use super::{Scheduler, io::Counts};
use crate::{
    event::{Event, Rule},
    id::{JobId, Key, Lsn, Slot},
    job::{
        Clock, JobOptions, JobState,
        dead::Death,
        record::Record,
        table::{Body, Order},
        timeout_ns,
        unique::Held,
    },
    queue::{Bounds, Queue},
    snapshot::{Frozen, FrozenSchedule, Header, QueueEntry, RestoreError},
    time::WallTime,
};

/// In a restored record: how the job died has not been read yet.
const NO_ENTRY: u32 = u32::MAX;

impl Scheduler {
    /// A copy of the state as it is now, to be written as a snapshot; it goes with the position
    /// behind the last event that was applied.
    ///
    /// It copies names, schedules and one pointer per 4096 jobs: some tens of microseconds for ten
    /// million jobs. While the copy is held, the first change to each page of 4096 jobs copies that
    /// page.
    #[must_use]
    pub fn freeze(&mut self) -> Frozen {
        debug_assert!(self.memory.is_settled(), "the replay has to be at its end");
        let schedule = |(number, state): (u16, &crate::schedule::table::ScheduleState)| {
            let timer = self.table.get(state.timer);
            FrozenSchedule {
                number,
                body: timer.body,
                body_units: timer.body_units,
                rule: state.rule.clone(),
                next: state.next,
                catch_up_until: state.catch_up_until,
                paused: state.paused.clone(),
                fired: state.fired,
            }
        };
        let schedules: Vec<FrozenSchedule> = self.schedules.numbered().map(schedule).collect();
        let Counts { added, succeeded, dead, cancelled, expired, failed_attempts, .. } =
            self.counts;
        let groups = self.freeze_groups(self.step_mono.to_wall(self.offset_ns));
        let header = Header {
            shard: self.config.shard,
            at: self.step_mono.to_wall(self.offset_ns),
            offset_ns: self.offset_ns,
            next_sequence: self.next_sequence,
            totals: [added, succeeded, dead, cancelled, failed_attempts, expired],
            kinds: self.kinds.all().len() as u32,
            schedules: schedules.len() as u32,
            jobs: self.table.len(),
            queues: self.queues.names().len() as u32,
            groups: groups.len() as u32,
            keys: self.keys.len(),
            options: self.options.len(),
            uniques: self.uniques.len(),
            ended: self.waits.ended().count() as u32,
            batches: self.batches.len() as u32,
            leases: self.fetched,
            dead: self.dead.len(),
        };
        let kinds = self.kinds.all().to_vec();
        let queue = |(name, queue, bounds): (&Arc<str>, &Queue, &Bounds)| {
            (name.clone(), QueueEntry::of(queue, bounds, self.offset_ns))
        };
        let queues = self.queues.iter().map(queue).collect();
        let (records, keys) = (self.table.freeze(), self.keys.freeze());
        let (options, uniques) = (self.options.freeze(), self.uniques.freeze());
        let ended = self.waits.ended().collect();
        let batches = self.batches.iter().map(|(id, state)| (id, state.clone())).collect();
        let dead = self.dead.freeze();
        Frozen {
            header,
            kinds,
            queues,
            groups,
            schedules,
            records,
            keys,
            options,
            uniques,
            ended,
            batches,
            dead,
        }
    }

    pub(crate) fn restore_header(&mut self, header: &Header) {
        let [added, succeeded, dead, cancelled, failed_attempts, expired] = header.totals;
        self.counts =
            Counts { added, succeeded, dead, cancelled, expired, failed_attempts, ..self.counts };
        self.next_sequence = header.next_sequence;
    }

    /// Gives the next number to a kind; `false` if it has one.
    pub(crate) fn restore_kind(&mut self, name: &str) -> bool {
        let number = self.kinds.all().len();
        self.kinds.intern(name).is_some_and(|kind| usize::from(kind) == number)
    }

    /// Gives the next number to a queue; `false` if it has one.
    pub(crate) fn restore_queue(&mut self, name: &str, entry: &QueueEntry) -> bool {
        let number = self.queues.names().len();
        let Some(queue) = self.queues.intern(name) else { return false };
        self.queues.pause(queue, entry.is_paused);
        self.queues.set_body(queue, entry.body, entry.body_units);
        let full_at_ns = entry.full_at.signed_mono_ns(self.offset_ns);
        self.queues.limit(queue, entry.limits, full_at_ns, self.step_mono.signed_ns());
        self.queues.set_limits_body(queue, entry.limits_body, entry.limits_units);
        usize::from(queue.0) == number
    }

    /// Gives a key to a job that was taken in and is in the index; `false` if the job is not there
    /// or has one, or another has this key.
    pub(crate) fn restore_key(&mut self, job: JobId, key: Key) -> bool {
        let Some(slot) = self.table.find(job) else { return false };
        let fits = self.table.get(slot).is_keyed()
            && !self.table.get(slot).is_dead()
            && self.keys.of(slot).is_none()
            && self.keys.find(key).is_none();
        if fits {
            self.keys.insert(key, slot);
        }
        fits
    }

    /// Gives options to a job that was taken in and is in the index; `false` if the job is not there,
    /// is to have none, or has them already.
    pub(crate) fn restore_options(&mut self, job: JobId, options: Arc<JobOptions>) -> bool {
        let Some(slot) = self.table.find(job) else { return false };
        let record = *self.table.get(slot);
        let is_left = !record.is_dead() || options.is_lasting();
        let fits = record.has_options() && is_left && self.options.of(slot).is_none();
        if fits {
            if record.state == JobState::Blocked {
                self.waits.add(job, &options.needs);
            }
            let group = options.group.as_deref().filter(|_| !record.is_dead());
            let group = group.map(|name| self.queues.intern_group(record.queue, name));
            let options = match group.filter(|_| options.is_group_alone()) {
                Some(group) => self.queues.groups.options_of(group),
                None => options,
            };
            self.options.insert(slot, options);
            self.restore_group(slot, group);
            if record.may_expire() {
                self.options.arm(slot);
            }
        }
        fits
    }

    /// Lets a key of uniqueness be held; `false` if one is.
    pub(crate) fn restore_unique(&mut self, held: Held) -> bool {
        let is_free = self.uniques.find(held.key).is_none();
        if is_free {
            self.uniques.hold(held);
        }
        is_free
    }

    /// A job has ended, and those that wait for it were not told.
    pub(crate) fn restore_ended(&mut self, job: JobId, well: bool) {
        self.waits.end(job, well);
    }

    /// Takes in a batch.
    pub(crate) fn restore_batch(
        &mut self,
        lsn: Lsn,
        units: u16,
        bytes: &[u8],
    ) -> Result<(), RestoreError> {
        let (event, payload) = Event::decode(bytes).map_err(|e| RestoreError::Batch(e.into()))?;
        let Event::BatchPut { batch, .. } = &event else {
            return Err(RestoreError::Malformed("a batch is another event"));
        };
        let id = JobId(batch.batch);
        let id_fits = id.shard() == self.config.shard && id.sequence() < self.next_sequence;
        if !id_fits || self.batches.get(id).is_some() {
            return Err(RestoreError::Malformed("a batch has an id that none has"));
        }
        let body = Body { lsn, payload_offset: 0, units };
        self.apply(&event, payload, body).map_err(RestoreError::Batch)?;
        // Whether its numbers were written since they changed is not known.
        self.batches.count(id, |_| ());
        Ok(())
    }

    /// Gives the next number to a schedule.
    pub(crate) fn restore_schedule(
        &mut self,
        lsn: Lsn,
        units: u16,
        bytes: &[u8],
    ) -> Result<(), RestoreError> {
        let (event, payload) =
            Event::decode(bytes).map_err(|e| RestoreError::Schedule(e.into()))?;
        let Event::ScheduleKept { rule, fired, .. } = &event else {
            return Err(RestoreError::Malformed("a schedule is another event"));
        };
        if self.schedules.find(rule.name).is_some() {
            return Err(RestoreError::Malformed("two schedules have the same name"));
        }
        if *fired > JobId::SEQUENCE_MAX {
            return Err(RestoreError::Malformed("a schedule fired more often than one can"));
        }
        let body = Body { lsn, payload_offset: 0, units };
        self.apply(&event, payload, body).map_err(RestoreError::Schedule)
    }

    /// Says when the lease of a fetched attempt ends whose job is in the index; `false` if there is no
    /// such attempt, or its end was said before.
    pub(crate) fn restore_lease(&mut self, job: JobId, ends: WallTime) -> bool {
        let Some(slot) = self.table.find(job) else { return false };
        let is_open = self.table.get(slot).has_lease() && !self.links.is_linked(slot.0);
        if is_open {
            self.lease_until(slot, ends);
        }
        is_open
    }

    /// Takes in jobs of a snapshot with that header, whose due times are on the wall clock.
    pub(crate) fn restore_jobs(&mut self, jobs: Vec<Record>, header: &Header, order: &mut Order) {
        let slots = self.table.adopt(jobs);
        if let Some(last) = slots.clone().next_back() {
            self.links.grow_to(last);
        }
        for slot in slots.map(Slot) {
            self.table.index(slot, order);
            self.restore_job(slot, header);
        }
    }

    fn restore_job(&mut self, slot: Slot, header: &Header) {
        let record = self.table.get_mut(slot);
        let due = WallTime(record.due_ns);
        let (due_ns, now_ns) = match record.clock() {
            Clock::Mono => (due.to_mono(self.offset_ns).0, self.step_mono.0),
            Clock::Wall => (due.0, self.step_mono.to_wall(self.offset_ns).0),
        };
        record.due_ns = due_ns;
        if record.is_dead() {
            record.ready_ns = u64::from(NO_ENTRY);
            self.memory.dead_found();
            return;
        }
        let record = *record;
        self.schedule_job_begins(record.schedule, record.id);
        self.queues.job_added(record.queue);
        if record.state == JobState::Blocked {
            // What it waits for wakes it.
        } else if record.state == JobState::Running {
            self.queues.attempt_found(record.queue);
            self.count_begun(record.is_fetched());
            // When a lease ends comes later.
            if !record.is_fetched() {
                let ends = header.at.0.saturating_add(timeout_ns(record.timeout_ms));
                self.lease_until(slot, WallTime(ends));
            }
        } else if due_ns > now_ns {
            self.arm(slot, record.clock(), due_ns);
        } else {
            self.memory.overdue(due, slot);
        }
    }

    /// Says how a dead job died that was taken in and is in the index; `false` if it is not there, or
    /// was told of before.
    pub(crate) fn restore_death(&mut self, job: JobId, key: Option<Key>, death: Death<'_>) -> bool {
        let Some(slot) = self.table.find(job) else { return false };
        let record = self.table.get(slot);
        let fits = record.is_dead()
            && record.dead_entry() == NO_ENTRY
            && record.is_keyed() == key.is_some();
        if fits {
            self.lay_out(slot, key, death);
        }
        fits
    }

    /// Whether of each dead job is known how it died.
    pub(crate) fn all_dead_are_known(&self) -> bool {
        self.memory.dead() == self.dead.len()
    }

    /// The jobs taken in can be found from here on. `false` if two have the same id.
    pub(crate) fn restore_index(&mut self, order: Order) -> bool {
        self.table.index_rest(order)
    }

    /// All has been taken in.
    pub(crate) fn restored(&mut self) {
        // A wheel hands out what is overdue in the order in which it was put in.
        for slot in self.memory.take_overdue() {
            let record = self.table.get(slot);
            let (clock, due_ns) = (record.clock(), record.due_ns);
            self.arm(slot, clock, due_ns);
        }
        // Which event told what a schedule has caught up is not in a snapshot.
        for number in self.schedules.numbered().map(|(number, _)| number).collect::<Vec<_>>() {
            if let Some(state) = self.schedules.get_mut(number) {
                state.has_unwritten_end = state.catch_up_until > WallTime(0);
            }
        }
        self.memory.be_strict();
    }
}

impl FrozenSchedule {
    /// The event that holds it.
    pub(crate) fn event(&self, at: WallTime) -> Event<'_> {
        Event::ScheduleKept {
            at: at.0,
            rule: Rule::of(&self.rule).paused(self.paused.as_ref()),
            next: self.next.map(|next| next.0),
            catch_up_until: self.catch_up_until.0,
            fired: self.fired,
        }
    }
}
