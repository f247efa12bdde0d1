//! Relations: who holds a key of uniqueness, who waits for whom, and what a batch has come to, all of it from the list
//! of events alone. What follows from an end follows once, whatever was cut off, lost or repeated in between.

use std::collections::{BTreeMap, BTreeSet};

use tickwheel_core::{
    Callback, Change, Conflict, Fired, JobId, Membership, Need, Needs, NewJob, Now, Role,
    Scheduler, Until, When,
    event::{BatchEndWritten, Event, JobAdded, TermOptions},
};

use super::{Cause, Model, State, ensure};
use crate::Verdict;

/// What follows from the list of events about relations.
#[derive(Default)]
pub(super) struct Relations {
    /// Whether jobs that have ended did so well.
    outcomes: BTreeMap<JobId, bool>,
    /// Of jobs that are blocked, what they wait for, and whether they run in any case.
    blocked: BTreeMap<JobId, (Vec<Need>, bool)>,
    /// When jobs that were blocked are due, as it was written.
    due: BTreeMap<JobId, u64>,
    holders: BTreeMap<[u8; 16], Holder>,
    /// The key of each job that has had one, and until when it holds it.
    keys: BTreeMap<JobId, ([u8; 16], Until)>,
    members: BTreeMap<JobId, Membership>,
    /// Jobs that have ended and had a key of uniqueness or a batch.
    past: BTreeSet<JobId>,
    /// Members that have run, or ended.
    ran: BTreeSet<JobId>,
    batches: BTreeMap<JobId, Batch>,
}

#[derive(Clone, Copy, Debug)]
struct Holder {
    job: JobId,
    free_at: Option<u64>,
}

#[derive(Clone, Debug, Default)]
struct Batch {
    parent: Option<JobId>,
    has: [bool; 3],
    /// Until when it is open.
    until: Option<u64>,
    was_committed: bool,
    is_over: bool,
    total: u32,
    unrun: BTreeSet<JobId>,
    open: BTreeSet<JobId>,
    failed: u32,
    /// By callback, whether it was added, and how it ended.
    fired: [Option<Option<bool>>; 3],
}

impl Relations {
    /// Whether the job waits for others.
    pub(super) fn is_blocked(&self, id: JobId) -> bool {
        self.blocked.contains_key(&id)
    }

    pub(super) fn add(&mut self, id: JobId, due: u64, options: &TermOptions<'_>) {
        let needs = read(options.needs);
        if !needs.is_empty() {
            self.due.insert(id, due);
            self.blocked.insert(id, (needs, options.otherwise_run));
        }
        if let Some(unique) = options.unique {
            let holder = Holder { job: id, free_at: unique.free_at };
            self.holders.insert(unique.key.0, holder);
            self.keys.insert(id, (unique.key.0, unique.until));
        }
        let Some(membership) = options.batch else { return };
        self.members.insert(id, membership);
        let Some(batch) = self.batches.get_mut(&membership.batch) else { return };
        match membership.role {
            Role::Member => {
                batch.total += 1;
                batch.unrun.insert(id);
                batch.open.insert(id);
            }
            Role::Callback(which) => batch.fired[which as usize] = Some(None),
        }
    }

    pub(super) fn begin(&mut self, id: JobId) {
        if let Some((key, Until::Start)) = self.keys.get(&id) {
            let key = *key;
            self.free(key, id);
        }
    }

    fn free(&mut self, key: [u8; 16], id: JobId) {
        if self.holders.get(&key).is_some_and(|holder| holder.job == id) {
            self.holders.remove(&key);
        }
    }

    /// An attempt of it failed, and it is tried again.
    pub(super) fn run(&mut self, id: JobId) {
        self.ran.insert(id);
        let batch = self.members.get(&id).and_then(|m| self.batches.get_mut(&m.batch));
        if let Some(batch) = batch {
            batch.unrun.remove(&id);
        }
    }

    /// Whether the job has to do with others, or has had.
    pub(super) fn is_related(&self, id: JobId) -> bool {
        self.keys.contains_key(&id) || self.members.contains_key(&id) || self.past.contains(&id)
    }

