//! A directory whose operations fail on demand.

use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::disk::Disk;
use super::image::{SEGMENT_BYTES, Subject};
use crate::log::Workers;
use crate::recovery::{Record, Target};
use crate::storage::{Directory, Mapping, MappingWriter, SegmentFile, Storage};
use crate::sync::{Arc, AtomicBool, AtomicU64, Mutex, Ordering, lock};
use crate::{Durability, LogOptions, OpenError};

/// Opens the log in `dir` on a storage with these faults.
pub(super) fn open_faulty(dir: &Path, faults: &Arc<Faults>) -> Result<Subject, OpenError> {
    open_faulty_in(dir, faults, Durability::Sync)
}

/// The same in a mode of choice.
pub(super) fn open_faulty_in(
    dir: &Path,
    faults: &Arc<Faults>,
    durability: Durability,
) -> Result<Subject, OpenError> {
    let directory = Directory::open(dir).unwrap();
    let storage = Arc::new(Faulty { directory, faults: Arc::clone(faults) });
    let options = LogOptions::new(dir).segment_bytes(SEGMENT_BYTES).durability(durability);
    Subject::open_with(|notify, records| {
        let mut replay = |record: Record<'_>| {
            records.push((record.lsn, record.payload.to_vec()));
            Ok(())
        };
        let target = Target::Records(&mut replay);
        options.open_on(storage, None, Workers::Threads, notify, target)
    })
}

/// What fails. Everything works at first.
pub(super) struct Faults {
    /// Bytes that can still be written or reserved.
    pub(super) space_bytes: AtomicU64,
    /// Space is taken by writes, not by reservations.
    pub(super) no_reservation: AtomicBool,
    /// Syncs of this segment fail; `u64::MAX`: none.
    pub(super) failing_sync: AtomicU64,
    /// Operations until one fails, once; `u64::MAX`: none does.
    pub(super) countdown: AtomicU64,
    /// Segment files that may be open at a time; one more is refused.
    pub(super) files_max: AtomicU64,
    /// Segment files that are open.
    pub(super) open_files: AtomicU64,
    /// What is really on the disk.
    pub(super) disk: Mutex<Disk>,
    /// Segment, offset and length of bytes that turn to zero when the segment is opened in place:
    /// the cache lost them, and the disk never had them.
    pub(super) evicted: Mutex<Option<(u64, u64, usize)>>,
    /// Where and how much was written to files opened in place: segment, offset, length.
    pub(super) in_place: Mutex<Vec<(u64, u64, u64)>>,
    /// What changed the disk or made changes durable, in order.
    pub(super) journal: Mutex<Vec<(Change, u64)>>,
}

/// A change of a segment file. The directory counts as segment `u64::MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Create,
    Write,
    Remove,
    Sync,
}

impl Faults {
    pub(super) fn none() -> Arc<Self> {
        Arc::new(Faults {
            space_bytes: AtomicU64::new(u64::MAX),
            no_reservation: AtomicBool::new(false),
            failing_sync: AtomicU64::new(u64::MAX),
            countdown: AtomicU64::new(u64::MAX),
            files_max: AtomicU64::new(u64::MAX),
            open_files: AtomicU64::new(0),
            disk: Mutex::default(),
            evicted: Mutex::default(),
            in_place: Mutex::default(),
            journal: Mutex::default(),
        })
    }

    fn operation(&self) -> io::Result<()> {
        let left = self.countdown.load(Ordering::SeqCst);
        if left == u64::MAX {
            return Ok(());
        }
        self.countdown.store(left.checked_sub(1).unwrap_or(u64::MAX), Ordering::SeqCst);
        if left == 0 { Err(Errno::IO.into()) } else { Ok(()) }
    }

    fn note(&self, change: Change, index: u64) {
        lock(&self.journal).push((change, index));
    }

    fn take_space(&self, bytes: u64) -> io::Result<()> {
        let take = |left: u64| {
            if left == u64::MAX { Some(left) } else { left.checked_sub(bytes) }
        };
        let taken = self.space_bytes.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take);
        taken.map(|_| ()).map_err(|_| Errno::NOSPC.into())
    }
}

pub(super) struct Faulty {
    pub(super) directory: Directory,
    pub(super) faults: Arc<Faults>,
}

impl Faulty {
    fn wrap(&self, index: u64, file: Box<dyn SegmentFile>) -> io::Result<Box<FaultyFile>> {
        let files_max = self.faults.files_max.load(Ordering::SeqCst);
        // Dropping it counts down again, also when it is refused.
        let open_files = self.faults.open_files.fetch_add(1, Ordering::SeqCst) + 1;
        let file = FaultyFile { index, file, is_in_place: false, faults: Arc::clone(&self.faults) };
        lock(&self.faults.disk).meet(index, &file.cached()?);
        if open_files > files_max { Err(Errno::MFILE.into()) } else { Ok(Box::new(file)) }
    }
}

impl Storage for Faulty {
    fn list(&self) -> io::Result<Vec<u64>> {
        self.faults.operation()?;
        self.directory.list()
    }

