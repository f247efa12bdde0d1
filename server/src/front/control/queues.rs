//! `QUEUE` commands. Queues of the server itself are out of the reach of clients.

use std::{collections::BTreeMap, time::SystemTime};

use tickwheel_engine::{CallError, Engine};
use tickwheel_protocol::{QueueCommand, Queues, reply};

use super::{done, info, mutate};
use crate::front::shared::Shared;

pub(super) fn carry_out(
    engine: &Engine,
    shared: &Shared,
    command: &QueueCommand<'_>,
    out: &mut Vec<u8>,
) {
    match command {
        QueueCommand::Pause(names) => done(out, pause(engine, names.as_ref(), true)),
        QueueCommand::Resume(names) => done(out, pause(engine, names.as_ref(), false)),
        QueueCommand::Latency(names) => match latency(engine, names) {
            Ok(seconds) => reply::bulk_with(out, |out| {
                // Numbers that are finite always become JSON, and memory takes all of it.
                let _ = serde_json::to_writer(out, &seconds);
            }),
            Err(error) => reply::error(out, "ERR", error),
        },
        QueueCommand::Remove(names) => done(out, remove(engine, shared, names.as_ref())),
    }
}

fn pause(engine: &Engine, names: Option<&Queues<'_>>, is_paused: bool) -> Result<(), CallError> {
    let pause = |name: &str| engine.pause_queue(name, is_paused).map(drop);
    match names {
        Some(names) => names.iter().try_for_each(pause),
        None => engine
            .queues()?
            .iter()
            .filter(|queue| !info::is_own(&queue.name))
            .try_for_each(|queue| pause(&queue.name)),
    }
}

/// Empties queues, and lists them no more until a job names them again.
fn remove(engine: &Engine, shared: &Shared, names: Option<&Queues<'_>>) -> Result<(), CallError> {
    let remove = |name: &str| {
        mutate::empty(engine, shared, name)?;
        shared.hide_queue(name);
        Ok(())
    };
    match names {
        Some(names) => names.iter().try_for_each(remove),
        None => engine
            .queues()?
            .iter()
            .filter(|queue| !info::is_own(&queue.name))
            .try_for_each(|queue| remove(&queue.name)),
    }
}

/// For how many seconds the oldest job of each queue has waited, in milliseconds' steps; 0 where none does.
fn latency<'a>(engine: &Engine, names: &Queues<'a>) -> Result<BTreeMap<&'a str, f64>, CallError> {
    let now = SystemTime::now();
    let mut seconds: BTreeMap<&str, f64> = names.iter().map(|name| (name, 0.0)).collect();
    for queue in engine.queues()? {
        if let (Some(waits), Some(oldest)) = (seconds.get_mut(&*queue.name), queue.oldest) {
            let waited = now.duration_since(oldest).unwrap_or_default();
            *waits = waited.as_millis() as f64 / 1000.0;
        }
    }
    Ok(seconds)
}
