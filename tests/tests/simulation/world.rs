//! One world: shards on simulated disks, their executors and callers, one pair of clocks. First
//! everything goes wrong that its seed draws, then all is healed, the work is drained, and there is
//! a last crash.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use tickwheel_core::{Config, Lsn, Now, Outputs, Restore, Scheduler, ShardId, planted::Bug};
use tickwheel_tests::random::Random;
use tickwheel_wal::{
    Durability, Log, LogOptions, OpenError, Record, Recover, ReplayError, SnapshotReader,
    simulation::{Cut, Fault, SimulatedDisk},
};

use crate::{
    Verdict,
    clients::{Clients, Command},
    clock::{Clocks, HOUR, MS, SECOND, Shape},
    counters::Counters,
    journal::Journal,
    model::{Cause, Left, Model, ensure},
    shard::{self, Settings, Shard},
    workers::Workers,
};

const SEGMENT_BYTES: u64 = 64 << 10;
const RECORD_BYTES_MAX: u32 = 8 << 10;
/// Faults that are drawn for the openings of one life, at most; then one has to work.
const OPENING_FAULTS_MAX: u64 = 3;
/// Rounds until what is due must have begun, and until nothing is left.
const HEALING_ROUNDS_MAX: u64 = 3000;
const DRAINING_ROUNDS_MAX: u64 = 20_000;

/// What a run proved, and what stands for all that happened.
pub(crate) struct Outcome {
    pub(crate) counters: Counters,
    pub(crate) trace: u64,
}

/// A shard's place: what outlives its process.
struct Place {
    disk: SimulatedDisk,
    model: Model,
    workers: Workers,
    shard: Option<Shard>,
    /// Failed syncs of the disk when this life began.
    failed_syncs: u64,
    /// How the next life finds the log; `None` before the first.
    left: Option<Left>,
}

/// What one seed is about.
struct Habits {
    settings: Settings,
    steps: u64,
    /// Of 256 steps that many come with a fault of a disk.
    faults_of_256: u64,
    /// Of 256 steps that many end the process.
    crashes_of_256: u64,
    /// Of 256 steps that many move a clock.
    clock_of_256: u64,
    /// Of 16 steps that many are about callers.
    calls_of_16: u64,
    /// Of 16 steps that many are about schedules, when they are about callers.
    schedules_of_16: u64,
}

struct World {
    random: Random,
    clocks: Clocks,
    clients: Clients,
    habits: Habits,
    places: Vec<Place>,
    bug: Option<Bug>,
    counters: Counters,
    is_told: bool,
    step: u64,
}

/// Runs the world of `seed`, with a planted bug if one is given, and prints each step if `is_told`.
pub(crate) fn run(seed: u64, bug: Option<Bug>, is_told: bool) -> Verdict<Outcome> {
    let mut world = World::new(seed, bug, is_told);
    let what = match catch_unwind(AssertUnwindSafe(|| world.run())) {
        Ok(Ok(())) => return Ok(world.outcome()),
        Ok(Err(what)) => what,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
            format!("panicked: {}", text.unwrap_or_default())
        }
    };
    Err(format!("step {}: {what}", world.step))
}

impl World {
    fn new(seed: u64, bug: Option<Bug>, is_told: bool) -> Self {
        let mut random = Random::new(seed);
        let clocks = Clocks::draw(&mut random);
        let mut of = |choices: &[u64]| choices[random.within(0..choices.len() as u64) as usize];
        // Cleaning leaves room for what runs, so many attempts need many segments.
        let (ready_segments, running_max) = match of(&[0, 1, 2, 3, 4]) {
            0 => (2, 1),
            1 => (2, 2),
            2 => (2, 24),
            3 => (4, 8),
            _ => (4, 100),
        };
        let settings = Settings {
            durability: match of(&[0, 1, 2, 2, 2, 2]) {
                0 => Durability::Os,
                1 => Durability::Interval(Duration::from_millis(10)),
                _ => Durability::Sync,
            },
            ready_segments,
            running_max,
            jobs_max: of(&[12, 60, 1000, 1000]) as u32,
            queue_max: of(&[1, 4, 128]) as usize,
            commands_max: of(&[1, 8, 64]) as usize,
            clean_max: of(&[2, 8, 30]),
            snapshot_bytes: of(&[20_000, 100_000, 200_000, u64::MAX]),
        };
        let habits = Habits {
            settings,
            steps: of(&[60, 200, 400]),
            faults_of_256: of(&[0, 2, 8]),
            crashes_of_256: of(&[0, 1, 4]),
            clock_of_256: of(&[1, 6]),
            calls_of_16: of(&[3, 6, 10]),
            schedules_of_16: of(&[0, 2, 6]),
        };
        let (shards, hands) = (of(&[1, 1, 2, 3]), of(&[1, 2, 4]));
        let places = (0..shards).map(|_| Place {
            disk: SimulatedDisk::new(random.draw()),
            model: Model::new(settings.running_max),
            workers: Workers::new(hands),
            shard: None,
            failed_syncs: 0,
            left: None,
        });
        let places = places.collect();
        let clients = Clients::new(&mut random);
        let counters = Counters { worlds: 1, ..Counters::default() };
        Self { random, clocks, clients, habits, places, bug, counters, is_told, step: 0 }
    }

