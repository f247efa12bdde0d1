//! Several lives of one log, drawn from one seed: work, an end of some kind, an opening, a check.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::counters::Counters;
use super::model::Model;
use crate::simulation::{Cut, Fault, Random, SimulatedDisk};
use crate::sync::Arc;
use crate::{AppendError, Durability, Log, LogOptions, Lsn, OpenError};

pub(super) const SEGMENT_BYTES: u64 = 64 << 10;
/// Bytes before the first record of a segment.
const HEADER_PAGE_BYTES: u64 = crate::format::HEADER_PAGE_BYTES as u64;
/// Faults that are drawn for the openings of one life, at most; then one has to work.
const OPENING_FAULTS_MAX: u64 = 4;

/// What a run proved, and the hash of all that happened.
pub(super) struct Outcome {
    pub(super) counters: Counters,
    pub(super) trace: u64,
}

/// Runs the lives that `seed` draws. The error says what went wrong.
pub(super) fn run(seed: u64) -> Result<Outcome, String> {
    let mut run = Run::new(seed);
    let result = catch_unwind(AssertUnwindSafe(|| run.lives()));
    match result {
        Ok(Ok(())) => Ok(run.outcome()),
        Ok(Err(what)) => Err(format!("life {}: {what}", run.life)),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
            let text = text.unwrap_or_else(|| "a panic without a text".to_owned());
            Err(format!("life {}: panicked: {text}", run.life))
        }
    }
}

/// What one seed is about.
struct Habits {
    durability: Durability,
    ready_segments: usize,
    record_bytes_max: u32,
    /// Of 16 records that many are long.
    long_of_16: u64,
    /// Of 16 steps that many are a sync, roughly.
    syncs_of_16: u64,
    /// Of 16 steps that many are faults of the disk, roughly.
    faults_of_256: u64,
    steps_max: u64,
    lives: u64,
}

/// The end of a segment file that a bit was flipped in, to undo it.
struct Flip {
    index: u64,
    bit: u64,
}

