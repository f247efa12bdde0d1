//! Promise 1 on a real process: what was acknowledged survives `kill -9` at any moment.
//!
//! The binary runs its demonstration and is killed again and again in the middle; each time the
//! next start goes on in the same directory. What was promised stands in the ledger file, which the
//! process writes through before it goes on. The file is read here by its layout (see
//! `tickwheel_engine::ledger`), without the code that wrote it.
//!
//! The seed is printed; `TICKWHEEL_TEST_SEED` sets it. It fixes what is drawn, not the scheduling
//! of the killed process, so a replay kills at the same progress, not at the same instruction.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    env,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use tickwheel_engine::{Attempt, Engine, JobError, NewJob, ledger::Ledger};
use tickwheel_tests::{
    binary::{self, Process},
    random::{Random, seed},
};

/// Kills in all.
const KILLS: u32 = 20;
/// Kills of one directory, before a start that is left to finish.
const KILLS_PER_SET: u32 = 5;
/// Directories at the most. A run that outpaces its kill ends its set early.
const SETS_MAX: u32 = 12;
/// Jobs of a set. Each is due within [`SECONDS`] of being added.
const JOBS: usize = 30_000;
const SECONDS: u32 = 3;
/// Entries of the ledger, acknowledged and run together, that kills are spread over. The rest is
/// left, so that a kill comes before the end.
const ENTRIES_MAX: usize = 2 * JOBS / 100 * 85;
/// Longest wait for something that has to come.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often the ledger is looked at; the process tells its progress in no other way.
const LOOK: Duration = Duration::from_millis(1);

#[test]
fn nothing_acknowledged_is_lost_by_kills() {
    let seed = seed();
    println!("seed {seed}");
    let mut random = Random::new(seed);
    let mut tally = Tally::default();
    let mut sets = 0;
    while tally.kills < KILLS {
        sets += 1;
        assert!(sets <= SETS_MAX, "the runs outpace their kills; use more jobs, {tally:?}");
        Set::new(sets).run(&mut random, &mut tally);
    }
    println!("{tally:?} in {sets} sets");
    // Kills that find nothing to lose would prove nothing.
    assert!(tally.waiting > 0, "no kill found an acknowledged job that had still to run");
}

/// What the kills found.
#[derive(Debug, Default)]
struct Tally {
    kills: u32,
    /// Kills that came before the process had made any progress.
    in_recovery: u32,
    /// Acknowledged jobs that had still to run, summed over the kills.
    waiting: usize,
}

/// When a process is killed.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// This long after its start: while it recovers, or soon after.
    After(Duration),
    /// Once the ledger holds so many entries.
    Entries(usize),
}

/// One directory, and the processes that run in it one after the other.
struct Set {
    number: u32,
    dir: tempfile::TempDir,
    account: Account,
}

impl Set {
    fn new(number: u32) -> Self {
        let dir = tempfile::Builder::new().prefix("tickwheel-kill").tempdir().unwrap();
        Self { number, dir, account: Account::default() }
    }

    fn run(mut self, random: &mut Random, tally: &mut Tally) {
        for round in 0..KILLS_PER_SET {
            let moment = self.draw(random, KILLS_PER_SET - round);
            let before = self.account.entries();
            let mut process = self.start();
            let ended = self.wait_for(moment, &mut process);
            process.kill().unwrap();
            self.take_account();
            println!("set {} round {round}: {moment:?}, then {}", self.number, self.account);
            if let Some(status) = ended {
                return self.finished(status);
            }
            tally.kills += 1;
            tally.in_recovery += u32::from(self.account.entries() == before);
            tally.waiting += self.account.waiting();
            if self.account.ran == JOBS {
                // All is done: the next start would begin a new account.
                return self.check_account();
            }
        }
        let mut process = self.start();
        let Some(status) = wait(&mut process) else {
            process.kill().unwrap();
            self.take_account();
            let (account, output) = (&self.account, self.output());
            panic!("set {}: not finished in {PATIENCE:?}, {account}\n{output}", self.number);
        };
        self.take_account();
        println!("set {}: finished, {}", self.number, self.account);
        self.finished(status);
    }

