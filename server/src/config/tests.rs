//! Whole files: what they mean, and what is said about each way to get one wrong.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::*;
use crate::command::Program;
use crate::plan::{Guards, Missed, Task, Timing};
use tickwheel_engine::{CircuitBreaker, Durability, Overlap, QueueLimits};

fn good(text: &str) -> Config {
    parse(Path::new("/etc/tw/t.toml"), text).unwrap_or_else(|error| panic!("{error}"))
}

/// The messages about a file, one per problem.
fn refused(text: &str) -> Vec<String> {
    match parse(Path::new("t.toml"), text) {
        Ok(config) => panic!("accepted: {config:?}"),
        Err(LoadError::Refused { problems }) => problems.iter().map(ToString::to_string).collect(),
        Err(error) => panic!("{error}"),
    }
}

/// Expects one problem, which says all of `parts`.
fn check_refused(text: &str, parts: &[&str]) {
    let messages = refused(text);
    assert_eq!(messages.len(), 1, "{messages:#?}");
    for part in parts {
        assert!(messages[0].contains(part), "{part:?} is not in {:?}", messages[0]);
    }
}

#[test]
fn an_empty_file_is_all_defaults() {
    let config = good("");
    assert_eq!(config, Config::default());
    assert_eq!(config.settings.durability, Durability::Sync);
    assert_eq!(config.settings.executors, 16);
    assert_eq!(config.settings.shutdown_grace, Duration::from_secs(30));
}

#[test]
fn every_field_is_read() {
    let config = good(
        r#"
        [engine]
        data_dir = "data"
        durability = "os"
        executors = 4
        history = false
        history_keep = "7d"
        history_bytes = "64MiB"
        shutdown_grace = "5s"

        [[schedule]]
        name = "backup"
        cron = "0 30 2 * * *"
        zone = "Europe/Berlin"
        missed = { all = { limit = 10, window = "2h" } }
        command = ["pg_dump", "-Fc", "app"]
        dir = "/var/backups"
        env = { PGUSER = "x" }
        timeout = "10m"
        kill_grace = "1s"
        output_limit = "1KiB"
        retries = 3
        backoff = "20s"
        backoff_max = "5m"
        priority = 7

        [[schedule]]
        name = "poll"
        every = "1m30s"
        shell = true
        command = "a | b"

        [[job]]
        name = "later"
        at = 2026-12-01T08:00:00+01:00
        command = ["a"]

        [[job]]
        name = "now"
        command = ["a"]
        "#,
    );
    let Settings { data_dir, durability, executors, shutdown_grace, .. } = config.settings;
    let Settings { history, history_keep, history_bytes, .. } = config.settings;
    assert_eq!((history, history_keep.as_secs(), history_bytes), (false, 7 * 86_400, 64 << 20));
    assert_eq!(data_dir, Some(PathBuf::from("/etc/tw/data")));
    assert_eq!((durability, executors, shutdown_grace.as_secs()), (Durability::Os, 4, 5));
    let [backup, poll, later, now] = &config.entries[..] else { panic!("{:?}", config.entries) };

    let Timing::Cron(cron) = &backup.timing else { panic!("{:?}", backup.timing) };
    assert_eq!((cron.source(), cron.zone_name()), ("0 30 2 * * *", "Europe/Berlin"));
    assert_eq!(backup.missed, Missed::All { limit: 10, window: Duration::from_secs(7200) });
    let argv = ["pg_dump", "-Fc", "app"].map(str::to_owned).to_vec();
    assert_eq!(backup.spec().unwrap().program, Program::Argv(argv));
    assert_eq!(backup.spec().unwrap().dir.as_deref(), Some("/var/backups"));
    assert_eq!(backup.spec().unwrap().env.get("PGUSER").map(String::as_str), Some("x"));
    assert_eq!(backup.spec().unwrap().timeout(), Duration::from_secs(600));
    assert_eq!(backup.spec().unwrap().kill_grace(), Duration::from_secs(1));
    assert_eq!(backup.spec().unwrap().output_limit_bytes, 1024);
    assert_eq!((backup.attempts_max, backup.priority), (4, 7));
    assert_eq!((backup.backoff.as_secs(), backup.backoff_max.as_secs()), (20, 300));
    assert_eq!(backup.spec().unwrap().name, "backup");
    assert_eq!(backup.origin.line, 11);

    assert_eq!(poll.timing, Timing::Every(Duration::from_secs(90)));
    assert_eq!(poll.missed, Missed::One);
    let line = "a | b".to_owned();
    assert_eq!(poll.spec().unwrap().program, Program::Shell { shell: "/bin/sh".to_owned(), line });
    assert_eq!((poll.attempts_max, poll.priority), (1, 5));
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_796_108_400);
    assert_eq!(later.timing, Timing::Once(Some(at)));
    assert_eq!(now.timing, Timing::Once(None));
}

