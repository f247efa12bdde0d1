//! Bounds of the engine's queues and batches, and how they relate.

use std::time::Duration;

use tickwheel_core::limits as core_limits;

/// Messages (batches, cancels, queries) that wait in a shard's inbox; a caller beyond it waits.
pub const INBOX_LEN: usize = 1024;

/// Jobs of one batch at the most.
pub const BATCH_JOBS_MAX: usize = 65_536;

/// Steps of one flow at the most: a shard decides them at one go.
pub const FLOW_STEPS_MAX: usize = 1024;

/// Fire times that one question about what is upcoming lists at the most.
pub const UPCOMING_MAX: usize = 10_000;

/// Fire times that one backfill adds jobs for at the most.
pub const BACKFILL_MAX: usize = 10_000;

/// Commands that a shard decides in one pass before it looks at the time again.
pub const PASS_COMMANDS_MAX: usize = 512;

/// A worker's fetch waits for a job at the most this long.
pub const FETCH_WAIT_MAX: Duration = Duration::from_secs(3600);

/// Jobs on one page of a list at the most.
pub const PAGE_JOBS_MAX: usize = 1000;

/// Places in the tables that are looked at for one page of a list at the most.
pub const PAGE_PLACES_MAX: u32 = 4 << 20;

/// Places that a shard looks at for a list or a change of many in one pass: four megabytes of records.
pub const PASS_PLACES_MAX: u32 = 65_536;

/// Events that a change of many writes in one pass at the most, each of up to 1024 jobs.
pub const PASS_CHANGES_MAX: u32 = 2;

/// Ends of attempts that a shard takes in one pass.
pub const PASS_COMPLETIONS_MAX: usize = 1024;

/// Attempts that a shard hands out in one pass.
pub const PASS_DISPATCH_MAX: u32 = 512;

/// Attempts under way per shard where none is set, queued ones included. So many are reached only
/// by handlers that take microseconds: the queue is kept as long as what is taken in milliseconds.
pub const RUNNING_DEFAULT: u32 = 1024;

/// A change between the two clocks from one pass to the next that counts as a step: one second.
/// Clocks that are steered differ by half a millisecond a second.
pub const CLOCK_STEP_NS: u64 = 1_000_000_000;

/// How long a job waits that has no handler in this process.
pub const NO_HANDLER_WAIT: Duration = Duration::from_secs(600);

/// Attempts under way per shard at the most.
pub const RUNNING_MAX: u32 = 65_536;

/// Shards at the most.
pub const SHARDS_MAX: usize = 256;

/// Executor threads at the most.
pub const EXECUTORS_MAX: usize = 1024;

/// Size of a log segment where none is set.
pub const SEGMENT_BYTES_DEFAULT: u64 = 64 << 20;

/// Smallest segment: it must hold a few of the longest records.
pub const SEGMENT_BYTES_MIN: u64 = 8 << 20;

/// A log of at most so many segments is not cleaned.
pub const COMPACT_SEGMENTS_MIN: u64 = 4;

/// A log is cleaned while it is longer than so many times what is live in it.
pub const COMPACT_LIVE_FACTOR: u64 = 3;

/// Bytes that cleaning may walk for each byte that is appended. At the bound of
/// [`COMPACT_LIVE_FACTOR`] it needs one.
pub const COMPACT_LOAD_FACTOR: u64 = 2;

/// Bytes that cleaning may walk in a millisecond when nothing is appended.
pub const COMPACT_BYTES_PER_MS: u64 = 32 << 10;

/// Cleaning walks at least so much at a time, or waits.
pub const COMPACT_PIECE_BYTES: i64 = 16 << 10;

/// What time alone lets cleaning walk in one pass.
pub const COMPACT_IDLE_BYTES: i64 = 64 << 10;

/// What cleaning may walk in one pass at the most, when as much was appended.
pub const COMPACT_CREDIT_MAX: i64 = 4 << 20;

/// Rest of a cleaning that has used up what it may walk.
pub const COMPACT_PAUSE: Duration = Duration::from_millis(2);

/// When cleaning finds no room in the log, it looks again after this long.
pub const COMPACT_RETRY: Duration = Duration::from_millis(100);

