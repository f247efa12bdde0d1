//! Circuit breakers: queues that are closed for a while because their attempts fail.

use super::*;
use crate::queue::{QueueLimits, Rate};

const RULE: BreakerRule =
    BreakerRule { failures_max: 3, cool_down_ns: 10 * SECOND, cool_down_max_ns: 30 * SECOND };

impl World {
    fn alerts(&mut self) -> Vec<Alert> {
        core::mem::take(&mut self.out.alerts)
    }

    fn end_all(&mut self, dispatches: &[Dispatch], outcome: Outcome<'_>) {
        for dispatch in dispatches {
            self.complete(*dispatch, outcome);
        }
    }
}

fn opened(for_s: u64) -> Vec<Alert> {
    vec![Alert::BreakerOpened { queue: "default".into(), failures: 3, for_ns: for_s * SECOND }]
}

fn closed() -> Vec<Alert> {
    vec![Alert::BreakerClosed { queue: "default".into() }]
}

/// A queue of many jobs that has just been closed.
fn tripped() -> World {
    let mut world = World::new();
    assert!(world.core.break_queue("default", Some(RULE)));
    for _ in 0..50 {
        world.submit(&NewJob { attempts_max: 1, ..job() });
    }
    world.core.config.running_max = 3;
    let first = world.pass(TICK_NS);
    world.end_all(&first[..2], Outcome::Retryable("no"));
    assert!(world.alerts().is_empty());
    world.end_all(&first[2..], Outcome::Retryable("no"));
    assert_eq!(world.alerts(), opened(10));
    world.core.config.running_max = 16;
    world
}

#[test]
fn a_queue_that_fails_is_closed_tried_with_one_attempt_and_opened() {
    let mut world = tripped();
    assert!(world.pass(9 * SECOND).is_empty());
    let wake = world.core.wake();
    assert!(!wake.now && wake.mono.is_some(), "it sleeps until the queue is tried");
    let trial = world.pass(SECOND);
    assert_eq!(trial.len(), 1);
    assert!(world.pass(SECOND).is_empty(), "one at a time");
    world.end_all(&trial, Outcome::Succeeded);
    assert_eq!(world.alerts(), closed());
    assert_eq!(world.pass(TICK_NS).len(), 16);
    world.core.census().unwrap();
}

#[test]
fn each_trial_that_fails_closes_it_for_longer() {
    let mut world = tripped();
    for (waits, next) in [(10, 20), (20, 30), (30, 30)] {
        assert!(world.pass((waits - 1) * SECOND).is_empty());
        let trial = world.pass(SECOND);
        assert_eq!(trial.len(), 1);
        world.end_all(&trial, Outcome::Retryable("no"));
        assert_eq!(world.alerts(), opened(next));
    }
    // Opened once, it takes as many failures as before, and the first wait again.
    let trial = world.pass(30 * SECOND);
    world.end_all(&trial, Outcome::Succeeded);
    assert_eq!(world.alerts(), closed());
    let many = world.pass(TICK_NS);
    world.end_all(&many[..2], Outcome::Retryable("no"));
    assert!(world.alerts().is_empty());
    world.end_all(&many[2..], Outcome::Retryable("no"));
    assert_eq!(world.alerts(), opened(10), "and what fails while it is closed changes nothing");
    assert!(world.pass(9 * SECOND).is_empty());
    assert_eq!(world.pass(SECOND).len(), 1);
}

#[test]
fn a_trial_that_tells_nothing_is_followed_by_another() {
    let mut world = tripped();
    let trial = world.pass(10 * SECOND)[0];
    world.complete(trial, Outcome::NotBegun);
    let trial = world.pass(TICK_NS)[0];
    world.answer(Input::Cancel { caller: CallerId(0), job: trial.attempt.job });
    assert_eq!(world.pass(TICK_NS).len(), 1);
    assert!(world.alerts().is_empty());
    world.core.census().unwrap();
}

#[test]
fn ends_of_before_do_not_open_it_and_hold_the_trial_up() {
    let mut world = World::new();
    world.core.break_queue("default", Some(RULE));
    for _ in 0..9 {
        world.submit(&NewJob { attempts_max: 1, ..job() });
    }
    world.core.config.running_max = 5;
    let first = world.pass(TICK_NS);
    world.end_all(&first[..3], Outcome::Retryable("no"));
    assert_eq!(world.alerts(), opened(10));
    world.end_all(&first[3..4], Outcome::Succeeded);
    assert!(world.alerts().is_empty(), "it began before the queue was closed");
    assert!(world.pass(20 * SECOND).is_empty(), "the fifth is still under way");
    world.end_all(&first[4..], Outcome::Succeeded);
    assert_eq!(world.alerts(), closed(), "in the time of trial the end of any attempt counts");
    assert_eq!(world.pass(TICK_NS).len(), 4, "all that are left");
}

#[test]
fn successes_between_failures_and_other_queues_count_for_nothing() {
    let mut world = World::new();
    world.core.break_queue("default", Some(RULE));
    world.core.config.running_max = 1;
    for _ in 0..20 {
        world.submit(&NewJob { attempts_max: 1, ..job() });
    }
    for number in 0..8 {
        let outcome = if number % 3 == 2 { Outcome::Succeeded } else { Outcome::Permanent("no") };
        let next = world.pass(TICK_NS);
        world.end_all(&next, outcome);
    }
    for _ in 0..20 {
        let job = NewJob { queue: "other".into(), priority: 9, attempts_max: 1, ..job() };
        world.submit(&job);
        let other = world.pass(TICK_NS);
        world.end_all(&other, Outcome::Permanent("no"));
    }
    assert!(world.alerts().is_empty());
}

#[test]
fn it_works_beside_limits_and_for_fetches_and_can_be_taken_away() {
    let mut world = tripped();
    let rate = Rate { jobs: 1000, period_ms: 1000, burst: 1000 };
    let limits = QueueLimits { concurrency: Some(2), rate: Some(rate), ..QueueLimits::default() };
    world.answer(Input::LimitQueue { caller: CallerId(0), name: "default", limits: &limits });
    assert!(world.pass(9 * SECOND).is_empty());
    let trial = world.pass(SECOND);
    assert_eq!(trial.len(), 1);
    world.end_all(&trial, Outcome::Succeeded);
    assert_eq!(world.pass(TICK_NS).len(), 2, "the limits hold again");
    // A fetch gets nothing of a queue that is closed, and one of a queue that is tried.
    let mut world = tripped();
    world.core.config.running_max = 0;
    let queue = world.core.queue("default").unwrap();
    let fetch = |world: &mut World| {
        world.out.fetched.clear();
        world.step(Input::Fetch { queues: &[queue], max: 10 });
        world.out.fetched.len()
    };
    assert_eq!(fetch(&mut world), 0);
    world.pass(10 * SECOND);
    assert_eq!(fetch(&mut world), 1);
    assert_eq!(fetch(&mut world), 0);
    world.core.break_queue("default", None);
    assert_eq!(fetch(&mut world), 10);
    // After a restart nothing is known of it.
    let mut world = tripped().restart(0);
    assert_eq!(world.pass(TICK_NS).len(), 47, "all that are left");
}
