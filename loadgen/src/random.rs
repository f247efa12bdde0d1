//! Draws that follow from a seed alone. It knows numbers, never jobs.
//!
//! The generator is SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number
//! Generators", 2014). A job's draws start from the seed, a stream and the job's number, so that
//! whoever knows these three draws the same without having kept anything.

/// A stream of draws.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

/// What a job's draws are for. Streams are apart, so that one more draw in one of them does not
/// change what the others give.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stream {
    Payload = 0,
    Arrivals = 1,
    Traits = 2,
}

impl Random {
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

    /// The draws of job `number`.
    pub(crate) fn of(seed: u64, stream: Stream, number: u32) -> Self {
        // One draw mixes the seed, so that neighbouring seeds do not share draws.
        let start = Self(seed ^ (stream as u64).rotate_right(8)).next();
        Self(start ^ u64::from(number).wrapping_mul(Self::STEP).rotate_left(32))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(Self::STEP);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Uniform in [0, 1).
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Uniform in [low, high).
    pub(crate) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// Exponential with this mean.
    pub(crate) fn exponential(&mut self, mean: f64) -> f64 {
        // `unit` is below one, so that the logarithm is finite.
        -(1.0 - self.unit()).ln() * mean
    }

    /// Log-normal with this median; `sigma` is the deviation of the logarithm.
    pub(crate) fn log_normal(&mut self, median: f64, sigma: f64) -> f64 {
        // Box and Muller: two uniform draws give one normal one.
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        let normal = radius * (std::f64::consts::TAU * self.unit()).cos();
        median * (sigma * normal).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_gives_its_published_numbers() {
        // First outputs for state 1234567, as in the reference implementation's tests.
        let mut random = Random(1_234_567);
        let drawn = [random.next(), random.next(), random.next()];
        let published =
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423];
        assert_eq!(drawn, published);
    }

    #[test]
    fn draws_have_the_moments_that_they_promise() {
        let mut random = Random::of(1, Stream::Traits, 0);
        let draws = 100_000;
        let mean = |sum: f64| sum / f64::from(draws);
        let exponential = mean((0..draws).map(|_| random.exponential(3.0)).sum());
        assert!((exponential - 3.0).abs() < 0.05, "{exponential}");
        let below = (0..draws).filter(|_| random.log_normal(7.0, 1.5) < 7.0).count();
        assert!((below as f64 / f64::from(draws) - 0.5).abs() < 0.01, "{below}");
        let unit = mean((0..draws).map(|_| random.unit()).sum());
        assert!((unit - 0.5).abs() < 0.01, "{unit}");
    }

    #[test]
    fn streams_and_numbers_are_apart() {
        let first = |stream, number| Random::of(9, stream, number).next();
        assert_ne!(first(Stream::Payload, 1), first(Stream::Traits, 1));
        assert_ne!(first(Stream::Payload, 1), first(Stream::Payload, 2));
    }
}
