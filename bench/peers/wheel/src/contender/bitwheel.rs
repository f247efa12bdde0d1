//! `bitwheel`: gears of 64 slots without moves between them. A slot has a fixed number of places, made ahead; what
//! finds none goes to an ordered map. In the upper gears a timer fires when its slot begins: early.

use std::time::{Duration, Instant};

use bitwheel::timer::{BitWheelWithFailover, Timer, TimerHandle};

use super::Timers;

struct Id(u32);

impl Timer for Id {
    type Context = Vec<u32>;

    fn fire(&mut self, expired: &mut Vec<u32>) {
        expired.push(self.0);
    }
}

/// With six gears, so that a month is within them, by milliseconds; `N` places in each of 384 slots.
pub(crate) struct Bitwheel<const N: usize> {
    begin: Instant,
    wheel: Box<BitWheelWithFailover<Id, 6, 1, N>>,
    handles: Vec<Option<TimerHandle>>,
}

pub(crate) type Capacity8k = Bitwheel<8192>;
pub(crate) type Capacity128k = Bitwheel<131_072>;

impl<const N: usize> Timers for Bitwheel<N> {
    const NAME: &'static str = "bitwheel 0.6.0";
    const IS_EXACT: bool = false;

    fn new(bound: u32) -> Self {
        let begin = Instant::now();
        let handles = (0..bound).map(|_| None).collect();
        Self { begin, wheel: BitWheelWithFailover::boxed_with_epoch(begin), handles }
    }

    fn insert(&mut self, id: u32, due_ns: u64) {
        let handle = self.wheel.insert(self.begin + Duration::from_nanos(due_ns), Id(id));
        self.handles[id as usize] = Some(handle);
    }

    fn cancel(&mut self, id: u32) {
        let cancelled = self.handles[id as usize].take().and_then(|h| self.wheel.cancel(h));
        assert!(cancelled.is_some(), "a timer that was inserted is not there");
    }

    fn expire(&mut self, now_ns: u64, expired: &mut Vec<u32>) {
        self.wheel.poll(self.begin + Duration::from_nanos(now_ns), expired);
    }
}