    /// A job is over, or dead. Should it be brought back, it has nothing to do with others any more.
    pub(super) fn end(&mut self, id: JobId, well: bool) {
        self.run(id);
        self.outcomes.insert(id, well);
        self.blocked.remove(&id);
        self.end_of_relations(id, well);
        let had = self.keys.remove(&id).is_some() | self.members.remove(&id).is_some();
        if had {
            self.past.insert(id);
        }
    }

    fn end_of_relations(&mut self, id: JobId, well: bool) {
        if let Some((key, Until::Start | Until::End)) = self.keys.get(&id) {
            let key = *key;
            self.free(key, id);
        }
        let Some(membership) = self.members.get(&id) else { return };
        let Some(batch) = self.batches.get_mut(&membership.batch) else { return };
        match membership.role {
            Role::Member => {
                batch.open.remove(&id);
                batch.failed += u32::from(!well);
            }
            Role::Callback(which) => batch.fired[which as usize] = Some(Some(well)),
        }
    }

    pub(super) fn take(&mut self, event: &Event<'_>, payload: &[u8]) {
        match event {
            Event::BatchPut { is_new: true, batch, .. } => {
                let id = JobId(batch.batch);
                let parent = batch.parent.map(JobId);
                // Which callbacks there are: a byte 0 for none, before each.
                let has = callbacks(payload);
                if let Some(parent) = parent.and_then(|parent| self.batches.get_mut(&parent)) {
                    parent.total += 1;
                    parent.unrun.insert(id);
                    parent.open.insert(id);
                }
                let until = batch.until;
                self.batches.insert(id, Batch { parent, has, until, ..Batch::default() });
            }
            Event::BatchSet { batch, until, .. } => {
                if let Some(batch) = self.batches.get_mut(&JobId(*batch)) {
                    batch.until = *until;
                    batch.was_committed |= until.is_none();
                }
            }
            Event::BatchOver { batch, end, .. } => {
                let id = JobId(*batch);
                let parent = self.batches.get(&id).and_then(|batch| batch.parent);
                match end {
                    BatchEndWritten::Forgotten => {
                        self.batches.remove(&id);
                        return;
                    }
                    BatchEndWritten::Expired => {
                        self.batches.remove(&id);
                    }
                    _ => {
                        if let Some(batch) = self.batches.get_mut(&id) {
                            batch.is_over = true;
                            batch.until = None;
                        }
                    }
                }
                if let Some(parent) = parent.and_then(|parent| self.batches.get_mut(&parent)) {
                    parent.unrun.remove(&id);
                    parent.open.remove(&id);
                    parent.failed += u32::from(*end != BatchEndWritten::Succeeded);
                }
            }
            Event::NeedSettled { job, on, met, .. } => {
                let (id, on) = (JobId(*job), JobId(*on));
                let Some((needs, runs)) = self.blocked.get_mut(&id) else { return };
                needs.retain(|need| need.job != on);
                // One that is cancelled ends by this event: the caller sees to that.
                if needs.is_empty() || (!*met && *runs) {
                    self.blocked.remove(&id);
                }
            }
            _ => {}
        }
    }

    /// Whether the event cancels the job that it is about.
    pub(super) fn cancels(&self, event: &Event<'_>) -> Option<JobId> {
        match event {
            Event::NeedSettled { job, met: false, .. } => {
                let runs = self.blocked.get(&JobId(*job)).is_none_or(|(_, runs)| *runs);
                (!runs).then_some(JobId(*job))
            }
            _ => None,
        }
    }
}

/// The list that `bytes` are: nine for each need.
fn read(bytes: &[u8]) -> Vec<Need> {
    let codes = [When::Succeeded, When::NotSucceeded, When::Done];
    let need = |need: &[u8; 9]| Need {
        job: JobId(u64::from_le_bytes(need[..8].try_into().expect("eight of nine"))),
        when: codes[usize::from(need[8])],
    };
    bytes.as_chunks::<9>().0.iter().map(need).collect()
}

