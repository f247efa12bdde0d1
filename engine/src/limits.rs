//! Bounds of the engine's queues and batches, and how they relate.

use std::time::Duration;

use tickwheel_core::limits as core_limits;

/// Messages (batches, cancels, queries) that wait in a shard's inbox; a caller beyond it waits.
pub const INBOX_LEN: usize = 1024;

/// Jobs of one batch at the most.
pub const BATCH_JOBS_MAX: usize = 65_536;

/// Commands that a shard decides in one pass before it looks at the time again.
pub const PASS_COMMANDS_MAX: usize = 512;

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

/// How long handlers have to notice that they should stop, once the grace of a shutdown is over.
pub const STOP_NOTICE: Duration = Duration::from_secs(5);

/// Longest record that a log must take: the longest event and the record's header.
pub const RECORD_BYTES_MAX: u32 = core_limits::EVENT_BYTES_MAX as u32 + 64;

// Four of the longest records fit a segment, as the log asks for.
const _: () = assert!(RECORD_BYTES_MAX as u64 * 4 <= SEGMENT_BYTES_MIN);
const _: () = assert!(RUNNING_DEFAULT <= RUNNING_MAX);
// What the default number of running attempts needs to end fits well into a default segment.
const _: () =
    assert!(RUNNING_DEFAULT as u64 * core_limits::OUTCOME_BYTES_MAX * 4 <= SEGMENT_BYTES_DEFAULT);
