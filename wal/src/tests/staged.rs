//! Appends into private memory: the files get all of it, when they should, and readers see no
//! difference.

use super::faulty::{Faults, Faulty};
use super::image::{Image, Random, SEGMENT_BYTES, Subject, segment};
use crate::log::Workers;
use crate::recovery::{Record, Target};
use crate::storage::{Directory, MappingWriter, SegmentFile, Staged, Storage};
use crate::sync::{Arc, Ordering, thread};
use crate::syncer::{Progress, Syncer};
use crate::{AppendError, Durability, LogOptions, Lsn};

const MODES: [Durability; 3] =
    [Durability::Sync, Durability::Interval(std::time::Duration::from_millis(2)), Durability::Os];

fn open(dir: &std::path::Path, durability: Durability, staged: bool) -> Subject {
    let options =
        LogOptions::new(dir).segment_bytes(SEGMENT_BYTES).durability(durability).staged(staged);
    let opened = Subject::open_with(|notify, records| {
        options.open(notify, &mut |record| {
            records.push((record.lsn, record.payload.to_vec()));
            Ok(())
        })
    });
    opened.unwrap()
}

/// Through many segments, with a staging and a mapping log in turns, in every mode.
#[test]
fn both_ways_write_the_same_log() {
    for mode in MODES {
        let dir = tempfile::tempdir().unwrap();
        let mut random = Random(3);
        let mut expected = Vec::new();
        for life in 0..4 {
            let mut subject = open(dir.path(), mode, life % 2 == 0);
            assert_eq!(subject.records, expected, "{mode} life {life}");
            for number in 0..40 {
                let len = random.below(9000) as usize;
                subject.append(&random.payload(len));
                if number % 3 == 0 {
                    subject.log.commit();
                }
            }
            // In memory, and in files of segments that are written.
            for (lsn, payload) in &subject.records {
                assert_eq!(&*subject.log.read(*lsn).unwrap(), payload, "{mode} {lsn:?}");
            }
            expected = subject.records;
            // A log that is dropped leaves all to the operating system.
            if life % 3 == 0 { subject.log.close().unwrap() } else { drop(subject.log) }
        }
    }
}

/// What an acked commit wrote is in the file. What was not published may only be in memory.
#[test]
fn a_sync_writes_first() {
    let dir = tempfile::tempdir().unwrap();
    let mut subject = open(dir.path(), Durability::Sync, true);
    subject.append(&[0x5a; 5000]);
    subject.commit_and_wait();
    let synced = holds(dir.path(), 0x5a);
    subject.append(&[0xa5; 5000]);
    let unpublished = holds(dir.path(), 0xa5);
    assert_eq!((synced, unpublished), (5000, 0));
    drop(subject.log);
    assert_eq!(holds(dir.path(), 0xa5), 5000);
}

/// Bytes of this value in the first segment, as the operating system has it.
fn holds(dir: &std::path::Path, value: u8) -> usize {
    let image = Image::of(dir);
    // Checksums may hold the value by chance, so only runs count.
    image.0[0]
        .chunk_by(|a, b| a == b)
        .filter(|run| run[0] == value && run.len() > 8)
        .map(<[u8]>::len)
        .sum()
}

/// Without syncs the syncer hands over by itself. It gives no notice of that.
#[test]
fn what_is_published_is_handed_over_without_a_sync() {
    let dir = tempfile::tempdir().unwrap();
    let mut subject = open(dir.path(), Durability::Os, true);
    subject.append(&[0x5a; 5000]);
    let durable = subject.log.durable();
    subject.log.commit();
    let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while holds(dir.path(), 0x5a) < 5000 {
        assert!(std::time::Instant::now() < until, "it was not handed over");
        thread::yield_now();
    }
    assert_eq!(subject.log.durable(), durable);
}

