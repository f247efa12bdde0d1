//! What a log directory holds: checks the records that survive, tells a torn tail from corruption,
//! and only then hands the records out, from the newest snapshot on if the caller takes one.
//!
//! It only reads. What follows from it (syncing, wiping, the next segment) is done by
//! [`open`](crate::open). The rules are written down in `docs/file-format.md`.

mod inventory;
mod report;
mod scan;

use std::error::Error;
use std::io;

use crate::error::OpenError;
use crate::format::{HEADER_PAGE_BYTES, Place, Rest, Seed, Seeds, SegmentHeader, remains_in};
use crate::limits::{EPOCH_STEP_MAX, PLACES_BYTES_MAX};
use crate::lsn::Lsn;
use crate::segment::Segment;
use crate::snapshot::{Identity, SnapshotReader, newest_usable};
use crate::storage::{Mapping, Storage};
use crate::sync::{AtomicUsize, Mutex, Ordering, lock, thread};

use inventory::{Found, State, take_inventory};
use scan::{Ending, Scanned, replay_segment, scan_segment};

pub use report::RecoveryReport;
pub use scan::Record;

/// Builds a state from what a log holds. Every closure that takes a [`Record`] is one that uses no
/// snapshots.
pub trait Recover {
    /// Takes a snapshot that the log's owner wrote; the records from its position on follow. It is
    /// called before the first record, if there is a snapshot. Its blocks are verified as they are read:
    /// one that is damaged is an error of [`SnapshotReader::next_block`], which is to be passed on.
    ///
    /// # Errors
    /// The opening goes on without this snapshot: with an earlier one, or with all records. The
    /// state must be as it was before the call.
    fn restore(&mut self, snapshot: &mut SnapshotReader) -> Result<(), ReplayError>;

    /// Takes the next surviving record.
    ///
    /// # Errors
    /// Any error ends the opening.
    fn replay(&mut self, record: Record<'_>) -> Result<(), ReplayError>;
}

/// The caller's function for each surviving data record.
pub(crate) type Replay<'a> = &'a mut dyn FnMut(Record<'_>) -> Result<(), ReplayError>;

/// What the replay function may say to end an opening.
pub type ReplayError = Box<dyn Error + Send + Sync>;

/// Who takes what is recovered.
pub(crate) enum Target<'a> {
    /// Every record that is there.
    Records(Replay<'a>),
    /// A snapshot and the records after it.
    State(&'a mut dyn Recover),
}

impl Target<'_> {
    fn restore(&mut self, snapshot: &mut SnapshotReader) -> Result<(), ReplayError> {
        match self {
            Target::Records(_) => Err("it was not asked for".into()),
            Target::State(recover) => recover.restore(snapshot),
        }
    }

    fn replay(&mut self, record: Record<'_>) -> Result<(), ReplayError> {
        match self {
            Target::Records(replay) => replay(record),
            Target::State(recover) => recover.replay(record),
        }
    }
}

/// What the options say that the headers must repeat.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expected {
    pub(crate) segment_bytes: u64,
    pub(crate) shard: u16,
    /// Threads that check segments side by side.
    pub(crate) threads: usize,
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
    /// Everything below is released.
    pub(crate) base: u64,
    /// Released segments whose files are still there.
    pub(crate) stale: Vec<u64>,
    /// The files after the surviving segments, in order, without gaps. The first may be the last
    /// segment of the log, if it holds nothing that must be kept.
    pub(crate) leftovers: Vec<Leftover>,
    /// All but the time, with the epoch of the last header.
    pub(crate) report: RecoveryReport,
}

/// A file that holds nothing to keep.
pub(crate) struct Leftover {
    pub(crate) index: u64,
    /// All its bytes are zero and none is missing.
    pub(crate) is_clean: bool,
    /// It has a header, which tells an epoch of the log.
    pub(crate) has_header: bool,
}

impl Recovered {
    /// Number of the segment that the log goes on in.
    pub(crate) fn next_index(&self) -> u64 {
        match self.segments.last() {
            Some(last) => last.place.index + 1,
            None => self.leftovers.first().map_or(0, |leftover| leftover.index),
        }
    }

