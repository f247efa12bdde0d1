//! Promise 8 on a real file system: on a full disk new jobs are refused by name, running ones
//! complete, nothing crashes, and work goes on once there is space.
//!
//! The disk is a tmpfs of a few dozen MiB in a mount namespace of its own, so the test starts
//! itself again under `unshare`. That needs root, or a system that lets users make namespaces.
//! Where neither is given the test says so and proves nothing; with `CI=true` it fails then.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    env,
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::Command,
    sync::mpsc::{Receiver, Sender, channel},
    sync::{Arc, Condvar, Mutex},
    thread,
    time::{Duration, Instant},
};

use tickwheel_engine::{
    Attempt, Engine, JobEvent, JobId, JobInfo, NewJob, OutcomeKind, Refusal, StartError,
    SubmitError,
};

/// Tells the inner run where the small disk is.
const DISK_VARIABLE: &str = "TICKWHEEL_TEST_SMALL_DISK";
/// The smallest that the engine takes.
const SEGMENT_BYTES: u64 = 8 << 20;
/// Room for nine segments and a half: each start takes one.
const DISK_BYTES: u64 = 9 * SEGMENT_BYTES + SEGMENT_BYTES / 2;
/// What is taken from the disk at first. The log begins with three segments; a fourth does not fit.
const BALLAST_BYTES: usize = 6 * SEGMENT_BYTES as usize;
/// Payloads of the jobs that fill the disk, down to the last bytes that it takes.
const PAYLOADS_BYTES: [usize; 4] = [256 << 10, 16 << 10, 1 << 10, 0];
/// Jobs that run while the disk fills.
const RUNNING: usize = 4;
/// Longest wait for something that has to come.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn on_a_full_disk_jobs_are_refused_and_running_ones_complete() {
    on_small_disk("on_a_full_disk_jobs_are_refused_and_running_ones_complete", refuse_and_complete);
}

#[test]
fn a_disk_full_of_garbage_frees_itself() {
    on_small_disk("a_disk_full_of_garbage_frees_itself", free_itself);
}

/// Runs `body` with a small disk of its own: the test of this name starts itself again with one.
fn on_small_disk(test: &str, body: fn(&Path)) {
    if let Some(disk) = env::var_os(DISK_VARIABLE) {
        let disk = Path::new(&disk);
        let size = rustix::fs::statvfs(disk).unwrap();
        assert_eq!(size.f_blocks * size.f_frsize, DISK_BYTES, "the small disk is not mounted");
        return body(disk);
    }
    let dir = tempfile::Builder::new().prefix("tickwheel-disk").tempdir().unwrap();
    // Inside the namespace: mount the disk on `$0`, then become this test.
    let script = format!(
        "mount -t tmpfs -o size={DISK_BYTES} tickwheel-test \"$0\" || exit 77; \
         exec \"$1\" --exact {test} --nocapture"
    );
    let status = Command::new("unshare")
        .args(["--mount", "--user", "--map-root-user", "sh", "-c", &script])
        .arg(dir.path())
        .arg(env::current_exe().unwrap())
        .env(DISK_VARIABLE, dir.path())
        .status();
    let reason = match status {
        Ok(status) if status.success() => return,
        // `unshare` fails with 1 and a word on standard error, `mount` as written above. A failed
        // test ends with 101, a signal has no code.
        Ok(status) if matches!(status.code(), Some(1 | 77)) => {
            "a namespace with a file system of its own cannot be made here".to_owned()
        }
        Ok(status) => panic!("the run on the small disk failed: {status}"),
        Err(error) => format!("`unshare` cannot be run: {error}"),
    };
    let is_ci = env::var("CI").is_ok_and(|value| value == "true");
    assert!(!is_ci, "the full disk was not tested: {reason}");
    // Not by a macro: the test harness would keep the output of a test that passes to itself.
    let words = format!("\nSKIPPED, nothing was proven about a full disk: {reason}\n\n");
    std::io::stderr().write_all(words.as_bytes()).unwrap();
}

