//! The history: what is told of attempts, questions in pages, retention, damage, and subscriptions over
//! restarts. Kills of a whole process are in the workspace's tests.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    thread,
    time::{Duration, Instant, SystemTime},
};

use tickwheel_engine::{
    AttemptOutcome, AttemptRecord, Backoff, Begin, Builder, Engine, GapReason, History,
    HistoryCursor, HistoryEvent, HistoryFiles, HistoryGap, HistoryQuery, HistoryReadError,
    JobError, JobId, NewJob, Next, Schedule, SubscribeError, Subscription, worker::key_of,
};

const PATIENCE: Duration = Duration::from_secs(60);
const LONG: Duration = Duration::from_secs(3600);

fn builder(dir: &Path, shards: usize) -> Builder {
    Engine::builder()
        .data_dir(dir)
        .shards(shards)
        .segment_bytes(8 << 20)
        .pin(false)
        .handler("well", |_| Ok(()))
        .handler("wordy", |attempt| {
            attempt.keep_output(&[b'x'; 5000]);
            Ok(())
        })
        .handler("again", |attempt| match attempt.number() {
            1 => Err(JobError::retryable("not yet")),
            _ => Ok(()),
        })
        .handler("never", |attempt| {
            attempt.keep_output(b"so much for that\n");
            Err(JobError::permanent("of no use"))
        })
        .handler("later", |attempt| match attempt.lateness() {
            // A job that was put off is due again later than it was added to be.
            _ if attempt.payload().is_empty() => Ok(()),
            _ => Err(JobError::snooze(LONG)),
        })
        .handler("panics", |_| panic!("on purpose"))
        .handler("hangs", |attempt| {
            while !attempt.is_cancelled() {
                thread::sleep(Duration::from_millis(1));
            }
            Ok(())
        })
}

fn start(dir: &Path) -> Engine {
    builder(dir, 1).history(History::new()).start().unwrap()
}

fn stop(engine: &Engine) {
    engine.shutdown(PATIENCE).unwrap();
}

/// Waits until the history answers with so many attempts.
fn wait_for(engine: &Engine, query: &HistoryQuery, count: usize) -> Vec<AttemptRecord> {
    let begun = Instant::now();
    loop {
        let page = engine.history(query).unwrap();
        assert_eq!(page.damage, Vec::<String>::new());
        if page.attempts.len() >= count {
            assert_eq!(page.attempts.len(), count, "{:?}", page.attempts);
            return page.attempts;
        }
        assert!(begun.elapsed() < PATIENCE, "{} of {count}", page.attempts.len());
        thread::sleep(Duration::from_millis(2));
    }
}

fn outcomes(records: &[AttemptRecord]) -> Vec<AttemptOutcome> {
    records.iter().map(|record| record.outcome).collect()
}

