//! Jobs seen and changed from outside: the dead set, lists, changes of one and of many, over restarts and
//! over a change of the number of shards.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use tickwheel_engine::{
    Alert, Builder, CallError, Changed, CircuitBreaker, DeathCause, Engine, JobChange, JobCursor,
    JobEntry, JobError, JobFilter, JobId, JobInfo, JobState, NewJob, QueueLimits, Refusal,
    SubmitError, store, worker::key_of,
};

const LONG: Duration = Duration::from_secs(3600);

/// Handlers that fail for good until `works` is set.
fn builder(dir: &Path, shards: usize, works: &Arc<AtomicBool>) -> Builder {
    let works = Arc::clone(works);
    Engine::builder()
        .data_dir(dir)
        .shards(shards)
        .segment_bytes(8 << 20)
        .pin(false)
        .handler("send", move |_| match works.load(Ordering::SeqCst) {
            true => Ok(()),
            false => Err(JobError::permanent("no such user")),
        })
        .handler("sweep", |_| Ok(()))
}

fn start(dir: &Path, shards: usize, works: &Arc<AtomicBool>) -> Engine {
    builder(dir, shards, works).start().unwrap()
}

fn dead() -> JobFilter {
    JobFilter::new().states(&[JobState::Dead])
}

fn all(engine: &Engine, filter: &JobFilter, page: usize) -> Vec<JobEntry> {
    let (mut jobs, mut from) = (Vec::new(), None);
    loop {
        let mut next = engine.jobs(filter, from, page).unwrap();
        assert!(next.jobs.len() <= page);
        jobs.append(&mut next.jobs);
        match next.next {
            Some(cursor) => from = Some(cursor.to_string().parse::<JobCursor>().unwrap()),
            None => return jobs,
        }
    }
}

