//! Every verb, and what is refused of it.

use super::*;

fn check(line: &str, accept: impl FnOnce(&Command<'_>) -> bool) {
    let command = Command::parse(line.as_bytes(), &Limits::DEFAULT);
    let command = command.unwrap_or_else(|error| panic!("{line}: {error}"));
    assert!(accept(&command), "{line}: {command:?}");
}

fn refused(line: &str, needle: &str) {
    let error = Command::parse(line.as_bytes(), &Limits::DEFAULT).expect_err(line);
    assert!(error.to_string().contains(needle), "{line}: {error}");
    assert!(!error.is_fatal());
}

#[test]
fn producers_and_workers_are_understood() {
    check(
        r#"HELLO {"v":2,"pwdhash":"ab","hostname":"h","wid":"w1","pid":7,"labels":["a","b"],"username":"","x":1}"#,
        |c| {
            matches!(c, Command::Hello(hello) if hello.version == 2
            && hello.password_hash.is_some()
            && hello.identity.wid.as_deref() == Some("w1")
            && hello.identity.pid == Some(7)
            && hello.identity.labels == ["a", "b"]
            && hello.identity.username.is_none())
        },
    );
    check(
        "HELLO {}",
        |c| matches!(c, Command::Hello(hello) if hello.version == 0 && hello.identity.wid.is_none()),
    );
    check(
        r#"PUSH {"jid":"12345678","jobtype":"a","args":[]}"#,
        |c| matches!(c, Command::Push(job) if job.jid == "12345678"),
    );
    check(
        r#"PUSHB [{"jid":"12345678","jobtype":"a","args":[]}, {"jid":"short"},{"args":[]}, 7]"#,
        |c| {
            let Command::PushBatch(batch) = c else { return false };
            let jids: Vec<_> = batch
                .jobs
                .iter()
                .map(|job| {
                    job.as_ref()
                        .map_or_else(|refused| (&*refused.jid, false), |job| (&*job.jid, true))
                })
                .collect();
            jids == [("12345678", true), ("short", false), ("", false), ("", false)]
        },
    );
    check("PUSHB []", |c| matches!(c, Command::PushBatch(batch) if batch.jobs.is_empty()));
    check(
        "FETCH  critical default\t bulk ",
        |c| matches!(c, Command::Fetch(q) if q.len() == 3 && q.iter().eq(["critical", "default", "bulk"])),
    );
    check(
        r#"FETCHB {"n":256,"wait_ms":500,"queues":["a","b"]}"#,
        |c| matches!(c, Command::FetchBatch(f) if f.count_max == 256 && f.wait_ms == 500 && f.queues == ["a", "b"]),
    );
    check(
        r#"FETCHB {"n":1,"queues":["a"]}"#,
        |c| matches!(c, Command::FetchBatch(f) if f.wait_ms == 2000),
    );
    check(r#"ACK {"jid":"x"}"#, |c| matches!(c, Command::Ack(jid) if jid == "x"));
    check(r#"ACKB ["x","y\n"]"#, |c| matches!(c, Command::AckBatch(jids) if *jids == ["x", "y\n"]));
    check(
        r#"FAILB [{"jid":"x"},{"jid":"y","backtrace":7}]"#,
        |c| matches!(c, Command::FailBatch(f) if f.reports[0].is_ok() && f.reports[1].as_ref().is_err_and(|r| r.jid == "y")),
    );
    check(
        r#"EXTEND {"jid":"x","seconds":30}"#,
        |c| matches!(c, Command::Extend(e) if e.jid == "x" && e.seconds == 30),
    );
    check(r#"CANCEL {"jid":"x"}"#, |c| matches!(c, Command::Cancel(jid) if jid == "x"));
    check(
        r#"BEAT {"wid":"w","current_state":"quiet","rss_kb":12.5}"#,
        |c| matches!(c, Command::Beat(b) if b.wid == "w" && b.current_state == "quiet" && b.rss_kb == 13),
    );
    check("INFO", |c| matches!(c, Command::Info));
    check(" FLUSH ", |c| matches!(c, Command::Flush));
    check("END", |c| matches!(c, Command::End));
}

#[test]
fn failures_are_cut_to_what_is_kept() {
    let lines: Vec<String> = (0..70).map(|n| format!("\"line {n}\"")).collect();
    let line = format!(
        r#"FAIL {{"jid":"x","errtype":"{}","message":"{}","backtrace":[{}]}}"#,
        "é".repeat(101),
        "\\u00e9".repeat(1001),
        lines.join(",")
    );
    check(&line, |c| {
        matches!(c, Command::Fail(f) if f.errtype == "é".repeat(100) && f.message == "é".repeat(1000)
            && f.backtrace.len() == 50 && f.backtrace[49] == "line 49")
    });
    check(
        r#"FAIL {"jid":"x","backtrace":null}"#,
        |c| matches!(c, Command::Fail(f) if f.backtrace.is_empty()),
    );
}

#[test]
fn tools_are_understood() {
    check(
        r#"MUTATE {"cmd":"kill","target":"retries","filter":{"jobtype":"a","jids":["x"],"regexp":"*y*","tags":["eu"]}}"#,
        |c| {
            matches!(c, Command::Mutate(m) if m.verb == MutationVerb::Kill && m.target == Target::Retries
            && m.filter.jobtype.as_deref() == Some("a") && m.filter.glob.as_deref() == Some("*y*")
            && m.filter.jids.as_deref().is_some_and(|jids| jids == ["x"]) && m.filter.tags == ["eu"])
        },
    );
    for filter in ["", r#","filter":null"#, r#","filter":{"jids":null,"jobtype":""}"#] {
        check(
            &format!(r#"MUTATE {{"cmd":"clear","target":"dead"{filter}}}"#),
            |c| matches!(c, Command::Mutate(m) if m.filter == Filter::default() && m.target == Target::Dead),
        );
    }
    check("QUEUE PAUSE *", |c| matches!(c, Command::Queue(QueueCommand::Pause(None))));
    check(
        "QUEUE RESUME a b",
        |c| matches!(c, Command::Queue(QueueCommand::Resume(Some(q))) if q.len() == 2),
    );
    check(
        "QUEUE REMOVE a",
        |c| matches!(c, Command::Queue(QueueCommand::Remove(Some(q))) if q.len() == 1),
    );
    check(
        "QUEUE LATENCY a",
        |c| matches!(c, Command::Queue(QueueCommand::Latency(q)) if q.len() == 1),
    );
    check("TRACK GET x", |c| matches!(c, Command::Track(TrackCommand::Get("x"))));
    check(
        r#"TRACK SET {"jid":"x","percent":10,"desc":"d","reserve_until":"2026-01-01T00:00:00Z"}"#,
        |c| {
            matches!(c, Command::Track(TrackCommand::Set(t)) if t.percent == Some(10) && t.desc.as_deref() == Some("d")
            && t.reserve_until.is_some())
        },
    );
    check(
        r#"BATCH NEW {"description":"d","success":{"jid":"12345678","jobtype":"a","args":[]}}"#,
        |c| matches!(c, Command::Batch(BatchCommand::New(b)) if b.description == "d" && b.success.is_some() && b.complete.is_none()),
    );
    check("BATCH OPEN b", |c| matches!(c, Command::Batch(BatchCommand::Open("b"))));
    check("BATCH COMMIT b", |c| matches!(c, Command::Batch(BatchCommand::Commit("b"))));
    check("BATCH STATUS b", |c| matches!(c, Command::Batch(BatchCommand::Status("b"))));
    check(
        r#"CRON PUT {"name":"n","cron":"0 * * * *","zone":"Europe/Paris","missed":"all","missed_max":5,"overlap":"skip","jitter_ms":9,"paused":true,"job":{"jobtype":"a","args":[]}}"#,
        |c| {
            matches!(c, Command::Cron(CronCommand::Put(p)) if p.name == "n" && p.timing == Timing::Cron("0 * * * *".into())
            && p.zone.as_deref() == Some("Europe/Paris") && p.is_paused && p.jitter_ms == 9
            && p.missed == Missed::All { count_max: 5, window_seconds: 86_400 } && p.overlap == Overlap::Skip
            && p.job.job().jobtype == "a" && p.raw.starts_with('{'))
        },
    );
    check("CRON BACKFILL n 2026-11-01T00:00:00Z 2026-11-02T01:00:00+01:00 PREVIEW", |c| {
        matches!(c, Command::Cron(CronCommand::Backfill { name: "n", from, until, is_preview: true })
            if until.duration_since(*from) == jiff::SignedDuration::from_hours(24))
    });
    let window = "2026-11-01T00:00:00Z 2026-11-02T00:00:00Z";
    refused("CRON BACKFILL", "name");
    refused("CRON BACKFILL n", "from");
    refused("CRON BACKFILL n 2026-11-01T00:00:00Z", "until");
    refused("CRON BACKFILL n yesterday 2026-11-01T00:00:00Z", "from");
    refused(
        "CRON BACKFILL n 2026-11-01T00:00:01Z 2026-11-01T00:00:00Z",
        "before the window begins",
    );
    refused(&format!("CRON BACKFILL n {window} NOW"), "PREVIEW");
    check(
        r#"CRON PUT {"name":"n","every_ms":5,"job":{"jobtype":"a","args":[]}}"#,
        |c| matches!(c, Command::Cron(CronCommand::Put(p)) if p.timing == Timing::EveryMs(5) && p.missed == Missed::One),
    );
    check(
        r#"CRON PUT {"name":"n","every_ms":5,"starts":"2026-01-01T00:00:00Z","ends":"","runs":3,"job":{"jobtype":"a","args":[]}}"#,
        |c| matches!(c, Command::Cron(CronCommand::Put(p)) if p.starts.is_some() && p.ends.is_none() && p.runs_max == Some(3)),
    );
    check("WORKER LIST", |c| matches!(c, Command::Worker(WorkerCommand::List)));
    check("WORKER QUIET w", |c| matches!(c, Command::Worker(WorkerCommand::Quiet(Some("w")))));
    check("WORKER TERMINATE *", |c| matches!(c, Command::Worker(WorkerCommand::Terminate(None))));
    check("CRON GET n", |c| matches!(c, Command::Cron(CronCommand::Get("n"))));
    check("CRON LIST", |c| matches!(c, Command::Cron(CronCommand::List)));
    check("CRON DEL n", |c| matches!(c, Command::Cron(CronCommand::Delete("n"))));
    check("CRON PAUSE n", |c| matches!(c, Command::Cron(CronCommand::Pause("n"))));
    check("CRON RESUME n", |c| matches!(c, Command::Cron(CronCommand::Resume("n"))));
    check("CRON RUN n", |c| matches!(c, Command::Cron(CronCommand::Run("n"))));
    check("CRON NEXT n", |c| matches!(c, Command::Cron(CronCommand::Next { name: "n", count: 1 })));
    check("CRON NEXT n 5", |c| {
        matches!(c, Command::Cron(CronCommand::Next { name: "n", count: 5 }))
    });
}

#[test]
fn what_is_not_right_is_refused_with_the_reason() {
    for (line, needle) in [
        ("", "unknown command"),
        ("push {}", "unknown command push"),
        ("PUSH", "JSON object"),
        ("PUSHB {}", "PUSHB: the JSON is not right"),
        ("PUSHB [1,]", "PUSHB: the JSON is not right"),
        ("PUSHB [] x", "trailing"),
        ("FETCH", "at least one queue"),
        ("FETCH *", "all queues"),
        ("FETCHB {}", "`n`"),
        (r#"FETCHB {"n":0,"queues":["a"]}"#, "at least 1"),
        (r#"FETCHB {"n":10001,"queues":["a"]}"#, "at most"),
        (r#"FETCHB {"n":1,"queues":[]}"#, "`queues`"),
        (r#"FETCHB {"n":1,"queues":["a b"]}"#, "white space"),
        (r#"FETCHB {"n":1,"wait_ms":60001,"queues":["a"]}"#, "60000"),
        ("ACK x", "one JSON object"),
        (r#"ACK ["x"]"#, "one JSON object"),
        ("ACK {}", "`jid`"),
        (r#"ACK {"jid":""}"#, "1 to 255"),
        (r#"ACKB [""]"#, "1 to 255"),
        (r#"FAIL {"jid":"x","backtrace":[1]}"#, "not right"),
        (r#"EXTEND {"jid":"x"}"#, "`seconds`"),
        (r#"EXTEND {"jid":"x","seconds":86401}"#, "86400"),
        ("BEAT {}", "`wid`"),
        ("INFO x", "no arguments"),
        (r#"MUTATE {"cmd":"eat","target":"dead"}"#, "kill"),
        (r#"MUTATE {"cmd":"kill","target":"living"}"#, "retries"),
        (r#"MUTATE {"cmd":"kill","target":"dead","filter":[]}"#, "JSON object"),
        ("QUEUE LATENCY *", "all queues"),
        ("QUEUE EAT a", "PAUSE"),
        ("QUEUE PAUSE", "at least one queue"),
        ("TRACK GET", "`jid`"),
        ("TRACK GET a b", "nothing behind"),
        (r#"TRACK SET {"jid":"x","percent":101}"#, "0 to 100"),
        ("BATCH NEW {}", "success"),
        (r#"BATCH NEW {"success":{"jid":"1"}}"#, "jobtype"),
        ("BATCH OPEN", "`bid`"),
        ("CRON PUT {}", "`name`"),
        (r#"CRON PUT {"name":"a b","every_ms":5,"job":{"jobtype":"a","args":[]}}"#, "white space"),
        (r#"CRON PUT {"name":"n","every_ms":0,"job":{"jobtype":"a","args":[]}}"#, "at least 1"),
        (
            r#"CRON PUT {"name":"n","every_ms":5,"cron":"x","job":{"jobtype":"a","args":[]}}"#,
            "one of",
        ),
        (r#"CRON PUT {"name":"n","every_ms":5}"#, "`job`"),
        (
            r#"CRON PUT {"name":"n","every_ms":5,"missed_max":5,"job":{"jobtype":"a","args":[]}}"#,
            "all",
        ),
        ("CRON NEXT n 0", "1 to 1000"),
        ("CRON EAT", "PUT"),
        (
            r#"CRON PUT {"name":"n","every_ms":5,"runs":0,"job":{"jobtype":"a","args":[]}}"#,
            "at least 1",
        ),
        (
            r#"CRON PUT {"name":"n","every_ms":5,"ends":"soon","job":{"jobtype":"a","args":[]}}"#,
            "RFC 3339",
        ),
        ("WORKER QUIET", "`wid`"),
        ("WORKER QUIET a b", "nothing behind"),
        ("WORKER LIST x", "no arguments"),
        ("WORKER EAT", "QUIET"),
    ] {
        refused(line, needle);
    }
    assert!(matches!(Command::parse(b"ACK \xff", &Limits::DEFAULT), Err(RequestError::NotUtf8)));
}

#[test]
fn batches_are_bounded() {
    let limits = Limits { batch_items_max: 2, ..Limits::DEFAULT };
    for line in [
        r#"ACKB ["a","b","c"]"#,
        "PUSHB [1,2,3]",
        "FAILB [1,2,3]",
        r#"MUTATE {"cmd":"kill","target":"dead","filter":{"jids":["a","b","c"]}}"#,
    ] {
        let error = Command::parse(line.as_bytes(), &limits).expect_err(line);
        assert!(matches!(error, RequestError::TooMany { max: 2, .. }), "{line}: {error}");
    }
    assert!(Command::parse(br#"ACKB ["a","b"]"#, &limits).is_ok());
    let queues = format!("FETCH{}", " q".repeat(257));
    refused(&queues, "at most 256 queues");
    refused(&format!("HELLO {{\"labels\":[{}\"x\"]}}", "\"x\",".repeat(64)), "at most 64 labels");
    let small = Limits { job_bytes_max: 64, ..Limits::DEFAULT };
    let job = format!(r#"{{"jid":"12345678","jobtype":"a","args":["{}"]}}"#, "x".repeat(64));
    let error = Command::parse(format!("PUSH {job}").as_bytes(), &small).expect_err("too large");
    assert!(matches!(error, RequestError::Job(JobError::TooLarge { .. })) && !error.is_fatal());
}
