//! The bytes of one connection: of a socket as it is, or through TLS. It must not know requests.

use std::{
    io::{self, Read, Write},
    net::Shutdown,
};

use mio::net::TcpStream;
use rustls::ServerConnection;

/// A socket, and what encrypts on it.
#[derive(Debug)]
pub(super) struct Stream {
    socket: TcpStream,
    tls: Option<Box<ServerConnection>>,
}

/// Encrypted bytes that wait for the client at the most; replies beyond wait as they are.
const TLS_BYTES_MAX: usize = 64 << 10;

impl Stream {
    pub(super) fn new(socket: TcpStream, tls: Option<ServerConnection>) -> Self {
        let tls = tls.map(|mut tls| {
            tls.set_buffer_limit(Some(TLS_BYTES_MAX));
            Box::new(tls)
        });
        Self { socket, tls }
    }

    pub(super) fn socket(&mut self) -> &mut TcpStream {
        &mut self.socket
    }

    /// Whether a read that brings less than was asked for has emptied the socket.
    pub(super) fn is_empty_after_short_read(&self) -> bool {
        self.tls.is_none()
    }

    /// Whether bytes wait that were written already.
    pub(super) fn has_unsent(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }

    /// Sends what was written, as far as the client takes it. True when it takes no more now.
    ///
    /// # Errors
    /// The connection is of no use any more.
    pub(super) fn send(&mut self) -> io::Result<bool> {
        let Some(tls) = &mut self.tls else { return Ok(false) };
        while tls.wants_write() {
            match tls.write_tls(&mut self.socket) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// Tells the client that nothing more comes.
    ///
    /// # Errors
    /// The connection is of no use any more.
    pub(super) fn close_write(&mut self) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            self.send()?;
        }
        self.socket.shutdown(Shutdown::Write)
    }
}

impl Read for Stream {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else { return self.socket.read(bytes) };
        loop {
            match tls.reader().read(bytes) {
                // An end without the farewell of TLS is one all the same: a request that it cuts off is
                // no request.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read,
            }
            if tls.read_tls(&mut self.socket)? == 0 {
                // What it holds was given out above.
                return Ok(0);
            }
            let processed = tls.process_new_packets();
            // A handshake answers by itself, and an error is told; if the client does not take it
            // now, it is sent when it does.
            if tls.wants_write() {
                match tls.write_tls(&mut self.socket) {
                    Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                    _ => {}
                }
            }
            processed.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.tls.is_none() {
            return self.socket.write(bytes);
        }
        if self.send()? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let Some(tls) = &mut self.tls else { return Ok(0) };
        match tls.writer().write(bytes)? {
            // Before the handshake is done it holds back what it is given, and no more than that.
            0 => Err(io::ErrorKind::WouldBlock.into()),
            written => {
                // Whether the client takes it now is seen by the next write.
                self.send()?;
                Ok(written)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
