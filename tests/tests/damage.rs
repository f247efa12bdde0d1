//! Damage to the log, seen from the engine: what had been accepted is there after a start, or the
//! start fails with an error that names the file and the place. Nothing is dropped in silence.
//!
//! The log's own tests try every byte of a small log; these try what an operator meets: flipped
//! bytes, cut, swapped, missing and foreign files, a log of a newer version, and a directory that
//! another process uses. A refused start must leave every file as it was.
//!
//! The seed of the flipped bytes is printed; `TICKWHEEL_TEST_SEED` sets it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tickwheel_engine::{Engine, JobId, JobInfo, NewJob, StartError};
use tickwheel_tests::{
    binary::{self, Process},
    random::{Random, seed},
};
use tickwheel_wal::OpenError;

/// The smallest that the engine takes.
const SEGMENT_BYTES: u64 = 8 << 20;
/// Size of the demonstration's segments.
const DEMO_SEGMENT_BYTES: u64 = 16 << 20;
/// Bytes before the first record of a segment (`docs/file-format.md`).
const HEADER_PAGE_BYTES: u64 = 4096;
/// Offset of the format version in both copies of a segment's header.
const VERSION_OFFSETS: [u64; 2] = [8, 2048 + 8];
/// Jobs of a log: with their payloads they take three segments.
const JOBS: usize = 200;
const PAYLOAD_BYTES: usize = 100 << 10;
/// Flipped bytes that are tried per segment.
const FLIPS: usize = 12;
/// Longest wait for something that has to come.
const PATIENCE: Duration = Duration::from_secs(60);

/// The log of one shard with accepted jobs that wait, closed.
struct Store {
    dir: TempDir,
    jobs: Vec<JobId>,
}

impl Store {
    fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("tickwheel-damage").tempdir().unwrap();
        let mut store = Self { dir, jobs: Vec::new() };
        let engine = store.start().unwrap();
        store.add(&engine, JOBS);
        engine.shutdown(PATIENCE).unwrap();
        assert_eq!(store.used_segments().len(), 3, "the log has another size than planned");
        store
    }

    fn start(&self) -> Result<Engine, StartError> {
        Engine::builder()
            .data_dir(self.dir.path())
            .shards(1)
            .segment_bytes(SEGMENT_BYTES)
            .executors(1)
            .pin(false)
            .handler("wait", |_| Ok(()))
            .start()
    }

    /// Adds jobs that wait for an hour. A payload's bytes are never zero.
    fn add(&mut self, engine: &Engine, count: usize) {
        let job = |number: usize| {
            let payload = vec![1 + (number % 255) as u8; PAYLOAD_BYTES];
            NewJob::new("wait").payload(payload).delay(Duration::from_secs(3600))
        };
        let answers = engine.submit_batch((0..count).map(job).collect()).unwrap();
        self.jobs.extend(answers.into_iter().map(Result::unwrap));
    }

    /// Starts, and checks that every accepted job is there.
    #[track_caller]
    fn check_whole(&self, what: &str) -> Engine {
        let engine = match self.start() {
            Ok(engine) => engine,
            Err(error) => panic!("{what}: the start failed: {error}"),
        };
        for job in &self.jobs {
            let found = engine.job(*job).unwrap();
            assert!(
                matches!(found, Some(JobInfo::Pending { .. })),
                "{what}: job {job} is {found:?}"
            );
        }
        assert_eq!(engine.stats().unwrap().recovered_jobs, self.jobs.len() as u64, "{what}");
        engine
    }

    /// Starts, and checks that this is refused as corrupt and changes nothing; the damaged file
    /// and offset.
    #[track_caller]
    fn check_corrupt(&self, what: &str) -> (PathBuf, u64) {
        self.forget_snapshots();
        let before = self.snapshot();
        let error = refusal(self.start(), what);
        let text = error.to_string();
        let StartError::Log(OpenError::Corrupt { path, offset, lsn, .. }) = error else {
            panic!("{what}: {error:?}");
        };
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(
            text.contains(name) && text.contains(&format!("offset {offset}")),
            "{what}: {text}"
        );
        assert_eq!(lsn.0 % SEGMENT_BYTES, offset, "{what}");
        self.check_unchanged(&before, what);
        (path, offset)
    }

    /// Makes the next start read the whole log: behind a snapshot damage is found when the record is
    /// needed, or by `tickwheel wal verify`.
    fn forget_snapshots(&self) {
        for entry in fs::read_dir(self.dir.path().join("shard-000")).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "snap") {
                fs::remove_file(path).unwrap();
            }
        }
    }

    #[track_caller]
    fn check_unchanged(&self, before: &BTreeMap<PathBuf, Vec<u8>>, what: &str) {
        let after = self.snapshot();
        let names = |files: &BTreeMap<PathBuf, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(before), names(&after), "{what}: files came or went");
        for (path, bytes) in before {
            assert!(after[path] == *bytes, "{what}: {} was changed", path.display());
        }
    }

    /// All segment files and their bytes.
    fn snapshot(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        self.segments().into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
    }

    /// The segment files, in order.
    fn segments(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.dir.path().join("shard-000")).unwrap();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "seg"));
        paths.sort();
        paths
    }

    /// The segments that hold records, each with the offset where its bytes end.
    fn used_segments(&self) -> Vec<(PathBuf, u64)> {
        let end = |bytes: &[u8]| {
            bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1)
        };
        let segments = self.snapshot().into_iter();
        segments.map(|(path, bytes)| (path, end(&bytes))).filter(|(_, end)| *end > 0).collect()
    }
}

