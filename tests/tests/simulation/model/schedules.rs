//! Schedules: which fire times must add a job and which must not, reckoned anew from the rule.
//!
//! The cron rules of a simulation fire each so many seconds from the full hour of UTC on, so that
//! their times are multiples.

use tickwheel_core::{
    Clock, JobId, Now, Overlap, Schedule, ScheduleView, Timing,
    event::{Event, JobAdded, RuleMissed, RuleTiming},
};

use super::{Cause, Due, Model, State, digest, ensure, jobs::OwnTerms};
use crate::{
    Verdict,
    clock::{MS, SECOND},
};

/// When a rule fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fires {
    /// At each multiple of so many nanoseconds, on the wall clock.
    Multiples(u64),
    /// Each so many nanoseconds from the fire time before, on the monotonic clock.
    Every(u64),
    Once,
}

/// A schedule that is there.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    fires: Fires,
    missed: RuleMissed,
    overlap: Overlap,
    grace_ms: u32,
    kind: String,
    terms: OwnTerms,
    digest: u64,
    next: Option<u64>,
    catch_up_until: u64,
    fired: u64,
    /// Last fire time that added a job, by this timing.
    last: u64,
    /// Which entry says when it fires next.
    pub(super) entry: usize,
}

/// What a fire time comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Decision {
    run: Option<u64>,
    next: Option<u64>,
    catch_up_until: u64,
}

/// The cron rules that are drawn, with their periods in seconds.
pub(crate) const CRON_RULES: [(&str, u64); 4] =
    [("*/5 * * * * *", 5), ("*/20 * * * * *", 20), ("0 * * * * *", 60), ("0 */10 * * * *", 600)];

fn period_ns(source: &str) -> Option<u64> {
    let rule = CRON_RULES.iter().find(|(text, _)| *text == source);
    rule.map(|(_, seconds)| seconds * SECOND)
}

impl Rule {
    fn fires_of(timing: &RuleTiming<'_>) -> Fires {
        match timing {
            RuleTiming::Cron(source, _) => Fires::Multiples(period_ns(source).unwrap_or(1)),
            RuleTiming::Every(every_ns) => Fires::Every(*every_ns),
            RuleTiming::Once(_) => Fires::Once,
        }
    }

    fn next_after(&self, after: u64) -> Option<u64> {
        match self.fires {
            Fires::Multiples(period) => Some((after / period + 1) * period),
            Fires::Every(every) => Some(after + every),
            Fires::Once => None,
        }
    }

    /// The first fire time after `now`, in step with `due`.
    fn first_after(&self, due: u64, now: u64) -> Option<u64> {
        match self.fires {
            Fires::Every(every) => Some(due + (now.saturating_sub(due) / every + 1) * every),
            _ => self.next_after(now.max(due)),
        }
    }

    /// The fire times from `due` to `now` that are not before `oldest`.
    fn times(&self, due: u64, oldest: u64, now: u64) -> Vec<u64> {
        let all = std::iter::successors(Some(due), |at| self.next_after(*at));
        all.take_while(|at| *at <= now).filter(|at| *at >= oldest).collect()
    }

    /// What is right when the timer for `due` fires at `now`.
    fn decide(&self, due: u64, now: u64) -> Decision {
        let until = self.catch_up_until;
        let plain = Decision { run: Some(due), next: self.next_after(due), catch_up_until: until };
        if let Overlap::Queue { limit } = self.overlap
            && due <= until
        {
            let waiting = self.times(due, due, now);
            let run = waiting[waiting.len().saturating_sub(limit as usize)..].first().copied();
            let run = run.unwrap_or(due);
            return Decision { run: Some(run), next: self.next_after(run), ..plain };
        }
        if now.saturating_sub(due) <= u64::from(self.grace_ms) * MS || due <= until {
            return plain;
        }
        let dropped = Decision { run: None, next: self.first_after(due, now), ..plain };
        match self.missed {
            RuleMissed::Skip => dropped,
            RuleMissed::One => Decision { run: Some(due), ..dropped },
            RuleMissed::All(limit, window_ns) => {
                let oldest = due.max(now.saturating_sub(window_ns));
                let times = self.times(due, oldest, now);
                let kept = &times[times.len().saturating_sub(limit as usize)..];
                let [first, ..] = kept else { return dropped };
                let last = *kept.last().unwrap_or(first);
                Decision { run: Some(*first), next: self.next_after(*first), catch_up_until: last }
            }
        }
    }
}

