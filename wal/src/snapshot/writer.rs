//! Writes a snapshot: a draft, its blocks, then the one step that makes it count.
//!
//! A crash at any point leaves the snapshots that were there, or those and the new one. This file
//! must not know which snapshots fit the log.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::format::{
    BLOCK_BYTES, BLOCK_HEADER_BYTES, BlockKind, BlockSeed, SNAPSHOT_HEADER_BYTES, SnapshotHeader,
    Totals, encode_block_header, padded,
};
use super::{
    Moment, SNAPSHOT_REST_MAX, SNAPSHOT_SYNC_BYTES, SNAPSHOTS_KEPT, SnapshotError, SnapshotInfo,
};
use crate::lsn::Lsn;
use crate::storage::{SegmentFile, Storage};
use crate::sync::{Arc, thread};

/// A snapshot that is being written.
///
/// It counts only once [`finish`](SnapshotWriter::finish) returned. Dropped before that, it leaves
/// a draft, which the next snapshot or the next opening of the log removes. It can move to another
/// thread: it blocks while it writes, and it rests after each part, for as long as the part took,
/// so that the log's own syncs find the disk free.
///
/// It holds at most one block (1 MiB) in memory. Its owner ends it before the log is closed.
pub struct SnapshotWriter {
    storage: Arc<dyn Storage>,
    /// Waits until the log is durable up to the position; false: it never will be.
    reach: Box<dyn FnOnce(Lsn) -> bool + Send>,
    /// It takes no rests.
    is_hurried: bool,
    /// The draft. `None`: a write failed, so it can never be complete.
    file: Option<Box<dyn SegmentFile>>,
    header: SnapshotHeader,
    seed: BlockSeed,
    /// The block that is being filled, with room for its header before it.
    block: Vec<u8>,
    /// Where that block goes.
    offset: u64,
    totals: Totals,
    unsynced_bytes: u64,
    /// Time that the disk has worked since the last rest.
    worked: Duration,
}

impl SnapshotWriter {
    /// Begins a snapshot of the state at `moment`. `reach` waits until the log is durable up to
    /// there, or says that it never will be.
    ///
    /// There is one writer of a log at a time: this removes the drafts of earlier ones.
    pub(crate) fn start(
        storage: Arc<dyn Storage>,
        moment: Moment,
        reach: Box<dyn FnOnce(Lsn) -> bool + Send>,
    ) -> Result<Self, SnapshotError> {
        let Moment { identity, lsn, epoch, head } = moment;
        let created_ms = storage.wall_ms();
        let header = SnapshotHeader { identity, lsn, epoch, created_ms, head };
        let created = storage.remove_drafts().and_then(|()| storage.create_draft(lsn.0));
        let file = created.map_err(|source| SnapshotError::Io {
            action: "begin",
            path: storage.snapshot_path(lsn.0),
            source,
        })?;
        let mut block = Vec::with_capacity(BLOCK_HEADER_BYTES + BLOCK_BYTES);
        block.resize(BLOCK_HEADER_BYTES, 0);
        let mut writer = SnapshotWriter {
            storage,
            reach,
            is_hurried: false,
            file: Some(file),
            header,
            seed: BlockSeed::new(&header),
            block,
            offset: 0,
            totals: Totals::default(),
            unsynced_bytes: 0,
            worked: Duration::ZERO,
        };
        writer.on_draft(|writer| writer.put(&header.encode()))?;
        debug_assert_eq!(writer.offset, SNAPSHOT_HEADER_BYTES as u64);
        Ok(writer)
    }

