//! What a log directory holds: replays the records that survive and tells a torn tail from
//! corruption.
//!
//! It only reads. What follows from it (syncing, wiping, the next segment) is done by
//! [`open`](crate::open). The rules are written down in `docs/file-format.md`.

mod inventory;
mod report;
mod scan;

use std::error::Error;
use std::io;

use crate::error::OpenError;
use crate::format::{HEADER_PAGE_BYTES, Place, Seed, SegmentHeader, marks_in};
use crate::limits::EPOCH_STEP_MAX;
use crate::lsn::Lsn;
use crate::segment::Segment;
use crate::storage::{Mapping, Storage};

use inventory::{Found, State, take_inventory};
use scan::{Ending, scan_segment};

pub use report::RecoveryReport;
pub use scan::Record;

/// The caller's function for each surviving data record.
pub(crate) type Replay<'a> = &'a mut dyn FnMut(Record<'_>) -> Result<(), ReplayError>;

/// What the replay function may say to end an opening.
pub type ReplayError = Box<dyn Error + Send + Sync>;

/// What the options say that the headers must repeat.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expected {
    pub(crate) segment_bytes: u64,
    pub(crate) shard: u16,
}

/// What survives, and what lies after it.
pub(crate) struct Recovered {
    /// The segments that survive, from the first of the log on.
    pub(crate) segments: Vec<Segment>,
    /// The last header of the log. `None`: the log is new.
    pub(crate) last_header: Option<SegmentHeader>,
    /// Position where the records end. 0 in a new log.
    pub(crate) end: u64,
    /// Highest durable mark found: only what lies below is known to be on the disk.
    pub(crate) mark: u64,
    /// The files after the surviving segments, in order, without gaps. The first may be the last
    /// segment of the log, if it holds nothing that must be kept.
    pub(crate) leftovers: Vec<Leftover>,
    /// All but the epoch and the time.
    pub(crate) report: RecoveryReport,
}

/// A file that holds nothing to keep.
pub(crate) struct Leftover {
    pub(crate) index: u64,
    /// All its bytes are zero and none is missing.
    pub(crate) is_clean: bool,
}

/// Reads the log and replays what survives. Nothing on the disk is changed.
pub(crate) fn recover(
    storage: &dyn Storage,
    expected: Expected,
    replay: Replay<'_>,
) -> Result<Recovered, OpenError> {
    let mut report = RecoveryReport::default();
    let found = take_inventory(storage, expected, &mut report.warnings)?;
    let mut chain = Chain {
        storage,
        found: &found,
        segments: Vec::new(),
        mark: 0,
        clean: false,
        ends_with_data: false,
    };
    let Some(stop) = chain.follow(&mut report, replay)? else {
        return Ok(Recovered {
            segments: Vec::new(),
            last_header: None,
            end: 0,
            mark: 0,
            leftovers: Vec::new(),
            report,
        });
    };
    let mut residue = chain.residue(&stop)?;
    let mark = chain.mark.max(residue.mark);
    let place = found[stop.position].place;
    if mark > place.lsn(stop.offset) || (chain.segments.is_empty() && residue.bytes > 0) {
        return Err(corrupt(storage, place, stop.offset, stop.reason, Lsn(mark)));
    }
    report.torn_bytes = residue.bytes;
    report.clean_shutdown = chain.clean && residue.bytes == 0;
    let last_header = chain.segments.len().checked_sub(1).and_then(|last| found[last].header());
    if chain.can_spare_last(&stop)
        && let Some(last) = chain.segments.pop()
    {
        let index = last.place.index;
        residue.leftovers.insert(0, Leftover { index, is_clean: false });
    }
    report.segments = chain.segments.len() as u64;
    let end = chain.segments.last().map_or(0, |last| last.place.lsn(last.end));
    Ok(Recovered {
        last_header: last_header.copied(),
        segments: chain.segments,
        end,
        mark,
        leftovers: residue.leftovers,
        report,
    })
}

/// The first place where no valid record is.
struct Stop {
    /// Number of the segment.
    position: usize,
    offset: usize,
    reason: String,
}

