//! One shard: a thread that owns a log and a scheduler, and passes over its inboxes again and
//! again.
//!
//! [`Shard::pass`] is the whole of it, in this order: ends of attempts, commands, time, dispatch,
//! a piece of cleaning, publish and acknowledge; and when none of these found work, sleep.

mod acks;
mod compaction;
mod depth;
mod dispatch;
mod journal;
mod message;
mod relations;
mod remote;
mod schedules;
mod sleep;
mod snapshots;
mod start;
mod walks;

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use crossbeam::channel::{Receiver, Sender, TryRecvError};
use tickwheel_core::{
    Answer, CallerId, Input, JobState, Lsn, MonoTime, Now, Outputs, Refusal, Scheduler, WallTime,
};
use tickwheel_wal::Durability;

use crate::{
    builder::{Observer, OnAlert, OnFailure},
    clock,
    engine::SyncClasses,
    error::CallError,
    executor::{Pool, Port},
    history::Tap,
    job::NewJob,
    latency::{Recorder, Stage},
    limits,
    permits::News,
    shards::{Gate, Shelf, refuse_left},
};
use acks::Acks;
use compaction::Compaction;
use dispatch::Lending;
pub(crate) use journal::Journal;
pub(crate) use message::{Batch, BatchAnswer, Found, Message, ShardStats};
use remote::Fetches;
pub(crate) use sleep::{Bed, Sleeper};
use snapshots::Snapshots;
pub(crate) use start::{Berth, ShardSetup, Starting, spawn};
use walks::Walks;
pub(crate) use walks::{Page, Walk};

/// The core hands it back with each answer; answers are taken right after their step.
const CALLER: CallerId = CallerId(0);

/// A batch whose jobs are being decided; a pass may end in its middle.
struct OpenBatch {
    jobs: std::vec::IntoIter<NewJob>,
    /// A job that has to wait until the log has made room.
    held: Option<NewJob>,
    answers: Vec<Result<tickwheel_core::JobId, Refusal>>,
    after: Lsn,
    batch: message::OnBatch,
    submitted_ns: u64,
}

/// A shard's thread.
struct Shard {
    core: Scheduler,
    journal: Journal,
    bed: Bed,
    /// Where the bed goes at the end.
    shelf: Arc<Shelf>,
    inbox: Receiver<Message>,
    /// Whether others may put messages into the inbox.
    gate: Arc<Gate>,
    /// Whether it holds as many jobs as it may: callers look here first, so that what would be
    /// refused takes no time of the shard.
    full: Arc<AtomicBool>,
    port: Arc<Port>,
    pool: Arc<Pool>,
    lending: Lending,
    /// How long the shard looks for work before it sleeps.
    spin_ns: u64,
    observer: Option<Observer>,
    on_failure: Option<OnFailure>,
    on_alert: Option<OnAlert>,
    recorder: Recorder,
    out: Outputs,
    acks: Acks,
    compaction: Compaction,
    snapshots: Snapshots,
    open_batch: Option<OpenBatch>,
    /// Ends of attempts that wait to be durable: position and time of the handler's end.
    ended: VecDeque<(Lsn, u64)>,
    fetches: Fetches,
    walks: Walks,
    /// Limited queues of which the other shards have something to tell.
    news: Option<Arc<News>>,
    drains: Vec<Sender<()>>,
    stale: u64,
    /// Hands over what happens, if a history is kept.
    tap: Option<Tap>,
    /// Nothing is triggered or dispatched until the program says so.
    paused: bool,
    stopping: Option<Stopping>,
    /// The log has failed: every call is answered with this.
    failed: Option<CallError>,
    /// Counts what the log gave notice of: syncs, segments made or not made, its failure.
    log_events: Arc<AtomicU64>,
    /// The count when the last pass began.
    log_events_seen: u64,
    /// How far the wall clock was ahead of the monotonic one at the last pass.
    offset_ns: Option<i64>,
}

