//! `tickwheel wal …`, `tickwheel backup` and `tickwheel reshard` from outside, on data directories of a real engine.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use tickwheel_engine::{Engine, JobId, JobInfo, NewJob};

/// The smallest that the engine takes.
const SEGMENT_BYTES: u64 = 8 << 20;
const HOUR: Duration = Duration::from_secs(3600);
const PATIENCE: Duration = Duration::from_secs(60);

fn tickwheel(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tickwheel"));
    command.env_remove("TICKWHEEL_DATA_DIR").env_remove("RUST_LOG");
    command.args(arguments).output().unwrap()
}

/// Expects this exit code, and these texts on standard output, or on standard error for code 3.
#[track_caller]
fn check(arguments: &[&str], code: i32, parts: &[&str]) -> String {
    let output = tickwheel(arguments);
    let stream = if code == 3 { &output.stderr } else { &output.stdout };
    let text = String::from_utf8_lossy(stream).into_owned();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {output:?}");
    for part in parts {
        let shown = text.chars().take(2000).collect::<String>();
        assert!(text.contains(part), "{arguments:?}: {part:?} is not in\n{shown}");
    }
    text
}

#[track_caller]
fn check_json(arguments: &[&str], code: i32) -> Value {
    let text = check(&[arguments, &["--json"]].concat(), code, &[]);
    let document = serde_json::from_str(&text).unwrap();
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md");
    check_documented(&document, &fs::read_to_string(page).unwrap());
    document
}

/// Every field of a document has its place on the page.
#[track_caller]
fn check_documented(document: &Value, page: &str) {
    match document {
        Value::Object(fields) => {
            for (name, value) in fields {
                assert!(page.contains(&format!("`{name}`")), "{name} is not in operations.md");
                check_documented(value, page);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| check_documented(value, page)),
        _ => {}
    }
}

/// A data directory whose jobs wait for an hour.
struct Data {
    root: TempDir,
    jobs: Vec<JobId>,
}

impl Data {
    fn new(shards: usize, jobs: usize) -> Self {
        let mut data = Self { root: tempfile::tempdir().unwrap(), jobs: Vec::new() };
        let engine = start(&data.dir(), Some(shards));
        // A batch goes to one shard.
        for start in (0..jobs).step_by(50) {
            data.jobs.extend(add(&engine, start..jobs.min(start + 50)));
        }
        engine.shutdown(PATIENCE).unwrap();
        data
    }

    fn dir(&self) -> PathBuf {
        self.root.path().join("data")
    }

    fn shard(&self) -> PathBuf {
        self.dir().join("shard-000")
    }

    /// Changes one byte of the log of the first shard.
    fn flip(&self, lsn: u64, offset: u64) {
        let path = self.shard().join(format!("{:020}.seg", lsn / SEGMENT_BYTES));
        let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
        let at = lsn % SEGMENT_BYTES + offset;
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
    }

    /// Positions of the first shard's records of one event, by job.
    fn records_of(&self, event: &str) -> BTreeMap<JobId, u64> {
        self.records(event).into_iter().collect()
    }

    fn records(&self, event: &str) -> Vec<(JobId, u64)> {
        let dir = self.shard();
        let text = check(&["wal", "dump", dir.to_str().unwrap(), "--json"], 0, &[]);
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines
            .filter(|line| line["event"] == event)
            .map(|line| {
                let job = line["job"].as_str().unwrap().parse().unwrap();
                (job, line["lsn"].as_u64().unwrap())
            })
            .collect()
    }
}

fn start(dir: &Path, shards: Option<usize>) -> Engine {
    let builder = Engine::builder().data_dir(dir).segment_bytes(SEGMENT_BYTES).executors(1);
    let builder = builder.pin(false).handler("wait", |_| Ok(())).handler("done", |_| Ok(()));
    match shards {
        Some(shards) => builder.shards(shards),
        None => builder,
    }
    .start()
    .unwrap()
}

fn add(engine: &Engine, numbers: std::ops::Range<usize>) -> Vec<JobId> {
    let job =
        |number: usize| NewJob::new("wait").payload(format!("payload of {number}")).delay(HOUR);
    let answers = engine.submit_batch(numbers.map(job).collect()).unwrap();
    answers.into_iter().map(Result::unwrap).collect()
}

/// Starts an engine there, and expects these jobs to wait and no others.
#[track_caller]
fn check_jobs(dir: &Path, jobs: &BTreeSet<JobId>) -> Engine {
    let engine = start(dir, None);
    for job in jobs {
        let found = engine.job(*job).unwrap();
        assert!(matches!(found, Some(JobInfo::Pending { .. })), "job {job} is {found:?}");
    }
    assert_eq!(engine.stats().unwrap().counts.pending, jobs.len() as u64);
    engine
}

/// All files of a directory tree but the locks, with their bytes.
fn files_in(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_in(&path));
        } else if !path.ends_with("LOCK") {
            files.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    files
}

