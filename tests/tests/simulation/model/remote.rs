//! Workers outside of the process, as the model sees them: which attempts they were given, until when
//! they have them, which keys are held and which queues are paused.
//!
//! What a worker was given is never forgotten, also if a crash loses the event that says so: the
//! worker has it all the same, and its end may still come.

use std::collections::{BTreeMap, BTreeSet};

use tickwheel_core::{Attempt, Clock, JobId, Key, Now, Scheduler, event::Event};

use super::{Cause, Due, JobIs, Model, Single, State, ensure, jobs::Job, one_by_one};
use crate::{Verdict, clients, clock::MS};

/// A lease ends at the first tick after its time, which cleaning and restarts round up each time.
const LEASE_SLACK_NS: u64 = 10 * MS;

/// Which queues executors take from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Serves {
    All,
    /// Only those named `default`.
    Default,
    Nothing,
}

impl Serves {
    pub(crate) fn by_executors(self, queue: &str) -> bool {
        match self {
            Self::All => true,
            Self::Default => queue == "default",
            Self::Nothing => false,
        }
    }
}

/// What the workers of a shard were given.
#[derive(Default)]
pub(super) struct Remote {
    /// Attempts that a worker has heard of: job and token.
    given: BTreeSet<(JobId, u32)>,
    /// Of these, the ones whose beginning a crash has lost.
    lost: BTreeSet<(JobId, u32)>,
    /// When leases end, by the entry that says so and the job.
    leases: BTreeMap<(usize, JobId), Due>,
}

impl Model {
    /// A worker took an attempt, as written in an event.
    pub(super) fn check_fetched(
        &mut self,
        id: JobId,
        token: u32,
        cause: Cause<'_>,
        now: Now,
    ) -> Verdict {
        let Cause::Fetch { queues, max } = cause else {
            return Err("nobody fetches".to_owned());
        };
        let job = self.known(id)?;
        let queue = job.terms.queue.as_str();
        ensure(queues.contains(&queue), || format!("nobody fetches from {queue}"))?;
        ensure(max > 0, || "more was given than asked for".to_owned())?;
        self.check_start(id, token, now)?;
        self.counters.fetched += 1;
        Ok(())
    }

    /// No attempt has the token of one that a worker was given for the same job, even if the
    /// beginning of that one is lost: else the worker's end would end this one.
    pub(super) fn check_token_is_new(&self, id: JobId, token: u32) -> Verdict {
        let is_given = self.remote.given.contains(&(id, token));
        ensure(!is_given, || {
            format!("token {token} was given to a worker before, which a crash has lost")
        })
    }

    /// The lease of a fetched attempt ends by time alone.
    pub(super) fn check_lease_end(&mut self, id: JobId, now: Now) -> Verdict {
        self.check_fence(id, id, None)?;
        let lease = self.lease(id, self.known(id)?).ok_or("no worker has it")?;
        ensure(lease.may_be_due(now), || {
            format!("a worker's lease ended early, at {now:?}: {lease:?}")
        })?;
        self.counters.timed_out += 1;
        self.counters.worker_leases_ended += 1;
        Ok(())
    }

    pub(super) fn check_extended(
        &mut self,
        id: JobId,
        (at, lease_end): (u64, u64),
        cause: Cause<'_>,
    ) -> Verdict {
        let Cause::Extend(attempt, span_ns) = cause else {
            return Err("nothing asked for this".to_owned());
        };
        self.check_fence(id, attempt.job, Some(attempt.token.0))?;
        ensure(lease_end == at + span_ns, || "it lasts otherwise".to_owned())?;
        self.counters.leases_extended += 1;
        Ok(())
    }

