//! Compares a Tickwheel server with other work queues, each over its own protocol, with the same load: push,
//! fetch, finish; a lone push; jobs that are due later.
//!
//! It owns the command line. [`system`] has what is compared and how each is started, [`load`] what each
//! goes through, [`rounds`] the order, and [`table`] the page.
#![forbid(unsafe_code)]

mod client;
mod load;
mod options;
mod process;
mod rounds;
mod system;
mod table;

use std::process::ExitCode;

/// Why a system could not be measured.
type PeerError = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let options = match options::parse(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            print!("{}", options::USAGE);
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("peers: {error}\n\n{}", options::USAGE);
            return ExitCode::from(2);
        }
    };
    match rounds::run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peers: {error}");
            ExitCode::FAILURE
        }
    }
}
