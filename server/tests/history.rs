//! `tickwheel history` from outside, beside a running engine, and the tools that know the history.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use tickwheel_engine::{Begin, Engine, History, HistoryEvent, JobError, NewJob};

const PATIENCE: Duration = Duration::from_secs(60);

/// Expects this exit code; what was written to standard output, or to standard error.
#[track_caller]
fn check(arguments: &[&str], code: i32) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tickwheel"));
    command.env_remove("TICKWHEEL_DATA_DIR").env_remove("RUST_LOG");
    let output = command.args(arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {output:?}");
    let stream = if code == 0 { output.stdout } else { output.stderr };
    String::from_utf8(stream).unwrap()
}

#[test]
fn it_is_shown_beside_a_running_engine_and_copied_with_it() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("data");
    let engine = Engine::builder()
        .data_dir(&dir)
        .shards(1)
        .segment_bytes(8 << 20)
        .pin(false)
        .history(History::new())
        .handler("mail", |attempt| {
            attempt.keep_output(b"550\n\x1b[2J\n");
            Err(JobError::permanent("no such mailbox"))
        })
        .handler("well", |_| Ok(()))
        .start()
        .unwrap();
    let keyed = engine.submit(NewJob::new("mail").key("invoice 7").queue("out")).unwrap();
    for _ in 0..30 {
        engine.submit(NewJob::new("well")).unwrap();
    }
    let mut events = engine.subscribe_at(Begin::Oldest).unwrap();
    let begun = Instant::now();
    let mut ended = 0;
    while ended < 31 {
        assert!(begun.elapsed() < PATIENCE);
        let entry = events.next(PATIENCE).unwrap().unwrap();
        ended += u32::from(matches!(entry.event, HistoryEvent::Ended(_)));
    }
    let data = dir.to_str().unwrap();
    assert_eq!(check(&["history", data], 0).lines().count(), 20);
    assert_eq!(check(&["history", data, "--limit", "2000"], 0).lines().count(), 31);
    assert_eq!(check(&["history", data, "--kind", "well", "--since", "1h"], 0).lines().count(), 20);
    assert_eq!(check(&["history", data, "--until", "1h"], 0), "");
    let text = check(&["history", data, "--queue", "out", "--output"], 0);
    for part in ["failed-for-good", "attempt 1", "given up: no such mailbox", "    | 550"] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
    // What a command wrote does not reach the terminal as it is.
    assert!(!text.contains('\x1b'));
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md");
    let page = fs::read_to_string(page).unwrap();
    let id = keyed.to_string();
    for job in ["invoice 7", &*id] {
        let line = check(&["history", data, "--job", job, "--json"], 0);
        let document: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(document["job"], id);
        assert_eq!(
            (&document["outcome"], &document["next"]),
            (&"failed-for-good".into(), &"dead".into())
        );
        for name in document.as_object().unwrap().keys() {
            assert!(page.contains(&format!("`{name}`")), "{name} is not in operations.md");
        }
    }
    let copy = root.path().join("copy");
    let copy = copy.to_str().unwrap();
    check(&["backup", data, copy], 0);
    assert_eq!(check(&["history", copy, "--limit", "2000"], 0).lines().count(), 31);
    assert!(check(&["wal", "stat", data], 0).contains("31 ends"));
    engine.shutdown(PATIENCE).unwrap();
    assert!(check(&["wal", "verify", data], 0).contains("history: clean"));
    check(&["wal", "repair", &format!("{data}/history")], 3);
    check(&["reshard", data, "--shards", "2"], 0);
    assert_eq!(check(&["history", data, "--limit", "2000"], 0).lines().count(), 31);

    assert!(check(&["history", data, "--since", "yesterday"], 2).contains("90m"));
    check(&["history", data, "--outcome", "bad"], 2);
    assert!(check(&["history", root.path().to_str().unwrap()], 1).contains("holds no history"));
}
