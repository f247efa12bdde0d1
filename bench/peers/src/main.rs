//! Compares the log of Tickwheel with other stores, at equal durability.
//!
//! It owns the command line only. Each measurement runs in a process of its own ([`child`]), so
//! that no peer inherits another's threads, caches or global settings, and so that what it wrote is
//! counted by a process that did not write it. [`rounds`] starts those processes in turn, [`syncs`]
//! runs them under `strace`.
#![forbid(unsafe_code)]

mod child;
mod machine;
mod options;
mod peer;
mod record;
mod report;
mod rounds;
mod syncs;

use std::process::ExitCode;

use options::{Command, USAGE};

/// Why a peer or a measurement failed.
type PeerError = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let result = match options::parse(std::env::args().skip(1)) {
        Ok(Command::Help) => {
            print!("{USAGE}");
            Ok(())
        }
        Ok(Command::Rounds(options)) => rounds::run(&options),
        Ok(Command::Syncs(options)) => syncs::run(&options),
        Ok(Command::Child(work)) => child::run(&work),
        Err(error) => {
            eprintln!("peers: {error}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peers: {error}");
            ExitCode::FAILURE
        }
    }
}
