//! Time: what is due leaves the wheels, and what is ready goes to executors.

use alloc::vec::Vec;

use super::{
    Scheduler,
    expire::Sifted,
    io::{Attempt, Dispatch, Outputs},
};
use crate::{
    event::{Event, Failure},
    id::{QueueId, Slot, Token},
    job::{
        Clock, JobState,
        record::{Record, Role},
    },
    journal::Journal,
    limits,
    time::Now,
    wheel::tick_at_or_before,
};

/// No fetched attempt has a token below the floor of the first opening.
const FETCHED_TOKEN_MIN: u32 = 1 << 16;

/// Who starts an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// A thread of this process.
    Executor,
    /// Whoever fetched it.
    Worker,
}

impl Scheduler {
    /// Takes what is due at `now` out of both wheels, within the budget of one step.
    pub(super) fn trigger(&mut self, now: Now, journal: &mut impl Journal, out: &mut Outputs) {
        if self.failed {
            return;
        }
        self.queues.take_news();
        self.queues.wake_due(now.mono.signed_ns());
        self.try_again(now);
        self.expire_due(now, journal);
        let mut work = limits::TIMER_WORK_PER_STEP;
        self.uniques.free_due(tick_at_or_before(now.wall.0), &mut work);
        self.unsettled = !self.settle(now, journal);
        let mut work = limits::TIMER_WORK_PER_STEP;
        let mono_tick = tick_at_or_before(now.mono.0);
        while let Some(slot) = self.mono_wheel.pop_due(&mut self.links, mono_tick, &mut work) {
            self.fire(now, Slot(slot), journal, out);
        }
        let mut work = limits::TIMER_WORK_PER_STEP;
        let wall_tick = tick_at_or_before(now.wall.0);
        while let Some(slot) = self.wall_wheel.pop_due(&mut self.links, wall_tick, &mut work) {
            self.fire(now, Slot(slot), journal, out);
        }
    }

    /// A timer fired: a job is due, a lease has ended, or a schedule's time has come.
    fn fire(&mut self, now: Now, slot: Slot, journal: &mut impl Journal, out: &mut Outputs) {
        let record = self.table.get_mut(slot);
        match (record.role(), record.state) {
            (Role::Schedule, _) => self.fire_schedule(now, slot, journal, out),
            (Role::Job, JobState::Scheduled) => {
                record.state = JobState::Ready;
                record.ready_ns = now.mono.0;
                let now_ns = on_clock(now, record.clock());
                out.lateness_ns.push(now_ns.saturating_sub(record.due_ns));
                self.stand_in_line(slot);
            }
            (Role::Job, JobState::Running) if record.is_fetched() => {
                let message = "the worker's lease ended";
                self.fail(now, slot, Failure::TimedOut, message, journal, out);
            }
            (Role::Job, JobState::Running) => {
                // Whether its time is up depends on when its handler was called.
                out.expired.push(Attempt { job: record.id, slot, token: record.token });
            }
            (role, state) => panic!("a timer fired for {role:?} in state {state}"),
        }
    }

    /// Puts a job that has become ready into its queue.
    pub(super) fn stand_in_line(&mut self, slot: Slot) {
        let record = self.table.get_mut(slot);
        let has_options = record.has_options();
        if let Some((_, home)) = self.homes.iter().find(|(kind, _)| *kind == record.kind)
            && self.keys.of(slot).is_none()
            && !(has_options && self.options.group_of(slot).is_some())
        {
            self.queues.job_moved(record.queue, *home);
            record.queue = *home;
        }
        let (queue, priority) = (record.queue, record.priority());
        if has_options && let Some(group) = self.options.group_of(slot) {
            return self.queues.push_grouped(&mut self.links, slot, group, priority);
        }
        self.queues.push(&mut self.links, slot, queue, priority);
    }

    /// Hands ready jobs out: the highest priority first and the oldest among equals, at most
    /// `dispatch_max`.
    pub(super) fn dispatch(
        &mut self,
        now: Now,
        dispatch_max: u32,
        journal: &mut impl Journal,
        out: &mut Outputs,
    ) {
        self.starved = false;
        let free = self.config.running_max.saturating_sub(self.running);
        let mut left = dispatch_max.min(free) as usize;
        while left > 0 {
            let dispatched = self.start(now, left.min(limits::LIST_ATTEMPTS_MAX), journal, out);
            if dispatched == 0 {
                return;
            }
            left -= dispatched;
        }
    }

