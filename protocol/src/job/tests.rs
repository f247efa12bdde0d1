//! Jobs: what is taken, what is refused, and what is given back.

use std::time::Duration;

use super::*;

const MAX: usize = 1 << 20;

/// A job with these members behind the required ones.
fn with(members: &str) -> String {
    format!(r#"{{"jid":"0123456789","jobtype":"mail","args":[]{members}}}"#)
}

fn refused(raw: &str, needle: &str) {
    let error = Job::parse(raw, MAX).expect_err(raw).to_string();
    assert!(error.contains(needle), "{raw}: {error}");
}

#[test]
fn fields_have_their_defaults_and_values() {
    for raw in [
        with(""),
        with(r#","queue":null,"at":null,"custom":null,"retry":null"#),
        with(r#","queue":"","at":"""#),
    ] {
        let job = Job::parse(&raw, MAX).unwrap();
        assert_eq!((&*job.queue, job.priority, job.at), ("default", None, None));
        assert_eq!(
            (job.reserve_seconds, job.retry, job.backtrace_lines),
            (1800, Retry::Times(25), 0)
        );
        assert_eq!(job.custom, Custom::default());
        assert!(job.failure().unwrap().is_none() && !job.has_created_at());
    }
    let raw = with(concat!(
        r#","queue":"a.b-c_d","priority":9,"reserve_for":86400,"at":"2026-03-01T13:00:00.5+01:00","#,
        r#""retry":3,"backtrace":20,"created_at":"2026-03-01T12:00:00Z","custom":{"unique_for":60.0,"#,
        r#""unique_until":"start","expires_at":"2026-03-02T00:00:00Z","expires_in":1.2,"track":1,"#,
        r#""bid":"b-1","group":"acme","tags":["eu","b\u0069ll"],"x":[{}]},"failure":{"retry_count":2,"remaining":1,"message":"m","errtype":"e","#,
        r#""failed_at":"2026-03-01T11:00:00Z","next_at":"","backtrace":["l1","l2"]},"mine":{"a":[1.50]}"#
    ));
    let job = Job::parse(&raw, MAX).unwrap();
    assert_eq!((&*job.queue, job.priority, job.reserve_seconds), ("a.b-c_d", Some(9), 86_400));
    assert_eq!(job.at, Some("2026-03-01T12:00:00.5Z".parse().unwrap()));
    assert_eq!((job.retry, job.backtrace_lines), (Retry::Times(3), 20));
    assert!(job.has_created_at());
    assert_eq!(
        job.custom,
        Custom {
            unique_for: Some(Duration::from_secs(60)),
            unique_until: UniqueUntil::Start,
            expires_at: Some("2026-03-02T00:00:00Z".parse().unwrap()),
            expires_in: Some(Duration::from_secs(2)),
            track: true,
            bid: Some("b-1".into()),
            group: Some("acme".into()),
            tags: vec!["eu".into(), "bill".into()],
        }
    );
    let failure = job.failure().unwrap().unwrap();
    assert_eq!((failure.retry_count, failure.remaining, failure.next_at), (2, 1, None));
    assert_eq!(failure.backtrace, ["l1", "l2"]);
    assert_eq!(job.raw, raw);
}

#[test]
fn tags_out_of_bounds_are_refused() {
    let tags = |tags: &str| {
        Job::parse(&with(&format!(r#","custom":{{"tags":{tags}}}"#)), MAX)
            .map(|job| job.custom.tags.len())
    };
    let many = |count: usize| format!("[{}]", vec![r#""t""#; count].join(","));
    assert_eq!([tags("null").unwrap(), tags("[]").unwrap(), tags(&many(16)).unwrap()], [0, 0, 16]);
    let long = format!(r#"["{}"]"#, "x".repeat(65));
    for bad in [&many(17), &long, r#"[""]"#, r#"["a",7]"#, r#""eu""#, r#"{"eu":1}"#] {
        let error = tags(bad).unwrap_err().to_string();
        assert!(error.contains("custom.tags"), "{error}");
    }
}

#[test]
fn numbers_mean_what_the_protocol_says() {
    let reserve = |n: &str| {
        Job::parse(&with(&format!(r#","reserve_for":{n}"#)), MAX).map(|job| job.reserve_seconds)
    };
    assert_eq!(reserve("0").unwrap(), 1800);
    assert_eq!([reserve("1").unwrap(), reserve("59").unwrap(), reserve("60").unwrap()], [60; 3]);
    assert_eq!(reserve("61").unwrap(), 61);
    assert_eq!(reserve("86400").unwrap(), 86_400);
    assert!(reserve("86401").is_err() && reserve("-1").is_err() && reserve("1.5").is_err());
    let retry = |n: &str| Job::parse(&with(&format!(r#","retry":{n}"#)), MAX).map(|job| job.retry);
    assert_eq!(retry("0").unwrap(), Retry::Never);
    assert_eq!(retry("-1").unwrap(), Retry::Bury);
    assert_eq!(retry("1").unwrap(), Retry::Times(1));
    assert!(retry("4294967296").is_err());
}

#[test]
fn what_is_not_right_is_refused_with_the_reason() {
    refused("", "JSON object");
    refused("[]", "JSON object");
    refused(r#"["0123456789","mail",[]]"#, "JSON object");
    refused("{", "EOF");
    refused("{}", "`jobtype`");
    refused(r#"{"jobtype":"a","args":[]}"#, "`jid`");
    refused(r#"{"jid":"1234567","jobtype":"a","args":[]}"#, "8 characters");
    refused(r#"{"jid":"ééééééé","jobtype":"a","args":[]}"#, "8 characters");
    refused(&format!(r#"{{"jid":"{}","jobtype":"a","args":[]}}"#, "x".repeat(256)), "255 bytes");
    refused(r#"{"jid":"12345678","args":[]}"#, "`jobtype`");
    refused(r#"{"jid":"12345678","jobtype":"","args":[]}"#, "empty");
    refused(r#"{"jid":"12345678","jobtype":"a"}"#, "`args`");
    refused(r#"{"jid":"12345678","jobtype":"a","args":null}"#, "`args`");
    refused(r#"{"jid":"12345678","jobtype":"a","args":{}}"#, "array");
    refused(r#"{"jid":"12345678","jid":"12345679","jobtype":"a","args":[]}"#, "duplicate");
    refused(&(with("") + "x"), "trailing");
    refused(&with(r#","queue":"a b""#), "white space");
    refused(&with(r#","queue":"*""#), "all queues");
    refused(&with(r#","priority":10"#), "0 to 9");
    refused(&with(r#","mine":[1,]"#), "not a valid");
    refused(&with(r#","custom":{"unique_until":"never"}"#), "success");
    refused(&with(r#","custom":{"unique_for":-1}"#), "negative");
    refused(&with(r#","custom":{"unique_for":1e12}"#), "ten years");
    for at in [
        "tomorrow",
        "2026-03-01",
        "2026-03-01T12:00:00",
        "2026-03-01T25:00:00Z",
        "2026-03-01 12:00:00Z",
        "+002026-03-01T12:00:00Z",
    ] {
        refused(&with(&format!(r#","at":"{at}""#)), "RFC 3339");
    }
    let long = with(&format!(r#","mine":"{}""#, "x".repeat(MAX)));
    assert!(matches!(Job::parse(&long, MAX), Err(JobError::TooLarge { .. })));
    assert!(Job::parse(&long, long.len()).is_ok());
    assert!(Job::parse(&with(r#","failure":[]"#), MAX).unwrap().failure().is_err());
}

#[test]
fn edits_leave_all_other_bytes_alone() {
    let at = |text: &str| Some(text.parse().unwrap());
    let failure = Failure { message: "a \"b\"\n".into(), ..Failure::default() };
    let edits = Edits {
        at: at("2026-01-01T00:00:00Z"),
        created_at: None,
        enqueued_at: at("2026-01-01T00:00:00.000000001Z"),
        failure: Some(&failure),
    };
    let check = |raw: &str, expected: &str| {
        let mut out = b"before".to_vec();
        Job::parse(raw, MAX).unwrap().write_with(edits, &mut out);
        assert_eq!(std::str::from_utf8(&out).unwrap(), format!("before{expected}"));
        assert!(Job::parse(expected, MAX).is_ok(), "{expected}");
    };
    let f = r#"{"retry_count":0,"remaining":0,"message":"a \"b\"\n"}"#;
    check(
        r#"{"jid":"12345678","jobtype":"a","args":[1.0, "é" ], "u":1e400}"#,
        &format!(
            r#"{{"jid":"12345678","jobtype":"a","args":[1.0, "é" ], "u":1e400,"at":"2026-01-01T00:00:00Z","enqueued_at":"2026-01-01T00:00:00.000000001Z","failure":{f}}}"#
        ),
    );
    // In place, whatever stood there, in any order, also under an escaped name.
    check(
        r#" {"failure" : {"x":1} ,"args":[],"enqueued_at":null,"jid":"12345678","at":"","jobtype":"a" } "#,
        &format!(
            r#"{{"failure" : {f} ,"args":[],"enqueued_at":"2026-01-01T00:00:00.000000001Z","jid":"12345678","at":"2026-01-01T00:00:00Z","jobtype":"a" }}"#
        ),
    );
    check(
        r#"{"\u0066ailure":1,"args":[],"jid":"12345678","jobtype":"a"}"#,
        &format!(
            r#"{{"\u0066ailure":{f},"args":[],"jid":"12345678","jobtype":"a","at":"2026-01-01T00:00:00Z","enqueued_at":"2026-01-01T00:00:00.000000001Z"}}"#
        ),
    );
    let raw = with(r#" , "x" : 1 "#);
    let mut out = Vec::new();
    Job::parse(&raw, MAX).unwrap().write_with(Edits::default(), &mut out);
    assert_eq!(out, raw.as_bytes());
}

#[test]
fn a_template_is_given_its_jid() {
    let template = Template::parse(r#"{"jobtype":"a","args":[]}"#, MAX).unwrap();
    let mut out = b"x".to_vec();
    template.write_job("12\"45678", Edits::default(), &mut out);
    assert_eq!(out, br#"x{"jid":"12\"45678","jobtype":"a","args":[]}"#);
    assert_eq!(Job::parse(std::str::from_utf8(&out[1..]).unwrap(), MAX).unwrap().jid, "12\"45678");
    for bad in [with(""), r#"{"jobtype":"a","args":[],"at":null}"#.to_owned()] {
        assert!(Template::parse(&bad, MAX).is_err(), "{bad}");
    }
}

#[test]
fn texts_are_borrowed_unless_they_have_escapes() {
    let raw = with(r#","queue":"\u0061""#);
    let job = Job::parse(&raw, MAX).unwrap();
    assert!(matches!(job.jid, Cow::Borrowed(_)) && matches!(job.jobtype, Cow::Borrowed(_)));
    assert!(matches!(job.queue, Cow::Owned(_)));
    assert_eq!(job.queue, "a");
}

#[test]
fn a_new_job_is_one_that_is_taken() {
    let custom = RawValue::from_string(r#"{"track":1}"#.to_owned()).unwrap();
    let new = NewJob {
        queue: Some("q".into()),
        priority: Some(7),
        reserve_seconds: Some(90),
        at: Some("2026-01-01T00:00:00Z".parse().unwrap()),
        retry: Some(-1),
        custom: Some(Cow::Owned(custom)),
        ..NewJob::new("12345678", "a\"\n").with_args("[1, 2]").unwrap()
    };
    let json = new.to_json();
    let job = Job::parse(std::str::from_utf8(&json).unwrap(), MAX).unwrap();
    assert_eq!((&*job.jobtype, job.args, &*job.queue), ("a\"\n", "[1, 2]", "q"));
    assert_eq!((job.priority, job.reserve_seconds, job.retry), (Some(7), 90, Retry::Bury));
    assert_eq!((job.at, job.custom.track), (new.at, true));
}
