//! Opens a log: lock, recovery, syncing of what was read, the next segment, the threads.
//!
//! The order of these steps is what makes a crash during an opening harmless. This file must not
//! know how records are checked or written.

use std::cell::Cell;
use std::collections::VecDeque;
use std::io;
use std::num::NonZero;
use std::time::{Duration, Instant};

use crate::appender::Appender;
use crate::backup::remove_stale_pins;
use crate::error::OpenError;
use crate::format::{FIRST_COPY_BYTES, HEADER_PAGE_BYTES, Place, Rest, SegmentHeader, VERSION};
use crate::limits::{RECOVERY_THREADS_MAX, REWRITE_PIECE_BYTES};
use crate::log::{Log, Parts, Workers};
use crate::lsn::Lsn;
use crate::options::LogOptions;
use crate::pool::{Pool, Preparer};
use crate::recovery::{
    Expected, Leftover, Record, Recover, Recovered, ReplayError, Target, io_error, recover,
};
use crate::segment::Segment;
use crate::snapshot::{Identity, remove_unusable};
use crate::storage::{
    Directory, DirectoryLock, LockError, Pace, Prepared, SegmentFile, Source, Staged, Storage,
    create_durably, prepare,
};
use crate::sync::{Arc, thread};
use crate::syncer::{Progress, Syncer};

impl LogOptions {
    /// Opens the log: recovers what is on the disk and starts a new segment after it.
    ///
    /// `replay` gets every surviving data record in order. An error from it ends the opening. If
    /// the opening fails for another reason, records may have been replayed before; drop what
    /// was built from them. When this returns, everything replayed is durable, in every mode.
    ///
    /// `notify` is called from the log's own threads when [`Log::durable`] has risen, when the
    /// log was poisoned, and when a segment became ready or could not be made. It must be quick and must not call the
    /// log.
    ///
    /// # Errors
    /// See [`OpenError`]. Damage below the durable mark is [`OpenError::Corrupt`]; nothing on the
    /// disk is changed then.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use tickwheel_wal::LogOptions;
    ///
    /// let dir = tempfile::tempdir()?;
    /// let options = LogOptions::new(dir.path()).segment_bytes(64 << 10);
    /// let mut log = options.clone().open(Arc::new(|| {}), &mut |_| Ok(()))?;
    /// log.append(&[b"hello, ", b"world"])?;
    /// log.close()?;
    ///
    /// let mut seen = Vec::new();
    /// options.open(Arc::new(|| {}), &mut |record| {
    ///     seen.push(record.payload.to_vec());
    ///     Ok(())
    /// })?;
    /// assert_eq!(seen, [b"hello, world"]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open(
        self,
        notify: Arc<dyn Fn() + Send + Sync>,
        replay: &mut dyn FnMut(Record<'_>) -> Result<(), ReplayError>,
    ) -> Result<Log, OpenError> {
        self.open_directory(notify, Target::Records(replay))
    }

    /// Opens the log like [`open`](LogOptions::open), from the newest snapshot that is whole and
    /// fits, or from the head if there is none. Segments before the snapshot are not read: damage
    /// there is an error of whoever reads a record, not of the opening.
    ///
    /// # Errors
    /// As for `open`.
    pub fn open_state(
        self,
        notify: Arc<dyn Fn() + Send + Sync>,
        state: &mut dyn Recover,
    ) -> Result<Log, OpenError> {
        self.open_directory(notify, Target::State(state))
    }

    fn open_directory(
        self,
        notify: Arc<dyn Fn() + Send + Sync>,
        target: Target<'_>,
    ) -> Result<Log, OpenError> {
        // Before the first change on the disk.
        self.check()?;
        let io = |action, path: &std::path::Path, source| OpenError::Io {
            action,
            path: path.to_owned(),
            source,
        };
        create_durably(&self.dir).map_err(|e| io("create", &self.dir, e))?;
        let lock = DirectoryLock::acquire(&self.dir).map_err(|error| match error {
            LockError::Held(holder) => OpenError::InUse { dir: self.dir.clone(), holder },
            LockError::Io(path, source) => io("lock", &path, source),
        })?;
        if let Err(error) = remove_stale_pins(&self.dir) {
            tracing::warn!(dir = %self.dir.display(), %error, "cannot remove the pins of an old backup");
        }
        let directory = Directory::open(&self.dir).map_err(|e| io("open", &self.dir, e))?;
        self.open_on(Arc::new(directory), Some(lock), Workers::Threads, notify, target)
    }