/// When the schedule fires next that `event` is about, by a rule on `clock` if one is known.
pub(super) fn next_of(event: &Event<'_>, clock: Clock, now: Now) -> Option<Due> {
    match event {
        Event::SchedulePut { next: Some(next), .. }
        | Event::ScheduleFired { next: Some(next), .. } => Some(Due::new(clock, *next, false, now)),
        _ => None,
    }
}

impl Model {
    /// The clock of the rule that `event` is about.
    pub(super) fn clock_of_next(&self, event: &Event<'_>) -> Clock {
        let fires = match event {
            Event::SchedulePut { rule, .. } => Some(Rule::fires_of(&rule.timing)),
            Event::ScheduleFired { name, .. } => {
                self.state.schedules.get(*name).map(|rule| rule.fires)
            }
            _ => None,
        };
        if matches!(fires, Some(Fires::Every(_))) { Clock::Mono } else { Clock::Wall }
    }

    pub(super) fn check_schedule(
        &mut self,
        event: &Event<'_>,
        payload: &[u8],
        cause: Cause<'_>,
        now: Now,
    ) -> Verdict {
        match (event, cause) {
            (Event::SchedulePut { rule, next, .. }, Cause::Put(asked)) => {
                let is_asked = rule.name == asked.name
                    && rule.kind == asked.job.kind
                    && digest(payload) == digest(&asked.job.payload);
                ensure(is_asked, || "another schedule was asked for".to_owned())?;
                self.check_put(rule.name, asked, *next, now)
            }
            (Event::ScheduleRemoved { name, .. }, Cause::Remove(asked)) => {
                self.counters.schedules_removed += 1;
                ensure(*name == asked, || "another schedule was removed".to_owned())
            }
            (Event::ScheduleFired { name, next, catch_up_until, job, at }, Cause::Time) => {
                ensure(*at == now.wall.0, || format!("it is {now:?}"))?;
                let decision = Decision {
                    run: job.as_ref().map(|job| job.due),
                    next: *next,
                    catch_up_until: *catch_up_until,
                };
                self.check_fire(name, decision, job.as_ref(), payload, now)
            }
            (Event::ScheduleKept { rule, next, catch_up_until, fired, .. }, Cause::Clean) => {
                let Some(known) = self.state.schedules.get(rule.name) else {
                    return Err("it is not there".to_owned());
                };
                let same = known.fires == Rule::fires_of(&rule.timing)
                    && known.missed == rule.missed
                    && known.overlap == rule.options.overlap
                    && known.digest == digest(payload)
                    && (known.catch_up_until, known.fired) == (*catch_up_until, *fired)
                    && self.may_be_next(known, *next, now);
                ensure(same, || format!("it is {known:?}"))
            }
            _ => Err("nothing asked for this".to_owned()),
        }
    }

    /// Whether `next` is a right reading of a schedule's next fire time.
    fn may_be_next(&self, rule: &Rule, next: Option<u64>, now: Now) -> bool {
        let (Some(next), Some(due)) = (next, self.entries[rule.entry].next) else {
            return next == rule.next;
        };
        let (first, last) = due.on_wall(now);
        Some(next) == rule.next || (first..=last).contains(&i128::from(next))
    }

    /// An equal timing keeps its next fire time, another begins anew.
    fn check_put(
        &mut self,
        name: &str,
        asked: &Schedule<'_>,
        next: Option<u64>,
        now: Now,
    ) -> Verdict {
        let fires = match &asked.timing {
            Timing::Cron(cron) => Fires::Multiples(period_ns(cron.source()).unwrap_or(1)),
            Timing::Every(every) => Fires::Every(*every),
            Timing::Once(_) => Fires::Once,
        };
        let before = self.state.schedules.get(name);
        self.counters.schedules_put += u64::from(before.is_none());
        self.counters.schedules_replaced += u64::from(before.is_some());
        if let Some(rule) = before
            && rule.fires == fires
            && fires != Fires::Once
        {
            let due = self.entries[rule.entry].next.ok_or("a rule without a next fire time")?;
            let (first, last) = due.on_wall(now);
            let next = i128::from(next.unwrap_or(0));
            return ensure((first..=last).contains(&next), || {
                format!("the same timing fires between {first} and {last}, at {now:?}")
            });
        }
        let expected = match (&asked.timing, fires) {
            (_, Fires::Multiples(period)) => (now.wall.0 / period + 1) * period,
            (_, Fires::Every(every)) => now.wall.0 + every,
            (Timing::Once(Some(at)), _) => at.0,
            _ => now.wall.0,
        };
        let kept = before.is_some() && fires == Fires::Once;
        ensure(next == Some(expected) || kept, || format!("it fires first at {expected}"))
    }

