//! The `tickwheel` binary: hands over to the library and knows nothing itself.

use std::process::ExitCode;

fn main() -> ExitCode {
    tickwheel::cli::main()
}
