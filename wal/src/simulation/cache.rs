//! One file of a simulated disk: a page cache over a medium.
//!
//! It owns the bytes and what a power cut does to them. It must not know names or what fails when.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rustix::fs::MemfdFlags;

use super::random::Random;

/// What the medium writes as a whole.
pub(super) const SECTOR_BYTES: usize = 512;
/// What the cache drops as a whole.
const PAGE_BYTES: usize = 4096;

type Sector = [u8; SECTOR_BYTES];

/// A file: what programs see, what is on the medium, and what may be there after a power cut.
pub(super) struct CachedFile {
    /// What programs read, write and map.
    memory: File,
    /// The bytes of `memory` when they were last looked at, filled up to whole sectors.
    cached: Vec<u8>,
    len_bytes: u64,
    /// The length on the medium, then those that the file had since it was last synced.
    lens_bytes: Vec<u64>,
    /// As long as `cached`.
    medium: Vec<u8>,
    /// Every content of the sectors that were written since the last sync. A sector that is not
    /// here counts as clean, whether or not the medium has it.
    dirty: BTreeMap<usize, Vec<Sector>>,
    /// Sectors of the medium that cannot be read.
    bad: BTreeSet<usize>,
    /// Bits of the medium that are not as they were written.
    flipped: BTreeSet<u64>,
    /// It is or was mapped for writing, so it may change without being told.
    is_mapped: bool,
}

impl CachedFile {
    pub(super) fn empty() -> io::Result<Self> {
        Ok(CachedFile {
            memory: memory_of(&[])?,
            cached: Vec::new(),
            len_bytes: 0,
            lens_bytes: vec![0],
            medium: Vec::new(),
            dirty: BTreeMap::new(),
            bad: BTreeSet::new(),
            flipped: BTreeSet::new(),
            is_mapped: false,
        })
    }

    pub(super) fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    /// The memory, to be mapped for reading.
    pub(super) fn memory(&self) -> &File {
        &self.memory
    }

    /// The memory, to be mapped for writing.
    pub(super) fn memory_for_writing(&mut self) -> &File {
        self.is_mapped = true;
        &self.memory
    }

    /// Makes the file at least that long.
    pub(super) fn extend(&mut self, len_bytes: u64) -> io::Result<()> {
        if len_bytes > self.len_bytes {
            self.memory.set_len(len_bytes)?;
            self.len_bytes = len_bytes;
            self.lens_bytes.push(len_bytes);
            let whole = (len_bytes as usize).next_multiple_of(SECTOR_BYTES);
            self.cached.resize(whole, 0);
            self.medium.resize(whole, 0);
        }
        Ok(())
    }

