//! Flows: jobs that are submitted together and wait for each other, and steps that are undone in reverse order.
//!
//! This file owns the shape of a flow and its checks. A flow becomes plain jobs with needs; the shard that takes it
//! knows nothing of flows afterwards.

use crossbeam::channel::{Receiver, Sender, bounded};
use tickwheel_core::{JobId, Otherwise, When, limits as core_limits};

use crate::{
    engine::Engine,
    error::{CallError, FlowError, SubmitError},
    job::NewJob,
    limits,
    shard::Message,
};

/// Jobs that are submitted together, all or none, and that wait for each other.
///
/// ```
/// use tickwheel_engine::{Flow, NewJob};
/// let mut flow = Flow::new();
/// let fetch = flow.step(NewJob::new("fetch"), &[]);
/// let [resize, scan] = ["resize", "scan"].map(|kind| flow.step(NewJob::new(kind), &[fetch]));
/// flow.step(NewJob::new("publish"), &[resize, scan]);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    steps: Vec<Step>,
}

/// One job of a flow, and what it waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) job: NewJob,
    pub(crate) needs: Vec<(usize, When)>,
}

/// Names one step of a flow, for the steps that wait for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepId(usize);

impl StepId {
    /// Its place in the flow, and in the answer to it.
    #[must_use]
    pub fn place(self) -> usize {
        self.0
    }
}

impl Flow {
    /// A flow without steps.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a job that waits until all of `after` have succeeded. If one of them ends otherwise, the job is
    /// cancelled, and so are those that wait for it; unless it says [`NewJob::run_anyway`].
    pub fn step(&mut self, job: NewJob, after: &[StepId]) -> StepId {
        let needs = after.iter().map(|step| (step.0, When::Succeeded)).collect();
        self.steps.push(Step { job, needs });
        StepId(self.steps.len() - 1)
    }

    /// Lets `step` wait for one more, which has to end as `when` says.
    pub fn wait(&mut self, step: StepId, on: StepId, when: When) {
        if let Some(step) = self.steps.get_mut(step.0) {
            step.needs.push((on.0, when));
        }
    }

    /// Steps that go one after the other, each with a job that undoes it. When a step fails for good, those before it
    /// are undone, the last one first. A job that undoes runs by its own retries; once it has ended, however, the one
    /// before it follows. When all steps succeed, nothing is undone: those jobs end as cancelled.
    ///
    /// Returns the flow, and for each step its own place and that of the job that undoes it. The last step
    /// is never undone, so what undoes it is left out.
    #[must_use]
    pub fn with_compensation(
        steps: Vec<(NewJob, Option<NewJob>)>,
    ) -> (Self, Vec<(StepId, Option<StepId>)>) {
        let mut flow = Self::new();
        let (mut forward, mut undo) = (Vec::new(), Vec::new());
        for (job, compensation) in steps {
            let before: Vec<StepId> = forward.last().copied().into_iter().collect();
            forward.push(flow.step(job, &before));
            undo.push(compensation);
        }
        let mut places: Vec<(StepId, Option<StepId>)> =
            forward.iter().map(|step| (*step, None)).collect();
        let Some(last) = forward.last().copied() else { return (flow, places) };
        let mut later = None;
        for (place, compensation) in undo.into_iter().enumerate().rev() {
            let Some(job) = compensation.filter(|_| forward[place] != last) else { continue };
            let step = flow.step(job, &[forward[place]]);
            // If any step fails, the last one does not succeed: it is cancelled at the latest.
            flow.wait(step, last, When::NotSucceeded);
            if let Some(later) = later {
                flow.wait(step, later, When::Done);
            }
            later = Some(step);
            places[place].1 = Some(step);
        }
        (flow, places)
    }

    pub(crate) fn jobs(&self) -> impl Iterator<Item = &NewJob> {
        self.steps.iter().map(|step| &step.job)
    }

