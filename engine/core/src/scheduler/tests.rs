//! Lives of jobs and schedules through the public boundary, with a journal in memory.

mod aging;
mod backfill;
mod breaker;
mod changes;
mod dead;
mod expire;
mod fetch;
mod groups;
mod guard;
mod keep;
mod overlap;
mod queue_limits;
mod random;
mod related_ends;
mod relations;
mod schedules;
mod shared_limits;
mod snapshot;
mod tags;
mod tell;

use super::*;
use crate::{
    cron::Cron,
    job::{Backoff, Due, Expiry, JobOptions, NewJob, Refusal},
    journal::NoRoom,
    schedule::{Missed, Overlap, Schedule, Timing},
};
use alloc::{format, string::String, vec};
use proptest::prelude::*;
use random::{Op, any_op, run};

const SECOND: u64 = 1_000_000_000;
const START_WALL: u64 = 1_800_000_000 * SECOND;

/// A journal in memory with a size.
#[derive(Clone, Default)]
struct Memory {
    events: Vec<Vec<u8>>,
    used_bytes: u64,
    size_bytes: u64,
}

impl Journal for Memory {
    fn available_bytes(&self) -> u64 {
        self.size_bytes - self.used_bytes
    }

    fn shortage(&self) -> NoRoom {
        NoRoom::Full
    }

    fn record_bytes(&self, len_bytes: usize) -> u64 {
        len_bytes as u64 + 16
    }

    fn append(&mut self, head: &[u8], payload: &[u8]) -> Position {
        let lsn = Lsn(self.events.len() as u64);
        self.used_bytes += self.record_bytes(head.len() + payload.len());
        assert!(self.used_bytes <= self.size_bytes, "more was appended than there was room for");
        self.events.push([head, payload].concat());
        Position { lsn, end: Lsn(lsn.0 + 1) }
    }
}

/// A scheduler with its journal and clocks.
struct World {
    core: Scheduler,
    journal: Memory,
    now: Now,
    out: Outputs,
    /// Executors take nothing out of their queue.
    held: bool,
}

impl World {
    fn new() -> Self {
        Self::with(Memory { size_bytes: 1 << 40, ..Memory::default() }, SECOND, START_WALL)
    }

    fn with(journal: Memory, mono: u64, wall: u64) -> Self {
        let now = Now { mono: MonoTime(mono), wall: WallTime(wall) };
        let config = Config {
            notices: true,
            low_water_bytes: 4096,
            low_water_full_bytes: 4096,
            ..Config::new(ShardId(0))
        };
        Self {
            core: Scheduler::new(config, now),
            journal,
            now,
            out: Outputs::default(),
            held: false,
        }
    }

    /// Ends the process and starts another on the same journal, `down_ns` later.
    fn restart(self, down_ns: u64) -> Self {
        let mut next = Self::with(self.journal, 7 * SECOND, self.now.wall.0 + down_ns);
        for (number, event) in next.journal.events.iter().enumerate() {
            next.core.replay(Lsn(number as u64), event).unwrap();
        }
        next.core.replayed().unwrap();
        next.core.recovered(next.now, 2, &mut next.journal, &mut next.out);
        next
    }

    fn step(&mut self, input: Input<'_>) {
        self.core.step(self.now, input, &mut self.journal, &mut self.out);
    }

    fn answer(&mut self, input: Input<'_>) -> Answer {
        self.step(input);
        self.out.replies.pop().unwrap().answer
    }

    fn submit(&mut self, job: &NewJob<'_>) -> JobId {
        match self.answer(Input::Submit { caller: CallerId(0), job }) {
            Answer::Submitted(id) => id,
            other => panic!("{other:?}"),
        }
    }

    fn put(&mut self, schedule: &Schedule<'_>) -> Answer {
        self.answer(Input::PutSchedule { caller: CallerId(0), schedule })
    }

