//! Which of the workers that wait for jobs gets the next one, and what each of them has under way.
//!
//! It knows workers and numbers, never jobs: a shard says when a worker was given one and when that has
//! ended.

use std::{
    fmt,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering},
    },
};

/// Which of the workers that wait for jobs gets the next one.
///
/// It matters while several wait: one that asks when none does gets what is there. It can be changed
/// while the engine runs ([`Engine::choose_workers`](crate::Engine::choose_workers)).
///
/// ```
/// use tickwheel_engine::worker::WorkerChoice;
///
/// let choice: WorkerChoice = "least-loaded".parse()?;
/// assert_eq!(choice, WorkerChoice::LeastLoaded);
/// assert_eq!(choice.to_string(), "least-loaded");
/// # Ok::<(), tickwheel_engine::worker::ParseWorkerChoiceError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WorkerChoice {
    /// The fetch that has waited for the longest. A worker that asks with many fetches gets as many jobs.
    #[default]
    LongestWaiting,
    /// The worker that was given a job the longest ago, however many fetches it waits with.
    RoundRobin,
    /// The worker with the fewest jobs under way.
    LeastLoaded,
    /// The worker with the fewest jobs under way for its weight.
    WeightedLeastLoaded,
}

const CHOICES: [(WorkerChoice, &str); 4] = [
    (WorkerChoice::LongestWaiting, "longest-waiting"),
    (WorkerChoice::RoundRobin, "round-robin"),
    (WorkerChoice::LeastLoaded, "least-loaded"),
    (WorkerChoice::WeightedLeastLoaded, "weighted-least-loaded"),
];

/// A text that names no [`WorkerChoice`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "it is not a way to choose workers: longest-waiting, round-robin, least-loaded or weighted-least-loaded"
)]
pub struct ParseWorkerChoiceError(());

impl fmt::Display for WorkerChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = CHOICES.iter().find(|(choice, _)| choice == self);
        f.write_str(named.map_or("", |(_, name)| name))
    }
}

impl FromStr for WorkerChoice {
    type Err = ParseWorkerChoiceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let named = CHOICES.iter().find(|(_, name)| *name == text);
        named.map(|(choice, _)| *choice).ok_or(ParseWorkerChoiceError(()))
    }
}

impl WorkerChoice {
    /// Who has the lowest goes first; among equals, who has waited for the longest. A fetch that names no
    /// worker counts as one of a worker with nothing under way that was never given a job. It grows when
    /// a worker is given a job.
    pub(crate) fn rank(self, worker: Option<&WorkerLoad>) -> u64 {
        let Some(WorkerLoad(load)) = worker else { return 0 };
        let held = || u64::from(load.held.load(Ordering::Relaxed));
        match self {
            Self::LongestWaiting => 0,
            Self::RoundRobin => load.given.load(Ordering::Relaxed),
            Self::LeastLoaded => held(),
            Self::WeightedLeastLoaded => (held() << 16) / u64::from(load.weight),
        }
    }
}

/// The choice that all shards go by.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chosen(Arc<AtomicU8>);

impl Chosen {
    pub(crate) fn get(&self) -> WorkerChoice {
        let number = usize::from(self.0.load(Ordering::Relaxed));
        CHOICES.get(number).map_or(WorkerChoice::default(), |(choice, _)| *choice)
    }

    pub(crate) fn set(&self, choice: WorkerChoice) {
        let number = CHOICES.iter().position(|(other, _)| *other == choice).unwrap_or(0);
        self.0.store(number as u8, Ordering::Relaxed);
    }
}

/// What one worker has under way, as the engine counts it. All fetches of a worker name the same one
/// ([`Fetch::worker`](crate::worker::Fetch::worker)); a clone is the same one too.
///
/// ```
/// use tickwheel_engine::worker::WorkerLoad;
///
/// let load = WorkerLoad::new(4);
/// assert_eq!((load.weight(), load.held()), (4, 0));
/// ```
#[derive(Clone, Debug)]
pub struct WorkerLoad(Arc<Load>);

#[derive(Debug)]
struct Load {
    weight: u16,
    held: AtomicU32,
    /// When it was last given a job, in nanoseconds on the monotonic clock.
    given: AtomicU64,
}

impl WorkerLoad {
    /// A worker with nothing under way. Its weight is its share beside others for
    /// [`WorkerChoice::WeightedLeastLoaded`], how many jobs it can do at a time for example; 0 counts as 1.
    #[must_use]
    pub fn new(weight: u16) -> Self {
        let (held, given) = (AtomicU32::new(0), AtomicU64::new(0));
        Self(Arc::new(Load { weight: weight.max(1), held, given }))
    }

    /// Its weight.
    #[must_use]
    pub fn weight(&self) -> u16 {
        self.0.weight
    }

    /// Attempts that it was given and that have not ended, by whatever: by what it or another said of them,
    /// by their time-out, because they were cancelled. What it was given before the shard was opened is
    /// not known.
    #[must_use]
    pub fn held(&self) -> u32 {
        self.0.held.load(Ordering::Relaxed)
    }

    /// It was given an attempt.
    pub(crate) fn gave(&self, now_ns: u64) {
        self.0.held.fetch_add(1, Ordering::Relaxed);
        self.0.given.fetch_max(now_ns, Ordering::Relaxed);
    }

    /// An attempt has ended that it was given.
    pub(crate) fn let_go(&self) {
        self.0.held.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_choice_ranks_by_what_it_is_named_for() {
        let (small, large) = (WorkerLoad::new(1), WorkerLoad::new(4));
        small.gave(10);
        large.gave(5);
        large.gave(6);
        let lower = |choice: WorkerChoice| {
            let (small, large) = (choice.rank(Some(&small)), choice.rank(Some(&large)));
            if small == large {
                "neither"
            } else if small < large {
                "small"
            } else {
                "large"
            }
        };
        assert_eq!(lower(WorkerChoice::LongestWaiting), "neither");
        assert_eq!(lower(WorkerChoice::RoundRobin), "large");
        assert_eq!(lower(WorkerChoice::LeastLoaded), "small");
        assert_eq!(lower(WorkerChoice::WeightedLeastLoaded), "large");
        for (choice, _) in CHOICES {
            assert_eq!(choice.rank(None), 0);
        }
        small.let_go();
        assert_eq!(lower(WorkerChoice::WeightedLeastLoaded), "small");
    }

    #[test]
    fn every_choice_is_kept_and_has_a_name_of_its_own() {
        let chosen = Chosen::default();
        assert_eq!(chosen.get(), WorkerChoice::LongestWaiting);
        for (choice, name) in CHOICES {
            chosen.set(choice);
            assert_eq!(chosen.get(), choice);
            assert_eq!(name.parse(), Ok(choice));
            assert_eq!(choice.to_string(), name);
        }
        assert!("fastest".parse::<WorkerChoice>().is_err());
    }
}
