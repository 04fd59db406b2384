//! `silt completion`: completion scripts, made from the command table.

use clap::Args;
use clap_complete::Shell;

use crate::cli::session::Session;
use crate::cli::{CommandResult, command, printer};

/// Print a completion script for a shell
#[derive(Debug, Args)]
pub(crate) struct Completion {
    /// Shell
    shell: Shell,
}

impl Completion {
    pub(crate) fn perform(self, _session: &Session) -> CommandResult {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command(), "silt", &mut script);
        printer::line(String::from_utf8_lossy(&script).trim_end());
        Ok(0)
    }
}
