//! The life of a job as clients see it.

use tickwheel_protocol::request::Fail;

use super::server::{Server, Start, folder, jid, jid_of, job};

#[test]
fn a_job_is_pushed_once_fetched_as_it_came_and_acknowledged() {
    let folder = folder();
    let server = Server::start(folder.path());
    let mut producer = server.producer();
    let raw = r#"{"jid":"12345678","jobtype":"a","args":[1.0,{"b":"\u00e4"}],"mine":{"x":1e400},"created_at":"c","enqueued_at":"e"}"#;
    producer.push(raw.as_bytes()).unwrap();
    // The same again while it lives is no error and no second job.
    producer.push(raw.as_bytes()).unwrap();
    let mut worker = server.worker("worker-1");
    assert_eq!(worker.fetch(&["default"]).unwrap().unwrap(), raw.as_bytes());
    assert_eq!(
        server.open().ask("TRACK GET 12345678"),
        r#"{"jid":"12345678","state":"working","updated_at":""}"#
    );
    worker.ack("12345678").unwrap();
    worker.ack("12345678").unwrap();
    assert_eq!(
        server.open().ask("TRACK GET 12345678"),
        r#"{"jid":"12345678","state":"unknown","updated_at":""}"#
    );
    assert_eq!(worker.fetch(&["default"]).unwrap(), None);
    server.end();
}

