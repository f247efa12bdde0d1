//! Replies: written into one buffer by a server, found in a stream by a client. It must not know which
//! command a reply belongs to.

use std::{fmt::Display, io::Write, str};

use crate::limits;

/// Appends `+OK`.
pub fn ok(out: &mut Vec<u8>) {
    out.extend_from_slice(b"+OK\r\n");
}

/// Appends a simple string. Control characters in it become spaces, so that it stays one line.
pub fn simple(out: &mut Vec<u8>, text: &str) {
    out.push(b'+');
    line(out, out.len(), |out| out.extend_from_slice(text.as_bytes()));
}

/// Appends an error: a code in capital letters, `ERR` if there is no other, and a text. Control
/// characters in the text become spaces.
pub fn error(out: &mut Vec<u8>, code: &str, text: impl Display) {
    out.push(b'-');
    out.extend_from_slice(code.as_bytes());
    out.push(b' ');
    line(out, out.len(), |out| {
        // Writing to memory does not fail; a value that cannot be shown leaves what it wrote.
        let _ = write!(out, "{text}");
    });
}

/// Appends a bulk string.
pub fn bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    bulk_with(out, |out| out.extend_from_slice(bytes));
}

/// Appends a bulk string of what `write` appends, for values that are made in place.
pub fn bulk_with(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    /// The length comes first and is known last: as many digits as any length can have, and `$`.
    const HEAD_BYTES: usize = 32;
    let begin = out.len();
    out.resize(begin + HEAD_BYTES, 0);
    write(out);
    let len = out.len() - begin - HEAD_BYTES;
    out.extend_from_slice(b"\r\n");
    let mut head = [0; HEAD_BYTES];
    let mut rest = &mut head[..];
    // 64 bits have 20 digits at the most.
    write!(rest, "${len}\r\n").expect("a length and four bytes fit in 32");
    let head_len = HEAD_BYTES - rest.len();
    out[begin..begin + head_len].copy_from_slice(&head[..head_len]);
    out.copy_within(begin + HEAD_BYTES.., begin + head_len);
    out.truncate(out.len() - (HEAD_BYTES - head_len));
}

/// Appends the bulk string that is none.
pub fn null(out: &mut Vec<u8>) {
    out.extend_from_slice(b"$-1\r\n");
}

