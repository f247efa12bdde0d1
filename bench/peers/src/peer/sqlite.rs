//! SQLite by `rusqlite`, as it is bundled, in WAL mode: one table, one transaction a commit. Durable
//! is `synchronous = FULL`; buffered is `NORMAL`, which syncs at checkpoints only.

use std::path::Path;

use rusqlite::Connection;

use super::{Class, Measure, Peer};
use crate::{
    PeerError,
    record::{self, PAYLOAD_BYTES, Tally},
};

const FILE: &str = "records.sqlite";
const INSERT: &str = "INSERT INTO records (number, payload) VALUES (?1, ?2)";

pub(crate) struct Sqlite {
    connection: Connection,
}

impl Peer for Sqlite {
    fn open(dir: &Path, measure: Measure) -> Result<Self, PeerError> {
        let connection = Connection::open(dir.join(FILE))?;
        let mode: String =
            connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
        if mode != "wal" {
            return Err(format!("SQLite keeps to the journal mode {mode:?}").into());
        }
        let synchronous = match measure.class() {
            Class::Durable => "FULL",
            Class::Buffered => "NORMAL",
        };
        connection.pragma_update(None, "synchronous", synchronous)?;
        connection.execute_batch(
            "CREATE TABLE IF NOT EXISTS records (number INTEGER PRIMARY KEY, payload BLOB NOT NULL)",
        )?;
        Ok(Self { connection })
    }

    fn commit(&mut self, payloads: &[[u8; PAYLOAD_BYTES]]) -> Result<(), PeerError> {
        let transaction = self.connection.transaction()?;
        let mut insert = transaction.prepare_cached(INSERT)?;
        for payload in payloads {
            insert.execute((number(payload), &payload[..]))?;
        }
        drop(insert);
        transaction.commit()?;
        Ok(())
    }

    fn append(&mut self, payload: &[u8; PAYLOAD_BYTES]) -> Result<(), PeerError> {
        // Without BEGIN and COMMIT: a statement alone is a transaction, and cheaper.
        let mut insert = self.connection.prepare_cached(INSERT)?;
        insert.execute((number(payload), &payload[..]))?;
        Ok(())
    }

    fn finish(self) -> Result<(), PeerError> {
        // Syncs the log before it copies it, and the database behind it.
        self.connection.query_row("PRAGMA wal_checkpoint(FULL)", [], |_| Ok(()))?;
        Ok(())
    }

    fn count(dir: &Path, tally: &mut Tally) -> Result<(), PeerError> {
        let connection = Connection::open(dir.join(FILE))?;
        let mut select = connection.prepare("SELECT payload FROM records ORDER BY number")?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            tally.see(row.get_ref(0)?.as_blob()?);
        }
        Ok(())
    }
}

fn number(payload: &[u8]) -> i64 {
    record::number(payload).cast_signed()
}