/// Lets handlers wait until they are let go.
#[derive(Default)]
struct Gate {
    is_open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn wait(&self) {
        let guard = self.is_open.lock().unwrap();
        drop(self.opened.wait_while(guard, |is_open| !*is_open).unwrap());
    }

    fn open(&self) {
        *self.is_open.lock().unwrap() = true;
        self.opened.notify_all();
    }
}

/// An engine on the small disk.
struct World {
    engine: Engine,
    gate: Arc<Gate>,
    /// Attempts that have begun.
    begun: Receiver<JobId>,
    /// Attempts that have ended.
    events: Receiver<JobEvent>,
}

impl World {
    fn start(data_dir: &Path) -> Result<Self, StartError> {
        let gate = Arc::new(Gate::default());
        let held = Arc::clone(&gate);
        let (begin, begun): (Sender<JobId>, _) = channel();
        let (tell, events) = channel();
        let engine = Engine::builder()
            .data_dir(data_dir)
            .shards(1)
            .segment_bytes(SEGMENT_BYTES)
            .executors(RUNNING)
            .pin(false)
            .handler("hold", move |attempt: &Attempt<'_>| {
                begin.send(attempt.job()).unwrap();
                held.wait();
                Ok(())
            })
            .handler("wait", |_| Ok(()))
            .observer(move |event: &JobEvent| drop(tell.send(event.clone())))
            .start()?;
        Ok(Self { engine, gate, begun, events })
    }

    /// Submits a job that waits for an hour.
    fn submit(&self, len_bytes: usize) -> Result<JobId, SubmitError> {
        let job = NewJob::new("wait").payload(vec![1; len_bytes]);
        self.engine.submit(job.delay(Duration::from_secs(3600)))
    }

    fn check_waiting(&self, jobs: &[JobId]) {
        for job in jobs {
            let found = self.engine.job(*job).unwrap();
            assert!(matches!(found, Some(JobInfo::Pending { .. })), "job {job} is {found:?}");
        }
    }
}

fn refuse_and_complete(disk: &Path) {
    let data_dir = disk.join("data");
    let ballast = fill(disk, BALLAST_BYTES);
    let world = World::start(&data_dir).unwrap();
    for _ in 0..RUNNING {
        world.engine.submit(NewJob::new("hold")).unwrap();
    }
    let running: Vec<JobId> =
        (0..RUNNING).map(|_| world.begun.recv_timeout(PATIENCE).unwrap()).collect();

    let no_space = SubmitError::Refused(Refusal::NoSpace);
    let mut waiting = fill_log(&world);
    // It stays so, and a refusal takes no space.
    for _ in 0..1000 {
        assert_eq!(world.submit(0), Err(no_space.clone()));
    }

    // What runs comes to its end, and that is written.
    world.gate.open();
    for _ in 0..RUNNING {
        let event = world.events.recv_timeout(PATIENCE).unwrap();
        assert_eq!(event.outcome, OutcomeKind::Succeeded, "{event:?}");
        assert!(running.contains(&event.job));
    }
    world.check_waiting(&waiting);
    // A job can still be withdrawn.
    let withdrawn = waiting.pop().unwrap();
    assert!(world.engine.cancel(withdrawn).unwrap().is_some());

    // With space again, work goes on without a restart.
    fs::remove_file(&ballast).unwrap();
    waiting.push(submit_when_there_is_room(&world));

    // What was promised is there after a restart, and what ended has ended.
    world.engine.shutdown(PATIENCE).unwrap();
    drop(world);
    let world = World::start(&data_dir).unwrap();
    world.check_waiting(&waiting);
    for job in running.iter().chain([&withdrawn]) {
        assert_eq!(world.engine.job(*job).unwrap(), Some(JobInfo::Ended));
    }
    world.engine.shutdown(PATIENCE).unwrap();
    drop(world);
    start_without_any_space(disk, &data_dir, &waiting);
}

