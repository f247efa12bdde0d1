//! What a run is asked to do, and the ranges of it. Its form as a command line is in `command`.

mod command;

use std::{path::PathBuf, time::Duration};

use tickwheel_engine::{Durability, limits};

use crate::{
    arrival::Arrivals,
    fault::Faults,
    slo::Slo,
    target::{CONNECTIONS_MAX, FETCH_MAX, PIPELINE_MAX, TargetName},
    workload::{PAYLOAD_BYTES_MAX, Service, Workload},
};

/// Slowest open loop, in jobs per second.
pub const RATE_MIN: f64 = 0.001;
/// Fastest open loop, in jobs per second.
pub const RATE_MAX: f64 = 100_000_000.0;

/// Jobs per submit of a closed loop, unless told otherwise.
const BATCH_MAX_DEFAULT: u32 = 256;
/// Jobs per submit of an open loop lie between one and this, unless told otherwise.
const BATCH_RATE_DEFAULT: u32 = 16;
/// Submits per second that an open loop is meant to stay near.
const SUBMITS_PER_S: f64 = 10_000.0;
const IN_FLIGHT_DEFAULT: u32 = 100_000;
/// Jobs in flight have payloads of this many bytes at the most, unless told otherwise.
const IN_FLIGHT_BYTES_DEFAULT: usize = 256 << 20;
/// Time limit of an attempt, where some are meant to hang.
const ATTEMPT_TIMEOUT_DEFAULT: Duration = Duration::from_millis(500);
/// Connections of each kind to a server.
const CONNECTIONS_DEFAULT: usize = 2;
/// Requests under way on each connection that pushes.
const PIPELINE_DEFAULT: usize = 64;
/// Jobs that a worker fetches at a time where each is done at once.
const FETCH_DEFAULT: usize = 256;
const SEED_DEFAULT: u64 = 1;

/// A run is given up after this and [`PATIENCE_PER_JOB`] for each job, beyond what was planned.
const PATIENCE: Duration = Duration::from_secs(60);
/// Ten thousand jobs per second: far below what any machine was seen to do.
const PATIENCE_PER_JOB: Duration = Duration::from_micros(100);

// A closed loop must be able to have its batch in flight.
const _: () = assert!(BATCH_MAX_DEFAULT <= IN_FLIGHT_DEFAULT);
const _: () = assert!(BATCH_MAX_DEFAULT as usize <= IN_FLIGHT_BYTES_DEFAULT / PAYLOAD_BYTES_MAX);
const _: () = assert!(CONNECTIONS_DEFAULT <= CONNECTIONS_MAX);
const _: () = assert!(PIPELINE_DEFAULT <= PIPELINE_MAX && FETCH_DEFAULT <= FETCH_MAX);
const _: () = assert!(BATCH_RATE_DEFAULT <= BATCH_MAX_DEFAULT);
const _: () = assert!(BATCH_MAX_DEFAULT as usize <= limits::BATCH_JOBS_MAX);

/// How jobs are submitted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Load {
    /// Closed loop: as fast as the engine takes them.
    Max,
    /// Open loop: so many per second, each at its planned moment, whether or not earlier ones were
    /// answered. [`RATE_MIN`] to [`RATE_MAX`].
    Rate(f64),
}

