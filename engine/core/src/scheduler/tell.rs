//! Tells what happened: facts for whoever keeps a history, derived from each event and the state right
//! before it is applied. Live and on recovery the same code runs. It changes nothing but the facts.

use alloc::{boxed::Box, collections::BTreeMap};

use super::{Scheduler, apply::ReplayError};
use crate::{
    event::{Attempts, Event, Failure, JobAdded, JobChange},
    fact::{AttemptOutcome, Ended, Fact, Facts, Subject, Then},
    id::{JobId, Lsn, Slot, Token},
    job::{JobState, Otherwise, record::NO_SCHEDULE},
    time::WallTime,
};

/// Which facts are told, beside ends of attempts and jobs, and what concerns schedules and queues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tell {
    /// Jobs that are added.
    pub adds: bool,
    /// Attempts that begin.
    pub starts: bool,
    /// Facts of events before this position were told already.
    pub from: Lsn,
    /// So many facts of the event at that position were, too.
    pub skip: u32,
}

/// Facts that were not taken yet, and what is needed to tell the next ones.
#[derive(Debug, Default)]
pub(super) struct Teller {
    tell: Tell,
    facts: Facts,
    /// When each attempt under way began.
    starts: BTreeMap<JobId, (Token, WallTime)>,
}

impl Teller {
    fn push(&mut self, lsn: Lsn, fact: &Fact<'_>) {
        if lsn < self.tell.from {
            return;
        }
        if lsn == self.tell.from && self.tell.skip > 0 {
            self.tell.skip -= 1;
            return;
        }
        self.facts.push(lsn, fact);
    }
}

impl Scheduler {
    /// Tells facts from now on: take them with [`Scheduler::take_facts`]. Call it before the first
    /// [`Scheduler::replay`]; `starts` says of attempts that were under way before what is replayed
    /// when they began.
    pub fn tell(&mut self, tell: Tell, starts: impl IntoIterator<Item = (JobId, Token, WallTime)>) {
        let starts = starts.into_iter().map(|(job, token, at)| (job, (token, at))).collect();
        self.teller = Some(Box::new(Teller { tell, facts: Facts::default(), starts }));
    }

    /// The facts told since this was called last.
    pub fn take_facts(&mut self) -> Option<Facts> {
        let teller = self.teller.as_mut()?;
        (!teller.facts.is_empty()).then(|| core::mem::take(&mut teller.facts))
    }

    /// Bytes of facts that were not taken yet.
    #[must_use]
    pub fn facts_bytes(&self) -> usize {
        self.teller.as_ref().map_or(0, |teller| teller.facts.len_bytes())
    }

    /// Tells which attempts are under way, and since when, as facts of `lsn`: for a snapshot of that
    /// position.
    pub fn tell_under_way(&mut self, lsn: Lsn) {
        let Some(teller) = self.teller.as_mut() else { return };
        for (job, (token, start)) in &teller.starts {
            let fact = Fact::UnderWay { job: job.0, token: token.0, start: start.0 };
            teller.facts.push(lsn, &fact);
        }
    }

    /// What was replayed was told: from now on all is.
    pub fn tell_all(&mut self) {
        if let Some(teller) = self.teller.as_mut() {
            (teller.tell.from, teller.tell.skip) = (Lsn(0), 0);
        }
    }

    /// Takes over what another state was told, in whose place this one comes.
    pub fn tell_like(&mut self, other: &mut Self) {
        self.teller = other.teller.take();
    }

    /// Tells what follows from `event`, which is about to be applied.
    #[cold]
    pub(super) fn tell_event(&mut self, event: &Event<'_>, payload: &[u8], lsn: Lsn) {
        let Some(mut teller) = self.teller.take() else { return };
        // A list that cannot be read is reported by whoever applies it.
        let _ = self.tell_with(&mut teller, event, payload, lsn);
        self.teller = Some(teller);
    }

