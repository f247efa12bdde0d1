//! One turn of one contender: filled, a quarter cancelled at random, as many inserted, a quarter of the
//! time let pass. It knows times and checks, never a timer's own interface.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::contender::Timers;

const MS: u64 = 1_000_000;
/// Longer than the tick of any contender that is finer than a millisecond.
const TICK_NS_MAX: u64 = 70_000;

/// How many timers, and within what time they are due.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) pending: u32,
    pub(crate) span_ns: u64,
}

/// Nanoseconds of the thread's processor time for one operation; 0 where it is not offered.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    pub(crate) insert: f64,
    pub(crate) cancel: f64,
    pub(crate) expire: f64,
}

impl Cost {
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            insert: self.insert + other.insert,
            cancel: self.cancel + other.cancel,
            expire: self.expire + other.expire,
        }
    }

    pub(crate) fn divided_by(self, by: f64) -> Self {
        Self { insert: self.insert / by, cancel: self.cancel / by, expire: self.expire / by }
    }
}

/// What is done to each contender, drawn ahead so that drawing is not measured.
struct Plan {
    now_ns: u64,
    due_ns: Vec<u64>,
    /// Cancelled in this order.
    cancelled: Vec<u32>,
    /// Inserted then, with the next numbers.
    added_due_ns: Vec<u64>,
}

/// A quarter of the timers are cancelled, as many are added, and about a quarter expires.
pub(crate) fn turn<T: Timers>(case: Case) -> Cost {
    let plan = Plan::draw(case);
    let mut timers = T::new(case.pending + case.pending / 4);
    let is_cancelled = plan.is_cancelled();
    for (id, due_ns) in (0..).zip(&plan.due_ns) {
        // What cannot cancel starts with fewer.
        if T::CANCELS || !is_cancelled[id as usize] {
            timers.insert(id, *due_ns);
        }
    }
    let mut cost = Cost::default();
    if T::CANCELS {
        cost.cancel = timed(plan.cancelled.len(), || {
            for id in &plan.cancelled {
                timers.cancel(*id);
            }
        });
    }
    cost.insert = timed(plan.added_due_ns.len(), || {
        for (id, due_ns) in (case.pending..).zip(&plan.added_due_ns) {
            timers.insert(id, *due_ns);
        }
    });
    let expected = plan.expected();
    let mut expired = Vec::with_capacity(case.pending as usize);
    // Its memory is there before it is written to.
    expired.resize(case.pending as usize, 0);
    expired.clear();
    cost.expire = timed(expected.len(), || timers.expire(plan.now_ns, &mut expired));
    if T::IS_EXACT {
        expired.sort_unstable();
        assert!(expired == expected, "{} took out what is not due, or not all that is", T::NAME);
    } else {
        assert!(!expired.is_empty(), "{} took out nothing", T::NAME);
        cost.expire *= expected.len() as f64 / expired.len() as f64;
    }
    cost
}

/// Growth of resident memory, in bytes, from no timers to all of a case.
pub(crate) fn memory<T: Timers>(case: Case) -> u64 {
    let plan = Plan::draw(case);
    let before = resident_bytes();
    let mut timers = T::new(case.pending);
    for (id, due_ns) in (0..).zip(&plan.due_ns) {
        timers.insert(id, *due_ns);
    }
    let after = resident_bytes();
    drop(timers);
    after.saturating_sub(before)
}

impl Plan {
    fn draw(case: Case) -> Self {
        let mut random = Random(0x5eed_5eed_5eed_5eed);
        let now_ns = (case.span_ns / 4).next_multiple_of(MS);
        let mut due_ns = |_| {
            let due_ns = MS + random.below(case.span_ns);
            // Whether it is due at that moment would depend on how its time is rounded.
            let is_close = due_ns <= now_ns && now_ns - due_ns < TICK_NS_MAX;
            if is_close { now_ns + 1 } else { due_ns }
        };
        let all = (0..case.pending).map(&mut due_ns).collect();
        let added_due_ns = (0..case.pending / 4).map(&mut due_ns).collect();
        // The first quarter of a shuffle.
        let mut ids: Vec<u32> = (0..case.pending).collect();
        for place in 0..case.pending / 4 {
            let other = place + random.below(u64::from(case.pending - place)) as u32;
            ids.swap(place as usize, other as usize);
        }
        ids.truncate(case.pending as usize / 4);
        Self { now_ns, due_ns: all, cancelled: ids, added_due_ns }
    }

    fn is_cancelled(&self) -> Vec<bool> {
        let mut is_cancelled = vec![false; self.due_ns.len()];
        for id in &self.cancelled {
            is_cancelled[*id as usize] = true;
        }
        is_cancelled
    }

    /// What is due, in the order of numbers.
    fn expected(&self) -> Vec<u32> {
        let is_cancelled = self.is_cancelled();
        let old = (0..).zip(&self.due_ns).filter(|(id, _)| !is_cancelled[*id as usize]);
        let added = (self.due_ns.len() as u32..).zip(&self.added_due_ns);
        old.chain(added).filter(|(_, due)| **due <= self.now_ns).map(|(id, _)| id).collect()
    }
}

fn timed(operations: usize, body: impl FnOnce()) -> f64 {
    let before = processor_time();
    body();
    (processor_time() - before).as_nanos() as f64 / operations as f64
}

/// Not the time of day: the machine is shared.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm.split(' ').nth(1).and_then(|n| n.parse().ok()).unwrap_or(0);
    pages * 4096
}

/// Xorshift64* (Marsaglia, "Xorshift RNGs", 2003; multiplier by Vigna), from a fixed seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let drawn = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d);
        ((u128::from(drawn) * u128::from(bound)) >> 64) as u64
    }
}
