//! What front-ends ask of a shard for workers outside of this process: orders, and fetches that wait
//! for jobs. It owns the fetches that wait, and knows who has what was fetched; what a job may do is the
//! core's business.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque},
    time::Duration,
};

use tickwheel_core::{
    Answer, Attempt, Changed, Dispatch, Input, JobId, JobState, Lsn, MonoTime, Now, Outcome,
    QueueId, Refusal,
};

use super::{CALLER, Shard, guarded};
use crate::{
    choice::Chosen,
    clock,
    worker::{
        Fetched, Finish, Handle, OnFetched, OnOrders, Order, OrderReply, Payload, Promise, Seen,
        Waiter, WorkerChoice, WorkerLoad,
    },
};

/// Longest that an attempt can be put off.
const SNOOZE_MAX: Duration = Duration::from_millis(tickwheel_core::limits::SPAN_MS_MAX);

/// Fetches that wait for a job, who came first first, and who has what was fetched.
pub(super) struct Fetches {
    waiting: VecDeque<Waiting>,
    /// Which of them is first when there is a job.
    chosen: Chosen,
    /// The workers that are counted, by the jobs that they have.
    holders: HashMap<JobId, WorkerLoad>,
    /// Scratch space of [`Shard::serve_fetches`]: rank and place of each that waits.
    ranks: Vec<Reverse<(u64, usize)>>,
}

struct Waiting {
    waiter: Waiter,
    /// The queues that it takes from, as far as they are known here.
    queues: Vec<QueueId>,
}

impl Fetches {
    pub(super) fn new(chosen: Chosen) -> Self {
        let (waiting, holders) = (VecDeque::new(), HashMap::new());
        Self { waiting, chosen, holders, ranks: Vec::new() }
    }

    /// When the first wait is over.
    pub(super) fn deadline(&self) -> Option<MonoTime> {
        self.waiting.iter().map(|waiting| MonoTime(waiting.waiter.deadline_ns)).min()
    }

    /// Ends all waits, as the shard does.
    pub(super) fn answer_all(&mut self) {
        for waiting in self.waiting.drain(..) {
            answer(&waiting.waiter, Vec::new());
        }
    }
}

impl Drop for Fetches {
    /// Who opens the shard again does not know who has what.
    fn drop(&mut self) {
        self.holders.values().for_each(WorkerLoad::let_go);
    }
}

/// Gives a waiter its answer, unless another shard has.
pub(super) fn answer(waiter: &Waiter, fetched: Vec<Fetched>) {
    if waiter.ticket.take() {
        give(&waiter.then, fetched);
    }
}

fn give(then: &OnFetched, fetched: Vec<Fetched>) {
    guarded("fetch callback", || then(fetched));
}

impl Shard {
    /// Carries out orders one after the other, and answers them when all is as safe as is promised.
    pub(super) fn carry_out_orders(
        &mut self,
        now: Now,
        orders: Vec<Order>,
        then: OnOrders,
        promise: Promise,
    ) {
        if let Some(error) = self.takes_nothing() {
            guarded("order callback", || then(Err(error)));
            return;
        }
        // An answer that changes nothing may rest on events that are not durable yet.
        let replies: Vec<OrderReply> =
            orders.into_iter().map(|order| self.carry_out_order(now, order)).collect();
        let after = Lsn(self.journal.log.appended().0);
        let release = move |durable: Result<(), crate::CallError>| {
            guarded("order callback", || then(durable.map(|()| replies)));
        };
        match promise {
            Promise::Durable => self.acks.push(after, Box::new(release)),
            Promise::Logged => self.acks.push_logged(Box::new(release)),
        }
    }