    /// Lets `ns` pass on both clocks, then takes what is dispatched.
    fn pass(&mut self, ns: u64) -> Vec<Dispatch> {
        self.now.mono.0 += ns;
        self.now.wall.0 += ns;
        self.time()
    }

    fn time(&mut self) -> Vec<Dispatch> {
        // A few steps, since one has a budget.
        for _ in 0..3 {
            self.step(Input::Time { dispatch_max: u32::MAX });
            for attempt in core::mem::take(&mut self.out.expired) {
                // Handlers are called as soon as they are dispatched, unless a test holds them.
                let began = if self.held { Began::NotYet } else { Began::At(MonoTime(0)) };
                self.step(Input::LeaseEnd { attempt, began });
            }
        }
        core::mem::take(&mut self.out.dispatches)
    }

    fn complete(&mut self, dispatch: Dispatch, outcome: Outcome<'_>) {
        self.step(Input::Complete { attempt: dispatch.attempt, outcome });
    }

    fn state(&self, id: JobId) -> Option<JobState> {
        self.core.job(id).map(|view| view.state)
    }

    fn notices(&mut self) -> Vec<(OutcomeKind, Next)> {
        core::mem::take(&mut self.out.notices).into_iter().map(|n| (n.outcome, n.next)).collect()
    }
}

fn job() -> NewJob<'static> {
    NewJob::new("send_email")
}

fn delayed(seconds: u64) -> NewJob<'static> {
    NewJob { due: Due::After(seconds * SECOND), ..job() }
}

#[test]
fn a_job_is_due_not_before_its_time_and_succeeds() {
    let mut world = World::new();
    let id = world.submit(&NewJob { payload: b"to: you".as_slice().into(), ..delayed(2) });
    assert_eq!(world.state(id), Some(JobState::Scheduled));
    assert!(world.pass(2 * SECOND - 1).is_empty());
    let wake = world.core.wake().mono.unwrap().0;
    assert!(wake >= world.now.mono.0 && wake <= world.now.mono.0 + TICK_NS);
    let dispatch = world.pass(TICK_NS)[0];
    assert_eq!((dispatch.attempt.job, dispatch.number), (id, 1));
    assert_eq!(world.core.kind_name(dispatch.kind), "send_email");
    let event = &world.journal.events[dispatch.body.0 as usize];
    assert_eq!(&event[usize::from(dispatch.payload_offset)..], b"to: you");
    assert_eq!(world.state(id), Some(JobState::Running));
    world.complete(dispatch, Outcome::Succeeded);
    assert_eq!(world.state(id), None);
    assert!(world.core.has_issued(id));
    assert_eq!(world.notices(), [(OutcomeKind::Succeeded, Next::Done)]);
    assert_eq!(world.core.counts().succeeded, 1);
    assert_eq!(world.core.wake(), Wake::default());
}

#[test]
fn a_failure_is_tried_again_after_its_back_off_until_attempts_run_out() {
    let mut world = World::new();
    let backoff = Backoff { base_ms: 1000, max_ms: 60_000 };
    let id = world.submit(&NewJob { attempts_max: 2, backoff, ..job() });
    let first = world.pass(0)[0];
    world.complete(first, Outcome::Retryable("no route"));
    assert_eq!(world.state(id), Some(JobState::Scheduled));
    assert!(matches!(world.notices()[..], [(OutcomeKind::Failed, Next::Retry(_))]));
    assert!(world.pass(SECOND / 2).is_empty());
    let second = world.pass(SECOND)[0];
    assert_eq!(second.number, 2);
    assert!(second.attempt.token > first.attempt.token);
    world.complete(second, Outcome::Panicked("boom"));
    assert_eq!(world.notices(), [(OutcomeKind::Panicked, Next::Dead)]);
    assert_eq!((world.state(id), world.core.counts().dead), (Some(JobState::Dead), 1));
}

