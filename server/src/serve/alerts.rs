//! What the engine calls alerts, as lines of the log: something goes on by itself, and somebody should look.

use std::time::Duration;

use tickwheel_engine::{Alert, cron::format_time};
use tracing::{info, warn};

pub(super) fn log(alert: &Alert) {
    match alert {
        Alert::QueuePaused { queue, failures } => {
            warn!(%queue, failures, "paused: too many attempts in a row have failed; resume it with QUEUE RESUME");
        }
        Alert::SchedulePaused { schedule, failures } => {
            warn!(%schedule, failures, "paused: too many attempts in a row have failed");
        }
        Alert::BreakerOpened { queue, failures, for_ns } => {
            let span = Duration::from_nanos(*for_ns);
            warn!(%queue, failures, ?span, "closed for a while: attempts fail");
        }
        Alert::BreakerClosed { queue } => info!(%queue, "attempts succeed again: it goes on"),
        Alert::FireMissed { schedule, due, .. } => {
            let due = i64::try_from(due.0).ok().and_then(|due| format_time(due, "UTC").ok());
            warn!(%schedule, due, "a fire time was missed by more than the grace");
        }
        other => warn!(?other, "alert"),
    }
}
