//! Goes through the records of a log, past every damaged place.
//!
//! Where no valid record is, it looks for the next one at every place where one can begin. What lies
//! between is a gap. Whether a gap is damage or the torn tail of a crash is known once the highest
//! durable mark is, at the end of the walk. It must not change anything.

use std::collections::BTreeMap;
use std::ops::{ControlFlow, Range};
use std::path::PathBuf;

use crate::format::{
    BadRecord, HEADER_PAGE_BYTES, Kind, Parsed, Place, RECORD_ALIGN, Rest, Seed, Seeds,
    control_value, parse, parse_checked,
};
use crate::lsn::Lsn;
use crate::recovery::{seeds_after, used_len};
use crate::storage::Storage;

use super::image::Image;
use super::layout::{Page, Slot};
use super::{InspectError, LogFiles};

/// What a walk came to.
#[derive(Clone, Debug)]
pub enum Item<'a> {
    /// A valid record.
    Record(Entry<'a>),
    /// Bytes that are no record and not unused either.
    Gap(&'a Gap),
}

/// A valid record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Where it begins.
    pub lsn: Lsn,
    /// The first byte after it.
    pub end: Lsn,
    /// What it is for.
    pub kind: EntryKind,
    /// What it holds.
    pub payload: &'a [u8],
}

/// What a record is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EntryKind {
    /// It holds bytes of the log's owner.
    Data,
    /// It says what was durable when it was written.
    Commit {
        /// Everything below was durable.
        durable: Lsn,
    },
    /// The end of a segment.
    Seal,
    /// The log was closed after it.
    CleanShutdown {
        /// Everything below was durable.
        durable: Lsn,
    },
    /// It says what was released.
    Head {
        /// Everything below was released.
        head: Lsn,
    },
}

/// A range without a valid record, where one should be or where something is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The segment file.
    pub path: PathBuf,
    /// Offset in the file.
    pub offset: u64,
    /// The same as a position in the log.
    pub lsn: Lsn,
    /// Length of the range.
    pub len_bytes: u64,
    /// What is wrong there.
    pub reason: String,
}

/// Records of each kind, and the bytes that they take in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Records with bytes of the owner.
    pub data: u64,
    /// Bytes of these records, with their headers.
    pub data_bytes: u64,
    /// Durable marks.
    pub commits: u64,
    /// Ends of segments.
    pub seals: u64,
    /// Clean shutdowns.
    pub clean_shutdowns: u64,
    /// Releases.
    pub heads: u64,
    /// Bytes of all records.
    pub bytes: u64,
}

/// What a whole walk found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Survey {
    /// Everything below was released.
    pub head: Lsn,
    /// The first byte after the last valid record that follows on the ones before, damage aside.
    pub end: Lsn,
    /// Everything below was durable, as far as the log says.
    pub durable_mark: Lsn,
    /// Epoch of the last segment: of the last opening.
    pub epoch: u64,
    /// The last record says that the log was closed.
    pub clean_shutdown: bool,
    /// Records from the head on.
    pub tally: Tally,
    /// Gaps below the durable mark, in order: what is lost there had been durable.
    pub damage: Vec<Gap>,
    /// Bytes from the first gap above the mark on: what a crash left, and the next opening drops.
    pub torn_bytes: u64,
}