    /// When the next of `left` kills comes: while the process starts, or at a progress that lies
    /// evenly between that of now and the end.
    fn draw(&self, random: &mut Random, left: u32) -> Moment {
        let entries = self.account.entries();
        if random.within(0..4) == 0 || entries >= ENTRIES_MAX {
            return Moment::After(Duration::from_micros(random.within(0..60_000)));
        }
        let share = (ENTRIES_MAX - entries).div_ceil(left as usize);
        Moment::Entries(entries + 1 + random.within(0..share as u64) as usize)
    }

    fn start(&self) -> Process {
        let output = File::create(self.dir.path().join("output")).unwrap();
        let mut command = Command::new(binary::tickwheel());
        command
            .args([
                "demo",
                "--exit",
                "--jobs",
                &JOBS.to_string(),
                "--seconds",
                &SECONDS.to_string(),
            ])
            .arg("--data-dir")
            .arg(self.dir.path().join("data"))
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output);
        Process::start(&mut command).unwrap()
    }

    /// Waits until the moment has come; the status of a process that ended before it.
    fn wait_for(&self, moment: Moment, process: &mut Process) -> Option<ExitStatus> {
        let began = Instant::now();
        loop {
            if let Some(status) = process.ended().unwrap() {
                return Some(status);
            }
            let waited = began.elapsed();
            let has_come = match moment {
                Moment::After(span) => waited >= span,
                Moment::Entries(count) => Account::read(&self.ledger()).entries() >= count,
            };
            if has_come {
                return None;
            }
            assert!(waited < PATIENCE, "{moment:?} has not come in {waited:?}\n{}", self.output());
            thread::sleep(LOOK);
        }
    }

    /// Reads the ledger, and checks that nothing in it went back.
    fn take_account(&mut self) {
        let now = Account::read(&self.ledger());
        let before = std::mem::replace(&mut self.account, now);
        for (column, before, now) in [
            ("acknowledged", &before.acked_by_job, &self.account.acked_by_job),
            ("run", &before.ran_by_job, &self.account.ran_by_job),
        ] {
            for (job, count) in before.iter().enumerate() {
                let now = now.get(job).copied().unwrap_or(0);
                assert!(
                    now >= *count,
                    "set {}: job {job} was {column} before the kill and is not any more",
                    self.number
                );
            }
        }
    }

    /// Checks what a process that was left to finish says, and then what it did.
    fn finished(&self, status: ExitStatus) {
        let output = self.output();
        assert!(status.success(), "set {}: {status}\n{output}", self.number);
        assert!(output.contains("lost 0 · early 0"), "set {}:\n{output}", self.number);
        // A job that ran before its acknowledgement was cut off is not submitted again.
        assert_eq!(self.account.ran, JOBS, "set {}", self.number);
        self.check_account();
    }

    fn check_account(&self) {
        let account = &self.account;
        let jobs = account.acked_by_job.iter().zip(&account.ran_by_job).enumerate();
        let lost: Vec<usize> = jobs
            .filter(|(_, (acked, ran))| **acked > 0 && **ran == 0)
            .map(|(job, _)| job)
            .collect();
        assert!(
            lost.is_empty(),
            "set {}: {} acknowledged jobs never ran: {lost:?}",
            self.number,
            lost.len()
        );
    }

    fn ledger(&self) -> PathBuf {
        self.dir.path().join("data/demo.ledger")
    }

    fn output(&self) -> String {
        fs::read_to_string(self.dir.path().join("output")).unwrap_or_default()
    }
}

/// Waits for the end of a process; `None` if it does not come.
fn wait(process: &mut Process) -> Option<ExitStatus> {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        if let Some(status) = process.ended().unwrap() {
            return Some(status);
        }
        thread::sleep(LOOK);
    }
    None
}

/// What a ledger file holds: one byte per job in each of two columns.
#[derive(Debug, Default)]
struct Account {
    acked_by_job: Vec<u8>,
    ran_by_job: Vec<u8>,
    acked: usize,
    ran: usize,
}

impl Account {
    /// Reads a file; empty as long as there is none, or one without its magic.
    fn read(path: &Path) -> Self {
        let account = Self::read_any(path);
        let jobs = account.acked_by_job.len();
        assert!(jobs == 0 || jobs == JOBS, "{jobs}");
        account
    }

