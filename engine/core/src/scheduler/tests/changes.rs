//! Changes of jobs from outside, one by one and by a filter, and lists.

use super::*;
use crate::{
    queue::QueueLimits,
    scheduler::{Filter, States, WalkBudget, WalkPlace},
};
use alloc::collections::BTreeMap;

/// Some change, for tests that draw one.
pub(super) fn number(number: u8, now: Now) -> Change {
    match number {
        0 => Change::Cancel,
        1 => Change::Discard,
        2 => Change::Kill,
        3 | 4 => Change::Requeue,
        5 => Change::Run,
        6 => Change::Due(Due::After(5 * SECOND)),
        7 => Change::Due(Due::At(WallTime(now.wall.0 + 3 * SECOND))),
        8 => Change::Priority(8),
        _ => Change::Queue("other".into()),
    }
}

/// Some filter.
pub(super) fn filter_number(number: u8) -> Filter {
    match number {
        0 => Filter::default(),
        1 => Filter { states: States::of(&[JobState::Dead]), ..Filter::default() },
        2 => Filter { queue: Some("other".into()), ..Filter::default() },
        _ => Filter { is_attempted: Some(true), ..Filter::default() },
    }
}

/// Changes all that `filter` takes, in pieces that look at so many places; how many were changed.
pub(super) fn change_many(
    world: &mut World,
    filter: &Filter,
    change: &Change,
    places: u32,
) -> (u32, u32) {
    let (mut from, mut sum) = (WalkPlace(0), (0, 0));
    loop {
        let budget = WalkBudget { places, jobs: usize::MAX };
        let caller = CallerId(0);
        let answer = world.answer(Input::ChangeMany { caller, filter, change, from, budget });
        let Answer::ChangedMany(piece) = answer else { panic!("{answer:?}") };
        sum = (sum.0 + piece.changed, sum.1 + piece.left);
        match piece.next {
            Some(next) => from = next,
            None => return sum,
        }
    }
}

fn listed(world: &World, filter: &Filter) -> Vec<JobId> {
    let mut found = Vec::new();
    let budget = WalkBudget { places: u32::MAX, jobs: usize::MAX };
    assert_eq!(world.core.find_jobs(filter, WalkPlace(0), budget, &mut found), None);
    found.sort_unstable();
    found
}

fn change(world: &mut World, job: JobId, change: Change) -> Answer {
    world.answer(Input::Change { caller: CallerId(0), job, change: &change })
}

const DONE: Answer = Answer::Changed(Changed::Done(JobState::Scheduled));

#[test]
fn a_job_is_run_now_put_off_and_brought_forward() {
    let mut world = World::new();
    let id = world.submit(&delayed(3600));
    assert_eq!(change(&mut world, id, Change::Run), DONE);
    assert_eq!(world.state(id), Some(JobState::Ready));
    assert_eq!(
        change(&mut world, id, Change::Run),
        Answer::Changed(Changed::Unfit(JobState::Ready))
    );
    // A job that is due can be put off.
    let later = change(&mut world, id, Change::Due(Due::After(10 * SECOND)));
    assert_eq!(later, Answer::Changed(Changed::Done(JobState::Ready)));
    let mut world = world.restart(SECOND);
    assert!(world.pass(8 * SECOND).is_empty());
    let at = WallTime(world.now.wall.0 + 60 * SECOND);
    assert_eq!(change(&mut world, id, Change::Due(Due::At(at))), DONE);
    assert!(world.pass(59 * SECOND).is_empty());
    let dispatch = world.pass(SECOND + TICK_NS)[0];
    assert_eq!((dispatch.attempt.job, dispatch.clock), (id, Clock::Wall));
    for nothing in [Change::Run, Change::Kill, Change::Priority(1), Change::Queue("q".into())] {
        let unfit = Answer::Changed(Changed::Unfit(JobState::Running));
        assert_eq!(change(&mut world, id, nothing), unfit);
    }
    world.core.census().unwrap();
}

#[test]
fn priority_and_queue_of_a_waiting_job_change_and_stay_so() {
    let mut world = World::new();
    world.core.config.running_max = 0;
    let ids: Vec<JobId> = (0..3).map(|_| world.submit(&job())).collect();
    let waits = world.submit(&delayed(100));
    world.pass(0);
    let ready = Answer::Changed(Changed::Done(JobState::Ready));
    assert_eq!(change(&mut world, ids[2], Change::Priority(9)), ready);
    assert_eq!(change(&mut world, ids[0], Change::Queue("slow".into())), ready);
    assert_eq!(change(&mut world, waits, Change::Queue("slow".into())), DONE);
    assert_eq!(change(&mut world, waits, Change::Priority(0)), DONE);
    let by_queue: BTreeMap<_, _> = world
        .core
        .queues()
        .into_iter()
        .map(|it| (it.name.clone(), (it.ready, it.waiting)))
        .collect();
    assert_eq!(by_queue["slow"], (1, 2));
    assert_eq!(by_queue["default"], (2, 2));
    world.core.census().unwrap();
    // Also where the record was written again.
    for id in ids.iter().chain([&waits]) {
        let (body, _) = world.core.body_of(*id).unwrap();
        let bytes = world.journal.events[body.0 as usize].clone();
        let World { core, journal, now, .. } = &mut world;
        core.clean(*now, body, &bytes, journal).unwrap();
    }
    let mut world = world.restart(0);
    world.core.config.running_max = 1;
    world.core.census().unwrap();
    let first = world.pass(TICK_NS)[0];
    assert_eq!(first.attempt.job, ids[2]);
    let view = world.core.job(waits).unwrap();
    assert_eq!((&*view.queue, view.priority), ("slow", 0));
    assert_eq!(&*world.core.job(ids[0]).unwrap().queue, "slow");
}

