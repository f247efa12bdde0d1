//! `raft-engine`: entries of one region. Compression is off, since the records are made not to
//! compress; the rest is as by default.

use std::path::Path;

use protobuf::well_known_types::BytesValue;
use raft_engine::{Config, Engine, LogBatch, MessageExt, ReadableSize};

use super::{Measure, Peer};
use crate::{
    PeerError,
    record::{self, PAYLOAD_BYTES, Tally},
};

const REGION: u64 = 1;
/// Entries that are read at once.
const READ: u64 = 10_000;

pub(crate) struct Raft {
    engine: Engine,
    batch: LogBatch,
    entries: Vec<BytesValue>,
}

/// Says where an entry's index is: in its first bytes.
struct Indexed;

impl MessageExt for Indexed {
    type Entry = BytesValue;

    fn index(entry: &BytesValue) -> u64 {
        record::number(&entry.value)
    }
}

impl Peer for Raft {
    fn open(dir: &Path, _measure: Measure) -> Result<Self, PeerError> {
        let engine = Engine::open(config(dir))?;
        Ok(Self { engine, batch: LogBatch::default(), entries: Vec::new() })
    }

    fn commit(&mut self, payloads: &[[u8; PAYLOAD_BYTES]]) -> Result<(), PeerError> {
        self.write(payloads, true)
    }

    fn append(&mut self, payload: &[u8; PAYLOAD_BYTES]) -> Result<(), PeerError> {
        self.write(std::slice::from_ref(payload), false)
    }

    fn finish(mut self) -> Result<(), PeerError> {
        // Its own `sync` writes an empty batch, and an empty batch returns before the sync.
        self.batch.put(REGION, b"end".to_vec(), Vec::new())?;
        self.engine.write(&mut self.batch, true)?;
        Ok(())
    }

    fn count(dir: &Path, tally: &mut Tally) -> Result<(), PeerError> {
        let engine = Engine::open(config(dir))?;
        let (Some(first), Some(last)) = (engine.first_index(REGION), engine.last_index(REGION))
        else {
            return Ok(());
        };
        for from in (first..=last).step_by(READ as usize) {
            let mut entries = Vec::new();
            let end = (from + READ).min(last + 1);
            engine.fetch_entries_to::<Indexed>(REGION, from, end, None, &mut entries)?;
            entries.iter().for_each(|entry| tally.see(&entry.value));
        }
        Ok(())
    }
}

impl Raft {
    fn write(&mut self, payloads: &[[u8; PAYLOAD_BYTES]], sync: bool) -> Result<(), PeerError> {
        // The messages are made once, so that it is not their making that is measured.
        self.entries.resize_with(payloads.len(), BytesValue::new);
        for (entry, payload) in self.entries.iter_mut().zip(payloads) {
            entry.value.clear();
            entry.value.extend_from_slice(payload);
        }
        self.batch.add_entries::<Indexed>(REGION, &self.entries)?;
        self.engine.write(&mut self.batch, sync)?;
        Ok(())
    }
}

fn config(dir: &Path) -> Config {
    Config {
        dir: dir.to_string_lossy().into_owned(),
        batch_compression_threshold: ReadableSize(0),
        ..Config::default()
    }
}
