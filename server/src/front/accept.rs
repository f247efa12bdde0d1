//! Accepting connections: within the bounds, spread over the I/O threads, and without a loop at full
//! speed when the system has no descriptors left.

use std::{
    io::{self, Write},
    net::IpAddr,
    sync::Arc,
    time::Instant,
};

use mio::net::{TcpListener, TcpStream};
use rustix::net::sockopt;

use super::{
    limits,
    mailbox::{Letter, Mailbox},
    shared::Shared,
};

/// The listening socket, in the first I/O thread.
#[derive(Debug)]
pub(super) struct Acceptor {
    listener: TcpListener,
    /// All I/O threads, this one first.
    mailboxes: Vec<Arc<Mailbox>>,
    turn: usize,
    has_more: bool,
    paused_until: Option<Instant>,
}

impl Acceptor {
    pub(super) fn new(listener: TcpListener, mailboxes: Vec<Arc<Mailbox>>) -> Self {
        Self { listener, mailboxes, turn: 0, has_more: true, paused_until: None }
    }

    /// The system said that somebody waits.
    pub(super) fn ready(&mut self) {
        self.has_more = true;
    }

    /// Whether somebody may wait and can be let in now.
    pub(super) fn has_more(&self) -> bool {
        self.has_more && self.paused_until.is_none()
    }

    /// Until when nobody is let in, for want of descriptors.
    pub(super) fn paused_until(&self) -> Option<Instant> {
        self.paused_until
    }

    /// Those who wait, a bounded number of them.
    pub(super) fn accept(&mut self, shared: &Shared) -> Vec<(TcpStream, IpAddr)> {
        let mut accepted = Vec::new();
        if self.paused_until.is_some_and(|until| until <= Instant::now()) {
            self.paused_until = None;
        }
        let mut turns = 0;
        while self.has_more() && turns < limits::ACCEPTS_PER_TURN {
            turns += 1;
            match self.listener.accept() {
                Ok((mut socket, address)) => match shared.admit(address.ip()) {
                    Ok(()) => {
                        prepare(&socket);
                        accepted.push((socket, address.ip()));
                    }
                    Err(why) => {
                        tracing::debug!(%address, "a connection is refused: {why}");
                        // A new socket takes a line; a client that does not hear it sees the end.
                        let _ = socket.write(format!("-ERR {why}\r\n").as_bytes());
                    }
                },
                Err(error) => self.failed(&error),
            }
        }
        accepted
    }

    fn failed(&mut self, error: &io::Error) {
        match error.kind() {
            io::ErrorKind::WouldBlock => self.has_more = false,
            // Who waited has gone, or a signal came: the next one.
            io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {}
            _ => {
                tracing::warn!("no connection can be accepted now: {error}; those there go on");
                self.paused_until = Some(Instant::now() + limits::ACCEPT_PAUSE);
            }
        }
    }

    /// Gives a connection to the thread whose turn it is; back if that is this one.
    pub(super) fn hand_on(
        &mut self,
        socket: TcpStream,
        address: IpAddr,
    ) -> Option<(TcpStream, IpAddr)> {
        let turn = self.turn;
        self.turn = (turn + 1) % self.mailboxes.len();
        if turn == 0 {
            return Some((socket, address));
        }
        self.mailboxes[turn].post(Letter::Accepted(socket, address));
        None
    }
}

/// Sets what the system does for a connection. Nothing hangs on it but how soon a peer that vanished is
/// noticed, so that a refusal is no reason to refuse the client.
fn prepare(socket: &TcpStream) {
    // Replies are gathered here; the system must not hold them back as well.
    let _ = socket.set_nodelay(true);
    let _ = sockopt::set_socket_keepalive(socket, true);
    let _ = sockopt::set_tcp_keepidle(socket, limits::KEEP_IDLE);
    let _ = sockopt::set_tcp_keepintvl(socket, limits::KEEP_INTERVAL);
    let _ = sockopt::set_tcp_keepcnt(socket, limits::KEEP_COUNT);
    // Also where something was sent that the peer does not acknowledge.
    let _ = sockopt::set_tcp_user_timeout(socket, limits::STALL_WAIT.as_millis() as u32);
}
