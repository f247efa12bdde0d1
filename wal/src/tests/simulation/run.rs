//! Several lives of one log, drawn from one seed: an opening, a check, work, an end of some kind.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::counters::Counters;
use super::model::{Found, Model, Replayed};
use crate::simulation::{Cut, Fault, FileName, Random, SimulatedDisk};
use crate::sync::Arc;
use crate::{
    Durability, Log, LogOptions, Lsn, OpenError, ReadError, RecordHandle, Reservation,
    SnapshotWriter,
};

pub(super) const SEGMENT_BYTES: u64 = 64 << 10;
/// Bytes before the first record of a segment.
pub(super) const HEADER_PAGE_BYTES: u64 = crate::format::HEADER_PAGE_BYTES as u64;
/// Faults that are drawn for the openings of one life, at most; then one has to work.
const OPENING_FAULTS_MAX: u64 = 4;

/// What a run proved, and the hash of all that happened.
pub(super) struct Outcome {
    pub(super) counters: Counters,
    pub(super) trace: u64,
}

/// A promise that the log did not keep.
#[derive(Debug)]
pub(super) struct Violation {
    pub(super) what: String,
    /// Crash points of the run until then.
    pub(super) crash_points: u64,
}

/// Runs the lives that `seed` draws, and prints each step if `is_told`.
pub(super) fn run(seed: u64, is_told: bool) -> Result<Outcome, Violation> {
    let mut run = Run::new(seed, is_told);
    let what = match catch_unwind(AssertUnwindSafe(|| run.lives())) {
        Ok(Ok(())) => return Ok(run.outcome()),
        Ok(Err(what)) => what,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
            format!("panicked: {}", text.unwrap_or_default())
        }
    };
    let stats = run.disk.stats();
    let crash_points = stats.power_cuts + stats.kills;
    Err(Violation { what: format!("life {}: {what}", run.life), crash_points })
}

/// What one seed is about.
pub(super) struct Habits {
    durability: Durability,
    ready_segments: usize,
    record_bytes_max: u32,
    /// Of 16 records that many are long.
    pub(super) long_of_16: u64,
    /// Of 16 steps that many are syncs, roughly.
    pub(super) syncs_of_16: u64,
    /// Of 256 steps that many come with a fault of the disk.
    pub(super) faults_of_256: u64,
    /// Of 16 steps that many are about releases and snapshots, roughly.
    pub(super) housekeeping_of_16: u64,
    steps_max: u64,
    lives: u64,
}

/// One log with its disk, its model and what is going on.
pub(super) struct Run {
    pub(super) random: Random,
    pub(super) disk: SimulatedDisk,
    pub(super) habits: Habits,
    pub(super) model: Model,
    pub(super) counters: Counters,
    pub(super) log: Option<Log>,
    life: u64,
    /// Number of the next record.
    pub(super) record: u64,
    /// Position just past the header page of the segment in use, if that is not known durable.
    pub(super) rotated_to: Option<Lsn>,
    /// The head has risen, and the preparer may still have to put segments away.
    pub(super) is_releasing: bool,
    /// A snapshot in the making.
    pub(super) writer: Option<SnapshotWriter>,
    /// Records that somebody still reads: where they are in the model.
    pub(super) held: Vec<(RecordHandle, usize)>,
    pub(super) reservation: Option<Reservation>,
    /// Number of the segment that the last opening began.
    opened_segment: Option<u64>,
    /// Epoch of the last opening that worked.
    epoch: u64,
    /// The last life was closed, and nothing happened since.
    is_closed: bool,
    is_flipped: bool,
    /// Position of the last flip in a segment.
    flipped_at: u64,
    is_unreadable: bool,
    /// Each step is printed.
    is_told: bool,
}

