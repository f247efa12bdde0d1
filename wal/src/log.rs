//! The open log: what its owner calls, and the life of its two threads.
//!
//! It must not know the format on the disk.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::marker::PhantomData;

use crate::appender::Appender;
use crate::durability::Durability;
use crate::error::{AppendError, CloseError, ReadError, SyncFailure};
use crate::format::{CONTROL_RECORD_BYTES, RECORD_HEADER_BYTES, Rest, padded};
use crate::limits::DURABLE_LOOK;
use crate::lsn::Lsn;
#[cfg(any(test, feature = "simulation"))]
use crate::pool::Step;
use crate::pool::{Pool, Preparer, Released, Shortage, Warmth};
use crate::recovery::RecoveryReport;
use crate::segment::{RecordHandle, RecordRef};
use crate::snapshot::{Moment, SnapshotError, SnapshotWriter};
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

/// A data record that a walk came to.
#[derive(Clone, Debug)]
pub struct Walked {
    /// Where it begins.
    pub lsn: Lsn,
    /// The first byte after it.
    pub end: Lsn,
    /// What was appended.
    pub record: RecordRef,
}

/// Room that was set aside for records to come; see [`Log::reserve`].
///
/// It must be handed back with [`Log::free`]: room of one that is dropped stays taken until the
/// log is closed.
#[derive(Debug)]
#[must_use = "room that is not handed back stays taken"]
pub struct Reservation {
    bytes: u64,
}

impl Reservation {
    /// Bytes that are left, as [`Log::reserved_bytes`] counts them.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// The right to write a snapshot of the state at one position. One snapshot of a log is written at
/// a time.
pub struct SnapshotTicket {
    storage: Arc<dyn Storage>,
    moment: Moment,
    progress: Arc<Progress>,
    /// The syncer's thread; `None`: it is stepped by hand.
    syncer: Option<thread::Thread>,
}

impl SnapshotTicket {
    /// The position.
    pub fn lsn(&self) -> Lsn {
        self.moment.lsn
    }

    /// Makes the snapshot's file, which counts once it is [finished](SnapshotWriter::finish).
    ///
    /// # Errors
    /// Its file cannot be made.
    pub fn begin(self) -> Result<SnapshotWriter, SnapshotError> {
        let (progress, syncer) = (self.progress, self.syncer);
        let reach = move |lsn| wait_until_durable(&progress, syncer.as_ref(), lsn);
        SnapshotWriter::start(self.storage, self.moment, Box::new(reach))
    }
}

/// Waits until the log is durable up to `lsn`, in every mode. False: it never will be, or nobody
/// syncs but the owner.
fn wait_until_durable(progress: &Progress, syncer: Option<&thread::Thread>, lsn: Lsn) -> bool {
    progress.want_durable(lsn);
    while progress.durable() < lsn {
        let Some(syncer) = syncer else { return false };
        if progress.failure().is_some() || progress.is_stopped() {
            return false;
        }
        // The position may not be published yet, and this thread gets no notice of syncs.
        syncer.unpark();
        thread::sleep(DURABLE_LOOK);
    }
    true
}

impl std::fmt::Debug for SnapshotTicket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SnapshotTicket").field("lsn", &self.moment.lsn).finish_non_exhaustive()
    }
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
    /// Room that was set aside.
    reserved_bytes: u64,
    /// Releases whose records may not be durable: the end of the record, and the new head.
    releases: VecDeque<(Lsn, u64)>,
    syncer: Worker<Syncer>,
    preparer: Worker<Preparer>,
    /// One thread owns the log: it can move, but not be shared.
    _not_sync: PhantomData<Cell<()>>,
}

/// What the log may write for itself after a record: a commit and an idle mark.
const MARKS_BYTES: u64 = 2 * CONTROL_RECORD_BYTES;

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
    pub(crate) segment_bytes: u64,
}

