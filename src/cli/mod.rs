//! The command line: arguments become requests, outcomes become text and an exit status. One file for each command.
//!
//! Standard output is data, everything else goes to standard error. Exit statuses: 0; 1 what was asked for failed; 2 usage;
//! 125 an error of ours; 130 interrupted; `run` and `exec` pass on the container's. To add a command: one file here and one line
//! in `Command`; help, completions and the reference test follow.
#![allow(
    clippy::doc_markdown,
    clippy::struct_excessive_bools,
    clippy::struct_field_names,
    clippy::unnecessary_wraps,
    clippy::unused_self,
    clippy::result_large_err,
    reason = "argument structs are named and documented for their reader at the terminal, and all commands have one signature"
)]

mod build;
mod commit;
mod completion;
mod diff;
mod doctor;
mod du;
mod engine;
mod exec;
mod history;
mod images;
mod import;
mod inspect;
mod kill;
mod load;
mod logs;
mod output;
mod printer;
mod prune;
mod ps;
mod pull;
mod rm;
mod rmi;
mod run;
mod save;
mod session;
mod shell;
mod stop;
mod tag;
mod terminal;
mod values;
mod version;
mod wait;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::cli::session::Session;
use crate::engine::outcome::Failure;

/// What a command returns: its exit status, or why it failed.
type CommandResult = Result<u8, Failure>;

/// Builds container images from Dockerfiles and runs them.
#[derive(Debug, Parser)]
#[command(name = "silt", version = crate::server::local::version(), max_term_width = 100, propagate_version = false)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub struct Cli {
    /// Directory that holds images, cache and containers [default: the XDG data directory; /var/lib/silt for root]
    #[arg(long, global = true, env = "SILT_STORE", value_name = "DIR", hide_env = true)]
    store: Option<PathBuf>,
    /// Print JSON instead of tables
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Build(build::Build),
    Run(run::Run),
    Ps(ps::Ps),
    Logs(logs::Logs),
    Exec(exec::Exec),
    Stop(stop::Stop),
    Kill(kill::Kill),
    Wait(wait::Wait),
    Rm(rm::Rm),
    Commit(commit::Commit),
    Images(images::Images),
    History(history::History),
    Inspect(inspect::Inspect),
    Tag(tag::Tag),
    Rmi(rmi::Rmi),
    Save(save::Save),
    Load(load::Load),
    Import(import::Import),
    Pull(pull::Pull),
    Diff(diff::Diff),
    Shell(shell::Shell),
    Du(du::Du),
    Prune(prune::Prune),
    Engine(engine::Engine),
    Doctor(doctor::Doctor),
    Completion(completion::Completion),
    Version(version::Version),
}

impl Command {
    fn perform(self, session: &Session) -> CommandResult {
        match self {
            Self::Build(command) => command.perform(session),
            Self::Run(command) => command.perform(session),
            Self::Ps(command) => command.perform(session),
            Self::Logs(command) => command.perform(session),
            Self::Exec(command) => command.perform(session),
            Self::Stop(command) => command.perform(session),
            Self::Kill(command) => command.perform(session),
            Self::Wait(command) => command.perform(session),
            Self::Rm(command) => command.perform(session),
            Self::Commit(command) => command.perform(session),
            Self::Images(command) => command.perform(session),
            Self::History(command) => command.perform(session),
            Self::Inspect(command) => command.perform(session),
            Self::Tag(command) => command.perform(session),
            Self::Rmi(command) => command.perform(session),
            Self::Save(command) => command.perform(session),
            Self::Load(command) => command.perform(session),
            Self::Import(command) => command.perform(session),
            Self::Pull(command) => command.perform(session),
            Self::Diff(command) => command.perform(session),
            Self::Shell(command) => command.perform(session),
            Self::Du(command) => command.perform(session),
            Self::Prune(command) => command.perform(session),
            Self::Engine(command) => command.perform(session),
            Self::Doctor(command) => command.perform(session),
            Self::Completion(command) => command.perform(session),
            Self::Version(command) => command.perform(session),
        }
    }
}

/// Runs the command that the process's arguments name.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let session = match Session::new(cli.store, cli.json) {
        Ok(session) => session,
        Err(failure) => return printer::failure(&failure),
    };
    match cli.command.perform(&session) {
        Ok(status) => ExitCode::from(status),
        Err(failure) => printer::failure(&failure),
    }
}

/// The whole command table, for completions, man pages and the reference test.
pub fn command() -> clap::Command {
    Cli::command()
}
