//! Jobs: which events may follow which, by what the engine promises of attempts, leases and time.

use tickwheel_core::{
    Attempt, Clock, Due as Asked, Expiry, JobId, JobState, JobView, Key, NewJob, Now, Outcome,
    Tags,
    event::{Event, Failure, JobAdded, KeptState, Terms},
};

use super::{Cause, Due, Model, Single, State, dead::due_of_change, digest, ensure};
use crate::{Verdict, clock::MS};

/// What a job is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JobIs {
    Waiting,
    /// An attempt is under way.
    Running {
        /// When it was handed out, on the wall clock.
        at: u64,
        /// Which entry says until when, if a worker fetched it.
        fetched: Option<usize>,
    },
}

/// How a job is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OwnTerms {
    pub(super) priority: u8,
    pub(crate) attempts_max: u16,
    backoff_base_ms: u32,
    backoff_max_ms: u32,
    pub(crate) timeout_ms: u32,
    pub(crate) queue: String,
    pub(super) group: Option<String>,
    tags: Vec<u8>,
    /// When it expires unless it has begun.
    pub(super) expires_at: Option<u64>,
    pub(super) keeps_dead: bool,
}

impl OwnTerms {
    pub(super) fn of(terms: &Terms<'_>) -> Self {
        Self {
            priority: terms.priority,
            attempts_max: terms.attempts_max,
            backoff_base_ms: terms.backoff_base_ms,
            backoff_max_ms: terms.backoff_max_ms,
            timeout_ms: terms.timeout_ms,
            queue: terms.queue.to_owned(),
            group: terms.options.group.map(str::to_owned),
            tags: terms.options.tags.to_vec(),
            expires_at: terms.options.expires_at,
            keeps_dead: terms.keeps_dead,
        }
    }
}

/// Tags as an event has them: of each its length in two bytes, and its text.
fn written(tags: &Tags) -> Vec<u8> {
    let of_tag = |tag: &str| [&(tag.len() as u16).to_le_bytes(), tag.as_bytes()].concat();
    tags.iter().flat_map(of_tag).collect()
}

/// A job that has not ended.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) kind: String,
    /// Stands for the payload as it is, as it was added, and as the present attempt got it.
    pub(super) digest: u64,
    first_digest: u64,
    begun_digest: u64,
    pub(super) key: Option<Key>,
    pub(crate) terms: OwnTerms,
    first_terms: OwnTerms,
    pub(super) schedule: Option<String>,
    /// When it was added.
    added_at: u64,
    pub(crate) state: JobIs,
    /// Attempts begun that count.
    pub(crate) attempts: u16,
    pub(crate) token: u32,
    /// How the last attempt ended.
    pub(super) last: Option<Failure>,
    /// Which entry says when it is due.
    pub(super) due: usize,
    /// It may have been triggered in this life.
    pub(super) was_due: bool,
}

impl Job {
    fn new(added: &JobAdded<'_>, payload: &[u8], schedule: Option<&str>, index: usize) -> Self {
        Self {
            kind: added.kind.to_owned(),
            digest: digest(payload),
            first_digest: digest(payload),
            begun_digest: digest(payload),
            key: added.terms.key,
            terms: OwnTerms::of(&added.terms),
            first_terms: OwnTerms::of(&added.terms),
            schedule: schedule.map(str::to_owned),
            added_at: added.at,
            state: JobIs::Waiting,
            attempts: 0,
            token: 0,
            last: None,
            due: index,
            was_due: false,
        }
    }

    /// Whether it is not worth running any more at `wall_ns`.
    pub(super) fn has_lapsed(&self, wall_ns: u64) -> bool {
        let is_over = self.terms.expires_at.is_some_and(|at| at <= wall_ns);
        is_over && self.state == JobIs::Waiting && self.attempts == 0
    }

    /// Whether a worker has its attempt.
    pub(crate) fn is_fetched(&self) -> bool {
        matches!(self.state, JobIs::Running { fetched: Some(_), .. })
    }

