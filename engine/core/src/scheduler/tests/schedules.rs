//! Rules about when schedules fire and when not: pauses, overlap, jitter, bounds.

use super::*;
use crate::schedule::{Overlap, Pause};

const HOUR: u64 = 3600 * SECOND;

impl World {
    pub(super) fn pause_schedule(&mut self, name: &str, note: &str) -> Answer {
        self.answer(Input::PauseSchedule { caller: CallerId(0), name, note })
    }

    pub(super) fn resume_schedule(&mut self, name: &str) -> Answer {
        self.answer(Input::ResumeSchedule { caller: CallerId(0), name })
    }

    /// Lets `seconds` pass one by one, ends well what is dispatched, and tells in which seconds
    /// that was.
    fn seconds_that_ran(&mut self, seconds: u64) -> Vec<u64> {
        let mut ran = Vec::new();
        for second in 1..=seconds {
            for dispatch in self.pass(SECOND) {
                ran.push(second);
                self.complete(dispatch, Outcome::Succeeded);
            }
        }
        ran
    }

    pub(super) fn the_schedule(&self) -> ScheduleView {
        self.core.schedules().remove(0)
    }

    /// The same after a restart from the journal, from a cleaned journal, and from a snapshot.
    pub(super) fn each_start(self, down_ns: u64) -> [World; 3] {
        let copy = |world: &World| {
            let now = world.now;
            let mut copy = World::with(world.journal.clone(), now.mono.0, now.wall.0);
            keep::replay(&mut copy.core, &world.journal, 0);
            copy
        };
        let replayed = copy(&self).restart(down_ns);
        let mut cleaned = copy(&self);
        let records = cleaned.journal.events.len();
        for number in 0..records {
            let bytes = cleaned.journal.events[number].clone();
            let World { core, journal, now, .. } = &mut cleaned;
            core.clean(*now, Lsn(number as u64), &bytes, journal).unwrap();
        }
        let World { core, journal, now, .. } = &mut cleaned;
        core.write_base(*now, journal).unwrap();
        let wall = now.wall.0 + down_ns;
        let mut from_rest = World::with(cleaned.journal.clone(), 7 * SECOND, wall);
        keep::replay(&mut from_rest.core, &cleaned.journal, records);
        let World { core, journal, now, out, .. } = &mut from_rest;
        core.recovered(*now, 2, journal, out);
        let mut frozen = self;
        let bytes = snapshot::bytes(&mut frozen);
        let mut thawed = World::with(frozen.journal, 7 * SECOND, frozen.now.wall.0 + down_ns);
        thawed.core = snapshot::restore(thawed.now, &bytes).unwrap();
        let World { core, journal, now, out, .. } = &mut thawed;
        core.recovered(*now, 2, journal, out);
        let worlds = [replayed, from_rest, thawed];
        for world in &worlds {
            world.core.census().unwrap();
        }
        worlds
    }
}

#[test]
fn a_paused_schedule_does_not_fire_until_it_is_resumed_also_after_a_restart() {
    let mut world = World::new();
    let rule = Schedule::new("tick", Timing::Every(10 * SECOND), job());
    world.put(&rule);
    assert_eq!(world.seconds_that_ran(11), [11]);
    assert_eq!(
        world.pause_schedule("tick", "the disk is being changed"),
        Answer::ScheduleSet(true)
    );
    let since = world.now.wall;
    assert!(world.pass(100 * SECOND).is_empty());
    assert_eq!(world.core.wake(), Wake::default());
    // A program that puts its schedules at each start does not end the pause.
    world.put(&Schedule { job: NewJob::new("other"), ..rule.clone() });
    world.put(&Schedule { timing: Timing::Every(20 * SECOND), ..rule });
    for mut world in world.each_start(HOUR) {
        assert!(world.pass(HOUR).is_empty());
        let note = String::from("the disk is being changed");
        assert_eq!(world.the_schedule().paused, Some(Pause { since, note }));
        assert_eq!(world.resume_schedule("tick"), Answer::ScheduleSet(true));
        assert_eq!(world.the_schedule().paused, None);
        assert_eq!(world.pass(0).len(), 1, "one run stands for what was missed");
        let mut world = world.restart(0);
        assert_eq!(world.pass(20 * SECOND + TICK_NS).len(), 2);
    }
}

