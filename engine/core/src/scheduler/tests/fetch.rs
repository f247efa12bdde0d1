//! Queues, workers that fetch, keys and payloads that change, with a journal in memory.

use super::*;
use crate::{Key, Restore};

pub(super) fn in_queue(queue: &'static str) -> NewJob<'static> {
    NewJob { queue: queue.into(), ..job() }
}

fn keyed(number: u8) -> NewJob<'static> {
    NewJob { key: Some(Key([number; 16])), ..in_queue("mail") }
}

/// A world whose executors take nothing but from the queue `here`.
fn served_elsewhere() -> World {
    let mut world = World::new();
    world.core.config.serves_queues = false;
    world.core.queues = Queues::new(false);
    assert!(world.core.serve("here", true));
    world
}

impl World {
    pub(super) fn fetch(&mut self, queues: &[&str], max: u32) -> Vec<Dispatch> {
        let queues: Vec<QueueId> = queues.iter().filter_map(|name| self.core.queue(name)).collect();
        self.step(Input::Fetch { queues: &queues, max });
        core::mem::take(&mut self.out.fetched)
    }

    fn pause(&mut self, name: &str, paused: bool) -> Answer {
        self.answer(Input::PauseQueue { caller: CallerId(0), name, paused })
    }

    /// What is there after a restart, from the journal alone and from a snapshot.
    pub(super) fn reopened(mut self) -> [Self; 2] {
        let mut bytes = Vec::new();
        let mut sink = |piece: &[u8]| {
            bytes.extend_from_slice(piece);
            Ok::<(), ()>(())
        };
        self.core.freeze().write(&mut sink).unwrap();
        let mut restore = Restore::new(self.core.config, self.now);
        // Cut anywhere.
        for piece in bytes.chunks(7) {
            restore.feed(piece).unwrap();
        }
        let mut restored = restore.finish().unwrap();
        restored.recovered(self.now, 2, &mut self.journal, &mut Outputs::default());
        let journal = self.journal.clone();
        let serves = self.core.config.serves_queues;
        let second =
            Self { core: restored, journal, now: self.now, out: Outputs::default(), held: false };
        let mut worlds = [self.restart(0), second];
        for world in &mut worlds {
            for queue in world.core.queues() {
                world.core.serve(&queue.name, serves || &*queue.name == "here");
            }
            // What was ready in the snapshot is triggered again.
            world.pass(TICK_NS);
        }
        worlds
    }
}

pub(super) fn ids(dispatches: &[Dispatch]) -> Vec<JobId> {
    dispatches.iter().map(|dispatch| dispatch.attempt.job).collect()
}

#[test]
fn a_worker_gets_jobs_of_its_queues_in_their_order_and_executors_only_theirs() {
    let mut world = served_elsewhere();
    let low = world.submit(&in_queue("low"));
    let first = world.submit(&in_queue("high"));
    let urgent = world.submit(&NewJob { priority: 9, ..in_queue("high") });
    let here = world.submit(&in_queue("here"));
    assert_eq!(ids(&world.pass(TICK_NS)), [here]);
    assert_eq!(world.core.counts().ready, 3);
    assert_eq!(ids(&world.fetch(&["high", "low"], 2)), [urgent, first]);
    assert_eq!(ids(&world.fetch(&["high", "low"], 2)), [low]);
    assert_eq!(world.fetch(&["high", "low", "unheard of"], 2), []);
    let again = world.submit(&in_queue("low"));
    assert_eq!(ids(&world.fetch(&["low", "low"], 2)), [again]);
    assert_eq!((world.core.counts().fetched, world.core.running()), (4, 1));
}

#[test]
fn an_extended_lease_ends_when_it_was_to_end_also_after_a_restart() {
    let mut world = served_elsewhere();
    let id = world.submit(&NewJob { timeout_ms: 60_000, ..keyed(1) });
    let fetched = world.fetch(&["mail"], 1)[0];
    let (attempt, span_ns) = (fetched.attempt, 600 * SECOND);
    world.answer(Input::Extend { caller: CallerId(0), attempt, span_ns });
    world.pass(100 * SECOND);
    for mut world in world.reopened() {
        world.pass(500 * SECOND - 2 * TICK_NS);
        assert_eq!(world.state(id), Some(JobState::Running));
        world.pass(2 * TICK_NS);
        assert_eq!(world.state(id), Some(JobState::Scheduled));
    }
}