    /// Whether it is the job that a caller asked for.
    pub(super) fn is_as_asked(&self, asked: &NewJob<'_>) -> bool {
        let terms = OwnTerms {
            priority: asked.priority,
            attempts_max: asked.attempts_max,
            backoff_base_ms: asked.backoff.base_ms,
            backoff_max_ms: asked.backoff.max_ms,
            timeout_ms: asked.timeout_ms,
            queue: asked.queue.to_string(),
            group: asked.options.as_ref().and_then(|it| it.group.as_deref().map(str::to_owned)),
            tags: asked.options.as_ref().map_or(Vec::new(), |it| written(&it.tags)),
            expires_at: self.first_terms.expires_at,
            keeps_dead: asked.keeps_dead,
        };
        let expiry = asked.options.as_ref().and_then(|options| options.expires);
        let expires_at = expiry.map(|expiry| match expiry {
            Expiry::At(at) => at.0,
            Expiry::After(span_ns) => self.added_at + span_ns,
        });
        expires_at == self.first_terms.expires_at
            && self.kind == asked.kind
            && self.first_terms == terms
            && self.key == asked.key
            && self.first_digest == digest(&asked.payload)
    }

    /// Whether the present attempt was to get this payload.
    pub(crate) fn has_payload(&self, payload: &[u8]) -> bool {
        self.begun_digest == digest(payload)
    }

    pub(super) fn compare(&self, view: &JobView) -> Verdict {
        let is_running = matches!(self.state, JobIs::Running { .. });
        ensure(is_running == (view.state == JobState::Running), || "another state".to_owned())?;
        ensure(self.attempts == view.attempts, || "another number of attempts".to_owned())?;
        let OwnTerms { attempts_max, priority, queue, .. } = &self.terms;
        let terms = (*attempts_max, *priority, self.kind.as_str(), queue.as_str());
        let found = (view.attempts_max, view.priority, &*view.kind, &*view.queue);
        ensure(terms == found, || "other terms".to_owned())?;
        ensure(self.terms.group.as_deref() == view.group.as_deref(), || {
            "another group".to_owned()
        })?;
        ensure(self.terms.tags == written(&view.tags), || "other tags".to_owned())?;
        let expires_at = view.expires.map(|at| at.0);
        ensure(self.terms.expires_at == expires_at, || "another expiry".to_owned())?;
        ensure(self.schedule.as_deref() == view.schedule.as_deref(), || {
            "another schedule".to_owned()
        })
    }
}

/// When the job is due that `event` adds or puts off.
pub(super) fn due_of(event: &Event<'_>, now: Now) -> Option<Due> {
    let of_added = |added: &JobAdded<'_>| {
        let clock = if added.mono { Clock::Mono } else { Clock::Wall };
        Due::new(clock, added.due, added.due <= added.at, now)
    };
    match event {
        Event::Added(added) | Event::ScheduleFired { job: Some(added), .. } => {
            Some(of_added(added))
        }
        Event::Failed { at, retry_at: Some(retry_at), .. } => {
            Some(Due::new(Clock::Mono, *retry_at, retry_at <= at, now))
        }
        Event::Changed { at, change, .. } => {
            let (clock, due, is_at_once) = due_of_change(*at, change)?;
            Some(Due::new(clock, due, is_at_once, now))
        }
        Event::Released { at, due, .. } if due > at => {
            Some(Due::new(Clock::Mono, *due, false, now))
        }
        _ => None,
    }
}

