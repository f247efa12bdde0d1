//! The stream of requests: pipelines, cuts at any byte, noise.

use super::server::{Server, folder, jid, jid_of, job};

#[test]
fn a_pipeline_is_answered_in_its_order() {
    let folder = folder();
    let server = Server::start(folder.path());
    let mut client = server.open();
    let mut lines = String::new();
    for number in 0..256 {
        lines.push_str(&format!("PUSH {}\r\n", job(number, "")));
        if number % 16 == 3 {
            lines.push_str("NONSENSE\n");
        }
    }
    client.send(&lines);
    for number in 0..256 {
        assert_eq!(client.reply(), "+OK", "{number}");
        if number % 16 == 3 {
            assert_eq!(client.reply(), "-ERR unknown command NONSENSE");
        }
    }
    // Waits, failures and ends of one pipeline keep their order, too.
    let lines: String = (0..64)
        .map(|number| {
            let jid = jid(number);
            format!("FETCH default\r\nFAIL {{\"jid\":\"{jid}\"}}\r\nFAIL {{\"jid\":\"{jid}\"}}\r\nACK {{\"jid\":\"{jid}\"}}\r\nCANCEL {{\"jid\":\"{jid}\"}}\r\n")
        })
        .collect();
    client.send(&lines);
    for number in 0..64 {
        let jid = jid(number);
        assert_eq!(jid_of(client.reply().as_bytes()), jid);
        assert_eq!(client.reply(), "+OK");
        assert_eq!(client.reply(), format!("-ERR Job not found {jid}"));
        assert_eq!(client.reply(), "+OK");
        assert_eq!(client.reply(), "+OK");
    }
}

#[test]
fn the_cut_of_the_stream_does_not_matter() {
    let folder = folder();
    let server = Server::start(folder.path());
    let session = format!(
        "HELLO {{\"v\":2,\"wid\":\"w-12345678\"}}\r\nPUSH {}\nFETCH default\r\nFAIL {{\"jid\":\"{}\"}}\r\nINF\r\nPUSHB [{}]\r\nEND\r\n",
        job(1, ""),
        jid(1),
        job(1, ""),
    );
    let mut client = server.open();
    for cut in 1..session.len() {
        let mut raw = server.raw();
        raw.stream().set_nodelay(true).unwrap();
        raw.send(&session.as_bytes()[..cut]);
        raw.send(&session.as_bytes()[cut..]);
        assert!(raw.line().starts_with("+HI "));
        assert_eq!((raw.reply(), raw.reply()), ("+OK".into(), "+OK".into()), "{cut}");
        assert_eq!(jid_of(raw.reply().as_bytes()), jid(1), "{cut}");
        assert_eq!(raw.reply(), "+OK");
        assert_eq!(raw.rest(), "-ERR unknown command INF\r\n$2\r\n{}\r\n", "{cut}");
        assert_eq!(client.ask(&format!("CANCEL {{\"jid\":\"{}\"}}", jid(1))), "+OK");
    }
    // Byte by byte.
    let mut raw = server.raw();
    raw.stream().set_nodelay(true).unwrap();
    for byte in session.as_bytes() {
        raw.send([*byte]);
    }
    assert!(raw.rest().ends_with("-ERR unknown command INF\r\n$2\r\n{}\r\n"));
}

