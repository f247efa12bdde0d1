//! Names for jobs, shards, slots and positions. Plain numbers with a type each, so that none is
//! taken for another.

use core::fmt;

/// One of at most 256 shards of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u8);

/// A job's name: its shard in the upper 8 bits, a sequence number in the lower 56. Never reused.
///
/// ```
/// use tickwheel_core::{JobId, ShardId};
/// let id = JobId::new(ShardId(3), 42);
/// assert_eq!((id.shard(), id.sequence()), (ShardId(3), 42));
/// assert_eq!(id.to_string().parse(), Ok(id));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u64);

impl JobId {
    const SEQUENCE_BITS: u32 = 56;

    /// Highest sequence number of a shard.
    pub const SEQUENCE_MAX: u64 = (1 << Self::SEQUENCE_BITS) - 1;

    /// The id of job `sequence` of `shard`.
    ///
    /// # Panics
    /// If `sequence` needs more than 56 bits, which a shard that adds a million jobs a second
    /// reaches after two thousand years.
    #[must_use]
    pub const fn new(shard: ShardId, sequence: u64) -> Self {
        assert!(sequence <= Self::SEQUENCE_MAX, "a shard's sequence has 56 bits");
        Self((shard.0 as u64) << Self::SEQUENCE_BITS | sequence)
    }

    /// The shard that holds the job.
    #[must_use]
    pub const fn shard(self) -> ShardId {
        ShardId((self.0 >> Self::SEQUENCE_BITS) as u8)
    }

    /// Its number within the shard, from 1.
    #[must_use]
    pub const fn sequence(self) -> u64 {
        self.0 & Self::SEQUENCE_MAX
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.shard().0, self.sequence())
    }
}

/// The text is not of the form `SHARD-SEQUENCE`, such as `0-42`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a job id looks like SHARD-SEQUENCE, e.g. 0-42")]
pub struct ParseJobIdError;

impl core::str::FromStr for JobId {
    type Err = ParseJobIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (shard, sequence) = text.split_once('-').ok_or(ParseJobIdError)?;
        let shard = shard.parse().map_err(|_| ParseJobIdError)?;
        let sequence: u64 = sequence.parse().map_err(|_| ParseJobIdError)?;
        if sequence > Self::SEQUENCE_MAX {
            return Err(ParseJobIdError);
        }
        Ok(Self::new(ShardId(shard), sequence))
    }
}

/// Where a job's record lies in the table. Reused once the job has ended, so a slot from outside
/// is only a hint and is checked against the id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u32);

/// A fencing token: rises with each attempt of a job. An end that carries an older one is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u32);

/// A kind's number within one shard of one process; its name is what is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KindId(pub u16);

/// A queue's number within one shard of one process; its name is what is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueId(pub u16);

/// A live group's number within one shard of one process. Reused once the group is forgotten; queue and
/// name are what is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct GroupId(pub(crate) u32);

/// A caller's own name for a job, as 128 bits: a digest of a name of any length, made such that two
/// names never have the same one. Unique among the jobs that have not ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub [u8; 16]);

impl Key {
    /// For tables in memory.
    pub(crate) fn hash(self) -> u64 {
        let bits = u128::from_le_bytes(self.0);
        mix(bits as u64 ^ (bits >> 64) as u64)
    }
}

/// A position in the journal of one shard. Positions rise with each append.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

/// Spreads a number over 64 bits, the same way in each run and on each machine
/// (the finaliser of `SplitMix64`, Steele, Lea and Flood, 2014).
#[must_use]
pub(crate) const fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Hash of a short text, the same in each run and on each machine: FNV-1a and a finaliser. Not
/// keyed: use it where the number of names is bounded, so that chosen collisions cost little.
#[must_use]
pub fn hash_text(text: &str) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in text.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    mix(hash)
}
