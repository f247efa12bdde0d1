//! The end of an engine: nothing more is taken, running jobs end, logs are synced and closed.

use std::{sync::atomic::Ordering, time::Duration};

use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};

use crate::{clock, engine::Engine, error::ShutdownError, shards::Slot};

/// How an engine ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Attempts that did not end in time. They count as lost, and are tried again on the next
    /// start if their jobs have attempts left.
    pub abandoned: u64,
    /// Executor threads that were left behind, because their handlers do not return.
    pub executors_left: u64,
}

impl Engine {
    /// Stops: takes no more jobs, starts no more attempts, waits up to `grace` for running ones,
    /// then asks their handlers to stop and waits 5 seconds more, syncs in every mode, and closes
    /// the logs. Calling it again does nothing.
    ///
    /// # Errors
    /// A log could not be closed, or a shard's thread had panicked.
    pub fn shutdown(&self, grace: Duration) -> Result<ShutdownReport, ShutdownError> {
        let deadline_ns = clock::mono_ns().saturating_add(clock::saturating_ns(grace));
        self.closed.store(true, Ordering::SeqCst);
        // All are told before any is waited for, so that they end at the same time.
        self.slots.iter().for_each(|slot| slot.stop(deadline_ns));
        let mut report = ShutdownReport::default();
        let mut first_error = None;
        for ended in self.slots.iter().filter_map(|slot| slot.stop_and_wait(deadline_ns)) {
            match ended {
                Ok(end) => {
                    report.abandoned += end.abandoned;
                    if let Err(error) = end.closed {
                        first_error = first_error.or(Some(ShutdownError::Log(error)));
                    }
                }
                Err(_) => first_error = first_error.or(Some(ShutdownError::ShardPanicked)),
            }
        }
        // After the shards, so that it takes their last words.
        if let Some(history) = &self.history {
            history.stop();
        }
        // A handler that never returns must not keep the process: its thread is left behind.
        self.pool.close();
        report.executors_left = self.pool.wait(deadline_ns) as u64;
        first_error.map_or(Ok(report), Err)
    }

    /// Waits for SIGTERM or SIGINT, then does [`Engine::shutdown`] with `grace`. A second signal
    /// during the grace ends it at once.
    ///
    /// # Errors
    /// As for [`Engine::shutdown`]; or the signals cannot be waited for.
    pub fn run_until_signal(&self, grace: Duration) -> Result<ShutdownReport, ShutdownError> {
        let mut signals = Signals::new([SIGTERM, SIGINT])?;
        let handle = signals.handle();
        let Some(signal) = signals.forever().next() else {
            return self.shutdown(grace);
        };
        tracing::info!(signal, ?grace, "stopping: running jobs have the grace to end");
        std::thread::scope(|scope| {
            scope.spawn(|| {
                if signals.forever().next().is_some() {
                    tracing::warn!("stopping at once");
                    self.pool.hurry();
                    // The inbox stays open while the shard waits for running jobs.
                    self.slots.iter().for_each(|slot| slot.stop(clock::mono_ns()));
                }
            });
            let ended = self.shutdown(grace);
            handle.close();
            ended
        })
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.slots.iter().for_each(Slot::stop_handlers);
        if let Err(error) = self.shutdown(Duration::ZERO) {
            tracing::error!(%error, "the engine did not end cleanly");
        }
    }
}
