//! Changes to many jobs at once, and the dead set.

use serde_json::{Value, json};

use super::server::{Raw, Server, Start, folder, jid, jid_of, job};

fn sets(raw: &mut Raw) -> Value {
    let info: Value = serde_json::from_str(&raw.ask("INFO")).unwrap();
    info["faktory"]["sets"].clone()
}

fn state(raw: &mut Raw, number: usize) -> String {
    let state: Value =
        serde_json::from_str(&raw.ask(&format!("TRACK GET {}", jid(number)))).unwrap();
    state["state"].as_str().unwrap().to_owned()
}

/// Jobs 0 to 2 dead, 3 to 5 waiting for a retry, 6 to 8 for their time, 9 in its queue, 10 with a worker.
fn fill(raw: &mut Raw) {
    for number in 0..6 {
        let retry = if number < 3 { -1 } else { 5 };
        let tags = format!(r#"["all","number-{number}"]"#);
        let more = format!(
            r#","retry":{retry},"queue":"q","mine":"m{number}","custom":{{"tags":{tags}}}"#
        );
        assert_eq!(raw.ask(&format!("PUSH {}", job(number, &more))), "+OK");
        assert_eq!(jid_of(raw.ask("FETCH q").as_bytes()), jid(number));
        assert_eq!(raw.ask(&format!(r#"FAIL {{"jid":"{}","message":"no"}}"#, jid(number))), "+OK");
    }
    for number in 6..9 {
        let more = r#","queue":"q","at":"2100-01-01T00:00:00Z""#;
        assert_eq!(raw.ask(&format!("PUSH {}", job(number, more))), "+OK");
    }
    assert_eq!(raw.ask(&format!("PUSH {}", job(10, r#","queue":"q""#))), "+OK");
    assert_eq!(jid_of(raw.ask("FETCH q").as_bytes()), jid(10));
    assert_eq!(raw.ask(&format!("PUSH {}", job(9, r#","queue":"q""#))), "+OK");
    let expected = json!({"scheduled":3,"retries":3,"dead":3,"working":1});
    assert_eq!(sets(raw), expected);
}

#[test]
fn sets_are_changed_by_jid_by_type_and_by_pattern() {
    let folder = folder();
    let server = Server::start(folder.path());
    let mut client = server.open();
    fill(&mut client);
    let filter = |filter: &str| format!(r#""filter":{{{filter}}}"#);
    let mutate = |cmd: &str, target: &str, filter: &str| {
        format!(r#"MUTATE {{"cmd":"{cmd}","target":"{target}",{filter}}}"#)
    };
    // Of another type, of other jids, of another set: nothing.
    for line in [
        mutate("discard", "dead", &filter(r#""jobtype":"other""#)),
        mutate("discard", "dead", &filter(&format!(r#""jids":["{}"]"#, jid(3)))),
        mutate("requeue", "retries", &filter(r#""regexp":"*m1*""#)),
        mutate("kill", "dead", &filter("")),
        mutate("discard", "dead", &filter(r#""tags":["number-0","number-1"]"#)),
    ] {
        assert_eq!(client.ask(&line), "+OK", "{line}");
    }
    assert_eq!(sets(&mut client), json!({"scheduled":3,"retries":3,"dead":3,"working":1}));
    // By pattern over the whole job, then by jid, then by type.
    assert_eq!(
        client.ask(&mutate("discard", "dead", &filter(r#""regexp":"*\"mine\":\"m1\"*""#))),
        "+OK"
    );
    assert_eq!(state(&mut client, 1), "unknown");
    assert_eq!(
        client.ask(&mutate("discard", "dead", &filter(r#""tags":["all","number-0"]"#))),
        "+OK"
    );
    assert_eq!(state(&mut client, 0), "unknown");
    let two = format!(r#""jids":["{}","{}"]"#, jid(3), jid(5));
    assert_eq!(client.ask(&mutate("kill", "retries", &filter(&two))), "+OK");
    assert_eq!((state(&mut client, 3), state(&mut client, 4)), ("dead".into(), "failed".into()));
    assert_eq!(sets(&mut client), json!({"scheduled":3,"retries":1,"dead":3,"working":1}));
    let one = format!(r#""jids":["{}"]"#, jid(7));
    assert_eq!(client.ask(&mutate("requeue", "scheduled", &filter(&one))), "+OK");
    assert_eq!(client.ask(&mutate("requeue", "dead", &filter(r#""jobtype":"test""#))), "+OK");
    assert_eq!(client.ask(r#"MUTATE {"cmd":"clear","target":"retries"}"#), "+OK");
    assert_eq!(sets(&mut client), json!({"scheduled":2,"retries":0,"dead":0,"working":1}));
    let mut seen: Vec<String> = (0..5)
        .map(|_| {
            let fetched = client.ask("FETCH q");
            jid_of(fetched.as_bytes())
        })
        .collect();
    seen.sort();
    assert_eq!(seen, [2, 3, 5, 7, 9].map(jid));
    server.end();
}

#[test]
fn dead_jobs_outlive_the_server_and_come_again_with_their_failure() {
    let folder = folder();
    let server = Server::start(folder.path());
    fill(&mut server.open());
    server.kill();
    let server = Server::start(folder.path());
    let mut client = server.open();
    assert_eq!(state(&mut client, 2), "dead");
    assert_eq!(client.ask(r#"MUTATE {"cmd":"requeue","target":"dead"}"#), "+OK");
    let mut fetched: Vec<String> = (0..4).map(|_| client.ask("FETCH q")).collect();
    fetched.retain(|job| job.contains(r#""message":"no""#));
    assert_eq!(fetched.len(), 3, "{fetched:?}");
    server.end();
}

#[test]
fn a_removed_queue_is_empty_and_not_listed_until_it_is_named_again() {
    let folder = folder();
    let server = Server::start(folder.path());
    let mut client = server.open();
    fill(&mut client);
    let queues = |raw: &mut Raw| -> Value {
        let info: Value = serde_json::from_str(&raw.ask("INFO")).unwrap();
        info["faktory"]["queues"].clone()
    };
    assert_eq!(queues(&mut client), json!({"q":1}));
    assert_eq!(client.ask("QUEUE REMOVE q"), "+OK");
    // A worker still has one of it.
    assert_eq!(queues(&mut client), json!({"q":0}));
    assert_eq!(sets(&mut client), json!({"scheduled":0,"retries":0,"dead":3,"working":1}));
    assert_eq!(client.ask(&format!(r#"ACK {{"jid":"{}"}}"#, jid(10))), "+OK");
    assert_eq!(client.ask("QUEUE REMOVE *"), "+OK");
    assert_eq!(queues(&mut client), json!({}));
    assert_eq!(client.ask(&format!("PUSH {}", job(20, r#","queue":"q""#))), "+OK");
    assert_eq!(queues(&mut client), json!({"q":1}));
    server.end();
}

#[test]
fn a_flush_takes_everything_but_what_is_the_servers_own() {
    let folder = folder();
    let config = "[work]\nallow_flush = true\n\
        [[schedule]]\nname = \"own\"\nevery = \"1h\"\nkind = \"k\"\n\
        [[schedule]]\nname = \"pulse\"\nevery = \"1s\"\ncommand = [\"true\"]\n";
    let mut server = Server::with(folder.path(), &Start { config, ..Start::default() });
    let mut client = server.open();
    fill(&mut client);
    let put = r#"CRON PUT {"name":"n","every_ms":3600000,"job":{"jobtype":"a","args":[]}}"#;
    assert_eq!(client.ask(put), "+OK");
    assert_eq!(client.ask("FLUSH"), "+OK");
    assert_eq!(sets(&mut client)["dead"], 0);
    assert_eq!(sets(&mut client)["retries"], 0);
    assert_eq!(client.ask(r#"FETCHB {"n":9,"wait_ms":0,"queues":["q"]}"#), "[]");
    // The end of a job that a worker had is no error, and it is not there any more.
    assert_eq!(client.ask(&format!(r#"ACK {{"jid":"{}"}}"#, jid(10))), "+OK");
    let list: Value = serde_json::from_str(&client.ask("CRON LIST")).unwrap();
    assert_eq!((list.as_array().unwrap().len(), &list[0]["name"]), (1, &json!("own")));
    server.expect("run succeeded");
    server.end();
}