#[test]
fn groups_of_a_queue_take_turns_and_the_jobs_without_one_are_one_more() {
    let folder = folder();
    let server = Server::start(folder.path());
    let mut client = server.open();
    let of = |group: &str| format!(r#","custom":{{"group":"{group}"}}"#);
    for (number, more) in
        [(1, of("acme")), (2, of("acme")), (3, of("acme")), (4, of("bolt")), (5, String::new())]
    {
        assert_eq!(client.ask(&format!("PUSH {}", job(number, &more))), "+OK");
    }
    for number in [1, 4, 5, 2, 3] {
        assert_eq!(jid_of(client.ask("FETCH default").as_bytes()), jid(number));
    }
    let long = client.ask(&format!("PUSH {}", job(6, &of(&"g".repeat(256)))));
    assert!(long.starts_with("-ERR"), "{long}");
    server.end();
}

#[test]
fn queues_are_taken_in_their_order_and_priorities_within_one() {
    let folder = folder();
    let server = Server::start(folder.path());
    let mut client = server.open();
    for (number, more) in [
        (1, r#","queue":"low""#),
        (2, r#","queue":"high","priority":1"#),
        (3, r#","queue":"high","priority":9"#),
        (4, r#","queue":"other""#),
    ] {
        assert_eq!(client.ask(&format!("PUSH {}", job(number, more))), "+OK");
    }
    for number in [3, 2, 1] {
        assert_eq!(jid_of(client.ask("FETCH high low").as_bytes()), jid(number));
    }
    assert_eq!(client.ask("QUEUE PAUSE other"), "+OK");
    assert_eq!(client.ask(r#"FETCHB {"n":9,"wait_ms":10,"queues":["other"]}"#), "[]");
    assert_eq!(client.ask("QUEUE RESUME *"), "+OK");
    assert_eq!(jid_of(client.ask("FETCH other").as_bytes()), jid(4));
    let info: serde_json::Value = serde_json::from_str(&client.ask("INFO")).unwrap();
    assert_eq!(info["faktory"]["queues"], serde_json::json!({"high":0,"low":0,"other":0}));
    assert_eq!(info["faktory"]["sets"]["working"], 4);
    assert_eq!(info["server"]["faktory_version"], "1.9.0");
}

#[test]
fn a_failure_stands_in_the_job_when_it_comes_again_and_its_retries_end() {
    let folder = folder();
    let config = "[work]\nbackoff = \"100ms\"\n";
    let server = Server::with(folder.path(), &Start { config, ..Start::default() });
    let mut worker = server.worker("worker-1");
    let raw = job(1, r#","retry":1,"backtrace":1,"mine":"kept""#);
    worker.push(raw.as_bytes()).unwrap();
    assert_eq!(jid_of(&worker.fetch(&["default"]).unwrap().unwrap()), jid(1));
    let jid = jid(1);
    let fail =
        Fail { jid: &jid, errtype: "Timeout", message: "no \"route\"", backtrace: &["a", "b"] };
    worker.fail(&fail).unwrap();
    let state = server.open().ask(&format!("TRACK GET {jid}"));
    assert!(state.contains(r#""state":"failed""#), "{state}");
    // It comes again after its back-off.
    let again = loop {
        if let Some(job) = worker.fetch(&["default"]).unwrap() {
            break job;
        }
    };
    let again: serde_json::Value = serde_json::from_slice(&again).unwrap();
    let failure = &again["failure"];
    assert_eq!((&again["mine"], &failure["message"]), (&"kept".into(), &"no \"route\"".into()));
    assert_eq!((&failure["retry_count"], &failure["remaining"]), (&0.into(), &1.into()));
    assert_eq!(
        (&failure["errtype"], &failure["backtrace"]),
        (&"Timeout".into(), &serde_json::json!(["a"]))
    );
    worker.fail(&fail).unwrap();
    let refused = worker.fail(&fail).unwrap_err().to_string();
    assert!(refused.contains("Job not found"), "{refused}");
    let unknown = Fail { jid: "never seen", ..Fail::default() };
    let refused = worker.fail_batch(&[unknown]).unwrap();
    assert_eq!(
        refused.into_iter().collect::<Vec<_>>(),
        [("never seen".to_owned(), "Job not found never seen".to_owned())]
    );
    let state = server.open().ask(&format!("TRACK GET {jid}"));
    assert!(state.contains(r#""state":"dead""#), "{state}");
}

#[test]
fn batches_are_taken_in_part_and_fetched_whole() {
    let folder = folder();
    let server = Server::with(folder.path(), &Start::default());
    let mut worker = server.worker("worker-1");
    let mut jobs: Vec<String> = (0..1000).map(|number| job(number, "")).collect();
    jobs[7] = r#"{"jid":"job-no-args","jobtype":"a"}"#.to_owned();
    jobs[8] = job(8, r#","custom":{"bid":"b-none"}"#);
    let refused = worker.push_batch(&jobs).unwrap();
    let refused: std::collections::BTreeMap<String, String> = refused.into_iter().collect();
    assert_eq!(refused.len(), 2, "{refused:?}");
    assert!(refused["job-no-args"].contains("args"));
    assert_eq!(refused[&jid(8)], "No such batch b-none");
    let mut seen = Vec::new();
    while seen.len() < 998 {
        let got = worker.fetch_batch(&["default"], 256, std::time::Duration::from_secs(2)).unwrap();
        assert!(!got.is_empty() && got.len() <= 256);
        let jids: Vec<String> = got.iter().map(|job| jid_of(job.get().as_bytes())).collect();
        let names: Vec<&str> = jids.iter().map(String::as_str).collect();
        assert!(worker.ack_batch(&names).unwrap().is_empty());
        seen.extend(jids);
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 998);
}

#[test]
fn leases_are_extended_jobs_cancelled_and_what_is_missing_is_refused_clearly() {
    let folder = folder();
    let server = Server::start(folder.path());
    let mut client = server.open();
    assert_eq!(client.ask(&format!("PUSH {}", job(1, ""))), "+OK");
    assert_eq!(
        client.ask(r#"EXTEND {"jid":"job-00000001","seconds":60}"#),
        "-ERR Job not found job-00000001"
    );
    assert_eq!(jid_of(client.ask("FETCH default").as_bytes()), jid(1));
    assert_eq!(client.ask(r#"EXTEND {"jid":"job-00000001","seconds":60}"#), "+OK");
    assert_eq!(client.ask(r#"CANCEL {"jid":"job-00000001"}"#), "+OK");
    assert_eq!(client.ask(r#"CANCEL {"jid":"job-00000001"}"#), "-ERR Job not found job-00000001");
    for (line, answer) in [
        ("FETCH", "-ERR FETCH takes"),
        ("FLUSH", "-ERR FLUSH is not allowed by the configuration"),
        (r#"MUTATE {"cmd":"clear","target":"living"}"#, "-ERR MUTATE: `target`"),
        ("BATCH STATUS b-12345678", "-ERR No such batch b-12345678"),
        (r#"TRACK SET {"jid":"12345678","percent":1}"#, "-ERR Job not found 12345678"),
        (r#"HELLO {"v":2}"#, "-ERR HELLO was said already"),
        (r#"BEAT {"wid":"nobody"}"#, "-ERR Unknown worker nobody"),
        (
            r#"PUSH {"jid":"12345678","jobtype":"a","args":[],"custom":{"bid":"b"}}"#,
            "-ERR No such batch b",
        ),
        (
            r#"PUSH {"jid":"12345678","jobtype":"a","args":[],"reserve_for":86401}"#,
            "-ERR the job's `reserve_for`",
        ),
        (
            r#"PUSH {"jid":"12345678","jobtype":"a","args":[],"at":"2500-01-01T00:00:00Z"}"#,
            "-ERR the due time",
        ),
    ] {
        let got = client.ask(line);
        assert!(got.starts_with(answer), "{line}: {got}");
    }
    assert_eq!(client.ask(&format!("PUSH {}", job(2, ""))), "+OK");
}

#[test]
fn a_job_that_nobody_begins_in_time_is_gone() {
    let folder = folder();
    let server = Server::start(folder.path());
    let mut client = server.open();
    let past = r#","custom":{"expires_at":"2020-01-01T00:00:00Z"}"#;
    assert!(client.ask(&format!("PUSH {}", job(0, past))).starts_with("-ERR"));
    // The first is begun in time. On a machine too slow for that the next two have longer.
    let in_time = [1, 5, 20].into_iter().zip([1, 3, 5]).find(|&(seconds, first)| {
        let expires = format!(r#","custom":{{"expires_in":{seconds}}}"#);
        assert_eq!(client.ask(&format!("PUSH {}", job(first, &expires))), "+OK");
        let fetched = client.ask("FETCH default");
        let is_in_time = fetched != "$-1";
        if is_in_time {
            assert_eq!(jid_of(fetched.as_bytes()), jid(first));
            assert_eq!(client.ask(&format!("PUSH {}", job(first + 1, &expires))), "+OK");
        }
        is_in_time
    });
    let (seconds, first) = in_time.expect("a job is there until it expires");
    std::thread::sleep(std::time::Duration::from_millis(1000 * seconds + 500));
    assert_eq!(client.ask(r#"FETCHB {"n":9,"wait_ms":0,"queues":["default"]}"#), "[]");
    // What was begun in time stays its worker's.
    assert!(client.ask(&format!("TRACK GET {}", jid(first))).contains("working"));
    assert!(client.ask(&format!("TRACK GET {}", jid(first + 1))).contains("unknown"));
    server.end();
}

#[test]
fn a_job_of_the_future_comes_in_its_time_to_whoever_waits() {
    let folder = folder();
    let server = Server::start(folder.path());
    let mut client = server.open();
    let at = jiff::Timestamp::from_nanosecond(
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos()
            as i128
            + 300_000_000,
    )
    .unwrap();
    assert_eq!(client.ask(&format!("PUSH {}", job(1, &format!(r#","at":"{at}""#)))), "+OK");
    // On a slow machine it may be time already.
    let mut reply = client.ask(r#"FETCHB {"n":1,"wait_ms":0,"queues":["default"]}"#);
    if reply == "[]" {
        reply = client.fetch("default");
    }
    assert!(reply.contains(&jid(1)), "{reply}");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    assert!(now.as_nanos() as i128 >= at.as_nanosecond(), "it came early");
}
