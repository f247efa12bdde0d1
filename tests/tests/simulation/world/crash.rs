//! How a life of a world ends: by a kill, a power cut or in order; and how the next one begins.

use tickwheel_wal::{Durability, simulation::Cut};

use super::{Place, World};
use crate::{
    Verdict,
    clock::{HOUR, MS, SECOND, Shape},
    model::Left,
    shard,
};

impl World {
    /// Everything ends: by `cut`, or by the one that has happened to a disk already.
    pub(super) fn crash(&mut self, cut: Option<Cut>) -> Verdict {
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
            });
        }
        let is_lossless = |place: &Place| place.left.is_some_and(|left| left.safe > 0);
        let is_told = cut == Cut::Kill && self.places.iter().all(is_lossless);
        let is_exact = self.clocks.shape == Shape::Steady && self.habits.faults_of_256 == 0;
        if !is_told || !is_exact {
            self.meters.forget();
        }
        self.come_back(cut == Cut::Power)
    }

    /// Every log is closed as at the end of a program.
    pub(super) fn end_cleanly(&mut self) -> Verdict {
        let now = self.clocks.now();
        self.note_clocks(now);
        self.tell("an end");
        for place in 0..self.places.len() {
            self.close(place)?;
        }
        self.meters.forget();
        self.come_back(false)
    }

    /// One shard ends in order while the others go on, and comes back.
    pub(super) fn end_one(&mut self) -> Verdict {
        let now = self.clocks.now();
        let place = self.limiting.within(0..self.places.len() as u64) as usize;
        self.note_clocks(now);
        self.note_others(place);
        self.tell(&format!("the end of shard {place}"));
        self.close(place)?;
        self.counters.shards_alone += 1;
        self.places[place].workers.lose();
        if self.places[place].disk.is_down() {
            self.places[place].disk.restart();
        }
        self.open_one(place)?;
        self.note_others(place);
        self.begin(place)
    }

    /// Closes the log of one shard.
    fn close(&mut self, place: usize) -> Verdict {
        let now = self.clocks.now();
        let place = &mut self.places[place];
        let Some(mut shard) = place.shard.take() else { return Ok(()) };
        let Place { model, workers, remotes, .. } = place;
        model.counters.answers_indeterminate += shard.unheard();
        workers.give_back(now.mono.0);
        let random = &mut self.random;
        let world = &mut shard::World { model, workers, remotes, random };
        shard.core.begin_no_more();
        shard.take_completions(now, world)?;
        shard.core.leave();
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
        place.left = Some(Left { durable, safe: 0, may_break_promises: !is_clean && !is_sync });
        Ok(())
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
        let before_ns = self.clocks.now().mono.0;
        if is_reboot {
            let mono_ns = self.random.within(MS..100 * SECOND);
            self.clocks.reboot(off_ns, mono_ns);
        } else {
            self.clocks.advance(off_ns);
        }
        let now_ns = self.clocks.now().mono.0;
        for place in &mut self.places {
            if is_reboot {
                place.remotes.shift(before_ns, now_ns);
            }
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
}
