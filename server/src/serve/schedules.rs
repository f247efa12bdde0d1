//! Hands the plan to the engine: puts what is configured, removes what no longer is.

use std::collections::HashSet;
use std::time::Duration;

use tickwheel_engine::{Backoff, Engine, Missed, NewJob, Schedule, SubmitError};
use tracing::info;

use super::ServeError;
use crate::plan::{self, Entry, Timing};

/// The one kind of job that this server runs.
pub(super) const KIND: &str = "command";

/// How much longer a lease is than what the command and its end may take.
const LEASE_MARGIN: Duration = Duration::from_secs(60);

/// Makes the engine's schedules those of the plan. A schedule whose timing did not change keeps its
/// state, so that what it missed is seen.
pub(super) fn apply(engine: &Engine, entries: &[Entry]) -> Result<(), ServeError> {
    let names: HashSet<&str> = entries
        .iter()
        .filter(|entry| entry.timing != Timing::Start)
        .map(|entry| entry.name.as_str())
        .collect();
    for schedule in engine.schedules()? {
        if !names.contains(schedule.name.as_str()) {
            let name = schedule.name;
            engine
                .remove_schedule(&name)
                .map_err(|source| ServeError::Remove { name: name.clone(), source })?;
            info!(name, "schedule removed: it is no longer configured");
        }
    }
    for entry in entries {
        put(engine, entry).map_err(|source| ServeError::Put {
            origin: entry.origin.clone(),
            name: entry.name.clone(),
            source,
        })?;
    }
    Ok(())
}

fn put(engine: &Engine, entry: &Entry) -> Result<(), SubmitError> {
    let name = entry.name.clone();
    let job = job(entry);
    let schedule = match &entry.timing {
        Timing::Cron(cron) => Schedule::cron(name, cron.clone(), job),
        Timing::Every(every) => Schedule::every(name, *every, job),
        Timing::Once(at) => Schedule::once(name, *at, job),
        // Once per start, not once for ever: a job of its own each time.
        Timing::Start => return engine.submit(job).map(|_| ()),
    };
    engine.put_schedule(schedule.missed(missed(entry.missed)))?;
    Ok(())
}

fn job(entry: &Entry) -> NewJob {
    let spec = &entry.spec;
    NewJob::new(KIND)
        .payload(spec.to_payload())
        .priority(entry.priority)
        .attempts_max(entry.attempts_max)
        .backoff(Backoff::exponential(entry.backoff, entry.backoff_max))
        // The runner keeps the command's own timeout. The lease only has to outlast it.
        .timeout(spec.timeout() + spec.kill_grace() + LEASE_MARGIN)
}

fn missed(missed: plan::Missed) -> Missed {
    match missed {
        plan::Missed::Skip => Missed::Skip,
        plan::Missed::One => Missed::One,
        plan::Missed::All { limit, window } => Missed::All { limit, window },
    }
}
