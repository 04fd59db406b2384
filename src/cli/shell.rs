//! `silt shell`: a shell in the filesystem of an image, of one of its steps, of a failed step, or of a container.

use std::io::{self, IsTerminal};

use clap::Args;

use crate::cli::run::{self, ProcessArgs, Streams, attach, environment};
use crate::cli::session::{Session, unexpected};
use crate::cli::{CommandResult, build::NetworkArg};
use crate::engine::outcome::Outcome;
use crate::engine::request::{Request, RunRequest};

/// Open a shell in any step's filesystem, the failed one included
///
/// What the shell changes is dropped when it ends.
#[derive(Debug, Args)]
pub(crate) struct Shell {
    /// `NAME`, `NAME@3` (`silt history NAME` numbers the steps), `NAME@failed`, `@failed` (the newest), or a container
    address: String,
    /// Command instead of an interactive shell
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
    /// Environment variable; repeatable
    #[arg(short, long, value_name = "NAME[=VALUE]", value_parser = crate::cli::values::key_value)]
    env: Vec<(String, Option<String>)>,
    /// Working directory [default: the step's]
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// User [default: the step's]
    #[arg(short, long)]
    user: Option<String>,
    /// Network of the shell
    #[arg(long, value_enum, default_value_t, value_name = "NETWORK")]
    network: NetworkArg,
}

impl Shell {
    pub(crate) fn perform(self, session: &Session) -> CommandResult {
        let terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
        let process = ProcessArgs {
            interactive: true,
            tty: terminal,
            env: self.env,
            env_files: Vec::new(),
            workdir: self.workdir,
            user: self.user,
        };
        let mut files = Vec::new();
        let (stdin, output) = Streams::of(&process, false)?.slots(&mut files)?;
        let command = if self.command.is_empty() {
            vec!["/bin/sh".to_owned()]
        } else {
            self.command
        };
        let request = RunRequest {
            image: self.address,
            command,
            entrypoint: Some(Vec::new()),
            env: environment(&process)?,
            workdir: process.workdir,
            user: process.user,
            network: self.network.into(),
            tty: process.tty,
            remove: true,
            stdin,
            output,
            ..RunRequest::default()
        };
        let outcome = attach(
            session,
            &Request::Run(Box::new(request)),
            &files,
            true,
            &mut |_| Ok(()),
        );
        match outcome.map_err(run::container_failure)? {
            Outcome::Exited(status) => Ok(status as u8),
            _ => Err(unexpected()),
        }
    }
}