/// Lets `write` append a text, makes it one line, and ends it.
fn line(out: &mut Vec<u8>, begin: usize, write: impl FnOnce(&mut Vec<u8>)) {
    write(out);
    for byte in &mut out[begin..] {
        if byte.is_ascii_control() {
            *byte = b' ';
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// One reply of a server. It borrows from the bytes that it came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply<'a> {
    /// A simple string, such as `OK`.
    Simple(&'a str),
    /// An error, with its code in front.
    Error(&'a str),
    /// A bulk string.
    Bulk(&'a [u8]),
    /// The bulk string that is none.
    Null,
}

/// What a server said in place of what was asked for. The connection goes on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server refused: {code} {text}")]
pub struct ServerError {
    /// Its first word, such as `ERR` or `NOTUNIQUE`.
    pub code: Box<str>,
    /// The rest.
    pub text: Box<str>,
}

impl ServerError {
    /// Reads the text of an error reply.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let (code, text) = text.split_once(' ').unwrap_or((text, ""));
        Self { code: code.into(), text: text.into() }
    }
}

/// Why a stream of replies cannot be read on. The connection is of no use any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplyError {
    /// A reply begins with another character than `+`, `-` and `$`.
    #[error("a reply begins with byte {byte:#04x}, which this protocol does not have; reconnect")]
    UnknownKind {
        /// The character.
        byte: u8,
    },
    /// A line is not UTF-8, a length is no number, or a bulk string does not end where it should.
    #[error("a reply is malformed: {reason}; reconnect")]
    Malformed {
        /// What is wrong.
        reason: &'static str,
    },
    /// A reply is longer than this client takes.
    #[error("a reply is longer than {max_bytes} bytes; ask for less at once")]
    TooLong {
        /// The bound.
        max_bytes: usize,
    },
}

/// Finds replies in a stream, however its bytes are cut into pieces. It keeps no bytes.
///
/// ```
/// use tickwheel_protocol::{Reply, ReplyDecoder};
///
/// let mut decoder = ReplyDecoder::new(1 << 20);
/// assert_eq!(decoder.decode(b"$5\r\nhel")?, None);
/// assert_eq!(decoder.decode(b"$5\r\nhello\r\n+OK")?, Some((11, Reply::Bulk(b"hello"))));
/// # Ok::<(), tickwheel_protocol::ReplyError>(())
/// ```
#[derive(Clone, Debug)]
pub struct ReplyDecoder {
    bulk_bytes_max: usize,
    /// Bytes of the present line that are known to hold no end.
    searched: usize,
}

impl ReplyDecoder {
    /// A decoder that takes bulk strings of up to `bulk_bytes_max` bytes.
    #[must_use]
    pub fn new(bulk_bytes_max: usize) -> Self {
        Self { bulk_bytes_max, searched: 0 }
    }

    /// The first reply in `bytes`, which begin where the last one ended, and the bytes that it takes;
    /// `None` if it has not ended.
    ///
    /// # Errors
    /// That the stream cannot be read on; each further call with these bytes says the same.
    pub fn decode<'a>(
        &mut self,
        bytes: &'a [u8],
    ) -> Result<Option<(usize, Reply<'a>)>, ReplyError> {
        let Some(&kind) = bytes.first() else {
            return Ok(None);
        };
        if !matches!(kind, b'+' | b'-' | b'$') {
            return Err(ReplyError::UnknownKind { byte: kind });
        }
        let max_bytes = limits::REPLY_LINE_BYTES_MAX;
        let window = &bytes[..bytes.len().min(max_bytes)];
        let searched = self.searched.min(window.len());
        let Some(found) = memchr::memchr(b'\n', &window[searched..]) else {
            self.searched = window.len();
            return if window.len() == max_bytes {
                Err(ReplyError::TooLong { max_bytes })
            } else {
                Ok(None)
            };
        };
        let end = searched + found;
        let line = window[1..end].strip_suffix(b"\r").unwrap_or(&window[1..end]);
        let line = str::from_utf8(line)
            .map_err(|_| ReplyError::Malformed { reason: "a line is not valid UTF-8" })?;
        let decoded = match kind {
            b'+' => Some((end + 1, Reply::Simple(line))),
            b'-' => Some((end + 1, Reply::Error(line))),
            _ => self.bulk(bytes, line, end + 1)?,
        };
        // Of a bulk string only the line with its length was searched.
        self.searched = if decoded.is_some() { 0 } else { end };
        Ok(decoded)
    }

    fn bulk<'a>(
        &self,
        bytes: &'a [u8],
        length: &str,
        begin: usize,
    ) -> Result<Option<(usize, Reply<'a>)>, ReplyError> {
        if length == "-1" {
            return Ok(Some((begin, Reply::Null)));
        }
        // The number parser takes a sign as well.
        let len = Some(length).filter(|length| length.bytes().all(|byte| byte.is_ascii_digit()));
        let len = len.and_then(|length| length.parse::<usize>().ok());
        let len = len.ok_or(ReplyError::Malformed { reason: "a length is not a number" })?;
        if len > self.bulk_bytes_max {
            return Err(ReplyError::TooLong { max_bytes: self.bulk_bytes_max });
        }
        let rest = &bytes[begin..];
        // As soon as a wrong end can be seen, it is; so the cut of the stream does not matter.
        match rest.get(len..).unwrap_or_default() {
            [b'\r', b'\n', ..] => Ok(Some((begin + len + 2, Reply::Bulk(&rest[..len])))),
            [] | [b'\r'] => Ok(None),
            _ => Err(ReplyError::Malformed {
                reason: "a bulk string has another length than it says",
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let long = vec![b'x'; 123_456];
        let mut out = Vec::new();
        ok(&mut out);
        simple(&mut out, "a\r\n+b");
        error(&mut out, "NOTUNIQUE", "Job not\nunique");
        bulk(&mut out, b"");
        bulk(&mut out, b"\r\n+OK\r\n");
        null(&mut out);
        bulk(&mut out, &long);
        let expected = [
            Reply::Simple("OK"),
            Reply::Simple("a  +b"),
            Reply::Error("NOTUNIQUE Job not unique"),
            Reply::Bulk(b""),
            Reply::Bulk(b"\r\n+OK\r\n"),
            Reply::Null,
            Reply::Bulk(&long),
        ];
        let mut decoder = ReplyDecoder::new(1 << 20);
        let mut rest = &out[..];
        for expected in expected {
            let (len, reply) = decoder.decode(rest).unwrap().unwrap();
            assert_eq!(reply, expected);
            rest = &rest[len..];
        }
        assert!(rest.is_empty());
    }

    #[test]
    fn what_is_no_reply_is_refused() {
        let bad: [&[u8]; 7] =
            [b"*1\r\n", b"$x\r\n", b"$-2\r\n", b"$+3\r\n", b"$1\r\nab", b"$101\r\n", b"+\xff\r\n"];
        for bad in bad {
            assert!(ReplyDecoder::new(100).decode(bad).is_err(), "{bad:?}");
        }
        let endless = vec![b'+'; limits::REPLY_LINE_BYTES_MAX];
        assert!(ReplyDecoder::new(100).decode(&endless).is_err());
        assert_eq!(ReplyDecoder::new(100).decode(&endless[1..]), Ok(None));
    }
}
