//! Groups in an engine of several shards, through the public API: each lives in one shard, and what holds for it
//! is exact.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tickwheel_engine::{
    Attempt, Engine, JobFilter, JobInfo, NewBatch, NewJob, QueueLimits, Refusal, Schedule,
    SubmitError, Unique, store,
};

const PATIENCE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const SHARDS: usize = 4;

fn start(dir: &Path, shards: usize) -> Engine {
    let builder = Engine::builder().data_dir(dir).segment_bytes(8 << 20).shards(shards).pin(false);
    builder.executors(4).handler("work", |_: &_| Ok(())).start().unwrap()
}

fn of_group(group: &str) -> NewJob {
    NewJob::new("work").queue("shared").group(group)
}

#[test]
fn a_groups_concurrency_holds_for_all_shards_together() {
    let dir = tempfile::tempdir().unwrap();
    let (now, most) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let of_handler = (Arc::clone(&now), Arc::clone(&most));
    let engine = Engine::builder()
        .data_dir(dir.path())
        .segment_bytes(8 << 20)
        .shards(SHARDS)
        .executors(8)
        .pin(false)
        .handler("work", move |_: &Attempt<'_>| {
            let (now, most) = &of_handler;
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(5));
            now.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        })
        .start()
        .unwrap();
    assert!(
        engine.limit_group("shared", "acme", Some(&QueueLimits::new().concurrency(2))).unwrap()
    );
    // Keys do not lead them elsewhere.
    let jobs = (0..40).map(|number| of_group("acme").key(format!("job {number}"))).collect();
    let ids = engine.submit_batch(jobs).unwrap();
    let shards: BTreeSet<u8> = ids.into_iter().map(|id| id.unwrap().shard().0).collect();
    assert_eq!(shards.len(), 1);
    assert!(engine.drain(PATIENCE));
    assert!((1..=2).contains(&most.load(Ordering::SeqCst)), "{most:?} were under way at once");
    engine.shutdown(PATIENCE).unwrap();
}

#[test]
fn groups_are_seen_limited_and_kept_over_a_restart_and_another_number_of_shards() {
    let dir = tempfile::tempdir().unwrap();
    let engine = start(dir.path(), SHARDS);
    engine.pause_queue("shared", true).unwrap();
    let of_each = QueueLimits::new().length(3);
    assert!(engine.limit_groups("shared", &of_each).unwrap());
    assert!(!engine.limit_groups("shared", &of_each).unwrap());
    let own = QueueLimits::new().weight(7).length(5);
    assert!(engine.limit_group("shared", "group 3", Some(&own)).unwrap());
    assert!(engine.age_queue("shared", Some(HOUR)).unwrap());
    for number in 0..10 {
        for _ in 0..3 {
            engine.submit(of_group(&format!("group {number}"))).unwrap();
        }
    }
    engine.submit(of_group("group 3")).unwrap();
    let refused = engine.submit(of_group("group 4"));
    let full = Refusal::GroupFull { queue: "shared".into(), group: "group 4".into(), max: 3 };
    assert_eq!(refused, Err(SubmitError::Refused(full)));
    let check = |engine: &Engine| {
        let queues = engine.queues().unwrap();
        assert!(
            queues.iter().all(|queue| (&*queue.name == "shared") == (queue.aging == Some(HOUR)))
        );
        let groups = engine.groups("shared", 2).unwrap();
        assert_eq!((groups.live, groups.limits), (10, of_each));
        let names: Vec<&str> = groups.busiest.iter().map(|group| &*group.name).collect();
        assert_eq!(names, ["group 3", "group 0"]);
        assert_eq!((groups.busiest[0].waiting, groups.busiest[0].limits), (4, own));
        let page = engine.jobs(&JobFilter::new().group("group 3"), None, 100).unwrap();
        assert_eq!(page.jobs.len(), 4);
        assert!(page.jobs.iter().all(|job| job.group.as_deref() == Some("group 3")));
        let Some(JobInfo::Pending { group, .. }) = engine.job(page.jobs[0].id).unwrap() else {
            panic!("it is gone")
        };
        assert_eq!(group.as_deref(), Some("group 3"));
    };
    check(&engine);
    engine.shutdown(PATIENCE).unwrap();
    let engine = start(dir.path(), SHARDS);
    check(&engine);
    engine.shutdown(PATIENCE).unwrap();
    for shards in [3, 1] {
        store::reshard(dir.path(), shards, &mut ()).unwrap();
        let engine = start(dir.path(), shards);
        check(&engine);
        // One more goes to where the others are.
        let refused = engine.submit(of_group("group 4"));
        assert!(
            matches!(refused, Err(SubmitError::Refused(Refusal::GroupFull { .. }))),
            "{refused:?}"
        );
        engine.shutdown(PATIENCE).unwrap();
    }
    let engine = start(dir.path(), 1);
    engine.pause_queue("shared", false).unwrap();
    assert!(engine.drain(PATIENCE));
    assert_eq!(engine.groups("shared", 9).unwrap().live, 0);
    engine.shutdown(PATIENCE).unwrap();
}

