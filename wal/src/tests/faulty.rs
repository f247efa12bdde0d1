//! A directory whose operations fail on demand.

use std::io;
use std::path::PathBuf;

use rustix::io::Errno;

use crate::storage::{Directory, Mapping, MappingWriter, SegmentFile, Storage};
use crate::sync::{Arc, AtomicBool, AtomicU64, Mutex, Ordering, lock};

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
    fn wrap(&self, index: u64, file: Box<dyn SegmentFile>) -> Box<dyn SegmentFile> {
        Box::new(FaultyFile { index, file, faults: Arc::clone(&self.faults) })
    }
}

impl Storage for Faulty {
    fn list(&self) -> io::Result<Vec<u64>> {
        self.faults.operation()?;
        self.directory.list()
    }

    fn open(&self, index: u64) -> io::Result<Box<dyn SegmentFile>> {
        self.faults.operation()?;
        Ok(self.wrap(index, self.directory.open(index)?))
    }

    fn create(&self, index: u64) -> io::Result<Box<dyn SegmentFile>> {
        self.faults.operation()?;
        self.faults.note(Change::Create, index);
        Ok(self.wrap(index, self.directory.create(index)?))
    }

    fn remove(&self, index: u64) -> io::Result<()> {
        self.faults.operation()?;
        self.faults.note(Change::Remove, index);
        self.directory.remove(index)
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
    faults: Arc<Faults>,
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
        self.file.write_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.faults.operation()?;
        if self.faults.failing_sync.load(Ordering::SeqCst) == self.index {
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