/// A shutdown under way.
#[derive(Clone, Debug)]
struct Stopping {
    deadline_ns: u64,
    /// What calls are answered with.
    answer: CallError,
    /// Handlers were asked to stop.
    told: bool,
}

/// How a shard ended.
#[derive(Debug)]
pub(crate) struct ShardEnd {
    /// Attempts that did not end in time; they count as lost on the next start.
    pub(crate) abandoned: u64,
    pub(crate) closed: Result<(), tickwheel_wal::CloseError>,
}

impl Shard {
    /// Passes until it is told to stop and may.
    fn run(mut self) -> ShardEnd {
        loop {
            let now = clock::now();
            let worked = self.pass(now);
            if worked {
                let span_ns = clock::mono_ns().saturating_sub(now.mono.0);
                self.recorder.record_many(Stage::Pass, span_ns, 1);
            }
            if self.may_end(now) {
                return self.end();
            }
            if !worked {
                self.rest();
            }
        }
    }

    /// One pass over everything there is to do; `false` when there was nothing.
    fn pass(&mut self, now: Now) -> bool {
        self.log_events_seen = self.log_events.load(Ordering::SeqCst);
        self.notice_clock_step(now);
        let mut worked = self.notice_failure(now);
        worked |= self.take_ends(now);
        worked |= self.take_commands(now);
        // Leases and triggers go by the time after all that.
        let now = clock::now();
        if self.stopping.is_none() && !self.paused {
            worked |= self.pass_time(now);
        }
        self.carry_out(now);
        worked |= self.serve_fetches(now);
        worked |= self.step_walks(now);
        self.core.pass_over();
        self.watch_late(now);
        self.answer_drains();
        worked |= self.keep_log_short(now);
        worked |= self.publish();
        self.tell_whether_full();
        worked
    }

    fn tell_whether_full(&self) {
        let is_full = self.core.is_full();
        if self.full.load(Ordering::Relaxed) != is_full {
            self.full.store(is_full, Ordering::Relaxed);
        }
    }

    /// Cleans the log and takes snapshots of the state, a piece at a time.
    fn keep_log_short(&mut self, now: Now) -> bool {
        if self.stopping.is_some() || self.failed.is_some() {
            return false;
        }
        let tap = self.tap.as_mut();
        self.snapshots.step(&mut self.core, &mut self.journal.log, tap);
        self.compaction.step(now, &mut self.core, &mut self.journal, self.tap.as_mut())
    }

    /// A failed sync ends all work: nothing is acknowledged, triggered or accepted any more.
    fn notice_failure(&mut self, now: Now) -> bool {
        if self.failed.is_some() {
            return false;
        }
        let Some(failure) = self.journal.log.failure() else { return false };
        tracing::error!(%failure, "the log failed: no more work is taken until a restart");
        self.core.step(now, Input::JournalFailed, &mut self.journal, &mut self.out);
        self.core.begin_no_more();
        // What waits for an executor could not be recorded any more.
        self.port.stops.take_no_more();
        let error = CallError::LogFailed(failure.to_string());
        if let Some(on_failure) = &self.on_failure {
            guarded("failure callback", || on_failure(&error));
        }
        if let Some(open) = self.open_batch.take() {
            let failed = error.clone();
            guarded("submit callback", || (open.batch)(Err(failed)));
        }
        self.ended.clear();
        self.failed = Some(error);
        true
    }

    /// A step of the wall clock while the shard is busy: its timer, which would tell, is only read
    /// when it sleeps.
    fn notice_clock_step(&mut self, now: Now) {
        let offset_ns = now.wall.0.wrapping_sub(now.mono.0).cast_signed();
        let before_ns = self.offset_ns.replace(offset_ns).unwrap_or(offset_ns);
        if offset_ns.abs_diff(before_ns) >= limits::CLOCK_STEP_NS {
            self.lay_clock_anew(now);
        }
    }

