//! `hierarchical_hash_wheel_timer`: four wheels of 256 slots, by milliseconds. Its cancel leaves the entry in
//! the wheel and takes it out of a hash table.

use std::time::Duration;

use hierarchical_hash_wheel_timer::{
    IdOnlyTimerEntry,
    wheels::{Skip, cancellable::QuadWheelWithOverflow},
};

use super::{MS, Timers};

pub(crate) struct HashWheel(QuadWheelWithOverflow<IdOnlyTimerEntry<u32>>);

impl Timers for HashWheel {
    const NAME: &'static str = "hierarchical_hash_wheel_timer 1.4.0";

    fn new(_: u32) -> Self {
        Self(QuadWheelWithOverflow::new())
    }

    fn insert(&mut self, id: u32, due_ns: u64) {
        let delay = Duration::from_millis(due_ns.div_ceil(MS));
        assert!(self.0.insert(IdOnlyTimerEntry::new(id, delay)).is_ok(), "it is not due yet");
    }

    fn cancel(&mut self, id: u32) {
        assert!(self.0.cancel(&id).is_ok(), "a timer that was inserted is not there");
    }

    fn expire(&mut self, now_ns: u64, expired: &mut Vec<u32>) {
        let mut left = (now_ns / MS) as u32;
        while left > 0 {
            match self.0.can_skip() {
                Skip::Empty => return,
                Skip::Millis(ms) => {
                    let skipped = ms.min(left);
                    self.0.skip(skipped);
                    left -= skipped;
                }
                Skip::None => {
                    expired.extend(self.0.tick().iter().map(|entry| entry.id));
                    left -= 1;
                }
            }
        }
    }
}