/// Which callbacks of a batch follow the head: the simulation's callbacks have the kinds c0, c1 and c2.
fn callbacks(payload: &[u8]) -> [bool; 3] {
    [b"c0", b"c1", b"c2"].map(|kind| payload.windows(3).any(|bytes| bytes == [2, kind[0], kind[1]]))
}

impl Model {
    /// What a caller may want its job to have to do with: jobs that have not ended, and open batches.
    pub(crate) fn pick_batch(&self, draw: u64) -> Option<JobId> {
        let count = self.state.relations.batches.len().max(1) as u64;
        self.state.relations.batches.keys().nth((draw % count) as usize).copied()
    }

    /// An added job may be: its key of uniqueness is free, and what it waits for is there.
    pub(super) fn check_related(
        &mut self,
        added: &JobAdded<'_>,
        asked: Option<&NewJob<'_>>,
        now: Now,
    ) -> Verdict {
        let options = &added.terms.options;
        for need in read(options.needs) {
            self.known(need.job).map_err(|what| format!("it waits in vain: {what}"))?;
            self.counters.needs += 1;
        }
        let Some(unique) = options.unique else { return Ok(()) };
        self.counters.unique_jobs += 1;
        let Some(holder) = self.state.relations.holders.get(&unique.key.0).copied() else {
            return ensure(options.replaces.is_none(), || "nobody is to be replaced".to_owned());
        };
        let conflict = asked.and_then(|job| job.options.as_ref()?.unique).map(|it| it.conflict);
        let may_be_free = holder.free_at.is_some_and(|at| at <= self.wall_max.max(now.wall.0));
        let job = self.state.jobs.get(&holder.job);
        // One that was brought back from the dead does not hold it by itself.
        let has_ended = !self.state.relations.keys.contains_key(&holder.job);
        let is_replaced = options.replaces == Some(holder.job.0)
            && !has_ended
            && job.is_some_and(|job| job.state == super::JobIs::Waiting);
        let is_taken_over =
            has_ended && options.replaces.is_none() && conflict == Some(Conflict::Replace);
        self.counters.unique_replaced += u64::from(is_replaced);
        ensure(may_be_free || is_replaced || is_taken_over, || {
            format!("{holder:?} holds the key of uniqueness")
        })
    }

    /// A job was refused, or answered with `holder`, which has its key of uniqueness.
    pub(crate) fn check_not_unique(&mut self, asked: &NewJob<'_>, holder: JobId) -> Verdict {
        self.counters.unique_conflicts += 1;
        let unique = asked.options.as_ref().and_then(|options| options.unique);
        let held = unique.and_then(|unique| self.state.relations.holders.get(&unique.key.0));
        ensure(held.is_some_and(|held| held.job == holder), || {
            format!("job {holder} is said to hold its key, which is held by {held:?}")
        })
    }

