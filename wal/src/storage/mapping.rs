//! Mapped segment files, and memory that stands in for one: the one file with unsafe code.
//!
//! The rule that makes it sound: a mapping has a *frozen* length. Bytes below it are never
//! written again, and only they are handed out as slices. Bytes from it on belong to the one
//! [`MappingWriter`], which never hands out a slice of them. An opening may write frozen bytes once
//! more through the file, with the values that they have, so no reader can tell. This file must not
//! know what the bytes mean.

use std::fs::File;
use std::io;
use std::{ptr, slice};

use memmap2::{Advice, MmapOptions, MmapRaw};

use crate::sync::{Arc, AtomicUsize, Ordering};

/// A mapped file, or memory of this process alone, shared by all who read it.
///
/// Other processes must not change or truncate the file: the log's lock keeps other logs away.
#[derive(Debug)]
pub(crate) struct Mapping {
    raw: MmapRaw,
    /// Bytes below are never written again. At most the length of the mapping; only rises.
    frozen: AtomicUsize,
}

impl Mapping {
    /// Maps the first `len` bytes of `file`, all of them frozen.
    pub(crate) fn read_only(file: &File, len: usize) -> io::Result<Arc<Self>> {
        let raw = MmapOptions::new().len(len).map_raw_read_only(file)?;
        Ok(Arc::new(Mapping { raw, frozen: AtomicUsize::new(len) }))
    }

    /// Length of the mapping in bytes.
    pub(crate) fn len(&self) -> usize {
        self.raw.len()
    }

    /// Reads all pages in now. The error of a failing disk comes from here.
    pub(crate) fn populate(&self) -> io::Result<()> {
        self.raw.advise(Advice::PopulateRead)
    }

    /// The same for the pages of a range, which lies in the mapping. On a kernel that does not know
    /// the request (before 5.14) it does nothing.
    pub(crate) fn populate_range(&self, offset: usize, len: usize) -> io::Result<()> {
        match self.raw.advise_range(Advice::PopulateRead, offset, len) {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
            other => other,
        }
    }

    /// Takes the pages of a range of frozen bytes out of the mapping; the next reader of each brings it
    /// in again. The file and its cached pages stay as they are. Only a hint.
    ///
    /// # Panics
    /// If a byte of the range is not frozen.
    pub(crate) fn let_go(&self, offset: usize, len: usize) {
        let frozen = self.frozen_len();
        assert!(offset <= frozen && len <= frozen - offset, "only frozen pages are let go");
        // SAFETY: of a shared mapping of a file, no byte changes by this: what was stored is with the
        // file's cached pages, from which a page that is used again is mapped again. The range is
        // frozen, so there is no store into it at the same time; loads see the same bytes before and
        // after. Memory of this process alone would lose its bytes: a `Mapping` of such memory
        // belongs to no file, and files alone call this.
        let done = unsafe {
            self.raw.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, offset, len)
        };
        if let Err(error) = done {
            tracing::debug!(%error, "cannot let go of pages");
        }
    }

    /// Number of frozen bytes.
    #[inline]
    pub(crate) fn frozen_len(&self) -> usize {
        self.frozen.load(Ordering::Acquire)
    }

    /// The frozen bytes.
    #[inline]
    pub(crate) fn frozen_bytes(&self) -> &[u8] {
        // Pairs with the release in `freeze`: what was written below is visible here.
        let len = self.frozen.load(Ordering::Acquire);
        debug_assert!(len <= self.raw.len());
        // SAFETY: the pointer is valid for the length of the mapping for as long as `self`
        // lives, and `frozen` never exceeds that length (checked where it is set). No one in
        // this process writes below `frozen`: the only writer is the mapping's `MappingWriter`,
        // whose `write` refuses it, and `frozen` never falls. A read-only mapping has no writer.
        // No other process changes the file, by the contract of this type.
        unsafe { slice::from_raw_parts(self.raw.as_ptr(), len) }
    }
}

/// The only one who writes to a mapping.
#[derive(Debug)]
pub(crate) struct MappingWriter {
    mapping: Arc<Mapping>,
    len: usize,
    frozen: usize,
}

impl MappingWriter {
    /// Maps the first `len` bytes of `file` for writing, none of them frozen.
    ///
    /// The file is at least that long and no other writer is made for it.
    pub(crate) fn new(file: &File, len: usize) -> io::Result<Self> {
        Ok(MappingWriter::over(MmapOptions::new().len(len).map_raw(file)?))
    }