#[test]
fn a_killed_job_is_dead_and_what_is_out_of_range_is_refused() {
    let mut world = World::new();
    let id = world.submit(&delayed(100));
    let refused = |world: &mut World, wrong| match change(world, id, wrong) {
        Answer::Refused(refusal) => refusal,
        other => panic!("{other:?}"),
    };
    let events = world.journal.events.len();
    assert_eq!(
        refused(&mut world, Change::Priority(10)),
        Refusal::PriorityOutOfRange { priority: 10 }
    );
    assert!(matches!(
        refused(&mut world, Change::Queue("".into())),
        Refusal::NameLength { len_bytes: 0, .. }
    ));
    let far = Change::Due(Due::At(WallTime(u64::MAX)));
    assert_eq!(refused(&mut world, far), Refusal::DueTooFar);
    assert_eq!(world.journal.events.len(), events, "nothing was written");
    assert_eq!(change(&mut world, id, Change::Kill), DONE);
    let dead = world.core.dead(id).unwrap();
    assert_eq!((dead.failure, dead.job.attempts), (Failure::Killed, 0));
    assert_eq!(world.core.counts().failed_attempts, 0);
    assert!(world.pass(200 * SECOND).is_empty());
    let mut world = world.restart(0);
    assert_eq!(
        change(&mut world, id, Change::Requeue),
        Answer::Changed(Changed::Done(JobState::Dead))
    );
    assert_eq!(world.pass(0)[0].attempt.job, id);
}

/// What a full queue and a full table forbid, a change of many leaves out too.
#[test]
fn bounds_hold_for_changes_of_one_and_of_many() {
    let mut world = World::new();
    let small = QueueLimits { length: Some(2), ..QueueLimits::default() };
    let caller = CallerId(0);
    world.answer(Input::LimitQueue { caller, name: "small", limits: &small });
    let ids: Vec<JobId> = (0..5).map(|_| world.submit(&delayed(100))).collect();
    let to_small = Change::Queue("small".into());
    let all = Filter::default();
    assert_eq!(change_many(&mut world, &all, &to_small, 100), (2, 3));
    let full = Refusal::QueueFull { queue: "small".into(), max: 2 };
    assert_eq!(change(&mut world, ids[4], to_small), Answer::Refused(full));
    assert_eq!(change_many(&mut world, &all, &Change::Kill, 2), (5, 0));
    world.core.config.jobs_max = 3;
    // Two of those that come back stood in the small queue.
    assert_eq!(change_many(&mut world, &all, &Change::Requeue, 100), (3, 2));
    assert_eq!(world.core.counts().pending, 3);
    world.core.census().unwrap();
}

#[test]
fn of_dead_jobs_with_one_key_one_comes_back() {
    let mut world = World::new();
    for _ in 0..3 {
        let id = world.submit(&NewJob { key: Some(Key([3; 16])), ..delayed(9) });
        assert_eq!(change(&mut world, id, Change::Kill), DONE);
    }
    let all = Filter { states: States::of(&[JobState::Dead]), ..Filter::default() };
    assert_eq!(change_many(&mut world, &all, &Change::Requeue, 100), (1, 2));
    assert_eq!(change_many(&mut world, &all, &Change::Requeue, 1), (0, 2));
    assert!(world.core.job_of(Key([3; 16])).is_some());
    world.core.census().unwrap();
}

#[test]
fn many_are_cancelled_as_one_event_and_attempts_are_stopped() {
    let mut world = World::new();
    let ids: Vec<JobId> = (0..10).map(|_| world.submit(&job())).collect();
    world.core.config.running_max = 4;
    let running = world.pass(TICK_NS);
    let other = world.submit(&NewJob::new("other"));
    let events = world.journal.events.len();
    let filter = Filter { kind: Some("send_email".into()), ..Filter::default() };
    assert_eq!(change_many(&mut world, &filter, &Change::Cancel, 100), (10, 0));
    assert_eq!(world.journal.events.len(), events + 1);
    assert_eq!(world.out.stops.len(), running.len());
    let notices = world.notices();
    assert_eq!(notices, vec![(OutcomeKind::Cancelled, Next::Done); 4]);
    assert!(ids.iter().all(|id| world.state(*id).is_none()));
    assert!(world.state(other).is_some());
    assert_eq!(world.core.counts().cancelled, 10);
    world.complete(running[0], Outcome::Succeeded);
    assert_eq!(world.out.stale, 1);
    world.core.census().unwrap();
}

