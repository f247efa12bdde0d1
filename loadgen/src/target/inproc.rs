//! An engine inside this process as a target. It translates calls and outcomes, and counts nothing.

use std::{
    panic::resume_unwind,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tickwheel_engine::{
    Attempt, Backoff, Engine, EngineStats, JobError, JobId, JobState, NewJob, StartError,
    latency::Latency,
};

use super::{Answered, Outgoing, OutgoingDue, Target};
use crate::{
    measure::{Account, Ended},
    options::Options,
};

/// How long a job that was meant to fail waits for its next attempt.
const BACKOFF: Duration = Duration::from_millis(10);

/// An engine, and the kinds of its tenants.
#[derive(Debug)]
pub(crate) struct Inproc {
    engine: Engine,
    kinds: Vec<&'static str>,
    /// Time limit of an attempt, where some are meant to hang.
    timeout: Option<Duration>,
}

impl Inproc {
    pub(crate) fn start(
        options: &Options,
        dir: &Path,
        account: &Arc<Account>,
    ) -> Result<Self, StartError> {
        let mut builder =
            Engine::builder().data_dir(dir).durability(options.durability).paused(options.paused);
        let kinds: Vec<&'static str> = (0..options.workload.tenants.count()).map(kind_of).collect();
        for kind in &kinds {
            let account = Arc::clone(account);
            builder = builder.handler(*kind, move |attempt| handle(&account, attempt));
        }
        if let Some(shards) = options.shards {
            builder = builder.shards(shards);
        }
        if let Some(executors) = options.executors {
            builder = builder.executors(executors);
        }
        let timeout = (options.workload.outcomes.hang > 0.0).then_some(options.attempt_timeout);
        Ok(Self { engine: builder.start()?, kinds, timeout })
    }
}

/// The kind of a tenant's jobs. Kinds live as long as the process; there are few.
pub(super) fn kind_of(tenant: u16) -> &'static str {
    use std::sync::OnceLock;

    static KINDS: OnceLock<Vec<String>> = OnceLock::new();
    let name = |tenant| match tenant {
        0 => "load".to_owned(),
        _ => format!("load.{tenant}"),
    };
    &KINDS.get_or_init(|| (0..crate::workload::TENANTS_MAX).map(name).collect())
        [usize::from(tenant)]
}

fn handle(account: &Account, attempt: &Attempt<'_>) -> Result<(), JobError> {
    match account.handle(attempt.payload(), attempt.number(), None, || attempt.is_cancelled()) {
        Ended::Well => Ok(()),
        Ended::Failed(reason) | Ended::Hung(reason) => Err(JobError::retryable(reason)),
        Ended::Dead(reason) => Err(JobError::permanent(reason)),
        // As a panic would, but without the message that a hook prints for each.
        Ended::Crash => resume_unwind(Box::new("it was meant to crash")),
    }
}

impl Target for Inproc {
    fn submit(&self, jobs: Vec<Outgoing>, then: Answered) -> Result<(), String> {
        let new = |job: Outgoing| {
            let new = NewJob::new(self.kinds[usize::from(job.tenant)])
                .payload(job.payload)
                .backoff(Backoff::exponential(BACKOFF, BACKOFF));
            let new = match self.timeout {
                Some(timeout) => new.timeout(timeout),
                None => new,
            };
            match job.due {
                OutgoingDue::After(delay) => new.delay(delay),
                OutgoingDue::AtWall(at_ns) => {
                    new.at(SystemTime::UNIX_EPOCH + Duration::from_nanos(at_ns))
                }
            }
        };
        let jobs = jobs.into_iter().map(new).collect();
        let then = move |reply: tickwheel_engine::BatchReply| {
            then(match reply {
                Ok(answers) => Ok(answers
                    .into_iter()
                    .map(|answer| answer.map(|id| id.0).map_err(|refusal| refusal.to_string()))
                    .collect()),
                Err(error) => Err(error.to_string()),
            });
        };
        self.engine.submit_batch_then(jobs, then).map_err(|error| error.to_string())
    }

    fn cancel(&self, id: u64) -> Result<bool, String> {
        match self.engine.cancel(JobId(id)) {
            // A running attempt may still come to its end.
            Ok(state) => Ok(state.is_some_and(|state| state != JobState::Running)),
            Err(error) => Err(error.to_string()),
        }
    }

    fn resume(&self) -> Result<(), String> {
        self.engine.resume().map_err(|error| error.to_string())
    }

    fn drain(&self, timeout: Duration) -> bool {
        self.engine.drain(timeout)
    }

    fn shards(&self) -> usize {
        self.engine.shards()
    }

    fn latency(&self) -> Option<Latency> {
        Some(self.engine.latency())
    }

    fn stats(&self) -> Result<EngineStats, String> {
        self.engine.stats().map_err(|error| error.to_string())
    }

    fn shutdown(&self, grace: Duration) -> Result<(), String> {
        self.engine.shutdown(grace).map(|_| ()).map_err(|error| error.to_string())
    }
}
