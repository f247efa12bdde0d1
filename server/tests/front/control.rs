//! Schedules, progress, workers and queues as clients see them.

use std::{thread, time::Duration};

use serde_json::{Value, json};

use super::server::{Raw, Server, Start, folder, jid, jid_of, job};

fn value(raw: &mut Raw, line: &str) -> Value {
    let reply = raw.ask(line);
    serde_json::from_str(&reply).unwrap_or_else(|_| panic!("{line}: {reply}"))
}

#[test]
fn schedules_add_jobs_that_workers_fetch_fail_and_acknowledge() {
    let folder = folder();
    let config = "[work]\nbackoff = \"100ms\"\n";
    let server = Server::with(folder.path(), &Start { config, ..Start::default() });
    let mut client = server.open();
    let put = r#"CRON PUT {"name":"pulse","every_ms":3600000,"overlap":"skip","job":{"jobtype":"beat","args":[1.0],"queue":"clock","retry":1,"mine":true}}"#;
    assert_eq!(client.ask(put), "+OK");
    assert_eq!(client.ask("CRON RUN pulse"), "+OK");
    let first = client.ask("FETCH clock");
    let fetched: Value = serde_json::from_str(&first).unwrap();
    let name = fetched["jid"].as_str().unwrap().to_owned();
    assert_eq!(
        first,
        format!(
            r#"{{"jid":"{name}","jobtype":"beat","args":[1.0],"queue":"clock","retry":1,"mine":true}}"#
        )
    );
    assert!(client.ask(&format!("TRACK GET {name}")).contains("working"));
    assert!(client.ask("CRON RUN pulse").contains("-ERR"), "the run before has not ended");
    assert_eq!(client.ask(&format!(r#"FAIL {{"jid":"{name}","message":"no"}}"#)), "+OK");
    let again: Value = serde_json::from_str(&client.fetch("clock")).unwrap();
    assert_eq!((&again["jid"], &again["failure"]["message"]), (&json!(name), &json!("no")));
    assert_eq!(client.ask(&format!(r#"EXTEND {{"jid":"{name}","seconds":90}}"#)), "+OK");
    assert_eq!(client.ask(&format!(r#"ACK {{"jid":"{name}"}}"#)), "+OK");
    assert!(client.ask(&format!("TRACK GET {name}")).contains("unknown"));
    assert_eq!(client.ask("CRON RUN pulse"), "+OK");
    assert_ne!(jid_of(client.ask("FETCH clock").as_bytes()), name);
    // Nobody takes the name of such a job.
    let stolen = format!(r#"PUSH {{"jid":"{name}","jobtype":"a","args":[]}}"#);
    assert!(client.ask(&stolen).starts_with("-ERR a jid of this form"));
    let shown = value(&mut client, "CRON GET pulse");
    assert_eq!(shown["schedule"]["job"]["mine"], true);
    assert_eq!((&shown["fired"], &shown["pending"]), (&json!(2), &json!(1)), "{shown}");
    server.end();
}

#[test]
fn schedules_fire_pause_and_outlive_the_server() {
    let folder = folder();
    let server = Server::start(folder.path());
    let mut client = server.open();
    let put = |name: &str, more: &str| {
        format!(
            r#"CRON PUT {{"name":"{name}",{more},"job":{{"jobtype":"a","args":[],"queue":"q"}}}}"#
        )
    };
    assert_eq!(client.ask(&put("fast", r#""every_ms":100,"runs":2"#)), "+OK");
    for _ in 0..2 {
        assert!(client.fetch("q").contains(r#""jobtype":"a""#));
    }
    assert_eq!(client.ask(r#"FETCHB {"n":9,"wait_ms":300,"queues":["q"]}"#), "[]");
    // One that is due at once and begins paused is not added.
    let once = r#""at":"2020-01-01T00:00:00Z","paused":true"#;
    assert_eq!(client.ask(&put("once", once)), "+OK");
    assert_eq!(client.ask(r#"FETCHB {"n":9,"wait_ms":300,"queues":["q"]}"#), "[]");
    assert_eq!(client.ask("CRON RESUME once"), "+OK");
    assert!(client.fetch("q").contains(r#""jobtype":"a""#));
    let nightly = r#""cron":"30 2 * * *","zone":"Europe/Paris""#;
    assert_eq!(client.ask(&put("nightly", nightly)), "+OK");
    assert_eq!(client.ask("CRON PAUSE nightly"), "+OK");
    assert_eq!(value(&mut client, "CRON NEXT nightly"), json!([]), "it is paused");
    server.kill();

    let server = Server::start(folder.path());
    let mut client = server.open();
    let list = value(&mut client, "CRON LIST");
    let names: Vec<&Value> = list.as_array().unwrap().iter().map(|shown| &shown["name"]).collect();
    assert_eq!(names, ["fast", "nightly", "once"]);
    assert_eq!(list[1]["paused"]["note"], "by a client");
    assert_eq!(client.ask("CRON RESUME nightly"), "+OK");
    let next = value(&mut client, "CRON NEXT nightly 3");
    assert_eq!(next.as_array().unwrap().len(), 3);
    for time in next.as_array().unwrap() {
        let time = time.as_str().unwrap();
        assert!(time.contains("T02:30:00+0") && time.len() == 25, "{time}");
    }
    assert_eq!(client.ask("CRON DEL nightly"), "+OK");
    assert_eq!(client.ask("CRON GET nightly"), "-ERR No such schedule nightly");
    server.end();
}

#[test]
fn fire_times_that_are_past_are_told_and_made_up_for() {
    let folder = folder();
    let server = Server::start(folder.path());
    let mut client = server.open();
    let put = |name: &str, more: &str| {
        let job = r#""job":{"jobtype":"a","args":[],"queue":"q"}"#;
        let timing = r#""cron":"30 2 * * *","zone":"Europe/Paris","paused":true"#;
        format!(r#"CRON PUT {{"name":"{name}",{timing},{more}{job}}}"#)
    };
    assert_eq!(client.ask(&put("nightly", "")), "+OK");
    let of = |name: &str| format!("CRON BACKFILL {name} 2020-01-01T00:00:00Z 2020-01-02T23:00:00Z");
    let times = json!(["2020-01-01T02:30:00+01:00", "2020-01-02T02:30:00+01:00"]);
    assert_eq!(value(&mut client, &format!("{} PREVIEW", of("nightly"))), times);
    assert_eq!(client.ask(r#"FETCHB {"n":9,"wait_ms":100,"queues":["q"]}"#), "[]");
    let done = json!({"added": 2, "stopped_at": null, "reason": null});
    assert_eq!(value(&mut client, &of("nightly")), done);
    let jobs = value(&mut client, r#"FETCHB {"n":9,"wait_ms":60000,"queues":["q"]}"#);
    assert_eq!(jobs.as_array().unwrap().len(), 2, "{jobs}");
    assert_eq!(value(&mut client, "CRON GET nightly")["fired"], 2);
    // A limit of runs stops it: what was added stays.
    assert_eq!(client.ask(&put("once", r#""runs":1,"#)), "+OK");
    let done = value(&mut client, &of("once"));
    assert_eq!((&done["added"], &done["stopped_at"]), (&json!(1), &times[1]), "{done}");
    assert!(done["reason"].is_string(), "{done}");
    assert_eq!(client.ask(&put("alone", r#""overlap":"skip","#)), "+OK");
    assert!(client.ask(&of("alone")).starts_with("-ERR"), "its runs must not overlap");
    assert_eq!(client.ask(&of("nobody")), "-ERR No such schedule nobody");
    server.kill();
}

#[test]
fn schedules_that_make_no_sense_are_refused_and_change_nothing() {
    let folder = folder();
    let config = "[[schedule]]\nname = \"own\"\nevery = \"1h\"\ncommand = [\"true\"]\n";
    let server = Server::with(folder.path(), &Start { config, ..Start::default() });
    let mut client = server.open();
    for (more, answer) in [
        (r#""cron":"61 * * * *""#, "-ERR"),
        (r#""cron":"* * * * *","zone":"Mars""#, "-ERR"),
        (r#""every_ms":5,"zone":"UTC""#, "-ERR `zone` belongs to `cron`"),
        (r#""every_ms":5,"overlap":"never""#, "-ERR CRON PUT: `overlap`"),
        (r#""every_ms":5,"runs":0"#, "-ERR CRON PUT: `runs`"),
        (r#""every_ms":5,"starts":"tomorrow""#, "-ERR CRON PUT: `starts`"),
        (r#""every_ms":5,"jid":"12345678""#, "-ERR a schedule has no `jid`"),
        (r#""at":"2030-01-01T00:00:00Z","runs":2"#, "-ERR"),
        (r#""every_ms":5,"jitter_ms":86400001"#, "-ERR"),
    ] {
        let line = format!(r#"CRON PUT {{"name":"n",{more},"job":{{"jobtype":"a","args":[]}}}}"#);
        let got = client.ask(&line);
        assert!(got.starts_with(answer), "{line}: {got}");
    }
    // The server's own are out of reach.
    for line in ["CRON GET own", "CRON DEL own", "CRON RUN own", "CRON PAUSE own", "CRON NEXT own"]
    {
        assert_eq!(client.ask(line), "-ERR No such schedule own", "{line}");
    }
    assert_eq!(client.ask("CRON LIST"), "[]");
    server.end();
}

#[test]
fn progress_is_shown_while_a_job_lives_and_its_end_when_it_was_asked_for() {
    let folder = folder();
    let server = Server::start(folder.path());
    let mut client = server.open();
    let tracked = r#","retry":0,"custom":{"track":1}"#;
    for number in 1..=2 {
        assert_eq!(client.ask(&format!("PUSH {}", job(number, tracked))), "+OK");
    }
    assert_eq!(client.ask(&format!("PUSH {}", job(3, ""))), "+OK");
    let set =
        |number: usize, more: &str| format!(r#"TRACK SET {{"jid":"{}",{more}}}"#, jid(number));
    let get = |number: usize| format!("TRACK GET {}", jid(number));
    assert!(client.ask(&set(1, r#""percent":1"#)).starts_with("-ERR Job not found"));
    for number in 1..=3 {
        assert_eq!(jid_of(client.ask("FETCH default").as_bytes()), jid(number));
    }
    assert_eq!(client.ask(&set(1, r#""percent":40,"desc":"half""#)), "+OK");
    assert_eq!(
        client.ask(&set(1, r#""percent":50,"reserve_until":"2100-01-01T00:00:00Z""#)),
        "+OK"
    );
    let state = value(&mut client, &get(1));
    assert_eq!(
        (&state["state"], &state["percent"], &state["desc"]),
        (&json!("working"), &json!(50), &json!("half"))
    );
    assert!(state["updated_at"].as_str().unwrap().starts_with("20"));
    assert_eq!(client.ask(&format!(r#"ACKB ["{}","{}"]"#, jid(3), jid(1))), "{}");
    assert_eq!(client.ask(&format!(r#"FAIL {{"jid":"{}"}}"#, jid(2))), "+OK");
    assert_eq!(value(&mut client, &get(1))["state"], "success");
    assert_eq!(value(&mut client, &get(2))["state"], "dead");
    // Nobody asked for this one.
    assert_eq!(value(&mut client, &get(3))["state"], "unknown");
    server.end();
}

#[test]
fn the_latency_of_a_queue_is_the_wait_of_its_oldest_job() {
    let folder = folder();
    let server = Server::start(folder.path());
    let mut client = server.open();
    assert_eq!(client.ask(&format!("PUSH {}", job(1, r#","queue":"a""#))), "+OK");
    thread::sleep(Duration::from_millis(300));
    let urgent = r#","queue":"a","priority":9"#;
    assert_eq!(client.ask(&format!("PUSH {}", job(2, urgent))), "+OK");
    let waits = value(&mut client, "QUEUE LATENCY a none");
    assert!(waits["a"].as_f64().unwrap() >= 0.3 && waits["a"].as_f64().unwrap() < 60.0, "{waits}");
    assert_eq!(waits["none"], 0.0);
    for number in [2, 1] {
        assert_eq!(jid_of(client.ask("FETCH a").as_bytes()), jid(number));
    }
    assert_eq!(value(&mut client, "QUEUE LATENCY a")["a"], 0.0);
    server.end();
}

#[test]
fn workers_are_listed_with_what_they_have_and_told_to_be_quiet_and_to_end() {
    let folder = folder();
    let server = Server::start(folder.path());
    let mut worker = server.raw();
    worker.line();
    let hello =
        r#"HELLO {"v":2,"wid":"w-12345678","hostname":"mail-1","pid":8134,"labels":["rust"]}"#;
    assert_eq!(worker.ask(hello), "+OK");
    let beat = r#"BEAT {"wid":"w-12345678","current_state":"","rss_kb":77}"#;
    assert_eq!(worker.ask(beat), "+OK");
    let mut client = server.open();
    for number in 0..3 {
        assert_eq!(client.ask(&format!("PUSH {}", job(number, ""))), "+OK");
        assert_eq!(jid_of(worker.ask("FETCH default").as_bytes()), jid(number));
    }
    // The end of a job may be told on another connection of the worker; that of nobody counts for none.
    assert_eq!(worker.ask(&format!(r#"ACK {{"jid":"{}"}}"#, jid(0))), "+OK");
    assert_eq!(worker.ask(&format!(r#"FAIL {{"jid":"{}"}}"#, jid(1))), "+OK");
    assert_eq!(worker.ask(r#"ACK {"jid":"never-there"}"#), "+OK");
    let listed = &value(&mut client, "WORKER LIST")[0];
    assert_eq!(listed["wid"], "w-12345678");
    assert_eq!((&listed["hostname"], &listed["pid"]), (&json!("mail-1"), &json!(8134)));
    assert_eq!((&listed["labels"], &listed["jobs"]), (&json!(["rust"]), &json!(1)), "{listed}");
    assert_eq!((&listed["rss_kb"], &listed["connections"]), (&json!(77), &json!(1)));
    assert_eq!(client.ask("WORKER QUIET nobody"), "-ERR Unknown worker nobody");
    assert_eq!(client.ask("WORKER QUIET w-12345678"), "+OK");
    assert_eq!(worker.ask(beat), r#"{"state":"quiet"}"#);
    assert_eq!(client.ask("WORKER TERMINATE *"), "+OK");
    assert_eq!(worker.ask(beat), r#"{"state":"terminate"}"#);
    assert_eq!(value(&mut client, "INFO")["server"]["workers"], 1);
    // The end would wait for what it has.
    assert_eq!(worker.ask(&format!(r#"ACK {{"jid":"{}"}}"#, jid(2))), "+OK");
    server.end();
}
