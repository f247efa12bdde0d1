//! `tickwheel`: the server that runs schedules and commands on time, and its command line.
//!
//! A library for the sake of its binary and its tests; applications embed `tickwheel-engine`.
//!
//! [`config`] and [`crontab`] read what is to run into a [`plan`]; [`serve`] hands the plan to the
//! engine, and [`command`] runs what the engine says is due. [`front`] lets workers in any language push
//! and fetch jobs. `docs/operations.md` is for those who
//! run it.
#![forbid(unsafe_code)]
// Their macros panic where the stream cannot be written; see `logging`.
#![deny(clippy::print_stderr, clippy::print_stdout)]

pub mod cli;
pub mod command;
pub mod config;
pub mod crontab;
mod data_dir;
pub mod demo;
pub mod front;
mod history;
mod logging;
pub mod next;
pub mod plan;
pub mod problem;
pub mod serve;
mod store;
