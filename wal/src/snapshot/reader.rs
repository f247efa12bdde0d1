//! Reads a snapshot: its header and its totals, then its blocks, of which each is checked before it is
//! handed out. A pass over the whole file can go before.
//!
//! It must not know which snapshots there are or which of them fits the log.

use std::io;
use std::path::{Path, PathBuf};

use super::format::{
    BLOCK_BYTES, BLOCK_HEADER_BYTES, BadHeader, BlockHeader, BlockKind, BlockSeed,
    SNAPSHOT_HEADER_BYTES, SNAPSHOT_VERSION, SnapshotHeader, TOTALS_BYTES, Totals, check_body,
    decode_block_header, padded,
};
use super::{SnapshotError, SnapshotInfo};
use crate::lsn::Lsn;
use crate::storage::SegmentFile;

/// A snapshot that fits the log. Each block is verified before it is handed out, and that none is
/// missing before the end is told.
///
/// It holds at most one block (1 MiB) in memory. The file may be removed while it is read: the
/// reader keeps it open.
pub struct SnapshotReader {
    file: Box<dyn SegmentFile>,
    walk: Walk,
    info: SnapshotInfo,
}

impl SnapshotReader {
    /// Verifies the whole file. `admit` may refuse it by its header, before the blocks are read.
    pub(crate) fn open(
        file: Box<dyn SegmentFile>,
        path: &Path,
        admit: Admit<'_>,
    ) -> Result<Self, SnapshotError> {
        let (header, info) = verify(file.as_ref(), path, admit)?;
        // With the header of the first pass: a block only passes as one of that snapshot.
        let walk = Walk::start(file.as_ref(), path, header)?;
        Ok(SnapshotReader { file, walk, info })
    }

    /// The same without the pass over the whole file: whoever takes the blocks must be ready to drop
    /// what was built from them when one is damaged.
    pub(crate) fn begin(
        file: Box<dyn SegmentFile>,
        path: &Path,
        admit: Admit<'_>,
    ) -> Result<Self, SnapshotError> {
        let header = read_header(file.as_ref(), path)?;
        admit(&header)?;
        let mut walk = Walk::start(file.as_ref(), path, header)?;
        let totals = walk.totals_at_end(file.as_ref())?;
        let info = SnapshotInfo {
            len_bytes: totals.bytes,
            blocks: totals.blocks,
            file_bytes: walk.file_bytes,
            ..walk.info()
        };
        Ok(SnapshotReader { file, walk, info })
    }

    /// The next piece of the state, 1 byte to 1 MiB. `None`: that was all, and all was whole.
    ///
    /// The pieces are the owner's bytes in order; where they are cut means nothing.
    ///
    /// # Errors
    /// [`SnapshotError::Damaged`] or [`SnapshotError::Io`]: the block is not as it was written, or
    /// cannot be read. What was built from earlier blocks is then to be dropped. Another call tries
    /// the same block again.
    pub fn next_block(&mut self) -> Result<Option<&[u8]>, SnapshotError> {
        if let Some(payload_len) = self.walk.next_block(self.file.as_ref())? {
            return Ok(Some(&self.walk.buffer[..payload_len]));
        }
        if self.walk.info() == self.info {
            Ok(None)
        } else {
            Err(self.walk.damaged("the file changed while it was read"))
        }
    }

    /// The position that the state is of: replay goes on here.
    pub fn lsn(&self) -> Lsn {
        self.info.lsn
    }

    /// Bytes of the state: the sum of all pieces, as the end of the file says.
    pub fn len_bytes(&self) -> u64 {
        self.info.len_bytes
    }

    /// What the snapshot says about itself.
    pub fn info(&self) -> SnapshotInfo {
        self.info
    }
}

impl std::fmt::Debug for SnapshotReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnapshotReader").field("info", &self.info).finish_non_exhaustive()
    }
}

/// Says by its header whether a snapshot is wanted.
pub(crate) type Admit<'a> = &'a mut dyn FnMut(&SnapshotHeader) -> Result<(), SnapshotError>;

/// Checks every byte of a snapshot that `admit` does not refuse. `path` is for messages.
///
/// It holds at most one block in memory and never panics, whatever the bytes are.
pub(crate) fn verify(
    file: &dyn SegmentFile,
    path: &Path,
    admit: Admit<'_>,
) -> Result<(SnapshotHeader, SnapshotInfo), SnapshotError> {
    let header = read_header(file, path)?;
    admit(&header)?;
    let mut walk = Walk::start(file, path, header)?;
    while walk.next_block(file)?.is_some() {}
    Ok((header, walk.info()))
}

/// Reads the header of a snapshot, which says nothing about its blocks.
pub(crate) fn read_header(
    file: &dyn SegmentFile,
    path: &Path,
) -> Result<SnapshotHeader, SnapshotError> {
    let mut bytes = [0; SNAPSHOT_HEADER_BYTES];
    let count = file.read_at(&mut bytes, 0).map_err(|e| read_error(path, e))?;
    let path = path.to_owned();
    if count < bytes.len() {
        return Err(SnapshotError::Damaged { path, offset: 0, reason: "the header is cut off" });
    }
    SnapshotHeader::decode(&bytes).map_err(|bad| match bad {
        BadHeader::Newer { version } => {
            SnapshotError::NewerVersion { path, found: version, supported: SNAPSHOT_VERSION }
        }
        BadHeader::UnknownFeatures { features } => {
            SnapshotError::UnknownFeatures { path, features }
        }
        BadHeader::Damaged(reason) => SnapshotError::Damaged { path, offset: 0, reason },
    })
}

