//! Limits of queues: concurrency, rate, weight and length, also over restarts, cleaning and clock
//! steps, with a journal in memory.

use super::{
    fetch::{ids, in_queue},
    *,
};
use crate::queue::{QueueLimits, Rate};

const NONE: QueueLimits = QueueLimits { concurrency: None, rate: None, weight: 1, length: None };

fn at_once(concurrency: u32) -> QueueLimits {
    QueueLimits { concurrency: Some(concurrency), ..NONE }
}

fn rated(jobs: u32, burst: u32) -> QueueLimits {
    QueueLimits { rate: Some(Rate { jobs, period_ms: 1000, burst }), ..NONE }
}

impl World {
    fn limit(&mut self, name: &str, limits: QueueLimits) -> Answer {
        self.answer(Input::LimitQueue { caller: CallerId(0), name, limits: &limits })
    }

    fn fill(&mut self, queue: &'static str, jobs: usize) -> Vec<JobId> {
        (0..jobs).map(|_| self.submit(&in_queue(queue))).collect()
    }

    /// Attempts that begin within `ns`, each step at the moment that was asked for.
    fn starts_within(&mut self, ns: u64) -> Vec<(u64, JobId)> {
        let begin = self.now.mono.0;
        let mut starts = Vec::new();
        loop {
            let elapsed = self.now.mono.0 - begin;
            starts.extend(self.time().iter().map(|start| (elapsed, start.attempt.job)));
            self.core.census().unwrap();
            let wake = self.core.wake();
            assert!(!wake.now, "it asks to be called again, and has nothing to do");
            match wake.mono {
                Some(at) if at.0 <= begin + ns => {
                    assert!(at.0 > self.now.mono.0, "a wake-up in the past");
                    let pass = at.0 - self.now.mono.0;
                    self.now.mono.0 += pass;
                    self.now.wall.0 += pass;
                }
                _ => return starts,
            }
        }
    }
}

#[test]
fn attempts_of_a_queue_stay_within_its_concurrency_whoever_has_them() {
    let mut world = World::new();
    let jobs = world.fill("mail", 5);
    let other = world.submit(&in_queue("other"));
    assert_eq!(world.limit("mail", at_once(2)), Answer::QueueSet(true));
    assert_eq!(world.limit("mail", at_once(2)), Answer::QueueSet(false));
    // Of two priorities, as of one.
    let urgent = world.submit(&NewJob { priority: 9, ..in_queue("mail") });
    let begun = world.pass(0);
    assert_eq!(ids(&begun), [urgent, jobs[0], other]);
    assert_eq!(world.fetch(&["mail"], 9), []);
    assert_eq!(world.core.fetchable(world.core.queue("mail").unwrap()), 0);
    assert!(!world.core.wake().now, "what is closed is nothing to do");
    world.complete(begun[0], Outcome::Succeeded);
    let fetched = world.fetch(&["mail"], 9);
    assert_eq!(ids(&fetched), [jobs[1]]);
    assert_eq!(ids(&world.pass(0)), []);
    // A limit that is lowered ends nothing, and one that is raised holds at once.
    world.limit("mail", at_once(1));
    world.complete(fetched[0], Outcome::Succeeded);
    assert_eq!(ids(&world.pass(0)), []);
    world.limit("mail", at_once(3));
    assert_eq!(ids(&world.pass(0)), [jobs[2], jobs[3]]);
    world.limit("mail", NONE);
    assert_eq!(ids(&world.pass(0)), [jobs[4]]);
    world.core.census().unwrap();
}

