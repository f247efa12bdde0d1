//! Connections that are wrong, slow, many, or gone.

use std::io::Write;

use tickwheel_protocol::{Client, ClientOptions, Password};

use super::server::{Server, Start, folder, jid, jid_of, job};

#[test]
fn a_password_is_asked_for_and_a_wrong_one_refused() {
    let folder = folder();
    let start = Start { password: Some("open sesame"), ..Start::default() };
    let server = Server::with(folder.path(), &start);
    let connect = |password: Option<&str>| {
        let password = password.map(Password::new);
        Client::connect(server.address, &ClientOptions { password, ..ClientOptions::default() })
    };
    connect(Some("open sesame")).unwrap().info().unwrap();
    for wrong in [None, Some(""), Some("open sesam"), Some("open sesame ")] {
        let error = connect(wrong).map(drop).unwrap_err().to_string();
        assert!(wrong.is_none() || error.contains("Invalid password"), "{error}");
    }
    let mut raw = server.raw();
    let first = raw.line();
    let salt = |line: &str| line.split("\"s\":\"").nth(1).unwrap()[..16].to_owned();
    assert_eq!(raw.ask(r#"HELLO {"v":2,"pwdhash":"00"}"#), "-ERR Invalid password");
    assert_eq!(raw.rest(), "");
    assert_ne!(salt(&first), salt(&server.raw().line()), "a salt is used once");
    let mut raw = server.raw();
    raw.line();
    assert_eq!(raw.ask("INFO"), "-ERR say HELLO first");
    assert_eq!(raw.rest(), "");
}

#[test]
fn a_client_that_does_not_finish_its_handshake_is_cut() {
    let folder = folder();
    let server = Server::start(folder.path());
    let mut silent = server.raw();
    let mut slow = server.raw();
    slow.send(b"HELLO {");
    assert!(silent.rest().starts_with("+HI "));
    assert!(slow.rest().starts_with("+HI "));
    assert!(server.open().ask("INFO").contains("faktory"));
}

#[test]
fn a_client_that_sends_a_request_byte_by_byte_is_cut_and_one_that_waits_is_not() {
    let folder = folder();
    let config = "[work]\nrequest_timeout = \"300ms\"\n";
    let server = Server::with(folder.path(), &Start { config, ..Start::default() });
    let mut waits = server.open();
    waits.send(b"FETCHB {\"n\":1,\"wait_ms\":1500,\"queues\":[\"default\"]}\r\nINF");
    let mut idle = server.open();
    let mut slow = server.open();
    let (begun, mut sent) = (std::time::Instant::now(), 0);
    // Whole requests in between do not count as late.
    assert!(slow.ask("INFO").contains("faktory"));
    while slow.stream().write_all(b"P").is_ok() && sent < 1000 {
        sent += 1;
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert!(sent < 1000 && begun.elapsed() > std::time::Duration::from_millis(300), "{sent}");
    // Behind a fetch that waits, half a request is not late; once it is answered, it is.
    assert_eq!(waits.reply(), "[]");
    assert_eq!(waits.rest(), "");
    assert!(idle.ask("INFO").contains("faktory"));
    server.end();
}

#[test]
fn a_client_that_reads_nothing_is_not_fed_with_memory() {
    let folder = folder();
    let server = Server::start(folder.path());
    let mut deaf = server.open();
    let before = server.resident_kib();
    let stream = deaf.stream().try_clone().unwrap();
    stream.set_nonblocking(true).unwrap();
    // Errors cost the server more bytes than they cost the client.
    let line = "NONSENSE NONSENSE\n".repeat(4096);
    let (mut sent, mut refused) = (0_u64, 0);
    while refused < 300 && sent < 1 << 30 {
        match (&stream).write(line.as_bytes()) {
            Ok(written) => sent += written as u64,
            Err(_) => {
                refused += 1;
                std::thread::yield_now();
                // Others are served all the while, which also gives the server its time.
                server.open().ask("INFO");
            }
        }
    }
    assert!(sent < 64 << 20, "{sent} bytes were taken of a client that reads nothing");
    let grown = server.resident_kib().saturating_sub(before);
    assert!(grown < 32 << 10, "{grown} KiB for one client");
    // It reads at last, and finds all in order.
    stream.set_nonblocking(false).unwrap();
    for _ in 0..1000 {
        assert_eq!(deaf.reply(), "-ERR unknown command NONSENSE");
    }
}

#[test]
fn many_idle_connections_take_little_memory_and_the_bound_holds() {
    let folder = folder();
    let config =
        "[work]\nconnections_max = 2002\nconnections_per_address_max = 2002\nio_threads = 2\n";
    let start = Start { config, ..Start::default() };
    let server = Server::with(folder.path(), &start);
    let mut first = server.open();
    first.ask("INFO");
    let before = server.resident_kib();
    let idle: Vec<_> = (0..2000)
        .map(|_| {
            let mut raw = server.raw();
            raw.send(b"HELLO {\"v\":2}\r\n");
            assert!(raw.line().starts_with("+HI"));
            assert_eq!(raw.reply(), "+OK");
            raw
        })
        .collect();
    let each = server.resident_kib().saturating_sub(before) / 2000;
    assert!(each <= 16, "{each} KiB for each idle connection");
    let _last = server.open();
    let mut refused = server.raw();
    assert!(refused.rest().starts_with("-ERR too many connections"));
    drop(idle);
    // Those that were closed make room; that they are is noticed soon.
    while !server.raw().line().starts_with("+HI") {
        std::thread::yield_now();
    }
    assert!(first.ask("INFO").contains("\"connections\":"));
}

#[test]
fn without_descriptors_those_connected_are_served_and_others_wait() {
    let folder = folder();
    let start = Start { descriptors: Some(64), ..Start::default() };
    let mut server = Server::with(folder.path(), &start);
    let mut first = server.open();
    let waiting: Vec<_> = (0..80).map(|_| server.raw()).collect();
    server.expect("no connection can be accepted now");
    assert_eq!(first.ask(&format!("PUSH {}", job(1, ""))), "+OK");
    drop(waiting);
    assert_eq!(jid_of(server.open().ask("FETCH default").as_bytes()), jid(1));
}

#[test]
fn a_job_is_not_given_to_a_client_that_has_gone() {
    let folder = folder();
    let server = Server::start(folder.path());
    let mut client = server.open();
    for round in 0..50 {
        let mut gone: Vec<_> = (0..4).map(|_| server.open()).collect();
        for raw in &mut gone {
            raw.send(b"FETCHB {\"n\":5,\"wait_ms\":60000,\"queues\":[\"default\"]}\r\n");
        }
        drop(gone);
        let number = round;
        assert_eq!(client.ask(&format!("PUSH {}", job(number, ""))), "+OK");
        // One that is caught between both is given back.
        let mut got = client.ask("FETCH default");
        while got == "$-1" {
            got = client.ask("FETCH default");
        }
        assert_eq!(jid_of(got.as_bytes()), jid(number));
        assert_eq!(client.ask(&format!("ACK {{\"jid\":\"{}\"}}", jid(number))), "+OK");
    }
}