    fn check_fire(
        &mut self,
        name: &str,
        found: Decision,
        job: Option<&JobAdded<'_>>,
        payload: &[u8],
        now: Now,
    ) -> Verdict {
        let Some(rule) = self.state.schedules.get(name) else {
            return Err("it is not there".to_owned());
        };
        let is_busy = self.state.is_at_work(name);
        let adds = found.run.is_some();
        let overlaps = match rule.overlap {
            Overlap::Allow => false,
            Overlap::Skip | Overlap::Replace => is_busy && adds,
            Overlap::Queue { .. } => is_busy,
        };
        ensure(!overlaps, || format!("a job of it has not ended: {rule:?}"))?;
        let is_let_go = is_busy && rule.overlap == Overlap::Skip;
        let due = self.entries[rule.entry].next.ok_or("it does not fire any more")?;
        ensure(due.may_be_due(now), || format!("it fires early, at {now:?}: {rule:?}"))?;
        if let Some(job) = job {
            let same = job.kind == rule.kind
                && OwnTerms::of(&job.terms) == rule.terms
                && digest(payload) == rule.digest
                && job.due <= now.wall.0;
            ensure(same, || format!("it adds another job than {rule:?}"))?;
            let is_twice = !matches!(rule.fires, Fires::Every(_)) && job.due <= rule.last;
            ensure(!is_twice, || format!("a fire time came twice: {rule:?}"))?;
        }
        let (first, last) = due.on_wall(now);
        let within = |time: &u64| (first..=last).contains(&i128::from(*time));
        let readings = [found.run, u64::try_from(first).ok(), u64::try_from(last).ok(), rule.next];
        let readings: Vec<u64> = readings
            .into_iter()
            .flatten()
            .filter(|time| within(time) || Some(*time) == rule.next)
            .collect();
        let right = |time: &u64| {
            let decision = rule.decide(*time, now.wall.0);
            Decision { run: decision.run.filter(|_| !is_let_go), ..decision }
        };
        let is_right = readings.iter().any(|time| right(time) == found);
        // Where readings differ, the phase of what was let go cannot be told.
        let is_open = first != last
            && matches!(rule.fires, Fires::Every(_))
            && found.next.is_some_and(|next| next > now.wall.0)
            && found.catch_up_until >= rule.catch_up_until;
        ensure(is_right || is_open, || {
            let expected: Vec<Decision> = readings.iter().map(right).collect();
            format!("{found:?} at {now:?}, expected one of {expected:?} by {rule:?}")
        })?;
        let late = now.wall.0.saturating_sub(found.run.unwrap_or(now.wall.0));
        let is_caught_up = late > u64::from(rule.grace_ms) * MS;
        self.counters.fires += u64::from(job.is_some());
        self.counters.fires_let_go += u64::from(job.is_none());
        self.counters.fires_caught_up += u64::from(is_caught_up);
        let waited = matches!(rule.overlap, Overlap::Queue { .. })
            && found.run.is_some_and(|run| run <= rule.catch_up_until);
        self.counters.fires_that_waited += u64::from(waited);
        self.counters.fires_let_go_by_overlap += u64::from(is_let_go);
        Ok(())
    }

    pub(super) fn compare_schedules(&self, views: &[ScheduleView]) -> Verdict {
        let expected = self.state.schedules.len();
        ensure(views.len() == expected, || {
            format!("{} schedules, expected {expected}", views.len())
        })?;
        for view in views {
            let Some(rule) = self.state.schedules.get(&*view.rule.name) else {
                return Err(format!("schedule {} is there", view.rule.name));
            };
            let is_same = rule.fired == view.fired && rule.digest == digest(&view.rule.job.payload);
            let is_next = rule.next.is_some() == view.next.is_some()
                && self.state.is_at_work(&view.rule.name) == (view.pending > 0);
            ensure(is_same && is_next, || format!("{view:?}, expected {rule:?}"))?;
        }
        Ok(())
    }
}

