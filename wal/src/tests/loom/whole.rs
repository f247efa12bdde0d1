//! A whole log with both of its threads: opened, appended to, committed, waited for and ended.

use super::disk::{Disk, notify_me};
use super::{PREEMPTIONS_MAX_LONG, check};
use crate::log::Workers;
use crate::recovery::Target;
use crate::sync::{Arc, thread};
use crate::{Durability, Log, LogOptions};

fn open(disk: &Disk) -> Log {
    let options = LogOptions::new("").segment_bytes(64 << 10).ready_segments(1);
    let options = options.durability(Durability::Sync);
    let target = Target::Records(&mut |_| Ok(()));
    options.open_on(Arc::new(disk.clone()), None, Workers::Threads, notify_me(), target).unwrap()
}

#[test]
fn a_log_from_its_opening_to_its_end() {
    check("a whole log", PREEMPTIONS_MAX_LONG, || {
        let disk = Disk::new();
        let mut log = open(&disk);
        let appended = log.append(&[b"first"]).unwrap();
        disk.seen.write(log.appended().0);
        let published = log.commit();
        while log.durable() < published {
            thread::park();
        }
        assert!(disk.seen.synced() >= appended.end.0, "an ack without a sync");
        // Joins both threads.
        drop(log);
    });
}
