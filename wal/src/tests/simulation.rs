//! The log on a simulated disk that crashes anywhere: nothing acknowledged is lost, nothing wrong
//! is served, and what was recovered can be worked on.
//!
//! Everything follows from one seed. By default the seeds are fixed. Long runs draw them:
//!
//! ```text
//! TICKWHEEL_CRASH_POINTS=100000 cargo test --release -p tickwheel-wal crash_simulation -- --nocapture
//! ```
//!
//! A failure prints the seed and the command that runs it alone.

mod counters;
mod model;
mod run;
mod work;

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::planted::{Bug, with};
use crate::sync::{AtomicBool, AtomicU64, Mutex, Ordering, lock, thread};
use counters::Counters;
use run::{Violation, run};

/// Crash points unless told otherwise.
const CRASH_POINTS: u64 = 5000;
/// First of the seeds unless told otherwise.
const BASE_SEED: u64 = 1;
/// How many crash points to reach, with random seeds.
const POINTS_VARIABLE: &str = "TICKWHEEL_CRASH_POINTS";
/// The one seed to run, step by step on the terminal.
const SEED_VARIABLE: &str = "TICKWHEEL_CRASH_SEED";

fn variable(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

#[test]
fn crash_simulation() {
    if let Some(seed) = variable(SEED_VARIABLE) {
        let outcome =
            run(seed, true).unwrap_or_else(|violation| panic!("seed {seed}: {}", violation.what));
        println!("{}", outcome.counters);
        return;
    }
    let points = variable(POINTS_VARIABLE);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let base_seed = if points.is_some() { since.as_nanos() as u64 } else { BASE_SEED };
    let started = Instant::now();
    let counters = run_many(base_seed, points.unwrap_or(CRASH_POINTS));
    let elapsed = started.elapsed();
    println!("{counters}base seed {base_seed}, {elapsed:?}");
    assert_eq!(counters.missing(), Vec::<&str>::new(), "cases that never came up");
}

/// Runs seeds from `base_seed` on until there were that many crash points.
fn run_many(base_seed: u64, points: u64) -> Counters {
    let total = Mutex::new(Counters::default());
    let next = AtomicU64::new(base_seed);
    let is_done = AtomicBool::new(false);
    let work = || {
        while !is_done.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            let outcome = run(seed, false).unwrap_or_else(|Violation { what, .. }| {
                is_done.store(true, Ordering::Relaxed);
                panic!(
                    "seed {seed}: {what}\nreplay with: {SEED_VARIABLE}={seed} \
                     cargo test -p tickwheel-wal crash_simulation -- --nocapture"
                )
            });
            let mut total = lock(&total);
            total.add(&outcome.counters);
            if total.crash_points >= points {
                is_done.store(true, Ordering::Relaxed);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
        work();
    });
    total.into_inner().unwrap()
}

/// The same seed gives the same run, operation for operation.
#[test]
fn a_seed_replays() {
    let trace = |seed| run(seed, false).map(|outcome| outcome.trace).unwrap();
    for seed in 1..8 {
        assert_eq!(trace(seed), trace(seed), "seed {seed}");
    }
    assert_ne!(trace(1), trace(2));
}

/// The simulation finds `bug` within that many crash points, by a seed that is passed without it.
#[track_caller]
fn check_found(bug: Bug, points_max: u64) {
    let mut points = 0;
    for seed in BASE_SEED.. {
        match with(bug, || run(seed, false)) {
            Ok(outcome) => points += outcome.counters.crash_points,
            Err(Violation { what, crash_points }) => {
                points += crash_points;
                println!("{bug:?} was found after {points} crash points: {what}");
                assert!(points <= points_max, "found after {points} crash points");
                assert!(run(seed, false).is_ok(), "seed {seed} fails without the bug as well");
                return;
            }
        }
        assert!(points < points_max, "{bug:?} was not found in {points} crash points");
    }
}

#[test]
fn a_planted_ack_before_the_sync_is_found() {
    check_found(Bug::AckBeforeSync, 1000);
}

#[test]
fn a_planted_retry_of_a_failed_sync_is_found() {
    check_found(Bug::RetriedSync, 1000);
}

#[test]
fn planted_commits_without_marks_are_found() {
    check_found(Bug::NoMarks, 1000);
}

#[test]
fn a_planted_opening_without_its_sync_is_found() {
    check_found(Bug::UnsyncedHeader, 1000);
}

#[test]
fn a_planted_wiping_of_headers_is_found() {
    check_found(Bug::WipedHeader, 2000);
}

#[test]
fn a_planted_early_release_is_found() {
    check_found(Bug::EarlyRelease, 1000);
}

/// What an earlier segment left in a file is there, and only the seed keeps it from passing.
#[test]
fn planted_checksums_without_a_place_are_found() {
    check_found(Bug::LooseSeed, 4000);
}