#[test]
fn defaults_hold_where_an_entry_says_nothing() {
    let config = good(
        r#"
        [defaults]
        zone = "Asia/Kathmandu"
        missed = "skip"
        timeout = "1m"
        retries = 2
        dir = "/srv"
        env = { A = "1", B = "2" }
        [[schedule]]
        name = "a"
        cron = "@daily"
        command = ["a"]
        [[schedule]]
        name = "b"
        cron = "@daily"
        zone = "UTC"
        missed = "one"
        retries = 0
        env = { B = "3" }
        command = ["b"]
        [[schedule]]
        name = "c"
        every = "1m"
        command = ["c"]
        "#,
    );
    let [a, b, _] = &config.entries[..] else { panic!("{:?}", config.entries) };
    let zone = |entry: &Entry| match &entry.timing {
        Timing::Cron(cron) => cron.zone_name().to_owned(),
        other => panic!("{other:?}"),
    };
    assert_eq!((zone(a), zone(b)), ("Asia/Kathmandu".to_owned(), "UTC".to_owned()));
    assert_eq!((a.missed, b.missed), (Missed::Skip, Missed::One));
    assert_eq!((a.attempts_max, b.attempts_max), (3, 1));
    assert_eq!(a.spec().unwrap().timeout_ms, 60_000);
    assert_eq!(b.spec().unwrap().dir.as_deref(), Some("/srv"));
    let values: Vec<&str> = b.spec().unwrap().env.values().map(String::as_str).collect();
    assert_eq!(values, ["1", "3"]);
}

#[test]
fn all_problems_are_reported_at_once_with_their_lines() {
    let messages = refused(
        r#"[engine]
executors = 0
[[schedule]]
name = "a"
cron = "61 * * * *"
command = "x | y"
[[schedule]]
cron = "@daily"
timout = "3s"
command = ["x"]
[[job]]
name = "a"
every = "5m"
command = []
"#,
    );
    let starts = [
        "t.toml:2: [engine]: field `executors`: 0 is out of range: 1 to 256 are possible; e.g. executors = 16",
        "t.toml:5: [[schedule]] \"a\": field `cron`: ",
        "t.toml:6: [[schedule]] \"a\": field `command`: a string is not taken apart",
        "t.toml:7: [[schedule]]: field `name`: it is missing; e.g. name = \"backup\"",
        "t.toml:9: [[schedule]]: field `timout`: there is no such field; did you mean `timeout`?",
        "t.toml:12: [[job]] \"a\": field `name`: line 4 has the same name",
        "t.toml:13: [[job]] \"a\": field `every`: there is no such field",
        "t.toml:14: [[job]] \"a\": field `command`: it is empty",
    ];
    assert_eq!(messages.len(), starts.len(), "{messages:#?}");
    for (message, start) in messages.iter().zip(starts) {
        assert!(message.starts_with(start), "{message}\n{start}");
    }
    assert!(messages[1].ends_with("; e.g. cron = \"0 30 2 * * *\""), "{}", messages[1]);
}