impl Model {
    /// A job may be cancelled because the next one of its schedule is due and replaces it.
    pub(super) fn check_replaced(&mut self, id: JobId, now: Now) -> Verdict {
        let job = self.known(id)?;
        let rule = job.schedule.as_ref().and_then(|name| self.state.schedules.get(name));
        let rule = rule.ok_or("nothing asked for this")?;
        let due = self.entries[rule.entry].next.ok_or("its schedule does not fire any more")?;
        let is_replaced = rule.overlap == Overlap::Replace && due.may_be_due(now);
        ensure(is_replaced, || format!("nothing replaces it: {rule:?}"))?;
        self.counters.jobs_replaced_by_their_schedule += 1;
        Ok(())
    }

    /// Whether a schedule waits for a job of its own to end.
    pub(super) fn is_waiting(&self, name: &str, rule: &Rule) -> bool {
        matches!(rule.overlap, Overlap::Queue { .. }) && self.state.is_at_work(name)
    }
}

/// The job that an event may end, and when it does.
pub(super) fn ending(event: &Event<'_>, job: Option<JobId>) -> Option<(JobId, u64)> {
    match event {
        Event::Succeeded { job, at }
        | Event::Cancelled { job, at }
        | Event::Expired { job, at }
        | Event::Failed { job, at, .. }
        | Event::Buried { job, at, .. } => Some((JobId(*job), *at)),
        Event::Changed { at, .. } => Some((job?, *at)),
        _ => None,
    }
}

impl State {
    /// Whether a job of the schedule has not ended.
    fn is_at_work(&self, name: &str) -> bool {
        self.jobs.values().any(|job| job.schedule.as_deref() == Some(name))
    }

    /// A job of the schedule `name` may have ended at `at`: what waited for the last of them is not late.
    pub(super) fn note_end(&mut self, name: &str, at: u64) {
        if self.is_at_work(name) {
            return;
        }
        if let Some(rule) = self.schedules.get_mut(name)
            && matches!(rule.overlap, Overlap::Queue { .. })
        {
            rule.catch_up_until = rule.catch_up_until.max(at);
        }
    }

    pub(super) fn take_schedule(
        &mut self,
        index: usize,
        end: u64,
        event: &Event<'_>,
        payload: &[u8],
    ) {
        match event {
            Event::SchedulePut { rule, next, .. } => {
                self.touched.insert(rule.name.to_owned(), end);
                let before = self.schedules.get(rule.name);
                let fires = Rule::fires_of(&rule.timing);
                let last =
                    before.filter(|before| before.fires == fires).map_or(0, |rule| rule.last);
                let put = Rule {
                    fires,
                    missed: rule.missed,
                    overlap: rule.options.overlap,
                    grace_ms: rule.grace_ms,
                    kind: rule.kind.to_owned(),
                    terms: OwnTerms::of(&rule.terms),
                    digest: digest(payload),
                    next: *next,
                    catch_up_until: before.map_or(0, |rule| rule.catch_up_until),
                    fired: before.map_or(0, |rule| rule.fired),
                    last: if fires == Fires::Once { 0 } else { last },
                    entry: index,
                };
                self.schedules.insert(rule.name.to_owned(), put);
            }
            Event::ScheduleFired { name, next, catch_up_until, job, .. } => {
                self.touched.insert((*name).to_owned(), end);
                if let Some(rule) = self.schedules.get_mut(*name) {
                    rule.next = *next;
                    rule.catch_up_until = *catch_up_until;
                    rule.fired += u64::from(job.is_some());
                    rule.last = job.as_ref().map_or(rule.last, |job| job.due);
                    rule.entry = index;
                }
            }
            Event::ScheduleRemoved { name, .. } => {
                self.touched.insert((*name).to_owned(), end);
                self.schedules.remove(*name);
                self.forget_schedule(name);
            }
            _ => {}
        }
    }
}
