//! What the scheduler tells of ends of attempts and jobs: by the events alone, each is told once, as it
//! was, and a replay tells the same again.

use std::collections::BTreeMap;

use tickwheel_core::{
    JobId,
    event::{Event, Failure, JobChange},
    fact::{AttemptOutcome, Fact, Facts, Then},
};

use super::{JobIs, Model, Single, State, ensure};
use crate::{Verdict, journal::NOWHERE};

/// One end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct End {
    job: JobId,
    kind: String,
    queue: String,
    attempt: u16,
    token: u32,
    /// When the attempt began, if one was under way.
    began: Option<u64>,
    at: u64,
    outcome: AttemptOutcome,
    then: Then,
    message: String,
}

/// Ends by the position of their event.
#[derive(Default)]
pub(super) struct Told {
    /// Of events that the model has not taken yet.
    heard: BTreeMap<u64, Vec<End>>,
    /// Of all others that the log still tells of.
    known: BTreeMap<u64, Vec<End>>,
}

fn ends_of(facts: Option<Facts>, is_replay: bool) -> Verdict<BTreeMap<u64, Vec<End>>> {
    let mut ends: BTreeMap<u64, Vec<End>> = BTreeMap::new();
    for (lsn, bytes) in facts.iter().flat_map(Facts::iter) {
        let fact = Fact::decode(bytes).map_err(|error| error.to_string())?;
        let Fact::Ended(ended) = fact else { continue };
        // A snapshot does not say when the attempts of workers began.
        let is_known = is_replay || ended.is_attempt == ended.start.is_some();
        ensure(is_known || ended.start.is_none(), || format!("a beginning of none: {ended:?}"))?;
        ends.entry(lsn.0).or_default().push(End {
            job: JobId(ended.job.job),
            kind: ended.job.kind.to_owned(),
            queue: ended.job.queue.to_owned(),
            attempt: ended.attempt,
            token: ended.token,
            began: ended.is_attempt.then_some(ended.start.unwrap_or(0)),
            at: ended.at,
            outcome: ended.outcome,
            then: ended.then,
            message: ended.message.to_owned(),
        });
    }
    Ok(ends)
}

/// Whether they are the same, where each beginning that is known is right.
fn agree(told: &[End], expected: &[End]) -> bool {
    let same = |(told, expected): (&End, &End)| {
        let began = match (told.began, expected.began) {
            (Some(0), Some(_)) => expected.began,
            (began, _) => began,
        };
        End { began, ..told.clone() } == *expected
    };
    told.len() == expected.len() && told.iter().zip(expected).all(same)
}

impl State {
    /// The ends that follow from an event that is about to be taken.
    pub(super) fn ends_by(&self, single: &Single<'_>) -> Vec<End> {
        let of = |job: u64| single.job.unwrap_or(JobId(job));
        let (job, at, outcome, then, message) = match &single.event {
            Event::Succeeded { job, at } => {
                (of(*job), *at, AttemptOutcome::Succeeded, Then::Done, "")
            }
            Event::Failed { job, at, failure, retry_at, message } => {
                let then = retry_at.map_or(Then::Dead, Then::Due);
                (of(*job), *at, failed(*failure), then, *message)
            }
            Event::Buried { job, at, failure, message } => {
                (of(*job), *at, failed(*failure), Then::Dead, *message)
            }
            Event::Cancelled { job, at } => {
                (of(*job), *at, AttemptOutcome::Cancelled, Then::Done, "")
            }
            Event::Expired { job, at } => (of(*job), *at, AttemptOutcome::Expired, Then::Done, ""),
            Event::Released { job, at, due } if due > at => {
                (of(*job), *at, AttemptOutcome::PutOff, Then::Due(*due), "")
            }
            Event::Released { job, at, due } => {
                (of(*job), *at, AttemptOutcome::GivenBack, Then::Due(*due), "")
            }
            Event::Changed { at, change: JobChange::Cancelled, .. } => {
                (of(0), *at, AttemptOutcome::Cancelled, Then::Done, "")
            }
            Event::Changed { at, change: JobChange::Killed, .. } => {
                (of(0), *at, AttemptOutcome::Killed, Then::Dead, "")
            }
            event @ Event::NeedSettled { at, .. } => match self.relations.cancels(event) {
                Some(job) => (job, *at, AttemptOutcome::Cancelled, Then::Done, ""),
                None => return Vec::new(),
            },
            Event::Added(added) => match added.terms.options.replaces {
                Some(job) => (JobId(job), added.at, AttemptOutcome::Cancelled, Then::Done, ""),
                None => return Vec::new(),
            },
            _ => return Vec::new(),
        };
        let Some(held) = self.jobs.get(&job) else { return Vec::new() };
        let began = match held.state {
            JobIs::Running { at, .. } => Some(at),
            JobIs::Waiting => None,
        };
        vec![End {
            job,
            kind: held.kind.clone(),
            queue: held.terms.queue.clone(),
            attempt: held.attempts,
            token: held.token,
            began,
            at,
            outcome,
            then,
            message: message.to_owned(),
        }]
    }
}

fn failed(failure: Failure) -> AttemptOutcome {
    match failure {
        Failure::Retryable => AttemptOutcome::Failed,
        Failure::Permanent => AttemptOutcome::FailedForGood,
        Failure::Panicked => AttemptOutcome::Panicked,
        Failure::TimedOut => AttemptOutcome::TimedOut,
        Failure::Lost => AttemptOutcome::Lost,
        Failure::Killed => AttemptOutcome::Killed,
    }
}

impl Model {
    /// The scheduler told this of events that come next.
    pub(crate) fn hear(&mut self, facts: Option<Facts>) -> Verdict {
        for (lsn, mut ends) in ends_of(facts, false)? {
            self.told.heard.entry(lsn).or_default().append(&mut ends);
        }
        Ok(())
    }

    /// Of the event at `lsn`, these ends should have been told.
    pub(super) fn check_told(&mut self, lsn: u64, expected: Vec<End>) -> Verdict {
        if lsn == NOWHERE {
            return Ok(());
        }
        let told = self.told.heard.remove(&lsn).unwrap_or_default();
        self.counters.ends_told += told.len() as u64;
        ensure(agree(&told, &expected), || format!("told is {told:?}, expected {expected:?}"))?;
        if !expected.is_empty() {
            self.told.known.insert(lsn, expected);
        }
        Ok(())
    }

    /// The log came back up to `end`, and was replayed from a snapshot, if there was one: the same was
    /// told again.
    pub(crate) fn hear_again(
        &mut self,
        facts: Option<Facts>,
        snapshot: Option<u64>,
        end: u64,
    ) -> Verdict {
        self.told.heard.clear();
        self.told.known.retain(|lsn, _| *lsn < end);
        let again = ends_of(facts, true)?;
        for (lsn, ends) in &again {
            let first = self.told.known.get(lsn).map_or(&[][..], Vec::as_slice);
            // Of jobs from before the log's head nothing can be told again.
            let agrees = match snapshot {
                Some(_) => agree(ends, first),
                None => ends.iter().all(|end| {
                    first
                        .iter()
                        .any(|one| agree(std::slice::from_ref(end), std::slice::from_ref(one)))
                }),
            };
            ensure(agrees, || format!("at {lsn} a replay tells {ends:?}, once {first:?}"))?;
            self.counters.ends_told_again += ends.len() as u64;
        }
        if let Some(from) = snapshot {
            let missing = self.told.known.range(from..).find(|(lsn, _)| !again.contains_key(lsn));
            ensure(missing.is_none(), || format!("a replay does not tell {missing:?}"))?;
        }
        Ok(())
    }
}