#[test]
fn text_that_is_not_toml_is_named_by_line() {
    check_refused("[engine]\nexecutors = = 3\n", &["t.toml:2: not TOML: "]);
    check_refused("[[schedule]\nname = 'a'\n", &["t.toml:1: not TOML: "]);
    let twice = refused("[engine]\nexecutors = 1\nexecutors = 2\n");
    assert!(twice[0].starts_with("t.toml:3: not TOML: duplicate key"), "{twice:?}");
}

#[test]
fn top_level_mistakes() {
    check_refused("[shedule]\nx = 1\n", &["t.toml:1: top level: field `shedule`", "`schedule`"]);
    check_refused(
        "[schedule]\nname = 'a'\n",
        &["field `schedule`", "[[schedule]]", "double brackets"],
    );
    check_refused("engine = 3\n", &["field `engine`: expected a table, found a whole number"]);
    check_refused("[engine]\ndurability = \"never\"\n", &["t.toml:2", "durability"]);
    check_refused("[engine]\ndata_dir = \"\"\n", &["t.toml:2", "empty"]);
    check_refused("[defaults]\ncron = \"@daily\"\n", &["t.toml:2: [defaults]: field `cron`"]);
}

/// A schedule that is right but for the given lines.
fn check_field(lines: &str, parts: &[&str]) {
    let timing = if lines.contains("cron =") || lines.contains("every =") || lines.contains("at =")
    {
        ""
    } else {
        "every = \"1m\"\n"
    };
    let command = if lines.contains("command =") { "" } else { "command = [\"a\"]\n" };
    check_refused(&format!("[[schedule]]\nname = \"n\"\n{timing}{command}{lines}\n"), parts);
}

#[test]
fn each_field_names_its_mistake() {
    check_field(
        "timeout = 10",
        &["`timeout`: expected a string, found a whole number", "e.g. timeout = \"10m\""],
    );
    check_field("timeout = \"10\"", &["\"10\" is not a duration", "ms, s, m, h or d"]);
    check_field("timeout = \"31d\"", &["31d is out of range: 100ms to 30d"]);
    check_field("output_limit = \"64\"", &["not a size", "64KiB"]);
    check_field("retries = -1", &["-1 is not a whole number from 0"]);
    check_field("retries = 1.5", &["expected a whole number, found a fraction"]);
    check_field("priority = 10", &["10 is out of range: 0 to 9"]);
    check_field("dir = \"here\"", &["relative"]);
    check_field(
        "env = { A = 1 }",
        &["A: expected a string, found a whole number; put it in quotes"],
    );
    check_field("env = { \"A=B\" = \"1\" }", &["cannot be the name of a variable"]);
    check_field(
        "missed = \"all\"",
        &["\"all\" is not a way to treat missed runs", "missed = { all ="],
    );
    check_field("missed = { all = { limit = 3 } }", &["needs `limit` and `window`"]);
    check_field("missed = { all = { limit = 0, window = \"1h\" } }", &["0 is out of range"]);
    check_field(
        "backoff = \"1h\"\nbackoff_max = \"1m\"",
        &["the first wait, 1h, is longer than the longest"],
    );
    check_field("zone = \"UTC\"", &["a zone belongs to cron"]);
    check_field("shell = true", &["an array is executed without a shell"]);
    check_field("shell = \"yes\"", &["expected true or false, found a string"]);
    check_field("shell = true\ncommand = \" \"", &["it is empty"]);
    check_field("command = [\"a\", 3]", &["argument 1: expected a string, found a whole number"]);
    check_field("cron = \"@daily\"\nevery = \"1m\"", &["only one of cron, every and at"]);
    check_field("at = \"2026-12-01T08:00:00\"", &["needs its offset", "+01:00"]);
    check_field("at = 2026-12-01", &["needs both a date and a time"]);
    check_field(
        "cron = \"@daily\"\nzone = \"Europe/Berln\"",
        &["`zone`: ", "Europe/Berln", "Europe/Berlin"],
    );
    check_refused(
        "[[schedule]]\nname = \"n\"\ncommand = [\"a\"]\n",
        &["t.toml:1", "one of cron, every and at is needed", "e.g. cron ="],
    );
    check_refused("[[job]]\nname = \"n\"\n", &["field `command`: it is missing"]);
}

