//! Segments handed over by the preparer: what is counted can be taken, in order; whoever waits for
//! one is told; released segments are used again, unless someone still reads them.

use super::disk::{Disk, notify_me};
use super::{PREEMPTIONS_MAX, check};
use crate::pool::{Pool, Preparer, Released, Warmth};
use crate::storage::Prepared;
use crate::sync::{Arc, thread};

const SEGMENT_BYTES: u64 = 4096;

/// A running preparer and its log's owner.
struct World {
    disk: Disk,
    pool: Arc<Pool>,
    preparer: thread::JoinHandle<Preparer>,
}

impl World {
    fn start(ready_max: usize) -> Self {
        let disk = Disk::new();
        let pool = Arc::new(Pool::new(ready_max));
        let preparer = Preparer {
            storage: Arc::new(disk.clone()),
            pool: Arc::clone(&pool),
            notify: notify_me(),
            next_index: 1,
            segment_bytes: SEGMENT_BYTES,
            spares: std::collections::VecDeque::new(),
            read_in_below: std::cell::Cell::new(0),
        };
        let body = move || preparer.run();
        let preparer = thread::Builder::new().name("prepare".to_owned()).spawn(body).unwrap();
        World { disk, pool, preparer }
    }

    /// Sleeps until a segment is counted, and takes it.
    fn take(&self) -> Prepared {
        while self.pool.ready_count() == 0 {
            assert!(self.pool.shortage().is_some() || self.pool.ready_count() > 0);
            thread::park();
        }
        let prepared = self.pool.take().expect("a counted segment is there");
        self.preparer.thread().unpark();
        prepared
    }

    fn stop(self) -> Preparer {
        self.pool.stop();
        self.preparer.thread().unpark();
        self.preparer.join().unwrap()
    }
}

#[test]
fn counted_segments_are_there() {
    check("segments", PREEMPTIONS_MAX, || {
        let world = World::start(1);
        assert_eq!(world.take().index, 1);
        assert_eq!(world.take().index, 2);
        world.stop();
    });
}

#[test]
fn two_segments_are_kept_ready() {
    check("two segments", PREEMPTIONS_MAX, || {
        let world = World::start(2);
        assert_eq!(world.take().index, 1);
        assert_eq!(world.take().index, 2);
        world.stop();
    });
}

/// A released segment is the next one, or it is removed; its old number is gone in any case.
#[test]
fn released_segments_are_used_again() {
    check("released segments", PREEMPTIONS_MAX, || {
        let world = World::start(1);
        let first = world.take();
        let mapping = Arc::clone(first.writer.mapping());
        let index = first.index;
        drop(first);
        world.pool.put_away([Released { index, mapping }].into_iter());
        world.preparer.thread().unpark();
        assert_eq!(world.take().index, 2);
        assert_eq!(world.take().index, 3);
        let disk = world.disk.clone();
        world.stop();
        assert!(!disk.numbers().contains(&1) || disk.numbers() == [1, 2, 3], "it was not put away");
    });
}

/// The pages that are wanted come, whatever else is to be done.
#[test]
fn wanted_pages_come() {
    check("wanted pages", PREEMPTIONS_MAX, || {
        let world = World::start(1);
        let first = world.take();
        let mapping = Arc::clone(first.writer.mapping());
        while matches!(world.pool.warm(first.index, &mapping), Warmth::Wanted(_)) {
            world.preparer.thread().unpark();
            thread::park();
        }
        assert!(matches!(world.pool.warm(first.index, &mapping), Warmth::Warm(_)));
        world.stop();
    });
}

#[test]
fn a_stop_is_heard() {
    check("stops", PREEMPTIONS_MAX, || {
        let world = World::start(1);
        let preparer = world.stop();
        assert!(preparer.storage.list().unwrap().len() <= 1);
    });
}
