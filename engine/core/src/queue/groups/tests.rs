//! Turns of groups without a scheduler around them.

use super::*;
use alloc::{collections::VecDeque, format};
use proptest::prelude::*;

const NOW: i64 = 1_000_000_000;
const QUEUE: QueueId = QueueId(0);

/// One queue, and which group and priority each slot has.
struct World {
    links: Links,
    queues: Queues,
    jobs: Vec<(Option<u32>, u8)>,
    running: Vec<u32>,
}

impl World {
    fn new() -> Self {
        let mut queues = Queues::new(true);
        queues.intern("shared").unwrap();
        Self { links: Links::new(), queues, jobs: Vec::new(), running: Vec::new() }
    }

    fn limit(&mut self, group: u32, limits: QueueLimits) {
        self.queues.limit_group(QUEUE, &name(group), Some(limits), (Lsn(1), 1), NOW);
    }

    fn add(&mut self, group: Option<u32>, priority: u8) -> u32 {
        let slot = self.jobs.len() as u32;
        self.jobs.push((group, priority));
        self.links.grow_to(slot);
        self.queues.job_added(QUEUE);
        match group {
            Some(group) => {
                let id = self.queues.intern_group(QUEUE, &name(group));
                self.queues.group_job_added(id);
                self.queues.push_grouped(&mut self.links, Slot(slot), id, priority);
            }
            None => self.queues.push(&mut self.links, Slot(slot), QUEUE, priority),
        }
        slot
    }

    fn id(&self, group: u32) -> GroupId {
        self.queues.groups.find(QUEUE, &name(group)).unwrap()
    }

    fn leave(&mut self, slot: u32) {
        match self.jobs[slot as usize].0 {
            Some(group) => {
                let id = self.id(group);
                self.queues.remove_grouped(&mut self.links, Slot(slot), id);
            }
            None => self.queues.remove(&mut self.links, Slot(slot), QUEUE),
        }
    }

    fn cancel(&mut self, slot: u32) {
        self.leave(slot);
        self.queues.job_ended(QUEUE);
        if let Some(group) = self.jobs[slot as usize].0 {
            let id = self.id(group);
            self.queues.group_job_ended(id);
        }
    }

    /// Lets `max` attempts begin at the most.
    fn begin(&mut self, max: usize, by_fetch: bool) -> Vec<u32> {
        let mut chosen = Vec::new();
        match by_fetch {
            true => self.queues.first_many(&self.links, QUEUE, max, NOW, &mut chosen),
            false => self.queues.next_many(&self.links, max, NOW, &mut chosen),
        }
        let chosen: Vec<u32> = chosen.into_iter().map(|slot| slot.0).collect();
        for slot in &chosen {
            self.leave(*slot);
            self.queues.attempt_began(QUEUE, NOW);
            if let Some(group) = self.jobs[*slot as usize].0 {
                let id = self.id(group);
                self.queues.group_attempt_began(id, NOW);
            }
        }
        for slot in &chosen {
            let (group, priority) = self.jobs[*slot as usize];
            let group = group.map(|group| self.id(group));
            self.queues.use_turn(QUEUE, group, priority);
        }
        self.running.extend(&chosen);
        chosen
    }

    fn end(&mut self, slot: u32) {
        self.running.retain(|other| *other != slot);
        self.queues.attempt_ended(QUEUE);
        self.queues.job_ended(QUEUE);
        if let Some(group) = self.jobs[slot as usize].0 {
            let id = self.id(group);
            self.queues.group_attempt_ended(id);
            self.queues.group_job_ended(id);
        }
    }
}

fn name(group: u32) -> alloc::string::String {
    format!("tenant {group}")
}

fn weighing(weight: u8) -> QueueLimits {
    QueueLimits { weight, ..QueueLimits::default() }
}

fn at_once(concurrency: u32) -> QueueLimits {
    QueueLimits { concurrency: Some(concurrency), ..QueueLimits::default() }
}

#[test]
fn groups_take_turns_and_within_a_group_the_oldest_goes_first() {
    let mut world = World::new();
    for (group, jobs) in [(Some(1), 4), (Some(2), 1), (None, 2)] {
        for _ in 0..jobs {
            world.add(group, 5);
        }
    }
    assert_eq!(world.begin(2, false), [0, 4]);
    assert_eq!(world.begin(9, true), [5, 1, 6, 2, 3]);
    assert!(!world.queues.is_any_open());
    for slot in world.running.clone() {
        world.end(slot);
    }
    assert!(!world.queues.groups.is_any(), "an idle group is forgotten");
}

