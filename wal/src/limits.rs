//! Named bounds of the log, with the relations that must hold among them.
//!
//! It must not know files or threads.

use std::time::Duration;

use crate::format::{CONTROL_RECORD_BYTES, HEADER_PAGE_BYTES, RECORD_HEADER_BYTES};

/// Smallest segment: 64 KiB.
pub(crate) const SEGMENT_BYTES_MIN: u64 = 64 << 10;
/// Largest segment: 1 GiB. Offsets in a segment fit a `u32`.
pub(crate) const SEGMENT_BYTES_MAX: u64 = 1 << 30;
/// Segment size unless told otherwise: 64 MiB.
pub(crate) const SEGMENT_BYTES_DEFAULT: u64 = 64 << 20;

/// Smallest bound on the size of a record.
pub(crate) const RECORD_BYTES_MIN: u32 = 64;
/// Largest record unless told otherwise: 1 MiB for a payload and 64 KiB for what surrounds it.
pub(crate) const RECORD_BYTES_DEFAULT: u32 = (1 << 20) + (64 << 10);
/// A record takes at most this part of a segment, so that little is lost at a segment's end.
pub(crate) const RECORDS_PER_SEGMENT_MIN: u64 = 4;

/// Segments that are kept ready, least.
pub(crate) const READY_SEGMENTS_MIN: usize = 1;
/// Segments that are kept ready, most.
pub(crate) const READY_SEGMENTS_MAX: usize = 8;
/// Segments that are kept ready unless told otherwise.
pub(crate) const READY_SEGMENTS_DEFAULT: usize = 2;

/// Bytes at the end of a segment that data records leave free.
///
/// After the last data record there can follow, in this order, one commit, one idle commit, one
/// clean shutdown and one seal. Room for all four means that none of them ever has to wait for
/// a new segment.
pub(crate) const TAIL_RESERVE_BYTES: u64 = 4 * CONTROL_RECORD_BYTES;

/// The epoch of a segment is at most this much above that of the segment before.
///
/// An opening that found nothing to keep in the last segment uses it again, with the next epoch.
/// The bound lets a recovery name all epochs that a segment with a lost header can have had. A
/// log that is opened again and again and never written to grows by one segment each time the
/// bound is reached.
pub(crate) const EPOCH_STEP_MAX: u64 = 1024;
/// A log that is created begins at most one above this epoch: no number of openings leads from
/// there to the highest, which no header may have.
pub(crate) const EPOCH_AFTER_MAX: u64 = (1 << 62) - 1;

/// Zeros are written in pieces of this size while a segment is prepared.
///
/// The page cache groups pages by the size of the write that brings them in, and a later store
/// dirties the whole group. With pages of their own a lone commit writes 4 KiB.
pub(crate) const PREPARE_PIECE_BYTES: usize = 4 << 10;
/// While other segments are ready, one under preparation is synced each time this much was
/// written, so that a sync of the log queues behind at most this.
pub(crate) const PREPARE_SYNC_BYTES: u64 = 256 << 10;
/// The same when no other segment is ready and someone may be waiting for this one.
pub(crate) const PREPARE_SYNC_BYTES_HURRIED: u64 = 8 << 20;
/// An opening writes records again in pieces of at most this size, a page of the page cache.
pub(crate) const REWRITE_PIECE_BYTES: usize = 4 << 10;
/// Released segments that are kept for the next ones that are made.
pub(crate) const SPARES_MAX: usize = 2;
/// Pause between two tries to make a segment when the last one failed.
pub(crate) const PREPARE_RETRY: Duration = Duration::from_millis(500);

/// Segments before the one in use whose records are read in place. Their pages were written a short
/// time ago; those of older ones may have to come from the disk.
pub(crate) const IN_PLACE_SEGMENTS: u64 = 2;
/// Pause between two looks at the durable position, by who is not told of syncs.
pub(crate) const DURABLE_LOOK: Duration = Duration::from_millis(1);
/// How long a segment counts as being in memory after it was brought in.
pub(crate) const WARMTH_LASTS: Duration = Duration::from_secs(10);
/// Memory for the places of records that an opening notes between its check of a segment and the replay
/// of it: 64 MiB, those of sixteen million records. What is more is replayed without.
pub(crate) const PLACES_BYTES_MAX: usize = 64 << 20;
/// Threads that check segments side by side in an opening.
pub(crate) const RECOVERY_THREADS_MAX: usize = 4;

/// Files that are kept open while their segments wait for a sync. The others are opened again.
pub(crate) const WAITING_FILES_MAX: usize = 4;

/// Memory of settled segments that a staging log keeps to use again.
pub(crate) const STAGES_KEPT_MAX: usize = 2;

/// How long an opening waits for a lock that another holds. A process that was killed keeps its
/// locks until the system has taken it apart, and with a large log mapped that takes a while; a
/// restart right after the kill should not fail for it.
pub(crate) const LOCK_PATIENCE: Duration = Duration::from_secs(1);
/// Pause between two tries to take the lock.
pub(crate) const LOCK_RETRY: Duration = Duration::from_millis(10);

/// Interval of [`Durability::Interval`](crate::Durability::Interval) when none is given.
pub(crate) const INTERVAL_DEFAULT: Duration = Duration::from_millis(50);
/// Longest interval that is accepted as text.
pub(crate) const INTERVAL_MAX: Duration = Duration::from_secs(3600);

// Offsets are stored as u32, also the one just past the last byte.
const _: () = assert!(SEGMENT_BYTES_MAX <= u32::MAX as u64);
// A fresh segment takes the largest record after its header page, with the reserve behind it.
const _: () = assert!(
    SEGMENT_BYTES_MIN / RECORDS_PER_SEGMENT_MIN + HEADER_PAGE_BYTES as u64 + TAIL_RESERVE_BYTES
        <= SEGMENT_BYTES_MIN
);
const _: () =
    assert!(RECORD_BYTES_DEFAULT as u64 <= SEGMENT_BYTES_DEFAULT / RECORDS_PER_SEGMENT_MIN);
const _: () = assert!(RECORD_BYTES_MIN as u64 >= CONTROL_RECORD_BYTES);
const _: () = assert!(RECORD_BYTES_MIN as usize > RECORD_HEADER_BYTES);
const _: () = assert!(SEGMENT_BYTES_MIN.is_multiple_of(PREPARE_PIECE_BYTES as u64));
// The header page is the first piece, so that a segment that is wiped loses all its records before
// it loses its header.
const _: () = assert!(PREPARE_PIECE_BYTES == HEADER_PAGE_BYTES);
