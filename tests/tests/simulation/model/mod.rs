//! What one shard must hold: the plain list of its events, and what its callers were promised.
//!
//! The list is what the journal was given. Each event is checked against the promises when it is
//! written, by the input that caused it and by all events before it, and then taken into a plain map
//! of jobs and schedules. After a crash the list is cut where the journal ends now, and the maps are
//! built anew. What was promised to a caller is kept apart from the list, and never cut.

mod aging;
mod dead;
mod due;
mod groups;
mod jobs;
mod limits;
mod relations;
mod remote;
mod schedules;
mod told;

use std::collections::{BTreeMap, BTreeSet};

use tickwheel_core::{
    Attempt, Began, Change, DeadLimits, Filter, JobId, JobState, NewJob, Now, Outcome, QueueLimits,
    Role, Schedule, Scheduler,
    event::{Attempts, Event, Listed},
};

use crate::{Verdict, counters::Counters, journal::Written, shard::Settings};
use dead::DeadJob;
use due::Due;
pub(crate) use jobs::{Job, JobIs};
pub(crate) use limits::{Meters, Seen};
use relations::Relations;
pub(crate) use relations::needs;
use remote::Remote;
pub(crate) use remote::Serves;
pub(crate) use schedules::CRON_RULES;
use schedules::Rule;

/// A timer fires at the first tick after its time: a little more than one tick.
const TICK_SLACK_NS: u64 = 200_000;