#[test]
fn what_passed_during_a_pause_is_judged_by_the_policy_for_missed_runs() {
    let all = Missed::All { limit: 2, window_ns: 100 * HOUR };
    for (missed, expected) in [(Missed::Skip, 0), (Missed::One, 1), (all, 2)] {
        for timing in [Timing::Every(HOUR), Timing::Cron(Cron::parse("0 * * * *").unwrap())] {
            let mut world = World::new();
            world.put(&Schedule { missed, ..Schedule::new("hourly", timing, job()) });
            world.pause_schedule("hourly", "");
            world.pass(5 * HOUR + 1800 * SECOND);
            world.resume_schedule("hourly");
            assert_eq!(world.pass(TICK_NS).len(), expected, "{missed:?}");
            let next = world.the_schedule().next;
            assert_eq!(next, Some(WallTime(START_WALL + 6 * HOUR)), "{missed:?}");
        }
    }
    // Within its grace nothing is missed.
    let mut world = World::new();
    let timing = Timing::Every(10 * SECOND);
    world.put(&Schedule { missed: Missed::Skip, ..Schedule::new("tick", timing, job()) });
    world.pause_schedule("tick", "");
    world.pass(31 * SECOND);
    world.resume_schedule("tick");
    assert_eq!(world.pass(0).len(), 3);
}

#[test]
fn a_pause_keeps_its_beginning_and_takes_the_last_note() {
    let mut world = World::new();
    world.put(&Schedule::new("tick", Timing::Every(SECOND), job()));
    world.pause_schedule("tick", "first");
    let since = world.now.wall;
    world.pass(SECOND);
    world.pause_schedule("tick", "second");
    let events = world.journal.events.len();
    assert_eq!(world.pause_schedule("tick", "second"), Answer::ScheduleSet(true));
    assert_eq!(world.journal.events.len(), events, "nothing has changed");
    assert_eq!(world.the_schedule().paused, Some(Pause { since, note: "second".into() }));
    let long = "n".repeat(limits::NOTE_BYTES_MAX + 1);
    let refused = world.pause_schedule("tick", &long);
    assert_eq!(refused, Answer::Refused(Refusal::NoteTooLong { len_bytes: 201 }));
    assert_eq!(world.pause_schedule("tick", &long[1..]), Answer::ScheduleSet(true));
    world.resume_schedule("tick");
    let events = world.journal.events.len();
    assert_eq!(world.resume_schedule("tick"), Answer::ScheduleSet(true));
    assert_eq!(world.journal.events.len(), events);
    assert_eq!(world.pause_schedule("none", ""), Answer::ScheduleSet(false));
    assert_eq!(world.resume_schedule("none"), Answer::ScheduleSet(false));
    // A schedule of the same name that comes after it is another one.
    world.pause_schedule("tick", "third");
    world.answer(Input::RemoveSchedule { caller: CallerId(0), name: "tick" });
    world.put(&Schedule::new("tick", Timing::Every(SECOND), job()));
    assert_eq!(world.the_schedule().paused, None);
}

#[test]
fn a_fire_time_is_let_go_while_a_job_of_a_schedule_that_skips_has_not_ended() {
    let timing = Timing::Every(10 * SECOND);
    let backoff = Backoff { base_ms: 15_000, max_ms: 15_000 };
    let rule = Schedule::new("tick", timing, NewJob { backoff, attempts_max: 2, ..job() });
    for (overlap, expected) in [(Overlap::Allow, 4), (Overlap::Skip, 1)] {
        let mut world = World::new();
        world.put(&Schedule { overlap, ..rule.clone() });
        let ran: usize = (0..4).map(|_| world.pass(10 * SECOND + TICK_NS).len()).sum();
        assert_eq!(ran, expected, "{overlap:?}");
    }
    let mut world = World::new();
    world.put(&Schedule { overlap: Overlap::Skip, ..rule });
    let first = world.pass(10 * SECOND + TICK_NS)[0];
    assert!(world.pass(10 * SECOND).is_empty());
    world.complete(first, Outcome::Retryable("no route"));
    assert_eq!(world.the_schedule().pending, 1, "a job that is tried again has not ended");
    for mut world in world.each_start(9 * SECOND) {
        assert!(world.pass(TICK_NS).is_empty());
        let second = world.pass(10 * SECOND)[0];
        assert_eq!(second.number, 2, "the retry, and not a job beside it");
        assert_eq!((world.the_schedule().pending, world.the_schedule().fired), (1, 1));
        world.complete(second, Outcome::Succeeded);
        assert_eq!(world.the_schedule().pending, 0);
        let third = world.pass(10 * SECOND);
        assert_eq!((third.len(), third[0].number), (1, 1));
        world.answer(Input::Cancel { caller: CallerId(0), job: third[0].attempt.job });
        assert_eq!(world.pass(10 * SECOND).len(), 1, "a cancelled job has ended");
        // Jobs of a removed schedule hold up none of its name.
        world.answer(Input::RemoveSchedule { caller: CallerId(0), name: "tick" });
        let rule = Schedule::new("tick", Timing::Every(10 * SECOND), job());
        world.put(&Schedule { overlap: Overlap::Skip, ..rule });
        assert_eq!(world.pass(10 * SECOND + TICK_NS).len(), 1);
        world.core.census().unwrap();
    }
}

