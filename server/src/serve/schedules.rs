//! Hands the plan to the engine: puts what is configured, removes what no longer is.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use tickwheel_engine::cron::Cron;
use tickwheel_engine::{Backoff, Engine, Missed, NewJob, Schedule, SubmitError};
use tracing::info;

use super::ServeError;
use crate::next::unix_ns;
use crate::plan::{self, Entry, Task, Timing};

/// The one kind of job that this server runs.
pub(super) const KIND: &str = "command";

/// The queue of commands. Its name has a space, so that no client of the work protocol can name it.
pub(crate) const COMMANDS_QUEUE: &str = "tickwheel commands";

pub(crate) use crate::config::limits::CLIENT_PREFIX;

/// How much longer a lease is than what the command and its end may take.
const LEASE_MARGIN: Duration = Duration::from_secs(60);

/// How late a fire time may be before it counts as missed, unless the next comes sooner.
const GRACE_MAX: Duration = Duration::from_secs(60);

/// When the plan is handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    /// At the start of the server.
    Start,
    /// While it runs: what runs at each start does not run again.
    Reload,
}

/// Note of a pause that the configuration asks for: only such a one is ended by it.
const PAUSE_NOTE: &str = "by the configuration";

/// Interval of what stands in the place of a paused schedule until it is paused.
const PLACEHOLDER_EVERY: Duration = Duration::from_secs(366 * 86_400);

/// Puts the schedule of an entry, paused or not as the entry says. One that somebody else paused stays
/// paused.
fn put(engine: &Engine, entry: &Entry) -> Result<(), SubmitError> {
    let put = |schedule: Schedule| match &entry.task {
        Task::Command(_) => engine.put_schedule(schedule),
        Task::Worker(_) => Ok(engine.put_worker_schedule(schedule)?),
    };
    let known = engine.schedule(&entry.name)?;
    let paused = known.as_ref().and_then(|known| known.paused.as_ref());
    if entry.rules.paused && paused.is_none() {
        if known.is_none() {
            // Paused before it is due for the first time.
            put(Schedule::every(entry.name.clone(), PLACEHOLDER_EVERY, job(entry)))?;
        }
        engine.pause_schedule(&entry.name, PAUSE_NOTE)?;
    }
    put(schedule(entry))?;
    if !entry.rules.paused && paused.is_some_and(|pause| pause.note == PAUSE_NOTE) {
        engine.resume_schedule(&entry.name)?;
    }
    Ok(())
}

/// Makes the engine's schedules those of the plan. A schedule whose timing did not change keeps its
/// state, so that what it missed is seen. At the start the engine must be paused: what this finds in it
/// follows the plan of an earlier start.
pub(super) fn apply(engine: &Engine, entries: &[Entry], moment: Moment) -> Result<(), ServeError> {
    let names: HashSet<&str> = entries
        .iter()
        .filter(|entry| entry.timing != Timing::Start)
        .map(|entry| entry.name.as_str())
        .collect();
    for schedule in engine.schedules()? {
        let is_ours = !schedule.name.starts_with(CLIENT_PREFIX);
        if is_ours && !names.contains(schedule.name.as_str()) {
            let name = schedule.name;
            engine
                .remove_schedule(&name)
                .map_err(|source| ServeError::Remove { name: name.clone(), source })?;
            info!(name, "schedule removed: it is no longer configured");
        }
    }
    let refused = |entry: &Entry| {
        let (origin, name) = (entry.origin.clone(), entry.name.clone());
        move |source| ServeError::Put { origin, name, source }
    };
    let (starts, rest): (Vec<&Entry>, Vec<&Entry>) =
        entries.iter().partition(|entry| entry.timing == Timing::Start);
    for entry in rest {
        put(engine, entry).map_err(refused(entry))?;
    }
    if moment == Moment::Reload {
        return Ok(());
    }
    // Once per start, not once for ever: a job of its own each time. They come last, for unlike
    // schedules they would double if a start failed after them.
    for entry in starts {
        engine.submit(job(entry)).map_err(refused(entry))?;
    }
    Ok(())
}