#[test]
fn each_end_is_told_with_what_there_is_to_tell() {
    let dir = tempfile::tempdir().unwrap();
    let engine = start(dir.path());
    let fast = Backoff::exponential(Duration::from_millis(1), Duration::from_millis(1));
    let before = SystemTime::now();
    let one = |job: NewJob| engine.submit(job).unwrap();

    let well = one(NewJob::new("well").key("invoice 7").queue("mail"));
    let [record] = &*wait_for(&engine, &HistoryQuery::new().job(well), 1) else { panic!() };
    assert_eq!((record.outcome, record.attempt), (AttemptOutcome::Succeeded, 1));
    assert_eq!((&*record.job.kind, &*record.job.queue), ("well", "mail"));
    assert_eq!((record.job.key, record.next), (Some(key_of(b"invoice 7")), Next::Done));
    assert!(record.is_attempt && record.output.is_none() && record.message.is_empty());
    let start = record.start.unwrap();
    assert!(before <= record.job.due && record.job.due <= start && start <= record.end);

    let again = one(NewJob::new("again").attempts_max(3).backoff(fast));
    let records = wait_for(&engine, &HistoryQuery::new().job(again).oldest_first(), 2);
    assert_eq!(outcomes(&records), [AttemptOutcome::Failed, AttemptOutcome::Succeeded]);
    assert_eq!((&*records[0].message, records[0].attempt), ("not yet", 1));
    assert!(matches!(records[0].next, Next::Retry(_)));
    assert_eq!(records[1].attempt, 2);
    assert!(records[0].token < records[1].token);
    assert!(records[1].start.unwrap() >= records[0].end);

    let never = one(NewJob::new("never").attempts_max(3));
    let [record] = &*wait_for(&engine, &HistoryQuery::new().job(never), 1) else { panic!() };
    assert_eq!((record.outcome, record.next), (AttemptOutcome::FailedForGood, Next::Dead));
    assert_eq!(record.output.as_deref(), Some(&b"so much for that\n"[..]));

    let panics = one(NewJob::new("panics").attempts_max(1));
    let records = wait_for(&engine, &HistoryQuery::new().job(panics), 1);
    assert_eq!(
        (records[0].outcome, &*records[0].message),
        (AttemptOutcome::Panicked, "on purpose")
    );

    let timed = one(NewJob::new("hangs").attempts_max(1).timeout(Duration::from_millis(20)));
    let records = wait_for(&engine, &HistoryQuery::new().job(timed), 1);
    assert_eq!(outcomes(&records), [AttemptOutcome::TimedOut]);

    let put_off = one(NewJob::new("later").payload("x"));
    let records = wait_for(&engine, &HistoryQuery::new().job(put_off), 1);
    assert_eq!(outcomes(&records), [AttemptOutcome::PutOff]);
    engine.cancel(put_off).unwrap();
    let records = wait_for(&engine, &HistoryQuery::new().job(put_off), 2);
    assert_eq!(records[0].outcome, AttemptOutcome::Cancelled);
    assert!(!records[0].is_attempt && records[0].start.is_none());

    let hangs = one(NewJob::new("hangs"));
    while engine.stats().unwrap().counts.running == 0 {
        thread::yield_now();
    }
    engine.cancel(hangs).unwrap();
    let records = wait_for(&engine, &HistoryQuery::new().job(hangs), 1);
    assert_eq!(records[0].outcome, AttemptOutcome::Cancelled);
    assert!(records[0].is_attempt && records[0].start.is_some());

    engine.pause_queue("shut", true).unwrap();
    let expires = one(NewJob::new("well").queue("shut").expires_in(Duration::from_millis(5)));
    let records = wait_for(&engine, &HistoryQuery::new().job(expires), 1);
    assert_eq!(outcomes(&records), [AttemptOutcome::Expired]);

    let all = HistoryQuery::new();
    assert_eq!(wait_for(&engine, &all, 10).len(), 10);
    wait_for(&engine, &HistoryQuery::new().kind("hangs"), 2);
    wait_for(&engine, &HistoryQuery::new().queue("mail"), 1);
    wait_for(&engine, &HistoryQuery::new().key(key_of(b"invoice 7")), 1);
    let cancelled = HistoryQuery::new().outcome(AttemptOutcome::Cancelled);
    wait_for(&engine, &cancelled, 2);
    wait_for(&engine, &cancelled.outcome(AttemptOutcome::Lost).outcome(AttemptOutcome::PutOff), 3);
    wait_for(&engine, &HistoryQuery::new().until(before), 0);
    wait_for(&engine, &HistoryQuery::new().since(before), 10);
    let limits = HistoryQuery::new().since(records[0].end).until(records[0].end);
    wait_for(&engine, &limits, 0);
    stop(&engine);
    // The engine is not needed to read, nor is it disturbed.
    let files = HistoryFiles::open(dir.path()).unwrap();
    assert_eq!(files.query(&all).unwrap().attempts.len(), 10);
    let stat = files.stat().unwrap();
    assert_eq!((stat.ended, stat.gaps, stat.unknown), (10, 0, 0));
    assert!(files.verify().unwrap().is_clean());
}

/// All that a question asks for, page by page.
fn pages(files: &HistoryFiles, query: &HistoryQuery) -> Vec<(JobId, u32)> {
    let (mut found, mut query) = (Vec::new(), query.clone());
    loop {
        let page = files.query(&query).unwrap();
        assert_eq!(page.damage, Vec::<String>::new());
        found.extend(page.attempts.iter().map(|record| (record.job.job, record.token)));
        match page.next {
            Some(place) => query = query.after(place),
            None => return found,
        }
    }
}