#[test]
fn a_fetched_attempt_outlives_the_process_and_ends_with_its_lease() {
    let mut world = served_elsewhere();
    let quick = NewJob { timeout_ms: 60_000, ..keyed(1) };
    let id = world.submit(&quick);
    let [fetched] = world.fetch(&["mail"], 5)[..] else { panic!("one job") };
    for mut world in world.reopened() {
        assert_eq!(world.state(id), Some(JobState::Running));
        assert_eq!(world.core.attempt_of(Key([1; 16])), Some(fetched.attempt));
        assert_eq!(world.core.counts().fetched, 1);
        // The worker asks for more time, and its lease ends only then.
        let extend =
            Input::Extend { caller: CallerId(0), attempt: fetched.attempt, span_ns: 90 * SECOND };
        assert_eq!(world.answer(extend.clone()), Answer::Extended(true));
        world.pass(80 * SECOND);
        assert_eq!(world.state(id), Some(JobState::Running));
        world.pass(11 * SECOND);
        assert_eq!(world.state(id), Some(JobState::Scheduled));
        assert_eq!(world.notices().last().unwrap().0, OutcomeKind::TimedOut);
        assert_eq!(world.core.counts().fetched, 0);
        // It comes too late.
        assert_eq!(world.answer(extend), Answer::Extended(false));
        world.complete(fetched, Outcome::Succeeded);
        assert_eq!(world.out.stale, 1);
        world.pass(10 * SECOND);
        let again = world.fetch(&["mail"], 5);
        assert_eq!(again[0].number, 2);
        assert!(again[0].attempt.token > fetched.attempt.token);
        world.complete(again[0], Outcome::Succeeded);
        assert_eq!(world.state(id), None);
    }
}

/// The process ended before the event of a fetch was durable; the worker has its attempt all the same.
#[test]
fn an_end_of_a_fetch_that_was_lost_does_not_end_another() {
    let mut world = served_elsewhere();
    let id = world.submit(&keyed(1));
    let lost = world.fetch(&["mail"], 1)[0];
    world.journal.events.pop();
    let mut world = world.restart(0);
    world.core.serve("mail", false);
    let [again] = world.fetch(&["mail"], 5)[..] else { panic!("it waits again") };
    assert_eq!(again.attempt.job, id);
    world.complete(lost, Outcome::Succeeded);
    assert_eq!((world.out.stale, world.state(id)), (1, Some(JobState::Running)));
    world.complete(again, Outcome::Succeeded);
    assert_eq!(world.state(id), None);
}

/// A job that a worker had before is lost to another worker, and goes to an executor.
#[test]
fn an_end_of_a_fetch_that_was_lost_does_not_end_an_attempt_of_an_executor() {
    let mut world = served_elsewhere();
    let id = world.submit(&keyed(1));
    let mut world = world.restart(0);
    let first = world.fetch(&["mail"], 1)[0];
    world.complete(first, Outcome::NotBegun);
    let lost = world.fetch(&["mail"], 1)[0];
    world.journal.events.pop();
    let mut world = world.restart(0);
    // Each opening has a higher epoch.
    world.core.token_floor += 1 << 16;
    let [again] = world.pass(TICK_NS)[..] else { panic!("it waits again") };
    assert_eq!(again.attempt.job, id);
    world.complete(lost, Outcome::Succeeded);
    assert_eq!((world.out.stale, world.state(id)), (1, Some(JobState::Running)));
}

#[test]
fn a_key_is_free_again_once_its_job_has_ended() {
    let mut world = served_elsewhere();
    let first = world.submit(&keyed(1));
    let other = world.submit(&keyed(2));
    for mut world in world.reopened() {
        let again = world.answer(Input::Submit { caller: CallerId(0), job: &keyed(1) });
        assert_eq!(again, Answer::Refused(Refusal::KeyHeld(first)));
        assert_eq!(world.core.job_of(Key([2; 16])), Some(other));
        assert_eq!(world.core.key_of(other), Some(Key([2; 16])));
        world.answer(Input::Cancel { caller: CallerId(0), job: first });
        assert_eq!(world.core.job_of(Key([1; 16])), None);
        let second = world.submit(&keyed(1));
        let fetched = world.fetch(&["mail"], 5);
        assert_eq!(ids(&fetched), [other, second]);
        let attempts: Vec<Attempt> = fetched.iter().map(|dispatch| dispatch.attempt).collect();
        world.step(Input::Succeeded { attempts: &[&attempts[..], &attempts[..1]].concat() });
        assert_eq!(world.out.stale, 1, "an end that is told twice counts once");
        assert_eq!(world.core.counts().pending, 0);
        let [third] = [world.submit(&keyed(1))];
        assert!(third > second);
    }
}

