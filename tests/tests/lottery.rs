//! Promise 1 on real files: a power cut leaves, of every page that no sync has covered, any version.
//!
//! A process works on a log, syncs, works on without a sync, and is killed with `kill -9`. Then
//! images of its directory are drawn: each page of 4 KiB, in some images each sector of 512 bytes,
//! as it was at the sync or at a later moment; files that were being made, released or written as
//! snapshots are there, in part, or not. Each image has to open: all that was durable is there, the
//! rest is a prefix, nothing is taken for corruption, and the log goes on.
//!
//! The seed is printed; `TICKWHEEL_TEST_SEED` sets it, and fixes the work and every draw.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeMap,
    env, fs,
    io::{BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use tickwheel_tests::random::{Random, seed};
use tickwheel_wal::{
    AppendError, Durability, Log, LogOptions, Lsn, Record, Recover, ReplayError, SnapshotReader,
    SnapshotWriter,
};

const TEST: &str = "any_pages_may_survive";
/// Names the directory that a killed process works in, and its seed.
const DIR_VARIABLE: &str = "TICKWHEEL_TEST_LOTTERY_DIR";
const WORK_SEED_VARIABLE: &str = "TICKWHEEL_TEST_LOTTERY_SEED";
const HISTORIES: u64 = 16;
const IMAGES_PER_HISTORY: u64 = 60;
const SEGMENT_BYTES: u64 = 64 << 10;
const PAGE_BYTES: usize = 4096;
const SECTOR_BYTES: usize = 512;
/// Longest wait for something that has to come.
const PATIENCE: Duration = Duration::from_secs(60);
/// No second sync comes in this time.
const NEVER: Durability = Durability::Interval(Duration::from_secs(3600));

#[test]
fn any_pages_may_survive() {
    if let (Ok(dir), Ok(seed)) = (env::var(DIR_VARIABLE), env::var(WORK_SEED_VARIABLE)) {
        return Worker::new(Path::new(&dir), seed.parse().unwrap()).work();
    }
    let seed = seed();
    println!("seed {seed}");
    let tally = Tally::default();
    let next = AtomicU64::new(0);
    // Most of the time is spent waiting for the disk.
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= HISTORIES {
                        break;
                    }
                    History::make(seed, number).draw_images(&tally);
                }
            });
        }
    });
    println!("{tally:?}");
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    assert_eq!(count(&tally.images), HISTORIES * IMAGES_PER_HISTORY);
    // Draws that lose nothing, or never meet a release or a snapshot, would prove nothing.
    for (counter, what) in [
        (&tally.torn, "lost a record"),
        (&tally.whole, "kept every record"),
        (&tally.from_snapshot, "began from a snapshot"),
        (&tally.with_draft, "had the draft of a snapshot"),
        (&tally.released, "began at a head that was durable"),
    ] {
        assert!(count(counter) > 0, "no image {what}: {tally:?}");
    }
}

/// How many images showed what.
#[derive(Debug, Default)]
struct Tally {
    images: AtomicU64,
    torn: AtomicU64,
    whole: AtomicU64,
    from_snapshot: AtomicU64,
    with_draft: AtomicU64,
    released: AtomicU64,
}

fn count(counter: &AtomicU64, is_so: bool) {
    counter.fetch_add(u64::from(is_so), Ordering::Relaxed);
}

/// What a record of this number holds: the number, and bytes that follow from it.
fn payload(seed: u64, number: u64) -> Vec<u8> {
    let mut random = Random::new(seed ^ number.wrapping_mul(0x9e37_79b9));
    let len = match random.within(0..4) {
        0 => random.within(4000..15_000),
        _ => random.within(0..600),
    };
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.extend((0..len).map(|_| random.draw() as u8));
    bytes
}

fn options(dir: &Path) -> LogOptions {
    LogOptions::new(dir).segment_bytes(SEGMENT_BYTES).ready_segments(2)
}

/// Counts the records that come back, one after the other.
struct State {
    seed: u64,
    /// Number of the next record.
    next: Option<u64>,
    /// Number of the first record that was replayed.
    first: Option<u64>,
    restored: Option<Lsn>,
}

impl State {
    fn new(seed: u64) -> Self {
        State { seed, next: None, first: None, restored: None }
    }
}

impl Recover for State {
    fn restore(&mut self, snapshot: &mut SnapshotReader) -> Result<(), ReplayError> {
        let mut bytes = Vec::new();
        while let Some(block) = snapshot.next_block()? {
            bytes.extend_from_slice(block);
        }
        self.next = Some(u64::from_le_bytes(bytes[..8].try_into()?));
        self.restored = Some(snapshot.lsn());
        Ok(())
    }

