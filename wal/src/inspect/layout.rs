//! Which file is which segment of the log, judged by names and headers, also where some of them are
//! damaged, missing or in the wrong place.
//!
//! It must not look at records.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::format::{
    HEADER_PAGE_BYTES, HeaderPage, Place, Rest, SegmentHeader, VERSION, decode_page,
};
use crate::limits::{SEGMENT_BYTES_DEFAULT, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN};
use crate::snapshot::Identity;
use crate::storage::{Directory, Storage};

use super::{InspectError, SegmentFileInfo, SegmentState};

/// The segments of a log.
pub(crate) struct Layout {
    /// By segment number: all from `first` on are the log's.
    files: BTreeMap<u64, Slot>,
    /// One of the headers of the log; `None` if there is none.
    pub(crate) log: Option<SegmentHeader>,
    pub(crate) segment_bytes: u64,
    /// Everything below was released when the newest header was written.
    pub(crate) base: u64,
}

/// The file of a segment.
#[derive(Clone)]
pub(crate) struct Slot {
    /// The number in the file's name. It differs from the segment's where files were swapped.
    pub(crate) number: u64,
    pub(crate) len_bytes: u64,
    pub(crate) page: Page,
}

/// What the header page of a file says.
#[derive(Clone, Copy)]
pub(crate) enum Page {
    Used(SegmentHeader),
    Unused,
    Damaged(&'static str),
}

impl Slot {
    pub(crate) fn header(&self) -> Option<&SegmentHeader> {
        match &self.page {
            Page::Used(header) => Some(header),
            Page::Unused | Page::Damaged(_) => None,
        }
    }
}

impl Layout {
    pub(crate) fn of(storage: &Directory) -> Result<Self, InspectError> {
        let read = read_slots(storage)?;
        let log = log_of(&read);
        let segment_bytes = match &log {
            Some(log) => log.place.segment_bytes,
            None => read.iter().map(|slot| slot.len_bytes).max().unwrap_or(0).next_power_of_two(),
        };
        let is_possible = (SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&segment_bytes);
        let segment_bytes = if is_possible { segment_bytes } else { SEGMENT_BYTES_DEFAULT };
        let mut files: BTreeMap<u64, Slot> = BTreeMap::new();
        for mut slot in read {
            if let (Page::Used(header), Some(log)) = (slot.page, &log)
                && !is_of(&header, log)
            {
                slot.page = Page::Damaged("the segment belongs to another log");
            }
            let index = slot.header().map_or(slot.number, |header| header.place.index);
            // A file under its own name goes before one that was renamed.
            let is_taken = files.get(&index).is_some_and(|other| other.number == index);
            let index = if is_taken { slot.number } else { index };
            if let Some(other) = files.insert(index, slot) {
                files.entry(other.number).or_insert(other);
            }
        }
        let base = files.values().filter_map(Slot::header).map(|header| header.base).max();
        Ok(Layout { files, log, segment_bytes, base: base.unwrap_or(0) })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    pub(crate) fn identity(&self) -> Option<Identity> {
        self.log.map(|log| Identity { shard: log.shard, salt: log.salt })
    }

    pub(crate) fn place(&self, index: u64) -> Place {
        Place { index, segment_bytes: self.segment_bytes }
    }

    /// What may lie behind the records of a segment whose header is lost. Where a segment was
    /// released, its file may be prepared for use again.
    pub(crate) fn rest_if_lost(&self) -> Rest {
        match self.files.keys().next() {
            Some(0) if self.base == 0 => Rest::Zero,
            _ if self.log.is_none() => Rest::Zero,
            _ => Rest::Stale,
        }
    }

    /// Numbers of the segments that are not released: the first and the last that have a file.
    pub(crate) fn span(&self) -> Option<(u64, u64)> {
        let first = self.base / self.segment_bytes;
        let mut held = self.files.range(first..).map(|(index, _)| *index);
        let first = held.next()?;
        Some((first, held.next_back().unwrap_or(first)))
    }

    /// The segments with a header that follow on one another up to the last one with a header.
    pub(crate) fn run(&self) -> Option<Range<u64>> {
        let last = self
            .files
            .iter()
            .rfind(|(_, slot)| slot.header().is_some())
            .map(|(index, _)| *index)?;
        let base = self.base / self.segment_bytes;
        let mut first = last;
        while first > base && self.header(first - 1).is_some() {
            first -= 1;
        }
        Some(first..last + 1)
    }

    pub(crate) fn slot(&self, index: u64) -> Option<&Slot> {
        self.files.get(&index)
    }

    pub(crate) fn header(&self, index: u64) -> Option<&SegmentHeader> {
        self.slot(index).and_then(Slot::header)
    }

    pub(crate) fn summaries(&self, storage: &Directory) -> Vec<SegmentFileInfo> {
        let summary = |(&index, slot): (&u64, &Slot)| {
            let header = slot.header();
            let state = match slot.page {
                _ if index * self.segment_bytes < self.base => SegmentState::Released,
                Page::Used(_) => SegmentState::Used,
                Page::Unused => SegmentState::Unused,
                Page::Damaged(_) => SegmentState::Damaged,
            };
            SegmentFileInfo {
                segment: index,
                path: storage.path(slot.number),
                len_bytes: slot.len_bytes,
                state,
                version: header.map_or(0, |header| header.version),
                epoch: header.map_or(0, |header| header.epoch),
                created_ms: header.map_or(0, |header| header.created_ms),
            }
        };
        self.files.iter().map(summary).collect()
    }
}

fn read_slots(storage: &Directory) -> Result<Vec<Slot>, InspectError> {
    let io_error =
        |number, action, source| InspectError::Io { action, path: storage.path(number), source };
    let numbers = storage.list().map_err(|e| io_error(0, "list the segments beside", e))?;
    let number_max = u64::MAX / SEGMENT_BYTES_MAX - 1;
    let mut slots = Vec::with_capacity(numbers.len());
    for number in numbers.into_iter().filter(|number| *number <= number_max) {
        let file = match storage.open(number) {
            // The log released it after it was listed.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            other => other.map_err(|e| io_error(number, "open", e))?,
        };
        let len_bytes = file.len_bytes().map_err(|e| io_error(number, "read", e))?;
        let mut page = [0; HEADER_PAGE_BYTES];
        let page = match file.read_at(&mut page, 0) {
            Err(_) => Page::Damaged("the header page cannot be read"),
            Ok(_) => match decode_page(&page) {
                HeaderPage::Used { header, .. } => Page::Used(header),
                HeaderPage::Unused => Page::Unused,
                HeaderPage::Invalid(reason) => Page::Damaged(reason),
                HeaderPage::Newer { version } => {
                    let path = storage.path(number);
                    return Err(InspectError::NewerVersion {
                        path,
                        found: version,
                        supported: VERSION,
                    });
                }
                HeaderPage::UnknownFeatures { features } => {
                    let path = storage.path(number);
                    return Err(InspectError::UnknownFeatures { path, features });
                }
            },
        };
        slots.push(Slot { number, len_bytes, page });
    }
    Ok(slots)
}

/// The header that most others agree with on which log it is.
fn log_of(slots: &[Slot]) -> Option<SegmentHeader> {
    let headers: Vec<&SegmentHeader> = slots.iter().filter_map(Slot::header).collect();
    let votes = |header: &SegmentHeader| headers.iter().filter(|it| is_of(it, header)).count();
    headers.iter().rev().max_by_key(|header| votes(header)).map(|header| **header)
}

fn is_of(header: &SegmentHeader, log: &SegmentHeader) -> bool {
    header.salt == log.salt
        && header.shard == log.shard
        && header.place.segment_bytes == log.place.segment_bytes
}
