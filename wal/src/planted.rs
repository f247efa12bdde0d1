//! Bugs that tests plant into the log, to prove that the crash simulation would find them.
//!
//! Each hook in the log is one line that only a test build has. A bug is planted in the thread
//! that asks for it, so that other tests go on with a sound log. This file must not know what a
//! simulation does.

use std::cell::Cell;
use std::io;

use crate::lsn::Lsn;
use crate::storage::{Mapping, MappingWriter, SegmentFile};
use crate::sync::{Arc, AtomicBool, AtomicU64, Ordering};

/// A bug that a log may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// The durable position is raised before the sync, and the sync is not made.
    AckBeforeSync,
    /// A failed sync is tried again, and believed when it succeeds.
    RetriedSync,
    /// Commit records carry no durable mark.
    NoMarks,
    /// An opening does not sync the header of the segment that it begins.
    UnsyncedHeader,
    /// An opening wipes the header of the segment that it uses again before it writes the next one.
    WipedHeader,
    /// A release takes effect before its record is durable.
    EarlyRelease,
    /// The checksums of records say nothing of their segment.
    LooseSeed,
}

thread_local! {
    static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
}

/// Plants `bug` in the logs of this thread while `work` runs.
pub(crate) fn with<T>(bug: Bug, work: impl FnOnce() -> T) -> T {
    struct Removed;
    impl Drop for Removed {
        fn drop(&mut self) {
            PLANTED.set(None);
        }
    }
    let _removed = Removed;
    PLANTED.set(Some(bug));
    work()
}

fn is(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// In the syncer, before it syncs up to `target`.
pub(crate) fn ack_before_sync(durable: &AtomicU64, target: Lsn) {
    if is(Bug::AckBeforeSync) {
        durable.store(target.0, Ordering::Release);
    }
}

/// In the syncer, around the outcome of a sync.
pub(crate) fn retry_sync(
    synced: io::Result<()>,
    again: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    if is(Bug::RetriedSync) { synced.or_else(|_| again()) } else { synced }
}

/// In the appender, around the mark of a commit record.
pub(crate) fn mark(durable: Lsn) -> Lsn {
    if is(Bug::NoMarks) { Lsn(0) } else { durable }
}

/// In the log, around the durable position up to which releases take effect.
pub(crate) fn released(durable: Lsn, appended: Lsn) -> Lsn {
    if is(Bug::EarlyRelease) { appended } else { durable }
}

/// In the opening, around whether the header of the segment that it begins stays until then.
pub(crate) fn keeps_header(keeps: bool) -> bool {
    keeps && !is(Bug::WipedHeader)
}

/// In the checksums of records, around the number and the epoch of their segment.
pub(crate) fn seeded(index: u64, epoch: u64) -> (u64, u64) {
    if is(Bug::LooseSeed) { (0, 0) } else { (index, epoch) }
}

/// In the opening, around the file of the segment that it begins.
pub(crate) fn header_file(file: Box<dyn SegmentFile>) -> Box<dyn SegmentFile> {
    if is(Bug::UnsyncedHeader) {
        Box::new(OneSyncLess { file, is_skipped: AtomicBool::new(false) })
    } else {
        file
    }
}

/// A file whose first sync does nothing.
struct OneSyncLess {
    file: Box<dyn SegmentFile>,
    is_skipped: AtomicBool,
}

impl SegmentFile for OneSyncLess {
    fn len_bytes(&self) -> io::Result<u64> {
        self.file.len_bytes()
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
        if self.is_skipped.swap(true, Ordering::Relaxed) { self.file.sync() } else { Ok(()) }
    }

    fn map_read(&self, len: usize) -> io::Result<Arc<Mapping>> {
        self.file.map_read(len)
    }

    fn map_write(&self, len: usize) -> io::Result<MappingWriter> {
        self.file.map_write(len)
    }

    fn populate(&self, mapping: &Mapping) -> io::Result<()> {
        self.file.populate(mapping)
    }
}
