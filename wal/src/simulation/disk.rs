//! The simulated disk: what fails when, and what is left after a power cut.
//!
//! It owns the plan of faults and the record of what happened. It must not know the log.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;

use rustix::io::Errno;

use super::cache::{CachedFile, SECTOR_BYTES};
use super::mount::Mount;
use super::names::{FileId, FileName, Names};
use super::random::{Random, mix};
use crate::storage::Storage;
use crate::sync::{Arc, Mutex, MutexGuard, lock};

/// A disk in memory with a page cache above it, for one log.
///
/// Clones are the same disk. What it models:
///
/// - Writes and stores through mappings go to the cache. A power cut leaves, of each sector of
///   512 bytes written since the last sync of its file, any version that it had since, or the one
///   before. A sector itself is never torn.
/// - Names and lengths are lost, kept or kept in part until they are synced. A rename is one change.
/// - A failed sync is reported once. Any of the sectors may have reached the disk; all of them
///   count as clean afterwards, so another sync has nothing to do, and the cache may drop them.
/// - The disk may fill up, any operation may fail, bits may flip and sectors become unreadable.
///
/// Nothing happens by itself: the methods ask for each fault, and the seed draws what it does.
#[derive(Clone)]
pub struct SimulatedDisk {
    state: Arc<Mutex<State>>,
}

/// How everything ends at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The power fails: what had not reached the disk is gone.
    Power,
    /// The process is killed: the cache is all there. What counts as clean but is not on the disk,
    /// after a failed sync, may be dropped from it.
    Kill,
}

/// What happens at an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It fails with an input/output error.
    Error,
    /// Everything ends before it has done anything.
    Cut(Cut),
}

/// What happened on a disk since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DiskStats {
    /// Operations of logs: each call that reads or changes files or names.
    pub operations: u64,
    /// Power cuts.
    pub power_cuts: u64,
    /// Power cuts that found changes that were not on the disk.
    pub power_cuts_with_loss: u64,
    /// Power cuts that found names that were not on the disk.
    pub power_cuts_with_names: u64,
    /// Kills.
    pub kills: u64,
    /// Syncs that failed.
    pub failed_syncs: u64,
    /// Operations that failed, syncs included.
    pub failed_operations: u64,
    /// Operations refused because the disk was full.
    pub refused_for_space: u64,
    /// Reads refused because of an unreadable sector.
    pub refused_reads: u64,
    /// Files of which the cache dropped pages that were not on the disk.
    pub evictions: u64,
    /// Segments that were given another number.
    pub renamed_segments: u64,
    /// Cuts while a file that had held bytes before was being written over.
    pub cuts_while_wiping: u64,
}

/// What an operation does to the disk.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Names,
    Read,
    Write { is_wipe: bool },
    Sync { is_wipe: bool },
    SyncDirectory,
}

pub(super) struct State {
    random: Random,
    files: BTreeMap<FileId, CachedFile>,
    next_file: u64,
    pub(super) names: Names,
    /// Rises with each restart. What belongs to an earlier life no longer works.
    life: u64,
    down: Option<Cut>,
    /// Operations to go until a fault, and the fault.
    plan: Option<(u64, Fault)>,
    /// Syncs of files to go until one fails.
    sync_plan: Option<u64>,
    capacity_bytes: u64,
    reserves: bool,
    wall_ms: u64,
    trace: u64,
    stats: DiskStats,
}

impl SimulatedDisk {
    /// An empty disk of unlimited size on which everything works. All that it draws follows from
    /// `seed`.
    pub fn new(seed: u64) -> Self {
        let state = State {
            random: Random::new(seed),
            files: BTreeMap::new(),
            next_file: 0,
            names: Names::default(),
            life: 0,
            down: None,
            plan: None,
            sync_plan: None,
            capacity_bytes: u64::MAX,
            reserves: true,
            wall_ms: 1_700_000_000_000,
            trace: 0,
            stats: DiskStats::default(),
        };
        SimulatedDisk { state: Arc::new(Mutex::new(state)) }
    }

    /// Looks for what was stored through mappings. To be called after each step of the log: a
    /// sector that changed twice in between has one version only.
    ///
    /// # Panics
    /// If the system cannot read its own memory files.
    pub fn observe(&self) {
        self.state().observe();
    }

    /// Ends everything at once. Every operation of the logs opened before fails from now on; drop
    /// them, then [`restart`](SimulatedDisk::restart).
    pub fn cut(&self, cut: Cut) {
        self.state().cut(cut);
    }

    /// Whether everything has ended, now or at a planned fault.
    pub fn is_down(&self) -> bool {
        self.state().down.is_some()
    }

    /// Begins the next life after a cut, with no faults planned. Without a cut before, the logs
    /// that are open are killed.
    ///
    /// # Panics
    /// If the system has no memory left for the files.
    pub fn restart(&self) {
        let mut state = self.state();
        if state.down.is_none() {
            state.cut(Cut::Kill);
        }
        state.restart();
    }

