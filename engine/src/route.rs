//! Which shard a job or schedule belongs to: what can be found again by a name has its place by that
//! name. Running engines and the tool that changes the number of shards go by the same two functions.
//!
//! It must not know shards, only how many there are.

use tickwheel_core::{JobId, Key, Refusal, id::hash_text};

use crate::job::NewJob;

/// The shard, of `shards`, that a job must go to: where its batch is and the jobs that it waits for, where its key of
/// uniqueness has its place, else where its own key has. `None` if it may go anywhere.
pub(crate) fn home_of(job: &NewJob, shards: usize) -> Result<Option<usize>, Refusal> {
    let own = job.key_given().map(|key| shard_of_key(key, shards));
    let Some(options) = job.options_given() else { return Ok(own) };
    let of_id = |id: JobId| usize::from(id.shard().0);
    let unique = options.unique.map(|unique| shard_of_key(unique.key, shards));
    let batch = options.batch.map(|membership| of_id(membership.batch));
    let needs = options.needs.iter().map(|need| of_id(need.job));
    let mut home = None;
    for shard in unique.into_iter().chain(batch).chain(needs) {
        if *home.get_or_insert(shard) != shard {
            return Err(Refusal::Relation(
                "its batch, its key of uniqueness and the jobs that it waits for are in different \
                 shards: leave one out, or run one shard",
            ));
        }
    }
    // An id of another engine may name any shard; it is refused there.
    Ok(home.map(|shard| shard.min(shards - 1)).or(own))
}

/// The shard, of `shards`, that has the job with this key. `shards` is at least 1.
pub(crate) fn shard_of_key(key: Key, shards: usize) -> usize {
    let [low, ..] = key.0.as_chunks::<8>().0 else { return 0 };
    (u64::from_le_bytes(*low) % shards as u64) as usize
}

/// The shard, of `shards`, that has the schedule of this name. `shards` is at least 1.
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
    }
}
