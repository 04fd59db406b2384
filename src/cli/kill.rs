//! `silt kill`: sends a signal to containers.

use clap::Args;

use crate::cli::session::{Session, unexpected};
use crate::cli::{CommandResult, printer};
use crate::engine::outcome::Outcome;
use crate::engine::request::Request;

/// Send a signal to containers
#[derive(Debug, Args)]
pub(crate) struct Kill {
    /// Containers, by name or id
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
    /// Signal, by name or number
    #[arg(short, long, value_name = "SIGNAL", default_value = "KILL", value_parser = crate::cli::values::signal)]
    signal: i32,
}

impl Kill {
    pub(crate) fn perform(self, session: &Session) -> CommandResult {
        let request = Request::Kill {
            containers: self.containers,
            signal: self.signal,
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
