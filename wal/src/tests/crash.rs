//! Power cuts: of what was written since the last sync, any sectors may be on the disk.

use std::path::Path;
use std::time::Duration;

use super::image::{Image, Random, Records, SEGMENT_BYTES, Subject, survivors};
use crate::{Durability, Lsn};

const SECTOR_BYTES: usize = 512;

/// A log at several moments after its last sync.
struct History {
    /// The first is what was synced. Every file is as long as in the last.
    images: Vec<Image>,
    records: Records,
    durable: Lsn,
}

/// Works on the log in `dir`, syncs, works on without a sync, and is killed.
fn history(dir: &Path, random: &mut Random) -> History {
    // The first sync comes at once, the next after an hour.
    let mode = Durability::Interval(Duration::from_secs(3600));
    let mut subject = Subject::open(dir, mode).unwrap();
    work(&mut subject, random, Commits::None);
    let durable = subject.commit_and_wait();
    subject.wait_for_pool();
    let mut images = vec![Image::of(dir)];
    for _ in 0..1 + random.below(4) {
        work(&mut subject, random, Commits::Some);
        if random.below(4) != 0 {
            subject.log.commit();
        }
        subject.wait_for_pool();
        images.push(Image::of(dir));
    }
    assert_eq!(subject.log.durable(), durable, "there was a second sync");
    let records = subject.records;
    drop(subject.log);
    let count = images.iter().map(|image| image.0.len()).max().unwrap_or(0);
    for image in &mut images {
        // A segment is zero, durably, before it is used.
        image.0.resize(count, vec![0; SEGMENT_BYTES as usize]);
    }
    History { images, records, durable }
}

#[derive(PartialEq)]
enum Commits {
    /// The sync at once is kept for later.
    None,
    Some,
}

fn work(subject: &mut Subject, random: &mut Random, commits: Commits) {
    for _ in 0..random.below(8) {
        let bound = if random.below(3) == 0 { 16_000 } else { 300 };
        let len = random.below(bound) as usize;
        let payload = random.payload(len);
        subject.append(&payload);
        if commits == Commits::Some && random.below(3) == 0 {
            subject.log.commit();
        }
    }
    // At least one record, so that there is something to publish.
    subject.append(b"last");
}

/// Each sector from one of the moments: all alike, mostly old, mostly new.
fn cut(history: &History, random: &mut Random) -> Image {
    let last = history.images.len() as u64 - 1;
    let old_of_16 = random.below(17);
    let mut image = history.images[0].clone();
    for (index, bytes) in image.0.iter_mut().enumerate() {
        for (sector, bytes) in bytes.chunks_mut(SECTOR_BYTES).enumerate() {
            let moment = if random.below(16) < old_of_16 { 0 } else { random.below(last) + 1 };
            let from = &history.images[moment as usize].0[index][sector * SECTOR_BYTES..];
            bytes.copy_from_slice(&from[..SECTOR_BYTES]);
        }
    }
    image
}

fn check_cut(dir: &Path, history: &History, what: &str) -> Records {
    let (records, _) = survivors(dir).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(records == history.records[..records.len()], "{what}: not the start of the log");
    let durable = history.records.iter().filter(|(lsn, _)| *lsn < history.durable).count();
    assert!(records.len() >= durable, "{what}: {} of {durable} durable records", records.len());
    records
}

/// A power cut never loses a durable record and is never taken for corruption. Then the log goes
/// on from what was left, through more cuts.
#[test]
fn any_sectors_may_survive() {
    for seed in 0..10 {
        let mut random = Random(seed);
        let dir = tempfile::tempdir().unwrap();
        let mut survived = Vec::new();
        for life in 0..3 {
            let history = history(dir.path(), &mut random);
            assert!(history.records[..survived.len()] == survived[..], "seed {seed} life {life}");
            for attempt in 0..25 {
                cut(&history, &mut random).write(dir.path());
                let what = format!("seed {seed} life {life} cut {attempt}");
                survived = check_cut(dir.path(), &history, &what);
            }
        }
    }
}

/// Without any sync after the opening, everything may be gone, and that is no corruption.
#[test]
fn nothing_was_synced() {
    for seed in 100..106 {
        let mut random = Random(seed);
        let dir = tempfile::tempdir().unwrap();
        let mut subject = Subject::open(dir.path(), Durability::Os).unwrap();
        let durable = subject.log.durable();
        subject.wait_for_pool();
        let mut images = vec![Image::of(dir.path())];
        for _ in 0..3 {
            work(&mut subject, &mut random, Commits::Some);
            work(&mut subject, &mut random, Commits::Some);
            subject.log.commit();
            subject.wait_for_pool();
            images.push(Image::of(dir.path()));
        }
        let records = subject.records;
        drop(subject.log);
        let count = images.iter().map(|image| image.0.len()).max().unwrap_or(0);
        for image in &mut images {
            image.0.resize(count, vec![0; SEGMENT_BYTES as usize]);
        }
        let history = History { images, records, durable };
        for attempt in 0..30 {
            cut(&history, &mut random).write(dir.path());
            let what = format!("seed {seed} cut {attempt}");
            check_cut(dir.path(), &history, &what);
        }
        // And the log opens for good.
        Subject::open(dir.path(), Durability::Sync).unwrap();
    }
}