    pub(super) fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let count = (self.len_bytes.saturating_sub(offset) as usize).min(buffer.len());
        self.memory.read_exact_at(&mut buffer[..count], offset)?;
        Ok(count)
    }

    pub(super) fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.observe()?;
        let start = offset as usize;
        let end = start + bytes.len();
        self.extend(end as u64)?;
        self.memory.write_all_at(bytes, offset)?;
        self.cached[start..end].copy_from_slice(bytes);
        // Also those whose bytes stay the same: the medium may have others.
        for sector in start / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES) {
            self.note(sector);
            self.bad.remove(&sector);
        }
        Ok(())
    }

    /// Looks for what was stored through a mapping.
    pub(super) fn observe(&mut self) -> io::Result<()> {
        if !self.is_mapped {
            return Ok(());
        }
        let mut bytes = vec![0; self.cached.len()];
        self.memory.read_exact_at(&mut bytes[..self.len_bytes as usize], 0)?;
        if bytes == self.cached {
            return Ok(());
        }
        let before = std::mem::replace(&mut self.cached, bytes);
        for (sector, before) in before.chunks_exact(SECTOR_BYTES).enumerate() {
            if self.cached[sector_range(sector)] != *before {
                self.note(sector);
            }
        }
        Ok(())
    }

    /// Writes everything to the medium.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.observe()?;
        for sector in std::mem::take(&mut self.dirty).into_keys() {
            let range = sector_range(sector);
            self.medium[range.clone()].copy_from_slice(&self.cached[range]);
            self.forget_flips(sector);
        }
        self.lens_bytes = vec![self.len_bytes];
        Ok(())
    }

    /// Writes some of the dirty sectors and forgets that the others were dirty.
    pub(super) fn fail_sync(&mut self, random: &mut Random) -> io::Result<()> {
        self.observe()?;
        self.write_some(random);
        Ok(())
    }

    /// Cuts the power: what is on the medium is all that is left, to be read again by
    /// [`restart`](CachedFile::restart).
    pub(super) fn cut_power(&mut self, random: &mut Random) {
        self.write_some(random);
        let shortest = self.lens_bytes.iter().min().copied().unwrap_or(0);
        let longest = self.lens_bytes.iter().max().copied().unwrap_or(0);
        self.len_bytes = match random.below(4) {
            // A file that grows may do so in steps.
            0 => shortest + random.below((longest - shortest) / 512 + 1) * 512,
            1 => shortest,
            _ => longest,
        };
        self.lens_bytes = vec![self.len_bytes];
        let len = self.len_bytes as usize;
        self.medium.truncate(len.next_multiple_of(SECTOR_BYTES));
        self.medium[len..].fill(0);
        self.flipped.retain(|bit| bit / 8 < len as u64);
        self.cached.clear();
    }

    /// Drops pages that count as clean from the cache, so that the medium's bytes are seen again.
    pub(super) fn evict_some(&mut self, random: &mut Random) -> io::Result<bool> {
        let mut evicted = false;
        for page in 0..self.cached.len().div_ceil(PAGE_BYTES) {
            let start = page * PAGE_BYTES;
            let end = (start + PAGE_BYTES).min(self.cached.len());
            let sectors = start / SECTOR_BYTES..end / SECTOR_BYTES;
            if self.cached[start..end] == self.medium[start..end]
                || self.dirty.range(sectors).next().is_some()
                || random.one_in(2)
            {
                continue;
            }
            let len = end.min(self.len_bytes as usize) - start;
            self.cached[start..end].copy_from_slice(&self.medium[start..end]);
            self.memory.write_all_at(&self.cached[start..start + len], start as u64)?;
            evicted = true;
        }
        Ok(evicted)
    }

    /// Goes on in memory of its own: mappings that were made before no longer count.
    pub(super) fn restart(&mut self) -> io::Result<()> {
        if self.cached.is_empty() {
            self.cached.clone_from(&self.medium);
        }
        self.memory = memory_of(&self.cached[..self.len_bytes as usize])?;
        self.is_mapped = false;
        Ok(())
    }

    /// Changes one bit on the medium. The cache shows it only when it reads the sector again.
    pub(super) fn flip_bit(&mut self, bit: u64) -> bool {
        let Some(byte) = self.medium.get_mut((bit / 8) as usize) else { return false };
        *byte ^= 1 << (bit % 8);
        if !self.flipped.remove(&bit) {
            self.flipped.insert(bit);
        }
        true
    }

    /// Makes a sector of the medium unreadable until it is written.
    pub(super) fn break_sector(&mut self, sector: usize) {
        self.bad.insert(sector);
    }

    /// Makes all sectors readable and flips bits back that were not written since.
    pub(super) fn heal(&mut self) {
        self.bad.clear();
        for bit in std::mem::take(&mut self.flipped) {
            if let Some(byte) = self.medium.get_mut((bit / 8) as usize) {
                *byte ^= 1 << (bit % 8);
            }
        }
    }

    /// Makes flipped bits what the file holds: nothing flips them back.
    pub(super) fn keep_flips(&mut self) {
        self.flipped.clear();
    }

    /// Whether a sector of the file cannot be read.
    pub(super) fn is_bad(&self, start: u64, len: u64) -> bool {
        let first = start as usize / SECTOR_BYTES;
        let end = (start.saturating_add(len) as usize).div_ceil(SECTOR_BYTES);
        self.bad.range(first..end).next().is_some()
    }

    /// What is on the medium.
    pub(super) fn medium(&self) -> &[u8] {
        &self.medium
    }

    /// Bytes that the medium does not have in every case: a power cut may lose them.
    pub(super) fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    fn note(&mut self, sector: usize) {
        let mut content = [0; SECTOR_BYTES];
        content.copy_from_slice(&self.cached[sector_range(sector)]);
        let versions = self.dirty.entry(sector).or_default();
        if versions.last() != Some(&content) {
            versions.push(content);
        }
    }

    /// A sector was written: whatever bits had changed there are right again.
    fn forget_flips(&mut self, sector: usize) {
        let bits_per_sector = 8 * SECTOR_BYTES as u64;
        let start = sector as u64 * bits_per_sector;
        self.flipped.retain(|bit| !(start..start + bits_per_sector).contains(bit));
    }

    /// Of each dirty sector one of its versions reaches the medium, or none. All are clean then.
    fn write_some(&mut self, random: &mut Random) {
        let kept_of_8 = random.below(9);
        let newest_of_4 = random.below(5);
        for (sector, versions) in std::mem::take(&mut self.dirty) {
            if random.below(8) >= kept_of_8 {
                continue;
            }
            let last = versions.len() - 1;
            let is_newest = random.below(4) < newest_of_4;
            let version = if is_newest { last } else { random.below(last as u64 + 1) as usize };
            self.medium[sector_range(sector)].copy_from_slice(&versions[version]);
            self.forget_flips(sector);
        }
    }
}

