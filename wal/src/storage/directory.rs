//! Segment files in a directory of the operating system.
//!
//! It must not know what the files hold.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSliceMut};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{Advice, FallocateFlags, IFlags};
use rustix::io::{Errno, ReadWriteFlags};
use rustix::rand::GetRandomFlags;

use super::{Mapping, MappingWriter, SegmentFile, Storage};
use crate::sync::{Arc, AtomicUsize, Ordering};

/// Digits in a file's name.
const NAME_DIGITS: usize = 20;
/// What follows them in a segment's name; the digits are its number.
const SEGMENT_SUFFIX: &str = ".seg";
/// What follows them in a snapshot's name; the digits are its position.
const SNAPSHOT_SUFFIX: &str = ".snap";
/// What follows them while a snapshot is being written.
const DRAFT_SUFFIX: &str = ".snap-draft";
/// Size of the reads that stand in for a population that the kernel does not offer.
const READ_PIECE_BYTES: usize = 1 << 20;
/// Pages are let go in multiples of this, which is one of any size of pages.
const LET_GO_BYTES: usize = 64 << 10;
/// Distance of the looks that find out whether a file is in memory. Pages are dropped in runs.
const CACHE_LOOK_BYTES: usize = 256 << 10;

/// A directory on a file system.
pub(crate) struct Directory {
    path: PathBuf,
    handle: File,
}

impl Directory {
    /// Opens a directory that exists.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Ok(Directory { path: path.to_owned(), handle: File::open(path)? })
    }

    /// The numbers in the names that end in `suffix`, in order.
    fn numbers(&self, suffix: &str) -> io::Result<Vec<u64>> {
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let name = entry?.file_name();
            if let Some(number) = name.to_str().and_then(|name| number_in_name(name, suffix)) {
                numbers.push(number);
            }
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn file(&self, number: u64, suffix: &str) -> PathBuf {
        self.path.join(format!("{number:0NAME_DIGITS$}{suffix}"))
    }
}

impl Storage for Directory {
    fn list(&self) -> io::Result<Vec<u64>> {
        self.numbers(SEGMENT_SUFFIX)
    }

    fn open(&self, index: u64) -> io::Result<Box<dyn SegmentFile>> {
        Ok(Box::new(DiskFile::new(File::open(self.path(index))?)))
    }

    fn open_in_place(&self, index: u64) -> io::Result<Box<dyn SegmentFile>> {
        let file = OpenOptions::new().read(true).write(true).open(self.path(index))?;
        Ok(Box::new(DiskFile::new(file)))
    }

    fn create(&self, index: u64) -> io::Result<Box<dyn SegmentFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.open(self.path(index))?;
        if file.metadata()?.len() == 0 {
            overwrite_in_place(&file);
        }
        Ok(Box::new(DiskFile::new(file)))
    }

    fn remove(&self, index: u64) -> io::Result<()> {
        fs::remove_file(self.path(index))
    }

    fn rename(&self, from: u64, to: u64) -> io::Result<()> {
        fs::rename(self.path(from), self.path(to))
    }

    fn list_snapshots(&self) -> io::Result<Vec<u64>> {
        self.numbers(SNAPSHOT_SUFFIX)
    }

    fn create_draft(&self, lsn: u64) -> io::Result<Box<dyn SegmentFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true);
        Ok(Box::new(DiskFile::new(options.open(self.file(lsn, DRAFT_SUFFIX))?)))
    }

    fn publish_draft(&self, lsn: u64) -> io::Result<()> {
        fs::rename(self.file(lsn, DRAFT_SUFFIX), self.snapshot_path(lsn))
    }

    fn remove_drafts(&self) -> io::Result<()> {
        for lsn in self.numbers(DRAFT_SUFFIX)? {
            fs::remove_file(self.file(lsn, DRAFT_SUFFIX))?;
        }
        Ok(())
    }

    fn open_snapshot(&self, lsn: u64) -> io::Result<Box<dyn SegmentFile>> {
        Ok(Box::new(DiskFile::new(File::open(self.snapshot_path(lsn))?)))
    }

    fn remove_snapshot(&self, lsn: u64) -> io::Result<()> {
        fs::remove_file(self.snapshot_path(lsn))
    }

    fn snapshot_path(&self, lsn: u64) -> PathBuf {
        self.file(lsn, SNAPSHOT_SUFFIX)
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.handle.sync_all()
    }

    fn path(&self, index: u64) -> PathBuf {
        self.file(index, SEGMENT_SUFFIX)
    }

    fn random(&self) -> io::Result<u64> {
        let mut bytes = [0; 8];
        let mut filled = 0;
        while filled < bytes.len() {
            filled += rustix::rand::getrandom(&mut bytes[filled..], GetRandomFlags::empty())?;
        }
        Ok(u64::from_le_bytes(bytes))
    }

    fn wall_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

/// Asks a file system that copies on write to overwrite this file, which is empty, in place, so
/// that a store into reserved blocks takes no new space. Others refuse, and need not be asked.
fn overwrite_in_place(file: &File) {
    let flags = rustix::fs::ioctl_getflags(file);
    let set = flags.and_then(|flags| rustix::fs::ioctl_setflags(file, flags | IFlags::NOCOW));
    if let Err(error) = set {
        tracing::trace!(%error, "the file system does not switch off copy on write");
    }
}

