//! The part of a shard's pass that is about workers outside of the process: their requests, and
//! their fetches. What a worker is told rests on what is durable, but for what it fetches.

use tickwheel_core::{Answer, CallerId, Input, JobId, Key, Now, QueueId};

use super::{Shard, Told, World};
use crate::{
    Verdict,
    model::{Cause, ensure},
    remotes::{Fetch, Message, Request},
    workers::Ended,
};

impl Shard {
    pub(super) fn take_requests(&mut self, now: Now, world: &mut World<'_>) -> Verdict {
        while !self.is_failed
            && let Some(message) = world.remotes.arrived(now.mono.0)
        {
            self.take_request(now, message, world)?;
        }
        Ok(())
    }

    fn take_request(&mut self, now: Now, message: Message, world: &mut World<'_>) -> Verdict {
        let Message { mut attempt, by_key, request, is_second, .. } = message;
        let is_lost = world.model.has_lost(attempt);
        if let Some(key) = by_key {
            let Some(present) = self.attempt_of(key, world)? else {
                world.model.counters.requests_for_no_attempt += 1;
                return Ok(());
            };
            attempt = present;
            world.model.counters.requests_by_key += 1;
        }
        world.model.counters.requests_twice += u64::from(is_second);
        let (before, stale) = (self.journal.log.appended().0, self.out.stale);
        let events = match &request {
            Request::End(ended, _) => {
                let outcome = ended.outcome();
                let input = Input::Complete { attempt, outcome };
                let events = self.step(now, input, Cause::Complete(attempt, outcome), world)?;
                let is_stale = self.out.stale > stale;
                ensure(is_stale == (events == 0), || {
                    format!("the end of {attempt:?} wrote {events} events, stale: {is_stale}")
                })?;
                ensure(!is_stale || by_key.is_none(), || {
                    format!("the end of the present attempt {attempt:?} was refused")
                })?;
                world.model.counters.stale_requests += u64::from(is_stale);
                let is_over = matches!(ended, Ended::Succeeded)
                    || matches!(ended, Ended::Permanent) && !world.model.is_dead(attempt.job);
                if events > 0 && is_over {
                    let after = self.journal.log.appended().0;
                    self.acks.push_back((after, Told::Over(attempt.job)));
                }
                events
            }
            Request::Extend(span_ns) => {
                let input = Input::Extend { caller: CallerId(0), attempt, span_ns: *span_ns };
                let events = self.step(now, input, Cause::Extend(attempt, *span_ns), world)?;
                let Some(reply) = self.out.replies.pop() else {
                    return Err("an extension got no answer".to_owned());
                };
                match reply.answer {
                    Answer::Extended(true) => {
                        ensure(events == 1, || "an extension is not written".to_owned())?;
                        let end = reply.after.0;
                        self.acks.push_back((end.max(before), Told::Lease(attempt.job, end)));
                    }
                    _ => ensure(events == 0, || "a refused extension is written".to_owned())?,
                }
                world.model.counters.stale_requests +=
                    u64::from(reply.answer == Answer::Extended(false));
                events
            }
            Request::Rewrite(payload) => {
                let events = self.rewrite(now, attempt.job, payload, world)?;
                world.model.counters.rewritten_under_way += u64::from(events > 0);
                0
            }
        };
        if is_lost && by_key.is_none() {
            world.model.counters.requests_for_a_lost_fetch += 1;
            ensure(events == 0, || {
                format!("{attempt:?} is lost, and a request for it was taken for another")
            })?;
        }
        if let Request::End(Ended::Retryable, Some(payload)) = request
            && events > 0
        {
            let events = self.rewrite(now, attempt.job, &payload, world)?;
            world.model.counters.rewritten_after_a_failure += u64::from(events > 0);
        }
        Ok(())
    }

    /// The attempt under way of the job that has `key`.
    fn attempt_of(&self, key: Key, world: &World<'_>) -> Verdict<Option<tickwheel_core::Attempt>> {
        let found = self.core.attempt_of(key);
        let named = found.map(|attempt| (attempt.job, attempt.token.0));
        let expected = world.model.attempt_of(key);
        ensure(named == expected, || {
            format!("{key:?} names attempt {named:?}, expected {expected:?}")
        })?;
        Ok(found)
    }

    fn rewrite(
        &mut self,
        now: Now,
        job: JobId,
        payload: &[u8],
        world: &mut World<'_>,
    ) -> Verdict<usize> {
        self.step(now, Input::Rewrite { job, payload }, Cause::Rewrite(job, payload), world)
    }

    /// A worker fetches, and is given what is ready.
    pub(super) fn serve_fetch(&mut self, now: Now, world: &mut World<'_>) -> Verdict {
        let fetched = self.core.counts().fetched as u32;
        let Some(Fetch { queues, max }) = world.remotes.fetch(fetched, world.random) else {
            return Ok(());
        };
        let ids: Vec<QueueId> = queues.iter().filter_map(|name| self.core.queue(name)).collect();
        if self.is_failed || !self.core.is_fetchable(now, &ids) {
            return Ok(());
        }
        let input = Input::Fetch { queues: &ids, max };
        self.step(now, input, Cause::Fetch { queues: &queues, max }, world)?;
        let dispatches = std::mem::take(&mut self.out.fetched);
        ensure(dispatches.len() <= max as usize, || "more than was asked for".to_owned())?;
        // A process that ended meanwhile has given nothing.
        let is_down = self.disk.is_down() || self.is_failed();
        for dispatch in dispatches {
            let attempt = dispatch.attempt;
            let Some(job) = world.model.job(attempt.job) else {
                return Err(format!("{dispatch:?} is of no job"));
            };
            let expected = (job.attempts, job.token, job.terms.attempts_max, true);
            let found = (dispatch.number, attempt.token.0, dispatch.attempts_max, job.is_fetched());
            ensure(found == expected, || format!("{dispatch:?} is not what was written"))?;
            let timeout_ms = job.terms.timeout_ms;
            let body = self.journal.log.locate(tickwheel_wal::Lsn(dispatch.body.0));
            let body = body.map_err(|error| format!("{dispatch:?} has no record: {error}"))?;
            if is_down {
                continue;
            }
            if let Ok(event) = body.load() {
                let payload = &event[usize::from(dispatch.payload_offset)..];
                ensure(job.has_payload(payload), || {
                    format!("the worker of job {} was given another payload", attempt.job)
                })?;
            }
            world.model.give(attempt);
            let key = self.core.key_of(attempt.job);
            let stays = world.remotes.begin((attempt, key), timeout_ms, now.mono.0, world.random);
            world.model.counters.workers_vanished += u64::from(!stays);
        }
        Ok(())
    }

    /// Whether a worker that is not held up would find something.
    pub(super) fn has_fetchable(&self) -> bool {
        let mut queues = self.core.queues().into_iter();
        queues.any(|queue| {
            self.core.queue(&queue.name).is_some_and(|queue| self.core.fetchable(queue) > 0)
        })
    }
}
