//! Groups of queues, as one shard must keep them: their limits, and that none is passed over.
//!
//! Turns are not reckoned: what is asked is what follows from them. While a group has a job that is due for
//! certain, and no limit that could hold it back, each other group begins at most as many jobs as its weight
//! says before that group begins one. Whatever may take a group its turn for a good reason begins the
//! count anew.

use std::collections::{BTreeMap, BTreeSet};

use tickwheel_core::{JobId, Now, QueueLimits, Scheduler, event::Event};

use super::{Cause, Job, JobIs, Model, State, TICK_SLACK_NS, ensure};
use crate::{Verdict, clients::GROUPS, clock::MS};

/// A queue, and a group in it; `None` for the jobs without one.
type Member = (String, Option<String>);

/// What is known of groups beside their jobs and limits.
#[derive(Default)]
pub(super) struct Fairness {
    /// Jobs that were due for certain when a pass had looked at the time, and the first such time on the monotonic
    /// clock.
    pub(super) ready: BTreeMap<JobId, u64>,
    /// Jobs that wait, with a time before which none of them was ready; and that time for all others.
    pub(super) since: BTreeMap<JobId, u64>,
    pub(super) passed_ns: u64,
    /// Queues whose jobs may have aged by another span in this life.
    pub(super) changed: BTreeSet<String>,
    /// How often another member has begun while one had a job to begin, at a priority.
    passed_over: BTreeMap<(Member, u8), BTreeMap<Option<String>, u32>>,
    /// When attempts began within a rate.
    starts: BTreeMap<Member, Vec<u64>>,
}

impl Job {
    fn member(&self) -> Member {
        (self.terms.queue.clone(), self.terms.group.clone())
    }
}

impl State {
    pub(super) fn take_group(&mut self, end: u64, event: &Event<'_>) {
        match event {
            Event::GroupsLimits { name, limits, .. } => {
                self.group_limits.insert(((*name).to_owned(), None), *limits);
            }
            Event::GroupLimits { name, group, limits, .. } => {
                let member = ((*name).to_owned(), Some((*group).to_owned()));
                match limits {
                    Some(limits) => self.group_limits.insert(member, *limits),
                    None => self.group_limits.remove(&member),
                };
            }
            Event::QueueAging { name, span_ms, .. } => {
                self.aging.insert((*name).to_owned(), (*span_ms, end));
            }
            _ => {}
        }
    }

    fn of_group(&self, member: &Member) -> QueueLimits {
        let of_each = || self.group_limits.get(&(member.0.clone(), None));
        self.group_limits.get(member).or_else(of_each).copied().unwrap_or_default()
    }
}

impl Model {
    fn in_group(&self, member: &Member) -> impl Iterator<Item = &Job> {
        let is_in = move |job: &&Job| job.terms.queue == member.0 && job.terms.group == member.1;
        self.state.jobs.values().filter(is_in)
    }

    fn waiting_in(&self, member: &Member) -> u32 {
        self.in_group(member).filter(|job| job.state == JobIs::Waiting).count() as u32
    }

    /// An event about the limits of groups.
    pub(super) fn check_of_group(&mut self, event: &Event<'_>, cause: Cause<'_>) -> Verdict {
        let (member, limits) = match event {
            Event::GroupsLimits { name, limits, .. } => (((*name).to_owned(), None), Some(*limits)),
            Event::GroupLimits { name, group, limits, .. } => {
                (((*name).to_owned(), Some((*group).to_owned())), *limits)
            }
            Event::GroupSpent { name, group, .. } => {
                self.counters.group_rates_written += 1;
                let member = ((*name).to_owned(), Some((*group).to_owned()));
                let has_rate = self.state.of_group(&member).rate.is_some();
                return ensure(has_rate && matches!(cause, Cause::Clean), || {
                    "nobody asked for this".to_owned()
                });
            }
            _ => return Err("it is about no group".to_owned()),
        };
        let present = self.state.group_limits.get(&member).copied();
        match cause {
            Cause::Clean => ensure(limits.is_some() && limits == present, || {
                format!("the limits are {present:?}")
            }),
            Cause::LimitGroups(queue, group, wanted) => {
                self.counters.group_limits_set += 1;
                self.fairness.starts.retain(|of, _| of.0 != queue);
                self.fairness.passed_over.clear();
                let asked = (queue, group) == (member.0.as_str(), member.1.as_deref());
                let is_other = limits.unwrap_or_default() != present.unwrap_or_default()
                    || group.is_some() && limits != present;
                ensure(
                    asked && wanted.unwrap_or_default() == limits.unwrap_or_default() && is_other,
                    || format!("something else was asked for, of {present:?}"),
                )
            }
            _ => Err("nothing asked for this".to_owned()),
        }
    }