/// Why an engine did not start.
#[track_caller]
fn refusal(started: Result<Engine, StartError>, what: &str) -> StartError {
    match started {
        Ok(_) => panic!("{what}: the engine started"),
        Err(error) => error,
    }
}

/// Changes bytes of a file in place; what was there.
fn write(path: &Path, offset: u64, bytes: &[u8]) -> Vec<u8> {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut before = vec![0; bytes.len()];
    file.read_exact_at(&mut before, offset).unwrap();
    file.write_all_at(bytes, offset).unwrap();
    before
}

#[test]
fn a_flipped_byte_is_named_with_its_file_and_place() {
    let seed = seed();
    println!("seed {seed}");
    let mut random = Random::new(seed);
    let store = Store::new();
    for (path, end) in store.used_segments() {
        // The last records of the last segment are the log's own, above the last durable mark;
        // they are damaged by the test of the torn tail.
        for flip in 0..FLIPS {
            let offset = random.within(HEADER_PAGE_BYTES..end - 200);
            let file = OpenOptions::new().read(true).open(&path).unwrap();
            let mut byte = [0];
            file.read_exact_at(&mut byte, offset).unwrap();
            let bit = 1 << random.within(0..8);
            write(&path, offset, &[byte[0] ^ bit]);
            let what =
                format!("seed {seed}, flip {flip}: bit {bit:#x} at {offset} of {}", path.display());
            let (named, place) = store.check_corrupt(&what);
            assert_eq!(named, path, "{what}");
            // The place is the record around the byte.
            let span = (place..=place + PAYLOAD_BYTES as u64 + 4096).contains(&offset);
            assert!(span, "{what}: {place} was named");
            write(&path, offset, &byte);
        }
    }
    store.check_whole("all flips undone");
}

#[test]
fn cut_swapped_missing_and_foreign_segments_are_refused() {
    let store = Store::new();
    let segments: Vec<PathBuf> = store.used_segments().into_iter().map(|(path, _)| path).collect();
    let last = segments.last().unwrap();
    let aside = store.dir.path().join("aside");

    for path in &segments {
        for len_bytes in [0, 100, HEADER_PAGE_BYTES, SEGMENT_BYTES / 2, SEGMENT_BYTES - 1] {
            let bytes = fs::read(path).unwrap();
            OpenOptions::new().write(true).open(path).unwrap().set_len(len_bytes).unwrap();
            let what = format!("{} cut to {len_bytes}", path.display());
            assert_eq!(store.check_corrupt(&what).0, *path, "{what}");
            fs::write(path, bytes).unwrap();
        }
        fs::rename(path, &aside).unwrap();
        assert_eq!(store.check_corrupt("a missing segment").0, *path);
        // Zeros in place of the last one cannot be told from a crash before its header reached the
        // disk, since the marks of what it held were in it.
        if path != last {
            fs::write(path, vec![0; SEGMENT_BYTES as usize]).unwrap();
            assert_eq!(store.check_corrupt("zeros in place of a segment").0, *path);
        }
        fs::rename(&aside, path).unwrap();
    }

    // All from the last used one on: only the seal before it tells that it was there.
    let tail: Vec<PathBuf> = store.segments().into_iter().filter(|path| path >= last).collect();
    let kept: Vec<Vec<u8>> = tail.iter().map(|path| fs::read(path).unwrap()).collect();
    tail.iter().for_each(|path| fs::remove_file(path).unwrap());
    assert_eq!(store.check_corrupt("a missing end").0, *last);
    for (path, bytes) in tail.iter().zip(kept) {
        fs::write(path, bytes).unwrap();
    }

    let swap = |a: &Path, b: &Path| {
        fs::rename(a, &aside).unwrap();
        fs::rename(b, a).unwrap();
        fs::rename(&aside, b).unwrap();
    };
    for [a, b] in [[0, 1], [1, 2], [0, 2]] {
        swap(&segments[a], &segments[b]);
        assert_eq!(store.check_corrupt("two swapped segments").0, segments[a]);
        swap(&segments[a], &segments[b]);
    }

    let other = Store::new();
    for (own, foreign) in segments.iter().zip(other.segments()) {
        let bytes = fs::read(own).unwrap();
        fs::copy(foreign, own).unwrap();
        let (named, _) = store.check_corrupt("a segment of another log");
        // The first segment sets what the others are compared with.
        assert!(
            named == *own || (*own == segments[0] && named == segments[1]),
            "{}",
            named.display()
        );
        fs::write(own, bytes).unwrap();
    }
    store.check_whole("all damage undone");
}

