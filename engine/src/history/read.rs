//! Reads the files of a history, also while an engine writes them. It changes nothing and takes no
//! lock.

use std::{
    io,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use tickwheel_core::fact::Fact;
use tickwheel_wal::{
    Lsn,
    inspect::{EntryKind, InspectError, Item, LogFiles, SegmentState, Verdict},
};

use super::{
    HISTORY_DIR,
    entry::Entry,
    event::{AttemptRecord, record_of},
    open::HISTORY_SHARD,
    query::{HistoryPage, HistoryPlace, HistoryQuery},
};
use crate::{engine::Engine, limits};

/// Why a history could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryReadError {
    /// There is none.
    #[error(
        "{} holds no history: name a data directory whose engine keeps one, or the folder of a history",
        dir.display()
    )]
    None {
        /// The directory.
        dir: PathBuf,
    },
    /// The files could not be looked at.
    #[error(transparent)]
    Inspect(#[from] InspectError),
    /// The operating system failed.
    #[error("cannot read {}: {source}", dir.display())]
    Io {
        /// The directory.
        dir: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

/// The files of a history.
#[derive(Clone, Debug)]
pub struct HistoryFiles {
    dir: PathBuf,
}

/// What a history holds.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HistoryStat {
    /// Its directory.
    pub dir: PathBuf,
    /// Size of each segment.
    pub segment_bytes: u64,
    /// Segments with entries.
    pub segments: u64,
    /// Where it begins.
    pub head: Lsn,
    /// Where it ends.
    pub end: Lsn,
    /// Ends of attempts and jobs.
    pub ended: u64,
    /// Other events.
    pub others: u64,
    /// Gaps that were noted.
    pub gaps: u64,
    /// Entries that this version does not know.
    pub unknown: u64,
    /// Damaged places, in words.
    pub damage: Vec<String>,
}

/// What one look came to.
enum Look {
    /// The page is full.
    Full,
    /// There is nothing more.
    Over,
}

impl HistoryFiles {
    /// The history of a data directory, or that in a folder of its own, such as one that was set
    /// aside. Nothing is read of it yet.
    ///
    /// # Errors
    /// [`HistoryReadError::None`] if there is none.
    pub fn open(dir: &Path) -> Result<Self, HistoryReadError> {
        let none = || HistoryReadError::None { dir: dir.to_owned() };
        let failed = |source| HistoryReadError::Io { dir: dir.to_owned(), source };
        let inner = dir.join(HISTORY_DIR);
        for dir in [inner.as_path(), dir] {
            if !dir.is_dir() || !LogFiles::are_in(dir).map_err(failed)? {
                continue;
            }
            let files = LogFiles::open(dir)?;
            // A shard's log is no history.
            if files.shard().is_none_or(|shard| shard == HISTORY_SHARD) {
                return Ok(Self { dir: dir.to_owned() });
            }
        }
        Err(none())
    }

    /// The directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A page of what a question asks for.
    ///
    /// # Errors
    /// The files cannot be read. Damage is a part of the page, not an error.
    pub fn query(&self, query: &HistoryQuery) -> Result<HistoryPage, HistoryReadError> {
        let files = LogFiles::open(&self.dir)?;
        let segment_bytes = files.segment_bytes();
        let segments = files.segments();
        let used =
            |state: SegmentState| matches!(state, SegmentState::Used | SegmentState::Damaged);
        let mut segments: Vec<u64> =
            segments.iter().filter(|file| used(file.state)).map(|file| file.segment).collect();
        let place = query.after.map(|place| place.0);
        if query.oldest_first {
            segments.retain(|segment| place.is_none_or(|at| (segment + 1) * segment_bytes > at));
        } else {
            segments.retain(|segment| place.is_none_or(|at| segment * segment_bytes < at));
            segments.reverse();
        }
        let mut page = HistoryPage::default();
        let mut left_bytes = limits::HISTORY_PAGE_BYTES_MAX;
        for segment in segments {
            if left_bytes < segment_bytes {
                let border = if query.oldest_first { segment } else { segment + 1 };
                page.next = Some(HistoryPlace(border * segment_bytes));
                return Ok(page);
            }
            left_bytes -= segment_bytes;
            if let Look::Full = self.look(&files, segment, query, &mut page)? {
                return Ok(page);
            }
        }
        Ok(page)
    }

    /// Takes what fits from one segment.
    fn look(
        &self,
        files: &LogFiles,
        segment: u64,
        query: &HistoryQuery,
        page: &mut HistoryPage,
    ) -> Result<Look, HistoryReadError> {
        let range = segment * files.segment_bytes()..(segment + 1) * files.segment_bytes();
        let place = query.after.map(|place| place.0);
        let most = query.page_len();
        let mut found: Vec<(u64, u64, AttemptRecord)> = Vec::new();
        let mut is_full = false;
        let survey = files.walk(Lsn(range.start), &mut |item| {
            let entry = match item {
                Item::Record(entry) => entry,
                Item::Gap(gap) if gap.lsn.0 >= range.end => return ControlFlow::Break(()),
                Item::Gap(_) => return ControlFlow::Continue(()),
            };
            // The walk would read the next segment first.
            let is_past = entry.lsn.0 >= range.end || entry.kind == EntryKind::Seal;
            let is_beyond = !query.oldest_first && place.is_some_and(|at| entry.lsn.0 >= at);
            if is_past || is_beyond {
                return ControlFlow::Break(());
            }
            if query.oldest_first && place.is_some_and(|at| entry.lsn.0 < at) {
                return ControlFlow::Continue(());
            }
            if let Some(record) = matching(entry.payload, query) {
                found.push((entry.lsn.0, entry.end.0, record));
                if query.oldest_first && page.attempts.len() + found.len() == most {
                    is_full = true;
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        })?;
        page.damage.extend(
            survey.damage.iter().map(|gap| {
                format!("{} at offset {}: {}", gap.path.display(), gap.offset, gap.reason)
            }),
        );
        if query.oldest_first {
            if is_full {
                page.next = found.last().map(|(_, end, _)| HistoryPlace(*end));
            }
            page.attempts.extend(found.into_iter().map(|(.., record)| record));
        } else {
            for (lsn, _, record) in found.into_iter().rev() {
                page.attempts.push(record);
                if page.attempts.len() == most {
                    page.next = Some(HistoryPlace(lsn));
                    return Ok(Look::Full);
                }
            }
        }
        Ok(if is_full { Look::Full } else { Look::Over })
    }

    /// Counts what the history holds. It reads all of it.
    ///
    /// # Errors
    /// The files cannot be read.
    pub fn stat(&self) -> Result<HistoryStat, HistoryReadError> {
        let files = LogFiles::open(&self.dir)?;
        let used = files.segments().iter().filter(|file| file.state == SegmentState::Used).count();
        let mut stat = HistoryStat {
            dir: self.dir.clone(),
            segment_bytes: files.segment_bytes(),
            segments: used as u64,
            head: Lsn(0),
            end: Lsn(0),
            ended: 0,
            others: 0,
            gaps: 0,
            unknown: 0,
            damage: Vec::new(),
        };
        let survey = files.walk(Lsn(0), &mut |item| {
            if let Item::Record(entry) = item
                && entry.kind == EntryKind::Data
            {
                match Entry::decode(entry.payload) {
                    Some(Entry::Fact { fact, .. }) => match Fact::decode(fact) {
                        Ok(Fact::Ended(_)) => stat.ended += 1,
                        Ok(_) => stat.others += 1,
                        Err(_) => stat.unknown += 1,
                    },
                    Some(Entry::Gap(_)) => stat.gaps += 1,
                    Some(_) => {}
                    None => stat.unknown += 1,
                }
            }
            ControlFlow::Continue(())
        })?;
        (stat.head, stat.end) = (survey.head, survey.end);
        stat.damage.extend(
            survey.damage.iter().map(|gap| {
                format!("{} at offset {}: {}", gap.path.display(), gap.offset, gap.reason)
            }),
        );
        Ok(stat)
    }

    /// Reads every byte, as an opening would judge it. The engine must not run.
    ///
    /// # Errors
    /// The files cannot be read, or are in use.
    pub fn verify(&self) -> Result<Verdict, HistoryReadError> {
        Ok(LogFiles::lock(&self.dir)?.verify(&mut |_| {})?)
    }
}

fn matching(payload: &[u8], query: &HistoryQuery) -> Option<AttemptRecord> {
    let Entry::Fact { shard, output, fact, .. } = Entry::decode(payload)? else { return None };
    match Fact::decode(fact) {
        Ok(Fact::Ended(ended)) if query.takes(&ended) => Some(record_of(shard, output, &ended)),
        _ => None,
    }
}

impl Engine {
    /// A page of attempts that ended, from the history. What ended within the last few milliseconds may
    /// not be in it yet. It reads files on the caller's thread, and holds nothing up.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tickwheel_engine::{AttemptOutcome, Engine, History, HistoryQuery, JobError, NewJob};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let data_dir = dir.path();
    /// let engine = Engine::builder()
    ///     .data_dir(data_dir)
    ///     .history(History::new())
    /// #   .segment_bytes(8 << 20)
    ///     .handler("mail", |_| Err(JobError::permanent("no such address")))
    ///     .start()?;
    /// let id = engine.submit(NewJob::new("mail"))?;
    /// assert!(engine.drain(Duration::from_secs(20)));
    /// engine.shutdown(Duration::from_secs(5))?;
    /// let page = engine.history(&HistoryQuery::new().job(id))?;
    /// let last = &page.attempts[0];
    /// assert_eq!(last.outcome, AttemptOutcome::FailedForGood);
    /// assert_eq!(last.message, "no such address");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// No history is kept, or its files cannot be read.
    pub fn history(&self, query: &HistoryQuery) -> Result<HistoryPage, HistoryReadError> {
        let Some(keeping) = &self.history else {
            return Err(HistoryReadError::None { dir: self.data_dir.clone() });
        };
        HistoryFiles::open(keeping.dir())?.query(query)
    }
}
