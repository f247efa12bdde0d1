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

use crate::{affinity::Processors, history::Tap, limits};

/// When the last snapshot was taken, and the one under way.
pub(super) struct Snapshots {
    /// Position of the newest snapshot, or of the log's head.
    last: Lsn,
    under_way: Option<UnderWay>,
    /// Finished since the start.
    finished: u64,
    /// Where the thread of a snapshot may run: not only where the shard is pinned to.
    processors: Processors,
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
    /// The newest snapshot is of `last`; further ones are written on `processors`.
    pub(super) fn new(last: Lsn, processors: Processors) -> Self {
        Self { last, under_way: None, finished: 0, processors }
    }

    /// Snapshots finished since the start.
    pub(super) fn finished(&self) -> u64 {
        self.finished
    }

    /// Begins a snapshot when the log has grown so far since the last one that a replay would take
    /// long, and looks after the one under way.
    pub(super) fn step(&mut self, core: &mut Scheduler, log: &mut Log, tap: Option<&mut Tap>) {
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
            self.begin(core, log, tap, Pace::Gentle);
        }
    }

    /// The shard ends: stops the one under way, and begins one more if the way since the last is
    /// long. `true`: one is being written; look with [`Snapshots::is_under_way`] when it is done.
    pub(super) fn begin_last(
        &mut self,
        core: &mut Scheduler,
        log: &mut Log,
        tap: Option<&mut Tap>,
    ) -> bool {
        self.stop();
        let since_bytes = log.appended().0.saturating_sub(self.last.0);
        if since_bytes > log.segment_bytes().max(size_bytes(core)) {
            self.begin(core, log, tap, Pace::Hurried);
        }
        self.under_way.is_some()
    }

    /// Whether a snapshot is still being written.
    pub(super) fn is_under_way(&self) -> bool {
        self.under_way.as_ref().is_some_and(|under_way| !under_way.thread.is_finished())
    }

    /// Gives up the one under way, and waits for its thread.
    pub(super) fn stop(&mut self) {
        if let Some(under_way) = &self.under_way {
            under_way.stop.store(true, Ordering::Relaxed);
        }
        self.finish();
    }

    fn begin(&mut self, core: &mut Scheduler, log: &mut Log, tap: Option<&mut Tap>, pace: Pace) {
        // A failed log takes events no more, and the state may be ahead of it.
        if log.failure().is_some() {
            return;
        }
        let (ticket, frozen) = (log.snapshot(), core.freeze());
        let lsn = ticket.lsn();
        // A start from this snapshot does not see what lies before: the history has to have it.
        let history = tap.map(|tap| {
            let lsn = tickwheel_core::Lsn(lsn.0);
            core.tell_under_way(lsn);
            tap.want(lsn);
            tap.waiter(lsn)
        });
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::Builder::new().name("tw-snapshot".to_owned());
        let processors = self.processors;
        let write = move || {
            processors.allow();
            write(ticket, frozen, (&stopped, pace), |stops| {
                if let Some(wait) = history {
                    wait(stops);
                }
            })
        };
        match thread.spawn(write) {
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

/// How a snapshot is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    /// With rests, so that the log's syncs find the disk free.
    Gentle,
    /// Somebody waits for it.
    Hurried,
}

fn write(
    ticket: SnapshotTicket,
    frozen: Frozen,
    (stop, pace): (&AtomicBool, Pace),
    wait: impl FnOnce(&dyn Fn() -> bool),
) -> Result<SnapshotInfo, WriteError> {
    let mut writer = ticket.begin()?;
    if pace == Pace::Hurried {
        writer.hurry();
    }
    frozen.write(&mut |bytes: &[u8]| {
        if stop.load(Ordering::Relaxed) {
            return Err(WriteError::Stopped);
        }
        writer.write(bytes).map_err(WriteError::from)
    })?;
    // From here on the shard need not copy what it changes.
    drop(frozen);
    wait(&|| stop.load(Ordering::Relaxed));
    if stop.load(Ordering::Relaxed) {
        return Err(WriteError::Stopped);
    }
    Ok(writer.finish()?)
}

/// What a snapshot takes, about.
fn size_bytes(core: &Scheduler) -> u64 {
    core.counts().pending.saturating_mul(limits::SNAPSHOT_JOB_BYTES)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use tickwheel_core::{Config, ShardId};
    use tickwheel_wal::{LogOptions, faults};

    use super::*;
    use crate::clock;

    /// After a failed sync the core may have applied what the log did not take: such a state must
    /// not reach the disk.
    #[test]
    fn a_failed_log_gets_no_snapshot() {
        let dir = tempfile::tempdir().unwrap();
        let options = LogOptions::new(dir.path()).segment_bytes(64 << 10);
        let mut log = options.open(Arc::new(|| {}), &mut |_| Ok(())).unwrap();
        let mut core = Scheduler::new(Config::new(ShardId(0)), clock::now());
        let grow = |log: &mut Log| {
            let until = log.appended().0 + 6 * (64 << 10);
            while log.appended().0 < until {
                if log.append(&[&[7; 1000]]).is_err() {
                    log.commit();
                    thread::yield_now();
                }
            }
            log.commit();
        };
        let mut snapshots = Snapshots::new(log.head(), Processors::of_this_thread());
        grow(&mut log);
        assert!(snapshots.begin_last(&mut core, &mut log, None), "a sound log gets one");
        while snapshots.is_under_way() {
            thread::yield_now();
        }
        snapshots.stop();
        let taken = |dir: &std::path::Path| {
            let names = std::fs::read_dir(dir).unwrap();
            names
                .filter(|name| {
                    name.as_ref().unwrap().path().extension().is_some_and(|e| e == "snap")
                })
                .count()
        };
        assert_eq!((snapshots.finished(), taken(dir.path())), (1, 1));
        grow(&mut log);
        faults::fail_syncs(dir.path());
        log.append(&[b"not synced"]).unwrap();
        log.commit();
        let begun = Instant::now();
        while log.failure().is_none() {
            assert!(begun.elapsed() < Duration::from_secs(30));
            thread::yield_now();
        }
        snapshots.step(&mut core, &mut log, None);
        assert!(!snapshots.begin_last(&mut core, &mut log, None));
        faults::heal(dir.path());
        drop(log);
        assert_eq!((snapshots.finished(), taken(dir.path())), (1, 1));
    }
}