#[test]
fn a_catch_up_of_a_schedule_that_skips_runs_once() {
    let missed = Missed::All { limit: 5, window_ns: 100 * HOUR };
    let rule = Schedule::new("hourly", Timing::Every(HOUR), job());
    let mut world = World::new();
    world.put(&Schedule { missed, overlap: Overlap::Skip, ..rule });
    let mut world = world.restart(8 * HOUR + 1800 * SECOND);
    assert_eq!(world.pass(TICK_NS).len(), 1);
    assert_eq!(world.the_schedule().next, Some(WallTime(START_WALL + 9 * HOUR)));
}

#[test]
fn a_run_by_hand_leaves_the_fire_times_alone() {
    let run =
        |world: &mut World, name| world.answer(Input::RunSchedule { caller: CallerId(0), name });
    let mut world = World::new();
    let rule = Schedule::new("tick", Timing::Every(10 * SECOND), job());
    world.put(&rule);
    world.pass(4 * SECOND);
    let Answer::ScheduleRun(Some(id)) = run(&mut world, "tick") else { panic!() };
    let ran = world.pass(0);
    assert_eq!(ran.iter().map(|d| d.attempt.job).collect::<Vec<_>>(), [id]);
    assert_eq!(world.core.job(id).unwrap().schedule.as_deref(), Some("tick"));
    assert!(world.pass(6 * SECOND - 1).is_empty());
    assert_eq!(world.pass(TICK_NS).len(), 1);
    assert_eq!(world.the_schedule().fired, 2);
    // Also while it is paused, and that stays so.
    world.pause_schedule("tick", "");
    assert!(matches!(run(&mut world, "tick"), Answer::ScheduleRun(Some(_))));
    for mut world in world.each_start(0) {
        world.out.dispatches.clear();
        assert!(world.the_schedule().paused.is_some());
        assert_eq!(world.the_schedule().fired, 3);
        assert_eq!(run(&mut world, "none"), Answer::ScheduleRun(None));
        world.put(&Schedule { overlap: Overlap::Skip, ..rule.clone() });
        let Answer::Refused(Refusal::Schedule(reason)) = run(&mut world, "tick") else { panic!() };
        assert!(reason.contains("has not ended"), "{reason}");
    }
}

#[test]
fn upcoming_fire_times_are_those_at_which_it_fires() {
    let mut world = World::new();
    let minute = Timing::Cron(Cron::parse("* * * * *").unwrap());
    world.put(&Schedule::new("minute", minute, job()));
    let upcoming = world.core.schedule("minute").unwrap().upcoming(3);
    let expected = [60, 120, 180].map(|s| WallTime(START_WALL + s * SECOND));
    assert_eq!(upcoming, expected);
    // A fire time is rounded up to a tick, so this walk sees it in the second behind it.
    assert_eq!(world.seconds_that_ran(181), [61, 121, 181]);
    assert_eq!(world.core.schedule("minute").unwrap().upcoming(0), []);
    world.pause_schedule("minute", "");
    assert_eq!(world.core.schedule("minute").unwrap().upcoming(3), []);
    assert_eq!(world.core.schedule("none"), None);
    world.put(&Schedule::new("once", Timing::Once(None), job()));
    assert_eq!(world.core.schedule("once").unwrap().upcoming(3), [world.now.wall]);
    // An interval goes by the clock as it is now.
    world.put(&Schedule::new("tick", Timing::Every(10 * SECOND), job()));
    world.now.wall.0 += HOUR;
    world.step(Input::ClockSet);
    let tick = world.core.schedule("tick").unwrap().upcoming(1);
    assert_eq!(tick, [WallTime(world.now.wall.0 + 10 * SECOND)]);
}

