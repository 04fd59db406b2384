//! `silt rm`: removes containers.

use clap::Args;

use crate::cli::session::{Session, unexpected};
use crate::cli::{CommandResult, printer};
use crate::engine::outcome::Outcome;
use crate::engine::request::Request;

/// Remove containers
#[derive(Debug, Args)]
pub(crate) struct Rm {
    /// Containers, by name or id
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
    /// Kill those that run
    #[arg(short, long)]
    force: bool,
}

impl Rm {
    pub(crate) fn perform(self, session: &Session) -> CommandResult {
        let request = Request::RemoveContainers {
            containers: self.containers,
            force: self.force,
        };
        let Outcome::Names(names) = session.ask(&request, &[])? else {
            return Err(unexpected());
        };
        for name in names {
            printer::line(&name);
        }
        Ok(0)
    }
}
