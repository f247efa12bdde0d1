//! The binary as a user runs it: exit codes, output, files.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;

fn loadgen(dir: &Path, words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tickwheel-loadgen"))
        .current_dir(dir)
        .env_remove("RUST_LOG")
        .args(words)
        .output()
        .unwrap()
}

/// Runs the binary in a fresh directory, and checks its exit code and a part of what it says.
#[track_caller]
fn check(words: &[&str], code: i32, says: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let output = loadgen(dir.path(), words);
    let stdout = String::from_utf8(output.stdout).unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{words:?}\n{stdout}\n{stderr}");
    let text = if code == 0 { &stdout } else { &stderr };
    assert!(text.contains(says), "{words:?} should say {says:?}\n{stdout}\n{stderr}");
    let left = std::fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(left, 0, "{words:?} left something behind");
    stdout
}

#[test]
fn bad_usage_is_told_with_code_64() {
    check(&["run", "--jobs", "10", "--rate", "5", "--max"], 64, "cannot be used with '--max'");
    check(&["run", "--jobs", "0"], 64, "0 is not in 1..");
    check(&["run"], 64, "--jobs");
    check(&["run", "--jobs", "10", "--durability", "fast"], 64, "interval(10ms)");
    check(&["run", "--jobs", "10", "--rate", "0"], 64, "--rate is 0 jobs per second");
    check(&["run", "--jobs", "10", "--payload", "3"], 64, "16 to 1048576");
    check(&["run", "--jobs", "10", "--delay", "5"], 64, "such as 500us");
    check(
        &["run", "--jobs", "10", "--batch", "50", "--in-flight", "20"],
        64,
        "less than one batch",
    );
    check(&["run", "--jobs", "10", "--json", "not/there.json"], 64, "cannot write not/there.json");
    check(&["walk"], 64, "unrecognized subcommand");
}

#[test]
fn a_run_prints_what_it_found_and_leaves_nothing_behind() {
    let words = ["run", "--jobs", "500", "--durability", "os", "--max"];
    let text = check(&words, 0, "lost 0 · duplicate 0 · early 0");
    for part in [
        "tickwheel-loadgen run --target inproc --jobs 500 --durability os --max",
        "machine   ",
        "limits    copy and CRC32C of 200 bytes",
        "rates     submitted",
        "completion_ack",
        "lateness of triggers, by percentile",
        "ledger    submitted 500 · acked 500 · completed 500 · refused 0",
    ] {
        assert!(text.contains(part), "{part:?} is missing\n{text}");
    }
}

#[test]
fn an_open_loop_says_how_late_the_generator_was() {
    let dir = tempfile::tempdir().unwrap();
    let words = ["run", "--jobs", "200", "--durability", "os", "--rate", "2000"];
    let output = loadgen(dir.path(), &words);
    let text = String::from_utf8(output.stdout).unwrap();
    // On a busy machine the generator may be late, and the run void.
    assert!(matches!(output.status.code(), Some(0 | 4)), "{text}");
    assert!(text.contains("  generator ") && text.contains("verdict   "), "{text}");
}

#[test]
fn json_goes_to_standard_output_alone() {
    let words = ["run", "--jobs", "50", "--durability", "os", "--json", "-"];
    let text = check(&words, 0, "tickwheel.run/v2");
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["ledger"]["completed"], 50);
}

#[test]
fn json_goes_to_a_file_and_quiet_prints_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let words = ["run", "--jobs", "50", "--durability", "os", "--json", "run.json", "--quiet"];
    let output = loadgen(dir.path(), &words);
    assert!(output.status.success(), "{output:?}");
    assert!(output.stdout.is_empty() && output.stderr.is_empty(), "{output:?}");
    let bytes = std::fs::read(dir.path().join("run.json")).unwrap();
    let json: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(json["schema"], "tickwheel.run/v2");
}

#[test]
fn a_run_that_is_given_up_ends_with_code_3() {
    let words =
        ["run", "--jobs", "5", "--durability", "os", "--delay", "1h", "--give-up-after", "200ms"];
    check(&words, 3, "5 were accepted and have not run");
}

#[test]
fn calibrate_prints_the_limits() {
    check(&["calibrate"], 0, "write and fdatasync of 4 KiB");
    let text = check(&["calibrate", "--json", "-"], 0, "tickwheel.calibrate/v2");
    let json: Value = serde_json::from_str(&text).unwrap();
    assert!(json["machine"]["limits"]["clock_read_ns"].as_f64().unwrap() > 0.0);
}

#[test]
fn help_teaches_with_examples() {
    let text = check(&["run", "--help"], 0, "Examples:");
    assert!(text.contains("Exit codes: 0 passed") && text.contains("interval(10ms)"), "{text}");
    check(&["--help"], 0, "tickwheel-loadgen calibrate");
}
