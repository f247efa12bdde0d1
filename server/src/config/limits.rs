//! The bounds of everything that a configuration or a crontab may say. `docs/operations.md` lists
//! them.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use crate::command::LogOutput;

/// Bytes of one configuration file or crontab.
pub const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Schedules and jobs of one server.
pub const ENTRIES_MAX: usize = 65_536;
/// Bytes of a schedule's or job's name.
pub const NAME_BYTES_MAX: usize = 128;
/// Arguments of one command, the program included.
pub const ARGUMENTS_MAX: usize = 1024;
/// Bytes of one command with its arguments, environment and input, as encoded for the log.
pub const COMMAND_BYTES_MAX: usize = 256 * 1024;

/// Shortest and longest interval of `every`.
pub const EVERY: (Duration, Duration) = (Duration::from_millis(100), days(366));
/// Shortest and longest `timeout`.
pub const TIMEOUT: (Duration, Duration) = (Duration::from_millis(100), days(30));
/// Shortest and longest `kill_grace`.
pub const KILL_GRACE: (Duration, Duration) = (Duration::ZERO, minutes(10));
/// Shortest and longest `backoff` and `backoff_max`.
pub const BACKOFF: (Duration, Duration) = (Duration::from_millis(1), days(7));
/// Shortest and longest `shutdown_grace`.
pub const SHUTDOWN_GRACE: (Duration, Duration) = (Duration::ZERO, minutes(60));
/// Shortest and longest `window` of missed runs.
pub const MISSED_WINDOW: (Duration, Duration) = (Duration::from_secs(1), days(366));
/// Fewest and most runs that `missed = { all = … }` makes up for.
pub const MISSED_RUNS: (u64, u64) = (1, 10_000);
/// Fewest and most runs that wait for each other with `overlap = { queue = … }`.
pub const OVERLAP_QUEUE: (u64, u64) = (1, 1000);
/// How many do with `overlap = "queue"`.
pub const OVERLAP_QUEUE_DEFAULT: u32 = 100;
/// Fewest and most `retries`.
pub const RETRIES: (u64, u64) = (0, 1000);
/// Lowest and highest `priority`.
pub const PRIORITY: (u64, u64) = (0, 9);
/// Fewest and most `executors`.
pub const EXECUTORS: (u64, u64) = (1, 256);
/// Smallest and largest `output_limit`.
pub const OUTPUT_BYTES: (u64, u64) = (0, 16 * 1024 * 1024);

/// Shortest and longest `history_keep`.
pub const HISTORY_KEEP: (Duration, Duration) = (minutes(1), days(3652));
/// Unset `history_keep`.
pub const HISTORY_KEEP_DEFAULT: Duration = days(30);
/// Smallest and largest `history_bytes`.
pub const HISTORY_BYTES: (u64, u64) = (8 << 20, 1 << 40);
/// Unset `history_bytes`.
pub const HISTORY_BYTES_DEFAULT: u64 = 256 << 20;

/// Longest `jitter`.
pub const JITTER_MAX: Duration = days(1);
/// Shortest and longest `timeout` of a job for workers.
pub const RESERVE: (Duration, Duration) = (minutes(1), days(1));
/// Unset `timeout` of a job for workers.
pub const RESERVE_DEFAULT: Duration = minutes(30);

/// Queues with limits.
pub const QUEUES_MAX: usize = 4096;
/// Bytes of a queue's name, and of a kind.
pub const QUEUE_NAME_BYTES_MAX: usize = 255;
/// Queue of a job for workers that names none.
pub const QUEUE_DEFAULT: &str = "default";
/// Fewest and most `concurrency` of a queue.
pub const QUEUE_CONCURRENCY: (u64, u64) = (1, 65_536);
/// Lowest and highest `rate` and `burst` of a queue.
pub const QUEUE_RATE: (u64, u64) = (1, 1_000_000);
/// Shortest and longest `per` of a queue's rate.
pub const QUEUE_PER: (Duration, Duration) = (Duration::from_millis(1), days(49));
/// Unset `per` of a queue's rate.
pub const QUEUE_PER_DEFAULT: Duration = Duration::from_secs(1);
/// Lowest and highest `weight` of a queue.
pub const QUEUE_WEIGHT: (u64, u64) = (1, 100);
/// Fewest and most `length` of a queue.
pub const QUEUE_LENGTH: (u64, u64) = (1, 1 << 30);

