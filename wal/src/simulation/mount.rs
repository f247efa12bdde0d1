//! The simulated disk as one log sees it: the storage seam.
//!
//! Each operation asks the disk whether it works. This file must not know the plan of faults.

use std::io;
use std::path::PathBuf;

use rustix::io::Errno;

use super::disk::{Operation, SimulatedDisk, State};
use super::names::{FileId, FileName};
use crate::storage::{Mapping, MappingWriter, SegmentFile, Storage};
use crate::sync::{Arc, MutexGuard};

/// The directory that the paths name.
const DIRECTORY: &str = "simulated";

/// The disk from one restart to the next.
pub(super) struct Mount {
    disk: SimulatedDisk,
    life: u64,
}

impl Mount {
    pub(super) fn new(disk: SimulatedDisk, life: u64) -> Self {
        Mount { disk, life }
    }

    /// Begins an operation on names.
    fn begin(&self, code: u64, number: u64) -> io::Result<MutexGuard<'_, State>> {
        let operation =
            if code == SYNC_DIRECTORY { Operation::SyncDirectory } else { Operation::Names };
        let mut state = self.disk.state();
        state.note(&[code, number]);
        state.begin(self.life, operation)?;
        Ok(state)
    }

    fn handle(&self, file: FileId, is_wipe: bool) -> Box<dyn SegmentFile> {
        Box::new(OpenFile { disk: self.disk.clone(), life: self.life, file, is_wipe })
    }

    fn find(&self, code: u64, name: FileName) -> io::Result<FileId> {
        let state = self.begin(code, name.number())?;
        state.names.find(name).ok_or_else(|| Errno::NOENT.into())
    }

    fn numbers(&self, code: u64, number: impl Fn(FileName) -> Option<u64>) -> io::Result<Vec<u64>> {
        let state = self.begin(code, 0)?;
        Ok(state.names.all().filter_map(|(name, _)| number(name)).collect())
    }

    fn remove_name(&self, code: u64, name: FileName) -> io::Result<()> {
        let is_done = self.begin(code, name.number())?.names.remove(name);
        if is_done { Ok(()) } else { Err(Errno::NOENT.into()) }
    }

    fn rename(&self, code: u64, from: FileName, to: FileName) -> io::Result<()> {
        let is_done = self.begin(code, to.number())?.names.rename(from, to);
        if is_done { Ok(()) } else { Err(Errno::NOENT.into()) }
    }
}

// What the trace calls the operations.
const LIST: u64 = 1;
const OPEN: u64 = 2;
const OPEN_IN_PLACE: u64 = 3;
const CREATE: u64 = 4;
const REMOVE: u64 = 5;
const RENAME: u64 = 6;
const SYNC_DIRECTORY: u64 = 7;
const DRAW: u64 = 8;
const READ: u64 = 9;
const ALLOCATE: u64 = 10;
const WRITE: u64 = 11;
const SYNC: u64 = 12;
const MAP: u64 = 13;

impl Storage for Mount {
    fn list(&self) -> io::Result<Vec<u64>> {
        self.numbers(LIST, |name| match name {
            FileName::Segment(index) => Some(index),
            FileName::Draft(_) | FileName::Snapshot(_) => None,
        })
    }

    fn open(&self, index: u64) -> io::Result<Box<dyn SegmentFile>> {
        Ok(self.handle(self.find(OPEN, FileName::Segment(index))?, false))
    }

    fn open_in_place(&self, index: u64) -> io::Result<Box<dyn SegmentFile>> {
        let file = self.find(OPEN_IN_PLACE, FileName::Segment(index))?;
        // Whoever opens a file for this must count on it.
        self.disk.state().evict_some(file)?;
        Ok(self.handle(file, false))
    }

    fn create(&self, index: u64) -> io::Result<Box<dyn SegmentFile>> {
        let name = FileName::Segment(index);
        let mut state = self.begin(CREATE, index)?;
        let (file, is_wipe) = match state.names.find(name) {
            Some(file) => (file, state.file(file)?.len_bytes() > 0),
            None => (state.create(name)?, false),
        };
        Ok(self.handle(file, is_wipe))
    }

    fn remove(&self, index: u64) -> io::Result<()> {
        self.remove_name(REMOVE, FileName::Segment(index))
    }

    fn rename(&self, from: u64, to: u64) -> io::Result<()> {
        self.rename(RENAME, FileName::Segment(from), FileName::Segment(to))?;
        self.disk.state().count_rename();
        Ok(())
    }