#[test]
fn a_higher_priority_of_any_group_goes_first() {
    let mut world = World::new();
    let low = world.add(Some(1), 3);
    let [first, second] = [world.add(Some(2), 7), world.add(Some(2), 7)];
    let plain = world.add(None, 7);
    assert_eq!(world.begin(9, false), [first, plain, second, low]);
}

#[test]
fn a_group_at_its_concurrency_is_passed_over_until_an_attempt_ends() {
    let mut world = World::new();
    world.limit(1, at_once(1));
    let ones = [world.add(Some(1), 5), world.add(Some(1), 5), world.add(Some(1), 9)];
    let twos = [world.add(Some(2), 5), world.add(Some(2), 5)];
    assert_eq!(world.begin(9, false), [ones[2], twos[0], twos[1]]);
    assert!(!world.queues.is_any_open(), "what is closed is nothing to do");
    assert_eq!(world.queues.get(QUEUE).fetchable(), 0);
    world.end(ones[2]);
    assert_eq!(world.begin(9, true), [ones[0]]);
    // Paused and let go on, the queue knows what it may give.
    world.queues.pause(QUEUE, true);
    world.end(ones[0]);
    assert!(!world.queues.is_any_open());
    world.queues.pause(QUEUE, false);
    assert_eq!(world.begin(9, false), [ones[1]]);
}

/// Starts of each of `groups` while all of them always have jobs.
fn shares(weights: &[u8], starts: usize, at_a_time: usize) -> Vec<usize> {
    let mut world = World::new();
    for (group, weight) in (0..).zip(weights) {
        world.limit(group, weighing(*weight));
        for _ in 0..starts {
            world.add(Some(group), 5);
        }
    }
    let mut counts = alloc::vec![0; weights.len()];
    let mut begun = 0;
    while begun < starts {
        for slot in world.begin(at_a_time.min(starts - begun), begun % 2 == 0) {
            counts[world.jobs[slot as usize].0.unwrap() as usize] += 1;
            begun += 1;
        }
    }
    counts
}

#[test]
fn weighted_shares_are_within_a_twentieth_however_many_are_asked_for() {
    let weights = [1, 2, 5, 12];
    for at_a_time in [1, 3, 64, 1000] {
        let starts = 2000;
        let counts = shares(&weights, starts, at_a_time);
        for (count, weight) in counts.iter().zip(weights) {
            let due = starts * usize::from(weight) / 20;
            assert!(count.abs_diff(due) * 20 <= due, "{counts:?}, {at_a_time} at a time");
        }
    }
}

/// A naive scheduler of one queue: a ring of lists, one start at a time.
#[derive(Default)]
struct Plain {
    /// By priority: groups in the order of their turns, each with its jobs.
    rings: [VecDeque<(Option<u32>, VecDeque<u32>)>; LINES],
    /// What the first of each may still give.
    credit: [u32; LINES],
    /// Jobs of groups that are at their limit, in the order of their coming.
    under_way: BTreeMap<u32, u32>,
    held: BTreeMap<(u32, usize), VecDeque<u32>>,
}

impl Plain {
    const LIMIT: [Option<u32>; 5] = [None, None, Some(1), Some(3), None];
    const WEIGHT: [u32; 5] = [1, 3, 1, 2, 1];

    fn weight(group: Option<u32>) -> u32 {
        group.map_or(1, |group| Self::WEIGHT[group as usize])
    }

    fn is_held(&self, group: u32) -> bool {
        let under_way = self.under_way.get(&group).copied().unwrap_or(0);
        Self::LIMIT[group as usize].is_some_and(|max| under_way >= max)
    }

    fn add(&mut self, slot: u32, group: Option<u32>, priority: usize) {
        if let Some(group) = group.filter(|group| self.is_held(*group)) {
            self.held.entry((group, priority)).or_default().push_back(slot);
            return;
        }
        let ring = &mut self.rings[priority];
        match ring.iter_mut().find(|(of, _)| *of == group) {
            Some((_, jobs)) => jobs.push_back(slot),
            None => ring.push_back((group, [slot].into())),
        }
    }

