//! A blocking client with pipelining, for tools and tests. It must not know what runs a job.

mod connection;
mod error;

use std::{
    collections::BTreeMap,
    net::{TcpStream, ToSocketAddrs},
    time::Duration,
};

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::{
    handshake::{Greeting, Hello, Identity, Password},
    inbox::Inbox,
    reply::{Reply, ServerError},
    request::{self, Fail},
};
use connection::Connection;
pub use error::ClientError;

/// How a client connects.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Who it is. With a `wid` it is a worker, which may fetch.
    pub identity: Identity<'static>,
    /// The server's password.
    pub password: Option<Password>,
    /// How long to wait for a connection, for each address. Default 5 s, minimum 1 ms.
    pub connect_timeout: Duration,
    /// How long a read or a write may make no progress. Default 30 s, minimum 1 ms; more than a fetch
    /// waits.
    pub reply_timeout: Duration,
    /// Longest bulk string that is taken, in bytes. Default 256 MiB.
    pub bulk_bytes_max: usize,
    /// Requests that [`Client::push_many`] has under way. Default 512, minimum 1, maximum 16,384: their
    /// answers must fit into the buffers of a socket while the client still writes.
    pub window: usize,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            identity: Identity::default(),
            password: None,
            connect_timeout: Duration::from_secs(5),
            reply_timeout: Duration::from_secs(30),
            bulk_bytes_max: 256 << 20,
            window: 512,
        }
    }
}

const WINDOW_MAX: usize = 16_384;

/// What became of a job that was pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Push {
    /// The server has taken it, or had it already.
    Taken,
    /// The server refused it.
    Refused(ServerError),
}

/// Those of a batch that the server refused: the reason by jid.
pub type Refused = BTreeMap<String, String>;

/// A connection to a work server, one call at a time.
///
/// Dropping it closes the connection. Leases of fetched jobs stay as they are.
///
/// ```
/// use std::{io::{self, Write}, net::TcpListener, thread};
/// use tickwheel_protocol::{Client, ClientOptions, NewJob, Push};
///
/// # // In place of a server: it greets, and says yes to a hello and two pushes.
/// # let listener = TcpListener::bind("127.0.0.1:0")?;
/// # let address = listener.local_addr()?;
/// # let server = thread::spawn(move || {
/// #     let (mut socket, _) = listener.accept()?;
/// #     socket.write_all(b"+HI {\"v\":2}\r\n+OK\r\n+OK\r\n+OK\r\n")?;
/// #     io::copy(&mut socket, &mut io::sink())
/// # });
/// let mut client = Client::connect(address, &ClientOptions::default())?;
/// let jobs = ["first-job", "second-job"].map(|jid| NewJob::new(jid, "send_email").to_json());
/// let pushed = client.push_many(jobs, |_, push| assert_eq!(push, Push::Taken))?;
/// assert_eq!(pushed, 2);
/// client.end()?;
/// # assert!(server.join().is_ok_and(|sent| sent.is_ok()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Client {
    connection: Connection,
    window: usize,
    is_tickwheel: bool,
}

impl Client {
    /// Connects and says hello.
    ///
    /// # Errors
    /// That there is no connection, or that the server did not take the greeting.
    pub fn connect(
        address: impl ToSocketAddrs + std::fmt::Debug,
        options: &ClientOptions,
    ) -> Result<Self, ClientError> {
        let mut connection = Connection::open(address, options)?;
        let (hello, is_tickwheel) = connection.receive(|reply| match reply {
            Reply::Simple(text) => {
                let greeting = Greeting::parse(text)?;
                if greeting.challenge.is_some() && options.password.is_none() {
                    return Err(ClientError::PasswordNeeded);
                }
                let identity = options.identity.clone();
                let hello =
                    Hello::answer(identity, greeting.challenge.as_ref(), options.password.as_ref());
                Ok((hello, greeting.is_tickwheel))
            }
            // A server that is full says so in place of a greeting.
            Reply::Error(text) => Err(ClientError::Rejected(ServerError::parse(text))),
            _ => Err(ClientError::Unexpected { command: "HI" }),
        })?;
        hello.write(connection.outbox());
        connection.flush()?;
        connection.receive(|reply| match reply {
            Reply::Error(text) => Err(ClientError::Rejected(ServerError::parse(text))),
            reply => expect_ok("HELLO", reply),
        })?;
        let window = options.window.clamp(1, WINDOW_MAX);
        Ok(Self { connection, window, is_tickwheel })
    }

