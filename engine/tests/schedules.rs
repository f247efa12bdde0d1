//! Rules of schedules through the public API: what a program tells one, and what a restart keeps.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, SystemTime};

use crossbeam::channel::{Receiver, Sender, unbounded};
use tempfile::TempDir;
use tickwheel_engine::{
    Attempt, CallError, Engine, NewJob, Overlap, Refusal, Schedule, cron::Cron,
};

/// Longest that a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(30);
const HOUR: Duration = Duration::from_secs(3600);

/// An engine whose handler tells its payload, and ends when it is let go.
struct World {
    /// Before the engine, so that a test that fails leaves no handler waiting.
    let_go: Sender<()>,
    engine: Engine,
    runs: Receiver<String>,
}

impl World {
    fn start(dir: &TempDir) -> Self {
        let (ran, runs) = unbounded();
        let (let_go, gate) = unbounded();
        let handler = move |attempt: &Attempt<'_>| {
            // A restart leaves nobody who listens.
            let _ = ran.send(String::from_utf8_lossy(attempt.payload()).into_owned());
            let _ = gate.recv();
            Ok(())
        };
        let builder = Engine::builder().data_dir(dir.path()).segment_bytes(8 << 20).executors(2);
        let engine = builder.pin(false).handler("text", handler).start().unwrap();
        Self { let_go, engine, runs }
    }

    fn run(&self) -> String {
        self.runs.recv_timeout(PATIENCE).unwrap()
    }
}

fn text(payload: &'static str) -> NewJob {
    NewJob::new("text").payload(payload)
}

#[test]
fn a_pause_outlives_the_process_and_a_run_by_hand_does_not_end_it() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::start(&dir);
    let hourly = || Schedule::every("hourly", HOUR, text("hourly")).overlap(Overlap::Skip);
    let first = world.engine.put_schedule(hourly()).unwrap().unwrap();
    let upcoming = world.engine.upcoming("hourly", 3).unwrap().unwrap();
    assert_eq!(upcoming.len(), 3);
    let apart = upcoming[1].duration_since(upcoming[0]).unwrap();
    assert_eq!(apart, HOUR);
    // The two were read of the clocks one after the other.
    assert!(upcoming[0].max(first).duration_since(upcoming[0].min(first)).unwrap() < HOUR / 2);
    assert_eq!(world.engine.pause_schedule("hourly", "the disk is being changed"), Ok(true));
    assert_eq!(world.engine.pause_schedule("none", ""), Ok(false));
    drop(world);

    let world = World::start(&dir);
    world.engine.put_schedule(hourly()).unwrap();
    let paused = world.engine.schedules().unwrap().remove(0).paused.unwrap();
    assert_eq!(paused.note, "the disk is being changed");
    assert!(paused.since <= SystemTime::now());
    assert_eq!(world.engine.upcoming("hourly", 3), Ok(Some(Vec::new())));
    assert_eq!(world.engine.upcoming("none", 3), Ok(None));
    assert_eq!(world.engine.run_now("none"), Ok(None));
    assert!(world.engine.run_now("hourly").unwrap().is_some());
    assert_eq!(world.run(), "hourly");
    let again = world.engine.run_now("hourly");
    assert!(matches!(again, Err(CallError::Refused(Refusal::Schedule(_)))), "{again:?}");
    world.let_go.send(()).unwrap();
    assert!(world.engine.drain(PATIENCE));
    let info = world.engine.schedules().unwrap().remove(0);
    assert_eq!((info.pending, info.fired, info.paused.is_some()), (0, 1, true));
    assert_eq!(world.engine.resume_schedule("hourly"), Ok(true));
    assert_eq!(world.engine.schedules().unwrap()[0].paused, None);
}

#[test]
fn a_schedule_runs_as_often_as_its_limit_says_and_not_before_its_start() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::start(&dir);
    let often = Duration::from_millis(20);
    let starts = SystemTime::now() + Duration::from_millis(200);
    let rule = Schedule::every("few", often, text("few"))
        .starts(starts)
        .ends(SystemTime::now() + HOUR)
        .jitter(often)
        .runs(3);
    assert!(world.engine.put_schedule(rule).unwrap().unwrap() >= starts);
    for _ in 0..3 {
        assert_eq!(world.run(), "few");
        assert!(SystemTime::now() >= starts);
        world.let_go.send(()).unwrap();
    }
    assert!(world.engine.drain(PATIENCE));
    let info = world.engine.schedules().unwrap().remove(0);
    assert_eq!((info.next, info.fired), (None, 3));
}

#[test]
fn a_window_of_the_past_is_run_again() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::start(&dir);
    let hourly = Cron::parse("0 * * * *").unwrap();
    world.engine.put_schedule(Schedule::cron("hourly", hourly, text("hourly"))).unwrap();
    let start = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let window = start..=start + 3 * HOUR;
    let times = world.engine.backfill_preview("hourly", &window).unwrap().unwrap();
    assert_eq!(times.len(), 3);
    let done = world.engine.backfill("hourly", window).unwrap().unwrap();
    assert_eq!((done.added, done.stopped), (3, None));
    for _ in 0..3 {
        assert_eq!(world.run(), "hourly");
        world.let_go.send(()).unwrap();
    }
    let none = world.engine.backfill("none", start..=start).unwrap();
    assert_eq!((none, world.engine.backfill_preview("none", &(start..=start))), (None, Ok(None)));
    // More than one call takes, or a window that is turned round: nothing is added.
    for window in [start - 10_001 * HOUR..=start, start..=start - HOUR] {
        let refused = world.engine.backfill("hourly", window);
        assert!(matches!(refused, Err(CallError::Refused(Refusal::Schedule(_)))), "{refused:?}");
    }
    assert!(world.engine.drain(PATIENCE));
}
