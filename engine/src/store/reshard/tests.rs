//! Changes that are cut off: after each step of the swap, and before it began.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use tempfile::TempDir;

use super::{claim, reshard, swap, write_all};
use crate::{
    Engine, NewJob, StartError,
    store::{Store, StoreError},
};

const HOUR: Duration = Duration::from_secs(3600);
const JOBS: u64 = 40;

fn start(dir: &Path) -> Result<Engine, StartError> {
    let builder = Engine::builder().data_dir(dir).segment_bytes(8 << 20).executors(1).pin(false);
    builder.handler("wait", |_| Ok(())).start()
}

/// A data directory of two shards with jobs that wait.
fn data() -> TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("SHARDS"), "2\n").unwrap();
    let engine = start(root.path()).unwrap();
    for number in 0..JOBS {
        engine.submit(NewJob::new("wait").key(format!("{number}")).delay(HOUR)).unwrap();
    }
    engine.shutdown(HOUR).unwrap();
    root
}

#[track_caller]
fn check(dir: &Path, shards: usize) {
    let engine = start(dir).unwrap();
    assert_eq!((engine.shards(), engine.stats().unwrap().counts.pending), (shards, JOBS));
    engine.shutdown(HOUR).unwrap();
}

fn names(dir: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(dir).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Lets a change begin to take effect, and be cut off by a kill after each single step of it, until
/// `stop` of them are done; the folder with the originals, and the steps.
fn cut_off(dir: &Path, stop: usize) -> (PathBuf, Vec<&'static str>) {
    let written = write_all(&Store::open(dir).unwrap(), 3, &mut ()).unwrap();
    let originals = written.swap.originals();
    written.swap.decide().unwrap();
    drop(written);
    let mut steps: Vec<&'static str> = Vec::new();
    while let Some(swap) = swap::begun(dir).unwrap() {
        assert!(matches!(start(dir), Err(StartError::ReshardUnfinished { .. })), "{steps:?}");
        assert!(matches!(Store::open(dir), Err(StoreError::ReshardUnfinished { .. })), "{steps:?}");
        if steps.len() == stop {
            break;
        }
        let ended = swap.finish(&mut |step| {
            steps.push(step);
            Err(io::Error::other("cut off"))
        });
        assert!(ended.is_ok() || matches!(ended, Err(StoreError::ReshardStopped { .. })));
    }
    (originals, steps)
}

#[test]
fn every_step_may_be_the_last_before_a_crash() {
    let root = data();
    let dir = root.path();
    let (originals, steps) = cut_off(dir, usize::MAX);
    assert_eq!(steps.len(), 2 + 3 + 2, "{steps:?}");
    let expected = ["SHARDS", "shard-000", "shard-001", "shard-002"];
    let folder = originals.file_name().unwrap().to_str().unwrap();
    assert_eq!(names(dir), expected.into_iter().chain([folder]).map(str::to_owned).collect());
    let expected = ["SHARDS", "moved-ids.tsv", "shard-000", "shard-001"];
    assert_eq!(names(&originals), expected.map(str::to_owned).into());
    check(dir, 3);
    // What was there before is a data directory of its own.
    check(&originals, 2);
}

#[test]
fn the_tool_finishes_what_was_cut_off_before_it_does_what_it_is_asked_for() {
    let root = data();
    let dir = root.path();
    let (originals, steps) = cut_off(dir, 3);
    assert_eq!(steps.len(), 3);
    let done = reshard(dir, 3, &mut ()).unwrap();
    assert_eq!((done.from, done.to, done.done.is_none()), (3, 3, true));
    assert_eq!(done.finished, Some(originals));
    let (originals, _) = {
        assert!(reshard(dir, 2, &mut ()).unwrap().done.is_some());
        cut_off(dir, 0)
    };
    let done = reshard(dir, 1, &mut ()).unwrap();
    assert_eq!((done.from, done.to, done.finished), (3, 1, Some(originals)));
    check(dir, 1);
}

#[test]
fn a_change_that_was_never_decided_has_changed_nothing() {
    let root = data();
    let dir = root.path();
    let written = write_all(&Store::open(dir).unwrap(), 3, &mut ()).unwrap();
    let left = written.swap.originals();
    drop(written);
    check(dir, 2);
    assert!(left.exists());
    // Of another that was done.
    let kept = dir.join("reshard-1");
    fs::create_dir(&kept).unwrap();
    let done = reshard(dir, 1, &mut ()).unwrap();
    assert_eq!((done.from, done.to, done.finished), (2, 1, None));
    assert!(kept.exists());
    assert!(!left.exists() || done.done.unwrap().originals == left, "what was left is still there");
    check(dir, 1);
}

#[test]
fn while_one_works_no_engine_starts_and_no_other_works() {
    let root = data();
    let dir = root.path();
    let alone = claim(dir).unwrap();
    assert!(matches!(start(dir), Err(StartError::ReshardUnderWay { .. })));
    assert!(matches!(reshard(dir, 1, &mut ()), Err(StoreError::InUse { .. })));
    drop(alone);
    check(dir, 2);
}

#[test]
fn a_damaged_mark_is_named() {
    let root = data();
    for text in ["", "reshard-1 2", "../elsewhere 2 3", "reshard-1 0 3", "reshard-x 2 3"] {
        fs::write(root.path().join("RESHARD"), text).unwrap();
        let error = reshard(root.path(), 3, &mut ()).unwrap_err().to_string();
        assert!(error.contains("RESHARD") && error.contains("damaged"), "{text:?}: {error}");
    }
}
