//! The kept end of a command's output. It bounds memory whatever the command writes.

use std::collections::VecDeque;

use crate::problem::printable;

/// The last bytes that a command wrote to its standard output and error, in the order written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Output {
    tail: VecDeque<u8>,
    limit_bytes: usize,
    dropped_bytes: u64,
}

impl Output {
    /// Keeps at most `limit_bytes`.
    pub(super) fn new(limit_bytes: usize) -> Self {
        Self { tail: VecDeque::new(), limit_bytes, dropped_bytes: 0 }
    }

    /// Adds what was read, and drops the oldest bytes above the limit.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let kept = &bytes[bytes.len().saturating_sub(self.limit_bytes)..];
        let total = self.tail.len() + kept.len();
        let excess = total.saturating_sub(self.limit_bytes);
        self.tail.drain(..excess);
        self.tail.extend(kept);
        self.dropped_bytes += (bytes.len() - kept.len() + excess) as u64;
    }

    /// How many bytes were written before the kept ones, and are gone.
    pub fn dropped_bytes(&self) -> u64 {
        self.dropped_bytes
    }

    /// Whether nothing was kept and nothing dropped.
    pub fn is_empty(&self) -> bool {
        self.tail.is_empty() && self.dropped_bytes == 0
    }

    /// The kept bytes.
    pub fn to_vec(&self) -> Vec<u8> {
        self.tail.iter().copied().collect()
    }

    /// The kept text, safe for a terminal or log: one item per line; bytes that are not UTF-8
    /// and control characters other than tabs are escaped.
    pub fn lines(&self) -> Vec<String> {
        let bytes = self.to_vec();
        let text = String::from_utf8_lossy(&bytes);
        text.lines().map(printable).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_bytes_are_kept_and_the_others_counted() {
        let mut output = Output::new(4);
        output.push(b"ab");
        output.push(b"cde");
        assert_eq!(output.to_vec(), b"bcde");
        assert_eq!(output.dropped_bytes(), 1);
        output.push(b"0123456789");
        assert_eq!(output.to_vec(), b"6789");
        assert_eq!(output.dropped_bytes(), 11);
    }

    #[test]
    fn a_limit_of_zero_keeps_nothing_and_counts_all() {
        let mut output = Output::new(0);
        output.push(b"xyz");
        assert_eq!((output.to_vec(), output.dropped_bytes()), (Vec::new(), 3));
        assert!(!output.is_empty());
    }

    #[test]
    fn lines_cannot_steer_a_terminal() {
        let mut output = Output::new(64);
        output.push(b"a\tb\n\x1b[2J\xff\n");
        assert_eq!(output.lines(), ["a\tb", "\\u{1b}[2J\u{fffd}"]);
    }
}