#[test]
fn pages_follow_on_one_another_in_either_direction() {
    let dir = tempfile::tempdir().unwrap();
    let engine =
        builder(dir.path(), 2).history(History::new().keep_bytes(8 << 20)).start().unwrap();
    // Over a few segments of a mebibyte.
    let jobs = (0..900).map(|_| NewJob::new("wordy")).collect();
    let added: BTreeSet<JobId> =
        engine.submit_batch(jobs).unwrap().into_iter().map(Result::unwrap).collect();
    assert!(engine.drain(PATIENCE));
    stop(&engine);
    let files = HistoryFiles::open(dir.path()).unwrap();
    assert!(files.stat().unwrap().segments >= 3);
    for limit in [1, 7, 100, 899, 900, 1000] {
        let mut newest = pages(&files, &HistoryQuery::new().limit(limit));
        let oldest = pages(&files, &HistoryQuery::new().limit(limit).oldest_first());
        assert_eq!(newest.len(), 900, "{limit} to a page");
        assert_eq!(oldest.iter().map(|(job, _)| *job).collect::<BTreeSet<_>>(), added);
        newest.reverse();
        assert_eq!(newest, oldest);
    }
    let longest = files.query(&HistoryQuery::new().limit(5)).unwrap().attempts;
    assert!(longest.iter().all(|record| record.output.as_ref().unwrap().len() == 4096));
}

/// The next event of a subscription that is not an entry of something else.
fn next(events: &mut Subscription) -> (HistoryCursor, HistoryEvent) {
    let entry = events.next(PATIENCE).unwrap().unwrap();
    (entry.cursor, entry.event)
}