    fn tell_with(
        &self,
        teller: &mut Teller,
        event: &Event<'_>,
        payload: &[u8],
        lsn: Lsn,
    ) -> Result<(), ReplayError> {
        match event {
            Event::Added(added) => self.tell_added(teller, added, None, lsn),
            Event::Started { job, token, at } => {
                self.tell_started(teller, (JobId(*job), Token(*token)), 0, *at, lsn);
            }
            Event::StartedMany { at, count } | Event::Fetched { at, count } => {
                for (number, listed) in Attempts::new(*count, payload).enumerate() {
                    let listed = listed?;
                    self.tell_started(teller, (listed.job, listed.token), number, *at, lsn);
                }
            }
            Event::Succeeded { job, at } => {
                let end = End {
                    at: *at,
                    outcome: AttemptOutcome::Succeeded,
                    then: Then::Done,
                    message: "",
                };
                self.tell_end(teller, JobId(*job), 0, end, lsn);
            }
            Event::SucceededMany { at, count } => {
                let end = End {
                    at: *at,
                    outcome: AttemptOutcome::Succeeded,
                    then: Then::Done,
                    message: "",
                };
                for (number, listed) in Attempts::new(*count, payload).enumerate() {
                    #[cfg(feature = "planted")]
                    if number > 0 && self.has_planted(crate::planted::Bug::UntoldEnd) {
                        break;
                    }
                    self.tell_end(teller, listed?.job, number, end, lsn);
                }
            }
            Event::Failed { job, at, failure, retry_at, message } => {
                let then = retry_at.map_or(Then::Dead, Then::Due);
                let end = End { at: *at, outcome: outcome_of(*failure), then, message };
                self.tell_end(teller, JobId(*job), 0, end, lsn);
            }
            Event::Buried { job, at, failure, message } => {
                let end = End { at: *at, outcome: outcome_of(*failure), then: Then::Dead, message };
                self.tell_end(teller, JobId(*job), 0, end, lsn);
            }
            Event::Cancelled { job, at } => {
                self.tell_end(
                    teller,
                    JobId(*job),
                    0,
                    End::over(*at, AttemptOutcome::Cancelled),
                    lsn,
                );
            }
            Event::Expired { job, at } => {
                self.tell_end(teller, JobId(*job), 0, End::over(*at, AttemptOutcome::Expired), lsn);
            }
            Event::Released { job, at, due } => {
                let outcome =
                    if due > at { AttemptOutcome::PutOff } else { AttemptOutcome::GivenBack };
                let end = End { at: *at, outcome, then: Then::Due(*due), message: "" };
                self.tell_end(teller, JobId(*job), 0, end, lsn);
            }
            Event::Changed { at, change, count } => {
                for (number, listed) in Attempts::new(*count, payload).enumerate() {
                    self.tell_changed(teller, (listed?.job, number), *change, *at, lsn);
                }
            }
            Event::NeedSettled { job, at, met: false, .. } => {
                let slot = self.table.find(JobId(*job));
                let is_cancelled = slot.is_some_and(|slot| {
                    self.table.get(slot).state == JobState::Blocked
                        && self
                            .options
                            .of(slot)
                            .is_some_and(|options| options.otherwise == Otherwise::Cancel)
                });
                if is_cancelled {
                    self.tell_end(
                        teller,
                        JobId(*job),
                        0,
                        End::over(*at, AttemptOutcome::Cancelled),
                        lsn,
                    );
                }
            }
            Event::ScheduleFired { at, name, job, .. } => {
                let added = job.as_ref().map(|added| added.job);
                teller.push(lsn, &Fact::ScheduleFired { name, at: *at, job: added });
                if let Some(added) = job {
                    self.tell_added(teller, added, Some(name), lsn);
                }
            }
            Event::SchedulePut { at, rule, .. } => {
                teller.push(lsn, &Fact::SchedulePut { name: rule.name, at: *at });
            }
            Event::ScheduleRemoved { at, name } => {
                teller.push(lsn, &Fact::ScheduleRemoved { name, at: *at });
            }
            Event::SchedulePaused { at, name, note } => {
                teller.push(lsn, &Fact::SchedulePaused { name, at: *at, note });
            }
            Event::ScheduleResumed { at, name } => {
                teller.push(lsn, &Fact::ScheduleResumed { name, at: *at });
            }
            Event::QueueSet { at, name, paused } => {
                // Cleaning writes it again as it is.
                let was = self.queues.find(name).is_some_and(|q| self.queues.get(q).is_paused);
                if was != *paused {
                    teller.push(lsn, &Fact::QueueSet { name, at: *at, paused: *paused });
                }
            }
            Event::Kept(_)
            | Event::ScheduleKept { .. }
            | Event::Base { .. }
            | Event::Extended { .. }
            | Event::QueueLimits { .. }
            | Event::QueueAging { .. }
            | Event::GroupsLimits { .. }
            | Event::GroupLimits { .. }
            | Event::GroupSpent { .. }
            | Event::Totals { .. }
            | Event::NeedSettled { met: true, .. }
            | Event::UniqueKept { .. }
            | Event::BatchPut { .. }
            | Event::BatchSet { .. }
            | Event::BatchCount { .. }
            | Event::BatchOver { .. } => {}
        }
        Ok(())
    }

