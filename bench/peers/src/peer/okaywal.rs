//! `okaywal`: one entry a commit, with a chunk for each record. Its segments are as large as ours
//! instead of a megabyte. It has no commit without a sync.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use okaywal::{Configuration, Entry, EntryId, LogManager, SegmentReader, WriteAheadLog};

use super::{Measure, Peer};
use crate::{
    PeerError,
    record::{PAYLOAD_BYTES, Tally},
};

const SEGMENT_BYTES: u32 = 64 << 20;
/// A segment is left at this size, so that it does not grow.
const CHECKPOINT_BYTES: u64 = 63 << 20;
/// What a checkpoint has taken out of the log, one record after the other.
const TAKEN: &str = "taken";

pub(crate) struct OkayWal {
    log: WriteAheadLog,
}

/// Takes records that a checkpoint is about to recycle to a file of its own, without a sync: the
/// log demands that they be kept elsewhere, and a checkpoint that keeps nothing would be too cheap.
#[derive(Debug)]
struct Keeper {
    taken: PathBuf,
    recovered: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl LogManager for Keeper {
    fn recover(&mut self, entry: &mut Entry<'_>) -> io::Result<()> {
        if let Some(chunks) = entry.read_all_chunks()? {
            self.recovered.lock().unwrap_or_else(PoisonError::into_inner).extend(chunks);
        }
        Ok(())
    }

    fn checkpoint_to(
        &mut self,
        _last: EntryId,
        entries: &mut SegmentReader,
        _log: &WriteAheadLog,
    ) -> io::Result<()> {
        let mut bytes = Vec::new();
        while let Some(mut entry) = entries.read_entry()? {
            entry.read_all_chunks()?.into_iter().flatten().for_each(|chunk| bytes.extend(chunk));
        }
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(&self.taken)?;
        io::Write::write_all(&mut file, &bytes)
    }
}

impl Peer for OkayWal {
    fn open(dir: &Path, _measure: Measure) -> Result<Self, PeerError> {
        let (log, _) = open(dir)?;
        Ok(Self { log })
    }

    fn commit(&mut self, payloads: &[[u8; PAYLOAD_BYTES]]) -> Result<(), PeerError> {
        let mut entry = self.log.begin_entry()?;
        for payload in payloads {
            entry.write_chunk(payload)?;
        }
        entry.commit()?;
        Ok(())
    }

    fn append(&mut self, _payload: &[u8; PAYLOAD_BYTES]) -> Result<(), PeerError> {
        Err("okaywal has no append without a sync".into())
    }

    fn finish(self) -> Result<(), PeerError> {
        self.log.shutdown()?;
        Ok(())
    }

    fn count(dir: &Path, tally: &mut Tally) -> Result<(), PeerError> {
        // Read before the log is opened: an opening may start checkpoints.
        let taken = std::fs::read(dir.join(TAKEN)).unwrap_or_default();
        taken.chunks(PAYLOAD_BYTES).for_each(|payload| tally.see(payload));
        let (log, recovered) = open(dir)?;
        for payload in recovered.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            tally.see(payload);
        }
        log.shutdown()?;
        Ok(())
    }
}

type Recovered = Arc<Mutex<Vec<Vec<u8>>>>;

fn open(dir: &Path) -> Result<(WriteAheadLog, Recovered), PeerError> {
    let recovered = Recovered::default();
    let keeper = Keeper { taken: dir.join(TAKEN), recovered: Arc::clone(&recovered) };
    let log = Configuration::default_for(dir)
        .preallocate_bytes(SEGMENT_BYTES)
        .checkpoint_after_bytes(CHECKPOINT_BYTES)
        .open(keeper)?;
    Ok((log, recovered))
}
