//! The history on a real process that is killed with `kill -9` again and again: every attempt that
//! ended is told exactly once, under its own name, and with what its handler says of it.
//!
//! This binary starts itself as the process that works. What handlers did stands in a file that they
//! append to, and the history is compared with that. The seed is printed; `TICKWHEEL_TEST_SEED` sets
//! it. It fixes the jobs and the moments of the kills, not the scheduling of what is killed.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    fs::{self, File, OpenOptions},
    io::Write,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use tickwheel_engine::{
    Attempt, AttemptOutcome, AttemptRecord, Backoff, Begin, Engine, History, HistoryEvent,
    HistoryFiles, HistoryQuery, JobError, JobId, NewJob, Next,
};
use tickwheel_tests::{
    binary::Process,
    random::{Random, seed},
};

/// Names the folder that the process works in; without it, it is not one.
const WORLD: &str = "TICKWHEEL_TEST_HISTORY";
/// With it the process subscribes, says so and rests.
const RESTS: &str = "TICKWHEEL_TEST_HISTORY_RESTS";
const KILLS: u64 = 8;
/// Jobs of a process, in batches.
const JOBS: u64 = 600;
const BATCH: u64 = 50;
const PATIENCE: Duration = Duration::from_secs(120);
/// Time for the history's thread to look several times.
const RETENTION_LOOKS: Duration = Duration::from_millis(300);
const LOOK: Duration = Duration::from_millis(1);
const OUTPUT_TAIL_BYTES: usize = 4000;

#[test]
fn kills_lose_no_attempt_and_tell_none_twice() {
    let seed = seed();
    println!("seed {seed}");
    let mut random = Random::new(seed);
    let world = tempfile::Builder::new().prefix("tickwheel-history").tempdir().unwrap();
    let world = world.path();
    for round in 0..KILLS {
        let begun = lines(world).len() as u64;
        let goal = begun + random.within(0..JOBS);
        let mut process = start(world, random.draw());
        let since = Instant::now();
        let patience = Duration::from_millis(random.within(5..1500));
        // By progress, or by time if there is none: during a start, too.
        while (lines(world).len() as u64) < goal && since.elapsed() < patience {
            thread::sleep(LOOK);
        }
        process.kill().unwrap();
        println!("round {round}: killed at {} lines", lines(world).len());
    }
    let mut process = start(world, random.draw());
    let since = Instant::now();
    let status = loop {
        if let Some(status) = process.ended().unwrap() {
            break status;
        }
        assert!(since.elapsed() < PATIENCE, "the last process does not end");
        thread::sleep(LOOK);
    };
    assert!(status.success(), "the last process failed:\n{}", end_of_output(world));
    check(world);
}

#[test]
fn openings_that_were_killed_before_anything_happened_are_no_gap() {
    let world = tempfile::Builder::new().prefix("tickwheel-history").tempdir().unwrap();
    let world = world.path();
    for round in 1..=4 {
        let mut process = Process::start(command(world, 1).env(RESTS, "")).unwrap();
        let since = Instant::now();
        while lines(world).len() < round {
            assert!(since.elapsed() < PATIENCE, "{}", end_of_output(world));
            thread::sleep(LOOK);
        }
        process.kill().unwrap();
    }
    let status = command(world, 1).status().unwrap();
    assert!(status.success(), "the last process failed:\n{}", end_of_output(world));
}

fn start(world: &Path, seed: u64) -> Process {
    Process::start(&mut command(world, seed)).unwrap()
}

fn command(world: &Path, seed: u64) -> Command {
    let output = OpenOptions::new().create(true).append(true).open(world.join("output")).unwrap();
    let mut command = Command::new(env::current_exe().unwrap());
    command
        .args(["--exact", "works_until_it_is_killed", "--nocapture"])
        .env(WORLD, world)
        .env("TICKWHEEL_TEST_SEED", seed.to_string())
        .stdin(Stdio::null())
        .stdout(output.try_clone().unwrap())
        .stderr(output);
    command
}

