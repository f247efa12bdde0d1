//! SIGHUP, limits of queues and schedules for workers from the configuration.

use std::{fs, time::Duration};

use rustix::process::Signal;
use serde_json::{Value, json};
use tickwheel_protocol::{Client, ClientOptions, Password};

use super::server::{Raw, Server, Start, folder, jid, jid_of, job};

const WORKER_SCHEDULE: &str = r#"
[[schedule]]
name = "digest"
every = "1h"
kind = "send_digest"
args = ["weekly", 7, true, { to = "team" }]
queue = "mail"
timeout = "90s"
retries = 2
priority = 8
overlap = "skip"
"#;

fn value(raw: &mut Raw, line: &str) -> Value {
    let reply = raw.ask(line);
    serde_json::from_str(&reply).unwrap_or_else(|_| panic!("{line}: {reply}"))
}

#[test]
fn schedules_of_the_configuration_make_jobs_for_workers() {
    let folder = folder();
    let start = Start { config: WORKER_SCHEDULE, ..Start::default() };
    let server = Server::with(folder.path(), &start);
    let mut client = server.open();
    assert_eq!(client.ask("CRON RUN digest"), "+OK");
    let fetched = value(&mut client, "FETCH mail");
    let name = fetched["jid"].as_str().unwrap().to_owned();
    assert_eq!(fetched["jobtype"], "send_digest");
    assert_eq!(fetched["args"], json!(["weekly", 7, true, { "to": "team" }]));
    assert_eq!((&fetched["reserve_for"], &fetched["retry"]), (&json!(90), &json!(2)));
    assert!(client.ask("CRON RUN digest").starts_with("-ERR"), "the run before has not ended");
    assert_eq!(client.ask(&format!(r#"ACK {{"jid":"{name}"}}"#)), "+OK");
    let shown = value(&mut client, "CRON GET digest");
    assert_eq!(shown["origin"], "configuration");
    assert_eq!(shown["schedule"]["every_ms"], 3_600_000);
    for line in [
        "CRON DEL digest",
        r#"CRON PUT {"name":"digest","every_ms":9,"job":{"jobtype":"a","args":[]}}"#,
    ] {
        let got = client.ask(line);
        assert!(got.contains("configuration"), "{got}");
    }
    // One that a client put outlives a start whose configuration does not know it.
    let put = r#"CRON PUT {"name":"mine","every_ms":3600000,"job":{"jobtype":"a","args":[]}}"#;
    assert_eq!(client.ask(put), "+OK");
    server.end();
    fs::remove_file(folder.path().join("t.toml")).unwrap();
    let server = Server::start(folder.path());
    let list = value(&mut server.open(), "CRON LIST");
    assert_eq!((list.as_array().unwrap().len(), &list[0]["name"]), (1, &json!("mine")), "{list}");
    server.end();
}

#[test]
fn queues_keep_to_their_configured_limits_and_lose_them_with_the_configuration() {
    let folder = folder();
    let config = "[[queue]]\nname = \"slow\"\nconcurrency = 1\nlength = 2\n";
    let server = Server::with(folder.path(), &Start { config, ..Start::default() });
    let mut client = server.open();
    let in_queue = r#","queue":"slow""#;
    for number in 0..2 {
        assert_eq!(client.ask(&format!("PUSH {}", job(number, in_queue))), "+OK");
    }
    assert!(client.ask(&format!("PUSH {}", job(9, in_queue))).starts_with("-ERR"), "it is full");
    assert_eq!(jid_of(client.ask("FETCH slow").as_bytes()), jid(0));
    let none = r#"FETCHB {"n":9,"wait_ms":50,"queues":["slow"]}"#;
    assert_eq!(client.ask(none), "[]");
    assert_eq!(client.ask(&format!(r#"ACK {{"jid":"{}"}}"#, jid(0))), "+OK");
    assert_eq!(jid_of(client.ask("FETCH slow").as_bytes()), jid(1));
    server.end();
    fs::remove_file(folder.path().join("t.toml")).unwrap();
    let server = Server::start(folder.path());
    let mut client = server.open();
    for number in 10..20 {
        assert_eq!(client.ask(&format!("PUSH {}", job(number, in_queue))), "+OK");
    }
    assert_eq!(jid_of(client.ask("FETCH slow").as_bytes()), jid(10));
    server.end();
}

#[test]
fn a_configuration_is_read_again_and_a_wrong_one_refused() {
    let folder = folder();
    let first = format!("[work]\npassword = \"one-1\"\n{WORKER_SCHEDULE}");
    let start = Start { config: &first, ..Start::default() };
    let mut server = Server::with(folder.path(), &start);
    let connect = |server: &Server, password: &str| {
        let password = Some(Password::new(password));
        Client::connect(server.address, &ClientOptions { password, ..ClientOptions::default() })
    };
    let mut before = connect(&server, "one-1").unwrap();
    let file = folder.path().join("t.toml");
    fs::write(&file, first.replace("every = \"1h\"", "every = \"soon\"")).unwrap();
    server.signal(Signal::HUP);
    server.expect("the configuration is refused");
    connect(&server, "one-1").unwrap();
    let second = "[engine]\nexecutors = 3\n[work]\npassword = \"two-2\"\n[[queue]]\nname = \"q\"\nlength = 1\n\
        [[schedule]]\nname = \"pulse\"\nevery = \"1s\"\ncommand = [\"true\"]\n";
    fs::write(&file, second).unwrap();
    server.signal(Signal::HUP);
    server.expect("`executors` has changed");
    server.expect("the configuration was read again");
    assert!(connect(&server, "one-1").is_err());
    let mut after = connect(&server, "two-2").unwrap();
    // Whoever is connected stays so.
    before.info().unwrap();
    server.expect("run succeeded");
    let list = after.call("CRON", b"LIST").unwrap().unwrap();
    assert_eq!(list, b"[]", "the schedule for workers is no longer configured");
    after.push(job(1, r#","queue":"q""#).as_bytes()).unwrap();
    assert!(after.push(job(2, r#","queue":"q""#).as_bytes()).is_err());
    // A second one with the same content changes nothing and ends nothing.
    server.signal(Signal::HUP);
    server.expect("the configuration was read again");
    after.fetch_batch(&["q"], 1, Duration::ZERO).unwrap();
    server.end();
}

#[test]
fn paused_schedules_of_the_configuration_do_not_fire_until_it_says_so() {
    let folder = folder();
    let config = |paused: bool| {
        format!(
            "[[schedule]]\nname = \"once\"\nat = \"2020-01-01T00:00:00Z\"\nmissed = \"one\"\nkind = \"k\"\npaused = {paused}\n"
        )
    };
    let first = config(true);
    let mut server = Server::with(folder.path(), &Start { config: &first, ..Start::default() });
    let mut client = server.open();
    assert_eq!(client.ask(r#"FETCHB {"n":9,"wait_ms":300,"queues":["default"]}"#), "[]");
    fs::write(folder.path().join("t.toml"), config(false)).unwrap();
    server.signal(Signal::HUP);
    server.expect("the configuration was read again");
    assert!(client.fetch("default").contains(r#""jobtype":"k""#));
    server.end();
}

#[test]
fn the_configuration_says_which_of_the_workers_that_wait_is_first() {
    let folder = folder();
    // The end does not wait for what they have.
    let config = |choice: &str| {
        format!("[engine]\nshutdown_grace = \"0s\"\n[work]\nchoice = \"{choice}\"\n")
    };
    let first = config("weighted-least-loaded");
    let mut server = Server::with(folder.path(), &Start { config: &first, ..Start::default() });
    let mut client = server.open();
    let connect = |wid: &str, weight: u16| {
        let mut raw = server.raw();
        raw.line();
        let hello = format!(r#"HELLO {{"v":2,"wid":"{wid}","weight":{weight}}}"#);
        assert_eq!(raw.ask(&hello), "+OK");
        raw
    };
    let mut small = [connect("small-one", 1), connect("small-one", 1), connect("small-one", 1)];
    let mut large = [connect("large-one", 2), connect("large-one", 2), connect("large-one", 2)];
    for raw in small.iter_mut().chain(&mut large) {
        raw.send("FETCHB {\"n\":1,\"wait_ms\":60000,\"queues\":[\"default\"]}\r\n");
        // Read by the same thread, after that.
        client.ask("INFO");
    }
    for number in 0..3 {
        assert_eq!(client.ask(&format!("PUSH {}", job(number, ""))), "+OK");
    }
    let listed = value(&mut client, "WORKER LIST");
    let of =
        |place: usize| (&listed[place]["wid"], &listed[place]["jobs"], &listed[place]["weight"]);
    assert_eq!(of(0), (&json!("large-one"), &json!(2), &json!(2)), "{listed}");
    assert_eq!(of(1), (&json!("small-one"), &json!(1), &json!(1)), "{listed}");
    // Changed while they wait: who has waited for the longest is the small one.
    fs::write(folder.path().join("t.toml"), config("longest-waiting")).unwrap();
    server.signal(Signal::HUP);
    server.expect("the configuration was read again");
    for number in 3..5 {
        assert_eq!(client.ask(&format!("PUSH {}", job(number, ""))), "+OK");
    }
    let listed = value(&mut client, "WORKER LIST");
    assert_eq!(listed[1]["jobs"], 3, "{listed}");
    server.end();
}
