//! A file that is written and synced without any store: no header, no checksum, no recovery. Its
//! blocks are written and synced beforehand, as ours are.

use std::{
    fs::File,
    io::{BufReader, Read},
    os::unix::fs::FileExt,
    path::Path,
};

use super::{Measure, Peer};
use crate::{
    PeerError,
    record::{PAYLOAD_BYTES, Tally},
};

/// Bytes that are written beforehand where lone records are written. What lies beyond makes the file
/// grow.
const PREPARED_LONE_BYTES: usize = 16 << 20;
/// The same where records are many.
const PREPARED_BYTES: usize = 256 << 20;
const PIECE_BYTES: usize = 4 << 10;

pub(crate) struct Bare {
    file: File,
    at: u64,
    group: Vec<u8>,
}

impl Peer for Bare {
    fn open(dir: &Path, measure: Measure) -> Result<Self, PeerError> {
        let file = File::create_new(dir.join("records"))?;
        let prepared_bytes =
            if measure == Measure::Lone { PREPARED_LONE_BYTES } else { PREPARED_BYTES };
        for piece in 0..prepared_bytes / PIECE_BYTES {
            file.write_all_at(&[0; PIECE_BYTES], (piece * PIECE_BYTES) as u64)?;
        }
        file.sync_all()?;
        Ok(Self { file, at: 0, group: Vec::new() })
    }

    fn commit(&mut self, payloads: &[[u8; PAYLOAD_BYTES]]) -> Result<(), PeerError> {
        self.group.clear();
        payloads.iter().for_each(|payload| self.group.extend_from_slice(payload));
        self.file.write_all_at(&self.group, self.at)?;
        self.at += self.group.len() as u64;
        self.file.sync_data()?;
        Ok(())
    }

    fn append(&mut self, payload: &[u8; PAYLOAD_BYTES]) -> Result<(), PeerError> {
        self.file.write_all_at(payload, self.at)?;
        self.at += PAYLOAD_BYTES as u64;
        Ok(())
    }

    fn finish(self) -> Result<(), PeerError> {
        self.file.sync_data()?;
        Ok(())
    }

    fn count(dir: &Path, tally: &mut Tally) -> Result<(), PeerError> {
        let mut file = BufReader::new(File::open(dir.join("records"))?);
        let mut payload = [0; PAYLOAD_BYTES];
        // The first record without a number is the end.
        while file.read_exact(&mut payload).is_ok() && payload[..8] != [0; 8] {
            tally.see(&payload);
        }
        Ok(())
    }
}
