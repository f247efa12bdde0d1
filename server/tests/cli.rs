//! The command line from outside: what it prints, and its exit codes. Nothing here starts a server.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn tickwheel(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tickwheel"));
    command.env("TZ", "Europe/Berlin").env_remove("TICKWHEEL_DATA_DIR").env_remove("RUST_LOG");
    command.env_remove("TICKWHEEL_PASSWORD");
    command.args(arguments).output().unwrap()
}

/// Expects this exit code, and these texts on standard output (code 0) or standard error.
fn check(arguments: &[&str], code: i32, parts: &[&str]) -> String {
    let output = tickwheel(arguments);
    let stream = if code == 0 { &output.stdout } else { &output.stderr };
    let text = String::from_utf8_lossy(stream).into_owned();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {output:?}");
    for part in parts {
        assert!(text.contains(part), "{arguments:?}: {part:?} is not in\n{text}");
    }
    text
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn help_teaches() {
    check(
        &["--help"],
        0,
        &["Examples:", "tickwheel next", "Exit codes: 0 well", "3 a demonstration lost"],
    );
    check(&["serve", "--help"], 0, &["[[schedule]]", "SIGTERM", "RUST_LOG", "--system"]);
    check(&["next", "--help"], 0, &["five fields", "@daily"]);
    check(&["--version"], 0, &["tickwheel ", env!("CARGO_PKG_VERSION")]);
    check(&["completions", "bash"], 0, &["_tickwheel", "--crontab"]);
}

#[test]
fn wrong_usage_exits_with_two() {
    check(&[], 2, &["Usage: tickwheel"]);
    check(&["serve", "--listen", "nowhere"], 2, &["--listen", "invalid socket address"]);
    check(&["serve", "--listen", "0.0.0.0:7419"], 2, &["--listen", "TICKWHEEL_PASSWORD"]);
    check(&["serve", "--config", "x", "--system"], 2, &["--crontab"]);
    check(&["next", "@daily", "-n", "0"], 2, &["1..=10000"]);
    check(&["completions", "basic"], 2, &["bash"]);
}

#[test]
fn next_prints_words_and_times() {
    let text =
        check(&["next", "0 30 2 * * Mon-Fri", "--tz", "Asia/Tokyo", "-n", "3"], 0, &["02:30"]);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 4, "{text}");
    assert!(lines[1..].iter().all(|line| line.ends_with("T02:30:00+09:00[Asia/Tokyo]")), "{text}");
    assert_eq!(check(&["next", "@hourly"], 0, &[]).lines().count(), 6, "five are the default");
    check(&["next", "-5 * * * *"], 2, &["tickwheel: "]);
    check(&["next", "0 61 * * * *"], 2, &["minute", "61", "0-59"]);
    check(&["next", "@daily", "--tz", "Europe/Berln"], 2, &["Europe/Berln", "Europe/Berlin"]);
}

#[test]
fn a_wrong_configuration_names_file_line_and_field() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(
        folder.path(),
        "t.toml",
        "[[schedule]]\nname = \"a\"\ncron = \"x\"\ncommand = [\"a\"]\n",
    );
    for mode in [&["--check"][..], &[]] {
        let arguments = [&["serve", "--config", &file], mode].concat();
        let start = format!("tickwheel: {file}:3: [[schedule]] \"a\": field `cron`: ");
        check(&arguments, 2, &[&start, "e.g. cron = \"0 30 2 * * *\""]);
    }
    check(&["serve", "--config", "/no/such.toml"], 2, &["/no/such.toml: cannot be read"]);
}

#[test]
fn a_check_refuses_what_the_engine_would() {
    let folder = tempfile::tempdir().unwrap();
    let zeros = vec!["0"; 600].join(",");
    let text =
        format!("[[schedule]]\nname = \"a\"\ncommand = [\"a\"]\ncron = \"{zeros} 0 * * * *\"\n");
    let file = write(folder.path(), "t.toml", &text);
    check(&["serve", "--config", &file, "--check"], 2, &["t.toml:1: \"a\": ", "1024 bytes"]);
    let at = "[[job]]\nname = \"a\"\ncommand = [\"a\"]\nat = \"2199-12-31T23:59:59-12:00\"\n";
    let file = write(folder.path(), "u.toml", at);
    check(&["serve", "--config", &file, "--check"], 2, &["u.toml:4: ", "`at`", "after 2199"]);
}

