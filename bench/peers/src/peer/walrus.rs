//! `walrus-rust`: one topic. Its directory is named by an environment variable, which the parent
//! process sets. The interval of a buffered store is ours, 50 ms instead of 200.

use std::path::Path;

use walrus_rust::{FsyncSchedule, ReadConsistency, Walrus};

use super::{Measure, Peer};
use crate::{
    PeerError,
    record::{PAYLOAD_BYTES, Tally},
};

const TOPIC: &str = "records";
const INTERVAL_MS: u64 = 50;
/// Bytes that are read at once.
const READ_BYTES: usize = 1 << 20;
/// The position of a reader is not what is measured.
const READING: ReadConsistency = ReadConsistency::AtLeastOnce { persist_every: u32::MAX };

pub(crate) struct WalrusRust {
    store: Walrus,
}

impl Peer for WalrusRust {
    fn open(_dir: &Path, measure: Measure) -> Result<Self, PeerError> {
        let schedule = match measure {
            Measure::Lone => FsyncSchedule::SyncEach,
            // A batch is synced before it returns whatever the schedule. `SyncEach` would also open
            // the file with `O_SYNC`, and then each record of a batch is a synced write of its own.
            Measure::Groups | Measure::Buffered => FsyncSchedule::Milliseconds(INTERVAL_MS),
        };
        Ok(Self { store: Walrus::with_consistency_and_schedule(READING, schedule)? })
    }

    fn commit(&mut self, payloads: &[[u8; PAYLOAD_BYTES]]) -> Result<(), PeerError> {
        if let [payload] = payloads {
            self.store.append_for_topic(TOPIC, payload)?;
        } else {
            let batch: Vec<&[u8]> = payloads.iter().map(|payload| &payload[..]).collect();
            self.store.batch_append_for_topic(TOPIC, &batch)?;
        }
        Ok(())
    }

    fn append(&mut self, payload: &[u8; PAYLOAD_BYTES]) -> Result<(), PeerError> {
        self.store.append_for_topic(TOPIC, payload)?;
        Ok(())
    }

    fn finish(self) -> Result<(), PeerError> {
        // It has no call that syncs, and dropping it syncs nothing.
        Ok(())
    }

    fn count(_dir: &Path, tally: &mut Tally) -> Result<(), PeerError> {
        let store = Walrus::with_consistency_and_schedule(READING, FsyncSchedule::NoFsync)?;
        loop {
            let entries = store.batch_read_for_topic(TOPIC, READ_BYTES, true)?;
            if entries.is_empty() {
                return Ok(());
            }
            entries.iter().for_each(|entry| tally.see(&entry.data));
        }
    }
}