fn payload(entry: &JobEntry) -> String {
    let mut bytes = Vec::new();
    entry.payload.append_to(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

fn wait_until(engine: &Engine, is_so: impl Fn(&Engine) -> bool) {
    let until = Instant::now() + Duration::from_secs(60);
    while !is_so(engine) {
        assert!(Instant::now() < until, "it did not come so far: {:?}", engine.stats());
        thread::yield_now();
    }
}

fn buried(engine: &Engine) -> u64 {
    engine.stats().unwrap().counts.buried
}

#[test]
fn a_dead_job_is_looked_at_over_a_restart_and_queued_again() {
    let (dir, works) = (tempfile::tempdir().unwrap(), Arc::default());
    let engine = start(dir.path(), 2, &works);
    let before = SystemTime::now();
    let ids: Vec<JobId> = (0..6)
        .map(|n| {
            let job = NewJob::new("send").queue("mail").payload(format!("to {n}"));
            engine.submit(job.key(format!("mail {n}"))).unwrap()
        })
        .collect();
    let dropped = engine.submit(NewJob::new("send").keep_dead(false)).unwrap();
    assert!(engine.drain(LONG));
    assert_eq!(engine.job(dropped), Ok(Some(JobInfo::Ended)));
    engine.shutdown(LONG).unwrap();

    let engine = start(dir.path(), 2, &works);
    let counts = engine.stats().unwrap().counts;
    assert_eq!((counts.dead, counts.buried, counts.pending), (7, 6, 0));
    let entries = all(&engine, &dead(), 4);
    let found: BTreeSet<JobId> = entries.iter().map(|entry| entry.id).collect();
    assert_eq!(found, ids.iter().copied().collect());
    for entry in &entries {
        let number = ids.iter().position(|id| *id == entry.id).unwrap();
        assert_eq!(payload(entry), format!("to {number}"));
        assert_eq!(entry.key, Some(key_of(format!("mail {number}").as_bytes())));
        let death = entry.death.as_ref().unwrap();
        assert_eq!((death.cause, &*death.message), (DeathCause::Permanent, "no such user"));
        assert!(death.at >= before && death.at <= SystemTime::now());
        assert_eq!((entry.state, entry.attempts, &*entry.queue), (JobState::Dead, 1, "mail"));
    }
    let looked = engine.look(ids[3]).unwrap().unwrap();
    assert_eq!(payload(&looked), "to 3");
    let info = engine.job(ids[3]).unwrap();
    assert!(matches!(info, Some(JobInfo::Dead { attempts: 1, .. })), "{info:?}");
    assert_eq!(engine.kinds().unwrap(), [("send".into(), 6)]);

    works.store(true, Ordering::SeqCst);
    let requeue = JobChange::requeue();
    assert_eq!(engine.change(ids[0], &requeue), Ok(Changed::Done(JobState::Dead)));
    assert_eq!(
        engine.change_by_key(key_of(b"mail 1"), &requeue),
        Ok(Changed::Done(JobState::Dead))
    );
    let discard = JobChange::discard();
    assert_eq!(engine.change(ids[2], &discard), Ok(Changed::Done(JobState::Dead)));
    assert_eq!(engine.change(ids[2], &discard), Ok(Changed::Absent));
    assert_eq!(engine.change_by_key(key_of(b"mail 1"), &discard), Ok(Changed::Absent));
    assert!(engine.drain(LONG));
    let counts = engine.stats().unwrap().counts;
    assert_eq!((counts.succeeded, counts.dead, counts.buried), (2, 5, 3));
    // The rest all at once.
    let done = engine.bulk(&dead().kind("send"), &requeue).unwrap().wait().unwrap();
    assert_eq!((done.changed, done.left), (3, 0));
    assert!(engine.drain(LONG));
    assert_eq!(buried(&engine), 0);
    assert_eq!(engine.stats().unwrap().counts.succeeded, 5);
}

#[test]
fn bounds_of_the_dead_set_are_kept() {
    let (dir, works) = (tempfile::tempdir().unwrap(), Arc::default());
    // One executor, so that they die in their order.
    let engine = builder(dir.path(), 1, &works).executors(1).dead_max(3).start().unwrap();
    let ids: Vec<JobId> = (0..10).map(|_| engine.submit(NewJob::new("send")).unwrap()).collect();
    assert!(engine.drain(LONG));
    wait_until(&engine, |engine| buried(engine) == 3);
    let left = all(&engine, &dead(), 10);
    assert!(left.iter().all(|entry| ids[5..].contains(&entry.id)), "{left:?}");
    engine.shutdown(LONG).unwrap();
    // They leave by themselves once they are too old.
    let age = Duration::from_millis(1);
    let engine = builder(dir.path(), 1, &works).dead_age(age).start().unwrap();
    wait_until(&engine, |engine| buried(engine) == 0);
    engine.shutdown(LONG).unwrap();
    let engine = builder(dir.path(), 1, &works).dead_max(0).start().unwrap();
    engine.submit(NewJob::new("send")).unwrap();
    assert!(engine.drain(LONG));
    assert_eq!(buried(&engine), 0);
    assert!(builder(dir.path(), 1, &works).dead_max(10_000_001).start().is_err());
}

#[test]
fn dead_jobs_go_along_when_the_number_of_shards_changes() {
    let (dir, works) = (tempfile::tempdir().unwrap(), Arc::default());
    let engine = start(dir.path(), 3, &works);
    for n in 0..9 {
        engine.submit(NewJob::new("send").payload(format!("to {n}"))).unwrap();
        let keyed = NewJob::new("send").payload(format!("key {n}")).key(format!("key {n}"));
        engine.submit(keyed).unwrap();
    }
    assert!(engine.drain(LONG));
    let told = |engine: &Engine| -> BTreeSet<(String, String)> {
        let entries = all(engine, &dead(), 5);
        entries.iter().map(|it| (payload(it), format!("{:?} {:?}", it.death, it.key))).collect()
    };
    let expected = told(&engine);
    assert_eq!(expected.len(), 18);
    engine.shutdown(LONG).unwrap();
    for shards in [1, 2] {
        store::reshard(dir.path(), shards, &mut ()).unwrap();
        let engine = start(dir.path(), shards, &works);
        assert_eq!(told(&engine), expected);
        let counts = engine.stats().unwrap().counts;
        assert_eq!((counts.dead, counts.buried, counts.pending), (18, 18, 0));
        engine.shutdown(LONG).unwrap();
    }
    works.store(true, Ordering::SeqCst);
    let engine = start(dir.path(), 2, &works);
    let requeue = JobChange::requeue();
    for n in 0..9 {
        let key = key_of(format!("key {n}").as_bytes());
        assert_eq!(engine.change_by_key(key, &requeue), Ok(Changed::Done(JobState::Dead)));
    }
    assert!(engine.drain(LONG));
    assert_eq!(engine.stats().unwrap().counts.succeeded, 9);
}

#[test]
fn lists_go_through_all_shards_and_take_what_their_filter_says() {
    let (dir, works) = (tempfile::tempdir().unwrap(), Arc::default());
    let engine = start(dir.path(), 3, &works);
    let mut mails = BTreeSet::new();
    for n in 0..100 {
        let job = NewJob::new(if n % 2 == 0 { "send" } else { "sweep" }).delay(LONG);
        let id = engine.submit(job.queue(if n % 5 == 0 { "mail" } else { "default" })).unwrap();
        if n % 10 == 0 {
            mails.insert(id);
        }
    }
    assert_eq!(all(&engine, &JobFilter::new(), 7).len(), 100);
    let filter = JobFilter::new().kind("send").queue("mail");
    let found: BTreeSet<JobId> = all(&engine, &filter, 3).iter().map(|entry| entry.id).collect();
    assert_eq!(found, mails);
    assert!(all(&engine, &JobFilter::new().kind("unknown"), 10).is_empty());
    assert!(all(&engine, &JobFilter::new().attempted(true), 10).is_empty());
    let soon = JobFilter::new().due_before(SystemTime::now() + LONG / 2);
    assert!(all(&engine, &soon, 10).is_empty());
    assert_eq!(
        all(&engine, &soon.clone().due_before(SystemTime::now() + 2 * LONG), 1000).len(),
        100
    );
    assert_eq!(engine.kinds().unwrap(), [("send".into(), 50), ("sweep".into(), 50)]);
    assert!("1-2".parse::<JobCursor>().is_err());
    // A cursor of somewhere else leads nowhere.
    let beyond = engine.jobs(&filter, Some("9:0".parse().unwrap()), 10).unwrap();
    assert!(beyond.jobs.is_empty() && beyond.next.is_none());
}

#[test]
fn jobs_are_found_and_changed_by_their_tags_also_over_restarts_and_in_other_shards() {
    let (dir, works) = (tempfile::tempdir().unwrap(), Arc::default());
    let engine = start(dir.path(), 3, &works);
    let refused = engine.submit(NewJob::new("send").tag("x".repeat(65)));
    assert!(matches!(refused, Err(SubmitError::Refused(Refusal::Tag(_)))), "{refused:?}");
    for n in 0..30 {
        let job = NewJob::new("send").delay(LONG).key(n.to_string());
        let job = if n % 2 == 0 { job.tag("even") } else { job };
        engine.submit(if n % 3 == 0 { job.tag("third").tag("third") } else { job }).unwrap();
    }
    let both = JobFilter::new().tag("even").tag("third");
    let tags = |engine: &Engine| -> Vec<Vec<Box<str>>> {
        all(engine, &both, 2).into_iter().map(|entry| entry.tags).collect()
    };
    let expected = vec![vec![Box::from("even"), Box::from("third")]; 5];
    assert_eq!(tags(&engine), expected);
    assert_eq!(all(&engine, &JobFilter::new().tag("even"), 100).len(), 15);
    engine.shutdown(LONG).unwrap();
    store::reshard(dir.path(), 2, &mut ()).unwrap();
    let engine = start(dir.path(), 2, &works);
    assert_eq!(tags(&engine), expected);
    let done = engine.bulk(&both, &JobChange::run()).unwrap().wait().unwrap();
    assert_eq!(done.changed, 5);
    // They fail for good, and have their tags still.
    wait_until(&engine, |engine| buried(engine) == 5);
    assert_eq!(all(&engine, &both.clone().states(&[JobState::Dead]), 2).len(), 5);
    let id = all(&engine, &JobFilter::new().tag("third").states(&[JobState::Scheduled]), 1)[0].id;
    let Ok(Some(JobInfo::Pending { tags, .. })) = engine.job(id) else { panic!("it waits") };
    assert_eq!(tags, ["third"]);
}

#[test]
fn a_waiting_job_is_run_now_moved_and_put_off() {
    let (dir, works) = (tempfile::tempdir().unwrap(), Arc::new(AtomicBool::new(true)));
    let engine = start(dir.path(), 1, &works);
    let id = engine.submit(NewJob::new("sweep").delay(LONG)).unwrap();
    let done = Ok(Changed::Done(JobState::Scheduled));
    assert_eq!(engine.change(id, &JobChange::priority(9)), done);
    assert_eq!(engine.change(id, &JobChange::queue("slow")), done);
    let at = SystemTime::now() + 2 * LONG;
    assert_eq!(engine.change(id, &JobChange::at(at)), done);
    let entry = engine.look(id).unwrap().unwrap();
    assert_eq!((entry.priority, &*entry.queue, entry.due), (9, "slow", at));
    let refused = engine.change(id, &JobChange::priority(10));
    let expected = CallError::Refused(Refusal::PriorityOutOfRange { priority: 10 });
    assert_eq!(refused, Err(expected));
    assert_eq!(engine.change(id, &JobChange::requeue()), Ok(Changed::Unfit(JobState::Scheduled)));
    engine.shutdown(LONG).unwrap();
    let engine = start(dir.path(), 1, &works);
    let entry = engine.look(id).unwrap().unwrap();
    assert_eq!((entry.priority, &*entry.queue), (9, "slow"));
    assert_eq!(engine.change(id, &JobChange::run()), done);
    assert!(engine.drain(LONG));
    assert_eq!(engine.look(id).unwrap().map(|entry| entry.id), None);
    assert_eq!(engine.change(id, &JobChange::run()), Ok(Changed::Absent));
}

#[test]
fn many_are_cancelled_by_a_filter_and_the_others_stay() {
    let (dir, works) = (tempfile::tempdir().unwrap(), Arc::new(AtomicBool::new(true)));
    let engine = start(dir.path(), 2, &works);
    for kind in ["send", "sweep"] {
        for _ in 0..4 {
            let jobs = (0..5000).map(|_| NewJob::new(kind).delay(LONG)).collect();
            assert!(engine.submit_batch(jobs).unwrap().iter().all(Result::is_ok));
        }
    }
    let filter = JobFilter::new().kind("send");
    let preview = engine.bulk_preview(&filter, &JobChange::cancel(), 3).unwrap();
    assert_eq!((preview.jobs, preview.first.len()), (20_000, 3));
    assert_eq!(engine.bulk_preview(&filter, &JobChange::requeue(), 3).unwrap().jobs, 0);
    assert_eq!(engine.stats().unwrap().counts.pending, 40_000, "a preview changes nothing");
    let bulk = engine.bulk(&filter, &JobChange::cancel()).unwrap();
    let done = bulk.wait().unwrap();
    assert_eq!((done.changed, done.left), (20_000, 0));
    let counts = engine.stats().unwrap().counts;
    assert_eq!((counts.cancelled, counts.pending), (20_000, 20_000));
    engine.shutdown(LONG).unwrap();
    let engine = start(dir.path(), 2, &works);
    assert_eq!(engine.kinds().unwrap(), [("sweep".into(), 20_000)]);
    // One that is stopped at once has changed some, and says how many.
    let bulk = engine.bulk(&JobFilter::new(), &JobChange::cancel()).unwrap();
    bulk.stop();
    let done = bulk.wait().unwrap();
    assert_eq!(engine.stats().unwrap().counts.pending, 20_000 - done.changed);
    let wrong = engine.bulk(&filter, &JobChange::priority(10)).map(|_| ());
    assert!(matches!(wrong, Err(CallError::Refused(Refusal::PriorityOutOfRange { .. }))));
}

#[test]
fn a_snoozed_job_comes_back_and_its_attempt_does_not_count() {
    let dir = tempfile::tempdir().unwrap();
    let numbers = Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = Arc::clone(&numbers);
    let engine = Engine::builder()
        .data_dir(dir.path())
        .segment_bytes(8 << 20)
        .pin(false)
        .handler("wait", move |attempt| {
            let mut seen = seen.lock().unwrap();
            seen.push((attempt.number(), Instant::now()));
            match seen.len() {
                1 => Err(JobError::snooze(Duration::from_millis(30))),
                _ => Ok(()),
            }
        })
        .start()
        .unwrap();
    engine.submit(NewJob::new("wait").attempts_max(1)).unwrap();
    assert!(engine.drain(LONG));
    let numbers = numbers.lock().unwrap();
    let [(1, first), (1, second)] = numbers[..] else { panic!("{numbers:?}") };
    assert!(second - first >= Duration::from_millis(30));
    let counts = engine.stats().unwrap().counts;
    assert_eq!((counts.succeeded, counts.failed_attempts), (1, 0));
}

#[test]
fn a_queue_that_fails_is_paused_and_somebody_is_told() {
    let (dir, works) = (tempfile::tempdir().unwrap(), Arc::default());
    let (tell, told) = std::sync::mpsc::channel();
    let engine = builder(dir.path(), 1, &works)
        .executors(1)
        .running_max(1)
        .pause_queue_after("mail", 3)
        .on_alert(move |alert| tell.send(alert.clone()).unwrap())
        .start()
        .unwrap();
    for _ in 0..10 {
        engine.submit(NewJob::new("send").queue("mail")).unwrap();
    }
    let expected = Alert::QueuePaused { queue: "mail".into(), failures: 3 };
    assert_eq!(told.recv_timeout(Duration::from_secs(60)), Ok(expected));
    wait_until(&engine, |engine| engine.stats().unwrap().counts.running == 0);
    let queue = engine.queues().unwrap().into_iter().find(|it| &*it.name == "mail").unwrap();
    assert!(queue.is_paused && queue.waiting >= 6, "{queue:?}");
    works.store(true, Ordering::SeqCst);
    engine.pause_queue("mail", false).unwrap();
    assert!(engine.drain(LONG));
}

#[test]
fn a_queue_whose_attempts_fail_is_left_alone_and_tried_again() {
    let (dir, works) = (tempfile::tempdir().unwrap(), Arc::default());
    let (tell, told) = std::sync::mpsc::channel();
    let breaker = CircuitBreaker::new(3)
        .cool_down(Duration::from_millis(200))
        .cool_down_max(Duration::from_millis(400));
    let engine = builder(dir.path(), 2, &works)
        .circuit_breaker("mail", breaker)
        .on_alert(move |alert| tell.send(alert.clone()).unwrap())
        .start()
        .unwrap();
    // Limits that hold for both shards, beside it.
    engine
        .limit_queue("mail", &QueueLimits::new().concurrency(2).rate(100_000, LONG, 100_000))
        .unwrap();
    for _ in 0..100 {
        engine.submit(NewJob::new("send").queue("mail")).unwrap();
    }
    let next = || told.recv_timeout(LONG).unwrap();
    let spans: Vec<u64> = std::iter::from_fn(|| match next() {
        Alert::BreakerOpened { queue, failures: 3, for_ns } if &*queue == "mail" => Some(for_ns),
        other => panic!("{other:?}"),
    })
    .take(6)
    .collect();
    let ms = |count: u64| count * 1_000_000;
    assert!(spans.contains(&ms(200)) && spans.contains(&ms(400)), "{spans:?}");
    works.store(true, Ordering::SeqCst);
    let is_closed = |alert: &Alert| matches!(alert, Alert::BreakerClosed { .. });
    let mut opened = spans.len() as u64;
    loop {
        let alert = next();
        if is_closed(&alert) {
            break;
        }
        opened += 1;
    }
    assert!(engine.drain(LONG));
    opened += told.try_iter().filter(|alert| !is_closed(alert)).count() as u64;
    let counts = engine.stats().unwrap().counts;
    assert_eq!(counts.succeeded + counts.dead, 100);
    // Of each shard three at first, with one beside them under way, then one for each time.
    assert!(counts.dead <= opened + 2 * 3, "no more began than was to find out: {counts:?}");
}