#[test]
fn help_teaches_and_wrong_directories_are_named() {
    check(&["wal", "--help"], 0, &["stat", "dump", "verify", "repair"]);
    for verb in ["stat", "dump", "verify", "repair"] {
        check(&["wal", verb, "--help"], 0, &["Examples:", "Exit codes:", "--json"]);
    }
    check(&["backup", "--help"], 0, &["Examples:", "Exit codes:", "The server may run"]);
    check(
        &["reshard", "--help"],
        0,
        &["Examples:", "Exit codes:", "must not run", "moved-ids.tsv"],
    );
    let empty = tempfile::tempdir().unwrap();
    let dir = empty.path().to_str().unwrap();
    for verb in ["stat", "dump", "verify", "repair"] {
        check(&["wal", verb, dir], 3, &["holds no log", "SHARDS"]);
        check(&["wal", verb, "/nowhere"], 3, &["/nowhere"]);
    }
    check(&["backup", dir, "/nowhere"], 3, &["holds no log"]);
    check(&["reshard", dir, "--shards", "2"], 3, &["holds no log"]);
    for number in ["0", "257", "two"] {
        check(&["reshard", dir, "--shards", number], 2, &[]);
    }
}

#[test]
fn a_whole_log_is_shown_and_clean() {
    let data = Data::new(2, 300);
    let dir = data.dir();
    let dir = dir.to_str().unwrap();
    let before = files_in(&data.dir());
    check(&["wal", "stat", dir], 0, &["shard            1", "closed cleanly   yes"]);
    let stat = check_json(&["wal", "stat", dir], 0);
    let shards = stat["shards"].as_array().unwrap();
    let sum = |field: &str| -> u64 {
        shards.iter().map(|shard| shard["records"][field].as_u64().unwrap()).sum()
    };
    assert_eq!((shards.len(), sum("data"), sum("clean_shutdown")), (2, 300, 2), "{stat:#}");
    let dump =
        check(&["wal", "dump", dir, "--payload"], 0, &["added job 1-", "\"payload of 299\""]);
    assert!(dump.lines().filter(|line| line.contains(" added ")).count() == 300);
    assert!(!check(&["wal", "dump", dir], 0, &[]).contains("payload of"));
    let one = check(&["wal", "dump", dir, "--limit", "1", "--from", "4097"], 0, &[]);
    assert_eq!(one.lines().count(), 2, "a heading and a record: {one}");
    check(&["wal", "verify", dir], 0, &["shard-000: clean", "pending jobs"]);
    let verdict = check_json(&["wal", "verify", dir], 0);
    let pending: u64 =
        (0..2).map(|shard| verdict["shards"][shard]["pending_jobs"].as_u64().unwrap()).sum();
    assert_eq!((verdict["verdict"].as_str(), pending), (Some("clean"), 300));
    check(&["wal", "repair", dir, "--yes"], 0, &["nothing to repair"]);
    assert!(files_in(&data.dir()) == before, "something was changed");
}

#[test]
fn a_torn_tail_is_harmless_and_flipped_bytes_are_all_named() {
    let data = Data::new(1, 200);
    let dir = data.dir();
    let dir = dir.to_str().unwrap();
    let stat = check_json(&["wal", "stat", dir], 0);
    let end = stat["shards"][0]["end_lsn"].as_u64().unwrap();
    for offset in 40..60 {
        data.flip(end, offset);
    }
    check(&["wal", "verify", dir], 1, &["torn tail", "60 B"]);
    check(&["wal", "repair", dir], 0, &["nothing to repair"]);
    let added = data.records_of("added");
    let lsns: Vec<u64> = [3, 77, 150].map(|number| added[&data.jobs[number]]).to_vec();
    lsns.iter().for_each(|lsn| data.flip(*lsn, 20));
    let parts = lsns.iter().map(|lsn| format!("LSN {lsn}")).collect::<Vec<_>>();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let before = files_in(&data.dir());
    let text = check(&["wal", "verify", dir], 2, &parts);
    assert!(text.contains("00000000000000000000.seg") && text.contains("wal repair"), "{text}");
    assert_eq!(text.matches("DAMAGED").count(), 3, "{text}");
    let verdict = check_json(&["wal", "verify", dir], 2);
    assert_eq!(verdict["shards"][0]["damage"].as_array().unwrap().len(), 3, "{verdict:#}");
    assert!(files_in(&data.dir()) == before, "a check changed something");
}

