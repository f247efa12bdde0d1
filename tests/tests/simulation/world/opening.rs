//! A shard's log is opened again, also while its disk fails, and its scheduler goes on from what came
//! back.

use std::sync::Arc;

use tickwheel_core::{Config, Lsn, Now, Outputs, Restore, Scheduler, ShardId, Tell};
use tickwheel_wal::{
    Durability, Log, LogOptions, OpenError, Record, Recover, ReplayError, SnapshotReader,
    simulation::{Cut, Fault},
};

use super::{Place, SEGMENT_BYTES, World};
use crate::{
    Verdict,
    journal::Journal,
    model::{Cause, Model, Serves},
    permits::Hall,
    shard::{self, Shard},
};

const RECORD_BYTES_MAX: u32 = 8 << 10;
/// Faults that are drawn for the openings of one life, at most; then one has to work.
const OPENING_FAULTS_MAX: u64 = 3;

impl World {
    pub(super) fn open(&mut self) -> Verdict {
        // The process is another, and so is what its shards share.
        self.hall = Hall::default();
        for place in 0..self.places.len() {
            self.open_one(place)?;
        }
        // Before anything begins, all of them have said what is under way.
        (0..self.places.len()).try_for_each(|place| self.begin(place))
    }

    pub(super) fn open_one(&mut self, place: usize) -> Verdict {
        let mut faults = self.random.within(0..OPENING_FAULTS_MAX + 1);
        if self.habits.faults_of_256 == 0 {
            faults = 0;
        }
        while !self.open_once(place, faults > 0)? {
            faults = faults.saturating_sub(1);
        }
        Ok(())
    }

    /// The first pass of a shard.
    pub(super) fn begin(&mut self, place: usize) -> Verdict {
        let now = self.clocks.now();
        self.note_others(place);
        let Place { model, workers, remotes, shard, .. } = &mut self.places[place];
        let Some(shard) = shard else { return Ok(()) };
        let random = &mut self.random;
        shard.pass(now, &mut shard::World { model, workers, remotes, random })?;
        self.compare(place)
    }

    /// False: the opening failed, and is to be tried again.
    fn open_once(&mut self, place: usize, is_faulty: bool) -> Verdict<bool> {
        let now = self.clocks.now();
        let random = &mut self.random;
        let settings = self.habits.settings;
        let Place { disk, model, .. } = &mut self.places[place];
        let failed_syncs = disk.stats().failed_syncs;
        if is_faulty {
            let fault = match random.within(0..4) {
                0 => Fault::Error,
                1 => Fault::Cut(Cut::Kill),
                _ => Fault::Cut(Cut::Power),
            };
            disk.plan_fault(random.within(0..150), fault);
        }
        let config = Config {
            running_max: settings.running_max,
            jobs_max: settings.jobs_max,
            dead: settings.dead,
            low_water_bytes: SEGMENT_BYTES / 4,
            low_water_full_bytes: SEGMENT_BYTES + SEGMENT_BYTES / 2,
            notices: true,
            serves_queues: settings.serves == Serves::All,
            ..Config::new(ShardId(place as u8))
        };
        let mut core = Scheduler::new(config, now);
        core.tell(Tell::default(), []);
        let mut recovering =
            Recovering { config, now, core, model, end: 0, snapshot: None, wrong: None };
        let opened = LogOptions::new("simulated")
            .shard(place as u16)
            .segment_bytes(SEGMENT_BYTES)
            .record_bytes_max(RECORD_BYTES_MAX)
            .ready_segments(settings.ready_segments)
            .durability(settings.durability)
            .open_state_simulated(disk, Arc::new(|| {}), &mut recovering);
        let Recovering { core, end, snapshot, wrong, .. } = recovering;
        if let Some(wrong) = wrong {
            return Err(wrong);
        }
        disk.observe();
        let log = match opened {
            Ok(log) if !disk.is_down() => log,
            Ok(_) | Err(OpenError::Io { .. }) => {
                let Place { disk, left, .. } = &mut self.places[place];
                self.counters.failed_openings += 1;
                // It may have been a power cut. And what a failed sync has not written may be dropped from
                // memory any time: what was not durable may be gone now.
                let may_lose = disk.is_down() || disk.stats().failed_syncs > failed_syncs;
                if let Some(left) = left
                    && may_lose
                {
                    left.safe = 0;
                    left.may_break_promises |= settings.durability != Durability::Sync;
                }
                if disk.is_down() {
                    self.counters.cuts_inside_openings += 1;
                    disk.restart();
                } else {
                    disk.set_capacity(u64::MAX);
                }
                return Ok(false);
            }
            Err(error) => return Err(format!("the log cannot be opened: {error}")),
        };
        disk.clear_plans();
        self.go_on(place, now, core, log, (snapshot, end))?;
        let counters = &mut self.counters;
        counters.snapshots_loaded += u64::from(snapshot.is_some());
        counters.replays_without_a_snapshot += u64::from(snapshot.is_none() && end > 0);
        Ok(true)
    }