    /// Epoch of the segment that holds `lsn`, if the log reaches it.
    pub(crate) fn epoch_at(&self, lsn: Lsn) -> Option<u64> {
        let holds = |segment: &&Segment| {
            let start = segment.place.records_start();
            (start..=segment.place.lsn(segment.end)).contains(&lsn.0)
        };
        self.segments.iter().find(holds).map(|segment| segment.epoch)
    }
}

/// Reads the log and replays what survives. Nothing on the disk is changed.
pub(crate) fn recover(
    storage: &dyn Storage,
    expected: Expected,
    mut target: Target<'_>,
) -> Result<Recovered, OpenError> {
    let mut report = RecoveryReport::default();
    let mut inventory = take_inventory(storage, expected, &mut report.warnings)?;
    if inventory.found.is_empty() {
        return Ok(Recovered {
            segments: Vec::new(),
            last_header: None,
            end: 0,
            mark: 0,
            base: 0,
            stale: inventory.stale,
            leftovers: Vec::new(),
            report,
        });
    }
    let mut snapshot_below = matches!(target, Target::State(_)).then_some(Lsn(u64::MAX));
    let (found, mut chain, stop, snapshot) = loop {
        let found = std::mem::take(&mut inventory.found);
        let snapshot = match snapshot_below {
            Some(below) => find_snapshot(storage, &found, below, &mut report.warnings)?,
            None => None,
        };
        let from = snapshot.as_ref().map_or(0, |snapshot| {
            let first = found[0].place;
            (snapshot.lsn().0 / first.segment_bytes - first.index) as usize
        });
        let scans = scan_all(storage, &found, from, expected.threads)?;
        let mut chain = Chain::new(storage, scans);
        let stop = chain.follow(&found, &mut report)?;
        if let Some(count) = chain.released(&found, &stop) {
            // Files of a release whose work was cut off lie before the log.
            let mut found = found;
            inventory.stale.extend(found.drain(..count).map(|found| found.place.index));
            inventory.found = found;
            continue;
        }
        match snapshot {
            None => break (found, chain, stop, None),
            Some(mut snapshot) => {
                let lsn = snapshot.lsn();
                // One that is ahead of what survives is not asked for.
                if chain.reaches(lsn) {
                    match target.restore(&mut snapshot) {
                        Ok(()) => break (found, chain, stop, Some(snapshot.info())),
                        Err(error) => report.warnings.push(format!(
                            "{}: the snapshot is of no use: {error}",
                            storage.snapshot_path(lsn.0).display()
                        )),
                    }
                }
                // An earlier one may fit.
                snapshot_below = Some(lsn);
                inventory.found = found;
            }
        }
    };
    report.snapshot = snapshot.map(|snapshot| snapshot.lsn);
    let mut residue = chain.residue(&found, &stop)?;
    // A snapshot gets its name when all before it is durable.
    let vouched = snapshot.map_or(0, |snapshot| snapshot.lsn.0);
    let mark = chain.mark.max(residue.mark).max(vouched);
    let place = stop.place;
    if mark > place.lsn(stop.offset) || (chain.segments.is_empty() && residue.bytes > 0) {
        return Err(corrupt(storage, place, stop.offset, stop.reason, Lsn(mark)));
    }
    let first = found[0].place;
    // What lies before a snapshot was not read; the snapshot says what was released there.
    let released = snapshot.map_or(0, |snapshot| snapshot.head.0);
    let base = inventory.base.max(chain.head).max(released);
    if first.start() > base {
        let missing = Place { index: first.index - 1, ..first };
        let reason = "the segment is missing, and no record says that it was released".to_owned();
        return Err(corrupt(storage, missing, 0, reason, Lsn(mark)));
    }
    let from = snapshot.map_or(Lsn(base), |snapshot| snapshot.lsn);
    replay(&chain.segments, &chain.scans, from, &mut target, &mut report)?;

    report.torn_bytes = residue.bytes;
    report.clean_shutdown = chain.clean && residue.bytes == 0;
    let last_header = chain.segments.len().checked_sub(1).and_then(|last| found[last].header());
    if chain.can_spare_last(&found, &stop)
        && let Some(last) = chain.segments.pop()
    {
        let index = last.place.index;
        residue.leftovers.insert(0, Leftover { index, is_clean: false, has_header: true });
    }
    report.epoch = last_header.map_or(0, |header| header.epoch);
    report.segments = chain.segments.len() as u64;
    report.head = Lsn(base.max(first.start()));
    let end = match (chain.segments.last(), last_header) {
        (Some(last), _) => last.place.lsn(last.end),
        // Only the first segment that is left was spared: it says where the one before ended.
        (None, Some(header)) => header.previous_end,
        (None, None) => 0,
    };
    Ok(Recovered {
        last_header: last_header.copied(),
        segments: chain.segments,
        end,
        mark,
        base,
        stale: inventory.stale,
        leftovers: residue.leftovers,
        report,
    })
}

/// The newest whole snapshot below `below` whose position the headers allow.
fn find_snapshot(
    storage: &dyn Storage,
    found: &[Found],
    below: Lsn,
    warnings: &mut Vec<String>,
) -> Result<Option<SnapshotReader>, OpenError> {
    let Some(log) = found.iter().find_map(Found::header) else { return Ok(None) };
    let identity = Identity { shard: log.shard, salt: log.salt };
    let first = found[0].place;
    let mut is_usable = |lsn: Lsn, epoch: u64| {
        let index = lsn.0 / first.segment_bytes;
        let position = index.checked_sub(first.index).map(|position| position as usize);
        let Some(position) = position.filter(|at| *at < found.len() && lsn < below) else {
            return false;
        };
        // All before it are there, and the one that holds it is of its epoch.
        let are_used = found[..=position].iter().all(|found| found.header().is_some());
        are_used && found[position].header().is_some_and(|header| header.epoch == epoch)
    };
    newest_usable(storage, identity, &mut is_usable, warnings)
}

/// Hands out what was found sound, from the snapshot or the released head on.
fn replay(
    segments: &[Segment],
    scans: &[Option<Scanned>],
    from: Lsn,
    target: &mut Target<'_>,
    report: &mut RecoveryReport,
) -> Result<(), OpenError> {
    let is_wanted = |segment: &Segment| segment.place.lsn(segment.end) > from.0;
    for (segment, scanned) in segments.iter().zip(scans).filter(|(segment, _)| is_wanted(segment)) {
        let records = &segment.mapping.frozen_bytes()[..segment.end];
        let places = scanned.as_ref().and_then(Scanned::places);
        replay_segment(records, segment.place, places, &mut |record| {
            if record.lsn < from {
                return Ok(());
            }
            report.records += 1;
            report.bytes += record.payload.len() as u64;
            target.replay(record)
        })?;
    }
    Ok(())
}

/// Checks the records of all segments with a header, from number `from` on, with several threads.
fn scan_all(
    storage: &dyn Storage,
    found: &[Found],
    from: usize,
    threads: usize,
) -> Result<Vec<Option<Scanned>>, OpenError> {
    let results: Mutex<Vec<Option<Result<Scanned, OpenError>>>> =
        Mutex::new(found.iter().map(|_| None).collect());
    let next = AtomicUsize::new(from);
    let noted_bytes = AtomicUsize::new(0);
    let work = || {
        loop {
            let position = next.fetch_add(1, Ordering::Relaxed);
            let Some(Found { place, state: State::Used { header, mapping } }) = found.get(position)
            else {
                if position >= found.len() {
                    return;
                }
                continue;
            };
            let limit = Fence::before(found, position).map_or(mapping.len(), |fence| fence.offset);
            let scanned = populate(storage, *place, mapping).map(|()| {
                let bytes = &mapping.frozen_bytes()[..limit];
                let mut scanned = scan_segment(bytes, *place, Seed::new(header));
                let more = scanned.places().map_or(0, size_of_val);
                if noted_bytes.fetch_add(more, Ordering::Relaxed) + more > PLACES_BYTES_MAX {
                    scanned.forget_places();
                }
                scanned
            });
            lock(&results)[position] = Some(scanned);
        }
    };
    let helpers = threads.min(found.len() - from).saturating_sub(1);
    thread::scope(|scope| {
        for _ in 0..helpers {
            scope.spawn(work);
        }
        work();
    });
    let results = results.into_inner().unwrap_or_else(crate::sync::PoisonError::into_inner);
    results.into_iter().map(Option::transpose).collect()
}

/// The end of a segment that a later opening has fixed.
struct Fence {
    /// The records end here.
    offset: usize,
}

impl Fence {
    /// What the segment after the one at `position` says about it, if it began a new epoch.
    fn before(found: &[Found], position: usize) -> Option<Self> {
        let header = found[position].header()?;
        let next = found.get(position + 1)?.header()?;
        // Checked by the inventory to lie in this segment.
        let offset = (next.previous_end - found[position].place.start()) as usize;
        (next.epoch > header.epoch).then_some(Fence { offset })
    }
}

/// The first place where no valid record is.
struct Stop {
    /// Where the segment stands in the list.
    position: usize,
    place: Place,
    offset: usize,
    reason: String,
}

impl Stop {
    /// Just past the last segment: all of it is sound, and the next was never made.
    fn behind(chain: &Chain<'_>) -> Self {
        let position = chain.segments.len() - 1;
        let Segment { place, end, .. } = chain.segments[position];
        Stop { position, place, offset: end, reason: "the log ends here".to_owned() }
    }
}

/// What lies at and after the first bad place.
struct Residue {
    /// Highest durable mark there.
    mark: u64,
    /// Bytes up to the last one that a crash left, in each segment.
    bytes: u64,
    leftovers: Vec<Leftover>,
}

/// The segments as far as each follows on the one before.
struct Chain<'a> {
    storage: &'a dyn Storage,
    /// What was found in each segment; `None` for those before a snapshot.
    scans: Vec<Option<Scanned>>,
    segments: Vec<Segment>,
    /// Highest durable mark so far.
    mark: u64,
    /// Highest released position so far.
    head: u64,
    /// The last record is a clean shutdown.
    clean: bool,
    /// The last segment holds a data record.
    ends_with_data: bool,
}