/// Fewest and most failures in a row of `pause_after` and `break_after`.
pub const FAILURES: (u64, u64) = (1, 1_000_000);
/// Shortest and longest `cool_down` and `cool_down_max`.
pub const COOL_DOWN: (Duration, Duration) = (Duration::from_millis(1), days(1));

/// Shortest and longest `request_timeout`.
pub const REQUEST_TIMEOUT: (Duration, Duration) = (Duration::from_millis(100), minutes(60));
/// Unset `request_timeout`.
pub const REQUEST_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// Fewest and most `io_threads`.
pub const IO_THREADS: (u64, u64) = (1, 16);
/// Fewest and most `connections_max` and `connections_per_address_max`.
pub const CONNECTIONS: (u64, u64) = (1, 1_000_000);
/// Bytes of a password at the most.
pub const PASSWORD_BYTES_MAX: usize = 1024;

/// Begins the names of schedules that clients of the work protocol put: no configured one may have it.
pub const CLIENT_PREFIX: &str = "client:";

/// Where the server listens for workers if it is told to and not told where.
pub const LISTEN_DEFAULT: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 7419));
/// Unset `io_threads`.
pub const IO_THREADS_DEFAULT: usize = 1;
/// Unset `connections_max`.
pub const CONNECTIONS_DEFAULT: usize = 10_000;
/// Unset `connections_per_address_max`.
pub const CONNECTIONS_PER_ADDRESS_DEFAULT: usize = 5000;
/// Unset `timeout` of a schedule or job.
pub const TIMEOUT_DEFAULT: Duration = minutes(60);
/// Timeout of a crontab's entry, which cannot set one.
pub const CRONTAB_TIMEOUT: Duration = days(1);
/// Unset `kill_grace`.
pub const KILL_GRACE_DEFAULT: Duration = Duration::from_secs(10);
/// Unset `backoff`.
pub const BACKOFF_DEFAULT: Duration = Duration::from_secs(10);
/// Unset `backoff_max`.
pub const BACKOFF_MAX_DEFAULT: Duration = minutes(10);
/// Unset `shutdown_grace`.
pub const SHUTDOWN_GRACE_DEFAULT: Duration = Duration::from_secs(30);
/// Unset `retries`.
pub const RETRIES_DEFAULT: u16 = 0;
/// Unset `priority`.
pub const PRIORITY_DEFAULT: u8 = 5;
/// Unset `executors`. Executors mostly wait for processes, so there are more than processors.
pub const EXECUTORS_DEFAULT: usize = 16;
/// Unset `output_limit`.
pub const OUTPUT_BYTES_DEFAULT: u64 = 64 * 1024;
/// Unset `zone`.
pub const ZONE_DEFAULT: &str = "UTC";
/// Unset `data_dir`, from the working directory.
pub const DATA_DIR_DEFAULT: &str = "tickwheel-data";
/// When a configured command's output is logged.
pub const LOG_OUTPUT_DEFAULT: LogOutput = LogOutput::OnFailure;

const fn minutes(count: u64) -> Duration {
    Duration::from_secs(count * 60)
}

const fn days(count: u64) -> Duration {
    Duration::from_secs(count * 24 * 60 * 60)
}

// The readers check a command in its encoded form, which has to fit a job's payload.
const _: () = assert!(COMMAND_BYTES_MAX <= 1 << 20);
const _: () = assert!(RETRIES.1 < u16::MAX as u64, "attempts are one more than retries");