    pub(super) fn check_queue(&mut self, name: &str, paused: bool, cause: Cause<'_>) -> Verdict {
        let is_paused = self.state.paused.contains(name);
        match cause {
            Cause::Clean => ensure(paused && is_paused, || "it is not paused".to_owned()),
            Cause::Pause(asked, wanted) => {
                let counters = &mut self.counters;
                counters.pauses += u64::from(paused);
                counters.resumes += u64::from(!paused);
                ensure((asked, wanted) == (name, paused) && paused != is_paused, || {
                    "something else was asked for".to_owned()
                })
            }
            _ => Err("nothing asked for this".to_owned()),
        }
    }

    pub(super) fn check_key_is_free(&mut self, key: Option<Key>) -> Verdict {
        let Some(key) = key else { return Ok(()) };
        self.counters.jobs_with_a_key += 1;
        match self.state.keys.get(&key.0) {
            None => Ok(()),
            Some(holder) => Err(format!("job {holder} has this key")),
        }
    }

    /// A job was refused because `holder` has its key.
    pub(crate) fn check_held(&mut self, key: Option<Key>, holder: JobId) -> Verdict {
        self.counters.refused_for_a_held_key += 1;
        let held = key.and_then(|key| self.state.keys.get(&key.0)).copied();
        ensure(held == Some(holder), || {
            format!("it was refused as job {holder} has its key, which is held by {held:?}")
        })
    }

    /// The attempt under way of the job that has `key`: job and token.
    pub(crate) fn attempt_of(&self, key: Key) -> Option<(JobId, u32)> {
        let id = *self.state.keys.get(&key.0)?;
        let job = self.state.jobs.get(&id)?;
        matches!(job.state, JobIs::Running { .. }).then_some((id, job.token))
    }

    /// A worker was given an attempt.
    pub(crate) fn give(&mut self, attempt: Attempt) {
        self.remote.given.insert((attempt.job, attempt.token.0));
    }

    /// Whether a crash has lost the beginning of an attempt that a worker was given.
    pub(crate) fn has_lost(&self, attempt: Attempt) -> bool {
        self.remote.lost.contains(&(attempt.job, attempt.token.0))
    }

    /// End of the last event about a queue's pause.
    pub(crate) fn queue_end(&self, name: &str) -> u64 {
        self.state.set.get(name).copied().unwrap_or(0)
    }

    /// A caller was told that a queue is paused or goes on, which rests on what ends at `end`.
    pub(crate) fn tell_queue(&mut self, name: &str, end: u64) {
        self.promise(end, super::Promised::Queue(name.to_owned()));
    }

    /// A worker was told that it has its attempt for longer, which rests on what ends at `end`.
    pub(crate) fn tell_lease(&mut self, job: JobId, end: u64) {
        self.promise(end, super::Promised::Lease(job));
    }

    /// Attempts under way that executors have.
    pub(super) fn by_executors(&self) -> u32 {
        self.running() - self.fetched()
    }

    /// Attempts under way that workers have.
    pub(crate) fn fetched(&self) -> u32 {
        self.state.jobs.values().filter(|job| job.is_fetched()).count() as u32
    }

    /// Keys, pauses and fetched attempts are the same.
    pub(super) fn compare_queues(&mut self, core: &Scheduler) -> Verdict {
        let fetched = core.counts().fetched;
        ensure(fetched == u64::from(self.fetched()), || {
            format!("{fetched} attempts are fetched, expected {}", self.fetched())
        })?;
        for key in clients::keys() {
            let (found, held) = (core.job_of(key), self.state.keys.get(&key.0).copied());
            ensure(found == held, || format!("{key:?} is held by {found:?}, not by {held:?}"))?;
            let of_job = held.and_then(|job| core.key_of(job));
            ensure(held.is_none() || of_job == Some(key), || format!("a job lost its {key:?}"))?;
        }
        for queue in core.queues() {
            let is_paused = self.state.paused.contains(&*queue.name);
            ensure(queue.paused == is_paused, || {
                format!("queue {} is paused: {}, expected {is_paused}", queue.name, queue.paused)
            })?;
            let limits = self.state.limits.get(&*queue.name).copied().unwrap_or_default();
            ensure(queue.limits == limits, || {
                format!("queue {} has {:?}, expected {limits:?}", queue.name, queue.limits)
            })?;
            let counters = &mut self.counters;
            counters.ready_in_a_paused_queue += u64::from(is_paused && queue.ready > 0);
        }
        let paused = |name: &&String| core.queue(name).is_none();
        match self.state.paused.iter().find(paused) {
            Some(name) => Err(format!("the pause of {name} is forgotten")),
            None => Ok(()),
        }
    }

