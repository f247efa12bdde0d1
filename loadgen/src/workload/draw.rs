//! What is drawn for each job from its workload. It knows one job at a time.

use std::time::Duration;

use super::{
    Due, Outcomes, PAYLOAD_BYTES_MAX, PAYLOAD_BYTES_MIN, Service, Sizes, Tenants, Workload,
};
use crate::random::{Random, Stream};

/// The longest service time that is drawn, whatever the tail of its distribution.
const SERVICE_MAX_S: f64 = 3600.0;

/// Draws the traits of jobs.
#[derive(Clone, Debug)]
pub(crate) struct Traits {
    workload: Workload,
    seed: u64,
    /// Share of all jobs that the tenants up to this one have; empty when there is one.
    tenants: Vec<f64>,
    /// Whether anything but the payload's size is drawn at all.
    is_plain: bool,
}

/// The traits of one job.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Trait {
    pub(crate) payload_bytes: usize,
    /// `None`: at the instant of the herd.
    pub(crate) delay: Option<Duration>,
    pub(crate) service: Duration,
    pub(crate) ending: Ending,
    pub(crate) is_cancelled: bool,
    pub(crate) tenant: u16,
}

/// How the first attempt of a job ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Succeeds,
    Fails,
    Hangs,
    Crashes,
    /// It ends the job.
    Dies,
}

impl Traits {
    pub(crate) fn new(workload: &Workload, seed: u64) -> Self {
        let weights: Vec<f64> = match workload.tenants {
            Tenants::One => Vec::new(),
            Tenants::Uniform(count) => vec![1.0; count.into()],
            Tenants::Zipf(count, s) => (1..=count).map(|n| f64::from(n).powf(-s)).collect(),
            Tenants::Noisy(count, share) => {
                let other = (1.0 - share) / f64::from(count - 1);
                (0..count).map(|n| if n == 0 { share } else { other }).collect()
            }
        };
        let sum: f64 = weights.iter().sum();
        let tenants = weights
            .iter()
            .scan(0.0, |below, weight| {
                *below += weight / sum;
                Some(*below)
            })
            .collect();
        let is_plain = matches!(workload.due, Due::After(_) | Due::Herd(_))
            && matches!(workload.service, Service::Zero | Service::Constant(_))
            && workload.outcomes == Outcomes::default()
            && workload.cancel == 0.0
            && workload.tenants == Tenants::One
            && matches!(workload.payload, Sizes::Fixed(_));
        Self { workload: workload.clone(), seed, tenants, is_plain }
    }

    /// The traits of job `number`. The same each time.
    pub(crate) fn of(&self, number: u32) -> Trait {
        let mut random = Random::of(self.seed, Stream::Traits, number);
        let workload = &self.workload;
        let mut drawn = Trait {
            payload_bytes: 0,
            delay: None,
            service: Duration::ZERO,
            ending: Ending::Succeeds,
            is_cancelled: false,
            tenant: 0,
        };
        if !self.is_plain {
            // Drawn in this order always, so that one flag does not change what another draws.
            drawn.ending = ending(workload.outcomes, random.unit());
            drawn.is_cancelled = random.unit() < workload.cancel;
            let tenant = random.unit();
            drawn.tenant = self.tenants.partition_point(|share| *share <= tenant) as u16;
            // Rounding may leave the last share below one.
            drawn.tenant = drawn.tenant.min(workload.tenants.count() - 1);
        }
        drawn.payload_bytes = match workload.payload {
            Sizes::Fixed(bytes) => bytes,
            Sizes::Uniform(low, high) => random.between(low as f64, high as f64 + 1.0) as usize,
            Sizes::LogNormal(median, sigma) => random.log_normal(median as f64, sigma) as usize,
        }
        .clamp(PAYLOAD_BYTES_MIN, PAYLOAD_BYTES_MAX);
        let max_s = workload.due.max().as_secs_f64();
        drawn.delay = match workload.due {
            Due::After(delay) => Some(delay),
            Due::Uniform(low, high) => {
                let span = random.between(low.as_secs_f64(), high.as_secs_f64());
                Some(Duration::from_secs_f64(span))
            }
            Due::Exponential(mean) => {
                let span = random.exponential(mean.as_secs_f64()).min(max_s);
                Some(Duration::from_secs_f64(span))
            }
            Due::Herd(_) => None,
        };
        drawn.service = match workload.service {
            Service::Zero => Duration::ZERO,
            Service::Constant(span) => span,
            Service::LogNormal(median, sigma) => {
                let span = random.log_normal(median.as_secs_f64(), sigma);
                Duration::from_secs_f64(span.min(SERVICE_MAX_S))
            }
            Service::Bimodal(fast, slow, share) => {
                if random.unit() < share {
                    slow
                } else {
                    fast
                }
            }
        };
        drawn
    }
}