/// A file of the operating system.
struct DiskFile {
    file: File,
    /// Where stores into it go, once it is mapped for them.
    stored: OnceLock<Stored>,
}

/// A mapping that is stored into.
struct Stored {
    mapping: Arc<Mapping>,
    /// Its pages below were let go.
    let_go: AtomicUsize,
}

impl DiskFile {
    fn new(file: File) -> Self {
        DiskFile { file, stored: OnceLock::new() }
    }
}

impl Stored {
    /// Lets go of pages that are full, all in one call. The sync that follows takes the right to
    /// write away from each page that is still mapped for it, one after the other, and interrupts the
    /// other processors each time: with a million appends a second that takes more time than the
    /// appends do.
    fn let_go(&self) {
        let end = self.mapping.frozen_len();
        let end = end - end % LET_GO_BYTES;
        let begin = self.let_go.fetch_max(end, Ordering::Relaxed);
        if begin < end {
            self.mapping.let_go(begin, end - begin);
        }
    }
}

impl SegmentFile for DiskFile {
    fn len_bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn is_pinned(&self) -> io::Result<bool> {
        Ok(self.file.metadata()?.nlink() > 1)
    }

    fn drop_cached(&self) {
        if let Err(error) = rustix::fs::fadvise(&self.file, 0, None, Advice::DontNeed) {
            tracing::debug!(%error, "cannot drop cached pages");
        }
    }

    /// A file system that cannot tell counts as one that has dropped the pages.
    fn is_cached(&self, len: u64) -> bool {
        let is_there = |offset: u64| {
            let mut byte = [0];
            let buffers = &mut [IoSliceMut::new(&mut byte)];
            let read = rustix::io::preadv2(&self.file, buffers, offset, ReadWriteFlags::NOWAIT);
            matches!(read, Ok(1))
        };
        (0..len).step_by(CACHE_LOOK_BYTES).all(is_there)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        loop {
            match rustix::fs::fallocate(&self.file, FallocateFlags::empty(), 0, len) {
                Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.file.read_at(&mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        if let Some(stored) = self.stored.get() {
            stored.let_go();
        }
        self.file.sync_data()
    }

    fn map_read(&self, len: usize) -> io::Result<Arc<Mapping>> {
        Mapping::read_only(&self.file, len)
    }

    fn map_write(&self, len: usize) -> io::Result<MappingWriter> {
        let writer = MappingWriter::new(&self.file, len)?;
        self.populate(writer.mapping())?;
        let mapping = Arc::clone(writer.mapping());
        // A file is mapped for stores once; if not, its pages are not let go, which is slower.
        let _ = self.stored.set(Stored { mapping, let_go: AtomicUsize::new(0) });
        Ok(writer)
    }

    fn map_write_lazily(&self, len: usize) -> io::Result<MappingWriter> {
        MappingWriter::new(&self.file, len)
    }

    fn populate(&self, mapping: &Mapping) -> io::Result<()> {
        match mapping.populate() {
            // Kernels before 5.14 do not know the request. Reading the file brings its pages in
            // and reports a failing disk as well.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                let mut buffer = vec![0; READ_PIECE_BYTES];
                let mut offset = 0;
                while offset < mapping.len() as u64 {
                    let count = self.read_at(&mut buffer, offset)?;
                    if count == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    offset += count as u64;
                }
                Ok(())
            }
            other => other,
        }
    }
}

/// Creates a directory and those above it, and makes their names durable.
pub(crate) fn create_durably(path: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = path
        .ancestors()
        .take_while(|ancestor| !ancestor.as_os_str().is_empty() && !ancestor.exists())
        .collect();
    fs::create_dir_all(path)?;
    for created in missing {
        let parent = match created.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        File::open(parent)?.sync_all()?;
    }
    Ok(())
}

fn number_in_name(name: &str, suffix: &str) -> Option<u64> {
    let digits = name.strip_suffix(suffix)?;
    let all_digits = digits.len() == NAME_DIGITS && digits.bytes().all(|b| b.is_ascii_digit());
    all_digits.then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_full_segment_names_count() {
        let number = |name| number_in_name(name, SEGMENT_SUFFIX);
        assert_eq!(number("00000000000000000007.seg"), Some(7));
        for name in ["7.seg", "LOCK", "00000000000000000007.seg.bak", "+0000000000000000007.seg"] {
            assert_eq!(number(name), None, "{name}");
        }
        assert_eq!(number("99999999999999999999.seg"), None);
        assert_eq!(number_in_name("00000000000000000007.snap-draft", SNAPSHOT_SUFFIX), None);
    }

    #[test]
    fn nested_directories_are_created() {
        let dir = tempfile::tempdir().unwrap();
        let nested = dir.path().join("a/b/c");
        create_durably(&nested).unwrap();
        create_durably(&nested).unwrap();
        assert!(nested.is_dir());
    }
}
