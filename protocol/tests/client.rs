//! The client against a small server in a thread, which keeps jobs in memory and answers by the codec.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::{BTreeMap, VecDeque},
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread::{self, JoinHandle},
    time::Duration,
};

use tickwheel_protocol::{
    Challenge, Client, ClientError, ClientOptions, Command, Decoded, Greeting, Identity, Inbox,
    Limits, NewJob, Password, Push, RequestDecoder, reply, request::Fail,
};

/// What the server does that a good one would not.
#[derive(Clone, Copy, Default)]
struct Server {
    password: Option<&'static str>,
    /// It knows no additions.
    is_plain: bool,
    /// It closes in place of answering so many commands after the greeting.
    closes_after: Option<usize>,
    /// It answers `INFO` with this.
    info: Option<&'static [u8]>,
    /// It says nothing at all.
    is_mute: bool,
}

impl Server {
    /// Serves one connection, then ends and returns how many commands it has seen.
    fn start(self) -> (SocketAddr, JoinHandle<usize>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        (address, thread::spawn(move || self.serve(listener.accept().unwrap().0)))
    }

    fn serve(self, mut stream: TcpStream) -> usize {
        if self.is_mute {
            // Until the client has gone.
            let _ = stream.read(&mut [0]);
            return 0;
        }
        let challenge = self.password.map(|_| Challenge { rounds: 100, salt: "5a1t".into() });
        let greeting = Greeting { challenge: challenge.clone(), is_tickwheel: !self.is_plain };
        let mut out = Vec::new();
        greeting.write(&mut out);
        let (mut inbox, mut decoder, mut count) = (Inbox::new(), RequestDecoder::new(), 0);
        let mut jobs = VecDeque::new();
        loop {
            stream.write_all(&out).unwrap();
            out.clear();
            if inbox.read_from(&mut stream).unwrap() == 0 {
                return count;
            }
            let mut used = 0;
            while let Decoded::Request { len_bytes, command } =
                decoder.decode(&inbox.bytes()[used..], &Limits::DEFAULT)
            {
                used += len_bytes;
                count += 1;
                if self.closes_after.is_some_and(|after| count > after) {
                    return count;
                }
                match command {
                    Ok(Command::Hello(hello)) => {
                        let password = self.password.map(Password::new);
                        let is_met =
                            challenge.as_ref().zip(password).is_none_or(|(challenge, password)| {
                                challenge.is_met(
                                    &password,
                                    hello.password_hash.as_ref(),
                                    hello.version,
                                )
                            });
                        if is_met {
                            reply::ok(&mut out);
                        } else {
                            reply::error(&mut out, "ERR", "Invalid password");
                        }
                    }
                    Ok(Command::End) => return count,
                    Ok(command) => self.answer(&command, &mut jobs, &mut out),
                    Err(error) => reply::error(&mut out, "ERR", error),
                }
            }
            inbox.consume(used);
        }
    }

    fn answer(self, command: &Command<'_>, jobs: &mut VecDeque<Vec<u8>>, out: &mut Vec<u8>) {
        match command {
            Command::Push(job) if job.jobtype == "twice" => {
                reply::error(out, "NOTUNIQUE", "Job not unique");
            }
            Command::Push(job) => {
                jobs.push_back(job.raw.into());
                reply::ok(out);
            }
            Command::PushBatch(batch) => {
                let mut refused = BTreeMap::new();
                for job in &batch.jobs {
                    match job {
                        Ok(job) => jobs.push_back(job.raw.into()),
                        Err(job) => drop(refused.insert(&job.jid, job.error.to_string())),
                    }
                }
                reply::bulk(out, &serde_json::to_vec(&refused).unwrap());
            }
            Command::Fetch(_) => match jobs.pop_front() {
                Some(job) => reply::bulk(out, &job),
                None => reply::null(out),
            },
            Command::FetchBatch(fetch) => reply::bulk_with(out, |out| {
                let count = fetch.count_max.min(jobs.len());
                let jobs: Vec<Vec<u8>> = jobs.drain(..count).collect();
                out.push(b'[');
                out.extend_from_slice(&jobs.join(&b","[..]));
                out.push(b']');
            }),
            Command::AckBatch(_) | Command::FailBatch(_) => {
                reply::bulk(out, b"{\"gone\":\"unknown\"}");
            }
            Command::Fail(fail) if fail.jid == "gone" => {
                reply::error(out, "ERR", "Job not found gone");
            }
            Command::Beat(_) => reply::bulk(out, b"{\"state\":\"quiet\"}"),
            Command::Info => reply::bulk(out, self.info.unwrap_or(b"{\"now\":1}")),
            _ => reply::ok(out),
        }
    }
}

fn options() -> ClientOptions {
    let identity = Identity { wid: Some("w1".into()), pid: Some(1), ..Identity::default() };
    ClientOptions { identity, ..ClientOptions::default() }
}

fn job(n: u32, jobtype: &str) -> Vec<u8> {
    NewJob::new(format!("job-{n:08}"), jobtype).to_json()
}