    /// Starts attempts of the jobs that go first, at most `max`, as one event; returns how many.
    fn start(
        &mut self,
        now: Now,
        max: usize,
        journal: &mut impl Journal,
        out: &mut Outputs,
    ) -> usize {
        loop {
            if !self.queues.is_any_open() {
                return 0;
            }
            // An attempt begins only if there is room for its beginning and its end. What is chosen
            // within limits begins.
            let room = self.attempts_with_room(journal);
            self.starved = room == 0;
            if room == 0 {
                return 0;
            }
            self.hints.clear();
            let max = max.min(room);
            self.queues.next_many(&self.links, max, now.mono.signed_ns(), &mut self.hints);
            match self.sift_expired(now, journal) {
                Sifted::Clean => break,
                Sifted::Ended => {}
                Sifted::NoRoom => {
                    self.starved = true;
                    return 0;
                }
            }
        }
        let begun = self.hints.len();
        self.start_hinted(now, By::Executor, journal, &mut out.dispatches);
        self.write_shared_rates(now, journal);
        begun
    }

    /// Hands what is ready in `queues` to a worker.
    pub(super) fn fetch(
        &mut self,
        now: Now,
        queues: &[QueueId],
        max: u32,
        journal: &mut impl Journal,
        out: &mut Outputs,
    ) {
        self.age(now);
        let most = limits::FETCHED_MAX.saturating_sub(self.fetched).min(max) as usize;
        loop {
            let most = self.attempts_with_room(journal).min(most).min(limits::LIST_ATTEMPTS_MAX);
            self.choose(now, queues, most);
            match self.sift_expired(now, journal) {
                Sifted::Clean => break,
                Sifted::Ended => {}
                Sifted::NoRoom => return,
            }
        }
        self.start_hinted(now, By::Worker, journal, &mut out.fetched);
        self.write_shared_rates(now, journal);
    }

    /// Sets `self.hints` to what goes first in `queues`, at most `most`.
    fn choose(&mut self, now: Now, queues: &[QueueId], most: usize) {
        self.hints.clear();
        for (place, queue) in queues.iter().enumerate() {
            // What stands in line is not taken out before the event: a queue that is named twice
            // would give the same jobs twice.
            if queues[..place].contains(queue) {
                continue;
            }
            self.queues.first_many(
                &self.links,
                *queue,
                most,
                now.mono.signed_ns(),
                &mut self.hints,
            );
        }
    }

    /// Starts attempts of the jobs in `self.hints`, for which there is room, as one event.
    fn start_hinted(
        &mut self,
        now: Now,
        by: By,
        journal: &mut impl Journal,
        dispatches: &mut Vec<Dispatch>,
    ) {
        let floor = self.token_floor;
        let next = |record: &Record| {
            let next = record.token.0.wrapping_add(1);
            // Of a job that a worker had before, a later fetch may be lost: its token must not go
            // to an executor either.
            let is_fetched = by == By::Worker || next > FETCHED_TOKEN_MIN;
            Token(if is_fetched { next.max(floor) } else { next })
        };
        let at = now.wall.0;
        let count = self.hints.len() as u32;
        // As they are once the event is applied. Before that, while the record says since when each
        // was ready.
        dispatches.extend(self.hints.iter().map(|slot| {
            let record = self.table.get(*slot);
            Dispatch {
                ready_ns: now.mono.0.saturating_sub(record.ready_ns),
                attempt: Attempt { job: record.id, slot: *slot, token: next(record) },
                kind: record.kind,
                queue: record.queue,
                number: record.attempt.saturating_add(1),
                attempts_max: record.attempts_max.get(),
                body: record.body,
                payload_offset: record.payload_offset,
                due_ns: record.due_ns,
                clock: record.clock(),
            }
        }));
        let turns = self.turns_of_hinted();
        match (by, &*self.hints) {
            (_, []) => return,
            (By::Executor, [slot]) => {
                let record = self.table.get(*slot);
                let event = Event::Started { job: record.id.0, token: next(record).0, at };
                self.commit(&event, &[], journal);
            }
            (By::Executor, _) => {
                self.commit_list(&Event::StartedMany { at, count }, next, journal);
            }
            (By::Worker, _) => {
                self.commit_list(&Event::Fetched { at, count }, next, journal);
            }
        }
        for turn in turns {
            self.queues.use_turn(turn.queue, turn.group, turn.line);
        }
    }

    /// For how many more attempts the journal has room, with their ends.
    fn attempts_with_room(&self, journal: &impl Journal) -> usize {
        if self.failed {
            return 0;
        }
        let kept = u64::from(self.running + self.fetched) * limits::OUTCOME_BYTES_MAX
            + limits::RELEASE_BYTES;
        let free = journal.available_bytes().saturating_sub(kept);
        let attempts = free / (limits::START_BYTES_MAX + limits::OUTCOME_BYTES_MAX);
        usize::try_from(attempts).unwrap_or(usize::MAX)
    }
}

pub(super) fn on_clock(now: Now, clock: Clock) -> u64 {
    match clock {
        Clock::Mono => now.mono.0,
        Clock::Wall => now.wall.0,
    }
}