    fn cancel(&mut self, slot: u32) {
        for (ring, credit) in self.rings.iter_mut().zip(&mut self.credit) {
            let first = ring.front().map(|(group, _)| *group);
            ring.iter_mut().for_each(|(_, jobs)| jobs.retain(|other| *other != slot));
            ring.retain(|(_, jobs)| !jobs.is_empty());
            if ring.front().map(|(group, _)| *group) != first {
                *credit = 0;
            }
        }
        self.held.values_mut().for_each(|jobs| jobs.retain(|other| *other != slot));
    }

    fn begin(&mut self) -> Option<u32> {
        let priority = (0..LINES).rev().find(|priority| !self.rings[*priority].is_empty())?;
        let (group, jobs) = self.rings[priority].front_mut().unwrap();
        let group = *group;
        let slot = jobs.pop_front().unwrap();
        let is_empty = jobs.is_empty();
        let credit = &mut self.credit[priority];
        let left = if *credit == 0 { Self::weight(group) } else { *credit } - 1;
        *credit = left;
        if is_empty {
            self.rings[priority].pop_front();
            *credit = 0;
        } else if left == 0 {
            self.rings[priority].rotate_left(1);
        }
        if let Some(group) = group {
            *self.under_way.entry(group).or_default() += 1;
            if self.is_held(group) {
                for (priority, ring) in self.rings.iter_mut().enumerate() {
                    let place = ring.iter().position(|(of, _)| *of == Some(group));
                    let Some(place) = place else { continue };
                    if place == 0 {
                        self.credit[priority] = 0;
                    }
                    let (_, jobs) = ring.remove(place).unwrap();
                    self.held.insert((group, priority), jobs);
                }
            }
        }
        Some(slot)
    }

    fn end(&mut self, group: Option<u32>) {
        let Some(group) = group else { return };
        let was_held = self.is_held(group);
        *self.under_way.get_mut(&group).unwrap() -= 1;
        if was_held && !self.is_held(group) {
            for (priority, ring) in self.rings.iter_mut().enumerate() {
                let jobs = self.held.remove(&(group, priority)).unwrap_or_default();
                if !jobs.is_empty() {
                    ring.push_back((Some(group), jobs));
                }
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Add(Option<u32>, u8),
    Begin(usize, bool),
    Cancel(usize),
    End(usize),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (prop::option::of(0..5_u32), 4..7_u8).prop_map(|(group, p)| Step::Add(group, p)),
        3 => (1..12_usize, any::<bool>()).prop_map(|(max, fetch)| Step::Begin(max, fetch)),
        1 => any::<usize>().prop_map(Step::Cancel),
        3 => any::<usize>().prop_map(Step::End),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    /// However many attempts are asked for at a time, and by whom, they begin in the order of a plain
    /// ring of lists that gives one at a time.
    #[test]
    fn turns_follow_a_plain_ring(steps in prop::collection::vec(any_step(), 1..200)) {
        let mut world = World::new();
        for group in 0..5 {
            let limits = QueueLimits {
                concurrency: Plain::LIMIT[group as usize],
                weight: Plain::WEIGHT[group as usize] as u8,
                ..QueueLimits::default()
            };
            world.limit(group, limits);
        }
        let mut plain = Plain::default();
        let mut waiting: Vec<u32> = Vec::new();
        for step in steps {
            match step {
                Step::Add(group, priority) => {
                    let slot = world.add(group, priority);
                    plain.add(slot, group, priority.into());
                    waiting.push(slot);
                }
                Step::Begin(max, fetch) => {
                    let begun = world.begin(max, fetch);
                    let expected: Vec<u32> = (0..max).map_while(|_| plain.begin()).collect();
                    // Executors get the rest with the next call, if a priority was cut.
                    prop_assert_eq!(&begun, &expected);
                    waiting.retain(|slot| !begun.contains(slot));
                }
                Step::Cancel(pick) if !waiting.is_empty() => {
                    let slot = waiting.swap_remove(pick % waiting.len());
                    world.cancel(slot);
                    plain.cancel(slot);
                }
                Step::End(pick) if !world.running.is_empty() => {
                    let slot = world.running[pick % world.running.len()];
                    world.end(slot);
                    plain.end(world.jobs[slot as usize].0);
                }
                Step::Cancel(_) | Step::End(_) => {}
            }
            let open: usize = plain.rings.iter().flatten().map(|(_, jobs)| jobs.len()).sum();
            prop_assert_eq!(world.queues.is_any_open(), open > 0);
            prop_assert_eq!(world.queues.get(QUEUE).fetchable() as usize, open);
            prop_assert_eq!(world.queues.len() as usize, waiting.len());
        }
    }
}
