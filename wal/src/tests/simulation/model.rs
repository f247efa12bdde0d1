//! What the log must hold: the plain list of what was appended, and how much of it is promised.

use crate::{Log, Lsn, Record};

/// A record that was appended and may be on the disk.
pub(super) struct Submitted {
    pub(super) lsn: Lsn,
    pub(super) end: Lsn,
    pub(super) payload: Vec<u8>,
}

/// Everything that was appended from the first record on, less what an opening has dropped.
#[derive(Default)]
pub(super) struct Model {
    pub(super) submitted: Vec<Submitted>,
    /// That many of them were called durable: they survive every cut.
    pub(super) acked: usize,
    /// What lies below was named by a durable mark that is durable itself: damage there is noticed.
    pub(super) marked: Lsn,
    /// Marks in records that may not be durable: the end of the record, and the mark.
    marks: Vec<(Lsn, Lsn)>,
}

impl Model {
    pub(super) fn submit(&mut self, lsn: Lsn, end: Lsn, payload: Vec<u8>) -> Result<(), String> {
        let last_end = self.submitted.last().map_or(Lsn(0), |last| last.end);
        if lsn < last_end || end.0 - lsn.0 != Log::record_bytes(payload.len()) {
            return Err(format!("appended at {lsn} to {end}, but the log was at {last_end}"));
        }
        self.submitted.push(Submitted { lsn, end, payload });
        Ok(())
    }

    /// A mark was written.
    pub(super) fn mark(&mut self, end: Lsn, mark: Lsn) {
        self.marks.push((end, mark));
    }

    /// The log says that all below `durable` is durable.
    pub(super) fn acknowledge(&mut self, durable: Lsn) {
        self.acked = self.acked.max(self.submitted.partition_point(|one| one.end <= durable));
        let written = self.marks.iter().filter(|(end, _)| *end <= durable);
        self.marked = written.map(|&(_, mark)| mark).fold(self.marked, Lsn::max);
        self.marks.retain(|(end, _)| *end > durable);
    }

    /// Records that lie below the marks.
    pub(super) fn marked_count(&self) -> usize {
        self.submitted.partition_point(|one| one.end <= self.marked)
    }

    /// Compares a record that a recovery brought back with the one at its place.
    pub(super) fn check(&self, position: usize, record: &Record<'_>) -> Result<(), String> {
        let lsn = record.lsn;
        let Some(expected) = self.submitted.get(position) else {
            return Err(format!("record {position} at {lsn} was never appended, or was dropped"));
        };
        if (expected.lsn, expected.end) != (lsn, record.end) {
            let (from, to) = (expected.lsn, expected.end);
            return Err(format!("record {position} is at {lsn} instead of {from} to {to}"));
        }
        if expected.payload != record.payload {
            return Err(format!("record {position} at {lsn} has other bytes than were appended"));
        }
        Ok(())
    }

    /// An opening brought the first `count` records back and calls them durable.
    pub(super) fn recovered(&mut self, count: usize, is_damaged: bool) -> Result<(), String> {
        // Damage to what no mark names yet is taken for a torn tail.
        let needed = if is_damaged { self.marked_count() } else { self.acked };
        if count < needed {
            let (acked, all) = (self.acked, self.submitted.len());
            return Err(format!(
                "{count} of {all} records came back, {needed} had to ({acked} acknowledged)"
            ));
        }
        self.submitted.truncate(count);
        self.acked = count;
        self.marked = self.submitted.last().map_or(Lsn(0), |last| last.end);
        self.marks.clear();
        Ok(())
    }
}