#[test]
fn a_repaired_log_lacks_exactly_the_damaged_records() {
    let data = Data::new(1, 200);
    // A job that has ended, whose end is then lost: it is there again.
    let engine = start(&data.dir(), None);
    let ended = engine.submit(NewJob::new("done")).unwrap();
    while engine.stats().unwrap().counts.succeeded == 0 {
        thread::yield_now();
    }
    engine.shutdown(PATIENCE).unwrap();
    let (added, succeeded) = (data.records_of("added"), data.records_of("succeeded"));
    let lost = data.jobs[42];
    data.flip(added[&lost], 25);
    data.flip(succeeded[&ended], 5);
    let dir = data.dir();
    let dir = dir.to_str().unwrap();
    let before = files_in(&data.dir());
    let place = format!("LSN {}", added[&lost]);
    check(&["wal", "repair", dir], 1, &["lost: ", &place, "--yes", "200 pending jobs"]);
    assert!(files_in(&data.dir()) == before, "a plan changed something");
    let done = check_json(&["wal", "repair", dir, "--yes"], 0);
    let shard = &done["shards"][0];
    assert_eq!(shard["outcome"], "repaired", "{done:#}");
    let lsns: Vec<u64> =
        shard["lost"].as_array().unwrap().iter().map(|it| it["lsn"].as_u64().unwrap()).collect();
    assert_eq!(lsns, [added[&lost], succeeded[&ended]]);
    // The originals are all there, unchanged.
    let originals = PathBuf::from(shard["originals"].as_str().unwrap());
    let kept = files_in(&originals);
    for (path, bytes) in before.iter().filter(|(path, _)| path.starts_with(data.shard())) {
        let path = originals.join(path.file_name().unwrap());
        assert!(kept.get(&path) == Some(bytes), "{} was changed", path.display());
    }
    check(&["wal", "verify", dir], 0, &["clean"]);
    check(&["wal", "repair", dir, "--yes"], 0, &["nothing to repair"]);
    // A paused engine, so that the job whose end was lost does not run at once.
    let engine = Engine::builder().data_dir(dir).segment_bytes(SEGMENT_BYTES).pin(false);
    let engine =
        engine.paused(true).handler("wait", |_| Ok(())).handler("done", |_| Ok(())).start();
    let engine = engine.unwrap();
    for job in data.jobs.iter().filter(|job| **job != lost).chain([&ended]) {
        let found = engine.job(*job).unwrap();
        assert!(matches!(found, Some(JobInfo::Pending { .. })), "job {job} is {found:?}");
    }
    assert_eq!(engine.stats().unwrap().counts.pending, 200);
    assert!(!matches!(engine.job(lost).unwrap(), Some(JobInfo::Pending { .. })));
    let next = add(&engine, 0..1)[0];
    assert!(next > ended, "the number of a job was given out twice");
    engine.shutdown(PATIENCE).unwrap();
    check(&["wal", "verify", dir], 0, &["201 pending jobs"]);
}

#[test]
fn payloads_survive_a_repair() {
    let data = Data::new(1, 50);
    let added = data.records_of("added");
    // The newest: its number is not to be given out again.
    let lost = data.jobs[49];
    data.flip(added[&lost], 25);
    let dir = data.shard();
    check(&["wal", "repair", dir.to_str().unwrap(), "--yes"], 0, &["repaired"]);
    let text =
        check(&["wal", "dump", dir.to_str().unwrap(), "--payload"], 0, &["kept job", "base"]);
    assert!(!text.contains("\"payload of 49\""));
    for number in 0..49 {
        assert!(text.contains(&format!("\"payload of {number}\"")), "{number}: {text}");
    }
    let engine = start(&data.dir(), None);
    assert!(add(&engine, 0..1)[0] > lost, "the number of the lost job was given out again");
    engine.shutdown(PATIENCE).unwrap();
}