fn job_of(event: &HistoryEvent) -> JobId {
    match event {
        HistoryEvent::Ended(ended) => ended.job.job,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_subscription_goes_on_behind_what_it_confirmed() {
    let dir = tempfile::tempdir().unwrap();
    let mut engine = start(dir.path());
    let mut added = Vec::new();
    let mut seen = Vec::new();
    let mut stored: Option<HistoryCursor> = None;
    for round in 0..4 {
        if round > 0 {
            engine = start(dir.path());
        }
        for _ in 0..10 {
            added.push(engine.submit(NewJob::new("well")).unwrap());
        }
        assert!(engine.drain(PATIENCE));
        let mut named = engine.subscribe("audit", Begin::Oldest).unwrap();
        let begin = stored.map_or(Begin::Oldest, Begin::After);
        let mut own = engine.subscribe_at(begin).unwrap();
        // Fewer are confirmed than were given.
        for number in 0..8 {
            let (cursor, event) = next(&mut named);
            let (same, twin) = next(&mut own);
            assert_eq!((cursor, &event), (same, &twin));
            if number < 5 {
                seen.push(job_of(&event));
                named.confirm(cursor).unwrap();
                stored = Some(cursor.to_string().parse().unwrap());
            }
        }
        stop(&engine);
        assert_eq!(named.confirm(stored.unwrap()), Err(SubscribeError::Over));
    }
    assert_eq!(seen, added[..20]);
    let engine = start(dir.path());
    let mut named = engine.subscribe("audit", Begin::Now).unwrap();
    for job in &added[20..] {
        assert_eq!(job_of(&next(&mut named).1), *job);
    }
    assert_eq!(named.next(Duration::ZERO).unwrap(), None);
    // What is confirmed does not go back.
    named.confirm(stored.unwrap()).unwrap();
    named.confirm(named.cursor()).unwrap();
    named.confirm(stored.unwrap()).unwrap();
    let mut twin = engine.subscribe("audit", Begin::Oldest).unwrap();
    assert_eq!(twin.next(Duration::ZERO).unwrap(), None);
    assert_eq!(engine.unsubscribe("audit"), Ok(true));
    assert_eq!(engine.unsubscribe("audit"), Ok(false));
    assert_eq!(named.confirm(named.cursor()), Err(SubscribeError::NotKept));
    let mut anew = engine.subscribe("audit", Begin::Oldest).unwrap();
    assert_eq!(job_of(&next(&mut anew).1), added[0]);
    assert_eq!(engine.subscribe("", Begin::Now).unwrap_err(), SubscribeError::Name);
    stop(&engine);
}

#[test]
fn schedules_queues_adds_and_starts_are_told_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let history = History::new().adds(true).starts(true);
    let engine = builder(dir.path(), 1).history(history).start().unwrap();
    let mut events = engine.subscribe_at(Begin::Now).unwrap();
    engine.put_schedule(Schedule::once("soon", None, NewJob::new("well"))).unwrap();
    assert!(
        matches!(next(&mut events).1, HistoryEvent::SchedulePut { schedule, .. } if schedule == "soon")
    );
    let HistoryEvent::ScheduleFired { job: Some(job), .. } = next(&mut events).1 else { panic!() };
    assert!(
        matches!(next(&mut events).1, HistoryEvent::Added { job: added, .. } if added.job == job)
    );
    let HistoryEvent::Started { job: begun, attempt, .. } = next(&mut events).1 else { panic!() };
    assert_eq!((begun.job, begun.schedule.as_deref(), attempt), (job, Some("soon"), 1));
    let HistoryEvent::Ended(ended) = next(&mut events).1 else { panic!() };
    assert_eq!((ended.job.job, ended.outcome), (job, AttemptOutcome::Succeeded));
    engine.pause_queue("mail", true).unwrap();
    engine.pause_queue("mail", false).unwrap();
    assert!(
        matches!(next(&mut events).1, HistoryEvent::QueuePaused { queue, .. } if queue == "mail")
    );
    assert!(matches!(next(&mut events).1, HistoryEvent::QueueResumed { .. }));
    engine.pause_schedule("soon", "why").unwrap();
    assert!(
        matches!(next(&mut events).1, HistoryEvent::SchedulePaused { note, .. } if note == "why")
    );
    engine.resume_schedule("soon").unwrap();
    assert!(matches!(next(&mut events).1, HistoryEvent::ScheduleResumed { .. }));
    engine.remove_schedule("soon").unwrap();
    assert!(matches!(next(&mut events).1, HistoryEvent::ScheduleRemoved { .. }));
    stop(&engine);
}

fn gap(event: HistoryEvent) -> HistoryGap {
    match event {
        HistoryEvent::Gap(gap) => gap,
        other => panic!("{other:?}"),
    }
}

#[test]
fn who_lags_beyond_the_retention_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let small = || History::new().keep_bytes(8 << 20);
    let engine = builder(dir.path(), 1).history(small()).start().unwrap();
    let mut lagging = engine.subscribe("lagging", Begin::Oldest).unwrap();
    engine.subscribe("idle", Begin::Oldest).unwrap();
    let first = engine.submit(NewJob::new("well")).unwrap();
    let (cursor, event) = next(&mut lagging);
    assert_eq!(job_of(&event), first);
    lagging.confirm(cursor).unwrap();
    // Four kilobytes of output each: half as much again as is kept.
    for _ in 0..3 {
        let jobs = (0..1000).map(|_| NewJob::new("wordy")).collect();
        engine.submit_batch(jobs).unwrap();
        assert!(engine.drain(PATIENCE));
    }
    // The files say that their beginning was given up before that is durable, and it is kept until then.
    let begun = Instant::now();
    while engine.subscribe_at(Begin::Oldest).unwrap().cursor() <= cursor {
        assert!(begun.elapsed() < PATIENCE);
        thread::sleep(Duration::from_millis(5));
    }
    let (cursor, event) = next(&mut lagging);
    let told = gap(event);
    assert_eq!((told.reason, told.shard), (GapReason::Retention, None));
    assert!(told.from < told.to);
    lagging.confirm(cursor).unwrap();
    stop(&engine);
    // Confirmed positions outlive the segments that they were written in.
    let engine = builder(dir.path(), 1).history(small()).start().unwrap();
    let mut lagging = engine.subscribe("lagging", Begin::Now).unwrap();
    // It may have gone on meanwhile.
    while let HistoryEvent::Gap(told) = next(&mut lagging).1 {
        assert_eq!(told.reason, GapReason::Retention);
    }
    let mut idle = engine.subscribe("idle", Begin::Now).unwrap();
    assert_eq!(gap(next(&mut idle).1).reason, GapReason::Retention);
    let stat = HistoryFiles::open(dir.path()).unwrap().stat().unwrap();
    assert_eq!((stat.gaps, stat.unknown), (0, 0));
    stop(&engine);
}