    fn replay(&mut self, record: Record<'_>) -> Result<(), ReplayError> {
        let number = u64::from_le_bytes(record.payload[..8].try_into()?);
        if record.payload != payload(self.seed, number) {
            return Err(format!("record {number} holds other bytes").into());
        }
        if self.next.is_some_and(|next| next != number) {
            return Err(format!("record {number} comes instead of {:?}", self.next).into());
        }
        self.first.get_or_insert(number);
        self.next = Some(number + 1);
        Ok(())
    }
}

fn open(dir: &Path, durability: Durability, state: &mut State) -> Log {
    let log = options(dir).durability(durability).open_state(Arc::new(|| {}), state);
    log.unwrap_or_else(|error| panic!("{}: {error}", dir.display()))
}

/// Looks again and again: another thread or process tells its progress in no other way.
fn wait(what: &str, mut is_met: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_met() {
        assert!(begun.elapsed() < PATIENCE, "no {what} in {PATIENCE:?}");
        thread::sleep(Duration::from_micros(200));
    }
}

/// The process that is killed.
struct Worker {
    dir: PathBuf,
    seed: u64,
    random: Random,
    /// Where each record begins.
    lsns: Vec<u64>,
    images: u32,
    facts: Vec<String>,
}

impl Worker {
    fn new(dir: &Path, seed: u64) -> Self {
        let random = Random::new(seed);
        Worker { dir: dir.to_owned(), seed, random, lsns: Vec::new(), images: 0, facts: Vec::new() }
    }

    fn work(mut self) {
        let log_dir = self.dir.join("log");
        for _ in 0..self.random.within(0..4) {
            let mut log = open(&log_dir, Durability::Sync, &mut State::new(self.seed));
            self.append_some(&mut log, 12);
            if self.random.within(0..3) > 0 {
                self.snapshot(&mut log);
            }
            self.append_some(&mut log, 6);
            if self.random.within(0..2) == 0 {
                log.close().unwrap();
            }
        }
        // A release is synced in each mode, so there is one only before the first copy: what lies
        // between the copies is not synced. The crash simulation has releases at any moment.
        let is_os = self.random.within(0..3) == 0;
        let mode = if is_os { Durability::Os } else { NEVER };
        let mut log = open(&log_dir, mode, &mut State::new(self.seed));
        self.append_some(&mut log, 60);
        let releases = self.random.within(0..4) > 0 && self.release(&mut log);
        let published = log.commit();
        if is_os && !releases {
            // What the opening synced is all that is durable.
            self.facts.push("durable 0".to_owned());
        } else {
            wait("sync", || log.durable() >= published);
            self.facts.push(format!("durable {}", self.lsns.len()));
        }
        self.copy(&log);

        for _ in 0..self.random.within(1..4) {
            self.append_some(&mut log, 20);
            if self.random.within(0..2) == 0 {
                self.begin_snapshot(&mut log);
            }
            if self.random.within(0..4) > 0 {
                log.commit();
            }
            // Released files go once their release is durable. Two are kept for the next segments.
            let head = log.head().0 / SEGMENT_BYTES;
            wait("end of the released files", || {
                let files = read_all(&log_dir);
                let numbers = files.keys().filter_map(|name| segment_number(name));
                numbers.filter(|number| *number < head).count() <= 2
            });
            self.copy(&log);
        }
        let facts = self.dir.join("facts");
        fs::write(facts, self.facts.join("\n")).unwrap();
        let lsns: Vec<u8> = self.lsns.iter().flat_map(|lsn| lsn.to_le_bytes()).collect();
        fs::write(self.dir.join("lsns"), lsns).unwrap();
        println!("READY");
        std::io::stdout().flush().unwrap();
        // Until the kill.
        std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
        drop(log);
    }

    fn append_some(&mut self, log: &mut Log, max: u64) {
        for _ in 0..self.random.within(1..max) {
            let bytes = payload(self.seed, self.lsns.len() as u64);
            let mut appended = None;
            wait("segment", || match log.append(&[&bytes]) {
                Ok(done) => {
                    appended = Some(done);
                    true
                }
                Err(AppendError::SegmentNotReady) => false,
                Err(error) => panic!("{error}"),
            });
            self.lsns.push(appended.unwrap().lsn.0);
        }
    }

    /// A whole snapshot, for which the log becomes durable.
    fn snapshot(&mut self, log: &mut Log) {
        log.commit();
        let info = self.begin_snapshot(log).finish().unwrap();
        self.facts.push(format!("snapshot {}", info.lsn.0));
    }

    /// One that is left as a draft unless it is finished.
    fn begin_snapshot(&mut self, log: &mut Log) -> SnapshotWriter {
        let mut writer = log.snapshot().begin().unwrap();
        let mut bytes = (self.lsns.len() as u64).to_le_bytes().to_vec();
        bytes.resize(20_000, 7);
        writer.write(&bytes).unwrap();
        writer
    }