    fn outcome(mut self) -> Outcome {
        let mut trace = 0_u64;
        for place in &self.places {
            self.counters.add(&place.model.counters);
            let disk = place.disk.stats();
            self.counters.failed_syncs += disk.failed_syncs;
            trace = trace.rotate_left(7) ^ place.model.trace ^ place.disk.trace_hash();
        }
        Outcome { counters: self.counters, trace }
    }

    fn run(&mut self) -> Verdict {
        self.open()?;
        for _ in 0..self.habits.steps {
            self.step += 1;
            self.act()?;
            if self.places.iter().any(|place| place.disk.is_down()) {
                self.counters.cuts_inside_steps += 1;
                self.crash(None)?;
            }
        }
        self.heal()?;
        self.drain()?;
        self.crash(Some(Cut::Power))?;
        for place in &mut self.places {
            ensure(place.model.pending() == 0, || {
                "a job came back after the last crash".to_owned()
            })?;
        }
        Ok(())
    }

    fn tell(&self, what: &str) {
        if self.is_told {
            let now = self.clocks.now();
            println!(
                "step {}: {what} at {} s, {} s",
                self.step,
                secs(now.mono.0),
                secs(now.wall.0)
            );
        }
    }

    /// One step while everything may go wrong.
    fn act(&mut self) -> Verdict {
        let habits = &self.habits;
        let (faults, crashes) = (habits.faults_of_256, habits.crashes_of_256);
        let (clock, calls) = (habits.clock_of_256, habits.calls_of_16);
        if self.random.within(0..256) < faults {
            self.fault();
        }
        if self.random.within(0..256) < clock {
            self.disturb_clock();
        }
        if self.random.within(0..256) < crashes {
            return match self.random.within(0..8) {
                0 => self.end_cleanly(),
                1 | 2 => self.crash(Some(Cut::Kill)),
                _ => self.crash(Some(Cut::Power)),
            };
        }
        let is_failed = |place: &Place| place.shard.as_ref().is_some_and(Shard::is_failed);
        if self.places.iter().any(is_failed) && self.random.within(0..8) == 0 {
            // The program that meets the failure ends, and is started again.
            return self.crash(Some(Cut::Kill));
        }
        if self.random.within(0..16) < calls {
            self.call();
        }
        match self.random.within(0..16) {
            0..=1 => self.wait(),
            2..=4 => self.jump(),
            5..=6 => self.sync(),
            7..=8 => self.prepare(),
            9 if self.random.within(0..4) == 0 => self.pause_worker(),
            9 => self.places.iter().for_each(|place| place.disk.observe()),
            _ => return self.pass_one(),
        }
        Ok(())
    }

    fn any_place(&mut self) -> usize {
        self.random.within(0..self.places.len() as u64) as usize
    }

    /// Something that will go wrong with a disk.
    fn fault(&mut self) {
        let place = self.any_place();
        let disk = &self.places[place].disk;
        let random = &mut self.random;
        match random.within(0..8) {
            0 => disk.plan_failing_sync(random.within(0..3)),
            1 => disk.plan_fault(random.within(0..40), Fault::Error),
            2 | 3 => {
                let cut = if random.within(0..3) == 0 { Cut::Kill } else { Cut::Power };
                let bound = if random.within(0..2) == 0 { 3 } else { 40 };
                disk.plan_fault(random.within(0..bound), Fault::Cut(cut));
            }
            4..=6 => {
                let spare = random.within(0..3 * SEGMENT_BYTES);
                disk.set_capacity(disk.used_bytes() + spare);
            }
            _ => disk.set_capacity(u64::MAX),
        }
        self.tell("a fault is planned");
    }

