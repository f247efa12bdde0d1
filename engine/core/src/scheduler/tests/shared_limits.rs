//! Limits that two shards share, by way of plain cells: whatever becomes of a job, what its shard has
//! taken of them is given back exactly once.

extern crate std;

use super::{
    changes::{change_many, filter_number},
    fetch::in_queue,
    *,
};
use crate::{
    Ask, Holding, Permits, QueueLimits, Rate, SharedQueue, Taken, Wait,
    scheduler::{Filter, WalkBudget, WalkPlace},
};
use alloc::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};
use std::sync::Mutex;

/// What shards share.
#[derive(Clone, Debug, Default)]
struct Hall(Arc<Mutex<BTreeMap<u16, Cell>>>);

/// One queue.
#[derive(Debug, Default)]
struct Cell {
    taken: i64,
    waiting: VecDeque<usize>,
    given: BTreeSet<usize>,
    news: BTreeSet<usize>,
    jobs: i64,
}

#[derive(Debug)]
struct OfShard {
    hall: Hall,
    shard: usize,
}

impl Cell {
    fn give(&mut self, max: Option<u32>) {
        while self.taken < max.map_or(i64::MAX, i64::from)
            && let Some(shard) = self.waiting.pop_front()
        {
            self.taken += 1;
            self.given.insert(shard);
            self.news.insert(shard);
        }
    }
}

const NAMES: [&str; 3] = ["default", "mail", "other"];

impl OfShard {
    fn cell<R>(&self, queue: SharedQueue, change: impl FnOnce(&mut Cell) -> R) -> R {
        change(self.hall.0.lock().unwrap().entry(queue.0).or_default())
    }
}

impl Permits for OfShard {
    fn queue(&mut self, name: &str) -> Option<SharedQueue> {
        NAMES.iter().position(|of| *of == name).map(|number| SharedQueue(number as u16))
    }

    fn enter(&mut self, queue: SharedQueue, holding: Holding) {
        self.cell(queue, |cell| {
            cell.taken += i64::from(holding.under_way);
            cell.jobs += i64::from(holding.waiting);
        });
    }

    fn leave(&mut self, queue: SharedQueue, holding: Holding) {
        self.cell(queue, |cell| {
            cell.taken -= i64::from(holding.under_way);
            cell.jobs -= i64::from(holding.waiting);
            cell.give(holding.concurrency);
        });
    }

    fn take(&mut self, queue: SharedQueue, ask: Ask) -> Taken {
        let shard = self.shard;
        self.cell(queue, |cell| {
            let max = ask.concurrency.map_or(i64::MAX, i64::from);
            // It may ask on old news, and stand in the line still.
            cell.waiting.retain(|waiting| *waiting != shard);
            let mut given = u32::from(cell.given.remove(&shard));
            if given > 0 && cell.taken > max {
                cell.taken -= 1;
                given = 0;
            }
            let free = (max - cell.taken - cell.waiting.len() as i64).max(0);
            let free = free.min(i64::from(ask.want - given)) as u32;
            cell.taken += i64::from(free);
            let granted = given + free;
            let waits = granted < ask.want;
            if waits {
                cell.waiting.push_back(shard);
            }
            let wait = if waits { Wait::Place } else { Wait::No };
            Taken { granted, wait, full_at_ns: 0 }
        })
    }

    fn release(&mut self, queue: SharedQueue, concurrency: Option<u32>) {
        self.cell(queue, |cell| {
            cell.taken -= 1;
            cell.give(concurrency);
        });
    }

    fn withdraw(&mut self, queue: SharedQueue, wait: Wait, concurrency: Option<u32>) {
        assert_eq!(wait, Wait::Place);
        let shard = self.shard;
        self.cell(queue, |cell| {
            cell.waiting.retain(|waiting| *waiting != shard);
            cell.taken -= i64::from(cell.given.remove(&shard));
            cell.give(concurrency);
        });
    }

    fn changed(&mut self, queue: SharedQueue, concurrency: Option<u32>, _: Option<i64>) {
        self.cell(queue, |cell| cell.give(concurrency));
    }

    fn news(&mut self, visit: &mut dyn FnMut(SharedQueue)) {
        for queue in (0..NAMES.len() as u16).map(SharedQueue) {
            if self.cell(queue, |cell| cell.news.remove(&self.shard)) {
                visit(queue);
            }
        }
    }

    fn admit(&mut self, queue: SharedQueue, max: u32) -> bool {
        self.cell(queue, |cell| {
            let is_in = cell.jobs < i64::from(max);
            cell.jobs += i64::from(is_in);
            is_in
        })
    }

    fn begin_waiting(&mut self, queue: SharedQueue) {
        self.cell(queue, |cell| cell.jobs += 1);
    }

