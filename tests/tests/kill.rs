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
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

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
        const HEADER_BYTES: usize = 32;
        let bytes = fs::read(path).unwrap_or_default();
        if bytes.len() < HEADER_BYTES || !bytes.starts_with(b"TWLEDGR1") {
            return Self::default();
        }
        let jobs = u64::from_le_bytes(bytes[8..16].try_into().unwrap()) as usize;
        assert_eq!((jobs, bytes.len()), (JOBS, HEADER_BYTES + 2 * JOBS));
        let (acked, ran) = bytes[HEADER_BYTES..].split_at(JOBS);
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
