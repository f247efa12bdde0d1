//! What a shard does for jobs that have to do with others: flows and batches. What follows from them is the
//! core's business.

use crossbeam::channel::Sender;
use tickwheel_core::{Answer, Input, JobId, Lsn, Now, Refusal};

use super::{CALLER, Shard};
use crate::{
    error::{CallError, FlowError, SubmitError},
    flow::Submission,
    job::NewJob,
    relations::NewBatch,
};

impl Shard {
    pub(super) fn take_new_batch(
        &mut self,
        now: Now,
        batch: &NewBatch,
        reply: Sender<Result<JobId, CallError>>,
    ) {
        let input = Input::NewBatch { caller: CALLER, batch: &batch.to_core() };
        self.call(now, input, reply, |answer| match answer {
            Answer::Batch(id) => Some(id),
            _ => None,
        });
    }

    pub(super) fn take_set_batch(
        &mut self,
        now: Now,
        batch: JobId,
        is_open: bool,
        reply: Sender<Result<(), CallError>>,
    ) {
        let input = Input::SetBatch { caller: CALLER, batch, is_open };
        self.call(now, input, reply, |answer| match answer {
            Answer::Batch(_) => Some(()),
            _ => None,
        });
    }

    /// Adds all jobs of a flow, or none. What the core cannot see before the first is added is taken back: no
    /// time passes meanwhile, so nothing of it has begun.
    pub(super) fn take_flow(&mut self, now: Now, flow: Submission) {
        if let Some(error) = self.takes_nothing() {
            return flow.refuse(&error);
        }
        let jobs: Vec<_> = flow.jobs().map(NewJob::to_core).collect();
        let refused = self.core.first_refused(now, &jobs, &self.journal);
        drop(jobs);
        let Submission { steps, reply } = flow;
        if let Some((number, refusal)) = refused {
            let _ = reply.send(Err(FlowError::Refused { step: steps[number].0, refusal }));
            return;
        }
        let mut ids: Vec<Option<JobId>> = vec![None; steps.len()];
        let mut added = Vec::with_capacity(steps.len());
        for (place, step) in steps {
            let job = step.with_ids(&ids);
            let input = Input::Submit { caller: CALLER, job: &job.to_core() };
            let refusal = match self.ask_core(now, input) {
                Some(Answer::Submitted(id)) => {
                    ids[place] = Some(id);
                    added.push(id);
                    continue;
                }
                // It is another flow's, or a job by itself: what waits for it does so all the same.
                Some(Answer::Existing(id)) => {
                    ids[place] = Some(id);
                    continue;
                }
                Some(Answer::Refused(refusal)) => refusal,
                _ => Refusal::Busy,
            };
            for job in added.into_iter().rev() {
                self.ask_core(now, Input::Cancel { caller: CALLER, job });
            }
            let _ = reply.send(Err(FlowError::Refused { step: place, refusal }));
            return;
        }
        // What is there already may rest on events that are not durable yet.
        let after = Lsn(self.journal.log.appended().0);
        let ids: Vec<JobId> = ids.into_iter().flatten().collect();
        let release = move |durable: Result<(), CallError>| {
            let answer = durable.map(|()| ids).map_err(|error| SubmitError::from(error).into());
            let _ = reply.send(answer);
        };
        self.acks.push(after, Box::new(release));
    }
}
