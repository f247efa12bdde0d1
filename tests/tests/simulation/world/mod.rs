//! One world: shards on simulated disks, their executors and callers, one pair of clocks. First
//! everything goes wrong that its seed draws, then all is healed, the work is drained, and there is
//! a last crash.

mod crash;
mod healing;
mod opening;

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use tickwheel_core::{DeadLimits, Now, QueueLimits, planted::Bug};
use tickwheel_tests::random::Random;
use tickwheel_wal::{
    Durability,
    simulation::{Cut, Fault, SimulatedDisk},
};

use crate::{
    Verdict,
    clients::{Clients, Command, QUEUES},
    clock::{Clocks, HOUR, MS, SECOND, Shape},
    counters::Counters,
    model::{Left, Meters, Model, Seen, Serves, ensure},
    permits::Hall,
    remotes::Remotes,
    shard::{self, Settings, Shard},
    workers::Workers,
};

const SEGMENT_BYTES: u64 = 64 << 10;

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
    remotes: Remotes,
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
    /// Whether jobs have to do with others.
    relates: bool,
    /// Of 64 steps that many limit a queue.
    limits_of_64: u64,
    /// Whether jobs have groups.
    has_groups: bool,
}

struct World {
    random: Random,
    clocks: Clocks,
    clients: Clients,
    habits: Habits,
    places: Vec<Place>,
    /// What the shards of this life share.
    hall: Hall,
    meters: Meters,
    /// Draws what is about limits, so that worlds without them stay as they were.
    limiting: Random,
    /// The same about groups.
    grouping: Random,
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
        let mut limiting = Random::new(seed ^ 0x0011_3175);
        let mut grouping = Random::new(seed ^ 0x0067_726f_7570);
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
            dead: DeadLimits {
                jobs_max: of(&[0, 3, 50, 1000]) as u32,
                age_ns: of(&[20 * SECOND, 2 * HOUR, 180 * 24 * HOUR]),
            },
            queue_max: of(&[1, 4, 128]) as usize,
            commands_max: of(&[1, 8, 64]) as usize,
            clean_max: of(&[2, 8, 30]),
            snapshot_bytes: of(&[20_000, 100_000, 200_000, u64::MAX]),
            serves: match of(&[0, 0, 1, 2]) {
                0 => Serves::All,
                1 => Serves::Default,
                _ => Serves::Nothing,
            },
        };
        let habits = Habits {
            settings,
            steps: of(&[60, 200, 400]),
            faults_of_256: of(&[0, 2, 8]),
            crashes_of_256: of(&[0, 1, 4]),
            clock_of_256: of(&[1, 6]),
            calls_of_16: of(&[3, 6, 10]),
            schedules_of_16: of(&[0, 2, 6]),
            relates: of(&[0, 1]) == 1,
            limits_of_64: [0, 2, 8][limiting.within(0..3) as usize],
            has_groups: grouping.within(0..2) == 0,
        };
        let (shards, hands) = (of(&[1, 1, 2, 3]), of(&[1, 2, 4]));
        let fetched_max = match settings.serves {
            // Executors alone.
            Serves::All if of(&[0, 1]) == 0 => 0,
            _ => settings.running_max,
        };
        let meters = Meters::default();
        let places = (0..shards).map(|_| Place {
            disk: SimulatedDisk::new(random.draw()),
            model: Model::new(&settings, meters.clone()),
            workers: Workers::new(hands),
            remotes: Remotes::new(fetched_max),
            shard: None,
            failed_syncs: 0,
            left: None,
        });
        let places = places.collect();
        let clients = Clients::new(&mut random);
        let counters = Counters {
            worlds: 1,
            worlds_without_executors: u64::from(settings.serves == Serves::Nothing),
            ..Counters::default()
        };
        let hall = Hall::default();
        Self {
            random,
            clocks,
            clients,
            habits,
            places,
            hall,
            meters: meters.clone(),
            limiting,
            grouping,
            bug,
            counters,
            is_told,
            step: 0,
        }
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
        for place in &mut self.places {
            place.model.note_all_ended();
        }
        self.crash(Some(Cut::Power))?;
        for place in &self.places {
            let back = place.model.told_one_back();
            ensure(back.is_none(), || format!("a job came back after the last crash: {back:?}"))?;
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
        if self.limiting.within(0..64) < self.habits.limits_of_64 {
            self.limit();
        }
        if self.habits.limits_of_64 > 0
            && self.places.len() > 1
            && self.limiting.within(0..256) < crashes
        {
            return self.end_one();
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

    /// A queue is limited in all shards, each of which hears of it in its own time.
    fn limit(&mut self) {
        let (queue, limits) = Clients::limits(&mut self.limiting);
        for shard in self.places.iter_mut().filter_map(|place| place.shard.as_mut()) {
            shard.ask(Command::Limit(queue, limits));
        }
        self.tell("a queue is limited");
    }

    /// Tells the model of one shard what the others have.
    fn note_others(&mut self, place: usize) {
        if self.places.len() == 1 || self.habits.limits_of_64 == 0 {
            return;
        }
        let others = |(number, other): &(usize, &Place)| *number != place && other.shard.is_some();
        let seen = |queue: &str| -> Vec<Seen> {
            let places = self.places.iter().enumerate().filter(others);
            places.map(|(_, other)| other.model.seen(queue)).collect()
        };
        let seen = QUEUES.iter().map(|queue| ((*queue).to_owned(), seen(queue))).collect();
        self.places[place].model.note_others(seen);
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
        let relates = self.habits.relates;
        let Place { model, shard, .. } = &mut self.places[place];
        let random = &mut self.random;
        let command = if random.within(0..10) == 0 {
            Clients::pause(random)
        } else if random.within(0..16) < schedules {
            match random.within(0..4) {
                0 => self.clients.removal(random),
                _ => self.clients.schedule(now, random),
            }
        } else if random.within(0..5) == 0 {
            let draw = random.draw();
            let job = match random.within(0..2) {
                0 => model.pick_dead(draw),
                _ => model.pick(draw, true),
            };
            Clients::change(now, job, random)
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
        let mut command = command;
        if relates && random.within(0..8) == 0 {
            command = self.clients.batch_command(model, random);
        }
        if let Command::Submit(jobs) = &mut command
            && relates
        {
            Clients::relate(jobs, model, random);
        }
        let mut more = None;
        if self.habits.has_groups {
            Clients::group(&mut command, &mut self.grouping);
            let limits = self.grouping.within(0..6) == 0;
            more = limits.then(|| Clients::group_limits(&mut self.grouping));
        }
        if let Some(shard) = shard {
            shard.ask(command);
            more.into_iter().for_each(|more| shard.ask(more));
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
            let times = [mono, by_wall, shard.cleaning.wake_ns()];
            let ends = [place.workers.wake_ns(), place.remotes.wake_ns()];
            times.into_iter().chain(ends).flatten().min()
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
        self.note_others(place);
        let Place { model, workers, remotes, shard, disk, .. } = &mut self.places[place];
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
        let random = &mut self.random;
        shard.pass(now, &mut shard::World { model, workers, remotes, random })
    }

    fn compare(&mut self, place: usize) -> Verdict {
        let Place { model, shard, disk, .. } = &mut self.places[place];
        if let Some(shard) = shard
            && !disk.is_down()
        {
            model.compare(&shard.core)?;
        }
        self.compare_shared()
    }

    /// Between two passes, what shards share tells exactly what they have.
    fn compare_shared(&self) -> Verdict {
        if self.bug.is_some() {
            return Ok(()); // It is to be found by what comes of it.
        }
        let shards = self.places.iter().filter_map(|place| place.shard.as_ref());
        let mut sums = BTreeMap::<String, (i64, i64)>::new();
        for queue in shards.flat_map(|shard| shard.core.queues()) {
            let QueueLimits { concurrency, rate, length, .. } = queue.limits;
            if concurrency.is_some() || rate.is_some() || length.is_some() {
                let sum = sums.entry(queue.name.into()).or_default();
                sum.0 += queue.running as i64;
                sum.1 += queue.waiting as i64;
            }
        }
        self.hall.counts().into_iter().try_for_each(|(queue, shared)| {
            let sum = sums.get(&queue).copied().unwrap_or_default();
            ensure(shared == sum, || {
                format!("{queue}: {shared:?} are shared, under way and waiting are {sum:?}")
            })
        })
    }
}

fn secs(ns: u64) -> f64 {
    ns as f64 / SECOND as f64
}