    /// The same, of any number of jobs.
    fn read_any(path: &Path) -> Self {
        const HEADER_BYTES: usize = 32;
        let bytes = fs::read(path).unwrap_or_default();
        if bytes.len() < HEADER_BYTES || !bytes.starts_with(b"TWLEDGR1") {
            return Self::default();
        }
        let jobs = u64::from_le_bytes(bytes[8..16].try_into().unwrap()) as usize;
        assert_eq!(bytes.len(), HEADER_BYTES + 2 * jobs);
        let (acked, ran) = bytes[HEADER_BYTES..].split_at(jobs);
        let count = |column: &[u8]| column.iter().filter(|entry| **entry > 0).count();
        Self {
            acked: count(acked),
            ran: count(ran),
            acked_by_job: acked.to_vec(),
            ran_by_job: ran.to_vec(),
        }
    }

    fn entries(&self) -> usize {
        self.acked + self.ran
    }

    /// Jobs that were acknowledged and have not run.
    fn waiting(&self) -> usize {
        let jobs = self.acked_by_job.iter().zip(&self.ran_by_job);
        jobs.filter(|(acked, ran)| **acked > 0 && **ran == 0).count()
    }
}

impl std::fmt::Display for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (acked, ran, waiting) = (self.acked, self.ran, self.waiting());
        write!(f, "acked {acked}, ran {ran}, {waiting} acknowledged ones still to run")
    }
}

/// Names the directory of a process that is to be killed while its log is cleaned.
const CHURN_VARIABLE: &str = "TICKWHEEL_TEST_CHURN_DIR";
const CHURN_TEST: &str = "nothing_acknowledged_is_lost_while_the_log_is_cleaned";
const CHURN_KILLS: usize = 10;
/// Jobs of the churn. Their payloads fill the smallest segments twenty times over.
const CHURN_JOBS: usize = 20_000;
const CHURN_PAYLOAD_BYTES: usize = 8 << 10;
const CHURN_SEGMENT_BYTES: u64 = 8 << 20;
/// Longest delay of a job; most of the log is dead soon, as cleaning needs it.
const CHURN_DELAY_MS: u64 = 400;

/// The same with a log that is cleaned and of which snapshots are taken all the time.
#[test]
fn nothing_acknowledged_is_lost_while_the_log_is_cleaned() {
    if let Some(dir) = env::var_os(CHURN_VARIABLE) {
        return churn(Path::new(&dir));
    }
    let seed = seed();
    println!("seed {seed}");
    let mut random = Random::new(seed);
    let dir = tempfile::Builder::new().prefix("tickwheel-churn").tempdir().unwrap();
    let ledger = dir.path().join("ledger");
    let mut found = Churned::default();
    let start = || {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", CHURN_TEST, "--nocapture"]).env(CHURN_VARIABLE, dir.path());
        Process::start(command.stdin(Stdio::null()).stdout(Stdio::null())).unwrap()
    };
    for kill in 0..CHURN_KILLS {
        let before = Account::read_any(&ledger);
        // Evenly over what is left, the last one before the end.
        let left = 2 * CHURN_JOBS - before.entries();
        if left == 0 {
            break;
        }
        let share = (left / (CHURN_KILLS - kill + 1)).max(2) as u64;
        let until = before.entries() + random.within(share / 2..share) as usize;
        let mut process = start();
        let begun = Instant::now();
        while Account::read_any(&ledger).entries() < until {
            // It may have come so far, and to its end, since the ledger was read.
            let ended = process.ended().unwrap();
            let is_short = || Account::read_any(&ledger).entries() < until;
            assert!(
                ended.is_none() || !is_short(),
                "seed {seed} kill {kill}: it ended by itself, {ended:?}"
            );
            assert!(begun.elapsed() < PATIENCE, "seed {seed} kill {kill}: no progress to {until}");
            thread::sleep(LOOK);
        }
        process.kill().unwrap();
        let now = Account::read_any(&ledger);
        now.check_not_behind(&before, &format!("seed {seed} kill {kill}"));
        found.look(dir.path());
        println!("kill {kill}: {now}, {found:?}");
    }
    let mut process = start();
    let status = wait(&mut process);
    assert!(status.is_some_and(|status| status.success()), "seed {seed}: {status:?}");
    let account = Account::read_any(&ledger);
    found.look(dir.path());
    println!("{account}, {found:?}");
    assert_eq!((account.acked, account.waiting()), (CHURN_JOBS, 0), "seed {seed}: jobs are lost");
    assert_eq!(account.ran, CHURN_JOBS, "seed {seed}");
    // Else the kills would have met neither.
    assert!(found.kills_with_head >= 3, "the log was not cleaned: {found:?}");
    assert!(found.kills_with_snapshot >= 3, "there were no snapshots: {found:?}");
    assert!(found.head > 0, "{found:?}");
}