    /// Whether the server knows `FETCHB` and the other additions.
    #[must_use]
    pub fn is_tickwheel(&self) -> bool {
        self.is_tickwheel
    }

    /// Pushes one job, given as JSON, and waits until the server has taken it.
    ///
    /// # Errors
    /// [`ClientError::Server`] if it was refused.
    pub fn push(&mut self, job: &[u8]) -> Result<(), ClientError> {
        request::push(self.connection.outbox(), job);
        self.connection.flush()?;
        self.connection.receive(|reply| expect_ok("PUSH", reply))
    }

    /// Pushes jobs, given as JSON, with many under way, and tells `on_reply` what became of each, by its
    /// place among them, in their order. The next one is taken from `jobs` only when it can be sent.
    ///
    /// Returns how many were pushed.
    ///
    /// # Errors
    /// Any but [`ClientError::Server`]. Jobs of which `on_reply` was not told may have been taken.
    pub fn push_many<J: AsRef<[u8]>>(
        &mut self,
        jobs: impl IntoIterator<Item = J>,
        mut on_reply: impl FnMut(u64, Push),
    ) -> Result<u64, ClientError> {
        let mut jobs = jobs.into_iter();
        let (mut sent, mut answered) = (0, 0);
        loop {
            while sent - answered < self.window as u64 {
                let Some(job) = jobs.next() else {
                    break;
                };
                request::push(self.connection.outbox(), job.as_ref());
                sent += 1;
                if self.connection.outbox().len() >= WRITE_BYTES {
                    self.connection.flush()?;
                }
            }
            if sent == answered {
                return Ok(sent);
            }
            self.connection.flush()?;
            // One answer is waited for; those that came with it are taken as well, so that the next
            // write carries as many requests.
            loop {
                let push = self.connection.receive(|reply| match reply {
                    Reply::Error(text) => Ok(Push::Refused(ServerError::parse(text))),
                    reply => expect_ok("PUSH", reply).map(|()| Push::Taken),
                })?;
                on_reply(answered, push);
                answered += 1;
                if answered == sent || !self.connection.has_reply()? {
                    break;
                }
            }
        }
    }

    /// Pushes jobs, given as JSON, in one request. The server takes all but those that it returns.
    ///
    /// # Errors
    /// [`ClientError::Server`] if the request as a whole was refused.
    pub fn push_batch<J: AsRef<[u8]>>(
        &mut self,
        jobs: impl IntoIterator<Item = J>,
    ) -> Result<Refused, ClientError> {
        request::push_batch(self.connection.outbox(), jobs);
        self.ask("PUSHB")
    }

    /// [`Client::push_batch`] for many batches, with up to `under_way` (at least 1) of them sent and not yet
    /// answered. `on_reply` is told what was refused of each, by its place among them, in their order.
    ///
    /// Returns how many batches were pushed.
    ///
    /// # Errors
    /// [`ClientError::Server`] if a request as a whole was refused, after which the answers to those
    /// behind it are lost: connect anew. Batches of which `on_reply` was not told may have been taken.
    pub fn push_batches<B, J>(
        &mut self,
        batches: impl IntoIterator<Item = B>,
        under_way: usize,
        mut on_reply: impl FnMut(u64, Refused),
    ) -> Result<u64, ClientError>
    where
        B: IntoIterator<Item = J>,
        J: AsRef<[u8]>,
    {
        let mut batches = batches.into_iter();
        let (mut sent, mut answered) = (0, 0);
        loop {
            while sent - answered < under_way.max(1) as u64 {
                let Some(batch) = batches.next() else { break };
                request::push_batch(self.connection.outbox(), batch);
                self.connection.flush()?;
                sent += 1;
            }
            if sent == answered {
                return Ok(sent);
            }
            on_reply(answered, self.answer("PUSHB")?);
            answered += 1;
        }
    }