#[test]
fn a_paused_queue_gives_nothing_until_it_goes_on_also_after_a_restart() {
    let mut world = World::new();
    let id = world.submit(&in_queue("mail"));
    assert_eq!(world.pause("mail", true), Answer::QueueSet(true));
    assert_eq!(world.pause("mail", true), Answer::QueueSet(false));
    let mut cleaned = world.reopened().into_iter().next().unwrap();
    // The event that tells of the pause is written again where the beginning is cut off.
    let (core, journal) = (&mut cleaned.core, &mut cleaned.journal);
    for number in 0..2 {
        let event = journal.events[number].clone();
        let found = core.clean(cleaned.now, Lsn(number as u64), &event, journal).unwrap();
        assert!(matches!(found, Cleaned::Moved { .. }), "{found:?}");
    }
    core.write_base(cleaned.now, journal).unwrap();
    journal.events[..2].fill(vec![4, 1, 1]); // the end of a job that is not there
    for mut world in cleaned.reopened() {
        assert_eq!(ids(&world.pass(SECOND)), []);
        assert!(!world.core.wake().now);
        let view = world.core.queues().into_iter().find(|queue| &*queue.name == "mail").unwrap();
        assert_eq!((view.ready, view.paused), (1, true));
        assert_eq!(world.pause("mail", false), Answer::QueueSet(true));
        assert_eq!(ids(&world.pass(SECOND)), [id]);
    }
}

#[test]
fn a_payload_that_was_rewritten_is_the_jobs_from_then_on() {
    let mut world = served_elsewhere();
    let id = world.submit(&NewJob { payload: (&b"old"[..]).into(), ..keyed(1) });
    let fetched = world.fetch(&["mail"], 1)[0];
    world.complete(fetched, Outcome::Retryable("no route"));
    world.step(Input::Rewrite { job: id, payload: b"newer" });
    for mut world in world.reopened() {
        world.pass(3600 * SECOND);
        let again = world.fetch(&["mail"], 1)[0];
        assert_eq!(again.number, 2);
        let (body, offset) = world.core.body_of(id).unwrap();
        assert_eq!((again.body, again.payload_offset), (body, offset));
        let event = &world.journal.events[body.0 as usize];
        assert_eq!(&event[usize::from(offset)..], b"newer");
        assert_eq!(world.core.key_of(id), Some(Key([1; 16])));
        world.complete(again, Outcome::Succeeded);
        world.step(Input::Rewrite { job: id, payload: b"too late" });
        assert_eq!(world.state(id), None);
    }
}

#[test]
fn whoever_watches_is_told_whose_fetched_attempts_have_ended_in_whatever_way() {
    let mut world = served_elsewhere();
    let ids_of_ends = |world: &mut World| world.core.fetch_ends().collect::<Vec<_>>();
    let unwatched = world.submit(&keyed(1));
    let fetched = world.fetch(&["mail"], 1)[0];
    world.complete(fetched, Outcome::Succeeded);
    assert_eq!(ids_of_ends(&mut world), [], "nobody had asked: {unwatched}");
    world.core.watch_fetches();
    let short = NewJob { timeout_ms: 1000, attempts_max: 1, ..in_queue("mail") };
    let jobs = [&keyed(2), &keyed(3), &keyed(4), &short].map(|job| world.submit(job));
    let here = world.submit(&in_queue("here"));
    let fetched = world.fetch(&["mail"], 10);
    assert_eq!(ids(&fetched), jobs);
    let [executed] = world.pass(TICK_NS)[..] else { panic!("one job") };
    world.complete(executed, Outcome::Succeeded);
    assert_eq!(ids_of_ends(&mut world), [], "{here} was never fetched");
    world.complete(fetched[1], Outcome::Succeeded);
    world.complete(fetched[0], Outcome::Retryable("not now"));
    world.answer(Input::Cancel { caller: CallerId(0), job: jobs[2] });
    assert_eq!(ids_of_ends(&mut world), [jobs[1], jobs[0], jobs[2]]);
    // A second end of the same attempt is none.
    world.complete(fetched[1], Outcome::Succeeded);
    world.pass(2 * SECOND);
    assert_eq!(ids_of_ends(&mut world), [jobs[3]], "its time is over");
}
