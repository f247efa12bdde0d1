//! Every bound of the protocol, in one place. It must not know what the bounds are used for beyond
//! the sentence beside each.

/// What one request may hold. A server gives it to each decoding, so that it can be strict before
/// the handshake and generous after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest line without its end, in bytes. Default 16 MiB, minimum 64, maximum [`LINE_BYTES_MAX`].
    pub line_bytes_max: usize,
    /// Longest job as JSON, in bytes. Default 1 MiB, minimum 64, maximum `line_bytes_max`.
    pub job_bytes_max: usize,
    /// Most elements of `PUSHB`, `FETCHB`, `ACKB`, `FAILB` and of a list of jids. Default 10,000,
    /// minimum 1, maximum [`BATCH_ITEMS_MAX`].
    pub batch_items_max: usize,
}

impl Limits {
    /// For a connection that has not said `HELLO` yet: lines of 4 KiB.
    pub const HANDSHAKE: Self =
        Self { line_bytes_max: 4 << 10, job_bytes_max: 4 << 10, batch_items_max: 1 };

    /// For a connection after its handshake.
    pub const DEFAULT: Self =
        Self { line_bytes_max: 16 << 20, job_bytes_max: 1 << 20, batch_items_max: 10_000 };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Highest value of [`Limits::line_bytes_max`].
pub const LINE_BYTES_MAX: usize = 256 << 20;
/// Highest value of [`Limits::batch_items_max`].
pub const BATCH_ITEMS_MAX: usize = 1_000_000;

/// Fewest characters of a jid.
pub const JID_CHARS_MIN: usize = 8;
/// Longest jid, jobtype, name of a queue or of a schedule, worker's id or batch's id, in bytes.
pub const NAME_BYTES_MAX: usize = 255;
/// Most queues that one command names.
pub const QUEUES_MAX: usize = 256;
/// Most labels of a worker.
pub const LABELS_MAX: usize = 64;

/// Tags of one job.
pub const TAGS_MAX: usize = 16;

/// Longest tag, in bytes.
pub const TAG_BYTES_MAX: usize = 64;

/// Queue of a job that names none.
pub const QUEUE_DEFAULT: &str = "default";
/// Highest priority of a job; 0 is the lowest.
pub const PRIORITY_MAX: u8 = 9;
/// Shortest lease of a fetched job, in seconds; less counts as this.
pub const RESERVE_SECONDS_MIN: u32 = 60;
/// Lease of a fetched job that names none, in seconds.
pub const RESERVE_SECONDS_DEFAULT: u32 = 1800;
/// Longest lease of a fetched job, in seconds: a day.
pub const RESERVE_SECONDS_MAX: u32 = 86_400;
/// Retries of a job that names no number.
pub const RETRY_DEFAULT: u32 = 25;
/// Longest `unique_for` and `expires_in`, in seconds: ten years.
pub const SPAN_SECONDS_MAX: u32 = 10 * 366 * 86_400;

/// Characters kept of the type of a failure.
pub const ERRTYPE_CHARS_MAX: usize = 100;
/// Characters kept of the message of a failure, and of each line of its backtrace.
pub const MESSAGE_CHARS_MAX: usize = 1000;
/// Lines kept of the backtrace of a failure.
pub const BACKTRACE_LINES_MAX: usize = 50;

/// Longest wait of `FETCHB`, in milliseconds.
pub const WAIT_MS_MAX: u32 = 60_000;
/// Wait of `FETCHB` that names none, and of each `FETCH`, in milliseconds.
pub const WAIT_MS_DEFAULT: u32 = 2000;
/// Most fire times that `CRON NEXT` may ask for.
pub const FIRE_TIMES_MAX: u32 = 1000;

/// Most rounds of SHA-256 that a client computes for a server: what a hostile server can cost it.
pub const HASH_ROUNDS_MAX: u32 = 1_000_000;

/// Longest line of a reply, in bytes.
pub const REPLY_LINE_BYTES_MAX: usize = 64 << 10;

const _: () = assert!(RESERVE_SECONDS_MIN <= RESERVE_SECONDS_DEFAULT);
const _: () = assert!(RESERVE_SECONDS_DEFAULT <= RESERVE_SECONDS_MAX);
// A job travels in a line, with its verb in front of it.
const _: () = assert!(Limits::DEFAULT.job_bytes_max < Limits::DEFAULT.line_bytes_max);
const _: () = assert!(Limits::DEFAULT.line_bytes_max <= LINE_BYTES_MAX);
const _: () = assert!(Limits::DEFAULT.batch_items_max <= BATCH_ITEMS_MAX);
// A handshake's line holds a name of each kind and the hash.
const _: () = assert!(Limits::HANDSHAKE.line_bytes_max > 3 * NAME_BYTES_MAX + 64);
const _: () = assert!(WAIT_MS_DEFAULT <= WAIT_MS_MAX);
