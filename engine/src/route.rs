//! Which shard a job or schedule belongs to: what can be found again by a name has its place by that
//! name. Running engines and the tool that changes the number of shards go by the same two functions.
//!
//! It must not know shards, only how many there are.

use tickwheel_core::{Key, id::hash_text};

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
