//! One connection to a server of the work protocol, on which requests are written and replies read in any
//! pattern. It knows the handshake, and no command.

use std::{
    io::{self, Write},
    net::TcpStream,
    time::Duration,
};

use tickwheel_protocol::{
    Client, ClientError, ClientOptions, Identity, Inbox, Password, Reply, ReplyDecoder,
};

/// Time limit for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest reply.
const REPLY_BYTES_MAX: usize = 256 << 20;

/// Where a server is and how it is greeted.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) address: String,
    pub(super) password: Option<Password>,
    /// How long a read or a write may make no progress.
    pub(super) patience: Duration,
}

/// What is read of a connection.
#[derive(Debug)]
pub(super) struct Replies {
    stream: TcpStream,
    inbox: Inbox,
    decoder: ReplyDecoder,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) replies: Replies,
    /// Requests that are not sent yet.
    pub(super) out: Vec<u8>,
    /// Whether the server knows `FETCHB` and its kin.
    pub(super) is_tickwheel: bool,
}

impl Endpoint {
    /// Connects, as a worker if there is a name for it.
    pub(super) fn open(&self, wid: Option<String>) -> Result<Wire, ClientError> {
        let options = ClientOptions {
            identity: Identity { wid: wid.map(Into::into), ..Identity::default() },
            password: self.password.clone(),
            connect_timeout: CONNECT_TIMEOUT,
            reply_timeout: self.patience,
            ..ClientOptions::default()
        };
        let client = Client::connect(self.address.as_str(), &options)?;
        let is_tickwheel = client.is_tickwheel();
        let (stream, inbox) = client.into_parts();
        let replies = Replies { stream, inbox, decoder: ReplyDecoder::new(REPLY_BYTES_MAX) };
        Ok(Wire { replies, out: Vec::new(), is_tickwheel })
    }
}

impl Wire {
    /// Sends what was written.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        (&self.replies.stream).write_all(&self.out)?;
        self.out.clear();
        Ok(())
    }
}

impl Replies {
    /// The same socket for whoever writes on it or ends it.
    pub(super) fn socket(&self) -> io::Result<TcpStream> {
        self.stream.try_clone()
    }

    /// Waits for the next reply and reads it.
    pub(super) fn receive<T>(&mut self, read: impl FnOnce(Reply<'_>) -> T) -> io::Result<T> {
        loop {
            if let Some((len_bytes, reply)) =
                self.decoder.decode(self.inbox.bytes()).map_err(io::Error::other)?
            {
                let value = read(reply);
                self.inbox.consume(len_bytes);
                return Ok(value);
            }
            match self.inbox.read_from(&mut self.stream) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}
