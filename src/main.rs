//! The `silt` binary: the sandbox helper when started as one, otherwise the command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    silt::cli::main()
}