fn sector_range(sector: usize) -> std::ops::Range<usize> {
    sector * SECTOR_BYTES..(sector + 1) * SECTOR_BYTES
}

fn memory_of(bytes: &[u8]) -> io::Result<File> {
    let memory = File::from(rustix::fs::memfd_create("simulated", MemfdFlags::CLOEXEC)?);
    memory.write_all_at(bytes, 0)?;
    Ok(memory)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECTORS: usize = 4;

    fn file_of(byte: u8) -> CachedFile {
        let mut file = CachedFile::empty().unwrap();
        file.write_at(&[byte; SECTORS * SECTOR_BYTES], 0).unwrap();
        file.sync().unwrap();
        file
    }

    /// The first byte of each sector after a power cut, for many seeds.
    fn outcomes(work: impl Fn(&mut CachedFile)) -> BTreeSet<Vec<u8>> {
        let outcome = |seed| {
            let mut file = file_of(1);
            work(&mut file);
            file.cut_power(&mut Random::new(seed));
            file.restart().unwrap();
            let mut bytes = vec![0; file.len_bytes() as usize];
            file.read_at(&mut bytes, 0).unwrap();
            bytes.chunks(SECTOR_BYTES).map(|sector| sector[0]).collect()
        };
        (0..2000).map(outcome).collect()
    }

    #[test]
    fn any_version_of_any_sector_may_survive() {
        let left = outcomes(|file| {
            file.write_at(&[2; 2 * SECTOR_BYTES], 0).unwrap();
            file.write_at(&[3; SECTOR_BYTES], 0).unwrap();
        });
        let mut expected = BTreeSet::new();
        for first in 1..=3 {
            for second in 1..=2 {
                expected.insert(vec![first, second, 1, 1]);
            }
        }
        assert_eq!(left, expected);
    }

    #[test]
    fn what_was_synced_survives() {
        let left = outcomes(|file| {
            file.write_at(&[2; SECTOR_BYTES], SECTOR_BYTES as u64).unwrap();
            file.sync().unwrap();
        });
        assert_eq!(left, BTreeSet::from([vec![1, 2, 1, 1]]));
    }

    #[test]
    fn a_length_is_kept_lost_or_kept_in_part() {
        let left = outcomes(|file| file.extend(8 * SECTOR_BYTES as u64).unwrap());
        let lens: BTreeSet<usize> = left.iter().map(Vec::len).collect();
        assert_eq!(lens, BTreeSet::from([4, 5, 6, 7, 8]));
    }

    #[test]
    fn stores_through_a_mapping_are_seen() {
        let left = outcomes(|file| {
            let memory = file.memory_for_writing();
            let len = SECTORS * SECTOR_BYTES;
            let mut writer = crate::storage::MappingWriter::new(memory, len).unwrap();
            writer.write(0, &[2]);
            file.observe().unwrap();
            writer.write(0, &[3]);
            file.observe().unwrap();
            writer.write(0, &[4]);
        });
        let firsts: BTreeSet<u8> = left.iter().map(|sectors| sectors[0]).collect();
        // The last store was not observed.
        assert_eq!(firsts, BTreeSet::from([1, 2, 3]));
    }

    /// After a failed sync the sectors count as clean: another sync does not write them, and the
    /// cache may drop them.
    #[test]
    fn a_failed_sync_is_not_made_good_by_another() {
        let mut lost = 0;
        for seed in 0..100 {
            let mut random = Random::new(seed);
            let mut file = file_of(1);
            file.write_at(&[2; SECTOR_BYTES], 0).unwrap();
            file.fail_sync(&mut random).unwrap();
            file.sync().unwrap();
            let is_lost = file.medium()[0] == 1;
            lost += u32::from(is_lost);
            while is_lost && !file.evict_some(&mut random).unwrap() {}
            let mut byte = [0];
            file.read_at(&mut byte, 0).unwrap();
            assert_eq!(byte[0], if is_lost { 1 } else { 2 });
            // Written again it is dirty again, also with the bytes that the cache had.
            file.write_at(&[2; SECTOR_BYTES], 0).unwrap();
            file.sync().unwrap();
            assert_eq!(file.medium()[0], 2);
        }
        assert!((20..80).contains(&lost), "{lost}");
    }
}