impl<'a> Chain<'a> {
    fn new(storage: &'a dyn Storage, scans: Vec<Option<Scanned>>) -> Self {
        Chain {
            storage,
            scans,
            segments: Vec::new(),
            mark: 0,
            head: 0,
            clean: false,
            ends_with_data: false,
        }
    }

    /// Whether the records that follow on one another lead to `lsn`.
    fn reaches(&self, lsn: Lsn) -> bool {
        self.segments.last().is_some_and(|last| last.place.lsn(last.end) >= lsn.0)
            && self.segments.iter().any(|segment| {
                (segment.place.records_start()..=segment.place.lsn(segment.end)).contains(&lsn.0)
            })
    }

    /// Goes through the segments, of which there is one at least, up to the first bad place.
    fn follow(&mut self, all: &[Found], report: &mut RecoveryReport) -> Result<Stop, OpenError> {
        for (position, found) in all.iter().enumerate() {
            let place = found.place;
            let stop = |offset, reason| Ok(Stop { position, place, offset, reason });
            let State::Used { header, mapping } = &found.state else {
                return stop(0, "the segment has no header".to_owned());
            };
            let next = all.get(position + 1);
            let next_header = next.and_then(Found::header);
            let mut segment = Segment {
                place,
                epoch: header.epoch,
                seed: Seed::new(header),
                mapping: mapping.clone(),
                end: 0,
            };
            self.mark = self.mark.max(header.durable_mark);
            let Some(scanned) = &self.scans[position] else {
                // It lies before a snapshot, so there is a next one, which says where it ends.
                let end = next_header.map_or(place.start(), |next| next.previous_end);
                segment.end = (end - place.start()) as usize;
                self.segments.push(segment);
                continue;
            };
            self.mark = self.mark.max(scanned.mark);
            self.head = self.head.max(scanned.head);
            self.clean = scanned.is_clean_shutdown;
            self.ends_with_data = scanned.has_data;
            let (end, ending) = (scanned.end, scanned.ending);
            segment.end = end;
            self.segments.push(segment);
            let fence = Fence::before(all, position);
            match ending {
                Ending::Bad(reason) if fence.is_none_or(|fence| end < fence.offset) => {
                    return stop(end, reason.to_string());
                }
                // All records up to the end that the next segment names.
                Ending::Bad(_) => {}
                Ending::Sealed => {
                    if next_header.is_some_and(|next| next.previous_end != place.lsn(end)) {
                        let reason = "the next segment names another end of this one";
                        return stop(end, reason.to_owned());
                    }
                    self.sealed(place, end, header.rest, next, report)?;
                }
            }
        }
        Ok(Stop::behind(self))
    }