#[test]
fn every_end_of_an_attempt_makes_its_place_free() {
    let mut world = World::new();
    world.limit("mail", at_once(1));
    let jobs = world.fill("mail", 6);
    let backoff = Backoff { base_ms: 3_600_000, max_ms: 3_600_000 };
    let slow = world.submit(&NewJob { timeout_ms: 1000, backoff, ..in_queue("mail") });
    let last = world.submit(&in_queue("mail"));
    for (number, job) in jobs.into_iter().enumerate() {
        let begun = world.pass(0);
        assert_eq!(ids(&begun), [job], "{number}");
        match number {
            0 => world.complete(begun[0], Outcome::Retryable("")),
            1 => world.complete(begun[0], Outcome::Permanent("")),
            2 => world.complete(begun[0], Outcome::Panicked("")),
            3 => world.complete(begun[0], Outcome::Postponed(3600 * SECOND)),
            4 => world.step(Input::Succeeded { attempts: &[begun[0].attempt] }),
            _ => {
                world.answer(Input::Cancel { caller: CallerId(0), job });
            }
        }
        world.core.census().unwrap();
    }
    assert_eq!(ids(&world.pass(0)), [slow]);
    // It times out, and the next one takes its place within the same call.
    assert_eq!(ids(&world.pass(2 * SECOND)), [last]);
}

#[test]
fn concurrency_counts_fetched_attempts_after_a_restart() {
    let mut world = World::new();
    world.limit("mail", at_once(2));
    let jobs = world.fill("mail", 4);
    let fetched = world.fetch(&["mail"], 1);
    let begun = world.pass(0);
    assert_eq!((ids(&fetched), ids(&begun)), (vec![jobs[0]], vec![jobs[1]]));
    // The executor's attempt is lost and begins again; the worker's goes on.
    for mut world in world.reopened() {
        assert_eq!(world.core.counts().running, 2, "{:?}", world.core.queues());
        assert_eq!(ids(&world.fetch(&["mail"], 9)), []);
        world.complete(fetched[0], Outcome::Succeeded);
        assert_eq!(world.pass(0).len(), 1);
        let view = world.core.queues().into_iter().find(|queue| &*queue.name == "mail").unwrap();
        assert_eq!((view.running, view.waiting, view.limits), (2, 1, at_once(2)));
        world.core.census().unwrap();
    }
}

#[test]
fn a_rate_lets_a_burst_begin_and_then_one_each_time_its_share_has_passed() {
    let mut world = World::new();
    world.limit("mail", rated(10, 3));
    let jobs = world.fill("mail", 8);
    let starts = world.starts_within(400_000_000);
    let expected = [0, 0, 0, 100, 200, 300, 400].map(|ms| ms * 1_000_000);
    assert_eq!(starts, expected.into_iter().zip(jobs.iter().copied()).collect::<Vec<_>>());
    assert_eq!(world.fetch(&["mail"], 9), [], "a fetch gets no more than an executor");
    // A rest gives the burst back, and not more.
    world.pass(99_999_999);
    assert_eq!(world.core.counts().ready, 1);
    world.fill("mail", 9);
    assert_eq!(ids(&world.pass(1)), [jobs[7]]);
    assert_eq!(world.pass(250_000_000).len(), 2);
    world.limit("mail", NONE);
    assert_eq!(world.pass(0).len(), 7);
}

#[test]
fn a_fetch_takes_its_part_of_a_rate_and_steps_of_the_wall_clock_change_nothing() {
    for step_ns in [-3600 * SECOND.cast_signed(), 3600 * SECOND.cast_signed()] {
        let mut world = World::new();
        world.limit("mail", rated(2, 4));
        world.fill("mail", 20);
        assert_eq!(world.fetch(&["mail"], 3).len(), 3);
        assert_eq!(world.pass(0).len(), 1);
        world.now.wall.0 = world.now.wall.0.saturating_add_signed(step_ns);
        world.step(Input::ClockSet);
        assert_eq!(world.pass(499_999_999), []);
        assert_eq!(world.pass(1).len(), 1);
        assert_eq!(world.fetch(&["mail"], 3).len(), 0);
        assert_eq!(world.pass(SECOND).len(), 2);
    }
}