#[test]
fn what_is_wrong_cannot_steer_the_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), "t.toml", "\"\\u001b[2J\" = 1\n");
    let text = check(&["serve", "--config", &file], 2, &["field `\\u{1b}[2J`"]);
    assert!(!text.contains('\u{1b}'), "{text:?}");
    let text = check(&["serve", "--config", "/no/\u{1b}[2J"], 2, &["/no/\\u{1b}[2J: cannot"]);
    assert!(!text.contains('\u{1b}'), "{text:?}");
}

#[test]
fn exit_codes_do_not_depend_on_standard_error() {
    for (arguments, code) in [
        (&["next", "x"][..], 2),
        (&["serve", "--system"], 2),
        (&["serve", "--config", "/no/such.toml"], 2),
        (&["demo", "--exit", "--data-dir", "/dev/null/x"], 1),
        (&["serve", "--crontab", "/dev/null", "--data-dir", "/dev/null/x"], 1),
    ] {
        let full = fs::File::options().write(true).open("/dev/full").unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_tickwheel"));
        let status = command.args(arguments).stderr(full).status().unwrap();
        assert_eq!(status.code(), Some(code), "{arguments:?}");
    }
}

#[test]
fn problems_of_all_files_are_reported_together() {
    let folder = tempfile::tempdir().unwrap();
    let config = write(folder.path(), "t.toml", "[engine]\nexecutors = 0\n");
    let crontab = write(folder.path(), "tab", "@daily a\nRANDOM_DELAY=4\n");
    let arguments = ["serve", "--config", &config, "--crontab", &crontab, "--check"];
    let text = check(&arguments, 2, &["t.toml:2: ", "tab:2: ", "RANDOM_DELAY"]);
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(text.lines().all(|line| line.starts_with("tickwheel: ")), "{text}");
}

#[test]
fn check_prints_what_was_understood() {
    let folder = tempfile::tempdir().unwrap();
    let crontab = write(folder.path(), "tab", "MAILTO=me\n\n30 4 * * * do this\n@reboot start\n");
    let parts = [
        "tab:3: crontab:tab:",
        "30 4 * * *",
        "04:30",
        "[Europe/Berlin]",
        "/bin/sh -c \"do this\"",
        "at each start",
        "warning: ",
        "tab:1: MAILTO: mail is not sent yet",
        "2 understood, 1 warnings, nothing refused",
    ];
    check(&["serve", "--crontab", &crontab, "--check"], 0, &parts);
    let config = "[[schedule]]\nname = \"a\"\nevery = \"90s\"\ncommand = [\"a\", \"b c\"]\n\
                  [[job]]\nname = \"b\"\nat = 2030-01-02T03:04:05Z\nshell = true\ncommand = \"x\"\n";
    let config = write(folder.path(), "t.toml", config);
    let parts =
        ["t.toml:1: a", "every 1m30s", "[\"a\", \"b c\"]", "once, at 2030-01-02T03:04:05+00:00"];
    check(&["serve", "--config", &config, "--check"], 0, &parts);
    assert!(!folder.path().join("tickwheel-data").exists(), "nothing is made by a check");
}

#[test]
fn without_files_workers_are_served_at_the_loopback_address() {
    check(&["serve", "--check"], 0, &["workers are served at 127.0.0.1:7419, without a password"]);
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), "t.toml", "[work]\nlisten = \"0.0.0.0:1\"\n");
    check(
        &["serve", "--config", &file, "--check"],
        2,
        &["t.toml", "0.0.0.0:1", "TICKWHEEL_PASSWORD"],
    );
    let arguments = ["serve", "--config", &file, "--check", "--listen", "[::1]:2"];
    check(&arguments, 0, &["workers are served at [::1]:2, without"]);
    let text = "[work]\nlisten = \"0.0.0.0:1\"\npassword = \"hunter2\"\n";
    let file = write(folder.path(), "u.toml", text);
    let text = check(&["serve", "--config", &file, "--check"], 0, &["0.0.0.0:1, with a password"]);
    assert!(!text.contains("hunter2"), "{text}");
    let file = write(folder.path(), "v.toml", "[work]\npassword = \"\"\nio_threads = 17\n");
    check(&["serve", "--config", &file, "--check"], 2, &["`password`", "`io_threads`", "1 to 16"]);
}