#[test]
fn a_permanent_failure_is_not_tried_again() {
    let mut world = World::new();
    world.submit(&job());
    let dispatch = world.pass(0)[0];
    world.complete(dispatch, Outcome::Permanent("no such user"));
    assert_eq!(world.notices(), [(OutcomeKind::Failed, Next::Dead)]);
}

#[test]
fn a_lease_that_ends_stops_the_attempt_and_its_late_end_is_refused() {
    let mut world = World::new();
    let id = world.submit(&NewJob { timeout_ms: 1000, ..job() });
    let first = world.pass(0)[0];
    world.pass(SECOND + TICK_NS);
    assert_eq!(world.out.stops, [first.attempt]);
    assert!(matches!(world.notices()[..], [(OutcomeKind::TimedOut, Next::Retry(_))]));
    world.complete(first, Outcome::Succeeded);
    assert_eq!((world.out.stale, world.state(id)), (1, Some(JobState::Scheduled)));
    let second = world.pass(2 * SECOND)[0];
    world.complete(first, Outcome::Succeeded);
    assert_eq!((world.out.stale, world.state(id)), (2, Some(JobState::Running)));
    world.complete(second, Outcome::Succeeded);
    assert_eq!((world.out.stale, world.state(id)), (2, None));
}

#[test]
fn an_attempt_that_was_given_back_does_not_count() {
    let mut world = World::new();
    let id = world.submit(&NewJob { attempts_max: 1, ..job() });
    let first = world.pass(0)[0];
    world.complete(first, Outcome::NotBegun);
    assert_eq!(world.state(id), Some(JobState::Ready));
    let mut world = world.restart(0);
    let second = world.pass(0)[0];
    assert_eq!((second.number, second.attempt.job), (1, id));
    assert!(second.attempt.token > first.attempt.token);
    world.complete(first, Outcome::Succeeded);
    assert_eq!((world.out.stale, world.state(id)), (1, Some(JobState::Running)));
    world.complete(second, Outcome::Retryable("its only one"));
    assert_eq!(world.core.counts().dead, 1);
}

#[test]
fn the_wait_in_an_executors_queue_does_not_count_as_running() {
    let mut world = World::new();
    let id = world.submit(&NewJob { timeout_ms: 1000, attempts_max: 1, ..job() });
    let dispatch = world.pass(0)[0];
    world.held = true;
    for _ in 0..5 {
        world.pass(SECOND + TICK_NS);
    }
    assert_eq!(world.state(id), Some(JobState::Running));
    assert!(world.out.stops.is_empty() && world.out.notices.is_empty());
    // Called now, it has its whole second from here.
    let called = world.now.mono;
    world.pass(SECOND / 2);
    let attempt = dispatch.attempt;
    world.step(Input::LeaseEnd { attempt, began: Began::At(called) });
    assert_eq!(world.state(id), Some(JobState::Running));
    world.pass(SECOND);
    world.step(Input::LeaseEnd { attempt, began: Began::At(called) });
    assert_eq!((world.state(id), world.core.counts().dead), (Some(JobState::Dead), 1));
    assert_eq!(world.out.stops, [attempt]);
}

#[test]
fn a_postponed_attempt_does_not_count_and_comes_back() {
    let mut world = World::new();
    let id = world.submit(&NewJob { attempts_max: 1, ..job() });
    let dispatch = world.pass(0)[0];
    world.complete(dispatch, Outcome::Postponed(10 * SECOND));
    assert!(world.pass(9 * SECOND).is_empty());
    let mut world = world.restart(SECOND);
    let again = world.pass(TICK_NS)[0];
    assert_eq!((again.attempt.job, again.number), (id, 1));
}

