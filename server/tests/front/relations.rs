//! Jobs that have to do with others: unique ones, and batches.

use serde_json::Value;

use super::{
    clients::{Program, skip},
    server::{Raw, Server, Start, folder, jid, jid_of, job},
};

fn status(raw: &mut Raw, bid: &str) -> Value {
    serde_json::from_str(&raw.ask(&format!("BATCH STATUS {bid}"))).unwrap()
}

fn ack(raw: &mut Raw, jid: &str) {
    assert_eq!(raw.ask(&format!(r#"ACK {{"jid":"{jid}"}}"#)), "+OK");
}

#[test]
fn a_job_that_is_not_unique_is_refused_until_the_first_has_ended_or_begun() {
    let folder = folder();
    let server = Server::start(folder.path());
    let mut client = server.open();
    let unique = |number: usize, args: &str, more: &str| {
        format!(
            r#"PUSH {{"jid":"{}","jobtype":"mail","args":{args},"custom":{{"unique_for":600{more}}}}}"#,
            jid(number)
        )
    };
    let refused = "-NOTUNIQUE Job not unique";
    assert_eq!(client.ask(&unique(1, "[1]", "")), "+OK");
    assert_eq!(client.ask(&unique(2, "[1]", "")), refused);
    // The same job again is no second one; other arguments are another job, and so is one without a claim.
    assert_eq!(client.ask(&unique(1, "[1]", "")), "+OK");
    assert_eq!(client.ask(&unique(3, "[2]", "")), "+OK");
    let plain = format!(r#"{{"jid":"{}","jobtype":"mail","args":[1]}}"#, jid(4));
    assert_eq!(client.ask(&format!("PUSH {plain}")), "+OK");
    let batch = unique(5, "[1]", "");
    let refusals = client.ask(&format!("PUSHB [{}]", &batch["PUSH ".len()..]));
    assert_eq!(refusals, format!(r#"{{"{}":"Job not unique"}}"#, jid(5)));
    assert_eq!(jid_of(client.ask("FETCH default").as_bytes()), jid(1));
    assert_eq!(client.ask(&unique(6, "[1]", "")), refused, "it is under way");
    server.kill();

    let server = Server::start(folder.path());
    let mut client = server.open();
    assert_eq!(client.ask(&unique(7, "[1]", "")), refused, "a kill changes nothing");
    ack(&mut client, &jid(1));
    assert_eq!(client.ask(&unique(8, "[1]", "")), "+OK");
    let until_start = r#","unique_until":"start""#;
    assert_eq!(client.ask(&unique(20, "[9]", until_start)), "+OK");
    assert_eq!(client.ask(&unique(21, "[9]", until_start)), refused);
    for expected in [3, 4, 8, 20] {
        assert_eq!(jid_of(client.ask("FETCH default").as_bytes()), jid(expected));
    }
    assert_eq!(client.ask(&unique(22, "[9]", until_start)), "+OK");
    server.end();
}

#[test]
fn a_batch_adds_its_callbacks_in_their_order() {
    let folder = folder();
    let server = Server::start(folder.path());
    let mut client = server.open();
    let callback = |number: usize| job(number, r#","queue":"calls""#);
    let new = format!(
        r#"BATCH NEW {{"description":"invoices","success":{},"complete":{}}}"#,
        callback(90),
        callback(91)
    );
    let bid = client.ask(&new);
    assert!(bid.starts_with("b-"), "{bid}");
    let member = format!(r#","custom":{{"bid":"{bid}"}}"#);
    for number in 0..3 {
        assert_eq!(client.ask(&format!("PUSH {}", job(number, &member))), "+OK");
    }
    let none = r#"FETCHB {"n":9,"wait_ms":0,"queues":["calls"]}"#;
    for number in 0..2 {
        assert_eq!(jid_of(client.ask("FETCH default").as_bytes()), jid(number));
        ack(&mut client, &jid(number));
    }
    assert_eq!(client.ask(&format!("BATCH COMMIT {bid}")), "+OK");
    assert_eq!(client.ask(none), "[]");
    let shown = status(&mut client, &bid);
    assert_eq!((&shown["total"], &shown["pending"]), (&3.into(), &1.into()), "{shown}");
    assert_eq!((&shown["description"], &shown["success_st"]), (&"invoices".into(), &"".into()));
    server.kill();

    let server = Server::start(folder.path());
    let mut client = server.open();
    assert_eq!(jid_of(client.ask("FETCH default").as_bytes()), jid(2));
    ack(&mut client, &jid(2));
    assert_eq!(jid_of(client.ask("FETCH calls").as_bytes()), jid(91), "complete goes first");
    assert_eq!(client.ask(none), "[]", "and is waited for");
    assert_eq!(status(&mut client, &bid)["complete_st"], "1");
    ack(&mut client, &jid(91));
    assert_eq!(jid_of(client.ask("FETCH calls").as_bytes()), jid(90));
    ack(&mut client, &jid(90));
    let shown = status(&mut client, &bid);
    assert_eq!((&shown["complete_st"], &shown["success_st"]), (&"2".into(), &"2".into()));
    server.end();
}

#[test]
fn batches_that_are_not_there_are_named_and_callbacks_need_no_jid() {
    let folder = folder();
    let server = Server::with(folder.path(), &Start::default());
    let mut client = server.open();
    for line in ["BATCH STATUS b-none", "BATCH COMMIT b-none", "BATCH OPEN b-none"] {
        assert_eq!(client.ask(line), "-ERR No such batch b-none");
    }
    let never = "b-0000000000000fff";
    assert_eq!(client.ask(&format!("BATCH STATUS {never}")), format!("-ERR No such batch {never}"));
    let within =
        format!(r#"BATCH NEW {{"success":{{"jobtype":"a","args":[]}},"parent_bid":"{never}"}}"#);
    assert_eq!(client.ask(&within), format!("-ERR No such batch {never}"));
    let callback = job(5, r#","custom":{"unique_for":60}"#);
    let refused = client.ask(&format!(r#"BATCH NEW {{"success":{callback}}}"#));
    assert!(refused.contains("a callback has no key of uniqueness"), "{refused}");
    let member = format!(r#","custom":{{"bid":"{never}"}}"#);
    let refused = client.ask(&format!("PUSH {}", job(1, &member)));
    assert_eq!(refused, format!("-ERR No such batch {never}"));
    let nonsense = job(1, r#","custom":{"bid":"nonsense"}"#);
    assert!(client.ask(&format!("PUSH {nonsense}")).starts_with("-ERR No such batch"));
    // An empty batch calls when it is committed.
    let bid = client.ask(r#"BATCH NEW {"success":{"jobtype":"done","args":[7],"queue":"calls"}}"#);
    assert_eq!(client.ask(&format!("BATCH OPEN {bid}")), bid);
    assert_eq!(client.ask(&format!("BATCH COMMIT {bid}")), "+OK");
    let called: Value = serde_json::from_str(&client.ask("FETCH calls")).unwrap();
    assert_eq!((&called["jobtype"], &called["args"]), (&"done".into(), &serde_json::json!([7])));
    ack(&mut client, called["jid"].as_str().unwrap());
    assert_eq!(status(&mut client, &bid)["success_st"], "2");
    server.end();
}

#[test]
fn the_jid_of_a_callback_is_not_taken_from_a_job_that_has_it() {
    let folder = folder();
    let server = Server::start(folder.path());
    let mut client = server.open();
    let new = format!(r#"BATCH NEW {{"complete":{}}}"#, job(7, r#","queue":"calls""#));
    let bid = client.ask(&new);
    let other = job(7, r#","queue":"other""#);
    assert_eq!(client.ask(&format!("PUSH {other}")), "+OK");
    assert_eq!(client.ask(&format!("BATCH COMMIT {bid}")), "+OK");
    let called: Value = serde_json::from_str(&client.ask("FETCH calls")).unwrap();
    let own = called["jid"].as_str().unwrap().to_owned();
    assert!(own.starts_with("tw-"), "{called}");
    let fail = format!(r#"FAIL {{"jid":"{own}","errtype":"E","message":"m"}}"#);
    assert_eq!(client.ask(&fail), "+OK");
    let retries = r#"MUTATE {"cmd":"requeue","target":"retries"}"#;
    assert_eq!(client.ask(retries), "+OK");
    let again: Value = serde_json::from_str(&client.ask("FETCH calls")).unwrap();
    assert_eq!((again["jid"].as_str(), &again["failure"]["message"]), (Some(&*own), &"m".into()));
    ack(&mut client, &own);
    assert_eq!(status(&mut client, &bid)["complete_st"], "2");
    assert_eq!(jid_of(client.ask("FETCH other").as_bytes()), jid(7));
    server.end();
}

#[test]
fn dead_jobs_and_deleted_ones_count_in_their_batch_once() {
    let folder = folder();
    let config = "[work]\nallow_flush = true\n";
    let server = Server::with(folder.path(), &Start { config, ..Start::default() });
    let mut client = server.open();
    let new = format!(
        r#"BATCH NEW {{"success":{},"complete":{}}}"#,
        job(90, r#","queue":"calls""#),
        job(91, r#","queue":"calls""#)
    );
    let bid = client.ask(&new);
    let same = |number: usize, custom: &str| {
        let jid = jid(number);
        format!(
            r#"PUSH {{"jid":"{jid}","jobtype":"same","args":[],"retry":-1,"custom":{{{custom}}}}}"#
        )
    };
    let unique = format!(r#""bid":"{bid}","unique_for":600"#);
    assert_eq!(client.ask(&same(1, &unique)), "+OK");
    assert_eq!(client.ask(&same(2, &unique)), "-NOTUNIQUE Job not unique");
    let later = format!(r#","at":"2100-01-01T00:00:00Z","custom":{{"bid":"{bid}"}}"#);
    assert_eq!(client.ask(&format!("PUSH {}", job(3, &later))), "+OK");
    assert_eq!(client.ask(&format!("BATCH COMMIT {bid}")), "+OK");
    assert_eq!(jid_of(client.ask("FETCH default").as_bytes()), jid(1));
    let fail = format!(r#"FAIL {{"jid":"{}","errtype":"E","message":"m"}}"#, jid(1));
    assert_eq!(client.ask(&fail), "+OK");
    let shown = |client: &mut Raw| {
        let shown = status(client, &bid);
        (shown["pending"].as_u64().unwrap(), shown["failed"].as_u64().unwrap())
    };
    assert_eq!(shown(&mut client), (1, 1));
    // It is dead: its place is free, and it does not take it again.
    assert_eq!(client.ask(&same(2, r#""unique_for":600"#)), "+OK");
    assert_eq!(client.ask(r#"MUTATE {"cmd":"requeue","target":"dead"}"#), "+OK");
    for expected in [2, 1] {
        assert_eq!(jid_of(client.ask("FETCH default").as_bytes()), jid(expected));
        ack(&mut client, &jid(expected));
    }
    assert_eq!(shown(&mut client), (1, 1), "it is counted once");
    // The flush takes the last job of the batch, and the callback that this brings.
    assert_eq!(client.ask("FLUSH"), "+OK");
    assert_eq!(shown(&mut client), (0, 2));
    assert_eq!(client.ask(r#"FETCHB {"n":9,"wait_ms":0,"queues":["calls","default"]}"#), "[]");
    server.end();
}

#[test]
fn faktory_of_rust_commits_a_batch_and_sees_its_end() {
    let program = match Program::rust() {
        Ok(program) => program,
        Err(why) => return skip(&why),
    };
    let folder = folder();
    let server = Server::with(folder.path(), &Start::default());
    let url = format!("tcp://{}", server.address);
    let done = folder.path().join("done");
    let output = program.command(&["batch", &url, done.to_str().unwrap()]).output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "1 of 2, Pending\n0 of 2, FinishedOk\n",
        "{output:?}"
    );
    server.end();
}