impl Model {
    pub(super) fn check_job(
        &mut self,
        event: &Event<'_>,
        payload: &[u8],
        cause: Cause<'_>,
        now: Now,
    ) -> Verdict {
        match (event, cause) {
            (Event::Added(added), Cause::Submit(asked)) => {
                self.counters.jobs_submitted += 1;
                self.check_key_is_free(asked.key)?;
                self.check_related(added, Some(asked), now)?;
                check_added(added, payload, asked, now)
            }
            (Event::Added(JobAdded { terms, .. }), _) if terms.options.batch.is_some() => {
                let membership = terms.options.batch.ok_or("it is of no batch")?;
                self.check_callback(membership, cause)
            }
            (Event::Started { job, token, at }, Cause::Time) => {
                ensure(*at == now.wall.0, || format!("it is {now:?}"))?;
                let job = JobId(*job);
                ensure(self.by_executors() < self.running_max, || {
                    "too many attempts are under way".to_owned()
                })?;
                let queue = &self.known(job)?.terms.queue;
                ensure(self.serves.by_executors(queue), || {
                    format!("executors do not serve {queue}")
                })?;
                self.check_start(job, *token, now)
            }
            (Event::Succeeded { job, .. }, Cause::Complete(attempt, Outcome::Succeeded)) => {
                self.counters.succeeded += 1;
                self.check_fence(JobId(*job), attempt.job, Some(attempt.token.0))
            }
            (Event::Buried { job, at, failure, .. }, _) => {
                ensure(*at == now.wall.0, || format!("it is {now:?}"))?;
                self.check_failed(JobId(*job), *failure, None, cause, now)?;
                let job = self.known(JobId(*job))?;
                ensure(self.keeps_dead(job), || format!("it is not to be kept: {job:?}"))?;
                self.counters.buried += 1;
                Ok(())
            }
            (Event::Failed { job, retry_at: None, failure, .. }, _) => {
                self.check_failed(JobId(*job), *failure, None, cause, now)?;
                let job = self.known(JobId(*job))?;
                ensure(!self.keeps_dead(job), || format!("it is to be kept: {job:?}"))?;
                self.counters.dead_dropped += 1;
                Ok(())
            }
            (Event::Failed { job, at, failure, retry_at, .. }, _) => self.check_failed(
                JobId(*job),
                *failure,
                retry_at.map(|retry| (*at, retry)),
                cause,
                now,
            ),
            (Event::Succeeded { job, .. }, Cause::Succeed(attempts)) => {
                self.counters.succeeded += 1;
                let present = self.known(JobId(*job))?.token;
                let is_asked =
                    |attempt: &Attempt| attempt.job.0 == *job && attempt.token.0 == present;
                ensure(attempts.iter().any(is_asked), || {
                    format!("a stale end was taken for attempt {present}")
                })?;
                self.check_fence(JobId(*job), JobId(*job), None)
            }
            (Event::Released { job, at, due }, Cause::Complete(attempt, outcome)) => {
                self.check_fence(JobId(*job), attempt.job, Some(attempt.token.0))?;
                let wait = match outcome {
                    Outcome::NotBegun => 0,
                    Outcome::Postponed(wait) => wait,
                    _ => return Err("an attempt that ended was given back".to_owned()),
                };
                ensure(*due == at + wait, || "it is put off otherwise".to_owned())
            }
            (Event::Cancelled { job, .. }, Cause::Cancel(asked)) => {
                ensure(JobId(*job) == asked, || "another job was cancelled".to_owned())?;
                let job = self.known(asked)?;
                let is_running = matches!(job.state, JobIs::Running { .. });
                self.counters.cancels_of_running_jobs += u64::from(is_running);
                self.counters.cancels_of_waiting_jobs += u64::from(!is_running);
                Ok(())
            }
            (Event::Cancelled { job, at }, Cause::Time) => {
                ensure(*at == now.wall.0, || format!("it is {now:?}"))?;
                self.check_replaced(JobId(*job), now)
            }
            (Event::Kept(kept), Cause::Clean | Cause::Rewrite(..))
                if matches!(kept.state, KeptState::Dead { .. }) =>
            {
                self.check_kept_dead(kept, payload, cause)
            }
            (Event::Kept(kept), Cause::Clean | Cause::Rewrite(..)) => {
                let job = self.known(JobId(kept.job.job))?;
                let was_running =
                    matches!(kept.state, KeptState::Running { .. } | KeptState::Fetched { .. });
                let was_fetched = matches!(kept.state, KeptState::Fetched { .. });
                let expected = match cause {
                    Cause::Rewrite(asked, _) if asked != JobId(kept.job.job) => {
                        return Err("another job was rewritten".to_owned());
                    }
                    Cause::Rewrite(_, payload) => digest(payload),
                    _ => job.digest,
                };
                let same = job.attempts == kept.attempt
                    && job.token == kept.token
                    && expected == digest(payload)
                    && job.key == kept.job.terms.key
                    && was_fetched == job.is_fetched()
                    && job.terms == OwnTerms::of(&kept.job.terms)
                    && job.schedule.as_deref() == kept.schedule
                    && matches!(job.state, JobIs::Running { .. }) == was_running;
                let due = self.entries[job.due].due.ok_or("a job without a due time")?;
                let may_be_ready = due.is_at_once || job.was_due || due.may_be_due(now);
                let told = format!("it is {job:?}, {due:?}");
                ensure(same && (kept.state != KeptState::Ready || may_be_ready), || told)
            }
            _ => Err("nothing asked for this".to_owned()),
        }
    }