    fn list_snapshots(&self) -> io::Result<Vec<u64>> {
        self.numbers(LIST, |name| match name {
            FileName::Snapshot(lsn) => Some(lsn),
            FileName::Draft(_) | FileName::Segment(_) => None,
        })
    }

    fn create_draft(&self, lsn: u64) -> io::Result<Box<dyn SegmentFile>> {
        let name = FileName::Draft(lsn);
        let mut state = self.begin(CREATE, lsn)?;
        state.names.remove(name);
        let file = state.create(name)?;
        Ok(self.handle(file, false))
    }

    fn publish_draft(&self, lsn: u64) -> io::Result<()> {
        self.rename(RENAME, FileName::Draft(lsn), FileName::Snapshot(lsn))
    }

    fn remove_drafts(&self) -> io::Result<()> {
        let drafts = self.numbers(LIST, |name| match name {
            FileName::Draft(lsn) => Some(lsn),
            FileName::Snapshot(_) | FileName::Segment(_) => None,
        })?;
        drafts.into_iter().try_for_each(|lsn| self.remove_name(REMOVE, FileName::Draft(lsn)))
    }

    fn open_snapshot(&self, lsn: u64) -> io::Result<Box<dyn SegmentFile>> {
        Ok(self.handle(self.find(OPEN, FileName::Snapshot(lsn))?, false))
    }

    fn remove_snapshot(&self, lsn: u64) -> io::Result<()> {
        self.remove_name(REMOVE, FileName::Snapshot(lsn))
    }

    fn snapshot_path(&self, lsn: u64) -> PathBuf {
        PathBuf::from(format!("{DIRECTORY}/{lsn:020}.snap"))
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.begin(SYNC_DIRECTORY, 0)?.names.sync();
        Ok(())
    }

    fn path(&self, index: u64) -> PathBuf {
        PathBuf::from(format!("{DIRECTORY}/{index:020}.seg"))
    }

    fn random(&self) -> io::Result<u64> {
        Ok(self.begin(DRAW, 0)?.draw())
    }

    fn wall_ms(&self) -> u64 {
        self.disk.state().wall_ms()
    }
}

impl FileName {
    fn number(self) -> u64 {
        match self {
            FileName::Segment(number) | FileName::Draft(number) | FileName::Snapshot(number) => {
                number
            }
        }
    }
}

/// One open file.
struct OpenFile {
    disk: SimulatedDisk,
    life: u64,
    file: FileId,
    /// It held bytes when it was opened to be made anew.
    is_wipe: bool,
}

impl OpenFile {
    /// Begins an operation that is no sync.
    fn begin(
        &self,
        code: u64,
        operation: Operation,
        at: u64,
        len: u64,
    ) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.disk.state();
        state.note(&[code, self.file.0, at, len]);
        state.begin(self.life, operation)?;
        Ok(state)
    }
}

impl SegmentFile for OpenFile {
    fn len_bytes(&self) -> io::Result<u64> {
        let mut state = self.begin(READ, Operation::Read, 0, 0)?;
        Ok(state.file(self.file)?.len_bytes())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let operation = Operation::Write { is_wipe: self.is_wipe };
        let mut state = self.begin(ALLOCATE, operation, 0, len)?;
        if state.reserves() { state.extend(self.file, len) } else { Ok(()) }
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let len = buffer.len() as u64;
        let mut state = self.begin(READ, Operation::Read, offset, len)?;
        state.check_readable(self.file, offset, len)?;
        state.file(self.file)?.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let operation = Operation::Write { is_wipe: self.is_wipe };
        let len = bytes.len() as u64;
        let mut state = self.begin(WRITE, operation, offset, len)?;
        state.extend(self.file, offset + len)?;
        state.file(self.file)?.write_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        state.note(&[SYNC, self.file.0]);
        if state.begin(self.life, Operation::Sync { is_wipe: self.is_wipe })? {
            return Err(state.fail_sync(self.file));
        }
        state.file(self.file)?.sync()
    }

    fn map_read(&self, len: usize) -> io::Result<Arc<Mapping>> {
        let mut state = self.begin(MAP, Operation::Read, 0, len as u64)?;
        Mapping::read_only(state.file(self.file)?.memory(), len)
    }

    fn map_write(&self, len: usize) -> io::Result<MappingWriter> {
        let mut state = self.begin(MAP, Operation::Read, 0, len as u64)?;
        state.check_readable(self.file, 0, len as u64)?;
        MappingWriter::new(state.file(self.file)?.memory_for_writing(), len)
    }

    fn populate(&self, mapping: &Mapping) -> io::Result<()> {
        let len = mapping.len() as u64;
        self.begin(READ, Operation::Read, 0, len)?.check_readable(self.file, 0, len)
    }
}