    fn lease(&self, id: JobId, job: &Job) -> Option<&Due> {
        let JobIs::Running { fetched: Some(entry), .. } = job.state else { return None };
        self.remote.leases.get(&(entry, id))
    }

    /// A lease that must have ended by `now`.
    pub(super) fn overdue_lease(&self, now: Now) -> Option<String> {
        let leases =
            self.state.jobs.iter().filter_map(|(id, job)| Some((id, self.lease(*id, job)?)));
        let mut late = leases.filter(|(_, lease)| lease.must_be_due(now, LEASE_SLACK_NS));
        late.next().map(|(id, lease)| format!("the lease of job {id}, {lease:?}"))
    }

    /// The entry of that number may say when a lease ends.
    pub(super) fn note_lease(&mut self, index: usize, single: &Single<'_>, now: Now) {
        let (id, end) = match single.event {
            Event::Started { job, at, .. } if single.is_fetched => {
                let id = JobId(job);
                let Some(job) = self.state.jobs.get(&id) else { return };
                (id, at + u64::from(job.terms.timeout_ms) * MS)
            }
            Event::Extended { job, lease_end, .. } => (JobId(job), lease_end),
            _ => return,
        };
        self.remote.leases.insert((index, id), Due::new(Clock::Mono, end, false, now));
    }

    fn live_leases(&self) -> Vec<(usize, JobId)> {
        let of_job = |(id, job): (&JobId, &Job)| match job.state {
            JobIs::Running { fetched: Some(entry), .. } => Some((entry, *id)),
            _ => None,
        };
        self.state.jobs.iter().filter_map(of_job).collect()
    }

    pub(super) fn note_lease_clocks(&mut self, now: Now) {
        for key in self.live_leases() {
            if let Some(lease) = self.remote.leases.get_mut(&key) {
                lease.note_offset(now);
            }
        }
    }

    pub(super) fn read_leases_back(&mut self, now: Now) {
        let live = self.live_leases();
        self.counters.fetched_over_a_crash += live.len() as u64;
        self.counters.pauses_over_a_crash += self.state.paused.len() as u64;
        self.counters.keys_held_over_a_crash += self.state.keys.len() as u64;
        for key in live {
            if let Some(lease) = self.remote.leases.get_mut(&key) {
                lease.read_back(now);
            }
        }
    }

    /// All entries from that number on are lost, and with them what they say of fetches.
    pub(super) fn forget_fetches(&mut self, survivors: usize) {
        self.remote.leases.retain(|(entry, _), _| *entry < survivors);
        for entry in &self.entries[survivors..] {
            let Ok((event, payload)) = Event::decode(&entry.bytes) else { continue };
            let singles = one_by_one(event, payload).unwrap_or_default();
            for single in singles.iter().filter(|single| single.is_fetched) {
                let Event::Started { job, token, .. } = single.event else { continue };
                if self.remote.given.contains(&(JobId(job), token)) {
                    self.remote.lost.insert((JobId(job), token));
                    self.counters.fetches_lost_in_a_crash += 1;
                }
            }
        }
    }
}

impl State {
    pub(super) fn take_queue(&mut self, end: u64, event: &Event<'_>) {
        if let Event::QueueSet { name, paused, .. } = event {
            self.set.insert((*name).to_owned(), end);
            match paused {
                true => self.paused.insert((*name).to_owned()),
                false => self.paused.remove(*name),
            };
        }
    }
}
