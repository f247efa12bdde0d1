//! Small runs through the library: each durability, both loops, and runs that must not pass.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use serde_json::Value;
use tickwheel_engine::Durability;
use tickwheel_loadgen::{
    Due, Load, Options, Outcome, Report, Rule, Sizes, Watch, run, run_watched,
};

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
    assert_eq!((ledger.refused, ledger.damaged, &report.cut_short), (0, 0, &None));
    assert_eq!(report.early_max_ns, 0, "{report:?}");
    assert!(report.kept_its_promises());
    assert!(ledger.balances(), "{report:?}");
    assert_ne!(report.verdict.outcome, Outcome::Incorrect, "{:?}", report.verdict);
    let stages = report.stages_ns.unwrap();
    let own = ["submit", "submit_raw", "lateness", "lateness_raw", "complete"];
    let own = own.map(|metric| report.spans(metric));
    for stage in own.into_iter().chain([stages.submit_ack, stages.run, stages.completion_ack]) {
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
    assert!(report.log.syncs > 0);
    assert_eq!(report.durability, "sync");
    assert!(!report.latency_ns.contains_key("generator"));
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
        options.workload.payload = Sizes::Fixed(16);
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
    let (lateness, service) = (report.spans("generator"), report.spans("submit_raw"));
    assert_eq!((lateness.count, service.count), (u64::from(JOBS), u64::from(JOBS)));
    // Nobody calls at the very nanosecond of the plan.
    assert!(lateness.max > 0, "{report:?}");
    // From the planned moment it is at least as long as from the call (three digits are kept).
    let planned = report.spans("submit");
    assert!(planned.max * 1001 / 1000 >= service.p50, "{report:?}");
}

#[test]
fn a_job_that_is_due_at_once_needs_no_wheel() {
    check(|options| {
        options.durability = Durability::Os;
        options.workload.due = Due::After(Duration::ZERO);
    });
}

#[test]
fn a_run_that_does_not_end_is_given_up_and_says_what_is_missing() {
    let reason = given_up(
        |options| {
            options.jobs = 12;
            options.workload.due = Due::After(Duration::from_secs(3600));
        },
        |report| {
            let ledger = &report.ledger;
            assert_eq!((ledger.completed, ledger.lost), (0, ledger.acked), "{report:?}");
            let reason = report.cut_short.as_ref().unwrap();
            ledger.acked == 12 && reason.contains("12 were accepted and have not run")
        },
    );
    assert!(reason.contains("(numbers 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, …)"), "{reason}");
}

#[test]
fn a_plan_that_takes_too_long_is_given_up_even_if_nothing_is_lost() {
    let reason = given_up(
        |options| options.load = Load::Rate(0.01),
        |report| {
            let ledger = &report.ledger;
            (ledger.submitted, ledger.acked, ledger.completed, ledger.lost) == (1, 1, 1, 0)
        },
    );
    assert!(reason.contains("1 of 2000 jobs were submitted"), "{reason}");
}

/// Gives a run up after a short time, and why it says that it did. A slow machine that does not come
/// far enough in that time has a longer one.
fn given_up(change: impl Fn(&mut Options), came_far_enough: impl Fn(&Report) -> bool) -> String {
    let mut reports = Vec::new();
    for after_ms in [300, 3000, 30_000] {
        let dir = tempfile::tempdir().unwrap();
        let report = run(&options(dir.path(), |options| {
            options.durability = Durability::Os;
            options.give_up_after = Some(Duration::from_millis(after_ms));
            change(options);
        }))
        .unwrap();
        assert!(!report.kept_its_promises(), "{report:?}");
        if came_far_enough(&report) {
            return report.cut_short.unwrap();
        }
        reports.push(report);
    }
    panic!("none came far enough: {reports:?}");
}

#[test]
fn a_run_that_is_stopped_reports_what_was_measured_and_is_partial() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(dir.path(), |options| {
        options.durability = Durability::Os;
        options.workload.due = Due::After(Duration::from_secs(3600));
        options.load = Load::Rate(20_000.0);
    });
    let hlog = dir.path().join("run.hlog");
    let watch = Watch { hlog: Some(hlog.clone()), ..Watch::default() };
    let stop = Arc::clone(&watch.stop);
    let running = std::thread::spawn(move || run_watched(&options, &watch).unwrap().report);
    // The interval log is made before the load begins.
    while !hlog.exists() {
        std::thread::yield_now();
    }
    stop.store(true, Ordering::Relaxed);
    let report = running.join().unwrap();
    assert!(report.partial && report.verdict.has(Rule::Interrupted), "{report:?}");
    assert_eq!(report.verdict.outcome, Outcome::Void, "{:?}", report.verdict);
    let ledger = &report.ledger;
    assert_eq!((ledger.lost, ledger.outstanding), (0, ledger.acked), "{ledger:?}");
}

