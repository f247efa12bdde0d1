//! The steps of one life: what the owner of a log does, in any order, and faults of the disk.

use super::model::Submitted;
use super::run::{HEADER_PAGE_BYTES, Run, SEGMENT_BYTES};
use crate::simulation::{Cut, Fault, Random};
use crate::{AppendError, Log, Lsn, ReadError};

/// Records that are held while the log goes on, at most.
const HELD_MAX: usize = 4;

impl Run {
    /// One step; returns what it was.
    pub(super) fn step(&mut self) -> Result<&'static str, String> {
        if self.log().failure().is_some() {
            self.counters.steps_while_poisoned += 1;
        }
        if self.random.below(256) < self.habits.faults_of_256 {
            self.fault();
        }
        if self.random.below(16) < self.habits.syncs_of_16 {
            return self.sync().map(|()| "sync");
        }
        if self.random.below(16) < self.habits.housekeeping_of_16 {
            return self.housekeeping();
        }
        match self.random.below(16) {
            0..=4 => self.append().map(|()| "append"),
            5..=7 => {
                for _ in 0..self.random.below(6) {
                    self.append()?;
                }
                self.commit();
                Ok("batch")
            }
            8..=9 => {
                self.commit();
                Ok("commit")
            }
            10 => {
                self.mark_idle();
                Ok("mark")
            }
            11 => self.reserve().map(|()| "reserve"),
            12 => self.check_reads().map(|()| "read"),
            _ => {
                self.prepare();
                Ok("prepare")
            }
        }
    }

    /// Something that will go wrong.
    fn fault(&mut self) {
        match self.random.below(6) {
            0 => self.disk.plan_failing_sync(self.random.below(3)),
            1 => self.disk.plan_fault(self.random.below(40), Fault::Error),
            2 | 3 => {
                let cut = if self.random.one_in(3) { Cut::Kill } else { Cut::Power };
                // The syncs of a log are few among the operations that make a segment.
                let bound = if self.random.one_in(2) { 3 } else { 40 };
                self.disk.plan_fault(self.random.below(bound), Fault::Cut(cut));
            }
            4 => {
                let spare = self.random.below(2 * SEGMENT_BYTES);
                self.disk.set_capacity(self.disk.used_bytes() + spare);
            }
            _ => self.disk.set_capacity(u64::MAX),
        }
    }

    fn append(&mut self) -> Result<(), String> {
        let max = self.log().payload_len_max();
        let payload = self.payload(max);
        let promised = self.log().available_bytes();
        let record_bytes = Log::record_bytes(payload.len());
        let split = self.random.below(payload.len() as u64 + 1) as usize;
        let (first, second) = payload.split_at(split);
        let before = self.log().appended();
        match self.log().append(&[first, second]) {
            Ok(appended) => {
                self.note_rotation(before);
                return self.model.submit(appended.lsn, appended.end, payload);
            }
            Err(AppendError::Poisoned) if self.log().failure().is_some() => return Ok(()),
            Err(error) if record_bytes <= promised => {
                return Err(format!("{record_bytes} of {promised} bytes refused: {error}"));
            }
            Err(AppendError::NoSpace { .. }) => self.counters.appends_without_space += 1,
            Err(AppendError::SegmentNotReady) => self.counters.appends_without_segment += 1,
            Err(AppendError::Reserved) if self.reservation.is_some() => {}
            Err(error) => return Err(error.to_string()),
        }
        self.prepare();
        Ok(())
    }

    fn note_rotation(&mut self, before: Lsn) {
        let index = self.log().appended().0 / SEGMENT_BYTES;
        if index > before.0 / SEGMENT_BYTES {
            self.rotated_to = Some(Lsn(index * SEGMENT_BYTES + HEADER_PAGE_BYTES));
        }
    }

    /// A payload that no other record has, of any length up to `max`.
    fn payload(&mut self, max: usize) -> Vec<u8> {
        let is_long = self.random.below(16) < self.habits.long_of_16;
        let bound = if is_long { max + 1 } else { 300.min(max + 1) } as u64;
        let len = if self.random.one_in(32) { max } else { self.random.below(bound) as usize };
        self.record += 1;
        let mut own = Random::new(self.record);
        let mut payload = Vec::with_capacity(len + 8);
        while payload.len() < len {
            payload.extend(own.next().to_le_bytes());
        }
        payload.truncate(len);
        payload
    }

    /// Sets room aside, or appends into it: that always works.
    fn reserve(&mut self) -> Result<(), String> {
        let Some(mut reservation) = self.reservation.take() else {
            let bytes = self.random.below(2 * SEGMENT_BYTES);
            self.reservation = self.log().reserve(bytes).ok();
            return Ok(());
        };
        if reservation.bytes() >= 128 && !self.random.one_in(4) {
            let payload = self.payload(self.log.as_ref().map_or(0, Log::payload_len_max));
            // What a record of the rest takes at the most.
            let room = (reservation.bytes() - Log::reserved_bytes(0) - 8) as usize;
            let payload = payload[..payload.len().min(room)].to_vec();
            let before = self.log().appended();
            match self.log().append_reserved(&mut reservation, &[&payload]) {
                Ok(appended) => {
                    self.note_rotation(before);
                    self.counters.reserved_appends += 1;
                    self.model.submit(appended.lsn, appended.end, payload)?;
                }
                Err(AppendError::Poisoned) if self.log().failure().is_some() => {}
                Err(error) => return Err(format!("reserved room was refused: {error}")),
            }
            self.reservation = Some(reservation);
        } else {
            self.log().free(reservation);
        }
        Ok(())
    }

    fn commit(&mut self) {
        let log = self.log();
        let (before, durable) = (log.appended(), log.durable());
        let published = log.commit();
        if log.appended() > before {
            self.model.mark(published, durable);
        }
    }

    fn mark_idle(&mut self) {
        let log = self.log();
        let durable = log.durable();
        if log.mark_idle() {
            let end = log.appended();
            self.model.mark(end, durable);
            self.counters.idle_marks += 1;
        }
    }

    fn sync(&mut self) -> Result<(), String> {
        let was_poisoned = self.log().failure().is_some();
        let before = self.log().durable();
        let synced = self.log().sync_step();
        if was_poisoned && (synced.is_ok() || self.log().durable() != before) {
            return Err("a log that had failed went on syncing".to_owned());
        }
        self.count_cut(|counters| &mut counters.cuts_inside_syncs);
        Ok(())
    }

    fn prepare(&mut self) {
        let is_wanted = self.log().shortage().is_some();
        if self.is_releasing && self.random.one_in(8) {
            let cut = if self.random.one_in(3) { Cut::Kill } else { Cut::Power };
            self.disk.plan_fault(self.random.below(8), Fault::Cut(cut));
        }
        let is_made = self.log().prepare_step();
        self.counters.failed_preparations += u64::from(is_wanted && !is_made);
        if self.is_releasing {
            self.count_cut(|counters| &mut counters.cuts_inside_releases);
        } else {
            self.count_cut(|counters| &mut counters.cuts_inside_preparations);
        }
        self.is_releasing &= is_made;
    }

    fn housekeeping(&mut self) -> Result<&'static str, String> {
        match self.random.below(6) {
            0 | 1 => self.release().map(|()| "release"),
            2 => {
                self.hold();
                Ok("hold")
            }
            _ => {
                self.snapshot();
                Ok("snapshot")
            }
        }
    }

    /// Releases what lies below some record, or all that can be.
    fn release(&mut self) -> Result<(), String> {
        let up_to = match self.any_held() {
            Some(one) if !self.random.one_in(4) => one.0,
            _ => self.log().appended(),
        };
        let log = self.log();
        let in_use = log.appended().0 / SEGMENT_BYTES;
        let head = Lsn((up_to.0 / SEGMENT_BYTES).min(in_use) * SEGMENT_BYTES);
        let (before, durable) = (log.appended(), log.durable());
        match log.release(up_to) {
            Ok(()) => {
                let end = log.appended();
                if end > before {
                    self.note_rotation(before);
                    self.counters.releases += 1;
                    self.model.release(head);
                    self.model.mark(end, durable);
                }
                Ok(())
            }
            Err(AppendError::Poisoned) if log.failure().is_some() => Ok(()),
            Err(
                AppendError::NoSpace { .. } | AppendError::SegmentNotReady | AppendError::Reserved,
            ) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Keeps a record for later.
    fn hold(&mut self) {
        let Some((lsn, position)) = self.any_held() else { return };
        if let Ok(handle) = self.log().locate(lsn) {
            if self.held.len() == HELD_MAX {
                self.held.remove(0);
            }
            self.held.push((handle, position));
        }
    }

    /// Begins a snapshot, goes on with it or finishes it.
    fn snapshot(&mut self) {
        let Some(mut writer) = self.writer.take() else {
            // The state is written at once, as of now; only its end comes later.
            if let Ok(mut writer) = self.log().snapshot().begin()
                && writer.write(&self.model.state()).is_ok()
            {
                self.writer = Some(writer);
            }
            return self.count_cut(|counters| &mut counters.cuts_inside_snapshots);
        };
        if self.random.one_in(8) && writer.write(&[]).is_ok() {
            self.writer = None;
            return;
        }
        let durable = self.log().durable();
        match writer.finish() {
            Ok(info) => {
                self.counters.snapshots += 1;
                if info.lsn > durable {
                    panic!("a snapshot of {} at durable {durable}", info.lsn);
                }
                self.model.snapshot(info.lsn, durable);
            }
            Err(_) => self.counters.failed_snapshots += 1,
        }
        self.count_cut(|counters| &mut counters.cuts_inside_snapshots);
    }

    /// Position of some record that the log holds, and its number in the model.
    fn any_held(&mut self) -> Option<(Lsn, usize)> {
        let count = self.model.held().len() as u64;
        let at = self.random.below(count.max(1)) as usize;
        let one = self.model.held().get(at)?;
        Some((one.lsn, self.model.submitted.len() - count as usize + at))
    }

    /// Reads some records that the log says it has.
    pub(super) fn check_reads(&mut self) -> Result<(), String> {
        self.check_held()?;
        for _ in 0..3 {
            let Some((lsn, position)) = self.any_held() else { break };
            let log = self.log.as_ref().expect("a log is open");
            let read = log.read(lsn).map_err(|error| error.to_string())?;
            check_bytes(&self.model.submitted[position], &read)?;
            // A walk from anywhere behind the record before comes to this one.
            let from = position
                .checked_sub(1)
                .map_or(0, |before| self.model.submitted[before].end.0.max(self.model.head.0));
            let walked = log.next_record(Lsn(from)).map_err(|error| error.to_string())?;
            match walked {
                Some(walked) if walked.lsn == lsn => {
                    check_bytes(&self.model.submitted[position], &walked.record)?;
                }
                other => return Err(format!("a walk from {from} to {lsn} came to {other:?}")),
            }
        }
        let below = Lsn(self.model.head.0.saturating_sub(8));
        match self.log().read(below) {
            Err(ReadError::OutOfRange { .. }) => Ok(()),
            other => Err(format!("a read below the head at {below} gave {other:?}")),
        }
    }

    /// Whoever holds a record reads it as it was.
    pub(super) fn check_held(&self) -> Result<(), String> {
        for (handle, position) in &self.held {
            let read = handle.load().map_err(|error| error.to_string())?;
            check_bytes(&self.model.submitted[*position], &read)?;
        }
        Ok(())
    }
}

fn check_bytes(expected: &Submitted, read: &[u8]) -> Result<(), String> {
    if read == expected.payload {
        Ok(())
    } else {
        Err(format!("the record at {} reads other than it was written", expected.lsn))
    }
}