/// What a run is asked to do: see [`run`](crate::run()).
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// What the load is put on.
    pub target: TargetName,
    /// Jobs in all: 1 to 4,294,967,295.
    pub jobs: u32,
    /// When a submitted job is acknowledged. Default [`Durability::Sync`].
    pub durability: Durability,
    /// How jobs are submitted. Default [`Load::Max`].
    pub load: Load,
    /// How the submissions of an open loop are spread. Default [`Arrivals::Constant`].
    pub arrivals: Arrivals,
    /// What the jobs are like.
    pub workload: Workload,
    /// Jobs submitted in this time at the start count in the ledger and are not measured. Default 0.
    pub warm_up: Duration,
    /// Decides the payloads and all that is drawn. Default 1.
    pub seed: u64,
    /// What must hold for the run to pass. Default: nothing but that no job is lost or early.
    pub slo: Slo,
    /// Submit all jobs before the first may run, then let go. Default: no.
    pub paused: bool,
    /// Time limit of an attempt, where some are meant to hang. Default 500 ms.
    pub attempt_timeout: Duration,
    /// Jobs per submit at the most, 1 to 65,536. Default 256 in a closed loop, 1 to 16 in an open
    /// one: a ten-thousandth of the rate.
    pub batch: Option<u32>,
    /// Shards of the engine. Default: the engine's own.
    pub shards: Option<usize>,
    /// Executor threads of the engine. Default: the engine's own.
    pub executors: Option<usize>,
    /// Where the log is stored, and kept afterwards; it must not hold shards. Default: a fresh
    /// directory in the working directory, removed afterwards.
    pub data_dir: Option<PathBuf>,
    /// Jobs of a closed loop that are submitted and not yet completed at the most; at least the
    /// batch. Default 100,000, or as many as have 256 MiB of payloads.
    pub in_flight: Option<u32>,
    /// Connections to a server that push jobs, 1 to 1000. Default 2.
    pub connections: Option<usize>,
    /// Requests under way on each of them at the most, 1 to 4096. Default 64.
    pub pipeline: Option<usize>,
    /// Connections to a server that fetch jobs, each with a thread of its own, 1 to 1000. Default 2.
    pub workers: Option<usize>,
    /// Jobs that each of these fetches at a time, 1 to 10,000, where the server knows how; it handles them
    /// one after the other. Default 256, or 1 where jobs take time, hang or crash.
    pub fetch: Option<usize>,
    /// The program of [`TargetName::Serve`]. Default: `tickwheel` in this program's folder.
    pub server: Option<PathBuf>,
    /// What is done to the server of [`TargetName::Serve`] on purpose. Default: nothing.
    pub faults: Faults,
    /// When an unfinished run is given up. Default: the planned time, 60 s, and 100 µs per job.
    pub give_up_after: Option<Duration>,
}

/// Options that contradict each other or lie out of their range.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum OptionsError {
    /// No jobs.
    #[error("there are no jobs to submit: set --jobs to 1 or more, or --for to a longer time")]
    NoJobs,
    /// A rate out of its range.
    #[error("--rate is {0} jobs per second: it must be {RATE_MIN} to {RATE_MAX}")]
    Rate(f64),
    /// A batch out of its range.
    #[error("--batch is {0} jobs: it must be 1 to {max}", max = limits::BATCH_JOBS_MAX)]
    Batch(u32),
    /// Fewer jobs in flight than one batch has.
    #[error(
        "--in-flight is {in_flight}, less than one batch of {batch}: raise it or lower --batch"
    )]
    InFlight {
        /// Jobs in flight.
        in_flight: u32,
        /// Jobs of a batch.
        batch: u32,
    },
    /// Arrivals without a rate.
    #[error("--arrivals {0} needs an open loop: set --rate instead of --max")]
    ArrivalsNeedRate(String),
    /// All jobs are to be submitted before the first runs, and not so many may be in flight.
    #[error("all {jobs} jobs wait before the first runs: raise --in-flight to that")]
    Backlog {
        /// Jobs.
        jobs: u32,
    },
    /// Something that the target has no use for.
    #[error("{flag} does not go with --target {target}: {instead}")]
    NotOfTarget {
        /// The flag.
        flag: &'static str,
        /// The target.
        target: TargetName,
        /// What to do.
        instead: &'static str,
    },
    /// A number of connections or the like out of its range.
    #[error("{flag} is {given}: it must be 1 to {max}")]
    Count {
        /// The flag.
        flag: &'static str,
        /// What was asked for.
        given: usize,
        /// The most.
        max: usize,
    },
    /// Cancels whose answers a fault may take.
    #[error(
        "--cancel does not go with --fault: whether a job is cancelled is not known when the answer is lost; leave out one of them"
    )]
    CancelWithFaults,
    /// A number of shards out of its range.
    #[error("--shards is {0}: it must be 1 to {max}", max = limits::SHARDS_MAX)]
    Shards(usize),
    /// A number of executors out of its range.
    #[error("--executors is {0}: it must be 1 to {max}", max = limits::EXECUTORS_MAX)]
    Executors(usize),
}