    /// The place that a job leaves to the one that replaces it.
    pub(super) fn place_of(&self, id: JobId) -> Option<Member> {
        let job = self.state.jobs.get(&id)?;
        let waits = !matches!(job.state, JobIs::Running { .. }) && !self.is_dead(id);
        waits.then(|| job.member())
    }

    /// One more job comes to a group, where somebody could be refused.
    pub(super) fn check_group_length(&mut self, queue: &str, group: Option<&str>) -> Verdict {
        let Some(group) = group else { return Ok(()) };
        self.counters.jobs_with_a_group += 1;
        let member = (queue.to_owned(), Some(group.to_owned()));
        let (max, waiting) = (self.state.of_group(&member).length, self.waiting_in(&member));
        ensure(max.is_none_or(|max| waiting < max), || {
            format!("{waiting} jobs wait in {member:?}, {max:?} may")
        })
    }

    /// A job was refused because so many of its group wait.
    pub(crate) fn check_group_full(&mut self, queue: &str, group: &str, max: u32) -> Verdict {
        self.counters.refused_for_a_full_group += 1;
        let member = (queue.to_owned(), Some(group.to_owned()));
        let (length, waiting) = (self.state.of_group(&member).length, self.waiting_in(&member));
        ensure(length == Some(max) && waiting >= max, || {
            format!("{member:?} is full at {max}, with {waiting} jobs, and may have {length:?}")
        })
    }

    /// An attempt of a job begins: its group may begin one, and no other has waited for too long.
    pub(super) fn check_group_begins(&mut self, id: JobId, now: Now) -> Verdict {
        self.fairness.ready.remove(&id);
        self.check_age(id, now)?;
        let job = self.known(id)?;
        let (member, priority) = (job.member(), job.terms.priority);
        let limits = self.state.of_group(&member);
        if member.1.is_some() {
            let running = |job: &&Job| matches!(job.state, JobIs::Running { .. });
            let under_way = self.in_group(&member).filter(running).count() as u32;
            if let Some(max) = limits.concurrency {
                self.counters.group_concurrency_reached += u64::from(under_way + 1 == max);
                ensure(under_way < max, || {
                    format!("{under_way} of {max} attempts of {member:?} are under way")
                })?;
            }
            if let Some(rate) = limits.rate {
                self.counters.begun_within_a_groups_rate += 1;
                let starts = self.fairness.starts.entry(member.clone()).or_default();
                starts.push(now.mono.0);
                let share_ns = (u64::from(rate.period_ms) * MS).div_ceil(u64::from(rate.jobs));
                let mut spans = starts.iter().rev().zip(1_u64..);
                let many = spans.find(|(since, count)| {
                    *count > u64::from(rate.burst) + (now.mono.0 - **since) / share_ns
                });
                ensure(many.is_none(), || format!("{many:?} is too many of {member:?}: {rate:?}"))?;
            }
        }
        self.check_turn(&member, priority)
    }

    fn check_turn(&mut self, begins: &Member, priority: u8) -> Verdict {
        // Where jobs age, they meet in lines that their priorities do not tell.
        if self.state.aging.contains_key(&begins.0) {
            return Ok(());
        }
        let weight = |member: &Member| u32::from(self.state.of_group(member).weight);
        let most =
            if begins.1.is_some() { weight(begins) } else { weight(&(begins.0.clone(), None)) };
        let waits = |id: &&JobId| {
            let job = self.state.jobs.get(id);
            job.is_some_and(|job| {
                job.state == JobIs::Waiting
                    && job.terms.queue == begins.0
                    && job.terms.priority == priority
                    && job.terms.group != begins.1
            })
        };
        let waiting: BTreeSet<Member> = self
            .fairness
            .ready
            .keys()
            .filter(waits)
            .map(|id| self.state.jobs[id].member())
            .collect();
        let fairness = &mut self.fairness;
        fairness.passed_over.remove(&(begins.clone(), priority));
        // Who has nothing to begin any more waits anew.
        fairness.passed_over.retain(|(member, at), _| {
            member.0 != begins.0 || *at != priority || waiting.contains(member)
        });
        for member in waiting {
            let QueueLimits { concurrency, rate, .. } = self.state.of_group(&member);
            if member.1.is_some() && (concurrency.is_some() || rate.is_some()) {
                continue;
            }
            self.counters.turns_waited_for += 1;
            let by = fairness.passed_over.entry((member.clone(), priority)).or_default();
            let count = by.entry(begins.1.clone()).or_default();
            *count += 1;
            ensure(*count <= most, || {
                format!(
                    "{begins:?} has begun {count} times while {member:?} waited: it may {most} times"
                )
            })?;
        }
        Ok(())
    }

