//! The rate of a queue, shared by shards without a lock: one time says how much is spent, and moves on
//! by compare and exchange. Shards that wait are known, so that each wakes at a time of its own and
//! takes its turn, and none that comes later goes before them.
//!
//! It must not know queues, nor how a shard is woken. The arithmetic is the core's.

use tickwheel_core::Rate;

use super::shards::Shards;
use crate::sync::{AtomicU64, Ordering};

/// More than what two shards' clocks are apart, each read once in a pass.
const CLOCKS_APART_NS: i64 = 1_000_000_000;

/// The rate of one queue.
#[derive(Debug)]
pub(super) struct Pace {
    /// When the whole burst is there again: a signed time of the monotonic clock.
    full_at_ns: AtomicU64,
    waiting: Shards,
    /// The shard that took last.
    turn: AtomicU64,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self {
            full_at_ns: AtomicU64::new(i64::MIN.cast_unsigned()),
            waiting: Shards::new(),
            turn: AtomicU64::new(0),
        }
    }

    /// A shard begins up to `want` attempts at `now_ns`, 1 or more. If it gets less it waits: until when.
    pub(super) fn take(
        &self,
        shard: usize,
        want: u32,
        rate: Rate,
        now_ns: i64,
    ) -> (u32, Option<i64>) {
        let was_waiting = self.waiting.contains(shard);
        let others = self.waiting.count_but(shard);
        let mut full_at = self.full_at_ns.load(Ordering::Acquire);
        let granted = loop {
            let allowed = rate.allowed(full_at.cast_signed(), now_ns);
            let spare = allowed.saturating_sub(others);
            // Who waits has come at its time, and gets one at the least.
            let most = if was_waiting { spare.max(1).min(allowed) } else { spare };
            let granted = most.min(want);
            if granted == 0 {
                break 0;
            }
            let next = rate.spend_many(full_at.cast_signed(), now_ns, granted).cast_unsigned();
            match self.full_at_ns.compare_exchange(
                full_at,
                next,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => break granted,
                Err(present) => full_at = present,
            }
        };
        if granted > 0 {
            self.turn.store(shard as u64, Ordering::Relaxed);
        }
        if granted == want {
            self.waiting.remove(shard);
            return (granted, None);
        }
        self.waiting.insert(shard);
        let turn = self.turn.load(Ordering::Relaxed) as usize;
        let ahead = i64::from(self.waiting.count_before(shard, turn));
        let interval_ns = rate.interval_ns().cast_signed();
        let opens_ns = rate.opens_at(self.full_at_ns());
        let until_ns = if opens_ns > now_ns {
            opens_ns.saturating_add(ahead.saturating_mul(interval_ns))
        } else {
            // What there is belongs to those who came before.
            now_ns.saturating_add(ahead.max(1).saturating_mul(interval_ns))
        };
        (granted, Some(until_ns))
    }

    /// A shard waits no longer, without having taken its turn. True if it did: then all others that
    /// wait must be woken, as their times may have come earlier.
    pub(super) fn withdraw(&self, shard: usize) -> bool {
        self.waiting.contains(shard) && self.waiting.remove(shard)
    }

    pub(super) fn visit_waiting(&self, visit: impl FnMut(usize)) {
        self.waiting.visit(visit);
    }

    /// At least so much is spent.
    pub(super) fn enter(&self, full_at_ns: i64) {
        let later = |present: u64| {
            (present.cast_signed() < full_at_ns).then_some(full_at_ns.cast_unsigned())
        };
        // An error says that it is spent already.
        let _ = self.full_at_ns.fetch_update(Ordering::AcqRel, Ordering::Acquire, later);
    }

    /// The rate has changed, and no more is spent than lets the whole burst be there at `latest_ns`. Shards
    /// read their clocks apart from each other, and what one has begun under the new rate stays spent.
    pub(super) fn settle(&self, latest_ns: i64) {
        let earlier = |present: u64| {
            let is_beyond = present.cast_signed() > latest_ns.saturating_add(CLOCKS_APART_NS);
            is_beyond.then_some(latest_ns.cast_unsigned())
        };
        // An error says that no more is spent.
        let _ = self.full_at_ns.fetch_update(Ordering::AcqRel, Ordering::Acquire, earlier);
    }

    pub(super) fn full_at_ns(&self) -> i64 {
        self.full_at_ns.load(Ordering::Acquire).cast_signed()
    }
}