/// What the kills found on the disk.
#[derive(Debug, Default)]
struct Churned {
    /// Number of the first segment.
    head: u64,
    kills_with_head: u32,
    kills_with_snapshot: u32,
    kills_with_draft: u32,
}

impl Churned {
    fn look(&mut self, dir: &Path) {
        let mut names = Vec::new();
        for folder in fs::read_dir(dir.join("data")).unwrap().map(Result::unwrap) {
            if folder.path().is_dir() {
                let entries = fs::read_dir(folder.path()).unwrap().map(Result::unwrap);
                names.extend(entries.map(|entry| entry.file_name().into_string().unwrap()));
            }
        }
        let has = |suffix: &str| u32::from(names.iter().any(|name| name.ends_with(suffix)));
        let segments = names.iter().filter_map(|name| name.strip_suffix(".seg"));
        self.head = segments.map(|digits| digits.parse().unwrap()).min().unwrap_or(0);
        self.kills_with_head += u32::from(self.head > 0);
        self.kills_with_snapshot += has(".snap");
        self.kills_with_draft += has(".snap-draft");
    }
}

impl Account {
    fn check_not_behind(&self, before: &Self, what: &str) {
        for (now, before) in
            [(&self.acked_by_job, &before.acked_by_job), (&self.ran_by_job, &before.ran_by_job)]
        {
            let is_behind = before.iter().zip(now).any(|(before, now)| now < before);
            assert!(!is_behind && now.len() >= before.len(), "{what}: the ledger went back");
        }
    }
}

/// The process: has every job taken that was not acknowledged, and ends once all have run.
fn churn(dir: &Path) {
    let path = dir.join("ledger");
    let ledger = match Ledger::open(&path) {
        Ok(Some(ledger)) => ledger,
        // The first process may be killed before the file is whole.
        _ => Ledger::create(&path, CHURN_JOBS as u32, 0).unwrap(),
    };
    let ledger = Arc::new(ledger);
    let ran = Arc::clone(&ledger);
    let engine = Engine::builder()
        .data_dir(dir.join("data"))
        .shards(1)
        .executors(2)
        .pin(false)
        .segment_bytes(CHURN_SEGMENT_BYTES)
        .handler("churn", move |attempt: &Attempt<'_>| {
            let number =
                attempt.payload().first_chunk().ok_or("no number").map_err(JobError::permanent)?;
            ran.ran(u32::from_le_bytes(*number), false).map_err(JobError::permanent)
        })
        .start()
        .unwrap();
    let mut random = Random::new(u64::from(std::process::id()));
    let begun = Instant::now();
    let missing: Vec<u32> = (0..CHURN_JOBS as u32).filter(|job| !ledger.is_acked(*job)).collect();
    for numbers in missing.chunks(64) {
        let mut left = numbers.to_vec();
        while !left.is_empty() {
            let jobs = left.iter().map(|number| {
                let mut payload = number.to_le_bytes().to_vec();
                payload.resize(CHURN_PAYLOAD_BYTES, *number as u8);
                let delay = Duration::from_millis(random.within(0..CHURN_DELAY_MS));
                NewJob::new("churn").payload(payload).delay(delay)
            });
            // A refusal is no promise: the log may wait for a segment.
            let answers = engine.submit_batch(jobs.collect()).unwrap_or_default();
            let mut refused = Vec::new();
            for (at, number) in left.iter().enumerate() {
                match answers.get(at) {
                    Some(Ok(_)) => ledger.acked(*number..number + 1).unwrap(),
                    _ => refused.push(*number),
                }
            }
            assert!(begun.elapsed() < PATIENCE, "jobs are refused for good: {answers:?}");
            left = refused;
            if !left.is_empty() {
                thread::sleep(LOOK);
            }
        }
    }
    assert!(engine.drain(PATIENCE), "jobs are left");
    engine.shutdown(PATIENCE).unwrap();
}