    /// Memory of this process alone, all of it present, none of it frozen.
    pub(crate) fn in_memory(len: usize) -> io::Result<Self> {
        let raw = MmapRaw::from(MmapOptions::new().len(len).map_anon()?);
        // Only hints: memory that is brought in by its first use is as good, but slower.
        if let Err(error) = raw.advise(Advice::HugePage) {
            tracing::debug!(%error, "no huge pages");
        }
        if let Err(error) = raw.advise(Advice::PopulateWrite) {
            tracing::debug!(%error, "cannot bring memory in beforehand");
        }
        Ok(MappingWriter::over(raw))
    }

    /// Starts again in memory that nobody uses any more. What it holds is garbage until it is
    /// written.
    pub(crate) fn again(memory: Mapping) -> Self {
        MappingWriter::over(memory.raw)
    }

    /// The caller gives up `raw`, so nobody else reads or writes through it.
    fn over(raw: MmapRaw) -> Self {
        let len = raw.len();
        let mapping = Arc::new(Mapping { raw, frozen: AtomicUsize::new(0) });
        MappingWriter { mapping, len, frozen: 0 }
    }

    /// The mapping, for readers.
    pub(crate) fn mapping(&self) -> &Arc<Mapping> {
        &self.mapping
    }

    /// Copies `bytes` to `offset`.
    ///
    /// # Panics
    /// If a byte of the range is frozen or outside the mapping.
    #[inline]
    pub(crate) fn write(&mut self, offset: usize, bytes: &[u8]) {
        assert!(
            offset >= self.frozen && offset <= self.len && bytes.len() <= self.len - offset,
            "a write outside the free part of a segment"
        );
        // SAFETY: the range lies in the mapping (checked above) and above `frozen`, so no slice
        // of it exists: `Mapping` hands out frozen bytes only, and this writer hands out none.
        // For the same reason `bytes` cannot overlap the range. `&mut self` on the mapping's
        // only writer rules out a second write at the same time.
        unsafe {
            let target = self.mapping.raw.as_mut_ptr().add(offset);
            ptr::copy_nonoverlapping(bytes.as_ptr(), target, bytes.len());
        }
    }

    /// Gives the bytes below `end` to the readers, for good.
    ///
    /// # Panics
    /// If `end` lies below the frozen bytes or outside the mapping.
    #[inline]
    pub(crate) fn freeze(&mut self, end: usize) {
        assert!(end >= self.frozen && end <= self.len, "frozen bytes stay frozen");
        self.frozen = end;
        // Pairs with the acquire in `frozen_bytes`.
        self.mapping.frozen.store(end, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file_of(len: u64) -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(len).unwrap();
        file
    }

    #[test]
    fn readers_see_frozen_bytes_only() {
        let mut writer = MappingWriter::new(&file_of(4096), 4096).unwrap();
        let reader = Arc::clone(writer.mapping());
        writer.write(0, b"abcdef");
        assert_eq!(reader.frozen_bytes(), b"");
        writer.freeze(3);
        assert_eq!(reader.frozen_bytes(), b"abc");
        writer.write(3, b"xyz");
        writer.freeze(6);
        assert_eq!(reader.frozen_bytes(), b"abcxyz");
    }

    #[test]
    fn pages_that_are_let_go_come_back_as_they_were() {
        let file = file_of(1 << 20);
        let mut writer = MappingWriter::new(&file, 1 << 20).unwrap();
        let reader = Arc::clone(writer.mapping());
        let bytes: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
        writer.write(0, &bytes);
        writer.freeze(bytes.len());
        reader.let_go(0, 65_536);
        reader.let_go(65_536, 131_072);
        writer.write(bytes.len(), b"more");
        writer.freeze(bytes.len() + 4);
        assert_eq!(reader.frozen_bytes()[..bytes.len()], bytes);
        let beyond = std::panic::AssertUnwindSafe(|| reader.let_go(0, 1 << 20));
        std::panic::catch_unwind(beyond).unwrap_err();
    }

    #[test]
    fn frozen_and_outside_bytes_cannot_be_written() {
        let attempt = |offset: usize, len: usize| {
            let mut writer = MappingWriter::new(&file_of(4096), 4096).unwrap();
            writer.freeze(8);
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                writer.write(offset, &vec![1; len]);
            }))
        };
        attempt(8, 4088).unwrap();
        attempt(4096, 0).unwrap();
        for (offset, len) in [(0, 1), (7, 1), (8, 4089), (4096, 1), (usize::MAX, 1)] {
            attempt(offset, len).unwrap_err();
        }
    }
}
