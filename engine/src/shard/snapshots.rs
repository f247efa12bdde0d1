//! Snapshots of a shard's state, written by a thread of their own while the shard goes on, so that
//! a start need not replay the whole log.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use tickwheel_core::{Frozen, Scheduler};
use tickwheel_wal::{Log, Lsn, SnapshotError, SnapshotInfo, SnapshotTicket};

use crate::limits;

/// When the last snapshot was taken, and the one under way.
pub(super) struct Snapshots {
    /// Position of the newest snapshot, or of the log's head.
    last: Lsn,
    under_way: Option<UnderWay>,
    /// Finished since the start.
    finished: u64,
}

struct UnderWay {
    lsn: Lsn,
    stop: Arc<AtomicBool>,
    thread: thread::JoinHandle<Result<SnapshotInfo, WriteError>>,
}

/// Why a snapshot was not written.
#[derive(Debug, thiserror::Error)]
enum WriteError {
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error("the shard ends")]
    Stopped,
}

impl Snapshots {
    /// The newest snapshot is of `last`.
    pub(super) fn new(last: Lsn) -> Self {
        Self { last, under_way: None, finished: 0 }
    }

    /// Snapshots finished since the start.
    pub(super) fn finished(&self) -> u64 {
        self.finished
    }

    /// Begins a snapshot when the log has grown so far since the last one that a replay would take
    /// long, and looks after the one under way.
    pub(super) fn step(&mut self, core: &mut Scheduler, log: &Log) {
        if self.under_way.as_ref().is_some_and(|under_way| under_way.thread.is_finished()) {
            self.finish();
        }
        if self.under_way.is_some() {
            return;
        }
        let since_bytes = log.appended().0.saturating_sub(self.last.0);
        let least = limits::SNAPSHOT_SEGMENTS_MIN * log.segment_bytes();
        let by_size = size_bytes(core).saturating_mul(limits::SNAPSHOT_SIZE_FACTOR);
        if since_bytes > least.max(by_size) {
            self.begin(core, log);
        }
    }

    /// Stops the one under way. With a long way since the last, writes one more.
    pub(super) fn end(mut self, core: &mut Scheduler, log: &Log) {
        if let Some(under_way) = &self.under_way {
            under_way.stop.store(true, Ordering::Relaxed);
            self.finish();
        }
        let since_bytes = log.appended().0.saturating_sub(self.last.0);
        if since_bytes > log.segment_bytes().max(size_bytes(core)) {
            self.begin(core, log);
            self.finish();
        }
    }

    fn begin(&mut self, core: &mut Scheduler, log: &Log) {
        let (ticket, frozen) = (log.snapshot(), core.freeze());
        let lsn = ticket.lsn();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::Builder::new().name("tw-snapshot".to_owned());
        match thread.spawn(move || write(ticket, &frozen, &stopped)) {
            Ok(thread) => self.under_way = Some(UnderWay { lsn, stop, thread }),
            Err(error) => {
                tracing::warn!(%error, "no thread for a snapshot; a start takes longer");
                self.last = lsn;
            }
        }
    }

    /// Waits for the one under way.
    fn finish(&mut self) {
        let Some(UnderWay { lsn, thread, .. }) = self.under_way.take() else { return };
        // Also after a failure: the next try comes after as much log again.
        self.last = lsn;
        match thread.join() {
            Ok(Ok(info)) => {
                self.finished += 1;
                tracing::debug!(lsn = info.lsn.0, bytes = info.file_bytes, "snapshot written");
            }
            Ok(Err(WriteError::Stopped)) => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, "a snapshot was not written; a start takes longer");
            }
            Err(_) => tracing::error!("the thread of a snapshot panicked; a start takes longer"),
        }
    }
}

fn write(
    ticket: SnapshotTicket,
    frozen: &Frozen,
    stop: &AtomicBool,
) -> Result<SnapshotInfo, WriteError> {
    let mut writer = ticket.begin()?;
    frozen.write(&mut |bytes: &[u8]| {
        if stop.load(Ordering::Relaxed) {
            return Err(WriteError::Stopped);
        }
        writer.write(bytes).map_err(WriteError::from)
    })?;
    Ok(writer.finish()?)
}

/// What a snapshot takes, about.
fn size_bytes(core: &Scheduler) -> u64 {
    core.counts().pending.saturating_mul(limits::SNAPSHOT_JOB_BYTES)
}
