//! Gives the queues of workers the limits that are configured. They outlast the process, so those of a
//! queue that is no longer configured are taken away.

use tickwheel_engine::{Engine, QueueLimits};
use tracing::info;

use super::ServeError;
use crate::plan::Queue;

pub(super) fn apply(engine: &Engine, queues: &[Queue]) -> Result<(), ServeError> {
    for Queue { name, origin, limits, .. } in queues {
        let limited = engine.limit_queue(name, limits).map_err(|source| ServeError::Limit {
            origin: origin.clone(),
            name: name.clone(),
            source,
        })?;
        if limited {
            info!(queue = name, "limits of a queue are set");
        }
    }
    for known in engine.queues()? {
        let is_configured = queues.iter().any(|queue| *queue.name == *known.name);
        if !is_configured && known.limits != QueueLimits::new() {
            engine.limit_queue(&known.name, &QueueLimits::new())?;
            info!(
                queue = &*known.name,
                "limits of a queue are gone: they are no longer configured"
            );
        }
    }
    Ok(())
}
