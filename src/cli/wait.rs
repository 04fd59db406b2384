//! `silt wait`: waits for containers.

use clap::Args;

use crate::cli::session::{Session, unexpected};
use crate::cli::{CommandResult, printer};
use crate::engine::outcome::Outcome;
use crate::engine::request::Request;

/// Wait until containers end, and print their exit statuses
#[derive(Debug, Args)]
pub(crate) struct Wait {
    /// Containers, by name or id
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Wait {
    pub(crate) fn perform(self, session: &Session) -> CommandResult {
        let request = Request::Wait {
            containers: self.containers,
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
