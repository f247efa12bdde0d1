//! Guards: what is paused after too many failures in a row.

use super::*;

fn fail(world: &mut World) {
    world.core.config.running_max = 1;
    let dispatch = world.pass(TICK_NS)[0];
    world.complete(dispatch, Outcome::Permanent("no"));
}

fn succeed(world: &mut World) {
    world.core.config.running_max = 1;
    let dispatch = world.pass(TICK_NS)[0];
    world.complete(dispatch, Outcome::Succeeded);
}

#[test]
fn a_queue_is_paused_after_so_many_failures_in_a_row() {
    let mut world = World::new();
    assert!(world.core.guard_queue("default", 3));
    for _ in 0..8 {
        world.submit(&job());
    }
    fail(&mut world);
    fail(&mut world);
    succeed(&mut world);
    fail(&mut world);
    fail(&mut world);
    assert!(world.out.alerts.is_empty() && !world.core.queues()[0].paused);
    fail(&mut world);
    let alert = Alert::QueuePaused { queue: "default".into(), failures: 3 };
    assert_eq!(core::mem::take(&mut world.out.alerts), [alert]);
    assert!(world.core.queues()[0].paused && world.pass(SECOND).is_empty());
    // That it is paused is written, and its count begins anew.
    let mut world = world.restart(0);
    assert!(world.core.queues()[0].paused && world.pass(SECOND).is_empty());
    assert!(world.core.guard_queue("default", 2));
    let name = "default";
    world.answer(Input::PauseQueue { caller: CallerId(0), name, paused: false });
    fail(&mut world);
    assert!(!world.core.queues()[0].paused);
    assert!(world.core.guard_queue("default", 0));
    fail(&mut world);
    assert!(!world.core.queues()[0].paused && world.out.alerts.is_empty());
}

#[test]
fn a_schedule_is_paused_with_a_note_and_others_are_not() {
    let mut world = World::new();
    world.core.guard_schedule("first", 2);
    world.put(&Schedule::new("first", Timing::Every(SECOND), job()));
    world.put(&Schedule::new("second", Timing::Every(SECOND), job()));
    for _ in 0..2 {
        for dispatch in world.pass(SECOND) {
            world.complete(dispatch, Outcome::Permanent("no"));
        }
    }
    for dispatch in world.pass(SECOND) {
        world.complete(dispatch, Outcome::Permanent("no"));
    }
    let alert = Alert::SchedulePaused { schedule: "first".into(), failures: 2 };
    assert_eq!(world.out.alerts, [alert]);
    let paused = world.core.schedule("first").unwrap().paused.unwrap();
    assert_eq!(&*paused.note, "2 attempts in a row have failed");
    assert!(world.core.schedule("second").unwrap().paused.is_none());
    let world = world.restart(0);
    assert!(world.core.schedule("first").unwrap().paused.is_some());
}

#[test]
fn what_is_lost_or_put_off_is_no_failure_and_without_room_nothing_is_paused() {
    let mut world = World::new();
    world.core.guard_queue("default", 1);
    world.submit(&job());
    let dispatch = world.pass(TICK_NS)[0];
    world.complete(dispatch, Outcome::Postponed(SECOND));
    let dispatch = world.pass(2 * SECOND)[0];
    world.journal.size_bytes = world.journal.used_bytes + limits::OUTCOME_BYTES_MAX;
    world.complete(dispatch, Outcome::Permanent(&"x".repeat(1000)));
    assert!(world.out.alerts.is_empty() && !world.core.queues()[0].paused);
    world.journal.size_bytes = 1 << 40;
    world.submit(&job());
    fail(&mut world);
    assert!(world.core.queues()[0].paused);
}

#[test]
fn a_missed_fire_time_is_told_once_for_each_gap() {
    let missed = [
        Missed::Skip,
        Missed::One,
        Missed::All { limit: 3, window_ns: 1000 * SECOND },
        Missed::All { limit: 3, window_ns: SECOND / 2 },
    ];
    for missed in missed {
        let mut world = World::new();
        let start = world.now.wall.0;
        let schedule = Schedule::new("pulse", Timing::Every(10 * SECOND), job());
        world.put(&Schedule { missed, grace_ms: 1000, ..schedule });
        // In time, and late by less than the grace.
        world.pass(10 * SECOND + TICK_NS);
        world.pass(10 * SECOND + SECOND / 2);
        assert_eq!(world.out.alerts, [], "{missed:?}");
        world.pass(100 * SECOND);
        let seen = world.now.wall;
        world.pass(SECOND / 4);
        let [Alert::FireMissed { schedule, due, at }] = &core::mem::take(&mut world.out.alerts)[..]
        else {
            panic!("{missed:?} is told once");
        };
        assert_eq!(&**schedule, "pulse");
        assert_eq!((due.0, *at), (start + 30 * SECOND, seen), "the first of them");
        // After a crash in the same gap nothing is told again.
        let mut world = world.restart(0);
        world.pass(SECOND / 4);
        assert!(world.out.alerts.is_empty(), "{missed:?}");
    }
}
