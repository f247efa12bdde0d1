//! A log that stages its records in private memory beside the log that stores into mapped files:
//! the same runs for both, with what they cost in processor time and in bytes to the disk.
//!
//! It knows nothing of how a log stages.

use std::{
    hint::black_box,
    path::Path,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use rustix::time::{ClockId, clock_gettime};
use tickwheel_wal::Durability;

use super::{
    Paced, Plan, ROUND,
    groups::disk_bytes,
    open_log::OpenLog,
    paced::{self, TIME_NS_MAX, nanos},
    payload,
};
use crate::BenchError;

/// How a log's records come into its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Appends store into the mapped file.
    Mapped,
    /// Appends store into private memory, and the syncer writes it to the file.
    Staged,
}

impl Way {
    /// Both, in the order in which they take turns.
    pub const ALL: [Way; 2] = [Way::Mapped, Way::Staged];

    /// What tables call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Way::Mapped => "mapped",
            Way::Staged => "staged",
        }
    }
}

/// Where the logs of a comparison are made, and how large their segments are.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// A directory on the disk that is measured.
    pub parent: &'a Path,
    /// As the log takes it.
    pub segment_bytes: u64,
}

/// What a run took.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Cost {
    /// Time until the last record was durable, or until the last append where nothing is synced.
    pub elapsed: Duration,
    /// User and system time of the process until the log rested again, its segments made.
    pub cpu: Duration,
    /// Bytes to the disk in the same time, as the kernel counts them for the process.
    pub disk_bytes: u64,
    /// Syncs of the log.
    pub syncs: u64,
    /// Appends that found no segment ready and waited for one.
    pub waits: u64,
}

/// A fresh log, and what the process had used when it was ready.
struct Run {
    open: OpenLog,
    payload: Vec<u8>,
    began: Instant,
    cpu_before: Duration,
    disk_bytes_before: u64,
}

impl Run {
    fn start(way: Way, place: Place<'_>, durability: Durability) -> Result<Self, BenchError> {
        let Place { parent, segment_bytes } = place;
        let open =
            OpenLog::with(parent, segment_bytes, durability, |it| it.staged(way == Way::Staged))?;
        open.wait_until_ready()?;
        Ok(Self {
            open,
            payload: payload()?,
            disk_bytes_before: disk_bytes()?,
            cpu_before: cpu(),
            began: Instant::now(),
        })
    }

    fn end(self, elapsed: Duration, records: u64) -> Result<Cost, BenchError> {
        self.open.wait_until_ready()?;
        let stats = self.open.log.stats();
        assert_eq!(stats.appended_records, records);
        Ok(Cost {
            elapsed,
            cpu: cpu().saturating_sub(self.cpu_before),
            disk_bytes: disk_bytes()?.saturating_sub(self.disk_bytes_before),
            syncs: stats.syncs,
            waits: self.open.waits.count,
        })
    }
}

/// Appends `rounds` times [`ROUND`] records without a sync. They should fit the segments that are
/// ready at first.
///
/// # Errors
/// The log cannot be opened, or refused a record.
pub fn appends(way: Way, place: Place<'_>, rounds: u32) -> Result<Cost, BenchError> {
    let mut run = Run::start(way, place, Durability::Os)?;
    for _ in 0..u64::from(rounds) * u64::from(ROUND) {
        run.open.put(black_box(&run.payload))?;
    }
    let elapsed = run.began.elapsed();
    run.end(elapsed, u64::from(rounds) * u64::from(ROUND))
}

/// Commits `commits` records one after the other, each when the one before is durable. The histogram
/// has the time of each in nanoseconds.
///
/// # Errors
/// The log cannot be opened, refused a record, or did not sync it in time.
pub fn commits(
    way: Way,
    place: Place<'_>,
    commits: u32,
) -> Result<(Cost, Histogram<u64>), BenchError> {
    let mut run = Run::start(way, place, Durability::Sync)?;
    let mut times = Histogram::new_with_bounds(1, TIME_NS_MAX, 3)?;
    for _ in 0..commits {
        let began = Instant::now();
        run.open.put(&run.payload)?;
        run.open.settle()?;
        times.saturating_record(nanos(began.elapsed()));
    }
    let elapsed = run.began.elapsed();
    Ok((run.end(elapsed, commits.into())?, times))
}

/// Commits `groups` groups of [`ROUND`] records without waiting for the syncs in between.
///
/// # Errors
/// As for [`commits`].
pub fn groups(way: Way, place: Place<'_>, groups: u32) -> Result<Cost, BenchError> {
    stream(Run::start(way, place, Durability::Sync)?, groups)
}

/// The same in a log that syncs on its `interval`.
///
/// # Errors
/// As for [`commits`].
pub fn sustained(
    way: Way,
    place: Place<'_>,
    interval: Duration,
    groups: u32,
) -> Result<Cost, BenchError> {
    stream(Run::start(way, place, Durability::Interval(interval))?, groups)
}

fn stream(mut run: Run, groups: u32) -> Result<Cost, BenchError> {
    for _ in 0..groups {
        for _ in 0..ROUND {
            run.open.put(&run.payload)?;
        }
        run.open.log.commit();
    }
    run.open.settle()?;
    let elapsed = run.began.elapsed();
    run.end(elapsed, u64::from(groups) * u64::from(ROUND))
}

/// Carries out `plan` in a log that syncs on its `interval`, and publishes once in [`ROUND`]. The
/// processor time of the cost holds the wait for each record's moment, which spins.
///
/// # Errors
/// As for [`commits`].
pub fn paced(
    way: Way,
    place: Place<'_>,
    interval: Duration,
    plan: Plan,
) -> Result<(Cost, Paced), BenchError> {
    let mut run = Run::start(way, place, Durability::Interval(interval))?;
    let mut unpublished = 0;
    let paced = paced::run(plan, || {
        if unpublished == ROUND {
            run.open.log.commit();
            unpublished = 0;
        }
        unpublished += 1;
        let began = Instant::now();
        run.open.put(black_box(&run.payload))?;
        Ok(began)
    })?;
    run.open.settle()?;
    let elapsed = run.began.elapsed();
    Ok((run.end(elapsed, plan.records)?, paced))
}

/// User and system time of the process.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    // The clock begins at zero with the process, and its fraction is below a second.
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}
