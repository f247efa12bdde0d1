//! A disk in memory for snapshots: it fails on demand, and on a crash it keeps any part of what was
//! not synced.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use rustix::io::Errno;

use crate::storage::{Mapping, MappingWriter, SegmentFile, Storage};
use crate::sync::{Arc, Mutex, lock};

const SECTOR_BYTES: usize = 512;

/// The disk; clones are the same disk.
#[derive(Clone, Default)]
pub(crate) struct Disk(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// The directory as programs see it.
    live: BTreeMap<Name, File>,
    /// The directory as it was synced last.
    durable: BTreeMap<Name, File>,
    fault: Option<Fault>,
    operations: u64,
    syncs: u64,
    largest_read_bytes: usize,
}

/// What fails, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// This operation fails, counted from 0.
    Once(u64),
    /// This one and all after it.
    From(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Name {
    Draft(u64),
    Snapshot(u64),
}

/// A file, whatever its name.
#[derive(Clone, Default)]
struct File(Arc<Mutex<Content>>);

#[derive(Clone, Default)]
struct Content {
    cached: Vec<u8>,
    durable: Vec<u8>,
}

impl Disk {
    /// From now on something fails; `None`: nothing does.
    pub(crate) fn set_fault(&self, fault: Option<Fault>) {
        let mut state = lock(&self.0);
        state.fault = fault;
        state.operations = 0;
    }

    /// Operations since the fault was set.
    pub(crate) fn operations(&self) -> u64 {
        lock(&self.0).operations
    }

    /// Syncs of files so far.
    pub(crate) fn syncs(&self) -> u64 {
        lock(&self.0).syncs
    }

    /// Bytes of the largest read so far.
    pub(crate) fn largest_read_bytes(&self) -> usize {
        lock(&self.0).largest_read_bytes
    }

    /// The files that programs see.
    pub(crate) fn names(&self) -> Vec<Name> {
        lock(&self.0).live.keys().copied().collect()
    }

    /// What programs see in a file.
    pub(crate) fn bytes(&self, name: Name) -> Vec<u8> {
        let file = lock(&self.0).live[&name].clone();
        let content = lock(&file.0);
        content.cached.clone()
    }

    /// Puts a file there, durably.
    pub(crate) fn put(&self, name: Name, bytes: &[u8]) {
        let content = Content { cached: bytes.to_vec(), durable: bytes.to_vec() };
        let file = File(Arc::new(Mutex::new(content)));
        let mut state = lock(&self.0);
        state.live.insert(name, file.clone());
        state.durable.insert(name, file);
    }

    /// Changes the bytes of a file under those who have it open.
    pub(crate) fn edit(&self, name: Name, edit: impl FnOnce(&mut Vec<u8>)) {
        let file = lock(&self.0).live[&name].clone();
        edit(&mut lock(&file.0).cached);
    }

    /// What a power cut leaves. `keeps` is asked about each change that was not synced: of a
    /// name, of a length, of a sector.
    pub(crate) fn crash(&self, keeps: &mut dyn FnMut() -> bool) -> Disk {
        let state = lock(&self.0);
        let after = Disk::default();
        let names = state.live.keys().chain(state.durable.keys());
        let names: std::collections::BTreeSet<Name> = names.copied().collect();
        for name in names {
            let (live, durable) = (state.live.get(&name), state.durable.get(&name));
            let is_same = match (live, durable) {
                (Some(live), Some(durable)) => Arc::ptr_eq(&live.0, &durable.0),
                _ => false,
            };
            let file = if is_same || keeps() { live } else { durable };
            if let Some(file) = file {
                after.put(name, &lock(&file.0).survivor(keeps));
            }
        }
        after
    }

    fn operation(&self) -> io::Result<()> {
        let mut state = lock(&self.0);
        let number = state.operations;
        state.operations += 1;
        let fails = match state.fault {
            None => false,
            Some(Fault::Once(at)) => number == at,
            Some(Fault::From(at)) => number >= at,
        };
        if fails { Err(Errno::IO.into()) } else { Ok(()) }
    }

    fn open(&self, file: File) -> Box<dyn SegmentFile> {
        Box::new(OpenFile { disk: self.clone(), file })
    }
}

impl Content {
    fn survivor(&self, keeps: &mut dyn FnMut() -> bool) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        if self.cached.len() != bytes.len() && keeps() {
            bytes.resize(self.cached.len(), 0);
        }
        for start in (0..bytes.len().min(self.cached.len())).step_by(SECTOR_BYTES) {
            let end = (start + SECTOR_BYTES).min(bytes.len()).min(self.cached.len());
            if bytes[start..end] != self.cached[start..end] && keeps() {
                bytes[start..end].copy_from_slice(&self.cached[start..end]);
            }
        }
        bytes
    }
}