    /// Events about relations, and callbacks, which nobody asked for.
    pub(super) fn check_relation(
        &mut self,
        event: &Event<'_>,
        cause: Cause<'_>,
        now: Now,
    ) -> Verdict {
        let by_itself = matches!(cause, Cause::Time | Cause::Clean);
        match event {
            Event::NeedSettled { job, on, met, at } => {
                // Before a dead job lives again, all are told that it had ended.
                let before_a_requeue = matches!(
                    cause,
                    Cause::Change(_, Change::Requeue) | Cause::ChangeMany(_, Change::Requeue)
                );
                let is_told = by_itself || before_a_requeue;
                self.counters.needs_told_before_a_requeue += u64::from(before_a_requeue);
                ensure(is_told && *at == now.wall.0, || format!("it is {now:?}"))?;
                let (id, on) = (JobId(*job), JobId(*on));
                let Some((needs, _)) = self.state.relations.blocked.get(&id) else {
                    return Err("it does not wait".to_owned());
                };
                let Some(need) = needs.iter().find(|need| need.job == on) else {
                    return Err(format!("it was told of {on} before, or does not wait for it"));
                };
                let Some(well) = self.state.relations.outcomes.get(&on) else {
                    return Err(format!("{on} has not ended"));
                };
                let expected = match need.when {
                    When::Succeeded => *well,
                    When::NotSucceeded => !*well,
                    When::Done => true,
                };
                self.counters.needs_met += u64::from(expected);
                self.counters.needs_not_met += u64::from(!expected);
                ensure(*met == expected, || format!("{on} has ended, well: {well}"))
            }
            Event::BatchPut { is_new, batch, .. } => {
                let is_asked = matches!(cause, Cause::NewBatch);
                ensure(*is_new == is_asked && (by_itself || is_asked), || "nobody asked".to_owned())
                    .and_then(|()| {
                        self.counters.batches_made += u64::from(*is_new);
                        if *is_new { Ok(()) } else { self.check_counts(batch.batch, batch.counts) }
                    })
            }
            Event::BatchCount { batch, counts, .. } => {
                ensure(by_itself, || "nobody asked".to_owned())?;
                self.check_counts(*batch, *counts)
            }
            Event::BatchSet { batch, until, .. } => {
                let state = self.state.relations.batches.get(&JobId(*batch));
                let state = state.ok_or_else(|| "it is not there".to_owned())?;
                let is_late = state.was_committed
                    && until.is_none()
                    && state.until.is_some_and(|until| until <= now.wall.0);
                let is_asked = matches!(cause, Cause::SetBatch(id, is_open)
                    if id.0 == *batch && is_open == until.is_some());
                ensure(is_asked || by_itself && is_late, || format!("nobody asked: {state:?}"))
            }
            Event::BatchOver { batch, end, .. } => {
                ensure(by_itself, || "nobody asked".to_owned())?;
                self.check_over(JobId(*batch), *end, now)
            }
            _ => Err("nothing asked for this".to_owned()),
        }
    }

    fn check_over(&mut self, id: JobId, end: BatchEndWritten, now: Now) -> Verdict {
        let batch = self.state.relations.batches.get(&id);
        let batch = batch.ok_or_else(|| "it is not there".to_owned())?;
        let told = || format!("{batch:?}");
        match end {
            BatchEndWritten::Forgotten => {
                self.counters.batches_forgotten += 1;
                ensure(batch.is_over, told)
            }
            BatchEndWritten::Expired => {
                self.counters.batches_expired += 1;
                let is_late = batch.until.is_some_and(|until| until <= now.wall.0);
                ensure(is_late && !batch.was_committed && !batch.is_over, told)
            }
            BatchEndWritten::Succeeded | BatchEndWritten::Failed => {
                self.counters.batches_over += 1;
                let [complete, success, failure] = batch.fired;
                let is_well = batch.failed == 0 && complete.is_none_or(|end| end == Some(true));
                let (last, has_last) =
                    if is_well { (success, batch.has[1]) } else { (failure, batch.has[2]) };
                let other = if is_well { failure } else { success };
                let is_done = batch.until.is_none()
                    && batch.open.is_empty()
                    && complete.is_some() == batch.has[0]
                    && complete.is_none_or(|end| end.is_some())
                    && last.is_some() == has_last
                    && last.is_none_or(|end| end.is_some())
                    && other.is_none();
                let succeeded = is_well && last.is_none_or(|end| end == Some(true));
                let is_right = succeeded == (end == BatchEndWritten::Succeeded);
                ensure(!batch.is_over && is_done && is_right, told)
            }
        }
    }

    fn check_counts(&self, id: u64, counts: tickwheel_core::event::BatchCounted) -> Verdict {
        let batch = self.state.relations.batches.get(&JobId(id));
        let batch = batch.ok_or_else(|| "it is not there".to_owned())?;
        batch.is_like(&counts.into())
    }

