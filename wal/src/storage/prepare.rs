//! Makes a segment ready for appends: space reserved, every block written, pages present.
//!
//! After it a store into the segment can neither run out of space nor raise a signal, on a file
//! system that overwrites blocks in place; `docs/file-format.md` names those that do not. It must
//! not know headers or records.

use std::io;
use std::time::{Duration, Instant};

use super::{MappingWriter, SegmentFile, Storage};
use crate::limits::{PREPARE_PIECE_BYTES, PREPARE_SYNC_BYTES, PREPARE_SYNC_BYTES_HURRIED};

/// A segment whose first piece is zero, durably, unless it was [to stay](Source::Standing).
pub(crate) struct Prepared {
    pub(crate) index: u64,
    /// All other bytes are zero as well, durably. Otherwise they are what was in the file before.
    pub(crate) is_zero: bool,
    pub(crate) file: Box<dyn SegmentFile>,
    pub(crate) writer: MappingWriter,
}

/// How a segment is to be made. It is asked again and again while the work goes on.
pub(crate) trait Pace {
    /// Whether someone may be waiting for the segment.
    fn is_hurried(&self) -> bool;

    /// Called after each synced part with the time that the part took. It may wait, to leave the
    /// disk to others. An error ends the work.
    fn pause(&self, worked: Duration) -> io::Result<()>;
}

/// What a segment is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A new file, or the one that has the segment's number already.
    New,
    /// The whole file that has the segment's number already. Its first piece stays as it is: the
    /// caller writes over it.
    Standing,
    /// The file that [`retire`] has kept.
    Spare(Spare),
}

/// A released segment that is kept to be used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spare {
    /// The number that its file has.
    pub(crate) number: u64,
    /// Its bytes stay. Otherwise all of it is zeroed.
    pub(crate) stays: bool,
}

/// Makes segment `index`, or wipes the one that is there.
///
/// The first piece of a file that was there is wiped last, if at all, after all others are zero
/// durably: for as long as something is left of the records, so is what the file says about them. A spare has
/// lost its first piece before, so whatever number it gets, no recovery takes it for a segment.
///
/// A spare whose bytes stay is written once instead of twice, and its pages are in memory. What is
/// left in it can never pass as records of its new number: their checksums are of the old one.
///
/// If anything fails, a file that this call created is removed again; one that was there stays.
pub(crate) fn prepare(
    storage: &dyn Storage,
    index: u64,
    segment_len: usize,
    source: Source,
    pace: &dyn Pace,
) -> io::Result<Prepared> {
    let (number, stays) = match source {
        Source::New | Source::Standing => (index, false),
        Source::Spare(spare) => (spare.number, spare.stays),
    };
    let file = storage.create(number)?;
    let len_bytes = file.len_bytes()?;
    let created = len_bytes == 0;
    let first = match source {
        _ if created => First::New,
        Source::Standing => First::Stays,
        Source::New | Source::Spare(_) => First::WipedLast,
    };
    // A try that failed after its rename leaves no spare of that number, and this is a new file.
    let is_zero = !stays || len_bytes != segment_len as u64;
    let filled = if is_zero { fill(file.as_ref(), segment_len, first, pace) } else { Ok(()) };
    let filled = filled.and_then(|()| {
        if number != index {
            storage.rename(number, index)?;
        }
        // The name must be durable before any record relies on the file.
        storage.sync_directory()?;
        file.map_write(segment_len)
    });
    match filled {
        Ok(writer) => Ok(Prepared { index, is_zero, file, writer }),
        Err(error) => {
            drop(file);
            if created && let Err(error) = storage.remove(number) {
                let path = storage.path(number);
                tracing::warn!(path = %path.display(), %error, "cannot remove a partial segment");
            }
            Err(error)
        }
    }
}

/// What may become of the file of a released segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is removed.
    Removed,
    /// It is kept, to be zeroed.
    Kept,
    /// It is kept with its bytes, if they are in memory. All of it was written by this opening, and
    /// its pages never left memory, unless this can tell.
    KeptAsItIs,
}