    fn carry_out_order(&mut self, now: Now, order: Order) -> OrderReply {
        match order {
            Order::Add(job) => {
                let input = Input::Submit { caller: CALLER, job: &job.to_core() };
                match self.ask_core(now, input) {
                    Some(Answer::Submitted(id) | Answer::Existing(id)) => OrderReply::Added(Ok(id)),
                    Some(Answer::Refused(refusal)) => OrderReply::Added(Err(refusal)),
                    _ => OrderReply::Refused(Refusal::Busy),
                }
            }
            Order::Finish { job, outcome } => {
                let Some(attempt) = self.attempt_of(job) else {
                    return OrderReply::Finished(false);
                };
                let ended = match &outcome {
                    Finish::Succeeded => Outcome::Succeeded,
                    Finish::Failed { message, permanent: true, .. } => Outcome::Permanent(message),
                    Finish::Failed { message, .. } => Outcome::Retryable(message),
                    Finish::Returned => Outcome::NotBegun,
                    Finish::Snoozed { wait } => {
                        Outcome::Postponed(clock::saturating_ns((*wait).min(SNOOZE_MAX)))
                    }
                };
                let input = Input::Complete { attempt, outcome: ended };
                self.core.step(now, input, &mut self.journal, &mut self.out);
                if let Some(end) = self.out.completed_end.take() {
                    self.ended.push_back((end, now.mono.0));
                }
                if let Finish::Failed { payload: Some(payload), .. } = &outcome {
                    let input = Input::Rewrite { job: attempt.job, payload };
                    self.core.step(now, input, &mut self.journal, &mut self.out);
                }
                OrderReply::Finished(true)
            }
            Order::Extend { job, span } => {
                let Some(attempt) = self.attempt_of(job) else {
                    return OrderReply::Extended(false);
                };
                let span_ns = clock::saturating_ns(span);
                match self.ask_core(now, Input::Extend { caller: CALLER, attempt, span_ns }) {
                    Some(Answer::Extended(done)) => OrderReply::Extended(done),
                    Some(Answer::Refused(refusal)) => OrderReply::Refused(refusal),
                    _ => OrderReply::Refused(Refusal::Busy),
                }
            }
            Order::Cancel { job } => {
                let Some(job) = self.job_of(job) else { return OrderReply::Cancelled(false) };
                match self.ask_core(now, Input::Cancel { caller: CALLER, job }) {
                    Some(Answer::Cancelled(state)) => OrderReply::Cancelled(state.is_some()),
                    Some(Answer::Refused(refusal)) => OrderReply::Refused(refusal),
                    _ => OrderReply::Refused(Refusal::Busy),
                }
            }
            Order::Change { job, change } => {
                let change = change.inner;
                let held = match (job, change.fits(JobState::Dead)) {
                    (Handle::Key(key), true) => self.core.dead_of(key),
                    _ => self.job_of(job),
                };
                let Some(job) = held else { return OrderReply::Changed(Changed::Absent) };
                let input = Input::Change { caller: CALLER, job, change: &change };
                match self.ask_core(now, input) {
                    Some(Answer::Changed(changed)) => OrderReply::Changed(changed),
                    Some(Answer::Refused(refusal)) => OrderReply::Refused(refusal),
                    _ => OrderReply::Refused(Refusal::Busy),
                }
            }
            Order::NewBatch(batch) => {
                let input = Input::NewBatch { caller: CALLER, batch: &batch.to_core() };
                self.carry_out_batch(now, input)
            }
            Order::SetBatch { batch, is_open } => {
                self.carry_out_batch(now, Input::SetBatch { caller: CALLER, batch, is_open })
            }
            Order::LookBatch { batch } => {
                OrderReply::LookedBatch(self.core.batch(batch).map(|view| Box::new(view.into())))
            }
            Order::Look { job } => {
                let of_dead = match job {
                    Handle::Key(key) => self.core.dead_of(key),
                    Handle::Job(_) => None,
                };
                let seen = self.job_of(job).or(of_dead).and_then(|job| {
                    let view = self.core.job(job)?;
                    let (body, offset) = self.core.body_of(job)?;
                    Some(Box::new(Seen {
                        attempts: view.attempts,
                        attempts_max: view.attempts_max,
                        is_running: view.state == JobState::Running,
                        state: view.state,
                        queue: view.queue,
                        payload: self.payload(body, offset),
                    }))
                });
                OrderReply::Looked(seen)
            }
        }
    }

    fn job_of(&self, handle: Handle) -> Option<JobId> {
        match handle {
            Handle::Key(key) => self.core.job_of(key),
            Handle::Job(job) => Some(job),
        }
    }

    fn attempt_of(&self, handle: Handle) -> Option<Attempt> {
        match handle {
            Handle::Key(key) => self.core.attempt_of(key),
            Handle::Job(job) => self.core.attempt_of_job(job),
        }
    }

    fn carry_out_batch(&mut self, now: Now, input: Input<'_>) -> OrderReply {
        match self.ask_core(now, input) {
            Some(Answer::Batch(id)) => OrderReply::Batch(id),
            Some(Answer::Refused(refusal)) => OrderReply::Refused(refusal),
            _ => OrderReply::Refused(Refusal::Busy),
        }
    }

    /// One command, and its answer without the wait for it to be durable.
    pub(super) fn ask_core(&mut self, now: Now, input: Input<'_>) -> Option<Answer> {
        self.core.step(now, input, &mut self.journal, &mut self.out);
        self.out.replies.pop().map(|reply| reply.answer)
    }

    /// Answers a fetch with what is ready, or lets it wait.
    pub(super) fn take_fetch(&mut self, waiter: Waiter) {
        let is_over = self.stopping.is_some() || self.failed.is_some();
        if waiter.ticket.is_taken() {
            return;
        }
        if is_over {
            return answer(&waiter, Vec::new());
        }
        let queues = self.queues_of(&waiter);
        // Those that came before go first, and are served later in this pass.
        self.fetches.waiting.push_back(Waiting { waiter, queues });
    }

