//! Executors through the public API: sharing between shards, handlers that hang, leases that are
//! extended, ends that find their way back.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    sync::{
        Arc, Barrier, Condvar, Mutex, OnceLock, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use crossbeam::channel::{Receiver, Sender, unbounded};
use tempfile::TempDir;
use tickwheel_engine::{
    Attempt, Backoff, Builder, Counts, Durability, Engine, EngineStats, ExtendError, JobError,
    NewJob, StartError,
};

/// Longest that a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(30);

/// A handler that is called within this time hangs; one that the machine holds up for longer is not
/// called any more.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Time-outs within which a handler asks for more: the next is for a machine that held it up for as
/// long as the one before. What is wrong is so with every one of them.
const TIMEOUTS_MS: [u64; 3] = [500, 2000, 8000];

fn builder(dir: &TempDir) -> Builder {
    Engine::builder().data_dir(dir.path()).segment_bytes(8 << 20).pin(false)
}

fn job(payload: &str) -> NewJob {
    let quick = Backoff::exponential(Duration::from_millis(1), Duration::from_millis(1));
    NewJob::new("job").payload(payload.to_owned()).attempts_max(1).backoff(quick)
}

fn text(attempt: &Attempt<'_>) -> String {
    String::from_utf8(attempt.payload().to_vec()).unwrap()
}

/// A door that handlers wait at, whatever the engine tells them.
#[derive(Default)]
struct Door {
    open: Mutex<bool>,
    opened: Condvar,
}

impl Door {
    fn pass(&self) {
        let open = self.open.lock().unwrap();
        drop(self.opened.wait_while(open, |open| !*open).unwrap());
    }

    fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.opened.notify_all();
    }
}

/// An engine whose handler tells its payload, and waits at the door if it is "hang".
fn with_door(builder: Builder) -> (Engine, Arc<Door>, Receiver<String>) {
    let door = Arc::new(Door::default());
    let (tell, told): (Sender<String>, _) = unbounded();
    let at = Arc::clone(&door);
    let engine = builder
        .handler("job", move |attempt| {
            tell.send(text(attempt)).unwrap();
            if attempt.payload() == b"hang" {
                at.pass();
            }
            Ok(())
        })
        .start()
        .unwrap();
    (engine, door, told)
}

/// Waits until the numbers are as asked for.
fn wait_for(engine: &Engine, what: impl Fn(&EngineStats) -> bool) {
    let until = Instant::now() + PATIENCE;
    loop {
        let stats = engine.stats().unwrap();
        if what(&stats) {
            return;
        }
        assert!(Instant::now() < until, "{stats:?}");
        std::thread::yield_now();
    }
}

#[test]
fn a_shard_alone_uses_the_executors_of_all() {
    let dir = tempfile::tempdir().unwrap();
    let all = Arc::new(Barrier::new(4));
    let meet = Arc::clone(&all);
    let engine = builder(&dir)
        .shards(4)
        .executors(4)
        .handler("job", move |_| {
            meet.wait();
            Ok(())
        })
        .start()
        .unwrap();
    // A batch is one shard's: none of its jobs ends unless four run at a time.
    engine.submit_batch(vec![job("meet"); 8]).unwrap();
    assert!(engine.drain(PATIENCE));
}

#[test]
fn a_shard_that_waits_for_places_is_told_when_executors_of_others_come_to_rest() {
    let dir = tempfile::tempdir().unwrap();
    let door = Arc::new(Door::default());
    let (at, meet) = (Arc::clone(&door), Arc::new(Barrier::new(4)));
    let (tell, told) = unbounded();
    // Without syncs, so that the end of none wakes the shard by chance.
    let engine = builder(&dir)
        .durability(Durability::Os)
        .shards(4)
        .executors(4)
        .handler("job", move |attempt| {
            tell.send(()).unwrap();
            if attempt.payload() == b"hang" {
                at.pass();
            } else {
                meet.wait();
            }
            Ok(())
        })
        .start()
        .unwrap();
    // Three shards keep three executors busy; the jobs of the fourth can only end together.
    for _ in 0..3 {
        engine.submit(job("hang")).unwrap();
    }
    engine.submit_batch(vec![job("meet"); 4]).unwrap();
    for _ in 0..4 {
        told.recv_timeout(PATIENCE).unwrap();
    }
    door.open();
    assert!(engine.drain(PATIENCE));
}

