//! The wheel of this tree.

use tickwheel_core::wheel::{Links, Wheel, tick_at_or_after, tick_at_or_before};

use super::Timers;

pub(crate) struct Ours {
    links: Links,
    wheel: Wheel,
}

impl Timers for Ours {
    const NAME: &'static str = "tickwheel";

    fn new(bound: u32) -> Self {
        let mut links = Links::new();
        links.grow_to(bound);
        Self { links, wheel: Wheel::new(0) }
    }

    fn insert(&mut self, id: u32, due_ns: u64) {
        self.wheel.insert(&mut self.links, id, tick_at_or_after(due_ns));
    }

    fn cancel(&mut self, id: u32) {
        self.wheel.remove(&mut self.links, id);
    }

    fn expire(&mut self, now_ns: u64, expired: &mut Vec<u32>) {
        let mut work = u32::MAX;
        let now = tick_at_or_before(now_ns);
        while let Some(id) = self.wheel.pop_due(&mut self.links, now, &mut work) {
            expired.push(id);
        }
    }
}