    /// False: the log begins there already, or will.
    fn release(&mut self, log: &mut Log) -> bool {
        let in_use = log.appended().0 / SEGMENT_BYTES;
        let to = self.random.within(in_use / 2..in_use + 1) * SEGMENT_BYTES;
        let is_new = to > log.releasing().0;
        if is_new {
            log.release(Lsn(to)).unwrap();
            self.facts.push(format!("release {to} {}", self.lsns.len()));
        }
        is_new
    }

    /// Copies the directory when the log's threads rest.
    fn copy(&mut self, log: &Log) {
        wait("full pool", || log.shortage().is_none());
        let target = self.dir.join(format!("image-{}", self.images));
        fs::create_dir(&target).unwrap();
        for (name, bytes) in read_all(&self.dir.join("log")) {
            fs::write(target.join(name), bytes).unwrap();
        }
        self.images += 1;
    }
}

/// The files of a log, by name.
type Files = BTreeMap<String, Vec<u8>>;

fn read_all(dir: &Path) -> Files {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    let names = names.map(|name| name.into_string().unwrap()).filter(|name| name != "LOCK");
    // A file may go while the others are read.
    names.filter_map(|name| Some((name.clone(), fs::read(dir.join(name)).ok()?))).collect()
}

fn segment_number(name: &str) -> Option<u64> {
    name.strip_suffix(".seg").map(|digits| digits.parse().unwrap())
}

/// What a killed process left, and what it knew.
struct History {
    name: String,
    seed: u64,
    /// The directory at the sync, at later moments, and after the kill.
    moments: Vec<Files>,
    lsns: Vec<u64>,
    /// Records that were durable.
    durable: u64,
    /// Each release in order: the head, and how many records lie before the proof of it.
    releases: Vec<(u64, u64)>,
    /// Releases that were durable at the first moment.
    releases_durable: usize,
}

impl History {
    fn make(seed: u64, number: u64) -> Self {
        let name = format!("seed {seed} history {number}");
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let seed = Random::new(seed ^ number << 32).draw();
        let child = Command::new(env::current_exe().unwrap())
            .args(["--exact", TEST, "--nocapture"])
            .env(DIR_VARIABLE, dir.path())
            .env(WORK_SEED_VARIABLE, seed.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut child = Killed(child);
        let lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
        let is_ready = lines.map_while(Result::ok).any(|line| line.ends_with("READY"));
        assert!(is_ready, "{name}: the work failed");
        child.kill();

        let mut moments = Vec::new();
        while let Some(image) = Some(dir.path().join(format!("image-{}", moments.len())))
            && image.exists()
        {
            moments.push(read_all(&image));
        }
        moments.push(read_all(&dir.path().join("log")));
        let lsns = fs::read(dir.path().join("lsns")).unwrap();
        let lsns = lsns.chunks_exact(8).map(|lsn| u64::from_le_bytes(lsn.try_into().unwrap()));
        let lsns = lsns.collect();
        let facts = fs::read_to_string(dir.path().join("facts")).unwrap();
        let mut history = History {
            name: format!("{name} ({})", facts.replace('\n', ", ")),
            seed,
            moments,
            lsns,
            durable: 0,
            releases: Vec::new(),
            releases_durable: 0,
        };
        for line in facts.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let value = |at: usize| -> u64 { words[at].parse().unwrap() };
            match words[0] {
                "durable" => {
                    history.durable = value(1);
                    history.releases_durable = history.releases.len();
                }
                "release" => history.releases.push((value(1), value(2))),
                _ => {}
            }
        }
        history
    }

    fn draw_images(&self, tally: &Tally) {
        let mut random = Random::new(self.seed ^ 1);
        for image in 0..IMAGES_PER_HISTORY {
            let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
            for (name, bytes) in self.draw(&mut random) {
                fs::write(dir.path().join(name), bytes).unwrap();
            }
            self.check(dir.path(), &format!("{} image {image}", self.name), tally);
        }
    }

