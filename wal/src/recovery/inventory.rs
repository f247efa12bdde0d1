//! The first look at a log directory: which segment files are there and what their headers say.
//!
//! It changes nothing and must not look at records.

use crate::error::OpenError;
use crate::format::{HEADER_PAGE_BYTES, HeaderPage, Place, SegmentHeader, VERSION, decode_page};
use crate::limits::SEGMENT_BYTES_MAX;
use crate::lsn::Lsn;
use crate::storage::{Mapping, Storage};
use crate::sync::Arc;

use super::{Expected, corrupt, io_error};

/// A segment file.
pub(crate) struct Found {
    pub(crate) place: Place,
    pub(crate) state: State,
}

/// What a segment file is, judged by its length and header page.
pub(crate) enum State {
    /// It has a header, so it holds records, or was about to.
    Used { header: SegmentHeader, mapping: Arc<Mapping> },
    /// Its header page is zero: prepared, or its header never reached the disk.
    Unused { mapping: Arc<Mapping> },
    /// The last file, shorter than a segment and without a header: its preparation was cut off.
    Unfinished,
}

impl Found {
    pub(crate) fn header(&self) -> Option<&SegmentHeader> {
        match &self.state {
            State::Used { header, .. } => Some(header),
            State::Unused { .. } | State::Unfinished => None,
        }
    }

    pub(crate) fn mapping(&self) -> Option<&Arc<Mapping>> {
        match &self.state {
            State::Used { mapping, .. } | State::Unused { mapping } => Some(mapping),
            State::Unfinished => None,
        }
    }
}

/// The segment files of a log.
pub(crate) struct Inventory {
    /// The files that the log consists of, in order, without gaps. The first has a header, unless
    /// none has.
    pub(crate) found: Vec<Found>,
    /// Released segments whose files are still there, for certain if the release is proven.
    pub(crate) stale: Vec<u64>,
    /// Everything below was released when the newest header was written.
    pub(crate) base: u64,
}

/// Lists the segment files of a log and checks that their headers fit together.
pub(crate) fn take_inventory(
    storage: &dyn Storage,
    expected: Expected,
    warnings: &mut Vec<String>,
) -> Result<Inventory, OpenError> {
    let mut files = read_pages(storage)?;
    let base = files.iter().filter_map(FileOnDisk::header).map(|header| header.base).max();
    let base = base.unwrap_or(0);
    let first = first_of_log(&files, base / expected.segment_bytes);
    let log = files.split_off(first);
    let stale = files.iter().map(|file| file.index).collect();
    let mut check = Check { storage, expected, first: None, last_used: None, mark: 0 };
    let mut found = Vec::with_capacity(log.len());
    let count = log.len();
    // Without any header the log is new, and its first segment is prepared first.
    let is_new = log.iter().all(FileOnDisk::is_unused);
    let first_index = log.first().filter(|_| !is_new).map_or(0, |file| file.index);
    for (position, file) in log.into_iter().enumerate() {
        let is_last = position + 1 == count;
        let index = first_index + position as u64;
        let place = Place { index, segment_bytes: expected.segment_bytes };
        if file.index != index {
            return Err(check.corrupt(place, "the segment file is missing"));
        }
        let state = check.file(place, file, is_last, warnings)?;
        found.push(Found { place, state });
    }
    Ok(Inventory { found, stale, base })
}

/// Where the log begins among the files: going down from the last header without a gap, at a file
/// that has a header and is not below what the newest header calls released. A release removes
/// files and wipes headers in any order; whether there was one is for the caller to prove.
fn first_of_log(files: &[FileOnDisk], base_index: u64) -> usize {
    let Some(last) = files.iter().rposition(|file| !file.is_unused()) else { return 0 };
    let is_gap_before = |at: &usize| files[at - 1].index + 1 != files[*at].index;
    let after_gap = (1..=last).rev().find(is_gap_before).unwrap_or(0);
    let is_first = |file: &FileOnDisk| file.index >= base_index && !file.is_unused();
    files[after_gap..].iter().position(is_first).map_or(last, |at| after_gap + at)
}

/// What the first look at a file tells. The file is closed again: a log may have more segments
/// than a process may have open files.
struct FileOnDisk {
    index: u64,
    len_bytes: u64,
    page: HeaderPage,
}

impl FileOnDisk {
    fn header(&self) -> Option<&SegmentHeader> {
        match &self.page {
            HeaderPage::Used { header, .. } => Some(header),
            _ => None,
        }
    }

    fn is_unused(&self) -> bool {
        matches!(self.page, HeaderPage::Unused)
    }
}