#[test]
fn no_shard_starves_whose_own_executors_are_missing() {
    const BUSY: usize = 100;
    let dir = tempfile::tempdir().unwrap();
    let (ran, runs) = unbounded();
    let asked = Arc::new(OnceLock::<Weak<Engine>>::new());
    let (ask, other_ran) = (Arc::clone(&asked), AtomicBool::new(false));
    let engine = builder(&dir)
        .shards(2)
        .executors(1)
        .handler("job", move |attempt| {
            let text = text(attempt);
            // The executor's own shard has another attempt for it each time that it looks: two of
            // that shard and the one of the other are out.
            while text == "busy" && !other_ran.load(Ordering::Relaxed) {
                let Some(engine) = ask.wait().upgrade() else { break };
                let counts =
                    engine.stats().map_or_else(|_| Counts::default(), |stats| stats.counts);
                if counts.running >= 3 || counts.pending <= 2 {
                    break;
                }
            }
            other_ran.fetch_or(text == "other", Ordering::Relaxed);
            ran.send(text).unwrap();
            Ok(())
        })
        .start()
        .unwrap();
    let engine = Arc::new(engine);
    asked.set(Arc::downgrade(&engine)).unwrap();
    engine.submit_batch(vec![job("busy"); BUSY]).unwrap();
    engine.submit_batch(vec![job("other")]).unwrap();
    let mut before = 0;
    while runs.recv_timeout(PATIENCE).unwrap() != "other" {
        before += 1;
    }
    assert!(before < BUSY, "the other shard's job came last");
    assert!(engine.drain(PATIENCE));
}

#[test]
fn a_handler_that_hangs_is_replaced_and_its_thread_ends_when_it_returns() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, door, told) = with_door(builder(&dir).executors(1));
    engine.submit(job("hang").timeout(TIMEOUT)).unwrap();
    engine.submit(job("next")).unwrap();
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), "hang");
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), "next");
    assert!(engine.drain(PATIENCE));
    let stats = engine.stats().unwrap();
    assert_eq!((stats.executors_hung, stats.executors_replaced), (1, 1));
    assert_eq!((stats.counts.dead, stats.counts.succeeded), (1, 1));
    door.open();
    wait_for(&engine, |stats| stats.executors_hung == 0 && stats.stale_completions == 1);
    engine.submit(job("after")).unwrap();
    assert!(engine.drain(PATIENCE));
    assert_eq!(engine.shutdown(PATIENCE).unwrap().executors_left, 0);
}

#[test]
fn a_cancelled_handler_that_does_not_return_is_replaced_too() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, door, told) = with_door(builder(&dir).executors(1));
    let id = engine.submit(job("hang")).unwrap();
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), "hang");
    engine.cancel(id).unwrap();
    engine.submit(job("next")).unwrap();
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), "next");
    door.open();
    wait_for(&engine, |stats| stats.executors_hung == 0);
}

#[test]
fn replacements_are_bounded_and_the_next_to_return_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, door, told) = with_door(builder(&dir).executors(2).replacements(1));
    engine.submit_batch(vec![job("hang").timeout(TIMEOUT); 3]).unwrap();
    // Two executors and one in place of them: all hang.
    wait_for(&engine, |stats| stats.executors_hung == 3);
    assert_eq!(engine.stats().unwrap().executors_replaced, 1);
    engine.submit(job("later")).unwrap();
    for _ in 0..3 {
        assert_eq!(told.recv_timeout(PATIENCE).unwrap(), "hang");
    }
    assert!(told.is_empty(), "nobody is left to take it");
    door.open();
    assert!(engine.drain(PATIENCE));
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), "later");
    wait_for(&engine, |stats| stats.executors_hung == 0);
}

#[test]
fn an_engine_ends_though_a_handler_never_returns() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, door, told) = with_door(builder(&dir).executors(2));
    let hang = job("hang").timeout(TIMEOUT).attempts_max(2);
    engine.submit(hang).unwrap();
    for _ in 0..2 {
        assert_eq!(told.recv_timeout(PATIENCE).unwrap(), "hang");
    }
    wait_for(&engine, |stats| stats.executors_hung == 2);
    // The grace is for handlers whose attempts are under way.
    let ended = engine.shutdown(Duration::from_secs(3600)).unwrap();
    assert_eq!((ended.abandoned, ended.executors_left), (0, 2));
    door.open();
}

#[test]
fn a_handler_that_asks_for_time_gets_it() {
    let gets_it = |timeout_ms: u64| {
        let dir = tempfile::tempdir().unwrap();
        let timeout = Duration::from_millis(timeout_ms);
        let engine = builder(&dir)
            .executors(1)
            .handler("job", move |attempt| {
                attempt.extend(Duration::from_secs(3600)).map_err(JobError::permanent)?;
                let began = Instant::now();
                // Its time-out passes meanwhile, and the shard asks how things stand.
                while began.elapsed() < 2 * timeout {
                    std::thread::yield_now();
                }
                if attempt.is_cancelled() { Err(JobError::permanent("cancelled")) } else { Ok(()) }
            })
            .start()
            .unwrap();
        engine.submit(job("long").timeout(timeout)).unwrap();
        assert!(engine.drain(PATIENCE));
        let counts = engine.stats().unwrap().counts;
        (counts.succeeded, counts.dead) == (1, 0)
    };
    assert!(TIMEOUTS_MS.into_iter().any(gets_it), "a handler that asked for time timed out");
}

