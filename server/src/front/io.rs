//! An I/O thread: it waits for sockets and letters, and gives each connection its turn. It must not
//! know commands.

use std::{
    collections::HashMap,
    io,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token, net::TcpStream};

use super::{
    accept::Acceptor,
    connection::{Connection, Context, Turn, give_back},
    limits,
    mailbox::{Letter, Mailbox},
    shared::Phase,
    stream::Stream,
};

pub(super) const WAKER: Token = Token(0);
pub(super) const LISTENER: Token = Token(1);
/// Tokens of connections begin here, and none is used twice.
const FIRST: usize = 2;

/// One I/O thread with its connections.
pub(super) struct Io {
    poll: Poll,
    context: Context,
    acceptor: Option<Acceptor>,
    connections: HashMap<Token, Connection>,
    next_token: usize,
    /// Those that have something to do now.
    listed: Vec<Token>,
    scratch: Box<[u8]>,
    /// Bytes of requests that have not ended, of all connections.
    unfinished_bytes: usize,
    swept: Instant,
    /// Some connection has a deadline.
    has_deadlines: bool,
    /// When the end does not wait any longer.
    ends_at: Option<Instant>,
}

impl Io {
    pub(super) fn new(poll: Poll, context: Context, acceptor: Option<Acceptor>) -> Self {
        Self {
            poll,
            context,
            acceptor,
            connections: HashMap::new(),
            next_token: FIRST,
            listed: Vec::new(),
            scratch: vec![0; limits::READ_BYTES].into_boxed_slice(),
            unfinished_bytes: 0,
            swept: Instant::now(),
            has_deadlines: false,
            ends_at: None,
        }
    }

