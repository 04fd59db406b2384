//! `silt exec`: a further process in a running container.

use clap::Args;

use crate::cli::CommandResult;
use crate::cli::run::{ProcessArgs, Streams, attach, container_failure, environment};
use crate::cli::session::{Session, unexpected};
use crate::engine::outcome::Outcome;
use crate::engine::request::{ExecRequest, Request};

/// Run a command in a running container
#[derive(Debug, Args)]
pub(crate) struct Exec {
    /// Container
    container: String,
    /// Command and arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    command: Vec<String>,
    #[command(flatten)]
    process: ProcessArgs,
    /// Don't wait for it
    #[arg(short, long, conflicts_with_all = ["interactive", "tty"])]
    detach: bool,
}

impl Exec {
    pub(crate) fn perform(self, session: &Session) -> CommandResult {
        let mut files = Vec::new();
        let (stdin, output) = Streams::of(&self.process, self.detach)?.slots(&mut files)?;
        let request = Request::Exec(ExecRequest {
            container: self.container,
            command: self.command,
            env: environment(&self.process)?,
            workdir: self.process.workdir,
            user: self.process.user,
            tty: self.process.tty,
            stdin,
            output,
        });
        let outcome = attach(session, &request, &files, self.process.interactive, &mut |_| {
            Ok(())
        });
        match outcome.map_err(container_failure)? {
            Outcome::Exited(status) => Ok(status as u8),
            Outcome::Done => Ok(0),
            _ => Err(unexpected()),
        }
    }
}
