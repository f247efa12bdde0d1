//! Walks through the jobs of a shard: lists, counts and changes of many, a piece per pass, so that
//! other callers and due jobs go in between. It owns the walks that are under way; which jobs a filter
//! takes is the core's business.

use std::collections::VecDeque;

use crossbeam::channel::Sender;
use tickwheel_core::{
    Answer, Change, Filter, Input, JobId, Lsn, Now, Piece, Refusal, WalkBudget, WalkPlace,
};

use super::{CALLER, Shard};
use crate::{
    error::CallError,
    jobs::{BulkShared, Death, JobEntry},
    limits,
};

/// A walk that a caller waits for.
pub(crate) enum Walk {
    /// A page of jobs.
    List {
        filter: Filter,
        from: WalkPlace,
        /// What is left of the page, and of what may be looked at for it.
        left: WalkBudget,
        found: Vec<JobId>,
        reply: Sender<Page>,
    },
    /// How many jobs there are, and the first of them.
    Count {
        filter: Filter,
        from: WalkPlace,
        first_max: usize,
        first: Vec<JobId>,
        jobs: u64,
        reply: Sender<(u64, Vec<JobEntry>)>,
    },
    /// A change of many.
    Change {
        filter: Filter,
        change: Change,
        from: WalkPlace,
        shared: std::sync::Arc<BulkShared>,
        after: Lsn,
        reply: Sender<Result<(), CallError>>,
    },
}

/// A page, or what there is of it.
pub(crate) struct Page {
    pub(crate) jobs: Vec<JobEntry>,
    pub(crate) next: Option<WalkPlace>,
    /// Places that may still be looked at.
    pub(crate) places: u32,
}

/// Walks under way, in the order of their turns.
#[derive(Default)]
pub(super) struct Walks {
    waiting: VecDeque<Walk>,
}

impl Walks {
    /// Ends all walks, as the shard does.
    pub(super) fn end(&mut self, error: &CallError) {
        for walk in self.waiting.drain(..) {
            if let Walk::Change { reply, .. } = walk {
                let _ = reply.send(Err(error.clone()));
            }
        }
    }
}

/// What a piece of a walk came to.
enum Went {
    /// It goes on.
    On(Walk),
    /// It waits until the log has made room.
    Waits(Walk),
    /// It has ended.
    Over,
}

impl Shard {
    pub(super) fn take_walk(&mut self, walk: Walk) {
        if let (Some(error), Walk::Change { reply, .. }) = (self.takes_nothing(), &walk) {
            // Whoever asked may have given up; so below.
            let _ = reply.send(Err(error));
            return;
        }
        self.walks.waiting.push_back(walk);
    }

    /// One piece of the walk whose turn it is; true if there was one that could go on.
    pub(super) fn step_walks(&mut self, now: Now) -> bool {
        for _ in 0..self.walks.waiting.len() {
            let Some(walk) = self.walks.waiting.pop_front() else { return false };
            match self.step_walk(now, walk) {
                Went::On(walk) => {
                    self.walks.waiting.push_back(walk);
                    return true;
                }
                Went::Over => return true,
                Went::Waits(walk) => self.walks.waiting.push_back(walk),
            }
        }
        false
    }

    fn step_walk(&mut self, now: Now, walk: Walk) -> Went {
        match walk {
            Walk::List { filter, from, mut left, mut found, reply } => {
                let places = left.places.min(limits::PASS_PLACES_MAX);
                let jobs = left.jobs - found.len();
                let budget = WalkBudget { places, jobs };
                let next = self.core.find_jobs(&filter, from, budget, &mut found);
                let looked = next.map_or(places, |next| next.0 - from.0);
                left.places -= looked.min(left.places);
                match next {
                    Some(from) if found.len() < left.jobs && left.places > 0 => {
                        Went::On(Walk::List { filter, from, left, found, reply })
                    }
                    next => {
                        let jobs = self.entries(&found);
                        let _ = reply.send(Page { jobs, next, places: left.places });
                        Went::Over
                    }
                }
            }
            Walk::Count { filter, from, first_max, mut first, mut jobs, reply } => {
                let places = limits::PASS_PLACES_MAX;
                let mut found = Vec::new();
                let budget = WalkBudget { places, jobs: usize::MAX };
                let next = self.core.find_jobs(&filter, from, budget, &mut found);
                jobs += found.len() as u64;
                found.truncate(first_max - first.len());
                first.append(&mut found);
                match next {
                    Some(from) => {
                        Went::On(Walk::Count { filter, from, first_max, first, jobs, reply })
                    }
                    None => {
                        let _ = reply.send((jobs, self.entries(&first)));
                        Went::Over
                    }
                }
            }
            Walk::Change { .. } => self.step_change(now, walk),
        }
    }

    /// Pieces of a change, one event each.
    fn step_change(&mut self, now: Now, walk: Walk) -> Went {
        let Walk::Change { filter, change, mut from, shared, mut after, reply } = walk else {
            return Went::Over;
        };
        let mut places = limits::PASS_PLACES_MAX;
        let mut pieces = 0;
        let end = loop {
            if let Some(error) = self.takes_nothing() {
                break Err(error);
            }
            if shared.is_stopped() {
                break Ok(());
            }
            if places == 0 || pieces == limits::PASS_CHANGES_MAX {
                return Went::On(Walk::Change { filter, change, from, shared, after, reply });
            }
            let budget = WalkBudget { places, jobs: usize::MAX };
            let input = Input::ChangeMany {
                caller: CALLER,
                filter: &filter,
                change: &change,
                from,
                budget,
            };
            self.core.step(now, input, &mut self.journal, &mut self.out);
            let Some(answered) = self.out.replies.pop() else { break Ok(()) };
            match answered.answer {
                Answer::ChangedMany(Piece { changed, left, next }) => {
                    after = after.max(answered.after);
                    shared.add(changed, left);
                    let Some(next) = next else { break Ok(()) };
                    places -= (next.0 - from.0).min(places);
                    from = next;
                    pieces += 1;
                }
                Answer::Refused(Refusal::Busy) => {
                    return Went::Waits(Walk::Change {
                        filter,
                        change,
                        from,
                        shared,
                        after,
                        reply,
                    });
                }
                Answer::Refused(refusal) => break Err(refusal.into()),
                _ => break Ok(()),
            }
        };
        let release = move |durable: Result<(), CallError>| {
            let _ = reply.send(durable.and(end));
        };
        self.acks.push(after, Box::new(release));
        Went::Over
    }

    /// Jobs as a caller sees them; those that are there.
    pub(super) fn entries(&self, jobs: &[JobId]) -> Vec<JobEntry> {
        jobs.iter().filter_map(|job| self.entry(*job)).collect()
    }

    pub(super) fn entry(&self, job: JobId) -> Option<JobEntry> {
        let (body, offset) = self.core.body_of(job)?;
        let payload = self.payload(body, offset);
        if let Some(dead) = self.core.dead(job) {
            let death = Death::of(&dead);
            return Some(JobEntry::new(dead.job, dead.key, Some(death), payload));
        }
        let view = self.core.job(job)?;
        Some(JobEntry::new(view, self.core.key_of(job), None, payload))
    }
}
