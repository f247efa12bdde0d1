//! The end of the server, kind or not, and what is there when it is back.

use rustix::process::Signal;

use super::{
    clients::rounds,
    server::{Server, Start, folder, jid, jid_of, job, own_address},
};

#[test]
fn what_was_taken_survives_a_kill_and_so_do_leases() {
    let folder = folder();
    let server = Server::start(folder.path());
    let mut client = server.open();
    for number in 0..100 {
        assert_eq!(client.ask(&format!("PUSH {}", job(number, ""))), "+OK");
    }
    for number in 0..10 {
        assert_eq!(jid_of(client.ask("FETCH default").as_bytes()), jid(number));
    }
    assert_eq!(client.ask(&format!("ACK {{\"jid\":\"{}\"}}", jid(0))), "+OK");
    // Whatever is durable now makes the fetches before it so, too.
    server.kill();

    let server = Server::start(folder.path());
    let mut client = server.open();
    assert!(client.ask(&format!("TRACK GET {}", jid(0))).contains("unknown"));
    for number in 1..10 {
        assert!(client.ask(&format!("TRACK GET {}", jid(number))).contains("working"));
        assert_eq!(client.ask(&format!("ACK {{\"jid\":\"{}\"}}", jid(number))), "+OK");
    }
    for number in 10..100 {
        assert_eq!(jid_of(client.ask("FETCH default").as_bytes()), jid(number));
        assert_eq!(client.ask(&format!("ACK {{\"jid\":\"{}\"}}", jid(number))), "+OK");
    }
    assert_eq!(client.ask(r#"FETCHB {"n":9,"wait_ms":0,"queues":["default"]}"#), "[]");
    server.end();
}

#[test]
fn ends_that_are_only_logged_survive_a_kill_too() {
    let folder = folder();
    let start = Start { config: "[work]\nends = \"logged\"\n", ..Start::default() };
    let server = Server::with(folder.path(), &start);
    let mut client = server.open();
    for number in 0..50 {
        assert_eq!(client.ask(&format!("PUSH {}", job(number, ""))), "+OK");
        assert_eq!(jid_of(client.ask("FETCH default").as_bytes()), jid(number));
        let end = if number % 2 == 0 { "ACK" } else { "FAIL" };
        assert_eq!(client.ask(&format!("{end} {{\"jid\":\"{}\"}}", jid(number))), "+OK");
    }
    server.kill();
    let server = Server::with(folder.path(), &start);
    let mut client = server.open();
    for number in 0..50 {
        let state = if number % 2 == 0 { "unknown" } else { "failed" };
        let got = client.ask(&format!("TRACK GET {}", jid(number)));
        assert!(got.contains(state), "{got}");
    }
    server.end();
}

#[test]
fn kills_under_load_lose_nothing_that_was_answered() {
    let folder = folder();
    let (mut next, mut address) = (0, own_address());
    let mut taken: Vec<usize> = Vec::new();
    for _ in 0..rounds(4) {
        let start = Start { address: Some(address), ..Start::default() };
        let server = Server::with(folder.path(), &start);
        address = server.address;
        let mut client = server.producer();
        let stop = taken.len() + 2000;
        let mut server = Some(server);
        let jobs: Vec<String> = (next..next + 20_000).map(|number| job(number, "")).collect();
        let first = next;
        // It ends when the server is killed in the midst of it.
        let ended = client.push_many(jobs.iter().map(String::as_bytes), |place, push| {
            assert!(matches!(push, tickwheel_protocol::Push::Taken));
            taken.push(first + place as usize);
            if taken.len() == stop
                && let Some(server) = server.take()
            {
                assert_eq!(server.address, address);
                server.kill();
            }
        });
        assert!(ended.is_err());
        next += 20_000;
    }
    let start = Start { address: Some(address), ..Start::default() };
    let server = Server::with(folder.path(), &start);
    let mut worker = server.worker("worker-1");
    let mut found = std::collections::HashSet::new();
    loop {
        let jobs = worker.fetch_batch(&["default"], 256, std::time::Duration::ZERO).unwrap();
        if jobs.is_empty() {
            break;
        }
        let jids: Vec<String> = jobs.iter().map(|job| jid_of(job.get().as_bytes())).collect();
        worker.ack_batch(&jids.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
        found.extend(jids);
    }
    let lost: Vec<usize> =
        taken.into_iter().filter(|number| !found.contains(&jid(*number))).collect();
    assert_eq!(lost, [0; 0], "answered and gone");
}

#[test]
fn at_the_end_workers_are_told_to_be_quiet_and_may_finish() {
    let folder = folder();
    let mut server = Server::start(folder.path());
    let mut worker = server.worker("worker-1");
    worker.push(job(1, "").as_bytes()).unwrap();
    assert!(worker.fetch(&["default"]).unwrap().is_some());
    assert_eq!(worker.beat("worker-1", 1000).unwrap(), None);
    let mut waits = server.open();
    waits.send(b"FETCHB {\"n\":1,\"wait_ms\":60000,\"queues\":[\"default\"]}\r\n");
    server.signal(Signal::TERM);
    server.expect("ending");
    // Its wait is over soon, and nothing is handed out any more.
    assert_eq!(waits.reply(), "[]");
    assert_eq!(worker.beat("worker-1", 1000).unwrap().as_deref(), Some("quiet"));
    worker.push(job(2, "").as_bytes()).unwrap();
    assert_eq!(worker.fetch(&["default"]).unwrap(), None);
    worker.ack(&jid(1)).unwrap();
    server.wait();

    let server = Server::start(folder.path());
    let mut client = server.open();
    assert!(client.ask(&format!("TRACK GET {}", jid(1))).contains("unknown"));
    assert_eq!(jid_of(client.ask("FETCH default").as_bytes()), jid(2));
    server.end();
}

#[test]
fn commands_run_beside_workers_and_out_of_their_reach() {
    let folder = folder();
    let config = "[[schedule]]\nname = \"pulse\"\nevery = \"1s\"\ncommand = [\"true\"]\n";
    let start = Start { config, ..Start::default() };
    let mut server = Server::with(folder.path(), &start);
    let mut client = server.open();
    let raw = r#"{"jid":"12345678","jobtype":"command","args":[]}"#;
    assert_eq!(client.ask(&format!("PUSH {raw}")), "+OK");
    server.expect("run succeeded");
    // Whatever its kind is called, it is a worker's.
    assert_eq!(jid_of(client.ask("FETCH tickwheel commands default").as_bytes()), "12345678");
    let info = client.ask("INFO");
    assert!(!info.contains("tickwheel commands"), "{info}");
    assert_eq!(client.ask("QUEUE PAUSE *"), "+OK");
    server.expect("run succeeded");
    server.end();
}
