//! The wheel against a plain ordered map, and the edges of its levels.

use super::*;
use alloc::{collections::BTreeMap, vec::Vec};
use proptest::prelude::*;

fn wheel_with(capacity: u32, current: u64) -> (Links, Wheel) {
    let mut links = Links::new();
    links.grow_to(capacity);
    (links, Wheel::new(current))
}

fn drain(wheel: &mut Wheel, links: &mut Links, now: u64) -> Vec<u32> {
    let mut fired = Vec::new();
    loop {
        let mut work = 7;
        while let Some(slot) = wheel.pop_due(links, now, &mut work) {
            fired.push(slot);
        }
        if work > 0 {
            return fired;
        }
    }
}

#[test]
fn ticks_are_rounded_so_that_nothing_is_early() {
    assert_eq!(tick_at_or_after(0), 0);
    assert_eq!(tick_at_or_after(1), 1);
    assert_eq!(tick_at_or_after(TICK_NS), 1);
    assert_eq!(tick_at_or_before(TICK_NS - 1), 0);
    assert_eq!(tick_at_or_after(u64::MAX), 1 << 48);
}

#[test]
fn each_level_fires_at_its_tick_and_not_before() {
    for level in 0..LEVELS as u32 {
        let tick = 5_u64 << (LEVEL_BITS * level);
        let (mut links, mut wheel) = wheel_with(1, 0);
        wheel.insert(&mut links, 0, tick);
        assert_eq!(wheel.next_tick(), Some(tick));
        assert!(drain(&mut wheel, &mut links, tick - 1).is_empty());
        assert_eq!(wheel.next_tick(), Some(tick));
        assert_eq!(drain(&mut wheel, &mut links, tick), [0]);
        assert_eq!(wheel.next_tick(), None);
    }
}

#[test]
fn the_last_tick_of_the_clock_is_within_the_wheel() {
    let last = tick_at_or_before(u64::MAX);
    let (mut links, mut wheel) = wheel_with(2, 1);
    wheel.insert(&mut links, 0, last);
    wheel.insert(&mut links, 1, 2);
    assert_eq!(drain(&mut wheel, &mut links, last), [1, 0]);
}

#[test]
fn a_past_tick_fires_at_once() {
    let (mut links, mut wheel) = wheel_with(1, 1000);
    wheel.insert(&mut links, 0, 3);
    assert_eq!(wheel.next_tick(), Some(1000));
    assert_eq!(drain(&mut wheel, &mut links, 1000), [0]);
}

#[test]
fn a_clock_set_back_is_neither_early_nor_lost() {
    let (mut links, mut wheel) = wheel_with(3, 0);
    assert!(drain(&mut wheel, &mut links, 1_000_000).is_empty());
    wheel.insert(&mut links, 0, 1_000_100);
    wheel.relay(&mut links, 900_000);
    wheel.insert(&mut links, 1, 900_050);
    assert!(drain(&mut wheel, &mut links, 900_049).is_empty());
    assert_eq!(wheel.next_tick(), Some(900_050));
    assert_eq!(drain(&mut wheel, &mut links, 1_000_099), [1]);
    assert_eq!(drain(&mut wheel, &mut links, 1_000_100), [0]);
}

#[test]
fn cancelling_the_earliest_of_a_few_keeps_the_next_tick_exact() {
    let (mut links, mut wheel) = wheel_with(8, 0);
    for (slot, tick) in [(0, 9000), (1, 9001), (2, 9050)] {
        wheel.insert(&mut links, slot, tick);
    }
    wheel.remove(&mut links, 0);
    assert_eq!(wheel.next_tick(), Some(9001));
}

#[test]
fn equal_ticks_come_in_the_order_of_insertion_also_after_cancels() {
    // Due now, within the second level, and beyond the low half of a tick.
    for tick in [1, 70_000, 1 << 40] {
        let (mut links, mut wheel) = wheel_with(3000, 0);
        let mut expected: Vec<u32> = (0..2000).collect();
        for slot in 0..2000 {
            wheel.insert(&mut links, slot, tick);
        }
        // Most of the first half, some of the second; then others come behind.
        expected.retain(|slot| if *slot < 1000 { slot % 9 == 0 } else { slot % 3 != 0 });
        for slot in (0..2000).filter(|slot| !expected.contains(slot)) {
            wheel.remove(&mut links, slot);
        }
        for slot in 2000..3000 {
            wheel.insert(&mut links, slot, tick);
            expected.push(slot);
        }
        assert!(drain(&mut wheel, &mut links, tick) == expected, "out of order at {tick}");
    }
}

#[test]
fn cancels_leave_no_thin_chunks_and_no_tombstones() {
    let (mut links, mut wheel) = wheel_with(14_000, 0);
    for slot in 0..14_000 {
        wheel.insert(&mut links, slot, 70_000 + u64::from(slot % 100));
    }
    assert_eq!(links.chunks.in_use(), 1000);
    for slot in (0..14_000).filter(|slot| slot % 14 != 0) {
        wheel.remove(&mut links, slot);
    }
    let in_use = links.chunks.in_use();
    assert!(in_use <= 1000 / 4, "{in_use} chunks for {} entries", wheel.len());
    // Many come and go while a few stay: the memory is that of the few.
    for turn in 0..20_000_u32 {
        wheel.insert(&mut links, 1, 70_000 + u64::from(turn % 100));
        wheel.remove(&mut links, 1);
    }
    assert!(links.chunks.in_use() <= in_use + 1);
    for slot in (0..14_000).step_by(14) {
        wheel.remove(&mut links, slot);
    }
    assert_eq!((links.chunks.in_use(), wheel.len(), wheel.next_tick()), (0, 0, None));
}