#[test]
fn an_interval_that_was_due_before_the_boot_is_missed_by_its_true_time() {
    for (missed, expected) in [
        (Missed::Skip, 0),
        (Missed::One, 1),
        (Missed::All { limit: 5, window_ns: 100 * 3600 * SECOND }, 5),
    ] {
        let mut world = World::new();
        let hourly = Timing::Every(3600 * SECOND);
        world.put(&Schedule { missed, ..Schedule::new("hourly", hourly, job()) });
        // The restart's monotonic clock begins 7 s before, as after a boot.
        let mut world = world.restart(8 * 3600 * SECOND + 1800 * SECOND);
        assert_eq!(world.pass(TICK_NS).len(), expected, "{missed:?}");
        let next = world.core.schedules()[0].next;
        assert_eq!(next, Some(WallTime(START_WALL + 9 * 3600 * SECOND)), "{missed:?}");
    }
}

#[test]
fn after_an_unclean_end_no_id_is_given_out_twice() {
    let mut world = World::new();
    let seen = world.submit(&job());
    // The tail of the journal is lost, and the caller knows the id.
    world.journal.events.clear();
    let mut world = world.restart(0);
    assert!(world.submit(&job()).sequence() > seen.sequence());
}

#[test]
fn an_interval_that_was_due_before_the_boot_fires_though_the_clock_was_set_back() {
    let mut world = World::new();
    world.put(&Schedule::new("hourly", Timing::Every(3600 * SECOND), job()));
    let mut world = world.restart(8 * 3600 * SECOND);
    world.now.wall.0 -= 9 * 3600 * SECOND;
    world.step(Input::ClockSet);
    assert_eq!(world.pass(TICK_NS).len(), 1);
}

#[test]
fn an_interval_that_is_put_again_keeps_its_place_though_the_clock_was_set() {
    for wall_ns in [START_WALL + 3600 * SECOND, START_WALL - 3600 * SECOND] {
        let mut world = World::new();
        let schedule = Schedule::new("tick", Timing::Every(100 * SECOND), job());
        world.put(&schedule);
        world.now.wall.0 = wall_ns;
        world.step(Input::ClockSet);
        let again = world.put(&Schedule { job: NewJob::new("other"), ..schedule });
        assert_eq!(again, Answer::SchedulePut(Some(WallTime(wall_ns + 100 * SECOND))));
        assert!(world.pass(100 * SECOND - 1).is_empty());
        assert_eq!(world.pass(TICK_NS).len(), 1);
    }
}

#[test]
fn after_a_crash_all_attempts_end_though_there_is_no_room_for_long_ends() {
    let mut world = World::new();
    for _ in 0..100 {
        world.submit(&job());
    }
    assert_eq!(world.pass(0).len(), 100);
    world.journal.size_bytes = world.journal.used_bytes + 100 * limits::LOST_BYTES_MAX;
    let world = world.restart(0);
    assert_eq!((world.core.running(), world.core.counts().failed_attempts), (0, 100));
}

#[test]
fn a_census_finds_what_is_not_in_its_place() {
    let mut world = World::new();
    let id = world.submit(&delayed(10));
    world.submit(&job());
    let census = world.core.census().unwrap();
    assert_eq!((census.scheduled, census.ready, census.running), (1, 1, 0));
    let slot = world.core.table.find(id).unwrap();
    let Scheduler { mono_wheel, links, .. } = &mut world.core;
    mono_wheel.remove(links, slot.0);
    assert_eq!(
        world.core.census(),
        Err(CensusError::WrongPlace {
            slot: slot.0,
            job: id,
            state: JobState::Scheduled,
            found: Place::Nowhere,
            expected: Place::Wheel(Clock::Mono),
        })
    );
    let Scheduler { mono_wheel, links, .. } = &mut world.core;
    mono_wheel.insert(links, slot.0, 1 << 30);
    world.core.running += 1;
    let miscounted = CensusError::Count { what: "running jobs", kept: 1, counted: 0 };
    assert_eq!(world.core.census(), Err(miscounted));
}