impl Storage for Disk {
    fn list_snapshots(&self) -> io::Result<Vec<u64>> {
        self.operation()?;
        let number = |name| match name {
            Name::Snapshot(lsn) => Some(lsn),
            Name::Draft(_) => None,
        };
        Ok(self.names().into_iter().filter_map(number).collect())
    }

    fn create_draft(&self, lsn: u64) -> io::Result<Box<dyn SegmentFile>> {
        self.operation()?;
        let file = lock(&self.0).live.entry(Name::Draft(lsn)).or_default().clone();
        lock(&file.0).cached.clear();
        Ok(self.open(file))
    }

    fn publish_draft(&self, lsn: u64) -> io::Result<()> {
        self.operation()?;
        let mut state = lock(&self.0);
        let file = state.live.remove(&Name::Draft(lsn)).ok_or(Errno::NOENT)?;
        state.live.insert(Name::Snapshot(lsn), file);
        Ok(())
    }

    fn remove_drafts(&self) -> io::Result<()> {
        self.operation()?;
        lock(&self.0).live.retain(|name, _| matches!(name, Name::Snapshot(_)));
        Ok(())
    }

    fn open_snapshot(&self, lsn: u64) -> io::Result<Box<dyn SegmentFile>> {
        self.operation()?;
        let file = lock(&self.0).live.get(&Name::Snapshot(lsn)).cloned();
        Ok(self.open(file.ok_or(Errno::NOENT)?))
    }

    fn remove_snapshot(&self, lsn: u64) -> io::Result<()> {
        self.operation()?;
        let removed = lock(&self.0).live.remove(&Name::Snapshot(lsn));
        removed.map(|_| ()).ok_or_else(|| Errno::NOENT.into())
    }

    fn snapshot_path(&self, lsn: u64) -> PathBuf {
        PathBuf::from(format!("{lsn:020}.snap"))
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.operation()?;
        let mut state = lock(&self.0);
        state.durable = state.live.clone();
        Ok(())
    }

    fn wall_ms(&self) -> u64 {
        1_700_000_000_000
    }

    fn path(&self, index: u64) -> PathBuf {
        PathBuf::from(format!("{index:020}.seg"))
    }

    fn list(&self) -> io::Result<Vec<u64>> {
        no_segments()
    }

    fn open(&self, _: u64) -> io::Result<Box<dyn SegmentFile>> {
        no_segments()
    }

    fn open_in_place(&self, _: u64) -> io::Result<Box<dyn SegmentFile>> {
        no_segments()
    }

    fn create(&self, _: u64) -> io::Result<Box<dyn SegmentFile>> {
        no_segments()
    }

    fn remove(&self, _: u64) -> io::Result<()> {
        no_segments()
    }

    fn rename(&self, _: u64, _: u64) -> io::Result<()> {
        no_segments()
    }

    fn random(&self) -> io::Result<u64> {
        no_segments()
    }
}

struct OpenFile {
    disk: Disk,
    file: File,
}

impl SegmentFile for OpenFile {
    fn len_bytes(&self) -> io::Result<u64> {
        self.disk.operation()?;
        Ok(lock(&self.file.0).cached.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.disk.operation()?;
        let mut state = lock(&self.disk.0);
        state.largest_read_bytes = state.largest_read_bytes.max(buffer.len());
        let content = lock(&self.file.0);
        let bytes = content.cached.get(offset as usize..).unwrap_or_default();
        let count = bytes.len().min(buffer.len());
        buffer[..count].copy_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let done = self.disk.operation();
        // A write that fails may have written something.
        let count = if done.is_ok() { bytes.len() } else { bytes.len() / 2 };
        let mut content = lock(&self.file.0);
        let (start, end) = (offset as usize, offset as usize + count);
        if content.cached.len() < end {
            content.cached.resize(end, 0);
        }
        content.cached[start..end].copy_from_slice(&bytes[..count]);
        done
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.operation()?;
        lock(&self.disk.0).syncs += 1;
        let mut content = lock(&self.file.0);
        content.durable = content.cached.clone();
        Ok(())
    }

    fn allocate(&self, _: u64) -> io::Result<()> {
        no_segments()
    }

    fn map_read(&self, _: usize) -> io::Result<Arc<Mapping>> {
        no_segments()
    }

    fn map_write(&self, _: usize) -> io::Result<MappingWriter> {
        no_segments()
    }

    fn populate(&self, _: &Mapping) -> io::Result<()> {
        no_segments()
    }
}

/// This disk holds snapshots only, and snapshots need nothing else.
fn no_segments<T>() -> io::Result<T> {
    Err(io::ErrorKind::Unsupported.into())
}