#[test]
fn what_a_rate_has_spent_stays_spent_after_a_restart() {
    let mut world = World::new();
    world.limit("mail", rated(2, 4));
    let jobs = world.fill("mail", 20);
    assert_eq!(ids(&world.fetch(&["mail"], 3)), jobs[..3]);
    for mut world in world.reopened() {
        world.pass(0);
        let more = world.fetch(&["mail"], 9).len();
        assert_eq!(world.core.counts().running as usize + more, 4, "one was left of the burst");
        assert_eq!(world.pass(400_000_000), []);
        assert_eq!(world.pass(100_000_000).len(), 1);
        // The wall clock was set back while nobody looked: the wait is that for a burst at most.
        let mut journal_only = world.restart(0);
        journal_only.now.wall.0 -= 3600 * SECOND;
        let mut world = journal_only.restart(0);
        assert_eq!(world.fetch(&["mail"], 9), []);
        assert_eq!(world.starts_within(2 * SECOND).len(), 4);
    }
}

#[test]
fn a_change_of_the_rate_gives_no_second_burst() {
    let mut world = World::new();
    world.limit("mail", rated(1, 5));
    world.fill("mail", 20);
    assert_eq!(world.pass(0).len(), 5);
    world.limit("mail", rated(10, 5));
    assert_eq!(world.pass(0), []);
    assert_eq!(world.pass(100_000_000).len(), 1);
}

#[test]
fn limits_and_what_is_spent_survive_a_cut_of_the_journals_beginning() {
    let mut world = World::new();
    world.limit("mail", QueueLimits { concurrency: Some(9), ..rated(1, 4) });
    world.limit("gone", at_once(1));
    world.limit("gone", NONE);
    let live = world.core.live_bytes();
    let jobs = world.fill("mail", 5);
    let begun = world.pass(0);
    assert_eq!(ids(&begun), jobs[..4]);
    for dispatch in begun {
        world.complete(dispatch, Outcome::Succeeded);
    }
    assert!(world.core.live_bytes() > live);
    let cut = world.journal.events.len();
    let (core, journal) = (&mut world.core, &mut world.journal);
    let mut moved = 0;
    for number in 0..cut {
        let event = journal.events[number].clone();
        let found = core.clean(world.now, Lsn(number as u64), &event, journal).unwrap();
        moved += usize::from(matches!(found, Cleaned::Moved { .. }));
    }
    assert_eq!(moved, 2, "the limits of one queue and a job");
    core.write_base(world.now, journal).unwrap();
    journal.events[..cut].fill(vec![4, 1, 1]); // the end of a job that is not there
    for mut world in world.reopened() {
        assert_eq!(world.pass(0), [], "the burst is spent");
        let all = world.core.queues();
        let view = all.iter().find(|queue| &*queue.name == "mail").unwrap();
        assert_eq!(view.limits.concurrency, Some(9));
        assert_eq!(ids(&world.pass(SECOND)), [jobs[4]]);
    }
}

/// Starts that a later cut skips were counted: they are written with the limits before a base.
#[test]
fn a_base_holds_what_rates_have_spent() {
    let mut world = World::new();
    world.limit("mail", rated(1, 4));
    let (core, journal) = (&mut world.core, &mut world.journal);
    let event = journal.events[0].clone();
    core.clean(world.now, Lsn(0), &event, journal).unwrap();
    world.fill("mail", 5);
    for dispatch in world.pass(0) {
        world.complete(dispatch, Outcome::Succeeded);
    }
    // The jobs are cut off, and the limits are not: they were written again before.
    let (core, journal) = (&mut world.core, &mut world.journal);
    let added: Vec<usize> =
        (0..journal.events.len()).filter(|n| journal.events[*n][0] == 0).collect();
    for number in &added {
        let event = journal.events[*number].clone();
        core.clean(world.now, Lsn(*number as u64), &event, journal).unwrap();
    }
    core.write_base(world.now, journal).unwrap();
    for number in added {
        journal.events[number] = vec![4, 1, 1]; // the end of a job that is not there
    }
    let mut world = world.restart(0);
    assert_eq!(world.pass(0), []);
    assert_eq!(world.pass(SECOND).len(), 1);
}