#[test]
fn a_kind_is_known_once_a_schedule_names_it() {
    let mut world = World::new();
    let put = |world: &mut World, n: usize| {
        let kind = NewJob::new(format!("kind {n}"));
        world.put(&Schedule::new(format!("schedule {n}"), Timing::Every(SECOND), kind))
    };
    for n in 0..limits::KINDS_MAX {
        assert!(matches!(put(&mut world, n), Answer::SchedulePut(_)), "{n}");
    }
    let refused = put(&mut world, limits::KINDS_MAX);
    assert_eq!(refused, Answer::Refused(Refusal::TooManyKinds));
    assert!(!world.pass(SECOND + TICK_NS).is_empty());
}

#[test]
fn a_cancelled_job_is_never_dispatched_in_whichever_state_it_was() {
    let mut world = World::new();
    let cancel = |world: &mut World, job| world.answer(Input::Cancel { caller: CallerId(0), job });
    let waiting = world.submit(&delayed(5));
    assert_eq!(cancel(&mut world, waiting), Answer::Cancelled(Some(JobState::Scheduled)));
    let running = world.submit(&job());
    let dispatch = world.pass(0)[0];
    assert_eq!(cancel(&mut world, running), Answer::Cancelled(Some(JobState::Running)));
    assert_eq!(world.out.stops, [dispatch.attempt]);
    let ready = world.submit(&job());
    world.step(Input::Time { dispatch_max: 0 });
    assert_eq!(cancel(&mut world, ready), Answer::Cancelled(Some(JobState::Ready)));
    assert_eq!(cancel(&mut world, ready), Answer::Cancelled(None));
    assert!(world.pass(100 * SECOND).is_empty());
    world.complete(dispatch, Outcome::Succeeded);
    assert_eq!((world.out.stale, world.core.counts().cancelled), (1, 3));
}

#[test]
fn higher_priorities_go_first_and_running_jobs_are_bounded() {
    let mut world = World::new();
    world.core.config.running_max = 2;
    let ids: Vec<JobId> =
        [1, 9, 5, 9].map(|priority| world.submit(&NewJob { priority, ..job() })).into();
    let first = world.pass(0);
    let order: Vec<JobId> = first.iter().map(|d| d.attempt.job).collect();
    assert_eq!(order, [ids[1], ids[3]]);
    assert!(!world.core.wake().now);
    world.complete(first[0], Outcome::Succeeded);
    assert!(world.core.wake().now);
    assert_eq!(world.pass(0)[0].attempt.job, ids[2]);
}

#[test]
fn a_restart_brings_back_waiting_jobs_and_counts_lost_attempts() {
    let mut world = World::new();
    let delay = world.submit(&delayed(100));
    let instant = NewJob { due: Due::At(WallTime(START_WALL + 50 * SECOND)), ..job() };
    let instant = world.submit(&instant);
    let running = world.submit(&NewJob { attempts_max: 2, ..job() });
    let poison = world.submit(&NewJob { attempts_max: 1, ..job() });
    let done = world.submit(&job());
    for dispatch in world.pass(0) {
        if dispatch.attempt.job == done {
            world.complete(dispatch, Outcome::Succeeded);
        }
    }
    let mut world = world.restart(60 * SECOND);
    assert_eq!(world.state(poison), Some(JobState::Dead), "its only attempt is spent");
    assert_eq!(world.core.counts().dead, 1);
    let resumed: Vec<(JobId, u16)> =
        world.pass(0).iter().map(|d| (d.attempt.job, d.number)).collect();
    assert_eq!(resumed.len(), 2, "{resumed:?}");
    assert!(resumed.contains(&(running, 2)) && resumed.contains(&(instant, 1)));
    assert!(world.pass(40 * SECOND - 1).is_empty());
    assert_eq!(world.pass(TICK_NS)[0].attempt.job, delay);
    assert!(world.submit(&job()) > done, "ids are not given out again");
}

