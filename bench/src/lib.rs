//! The measured bodies of Tickwheel's benchmarks.
//!
//! Each takes its size as a parameter, draws what is random from a fixed seed, checks its result
//! and returns the time of the measured part alone. `benches/` gives them to criterion at full
//! size, `tests/tiny.rs` runs them small as ordinary tests, so that they cannot rot.
#![forbid(unsafe_code)]

pub mod codec;
pub mod crc;
pub mod cron;
pub mod engine;
pub mod handover;
pub mod path_counts;
mod random;
pub mod wal;
pub mod wheel;
pub mod wheel_counts;

/// Why a benchmark could not be carried out.
pub type BenchError = Box<dyn std::error::Error + Send + Sync>;
