//! Changes to many jobs: `MUTATE`, `QUEUE REMOVE` and `FLUSH`. Jobs are looked at page by page, and those of a page
//! that are meant change together, so that each page is one wait for the disk. Jobs of the server itself
//! are passed over.

use std::collections::BTreeMap;

use tickwheel_engine::{
    CallError, Engine, JobChange, JobEntry, JobFilter, JobState,
    worker::{Handle, Order},
};
use tickwheel_protocol::{Filter, Mutation, MutationVerb, Target};

use super::{info, order};
use crate::front::{
    job, names,
    shared::{Phase, Shared},
};
use crate::serve::CLIENT_PREFIX;

/// Jobs of a page.
const PAGE: usize = 1000;

/// How often `FLUSH` looks at all jobs at the most: callbacks of batches come while it does, and beside it
/// clients may push.
const FLUSH_ROUNDS: u32 = 16;

/// Carries out a `MUTATE`.
pub(super) fn mutate(
    engine: &Engine,
    shared: &Shared,
    mutation: &Mutation<'_>,
) -> Result<(), CallError> {
    let Mutation { verb, target, filter } = mutation;
    let change = match (verb, target) {
        (MutationVerb::Clear | MutationVerb::Discard, Target::Dead) => JobChange::discard(),
        (MutationVerb::Clear | MutationVerb::Discard, _) => JobChange::cancel(),
        (MutationVerb::Kill, Target::Dead) => return Ok(()),
        (MutationVerb::Kill, _) => JobChange::kill(),
        (MutationVerb::Requeue, Target::Dead) => JobChange::requeue(),
        (MutationVerb::Requeue, _) => JobChange::run(),
    };
    let everything = Filter::default();
    let filter = if *verb == MutationVerb::Clear { &everything } else { filter };
    let mut held = match target {
        Target::Retries => JobFilter::new().states(&[JobState::Scheduled]).attempted(true),
        Target::Scheduled => JobFilter::new().states(&[JobState::Scheduled]).attempted(false),
        Target::Dead => JobFilter::new().states(&[JobState::Dead]),
    };
    if let Some(jobtype) = &filter.jobtype {
        held = held.kind(&**jobtype);
    }
    for tag in &filter.tags {
        held = held.tag(tag);
    }
    let chosen: Option<Vec<Handle>> = filter
        .jids
        .as_ref()
        .map(|jids| jids.iter().map(|jid| names::find(engine, jid).1).collect());
    change_all(engine, shared, &held, |entry| {
        let is_chosen = chosen.as_ref().is_none_or(|chosen| {
            let key = entry.key.map(Handle::Key);
            chosen.iter().any(|handle| Some(*handle) == key || *handle == Handle::Job(entry.id))
        });
        let is_meant = is_chosen && filter.glob.as_ref().is_none_or(|glob| fits(entry, glob));
        is_meant.then(|| change.clone())
    })
    .map(drop)
}

/// Takes all jobs out of a queue, whatever they wait for. Those that workers have stay.
pub(super) fn empty(engine: &Engine, shared: &Shared, queue: &str) -> Result<(), CallError> {
    let waiting = [JobState::Blocked, JobState::Scheduled, JobState::Ready];
    let held = JobFilter::new().states(&waiting).queue(queue);
    change_all(engine, shared, &held, |_| Some(JobChange::cancel())).map(drop)
}

/// Deletes all jobs, those that workers have and dead ones too, and all schedules of clients.
pub(super) fn flush(engine: &Engine, shared: &Shared) -> Result<(), CallError> {
    for schedule in engine.schedules()? {
        if schedule.name.starts_with(CLIENT_PREFIX) {
            engine.remove_schedule(&schedule.name)?;
        }
    }
    // Batches whose jobs are deleted add callbacks, and so do those that these belong to.
    for _ in 0..FLUSH_ROUNDS {
        let changed = change_all(engine, shared, &JobFilter::new(), |entry| {
            let is_dead = entry.state == JobState::Dead;
            Some(if is_dead { JobChange::discard() } else { JobChange::cancel() })
        })?;
        if changed == 0 {
            break;
        }
    }
    shared.tracks.forget();
    for queue in engine.queues()? {
        shared.hide_queue(&queue.name);
    }
    Ok(())
}

