//! CRC-32C by the crates that compute it with the processor's instructions. It knows those crates and
//! the pattern in which a log takes checksums, never the log.
//!
//! `crc32fast` is not among them: it computes the CRC-32 of Ethernet and zip, another polynomial, and
//! so other sums than the ones in the files of the log.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use crc_fast::{CrcAlgorithm, Digest};

/// Checksums, or records, of one round.
pub const ROUND: u32 = 1000;
/// Bytes of a record's header in the log.
const HEADER_BYTES: usize = 16;
/// Longest first part of a payload. A log is handed the fixed fields of an event and then its bytes.
const FIRST_PART_BYTES_MAX: usize = 32;
/// Bytes that the payloads are taken from in turn: fewer than the first cache holds, because whoever
/// appends a record has just written it.
const BYTES: usize = 16 << 10;

/// A crate that computes CRC-32C.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crate {
    /// `crc32c`, which the log uses.
    Crc32c,
    /// `crc-fast`.
    CrcFast,
}

impl Crate {
    /// All that are measured.
    pub const ALL: [Self; 2] = [Self::Crc32c, Self::CrcFast];

    /// The name in the registry.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Crc32c => "crc32c",
            Self::CrcFast => "crc-fast",
        }
    }
}

/// Payloads of one length, whose checksums are taken.
#[derive(Clone, Debug)]
pub struct Payloads {
    bytes: Vec<u8>,
    len: usize,
}

impl Payloads {
    /// Payloads of `len` bytes, from 1 to 16 KiB.
    ///
    /// # Panics
    /// If `len` lies outside that range.
    #[must_use]
    pub fn new(len: usize) -> Self {
        assert!((1..=BYTES).contains(&len), "a payload has 1 to {BYTES} bytes");
        let bytes = (0..BYTES as u32).map(|n| (n.wrapping_mul(0x9e37_79b9) >> 24) as u8).collect();
        Self { bytes, len }
    }

    /// Time to take the checksum of a round of payloads in one call each, `rounds` times.
    ///
    /// # Panics
    /// If a checksum is wrong.
    #[must_use]
    pub fn whole(&self, by: Crate, rounds: u64) -> Duration {
        let expected = |payload: &[u8]| bitwise(0, payload);
        match by {
            Crate::Crc32c => self.repeat(rounds, expected, crc32c::crc32c),
            Crate::CrcFast => self.repeat(rounds, expected, crc_fast::crc32_iscsi),
        }
    }

    /// Time to take the checksums of a round of records as a log does, `rounds` times: that of the
    /// payload in two parts, then that of a header which holds it, from a seed.
    ///
    /// # Panics
    /// If a checksum is wrong.
    #[must_use]
    pub fn record(&self, by: Crate, rounds: u64) -> Duration {
        let expected = |payload: &[u8]| record(payload, bitwise);
        match by {
            Crate::Crc32c => {
                self.repeat(rounds, expected, |payload| record(payload, crc32c::crc32c_append))
            }
            Crate::CrcFast => {
                self.repeat(rounds, expected, |payload| record(payload, crc_fast_append))
            }
        }
    }

    #[inline]
    fn repeat(
        &self,
        rounds: u64,
        expected: impl Fn(&[u8]) -> u32,
        sum: impl Fn(&[u8]) -> u32,
    ) -> Duration {
        for payload in self.bytes.chunks_exact(self.len) {
            assert_eq!(sum(payload), expected(payload), "a checksum is wrong");
        }
        let mut elapsed = Duration::ZERO;
        for _ in 0..rounds {
            let began = Instant::now();
            let mut all = 0_u32;
            for payload in self.round() {
                all = all.wrapping_add(sum(black_box(payload)));
            }
            elapsed += began.elapsed();
            black_box(all);
        }
        elapsed
    }

    fn round(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes.chunks_exact(self.len).cycle().take(ROUND as usize)
    }
}

/// The checksums of one record. The returned one covers all of it, since the header holds the other.
#[inline]
fn record(payload: &[u8], append: impl Fn(u32, &[u8]) -> u32) -> u32 {
    let (first, second) = payload.split_at(FIRST_PART_BYTES_MAX.min(payload.len() / 2));
    let payload_crc = append(append(0, first), second);
    let mut header = [0; HEADER_BYTES];
    header[..4].copy_from_slice(&0x1000_u32.to_le_bytes());
    header[4..8].copy_from_slice(&payload_crc.to_le_bytes());
    header[8..12].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    append(0x5eed_5eed, &header)
}

/// Goes on with `crc`. The crate takes and gives the sum before the last inversion.
#[inline]
fn crc_fast_append(crc: u32, bytes: &[u8]) -> u32 {
    let mut digest = Digest::new_with_init_state(CrcAlgorithm::Crc32Iscsi, u64::from(!crc));
    digest.update(bytes);
    digest.finalize() as u32
}

/// CRC-32C by its definition (RFC 3720, appendix B.4), bit by bit, to check the others by.
fn bitwise(crc: u32, bytes: &[u8]) -> u32 {
    let mut state = !crc;
    for byte in bytes {
        state ^= u32::from(*byte);
        for _ in 0..8 {
            let is_odd = state & 1 == 1;
            state = (state >> 1) ^ if is_odd { 0x82f6_3b78 } else { 0 };
        }
    }
    !state
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_gives_the_published_sum() {
        // The check value of CRC-32C in the catalogue of parametrised CRCs.
        assert_eq!(bitwise(0, b"123456789"), 0xe306_9283);
        assert_eq!(bitwise(bitwise(0, b"1234"), b"56789"), 0xe306_9283);
    }
}
