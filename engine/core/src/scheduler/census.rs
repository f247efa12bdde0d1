//! The census: each job and timer is in exactly one place, and all counts agree.
//!
//! It reads the whole state and changes nothing. It owns what "in its place" means; how a job gets
//! there is for `apply.rs` and `trigger.rs`.

use alloc::{collections::BTreeMap, vec, vec::Vec};

use super::Scheduler;
use crate::{
    id::{JobId, QueueId, Slot},
    job::{
        Clock, JobState,
        record::{NO_SCHEDULE, Role},
    },
};

/// Where a slot stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In no line.
    Nowhere,
    /// In a wheel.
    Wheel(Clock),
    /// In the line of ready jobs of this queue and priority.
    Line(QueueId, u8),
}

/// How many jobs are where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Jobs in a wheel, not due yet.
    pub scheduled: u32,
    /// Jobs in a ready line.
    pub ready: u32,
    /// Jobs under way, by executors or fetched, each with its lease in the wheel of the monotonic clock.
    pub running: u32,
    /// Dead jobs, in no wheel and in no line.
    pub dead: u32,
    /// Jobs that wait for others.
    pub blocked: u32,
    /// Schedules, with or without a next fire time.
    pub schedules: u32,
}

/// Something is not where it belongs: the state is broken, and the process must not go on with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CensusError {
    /// A slot stands in two lines.
    #[error("slot {slot} stands in {first:?} and in {second:?}: report this as a bug")]
    TwoPlaces {
        /// The slot.
        slot: u32,
        /// Where it stands.
        first: Place,
        /// Where it stands as well.
        second: Place,
    },
    /// A job or timer stands elsewhere than its state says.
    #[error(
        "slot {slot} ({job}, {state}) stands in {found:?} and belongs in {expected:?}: report this as a bug"
    )]
    WrongPlace {
        /// The slot.
        slot: u32,
        /// The job; 0 for the timer of a schedule and for a free slot.
        job: JobId,
        /// Its state.
        state: JobState,
        /// Where it stands.
        found: Place,
        /// Where it belongs.
        expected: Place,
    },
    /// The index does not lead from a job's id to its slot.
    #[error("job {0} is not found under its id: report this as a bug")]
    NotIndexed(JobId),
    /// A count differs from what was counted.
    #[error("{what}: {kept} by its count, {counted} were found: report this as a bug")]
    Count {
        /// What is counted.
        what: &'static str,
        /// What the scheduler goes by.
        kept: u64,
        /// What there is.
        counted: u64,
    },
}

impl Scheduler {
    /// Looks at every slot: each job that has not ended is in exactly one wheel or ready line, the
    /// one that its state says, and all counts agree. It takes time in proportion to the jobs; it
    /// is for tests and for whoever suspects the state. Call it between two passes: an attempt
    /// in [`Outputs::expired`](super::Outputs::expired) is in no place until it was answered.
    ///
    /// # Errors
    /// The first thing that is not in its place.
    pub fn census(&self) -> Result<Census, CensusError> {
        let places = self.places()?;
        let mut census = Census::default();
        let mut of_schedules: BTreeMap<u16, u32> = BTreeMap::new();
        for slot in (0..self.table.slots()).map(Slot) {
            let record = self.table.get(slot);
            let expected = match (record.role(), record.state) {
                (Role::Free, _) => Place::Nowhere,
                (Role::Schedule, _) => {
                    census.schedules += 1;
                    let state = self.schedules.get(record.schedule);
                    let next = state
                        .filter(|state| {
                            state.timer == slot && state.paused.is_none() && !state.waits
                        })
                        .and_then(|state| state.next);
                    next.map_or(Place::Nowhere, |_| Place::Wheel(record.clock()))
                }
                (Role::Job, JobState::Scheduled) => {
                    census.scheduled += 1;
                    Place::Wheel(record.clock())
                }
                (Role::Job, JobState::Ready) => {
                    census.ready += 1;
                    let line = self.queues.agings.line_of(slot, record.priority());
                    Place::Line(record.queue, line)
                }
                (Role::Job, JobState::Blocked) => {
                    census.blocked += 1;
                    Place::Nowhere
                }
                (Role::Job, JobState::Running) => {
                    census.running += 1;
                    Place::Wheel(Clock::Mono)
                }
                (Role::Job, JobState::Dead) => {
                    census.dead += 1;
                    self.look_at_dead(slot)?;
                    Place::Nowhere
                }
                (Role::Job, _) => Place::Nowhere,
            };
            let found = places[slot.0 as usize];
            let is_held = record.role() != Role::Job || record.is_dead() || !record.state.is_end();
            if found != expected || !is_held {
                return Err(CensusError::WrongPlace {
                    slot: slot.0,
                    job: record.id,
                    state: record.state,
                    found,
                    expected,
                });
            }
            if record.role() == Role::Job && self.table.find(record.id) != Some(slot) {
                return Err(CensusError::NotIndexed(record.id));
            }
            if record.role() == Role::Job && !record.is_dead() && record.schedule != NO_SCHEDULE {
                *of_schedules.entry(record.schedule).or_default() += 1;
            }
        }
        for (number, state) in self.schedules.numbered() {
            let counted = of_schedules.remove(&number).unwrap_or(0);
            same("jobs of a schedule", state.pending.len() as u64, counted.into())?;
        }
        same("jobs of schedules that are not there", 0, of_schedules.len() as u64)?;
        self.compare(&census)?;
        self.compare_queues()?;
        self.compare_groups()?;
        self.compare_options()?;
        self.compare_relations()?;
        Ok(census)
    }

