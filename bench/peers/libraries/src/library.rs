//! Each library behind one call: hand a job over, now or for later.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use apalis_core::{
    backend::memory::{MemorySink, MemoryStorage, MemoryStorageError},
    task::Task,
    worker::builder::WorkerBuilder,
};
use futures_channel::mpsc::unbounded;
use futures_util::{Sink, SinkExt, StreamExt, lock::Mutex};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio_cron_scheduler::{Job, JobScheduler};
use tokio_util::time::DelayQueue;

use crate::{PeerError, Seen};

/// A library that runs.
pub(crate) enum Library {
    /// A queue of timers on a task of its own.
    DelayQueue(UnboundedSender<(u32, Instant, Duration)>),
    /// Its storage in memory knows no later time.
    Apalis(MemorySink<u32>),
    TokioCron {
        scheduler: JobScheduler,
        seen: Arc<Seen>,
    },
}

impl Library {
    pub(crate) async fn start(name: &str, seen: &Arc<Seen>) -> Result<Self, PeerError> {
        let seen = Arc::clone(seen);
        match name {
            "tokio-util" => {
                let (sender, mut receiver) = unbounded_channel::<(u32, Instant, Duration)>();
                tokio::spawn(async move {
                    let mut queue = DelayQueue::new();
                    loop {
                        tokio::select! {
                            job = receiver.recv() => match job {
                                Some((number, due, delay)) => {
                                    queue.insert((number, due), delay);
                                }
                                None => return,
                            },
                            Some(expired) = queue.next(), if !queue.is_empty() => {
                                let (number, due) = expired.into_inner();
                                seen.take(number, due);
                            }
                        }
                    }
                });
                Ok(Self::DelayQueue(sender))
            }
            "apalis" => {
                let (sender, receiver) = unbounded::<Task<u32>>();
                let sender = sender.sink_map_err(MemoryStorageError::from);
                let sender: Box<
                    dyn Sink<Task<u32>, Error = MemoryStorageError> + Send + Sync + Unpin,
                > = Box::new(sender);
                let sink = MemorySink::new(Arc::new(Mutex::new(sender)));
                let storage = MemoryStorage::new_with(sink.clone(), receiver.boxed());
                let began = Instant::now();
                let worker =
                    WorkerBuilder::new("load").backend(storage).build(move |number: u32| {
                        let seen = Arc::clone(&seen);
                        async move { seen.take(number, began) }
                    });
                tokio::spawn(worker.run());
                Ok(Self::Apalis(sink))
            }
            "tokio-cron-scheduler" => {
                let scheduler = JobScheduler::new().await?;
                scheduler.start().await?;
                Ok(Self::TokioCron { scheduler, seen })
            }
            _ => Err(format!("{name} is none of the libraries").into()),
        }
    }

    pub(crate) fn has_delays(&self) -> bool {
        !matches!(self, Self::Apalis(_))
    }

    pub(crate) async fn push(&mut self, number: u32, delay: Duration) -> Result<(), PeerError> {
        let due = Instant::now() + delay;
        match self {
            Self::DelayQueue(sender) => Ok(sender.send((number, due, delay))?),
            Self::Apalis(sink) => Ok(sink.send(Task::new(number)).await?),
            Self::TokioCron { scheduler, seen } => {
                let seen = Arc::clone(seen);
                let job = Job::new_one_shot_async(delay, move |_id, _scheduler| {
                    let seen = Arc::clone(&seen);
                    Box::pin(async move { seen.take(number, due) })
                })?;
                scheduler.add(job).await?;
                Ok(())
            }
        }
    }
}
