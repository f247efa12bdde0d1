//! From publishing to the ack: nothing is called durable that no sync has covered, no wake-up is
//! lost, and a failure is seen by all.

use super::disk::{Disk, notify_me};
use super::{PREEMPTIONS_MAX, check};
use crate::durability::Durability;
use crate::lsn::Lsn;
use crate::storage::Storage;
use crate::sync::{Arc, thread};
use crate::syncer::{Progress, Syncer};

const SEGMENT_BYTES: u64 = 4096;

/// A running syncer and its log's owner.
struct World {
    disk: Disk,
    progress: Arc<Progress>,
    syncer: thread::JoinHandle<Syncer>,
}

impl World {
    fn start(durability: Durability) -> Self {
        Self::start_on(Disk::new(), durability)
    }

    fn start_on(disk: Disk, durability: Durability) -> Self {
        let progress = Arc::new(Progress::new(Lsn(0)));
        let storage: Arc<dyn Storage> = Arc::new(disk.clone());
        progress.add_segment(0, storage.create(0).unwrap());
        let syncer = Syncer::new(storage, Arc::clone(&progress), notify_me(), SEGMENT_BYTES);
        let body = move || syncer.run(durability);
        let syncer = thread::Builder::new().name("sync".to_owned()).spawn(body).unwrap();
        World { disk, progress, syncer }
    }

    /// Writes bytes up to `end` and publishes them, as the appender does.
    fn publish(&self, end: u64) {
        self.disk.seen.write(end);
        self.progress.publish(Lsn(end));
        self.syncer.thread().unpark();
    }

    /// Sleeps until `end` is durable or a sync has failed.
    fn wait(&self, end: u64) {
        while self.progress.durable() < Lsn(end) && self.progress.failure().is_none() {
            thread::park();
            self.check();
        }
        self.check();
    }

    fn check(&self) {
        check_durable(&self.progress, &self.disk);
    }

    fn stop(self) -> Syncer {
        self.progress.stop();
        self.syncer.thread().unpark();
        self.syncer.join().unwrap()
    }
}

fn check_durable(progress: &Progress, disk: &Disk) {
    let durable = progress.durable().0;
    let synced = disk.seen.synced();
    assert!(durable <= synced, "{durable} is acked, {synced} is synced");
}

#[test]
fn an_ack_comes_after_the_sync() {
    check("acks", PREEMPTIONS_MAX, || {
        let world = World::start(Durability::Sync);
        world.publish(8);
        world.check();
        world.publish(16);
        world.wait(16);
        world.stop();
    });
}

#[test]
fn an_ack_for_a_second_segment() {
    check("acks over two segments", PREEMPTIONS_MAX, || {
        let world = World::start(Durability::Sync);
        world.publish(8);
        world.progress.add_segment(1, world.disk.create(1).unwrap());
        world.publish(SEGMENT_BYTES + 8);
        world.wait(SEGMENT_BYTES + 8);
        world.stop();
    });
}

/// Another thread that looks at the durable position on its own.
#[test]
fn an_ack_by_another_thread() {
    check("acks by another thread", PREEMPTIONS_MAX, || {
        let world = World::start(Durability::Sync);
        let (progress, disk) = (Arc::clone(&world.progress), world.disk.clone());
        let look = move || {
            let before = progress.durable();
            check_durable(&progress, &disk);
            assert!(progress.durable() >= before, "the durable position fell");
        };
        let looker = thread::Builder::new().spawn(look).unwrap();
        world.publish(8);
        world.wait(8);
        looker.join().unwrap();
        world.stop();
    });
}

/// In a mode without syncs one is made when it is asked for.
#[test]
fn a_wish_is_heard() {
    check("wishes", PREEMPTIONS_MAX, || {
        let world = World::start(Durability::Os);
        world.disk.seen.write(8);
        world.progress.publish(Lsn(8));
        world.progress.want_durable(Lsn(8));
        world.syncer.thread().unpark();
        world.wait(8);
        world.stop();
    });
}

/// What was published before the end is synced by who closes the log.
#[test]
fn the_end_leaves_nothing_behind() {
    check("ends", PREEMPTIONS_MAX, || {
        let world = World::start(Durability::Sync);
        world.publish(8);
        let (progress, disk) = (Arc::clone(&world.progress), world.disk.clone());
        let mut syncer = world.stop();
        syncer.sync_published().unwrap();
        assert_eq!(progress.durable(), Lsn(8));
        check_durable(&progress, &disk);
    });
}

#[test]
fn a_failed_sync_is_final_for_all() {
    check("poison", PREEMPTIONS_MAX, || {
        let disk = Disk::new();
        disk.fail_sync_after(1);
        let world = World::start_on(disk, Durability::Sync);
        let progress = Arc::clone(&world.progress);
        let look = move || {
            if let Some(failure) = progress.failure() {
                let durable = failure.durable;
                assert_eq!(progress.durable(), durable, "something was acked after the failure");
            }
        };
        let looker = thread::Builder::new().spawn(look).unwrap();
        world.publish(8);
        world.wait(8);
        world.publish(16);
        world.wait(16);
        assert!(world.progress.failure().is_some(), "the wait ended for no reason");
        assert_eq!(world.progress.durable(), Lsn(8));
        world.publish(24);
        looker.join().unwrap();
        let progress = Arc::clone(&world.progress);
        let mut syncer = world.stop();
        syncer.sync_published().unwrap_err();
        assert_eq!(progress.durable(), Lsn(8));
    });
}