#[test]
fn what_a_killed_repair_leaves_is_cleared_and_a_store_in_use_is_left_alone() {
    let data = Data::new(1, 50);
    let dir = data.dir();
    let dir = dir.to_str().unwrap();
    let unfinished = data.dir().join("shard-000.repair-1");
    let finished = data.dir().join("shard-000.repair-2");
    for folder in [&unfinished, &finished] {
        fs::create_dir(folder).unwrap();
    }
    fs::write(unfinished.join("UNFINISHED"), "").unwrap();
    let engine = start(&data.dir(), None);
    let holder = format!("in use by process {} ", std::process::id());
    check(&["wal", "verify", dir], 3, &[&holder, "backup"]);
    check(&["wal", "repair", dir, "--yes"], 3, &[&holder]);
    check(&["wal", "stat", dir], 0, &["records"]);
    engine.shutdown(PATIENCE).unwrap();
    data.flip(data.records_of("added")[&data.jobs[7]], 25);
    check(&["wal", "repair", dir, "--yes"], 0, &["repaired"]);
    assert!(!unfinished.exists() && finished.exists());
    let mut left: BTreeSet<JobId> = data.jobs.iter().copied().collect();
    left.remove(&data.jobs[7]);
    check_jobs(&data.dir(), &left).shutdown(PATIENCE).unwrap();
}

#[test]
fn a_lost_shard_needs_a_backup() {
    let data = Data::new(2, 50);
    let dir = data.dir();
    let dir = dir.to_str().unwrap();
    fs::rename(data.dir().join("shard-001"), data.root.path().join("aside")).unwrap();
    check(&["wal", "verify", dir], 2, &["shard-001 is missing"]);
    check(&["wal", "repair", dir, "--yes"], 2, &["shard-001 is missing", "backup"]);
    let dest = data.root.path().join("copy");
    check(&["backup", dir, dest.to_str().unwrap()], 3, &["shard-001 is missing"]);
    assert!(!dest.exists());
}

#[test]
fn a_backup_under_load_holds_what_was_accepted_before() {
    let data = Data::new(2, 1000);
    let engine = start(&data.dir(), None);
    let accepted = Mutex::new(data.jobs.clone());
    let is_over = AtomicBool::new(false);
    let (tell, more) = mpsc::channel();
    thread::scope(|scope| {
        let (engine, accepted, is_over) = (&engine, &accepted, &is_over);
        scope.spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                let jobs = add(engine, 0..20);
                accepted.lock().unwrap().extend(jobs);
                let _ = tell.send(());
            }
        });
        let _end = End(is_over);
        for number in 0..3 {
            for _ in 0..5 {
                more.recv_timeout(PATIENCE).unwrap();
            }
            let before = accepted.lock().unwrap().clone();
            let dest = data.root.path().join(format!("copy-{number}"));
            let (from, to) = (data.dir(), dest.clone());
            let arguments = ["backup", from.to_str().unwrap(), to.to_str().unwrap()];
            let copied = check_json(&arguments, 0);
            assert_eq!(copied["shards"].as_array().unwrap().len(), 2, "{copied:#}");
            check(&arguments, 3, &["is not empty"]);
            check(&["wal", "verify", to.to_str().unwrap()], 0, &["clean"]);
            let restored = start(&dest, None);
            for job in &before {
                let found = restored.job(*job).unwrap();
                assert!(matches!(found, Some(JobInfo::Pending { .. })), "job {job} is {found:?}");
            }
            assert!(restored.stats().unwrap().counts.pending >= before.len() as u64);
            restored.shutdown(PATIENCE).unwrap();
        }
    });
    engine.shutdown(PATIENCE).unwrap();
    let pins = fs::read_dir(data.shard()).unwrap();
    let names: Vec<_> = pins.map(|entry| entry.unwrap().file_name()).collect();
    assert!(!names.iter().any(|name| name.to_str().unwrap().starts_with('.')), "{names:?}");
}