    /// The steps in an order in which each comes after all that it waits for.
    fn in_order(&self) -> Result<Vec<usize>, FlowError> {
        let count = self.steps.len();
        let mut left: Vec<usize> = Vec::with_capacity(count);
        let mut waiting: Vec<Vec<usize>> = vec![Vec::new(); count];
        for (place, step) in self.steps.iter().enumerate() {
            if step.needs.len() > core_limits::NEEDS_MAX {
                return Err(FlowError::TooManyNeeds { step: place, count: step.needs.len() });
            }
            for (number, (on, _)) in step.needs.iter().enumerate() {
                if *on >= count {
                    return Err(FlowError::NoSuchStep { step: place, on: *on });
                }
                if step.needs[..number].iter().any(|(other, _)| other == on) {
                    return Err(FlowError::NeedTwice { step: place, on: *on });
                }
                waiting[*on].push(place);
            }
            left.push(step.needs.len());
        }
        let mut order: Vec<usize> = (0..count).filter(|place| left[*place] == 0).collect();
        let mut next = 0;
        while let Some(place) = order.get(next).copied() {
            next += 1;
            for other in &waiting[place] {
                left[*other] -= 1;
                if left[*other] == 0 {
                    order.push(*other);
                }
            }
        }
        match left.iter().position(|left| *left > 0) {
            Some(step) => Err(FlowError::Cycle { step }),
            None => Ok(order),
        }
    }
}

/// A flow on its way to a shard.
pub(crate) struct Submission {
    /// Each step, in an order in which it comes after all that it waits for, with its place in the flow.
    pub(crate) steps: Vec<(usize, Step)>,
    pub(crate) reply: Sender<Result<Vec<JobId>, FlowError>>,
}

impl Submission {
    /// The jobs, without what they wait for within the flow.
    pub(crate) fn jobs(&self) -> impl Iterator<Item = &NewJob> {
        self.steps.iter().map(|(_, step)| &step.job)
    }

    /// Tells whoever waits that it is not carried out.
    pub(crate) fn refuse(self, error: &CallError) {
        let _ = self.reply.send(Err(SubmitError::from(error.clone()).into()));
    }
}

impl Step {
    /// The job, waiting for the jobs that its needs have become.
    pub(crate) fn with_ids(self, ids: &[Option<JobId>]) -> NewJob {
        let needs = self.needs.iter().filter_map(|(on, when)| Some(((*ids.get(*on)?)?, *when)));
        needs.fold(self.job, |job, (id, when)| job.after(id, when))
    }
}

impl NewJob {
    /// It also waits for `job`, which has to end as `when` says; if it ends otherwise, this one is cancelled. A job waits
    /// for up to 64 others. They have to be in the same shard, see [`Flow`].
    #[must_use]
    pub fn after(self, job: JobId, when: When) -> Self {
        self.add_need(job, when)
    }

    /// If one of the jobs that it waits for ends otherwise than it has to, this one is not cancelled but runs, and
    /// waits for no other.
    #[must_use]
    pub fn run_anyway(mut self) -> Self {
        self.options_mut().otherwise = Otherwise::Run;
        self
    }
}