    fn disturb_clock(&mut self) {
        let pending = self.places.iter().any(|place| place.model.pending() > 0);
        let now = self.clocks.now();
        self.note_clocks(now);
        match self.clocks.shape {
            Shape::Stepped => {
                let by_ns = match self.random.within(0..4) {
                    0 => HOUR,
                    1 => self.random.within(0..HOUR),
                    2 => self.random.within(0..5 * SECOND),
                    _ => self.random.within(0..2 * MS),
                };
                let is_back = self.random.within(0..2) == 0;
                let by_ns = if is_back { -by_ns.cast_signed() } else { by_ns.cast_signed() };
                self.clocks.set(by_ns);
                let counters = &mut self.counters;
                counters.clock_steps_back_while_jobs_wait += u64::from(is_back && pending);
                counters.clock_steps_forward_while_jobs_wait += u64::from(!is_back && pending);
            }
            Shape::Suspended => {
                let span_ns = self.random.within(0..3 * HOUR);
                self.clocks.suspend(span_ns);
                self.counters.suspends_while_jobs_wait += u64::from(pending);
            }
            Shape::Drifting(_) => self.counters.drifts += 1,
            Shape::Steady => return,
        }
        let now = self.clocks.now();
        self.note_clocks(now);
        self.tell("the clocks were moved");
    }

    fn note_clocks(&mut self, now: Now) {
        self.places.iter_mut().for_each(|place| place.model.note_clocks(now));
    }

    /// A caller asks for something.
    fn call(&mut self) {
        let now = self.clocks.now();
        let place = self.any_place();
        let schedules = self.habits.schedules_of_16;
        let Place { model, shard, .. } = &mut self.places[place];
        let random = &mut self.random;
        let command = if random.within(0..16) < schedules {
            match random.within(0..4) {
                0 => self.clients.removal(random),
                _ => self.clients.schedule(now, random),
            }
        } else if random.within(0..4) == 0 {
            let draw = random.draw();
            let job = match random.within(0..4) {
                0 => model.pick(draw, false),
                1 => model.pick(draw, true),
                _ => model.pick_running(draw),
            };
            match job {
                Some(job) => Command::Cancel(job),
                None => self.clients.batch(now, random),
            }
        } else {
            self.clients.batch(now, random)
        };
        if let Some(shard) = shard {
            shard.ask(command);
        }
    }

    /// Time passes, for no reason.
    fn wait(&mut self) {
        let span_ns = match self.random.within(0..8) {
            0..=3 => self.random.within(0..2 * MS),
            4..=5 => self.random.within(0..500 * MS),
            6 => self.random.within(0..30 * SECOND),
            _ => self.random.within(0..1200 * SECOND),
        };
        self.clocks.advance(span_ns);
    }

    /// Time passes until something is to be done.
    fn jump(&mut self) {
        if let Some(wake_ns) = self.wake_ns() {
            let now_ns = self.clocks.now().mono.0;
            self.clocks.advance(wake_ns.saturating_sub(now_ns));
        }
    }

    /// The next time of the monotonic clock at which something is to be done.
    fn wake_ns(&self) -> Option<u64> {
        let now = self.clocks.now();
        let of_place = |place: &Place| {
            let shard = place.shard.as_ref()?;
            let wake = shard.core.wake();
            let by_wall = wake.wall.map(|wall| now.mono.0 + wall.0.saturating_sub(now.wall.0));
            let mono = wake.mono.map(|mono| mono.0);
            let times = [mono, by_wall, shard.cleaning.wake_ns(), place.workers.wake_ns()];
            times.into_iter().flatten().min()
        };
        self.places.iter().filter_map(of_place).min()
    }

    fn sync(&mut self) {
        let place = self.any_place();
        if let Some(shard) = &mut self.places[place].shard {
            // Whether it fails is seen in the log.
            drop(shard.journal.log.sync_step());
        }
    }

    fn prepare(&mut self) {
        let place = self.any_place();
        if let Some(shard) = &mut self.places[place].shard {
            shard.journal.log.prepare_step();
        }
    }

    fn pause_worker(&mut self) {
        let now_ns = self.clocks.now().mono.0;
        let place = self.any_place();
        self.places[place].workers.pause(now_ns, &mut self.random);
        self.counters.workers_paused += 1;
    }

