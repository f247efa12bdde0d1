//! Files for the models: a sync covers what was written before it as far as the syncing thread can
//! know, and not a byte more.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex as PlainMutex, MutexGuard as PlainGuard};

use crate::storage::{Mapping, MappingWriter, SegmentFile, Storage};
use crate::sync::{Arc, AtomicU64, Ordering, thread};

/// What the models look at. All accesses are relaxed: these add no order of their own.
pub(super) struct Seen {
    /// Bytes below are written. The owner stores it where the bytes would be stored.
    written: AtomicU64,
    /// Bytes below are synced.
    synced: AtomicU64,
}

impl Seen {
    /// The owner of the log has written all bytes below `end`.
    pub(super) fn write(&self, end: u64) {
        self.written.store(end, Ordering::Relaxed);
    }

    /// What is synced for certain, as far as this thread can know.
    pub(super) fn synced(&self) -> u64 {
        self.synced.load(Ordering::Relaxed)
    }
}

/// Segment files by number. They are real, so that they can be mapped; their locks are plain,
/// so that they order nothing for the model.
#[derive(Clone)]
pub(super) struct Disk {
    pub(super) seen: Arc<Seen>,
    names: Arc<PlainMutex<Names>>,
}

#[derive(Default)]
struct Names {
    files: Vec<(u64, Arc<File>)>,
    syncs: u64,
    /// The sync that fails, counted from 0.
    failing_sync: Option<u64>,
}

impl Disk {
    pub(super) fn new() -> Self {
        let seen = Seen { written: AtomicU64::new(0), synced: AtomicU64::new(0) };
        Disk { seen: Arc::new(seen), names: Arc::default() }
    }

    /// The sync after `count` others fails.
    pub(super) fn fail_sync_after(&self, count: u64) {
        self.names().failing_sync = Some(count);
    }

    /// Numbers of the files that are there.
    pub(super) fn numbers(&self) -> Vec<u64> {
        self.names().files.iter().map(|(number, _)| *number).collect()
    }

    fn names(&self) -> PlainGuard<'_, Names> {
        self.names.lock().unwrap()
    }

    fn find(&self, number: u64) -> io::Result<Box<dyn SegmentFile>> {
        let names = self.names();
        let found = names.files.iter().find(|(other, _)| *other == number);
        let (_, file) = found.ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(Segment { disk: self.clone(), file: Arc::clone(file) }))
    }
}

impl Storage for Disk {
    fn list(&self) -> io::Result<Vec<u64>> {
        let mut numbers = self.numbers();
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn open(&self, index: u64) -> io::Result<Box<dyn SegmentFile>> {
        self.find(index)
    }

    fn open_in_place(&self, index: u64) -> io::Result<Box<dyn SegmentFile>> {
        self.find(index)
    }

    fn create(&self, index: u64) -> io::Result<Box<dyn SegmentFile>> {
        if let Ok(file) = self.find(index) {
            return Ok(file);
        }
        self.names().files.push((index, Arc::new(tempfile::tempfile()?)));
        self.find(index)
    }

    fn remove(&self, index: u64) -> io::Result<()> {
        self.names().files.retain(|(number, _)| *number != index);
        Ok(())
    }

    fn rename(&self, from: u64, to: u64) -> io::Result<()> {
        let mut names = self.names();
        assert!(names.files.iter().all(|(number, _)| *number != to), "{to} is there");
        let found = names.files.iter_mut().find(|(number, _)| *number == from);
        found.ok_or(io::ErrorKind::NotFound)?.0 = to;
        Ok(())
    }

    fn list_snapshots(&self) -> io::Result<Vec<u64>> {
        Ok(Vec::new())
    }

    fn create_draft(&self, _: u64) -> io::Result<Box<dyn SegmentFile>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn publish_draft(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn remove_drafts(&self) -> io::Result<()> {
        Ok(())
    }

    fn open_snapshot(&self, _: u64) -> io::Result<Box<dyn SegmentFile>> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn remove_snapshot(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn snapshot_path(&self, lsn: u64) -> PathBuf {
        format!("{lsn}.snap").into()
    }

    fn sync_directory(&self) -> io::Result<()> {
        Ok(())
    }

    fn path(&self, index: u64) -> PathBuf {
        format!("{index}.seg").into()
    }

    fn random(&self) -> io::Result<u64> {
        Ok(7)
    }

    fn wall_ms(&self) -> u64 {
        0
    }
}

struct Segment {
    disk: Disk,
    file: Arc<File>,
}

impl SegmentFile for Segment {
    fn len_bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(self.file.as_ref(), buffer, offset)
    }

    /// A segment is zero from the start, and nothing here is read back.
    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let covered = self.disk.seen.written.load(Ordering::Relaxed);
        {
            let mut names = self.disk.names();
            let number = names.syncs;
            names.syncs += 1;
            if names.failing_sync == Some(number) {
                return Err(io::ErrorKind::Other.into());
            }
        }
        self.disk.seen.synced.fetch_max(covered, Ordering::Relaxed);
        Ok(())
    }

    fn map_read(&self, len: usize) -> io::Result<Arc<Mapping>> {
        Mapping::read_only(&self.file, len)
    }

    fn map_write(&self, len: usize) -> io::Result<MappingWriter> {
        MappingWriter::new(&self.file, len)
    }

    fn populate(&self, _: &Mapping) -> io::Result<()> {
        Ok(())
    }
}

/// A way to give notice to the thread that calls this.
pub(super) fn notify_me() -> Arc<dyn Fn() + Send + Sync> {
    let me = thread::current();
    Arc::new(move || me.unpark())
}
