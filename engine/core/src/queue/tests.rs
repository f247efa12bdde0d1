//! Lines, turns and limits of queues, without a scheduler around them.

use super::*;
use alloc::format;

const NOW: i64 = 1_000_000_000;

fn queues(served: bool, names: &[&str]) -> (Links, Queues) {
    let mut links = Links::new();
    links.grow_to(100);
    let mut queues = Queues::new(served);
    for name in names {
        queues.intern(name).unwrap();
    }
    (links, queues)
}

fn next(queues: &mut Queues, links: &Links, max: usize) -> Vec<u32> {
    let mut slots = Vec::new();
    queues.next_many(links, max, NOW, &mut slots);
    slots.into_iter().map(|slot| slot.0).collect()
}

#[test]
fn the_highest_priority_goes_first_and_the_oldest_among_equals() {
    let (mut links, mut queues) = queues(true, &["default"]);
    for (slot, priority) in [(0, 5), (1, 9), (2, 0), (3, 9), (4, 5)] {
        queues.push(&mut links, Slot(slot), QueueId(0), priority);
    }
    queues.remove(&mut links, Slot(3), QueueId(0));
    assert_eq!(next(&mut queues, &links, 3), [1, 0, 4]);
    assert_eq!(next(&mut queues, &links, 10), [1, 0, 4, 2]);
    for slot in [1, 0, 4, 2] {
        queues.remove(&mut links, Slot(slot), QueueId(0));
    }
    assert!(!queues.is_any_open());
    assert_eq!(next(&mut queues, &links, 10), [0; 0]);
}

#[test]
fn queues_take_turns_and_a_paused_one_gives_nothing() {
    let (mut links, mut queues) = queues(true, &["a", "b", "c"]);
    for slot in 0..30 {
        queues.push(&mut links, Slot(slot), QueueId((slot / 10) as u16), 5);
    }
    assert_eq!(next(&mut queues, &links, 3), [0, 10, 20]);
    queues.pause(QueueId(1), true);
    assert_eq!(next(&mut queues, &links, 4), [0, 1, 20, 21]);
    let mut fetched = Vec::new();
    queues.first_many(&links, QueueId(1), 5, NOW, &mut fetched);
    assert_eq!(fetched, []);
    queues.pause(QueueId(1), false);
    queues.serve(QueueId(1), false);
    assert_eq!(next(&mut queues, &links, 4), [0, 1, 20, 21]);
    queues.first_many(&links, QueueId(1), 2, NOW, &mut fetched);
    assert_eq!(fetched, [Slot(10), Slot(11)]);
    assert_eq!((queues.len(), queues.get(QueueId(1)).len()), (30, 10));
}

#[test]
fn thousands_of_queues_each_have_their_turn() {
    let (mut links, mut queues) = queues(true, &[]);
    for number in 0..QUEUES_MAX {
        assert_eq!(queues.intern(&format!("q{number}")), Some(QueueId(number as u16)));
    }
    assert_eq!(queues.intern("one too many"), None);
    for slot in 0..100 {
        queues.push(&mut links, Slot(slot), QueueId((slot * 40) as u16), 5);
    }
    let mut order = Vec::new();
    while order.len() < 100 {
        let slot = next(&mut queues, &links, 1)[0];
        queues.remove(&mut links, Slot(slot), QueueId((slot * 40) as u16));
        order.push(slot);
    }
    assert_eq!(order, (0..100).collect::<Vec<_>>());
}

/// What `next_many` gives, taken out of the lines.
fn take(
    queues: &mut Queues,
    links: &mut Links,
    max: usize,
    queue_of: impl Fn(u32) -> u16,
) -> Vec<u32> {
    let slots = next(queues, links, max);
    for slot in &slots {
        queues.remove(links, Slot(*slot), QueueId(queue_of(*slot)));
    }
    slots
}

fn weigh(queues: &mut Queues, number: u16, weight: u8) {
    let limits = QueueLimits { weight, ..QueueLimits::default() };
    queues.limit(QueueId(number), limits, 0, NOW);
}

#[test]
fn a_lower_priority_does_not_go_before_what_a_queue_has_beyond_its_share() {
    let (mut links, mut queues) = queues(true, &["a", "b", "c"]);
    queues.push(&mut links, Slot(0), QueueId(0), 5);
    queues.push(&mut links, Slot(1), QueueId(2), 4);
    for slot in 2..20 {
        queues.push(&mut links, Slot(slot), QueueId(1), 5);
    }
    let queue_of = |slot| [0, 2].get(slot as usize).copied().unwrap_or(1);
    let mut order = Vec::new();
    while queues.is_any_open() {
        let taken = take(&mut queues, &mut links, 10, queue_of);
        assert!(!taken.is_empty(), "an open queue has a job to give");
        order.extend(taken);
    }
    assert_eq!((order.len(), order.last()), (20, Some(&1)));
}

/// The same shares, whether one job is asked for at a time or many, and in any mixture.
#[test]
fn weights_hold_for_calls_of_any_size() {
    for sizes in [&[1][..], &[2], &[1, 3], &[1, 1, 4], &[5], &[7, 1], &[33]] {
        let (mut links, mut queues) = queues(true, &["a", "b", "c"]);
        for (number, weight) in [(0, 4), (1, 1), (2, 2)] {
            weigh(&mut queues, number, weight);
        }
        for slot in 0..99 {
            queues.push(&mut links, Slot(slot), QueueId((slot % 3) as u16), 5);
        }
        let mut given = [0_u32; 3];
        let mut total = 0;
        for size in sizes.iter().cycle().take_while(|size| {
            total += *size;
            total <= 56
        }) {
            for slot in take(&mut queues, &mut links, *size, |slot| (slot % 3) as u16) {
                given[slot as usize % 3] += 1;
            }
        }
        let all: u32 = given.iter().sum();
        for (given, weight) in given.into_iter().zip([4, 1, 2]) {
            assert!((given * 7).abs_diff(all * weight) <= 4 * 7, "{given} of {all}, {sizes:?}");
        }
    }
}

#[test]
fn a_weight_that_changes_keeps_the_sums_and_the_limits_of_a_queue_close_it() {
    let (mut links, mut queues) = queues(true, &["a", "b"]);
    for slot in 0..20 {
        queues.push(&mut links, Slot(slot), QueueId((slot % 2) as u16), (slot % 4) as u8);
    }
    for weight in [1, 100, 7, 1] {
        weigh(&mut queues, 0, weight);
        assert_eq!(next(&mut queues, &links, 100).len(), 20);
    }
    let limits = QueueLimits { concurrency: Some(7), ..QueueLimits::default() };
    queues.limit(QueueId(0), limits, 0, NOW);
    queues.pause(QueueId(1), true);
    // Over two priorities, no more than its places.
    assert_eq!(next(&mut queues, &links, 100), [2, 6, 10, 14, 18, 0, 4]);
    for _ in 0..7 {
        queues.attempt_began(QueueId(0), NOW);
    }
    assert!(!queues.is_any_open());
    queues.attempt_ended(QueueId(0));
    assert_eq!(next(&mut queues, &links, 100), [2]);
}