/// A snapshot is taken when the log has grown by so many segments since the last one at the least.
pub const SNAPSHOT_SEGMENTS_MIN: u64 = 4;

/// And by so many times what a snapshot takes, which bounds what snapshots add to what is written.
pub const SNAPSHOT_SIZE_FACTOR: u64 = 2;

/// Longest that the end of a shard waits for its snapshot, beyond the grace of the shutdown.
pub const SNAPSHOT_END_WAIT: Duration = Duration::from_secs(20);

/// How often the end of a shard looks whether its snapshot is done.
pub const SNAPSHOT_LOOK: Duration = Duration::from_millis(1);

/// Pieces of a snapshot, of a mebibyte about, that are read ahead of what is built from them.
pub const SNAPSHOT_PIECES_AHEAD: usize = 4;

/// What a job takes in a snapshot, about.
pub const SNAPSHOT_JOB_BYTES: u64 = 72;

/// Segments that a log keeps ready. On a full disk new jobs are refused while there is less room than
/// one segment and a half, which cleaning and the ends of attempts may use. A full disk is noticed
/// when a segment cannot be replaced; until then two more may be used up, at the worst.
pub const READY_SEGMENTS: usize = 4;

/// How long handlers have to notice that they should stop, once the grace of a shutdown is over.
pub const STOP_NOTICE: Duration = Duration::from_secs(5);

/// A handler that runs so long after the end of its attempt hangs: its executor is replaced.
pub const HANG_GRACE: Duration = Duration::from_millis(100);

/// How long executors that are in no handler have to end with the engine.
pub const EXECUTOR_END: Duration = Duration::from_secs(5);

/// How often the end of an engine looks whether all executors that are left are in handlers.
pub const EXECUTOR_LOOK: Duration = Duration::from_millis(5);

/// Longest that a thread may look for work before it sleeps.
pub const SPIN_MAX: Duration = Duration::from_millis(1);

/// Longest record that a log must take: the longest event and the record's header.
pub const RECORD_BYTES_MAX: u32 = core_limits::EVENT_BYTES_MAX as u32 + 64;

/// How long the history is kept where nothing is set: 30 days.
pub const HISTORY_AGE_DEFAULT: Duration = Duration::from_secs(30 * 86_400);

/// Shortest time that the history is kept.
pub const HISTORY_AGE_MIN: Duration = Duration::from_secs(1);

/// Longest time that the history is kept: ten years.
pub const HISTORY_AGE_MAX: Duration = Duration::from_secs(3652 * 86_400);

/// Bytes of the history that are kept where nothing is set.
pub const HISTORY_BYTES_DEFAULT: u64 = 256 << 20;

/// Fewest bytes of the history that are kept.
pub const HISTORY_BYTES_MIN: u64 = 8 << 20;

/// Most bytes of the history that are kept.
pub const HISTORY_BYTES_MAX: u64 = 1 << 40;

/// Smallest segment of the history.
pub const HISTORY_SEGMENT_BYTES_MIN: u64 = 1 << 20;

/// Largest segment of the history.
pub const HISTORY_SEGMENT_BYTES_MAX: u64 = 64 << 20;

/// Damaged histories that are set aside at the most. One more keeps the engine from starting.
pub const HISTORIES_ASIDE_MAX: u32 = 8;

/// Messages that wait for the history's thread at the most.
pub const HISTORY_MESSAGES_MAX: usize = 1024;

/// Bytes of facts that wait for the history's thread at the most; a single message may be longer.
pub const HISTORY_QUEUE_BYTES_MAX: usize = 16 << 20;

/// Bytes of facts that a shard holds at the most until the history takes them. Beyond it they are
/// left out, and that is told as a gap.
pub const HISTORY_BACKLOG_BYTES_MAX: usize = 16 << 20;

/// Bytes of facts that a replay hands over at a time.
pub const HISTORY_CHUNK_BYTES: usize = 256 << 10;

/// Longest time between two syncs of the history while there is something to sync.
pub const HISTORY_SYNC_INTERVAL: Duration = Duration::from_millis(50);