/// Puts the file of a released segment away: keeps it as a spare, or removes it. A file that a
/// backup has pinned is removed, so that its bytes stay under the other name.
///
/// A spare loses its header before anything else of it changes, so that no recovery takes what is
/// left for a segment.
///
/// Its bytes stay only if its pages are those that were written: pages that were read in lie in
/// large groups, and a store into one dirties its whole group.
pub(crate) fn retire(storage: &dyn Storage, index: u64, fate: Fate) -> io::Result<Option<Spare>> {
    if fate != Fate::Removed {
        let file = storage.open_in_place(index)?;
        if !file.is_pinned()? {
            let stays = fate == Fate::KeptAsItIs && file.is_cached(file.len_bytes()?);
            file.write_at(&[0; PREPARE_PIECE_BYTES], 0)?;
            file.sync()?;
            return Ok(Some(Spare { number: index, stays }));
        }
    }
    storage.remove(index)?;
    Ok(None)
}

/// What becomes of a file's first piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum First {
    /// There is none yet: it is written with the others.
    New,
    /// It is wiped when the others are.
    WipedLast,
    Stays,
}

fn fill(
    file: &dyn SegmentFile,
    segment_len: usize,
    first: First,
    pace: &dyn Pace,
) -> io::Result<()> {
    let segment_bytes = segment_len as u64;
    // Without cached pages the writes below bring in small ones.
    file.drop_cached();
    file.allocate(segment_bytes)?;
    let zeros = [0; PREPARE_PIECE_BYTES];
    let mut offset = if first == First::New { 0 } else { zeros.len() as u64 };
    let mut synced = offset;
    let mut part_start = Instant::now();
    while offset < segment_bytes {
        file.write_at(&zeros, offset)?;
        offset += zeros.len() as u64;
        let part_bytes =
            if pace.is_hurried() { PREPARE_SYNC_BYTES_HURRIED } else { PREPARE_SYNC_BYTES };
        if offset - synced >= part_bytes {
            file.sync()?;
            pace.pause(part_start.elapsed())?;
            synced = offset;
            part_start = Instant::now();
        }
    }
    file.sync()?;
    if first == First::WipedLast {
        file.write_at(&zeros, 0)?;
        file.sync()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Directory;

    const SEGMENT_BYTES: usize = 64 << 10;

    struct AtOnce;

    impl Pace for AtOnce {
        fn is_hurried(&self) -> bool {
            true
        }

        fn pause(&self, _: Duration) -> io::Result<()> {
            Ok(())
        }
    }

    fn bytes_of(storage: &Directory, index: u64) -> Vec<u8> {
        std::fs::read(storage.path(index)).unwrap()
    }

    #[test]
    fn a_spare_is_used_with_its_bytes_or_zeroed() {
        let dir = tempfile::tempdir().unwrap();
        let storage = Directory::open(dir.path()).unwrap();
        for (number, fate, byte) in [(1, Fate::KeptAsItIs, 7), (2, Fate::Kept, 0)] {
            std::fs::write(storage.path(number), [7; SEGMENT_BYTES]).unwrap();
            let spare = retire(&storage, number, fate).unwrap().unwrap();
            let index = 10 + number;
            let prepared =
                prepare(&storage, index, SEGMENT_BYTES, Source::Spare(spare), &AtOnce).unwrap();
            assert_eq!((prepared.index, prepared.is_zero), (index, byte == 0));
            let mut expected = [byte; SEGMENT_BYTES];
            expected[..PREPARE_PIECE_BYTES].fill(0);
            assert!(bytes_of(&storage, index) == expected);
            assert!(!storage.path(number).exists());
        }
        std::fs::write(storage.path(3), [7; SEGMENT_BYTES]).unwrap();
        assert_eq!(retire(&storage, 3, Fate::Removed).unwrap(), None);
        assert!(!storage.path(3).exists());
    }

    /// A try that failed after its rename has taken the spare's file away.
    #[test]
    fn a_spare_that_is_gone_is_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let storage = Directory::open(dir.path()).unwrap();
        std::fs::write(storage.path(5), [7; SEGMENT_BYTES]).unwrap();
        let source = Source::Spare(Spare { number: 1, stays: true });
        let prepared = prepare(&storage, 5, SEGMENT_BYTES, source, &AtOnce).unwrap();
        assert!(prepared.is_zero);
        assert!(bytes_of(&storage, 5) == [0; SEGMENT_BYTES]);
    }
}