/// What lies at and after the first bad place.
struct Residue {
    /// Highest durable mark there.
    mark: u64,
    /// Bytes up to the last one that is not zero, in each segment.
    bytes: u64,
    leftovers: Vec<Leftover>,
}

/// The segments as far as each follows on the one before.
struct Chain<'a> {
    storage: &'a dyn Storage,
    found: &'a [Found],
    segments: Vec<Segment>,
    /// Highest durable mark so far.
    mark: u64,
    /// The last record is a clean shutdown.
    clean: bool,
    /// The last segment holds a data record.
    ends_with_data: bool,
}

impl Chain<'_> {
    /// Replays segment after segment up to the first bad place. `None`: there are no files.
    fn follow(
        &mut self,
        report: &mut RecoveryReport,
        replay: Replay<'_>,
    ) -> Result<Option<Stop>, OpenError> {
        for (position, found) in self.found.iter().enumerate() {
            let stop = |offset, reason| Ok(Some(Stop { position, offset, reason }));
            let State::Used { header, mapping } = &found.state else {
                return stop(0, "the segment has no header".to_owned());
            };
            populate(self.storage, found.place, mapping)?;
            let place = found.place;
            let next = self.found.get(position + 1);
            let next_header = next.and_then(Found::header);
            let fenced = next_header.filter(|next| next.epoch > header.epoch);
            let limit = fenced.map_or(mapping.len(), |next| {
                // Checked by the inventory to lie in this segment.
                (next.previous_end - place.start()) as usize
            });
            let seed = Seed::new(header);
            let records = &mapping.frozen_bytes()[..limit];
            let scanned = scan_segment(records, place, seed, report, &mut *replay)?;
            self.mark = self.mark.max(header.durable_mark).max(scanned.mark);
            self.clean = scanned.is_clean_shutdown;
            self.ends_with_data = scanned.has_data;
            let end = scanned.end;
            self.segments.push(Segment { place, seed, mapping: mapping.clone(), end });
            match scanned.ending {
                Ending::Bad(reason) if end < limit || fenced.is_none() => {
                    return stop(end, reason.to_string());
                }
                // All records up to the end that the next segment names.
                Ending::Bad(_) => {}
                Ending::Sealed => {
                    if next_header.is_some_and(|next| next.previous_end != place.lsn(end)) {
                        let reason = "the next segment names another end of this one";
                        return stop(end, reason.to_owned());
                    }
                    self.sealed(place, end, next, report)?;
                }
            }
        }
        Ok(None)
    }

    fn sealed(
        &self,
        place: Place,
        end: usize,
        next: Option<&Found>,
        report: &mut RecoveryReport,
    ) -> Result<(), OpenError> {
        // A seal is written when the next segment is ready, durably. Its file cannot be missing.
        if next.is_none_or(|next| matches!(next.state, State::Unfinished)) {
            let missing = Place { index: place.index + 1, ..place };
            let reason = "the segment file is missing, but the one before is sealed".to_owned();
            return Err(corrupt(self.storage, missing, 0, reason, Lsn(self.mark)));
        }
        let tail = self.segments.last().map(|segment| &segment.mapping.frozen_bytes()[end..]);
        if tail.is_some_and(|tail| used_len(tail) != 0) {
            report.warnings.push(format!(
                "{}: unused bytes after the seal at offset {end} are not zero",
                self.storage.path(place.index).display()
            ));
        }
        Ok(())
    }

    /// Whether the last segment can be wiped and used again: it holds no data and no seal, and its
    /// epoch may rise once more. The segment before ends where the header of this one says, as
    /// the walk has shown.
    fn can_spare_last(&self, stop: &Stop) -> bool {
        let epoch = |index: usize| self.found[index].header().map_or(0, |header| header.epoch);
        let last = stop.position;
        if self.ends_with_data || last + 1 != self.segments.len() {
            return false;
        }
        let epoch_before = last.checked_sub(1).map_or(0, epoch);
        epoch(last) < epoch_before.saturating_add(EPOCH_STEP_MAX)
    }

    /// Looks at everything from the first bad place on.
    fn residue(&self, stop: &Stop) -> Result<Residue, OpenError> {
        let mut residue = Residue { mark: 0, bytes: 0, leftovers: Vec::new() };
        let mut epoch = 0;
        // That of the last segment, also where only its records tell.
        let mut epoch_before = 0;
        let log = self.found.iter().find_map(Found::header);
        for (position, found) in self.found.iter().enumerate() {
            let header = found.header();
            if let Some(header) = header {
                residue.mark = residue.mark.max(header.durable_mark);
                // An opening syncs all it read before it writes the header of a new epoch.
                if header.epoch > epoch {
                    residue.mark = residue.mark.max(header.previous_end);
                }
                epoch = header.epoch;
                epoch_before = epoch;
            }
            if position < stop.position {
                continue;
            }
            let from = if position == stop.position { stop.offset } else { 0 };
            let mut used = 0;
            if let Some(mapping) = found.mapping() {
                populate(self.storage, found.place, mapping)?;
                let bytes = mapping.frozen_bytes();
                used = used_len(&bytes[from..]);
                if used > 0 {
                    let seeds = match (header, log) {
                        (Some(header), _) => vec![Seed::new(header)],
                        (None, Some(log)) => seeds_after(epoch_before, found.place, log),
                        (None, None) => Vec::new(),
                    };
                    let from = from.max(HEADER_PAGE_BYTES);
                    if let Some(marks) = marks_in(bytes, from, &seeds, found.place.start()) {
                        residue.mark = residue.mark.max(marks.highest);
                        // With a header there is one seed, of its own epoch.
                        epoch_before += marks.seed_index as u64;
                    }
                }
            }
            residue.bytes += used as u64;
            if position >= self.segments.len() {
                let is_whole = matches!(found.state, State::Unused { .. });
                let index = found.place.index;
                residue.leftovers.push(Leftover { index, is_clean: is_whole && used == 0 });
            }
        }
        Ok(residue)
    }
}