/// Longest that the release of a segment, or a snapshot, waits for the history. What the history has
/// not taken by then may be missing after a crash; the next start tells that as a gap.
pub const HISTORY_WAIT_MAX: Duration = Duration::from_secs(30);

/// Longest that the end of a shard waits until the history has taken what is left.
pub const HISTORY_END_WAIT: Duration = Duration::from_secs(5);

/// How often a shard with nothing else to do tries again to hand over what was not taken.
pub const HISTORY_RETRY: Duration = Duration::from_millis(10);

/// How often whoever waits for the history looks again.
pub const HISTORY_LOOK: Duration = Duration::from_millis(1);

/// How often the history's thread looks at the age of what it keeps.
pub const HISTORY_TICK: Duration = Duration::from_secs(1);

/// Rest of the history's thread between two tries on a full disk.
pub const HISTORY_FULL_PAUSE: Duration = Duration::from_millis(100);

/// How often a full disk is told of.
pub const HISTORY_FULL_TOLD: Duration = Duration::from_secs(60);

/// Bytes of an attempt's output that are kept: the last ones.
pub const HISTORY_OUTPUT_BYTES_MAX: usize = 4096;

/// Outputs at the most that wait for the ends of their attempts to be written; the oldest go first.
pub const HISTORY_OUTPUTS_MAX: usize = 4096;

/// Attempts on a page of the history where nothing is said.
pub const HISTORY_PAGE_DEFAULT: usize = 100;

/// Bytes of the history that one page looks at, at the most.
pub const HISTORY_PAGE_BYTES_MAX: u64 = 64 << 20;

/// Events that a subscriber reads at a time at the most.
pub const HISTORY_BATCH_EVENTS_MAX: usize = 512;

/// Bytes of the history that are looked at for a subscriber at a time, about.
pub const HISTORY_BATCH_BYTES: u64 = 256 << 10;

/// Subscriptions that are kept by name at the most.
pub const SUBSCRIPTIONS_MAX: usize = 64;

/// Bytes of a subscription's name.
pub const SUBSCRIPTION_NAME_BYTES_MAX: usize = 255;

// A page looks at one segment at least.
const _: () = assert!(HISTORY_SEGMENT_BYTES_MAX <= HISTORY_PAGE_BYTES_MAX);
// The longest entries fit a quarter of the smallest segment: a fact with its output and its texts, and
// the state with all shards and subscriptions.
const _: () = assert!(
    HISTORY_OUTPUT_BYTES_MAX + core_limits::EVENT_HEAD_BYTES_MAX + 1024
        <= HISTORY_SEGMENT_BYTES_MIN as usize / 4
);
const _: () = assert!(
    SHARDS_MAX * 13 + SUBSCRIPTIONS_MAX * (SUBSCRIPTION_NAME_BYTES_MAX + 10) + 64
        <= HISTORY_SEGMENT_BYTES_MIN as usize / 4
);
// The length of an output is written in two bytes.
const _: () = assert!(HISTORY_OUTPUT_BYTES_MAX <= u16::MAX as usize);
// A page is made in several passes.
const _: () = assert!(PASS_PLACES_MAX < PAGE_PLACES_MAX);
// Four of the longest records fit a segment, as the log asks for.
const _: () = assert!(RECORD_BYTES_MAX as u64 * 4 <= SEGMENT_BYTES_MIN);
// Cleaning must be able to overtake the load.
const _: () = assert!(COMPACT_LOAD_FACTOR > 1);
const _: () = assert!(COMPACT_PIECE_BYTES <= COMPACT_IDLE_BYTES);
const _: () = assert!(COMPACT_IDLE_BYTES <= COMPACT_CREDIT_MAX);
const _: () = assert!(RUNNING_DEFAULT <= RUNNING_MAX);
// After a crash, the first segment takes the ends of all attempts that were under way.
const _: () =
    assert!(RUNNING_MAX as u64 * core_limits::LOST_BYTES_MAX <= SEGMENT_BYTES_MIN / 4 * 3);
// What the default number of running attempts needs to end fits well into a default segment.
const _: () =
    assert!(RUNNING_DEFAULT as u64 * core_limits::OUTCOME_BYTES_MAX * 4 <= SEGMENT_BYTES_DEFAULT);