/// The last that the processes wrote.
fn end_of_output(world: &Path) -> String {
    let text = fs::read(world.join("output")).unwrap_or_default();
    let tail = text.len().saturating_sub(OUTPUT_TAIL_BYTES);
    String::from_utf8_lossy(&text[tail..]).into_owned()
}

/// The process that is killed; of itself it does nothing.
#[test]
fn works_until_it_is_killed() {
    let Some(world) = env::var_os(WORLD) else { return };
    let world = Path::new(&world);
    let file = OpenOptions::new().create(true).append(true).open(world.join("lines")).unwrap();
    let fast = Backoff::exponential(Duration::from_millis(1), Duration::from_millis(1));
    let engine = Engine::builder()
        .data_dir(world.join("data"))
        .shards(2)
        .segment_bytes(8 << 20)
        .executors(4)
        .pin(false)
        .history(History::new())
        .handler("work", move |attempt| {
            note(&file, "begin", attempt);
            attempt.keep_output(format!("{} {}", attempt.job(), attempt.number()).as_bytes());
            let ended = work(attempt);
            note(&file, if ended.is_ok() { "well" } else { "failed" }, attempt);
            ended
        })
        .start()
        .unwrap();
    // Follows along, and confirms what it has written down.
    let mut events = engine.subscribe("follower", Begin::Oldest).unwrap();
    if env::var_os(RESTS).is_some() {
        // The history's thread looks at what is too old each time it has nothing to do.
        thread::sleep(RETENTION_LOOKS);
        OpenOptions::new()
            .append(true)
            .open(world.join("lines"))
            .and_then(|mut file| writeln!(file, "rests 0 0"))
            .unwrap();
        thread::sleep(PATIENCE);
    }
    let mut told = OpenOptions::new().create(true).append(true).open(world.join("told")).unwrap();
    let mut random = Random::new(seed());
    let mut follow = |wait| {
        let Some(entry) = events.next(wait).unwrap() else { return false };
        match &entry.event {
            HistoryEvent::Ended(ended) => {
                writeln!(told, "{} {}", ended.job.job, ended.token).unwrap();
            }
            other => panic!("{other:?}"),
        }
        events.confirm(entry.cursor).unwrap();
        true
    };
    for _ in 0..JOBS / BATCH {
        let jobs = (0..BATCH).map(|_| {
            let mut draw = || random.within(0..100) as u8;
            NewJob::new("work").payload(vec![draw(), draw()]).attempts_max(4).backoff(fast)
        });
        engine.submit_batch(jobs.collect()).unwrap();
        for _ in 0..BATCH / 2 {
            follow(Duration::from_millis(1));
        }
    }
    assert!(engine.drain(PATIENCE));
    // An event of a moment ago is told a moment later.
    while follow(Duration::from_secs(2)) {}
    engine.shutdown(PATIENCE).unwrap();
}

fn work(attempt: &Attempt<'_>) -> Result<(), JobError> {
    let [choice, span] = *attempt.payload() else { return Err(JobError::permanent("no payload")) };
    thread::sleep(Duration::from_micros(u64::from(span) * 20));
    match choice {
        0..20 if attempt.number() == 1 => Err(JobError::retryable("again")),
        20..25 => Err(JobError::retryable("again and again")),
        25..30 => Err(JobError::permanent("never")),
        30..33 => panic!("on purpose"),
        _ => Ok(()),
    }
}

/// One write, which a kill lets through whole or not at all.
fn note(mut file: &File, what: &str, attempt: &Attempt<'_>) {
    let line = format!("{what} {} {}\n", attempt.job(), attempt.number());
    file.write_all(line.as_bytes()).unwrap();
}

