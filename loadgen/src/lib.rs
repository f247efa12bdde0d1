//! Puts load on Tickwheel and keeps its own account of what became of it.
//!
//! [`run`] submits numbered jobs, either as fast as the target takes them (closed loop) or at
//! planned moments (open loop), and returns a [`Report`]: rates, latency histograms, resources, a
//! ledger that never asks the target what was lost, and a [`Verdict`] on all of it. [`verb`] has the
//! series of runs with a question behind them, [`report`] turns results into a page, and [`plan`] says
//! whether a workload fits. [`Limits::measure`] and [`Ceiling::measure`] say what the machine and this
//! kit can do at best.
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
//! The modules follow a run: `options` (what is asked), `arrival` and `workload` (when jobs come and
//! what they are like), `place` (where it is stored), `machine`, `limits` and `ceiling` (what it runs
//! on), `submit` (the two loops), `target` (what they are put on), `fault` (what is done to it on purpose), `measure` (what is written down),
//! `run` (from start to end), `slo` and `verdict` (what it comes to), `result` (what is stored). Nothing
//! here knows how the engine works inside.
#![forbid(unsafe_code)]

mod arrival;
mod ceiling;
pub mod cli;
mod clock;
mod fault;
mod limits;
mod machine;
mod measure;
mod options;
mod place;
pub mod plan;
mod random;
pub mod report;
pub mod result;
mod run;
mod slo;
mod submit;
mod target;
pub mod verb;
mod verdict;
mod workload;

pub use arrival::{Arrivals, Trace, TraceError};
pub use ceiling::Ceiling;
pub use fault::{FAULTS_MAX, Fault, FaultKind, Faults, ParseFaultError};
pub use limits::{Limits, LimitsError, SyncTimes};
pub use machine::Machine;
pub use options::{Load, Options, OptionsError, RATE_MAX, RATE_MIN};
pub use place::PlaceError;
pub use result::{Report, SCHEMA};
pub use run::{Run, RunError, Watch, run, run_watched};
pub use slo::{ObjectiveResult, ParseSloError, Slo};
pub use target::{ParseTargetError, TargetError, TargetName};
pub use verdict::{Outcome, Reason, Rule, Verdict};
pub use workload::{
    Due, DurationText, Outcomes, PAYLOAD_BYTES_MAX, PAYLOAD_BYTES_MIN, ParseDurationError, Service,
    Sizes, SpecError, TENANTS_MAX, Tenants, Workload,
};
