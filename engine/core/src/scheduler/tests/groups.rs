//! Groups: turns, limits, and what is left of them over restarts and cleaning, with a journal in memory.

use super::{
    fetch::{ids, in_queue},
    keep::Cut,
    *,
};
use crate::queue::{QueueLimits, Rate};

pub(super) fn name(number: u8) -> &'static str {
    ["acme", "bolt", "cove"][usize::from(number)]
}

/// Limits that a test draws; `None` for none.
pub(super) fn some_limits(number: u8) -> Option<QueueLimits> {
    let none = QueueLimits::default();
    let rate = Some(Rate { jobs: 1, period_ms: 1500, burst: 2 });
    match number {
        0 => None,
        1 => Some(QueueLimits { concurrency: Some(1), ..none }),
        2 => Some(QueueLimits { rate, ..none }),
        3 => Some(QueueLimits { weight: 3, ..none }),
        4 => Some(QueueLimits { length: Some(4), ..none }),
        _ => Some(QueueLimits { concurrency: Some(2), rate, weight: 2, length: Some(9) }),
    }
}

pub(super) fn of_group(group: &str) -> NewJob<'static> {
    let options = JobOptions { group: Some(group.into()), ..JobOptions::default() };
    NewJob { options: Some(options.into()), ..in_queue("mail") }
}

const NONE: QueueLimits = QueueLimits { concurrency: None, rate: None, weight: 1, length: None };

impl World {
    fn limit_groups(&mut self, group: Option<&str>, limits: Option<QueueLimits>) -> Answer {
        let (caller, limits) = (CallerId(0), limits.as_ref());
        self.answer(Input::LimitGroups { caller, queue: "mail", group, limits })
    }

    fn offer(&mut self, group: &str, jobs: usize) -> Vec<JobId> {
        (0..jobs).map(|_| self.submit(&of_group(group))).collect()
    }
}

/// In each slot of time one attempt begins. Every ninety-nine quiet tenants offer a job each 200 slots;
/// returns how many slots the quiet ones wait on the average, in thousandths.
fn quiet_wait(noisy_jobs_per_200: usize, is_grouped: bool) -> u64 {
    let mut world = World::new();
    world.core.config.running_max = 1;
    let (mut waits, mut begun): (u64, u64) = (0, 0);
    let mut offered: alloc::collections::BTreeMap<JobId, u64> = alloc::collections::BTreeMap::new();
    let mut running: Vec<Dispatch> = Vec::new();
    for slot in 0..20_000_u64 {
        let of = |name: &str| if is_grouped { of_group(name) } else { in_queue("mail") };
        let turn = slot % 200;
        if turn == 0 {
            for _ in 0..noisy_jobs_per_200 {
                world.submit(&of("noisy"));
            }
        }
        if turn % 2 == 1 && turn < 199 {
            let id = world.submit(&of(&format!("quiet {}", turn / 2)));
            offered.insert(id, slot);
        }
        for dispatch in running.drain(..) {
            world.complete(dispatch, Outcome::Succeeded);
        }
        world.step(Input::Time { dispatch_max: 1 });
        running = core::mem::take(&mut world.out.dispatches);
        for dispatch in &running {
            if let Some(since) = offered.remove(&dispatch.attempt.job) {
                waits += slot - since + 1;
                begun += 1;
            }
        }
        world.out = Outputs::default();
    }
    assert!(begun > 9000, "{begun} quiet jobs have begun");
    waits * 1000 / begun
}

#[test]
fn a_tenant_with_half_of_the_load_lets_others_wait_at_the_most_twice_as_long() {
    let alone = quiet_wait(0, true);
    let among_groups = quiet_wait(99, true);
    let in_one_line = quiet_wait(99, false);
    assert!(among_groups <= 2 * alone, "{among_groups} instead of {alone} thousandths of a slot");
    assert!(in_one_line > 10 * alone, "without groups they wait for all of it: {in_one_line}");
}

