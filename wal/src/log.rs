//! The open log: what its owner calls, and the life of its two threads.
//!
//! It must not know the format on the disk.

use std::cell::Cell;
use std::io;
use std::marker::PhantomData;

use crate::appender::Appender;
use crate::durability::Durability;
use crate::error::{AppendError, CloseError, ReadError, SyncFailure};
use crate::format::{CONTROL_RECORD_BYTES, RECORD_HEADER_BYTES, padded};
use crate::lsn::Lsn;
use crate::pool::{Pool, Preparer, Shortage};
use crate::recovery::RecoveryReport;
use crate::segment::RecordRef;
use crate::stats::LogStats;
use crate::storage::{DirectoryLock, Prepared, Storage};
use crate::sync::{Arc, thread};
use crate::syncer::{Progress, Syncer};

/// The place of an appended record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Where the record begins; [`Log::read`] takes this.
    pub lsn: Lsn,
    /// The first byte after the record. It is durable once [`Log::durable`] has reached this.
    pub end: Lsn,
}

/// An open log. One thread owns it; two threads of its own sync it and make its segments.
///
/// Dropping it stops those threads without a clean shutdown: what was published is synced or not,
/// as in a crash, except that the operating system still has it all. [`close`](Log::close) ends it
/// properly.
///
/// It can move to another thread, but not be shared:
///
/// ```compile_fail,E0277
/// fn share<T: Sync>() {}
/// share::<tickwheel_wal::Log>();
/// ```
pub struct Log {
    parts: Parts,
    record_bytes_max: u32,
    published: Lsn,
    syncer: Worker<Syncer>,
    preparer: Worker<Preparer>,
    /// One thread owns the log: it can move, but not be shared.
    _not_sync: PhantomData<Cell<()>>,
}

/// Who runs the log's workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Workers {
    /// Threads of the log.
    Threads,
    /// The log's owner, step by step.
    #[cfg(any(test, feature = "simulation"))]
    ByHand,
}

/// What an opening puts together.
pub(crate) struct Parts {
    pub(crate) appender: Appender,
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) pool: Arc<Pool>,
    pub(crate) report: RecoveryReport,
    /// Held until the log is dropped.
    pub(crate) lock: Option<DirectoryLock>,
    pub(crate) durability: Durability,
}

impl Log {
    /// Bytes of a commit record: what [`commit`](Log::commit) and [`mark_idle`](Log::mark_idle)
    /// take from [`available_bytes`](Log::available_bytes) at most, each time they write one.
    pub const COMMIT_BYTES: u64 = CONTROL_RECORD_BYTES;

    /// What the opening found on the disk.
    pub fn recovery(&self) -> &RecoveryReport {
        &self.parts.report
    }

    /// Appends one record, whose payload is the parts one after the other.
    ///
    /// It never blocks and never waits for a sync. The record is complete for readers when this
    /// returns; it is published for syncing by the next [`commit`](Log::commit).
    ///
    /// # Errors
    /// See [`AppendError`]; nothing is appended then.
    #[inline]
    pub fn append(&mut self, parts: &[&[u8]]) -> Result<Appended, AppendError> {
        if self.parts.progress.failure().is_some() {
            return Err(AppendError::Poisoned);
        }
        let payload_len = parts.iter().fold(0_usize, |sum, part| sum.saturating_add(part.len()));
        let max = self.payload_len_max();
        if payload_len > max {
            return Err(AppendError::TooLarge { len: payload_len, max });
        }
        if !self.parts.appender.fits(padded(payload_len)) {
            self.rotate()?;
        }
        let lsn = self.parts.appender.append_data(parts, payload_len);
        Ok(Appended { lsn, end: self.parts.appender.appended() })
    }

    /// Bytes of data records, as [`record_bytes`](Log::record_bytes) counts them, that appends are
    /// guaranteed to take without a new segment having to be made, whatever their sizes.
    ///
    /// It is a lower bound: it leaves out what a segment may lose at its end, and the room for the
    /// log's own records there. An append lowers it by at most the size of its record, a commit
    /// record by at most [`COMMIT_BYTES`](Log::COMMIT_BYTES). It rises when a segment is ready.
    #[inline]
    pub fn available_bytes(&self) -> u64 {
        let in_use = self.parts.appender.room_bytes();
        let ready = self.parts.pool.ready_count() as u64;
        if ready == 0 {
            return in_use;
        }
        // A segment is left when a record does not fit, so at most 8 bytes less than the largest
        // record are lost. Only the last segment loses nothing. A fresh one has room for three of
        // the largest records at least, so this cannot become negative there.
        let lost = u64::from(self.record_bytes_max) - 8;
        let fresh = self.parts.appender.fresh_room_bytes();
        in_use.saturating_sub(lost) + (ready - 1) * (fresh - lost) + fresh
    }