#[test]
fn setting_the_wall_clock_moves_instants_and_leaves_delays_alone() {
    let mut world = World::new();
    let instant = NewJob { due: Due::At(WallTime(START_WALL + 3600 * SECOND)), ..job() };
    let instant = world.submit(&instant);
    let delay = world.submit(&delayed(3600));
    // Set back by an hour: the delay still ends after an hour, the instant after two.
    world.now.wall.0 -= 3600 * SECOND;
    world.step(Input::ClockSet);
    assert!(world.pass(3600 * SECOND - 1).is_empty());
    let due: Vec<JobId> = world.pass(TICK_NS).iter().map(|d| d.attempt.job).collect();
    assert_eq!(due, [delay]);
    world.now.wall.0 += 3600 * SECOND;
    world.step(Input::ClockSet);
    let due: Vec<JobId> = world.time().iter().map(|d| d.attempt.job).collect();
    assert_eq!(due, [instant]);
}

#[test]
fn a_schedule_fires_at_each_of_its_times() {
    let mut world = World::new();
    world.put(&Schedule::new("tick", Timing::Every(10 * SECOND), job()));
    let minute = Timing::Cron(Cron::parse("* * * * *").unwrap());
    world.put(&Schedule::new("cron", minute, NewJob::new("cron")));
    let mut fired = Vec::new();
    for second in 1..=125 {
        for dispatch in world.pass(SECOND) {
            fired.push((second, String::from(world.core.kind_name(dispatch.kind))));
            world.complete(dispatch, Outcome::Succeeded);
        }
    }
    // The tick that follows a due time is at most one second of this walk late.
    let of = |kind: &str| -> Vec<i32> {
        fired.iter().filter(|(_, k)| k == kind).map(|(s, _)| *s / 10 * 10).collect()
    };
    assert_eq!(of("send_email"), (1..=12).map(|n| n * 10).collect::<Vec<_>>());
    assert_eq!(of("cron"), [60, 120]);
}

#[test]
fn a_schedule_that_was_put_again_keeps_its_place_and_catches_up() {
    let hourly = || Timing::Cron(Cron::parse("0 * * * *").unwrap());
    let all = Missed::All { limit: 3, window_ns: 100 * 3600 * SECOND };
    let schedule = Schedule { missed: all, ..Schedule::new("hourly", hourly(), job()) };
    let mut world = World::new();
    world.put(&schedule);
    let mut world = world.restart(10 * 3600 * SECOND + TICK_NS);
    // Its job has changed, its timing has not: what was missed still counts.
    let schedule = Schedule { job: NewJob::new("other"), ..schedule };
    world.put(&schedule);
    let ran = world.pass(0);
    assert_eq!(ran.len(), 3);
    assert!(ran.iter().all(|d| world.core.kind_name(d.kind) == "other"));
    assert_eq!(world.core.schedules()[0].fired, 3);
    // Another timing starts afresh.
    let next = world.put(&Schedule { timing: Timing::Every(SECOND), ..schedule });
    assert_eq!(next, Answer::SchedulePut(Some(WallTime(world.now.wall.0 + SECOND))));
    let removed = world.answer(Input::RemoveSchedule { caller: CallerId(0), name: "hourly" });
    assert_eq!(removed, Answer::ScheduleRemoved(true));
    assert!(world.pass(7200 * SECOND).is_empty());
}

#[test]
fn a_schedule_keeps_the_times_that_were_drawn_from_its_name() {
    let spread = |name| Timing::Cron(Cron::parse_named("H H * * *", name).unwrap());
    let mut world = World::new();
    let first = world.put(&Schedule::new("backup", spread("backup"), job()));
    let cron = Cron::parse_named("H H * * *", "backup").unwrap();
    let next = cron.next_after(world.now.wall.0.cast_signed()).map(|at| WallTime(at as u64));
    assert_eq!(first, Answer::SchedulePut(next));
    let mut world = world.restart(TICK_NS);
    assert_eq!(world.put(&Schedule::new("backup", spread("backup"), job())), first);
    let other = world.put(&Schedule::new("report", spread("backup"), job()));
    let Answer::Refused(Refusal::Schedule(reason)) = other else { panic!("{other:?}") };
    assert!(reason.contains("parse_named"), "{reason}");
}