    /// Where each slot stands.
    fn places(&self) -> Result<Vec<Place>, CensusError> {
        let mut places = vec![Place::Nowhere; self.table.slots() as usize];
        let mut fault = None;
        let mut note = |slot: u32, place: Place| {
            let first = core::mem::replace(&mut places[slot as usize], place);
            if first != Place::Nowhere {
                fault.get_or_insert(CensusError::TwoPlaces { slot, first, second: place });
            }
        };
        let wheels = [(&self.mono_wheel, Clock::Mono), (&self.wall_wheel, Clock::Wall)];
        for (wheel, clock) in wheels {
            let mut counted = 0;
            wheel.visit(&self.links, &mut |slot| {
                counted += 1;
                note(slot, Place::Wheel(clock));
            });
            same("entries of a wheel", wheel.len().into(), counted)?;
        }
        let mut counted = 0;
        self.queues.visit(&self.links, &mut |slot, queue, priority| {
            counted += 1;
            note(slot, Place::Line(queue, priority));
        });
        same("ready jobs", self.queues.len().into(), counted)?;
        fault.map_or(Ok(places), Err)
    }

    /// Options and their timers belong to jobs that have them.
    fn compare_options(&self) -> Result<(), CensusError> {
        let (mut with_options, mut armed) = (0, 0);
        for slot in (0..self.table.slots()).map(Slot) {
            let record = self.table.get(slot);
            if record.role() != Role::Job || !record.has_options() {
                continue;
            }
            with_options += u64::from(self.options.of(slot).is_some());
            let expires = record.may_expire() && self.options.expires_at(slot).is_some();
            same(
                "timer of a job that expires",
                self.options.is_armed(slot).into(),
                expires.into(),
            )?;
            armed += u64::from(expires);
        }
        same("jobs with options", self.options.len().into(), with_options)?;
        same("timers of jobs that expire", self.options.armed().into(), armed)
    }

    /// Whoever waits does so for a job that is there, or is about to be told; each key of uniqueness has a
    /// holder, or a time.
    fn compare_relations(&self) -> Result<(), CensusError> {
        let ended: BTreeMap<JobId, bool> = self.waits.ended().collect();
        let (mut needs, mut idle) = (0, 0);
        for slot in (0..self.table.slots()).map(Slot) {
            let record = self.table.get(slot);
            if record.role() == Role::Job && record.state == JobState::Blocked {
                let of_job =
                    self.options.of(slot).map_or(0, |options| options.needs.iter().count());
                needs += of_job as u64;
                idle += u64::from(of_job == 0);
            }
        }
        let (mut pairs, mut lost) = (0, 0);
        for (job, on) in self.waits.pairs() {
            pairs += 1;
            let slot = self.table.find(on).filter(|slot| !self.table.get(*slot).is_dead());
            let is_there = slot.is_some() || ended.contains_key(&on);
            lost += u64::from(!is_there || self.table.find(job).is_none());
        }
        same("needs", pairs, needs)?;
        same("jobs that wait for nothing", 0, idle)?;
        same("needs that nobody meets", 0, lost)?;
        let mut stray = 0;
        for held in self.uniques.iter() {
            let slot = self.table.find(held.job);
            let options = slot.and_then(|slot| self.options.of(slot));
            let holds = options.and_then(|o| o.unique).is_some_and(|u| u.key == held.key);
            let outlived = !holds && held.outlives && held.units > 0;
            stray += u64::from(!(outlived || holds && held.units == 0));
        }
        same("keys of uniqueness without a holder", 0, stray)
    }

