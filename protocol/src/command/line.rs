//! Lines: where the next request ends in a stream of bytes. It must not know what a line says.

use super::{Command, RequestError};
use crate::limits::Limits;

/// Finds requests in a stream, however its bytes are cut into pieces.
///
/// It keeps no bytes, only how far it has looked for the end of the present line, so that a long line
/// that comes in small pieces is looked at once. The caller keeps the bytes, for example in an
/// [`Inbox`](crate::Inbox).
///
/// ```
/// use tickwheel_protocol::{Command, Decoded, Limits, RequestDecoder};
///
/// let bytes = b"INFO\r\nFETCH a b\nEN";
/// let mut decoder = RequestDecoder::new();
/// let mut at = 0;
/// let mut seen = Vec::new();
/// while let Decoded::Request { len_bytes, command } = decoder.decode(&bytes[at..], &Limits::DEFAULT) {
///     at += len_bytes;
///     seen.push(command?);
/// }
/// assert!(matches!(&seen[..], [Command::Info, Command::Fetch(queues)] if queues.len() == 2));
/// assert_eq!(&bytes[at..], b"EN");
/// # Ok::<(), tickwheel_protocol::RequestError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct RequestDecoder {
    /// Bytes of the present line that are known to hold no end.
    searched: usize,
    is_broken: bool,
}

/// What [`RequestDecoder::decode`] found.
#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "a request is the common case, and a box would cost it an allocation"
)]
pub enum Decoded<'a> {
    /// The line has not ended: call again with these bytes and more behind them.
    Incomplete,
    /// A line, which takes the first `len_bytes` bytes with its end.
    Request {
        /// Bytes to step over.
        len_bytes: usize,
        /// What it says, or why it was not understood.
        command: Result<Command<'a>, RequestError>,
    },
}

impl RequestDecoder {
    /// A decoder at the beginning of a line.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The first request in `bytes`, which begin where the last one ended.
    ///
    /// A line ends with LF or CRLF. After [`RequestError::LineTooLong`] each further call says the
    /// same. The same stream yields the same requests, however it is cut.
    pub fn decode<'a>(&mut self, bytes: &'a [u8], limits: &Limits) -> Decoded<'a> {
        let max_bytes = limits.line_bytes_max;
        if self.is_broken {
            return too_long(bytes, max_bytes);
        }
        // Within the bound and an end of two bytes, or never.
        let window = &bytes[..bytes.len().min(max_bytes.saturating_add(2))];
        let searched = self.searched.min(window.len());
        let Some(found) = memchr::memchr(b'\n', &window[searched..]) else {
            if window.len() == max_bytes.saturating_add(2) {
                self.is_broken = true;
                return too_long(bytes, max_bytes);
            }
            self.searched = window.len();
            return Decoded::Incomplete;
        };
        let end = searched + found;
        let line = &window[..end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.len() > max_bytes {
            self.is_broken = true;
            return too_long(bytes, max_bytes);
        }
        self.searched = 0;
        Decoded::Request { len_bytes: end + 1, command: Command::parse(line, limits) }
    }
}

/// All bytes are stepped over: there is no next line to be found in them.
fn too_long(bytes: &[u8], max_bytes: usize) -> Decoded<'_> {
    let command = Err(RequestError::LineTooLong { max_bytes });
    Decoded::Request { len_bytes: bytes.len(), command }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(bytes: &[u8], max: usize) -> Option<(usize, bool)> {
        let limits = Limits { line_bytes_max: max, ..Limits::DEFAULT };
        match RequestDecoder::new().decode(bytes, &limits) {
            Decoded::Incomplete => None,
            Decoded::Request { len_bytes, command } => Some((len_bytes, command.is_ok())),
        }
    }

    #[test]
    fn a_line_is_bounded_without_its_end() {
        assert_eq!(first(b"INFO\r\nINFO", 4), Some((6, true)));
        assert_eq!(first(b"INFO\nINFO", 4), Some((5, true)));
        assert_eq!(first(b"INFO\r", 4), None);
        assert_eq!(first(b"INFO ", 4), None);
        assert_eq!(first(b"INFO \n", 4), Some((6, false)));
        assert_eq!(first(b"INFO  ", 4), Some((6, false)));
        assert_eq!(first(b"INFO \r\n", 4), Some((7, false)));
    }

    #[test]
    fn a_broken_stream_stays_broken() {
        let limits = Limits { line_bytes_max: 4, ..Limits::DEFAULT };
        let mut decoder = RequestDecoder::new();
        for bytes in [&b"PUSH {}"[..], b"INFO\n"] {
            let Decoded::Request { len_bytes, command: Err(error) } =
                decoder.decode(bytes, &limits)
            else {
                panic!("a line that is too long was taken");
            };
            assert!(error.is_fatal());
            assert_eq!(len_bytes, bytes.len());
        }
    }

    #[test]
    fn a_long_line_is_looked_at_once() {
        let mut decoder = RequestDecoder::new();
        let mut bytes = b"ACK ".to_vec();
        for _ in 0..100 {
            bytes.push(b' ');
            assert!(matches!(decoder.decode(&bytes, &Limits::DEFAULT), Decoded::Incomplete));
            assert_eq!(decoder.searched, bytes.len());
        }
    }
}
