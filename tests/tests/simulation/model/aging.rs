//! Aging, as one shard must keep to it: no job begins while another of its queue has waited so long that it counts
//! for more, whatever the first has waited.

use tickwheel_core::{
    JobId, Now, Scheduler,
    limits::{AGING_LOOK_NS_MIN, AGING_LOOKS_PER_SPAN},
};

use super::{Cause, Job, Model, ensure};
use crate::{Verdict, clock::MS};

/// The highest priority that a job can come to count for.
const HIGHEST: u64 = 9;

impl Model {
    pub(super) fn check_aging(
        &mut self,
        name: &str,
        span_ms: Option<u32>,
        cause: Cause<'_>,
    ) -> Verdict {
        let present = self.state.aging.get(name).and_then(|(span_ms, _)| *span_ms);
        match cause {
            Cause::Clean => ensure(span_ms.is_some() && span_ms == present, || {
                format!("the aging is {present:?}")
            }),
            Cause::Age(asked, wanted) => {
                self.counters.agings_set += 1;
                if present.is_some() {
                    self.fairness.changed.insert(name.to_owned());
                }
                ensure((asked, wanted) == (name, span_ms) && span_ms != present, || {
                    format!("something else was asked for, of {present:?}")
                })
            }
            _ => Err("nothing asked for this".to_owned()),
        }
    }

    /// End of the last event about the aging of a queue.
    pub(crate) fn aging_end(&self, name: &str) -> u64 {
        self.state.aging.get(name).map_or(0, |(_, end)| *end)
    }

    /// An attempt of a job begins: no other of its queue must count for more.
    pub(super) fn check_age(&mut self, id: JobId, now: Now) -> Verdict {
        let job = self.known(id)?;
        let queue = &job.terms.queue;
        let Some((Some(span_ms), _)) = self.state.aging.get(queue) else { return Ok(()) };
        if self.fairness.changed.contains(queue) {
            // Jobs may have come to count for more by another span.
            return Ok(());
        }
        let span_ns = u64::from(*span_ms) * MS;
        let counts = |job: &Job, waited_ns: u64| {
            (u64::from(job.terms.priority) + waited_ns / span_ns).min(HIGHEST)
        };
        let since = self.fairness.since.get(&id).copied().unwrap_or(self.fairness.passed_ns);
        let at_most = counts(job, now.mono.0.saturating_sub(since));
        let mut checked = 0;
        for (other, noted) in &self.fairness.ready {
            let Some(other) = self.state.jobs.get(other) else { continue };
            if other.terms.queue != *queue || self.is_limited(other) {
                continue;
            }
            // Lines are looked at several times per span, and a job may stand behind those that came while nobody looked.
            let late_ns = span_ns + (span_ns / AGING_LOOKS_PER_SPAN).max(AGING_LOOK_NS_MIN);
            let at_least = counts(other, now.mono.0.saturating_sub(*noted).saturating_sub(late_ns));
            checked += u64::from(at_least > u64::from(other.terms.priority));
            ensure(at_least <= at_most, || {
                format!("job {id} begins, {job:?}, and {other:?} has waited since {noted}")
            })?;
        }
        self.counters.aged_jobs_waited += checked;
        Ok(())
    }

    pub(super) fn compare_aging(&self, core: &Scheduler) -> Verdict {
        for queue in core.queues() {
            let expected = self.state.aging.get(&*queue.name).and_then(|(span_ms, _)| *span_ms);
            ensure(queue.aging_ms == expected, || format!("{queue:?}, expected {expected:?}"))?;
        }
        Ok(())
    }
}
