//! Bytes of one connection, in and out, that wait: requests that have not ended, and replies that the
//! client did not take yet. An idle connection holds next to nothing.

use std::{
    io::{self, Write},
    time::Instant,
};

/// Memory that is kept when nothing waits.
const KEPT_BYTES: usize = 4 << 10;

/// Requests that cannot be decoded yet.
#[derive(Debug, Default)]
pub(super) struct Input {
    bytes: Vec<u8>,
    start: usize,
}

impl Input {
    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds what a read brought and was not used.
    pub(super) fn keep(&mut self, bytes: &[u8]) {
        if self.start > self.bytes.len() / 2 {
            // No more bytes are moved than were used, so moving costs a constant per byte.
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// Lets `take` see what waits; it says how much of it was used.
    pub(super) fn offer(&mut self, take: impl FnOnce(&[u8]) -> usize) {
        self.start += take(&self.bytes[self.start..]);
        if self.is_empty() {
            self.clear();
        }
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.start = 0;
        if self.bytes.capacity() > KEPT_BYTES {
            self.bytes = Vec::new();
        }
    }
}

/// Replies that were not taken yet.
#[derive(Debug, Default)]
pub(super) struct Output {
    bytes: Vec<u8>,
    start: usize,
    /// Since when the client has taken nothing, while there is something for it.
    stalled: Option<Instant>,
}

impl Output {
    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where replies are appended.
    pub(super) fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    pub(super) fn stalled(&self) -> Option<Instant> {
        self.stalled
    }

    /// Writes as much as `socket` takes. True when it takes no more now.
    ///
    /// # Errors
    /// The connection is of no use any more.
    pub(super) fn write_to(&mut self, socket: &mut impl Write) -> io::Result<bool> {
        while !self.is_empty() {
            match socket.write(&self.bytes[self.start..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    self.start += written;
                    self.stalled = None;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.stalled.get_or_insert_with(Instant::now);
                    if self.start > self.bytes.len() / 2 {
                        self.bytes.drain(..self.start);
                        self.start = 0;
                    }
                    return Ok(true);
                }
                Err(error) => return Err(error),
            }
        }
        self.bytes.clear();
        self.start = 0;
        self.stalled = None;
        if self.bytes.capacity() > KEPT_BYTES {
            self.bytes = Vec::new();
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_gives_back_what_was_kept_in_its_order() {
        let mut input = Input::default();
        let sent: Vec<u8> =
            (0..100_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let mut got = Vec::new();
        for (turn, piece) in sent.chunks(997).enumerate() {
            input.keep(piece);
            input.offer(|bytes| {
                let used = if turn % 5 == 4 { bytes.len() } else { bytes.len() / 3 };
                got.extend_from_slice(&bytes[..used]);
                used
            });
        }
        input.offer(|bytes| {
            got.extend_from_slice(bytes);
            bytes.len()
        });
        assert!(got == sent);
        assert!(input.is_empty() && input.bytes.capacity() <= KEPT_BYTES);
    }

    /// Takes three bytes, then nothing, then three again.
    struct Slow(Vec<u8>, bool);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.1 = !self.1;
            if !self.1 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let taken = bytes.len().min(3);
            self.0.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn output_goes_on_where_it_was_and_knows_that_it_stalls() {
        let mut output = Output::default();
        output.bytes().extend_from_slice(b"0123456789");
        let mut slow = Slow(Vec::new(), false);
        assert!(output.write_to(&mut slow).unwrap());
        assert!(output.stalled().is_some());
        output.bytes().extend_from_slice(b"abc");
        while output.write_to(&mut slow).unwrap() {}
        assert_eq!(slow.0, b"0123456789abc");
        assert!(output.is_empty() && output.stalled().is_none());
    }
}
