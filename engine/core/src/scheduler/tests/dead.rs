//! The dead set: who comes into it, what is kept, and when it leaves.

use super::*;

/// Lets the next ready job fail for good.
fn kill_next(world: &mut World, message: &str) -> JobId {
    world.core.config.running_max = 1;
    let dispatch = world.pass(TICK_NS)[0];
    world.complete(dispatch, Outcome::Permanent(message));
    dispatch.attempt.job
}

fn bound(world: &mut World, jobs_max: u32, age_ns: u64) {
    world.core.config.dead = DeadLimits { jobs_max, age_ns };
}

#[test]
fn a_job_that_failed_for_good_is_kept_with_its_payload_and_its_last_failure() {
    let mut world = World::new();
    let backoff = Backoff { base_ms: 0, max_ms: 0 };
    let payload = b"to: you".as_slice();
    let id = world.submit(&NewJob {
        attempts_max: 2,
        backoff,
        payload: payload.into(),
        queue: "mail".into(),
        ..job()
    });
    let dispatch = world.pass(0)[0];
    world.complete(dispatch, Outcome::Retryable("no route"));
    let dispatch = world.pass(TICK_NS)[0];
    world.complete(dispatch, Outcome::Panicked("boom"));
    let mut world = world.restart(SECOND);
    let dead = world.core.dead(id).unwrap();
    assert_eq!((dead.failure, &*dead.message), (Failure::Panicked, "boom"));
    assert_eq!(dead.died, WallTime(START_WALL + TICK_NS));
    assert_eq!((dead.job.state, dead.job.attempts), (JobState::Dead, 2));
    assert_eq!((&*dead.job.kind, &*dead.job.queue), ("send_email", "mail"));
    let (body, offset) = world.core.body_of(id).unwrap();
    assert_eq!(&world.journal.events[body.0 as usize][usize::from(offset)..], payload);
    let counts = world.core.counts();
    assert_eq!((counts.dead, counts.buried, counts.pending), (1, 1, 0));
    assert_eq!(world.core.queues()[0].waiting, 0);
    // It is not run any more, nor is it cancelled.
    assert!(world.pass(3600 * SECOND).is_empty());
    let cancel = world.answer(Input::Cancel { caller: CallerId(0), job: id });
    assert_eq!(cancel, Answer::Cancelled(None));
    world.core.census().unwrap();
}

#[test]
fn a_job_that_says_so_is_not_kept_and_neither_is_any_with_a_bound_of_none() {
    let mut world = World::new();
    let dropped = world.submit(&NewJob { keeps_dead: false, ..job() });
    assert_eq!(kill_next(&mut world, "never"), dropped);
    assert_eq!((world.state(dropped), world.core.counts().dead), (None, 1));
    bound(&mut world, 0, u64::MAX);
    let other = world.submit(&job());
    assert_eq!(kill_next(&mut world, "never"), other);
    assert_eq!((world.state(other), world.core.dead_len()), (None, 0));
    // What a job says is kept when it is written again.
    let again = world.submit(&NewJob { keeps_dead: false, ..job() });
    world.step(Input::Rewrite { job: again, payload: b"new" });
    bound(&mut world, 10, u64::MAX);
    let mut world = world.restart(0);
    bound(&mut world, 10, u64::MAX);
    assert_eq!(kill_next(&mut world, "never"), again);
    assert_eq!(world.state(again), None);
}

#[test]
fn the_oldest_leave_when_there_are_too_many() {
    let mut world = World::new();
    bound(&mut world, 3, u64::MAX);
    let ids: Vec<JobId> = (0..5).map(|_| world.submit(&job())).collect();
    for _ in 0..5 {
        kill_next(&mut world, "never");
    }
    assert!(world.core.wake().wall.is_some_and(|wall| wall <= world.now.wall));
    world.pass(TICK_NS);
    let left: Vec<bool> = ids.iter().map(|id| world.core.dead(*id).is_some()).collect();
    assert_eq!(left, [false, false, true, true, true]);
    assert!(world.core.has_issued(ids[0]) && world.core.job(ids[0]).is_none());
    assert_eq!((world.core.counts().dead, world.core.counts().pending), (5, 0));
    assert_eq!(world.core.census().map(|census| census.dead), Ok(3));
}

#[test]
fn who_is_dead_for_too_long_leaves_at_that_time_and_nothing_is_polled() {
    let mut world = World::new();
    let day = 86_400 * SECOND;
    bound(&mut world, 10, day);
    let first = world.submit(&job());
    kill_next(&mut world, "never");
    let died = world.core.dead(first).unwrap().died;
    world.pass(day / 2);
    let second = world.submit(&job());
    kill_next(&mut world, "never");
    assert_eq!(world.core.wake().wall, Some(WallTime(died.0 + day)));
    world.pass(day / 2 - 2 * TICK_NS);
    assert!(world.core.dead(first).is_some());
    world.pass(2 * TICK_NS);
    assert!(world.core.dead(first).is_none() && world.core.dead(second).is_some());
    // It does not come back either.
    let mut world = world.restart(day);
    bound(&mut world, 10, day);
    world.pass(0);
    assert_eq!(world.core.dead_len(), 0);
}

