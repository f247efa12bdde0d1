//! Small runs over TCP, on the plainest server of the work protocol: no additions, and connections that break.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "remote/plain.rs"]
mod plain;

use std::time::Duration;

use plain::Plain;
use tickwheel_loadgen::{Due, Load, Options, Outcome, Report, RunError, TargetName, run};

const JOBS: u32 = 1000;

/// Runs a load on a plain server and checks what must hold of every good run.
fn check(cut_after: Option<u32>, change: impl FnOnce(&mut Options)) -> Report {
    let server = Plain::start(cut_after);
    let mut options = Options::new(JOBS);
    options.target = TargetName::Tcp(server.address.to_string());
    change(&mut options);
    let report = run(&options).unwrap();
    let ledger = &report.ledger;
    assert_eq!((ledger.submitted, ledger.acked), (JOBS.into(), JOBS.into()), "{report:?}");
    assert_eq!((ledger.lost, ledger.early, ledger.damaged), (0, 0, 0), "{report:?}");
    assert!(ledger.balances() && report.kept_its_promises(), "{report:?}");
    assert_ne!(report.verdict.outcome, Outcome::Incorrect, "{:?}", report.verdict);
    assert_eq!(report.spans("submit").count, u64::from(JOBS));
    assert_eq!(cut_after.is_some(), server.cuts() > 0);
    if cut_after.is_none() {
        assert_eq!((server.living(), ledger.duplicate), (0, 0));
    }
    report
}

#[test]
fn a_closed_loop_pushes_in_batches_and_all_of_it_runs() {
    let report = check(None, |options| options.batch = Some(64));
    assert_eq!(report.ledger.completed, 1000);
    assert_eq!(report.durability, "as the server is set");
    assert!(report.command.contains("--target tcp://127.0.0.1:"), "{}", report.command);
    assert!(!report.command.contains("--durability"), "{}", report.command);
}

#[test]
fn an_open_loop_over_several_connections_keeps_to_due_times() {
    let report = check(None, |options| {
        options.load = Load::Rate(4000.0);
        options.batch = Some(1);
        options.workload.due = Due::Uniform(Duration::ZERO, Duration::from_millis(100));
        (options.connections, options.workers, options.pipeline) = (Some(3), Some(4), Some(8));
    });
    assert_eq!(report.ledger.completed, 1000);
    assert!(report.spans("lateness").max < 60_000_000_000, "{report:?}");
}

#[test]
fn jobs_that_fail_die_and_crash_their_worker_are_accounted_for() {
    let report = check(None, |options| {
        options.workload.outcomes = "fail=10%,crash=2%,hang=1%,dead=5%".parse().unwrap();
        options.workload.tenants = "uniform(3)".parse().unwrap();
        options.workload.service = "bimodal(0,1ms,10%)".parse().unwrap();
        // The server knows no leases that end: a worker that hangs keeps its job for good.
        options.workload.outcomes.hang = 0.0;
    });
    assert_eq!(report.ledger.completed, 1000);
    assert!(report.ledger.meant_to_fail > 50, "{:?}", report.ledger);
    assert_eq!(report.tenants.len(), 3);
}

#[test]
fn what_was_not_answered_is_sent_again_when_connections_break() {
    // Each connection is cut after some requests, with the last of them done and not answered.
    let report = check(Some(41), |options| {
        options.load = Load::Rate(5000.0);
        options.batch = Some(1);
    });
    assert_eq!(report.ledger.completed, 1000);
    assert!(report.notes.iter().any(|note| note.contains("a connection was lost")), "{report:?}");
}

#[test]
fn a_backlog_waits_in_the_server_until_workers_may_fetch() {
    let report = check(None, |options| {
        options.paused = true;
        options.workload.due = Due::After(Duration::ZERO);
    });
    assert_eq!(report.ledger.completed, 1000);
    assert!(report.extra["drain_s"] > 0.0);
}

#[test]
fn a_server_that_is_not_there_or_too_plain_is_told() {
    let mut options = Options::new(1);
    options.target = "tcp://127.0.0.1:1".parse().unwrap();
    let error = run(&options).unwrap_err();
    assert!(matches!(error, RunError::Start(_)) && !error.is_usage(), "{error}");
    assert!(error.to_string().contains("check that the server runs"), "{error}");
    let server = Plain::start(None);
    options.target = TargetName::Tcp(server.address.to_string());
    options.workload.cancel = 0.5;
    let error = run(&options).unwrap_err().to_string();
    assert!(error.contains("the server does not know CANCEL"), "{error}");
}