    /// Opens the log on any storage. The caller made sure that no other log uses it.
    pub(crate) fn open_on(
        self,
        storage: Arc<dyn Storage>,
        lock: Option<DirectoryLock>,
        workers: Workers,
        notify: Arc<dyn Fn() + Send + Sync>,
        target: Target<'_>,
    ) -> Result<Log, OpenError> {
        let started = Instant::now();
        let record_bytes_max = self.check()?;
        let storage = if self.staged { Arc::new(Staged::new(storage)) } else { storage };
        let disk = storage.as_ref();
        let threads = match workers {
            Workers::Threads => thread::available_parallelism().map_or(1, NonZero::get),
            #[cfg(any(test, feature = "simulation"))]
            Workers::ByHand => 1,
        };
        let expected = Expected {
            segment_bytes: self.segment_bytes,
            shard: self.shard,
            threads: threads.min(RECOVERY_THREADS_MAX),
        };
        let mut recovered = recover(disk, expected, target)?;
        recovered.report.reading = started.elapsed();
        sync_survivors(disk, &recovered)?;
        clear_released(disk, &mut recovered)?;
        clear_snapshots(disk, &recovered)?;
        clear_leftovers(disk, &recovered.leftovers, self.ready_segments)?;

        let header = self.next_header(disk, &recovered)?;
        let place = header.place;
        let has_header = recovered.leftovers.first().is_some_and(|next| next.has_header);
        #[cfg(test)]
        let has_header = crate::planted::keeps_header(has_header);
        let source = if has_header { Source::Standing } else { Source::New };
        // Wipes what the torn tail left in this file.
        let Prepared { file, writer, .. } =
            prepare(disk, place.index, place.segment_bytes as usize, source, &AtOnce)
                .map_err(|e| io_error(disk, place.index, "make", e))?;
        if has_header {
            supersede(file.as_ref(), &header)
                .map_err(|e| io_error(disk, place.index, "write the header of", e))?;
        }
        let appender = Appender::start(writer, header, std::mem::take(&mut recovered.segments));
        #[cfg(test)]
        let file = crate::planted::header_file(file);
        // From here on the end of the recovered records is a fact on the disk.
        file.sync().map_err(|e| io_error(disk, place.index, "sync", e))?;

        let mut report = recovered.report;
        report.epoch = header.epoch;
        report.elapsed = started.elapsed();
        for warning in &report.warnings {
            tracing::warn!("{warning}");
        }
        tracing::info!(
            dir = %self.dir.display(),
            records = report.records,
            segments = report.segments,
            torn_bytes = report.torn_bytes,
            epoch = report.epoch,
            reading = ?report.reading,
            elapsed = ?report.elapsed,
            "log opened"
        );

        let progress = Arc::new(Progress::new(Lsn(place.lsn(HEADER_PAGE_BYTES))));
        progress.add_segment(place.index, file);
        let pool = Arc::new(Pool::new(self.ready_segments));
        let preparer = Preparer {
            storage: Arc::clone(&storage),
            pool: Arc::clone(&pool),
            notify: Arc::clone(&notify),
            next_index: place.index + 1,
            segment_bytes: place.segment_bytes,
            spares: VecDeque::new(),
            read_in_below: Cell::new(place.index),
        };
        let syncer =
            Syncer::new(Arc::clone(&storage), Arc::clone(&progress), notify, place.segment_bytes);
        let parts = Parts {
            appender,
            storage,
            progress,
            pool,
            report,
            lock,
            durability: self.durability,
            segment_bytes: self.segment_bytes,
        };
        let started = Log::start(parts, record_bytes_max, syncer, preparer, workers);
        started.map_err(|source| OpenError::Io {
            action: "start the threads of the log in",
            path: self.dir,
            source,
        })
    }

    fn next_header(
        &self,
        storage: &dyn Storage,
        recovered: &Recovered,
    ) -> Result<SegmentHeader, OpenError> {
        let index = recovered.next_index();
        let (epoch, salt) = match &recovered.last_header {
            Some(last) => (last.epoch + 1, last.salt),
            None => {
                let salt = storage.random();
                let salt =
                    salt.map_err(|e| io_error(storage, index, "draw a random number for", e))?;
                (self.epoch_after + 1, salt)
            }
        };
        Ok(SegmentHeader {
            version: VERSION,
            place: Place { index, segment_bytes: self.segment_bytes },
            shard: self.shard,
            epoch,
            salt,
            previous_end: recovered.end,
            durable_mark: recovered.end,
            created_ms: storage.wall_ms(),
            base: recovered.base,
            rest: Rest::Zero,
        })
    }
}

