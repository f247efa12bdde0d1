//! Small runs through the library: each durability, both loops, and runs that must not pass.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    path::Path,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use serde_json::Value;
use tickwheel_engine::Durability;
use tickwheel_loadgen::{Load, Options, Report, RunError, Watch, run, run_watched};

const JOBS: u32 = 2000;

fn options(dir: &Path, change: impl FnOnce(&mut Options)) -> Options {
    let mut options = Options::new(JOBS);
    options.data_dir = Some(dir.join("load"));
    change(&mut options);
    options
}

/// Runs `JOBS` jobs and checks what must hold of every good run.
fn check(change: impl FnOnce(&mut Options)) -> Report {
    let dir = tempfile::tempdir().unwrap();
    let report = run(&options(dir.path(), change)).unwrap();
    let jobs = u64::from(JOBS);
    let ledger = &report.ledger;
    assert_eq!(
        (ledger.submitted, ledger.acked, ledger.completed),
        (jobs, jobs, jobs),
        "{report:?}"
    );
    assert_eq!((ledger.lost, ledger.duplicate, ledger.early), (0, 0, 0), "{report:?}");
    assert_eq!((report.refused, report.damaged, &report.cut_short), (0, 0, &None));
    assert_eq!(report.early_max_ns, 0, "{report:?}");
    assert!(report.kept_its_promises());
    let latency = &report.latency_ns;
    for stage in [latency.submit_ack, latency.run, latency.completion_ack] {
        assert_eq!(stage.count, jobs, "{report:?}");
        assert!(stage.p50 <= stage.p99 && stage.p99 <= stage.max, "{report:?}");
    }
    assert!(report.achieved.completed_per_s > 0.0 && report.elapsed_s > 0.0);
    assert!(report.resources.wal_bytes_per_job > 100.0, "{report:?}");
    assert!(report.resources.rss_bytes > 0 && report.resources.cpu_ns_per_job > 0.0);
    report
}

#[test]
fn every_job_of_a_closed_loop_is_accounted_for_with_sync() {
    let report = check(|options| options.durability = Durability::Sync);
    assert!(report.syncs > 0);
    assert_eq!(report.durability, "sync");
    assert_eq!((report.generator_lateness, report.submit_service), (None, None));
}

#[test]
fn every_job_of_a_closed_loop_is_accounted_for_with_interval() {
    let interval = Durability::Interval(Duration::from_millis(5));
    let report = check(|options| options.durability = interval);
    assert_eq!(report.durability, "interval(5ms)");
}

#[test]
fn every_job_of_a_closed_loop_is_accounted_for_with_os() {
    check(|options| options.durability = Durability::Os);
}

#[test]
fn several_shards_share_a_closed_loop_with_few_jobs_in_flight() {
    let report = check(|options| {
        options.durability = Durability::Os;
        options.shards = Some(2);
        options.batch = Some(7);
        options.in_flight = Some(20);
        options.payload_bytes = 16;
    });
    assert_eq!(report.shards, 2);
}

#[test]
fn an_open_loop_takes_as_long_as_its_plan_and_counts_from_it() {
    const RATE: f64 = 10_000.0;
    let report = check(|options| {
        options.durability = Durability::Os;
        options.load = Load::Rate(RATE);
    });
    // The last job is never submitted before its moment.
    assert!(report.elapsed_s >= f64::from(JOBS - 1) / RATE, "{report:?}");
    let lateness = report.generator_lateness.unwrap();
    let service = report.submit_service.unwrap();
    assert_eq!((lateness.count, service.count), (u64::from(JOBS), u64::from(JOBS)));
    // Nobody calls at the very nanosecond of the plan.
    assert!(lateness.max > 0, "{report:?}");
    // From the planned moment it is at least as long as from the call (three digits are kept).
    let planned = report.latency_ns.submit_ack;
    assert!(planned.max * 1001 / 1000 >= service.p50, "{report:?}");
}

#[test]
fn a_job_that_is_due_at_once_needs_no_wheel() {
    check(|options| {
        options.durability = Durability::Os;
        options.delay = Duration::ZERO;
    });
}

#[test]
fn a_run_that_does_not_end_is_given_up_and_says_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path(), |options| {
        options.jobs = 12;
        options.durability = Durability::Os;
        options.delay = Duration::from_secs(3600);
        options.give_up_after = Some(Duration::from_millis(300));
    });
    let report = run(&options).unwrap();
    assert!(!report.kept_its_promises());
    assert_eq!((report.ledger.acked, report.ledger.completed, report.ledger.lost), (12, 0, 12));
    let reason = report.cut_short.unwrap();
    assert!(reason.contains("12 were accepted and have not run"), "{reason}");
    assert!(reason.contains("(numbers 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, …)"), "{reason}");
}

#[test]
fn a_plan_that_takes_too_long_is_given_up_even_if_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path(), |options| {
        options.durability = Durability::Os;
        options.load = Load::Rate(0.01);
        options.give_up_after = Some(Duration::from_secs(1));
    });
    let report = run(&options).unwrap();
    let ledger = &report.ledger;
    assert_eq!((ledger.submitted, ledger.acked, ledger.completed, ledger.lost), (1, 1, 1, 0));
    assert!(report.cut_short.as_ref().unwrap().contains("1 of 2000 jobs were submitted"));
    assert!(!report.kept_its_promises());
}

#[test]
fn a_run_that_is_stopped_reports_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path(), |options| options.delay = Duration::from_secs(3600));
    let watch = Watch { stop: Arc::new(AtomicBool::new(true)), ..Watch::default() };
    let error = run_watched(&options, &watch).unwrap_err();
    assert!(matches!(error, RunError::Interrupted), "{error}");
}

#[test]
fn a_directory_with_data_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path(), |options| options.durability = Durability::Os);
    run(&options).unwrap();
    let error = run(&options).unwrap_err();
    assert!(error.is_usage(), "{error}");
    assert!(error.to_string().contains("name another --data-dir"), "{error}");
}

#[test]
fn the_json_form_has_the_fields_of_its_schema() {
    let report = check(|options| {
        options.durability = Durability::Os;
        options.seed = u64::MAX;
    });
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["schema"], "tickwheel.run/v1");
    assert_eq!(json["seed"], u64::MAX);
    assert_eq!(json["durability"], "os");
    assert!(json["command"].as_str().unwrap().starts_with("tickwheel-loadgen run --target inproc"));
    assert_eq!(keys(&json["achieved"]), ["completed_per_s", "submitted_per_s"]);
    let stages = ["completion_ack", "dispatch", "lateness", "run", "submit_ack"];
    assert_eq!(keys(&json["latency_ns"]), stages);
    for stage in stages {
        let spans = ["count", "max", "p50", "p90", "p99", "p999", "p9999"];
        assert_eq!(keys(&json["latency_ns"][stage]), spans);
    }
    let ledger = ["acked", "completed", "duplicate", "early", "lost", "submitted"];
    assert_eq!(keys(&json["ledger"]), ledger);
    let resources = ["cpu_ns_per_job", "rss_bytes", "wal_bytes_per_job"];
    assert_eq!(keys(&json["resources"]), resources);
    let machine = ["cores", "cpu", "filesystem", "kernel", "limits", "memory_bytes"];
    assert_eq!(keys(&json["machine"]), machine);
    let limits = ["clock_read_ns", "copy_and_crc_ns", "record_bytes", "write_and_sync_ns"];
    assert_eq!(keys(&json["machine"]["limits"]), limits);
}

/// The names in an object, sorted.
fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}