impl Options {
    /// A run of `jobs` jobs with all defaults.
    #[must_use]
    pub fn new(jobs: u32) -> Self {
        Self {
            target: TargetName::Inproc,
            jobs,
            durability: Durability::default(),
            load: Load::Max,
            arrivals: Arrivals::default(),
            workload: Workload::default(),
            warm_up: Duration::ZERO,
            seed: SEED_DEFAULT,
            slo: Slo::default(),
            paused: false,
            attempt_timeout: ATTEMPT_TIMEOUT_DEFAULT,
            batch: None,
            shards: None,
            executors: None,
            data_dir: None,
            in_flight: None,
            connections: None,
            pipeline: None,
            workers: None,
            fetch: None,
            server: None,
            faults: Faults::default(),
            give_up_after: None,
        }
    }

    /// Connections that push, as given or the default.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.unwrap_or(CONNECTIONS_DEFAULT)
    }

    /// Requests under way on each of them, as given or the default.
    #[must_use]
    pub fn pipeline(&self) -> usize {
        self.pipeline.unwrap_or(PIPELINE_DEFAULT)
    }

    /// Connections that fetch, as given or the default.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.workers.unwrap_or(CONNECTIONS_DEFAULT)
    }

    /// Jobs that each of these fetches at a time, as given or as it follows from the workload.
    #[must_use]
    pub fn fetch(&self) -> usize {
        self.fetch.unwrap_or_else(|| {
            let outcomes = &self.workload.outcomes;
            let is_quick = self.workload.service == Service::Zero
                && (outcomes.hang, outcomes.crash) == (0.0, 0.0);
            if is_quick { FETCH_DEFAULT } else { 1 }
        })
    }

    /// How long an open loop is planned to submit; zero for a closed one.
    #[must_use]
    pub fn planned(&self) -> Duration {
        match self.load {
            Load::Max => Duration::ZERO,
            Load::Rate(rate) => {
                Duration::try_from_secs_f64(f64::from(self.jobs) / rate).unwrap_or(Duration::MAX)
            }
        }
    }

    /// Jobs per submit at the most, as given or as it follows from the load.
    #[must_use]
    pub fn batch(&self) -> u32 {
        self.batch.unwrap_or(match self.load {
            Load::Max => BATCH_MAX_DEFAULT,
            // Casts saturate, and the range is far below a u32's.
            Load::Rate(rate) => ((rate / SUBMITS_PER_S) as u32).clamp(1, BATCH_RATE_DEFAULT),
        })
    }

    /// Jobs of a closed loop in flight at the most, as given or as it follows from the payload.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.in_flight.unwrap_or_else(|| {
            if self.paused {
                return self.jobs;
            }
            let jobs = IN_FLIGHT_BYTES_DEFAULT / self.workload.payload.typical();
            // What exceeds a u32 exceeds the default as well.
            let jobs = u32::try_from(jobs).unwrap_or(u32::MAX);
            jobs.min(IN_FLIGHT_DEFAULT).max(self.batch())
        })
    }

    /// How long a run may take before it is given up.
    #[must_use]
    pub fn patience(&self) -> Duration {
        self.give_up_after.unwrap_or_else(|| {
            let per_job = PATIENCE_PER_JOB.saturating_mul(self.jobs);
            // A lease that a worker lost ends by itself, and a server that was killed reads its log.
            let outcomes = &self.workload.outcomes;
            let loses_leases = outcomes.hang > 0.0 || outcomes.crash > 0.0;
            let leases = match self.target {
                TargetName::Inproc => Duration::ZERO,
                _ if loses_leases || !self.faults.is_empty() => 2 * PATIENCE,
                _ => Duration::ZERO,
            };
            (PATIENCE + per_job + self.workload.due.max() + leases).saturating_add(self.planned())
        })
    }

    /// Checks what only some targets have a use for.
    fn check_target(&self) -> Result<(), OptionsError> {
        let is_remote = self.target != TargetName::Inproc;
        let inproc = "use --target inproc";
        let remote = "use --target serve, or tcp://HOST:PORT of a server that runs";
        let serve = "use --target serve, a server that the run starts itself";
        let wrong = [
            (self.shards.is_some() && is_remote, "--shards", inproc),
            (self.executors.is_some() && is_remote, "--executors", inproc),
            (self.connections.is_some() && !is_remote, "--connections", remote),
            (self.pipeline.is_some() && !is_remote, "--pipeline", remote),
            (self.workers.is_some() && !is_remote, "--workers", remote),
            (self.fetch.is_some() && !is_remote, "--fetch", remote),
            (self.server.is_some() && self.target != TargetName::Serve, "--server", serve),
            (!self.faults.is_empty() && self.target != TargetName::Serve, "--fault", serve),
            (
                self.data_dir.is_some() && matches!(self.target, TargetName::Tcp(_)),
                "--data-dir",
                "its server has its own",
            ),
        ];
        if let Some((_, flag, instead)) = wrong.into_iter().find(|(is_wrong, ..)| *is_wrong) {
            return Err(OptionsError::NotOfTarget { flag, target: self.target.clone(), instead });
        }
        if !self.faults.is_empty() && self.workload.cancel > 0.0 {
            return Err(OptionsError::CancelWithFaults);
        }
        let counts = [
            ("--connections", self.connections(), CONNECTIONS_MAX),
            ("--pipeline", self.pipeline(), PIPELINE_MAX),
            ("--workers", self.workers(), CONNECTIONS_MAX),
            ("--fetch", self.fetch(), FETCH_MAX),
        ];
        match counts.into_iter().find(|(_, given, max)| !(1..=*max).contains(given)) {
            Some((flag, given, max)) => Err(OptionsError::Count { flag, given, max }),
            None => Ok(()),
        }
    }

    /// Checks every range and what depends on another option.
    ///
    /// # Errors
    /// The first option that is out of its range.
    pub fn check(&self) -> Result<(), OptionsError> {
        let batch = self.batch();
        if self.jobs == 0 {
            return Err(OptionsError::NoJobs);
        }
        if let Load::Rate(rate) = self.load
            && !(RATE_MIN..=RATE_MAX).contains(&rate)
        {
            return Err(OptionsError::Rate(rate));
        }
        self.check_target()?;
        if self.load == Load::Max && self.arrivals != Arrivals::Constant {
            return Err(OptionsError::ArrivalsNeedRate(self.arrivals.to_string()));
        }
        if batch == 0 || batch as usize > limits::BATCH_JOBS_MAX {
            return Err(OptionsError::Batch(batch));
        }
        let in_flight = self.in_flight();
        if self.load == Load::Max && in_flight < batch {
            return Err(OptionsError::InFlight { in_flight, batch });
        }
        if self.paused && in_flight < self.jobs {
            return Err(OptionsError::Backlog { jobs: self.jobs });
        }
        match (self.shards, self.executors) {
            (Some(shards), _) if !(1..=limits::SHARDS_MAX).contains(&shards) => {
                Err(OptionsError::Shards(shards))
            }
            (_, Some(executors)) if !(1..=limits::EXECUTORS_MAX).contains(&executors) => {
                Err(OptionsError::Executors(executors))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Sizes;

    fn changed(change: impl FnOnce(&mut Options)) -> Result<(), OptionsError> {
        let mut options = Options::new(1000);
        change(&mut options);
        options.check()
    }

    #[test]
    fn each_range_is_checked() {
        assert_eq!(changed(|_| ()), Ok(()));
        assert_eq!(changed(|o| o.jobs = 0), Err(OptionsError::NoJobs));
        assert!(matches!(changed(|o| o.load = Load::Rate(0.0)), Err(OptionsError::Rate(_))));
        assert!(matches!(changed(|o| o.load = Load::Rate(f64::NAN)), Err(OptionsError::Rate(_))));
        let tcp: TargetName = "tcp://127.0.0.1:1".parse().unwrap();
        assert_eq!(changed(|o| o.target = tcp.clone()), Ok(()));
        let shards = changed(|o| (o.target, o.shards) = (tcp.clone(), Some(2))).unwrap_err();
        assert!(
            shards.to_string().contains("--shards does not go with --target tcp://"),
            "{shards}"
        );
        let kill: Faults = "kill@1s".parse().unwrap();
        assert!(changed(|o| o.faults = kill.clone()).is_err());
        assert!(changed(|o| (o.target, o.faults) = (tcp.clone(), kill.clone())).is_err());
        assert_eq!(changed(|o| (o.target, o.faults) = (TargetName::Serve, kill.clone())), Ok(()));
        let cancel = changed(|o| {
            (o.target, o.faults, o.workload.cancel) = (TargetName::Serve, kill.clone(), 0.1);
        });
        assert_eq!(cancel, Err(OptionsError::CancelWithFaults));
        assert!(changed(|o| o.workers = Some(1)).is_err());
        let workers = changed(|o| (o.target, o.workers) = (TargetName::Serve, Some(0)));
        assert!(workers.unwrap_err().to_string().contains("--workers is 0: it must be 1 to 1000"));
        assert!(changed(|o| o.arrivals = Arrivals::Poisson).is_err());
        let few = changed(|o| (o.paused, o.in_flight) = (true, Some(999)));
        assert_eq!(few, Err(OptionsError::Backlog { jobs: 1000 }));
        assert_eq!(changed(|o| o.batch = Some(0)), Err(OptionsError::Batch(0)));
        assert_eq!(changed(|o| o.batch = Some(65_537)), Err(OptionsError::Batch(65_537)));
        let in_flight = changed(|o| o.in_flight = Some(255));
        assert_eq!(in_flight, Err(OptionsError::InFlight { in_flight: 255, batch: 256 }));
        assert_eq!(changed(|o| o.shards = Some(0)), Err(OptionsError::Shards(0)));
        assert_eq!(changed(|o| o.executors = Some(0)), Err(OptionsError::Executors(0)));
    }

    #[test]
    fn an_open_loop_sends_larger_batches_at_higher_rates() {
        let batch = |rate| Options { load: Load::Rate(rate), ..Options::new(1) }.batch();
        assert_eq!([10.0, 10_000.0, 50_000.0, 1e6].map(batch), [1, 1, 5, 16]);
    }

    #[test]
    fn large_payloads_lower_what_is_in_flight() {
        let in_flight = |bytes| {
            let workload = Workload { payload: Sizes::Fixed(bytes), ..Workload::default() };
            Options { workload, ..Options::new(1) }.in_flight()
        };
        assert_eq!([16, 100, 1 << 20].map(in_flight), [100_000, 100_000, 256]);
    }

    #[test]
    fn patience_grows_with_the_jobs_and_the_plan() {
        let fewer = Options::new(1000).patience();
        assert!(Options::new(1_000_000).patience() > fewer + Duration::from_secs(60));
        let slow = Options { load: Load::Rate(1.0), ..Options::new(1000) };
        assert!(slow.patience() >= fewer + Duration::from_secs(1000));
    }
}
