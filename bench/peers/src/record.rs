//! The records that every store is given, and the check of what it gives back.

/// Bytes of a record's payload. What a store adds to it is its own affair.
pub(crate) const PAYLOAD_BYTES: usize = 200;

/// Makes record `number`, counted from 1: its number, and then bytes that depend on it.
pub(crate) fn fill(number: u64, payload: &mut [u8; PAYLOAD_BYTES]) {
    payload[..8].copy_from_slice(&number.to_le_bytes());
    // Multiplied by an odd number, so that neighbours differ and compression finds little.
    let mut word = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for chunk in payload[8..].chunks_exact_mut(8) {
        word = word.rotate_left(23).wrapping_mul(0xd134_2543_de82_ef95) ^ number;
        chunk.copy_from_slice(&word.to_le_bytes());
    }
}

/// The number of a record.
pub(crate) fn number(payload: &[u8]) -> u64 {
    payload.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// Counts records that come back, which have to be the ones that were written, in their order.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Records 1, 2, 3 … without a gap and without a wrong byte.
    pub(crate) sound: u64,
    /// Anything else.
    pub(crate) wrong: u64,
}

impl Tally {
    pub(crate) fn see(&mut self, payload: &[u8]) {
        let mut expected = [0; PAYLOAD_BYTES];
        fill(self.sound + 1, &mut expected);
        if payload == expected {
            self.sound += 1;
        } else {
            self.wrong += 1;
        }
    }
}