    fn end_waiting(&mut self, queue: SharedQueue) {
        self.cell(queue, |cell| cell.jobs -= 1);
    }
}

const NONE: QueueLimits = QueueLimits { concurrency: None, rate: None, weight: 1, length: None };

fn bounds(concurrency: u32, length: u32) -> QueueLimits {
    QueueLimits { concurrency: Some(concurrency), length: Some(length), ..NONE }
}

/// Two shards, and what they share.
struct Pair {
    hall: Hall,
    shards: [World; 2],
}

impl Pair {
    /// The same limits in both.
    fn new(limits: &[(&'static str, QueueLimits)]) -> Self {
        let mut pair = Self { hall: Hall::default(), shards: [World::new(), World::new()] };
        for (shard, world) in pair.shards.iter_mut().enumerate() {
            world.core.share(Box::new(OfShard { hall: pair.hall.clone(), shard }));
            world.core.queues.go_live(world.now.mono.signed_ns());
            for (name, limits) in limits {
                let input = Input::LimitQueue { caller: CallerId(0), name, limits };
                assert_eq!(world.answer(input), Answer::QueueSet(true));
            }
        }
        pair
    }

    /// Both processes end at once, and others go on from the journals.
    fn restart(self) -> Self {
        let hall = Hall::default();
        let mut shards = self.shards.map(|world| {
            let mut next = World::with(world.journal, 7 * SECOND, world.now.wall.0 + SECOND);
            for (number, event) in next.journal.events.iter().enumerate() {
                next.core.replay(Lsn(number as u64), event).unwrap();
            }
            next.core.replayed().unwrap();
            next
        });
        for (shard, next) in shards.iter_mut().enumerate() {
            next.core.share(Box::new(OfShard { hall: hall.clone(), shard }));
            next.core.recovered(next.now, 2, &mut next.journal, &mut next.out);
        }
        Self { hall, shards }
    }

    /// The end of a pass: all that is taken is under way or on its way to a shard, and all that is
    /// counted as waiting waits.
    fn check(&mut self) {
        self.shards.iter_mut().for_each(|world| world.core.pass_over());
        for (number, cell) in &*self.hall.0.lock().unwrap() {
            let (mut running, mut waiting) = (0, 0);
            for queue in self.shards.iter().flat_map(|world| world.core.queues()) {
                if *queue.name == *NAMES[usize::from(*number)] {
                    running += queue.running as i64;
                    waiting += queue.waiting as i64;
                }
            }
            let on_its_way = cell.given.len() as i64;
            assert_eq!((cell.taken - on_its_way, cell.jobs), (running, waiting), "{cell:?}");
        }
        for world in &self.shards {
            world.core.census().unwrap();
        }
    }

    fn given(&self) -> usize {
        self.hall.0.lock().unwrap().values().map(|cell| cell.given.len()).sum()
    }

    fn change(&mut self, shard: usize, job: JobId, change: &Change) -> Answer {
        self.shards[shard].answer(Input::Change { caller: CallerId(0), job, change })
    }
}

/// The name of each way out of a running attempt, and what takes it.
type WayOut = (&'static str, fn(&mut World, Dispatch));

#[test]
fn each_end_of_an_attempt_gives_its_place_to_the_other_shard() {
    let ways: [WayOut; 14] = [
        ("succeeded", |world, one| world.complete(one, Outcome::Succeeded)),
        ("succeeded with others", |world, one| {
            world.step(Input::Succeeded { attempts: &[one.attempt, one.attempt] });
        }),
        ("tried again", |world, one| world.complete(one, Outcome::Retryable("later"))),
        ("given back", |world, one| world.complete(one, Outcome::NotBegun)),
        ("snoozed", |world, one| world.complete(one, Outcome::Postponed(SECOND))),
        ("dead and kept", |world, one| world.complete(one, Outcome::Permanent("no"))),
        ("dead and not kept", |world, one| {
            world.core.config.dead.jobs_max = 0;
            world.complete(one, Outcome::Permanent("no"));
        }),
        ("panicked", |world, one| world.complete(one, Outcome::Panicked("boom"))),
        ("cancelled", |world, one| {
            world.answer(Input::Cancel { caller: CallerId(0), job: one.attempt.job });
        }),
        ("cancelled by a change", |world, one| {
            let (caller, job) = (CallerId(0), one.attempt.job);
            world.answer(Input::Change { caller, job, change: &Change::Cancel });
        }),
        ("cancelled with others", |world, _| {
            let changed = change_many(world, &Filter::default(), &Change::Cancel, 9);
            assert_eq!(changed, (2, 0));
        }),
        ("timed out", |world, one| {
            world.now.mono.0 += 10 * SECOND;
            world.now.wall.0 += 10 * SECOND;
            world.step(Input::LeaseEnd { attempt: one.attempt, began: Began::At(MonoTime(0)) });
        }),
        ("paused by a guard", |world, one| {
            assert!(world.core.guard_queue("mail", 1));
            world.complete(one, Outcome::Retryable("later"));
            assert!(matches!(*world.out.alerts, [Alert::QueuePaused { .. }]));
        }),
        ("gone with its shard", |world, _| {
            world.core.begin_no_more();
            world.core.leave();
        }),
    ];
    for (name, way_out) in ways {
        let mut pair = Pair::new(&[("mail", bounds(1, 9))]);
        let hour = Backoff { base_ms: 3_600_000, max_ms: 3_600_000 };
        let slow = NewJob { timeout_ms: 3000, backoff: hour, ..in_queue("mail") };
        for shard in [0, 0, 1] {
            pair.shards[shard].submit(&slow);
        }
        let first = pair.shards[0].pass(0);
        assert_eq!((first.len(), pair.shards[1].pass(0).len()), (1, 0), "{name}");
        pair.check();
        way_out(&mut pair.shards[0], first[0]);
        if name == "gone with its shard" {
            let closed = core::mem::replace(&mut pair.shards[0], World::new());
            drop(closed);
        }
        pair.check();
        // The shard itself stands in the line too, if it has another job; then it may come first.
        let begun: usize = (0..4).map(|turn| pair.shards[turn % 2].time().len()).sum();
        assert_eq!(begun, 1, "{name}: {:?}", pair.hall);
        pair.check();
    }
}

#[test]
fn a_fetched_attempt_counts_until_its_lease_ends_also_over_a_crash() {
    let mut pair = Pair::new(&[("mail", bounds(2, 9))]);
    for shard in [0, 0, 1] {
        pair.shards[shard].submit(&NewJob { timeout_ms: 3000, ..in_queue("mail") });
    }
    let fetched = pair.shards[0].fetch(&["mail"], 1);
    assert_eq!((fetched.len(), pair.shards[0].pass(0).len()), (1, 1));
    assert_eq!(pair.shards[1].fetch(&["mail"], 1), []);
    pair.check();
    // The executor's attempt is lost with the process, and its place with it; the worker's is not.
    let mut pair = pair.restart();
    pair.check();
    assert_eq!(pair.shards[1].pass(TICK_NS).len(), 1);
    assert_eq!(pair.shards[0].pass(TICK_NS).len(), 0);
    pair.check();
    // Its lease ends: one place more, for the job of the other that waits.
    let begun = pair.shards[0].pass(10 * SECOND);
    pair.check();
    assert_eq!(begun.len() + pair.shards[0].time().len(), 1);
    pair.check();
}

#[test]
fn a_queue_that_a_guard_pauses_gives_on_what_it_was_given() {
    let mut pair = Pair::new(&[("mail", bounds(2, 9))]);
    for shard in [0, 0, 0, 1] {
        pair.shards[shard].submit(&in_queue("mail"));
    }
    assert!(pair.shards[0].core.guard_queue("mail", 1));
    let begun = pair.shards[0].pass(0);
    assert_eq!((begun.len(), pair.shards[1].pass(0).len()), (2, 0));
    pair.check();
    // Both stand in line for a place: the first is the one whose attempts end. Its own failure pauses
    // its part of the queue, and the place that it has just been given goes to the other.
    pair.shards[0].complete(begun[0], Outcome::Permanent("no"));
    assert!(matches!(*pair.shards[0].out.alerts, [Alert::QueuePaused { .. }]));
    pair.check();
    assert_eq!(pair.shards[1].time().len(), 1);
    pair.check();
    // It stands in no line meanwhile, and asks anew once it goes on.
    pair.shards[0].complete(begun[1], Outcome::Succeeded);
    pair.check();
    assert_eq!((pair.given(), pair.shards[0].time().len()), (0, 0));
    let go_on = Input::PauseQueue { caller: CallerId(0), name: "mail", paused: false };
    pair.shards[0].answer(go_on);
    assert_eq!(pair.shards[0].time().len(), 1);
    pair.check();
}

#[test]
fn a_length_counts_jobs_that_changes_bring_once() {
    let mut pair = Pair::new(&[("mail", bounds(9, 4)), ("other", bounds(1, 3))]);
    let mut jobs = Vec::new();
    for shard in [0, 0, 0, 1] {
        jobs.push(pair.shards[shard].submit(&NewJob { due: Due::After(9), ..in_queue("mail") }));
    }
    pair.check();
    // One alone, and many: as many as all shards together let.
    let to_other = Change::Queue("other".into());
    let done = Answer::Changed(Changed::Done(JobState::Scheduled));
    assert_eq!(pair.change(1, jobs[3], &to_other), done);
    assert_eq!(pair.change(1, jobs[3], &to_other), done, "it is there already");
    pair.check();
    let all = Filter::default();
    assert_eq!(change_many(&mut pair.shards[0], &all, &to_other, 9), (2, 1));
    pair.check();
    // Killed, they make room; those that come back take it again, once each.
    assert_eq!(change_many(&mut pair.shards[0], &all, &Change::Kill, 2), (3, 0));
    pair.check();
    assert_eq!(
        pair.change(0, jobs[0], &Change::Requeue),
        Answer::Changed(Changed::Done(JobState::Dead))
    );
    pair.check();
    let blocker = pair.shards[1].submit(&NewJob { due: Due::After(SECOND), ..in_queue("other") });
    let dead = filter_number(1);
    assert_eq!(change_many(&mut pair.shards[0], &dead, &Change::Requeue, 9), (1, 1));
    pair.check();
    assert_eq!(pair.change(1, blocker, &Change::Cancel), done);
    assert_eq!(change_many(&mut pair.shards[0], &dead, &Change::Discard, 9), (1, 0));
    pair.check();
    // Also an expiry, and what is counted after a crash.
    let expires = Some(Expiry::After(SECOND));
    let expires = Some(JobOptions { expires, ..JobOptions::default() }.into());
    pair.shards[1].submit(&NewJob { options: expires, due: Due::After(0), ..in_queue("mail") });
    pair.check();
    pair.shards[1].core.config.running_max = 0;
    pair.shards[1].pass(2 * SECOND);
    assert_eq!(pair.shards[1].core.counts().expired, 1);
    pair.check();
    pair.restart().check();
}

#[test]
fn a_change_without_room_in_the_journal_keeps_no_place() {
    let mut pair = Pair::new(&[("mail", bounds(9, 4)), ("other", bounds(1, 3))]);
    let id = pair.shards[0].submit(&NewJob { due: Due::After(9), ..in_queue("mail") });
    let world = &mut pair.shards[0];
    world.journal.size_bytes = world.journal.used_bytes + 100;
    let to_other = Change::Queue("other".into());
    let refused = Answer::Refused(Refusal::NoSpace);
    assert_eq!(pair.change(0, id, &to_other), refused);
    let (filter, from) = (Filter::default(), WalkPlace(0));
    let budget = WalkBudget { places: 9, jobs: 9 };
    let (caller, change) = (CallerId(0), &to_other);
    let many = Input::ChangeMany { caller, filter: &filter, change, from, budget };
    assert_eq!(pair.shards[0].answer(many), refused);
    let new = in_queue("other");
    let answer = pair.shards[0].answer(Input::Submit { caller, job: &new });
    assert_eq!(answer, refused);
    pair.check();
}

#[test]
fn what_a_rate_has_spent_is_not_written_once_the_rate_is_gone() {
    let rate = Rate { jobs: 10, period_ms: 1000, burst: 5 };
    let mut pair = Pair::new(&[("mail", QueueLimits { rate: Some(rate), ..NONE })]);
    let world = &mut pair.shards[0];
    world.submit(&in_queue("mail"));
    let mail = world.core.queue("mail").unwrap();
    assert!(world.core.is_fetchable(world.now, &[mail]));
    // Whoever would have fetched it is gone.
    world.core.pass_over();
    world.answer(Input::LimitQueue { caller: CallerId(0), name: "mail", limits: &NONE });
    let before = world.journal.events.len();
    assert_eq!(world.time().len(), 1);
    assert_eq!(world.journal.events.len() - before, 1, "only that it begins");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happens to jobs of two shards, what they share tells what they have.
    #[test]
    fn what_shards_share_tells_what_they_have(
        ops in prop::collection::vec((0..2_usize, any_op()), 1..120),
        concurrency in 1..4_u32,
    ) {
        let mut pair = Pair::new(&[
            ("default", QueueLimits { concurrency: Some(concurrency), ..NONE }),
            ("other", bounds(1, 3)),
        ]);
        let mut running = [Vec::new(), Vec::new()];
        for (shard, op) in ops {
            run(&mut pair.shards[shard], &mut running[shard], op)?;
            pair.check();
            // A time of a pass that nobody else woke: the other has its news.
            let other = 1 - shard;
            running[other].extend(pair.shards[other].time());
            pair.check();
            let shared = pair.hall.0.lock().unwrap();
            prop_assert!(shared[&0].taken <= i64::from(concurrency) && shared[&2].taken <= 1);
        }
        let mut pair = pair.restart();
        pair.check();
    }
}
