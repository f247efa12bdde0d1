//! What a job waits for: other jobs, and how they have to end.
//!
//! [`Needs`] is the list as it is written and held; [`Waits`] leads from a job to those that wait for it, and
//! holds what has ended and was not told to them yet. It knows ids, never records.

use alloc::{
    boxed::Box,
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use super::Refusal;
use crate::{id::JobId, limits};

/// Another job that has to end first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// That job. It is in the same shard, and has not ended.
    pub job: JobId,
    /// How it has to end.
    pub when: When,
}

/// How a job has to end that another one waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Well.
    Succeeded,
    /// Not well: it failed for good, was cancelled or expired.
    NotSucceeded,
    /// However.
    Done,
}

/// What becomes of a job when one that it waits for ends otherwise than it has to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Otherwise {
    /// It is cancelled.
    #[default]
    Cancel,
    /// It does not wait any longer.
    Run,
}

/// Bytes of one need as it is written.
const NEED_BYTES: usize = 9;
const CODES: [When; 3] = [When::Succeeded, When::NotSucceeded, When::Done];

/// A list of needs, each of another job, as it is written: per need the job's id in 8 bytes, little-endian,
/// and a byte that says how it has to end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs(Box<[u8]>);

impl Needs {
    /// The list of `needs`.
    #[must_use]
    pub fn new(needs: &[Need]) -> Self {
        let byte = |when| CODES.iter().position(|code| *code == when).unwrap_or(0) as u8;
        let mut bytes = Vec::with_capacity(needs.len() * NEED_BYTES);
        for need in needs {
            bytes.extend(need.job.0.to_le_bytes());
            bytes.push(byte(need.when));
        }
        Self(bytes.into())
    }

    /// The list that `bytes` are, if they are one.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let (needs, rest) = bytes.as_chunks::<NEED_BYTES>();
        let is_list = rest.is_empty()
            && needs.len() <= limits::NEEDS_MAX
            && needs.iter().all(|need| usize::from(need[8]) < CODES.len());
        is_list.then(|| Self(bytes.into()))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The needs, in their order.
    pub fn iter(&self) -> impl Iterator<Item = Need> + '_ {
        self.0.as_chunks::<NEED_BYTES>().0.iter().map(|need| {
            let [id @ .., when] = *need;
            let when = CODES.get(usize::from(when)).copied().unwrap_or(When::Done);
            Need { job: JobId(u64::from_le_bytes(id)), when }
        })
    }

    /// The same without those of `job`.
    pub(crate) fn without(&self, job: JobId) -> Self {
        let left: Vec<Need> = self.iter().filter(|need| need.job != job).collect();
        Self::new(&left)
    }

    /// Checks that there are not too many, and none twice.
    pub(crate) fn check(&self) -> Result<(), Refusal> {
        let mut jobs: Vec<JobId> = self.iter().map(|need| need.job).collect();
        if jobs.len() > limits::NEEDS_MAX {
            return Err(Refusal::TooManyNeeds { count: jobs.len() });
        }
        jobs.sort_unstable();
        match jobs.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(Refusal::NeedTwice(pair[0])),
            None => Ok(()),
        }
    }
}

/// Who waits for whom.
#[derive(Debug, Default)]
pub(crate) struct Waits {
    /// Those that wait for a job.
    of: BTreeMap<JobId, BTreeSet<JobId>>,
    /// Jobs that have ended, and whether well, while others waited for them.
    ended: BTreeMap<JobId, bool>,
}

impl Waits {
    /// `job` waits for `needs`.
    pub(crate) fn add(&mut self, job: JobId, needs: &Needs) {
        for need in needs.iter() {
            self.of.entry(need.job).or_default().insert(job);
        }
    }

    /// `job` does not wait for `on` any more.
    pub(crate) fn remove(&mut self, job: JobId, on: JobId) {
        let Some(waiting) = self.of.get_mut(&on) else { return };
        waiting.remove(&job);
        if waiting.is_empty() {
            self.of.remove(&on);
            self.ended.remove(&on);
        }
    }

    /// `job` has ended, `well` or not: who waits for it is to be told.
    pub(crate) fn end(&mut self, job: JobId, well: bool) {
        if self.of.contains_key(&job) {
            self.ended.insert(job, well);
        }
    }

    /// How many wait for `job`.
    pub(crate) fn count(&self, job: JobId) -> usize {
        self.of.get(&job).map_or(0, BTreeSet::len)
    }

    /// Whether nobody waits for anybody.
    pub(crate) fn is_empty(&self) -> bool {
        self.of.is_empty()
    }

    /// Whether all were told what they waited for.
    pub(crate) fn is_settled(&self) -> bool {
        self.ended.is_empty()
    }

    /// The next job to be told of one that has ended: who waits, that one, and whether it ended well.
    pub(crate) fn next(&self) -> Option<(JobId, JobId, bool)> {
        let (on, well) = self.ended.first_key_value()?;
        let job = self.of.get(on)?.first()?;
        Some((*job, *on, *well))
    }

    /// Those that have ended and were not told to all, with how they did.
    pub(crate) fn ended(&self) -> impl Iterator<Item = (JobId, bool)> + '_ {
        self.ended.iter().map(|(job, well)| (*job, *well))
    }

    /// Each pair of a job that waits and one that it waits for.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (JobId, JobId)> + '_ {
        self.of.iter().flat_map(|(on, waiting)| waiting.iter().map(|job| (*job, *on)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_list_comes_back_as_it_was_written(needs in prop::collection::vec((any::<u64>(), 0..3_usize), 0..64)) {
            let needs: Vec<Need> =
                needs.into_iter().map(|(job, when)| Need { job: JobId(job), when: CODES[when] }).collect();
            let list = Needs::new(&needs);
            prop_assert_eq!(list.iter().collect::<Vec<_>>(), needs);
            prop_assert_eq!(Needs::read(list.bytes()), Some(list));
        }

        #[test]
        fn any_bytes_are_a_list_or_none(bytes in prop::collection::vec(any::<u8>(), 0..700)) {
            if let Some(list) = Needs::read(&bytes) {
                prop_assert_eq!(list.bytes(), &bytes[..]);
                prop_assert!(list.iter().count() <= limits::NEEDS_MAX);
            }
        }
    }

    #[test]
    fn a_job_is_told_of_each_that_has_ended_once() {
        let [a, b, c, d] = [1, 2, 3, 4].map(JobId);
        let mut waits = Waits::default();
        let needs = |jobs: &[JobId]| {
            let needs: Vec<Need> =
                jobs.iter().map(|job| Need { job: *job, when: When::Done }).collect();
            Needs::new(&needs)
        };
        waits.add(c, &needs(&[a, b]));
        waits.add(d, &needs(&[a]));
        assert_eq!((waits.count(a), waits.count(b), waits.count(c)), (2, 1, 0));
        waits.end(d, true);
        assert!(waits.is_settled(), "nobody waits for it");
        waits.end(a, false);
        assert_eq!(waits.next(), Some((c, a, false)));
        waits.remove(c, a);
        assert_eq!(waits.next(), Some((d, a, false)));
        waits.remove(d, a);
        assert!(waits.is_settled() && !waits.is_empty());
        waits.remove(c, b);
        assert!(waits.is_empty());
    }
}