    fn sealed(
        &self,
        place: Place,
        end: usize,
        rest: Rest,
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
        if rest == Rest::Zero && tail.is_some_and(|tail| used_len(tail) != 0) {
            report.warnings.push(format!(
                "{}: unused bytes after the seal at offset {end} are not zero",
                self.storage.path(place.index).display()
            ));
        }
        Ok(())
    }

    /// Files at the start of the list that are left of a release, if the walk stopped at one of
    /// them: a release wipes headers and removes files in any order. The segments after it prove
    /// that if they follow on one another up to a record that says so. All that is needed lies
    /// between that segment and that record, or it was no release.
    fn released(&self, all: &[Found], stop: &Stop) -> Option<usize> {
        (stop.position + 1..all.len()).find(|first| {
            let mut head = 0;
            for position in *first..all.len() {
                let Some(scanned) = self.scans[position].as_ref() else { break };
                head = head.max(scanned.head);
                if !leads_on(all, position, scanned) {
                    break;
                }
            }
            head >= all[*first].place.start()
        })
    }

    /// Whether the last segment can be wiped and used again: it holds no data and no seal, and its
    /// epoch may rise once more. Its header stays until the next one takes its place, so that no
    /// epoch is forgotten. The segment before ends where the header of this one says, as
    /// the walk has shown.
    fn can_spare_last(&self, all: &[Found], stop: &Stop) -> bool {
        let epoch = |index: usize| all[index].header().map_or(0, |header| header.epoch);
        let last = stop.position;
        if self.ends_with_data || last + 1 != self.segments.len() {
            return false;
        }
        let epoch_before = last.checked_sub(1).map_or(0, epoch);
        epoch(last) < epoch_before.saturating_add(EPOCH_STEP_MAX)
    }