/// Length of the payload that the parts make.
#[inline]
fn payload_len(parts: &[&[u8]]) -> usize {
    parts.iter().fold(0_usize, |sum, part| sum.saturating_add(part.len()))
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
        let payload_len = payload_len(parts);
        if self.reserved_bytes > 0 && Log::record_bytes(payload_len) > self.available_bytes() {
            return Err(self.refusal());
        }
        self.append_anyhow(parts, payload_len)
    }

    /// Sets `bytes` of room aside, as [`reserved_bytes`](Log::reserved_bytes) counts them: what is
    /// appended from them fits for certain, whatever else is appended or committed until then. A
    /// caller that begins something reserves room for its record and for the record of its end.
    ///
    /// # Errors
    /// There is not so much room; nothing is set aside then.
    pub fn reserve(&mut self, bytes: u64) -> Result<Reservation, AppendError> {
        if self.parts.progress.failure().is_some() {
            return Err(AppendError::Poisoned);
        }
        let taken = self.reserved_bytes.saturating_add(bytes).saturating_add(MARKS_BYTES);
        if taken > self.room_bytes() {
            return Err(self.refusal());
        }
        self.reserved_bytes += bytes;
        Ok(Reservation { bytes })
    }

    /// Appends one record into reserved room, like [`append`](Log::append), and takes what it needs
    /// from the reservation.
    ///
    /// # Errors
    /// [`AppendError::Reserved`] if the reservation is smaller than the record, and those of
    /// `append` that are not about room. Nothing is appended then, and the reservation stays.
    pub fn append_reserved(
        &mut self,
        reservation: &mut Reservation,
        parts: &[&[u8]],
    ) -> Result<Appended, AppendError> {
        let payload_len = payload_len(parts);
        let taken = Log::reserved_bytes(payload_len);
        let Some(left) = reservation.bytes.checked_sub(taken) else {
            return Err(AppendError::Reserved);
        };
        let appended = self.append_anyhow(parts, payload_len)?;
        reservation.bytes = left;
        self.reserved_bytes -= taken;
        Ok(appended)
    }

    /// Hands back what is left of a reservation.
    pub fn free(&mut self, reservation: Reservation) {
        self.reserved_bytes -= reservation.bytes;
    }

    /// Why there is no room.
    #[cold]
    fn refusal(&self) -> AppendError {
        match self.parts.pool.shortage() {
            Some(Shortage::NoSpace { message }) => AppendError::NoSpace { message },
            Some(Shortage::Preparing) => AppendError::SegmentNotReady,
            None => AppendError::Reserved,
        }
    }

    /// Appends without a look at what others have reserved.
    #[inline]
    fn append_anyhow(
        &mut self,
        parts: &[&[u8]],
        payload_len: usize,
    ) -> Result<Appended, AppendError> {
        if self.parts.progress.failure().is_some() {
            return Err(AppendError::Poisoned);
        }
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
    /// It is a lower bound: it leaves out what a segment may lose at its end, the room for the log's
    /// own records there, and what is [reserved](Log::reserve). An append lowers it by at most the
    /// size of its record, a commit record by at most [`COMMIT_BYTES`](Log::COMMIT_BYTES). It rises
    /// when a segment is ready.
    #[inline]
    pub fn available_bytes(&self) -> u64 {
        match self.reserved_bytes {
            0 => self.room_bytes(),
            reserved => self.room_bytes().saturating_sub(reserved + MARKS_BYTES),
        }
    }

    /// The same with what is reserved.
    #[inline]
    fn room_bytes(&self) -> u64 {
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

    /// Bytes of a [reservation](Log::reserve) that a record with a payload of `payload_len` bytes
    /// takes: its own, and those of a commit record and an idle one that may follow it.
    pub fn reserved_bytes(payload_len: usize) -> u64 {
        Log::record_bytes(payload_len).saturating_add(MARKS_BYTES)
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
        self.finish_releases();
        self.published
    }

    /// Closes the window in which damage to the last records could pass as a torn tail: if all
    /// data is durable and no mark on the disk says so yet, this writes and publishes a commit
    /// record with the mark. True if it wrote one.
    ///
    /// Call it when there is nothing else to do. Its own record does not ask for another.
    pub fn mark_idle(&mut self) -> bool {
        self.finish_releases();
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

    /// Reads the data record at `lsn`, after checking its header and payload.
    ///
    /// Records that are appended but not yet durable can be read as well.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn read(&self, lsn: Lsn) -> Result<RecordRef, ReadError> {
        self.locate(lsn)?.load()
    }

    /// Names the data record at `lsn`, to be read later or by another thread. The record stays
    /// readable through it, also when the log has released it.
    ///
    /// # Errors
    /// [`ReadError::OutOfRange`]. Whether there is a record is seen when it is read.
    #[inline]
    pub fn locate(&self, lsn: Lsn) -> Result<RecordHandle, ReadError> {
        self.parts.appender.locate(lsn)
    }

    /// The first data record at or after `lsn`, checked. `None`: there is none before
    /// [`appended`](Log::appended). A position below [`head`](Log::head) counts as the head.
    ///
    /// It reads in place: [`warm`](Log::warm) the segment before, so that it need not wait.
    ///
    /// # Errors
    /// [`ReadError::Corrupt`]: the medium changed.
    pub fn next_record(&self, lsn: Lsn) -> Result<Option<Walked>, ReadError> {
        let found = self.parts.appender.next_data(lsn.max(self.head()))?;
        Ok(found.map(|(place, found)| Walked {
            lsn: Lsn(place.lsn(found.offset)),
            end: Lsn(place.lsn(found.end)),
            record: found.record,
        }))
    }

    /// Has the segment of `lsn` brought into memory by a thread of the log. True: it is there, or
    /// was a short time ago. The log gives notice when that changes. One segment at a time is
    /// looked after: the one asked for last.
    ///
    /// # Errors
    /// The medium fails, or `lsn` lies outside the log.
    pub fn warm(&self, lsn: Lsn) -> Result<bool, ReadError> {
        let segment = self.parts.appender.segment_of(lsn).ok_or(ReadError::OutOfRange { lsn })?;
        match self.parts.pool.warm(segment.place.index, &segment.mapping) {
            Warmth::Warm(_) => Ok(true),
            Warmth::Wanted(_) => {
                self.preparer.wake();
                Ok(false)
            }
            Warmth::Failed(message) => Err(ReadError::Medium { lsn, message }),
        }
    }

    /// Where the log begins: everything below was released, and its space is used for other things.
    pub fn head(&self) -> Lsn {
        self.parts.appender.head()
    }

    /// Where the log will begin once all releases so far are durable.
    pub fn releasing(&self) -> Lsn {
        self.releases.back().map_or(self.head(), |&(_, head)| Lsn(head))
    }

    /// Size of a segment in bytes; positions of segments are multiples of it.
    pub fn segment_bytes(&self) -> u64 {
        self.parts.segment_bytes
    }

    /// Says that no record below `head` is needed any more, rounded down to the start of a segment
    /// and never beyond the segment in use. What is still needed must have been appended again.
    ///
    /// The space is given back once this is durable, which it becomes in every mode; call
    /// [`commit`](Log::commit) now and then. A crash before brings the records back, all of them
    /// or those of the later segments.
    ///
    /// # Errors
    /// There is no room for the record that says so; see [`AppendError`].
    pub fn release(&mut self, head: Lsn) -> Result<(), AppendError> {
        let segment_bytes = self.segment_bytes();
        let in_use = self.parts.appender.segment_index();
        let head = (head.0 / segment_bytes).min(in_use) * segment_bytes;
        if head <= self.releasing().0 {
            return Ok(());
        }
        if self.parts.progress.failure().is_some() {
            return Err(AppendError::Poisoned);
        }
        if Log::COMMIT_BYTES > self.available_bytes() {
            return Err(self.refusal());
        }
        if !self.parts.appender.fits(CONTROL_RECORD_BYTES as usize) {
            self.rotate()?;
        }
        self.parts.appender.put_head(head);
        let end = self.parts.appender.appended();
        self.releases.push_back((end, head));
        self.parts.progress.want_durable(end);
        self.commit();
        // Also where nothing else asks for a sync.
        self.syncer.wake();
        Ok(())
    }

    /// Hands over to the preparer what is released for good.
    fn finish_releases(&mut self) {
        let durable = self.parts.progress.durable();
        #[cfg(test)]
        let durable = crate::planted::released(durable, self.appended());
        while let Some((_, head)) = self.releases.pop_front_if(|(end, _)| *end <= durable) {
            self.move_settled();
            let dropped = self.parts.appender.drop_below(head);
            let released = dropped
                .into_iter()
                .map(|segment| Released { index: segment.place.index, mapping: segment.mapping });
            self.parts.pool.put_away(released);
            self.preparer.wake();
        }
    }

    /// Names the state that follows from all records appended so far, for a snapshot that is
    /// written by another thread while the log goes on. It commits, so that the log becomes durable
    /// up to there without another call.
    pub fn snapshot(&mut self) -> SnapshotTicket {
        let (lsn, epoch) = self.parts.appender.state_at();
        self.commit();
        let identity = self.parts.appender.identity();
        SnapshotTicket {
            storage: Arc::clone(&self.parts.storage),
            moment: Moment { identity, lsn, epoch, head: self.releasing().min(lsn) },
            progress: Arc::clone(&self.parts.progress),
            syncer: self.syncer.thread(),
        }
    }

    /// The mode that the log was opened with.
    pub fn durability(&self) -> Durability {
        self.parts.durability
    }

    /// Counters since the opening, and the log's size.
    pub fn stats(&self) -> LogStats {
        LogStats {
            segments: self.parts.appender.segments_count(),
            head: self.head(),
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
            reserved_bytes: 0,
            releases: VecDeque::new(),
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
        self.preparer.by_hand().is_some_and(|preparer| preparer.step() == Step::Worked)
    }

    /// Goes on in the next segment.
    #[cold]
    fn rotate(&mut self) -> Result<(), AppendError> {
        let Some(Prepared { index, is_zero, file, writer }) = self.parts.pool.take() else {
            return Err(match self.parts.pool.shortage() {
                Some(Shortage::NoSpace { message }) => AppendError::NoSpace { message },
                Some(Shortage::Preparing) | None => AppendError::SegmentNotReady,
            });
        };
        self.preparer.wake();
        self.move_settled();
        let created_ms = self.parts.storage.wall_ms();
        let rest = if is_zero { Rest::Zero } else { Rest::Stale };
        self.parts.appender.rotate(writer, rest, self.parts.progress.durable(), created_ms);
        assert_eq!(index, self.parts.appender.segment_index(), "segments are made in order");
        self.parts.progress.add_segment(index, file);
        Ok(())
    }

    /// Lets go of memory that stood in for segments that are in their files by now.
    fn move_settled(&mut self) {
        for (index, mapping) in self.parts.progress.take_settled() {
            self.parts.appender.move_segment(index, mapping);
        }
    }

    fn publish(&mut self) {
        self.published = self.parts.appender.appended();
        self.parts.progress.publish(self.published);
        if self.parts.durability != Durability::Os || self.parts.storage.is_staging() {
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
        if let Some(mut syncer) = self.stop_threads() {
            // The failure is latched and was reported; nobody is left to hear of it here.
            let _ = syncer.hand_over();
        }
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
    #[cfg(any(test, feature = "simulation"))]
    ByHand(T),
    Ended,
}

impl<T: Send + 'static> Worker<T> {
    fn start(name: &str, body: impl FnOnce() -> T + Send + 'static) -> io::Result<Self> {
        Ok(Worker::Thread(thread::Builder::new().name(name.to_owned()).spawn(body)?))
    }

    fn thread(&self) -> Option<thread::Thread> {
        match self {
            Worker::Thread(handle) => Some(handle.thread().clone()),
            _ => None,
        }
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
            #[cfg(any(test, feature = "simulation"))]
            Worker::ByHand(worker) => Some(worker),
            Worker::Ended => None,
        }
    }
}
