//! Names as small numbers: of kinds and of queues. The numbers live as long as the process; the
//! journal holds the names.

use alloc::{sync::Arc, vec::Vec};

use hashbrown::HashTable;

use crate::{id::hash_text, limits};

/// The names of one sort that a shard has seen.
#[derive(Debug)]
pub(crate) struct Names {
    names: Vec<Arc<str>>,
    index: HashTable<u16>,
    /// The one that was asked for last: most often it is the next one too.
    recent: u16,
    max: usize,
}

impl Names {
    /// At most `max` names.
    pub(crate) fn new(max: usize) -> Self {
        Self { names: Vec::new(), index: HashTable::new(), recent: 0, max }
    }

    /// The name of a number that was given out.
    pub(crate) fn name(&self, number: u16) -> &str {
        &self.names[usize::from(number)]
    }

    /// All names, in the order of their numbers; shared, not copied.
    pub(crate) fn all(&self) -> &[Arc<str>] {
        &self.names
    }

    /// Whether `name` is known or can be added.
    pub(crate) fn has_room_for(&self, name: &str) -> bool {
        self.names.len() < self.max || self.find(name).is_some()
    }

    /// The number of `name`, given out now if need be; `None` when there are too many.
    pub(crate) fn intern(&mut self, name: &str) -> Option<u16> {
        if self.is_recent(name) {
            return Some(self.recent);
        }
        let hash = hash_text(name);
        if let Some(number) = self.find_hashed(hash, name) {
            self.recent = number;
            return Some(number);
        }
        if self.names.len() >= self.max {
            return None;
        }
        let number = self.names.len() as u16;
        self.names.push(name.into());
        let names = &self.names;
        self.index.insert_unique(hash, number, |n| hash_text(&names[usize::from(*n)]));
        Some(number)
    }

    /// The number of a name that is known.
    pub(crate) fn find(&self, name: &str) -> Option<u16> {
        if self.is_recent(name) {
            return Some(self.recent);
        }
        self.find_hashed(hash_text(name), name)
    }

    fn is_recent(&self, name: &str) -> bool {
        self.names.get(usize::from(self.recent)).is_some_and(|recent| **recent == *name)
    }

    fn find_hashed(&self, hash: u64, name: &str) -> Option<u16> {
        self.index.find(hash, |n| *self.names[usize::from(*n)] == *name).copied()
    }
}

// Numbers are 16 bits wide.
const _: () = assert!(limits::KINDS_MAX <= u16::MAX as usize);
const _: () = assert!(limits::QUEUES_MAX <= u16::MAX as usize);