    fn pass_one(&mut self) -> Verdict {
        let place = self.any_place();
        self.pass(place)?;
        if self.random.within(0..8) == 0 {
            self.compare(place)?;
        }
        Ok(())
    }

    fn pass(&mut self, place: usize) -> Verdict {
        let now = self.clocks.now();
        let Place { model, workers, shard, disk, .. } = &mut self.places[place];
        let Some(shard) = shard else { return Ok(()) };
        if matches!(self.clocks.shape, Shape::Drifting(_)) {
            model.note_clocks(now);
        }
        let failed = disk.stats().failed_operations + disk.stats().refused_reads;
        let unreadable = workers.run(now.mono.0, model, &mut self.random)?;
        let has_failed = disk.stats().failed_operations + disk.stats().refused_reads > failed;
        ensure(unreadable == 0 || has_failed || disk.is_down(), || {
            "a payload cannot be read, and no disk failed".to_owned()
        })?;
        shard.pass(now, &mut shard::World { model, workers, random: &mut self.random })
    }

    fn compare(&mut self, place: usize) -> Verdict {
        let Place { model, shard, disk, .. } = &mut self.places[place];
        match shard {
            Some(shard) if !disk.is_down() => model.compare(&shard.core),
            _ => Ok(()),
        }
    }

    /// Everything ends: by `cut`, or by the one that has happened to a disk already.
    fn crash(&mut self, cut: Option<Cut>) -> Verdict {
        let now = self.clocks.now();
        self.note_clocks(now);
        let drawn = if self.random.within(0..3) == 0 { Cut::Kill } else { Cut::Power };
        let cut = cut.unwrap_or(drawn);
        self.tell(&format!("{cut:?}"));
        match cut {
            Cut::Power => self.counters.power_cuts += 1,
            Cut::Kill => self.counters.kills += 1,
        }
        for place in &mut self.places {
            let was_cut = place.disk.is_down();
            place.disk.cut(cut);
            let Some(shard) = place.shard.take() else { continue };
            let counters = &mut place.model.counters;
            counters.crashes_in_a_rotation += u64::from(shard.is_in_rotation());
            counters.crashes_while_cleaning += u64::from(shard.cleaning.is_under_way());
            let is_making = shard.snapshots.is_under_way();
            counters.crashes_while_a_snapshot_is_written += u64::from(is_making);
            counters.answers_indeterminate += shard.unheard();
            // Of a cut that a disk had planned, only the disk knows of which kind it was.
            let is_kill = cut == Cut::Kill && !was_cut;
            let is_lossless = is_kill && place.disk.stats().failed_syncs == place.failed_syncs;
            place.left = Some(Left {
                durable: shard.journal.log.durable().0,
                safe: if is_lossless { shard.safe } else { 0 },
                may_break_promises: !is_lossless
                    && self.habits.settings.durability != Durability::Sync,
                may_repeat_ids: false,
            });
        }
        self.come_back(cut == Cut::Power)
    }

    /// Every log is closed as at the end of a program.
    fn end_cleanly(&mut self) -> Verdict {
        let now = self.clocks.now();
        self.note_clocks(now);
        self.tell("an end");
        for place in &mut self.places {
            let Some(mut shard) = place.shard.take() else { continue };
            let Place { model, workers, .. } = place;
            model.counters.answers_indeterminate += shard.unheard();
            workers.give_back(now.mono.0);
            let random = &mut self.random;
            shard.take_completions(now, &mut shard::World { model, workers, random })?;
            shard.journal.log.commit();
            let mut durable = shard.journal.log.durable().0;
            let appended = shard.journal.log.appended().0;
            let closed = shard.journal.log.close();
            let is_clean = closed.is_ok() && !place.disk.is_down();
            if is_clean {
                place.model.counters.clean_ends += 1;
                durable = appended;
            }
            let is_sync = self.habits.settings.durability == Durability::Sync;
            let may_break_promises = !is_clean && !is_sync;
            let left = Left { durable, safe: 0, may_break_promises, may_repeat_ids: false };
            place.left = Some(left);
        }
        self.come_back(false)
    }