#[test]
fn a_schedule_that_can_never_fire_is_refused_but_one_that_has_ended_stays() {
    let cron = |text| Timing::Cron(Cron::parse(text).unwrap());
    let mut world = World::new();
    let past = world.put(&Schedule::new("past", cron("0 0 0 1 1 ? 1999"), job()));
    let Answer::Refused(Refusal::Schedule(reason)) = past else { panic!("{past:?}") };
    assert!(reason.contains("give it other times"), "{reason}");
    let ends = Schedule::new("ends", cron("0 0 0 1 1 ? 2026-2030"), job());
    assert!(matches!(world.put(&ends), Answer::SchedulePut(Some(_))));
    let mut world = world.restart(10 * 366 * 86_400 * SECOND);
    for dispatch in world.pass(SECOND) {
        world.complete(dispatch, Outcome::Succeeded);
    }
    assert!(world.core.schedules()[0].next.is_none());
    // A program that puts its schedules at each start still can, also with another job.
    assert_eq!(world.put(&ends), Answer::SchedulePut(None));
    let ends = Schedule { job: NewJob::new("other"), ..ends };
    assert_eq!(world.put(&ends), Answer::SchedulePut(None));
}

#[test]
fn a_one_off_runs_once_however_often_it_is_put() {
    let once = Schedule::new("once", Timing::Once(None), job());
    let mut world = World::new();
    world.put(&once);
    let dispatch = world.pass(TICK_NS)[0];
    world.complete(dispatch, Outcome::Succeeded);
    let mut world = world.restart(SECOND);
    assert_eq!(world.put(&once), Answer::SchedulePut(None));
    assert!(world.pass(SECOND).is_empty());
}

