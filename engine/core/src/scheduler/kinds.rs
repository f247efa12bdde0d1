//! Names of kinds, as small numbers. The numbers live as long as the process; the journal holds
//! the names.

use alloc::{sync::Arc, vec::Vec};

use hashbrown::HashTable;

use crate::{
    id::{KindId, hash_text},
    limits,
};

/// The kinds that a shard has seen.
#[derive(Debug)]
pub(crate) struct Kinds {
    names: Vec<Arc<str>>,
    index: HashTable<u16>,
    /// The kind that was asked for last: most often it is the next one too.
    recent: KindId,
}

impl Kinds {
    pub(crate) fn new() -> Self {
        Self { names: Vec::new(), index: HashTable::new(), recent: KindId(0) }
    }

    pub(crate) fn name(&self, kind: KindId) -> &str {
        &self.names[usize::from(kind.0)]
    }

    /// All names, in the order of their numbers; shared, not copied.
    pub(crate) fn names(&self) -> &[Arc<str>] {
        &self.names
    }

    /// Whether `name` is known or can be added.
    pub(crate) fn has_room_for(&self, name: &str) -> bool {
        self.names.len() < limits::KINDS_MAX || self.find(hash_text(name), name).is_some()
    }

    /// The number of `name`; `None` when there are too many.
    pub(crate) fn intern(&mut self, name: &str) -> Option<KindId> {
        if self.names.get(usize::from(self.recent.0)).is_some_and(|recent| **recent == *name) {
            return Some(self.recent);
        }
        let hash = hash_text(name);
        if let Some(number) = self.find(hash, name) {
            self.recent = KindId(number);
            return Some(self.recent);
        }
        if self.names.len() >= limits::KINDS_MAX {
            return None;
        }
        let number = self.names.len() as u16;
        self.names.push(name.into());
        let names = &self.names;
        self.index.insert_unique(hash, number, |n| hash_text(&names[usize::from(*n)]));
        Some(KindId(number))
    }

    fn find(&self, hash: u64, name: &str) -> Option<u16> {
        self.index.find(hash, |n| *self.names[usize::from(*n)] == *name).copied()
    }
}

// A kind's number is 16 bits wide.
const _: () = assert!(limits::KINDS_MAX <= u16::MAX as usize);
