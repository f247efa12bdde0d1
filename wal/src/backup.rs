//! Copies the files of a log, also while the log is in use.
//!
//! What makes that possible: bytes below the end of the valid records are never changed. So the files
//! are pinned by further links, against a log that removes or reuses them meanwhile, and copied up to
//! that end. A released segment that was not pinned in time may be gone or wiped: then the copy does
//! not hold together, which its verification shows, and the caller copies again. This file must not
//! know what the records mean.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crc32c::crc32c;

use crate::format::{
    self, CONTROL_RECORD_BYTES, HEADER_PAGE_BYTES, Kind, Place, Seed, Seeds, SegmentHeader,
    encode_header, remains_in,
};
use crate::inspect::{InspectError, LogFiles};
use crate::lsn::Lsn;
use crate::storage::{Directory, Storage};

/// Names of folders with pins begin so.
const PINS_PREFIX: &str = ".backup-";
/// Locked in a folder with pins for as long as its backup is under way.
const PINS_LOCK: &str = "LOCK";
/// Size of the reads and writes of a copy.
const PIECE_BYTES: usize = 1 << 20;
/// The end of a log that is appended to all the time is looked for so often at the most.
const SETTLE_PASSES_MAX: u32 = 16;

/// Why a log was not copied. What there is of the copy is of no use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// The log released what was being copied: copy again.
    #[error("the log in {} changed while it was copied: try again", dir.display())]
    Changed {
        /// The log's directory.
        dir: PathBuf,
    },
    /// A record is damaged that had been durable.
    #[error("the log in {} is damaged at LSN {lsn}: stop what uses it and verify it", dir.display())]
    Damaged {
        /// The log's directory.
        dir: PathBuf,
        /// Where.
        lsn: Lsn,
    },
    /// The log could not be looked at.
    #[error(transparent)]
    Inspect(#[from] InspectError),
    /// The operating system failed.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

/// What was copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Copied {
    /// The copy holds every record below, and none at or after it. All that was durable when the
    /// copying began is below.
    pub end: Lsn,
    /// Segments that were copied.
    pub segments: u64,
    /// Snapshots that were copied.
    pub snapshots: u64,
    /// Bytes that were read.
    pub bytes: u64,
}

/// Copies the log in `from`, which may be in use, to `to`, an empty directory, durably. `reached`
/// hears now and then how many bytes were copied, and of how many.
///
/// The copy is to be verified before it is relied on: see the module. Pins that an earlier process
/// left behind are removed.
///
/// # Errors
/// See [`CopyError`].
pub fn copy_log(
    from: &Path,
    to: &Path,
    reached: &mut dyn FnMut(u64, u64),
) -> Result<Copied, CopyError> {
    remove_stale_pins(from).map_err(|source| io_error("remove old pins in", from, source))?;
    let pins = Pins::make(from).map_err(|source| io_error("pin the files of", from, source))?;
    let files = LogFiles::open(&pins.source)?;
    let target = Directory::open(to).map_err(|source| io_error("open", to, source))?;
    let changed = || CopyError::Changed { dir: from.to_owned() };
    let segments = files.layout();
    // What comes into use from now on was not durable when this began.
    let used = segments.run().ok_or_else(changed)?;
    let last = used.end - 1;
    let last_header = segments.header(last).ok_or_else(changed)?;
    let seed = Seed::new(last_header);
    let total = (used.end - used.start) * segments.segment_bytes;
    let mut copy = Copy { done: 0, total, reached };
    let path_of = |index| segments.slot(index).map(|slot| pins.path_of(slot.number));
    for index in used.clone() {
        let source = path_of(index).ok_or_else(changed)?;
        copy.file(&source, &target.path(index), segments.segment_bytes)?;
    }
    let place = segments.place(last);
    let source = path_of(last).ok_or_else(changed)?;
    let ending = copy.settle(&source, &target.path(last), place, seed)?;
    if let Some(lsn) = ending.bad {
        return Err(CopyError::Damaged { dir: from.to_owned(), lsn });
    }
    // The mark needs all before it on the disk.
    target.sync_directory().map_err(|source| io_error("sync", to, source))?;
    vouch(&target, last_header, &ending)?;
    let snapshots = copy.snapshots(&files, &pins.source, &target, ending.end)?;
    target.sync_directory().map_err(|source| io_error("sync", to, source))?;
    let bytes = copy.done;
    Ok(Copied { end: ending.end, segments: used.end - used.start, snapshots, bytes })
}

