//! The directory of a simulated disk: names, and which of their changes a power cut may undo.
//!
//! It must not know what files hold.

use std::collections::BTreeMap;

use super::random::Random;

/// A file, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FileId(pub(super) u64);

/// What a file of a log is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum FileName {
    /// A segment, by its number.
    Segment(u64),
    /// A snapshot that is being written, by its position.
    Draft(u64),
    /// A snapshot, by its position.
    Snapshot(u64),
}

/// The names that programs see, over those that are durable.
#[derive(Default)]
pub(super) struct Names {
    now: BTreeMap<FileName, FileId>,
    durable: BTreeMap<FileName, FileId>,
    /// What happened since the last sync of the directory, in order.
    pending: Vec<Change>,
}

#[derive(Clone, Copy, Debug)]
enum Change {
    Create {
        name: FileName,
        file: FileId,
    },
    Remove {
        name: FileName,
        file: FileId,
    },
    /// The new name, which may have belonged to another file, and the old one change as one.
    Rename {
        to: FileName,
        file: FileId,
    },
}

impl Names {
    pub(super) fn find(&self, name: FileName) -> Option<FileId> {
        self.now.get(&name).copied()
    }

    /// All names in order.
    pub(super) fn all(&self) -> impl Iterator<Item = (FileName, FileId)> {
        self.now.iter().map(|(&name, &file)| (name, file))
    }

    /// Whether a power cut may undo a change.
    pub(super) fn is_dirty(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Whether any name leads to the file, now or after a power cut.
    pub(super) fn may_reach(&self, file: FileId) -> bool {
        let is_pending = self.pending.iter().any(|change| change.file() == file);
        is_pending
            || self.now.values().any(|&other| other == file)
            || self.durable.values().any(|&other| other == file)
    }

    pub(super) fn create(&mut self, name: FileName, file: FileId) {
        self.change(Change::Create { name, file });
    }

    /// False: there is no such name.
    pub(super) fn remove(&mut self, name: FileName) -> bool {
        let Some(file) = self.find(name) else { return false };
        self.change(Change::Remove { name, file });
        true
    }

    /// False: there is no such name.
    pub(super) fn rename(&mut self, from: FileName, to: FileName) -> bool {
        let Some(file) = self.find(from) else { return false };
        self.change(Change::Rename { to, file });
        true
    }

    pub(super) fn sync(&mut self) {
        self.durable.clone_from(&self.now);
        self.pending.clear();
    }

    /// Cuts the power. Every change since the last sync is kept or lost, each on its own: nothing
    /// promises that they reach the disk in order.
    pub(super) fn cut(&mut self, random: &mut Random) {
        let kept_of_4 = random.below(5);
        for change in std::mem::take(&mut self.pending) {
            if random.below(4) < kept_of_4 {
                change.apply(&mut self.durable);
            }
        }
        self.now.clone_from(&self.durable);
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.now);
        self.pending.push(change);
    }
}

impl Change {
    fn file(&self) -> FileId {
        match *self {
            Change::Create { file, .. }
            | Change::Remove { file, .. }
            | Change::Rename { file, .. } => file,
        }
    }

    fn apply(self, names: &mut BTreeMap<FileName, FileId>) {
        match self {
            Change::Create { name, file } => {
                names.insert(name, file);
            }
            // The name may lead to another file if a change before was lost.
            Change::Remove { name, file } => {
                if names.get(&name) == Some(&file) {
                    names.remove(&name);
                }
            }
            // The file has one name afterwards, also if changes before were lost.
            Change::Rename { to, file } => {
                names.retain(|_, other| *other != file);
                names.insert(to, file);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::FileName::{Draft, Segment, Snapshot};
    use super::*;

    /// What is left after a power cut, for many seeds.
    fn outcomes(work: impl Fn(&mut Names)) -> Vec<Vec<(FileName, u64)>> {
        let mut outcomes: Vec<Vec<(FileName, u64)>> = (0..200)
            .map(|seed| {
                let mut names = Names::default();
                work(&mut names);
                names.cut(&mut Random::new(seed));
                names.all().map(|(name, file)| (name, file.0)).collect()
            })
            .collect();
        outcomes.sort();
        outcomes.dedup();
        outcomes
    }

    #[test]
    fn what_was_synced_stays() {
        let left = outcomes(|names| {
            names.create(Segment(0), FileId(1));
            names.create(Draft(5), FileId(2));
            assert!(names.rename(Draft(5), Snapshot(5)));
            names.sync();
        });
        assert_eq!(left, [[(Segment(0), 1), (Snapshot(5), 2)]]);
    }

    #[test]
    fn what_was_not_synced_is_kept_or_lost() {
        let left = outcomes(|names| {
            names.create(Segment(0), FileId(1));
            names.sync();
            assert!(names.remove(Segment(0)));
            names.create(Segment(1), FileId(2));
        });
        let expected: [Vec<(FileName, u64)>; 4] = [
            vec![],
            vec![(Segment(0), 1)],
            vec![(Segment(0), 1), (Segment(1), 2)],
            vec![(Segment(1), 2)],
        ];
        assert_eq!(left, expected);
    }

    #[test]
    fn a_rename_is_one_change() {
        let left = outcomes(|names| {
            names.create(Segment(0), FileId(1));
            names.sync();
            assert!(names.rename(Segment(0), Segment(3)));
            assert!(names.rename(Segment(3), Segment(4)));
            assert!(!names.rename(Segment(3), Segment(5)));
        });
        assert_eq!(left, [[(Segment(0), 1)], [(Segment(3), 1)], [(Segment(4), 1)]]);
    }
}