    /// The next life begins.
    fn come_back(&mut self, is_reboot: bool) -> Verdict {
        for place in &mut self.places {
            if place.disk.is_down() {
                place.disk.restart();
            }
        }
        let off_ns =
            self.random.within(0..2 * MS) + self.random.within(0..3) * self.random.within(0..HOUR);
        if is_reboot {
            let mono_ns = self.random.within(MS..100 * SECOND);
            self.clocks.reboot(off_ns, mono_ns);
        } else {
            self.clocks.advance(off_ns);
        }
        let now_ns = self.clocks.now().mono.0;
        for place in &mut self.places {
            // Only attempts whose beginning is durable have a token that is not given out again.
            let ends = place.workers.lose();
            for end in ends {
                if place
                    .model
                    .is_durably_begun(end.attempt, place.left.map_or(0, |left| left.durable))
                {
                    let arrives_ns = now_ns + self.random.within(0..60 * SECOND);
                    place.workers.bring_back(end, arrives_ns);
                    place.model.counters.completions_from_before_a_crash += 1;
                }
            }
        }
        self.open()
    }

    fn open(&mut self) -> Verdict {
        for place in 0..self.places.len() {
            let mut faults = self.random.within(0..OPENING_FAULTS_MAX + 1);
            if self.habits.faults_of_256 == 0 {
                faults = 0;
            }
            while !self.open_once(place, faults > 0)? {
                faults = faults.saturating_sub(1);
            }
            self.compare(place)?;
        }
        Ok(())
    }