/// The engine's schedule of an entry; of one that runs at each start, one with the same job.
pub(super) fn schedule(entry: &Entry) -> Schedule {
    let (name, job) = (entry.name.clone(), job(entry));
    let (schedule, grace) = match &entry.timing {
        Timing::Cron(cron) => (Schedule::cron(name, cron.clone(), job), cron_grace(cron)),
        Timing::Every(every) => (Schedule::every(name, *every, job), GRACE_MAX.min(*every)),
        Timing::Once(at) => (Schedule::once(name, *at, job), GRACE_MAX),
        Timing::Start => (Schedule::once(name, None, job), GRACE_MAX),
    };
    let rules = &entry.rules;
    let mut schedule = schedule
        .missed(missed(entry.missed))
        .grace(grace)
        .overlap(rules.overlap)
        .jitter(rules.jitter);
    if let Some(starts) = rules.starts {
        schedule = schedule.starts(starts);
    }
    if let Some(ends) = rules.ends {
        schedule = schedule.ends(ends);
    }
    if let Some(runs) = rules.runs {
        schedule = schedule.runs(runs);
    }
    schedule
}

/// A minute, or the shortest time between two fire times if that is shorter: else each of several
/// fire times within a short stop would count as in time, and run.
///
/// In each minute in which a rule fires it does so at the same seconds, so one such minute and the
/// fire time after it show all distances below a minute.
pub(crate) fn cron_grace(cron: &Cron) -> Duration {
    let minute_ns = 60_000_000_000;
    let first = unix_ns(SystemTime::now()).and_then(|now| cron.next_after(now));
    let Some(first) = first else { return GRACE_MAX };
    let minute = first - first.rem_euclid(minute_ns);
    let mut grace = GRACE_MAX;
    let mut last = None;
    for at in cron.upcoming(minute - 1) {
        if let Some(last) = last {
            let distance_ns = u64::try_from(at - last).unwrap_or(u64::MAX);
            grace = grace.min(Duration::from_nanos(distance_ns));
        }
        if at >= minute + minute_ns {
            break;
        }
        last = Some(at);
    }
    grace
}

fn job(entry: &Entry) -> NewJob {
    let job = match &entry.task {
        // The runner keeps the command's own timeout. The lease only has to outlast it.
        Task::Command(spec) => NewJob::new(KIND)
            .queue(COMMANDS_QUEUE)
            .payload(spec.to_payload())
            // What is given up is logged; nobody could queue it again.
            .keep_dead(false)
            .timeout(spec.timeout() + spec.kill_grace() + LEASE_MARGIN),
        Task::Worker(job) => NewJob::new(job.kind.clone())
            .queue(job.queue.clone())
            .payload(job.definition.clone())
            .timeout(job.reserve),
    };
    job.priority(entry.priority)
        .attempts_max(entry.attempts_max)
        .backoff(Backoff::exponential(entry.backoff, entry.backoff_max))
}

fn missed(missed: plan::Missed) -> Missed {
    match missed {
        plan::Missed::Skip => Missed::Skip,
        plan::Missed::One => Missed::One,
        plan::Missed::All { limit, window } => Missed::All { limit, window },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grace_is_never_longer_than_the_time_to_the_next_fire_time() {
        let rules = [
            ("* * * * *", 60),
            ("@daily", 60),
            ("30 30 2 * * *", 60),
            ("* * * * * *", 1),
            ("*/20 * * * * *", 20),
            ("5,50 * * * * *", 15),
            ("0,7 30 2 29 2 *", 7),
        ];
        for (text, seconds) in rules {
            let cron = Cron::parse(text).unwrap();
            assert_eq!(cron_grace(&cron), Duration::from_secs(seconds), "{text}");
        }
    }
}
