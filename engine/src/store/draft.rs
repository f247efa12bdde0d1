//! A log that is written anew, event by event, in a folder of its own. Nothing of it counts before it
//! was closed.
//!
//! It must not know what the events say.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{Receiver, channel},
    },
    time::Duration,
};

use tickwheel_core::{
    Cleaned, JobId, Journal as _, Lsn as CoreLsn, NoRoom, Scheduler, event::Event,
};
use tickwheel_wal::{CloseError, Durability, LogOptions, OpenError};

use super::Lsn;
use crate::{clock, limits, shard::Journal};

/// Numbers of jobs that are skipped, so that none is given out twice: what was lost may have
/// been the newest. As many as the scheduler skips after a crash.
const SKIPPED_IDS: u64 = 1 << 24;
/// And at least this times the epoch.
const IDS_PER_EPOCH: u64 = 1 << 28;
/// Records between two commits of the new log.
const COMMIT_RECORDS: u64 = 256;
/// Longest wait for a segment of the new log.
const SEGMENT_PATIENCE: Duration = Duration::from_secs(60);

/// The log that is being built.
pub(super) struct Draft {
    dir: PathBuf,
    journal: Journal,
    notices: Receiver<()>,
    appended: u64,
    /// Scratch space for encoding events.
    head: Vec<u8>,
}

impl Draft {
    /// Begins a log in the folder `dir`, in the place of one that came to `epoch`: whoever holds a
    /// token of that one must not meet it in this one.
    pub(super) fn create(
        dir: &Path,
        shard: u16,
        segment_bytes: u64,
        epoch: u64,
    ) -> Result<Self, OpenError> {
        let (tell, notices) = channel();
        let notify = Arc::new(move || {
            // Nobody listens at the end.
            let _ = tell.send(());
        });
        let log = LogOptions::new(dir)
            .shard(shard)
            .segment_bytes(segment_bytes)
            .record_bytes_max(limits::RECORD_BYTES_MAX)
            .durability(Durability::Os)
            .epoch_after(epoch)
            .open(notify, &mut |_| Ok(()))?;
        Ok(Self {
            dir: dir.to_owned(),
            journal: Journal { log },
            notices,
            appended: 0,
            head: Vec::new(),
        })
    }

    /// The folder.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Writes what the record at `lsn` of the old log held again, if `core` needs it.
    pub(super) fn keep(
        &mut self,
        core: &mut Scheduler,
        lsn: Lsn,
        content: &[u8],
    ) -> io::Result<()> {
        loop {
            match core.clean(clock::now(), CoreLsn(lsn.0), content, &mut self.journal) {
                Ok(Cleaned::NoRoom) => self.wait_for_room()?,
                Ok(Cleaned::Moved { .. }) => {
                    self.count();
                    return Ok(());
                }
                // What is no event was listed before.
                Ok(Cleaned::Dead) | Err(_) => return Ok(()),
            }
        }
    }

    /// Writes an event, with the payload of its job if it has one.
    pub(super) fn append(&mut self, event: &Event<'_>, payload: &[u8]) -> io::Result<()> {
        let len = event.encode(&mut self.head);
        let need = self.journal.record_bytes(len + payload.len());
        while self.journal.available_bytes() < need {
            self.wait_for_room()?;
        }
        self.journal.append(&self.head[..len], payload);
        self.count();
        Ok(())
    }

    /// Ends the log; it is durable once this returns.
    pub(super) fn close(self) -> Result<(), CloseError> {
        self.journal.log.close()
    }

    fn count(&mut self) {
        self.appended += 1;
        if self.appended.is_multiple_of(COMMIT_RECORDS) {
            self.journal.log.commit();
        }
    }

    fn wait_for_room(&mut self) -> io::Result<()> {
        self.journal.log.commit();
        match self.journal.shortage() {
            NoRoom::NotYet => {}
            NoRoom::Full => return Err(io::ErrorKind::StorageFull.into()),
            NoRoom::Failed => return Err(io::Error::other("a sync failed")),
        }
        let patience = self.notices.recv_timeout(SEGMENT_PATIENCE);
        patience.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))
    }
}

/// A number for the next job that no job of a log had, not even one that a crash took: of those
/// that it tells of, `next` would have been next, and `epoch` was its last.
pub(super) fn sequence_after(next: u64, epoch: u64) -> u64 {
    let skipped = next.saturating_add(SKIPPED_IDS);
    let of_epoch = epoch.saturating_add(1).saturating_mul(IDS_PER_EPOCH);
    skipped.max(of_epoch).min(JobId::SEQUENCE_MAX / 2)
}

const _: () = assert!(IDS_PER_EPOCH > SKIPPED_IDS);