    pub(super) fn known(&self, id: JobId) -> Verdict<&Job> {
        self.state.jobs.get(&id).ok_or_else(|| format!("job {id} is not there"))
    }

    /// An attempt begins only when the job is due, has attempts left, and is not over.
    pub(super) fn check_start(&mut self, id: JobId, token: u32, now: Now) -> Verdict {
        ensure(!self.over.contains(&id), || format!("job {id} was over"))?;
        ensure(!self.state.relations.is_blocked(id), || format!("job {id} waits for others"))?;
        let job = self.known(id)?;
        ensure(!job.has_lapsed(now.wall.0), || format!("job {id} has expired: {job:?}"))?;
        ensure(!self.state.paused.contains(&job.terms.queue), || {
            format!("queue {} is paused", job.terms.queue)
        })?;
        let queue = job.terms.queue.clone();
        self.check_begins_within(&queue, now)?;
        self.check_group_begins(id, now)?;
        self.check_token_is_new(id, token)?;
        let job = self.known(id)?;
        ensure(job.state == JobIs::Waiting, || format!("an attempt is under way: {job:?}"))?;
        ensure(token > job.token, || format!("the token does not rise: {job:?}"))?;
        ensure(job.attempts < job.terms.attempts_max, || format!("no attempt is left: {job:?}"))?;
        let due = self.entries[job.due].due.ok_or("a job without a due time")?;
        let may_begin = due.is_at_once || job.was_due || due.may_be_due(now);
        ensure(may_begin, || format!("job {id} is early, at {now:?}: {due:?}, {job:?}"))?;
        let (retries, after_crash) = (job.attempts > 0, job.last == Some(Failure::Lost));
        self.counters.attempts += 1;
        self.counters.retries += u64::from(retries);
        self.counters.retries_after_a_crash += u64::from(after_crash);
        Ok(())
    }

    /// A job expires when its time is over and it has not begun.
    pub(super) fn check_expired(&mut self, id: JobId, cause: Cause<'_>, now: Now) -> Verdict {
        ensure(matches!(cause, Cause::Time | Cause::Fetch { .. }), || {
            "nothing asked for this".to_owned()
        })?;
        let job = self.known(id)?;
        ensure(job.has_lapsed(now.wall.0), || format!("it is {now:?}: {job:?}"))?;
        let is_held = self.state.paused.contains(&job.terms.queue);
        self.counters.expired += 1;
        self.counters.expired_in_a_paused_queue += u64::from(is_held);
        Ok(())
    }