fn ending(outcomes: Outcomes, drawn: f64) -> Ending {
    let Outcomes { fail, hang, crash, dead } = outcomes;
    match drawn {
        d if d < fail => Ending::Fails,
        d if d < fail + hang => Ending::Hangs,
        d if d < fail + hang + crash => Ending::Crashes,
        d if d < fail + hang + crash + dead => Ending::Dies,
        _ => Ending::Succeeds,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOBS: u32 = 20_000;

    fn drawn(change: impl FnOnce(&mut Workload)) -> Vec<Trait> {
        let mut workload = Workload::default();
        change(&mut workload);
        let traits = Traits::new(&workload, 5);
        (0..JOBS).map(|number| traits.of(number)).collect()
    }

    fn share(all: &[Trait], is: impl Fn(&Trait) -> bool) -> f64 {
        all.iter().filter(|one| is(one)).count() as f64 / f64::from(JOBS)
    }

    #[test]
    fn shares_are_what_was_asked_for() {
        let all = drawn(|workload| {
            workload.outcomes = "fail=10%,hang=5%,crash=5%,dead=20%".parse().unwrap();
            workload.cancel = 0.3;
            workload.tenants = "noisy(5,60%)".parse().unwrap();
            workload.service = "bimodal(1ms,9ms,25%)".parse().unwrap();
        });
        let near =
            |found: f64, asked: f64| assert!((found - asked).abs() < 0.02, "{found} {asked}");
        near(share(&all, |one| one.ending == Ending::Fails), 0.1);
        near(share(&all, |one| one.ending == Ending::Dies), 0.2);
        near(share(&all, |one| one.ending == Ending::Succeeds), 0.6);
        near(share(&all, |one| one.is_cancelled), 0.3);
        near(share(&all, |one| one.tenant == 0), 0.6);
        near(share(&all, |one| one.tenant == 4), 0.1);
        near(share(&all, |one| one.service == Duration::from_millis(9)), 0.25);
    }

    #[test]
    fn zipf_gives_the_first_the_most_and_all_some() {
        let all = drawn(|workload| workload.tenants = "zipf(10,s=1)".parse().unwrap());
        let first = share(&all, |one| one.tenant == 0);
        let second = share(&all, |one| one.tenant == 1);
        assert!((first / second - 2.0).abs() < 0.2, "{first} {second}");
        assert!(share(&all, |one| one.tenant == 9) > 0.0);
    }

    #[test]
    fn spans_and_sizes_stay_in_their_ranges_and_a_seed_draws_the_same() {
        let change = |workload: &mut Workload| {
            workload.due = "uniform(1s,2s)".parse().unwrap();
            workload.payload = "uniform(20,30)".parse().unwrap();
        };
        let all = drawn(change);
        let second = Duration::from_secs(1);
        assert!(all.iter().all(|one| (20..=30).contains(&one.payload_bytes)));
        assert!(all.iter().all(|one| one.delay.is_some_and(|d| second <= d && d < 2 * second)));
        assert!(all.iter().any(|one| one.payload_bytes == 30));
        assert_eq!(all, drawn(change));
    }
}
