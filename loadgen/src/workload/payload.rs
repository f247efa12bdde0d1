//! What a job carries: its number, how late it was sent, the earliest moment at which it is due, and
//! bytes that follow from seed and number. It knows bytes, never the target.
//!
//! So the handler can tell whether a payload came back as it was sent, without keeping it.

use crate::random::{Random, Stream};

/// Smallest payload: number and lag of four bytes each, due moment of eight, little-endian.
pub const PAYLOAD_BYTES_MIN: usize = 16;
/// Largest payload: what a job may carry.
pub const PAYLOAD_BYTES_MAX: usize = 1 << 20;

const LAG: std::ops::Range<usize> = 4..8;
const DUE: std::ops::Range<usize> = 8..PAYLOAD_BYTES_MIN;

/// What stands at the beginning of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) number: u32,
    /// From the planned moment to the call, in whole microseconds; 71 minutes at the most.
    pub(crate) lag_us: u32,
    /// The earliest moment at which the job is due, by the clock of the run.
    pub(crate) due_ns: u64,
}

/// Fills the payload of job `number`, at least [`PAYLOAD_BYTES_MIN`] long, but for its moments.
pub(crate) fn compose(seed: u64, number: u32, payload: &mut [u8]) {
    payload[..LAG.start].copy_from_slice(&number.to_le_bytes());
    let mut random = Random::of(seed, Stream::Payload, number);
    for piece in payload[DUE.end..].chunks_mut(8) {
        piece.copy_from_slice(&letters(random.next()).to_le_bytes()[..piece.len()]);
    }
}

/// Writes the moments of a job that is about to be submitted.
pub(crate) fn set_moments(payload: &mut [u8], lag_ns: u64, due_ns: u64) {
    let lag_us = u32::try_from(lag_ns / 1000).unwrap_or(u32::MAX);
    payload[LAG].copy_from_slice(&lag_us.to_le_bytes());
    payload[DUE].copy_from_slice(&due_ns.to_le_bytes());
}

/// The beginning of a payload; `None` if it is too short to have one.
pub(crate) fn head(payload: &[u8]) -> Option<Head> {
    let (number, rest) = payload.split_first_chunk::<4>()?;
    let (lag_us, rest) = rest.split_first_chunk::<4>()?;
    let (due_ns, _) = rest.split_first_chunk::<8>()?;
    Some(Head {
        number: u32::from_le_bytes(*number),
        lag_us: u32::from_le_bytes(*lag_us),
        due_ns: u64::from_le_bytes(*due_ns),
    })
}

/// Whether the rest of a payload is what was sent as job `number` under `seed` with `len_bytes`.
pub(crate) fn is_sound(seed: u64, number: u32, len_bytes: usize, payload: &[u8]) -> bool {
    if payload.len() != len_bytes.max(PAYLOAD_BYTES_MIN) {
        return false;
    }
    let mut random = Random::of(seed, Stream::Payload, number);
    // Whole words are compared as numbers: this runs once for each job beside what is measured.
    let (words, end) = payload[DUE.end..].as_chunks::<8>();
    words.iter().all(|word| u64::from_le_bytes(*word) == letters(random.next()))
        && (end.is_empty() || *end == letters(random.next()).to_le_bytes()[..end.len()])
}

/// Eight of the sixteen characters from `` ` `` to `o`: they stand in a text of JSON as they are.
fn letters(word: u64) -> u64 {
    word & 0x0f0f_0f0f_0f0f_0f0f | 0x6060_6060_6060_6060
}

/// Appends a payload as characters that a text of JSON holds as they are: its beginning as hexadecimal
/// digits, and the rest unchanged. So the text is [`PAYLOAD_BYTES_MIN`] longer.
pub(crate) fn write_text(out: &mut Vec<u8>, payload: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let (head, rest) = payload.split_at(PAYLOAD_BYTES_MIN.min(payload.len()));
    let digit = |nibble: u8| DIGITS[usize::from(nibble)];
    out.extend(head.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]));
    out.extend_from_slice(rest);
}

/// Reads what [`write_text`] wrote into `out`, in place of what is there. `false` if it wrote no such text.
pub(crate) fn read_text(text: &str, out: &mut Vec<u8>) -> bool {
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    out.clear();
    let Some((head, rest)) = text.as_bytes().split_at_checked(2 * PAYLOAD_BYTES_MIN) else {
        return false;
    };
    let (pairs, _) = head.as_chunks::<2>();
    for [high, low] in pairs {
        let (Some(high), Some(low)) = (value(*high), value(*low)) else {
            return false;
        };
        out.push(high << 4 | low);
    }
    out.extend_from_slice(rest);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn composed(seed: u64, number: u32, len_bytes: usize) -> Vec<u8> {
        let mut payload = vec![0; len_bytes];
        compose(seed, number, &mut payload);
        payload
    }

    #[test]
    fn what_was_written_is_read_and_a_flipped_bit_is_seen() {
        for len_bytes in [16, 17, 24, 100] {
            let mut payload = composed(7, 41, len_bytes);
            set_moments(&mut payload, 5_999, 123_456);
            assert_eq!(head(&payload), Some(Head { number: 41, lag_us: 5, due_ns: 123_456 }));
            assert!(is_sound(7, 41, len_bytes, &payload));
            assert!(!is_sound(7, 41, len_bytes + 1, &payload));
            for at in PAYLOAD_BYTES_MIN..len_bytes {
                payload[at] ^= 1;
                assert!(!is_sound(7, 41, len_bytes, &payload), "byte {at} of {len_bytes}");
                payload[at] ^= 1;
            }
        }
        assert_eq!(head(&[0; 15]), None);
    }

    #[test]
    fn a_payload_survives_as_a_text_of_json() {
        for len_bytes in [16, 17, 100] {
            let mut payload = composed(7, 41, len_bytes);
            set_moments(&mut payload, 5_999, u64::MAX);
            let mut text = Vec::new();
            write_text(&mut text, &payload);
            let text = String::from_utf8(text).unwrap();
            assert_eq!(text.len(), len_bytes + PAYLOAD_BYTES_MIN);
            assert_eq!(serde_json::to_string(&text).unwrap(), format!("\"{text}\""));
            let mut read = vec![9];
            assert!(read_text(&text, &mut read) && read == payload);
            assert!(!read_text(&text[..31], &mut read) && !read_text(&"x".repeat(40), &mut read));
        }
    }

    #[test]
    fn the_seed_decides_the_bytes() {
        assert_eq!(composed(1, 5, 100), composed(1, 5, 100));
        assert_ne!(composed(1, 5, 100), composed(2, 5, 100));
        assert_ne!(composed(1, 5, 100)[16..], composed(1, 6, 100)[16..]);
    }
}
