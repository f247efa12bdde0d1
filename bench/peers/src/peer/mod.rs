//! What a store has to be able to do to be compared, and the list of those that are.
//!
//! Nothing here measures. Each store has a file of its own, which alone knows its calls.

pub(crate) mod bare;
pub(crate) mod fjall;
pub(crate) mod okaywal;
pub(crate) mod ours;
pub(crate) mod raft;
pub(crate) mod redb;
pub(crate) mod sqlite;
pub(crate) mod walrus;

use std::path::Path;

use crate::{
    PeerError,
    record::{PAYLOAD_BYTES, Tally},
};

/// A store that takes records and gives them back in their order.
pub(crate) trait Peer: Sized {
    /// Opens a new store in the empty directory `dir`, with the settings that suit `measure` best
    /// among those of its class.
    fn open(dir: &Path, measure: Measure) -> Result<Self, PeerError>;

    /// Takes `payloads` as one group and returns when all of it is past a sync. Called in
    /// [`Class::Durable`] only.
    fn commit(&mut self, payloads: &[[u8; PAYLOAD_BYTES]]) -> Result<(), PeerError>;

    /// Takes one record without waiting for a sync. Called in [`Class::Buffered`] only.
    fn append(&mut self, payload: &[u8; PAYLOAD_BYTES]) -> Result<(), PeerError>;

    /// Syncs whatever is not, as far as the store lets its user do that, and closes it.
    fn finish(self) -> Result<(), PeerError>;

    /// Opens the store that another process wrote in `dir` and shows each record.
    fn count(dir: &Path, tally: &mut Tally) -> Result<(), PeerError>;
}

/// When a record counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Past a sync.
    Durable,
    /// Handed to the store, synced on its interval or at the end.
    Buffered,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    /// One record a commit, each commit durable before the next: latency of a commit.
    Lone,
    /// A thousand records a commit, each commit durable before the next: latency of a commit.
    Groups,
    /// Record after record without a sync, one at the end: latency of an append.
    Buffered,
}

impl Measure {
    pub(crate) const ALL: [Self; 3] = [Self::Lone, Self::Groups, Self::Buffered];

    pub(crate) fn class(self) -> Class {
        match self {
            Self::Lone | Self::Groups => Class::Durable,
            Self::Buffered => Class::Buffered,
        }
    }

    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Lone => "lone",
            Self::Groups => "groups",
            Self::Buffered => "buffered",
        }
    }

    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|measure| measure.text() == text);
        found.ok_or_else(|| format!("{text:?} is no measure"))
    }
}

/// The stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    /// No store: a file that is written and synced, what the others cost at least.
    Bare,
    Tickwheel,
    RaftEngine,
    OkayWal,
    Fjall,
    Redb,
    Walrus,
    Sqlite,
}

impl Name {
    pub(crate) const ALL: [Self; 8] = [
        Self::Bare,
        Self::Tickwheel,
        Self::RaftEngine,
        Self::OkayWal,
        Self::Fjall,
        Self::Redb,
        Self::Walrus,
        Self::Sqlite,
    ];

    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Tickwheel => "tickwheel-wal",
            Self::RaftEngine => "raft-engine",
            Self::OkayWal => "okaywal",
            Self::Fjall => "fjall",
            Self::Redb => "redb",
            Self::Walrus => "walrus-rust",
            Self::Sqlite => "rusqlite",
        }
    }

    /// The version that the manifest fixes.
    pub(crate) fn version(self) -> &'static str {
        match self {
            Self::Bare => "",
            Self::Tickwheel => "of this tree",
            Self::RaftEngine => "0.4.2",
            Self::OkayWal => "0.3.1",
            Self::Fjall => "3.1.13",
            Self::Redb => "4.4.0",
            Self::Walrus => "0.2.0",
            Self::Sqlite => "0.41.1",
        }
    }

    /// Why the store cannot be measured so; `None`: it can.
    pub(crate) fn obstacle(self, measure: Measure) -> Option<&'static str> {
        match (self, measure.class()) {
            (Self::OkayWal, Class::Buffered) => Some("every commit syncs, there is no other"),
            _ => None,
        }
    }

    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let names = Self::ALL.map(Self::text);
        let found = Self::ALL.into_iter().find(|name| name.text() == text);
        found.ok_or_else(|| format!("{text:?} is not among {}", names.join(", ")))
    }
}
