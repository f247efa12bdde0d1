//! `redb`: one table from a record's number to its bytes; all settings as by default. A buffered
//! record is a transaction with durability `None`, made durable by the next that has another.

use std::path::Path;

use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};

use super::{Measure, Peer};
use crate::{
    PeerError,
    record::{self, PAYLOAD_BYTES, Tally},
};

const RECORDS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("records");
const FILE: &str = "records.redb";

pub(crate) struct Redb {
    database: Database,
}

impl Peer for Redb {
    fn open(dir: &Path, _measure: Measure) -> Result<Self, PeerError> {
        let peer = Self { database: Database::create(dir.join(FILE))? };
        peer.write(&[], Durability::Immediate)?;
        Ok(peer)
    }

    fn commit(&mut self, payloads: &[[u8; PAYLOAD_BYTES]]) -> Result<(), PeerError> {
        self.write(payloads, Durability::Immediate)
    }

    fn append(&mut self, payload: &[u8; PAYLOAD_BYTES]) -> Result<(), PeerError> {
        self.write(std::slice::from_ref(payload), Durability::None)
    }

    fn finish(self) -> Result<(), PeerError> {
        self.write(&[], Durability::Immediate)
    }

    fn count(dir: &Path, tally: &mut Tally) -> Result<(), PeerError> {
        let database = Database::open(dir.join(FILE))?;
        let read = database.begin_read()?;
        for row in read.open_table(RECORDS)?.iter()? {
            tally.see(row?.1.value());
        }
        Ok(())
    }
}

impl Redb {
    fn write(
        &self,
        payloads: &[[u8; PAYLOAD_BYTES]],
        durability: Durability,
    ) -> Result<(), PeerError> {
        let mut write = self.database.begin_write()?;
        write.set_durability(durability)?;
        let mut records = write.open_table(RECORDS)?;
        for payload in payloads {
            records.insert(record::number(payload), payload.as_slice())?;
        }
        drop(records);
        write.commit()?;
        Ok(())
    }
}
