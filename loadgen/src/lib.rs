//! Puts load on a Tickwheel engine and keeps its own account of what became of it.
//!
//! [`run`] submits numbered jobs, either as fast as the engine takes them (closed loop) or at
//! planned moments (open loop), and returns a [`Report`]: rates, latency histograms, resources and
//! a ledger that never asks the engine what was lost. [`Limits::measure`] measures beside it what
//! the machine itself can do.
//!
//! ```
//! use tickwheel_loadgen::{Options, run};
//! # let dir = tempfile::tempdir()?;
//! # let parent = dir.path();
//! let mut options = Options::new(1000);
//! options.data_dir = Some(parent.join("load"));
//! let report = run(&options)?;
//! assert_eq!((report.ledger.completed, report.ledger.lost), (1000, 0));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The modules follow a run: `options` (what is asked), `place` (where it is stored), `machine` and
//! `limits` (what it runs on), `submit` (the two loops), `account` (what is written down), `run`
//! (from start to end), `report` (what is said). Nothing here knows how the engine works inside.
#![forbid(unsafe_code)]

mod account;
pub mod cli;
mod clock;
mod gate;
mod limits;
mod machine;
mod options;
mod payload;
mod place;
mod progress;
mod report;
mod run;
mod submit;
mod text;

pub use limits::{Limits, LimitsError, SyncTimes};
pub use machine::Machine;
pub use options::{
    DurationText, Load, Options, OptionsError, ParseDurationError, RATE_MAX, RATE_MIN, Target,
};
pub use payload::{PAYLOAD_BYTES_MAX, PAYLOAD_BYTES_MIN};
pub use place::PlaceError;
pub use report::{Achieved, LatencyNs, LedgerCounts, LogLength, Report, Resources, SCHEMA, Spans};
pub use run::{Run, RunError, Watch, run, run_watched};
