//! What the documents show must be true: their examples are read, their limits compared.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tickwheel::config::{self, limits, value::format_duration};
use tickwheel::crontab::{self, Format, Host, Users};
use tickwheel::plan::Timing;

fn docs(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name)
}

#[test]
fn the_example_configuration_is_right() {
    let config = config::load(&docs("examples/tickwheel.toml")).unwrap_or_else(|e| panic!("{e}"));
    let names: Vec<&str> = config.entries.iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(names, ["backup", "report", "sync", "switch-over", "warm-up"]);
    assert_eq!(config.settings.shutdown_grace, Duration::from_secs(30));
}

#[test]
fn the_example_crontab_is_right() {
    let users = Users::parse("me:x:1000:1000::/home/me:/bin/sh\n");
    let server = users.by_uid(1000).unwrap().clone();
    let host = Host { users, server, zone: "UTC".to_owned() };
    let found = crontab::load(&[docs("examples/crontab")], Format::User, &host);
    let found = found.unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(found.warnings, []);
    assert_eq!(found.entries.len(), 6);
    assert_eq!(found.entries[3].timing, Timing::Start);
    assert_eq!(
        found.entries[4].spec().unwrap().stdin.as_deref(),
        Some("Hello,\n\nthe month begins.\n")
    );
    let Timing::Cron(last) = &found.entries[5].timing else { panic!("{:?}", found.entries[5]) };
    assert_eq!(last.zone_name(), "Asia/Tokyo");
}

#[test]
fn the_tables_give_the_limits_of_the_code() {
    let text = fs::read_to_string(docs("operations.md")).unwrap();
    let spans = |(min, max): (Duration, Duration)| {
        format!("{} to {}", format_duration(min), format_duration(max))
    };
    let numbers = |(min, max): (u64, u64)| format!("{min} to {max}");
    let unset = format_duration;
    let rows = [
        ("executors", limits::EXECUTORS_DEFAULT.to_string(), numbers(limits::EXECUTORS)),
        ("shutdown_grace", unset(limits::SHUTDOWN_GRACE_DEFAULT), spans(limits::SHUTDOWN_GRACE)),
        ("every", String::new(), spans(limits::EVERY)),
        ("zone", format!("`{:?}`", limits::ZONE_DEFAULT), "IANA name".to_owned()),
        ("name", "needed".to_owned(), format!("1 to {} bytes", limits::NAME_BYTES_MAX)),
        ("timeout", unset(limits::TIMEOUT_DEFAULT), spans(limits::TIMEOUT)),
        ("kill_grace", unset(limits::KILL_GRACE_DEFAULT), spans(limits::KILL_GRACE)),
        ("retries", limits::RETRIES_DEFAULT.to_string(), numbers(limits::RETRIES)),
        ("backoff", unset(limits::BACKOFF_DEFAULT), spans(limits::BACKOFF)),
        ("backoff_max", unset(limits::BACKOFF_MAX_DEFAULT), spans(limits::BACKOFF)),
        ("priority", limits::PRIORITY_DEFAULT.to_string(), numbers(limits::PRIORITY)),
        (
            "output_limit",
            format!("{}KiB", limits::OUTPUT_BYTES_DEFAULT >> 10),
            format!("{}B to {}MiB", limits::OUTPUT_BYTES.0, limits::OUTPUT_BYTES.1 >> 20),
        ),
        ("data_dir", format!("`./{}`", limits::DATA_DIR_DEFAULT), String::new()),
        (
            "command",
            "needed".to_owned(),
            format!(
                "{} arguments, {} KiB with `env`",
                limits::ARGUMENTS_MAX,
                limits::COMMAND_BYTES_MAX >> 10
            ),
        ),
    ];
    for (field, default, range) in rows {
        let cells = |line: &str| -> Vec<String> {
            line.split('|').map(|cell| cell.trim().to_owned()).collect()
        };
        let row = text.lines().find(|line| line.starts_with(&format!("| `{field}` |")));
        let row = cells(row.unwrap_or_else(|| panic!("no row for {field}")));
        assert_eq!((&row[2], &row[3]), (&default, &range), "{field}");
    }
    let rest = [
        format!("at most {} entries", thousands(limits::ENTRIES_MAX as u64)),
        format!("of at most {} MiB", limits::FILE_BYTES_MAX >> 20),
        format!("({} to {})", limits::MISSED_RUNS.0, thousands(limits::MISSED_RUNS.1)),
        format!("({})", spans(limits::MISSED_WINDOW)),
        format!("runs for {} hours", limits::CRONTAB_TIMEOUT.as_secs() / 3600),
    ];
    // The prose is wrapped: compare it as one line.
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in rest {
        assert!(text.contains(&part), "{part:?} is not in operations.md");
    }
}

fn thousands(number: u64) -> String {
    format!("{},{:03}", number / 1000, number % 1000)
}