#[test]
fn without_room_in_the_journal_the_dead_stay_and_are_looked_at_again_later() {
    let mut world = World::new();
    bound(&mut world, 10, SECOND);
    world.submit(&job());
    kill_next(&mut world, "never");
    world.journal.size_bytes = world.journal.used_bytes;
    world.pass(2 * SECOND);
    assert_eq!(world.core.dead_len(), 1);
    let wake = world.core.wake();
    assert!(wake.mono > Some(world.now.mono) && wake.wall.is_none(), "{wake:?}");
    world.journal.size_bytes = 1 << 40;
    world.pass(2 * SECOND);
    assert_eq!(world.core.dead_len(), 0);
}

#[test]
fn a_dead_job_does_not_hold_its_key() {
    let mut world = World::new();
    let key = Key([7; 16]);
    let keyed = NewJob { key: Some(key), ..job() };
    let first = world.submit(&keyed);
    kill_next(&mut world, "never");
    assert_eq!((world.core.job_of(key), world.core.dead_of(key)), (None, Some(first)));
    assert_eq!(world.core.key_of(first), Some(key));
    let second = world.submit(&keyed);
    assert_eq!(world.core.job_of(key), Some(second));
    // It cannot come back meanwhile.
    let requeue = |world: &mut World, job| {
        world.answer(Input::Change { caller: CallerId(0), job, change: &Change::Requeue })
    };
    assert_eq!(requeue(&mut world, first), Answer::Refused(Refusal::KeyHeld(second)));
    kill_next(&mut world, "never");
    assert_eq!(world.core.dead_of(key), Some(second), "who died last");
    let mut world = world.restart(0);
    assert_eq!(world.core.dead_of(key), Some(second));
    assert_eq!(requeue(&mut world, first), Answer::Changed(Changed::Done(JobState::Dead)));
    assert_eq!(world.core.job_of(key), Some(first));
    assert_eq!(requeue(&mut world, second), Answer::Refused(Refusal::KeyHeld(first)));
    world.core.census().unwrap();
}

#[test]
fn a_requeued_job_has_all_its_attempts_again_and_a_new_token() {
    let mut world = World::new();
    let id = world.submit(&NewJob { attempts_max: 1, ..job() });
    let first = world.pass(0)[0];
    world.complete(first, Outcome::Retryable("its only one"));
    let change = Change::Requeue;
    let requeue = Input::Change { caller: CallerId(0), job: id, change: &change };
    assert_eq!(world.answer(requeue.clone()), Answer::Changed(Changed::Done(JobState::Dead)));
    let counts = world.core.counts();
    assert_eq!((counts.dead, counts.pending, counts.buried), (0, 1, 0));
    let mut world = world.restart(0);
    let second = world.pass(0)[0];
    assert_eq!((second.attempt.job, second.number), (id, 1));
    assert!(second.attempt.token > first.attempt.token);
    world.complete(first, Outcome::Succeeded);
    assert_eq!(world.out.stale, 1);
    world.complete(second, Outcome::Retryable("again"));
    assert_eq!(world.core.counts().dead, 1);
    let discard = Input::Change { caller: CallerId(0), job: id, change: &Change::Discard };
    assert_eq!(world.answer(discard.clone()), Answer::Changed(Changed::Done(JobState::Dead)));
    assert_eq!(world.answer(discard), Answer::Changed(Changed::Absent));
    assert_eq!((world.state(id), world.core.counts().dead), (None, 1));
}

#[test]
fn a_dead_job_does_not_keep_its_schedule_from_firing() {
    let mut world = World::new();
    let rule = Schedule::new("report", Timing::Every(SECOND), job());
    world.put(&Schedule { overlap: Overlap::Skip, ..rule });
    let dispatch = world.pass(SECOND + TICK_NS)[0];
    assert_eq!(world.core.schedules()[0].pending, 1);
    world.complete(dispatch, Outcome::Permanent("never"));
    assert_eq!(world.core.schedules()[0].pending, 0);
    let id = dispatch.attempt.job;
    assert_eq!(world.core.dead(id).unwrap().job.schedule.as_deref(), Some("report"));
    let mut world = world.restart(0);
    assert_eq!(world.core.schedules()[0].pending, 0);
    world.answer(Input::Change { caller: CallerId(0), job: id, change: &Change::Requeue });
    assert_eq!(world.core.schedules()[0].pending, 1);
    world.core.census().unwrap();
}
