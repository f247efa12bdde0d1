//! Random numbers from a seed, so that one number replays a run.
//!
//! It must not know what is drawn. The seed comes from `TICKWHEEL_TEST_SEED` if that is set, else
//! from the clock; a test prints it before it draws.

use std::{
    env,
    ops::Range,
    time::{SystemTime, UNIX_EPOCH},
};

/// Names the environment variable that fixes the seed.
pub const SEED_VARIABLE: &str = "TICKWHEEL_TEST_SEED";

/// A stream of numbers that its seed determines (`SplitMix64`, Steele, Lea and Flood, 2014).
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

impl Random {
    /// The stream of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number of `range`. The slight preference for small ones does not matter to a test.
    ///
    /// # Panics
    /// If the range is empty.
    pub fn within(&mut self, range: Range<u64>) -> u64 {
        assert!(range.start < range.end, "{range:?} is empty");
        range.start + self.draw() % (range.end - range.start)
    }
}

/// The seed of this run.
///
/// # Panics
/// If the variable is set and holds no whole number.
#[must_use]
pub fn seed() -> u64 {
    match env::var(SEED_VARIABLE) {
        Ok(text) => match text.trim().parse() {
            Ok(seed) => seed,
            Err(_) => panic!("{SEED_VARIABLE} is {text:?}: set it to a whole number"),
        },
        Err(_) => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            now.as_nanos() as u64
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_determines_the_stream() {
        let draw = |seed| {
            let mut random = Random::new(seed);
            std::array::from_fn::<u64, 16, _>(|_| random.within(10..20))
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        assert!(draw(3).iter().all(|number| (10..20).contains(number)));
    }
}