/// Ends the load also when an assertion fails.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_damaged_store_is_not_backed_up() {
    let data = Data::new(1, 100);
    // In a segment before the last, where only the check of the copy comes to it.
    let engine = start(&data.dir(), None);
    for _ in 0..200 {
        engine.submit(NewJob::new("wait").payload(vec![7; 64 << 10]).delay(HOUR)).unwrap();
    }
    engine.shutdown(PATIENCE).unwrap();
    data.flip(data.records_of("added")[&data.jobs[50]], 25);
    let dest = data.root.path().join("copy");
    let dir = data.dir();
    check(&["backup", dir.to_str().unwrap(), dest.to_str().unwrap()], 3, &["cannot be backed up"]);
    assert!(!dest.exists(), "something was left behind");
    fs::create_dir(&dest).unwrap();
    fs::write(dest.join("BACKUP-UNFINISHED"), "").unwrap();
    check(&["backup", dir.to_str().unwrap(), dest.to_str().unwrap()], 3, &["cut off: remove it"]);
}

#[test]
fn a_backup_while_the_log_is_cleaned_is_whole_and_bad_snapshots_are_put_aside() {
    let data = Data::new(1, 300);
    let engine = start(&data.dir(), None);
    let is_over = AtomicBool::new(false);
    let dir = data.dir();
    let dir = dir.to_str().unwrap();
    let head = || check_json(&["wal", "stat", dir], 0)["shards"][0]["head_lsn"].as_u64().unwrap();
    thread::scope(|scope| {
        let (engine, over) = (&engine, &is_over);
        scope.spawn(move || {
            while !over.load(Ordering::Relaxed) {
                let job = || NewJob::new("done").payload(vec![7; 64 << 10]);
                let answers = engine.submit_batch((0..40).map(|_| job()).collect()).unwrap();
                answers.into_iter().for_each(|answer| assert!(answer.is_ok()));
            }
        });
        let _end = End(over);
        let begun = Instant::now();
        while head() == 0 {
            assert!(begun.elapsed() < PATIENCE, "the log is not cleaned");
        }
        for number in 0..3 {
            let dest = data.root.path().join(format!("copy-{number}"));
            let before = head();
            let copied = check_json(&["backup", dir, dest.to_str().unwrap()], 0);
            assert_eq!(copied["shards"].as_array().unwrap().len(), 1, "{copied:#}");
            let begun = Instant::now();
            while head() == before {
                assert!(begun.elapsed() < PATIENCE, "the log is not cleaned meanwhile");
            }
            let restored = start(&dest, None);
            for job in &data.jobs {
                let found = restored.job(*job).unwrap();
                assert!(matches!(found, Some(JobInfo::Pending { .. })), "job {job} is {found:?}");
            }
            restored.shutdown(PATIENCE).unwrap();
        }
    });
    engine.shutdown(PATIENCE).unwrap();
    check(&["wal", "verify", dir], 0, &["clean"]);
    let snapshots = check_json(&["wal", "stat", dir], 0)["shards"][0]["snapshots"].clone();
    let newest = snapshots.as_array().unwrap().last().unwrap()["lsn"].as_u64().unwrap();
    let path = data.shard().join(format!("{newest:020}.snap"));
    let mut bytes = fs::read(&path).unwrap();
    bytes[500] ^= 1;
    fs::write(&path, bytes).unwrap();
    check(&["wal", "verify", dir], 2, &["DAMAGED: snapshot", ".snap is damaged"]);
    check(&["wal", "repair", dir], 1, &["put aside, and not needed"]);
    assert!(path.exists());
    check(&["wal", "repair", dir, "--yes"], 0, &["repaired"]);
    assert!(!path.exists());
    check(&["wal", "verify", dir], 0, &["clean"]);
    // A job that cleaning wrote again, maybe more than once.
    let lost = data.jobs[42];
    let mut records = data.records("added");
    records.extend(data.records("kept"));
    records.retain(|(job, _)| *job == lost);
    records.iter().for_each(|(_, lsn)| data.flip(*lsn, 25));
    let newest = format!("LSN {} ", records.last().unwrap().1);
    check(&["wal", "repair", dir, "--yes"], 0, &["lost: ", &newest]);
    let engine = Engine::builder().data_dir(dir).segment_bytes(SEGMENT_BYTES).pin(false);
    let engine = engine.paused(true).handler("wait", |_| Ok(())).start().unwrap();
    for job in &data.jobs {
        let is_there = matches!(engine.job(*job).unwrap(), Some(JobInfo::Pending { .. }));
        assert_eq!(is_there, *job != lost, "job {job}");
    }
    engine.shutdown(PATIENCE).unwrap();
}

