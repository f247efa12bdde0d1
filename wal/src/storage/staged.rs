//! Segments whose records wait in memory of the process until the syncer writes them to the file.
//!
//! It stands before another storage: an append stores into private memory, a sync first writes what
//! is frozen and not yet written, then syncs the file. A killed process loses what was not written.
//! `docs/decisions/0006-mapped-or-staged-writes.md` compares it with the log's own way, in which
//! an append stores into the mapped file. It must not know records or threads.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use super::{Mapping, MappingWriter, SegmentFile, Storage};
use crate::limits::STAGES_KEPT_MAX;
use crate::sync::{Arc, Mutex, lock};

/// A storage that stages the stores into the segments of another.
pub(crate) struct Staged {
    storage: Arc<dyn Storage>,
    /// The segments that were made since the opening and are not yet settled.
    slots: Mutex<BTreeMap<u64, Arc<Slot>>>,
    /// Memory of settled segments, which may still be read.
    stages: Arc<Mutex<Vec<Arc<Mapping>>>>,
}

/// What all handles of one segment share: empty until the segment is mapped for writing.
#[derive(Default)]
struct Slot(Mutex<Option<Stage>>);

struct Stage {
    memory: Arc<Mapping>,
    /// The mapped file, of which no byte is frozen until the segment is settled. It also keeps the
    /// file's inode in the kernel, and with it the word of a failed write, when no handle is open.
    file: MappingWriter,
    /// Frozen bytes below have been written to the file.
    written: usize,
}

impl Staged {
    pub(crate) fn new(storage: Arc<dyn Storage>) -> Self {
        Staged { storage, slots: Mutex::default(), stages: Arc::default() }
    }

    fn handle(&self, file: Box<dyn SegmentFile>, slot: Arc<Slot>) -> Box<dyn SegmentFile> {
        Box::new(StagedFile { file, slot, stages: Arc::clone(&self.stages) })
    }

    fn slot(&self, index: u64) -> Option<Arc<Slot>> {
        lock(&self.slots).get(&index).cloned()
    }
}

impl Storage for Staged {
    fn list(&self) -> io::Result<Vec<u64>> {
        self.storage.list()
    }

    fn open(&self, index: u64) -> io::Result<Box<dyn SegmentFile>> {
        match self.slot(index) {
            Some(slot) => Ok(self.handle(self.storage.open_in_place(index)?, slot)),
            None => self.storage.open(index),
        }
    }

    fn open_in_place(&self, index: u64) -> io::Result<Box<dyn SegmentFile>> {
        self.storage.open_in_place(index)
    }

    fn create(&self, index: u64) -> io::Result<Box<dyn SegmentFile>> {
        let file = self.storage.create(index)?;
        let slot = Arc::new(Slot::default());
        lock(&self.slots).insert(index, Arc::clone(&slot));
        Ok(self.handle(file, slot))
    }

    fn remove(&self, index: u64) -> io::Result<()> {
        lock(&self.slots).remove(&index);
        self.storage.remove(index)
    }

    fn rename(&self, from: u64, to: u64) -> io::Result<()> {
        self.storage.rename(from, to)?;
        let mut slots = lock(&self.slots);
        if let Some(slot) = slots.remove(&from) {
            slots.insert(to, slot);
        }
        Ok(())
    }

    fn list_snapshots(&self) -> io::Result<Vec<u64>> {
        self.storage.list_snapshots()
    }

    fn create_draft(&self, lsn: u64) -> io::Result<Box<dyn SegmentFile>> {
        self.storage.create_draft(lsn)
    }

    fn publish_draft(&self, lsn: u64) -> io::Result<()> {
        self.storage.publish_draft(lsn)
    }

    fn remove_drafts(&self) -> io::Result<()> {
        self.storage.remove_drafts()
    }

    fn open_snapshot(&self, lsn: u64) -> io::Result<Box<dyn SegmentFile>> {
        self.storage.open_snapshot(lsn)
    }

    fn remove_snapshot(&self, lsn: u64) -> io::Result<()> {
        self.storage.remove_snapshot(lsn)
    }

    fn snapshot_path(&self, lsn: u64) -> PathBuf {
        self.storage.snapshot_path(lsn)
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.storage.sync_directory()
    }

    fn path(&self, index: u64) -> PathBuf {
        self.storage.path(index)
    }

    fn random(&self) -> io::Result<u64> {
        self.storage.random()
    }

    fn wall_ms(&self) -> u64 {
        self.storage.wall_ms()
    }

    fn is_staging(&self) -> bool {
        true
    }

    fn settle(&self, index: u64) -> io::Result<Option<Arc<Mapping>>> {
        let Some(slot) = lock(&self.slots).remove(&index) else { return Ok(None) };
        let Some(mut stage) = lock(&slot.0).take() else { return Ok(None) };
        let end = stage.memory.frozen_len();
        assert_eq!(stage.written, end, "a settled segment is written");
        stage.file.freeze(end);
        let mut stages = lock(&self.stages);
        if stages.len() < STAGES_KEPT_MAX {
            stages.push(stage.memory);
        }
        Ok(Some(Arc::clone(stage.file.mapping())))
    }
}

/// One open file of a segment that is not settled.
struct StagedFile {
    file: Box<dyn SegmentFile>,
    slot: Arc<Slot>,
    stages: Arc<Mutex<Vec<Arc<Mapping>>>>,
}

impl StagedFile {
    /// Memory of a settled segment that nobody reads any more, or new memory.
    fn memory(&self, len: usize) -> io::Result<MappingWriter> {
        let mut stages = lock(&self.stages);
        for number in 0..stages.len() {
            match Arc::try_unwrap(stages.swap_remove(number)) {
                Ok(memory) if memory.len() == len => return Ok(MappingWriter::again(memory)),
                Ok(_) => return MappingWriter::in_memory(len),
                Err(read) => stages.insert(number, read),
            }
        }
        drop(stages);
        MappingWriter::in_memory(len)
    }
}

impl SegmentFile for StagedFile {
    fn len_bytes(&self) -> io::Result<u64> {
        self.file.len_bytes()
    }

    fn drop_cached(&self) {
        self.file.drop_cached();
    }

    fn is_cached(&self, len: u64) -> bool {
        self.file.is_cached(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.file.allocate(len)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.hand_over()?;
        self.file.sync()
    }

    fn map_read(&self, len: usize) -> io::Result<Arc<Mapping>> {
        self.file.map_read(len)
    }

    fn map_write(&self, len: usize) -> io::Result<MappingWriter> {
        let memory = self.memory(len)?;
        let file = self.file.map_write_lazily(len)?;
        let stage = Stage { memory: Arc::clone(memory.mapping()), file, written: 0 };
        *lock(&self.slot.0) = Some(stage);
        Ok(memory)
    }

    fn hand_over(&self) -> io::Result<()> {
        let mut slot = lock(&self.slot.0);
        let Some(stage) = slot.as_mut() else { return Ok(()) };
        let frozen = stage.memory.frozen_bytes();
        let end = frozen.len();
        // Exactly these: what lies behind in the last page is written when it is frozen, and is
        // zero in the file until then. The page is in the cache, so nothing has to be read.
        if stage.written < end {
            self.file.write_at(&frozen[stage.written..], stage.written as u64)?;
            stage.written = end;
        }
        Ok(())
    }

    fn populate(&self, mapping: &Mapping) -> io::Result<()> {
        self.file.populate(mapping)
    }
}
