//! The planned moments of an open loop, one after the other, in nanoseconds since its start.
//!
//! Each moment is reckoned from the start and not from the one before, so that nothing drifts; only
//! the gaps of a Poisson process add up, as they must.

use std::{f64::consts::TAU, time::Duration};

use super::Arrivals;
use crate::random::{Random, Stream};

const SECOND_NS: f64 = 1e9;
/// Halvings until a moment on a sine is known to a nanosecond within any period up to a day.
const HALVINGS: u32 = 48;

/// The moments of one run, which never go back.
#[derive(Clone, Debug)]
pub(crate) struct Moments {
    arrivals: Arrivals,
    rate: f64,
    /// Planned length of the run in seconds, for a ramp.
    span_s: f64,
    next: u32,
    random: Random,
    /// The last moment in seconds.
    last_s: f64,
}

impl Moments {
    /// The moments of `jobs` jobs at a mean of `rate` per second.
    pub(crate) fn new(arrivals: &Arrivals, rate: f64, jobs: u32, seed: u64) -> Self {
        Self {
            arrivals: arrivals.clone(),
            rate,
            span_s: f64::from(jobs) / rate,
            next: 0,
            random: Random::of(seed, Stream::Arrivals, 0),
            last_s: 0.0,
        }
    }

    /// The moment of the next job.
    pub(crate) fn next_ns(&mut self) -> u64 {
        let index = f64::from(self.next);
        let even_s = index / self.rate;
        let moment_s = match &self.arrivals {
            Arrivals::Constant => even_s,
            Arrivals::Poisson => self.last_s + self.random.exponential(1.0 / self.rate),
            Arrivals::Bursty { on, off } => bursty_s(even_s, *on, *off),
            Arrivals::Ramp { from, to } => self.ramp_s(even_s, *from, *to),
            Arrivals::Sine { period, depth } => {
                sine_s(even_s, self.last_s, period.as_secs_f64(), *depth)
            }
            Arrivals::Trace(trace) => {
                let moment_ns = trace.moment_ns(self.next as usize);
                self.next += 1;
                return moment_ns;
            }
        };
        self.next = self.next.saturating_add(1);
        self.last_s = moment_s.max(self.last_s);
        // Casts saturate: a moment beyond five centuries is never waited for.
        (self.last_s * SECOND_NS) as u64
    }

    /// The moment by which a linearly changing rate has sent what an even one has by `even_s`.
    fn ramp_s(&self, even_s: f64, from: f64, to: f64) -> f64 {
        let mean = from.midpoint(to);
        let (from, to) = (from / mean, to / mean);
        // from·t + (to − from)·t² / (2·span) = even
        let slope = (to - from) / self.span_s;
        if slope.abs() * self.span_s < 1e-9 {
            return even_s;
        }
        let root = (from * from + 2.0 * slope * even_s).max(0.0).sqrt();
        (root - from) / slope
    }
}

fn bursty_s(even_s: f64, on: Duration, off: Duration) -> f64 {
    let (on_s, cycle_s) = (on.as_secs_f64(), (on + off).as_secs_f64());
    let cycle = (even_s / cycle_s).floor();
    cycle * cycle_s + (even_s - cycle * cycle_s) * on_s / cycle_s
}

/// The moment by which a sine of the rate has sent what an even rate has by `even_s`.
fn sine_s(even_s: f64, from_s: f64, period_s: f64, depth: f64) -> f64 {
    let swing_s = depth * period_s / TAU;
    let sent_s = |at_s: f64| at_s + swing_s * (1.0 - (TAU * at_s / period_s).cos());
    // It runs ahead of the even rate by twice the swing at most, and never behind it.
    let (mut low, mut high) = ((even_s - 2.0 * swing_s).max(from_s), even_s.max(from_s));
    for _ in 0..HALVINGS {
        let middle = low.midpoint(high);
        if sent_s(middle) < even_s {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: f64 = 1000.0;
    const JOBS: u32 = 10_000;

    fn moments_s(arrivals: &str) -> Vec<f64> {
        let mut moments = Moments::new(&arrivals.parse().unwrap(), RATE, JOBS, 3);
        let all: Vec<f64> = (0..JOBS).map(|_| moments.next_ns() as f64 / 1e9).collect();
        assert!(all.is_sorted(), "{arrivals}");
        all
    }

    fn within(all: &[f64], from_s: f64, to_s: f64) -> usize {
        all.iter().filter(|at| (from_s..to_s).contains(*at)).count()
    }

    #[test]
    fn constant_moments_do_not_drift() {
        let mut moments = Moments::new(&Arrivals::Constant, 3.0, 4, 1);
        let all = [0; 4].map(|_| moments.next_ns());
        assert_eq!(all, [0, 333_333_333, 666_666_666, 1_000_000_000]);
        let all = moments_s("constant");
        assert!((all[9999] - 9.999).abs() < 1e-9);
    }

    #[test]
    fn every_kind_keeps_the_mean_rate() {
        for arrivals in ["poisson", "bursty(1s,1s)", "ramp(0,2)", "ramp(2,1)", "sine(5s,90%)"] {
            let all = moments_s(arrivals);
            let end = all[all.len() - 1];
            assert!((8.9..10.5).contains(&end), "{arrivals}: {end}");
        }
    }

    #[test]
    fn bursts_leave_gaps_and_ramps_rise_and_sines_swing() {
        let bursts = moments_s("bursty(500ms,500ms)");
        assert_eq!((within(&bursts, 0.501, 1.0), within(&bursts, 2.0, 2.5)), (0, 1000));
        let ramp = moments_s("ramp(0,2)");
        let early = within(&ramp, 0.0, 5.0);
        assert!((2400..2600).contains(&early), "{early}");
        let sine = moments_s("sine(10s,100%)");
        let (high, low) = (within(&sine, 1.5, 3.5), within(&sine, 6.5, 8.5));
        assert!(high > 3500 && low < 300, "{high} {low}");
    }

    #[test]
    fn poisson_gaps_vary_as_they_should() {
        let all = moments_s("poisson");
        let gaps: Vec<f64> = all.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let above = gaps.iter().filter(|gap| **gap > 1.0 / RATE).count() as f64;
        // e⁻¹ of all gaps are longer than the mean.
        assert!((above / gaps.len() as f64 - 0.368).abs() < 0.02, "{above}");
    }
}
