//! What the log must hold: the plain list of what was appended, and how much of it is promised.

use crate::{Log, Lsn, Record, Recover, ReplayError, SnapshotReader};

/// A record that was appended and may be on the disk.
pub(super) struct Submitted {
    pub(super) lsn: Lsn,
    pub(super) end: Lsn,
    pub(super) payload: Vec<u8>,
    /// Stands for this record and all before it.
    chain: u64,
}

/// Everything that was appended from the first record on, less what an opening has dropped.
/// Released records stay in the list.
#[derive(Default)]
pub(super) struct Model {
    pub(super) submitted: Vec<Submitted>,
    /// That many of them were called durable: they survive every cut.
    pub(super) acked: usize,
    /// What lies below was named by a durable mark that is durable itself: damage there is noticed.
    pub(super) marked: Lsn,
    /// Marks in records that may not be durable: the end of the record, and the mark.
    marks: Vec<(Lsn, Lsn)>,
    /// Where the log begins: all below is released for good.
    pub(super) head: Lsn,
    /// The same at the last opening.
    opened_head: Lsn,
    /// Heads that were asked for and may not be durable.
    heads: Vec<Lsn>,
    /// Heads that the log had since then; damage to what no mark names yet can bring one back.
    risen: Vec<Lsn>,
    /// Position of the newest snapshot that was finished and must not be passed over: all before
    /// it was durable.
    snapshot: Option<Lsn>,
}

/// What an opening found, as far as the model has to know.
pub(super) struct Found {
    /// Position in the list of the first record, or of what follows the snapshot.
    pub(super) start: Option<usize>,
    /// Records that were replayed.
    pub(super) count: usize,
    /// The snapshot that was restored.
    pub(super) snapshot: Option<Lsn>,
    pub(super) head: Lsn,
    /// Snapshots could be used.
    pub(super) takes_snapshots: bool,
    /// Bits were flipped.
    pub(super) is_damaged: bool,
}

impl Model {
    pub(super) fn submit(&mut self, lsn: Lsn, end: Lsn, payload: Vec<u8>) -> Result<(), String> {
        let last_end = self.submitted.last().map_or(Lsn(0), |last| last.end);
        if lsn < last_end || end.0 - lsn.0 != Log::record_bytes(payload.len()) {
            return Err(format!("appended at {lsn} to {end}, but the log was at {last_end}"));
        }
        let before = self.submitted.last().map_or(0, |last| last.chain);
        let own = lsn.0 ^ u64::from(crc32c::crc32c(&payload)) << 32;
        let chain = crate::simulation::mix(before.wrapping_add(1) ^ own);
        self.submitted.push(Submitted { lsn, end, payload, chain });
        Ok(())
    }

    /// A mark was written.
    pub(super) fn mark(&mut self, end: Lsn, mark: Lsn) {
        self.marks.push((end, mark));
    }

    /// The log says that all below `durable` is durable, and that it begins at `head`.
    pub(super) fn acknowledge(&mut self, durable: Lsn, head: Lsn) -> Result<(), String> {
        self.acked = self.acked.max(self.below(durable));
        let written = self.marks.iter().filter(|(end, _)| *end <= durable);
        self.marked = written.map(|&(_, mark)| mark).fold(self.marked, Lsn::max);
        self.marks.retain(|(end, _)| *end > durable);
        self.rise_to(head)
    }

    /// Asks for a release.
    pub(super) fn release(&mut self, head: Lsn) {
        self.heads.push(head);
    }

    fn rise_to(&mut self, head: Lsn) -> Result<(), String> {
        if head != self.head && !self.heads.contains(&head) {
            let before = self.head;
            return Err(format!("the log begins at {head}, which nobody released (was {before})"));
        }
        self.risen.push(self.head);
        // One release can overtake others.
        self.risen.extend(self.heads.iter().filter(|&&asked| asked < head));
        self.head = head;
        self.heads.retain(|&asked| asked > head);
        Ok(())
    }

    /// Number of records that lie below `lsn`.
    pub(super) fn below(&self, lsn: Lsn) -> usize {
        self.submitted.partition_point(|one| one.end <= lsn)
    }

    /// The records that were not released for good.
    pub(super) fn held(&self) -> &[Submitted] {
        let start = self.submitted.partition_point(|one| one.lsn < self.head);
        &self.submitted[start..]
    }

    /// What a snapshot of the state as of now holds.
    pub(super) fn state(&self) -> Vec<u8> {
        state(self.submitted.len(), self.submitted.last().map_or(0, |last| last.chain))
    }

    /// A snapshot as of `lsn` was finished.
    pub(super) fn snapshot(&mut self, lsn: Lsn, durable: Lsn) {
        // A segment without data is wiped by the next opening, and a position in it is gone.
        let start = lsn.0 - lsn.0 % super::run::SEGMENT_BYTES;
        let before = self.below(lsn).checked_sub(1).map(|last| &self.submitted[last]);
        let has_data = before.is_some_and(|before| before.lsn.0 > start);
        // Two of those that may go push this one out.
        self.snapshot = (lsn <= durable && has_data).then_some(lsn);
    }

    /// The disk has damage: a snapshot that cannot be read is removed.
    pub(super) fn forget_snapshot(&mut self) {
        self.snapshot = None;
    }

