//! What a store holds: its size and counts, and its records one by one. It only reads, and takes no
//! lock.

use std::{ops::ControlFlow, path::PathBuf};

use tickwheel_wal::inspect::{Item, LogFiles};

use super::{
    Description, EntryKind, Gap, InspectError, Lsn, Progress, SegmentFileInfo, SnapshotInfo, Store,
    StoreError, Survey, describe,
};

/// What the log of one shard holds.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ShardStat {
    /// Its directory.
    pub dir: PathBuf,
    /// The shard, if a header tells.
    pub shard: Option<u16>,
    /// Size of each segment.
    pub segment_bytes: u64,
    /// The segment files.
    pub segments: Vec<SegmentFileInfo>,
    /// The records.
    pub survey: Survey,
    /// Snapshots that are whole.
    pub snapshots: Vec<SnapshotInfo>,
    /// What is wrong with the others.
    pub bad_snapshots: Vec<String>,
}

/// Which records are handed out.
#[derive(Clone, Copy, Debug, Default)]
pub struct DumpRange {
    /// Only those at or after this position.
    pub from: Lsn,
    /// At most so many.
    pub limit: Option<u64>,
    /// Only those of this segment.
    pub segment: Option<u64>,
}

/// A record, or a place without one.
#[derive(Debug)]
#[non_exhaustive]
pub enum DumpLine<'a> {
    /// A valid record.
    #[non_exhaustive]
    Record {
        /// Where it begins.
        lsn: Lsn,
        /// Bytes that it takes in the log.
        len_bytes: u64,
        /// What it is for.
        kind: EntryKind,
        /// The event, in a record of the kind `Data`; or why it is none.
        event: Option<Result<Description, String>>,
        /// The whole content of the record.
        content: &'a [u8],
        /// The payload of the event's job: the end of the content.
        payload: &'a [u8],
    },
    /// Bytes that are no record.
    Gap(&'a Gap),
}

impl Store {
    /// Counts what the logs hold. It reads all of them, also while an engine runs there: then it
    /// may miss what is written meanwhile.
    ///
    /// # Errors
    /// See [`StoreError`]. Damage is part of the answer, not an error.
    pub fn stat(&self, progress: &mut dyn Progress) -> Result<Vec<ShardStat>, StoreError> {
        let mut stats = Vec::with_capacity(self.shards.len());
        for dir in &self.shards {
            let files = match LogFiles::open(dir) {
                // Its engine never started.
                Err(InspectError::NotALog { .. }) if self.is_data_dir => continue,
                other => other?,
            };
            let mut track = Track::begin(&files, "reading", progress);
            let survey = files.walk(Lsn(0), &mut |item| {
                if let Item::Record(entry) = item {
                    track.at(entry.end);
                }
                ControlFlow::Continue(())
            })?;
            let mut stat = ShardStat {
                dir: dir.clone(),
                shard: files.shard(),
                segment_bytes: files.segment_bytes(),
                segments: files.segments(),
                survey,
                snapshots: Vec::new(),
                bad_snapshots: Vec::new(),
            };
            for lsn in files.snapshots()? {
                match files.snapshot(lsn) {
                    Ok(info) => stat.snapshots.push(info),
                    Err(error) => stat.bad_snapshots.push(error.to_string()),
                }
            }
            stats.push(stat);
        }
        Ok(stats)
    }

    /// Hands out the records in order, each with the directory of its shard, until `visit` breaks.
    ///
    /// # Errors
    /// See [`StoreError`]. Damage is handed out as a gap.
    pub fn dump(
        &self,
        range: DumpRange,
        visit: &mut dyn FnMut(&std::path::Path, DumpLine<'_>) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let mut left = range.limit.unwrap_or(u64::MAX);
        for dir in &self.shards {
            let files = match LogFiles::open(dir) {
                Err(InspectError::NotALog { .. }) if self.is_data_dir => continue,
                other => other?,
            };
            let bytes = files.segment_bytes();
            let start = range.segment.map_or(0, |segment| segment.saturating_mul(bytes));
            let end = range.segment.map_or(u64::MAX, |_| start.saturating_add(bytes));
            let mut is_over = false;
            files.walk(Lsn(start.max(range.from.0)), &mut |item| {
                let lsn = match &item {
                    Item::Record(entry) => entry.lsn,
                    Item::Gap(gap) => gap.lsn,
                };
                if lsn.0 < start {
                    return ControlFlow::Continue(());
                }
                if lsn.0 >= end || left == 0 {
                    return ControlFlow::Break(());
                }
                left -= 1;
                let flow = visit(dir, line(item));
                is_over = flow.is_break();
                flow
            })?;
            if is_over || left == 0 {
                break;
            }
        }
        Ok(())
    }
}

fn line<'a>(item: Item<'a>) -> DumpLine<'a> {
    let entry = match item {
        Item::Record(entry) => entry,
        Item::Gap(gap) => return DumpLine::Gap(gap),
    };
    let content = entry.payload;
    let event = (entry.kind == EntryKind::Data)
        .then(|| describe(content).map_err(|error| error.to_string()));
    let payload_bytes = match &event {
        Some(Ok(description)) => description.payload_bytes,
        _ => 0,
    };
    DumpLine::Record {
        lsn: entry.lsn,
        len_bytes: entry.end.0 - entry.lsn.0,
        kind: entry.kind,
        event,
        content,
        payload: &content[content.len() - payload_bytes..],
    }
}

/// Says now and then how far a walk through a log is.
pub(super) struct Track<'a> {
    progress: &'a mut dyn Progress,
    start: u64,
    told: u64,
}

/// Bytes between two words about the progress.
const STEP_BYTES: u64 = 4 << 20;

impl<'a> Track<'a> {
    pub(super) fn begin(files: &LogFiles, what: &str, progress: &'a mut dyn Progress) -> Self {
        let segments = files.segments();
        let used: Vec<u64> = segments
            .iter()
            .filter(|file| !matches!(file.state, super::SegmentState::Unused))
            .map(|file| file.segment)
            .collect();
        let first = used.first().copied().unwrap_or(0);
        let count = used.last().map_or(0, |last| last - first + 1);
        let bytes = files.segment_bytes();
        progress.begin(&format!("{what} {}", files.dir().display()), count * bytes);
        Track { progress, start: first * bytes, told: 0 }
    }

    pub(super) fn at(&mut self, lsn: Lsn) {
        let done = lsn.0.saturating_sub(self.start);
        if done >= self.told + STEP_BYTES {
            self.told = done;
            self.progress.reached(done);
        }
    }
}