#[test]
fn jobs_that_fail_hang_crash_and_die_all_balance() {
    let dir = tempfile::tempdir().unwrap();
    let report = run(&options(dir.path(), |options| {
        options.jobs = 400;
        options.durability = Durability::Os;
        options.executors = Some(16);
        options.attempt_timeout = Duration::from_millis(30);
        options.workload.outcomes = "fail=10%,hang=2%,crash=5%,dead=5%".parse().unwrap();
        options.workload.tenants = "zipf(5,1)".parse().unwrap();
        options.workload.service = "bimodal(0,1ms,10%)".parse().unwrap();
        options.workload.payload = "uniform(16,300)".parse().unwrap();
    }))
    .unwrap();
    let ledger = &report.ledger;
    assert_eq!((ledger.completed, ledger.lost, ledger.damaged), (400, 0, 0), "{report:?}");
    assert!(ledger.meant_to_fail > 20 && ledger.balances(), "{ledger:?}");
    assert!(report.verdict.outcome < Outcome::Incorrect, "{:?}", report.verdict);
    let tenants: u64 = report.tenants.iter().map(|tenant| tenant.count).sum();
    assert_eq!((report.tenants.len(), tenants), (5, 400));
}

#[test]
fn cancelled_jobs_never_run_and_are_not_lost() {
    let dir = tempfile::tempdir().unwrap();
    let report = run(&options(dir.path(), |options| {
        options.jobs = 300;
        options.durability = Durability::Os;
        options.workload.due = Due::After(Duration::from_secs(2));
        options.workload.cancel = 0.5;
    }))
    .unwrap();
    let ledger = &report.ledger;
    // A cancel that comes too late on a slow machine is no fault.
    assert!(ledger.cancelled > 0 && ledger.ran_after_cancel == 0, "{ledger:?}");
    assert_eq!(ledger.completed + ledger.cancelled, 300, "{ledger:?}");
    assert!(ledger.balances() && report.kept_its_promises(), "{ledger:?}");
}

#[test]
fn warm_up_counts_in_the_ledger_and_is_not_measured() {
    let dir = tempfile::tempdir().unwrap();
    let report = run(&options(dir.path(), |options| {
        options.durability = Durability::Os;
        options.load = Load::Rate(4000.0);
        options.warm_up = Duration::from_millis(250);
    }))
    .unwrap();
    assert_eq!((report.ledger.completed, report.spans("lateness").count), (2000, 1000));
    assert_eq!(report.spans("generator").count, 1000);
}

#[test]
fn an_objective_that_is_missed_is_told_and_one_that_holds_too() {
    let report = check(|options| {
        options.durability = Durability::Os;
        options.slo = "lateness.p99<1h,submit.max<1ns".parse().unwrap();
    });
    let holds: Vec<bool> = report.verdict.objectives.iter().map(|one| one.holds).collect();
    assert_eq!(holds, [true, false]);
    assert!(report.verdict.has(Rule::Objective));
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
    assert_eq!(json["schema"], "tickwheel.run/v2");
    assert_eq!(json["seed"], u64::MAX);
    assert_eq!(json["durability"], "os");
    assert!(json["command"].as_str().unwrap().starts_with("tickwheel-loadgen run --target inproc"));
    assert_eq!(keys(&json["achieved"]), ["completed_per_s", "submitted_per_s"]);
    let metrics = ["complete", "lateness", "lateness_raw", "submit", "submit_raw"];
    assert_eq!(keys(&json["latency_ns"]), metrics);
    for metric in metrics {
        let spans = ["count", "max", "p50", "p90", "p99", "p999", "p9999"];
        assert_eq!(keys(&json["latency_ns"][metric]), spans);
    }
    let stages = ["completion_ack", "dispatch", "lateness", "ready", "run", "submit_ack"];
    assert_eq!(keys(&json["stages_ns"]), stages);
    let verdict = ["objectives", "outcome", "reasons"];
    assert_eq!(keys(&json["verdict"]), verdict);
    let machine =
        ["build", "cores", "cpu", "filesystem", "kernel", "limits", "memory_bytes", "version"];
    assert_eq!(keys(&json["machine"]), machine);
    // What is written is read as the same.
    let read: Report = serde_json::from_value(json).unwrap();
    assert_eq!(read, report);
}

/// The names in an object, sorted.
fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}
