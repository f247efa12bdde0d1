//! What other threads tell an I/O thread: a queue without locks, and one wake-up for many letters.
//! It must not know what a letter leads to.

use std::{
    io,
    net::IpAddr,
    sync::atomic::{AtomicBool, Ordering},
};

use crossbeam::queue::SegQueue;
use mio::{Registry, Token, Waker, net::TcpStream};
use tickwheel_engine::{
    CallError,
    worker::{Fetched, OrderReply},
};

/// Which request of which connection an answer belongs to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Address {
    pub(super) connection: Token,
    /// Counts what the connection waits for.
    pub(super) number: u64,
}

/// One message to an I/O thread.
#[derive(Debug)]
pub(super) enum Letter {
    /// A connection that was accepted and is this thread's from now on.
    Accepted(TcpStream, IpAddr),
    /// What became of the orders of one shard.
    Ordered { to: Address, shard: usize, replies: Result<Vec<OrderReply>, CallError> },
    /// What became of a command for the control thread.
    Controlled { to: Address, reply: Vec<u8> },
    /// What a fetch brought.
    Fetched { to: Address, fetched: Vec<Fetched> },
    /// The server's phase has changed.
    Phase,
}

/// The letters of one I/O thread.
#[derive(Debug)]
pub(super) struct Mailbox {
    letters: SegQueue<Letter>,
    waker: Waker,
    /// A wake-up is on its way.
    is_woken: AtomicBool,
}

impl Mailbox {
    pub(super) fn new(registry: &Registry, token: Token) -> io::Result<Self> {
        let waker = Waker::new(registry, token)?;
        Ok(Self { letters: SegQueue::new(), waker, is_woken: AtomicBool::new(false) })
    }

    /// Leaves a letter and wakes the thread, unless somebody has since it last looked.
    pub(super) fn post(&self, letter: Letter) {
        self.letters.push(letter);
        if self.is_woken.swap(true, Ordering::AcqRel) {
            return;
        }
        if let Err(error) = self.waker.wake() {
            // The next letter tries again.
            self.is_woken.store(false, Ordering::Release);
            tracing::error!("an I/O thread could not be woken: {error}");
        }
    }

    /// To be called before [`Mailbox::take`] until that finds nothing: letters posted from here on
    /// wake the thread again.
    pub(super) fn open(&self) {
        self.is_woken.swap(false, Ordering::AcqRel);
    }

    pub(super) fn take(&self) -> Option<Letter> {
        self.letters.pop()
    }
}
