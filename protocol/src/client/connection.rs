//! A socket with what goes out and what came in. It must not know commands.

use std::{
    io::{self, Write},
    net::{TcpStream, ToSocketAddrs},
    time::Duration,
};

use super::{ClientError, ClientOptions};
use crate::{
    inbox::Inbox,
    reply::{Reply, ReplyDecoder},
};

/// Shortest time limit that the operating system takes.
const TIMEOUT_MIN: Duration = Duration::from_millis(1);

#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    inbox: Inbox,
    outbox: Vec<u8>,
    decoder: ReplyDecoder,
    reply_timeout: Duration,
    /// Set by a failure after which replies can no longer be told apart.
    is_broken: bool,
}

impl Connection {
    pub(super) fn open(
        address: impl ToSocketAddrs + std::fmt::Debug,
        options: &ClientOptions,
    ) -> Result<Self, ClientError> {
        let connect = || {
            let none = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
            let mut last = none;
            for address in address.to_socket_addrs()? {
                match TcpStream::connect_timeout(&address, options.connect_timeout.max(TIMEOUT_MIN))
                {
                    Ok(stream) => return Ok(stream),
                    Err(error) => last = error,
                }
            }
            Err(last)
        };
        let stream = connect()
            .map_err(|source| ClientError::Connect { address: format!("{address:?}"), source })?;
        let reply_timeout = options.reply_timeout.max(TIMEOUT_MIN);
        stream.set_read_timeout(Some(reply_timeout))?;
        stream.set_write_timeout(Some(reply_timeout))?;
        // Requests are gathered here; the operating system must not hold them back as well.
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            inbox: Inbox::new(),
            outbox: Vec::new(),
            decoder: ReplyDecoder::new(options.bulk_bytes_max),
            reply_timeout,
            is_broken: false,
        })
    }

    /// Where requests are written before they are sent.
    pub(super) fn outbox(&mut self) -> &mut Vec<u8> {
        &mut self.outbox
    }

    /// Sends what was written.
    pub(super) fn flush(&mut self) -> Result<(), ClientError> {
        if self.is_broken {
            self.outbox.clear();
            return Err(ClientError::Broken);
        }
        let sent = self.stream.write_all(&self.outbox);
        self.outbox.clear();
        sent.map_err(|error| self.fail(error))
    }

    /// Waits for the next reply and reads it. A failure that is not the server's refusal, or a value in a
    /// reply that was complete, leaves the connection broken.
    pub(super) fn receive<T>(
        &mut self,
        read: impl FnOnce(Reply<'_>) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        while !self.has_reply()? {
            match self.inbox.read_from(&mut self.stream) {
                Ok(0) => {
                    self.is_broken = true;
                    return Err(ClientError::Closed);
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.fail(error)),
            }
        }
        let Some((len_bytes, reply)) = self.decoder.decode(self.inbox.bytes())? else {
            return Err(ClientError::Broken);
        };
        let result = read(reply);
        self.inbox.consume(len_bytes);
        let stays =
            matches!(result, Ok(_) | Err(ClientError::Server(_) | ClientError::Value { .. }));
        self.is_broken |= !stays;
        result
    }

    /// Whether a whole reply has come already.
    pub(super) fn has_reply(&mut self) -> Result<bool, ClientError> {
        if self.is_broken {
            return Err(ClientError::Broken);
        }
        match self.decoder.decode(self.inbox.bytes()) {
            Ok(found) => Ok(found.is_some()),
            Err(error) => {
                self.is_broken = true;
                Err(error.into())
            }
        }
    }

    /// The socket and what came on it and was not read yet.
    pub(super) fn into_parts(self) -> (TcpStream, Inbox) {
        (self.stream, self.inbox)
    }

    fn fail(&mut self, error: io::Error) -> ClientError {
        self.is_broken = true;
        match error.kind() {
            // Unix says that it would block, Windows that the time is over.
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                ClientError::Timeout { limit: self.reply_timeout }
            }
            _ => error.into(),
        }
    }
}
