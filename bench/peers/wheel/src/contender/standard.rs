//! What the standard library offers: a heap, which cannot cancel, and an ordered map.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
};

use super::Timers;

pub(crate) struct Heap(BinaryHeap<Reverse<(u64, u32)>>);

impl Timers for Heap {
    const NAME: &'static str = "BinaryHeap";
    const CANCELS: bool = false;

    fn new(bound: u32) -> Self {
        Self(BinaryHeap::with_capacity(bound as usize))
    }

    fn insert(&mut self, id: u32, due_ns: u64) {
        self.0.push(Reverse((due_ns, id)));
    }

    fn cancel(&mut self, _: u32) {
        unreachable!("a heap takes out nothing but its first entry");
    }

    fn expire(&mut self, now_ns: u64, expired: &mut Vec<u32>) {
        while self.0.peek().is_some_and(|Reverse((due_ns, _))| *due_ns <= now_ns) {
            expired.extend(self.0.pop().map(|Reverse((_, id))| id));
        }
    }
}

pub(crate) struct Map {
    map: BTreeMap<(u64, u32), ()>,
    /// A cancel has to know the key.
    due_ns: Vec<u64>,
}

impl Timers for Map {
    const NAME: &'static str = "BTreeMap";

    fn new(bound: u32) -> Self {
        Self { map: BTreeMap::new(), due_ns: vec![0; bound as usize] }
    }

    fn insert(&mut self, id: u32, due_ns: u64) {
        self.due_ns[id as usize] = due_ns;
        self.map.insert((due_ns, id), ());
    }

    fn cancel(&mut self, id: u32) {
        let removed = self.map.remove(&(self.due_ns[id as usize], id));
        assert!(removed.is_some(), "a timer that was inserted is not there");
    }

    fn expire(&mut self, now_ns: u64, expired: &mut Vec<u32>) {
        while let Some(entry) = self.map.first_entry() {
            let (due_ns, id) = *entry.key();
            if due_ns > now_ns {
                return;
            }
            entry.remove();
            expired.push(id);
        }
    }
}