    /// Fetches one job of these queues, as JSON; `None` if none came within the server's 2 s.
    ///
    /// # Errors
    /// [`ClientError::Server`] if the client is no worker.
    pub fn fetch(&mut self, queues: &[&str]) -> Result<Option<Vec<u8>>, ClientError> {
        request::fetch(self.connection.outbox(), queues);
        self.connection.flush()?;
        self.connection.receive(|reply| match reply {
            Reply::Bulk(job) => Ok(Some(job.to_vec())),
            Reply::Null => Ok(None),
            Reply::Error(text) => Err(ServerError::parse(text).into()),
            Reply::Simple(_) => Err(ClientError::Unexpected { command: "FETCH" }),
        })
    }

    /// Fetches up to `count_max` jobs of these queues, as JSON, and waits up to `wait` for the first.
    ///
    /// # Errors
    /// [`ClientError::NotTickwheel`] on another server; [`ClientError::Server`] if it is refused.
    pub fn fetch_batch(
        &mut self,
        queues: &[&str],
        count_max: usize,
        wait: Duration,
    ) -> Result<Vec<Box<RawValue>>, ClientError> {
        self.need_tickwheel("FETCHB")?;
        let wait_ms = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX);
        request::fetch_batch(self.connection.outbox(), queues, count_max, wait_ms);
        self.ask("FETCHB")
    }

    /// Says that a job has succeeded.
    ///
    /// # Errors
    /// [`ClientError::Server`] if the server refuses.
    pub fn ack(&mut self, jid: &str) -> Result<(), ClientError> {
        request::ack(self.connection.outbox(), jid);
        self.command("ACK")
    }

    /// Says that jobs have succeeded, and returns those of which the server did not take it.
    ///
    /// # Errors
    /// [`ClientError::NotTickwheel`] on another server; [`ClientError::Server`] if it is refused.
    pub fn ack_batch(&mut self, jids: &[&str]) -> Result<Refused, ClientError> {
        self.need_tickwheel("ACKB")?;
        request::ack_batch(self.connection.outbox(), jids);
        self.ask("ACKB")
    }

    /// [`Client::ack_batch`] of jobs that are done and [`Client::fetch_batch`] of the next ones in one
    /// round trip. What was not taken of the first comes first.
    ///
    /// # Errors
    /// As for both; after [`ClientError::Server`] connect anew.
    pub fn ack_and_fetch(
        &mut self,
        jids: &[&str],
        queues: &[&str],
        count_max: usize,
        wait: Duration,
    ) -> Result<(Refused, Vec<Box<RawValue>>), ClientError> {
        self.need_tickwheel("FETCHB")?;
        let wait_ms = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX);
        request::ack_batch(self.connection.outbox(), jids);
        request::fetch_batch(self.connection.outbox(), queues, count_max, wait_ms);
        self.connection.flush()?;
        Ok((self.answer("ACKB")?, self.answer("FETCHB")?))
    }

    /// Says that a job has failed.
    ///
    /// # Errors
    /// [`ClientError::Server`] if the job is not under way.
    pub fn fail(&mut self, fail: &Fail<'_>) -> Result<(), ClientError> {
        request::fail(self.connection.outbox(), fail);
        self.command("FAIL")
    }

    /// Says that jobs have failed, and returns those of which the server did not take it.
    ///
    /// # Errors
    /// [`ClientError::NotTickwheel`] on another server; [`ClientError::Server`] if it is refused.
    pub fn fail_batch(&mut self, fails: &[Fail<'_>]) -> Result<Refused, ClientError> {
        self.need_tickwheel("FAILB")?;
        request::fail_batch(self.connection.outbox(), fails);
        self.ask("FAILB")
    }

    /// Says that the worker lives, and returns the state that the server wants of it, if another:
    /// `quiet` or `terminate`.
    ///
    /// # Errors
    /// [`ClientError::Server`] if the server does not know the worker.
    pub fn beat(&mut self, wid: &str, rss_kb: u64) -> Result<Option<String>, ClientError> {
        #[derive(serde::Deserialize)]
        struct Wire {
            state: Option<String>,
        }
        request::beat(self.connection.outbox(), wid, "", rss_kb);
        self.connection.flush()?;
        self.connection.receive(|reply| match reply {
            Reply::Bulk(json) => value::<Wire>("BEAT", json).map(|wire| wire.state),
            reply => expect_ok("BEAT", reply).map(|()| None),
        })
    }

    /// The state of the server, as JSON.
    ///
    /// # Errors
    /// [`ClientError::Server`] if the server refuses.
    pub fn info(&mut self) -> Result<Box<RawValue>, ClientError> {
        request::info(self.connection.outbox());
        self.ask("INFO")
    }

    /// Sends any other request and returns its answer: the text of a simple string, or a bulk string;
    /// `None` for none.
    ///
    /// # Errors
    /// [`ClientError::Server`] if the server refuses.
    pub fn call(&mut self, verb: &str, args: &[u8]) -> Result<Option<Vec<u8>>, ClientError> {
        request::other(self.connection.outbox(), verb, args);
        self.connection.flush()?;
        self.connection.receive(|reply| match reply {
            Reply::Simple(text) => Ok(Some(text.as_bytes().to_vec())),
            Reply::Bulk(bytes) => Ok(Some(bytes.to_vec())),
            Reply::Null => Ok(None),
            Reply::Error(text) => Err(ServerError::parse(text).into()),
        })
    }

    /// Gives up the connection after its handshake, to whoever writes requests and reads replies by
    /// other means: on two threads, for example. Its time limits stay set. The inbox holds what came
    /// and belongs to no call.
    #[must_use]
    pub fn into_parts(self) -> (TcpStream, Inbox) {
        self.connection.into_parts()
    }

    /// Ends the connection in good order.
    ///
    /// # Errors
    /// [`ClientError::Io`] if the end could not be sent; the connection is closed all the same.
    pub fn end(mut self) -> Result<(), ClientError> {
        request::end_connection(self.connection.outbox());
        self.connection.flush()
    }

    fn command(&mut self, command: &'static str) -> Result<(), ClientError> {
        self.connection.flush()?;
        self.connection.receive(|reply| expect_ok(command, reply))
    }

    /// Sends what was written and reads a bulk string of JSON.
    fn ask<T: DeserializeOwned>(&mut self, command: &'static str) -> Result<T, ClientError> {
        self.connection.flush()?;
        self.answer(command)
    }

    /// Reads a bulk string of JSON.
    fn answer<T: DeserializeOwned>(&mut self, command: &'static str) -> Result<T, ClientError> {
        self.connection.receive(|reply| match reply {
            Reply::Bulk(json) => value(command, json),
            Reply::Error(text) => Err(ServerError::parse(text).into()),
            _ => Err(ClientError::Unexpected { command }),
        })
    }

    fn need_tickwheel(&self, command: &'static str) -> Result<(), ClientError> {
        if self.is_tickwheel { Ok(()) } else { Err(ClientError::NotTickwheel { command }) }
    }
}

/// Bytes of requests that are gathered before they are written.
const WRITE_BYTES: usize = 64 << 10;

fn expect_ok(command: &'static str, reply: Reply<'_>) -> Result<(), ClientError> {
    match reply {
        Reply::Simple("OK") => Ok(()),
        Reply::Error(text) => Err(ServerError::parse(text).into()),
        _ => Err(ClientError::Unexpected { command }),
    }
}

fn value<T: DeserializeOwned>(command: &'static str, json: &[u8]) -> Result<T, ClientError> {
    serde_json::from_slice(json).map_err(|source| ClientError::Value { command, source })
}