    /// False: the opening failed, and is to be tried again.
    fn open_once(&mut self, place: usize, is_faulty: bool) -> Verdict<bool> {
        let now = self.clocks.now();
        let random = &mut self.random;
        let settings = self.habits.settings;
        let Place { disk, model, .. } = &mut self.places[place];
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
            low_water_bytes: SEGMENT_BYTES / 4,
            low_water_full_bytes: SEGMENT_BYTES + SEGMENT_BYTES / 2,
            notices: true,
            ..Config::new(ShardId(place as u8))
        };
        let core = Scheduler::new(config, now);
        let mut recovering =
            Recovering { config, now, core, model, end: 0, from_snapshot: false, wrong: None };
        let opened = LogOptions::new("simulated")
            .shard(place as u16)
            .segment_bytes(SEGMENT_BYTES)
            .record_bytes_max(RECORD_BYTES_MAX)
            .ready_segments(settings.ready_segments)
            .durability(settings.durability)
            .open_state_simulated(disk, Arc::new(|| {}), &mut recovering);
        let Recovering { core, end, from_snapshot, wrong, .. } = recovering;
        if let Some(wrong) = wrong {
            return Err(wrong);
        }
        disk.observe();
        let log = match opened {
            Ok(log) if !disk.is_down() => log,
            Ok(_) | Err(OpenError::Io { .. }) => {
                let Place { disk, left, .. } = &mut self.places[place];
                self.counters.failed_openings += 1;
                left.iter_mut().for_each(|left| left.may_repeat_ids = true);
                if disk.is_down() {
                    self.counters.cuts_inside_openings += 1;
                    // It may have been a power cut: what was not durable may be gone now.
                    let durability = settings.durability;
                    if let Some(left) = left {
                        left.safe = 0;
                        left.may_break_promises |= durability != Durability::Sync;
                    }
                    disk.restart();
                } else {
                    disk.set_capacity(u64::MAX);
                }
                return Ok(false);
            }
            Err(error) => return Err(format!("the log cannot be opened: {error}")),
        };
        disk.clear_plans();
        self.go_on(place, now, core, log, end)?;
        let counters = &mut self.counters;
        counters.snapshots_loaded += u64::from(from_snapshot);
        counters.replays_without_a_snapshot += u64::from(!from_snapshot && end > 0);
        Ok(true)
    }

    /// The log is open: the model forgets what was lost, and the scheduler goes on.
    fn go_on(
        &mut self,
        place: usize,
        now: Now,
        mut core: Scheduler,
        log: Log,
        end: u64,
    ) -> Verdict {
        let settings = self.habits.settings;
        let Place { disk, model, workers, shard, failed_syncs, left } = &mut self.places[place];
        if let Some(left) = left.take() {
            model.recover(end, left, now)?;
        }
        core.replayed().map_err(|error| error.to_string())?;
        if let Some(bug) = self.bug {
            core.plant(bug);
        }
        if self.is_told {
            let (recovery, counts) = (log.recovery(), core.counts());
            println!("shard {place} is open up to {end}: {recovery:?}, {counts:?}");
        }
        let epoch = log.recovery().epoch;
        let mut journal = Journal { log, written: Vec::new() };
        let mut out = Outputs::default();
        let lost = core.recovered(now, epoch, &mut journal, &mut out);
        if self.is_told {
            println!("{lost} attempts are lost, {} go on", core.running());
        }
        for written in std::mem::take(&mut journal.written) {
            model.take(Cause::Recovery, now, written)?;
        }
        let opened = shard.insert(Shard::new(core, journal, settings, disk.clone()));
        *failed_syncs = disk.stats().failed_syncs;
        opened.pass(now, &mut shard::World { model, workers, random: &mut self.random })
    }

    /// All faults end. What is due now must begin.
    fn heal(&mut self) -> Verdict {
        self.step += 1;
        self.tell("healing");
        for place in &self.places {
            place.disk.clear_plans();
            place.disk.set_capacity(u64::MAX);
        }
        self.habits.faults_of_256 = 0;
        self.habits.settings.jobs_max = 1 << 20;
        // Also what has failed comes back.
        self.crash(Some(Cut::Kill))?;
        let now = self.clocks.now();
        for place in &mut self.places {
            place.workers.heal(now.mono.0);
            place.model.counters.due_at_the_healing += place.model.due_jobs(now);
        }
        for _ in 0..HEALING_ROUNDS_MAX {
            self.round()?;
            if self.places.iter().all(|place| place.model.overdue(now).is_none()) {
                return Ok(());
            }
            self.clocks.advance(5 * MS);
        }
        if self.is_told {
            for place in &self.places {
                let core = place.shard.as_ref().map(|shard| {
                    (shard.core.census(), shard.core.wake(), shard.has_work(&place.workers))
                });
                let waits = (place.workers.queued(), place.workers.wake_ns());
                println!("at {:?}: {core:?}, {waits:?}", self.clocks.now());
            }
        }
        let late = self.places.iter().find_map(|place| place.model.overdue(now));
        Err(format!("due at {now:?} and not begun: {}", late.unwrap_or_default()))
    }

    /// Every shard does what it can without more time.
    fn round(&mut self) -> Verdict {
        for place in 0..self.places.len() {
            if let Some(shard) = &mut self.places[place].shard {
                while shard.journal.log.prepare_step() {}
                shard.journal.log.sync_step().map_err(|error| error.to_string())?;
            }
            self.pass(place)?;
            self.compare(place)?;
        }
        Ok(())
    }

    /// Nothing new comes; in time, everything that waits runs and ends.
    fn drain(&mut self) -> Verdict {
        self.tell("draining");
        for place in &mut self.places {
            for name in place.model.schedule_names() {
                if let Some(shard) = &mut place.shard {
                    shard.ask(Command::Remove(name));
                }
            }
        }
        for _ in 0..DRAINING_ROUNDS_MAX {
            self.step += 1;
            self.round()?;
            let is_busy = |place: &Place| {
                place.shard.as_ref().is_some_and(|shard| shard.has_work(&place.workers))
            };
            let pending: usize = self.places.iter().map(|place| place.model.pending()).sum();
            if self.places.iter().any(is_busy) {
                self.tell("busy");
                self.clocks.advance(MS);
                continue;
            }
            if pending == 0 {
                self.round()?;
                return Ok(());
            }
            // It sleeps until the time that the scheduler said, as the engine does.
            let Some(wake_ns) = self.wake_ns() else {
                return Err(format!("{pending} jobs wait, and nobody wakes"));
            };
            if self.is_told {
                let why = self.places.iter().map(|place| {
                    let shard = place.shard.as_ref();
                    let core = shard.map(|shard| (shard.core.wake(), shard.cleaning.wake_ns()));
                    (core, place.workers.wake_ns())
                });
                let why: Vec<_> = why.collect();
                self.tell(&format!("waiting until {wake_ns}: {why:?}"));
            }
            self.clocks.advance(wake_ns.saturating_sub(self.clocks.now().mono.0));
        }
        let waiting: Vec<String> = self.places.iter().filter_map(|p| p.model.told_one()).collect();
        Err(format!("never ended: {waiting:?}"))
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
    from_snapshot: bool,
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
        self.core = restore.finish().inspect_err(|error| {
            self.wrong = Some(format!("a snapshot was refused: {error}"));
        })?;
        self.end = snapshot.lsn().0;
        self.from_snapshot = true;
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

fn secs(ns: u64) -> f64 {
    ns as f64 / SECOND as f64
}
