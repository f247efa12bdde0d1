//! Every bound of the core, in one place, with the relations among them.
//!
//! What a caller may set is checked against these; nothing else in the crate invents a limit.

/// Highest priority; 0 is the lowest.
pub const PRIORITY_MAX: u8 = 9;

/// Priority of a job that names none.
pub const PRIORITY_DEFAULT: u8 = 5;

/// Longest payload of a job.
pub const PAYLOAD_BYTES_MAX: usize = 1 << 20;

/// Longest name of a kind or of a schedule, in bytes of UTF-8.
pub const NAME_BYTES_MAX: usize = 255;

/// Distinct kinds that one shard knows at a time.
pub const KINDS_MAX: usize = 4096;

/// Distinct queues that one shard knows at a time.
pub const QUEUES_MAX: usize = 4096;

/// The queue of a job that names none.
pub const QUEUE_DEFAULT: &str = "default";

/// Attempts of one queue that may be under way in one shard, where that is limited.
pub const QUEUE_CONCURRENCY_MAX: u32 = 65_536;

/// Jobs that may wait in one queue of one shard, where that is limited.
pub const QUEUE_LENGTH_MAX: u32 = JOBS_MAX;

/// Highest weight of a queue.
pub const QUEUE_WEIGHT_MAX: u8 = 100;

/// Attempts per period of a queue's rate at the most.
pub const QUEUE_RATE_JOBS_MAX: u32 = 1_000_000;

/// Attempts that a queue's rate lets begin at once at the most.
pub const QUEUE_BURST_MAX: u32 = 1_000_000;

/// How long a queue's rate may take until its whole burst is there again: ten years, in nanoseconds.
pub const QUEUE_REFILL_NS_MAX: u128 = 3650 * 86_400 * 1_000_000_000;

/// Longest event that gives a queue its limits, without its header.
pub const QUEUE_LIMITS_BYTES_MAX: u64 = 64 + NAME_BYTES_MAX as u64;

/// Groups that are live in one shard: those with a job that has not ended, or with a rate that is spent.
pub const GROUPS_MAX: usize = 65_536;

/// Groups of one shard that may have limits of their own, live or not.
pub const GROUP_LIMITS_MAX: usize = 65_536;

/// Groups that a look at a queue lists at the most.
pub const GROUPS_LISTED_MAX: usize = 1000;

/// Longest event about a group or about the groups of a queue, without its header.
pub const GROUP_EVENT_BYTES_MAX: u64 = QUEUE_LIMITS_BYTES_MAX + NAME_BYTES_MAX as u64;

/// How often within the span of a queue's aging its lines are looked at. By such a part of it a job may be lifted later,
/// and by up to a span more where nobody has looked for as long, since nothing happened in the shard.
pub const AGING_LOOKS_PER_SPAN: u64 = 16;

/// A queue's lines are looked at for its aging no more often than this.
pub const AGING_LOOK_NS_MIN: u64 = 1_000_000;

/// Jobs that one step lifts to a higher line, and groups that it looks at for that, at the most.
pub const AGING_WORK_PER_STEP: u32 = 4096;

/// Schedules that one shard holds: what 16 bits name, but for the number that means none.
pub const SCHEDULES_MAX: usize = 65_535;

/// Jobs that one shard holds; slots are 32-bit with one bit taken to mark list heads.
pub const JOBS_MAX: u32 = 1 << 30;

/// Attempts that a job may be given at the most.
pub const ATTEMPTS_MAX: u16 = 10_000;

/// Attempts of a job that names no number: the first try and 25 retries.
pub const ATTEMPTS_DEFAULT: u16 = 26;

/// Longest back-off, time-out and their like: 49 days, what 32 bits of milliseconds hold.
pub const SPAN_MS_MAX: u64 = u32::MAX as u64;

/// Last instant that a job may be due at: 2200-01-01T00:00:00Z in nanoseconds since 1970.
pub const DUE_WALL_NS_MAX: u64 = 7_258_118_400 * 1_000_000_000;

/// Longest message kept of a failed attempt; a longer one is cut at a character's border.
pub const MESSAGE_BYTES_MAX: usize = 1000;

/// What is kept of the message of a dead job's last failure.
pub const DEAD_MESSAGE_BYTES_MAX: usize = 216;

/// Dead jobs that a shard may be told to keep.
pub const DEAD_MAX: u32 = 10_000_000;