    fn queues_of(&self, waiter: &Waiter) -> Vec<QueueId> {
        waiter.fetch.queues.iter().filter_map(|name| self.core.queue(name)).collect()
    }

    /// Gives ready jobs to the fetches that wait for them; true if there was one.
    pub(super) fn serve_fetches(&mut self, now: Now) -> bool {
        for job in self.core.fetch_ends() {
            if let Some(worker) = self.fetches.holders.remove(&job) {
                worker.let_go();
            }
        }
        if self.fetches.waiting.is_empty() {
            return false;
        }
        if self.stopping.is_some() || self.failed.is_some() {
            self.fetches.answer_all();
            return true;
        }
        let mut waiting = std::mem::take(&mut self.fetches.waiting);
        for entry in &mut waiting {
            if entry.queues.len() < entry.waiter.fetch.queues.len() {
                // A queue is known once a job has named it.
                entry.queues = self.queues_of(&entry.waiter);
            }
        }
        let served = !self.paused && self.serve_by_choice(now, &waiting);
        waiting.retain(|entry| {
            let is_over = entry.waiter.deadline_ns <= now.mono.0;
            if is_over {
                answer(&entry.waiter, Vec::new());
            }
            !is_over && !entry.waiter.ticket.is_taken()
        });
        self.fetches.waiting = waiting;
        served
    }

    /// Serves those of `waiting` for whom there are jobs, who is first by the engine's choice first; true if
    /// there was one.
    fn serve_by_choice(&mut self, now: Now, waiting: &VecDeque<Waiting>) -> bool {
        // Most passes find that nothing has come for any of them.
        if self.core.counts().ready == 0 {
            return false;
        }
        let choice = self.fetches.chosen.get();
        if choice == WorkerChoice::LongestWaiting {
            return waiting.iter().filter(|entry| self.serve(now, entry)).count() > 0;
        }
        let rank = |entry: &Waiting| choice.rank(entry.waiter.fetch.worker.as_ref());
        let mut ranks = std::mem::take(&mut self.fetches.ranks);
        ranks.extend((0..).zip(waiting).map(|(place, entry)| Reverse((rank(entry), place))));
        let mut ranks = BinaryHeap::from(ranks);
        let mut served = false;
        while let Some(Reverse((ranked, place))) = ranks.pop() {
            let entry = &waiting[place];
            let present = rank(entry);
            if present > ranked {
                // Its worker was given a job since.
                ranks.push(Reverse((present, place)));
            } else {
                served |= self.serve(now, entry);
            }
        }
        self.fetches.ranks = ranks.into_vec();
        served
    }

    /// Starts attempts for a waiter; false if there is no job for it, another shard answers it, or it was
    /// withdrawn.
    fn serve(&mut self, now: Now, entry: &Waiting) -> bool {
        // In this order: to ask takes leave for an attempt where limits are shared.
        if entry.waiter.ticket.is_taken() || !self.core.is_fetchable(now, &entry.queues) {
            return false;
        }
        // From here on no other shard answers it, and it cannot be withdrawn.
        if !entry.waiter.ticket.take() {
            return false;
        }
        let input = Input::Fetch { queues: &entry.queues, max: entry.waiter.fetch.max };
        self.core.step(now, input, &mut self.journal, &mut self.out);
        let dispatches = std::mem::take(&mut self.out.fetched);
        if let Some(worker) = &entry.waiter.fetch.worker {
            for dispatch in &dispatches {
                worker.gave(now.mono.0);
                self.fetches.holders.insert(dispatch.attempt.job, worker.clone());
            }
        }
        let fetched = dispatches.iter().map(|dispatch| self.fetched(dispatch)).collect();
        give(&entry.waiter.then, fetched);
        self.out.fetched = dispatches;
        self.out.fetched.clear();
        true
    }

    fn fetched(&self, dispatch: &Dispatch) -> Fetched {
        Fetched {
            job: dispatch.attempt.job,
            key: self.core.key_of(dispatch.attempt.job),
            number: dispatch.number,
            attempts_max: dispatch.attempts_max,
            payload: self.payload(dispatch.body, dispatch.payload_offset),
        }
    }

    pub(super) fn payload(&self, body: Lsn, offset: u16) -> Payload {
        match self.journal.log.locate(tickwheel_wal::Lsn(body.0)) {
            Ok(record) => Payload { record, offset },
            Err(error) => {
                // The table names a position that the log does not hold: state and log disagree.
                eprintln!("tickwheel: a job has no record in the log: {error}");
                std::process::abort();
            }
        }
    }
}
