//! Queues between two threads as the engine uses them: bounded, one that takes turns with a look and one that
//! sleeps. It knows the queues' crate and numbers, and no engine.

use std::{
    hint, thread,
    time::{Duration, Instant},
};

use crossbeam::{channel, queue::ArrayQueue};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Lock-free, as between a shard and its executors. Who finds nothing looks again.
    Array,
    /// With a sleep for who finds nothing, as a shard's inbox.
    Channel,
    /// The same with 256 items at a time, as a batch of jobs goes.
    ChannelOfBatches,
}

/// Items of a batch.
const BATCH: u64 = 256;

impl Way {
    /// All that are measured.
    pub const ALL: [Self; 3] = [Self::Array, Self::Channel, Self::ChannelOfBatches];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Array => "array",
            Self::Channel => "channel",
            Self::ChannelOfBatches => "channel-of-256",
        }
    }
}

/// Time to hand `items` numbers to another thread through a queue with so many places (at least 1).
///
/// # Panics
/// If a number is lost or comes twice.
#[must_use]
pub fn hand_over(way: Way, items: u64, places: usize) -> Duration {
    let expected = items * items.saturating_sub(1) / 2;
    let began = Instant::now();
    let sum = match way {
        Way::Array => array(items, places),
        Way::Channel => through_channel(items, places),
        Way::ChannelOfBatches => batches(items, places),
    };
    let elapsed = began.elapsed();
    assert_eq!(sum, expected, "{} lost a number", way.name());
    elapsed
}

fn array(items: u64, places: usize) -> u64 {
    let queue = ArrayQueue::new(places);
    thread::scope(|scope| {
        scope.spawn(|| {
            for item in 0..items {
                while queue.push(item).is_err() {
                    // With fewer processors than threads the other one needs this one.
                    thread::yield_now();
                }
            }
        });
        let (mut sum, mut taken) = (0, 0);
        while taken < items {
            match queue.pop() {
                Some(item) => {
                    sum += item;
                    taken += 1;
                }
                None => {
                    hint::spin_loop();
                    thread::yield_now();
                }
            }
        }
        sum
    })
}

fn through_channel(items: u64, places: usize) -> u64 {
    let (sender, receiver) = channel::bounded(places);
    thread::scope(|scope| {
        scope.spawn(move || {
            for item in 0..items {
                // The receiver stays until the last.
                let _ = sender.send(item);
            }
        });
        receiver.iter().sum()
    })
}

fn batches(items: u64, places: usize) -> u64 {
    let (sender, receiver) = channel::bounded::<Vec<u64>>(places);
    thread::scope(|scope| {
        scope.spawn(move || {
            for first in (0..items).step_by(BATCH as usize) {
                let batch = (first..items.min(first + BATCH)).collect();
                // The receiver stays until the last.
                let _ = sender.send(batch);
            }
        });
        receiver.iter().flatten().sum()
    })
}
