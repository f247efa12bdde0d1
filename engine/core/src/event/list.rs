//! Lists of attempts, as the events [`Event::StartedMany`](super::Event::StartedMany) and
//! [`Event::SucceededMany`](super::Event::SucceededMany) carry them behind their heads.
//!
//! Per attempt: the distance of the job's id from the one before, as a signed number, and its
//! fencing token. Jobs that begin or end together were mostly added one after the other, so an
//! attempt takes two or three bytes. Numbers are LEB128, signed ones with their sign in the lowest
//! bit.

use alloc::vec::Vec;

use super::DecodeEventError;
use crate::{
    id::{JobId, Token},
    limits,
};

/// One attempt of one job, as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The job.
    pub job: JobId,
    /// The attempt's fencing token.
    pub token: Token,
}

/// Writes `attempts` over `buffer`.
pub(crate) fn encode(attempts: impl Iterator<Item = Listed>, buffer: &mut Vec<u8>) {
    buffer.clear();
    let mut before = 0_u64;
    for Listed { job, token } in attempts {
        let distance = job.0.wrapping_sub(before).cast_signed();
        put(buffer, ((distance << 1) ^ (distance >> 63)).cast_unsigned());
        put(buffer, u64::from(token.0));
        before = job.0;
    }
}

fn put(buffer: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        buffer.push(value as u8 | 0x80);
        value >>= 7;
    }
    buffer.push(value as u8);
}

/// The attempts of a list, which is checked as it is read: after an error nothing follows.
///
/// ```
/// use tickwheel_core::{JobId, Token, event::{Attempts, Listed}};
/// let mut attempts = Attempts::new(2, &[84, 1, 1, 3]);
/// let first = Listed { job: JobId(42), token: Token(1) };
/// assert_eq!(attempts.next(), Some(Ok(first)));
/// assert_eq!(attempts.next(), Some(Ok(Listed { job: JobId(41), token: Token(3) })));
/// assert_eq!(attempts.next(), None);
/// ```
#[derive(Clone, Debug)]
pub struct Attempts<'a> {
    left: u32,
    before: u64,
    bytes: &'a [u8],
}

impl<'a> Attempts<'a> {
    /// The `count` attempts that `bytes`, what follows the event's head, should hold.
    #[must_use]
    pub fn new(count: u32, bytes: &'a [u8]) -> Self {
        Self { left: count, before: 0, bytes }
    }

    fn read(&mut self) -> Result<Listed, DecodeEventError> {
        let distance = self.number()?;
        let distance = (distance >> 1) ^ (distance & 1).wrapping_neg();
        let job = self.before.wrapping_add(distance);
        let token = u32::try_from(self.number()?).map_err(|_| MALFORMED)?;
        self.before = job;
        if self.left == 1 && !self.bytes.is_empty() {
            return Err(MALFORMED);
        }
        Ok(Listed { job: JobId(job), token: Token(token) })
    }

    fn number(&mut self) -> Result<u64, DecodeEventError> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.bytes.split_first().ok_or(MALFORMED)?;
            self.bytes = rest;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return Err(MALFORMED);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(MALFORMED)
    }
}

impl Iterator for Attempts<'_> {
    type Item = Result<Listed, DecodeEventError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let read = self.read();
        self.left = if read.is_ok() { self.left - 1 } else { 0 };
        Some(read)
    }
}

const MALFORMED: DecodeEventError = DecodeEventError("its list of attempts cannot be read");

// A list takes less than its attempts would take one by one, for which there is room.
const _: () = assert!((limits::LIST_ENTRY_BYTES_MAX as u64) < limits::START_BYTES_MAX);
const _: () = assert!(
    limits::LIST_ENTRY_BYTES_MAX * limits::LIST_ATTEMPTS_MAX + 64 <= limits::EVENT_BYTES_MAX
);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_list_comes_back_as_it_was_written(
            attempts in prop::collection::vec((any::<u64>(), any::<u32>()), 1..100),
            cut in any::<prop::sample::Index>(),
        ) {
            let attempts: Vec<Listed> = attempts
                .into_iter()
                .map(|(job, token)| Listed { job: JobId(job), token: Token(token) })
                .collect();
            let mut bytes = Vec::new();
            encode(attempts.iter().copied(), &mut bytes);
            prop_assert!(bytes.len() <= limits::LIST_ENTRY_BYTES_MAX * attempts.len());
            let count = attempts.len() as u32;
            let read: Result<Vec<Listed>, _> = Attempts::new(count, &bytes).collect();
            prop_assert_eq!(read, Ok(attempts));
            // A list that is cut off, or goes on, is an error and not a shorter list.
            let short = &bytes[..cut.index(bytes.len())];
            prop_assert!(Attempts::new(count, short).any(|read| read.is_err()));
            bytes.push(0);
            prop_assert!(Attempts::new(count, &bytes).any(|read| read.is_err()));
        }

        #[test]
        fn any_bytes_are_a_list_or_an_error(count in 0..50_u32, bytes in any::<Vec<u8>>()) {
            let read = Attempts::new(count, &bytes).count();
            prop_assert!(read <= count as usize);
        }
    }

    #[test]
    fn neighbours_take_two_bytes_each() {
        let mut bytes = Vec::new();
        let attempt = |job| Listed { job: JobId(1_u64 << 40 | job), token: Token(1) };
        encode((0..1000).map(attempt), &mut bytes);
        assert!(bytes.len() < 2010, "{} bytes", bytes.len());
    }
}