/// Submits jobs until not even an empty one is taken. Each refusal has to name the disk.
fn fill_log(world: &World) -> Vec<JobId> {
    let mut waiting = Vec::new();
    for len_bytes in PAYLOADS_BYTES {
        loop {
            match world.submit(len_bytes) {
                Ok(job) => waiting.push(job),
                Err(refusal) => break assert_eq!(refusal, SubmitError::Refused(Refusal::NoSpace)),
            }
        }
        println!("{} jobs once {len_bytes} bytes are refused", waiting.len());
    }
    assert!(!waiting.is_empty());
    waiting
}

/// A log of jobs that are all withdrawn gives its segments back, although the disk has no space for
/// one more, and work goes on without a restart. What was kept is still there.
fn free_itself(disk: &Path) {
    let data_dir = disk.join("data");
    let world = World::start(&data_dir).unwrap();
    let mut garbage = fill_log(&world);
    // Some at the head of the log and some at its end, which cleaning has to move or to leave.
    let mut kept: Vec<JobId> = garbage.drain(..3).collect();
    kept.extend(garbage.pop());
    let before = world.engine.stats().unwrap();
    for job in &garbage {
        assert!(world.engine.cancel(*job).unwrap().is_some(), "job {job} cannot be withdrawn");
    }
    kept.push(submit_when_there_is_room(&world));
    let stats = world.engine.stats().unwrap();
    println!("{stats:?}");
    assert!(stats.log_segments_released > before.log_segments_released, "{stats:?}");
    // The space can be used again and again.
    for _ in 0..3 {
        let again = fill_log(&world);
        world.check_waiting(&kept);
        for job in again {
            assert!(world.engine.cancel(job).unwrap().is_some(), "job {job} cannot be withdrawn");
        }
        kept.push(submit_when_there_is_room(&world));
    }
    world.check_waiting(&kept);
    world.engine.shutdown(PATIENCE).unwrap();
    drop(world);
    let world = World::start(&data_dir).unwrap();
    world.check_waiting(&kept);
    assert_eq!(world.engine.stats().unwrap().counts.pending, kept.len() as u64);
    for job in &garbage {
        assert_eq!(world.engine.job(*job).unwrap(), Some(JobInfo::Ended));
    }
    world.engine.shutdown(PATIENCE).unwrap();
}

/// A start on a disk without any space fails with an error, or brings everything back.
fn start_without_any_space(disk: &Path, data_dir: &Path, waiting: &[JobId]) {
    let ballast = fill(disk, usize::MAX);
    match World::start(data_dir) {
        Ok(world) => {
            println!("it started on the full disk");
            world.check_waiting(waiting);
            world.engine.shutdown(PATIENCE).unwrap();
        }
        Err(error) => {
            println!("on the full disk: {error}");
            let text = error.to_string();
            assert!(matches!(error, StartError::Log(_)), "{error:?}");
            assert!(text.contains(".seg") && text.contains("No space left"), "{text}");
        }
    }
    fs::remove_file(ballast).unwrap();
    World::start(data_dir).unwrap().check_waiting(waiting);
}

/// The log looks for space by itself, and tells nobody when it has found some: so this asks.
fn submit_when_there_is_room(world: &World) -> JobId {
    let begun = Instant::now();
    loop {
        match world.submit(PAYLOADS_BYTES[0]) {
            Ok(job) => return job,
            Err(SubmitError::Refused(Refusal::NoSpace)) => {}
            Err(error) => panic!("{error}"),
        }
        assert!(begun.elapsed() < PATIENCE, "there is space, and jobs are still refused");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Takes `len_bytes` from the disk, or all that is left.
fn fill(disk: &Path, len_bytes: usize) -> PathBuf {
    let path = disk.join("ballast");
    let mut file = File::create(&path).unwrap();
    let piece = [0xff; 4096];
    let mut left = len_bytes;
    while left > 0 {
        let piece = &piece[..left.min(piece.len())];
        if file.write_all(piece).is_err() {
            break;
        }
        left -= piece.len();
    }
    path
}