    fn tell_added(
        &self,
        teller: &mut Teller,
        added: &JobAdded<'_>,
        schedule: Option<&str>,
        lsn: Lsn,
    ) {
        if let Some(replaced) = added.terms.options.replaces {
            let end = End::over(added.at, AttemptOutcome::Cancelled);
            self.tell_end(teller, JobId(replaced), 0, end, lsn);
        }
        if teller.tell.adds {
            let job = Subject {
                job: added.job,
                key: added.terms.key.map(|key| key.0),
                kind: added.kind,
                queue: added.terms.queue,
                schedule,
                due: added.due,
            };
            teller.push(lsn, &Fact::Added { job, at: added.at });
        }
    }

    fn tell_started(
        &self,
        teller: &mut Teller,
        (job, token): (JobId, Token),
        number: usize,
        at: u64,
        lsn: Lsn,
    ) {
        let Some(slot) = self.told_slot(job, number) else { return };
        teller.starts.insert(job, (token, WallTime(at)));
        if teller.tell.starts {
            let attempt = self.table.get(slot).attempt.saturating_add(1);
            let job = self.subject(slot);
            teller.push(lsn, &Fact::Started { job, attempt, token: token.0, at });
        }
    }

    /// The attempt of a job, or the job alone, ends so.
    fn tell_end(&self, teller: &mut Teller, job: JobId, number: usize, end: End<'_>, lsn: Lsn) {
        let Some(slot) = self.told_slot(job, number) else { return };
        let record = self.table.get(slot);
        let is_attempt = record.state == JobState::Running;
        let began = teller.starts.remove(&job).filter(|(token, _)| *token == record.token);
        let End { at, outcome, then, message } = end;
        let ended = Ended {
            job: self.subject(slot),
            attempt: record.attempt,
            token: record.token.0,
            is_attempt,
            start: began.filter(|_| is_attempt).map(|(_, start)| start.0),
            at,
            outcome,
            then,
            message,
        };
        teller.push(lsn, &Fact::Ended(ended));
    }

    fn tell_changed(
        &self,
        teller: &mut Teller,
        (job, number): (JobId, usize),
        change: JobChange<'_>,
        at: u64,
        lsn: Lsn,
    ) {
        match change {
            JobChange::Cancelled => {
                self.tell_end(teller, job, number, End::over(at, AttemptOutcome::Cancelled), lsn);
            }
            JobChange::Killed => {
                let end = End { then: Then::Dead, ..End::over(at, AttemptOutcome::Killed) };
                self.tell_end(teller, job, number, end, lsn);
            }
            JobChange::Requeued => {
                if let Some(slot) = self.told_slot(job, number) {
                    teller.push(lsn, &Fact::Requeued { job: self.subject(slot), at });
                }
            }
            JobChange::Discarded
            | JobChange::Run
            | JobChange::Due { .. }
            | JobChange::Priority(_)
            | JobChange::Queue(_) => {}
        }
    }

    /// Where the job lies that the event to be applied names as its `number`th; `None` of one that
    /// ended before the journal's beginning, whose facts were told before that was cut off.
    fn told_slot(&self, job: JobId, number: usize) -> Option<Slot> {
        let hint = self.hints.get(number).copied().filter(|slot| self.table.holds(*slot, job));
        hint.or_else(|| self.table.find(job))
    }

    fn subject(&self, slot: Slot) -> Subject<'_> {
        let record = self.table.get(slot);
        let key = if record.is_dead() {
            self.dead.get(record.dead_entry()).key()
        } else if record.is_keyed() {
            self.keys.of(slot)
        } else {
            None
        };
        let schedule = match record.schedule {
            NO_SCHEDULE => None,
            number => self.schedules.get(number).map(|state| &*state.rule.name),
        };
        Subject {
            job: record.id.0,
            key: key.map(|key| key.0),
            kind: self.kinds.name(record.kind.0),
            queue: self.queues.name(record.queue),
            schedule,
            due: self.due_of(record).0,
        }
    }
}

/// How something ended.
#[derive(Clone, Copy)]
struct End<'a> {
    at: u64,
    outcome: AttemptOutcome,
    then: Then,
    message: &'a str,
}

impl End<'_> {
    /// The job is over without a word.
    fn over(at: u64, outcome: AttemptOutcome) -> Self {
        Self { at, outcome, then: Then::Done, message: "" }
    }
}

fn outcome_of(failure: Failure) -> AttemptOutcome {
    match failure {
        Failure::Retryable => AttemptOutcome::Failed,
        Failure::Permanent => AttemptOutcome::FailedForGood,
        Failure::Panicked => AttemptOutcome::Panicked,
        Failure::TimedOut => AttemptOutcome::TimedOut,
        Failure::Lost => AttemptOutcome::Lost,
        Failure::Killed => AttemptOutcome::Killed,
    }
}
