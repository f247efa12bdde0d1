//! Schedules whose runs wait for each other, or replace each other.

use super::*;
use crate::schedule::Overlap;

/// Each ten seconds, with a job that is tried twice.
fn tick(overlap: Overlap) -> Schedule<'static> {
    let backoff = Backoff { base_ms: 1000, max_ms: 1000 };
    let rule = Schedule::new("tick", Timing::Every(10 * SECOND), NewJob { backoff, ..job() });
    Schedule { overlap, ..rule }
}

fn queue(limit: u32) -> Overlap {
    Overlap::Queue { limit }
}

/// The second of its fire time, from the start.
fn second_of(dispatch: Dispatch) -> u64 {
    (dispatch.due_ns - SECOND) / SECOND
}

#[test]
fn fire_times_that_wait_run_one_after_the_other() {
    let mut world = World::new();
    world.put(&tick(queue(10)));
    let mut running = world.pass(10 * SECOND + TICK_NS);
    assert_eq!(running.len(), 1);
    // Three more fire times pass.
    for _ in 0..3 {
        assert!(world.pass(10 * SECOND).is_empty());
        world.core.census().unwrap();
    }
    let mut ran = vec![second_of(running[0])];
    for _ in 0..3 {
        world.complete(running.pop().unwrap(), Outcome::Succeeded);
        running = world.pass(TICK_NS);
        assert_eq!(running.len(), 1, "the next, and only that");
        assert!(world.pass(TICK_NS).is_empty());
        ran.push(second_of(running[0]));
    }
    assert_eq!(ran, [10, 20, 30, 40], "in their order, each with its own time");
    world.complete(running.pop().unwrap(), Outcome::Succeeded);
    assert!(world.pass(SECOND).is_empty(), "nothing is left, and the next time is still to come");
    assert_eq!(world.pass(9 * SECOND).len(), 1);
    assert!(world.out.alerts.is_empty(), "nothing was missed");
}

#[test]
fn what_waits_is_bounded_and_its_oldest_is_let_go() {
    let mut world = World::new();
    world.put(&tick(queue(2)));
    let first = world.pass(10 * SECOND + TICK_NS)[0];
    world.pass(50 * SECOND);
    world.complete(first, Outcome::Succeeded);
    let second = world.pass(TICK_NS)[0];
    assert_eq!(second_of(second), 50, "of 20, 30, 40, 50 and 60 the newest two");
    assert!(matches!(world.out.alerts[..], [Alert::FireMissed { .. }]), "others were let go");
    world.complete(second, Outcome::Succeeded);
    assert_eq!(second_of(world.pass(TICK_NS)[0]), 60);
    assert_eq!(world.the_schedule().fired, 3);
}

#[test]
fn what_waits_does_so_for_retries_and_across_a_restart() {
    let mut world = World::new();
    world.put(&Schedule { missed: Missed::Skip, ..tick(queue(100)) });
    let first = world.pass(10 * SECOND + TICK_NS)[0];
    assert!(world.pass(25 * SECOND).is_empty());
    world.complete(first, Outcome::Retryable("no route"));
    assert!(world.pass(TICK_NS).is_empty(), "it waits for its next attempt");
    for mut world in world.each_start(90 * SECOND) {
        let retry = world.pass(TICK_NS)[0];
        assert_eq!(retry.number, 2);
        world.pass(TICK_NS);
        world.complete(retry, Outcome::Succeeded);
        // Two fire times passed before the restart, nine while it was down. None is missed, though each
        // is later than the grace: the job before had not ended.
        for waiting in (0..11).rev() {
            let next = world.pass(TICK_NS);
            assert_eq!(next.len(), 1, "{waiting} more");
            world.complete(next[0], Outcome::Succeeded);
        }
        assert!(world.pass(TICK_NS).is_empty());
        assert_eq!(world.the_schedule().fired, 12);
        world.core.census().unwrap();
    }
}

#[test]
fn a_restart_between_an_end_and_the_next_run_misses_nothing() {
    let mut world = World::new();
    world.put(&Schedule { missed: Missed::Skip, ..tick(queue(100)) });
    let first = world.pass(10 * SECOND + TICK_NS)[0];
    world.pass(25 * SECOND);
    world.complete(first, Outcome::Succeeded);
    for mut world in world.each_start(90 * SECOND) {
        world.out.dispatches.clear();
        // Those before the end of the job have waited for it; of the others the rule decides.
        let mut ran = 0;
        while let [next] = world.pass(TICK_NS)[..] {
            ran += 1;
            world.complete(next, Outcome::Succeeded);
        }
        assert_eq!(ran, 11, "nine more passed while the second of them had not ended");
    }
}