/// Dead jobs that a shard keeps unless told otherwise.
pub const DEAD_DEFAULT: u32 = 100_000;

/// How long a dead job is kept unless told otherwise: 180 days, in nanoseconds.
pub const DEAD_AGE_NS_DEFAULT: u64 = 180 * 86_400 * 1_000_000_000;

/// Longest cron expression and zone name together, as text.
pub const EXPRESSION_BYTES_MAX: usize = 1024;

/// Longest note of a pause.
pub const NOTE_BYTES_MAX: usize = 200;

/// Longest fixed part of an event, before its payload.
pub const EVENT_HEAD_BYTES_MAX: usize = 5120;

/// Longest event with its payload; a log must take records of this size.
pub const EVENT_BYTES_MAX: usize = EVENT_HEAD_BYTES_MAX + PAYLOAD_BYTES_MAX;

/// What the end of an attempt may take in the journal, record header included.
pub const OUTCOME_BYTES_MAX: u64 = 64 + 48 + MESSAGE_BYTES_MAX as u64;

/// What the end of an attempt takes whose process ended. The journal's room at its opening must hold
/// as many as there can be under way: one that cannot be written goes on until the next opening.
pub const LOST_BYTES_MAX: u64 = 96;

/// What the start of an attempt takes in the journal at the most.
pub const START_BYTES_MAX: u64 = 64 + 40;

/// Tags of one job.
pub const TAGS_MAX: usize = 16;

/// Longest tag, in bytes of UTF-8.
pub const TAG_BYTES_MAX: usize = 64;

/// Jobs that one job may wait for.
pub const NEEDS_MAX: usize = 64;

/// Jobs that may wait for one job.
pub const WAITING_FOR_ONE_MAX: usize = 65_536;

/// Keys of uniqueness in one shard that may outlive their jobs.
pub const UNIQUE_LASTING_MAX: u32 = 1 << 24;

/// Batches that one shard holds, those included that are over and not forgotten.
pub const BATCHES_MAX: usize = 1 << 20;

/// How long a batch is open until it expires, or is committed again: half an hour, in nanoseconds.
pub const BATCH_OPEN_NS: u64 = 1800 * 1_000_000_000;

/// How long a batch that is over can be looked at: an hour, in nanoseconds.
pub const BATCH_KEPT_NS: u64 = 3600 * 1_000_000_000;

/// Longest payload of a callback of a batch.
pub const CALLBACK_PAYLOAD_BYTES_MAX: usize = 256 << 10;

/// Longest event about a batch without its callbacks, and without its header.
pub const BATCH_HEAD_BYTES_MAX: usize = 128 + NAME_BYTES_MAX;

/// Longest optional fields of a job, as they are written.
pub const JOB_OPTIONS_BYTES_MAX: usize =
    100 + 9 * NEEDS_MAX + NAME_BYTES_MAX + TAGS_MAX * (2 + TAG_BYTES_MAX);

/// Longest fixed part of the event that writes a held job again.
pub const KEPT_HEAD_BYTES_MAX: usize =
    176 + 3 * NAME_BYTES_MAX + JOB_OPTIONS_BYTES_MAX + DEAD_MESSAGE_BYTES_MAX;

/// What the event that lets the log's beginning be cut off takes at the most, without its header.
pub const BASE_BYTES_MAX: usize = 80;

/// What new attempts leave in the journal, so that a piece of it that was cleaned can be given back:
/// room for a base and for the journal's own record of the release.
pub const RELEASE_BYTES: u64 = 384;

/// What cleaning leaves in the journal, so that attempts can begin and end meanwhile.
pub const CLEAN_FLOOR_BYTES: u64 = 64 << 10;

/// Attempts that workers have fetched and not ended, in one shard at the most.
pub const FETCHED_MAX: u32 = 1 << 20;

/// Attempts in one event at the most that says that several began or ended.
pub const LIST_ATTEMPTS_MAX: usize = 1024;

/// Longest fixed part of the event that changes jobs.
pub const CHANGE_HEAD_BYTES_MAX: usize = 40 + NAME_BYTES_MAX;

/// Bytes that one job takes in the list of an event at the most: ten of an id, five of a token.
pub const LIST_ENTRY_BYTES_MAX: usize = 15;

/// What a record of the journal takes beside its event, as far as the core counts it for
/// [`Scheduler::live_bytes`](crate::Scheduler::live_bytes): its header. The journal alone knows it exactly.
pub const RECORD_HEADER_BYTES: usize = 16;

