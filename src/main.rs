//! The `silt` binary: the sandbox's helper when started as one, otherwise the command line.

use std::os::fd::AsFd;
use std::process::ExitCode;

fn main() -> ExitCode {
    // Before anything else: the helper must have one thread.
    if std::env::args_os()
        .nth(1)
        .is_some_and(|command| command == silt::sandbox::HELPER_COMMAND)
    {
        return match std::io::stdin().as_fd().try_clone_to_owned() {
            Ok(control) => silt::sandbox::helper_main(control),
            Err(_) => ExitCode::FAILURE,
        };
    }
    silt::cli::main()
}
