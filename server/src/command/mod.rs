//! Commands: what to run ([`Spec`]), running it ([`run`]) and what came of it ([`Outcome`]).
//!
//! This module knows processes and pipes, and nothing of schedules, jobs or logs.

mod group;
mod outcome;
mod output;
mod run;
mod spawn;
mod spec;
#[cfg(test)]
mod tests;

pub use outcome::{End, Failure, Outcome, Stop};
pub use output::Output;
pub use run::run;
pub use spawn::SpawnError;
pub use spec::{LogOutput, PayloadError, Program, RunAs, Spec};