#[test]
fn a_far_entry_with_few_neighbours_is_not_moved() {
    let (mut links, mut wheel) = wheel_with(20, 0);
    for slot in 0..14 {
        wheel.insert(&mut links, slot, (1 << 33) + u64::from(slot) * 1000);
    }
    // Others come and go: the holes that they leave are used again.
    wheel.remove(&mut links, 13);
    for slot in 6..13 {
        wheel.remove(&mut links, slot);
    }
    for _ in 0..50 {
        wheel.insert(&mut links, 19, (1 << 33) + 5000);
        assert_eq!(links.chunks.in_use(), 1);
        wheel.remove(&mut links, 19);
    }
    let mut work = 100;
    assert_eq!(wheel.pop_due(&mut links, (1 << 33) + 999, &mut work), Some(0));
    assert_eq!(wheel.pop_due(&mut links, (1 << 33) + 999, &mut work), None);
    assert_eq!((work, wheel.next_tick()), (99, Some((1 << 33) + 1000)));
    // One that comes between them is not overlooked.
    wheel.insert(&mut links, 14, (1 << 33) + 999);
    assert_eq!(wheel.pop_due(&mut links, (1 << 33) + 1000, &mut work), Some(14));
    assert_eq!(wheel.pop_due(&mut links, (1 << 33) + 1000, &mut work), Some(1));
}

#[derive(Clone, Debug)]
enum Op {
    Insert { slot: u32, delay: u64 },
    Remove { slot: u32 },
    Advance { ticks: u64 },
    SetBack { ticks: u64 },
}

fn any_op() -> impl Strategy<Value = Op> {
    let span = prop_oneof![0..4_u64, 0..300_u64, 0..1_000_000_u64, 0..1_u64 << 40];
    prop_oneof![
        6 => (0..600_u32, span.clone()).prop_map(|(slot, delay)| Op::Insert { slot, delay }),
        2 => (0..600_u32).prop_map(|slot| Op::Remove { slot }),
        3 => span.prop_map(|ticks| Op::Advance { ticks }),
        1 => (0..5000_u64).prop_map(|ticks| Op::SetBack { ticks }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Fires exactly what an ordered map fires, at the same time, in order of due ticks; the next
    /// tick is never late. Whoever wakes at it finds the earliest entry after a few wake-ups at the most.
    #[test]
    fn behaves_like_an_ordered_map(ops in prop::collection::vec(any_op(), 1..600)) {
        let (mut links, mut wheel) = wheel_with(600, 0);
        let mut len_max = 0;
        let mut model: BTreeMap<u32, u64> = BTreeMap::new();
        let mut now = 0_u64;
        for op in ops {
            match op {
                Op::Insert { slot, delay } => {
                    if model.contains_key(&slot) { continue; }
                    let tick = (now + delay).min(1 << 47);
                    wheel.insert(&mut links, slot, tick);
                    model.insert(slot, tick);
                    len_max = len_max.max(model.len());
                }
                Op::Remove { slot } => {
                    if model.remove(&slot).is_some() {
                        wheel.remove(&mut links, slot);
                    }
                }
                Op::Advance { ticks } => {
                    now = (now + ticks).min(1 << 47);
                    let fired = drain(&mut wheel, &mut links, now);
                    let mut due: Vec<(u64, u32)> =
                        model.iter().filter(|(_, t)| **t <= now).map(|(s, t)| (*t, *s)).collect();
                    model.retain(|_, t| *t > now);
                    let mut got: Vec<(u64, u32)> = fired.iter().map(|s| (links.tick(*s), *s)).collect();
                    due.sort_unstable();
                    got.sort_unstable();
                    prop_assert_eq!(got, due);
                }
                Op::SetBack { ticks } => {
                    now = now.saturating_sub(ticks);
                    wheel.relay(&mut links, now);
                }
            }
            prop_assert_eq!(wheel.len() as usize, model.len());
            let earliest = model.values().min().copied();
            match (wheel.next_tick(), earliest) {
                (None, None) => {}
                (Some(wake), Some(tick)) => prop_assert!(wake <= tick.max(now)),
                (wake, tick) => prop_assert!(false, "wake {wake:?}, earliest {tick:?}"),
            }
        }
        drain(&mut wheel, &mut links, now);
        model.retain(|_, tick| *tick > now);
        let earliest = model.values().min().copied();
        let mut early = 0;
        while wheel.next_tick() < earliest {
            let wake = wheel.next_tick().unwrap_or(now);
            prop_assert_eq!(drain(&mut wheel, &mut links, wake), []);
            early += 1;
        }
        prop_assert_eq!(wheel.next_tick(), earliest);
        prop_assert!(early <= LEVELS, "{early} early wake-ups");
        // Two chunks hold this many: then it is exact.
        prop_assert!(early == 0 || len_max > 28);
    }
}
