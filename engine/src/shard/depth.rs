//! How many attempts are handed out at a time: few when handlers are slow, so that a job of higher
//! priority finds few before it; many when they are quick, so that executors never run dry.

/// The queue is kept as long as what executors take in this time.
const AHEAD_MS: u64 = 4;
/// The rate of the executors is looked at each so often.
const WINDOW_NS: u64 = 1_000_000;

/// The bound on attempts under way, as it follows the rate of their ends.
#[derive(Debug)]
pub(super) struct Depth {
    min: u32,
    max: u32,
    present: u32,
    window_start_ns: u64,
    ended: u64,
}

impl Depth {
    /// Between twice the `executors` and `max`, whichever is lower first.
    pub(super) fn new(executors: usize, max: u32, now_ns: u64) -> Self {
        let min = u32::try_from(2 * executors).unwrap_or(u32::MAX).min(max);
        Self { min, max, present: min, window_start_ns: now_ns, ended: 0 }
    }

    /// Attempts that may be under way now.
    pub(super) fn present(&self) -> u32 {
        self.present
    }

    /// `ended` more attempts have ended by now.
    pub(super) fn note(&mut self, ended: usize, now_ns: u64) {
        self.ended += ended as u64;
        let elapsed_ns = now_ns.saturating_sub(self.window_start_ns);
        if elapsed_ns < WINDOW_NS {
            return;
        }
        let ahead = self.ended.saturating_mul(AHEAD_MS * WINDOW_NS) / elapsed_ns;
        let ahead = u32::try_from(ahead).unwrap_or(u32::MAX);
        self.present = self.min.saturating_add(ahead).min(self.max);
        self.window_start_ns = now_ns;
        self.ended = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_handlers_get_a_short_queue_and_quick_ones_a_long_one() {
        let mut depth = Depth::new(2, 1024, 0);
        assert_eq!(depth.present(), 4);
        // One end in ten milliseconds.
        for n in 1..=10 {
            depth.note(usize::from(n == 10), n * 1_000_000);
        }
        assert_eq!(depth.present(), 8);
        // Four hundred a millisecond.
        depth.note(400, 11_000_000);
        assert_eq!(depth.present(), 1024);
        depth.note(20, 12_000_000);
        assert_eq!(depth.present(), 84);
        // After a pause it is short again.
        depth.note(0, 1_012_000_000);
        assert_eq!(depth.present(), 4);
    }

    #[test]
    fn the_bound_that_was_set_holds() {
        let mut depth = Depth::new(8, 5, 0);
        assert_eq!(depth.present(), 5);
        depth.note(1000, 1_000_000);
        assert_eq!(depth.present(), 5);
    }
}