impl Engine {
    /// Submits a flow and waits until it is accepted: the ids of its jobs, in the order of its steps. All are
    /// accepted or none. Nothing of it begins before all of it is accepted; whoever is not answered, because the
    /// process ended, may find a part of it accepted: jobs that wait for nothing that is missing.
    ///
    /// All jobs of a flow live in one shard: that of the jobs with a key, a batch or further needs, which must be
    /// the same; else the one whose turn it is.
    ///
    /// # Errors
    /// It has a cycle or another fault, a job was refused, or the engine takes nothing more.
    pub fn submit_flow(&self, flow: Flow) -> Result<Vec<JobId>, FlowError> {
        if flow.steps.len() > limits::FLOW_STEPS_MAX {
            return Err(FlowError::TooManySteps { count: flow.steps.len() });
        }
        let order = flow.in_order()?;
        let mut home = None;
        for job in flow.jobs() {
            if self.pool.handlers().find(job.kind()).is_none() {
                return Err(SubmitError::UnknownKind(job.kind().to_owned()).into());
            }
            let own = self.home_of(job).map_err(SubmitError::from)?;
            if own.is_some() && home.is_some() && own != home {
                return Err(FlowError::Apart);
            }
            home = home.or(own);
        }
        let shard = home.unwrap_or_else(|| self.open_in_turn());
        let mut steps: Vec<Option<Step>> = flow.steps.into_iter().map(Some).collect();
        let ordered = |place: usize| Some((place, steps.get_mut(place)?.take()?));
        let steps = order.into_iter().filter_map(ordered).collect();
        let (reply, answer): (_, Receiver<Result<Vec<JobId>, FlowError>>) = bounded(1);
        let message = Message::Flow(Submission { steps, reply });
        self.send(shard, message).map_err(SubmitError::from)?;
        answer.recv().map_err(|_| SubmitError::from(self.gone(shard)))?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(needs: &[&[usize]]) -> Flow {
        let step = |needs: &&[usize]| Step {
            job: NewJob::new("k"),
            needs: needs.iter().map(|on| (*on, When::Done)).collect(),
        };
        Flow { steps: needs.iter().map(step).collect() }
    }

    #[test]
    fn each_step_comes_after_what_it_waits_for() {
        let order = flow(&[&[3], &[0, 2], &[3], &[], &[1]]).in_order().unwrap();
        let at = |step| order.iter().position(|other| *other == step).unwrap();
        assert_eq!(order.len(), 5);
        assert!(at(3) < at(0) && at(0) < at(1) && at(2) < at(1) && at(1) < at(4));
        assert_eq!(flow(&[]).in_order(), Ok(Vec::new()));
    }

    #[test]
    fn faults_are_named() {
        assert_eq!(flow(&[&[], &[2, 0], &[1]]).in_order(), Err(FlowError::Cycle { step: 1 }));
        assert_eq!(flow(&[&[0]]).in_order(), Err(FlowError::Cycle { step: 0 }));
        assert_eq!(flow(&[&[1]]).in_order(), Err(FlowError::NoSuchStep { step: 0, on: 1 }));
        assert_eq!(flow(&[&[], &[0, 0]]).in_order(), Err(FlowError::NeedTwice { step: 1, on: 0 }));
        let many: Vec<usize> = (0..65).collect();
        let mut needs: Vec<&[usize]> = vec![&[]; 65];
        needs.push(&many);
        let expected = FlowError::TooManyNeeds { step: 65, count: 65 };
        assert_eq!(flow(&needs).in_order(), Err(expected));
    }

    #[test]
    fn what_is_undone_waits_for_what_is_undone_before_it() {
        let job = |kind: &'static str| NewJob::new(kind);
        let steps = vec![
            (job("book"), Some(job("cancel"))),
            (job("log"), None),
            (job("pay"), Some(job("refund"))),
            (job("send"), Some(job("never"))),
        ];
        let (flow, places) = Flow::with_compensation(steps);
        let kinds: Vec<&str> = flow.jobs().map(NewJob::kind).collect();
        assert_eq!(kinds, ["book", "log", "pay", "send", "refund", "cancel"]);
        let undo: Vec<Option<usize>> =
            places.iter().map(|(_, undo)| undo.map(StepId::place)).collect();
        assert_eq!(undo, [Some(5), None, Some(4), None]);
        use When::{Done, NotSucceeded, Succeeded};
        assert_eq!(flow.steps[4].needs, [(2, Succeeded), (3, NotSucceeded)]);
        assert_eq!(flow.steps[5].needs, [(0, Succeeded), (3, NotSucceeded), (4, Done)]);
        assert!(flow.in_order().is_ok());
    }
}
