//! What a run is asked to do, the ranges of it, and its form as a command line.

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

use clap::ValueEnum;
use tickwheel_engine::{Durability, limits};

use crate::payload::{PAYLOAD_BYTES_MAX, PAYLOAD_BYTES_MIN};

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
const PAYLOAD_BYTES_DEFAULT: usize = 100;
const DELAY_DEFAULT: Duration = Duration::from_millis(1);
/// The longest delay: what a job may be delayed and still be waited for.
const DELAY_MAX: Duration = Duration::from_secs(86_400);
const SEED_DEFAULT: u64 = 1;

/// A run is given up after this and [`PATIENCE_PER_JOB`] for each job, beyond what was planned.
const PATIENCE: Duration = Duration::from_secs(60);
/// Ten thousand jobs per second: far below what any machine was seen to do.
const PATIENCE_PER_JOB: Duration = Duration::from_micros(100);

// A closed loop must be able to have its batch in flight.
const _: () = assert!(BATCH_MAX_DEFAULT <= IN_FLIGHT_DEFAULT);
const _: () = assert!(BATCH_MAX_DEFAULT as usize <= IN_FLIGHT_BYTES_DEFAULT / PAYLOAD_BYTES_MAX);
const _: () = assert!(BATCH_RATE_DEFAULT <= BATCH_MAX_DEFAULT);
const _: () = assert!(BATCH_MAX_DEFAULT as usize <= limits::BATCH_JOBS_MAX);

/// What the load is put on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[non_exhaustive]
pub enum Target {
    /// An engine inside this process.
    Inproc,
}

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
    pub target: Target,
    /// Jobs in all: 1 to 4,294,967,295.
    pub jobs: u32,
    /// When a submitted job is acknowledged. Default [`Durability::Sync`].
    pub durability: Durability,
    /// How jobs are submitted. Default [`Load::Max`].
    pub load: Load,
    /// Decides the payloads. Default 1.
    pub seed: u64,
    /// Bytes of a payload. Default 100, minimum [`PAYLOAD_BYTES_MIN`], maximum
    /// [`PAYLOAD_BYTES_MAX`].
    pub payload_bytes: usize,
    /// How long after its submission a job is due. Default 1 ms, so that it goes through the
    /// wheel; minimum 0, maximum a day.
    pub delay: Duration,
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
    /// When an unfinished run is given up. Default: the planned time, 60 s, and 100 µs per job.
    pub give_up_after: Option<Duration>,
}

/// Options that contradict each other or lie out of their range.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum OptionsError {
    /// No jobs.
    #[error("there are no jobs to submit: set --jobs to 1 or more")]
    NoJobs,
    /// A rate out of its range.
    #[error("--rate is {0} jobs per second: it must be {RATE_MIN} to {RATE_MAX}")]
    Rate(f64),
    /// A payload out of its range.
    #[error("--payload is {0} bytes: it must be {PAYLOAD_BYTES_MIN} to {PAYLOAD_BYTES_MAX}")]
    Payload(usize),
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
    /// A delay out of its range.
    #[error("--delay is {0:?}: it must be at most a day")]
    Delay(Duration),
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
            target: Target::Inproc,
            jobs,
            durability: Durability::default(),
            load: Load::Max,
            seed: SEED_DEFAULT,
            payload_bytes: PAYLOAD_BYTES_DEFAULT,
            delay: DELAY_DEFAULT,
            batch: None,
            shards: None,
            executors: None,
            data_dir: None,
            in_flight: None,
            give_up_after: None,
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
            let jobs = IN_FLIGHT_BYTES_DEFAULT / self.payload_bytes.max(1);
            // What exceeds a u32 exceeds the default as well.
            let jobs = u32::try_from(jobs).unwrap_or(u32::MAX);
            jobs.min(IN_FLIGHT_DEFAULT).max(self.batch())
        })
    }

    /// How long a run may take before it is given up.
    #[must_use]
    pub fn patience(&self) -> Duration {
        self.give_up_after.unwrap_or_else(|| {
            let planned = match self.load {
                Load::Max => Duration::ZERO,
                Load::Rate(rate) => Duration::try_from_secs_f64(f64::from(self.jobs) / rate)
                    .unwrap_or(Duration::MAX),
            };
            let per_job = PATIENCE_PER_JOB.saturating_mul(self.jobs);
            (PATIENCE + per_job + self.delay).saturating_add(planned)
        })
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
        if !(PAYLOAD_BYTES_MIN..=PAYLOAD_BYTES_MAX).contains(&self.payload_bytes) {
            return Err(OptionsError::Payload(self.payload_bytes));
        }
        if batch == 0 || batch as usize > limits::BATCH_JOBS_MAX {
            return Err(OptionsError::Batch(batch));
        }
        let in_flight = self.in_flight();
        if self.load == Load::Max && in_flight < batch {
            return Err(OptionsError::InFlight { in_flight, batch });
        }
        if self.delay > DELAY_MAX {
            return Err(OptionsError::Delay(self.delay));
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

/// The command line that asks for the same run.
impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Target::Inproc = self.target;
        write!(f, "tickwheel-loadgen run --target inproc --jobs {}", self.jobs)?;
        let durability = self.durability.to_string();
        // A shell reads parentheses as its own.
        let quote = if durability.contains('(') { "'" } else { "" };
        write!(f, " --durability {quote}{durability}{quote}")?;
        match self.load {
            Load::Max => write!(f, " --max --in-flight {}", self.in_flight())?,
            Load::Rate(rate) => write!(f, " --rate {rate}")?,
        }
        write!(f, " --seed {} --payload {}", self.seed, self.payload_bytes)?;
        write!(f, " --delay {} --batch {}", DurationText(self.delay), self.batch())?;
        if let Some(shards) = self.shards {
            write!(f, " --shards {shards}")?;
        }
        if let Some(executors) = self.executors {
            write!(f, " --executors {executors}")?;
        }
        if let Some(dir) = &self.data_dir {
            write!(f, " --data-dir '{}'", dir.display().to_string().replace('\'', r"'\''"))?;
        }
        if let Some(patience) = self.give_up_after {
            write!(f, " --give-up-after {}", DurationText(patience))?;
        }
        Ok(())
    }
}