/// A visitor of what a walk comes to; it may end the walk.
pub(super) type Visit<'a> = &'a mut dyn FnMut(Item<'_>) -> ControlFlow<()>;

impl LogFiles {
    /// Hands out the records in order, from the first at or after `from` on, and the gaps among
    /// them. Records below the head may be among them, if their files are still there: the survey
    /// tells the head, and begins there.
    ///
    /// If `visit` breaks, the survey is of what was seen so far. The walk keeps one segment in
    /// memory.
    ///
    /// # Errors
    /// None of damage: what cannot be read is a gap.
    pub fn walk(
        &self,
        from: Lsn,
        visit: &mut dyn FnMut(Item<'_>) -> ControlFlow<()>,
    ) -> Result<Survey, InspectError> {
        let Some((first, last)) = self.layout.span() else { return Ok(Survey::default()) };
        let from_index = (from.0 / self.layout.segment_bytes).clamp(first, last);
        let mut walk = Walk::new(self, from);
        let before = (first..from_index).rev().find_map(|index| self.layout.header(index));
        walk.epoch = before.map_or(0, |header| header.epoch);
        for index in from_index..=last {
            walk.segment(index, visit);
            if walk.is_over {
                break;
            }
        }
        walk.end_of_log(visit);
        Ok(walk.survey(first))
    }
}

/// A walk under way.
struct Walk<'a> {
    files: &'a LogFiles,
    from: Lsn,
    image: Image,
    gaps: Vec<Gap>,
    /// By segment.
    tallies: BTreeMap<u64, Tally>,
    /// Where the last segment with records stopped without a seal, and its epoch.
    open_end: Option<(Lsn, u64)>,
    /// A sealed segment promises the next one.
    sealed: bool,
    mark: u64,
    head: u64,
    epoch: u64,
    end: u64,
    clean: bool,
    /// Bytes in use, by where they begin: for what follows a torn place.
    used: Vec<Range<u64>>,
    is_over: bool,
}

impl<'a> Walk<'a> {
    fn new(files: &'a LogFiles, from: Lsn) -> Self {
        Walk {
            files,
            from,
            image: Image::default(),
            gaps: Vec::new(),
            tallies: BTreeMap::new(),
            open_end: None,
            sealed: false,
            mark: 0,
            head: files.layout.base,
            epoch: 0,
            end: 0,
            clean: false,
            used: Vec::new(),
            is_over: false,
        }
    }

    fn segment(&mut self, index: u64, visit: Visit<'_>) {
        let place = self.files.layout.place(index);
        let Some(slot) = self.files.layout.slot(index).cloned() else {
            self.gap(index, 0..place.segment_bytes as usize, "the segment file is missing", visit);
            self.sealed = false;
            return;
        };
        let mut image = std::mem::take(&mut self.image);
        image.read(self.files.storage.open(slot.number), place.segment_bytes as usize);
        self.image_of(&image, &slot, place, visit);
        self.image = image;
    }

    fn image_of(&mut self, image: &Image, slot: &Slot, place: Place, visit: Visit<'_>) {
        let index = place.index;
        let next = self.files.layout.header(index + 1);
        let limit = next
            .and_then(|next| next.previous_end.checked_sub(place.start()))
            .filter(|limit| (HEADER_PAGE_BYTES as u64..=place.segment_bytes).contains(limit))
            .map(|limit| limit as usize);
        let records = &image.bytes[..limit.unwrap_or(image.bytes.len())];
        if slot.number != index {
            let reason =
                format!("the file with number {} holds segment {index}: rename it", slot.number);
            self.gap(index, 0..0, &reason, visit);
        }
        let seed = match &slot.page {
            Page::Used(header) => {
                self.mark = self.mark.max(header.durable_mark);
                if header.epoch > self.epoch {
                    self.mark = self.mark.max(header.previous_end);
                }
                self.epoch = header.epoch;
                Some(Seed::new(header))
            }
            Page::Damaged(reason) => {
                self.gap(index, 0..HEADER_PAGE_BYTES, reason, visit);
                self.lost_seed(records, place)
            }
            Page::Unused => {
                let seed = self.lost_seed(records, place);
                if seed.is_some() {
                    self.gap(index, 0..HEADER_PAGE_BYTES, "the header is missing", visit);
                }
                seed
            }
        };
        if image.len < image.bytes.len() && seed.is_some() {
            let reason =
                format!("the file has {} bytes, not {}", slot.len_bytes, place.segment_bytes);
            self.gap(index, image.len..image.bytes.len(), &reason, visit);
        }
        let rest = slot.header().map_or(self.files.layout.rest_if_lost(), |header| header.rest);
        let Some(seed) = seed else {
            let used = used_len(&image.bytes[HEADER_PAGE_BYTES..]);
            if used > 0 && rest == Rest::Zero {
                let rest = HEADER_PAGE_BYTES..HEADER_PAGE_BYTES + used;
                self.gap(index, rest, "no record among these bytes", visit);
            }
            return;
        };
        // A segment that goes on in the same epoch shows that the one before was sealed.
        if let Some((lsn, epoch)) = self.open_end.take()
            && epoch == self.epoch
        {
            let index = (lsn.0 - 1) / place.segment_bytes;
            let from = (lsn.0 - index * place.segment_bytes) as usize;
            let to = place.segment_bytes as usize;
            self.gap(index, from..to, "the records end without a seal", visit);
        }
        self.records(image, records, limit, (seed, rest), place, visit);
    }

    fn records(
        &mut self,
        image: &Image,
        records: &[u8],
        limit: Option<usize>,
        (seed, rest): (Seed, Rest),
        place: Place,
        visit: Visit<'_>,
    ) {
        let index = place.index;
        let mut at = HEADER_PAGE_BYTES;
        self.sealed = false;
        while at < records.len() && !self.is_over {
            let bad = match checked(records, at, seed, place) {
                Ok((record, kind)) => {
                    self.record(records, at, &record, kind, place, visit);
                    at = record.end;
                    if kind == EntryKind::Seal {
                        self.sealed = true;
                        break;
                    }
                    continue;
                }
                Err(bad) => bad,
            };
            // A header that is right tells how far the damage reaches.
            let known_end = match bad {
                BadRecord::PayloadChecksum | BadRecord::Padding | BadRecord::Value => {
                    parse_checked(records, at).ok().map(|record| record.end)
                }
                _ => None,
            };
            let next = known_end.or_else(|| next_record(records, at, seed, place));
            let end = match (next, limit) {
                (Some(next), _) => next,
                (None, Some(limit)) => limit,
                // What is left of another segment cannot be told from a record that was cut off.
                (None, None) if rest == Rest::Stale => break,
                (None, None) => match used_len(&records[at..]) {
                    0 => break,
                    used => at + used,
                },
            };
            let reason = match image.failure_in(&(at..end)) {
                Some(message) => format!("it cannot be read: {message}"),
                None => bad.to_string(),
            };
            self.gap(index, at..end, &reason, visit);
            if next.is_none() {
                break;
            }
            at = end;
        }
        if limit.is_none() && !self.sealed && !self.is_over {
            self.open_end = Some((Lsn(place.lsn(at)), self.epoch));
        }
    }

    fn record(
        &mut self,
        bytes: &[u8],
        at: usize,
        record: &Parsed,
        kind: EntryKind,
        place: Place,
        visit: Visit<'_>,
    ) {
        let lsn = Lsn(place.lsn(at));
        if lsn < self.from {
            return;
        }
        let end = Lsn(place.lsn(record.end));
        let tally = self.tallies.entry(place.index).or_default();
        tally.bytes += end.0 - lsn.0;
        match kind {
            EntryKind::Data => {
                tally.data += 1;
                tally.data_bytes += end.0 - lsn.0;
            }
            EntryKind::Commit { durable } => {
                tally.commits += 1;
                self.mark = self.mark.max(durable.0);
            }
            EntryKind::Seal => tally.seals += 1,
            EntryKind::CleanShutdown { durable } => {
                tally.clean_shutdowns += 1;
                self.mark = self.mark.max(durable.0);
            }
            EntryKind::Head { head } => {
                tally.heads += 1;
                self.head = self.head.max(head.0);
            }
        }
        self.clean = matches!(kind, EntryKind::CleanShutdown { .. });
        self.end = end.0;
        self.used.push(lsn.0..end.0);
        if let [.., before, last] = self.used.as_mut_slice()
            && before.end == last.start
        {
            before.end = last.end;
            self.used.pop();
        }
        let payload = &bytes[record.payload..record.payload + record.payload_len];
        let item = Item::Record(Entry { lsn, end, kind, payload });
        self.is_over |= visit(item).is_break();
    }

    fn gap(&mut self, index: u64, range: Range<usize>, reason: &str, visit: Visit<'_>) {
        let place = self.files.layout.place(index);
        let lsn = Lsn(place.lsn(range.start));
        if place.lsn(range.end) <= self.from.0 || self.is_over {
            return;
        }
        let number = self.files.layout.slot(index).map_or(index, |slot| slot.number);
        let gap = Gap {
            path: self.files.storage.path(number),
            offset: range.start as u64,
            lsn,
            len_bytes: (range.end - range.start) as u64,
            reason: reason.to_owned(),
        };
        self.used.push(lsn.0..place.lsn(range.end));
        self.clean = false;
        self.is_over |= visit(Item::Gap(&gap)).is_break();
        self.gaps.push(gap);
    }

    /// A seal proves that the file of the next segment was there.
    fn end_of_log(&mut self, visit: Visit<'_>) {
        let Some((_, last)) = self.files.layout.span() else { return };
        if self.sealed && !self.is_over && self.end > last * self.files.layout.segment_bytes {
            let len = self.files.layout.segment_bytes as usize;
            let reason = "the segment file is missing, but the one before is sealed";
            self.gap(last + 1, 0..len, reason, visit);
        }
    }

    /// The seed of a segment without a header: that of an epoch in which a record is valid.
    fn lost_seed(&mut self, records: &[u8], place: Place) -> Option<Seed> {
        let log = self.files.layout.log?;
        if used_len(records) <= HEADER_PAGE_BYTES {
            return None;
        }
        let seeds = Seeds::new(seeds_after(self.epoch, place, &log));
        let at = (HEADER_PAGE_BYTES..records.len()).step_by(RECORD_ALIGN);
        let mut plausible = at.filter(|at| is_plausible(records, *at));
        let (fitting, seed) = plausible.find_map(|at| {
            let (fitting, seed) = seeds.of_header(records, at)?;
            checked(records, at, seed, place).is_ok().then_some((fitting, seed))
        })?;
        // The list begins with the epoch of the segment before.
        self.epoch += fitting as u64;
        Some(seed)
    }

    fn survey(self, first: u64) -> Survey {
        let segment_bytes = self.files.layout.segment_bytes;
        // The head of a log that was never cut is its first byte.
        let head = self.head.max(if self.head == 0 { 0 } else { first * segment_bytes });
        let (damage, torn): (Vec<Gap>, Vec<Gap>) = self
            .gaps
            .into_iter()
            .filter(|gap| gap.lsn.0 + gap.len_bytes > head)
            .partition(|gap| gap.lsn.0 < self.mark);
        // What follows a torn place goes with it.
        let torn_from = torn.iter().map(|gap| gap.lsn.0).min();
        let torn_bytes = torn_from.map_or(0, |from| {
            let behind = |range: &Range<u64>| range.end.saturating_sub(range.start.max(from));
            self.used.iter().filter(|range| range.end > from).map(behind).sum()
        });
        let mut tally = Tally::default();
        for one in self.tallies.range(head / segment_bytes..).map(|(_, tally)| tally) {
            tally.data += one.data;
            tally.data_bytes += one.data_bytes;
            tally.commits += one.commits;
            tally.seals += one.seals;
            tally.clean_shutdowns += one.clean_shutdowns;
            tally.heads += one.heads;
            tally.bytes += one.bytes;
        }
        Survey {
            head: Lsn(head),
            end: Lsn(torn_from.map_or(self.end, |from| self.end.min(from))),
            durable_mark: Lsn(self.mark),
            epoch: self.epoch,
            clean_shutdown: self.clean,
            tally,
            damage,
            torn_bytes,
        }
    }
}

/// The record at `at`, with the number that it may hold, both checked.
fn checked(
    bytes: &[u8],
    at: usize,
    seed: Seed,
    place: Place,
) -> Result<(Parsed, EntryKind), BadRecord> {
    let record = parse(bytes, at, seed)?;
    if record.kind == Kind::Data {
        return Ok((record, EntryKind::Data));
    }
    let value = Lsn(control_value(bytes, &record, place.start())?);
    let kind = match record.kind {
        Kind::Commit => EntryKind::Commit { durable: value },
        Kind::CleanShutdown => EntryKind::CleanShutdown { durable: value },
        Kind::Head if !value.0.is_multiple_of(place.segment_bytes) => return Err(BadRecord::Value),
        Kind::Head => EntryKind::Head { head: value },
        Kind::Seal | Kind::Data => EntryKind::Seal,
    };
    Ok((record, kind))
}

/// Where the next valid record begins after the bad one at `at`.
fn next_record(bytes: &[u8], at: usize, seed: Seed, place: Place) -> Option<usize> {
    let mut places = (at + RECORD_ALIGN..bytes.len()).step_by(RECORD_ALIGN);
    places.find(|at| is_plausible(bytes, *at) && checked(bytes, *at, seed, place).is_ok())
}

/// Whether the bytes have the form of a record header: most places are refused by this alone.
fn is_plausible(bytes: &[u8], at: usize) -> bool {
    parse_checked(bytes, at).is_ok()
}
