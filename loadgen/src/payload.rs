//! What a job carries: its number, the earliest moment at which it is due, and bytes that follow
//! from seed and number. It knows bytes, never the engine.
//!
//! The filler is drawn from SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number
//! Generators", 2014), started at the seed mixed with the number. So the handler can tell whether
//! a payload came back as it was sent, without keeping it.

/// Smallest payload: number and due moment, eight bytes each, little-endian.
pub const PAYLOAD_BYTES_MIN: usize = 16;
/// Largest payload: what a job may carry.
pub const PAYLOAD_BYTES_MAX: usize = 1 << 20;

const DUE: std::ops::Range<usize> = 8..PAYLOAD_BYTES_MIN;

/// Fills the payload of job `number`, at least [`PAYLOAD_BYTES_MIN`] long, but for its due moment.
pub(crate) fn compose(seed: u64, number: u32, payload: &mut [u8]) {
    payload[..DUE.start].copy_from_slice(&u64::from(number).to_le_bytes());
    let mut random = SplitMix64::of(seed, number);
    for piece in payload[DUE.end..].chunks_mut(8) {
        piece.copy_from_slice(&random.next().to_le_bytes()[..piece.len()]);
    }
}

/// Writes the earliest due moment, in nanoseconds of `CLOCK_MONOTONIC`.
pub(crate) fn set_due(payload: &mut [u8], due_ns: u64) {
    payload[DUE].copy_from_slice(&due_ns.to_le_bytes());
}

/// Number and due moment of a payload; `None` if it is not one that was sent under `seed` with
/// `len_bytes`.
pub(crate) fn read(seed: u64, len_bytes: usize, payload: &[u8]) -> Option<(u32, u64)> {
    if payload.len() != len_bytes {
        return None;
    }
    let (number, rest) = payload.split_first_chunk::<8>()?;
    let (due_ns, filler) = rest.split_first_chunk::<8>()?;
    let number = u32::try_from(u64::from_le_bytes(*number)).ok()?;
    let mut random = SplitMix64::of(seed, number);
    // Whole words are compared as numbers: this runs once for each job beside what is measured.
    let (words, end) = filler.as_chunks::<8>();
    let sound = words.iter().all(|word| u64::from_le_bytes(*word) == random.next())
        && (end.is_empty() || *end == random.next().to_le_bytes()[..end.len()]);
    sound.then_some((number, u64::from_le_bytes(*due_ns)))
}

struct SplitMix64(u64);

impl SplitMix64 {
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

    fn of(seed: u64, number: u32) -> Self {
        // One draw mixes the seed, so that neighbouring seeds do not share payloads.
        let start = Self(seed).next();
        Self(start ^ u64::from(number).wrapping_mul(Self::STEP).rotate_left(32))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(Self::STEP);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
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
            set_due(&mut payload, 123_456);
            assert_eq!(read(7, len_bytes, &payload), Some((41, 123_456)));
            assert_eq!(read(7, len_bytes + 1, &payload), None);
            for at in PAYLOAD_BYTES_MIN..len_bytes {
                payload[at] ^= 1;
                assert_eq!(read(7, len_bytes, &payload), None, "byte {at} of {len_bytes}");
                payload[at] ^= 1;
            }
        }
    }

    #[test]
    fn the_seed_decides_the_bytes() {
        assert_eq!(composed(1, 5, 100), composed(1, 5, 100));
        assert_ne!(composed(1, 5, 100), composed(2, 5, 100));
        assert_ne!(composed(1, 5, 100)[16..], composed(1, 6, 100)[16..]);
    }

    #[test]
    fn the_generator_gives_its_published_numbers() {
        // First outputs for state 1234567, as in the reference implementation's tests.
        let mut random = SplitMix64(1_234_567);
        let drawn = [random.next(), random.next(), random.next()];
        let published =
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423];
        assert_eq!(drawn, published);
    }
}