    /// Only the present attempt can end.
    pub(super) fn check_fence(&self, id: JobId, asked: JobId, token: Option<u32>) -> Verdict {
        ensure(id == asked, || format!("the end of an attempt at {asked} ended one at {id}"))?;
        let job = self.known(id)?;
        let is_running = matches!(job.state, JobIs::Running { .. });
        ensure(is_running, || format!("no attempt is under way: {job:?}"))?;
        let is_present = token.is_none_or(|token| token == job.token);
        ensure(is_present, || format!("a stale end was taken for the present attempt: {job:?}"))
    }

    fn check_failed(
        &mut self,
        id: JobId,
        failure: Failure,
        retry: Option<(u64, u64)>,
        cause: Cause<'_>,
        now: Now,
    ) -> Verdict {
        let expected = match cause {
            Cause::Complete(attempt, outcome) => {
                self.check_fence(id, attempt.job, Some(attempt.token.0))?;
                match outcome {
                    Outcome::Retryable(_) => Failure::Retryable,
                    Outcome::Permanent(_) => Failure::Permanent,
                    Outcome::Panicked(_) => Failure::Panicked,
                    _ => return Err("the attempt did not fail".to_owned()),
                }
            }
            Cause::LeaseEnd(attempt, began) => {
                self.check_fence(id, attempt.job, Some(attempt.token.0))?;
                let timeout_ns = u64::from(self.known(id)?.terms.timeout_ms) * MS;
                let tickwheel_core::Began::At(began) = began else {
                    return Err("an attempt that had not begun timed out".to_owned());
                };
                ensure(now.mono.0 >= began.0 + timeout_ns, || "it had time left".to_owned())?;
                self.counters.timed_out += 1;
                Failure::TimedOut
            }
            Cause::Time => {
                self.check_lease_end(id, now)?;
                Failure::TimedOut
            }
            Cause::Recovery => {
                self.check_fence(id, id, None)?;
                ensure(!self.known(id)?.is_fetched(), || "a worker goes on with it".to_owned())?;
                Failure::Lost
            }
            _ => return Err("nothing asked for this".to_owned()),
        };
        ensure(failure == expected, || format!("it failed by {expected:?}"))?;
        let job = self.known(id)?;
        let has_more = failure != Failure::Permanent && job.attempts < job.terms.attempts_max;
        ensure(has_more == retry.is_some(), || format!("attempts are miscounted: {job:?}"))?;
        let Some((at, retry_at)) = retry else {
            self.counters.dead += 1;
            self.counters.dead_by_a_crash += u64::from(failure == Failure::Lost);
            return Ok(());
        };
        let doublings = u32::from(job.attempts.saturating_sub(1)).min(32);
        let nominal_ms = u64::from(job.terms.backoff_base_ms) << doublings;
        let nominal_ns = nominal_ms.min(u64::from(job.terms.backoff_max_ms)) * MS;
        let waits = match failure {
            Failure::Lost => at..=at,
            _ => at + nominal_ns / 4 * 3..=at + nominal_ns,
        };
        ensure(waits.contains(&retry_at), || format!("the back-off is not in {waits:?}"))
    }
}

fn check_added(added: &JobAdded<'_>, payload: &[u8], asked: &NewJob<'_>, now: Now) -> Verdict {
    let job = Job::new(added, payload, None, 0);
    ensure(job.is_as_asked(asked), || "another job was asked for".to_owned())?;
    let due = match asked.due {
        Asked::After(delay_ns) => (now.wall.0 + delay_ns, true),
        Asked::At(at) => (at.0, false),
    };
    ensure((added.due, added.mono) == due && added.at == now.wall.0, || {
        "it is due at another time".to_owned()
    })
}