#[test]
fn schedules_for_workers_have_a_kind_and_none_of_a_commands_fields() {
    let config = good(
        r#"[[schedule]]
name = "digest"
cron = "0 0 7 * * Mon"
zone = "Europe/Berlin"
kind = "send_digest"
args = ["weekly", 7, 1.5, true, { to = ["a", "b"] }, 2026-12-01]
queue = "mail"
timeout = "10m"
retries = 3
priority = 7
overlap = "skip"
jitter = "5m"
starts = "2026-12-01T00:00:00Z"
ends = 2027-01-01T00:00:00Z
runs = 9
paused = true
[[job]]
name = "once"
kind = "k"
"#,
    );
    let [digest, once] = &config.entries[..] else { panic!("{config:?}") };
    let Task::Worker(job) = &digest.task else { panic!("{digest:?}") };
    assert_eq!((&*job.kind, &*job.queue, job.reserve.as_secs()), ("send_digest", "mail", 600));
    let definition: serde_json::Value = serde_json::from_str(&job.definition).unwrap();
    assert_eq!(
        definition["job"],
        serde_json::json!({
            "jobtype": "send_digest",
            "args": ["weekly", 7, 1.5, true, { "to": ["a", "b"] }, "2026-12-01"],
            "queue": "mail",
            "reserve_for": 600,
            "retry": 3,
            "priority": 7,
        })
    );
    assert_eq!(
        (&definition["cron"], &definition["zone"]),
        (&"0 0 7 * * Mon".into(), &"Europe/Berlin".into())
    );
    let rules = &digest.rules;
    assert_eq!((rules.jitter.as_secs(), rules.runs, rules.paused), (300, Some(9), true));
    assert!(rules.overlap == Overlap::Skip && rules.starts < rules.ends);
    let Task::Worker(job) = &once.task else { panic!("{once:?}") };
    assert_eq!((&*job.queue, job.reserve.as_secs()), ("default", 1800));
    for (text, overlap) in [
        ("\"allow\"", Overlap::Allow),
        ("\"replace\"", Overlap::Replace),
        ("\"queue\"", Overlap::Queue { limit: 100 }),
        ("{ queue = 7 }", Overlap::Queue { limit: 7 }),
    ] {
        let entry =
            format!("[[schedule]]\nname = \"n\"\nevery = \"1m\"\nkind = \"k\"\noverlap = {text}\n");
        assert_eq!(good(&entry).entries[0].rules.overlap, overlap);
    }

    let worker = "[[schedule]]\nname = \"n\"\nevery = \"1m\"\nkind = \"k\"\n";
    for (line, part) in [
        ("command = [\"a\"]", "a command or a kind, not both"),
        ("dir = \"/srv\"", "it belongs to a command"),
        ("env = { A = \"1\" }", "it belongs to a command"),
        ("timeout = \"30s\"", "a worker may keep a job for 1m to 1d, not 30s"),
        ("queue = \"a b\"", "no white space"),
        ("args = \"a\"", "expected an array"),
        ("overlap = \"never\"", "\"never\" is not a way"),
        ("overlap = { queue = 0 }", "0 is out of range"),
        ("overlap = { later = 3 }", "the table may hold `queue`"),
        ("runs = 0", "0 is out of range"),
    ] {
        check_refused(&format!("{worker}{line}\n"), &["t.toml:5", part]);
    }
    let lost = "[[schedule]]\nname = \"n\"\nevery = \"1m\"\ncommand = [\"a\"]\nargs = [1]\n";
    check_refused(lost, &["t.toml:5", "it belongs to a kind"]);
    assert_eq!(refused(lost).len(), 1);
}

