//! `DelayQueue` of `tokio-util`: six wheels of 64 slots, by milliseconds, which wait on a timer of `tokio`. The
//! clock of the runtime is stopped and set, so that no timer is waited for.

use std::{
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::{
    runtime::{Builder, Runtime},
    time::Instant,
};
use tokio_util::time::{DelayQueue, delay_queue::Key};

use super::Timers;

pub(crate) struct Delays {
    queue: DelayQueue<u32>,
    keys: Vec<Option<Key>>,
    begin: Instant,
    runtime: Runtime,
}

impl Timers for Delays {
    const NAME: &'static str = "tokio-util 0.7.20 DelayQueue";

    fn new(bound: u32) -> Self {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = runtime.expect("a runtime without threads or files can be built");
        let begin = runtime.block_on(async { Instant::now() });
        let guard = runtime.enter();
        let queue = DelayQueue::with_capacity(bound as usize);
        drop(guard);
        Self { queue, keys: vec![None; bound as usize], begin, runtime }
    }

    fn insert(&mut self, id: u32, due_ns: u64) {
        let _guard = self.runtime.enter();
        let key = self.queue.insert_at(id, self.begin + Duration::from_nanos(due_ns));
        self.keys[id as usize] = Some(key);
    }

    fn cancel(&mut self, id: u32) {
        let _guard = self.runtime.enter();
        let removed = self.keys[id as usize].take().and_then(|key| self.queue.try_remove(&key));
        assert!(removed.is_some(), "a timer that was inserted is not there");
    }

    fn expire(&mut self, now_ns: u64, expired: &mut Vec<u32>) {
        self.runtime.block_on(tokio::time::advance(Duration::from_nanos(now_ns)));
        let _guard = self.runtime.enter();
        let mut context = Context::from_waker(Waker::noop());
        while let Poll::Ready(Some(entry)) = self.queue.poll_expired(&mut context) {
            expired.push(entry.into_inner());
        }
    }
}
