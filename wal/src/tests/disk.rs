//! A disk under a page cache, as Linux has it: a failed write is reported once, and its sectors
//! count as clean from then on, though the disk does not have them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::image::{Image, Random};

const SECTOR_BYTES: usize = 512;

/// What is on the disk, by segment, whatever the cache shows.
#[derive(Default)]
pub(super) struct Disk(BTreeMap<u64, DiskFile>);

struct DiskFile {
    on_disk: Vec<u8>,
    /// The cache when it was last written back, with or without success. A sector that differs
    /// from it now was stored to through a mapping, so it is dirty.
    clean: Vec<u8>,
    /// Sectors that were written since, also if with the same bytes.
    written: BTreeSet<usize>,
}

/// What a power cut does to dirty sectors.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cut {
    /// None of them reached the disk.
    LosesAll,
    /// Each may have.
    KeepsSome,
}

impl Disk {
    /// A file was opened. What was there before the first opening is on the disk.
    pub(super) fn meet(&mut self, index: u64, cached: &[u8]) {
        self.0.entry(index).or_insert_with(|| DiskFile {
            on_disk: cached.to_vec(),
            clean: cached.to_vec(),
            written: BTreeSet::new(),
        });
    }

    pub(super) fn remove(&mut self, index: u64) {
        self.0.remove(&index);
    }

    pub(super) fn rename(&mut self, from: u64, to: u64) {
        if let Some(file) = self.0.remove(&from) {
            self.0.insert(to, file);
        }
    }

    pub(super) fn write(&mut self, index: u64, offset: u64, len: usize) {
        let first = offset as usize / SECTOR_BYTES;
        let end = (offset as usize + len).div_ceil(SECTOR_BYTES);
        self.0.get_mut(&index).unwrap().written.extend(first..end);
    }

    pub(super) fn sync(&mut self, index: u64, cached: &[u8], is_written: bool) {
        // A file may be synced after it was removed.
        let Some(file) = self.0.get_mut(&index) else { return };
        if is_written {
            file.write_back(cached, |_| true);
        }
        file.written.clear();
        file.clean = cached.to_vec();
    }

    /// Cuts the power: puts what is on the disk into `dir`. No log is open there.
    pub(super) fn cut(&mut self, dir: &Path, cut: Cut, random: &mut Random) {
        let cache = Image::of(dir);
        let mut image = Image(Vec::new());
        let kept_of_8 = random.below(9);
        for (index, cached) in cache.0.iter().enumerate() {
            self.meet(index as u64, cached);
            let file = self.0.get_mut(&(index as u64)).unwrap();
            file.write_back(cached, |_| match cut {
                Cut::LosesAll => false,
                Cut::KeepsSome => random.below(8) < kept_of_8,
            });
            file.clean = file.on_disk.clone();
            file.written.clear();
            image.0.push(file.on_disk.clone());
        }
        image.write(dir);
    }
}

impl DiskFile {
    /// Writes the dirty sectors that are chosen.
    fn write_back(&mut self, cached: &[u8], mut is_chosen: impl FnMut(usize) -> bool) {
        // Lengths are metadata, which the tests take to be durable at once.
        self.on_disk.resize(cached.len(), 0);
        self.clean.resize(cached.len(), 0);
        for (sector, bytes) in cached.chunks(SECTOR_BYTES).enumerate() {
            let range = sector * SECTOR_BYTES..sector * SECTOR_BYTES + bytes.len();
            let is_dirty = self.written.contains(&sector) || self.clean[range.clone()] != *bytes;
            if is_dirty && is_chosen(sector) {
                self.on_disk[range].copy_from_slice(bytes);
            }
        }
    }
}