#[test]
fn a_torn_tail_is_dropped_and_all_that_was_accepted_stays() {
    let mut store = Store::new();
    let mut random = Random::new(7);
    for round in 0..4 {
        let (path, end) = store.used_segments().pop().unwrap();
        let end = end.next_multiple_of(8);
        let what = match round {
            0 => {
                let garbage: Vec<u8> = (0..5000).map(|_| random.draw() as u8).collect();
                write(&path, end, &garbage);
                "garbage behind the records"
            }
            1 => {
                write(&path, end - 8, &[0; 8]);
                "the last record cut off in its middle"
            }
            2 => {
                write(&path, end - 24, &[0; 24]);
                "the last record missing"
            }
            _ => {
                // What a record looks like whose later part reached the disk first.
                write(&path, end + 16, &[0xff; 4096]);
                "a hole, and bytes behind it"
            }
        };
        let engine = store.check_whole(what);
        // Work goes on behind it, and is there at the next start.
        store.add(&engine, 1);
        engine.shutdown(PATIENCE).unwrap();
    }
    store.check_whole("all torn tails dropped");
}

#[test]
fn one_damaged_copy_of_a_header_does_no_harm() {
    let store = Store::new();
    let (path, _) = store.used_segments().swap_remove(1);
    write(&path, 40, &[0xff; 8]);
    let engine = store.check_whole("the first copy damaged");
    engine.shutdown(PATIENCE).unwrap();
    write(&path, 2048 + 40, &[0xff; 8]);
    assert_eq!(store.check_corrupt("both copies damaged"), (path, 0));
}

#[test]
fn a_log_of_a_newer_version_is_refused_and_untouched() {
    let store = Store::new();
    for (path, _) in store.used_segments() {
        let old = VERSION_OFFSETS.map(|offset| write(&path, offset, &3_u32.to_le_bytes()));
        assert_eq!(
            old[0],
            2_u32.to_le_bytes(),
            "the version is not where docs/file-format.md says"
        );
        let before = store.snapshot();
        let error = refusal(store.start(), "a newer log");
        let newer = OpenError::NewerVersion { found: 3, supported: 2 };
        assert_eq!(error.to_string(), newer.to_string());
        assert!(matches!(error, StartError::Log(OpenError::NewerVersion { .. })), "{error:?}");
        store.check_unchanged(&before, "a newer log");
        for (offset, bytes) in VERSION_OFFSETS.into_iter().zip(old) {
            write(&path, offset, &bytes);
        }
    }
    store.check_whole("the version set back");
}

#[test]
fn a_directory_in_use_names_the_process_that_holds_it() {
    let dir = tempfile::Builder::new().prefix("tickwheel-held").tempdir().unwrap();
    let mut command = Command::new(binary::tickwheel());
    command.args(["demo", "--jobs", "1", "--seconds", "1", "--data-dir"]).arg(dir.path());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut holder = Process::start(&mut command).unwrap();
    // The demonstration keeps its engine in a folder of its own.
    let data_dir = dir.path().join("demo");
    let begun = Instant::now();
    while !fs::read_to_string(data_dir.join("shard-000/LOCK"))
        .is_ok_and(|text| text.ends_with('\n'))
    {
        assert!(begun.elapsed() < PATIENCE && holder.ended().unwrap().is_none(), "no holder");
        thread::sleep(Duration::from_millis(1));
    }
    let start = || {
        Engine::builder().data_dir(&data_dir).segment_bytes(DEMO_SEGMENT_BYTES).pin(false).start()
    };
    let error = refusal(start(), "a directory in use");
    let expected = format!("process {} ", holder.id());
    holder.kill().unwrap();
    assert!(error.to_string().contains(&expected), "{error}");
    let StartError::Log(OpenError::InUse { dir: named, holder }) = error else {
        panic!("{error:?}")
    };
    assert_eq!(named, data_dir.join("shard-000"));
    assert!(holder.contains(&expected), "{holder}");
    // The lock ends with the process, however it ends.
    start().unwrap();
}
