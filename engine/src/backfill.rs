//! Jobs of a schedule for fire times that are past: a window that was missed or is to run again.

use std::{ops::RangeInclusive, time::SystemTime};

use tickwheel_core::{Backfilled, Refusal, ScheduleView, WallTime};

use crate::{
    clock::{system_time, wall_time},
    engine::Engine,
    error::CallError,
    limits,
    shard::Message,
};

/// How far a backfill came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Backfill {
    /// Jobs added.
    pub added: u64,
    /// The fire time at which it stopped, and why; `None` when it came to the end of its window. Begin
    /// there to go on.
    pub stopped: Option<(SystemTime, Refusal)>,
}

impl Engine {
    /// The fire times of a schedule within `window` up to now, the oldest first: those that
    /// [`Engine::backfill`] would add jobs for. `None` when there is no schedule of that name. They are
    /// reckoned on the caller's thread.
    ///
    /// # Errors
    /// There are more than 10,000, or the engine takes nothing more.
    pub fn backfill_preview(
        &self,
        name: &str,
        window: &RangeInclusive<SystemTime>,
    ) -> Result<Option<Vec<SystemTime>>, CallError> {
        let shard = self.shard_of_schedule(name)?;
        let (from, to) = bounds(window);
        let to = to.min(wall_time(SystemTime::now()));
        let name = name.to_owned();
        let view: Option<ScheduleView> =
            self.ask(shard, |reply| Message::Schedule { name, reply })?;
        let Some(view) = view else { return Ok(None) };
        let times = view.within(from, to, limits::BACKFILL_MAX + 1);
        if times.len() > limits::BACKFILL_MAX {
            return Err(CallError::Refused(Refusal::Schedule(
                "the window holds more than 10,000 fire times: take a part of it at a time",
            )));
        }
        Ok(Some(times.into_iter().map(system_time).collect()))
    }

    /// Adds the jobs of a schedule for its fire times within `window` up to now, the oldest first, each due
    /// at its fire time and so ready at once. They are added beside those that the schedule fires at
    /// itself, which stay, also while it is paused, and they count as its runs. The fire times of an
    /// interval are counted back from its next one. `None` when there is no schedule of that name.
    ///
    /// Nothing keeps a time from being added twice, if it has run before or if this is called again. When
    /// this returns, what it added is as durable as jobs that are submitted. If the process ends
    /// meanwhile, the jobs that were added stay; [`Engine::jobs`] lists them, with their due times.
    ///
    /// ```
    /// # use std::time::{Duration, SystemTime};
    /// # use tickwheel_engine::{Engine, NewJob, Schedule, cron::Cron};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let dir = tempfile::tempdir()?;
    /// # let engine = Engine::builder().data_dir(dir.path()).handler("report", |_| Ok(())).start()?;
    /// let hourly = Cron::parse("0 * * * *")?;
    /// engine.put_schedule(Schedule::cron("report", hourly, NewJob::new("report")))?;
    /// // The reports of the last day were wrong.
    /// let now = SystemTime::now();
    /// let done = engine.backfill("report", now - Duration::from_secs(86_400)..=now)?;
    /// assert_eq!(done.map(|done| done.added), Some(24));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Nothing was added: the window ends before it begins, it holds more than 10,000
    /// fire times, the schedule's overlap is not [`Overlap::Allow`](crate::Overlap), the first job
    /// was refused, or the engine takes nothing more.
    pub fn backfill(
        &self,
        name: &str,
        window: RangeInclusive<SystemTime>,
    ) -> Result<Option<Backfill>, CallError> {
        if self.backfill_preview(name, &window)?.is_none() {
            return Ok(None);
        }
        let shard = self.shard_of_schedule(name)?;
        let (mut from, to) = bounds(&window);
        let mut done = Backfill::default();
        loop {
            let piece: Option<Backfilled> = self.call(shard, |reply| Message::Backfill {
                name: name.to_owned(),
                from,
                to,
                reply,
            })?;
            let Some(piece) = piece else { return Ok(None) };
            done.added += u64::from(piece.added);
            match (piece.next, piece.refused) {
                (Some(at), Some(refusal)) if done.added > 0 => {
                    done.stopped = Some((system_time(at), refusal));
                    return Ok(Some(done));
                }
                (_, Some(refusal)) => return Err(CallError::Refused(refusal)),
                (Some(at), None) => from = at,
                (None, None) => return Ok(Some(done)),
            }
        }
    }
}

fn bounds(window: &RangeInclusive<SystemTime>) -> (WallTime, WallTime) {
    (wall_time(*window.start()), wall_time(*window.end()))
}