#[test]
fn without_space_new_jobs_are_refused_and_running_ones_complete() {
    let mut world = World::with(Memory { size_bytes: 20_000, ..Memory::default() }, 1, START_WALL);
    let big = NewJob { payload: vec![7; 1000].into(), ..job() };
    let mut accepted = 0;
    let refusal = loop {
        match world.answer(Input::Submit { caller: CallerId(0), job: &big }) {
            Answer::Submitted(_) => accepted += 1,
            Answer::Refused(refusal) => break refusal,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(refusal, Refusal::NoSpace);
    assert!(accepted > 5);
    let mut dispatched = world.pass(TICK_NS);
    assert!(!dispatched.is_empty());
    let mut completed = 0;
    while let Some(dispatch) = dispatched.pop() {
        world.complete(dispatch, Outcome::Permanent(&"x".repeat(5000)));
        completed += 1;
        dispatched.extend(world.pass(0));
    }
    assert_eq!(world.core.counts().dead, completed);
    assert!(world.core.counts().pending == 0 || !world.core.wake().now, "it does not spin");
    // Space returns: the rest runs.
    world.journal.size_bytes = 1 << 20;
    for _ in 0..accepted {
        for dispatch in world.pass(0) {
            world.complete(dispatch, Outcome::Succeeded);
        }
    }
    assert_eq!(world.core.counts().pending, 0);
}

#[test]
fn a_failed_journal_stops_everything() {
    let mut world = World::new();
    world.submit(&job());
    world.step(Input::JournalFailed);
    assert!(world.pass(SECOND).is_empty());
    let answer = world.answer(Input::Submit { caller: CallerId(0), job: &job() });
    assert_eq!(answer, Answer::Refused(Refusal::LogFailed));
    assert_eq!(world.core.wake(), Wake::default());
}

#[test]
fn bad_jobs_are_refused_by_name_and_change_nothing() {
    let mut world = World::new();
    let name = "n".repeat(256);
    let bad = [
        NewJob::new(""),
        NewJob::new(name.as_str()),
        NewJob { payload: vec![0; limits::PAYLOAD_BYTES_MAX + 1].into(), ..job() },
        NewJob { priority: 10, ..job() },
        NewJob { attempts_max: 0, ..job() },
        NewJob { timeout_ms: 0, ..job() },
        NewJob { due: Due::At(WallTime(u64::MAX)), ..job() },
        NewJob { due: Due::After(u64::MAX), ..job() },
    ];
    for job in &bad {
        let answer = world.answer(Input::Submit { caller: CallerId(0), job });
        assert!(matches!(answer, Answer::Refused(_)), "{answer:?}");
    }
    assert!(world.journal.events.is_empty());
    world.core.config.jobs_max = 1;
    world.submit(&job());
    let answer = world.answer(Input::Submit { caller: CallerId(0), job: &job() });
    assert_eq!(answer, Answer::Refused(Refusal::TooManyJobs { max: 1 }));
}

#[test]
fn events_that_do_not_follow_are_refused_on_replay() {
    let mut world = World::new();
    world.submit(&job());
    let dispatch = world.pass(0)[0];
    world.complete(dispatch, Outcome::Succeeded);
    let events = world.journal.events.clone();
    let mut fresh = World::new();
    // Its adding may have been cut off: whether that is so is known at the end.
    fresh.core.replay(Lsn(1), &events[1]).unwrap();
    let error = fresh.core.replayed().unwrap_err();
    let unknown = ReplayError::UnknownJob(dispatch.attempt.job);
    assert_eq!(error, ReplayError::Unaccounted { lsn: Lsn(1), error: Box::new(unknown) });
    assert_eq!(fresh.core.replayed(), Ok(()));
    assert!(matches!(fresh.core.replay(Lsn(0), &[99; 4]), Err(ReplayError::Decode(_))));
    fresh.core.replay(Lsn(0), &events[0]).unwrap();
    let error = fresh.core.replay(Lsn(0), &events[2]).unwrap_err();
    assert!(matches!(error, ReplayError::Transition { .. }), "{error}");
}

/// All jobs, with no difference made between those that wait: which of them have been triggered
/// follows from the time.
fn views(world: &World) -> Vec<JobView> {
    let records = (0..world.core.table.slots()).map(|slot| world.core.table.get(Slot(slot)));
    let mut ids: Vec<JobId> =
        records.filter(|record| record.role() == Role::Job).map(|record| record.id).collect();
    ids.sort_unstable();
    ids.into_iter()
        .filter_map(|id| world.core.job(id))
        .map(|view| {
            let state =
                if view.state == JobState::Ready { JobState::Scheduled } else { view.state };
            JobView { state, ..view }
        })
        .collect()
}

/// Everything that must be the same after a replay.
fn census(world: &World) -> String {
    let counts = Counts { ready: 0, ..world.core.counts() };
    format!("{:?} {:?} {counts:?}", views(world), world.core.schedules())
}

/// Each process loses all that it wrote, and callers have seen its ids.
#[test]
fn openings_that_lose_everything_never_give_out_an_id_twice() {
    let mut world = World::new();
    // Far above what the epochs come to.
    world.core.next_sequence = 1 << 45;
    world.submit(&job());
    let mut seen = Vec::new();
    for epoch in 2..200 {
        let (journal, wall) = (world.journal.clone(), START_WALL + epoch * SECOND);
        let mut next = World::with(journal, SECOND, wall);
        for (number, event) in next.journal.events.iter().enumerate() {
            next.core.replay(Lsn(number as u64), event).unwrap();
        }
        next.core.replayed().unwrap();
        next.core.recovered(next.now, epoch, &mut next.journal, &mut next.out);
        seen.extend((0..3).map(|_| next.submit(&job())));
    }
    let given = seen.len();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), given);
}
