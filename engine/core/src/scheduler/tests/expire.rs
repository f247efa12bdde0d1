//! Jobs that expire: they never begin at or after their time, and leave wherever they wait.

use super::*;

fn expiring(expires: Expiry, job: NewJob<'static>) -> NewJob<'static> {
    NewJob {
        options: Some(JobOptions { expires: Some(expires), ..JobOptions::default() }.into()),
        ..job
    }
}

fn after(seconds: u64, job: NewJob<'static>) -> NewJob<'static> {
    expiring(Expiry::After(seconds * SECOND), job)
}

fn check_expired(world: &World, job: JobId) {
    assert_eq!(world.state(job), None);
    assert!(world.core.has_issued(job));
    assert_eq!(world.core.counts().expired, 1);
    world.core.census().unwrap();
}

fn pause(world: &mut World, paused: bool) {
    world.answer(Input::PauseQueue { caller: CallerId(0), name: "default", paused });
}

#[test]
fn a_job_that_waits_in_a_paused_queue_leaves_at_its_time_and_not_before() {
    let mut world = World::new();
    pause(&mut world, true);
    let id = world.submit(&after(10, job()));
    let view = world.core.job(id).unwrap();
    assert_eq!(view.expires, Some(WallTime(START_WALL + 10 * SECOND)));
    assert!(world.pass(10 * SECOND - 1).is_empty());
    assert_eq!(world.state(id), Some(JobState::Ready));
    let wake = world.core.wake().wall.unwrap().0;
    assert!(wake >= world.now.wall.0 && wake <= world.now.wall.0 + TICK_NS);
    world.pass(TICK_NS);
    check_expired(&world, id);
    assert_eq!(world.core.wake(), Wake::default());
    let (last, _) = Event::decode(world.journal.events.last().unwrap()).unwrap();
    assert!(matches!(last, Event::Expired { .. }), "{last:?}");
}

/// The timer fires with the next tick: until then the time itself is looked at.
#[test]
fn a_job_does_not_begin_at_the_very_instant() {
    for fetches in [false, true] {
        let mut world = World::new();
        pause(&mut world, true);
        // Not at a tick of the wall clock.
        let (start, job) = (world.now.wall.0, NewJob { key: Some(Key([1; 16])), ..job() });
        let at = (start / TICK_NS + 1000) * TICK_NS + 7;
        let id = world.submit(&expiring(Expiry::At(WallTime(at)), job));
        let other = world.submit(&self::job());
        world.now.wall.0 = at - 7;
        assert!(world.time().is_empty());
        pause(&mut world, false);
        world.now.wall.0 = at;
        assert_eq!(world.state(id), Some(JobState::Ready));
        let begun = if fetches {
            let queues = [world.core.queue("default").unwrap()];
            world.step(Input::Fetch { queues: &queues, max: 1 });
            core::mem::take(&mut world.out.fetched)
        } else {
            world.time()
        };
        check_expired(&world, id);
        let begun: Vec<JobId> = begun.iter().map(|dispatch| dispatch.attempt.job).collect();
        assert_eq!(begun, [other], "what stands behind it goes in its place");
        assert_eq!(world.core.job_of(Key([1; 16])), None);
    }
}

#[test]
fn a_job_that_has_begun_does_not_expire_and_one_that_was_given_back_does() {
    let mut world = World::new();
    let quick = Backoff { base_ms: 20_000, max_ms: 20_000 };
    let retried = world.submit(&after(5, NewJob { backoff: quick, ..job() }));
    let returned = world.submit(&after(5, job()));
    let begun = world.pass(TICK_NS);
    world.complete(begun[0], Outcome::Retryable("later"));
    world.pass(SECOND);
    assert_eq!(world.core.wake().wall, None, "what is under way does not expire");
    world.complete(begun[1], Outcome::Postponed(60 * SECOND));
    world.pass(6 * SECOND);
    check_expired(&world, returned);
    let again = world.pass(20 * SECOND);
    assert_eq!((again[0].attempt.job, again[0].number), (retried, 2));
}

#[test]
fn after_a_crash_or_a_snapshot_it_expires_all_the_same() {
    let mut world = World::new();
    pause(&mut world, true);
    let id = world.submit(&after(100, job()));
    let bytes = snapshot::bytes(&mut world);
    let mut world = world.restart(50 * SECOND);
    assert_eq!(world.state(id), Some(JobState::Ready));
    world.pass(50 * SECOND + TICK_NS);
    check_expired(&world, id);
    let mut restored = World::with(Memory::default(), SECOND, START_WALL + 60 * SECOND);
    restored.journal.size_bytes = 1 << 40;
    restored.core = snapshot::restore(restored.now, &bytes).unwrap();
    restored.pass(39 * SECOND);
    assert!(restored.state(id).is_some());
    restored.pass(SECOND + TICK_NS);
    check_expired(&restored, id);
}

#[test]
fn setting_the_clock_moves_it() {
    let mut world = World::new();
    pause(&mut world, true);
    let id = world.submit(&after(3600, job()));
    world.now.wall.0 += 3600 * SECOND + TICK_NS;
    world.step(Input::ClockSet);
    world.pass(0);
    check_expired(&world, id);
}

#[test]
fn without_room_in_the_journal_it_neither_begins_nor_is_forgotten() {
    let mut world = World::new();
    let id = world.submit(&after(10, delayed(9)));
    let size_bytes = world.journal.size_bytes;
    world.journal.size_bytes = world.journal.used_bytes + limits::START_BYTES_MAX - 1;
    assert!(world.pass(20 * SECOND).is_empty());
    assert!(world.state(id).is_some());
    world.journal.size_bytes = size_bytes;
    assert!(world.time().is_empty());
    check_expired(&world, id);
}

#[test]
fn what_would_never_run_is_refused() {
    let mut world = World::new();
    let past = Expiry::At(WallTime(START_WALL - 1));
    let far = Expiry::At(WallTime(limits::DUE_WALL_NS_MAX + 1));
    let expected = Answer::Refused(Refusal::ExpiresFirst);
    for job in [after(0, job()), after(5, delayed(5)), after(5, delayed(6)), expiring(past, job())]
    {
        assert_eq!(world.answer(Input::Submit { caller: CallerId(0), job: &job }), expected);
    }
    let job = expiring(far, job());
    let answer = world.answer(Input::Submit { caller: CallerId(0), job: &job });
    assert_eq!(answer, Answer::Refused(Refusal::DueTooFar));
    let schedule = Schedule::new("all at once", Timing::Every(SECOND), expiring(past, self::job()));
    assert!(matches!(world.put(&schedule), Answer::Refused(Refusal::Schedule(_))));
    assert!(world.journal.events.is_empty());
}

#[test]
fn jobs_of_a_schedule_expire_each_by_its_own_time() {
    let mut world = World::new();
    pause(&mut world, true);
    world.put(&Schedule::new("pulse", Timing::Every(10 * SECOND), after(15, job())));
    let mut world = world.restart(0);
    for expected in [0, 1, 2, 2, 2] {
        assert_eq!(world.core.counts().pending, expected);
        world.pass(10 * SECOND + TICK_NS);
    }
    world.core.census().unwrap();
}
