//! `fjall`: one keyspace, the record's number as its key; all settings as by default.

use std::path::Path;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::{Measure, Peer};
use crate::{
    PeerError,
    record::{self, PAYLOAD_BYTES, Tally},
};

pub(crate) struct Fjall {
    database: Database,
    records: Keyspace,
}

impl Peer for Fjall {
    fn open(dir: &Path, _measure: Measure) -> Result<Self, PeerError> {
        let database = Database::builder(dir).open()?;
        let records = database.keyspace("records", KeyspaceCreateOptions::default)?;
        Ok(Self { database, records })
    }

    fn commit(&mut self, payloads: &[[u8; PAYLOAD_BYTES]]) -> Result<(), PeerError> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncData));
        for payload in payloads {
            batch.insert(&self.records, key(payload), payload);
        }
        batch.commit()?;
        Ok(())
    }

    fn append(&mut self, payload: &[u8; PAYLOAD_BYTES]) -> Result<(), PeerError> {
        self.records.insert(key(payload), payload)?;
        Ok(())
    }

    fn finish(self) -> Result<(), PeerError> {
        self.database.persist(PersistMode::SyncAll)?;
        Ok(())
    }

    fn count(dir: &Path, tally: &mut Tally) -> Result<(), PeerError> {
        let peer = Self::open(dir, Measure::Lone)?;
        for guard in peer.records.iter() {
            tally.see(&guard.value()?);
        }
        Ok(())
    }
}

/// Sorts as the numbers do.
fn key(payload: &[u8]) -> [u8; 8] {
    record::number(payload).to_be_bytes()
}