/// What the scheduler was asked to do when it wrote an event.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Cause<'a> {
    Submit(&'a NewJob<'a>),
    Cancel(JobId),
    Change(JobId, &'a Change),
    ChangeMany(&'a Filter, &'a Change),
    Put(&'a Schedule<'a>),
    Remove(&'a str),
    Complete(Attempt, Outcome<'a>),
    Succeed(&'a [Attempt]),
    LeaseEnd(Attempt, Began),
    Fetch { queues: &'a [&'static str], max: u32 },
    Extend(Attempt, u64),
    Rewrite(JobId, &'a [u8]),
    Pause(&'a str, bool),
    NewBatch,
    SetBatch(JobId, bool),
    Limit(&'a str, QueueLimits),
    LimitGroups(&'a str, Option<&'a str>, Option<QueueLimits>),
    Age(&'a str, Option<u32>),
    Time,
    Clean,
    Recovery,
}

/// An event that was written.
struct Entry {
    lsn: u64,
    end: u64,
    bytes: Vec<u8>,
    /// When the job is due that the event adds or puts off.
    due: Option<Due>,
    /// When the schedule fires next that the event is about.
    next: Option<Due>,
}

/// A promise that was given to a caller, and the end of the event that it rests on.
struct Promise {
    end: u64,
    what: Promised,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Promised {
    /// The job was accepted.
    Accepted(JobId),
    /// The job does not run any more.
    Over(JobId),
    /// A schedule was put or removed.
    Schedule(String),
    /// A queue was paused, or let go on.
    Queue(String),
    /// A lease ends at another time.
    Lease(JobId),
    /// A job was changed.
    Changed(JobId),
}

/// Totals, as a base or a snapshot must keep them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Totals {
    added: u64,
    succeeded: u64,
    dead: u64,
    cancelled: u64,
    expired: u64,
    failed_attempts: u64,
}

/// What follows from the list of events.
#[derive(Default)]
struct State {
    jobs: BTreeMap<JobId, Job>,
    dead: BTreeMap<JobId, DeadJob>,
    /// End of the event that added each job, also of those that have ended.
    added: BTreeMap<JobId, u64>,
    /// Jobs that have ended, with the end of the event that says so.
    ended: BTreeMap<JobId, u64>,
    schedules: BTreeMap<String, Rule>,
    /// End of the last event about each schedule that was ever there.
    touched: BTreeMap<String, u64>,
    /// Keys of jobs that have not ended.
    keys: BTreeMap<[u8; 16], JobId>,
    /// Queues that are paused.
    paused: BTreeSet<String>,
    /// Limits of queues that were ever limited.
    limits: BTreeMap<String, QueueLimits>,
    /// Limits of each group of a queue, and of some groups.
    group_limits: BTreeMap<(String, Option<String>), QueueLimits>,
    /// Queues whose jobs age or once did, with the end of the last event about that.
    aging: BTreeMap<String, (Option<u32>, u64)>,
    /// End of the last event about the pause or the limits of each queue.
    set: BTreeMap<String, u64>,
    totals: Totals,
    relations: Relations,
}

/// How a life ended, as far as it matters for what must be left.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Left {
    /// All below was called durable.
    pub(crate) durable: u64,
    /// All below was in memory that outlives the process.
    pub(crate) safe: u64,
    /// Promises may be broken: they were given before a sync, as that mode says.
    pub(crate) may_break_promises: bool,
}

/// The model of one shard.
pub(crate) struct Model {
    entries: Vec<Entry>,
    state: State,
    promises: Vec<Promise>,
    /// Jobs that were promised to run no more.
    over: BTreeSet<JobId>,
    /// All ids that anybody has ever seen.
    issued: BTreeSet<JobId>,
    /// Jobs that had ended when that was last noted.
    over_by_then: BTreeSet<JobId>,
    running_max: u32,
    jobs_max: u32,
    dead_limits: DeadLimits,
    serves: Serves,
    remote: Remote,
    /// The latest that the wall clock has ever shown.
    wall_max: u64,
    /// Queues of the other open shards.
    others: BTreeMap<String, Vec<Seen>>,
    meters: Meters,
    fairness: groups::Fairness,
    told: told::Told,
    pub(crate) counters: Counters,
    /// Stands for all that happened.
    pub(crate) trace: u64,
}

impl Model {
    pub(crate) fn new(settings: &Settings, meters: Meters) -> Self {
        let Settings { running_max, jobs_max, dead, serves, .. } = *settings;
        Self {
            entries: Vec::new(),
            state: State::default(),
            promises: Vec::new(),
            over: BTreeSet::new(),
            issued: BTreeSet::new(),
            over_by_then: BTreeSet::new(),
            running_max,
            jobs_max,
            dead_limits: dead,
            serves,
            remote: Remote::default(),
            wall_max: 0,
            others: BTreeMap::new(),
            meters,
            fairness: groups::Fairness::default(),
            told: told::Told::default(),
            counters: Counters::default(),
            trace: 0,
        }
    }

    /// The scheduler wrote an event: checks that it may, and takes it in.
    pub(crate) fn take(&mut self, cause: Cause<'_>, now: Now, written: Written) -> Verdict {
        let Written { lsn, end, bytes } = written;
        let last = self.entries.last().map_or(0, |last| last.end);
        if lsn < last {
            return Err(format!("an event was written at {lsn}, but the log was at {last}"));
        }
        self.note(&bytes);
        self.counters.events += 1;
        self.wall_max = self.wall_max.max(now.wall.0);
        let (event, payload) = Event::decode(&bytes).map_err(|error| error.to_string())?;
        let due = jobs::due_of(&event, now);
        let next = schedules::next_of(&event, self.clock_of_next(&event), now);
        if let Event::Added(added) | Event::ScheduleFired { job: Some(added), .. } = &event {
            let id = JobId(added.job);
            ensure(self.issued.insert(id), || format!("id {id} was given out twice"))?;
            // Nobody can be refused where a batch adds its callback.
            let membership = added.terms.options.batch;
            if membership.is_none_or(|membership| membership.role == Role::Member) {
                let (queue, group) = (added.terms.queue, added.terms.options.group);
                let left = added.terms.options.replaces.and_then(|id| self.place_of(JobId(id)));
                let left = left.filter(|(left, _)| left == queue);
                if left.is_none() {
                    self.check_length(queue)?;
                }
                if left.is_none_or(|(_, left)| left.as_deref() != group) {
                    self.check_group_length(queue, group)?;
                }
            }
        }
        let mut ends = Vec::new();
        for single in one_by_one(event, payload)? {
            ends.append(&mut self.state.ends_by(&single));
            let told = || format!("{single:?} of {cause:?}");
            let checked = self.check(&single, payload, cause, now);
            checked.map_err(|what| format!("{what}: {}", told()))?;
            self.note_turns(&single.event);
            self.state.take(self.entries.len(), end, &single, payload);
            self.note_lease(self.entries.len(), &single, now);
        }
        self.check_told(lsn, ends)?;
        self.entries.push(Entry { lsn, end, bytes, due, next });
        Ok(())
    }

    fn check(
        &mut self,
        single: &Single<'_>,
        payload: &[u8],
        cause: Cause<'_>,
        now: Now,
    ) -> Verdict {
        let event = &single.event;
        match event {
            Event::Started { job, token, at } if single.is_fetched => {
                ensure(*at == now.wall.0, || format!("it is {now:?}"))?;
                self.check_fetched(JobId(*job), *token, cause, now)
            }
            Event::Extended { job, at, lease_end } => {
                self.check_extended(JobId(*job), (*at, *lease_end), cause)
            }
            Event::QueueSet { name, paused, .. } => self.check_queue(name, *paused, cause),
            Event::Changed { change, .. } => {
                let id = single.job.ok_or("a change of no job")?;
                self.check_changed(id, change, cause, now)
            }
            Event::QueueLimits { name, limits, .. } => self.check_limits_set(name, *limits, cause),
            Event::GroupsLimits { .. } | Event::GroupLimits { .. } | Event::GroupSpent { .. } => {
                self.check_of_group(event, cause)
            }
            Event::QueueAging { name, span_ms, .. } => self.check_aging(name, *span_ms, cause),
            Event::SchedulePut { .. }
            | Event::ScheduleFired { .. }
            | Event::ScheduleRemoved { .. }
            | Event::ScheduleKept { .. } => self.check_schedule(event, payload, cause, now),
            Event::Base { added, succeeded, dead, cancelled, failed_attempts, .. } => {
                let totals = Totals {
                    added: *added,
                    succeeded: *succeeded,
                    dead: *dead,
                    cancelled: *cancelled,
                    // It has no place for it: the totals before it tell.
                    expired: self.state.totals.expired,
                    failed_attempts: *failed_attempts,
                };
                ensure(totals == self.state.totals, || {
                    format!("the totals are {:?}", self.state.totals)
                })
            }
            Event::NeedSettled { .. }
            | Event::BatchPut { .. }
            | Event::BatchSet { .. }
            | Event::BatchCount { .. }
            | Event::BatchOver { .. } => self.check_relation(event, cause, now),
            Event::UniqueKept { .. } => {
                ensure(matches!(cause, Cause::Clean), || "nobody asked".to_owned())
            }
            Event::Totals { expired, .. } => {
                let expected = self.state.totals.expired;
                ensure(*expired == expected && expected > 0, || format!("{expected} have expired"))
            }
            Event::Expired { job, at } => {
                ensure(*at == now.wall.0, || format!("it is {now:?}"))?;
                self.check_expired(JobId(*job), cause, now)
            }
            _ => self.check_job(event, payload, cause, now),
        }
    }

    /// The clocks are about to be set, or were set: what is written may be reckoned from either.
    pub(crate) fn note_clocks(&mut self, now: Now) {
        self.wall_max = self.wall_max.max(now.wall.0);
        for job in self.state.jobs.values_mut() {
            let due = self.entries[job.due].due.as_mut();
            if let Some(due) = due {
                due.note_offset(now);
                // It may have been triggered, and stays ready if the clock is set back.
                job.was_due |= due.may_be_due(now);
            }
        }
        self.note_lease_clocks(now);
        for rule in self.state.schedules.values() {
            if let Some(next) = self.entries[rule.entry].next.as_mut() {
                next.note_offset(now);
            }
        }
    }

    /// The life of the scheduler ended, and the journal came back up to `end` at `now`.
    pub(crate) fn recover(&mut self, end: u64, left: Left, now: Now) -> Verdict {
        let Left { durable, safe, may_break_promises } = left;
        if end < self.end_below(durable) || end < self.end_below(safe) {
            return Err(format!(
                "the journal came back up to {end}; {durable} was durable, {safe} in memory"
            ));
        }
        let broken = self.promises.iter().find(|promise| promise.end > end);
        if let Some(Promise { end: of, what }) = broken
            && !may_break_promises
        {
            return Err(format!("{what:?} rests on {of}, and the journal came back up to {end}"));
        }
        self.promises.retain(|promise| promise.end <= end);
        self.over = self.promises.iter().filter_map(Promise::over).collect();
        let survivors = self.entries.partition_point(|entry| entry.end <= end);
        self.counters.events_lost += u64::from(survivors < self.entries.len());
        self.forget_fetches(survivors);
        self.entries.truncate(survivors);
        self.state = State::default();
        self.forget_turns();
        for (index, entry) in self.entries.iter().enumerate() {
            let (event, payload) =
                Event::decode(&entry.bytes).map_err(|error| error.to_string())?;
            for single in one_by_one(event, payload)? {
                self.state.take(index, entry.end, &single, payload);
            }
        }
        for entry in self.live_entries() {
            let entry = &mut self.entries[entry];
            entry.due.iter_mut().chain(&mut entry.next).for_each(|due| due.read_back(now));
        }
        self.read_leases_back(now);
        self.counters.dead_over_a_crash += self.dead();
        self.note(&end.to_le_bytes());
        Ok(())
    }

    /// Entries that a job's or schedule's due time is in.
    fn live_entries(&self) -> BTreeSet<usize> {
        let jobs = self.state.jobs.values().map(|job| job.due);
        jobs.chain(self.state.schedules.values().map(|rule| rule.entry)).collect()
    }

    /// End of the last event that lies below `position`.
    fn end_below(&self, position: u64) -> u64 {
        let count = self.entries.partition_point(|entry| entry.end <= position);
        count.checked_sub(1).map_or(0, |last| self.entries[last].end)
    }

    /// Whether an event was written at `lsn`.
    pub(crate) fn holds(&self, lsn: u64, bytes: &[u8]) -> bool {
        self.entries
            .binary_search_by_key(&lsn, |entry| entry.lsn)
            .is_ok_and(|found| self.entries[found].bytes == bytes)
    }

    fn promise(&mut self, end: u64, what: Promised) {
        self.note(format!("{what:?}").as_bytes());
        if let Promised::Over(job) = what {
            self.over.insert(job);
        }
        self.promises.push(Promise { end, what });
    }

    /// A caller was told that its job was accepted as `id`.
    pub(crate) fn tell_accepted(&mut self, id: JobId, asked: &NewJob<'_>) -> Verdict {
        let Some(&end) = self.state.added.get(&id) else {
            return Err(format!("job {id} was accepted, but nothing was written"));
        };
        if let Some(job) = self.state.jobs.get(&id) {
            ensure(job.is_as_asked(asked), || format!("job {id} is not what was asked for"))?;
        }
        self.promise(end, Promised::Accepted(id));
        Ok(())
    }

    /// A caller was told that the job is cancelled, or had ended before.
    pub(crate) fn tell_over(&mut self, id: JobId) -> Verdict {
        // Answered and still there: whether that holds is seen when it is dispatched, or counted.
        let end = self.state.ended.get(&id).copied().unwrap_or(0);
        self.promise(end, Promised::Over(id));
        Ok(())
    }

    /// End of the last event about a schedule.
    pub(crate) fn schedule_end(&self, name: &str) -> u64 {
        self.state.touched.get(name).copied().unwrap_or(0)
    }

    /// A caller was told that its schedule was put or removed, which rests on what ends at `end`.
    pub(crate) fn tell_schedule(&mut self, name: &str, end: u64) {
        self.promise(end, Promised::Schedule(name.to_owned()));
    }

    /// Compares what the scheduler holds with what follows from the events.
    pub(crate) fn compare(&mut self, core: &Scheduler) -> Verdict {
        self.counters.censuses += 1;
        let census = core.census().map_err(|error| error.to_string())?;
        let (counts, totals) = (core.counts(), self.state.totals);
        let found = Totals {
            added: counts.added,
            succeeded: counts.succeeded,
            dead: counts.dead,
            cancelled: counts.cancelled,
            expired: counts.expired,
            failed_attempts: counts.failed_attempts,
        };
        ensure(found == totals, || format!("totals are {found:?}, expected {totals:?}"))?;
        let running = self.running();
        ensure(census.running == running, || {
            format!("{} attempts are under way, expected {running}", census.running)
        })?;
        let dead = (census.dead as usize, self.state.dead.len());
        ensure(dead.0 == dead.1, || format!("{} dead jobs, expected {}", dead.0, dead.1))?;
        let jobs = census.scheduled + census.ready + census.running + census.blocked;
        let expected = self.state.jobs.len();
        ensure(jobs as usize == expected, || format!("{jobs} jobs, expected {expected}"))?;
        for (id, job) in &self.state.jobs {
            let view = core.job(*id).ok_or_else(|| format!("job {id} is gone: {job:?}"))?;
            let is_blocked = self.state.relations.is_blocked(*id);
            ensure(is_blocked == (view.state == JobState::Blocked), || {
                format!("job {id} is {}, blocked: {is_blocked}", view.state)
            })?;
            job.compare(&view).map_err(|what| format!("{what}: {view:?}, expected {job:?}"))?;
            ensure(!self.over.contains(id), || format!("job {id} was over, and is there again"))?;
        }
        self.compare_dead(core)?;
        self.compare_queues(core)?;
        self.compare_groups(core)?;
        self.compare_aging(core)?;
        self.compare_relations(core)?;
        self.compare_schedules(&core.schedules())
    }

    /// What must have begun by `now` and waits: a job that is due, or a schedule.
    pub(crate) fn overdue(&self, now: Now) -> Option<String> {
        let is_overdue = |due: &Due| due.must_be_due(now, TICK_SLACK_NS);
        let waits = |(id, job): &(&JobId, &Job)| {
            matches!(job.state, JobIs::Waiting) && !self.state.relations.is_blocked(**id)
        };
        let mut jobs = self.state.jobs.iter().filter(waits).map(|(_, job)| job);
        let late_job = |job: &&Job| self.entries[job.due].due.as_ref().is_some_and(is_overdue);
        let lapsed = |job: &&Job| job.has_lapsed(now.wall.0.saturating_sub(TICK_SLACK_NS));
        let job = jobs.rfind(late_job).or(self.state.jobs.values().rfind(lapsed));
        let rules = self.state.schedules.iter();
        let late = |(name, rule): &(&String, &Rule)| {
            let next = self.entries[rule.entry].next.as_ref();
            next.is_some_and(is_overdue) && !self.is_waiting(name, rule)
        };
        let rule = rules.filter(late).map(|(name, _)| name).next_back();
        job.map(|job| format!("{job:?}, {:?}", self.entries[job.due].due))
            .or(rule.map(|name| format!("schedule {name}")))
            .or(self.overdue_lease(now))
    }

    /// Jobs that wait, and are due for certain.
    pub(crate) fn due_jobs(&self, now: Now) -> u64 {
        let waits = |(id, job): &(&JobId, &Job)| {
            matches!(job.state, JobIs::Waiting) && !self.state.relations.is_blocked(**id)
        };
        let due = |job: &&Job| {
            self.entries[job.due].due.is_some_and(|due| due.must_be_due(now, TICK_SLACK_NS))
        };
        self.state.jobs.iter().filter(waits).map(|(_, job)| job).filter(due).count() as u64
    }

    /// Whether the beginning of an attempt lies below `durable`.
    pub(crate) fn is_durably_begun(&self, attempt: Attempt, durable: u64) -> bool {
        let entries = self.entries.iter().take_while(|entry| entry.end <= durable);
        let decoded = entries.filter_map(|entry| Event::decode(&entry.bytes).ok());
        let events = decoded.filter_map(|(event, payload)| one_by_one(event, payload).ok());
        events.flatten().any(|single| {
            matches!(single.event, Event::Started { job, token, .. }
                if job == attempt.job.0 && token == attempt.token.0)
        })
    }

    /// Some job that has not ended, for a message.
    pub(crate) fn told_one(&self) -> Option<String> {
        let runs = |(_, job): &(&JobId, &Job)| matches!(job.state, JobIs::Running { .. });
        let running = self.state.jobs.iter().find(runs);
        let (id, job) = running.or(self.state.jobs.first_key_value())?;
        Some(format!("{id} {job:?} {:?}", self.entries[job.due].due))
    }

    /// All jobs that there ever were have ended.
    pub(crate) fn note_all_ended(&mut self) {
        self.over_by_then = self.issued.clone();
    }

    /// Some job that was said to have ended and is there, for a message. One that is new is not meant:
    /// time may have let a batch add it.
    pub(crate) fn told_one_back(&self) -> Option<String> {
        let mut jobs = self.state.jobs.iter();
        let (id, job) = jobs.find(|(id, _)| self.over_by_then.contains(id))?;
        Some(format!("{id} {job:?}"))
    }

    pub(crate) fn job(&self, id: JobId) -> Option<&Job> {
        self.state.jobs.get(&id)
    }

    /// Jobs that have not ended.
    pub(crate) fn pending(&self) -> usize {
        self.state.jobs.len()
    }

    pub(crate) fn running(&self) -> u32 {
        let running = |job: &&Job| matches!(job.state, JobIs::Running { .. });
        self.state.jobs.values().filter(running).count() as u32
    }

    /// Names of the schedules that are there.
    pub(crate) fn schedule_names(&self) -> Vec<String> {
        self.state.schedules.keys().cloned().collect()
    }

    /// The job at some place of the list of those that have not ended, or of all ids.
    pub(crate) fn pick(&self, draw: u64, is_pending: bool) -> Option<JobId> {
        let (jobs, issued) = (&self.state.jobs, &self.issued);
        let nth = |len: usize| (draw % len.max(1) as u64) as usize;
        if is_pending {
            jobs.keys().nth(nth(jobs.len())).copied()
        } else {
            issued.iter().nth(nth(issued.len())).copied()
        }
    }

    /// Some job whose attempt is under way.
    pub(crate) fn pick_running(&self, draw: u64) -> Option<JobId> {
        let running = |(_, job): &(&JobId, &Job)| matches!(job.state, JobIs::Running { .. });
        let count = self.running().max(1);
        let place = (draw % u64::from(count)) as usize;
        self.state.jobs.iter().filter(running).map(|(id, _)| *id).nth(place)
    }

    /// Adds to the trace.
    pub(crate) fn note(&mut self, bytes: &[u8]) {
        // FNV-1a, which is short and the same everywhere.
        for byte in bytes {
            self.trace = (self.trace ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        self.trace = self.trace.wrapping_add(bytes.len() as u64 + 1);
    }
}

impl State {
    /// Takes in an event that was found to be right.
    fn take(&mut self, index: usize, end: u64, single: &Single<'_>, payload: &[u8]) {
        self.take_schedule(index, end, &single.event, payload);
        let ending = schedules::ending(&single.event, single.job);
        let ending =
            ending.and_then(|(id, at)| Some((id, self.jobs.get(&id)?.schedule.clone()?, at)));
        self.take_job(index, end, single, payload);
        self.take_queue(end, &single.event);
        self.take_relation(end, &single.event, payload);
        self.take_limits(end, &single.event);
        if let Some((id, schedule, at)) = ending
            && !self.jobs.contains_key(&id)
        {
            self.note_end(&schedule, at);
        }
        self.take_group(end, &single.event);
    }
}

impl Promise {
    fn over(&self) -> Option<JobId> {
        match self.what {
            Promised::Over(job) => Some(job),
            _ => None,
        }
    }
}

/// What an event says of one job or schedule.
#[derive(Debug)]
struct Single<'a> {
    event: Event<'a>,
    /// The job, where the event names several.
    job: Option<JobId>,
    /// It began an attempt that a worker fetched.
    is_fetched: bool,
}

/// Takes an event about several attempts apart.
fn one_by_one<'a>(event: Event<'a>, payload: &[u8]) -> Verdict<Vec<Single<'a>>> {
    let (count, at, is_start, is_fetched) = match event {
        Event::StartedMany { count, at } => (count, at, true, false),
        Event::Fetched { count, at } => (count, at, true, true),
        Event::SucceededMany { count, at } => (count, at, false, false),
        Event::Changed { count, .. } => return each_changed(&event, count, payload),
        event => return Ok(vec![Single { event, job: None, is_fetched: false }]),
    };
    let single = |Listed { job, token }| {
        let event = match is_start {
            true => Event::Started { job: job.0, token: token.0, at },
            false => Event::Succeeded { job: job.0, at },
        };
        Single { event, job: Some(job), is_fetched }
    };
    let attempts = Attempts::new(count, payload);
    let events: Result<Vec<_>, _> = attempts.map(|listed| listed.map(single)).collect();
    let events = events.map_err(|error| error.to_string())?;
    ensure(events.len() == count as usize, || "a list is too short".to_owned())?;
    Ok(events)
}

fn each_changed<'a>(event: &Event<'a>, count: u32, payload: &[u8]) -> Verdict<Vec<Single<'a>>> {
    let single =
        |listed: Listed| Single { event: event.clone(), job: Some(listed.job), is_fetched: false };
    let singles: Result<Vec<_>, _> =
        Attempts::new(count, payload).map(|listed| listed.map(single)).collect();
    let singles = singles.map_err(|error| error.to_string())?;
    ensure(singles.len() == count as usize, || "a list is too short".to_owned())?;
    Ok(singles)
}

/// `Err` with what is wrong, unless `is_right`.
pub(crate) fn ensure(is_right: bool, wrong: impl FnOnce() -> String) -> Verdict {
    if is_right { Ok(()) } else { Err(wrong()) }
}

/// What stands for a payload.
fn digest(payload: &[u8]) -> u64 {
    payload.iter().fold(payload.len() as u64, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