/// A bound so many seconds from the beginning.
fn bound(seconds: u64) -> Option<WallTime> {
    Some(WallTime(START_WALL + seconds * SECOND))
}

#[test]
fn a_jitter_moves_all_fire_times_of_a_name_by_the_same_offset() {
    let jitter_ns = 30 * SECOND;
    let offset_ns = crate::cron::jitter_ns("report", jitter_ns);
    assert!(offset_ns > SECOND, "else this shows nothing");
    let minute = Timing::Cron(Cron::parse("* * * * *").unwrap());
    // The rule's time that is just now lies ahead once it is moved.
    for (timing, first_s) in [(minute, 0), (Timing::Every(60 * SECOND), 60)] {
        let moved = |s| WallTime(START_WALL + (first_s + s) * SECOND + offset_ns);
        let expected = [0, 60, 120].map(moved);
        let mut world = World::new();
        let rule = Schedule { jitter_ns, ..Schedule::new("report", timing, job()) };
        assert_eq!(world.put(&rule), Answer::SchedulePut(Some(expected[0])));
        assert_eq!(world.core.schedule("report").unwrap().upcoming(3), expected);
        assert!(world.pass(first_s * SECOND + offset_ns - 1).is_empty());
        for mut world in world.each_start(0) {
            let ran = world.pass(TICK_NS);
            assert_eq!(ran.len(), 1);
            let due = world.core.job(ran[0].attempt.job).unwrap().due;
            assert_eq!(due, expected[0], "the job is due at the moved time");
            assert_eq!(world.the_schedule().next, Some(expected[1]));
            // Put again it stays; with another window it starts afresh.
            assert_eq!(world.put(&rule), Answer::SchedulePut(Some(expected[1])));
            let other = Schedule { jitter_ns: 0, ..rule.clone() };
            assert_ne!(world.put(&other), Answer::SchedulePut(Some(expected[1])));
        }
    }
}

#[test]
fn a_jitter_moves_a_one_off_and_what_was_missed() {
    let jitter_ns = 3600 * SECOND;
    let offset_ns = crate::cron::jitter_ns("report", jitter_ns);
    let mut world = World::new();
    let once = Schedule::new("report", Timing::Once(bound(10)), job());
    let moved = Answer::SchedulePut(Some(WallTime(START_WALL + 10 * SECOND + offset_ns)));
    assert_eq!(world.put(&Schedule { jitter_ns, ..once }), moved);
    let missed = Missed::All { limit: 2, window_ns: 100 * HOUR };
    let hourly = Timing::Cron(Cron::parse("0 * * * *").unwrap());
    let rule = Schedule { jitter_ns, missed, ..Schedule::new("report", hourly, job()) };
    world.put(&rule);
    let mut world = world.restart(5 * HOUR + offset_ns + 120 * SECOND);
    let due = |d: &Dispatch| world_due(d, offset_ns);
    let ran: Vec<u64> = world.pass(TICK_NS).iter().map(due).collect();
    assert_eq!(ran, [4, 5]);
}

/// Which hour from the beginning a moved fire time is of.
fn world_due(dispatch: &Dispatch, offset_ns: u64) -> u64 {
    let since_ns = dispatch.due_ns - offset_ns - START_WALL;
    assert!(since_ns.is_multiple_of(HOUR));
    since_ns / HOUR
}