/// Reads all header pages before any is judged: a newer format may break every rule below.
fn read_pages(storage: &dyn Storage) -> Result<Vec<FileOnDisk>, OpenError> {
    let indices =
        storage.list().map_err(|e| io_error(storage, 0, "list the segments beside", e))?;
    let mut files = Vec::with_capacity(indices.len());
    // No log gets so far that its positions do not fit: such a name is none of ours.
    let index_max = u64::MAX / SEGMENT_BYTES_MAX - 1;
    for index in indices.into_iter().filter(|index| *index <= index_max) {
        let file = storage.open(index).map_err(|e| io_error(storage, index, "open", e))?;
        let mut page = [0; HEADER_PAGE_BYTES];
        // A plain read reports a failing disk as an error; a short file leaves zeros.
        let read = file.read_at(&mut page, 0).and_then(|_| file.len_bytes());
        let len_bytes = read.map_err(|e| io_error(storage, index, "read", e))?;
        let page = decode_page(&page);
        match page {
            HeaderPage::Newer { version } => {
                return Err(OpenError::NewerVersion { found: version, supported: VERSION });
            }
            HeaderPage::UnknownFeatures { features } => {
                return Err(OpenError::UnknownFeatures { path: storage.path(index), features });
            }
            HeaderPage::Unused | HeaderPage::Used { .. } | HeaderPage::Invalid(_) => {}
        }
        files.push(FileOnDisk { index, len_bytes, page });
    }
    Ok(files)
}

struct Check<'a> {
    storage: &'a dyn Storage,
    expected: Expected,
    /// The first header: all others belong to the same log.
    first: Option<SegmentHeader>,
    last_used: Option<SegmentHeader>,
    /// Highest durable mark in the headers so far, for messages.
    mark: u64,
}

impl Check<'_> {
    fn file(
        &mut self,
        place: Place,
        on_disk: FileOnDisk,
        is_last: bool,
        warnings: &mut Vec<String>,
    ) -> Result<State, OpenError> {
        let header = match on_disk.page {
            HeaderPage::Used { header, void_copy } => {
                self.header(place, &header)?;
                if let Some(copy) = void_copy {
                    warnings.push(format!(
                        "{}: copy {copy} of the segment header is damaged or of an earlier opening; \
                         the other is in use",
                        self.storage.path(place.index).display()
                    ));
                }
                Some(header)
            }
            HeaderPage::Invalid(reason) => return Err(self.corrupt(place, reason)),
            // The others were returned as errors before.
            _ => None,
        };
        if on_disk.len_bytes != place.segment_bytes {
            if header.is_none() && is_last && on_disk.len_bytes < place.segment_bytes {
                return Ok(State::Unfinished);
            }
            let (len, right) = (on_disk.len_bytes, place.segment_bytes);
            return Err(
                self.corrupt(place, &format!("the file has {len} bytes instead of {right}"))
            );
        }
        // Segments are at most 1 GiB. The mapping stays when the file is closed, and no one else
        // changes the file in between: the log's lock is held.
        let mapping = self
            .storage
            .open(place.index)
            .and_then(|file| file.map_read(place.segment_bytes as usize))
            .map_err(|e| io_error(self.storage, place.index, "map", e))?;
        Ok(match header {
            Some(header) => State::Used { header, mapping },
            None => State::Unused { mapping },
        })
    }

    fn header(&mut self, place: Place, header: &SegmentHeader) -> Result<(), OpenError> {
        match &self.first {
            None => self.fits_options(place, header)?,
            Some(first) => {
                if header.salt != first.salt
                    || header.shard != first.shard
                    || header.place.segment_bytes != first.place.segment_bytes
                {
                    return Err(self.corrupt(place, "the segment belongs to another log"));
                }
            }
        }
        if header.place.index != place.index {
            let holds = header.place.index;
            return Err(self.corrupt(place, &format!("the file holds segment {holds}")));
        }
        let epoch_min = self.last_used.map_or(1, |last| last.epoch);
        if header.epoch < epoch_min || header.epoch == u64::MAX {
            return Err(self.corrupt(place, "the epoch in the segment header is out of order"));
        }
        if !previous_end_fits(place, header.previous_end)
            || header.durable_mark > place.start()
            || header.base > place.start()
            || !header.base.is_multiple_of(place.segment_bytes)
        {
            return Err(self.corrupt(place, "a position in the segment header is impossible"));
        }
        self.first.get_or_insert(*header);
        self.last_used = Some(*header);
        self.mark = self.mark.max(header.durable_mark);
        Ok(())
    }

    fn fits_options(&self, place: Place, header: &SegmentHeader) -> Result<(), OpenError> {
        let options = [
            ("segment_bytes", header.place.segment_bytes, self.expected.segment_bytes),
            ("shard", u64::from(header.shard), u64::from(self.expected.shard)),
        ];
        for (option, stored, given) in options {
            if stored != given {
                let path = self.storage.path(place.index);
                return Err(OpenError::OptionMismatch { path, option, stored, given });
            }
        }
        Ok(())
    }

    fn corrupt(&self, place: Place, reason: &str) -> OpenError {
        corrupt(self.storage, place, 0, reason.to_owned(), Lsn(self.mark))
    }
}

/// The segment before ends behind its header page and within its file.
fn previous_end_fits(place: Place, previous_end: u64) -> bool {
    if place.index == 0 {
        return previous_end == 0;
    }
    let previous = Place { index: place.index - 1, ..place };
    (previous.records_start()..=place.start()).contains(&previous_end)
        && previous_end.is_multiple_of(8)
}