impl Run {
    fn new(seed: u64, is_told: bool) -> Self {
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
            faults_of_256: [0, 2, 8][random.below(3) as usize],
            housekeeping_of_16: [0, 2, 5][random.below(3) as usize],
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
            is_releasing: false,
            writer: None,
            held: Vec::new(),
            reservation: None,
            opened_segment: None,
            epoch: 0,
            is_closed: false,
            is_flipped: false,
            flipped_at: 0,
            is_unreadable: false,
            is_told,
        }
    }

    fn outcome(mut self) -> Outcome {
        let disk = self.disk.stats();
        self.counters.crash_points = disk.power_cuts + disk.kills;
        self.counters.power_cuts = disk.power_cuts;
        self.counters.kills = disk.kills;
        self.counters.power_cuts_with_loss = disk.power_cuts_with_loss;
        self.counters.power_cuts_with_names = disk.power_cuts_with_names;
        self.counters.cuts_while_wiping = disk.cuts_while_wiping;
        self.counters.failed_syncs = disk.failed_syncs;
        self.counters.evictions = disk.evictions;
        self.counters.refused_for_space = disk.refused_for_space;
        self.counters.recycled_segments = disk.renamed_segments;
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
            let must_be_clean = was_closed && !self.is_flipped;
            if self.open_once()? {
                let is_clean = self.log().recovery().clean_shutdown;
                self.counters.clean_shutdowns += u64::from(is_clean);
                self.disk.clear_plans();
                return if is_clean || !must_be_clean {
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
        let takes_snapshots = self.random.one_in(2);
        let snapshots = self.snapshots();
        let failed_operations = self.disk.stats().failed_operations;
        let mut replayed = Replayed::new(&self.model);
        let notify = Arc::new(|| {});
        let opened = if takes_snapshots {
            options.open_state_simulated(&self.disk, notify, &mut replayed)
        } else {
            options.open_simulated(&self.disk, notify, &mut |record| {
                replayed.take(&record);
                Ok(())
            })
        };
        self.disk.observe();
        let violation = replayed.violation();
        let Replayed { start, count: replayed_count, snapshot, .. } = replayed;
        if self.is_told {
            let error = opened.as_ref().err();
            println!("opening: {replayed_count} records, {snapshots:?}, {error:?}");
        }
        if let Some(what) = violation {
            return Err(what);
        }
        if self.disk.stats().failed_operations > failed_operations {
            // It may have been the one that reads the snapshot, which is passed over then.
            self.model.forget_snapshot();
        }
        self.counters.records_checked += replayed_count as u64;
        let log = match opened {
            Ok(log) => log,
            Err(OpenError::Io { .. }) => {
                self.counters.unreadable += u64::from(std::mem::take(&mut self.is_unreadable));
                if !self.disk.is_down() && !self.is_flipped {
                    self.disk.heal();
                }
                return Ok(false);
            }
            Err(OpenError::Corrupt { .. }) if self.is_flipped => {
                self.counters.flips_refused += 1;
                self.mend();
                return Ok(false);
            }
            Err(error) => return Err(error.to_string()),
        };
        let report = log.recovery();
        let (acked, submitted) = (self.model.acked, self.model.submitted.len());
        let is_damaged = std::mem::take(&mut self.is_flipped);
        self.is_unreadable = false;
        let head = report.head;
        let epoch_before = std::mem::replace(&mut self.epoch, report.epoch);
        if report.epoch <= epoch_before {
            return Err(format!("epoch {} came after epoch {epoch_before}", report.epoch));
        }
        let found =
            Found { start, count: replayed_count, snapshot, head, takes_snapshots, is_damaged };
        let count = self.model.recovered(found)?;
        if !is_damaged {
            self.disk.heal();
        }
        let counters = &mut self.counters;
        counters.flips_harmless += u64::from(is_damaged);
        counters.lost_unacked += u64::from(count < submitted);
        counters.kept_unacked += u64::from(count > acked);
        counters.snapshots_used += u64::from(snapshot.is_some());
        counters.snapshots_below_head += u64::from(snapshot.is_some_and(|lsn| lsn < head));
        counters.torn_tails += u64::from(report.torn_bytes > 0);
        let is_half =
            report.warnings.iter().any(|warning| warning.contains("header is damaged or"));
        counters.half_headers += u64::from(is_half && !is_damaged);
        let segment = log.appended().0 / SEGMENT_BYTES;
        counters.reused_epochs += u64::from(self.opened_segment == Some(segment));
        self.opened_segment = Some(segment);
        self.rotated_to = None;
        self.is_releasing = false;
        self.log = Some(log);
        let end = self.model.submitted.last().map_or(0, |last| last.end.0);
        if is_damaged && self.flipped_at >= end {
            // What was dropped because of it must not come back.
            self.disk.keep_flips();
        }
        // Segments before a snapshot were not read: what is damaged there shows in reads alone.
        if is_damaged && (snapshot.is_some() || self.random.one_in(2)) {
            let checked = self.check_all_reads();
            self.log = None;
            self.mend();
            checked?;
            return Ok(false);
        }
        Ok(true)
    }

    /// Takes the damage back and lets everything begin anew.
    fn mend(&mut self) {
        self.is_flipped = false;
        self.disk.cut(Cut::Power);
        self.disk.heal();
        self.disk.restart();
    }

    /// Prints what was just done and where the log stands.
    pub(super) fn tell(&self, what: &str) {
        if self.is_told {
            let state = self.log.as_ref().map(|log| (log.head(), log.durable(), log.appended()));
            let (life, down) = (self.life, self.disk.is_down());
            println!("life {life}: {what}; head, durable, appended {state:?}; down {down}");
        }
    }

    pub(super) fn log(&mut self) -> &mut Log {
        self.log.as_mut().expect("a log is open")
    }

    /// Reads all records of a log with damage: right bytes, or an error.
    fn check_all_reads(&mut self) -> Result<(), String> {
        let log = self.log.as_ref().expect("a log is open");
        for one in self.model.held() {
            match log.read(one.lsn) {
                Ok(read) if read[..] == one.payload[..] => {}
                Err(ReadError::Corrupt { .. }) => {}
                Ok(_) => return Err(format!("the record at {} has wrong bytes", one.lsn)),
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(())
    }

    /// Steps of one life. Returns early if it was cut.
    fn work(&mut self) -> Result<(), String> {
        for _ in 0..1 + self.random.below(self.habits.steps_max) {
            let what = self.step()?;
            self.tell(what);
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
        let (durable, head) = (log.durable(), log.head());
        if durable > log.appended() {
            return Err(format!("durable up to {durable}, appended to {}", log.appended()));
        }
        if self.rotated_to.is_some_and(|start| durable >= start) {
            self.rotated_to = None;
        }
        if head > self.model.head {
            self.counters.risen_heads += 1;
            self.is_releasing = true;
        }
        self.model.acknowledge(durable, head)
    }

    /// The end of a life: a cut, a closing, or both.
    fn end(&mut self) -> Result<(), String> {
        if !self.disk.is_down() && self.random.one_in(5) {
            self.close()?;
        }
        // What was closed, or given up, may be opened again by the same process.
        let rarely = if self.log.is_none() { 2 } else { 12 };
        if !self.disk.is_down() && self.random.one_in(rarely) {
            self.disk.clear_plans();
            self.drop_log()?;
            return Ok(());
        }
        let was_open = self.log.is_some();
        self.counters.cuts_after_rotation += u64::from(was_open && self.rotated_to.is_some());
        let may_flip = was_open && !self.disk.is_down();
        let cut = if self.random.one_in(4) { Cut::Kill } else { Cut::Power };
        self.disk.cut(cut);
        self.drop_log()?;
        if may_flip && cut == Cut::Power && self.random.one_in(4) {
            self.flip();
        }
        self.restart();
        Ok(())
    }

    fn drop_log(&mut self) -> Result<(), String> {
        self.writer = None;
        self.reservation = None;
        self.log = None;
        // Whoever holds a record keeps it, whatever has become of the log.
        self.check_held()?;
        self.held.clear();
        Ok(())
    }

    fn close(&mut self) -> Result<(), String> {
        self.writer = None;
        let Some(log) = self.log.take() else { return Ok(()) };
        if self.random.one_in(4) {
            self.disk.plan_fault(self.random.below(3), Fault::Cut(Cut::Power));
        }
        let was_poisoned = log.failure().is_some();
        let appended = log.appended();
        let closed = log.close();
        self.disk.observe();
        if closed.is_ok() {
            if was_poisoned {
                return Err("a log that had failed was closed as if it had not".to_owned());
            }
            let head = self.model.head;
            self.model.acknowledge(appended, head)?;
            self.is_closed = true;
        }
        self.count_cut(|counters| &mut counters.cuts_inside_closings);
        Ok(())
    }

    /// Counts a cut in the middle of a step.
    pub(super) fn count_cut(&mut self, counter: impl FnOnce(&mut Counters) -> &mut u64) {
        if self.disk.is_down() {
            self.counters.cuts_inside_steps += 1;
            *counter(&mut self.counters) += 1;
        }
    }

    fn restart(&mut self) {
        self.disk.restart();
        self.disk.set_capacity(u64::MAX);
        self.tell("restart");
        if self.is_told {
            println!("{:?}", self.disk.files());
        }
        let files = self.disk.files();
        for &(name, len) in &files {
            match name {
                FileName::Segment(_) => {
                    self.counters.unfinished_files += u64::from(len < SEGMENT_BYTES);
                    let page = self.disk.file_bytes(name, 0..HEADER_PAGE_BYTES);
                    let records = self.disk.file_bytes(name, HEADER_PAGE_BYTES..SEGMENT_BYTES);
                    let is_lost = is_zero(&page) && !is_zero(&records);
                    self.counters.lost_headers += u64::from(is_lost);
                }
                FileName::Draft(_) => self.counters.drafts += 1,
                FileName::Snapshot(_) => self.counters.snapshots_survived += 1,
            }
        }
        if !self.is_flipped && self.random.one_in(16) && !files.is_empty() {
            let (name, len) = files[self.random.below(files.len() as u64) as usize];
            self.is_unreadable = self.disk.break_sector(name, self.random.below(len.max(1)));
            self.model.forget_snapshot();
        }
    }

    /// Positions of the snapshots, in order.
    fn snapshots(&self) -> Vec<u64> {
        let snapshot = |(name, _)| match name {
            FileName::Snapshot(lsn) => Some(lsn),
            FileName::Draft(_) | FileName::Segment(_) => None,
        };
        self.disk.files().into_iter().filter_map(snapshot).collect()
    }

    /// Flips a bit, most often where a mark says that all had been durable.
    fn flip(&mut self) {
        self.model.forget_snapshot();
        let snapshots = self.snapshots();
        if let Some(&lsn) = snapshots.last()
            && self.random.one_in(4)
        {
            let name = FileName::Snapshot(lsn);
            self.is_flipped = self.disk.flip_bit(name, self.random.below(8 * 256));
            self.counters.flips_in_snapshots += u64::from(self.is_flipped);
            return;
        }
        let (head, marked) = (self.model.head.0, self.model.marked.0);
        let end = self.model.submitted.last().map_or(0, |last| last.end.0);
        let below_mark = marked > head && self.random.below(4) != 0;
        let bound = if below_mark { marked } else { end.max(head) + SEGMENT_BYTES / 2 };
        // The latest bytes are those whose marks are fewest.
        let back = if self.random.one_in(2) { 4096 } else { bound - head };
        let lsn = bound - 1 - self.random.below(back.min(bound - head));
        let (index, byte) = (lsn / SEGMENT_BYTES, lsn % SEGMENT_BYTES);
        let bit = byte * 8 + self.random.below(8);
        self.is_flipped = self.disk.flip_bit(FileName::Segment(index), bit);
        self.flipped_at = lsn;
        self.counters.flips += u64::from(self.is_flipped);
        self.counters.flips_below_mark += u64::from(self.is_flipped && lsn < marked);
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().fold(0, |all, &byte| all | byte) == 0
}