    /// Bytes that a record with a payload of `payload_len` bytes takes in the log.
    pub fn record_bytes(payload_len: usize) -> u64 {
        let unpadded = (payload_len as u64).saturating_add(RECORD_HEADER_BYTES as u64);
        unpadded.checked_next_multiple_of(8).unwrap_or(u64::MAX)
    }

    /// Longest payload that [`append`](Log::append) takes, in bytes.
    #[inline]
    pub fn payload_len_max(&self) -> usize {
        self.record_bytes_max as usize - RECORD_HEADER_BYTES
    }

    /// Why fewer segments are ready than the options ask for; `None` if all are.
    pub fn shortage(&self) -> Option<Shortage> {
        self.parts.pool.shortage()
    }

    /// Publishes everything appended, so that the syncer makes it durable, and returns the
    /// published position.
    ///
    /// If data was appended since the last commit, a commit record with the durable mark goes
    /// before. With nothing new it costs next to nothing. On a poisoned log it does nothing.
    pub fn commit(&mut self) -> Lsn {
        if self.parts.progress.failure().is_none()
            && self.parts.appender.commit(self.parts.progress.durable())
        {
            self.publish();
        }
        self.published
    }

    /// Closes the window in which damage to the last records could pass as a torn tail: if all
    /// data is durable and no mark on the disk says so yet, this writes and publishes a commit
    /// record with the mark. True if it wrote one.
    ///
    /// Call it when there is nothing else to do. Its own record does not ask for another.
    pub fn mark_idle(&mut self) -> bool {
        let wrote = self.parts.progress.failure().is_none()
            && self.parts.appender.mark_idle(self.parts.progress.durable());
        if wrote {
            self.publish();
        }
        wrote
    }

    /// All bytes below are past a completed sync.
    #[inline]
    pub fn durable(&self) -> Lsn {
        self.parts.progress.durable()
    }

    /// Where the next record begins: all bytes below are appended.
    #[inline]
    pub fn appended(&self) -> Lsn {
        self.parts.appender.appended()
    }

    /// The failed sync that poisoned the log. Once there it stays: nothing is synced again, and
    /// appends fail with [`AppendError::Poisoned`].
    pub fn failure(&self) -> Option<SyncFailure> {
        self.parts.progress.failure().cloned()
    }