/// Removes the pins of backups that are not under way any more.
pub(crate) fn remove_stale_pins(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let is_pins = entry.file_name().to_str().is_some_and(|name| name.starts_with(PINS_PREFIX));
        if !is_pins || !entry.file_type()?.is_dir() {
            continue;
        }
        let is_held = match File::open(entry.path().join(PINS_LOCK)) {
            Ok(lock) => lock.try_lock().is_err(),
            // Its backup ended before it had made anything.
            Err(_) => false,
        };
        if !is_held {
            match fs::remove_dir_all(entry.path()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}

/// Further links to the files of a log, so that it neither removes nor reuses them for good.
struct Pins {
    /// Where the files are read: the folder with the links, or the log's own directory on a file
    /// system without links.
    source: PathBuf,
    folder: PathBuf,
    _lock: File,
}

impl Pins {
    fn make(dir: &Path) -> io::Result<Self> {
        let mut number = 0;
        let folder = loop {
            let folder = dir.join(format!("{PINS_PREFIX}{}-{number}", std::process::id()));
            match DirBuilder::new().mode(0o700).create(&folder) {
                // Another backup of this process.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
                other => break other.map(|()| folder)?,
            }
        };
        let lock = File::create(folder.join(PINS_LOCK)).and_then(|lock| {
            lock.lock()?;
            Ok(lock)
        });
        let mut pins = Pins { source: folder.clone(), folder, _lock: lock? };
        let directory = Directory::open(dir)?;
        let segments = directory.list()?.into_iter().map(|index| directory.path(index));
        let snapshots = directory.list_snapshots()?;
        let snapshots = snapshots.into_iter().map(|lsn| directory.snapshot_path(lsn));
        for path in segments.chain(snapshots) {
            let Some(name) = path.file_name() else { continue };
            match fs::hard_link(&path, pins.folder.join(name)) {
                Ok(()) => {}
                // The log removed it after it was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    tracing::debug!(%error, "the file system makes no links; copying without pins");
                    pins.source = dir.to_owned();
                    break;
                }
            }
        }
        Ok(pins)
    }
}

impl Pins {
    fn path_of(&self, number: u64) -> PathBuf {
        self.source.join(format!("{number:020}.seg"))
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            let path = self.folder.display();
            tracing::warn!(%path, %error, "cannot remove the pins of a backup; the next one does");
        }
    }
}

/// Where the records of the last segment end.
struct Ending {
    end: Lsn,
    is_sealed: bool,
    /// Where a record is damaged that had been durable.
    bad: Option<Lsn>,
}

struct Copy<'a> {
    done: u64,
    total: u64,
    reached: &'a mut dyn FnMut(u64, u64),
}

