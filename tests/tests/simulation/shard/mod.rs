//! One shard in one life: a scheduler, its log, and the pass of the engine's shard, taken when told.
//!
//! It does what the engine's shard does, in its order: ends of attempts, commands, time, dispatch,
//! cleaning, publish and acknowledge. What each step writes goes to the model. It owns no clock.

mod remote;

use std::collections::VecDeque;

use tickwheel_core::{
    Answer, Began, CallerId, Change, Changed, DeadLimits, Filter, Input, JobId, Key, Lsn, MonoTime,
    NewJob, Now, Outputs, Piece, Refusal, Scheduler, WalkBudget, WalkPlace, limits,
};
use tickwheel_tests::random::Random;
use tickwheel_wal::{Durability, simulation::SimulatedDisk};

use crate::{
    Verdict,
    cleaning::{Cleaning, Snapshots},
    clients::Command,
    clock::{SECOND, offset_ns},
    journal::Journal,
    model::{Cause, Model, Serves, ensure},
    remotes::Remotes,
    workers::{Completion, Ended, Work, Workers},
};

/// A change between the two clocks that counts as a step, as in the engine.
const CLOCK_STEP_NS: u128 = SECOND as u128;

/// What a shard is set to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) durability: Durability,
    pub(crate) ready_segments: usize,
    pub(crate) running_max: u32,
    pub(crate) jobs_max: u32,
    pub(crate) dead: DeadLimits,
    /// Places in the queue to the executors.
    pub(crate) queue_max: usize,
    /// Commands that one pass decides.
    pub(crate) commands_max: usize,
    /// Records that one pass cleans.
    pub(crate) clean_max: u64,
    pub(crate) snapshot_bytes: u64,
    /// Which queues the executors serve.
    pub(crate) serves: Serves,
}