    /// A batch added a callback: its time has come, and it was not added before.
    pub(super) fn check_callback(&mut self, membership: Membership, cause: Cause<'_>) -> Verdict {
        ensure(matches!(cause, Cause::Time | Cause::Clean), || "nobody asked".to_owned())?;
        let batch = self.state.relations.batches.get(&membership.batch);
        let batch = batch.ok_or_else(|| "its batch is not there".to_owned())?;
        let Role::Callback(which) = membership.role else {
            return Err("a batch added a member".to_owned());
        };
        let [complete, success, failure] = batch.fired;
        let is_last_free = success.is_none() && failure.is_none();
        let is_well = batch.failed == 0 && complete.is_none_or(|end| end == Some(true));
        let is_complete = complete.is_some_and(|end| end.is_some()) || !batch.has[0];
        let is_due = match which {
            Callback::Complete => batch.unrun.is_empty() && complete.is_none() && is_last_free,
            Callback::Success => batch.open.is_empty() && is_complete && is_last_free && is_well,
            Callback::Failure => batch.open.is_empty() && is_complete && is_last_free && !is_well,
        };
        match which {
            Callback::Complete => self.counters.callbacks_complete += 1,
            Callback::Success => self.counters.callbacks_success += 1,
            Callback::Failure => self.counters.callbacks_failure += 1,
        }
        ensure(
            is_due && batch.until.is_none() && !batch.is_over && batch.has[which as usize],
            || format!("{which:?} is not due: {batch:?}"),
        )
    }

    pub(super) fn compare_relations(&self, core: &Scheduler) -> Verdict {
        let batches = &self.state.relations.batches;
        ensure(batches.len() == core.batches(), || {
            format!("{} batches, expected {}", core.batches(), batches.len())
        })?;
        for (id, batch) in batches {
            let view = core.batch(*id).ok_or_else(|| format!("batch {id} is gone: {batch:?}"))?;
            batch.is_like(&view.counts).map_err(|what| format!("batch {id}: {what}"))?;
            let found = (view.is_open, view.is_over, view.parent);
            let expected = (batch.until.is_some(), batch.is_over, batch.parent);
            ensure(found == expected, || format!("batch {id} is {view:?}, expected {batch:?}"))?;
        }
        Ok(())
    }

    /// A batch that was committed, and of which nothing happens any more though it is not over.
    pub(crate) fn stuck_batch(&self) -> Option<String> {
        let is_stuck = |batch: &&Batch| batch.until.is_none() && !batch.is_over;
        let has_open_child = |batch: &Batch| {
            let batches = &self.state.relations.batches;
            batch.open.iter().any(|id| batches.get(id).is_some_and(|child| child.until.is_some()))
        };
        let mut batches = self.state.relations.batches.values().filter(is_stuck);
        // A batch within another that was not committed yet holds that up until it expires.
        batches
            .find(|batch| batch.open.is_empty() && !has_open_child(batch))
            .map(|b| format!("{b:?}"))
    }
}

impl Batch {
    fn is_like(&self, counts: &tickwheel_core::BatchCounts) -> Verdict {
        let found = (counts.total, counts.unrun as usize, counts.open as usize, counts.failed);
        let expected = (self.total, self.unrun.len(), self.open.len(), self.failed);
        let is_fired = |fired: Option<Option<bool>>, found: Fired| match fired {
            None => found == Fired::No,
            Some(None) => found == Fired::Added,
            Some(Some(true)) => found == Fired::Succeeded,
            Some(Some(false)) => found == Fired::Failed,
        };
        let [complete, success, failure] = self.fired;
        let fired =
            is_fired(complete, counts.complete) && is_fired(success.or(failure), counts.last);
        ensure(found == expected && fired, || format!("{counts:?}, expected {self:?}"))
    }
}

impl State {
    /// Takes in what an event says about relations.
    pub(super) fn take_relation(&mut self, end: u64, event: &Event<'_>, payload: &[u8]) {
        if let Some(id) = self.relations.cancels(event) {
            self.totals.cancelled += 1;
            self.end(id, end, false);
        }
        self.relations.take(event, payload);
        // One that was due when it was told is ready then, and is not due anew if the clock was set back since.
        if let Event::NeedSettled { job, at, .. } = event
            && !self.relations.is_blocked(JobId(*job))
            && self.relations.due.get(&JobId(*job)).is_some_and(|due| due <= at)
            && let Some(job) = self.jobs.get_mut(&JobId(*job))
        {
            job.was_due = true;
        }
    }
}

/// What a list of needs is made of, for whoever draws jobs.
pub(crate) fn needs(of: &[(JobId, When)]) -> Needs {
    let needs: Vec<Need> = of.iter().map(|(job, when)| Need { job: *job, when: *when }).collect();
    Needs::new(&needs)
}