    /// An opening worked: compares what it found with what had to be there, and goes on from that.
    /// Returns how many records are there.
    pub(super) fn recovered(&mut self, found: Found) -> Result<usize, String> {
        let Found { head, is_damaged, snapshot, .. } = found;
        let first_held = self.submitted.partition_point(|one| one.lsn < head);
        let start = found.start.unwrap_or(first_held);
        let count = start + found.count;
        // Damage to what no mark names yet is taken for a torn tail.
        let needed = if is_damaged { self.below(self.marked) } else { self.acked };
        if count < needed {
            let (acked, all) = (self.acked, self.submitted.len());
            return Err(format!(
                "{count} of {all} records came back, {needed} had to ({acked} acknowledged)"
            ));
        }
        if start != first_held && snapshot.is_none() {
            return Err(format!(
                "the log begins at {head}, record {first_held}, but not the replay"
            ));
        }
        let was_head = head == self.opened_head || self.risen.contains(&head);
        if !(is_damaged && was_head) {
            self.rise_to(head)?;
        }
        if let Some(lsn) = self.snapshot
            && found.takes_snapshots
            && lsn >= head
            && snapshot.is_none_or(|used| used < lsn)
        {
            return Err(format!("the snapshot of {lsn} was passed over"));
        }
        self.submitted.truncate(count);
        self.acked = count;
        self.marked = self.submitted.last().map_or(Lsn(0), |last| last.end);
        self.marks.clear();
        (self.head, self.opened_head) = (head, head);
        self.heads.clear();
        self.risen.clear();
        Ok(count)
    }
}

/// A state after `count` records. Its length differs, so that the blocks of its snapshot do.
fn state(count: usize, chain: u64) -> Vec<u8> {
    let words = [count as u64, chain].map(u64::to_le_bytes).concat();
    words.repeat(1 + (chain % 100) as usize)
}

/// What an opening hands out, compared with the model on the way.
pub(super) struct Replayed<'a> {
    model: &'a Model,
    /// Position in the list of the first record, or of what follows the snapshot.
    pub(super) start: Option<usize>,
    pub(super) count: usize,
    pub(super) snapshot: Option<Lsn>,
    violation: Option<String>,
}

impl<'a> Replayed<'a> {
    pub(super) fn new(model: &'a Model) -> Self {
        Replayed { model, start: None, count: 0, snapshot: None, violation: None }
    }

    /// The first thing that was wrong.
    pub(super) fn violation(&mut self) -> Option<String> {
        self.violation.take()
    }

    /// Takes the next record.
    pub(super) fn take(&mut self, record: &Record<'_>) {
        let lsn = record.lsn;
        let submitted = &self.model.submitted;
        let first = || submitted.partition_point(|one| one.lsn < lsn);
        let position = *self.start.get_or_insert_with(first) + self.count;
        self.count += 1;
        if let Err(what) = check(submitted.get(position), record) {
            self.violation.get_or_insert(format!("record {position}: {what}"));
        }
    }

    fn check_state(&mut self, lsn: Lsn, bytes: &[u8]) -> Result<(), String> {
        let words: Vec<u64> =
            bytes.as_chunks().0.iter().take(2).map(|word| u64::from_le_bytes(*word)).collect();
        let [count, chain] = words[..] else { return Err("it holds no state".to_owned()) };
        let count = count as usize;
        if bytes != state(count, chain) {
            return Err("its bytes are not those that were written".to_owned());
        }
        let submitted = &self.model.submitted;
        if count > submitted.len() {
            return Err(format!("it is of {count} records, of which some were dropped"));
        }
        let last = count.checked_sub(1).map(|last| &submitted[last]);
        let is_of_last = last.map_or(chain == 0, |last| last.chain == chain && last.end <= lsn);
        if !is_of_last || submitted.get(count).is_some_and(|next| next.lsn < lsn) {
            return Err(format!("it is of {count} records, but not of these"));
        }
        self.start = Some(count);
        Ok(())
    }
}

impl Recover for Replayed<'_> {
    fn restore(&mut self, snapshot: &mut SnapshotReader) -> Result<(), ReplayError> {
        let lsn = snapshot.lsn();
        let mut bytes = Vec::new();
        while let Some(block) = snapshot.next_block()? {
            bytes.extend_from_slice(block);
        }
        self.snapshot = Some(lsn);
        if let Err(what) = self.check_state(lsn, &bytes) {
            self.violation.get_or_insert(format!("the snapshot of {lsn}: {what}"));
        }
        Ok(())
    }

    fn replay(&mut self, record: Record<'_>) -> Result<(), ReplayError> {
        self.take(&record);
        Ok(())
    }
}

/// Compares a record with what was appended at its place.
fn check(expected: Option<&Submitted>, record: &Record<'_>) -> Result<(), String> {
    let lsn = record.lsn;
    let Some(expected) = expected else {
        return Err(format!("at {lsn}, was never appended or was dropped"));
    };
    if (expected.lsn, expected.end) != (lsn, record.end) {
        let (from, to) = (expected.lsn, expected.end);
        return Err(format!("at {lsn} to {} instead of {from} to {to}", record.end));
    }
    if expected.payload != record.payload {
        return Err(format!("at {lsn}, has other bytes than were appended"));
    }
    Ok(())
}