/// Seeds of all epochs that a segment without a header can have had, when the one before it has
/// `epoch`. The same epoch comes first: then the header may just not have reached the disk.
/// A later one means that an opening began here, so its header was durable and is lost.
fn seeds_after(epoch: u64, place: Place, log: &SegmentHeader) -> Vec<Seed> {
    let epochs = epoch..=epoch.saturating_add(EPOCH_STEP_MAX);
    epochs.map(|epoch| Seed::new(&SegmentHeader { place, epoch, ..*log })).collect()
}

/// Bytes up to the last one that is not zero.
fn used_len(bytes: &[u8]) -> usize {
    const PIECE: usize = 4096;
    let mut end = bytes.len();
    while end > 0 {
        let start = end.saturating_sub(PIECE);
        let piece = &bytes[start..end];
        // Without an early exit the compiler compares whole vectors.
        if piece.iter().fold(0, |all, &byte| all | byte) != 0 {
            let last = piece.iter().rposition(|&byte| byte != 0);
            return last.map_or(start, |last| start + last + 1);
        }
        end = start;
    }
    0
}

fn populate(storage: &dyn Storage, place: Place, mapping: &Mapping) -> Result<(), OpenError> {
    storage
        .open(place.index)
        .and_then(|file| file.populate(mapping))
        .map_err(|e| io_error(storage, place.index, "read", e))
}

pub(crate) fn io_error(
    storage: &dyn Storage,
    index: u64,
    action: &'static str,
    source: io::Error,
) -> OpenError {
    OpenError::Io { action, path: storage.path(index), source }
}

fn corrupt(
    storage: &dyn Storage,
    place: Place,
    offset: usize,
    reason: String,
    durable_mark: Lsn,
) -> OpenError {
    OpenError::Corrupt {
        path: storage.path(place.index),
        lsn: Lsn(place.lsn(offset)),
        offset: offset as u64,
        reason,
        durable_mark,
    }
}