fn lines(world: &Path) -> Vec<String> {
    let text = fs::read_to_string(world.join("lines")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn check(world: &Path) {
    // What handlers say: the attempts that they began, and how they ended.
    let mut begun: BTreeMap<(JobId, u16), Option<bool>> = BTreeMap::new();
    for line in lines(world) {
        let parts: Vec<&str> = line.split(' ').collect();
        let name = (parts[1].parse().unwrap(), parts[2].parse().unwrap());
        match parts[0] {
            "begin" => assert!(begun.insert(name, None).is_none(), "{name:?} ran twice"),
            "well" => *begun.get_mut(&name).unwrap() = Some(true),
            _ => *begun.get_mut(&name).unwrap() = Some(false),
        }
    }
    let files = HistoryFiles::open(&world.join("data")).unwrap();
    assert!(files.verify().unwrap().is_clean());
    let records = all(&files);
    let names: BTreeSet<(JobId, u32)> =
        records.iter().map(|record| (record.job.job, record.token)).collect();
    assert_eq!(names.len(), records.len(), "an attempt is told twice");
    let mut lost = 0;
    let mut told: BTreeSet<(JobId, u16)> = BTreeSet::new();
    let mut over: BTreeSet<JobId> = BTreeSet::new();
    for record in &records {
        let name = (record.job.job, record.attempt);
        assert!(record.is_attempt, "{record:?}");
        if record.outcome == AttemptOutcome::GivenBack {
            continue;
        }
        assert!(told.insert(name), "{name:?} is told twice");
        assert!(!over.contains(&name.0), "{name:?} is told after its job was over");
        if matches!(record.next, Next::Done | Next::Dead) {
            over.insert(name.0);
        }
        let start = record.start.unwrap_or_else(|| panic!("{record:?} has no beginning"));
        assert!(start <= record.end);
        match (begun.get(&name), record.outcome) {
            // The process was killed before its handler was called, or before its end was written.
            (_, AttemptOutcome::Lost) => lost += 1,
            (Some(Some(true)), AttemptOutcome::Succeeded)
            | (Some(Some(false)), AttemptOutcome::Failed | AttemptOutcome::FailedForGood)
            | (Some(None), AttemptOutcome::Panicked) => {}
            (said, outcome) => panic!("{name:?}: the handler says {said:?}, told is {outcome}"),
        }
    }
    for name in begun.keys() {
        assert!(told.contains(name), "{name:?} is not told");
    }
    let jobs: BTreeSet<JobId> = told.iter().map(|(job, _)| *job).collect();
    assert_eq!(over, jobs, "the end of a job is missing");
    assert!(lost > 0, "no kill found an attempt under way");
    let with_output = records.iter().filter(|record| record.output.is_some()).count();
    println!("{} attempts, {lost} lost, {with_output} with output", records.len());
    for record in &records {
        let expected = format!("{} {}", record.job.job, record.attempt).into_bytes();
        assert!(record.output.as_ref().is_none_or(|output| *output == expected));
    }
    // The follower was told of all, in the history's order, once but for what a kill cut off before
    // it was confirmed.
    let text = fs::read_to_string(world.join("told")).unwrap();
    let followed: Vec<(JobId, u32)> = text
        .lines()
        .map(|line| {
            let (job, token) = line.split_once(' ').unwrap();
            (job.parse().unwrap(), token.parse().unwrap())
        })
        .collect();
    let mut once = followed.clone();
    once.dedup();
    let order: Vec<(JobId, u32)> =
        records.iter().map(|record| (record.job.job, record.token)).collect();
    assert_eq!(once, order);
    assert!(followed.len() - once.len() <= KILLS as usize);
}

/// All attempts, the oldest first.
fn all(files: &HistoryFiles) -> Vec<AttemptRecord> {
    let mut query = HistoryQuery::new().oldest_first().limit(1000);
    let mut records = Vec::new();
    loop {
        let page = files.query(&query).unwrap();
        assert_eq!(page.damage, Vec::<String>::new());
        records.extend(page.attempts);
        match page.next {
            Some(place) => query = query.after(place),
            None => return records,
        }
    }
}
