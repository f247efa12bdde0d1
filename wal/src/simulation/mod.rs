//! A disk in memory that fails, fills up and loses power as its seed says, and logs on it that
//! take each step when told.
//!
//! With it a whole run is a function of one seed: no thread, no clock and no random source of the
//! system takes part. This module must not know records; it only keeps bytes.
//!
//! The log works on mapped memory, so the files of a [`SimulatedDisk`] are mapped memory as well
//! and the mapping code is the real one. Call [`SimulatedDisk::observe`] after each step: it looks
//! for what was stored through a mapping since, and what it does not see no power cut can keep.
//!
//! ```
//! use std::sync::Arc;
//! use tickwheel_wal::LogOptions;
//! use tickwheel_wal::simulation::{Cut, SimulatedDisk};
//!
//! let disk = SimulatedDisk::new(7);
//! let options = LogOptions::new("simulated").segment_bytes(64 << 10);
//! let mut log = options.clone().open_simulated(&disk, Arc::new(|| {}), &mut |_| Ok(()))?;
//! log.append(&[b"acknowledged"])?;
//! let published = log.commit();
//! log.sync_step()?;
//! assert_eq!(log.durable(), published);
//! log.append(&[b"this one may be lost"])?;
//! disk.observe();
//!
//! disk.cut(Cut::Power);
//! drop(log);
//! disk.restart();
//! let mut seen = Vec::new();
//! options.open_simulated(&disk, Arc::new(|| {}), &mut |record| {
//!     seen.push(record.payload.to_vec());
//!     Ok(())
//! })?;
//! assert_eq!(seen[0], b"acknowledged");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod cache;
mod disk;
mod mount;
mod names;
mod random;

use crate::error::{OpenError, SyncFailure};
use crate::log::{Log, Workers};
use crate::options::LogOptions;
use crate::recovery::{Record, Recover, ReplayError, Target};
use crate::sync::Arc;

pub use disk::{Cut, DiskStats, Fault, SimulatedDisk};
pub use names::FileName;
#[cfg(test)]
pub(crate) use random::{Random, mix};

impl LogOptions {
    /// Opens the log on a simulated disk, which holds one log. The directory in the options is
    /// only for messages.
    ///
    /// The log has no threads: [`Log::sync_step`] and [`Log::prepare_step`] do their work, in
    /// every mode of durability. `notify` is called as [`open`](LogOptions::open) says, from
    /// within those calls.
    ///
    /// # Errors
    /// See [`OpenError`]. Only one log can be open on a disk at a time; that is not checked.
    pub fn open_simulated(
        self,
        disk: &SimulatedDisk,
        notify: Arc<dyn Fn() + Send + Sync>,
        replay: &mut dyn FnMut(Record<'_>) -> Result<(), ReplayError>,
    ) -> Result<Log, OpenError> {
        self.open_on(disk.mount(), None, Workers::ByHand, notify, Target::Records(replay))
    }

    /// The same from the newest snapshot, as [`open_state`](LogOptions::open_state) does.
    ///
    /// # Errors
    /// See [`open_simulated`](LogOptions::open_simulated).
    pub fn open_state_simulated(
        self,
        disk: &SimulatedDisk,
        notify: Arc<dyn Fn() + Send + Sync>,
        state: &mut dyn Recover,
    ) -> Result<Log, OpenError> {
        self.open_on(disk.mount(), None, Workers::ByHand, notify, Target::State(state))
    }
}

impl Log {
    /// Syncs what was published, as the syncer thread would. Only for logs opened with
    /// [`open_simulated`](LogOptions::open_simulated); on others it does nothing.
    ///
    /// # Errors
    /// The failed sync that poisoned the log, now or before.
    pub fn sync_step(&mut self) -> Result<(), SyncFailure> {
        self.sync_by_hand()
    }

    /// Does the next piece of work on segments, as the preparing thread would. False: there is
    /// nothing to do, or it failed ([`shortage`](Log::shortage) tells). Only for logs opened with
    /// [`open_simulated`](LogOptions::open_simulated); on others it does nothing.
    pub fn prepare_step(&mut self) -> bool {
        self.prepare_by_hand()
    }
}