    /// What limits of queues go by.
    fn compare_queues(&self) -> Result<(), CensusError> {
        let mut counted = vec![(0_u64, 0_u64); self.queues.names().len()];
        for slot in (0..self.table.slots()).map(Slot) {
            let record = self.table.get(slot);
            if record.role() == Role::Job && !record.is_dead() {
                let (jobs, under_way) = &mut counted[usize::from(record.queue.0)];
                *jobs += 1;
                *under_way += u64::from(record.state == JobState::Running);
            }
        }
        for ((_, queue, _), (jobs, under_way)) in self.queues.iter().zip(counted) {
            same("jobs of a queue", queue.jobs().into(), jobs)?;
            same("attempts of a queue", queue.under_way().into(), under_way)?;
        }
        Ok(())
    }

    /// What turns and limits of groups go by: each job is counted in the group that it names.
    fn compare_groups(&self) -> Result<(), CensusError> {
        let mut counted: BTreeMap<_, [u32; 3]> = BTreeMap::new();
        let mut astray = 0;
        for slot in (0..self.table.slots()).map(Slot) {
            let record = self.table.get(slot);
            if record.role() != Role::Job || record.is_dead() {
                continue;
            }
            let name = self.group_name_at(slot);
            let expected = name.map(|name| self.queues.groups.find(record.queue, &name));
            let group = self.group_at(slot);
            astray += u64::from(expected.unwrap_or_default() != group || expected == Some(None));
            if let Some(group) = group {
                let [jobs, under_way, ready] = counted.entry(group).or_default();
                *jobs += 1;
                *under_way += u32::from(record.state == JobState::Running);
                *ready += u32::from(record.state == JobState::Ready);
            }
        }
        same("jobs in another group than they name", 0, astray)?;
        let mut resting = 0;
        for (group, _, [jobs, under_way, ready]) in self.queues.groups.counts() {
            let found = counted.remove(&group).unwrap_or_default();
            same("jobs of a group", jobs.into(), found[0].into())?;
            same("attempts of a group", under_way.into(), found[1].into())?;
            same("ready jobs of a group", ready.into(), found[2].into())?;
            resting += u64::from(jobs == 0);
        }
        same("groups that are not live", 0, counted.len() as u64)?;
        same("groups without a job", self.queues.groups.resting() as u64, resting)
    }

    /// The entry of a dead job leads back to it, and its key is held by another job at most.
    fn look_at_dead(&self, slot: Slot) -> Result<(), CensusError> {
        let entry = self.table.get(slot).dead_entry();
        let is_known = entry < self.dead.entries();
        let found = is_known.then(|| self.dead.get(entry)).filter(|entry| entry.is_held);
        let leads_back = found.is_some_and(|entry| entry.slot == slot);
        same("entries of a dead job", 1, leads_back.into())?;
        same("keys held by a dead job", 0, self.keys.of(slot).is_some().into())
    }

    fn compare(&self, census: &Census) -> Result<(), CensusError> {
        let jobs =
            u64::from(census.scheduled) + u64::from(census.ready) + u64::from(census.running);
        let jobs = jobs + u64::from(census.blocked);
        same("jobs", self.pending().into(), jobs)?;
        same("dead jobs", self.dead.len().into(), census.dead.into())?;
        let running = u64::from(self.running) + u64::from(self.fetched);
        same("running jobs", running, census.running.into())?;
        same("schedules", self.schedules.len() as u64, census.schedules.into())?;
        let counts = &self.counts;
        same("jobs by the totals", counts.added.saturating_sub(counts.ended()), jobs)
    }
}

fn same(what: &'static str, kept: u64, counted: u64) -> Result<(), CensusError> {
    if kept == counted { Ok(()) } else { Err(CensusError::Count { what, kept, counted }) }
}