#[test]
fn queues_share_by_weight_however_many_are_asked_for_at_a_time() {
    for dispatch_max in [1, 2, 3, 7, 40] {
        let mut world = World::new();
        world.core.config.running_max = 1000;
        world.limit("heavy", QueueLimits { weight: 3, ..NONE });
        world.fill("heavy", 60);
        world.fill("light", 60);
        world.fill("other", 60);
        let heavy = world.core.queue("heavy").unwrap();
        while world.out.dispatches.len() < 50 {
            world.step(Input::Time { dispatch_max });
        }
        let begun = &world.out.dispatches;
        let taken = begun.iter().filter(|dispatch| dispatch.queue == heavy).count();
        let share = begun.len() * 3 / 5;
        assert!(taken.abs_diff(share) <= 2, "{taken} of {}, {dispatch_max} a time", begun.len());
        // What the others do not want is for whoever has jobs.
        world.step(Input::Time { dispatch_max: 180 });
        assert_eq!(world.core.counts().ready, 0);
        world.core.census().unwrap();
    }
}

#[test]
fn weights_come_back_after_a_restart() {
    let mut world = World::new();
    world.limit("heavy", QueueLimits { weight: 9, ..NONE });
    world.fill("heavy", 20);
    world.fill("light", 20);
    let heavy = world.core.queue("heavy").unwrap();
    for mut world in world.reopened() {
        world.core.config.running_max = 20;
        world.pass(0);
        let running = world.core.queues();
        let taken = running.iter().find(|queue| &*queue.name == "heavy").unwrap().running;
        assert!(taken >= 18, "{taken} of {}", world.core.running());
        assert_eq!(world.core.queue("heavy"), Some(heavy));
    }
}

#[test]
fn a_full_queue_refuses_jobs_by_name_and_takes_them_again() {
    let mut world = World::new();
    world.limit("mail", QueueLimits { length: Some(3), ..NONE });
    world.fill("mail", 2);
    let delay = NewJob { due: Due::After(SECOND), ..in_queue("mail") };
    world.submit(&delay);
    let full = Answer::Refused(Refusal::QueueFull { queue: "mail".into(), max: 3 });
    let used = world.journal.events.len();
    for job in [in_queue("mail"), delay] {
        assert_eq!(world.answer(Input::Submit { caller: CallerId(0), job: &job }), full);
    }
    assert_eq!(world.journal.events.len(), used, "a refusal changes nothing");
    world.submit(&in_queue("other"));
    for mut world in world.reopened() {
        let job = in_queue("mail");
        let began = world.core.queues().iter().find(|q| &*q.name == "mail").unwrap().running;
        assert_eq!(began, 2, "an attempt under way does not wait");
        world.fill("mail", 2);
        assert_eq!(world.answer(Input::Submit { caller: CallerId(0), job: &job }), full);
        world.limit("mail", NONE);
        world.fill("mail", 9);
        world.core.census().unwrap();
    }
}

#[test]
fn a_retry_is_never_refused_and_a_schedule_waits_for_a_full_queue() {
    let mut world = World::new();
    world.limit("mail", QueueLimits { length: Some(1), concurrency: Some(1), ..NONE });
    let first = world.submit(&in_queue("mail"));
    let begun = world.pass(0)[0];
    let second = world.submit(&in_queue("mail"));
    world.complete(begun, Outcome::NotBegun);
    assert_eq!(world.core.counts().ready + world.core.counts().running, 2, "one above the limit");
    world.put(&Schedule::new("tick", Timing::Every(SECOND), in_queue("mail")));
    let held = world.pass(SECOND + TICK_NS);
    assert_eq!((world.core.counts().added, world.core.schedules()[0].fired), (2, 0));
    for dispatch in held {
        assert_eq!(dispatch.attempt.job, second);
        world.complete(dispatch, Outcome::Succeeded);
    }
    let again = world.pass(0)[0];
    assert_eq!(again.attempt.job, first);
    world.complete(again, Outcome::Succeeded);
    world.pass(2 * SECOND);
    assert!(world.core.schedules()[0].fired > 0, "it looks again");
}