#[test]
fn a_line_without_end_ends_the_connection_with_a_reason() {
    let folder = folder();
    let server = Server::start(folder.path());
    let mut raw = server.raw();
    raw.send(vec![b'x'; 4 << 10]);
    raw.send(b"xyz");
    let rest = raw.rest();
    assert!(rest.contains("-ERR the request is longer than 4096 bytes"), "{rest}");
    let mut raw = server.open();
    let line = vec![b'x'; (16 << 20) + 3];
    raw.send(&line);
    assert_eq!(
        raw.rest(),
        "-ERR the request is longer than 16777216 bytes; split the batch or the job\r\n"
    );
    // A job that is too long leaves the stream in step.
    let mut raw = server.open();
    let long = job(1, &format!(r#","x":"{}""#, "x".repeat(1 << 20)));
    assert!(raw.ask(&format!("PUSH {long}")).starts_with("-ERR the job has "));
    assert_eq!(raw.ask(&format!("PUSH {}", job(1, ""))), "+OK");
}

#[test]
fn what_a_client_sends_before_it_closes_is_carried_out() {
    let folder = folder();
    let server = Server::start(folder.path());
    let mut raw = server.raw();
    let mut lines = "HELLO {\"v\":2}\r\n".to_owned();
    for number in 0..20_000 {
        lines.push_str(&format!("PUSH {}\r\n", job(number, "")));
    }
    lines.push_str("FETCH default\r\nPUS");
    raw.send(&lines);
    raw.stream().shutdown(std::net::Shutdown::Write).unwrap();
    let rest = raw.rest();
    assert_eq!(rest.matches("+OK\r\n").count(), 20_001);
    let info: serde_json::Value = serde_json::from_str(&server.open().ask("INFO")).unwrap();
    assert!(info["faktory"]["queues"]["default"].as_u64() >= Some(19_999), "{info}");
}

/// Draws that one seed repeats.
struct Draws(u64);

impl Draws {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below as u64) as usize
    }
}

#[test]
fn noise_does_not_kill_the_server() {
    let folder = folder();
    let server = Server::start(folder.path());
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let mut draws = Draws(0x9e37_79b9_7f4a_7c15 ^ seed);
    let pieces: Vec<Vec<u8>> = [
        "PUSH ",
        "PUSHB ",
        "FETCHB ",
        "ACK ",
        "ACKB ",
        "FAIL ",
        "FAILB ",
        "BEAT ",
        "INFO",
        "EXTEND ",
        "CANCEL ",
        "QUEUE PAUSE ",
        "QUEUE RESUME *",
        "TRACK GET ",
        "TRACK SET ",
        "CRON PUT ",
        "CRON LIST",
        "CRON RUN n\r\n",
        "WORKER LIST",
        "WORKER TERMINATE *",
        "MUTATE ",
        "BATCH NEW ",
        r#"{"name":"n","every_ms":9,"runs":5,"job":{"jobtype":"a","args":[],"queue":"noise"}}"#,
        "END",
        "HELLO ",
        "{",
        "}",
        "[",
        "]",
        "\"",
        ":",
        ",",
        "\"jid\"",
        "\"job-00000001\"",
        "\"jobtype\"",
        "\"args\"",
        "[]",
        "\"n\"",
        "1",
        "\"wait_ms\"",
        "\"queues\"",
        "\"a\"",
        "null",
        "-1",
        "1e999",
        "\r\n",
        "\n",
        " ",
        "\0",
        "\u{e9}",
        r#"{"jid":"job-00000001","jobtype":"a","args":[]}"#,
        r#"{"n":3,"wait_ms":1,"queues":["default"]}"#,
        r#"["job-00000001","job-00000002"]"#,
        r#"[{"jid":"job-00000001"}]"#,
        "\r\nFETCH a\r\n",
    ]
    .iter()
    .map(|piece| piece.as_bytes().to_vec())
    .chain([vec![0xff, 0xfe], vec![b'x'; 5000]])
    .collect();
    for session in 0..150 {
        let mut raw = server.open();
        for _ in 0..draws.next(400) {
            let piece = &pieces[draws.next(pieces.len() - usize::from(session % 3 > 0))];
            if std::io::Write::write_all(&mut raw.stream(), piece).is_err() {
                break;
            }
        }
        if session % 2 == 0 {
            // It may have been ended by the noise.
            let _ = raw.stream().shutdown(std::net::Shutdown::Write);
            raw.rest();
        }
    }
    let mut client = server.open();
    assert_eq!(client.ask(&format!("PUSH {}", job(77, r#","queue":"quiet""#))), "+OK");
    server.end();
}
