//! Which shard a job or schedule belongs to: what can be found again by a name has its place by that
//! name. Running engines and the tool that changes the number of shards go by the same two functions.
//!
//! It must not know shards, only how many there are.

use tickwheel_core::{self as core, JobId, Key, Refusal, id::hash_text};

use crate::job::NewJob;

/// The shard, of `shards`, that a job must go to: where its group is, its batch and the jobs that it waits for, where
/// its key of uniqueness has its place, else where its own key has. `None` if it may go anywhere.
pub(crate) fn home_of(job: &NewJob, shards: usize) -> Result<Option<usize>, Refusal> {
    let own = job.key_given().map(|key| shard_of_key(key, shards));
    let Some(options) = job.options_given() else { return Ok(own) };
    let of_id = |id: JobId| usize::from(id.shard().0);
    let unique = options.unique.map(|unique| shard_of_key(unique.key, shards));
    let batch = options.batch.map(|membership| of_id(membership.batch));
    let needs = options.needs.iter().map(|need| of_id(need.job));
    let group = options.group.as_deref();
    let group = group.map(|group| shard_of_group(job.queue_given(), group, shards));
    let mut home = None;
    for shard in group.into_iter().chain(unique).chain(batch).chain(needs) {
        // An id of another engine may name any shard; it is refused there.
        let shard = shard.min(shards - 1);
        if *home.get_or_insert(shard) != shard {
            if group.is_some() {
                return Err(Refusal::Group(
                    "the job's batch, its key of uniqueness or the jobs that it waits for are in \
                     another shard than its group: leave one out, or run one shard",
                ));
            }
            return Err(Refusal::Relation(
                "its batch, its key of uniqueness and the jobs that it waits for are in different \
                 shards: leave one out, or run one shard",
            ));
        }
    }
    Ok(home.or(own))
}

/// The shard, of `shards`, that has the job with this key. `shards` is at least 1.
pub(crate) fn shard_of_key(key: Key, shards: usize) -> usize {
    let [low, ..] = key.0.as_chunks::<8>().0 else { return 0 };
    (u64::from_le_bytes(*low) % shards as u64) as usize
}

/// The shard, of `shards`, that has all jobs of a group of a queue. `shards` is at least 1.
pub(crate) fn shard_of_group(queue: &str, group: &str, shards: usize) -> usize {
    // Two queues' groups of one name are two groups.
    let hash = hash_text(queue).rotate_left(1) ^ hash_text(group);
    (hash % shards as u64) as usize
}

/// The shard, of `shards`, that has a schedule: that of its job's group, else that of its name.
pub(crate) fn home_of_schedule(schedule: &core::Schedule<'_>, shards: usize) -> usize {
    let options = schedule.job.options.as_ref();
    match options.and_then(|options| options.group.as_deref()) {
        Some(group) => shard_of_group(&schedule.job.queue, group, shards),
        None => shard_of_name(&schedule.name, shards),
    }
}

/// The shard, of `shards`, that has the schedule of this name if its job has no group. `shards` is at least 1.
pub(crate) fn shard_of_name(name: &str, shards: usize) -> usize {
    (hash_text(name) % shards as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was routed once must be found there by every later version.
    #[test]
    fn places_stay_as_they_are() {
        let key = Key([1, 2, 0, 0, 0, 0, 0, 0, 9, 9, 9, 9, 9, 9, 9, 9]);
        assert_eq!([1, 2, 3, 256].map(|shards| shard_of_key(key, shards)), [0, 1, 0, 1]);
        assert_eq!([1, 2, 3, 256].map(|shards| shard_of_name("backup", shards)), [0, 0, 0, 72]);
        let group = [1, 2, 3, 256].map(|shards| shard_of_group("mail", "acme", shards));
        assert_eq!(group, [0, 1, 2, 197]);
    }
}