impl Copy<'_> {
    /// Copies a segment; what is zero becomes a hole.
    fn file(&mut self, from: &Path, to: &Path, segment_bytes: u64) -> Result<(), CopyError> {
        let source = File::open(from).map_err(|source| io_error("open", from, source))?;
        let target = create(to).map_err(|source| io_error("make", to, source))?;
        let begun = self.done;
        target.set_len(segment_bytes).map_err(|source| io_error("write", to, source))?;
        self.pieces(&source, from, &target, to, 0)?;
        // Also where the file is shorter than it should be.
        self.done = begun + segment_bytes;
        target.sync_all().map_err(|source| io_error("sync", to, source))
    }

    fn pieces(
        &mut self,
        source: &File,
        from: &Path,
        target: &File,
        to: &Path,
        start: u64,
    ) -> Result<(), CopyError> {
        let mut buffer = vec![0; PIECE_BYTES];
        let mut at = start;
        loop {
            let count = match source.read_at(&mut buffer, at) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other.map_err(|source| io_error("read", from, source))?,
            };
            if count == 0 {
                return Ok(());
            }
            let piece = &buffer[..count];
            if piece.iter().fold(0, |all, byte| all | byte) != 0 {
                let written = target.write_all_at(piece, at);
                written.map_err(|source| io_error("write", to, source))?;
            }
            at += count as u64;
            self.done += count as u64;
            (self.reached)(self.done.min(self.total), self.total);
        }
    }

    /// Finds the end of the records in the copy of the last segment, and drops what lies behind it.
    ///
    /// Records were appended while it was copied, so a later one may be there without an earlier one
    /// that was complete a moment later. Only a durable mark above the end tells that something is
    /// missing, and then it is there when the rest is copied again; or it is damaged.
    fn settle(
        &mut self,
        from: &Path,
        to: &Path,
        place: Place,
        seed: Seed,
    ) -> Result<Ending, CopyError> {
        let source = File::open(from).map_err(|source| io_error("open", from, source))?;
        let target = OpenOptions::new().read(true).write(true).open(to);
        let target = target.map_err(|source| io_error("open", to, source))?;
        let mut bytes = vec![0; place.segment_bytes as usize];
        let seeds = Seeds::new(vec![seed]);
        let mut mark_before = 0;
        let mut ending;
        let mut passes = 0;
        loop {
            target.read_exact_at(&mut bytes, 0).map_err(|source| io_error("read", to, source))?;
            let (end, is_sealed) = records_end(&bytes, seed);
            ending = Ending { end: Lsn(place.lsn(end)), is_sealed, bad: None };
            if ending.end.0 < mark_before {
                return Ok(Ending { bad: Some(ending.end), ..ending });
            }
            let remains = remains_in(&bytes, end, &seeds, place.start());
            let mark = remains.map_or(0, |remains| remains.mark);
            passes += 1;
            if is_sealed || mark <= ending.end.0 || passes == SETTLE_PASSES_MAX {
                break;
            }
            mark_before = mark;
            self.pieces(&source, from, &target, to, end as u64)?;
        }
        let cut = target.set_len(ending.end.0 - place.start());
        let cut = cut.and_then(|()| target.set_len(place.segment_bytes));
        cut.and_then(|()| target.sync_all()).map_err(|source| io_error("write", to, source))?;
        Ok(ending)
    }

    /// Copies the snapshots of positions that the copied log reaches.
    fn snapshots(
        &mut self,
        files: &LogFiles,
        from: &Path,
        target: &Directory,
        end: Lsn,
    ) -> Result<u64, CopyError> {
        let mut count = 0;
        for lsn in files.snapshots()?.into_iter().filter(|lsn| *lsn <= end) {
            let to = target.snapshot_path(lsn.0);
            let Some(name) = to.file_name() else { continue };
            let from = from.join(name);
            let source = match File::open(&from) {
                // Only without pins: a newer one has taken its place, and none is needed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                other => other.map_err(|source| io_error("open", &from, source))?,
            };
            let file = create(&to).map_err(|source| io_error("make", &to, source))?;
            let len = source.metadata().and_then(|metadata| file.set_len(metadata.len()));
            len.map_err(|source| io_error("write", &to, source))?;
            self.pieces(&source, &from, &file, &to, 0)?;
            file.sync_all().map_err(|source| io_error("sync", &to, source))?;
            count += 1;
        }
        Ok(count)
    }
}

/// Where the records that follow on one another end, and whether the last one is a seal.
fn records_end(bytes: &[u8], seed: Seed) -> (usize, bool) {
    let mut at = HEADER_PAGE_BYTES;
    while let Ok(record) = format::parse(bytes, at, seed) {
        at = record.end;
        if record.kind == Kind::Seal {
            return (at, true);
        }
    }
    (at, false)
}

/// Writes behind the end of the copy, all of which is durable, that it is: so damage to the copy is
/// never taken for a torn tail, also where the log itself had not come to write a mark.
fn vouch(target: &Directory, last: &SegmentHeader, ending: &Ending) -> Result<(), CopyError> {
    let place = last.place;
    let end = ending.end.0;
    let offset = (end - place.start()) as usize;
    let written = if ending.is_sealed {
        // As the log would have: the next segment follows on the seal.
        let place = Place { index: place.index + 1, ..place };
        let header = SegmentHeader { place, previous_end: end, durable_mark: end, ..*last };
        create(&target.path(place.index)).and_then(|file| {
            file.set_len(place.segment_bytes)?;
            file.write_all_at(&header.encode_page(), 0)?;
            file.sync_all()
        })
    } else if end + CONTROL_RECORD_BYTES <= place.start() + place.segment_bytes {
        let mark = end.to_le_bytes();
        let header =
            encode_header(Seed::new(last), offset, Kind::Commit, mark.len(), crc32c(&mark));
        let file = OpenOptions::new().write(true).open(target.path(place.index));
        file.and_then(|file| {
            file.write_all_at(&[&header[..], &mark].concat(), offset as u64)?;
            file.sync_all()
        })
    } else {
        // After its last data the log leaves room for more records than it can have written, so
        // the last of them is a mark already.
        Ok(())
    };
    written.map_err(|source| io_error("write a mark to", &target.path(place.index), source))
}

/// A new file, open to its owner only: a log holds what its owner does not show.
fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(path)
}

fn io_error(action: &'static str, path: &Path, source: io::Error) -> CopyError {
    CopyError::Io { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests;
