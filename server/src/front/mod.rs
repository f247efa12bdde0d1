//! The TCP front-end: workers and producers in any language, by the work protocol.
//!
//! An I/O thread waits for its sockets (`io`). What one read of a connection brings is decoded
//! (`connection`), each command is carried out (`session`) and becomes orders for the engine, one
//! list per shard (`round`, `fails`); what asks the whole engine goes to a thread of its own (`control`). Answers come back as letters (`mailbox`) and are written in
//! the order of the requests. `docs/protocol.md` says what goes over the wire.
//!
//! It must not know configuration files, commands, or how the server ends.

mod accept;
mod buffers;
mod connection;
mod control;
mod error;
mod fails;
mod info;
mod io;
mod job;
mod limits;
mod mailbox;
mod names;
mod round;
mod session;
mod shared;
mod stream;
mod tls;
mod tracks;
mod workers;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use mio::{Interest, net::TcpListener};
use tickwheel_engine::{
    Backoff, Engine,
    worker::{Promise, WorkerChoice},
};
use tickwheel_protocol::Password;

pub use error::ListenError;
pub(crate) use names::job_of;
pub use tls::{Tls, TlsError};

use self::{
    accept::Acceptor,
    connection::Context,
    control::Controls,
    io::Io,
    mailbox::{Letter, Mailbox},
    shared::{Phase, Shared},
};

/// How the front-end is set up.
#[derive(Debug, Clone)]
pub struct FrontOptions {
    /// Where it listens. Any other address than a loopback one needs a password.
    pub listen: SocketAddr,
    /// What clients have to know.
    pub password: Option<Password>,
    /// Certificate and key, if all connections are to be encrypted.
    pub tls: Option<Tls>,
    /// How long jobs that were pushed wait after a failure.
    pub backoff: Backoff,
    /// When the ends of jobs are answered: `ACK`, `FAIL` and their kin.
    pub ends: Promise,
    /// Which of the workers that wait gets the next job.
    pub choice: WorkerChoice,
    /// From the first byte of a request to its last; then the client is cut.
    pub request_wait: Duration,
    /// Whether `FLUSH` is carried out.
    pub allow_flush: bool,
    /// I/O threads, at least 1.
    pub io_threads: usize,
    /// Connections at the most.
    pub connections_max: usize,
    /// Connections from one address at the most.
    pub per_address_max: usize,
}

/// A front-end that listens. Dropping it ends it as [`Front::end`] does.
#[derive(Debug)]
pub struct Front {
    shared: Arc<Shared>,
    mailboxes: Vec<Arc<Mailbox>>,
    threads: Mutex<Vec<thread::JoinHandle<()>>>,
    address: SocketAddr,
}

impl Front {
    /// Checks that the options are safe.
    ///
    /// # Errors
    /// [`ListenError::NoPassword`].
    pub fn check(options: &FrontOptions) -> Result<(), ListenError> {
        if options.password.is_none() && !options.listen.ip().is_loopback() {
            return Err(ListenError::NoPassword { address: options.listen });
        }
        Ok(())
    }

    /// Listens, and serves clients from the engine until the end.
    ///
    /// # Errors
    /// The address cannot be listened at, or needs a password; the system refuses threads.
    pub fn start(options: &FrontOptions, engine: &Arc<Engine>) -> Result<Self, ListenError> {
        Self::check(options)?;
        let bind = |source| ListenError::Bind { address: options.listen, source };
        let mut listener = TcpListener::bind(options.listen).map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        engine.choose_workers(options.choice);
        let shared = Arc::new(Shared::new(options));
        let mut prepared = Vec::new();
        for _ in 0..options.io_threads.max(1) {
            prepared.push(io::prepare()?);
        }
        let mailboxes: Vec<Arc<Mailbox>> =
            prepared.iter().map(|(_, mailbox)| Arc::clone(mailbox)).collect();
        let registry = prepared[0].0.registry();
        registry.register(&mut listener, io::LISTENER, Interest::READABLE)?;
        let mut listener = Some(listener);
        let front = Self {
            shared: Arc::clone(&shared),
            mailboxes: mailboxes.clone(),
            threads: Mutex::default(),
            address,
        };
        let (controls, control) = Controls::start(Arc::clone(engine), Arc::clone(&shared))?;
        for (number, (poll, mailbox)) in prepared.into_iter().enumerate() {
            let context = Context {
                engine: Arc::clone(engine),
                shared: Arc::clone(&shared),
                mailbox,
                controls: controls.clone(),
            };
            let acceptor =
                listener.take().map(|listener| Acceptor::new(listener, mailboxes.clone()));
            let io = Io::new(poll, context, acceptor);
            let thread =
                thread::Builder::new().name(format!("tw-io-{number}")).spawn(move || io.run())?;
            front.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        }
        // It ends when no I/O thread is left, and is waited for last.
        front.threads.lock().unwrap_or_else(PoisonError::into_inner).push(control);
        Ok(front)
    }

    /// Where it listens; with port 0 in the options this is the port that the system chose.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Accepts nobody and hands out no job any more; workers are told to be quiet when they say that
    /// they live. What they have they may end.
    pub fn drain(&self) {
        self.go_on(Phase::Draining);
    }

    /// Takes over what may change while it listens: password and certificate, for connections to
    /// come, the bounds on connections, and which workers get jobs first. Connections that are there
    /// stay. Whether the options are safe was checked.
    pub fn reload(&self, options: &FrontOptions, engine: &Engine) {
        engine.choose_workers(options.choice);
        self.shared.reload(options);
    }

    /// Whether a worker is connected.
    #[must_use]
    pub fn has_workers(&self) -> bool {
        self.shared.workers.is_any_connected()
    }

    /// Answers what was asked, within bounds, and closes all connections.
    pub fn end(&self) {
        self.go_on(Phase::Ending);
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("an I/O thread has panicked");
            }
        }
    }

    fn go_on(&self, phase: Phase) {
        self.shared.advance(phase);
        for mailbox in &self.mailboxes {
            mailbox.post(Letter::Phase);
        }
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.end();
    }
}
