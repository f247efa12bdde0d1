//! The load generator on a real server over TCP: its account must balance, also when the server is killed or
//! stands still in the middle.

use std::process::Command;

use serde_json::Value;
use tickwheel_tests::binary;

/// Runs a load on a server of its own, as a user would, and checks what holds of every good run.
fn check(line: &str) -> Value {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let output = Command::new(binary::loadgen())
        .current_dir(dir.path())
        .env_remove("RUST_LOG")
        .args(["run", "--target", "serve", "--quiet", "--json", "run.json", "--server"])
        .arg(binary::tickwheel())
        .args(line.split_whitespace())
        .output()
        .expect("the load generator starts");
    // On a busy machine the generator may be late, and the run void.
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(matches!(output.status.code(), Some(0 | 4)), "{}\n{said}", output.status);
    let json = std::fs::read(dir.path().join("run.json")).expect("a result");
    let run: Value = serde_json::from_slice(&json).expect("JSON");
    let ledger = &run["ledger"];
    let count = |name: &str| ledger[name].as_u64().expect("a count");
    assert_eq!(count("submitted"), count("acked") + count("refused") + count("indeterminate"));
    assert_eq!(count("indeterminate") + count("refused"), 0, "{run}");
    for wrong in ["lost", "early", "damaged", "ran_after_cancel", "outstanding"] {
        assert_eq!(count(wrong), 0, "{wrong}: {run}");
    }
    assert_eq!(count("completed") + count("cancelled"), count("submitted"), "{run}");
    assert!(run["extra"]["server_rss_bytes"].as_f64() > Some(0.0), "{run}");
    assert!(run["cut_short"].is_null(), "{run}");
    run
}

#[test]
fn a_closed_loop_of_batches_is_done_once_each() {
    let run = check("--jobs 5000");
    assert_eq!(
        (&run["ledger"]["completed"], &run["ledger"]["duplicate"]),
        (&5000.into(), &0.into())
    );
    assert_eq!((&run["durability"], &run["target"]), (&"sync".into(), &"serve".into()));
}

#[test]
fn jobs_that_are_cancelled_or_fail_balance_too() {
    let run = check(
        "--rate 2000 --jobs 400 --due 2s --cancel 30% --outcomes fail=5%,dead=5% --durability os",
    );
    let count = |name: &str| run["ledger"][name].as_u64();
    // A cancel that comes too late on a slow machine is no fault.
    assert!(count("cancelled") > Some(0) && count("meant_to_fail") > Some(5), "{run}");
}

#[test]
fn a_kill_in_the_middle_loses_nothing_that_was_acknowledged() {
    let run = check("--rate 3000 --for 3s --batch 1 --fault kill@1s");
    let fault = &run["faults"][0];
    assert_eq!(fault["kind"], "kill", "{run}");
    assert!(fault["start_s"].as_f64() >= Some(1.0), "{run}");
    assert!(fault["end_s"].as_f64() > fault["start_s"].as_f64(), "{run}");
    let notes = run["notes"].to_string();
    assert!(notes.contains("a connection was lost"), "{run}");
}

#[test]
fn a_server_that_stands_still_shows_in_what_counts_from_planned_moments() {
    let run = check("--rate 2000 --jobs 3000 --durability os --fault stop@500ms:600ms");
    assert_eq!(run["ledger"]["duplicate"], 0, "{run}");
    // Jobs that were planned at its beginning waited for nearly all of it.
    assert!(run["latency_ns"]["submit"]["max"].as_u64() > Some(500_000_000), "{run}");
    assert_eq!(run["faults"][0]["kind"], "stop", "{run}");
}