#[test]
fn executors_and_workers_go_by_one_order_of_turns() {
    let mut world = World::new();
    let acme = world.offer("acme", 4);
    let bolt = world.offer("bolt", 1);
    let plain = [world.submit(&in_queue("mail")), world.submit(&in_queue("mail"))];
    assert_eq!(ids(&world.fetch(&["mail"], 2)), [acme[0], bolt[0]]);
    assert_eq!(ids(&world.pass(0)), [plain[0], acme[1], plain[1], acme[2], acme[3]]);
    world.core.census().unwrap();
    let view = world.core.groups("mail", 1);
    assert_eq!((view.live, view.busiest.len()), (2, 1));
    assert_eq!((&*view.busiest[0].name, view.busiest[0].running), ("acme", 4));
    assert_eq!(world.core.job(acme[1]).unwrap().group.as_deref(), Some("acme"));
}

#[test]
fn limits_of_all_groups_and_of_one_hold_for_each_and_are_kept() {
    let mut world = World::new();
    let one = Some(QueueLimits { concurrency: Some(1), ..NONE });
    let two = Some(QueueLimits { concurrency: Some(2), length: Some(3), ..NONE });
    assert_eq!(world.limit_groups(None, one), Answer::QueueSet(true));
    assert_eq!(world.limit_groups(None, one), Answer::QueueSet(false));
    assert_eq!(world.limit_groups(Some("bolt"), two), Answer::QueueSet(true));
    assert_eq!(world.limit_groups(Some("bolt"), two), Answer::QueueSet(false));
    let acme = world.offer("acme", 2);
    let bolt = world.offer("bolt", 3);
    let refusal = Refusal::GroupFull { queue: "mail".into(), group: "bolt".into(), max: 3 };
    let full = world.answer(Input::Submit { caller: CallerId(0), job: &of_group("bolt") });
    assert_eq!(full, Answer::Refused(refusal));
    assert_eq!(ids(&world.fetch(&["mail"], 9)), [acme[0], bolt[0], bolt[1]]);
    assert!(!world.core.wake().now, "what is closed is nothing to do");
    for mut world in world.reopened() {
        // Fetched attempts go on and count.
        assert_eq!(ids(&world.pass(0)), []);
        world.core.census().unwrap();
        world.limit_groups(Some("bolt"), None);
        assert_eq!(ids(&world.pass(0)), []);
        world.limit_groups(None, None);
        let mut begun = ids(&world.pass(0));
        begun.sort();
        assert_eq!(begun, [acme[1], bolt[2]]);
        world.core.census().unwrap();
    }
}

#[test]
fn the_rate_of_a_group_stays_spent_over_a_restart_and_after_its_last_job() {
    let mut world = World::new();
    let rate = Some(Rate { jobs: 1, period_ms: 10_000, burst: 1 });
    world.limit_groups(Some("acme"), Some(QueueLimits { rate, ..NONE }));
    world.offer("acme", 1);
    let begun = world.pass(0);
    world.complete(begun[0], Outcome::Succeeded);
    assert_eq!(world.core.groups("mail", 9).live, 1, "it is spent, and so remembered");
    for mut world in world.reopened() {
        let next = world.offer("acme", 1);
        let other = world.offer("bolt", 1);
        assert_eq!(ids(&world.pass(0)), other);
        assert_eq!(ids(&world.pass(8 * SECOND)), []);
        let wake = world.core.wake();
        assert!(!wake.now && wake.mono.is_some());
        assert_eq!(ids(&world.pass(2 * SECOND)), next);
        world.core.census().unwrap();
    }
}

#[test]
fn a_group_is_forgotten_when_nothing_of_it_is_left() {
    let mut world = World::new();
    let rate = Some(Rate { jobs: 1, period_ms: 1000, burst: 1 });
    world.limit_groups(None, Some(QueueLimits { rate, ..NONE }));
    for group in ["acme", "bolt"] {
        world.offer(group, 1);
    }
    let [first, second] = world.pass(0)[..] else { panic!() };
    world.complete(first, Outcome::Succeeded);
    world.pass(2 * SECOND);
    assert_eq!(world.core.groups("mail", 9).live, 1);
    world.complete(second, Outcome::Permanent("no"));
    world.pass(TICK_NS);
    assert_eq!(world.core.groups("mail", 9).live, 0, "a dead job is none of its group");
    world.core.census().unwrap();
}