    /// Lets `fault` happen at an operation of the log: after `operations` that work. One plan is
    /// pending at a time. A sync that is to fail does so as a failing disk does, see
    /// [`SimulatedDisk`].
    pub fn plan_fault(&self, operations: u64, fault: Fault) {
        self.state().plan = Some((operations, fault));
    }

    /// Lets a sync of a file fail: after `syncs` that work.
    pub fn plan_failing_sync(&self, syncs: u64) {
        self.state().sync_plan = Some(syncs);
    }

    /// Forgets the faults that were planned and have not happened.
    pub fn clear_plans(&self) {
        let mut state = self.state();
        state.plan = None;
        state.sync_plan = None;
    }

    /// Sets the size of the disk. What is there already stays.
    pub fn set_capacity(&self, bytes: u64) {
        self.state().capacity_bytes = bytes;
    }

    /// Bytes that the files take.
    pub fn used_bytes(&self) -> u64 {
        self.state().used_bytes()
    }

    /// Whether space can be reserved. If not, writing takes it, as on file systems that do not
    /// know how to reserve.
    pub fn set_reserving(&self, reserves: bool) {
        self.state().reserves = reserves;
    }

    /// The files that are there, in order of their names, with their lengths in bytes.
    pub fn files(&self) -> Vec<(FileName, u64)> {
        let state = self.state();
        let files = state.names.all();
        files.filter_map(|(name, file)| Some((name, state.files.get(&file)?.len_bytes()))).collect()
    }

    /// Bytes of a file as programs see them. Empty if there is none; short at its end.
    pub fn file_bytes(&self, name: FileName, range: Range<u64>) -> Vec<u8> {
        let state = self.state();
        let file = state.names.find(name).and_then(|file| state.files.get(&file));
        let mut bytes = vec![0; range.end.saturating_sub(range.start) as usize];
        let read = file.and_then(|file| file.read_at(&mut bytes, range.start).ok());
        bytes.truncate(read.unwrap_or(0));
        bytes
    }

    /// Flips a bit of a file on the medium: the number of the byte times eight plus the number of
    /// the bit in it. Programs see it when the medium is read again: after a power cut, which may
    /// also be the one that the disk is down for. False: there is no such bit.
    pub fn flip_bit(&self, name: FileName, bit: u64) -> bool {
        self.state().named(name).is_some_and(|file| file.flip_bit(bit))
    }

    /// Makes the sector of a file that holds `offset` unreadable until it is written. False: there
    /// is no such file.
    pub fn break_sector(&self, name: FileName, offset: u64) -> bool {
        let mut state = self.state();
        let file = state.named(name);
        file.map(|file| file.break_sector(offset as usize / SECTOR_BYTES)).is_some()
    }

    /// Makes all sectors readable again, with what they held, and flips bits back where nothing was
    /// written since. As for a flip, programs see the latter after a power cut.
    pub fn heal(&self) {
        self.state().files.values_mut().for_each(CachedFile::heal);
    }

    /// Makes flipped bits what the disk holds: [`heal`](SimulatedDisk::heal) does not flip them back.
    pub fn keep_flips(&self) {
        self.state().files.values_mut().for_each(CachedFile::keep_flips);
    }

    /// What happened so far.
    pub fn stats(&self) -> DiskStats {
        self.state().stats
    }

    /// A number that tells all that happened on the disk so far: every operation with its outcome
    /// and all that each power cut left.
    pub fn trace_hash(&self) -> u64 {
        self.state().trace
    }

