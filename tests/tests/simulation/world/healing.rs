//! The end of a world: faults end, what is due must begin, and then all work is drained.

use tickwheel_core::QueueLimits;
use tickwheel_wal::simulation::Cut;

use super::{Place, World};
use crate::{
    Verdict,
    clients::{Command, GROUPS, QUEUES},
    clock::MS,
    shard::Shard,
};

/// Rounds until what is due must have begun, and until nothing is left.
const HEALING_ROUNDS_MAX: u64 = 3000;
const DRAINING_ROUNDS_MAX: u64 = 20_000;

impl World {
    /// All faults end. What is due now must begin.
    pub(super) fn heal(&mut self) -> Verdict {
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
            place.remotes.heal(now.mono.0);
            for queue in QUEUES {
                if let Some(shard) = &mut place.shard {
                    shard.ask(Command::Pause(queue, false));
                    let limits = QueueLimits {
                        concurrency: place.model.concurrency(queue),
                        ..QueueLimits::default()
                    };
                    shard.ask(Command::Limit(queue, limits));
                    shard.ask(Command::Age(queue, None));
                    shard.ask(Command::LimitGroups(queue, None, None));
                    for group in GROUPS {
                        shard.ask(Command::LimitGroups(queue, Some(group), None));
                    }
                }
            }
            place.model.counters.due_at_the_healing += place.model.due_jobs(now);
        }
        for _ in 0..HEALING_ROUNDS_MAX {
            self.round()?;
            if self.places.iter().all(|place| place.model.overdue(now).is_none()) {
                return Ok(());
            }
            // Where attempts have to wait for one another, the lease of a worker that is gone may
            // have to end first, and that may have been extended.
            let until_wake = || {
                let wake_ns = self.wake_ns().filter(|_| !self.is_busy());
                wake_ns.map_or(0, |wake_ns| wake_ns.saturating_sub(self.clocks.now().mono.0))
            };
            let span_ns =
                if self.habits.limits_of_64 == 0 { 5 * MS } else { until_wake().max(60 * MS) };
            self.clocks.advance(span_ns);
        }
        if self.is_told {
            for place in &self.places {
                let core = place.shard.as_ref().map(|shard| {
                    (
                        shard.core.census(),
                        shard.core.wake(),
                        shard.has_work(&place.workers, &place.remotes),
                    )
                });
                let waits = (place.workers.queued(), place.workers.wake_ns());
                println!("at {:?}: {core:?}, {waits:?}", self.clocks.now());
            }
        }
        let late = self.places.iter().find_map(|place| place.model.overdue(now));
        Err(format!("due at {now:?} and not begun: {}", late.unwrap_or_default()))
    }

    /// Whether any shard would not sleep.
    fn is_busy(&self) -> bool {
        let is_busy = |(number, place): (usize, &Place)| {
            let Place { workers, remotes, .. } = place;
            let has_work = |shard: &Shard| shard.has_work(workers, remotes);
            place.shard.as_ref().is_some_and(has_work) || self.hall.has_news(number)
        };
        self.places.iter().enumerate().any(is_busy)
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
    pub(super) fn drain(&mut self) -> Verdict {
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
            let pending: usize = self.places.iter().map(|place| place.model.pending()).sum();
            if self.is_busy() {
                self.tell("busy");
                self.clocks.advance(MS);
                continue;
            }
            if pending == 0 {
                self.round()?;
                let stuck = self.places.iter().find_map(|place| place.model.stuck_batch());
                return stuck.map_or(Ok(()), |batch| Err(format!("a batch is not over: {batch}")));
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