    /// Reads the data record at `lsn` in place, after checking its header and payload.
    ///
    /// Records that are appended but not yet durable can be read as well.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn read(&self, lsn: Lsn) -> Result<RecordRef, ReadError> {
        self.parts.appender.read(lsn)
    }

    /// The mode that the log was opened with.
    pub fn durability(&self) -> Durability {
        self.parts.durability
    }

    /// Counters since the opening, and the log's size.
    pub fn stats(&self) -> LogStats {
        LogStats {
            segments: self.parts.appender.segments_count(),
            ready_segments: self.parts.pool.ready_count() as u64,
            appended_records: self.parts.appender.appended_records(),
            appended_bytes: self.parts.appender.appended_bytes(),
            ..self.parts.progress.stats.snapshot()
        }
    }

    /// Commits, syncs in every mode, writes and syncs a clean-shutdown record, and stops the
    /// log's threads.
    ///
    /// # Errors
    /// A failed sync, now or before. The threads are stopped and the directory is free all the
    /// same.
    pub fn close(mut self) -> Result<(), CloseError> {
        self.commit();
        let Some(mut syncer) = self.stop_threads() else {
            return Err(CloseError::ThreadPanicked);
        };
        syncer.sync_published().map_err(CloseError::Sync)?;
        self.parts.appender.clean_shutdown(self.parts.progress.durable());
        self.publish();
        syncer.sync_published().map_err(CloseError::Sync)
    }

    /// Puts the log together and starts its workers.
    pub(crate) fn start(
        parts: Parts,
        record_bytes_max: u32,
        syncer: Syncer,
        preparer: Preparer,
        workers: Workers,
    ) -> io::Result<Self> {
        let published = parts.appender.appended();
        let mut log = Log {
            record_bytes_max,
            published,
            syncer: Worker::Ended,
            preparer: Worker::Ended,
            parts,
            _not_sync: PhantomData,
        };
        match workers {
            Workers::Threads => {
                // If the second does not start, dropping the log stops the first.
                let durability = log.parts.durability;
                log.syncer = Worker::start("log-sync", move || syncer.run(durability))?;
                log.preparer = Worker::start("log-prepare", move || preparer.run())?;
            }
            #[cfg(any(test, feature = "simulation"))]
            Workers::ByHand => {
                log.syncer = Worker::ByHand(syncer);
                log.preparer = Worker::ByHand(preparer);
            }
        }
        Ok(log)
    }

    /// Syncs what was published, in a log without threads.
    #[cfg(any(test, feature = "simulation"))]
    pub(crate) fn sync_by_hand(&mut self) -> Result<(), SyncFailure> {
        self.syncer.by_hand().map_or(Ok(()), Syncer::sync_published)
    }

    /// Does the next piece of work on segments, in a log without threads. False: there is none, or
    /// it failed.
    #[cfg(any(test, feature = "simulation"))]
    pub(crate) fn prepare_by_hand(&mut self) -> bool {
        self.preparer.by_hand().is_some_and(Preparer::step)
    }

    /// Goes on in the next segment.
    #[cold]
    fn rotate(&mut self) -> Result<(), AppendError> {
        let Some(Prepared { index, file, writer }) = self.parts.pool.take() else {
            return Err(match self.parts.pool.shortage() {
                Some(Shortage::NoSpace { message }) => AppendError::NoSpace { message },
                Some(Shortage::Preparing) | None => AppendError::SegmentNotReady,
            });
        };
        self.preparer.wake();
        let created_ms = self.parts.storage.wall_ms();
        self.parts.appender.rotate(writer, self.parts.progress.durable(), created_ms);
        assert_eq!(index, self.parts.appender.segment_index(), "segments are made in order");
        self.parts.progress.add_segment(index, file);
        Ok(())
    }

    fn publish(&mut self) {
        self.published = self.parts.appender.appended();
        self.parts.progress.publish(self.published);
        if self.parts.durability != Durability::Os {
            self.syncer.wake();
        }
    }

    /// Ends both threads. `None`: the syncer panicked.
    fn stop_threads(&mut self) -> Option<Syncer> {
        self.parts.progress.stop();
        self.parts.pool.stop();
        // Both first, so that they end side by side.
        self.syncer.wake();
        self.preparer.wake();
        self.preparer.join();
        self.syncer.join()
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.stop_threads();
        // The lock goes last: until here the files belonged to this log.
        self.parts.lock.take();
    }
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log")
            .field("appended", &self.appended())
            .field("published", &self.published)
            .field("durable", &self.durable())
            .finish_non_exhaustive()
    }
}

/// What works beside the appender: in a thread of its own, or, in a simulation, step by step when
/// the log's owner says so.
enum Worker<T> {
    Thread(thread::JoinHandle<T>),
    ByHand(T),
    Ended,
}

impl<T: Send + 'static> Worker<T> {
    fn start(name: &str, body: impl FnOnce() -> T + Send + 'static) -> io::Result<Self> {
        Ok(Worker::Thread(thread::Builder::new().name(name.to_owned()).spawn(body)?))
    }

    #[inline]
    fn wake(&self) {
        if let Worker::Thread(handle) = self {
            handle.thread().unpark();
        }
    }

    #[cfg(any(test, feature = "simulation"))]
    fn by_hand(&mut self) -> Option<&mut T> {
        match self {
            Worker::ByHand(worker) => Some(worker),
            Worker::Thread(_) | Worker::Ended => None,
        }
    }

    /// `None` if it ended before, or panicked.
    fn join(&mut self) -> Option<T> {
        match std::mem::replace(self, Worker::Ended) {
            Worker::Thread(handle) => handle.join().ok(),
            Worker::ByHand(worker) => Some(worker),
            Worker::Ended => None,
        }
    }
}