    /// The log is open: the model forgets what was lost, and the scheduler goes on.
    fn go_on(
        &mut self,
        place: usize,
        now: Now,
        mut core: Scheduler,
        log: Log,
        (snapshot, end): (Option<u64>, u64),
    ) -> Verdict {
        let settings = self.habits.settings;
        let shards = self.places.len();
        let Place { disk, model, shard, failed_syncs, left, .. } = &mut self.places[place];
        if let Some(left) = left.take() {
            model.recover(end, left, now)?;
        }
        model.hear_again(core.take_facts(), snapshot, end)?;
        core.replayed().map_err(|error| error.to_string())?;
        if settings.serves == Serves::Default {
            core.serve("default", true);
        }
        if let Some(bug) = self.bug {
            core.plant(bug);
        }
        if self.is_told {
            let (recovery, counts) = (log.recovery(), core.counts());
            println!("shard {place} is open up to {end}: {recovery:?}, {counts:?}");
        }
        if shards > 1 {
            core.share(self.hall.of_shard(place));
        }
        let epoch = log.recovery().epoch;
        let mut journal = Journal { log, written: Vec::new() };
        let mut out = Outputs::default();
        let lost = core.recovered(now, epoch, &mut journal, &mut out);
        if self.is_told {
            println!("{lost} attempts are lost, {} go on", core.running());
        }
        model.hear(core.take_facts())?;
        for written in std::mem::take(&mut journal.written) {
            model.take(Cause::Recovery, now, written)?;
        }
        *shard = Some(Shard::new(core, journal, settings, disk.clone()));
        *failed_syncs = disk.stats().failed_syncs;
        Ok(())
    }
}

/// Builds the scheduler's state from a snapshot and the log's records, as the engine does.
struct Recovering<'m> {
    config: Config,
    now: Now,
    core: Scheduler,
    model: &'m Model,
    /// End of the last event that came back.
    end: u64,
    /// Position of the snapshot that it began with.
    snapshot: Option<u64>,
    wrong: Option<String>,
}

impl Recover for Recovering<'_> {
    fn restore(&mut self, snapshot: &mut SnapshotReader) -> Result<(), ReplayError> {
        let mut restore = Restore::new(self.config, self.now).ends_at(Lsn(snapshot.lsn().0));
        while let Some(block) = snapshot.next_block()? {
            restore.feed(block).inspect_err(|error| {
                self.wrong = Some(format!("a snapshot was refused: {error}"));
            })?;
        }
        let mut core = restore.finish().inspect_err(|error| {
            self.wrong = Some(format!("a snapshot was refused: {error}"));
        })?;
        core.tell_like(&mut self.core);
        self.core = core;
        self.end = snapshot.lsn().0;
        self.snapshot = Some(self.end);
        Ok(())
    }

    fn replay(&mut self, record: Record<'_>) -> Result<(), ReplayError> {
        let lsn = record.lsn.0;
        if !self.model.holds(lsn, record.payload) {
            self.wrong = Some(format!("the record at {lsn} was never written so"));
        }
        self.end = lsn + Log::record_bytes(record.payload.len());
        self.core.replay(Lsn(lsn), record.payload).map_err(|error| {
            self.wrong = Some(format!("an event cannot be replayed: {error}"));
            error.into()
        })
    }
}