#[test]
fn a_filter_takes_what_it_says() {
    let mut world = World::new();
    world.core.config.running_max = 1;
    let scheduled = world.submit(&delayed(100));
    let instant =
        world.submit(&NewJob { due: Due::At(WallTime(START_WALL + 50 * SECOND)), ..job() });
    let dies = world.submit(&NewJob::new("sweep"));
    let dispatch = world.pass(TICK_NS)[0];
    world.complete(dispatch, Outcome::Permanent("no"));
    let runs = world.submit(&NewJob { priority: 9, ..job() });
    let ready = world.submit(&NewJob { queue: "slow".into(), ..job() });
    assert_eq!(world.pass(SECOND)[0].attempt.job, runs);
    let all = Filter::default();
    let of = |states: &[JobState]| Filter { states: States::of(states), ..Filter::default() };
    assert_eq!(listed(&world, &all), [scheduled, instant, dies, runs, ready]);
    assert_eq!(listed(&world, &of(&[JobState::Scheduled])), [scheduled, instant]);
    assert_eq!(listed(&world, &of(&[JobState::Ready])), [ready]);
    assert_eq!(listed(&world, &of(&[JobState::Running])), [runs]);
    assert_eq!(listed(&world, &of(&[JobState::Dead])), [dies]);
    assert_eq!(listed(&world, &of(&[JobState::Dead, JobState::Running])), [dies, runs]);
    assert_eq!(listed(&world, &of(&[JobState::Succeeded])), []);
    assert_eq!(listed(&world, &Filter { kind: Some("sweep".into()), ..all.clone() }), [dies]);
    assert_eq!(listed(&world, &Filter { kind: Some("none".into()), ..all.clone() }), []);
    assert_eq!(listed(&world, &Filter { queue: Some("slow".into()), ..all.clone() }), [ready]);
    assert_eq!(listed(&world, &Filter { is_attempted: Some(true), ..all.clone() }), [dies, runs]);
    assert_eq!(
        listed(&world, &Filter { added_before: Some(dies), ..all.clone() }),
        [scheduled, instant]
    );
    let due = |from, before| Filter {
        due_from: Some(WallTime(START_WALL + from * SECOND)),
        due_before: Some(WallTime(START_WALL + before * SECOND)),
        ..all.clone()
    };
    assert_eq!(listed(&world, &due(50, 100)), [instant]);
    assert_eq!(listed(&world, &due(50, 101)), [scheduled, instant]);
    let died = |at| Filter { died_before: Some(WallTime(at)), ..all.clone() };
    assert_eq!(listed(&world, &died(START_WALL + SECOND)), [dies]);
    assert_eq!(listed(&world, &died(START_WALL)), []);
    assert_eq!(world.core.kinds(), [("send_email".into(), 4), ("sweep".into(), 1)]);
}

/// However it is cut into pieces, and whatever happens meanwhile, a walk meets once what stays.
#[test]
fn a_walk_meets_each_job_once_that_stays() {
    for states in [States::ALL, States::of(&[JobState::Dead])] {
        let mut world = World::new();
        let ids: Vec<JobId> = (0..300).map(|_| world.submit(&delayed(1000))).collect();
        for id in &ids {
            change(&mut world, *id, Change::Kill);
        }
        let filter = Filter { states, ..Filter::default() };
        let (mut from, mut met) = (WalkPlace(0), Vec::new());
        let mut round = 0;
        let last = loop {
            round += 1;
            let budget = WalkBudget { places: 7, jobs: 5 };
            let next = world.core.find_jobs(&filter, from, budget, &mut met);
            // Jobs with odd numbers come and go.
            let goes = ids[(round * 14 + 1) % 300];
            change(&mut world, goes, Change::Discard);
            let comes = world.submit(&delayed(1000));
            change(&mut world, comes, Change::Kill);
            match next {
                Some(next) => {
                    assert!(next > from);
                    from = next;
                }
                None => break from,
            }
        };
        assert!(last.0 >= 290 && round > 40, "{last:?} {round}");
        for id in ids.iter().step_by(2) {
            assert_eq!(met.iter().filter(|met| *met == id).count(), 1, "{id}");
        }
    }
}

#[test]
fn without_room_a_change_of_many_is_refused_and_nothing_changed() {
    let mut world = World::new();
    let id = world.submit(&delayed(100));
    world.journal.size_bytes = world.journal.used_bytes + 100;
    let (filter, change) = (Filter::default(), Change::Cancel);
    let budget = WalkBudget { places: 10, jobs: 10 };
    let (caller, from) = (CallerId(0), WalkPlace(0));
    let input = Input::ChangeMany { caller, filter: &filter, change: &change, from, budget };
    assert_eq!(world.answer(input), Answer::Refused(Refusal::NoSpace));
    assert_eq!(world.state(id), Some(JobState::Scheduled));
}