    /// What a power cut may leave.
    fn draw(&self, random: &mut Random) -> Files {
        let last = self.moments.len() - 1;
        let piece_bytes = if random.within(0..3) == 0 { SECTOR_BYTES } else { PAGE_BYTES };
        let old_of_16 = random.within(0..17);
        let is_newest = random.within(0..8) == 0;
        let base = self.releases[..self.releases_durable].last().map_or(0, |release| release.0);
        let mut image = Files::new();
        let newest = &self.moments[last];
        let mut has_wiped = false;
        let names = self.moments.iter().flat_map(BTreeMap::keys);
        let names: std::collections::BTreeSet<_> =
            names.filter(|it| it.ends_with(".seg")).collect();
        let unused = |name: &&&String| newest.get(**name).is_some_and(|it| it[0] == 0);
        let last_unused = names.iter().rfind(unused);
        for name in &names {
            if segment_number(name).unwrap() * SEGMENT_BYTES < base {
                // Its removal, or its use as another, may have begun.
                let Some(bytes) = self.moments[0].get(*name) else { continue };
                let mut bytes = bytes.clone();
                match random.within(0..3) {
                    0 => continue,
                    1 if !has_wiped => {
                        has_wiped = true;
                        bytes[..PAGE_BYTES].fill(0);
                        let pages = bytes[PAGE_BYTES..].chunks_mut(PAGE_BYTES);
                        pages.filter(|_| random.within(0..3) == 0).for_each(|page| page.fill(0));
                    }
                    _ => {}
                }
                image.insert((*name).clone(), bytes);
                continue;
            }
            // A segment is zero, durably, before it is used.
            let zeros = vec![0; SEGMENT_BYTES as usize];
            let version = |at: usize| self.moments[at].get(*name).unwrap_or(&zeros);
            let mut bytes = Vec::with_capacity(zeros.len());
            for start in (0..zeros.len()).step_by(piece_bytes) {
                let at = match random.within(0..16) {
                    _ if is_newest => last,
                    draw if draw < old_of_16 => 0,
                    _ => random.within(1..last as u64 + 1) as usize,
                };
                bytes.extend_from_slice(&version(at)[start..start + piece_bytes]);
            }
            // The last one may just be in the making.
            if Some(name) == last_unused {
                match random.within(0..4) {
                    0 => continue,
                    1 => bytes.truncate(random.within(0..16) as usize * PAGE_BYTES),
                    _ => {}
                }
            }
            image.insert((*name).clone(), bytes);
        }
        self.draw_snapshots(&mut image, random);
        image
    }

    /// The snapshots, which were there before the sync, and a draft of one moment with any of its
    /// pages. What is not durable gets no more than a draft.
    fn draw_snapshots(&self, image: &mut Files, random: &mut Random) {
        let at = random.within(0..self.moments.len() as u64) as usize;
        for (name, bytes) in self.moments[at].iter().filter(|(name, _)| name.contains(".snap")) {
            let mut bytes = bytes.clone();
            if name.ends_with("-draft") {
                let pages = bytes.chunks_mut(PAGE_BYTES);
                pages.filter(|_| random.within(0..4) == 0).for_each(|page| page.fill(0));
            }
            image.insert(name.clone(), bytes);
        }
    }

    fn check(&self, dir: &Path, what: &str, tally: &Tally) {
        let with_draft = read_all(dir).into_keys().any(|name| name.ends_with("-draft"));
        let mut state = State::new(self.seed);
        let mut log = open_or_panic(dir, &mut state, what);
        let head = log.head().0;
        let total = self.lsns.len() as u64;
        let first_at_head = self.lsns.partition_point(|lsn| *lsn < head) as u64;
        let next = state.next.unwrap_or(first_at_head);
        assert!(
            (self.durable..=total).contains(&next),
            "{what}: {next} records of {total}, {} were durable",
            self.durable
        );
        if state.restored.is_none() {
            assert!(state.first.is_none_or(|first| first == first_at_head), "{what}: {head}");
        }
        // The head is one that was asked for, and its proof is there.
        let base = self.releases[..self.releases_durable].last().map_or(0, |release| release.0);
        let proof = self.releases.iter().find(|(to, _)| *to == head);
        assert!(head >= base, "{what}: a durable release to {base} is undone, the head is {head}");
        assert!(head == 0 || proof.is_some_and(|(_, before)| *before <= next), "{what}: {head}");
        count(&tally.images, true);
        count(&tally.torn, next < total);
        count(&tally.whole, next == total);
        count(&tally.from_snapshot, state.restored.is_some());
        count(&tally.with_draft, with_draft);
        count(&tally.released, head == base && head > 0);
        assert_eq!(head, base, "a release that nobody asked for");

        // It goes on, and the next opening finds the same and what was added.
        let bytes = payload(self.seed, next);
        wait("segment", || log.append(&[&bytes]).is_ok());
        let published = log.commit();
        wait("sync", || log.durable() >= published);
        drop(log);
        let mut state = State::new(self.seed);
        let log = open_or_panic(dir, &mut state, what);
        assert_eq!((state.next, log.head().0), (Some(next + 1), head), "{what}");
    }
}

fn open_or_panic(dir: &Path, state: &mut State, what: &str) -> Log {
    let log = options(dir).ready_segments(1).open_state(Arc::new(|| {}), state);
    log.unwrap_or_else(|error| panic!("{what}: {error}"))
}

/// A process that does not outlive this.
struct Killed(Child);

impl Killed {
    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have been killed before.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