#[test]
fn limits_out_of_their_ranges_are_refused_and_never_replayed() {
    let mut world = World::new();
    let rate = |jobs, period_ms, burst| QueueLimits {
        rate: Some(Rate { jobs, period_ms, burst }),
        ..NONE
    };
    let wrong = [
        at_once(0),
        at_once(65_537),
        QueueLimits { weight: 0, ..NONE },
        QueueLimits { weight: 101, ..NONE },
        QueueLimits { length: Some(0), ..NONE },
        rate(0, 1, 1),
        rate(1_000_001, 1, 1),
        rate(1, 0, 1),
        rate(1, 1, 0),
        rate(1, u32::MAX, 1_000_000),
    ];
    for limits in wrong {
        let answer = world.limit("mail", limits);
        assert!(matches!(answer, Answer::Refused(Refusal::QueueLimits(_))), "{limits:?}");
        let event = Event::QueueLimits { at: 1, name: "mail", limits, full_at: 1 };
        let mut bytes = Vec::new();
        let len = event.encode(&mut bytes);
        let replayed = world.core.replay(Lsn(0), &bytes[..len]);
        assert!(matches!(replayed, Err(ReplayError::Decode(_))), "{limits:?}");
    }
    assert!(matches!(world.limit("", NONE), Answer::Refused(Refusal::NameLength { .. })));
    assert_eq!(world.core.queues(), []);
    // The highest of all, and the shortest share: nothing overflows.
    world.limit(
        "mail",
        QueueLimits {
            concurrency: Some(65_536),
            weight: 100,
            length: Some(1 << 30),
            ..rate(1_000_000, 1, 1_000_000)
        },
    );
    world.fill("mail", 3);
    assert_eq!(world.pass(0).len(), 3);
    world.limit("mail", rate(1, 300_000_000, 1000));
    world.fill("mail", 3);
    assert_eq!(world.pass(0).len(), 3);
}

proptest! {
    /// Whatever happens, in any window no more attempts begin than rate and burst allow, no more
    /// are under way than may be, and nothing that may begin is left waiting.
    #[test]
    fn limits_hold_for_any_course_of_events(
        (jobs, burst, concurrency) in (1_u32..50, 1_u32..8, 1_u32..12),
        acts in prop::collection::vec((0_u8..6, 0_u64..80_000_000), 1..150),
    ) {
        let mut world = World::new();
        let limits = QueueLimits { concurrency: Some(concurrency), ..rated(jobs, burst) };
        world.limit("mail", limits);
        let mut starts: Vec<u64> = Vec::new();
        let mut running: Vec<Dispatch> = Vec::new();
        for (act, ns) in acts {
            let begun = match act {
                0 => { world.submit(&in_queue("mail")); vec![] }
                1 => { world.submit(&NewJob { priority: 9, ..in_queue("mail") }); vec![] }
                2 => world.fetch(&["mail"], 3),
                3 if !running.is_empty() => {
                    let ended = running.swap_remove(ns as usize % running.len());
                    world.complete(ended, Outcome::Succeeded);
                    vec![]
                }
                _ => world.pass(ns),
            };
            starts.extend(begun.iter().map(|_| world.now.mono.0));
            running.extend(begun);
            prop_assert!(running.len() <= concurrency as usize);
            world.core.census().unwrap();
        }
        let share = SECOND.div_ceil(u64::from(jobs));
        for (number, first) in starts.iter().enumerate() {
            for (more, last) in starts[number..].iter().enumerate() {
                prop_assert!(more as u64 <= u64::from(burst) - 1 + (last - first) / share);
            }
        }
        // With places free and the burst back, everything begins in time.
        for dispatch in running.drain(..) {
            world.complete(dispatch, Outcome::Succeeded);
        }
        while world.core.counts().pending > 0 {
            let begun = world.pass(share * u64::from(burst));
            prop_assert!(!begun.is_empty());
            for dispatch in begun {
                world.complete(dispatch, Outcome::Succeeded);
            }
        }
    }
}
