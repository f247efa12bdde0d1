//! How a jid names a job of the engine. Most jids are keys, which clients choose; jobs of schedules have
//! none, and get one from here that holds the engine's id. It must not know what is done with a job.

use tickwheel_engine::{
    Engine, JobId,
    worker::{Handle, key_of},
};

/// Begins the jids of jobs of schedules; sixteen hexadecimal digits follow.
const PREFIX: &str = "tw-";
/// Begins the ids of batches; sixteen hexadecimal digits follow.
const BATCH_PREFIX: &str = "b-";
const DIGITS: usize = 16;

/// The jid of a job that no client named.
pub(super) fn jid_of(job: JobId) -> String {
    format!("{PREFIX}{:016x}", job.0)
}

/// The job whose jid is made by [`jid_of`].
pub(crate) fn job_of(jid: &str) -> Option<JobId> {
    id_in(jid, PREFIX)
}

/// The id on the wire of a batch of the engine.
pub(super) fn bid_of(batch: JobId) -> String {
    format!("{BATCH_PREFIX}{:016x}", batch.0)
}

/// The batch whose id on the wire is made by [`bid_of`].
pub(super) fn batch_of(bid: &str) -> Option<JobId> {
    id_in(bid, BATCH_PREFIX)
}

/// What a client is told of a batch that is not there.
pub(super) fn no_such_batch(bid: &str) -> String {
    format!("No such batch {bid}")
}

fn id_in(name: &str, prefix: &str) -> Option<JobId> {
    let digits = name.strip_prefix(prefix)?;
    let is_digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if digits.len() != DIGITS || !digits.bytes().all(is_digit) {
        return None;
    }
    u64::from_str_radix(digits, 16).ok().map(JobId)
}

/// The shard that has the job with this jid, and how the engine knows the job.
pub(super) fn find(engine: &Engine, jid: &str) -> (usize, Handle) {
    if let Some(job) = job_of(jid)
        && let Some(shard) = engine.shard_of_job(job)
    {
        return (shard, job.into());
    }
    let key = key_of(jid.as_bytes());
    // With one shard no hash has to be computed.
    let shard = if engine.shards() == 1 { 0 } else { engine.shard_of(key) };
    (shard, key.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_come_back_and_nothing_else_is_one() {
        for id in [0, 42, u64::MAX] {
            assert_eq!(job_of(&jid_of(JobId(id))), Some(JobId(id)));
            assert_eq!(batch_of(&bid_of(JobId(id))), Some(JobId(id)));
        }
        for other in ["tw-", "tw-000000000000002A", "tw-+00000000000002a", "tw-00000000000000000"] {
            assert_eq!(job_of(other), None, "{other}");
        }
    }
}