#[test]
fn what_is_too_old_goes() {
    let dir = tempfile::tempdir().unwrap();
    let short = History::new().keep_bytes(8 << 20).keep_for(Duration::from_secs(1));
    let engine = builder(dir.path(), 1).history(short).start().unwrap();
    let jobs = (0..600).map(|_| NewJob::new("wordy")).collect();
    engine.submit_batch(jobs).unwrap();
    assert!(engine.drain(PATIENCE));
    let begun = Instant::now();
    // All but the segment in use, without anything else happening.
    while HistoryFiles::open(dir.path()).unwrap().stat().unwrap().segments > 1 {
        assert!(begun.elapsed() < PATIENCE);
        thread::sleep(Duration::from_millis(20));
    }
    stop(&engine);
}

#[test]
fn a_damaged_history_is_set_aside_and_jobs_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let engine = start(dir.path());
    let pending = engine.submit(NewJob::new("well").delay(LONG)).unwrap();
    let mut events = engine.subscribe("audit", Begin::Oldest).unwrap();
    for _ in 0..50 {
        engine.submit(NewJob::new("never").attempts_max(1)).unwrap();
    }
    let (cursor, _) = next(&mut events);
    events.confirm(cursor).unwrap();
    assert!(engine.drain(Duration::ZERO) || engine.job(pending).unwrap().is_some());
    wait_for(&engine, &HistoryQuery::new(), 50);
    stop(&engine);
    let segment = fs::read_dir(dir.path().join("history"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "seg"))
        .min()
        .unwrap();
    let whole = fs::read(&segment).unwrap();
    // Where the records about attempts lie follows from which events were written together.
    let damaged = (4096..whole.len()).step_by(40).find_map(|place| {
        let mut bytes = whole.clone();
        bytes[place] ^= 0x40;
        fs::write(&segment, bytes).unwrap();
        let page = HistoryFiles::open(dir.path()).unwrap().query(&HistoryQuery::new()).unwrap();
        (page.attempts.len() < 50).then_some(page)
    });
    // Whoever reads is told, and gets what is whole.
    let page = damaged.unwrap();
    assert!(!page.damage.is_empty());
    assert!(page.attempts.len() >= 40, "{}", page.attempts.len());

    let engine = start(dir.path());
    assert!(engine.job(pending).unwrap().is_some());
    let job = engine.submit(NewJob::new("well")).unwrap();
    wait_for(&engine, &HistoryQuery::new().job(job), 1);
    // The cursor is one of another history.
    let mut events = engine.subscribe_at(Begin::After(cursor)).unwrap();
    assert_eq!(gap(next(&mut events).1).reason, GapReason::Replaced);
    stop(&engine);
    let aside = HistoryFiles::open(&dir.path().join("history-damaged-1")).unwrap();
    assert_eq!(aside.query(&HistoryQuery::new()).unwrap().attempts.len(), page.attempts.len());
}

#[test]
fn what_happened_without_a_history_is_told_as_a_gap() {
    let dir = tempfile::tempdir().unwrap();
    let engine = start(dir.path());
    engine.submit(NewJob::new("well")).unwrap();
    wait_for(&engine, &HistoryQuery::new(), 1);
    stop(&engine);
    let off = builder(dir.path(), 1).start().unwrap();
    assert!(matches!(off.history(&HistoryQuery::new()), Err(HistoryReadError::None { .. })));
    assert_eq!(off.subscribe("a", Begin::Now).unwrap_err(), SubscribeError::Off);
    off.submit(NewJob::new("never").attempts_max(1)).unwrap();
    assert!(off.drain(PATIENCE));
    // The log is a segment longer than at the start, so that a snapshot stands for all of it.
    stop(&off);
    let engine = start(dir.path());
    let mut events = engine.subscribe_at(Begin::Oldest).unwrap();
    assert!(matches!(next(&mut events).1, HistoryEvent::Ended(_)));
    let told = gap(next(&mut events).1);
    assert_eq!(told.reason, GapReason::CutOff);
    assert!(told.from < told.to && told.shard.is_some());
    let job = engine.submit(NewJob::new("well")).unwrap();
    assert_eq!(job_of(&next(&mut events).1), job);
    stop(&engine);
    // With one all along there is none.
    let engine = start(dir.path());
    let mut events = engine.subscribe_at(Begin::Now).unwrap();
    let job = engine.submit(NewJob::new("well")).unwrap();
    assert_eq!(job_of(&next(&mut events).1), job);
    stop(&engine);
    assert_eq!(HistoryFiles::open(dir.path()).unwrap().stat().unwrap().gaps, 1);
}