    /// Looks at everything from the first bad place on.
    fn residue(&self, all: &[Found], stop: &Stop) -> Result<Residue, OpenError> {
        let mut residue = Residue { mark: 0, bytes: 0, leftovers: Vec::new() };
        let mut epoch = 0;
        // That of the last segment, also where only its records tell.
        let mut epoch_before = 0;
        let log = all.iter().find_map(Found::header);
        // Where a segment was released, its file may be prepared for use again.
        let was_released = log.is_some() && all.first().is_some_and(|it| it.place.index > 0);
        let rest_if_lost = if was_released { Rest::Stale } else { Rest::Zero };
        for (position, found) in all.iter().enumerate() {
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
                let mut end = from;
                if used > 0 {
                    let seeds = match (header, log) {
                        (Some(header), _) => vec![Seed::new(header)],
                        (None, Some(log)) => seeds_after(epoch_before, found.place, log),
                        (None, None) => Vec::new(),
                    };
                    let seeds = Seeds::new(seeds);
                    let from = from.max(HEADER_PAGE_BYTES);
                    if let Some(remains) = remains_in(bytes, from, &seeds, found.place.start()) {
                        residue.mark = residue.mark.max(remains.mark);
                        // With a header there is one seed, of its own epoch.
                        epoch_before += remains.seed_index as u64;
                        end = remains.end;
                    }
                }
                residue.bytes += match header.map_or(rest_if_lost, |header| header.rest) {
                    Rest::Zero => used as u64,
                    // Of what is there, records alone are of this log for certain.
                    Rest::Stale => (end - from) as u64,
                };
            }
            if position >= self.segments.len() {
                let is_whole = matches!(found.state, State::Unused { .. });
                let index = found.place.index;
                let (is_clean, has_header) = (is_whole && used == 0, header.is_some());
                residue.leftovers.push(Leftover { index, is_clean, has_header });
            }
        }
        Ok(residue)
    }
}

/// Whether the records of a segment lead to where the next one says that they end.
fn leads_on(all: &[Found], position: usize, scanned: &Scanned) -> bool {
    let end = all[position].place.lsn(scanned.end);
    let next = all.get(position + 1).and_then(Found::header);
    let is_sealed = matches!(scanned.ending, Ending::Sealed)
        && next.is_some_and(|next| next.previous_end == end);
    is_sealed || Fence::before(all, position).is_some_and(|fence| fence.offset == scanned.end)
}

/// Seeds of all epochs that a segment without a header can have had, when the one before it has
/// `epoch`. The same epoch comes first: then the header may just not have reached the disk.
/// A later one means that an opening began here, so its header was durable and is lost.
pub(crate) fn seeds_after(epoch: u64, place: Place, log: &SegmentHeader) -> Vec<Seed> {
    let epochs = epoch..=epoch.saturating_add(EPOCH_STEP_MAX);
    epochs.map(|epoch| Seed::new(&SegmentHeader { place, epoch, ..*log })).collect()
}

/// Bytes up to the last one that is not zero.
pub(crate) fn used_len(bytes: &[u8]) -> usize {
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