/// An answer that waits until what it says is durable.
enum Told {
    Submitted(Vec<(JobId, NewJob<'static>)>),
    Over(JobId),
    Schedule(String, u64),
    Queue(&'static str, u64),
    Lease(JobId, u64),
    Changed(JobId, u64),
    /// Something that nothing is promised of beyond what the events say.
    Done,
}

/// A batch whose jobs are being decided.
struct OpenBatch {
    jobs: std::vec::IntoIter<NewJob<'static>>,
    held: Option<NewJob<'static>>,
    accepted: Vec<(JobId, NewJob<'static>)>,
    after: u64,
}

/// A shard that runs.
pub(crate) struct Shard {
    pub(crate) core: Scheduler,
    pub(crate) journal: Journal,
    pub(crate) cleaning: Cleaning,
    pub(crate) snapshots: Snapshots,
    settings: Settings,
    disk: SimulatedDisk,
    out: Outputs,
    inbox: VecDeque<Command>,
    open_batch: Option<OpenBatch>,
    acks: VecDeque<(u64, Told)>,
    is_failed: bool,
    offset_ns: Option<i128>,
    /// Position just past the last segment's start, if that is not known durable.
    rotated_to: Option<u64>,
    /// All below was in memory while the disk was up.
    pub(crate) safe: u64,
}

/// What a pass works with beside the shard itself.
pub(crate) struct World<'w> {
    pub(crate) model: &'w mut Model,
    pub(crate) workers: &'w mut Workers,
    pub(crate) remotes: &'w mut Remotes,
    pub(crate) random: &'w mut Random,
}

impl Shard {
    pub(crate) fn new(
        core: Scheduler,
        journal: Journal,
        settings: Settings,
        disk: SimulatedDisk,
    ) -> Self {
        let recovery = journal.log.recovery();
        let newest = recovery.snapshot.unwrap_or(recovery.head).0;
        Self {
            core,
            cleaning: Cleaning::new(),
            snapshots: Snapshots::new(newest, settings.snapshot_bytes),
            safe: journal.log.appended().0,
            journal,
            settings,
            disk,
            out: Outputs::default(),
            inbox: VecDeque::new(),
            open_batch: None,
            acks: VecDeque::new(),
            is_failed: false,
            offset_ns: None,
            rotated_to: None,
        }
    }

    pub(crate) fn ask(&mut self, command: Command) {
        self.inbox.push_back(command);
    }

    /// Whether its log has failed.
    pub(crate) fn is_failed(&self) -> bool {
        self.journal.log.failure().is_some()
    }

    /// Answers that nobody has heard.
    pub(crate) fn unheard(&self) -> u64 {
        (self.acks.len() + self.inbox.len() + usize::from(self.open_batch.is_some())) as u64
    }

    /// The log went to a new segment, and that is not durable.
    pub(crate) fn is_in_rotation(&self) -> bool {
        self.rotated_to.is_some_and(|start| self.journal.log.durable().0 <= start)
    }

    /// Whether there is something to do without more time.
    pub(crate) fn has_work(&self, workers: &Workers, remotes: &Remotes) -> bool {
        let holds = self.open_batch.as_ref().is_some_and(|open| open.held.is_some());
        let can_hand_out = self.core.wake().now && self.free_places(workers) > 0;
        let can_be_fetched = remotes.take_all() && self.has_fetchable();
        can_hand_out
            || can_be_fetched
            || (!self.inbox.is_empty() && !holds)
            || !self.acks.is_empty()
    }

    /// One pass.
    pub(crate) fn pass(&mut self, now: Now, world: &mut World<'_>) -> Verdict {
        self.notice_clock_step(now, world)?;
        self.notice_failure(now, world)?;
        self.take_completions(now, world)?;
        self.take_requests(now, world)?;
        self.take_commands(now, world)?;
        // Whoever comes first.
        if world.random.within(0..2) == 0 {
            self.serve_fetch(now, world)?;
        }
        self.pass_time(now, world)?;
        self.serve_fetch(now, world)?;
        self.core.pass_over();
        if !self.is_failed {
            world.model.note_passed(now);
        }
        self.carry_out(now, world)?;
        self.keep_log_short(now, world)?;
        self.publish(world)
    }

    /// The core takes one input, and the model what it wrote. Returns how many events that were.
    fn step(
        &mut self,
        now: Now,
        input: Input<'_>,
        cause: Cause<'_>,
        world: &mut World<'_>,
    ) -> Verdict<usize> {
        let before = self.journal.log.appended().0;
        self.core.step(now, input, &mut self.journal, &mut self.out);
        let count = self.settle(now, cause, world)?;
        self.note_rotation(before);
        self.background(world.random);
        Ok(count)
    }

    fn settle(&mut self, now: Now, cause: Cause<'_>, world: &mut World<'_>) -> Verdict<usize> {
        world.model.hear(self.core.take_facts())?;
        let written = std::mem::take(&mut self.journal.written);
        let count = written.len();
        for written in written {
            world.model.take(cause, now, written)?;
        }
        Ok(count)
    }

    fn note_rotation(&mut self, before: u64) {
        let segment_bytes = self.journal.log.segment_bytes();
        let appended = self.journal.log.appended().0;
        if appended / segment_bytes > before / segment_bytes {
            self.rotated_to = Some(appended / segment_bytes * segment_bytes);
        }
        if !self.disk.is_down() {
            self.safe = appended;
        }
    }

    /// The log's workers go on at any moment.
    fn background(&mut self, random: &mut Random) {
        match random.within(0..24) {
            // Whether it fails is seen in the log.
            0 => drop(self.journal.log.sync_step()),
            1 => drop(self.journal.log.prepare_step()),
            2 => self.disk.observe(),
            _ => {}
        }
    }

    fn notice_clock_step(&mut self, now: Now, world: &mut World<'_>) -> Verdict {
        let offset_ns = offset_ns(now);
        let before_ns = self.offset_ns.replace(offset_ns).unwrap_or(offset_ns);
        if offset_ns.abs_diff(before_ns) >= CLOCK_STEP_NS {
            self.step(now, Input::ClockSet, Cause::Time, world)?;
        }
        Ok(())
    }

    fn notice_failure(&mut self, now: Now, world: &mut World<'_>) -> Verdict {
        if self.is_failed || self.journal.log.failure().is_none() {
            return Ok(());
        }
        world.model.counters.failed_logs += 1;
        self.is_failed = true;
        self.core.begin_no_more();
        self.step(now, Input::JournalFailed, Cause::Time, world)?;
        // Whoever waits is told that the log failed: what was asked may have happened.
        world.model.counters.answers_indeterminate += self.unheard();
        self.acks.clear();
        self.open_batch = None;
        self.inbox.clear();
        Ok(())
    }

    pub(crate) fn take_completions(&mut self, now: Now, world: &mut World<'_>) -> Verdict {
        let mut succeeded = Vec::new();
        while let Some(completion) = world.workers.arrived(now.mono.0) {
            world.model.counters.completions_twice += u64::from(completion.is_second);
            match completion.ended {
                Ended::Succeeded => succeeded.push(completion),
                _ => self.complete(now, completion, world)?,
            }
        }
        self.succeed(now, &succeeded, world)
    }

    /// Attempts that ended well go to the core all at once.
    fn succeed(&mut self, now: Now, completions: &[Completion], world: &mut World<'_>) -> Verdict {
        if completions.is_empty() {
            return Ok(());
        }
        let attempts: Vec<_> = completions.iter().map(|completion| completion.attempt).collect();
        let (stale, before) = (self.out.stale, world.model.counters.succeeded);
        let input = Input::Succeeded { attempts: &attempts };
        let events = self.step(now, input, Cause::Succeed(&attempts), world)?;
        let stale = self.out.stale - stale;
        let counters = &mut world.model.counters;
        let ended = counters.succeeded - before;
        counters.stale_completions += stale;
        if stale == 0 && events > 0 {
            let met = completions.iter().filter(|one| one.lease_ns <= now.mono.0).count();
            counters.leases_met_by_their_completion += met as u64;
            counters.ended_together += u64::from(ended > 1);
        }
        ensure(stale + ended == attempts.len() as u64 || self.is_failed, || {
            format!("of {} ends {ended} were taken, {stale} refused", attempts.len())
        })
    }

    fn complete(&mut self, now: Now, completion: Completion, world: &mut World<'_>) -> Verdict {
        let Completion { attempt, ended, lease_ns, .. } = completion;
        let outcome = ended.outcome();
        let stale = self.out.stale;
        let input = Input::Complete { attempt, outcome };
        let events = self.step(now, input, Cause::Complete(attempt, outcome), world)?;
        let is_stale = self.out.stale > stale;
        let counters = &mut world.model.counters;
        counters.stale_completions += u64::from(is_stale);
        if !is_stale {
            let meets = lease_ns <= now.mono.0;
            counters.leases_met_by_their_completion += u64::from(meets);
            counters.given_back += u64::from(ended == Ended::NotBegun);
            counters.postponed += u64::from(matches!(ended, Ended::Postponed(_)));
        }
        ensure(is_stale == (events == 0) || self.is_failed, || {
            format!("the end of {attempt:?} wrote {events} events, stale: {is_stale}")
        })
    }

    fn take_commands(&mut self, now: Now, world: &mut World<'_>) -> Verdict {
        let mut left = self.settings.commands_max;
        while left > 0 && !self.is_failed {
            if self.open_batch.is_some() {
                let decided = self.decide_batch(now, left, world)?;
                left = left.saturating_sub(decided.max(1));
                if self.open_batch.is_some() {
                    return Ok(());
                }
                continue;
            }
            let Some(command) = self.inbox.pop_front() else { break };
            left -= 1;
            self.take_command(now, command, world)?;
        }
        Ok(())
    }

    fn take_command(&mut self, now: Now, command: Command, world: &mut World<'_>) -> Verdict {
        let caller = CallerId(0);
        // An answer that changes nothing may rest on events that are not durable yet.
        let before = self.journal.log.appended().0;
        let told = match command {
            Command::Submit(jobs) => {
                world.model.counters.batches += u64::from(jobs.len() > 1);
                let jobs = jobs.into_iter();
                let batch = OpenBatch { jobs, held: None, accepted: Vec::new(), after: 0 };
                self.open_batch = Some(batch);
                return Ok(());
            }
            Command::Cancel(job) => {
                let is_there = self.core.job(job).is_some();
                let is_dead = world.model.is_dead(job);
                world.model.counters.cancels_of_ended_jobs += u64::from(!is_there);
                self.step(now, Input::Cancel { caller, job }, Cause::Cancel(job), world)?;
                if is_dead {
                    // It may be queued again.
                    let reply = self.out.replies.pop().map(|reply| reply.answer);
                    return ensure(reply == Some(Answer::Cancelled(None)), || {
                        "a dead job was cancelled".to_owned()
                    });
                }
                Told::Over(job)
            }
            Command::Change(job, change) => {
                let input = Input::Change { caller, job, change: &change };
                let told = world.model.counters.needs_told_before_a_requeue;
                let events = self.step(now, input, Cause::Change(job, &change), world)?;
                let told = world.model.counters.needs_told_before_a_requeue - told;
                let end = self.journal.log.appended().0;
                let is_done =
                    self.out.replies.last().is_some_and(|reply| {
                        matches!(reply.answer, Answer::Changed(Changed::Done(_)))
                    });
                ensure(is_done == (events as u64 > told), || {
                    format!("{change:?} wrote {events} events, {told} of them about needs")
                })?;
                Told::Changed(job, if is_done { end } else { 0 })
            }
            Command::ChangeMany(filter, change) => {
                return self.change_many(now, &filter, &change, world);
            }
            Command::Put(schedule) => {
                let input = Input::PutSchedule { caller, schedule: &schedule };
                self.step(now, input, Cause::Put(&schedule), world)?;
                let name = schedule.name.to_string();
                let end = world.model.schedule_end(&name);
                Told::Schedule(name, end)
            }
            Command::Remove(name) => {
                let input = Input::RemoveSchedule { caller, name: &name };
                self.step(now, input, Cause::Remove(&name), world)?;
                let end = world.model.schedule_end(&name);
                Told::Schedule(name, end)
            }
            Command::NewBatch(batch) => {
                let input = Input::NewBatch { caller, batch: &batch };
                self.step(now, input, Cause::NewBatch, world)?;
                Told::Done
            }
            Command::SetBatch(batch, is_open) => {
                let input = Input::SetBatch { caller, batch, is_open };
                self.step(now, input, Cause::SetBatch(batch, is_open), world)?;
                Told::Done
            }
            Command::Limit(name, limits) => {
                let input = Input::LimitQueue { caller, name, limits: &limits };
                self.step(now, input, Cause::Limit(name, limits), world)?;
                Told::Queue(name, world.model.queue_end(name))
            }
            Command::Age(name, span_ms) => {
                let input = Input::AgeQueue { caller, name, span_ms };
                self.step(now, input, Cause::Age(name, span_ms), world)?;
                Told::Queue(name, world.model.aging_end(name))
            }
            Command::LimitGroups(queue, group, limits) => {
                let cause = Cause::LimitGroups(queue, group, limits);
                let limits = limits.as_ref();
                let input = Input::LimitGroups { caller, queue, group, limits };
                let events = self.step(now, input, cause, world)?;
                // That it holds is seen in what is compared.
                let end = if events > 0 { self.journal.log.appended().0 } else { 0 };
                Told::Queue(queue, end)
            }
            Command::Pause(name, paused) => {
                let input = Input::PauseQueue { caller, name, paused };
                self.step(now, input, Cause::Pause(name, paused), world)?;
                Told::Queue(name, world.model.queue_end(name))
            }
        };
        let Some(reply) = self.out.replies.pop() else {
            return Err("a command got no answer".to_owned());
        };
        match reply.answer {
            Answer::Refused(refusal) => refused(&refusal, None, world.model)?,
            _ => self.acks.push_back((reply.after.0.max(before), told)),
        }
        Ok(())
    }

    /// Changes what a filter takes, piece by piece.
    fn change_many(
        &mut self,
        now: Now,
        filter: &Filter,
        change: &Change,
        world: &mut World<'_>,
    ) -> Verdict {
        let mut from = WalkPlace(0);
        loop {
            let places = world.random.within(1..200) as u32;
            let budget = WalkBudget { places, jobs: usize::MAX };
            let caller = CallerId(0);
            let input = Input::ChangeMany { caller, filter, change, from, budget };
            self.step(now, input, Cause::ChangeMany(filter, change), world)?;
            let Some(reply) = self.out.replies.pop() else {
                return Err("a change of many got no answer".to_owned());
            };
            match reply.answer {
                Answer::ChangedMany(Piece { next: Some(next), .. }) => from = next,
                Answer::ChangedMany(_) => return Ok(()),
                Answer::Refused(refusal) => return refused(&refusal, None, world.model),
                other => return Err(format!("a change of many was answered by {other:?}")),
            }
        }
    }

    /// Decides jobs of the open batch; returns how many.
    fn decide_batch(&mut self, now: Now, budget: usize, world: &mut World<'_>) -> Verdict<usize> {
        let Some(mut open) = self.open_batch.take() else { return Ok(0) };
        let mut decided = 0;
        while decided < budget {
            let Some(job) = open.held.take().or_else(|| open.jobs.next()) else {
                self.acks.push_back((open.after, Told::Submitted(open.accepted)));
                return Ok(decided);
            };
            let input = Input::Submit { caller: CallerId(0), job: &job };
            self.step(now, input, Cause::Submit(&job), world)?;
            let Some(reply) = self.out.replies.pop() else {
                return Err("a job got no answer".to_owned());
            };
            match reply.answer {
                Answer::Submitted(id) => {
                    open.accepted.push((id, job));
                    open.after = open.after.max(reply.after.0);
                }
                Answer::Refused(Refusal::Busy) => {
                    world.model.counters.held_for_room += 1;
                    open.held = Some(job);
                    break;
                }
                Answer::Refused(Refusal::NotUnique(holder)) => {
                    world.model.check_not_unique(&job, holder)?;
                }
                Answer::Existing(holder) => {
                    world.model.check_not_unique(&job, holder)?;
                    open.after = open.after.max(self.journal.log.appended().0);
                }
                Answer::Refused(refusal) => refused(&refusal, job.key, world.model)?,
                other => return Err(format!("a job was answered by {other:?}")),
            }
            decided += 1;
        }
        self.open_batch = Some(open);
        Ok(decided)
    }

    fn free_places(&self, workers: &Workers) -> u32 {
        self.settings.queue_max.saturating_sub(workers.queued()) as u32
    }

    fn pass_time(&mut self, now: Now, world: &mut World<'_>) -> Verdict {
        let dispatch_max = self.free_places(world.workers);
        self.step(now, Input::Time { dispatch_max }, Cause::Time, world)?;
        for attempt in std::mem::take(&mut self.out.expired) {
            let since = world.workers.since(attempt);
            let began = since.map_or(Began::NotYet, |since| Began::At(MonoTime(since)));
            let input = Input::LeaseEnd { attempt, began };
            let events = self.step(now, input, Cause::LeaseEnd(attempt, began), world)?;
            world.model.counters.leases_prolonged += u64::from(events == 0);
        }
        Ok(())
    }

    fn carry_out(&mut self, now: Now, world: &mut World<'_>) -> Verdict {
        for stop in std::mem::take(&mut self.out.stops) {
            world.workers.stop(stop, now.mono.0, world.random);
        }
        for dispatch in std::mem::take(&mut self.out.dispatches) {
            let job = world.model.job(dispatch.attempt.job);
            let Some(job) = job else {
                return Err(format!("{dispatch:?} is of no job"));
            };
            let expected = (job.attempts, job.token, job.terms.attempts_max);
            let found = (dispatch.number, dispatch.attempt.token.0, dispatch.attempts_max);
            ensure(found == expected, || format!("{dispatch:?} is not what was written"))?;
            ensure(self.core.kind_name(dispatch.kind) == job.kind, || {
                format!("{dispatch:?} is of another kind than {}", job.kind)
            })?;
            let timeout_ms = job.terms.timeout_ms;
            let body = self.journal.log.locate(tickwheel_wal::Lsn(dispatch.body.0));
            let body = body.map_err(|error| format!("{dispatch:?} has no record: {error}"))?;
            world.workers.give(Work { dispatch, body, timeout_ms });
        }
        self.out.lateness_ns.clear();
        self.out.notices.clear();
        self.out.completed_end = None;
        Ok(())
    }

    fn keep_log_short(&mut self, now: Now, world: &mut World<'_>) -> Verdict {
        if self.is_failed {
            return Ok(());
        }
        let counters = &mut world.model.counters;
        self.snapshots.step(&mut self.core, &mut self.journal.log, world.random, counters);
        let before = self.journal.log.appended().0;
        let records = world.random.within(1..self.settings.clean_max + 1);
        self.cleaning.step(now, &mut self.core, &mut self.journal, records, counters)?;
        self.settle(now, Cause::Clean, world)?;
        self.note_rotation(before);
        Ok(())
    }

    /// Publishes what was appended and gives the answers that became durable.
    fn publish(&mut self, world: &mut World<'_>) -> Verdict {
        let before = self.journal.log.appended().0;
        let published = self.journal.log.commit();
        self.note_rotation(before);
        let reached = match self.settings.durability {
            Durability::Sync => self.journal.log.durable(),
            _ => published,
        };
        // A process that ended meanwhile has said nothing.
        while !self.disk.is_down()
            && !self.is_failed
            && self.acks.front().is_some_and(|(after, _)| Lsn(*after) <= Lsn(reached.0))
        {
            let Some((_, told)) = self.acks.pop_front() else { break };
            match told {
                Told::Submitted(accepted) => {
                    for (id, asked) in accepted {
                        world.model.tell_accepted(id, &asked)?;
                    }
                }
                Told::Over(job) => world.model.tell_over(job)?,
                Told::Schedule(name, end) => world.model.tell_schedule(&name, end),
                Told::Queue(name, end) => world.model.tell_queue(name, end),
                Told::Done => {}
                Told::Lease(job, end) => world.model.tell_lease(job, end),
                Told::Changed(job, end) => world.model.tell_changed(job, end),
            }
        }
        Ok(())
    }
}

/// Counts what was refused: a command, or a job with a key.
fn refused(refusal: &Refusal, key: Option<Key>, model: &mut Model) -> Verdict {
    match refusal {
        Refusal::NoSpace => model.counters.refused_for_a_full_disk += 1,
        Refusal::TooManyJobs { .. } => model.counters.refused_for_too_many_jobs += 1,
        // A dead job's: it is not asked for by its key.
        Refusal::KeyHeld(_) if key.is_none() => {}
        Refusal::GroupFull { queue, group, max } => {
            return model.check_group_full(queue, group, *max);
        }
        Refusal::QueueFull { queue, max } => return model.check_full(queue, *max),
        Refusal::KeyHeld(holder) => return model.check_held(key, *holder),
        _ => {}
    }
    Ok(())
}

const _: () = assert!(limits::EVENT_HEAD_BYTES_MAX < 8192);