/// A duration as the command line has it: a whole number followed by `ns`, `us`, `ms`, `s`, `m` or
/// `h`; a lone `0` needs no unit.
///
/// ```
/// use std::time::Duration;
/// use tickwheel_loadgen::DurationText;
/// assert_eq!("90s".parse(), Ok(DurationText(Duration::from_secs(90))));
/// assert_eq!(DurationText(Duration::from_micros(1500)).to_string(), "1500us");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DurationText(pub Duration);

/// A text that is no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no duration: write a whole number and its unit, such as 500us, 1ms, 2s or 5m")]
pub struct ParseDurationError(String);

const UNITS: [(&str, u64); 6] = [
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1000),
    ("ns", 1),
];

impl FromStr for DurationText {
    type Err = ParseDurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits_len = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (digits, unit) = text.split_at(digits_len);
        let number: Option<u64> = digits.parse().ok();
        let ns = match (number, UNITS.iter().find(|(name, _)| *name == unit)) {
            (Some(0), None) if unit.is_empty() => Some(0),
            (Some(number), Some((_, unit_ns))) => number.checked_mul(*unit_ns),
            _ => None,
        };
        let ns = ns.ok_or_else(|| ParseDurationError(text.to_owned()))?;
        Ok(Self(Duration::from_nanos(ns)))
    }
}

impl fmt::Display for DurationText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ns = self.0.as_nanos();
        let whole = UNITS.iter().skip(2).find(|(_, unit_ns)| ns.is_multiple_of((*unit_ns).into()));
        match whole {
            Some((unit, unit_ns)) if ns > 0 => write!(f, "{}{unit}", ns / u128::from(*unit_ns)),
            _ => f.write_str("0"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(change: impl FnOnce(&mut Options)) -> Result<(), OptionsError> {
        let mut options = Options::new(1000);
        change(&mut options);
        options.check()
    }

    #[test]
    fn durations_are_read_and_written() {
        for text in ["0", "1ns", "500us", "1ms", "90s"] {
            assert_eq!(text.parse::<DurationText>().unwrap().to_string(), text);
        }
        assert_eq!("2m".parse(), Ok(DurationText(Duration::from_secs(120))));
        for text in ["", "1", "ms", "-1s", "1.5s", "1 s", "1d", "99999999999h"] {
            assert!(text.parse::<DurationText>().is_err(), "{text}");
        }
    }

    #[test]
    fn each_range_is_checked() {
        assert_eq!(changed(|_| ()), Ok(()));
        assert_eq!(changed(|o| o.jobs = 0), Err(OptionsError::NoJobs));
        assert!(matches!(changed(|o| o.load = Load::Rate(0.0)), Err(OptionsError::Rate(_))));
        assert!(matches!(changed(|o| o.load = Load::Rate(f64::NAN)), Err(OptionsError::Rate(_))));
        assert_eq!(changed(|o| o.payload_bytes = 15), Err(OptionsError::Payload(15)));
        assert_eq!(changed(|o| o.batch = Some(0)), Err(OptionsError::Batch(0)));
        assert_eq!(changed(|o| o.batch = Some(65_537)), Err(OptionsError::Batch(65_537)));
        let in_flight = changed(|o| o.in_flight = Some(255));
        assert_eq!(in_flight, Err(OptionsError::InFlight { in_flight: 255, batch: 256 }));
        assert!(changed(|o| o.delay = Duration::from_secs(86_401)).is_err());
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
        let in_flight = |payload_bytes| Options { payload_bytes, ..Options::new(1) }.in_flight();
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