#[test]
fn a_dead_job_comes_back_to_its_group() {
    let mut world = World::new();
    let job = world.offer("acme", 1)[0];
    let begun = world.pass(0);
    world.complete(begun[0], Outcome::Permanent("no"));
    let one = Some(QueueLimits { length: Some(1), ..NONE });
    world.limit_groups(None, one);
    for mut world in world.reopened() {
        assert_eq!(world.core.job(job).unwrap().group.as_deref(), Some("acme"));
        let requeue = |world: &mut World| {
            let change = &Change::Requeue;
            world.answer(Input::Change { caller: CallerId(0), job, change })
        };
        world.core.queues.pause(world.core.queue("mail").unwrap(), true);
        let second = world.offer("acme", 1)[0];
        assert!(matches!(requeue(&mut world), Answer::Refused(Refusal::GroupFull { .. })));
        world.answer(Input::Cancel { caller: CallerId(0), job: second });
        assert_eq!(requeue(&mut world), Answer::Changed(Changed::Done(JobState::Dead)));
        assert_eq!(world.core.groups("mail", 9).busiest[0].waiting, 1);
        world.core.census().unwrap();
    }
}

#[test]
fn a_job_with_a_group_and_a_key_of_uniqueness_keeps_both_over_a_restart() {
    let mut world = World::new();
    let unique = Some(crate::Unique {
        key: Key([3; 16]),
        until: crate::Until::End,
        span_ns: None,
        conflict: crate::Conflict::Reject,
    });
    let options = JobOptions { group: Some("acme".into()), unique, ..JobOptions::default() };
    let job = NewJob { options: Some(options.into()), ..in_queue("mail") };
    let first = world.submit(&NewJob { due: Due::After(SECOND), ..job.clone() });
    for mut world in world.reopened() {
        world.core.census().unwrap();
        let again = world.answer(Input::Submit { caller: CallerId(0), job: &job });
        assert_eq!(again, Answer::Refused(Refusal::NotUnique(first)));
        assert_eq!(world.core.groups("mail", 9).busiest[0].waiting, 1);
    }
}

#[test]
fn a_job_of_a_group_cannot_go_to_another_queue() {
    let mut world = World::new();
    let job = world.offer("acme", 1)[0];
    let change = Change::Queue("other".into());
    let answer = world.answer(Input::Change { caller: CallerId(0), job, change: &change });
    assert!(matches!(answer, Answer::Refused(Refusal::Group(_))), "{answer:?}");
    let priority = Change::Priority(9);
    world.answer(Input::Change { caller: CallerId(0), job, change: &priority });
    assert_eq!(ids(&world.pass(0)), [job]);
    world.core.census().unwrap();
}

#[test]
fn as_many_groups_as_there_may_be_and_no_more() {
    let mut world = World::new();
    for number in 0..limits::GROUPS_MAX {
        world.submit(&NewJob { due: Due::After(SECOND), ..of_group(&format!("tenant {number}")) });
    }
    let one_more = of_group("one more");
    let answer = world.answer(Input::Submit { caller: CallerId(0), job: &one_more });
    assert_eq!(answer, Answer::Refused(Refusal::TooManyGroups));
    world.offer("tenant 7", 1);
    world.core.census().unwrap();
}

#[test]
fn limits_and_groups_are_kept_when_the_journals_beginning_is_cut() {
    let mut cut = Cut::new();
    let rate = Some(Rate { jobs: 1, period_ms: 60_000, burst: 3 });
    cut.world.limit_groups(None, Some(QueueLimits { concurrency: Some(7), ..NONE }));
    cut.world.limit_groups(Some("acme"), Some(QueueLimits { rate, ..NONE }));
    for _ in 0..4 {
        cut.world.offer("acme", 1);
        cut.world.offer("bolt", 1);
    }
    for dispatch in cut.world.pass(0) {
        cut.world.complete(dispatch, Outcome::Succeeded);
    }
    for _ in 0..4 {
        cut.clean(12);
        cut.check();
    }
    assert_eq!(cut.world.core.groups("mail", 9).busiest.len(), 1);
}

#[test]
fn jobs_of_one_group_can_be_found() {
    let mut world = World::new();
    let acme = world.offer("acme", 2);
    world.offer("bolt", 2);
    let filter = Filter { group: Some("acme".into()), ..Filter::default() };
    let mut found = Vec::new();
    let budget = WalkBudget { places: 100, jobs: 100 };
    world.core.find_jobs(&filter, WalkPlace::default(), budget, &mut found);
    assert_eq!(found, acme);
}
