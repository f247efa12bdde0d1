//! Bugs that tests plant into the scheduler, to prove that the simulation would find them.
//!
//! Each hook is one statement that only a build with the feature `planted` has, and that does
//! nothing until [`Scheduler::plant`] was called. This file must not know what a simulation does.

use crate::{
    Clock, Fired, Now, QueueLimits, Scheduler,
    id::{JobId, Lsn, QueueId, Slot},
    job::record::Role,
    schedule::{Fires, Missed},
};

/// A bug that a scheduler may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// Answers may be given before what they promise is durable.
    EarlyAck,
    /// The end of an attempt is taken whatever its token is.
    MissingFence,
    /// The cancel of a running job is answered and forgotten.
    LostCancel,
    /// When the wall clock is set, cron schedules reckon their next fire time anew.
    DoubleFire,
    /// The key of a job stays held when the job has ended.
    HeldKey,
    /// Queues that were paused go on after a restart.
    ForgottenPause,
    /// Cleaning forgets dead jobs.
    ForgottenDead,
    /// Tokens go on from what a crash has left, whoever was given them.
    RepeatedToken,
    /// After a restart, batches add callbacks again that have not ended.
    DoubleCallback,
    /// With several shards, one attempt more than its limit lets begins in a queue.
    LimitOffByOne,
    /// The place of an attempt that a crash has lost stays taken.
    QuotaLeak,
    /// What schedules let go by their rule for missed runs is run once all the same.
    IgnoredMissed,
    /// Fire times that have waited for a job to end are judged as late.
    ForgottenWait,
    /// The first group goes on with its turn for as long as it has jobs.
    GreedyGroup,
    /// However long they wait, jobs of low priorities count for no more.
    NeverAges,
    /// Groups have no limits any more after a restart.
    ForgottenGroupLimits,
    /// Of attempts that ended well together, only the first is told.
    UntoldEnd,
}

impl Scheduler {
    /// Plants `bug`, until this scheduler is dropped.
    pub fn plant(&mut self, bug: Bug) {
        self.planted = Some(bug);
        self.queues.planted_extra = u32::from(bug == Bug::LimitOffByOne);
        self.queues.groups.planted_greed = bug == Bug::GreedyGroup;
    }

    pub(crate) fn has_planted(&self, bug: Bug) -> bool {
        self.planted == Some(bug)
    }

    pub(crate) fn planted_after(&self, after: Lsn) -> Lsn {
        if self.has_planted(Bug::EarlyAck) { Lsn(0) } else { after }
    }

    pub(crate) fn planted_recovered(&mut self) {
        if self.has_planted(Bug::ForgottenPause) {
            for queue in (0..self.queues.names().len()).map(|number| QueueId(number as u16)) {
                self.queues.pause(queue, false);
            }
        }
        if self.has_planted(Bug::ForgottenGroupLimits) {
            for queue in (0..self.queues.names().len()).map(|number| QueueId(number as u16)) {
                self.queues.limit_groups(queue, QueueLimits::default(), (Lsn(0), 0), 0);
            }
        }
        if self.has_planted(Bug::DoubleCallback) {
            let ids: alloc::vec::Vec<JobId> = self.batches.iter().map(|(id, _)| id).collect();
            for id in ids {
                self.batches.change(id, |state| {
                    for fired in [&mut state.counts.complete, &mut state.counts.last] {
                        if *fired == Fired::Added {
                            *fired = Fired::No;
                        }
                    }
                });
            }
        }
        if self.has_planted(Bug::RepeatedToken) {
            self.token_floor = 0;
        }
    }

    pub(crate) fn planted_missed(&self, missed: Missed) -> Missed {
        let is_ignored = self.has_planted(Bug::IgnoredMissed);
        if is_ignored && missed == Missed::Skip { Missed::One } else { missed }
    }

    pub(crate) fn planted_leak(&mut self, lost: u32) {
        self.queues.planted_leak = u32::from(lost > 0 && self.has_planted(Bug::QuotaLeak));
    }

    pub(crate) fn planted_clock_set(&mut self, now: Now) {
        if !self.has_planted(Bug::DoubleFire) {
            return;
        }
        for slot in (0..self.table.slots()).map(Slot) {
            let record = *self.table.get(slot);
            if record.role() == Role::Schedule && record.clock() == Clock::Wall {
                let rule = self.schedules.get(record.schedule).map(|state| state.rule.clone());
                let next = rule.and_then(|rule| Fires::of(&rule).next_after(now.wall));
                self.set_next(record.schedule, next);
            }
        }
    }
}