#[test]
fn queues_are_limited_and_named_once() {
    let config = good(
        "[[queue]]\nname = \"mail\"\nrate = 100\nper = \"1m\"\nconcurrency = 3\nlength = 9\nweight = 2\n",
    );
    let expected = QueueLimits::new()
        .rate(100, Duration::from_secs(60), 100)
        .concurrency(3)
        .length(9)
        .weight(2);
    assert_eq!((&*config.queues[0].name, config.queues[0].limits), ("mail", expected));
    let queue = "[[queue]]\nname = \"q\"\n";
    check_refused("[[queue]]\nrate = 1\n", &["t.toml:1", "it is missing"]);
    check_refused("[[queue]]\nname = \"a b\"\n", &["t.toml:2", "no white space"]);
    check_refused(&format!("{queue}burst = 3\n"), &["t.toml:3", "it belongs to a rate"]);
    check_refused(&format!("{queue}rate = 0\n"), &["t.toml:3", "0 is out of range"]);
    check_refused(&format!("{queue}speed = 1\n"), &["t.toml:3", "there is no such field"]);
    check_refused(&format!("{queue}{queue}"), &["t.toml:4", "line 1 has the same name"]);
    check_refused(&format!("{queue}break_after = 0\n"), &["t.toml:3", "0 is out of range"]);
    check_refused(&format!("{queue}cool_down = \"1s\"\n"), &["t.toml:3", "belongs to break_after"]);
    let shrinking = "break_after = 1\ncool_down = \"2s\"\ncool_down_max = \"1s\"\n";
    check_refused(&format!("{queue}{shrinking}"), &["t.toml:5", "shorter than cool_down"]);
    let guarded = "pause_after = 9\nbreak_after = 3\ncool_down = \"1s\"\n";
    let guards = good(&format!("{queue}{guarded}")).queues[0].guards;
    let breaker = CircuitBreaker::new(3).cool_down(Duration::from_secs(1));
    assert_eq!(guards, Guards { pause_after: Some(9), breaker: Some(breaker) });
    // It would take more than ten years until the burst is there again.
    check_refused(
        &format!("{queue}rate = 1\nper = \"40d\"\nburst = 1000\n"),
        &["t.toml:3", "ten years"],
    );
}

#[test]
fn a_backoff_of_ours_gives_way_to_what_the_user_wrote() {
    let entry = "[[schedule]]\nname = \"n\"\nevery = \"1m\"\ncommand = [\"a\"]\n";
    let short = &good(&format!("{entry}backoff_max = \"1s\"\n")).entries[0];
    assert_eq!((short.backoff.as_secs(), short.backoff_max.as_secs()), (1, 1));
}

#[test]
fn names_are_checked() {
    for (name, part) in [
        ("", "must not be empty"),
        (" a", "blank"),
        ("a\\u0007", "control character"),
        ("crontab:a", "belong to crontab entries"),
    ] {
        check_refused(
            &format!("[[job]]\nname = \"{name}\"\ncommand = [\"a\"]\n"),
            &["t.toml:2", part],
        );
    }
    let long = "n".repeat(129);
    check_refused(&format!("[[job]]\nname = \"{long}\"\ncommand = [\"a\"]\n"), &["128 bytes"]);
}

#[test]
fn a_command_too_large_for_the_log_is_refused() {
    let large = "x".repeat(limits::COMMAND_BYTES_MAX);
    check_refused(
        &format!("[[job]]\nname = \"n\"\ncommand = [\"{large}\"]\n"),
        &["at most 262144"],
    );
}

#[test]
fn no_text_makes_the_reader_panic() {
    // Each prefix of a file with every kind of value is a file of its own.
    let text = "[engine]\nexecutors = 4\n[[schedule]]\nname = \"ä\"\ncron = '0 30 2 * * *'\nmissed = { all = { limit = 1, window = \"1h\" } }\ncommand = [\"a\", 'b']\nenv = { A = \"\"\"x\"\"\" }\n[[job]]\nat = 2026-12-01T08:00:00Z\n";
    for end in (0..=text.len()).filter(|end| text.is_char_boundary(*end)) {
        let _ = parse(Path::new("t.toml"), &text[..end]);
    }
}
