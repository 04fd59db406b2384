//! `silt stop`: ends containers gently.

use clap::Args;

use crate::cli::session::{Session, unexpected};
use crate::cli::{CommandResult, printer};
use crate::engine::outcome::Outcome;
use crate::engine::request::Request;

/// End containers: their stop signal first, SIGKILL after a while
#[derive(Debug, Args)]
pub(crate) struct Stop {
    /// Containers, by name or id
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
    /// Seconds before SIGKILL
    #[arg(short, long, value_name = "SECONDS", default_value_t = 10)]
    time: u64,
}

impl Stop {
    pub(crate) fn perform(self, session: &Session) -> CommandResult {
        let request = Request::Stop {
            containers: self.containers,
            timeout: Some(self.time),
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
