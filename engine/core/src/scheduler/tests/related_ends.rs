//! Jobs that have to do with others, in the dead set and changed from outside: each end is told once,
//! however it came, and a job that is brought back has nothing to do with others any more.

use super::{
    changes::change_many,
    keep::Cut,
    relations::{cancel, kinds, member, needing, new_batch, refusal, run_all, set_batch, unique},
    *,
};
use crate::{
    batch::{BatchCounts, Fired, NewBatch},
    job::{Conflict, Otherwise, Until, When},
    scheduler::{Filter, States, WalkBudget, WalkPlace},
};

const KEY: Key = Key([1; 16]);

fn change(world: &mut World, job: JobId, change: Change) -> Answer {
    world.answer(Input::Change { caller: CallerId(0), job, change: &change })
}

/// Changes the job in a way that fits it.
fn must(world: &mut World, job: JobId, how: Change) {
    let answer = change(world, job, how.clone());
    assert!(matches!(answer, Answer::Changed(Changed::Done(_))), "{how:?}: {answer:?}");
}

/// Changes all jobs that are there.
fn all(world: &mut World, change: &Change) -> (u32, u32) {
    change_many(world, &Filter::default(), change, 1000)
}

fn expiring(job: NewJob<'static>, seconds: u64) -> NewJob<'static> {
    let mut options = job.options.map(|options| (*options).clone()).unwrap_or_default();
    options.expires = Some(Expiry::After(seconds * SECOND));
    NewJob { options: Some(options.into()), ..job }
}

fn counts(world: &World, batch: JobId) -> (u32, u32, u32, u32) {
    let BatchCounts { total, unrun, open, failed, .. } = world.core.batch(batch).unwrap().counts;
    (total, unrun, open, failed)
}

#[test]
fn a_blocked_job_takes_no_change_but_a_cancel() {
    let mut world = World::new();
    let first = world.submit(&delayed(100));
    let blocked = world.submit(&needing(&[(first, When::Succeeded)], Otherwise::Cancel));
    let unfit = Answer::Changed(Changed::Unfit(JobState::Blocked));
    for how in [
        Change::Kill,
        Change::Run,
        Change::Requeue,
        Change::Discard,
        Change::Due(Due::After(0)),
        Change::Priority(1),
        Change::Queue("other".into()),
    ] {
        assert_eq!(change(&mut world, blocked, how), unfit);
    }
    // Of the two only the other one is killed, and the one that waits is told.
    assert_eq!(all(&mut world, &Change::Kill), (1, 1));
    assert_eq!(world.state(blocked), Some(JobState::Blocked));
    world.pass(0);
    assert_eq!((world.state(blocked), world.core.counts().cancelled), (None, 1));
    let second = world.submit(&delayed(100));
    let [a, b] = [0, 0].map(|_| world.submit(&needing(&[(second, When::Done)], Otherwise::Cancel)));
    must(&mut world, a, Change::Cancel);
    let of_blocked = Filter { states: States::of(&[JobState::Blocked]), ..Filter::default() };
    assert_eq!(change_many(&mut world, &of_blocked, &Change::Cancel, 1000), (1, 0));
    assert_eq!((world.state(a), world.state(b)), (None, None));
    assert!(!world.core.is_any_blocked());
    let world = world.restart(0);
    assert_eq!((world.core.counts().cancelled, world.core.counts().pending), (3, 1));
    world.core.census().unwrap();
}

#[test]
fn a_blocked_job_expires_and_those_that_wait_for_it_are_told() {
    let mut world = World::new();
    let first = world.submit(&delayed(100));
    let blocked = needing(&[(first, When::Succeeded)], Otherwise::Cancel);
    let blocked = world.submit(&expiring(blocked, 10));
    let undo = world.submit(&needing(&[(blocked, When::NotSucceeded)], Otherwise::Cancel));
    let begun = world.pass(10 * SECOND + TICK_NS);
    assert_eq!((world.state(blocked), world.core.counts().expired), (None, 1));
    assert_eq!(begun.iter().map(|begun| begun.attempt.job).collect::<Vec<_>>(), [undo]);
    world.pass(100 * SECOND);
    world.core.census().unwrap();
}

#[test]
fn whoever_waits_is_told_of_a_death_and_of_a_kill() {
    let mut world = World::new();
    let [dies, killed] = [0, 100].map(|delay| world.submit(&delayed(delay)));
    let both = [(dies, When::NotSucceeded), (killed, When::NotSucceeded)];
    let undo = world.submit(&needing(&both, Otherwise::Cancel));
    let next = world.submit(&needing(&[(dies, When::Succeeded)], Otherwise::Cancel));
    assert_eq!(run_all(&mut world, Outcome::Permanent("no")), [dies]);
    must(&mut world, killed, Change::Kill);
    assert_eq!((world.state(dies), world.state(killed)), (Some(JobState::Dead), world.state(dies)));
    // They are told after a crash as well.
    let mut world = world.restart(0);
    assert_eq!(run_all(&mut world, Outcome::Succeeded), [undo]);
    assert_eq!(world.state(next), None);
    world.core.census().unwrap();
}

#[test]
fn a_dead_job_has_ended_for_whoever_would_wait_for_it_until_it_is_brought_back() {
    let mut world = World::new();
    let dead = world.submit(&job());
    run_all(&mut world, Outcome::Permanent("no"));
    let waits = needing(&[(dead, When::NotSucceeded)], Otherwise::Cancel);
    assert_eq!(refusal(&mut world, &waits), Refusal::NeedOver(dead));
    let done = world.submit(&needing(&[(dead, When::Done)], Otherwise::Cancel));
    assert_eq!(world.state(done), Some(JobState::Ready));
    cancel(&mut world, done);
    must(&mut world, dead, Change::Requeue);
    let next = world.submit(&needing(&[(dead, When::Succeeded)], Otherwise::Cancel));
    assert_eq!(world.state(next), Some(JobState::Blocked));
    assert_eq!(run_all(&mut world, Outcome::Succeeded), [dead]);
    assert_eq!(run_all(&mut world, Outcome::Succeeded), [next]);
}

/// What comes in one pass: no time passes between a death and what follows.
#[test]
fn the_next_life_of_a_job_is_not_taken_for_its_last_one() {
    for is_bulk in [false, true] {
        let mut world = World::new();
        let first = world.submit(&delayed(100));
        let cancelled = world.submit(&needing(&[(first, When::Succeeded)], Otherwise::Cancel));
        must(&mut world, first, Change::Kill);
        match is_bulk {
            false => must(&mut world, first, Change::Requeue),
            true => assert_eq!(all(&mut world, &Change::Requeue).0, 1),
        }
        assert_eq!(world.state(cancelled), None, "it was told before");
        let next = world.submit(&needing(&[(first, When::Succeeded)], Otherwise::Cancel));
        assert_eq!(run_all(&mut world, Outcome::Succeeded), [first]);
        assert_eq!(run_all(&mut world, Outcome::Succeeded), [next]);
        world.core.census().unwrap();
    }
}

#[test]
fn without_room_to_tell_of_a_death_the_dead_job_is_not_brought_back() {
    for is_bulk in [false, true] {
        let mut world = World::new();
        let first = world.submit(&delayed(100));
        let waits = world.submit(&needing(&[(first, When::Succeeded)], Otherwise::Cancel));
        must(&mut world, first, Change::Kill);
        let size_bytes = world.journal.size_bytes;
        world.journal.size_bytes = world.journal.used_bytes + limits::START_BYTES_MAX - 1;
        let answer = match is_bulk {
            false => change(&mut world, first, Change::Requeue),
            true => {
                let (filter, change, from) = (Filter::default(), Change::Requeue, WalkPlace(0));
                let budget = WalkBudget { places: 1000, jobs: 1000 };
                let caller = CallerId(0);
                world.answer(Input::ChangeMany {
                    caller,
                    filter: &filter,
                    change: &change,
                    from,
                    budget,
                })
            }
        };
        assert_eq!(answer, Answer::Refused(Refusal::NoSpace));
        assert_eq!(world.state(first), Some(JobState::Dead));
        assert_eq!(world.state(waits), Some(JobState::Blocked));
        world.journal.size_bytes = size_bytes;
        must(&mut world, first, Change::Requeue);
        assert_eq!(world.state(waits), None);
    }
}

#[test]
fn a_batch_counts_each_job_once_however_it_ends_and_whatever_comes_after() {
    let mut world = World::new();
    let batch = new_batch(&mut world, None, [true, true, true]);
    let quick = Backoff { base_ms: 1000, max_ms: 1000 };
    let later = |world: &mut World| world.submit(&member(batch, delayed(50)));
    let dies = world.submit(&member(batch, job()));
    let retried = world.submit(&member(batch, NewJob { backoff: quick, ..job() }));
    let begun = world.pass(0);
    world.complete(begun[0], Outcome::Permanent("no"));
    world.complete(begun[1], Outcome::Retryable("later"));
    // The first has ended, and the second has run.
    assert_eq!(counts(&world, batch), (2, 0, 1, 1));
    // A job that is killed while it waits has run if an attempt of it has failed before.
    must(&mut world, retried, Change::Kill);
    assert_eq!(counts(&world, batch), (2, 0, 0, 2));
    let killed = later(&mut world);
    must(&mut world, killed, Change::Kill);
    assert_eq!(counts(&world, batch), (3, 0, 0, 3));
    let expires = world.submit(&expiring(member(batch, delayed(50)), 60));
    assert_eq!(counts(&world, batch), (4, 1, 1, 3));
    must(&mut world, expires, Change::Due(Due::After(80 * SECOND)));
    world.pass(60 * SECOND + TICK_NS);
    assert_eq!((world.state(expires), counts(&world, batch)), (None, (4, 0, 0, 4)));
    let [a, b] = [0, 0].map(|_| later(&mut world));
    let waiting = Filter { states: States::of(&[JobState::Scheduled]), ..Filter::default() };
    assert_eq!(change_many(&mut world, &waiting, &Change::Cancel, 1000), (2, 0));
    assert_eq!((world.state(a), world.state(b)), (None, None));
    assert_eq!(counts(&world, batch), (6, 0, 0, 6));
    // What becomes of the dead is nothing to the batch.
    must(&mut world, killed, Change::Discard);
    for job in [dies, retried] {
        must(&mut world, job, Change::Requeue);
    }
    assert_eq!(counts(&world, batch), (6, 0, 0, 6));
    let mut world = world.restart(0);
    assert_eq!(run_all(&mut world, Outcome::Succeeded).len(), 2);
    assert_eq!(counts(&world, batch), (6, 0, 0, 6));
    set_batch(&mut world, batch, false);
    assert_eq!(kinds(&mut world), ["Complete"]);
    assert_eq!(kinds(&mut world), ["Failure"]);
    world.pass(0);
    assert!(kinds(&mut world).is_empty() && world.core.batch(batch).unwrap().is_over);
    world.core.census().unwrap();
}

#[test]
fn a_member_that_is_put_off_has_not_run_and_keeps_its_key() {
    let mut world = World::new();
    let batch = new_batch(&mut world, None, [true, false, false]);
    let mut options = (*unique(Until::End, None, Conflict::Reject).options.unwrap()).clone();
    options.batch = member(batch, job()).options.unwrap().batch;
    let id = world.submit(&NewJob { options: Some(options.into()), ..job() });
    set_batch(&mut world, batch, false);
    assert_eq!(run_all(&mut world, Outcome::Postponed(5 * SECOND)), [id]);
    assert!(kinds(&mut world).is_empty());
    assert_eq!((counts(&world, batch), world.core.holder_of(KEY)), ((1, 1, 1, 0), Some(id)));
    let mut world = world.restart(0);
    assert_eq!(counts(&world, batch), (1, 1, 1, 0));
    world.pass(5 * SECOND).into_iter().for_each(|d| world.complete(d, Outcome::Succeeded));
    assert_eq!((kinds(&mut world), world.core.holder_of(KEY)), (vec!["Complete".into()], None));
}

#[test]
fn a_callback_that_dies_fails_its_batch_and_bringing_it_back_does_not_mend_it() {
    let mut world = World::new();
    let batch = new_batch(&mut world, None, [true, true, true]);
    set_batch(&mut world, batch, false);
    let complete = world.pass(0)[0];
    world.complete(complete, Outcome::Permanent("no"));
    assert_eq!(world.core.batch(batch).unwrap().counts.complete, Fired::Failed);
    must(&mut world, complete.attempt.job, Change::Requeue);
    let mut world = world.restart(0);
    let mut begun = kinds(&mut world);
    begun.sort();
    assert_eq!(begun, ["Complete", "Failure"]);
    world.pass(0);
    let view = world.core.batch(batch).unwrap();
    assert_eq!((view.is_over, view.counts.complete), (true, Fired::Failed));
    assert!(kinds(&mut world).is_empty());
}

#[test]
fn a_death_frees_a_key_but_for_one_that_is_held_for_a_time() {
    for until in [Until::Start, Until::End, Until::Time] {
        for is_killed in [false, true] {
            let mut world = World::new();
            let span_s = (until == Until::Time).then_some(1000);
            let new = unique(until, span_s, Conflict::Reject);
            let id = world.submit(&NewJob { due: Due::After(SECOND), ..new.clone() });
            match is_killed {
                true => must(&mut world, id, Change::Kill),
                false => {
                    let dispatch = world.pass(2 * SECOND)[0];
                    world.complete(dispatch, Outcome::Permanent("no"));
                }
            }
            let held = (until == Until::Time).then_some(id);
            assert_eq!((world.state(id), world.core.holder_of(KEY)), (Some(JobState::Dead), held));
            let mut world = world.restart(0);
            assert_eq!(world.core.holder_of(KEY), held);
            // Neither does it take its key again when it is brought back.
            must(&mut world, id, Change::Requeue);
            world.core.census().unwrap();
            let second = match held {
                None => world.submit(&new),
                Some(id) => {
                    assert_eq!(refusal(&mut world, &new), Refusal::NotUnique(id));
                    // The one that was brought back is not cancelled for it.
                    let replace = unique(until, span_s, Conflict::Replace);
                    world.submit(&replace)
                }
            };
            assert_eq!(world.core.holder_of(KEY), Some(second));
            assert_eq!(run_all(&mut world, Outcome::Succeeded).len(), 2);
            assert_eq!((world.core.counts().succeeded, world.core.counts().cancelled), (2, 0));
            world.core.census().unwrap();
        }
    }
}

#[test]
fn discarding_a_dead_job_leaves_its_lasting_key_held() {
    let mut world = World::new();
    let new = unique(Until::Time, Some(1000), Conflict::Reject);
    let id = world.submit(&new);
    run_all(&mut world, Outcome::Permanent("no"));
    must(&mut world, id, Change::Discard);
    assert_eq!(refusal(&mut world, &new), Refusal::NotUnique(id));
    let mut world = world.restart(0);
    assert_eq!(refusal(&mut world, &new), Refusal::NotUnique(id));
    world.pass(1000 * SECOND + TICK_NS);
    world.submit(&new);
    world.core.census().unwrap();
}

/// The record of a dead job may hold two things: the job, and a key that outlives it.
#[test]
fn cleaning_keeps_a_dead_job_and_the_key_that_it_has_left() {
    for what in ["dead", "discarded", "rewritten", "requeued"] {
        let mut cut = Cut::new();
        let new = unique(Until::Time, Some(1000), Conflict::Reject);
        let id = cut.world.submit(&new);
        run_all(&mut cut.world, Outcome::Permanent("no"));
        match what {
            "discarded" => must(&mut cut.world, id, Change::Discard),
            "rewritten" => cut.world.step(Input::Rewrite { job: id, payload: b"" }),
            "requeued" => must(&mut cut.world, id, Change::Requeue),
            _ => {}
        }
        for _ in 0..12 {
            cut.world.submit(&delayed(500));
        }
        for _ in 0..3 {
            cut.clean(5);
            cut.check();
        }
        let world = &mut cut.world;
        assert_eq!(refusal(world, &new), Refusal::NotUnique(id), "{what}");
        assert_eq!(world.core.dead(id).is_some(), what == "dead" || what == "rewritten");
        let bytes = snapshot::bytes(world);
        let restored = snapshot::restore(world.now, &bytes).unwrap();
        assert_eq!(restored.holder_of(KEY), Some(id));
        restored.census().unwrap();
        world.core.census().unwrap();
    }
}

#[test]
fn dead_jobs_do_not_keep_a_callback_from_coming() {
    let mut world = World::new();
    world.core.config.jobs_max = 1;
    world.submit(&job());
    run_all(&mut world, Outcome::Permanent("no"));
    let batch = new_batch(&mut world, None, [false, true, false]);
    set_batch(&mut world, batch, false);
    assert_eq!(kinds(&mut world), ["Success"]);
}

#[test]
fn a_callback_keeps_all_its_terms_and_its_key_if_that_is_free() {
    for is_taken in [false, true] {
        let mut world = World::new();
        let callback = || NewJob {
            key: Some(KEY),
            keeps_dead: false,
            queue: "calls".into(),
            attempts_max: 1,
            payload: b"pay".as_slice().into(),
            ..NewJob::new("call")
        };
        let batch = NewBatch { callbacks: [Some(callback()), None, None], ..NewBatch::default() };
        let answer = world.answer(Input::NewBatch { caller: CallerId(0), batch: &batch });
        let Answer::Batch(id) = answer else { panic!("{answer:?}") };
        let other = is_taken.then(|| world.submit(&NewJob { key: Some(KEY), ..delayed(900) }));
        let mut world = world.restart(0);
        set_batch(&mut world, id, false);
        let called = world.pass(0)[0];
        let job = called.attempt.job;
        // Another job has its key by then: it goes without.
        assert_eq!(world.core.key_of(job), (!is_taken).then_some(KEY));
        assert_eq!(world.core.job_of(KEY), other.or(Some(job)));
        let view = world.core.job(job).unwrap();
        assert_eq!((&*view.queue, view.attempts_max), ("calls", 1));
        world.complete(called, Outcome::Retryable("its only one"));
        assert_eq!((world.state(job), world.core.dead_len()), (None, 0), "it is not kept");
        world.core.census().unwrap();
    }
}