/// Puts the first copy of a segment's next header in the place of the one before, durably; the
/// appender writes the second. Whenever that is cut off, and however the disk tears what it
/// writes, one copy is whole: of the earlier header, which is true until this opening has
/// appended something, or of the new one. Were the page wiped in between, the log could forget an
/// epoch and use it again.
fn supersede(file: &dyn SegmentFile, header: &SegmentHeader) -> io::Result<()> {
    file.write_at(&header.encode_page()[..FIRST_COPY_BYTES], 0)?;
    file.sync()
}

/// The segment that an opening waits for.
struct AtOnce;

impl Pace for AtOnce {
    fn is_hurried(&self) -> bool {
        true
    }

    fn pause(&self, _: Duration) -> io::Result<()> {
        Ok(())
    }
}

/// Syncs what was read: a killed process leaves bytes that only the page cache has.
///
/// A sync alone is not enough. When a write to the disk fails, Linux reports that once and keeps
/// the bytes in its cache as if they had been written: they can be read, and the next sync has
/// nothing to do and succeeds. So what no durable mark vouches for is written again first.
fn sync_survivors(storage: &dyn Storage, recovered: &Recovered) -> Result<(), OpenError> {
    for segment in &recovered.segments {
        let index = segment.place.index;
        let known = recovered.mark.saturating_sub(segment.place.start()) as usize;
        let synced: io::Result<()> = if known < segment.end {
            rewrite(storage, segment, known)
        } else {
            storage.open(index).and_then(|file| file.sync())
        };
        synced.map_err(|e| io_error(storage, index, "sync", e))?;
    }
    storage.sync_directory().map_err(|e| io_error(storage, 0, "sync the directory of", e))
}

/// Writes the bytes of a segment's records from offset `known` on once more, where they are and
/// as they are, and syncs them.
fn rewrite(storage: &dyn Storage, segment: &Segment, known: usize) -> io::Result<()> {
    let file = storage.open_in_place(segment.place.index)?;
    // What lies before a snapshot was not read yet.
    file.populate(&segment.mapping)?;
    let mut piece = [0; REWRITE_PIECE_BYTES];
    let mut offset = known;
    while offset < segment.end {
        // Up to the next page, so that no page is written in two parts.
        let piece_end = (offset + 1).next_multiple_of(REWRITE_PIECE_BYTES).min(segment.end);
        let piece = &mut piece[..piece_end - offset];
        piece.copy_from_slice(&segment.mapping.frozen_bytes()[offset..piece_end]);
        file.write_at(piece, offset as u64)?;
        offset = piece_end;
    }
    file.sync()?;
    // Until it was written again, a page could have been dropped from memory and read back from
    // the disk without the records that were replayed.
    if segment.is_whole_from(known) {
        Ok(())
    } else {
        let message = "records changed while the log was opened; open it again";
        Err(io::Error::new(io::ErrorKind::InvalidData, message))
    }
}

/// Removes the files of released segments that a crash has left, now that the proof of their
/// release is durable.
fn clear_released(storage: &dyn Storage, recovered: &mut Recovered) -> Result<(), OpenError> {
    let base = recovered.base;
    let is_below = |segment: &Segment| segment.place.start() < base;
    let count = recovered.segments.iter().take_while(|segment| is_below(segment)).count();
    let released = recovered.segments.drain(..count).map(|segment| segment.place.index);
    let mut is_changed = false;
    for index in recovered.stale.drain(..).chain(released) {
        storage.remove(index).map_err(|e| io_error(storage, index, "remove", e))?;
        is_changed = true;
    }
    if is_changed {
        storage.sync_directory().map_err(|e| io_error(storage, 0, "sync the directory of", e))?;
    }
    Ok(())
}

/// Removes drafts, and the snapshots that the log has not come to: positions above its end are
/// given to other records.
fn clear_snapshots(storage: &dyn Storage, recovered: &Recovered) -> Result<(), OpenError> {
    let Some(log) = &recovered.last_header else { return Ok(()) };
    let identity = Identity { shard: log.shard, salt: log.salt };
    remove_unusable(storage, identity, &mut |lsn, epoch| recovered.epoch_at(lsn) == Some(epoch))
}

/// Removes the files after the surviving segments, except the first, which is used next, and
/// the clean ones that the pool will want.
fn clear_leftovers(
    storage: &dyn Storage,
    leftovers: &[Leftover],
    ready_segments: usize,
) -> Result<(), OpenError> {
    let spare = leftovers.iter().skip(1).take(ready_segments);
    let kept_count = 1 + spare.take_while(|leftover| leftover.is_clean).count();
    // From the last one down, each durably, so that a crash never leaves a gap.
    for leftover in leftovers.iter().skip(kept_count).rev() {
        let removed = storage.remove(leftover.index).and_then(|()| storage.sync_directory());
        removed.map_err(|e| io_error(storage, leftover.index, "remove", e))?;
    }
    Ok(())
}