#[test]
fn every_call_is_answered() {
    let (address, server) = Server::default().start();
    let mut client = Client::connect(address, &options()).unwrap();
    client.push(&job(1, "a")).unwrap();
    let error = client.push(&job(2, "twice")).unwrap_err();
    assert!(matches!(&error, ClientError::Server(error) if &*error.code == "NOTUNIQUE"), "{error}");
    let refused = client.push_batch([job(3, "a"), b"{\"jid\":\"x\"}".to_vec()]).unwrap();
    assert_eq!(refused.keys().collect::<Vec<_>>(), ["x"]);
    assert_eq!(client.fetch(&["default"]).unwrap(), Some(job(1, "a")));
    let more = client.fetch_batch(&["default"], 9, Duration::ZERO).unwrap();
    assert_eq!(more.iter().map(|job| job.get().as_bytes()).collect::<Vec<_>>(), [job(3, "a")]);
    assert_eq!(client.fetch(&["default"]).unwrap(), None);
    client.ack("job-00000001").unwrap();
    assert_eq!(client.ack_batch(&["a", "gone"]).unwrap()["gone"], "unknown");
    let fail = Fail { jid: "gone", ..Fail::default() };
    assert!(matches!(client.fail(&fail), Err(ClientError::Server(_))));
    client.fail(&Fail { jid: "there", message: "m", ..Fail::default() }).unwrap();
    assert_eq!(client.fail_batch(&[fail]).unwrap().len(), 1);
    assert_eq!(client.beat("w1", 1).unwrap().as_deref(), Some("quiet"));
    assert_eq!(client.info().unwrap().get(), "{\"now\":1}");
    assert_eq!(client.call("QUEUE", b"PAUSE *").unwrap(), Some(b"OK".to_vec()));
    assert!(matches!(client.call("NO", b"END\r\nEND"), Err(ClientError::Server(_))));
    client.end().unwrap();
    assert_eq!(server.join().unwrap(), 17);
}

#[test]
fn many_pushes_are_under_way_at_once_and_answered_in_order() {
    for window in [1, 7, 512] {
        let (address, server) = Server::default().start();
        let mut client = Client::connect(address, &ClientOptions { window, ..options() }).unwrap();
        let kind = |n: u32| if n % 10 == 3 { "twice" } else { "a" };
        let mut answers = Vec::new();
        let pushed = client
            .push_many((0..5000).map(|n| job(n, kind(n))), |n, push| {
                answers.push((n, push == Push::Taken));
            })
            .unwrap();
        assert_eq!(pushed, 5000);
        assert!(answers.iter().copied().eq((0..5000_u32).map(|n| (u64::from(n), n % 10 != 3))));
        assert_eq!(client.push_many([b""; 0], |_, _| panic!("nothing was pushed")).unwrap(), 0);
        let fetched = client.fetch_batch(&["default"], 10_000, Duration::ZERO).unwrap();
        let kept = (0..5000).filter(|n| n % 10 != 3).map(|n| job(n, "a"));
        assert!(fetched.iter().map(|job| job.get().as_bytes().to_vec()).eq(kept));
        drop(client);
        server.join().unwrap();
    }
}

#[test]
fn a_password_is_asked_for_and_checked() {
    let connect = |password: Option<&str>| {
        let (address, server) = Server { password: Some("hunter2"), ..Server::default() }.start();
        let options = ClientOptions { password: password.map(Password::new), ..options() };
        assert!(!format!("{options:?}").contains("hunter"), "a password is shown");
        let client = Client::connect(address, &options);
        let result = client.map(drop);
        server.join().unwrap();
        result
    };
    assert!(connect(Some("hunter2")).is_ok());
    assert!(matches!(connect(None), Err(ClientError::PasswordNeeded)));
    assert!(matches!(
        connect(Some("hunter3")),
        Err(ClientError::Rejected(error)) if &*error.text == "Invalid password"
    ));
}

#[test]
fn failures_say_what_to_do() {
    let (address, server) = Server { closes_after: Some(3), ..Server::default() }.start();
    let mut client = Client::connect(address, &options()).unwrap();
    let mut told = 0;
    let error = client.push_many((0..5000).map(|n| job(n, "a")), |_, _| told += 1).unwrap_err();
    assert!(matches!(error, ClientError::Closed | ClientError::Io(_)), "{error:?}");
    assert!(told <= 2);
    assert!(matches!(client.push(&job(1, "a")), Err(ClientError::Broken)));
    server.join().unwrap();

    let (address, server) =
        Server { info: Some(b"{\"now\":"), is_plain: true, ..Server::default() }.start();
    let mut client = Client::connect(address, &options()).unwrap();
    assert!(matches!(client.info(), Err(ClientError::Value { command: "INFO", .. })));
    assert!(matches!(
        client.fetch_batch(&["a"], 1, Duration::ZERO),
        Err(ClientError::NotTickwheel { command: "FETCHB" })
    ));
    client.push(&job(1, "a")).unwrap();
    drop(client);
    server.join().unwrap();

    let (address, server) = Server { is_mute: true, ..Server::default() }.start();
    let hasty = ClientOptions { reply_timeout: Duration::from_millis(1), ..options() };
    assert!(matches!(Client::connect(address, &hasty), Err(ClientError::Timeout { .. })));
    server.join().unwrap();

    // A port that was just given back, of an address that nobody else is given one of: nothing listens there.
    let address = TcpListener::bind("127.0.0.2:0").unwrap().local_addr().unwrap();
    assert!(matches!(Client::connect(address, &options()), Err(ClientError::Connect { .. })));
}