#[test]
fn a_lease_that_has_ended_is_not_extended() {
    let is_refused_late = |timeout_ms: u64| {
        let dir = tempfile::tempdir().unwrap();
        let (tell, told) = unbounded();
        let timeout = Duration::from_millis(timeout_ms);
        let engine = builder(&dir)
            .executors(1)
            .handler("job", move |attempt| {
                // What is asked for is more than the time-out, and used up.
                let more = attempt.extend(timeout + Duration::from_millis(100));
                let in_time = more.and_then(|()| attempt.extend(Duration::ZERO));
                while in_time.is_ok() && !attempt.is_cancelled() {
                    std::thread::yield_now();
                }
                tell.send((in_time, attempt.extend(Duration::from_secs(60)))).unwrap();
                Ok(())
            })
            .start()
            .unwrap();
        engine.submit(job("late").timeout(timeout)).unwrap();
        assert!(engine.drain(PATIENCE));
        assert_eq!(engine.stats().unwrap().counts.dead, 1);
        // Held up before its call, it is not called: none speaks before the engine has ended.
        engine.shutdown(PATIENCE).unwrap();
        drop(engine);
        told.recv_timeout(PATIENCE) == Ok((Ok(()), Err(ExtendError::Ended)))
    };
    let mut timeouts = TIMEOUTS_MS.into_iter();
    assert!(timeouts.any(is_refused_late), "refused in time, or extended late");
}

#[test]
fn ends_come_back_though_the_shard_is_stuck_and_its_inbox_is_full() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, door, told) = with_door(builder(&dir).executors(2).running_max(64));
    let stuck = Arc::new(Door::default());
    engine.submit_batch(vec![job("hang"); 2]).unwrap();
    for _ in 0..2 {
        told.recv_timeout(PATIENCE).unwrap();
    }
    let (at, (reached, reach)) = (Arc::clone(&stuck), unbounded());
    let wait = move |_| {
        reached.send(()).unwrap();
        at.pass();
    };
    engine.submit_batch_then(vec![job("a"), job("b")], wait).unwrap();
    reach.recv_timeout(PATIENCE).unwrap();
    // The shard's thread is in the callback. Callers fill its inbox until one of them waits.
    std::thread::scope(|scope| {
        let (sent, sends) = unbounded();
        let engine = &engine;
        scope.spawn(move || {
            for _ in 0..tickwheel_engine::limits::INBOX_LEN + 1 {
                engine.submit_batch_then(vec![job("more")], |_| ()).unwrap();
                let _ = sent.send(());
            }
        });
        for _ in 0..tickwheel_engine::limits::INBOX_LEN {
            sends.recv_timeout(PATIENCE).unwrap();
        }
        // Handlers end all the same, and their executors go on to what was lent out before.
        door.open();
        let mut before: Vec<_> = (0..2).map(|_| told.recv_timeout(PATIENCE).unwrap()).collect();
        // There are two executors: either may speak first.
        before.sort_unstable();
        assert_eq!(before, ["a", "b"]);
        assert!(sends.is_empty(), "the inbox was full all the while");
        stuck.open();
    });
    assert!(engine.drain(PATIENCE));
}

/// A value whose drop panics.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            std::panic::panic_any(Bomb);
        }
    }
}

#[test]
fn a_panic_whose_value_panics_is_an_outcome_too() {
    let dir = tempfile::tempdir().unwrap();
    let engine = builder(&dir)
        .executors(1)
        .handler("job", |attempt| match attempt.payload() {
            b"bomb" => std::panic::panic_any(Bomb),
            _ => Ok(()),
        })
        .start()
        .unwrap();
    engine.submit_batch(vec![job("bomb"), job("next")]).unwrap();
    assert!(engine.drain(PATIENCE));
    let counts = engine.stats().unwrap().counts;
    assert_eq!((counts.dead, counts.succeeded), (1, 1));
}

#[test]
fn jobs_run_while_threads_spin_and_the_settings_have_bounds() {
    let dir = tempfile::tempdir().unwrap();
    let spinning = builder(&dir).shards(1).executors(1).spin(Duration::from_micros(50));
    let (engine, _, told) = with_door(spinning);
    for _ in 0..20 {
        engine.submit(job("quick")).unwrap();
        assert_eq!(told.recv_timeout(PATIENCE).unwrap(), "quick");
    }
    assert!(engine.drain(PATIENCE));
    engine.shutdown(PATIENCE).unwrap();
    let refused = |builder: Builder| {
        let error = builder.start().unwrap_err();
        assert!(matches!(error, StartError::Setting { .. }), "{error}");
        error.to_string()
    };
    assert!(refused(builder(&dir).spin(Duration::from_millis(2))).contains("spin"));
    assert!(refused(builder(&dir).replacements(1025)).contains("replacements"));
}