#[test]
fn nothing_fires_outside_of_start_and_end() {
    let minute = || Timing::Cron(Cron::parse("* * * * *").unwrap());
    for timing in [minute(), Timing::Every(60 * SECOND)] {
        let mut world = World::new();
        let rule = Schedule::new("report", timing, job());
        let rule = Schedule { starts: bound(120), ends: bound(240), ..rule };
        assert_eq!(world.put(&rule), Answer::SchedulePut(bound(120)));
        let expected: Vec<_> = [120, 180, 240].into_iter().filter_map(bound).collect();
        assert_eq!(world.core.schedule("report").unwrap().upcoming(9), expected);
        for mut world in world.each_start(0) {
            assert_eq!(world.seconds_that_ran(500), [121, 181, 241]);
            assert_eq!(world.the_schedule().next, None);
            // A program that puts it at each start still can.
            assert_eq!(world.put(&rule), Answer::SchedulePut(None));
            // A later end starts it afresh.
            let later = world.put(&Schedule { ends: bound(9000), ..rule.clone() });
            assert!(matches!(later, Answer::SchedulePut(Some(_))), "{later:?}");
        }
    }
    // What was missed ends with the end.
    for timing in [minute(), Timing::Every(60 * SECOND)] {
        let missed = Missed::All { limit: 100, window_ns: 100 * HOUR };
        let rule = Schedule { missed, ..Schedule::new("report", timing, job()) };
        let mut world = World::new();
        world.put(&Schedule { ends: bound(200), ..rule });
        let mut world = world.restart(HOUR);
        assert_eq!(world.pass(TICK_NS).len(), 3);
        assert_eq!(world.the_schedule().next, None);
    }
}

#[test]
fn a_schedule_adds_no_more_jobs_than_its_limit_of_runs() {
    let mut world = World::new();
    let rule = Schedule::new("tick", Timing::Every(10 * SECOND), job());
    let rule = Schedule { runs_max: Some(3), ..rule };
    world.put(&rule);
    assert_eq!(world.seconds_that_ran(15), [11]);
    let run =
        |world: &mut World| world.answer(Input::RunSchedule { caller: CallerId(0), name: "tick" });
    assert!(matches!(run(&mut world), Answer::ScheduleRun(Some(_))), "it counts as one");
    let upcoming = world.core.schedule("tick").unwrap().upcoming(9);
    assert_eq!(upcoming, [WallTime(START_WALL + 20 * SECOND)]);
    for mut world in world.each_start(0) {
        assert_eq!(world.pass(5 * SECOND + TICK_NS).len(), 2, "the run by hand, and the last");
        assert!(world.pass(100 * SECOND).is_empty());
        assert_eq!((world.the_schedule().next, world.the_schedule().fired), (None, 3));
        let Answer::Refused(Refusal::Schedule(reason)) = run(&mut world) else { panic!() };
        assert!(reason.contains("used up"), "{reason}");
        assert_eq!(world.put(&rule), Answer::SchedulePut(None));
        let other = world.put(&Schedule { timing: Timing::Every(SECOND), ..rule.clone() });
        let Answer::Refused(Refusal::Schedule(reason)) = other else { panic!("{other:?}") };
        assert!(reason.contains("used up"), "{reason}");
        // More are allowed: it goes on from now.
        let next = WallTime(world.now.wall.0 + 10 * SECOND);
        let more = Schedule { runs_max: Some(4), ..rule.clone() };
        assert_eq!(world.put(&more), Answer::SchedulePut(Some(next)));
        assert_eq!(world.pass(100 * SECOND).len(), 1);
        // Fewer than there were already.
        world.put(&Schedule { runs_max: Some(9), ..rule.clone() });
        assert_eq!(world.put(&rule), Answer::SchedulePut(None));
        world.core.census().unwrap();
    }
}

#[test]
fn bounds_that_cannot_be_are_refused_and_change_nothing() {
    let tick = || Schedule::new("tick", Timing::Every(10 * SECOND), job());
    let once = || Schedule::new("once", Timing::Once(None), job());
    let mut world = World::new();
    for (rule, expected) in [
        (Schedule { jitter_ns: limits::JITTER_NS_MAX + 1, ..tick() }, "jitter"),
        (Schedule { starts: bound(20), ends: bound(10), ..tick() }, "ends before it starts"),
        (Schedule { ends: bound(9), ..tick() }, "never fires"),
        (Schedule { runs_max: Some(0), ..tick() }, "limit of runs is 0"),
        (Schedule { runs_max: Some(1), ..once() }, "fires once"),
        (Schedule { ends: bound(9), ..once() }, "fires once"),
    ] {
        let refused = world.put(&rule);
        let Answer::Refused(Refusal::Schedule(reason)) = refused else { panic!("{refused:?}") };
        assert!(reason.contains(expected), "{reason}");
    }
    let far = Some(WallTime(limits::DUE_WALL_NS_MAX + 1));
    let refused = world.put(&Schedule { ends: far, ..tick() });
    assert_eq!(refused, Answer::Refused(Refusal::DueTooFar));
    assert!(world.journal.events.is_empty());
}