#[test]
fn what_would_lead_a_job_to_another_shard_than_its_group_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let engine = start(dir.path(), SHARDS);
    engine.pause_queue("shared", true).unwrap();
    let (mut taken, mut refused) = (0, 0);
    for number in 0..40 {
        let unique = Unique::until_end(format!("key {number}"));
        match engine.submit(of_group("acme").unique(unique)) {
            Ok(_) => taken += 1,
            Err(SubmitError::Refused(Refusal::Group(_))) => refused += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert!(taken > 0 && refused > 0, "{taken} taken, {refused} refused");
    let batch = engine.new_batch(NewBatch::new("").on_success(of_group("acme")));
    assert!(batch.is_err(), "{batch:?}");
    engine.shutdown(PATIENCE).unwrap();
}

#[test]
fn schedules_whose_jobs_have_a_group_are_where_the_group_is_and_found_by_their_names() {
    let dir = tempfile::tempdir().unwrap();
    let engine = start(dir.path(), SHARDS);
    engine.pause_queue("shared", true).unwrap();
    let every = |name: String, job| Schedule::every(name, HOUR, job);
    let shard = engine.submit(of_group("acme")).unwrap().shard();
    for number in 0..8 {
        let name = format!("hourly {number}");
        engine.put_schedule(every(name.clone(), of_group("acme"))).unwrap();
        // Again, with another payload.
        engine.put_schedule(every(name.clone(), of_group("acme").payload("new"))).unwrap();
        let job = engine.run_now(&name).unwrap().unwrap();
        assert_eq!(job.shard(), shard, "{name}");
        assert!(engine.pause_schedule(&name, "why").unwrap());
        assert!(engine.resume_schedule(&name).unwrap());
        assert_eq!(engine.upcoming(&name, 2).unwrap().unwrap().len(), 2);
    }
    assert_eq!(engine.schedules().unwrap().len(), 8);
    let moved = (0..8).filter(|number| {
        let other = every(format!("hourly {number}"), NewJob::new("work"));
        engine.put_schedule(other).is_err()
    });
    assert!(moved.count() > 0, "one is refused whose name leads elsewhere than its group did");
    assert_eq!(engine.schedules().unwrap().len(), 8);
    for number in 0..8 {
        engine.put_schedule(every(format!("hourly {number}"), of_group("acme"))).unwrap();
    }
    engine.shutdown(PATIENCE).unwrap();
    store::reshard(dir.path(), 3, &mut ()).unwrap();
    let engine = start(dir.path(), 3);
    for number in 0..8 {
        let schedule = engine.schedule(&format!("hourly {number}")).unwrap().unwrap();
        assert_eq!((schedule.pending, schedule.fired), (1, 1));
        assert!(engine.remove_schedule(&format!("hourly {number}")).unwrap());
    }
    assert_eq!(engine.schedules().unwrap().len(), 0);
    engine.shutdown(PATIENCE).unwrap();
}