    /// The disk as the log opened next sees it.
    pub(crate) fn mount(&self) -> Arc<dyn Storage> {
        Arc::new(Mount::new(self.clone(), self.state().life))
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    /// Begins an operation of a log that was opened in `life`. `true`: it is a sync that must
    /// fail as on a failing disk.
    pub(super) fn begin(&mut self, life: u64, operation: Operation) -> io::Result<bool> {
        if self.down.is_some() || life != self.life {
            return Err(Errno::IO.into());
        }
        self.stats.operations += 1;
        let is_sync = matches!(operation, Operation::Sync { .. });
        let fails = self.plan_is_due(operation)? || (is_sync && self.sync_plan_is_due());
        if !fails {
            return Ok(false);
        }
        self.stats.failed_operations += 1;
        self.note(&[u64::MAX]);
        if !is_sync {
            return Err(Errno::IO.into());
        }
        self.stats.failed_syncs += 1;
        Ok(true)
    }

    /// Adds to the trace.
    pub(super) fn note(&mut self, values: &[u64]) {
        for &value in values {
            self.trace = mix(self.trace.wrapping_add(1) ^ value);
        }
    }

    /// The file, which no restart has taken away.
    pub(super) fn file(&mut self, id: FileId) -> io::Result<&mut CachedFile> {
        self.files.get_mut(&id).ok_or_else(|| Errno::STALE.into())
    }

    pub(super) fn create(&mut self, name: FileName) -> io::Result<FileId> {
        let id = FileId(self.next_file);
        self.next_file += 1;
        self.files.insert(id, CachedFile::empty()?);
        self.names.create(name, id);
        Ok(id)
    }

    /// Makes a file at least that long if there is space for it.
    pub(super) fn extend(&mut self, id: FileId, len_bytes: u64) -> io::Result<()> {
        let growth = len_bytes.saturating_sub(self.file(id)?.len_bytes());
        if growth > 0 && self.used_bytes().saturating_add(growth) > self.capacity_bytes {
            self.stats.refused_for_space += 1;
            self.note(&[u64::MAX - 1]);
            return Err(Errno::NOSPC.into());
        }
        self.file(id)?.extend(len_bytes)
    }

    pub(super) fn fail_sync(&mut self, id: FileId) -> io::Error {
        let State { files, random, .. } = self;
        let failed = files.get_mut(&id).map_or(Ok(()), |file| file.fail_sync(random));
        failed.err().unwrap_or_else(|| Errno::IO.into())
    }

    /// An error if bytes of the file cannot be read.
    pub(super) fn check_readable(&mut self, id: FileId, start: u64, len: u64) -> io::Result<()> {
        if self.file(id)?.is_bad(start, len) {
            self.stats.refused_reads += 1;
            return Err(Errno::IO.into());
        }
        Ok(())
    }

    pub(super) fn evict_some(&mut self, id: FileId) -> io::Result<()> {
        let State { files, random, .. } = self;
        let evicted = files.get_mut(&id).map_or(Ok(false), |file| file.evict_some(random))?;
        self.stats.evictions += u64::from(evicted);
        Ok(())
    }

    pub(super) fn count_rename(&mut self) {
        self.stats.renamed_segments += 1;
    }

    pub(super) fn reserves(&self) -> bool {
        self.reserves
    }

    pub(super) fn draw(&mut self) -> u64 {
        self.random.next()
    }

    /// The clock of the disk: it moves when it is looked at.
    pub(super) fn wall_ms(&mut self) -> u64 {
        self.wall_ms += 1;
        self.wall_ms
    }

    fn plan_is_due(&mut self, operation: Operation) -> io::Result<bool> {
        let Some((left, fault)) = &mut self.plan else { return Ok(false) };
        if *left > 0 {
            *left -= 1;
            return Ok(false);
        }
        let fault = *fault;
        self.plan = None;
        let Fault::Cut(cut) = fault else { return Ok(true) };
        if matches!(
            operation,
            Operation::Write { is_wipe: true } | Operation::Sync { is_wipe: true }
        ) {
            self.stats.cuts_while_wiping += 1;
        }
        self.cut(cut);
        Err(Errno::IO.into())
    }

    fn sync_plan_is_due(&mut self) -> bool {
        match &mut self.sync_plan {
            None => false,
            Some(0) => {
                self.sync_plan = None;
                true
            }
            Some(left) => {
                *left -= 1;
                false
            }
        }
    }

    fn observe(&mut self) {
        // After a cut nothing is stored any more, whatever a log in memory goes on doing.
        if self.down.is_none() {
            for file in self.files.values_mut() {
                file.observe().expect("files in memory are readable");
            }
        }
    }

    fn cut(&mut self, cut: Cut) {
        if self.down.is_some() {
            return;
        }
        self.observe();
        self.down = Some(cut);
        match cut {
            Cut::Kill => self.stats.kills += 1,
            Cut::Power => {
                self.stats.power_cuts += 1;
                let with_loss = self.files.values().any(CachedFile::is_dirty);
                self.stats.power_cuts_with_loss += u64::from(with_loss);
                self.stats.power_cuts_with_names += u64::from(self.names.is_dirty());
                let State { files, names, random, .. } = self;
                files.values_mut().for_each(|file| file.cut_power(random));
                names.cut(random);
            }
        }
    }

    fn restart(&mut self) {
        self.plan = None;
        self.sync_plan = None;
        let State { files, names, .. } = self;
        files.retain(|&id, _| names.may_reach(id));
        let ids: Vec<FileId> = self.files.keys().copied().collect();
        for id in ids {
            if self.down == Some(Cut::Kill) {
                self.evict_some(id).expect("files in memory are writable");
            }
            let State { files, trace, .. } = self;
            if let Some(file) = files.get_mut(&id) {
                file.restart().expect("there is memory for the files");
                *trace = mix(*trace ^ u64::from(crc32c::crc32c(file.medium())));
            }
        }
        let names: Vec<u64> = self.names.all().map(|(_, file)| file.0).collect();
        self.note(&names);
        self.down = None;
        self.life += 1;
    }

    fn used_bytes(&self) -> u64 {
        let files = self.names.all().filter_map(|(_, file)| self.files.get(&file));
        files.map(CachedFile::len_bytes).sum()
    }

    fn named(&mut self, name: FileName) -> Option<&mut CachedFile> {
        let file = self.names.find(name)?;
        self.files.get_mut(&file)
    }
}
