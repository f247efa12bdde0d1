//! How long a failed job waits for its next attempt.

use crate::{id::JobId, id::mix, limits::SPAN_MS_MAX, time::ms_to_ns};

/// Exponential back-off with a cap and jitter.
///
/// After failed attempt `n` the nominal wait is `base × 2ⁿ⁻¹`, at most `max`. The actual wait is
/// drawn between three quarters of that and all of it, so that jobs that failed together do not
/// come back together. The draw depends only on the job and the attempt: a replay draws the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Nominal wait after the first failure, in milliseconds: 0 to 2³² − 1. Default 1000.
    pub base_ms: u32,
    /// Longest nominal wait, in milliseconds: 0 to 2³² − 1. Default one hour.
    pub max_ms: u32,
}

impl Backoff {
    /// One second, doubling up to one hour.
    pub const DEFAULT: Self = Self { base_ms: 1000, max_ms: 3_600_000 };

    /// The back-off of the work protocol: after failed attempt `n` it waits (n−1)⁴ + 15 seconds, and up
    /// to 30·n seconds more, drawn as above; 49 days at the most.
    ///
    /// No exponential one is written like this: a base above the longest wait is of no use.
    pub const QUARTIC: Self = Self { base_ms: u32::MAX, max_ms: 0 };

    /// The wait after attempt `attempt` (from 1) of `job` failed, in nanoseconds.
    ///
    /// ```
    /// use tickwheel_core::{Backoff, JobId, ShardId};
    /// let job = JobId::new(ShardId(0), 1);
    /// let third = Backoff { base_ms: 1000, max_ms: 60_000 }.wait_ns(job, 3);
    /// assert!((3_000_000_000..=4_000_000_000).contains(&third));
    /// ```
    #[must_use]
    pub fn wait_ns(self, job: JobId, attempt: u16) -> u64 {
        if self == Self::QUARTIC {
            return quartic_ns(job, attempt);
        }
        let doublings = u32::from(attempt.saturating_sub(1)).min(32);
        let nominal_ms = (u64::from(self.base_ms) << doublings).min(u64::from(self.max_ms));
        let nominal_ns = ms_to_ns(nominal_ms);
        let quarter_ns = nominal_ns / 4;
        let draw = draw(job, attempt);
        // A 32-bit fraction of the quarter; the quarter is below 2⁵¹, so divide before the product.
        nominal_ns - (quarter_ns >> 16) * (draw >> 48)
    }
}

fn quartic_ns(job: JobId, attempt: u16) -> u64 {
    let failed_before = u64::from(attempt.saturating_sub(1));
    let jitter_ms_max = 30_000 * (failed_before + 1);
    // A fraction of 32 bits, of a span of at most 31.
    let jitter_ms = ((draw(job, attempt) >> 32) * jitter_ms_max) >> 32;
    let wait_s = failed_before.saturating_pow(4).saturating_add(15);
    let wait_ms = wait_s.saturating_mul(1000).saturating_add(jitter_ms);
    ms_to_ns(wait_ms.min(SPAN_MS_MAX))
}

/// 64 bits that depend on the job and the attempt alone.
fn draw(job: JobId, attempt: u16) -> u64 {
    mix(job.0 ^ u64::from(attempt).rotate_left(48))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ShardId;

    #[test]
    fn waits_double_up_to_the_cap_within_a_quarter() {
        let backoff = Backoff { base_ms: 100, max_ms: 5_000 };
        for sequence in 1..200 {
            let job = JobId::new(ShardId(1), sequence);
            for attempt in 1..40_u16 {
                let nominal = (100_u64 << (attempt - 1).min(30)).min(5_000) * 1_000_000;
                let wait = backoff.wait_ns(job, attempt);
                assert!(
                    wait <= nominal && wait >= nominal / 4 * 3,
                    "{attempt}: {wait} of {nominal}"
                );
            }
        }
    }

    #[test]
    fn the_same_job_and_attempt_draw_the_same_and_others_differ() {
        let job = |n| JobId::new(ShardId(0), n);
        let wait = |n, attempt| Backoff::DEFAULT.wait_ns(job(n), attempt);
        assert_eq!(wait(1, 1), wait(1, 1));
        assert_ne!(wait(1, 1), wait(2, 1));
    }

    #[test]
    fn a_zero_base_retries_at_once_and_extremes_do_not_overflow() {
        let job = JobId::new(ShardId(0), 1);
        assert_eq!(Backoff { base_ms: 0, max_ms: 0 }.wait_ns(job, 9), 0);
        let longest = Backoff { base_ms: u32::MAX, max_ms: u32::MAX };
        assert!(longest.wait_ns(job, u16::MAX) <= u64::from(u32::MAX) * 1_000_000);
    }

    #[test]
    fn the_protocols_waits_grow_with_the_fourth_power_and_end_at_the_longest_span() {
        const SECOND: u64 = 1_000_000_000;
        for sequence in 1..200 {
            let job = JobId::new(ShardId(1), sequence);
            for attempt in 1..=26_u16 {
                let n = u64::from(attempt - 1);
                let least = (n.pow(4) + 15) * SECOND;
                let wait = Backoff::QUARTIC.wait_ns(job, attempt);
                assert!(
                    (least..least + 30 * (n + 1) * SECOND).contains(&wait),
                    "{attempt}: {wait}"
                );
            }
            assert_eq!(Backoff::QUARTIC.wait_ns(job, u16::MAX), SPAN_MS_MAX * 1_000_000);
        }
        let firsts = (1..200).map(|n| Backoff::QUARTIC.wait_ns(JobId::new(ShardId(0), n), 1));
        let spread = firsts.clone().max().unwrap() - firsts.min().unwrap();
        assert!(spread > 25 * SECOND, "the draw spreads jobs that failed together: {spread}");
    }
}
