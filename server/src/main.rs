//! The `tickwheel` binary: hands over to the library and knows nothing itself.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    tickwheel::cli::main()
}