/// A walk over the blocks of a file, each checked.
struct Walk {
    path: PathBuf,
    header: SnapshotHeader,
    seed: BlockSeed,
    file_bytes: u64,
    /// Where the next block begins.
    offset: u64,
    /// What lies before it.
    totals: Totals,
    is_at_end: bool,
    /// Takes one block.
    buffer: Box<[u8]>,
}

impl Walk {
    fn start(
        file: &dyn SegmentFile,
        path: &Path,
        header: SnapshotHeader,
    ) -> Result<Self, SnapshotError> {
        let file_bytes = file.len_bytes().map_err(|e| read_error(path, e))?;
        let buffer_bytes = file_bytes.min(BLOCK_BYTES as u64) as usize;
        Ok(Walk {
            path: path.to_owned(),
            header,
            seed: BlockSeed::new(&header),
            file_bytes,
            offset: SNAPSHOT_HEADER_BYTES as u64,
            totals: Totals::default(),
            is_at_end: false,
            buffer: vec![0; buffer_bytes].into_boxed_slice(),
        })
    }

    /// Brings the payload of the next data block to the start of the buffer and tells its length.
    /// `None`: the file is complete.
    fn next_block(&mut self, file: &dyn SegmentFile) -> Result<Option<usize>, SnapshotError> {
        if self.is_at_end {
            return Ok(None);
        }
        let block = self.read_block(file)?;
        let end = self.offset + (BLOCK_HEADER_BYTES + block.body_bytes()) as u64;
        match block.kind {
            BlockKind::Data => {
                self.totals.add(block.payload_len);
                self.offset = end;
                Ok(Some(block.payload_len))
            }
            BlockKind::Last => {
                if self.buffer[..block.payload_len] != self.totals.encode() {
                    return Err(self.damaged("the totals do not fit the blocks"));
                }
                if end != self.file_bytes {
                    return Err(self.damaged("the file does not end with its last block"));
                }
                self.offset = end;
                self.is_at_end = true;
                Ok(None)
            }
        }
    }

    /// What the last block says about the others, before they are read.
    fn totals_at_end(&mut self, file: &dyn SegmentFile) -> Result<Totals, SnapshotError> {
        let last_bytes = (BLOCK_HEADER_BYTES + padded(TOTALS_BYTES)) as u64;
        let start = self.offset;
        self.offset = self.file_bytes.saturating_sub(last_bytes).max(start);
        let block = self.read_block(file)?;
        if block.kind != BlockKind::Last {
            return Err(self.damaged("the file does not end with its last block"));
        }
        self.offset = start;
        let bytes =
            self.buffer.first_chunk().ok_or_else(|| self.damaged("the block is cut off"))?;
        Ok(Totals::decode(bytes))
    }

    fn read_block(&mut self, file: &dyn SegmentFile) -> Result<BlockHeader, SnapshotError> {
        let left = self.file_bytes.saturating_sub(self.offset);
        let mut bytes = [0; BLOCK_HEADER_BYTES];
        if left < bytes.len() as u64 {
            return Err(self.damaged("the file ends before its last block"));
        }
        self.fill(file, &mut bytes, self.offset)?;
        let header = decode_block_header(&bytes, self.seed, self.offset)
            .map_err(|reason| self.damaged(reason))?;
        let body_bytes = header.body_bytes();
        if left - (bytes.len() as u64) < body_bytes as u64 {
            return Err(self.damaged("the block is cut off"));
        }
        // It fits the buffer: a body is at most a full block, and at most what the file has.
        let mut buffer = std::mem::take(&mut self.buffer);
        let body = &mut buffer[..body_bytes];
        let read = self.fill(file, body, self.offset + bytes.len() as u64);
        let checked =
            read.and_then(|()| check_body(&header, body).map_err(|reason| self.damaged(reason)));
        self.buffer = buffer;
        checked.map(|()| header)
    }

    fn fill(
        &self,
        file: &dyn SegmentFile,
        buffer: &mut [u8],
        offset: u64,
    ) -> Result<(), SnapshotError> {
        let count = file.read_at(buffer, offset).map_err(|e| read_error(&self.path, e))?;
        if count == buffer.len() {
            Ok(())
        } else {
            Err(self.damaged("the file became shorter while it was read"))
        }
    }

    fn info(&self) -> SnapshotInfo {
        SnapshotInfo {
            lsn: self.header.lsn,
            epoch: self.header.epoch,
            head: self.header.head,
            created_ms: self.header.created_ms,
            len_bytes: self.totals.bytes,
            blocks: self.totals.blocks,
            file_bytes: self.offset,
        }
    }

    fn damaged(&self, reason: &'static str) -> SnapshotError {
        SnapshotError::Damaged { path: self.path.clone(), offset: self.offset, reason }
    }
}

fn read_error(path: &Path, source: io::Error) -> SnapshotError {
    SnapshotError::Io { action: "read", path: path.to_owned(), source }
}
