//! Jobs of schedules for fire times that are past.

use super::*;
use crate::schedule::Overlap;

const HOUR: u64 = 3600 * SECOND;

impl World {
    /// All pieces of a backfill, and how it ended.
    fn backfill(&mut self, name: &str, from: u64, to: u64) -> (u32, Answer) {
        let (mut from, to) = (WallTime(from), WallTime(to));
        let mut added = 0;
        loop {
            let caller = CallerId(0);
            let answer = self.answer(Input::Backfill { caller, name, from, to });
            let Answer::Backfilled(Some(piece)) = answer else { return (added, answer) };
            added += piece.added;
            assert!(piece.added <= limits::BACKFILL_PER_STEP);
            match piece {
                Backfilled { next: Some(next), refused: None, .. } => from = next,
                piece => return (added, Answer::Backfilled(Some(piece))),
            }
        }
    }

    /// Hours from the start of the fire times of all jobs that are dispatched.
    fn hours_that_run(&mut self) -> Vec<i64> {
        let mut hours = Vec::new();
        loop {
            let dispatches = self.pass(TICK_NS);
            if dispatches.is_empty() {
                return hours;
            }
            for dispatch in dispatches {
                let due = self.core.job(dispatch.attempt.job).unwrap().due;
                hours.push((due.0 as i64 - START_WALL as i64) / HOUR as i64);
                self.complete(dispatch, Outcome::Succeeded);
            }
        }
    }
}

fn hourly() -> Schedule<'static> {
    Schedule::new("hourly", Timing::Cron(Cron::parse("0 * * * *").unwrap()), job())
}

#[test]
fn the_fire_times_of_a_window_are_added_once_each_with_their_own_time() {
    let mut world = World::new();
    world.put(&hourly());
    let next = world.the_schedule().next;
    let end = || Answer::Backfilled(Some(Backfilled { added: 3, ..Backfilled::default() }));
    let done = world.backfill("hourly", START_WALL - 5 * HOUR, START_WALL - 3 * HOUR);
    assert_eq!(done, (3, end()));
    assert_eq!(world.hours_that_run(), [-5, -4, -3]);
    let schedule = world.the_schedule();
    assert_eq!((schedule.next, schedule.fired), (next, 3), "its own fire times stay");
    let preview = schedule.within(WallTime(START_WALL - 5 * HOUR), WallTime(START_WALL), 4);
    assert_eq!(preview.len(), 4);
    // Also while it is paused, and nothing of it is lost at a restart.
    world.pause_schedule("hourly", "");
    world.backfill("hourly", START_WALL - HOUR - 1, START_WALL - HOUR + 1);
    for mut world in world.each_start(0) {
        world.out.dispatches.clear();
        assert_eq!(world.the_schedule().fired, 4);
        assert!(world.the_schedule().paused.is_some());
        world.core.census().unwrap();
    }
}

#[test]
fn an_intervals_times_are_counted_back_from_its_next_one() {
    let mut world = World::new();
    let starts = Some(WallTime(START_WALL - 3 * HOUR - 1));
    world.put(&Schedule { starts, ..Schedule::new("pulse", Timing::Every(HOUR), job()) });
    world.pass(HOUR / 2);
    let now = world.now.wall.0;
    assert_eq!(world.backfill("pulse", 0, now).0, 4, "none before its start");
    assert_eq!(world.hours_that_run(), [-3, -2, -1, 0]);
    // One that fires once has one time.
    let at = WallTime(START_WALL - HOUR);
    world.put(&Schedule::new("once", Timing::Once(Some(at)), job()));
    assert_eq!(world.hours_that_run(), [-1]);
    assert_eq!(world.backfill("once", 0, now).0, 1);
    assert_eq!(world.hours_that_run(), [-1]);
    assert_eq!(world.backfill("once", at.0 + 1, now).0, 0);
}

#[test]
fn a_long_window_is_added_in_pieces() {
    let mut world = World::new();
    world.put(&hourly());
    let hours = u64::from(limits::BACKFILL_PER_STEP) * 2 + 7;
    let (added, _) = world.backfill("hourly", START_WALL - hours * HOUR, START_WALL);
    assert_eq!(u64::from(added), hours + 1);
    assert_eq!(world.hours_that_run().len() as u64, hours + 1);
}

#[test]
fn what_stops_a_backfill_is_told_with_its_place() {
    let mut world = World::new();
    world.put(&Schedule { runs_max: Some(2), ..hourly() });
    let (added, answer) = world.backfill("hourly", START_WALL - 9 * HOUR, START_WALL);
    let Answer::Backfilled(Some(end)) = answer else { panic!("{answer:?}") };
    assert_eq!((added, end.next), (2, Some(WallTime(START_WALL - 7 * HOUR))));
    assert!(matches!(end.refused, Some(Refusal::Schedule(_))), "its runs are used up");
    assert_eq!(world.the_schedule().next, None);
}

#[test]
fn windows_that_make_no_sense_are_refused() {
    let mut world = World::new();
    world.put(&hourly());
    let now = world.now.wall.0;
    let refused = |answer: Answer| matches!(answer, Answer::Refused(Refusal::Schedule(_)));
    assert_eq!(world.backfill("hourly", now + 1, now + HOUR).0, 0, "the future is its own");
    assert!(refused(world.backfill("hourly", now, now - 1).1), "turned round");
    assert_eq!(world.backfill("none", 0, now).1, Answer::Backfilled(None));
    for overlap in [Overlap::Skip, Overlap::Queue { limit: 1 }, Overlap::Replace] {
        world.put(&Schedule { overlap, ..hourly() });
        assert!(refused(world.backfill("hourly", now - HOUR, now).1), "{overlap:?}");
    }
    assert!(world.hours_that_run().is_empty());
}