    /// Adds bytes to the state.
    ///
    /// They go to the disk in blocks of 1 MiB. After every 8 MiB it syncs and rests.
    ///
    /// # Errors
    /// [`SnapshotError::Io`] if the disk refuses; the draft is removed then, so that it takes no
    /// space from the log. Every later call is [`SnapshotError::Abandoned`].
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        self.on_draft(|writer| {
            let mut rest = bytes;
            while !rest.is_empty() {
                let room = BLOCK_HEADER_BYTES + BLOCK_BYTES - writer.block.len();
                let (piece, later) = rest.split_at(room.min(rest.len()));
                writer.block.extend_from_slice(piece);
                rest = later;
                if piece.len() == room {
                    writer.put_data()?;
                    writer.rest_if_due()?;
                }
            }
            Ok(())
        })
    }

    /// Takes no rests from now on: somebody waits for the snapshot, and nobody for the log.
    pub fn hurry(&mut self) {
        self.is_hurried = true;
    }

    /// Completes the snapshot and makes it durable, then removes the older ones but the last.
    ///
    /// It waits until the log is durable up to the snapshot's position, in every mode: an opening
    /// from the snapshot relies on all that lies before it.
    ///
    /// # Errors
    /// [`SnapshotError::LogEnded`] if the log stopped or failed before it was durable so far,
    /// [`SnapshotError::Io`] if the disk refuses, [`SnapshotError::Abandoned`] if it did before.
    /// The snapshots that were there before still are. If only the very last step failed, the new
    /// one may be there as well; the next opening finds out.
    pub fn finish(mut self) -> Result<SnapshotInfo, SnapshotError> {
        let reach = std::mem::replace(&mut self.reach, Box::new(|_| false));
        if !reach(self.header.lsn) {
            return Err(SnapshotError::LogEnded { lsn: self.header.lsn });
        }
        self.on_draft(|writer| {
            writer.put_data()?;
            writer.block.extend_from_slice(&writer.totals.encode());
            writer.put_block(BlockKind::Last)?;
            writer.sync()?;
            // The bytes are durable: from here on the file may have its name.
            writer.storage.publish_draft(writer.header.lsn.0)?;
            writer.storage.sync_directory()
        })?;
        self.remove_older();
        Ok(SnapshotInfo {
            lsn: self.header.lsn,
            epoch: self.header.epoch,
            head: self.header.head,
            created_ms: self.header.created_ms,
            len_bytes: self.totals.bytes,
            blocks: self.totals.blocks,
            file_bytes: self.offset,
        })
    }

    /// The position that the state is of.
    pub fn lsn(&self) -> Lsn {
        self.header.lsn
    }

    /// Works on the draft. If that fails, the draft is given up and its space is freed.
    fn on_draft(
        &mut self,
        work: impl FnOnce(&mut Self) -> io::Result<()>,
    ) -> Result<(), SnapshotError> {
        if self.file.is_none() {
            return Err(SnapshotError::Abandoned { path: self.path() });
        }
        work(self).map_err(|source| {
            self.file = None;
            if let Err(error) = self.storage.remove_drafts() {
                let path = self.path();
                tracing::warn!(path = %path.display(), %error, "cannot remove the draft of a snapshot");
            }
            SnapshotError::Io { action: "write", path: self.path(), source }
        })
    }

    /// Writes the bytes of the current block, if there are any.
    fn put_data(&mut self) -> io::Result<()> {
        let payload_len = self.block.len() - BLOCK_HEADER_BYTES;
        if payload_len == 0 {
            return Ok(());
        }
        self.put_block(BlockKind::Data)?;
        self.totals.add(payload_len);
        Ok(())
    }

    fn put_block(&mut self, kind: BlockKind) -> io::Result<()> {
        let mut block = std::mem::take(&mut self.block);
        let header =
            encode_block_header(self.seed, self.offset, kind, &block[BLOCK_HEADER_BYTES..]);
        block[..BLOCK_HEADER_BYTES].copy_from_slice(&header);
        block.resize(padded(block.len()), 0);
        let put = self.put(&block);
        block.truncate(BLOCK_HEADER_BYTES);
        self.block = block;
        put
    }

    /// Writes bytes at the end of the draft.
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        let started = Instant::now();
        if let Some(file) = &self.file {
            file.write_at(bytes, self.offset)?;
        }
        self.offset += bytes.len() as u64;
        self.unsynced_bytes += bytes.len() as u64;
        self.worked += started.elapsed();
        Ok(())
    }

    fn rest_if_due(&mut self) -> io::Result<()> {
        if self.unsynced_bytes < SNAPSHOT_SYNC_BYTES {
            return Ok(());
        }
        self.sync()?;
        if !self.is_hurried {
            thread::sleep(self.worked.min(SNAPSHOT_REST_MAX));
        }
        self.worked = Duration::ZERO;
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let started = Instant::now();
        if let Some(file) = &self.file {
            file.sync()?;
        }
        self.unsynced_bytes = 0;
        self.worked += started.elapsed();
        Ok(())
    }

    /// Removes all snapshots but this one and the newest of the others. A failure is no error:
    /// this one is there, and the next one tries again.
    fn remove_older(&self) {
        let storage = self.storage.as_ref();
        let warn = |lsn, error| {
            let path = storage.snapshot_path(lsn);
            tracing::warn!(path = %path.display(), %error, "cannot remove old snapshots");
        };
        let others: Vec<u64> = match storage.list_snapshots() {
            Ok(all) => all.into_iter().filter(|&lsn| lsn != self.header.lsn.0).collect(),
            Err(error) => return warn(self.header.lsn.0, error),
        };
        let too_many = others.len().saturating_sub(SNAPSHOTS_KEPT - 1);
        for &lsn in &others[..too_many] {
            if let Err(error) = storage.remove_snapshot(lsn) {
                warn(lsn, error);
            }
        }
    }

    fn path(&self) -> PathBuf {
        self.storage.snapshot_path(self.header.lsn.0)
    }
}

impl std::fmt::Debug for SnapshotWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnapshotWriter")
            .field("lsn", &self.header.lsn)
            .field("written_bytes", &self.offset)
            .finish_non_exhaustive()
    }
}
