//! The bounds of the TCP front-end, and how they relate. What a configuration may set is in
//! [`config::limits`](crate::config::limits).

use std::time::Duration;

use tickwheel_protocol::Limits;

/// What one request may hold. A job has to fit the engine's payload with the times that are added.
pub(super) const REQUEST: Limits =
    Limits { job_bytes_max: PAYLOAD_BYTES_MAX - JOB_GROWTH_BYTES, ..Limits::DEFAULT };

/// Longest payload that the engine takes.
pub(super) const PAYLOAD_BYTES_MAX: usize = 1 << 20;

/// What `created_at` and `enqueued_at` add to a job at the most.
pub(super) const JOB_GROWTH_BYTES: usize = 256;

/// Bytes that one read brings at the most: all complete requests in them become one batch per shard.
pub(super) const READ_BYTES: usize = 256 << 10;

/// Reads of one connection before the others have their turn.
pub(super) const READS_PER_TURN: usize = 8;

/// Rounds of requests of one connection that wait for the engine; then it is not read.
pub(super) const ROUNDS_MAX: usize = 32;

/// Bytes that wait behind a `FETCH` or a full pipeline before the connection is not read any more.
pub(super) const WAITING_BYTES_MAX: usize = 64 << 10;

/// Bytes of requests that have not ended, of all connections of one I/O thread. A connection that
/// wants more than its first [`READ_BYTES`] while there are so many is cut.
pub(super) const UNFINISHED_BYTES_MAX: usize = 256 << 20;

/// Bytes of replies that wait for a client before nothing more is read from it.
pub(super) const REPLY_BYTES_PAUSE: usize = 1 << 20;

/// Bytes of replies that wait for a client before it is cut. One `FETCHB` may bring so many.
pub(super) const REPLY_BYTES_MAX: usize = 64 << 20;

/// Jobs that one `FETCHB` brings at the most.
pub(super) const FETCH_JOBS_MAX: u32 = 256;

/// Wait of a `FETCH`.
pub(super) const FETCH_WAIT: Duration = Duration::from_secs(2);

/// From the connection to the end of its handshake.
pub(super) const HANDSHAKE_WAIT: Duration = Duration::from_secs(2);

/// A client that takes none of its replies for so long is cut.
pub(super) const STALL_WAIT: Duration = Duration::from_secs(30);

/// A peer of which nothing is heard for so long is asked by the system whether it is there.
pub(super) const KEEP_IDLE: Duration = Duration::from_secs(60);

/// How often it is asked again.
pub(super) const KEEP_INTERVAL: Duration = Duration::from_secs(10);

/// After so many questions without an answer the connection has ended.
pub(super) const KEEP_COUNT: u32 = 6;

/// How often deadlines of connections are looked at, while there is one.
pub(super) const SWEEP: Duration = Duration::from_millis(250);

/// After the system had no descriptor for a connection, the next is accepted so much later.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connections accepted before those that are there have their turn.
pub(super) const ACCEPTS_PER_TURN: usize = 64;

/// How long the end of the front-end waits for replies that are under way.
pub(super) const END_WAIT: Duration = Duration::from_secs(5);

/// A worker that is silent for so long is gone.
pub(super) const WORKER_SILENCE: Duration = Duration::from_secs(60);

/// Bytes of commands that wait for the control thread, of all connections.
pub(super) const CONTROL_BYTES_MAX: usize = 64 << 20;

/// Memory for what is known of tracked jobs, about; the oldest are forgotten first.
pub(super) const TRACK_BYTES_MAX: usize = 32 << 20;

/// Removed queues that are kept in mind: the engine knows no more queues in one shard.
pub(super) const HIDDEN_QUEUES_MAX: usize = 4096;

/// Jobs up to which those that wait for a retry are counted one by one for `INFO`.
pub(super) const COUNTED_JOBS_MAX: u64 = 200_000;

/// Workers that are listed at the most; a further one works, but is not told to be quiet.
pub(super) const WORKERS_MAX: usize = 65_536;

/// Rounds of SHA-256 that a client of a server with a password computes. The server computes as many
/// for each handshake, on the thread that serves the others.
pub(super) const HASH_ROUNDS: u32 = 1545;

// The longest line holds the longest job.
const _: () = assert!(REQUEST.job_bytes_max < REQUEST.line_bytes_max);
// One answer to a FETCHB may be as long as so many of the longest jobs would be, or it is cut short.
const _: () = assert!(REPLY_BYTES_PAUSE < REPLY_BYTES_MAX);
const _: () = assert!(PAYLOAD_BYTES_MAX < REPLY_BYTES_MAX);
// The longest line can wait for the control thread.
const _: () = assert!(REQUEST.line_bytes_max < CONTROL_BYTES_MAX);