#[test]
fn a_schedule_that_waits_can_be_paused_changed_and_removed() {
    let waiting = || {
        let mut world = World::new();
        world.put(&tick(queue(10)));
        let first = world.pass(10 * SECOND + TICK_NS)[0];
        world.pass(25 * SECOND);
        (world, first)
    };
    // Another rule: the first of the fire times that waited is judged by it at once.
    let (mut world, _) = waiting();
    world.put(&tick(Overlap::Allow));
    assert_eq!(world.pass(TICK_NS).len(), 2);
    world.core.census().unwrap();
    // A pause holds it, whatever ends meanwhile; a resume lets it go on.
    let (mut world, first) = waiting();
    world.pause_schedule("tick", "");
    world.complete(first, Outcome::Succeeded);
    assert!(world.pass(SECOND).is_empty());
    world.core.census().unwrap();
    world.resume_schedule("tick");
    assert_eq!(world.pass(TICK_NS).len(), 1);
    world.core.census().unwrap();
    let (mut world, first) = waiting();
    world.answer(Input::RemoveSchedule { caller: CallerId(0), name: "tick" });
    world.complete(first, Outcome::Succeeded);
    assert!(world.pass(20 * SECOND).is_empty());
    world.core.census().unwrap();
    // By hand only when nothing of it is left.
    let (mut world, first) = waiting();
    let run =
        |world: &mut World| world.answer(Input::RunSchedule { caller: CallerId(0), name: "tick" });
    assert!(matches!(run(&mut world), Answer::Refused(Refusal::Schedule(_))));
    world.answer(Input::Cancel { caller: CallerId(0), job: first.attempt.job });
    assert_eq!(world.pass(TICK_NS).len(), 1, "a cancelled job has ended");
}

#[test]
fn a_run_that_replaces_cancels_the_one_before_it() {
    let mut world = World::new();
    world.put(&tick(Overlap::Replace));
    let first = world.pass(10 * SECOND + TICK_NS)[0];
    let second = world.pass(10 * SECOND)[0];
    assert_eq!(world.out.stops, [first.attempt]);
    assert_eq!(world.state(first.attempt.job), None);
    // A job that waits for its next attempt goes too.
    world.complete(second, Outcome::Retryable("no route"));
    for mut world in world.each_start(9 * SECOND) {
        let third = world.pass(SECOND).last().copied().unwrap();
        assert_eq!(third.number, 1);
        assert_eq!(world.the_schedule().pending, 1);
        assert_eq!(world.core.counts().cancelled, 2);
        let run = Input::RunSchedule { caller: CallerId(0), name: "tick" };
        let Answer::ScheduleRun(Some(by_hand)) = world.answer(run) else { panic!() };
        assert_eq!(world.state(third.attempt.job), None);
        assert_eq!(world.pass(0)[0].attempt.job, by_hand);
        world.core.census().unwrap();
    }
}

#[test]
fn however_many_jobs_a_new_rule_finds_they_go_before_the_next_one() {
    let mut world = World::new();
    let slow = NewJob { queue: "paused".into(), ..job() };
    let mut rule = tick(Overlap::Allow);
    rule.job = slow;
    world.put(&rule);
    world.answer(Input::PauseQueue { caller: CallerId(0), name: "paused", paused: true });
    let many = limits::REPLACED_PER_STEP as u32 * 2 + 5;
    for _ in 0..many {
        world.answer(Input::RunSchedule { caller: CallerId(0), name: "tick" });
    }
    rule.overlap = Overlap::Replace;
    world.put(&rule);
    let by_hand = Input::RunSchedule { caller: CallerId(0), name: "tick" };
    let Answer::Refused(Refusal::Schedule(_)) = world.answer(by_hand) else { panic!() };
    world.pass(10 * SECOND + TICK_NS);
    world.pass(2 * SECOND);
    assert_eq!(world.core.counts().cancelled, u64::from(many));
    assert_eq!((world.the_schedule().pending, world.core.counts().pending), (1, 1));
    world.core.census().unwrap();
}

#[test]
fn how_many_may_wait_is_checked() {
    let mut world = World::new();
    for limit in [0, limits::OVERLAP_QUEUE_MAX + 1] {
        let answer = world.put(&tick(queue(limit)));
        assert!(matches!(answer, Answer::Refused(Refusal::Schedule(_))), "{limit}");
    }
    world.put(&tick(queue(limits::OVERLAP_QUEUE_MAX)));
    assert_eq!(world.the_schedule().rule.overlap, queue(limits::OVERLAP_QUEUE_MAX));
}
