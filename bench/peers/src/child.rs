//! One measurement of one store, or one count of what it kept: the work of a child process. Its
//! result goes to standard output as one line of JSON.
//!
//! It must not know the stores, only what [`Peer`] says of them.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::{
    PeerError,
    options::{Task, Work},
    peer::{Measure, Name, Peer, bare, fjall, okaywal, ours, raft, redb, sqlite, walrus},
    record::{PAYLOAD_BYTES, Tally, fill},
};

/// Records of one commit in [`Measure::Groups`].
const GROUP: usize = 1000;
/// The longest latency that the histogram tells apart.
const LATENCY_NS_MAX: u64 = 60_000_000_000;

/// What a child measured.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Written {
    pub(crate) records: u64,
    /// Time of everything that was measured, the sync at the end included.
    pub(crate) seconds: f64,
    /// Latency of one commit, or of one append, as [`Measure`] says.
    pub(crate) p50_ns: u64,
    pub(crate) p99_ns: u64,
    pub(crate) p999_ns: u64,
    pub(crate) max_ns: u64,
    /// What the process sent to the disk meanwhile, as the kernel counts it; 0: it does not say.
    pub(crate) write_bytes: u64,
}

/// What a child found.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Counted {
    pub(crate) sound: u64,
    pub(crate) wrong: u64,
}

pub(crate) fn run(work: &Work) -> Result<(), PeerError> {
    match work.name {
        Name::Bare => run_for::<bare::Bare>(work),
        Name::Tickwheel => run_for::<ours::Tickwheel>(work),
        Name::RaftEngine => run_for::<raft::Raft>(work),
        Name::OkayWal => run_for::<okaywal::OkayWal>(work),
        Name::Fjall => run_for::<fjall::Fjall>(work),
        Name::Redb => run_for::<redb::Redb>(work),
        Name::Walrus => run_for::<walrus::WalrusRust>(work),
        Name::Sqlite => run_for::<sqlite::Sqlite>(work),
    }
}

fn run_for<P: Peer>(work: &Work) -> Result<(), PeerError> {
    let line = match work.task {
        Task::Count => {
            let mut tally = Tally::default();
            P::count(&work.dir, &mut tally)?;
            serde_json::to_string(&Counted { sound: tally.sound, wrong: tally.wrong })?
        }
        Task::Write { measure, records_max, time_max } => {
            let bounds = Bounds { records_max, time_max };
            serde_json::to_string(&write::<P>(&work.dir, measure, bounds)?)?
        }
    };
    println!("{line}");
    Ok(())
}

#[derive(Clone, Copy)]
struct Bounds {
    records_max: u64,
    time_max: Duration,
}

fn write<P: Peer>(dir: &Path, measure: Measure, bounds: Bounds) -> Result<Written, PeerError> {
    let mut peer = P::open(dir, measure)?;
    let mut latencies = Histogram::<u64>::new_with_bounds(1, LATENCY_NS_MAX, 3)?;
    let bytes_before = write_bytes();
    let began = Instant::now();
    let records = match measure {
        Measure::Lone => commit(&mut peer, 1, bounds, &mut latencies)?,
        Measure::Groups => commit(&mut peer, GROUP, bounds, &mut latencies)?,
        Measure::Buffered => append(&mut peer, bounds, &mut latencies)?,
    };
    // The class that is durable has nothing left to do here, and its time is over.
    let mut elapsed = began.elapsed();
    peer.finish()?;
    if measure == Measure::Buffered {
        elapsed = began.elapsed();
    }
    Ok(Written {
        records,
        seconds: elapsed.as_secs_f64(),
        p50_ns: latencies.value_at_quantile(0.5),
        p99_ns: latencies.value_at_quantile(0.99),
        p999_ns: latencies.value_at_quantile(0.999),
        max_ns: latencies.max(),
        write_bytes: write_bytes().saturating_sub(bytes_before),
    })
}

/// Commits groups of `group` records, each durable before the next begins.
fn commit<P: Peer>(
    peer: &mut P,
    group: usize,
    bounds: Bounds,
    latencies: &mut Histogram<u64>,
) -> Result<u64, PeerError> {
    let mut payloads = vec![[0; PAYLOAD_BYTES]; group];
    let mut records = 0;
    let began = Instant::now();
    while records < bounds.records_max && began.elapsed() < bounds.time_max {
        for payload in &mut payloads {
            records += 1;
            fill(records, payload);
        }
        let from = Instant::now();
        peer.commit(&payloads)?;
        latencies.saturating_record(nanos(from.elapsed()));
    }
    Ok(records)
}

/// Appends record after record. The clock is read once for each, also to see whether time is up.
fn append<P: Peer>(
    peer: &mut P,
    bounds: Bounds,
    latencies: &mut Histogram<u64>,
) -> Result<u64, PeerError> {
    let mut payload = [0; PAYLOAD_BYTES];
    let mut records = 0;
    let began = Instant::now();
    let mut last = began;
    while records < bounds.records_max && last - began < bounds.time_max {
        records += 1;
        fill(records, &mut payload);
        peer.append(&payload)?;
        let now = Instant::now();
        latencies.saturating_record(nanos(now - last));
        last = now;
    }
    Ok(records)
}

fn nanos(elapsed: Duration) -> u64 {
    u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX)
}

/// Bytes that this process has caused to be written to the disk so far.
fn write_bytes() -> u64 {
    let text = fs::read_to_string("/proc/self/io").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    line.and_then(|number| number.parse().ok()).unwrap_or(0)
}