    /// Whether limits of its group may hold a job back.
    pub(super) fn is_limited(&self, job: &Job) -> bool {
        let member = job.member();
        let QueueLimits { concurrency, rate, .. } = self.state.of_group(&member);
        member.1.is_some() && (concurrency.is_some() || rate.is_some())
    }

    /// Something happened that may take a member its place among the others.
    pub(super) fn note_turns(&mut self, event: &Event<'_>) {
        let keeps = match event {
            Event::Added(added) => added.terms.options.replaces.is_none(),
            Event::Started { .. }
            | Event::Succeeded { .. }
            | Event::Failed { .. }
            | Event::Buried { .. }
            | Event::Kept(_)
            | Event::Base { .. }
            | Event::Totals { .. }
            | Event::Extended { .. }
            | Event::GroupSpent { .. }
            | Event::ScheduleFired { .. } => true,
            _ => false,
        };
        if !keeps {
            self.fairness.passed_over.clear();
        }
        // It counts from another priority on, or in another queue.
        if let Event::Changed { .. } = event {
            self.fairness.ready.clear();
        }
    }

    /// The shard has looked at the time `now`, and has handed out what it could.
    pub(crate) fn note_passed(&mut self, now: Now) {
        let is_ready = |(id, job): &(&JobId, &Job)| {
            job.state == JobIs::Waiting
                && !self.state.relations.is_blocked(**id)
                && self.entries[job.due].due.is_some_and(|due| due.must_be_due(now, TICK_SLACK_NS))
        };
        let fairness = &self.fairness;
        let first = |id: &JobId| fairness.ready.get(id).copied().unwrap_or(now.mono.0);
        let ready = self.state.jobs.iter().filter(is_ready).map(|(id, _)| (*id, first(id)));
        let waits = self.state.jobs.iter().filter(|(_, job)| job.state == JobIs::Waiting);
        let since = |id: &JobId| fairness.since.get(id).copied().unwrap_or(fairness.passed_ns);
        let since = waits.map(|(id, _)| (*id, since(id)));
        let (ready, since) = (ready.collect(), since.collect());
        let fairness = &mut self.fairness;
        (fairness.ready, fairness.since, fairness.passed_ns) = (ready, since, now.mono.0);
    }

    /// A new life: turns begin anew, and what was spent is not known to the last bit.
    pub(super) fn forget_turns(&mut self) {
        self.fairness = Fairness::default();
    }

    /// Groups are what they must be.
    pub(super) fn compare_groups(&self, core: &Scheduler) -> Verdict {
        for queue in crate::clients::QUEUES {
            let view = core.groups(queue, usize::MAX);
            let of_each = self.state.group_limits.get(&(queue.to_owned(), None));
            let of_each = of_each.copied().unwrap_or_default();
            ensure(view.limits == of_each, || format!("{view:?}, expected {of_each:?}"))?;
            for group in GROUPS {
                let member = (queue.to_owned(), Some(group.to_owned()));
                let found = view.busiest.iter().find(|found| &*found.name == group);
                let jobs = self.in_group(&member).count() as u64;
                let waiting = u64::from(self.waiting_in(&member));
                let found_jobs = found.map_or(0, |found| found.waiting + found.running);
                let found_waiting = found.map_or(0, |found| found.waiting);
                ensure((jobs, waiting) == (found_jobs, found_waiting), || {
                    format!("{jobs} jobs of {member:?}, {waiting} wait: {found:?}")
                })?;
                let limits = self.state.of_group(&member);
                ensure(found.is_none_or(|found| found.limits == limits), || {
                    format!("{found:?}, expected {limits:?}")
                })?;
            }
        }
        Ok(())
    }
}
