//! Bytes between two reads. It must not know what they mean.

use std::io::{self, Read};

/// Bytes that one read brings at the most, and the memory kept when nothing waits.
const READ_BYTES: usize = 64 << 10;

/// Bytes that came and were not used yet.
///
/// It grows as long as nothing is consumed; what bounds it is the decoder, which refuses a line or
/// reply that is too long. Memory beyond 128 KiB is given back when the inbox is empty.
#[derive(Debug, Default)]
pub struct Inbox {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Inbox {
    /// An empty inbox, which takes no memory before the first read.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What came and was not consumed, in its order.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Steps over the first `len_bytes` bytes.
    ///
    /// # Panics
    /// If there are fewer.
    pub fn consume(&mut self, len_bytes: usize) {
        assert!(len_bytes <= self.end - self.start, "more bytes are used than came");
        self.start += len_bytes;
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            if self.bytes.len() > 2 * READ_BYTES {
                self.bytes = Vec::new();
            }
        }
    }

    /// Reads once, up to 64 KiB or the room that is there anyway; 0 is the end of the stream.
    ///
    /// # Errors
    /// Those of `source`, also `WouldBlock` and `Interrupted`; no byte is lost by them.
    pub fn read_from(&mut self, source: &mut impl Read) -> io::Result<usize> {
        if self.bytes.len() - self.end < READ_BYTES {
            if self.start >= READ_BYTES.max(self.end - self.start) {
                // No more bytes are moved than were consumed, so moving costs a constant per byte.
                self.bytes.copy_within(self.start..self.end, 0);
                (self.start, self.end) = (0, self.end - self.start);
            }
            if self.bytes.len() - self.end < READ_BYTES {
                // Doubling, so that growing costs a constant per byte too.
                let len = (self.end + READ_BYTES).max(2 * self.bytes.len());
                self.bytes.resize(len, 0);
            }
        }
        let read = source.read(&mut self.bytes[self.end..])?;
        self.end += read;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_in_their_order() {
        let sent: Vec<u8> =
            (0..3_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let (mut inbox, mut source, mut got) = (Inbox::new(), &sent[..], Vec::new());
        for turn in 1.. {
            let read = inbox.read_from(&mut source).unwrap();
            // Some turns leave nearly all, some nothing.
            let take = if turn % 7 == 0 || read == 0 {
                inbox.bytes().len()
            } else {
                inbox.bytes().len() / 9
            };
            got.extend_from_slice(&inbox.bytes()[..take]);
            inbox.consume(take);
            if read == 0 {
                break;
            }
        }
        assert!(got == sent);
        assert!(inbox.bytes.len() <= 2 * READ_BYTES);
    }
}