/// Changes each job that `filter` takes as `choose` says; returns how many were chosen.
fn change_all(
    engine: &Engine,
    shared: &Shared,
    filter: &JobFilter,
    choose: impl Fn(&JobEntry) -> Option<JobChange>,
) -> Result<u64, CallError> {
    let (mut cursor, mut chosen) = (None, 0);
    loop {
        // The end of the server does not wait for millions of jobs; what was changed stays so.
        if shared.phase() == Phase::Ending {
            return Err(CallError::ShuttingDown);
        }
        let page = engine.jobs(filter, cursor, PAGE)?;
        let mut orders: BTreeMap<usize, Vec<Order>> = BTreeMap::new();
        for entry in page.jobs.iter().filter(|entry| !info::is_own(&entry.queue)) {
            if let (Some(change), Some(shard)) = (choose(entry), engine.shard_of_job(entry.id)) {
                let order = Order::Change { job: entry.id.into(), change };
                orders.entry(shard).or_default().push(order);
                chosen += 1;
            }
        }
        for (shard, orders) in orders {
            // What a bound forbids stays as it is.
            order(engine, shard, orders)?;
        }
        cursor = page.next;
        if cursor.is_none() {
            return Ok(chosen);
        }
    }
}

/// Whether the job's JSON fits a pattern.
fn fits(entry: &JobEntry, glob: &str) -> bool {
    let mut raw = Vec::new();
    if entry.payload.append_to(&mut raw).is_err() {
        return false;
    }
    let whole = std::str::from_utf8(&raw).ok().and_then(|raw| job::of_run(entry.id, raw));
    matches(glob.as_bytes(), whole.as_deref().unwrap_or(&raw))
}

/// Whether `text` as a whole fits `glob`, in which `*` is any bytes, `?` one, and `\` takes the meaning of
/// what follows it away. It takes the product of both lengths at the most.
fn matches(glob: &[u8], text: &[u8]) -> bool {
    let (mut at_glob, mut at_text) = (0, 0);
    // Behind the last star, and how much of the text it stands for so far.
    let mut star: Option<(usize, usize)> = None;
    while at_text < text.len() {
        match glob.get(at_glob) {
            Some(b'*') => {
                at_glob += 1;
                star = Some((at_glob, at_text));
                continue;
            }
            Some(b'?') => {
                (at_glob, at_text) = (at_glob + 1, at_text + 1);
                continue;
            }
            Some(b'\\') if glob.get(at_glob + 1) == Some(&text[at_text]) => {
                (at_glob, at_text) = (at_glob + 2, at_text + 1);
                continue;
            }
            Some(byte) if *byte != b'\\' && *byte == text[at_text] => {
                (at_glob, at_text) = (at_glob + 1, at_text + 1);
                continue;
            }
            _ => {}
        }
        let Some((behind, from)) = star else { return false };
        (at_glob, at_text) = (behind, from + 1);
        star = Some((behind, from + 1));
    }
    glob[at_glob..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_fits_the_whole_text() {
        let fits = [
            ("", ""),
            ("*", ""),
            ("*", "abc"),
            ("a*c", "abbbc"),
            ("*mx1*", "at mx1.example"),
            ("a?c", "abc"),
            (r"a\*c", "a*c"),
            ("*a*b", "aabab"),
            ("***", "x"),
            (r#"*"args":[1*"#, r#"{"args":[12]}"#),
        ];
        for (glob, text) in fits {
            assert!(matches(glob.as_bytes(), text.as_bytes()), "{glob} {text}");
        }
        let not =
            [("", "a"), ("a", ""), ("?", ""), ("abc", "abcd"), ("a*c", "abcd"), (r"a\*c", "abc")];
        for (glob, text) in not {
            assert!(!matches(glob.as_bytes(), text.as_bytes()), "{glob} {text}");
        }
    }

    #[test]
    fn a_hostile_pattern_takes_no_more_than_the_product_of_the_lengths() {
        let glob = "*a".repeat(200) + "b";
        assert!(!matches(glob.as_bytes(), "a".repeat(20_000).as_bytes()));
    }
}