/// Segments that are handed over are read from their files, and their memory is used again.
#[test]
fn memory_is_let_go_of_when_its_segment_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let staged = Arc::new(Staged::new(Arc::new(Directory::open(dir.path()).unwrap())));
    let storage: Arc<dyn Storage> = staged;
    let make = |index: u64| -> (Box<dyn SegmentFile>, MappingWriter) {
        let file = storage.create(index).unwrap();
        file.allocate(SEGMENT_BYTES).unwrap();
        let writer = file.map_write(SEGMENT_BYTES as usize).unwrap();
        (file, writer)
    };
    let progress = Arc::new(Progress::new(Lsn(0)));
    let mut syncer =
        Syncer::new(Arc::clone(&storage), Arc::clone(&progress), Arc::new(|| {}), SEGMENT_BYTES);
    let (file, mut first) = make(0);
    progress.add_segment(0, file);
    first.write(0, b"first");
    first.freeze(5);
    first.write(5, b"not frozen");
    let memory = Arc::downgrade(first.mapping());
    progress.publish(Lsn(5));
    assert!(syncer.hand_over_published());
    assert!(!syncer.hand_over_published(), "nothing is new");
    assert_eq!(&std::fs::read(segment(dir.path(), 0)).unwrap()[..8], b"first\0\0\0");

    let (file, mut second) = make(1);
    progress.add_segment(1, file);
    second.write(0, b"second");
    second.freeze(6);
    progress.publish(Lsn(SEGMENT_BYTES + 6));
    assert!(syncer.hand_over_published());
    assert_eq!(&std::fs::read(segment(dir.path(), 1)).unwrap()[..6], b"second");
    let settled = progress.take_settled();
    assert_eq!(settled.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [0]);
    assert_eq!(settled[0].1.frozen_bytes(), b"first");
    assert_eq!(progress.durable(), Lsn(0));

    let reader = Arc::clone(first.mapping());
    drop(first);
    let (_, third) = make(2);
    assert!(!std::ptr::eq(Arc::as_ptr(third.mapping()), memory.as_ptr()));
    assert_eq!(reader.frozen_bytes(), b"first", "someone still reads it");
    drop(reader);
    let (_, mut fourth) = make(3);
    assert!(memory.upgrade().is_none());
    assert_eq!(fourth.mapping().frozen_len(), 0);
    fourth.write(0, b"x");
    fourth.freeze(1);
    // The sync reopens what was closed, and gives the second one its file as well.
    progress.add_segment(2, storage.open(2).unwrap());
    progress.publish(Lsn(2 * SEGMENT_BYTES));
    syncer.sync_published().unwrap();
    assert_eq!(progress.durable(), Lsn(2 * SEGMENT_BYTES));
}

/// A write that fails is a failed sync.
#[test]
fn a_failed_write_poisons_the_log() {
    for mode in [Durability::Sync, Durability::Os] {
        let dir = tempfile::tempdir().unwrap();
        let faults = Faults::none();
        let directory = Directory::open(dir.path()).unwrap();
        let faulty = Arc::new(Faulty { directory, faults: Arc::clone(&faults) });
        let options = LogOptions::new(dir.path()).segment_bytes(SEGMENT_BYTES).durability(mode);
        let mut subject = Subject::open_with(|notify, _| {
            let mut replay = |_: Record<'_>| Ok(());
            let target = Target::Records(&mut replay);
            options.staged(true).open_on(faulty, None, Workers::Threads, notify, target)
        })
        .unwrap();
        subject.wait_for_pool();
        // This disk counts each write as new space, as a file system does that copies on write.
        faults.no_reservation.store(true, Ordering::SeqCst);
        faults.space_bytes.store(0, Ordering::SeqCst);
        subject.append(&[7; 5000]);
        subject.log.commit();
        subject.wait("failure", |log| log.failure().is_some());
        assert_eq!(subject.log.failure().unwrap().path, segment(dir.path(), 0), "{mode}");
        assert_eq!(subject.log.append(&[b"more"]).unwrap_err(), AppendError::Poisoned, "{mode}");
    }
}
