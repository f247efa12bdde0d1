//! `INFO`: the state of the server as one JSON object, in the form that clients of the protocol expect.

use std::{collections::BTreeMap, fs, sync::atomic::Ordering};

use jiff::tz::TimeZone;
use serde::Serialize;
use tickwheel_engine::{CallError, Engine, JobChange, JobFilter, JobState};

use super::{job, limits, shared::Shared};
use crate::serve::COMMANDS_QUEUE;

/// Version of the reference server that clients look for, to see what they may use.
const COMPATIBLE_VERSION: &str = "1.9.0";

#[derive(Serialize)]
struct Report {
    now: String,
    server_utc_time: String,
    faktory: Counts,
    server: Server,
}

#[derive(Serialize)]
struct Counts {
    queues: BTreeMap<Box<str>, u64>,
    sets: Sets,
    tasks: BTreeMap<String, String>,
    total_enqueued: u64,
    total_failures: u64,
    total_processed: u64,
    total_queues: usize,
}

#[derive(Serialize)]
struct Sets {
    scheduled: u64,
    retries: u64,
    dead: u64,
    working: u64,
}

#[derive(Serialize)]
struct Server {
    description: &'static str,
    faktory_version: &'static str,
    uptime: u64,
    connections: usize,
    workers: usize,
    command_count: u64,
    used_memory_mb: u64,
}

/// Whether a queue is the server's own, which clients neither see nor change.
pub(super) fn is_own(queue: &str) -> bool {
    queue == COMMANDS_QUEUE
}

/// The whole report, as JSON.
///
/// # Errors
/// The engine takes nothing more.
pub(super) fn report(engine: &Engine, shared: &Shared) -> Result<Vec<u8>, CallError> {
    let queues: BTreeMap<Box<str>, u64> = engine
        .queues()?
        .into_iter()
        .filter(|queue| !is_own(&queue.name))
        .filter(|queue| shared.shows_queue(&queue.name, queue.waiting + queue.running == 0))
        .map(|queue| (queue.name, queue.ready))
        .collect();
    let counts = engine.stats()?.counts;
    let waiting = counts.pending.saturating_sub(counts.ready + counts.running);
    let retries = if counts.pending <= limits::COUNTED_JOBS_MAX {
        let held = JobFilter::new().states(&[JobState::Scheduled]).attempted(true);
        engine.bulk_preview(&held, &JobChange::cancel(), 0)?.jobs.min(waiting)
    } else {
        0
    };
    let now = job::now();
    let report = Report {
        now: now.to_string(),
        server_utc_time: now.to_zoned(TimeZone::UTC).strftime("%H:%M:%S UTC").to_string(),
        faktory: Counts {
            sets: Sets {
                scheduled: waiting - retries,
                retries,
                dead: counts.buried,
                working: counts.fetched,
            },
            tasks: BTreeMap::new(),
            total_enqueued: queues.values().sum(),
            total_failures: counts.failed_attempts,
            total_processed: counts.succeeded + counts.failed_attempts,
            total_queues: queues.len(),
            queues,
        },
        server: Server {
            description: "Tickwheel",
            faktory_version: COMPATIBLE_VERSION,
            uptime: shared.started.elapsed().as_secs(),
            connections: shared.connections(),
            workers: shared.workers.count(),
            command_count: shared.commands.load(Ordering::Relaxed),
            used_memory_mb: resident_mb(),
        },
    };
    // A struct of numbers and texts always becomes JSON.
    Ok(serde_json::to_vec(&report).unwrap_or_default())
}

/// Resident memory of this process in MiB; 0 where the system does not say.
fn resident_mb() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    (pages * rustix::param::page_size() as u64) >> 20
}