    fn lay_clock_anew(&mut self, now: Now) {
        tracing::info!("the wall clock has moved by itself: instants and cron times follow it");
        self.core.step(now, Input::ClockSet, &mut self.journal, &mut self.out);
    }

    /// Takes messages from the inbox until its share of a pass is used up, or the log has to make
    /// room first.
    fn take_commands(&mut self, now: Now) -> bool {
        let mut left = limits::PASS_COMMANDS_MAX;
        let mut worked = false;
        while left > 0 {
            if self.open_batch.is_some() {
                let decided = self.decide_batch(now, left);
                worked |= decided > 0;
                left -= decided;
                if self.open_batch.is_some() {
                    return worked; // The budget is used up, or the log makes room.
                }
                continue;
            }
            match self.inbox.try_recv() {
                Ok(message) => {
                    worked = true;
                    left -= 1;
                    self.take_message(now, message);
                }
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    // Every handle is gone without a shutdown: end as one without grace.
                    let answer = CallError::ShuttingDown;
                    self.stopping.get_or_insert(Stopping { deadline_ns: 0, answer, told: false });
                    self.core.begin_no_more();
                    self.port.stops.take_no_more();
                    break;
                }
            }
        }
        worked
    }

    fn take_message(&mut self, now: Now, message: Message) {
        match message {
            Message::Submit(batch) => {
                if let Some(error) = self.takes_nothing() {
                    guarded("submit callback", || (batch.on_batch)(Err(error)));
                    return;
                }
                self.open_batch = Some(OpenBatch {
                    answers: Vec::with_capacity(batch.jobs.len()),
                    jobs: batch.jobs.into_iter(),
                    held: None,
                    after: Lsn(0),
                    batch: batch.on_batch,
                    submitted_ns: batch.submitted_ns,
                });
            }
            Message::Cancel { job, reply } => {
                self.call(
                    now,
                    Input::Cancel { caller: CALLER, job },
                    reply,
                    |answer| match answer {
                        Answer::Cancelled(state) => Some(state),
                        _ => None,
                    },
                );
            }
            Message::Change { job, change, reply } => {
                let input = Input::Change { caller: CALLER, job, change: &change };
                self.call(now, input, reply, |answer| match answer {
                    Answer::Changed(changed) => Some(changed),
                    _ => None,
                });
            }
            Message::Walk(walk) => self.take_walk(*walk),
            Message::Look { job, reply } => {
                let _ = reply.send(self.entry(job).map(Box::new));
            }
            Message::Kinds { reply } => {
                let _ = reply.send(self.core.kinds());
            }
            message @ (Message::PutSchedule { .. }
            | Message::RemoveSchedule { .. }
            | Message::PauseSchedule { .. }
            | Message::RunSchedule { .. }
            | Message::Backfill { .. }) => self.take_of_schedule(now, message),
            Message::Schedule { name, reply } => {
                let _ = reply.send(self.core.schedule(&name));
            }
            Message::Job { job, reply } => {
                let found = match self.core.job(job) {
                    Some(view) if view.state == JobState::Dead => match self.core.dead(job) {
                        Some(dead) => Found::Dead(Box::new(dead)),
                        None => Found::Ended,
                    },
                    Some(view) => Found::Pending(Box::new(view)),
                    None if self.core.has_issued(job) => Found::Ended,
                    None => Found::Unknown,
                };
                // Whoever asked may have given up; so with all replies below.
                let _ = reply.send(found);
            }
            Message::Schedules { reply } => {
                let _ = reply.send(self.core.schedules());
            }
            Message::Stats { reply } => {
                let log = self.journal.log.stats();
                let _ = reply.send(ShardStats {
                    counts: self.core.counts(),
                    log_appended_bytes: log.appended_bytes,
                    log_syncs: log.syncs,
                    log_sync_classes: SyncClasses(log.sync_nanos_classes),
                    log_bytes: self.journal.log.appended().0 - self.journal.log.head().0,
                    log_live_bytes: self.core.live_bytes(),
                    log_moved_bytes: self.compaction.counts().moved_bytes,
                    log_segments_released: self.compaction.counts().segments,
                    snapshots: self.snapshots.finished(),
                    stale_completions: self.stale,
                });
            }
            Message::Orders { orders, then, promise, sent_ns } => {
                self.carry_out_orders(not_before(now, sent_ns), orders, then, promise);
            }
            Message::NewBatch { batch, reply } => self.take_new_batch(now, &batch, reply),
            Message::SetBatch { batch, is_open, reply } => {
                self.take_set_batch(now, batch, is_open, reply);
            }
            Message::Batch { batch, reply } => {
                let _ = reply.send(self.core.batch(batch));
            }
            Message::Flow(flow) => self.take_flow(now, flow),
            Message::Fetch(waiter) => self.take_fetch(*waiter),
            Message::PauseQueue { name, paused, reply } => {
                let input = Input::PauseQueue { caller: CALLER, name: &name, paused };
                self.call(now, input, reply, |answer| match answer {
                    Answer::QueueSet(changed) => Some(changed),
                    _ => None,
                });
            }
            Message::LimitQueue { name, limits, reply } => {
                let input = Input::LimitQueue { caller: CALLER, name: &name, limits: &limits };
                self.call(now, input, reply, |answer| match answer {
                    Answer::QueueSet(changed) => Some(changed),
                    _ => None,
                });
            }
            Message::LimitGroups { queue, group, limits, reply } => {
                let input = Input::LimitGroups {
                    caller: CALLER,
                    queue: &queue,
                    group: group.as_deref(),
                    limits: limits.as_ref(),
                };
                self.call(now, input, reply, |answer| match answer {
                    Answer::QueueSet(changed) => Some(changed),
                    _ => None,
                });
            }
            Message::AgeQueue { name, span_ms, reply } => {
                let input = Input::AgeQueue { caller: CALLER, name: &name, span_ms };
                self.call(now, input, reply, |answer| match answer {
                    Answer::QueueSet(changed) => Some(changed),
                    _ => None,
                });
            }
            Message::Groups { queue, max, reply } => {
                let _ = reply.send(self.core.groups(&queue, max));
            }
            Message::Queues { reply } => {
                let _ = reply.send(self.core.queues());
            }
            Message::Resume => self.paused = false,
            Message::Drain { reply } => self.drains.push(reply),
            Message::Stop { deadline_ns, answer } => {
                let stopping = Stopping { deadline_ns, answer, told: false };
                let present = self.stopping.get_or_insert(stopping);
                present.deadline_ns = present.deadline_ns.min(deadline_ns);
                self.core.begin_no_more();
                self.port.stops.take_no_more();
            }
        }
    }

    /// What calls are answered with while the shard stops, or once its log has failed.
    fn takes_nothing(&self) -> Option<CallError> {
        let stopping = self.stopping.as_ref().map(|stopping| &stopping.answer);
        stopping.or(self.failed.as_ref()).cloned()
    }

    /// Decides one command and answers once that is durable.
    fn call<T: Send + 'static>(
        &mut self,
        now: Now,
        input: Input<'_>,
        reply: Sender<Result<T, CallError>>,
        take: impl FnOnce(Answer) -> Option<T>,
    ) {
        if let Some(error) = self.takes_nothing() {
            let _ = reply.send(Err(error));
            return;
        }
        // An answer that changes nothing may rest on events that are not durable yet.
        let before = Lsn(self.journal.log.appended().0);
        self.core.step(now, input, &mut self.journal, &mut self.out);
        let Some(answered) = self.out.replies.pop() else {
            return;
        };
        match answered.answer {
            Answer::Refused(refusal) => {
                let _ = reply.send(Err(refusal.into()));
            }
            answer => {
                let Some(value) = take(answer) else { return };
                let release = move |durable: Result<(), CallError>| {
                    let _ = reply.send(durable.map(|()| value));
                };
                self.acks.push(answered.after.max(before), Box::new(release));
            }
        }
    }

    /// Decides up to `budget` jobs of the open batch; returns how many. The batch stays open when
    /// it has more, or when the log makes room.
    fn decide_batch(&mut self, now: Now, budget: usize) -> usize {
        let Some(open) = &mut self.open_batch else {
            return 0;
        };
        // A delay counts from the call: the pass may have begun before it.
        let accepted = not_before(now, open.submitted_ns);
        let mut decided = 0;
        while decided < budget {
            let Some(job) = open.held.take().or_else(|| open.jobs.next()) else {
                self.close_batch();
                return decided;
            };
            let input = Input::Submit { caller: CALLER, job: &job.to_core() };
            self.core.step(accepted, input, &mut self.journal, &mut self.out);
            let Some(reply) = self.out.replies.pop() else {
                continue;
            };
            match reply.answer {
                Answer::Submitted(id) => {
                    open.answers.push(Ok(id));
                    open.after = open.after.max(reply.after);
                }
                Answer::Existing(id) => {
                    open.answers.push(Ok(id));
                    open.after = Lsn(self.journal.log.appended().0);
                }
                Answer::Refused(Refusal::Busy) => {
                    open.held = Some(job);
                    return decided;
                }
                Answer::Refused(refusal) => open.answers.push(Err(refusal)),
                _ => continue,
            }
            decided += 1;
        }
        decided
    }

    fn close_batch(&mut self) {
        let Some(OpenBatch { answers, after, batch, submitted_ns, .. }) = self.open_batch.take()
        else {
            return;
        };
        let recorder = self.recorder.clone();
        let release = move |durable: Result<(), CallError>| {
            if durable.is_ok() {
                let span_ns = clock::mono_ns().saturating_sub(submitted_ns);
                let accepted = answers.iter().filter(|answer| answer.is_ok()).count() as u64;
                recorder.record_many(Stage::SubmitAck, span_ns, accepted);
            }
            guarded("submit callback", || batch(durable.map(|()| answers)));
        };
        self.acks.push(after, Box::new(release));
    }

    /// Does what the core's steps of this pass asked for.
    fn carry_out(&mut self, now: Now) {
        let mut out = std::mem::take(&mut self.out);
        for stop in out.stops.drain(..) {
            self.stop_attempt(now, stop);
        }
        if !out.dispatches.is_empty() {
            let waits = out.dispatches.iter().map(|dispatch| dispatch.ready_ns);
            self.recorder.record_all(Stage::Ready, waits);
        }
        let dispatched_ns = clock::mono_ns();
        let mut dispatches = std::mem::take(&mut out.dispatches);
        let lends = !dispatches.is_empty();
        for dispatch in dispatches.drain(..) {
            self.hand_out(now, dispatched_ns, dispatch, &mut out);
        }
        out.dispatches = dispatches;
        if lends {
            self.pool.wake_one();
        }
        if !out.lateness_ns.is_empty() {
            self.recorder.record_all(Stage::Lateness, out.lateness_ns.drain(..));
        }
        if let Some(observer) = &self.observer {
            for notice in out.notices.drain(..) {
                guarded("observer", || observer(&notice));
            }
        }
        for alert in out.alerts.drain(..) {
            tracing::warn!(?alert, "someone should have a look");
            if let Some(on_alert) = &self.on_alert {
                guarded("alert callback", || on_alert(&alert));
            }
        }
        self.stale += std::mem::take(&mut out.stale);
        out.completed_end = None;
        self.out = out;
    }

    /// Publishes what was appended and gives the answers that became durable.
    fn publish(&mut self) -> bool {
        let log = &mut self.journal.log;
        let published = log.commit();
        // Without a promise of durability an answer follows the append.
        let reached = match log.durability() {
            Durability::Sync => log.durable(),
            _ => published,
        };
        let reached = Lsn(reached.0);
        if let Some(tap) = &mut self.tap {
            match log.failure() {
                None => tap.pass(&mut self.core, Lsn(published.0), reached),
                Some(_) => tap.drop_facts(&mut self.core),
            }
        }
        if let Some(error) = &self.failed {
            self.acks.fail(error);
            return false;
        }
        let had_acks = !self.acks.is_empty();
        self.acks.release(reached);
        if self.ended.front().is_some_and(|(end, _)| *end <= reached) {
            let now_ns = clock::mono_ns();
            let ready = self.ended.partition_point(|(end, _)| *end <= reached);
            let spans = self.ended.drain(..ready).map(|(_, at_ns)| now_ns.saturating_sub(at_ns));
            self.recorder.record_all(Stage::CompletionAck, spans);
        }
        had_acks && self.acks.is_empty()
    }

    /// Nothing is pending: whoever waits for that is told once the last end is durable as well.
    fn answer_drains(&mut self) {
        let nothing_waits = self.open_batch.is_none() && self.inbox.is_empty();
        if self.drains.is_empty() || !nothing_waits || self.core.counts().pending > 0 {
            return;
        }
        let after = Lsn(self.journal.log.appended().0);
        for drain in self.drains.drain(..) {
            let release = move |durable: Result<(), CallError>| {
                if durable.is_ok() {
                    let _ = drain.send(());
                }
            };
            self.acks.push(after, Box::new(release));
        }
    }

    /// Sleeps until the next deadline, unless something came in meanwhile.
    fn rest(&mut self) {
        let wake = self.core.wake();
        let has_ready = wake.now && self.stopping.is_none() && !self.paused;
        if has_ready && self.free_places() > 0 {
            return;
        }
        if self.journal.log.mark_idle() {
            return; // The mark is synced meanwhile.
        }
        if self.spin() {
            return;
        }
        self.port.set_hungry(has_ready);
        self.bed.lie_down();
        // An executor that came to rest meanwhile saw no hungry shard.
        if has_ready && self.free_places() > 0 {
            self.bed.get_up();
            return;
        }
        let held = self.open_batch.as_ref().is_some_and(|open| open.held.is_some());
        let inbox_waits = !self.inbox.is_empty() && !held;
        // A notice that came during the pass woke nobody.
        let log_moved = self.log_events.load(Ordering::SeqCst) != self.log_events_seen;
        // Who begins nothing looks at none.
        let has_news = self.stopping.is_none()
            && self.failed.is_none()
            && !self.paused
            && self.news.as_ref().is_some_and(|news| news.is_any());
        if inbox_waits || self.port.has_ends() || log_moved || has_news {
            self.bed.get_up();
            return;
        }
        // A log that failed is not cleaned any more.
        let cleaning = self.compaction.wake().filter(|_| self.failed.is_none());
        let (mono, wall) = match &self.stopping {
            Some(stopping) => (Some(MonoTime(stopping.deadline_ns)), None),
            // Nothing is handed out, but a wait that is over is answered.
            None if self.paused => {
                ([cleaning, self.fetches.deadline()].into_iter().flatten().min(), None)
            }
            None => {
                let waits = [cleaning, self.fetches.deadline()];
                (wake.mono.into_iter().chain(waits.into_iter().flatten()).min(), wake.wall)
            }
        };
        let history = self.tap.as_ref().filter(|_| self.failed.is_none()).and_then(Tap::wake);
        let mono = mono.into_iter().chain(self.lending.look_at()).chain(history).min();
        match self.bed.sleep(mono, wall) {
            Ok(woken) if woken.clock_set => {
                let now = clock::now();
                self.offset_ns = None;
                self.lay_clock_anew(now);
            }
            Ok(_) => {
                // Woken by the timer, or later than it would have been.
                let now_ns = clock::mono_ns();
                if let Some(late_ns) = mono.and_then(|wanted| now_ns.checked_sub(wanted.0)) {
                    self.recorder.record_many(Stage::Wake, late_ns, 1);
                }
            }
            Err(error) => {
                // Without a timer nothing can be triggered in time.
                eprintln!("tickwheel: a shard cannot sleep: {error}");
                std::process::abort();
            }
        }
    }

    /// Looks for work for a short time without sleeping, where that was asked for. `true`: there is
    /// some.
    fn spin(&self) -> bool {
        if self.spin_ns == 0 {
            return false;
        }
        let until_ns = clock::mono_ns().saturating_add(self.spin_ns);
        while clock::mono_ns() < until_ns {
            let log_moved = self.log_events.load(Ordering::Relaxed) != self.log_events_seen;
            if self.port.has_ends() || !self.inbox.is_empty() || log_moved {
                return true;
            }
            std::hint::spin_loop();
        }
        false
    }

    fn may_end(&mut self, now: Now) -> bool {
        let Some(stopping) = &mut self.stopping else {
            return false;
        };
        let running = u64::from(self.core.running());
        if self.open_batch.is_some() && self.failed.is_none() {
            return false;
        }
        if running == 0 || self.failed.is_some() {
            return true;
        }
        if now.mono.0 < stopping.deadline_ns {
            return false;
        }
        if stopping.told {
            return true;
        }
        stopping.told = true;
        let notice_ns = limits::STOP_NOTICE.as_nanos() as u64;
        stopping.deadline_ns = now.mono.0.saturating_add(notice_ns);
        self.port.stops.stop_all();
        false
    }

    /// Writes a snapshot of the end, and goes on giving answers meanwhile. One that takes too long is
    /// given up: the next start replays more.
    fn write_last_snapshot(&mut self) {
        if self.failed.is_some()
            || !self.snapshots.begin_last(&mut self.core, &mut self.journal.log, self.tap.as_mut())
        {
            return self.snapshots.stop();
        }
        let deadline_ns = clock::mono_ns() + limits::SNAPSHOT_END_WAIT.as_nanos() as u64;
        while self.snapshots.is_under_way() && clock::mono_ns() < deadline_ns {
            self.publish();
            std::thread::sleep(limits::SNAPSHOT_LOOK);
        }
        if self.snapshots.is_under_way() {
            tracing::warn!(
                "the last snapshot takes too long and is given up; a start takes longer"
            );
        }
        self.snapshots.stop();
    }

    /// Syncs and closes the log, and answers whoever still waits.
    fn end(mut self) -> ShardEnd {
        self.fetches.answer_all();
        let abandoned = u64::from(self.core.running());
        self.core.leave();
        self.journal.log.commit();
        self.write_last_snapshot();
        let error = self.takes_nothing().unwrap_or(CallError::ShuttingDown);
        let closed = self.journal.log.close();
        match &closed {
            Ok(()) => {
                self.acks.release(Lsn(u64::MAX));
                if let Some(tap) = &mut self.tap {
                    tap.end(&mut self.core, limits::HISTORY_END_WAIT);
                }
            }
            Err(error) => self.acks.fail(&CallError::LogFailed(error.to_string())),
        }
        if let Some(open) = self.open_batch.take() {
            guarded("submit callback", || (open.batch)(Err(error.clone())));
        }
        self.walks.end(&error);
        self.drains.clear();
        *self.shelf.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.bed);
        // Whoever comes later sees that nobody is here any more.
        self.gate.leave();
        refuse_left(&self.gate, &self.inbox, &error);
        ShardEnd { abandoned, closed }
    }
}

/// `now`, or the later time `mono_ns` of the monotonic clock, on both clocks.
fn not_before(now: Now, mono_ns: u64) -> Now {
    let ahead_ns = mono_ns.saturating_sub(now.mono.0);
    Now { mono: MonoTime(now.mono.0 + ahead_ns), wall: WallTime(now.wall.0 + ahead_ns) }
}

/// Calls a caller's code on the shard's thread: its panic must not take the shard along.
fn guarded(what: &'static str, call: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(call)).is_err() {
        tracing::error!(what, "a callback panicked; the shard goes on");
    }
}