impl State {
    pub(super) fn take_job(&mut self, index: usize, end: u64, single: &Single<'_>, payload: &[u8]) {
        match &single.event {
            Event::Added(added) => self.add(added, payload, None, (index, end)),
            Event::ScheduleFired { name, job: Some(added), .. } => {
                self.add(added, payload, Some(name), (index, end));
            }
            Event::Started { job, token, at } => {
                self.relations.begin(JobId(*job));
                if let Some(job) = self.jobs.get_mut(&JobId(*job)) {
                    job.attempts += 1;
                    job.token = *token;
                    let fetched = single.is_fetched.then_some(index);
                    job.state = JobIs::Running { at: *at, fetched };
                    job.begun_digest = job.digest;
                    job.was_due = false;
                }
            }
            Event::Extended { job, .. } => {
                if let Some(Job { state: JobIs::Running { fetched, .. }, .. }) =
                    self.jobs.get_mut(&JobId(*job))
                    && fetched.is_some()
                {
                    *fetched = Some(index);
                }
            }
            Event::Kept(kept) => {
                if let Some(dead) = self.dead.get_mut(&JobId(kept.job.job)) {
                    dead.job.digest = digest(payload);
                } else if let Some(job) = self.jobs.get_mut(&JobId(kept.job.job)) {
                    job.digest = digest(payload);
                    // It was due then, and is not due anew if the clock was set back since.
                    job.was_due |= kept.state == KeptState::Ready && kept.job.due <= kept.at;
                }
            }
            Event::Succeeded { job, .. } => {
                self.totals.succeeded += 1;
                self.end(JobId(*job), end, true);
            }
            Event::Cancelled { job, .. } => {
                self.totals.cancelled += 1;
                self.end(JobId(*job), end, false);
            }
            Event::Expired { job, .. } => {
                self.totals.expired += 1;
                self.end(JobId(*job), end, false);
            }
            Event::Failed { job, failure, retry_at: Some(_), .. } => {
                self.totals.failed_attempts += 1;
                self.relations.run(JobId(*job));
                if let Some(job) = self.jobs.get_mut(&JobId(*job)) {
                    job.state = JobIs::Waiting;
                    job.last = Some(*failure);
                    job.due = index;
                }
            }
            Event::Failed { job, retry_at: None, .. } => {
                self.totals.failed_attempts += 1;
                self.totals.dead += 1;
                self.end(JobId(*job), end, false);
            }
            Event::Buried { job, at, failure, message } => {
                self.totals.failed_attempts += 1;
                self.bury(JobId(*job), *at, *failure, message);
            }
            Event::Changed { at, change, .. } => {
                if let Some(id) = single.job {
                    self.take_changed((index, end), id, *at, change);
                }
            }
            Event::Released { job, at, due } => {
                if let Some(job) = self.jobs.get_mut(&JobId(*job)) {
                    job.state = JobIs::Waiting;
                    job.attempts -= 1;
                    // It had been due.
                    job.was_due = due <= at;
                    if due > at {
                        job.due = index;
                    }
                }
            }
            _ => {}
        }
    }

    /// A job was added by the entry of that number, which ends there.
    fn add(
        &mut self,
        added: &JobAdded<'_>,
        payload: &[u8],
        schedule: Option<&str>,
        (index, end): (usize, u64),
    ) {
        self.totals.added += 1;
        if let Some(replaced) = added.terms.options.replaces {
            self.totals.cancelled += 1;
            self.end(JobId(replaced), end, false);
        }
        let id = JobId(added.job);
        self.added.insert(id, end);
        if let Some(key) = added.terms.key {
            self.keys.insert(key.0, id);
        }
        self.jobs.insert(id, Job::new(added, payload, schedule, index));
        self.relations.add(id, added.due, &added.terms.options);
    }

    pub(super) fn end(&mut self, id: JobId, end: u64, well: bool) {
        self.relations.end(id, well);
        let key = self.jobs.remove(&id).and_then(|job| job.key);
        key.map(|key| self.keys.remove(&key.0));
        self.ended.insert(id, end);
    }

    /// Jobs of a schedule that is gone belong to none.
    pub(super) fn forget_schedule(&mut self, name: &str) {
        let dead = self.dead.values_mut().map(|dead| &mut dead.job);
        for job in self.jobs.values_mut().chain(dead) {
            if job.schedule.as_deref() == Some(name) {
                job.schedule = None;
            }
        }
    }
}