#[test]
fn another_number_of_shards_is_shown_and_its_list_of_ids_holds() {
    let data = Data::new(3, 300);
    let path = data.dir();
    let dir = path.to_str().unwrap();
    let engine = start(&path, None);
    check(&["reshard", dir, "--shards", "2"], 3, &["in use by"]);
    engine.shutdown(PATIENCE).unwrap();
    let before = files_in(&path);
    check(&["reshard", dir, "--shards", "3"], 0, &["it has 3 shards; nothing to do"]);
    let same = check_json(&["reshard", dir, "--shards", "3"], 0);
    assert_eq!((&same["outcome"], &same["originals"]), (&"unchanged".into(), &Value::Null));
    assert!(files_in(&path) == before, "something was changed");
    let done = check_json(&["reshard", dir, "--shards", "2"], 0);
    let numbers = (done["from"].as_u64(), done["to"].as_u64(), done["moved_jobs"].as_u64());
    assert_eq!(numbers, (Some(3), Some(2), Some(100)), "{done:#}");
    let pending = |shard: &Value| shard["pending_jobs"].as_u64().unwrap();
    let shards: Vec<u64> = done["shards"].as_array().unwrap().iter().map(pending).collect();
    assert_eq!(shards, [150, 150]);
    let originals = PathBuf::from(done["originals"].as_str().unwrap());
    let kept = files_in(&originals);
    for (path, bytes) in &before {
        let path = originals.join(path.strip_prefix(data.dir()).unwrap());
        assert!(kept.get(&path) == Some(bytes), "{} was changed", path.display());
    }
    let list = fs::read_to_string(done["moved_ids"].as_str().unwrap()).unwrap();
    let moved: BTreeMap<JobId, JobId> = list
        .lines()
        .map(|line| line.split_once('\t').unwrap())
        .map(|(old, new)| (old.parse().unwrap(), new.parse().unwrap()))
        .collect();
    let jobs = data.jobs.iter().map(|job| *moved.get(job).unwrap_or(job)).collect();
    check(&["wal", "verify", dir], 0, &["clean"]);
    check_jobs(&path, &jobs).shutdown(PATIENCE).unwrap();
    check(
        &["reshard", dir, "--shards", "1"],
        0,
        &[
            "shard 0: 300 pending jobs, 0 schedules",
            "150 jobs have another id",
            "1 shard instead of 2",
        ],
    );
    // What was there at first can still be started on.
    check_jobs(&originals, &data.jobs.iter().copied().collect()).shutdown(PATIENCE).unwrap();
}

#[test]
fn a_damaged_log_is_not_resharded_and_a_change_that_was_cut_off_is_finished() {
    let data = Data::new(1, 100);
    let path = data.dir();
    let dir = path.to_str().unwrap();
    let text = check(&["reshard", dir, "--shards", "2"], 0, &["2 shards instead of 1"]);
    let folder = text.rsplit('/').next().unwrap().trim();
    assert!(folder.starts_with("reshard-"), "{text}");
    // As a kill right before the end leaves it.
    fs::write(path.join("RESHARD"), format!("{folder} 1 2\n")).unwrap();
    let again = "run `tickwheel reshard` on it again";
    check(&["wal", "verify", dir], 3, &[again]);
    check(&["backup", dir, data.root.path().join("copy").to_str().unwrap()], 3, &[again]);
    check(&["serve", "--crontab", "/dev/null", "--data-dir", dir], 1, &[]);
    check(&["reshard", dir, "--shards", "2"], 0, &["cut off is done", folder, "nothing to do"]);
    check(&["wal", "verify", dir], 0, &["clean"]);
    data.flip(data.records_of("kept")[&data.jobs[50]], 25);
    let before = files_in(&path);
    check(&["reshard", dir, "--shards", "1"], 3, &["shard-000 is damaged", "wal repair"]);
    assert!(files_in(&path) == before, "something was changed");
    check(&["wal", "repair", dir, "--yes"], 0, &["repaired"]);
    check(&["reshard", dir, "--shards", "1"], 0, &["shard 0: 99 pending jobs"]);
}