struct Run {
    random: Random,
    disk: SimulatedDisk,
    habits: Habits,
    model: Model,
    counters: Counters,
    log: Option<Log>,
    life: u64,
    /// Number of the next record.
    record: u64,
    /// Position just past the header page of the segment in use, if that is not known durable.
    rotated_to: Option<Lsn>,
    /// Number of the segment that the last opening began.
    opened_segment: Option<u64>,
    /// The last life was closed, and nothing happened since.
    is_closed: bool,
    flip: Option<Flip>,
    is_unreadable: bool,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let disk = SimulatedDisk::new(random.next());
        disk.set_reserving(!random.one_in(4));
        let durability = match random.below(4) {
            0 => Durability::Os,
            1 => Durability::Interval(std::time::Duration::from_millis(10)),
            _ => Durability::Sync,
        };
        let habits = Habits {
            durability,
            ready_segments: 1 + random.below(2) as usize,
            record_bytes_max: if random.one_in(2) { 16 << 10 } else { 2048 },
            long_of_16: [0, 1, 4, 12][random.below(4) as usize],
            syncs_of_16: [1, 2, 4][random.below(3) as usize],
            faults_of_256: [0, 2, 6][random.below(3) as usize],
            steps_max: [8, 30, 90][random.below(3) as usize],
            lives: 4 + random.below(8),
        };
        Run {
            random,
            disk,
            habits,
            model: Model::default(),
            counters: Counters::default(),
            log: None,
            life: 0,
            record: 0,
            rotated_to: None,
            opened_segment: None,
            is_closed: false,
            flip: None,
            is_unreadable: false,
        }
    }

    fn outcome(mut self) -> Outcome {
        let disk = self.disk.stats();
        self.counters.crash_points = disk.power_cuts + disk.kills;
        self.counters.power_cuts = disk.power_cuts;
        self.counters.kills = disk.kills;
        self.counters.power_cuts_with_loss = disk.power_cuts_with_loss;
        self.counters.cuts_while_wiping = disk.cuts_while_wiping;
        self.counters.failed_syncs = disk.failed_syncs;
        self.counters.evictions = disk.evictions;
        self.counters.refused_for_space = disk.refused_for_space;
        Outcome { counters: self.counters, trace: self.disk.trace_hash() }
    }

    fn lives(&mut self) -> Result<(), String> {
        while self.life < self.habits.lives {
            self.open()?;
            self.check_reads()?;
            self.work()?;
            self.end()?;
            self.life += 1;
        }
        self.open()?;
        self.check_reads()
    }

    /// Opens the log, if need be through more cuts and faults.
    fn open(&mut self) -> Result<(), String> {
        let mut faults = self.random.below(OPENING_FAULTS_MAX);
        let mut is_first = true;
        loop {
            if faults > 0 {
                let fault = match self.random.below(4) {
                    0 => Fault::Error,
                    1 => Fault::Cut(Cut::Kill),
                    _ => Fault::Cut(Cut::Power),
                };
                self.disk.plan_fault(self.random.below(120), fault);
                faults -= 1;
            }
            let was_closed = std::mem::take(&mut self.is_closed) && is_first;
            let clean = self.flip.is_none() && !self.is_unreadable && was_closed;
            if self.open_once()? {
                let report = self.log.as_ref().map(Log::recovery);
                let is_clean = report.is_some_and(|report| report.clean_shutdown);
                self.counters.clean_shutdowns += u64::from(is_clean);
                return if is_clean || !clean {
                    self.disk.clear_plans();
                    Ok(())
                } else {
                    Err("the log was closed, but the opening does not say so".to_owned())
                };
            }
            is_first = false;
            if self.disk.is_down() {
                self.counters.cuts_inside_steps += 1;
                self.counters.cuts_inside_openings += 1;
                self.restart();
            } else {
                self.counters.failed_openings += 1;
                self.disk.set_capacity(u64::MAX);
            }
        }
    }

    /// False: the opening failed, and may be tried again.
    fn open_once(&mut self) -> Result<bool, String> {
        let options = LogOptions::new("simulated")
            .segment_bytes(SEGMENT_BYTES)
            .durability(self.habits.durability)
            .ready_segments(self.habits.ready_segments)
            .record_bytes_max(self.habits.record_bytes_max);
        let mut count = 0;
        let mut violation = None;
        let model = &self.model;
        let opened = options.open_simulated(&self.disk, Arc::new(|| {}), &mut |record| {
            if let Err(what) = model.check(count, &record) {
                violation.get_or_insert(what);
            }
            count += 1;
            Ok(())
        });
        self.disk.observe();
        if let Some(what) = violation {
            return Err(what);
        }
        self.counters.records_checked += count as u64;
        let log = match opened {
            Ok(log) => log,
            Err(OpenError::Io { .. }) => {
                if std::mem::take(&mut self.is_unreadable) {
                    self.counters.unreadable += 1;
                }
                self.disk.heal_sectors();
                return Ok(false);
            }
            Err(OpenError::Corrupt { .. }) if self.flip.is_some() => {
                self.counters.flips_refused += 1;
                self.undo_flip();
                return Ok(false);
            }
            Err(error) => return Err(error.to_string()),
        };
        let (acked, submitted) = (self.model.acked, self.model.submitted.len());
        let is_damaged = self.flip.take().is_some();
        self.model.recovered(count, is_damaged)?;
        self.counters.flips_harmless += u64::from(is_damaged);
        self.is_unreadable = false;
        self.disk.heal_sectors();
        self.counters.lost_unacked += u64::from(count < submitted);
        self.counters.kept_unacked += u64::from(count > acked);
        let report = log.recovery();
        self.counters.torn_tails += u64::from(report.torn_bytes > 0);
        let is_half = report.warnings.iter().any(|warning| warning.contains("header is damaged"));
        self.counters.half_headers += u64::from(is_half && !is_damaged);
        let segment = log.appended().0 / SEGMENT_BYTES;
        self.counters.reused_epochs += u64::from(self.opened_segment == Some(segment));
        self.opened_segment = Some(segment);
        self.rotated_to = None;
        self.log = Some(log);
        Ok(true)
    }

    /// Takes the damage back and lets everything begin anew.
    fn undo_flip(&mut self) {
        if let Some(Flip { index, bit }) = self.flip.take() {
            self.disk.cut(Cut::Power);
            self.disk.flip_bit(index, bit);
            self.disk.restart();
        }
    }

    fn log(&mut self) -> &mut Log {
        self.log.as_mut().expect("a log is open")
    }

    /// Reads some records that the log says it has.
    fn check_reads(&mut self) -> Result<(), String> {
        for _ in 0..3 {
            let count = self.model.submitted.len() as u64;
            if count == 0 {
                break;
            }
            let one = &self.model.submitted[self.random.below(count) as usize];
            let log = self.log.as_ref().expect("a log is open");
            let read = log.read(one.lsn).map_err(|error| error.to_string())?;
            if read[..] != one.payload[..] {
                return Err(format!("the record at {} reads other than it was written", one.lsn));
            }
        }
        Ok(())
    }

    /// Steps of one life. Returns early if it was cut.
    fn work(&mut self) -> Result<(), String> {
        for _ in 0..1 + self.random.below(self.habits.steps_max) {
            self.step()?;
            self.disk.observe();
            self.acknowledge()?;
            if self.disk.is_down() {
                break;
            }
        }
        Ok(())
    }

    fn acknowledge(&mut self) -> Result<(), String> {
        let log = self.log.as_ref().expect("a log is open");
        let durable = log.durable();
        if durable > log.appended() {
            return Err(format!("durable up to {durable}, appended to {}", log.appended()));
        }
        if self.rotated_to.is_some_and(|start| durable >= start) {
            self.rotated_to = None;
        }
        self.model.acknowledge(durable);
        Ok(())
    }

    fn step(&mut self) -> Result<(), String> {
        if self.log().failure().is_some() {
            self.counters.steps_while_poisoned += 1;
        }
        if self.random.below(256) < self.habits.faults_of_256 {
            self.fault();
        }
        if self.random.below(16) < self.habits.syncs_of_16 {
            return self.sync();
        }
        match self.random.below(16) {
            0..=4 => self.append(),
            5..=7 => {
                for _ in 0..self.random.below(6) {
                    self.append()?;
                }
                self.commit();
                Ok(())
            }
            8..=10 => {
                self.commit();
                Ok(())
            }
            11 => {
                self.mark_idle();
                Ok(())
            }
            12 => self.check_reads(),
            _ => {
                self.prepare();
                Ok(())
            }
        }
    }

    /// Something that will go wrong.
    fn fault(&mut self) {
        match self.random.below(6) {
            0 => self.disk.plan_failing_sync(self.random.below(3)),
            1 => self.disk.plan_fault(self.random.below(40), Fault::Error),
            2 => self.disk.plan_fault(self.random.below(40), Fault::Cut(Cut::Power)),
            3 => self.disk.plan_fault(self.random.below(40), Fault::Cut(Cut::Kill)),
            4 => {
                let spare = self.random.below(2 * SEGMENT_BYTES);
                self.disk.set_capacity(self.disk.used_bytes() + spare);
            }
            _ => self.disk.set_capacity(u64::MAX),
        }
    }

    fn append(&mut self) -> Result<(), String> {
        let payload = self.payload();
        let split = self.random.below(payload.len() as u64 + 1) as usize;
        let (first, second) = payload.split_at(split);
        let segment = self.log().appended().0 / SEGMENT_BYTES;
        match self.log().append(&[first, second]) {
            Ok(appended) => {
                let started = appended.lsn.0 / SEGMENT_BYTES;
                if started > segment {
                    self.rotated_to = Some(Lsn(started * SEGMENT_BYTES + HEADER_PAGE_BYTES));
                }
                return self.model.submit(appended.lsn, appended.end, payload);
            }
            Err(AppendError::NoSpace { .. }) => self.counters.appends_without_space += 1,
            Err(AppendError::SegmentNotReady) => self.counters.appends_without_segment += 1,
            Err(AppendError::Poisoned) if self.log().failure().is_some() => return Ok(()),
            Err(error) => return Err(error.to_string()),
        }
        self.prepare();
        Ok(())
    }

    /// A payload that no other record has, of any length that fits.
    fn payload(&mut self) -> Vec<u8> {
        let max = self.log().payload_len_max() as u64;
        let is_long = self.random.below(16) < self.habits.long_of_16;
        let bound = if is_long { max + 1 } else { 300 };
        let len = if self.random.one_in(32) { max } else { self.random.below(bound) } as usize;
        self.record += 1;
        let mut own = Random::new(self.record);
        let mut payload = Vec::with_capacity(len + 8);
        while payload.len() < len {
            payload.extend(own.next().to_le_bytes());
        }
        payload.truncate(len);
        payload
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
        let is_made = self.log().prepare_step();
        self.counters.failed_preparations += u64::from(is_wanted && !is_made);
        self.count_cut(|counters| &mut counters.cuts_inside_preparations);
    }

    fn count_cut(&mut self, counter: impl FnOnce(&mut Counters) -> &mut u64) {
        if self.disk.is_down() {
            self.counters.cuts_inside_steps += 1;
            *counter(&mut self.counters) += 1;
        }
    }

    /// The end of a life: a cut, a closing, or both.
    fn end(&mut self) -> Result<(), String> {
        if !self.disk.is_down() && self.random.one_in(5) {
            self.close()?;
        }
        let is_ended = self.log.is_none() && !self.disk.is_down();
        // What was closed, or given up, may be opened again by the same process.
        if !self.disk.is_down() && self.random.one_in(if is_ended { 2 } else { 12 }) {
            self.disk.clear_plans();
            self.log = None;
            return Ok(());
        }
        let was_open = self.log.is_some();
        self.counters.cuts_after_rotation += u64::from(was_open && self.rotated_to.is_some());
        let may_flip = was_open && !self.disk.is_down();
        let cut = if self.random.one_in(4) { Cut::Kill } else { Cut::Power };
        self.disk.cut(cut);
        self.log = None;
        if may_flip && cut == Cut::Power && self.random.one_in(4) {
            self.flip();
        }
        self.restart();
        Ok(())
    }

    fn close(&mut self) -> Result<(), String> {
        let Some(log) = self.log.take() else { return Ok(()) };
        let was_poisoned = log.failure().is_some();
        let appended = log.appended();
        let closed = log.close();
        self.disk.observe();
        if closed.is_ok() {
            if was_poisoned {
                return Err("a log that had failed was closed as if it had not".to_owned());
            }
            self.model.acknowledge(appended);
            self.is_closed = true;
        }
        self.count_cut(|counters| &mut counters.cuts_inside_closings);
        Ok(())
    }

    fn restart(&mut self) {
        self.disk.restart();
        self.disk.set_capacity(u64::MAX);
        for (index, len) in self.disk.segments() {
            self.counters.unfinished_files += u64::from(len < SEGMENT_BYTES);
            let page = self.disk.segment_bytes(index, 0..HEADER_PAGE_BYTES);
            let records = self.disk.segment_bytes(index, HEADER_PAGE_BYTES..SEGMENT_BYTES);
            let is_lost = is_zero(&page) && !is_zero(&records);
            self.counters.lost_headers += u64::from(is_lost);
        }
        let segments = self.disk.segments();
        if self.flip.is_none() && self.random.one_in(16) && !segments.is_empty() {
            let (index, len) = segments[self.random.below(segments.len() as u64) as usize];
            self.is_unreadable = self.disk.break_sector(index, self.random.below(len.max(1)));
        }
    }

    /// Flips a bit, most often where a mark says that all had been durable.
    fn flip(&mut self) {
        let end = self.model.submitted.last().map_or(0, |last| last.end.0);
        let below_mark = self.model.marked.0 > 0 && self.random.below(4) != 0;
        let bound = if below_mark { self.model.marked.0 } else { end + SEGMENT_BYTES / 2 };
        // The latest bytes are those whose marks are fewest.
        let back = if self.random.one_in(2) { 4096 } else { bound };
        let lsn = bound - 1 - self.random.below(back.min(bound));
        let (index, byte) = (lsn / SEGMENT_BYTES, lsn % SEGMENT_BYTES);
        let bit = byte * 8 + self.random.below(8);
        if self.disk.flip_bit(index, bit) {
            self.flip = Some(Flip { index, bit });
            self.counters.flips += 1;
            self.counters.flips_below_mark += u64::from(lsn < self.model.marked.0);
        }
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().fold(0, |all, &byte| all | byte) == 0
}