/// Timer entries moved or fired in one step of time, so that the inbox is looked at in between. Large
/// enough that a full slot of an upper level, tens of thousands of entries under load, comes down
/// within a few steps: until then nothing behind it can be triggered.
pub const TIMER_WORK_PER_STEP: u32 = 16_384;

/// How late a fire time may be before it counts as missed, unless the schedule says otherwise.
pub const MISSED_GRACE_MS_DEFAULT: u32 = 60_000;

/// Longest window of a schedule's jitter: a day.
pub const JITTER_NS_MAX: u64 = 86_400 * 1_000_000_000;

/// Runs that a schedule may catch up at the most.
pub const CATCH_UP_MAX: u32 = 10_000;

/// Runs of a schedule that may wait for each other at the most. Each time that one ends, as many fire times
/// are looked at.
pub const OVERLAP_QUEUE_MAX: u32 = 1000;
/// Jobs that one step of a backfill adds at the most.
pub const BACKFILL_PER_STEP: u32 = 256;
/// Jobs of a schedule that one step cancels at the most because another replaces them.
pub const REPLACED_PER_STEP: usize = 64;

/// What the rate of a queue that shards share has spent is written down each time that its burst is whole
/// again so much later. After a recovery no more than this is taken as spent beside what was written.
pub const RATE_NOTE_NS: i64 = 1_000_000_000;

/// When a fire time cannot be written for want of space, the shard looks again after this long.
pub const NO_ROOM_RETRY_MS: u64 = 1000;

// A message, a name and the numbers around them must fit the head of an event.
const _: () = assert!(MESSAGE_BYTES_MAX + 3 * NAME_BYTES_MAX + 256 <= EVENT_HEAD_BYTES_MAX);
// A schedule goes into one head: its name, kind and queue, its expression and zone, its note.
const _: () = assert!(
    EXPRESSION_BYTES_MAX + NOTE_BYTES_MAX + 4 * NAME_BYTES_MAX + JOB_OPTIONS_BYTES_MAX + 256
        <= EVENT_HEAD_BYTES_MAX
);
const _: () = assert!(KEPT_HEAD_BYTES_MAX <= EVENT_HEAD_BYTES_MAX);
// A batch goes into one event: its head, and the terms and payloads of three callbacks.
const _: () = assert!(
    BATCH_HEAD_BYTES_MAX
        + 3 * (CALLBACK_PAYLOAD_BYTES_MAX + JOB_OPTIONS_BYTES_MAX + 2 * NAME_BYTES_MAX + 64)
        <= EVENT_BYTES_MAX
);
const _: () = assert!(BATCH_HEAD_BYTES_MAX <= EVENT_HEAD_BYTES_MAX);
// Two bytes of a record tell a job's attempts; two bits of them say other things.
const _: () = assert!(ATTEMPTS_MAX < 1 << 14);
// What is reserved for an attempt's end must hold the longest message.
const _: () = assert!(OUTCOME_BYTES_MAX > MESSAGE_BYTES_MAX as u64);
// The length of a dead job's message is one byte.
const _: () = assert!(DEAD_MESSAGE_BYTES_MAX <= u8::MAX as usize);
const _: () = assert!(DEAD_DEFAULT <= DEAD_MAX && DEAD_MAX < JOBS_MAX);
const _: () = assert!(ATTEMPTS_DEFAULT <= ATTEMPTS_MAX);
const _: () = assert!(PRIORITY_DEFAULT <= PRIORITY_MAX);
const _: () = assert!(RELEASE_BYTES >= 2 * (64 + BASE_BYTES_MAX as u64) + 64);
const _: () =
    assert!(CLEAN_FLOOR_BYTES > 16 * (START_BYTES_MAX + OUTCOME_BYTES_MAX) + RELEASE_BYTES);
// A share of the shortest period is a nanosecond at the least.
const _: () = assert!(QUEUE_RATE_JOBS_MAX <= 1_000_000);
// The time at which a burst is whole again must be one that 63 bits hold.
const _: () = assert!(DUE_WALL_NS_MAX as u128 + QUEUE_REFILL_NS_MAX < i64::MAX as u128);
// Weights of all queues are added up in 32 bits.
const _: () = assert!(QUEUES_MAX as u64 * (QUEUE_WEIGHT_MAX as u64) < u32::MAX as u64);