    /// Runs until the front-end ends.
    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(1024);
        loop {
            match self.poll.poll(&mut events, self.timeout()) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    tracing::error!("an I/O thread cannot wait for its sockets: {error}");
                    break;
                }
            }
            for event in &events {
                match event.token() {
                    WAKER => {}
                    LISTENER => {
                        if let Some(acceptor) = &mut self.acceptor {
                            acceptor.ready();
                        }
                    }
                    token => {
                        if let Some(connection) = self.connections.get_mut(&token) {
                            connection.ready(event);
                            list(&mut self.listed, connection, token);
                        }
                    }
                }
            }
            self.context.mailbox.open();
            while let Some(letter) = self.context.mailbox.take() {
                self.read_letter(letter);
            }
            self.accept();
            self.sweep();
            for token in std::mem::take(&mut self.listed) {
                self.advance(token);
            }
            let is_over = self.ends_at.is_some_and(|at| at <= Instant::now());
            if self.ends_at.is_some() && (self.connections.is_empty() || is_over) {
                break;
            }
        }
        for (_, connection) in self.connections.drain() {
            connection.end(&self.context);
        }
    }

    /// How long nothing has to be done by itself.
    fn timeout(&self) -> Option<Duration> {
        if !self.listed.is_empty() || self.acceptor.as_ref().is_some_and(Acceptor::has_more) {
            return Some(Duration::ZERO);
        }
        let now = Instant::now();
        let sweep = self.has_deadlines.then(|| self.swept + limits::SWEEP);
        let accept = self.acceptor.as_ref().and_then(Acceptor::paused_until);
        let first = [sweep, accept, self.ends_at].into_iter().flatten().min();
        first.map(|at| at.saturating_duration_since(now))
    }

    fn read_letter(&mut self, letter: Letter) {
        let to = match letter {
            Letter::Accepted(socket, address) => return self.adopt(socket, address),
            Letter::Phase => return self.phase_changed(),
            Letter::Ordered { to, shard, replies } => {
                if let Some(connection) = self.connections.get_mut(&to.connection) {
                    connection.ordered(&self.context, to.number, shard, replies);
                }
                to
            }
            Letter::Controlled { to, reply } => {
                if let Some(connection) = self.connections.get_mut(&to.connection) {
                    connection.controlled(to.number, reply);
                }
                to
            }
            Letter::Fetched { to, fetched } => {
                match self.connections.get_mut(&to.connection) {
                    Some(connection) => connection.fetched(&self.context, to.number, fetched),
                    None => give_back(&self.context.engine, &fetched),
                }
                to
            }
        };
        if let Some(connection) = self.connections.get_mut(&to.connection) {
            list(&mut self.listed, connection, to.connection);
        }
    }

    fn phase_changed(&mut self) {
        let phase = self.context.shared.phase();
        self.acceptor = None;
        if phase == Phase::Ending {
            self.ends_at.get_or_insert_with(|| Instant::now() + limits::END_WAIT);
        }
        for (token, connection) in &mut self.connections {
            connection.withdraw();
            if phase == Phase::Ending {
                connection.stop_taking();
            }
            list(&mut self.listed, connection, *token);
        }
    }

    fn accept(&mut self) {
        let Some(acceptor) = &mut self.acceptor else { return };
        let mine: Vec<_> = acceptor
            .accept(&self.context.shared)
            .into_iter()
            .filter_map(|(socket, address)| acceptor.hand_on(socket, address))
            .collect();
        for (socket, address) in mine {
            self.adopt(socket, address);
        }
    }

    fn adopt(&mut self, mut socket: TcpStream, address: IpAddr) {
        let token = Token(self.next_token);
        self.next_token += 1;
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self.poll.registry().register(&mut socket, token, interest) {
            tracing::warn!("a connection cannot be waited for: {error}");
            return self.context.shared.left(address);
        }
        let tls = match self.context.shared.tls().map(|tls| tls.connection()).transpose() {
            Ok(tls) => tls,
            Err(error) => {
                tracing::warn!("a connection cannot be encrypted: {error}");
                return self.context.shared.left(address);
            }
        };
        let stream = Stream::new(socket, tls);
        let mut connection = Connection::new(token, stream, address, &self.context);
        if self.context.shared.phase() == Phase::Ending {
            connection.stop_taking();
        }
        list(&mut self.listed, &mut connection, token);
        self.connections.insert(token, connection);
    }

    fn advance(&mut self, token: Token) {
        let Some(connection) = self.connections.get_mut(&token) else { return };
        connection.is_listed = false;
        let before = connection.waiting_bytes();
        let mut turn = connection.advance(&self.context, &mut self.scratch);
        self.unfinished_bytes = self.unfinished_bytes + connection.waiting_bytes() - before;
        let is_large = connection.waiting_bytes() > limits::READ_BYTES;
        if is_large && self.unfinished_bytes > limits::UNFINISHED_BYTES_MAX {
            self.unfinished_bytes -= connection.waiting_bytes();
            connection.refuse("the server has no memory for long requests now; try again later");
            turn = connection.advance(&self.context, &mut self.scratch);
        }
        self.has_deadlines |= connection.has_deadline();
        match turn {
            Turn::Waits => {}
            Turn::Again => list(&mut self.listed, connection, token),
            Turn::Ended => self.drop_connection(token),
        }
    }

    fn drop_connection(&mut self, token: Token) {
        if let Some(mut connection) = self.connections.remove(&token) {
            self.unfinished_bytes -= connection.waiting_bytes();
            // The system forgets it when it is closed; that it cannot before is no harm.
            let _ = self.poll.registry().deregister(connection.socket());
            connection.end(&self.context);
        }
    }

    /// Looks at all deadlines, now and then.
    fn sweep(&mut self) {
        let now = Instant::now();
        if !self.has_deadlines || now < self.swept + limits::SWEEP {
            return;
        }
        (self.swept, self.has_deadlines) = (now, false);
        for (token, connection) in &mut self.connections {
            if connection.sweep(now) {
                list(&mut self.listed, connection, *token);
            }
            self.has_deadlines |= connection.has_deadline();
        }
    }
}

fn list(listed: &mut Vec<Token>, connection: &mut Connection, token: Token) {
    if !std::mem::replace(&mut connection.is_listed, true) {
        listed.push(token);
    }
}

/// The poll and mailbox of a thread to be.
pub(super) fn prepare() -> io::Result<(Poll, Arc<Mailbox>)> {
    let poll = Poll::new()?;
    let mailbox = Arc::new(Mailbox::new(poll.registry(), WAKER)?);
    Ok((poll, mailbox))
}