    fn open(&self, index: u64) -> io::Result<Box<dyn SegmentFile>> {
        self.faults.operation()?;
        Ok(self.wrap(index, self.directory.open(index)?)?)
    }

    fn open_in_place(&self, index: u64) -> io::Result<Box<dyn SegmentFile>> {
        self.faults.operation()?;
        let mut file = self.wrap(index, self.directory.open_in_place(index)?)?;
        if let Some((_, offset, len)) = lock(&self.faults.evicted).take_if(|at| at.0 == index) {
            file.file.write_at(&vec![0; len], offset)?;
        }
        file.is_in_place = true;
        Ok(file)
    }

    fn create(&self, index: u64) -> io::Result<Box<dyn SegmentFile>> {
        self.faults.operation()?;
        self.faults.note(Change::Create, index);
        Ok(self.wrap(index, self.directory.create(index)?)?)
    }

    fn remove(&self, index: u64) -> io::Result<()> {
        self.faults.operation()?;
        self.faults.note(Change::Remove, index);
        lock(&self.faults.disk).remove(index);
        self.directory.remove(index)
    }

    fn rename(&self, from: u64, to: u64) -> io::Result<()> {
        self.faults.operation()?;
        lock(&self.faults.disk).rename(from, to);
        self.directory.rename(from, to)
    }

    fn list_snapshots(&self) -> io::Result<Vec<u64>> {
        self.faults.operation()?;
        self.directory.list_snapshots()
    }

    fn create_draft(&self, lsn: u64) -> io::Result<Box<dyn SegmentFile>> {
        self.faults.operation()?;
        self.directory.create_draft(lsn)
    }

    fn publish_draft(&self, lsn: u64) -> io::Result<()> {
        self.faults.operation()?;
        self.directory.publish_draft(lsn)
    }

    fn remove_drafts(&self) -> io::Result<()> {
        self.faults.operation()?;
        self.directory.remove_drafts()
    }

    fn open_snapshot(&self, lsn: u64) -> io::Result<Box<dyn SegmentFile>> {
        self.faults.operation()?;
        self.directory.open_snapshot(lsn)
    }

    fn remove_snapshot(&self, lsn: u64) -> io::Result<()> {
        self.faults.operation()?;
        self.directory.remove_snapshot(lsn)
    }

    fn snapshot_path(&self, lsn: u64) -> PathBuf {
        self.directory.snapshot_path(lsn)
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.faults.operation()?;
        self.faults.note(Change::Sync, u64::MAX);
        self.directory.sync_directory()
    }

    fn path(&self, index: u64) -> PathBuf {
        self.directory.path(index)
    }

    fn random(&self) -> io::Result<u64> {
        self.faults.operation()?;
        Ok(0x5eed)
    }

    fn wall_ms(&self) -> u64 {
        1_700_000_000_000
    }
}

struct FaultyFile {
    index: u64,
    file: Box<dyn SegmentFile>,
    is_in_place: bool,
    faults: Arc<Faults>,
}

impl FaultyFile {
    /// All that a reader of the file sees, whether it is on the disk or not.
    fn cached(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.file.len_bytes()? as usize];
        self.file.read_at(&mut bytes, 0)?;
        Ok(bytes)
    }
}

impl Drop for FaultyFile {
    fn drop(&mut self) {
        self.faults.open_files.fetch_sub(1, Ordering::SeqCst);
    }
}

impl SegmentFile for FaultyFile {
    fn len_bytes(&self) -> io::Result<u64> {
        self.faults.operation()?;
        self.file.len_bytes()
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.faults.operation()?;
        if self.faults.no_reservation.load(Ordering::SeqCst) {
            return Ok(());
        }
        self.faults.take_space(len)?;
        self.file.allocate(len)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.faults.operation()?;
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.faults.operation()?;
        if self.faults.no_reservation.load(Ordering::SeqCst) {
            self.faults.take_space(bytes.len() as u64)?;
        }
        self.faults.note(Change::Write, self.index);
        if self.is_in_place {
            let write = (self.index, offset, bytes.len() as u64);
            lock(&self.faults.in_place).push(write);
        }
        lock(&self.faults.disk).write(self.index, offset, bytes.len());
        self.file.write_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.faults.operation()?;
        let fails = self.faults.failing_sync.load(Ordering::SeqCst) == self.index;
        lock(&self.faults.disk).sync(self.index, &self.cached()?, !fails);
        if fails {
            return Err(Errno::IO.into());
        }
        self.faults.note(Change::Sync, self.index);
        self.file.sync()
    }

    fn map_read(&self, len: usize) -> io::Result<Arc<Mapping>> {
        self.faults.operation()?;
        self.file.map_read(len)
    }

    fn map_write(&self, len: usize) -> io::Result<MappingWriter> {
        self.faults.operation()?;
        self.file.map_write(len)
    }

    fn populate(&self, mapping: &Mapping) -> io::Result<()> {
        self.faults.operation()?;
        self.file.populate(mapping)
    }
}
